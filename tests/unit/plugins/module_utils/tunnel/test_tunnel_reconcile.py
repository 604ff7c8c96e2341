# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tunnel and its routes against the stand-in of the API."""

from __future__ import annotations

import base64
from unittest import mock

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api, reconcile

HOST = "things.example.com"


@pytest.fixture(name="run")
def fixture_run(world, client):
    """Bring the tunnel about: run(check=..., state=..., options...) gives (tunnel, result)."""
    def run(check=False, state="present", **options):
        params = dict({"account_id": world.account, "name": "pi", "config": "local", "hostnames": [HOST], "ingress": None, "replace": False, "purge": False,
                       "force": False, "zone_ids": {}}, **options)
        tunnel = reconcile.Tunnel(client, params, check)
        return tunnel, getattr(tunnel, state)()
    return run


def records(world, name=HOST):
    return [record for zone in world.records.values() for record in zone.values() if record["name"] == name]


def add(world, name=HOST, **keys):
    zone = next(zone for zone in world.zones.values() if zone["name"] == "example.com")
    return world.record_route("POST", "", zone, [], {}, dict({"type": "A", "name": name, "content": "192.0.2.1"}, **keys))[0]


def changes(world):
    return [request["method"] for request in world.requests if request["method"] != "GET"]


def test_the_first_run_creates_the_second_changes_nothing_the_third_repairs(world, run):
    tunnel, result = run()
    made = result["tunnel"]["id"]
    assert tunnel.done == ["tunnel pi created", "%s CNAME %s.cfargotunnel.com, proxied created" % (HOST, made)]
    assert [(record["type"], record["content"], record["proxied"], record["comment"]) for record in records(world)] == [
        ("CNAME", made + ".cfargotunnel.com", True, "dockyard.fleet, tunnel pi")]
    assert len(base64.b64decode(world.secrets[made])) == 32
    before = len(changes(world))
    tunnel, result = run()
    assert (tunnel.done, result["tunnel"]["id"], result["tunnel"]["action"], len(changes(world))) == ([], made, "found", before)
    records(world)[0].update(content="elsewhere.example.net", proxied=False)
    tunnel, result = run()
    assert tunnel.done == ["%s CNAME elsewhere.example.net, not proxied becomes %s CNAME %s.cfargotunnel.com, proxied" % (HOST, HOST, made)]
    assert records(world)[0]["content"] == made + ".cfargotunnel.com" and records(world)[0]["proxied"]
    assert run()[0].done == []


def test_no_secret_is_in_the_result_or_the_sentences(world, run):
    tunnel, result = run()
    text = repr(result) + repr(tunnel.done) + repr(tunnel.before) + repr(tunnel.after)
    for secret in [world.token, world.run_token(result["tunnel"]["id"])] + list(world.secrets.values()):
        assert secret not in text


def test_check_mode_only_asks(world, run):
    tunnel, result = run(check=True)
    assert len(tunnel.done) == 2 and result["tunnel"]["id"] is None and result["target"] is None
    assert changes(world) == [] and world.tunnels == {}
    run()
    records(world)[0]["proxied"] = False
    before = len(changes(world))
    assert len(run(check=True)[0].done) == 1
    assert len(run(check=True, state="absent")[0].done) == 2
    assert len(changes(world)) == before and not records(world)[0]["proxied"]


def test_a_record_that_is_something_else_is_refused_before_anything_is_made(world, run):
    add(world)
    with pytest.raises(reconcile.Refused, match="found the DNS record things.example.com A 192.0.2.1, not proxied, which is not of this tunnel"):
        run()
    assert world.tunnels == {} and changes(world) == []
    tunnel, unused = run(replace=True)
    assert [record["type"] for record in records(world)] == ["CNAME"] and len(tunnel.done) == 3


def test_addresses_of_both_kinds_are_replaced(world, run):
    add(world)
    add(world, type="AAAA", content="2001:db8::1")
    run(replace=True)
    assert [record["type"] for record in records(world)] == ["CNAME"]


def test_all_problems_are_told_at_once(world, run):
    add(world)
    add(world, "b.example.com", type="CNAME", content="x.example.net")
    with pytest.raises(reconcile.Refused) as caught:
        run(hostnames=[HOST, "b.example.com", "c.example.org"])
    assert len(caught.value.problems) == 3 and "found no zone of it that the API token may read; needed one of c.example.org, example.org" in str(caught.value)


@pytest.mark.parametrize("options, told", [
    ({"account_id": "me"}, "account_id: found 'me'; needed 32 hexadecimal digits"),
    ({"name": ""}, "name: found ''"),
    ({"name": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"}, "that are no tunnel's id"),
    ({"hostnames": ["http://x"]}, "which is a URL"),
    ({"zone_ids": {"example.com": "1"}}, "zone_ids.example.com: found '1'"),
    ({"ingress": [{"hostname": HOST, "service": "http://web"}]}, "needed config: cloudflare"),
    ({"ingress": [{"service": "http://web"}], "config": "cloudflare"}, r"ingress rule of ingress\[0\]: found no hostname"),
])
def test_options_that_cannot_be_right_are_refused_without_asking(world, run, options, told):
    with pytest.raises(reconcile.Refused, match=told):
        run(**options)
    assert world.requests == []


def test_the_longest_zone_is_taken_and_given_ids_are_not_asked_for(world, run):
    result = run(hostnames=[HOST, "a.deep.example.com"])[1]
    assert [route["zone"] for route in result["routes"]] == ["example.com", "deep.example.com"]
    world.requests.clear()
    run(hostnames=["a.deep.example.com", HOST], zone_ids={zone["name"]: zone["id"] for zone in world.zones.values()})
    assert [request for request in world.requests if request["path"] == "/zones"] == []


def test_a_tunnel_beyond_the_first_page_is_found(world, run):
    for number in range(5):
        world.create_tunnel({"name": "pi%d" % number})
    made = run()[1]["tunnel"]["id"]
    assert run()[1]["tunnel"]["id"] == made


def test_a_deleted_tunnel_of_that_name_is_none_and_its_record_follows_the_new_one(world, run):
    old = run()[1]["tunnel"]["id"]
    world.tunnels[old]["deleted_at"] = "2026-01-01T00:00:00Z"
    tunnel, result = run()
    assert result["tunnel"]["id"] != old and records(world)[0]["content"] == result["target"]
    assert tunnel.done[0] == "tunnel pi created" and len(tunnel.done) == 2


def test_a_creation_whose_answer_was_lost_is_found(world, run):
    world.failures.append({"times": 1, "status": 502, "methods": ["POST"], "path": "cfd_tunnel", "after": True})
    world.failures.append({"times": 1, "status": 502, "methods": ["POST"], "path": "dns_records", "after": True})
    result = run()[1]
    assert len(world.tunnels) == 1 and len(records(world)) == 1 and result["routes"][0]["record_id"] == records(world)[0]["id"]
    assert run()[0].done == []


def test_a_deletion_whose_answer_was_lost_is_done(world, run):
    run()
    world.failures.append({"times": 1, "status": 502, "methods": ["DELETE"], "path": "cfd_tunnel", "after": True})
    run(state="absent")
    assert all(tunnel["deleted_at"] for tunnel in world.tunnels.values())


def test_a_record_whose_removal_was_answered_to_nobody_is_removed(world, run):
    run(hostnames=[HOST, "old.example.com"])
    world.failures.append({"times": 1, "status": 502, "methods": ["DELETE"], "path": "dns_records", "after": True})
    tunnel, result = run(purge=True)
    assert len(tunnel.done) == 1 and tunnel.done[0].endswith(" removed") and records(world, "old.example.com") == []


def test_check_mode_foresees_the_end_of_a_tunnel_that_runs(world, run):
    made = run()[1]["tunnel"]["id"]
    world.connections[made] = [mock.Mock(alive=True)]
    tunnel, unused = run(state="absent", check=True)
    assert tunnel.done[-1] == "tunnel pi deleted" and len(records(world)) == 1 and not world.tunnels[made]["deleted_at"]


def test_what_is_refused_by_cloudflare_in_between_is_told(world, run):
    world.failures.append({"times": 9, "status": 400, "methods": ["POST"], "path": "dns_records",
                           "body": {"success": False, "errors": [{"code": 81045, "message": "quota"}]}})
    with pytest.raises(api.ApiError, match="81045 quota"):
        run()
    assert len(world.tunnels) == 1
    world.failures.clear()
    assert run()[0].done == ["%s CNAME %s.cfargotunnel.com, proxied created" % (HOST, next(iter(world.tunnels)))]


def test_names_that_are_wanted_no_more_are_told_and_removed_when_asked(world, run):
    run(hostnames=[HOST, "old.example.com"])
    tunnel, result = run()
    assert (tunnel.done, result["stale"]) == ([], ["old.example.com"])
    tunnel, result = run(purge=True)
    assert len(tunnel.done) == 1 and result["stale"] == [] and records(world, "old.example.com") == []


def test_deletion_takes_the_tunnel_and_its_records_and_nothing_else(world, run):
    run(hostnames=[HOST, "old.example.com"])
    add(world, "other.example.com")
    tunnel, result = run(state="absent")
    assert all(entry["deleted_at"] for entry in world.tunnels.values()) and result["tunnel"]["action"] == "deleted"
    assert [record["name"] for zone in world.records.values() for record in zone.values()] == ["other.example.com"]
    assert len(tunnel.done) == 3
    assert run(state="absent")[0].done == []


@pytest.mark.parametrize("state, options", [("absent", {}), ("present", {"purge": True})])
def test_an_answer_to_another_question_deletes_nothing_of_others(world, run, monkeypatch, state, options):
    """What Cloudflare's filter leaves in is looked at again here, since a record that is deleted is gone."""
    run()
    add(world, "other.example.com")
    add(world, "text.example.com", type="TXT", content="v=spf1")
    kept = world.record_route

    def unfiltered(method, path, zone, parts, query, document):
        paging = {key: query[key] for key in ("page", "per_page") if key in query}
        return kept(method, path, zone, parts, paging if method == "GET" and not parts else query, document)
    monkeypatch.setattr(world, "record_route", unfiltered)
    run(state=state, **options)
    left = {record["name"] for zone in world.records.values() for record in zone.values()}
    assert left == {"other.example.com", "text.example.com"} | ({HOST} if state == "present" else set())


def test_a_record_that_stands_on_two_pages_is_one(world, run, monkeypatch):
    run()
    listed = api.Client.listed
    monkeypatch.setattr(api.Client, "listed", lambda self, path, query=None: listed(self, path, query) * (2 if path.endswith("dns_records") else 1))
    assert run(purge=True)[0].done == [] and len(records(world)) == 1
    assert len(run(state="absent")[0].done) == 2 and records(world) == []


def test_deletion_leaves_a_record_that_is_something_else(world, run):
    add(world)
    run(state="absent")
    assert len(records(world)) == 1


def test_a_tunnel_in_use_is_deleted_only_by_force(world, run):
    made = run()[1]["tunnel"]["id"]

    class Live:
        alive = True

        def close(self):
            self.alive = False
    world.connections[made] = [Live()]
    with pytest.raises(reconcile.Refused, match="found 1 connections of running cloudflared; needed none; stop it first, or set force "):
        run(state="absent")
    assert len(records(world)) == 1
    run(state="absent", force=True)
    assert world.tunnels[made]["deleted_at"]


def test_rules_that_cloudflare_keeps(world, run):
    rules = [{"hostname": HOST, "service": "https://web:8443", "no_tls_verify": True}]
    made = run(config="cloudflare", ingress=rules)[1]["tunnel"]["id"]
    assert world.configurations[made] == {"ingress": [{"hostname": HOST, "service": "https://web:8443", "originRequest": {"noTLSVerify": True}},
                                                      {"service": "http_status:404"}]}
    assert run(config="cloudflare", ingress=rules)[0].done == []
    world.configurations[made]["ingress"][0]["service"] = "http://elsewhere"
    world.configurations[made]["warp-routing"] = {"enabled": True}
    assert run(config="cloudflare", ingress=rules)[0].done == ["2 ingress rules written to Cloudflare"]
    assert world.configurations[made]["warp-routing"] == {"enabled": True}
    # Without rules, those of the dashboard are nobody's business here.
    world.configurations[made]["ingress"][0]["service"] = "http://elsewhere"
    assert run(config="cloudflare")[0].done == []


def test_where_the_rules_are_cannot_be_changed(run):
    run()
    with pytest.raises(reconcile.Refused, match="found one that is configured locally; needed config: cloudflare"):
        run(config="cloudflare")


def test_the_token_runs_that_tunnel(world, run):
    tunnel, result = run()
    assert tunnel.token(result["tunnel"]["id"]) == world.run_token(result["tunnel"]["id"])
