# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tag for two platforms: each host builds its own half, one of them by emulation, and runs what is its own."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf

from fleet import CA, Fleet, Host, Run, make_stack

REPOSITORY = "ghcr.io/dockyard/twins-probe"
RUN_SECONDS = 600
# An image that holds nothing but a program of its platform, so that no base image is needed.
DOCKERFILE = """FROM scratch
ARG TARGETARCH
COPY .dockyard/probe-$TARGETARCH /probe
ENTRYPOINT ["/probe"]
"""


class Twins(Fleet):
    """One host that runs the stack on its own platform, and one that shall run it as arm64."""

    NAMES = {"a": "journey-foreign", "b": "journey-native"}

    def up(self) -> None:
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        self.bed("up", *self.NAMES.values(), "--with-docker", *([] if keep else ["--fresh"]))
        document = yaml.safe_load(self.bed("inventory", *self.NAMES.values()))
        document["all"]["hosts"][self.NAMES["a"]]["dockyard_platform_twins"] = "linux/arm64"
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.a, self.b = (Host(name, document["all"]["hosts"][name]["ansible_host"]) for name in self.NAMES.values())
        stacks = self.folder / "stacks"
        make_stack(stacks, "twins", {
            "images": {"probe": {"build": {"recipe": "probe", "source": False}, "platforms": ["linux/amd64", "linux/arm64"]}},
            "tools": ["probe"],
            "actions": {"probe": {"service": "probe", "command": ["go"], "success": {"exit_codes": [elf.EXIT_STATUS]}, "changes": False}},
        }, {"services": {"probe": {"image": "${PROBE_IMAGE}", "profiles": ["tools"], "network_mode": "none"}}}, {"probe/Dockerfile": DOCKERFILE})
        for platform in ("linux/amd64", "linux/arm64"):
            program = stacks / "twins" / "probe" / f"probe-{elf.PLATFORMS[platform]['arch']}"
            program.write_bytes(elf.probe(platform))
            program.chmod(0o755)

    def play(self, name: str, extra: dict) -> Run:
        """A playbook on both hosts."""
        words = {"dockyard_stacks": ["twins"], "dockyard_stack_path": [str(self.folder / "stacks")], "images_ca_certificate": str(CA),
                 "images_registry": REPOSITORY.rpartition("/")[0]} if name == "deploy" else {}
        return self.run(name, "-e", json.dumps({**words, **extra}), timeout=RUN_SECONDS)

    def reference(self, host: Host) -> str:
        """What the host's stack runs."""
        return host.sh("sed -n 's/^PROBE_IMAGE=//p' /etc/dockyard/stacks/twins/.env").strip("'\"")


@pytest.fixture(name="twins", scope="module")
def fixture_twins(tmp_path_factory):
    twins = Twins(tmp_path_factory.mktemp("twins"))
    try:
        twins.up()
        twins.play("deploy", {}).good()
        yield twins
    finally:
        twins.down()


def test_both_run_what_is_their_own_under_one_tag(twins):
    references = {twins.reference(host) for host in (twins.a, twins.b)}
    assert len(references) == 1, references
    reference = references.pop()
    assert reference.startswith(f"{REPOSITORY}:"), reference
    found = [host.sh(f"docker image inspect -f '{{{{.Architecture}}}}' {reference}") for host in (twins.a, twins.b)]
    assert found == ["arm64", "amd64"]
    listed = json.loads(twins.b.sh(f"docker manifest inspect {reference}"))
    assert sorted(entry["platform"]["architecture"] for entry in listed["manifests"]) == ["amd64", "arm64"]


def test_each_program_runs(twins):
    run = twins.play("run", {"stack": "twins", "action": "probe"}).good()
    # The program writes the first letters of its own name.
    assert run.output.count("/probe") >= 2, run.output[-4000:]


def test_again_nothing_changes(twins):
    run = twins.play("deploy", {}).good()
    assert run.changed == dict.fromkeys(twins.NAMES.values(), 0), run.output[-6000:]
