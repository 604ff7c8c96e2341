# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin: no secret leaves it but where it is asked to, and nothing is sent to a host."""

from __future__ import annotations

import importlib.util
import json
import os
from unittest import mock

import pytest

from ansible_collections.dockyard.fleet.plugins.action.cloudflare_tunnel import ActionModule

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


@pytest.fixture(name="world")
def fixture_world():
    spec = importlib.util.spec_from_file_location("stand_in_cloudflare", os.path.join(ROOT, "tests", "stand_ins", "cloudflare.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    world = module.World(["example.com"])
    world.url = "http://127.0.0.1:%d/client/v4" % module.start(world)[0]
    return world


@pytest.fixture(name="run")
def fixture_run(world, monkeypatch):
    """run(task={...}, options...) gives the result; every connection to a host is a mistake."""
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)

    def run(task=None, **options):
        settings = dict({"check_mode": False, "diff": False, "no_log": False}, **(task or {}))
        args = dict({"name": "pi", "account_id": world.account, "api_url": world.url, "api_token": world.token, "hostnames": ["a.example.com"],
                     "retries": 0}, **options)
        action = ActionModule(task=mock.MagicMock(args=args, async_val=False, **settings), connection=mock.MagicMock(), play_context=mock.MagicMock(),
                              loader=None, templar=None, shared_loader_obj=None)
        action._execute_module = mock.Mock(side_effect=AssertionError("nothing may be sent to a host"))
        return action.run(task_vars={})
    return run


def test_a_run_says_what_it_did_and_holds_no_secret(world, run):
    result = run({"diff": True})
    assert result["changed"] and result["done"][0] == "tunnel pi created" and "failed" not in result
    assert result["diff"]["before"] == "" and "tunnel pi\na.example.com CNAME" in result["diff"]["after"]
    assert run()["changed"] is False and "diff" not in run()
    text = json.dumps(result)
    assert all(secret not in text for secret in [world.token, world.run_token(result["tunnel"]["id"])] + list(world.secrets.values()))


def test_credentials_only_for_a_task_that_is_not_shown(world, run):
    refused = run(return_credentials=True)
    assert refused["failed"] and "needed no_log: true" in refused["msg"] and world.tunnels == {}
    result = run({"no_log": True}, return_credentials=True)
    made = result["tunnel"]["id"]
    assert result["credentials"]["token"] == world.run_token(made)
    assert json.loads(result["credentials"]["file"]) == {"AccountTag": world.account, "TunnelID": made, "TunnelSecret": world.secrets[made]}


def test_check_mode_has_no_credentials_to_give(run):
    result = run({"no_log": True, "check_mode": True}, return_credentials=True)
    assert result["changed"] and "credentials" not in result and result["tunnel"]["id"] is None


def test_the_token_of_the_environment(world, run, monkeypatch):
    assert "api_token: found none" in run(api_token="")["msg"]
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", world.token)
    assert run(api_token="")["changed"]


def test_an_error_tells_code_and_message_and_not_the_token(run):
    result = run(api_token="w" * 40)
    assert result["failed"] and not result["changed"] and "status 403, 9109 Invalid access token" in result["msg"]
    assert "w" * 40 not in json.dumps(result)


def test_an_error_in_the_middle_tells_what_was_done(world, run):
    world.failures.append({"times": 1, "status": 400, "methods": ["POST"], "path": "dns_records"})
    result = run()
    assert result["failed"] and result["changed"] and result["done"] == ["tunnel pi created"] and "done before: tunnel pi created" in result["msg"]


@pytest.mark.parametrize("options, path", [({"ingress": [{"hostname": "a.example.com", "service": "http://web:80"}], "config": "cloudflare"}, "configurations"),
                                           ({"return_credentials": True}, "token")])
def test_an_error_at_a_question_tells_what_was_done(world, run, options, path):
    world.failures.append({"times": 1, "status": 403, "methods": ["GET"], "path": path})
    result = run({"no_log": True}, **options)
    assert result["failed"] and result["changed"] and result["done"][0] == "tunnel pi created" and len(world.tunnels) == 1


def test_a_refusal_lists_its_problems(run):
    result = run(account_id="x", hostnames=["y"])
    assert result["failed"] and len(result["problems"]) == 2 and not result["changed"]
