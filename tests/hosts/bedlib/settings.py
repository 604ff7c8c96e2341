# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and places of the test bed. Nothing here does anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
IMAGES = HERE / "images"

NETWORK = "dockyard-bed"
SUBNET = "10.213.77.0/24"
GATEWAY = "10.213.77.1"
LABEL = "org.dockyard.bed"
CONTAINER_PREFIX = "bed-"
REPOSITORY = "dockyard-bed"

REGISTRY_ADDRESS = "10.213.77.2"
REGISTRY_NAMES = ("registry-1.docker.io", "ghcr.io", "quay.io")
APT_ADDRESS = "10.213.77.3"
APT_NAMES = ("download.docker.test",)

RELEASES = ("trixie", "bookworm")


@dataclass(frozen=True)
class Host:
    """One test host. `shape` is the folder images/host-<shape>: its user and its files."""

    name: str
    address: str
    release: str = "trixie"
    shape: str = "plain"

    @property
    def user(self) -> str:
        return {"pi": "pi"}.get(self.shape, "admin")


KNOWN_HOSTS = {
    host.name: host
    for host in (
        Host("demo-pi", "10.213.77.11", shape="pi"),
        Host("demo-ec2", "10.213.77.12"),
        Host("engine-bookworm", "10.213.77.21", release="bookworm"),
        Host("engine-trixie", "10.213.77.22"),
        Host("stack-a", "10.213.77.31"),
        Host("stack-b", "10.213.77.32"),
        Host("bench", "10.213.77.41"),
    )
}
# Hosts with names of their own get the first free address of this range.
FREE_ADDRESSES = tuple(f"10.213.77.{last}" for last in range(100, 200))


def cache() -> Path:
    """The bed's folder: keys, certificates, logs, kept tarballs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "dockyard-fleet" / "bed"
