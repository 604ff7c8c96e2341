# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack oura after a restart of its host: an arm64 program parses a file under QEMU."""

from __future__ import annotations

import json
import os
import sys

from testinfra.utils.ansible_runner import AnsibleRunner

sys.path.insert(0, os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], "molecule", "shared"))

from outside import ask, containers, without_power  # noqa: E402

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")
SAMPLE = os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], "files", "stacks", "oura", "app", "samples", "ring.txt")


def test_a_file_is_parsed(host):
    with open(SAMPLE, encoding="utf-8") as stream:
        text = stream.read()
    with host.sudo():
        # As an operator copies it there; the image has the same file.
        done = host.run("docker exec oura-parser-1 cp /opt/dockyard/samples/ring.txt /app/input_data/ring_events.txt")
        assert done.rc == 0, done.stderr
        answer = host.run("curl --silent --show-error --request POST http://127.0.0.1:8001/parse")
    found = json.loads(answer.stdout)
    assert found["success"] and found["output_size"] > 6, found
    status, summary = ask(host, 8000, "/summary")
    assert status == 200 and json.loads(summary)["heart_rate_samples"] == text.count("|0x80|")


def test_the_pages_are_served(host):
    status, page = ask(host, 8000, "/")
    assert status == 200 and "/assets/" in page


def test_nobody_has_power_and_the_parser_is_published_to_the_host_alone(host):
    found = containers(host, "oura")
    assert set(found) == {"backend", "parser"}
    assert [name for name, one in found.items() if not without_power(one)] == []
    assert {port["HostIp"] for port in found["parser"]["NetworkSettings"]["Ports"].get("8001/tcp") or []} <= {"127.0.0.1"}
