# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about stopping and removing a stack. Pure.

Everything is found by the labels that Compose writes, so that a stack can be stopped whose files are gone or broken.
"""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.release import decide

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
DEPENDS_ON = "com.docker.compose.depends_on"
RUNNING = ("running", "restarting", "paused")
# The engine names a volume that nobody named by 64 hex digits.
ANONYMOUS = re.compile(r"[0-9a-f]{64}\Z")


def needs_of(label):
    """The services that a container's service waits for, as Compose's label tells: ``db:service_healthy:false,app:service_started:true``."""
    return set(part.split(":")[0] for part in (label or "").split(",") if part)


def stop_order(containers):
    """Containers in the order in which they are stopped: what others need goes last, as it came first.

    :arg containers: list of dict with ``service`` (None for a foreign one) and ``needs`` (set of services).
    :returns: list of the same dicts.
    """
    dependencies = {}
    for container in containers:
        dependencies.setdefault(container["service"] or "", set()).update(container["needs"])
    try:
        levels = decide.levels(dependencies)
    except ValueError:
        # Containers of several releases may contradict each other; they have to stop nevertheless.
        levels = [sorted(dependencies)]
    rank = {service: index for index, level in enumerate(levels) for service in level}
    return sorted(containers, key=lambda container: (-rank[container["service"] or ""], container["name"]))


def size_text(size):
    """A size for people; bytes that could not be counted are ``of unknown size``."""
    if size is None:
        return "of unknown size"
    if size < 1000:
        return "%d B" % size
    for power, unit in ((1, "kB"), (2, "MB")):
        if size < 1000 ** (power + 1):
            return "%.1f %s" % (size / 1000.0 ** power, unit)
    return "%.1f GB" % (size / 1000.0 ** 3)


def listed(entries):
    """Named things with their sizes as one text: ``a (1.2 MB), b (3 B)``."""
    return ", ".join("%s (%s)" % (entry["name"], size_text(entry["bytes"])) for entry in entries)


def switch_problems(stack, remove, switches, losses):
    """What is wrong with the switches that delete.

    :arg switches: dict of switch (``delete_volumes``, ``delete_images``) to what was typed.
    :arg losses: dict of switch to str, what it would delete.
    :returns: list of str
    """
    problems = []
    for switch, typed in sorted(switches.items()):
        if typed in ("", stack) and (remove or not typed):
            continue
        found = "%s=%s" % (switch, typed) + ("" if remove else " without remove=true")
        needed = []
        if typed != stack:
            needed.append("the stack's name typed again: %s=%s" % (switch, stack))
        if not remove:
            needed.append("remove=true with it")
        problems.append("%s: found %s; needed %s; it would delete %s; nothing was changed" % (stack, found, " and ".join(needed), losses[switch]))
    return problems


def repository_of(reference):
    """A reference without its tag or digest."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def doomed_images(stack, ledger_entries, images, others):
    """The images that go with a stack, and those that stay because somebody else needs them.

    Those that its ledger names, and other tags of what was built for it.

    :arg ledger_entries: list of dict, its whole ledger. :arg images: list of dict with ``id``, ``references`` and ``bytes``.
    :arg others: dict of image id or reference to str, who needs it.
    :returns: (list of dict with ``name``, ``id`` and ``bytes``; list of dict with ``name`` and ``user``)
    """
    named = set(reference for entry in ledger_entries for reference in (entry.get("images") or {}).values())
    built = set(repository_of(reference) for reference in named if repository_of(reference).startswith("dockyard/%s-" % stack))
    doomed, kept = [], []
    for image in images:
        for reference in sorted(image["references"]):
            if reference not in named and repository_of(reference) not in built:
                continue
            user = others.get(reference) or others.get(image["id"])
            if user:
                kept.append({"name": reference, "user": user})
            else:
                doomed.append({"name": reference, "id": image["id"], "bytes": image["bytes"]})
    return sorted(doomed, key=lambda entry: entry["name"]), sorted(kept, key=lambda entry: entry["name"])
