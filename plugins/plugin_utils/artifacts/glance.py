# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at one set on its host, by receipts alone, in one short command.

Where nothing is due, packing and starting the module is most of a task's work (0.25 of 0.35 s were seen). What is judged here is judged by the same code
as in the module and in host_facts: the source of module_utils/artifacts/receipts.py is what is run.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import receipts

_FUTURE = "from __future__ import annotations\n"
_QUESTION = """

import os


def look(folder, identity):
    def read(path):
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:
                return parse(handle.read())
        except OSError:
            return None

    def status(path):
        try:
            return os.lstat(path)
        except OSError:
            return None

    def receipt(digest):
        algorithm, digits = digest.split(":", 1)
        return read(os.path.join(STORE, "receipts", algorithm, digits[:2], digits + ".json"))

    description = read(os.path.join(folder, identity + ".json"))
    state = set_state(description, lambda name: status(os.path.join(folder, identity, name)), receipt) if description else None
    return {"state": state, "manifest": read(folder + ".json")}


print("\\n" + MARK + json.dumps(look(FOLDER, IDENTITY)))
"""
_MARK = "dockyard-artifacts-glance "


def script(store, owner, name, identity):
    """The program (str) that looks at a set; it prints one line that :func:`part_of` reads."""
    source = inspect.getsource(receipts)
    names = "STORE, FOLDER, IDENTITY, MARK = %s\n" % json.dumps([store, os.path.join(store, "sets", owner, name), identity, _MARK])
    return source.replace(_FUTURE, _FUTURE + names, 1) + _QUESTION


def part_of(output, store, owner, name, identity):
    """What the program printed as the part of host_facts that tells of this store, with this set alone; None when it printed nothing such."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            try:
                found = json.loads(line[len(_MARK):])
            except ValueError:
                return None
            manifest = found.get("manifest")
            return {"path": store, "sets": {owner: {name: {identity: found["state"]}}} if found.get("state") else {},
                    "manifests": {owner: {name: {key: manifest.get(key) for key in ("version", "digest")}}} if manifest else {}}
    return None


def look(action, python, store, one):
    """The part of host_facts (dict) that tells of a set (a Wanted), or None where the host can't be asked in this way; then the module is asked.

    :param action: the action plugin; its connection and become are used.
    :param python: the host's interpreter (str).
    """
    # pylint: disable=protected-access  # an action has no public names for these
    # Without pipelining a module goes by a file, and so would this: nothing would be won.
    if not one.owner or not action._is_pipelining_enabled("new", False):
        return None
    done = action._low_level_execute_command("%s -I -" % shlex.quote(python), in_data=script(store, one.owner, one.name, one.id).encode(), sudoable=True)
    return part_of(done.get("stdout") or "", store, one.owner, one.name, one.id) if done.get("rc") == 0 else None
