# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other architectures on the hosts after a reboot, seen from outside."""

from __future__ import annotations

import os

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

RUNNER = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"])
testinfra_hosts = RUNNER.get_hosts("all")
KERNEL = "/proc/sys/fs/binfmt_misc"
RUN = "docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 1000:1000 --platform %s probe:%s"


@pytest.fixture(name="root")
def fixture_root(host):
    with host.sudo():
        yield host


def test_programs_run_in_containers_without_any_power(root):
    for platform, arch in (("linux/arm64", "arm64"), ("linux/arm/v7", "arm"), ("linux/s390x", "s390x")):
        assert root.check_output("docker image inspect -f '{{.Architecture}}' probe:%s", arch) == arch
        done = root.run(RUN % (platform, arch))
        # It writes 8 bytes from where its name is.
        assert (done.rc, done.stdout[:6]) == (42, "/probe"), done.stderr


def test_the_handlers_are_ours_with_flag_f(root):
    text = root.check_output("cd %s && cat dockyard-arm64 dockyard-arm dockyard-s390x", KERNEL)
    assert [line for line in text.splitlines() if line.split()[0] in ("enabled", "interpreter", "flags:")] == [
        line for name in ("aarch64", "arm", "s390x")
        for line in ("enabled", "interpreter /usr/libexec/qemu-binfmt/%s-binfmt-P" % name, "flags: POF")]


def test_nothing_of_ours_is_left_for_what_the_hardware_runs(root):
    rules = root.check_output("ls /etc/binfmt.d").split()
    assert rules == ["dockyard-arm.conf", "dockyard-arm64.conf", "dockyard-s390x.conf"]
    names = root.check_output("ls %s", KERNEL).split()
    assert [name for name in names if "amd64" in name or "x86_64" in name or "386" in name] == []


def test_the_package_brought_no_rules_of_its_own(root):
    assert root.run("ls /usr/lib/binfmt.d/qemu-*").rc != 0
    assert root.check_output("ls /usr/bin/qemu-alpha /usr/bin/qemu-alpha-static 2>/dev/null || true").startswith("/usr/bin/qemu-alpha")


def test_the_host_is_well(root):
    assert root.check_output("systemctl is-system-running") == "running"
    assert root.check_output("systemctl is-active systemd-binfmt.service") == "active"
