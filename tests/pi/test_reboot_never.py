# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After deploy.yml on a stock Pi that must not be rebooted: it says so, and the stack runs without limits."""
import json
import ssl
import urllib.request


def test_it_was_not_rebooted(run_of):
    assert [start["why"] for start in run_of("never")["starts"]] == ["power-on"]


def test_it_says_what_is_missing_and_what_to_set(run_of):
    log = run_of("never")["log"]
    assert "docker_engine_reboot" in log
    assert "reboot" in log and "memory" in log


def test_the_stack_runs_without_limits(machine, containers):
    assert "memory" not in machine.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()
    assert sorted(containers) == ["app", "db", "nginx"]
    for service, container in containers.items():
        assert container["State"]["Health"]["Status"] == "healthy", service
        assert container["HostConfig"]["Memory"] == 0, service


def test_it_serves_from_outside():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen("https://127.0.0.1:18443/health", context=context, timeout=20) as answer:
        assert json.load(answer)["status"] == "healthy"
