# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether symbolic links of a tree stay in it. Pure: the tree is known by its entries."""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import LINK

# What a kernel follows at most. A link that turns round and round leaves nothing.
_MOST = 40


def parts_of(path):
    """The names in a path, without empty ones and dots (list of str)."""
    return [part for part in path.split("/") if part not in ("", ".")]


def leaves(path, links, roots):
    """Whether the link at a relative path leads out of the tree, at its end or on the way (bool).

    :arg links: targets of all links of the tree, by relative path (dict); :arg roots: absolute names of the root (list of str).
    """
    here, due, followed = parts_of(path)[:-1], [], 0
    target = links[path]
    while True:
        if target is not None:
            followed += 1
            if followed > _MOST:
                return False
            names = parts_of(target)
            if target.startswith("/"):
                root = next((root for root in map(parts_of, roots) if names[:len(root)] == root), None)
                if root is None:
                    return True
                here, names = [], names[len(root):]
            due, target = names + due, None
        if not due:
            return False
        name = due.pop(0)
        if name == "..":
            if not here:
                return True
            here.pop()
        else:
            target = links.get("/".join(here + [name]))
            if target is None:
                here.append(name)


def escaping(entries, roots):
    """Entries of links that lead out, or may (list of Entry)."""
    links = {entry.path: entry.target for entry in entries if entry.kind == LINK}
    return [entry for entry in entries if entry.kind == LINK and leaves(entry.path, links, roots)]
