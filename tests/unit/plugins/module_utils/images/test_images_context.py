# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import tarfile

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import context
from ansible_collections.dockyard.fleet.plugins.module_utils.images.ignore import Matcher, read_ignore


def make(root, files):
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return root


def scan(root, ignore="", skip=()):
    return context.scan_directory(str(root), read_ignore(ignore), skip)


def read(root):
    return lambda entry: context.read_chunks(os.path.join(str(root), entry.key))


def test_times_order_umask_and_empty_directories_do_not_count(tmp_path):
    one = make(tmp_path / "one", {"a": "1", "b/c": "2", "z": "3"})
    two = make(tmp_path / "two", {"z": "3", "b/c": "2", "a": "1"})
    (two / "empty" / "deeper").mkdir(parents=True)
    os.utime(two / "a", (1, 1))
    (two / "z").chmod(0o600)
    (two / "b").chmod(0o700)
    assert context.context_hash(scan(one)) == context.context_hash(scan(two))


@pytest.mark.parametrize("change", [
    lambda root: (root / "a").write_text("2"), lambda root: (root / "a").rename(root / "A"), lambda root: (root / "a").chmod(0o755),
    lambda root: ((root / "a").unlink(), (root / "a").symlink_to("b")), lambda root: (root / "new").write_text(""),
])
def test_content_name_type_and_executable_bit_count(tmp_path, change):
    root = make(tmp_path / "root", {"a": "1", "b": "1"})
    before = context.context_hash(scan(root))
    change(root)
    assert context.context_hash(scan(root)) != before


def test_the_target_of_a_link_counts(tmp_path):
    for name, target in (("one", "x"), ("two", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to(target)
    assert context.context_hash(scan(tmp_path / "one")) != context.context_hash(scan(tmp_path / "two"))


def test_ignored_files_and_git_are_left_out(tmp_path):
    root = make(tmp_path, {".git/config": "secret", "sub/.git": "gitdir: x", "src/a.py": "", "src/a.pyc": "", "docs/x": "", ".dockyard/x": ""})
    assert [entry.path for entry in scan(root, "docs\n**/*.pyc", (".dockyard",))] == ["src/a.py"]


def test_a_file_may_come_back_out_of_an_ignored_directory(tmp_path):
    root = make(tmp_path, {"a/b/c": "", "a/b/d": "", "x/c": ""})
    assert [entry.path for entry in scan(root, "*\n!a/b/c")] == ["a/b/c"]
    assert [entry.path for entry in scan(root, "*\n!**/c")] == ["a/b/c", "x/c"]


def test_sockets_and_pipes_are_refused_unless_ignored(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe"):
        scan(tmp_path)
    assert scan(tmp_path, "pipe") == []
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("s")
        with pytest.raises(ValueError, match="s is a socket"):
            scan(tmp_path, "pipe")


def test_the_archive_is_the_same_for_the_same_content(tmp_path):
    roots = [make(tmp_path / name, {"b/run": "#!", "a": "1"}) for name in ("one", "two")]
    os.utime(roots[1] / "a", (5, 5))
    for root in roots:
        (root / "b/run").chmod(0o755)
        (root / "link").symlink_to("../outside")
        context.write_tar(str(root) + ".tar", scan(root), read(root))
    data = [(tmp_path / f"{name}.tar").read_bytes() for name in ("one", "two")]
    assert data[0] == data[1]
    with tarfile.open(tmp_path / "one.tar") as tar:
        members = {item.name: item for item in tar}
        assert list(members) == ["a", "b/run", "link"]
        assert {(item.uid, item.gid, item.uname) for item in members.values()} == {(0, 0, "")}
        assert (members["a"].mode, members["b/run"].mode, members["link"].linkname) == (0o644, 0o755, "../outside")
        assert len({item.mtime for item in members.values()}) == 1 and members["a"].mtime >= 315532800, "zip cannot hold earlier times"
        assert tar.extractfile("b/run").read() == b"#!"


def test_another_content_of_the_same_size_has_another_time(tmp_path):
    times = []
    for content in ("1", "2"):
        root = make(tmp_path / content, {"a": content})
        context.write_tar(str(tmp_path / "t"), scan(root), read(root))
        with tarfile.open(tmp_path / "t") as tar:
            times.append(tar.getmember("a").mtime)
    assert times[0] != times[1]


@pytest.mark.parametrize("content, part", [("longer", "changed"), ("x", "shorter"), ("abd", "changed")])
def test_a_file_that_changes_meanwhile_is_noticed(tmp_path, content, part):
    root = make(tmp_path / "root", {"a": "abc"})
    entries = scan(root)
    (root / "a").write_text(content)
    with pytest.raises(ValueError, match=f"a {'became ' if part == 'shorter' else ''}{part}"):
        context.write_tar(str(tmp_path / "t"), entries, read(root))


def test_names_that_are_not_utf8_survive(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9"), "wb") as stream:
        stream.write(b"x")
    entries = scan(tmp_path)
    assert context.context_hash(entries)
    archive = str(tmp_path.parent / (tmp_path.name + ".tar"))
    context.write_tar(archive, entries, read(tmp_path))
    with tarfile.open(archive) as tar:
        assert os.fsencode(tar.getnames()[0]) == b"caf\xe9"


def test_links_that_leave_the_context_are_named():
    def link(path, target):
        return context.Entry(path, "link", False, target, None, 0, path)
    links = [link("a/b", "../c"), link("a/b2", "../../c"), link("x", "/etc/y"), link("z", "..")]
    assert context.outside_links(links) == ["a/b2 -> ../../c", "x -> /etc/y", "z -> .."]


def recipe(**change):
    given = dict(entries=[], dockerfile="Dockerfile", args={"A": "1"}, target=None, platform="linux/amd64", secrets=["ca"], labels={})
    return context.recipe_hash(**dict(given, **change))


def test_everything_that_a_build_is_told_counts():
    changes = [dict(dockerfile="D"), dict(args={"A": "2"}), dict(args={}), dict(target="x"), dict(platform="linux/arm64"), dict(secrets=[]),
               dict(labels={"a": "b"}),
               dict(entries=[context.Entry("a", "file", False, None, "d", 1, "a")])]
    assert len({recipe(), *(recipe(**change) for change in changes)}) == len(changes) + 1
    assert recipe(args={"B": "2", "A": "1"}) == recipe(args={"A": 1, "B": 2})
    assert context.content_hash(recipe(), {"a": "1"}) != context.content_hash(recipe(), {"a": "2"})


def test_the_format_of_hashes_stays(tmp_path):
    """A change here rebuilds every image of every user: raise FORMAT and know it."""
    root = make(tmp_path, {"a": "1"})
    assert (context.FORMAT, context.context_hash(scan(root))) == (1, "797e9e829ebe451e3361a8877284b7d13ac6fba227a97d0b6f4a092660201518")
    assert recipe() == "4056d580ce2702f14aeef97a5d424b9b4f73b03c87cac30497596929a3a34527"


def test_scanning_with_no_patterns_needs_no_ignore_file(tmp_path):
    assert [entry.path for entry in context.scan_directory(str(make(tmp_path, {"a": ""})), Matcher([]))] == ["a"]
