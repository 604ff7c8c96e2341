# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine before deploy.yml: stock Raspberry Pi OS as far as it matters, so that the journey proves something."""


def test_it_is_a_64_bit_pi(machine):
    assert machine.check_output("uname -m") == "aarch64"
    assert machine.file("/proc/device-tree/model").content_string.rstrip("\0") == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.file("/etc/rpi-issue").exists


def test_the_boot_partition_is_fat(machine):
    assert machine.mount_point("/boot/firmware").filesystem == "vfat"
    assert len(machine.file("/boot/firmware/cmdline.txt").content_string.splitlines()) == 1
    assert "moved" in machine.file("/boot/cmdline.txt").content_string


def test_the_memory_controller_is_off(machine):
    assert "cgroup_disable=memory" in machine.file("/boot/firmware/cmdline.txt").content_string.split()
    assert "cgroup_disable=memory" in machine.file("/proc/cmdline").content_string.split()
    assert "memory" not in machine.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()


def test_docker_is_not_there(machine):
    assert not machine.exists("docker")
    assert not machine.exists("dockerd")
