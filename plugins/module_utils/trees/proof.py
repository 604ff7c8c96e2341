# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of whole trees, and how two of them differ. Pure: what the files hold is given as digests."""

from __future__ import annotations

import collections
import hashlib
import json

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import delta
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import ALGORITHM, FILE, FOLDER, LINK, encoded

# leader: the first name of the same inode.
Row = collections.namedtuple("Row", "kind mode owner size digest target leader")


def rows_of(entries, digests, owner=None):
    """What is compared of each entry: path -> Row.

    :arg digests: path -> hex digest of the files' content; :arg owner: (uid, gid) in place of the entries' own, or None.
    """
    leaders = {entry.path: group[0].path for group in delta.groups_of(entries) for entry in group}
    rows = collections.OrderedDict()
    for entry in entries:
        plain = entry.kind == FILE
        rows[entry.path] = Row(entry.kind, None if entry.kind == LINK else entry.mode, delta.owner_of(entry, owner), entry.size if plain else None,
                               digests.get(entry.path) if plain else None, entry.target, leaders.get(entry.path))
    return rows


def tree_digest(rows):
    """Digest of a tree (str, ``sha256:`` and hex): that of the root folder, where a folder's is the one of its entries' names, rows and digests."""
    below = collections.defaultdict(list)
    for path in rows:
        if path != ".":
            below[path.rpartition("/")[0] or "."].append(path)
    digests = {}
    # The deepest first; the root has no slash and no other name is shorter than its parent's.
    for path in sorted(rows, key=lambda path: (path != ".", path.count("/")), reverse=True):
        row = rows[path]
        digest = hashlib.new(ALGORITHM)
        digest.update(json.dumps([row.kind, row.mode, list(row.owner), row.size, row.digest, row.target, row.leader]).encode("ascii"))
        if row.kind == FOLDER:
            for child in sorted(below[path], key=encoded):
                digest.update(json.dumps([child.rpartition("/")[2], digests[child]]).encode("ascii"))
        digests[path] = digest.hexdigest()
    return "%s:%s" % (ALGORITHM, digests["."])


def differences(source, target):
    """How the target's rows differ from the source's: a list of ``{path, difference, source, target}`` in the order of the paths' bytes.

    ``difference`` is the first of missing, extra, kind, content, link, mode, owner.
    """
    found = []
    for path in sorted(set(source) | set(target), key=encoded):
        ours, theirs = source.get(path), target.get(path)
        if theirs is None:
            found.append((path, "missing", ours.kind, "nothing"))
        elif ours is None:
            found.append((path, "extra", "nothing", theirs.kind))
        elif ours.kind != theirs.kind:
            found.append((path, "kind", ours.kind, theirs.kind))
        elif (ours.size, ours.digest) != (theirs.size, theirs.digest):
            found.append((path, "content", "%d bytes, %s" % (ours.size, short(ours.digest)), "%d bytes, %s" % (theirs.size, short(theirs.digest))))
        elif ours.target != theirs.target:
            found.append((path, "link", ours.target, theirs.target))
        elif ours.leader != theirs.leader:
            found.append((path, "link", "the same file as %s" % ours.leader, "the same file as %s" % theirs.leader))
        elif ours.mode != theirs.mode:
            found.append((path, "mode", "%04o" % ours.mode, "%04o" % theirs.mode))
        elif ours.owner != theirs.owner:
            found.append((path, "owner", "%d:%d" % ours.owner, "%d:%d" % theirs.owner))
    return [dict(zip(("path", "difference", "source", "target"), row)) for row in found]


def short(digest):
    """The begin of a digest, for people."""
    return digest[:12] if digest else "unreadable"


def counts(rows):
    """``{files, directories, symlinks, bytes}`` of a tree; bytes of a file with several names count once."""
    return {
        "files": sum(row.kind == FILE for row in rows.values()),
        "directories": sum(row.kind == FOLDER for row in rows.values()),
        "symlinks": sum(row.kind == LINK for row in rows.values()),
        "bytes": sum(row.size for path, row in rows.items() if row.kind == FILE and row.leader == path),
    }
