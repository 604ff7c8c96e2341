# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a receipt says, and what may not follow on it."""
from __future__ import annotations

import copy
import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.migration import receipts


def after(*steps, migration="rc8", receipt=None):
    """The receipt after such steps: `phase`, or `phase:outcome`."""
    receipt = receipt or {}
    for number, step in enumerate(steps):
        phase, unused, outcome = step.partition(":")
        receipt = receipts.noted(receipt, "shop", migration, phase, outcome or "ended", {"step": step}, 1000.0 + number * 10, "anna@laptop")
    return receipt


def test_an_entry_has_everything():
    receipt = after("copy:begun", "copy")
    assert receipt["phases"] == [
        {"phase": "copy", "migration": "rc8", "outcome": "begun", "time_epoch_s": 1000.0, "by": "anna@laptop", "facts": {"step": "copy:begun"}},
        {"phase": "copy", "migration": "rc8", "outcome": "ended", "time_epoch_s": 1010.0, "by": "anna@laptop", "facts": {"step": "copy"}, "seconds": 10.0}]
    assert {key: receipt[key] for key in ("schema", "stack", "migration", "standing", "began_epoch_s", "id")} == {
        "schema": 1, "stack": "shop", "migration": "rc8", "standing": "copy", "began_epoch_s": 1000.0, "id": ""}


def test_the_receipt_that_is_given_is_not_changed():
    receipt = after("copy:begun")
    before = copy.deepcopy(receipt)
    after("copy", receipt=receipt)
    assert receipt == before


def test_only_a_phase_that_was_begun_has_a_time():
    assert "seconds" not in after("final")["phases"][0]
    assert "seconds" not in after("copy:begun", "copy", "copy")["phases"][2]
    assert after("freeze:begun", "final", "freeze:failed")["phases"][2]["seconds"] == 20.0


@pytest.mark.parametrize("steps, held", [
    (["survey"], False),
    (["copy:begun"], True),
    (["copy:begun", "copy:failed"], True),
    (["copy", "freeze:begun"], True),
    (["copy", "prove"], True),
    (["copy", "prove", "switch:failed"], True),
    (["copy", "prove", "switch"], False),
    (["copy", "abort"], False),
    (["copy", "abort:failed"], True),
    (["copy", "switch", "back"], False),
    (["copy", "switch", "back", "copy:begun"], True),
    (["copy", "survey"], True),
])
def test_the_stack_is_held_from_the_first_byte_to_the_switch(steps, held):
    assert after(*steps)["held"] is held


@pytest.mark.parametrize("steps, standing", [(["copy:begun"], ""), (["copy", "freeze:begun"], "copy"), (["copy", "prove", "switch:failed"], "prove"),
                                             (["copy", "abort"], "abort")])
def test_the_standing_is_the_last_that_ended_well(steps, standing):
    assert after(*steps)["standing"] == standing


def test_a_migration_begins_when_it_begins_for_the_first_time_or_anew():
    assert after("copy:begun", "copy", "switch")["began_epoch_s"] == 1000.0
    assert after("copy", "abort", "copy:begun")["began_epoch_s"] == 1020.0
    first = after("copy")
    assert receipts.noted(first, "shop", "head", "copy", "begun", {}, 5000.0, "")["began_epoch_s"] == 5000.0


def test_a_receipt_does_not_grow_for_ever():
    receipt = after(*["survey"] * (receipts.KEPT + 5))
    assert len(receipt["phases"]) == receipts.KEPT and receipt["phases"][0]["time_epoch_s"] == 1050.0


def test_a_proof_has_an_identity_of_its_own():
    first = after("copy", "prove")
    assert len(first["id"]) == 12 and int(first["id"], 16) >= 0
    assert after("switch", receipt=first)["id"] == first["id"]
    assert after("prove", receipt=first)["id"] != first["id"] and after("prove:failed", receipt=first)["id"] == first["id"]
    assert after("copy", "prove")["id"] == first["id"]


@pytest.mark.parametrize("steps, served", [([], False), (["copy", "final", "prove"], False), (["final", "prove", "switch"], True),
                                           (["final", "switch:failed"], False), (["final", "switch", "back"], True),
                                           (["final", "switch", "back", "copy", "final"], False)])
def test_whether_containers_have_served(steps, served):
    assert receipts.served(after(*steps)) is served


def test_the_last_proof():
    assert receipts.last_proof({}) == {} and receipts.last_proof(after("copy")) == {}
    receipt = after("prove", "prove:failed")
    assert receipts.last_proof(receipt) == {"step": "prove"}


# -- what may not follow ------------------------------------------------------------

def told(receipt, phase, needs=(), migration="rc8", seen=""):
    return receipts.problems(receipt, "shop", migration, phase, list(needs), seen)


@pytest.mark.parametrize("steps, phase, needs", [
    ([], "copy", []), (["copy"], "freeze", ["copy"]), (["copy", "prove"], "switch", ["prove"]), (["copy"], "abort", []),
    (["copy", "prove", "switch"], "back", []),
    (["copy", "abort"], "abort", []), (["copy", "prove", "switch", "back"], "abort", []), (["copy:begun", "copy:failed", "copy"], "freeze", ["copy"]),
])
def test_what_is_right(steps, phase, needs):
    assert told(after(*steps), phase, needs) == []


@pytest.mark.parametrize("steps, needs, text", [
    ([], ["copy"], "shop, phase freeze: found that copy has not been run; needed it to have ended well; nothing was changed; run that phase first"),
    (["copy:begun"], ["copy"], "found that copy is begun"),
    (["copy", "copy:failed"], ["copy"], "found that copy is failed"),
    (["copy", "abort"], ["copy"], "found that copy has not been run"),
    (["copy", "switch", "back"], ["copy"], "found that copy has not been run"),
])
def test_a_phase_that_needs_another(steps, needs, text):
    found = told(after(*steps), "freeze", needs)
    assert len(found) == 1 and text in found[0]


def test_a_way_back_that_failed_takes_nothing_away():
    assert told(after("copy", "abort:failed"), "freeze", ["copy"]) == []


def test_a_phase_of_another_layout_does_not_count():
    receipt = after("copy", "prove", "switch")
    assert "found that prove has not been run" in told(receipt, "switch", ["prove"], migration="head")[0]


def test_a_stack_that_another_migration_holds():
    receipt = after("copy")
    found = told(receipt, "copy", migration="head")
    assert found == ["shop: found the migration rc8, which has not ended (copy); needed its end before head begins; go on with it, "
                     "or give it up with -e phase=abort"]
    assert "which has not ended (nothing done)" in told(after("copy:begun"), "copy", migration="head")[0]
    assert told(receipt, None, migration="head") == [] and told(after("copy", "abort"), "copy", migration="head") == []


@pytest.mark.parametrize("steps", [["copy", "prove", "switch"], ["copy", "prove", "switch", "finish"]])
def test_what_serves_is_not_given_up(steps):
    found = told(after(*steps), "abort")
    assert len(found) == 1 and found[0].startswith("shop, phase abort: found that the containers serve since the switch") and "-e phase=back" in found[0]


def test_there_is_no_way_back_after_the_end():
    assert told(after("copy", "switch", "finish"), "back")[0].startswith("shop, phase back: found that the migration was finished")


def test_the_end_wants_the_proof_to_have_been_seen():
    receipt = after("copy", "prove", "switch")
    assert told(receipt, "finish", ["switch"], seen=receipt["id"]) == []
    for seen, shown in (("", "none"), ("0" * 12, "0" * 12)):
        found = told(receipt, "finish", ["switch"], seen=seen)
        assert len(found) == 1 and "found %s; needed the identity of the receipt" % shown in found[0] and "-e receipt=%s" % receipt["id"] in found[0]
    # A second time it is as it is.
    assert told(after("finish", receipt=receipt), "finish", ["switch"], seen=receipt["id"]) == []


def test_all_problems_at_once():
    assert len(told(after("copy"), "finish", ["prove", "switch"], migration="head")) == 4


def test_a_receipt_is_json():
    receipt = after("copy", "prove", "switch")
    assert json.loads(json.dumps(receipt)) == receipt
