# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the images and files of a stack are on a host, or come from somewhere that it reaches without the internet. Reads the controller's files."""

from __future__ import annotations

import os

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.module_utils.images import places, plan, sources
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.images.dockerfile import parse_dockerfile
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import offline
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import wanted

_STORE = "/var/lib/dockyard/artifacts"


def image_problems(entries, facts, variable, host, allowed):
    """Images that are neither on the host nor obtainable inside.

    :arg entries: list of dict, as role ``images`` takes them. :arg variable: callable(str name, default) -> value of the role's variable.
    :returns: list of str.
    """
    if (facts.get("architecture") or {}).get("docker_platform") is None or facts.get("images") is None:
        # What the facts don't know is not held against the host.
        return []
    try:
        judge = _Judge(facts, variable, host, allowed)
    except ImagesError as problem:
        return [str(problem)]
    problems = []
    for entry in entries:
        try:
            problems += judge.problems_of(entry)
        except ImagesError as problem:
            problems.append(str(problem))
        except SeveralErrors as several:
            problems += [str(problem) for problem in several.problems]
    return list(dict.fromkeys(text for text in problems if text))


class _Judge:
    """Decides as the action of the images does, so that what passes here is what nothing is asked for there."""

    def __init__(self, facts, variable, host, allowed):
        # At the call: both actions are plugins, and only this environment needs the other one.
        from ansible_collections.dockyard.fleet.plugins.action import images

        self._items, self._allowed, self._architecture = images, allowed, facts["architecture"]
        self._options = {
            "registry": places.read_registry(variable("images_registry", "")), "ca_certificate": variable("images_ca_certificate", ""),
            "build_args": {key: variable(name, "") for key, name in offline.INDEXES.items()}, "builders": variable("images_builders", {}),
            "deliver": "", "delivered": []}
        self._policy = variable("images_pull_policy", "missing")
        self._cache = os.path.expanduser(variable("images_source_cache", "") or sources.default_cache())
        os.makedirs(self._cache, mode=0o700, exist_ok=True)
        self._inventory = plan.Inventory(facts["images"])
        self._mirrors = list(((facts.get("docker") or {}).get("engine") or {}).get("registry_mirrors") or [])
        self._mirrors += variable("docker_engine_registry_mirrors", [])
        self._fleet = images.Fleet(self._options, host)

    def problems_of(self, entry):
        """What speaks against one image: list of str and None."""
        stack, where = entry["stack"], "%s, image %s" % (entry["stack"], entry["name"])
        if entry["how"] == "pull":
            item = self._items.PullItem(entry, self._policy)
            decision = plan.decide_pull(item.text, item.policy, item.platform, self._inventory)
            change = "set dockyard_images_%s.%s to one there" % (stack.replace("-", "_"), entry["name"])
            return [] if decision.action == "none" else [self._pull(where, item.text, item.reference, decision.reason, change)]
        item = self._items.BuildItem(entry, self._options, self._cache)
        item.settle(self._architecture["docker_platform"], self._architecture, self._fleet)
        decision = item.decide(self._inventory)
        if decision.action == "none" and self._policy != "always":
            return []
        if not item.away:
            return self._build(where, item, "it has to be built here (%s)" % decision.reason)
        if item.place.how == "registry":
            return [self._pull(where, item.repository, parse_reference(item.repository), decision.reason, "correct images_registry")]
        # It comes through the controller, from a host that may have a network.
        return []

    def _pull(self, where, text, reference, reason, change):
        return offline.pull_problem(where, text, reference, reason, self._mirrors, self._allowed, change)

    def _build(self, where, item, reason):
        found = []
        for base in item.bases:
            if self._policy == "always" or plan.base_identity(base.reference, self._inventory) is None:
                found.append(self._pull(where, "its base image %s" % base.reference, parse_reference(base.reference), "not on the host",
                                        "build it where there is a network (images_builders)"))
        with open(os.path.join(item.recipe, item.dockerfile), encoding="utf-8") as stream:
            text = stream.read()
        declared = parse_dockerfile(text, item.args, item.platform, item.own).declared_args
        found += offline.index_problems(where, item.stack, item.name, declared, item.args, reason, self._allowed)
        return found + offline.text_problems(where, text, reason, self._allowed)


def artifact_problems(entries, facts, variable, allowed):
    """Files of the stacks' sets that are neither on the host nor obtainable inside; what is wrong with a manifest is told by the role ``artifacts``."""
    store, problems = variable("artifacts_store", _STORE), []
    part = wanted.facts_of(facts, store)
    for entry in entries:
        try:
            known = wanted.known_manifest(part, entry["stack"], entry["name"])
            found = wanted.read_set(dict(entry, owner=entry["stack"]), known)
        except (ArtifactsError, OSError):
            continue
        problems += offline.artifact_problems(entry, found, part, variable("artifacts_mirrors", []), allowed)
    return problems
