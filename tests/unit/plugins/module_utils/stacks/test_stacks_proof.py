# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import proof

DAY = 86400
NOW = 1_800_000_000
PLAN = {"name": "shop", "tls": {"certificate": "crt", "key": "key"},
        "secrets": [{"name": "crt", "source": "tls_certificate"}, {"name": "key", "source": "tls_key"}, {"name": "token", "source": "generated"}]}


@pytest.mark.parametrize("wanted, found, answer", [
    ({}, {"a": 1}, True), ({"a": 1}, {"a": 1, "b": 2}, True), ({"a": 1}, {"a": 2}, False), ({"a": 1}, {}, False), ({"a": None}, {}, False),
    ({"a": None}, {"a": None}, True),
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True), ({"a": {"b": 1}}, {"a": 1}, False), ({"a": {}}, {"a": []}, False), ([1], [1], True),
    ([1], [1, 2], False), (1, "1", False),
    ({"a": 1}, [{"a": 1}], False),
])
def test_is_part_of(wanted, found, answer):
    assert proof.is_part_of(wanted, found) is answer


@pytest.mark.parametrize("entry, status, body, problems", [
    ({}, 200, "", []),
    ({"status": 403}, 403, "no", []),
    ({}, 404, "", ["found status 404, needed 200"]),
    ({"status": 301}, 200, "", ["found status 200, needed 301"]),
    ({}, -1, "", ["found status none (no answer), needed 200"]),
    ({"json": {"status": "healthy"}}, 200, '{"status": "healthy", "x": 1}', []),
    ({"json": {"status": "healthy"}}, 200, '{"status": "degraded"}', ['found {"status": "degraded"}, needed {"status": "healthy"} in it']),
    ({"json": {"status": "healthy"}}, 200, "<html>", ["found a body that is not JSON: '<html>', needed {\"status\": \"healthy\"}"]),
    ({"json": {"status": "healthy"}}, 503, "<html>", ["found status 503, needed 200"]),
    ({"contains": "Welcome"}, 200, "Welcome!", []),
    ({"contains": "Welcome"}, 200, "welcome", ["found a body without 'Welcome'"]),
])
def test_problems_of_answer(entry, status, body, problems):
    assert proof.problems_of_answer(entry, status, body) == problems


ON_HOST = {"crt": {}, "key": {}}


@pytest.mark.parametrize("plan, on_host, given, due", [
    ({"name": "x", "tls": None}, {}, {}, False),
    ({"name": "x"}, {}, {}, False),
    (PLAN, {}, {}, True),
    (PLAN, {"crt": {}}, {}, True),
    (PLAN, {"key": {}}, {}, True),
    (PLAN, {}, {"crt": "c", "key": "k"}, False),
    (PLAN, {}, {"crt": "c"}, True),
    (PLAN, ON_HOST, {}, False),
    (PLAN, {"crt": {"expires_epoch_s": None}, "key": {}}, {}, False),
    (PLAN, {"crt": {"expires_epoch_s": NOW + 30 * DAY}, "key": {}}, {}, False),
    (PLAN, {"crt": {"expires_epoch_s": NOW + 30 * DAY - 1}, "key": {}}, {}, True),
    (PLAN, {"crt": {"expires_epoch_s": NOW - 1}, "key": {}}, {}, True),
    (PLAN, {"crt": {"expires_epoch_s": NOW - 1}, "key": {}}, {"crt": "c", "key": "k"}, False),
])
def test_tls_is_due(plan, on_host, given, due):
    assert proof.tls_is_due(plan, on_host, given, NOW) is due


def test_secrets_for_release():
    made = {"certificate": "CRT", "key": "KEY", "expires_epoch_s": 5}
    assert proof.secrets_for_release(PLAN, {}, {}) == PLAN["secrets"]
    assert proof.secrets_for_release(PLAN, {"token": 123}, made) == [
        {"name": "crt", "source": "tls_certificate", "value": "CRT", "expires_epoch_s": 5},
        {"name": "key", "source": "tls_key", "value": "KEY", "expires_epoch_s": 5},
        {"name": "token", "source": "generated", "value": "123"}]
    assert proof.secrets_for_release(PLAN, {"crt": "G"}, made)[0] == {"name": "crt", "source": "tls_certificate", "value": "G"}
    assert "value" not in PLAN["secrets"][0]
