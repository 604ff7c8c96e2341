# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is: pure parsers for os-release, architecture, cgroups, memory, boot line. No I/O, no Ansible."""

from __future__ import annotations

import re

# Debian architecture -> Docker platform. armel (ARMv5/6 soft float) has no Docker platform that images are made for.
DPKG_PLATFORMS = {
    "amd64": "linux/amd64",
    "arm64": "linux/arm64",
    "armhf": "linux/arm/v7",
    "i386": "linux/386",
    "riscv64": "linux/riscv64",
    "ppc64el": "linux/ppc64le",
    "s390x": "linux/s390x",
    "loong64": "linux/loong64",
}

# `uname -m` -> Docker platform.
MACHINE_PLATFORMS = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
    "armv8l": "linux/arm/v7",
    "armv7l": "linux/arm/v7",
    "armv6l": "linux/arm/v6",
    "i386": "linux/386",
    "i686": "linux/386",
    "riscv64": "linux/riscv64",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
    "loongarch64": "linux/loong64",
}

# Arm Ltd's cores (implementer 0x41) whose EL0 still runs 32-bit code; part numbers from the "MIDR_EL1" section of each
# core's Technical Reference Manual. A53: Pi 3; A72: Pi 4 and Graviton 1; A76: Pi 5; Neoverse N1: Graviton 2.
# Cores that are not named here (Neoverse V1/V2 of Graviton 3/4, Apple's) count as unable.
ARM32_PARTS = frozenset({0xD03, 0xD04, 0xD05, 0xD07, 0xD08, 0xD09, 0xD0A, 0xD0B, 0xD0C})

CGROUP_CONTROLLERS = ("memory", "cpu", "pids", "cpuset", "io")

FAMILIES = {
    "debian": ("debian", "ubuntu", "raspbian"),
    "redhat": ("rhel", "fedora", "centos", "amzn", "rocky", "almalinux"),
}


def parse_os_release(text):
    """os-release(5) -> dict of str. Quotes and backslash escapes are undone; comments and nonsense are left out."""
    result = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9_]+)=(.*)$", line.strip())
        if not match:
            continue
        value = match.group(2).strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            quote, value = value[0], value[1:-1]
            if quote == '"':
                value = re.sub(r"\\([\"$`\\])", r"\1", value)
        result[match.group(1)] = value
    return result


def os_family(os_id, id_like):
    """debian, redhat or other, from ID (str) and ID_LIKE (list of str)."""
    for name in [os_id] + list(id_like):
        for family, members in FAMILIES.items():
            if name in members:
                return family
    return "other"


def os_facts(release, rpi_issue):
    """The fact `os`. release: dict of parse_os_release(); rpi_issue: text of /etc/rpi-issue or None."""
    os_id = release.get("ID", "linux")
    id_like = release.get("ID_LIKE", "").split()
    codename = release.get("VERSION_CODENAME")
    if not codename:
        match = re.search(r"\(([a-z]+)\)", release.get("VERSION", ""))
        codename = match.group(1) if match else None
    return {
        "id": os_id,
        "version_id": release.get("VERSION_ID"),
        "codename": codename,
        "pretty_name": release.get("PRETTY_NAME"),
        "id_like": id_like,
        "family": os_family(os_id, id_like),
        "raspberry_pi_os": rpi_issue is not None,
    }


def sw_vers_facts(text):
    """The fact `os` of a Mac, from the output of sw_vers."""
    values = dict((key.strip(), value.strip()) for key, sep, value in (line.partition(":") for line in text.splitlines()) if sep)
    version = values.get("ProductVersion")
    return {
        "id": "macos",
        "version_id": version,
        "codename": None,
        "pretty_name": " ".join(filter(None, [values.get("ProductName", "macOS"), version])),
        "id_like": [],
        "family": "darwin",
        "raspberry_pi_os": False,
    }


def device_tree_model(data):
    """Model name of a device tree (bytes with a trailing NUL) -> str without it."""
    return data.replace(b"\0", b"").decode("utf-8", "replace").strip()


def pi_facts(model):
    """The fact `pi`: {"model": ...} when the device tree's model (str or None) is a Raspberry Pi, else None."""
    return {"model": model} if model and model.startswith("Raspberry Pi") else None


def arm_parts(cpuinfo):
    """CPU parts in /proc/cpuinfo of an Arm machine: set of (implementer, part) as int."""
    implementers = [int(v, 16) for v in re.findall(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]+)", cpuinfo, re.M)]
    parts = [int(v, 16) for v in re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)", cpuinfo, re.M)]
    return set(zip(implementers, parts))


def runs_arm32(cpuinfo, page_size, kernel_compat):
    """Whether an arm64 machine is known to run 32-bit Arm programs; when in doubt, False.

    All cores must be on the list of ARM32_PARTS, memory pages must be 4 KiB (Linux supports 32-bit programs on arm64
    with other sizes only for experts), and the kernel must show that it has the 32-bit interface.

    :param cpuinfo: text of /proc/cpuinfo; :param page_size: bytes; :param kernel_compat: bool, see collect.py.
    """
    parts = arm_parts(cpuinfo)
    known = bool(parts) and all(implementer == 0x41 and part in ARM32_PARTS for implementer, part in parts)
    return known and page_size == 4096 and kernel_compat


def docker_platform(machine, dpkg_arch, engine_arch=None):
    """The platform that images are pulled for.

    The daemon's own answer counts most, then the userland (a 32-bit Raspberry Pi OS has an aarch64 kernel and armhf
    programs), then the kernel.

    :param machine: uname -m; :param dpkg_arch: "arm64" or None; :param engine_arch: Arch of /version ("arm", "amd64") or None.
    :returns: str or None if nothing is known about such a machine.
    """
    userland = DPKG_PLATFORMS.get(dpkg_arch or "") or MACHINE_PLATFORMS.get(machine)
    if userland == "linux/arm/v7" and machine == "armv6l":
        userland = "linux/arm/v6"
    if engine_arch == "arm":
        return userland if userland in ("linux/arm/v7", "linux/arm/v6") else "linux/arm/v7"
    return "linux/" + engine_arch if engine_arch else userland


def native_platforms(platform, ia32, arm32):
    """Docker platforms that run without emulation, the host's own first (list of str).

    :param platform: result of docker_platform(); :param ia32: the x86_64 kernel runs 32-bit programs; :param arm32: runs_arm32().
    """
    if platform is None:
        return []
    result = [platform]
    if platform == "linux/amd64" and ia32:
        result.append("linux/386")
    if platform == "linux/arm64" and arm32:
        result += ["linux/arm/v7", "linux/arm/v6"]
    if platform == "linux/arm/v7":
        result.append("linux/arm/v6")
    return result


def parse_mounts(text):
    """/proc/mounts -> list of (mount point, type, set of options); octal escapes undone."""
    result = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 4:
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields[1])
            result.append((point, fields[2], set(fields[3].split(","))))
    return result


def parse_proc_cgroups(text):
    """/proc/cgroups -> names (set of str) of the controllers whose column "enabled" is 1."""
    result = set()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and not line.startswith("#") and fields[3] == "1":
            result.add(fields[0])
    return result


def cgroup_facts(mounts, v2_controllers, v1_enabled):
    """The fact `cgroup`.

    :param mounts: result of parse_mounts(); :param v2_controllers: words of the root's cgroup.controllers (list) or None;
    :param v1_enabled: result of parse_proc_cgroups(). A v1 controller counts when it is enabled and mounted.
    """
    v1_mounted = set()
    has_v2 = False
    for unused, kind, options in mounts:
        if kind == "cgroup":
            v1_mounted |= options
        elif kind == "cgroup2":
            has_v2 = True
    has_v1 = bool(v1_mounted & (v1_enabled | {"cpu", "memory", "pids", "cpuset", "blkio", "devices", "name=systemd"}))
    version = "hybrid" if has_v1 and has_v2 else "v1" if has_v1 else "v2" if has_v2 else None
    available = set(v2_controllers or []) if has_v2 else set()
    if has_v1:
        available |= {"io" if name == "blkio" else name for name in v1_mounted & v1_enabled}
    return {"version": version, "controllers": {name: name in available for name in CGROUP_CONTROLLERS}}


def parse_meminfo(text):
    """The fact `memory` from /proc/meminfo; bytes. MemAvailable is missing on kernels before 3.14 only."""
    values = {}
    for line in text.splitlines():
        match = re.match(r"(\w+):\s+(\d+) kB", line)
        if match:
            values[match.group(1)] = int(match.group(2)) * 1024
    return {
        "total_bytes": values.get("MemTotal"),
        "available_bytes": values.get("MemAvailable"),
        "swap_total_bytes": values.get("SwapTotal"),
    }


def parse_cpu_features(text):
    """Sorted names of what all processors can do, from /proc/cpuinfo (`flags` on x86, `Features` on Arm). Raises ValueError when it does not say."""
    found = [set(match.group(1).split()) for match in re.finditer(r"^(?:flags|Features)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE)]
    if not found:
        raise ValueError("/proc/cpuinfo names no features")
    return sorted(set.intersection(*found))


def cmdline_moved(text):
    """Whether a /boot/cmdline.txt only says that the real file is elsewhere (Raspberry Pi OS 12 and later leave such a note)."""
    return bool(re.search(r"has moved to|DO NOT EDIT THIS FILE", text))


def mount_of(path, mount_points):
    """Mount point (str) that a path without links is on; mount_points: list of str, the later hides the earlier."""
    best = "/"
    for point in mount_points:
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best = point
    return best
