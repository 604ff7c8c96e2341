# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the arm64 journey: the machine through testinfra, and what the runs of deploy.yml left behind."""
from __future__ import annotations

import json
import os
import pathlib

import pytest
import testinfra

HERE = pathlib.Path(__file__).resolve().parent
STATE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "dockyard-fleet" / "bed"


@pytest.fixture(scope="session")
def machine():
    """pi-arm64 over ssh; commands run through sudo."""
    options = f"-o UserKnownHostsFile={STATE}/ssh/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    return testinfra.get_host("ssh://pi@127.0.0.1:2223", ssh_identity_file=str(STATE / "ssh" / "id_ed25519"), ssh_extra_args=options, sudo=True)


@pytest.fixture(scope="session")
def run_of():
    """run_of(name): {code, recap, starts, log} of a run of deploy.yml."""

    def read(name: str) -> dict:
        output = pathlib.Path(os.environ["DOCKYARD_PI_OUTPUT"])
        facts = json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
        return {**facts, "log": (output / f"{name}.log").read_text(encoding="utf-8")}

    return read


@pytest.fixture(scope="session")
def containers(machine):
    """{service: docker inspect} of the stack's containers."""
    ids = machine.check_output("docker ps --quiet --filter label=com.docker.compose.project=inventory").split()
    found = json.loads(machine.check_output("docker inspect " + " ".join(ids)))
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}
