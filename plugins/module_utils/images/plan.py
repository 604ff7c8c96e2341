# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.images.context import content_hash
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import Reference, parse_reference

LABEL_HASH = "org.dockyard.content.hash"
LABEL_RECIPE = "org.dockyard.content.recipe"
LABEL_BASES = "org.dockyard.bases"
LABEL_STACK = "org.dockyard.stack"
LABEL_IMAGE = "org.dockyard.image"
TAG_DIGITS = 16
TEMPORARY_TAG = "building-"
# What Docker builds for: Go's names, as in `docker buildx inspect`.
ARCHITECTURES = ("386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x")
_VARIANTS = {"arm": ("v5", "v6", "v7"), "arm64": ("v8",), "amd64": ("v2", "v3", "v4")}


class Inventory:
    """The images of a host, found by name. ``images`` is the list of host_facts: id, tags, digests, created, size_bytes, labels."""

    def __init__(self, images: list[dict]) -> None:
        self.images = images
        self._names: dict = {}
        for image in images:
            for text in [*(image.get("tags") or []), *(image.get("digests") or [])]:
                if "<none>" not in text:
                    try:
                        self._names[str(parse_reference(text))] = image
                    except ValueError:
                        continue

    def find(self, text: str) -> Optional[dict]:
        """The image that Docker takes for this name, or null. A digest decides alone, as for Docker. Raises ValueError for a wrong name."""
        reference = parse_reference(text)
        if reference.digest:
            reference = reference._replace(tag=None)
        return self._names.get(str(reference))

    def of_repository(self, repository: str) -> list[tuple[str, dict]]:
        """``(tag reference, image)`` of one repository, newest first, without what a build has not finished."""
        wanted, found = parse_reference(repository).repository, []
        for name, image in self._names.items():
            reference = parse_reference(name)
            if reference.repository == wanted and reference.tag and not reference.tag.startswith(TEMPORARY_TAG):
                found.append((reference.familiar, image))
        return sorted(found, key=lambda pair: (-max(pair[1].get("tagged") or 0, pair[1].get("created") or 0), pair[0]))


def repo_digest(image: dict, reference: Reference) -> Optional[str]:
    """The registry's digest of an image under this repository, or null for an image that was never in a registry."""
    return next(iter(repo_digests(image, reference)), None)


def repo_digests(image: dict, reference: Reference) -> list[str]:
    """All digests that an image has under this repository: a list's that it was pulled by, and its own that it was pushed by."""
    found = []
    for text in image.get("digests") or []:
        try:
            known = parse_reference(text)
        except ValueError:
            continue
        if known.repository == reference.repository and known.digest:
            found.append(known.digest)
    return found


def base_identity(text: str, inventory: Inventory) -> Optional[str]:
    """What stands for a base image in a content hash: its registry digest, else ``id:`` and its id, else null when the host does not have it.

    A base that is written with its digest is known without looking.
    """
    reference = parse_reference(text)
    if reference.digest:
        return reference.digest
    image = inventory.find(text)
    if image is None:
        return None
    return repo_digest(image, reference) or f"id:{image['id']}"


class BuildDecision(NamedTuple):
    """``action``: none, pull_bases (the hash needs them) or build. ``image`` is the one that is there, for none."""

    action: str
    reason: str
    reference: Optional[str]
    content: Optional[str]
    bases: dict
    missing: list
    image: Optional[dict]


def _labels(image: dict) -> dict:
    return image.get("labels") or {}


def _recorded_bases(image: dict) -> dict:
    try:
        value = json.loads(_labels(image).get(LABEL_BASES, ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def decide_build(repository: str, recipe: str, bases: list[str], inventory: Inventory) -> BuildDecision:
    """Whether a build is needed. ``recipe`` is the hash without bases, ``bases`` are references.

    When bases are gone from the host, an image of the same recipe stands if the bases that are still there are those that it records.
    """
    identities = {base: base_identity(base, inventory) for base in bases}
    missing = [base for base, identity in identities.items() if identity is None]
    there = inventory.of_repository(repository)
    if missing:
        for reference, image in there:
            recorded = _recorded_bases(image)
            if _labels(image).get(LABEL_RECIPE) == recipe and set(recorded) == set(bases) and _is_named_by_hash(reference, image) \
                    and all(recorded[base] == identity for base, identity in identities.items() if identity):
                return BuildDecision("none", "unchanged", reference, _labels(image)[LABEL_HASH], recorded, missing, image)
        return BuildDecision("pull_bases", _reason(recipe, identities, there), None, None, identities, missing, None)
    content = content_hash(recipe, identities)
    reference = f"{repository}:{content[:TAG_DIGITS]}"
    image = inventory.find(reference)
    if image and _labels(image).get(LABEL_HASH) == content:
        return BuildDecision("none", "unchanged", reference, content, identities, [], image)
    return BuildDecision("build", _reason(recipe, identities, there), reference, content, identities, [], None)


def _is_named_by_hash(reference: str, image: dict) -> bool:
    content = _labels(image).get(LABEL_HASH) or ""
    return bool(content) and reference.endswith(f":{content[:TAG_DIGITS]}")


def _reason(recipe: str, identities: dict, there: list) -> str:
    if not there:
        return "not built here yet"
    for unused, image in there:
        if _labels(image).get(LABEL_RECIPE) == recipe:
            recorded = _recorded_bases(image)
            changed = sorted(base for base, identity in identities.items() if identity and recorded.get(base) != identity)
            return f"base image changed: {', '.join(changed)}" if changed else "the built image was removed"
    return "content changed"


class PullDecision(NamedTuple):
    """``action``: none or pull."""

    action: str
    reason: str
    image: Optional[dict]


def decide_pull(reference: str, policy: str, platform: Optional[str], inventory: Inventory) -> PullDecision:
    """Whether an image must be pulled: it is not there, it is of another architecture, or the policy is always."""
    image = inventory.find(reference)
    if image is None:
        return PullDecision("pull", "not on the host", None)
    if policy == "always":
        return PullDecision("pull", "policy always", image)
    architecture = image.get("architecture")
    if platform and architecture and platform.split("/")[1] != architecture:
        return PullDecision("pull", f"the one on the host is for {architecture}", image)
    return PullDecision("none", "present", image)


def check_platform(platform: str, where: str, architecture: Optional[dict]) -> None:
    """Raise ImagesError for a platform that Docker does not know or the host cannot run (``architecture`` of the facts, or null)."""
    parts = platform.split("/")
    known = len(parts) in (2, 3) and parts[0] == "linux" and parts[1] in ARCHITECTURES and (len(parts) == 2 or parts[2] in _VARIANTS.get(parts[1], ()))
    if not known:
        raise ImagesError(where, f"the platform {platform!r}", "linux/<architecture>[/<variant>] with one of " + ", ".join(ARCHITECTURES),
                          "platforms of this image in stack.yml")
    if architecture:
        able = [*(architecture.get("native") or []), *(architecture.get("emulated") or [])]
        if able and "/".join(parts[:2]) not in {"/".join(entry.split("/")[:2]) for entry in able}:
            raise ImagesError(where, f"the platform {platform}, but this host runs {', '.join(able)} only", "a platform that the host runs",
                              "platforms of this image in stack.yml, or emulation on the host (role binfmt)")


def effective_args(given: dict, offered: dict, declared: frozenset, where: str) -> dict:
    """The build arguments of one build: its own, and those offered to all whose Dockerfile declares them and that are not empty.

    Raises ImagesError for a value with a password in it: build arguments stay readable in the image's history.
    """
    args = {name: str(value) for name, value in offered.items() if name in declared and value not in (None, "")}
    args.update({name: str(value) for name, value in given.items() if value is not None})
    for name, value in args.items():
        if has_credentials(value):
            raise ImagesError(where, f"a URL with a user or password in the build argument {name}",
                              "no secret in a build argument, since an image's history shows it",
                              "build.secrets of this image, read with RUN --mount=type=secret")
    return args


def has_credentials(value: str) -> bool:
    """Whether a text is a URL that carries user information."""
    if "://" not in value:
        return False
    try:
        return "@" in urlsplit(value).netloc
    except ValueError:
        return False


def image_labels(stack: str, name: str, content: str, recipe: str, bases: dict, given: dict, revision: Optional[dict], built_at: str) -> dict:
    """The labels of a build. Only ``given`` ones count for the hash: the same content from another commit stays the same image.

    ``revision`` is ``{commit, created (RFC 3339 or null), url, version}`` or null. ``created`` is the commit's time where the content is exactly
    a commit's, so that two hosts say the same; else the time of the build.
    """
    revision = revision or {}
    labels = {
        "org.opencontainers.image.title": f"{stack}/{name}",
        "org.opencontainers.image.created": revision.get("created") or built_at,
        "org.opencontainers.image.version": revision.get("version") or content[:TAG_DIGITS],
        "org.opencontainers.image.revision": revision.get("commit") or f"sha256:{recipe}",
    }
    if revision.get("url"):
        labels["org.opencontainers.image.source"] = revision["url"]
    labels.update({key: str(value) for key, value in given.items()})
    labels.update({LABEL_HASH: content, LABEL_RECIPE: recipe, LABEL_BASES: json.dumps(bases, sort_keys=True), LABEL_STACK: stack, LABEL_IMAGE: name})
    return labels


def version_of(ref: Optional[str], commit: str) -> str:
    """A version for people: the tag or branch that was asked for, else the first 12 digits of the commit (and ``-dirty``)."""
    if ref and not re.match(r"^[0-9a-f]{7,64}$", ref):
        return ref
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


def check_budget(where: str, reference: str, size_bytes: int, budget_bytes: Optional[int], pulled: bool = False) -> None:
    """Raise ImagesError when an image is larger than its stack allows. Sizes are those of `docker image inspect`."""
    if budget_bytes and size_bytes > budget_bytes:
        advice = "" if pulled else " (leave build tools in an earlier stage, clean package caches in the same RUN)"
        raise ImagesError(where, f"{reference} has {size_bytes / 1e6:.1f} MB, {(size_bytes - budget_bytes) / 1e6:.1f} MB over its budget",
                          f"at most {budget_bytes / 1e6:.1f} MB{advice}",
                          "budget_mb of this image in stack.yml, if the size is meant" + (", or another image" if pulled else ""))


def old_builds(images: list[dict], repository: str, current: str, used: set, keep: int) -> list[str]:
    """References of older builds to remove: labelled as ours, not ``current``, used by no container, beyond the ``keep`` newest."""
    older = [(reference, image) for reference, image in Inventory(images).of_repository(repository)
             if reference != current and _labels(image).get(LABEL_HASH)]
    return [reference for reference, image in older[keep:] if image["id"] not in used]


def stale_builds(images: list[dict], controller: str, active: list[str]) -> list[str]:
    """Temporary tags that a killed run of this controller left: ``building-<controller>-<token>`` whose token runs no more."""
    mark, found = f"{TEMPORARY_TAG}{controller}-", []
    for image in images:
        for text in image.get("tags") or []:
            tag = text.rsplit(":", 1)[-1]
            if tag.startswith(mark) and tag[len(mark):] not in active:
                found.append(text)
    return sorted(found)
