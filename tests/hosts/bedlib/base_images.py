# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base images that the stacks build on: official ones where a container registry is reachable, stand-ins elsewhere.

Either way they end in the bed's registry, under their official names.
"""

from __future__ import annotations

import functools
import http.client
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from . import docker, images, machine_python, registry, settings, shell

OFFICIAL_REGISTRY = "registry-1.docker.io"
PROBE_SECONDS = 3


@dataclass(frozen=True)
class BaseImage:
    """`name` is the official one; `recipe` a folder of images/, or None when it is the slim Debian itself.

    `python`: the version of Python that no Debian has and the machine has to lend; such a stand-in is for the machine's own architecture.
    """

    name: str
    release: str
    recipe: str | None
    python: str | None = None

    @property
    def repository(self) -> str:
        repository = self.name.split(":")[0]
        return repository if "/" in repository else f"library/{repository}"

    @property
    def tag(self) -> str:
        return self.name.split(":")[1]


BASE_IMAGES = (
    BaseImage("debian:trixie-slim", "trixie", None),
    BaseImage("debian:bookworm-slim", "bookworm", None),
    BaseImage("busybox:1.37", "trixie", "busybox"),
    BaseImage("python:3.11-slim-bookworm", "bookworm", "python"),
    BaseImage("python:3.12-slim-trixie", "trixie", "python-machine", python="3.12"),
    BaseImage("pgvector/pgvector:0.8.0-pg17", "trixie", "pgvector"),
    BaseImage("nginx:1.28", "trixie", "nginx"),
    BaseImage("node:20-trixie-slim", "trixie", "node"),
    BaseImage("mongo:7.0.16", "trixie", "mongo"),
    BaseImage("qdrant/qdrant:v1.12.5", "trixie", "qdrant"),
    BaseImage("stain/jena-fuseki:5.1.0", "trixie", "fuseki"),
    BaseImage("cloudflare/cloudflared:2025.11.1", "trixie", "cloudflared"),
)


@functools.lru_cache(maxsize=None)
def official_reachable() -> bool:
    """Whether Docker Hub answers as a registry within 3 s (a gateway's refusal is no answer). BED_STAND_INS=1 says no."""
    if os.environ.get("BED_STAND_INS") == "1":
        return False
    connection = http.client.HTTPSConnection(OFFICIAL_REGISTRY, timeout=PROBE_SECONDS, context=ssl.create_default_context())
    try:
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        return answer.status in (200, 401) and "registry/2.0" in answer.headers.get("Docker-Distribution-Api-Version", "")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def local(image: BaseImage, official: bool) -> str:
    """The image in the machine's engine, pulled or built; returns its local reference."""
    if official:
        if docker.inspect("image", image.name) is None:
            shell.run_logged(["docker", "pull", "--quiet", image.name], f"pull-{image.recipe or image.release}")
        return image.name
    base = images.slim(image.release).tag
    if image.python:
        found = machine_python.find(image.python)
        if found is None:
            raise shell.BedError(lacking(image))
        return machine_python.image(found, image.python, image.recipe, base, settings.IMAGES / image.recipe).tag
    return images.layer(image.recipe, base, settings.IMAGES / image.recipe).tag if image.recipe else base


def lacking(image: BaseImage) -> str:
    """Why a stand-in of the machine's own Python can't be made."""
    return (f"{image.name}: not made, this machine has no Python {image.python} of its own folder (looked for python{image.python} on PATH, "
            f"pyenv's and uv's) and Debian has none; install one (`pyenv install {image.python}`, `uv python install {image.python}`)")


def obtainable(image: BaseImage, official: bool) -> bool:
    """Whether this machine can have the image at all."""
    return official or not image.python or machine_python.find(image.python) is not None


def ensure(quiet: bool = False) -> None:
    """Registry and base images are there; prints which kind was used, and one line an image (only new ones when `quiet`)."""
    started = time.monotonic()
    registry.ensure()
    official = official_reachable()
    architecture = shell.run(["docker", "version", "--format", "{{.Server.Arch}}"]).stdout.strip()

    def one(image: BaseImage) -> None:
        if not obtainable(image, official):
            if not quiet:
                print(lacking(image), flush=True)
            return
        begun = time.monotonic()
        reference = local(image, official)
        with shell.locked(f"publish-{image.name}"):
            pushed = registry.publish(reference, image.repository, image.tag, architecture)
        if pushed or not quiet:
            size = docker.inspect("image", reference)["Size"] / 1e6
            print(f"{image.name:30} {size:6.0f} MB  {'pushed' if pushed else 'there'} {time.monotonic() - begun:6.1f} s  {reference}", flush=True)

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(one, BASE_IMAGES))
    kind = "official images, pulled from their registry" if official else \
        f"stand-ins built from Debian's packages ({OFFICIAL_REGISTRY} is not reachable from here)"
    print(f"base images: {kind}; registry {settings.REGISTRY_ADDRESS}, {time.monotonic() - started:.1f} s", flush=True)


def put_manifest_list(name: str, parts) -> None:
    """`bed images --manifest NAME:TAG amd64=REF arm64=REF`: one name, the right image for each architecture."""
    if ":" not in name or not parts or any("=" not in part for part in parts):
        raise shell.BedError("usage: bed images --manifest NAME:TAG ARCHITECTURE=REFERENCE... "
                             "(a local image, or a tag or sha256:... digest of the same repository in the registry)")
    image = BaseImage(name, "", None)
    registry.ensure()
    entries = []
    for part in parts:
        architecture, _equals, reference = part.partition("=")
        found = None
        if docker.inspect("image", reference) is not None:
            registry.push(reference, image.repository, f"{image.tag}-{architecture}")
            found = registry.manifest(image.repository, f"{image.tag}-{architecture}")
        else:
            found = registry.manifest(image.repository, reference)
        if found is None:
            raise shell.BedError(f"{architecture}={reference}: neither a local image nor a tag or digest of {image.repository} in the registry")
        entries.append(registry.descriptor(found, architecture))
    digest = registry.put_list(image.repository, image.tag, entries)
    print(f"{name} is {digest}: {', '.join(sorted(entry['platform']['architecture'] for entry in entries))}")
