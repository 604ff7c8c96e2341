# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils import progress

TOKEN = "0123456789abcdef" * 2


class Clock:
    """Time that only goes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    return progress.Tally("fetching", clock)


def test_items_and_totals_add_up(tally, clock):
    tally.add("a", 100)
    tally.add("b", 300, done=50)
    tally.advance("a", 40)
    clock.now += 2
    tally.advance("a", 60)
    tally.done("a", note="verified")
    document = tally.document()
    first = next(item for item in document["items"] if item["name"] == "a")
    assert (first["started"], first["ended"], first["note"]) == (0.0, 2.0, "verified")
    assert next(item for item in document["items"] if item["name"] == "b")["started"] is None
    assert document["totals"] == {"bytes": {"done": 150, "total": 400, "moved": 100, "items": 2, "ended": 1, "unknown": 0}}
    assert (document["schema"], document["label"], document["seconds"]) == (1, "fetching", 2.0)


def test_what_was_there_before_is_done_but_was_not_moved(tally):
    tally.add("a", 100, done=90)
    tally.advance("a", 10)
    assert tally.document()["totals"]["bytes"] == {"done": 100, "total": 100, "moved": 10, "items": 1, "ended": 0, "unknown": 0}


def test_a_transfer_that_begins_anew_goes_back_and_moves_nothing_by_that(tally):
    tally.add("a", 100)
    tally.advance("a", 60)
    tally.set("a", 0)
    tally.set("a", 30, total=120, note="second mirror")
    document = tally.document()
    assert document["items"][0]["note"] == "second mirror"
    assert document["totals"]["bytes"] == {"done": 30, "total": 120, "moved": 90, "items": 1, "ended": 0, "unknown": 0}


def test_an_unknown_total_is_counted_as_such_and_known_at_the_end(tally):
    tally.add("a")
    tally.advance("a", 7)
    assert tally.document()["totals"]["bytes"]["unknown"] == 1
    tally.done("a")
    assert tally.document()["totals"]["bytes"] == {"done": 7, "total": 7, "moved": 7, "items": 1, "ended": 1, "unknown": 0}


def test_units_are_counted_apart(tally):
    tally.add("image", 5, unit="layers")
    tally.add("file", 10)
    tally.advance("image", 2)
    assert {unit: entry["done"] for unit, entry in tally.document()["totals"].items()} == {"layers": 2, "bytes": 0}


def test_what_ended_long_ago_leaves_the_list_and_stays_in_the_totals(tally, clock):
    for number in range(100):
        tally.add(f"file-{number}", 1)
        tally.done(f"file-{number}")
    assert len(tally.document()["items"]) == 40
    clock.now += 60
    tally.add("last", 5)
    document = tally.document()
    assert [item["name"] for item in document["items"]] == ["last"]
    assert (document["totals"]["bytes"]["total"], document["totals"]["bytes"]["ended"]) == (105, 100)


def test_an_item_that_begins_anew_counts_once(tally):
    tally.add("a", 100)
    tally.done("a")
    tally.add("a", 100)
    assert tally.document()["totals"]["bytes"] == {"done": 0, "total": 100, "moved": 0, "items": 1, "ended": 0, "unknown": 0}


def test_many_threads_lose_nothing(tally):
    tally.add("a", 40000)

    def work():
        for unused in range(10000):
            tally.advance("a", 1)

    threads = [threading.Thread(target=work) for unused in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.document()["items"][0]["done"] == 40000


def test_the_file_is_readable_for_the_follower_whatever_the_umask_and_goes_at_the_end(tmp_path):
    before = os.umask(0o077)
    try:
        reporter = progress.open_reporter(TOKEN, "fetching", (str(tmp_path),))
        reporter.add("a", 10)
        reporter._write()
    finally:
        os.umask(before)
    path = tmp_path / f"dockyard-progress-{TOKEN}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_text())["totals"]["bytes"]["total"] == 10
    reporter.close()
    reporter.close()
    assert os.listdir(tmp_path) == [] and not reporter._thread.is_alive()


def test_a_reporter_closes_when_the_work_fails(tmp_path):
    with pytest.raises(RuntimeError):
        with progress.open_reporter(TOKEN, "", (str(tmp_path),)):
            assert os.listdir(tmp_path)
            raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_name_that_somebody_else_made_is_not_written_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f"dockyard-progress-{TOKEN}").symlink_to(victim)
    other = tmp_path / "other"
    other.mkdir()
    with progress.open_reporter(TOKEN, "", (str(tmp_path), str(other))) as reporter:
        reporter.add("a", 1)
        reporter._write()
        assert os.listdir(other) == [f"dockyard-progress-{TOKEN}"]
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("token", ["", None, "../../etc/passwd", "short", "0123456789ABCDEF"])
def test_without_a_token_nothing_is_written(tmp_path, token):
    with progress.open_reporter(token, "", (str(tmp_path),)) as reporter:
        reporter.add("a", 1, unit="steps", done=0)
        reporter.advance("a", 1)
        reporter.set("a", 1, total=1, note="x")
        reporter.done("a", note="x")
    assert isinstance(reporter, progress.NoReporter) and os.listdir(tmp_path) == []


def test_no_folder_to_write_to_stops_no_work(tmp_path):
    assert isinstance(progress.open_reporter(TOKEN, "", (str(tmp_path / "absent"),)), progress.NoReporter)


def test_a_disk_that_is_full_stops_no_work(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    with progress.open_reporter(TOKEN, "", (str(tmp_path),)) as reporter:
        monkeypatch.setattr(progress.os, "write", full)
        reporter.add("a", 1)
        reporter._write()
        assert os.listdir(tmp_path) == [f"dockyard-progress-{TOKEN}"]
        monkeypatch.undo()


def test_what_a_killed_module_left_goes_after_a_day(tmp_path):
    for name, age in (("dockyard-progress-old", 90000), ("dockyard-progress-new", 10), ("others", 90000)):
        (tmp_path / name).write_text("")
        past = progress.time.time() - age
        os.utime(tmp_path / name, (past, past))
    progress.open_reporter(TOKEN, "", (str(tmp_path),)).close()
    assert sorted(os.listdir(tmp_path)) == ["dockyard-progress-new", "others"]
