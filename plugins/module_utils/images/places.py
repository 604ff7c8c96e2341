# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image of some platform is built, and how it comes from there to the host that runs it."""

from __future__ import annotations

import json
from typing import NamedTuple, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images import plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference

# Stands for the platform in the content hash of images for a registry, so that all platforms share one tag.
ALL_PLATFORMS = "all"
LIST_TYPES = ("application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json")
# Measured with QEMU 7.2 on amd64 for arm64.
_COSTS = "packages take 2 to 17 times as long, compilers 5 times, Python programs 50 to 300 times"


class Place(NamedTuple):
    """``builder`` is an inventory host; ``how``: here (built where it runs), archive (through the controller) or registry."""

    builder: str
    how: str
    emulated: bool


def read_builders(given: dict) -> dict:
    """``{platform: inventory host}`` with platforms as Docker writes them. Raises ImagesError."""
    found = {}
    for platform, host in given.items():
        if not isinstance(host, str) or not host:
            raise ImagesError("images_builders", f"{host!r} for {platform}", "the name of a host of the inventory", "images_builders")
        plan.check_platform(str(platform), "images_builders", None)
        found[str(platform)] = host
    return found


def read_registry(text: str) -> str:
    """A registry and path without a slash at its end, or empty. Raises ImagesError."""
    text = text.rstrip("/")
    if not text:
        return ""
    first = text.split("/")[0]
    try:
        if "." not in first and ":" not in first and first != "localhost":
            raise ValueError(f"{first!r} is no registry's name")
        parsed = parse_reference(f"{text}/name")
        if parsed.tag != "latest" or parsed.digest:
            raise ValueError("a tag")
    except ValueError as problem:
        raise ImagesError("images_registry", f"{text!r}: {problem}", "a registry with a path, such as registry.example/dockyard",
                          "images_registry") from problem
    return text


def is_native(platform: str, architecture: Optional[dict], own: Optional[str]) -> bool:
    """Whether a machine runs a platform by its hardware: by ``architecture`` of the facts, else only its engine's ``own`` platform."""
    native = (architecture or {}).get("native") or ([own] if own else [])
    return plain(platform) in {plain(entry) for entry in native}


def plain(platform: str) -> str:
    """A platform without a variant that its architecture always has: ``linux/arm64/v8`` is ``linux/arm64``."""
    parts = platform.split("/")
    return "/".join(parts if parts[1:2] == ["arm"] else parts[:2])


def place_of(platform: str, host: str, builders: dict, registry: str, architecture: Optional[dict], own: Optional[str]) -> Place:
    """The place for one image of a host that runs that platform: on the builder that is named for it, else on the host itself.

    ``own`` is the platform of the host's engine, ``architecture`` that part of its facts (may be null).
    """
    builder = next((name for known, name in builders.items() if plain(known) == plain(platform)), host)
    if builder != host:
        return Place(builder, "registry" if registry else "archive", False)
    return Place(host, "registry" if registry else "here", not is_native(platform, architecture, own))


def place_on_builder(where: str, platform: str, builder: str, architecture: Optional[dict], own: Optional[str]) -> Place:
    """The builder's own place for what it was asked for. Raises ImagesError when it can build that neither natively nor by emulation."""
    native = is_native(platform, architecture, own)
    if not native and architecture and plain(platform) not in {plain(entry) for entry in architecture.get("emulated") or []}:
        raise ImagesError(where, f"the builder {builder} ({own}) for {platform}, which it runs neither natively nor by emulation",
                          "a host of that architecture, or an emulator with flag F",
                          f"images_builders ({platform}: another host), or role binfmt for {builder}")
    return Place(builder, "here", not native)


def cost_note(where: str, platform: str, own: Optional[str]) -> str:
    """What an emulated build costs."""
    return f"{where}: {platform} is built by emulation on {own}: {_COSTS}; images_builders with a host of that architecture avoids it"


def find_delivered(repository: str, recipe: str, platform: str, inventory: plan.Inventory) -> Optional[tuple[str, dict]]:
    """``(reference, image)`` of the newest image of this recipe and platform that a builder made, or null.

    The host's base images do not count: it builds nothing from them.
    """
    for reference, image in inventory.of_repository(repository):
        labels = image.get("labels") or {}
        architecture = image.get("architecture")
        tag = parse_reference(reference).tag
        if labels.get(plan.LABEL_RECIPE) == recipe and tag == (labels.get(plan.LABEL_HASH) or "")[:plan.TAG_DIGITS] \
                and architecture in (None, platform.split("/")[1]):
            return reference, image
    return None


def platform_reference(reference: str, platform: str) -> str:
    """The name under which one platform's image is pushed: the list's tag and the platform."""
    return f"{reference}-{'-'.join(platform.split('/')[1:])}"


def merge_list(text: Optional[str], platform: str, digest: str) -> list[dict]:
    """Entries ``{platform, digest}`` of a manifest list after one platform's image was pushed.

    ``text`` is what the registry has under the tag (JSON), or null. What is there under the tag and is no list is replaced.
    """
    entries = {}
    try:
        document = json.loads(text or "{}")
    except ValueError:
        document = {}
    if isinstance(document, dict) and isinstance(document.get("manifests"), list):
        for entry in document["manifests"]:
            known = entry.get("platform") or {}
            name = "/".join(part for part in (known.get("os"), known.get("architecture"), known.get("variant")) if part)
            # Attestations are listed as unknown/unknown; they belong to what they attest, which may go.
            if known.get("os") not in (None, "unknown"):
                entries[plain(name)] = entry["digest"]
    entries[plain(platform)] = digest
    return [{"platform": name, "digest": entries[name]} for name in sorted(entries)]


def pushed_digest(before: list[str], after: list[str], text: Optional[str], platform: str) -> Optional[str]:
    """The digest of one platform's image that was just pushed, or null.

    An image that came by the list carries the list's digest as well, which must not become an entry of the list.
    ``before`` and ``after`` are its digests around the push; ``text`` is what the registry has under the list's tag (JSON), or null.
    """
    new = [digest for digest in after if digest not in before]
    if new or len(after) == 1:
        return (new or after)[0]
    listed = {entry["platform"]: entry["digest"] for entry in merge_list(text, "none/none", "")}
    return listed.get(plain(platform)) if listed.get(plain(platform)) in after else None


def list_argv(reference: str, entries: list[dict]) -> list[list[str]]:
    """The docker commands that make a manifest list of these entries and push it; engine 20.10 without Buildx has them too."""
    repository = reference.rsplit(":", 1)[0]
    commands = [["manifest", "create", reference, *[f"{repository}@{entry['digest']}" for entry in entries]]]
    for entry in entries:
        system, architecture, *variant = entry["platform"].split("/")
        commands.append(["manifest", "annotate", "--os", system, "--arch", architecture, *(["--variant", variant[0]] if variant else []), reference,
                         f"{repository}@{entry['digest']}"])
    return [*commands, ["manifest", "push", "--purge", reference]]
