# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module migration_receipt against real files."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import stat

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.modules import migration_receipt

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "var" / "migrations" / "shop")


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: None)

    def call(phase=None, check=False, **given):
        args = dict({"stack": "shop", "migration": "rc8", "state_dir": str(tmp_path / "var"), "by": "anna@laptop"}, **given)
        if phase:
            args["phase"] = phase
        args.update(_ansible_check_mode=check, _ansible_remote_tmp=str(tmp_path), _ansible_tmpdir=str(tmp_path))
        capsys.readouterr()
        with patch_module_args(args):
            with pytest.raises(SystemExit) as ended:
                migration_receipt.main()
        answer = json.loads(capsys.readouterr().out)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        return answer
    return call


def held(folder):
    path = os.path.join(folder, "held.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def test_there_is_nothing_to_read(run, folder):
    answer = run()
    assert answer["changed"] is False and answer["receipt"] == {} and answer["served"] is False and answer["proof"] == {}
    assert answer["path"] == os.path.join(folder, "receipt.json") and not os.path.exists(os.path.dirname(folder))


def test_a_phase_is_noted_and_the_stack_is_held(run, folder):
    answer = run("copy", outcome="begun", facts={"bytes": 5})
    assert answer["changed"] is True and answer["receipt"]["held"] is True and answer["receipt"]["phases"][0]["facts"] == {"bytes": 5}
    assert held(folder) == {"migration": "rc8", "phase": "copy", "since_epoch_s": int(answer["receipt"]["began_epoch_s"])}
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, folder + "/held.json", folder + "/receipt.json")] == [0o700, 0o600, 0o600]
    again = run()
    assert again["changed"] is False and again["receipt"] == answer["receipt"]


def test_the_switch_lets_go(run, folder):
    run("copy")
    run("final")
    run("prove", facts={"rows": 7})
    answer = run("switch", needs=["prove"])
    assert held(folder) is None and answer["receipt"]["standing"] == "switch" and answer["served"] is True and answer["proof"] == {"rows": 7}
    assert run("finish", needs=["switch"], receipt=answer["receipt"]["id"])["receipt"]["standing"] == "finish"


@pytest.mark.parametrize("phase", ["copy", "abort"])
def test_check_mode_says_whether_it_may_be_and_writes_nothing(run, folder, phase):
    assert run(phase, check=True)["changed"] is True and not os.path.exists(folder)
    run("copy")
    before = sorted(os.listdir(folder)), os.stat(folder + "/receipt.json").st_ino
    answer = run(phase, check=True)
    assert answer["changed"] is True and (sorted(os.listdir(folder)), os.stat(folder + "/receipt.json").st_ino) == before
    run("switch")
    assert bool(run("abort", check=True).get("failed")) is True
    assert run(check=True)["changed"] is False


def test_what_may_not_follow_is_refused_and_not_noted(run, folder):
    answer = run("switch", needs=["prove"])
    assert answer["msg"] == "shop, phase switch: found that prove has not been run; needed it to have ended well; nothing was changed; run that phase first"
    assert not os.path.exists(folder)
    run("copy")
    assert "found the migration rc8, which has not ended (copy)" in run("copy", migration="head")["msg"]
    assert held(folder)["migration"] == "rc8" and len(run()["receipt"]["phases"]) == 1


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_receipt_that_cant_be_read(run, folder, text):
    run("copy")
    with open(folder + "/receipt.json", "w", encoding="utf-8", errors="surrogateescape") as handle:
        handle.write(text)
    for phase in (None, "copy"):
        answer = run(phase)
        assert answer["msg"].startswith("%s/receipt.json: found a receipt that can't be read (" % folder) and "look at it, and move it away" in answer["msg"]


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_stack_that_is_held_by_what_cant_be_read(run, folder, text):
    run("copy")
    os.unlink(folder + "/receipt.json")
    with open(folder + "/held.json", "w", encoding="utf-8") as handle:
        handle.write(text)
    assert "found a receipt that can't be read" in run()["msg"]


def test_a_full_disk_is_told_and_leaves_the_old_receipt(run, folder, monkeypatch):
    before = run("copy")["receipt"]
    monkeypatch.setattr(os, "fsync", lambda unused: (nothing for nothing in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    answer = run("freeze")
    assert answer["msg"] == "%s: No space left on device; free space, check the permissions, then run again" % folder
    monkeypatch.undo()
    assert json.loads(open(folder + "/receipt.json", encoding="utf-8").read()) == before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_first_note_killed_anywhere_can_be_given_up_or_gone_on_with(run, folder, monkeypatch, number):
    """Held first, then noted: nobody starts a stack on half of its data, and there is always somebody who can let it go."""
    kill(run, monkeypatch, number, "copy", "begun")
    assert (held(folder) or {"migration": "rc8"})["migration"] == "rc8"
    receipt = run()["receipt"]
    if receipt:
        assert receipt["held"] is True and receipt["migration"] == "rc8"
        assert "which has not ended" in run("copy", migration="head")["msg"]
    run("abort")
    assert held(folder) is None and run()["receipt"]["standing"] == "abort"


@pytest.mark.parametrize("number", [1, 2])
def test_a_last_note_killed_anywhere_lets_go_with_the_next(run, folder, monkeypatch, number):
    run("copy")
    kill(run, monkeypatch, number, "abort", "ended")
    assert held(folder) is not None
    run("abort")
    assert held(folder) is None


def kill(run, monkeypatch, number, phase, outcome):
    """Killed before the n-th file takes its place, or goes."""
    steps = []
    with monkeypatch.context() as patched:
        for name in ("rename", "unlink"):
            def wrapped(*args, real=getattr(os, name), **more):
                if os.path.exists(args[0]):
                    steps.append(args)
                if len(steps) >= number:
                    raise Killed()
                return real(*args, **more)
            patched.setattr(os, name, wrapped)
        try:
            run(phase, outcome=outcome)
        except Killed:
            assert len(steps) >= number
