# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import context, sources
from ansible_collections.dockyard.fleet.plugins.module_utils.images.ignore import Matcher, read_ignore

NOTHING = Matcher([])


@pytest.fixture(autouse=True)
def own_git(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
        monkeypatch.setenv(f"GIT_{role}_DATE", "2026-01-02T03:04:05Z")


def git(root, *arguments):
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def upstream(tmp_path):
    root = tmp_path / "upstream"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "app").mkdir()
    (root / "app/run.sh").write_text("#!/bin/sh\n")
    (root / "app/run.sh").chmod(0o755)
    (root / "app/link").symlink_to("run.sh")
    (root / "README.md").write_text("one\n")
    (root / ".gitattributes").write_text("README.md export-ignore\n*.md text eol=crlf\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "one")
    git(root, "tag", "v1")
    return root


def source(upstream, tmp_path, ref, folder="", urls=None):
    return sources.GitSource(urls or [str(upstream)], ref, folder, str(tmp_path / "cache"))


def commit(root, text):
    (root / "README.md").write_text(text)
    git(root, "commit", "--quiet", "-am", text)
    return git(root, "rev-parse", "HEAD")


def test_a_commit_is_the_same_content_as_its_files_in_a_directory(upstream, tmp_path):
    one = source(upstream, tmp_path, "main")
    two = sources.DirectorySource(str(upstream))
    assert context.context_hash(one.scan(NOTHING)) == context.context_hash(two.scan(NOTHING))
    with one.reader() as reader:
        content = {entry.path: reader.read(entry.key) for entry in one.scan(NOTHING) if entry.kind == "file"}
    assert content["README.md"] == b"one\n", "neither attributes nor line ending filters change what is committed"


def test_links_and_executable_bits_come_from_the_commit(upstream, tmp_path):
    entries = {entry.path: entry for entry in source(upstream, tmp_path, "v1", "app").scan(NOTHING)}
    assert entries["run.sh"].executable and entries["link"].target == "run.sh" and list(entries) == ["link", "run.sh"]


@pytest.mark.parametrize("length", [7, 12, 40])
def test_a_commit_that_was_fetched_before_asks_nobody(upstream, tmp_path, length):
    wanted = git(upstream, "rev-parse", "HEAD")
    assert source(upstream, tmp_path, wanted[:length]).commit() == wanted
    upstream.rename(tmp_path / "away")
    again = source(upstream, tmp_path, wanted[:length])
    assert again.commit() == wanted and again.scan(NOTHING)


def test_a_branch_moves_and_an_older_commit_is_still_found_by_its_short_name(upstream, tmp_path):
    first = git(upstream, "rev-parse", "HEAD")
    assert source(upstream, tmp_path, first).commit() == first
    second = commit(upstream, "two\n")
    third = commit(upstream, "three\n")
    assert source(upstream, tmp_path, "main").commit() == third
    assert source(upstream, tmp_path, "HEAD").commit() == third
    assert source(upstream, tmp_path, second[:8]).commit() == second
    assert source(upstream, tmp_path, "v1").commit() == first


def test_a_commit_that_is_gone_is_one_clear_message(upstream, tmp_path):
    for ref in ("0" * 40, "1234567", "no-such-branch"):
        with pytest.raises(sources.GitError, match=f"^missing: no commit, tag or branch '{ref}'"):
            source(upstream, tmp_path, ref).commit()


def test_a_mirror_is_asked_when_the_first_address_does_not_answer(upstream, tmp_path):
    wanted = git(upstream, "rev-parse", "HEAD")
    for ref in (wanted, "main"):
        assert source(upstream, tmp_path / ref, ref, urls=[str(tmp_path / "nowhere"), str(upstream)]).commit() == wanted
    with pytest.raises(sources.GitError, match="^fetch: .*nowhere.*; .*neither"):
        source(upstream, tmp_path / "x", "main", urls=[str(tmp_path / "nowhere"), str(tmp_path / "neither")]).commit()


def test_a_folder_that_the_commit_lacks_is_named(upstream, tmp_path):
    with pytest.raises(sources.GitError, match="has no directory 'nope'"):
        source(upstream, tmp_path, "main", "nope").scan(NOTHING)


def test_a_ref_that_looks_like_an_option_is_only_a_name(upstream, tmp_path):
    with pytest.raises(sources.GitError, match="^missing"):
        source(upstream, tmp_path, "--upload-pack=touch /tmp/x").commit()


def test_a_tree_is_read_once_and_ignored_files_never(upstream, tmp_path, monkeypatch):
    wanted = git(upstream, "rev-parse", "HEAD")
    entries = source(upstream, tmp_path, wanted).scan(read_ignore("*\n!app"))
    assert [entry.path for entry in entries] == ["app/link", "app/run.sh"]
    fixed = source(upstream, tmp_path, wanted)
    fixed.commit()
    monkeypatch.setattr(sources, "run_git", lambda *given, **more: pytest.fail(f"git was called: {given}"))
    assert fixed.scan(read_ignore("*\n!app")) == entries


def test_the_ignore_file_of_the_source_is_read(upstream, tmp_path):
    assert source(upstream, tmp_path, "main").ignore_file() is None
    (upstream / "app/.dockerignore").write_text("link\n")
    git(upstream, "add", ".")
    git(upstream, "commit", "--quiet", "-m", "ignore")
    assert source(upstream, tmp_path, "main", "app").ignore_file() == "link\n"
    assert sources.DirectorySource(str(upstream / "app")).ignore_file() == "link\n"


def test_submodules_and_lfs_pointers_are_noted(upstream, tmp_path):
    git(upstream, "update-index", "--add", "--cacheinfo", f"160000,{git(upstream, 'rev-parse', 'HEAD')},vendor/lib")
    (upstream / "big.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    git(upstream, "add", "big.bin")
    git(upstream, "commit", "--quiet", "-m", "more")
    for unused in range(2):
        opened = source(upstream, tmp_path, "main")
        assert "vendor/lib" not in [entry.path for entry in opened.scan(NOTHING)]
        assert any("vendor/lib" in note for note in opened.notes) and any("big.bin" in note and "LFS" in note for note in opened.notes), "from the cache too"


def test_the_revision_of_a_checkout_says_when_it_is_dirty(upstream, tmp_path):
    head = git(upstream, "rev-parse", "HEAD")
    git(upstream, "remote", "add", "origin", "https://me:hunter2@example.org/x.git")
    assert sources.DirectorySource(str(upstream / "app")).revision() == (head, 1767323045, "https://example.org/x.git")
    (upstream / "README.md").write_text("changed")
    assert sources.DirectorySource(str(upstream)).revision()[:2] == (f"{head}-dirty", None)
    assert sources.DirectorySource(str(upstream / "app")).revision().commit == head, "a change elsewhere is not in this context"
    (tmp_path / "plain").mkdir()
    assert sources.DirectorySource(str(tmp_path / "plain")).revision() is None
    assert source(upstream, tmp_path, "v1").revision() == (head, 1767323045, str(upstream))


@pytest.mark.parametrize("url, clean, header", [
    ("https://me:p%40ss@example.org:8443/x.git", "https://example.org:8443/x.git", ("https://example.org:8443/", "Authorization: Basic bWU6cEBzcw==")),
    ("https://example.org/x", "https://example.org/x", None), ("git@example.org:x", "git@example.org:x", None),
    ("ssh://git@example.org/x", "ssh://git@example.org/x", None),
    ("/srv/x@y", "/srv/x@y", None),
])
def test_credentials_leave_the_url(url, clean, header):
    assert sources.split_credentials(url) == (clean, header)


def test_credentials_are_in_no_argument_and_no_message(tmp_path, monkeypatch):
    seen = {}

    def fake(argv, **more):
        seen.update(argv=argv, env=more["env"])
        return subprocess.CompletedProcess(argv, 128, b"", b"fatal: unable to access 'https://me:hunter2@example.org/x/': no")

    monkeypatch.setattr(sources.subprocess, "run", fake)
    with pytest.raises(sources.GitError) as caught:
        sources.run_git(["fetch"], sources.split_credentials("https://me:hunter2@example.org/x")[1])
    assert "hunter2" not in str(caught.value) and not any("hunter2" in word for word in seen["argv"])
    assert seen["env"]["GIT_CONFIG_KEY_0"] == "http.https://example.org/.extraHeader" and seen["env"]["GIT_TERMINAL_PROMPT"] == "0"


def test_a_lock_names_its_holder_and_goes_with_it(tmp_path):
    path = str(tmp_path / "lock")
    with sources.exclusive(path):
        with pytest.raises(TimeoutError, match=f"process {os.getpid()}"), sources.exclusive(path, 0):
            pass
    with sources.exclusive(path, 0):
        pass


def test_known_digests_save_reading_but_never_miss_a_change(tmp_path, monkeypatch):
    root, cache = tmp_path / "root", str(tmp_path / "cache")
    root.mkdir()
    (root / "a").write_text("1")
    monkeypatch.setattr(sources, "_RACY_NS", -10**12)
    first = sources.DirectorySource(str(root), cache).scan(NOTHING)
    reads = []
    monkeypatch.setattr(sources, "read_chunks", lambda path: reads.append(path) or context.read_chunks(path))
    assert sources.DirectorySource(str(root), cache).scan(NOTHING) == first and reads == []
    times = os.stat(root / "a")
    (root / "a").write_text("2")
    os.utime(root / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sources.DirectorySource(str(root), cache).scan(NOTHING) != first and len(reads) == 1


def test_a_file_of_this_moment_is_not_taken_for_known(tmp_path):
    root, cache = tmp_path / "root", str(tmp_path / "cache")
    root.mkdir()
    (root / "a").write_text("1")
    sources.DirectorySource(str(root), cache).scan(NOTHING)
    assert sources.Digests(cache, str(root))._known == {}
