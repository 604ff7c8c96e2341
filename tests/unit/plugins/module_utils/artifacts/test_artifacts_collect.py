# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store holds, what of it is removed, and what is read of it for the facts."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import collect, receipts, store as store_module
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store

CONTENTS = {"one": b"one" * 1000, "two": b"two" * 1000}


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def filled(bench, web):
    """(bench, {name of a set: its result}) with a set for each content, and one that holds both."""
    web.files.update({"/" + name: data for name, data in CONTENTS.items()})
    results = {}
    for key, names in (("one", ["one"]), ("two", ["two"]), ("both", ["one", "two"])):
        files = [{"name": name, "data": CONTENTS[name], "sources": [{"url": "%s/%s" % (web.base, name)}]} for name in names]
        results[key] = dict(bench.run(files=files, set={"owner": "oura", "name": key}), wanted=files)
    return bench, results


def keep(results, key):
    return "oura/%s/%s" % (key, results[key]["set"]["id"])


def here(bench):
    return {digest for digest, unused in bench.store.objects()}


# ---- facts --------------------------------------------------------------------------------------------------------------


def test_a_summary_needs_stats_only(filled, monkeypatch):
    bench, results = filled
    monkeypatch.setattr(store_module, "write_atomically", None)
    found = collect.summary(bench.store)
    assert (found["present"], found["files"], found["bytes"]) == (True, 2, 6000)
    assert found["sets"]["oura"]["both"] == {results["both"]["set"]["id"]: {"complete": True, "missing_optional": []}}
    assert found["manifests"] == {}


def test_links_of_later_sets_do_not_spoil_earlier_ones(filled):
    sets = collect.summary(filled[0].store)["sets"]["oura"]
    assert all(state["complete"] for versions in sets.values() for state in versions.values()) and len(sets) == 3


@pytest.mark.parametrize("harm", ["touch", "write", "remove", "receipt", "replace", "description"])
def test_a_set_that_was_harmed_is_not_complete(filled, harm):
    bench, results = filled
    folder, digest = results["one"]["set"]["path"], digest_of(CONTENTS["one"])
    path = os.path.join(folder, "one")
    if harm == "touch":
        os.utime(path, ns=(1, 1))
    elif harm == "write":
        with open(path, "r+b") as handle:
            handle.write(b"x")
    elif harm == "remove":
        os.unlink(path)
    elif harm == "receipt":
        bench.store.drop_receipt(digest)
    elif harm == "replace":
        os.unlink(path)
        with open(path, "wb") as handle:
            handle.write(CONTENTS["one"])
    else:
        with open(folder + ".json", "w", encoding="utf-8") as handle:
            handle.write("{")
    assert collect.summary(bench.store)["sets"]["oura"]["one"][results["one"]["set"]["id"]]["complete"] is False


def test_an_optional_file_that_is_missing_is_told(bench, web):
    web.files["/one"] = CONTENTS["one"]
    files = [{"name": name, "data": CONTENTS[name], "required": name == "one", "sources": [{"url": "%s/%s" % (web.base, name)}]} for name in CONTENTS]
    result = bench.run(files=files, set={"owner": "o", "name": "n"})
    assert collect.summary(bench.store)["sets"] == {"o": {"n": {result["set"]["id"]: {"complete": True, "missing_optional": ["two"]}}}}


def test_a_summary_that_takes_too_long_says_so(filled):
    found = collect.summary(filled[0].store, lambda: True)
    assert found["sets"] is None and found["files"] is None and found["present"]


@pytest.mark.parametrize("change", [{"size": 1}, {"mtime_ns": 1}, {"ctime_ns": 1}, {"inode": 1}])
def test_each_part_of_a_receipt_counts(tmp_path, change):
    (tmp_path / "a").write_bytes(b"a")
    status = os.stat(tmp_path / "a")
    receipt = receipts.receipt_of(status, 0)
    assert receipts.is_true(receipt, status) and receipts.is_true(dict(receipt, device=0), status)
    assert not receipts.is_true(dict(receipt, **change), status) or receipt["size"] == change.get("size")
    assert not receipts.is_true(None, status) and not receipts.is_true(receipt, None) and not receipts.is_true(receipt, os.stat(tmp_path))


# ---- inspect ------------------------------------------------------------------------------------------------------------


def test_inspect_tells_what_is_true_of_files_and_set(filled, bench):
    unused, results = filled
    missing = {"name": "three", "data": b"three"}
    found = bench.run(state="inspect", files=results["one"]["wanted"] + [missing], set={"owner": "oura", "name": "one"})
    assert not found["changed"] and {name: entry["state"] for name, entry in found["files"].items()} == {"one": "present", "three": "missing"}
    assert found["set"]["complete"] is False and found["manifest"] is None
    found = bench.run(state="inspect", files=results["one"]["wanted"], set={"owner": "oura", "name": "one"})
    assert found["set"] == {"id": results["one"]["set"]["id"], "path": results["one"]["set"]["path"], "complete": True, "missing_optional": []}
    os.utime(bench.store.object_path(digest_of(CONTENTS["one"])), ns=(1, 1))
    assert bench.run(state="inspect", files=results["one"]["wanted"])["files"]["one"]["state"] == "unverified"


def test_inspect_reads_everything_when_asked(filled, bench):
    unused, results = filled
    path = bench.store.object_path(digest_of(CONTENTS["one"]))
    with open(path, "r+b") as handle:
        handle.write(b"x")
    bench.store.write_receipt(digest_of(CONTENTS["one"]), os.stat(path))
    wanted = results["both"]["wanted"]
    assert bench.run(state="inspect", files=wanted)["files"]["one"]["state"] == "present"
    for check_mode in (True, False):
        states = {name: entry["state"] for name, entry in bench.run(check_mode, state="inspect", files=wanted, verify="always")["files"].items()}
        assert states == {"one": "wrong", "two": "present"}
        assert (bench.store.receipt(digest_of(CONTENTS["one"])) is None) is not check_mode


def test_a_place_for_what_the_controller_sends(bench, tmp_path):
    files = [{"name": "a", "data": b"12345", "sources": [{"push": True}]}, {"name": "b", "data": b"b", "sources": [{"url": "http://h/b"}]}]
    assert bench.run(True, state="inspect", files=files, push_user="1234")["push"] == {} and not os.path.exists(bench.store.path)
    found = bench.run(state="inspect", files=files, push_user="1234")["push"]
    place = found[digest_of(b"12345")]
    assert list(found) == [digest_of(b"12345")] and place["size"] == 0 and place["path"].endswith(".push")
    status = os.stat(place["path"])
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (1234, 0o600)
    assert stat.S_IMODE(os.stat(os.path.dirname(place["path"])).st_mode) == 0o711
    for left, size in ((b"123", 3), (b"1234567", 0)):
        with open(place["path"], "wb") as handle:
            handle.write(left)
        assert bench.run(state="inspect", files=files, push_user="1234")["push"][digest_of(b"12345")]["size"] == size
    with pytest.raises(ArtifactsError) as caught:
        bench.run(state="inspect", files=files, push_user="nobody-knows-me")
    assert caught.value.problems[0]["setting"] == "push_user"


# ---- collected ----------------------------------------------------------------------------------------------------------


def test_only_what_no_kept_set_uses_is_removed(filled):
    bench, results = filled
    asked = {"state": "collected", "keep": [keep(results, "one")]}
    told = bench.run(True, **asked)
    assert here(bench) == {digest_of(data) for data in CONTENTS.values()}, "check mode removes nothing"
    found = bench.run(**asked)
    assert found["removed"] == told["removed"] and found["bytes_freed"] == told["bytes_freed"] == 3000 and found["changed"]
    assert sorted(found["removed"]) == sorted([keep(results, "two"), keep(results, "both"), digest_of(CONTENTS["two"])])
    assert here(bench) == {digest_of(CONTENTS["one"])} and [entry[1] for entry in bench.store.sets()] == ["one"]
    assert not os.path.exists(bench.store.receipt_path(digest_of(CONTENTS["two"])))
    assert collect.summary(bench.store)["sets"]["oura"]["one"][results["one"]["set"]["id"]]["complete"], "its link count changed, its receipt too"
    assert not bench.run(**asked)["changed"]


def test_a_digest_may_be_kept_without_a_set(filled):
    bench = filled[0]
    bench.run(state="collected", keep=[digest_of(CONTENTS["two"])])
    assert here(bench) == {digest_of(CONTENTS["two"])} and bench.store.sets() == []


def test_what_a_file_names_is_kept(filled, tmp_path):
    bench, results = filled
    for number, text in enumerate(["OURA_MODELS_DIR=%s\n" % results["one"]["set"]["path"], "nothing\n"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / ".env").write_text(text)
    (tmp_path / "ledger").write_text('{"artifact": "%s"}' % digest_of(CONTENTS["two"]))
    bench.run(state="collected", references=[str(tmp_path / "*" / ".env"), str(tmp_path / "ledger"), str(tmp_path / "none")])
    assert [entry[1] for entry in bench.store.sets()] == ["one"] and here(bench) == {digest_of(data) for data in CONTENTS.values()}


def test_what_a_process_has_mounted_is_kept(filled, monkeypatch):
    bench, results = filled
    line = "1 2 254:0 %s /app/models ro - ext4 /dev/vda rw\n" % results["two"]["set"]["path"]
    monkeypatch.setattr(collect, "_mounts", lambda: line)
    found = bench.run(state="collected")
    assert found["in_use"] == [keep(results, "two")] and [entry[1] for entry in bench.store.sets()] == ["two"]


def test_mounts_of_this_host_can_be_read():
    assert " / " in collect._mounts()


def test_what_is_placed_elsewhere_keeps_its_object(bench, web, tmp_path):
    web.files["/one"] = CONTENTS["one"]
    files = [{"name": "one", "data": CONTENTS["one"], "sources": [{"url": web.base + "/one"}], "destinations": [{"path": str(tmp_path / "place")}]}]
    bench.run(files=files)
    bench.run(state="collected")
    assert here(bench) == {digest_of(CONTENTS["one"])}
    (tmp_path / "place").unlink()
    bench.run(state="collected")
    assert here(bench) == set()


def test_old_partial_downloads_go_and_young_ones_stay(bench):
    bench.store.prepare()
    young, old, kept = (os.path.join(bench.store.path, "partial", "sha256-" + letter * 64) for letter in "abc")
    for path in (young, old, kept):
        with open(path, "wb") as handle:
            handle.write(b"x" * 5000)
    for path in (old, kept):
        os.utime(path, (time.time() - 4000, time.time() - 4000))
    found = bench.run(state="collected", keep=["sha256:" + "c" * 64])
    assert found["removed"] == ["partial/sha256-" + "b" * 64] and found["bytes_freed"] >= 5000
    assert os.path.exists(young) and os.path.exists(kept)


def test_parts_of_what_is_whole_go(filled):
    bench, results = filled
    path = bench.store.partial_path(digest_of(CONTENTS["one"])) + ".push"
    strange = os.path.join(bench.store.path, "partial", "strange")
    for name in (path, strange):
        with open(name, "wb") as handle:
            handle.write(b"part")
    found = bench.run(state="collected", keep=[keep(results, name) for name in results])
    assert found["removed"] == ["partial/" + os.path.basename(path)] and os.path.exists(strange) and not os.path.exists(path)


def test_nothing_is_removed_while_a_run_works(filled):
    bench, results = filled
    with bench.store.lock("a run", 0), pytest.raises(ArtifactsError) as caught:
        bench.run(state="collected")
    assert "a run" in caught.value.problems[0]["found"] and len(bench.store.sets()) == 3


def test_an_entry_of_keep_that_is_neither_is_refused(filled):
    bench = filled[0]
    with pytest.raises(ArtifactsError) as caught:
        bench.run(state="collected", keep=["oura"])
    assert caught.value.problems[0]["setting"] == "keep" and len(here(bench)) == 2


def test_a_store_that_is_not_there_is_clean(bench):
    assert bench.run(state="collected") == {"changed": False, "removed": [], "bytes_freed": 0, "in_use": []}
    assert not os.path.exists(bench.store.path)


# ---- store --------------------------------------------------------------------------------------------------------------


def test_the_lock_goes_with_its_holder(tmp_path):
    code = ("import sys, os; from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store\n"
            "with Store(sys.argv[1]).lock('a killed run', 0):\n    os.kill(os.getpid(), 9)\n")
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False).returncode == -9
    with Store(str(tmp_path / "s")).lock("next", 0):
        assert json.loads((tmp_path / "s" / "lock").read_text())["holder"] == "next"


def test_the_lock_is_waited_for(tmp_path):
    store, pauses = Store(str(tmp_path / "s")), []
    first = store.lock("first", 0)
    first.__enter__()

    def sleep(seconds):
        pauses.append(seconds)
        first.__exit__(None, None, None)

    with store.lock("second", 60, sleep):
        assert len(pauses) == 1


def test_folders_of_the_store(tmp_path):
    old = os.umask(0o077)
    try:
        store = Store(str(tmp_path / "a" / "b"))
        store.prepare()
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) == 0o755 and stat.S_IMODE(os.stat(tmp_path / "a" / "b" / "partial").st_mode) == 0o711


def test_a_store_that_is_a_link_to_another_disk_is_fine_but_a_file_is_not(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    Store(str(tmp_path / "link")).prepare()
    assert (tmp_path / "disk" / "partial").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactsError) as caught:
        Store(str(tmp_path / "file")).prepare()
    assert caught.value.problems[0]["found"] == "a file"


def test_something_else_at_the_place_of_an_object(bench, web):
    os.makedirs(bench.store.object_path(digest_of(b"a")))
    with pytest.raises(ArtifactsError) as caught:
        bench.run(files=[{"name": "a", "data": b"a", "sources": [{"url": web.base + "/a"}]}])
    assert "no file" in caught.value.problems[0]["found"]


def test_half_written_records_count_as_none(tmp_path):
    (tmp_path / "x").write_text('{"a": ')
    assert store_module.read_dict(str(tmp_path / "x")) is None and store_module.read_dict(str(tmp_path / "y")) is None
    (tmp_path / "x").write_text("[]")
    assert store_module.read_dict(str(tmp_path / "x")) is None
