# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter reads on the controller, and how it takes the repository's answer."""

from __future__ import annotations

import hashlib

import pytest

from ansible.errors import AnsibleFilterError
from ansible_collections.dockyard.fleet.plugins.filter import docker_engine_plan as filters

FACTS = {
    "schema": 1, "init": "systemd", "packages": {}, "cgroup": {"controllers": {"memory": True}},
    "os": {"id": "debian", "version_id": "13", "pretty_name": "Debian 13", "family": "debian"},
    "architecture": {"machine": "x86_64", "dpkg": "amd64"}, "docker": {}, "apt": {"sources": []},
}
PEM = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def test_refuses_other_facts():
    for facts in ({}, {"schema": 2}, "text"):
        with pytest.raises(AnsibleFilterError, match="schema 1"):
            filters.docker_engine_plan(facts, {})


def test_certificates(tmp_path):
    good, bad = tmp_path / "my ca.pem", tmp_path / "der.crt"
    good.write_bytes(PEM)
    bad.write_bytes(b"\x30\x82")
    decided = filters.docker_engine_plan(FACTS, {"source": "distribution", "ca_certificates": [str(good)]})
    assert decided["details"]["ca_certificates"]["files"] == [
        {"source": str(good), "name": "dockyard-my-ca.crt", "sha256": hashlib.sha256(PEM).hexdigest()}]
    files = [str(bad), str(tmp_path / "none"), str(good), str(good)]
    refused = filters.docker_engine_plan(FACTS, {"source": "distribution", "ca_certificates": files})["refuse"]
    assert len(refused) == 3
    assert "no PEM certificate" in refused[0] and "No such file" in refused[1] and "two files that become dockyard-my-ca.crt" in refused[2]


@pytest.mark.parametrize("settings, same_as", [
    ({"upgrade": "false"}, {}), ({"upgrade": "no", "recommends": "False"}, {}), ({"upgrade": "true"}, {"upgrade": True}), ({"upgrade": 1}, {"upgrade": True}),
    ({"users": "admin,pi"}, {"users": ["admin", "pi"]}), ({"users": ""}, {}), ({"dns": "192.0.2.1"}, {"dns": ["192.0.2.1"]}),
    ({"daemon": '{"debug": true}'}, {"daemon": {"debug": True}}), ({"version": 26}, {"version": "26"}),
])
def test_variables_that_came_as_text(settings, same_as):
    assert filters.docker_engine_plan(FACTS, dict(settings, source="distribution")) == filters.docker_engine_plan(FACTS, dict(same_as, source="distribution"))


def test_a_text_that_is_no_value_of_its_setting():
    refused = filters.docker_engine_plan(FACTS, {"source": "distribution", "upgrade": "perhaps", "daemon": "debug"})["refuse"]
    assert len(refused) == 2 and "docker_engine_upgrade: found 'perhaps'" in refused[0] and "docker_engine_daemon: found 'debug'" in refused[1]


def test_artifact_digest(tmp_path):
    plugin = tmp_path / "docker-compose"
    plugin.write_bytes(b"x")
    artifact = {"path": str(plugin), "version": "2.30.0", "checksum": "sha256:" + hashlib.sha256(b"x").hexdigest()}
    settings = {"source": "distribution", "compose_artifact": artifact}
    assert filters.docker_engine_plan(FACTS, settings)["refuse"] == []
    plugin.write_bytes(b"y")
    assert "sha256:" + hashlib.sha256(b"y").hexdigest() in filters.docker_engine_plan(FACTS, settings)["refuse"][0]


def test_key_file_and_proxy(tmp_path):
    settings = {"source": "docker", "repository_key": str(tmp_path / "key.asc"), "proxy": {"http": "http://a\nb"}}
    refused = filters.docker_engine_plan(FACTS, settings)["refuse"]
    assert len(refused) == 2 and "docker_engine_repository_key" in refused[0] and "docker_engine_proxy.http" in refused[1]


@pytest.mark.parametrize("results, source, reason", [
    ([{"item": {"key": "release"}, "status": 200}, {"item": {"key": "key"}, "skipped": True}], "docker", None),
    ([{"item": {"key": "release"}, "status": -1, "msg": "Name or service not known", "url": "https://d/InRelease"},
      {"item": {"key": "key"}, "status": 200, "content": "x"}], "distribution", "https://d/InRelease: Name or service not known"),
    ([{"item": {"key": "release"}, "status": 200}, {"item": {"key": "key"}, "status": 404, "msg": "HTTP Error 404"}], "distribution", "key: HTTP Error 404"),
])
def test_the_repositorys_answer(results, source, reason):
    decided = filters.docker_engine_plan(FACTS, {"source": "auto"}, {"results": results})
    assert (decided["source"], decided["refuse"], decided["probe"]) == (source, [], None)
    assert [reason in warning for warning in decided["warnings"]] == ([True] if reason else [])


def test_all_filters_are_documented_by_name():
    assert sorted(filters.FilterModule().filters()) == [
        "docker_engine_containerd_config", "docker_engine_plan", "docker_engine_problems", "docker_engine_proxy_dropin"]
