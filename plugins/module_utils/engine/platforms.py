# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Docker comes from on each platform: tables, no decisions."""

from __future__ import annotations

DOCKER_URL = "https://download.docker.com"
# Docker's signing key for deb packages (docs.docker.com/engine/install/debian).
DOCKER_FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
DOCKER_EPOCH = "5:"  # in front of the versions of docker-ce and docker-ce-cli

KEYRING = "/etc/apt/keyrings/dockyard-docker"  # + .asc or .gpg
SOURCE_FILE = "/etc/apt/sources.list.d/dockyard-docker.sources"
PIN_FILE = "/etc/apt/preferences.d/dockyard-docker"
PLUGIN_DIR = "/usr/local/lib/docker/cli-plugins"
PROXY_DROPIN = "/etc/systemd/system/docker.service.d/dockyard-proxy.conf"
DAEMON_JSON = "/etc/docker/daemon.json"

# What a stack of the collection needs: `env_file: [{required: false}]` came with Compose 2.24.0, the engine's
# BuildKit with build secrets with 20.10, `buildx build --load` on that engine with 0.10.
MINIMUM = {"engine": "20.10", "compose": "2.24.0", "buildx": "0.10.0"}

DOCKER_PACKAGES = {
    "engine": ["docker-ce", "docker-ce-cli", "containerd.io"],
    "compose": ["docker-compose-plugin"],
    "buildx": ["docker-buildx-plugin"],
}

_DEBIAN_13 = {"engine": ["docker.io", "docker-cli"], "compose": ["docker-compose"], "buildx": ["docker-buildx"]}
_DEBIAN_12 = {"engine": ["docker.io"], "compose": [], "buildx": []}  # Compose 1 only, no Buildx
_UBUNTU = {"engine": ["docker.io"], "compose": ["docker-compose-v2"], "buildx": ["docker-buildx"]}
_AMAZON = {"engine": ["docker"], "compose": [], "buildx": []}

# (os.id, first part of version_id) -> what can be had there.
#   docker: {dpkg architecture: (distribution in Docker's repository, suite)}; docs.docker.com/engine/install
#   distribution: packages of the platform itself
PLATFORMS = {
    ("debian", "12"): {
        "title": "Debian 12", "manager": "apt", "distribution": _DEBIAN_12,
        "docker": {"amd64": ("debian", "bookworm"), "arm64": ("debian", "bookworm"), "armhf": ("debian", "bookworm")},
    },
    ("debian", "13"): {
        "title": "Debian 13", "manager": "apt", "distribution": _DEBIAN_13,
        "docker": {"amd64": ("debian", "trixie"), "arm64": ("debian", "trixie"), "armhf": ("debian", "trixie")},
    },
    # Raspberry Pi OS calls itself raspbian in its 32-bit form only. Its repository at Docker ends with release 12 and
    # engine 28; from 13 on Docker sends ARMv7 users to Debian's armhf packages.
    ("raspbian", "12"): {
        "title": "Raspberry Pi OS 12 (32-bit)", "manager": "apt", "distribution": _DEBIAN_12,
        "docker": {"armhf": ("raspbian", "bookworm")},
    },
    ("raspbian", "13"): {
        "title": "Raspberry Pi OS 13 (32-bit)", "manager": "apt", "distribution": _DEBIAN_13,
        "docker": {"armhf": ("debian", "trixie")}, "docker_needs_armv7": True,
    },
    ("ubuntu", "22.04"): {
        "title": "Ubuntu 22.04", "manager": "apt", "distribution": _UBUNTU,
        "docker": {"amd64": ("ubuntu", "jammy"), "arm64": ("ubuntu", "jammy"), "armhf": ("ubuntu", "jammy")},
    },
    ("ubuntu", "24.04"): {
        "title": "Ubuntu 24.04", "manager": "apt", "distribution": _UBUNTU,
        "docker": {"amd64": ("ubuntu", "noble"), "arm64": ("ubuntu", "noble"), "armhf": ("ubuntu", "noble")},
    },
    ("amzn", "2023"): {"title": "Amazon Linux 2023", "manager": "dnf", "distribution": _AMAZON, "docker": {}},
}

MACOS = {
    "colima": {"formulae": ["colima", "docker", "docker-compose", "docker-buildx"], "casks": []},
    "desktop": {"formulae": [], "casks": ["docker-desktop"]},
}

SUPPORTED = ", ".join([entry["title"] for entry in PLATFORMS.values()] + ["Raspberry Pi OS 12 and 13 (64-bit)", "macOS"])

# Packages that can't be installed beside the other source's.
OF_DOCKER = ("docker-ce", "docker-ce-cli", "docker-ce-rootless-extras", "containerd.io", "docker-compose-plugin", "docker-buildx-plugin")
OF_DISTRIBUTION = ("docker.io", "docker-cli", "docker-compose", "docker-compose-v2", "docker-buildx", "docker-doc", "containerd", "runc")
DISTRIBUTION_PLUGINS = {"compose": ["docker-compose", "docker-compose-v2"], "buildx": ["docker-buildx"]}
OF_NEITHER = ("podman-docker",)
