# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs: files that are on the host already or being sent to it, and members of archives."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import random
import stat
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import bring, store as store_module
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


DATA = noise(300000, 1)
SET = {"owner": "oura", "name": "models"}


# ---- files of the host --------------------------------------------------------------------------------------------------


def test_a_file_of_the_host_is_moved_into_the_store(bench, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    inode = path.stat().st_ino
    result = bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert not path.exists() and os.stat(bench.store.object_path(digest_of(DATA))).st_ino == inode
    assert (result["bytes_fetched"], result["bytes_hashed"]) == (0, len(DATA))


def test_a_file_of_the_host_that_is_to_stay_is_copied(bench, tmp_path):
    path = tmp_path / "mine"
    path.write_bytes(DATA)
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path), "keep": True}]}])
    assert path.read_bytes() == DATA and not os.path.samefile(path, bench.store.object_path(digest_of(DATA)))


def test_a_wrong_file_of_the_host_stays_but_a_wrong_upload_goes(bench, tmp_path):
    path = tmp_path / "mine"
    path.write_bytes(b"wrong")
    entry = {"name": "a", "data": DATA, "sources": [{"path": str(path)}]}
    assert digest_of(b"wrong") in bench.refused(files=[entry])["found"] and path.exists()
    upload = bench.store.partial_path(digest_of(DATA)) + ".push"
    with open(upload, "wb") as handle:
        handle.write(b"wrong")
    bench.refused(files=[dict(entry, sources=[{"path": upload}])])
    assert not os.path.exists(upload)


def make_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("make, words", [(lambda path: path.symlink_to("/etc/passwd"), "can't be opened"), (lambda path: path.mkdir(), "no plain file"),
                                         (make_pipe, "no plain file"), (lambda path: None, "can't be opened")])
def test_a_file_of_the_host_that_is_none(bench, tmp_path, make, words):
    make(tmp_path / "x")
    assert words in bench.refused(files=[{"name": "a", "data": DATA, "sources": [{"path": str(tmp_path / "x")}]}])["found"]


def test_a_file_that_still_grows_is_followed(bench, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA[:1000])
    pauses = []

    def grow(seconds):
        pauses.append(seconds)
        with open(path, "ab") as handle:
            handle.write(DATA[1000:200000] if len(pauses) == 1 else DATA[200000:])

    original = bring.Bringer.__init__
    monkeypatch.setattr(bring.Bringer, "__init__", lambda self, *arguments, **named: (original(self, *arguments, **named), setattr(self, "_sleep", grow))[0])
    result = bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path), "follow": True, "size": len(DATA)}]}])
    assert len(pauses) == 2 and result["bytes_hashed"] == len(DATA) and bench.object(DATA) == DATA


def test_a_file_that_stops_growing_is_given_up_and_stays(bench, web, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA[:1000])
    web.files["/a"] = DATA
    now = [0.0]
    original = bring.Bringer.__init__

    def with_clock(self, *arguments, **named):
        original(self, *arguments, **named)
        self._clock, self._sleep = lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + 0.5)

    monkeypatch.setattr(bring.Bringer, "__init__", with_clock)
    entry = {"name": "a", "data": DATA, "sources": [{"path": str(path), "follow": True, "size": len(DATA)}]}
    found = bench.refused(files=[entry])
    assert "stopped growing at 1000 of %d bytes" % len(DATA) in found["found"] and path.stat().st_size == 1000
    bench.run(files=[dict(entry, sources=entry["sources"] + [{"url": web.base + "/a"}])])
    assert bench.object(DATA) == DATA


def test_an_upload_that_grows_beyond_its_size_is_refused(bench, web, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    original = bring.Bringer._follow

    def follow(*arguments):
        found = original(*arguments)
        with open(path, "ab") as handle:
            handle.write(b"more")
        return found

    monkeypatch.setattr(bring.Bringer, "_follow", follow)
    web.files["/a"] = DATA
    for source in ({"path": str(path), "follow": True, "size": len(DATA)}, {"path": str(path)}):
        assert "somebody changed" in bench.refused(files=[{"name": "a", "data": DATA, "sources": [source]}])["found"]
        assert bench.store.state(digest_of(DATA)) == ("missing", None)
        path.write_bytes(DATA)
    bench.run(files=[web.one(sources=[{"path": str(path)}, {"url": web.base + "/a"}])])
    assert bench.object(DATA) == DATA, "another source is tried"


def test_a_file_that_is_written_after_it_was_moved_has_no_receipt(bench, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    original = os.rename

    def rename(source, target):
        original(source, target)
        if source == str(path):
            os.utime(target, ns=(1, 1))

    monkeypatch.setattr(store_module.os, "rename", rename)
    assert "somebody changed" in bench.refused(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])["found"]
    assert bench.store.state(digest_of(DATA)) == ("missing", None)


def test_a_file_that_somebody_still_has_open_for_writing_is_copied(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bring, "_CLOSE_S", 0)
    for name, writer in (("open", True), ("closed", False)):
        path, data = tmp_path / name, noise(1000, writer)
        path.write_bytes(data)
        inode = path.stat().st_ino
        with open(path, "r+b") if writer else open(path, "rb") as handle:
            bench.run(files=[{"name": "a", "data": data, "sources": [{"path": str(path)}]}])
            if writer:
                handle.write(b"late")
        assert not path.exists() and (os.stat(bench.store.object_path(digest_of(data))).st_ino == inode) is not writer
        assert bench.object(data) == data


def test_a_sender_that_is_about_to_close_is_waited_for(bench, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    inode, handle = path.stat().st_ino, open(path, "r+b")
    original = bring.Bringer.__init__
    monkeypatch.setattr(bring.Bringer, "__init__",
                        lambda self, *arguments, **named: (original(self, *arguments, **named), setattr(self, "_sleep", lambda seconds: handle.close()))[0])
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert handle.closed and os.stat(bench.store.object_path(digest_of(DATA))).st_ino == inode


def test_who_comes_to_write_while_a_file_is_taken_does_not_write_into_the_object(bench, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    original, writers = store_module.Store.adopt, []

    def adopt(self, descriptor, *arguments):
        if not writers:
            code = "import sys\nwith open(sys.argv[1], 'ab') as handle:\n    handle.write(b'late')"
            writers.append(subprocess.Popen([sys.executable, "-c", code, str(path)]))
            # He waits in the kernel as soon as the lease says that somebody wants it.
            while fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK:
                time.sleep(0.01)
        original(self, descriptor, *arguments)

    monkeypatch.setattr(store_module.Store, "adopt", adopt)
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert writers[0].wait(60) == 0, "he wrote"
    assert bench.object(DATA) == DATA and bench.store.state(digest_of(DATA))[0] == "verified"


def test_who_opens_a_file_while_it_is_taken_does_not_end_the_run(bench, tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    original = store_module.Store.adopt

    def adopt(self, *arguments):
        if path.exists():  # the first time: what somebody wanted to write to is copied afterwards
            code = "import os, sys\ntry:\n    os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)\nexcept BlockingIOError:\n    print('held')"
            done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
            assert done.stdout == "held\n"
        return original(self, *arguments)

    monkeypatch.setattr(store_module.Store, "adopt", adopt)
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert bench.object(DATA) == DATA


def test_what_other_ways_left_half_done_goes(bench, web, tmp_path):
    web.files["/a"] = DATA
    for suffix in ("", ".1", ".push"):
        bench.store.prepare()
        with open(bench.store.partial_path(digest_of(DATA)) + suffix, "wb") as handle:
            handle.write(DATA[:10])
    path = tmp_path / "mine"
    path.write_bytes(DATA)
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert bench.left() == []


def test_a_file_of_the_host_with_a_second_name_is_copied(bench, tmp_path):
    path, other = tmp_path / "upload", tmp_path / "other"
    path.write_bytes(DATA)
    os.link(path, other)
    os.chmod(path, 0o640)
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"path": str(path)}]}])
    assert not path.exists() and stat.S_IMODE(other.stat().st_mode) == 0o640
    assert not os.path.samefile(other, bench.store.object_path(digest_of(DATA)))


# ---- archives -----------------------------------------------------------------------------------------------------------

MEMBERS = {"top/one.bin": noise(70000, 4), "top/two.bin": b"two"}


def tar_of(members, mode="w", links=None):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind in links or ():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return target.getvalue()


def zip_of(members, attributes=None):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (attributes or 0o100644) << 16
            archive.writestr(info, data)
    return target.getvalue()


PACKED = {
    "tar": tar_of(MEMBERS.items()),
    "tar.gz": gzip.compress(tar_of(MEMBERS.items())),
    "tar.bz2": bz2.compress(tar_of(MEMBERS.items())),
    "tar.xz": lzma.compress(tar_of(MEMBERS.items())),
    "dotted tar": tar_of([("./" + name, data) for name, data in MEMBERS.items()]),
    "zip": zip_of(MEMBERS.items()),
}


def packed(web, archive, members=None):
    web.files["/archive"] = archive
    files = [web.one("/archive", archive, name="archive")]
    for name, data in (MEMBERS if members is None else members).items():
        files.append({"name": name, "data": data, "sources": [{"archive": "archive", "member": name}]})
    return files


@pytest.mark.parametrize("kind", sorted(PACKED))
def test_members_come_out_of_archives_in_one_pass(bench, web, kind, monkeypatch):
    from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import members
    original, passes = members.read_members, []
    monkeypatch.setattr(members, "read_members", lambda *arguments: (passes.append(arguments[0]), original(*arguments))[1])
    result = bench.run(files=packed(web, PACKED[kind]), set=SET)
    for name, data in MEMBERS.items():
        with open(os.path.join(result["set"]["path"], name), "rb") as handle:
            assert handle.read() == data
    assert len(passes) == 1 and result["files"]["top/two.bin"]["source"] == "top/two.bin in archive"
    assert not bench.run(files=packed(web, PACKED[kind]), set=SET)["changed"]


def test_what_comes_out_of_an_archive_is_not_counted_as_fetched(bench, web):
    result = bench.run(check_mode=True, files=packed(web, PACKED["zip"]))
    assert result["bytes_to_fetch"] == len(PACKED["zip"]) and {item["name"]: item["source"] for item in result["would_fetch"]} == {
        "archive": web.base + "/archive", "top/one.bin": "top/one.bin in archive", "top/two.bin": "top/two.bin in archive"}


def test_an_archive_in_an_archive(bench, web):
    inner = tar_of([("deep", b"deep")])
    outer = zip_of([("inner.tar", inner)])
    web.files["/archive"] = outer
    files = [{"name": "deep", "data": b"deep", "sources": [{"archive": "inner.tar", "member": "deep"}]},
             {"name": "inner.tar", "data": inner, "sources": [{"archive": "archive", "member": "inner.tar"}]}, web.one("/archive", outer, name="archive")]
    bench.run(files=files)
    assert bench.object(b"deep") == b"deep"


def test_the_last_of_two_members_with_one_name_may_be_the_right_one(bench, web):
    bench.run(files=packed(web, tar_of([("m", b"old"), ("m", b"new")]), {"m": b"new"}))
    assert bench.object(b"new") == b"new"


@pytest.mark.parametrize("archive, words", [
    (tar_of([("other", b"")]), "no m in archive"),
    (tar_of([("m", b"wrong!")]), digest_of(b"wrong!")),
    (tar_of([("m", b"another size")]), "12 bytes"),
    (tar_of([], links=[("m", tarfile.SYMTYPE)]), "a link instead of the file m"),
    (tar_of([], links=[("m", tarfile.LNKTYPE)]), "a link instead of the file m"),
    (tar_of([], links=[("m", tarfile.CHRTYPE)]), "a device instead of the file m"),
    (zip_of([("m", b"/etc/passwd")], 0o120777), "a link or device instead of the file m"),
    (zip_of([("m", b"wrong!")]), digest_of(b"wrong!")),
    (b"no archive at all, but long enough for one" * 100, "an archive that can't be read"),
    (gzip.compress(tar_of([("m", noise(50000, 5))]))[:20000], "an archive that can't be read"),
    (zip_of([("m", b"member")])[:-30], "an archive that can't be read"),
])
def test_bad_archives(bench, web, archive, words):
    found = bench.refused(files=packed(web, archive, {"m": b"member"}))
    assert words in found["found"] and "file m" in found["where"] and bench.left() == []


def test_an_archive_that_is_missing_is_told_once_for_each(bench, web):
    files = packed(web, b"x", {"m": b"member"})
    del web.files["/archive"]
    with pytest.raises(ArtifactsError) as caught:
        bench.run(files=files)
    assert ["HTTP status 404" in caught.value.problems[0]["found"], caught.value.problems[1]["found"]] == [True, "the archive archive is missing"]
