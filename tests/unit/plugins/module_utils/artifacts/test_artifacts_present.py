# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs: the good ways, what is mended, what is refused beforehand, and kills at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import threading

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import blocks, bring, store as store_module


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


DATA = noise(300000, 1)
SET = {"owner": "oura", "name": "models"}


# ---- the good ways ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake2b"])
def test_a_set_is_fetched_once_and_then_only_looked_at(bench, web, algorithm):
    web.files["/a"], web.files["/b"] = DATA, b""
    files = [web.one(digest=digest_of(DATA, algorithm), name="models/a"), web.one("/b", b"", name="b", digest=digest_of(b"", algorithm), mode="0755")]
    first = bench.run(files=files, set=SET)
    assert first["changed"] and {name: entry["state"] for name, entry in first["files"].items()} == {"models/a": "fetched", "b": "fetched"}
    assert (first["bytes_fetched"], first["bytes_hashed"], first["bytes_reused"]) == (len(DATA), len(DATA), 0)
    assert first["files"]["models/a"]["source"] == web.base + "/a"
    folder = first["set"]["path"]
    with open(os.path.join(folder, "models/a"), "rb") as handle:
        assert handle.read() == DATA
    assert stat.S_IMODE(os.stat(os.path.join(folder, "models/a")).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(os.path.join(folder, "b")).st_mode) == 0o555
    assert bench.left() == []
    asked = len(web.requests)
    second = bench.run(files=files, set=SET)
    assert not second["changed"] and "diff" not in second and len(web.requests) == asked
    assert (second["bytes_fetched"], second["bytes_hashed"], second["bytes_reused"]) == (0, 0, len(DATA))
    assert {entry["state"] for entry in second["files"].values()} == {"present"}


def test_a_run_with_nothing_to_do_needs_no_network_code(bench, web, monkeypatch):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET)
    monkeypatch.setattr(bring, "Bringer", None)
    assert not bench.run(files=[web.one()], set=SET)["changed"]


def test_check_mode_tells_the_bytes_and_writes_nothing(bench, web):
    web.files["/a"] = DATA
    result = bench.run(check_mode=True, files=[web.one(sources=[{"url": web.base + "/a?token=geheim"}])], set=SET)
    assert result["changed"] and result["bytes_to_fetch"] == len(DATA)
    assert result["would_fetch"] == [{"name": "a", "bytes": len(DATA), "source": web.base + "/a?..."}]
    assert web.requests == [] and not os.path.exists(bench.store.path)
    assert result["diff"]["before"] == "" and result["diff"]["after"] == "a %s\n" % digest_of(DATA)


def test_check_mode_counts_what_a_broken_off_download_left(bench, web):
    bench.store.prepare()
    with open(bench.store.partial_path(digest_of(DATA)), "wb") as handle:
        handle.write(DATA[:1000])
    assert bench.run(check_mode=True, files=[web.one()])["bytes_to_fetch"] == len(DATA) - 1000


def test_two_names_with_one_content_are_fetched_once(bench, web):
    web.files["/a"] = DATA
    result = bench.run(files=[web.one(), web.one(name="b", sources=[])], set=SET)
    assert result["bytes_fetched"] == len(DATA) and len(web.requests) == 1
    assert os.path.samefile(os.path.join(result["set"]["path"], "a"), os.path.join(result["set"]["path"], "b"))


def test_many_files_at_once(bench, web, small_blocks):
    contents = {"f%d" % number: noise(100000 + number, number) for number in range(12)}
    web.files.update({"/" + name: data for name, data in contents.items()})
    bench.run(files=[web.one("/" + name, data, name=name) for name, data in contents.items()], parallel=5)
    assert all(bench.object(data) == data for data in contents.values())


def test_a_set_without_files_is_a_folder(bench):
    first = bench.run(files=[], set=SET)
    assert first["changed"] and os.listdir(first["set"]["path"]) == [] and not bench.run(files=[], set=SET)["changed"]
    os.rmdir(first["set"]["path"])
    assert bench.run(files=[], set=SET)["changed"] and os.path.isdir(first["set"]["path"])


def test_a_new_content_has_a_new_folder_and_the_old_one_stays(bench, web):
    web.files["/a"], web.files["/b"] = DATA, b"new"
    old = bench.run(files=[web.one()], set=SET)["set"]
    new = bench.run(files=[web.one("/b", b"new")], set=SET)["set"]
    assert old["id"] != new["id"]
    for entry, data in ((old, DATA), (new, b"new")):
        with open(os.path.join(entry["path"], "a"), "rb") as handle:
            assert handle.read() == data


# ---- what is there is wrong ---------------------------------------------------------------------------------------------


def spoil(path, data=None):
    """Another content of the same size and mtime, as bit rot would leave it."""
    status = os.stat(path)
    with open(path, "r+b") as handle:
        handle.seek(1000)
        handle.write(b"\x00" if data is None else data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("method", ["auto", "copy"])
@pytest.mark.parametrize("verify", ["changed", "always"])
def test_a_stored_file_that_changed_is_repaired(bench, web, verify, method):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET, method=method)
    spoil(bench.store.object_path(digest_of(DATA)))
    result = bench.run(files=[web.one()], set=SET, verify=verify, method=method)
    assert result["changed"] and result["files"]["a"]["state"] == "repaired" and bench.object(DATA) == DATA
    with open(os.path.join(result["set"]["path"], "a"), "rb") as handle:
        assert handle.read() == DATA
    assert not bench.run(files=[web.one()], set=SET, verify=verify, method=method)["changed"]


def test_a_placed_copy_that_changed_is_repaired(bench, web):
    web.files["/a"] = DATA
    path = bench.run(files=[web.one()], set=SET, method="copy")["set"]["path"] + "/a"
    spoil(path)
    result = bench.run(files=[web.one()], set=SET, verify="always", method="copy")
    assert result["files"]["a"]["state"] == "repaired" and result["bytes_fetched"] == 0
    with open(path, "rb") as handle:
        assert handle.read() == DATA


@pytest.mark.parametrize("verify", ["changed", "always"])
def test_a_placed_copy_that_was_only_touched_stays(bench, web, verify):
    web.files["/a"] = DATA
    path = bench.run(files=[web.one()], set=SET, method="copy")["set"]["path"] + "/a"
    inode = os.stat(path).st_ino
    os.utime(path, ns=(1, 1))
    result = bench.run(files=[web.one()], set=SET, verify=verify, method="copy")
    assert (result["files"]["a"]["state"], result["changed"], os.stat(path).st_ino) == ("present", False, inode)
    assert result["bytes_hashed"] >= len(DATA), "it was read"
    assert bench.run(files=[web.one()], set=SET, method="copy")["bytes_hashed"] == 0, "and noted down"


def test_rot_that_no_stat_shows_is_found_when_everything_is_read(bench, web, monkeypatch):
    web.files["/a"] = DATA
    path = bench.run(files=[web.one()], set=SET, method="copy")["set"]["path"] + "/a"
    spoil(path)
    # As if the disk had changed it: the receipt agrees with the stat.
    description = bench.store.description("oura", "models", os.path.basename(os.path.dirname(path)))
    description["files"][0]["receipt"]["ctime_ns"] = os.stat(path).st_ctime_ns
    store_module.write_atomically(os.path.dirname(path) + ".json", json.dumps(description))
    bench.store.write_receipt(digest_of(DATA), os.stat(bench.store.object_path(digest_of(DATA))))
    assert not bench.run(files=[web.one()], set=SET, method="copy")["changed"]
    assert bench.run(check_mode=True, files=[web.one()], set=SET, method="copy", verify="always")["changed"]
    assert bench.run(files=[web.one()], set=SET, method="copy", verify="always")["files"]["a"]["state"] == "repaired"
    with open(path, "rb") as handle:
        assert handle.read() == DATA


@pytest.mark.parametrize("verify", ["changed", "always"])
def test_another_size_with_a_receipt_that_agrees_is_read_and_repaired(bench, web, verify):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET)
    path = bench.store.object_path(digest_of(DATA))
    with open(path, "ab") as handle:
        handle.write(b"more")
    bench.store.write_receipt(digest_of(DATA), os.stat(path))
    assert bench.run(files=[web.one()], set=SET, verify=verify)["files"]["a"]["state"] == "repaired"
    assert bench.object(DATA) == DATA


def test_reading_everything_raises_no_false_alarm(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET)
    result = bench.run(files=[web.one()], set=SET, verify="always")
    assert not result["changed"] and result["bytes_hashed"] == len(DATA) and len(web.requests) == 1


def test_a_lost_receipt_costs_one_reading(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET)
    with open(bench.store.receipt_path(digest_of(DATA)), "w", encoding="utf-8") as handle:
        handle.write('{"size": ')
    result = bench.run(files=[web.one()], set=SET)
    assert not result["changed"] and result["bytes_hashed"] == len(DATA)
    assert bench.run(files=[web.one()], set=SET)["bytes_hashed"] == 0


def test_what_was_found_stays_until_the_new_one_is_there(bench, web, tmp_path):
    web.files["/a"] = DATA
    destination = tmp_path / "model"
    files = [web.one(destinations=[{"path": str(destination)}])]
    bench.run(files=files, set=SET)
    spoil(destination)
    spoil(bench.store.object_path(digest_of(DATA)))
    before = destination.read_bytes()
    web.files["/a"] = b"gone"
    found = bench.refused(files=files, set=SET)
    assert digest_of(DATA) not in found["found"] and destination.read_bytes() == before
    assert bench.store.state(digest_of(DATA))[0] == "unverified", "it is not taken for the verified one"
    web.files["/a"] = DATA
    bench.run(files=files, set=SET)
    assert destination.read_bytes() == DATA


def test_a_killed_run_before_the_receipt_costs_one_reading(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one()])
    bench.store.drop_receipt(digest_of(DATA))
    assert bench.run(files=[web.one()])["bytes_fetched"] == 0


# ---- bad lists of files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files, words", [
    ([{"name": "../a", "data": DATA}], "a way out of the folder"),
    ([{"name": "/etc/a", "data": DATA}], "the absolute path"),
    ([{"name": "a", "data": DATA}, {"name": "a", "data": b"x"}], "the name a twice"),
    ([{"name": "a", "data": DATA}, {"name": "A", "data": b"x"}], "the names a and A"),
    ([{"name": "a", "digest": "md5:" + "0" * 32}], 'the algorithm "md5"'),
    ([{"name": "a", "digest": "sha256:abc"}], "3 hex digits"),
    ([{"name": "a", "digest": None}], "no digest"),
    ([{"name": "a", "data": DATA, "size": -1}], "the size -1"),
    ([{"name": "a", "data": DATA}, {"name": "b", "data": DATA, "size": 5}], "the sizes"),
    ([{"name": "a", "data": DATA, "mode": "4755"}], "the mode 4755"),
    ([{"name": "a", "data": DATA, "sources": [{"url": "ftp://x/y"}]}], "the URL scheme"),
    ([{"name": "a", "data": DATA, "sources": [{"file": "x"}]}], "a source with file"),
    ([{"name": "a", "data": DATA, "sources": [{"path": "x"}]}], "the path x"),
    ([{"name": "a", "data": DATA, "sources": [{"path": "/x", "follow": True}]}], "a path to follow without a size"),
    ([{"name": "a", "data": DATA, "sources": [{"archive": "none", "member": "x"}]}], "the archive none"),
    ([{"name": "a", "data": DATA, "sources": [{"archive": "a", "member": "x"}]}], "out of itself"),
    ([{"name": "a", "data": DATA, "destinations": [{"path": "/x"}, {"path": "/x"}]}], "the destination /x, which file a has too"),
])
def test_bad_files(bench, files, words):
    found = bench.refused(files=files)
    assert words in found["found"] and not os.path.exists(bench.store.path)


@pytest.mark.parametrize("given, words", [
    ({"set": {"owner": "../x", "name": "n"}}, "'../x'"), ({"set": {"owner": "o", "name": ""}}, "''"), ({"parallel": 0}, "0"),
    ({"mirrors": ["ftp://secret"]}, "scheme"),
])
def test_bad_options(bench, given, words):
    found = bench.refused(files=[], **given)
    assert words in found["found"] and "secret" not in json.dumps(found)


# ---- versions of manifests ----------------------------------------------------------------------------------------------


def test_the_version_of_a_manifest_only_grows(bench, web):
    web.files["/a"] = DATA
    files = [web.one()]
    bench.run(files=files, set=SET, manifest_version=3, manifest_digest="sha256:33")
    assert not bench.run(files=files, set=SET, manifest_version=3, manifest_digest="sha256:33")["changed"]
    assert "the manifest version 2" in bench.refused(files=files, set=SET, manifest_version=2, manifest_digest="sha256:22")["found"]
    assert "another manifest with the same version 3" in bench.refused(files=files, set=SET, manifest_version=3, manifest_digest="sha256:34")["found"]
    assert bench.run(files=files, set=SET, manifest_version=4, manifest_digest="sha256:44")["changed"]
    assert bench.run(state="inspect", files=files, set=SET)["manifest"] == {"version": 4, "digest": "sha256:44"}


def test_a_set_that_can_not_be_had_does_not_raise_the_version(bench, web):
    bench.refused(files=[web.one()], set=SET, manifest_version=5, manifest_digest="sha256:55")
    web.files["/a"] = DATA
    bench.run(files=[web.one()], set=SET, manifest_version=4, manifest_digest="sha256:44")


# ---- killed at any moment -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


DOORS = [(os, "rename"), (os, "fsync"), (os, "link"), (blocks, "write_all"), (store_module, "write_atomically")]


@pytest.mark.parametrize("door", range(len(DOORS)))
@pytest.mark.parametrize("after", range(4))
def test_a_kill_at_any_door_leaves_no_wrong_file_and_the_next_run_completes(bench, web, tmp_path, monkeypatch, small_blocks, door, after):
    web.files["/a"], web.files["/b"] = DATA, b"b"
    old, path = b"what was there", tmp_path / "model"
    path.write_bytes(old)
    files = [web.one(destinations=[{"path": str(path)}]), web.one("/b", b"b", name="b")]
    owner, name = DOORS[door]
    original, calls = getattr(owner, name), []

    def dying(*arguments, **named):
        calls.append(arguments)
        if len(calls) > after:
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        if name == "write_atomically":
            from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import present
            patch.setattr(present, name, dying)
        try:
            bench.run(files=files, set=SET, parallel=1)
        except Killed:
            pass
    assert path.read_bytes() in (old, DATA)
    for folder, unused, names in os.walk(bench.store.path):
        for entry in names:
            if len(entry) == 64 and entry != "lock":
                with open(os.path.join(folder, entry), "rb") as handle:
                    assert digest_of(handle.read()) == "sha256:" + entry
            if entry in ("a", "b"):
                with open(os.path.join(folder, entry), "rb") as handle:
                    assert handle.read() == {"a": DATA, "b": b"b"}[entry]
    result = bench.run(files=files, set=SET)
    assert path.read_bytes() == DATA and sorted(os.listdir(result["set"]["path"])) == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["model", "store"]
    assert not bench.run(files=files, set=SET)["changed"]


def test_threads_are_gone_after_a_failure(bench, web):
    before = threading.active_count()
    web.always("/a", lambda handler: handler.answer(500, b""))
    bench.refused(files=[web.one()], retries=0)
    assert sum(1 for thread in threading.enumerate() if "process_request" not in thread.name) <= before
