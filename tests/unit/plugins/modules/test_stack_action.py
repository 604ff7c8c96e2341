# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module stack_action with a pretended docker program; how actions are run is told in test_actions_runner.py."""
from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.modules import stack_action

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield

ACTIONS = {
    "check": {"service": "app", "command": ["{url}"], "output": "json", "success": {"json": {"state": ["up"]}}, "changes": False,
              "arguments": {"url": {"required": True, "pattern": "https?://.+"}, "token": {"secret": True}}, "environment": {"TOKEN": "{token}"}},
    "touch": {"service": "app", "command": ["touch"]},
    "shell": {"service": "app", "how": "exec", "command": ["sh"], "interactive": True},
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "etc" / "stacks" / "radio"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text("services: {}\n")
    (folder / "actions.json").write_text(json.dumps({"actions": ACTIONS}))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    logged = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: logged.append(str(text)))

    def call(action="check", check=False, script="echo '{\"state\": \"up\"}'", **arguments):
        (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho \"$@\" >> %s/calls\n%s\n" % (tmp_path, script))
        (tmp_path / "bin" / "docker").chmod(0o755)
        (tmp_path / "calls").write_text("")
        args = {"stack": "radio", "action": action, "arguments": arguments, "config_dir": str(tmp_path / "etc"), "state_dir": str(tmp_path / "var"),
                "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path), "_ansible_tmpdir": str(tmp_path)}
        with patch_module_args(args), pytest.raises(SystemExit) as ended:
            stack_action.main()
        call.printed = capsys.readouterr().out
        call.logged = logged
        call.calls = (tmp_path / "calls").read_text().splitlines()
        answer = json.loads(call.printed)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        return answer
    return call


def test_an_action_that_succeeds(run):
    answer = run(url="http://x")
    assert answer["success"] is True and answer["changed"] is False and answer["json"] == {"state": "up"} and answer["exit_code"] == 0
    assert len(run.calls) == 1 and run.calls[0].startswith("compose run --rm -T --name radio-check-") and run.calls[0].endswith(" app http://x")
    assert "compose run --rm -T" in answer["command"]


def test_an_action_counts_as_a_change_unless_it_only_looks(run):
    answer = run("touch", script="true")
    assert answer["changed"] is True and answer["json"] is None and answer["output"] == ""
    assert run("touch", script="exit 3")["changed"] is True
    assert run("touch", check=True)["changed"] is True and run.calls == []


def test_an_action_that_fails_tells_why_with_the_end_of_its_errors(run):
    answer = run(url="http://x", script="echo '{\"state\": \"down\"}'; echo no route >&2")
    assert answer["failed"] is True and answer["success"] is False and answer["changed"] is False and answer["json"] == {"state": "down"}
    assert answer["msg"] == 'radio, action check: found state: "down"; needed state: "up"; the last lines of its standard error:\nno route'
    assert run(url="http://x", script="exit 3")["msg"] == "radio, action check: found exit code 3; needed 0; its standard error is empty"


def test_check_mode_says_what_would_be_run(run):
    answer = run(url="http://me:hush-hush@x", check=True)
    assert answer["success"] is True and answer["changed"] is False and run.calls == []
    assert "would run in " in answer["msg"] and answer["msg"].endswith("app http://(hidden)@x") and "exit_code" not in answer


def test_check_mode_finds_bad_arguments_too(run):
    assert run(url="x", check=True)["failed"] is True


@pytest.mark.parametrize("arguments, text", [({}, "argument url: found no value"), ({"url": "x"}, "argument url: found 'x'; needed a text that matches"),
                                             ({"url": "http://x", "b": 1}, "found the unknown argument 'b'")])
def test_bad_arguments_start_nothing(run, arguments, text):
    answer = run(**arguments)
    assert answer["failed"] is True and answer["changed"] is False and text in answer["msg"] and len(answer["problems"]) == 1 and run.calls == []


def test_an_unknown_action(run):
    assert "radio: found the unknown action 'chek'; needed one of: check, shell, touch" in run("chek")["msg"]


def test_an_interactive_action_is_told_and_not_run(run):
    answer = run("shell")
    assert answer["success"] is True and answer["interactive"] is True and answer["changed"] is False and run.calls == []
    assert answer["command"] in answer["msg"] and answer["command"].endswith("exec docker compose exec app sh'")


def test_secrets_are_nowhere(run):
    run(url="http://x", token="hush-hush", script="echo \"{\\\"state\\\": \\\"up\\\", \\\"t\\\": \\\"$TOKEN\\\"}\"; echo $TOKEN >&2")
    assert '"t": "(hidden)"' in json.dumps(json.loads(run.printed)["json"])
    assert "hush-hush" not in run.printed + "".join(run.logged) + "".join(run.calls)
    run(url="bad", token="hush-hush")
    assert "hush-hush" not in run.printed + "".join(run.logged)


def test_a_module_that_is_ended_ends_its_container(run, monkeypatch):
    monkeypatch.setattr(stack_action.runner, "GRACE_SECONDS", 1)
    answer = run("touch", script='case "$1" in compose) kill -TERM %d; exec sleep 100;; esac' % os.getpid())
    assert answer["failed"] is True and answer["msg"] == "radio, action touch: ended by signal %d" % signal.SIGTERM
    assert run.calls[1].startswith("rm --force radio-touch-")
