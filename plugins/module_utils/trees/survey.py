# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be known of a tree before it is copied. Pure."""

from __future__ import annotations

import collections

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import delta, links
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import FILE, FOLDER, LINK, MOUNT, SPECIAL
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import SHOWN, listed, shown, size

# What a small board with a card or a slow disk does at least.
ASSUMED_BYTES_PER_SECOND = 20 * 10**6
# Opening, naming and looking at a file costs this beside its bytes.
SECONDS_A_FILE = 0.0005


def summary(entries, problems, roots):
    """Figures and names of a tree, for the result.

    :arg problems: [(path, reason)] of what can't be read; :arg roots: absolute names of its root.
    """
    files = [entry for entry in entries if entry.kind == FILE]
    groups = [group for group in delta.groups_of(files) if group[0].links > 1]
    absolute = [entry for entry in entries if entry.kind == LINK and entry.target.startswith("/")]
    escaping = links.escaping(entries, roots)
    sparse = [entry for entry in files if entry.data < entry.size]
    special = [entry for entry in entries if entry.kind in SPECIAL or entry.kind == "unknown kind"]
    attributes = [entry for entry in files if entry.attributes]
    return {
        "files": len(files), "directories": sum(entry.kind == FOLDER for entry in entries), "symlinks": sum(entry.kind == LINK for entry in entries),
        "bytes": sum(group[0].size for group in delta.groups_of(files)), "data_bytes": sum(group[0].data for group in delta.groups_of(files)),
        "hard_links": {"groups": len(groups), "names": sum(len(group) for group in groups),
                       "outside": [shown(group[0].path) for group in groups if len(group) < group[0].links][:SHOWN]},
        "sparse": [shown(entry.path) for entry in sparse][:SHOWN],
        "absolute_links": [{"path": shown(entry.path), "target": shown(entry.target)} for entry in absolute if entry not in escaping][:SHOWN],
        "escaping_links": [{"path": shown(entry.path), "target": shown(entry.target)} for entry in escaping][:SHOWN],
        "not_carried": [{"path": shown(entry.path), "kind": entry.kind} for entry in special][:SHOWN],
        "extended_attributes": [shown(entry.path) for entry in attributes][:SHOWN],
        "unreadable": [{"path": shown(path), "reason": reason} for path, reason in problems][:SHOWN],
        "other_file_systems": [shown(entry.path) for entry in entries if entry.kind == MOUNT][:SHOWN],
        "owners": dict(sorted(collections.Counter("%d:%d" % (entry.uid, entry.gid) for entry in entries).items())),
    }


def refusals(where, entries, problems, roots):
    """Why a tree can't be copied: sentences (list of str)."""
    found = []
    escaping = links.escaping(entries, roots)
    if escaping:
        found.append("%s: found symbolic links that lead out of the tree: %s; needed links that stay in it; remove them, or add them to exclude"
                     % (where, ", ".join("%s -> %s" % (shown(entry.path), shown(entry.target)) for entry in escaping[:5])
                        + (" and %d more" % (len(escaping) - 5) if len(escaping) > 5 else "")))
    mounts = [entry.path for entry in entries if entry.kind == MOUNT]
    if mounts:
        found.append("%s: found other file systems mounted in the tree: %s; needed one file system; migrate each as a tree of its own, and add it to exclude"
                     % (where, listed(mounts)))
    if problems:
        found.append("%s: found what can't be read: %s; needed a tree that can be read as a whole; mend the disk or the permissions, or add it to exclude"
                     % (where, ", ".join("%s (%s)" % (shown(path), reason) for path, reason in problems[:5])
                        + (" and %d more" % (len(problems) - 5) if len(problems) > 5 else "")))
    reserved = [entry.path for entry in entries if delta.is_reserved(entry.path)]
    if reserved:
        found.append("%s: found %s; needed another name, this one is for files that are being copied; rename or remove it" % (where, listed(reserved)))
    return found


def space_refusals(where, needed_bytes, needed_inodes, free_bytes, free_inodes):
    """Why the destination is too small: sentences (list of str). A file system that counts no inodes (free_inodes 0 of 0) is told by None."""
    found = []
    if needed_bytes > free_bytes:
        found.append("%s: found %s free; needed %s; make room there, or choose another destination" % (where, size(free_bytes), size(needed_bytes)))
    if free_inodes is not None and needed_inodes > free_inodes:
        found.append("%s: found room for %d more files; needed %d; make room there, or choose another destination" % (where, free_inodes, needed_inodes))
    return found


def estimate(count_bytes, count_files, rate, basis):
    """Seconds for copy and proof: every byte is copied once and read back once."""
    rate = max(rate, 1)
    return {"seconds": round(2 * count_bytes / rate + count_files * SECONDS_A_FILE, 1), "bytes_per_second": int(rate), "basis": basis}
