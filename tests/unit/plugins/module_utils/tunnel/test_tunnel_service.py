# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cloudflared as a Compose project."""

from __future__ import annotations

import json

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import service

ENTRY = {"stack": "shop", "service": "web", "network": "shop_front", "ca_file": "/etc/dockyard/stacks/shop/secrets/cert.65532",
         "rule": {"hostname": "a.example.com", "service": "https://web.shop_front:8443", "ca_pool": "/etc/cloudflared/ca/shop.pem"}}
SETTINGS = {"networks": ["own", "shop_front"], "metrics_port": 20241, "environment": {}, "checksums": {ENTRY["ca_file"]: "1"}}


def release(local=True, facts=None, entry=None, **settings):
    entry = entry or ENTRY
    return service.release("pi", [entry], [entry["rule"]], local, "the-id", dict(SETTINGS, **settings), facts or {})


def one(**keys):
    return release(**keys)["documents"]["compose.yaml"]["services"]["cloudflared"]


def test_a_container_without_any_power_and_without_ports():
    found = one()
    assert found["user"] == "65532:65532" and found["read_only"] and found["cap_drop"] == ["ALL"] and found["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in found and "privileged" not in found and "network_mode" not in found


def test_it_runs_by_its_files():
    found = one()
    assert found["command"] == ["tunnel", "--config", "/etc/cloudflared/config.yml", "--metrics", "127.0.0.1:20241", "run"]
    assert found["secrets"] == [{"source": "credentials", "target": "credentials.json"}] and "environment" not in found
    document = release()["documents"]
    assert document["compose.yaml"]["secrets"] == {"credentials": {"file": "./secrets/credentials.65532"}}
    assert (document["config.yml"]["tunnel"], document["config.yml"]["credentials-file"]) == ("the-id", "/run/secrets/credentials.json")
    assert document["config.yml"]["ingress"][-1] == {"service": "http_status:404"}


def test_it_runs_by_a_token_alone():
    found = one(local=False, environment={"TUNNEL_LOGLEVEL": "debug"})
    assert found["command"] == ["tunnel", "--metrics", "127.0.0.1:20241", "run"]
    assert found["environment"] == {"TUNNEL_LOGLEVEL": "debug", "TUNNEL_TOKEN_FILE": "/run/secrets/token"}
    assert found["secrets"] == [{"source": "token", "target": "token"}] and list(release(local=False)["documents"]) == ["compose.yaml"]
    assert release(local=False)["secret"] == "token"


def test_its_health_is_its_connection():
    assert one(metrics_port=99)["healthcheck"]["test"] == ["CMD", "cloudflared", "tunnel", "--metrics", "127.0.0.1:99", "ready"]


def test_it_joins_each_network_once_and_has_its_own_way_out():
    document = release()["documents"]["compose.yaml"]
    assert document["networks"] == {"edge": {}, "origin0": {"external": True, "name": "shop_front"}, "origin1": {"external": True, "name": "own"}}
    assert document["services"]["cloudflared"]["networks"] == ["edge", "origin0", "origin1"]


def test_a_certificate_is_mounted_and_never_made_a_folder():
    mount = one()["volumes"][1]
    assert mount == {"type": "bind", "source": ENTRY["ca_file"], "target": "/etc/cloudflared/ca/shop.pem", "read_only": True,
                     "bind": {"create_host_path": False}}
    assert len(one(entry=dict(ENTRY, ca_file=""))["volumes"]) == 1


def test_another_rule_or_certificate_is_another_container():
    label = "org.dockyard.files"
    base = release()["overlay"]["cloudflared"]["labels"][label]
    assert base == release()["overlay"]["cloudflared"]["labels"][label]
    other = dict(ENTRY, rule=dict(ENTRY["rule"], hostname="b.example.com"))
    assert len({base, release(entry=other)["overlay"]["cloudflared"]["labels"][label],
                release(checksums={ENTRY["ca_file"]: "2"})["overlay"]["cloudflared"]["labels"][label]}) == 3


def test_limits_where_the_kernel_has_them():
    assert release()["overlay"]["cloudflared"]["deploy"]["resources"]["limits"] == {"memory": "256M", "pids": 100}
    some = release(facts={"cgroup": {"controllers": {"memory": False, "pids": True}}})
    assert some["overlay"]["cloudflared"]["deploy"]["resources"]["limits"] == {"pids": 100}
    assert "deploy" not in release(facts={"cgroup": {"controllers": {}}})["overlay"]["cloudflared"]


def test_an_environment_is_text_and_no_variable_of_compose():
    assert one(environment={"A": 1, "B": "$HOME"})["environment"] == {"A": "1", "B": "$$HOME"}


def test_a_token_in_the_environment_is_refused():
    problems = service.environment_problems({"TUNNEL_TOKEN": "x", "TUNNEL_LOGLEVEL": "info"})
    assert len(problems) == 1 and problems[0].startswith("tunnel_environment: found TUNNEL_TOKEN; needed none of")


def test_all_of_it_is_json():
    json.dumps(release())
