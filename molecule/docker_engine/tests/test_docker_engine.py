# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts after everything, the reboot included, seen from outside."""

from __future__ import annotations

import json
import os
import time

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")


@pytest.fixture(name="root")
def fixture_root(host):
    """The host as root; on a failure, the journal's end helps more than the assertion."""
    with host.sudo():
        yield host


def docker(root, command):
    """:returns: str, what `docker COMMAND` printed"""
    result = root.run("docker " + command)
    if result.rc:
        journal = root.run("journalctl -u docker --no-pager -n 20").stdout
        pytest.fail("docker %s: %s\n%s" % (command, result.stderr, journal))
    return result.stdout.strip()


def test_the_service_runs_after_the_reboot(root):
    service = root.service("docker")
    assert service.is_enabled and service.is_running


def test_the_parts_answer(root):
    assert docker(root, "version --format '{{.Server.Version}}'").startswith("26.1")
    assert docker(root, "compose version --short").startswith("2.26")
    assert "0.13" in docker(root, "buildx version")


def test_the_users_settings_are_kept(root):
    config = json.loads(root.file("/etc/docker/daemon.json").content_string)
    assert (config["labels"], config["max-concurrent-downloads"]) == (["rack=7"], 2)
    assert list(config)[:2] == ["labels", "max-concurrent-downloads"]
    assert root.file("/etc/docker/daemon.json").mode == 0o640
    assert "log-level" in config and config["log-level"] == "warn", "the refused setting came through"
    assert json.loads(root.file("/etc/docker/daemon.json.dockyard-orig").content_string) == {"labels": ["rack=7"], "max-concurrent-downloads": 2}


def test_the_engine_has_the_settings(root):
    info = json.loads(docker(root, "info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["Labels"] == ["rack=7"]
    assert info["LoggingDriver"] == "local"


def test_logs_are_rotated(root):
    docker(root, "run --rm --detach --name logs busybox:1.37 sleep 30")
    settings = json.loads(docker(root, "inspect --format '{{json .HostConfig.LogConfig}}' logs"))
    docker(root, "rm --force logs")
    assert settings == {"Type": "local", "Config": {"max-file": "3", "max-size": "10m"}}


def test_the_container_came_back(root):
    for _unused in range(20):
        if docker(root, "inspect --format '{{.State.Status}}' keeper") == "running":
            break
        time.sleep(0.5)
    assert docker(root, "exec keeper echo well") == "well"


def test_a_container_runs(root):
    assert docker(root, "run --rm busybox:1.37 echo hello") == "hello"


def test_packages(root):
    if root.backend.get_hostname() == "engine-bookworm":
        package = root.package("docker-ce")
        assert package.is_installed and package.version.startswith("5:26.1.4-1")
        assert set(root.check_output("apt-mark showhold").split()) == {"docker-ce", "docker-ce-cli", "containerd.io"}
        assert not root.package("docker.io").is_installed
        assert "1001" in root.check_output("apt-cache policy docker-ce")
    else:
        assert root.package("docker.io").is_installed
        # It was left unpacked and unconfigured.
        assert root.check_output("dpkg-query --show --showformat '${db:Status-Abbrev}' docker-compose").strip() == "ii"
        assert root.check_output("dpkg --audit") == ""
