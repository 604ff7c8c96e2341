# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of role tunnel."""

from __future__ import annotations

import os

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.filter import tunnel

RULE = {"hostname": "a.example.com", "service": "http://web:80"}
FOLDER = os.path.dirname(tunnel.__file__)


def problems(entries=(), own=(RULE,), config="local", has_token=False, account_id="a" * 32, has_api_token=True, environment=None):
    return tunnel.tunnel_problems(list(entries), list(own), config, has_token, account_id, has_api_token, environment)


@pytest.mark.parametrize("keys, told", [
    ({"own": ()}, "tunnel_ingress: found no ingress rule, and no stack of the host whose hostname is set"),
    ({"account_id": ""}, "tunnel_account_id: found none; needed the id"),
    ({"has_api_token": False}, "tunnel_api_token: found none; needed an API token of Cloudflare; set tunnel_api_token"),
    ({"own": ({"service": "http://web:80"},)}, "ingress rule of tunnel_ingress[0]: found no hostname"),
    ({"own": (RULE, RULE)}, "found the hostname a.example.com, which the ingress rule of tunnel_ingress[0] has too"),
    ({"has_token": True}, "tunnel_ingress: found rules for a tunnel that runs by tunnel_token"),
    ({"environment": {"TUNNEL_TOKEN": "x"}}, "tunnel_environment: found TUNNEL_TOKEN"),
])
def test_one_clear_error(keys, told):
    found = problems(**keys)
    assert len(found) == 1 and told in found[0]


@pytest.mark.parametrize("keys", [{}, {"own": (), "config": "cloudflare"}, {"own": (), "has_token": True, "account_id": "", "has_api_token": False}])
def test_what_is_right(keys):
    assert problems(**keys) == []


def test_all_problems_at_once():
    assert len(problems(own=(), account_id="", has_api_token=False)) == 3


def test_what_is_released_is_yaml_with_the_secret_nowhere():
    settings = {"networks": [], "metrics_port": 1, "environment": {}, "checksums": {}}
    found = tunnel.tunnel_release([], tunnel.tunnel_rules([], [RULE]), "pi", "local", "the-id", settings, {})
    files = {entry["path"]: entry for entry in found["files"]}
    assert sorted(files) == ["compose.yaml", "config.yml"]
    assert yaml.safe_load(files["config.yml"]["content"])["ingress"] == [RULE, {"service": "http_status:404"}]
    assert (found["secret"], found["service"], found["project"], found["uid"]) == ("credentials", "cloudflared", "tunnel", 65532)


def test_texts_of_ansible_are_written_as_texts():
    class Tagged(str):
        """As ansible-core 2.19 hands them over."""
    settings = {"networks": [Tagged("own")], "metrics_port": 1, "environment": {Tagged("TUNNEL_EDGE"): Tagged("x")}, "checksums": {}}
    found = tunnel.tunnel_release([], [dict(RULE, hostname=Tagged("a.example.com"))], Tagged("pi"), "local", Tagged("the-id"), settings, {})
    assert "TUNNEL_EDGE: x" in found["files"][0]["content"] and "hostname: a.example.com" in found["files"][1]["content"]


def test_every_filter_is_documented():
    for name in tunnel.FilterModule().filters():
        with open(os.path.join(FOLDER, name + ".yml"), encoding="utf-8") as handle:
            assert yaml.safe_load(handle)["DOCUMENTATION"]["name"] == name
