# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import docker_state

API = os.path.join(os.path.dirname(__file__), "fixtures", "api")


def answer(engine, name):
    with open(os.path.join(API, engine, name + ".json"), encoding="utf-8") as handle:
        return json.load(handle)


@pytest.mark.parametrize("state, status, expected", [
    ("running", "Up 2 minutes (healthy)", "healthy"),
    ("running", "Up 3 seconds (health: starting)", "starting"),
    ("running", "Up 9 days (unhealthy)", "unhealthy"),
    ("running", "Up 5 minutes", "none"),
    ("running", "Up Less than a second", "none"),
    ("paused", "Up 5 minutes (Paused)", None),
    ("exited", "Exited (0) 5 minutes ago", None),
    ("exited", "Exited (137)", None),
    ("restarting", "Restarting (1) 4 seconds ago", None),
    ("created", "Created", None),
    ("dead", "Dead", None),
    ("running", None, "none"),
])
def test_health_from_the_status_text(state, status, expected):
    assert docker_state.health(state, status) == expected


def test_health_as_newer_engines_tell_it():
    assert docker_state.health("running", "Up 1 second (health: starting)", {"Status": "healthy", "FailingStreak": 0}) == "healthy"
    assert docker_state.health("running", "Up 1 second", {"Status": "none"}) == "none"
    assert docker_state.health("running", "Up 1 second (healthy)", {}) == "healthy"


def test_containers_of_a_real_engine():
    facts = {item["name"]: item for item in docker_state.container_facts(answer("engine-26.1", "containers"))}
    assert {name: (item["state"], item["health"]) for name, item in facts.items()} == {
        "facts-web-1": ("running", "healthy"),
        "facts-ill-1": ("running", "unhealthy"),
        "facts-slow-1": ("running", "starting"),
        "facts-plain-1": ("running", "none"),
        "facts-once": ("running", "none"),
        "facts-gone-1": ("exited", None),
        "halted": ("paused", None),
    }
    web = facts["facts-web-1"]
    assert (web["project"], web["service"], web["oneoff"], web["networks"]) == ("facts", "web", False, ["facts_default"])
    assert len(web["config_hash"]) == 64
    assert web["ports"] == [
        {"ip": "0.0.0.0", "host_port": 18053, "container_port": 53, "protocol": "udp"},
        {"ip": "0.0.0.0", "host_port": 18080, "container_port": 8080, "protocol": "tcp"},
        {"ip": "127.0.0.1", "host_port": 18443, "container_port": 8443, "protocol": "tcp"},
    ]
    assert facts["facts-once"]["oneoff"] is True
    assert (facts["halted"]["project"], facts["halted"]["config_hash"]) == (None, None)


def test_container_keys_are_the_ones_promised_and_no_more():
    entry = {"Id": "f" * 64, "Names": ["/web"], "State": "running", "Status": "Up 1 second"}
    entry.update({"Config": {"Env": ["WORD=hunter2"]}, "Labels": {"secret": "hunter2"}})
    facts = docker_state.container_facts([entry])
    assert sorted(facts[0]) == sorted(
        ["id", "name", "image", "image_id", "state", "health", "status", "project", "service", "config_hash", "oneoff", "ports", "networks"])
    assert "hunter2" not in json.dumps(facts)


@pytest.mark.parametrize("names, expected", [
    (["/web"], "web"),
    (["/app/db", "/db"], "db"),
    (None, "0123456789ab"),
    ([], "0123456789ab"),
])
def test_container_names(names, expected):
    assert docker_state.container_name(names, "0123456789abcdef") == expected


def test_unpublished_ports_are_left_out():
    entry = {"Id": "1", "Names": ["/x"], "State": "running", "Status": "Up", "Ports": [
        {"PrivatePort": 80, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 443, "PublicPort": 443, "Type": "tcp"},
        {"PrivatePort": 9, "PublicPort": 9, "Type": "udp"},
    ]}
    assert docker_state.container_facts([entry])[0]["ports"] == [
        {"ip": None, "host_port": 9, "container_port": 9, "protocol": "udp"},
        {"ip": "::", "host_port": 443, "container_port": 443, "protocol": "tcp"},
    ]


def test_images_of_a_real_engine():
    facts = docker_state.image_facts(answer("engine-26.1", "images"))
    assert facts[0]["tags"] == ["busybox:1.37", "localhost/facts:test"]
    assert facts[0]["digests"][0].startswith("busybox@sha256:")
    assert facts[0]["labels"]["org.dockyard.bed"] == "1"
    assert facts[0]["size_bytes"] > 1000000


def test_image_without_names_and_more_than_64_images():
    entries = [{"Id": "sha256:%03d" % number, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"], "Labels": None, "Created": number, "Size": 1}
               for number in range(100)]
    facts = docker_state.image_facts(entries)
    assert len(facts) == 100
    assert facts[0] == {"id": "sha256:099", "tags": [], "digests": [], "created": 99, "size_bytes": 1, "architecture": None, "labels": {}}
    assert docker_state.image_facts([{"Id": "x", "RepoTags": None, "RepoDigests": None}])[0]["tags"] == []
    assert docker_state.image_facts(None) == []


@pytest.mark.parametrize("details, expected", [
    ({"Architecture": "arm64", "Variant": "v8"}, "arm64"),
    ({"Architecture": "amd64"}, "amd64"),
    ({"Architecture": "arm", "Variant": "v7"}, "arm/v7"),
    ({"Architecture": ""}, None),
])
def test_image_architecture(details, expected):
    assert docker_state.image_architecture(details) == expected


def test_networks_and_volumes_of_a_real_engine():
    networks = {item["name"]: item for item in docker_state.network_facts(answer("engine-26.1", "networks"))}
    assert networks["facts_back"] == {"name": "facts_back", "driver": "bridge", "internal": True, "project": "facts"}
    assert networks["bridge"]["project"] is None
    assert docker_state.volume_facts(answer("engine-26.1", "volumes")) == [
        {"name": "facts_data", "driver": "local", "project": "facts", "mountpoint": "/var/lib/docker/volumes/facts_data/_data"}]
    assert docker_state.volume_facts({"Volumes": None}) == []


@pytest.mark.parametrize("engine, version, api", [("engine-26.1", "26.1.5+dfsg1", "1.45"), ("engine-20.10", "20.10.24+dfsg1", "1.41")])
def test_engines(engine, version, api):
    facts = docker_state.engine_facts(answer(engine, "version"), answer(engine, "info"))
    assert facts == {
        "version": version, "api_version": api, "storage_driver": "overlay2", "data_root": "/var/lib/docker", "cgroup_driver": "cgroupfs",
        "cgroup_version": "1", "live_restore": False, "memory_limit": True, "warnings": [], "registry_mirrors": [],
    }


def test_engine_of_a_stock_pi_warns():
    info = {"MemoryLimit": False, "Warnings": ["WARNING: No memory limit support"], "RegistryConfig": {"Mirrors": ["https://m/"]}}
    facts = docker_state.engine_facts({}, info)
    assert facts["memory_limit"] is False
    assert facts["warnings"] == ["WARNING: No memory limit support"]
    assert facts["registry_mirrors"] == ["https://m/"]


@pytest.mark.parametrize("raw, parsed, error", [
    ('{"debug": true}', {"debug": True}, None),
    ("", {}, None),
    (" \n", {}, None),
    ('{"debug": true,}', None, "not JSON: "),
    ("[]", None, "the top level is list, an object is needed"),
    ("\ufeff{}", None, "not JSON: "),
])
def test_daemon_config(raw, parsed, error):
    found, problem = docker_state.parse_daemon_config(raw)
    assert found == parsed
    assert problem is None if error is None else problem.startswith(error)


@pytest.mark.parametrize("text, root", [
    ('version = 2\nroot = "/srv/containerd"\n', "/srv/containerd"),
    ("root='/srv/c' # why\n", "/srv/c"),
    ('#root = "/no"\n[grpc]\n  root = "/no"\n', None),
    ('root = ""\n', None),
    ("", None),
])
def test_containerd_root(text, root):
    assert docker_state.parse_containerd_root(text) == root


def test_plugin_versions():
    assert docker_state.plugin_version('{"SchemaVersion":"0.1.0","Vendor":"Docker Inc.","Version":"v2.40.0"}') == "2.40.0"
    assert docker_state.plugin_version('{"Version":"2.26.1-4"}') == "2.26.1-4"
    for text in ("", "[]", '{"Version": ""}', "usage: docker-compose"):
        with pytest.raises(ValueError):
            docker_state.plugin_version(text)


@pytest.mark.parametrize("text, version", [
    ("Docker version 26.1.5+dfsg1, build a72d7cd\n", "26.1.5"),
    ("Docker version 28.2.2, build e6534b4\n", "28.2.2"),
    ("podman version 5.4.2\n", None),
])
def test_docker_version(text, version):
    assert docker_state.parse_docker_version(text) == version


@pytest.mark.parametrize("text, whole, entry, problem", [
    ('{"v": 1}\n{"v": 2}\n', True, {"v": 2}, False),
    ('{"v": 1}\n{"v": 2}\n{"v": 3, "wh', True, {"v": 2}, True),
    ('{"v": 1}\n\n\n', True, {"v": 1}, False),
    ("", True, None, False),
    ("torn", True, None, True),
    ("[1]\n", True, None, True),
    ('"v": 1}\n{"v": 2}\n', False, {"v": 2}, False),
])
def test_last_release(text, whole, entry, problem):
    found, reason = docker_state.last_release(text, whole)
    assert found == entry
    assert bool(reason) is problem
