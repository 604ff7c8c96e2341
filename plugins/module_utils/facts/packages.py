# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package and APT state: pure parsers of dpkg's status file, rpm's list and APT's source files."""

from __future__ import annotations

import re

DOCKER_PACKAGES = (
    "docker-ce", "docker-ce-cli", "docker-ce-rootless-extras", "containerd.io", "docker-compose-plugin", "docker-buildx-plugin",
    "docker.io", "docker-cli", "docker-compose", "docker-compose-v2", "docker-buildx", "docker-doc", "docker", "docker-engine",
    "containerd", "runc", "podman-docker", "moby-engine", "moby-cli",
)

# The packages that bring the client, in the order in which they are believed.
CLI_PACKAGES = ("docker-ce-cli", "docker-cli", "docker.io", "moby-cli", "docker")

# Each pattern begins with a newline and a fixed word, which re finds several times faster than a line start: the file has megabytes on a desktop.
_STANZA = re.compile(rb"\nPackage: (?:%s)\n.*?(?=\n\n|\Z)" % b"|".join(re.escape(name.encode()) for name in DOCKER_PACKAGES), re.S)
# States in which dpkg left a package when it was stopped; the words are those of dpkg-query(1), db:Status-Status.
_BROKEN = re.compile(rb"\nStatus: \S+ \S+ (?:half-installed|unpacked|half-configured|triggers-awaited|triggers-pending)\s")
_ARCHITECTURE = re.compile(rb"\nPackage: dpkg\n.*?\nArchitecture: (\S+)", re.S)


def parse_dpkg_status(data):
    """dpkg's status file (bytes) -> (packages, interrupted).

    packages: {name: {"version": str or None, "hold": bool, "status": "installed" | "half-configured" | "config-files" | ...}},
    the Docker related ones only. interrupted (bool): some package, any, is between two states.
    """
    packages = {}
    data = b"\n" + data
    for match in _STANZA.finditer(data):
        fields = {}
        for line in match.group(0).decode("utf-8", "replace").splitlines():
            key, sep, value = line.partition(": ")
            if sep and not key.startswith(" "):
                fields.setdefault(key, value)
        status = fields.get("Status", "").split()
        if len(status) != 3:
            continue
        name = fields["Package"]
        if packages.get(name, {}).get("status") == "installed":
            continue  # the same package of a foreign architecture, which has a stanza of its own
        packages[name] = {"version": fields.get("Version"), "hold": status[0] == "hold", "status": status[2]}
    return packages, bool(_BROKEN.search(data))


def dpkg_architecture(arch_file, status):
    """Architecture of the userland (str or None): first line of /var/lib/dpkg/arch (text or None), else that of the package dpkg (status: bytes or None)."""
    lines = (arch_file or "").split()
    if lines:
        return lines[0]
    match = _ARCHITECTURE.search(b"\n" + (status or b""))
    return match.group(1).decode() if match else None


def journal_left(names):
    """Whether names (list of str) in /var/lib/dpkg/updates hold a journal of an interrupted dpkg: names of digits only, as in APT's own check."""
    return any(name.isdigit() for name in names)


def parse_rpm(text, versionlock=""):
    """Output of rpm -qa --qf '%{NAME}\\t%{VERSION}-%{RELEASE}\\n' -> packages as parse_dpkg_status(); versionlock: text of dnf's versionlock.list."""
    packages = {}
    locked = [line.strip() for line in versionlock.splitlines() if line.strip() and not line.startswith(("#", "!"))]
    for line in text.splitlines():
        name, sep, version = line.partition("\t")
        if sep and name in DOCKER_PACKAGES:
            hold = any(re.match(r"%s(?:-(?:\d+:)?\d.*|-\*.*|)$" % re.escape(name), entry) for entry in locked)
            packages[name] = {"version": version, "hold": hold, "status": "installed"}
    return packages


def upstream_version(version):
    """Version of the program inside a package version: "5:28.5.1-1~debian.13~trixie" -> "28.5.1", "20.10.24+dfsg1-1+b3" -> "20.10.24"."""
    match = re.match(r"(?:\d+:)?v?(\d+(?:\.\d+)*(?:[-~]?(?:rc|beta|alpha)[.\d]*)?)", version or "")
    return match.group(1) if match else None


def installed_version(packages, names):
    """Upstream version (str) of the first of names that is installed whole, or None."""
    for name in names:
        package = packages.get(name)
        if package and package["status"] == "installed":
            return upstream_version(package["version"])
    return None


def parse_one_line_sources(text):
    """sources.list(5), one-line style -> list of entries as in the fact apt.sources, without `file`."""
    entries = []
    for line in text.splitlines():
        match = re.match(r"\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if not match:
            continue
        options = dict(option.partition("=")[::2] for option in (match.group(2) or "").split())
        entries.append({
            "types": [match.group(1)],
            "uris": [match.group(3)],
            "suites": [match.group(4)],
            "components": match.group(5).split(),
            "architectures": [arch for arch in options.get("arch", "").split(",") if arch],
            "signed_by": options.get("signed-by"),
            "enabled": True,
        })
    return entries


def parse_deb822_sources(text):
    """sources.list(5), deb822 style -> list of entries as above. A key that is written into the file has signed_by "inline"."""
    entries = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields, key = {}, None
        for line in stanza.splitlines():
            if line[:1] in " \t" and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "uris" not in fields:
            continue
        signed_by = fields.get("signed-by")
        if signed_by is not None and "BEGIN PGP" in signed_by:
            signed_by = "inline"
        entries.append({
            "types": fields.get("types", "").split(),
            "uris": fields["uris"].split(),
            "suites": fields.get("suites", "").split(),
            "components": fields.get("components", "").split(),
            "architectures": fields.get("architectures", "").split(),
            "signed_by": signed_by,
            "enabled": fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "without", "disable"),
        })
    return entries


def ours(name):
    """Whether a file of APT's folders concerns Docker or this collection, by its name (str)."""
    lowered = name.lower()
    return "docker" in lowered or "dockyard" in lowered
