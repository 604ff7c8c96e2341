# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a stack: what happened to it, one JSON document a line, the newest last.

``outcome`` of an entry is ``released``, ``failed``, ``stopped`` (on purpose; its containers are there) or ``removed`` (they are gone).
"""

from __future__ import annotations

import json
import os
import re

from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

STOPPED, REMOVED = "stopped", "removed"
# What an entry about stopping takes over from the one before it: what the stack is does not change with that.
KEPT = ("revision", "environment", "all_services", "jobs", "tools", "images")


def is_name(stack):
    """Whether a text is a stack's name, as the schema has it; it becomes a part of paths."""
    return re.match(r"[a-z][a-z0-9_-]{0,39}\Z", stack) is not None


def path_of(folder, stack):
    """Path of a stack's ledger below the folder of the ledgers."""
    return os.path.join(folder, "%s.jsonl" % stack)


def entries(path):
    """The readable entries, oldest first: list of dict. A line that a power cut tore is passed over."""
    found = []
    for line in (files.read(path) or b"").splitlines():
        try:
            entry = json.loads(line.decode("utf-8"))
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def last(path):
    """The newest readable entry, or {}."""
    found = entries(path)
    return found[-1] if found else {}


def append(path, entry):
    """Add an entry, and flush it to the disk."""
    known = files.read(path) or b""
    line = json.dumps(entry, sort_keys=True).encode("utf-8") + b"\n"
    if known and not known.endswith(b"\n"):
        # A run was killed in the middle of its line; keep what it wrote, on a line of its own.
        line = b"\n" + line
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ending(before, outcome, now, by, **more):
    """The entry of a stack that is stopped or removed on purpose.

    :arg before: dict, the newest entry, or {}. :arg outcome: ``stopped`` or ``removed``. :arg now: int, seconds since 1970. :arg by: str.
    :returns: dict
    """
    entry = {key: before[key] for key in KEPT if key in before}
    entry.update({key: value for key, value in more.items() if value}, number=before.get("number", 0) + 1, outcome=outcome, time_epoch_s=now, by=by)
    return entry


def is_ended(entry):
    """Whether the newest entry says that somebody stopped or removed the stack on purpose."""
    return (entry or {}).get("outcome") in (STOPPED, REMOVED)
