# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import system


@pytest.mark.parametrize("text, expected", [
    ('ID=debian\nVERSION_ID="12"\n', {"ID": "debian", "VERSION_ID": "12"}),
    ("NAME='single quotes'\n", {"NAME": "single quotes"}),
    ('NAME="a \\"word\\" and \\$x"\n', {"NAME": 'a "word" and $x'}),
    ("# ID=comment\n\nnonsense\n=x\n", {}),
    ("ID=\n", {"ID": ""}),
])
def test_os_release(text, expected):
    assert system.parse_os_release(text) == expected


@pytest.mark.parametrize("os_id, id_like, family", [
    ("debian", [], "debian"),
    ("ubuntu", ["debian"], "debian"),
    ("raspbian", ["debian"], "debian"),
    ("linuxmint", ["ubuntu", "debian"], "debian"),
    ("amzn", ["fedora"], "redhat"),
    ("rocky", ["rhel", "centos", "fedora"], "redhat"),
    ("alpine", [], "other"),
])
def test_family(os_id, id_like, family):
    assert system.os_family(os_id, id_like) == family


def test_codename_from_the_version_when_there_is_no_key_for_it():
    facts = system.os_facts({"ID": "debian", "VERSION": "9 (stretch)"}, None)
    assert facts["codename"] == "stretch"
    assert facts["version_id"] is None
    assert facts["raspberry_pi_os"] is False


def test_mac():
    facts = system.sw_vers_facts("ProductName:\t\tmacOS\nProductVersion:\t\t15.6.1\nBuildVersion:\t\t24G90\n")
    assert facts["family"] == "darwin"
    assert facts["version_id"] == "15.6.1"
    assert facts["pretty_name"] == "macOS 15.6.1"


@pytest.mark.parametrize("data, model, is_pi", [
    (b"Raspberry Pi 4 Model B Rev 1.4\0", "Raspberry Pi 4 Model B Rev 1.4", True),
    (b"linux,dummy-virt\0", "linux,dummy-virt", False),
    (b"\0", "", False),
])
def test_device_tree_model(data, model, is_pi):
    assert system.device_tree_model(data) == model
    assert system.pi_facts(model) == ({"model": model} if is_pi else None)
    assert system.pi_facts(None) is None


@pytest.mark.parametrize("machine, dpkg, engine, platform", [
    ("x86_64", "amd64", None, "linux/amd64"),
    ("aarch64", "arm64", None, "linux/arm64"),
    ("aarch64", None, None, "linux/arm64"),       # rpm systems
    ("aarch64", "armhf", None, "linux/arm/v7"),   # 32-bit Raspberry Pi OS with the 64-bit kernel
    ("aarch64", "armhf", "arm", "linux/arm/v7"),
    ("aarch64", "armhf", "arm64", "linux/arm64"),  # the daemon counts most
    ("armv7l", "armhf", "arm", "linux/arm/v7"),
    ("armv8l", "armhf", None, "linux/arm/v7"),
    ("armv6l", "armhf", None, "linux/arm/v6"),    # Pi Zero: Raspberry Pi OS names its ARMv6 programs armhf
    ("armv6l", "armhf", "arm", "linux/arm/v6"),
    ("x86_64", "i386", None, "linux/386"),
    ("arm64", None, "arm64", "linux/arm64"),      # macOS
    ("sparc64", None, None, None),
])
def test_docker_platform(machine, dpkg, engine, platform):
    assert system.docker_platform(machine, dpkg, engine) == platform


@pytest.mark.parametrize("platform, ia32, arm32, native", [
    ("linux/amd64", True, False, ["linux/amd64", "linux/386"]),
    ("linux/amd64", False, False, ["linux/amd64"]),
    ("linux/arm64", False, True, ["linux/arm64", "linux/arm/v7", "linux/arm/v6"]),
    ("linux/arm64", True, False, ["linux/arm64"]),
    ("linux/arm/v7", False, False, ["linux/arm/v7", "linux/arm/v6"]),
    ("linux/arm/v6", False, False, ["linux/arm/v6"]),
    (None, False, False, []),
])
def test_native_platforms(platform, ia32, arm32, native):
    assert system.native_platforms(platform, ia32, arm32) == native


def cpuinfo(*cores):
    return "".join("CPU implementer\t: %s\nCPU part\t: %s\n\n" % core for core in cores)


@pytest.mark.parametrize("text, page_size, compat, expected", [
    (cpuinfo(("0x41", "0xd03")), 4096, True, True),                      # Pi 3
    (cpuinfo(("0x41", "0xd08")), 4096, True, True),                      # Pi 4
    (cpuinfo(("0x41", "0xd0b")), 4096, True, True),                      # Pi 5 with kernel8.img
    (cpuinfo(("0x41", "0xd0b")), 16384, True, False),                    # Pi 5 with its own kernel
    (cpuinfo(("0x41", "0xd08")), 4096, False, False),                    # kernel without the 32-bit interface
    (cpuinfo(("0x41", "0xd0c")), 4096, True, True),                      # Graviton 2
    (cpuinfo(("0x41", "0xd40")), 4096, True, False),                     # Graviton 3
    (cpuinfo(("0x41", "0xd4f")), 4096, True, False),                     # Graviton 4
    (cpuinfo(("0x61", "0xd08")), 4096, True, False),                     # another maker's part with that number
    (cpuinfo(("0x41", "0xd0b"), ("0x41", "0xd40")), 4096, True, False),  # one core that can't is enough
    ("", 4096, True, False),
])
def test_32_bit_arm_is_promised_only_when_certain(text, page_size, compat, expected):
    assert system.runs_arm32(text, page_size, compat) is expected


MOUNTS_V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
MOUNTS_V1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n"


@pytest.mark.parametrize("mounts, v2, v1, version, on", [
    (MOUNTS_V2, ["cpuset", "cpu", "io", "memory", "pids"], set(), "v2", {"memory", "cpu", "pids", "cpuset", "io"}),
    (MOUNTS_V2, ["cpuset", "cpu", "io", "pids"], {"memory"}, "v2", {"cpu", "pids", "cpuset", "io"}),
    (MOUNTS_V1, None, {"memory", "cpu", "cpuacct", "pids"}, "v1", {"memory", "cpu"}),
    (MOUNTS_V1, None, {"cpu"}, "v1", {"cpu"}),  # mounted, and disabled on the boot line
    (MOUNTS_V1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", ["pids"], {"memory", "cpu"}, "hybrid", {"memory", "cpu", "pids"}),
    ("cgroup /sys/fs/cgroup/blkio cgroup rw,blkio 0 0\n", None, {"blkio"}, "v1", {"io"}),
    ("tmpfs /tmp tmpfs rw 0 0\n", None, {"memory"}, None, set()),
])
def test_cgroup(mounts, v2, v1, version, on):
    facts = system.cgroup_facts(system.parse_mounts(mounts), v2, v1)
    assert facts["version"] == version
    assert {name for name, value in facts["controllers"].items() if value} == on
    assert set(facts["controllers"]) == {"memory", "cpu", "pids", "cpuset", "io"}


def test_proc_cgroups_counts_what_is_enabled():
    assert system.parse_proc_cgroups("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\n") == {"cpu"}


def test_meminfo():
    assert system.parse_meminfo("MemTotal:  2048 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\nHugePages_Total: 0\n") == {
        "total_bytes": 2097152, "available_bytes": 1024, "swap_total_bytes": 0}
    assert system.parse_meminfo("")["total_bytes"] is None


@pytest.mark.parametrize("text, moved", [
    ("DO NOT EDIT THIS FILE\n\nThe file you are looking for has moved to /boot/firmware/cmdline.txt\n", True),
    ("console=tty1 root=PARTUUID=1 rootwait\n", False),
    ("", False),
])
def test_moved_boot_line(text, moved):
    assert system.cmdline_moved(text) is moved


@pytest.mark.parametrize("path, mount", [
    ("/var/lib/docker", "/var"),
    ("/variable", "/"),
    ("/mnt/big disk/docker", "/mnt/big disk"),
    ("/", "/"),
])
def test_mount_of(path, mount):
    points = [entry[0] for entry in system.parse_mounts("a / ext4 rw 0 0\nb /var ext4 rw 0 0\nc /mnt/big\\040disk ext4 rw 0 0\n")]
    assert system.mount_of(path, points) == mount
