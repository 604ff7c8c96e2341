# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that one tree becomes like another one. Pure: both are known by their entries."""

from __future__ import annotations

import collections

from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import FILE, FOLDER, LINK, encoded, key_of

# Where files are written before they get their names; on the target only, removed at the end.
WORK = ".dockyard-tree"
# rsync's own, in the folder of a file whose transfer broke off.
PARTIAL = ".dockyard-partial"
RESERVED = (WORK, PARTIAL)
BLOCK = 4096

Plan = collections.namedtuple("Plan", "remove folders files hardlinks symlinks settle extra needed_bytes needed_inodes copy_bytes")


def carried(entries):
    """Those that a tree carries over (list of Entry)."""
    return [entry for entry in entries if entry.kind in (FILE, FOLDER, LINK)]


def is_reserved(path):
    """Whether a relative path is, or is in, a place for files that are being copied."""
    return any(part in RESERVED for part in path.split("/"))


def groups_of(entries):
    """Files by what they are: a list of lists of Entry, names of one inode together."""
    groups = collections.OrderedDict()
    for entry in entries:
        if entry.kind == FILE:
            groups.setdefault(entry.inode if entry.links > 1 else (entry.path,), []).append(entry)
    return list(groups.values())


def owner_of(entry, owner):
    """(uid, gid) that an entry has to have: ``owner`` unless it is None."""
    return owner or (entry.uid, entry.gid)


def is_same(entry, there, remembered, suspects):
    """Whether a file's content need not be copied again.

    :arg there: the target's Entry or None; :arg remembered: (digest, key) of the source's file when it was last read, or None;
        a key holds the time of the last change, which nobody can set; :arg suspects: paths that a proof found different (set).
    """
    if there is None or there.kind != FILE or entry.path in suspects:
        return False
    if remembered is not None and remembered[1] != key_of(entry):
        return False
    return (entry.size, entry.mtime_ns) == (there.size, there.mtime_ns)


def plan(source, target, owner=None, remembered=None, suspects=()):
    """What is to be done (Plan).

    :arg source, target: all entries; :arg owner: (uid, gid) for everything, or None to keep the numbers; :arg remembered: path -> (digest, key).
    """
    remembered, suspects = remembered or {}, set(suspects)
    wanted = carried(source)
    there = {entry.path: entry for entry in target}
    kinds = {entry.path: entry.kind for entry in wanted}
    clash = {entry.path for entry in wanted if entry.path in there and there[entry.path].kind != entry.kind}
    doomed, extra = [], []
    for entry in target:
        parents = parents_of(entry.path)
        if entry.path in clash or any(parent in clash for parent in parents):
            doomed.append(entry.path)
        elif entry.path not in kinds and not is_reserved(entry.path):
            extra.append(entry.path)
    for path in doomed:
        there.pop(path)

    folders = [entry for entry in wanted if entry.kind == FOLDER and entry.path not in there]
    symlinks = [entry for entry in wanted if entry.kind == LINK and (entry.path not in there or there[entry.path].target != entry.target)]
    files, hardlinks, taken = [], [], set()
    for group in groups_of(wanted):
        good = [entry for entry in group if is_same(entry, there.get(entry.path), remembered.get(entry.path), suspects)
                and there[entry.path].inode not in taken]
        leader = good[0] if good else group[0]
        if good:
            taken.add(there[leader.path].inode)
        else:
            files.append(leader)
        for entry in group:
            if entry is not leader and not (good and entry.path in there and there[entry.path].inode == there[leader.path].inode):
                hardlinks.append((entry.path, leader.path))

    fresh = {entry.path for entry in folders + files + symlinks} | {path for path, unused in hardlinks}
    settle = [entry for entry in wanted if entry.path not in fresh and not is_settled(entry, there[entry.path], owner)]
    replaced = [entry for entry in files if entry.path in there]
    needed = sum(blocks(entry.data) for entry in files) + BLOCK * (len(folders) + len(symlinks))
    # A file is written beside the one that it replaces.
    needed += max([blocks(entry.data) for entry in replaced] or [0]) - sum(blocks(there[entry.path].data) for entry in replaced)
    return Plan(sorted(doomed, key=encoded, reverse=True), folders, files, hardlinks, symlinks, settle, sorted(extra, key=encoded, reverse=True),
                max(needed, 0), len(folders) + len(symlinks) + len(files) - len(replaced), sum(entry.data for entry in files))


def parents_of(path):
    """The folders above a relative path (list of str)."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def blocks(count):
    """Bytes as a disk counts them (int)."""
    return -(-count // BLOCK) * BLOCK


def is_settled(entry, there, owner):
    """Whether mode, owner and time of a target's entry are as they have to be."""
    if (there.uid, there.gid) != owner_of(entry, owner) or there.mtime_ns != entry.mtime_ns:
        return False
    return entry.kind == LINK or there.mode == entry.mode


def is_done(work):
    """Whether a plan has nothing to do but, perhaps, to delete."""
    return not (work.remove or work.folders or work.files or work.hardlinks or work.symlinks or work.settle)


def moved(before, after):
    """Paths that are not in ``after`` what they were in ``before``: (vanished, changed, new), lists of str."""
    old, new = {entry.path: entry for entry in carried(before)}, {entry.path: entry for entry in carried(after)}
    vanished = [path for path in old if path not in new]
    changed = [path for path in old if path in new and _looks(old[path]) != _looks(new[path])]
    return vanished, changed, [path for path in new if path not in old]


def _looks(entry):
    # A folder's times change with every name in it, which is told by that name.
    return (entry.kind, entry.mode, entry.uid, entry.gid) + (() if entry.kind == FOLDER else tuple(key_of(entry)))
