# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the DNS records of a hostname."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import routes

HOST, TARGET, MARK = "things.example.com", "id.cfargotunnel.com", routes.mark_of("pi")
GOOD = dict(routes.wanted_record(HOST, TARGET, MARK), id="1")


def record(**keys):
    return dict(GOOD, **keys)


@pytest.mark.parametrize("found, replace, action, changes", [
    ([], False, "create", {}),
    ([GOOD], False, "keep", {}),
    # Somebody else wrote it, but it is right: their comment stays.
    ([record(comment="mine")], False, "keep", {}),
    ([record(proxied=False)], False, "update", {"proxied": True}),
    ([record(proxied=False, ttl=300, comment=None)], False, "update", {"proxied": True, "ttl": 1, "comment": MARK}),
    ([record(content="old.cfargotunnel.com")], False, "update", {"content": TARGET}),
    ([record(content="old.cfargotunnel.com", comment="")], False, "refuse", {}),
    ([record(content="old.cfargotunnel.com", comment=routes.mark_of("other"))], False, "refuse", {}),
    ([record(content="old.cfargotunnel.com", comment="")], True, "update", {"content": TARGET, "comment": MARK}),
    ([record(type="A", content="192.0.2.1", comment=None)], False, "refuse", {}),
    ([record(type="A", content="192.0.2.1", comment=None)], True, "recreate", {}),
    # With our comment an address is a change of our record.
    ([record(type="A", content="192.0.2.1")], False, "recreate", {}),
    ([record(type="NS", content="ns.example.net", comment=None)], True, "refuse", {}),
    ([record(type="TXT", content="v=spf1", comment=None)], False, "create", {}),
    ([GOOD, record(type="A", id="2", content="192.0.2.1", comment="x")], True, "update", {}),
])
def test_decisions(found, replace, action, changes):
    decision = routes.decide(HOST, TARGET, MARK, found, replace)
    assert (decision["action"], decision["changes"]) == (action, changes)
    assert set(other["id"] for other in decision["remove"]) == ({"2"} if len(found) == 2 else {"1"} if action == "recreate" else set())


def test_a_tunnel_that_is_to_be_made_owns_what_carries_its_comment():
    decision = routes.decide(HOST, None, MARK, [record(content="old.cfargotunnel.com")], False)
    assert decision["action"] == "update" and "content" in decision["changes"]
    assert routes.decide(HOST, None, MARK, [record(content="old.cfargotunnel.com", comment=None)], False)["action"] == "refuse"


@pytest.mark.parametrize("name", ["things.example.com", "*.example.com", "a-b.xn--bcher-kva.example", "_acme.example.com"])
def test_good_names(name):
    assert routes.hostname_problem(name) == ""


@pytest.mark.parametrize("name, told", [
    ("", "no hostname"), (None, "no hostname"), ("  ", "no hostname"), ("https://things.example.com", "which is a URL"),
    ("things.example.com:443", "has a port"), ("things.example.com/x", "which is a URL"), ("localhost", "no hostname in lower"),
    ("Things.example.com", "in lower case"), ("a.*.example.com", "no hostname in"),
    ("*", "no hostname in"), ("a..example.com", "no hostname in"), ("-a.example.com", "no hostname in"), ("192.0.2.1", "no hostname in"),
    ("a" * 64 + ".example.com", "no hostname in"), ("bücher.example", "Punycode"), ("things.example.com\n", "no hostname in"),
])
def test_bad_names(name, told):
    assert told in routes.hostname_problem(name)


def test_zones_of_a_name_the_longest_first():
    assert routes.zone_names("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com"]
    assert routes.zone_names("*.b.example.com") == ["b.example.com", "example.com"]


def test_a_comment_fits_the_free_plan():
    assert len(routes.mark_of("x" * 200)) == 100 and routes.mark_of("a") != routes.mark_of("b")


def test_a_refusal_says_what_is_there_and_what_to_do():
    text = routes.refusal(HOST, [record(type="A", content="192.0.2.1", proxied=False)], True)
    assert text == ("things.example.com: found the DNS record things.example.com A 192.0.2.1, not proxied, which is not of this tunnel; "
                    "needed none of that name; remove it, take the hostname out, or set replace (role: tunnel_replace) to true")
    assert "replace" not in routes.refusal(HOST, [GOOD], False)
