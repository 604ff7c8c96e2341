# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.dockyard.fleet.plugins.action import stack_action


@pytest.fixture
def run(monkeypatch):
    def call(answer=None, extra=None, variables=None, **args):
        monkeypatch.setattr(stack_action, "load_extra_vars", lambda loader: extra or {})
        variables = dict({"inventory_hostname": "pi"}, **(variables or {}))
        task = mock.MagicMock(async_val=0, check_mode=False, diff=False, args=args)
        action = stack_action.ActionModule(task, mock.MagicMock(), mock.MagicMock(), DataLoader(), Templar(loader=DataLoader(), variables=variables), None)
        action._execute_module = mock.MagicMock(return_value=answer or {"success": True, "exit_code": 0, "output": ""})
        action._display = mock.MagicMock()
        result = action.run(task_vars=variables)
        call.asked = [entry.kwargs["module_args"] for entry in action._execute_module.call_args_list]
        call.shown = [entry.args[0] for entry in action._display.display.call_args_list]
        return result
    return call


def test_extra_variables_are_arguments(run):
    run(stack="radio", action="check", arguments_from_extra_vars=True, arguments={"phase": 2},
        extra={"stack": "radio", "action": "check", "url": "http://x", "phase": 1, "dockyard_hosts": "pi", "ansible_user": "pi",
               "images_ca_certificate": "/ca", "docker_engine_source": "auto"})
    assert run.asked[0]["arguments"] == {"url": "http://x", "phase": 2}


def test_extra_variables_are_left_alone_when_not_asked_for(run):
    run(stack="radio", action="check", extra={"url": "http://x"})
    assert "arguments" not in run.asked[0]


@pytest.mark.parametrize("args, name", [({"action": "check"}, "stack"), ({"stack": "radio", "action": ""}, "action"), ({"stack": None, "action": "a"},
                                                                                                                       "stack")])
def test_what_is_not_named_is_told_without_asking_the_host(run, args, name):
    result = run(**args)
    assert result["failed"] is True and result["msg"] == "found no %s; needed its name; set %s=..." % (name, name) and run.asked == []


@pytest.mark.parametrize("answer, shown", [
    ({"success": False, "failed": True, "exit_code": 0, "json": {"b": 1, "a": "é"}, "output": "x"}, ['{\n  "b": 1,\n  "a": "é"\n}']),
    ({"success": True, "exit_code": 0, "json": None, "output": "one\ntwo\n"}, ["one\ntwo"]),
    ({"success": True, "exit_code": 0, "json": False, "output": "false"}, ["false"]),
    ({"success": True, "exit_code": 0, "json": None, "output": ""}, []),
    ({"success": True, "interactive": True, "msg": "type on the host: sudo x", "command": "sudo x"}, ["type on the host: sudo x"]),
    ({"success": False, "failed": True, "msg": "found the unknown action"}, []),
])
def test_what_is_shown(run, answer, shown):
    run(answer, stack="radio", action="check", show=True)
    assert run.shown == shown
    run(answer, stack="radio", action="check")
    assert run.shown == []


def test_of_several_hosts_each_is_named(run):
    run({"success": True, "exit_code": 0, "output": "up"}, variables={"ansible_play_hosts": ["pi", "ec2"]}, stack="radio", action="check", show=True)
    assert run.shown == ["pi:\nup"]
