# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module tree_migration on real folders with the real rsync. Another host is played by a program ``ssh`` that runs the command here."""
from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError, DockerUnavailable
from ansible_collections.dockyard.fleet.plugins.module_utils.trees import agent, delta, migrate, target as targets
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import TreeError
from ansible_collections.dockyard.fleet.plugins.modules import tree_migration as module

SSH = """#!/bin/sh
# Options of two words, and the host's name, are not for the shell.
printf '%s\\n' "$*" >> "$SSH_LOG"
[ -z "$SSH_FAILS" ] || { echo "$SSH_FAILS" >&2; exit 255; }
while [ "$1" != source ]; do shift; done
shift
exec sh -c "$*"
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
[ -z "$SUDO_FAILS" ] || { echo "sudo: a password is required" >&2; exit 1; }
exec "$@"
"""
# 2 MB come through, each byte at once.
CUTTER = """import os
left = 2000000
while left:
    data = os.read(0, min(left, 65536))
    if not data: break
    os.write(1, data); left -= len(data)"""
CUT = """exec 3<&0
{ sh -c "exec $*" <&3 & echo $! > "$SSH_LOG.pid"; exec 3<&-; wait $! || : > "$SSH_LOG.cut"; } | { "$PYTHON" -c "$CUTTER"; kill -9 $(cat "$SSH_LOG.pid"); }
[ ! -e "$SSH_LOG.cut" ] || exit 255"""
ODD = [b"new\nline", b"caf\xe9", "größe ☃".encode(), b"-rf", b" ", b"*", b"a\\b", b"quote'\"$(id)", b"tab\t", b"x" * 255, b"source:8", b".hidden"]


class Host:
    """A source, a place for the copy, and calls of the module."""

    def __init__(self, folder):
        self.folder = folder
        self.source, self.copy, self.state = (os.path.join(folder, name) for name in ("native", "volume", "state"))
        self.more = {}
        os.mkdir(self.source)

    def put(self, path, content=b"x", base=None, mode=0o644):
        full = os.path.join(os.fsencode(base or self.source), os.fsencode(path))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as stream:
            stream.write(content)
        os.chmod(full, mode)
        return full

    def read(self, path, base=None):
        with open(os.path.join(os.fsencode(base or self.copy), os.fsencode(path)), "rb") as stream:
            return stream.read()

    def params(self, **given):
        base = {name: option.get("default", "" if option["type"] == "str" else None) for name, option in module.ARGUMENTS.items()}
        base.update(name="images", source=self.source, destination=self.copy, volume=None, state_dir=self.state)
        return dict(base, **dict(self.more, **given))

    def run(self, state, check=False, **given):
        return module.run(self.params(state=state, **given), check)

    def copied(self, **given):
        return self.run("copied", **given)

    def proved(self, **given):
        return self.run("proved", **given)

    def fails(self, state, **given):
        with pytest.raises(TreeError) as caught:
            self.run(state, **given)
        return caught.value

    def fill(self):
        """Everything that a tree can hold and that is carried over."""
        for number in range(30):
            self.put("d%d/f%d" % (number % 3, number), b"%d" % number * 1000 * number)
        for name in ODD:
            self.put(b"odd/" + name, name)
        self.put("big", os.urandom(3 * agent.CHUNK + 17), mode=0o600)
        os.link(os.path.join(self.source, "big"), os.path.join(self.source, "d1", "big too"))
        os.symlink("d1/big too", os.path.join(self.source, "link"))
        os.symlink(b"nowhere\xff\n", os.path.join(os.fsencode(self.source), b"dangling"))
        os.mkdir(os.path.join(self.source, "empty"), 0o750)
        with open(os.path.join(self.source, "sparse"), "wb") as stream:
            stream.seek(20 * agent.CHUNK)
            stream.write(b"data")
            stream.truncate(30 * agent.CHUNK)
        os.chmod(os.path.join(self.source, "d2"), 0o2711)


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


@pytest.fixture
def far(host, tmp_path, monkeypatch):
    """The same, through a pretended ssh and sudo."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (programs, os.environ["PATH"]))
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "ssh.log"))
    (tmp_path / "ssh_config").write_text("Host source\n", encoding="utf-8")
    host.more = {"source_ssh_config": str(tmp_path / "ssh_config"), "source_become": True, "source_python": sys.executable}
    host.log = tmp_path / "ssh.log"
    return host


@pytest.fixture(params=["own here", "rsync here", "own from afar", "rsync from afar"])
def way(request):
    """A host whose source is here or elsewhere, and a method."""
    method, unused, place = request.param.partition(" ")
    found = request.getfixturevalue("host" if place == "here" else "far")
    found.more = dict(found.more, method=method)
    return found


def listing(base):
    """Everything in a tree that a copy has to keep."""
    found, groups = {}, {}
    for entry in agent.scan(agent.Root(base))[0]:
        groups.setdefault(entry.inode, []).append(entry.path)
        content = None
        if entry.kind == agent.FILE:
            with open(os.path.join(os.fsencode(base), agent.encoded(entry.path)), "rb") as stream:
                content = stream.read()
        found[entry.path] = [entry.kind, entry.mode, entry.size if content is not None else None, entry.mtime_ns, entry.target, content, groups[entry.inode]]
    return found


# -- the whole way ---------------------------------------------------------------------

def test_a_tree_with_everything_comes_whole_and_is_proven(way):
    way.fill()
    before = listing(way.source)
    result = way.copied()
    assert result["changed"] is True and result["method"] == way.more["method"] and result["changed_while_copied"] == []
    assert listing(way.copy) == before and listing(way.source) == before
    assert os.stat(os.path.join(way.copy, "sparse")).st_blocks * 512 < 2 * agent.CHUNK
    proof = way.proved()
    assert proof["equal"] is True and proof["changed"] is False and proof["source"]["digest"] == proof["target"]["digest"]
    assert proof["source"]["files"] == sum(found[0] == agent.FILE for found in before.values())
    # All that the copy holds was read; of the source nothing again.
    assert proof["hashed_bytes"] == {"source": 0, "target": proof["target"]["bytes"]}
    assert sorted(os.listdir(way.state)) == ["images.tree-index.json", "images.tree.json", "images.tree.lock"]
    assert {os.stat(os.path.join(way.state, name)).st_mode & 0o777 for name in os.listdir(way.state)} == {0o600}
    assert os.stat(way.state).st_mode & 0o777 == 0o700


def test_a_second_pass_changes_nothing(way):
    way.fill()
    way.copied()
    result = way.copied(final=True, delete=True)
    assert result["changed"] is False and (result["copied_files"], result["deleted_entries"], result["diff"]["prepared"]) == (0, 0, "")


def test_the_final_pass_brings_what_changed_and_only_that(way):
    way.fill()
    way.copied()
    untouched = os.stat(os.path.join(way.copy, "big")).st_ino
    way.put("d0/f0", b"other content")
    way.put("new/deep/er", b"new")
    os.unlink(os.path.join(way.source, "d1", "f1"))
    shutil.rmtree(os.path.join(way.source, "odd"))
    os.unlink(os.path.join(way.source, "link"))
    way.put("link/now", b"a folder")
    os.rmdir(os.path.join(way.source, "empty"))
    way.put("empty", b"now a file")
    os.chmod(os.path.join(way.source, "d2", "f2"), 0o400)
    result = way.copied()
    assert result["deleted_entries"] == 0 and result["kept_entries"] == len(ODD) + 2
    assert way.read(b"odd/caf\xe9") == b"caf\xe9"
    result = way.copied(final=True, delete=True)
    assert result["copied_files"] == 0 and result["deleted_entries"] == len(ODD) + 2 and len(result["deleted"]) <= 20
    assert listing(way.copy) == listing(way.source) and os.stat(os.path.join(way.copy, "big")).st_ino == untouched
    assert way.proved()["equal"] is True


def test_hard_links_follow_what_the_source_makes_of_them(way):
    way.put("a", b"one")
    os.link(os.path.join(way.source, "a"), os.path.join(way.source, "b"))
    way.copied()
    os.unlink(os.path.join(way.source, "b"))
    shutil.copy2(os.path.join(way.source, "a"), os.path.join(way.source, "b"))
    os.link(os.path.join(way.source, "a"), os.path.join(way.source, "c"))
    way.copied(final=True)
    assert listing(way.copy) == listing(way.source)
    assert way.proved()["equal"] is True


def test_check_mode_tells_the_same_and_does_nothing(way):
    way.fill()
    told = way.copied(check=True)
    assert not os.path.exists(way.copy) and not os.path.exists(way.state)
    done = way.copied()
    assert all(told[key] == done[key] for key in ("changed", "copied_files", "copied_bytes", "deleted", "diff", "method"))
    way.put("d0/f0", b"changed")
    before = listing(way.copy)
    assert way.copied(check=True)["copied_files"] == 1 and listing(way.copy) == before
    os.chmod(os.path.join(way.copy, "big"), 0o777)
    assert {entry["difference"] for entry in way.fails("proved", check=True).result["differences"]} == {"content", "mode"}


def test_another_host_without_rsync_is_read_by_our_own_stream(far, monkeypatch):
    far.put("a")
    monkeypatch.setattr(migrate.Migration, "_rsync_there", lambda self: False)
    assert far.copied()["method"] == "own" and far.proved()["equal"] is True
    assert "rsync" not in far.log.read_text()
    problem = far.fails("copied", method="rsync")
    assert str(problem) == ("rsync: found none of 3.1 or newer on both sides; needed it for method=rsync; nothing was changed; install it, or use method=auto")


def test_another_host_with_rsync_is_copied_by_it_and_one_host_by_our_own(far):
    far.put("a")
    assert far.copied()["method"] == "rsync"
    assert all(line.split()[:2] == ["-F", far.more["source_ssh_config"]] and "sudo -n " in line for line in far.log.read_text().splitlines())
    far.more = {}
    shutil.rmtree(far.copy)
    shutil.rmtree(far.state)
    assert far.copied()["method"] == "own"


def test_owners_are_mapped_in_copy_and_proof(host, monkeypatch):
    # Whoever runs the tests: the calls are what counts, and what the file system tells of them.
    given = []
    monkeypatch.setattr(targets.os, "fchown", lambda descriptor, uid, gid: given.append((uid, gid)))
    host.put("a")
    host.copied(owner="1234:2345")
    assert set(given) == {(1234, 2345)} and len(given) >= 2
    problem = host.fails("proved", owner="1234:2345")
    own = "%d:%d" % (os.stat(host.copy).st_uid, os.stat(host.copy).st_gid)
    assert [entry["difference"] for entry in problem.result["differences"]] == ["owner", "owner"]
    assert problem.result["differences"][1] == {"path": "a", "difference": "owner", "source": "1234:2345", "target": own}
    assert host.proved(owner=own)["equal"] is True


def test_what_is_excluded_is_neither_copied_nor_compared_nor_refused(way):
    for path in ("a.tmp", "d/b.tmp", "cache/x", "d/cache/x", "keep"):
        way.put(path)
    os.symlink("/etc/hostname", os.path.join(way.source, "d", "out"))
    result = way.copied(exclude=["*.tmp", "/cache", "d/out"])
    assert sorted(path for path in listing(way.copy)) == [".", "d", "d/cache", "d/cache/x", "keep"] and result["files"] == 2
    assert way.proved(exclude=["*.tmp", "/cache", "d/out"])["equal"] is True


def test_a_source_behind_a_link_is_the_folder_that_it_leads_to(way):
    way.put("a", b"here")
    os.rename(way.source, way.source + "-disk")
    os.symlink(way.source + "-disk", way.source)
    os.symlink(way.source + "/a", os.path.join(way.source + "-disk", "absolute"))
    found = way.run("surveyed")
    assert found["root"] == way.source + "-disk" and found["absolute_links"] == [{"path": "absolute", "target": way.source + "/a"}]
    way.copied()
    assert way.read("a") == b"here" and way.proved()["equal"] is True


# -- refusals: nothing is copied -----------------------------------------------------------

@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "d/../../outside", "d/./../.."])
def test_a_link_that_leads_out_refuses_the_tree(way, target):
    way.put("a")
    os.mkdir(os.path.join(way.source, "d"))
    os.symlink(target, os.path.join(way.source, "out"))
    assert way.run("surveyed")["escaping_links"] == [{"path": "out", "target": target}]
    problem = way.fails("copied")
    assert "symbolic links that lead out of the tree: out -> %s" % target in str(problem) and str(problem).endswith("nothing was changed")
    assert not os.path.exists(way.copy)


def test_a_destination_with_files_of_somebody_else_is_refused(way):
    way.put("a")
    theirs = way.put("precious", b"theirs", way.copy)
    problem = way.fails("copied")
    assert "found 1 entries that this migration has not put there: precious; needed an empty folder" in str(problem) and "nothing was changed" in str(problem)
    assert way.run("surveyed")["problems"] == [str(problem)]
    assert way.read(theirs) == b"theirs" and os.listdir(way.copy) == ["precious"]


def test_a_copy_that_was_replaced_by_another_folder_is_somebody_elses(host):
    host.put("a")
    host.copied()
    os.rename(host.copy, host.copy + "-old")
    host.put("precious", b"theirs", host.copy)
    assert "has not put there: precious" in str(host.fails("copied", delete=True)) and "has not put there" in str(host.fails("proved"))
    assert host.read("precious") == b"theirs"


def test_the_leftovers_of_another_source_are_refused(host):
    host.put("a")
    host.copied()
    os.rename(host.source, host.source + "-2")
    assert "found the leftovers of a migration from %s; needed those of one from %s-2" % (host.source, host.source) in str(
        host.fails("copied", source=host.source + "-2"))


@pytest.mark.parametrize("state", ["copied", "proved"])
def test_a_source_whose_disk_is_not_mounted_any_more_does_not_empty_the_copy(host, state):
    host.put("a")
    host.copied()
    os.rename(host.source, host.source + "-disk")
    os.mkdir(host.source)
    assert "found another folder under this name than in the earlier pass" in str(host.fails(state, delete=True, final=True))
    assert host.read("a") == b"x"


@pytest.mark.parametrize("state", ["surveyed", "copied", "proved"])
def test_a_source_that_is_absent_is_told(way, state):
    os.rmdir(way.source)
    assert "found no such folder; needed the tree that is to be migrated; nothing was changed" in str(way.fails(state))
    result = way.run(state, optional=True)
    assert result["present"] is False and result["changed"] is False and not os.path.exists(way.copy)


def test_an_optional_source_may_not_vanish_once_it_was_copied(way):
    way.put("a")
    way.copied(optional=True)
    shutil.rmtree(way.source)
    assert "although it was there in an earlier pass" in str(way.fails("copied", optional=True, final=True, delete=True)) and way.read("a") == b"x"


def test_a_source_that_is_a_file_is_refused(way):
    os.rmdir(way.source)
    way.put(way.source)
    assert "found Not a directory; needed a folder" in str(way.fails("copied"))


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_destination_that_is_no_folder_is_refused(host, kind):
    host.put("a")
    host.put("x", base=host.copy + "-elsewhere")
    if kind == "file":
        host.put(host.copy)
    else:
        os.symlink(host.copy + "-elsewhere", host.copy)
    assert "needed a folder, or nothing; nothing was changed" in str(host.fails("copied"))
    assert os.listdir(host.copy + "-elsewhere") == ["x"]


@pytest.mark.parametrize("inside", ["source", "copy"])
def test_a_copy_in_its_own_source_is_refused(host, inside):
    host.put("d/a")
    given = {"destination": host.source + "/d/copy"} if inside == "source" else {"destination": host.folder}
    assert "lie in each other; needed two separate folders" in str(host.fails("copied", **given))


@pytest.mark.parametrize("given, words", [
    ({"source": "relative"}, "source: found 'relative'; needed an absolute path"),
    ({"source": "/"}, "source: found '/'; needed an absolute path"),
    ({"source": "/a/../b"}, "source: found '/a/../b'; needed"),
    ({"destination": "/a/.."}, "destination: found '/a/..'; needed"),
    ({"owner": "app:app"}, "owner: found 'app:app'; needed two numbers, uid:gid"),
    ({"owner": "1000"}, "owner: found '1000'; needed"),
    ({"owner": "4294967295:0"}, "owner: found '4294967295:0'; needed"),
    ({"name": "../x"}, "name: found '../x'; needed at most 80 of"),
    ({"name": "a\n"}, "name: found 'a\\n'; needed"),
    ({"source_ssh_config": "/nowhere/config"}, "source_ssh_config: found no file /nowhere/config; needed"),
    ({"destination": None, "volume": "v", "path": "../x"}, "path: found '../x'; needed a folder in the volume"),
    ({"destination": None, "volume": "v", "path": "/x"}, "path: found '/x'; needed"),
])
def test_bad_options_are_named(host, given, words):
    problem = str(host.fails("copied", **given))
    assert words in problem and "nothing was changed" in problem and not os.path.exists(host.state)


@pytest.mark.parametrize("free, words", [((5, 10**6), "found 5 bytes free; needed"), ((10**12, 1), "found room for 1 more files; needed 3")])
def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(way, monkeypatch, free, words):
    way.put("a", b"x" * 5000)
    way.put("b")
    monkeypatch.setattr(migrate, "space_of", lambda path: free)
    assert words in way.run("surveyed")["problems"][0]
    problem = way.fails("copied")
    assert words in str(problem) and str(problem).endswith("nothing was changed") and not os.path.exists(way.copy)


def test_a_name_that_is_reserved_is_refused(way):
    way.put("d/%s/x" % delta.PARTIAL)
    assert "needed another name, this one is for files that are being copied" in str(way.fails("copied"))


def test_another_run_on_the_same_tree_is_waited_for(host):
    host.put("a")
    os.mkdir(host.state, 0o700)
    with migrate.files.lock(os.path.join(host.state, "images.tree.lock"), "somebody, pid 5", 1):
        assert "another run is at work on this tree: somebody, pid 5; needed it to end within 0 s" in str(host.fails("copied", lock_timeout_seconds=0))


def test_what_cannot_be_read_refuses_the_tree(host, monkeypatch):
    host.put("a")
    host.put("d/bad")
    whole = agent.Root.folder

    def folder(self, path):
        if path == "d":
            raise OSError(errno.EIO, "Input/output error")
        return whole(self, path)

    monkeypatch.setattr(agent.Root, "folder", folder)
    assert host.run("surveyed")["unreadable"] == [{"path": "d", "reason": "Input/output error"}]
    assert "found what can't be read: d (Input/output error)" in str(host.fails("copied")) and not os.path.exists(host.copy)


# -- the survey ------------------------------------------------------------------------------

def test_a_survey_names_what_there_is_and_writes_nothing(way):
    way.fill()
    os.mkfifo(os.path.join(way.source, "pipe"))
    os.chdir(way.source)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("app.sock")
    listener.close()
    before = listing(way.source)
    found = way.run("surveyed")
    assert found["not_carried"] == [{"path": "app.sock", "kind": "socket"}, {"path": "pipe", "kind": "fifo"}]
    assert found["sparse"] == ["sparse"] and found["hard_links"] == {"groups": 1, "names": 2, "outside": []}
    assert found["problems"] == [] and found["changed"] is False and found["owners"] == {"%d:%d" % (os.getuid(), os.getgid()): len(before)}
    assert found["free_bytes"] > found["needed_bytes"] > found["data_bytes"] and found["estimate"]["bytes_per_second"] > 0
    assert listing(way.source) == before and not {"volume", "state"} & set(os.listdir(way.folder))
    assert [entry["kind"] for entry in way.copied()["not_carried"]] == ["socket", "fifo"]
    assert not os.path.lexists(os.path.join(way.copy, "pipe")) and way.proved()["equal"] is True


def test_an_estimate_is_measured_when_there_is_something_to_measure(way):
    way.put("a")
    assert way.run("surveyed")["estimate"]["basis"].startswith("assumed")
    way.put("b", os.urandom(12 * 10**6))
    assert way.run("surveyed")["estimate"]["basis"].startswith("measured by reading")
    way.copied()
    assert way.run("surveyed")["estimate"]["basis"] == "measured in the last pass" and way.run("surveyed")["estimate"]["seconds"] == 0


# -- while it moves ---------------------------------------------------------------------------

def moving(monkeypatch, step):
    """``step`` runs once, between the first look at the source and the copying."""
    whole, done = migrate.Migration._bring, []

    def bring(self, *given):
        if not done:
            done.append(True)
            step()
        return whole(self, *given)

    monkeypatch.setattr(migrate.Migration, "_bring", bring)


@pytest.mark.parametrize("what", ["vanished", "changed", "new", "folder vanished", "leader vanished"])
def test_what_moves_is_told_in_a_bulk_pass_and_refused_in_the_final_one(way, monkeypatch, what):
    for name in ("a", "b", "d/c", "d/e"):
        way.put(name, b"content of " + name.encode())
    os.link(os.path.join(way.source, "b"), os.path.join(way.source, "b2"))

    def step():
        if what == "vanished":
            os.unlink(os.path.join(way.source, "a"))
        elif what == "leader vanished":
            os.unlink(os.path.join(way.source, "b"))
        elif what == "changed":
            way.put("a", b"longer and other content")
        elif what == "new":
            way.put("z")
        else:
            shutil.rmtree(os.path.join(way.source, "d"))

    names = {"vanished": "a", "changed": "a", "new": "z", "folder vanished": "d/c", "leader vanished": "b"}
    moving(monkeypatch, step)
    assert names[what] in way.copied()["changed_while_copied"]
    shutil.rmtree(way.source)
    for name in ("a", "b", "d/c", "d/e"):
        way.put(name, b"new content of " + name.encode())
    os.link(os.path.join(way.source, "b"), os.path.join(way.source, "b2"))
    shutil.rmtree(way.copy)
    shutil.rmtree(way.state)
    moving(monkeypatch, step)
    problem = way.fails("copied", final=True)
    assert "found the source still being written after the freeze: " in str(problem) and names[what] in problem.result["changed_while_copied"]
    # It stands still by now.
    way.copied(final=True, delete=True)
    assert way.proved()["equal"] is True and listing(way.copy) == listing(way.source)


def test_a_name_that_becomes_a_link_is_not_followed(host, monkeypatch):
    host.put("d/secret", b"harmless")
    host.put("../elsewhere/secret", b"not for the copy")

    def step():
        shutil.rmtree(os.path.join(host.source, "d"))
        os.symlink("../elsewhere", os.path.join(host.source, "d"))

    moving(monkeypatch, step)
    assert "d/secret" in host.copied()["changed_while_copied"]
    assert not os.path.exists(os.path.join(host.copy, "d", "secret"))


def test_a_link_in_the_copy_is_not_written_through(host, monkeypatch):
    host.put("d/f", b"new")
    host.copied()
    host.put("d/f", b"newer content")
    kept = host.put("f", b"not ours", host.folder + "/elsewhere")

    def step():
        shutil.rmtree(os.path.join(host.copy, "d"))
        os.symlink(host.folder + "/elsewhere", os.path.join(host.copy, "d"))

    moving(monkeypatch, step)
    assert "the source was not changed" in str(host.fails("copied"))
    assert host.read(kept) == b"not ours"


def test_a_change_that_keeps_size_and_time_is_brought(host):
    path = host.put("a", b"one")
    host.copied()
    times = os.stat(path).st_mtime_ns
    host.put("a", b"two")
    os.utime(path, ns=(times, times))
    assert host.copied()["copied_files"] == 1 and host.read("a") == b"two"


def test_a_source_that_changes_during_the_proof_is_not_proven(way, monkeypatch):
    way.put("a")
    way.copied()
    whole = migrate.Migration._read_target

    def read_target(self, target):
        way.put("late")
        return whole(self, target)

    monkeypatch.setattr(migrate.Migration, "_read_target", read_target)
    assert "found that the source changed during the proof: late" in str(way.fails("proved"))


# -- proofs that fail ------------------------------------------------------------------------------

def flip(path):
    """One bit, with the old times."""
    status = os.stat(path)
    with open(path, "r+b") as stream:
        stream.seek(status.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_flipped_bit_in_the_copy_is_found_and_mended_by_the_next_pass(way):
    way.fill()
    way.copied()
    flip(os.path.join(way.copy, "d1", "f4"))
    problem = way.fails("proved")
    assert "found 1 differences to " in str(problem) and "d1/f4 (content: 16000 bytes" not in str(problem) and "d1/f4 (content: " in str(problem)
    assert problem.result["equal"] is False and problem.result["differences"][0]["path"] == "d1/f4"
    assert problem.result["source"]["digest"] != problem.result["target"]["digest"]
    assert way.copied()["copied_files"] == 1
    assert way.proved()["equal"] is True and listing(way.copy) == listing(way.source)


def test_a_flipped_bit_in_the_source_that_keeps_its_time_is_found(way):
    way.put("a", b"some content")
    way.copied()
    flip(os.path.join(way.source, "a"))
    assert way.fails("proved").result["differences"][0]["difference"] == "content"


def test_each_kind_of_difference_is_named(way):
    way.fill()
    way.copied()
    os.unlink(os.path.join(way.copy, "d0", "f3"))
    way.put("extra", base=way.copy)
    os.chmod(os.path.join(way.copy, "d0", "f6"), 0o755)
    os.unlink(os.path.join(way.copy, "link"))
    os.symlink("big", os.path.join(way.copy, "link"))
    os.unlink(os.path.join(way.copy, "d1", "big too"))
    shutil.copy2(os.path.join(way.copy, "big"), os.path.join(way.copy, "d1", "big too"))
    way.put(b"odd/caf\xe9", b"other", base=way.copy)
    problem = way.fails("proved")
    found = {entry["path"]: entry["difference"] for entry in problem.result["differences"]}
    assert found == {"d0/f3": "missing", "extra": "extra", "d0/f6": "mode", "link": "link", "d1/big too": "link", "odd/caf\\xe9": "content"}
    assert problem.result["difference_count"] == 6 and "odd/caf\\xe9 (content: " in str(problem)
    json.dumps(problem.result).encode("ascii")
    way.copied(final=True, delete=True)
    assert way.proved()["equal"] is True


def test_only_the_first_twenty_differences_are_named(host):
    for number in range(30):
        host.put("f%02d" % number)
    host.copied()
    for number in range(25):
        os.unlink(os.path.join(host.copy, "f%02d" % number))
    problem = host.fails("proved")
    assert len(problem.result["differences"]) == 20 and problem.result["difference_count"] == 25 and "f19" in str(problem) and " and 5 more" in str(problem)
    assert "f20" not in str(problem)


def test_a_proof_reads_of_the_source_what_it_does_not_know_or_all_when_asked(way):
    way.put("a", b"x" * 1000)
    way.put("b", b"y" * 500)
    way.copied()
    assert way.proved(verify="always")["hashed_bytes"] == {"source": 1500, "target": 1500}
    os.unlink(os.path.join(way.state, "images.tree-index.json"))
    assert way.proved()["hashed_bytes"]["source"] == 1500
    assert way.proved()["hashed_bytes"]["source"] == 0


def test_a_proof_without_a_copy_is_told(host):
    host.put("a")
    assert "found no such folder; needed the copy that is to be proven" in str(host.fails("proved"))


def test_a_file_of_the_source_that_cannot_be_read_is_equal_to_nothing(host, monkeypatch):
    host.put("a")
    host.copied()
    os.unlink(os.path.join(host.state, "images.tree-index.json"))
    whole = agent.Root.open

    def broken(self, path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(agent.Root, "open", broken)
    assert "found files that can't be read: a; needed all of them" in str(host.fails("proved"))
    monkeypatch.setattr(agent.Root, "open", whole)
    assert host.proved()["equal"] is True


# -- breakdowns in the middle -------------------------------------------------------------------------

@pytest.mark.parametrize("code, words", [(errno.ENOSPC, "found the disk full while copying"), (errno.EDQUOT, "found the disk full while copying"),
                                         (errno.EIO, "found Input/output error; needed to write there")])
def test_a_disk_that_breaks_down_is_told_and_the_next_run_goes_on(host, monkeypatch, code, words):
    for number in range(40):
        host.put("f%d" % number, b"x" * 1000)
    whole, count = os.pwrite, []

    def pwrite(*given):
        count.append(1)
        if len(count) > 20:
            raise OSError(code, os.strerror(code))
        return whole(*given)

    with monkeypatch.context() as patched:
        patched.setattr(targets.os, "pwrite", pwrite)
        problem = host.fails("copied")
    assert words in str(problem) and "the source was not changed" in str(problem) and "run again" in str(problem) and problem.result["changed"] is True
    assert all(host.read(name) == b"x" * 1000 for name in os.listdir(host.copy)) and delta.WORK not in os.listdir(host.copy)
    result = host.copied()
    assert 0 < result["copied_files"] < 40 and host.proved()["equal"] is True


def test_a_file_that_cannot_be_read_in_the_middle_is_named(host, monkeypatch):
    host.put("good")
    host.put("bad")
    whole = agent.Root.open

    def open_(self, path):
        if path == "bad" and self.path == host.source:
            raise OSError(errno.EIO, "Input/output error")
        return whole(self, path)

    monkeypatch.setattr(agent.Root, "open", open_)
    assert "found files that can't be read: bad (Input/output error)" in str(host.fails("copied")) and host.read("good") == b"x"
    monkeypatch.setattr(agent.Root, "open", whole)
    assert host.copied()["copied_files"] == 1


@pytest.mark.parametrize("seconds", [0.25, 0.3, 0.35, 0.4, 0.5, 0.7])
def test_a_killed_run_is_gone_on_with_by_the_next(way, seconds):
    for number in range(300):
        way.put("d%d/f%d" % (number % 7, number), os.urandom(100000))
    given = dict(way.params(state="copied"))
    given = {key: value for key, value in given.items() if value not in (None, "")}
    process = subprocess.Popen([sys.executable, module.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    process.stdin.close()
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = listing(way.source)
    # No name in the copy ever held a part of its file.
    for name, found in (listing(way.copy) if os.path.isdir(way.copy) else {}).items():
        if found[0] == agent.FILE and not delta.is_reserved(name):
            assert found[5] == before[name][5], name
    way.copied(final=True, delete=True)
    assert way.proved()["equal"] is True and listing(way.copy) == before


def at_work_in(path):
    """Processes that have a path in their command line."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as stream:
                if os.fsencode(path) in stream.read():
                    found.append(int(name))
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
    return found


def test_a_killed_run_leaves_no_rsync_that_goes_on(host):
    for number in range(200):
        host.put("f%d" % number, os.urandom(500000))
    given = {"name": "images", "state": "copied", "source": host.source, "destination": host.copy, "state_dir": host.state, "method": "rsync"}
    process = subprocess.Popen([sys.executable, module.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    process.stdin.close()
    while process.poll() is None and not (os.path.isdir(host.copy) and len(os.listdir(host.copy)) > 5):
        time.sleep(0.005)
    assert at_work_in(host.copy) != []
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while at_work_in(host.copy) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert at_work_in(host.copy) == []
    host.copied(final=True, delete=True)
    assert host.proved()["equal"] is True


@pytest.mark.parametrize("variable, value, words", [
    ("SSH_FAILS", "ssh: connect to host pi port 22: Connection refused", "ssh can't reach it: ssh: connect to host pi port 22: Connection refused"),
    ("SUDO_FAILS", "1", "sudo there refuses: sudo: a password is required"),
])
@pytest.mark.parametrize("state", ["surveyed", "copied", "proved"])
def test_another_host_that_does_not_let_us_in_is_told(far, monkeypatch, variable, value, words, state):
    far.put("a")
    monkeypatch.setenv(variable, value)
    problem = str(far.fails(state))
    assert words in problem and "nothing was changed there; mend it, then run again" in problem and not os.path.exists(far.copy)


def test_an_ssh_that_breaks_off_is_not_taken_for_a_host_without_rsync(far, tmp_path):
    far.put("a")
    script = (tmp_path / "bin" / "ssh").read_text()
    (tmp_path / "bin" / "ssh").write_text(script.replace("exec sh", "case $* in *rsync*) exit 255;; esac\nexec sh"), encoding="utf-8")
    assert "ssh can't reach it: no words" in str(far.fails("copied")) and not os.path.exists(far.copy)


def test_another_host_without_python_is_told(far):
    far.put("a")
    assert "the program is not there: " in str(far.fails("copied", source_python="python9"))


def test_another_host_whose_shell_greets_is_told(far, tmp_path):
    far.put("a")
    (tmp_path / "bin" / "sudo").write_text(SUDO.replace("exec", "echo Welcome to my Pi\nexec"), encoding="utf-8")
    assert "found an answer that is none of ours: b'Welcome to my Pi\\n'; needed a shell that prints nothing by itself" in str(far.fails("copied"))


@pytest.mark.parametrize("method", ["own", "rsync"])
def test_a_network_that_is_cut_is_told_and_the_next_run_goes_on(far, tmp_path, monkeypatch, method):
    for number in range(20):
        far.put("f%02d" % number, os.urandom(200000))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("CUTTER", CUTTER)
    script = (tmp_path / "bin" / "ssh").read_text()
    # The stream of files breaks off; the look at the tree before came through.
    (tmp_path / "bin" / "ssh").write_text(script.replace('exec sh -c "$*"', CUT), encoding="utf-8")
    problem = str(far.fails("copied", method=method))
    assert "run again: it goes on where it was" in problem and ("rsync ended with" if method == "rsync" else "does not answer, or no longer") in problem
    (tmp_path / "bin" / "ssh").write_text(script, encoding="utf-8")
    assert delta.WORK not in os.listdir(far.copy)
    result = far.copied(method=method)
    assert 0 < result["copied_files"] < 20 and far.proved()["equal"] is True


# -- volumes ----------------------------------------------------------------------------------------------

class Api:
    """What Docker tells of volumes."""

    def __init__(self, volume=None, error=None, root=None):
        self.volume, self.error, self.root = volume, error, root

    def inspect(self, kind, name):
        assert kind == "volumes"
        if self.error:
            raise self.error
        return self.volume

    def get(self, path):
        return {"DockerRootDir": self.root}


@pytest.fixture
def docker(host, monkeypatch):
    host.more = {"destination": None, "volume": "inventory_images", "path": "a/b"}

    def answer(**given):
        monkeypatch.setattr(module, "DockerApi", lambda path, timeout: Api(**given))
    return answer


def test_a_folder_in_a_volume_is_made(host, docker):
    os.mkdir(host.copy)
    docker(volume={"Mountpoint": host.copy, "Driver": "local", "Options": None})
    host.put("f", b"content")
    assert host.copied()["destination"] == os.path.join(host.copy, "a", "b")
    assert host.read("a/b/f") == b"content" and host.proved()["equal"] is True


def test_a_link_in_a_volume_is_not_followed(host, docker):
    os.mkdir(host.copy)
    os.mkdir(os.path.join(host.folder, "elsewhere"))
    os.symlink(os.path.join(host.folder, "elsewhere"), os.path.join(host.copy, "a"))
    docker(volume={"Mountpoint": host.copy, "Driver": "local", "Options": None})
    assert "found a symlink; needed a folder, or nothing" in str(host.fails("copied")) and os.listdir(os.path.join(host.folder, "elsewhere")) == []


def test_a_volume_that_is_not_there_yet_is_surveyed_but_not_filled(host, docker):
    host.put("f")
    docker(error=DockerApiError("x", 404, "no such volume"), root=host.folder)
    found = host.run("surveyed")
    assert found["destination"] == {"path": None, "exists": False, "own": False, "entries": 0} and found["free_bytes"] > 0 and found["problems"] == []
    assert "found no volume inventory_images; needed it to exist" in str(host.fails("copied"))


def test_a_host_without_docker_is_surveyed_but_not_filled(host, monkeypatch):
    host.put("f")
    socket = os.path.join(host.folder, "no-docker.sock")
    found = host.run("surveyed", destination=None, volume="inventory_images", docker_socket=socket)
    assert found["destination"]["exists"] is False and found["free_bytes"] > 0 and found["problems"] == []
    assert "(the daemon is not running)" in str(host.fails("copied", destination=None, volume="inventory_images", docker_socket=socket))


@pytest.mark.parametrize("volume", [{"Driver": "nfs", "Options": {}}, {"Driver": "local", "Options": {"type": "nfs", "device": ":/x"}}])
def test_a_volume_that_is_mounted_from_elsewhere_is_refused(host, docker, volume):
    docker(volume=dict(volume, Mountpoint=host.copy))
    assert "found that inventory_images is mounted from elsewhere" in str(host.fails("copied"))


@pytest.mark.parametrize("error", [DockerUnavailable("no such socket"), DockerApiError("x", 500, "no such socket")])
def test_docker_that_does_not_answer_is_told(host, docker, error):
    docker(error=error)
    problem = str(host.fails("copied"))
    assert "Docker does not tell where inventory_images is: " in problem and "no such socket" in problem and "nothing was changed" in problem


# -- as Ansible calls it -----------------------------------------------------------------------------------

def call(**given):
    done = subprocess.run([sys.executable, module.__file__], input=json.dumps({"ANSIBLE_MODULE_ARGS": given}), capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def test_a_module_run_succeeds_and_fails_as_ansible_needs_it(host):
    host.put(b"caf\xe9\n")
    given = dict(name="images", state="copied", source=host.source, destination=host.copy, state_dir=host.state, progress_token="ab" * 16)
    result = call(**given)
    assert result["changed"] is True and result["diff"]["prepared"].startswith("+ caf\\xe9\\n\n")
    flip(os.path.join(os.fsencode(host.copy), b"caf\xe9\n"))
    given["state"] = "proved"
    result = call(**given)
    assert result["failed"] is True and result["equal"] is False and result["changed"] is False and result["difference_count"] == 1
    assert "mutually exclusive" in call(**dict(given, volume="v"))["msg"]
    assert "one of the following is required: destination, volume" in call(name="images", source="/a", state_dir="/b")["msg"]


def test_a_freeze_that_has_ended_is_no_time_for_a_copy(host):
    host.put("a")
    result = call(name="images", state="copied", source=host.source, destination=host.copy, state_dir=host.state, lease=host.folder + "/no/lease.json")
    assert result["failed"] is True and "found the freeze ended; needed it to hold" in result["msg"] and not os.path.exists(host.copy)


def test_the_progress_is_reported_in_bytes(host, monkeypatch):
    host.put("a", b"x" * 5000)
    told = []

    class Reporter(module.progress.Tally):
        def __enter__(self):
            return self

        def __exit__(self, *unused):
            told.append(self.document())

    monkeypatch.setattr(module.progress, "open_reporter", lambda token, label: Reporter(label))
    host.copied()
    host.proved(verify="always")
    assert [(item["name"], item["done"], item["total"]) for document in told for item in document["items"]] == [
        ("images", 5000, 5000), ("images, copy", 5000, 5000), ("images, source", 5000, 5000)]
    assert [document["label"] for document in told] == ["copying", "proving"]
