# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the Docker Engine API -> facts. Pure; nothing of a container's environment passes through here."""

from __future__ import annotations

import json
import re

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
CONFIG_HASH = "com.docker.compose.config-hash"
ONEOFF = "com.docker.compose.oneoff"


def health(state, status, entry=None):
    """Health of a container: "healthy", "unhealthy", "starting", "none" (no health check) or None (not running, or paused).

    The list call tells it in the parentheses of Status: "Up 2 minutes (healthy)", "Up 3 seconds (health: starting)".
    Engines from API 1.52 on also have it as a key of its own, which is believed first.

    :param state: "running", "exited", ...; :param status: the text; :param entry: value of the key Health or None.
    """
    if state != "running":
        return None
    if isinstance(entry, dict) and entry.get("Status"):
        return entry["Status"]
    match = re.search(r"\(([^()]*)\)\s*$", status or "")
    if not match:
        return "none"
    word = match.group(1)
    if word == "health: starting":
        return "starting"
    return word if word in ("healthy", "unhealthy") else "none"


def container_name(names, container_id):
    """Name of a container: of the aliases that links add ("/web/db"), the one with a single slash; the short id if it has none."""
    plain = [name[1:] for name in names or [] if name.startswith("/") and name.count("/") == 1]
    return plain[0] if plain else container_id[:12]


def container_facts(entries):
    """Answer of GET /containers/json?all=1 -> the fact `containers`, sorted by name."""
    result = []
    for entry in entries or []:
        labels = entry.get("Labels") or {}
        ports = [
            {
                "ip": port.get("IP"),
                "host_port": port["PublicPort"],
                "container_port": port["PrivatePort"],
                "protocol": port.get("Type", "tcp"),
            }
            for port in entry.get("Ports") or [] if port.get("PublicPort")
        ]
        result.append({
            "id": entry["Id"],
            "name": container_name(entry.get("Names"), entry["Id"]),
            "image": entry.get("Image"),
            "image_id": entry.get("ImageID"),
            "state": entry.get("State"),
            "health": health(entry.get("State"), entry.get("Status"), entry.get("Health")),
            "status": entry.get("Status"),
            "project": labels.get(PROJECT),
            "service": labels.get(SERVICE),
            "config_hash": labels.get(CONFIG_HASH),
            "oneoff": labels.get(ONEOFF, "").lower() == "true",
            "ports": sorted(ports, key=lambda port: (port["host_port"], port["protocol"], port["ip"] or "")),
            "networks": sorted((entry.get("NetworkSettings") or {}).get("Networks") or {}),
        })
    return sorted(result, key=lambda item: item["name"])


def image_facts(entries):
    """Answer of GET /images/json -> the fact `images`, newest first; "<none>" tags and digests are left out, architecture is None."""
    result = []
    for entry in entries or []:
        result.append({
            "id": entry["Id"],
            "tags": sorted(tag for tag in entry.get("RepoTags") or [] if tag != "<none>:<none>"),
            "digests": sorted(digest for digest in entry.get("RepoDigests") or [] if not digest.startswith("<none>@")),
            "created": entry.get("Created"),
            "size_bytes": entry.get("Size"),
            "architecture": None,
            "labels": entry.get("Labels") or {},
        })
    return sorted(result, key=lambda item: (-(item["created"] or 0), item["id"]))


def image_architecture(details):
    """Answer of GET /images/ID/json -> "arm64" or "arm/v7"; None when the image does not say.

    arm64/v8 is arm64, as in Docker's own normal form of platforms.
    """
    architecture = details.get("Architecture") or None
    if architecture and details.get("Variant") and (architecture, details["Variant"]) != ("arm64", "v8"):
        return "%s/%s" % (architecture, details["Variant"])
    return architecture


def network_facts(entries):
    """Answer of GET /networks -> the fact `networks`, sorted by name."""
    result = [
        {
            "name": entry["Name"],
            "driver": entry.get("Driver"),
            "internal": bool(entry.get("Internal")),
            "project": (entry.get("Labels") or {}).get(PROJECT),
        }
        for entry in entries or []
    ]
    return sorted(result, key=lambda item: item["name"])


def volume_facts(answer):
    """Answer of GET /volumes -> the fact `volumes`, sorted by name."""
    result = [
        {
            "name": entry["Name"],
            "driver": entry.get("Driver"),
            "project": (entry.get("Labels") or {}).get(PROJECT),
            "mountpoint": entry.get("Mountpoint"),
        }
        for entry in (answer or {}).get("Volumes") or []
    ]
    return sorted(result, key=lambda item: item["name"])


def engine_facts(version, info):
    """Answers of GET /version and GET /info -> the fact `docker.engine`."""
    mirrors = ((info.get("RegistryConfig") or {}).get("Mirrors")) or []
    return {
        "version": version.get("Version"),
        "api_version": version.get("ApiVersion"),
        "storage_driver": info.get("Driver"),
        "data_root": info.get("DockerRootDir"),
        "cgroup_driver": info.get("CgroupDriver"),
        "cgroup_version": info.get("CgroupVersion"),
        "live_restore": info.get("LiveRestoreEnabled"),
        "memory_limit": info.get("MemoryLimit"),
        "warnings": info.get("Warnings") or [],
        "registry_mirrors": mirrors,
    }


def parse_daemon_config(raw):
    """Text of daemon.json -> (parsed dict or None, error str or None). An empty file is an empty object, as for dockerd."""
    if not raw.strip():
        return {}, None
    try:
        parsed = json.loads(raw)
    except ValueError as exc:
        return None, "not JSON: %s" % exc
    if not isinstance(parsed, dict):
        return None, "the top level is %s, an object is needed" % type(parsed).__name__
    return parsed, None


def parse_containerd_root(text):
    """Root folder in containerd's config.toml (str), or None when the file does not set it. Only the key at the top level counts."""
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            break
        match = re.match(r"""\s*root\s*=\s*(["'])(.*?)\1""", line)
        if match:
            return match.group(2) or None
    return None


def plugin_version(text):
    """Output of `<plugin> docker-cli-plugin-metadata` -> version without a leading v (str). Raises ValueError."""
    metadata = json.loads(text)
    version = metadata.get("Version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not version:
        raise ValueError("the plugin's metadata has no Version")
    return version[1:] if version.startswith("v") else version


def parse_docker_version(text):
    """Output of `docker --version` ("Docker version 26.1.5, build ...") -> "26.1.5"; None if it is something else."""
    match = re.match(r"Docker version ([^,\s]+)", text)
    return match.group(1).partition("+")[0] if match else None


def last_release(text, whole):
    """Tail of a release ledger (JSON lines) -> (last entry or None, problem or None).

    A line that a power cut tore is passed over, and reported.

    :param text: str; :param whole: False when text may begin in the middle of a line.
    """
    lines = text.splitlines()
    if not whole:
        lines = lines[1:]
    problem = None
    for line in reversed(lines):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            return entry, problem
        problem = "the last line is not a JSON object; the last whole entry before it is given"
    return None, "no entry is a JSON object" if problem else None
