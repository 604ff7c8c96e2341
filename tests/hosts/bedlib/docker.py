# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to the machine's Docker engine: argv builders (pure) and the few calls that everything shares."""

from __future__ import annotations

import json

from . import settings, shell


def labels(**more) -> list:
    """--label arguments: the bed's own label, by which it knows what it may remove, and facts about the object."""
    pairs = [(settings.LABEL, "1")] + [(f"{settings.LABEL}.{key}", value) for key, value in sorted(more.items())]
    return [part for key, value in pairs for part in ("--label", f"{key}={value}")]


def docker(*argv, **options):
    return shell.run(["docker", *argv], **options)


def inspect(kind: str, name: str) -> dict | None:
    """What Docker knows of a container, image, network or volume; None when it does not exist."""
    done = docker(kind, "inspect", name, check=False)
    return json.loads(done.stdout)[0] if done.returncode == 0 else None


def build(tag: str, folder, *, base=None, args=None, label=None) -> None:
    """The classic builder: it needs no plugin, and 20.10's import refuses STOPSIGNAL."""
    argv = ["docker", "build", "--tag", tag, *labels(recipe=label or tag)]
    for key, value in sorted({**({"BASE": base} if base else {}), **(args or {})}.items()):
        argv += ["--build-arg", f"{key}={value}"]
    shell.run_logged([*argv, folder], tag.replace("/", "_").replace(":", "_"), env={"DOCKER_BUILDKIT": "0"})


def ours(kind: str) -> list:
    """Names of the containers or volumes that carry the bed's label."""
    listing = {"container": ["ps", "--all"], "volume": ["volume", "ls"]}[kind]
    field = {"container": "{{.Names}}", "volume": "{{.Name}}"}[kind]
    return docker(*listing, "--filter", f"label={settings.LABEL}=1", "--format", field).stdout.split()


def ensure_network() -> None:
    if inspect("network", settings.NETWORK) is None:
        with shell.locked("network"):
            if inspect("network", settings.NETWORK) is None:
                docker("network", "create", *labels(), "--subnet", settings.SUBNET, "--gateway", settings.GATEWAY,
                       "--opt", f"com.docker.network.bridge.name={settings.NETWORK}", settings.NETWORK)


def ensure_volume(name: str) -> None:
    if inspect("volume", name) is None:
        docker("volume", "create", *labels(), name)
