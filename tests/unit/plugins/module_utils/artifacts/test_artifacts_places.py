# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs: disks that are full or can't be written, and single files elsewhere than in the store."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import blocks, bring, place


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


DATA = noise(300000, 1)
SET = {"owner": "oura", "name": "models"}


# ---- disks --------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_in_the_middle(bench, web, monkeypatch, small_blocks):
    web.files["/a"] = DATA
    original, written = blocks.write_all, []

    def full(descriptor, view):
        if sum(written) > 100000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(len(view))
        original(descriptor, view)

    monkeypatch.setattr(blocks, "write_all", full)
    found = bench.refused(files=[web.one(sources=[{"url": web.base + "/a"}, {"url": web.base + "/b"}])], set=SET)
    assert "no space left on" in found["found"] and bench.left() == [] and len(web.requests) == 1, "another source does not help"
    assert not os.path.exists(bench.store.object_path(digest_of(DATA)))


def test_a_body_without_end_or_size_leaves_the_host_its_reserve(bench, web, monkeypatch, small_blocks):
    web.files["/a"] = DATA
    monkeypatch.setattr(blocks, "_LOOK_BYTES", 100000)
    monkeypatch.setattr(blocks, "free_bytes", lambda path: blocks.RESERVE_BYTES - 1)
    assert "less than 64 MiB are left" in bench.refused(files=[web.one(size=None)])["found"]
    assert bench.left() == []


def test_space_is_asked_first_and_partial_bytes_count(bench, web, monkeypatch):
    web.files["/a"] = DATA
    bench.partial(DATA[:250000])
    free = [blocks.RESERVE_BYTES + 49999]
    monkeypatch.setattr(bring, "free_bytes", lambda path: free[0])
    found = bench.refused(files=[web.one()])
    assert "free" in found["found"] and "48.8 KiB" in found["needed"] and web.requests == []
    free[0] += 1
    bench.run(files=[web.one()])


def test_space_is_asked_as_soon_as_a_size_is_known(bench, web, monkeypatch):
    web.files["/a"] = DATA
    bench.partial(DATA[:1000])
    monkeypatch.setattr(bring, "free_bytes", lambda path: blocks.RESERVE_BYTES + 1000)
    found = bench.refused(files=[web.one(size=None)])
    assert "free" in found["found"] and "file a" in found["where"] and os.path.getsize(bench.store.partial_path(digest_of(DATA))) == 1000


def test_space_for_copies_is_asked_too(bench, web, monkeypatch):
    web.files["/a"] = DATA
    monkeypatch.setattr(bring, "free_bytes", lambda path: blocks.RESERVE_BYTES + len(DATA))
    assert "free" in bench.refused(files=[web.one()], set=SET, method="copy")["found"]
    bench.run(files=[web.one()], set=SET)


@pytest.mark.parametrize("door", ["mkdir", "open", "rename"])
def test_a_store_that_is_read_only(bench, web, monkeypatch, door):
    web.files["/a"] = DATA
    original = getattr(os, door)

    def read_only(path, *arguments, **named):
        if str(path).startswith(bench.store.path) and (door != "open" or arguments[0] & os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", path)
        return original(path, *arguments, **named)

    monkeypatch.setattr(os, door, read_only)
    found = bench.refused(files=[web.one()])
    assert found["found"] == "a read-only file system" and found["setting"] == "the option store"


def test_two_runs_exclude_each_other_and_the_holder_is_named(bench, web):
    with bench.store.lock("a run of somebody", 0):
        found = bench.refused(files=[web.one()])
    assert "a run of somebody (process %d)" % os.getpid() in found["found"] and found["setting"] == "lock_timeout_seconds"
    web.files["/a"] = DATA
    bench.run(files=[web.one()])


def test_a_run_with_nothing_to_do_waits_for_nobody(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET)
    with bench.store.lock("a long one", 0):
        assert not bench.run(files=[web.one()], set=SET)["changed"]


# ---- destinations -------------------------------------------------------------------------------------------------------


def test_a_destination_gets_owner_and_mode(bench, web, tmp_path):
    web.files["/a"] = DATA
    path = tmp_path / "new" / "deep" / "model"
    files = [web.one(destinations=[{"path": str(path), "owner": "1234", "group": "2345", "mode": "0640"}])]
    bench.run(files=files)
    status = path.stat()
    assert path.read_bytes() == DATA and (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o640)
    assert not bench.run(files=files)["changed"] and os.listdir(path.parent) == ["model"]
    os.chmod(path, 0o600)
    inode = path.stat().st_ino
    assert bench.run(files=files)["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and path.stat().st_ino == inode, "only the mode was mended"


def test_a_destination_with_the_right_content_is_not_fetched(bench, web, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(DATA)
    result = bench.run(files=[web.one(destinations=[{"path": str(path)}])])
    assert web.requests == [] and result["files"]["a"]["source"] == str(path) and bench.object(DATA) == DATA


def test_a_destination_with_another_content_is_replaced_at_once(bench, web, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    web.files["/a"] = DATA
    original, seen = os.rename, []

    def rename(source, target, *rest):
        if target == str(path):
            seen.append(path.read_bytes())
        return original(source, target, *rest)

    monkeypatch.setattr(place.os, "rename", rename)
    result = bench.run(files=[web.one(destinations=[{"path": str(path)}])])
    assert seen == [b"old"] and path.read_bytes() == DATA and result["changed"]


def test_a_hard_link_only_where_owner_and_mode_agree(bench, web, tmp_path):
    web.files["/a"] = DATA
    uid, gid = str(os.geteuid()), str(os.getegid())
    path = tmp_path / "model"
    bench.run(files=[web.one(destinations=[{"path": str(path), "owner": uid, "group": gid, "mode": "0444"}])], method="hardlink")
    assert os.path.samefile(path, bench.store.object_path(digest_of(DATA)))
    files = [web.one(destinations=[{"path": str(tmp_path / "other"), "mode": "0644"}])]
    found = bench.refused(files=files, method="hardlink")
    assert "mode 0644" in found["found"] and "0444" in found["needed"] and found["setting"] == "method" and not (tmp_path / "other").exists()
    bench.run(files=files)
    assert not os.path.samefile(tmp_path / "other", bench.store.object_path(digest_of(DATA)))


def test_a_destination_is_no_link_of_the_store_unless_asked(bench, web, tmp_path):
    web.files["/a"] = DATA
    place_of = {"path": str(tmp_path / "model"), "owner": str(os.geteuid()), "group": str(os.getegid()), "mode": "0444"}
    bench.run(files=[web.one(destinations=[place_of])])
    assert os.stat(bench.store.object_path(digest_of(DATA))).st_nlink == 1, "who writes to it must not change the store"


def test_a_destination_that_changes_while_others_are_fetched_is_looked_at_again(bench, web, tmp_path):
    def swap(handler):
        (tmp_path / "model").symlink_to("/etc/passwd")
        handler.answer(200, DATA)

    web.odd["/a"] = [swap]
    assert "a symbolic link out of its folder" in bench.refused(files=[web.one(destinations=[{"path": str(tmp_path / "model")}])])["found"]
    assert (tmp_path / "model").is_symlink()


def test_reflink_where_the_file_system_can_not(bench, web, monkeypatch):
    web.files["/a"] = DATA

    def refuse(*unused):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(place.fcntl, "ioctl", refuse)
    found = bench.refused(files=[web.one()], set=SET, method="reflink")
    assert "can't share blocks" in found["found"] and found["setting"] == "method"


def test_reflink_where_it_can(bench, web, monkeypatch):
    web.files["/a"] = DATA

    def clone(descriptor, request, source):
        assert request == 0x40049409
        os.pwrite(descriptor, os.pread(source, len(DATA), 0), 0)

    monkeypatch.setattr(place.fcntl, "ioctl", clone)
    result = bench.run(files=[web.one()], set=SET)
    path = os.path.join(result["set"]["path"], "a")
    assert not os.path.samefile(path, bench.store.object_path(digest_of(DATA)))
    assert not bench.run(files=[web.one()], set=SET)["changed"]


def make_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("make, words", [
    (lambda path: path.symlink_to("/etc/passwd"), "a symbolic link out of its folder"),
    (lambda path: path.symlink_to("/nowhere"), "a symbolic link out of its folder"),
    (make_pipe, "a pipe"),
    (lambda path: path.mkdir(), "a folder"),
])
def test_destinations_that_are_no_file(bench, web, tmp_path, make, words):
    path = tmp_path / "there" / "model"
    path.parent.mkdir()
    make(path)
    found = bench.refused(files=[web.one(destinations=[{"path": str(path)}])])
    assert words in found["found"] and str(path) in found["where"] and web.requests == []


def test_a_destination_that_is_a_device(bench, web):
    assert "a device" in bench.refused(files=[web.one(destinations=[{"path": "/dev/null"}])])["found"]


@pytest.mark.parametrize("path", ["relative/path", "/a/../etc/model", "/etc/", "/etc//model"])
def test_destinations_that_are_no_plain_path(bench, web, path):
    assert "no absolute, plain path" in bench.refused(files=[web.one(destinations=[{"path": path}])])["found"]


def test_a_destination_in_the_store(bench, web):
    assert "a place in the store" in bench.refused(files=[web.one(destinations=[{"path": bench.store.path + "/sha256/aa/x"}])])["found"]


def test_a_destination_below_somebodys_link(bench, web, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.lchown(tmp_path / "link", 1234, 1234)
    found = bench.refused(files=[web.one(destinations=[{"path": str(tmp_path / "link" / "model")}])])
    assert "a symbolic link %s of user 1234" % (tmp_path / "link") in found["found"]


def test_a_read_only_destination(bench, web, tmp_path, monkeypatch):
    original = os.statvfs

    def read_only(path):
        status = original(path)
        fields = list(status)
        fields[8] = fields[8] | os.ST_RDONLY
        return os.statvfs_result(fields) if str(path) == str(tmp_path) else status

    monkeypatch.setattr(place.os, "statvfs", read_only)
    found = bench.refused(files=[web.one(destinations=[{"path": str(tmp_path / "model")}])])
    assert found["found"] == "a read-only file system" and web.requests == []


def test_a_destination_on_a_disk_that_is_full(bench, web, tmp_path, monkeypatch):
    web.files["/a"] = DATA
    path = tmp_path / "model"
    path.write_bytes(b"old")
    bench.run(files=[web.one()])

    def full(descriptor, view):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blocks, "write_all", full)
    found = bench.refused(files=[web.one(destinations=[{"path": str(path)}])])
    assert "no space left" in found["found"] and path.read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["model", "store"]


def test_a_file_that_another_user_puts_in_place_is_not_taken_for_ours(bench, web, tmp_path, monkeypatch):
    web.files["/a"] = DATA
    path, original = tmp_path / "model", os.rename

    def rename(source, target):
        if target == str(path):
            os.unlink(source)
            with open(source, "wb") as handle:
                handle.write(b"foreign")
        original(source, target)

    monkeypatch.setattr(place.os, "rename", rename)
    files = [web.one(destinations=[{"path": str(path)}])]
    assert "another file than the one that was placed" in bench.refused(files=files)["found"]
    monkeypatch.undo()
    bench.run(files=files)
    assert path.read_bytes() == DATA


def test_an_unknown_owner(bench, web, tmp_path):
    found = bench.refused(files=[web.one(destinations=[{"path": str(tmp_path / "m"), "owner": "nobody-knows-me"}])])
    assert "unknown owner nobody-knows-me" in found["found"] and web.requests == []


def test_a_link_in_the_way_of_a_set(bench, web, tmp_path):
    web.files["/a"] = DATA
    (tmp_path / "elsewhere").mkdir()
    bench.store.folder(os.path.join(bench.store.path, "sets"))
    os.symlink(tmp_path / "elsewhere", os.path.join(bench.store.path, "sets", "oura"))
    assert "a symbolic link" in bench.refused(files=[web.one()], set=SET)["found"] and os.listdir(tmp_path / "elsewhere") == []
