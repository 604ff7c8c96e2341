# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import stat
from unittest import mock

import pytest

from ansible_collections.dockyard.fleet.plugins.callback import report

SHOP = {"healthy": 3, "wanted": 3, "revision": "r1", "release": 7, "changed": False, "urls": ["https://pi/", "https://pi/admin"]}
PI = {"engine": "26.1.5", "platform": "linux/arm64",
      "stacks": {"shop": SHOP, "blog": {"healthy": 1, "wanted": 2, "revision": "", "release": None, "changed": True, "urls": []}}, "notes": ["no limits"]}


def result(host, **answer):
    made = mock.MagicMock(_result=answer)
    made._host.get_name.return_value = host
    return made


@pytest.fixture
def callback(tmp_path):
    made = report.CallbackModule(display=mock.MagicMock(verbosity=0))
    made.shown = lambda: [call.args[0] for call in made._display.display.call_args_list]
    made.path = tmp_path / "deep" / "report.json"
    made.get_option = lambda name: {"report_file": str(made.path)}[name]
    return made


def stats(custom, failures=None, dark=None):
    return mock.MagicMock(custom=custom, failures=failures or {}, dark=dark or {})


def test_rows():
    assert report.rows_of({"pi": PI}, {}) == [
        ("pi", "blog", "-", "26.1.5 linux/arm64", "UNHEALTHY 1/2", "yes", "-"),
        ("pi", "shop", "r1 #7", "26.1.5 linux/arm64", "healthy 3/3", "no", "https://pi/"),
        ("pi", "shop", "", "", "", "", "https://pi/admin"),
    ]


def test_a_stack_of_tools_is_ready_rather_than_healthy():
    tools = dict(SHOP, healthy=1, wanted=1, tools_only=True, urls=[])
    assert [row[4] for row in report.rows_of({"pi": {"stacks": {"a": tools, "b": dict(tools, healthy=0)}}}, {})] == ["ready 1/1", "UNHEALTHY 0/1"]


def test_rows_of_failed_and_empty_hosts():
    assert report.rows_of({"b": {"engine": "1", "platform": "p", "stacks": {}}, "c": PI}, {"a": "no route", "c": "too little disk"}) == [
        ("a", "-", "-", "-", "FAILED", "-", "no route"), ("b", "(none)", "-", "1 p", "-", "-", "-"),
        ("c", "-", "-", "26.1.5 linux/arm64", "FAILED", "-", "too little disk")]


def test_table_is_aligned():
    lines = report.table([("a", "b", "c", "d", "e", "f", "g"), ("a-long-host", "b", "c", "d", "e", "f", "")])
    assert lines[0].split() == list(report.COLUMNS)
    assert len({line.index(word) for line, word in zip(lines[:2], ("STACK", "b"))}) == 1
    assert all(line == line.rstrip() for line in lines)


def test_report_is_printed_and_written(callback):
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}, "_run": {"x": 1}, "other": {"foreign": 1}}))
    shown = callback.shown()
    assert shown[1].startswith("HOST") and len(shown) == 6 and shown[-1] == "note: pi: no limits"
    assert json.loads(callback.path.read_text()) == {"failures": {}, "hosts": {"pi": PI}}
    assert stat.S_IMODE(os.stat(str(callback.path)).st_mode) == 0o600
    assert os.listdir(str(callback.path.parent)) == ["report.json"]


def test_nothing_is_printed_for_other_playbooks(callback):
    callback.v2_runner_on_failed(result("pi", msg="x"))
    callback.v2_playbook_on_stats(stats({"pi": {"foreign": 1}}, failures={"pi": 1}))
    assert callback.shown() == [] and not callback.path.exists()


def test_a_playbook_of_ours_that_no_host_came_through_has_its_table(callback):
    for action in ("ansible.builtin.debug", "dockyard.fleet.host_facts", "ansible.builtin.debug"):
        callback.v2_playbook_on_task_start(mock.MagicMock(action=action), False)
    callback.v2_runner_on_failed(result("pi", msg="x"))
    callback.v2_playbook_on_stats(stats({}, failures={"pi": 1}))
    assert [line for line in callback.shown() if line.startswith("pi") and "FAILED" in line and line.endswith("  x")]


def test_a_failed_loop_is_told_by_its_first_failed_item(callback):
    items = [{"msg": "fine"}, {"failed": True, "msg": "shop: not healthy\nmore"}, {"failed": True, "msg": "later"}]
    callback.v2_runner_on_failed(result("ec2", msg="One or more items failed", results=items))
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}, failures={"ec2": 1}))
    assert json.loads(callback.path.read_text())["failures"] == {"ec2": "shop: not healthy"}


@pytest.mark.parametrize("message, text", [("one\ntwo", "one"), (["a", "b"], "a; b"), (None, "see above"), ("  \n", "see above"), ("x" * 300, "x" * 120)])
def test_a_failure_is_told_by_its_first_line(callback, message, text):
    callback.v2_runner_on_failed(result("ec2", msg=message))
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}, failures={"ec2": 1}))
    line = [line for line in callback.shown() if line.startswith("ec2")]
    assert len(line) == 1 and "FAILED" in line[0] and line[0].endswith("  " + text)
    assert json.loads(callback.path.read_text())["failures"] == {"ec2": text}


def test_unreachable_is_a_failure(callback):
    callback.v2_runner_on_unreachable(result("ec2", msg="no route to host"))
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}, dark={"ec2": 1}))
    assert any("no route to host" in line for line in callback.shown())


def test_an_ignored_or_rescued_failure_is_none(callback):
    callback.v2_runner_on_failed(result("pi", msg="ignored"), ignore_errors=True)
    callback.v2_runner_on_failed(result("pi", msg="rescued"))
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}))
    assert not any("FAILED" in line for line in callback.shown())


def test_an_ignored_failure_does_not_hide_the_real_one(callback):
    callback.v2_runner_on_failed(result("ec2", msg="real"))
    callback.v2_runner_on_failed(result("ec2", msg="ignored"), ignore_errors=True)
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}, failures={"ec2": 1}))
    assert json.loads(callback.path.read_text())["failures"] == {"ec2": "real"}


def test_a_report_that_cannot_be_written_is_a_warning(callback, tmp_path):
    (tmp_path / "deep").write_text("a file where the folder should be")
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}))
    assert "could not be written" in callback._display.warning.call_args.args[0]


def test_no_report_file(callback):
    callback.get_option = lambda name: ""
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": PI}}))
    assert len(callback.shown()) == 6


def test_a_relative_report_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report.write_json("report.json", {"a": 1})
    assert json.loads((tmp_path / "report.json").read_text()) == {"a": 1}


ENDED = {"outcome": "stopped", "by": "anna@laptop", "time_epoch_s": 1795191060, "running": [], "volumes": 2}


@pytest.mark.parametrize("ended, health, note", [
    (ENDED, "stopped", "shop was stopped by anna@laptop, 2026-11-20 16:11 UTC; deploy.yml brings it back"),
    (dict(ENDED, running=["web"]), "stopped, 1 RUNNING", "; running all the same: web (started by hand?); deploy.yml"),
    (dict(ENDED, outcome="removed"), "removed", "shop was removed by anna@laptop, 2026-11-20 16:11 UTC; its 2 volumes are kept; deploy.yml brings it back"),
    (dict(ENDED, by="", time_epoch_s=None), "stopped", "shop was stopped by somebody, at an unknown time; "),
])
def test_what_was_stopped_on_purpose_is_told_as_such(callback, ended, health, note):
    stopped = dict(SHOP, healthy=0, ended=ended)
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": {"stacks": {"shop": stopped}}}}))
    shown = callback.shown()
    assert "UNHEALTHY" not in "".join(shown) and "  %s  " % health in shown[2]
    assert shown[-1].startswith("note: pi: ") and note in shown[-1]


def test_what_a_deployment_told_is_told_once(callback):
    notes = ["shop was stopped on purpose by anna@laptop, 2026-11-20 16:11 UTC; this unattended run leaves it alone"]
    callback.v2_playbook_on_stats(stats({"pi": {"dockyard": {"stacks": {"shop": dict(SHOP, ended=ENDED)}, "notes": notes}}}))
    assert [line for line in callback.shown() if line.startswith("note: ")] == ["note: pi: " + notes[0]]


def test_schedules_have_a_table_of_their_own(callback):
    schedules = {"check": {"calendar": "*:0/15", "enabled": True, "last": {"started": "2026-11-20T16:15:03Z", "success": True}},
                 "clean": {"calendar": None, "enabled": False, "last": {"started": "2026-11-20T04:00:00Z", "success": False}},
                 "new": {"calendar": "daily", "enabled": True, "last": None}}
    reports = {"pi": {"stacks": {"shop": dict(SHOP, schedules=schedules)}}, "ec2": {"stacks": {"shop": SHOP}}}
    assert report.schedule_rows(reports) == [
        ("pi", "shop", "check", "*:0/15", "on", "2026-11-20T16:15:03Z ok"), ("pi", "shop", "clean", "-", "off", "2026-11-20T04:00:00Z FAILED"),
        ("pi", "shop", "new", "daily", "on", "-")]
    callback.v2_playbook_on_stats(stats({host: {"dockyard": entry} for host, entry in reports.items()}))
    assert callback.shown()[-4].split() == ["HOST", "STACK", "SCHEDULE", "WHEN", "IS", "LAST", "RUN"]
