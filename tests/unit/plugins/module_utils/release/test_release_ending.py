# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.release import ending, ledger


def container(service, *needs, **more):
    return dict({"service": service, "needs": set(needs), "name": "shop-%s-1" % service}, **more)


@pytest.mark.parametrize("label, needs", [
    ("db:service_healthy:false", {"db"}), ("db:service_healthy:false,init:service_completed_successfully:true", {"db", "init"}), ("", set()), (None, set())])
def test_needs(label, needs):
    assert ending.needs_of(label) == needs


def test_what_others_need_stops_last():
    found = ending.stop_order([container("db"), container("nginx", "app"), container("app", "db", "gone"), container(None, name="stray")])
    order = [entry["service"] for entry in found]
    assert order.index("nginx") < order.index("app") < order.index("db") and set(order) == {"nginx", "app", "db", None}


def test_a_circle_stops_too():
    assert [entry["service"] for entry in ending.stop_order([container("b", "a"), container("a", "b")])] == ["a", "b"]


@pytest.mark.parametrize("size, text", [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1234567, "1.2 MB"), (4321000000, "4.3 GB"), (9e13, "90000.0 GB"),
                                        (None, "of unknown size")])
def test_sizes(size, text):
    assert ending.size_text(size) == text


@pytest.mark.parametrize("remove, typed, problems", [
    (True, "shop", 0), (False, "", 0), (True, "", 0), (True, "yes", 1), (False, "shop", 1), (False, "yes", 1), (True, "Shop", 1), (True, "shop,blog", 1)])
def test_switches(remove, typed, problems):
    found = ending.switch_problems("shop", remove, {"delete_volumes": typed, "delete_images": ""}, {"delete_volumes": "the data", "delete_images": "x"})
    assert len(found) == problems
    for text in found:
        assert "found delete_volumes=%s" % typed in text and "it would delete the data; nothing was changed" in text


@pytest.mark.parametrize("reference, repository", [
    ("nginx", "nginx"), ("nginx:1.28", "nginx"), ("reg:5000/a/b", "reg:5000/a/b"), ("reg:5000/a/b:1", "reg:5000/a/b"), ("a/b@sha256:12", "a/b")])
def test_repositories(reference, repository):
    assert ending.repository_of(reference) == repository


def test_images():
    history = [{"images": {"A": "dockyard/shop-app:1", "B": "db:1"}}, {}, {"images": {"A": "dockyard/shop-app:3", "C": "registry/other:1"}}]
    images = [{"id": "1", "references": ["dockyard/shop-app:1", "dockyard/shop-app:kept"], "bytes": 1},
              {"id": "2", "references": ["dockyard/shop-app:2"], "bytes": 2},
              {"id": "4", "references": ["dockyard/shop-appendix:1", "registry/other:2"], "bytes": 4}, {"id": "5", "references": ["db:1"], "bytes": 5},
              {"id": "6", "references": ["registry/other:1"], "bytes": 6}, {"id": "7", "references": [], "bytes": 7}]
    doomed, kept = ending.doomed_images("shop", history, images, {"db:1": "stack blog", "6": "container x"})
    # Other tags only of what was built here: who knows what else is in a repository of a registry.
    assert [entry["name"] for entry in doomed] == ["dockyard/shop-app:1", "dockyard/shop-app:2", "dockyard/shop-app:kept"]
    assert kept == [{"name": "db:1", "user": "stack blog"}, {"name": "registry/other:1", "user": "container x"}]


def test_the_ledger_passes_torn_lines_over_and_mends_them(tmp_path):
    path = str(tmp_path / "shop.jsonl")
    assert ledger.entries(path) == [] and ledger.last(path) == {}
    ledger.append(path, {"number": 1})
    with open(path, "a", encoding="utf-8") as stream:
        stream.write('[1]\n{"number": 2, "outc')
    assert ledger.last(path) == {"number": 1}
    ledger.append(path, {"number": 3})
    assert [entry["number"] for entry in ledger.entries(path)] == [1, 3]


def test_an_ending_takes_over_what_the_stack_is():
    before = {"number": 4, "outcome": "failed", "revision": "r", "images": {"A": "a"}, "digest": "d", "message": "m", "reverted": True}
    assert ledger.ending(before, "removed", 7, "anna", deleted={}, anonymous_volumes=["x"]) == {
        "number": 5, "outcome": "removed", "revision": "r", "images": {"A": "a"}, "time_epoch_s": 7, "by": "anna", "anonymous_volumes": ["x"]}
    assert ledger.ending({}, "stopped", 7, "")["number"] == 1
    assert [ledger.is_ended(entry) for entry in (None, {}, {"outcome": "released"}, {"outcome": "failed"}, {"outcome": "stopped"}, {"outcome": "removed"})] == [
        False] * 4 + [True] * 2
