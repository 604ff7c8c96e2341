# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module daemon_config against real files and a scripted dockerd."""

from __future__ import annotations

import json
import os

import pytest

from ansible.module_utils.testing import patch_module_args
from ansible_collections.dockyard.fleet.plugins.modules import daemon_config

USERS = '{\n    "labels": ["rack=7"],\n    "debug": true\n}\n'


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch, capsys):
    """:returns: an object that runs the module on a file, with a dockerd of our choice"""
    class Host:
        path = tmp_path / "docker" / "daemon.json"
        calls = tmp_path / "calls"

        @staticmethod
        def dockerd(script):
            program = tmp_path / "dockerd"
            program.write_text("#!/bin/sh\necho \"$@\" >> %s\n%s\n" % (tmp_path / "calls", script))
            program.chmod(0o755)

        def has(self, text):
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(text)

        def run(self, check=False, **params):
            arguments = dict(params, path=str(self.path), _ansible_check_mode=check, _ansible_diff=True, _ansible_remote_tmp=str(tmp_path))
            with patch_module_args(arguments), pytest.raises(SystemExit):
                daemon_config.main()
            return json.loads(capsys.readouterr().out)

        def files(self):
            return sorted(os.listdir(self.path.parent)) if self.path.parent.exists() else []

    def find(module, name, opt_dirs=None):
        assert (name, "/usr/sbin" in opt_dirs) == ("dockerd", True)
        return str(tmp_path / name) if (tmp_path / name).exists() else None

    Host.warnings = []
    monkeypatch.setattr(daemon_config.AnsibleModule, "get_bin_path", find)
    monkeypatch.setattr(daemon_config.AnsibleModule, "warn", lambda module, text: Host.warnings.append(text))
    return Host()


def test_merges_validates_and_keeps_the_first_version(host):
    host.has(USERS)
    host.path.chmod(0o640)
    host.dockerd("exit 0")
    result = host.run(config={"registry-mirrors": ["https://m"]}, defaults={"live-restore": True})
    assert (result["changed"], result["action"], result["changed_keys"]) == (True, "reload", ["live-restore", "registry-mirrors"])
    assert result["validated"] == "dockerd --validate" and result["live_restore_starts"] is True
    assert "--validate --config-file %s/.daemon-" % host.path.parent in host.calls.read_text()
    assert json.loads(host.path.read_text()) == {"labels": ["rack=7"], "debug": True, "registry-mirrors": ["https://m"], "live-restore": True}
    assert host.path.stat().st_mode & 0o777 == 0o640
    assert (host.path.parent / "daemon.json.dockyard-orig").read_text() == USERS
    assert result["diff"]["before"] == USERS and '"https://m"' in result["diff"]["after"]
    assert host.files() == ["daemon.json", "daemon.json.dockyard-orig", "daemon.json.dockyard-previous"]

    again = host.run(config={"registry-mirrors": ["https://m"]}, defaults={"live-restore": True})
    assert (again["changed"], again["action"]) == (False, "none") and "diff" not in again
    assert len(host.calls.read_text().splitlines()) == 1

    second = host.run(config={"debug": None})
    assert second["changed"] and "debug" not in json.loads(host.path.read_text())
    assert (host.path.parent / "daemon.json.dockyard-orig").read_text() == USERS
    assert json.loads((host.path.parent / "daemon.json.dockyard-previous").read_text())["debug"] is True


def test_check_mode_is_the_same_without_the_writing(host):
    host.has(USERS)
    host.dockerd("exit 0")
    checked = host.run(check=True, config={"dns": ["9.9.9.9"]})
    assert host.path.read_text() == USERS and host.files() == ["daemon.json"]
    real = host.run(config={"dns": ["9.9.9.9"]})
    assert checked == real and real["action"] == "restart"


def test_no_file_and_no_dockerd(host):
    result = host.run(defaults={"log-driver": "local"})
    assert result["changed"] and result["previous"] == "" and result["validated"].startswith("skipped: dockerd is not installed")
    assert host.files() == ["daemon.json"] and host.path.stat().st_mode & 0o777 == 0o644


def test_an_old_dockerd(host):
    host.has(USERS)
    host.dockerd("echo 'unknown flag: --validate' >&2; exit 125")
    assert "it came with 23.0" in host.run(config={"debug": False})["validated"]


def test_refused_by_dockerd(host):
    host.has(USERS)
    host.dockerd("echo \"unable to configure: invalid log-level\" >&2; exit 1")
    result = host.run(config={"log-level": "loud"})
    assert result["failed"] and "invalid log-level" in result["msg"] and "docker_engine_daemon" in result["msg"]
    assert host.path.read_text() == USERS and host.files() == ["daemon.json"]
    assert host.run(check=True, config={"log-level": "loud"})["failed"]


def test_malformed_file(host):
    host.has('{\n  "debug": true,\nlog}\n')
    result = host.run(config={"debug": False})
    assert result["failed"] and (result["line"], result["column"]) == (3, 1) and "nothing was changed" in result["msg"]
    assert host.files() == ["daemon.json"]


def test_swarm_has_no_live_restore(host, tmp_path):
    state = tmp_path / "root" / "swarm"
    state.mkdir(parents=True)
    (state / "docker-state.json").write_text("{}")
    host.has(json.dumps({"data-root": str(tmp_path / "root")}))
    result = host.run(defaults={"live-restore": True, "log-driver": "local"})
    assert result["changed_keys"] == ["log-driver"] and "swarm" in host.warnings[0]
