# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tree from where it is to where it has to be: looked at, copied, proven. Joins the decisions (delta, links, proof, survey) with the doors."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.release import files
from ansible_collections.dockyard.fleet.plugins.module_utils.trees import agent, delta, proof, rsync, survey
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import SHOWN, TreeError, listed, shown, size
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.source import Absent
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.target import FULL, Target, copy_local, copy_remote

SCHEMA = 1
UNCHANGED = "nothing was changed"


def space_of(path):
    """(free bytes, free inodes or None) where a path is, or would be."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None


class Place:
    """Where a tree has to be: ``top`` is there already and is trusted, ``below`` are the names under it, which are never followed as links."""

    def __init__(self, top, below=()):
        self.top, self.below = top, tuple(below)
        self.path = os.path.join(top, *self.below)

    def check(self):
        """:raises TreeError: something on the way is no folder."""
        path = self.top
        for name in ("",) + self.below:
            path = os.path.join(path, name) if name else path
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(mode):
                raise TreeError("%s: found a %s; needed a folder, or nothing; %s; remove it, or correct destination"
                                % (path, agent.kind_of(mode), UNCHANGED))

    def exists(self):
        """Whether it is there."""
        return os.path.isdir(self.path)

    def make(self, owner):
        """Make what is missing; ``owner``: (uid, gid) or None. :returns: bool, whether something was missing."""
        made = not os.path.isdir(self.top)
        os.makedirs(self.top, mode=0o755, exist_ok=True)
        path = self.top
        for name in self.below:
            path = os.path.join(path, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
                made = True
                if owner:
                    os.chown(path, *owner, follow_symlinks=False)
        self.check()
        return made


class Migration:
    """The work on one tree.

    :arg source: Local or Remote; :arg place: Place, or None when it can't be known yet; :arg state: State;
    :arg options: dict of the module's: name, owner (tuple or None), optional, exclude, delete, final, method, verify;
    :arg has_program: function of a name, whether such a program is on this host; :arg reporter: of progress.
    """

    def __init__(self, source, place, state, options, reporter, has_program=shutil.which):
        self.source, self.place, self.state, self.options = source, place, state, options
        self.reporter, self.has_program = reporter, has_program
        self.name = options["name"]
        self.changed = False

    # -- shared -------------------------------------------------------------------

    def _scan_source(self, open_files=False):
        """(entries, problems), or None when there is no tree and none has to be."""
        try:
            return self.source.scan(self.options["exclude"], open_files)
        except Absent:
            marker = self.state.marker()
            if self.options["optional"] and not (marker and marker.get("source") == self._identity()):
                return None
            raise TreeError("%s: found no such folder%s; needed the tree that is to be migrated; %s; correct source, mount its disk, or set optional"
                            % (self.source.where, ", although it was there in an earlier pass" if marker and self.options["optional"] else "", UNCHANGED))

    def _identity(self):
        return {"path": self.source.path, "remote": self.source.remote}

    def _roots(self):
        return [self.source.path, self.source.real]

    def _scan_target(self):
        self.place.check()
        if not self.place.exists():
            return []
        with agent.Root(self.place.path) as root:
            entries, problems = agent.scan(root)
        if problems:
            raise TreeError("%s: found what can't be read: %s; needed a folder that root can read as a whole; %s; mend the disk there, or choose another place"
                            % (self.place.path, listed(path for path, unused in problems), UNCHANGED))
        mounts = [entry.path for entry in entries if entry.kind == agent.MOUNT]
        if mounts:
            raise TreeError("%s: found other file systems mounted below: %s; needed one file system; %s; unmount them, or choose another destination"
                            % (self.place.path, listed(mounts), UNCHANGED))
        return entries

    def _check_marker(self, marker, entries, target):
        """:raises TreeError: the destination holds what is not ours, or the source is not what it was."""
        content = [entry.path for entry in target if entry.path != "."]
        own = marker is not None and marker.get("destination") == self.place.path and target and marker.get("destination_inode") == target[0].inode
        if content and not own:
            raise TreeError("%s: found %d entries that this migration has not put there: %s; needed an empty folder, or this migration's own leftovers; %s; "
                            "move them away, or choose another destination" % (self.place.path, len(content), listed(content), UNCHANGED))
        if own and content and marker.get("source") != self._identity():
            raise TreeError("%s: found the leftovers of a migration from %s; needed those of one from %s; %s; correct source, or empty the destination"
                            % (self.place.path, marker["source"]["path"], self.source.path, UNCHANGED))
        if own and marker.get("source") == self._identity() and marker.get("source_inode") != entries[0].inode:
            # An unmounted disk leaves an empty folder: a final pass would delete everything, and prove that both are empty.
            raise TreeError("%s: found another folder under this name than in the earlier pass; needed the same one; %s; mount its disk, or begin anew: "
                            "empty %s and remove %s" % (self.source.where, UNCHANGED, self.place.path, self.state.marker_path))

    def _check_overlap(self):
        if self.source.remote:
            return
        one, other = os.path.join(self.source.real, ""), os.path.join(os.path.realpath(self.place.path), "")
        if one.startswith(other) or other.startswith(one):
            raise TreeError("%s: found that it and the source %s lie in each other; needed two separate folders; %s; correct destination"
                            % (self.place.path, self.source.real, UNCHANGED))

    def _method(self):
        """How contents come: "own" or "rsync"; measured, ours is the faster one on one host, rsync sends less of what changed over a network."""
        wanted = self.options["method"]
        if wanted == "own" or (wanted == "auto" and not self.source.remote):
            return "own"
        there = self.has_program("rsync") and self._rsync_there()
        if wanted == "rsync" and not there:
            raise TreeError("rsync: found none of 3.1 or newer on both sides; needed it for method=rsync; %s; install it, or use method=auto" % UNCHANGED)
        return "rsync" if there else "own"

    def _rsync_there(self):
        if not self.source.remote:
            return True
        code, out = self.source.run(["rsync", "--version"])
        return code == 0 and rsync.is_usable(out)

    # -- surveyed -------------------------------------------------------------------

    def survey(self, free):
        """The result of state surveyed. ``free``: (bytes, inodes or None) of a destination that is not known yet, else None."""
        started = time.monotonic()
        found = self._scan_source(open_files=True)
        if found is None:
            return {"present": False, "changed": False, "problems": [], "msg": "%s: there is no %s, and none is needed" % (self.name, self.source.where)}
        entries, problems = found
        marker = self.state.marker()
        result = dict(survey.summary(entries, problems, self._roots()), present=True, changed=False, root=shown(self.source.real))
        refused = survey.refusals(self.source.where, entries, problems, self._roots())
        target, destination = [], {"path": self.place.path if self.place else None, "exists": bool(self.place and self.place.exists()), "own": False}
        if self.place:
            try:
                target = self._scan_target()
                self._check_overlap()
                self._check_marker(marker, entries, target)
                destination["own"] = len(target) > 1
            except TreeError as error:
                refused.append(str(error))
            free = space_of(self.place.path)
        work = delta.plan(entries, target, self.options["owner"], self.state.remembered(self.source.real), (marker or {}).get("suspects", ()))
        refused += survey.space_refusals(self.place.path if self.place else "the destination", work.needed_bytes, work.needed_inodes, *free)
        destination["entries"] = max(len(target) - 1, 0)
        rate, basis = (marker or {}).get("rate"), "measured in the last pass"
        if not rate:
            largest = sorted((entry for entry in entries if entry.kind == agent.FILE), key=lambda entry: -entry.data)
            rate, basis = self.source.sample([entry.path for entry in largest[:500]]), "measured by reading a part of the source; the writing is taken as fast"
        if not rate:
            rate, basis = survey.ASSUMED_BYTES_PER_SECOND, "assumed: the tree is too small to measure"
        result.update(destination=destination, needed_bytes=work.needed_bytes, free_bytes=free[0], needed_inodes=work.needed_inodes, free_inodes=free[1],
                      estimate=survey.estimate(work.copy_bytes, len(work.files), rate, basis), problems=refused, seconds=round(time.monotonic() - started, 2))
        result["msg"] = "%s: %d files, %s; %s" % (self.name, result["files"], size(result["bytes"]), "; ".join(refused) or "nothing stands in the way")
        return result

    # -- copied -----------------------------------------------------------------------

    def copy(self, check_mode):
        """The result of state copied."""
        started = time.monotonic()
        final = self.options["final"]
        found = self._scan_source()
        if found is None:
            return {"present": False, "changed": False, "msg": "%s: there is no %s, and none is needed" % (self.name, self.source.where)}
        entries, problems = found
        refused = survey.refusals(self.source.where, entries, problems, self._roots())
        if refused:
            raise TreeError("; ".join(refused) + "; " + UNCHANGED, problems=refused)
        self._check_overlap()
        target = self._scan_target()
        marker = self.state.marker()
        self._check_marker(marker, entries, target)
        remembered, suspects = self.state.remembered(self.source.real), (marker or {}).get("suspects", [])
        work = delta.plan(entries, target, self.options["owner"], remembered, suspects)
        refused = survey.space_refusals(self.place.path, work.needed_bytes, work.needed_inodes, *space_of(self.place.path))
        if refused:
            raise TreeError("; ".join(refused) + "; " + UNCHANGED, problems=refused)
        method = self._method()
        deleted = work.extra if self.options["delete"] else []
        leftovers = any(delta.is_reserved(entry.path) for entry in target)
        result = {
            "present": True, "method": method, "final": final, "root": shown(self.source.real), "destination": self.place.path,
            "files": sum(entry.kind == agent.FILE for entry in entries), "copied_files": len(work.files), "copied_bytes": work.copy_bytes,
            "deleted": [shown(path) for path in deleted][:SHOWN], "deleted_entries": len(deleted), "kept_entries": len(work.extra) - len(deleted),
            "not_carried": survey.summary(entries, [], self._roots())["not_carried"],
            "changed_while_copied": [], "changed": bool(not target or leftovers or deleted or not delta.is_done(work)),
        }
        lines = ["+ " + shown(entry.path) for entry in work.files + work.symlinks + work.folders] + ["+ " + shown(path) for path, unused in work.hardlinks]
        result["diff"] = {"prepared": "".join(line + "\n" for line in (lines + ["- " + shown(path) for path in deleted])[:200])}
        if not check_mode:
            self._perform(entries, work, deleted, remembered, result, method, leftovers)
        result["seconds"] = round(time.monotonic() - started, 2)
        verb = "would copy" if check_mode else "copied"
        result["msg"] = "%s: %s %d of %d files, %s" % (self.name, verb, result["copied_files"], result["files"], size(result["copied_bytes"]))
        return result

    def _perform(self, entries, work, deleted, remembered, result, method, leftovers):
        marker = self.state.marker() or {}
        result["changed"] |= self.place.make(self.options["owner"])
        if marker.get("destination_inode") != os.stat(self.place.path).st_ino or marker.get("source") != self._identity() or \
                marker.get("destination") != self.place.path:
            marker = {"schema": SCHEMA, "name": self.name, "source": self._identity(), "source_inode": entries[0].inode, "destination": self.place.path,
                      "destination_inode": os.stat(self.place.path).st_ino, "begun": int(time.time()), "suspects": []}
            # Before the first byte: whatever kills this run, the next one knows what is its own.
            self.state.write_marker(marker)
        self.changed = result["changed"]
        busy = result["changed"]
        digests, problems = {}, {}
        started = time.monotonic()
        target = Target(self.place.path, self.options["owner"])
        try:
            if busy:
                digests, problems = self._bring(target, work, deleted, method, leftovers)
            after, unused = self._rescan()
            vanished, changed, new = delta.moved(entries, after)
            gone = set(vanished)
            seen = [entry for entry in entries if entry.path not in gone]
            # What was copied anew is no longer what was remembered of it; rsync does not tell digests.
            fresh = {entry.path for entry in work.files} | {path for path, unused in work.hardlinks}
            known = dict({path: found for path, found in remembered.items() if path not in gone | fresh}, **digests)
            rest = delta.plan(seen, self._scan_target(), self.options["owner"], known) if busy else work
            for entry in reversed(rest.settle if busy else []):
                target.settle(entry)
        except OSError as error:
            raise self._told(error, result) from error
        finally:
            with contextlib.suppress(OSError):
                target.end()
            target.close()
        restless = sorted(set(vanished) | set(changed) | set(new) | set(problems), key=agent.encoded)
        result["changed_while_copied"] = [shown(path) for path in restless][:SHOWN]
        self._check_arrived(rest if busy else None, set(restless), problems, gone)
        if busy and result["copied_bytes"] > 10**7:
            marker["rate"] = int(result["copied_bytes"] / max(time.monotonic() - started, 0.001))
        marker["suspects"] = []
        if method == "rsync" and not self.options["final"]:
            # While the application still serves, so that the proof after the freeze reads only what changed since.
            known.update(self._digests(after, known))
        self.state.remember(self.source.real, {entry.path: known[entry.path] for entry in after if entry.path in known})
        self.state.write_marker(marker)
        if self.options["final"] and restless:
            raise TreeError("%s: found the source still being written after the freeze: %s; needed a source that stands still in the final pass; "
                            "nothing was changed there; stop what writes to it, then run again" % (self.source.where, listed(restless)),
                            changed_while_copied=result["changed_while_copied"])

    def _rescan(self):
        try:
            return self.source.scan(self.options["exclude"])
        except Absent:
            raise TreeError("%s: found that it vanished while it was copied; needed the source to stay; mount its disk, then run again: it goes on where it was"
                            % self.source.where)

    def _bring(self, target, work, deleted, method, leftovers):
        """Everything but modes, owners and times of folders. :returns: (digests, problems) as copy_local."""
        self.reporter.add(self.name, work.copy_bytes)
        target.begin()
        for path in work.remove:
            target.remove(path)
        for path in deleted:
            with contextlib.suppress(FileNotFoundError):
                target.remove(path)
        for entry in work.folders:
            if entry.path != ".":
                target.make_folder(entry)
        for entry in work.symlinks:
            target.make_symlink(entry)
        if method == "rsync":
            digests, problems = self._by_rsync(target, work)
        elif self.source.remote:
            digests, problems = copy_remote(self.source, target, work.files, lambda count: self.reporter.advance(self.name, count)) if work.files else ({}, {})
        else:
            with self.source.open() as root:
                digests, problems = copy_local(root, target, work.files, lambda count: self.reporter.advance(self.name, count))
        for path, leader in work.hardlinks:
            try:
                target.make_hardlink(path, leader)
            except FileNotFoundError:
                # Its file vanished from the source, or never came.
                problems.setdefault(path, "its file %s did not come" % shown(leader))
        target.end()
        if method == "rsync" or leftovers:
            target.forget_partials()
        self.reporter.done(self.name)
        return digests, problems

    def _by_rsync(self, target, work):
        if not work.files:
            return {}, {}
        # Should this run be killed, rsync must not go on writing beside the next one, which has the lock then.
        guard = ["setpriv", "--pdeathsig", "TERM"] if self.has_program("setpriv") else []
        code, complaint = rsync.run(guard + rsync.argv(self.source, self.place.path, self.options["owner"]), [entry.path for entry in work.files],
                                    lambda count: self.reporter.set(self.name, count))
        if code and ("(28)" in complaint or "(122)" in complaint):
            raise OSError(errno.ENOSPC, "No space left on device", self.place.path)
        if code == 23:
            # A part of the files; which ones is seen by looking.
            return {}, {}
        if code not in (0, rsync.VANISHED):
            raise TreeError("%s: found that rsync ended with %d: %s; needed it to copy; the source was not changed; mend that, then run again: it goes on "
                            "where it was" % (self.source.where, code, " ".join(complaint.split())[-400:] or "no words"), changed=True)
        return {}, {}

    def _told(self, error, result):
        if error.errno in FULL:
            free = space_of(self.place.path)[0]
            return TreeError("%s: found the disk full while copying (%s free); needed %s in all; the source was not changed; make room there, then run again: "
                             "it goes on where it was" % (self.place.path, size(free), size(result["copied_bytes"])), changed=True)
        return TreeError("%s: found %s; needed to write there; the source was not changed; look at the disk and at the permissions, then run again: "
                         "it goes on where it was" % (self.place.path, error.strerror or error), changed=True)

    def _check_arrived(self, rest, restless, problems, gone):
        broken = {path: reason for path, reason in problems.items() if path not in gone and reason not in ("vanished",)}
        unreadable = {path: reason for path, reason in broken.items() if "while it was read" not in reason and "did not come" not in reason}
        if unreadable:
            named = ", ".join("%s (%s)" % (shown(path), reason) for path, reason in sorted(unreadable.items())[:5])
            raise TreeError("%s: found files that can't be read: %s; needed all of them; the source was not changed; mend the disk there, or add them to "
                            "exclude" % (self.source.where, named), changed=True)
        if rest is None:
            return
        missing = [entry.path for entry in rest.folders + rest.files + rest.symlinks] + [path for path, unused in rest.hardlinks]
        missing = [path for path in missing if path not in restless]
        leaders = dict(rest.hardlinks)
        missing = [path for path in missing if leaders.get(path) not in restless]
        if missing:
            raise TreeError("%s: found that %d entries did not come: %s; needed all of them; the source was not changed; run again"
                            % (self.place.path, len(missing), listed(missing)), changed=True)

    # -- proved --------------------------------------------------------------------------

    def _digests(self, entries, known, advance=None):
        """Digests of the source's files that are not known by their keys: path -> (digest, key). Names of one inode are read once."""
        due = []
        for group in delta.groups_of(entries):
            if not any(self._known(entry, known) for entry in group):
                due.append(group[0].path)
        return {path: (digest, key) for path, digest, key, unused in (self.source.hash(due, advance) if due else ()) if digest}

    @staticmethod
    def _known(entry, known):
        found = known.get(entry.path)
        return found[0] if found is not None and found[1] == agent.key_of(entry) else None

    def prove(self, check_mode):
        """The result of state proved. :raises TreeError: the trees differ."""
        started = time.monotonic()
        found = self._scan_source()
        if found is None:
            return {"present": False, "equal": True, "changed": False, "msg": "%s: there is no %s, and none is needed" % (self.name, self.source.where)}
        entries, problems = found
        refused = survey.refusals(self.source.where, entries, problems, self._roots())
        if refused:
            raise TreeError("; ".join(refused) + "; " + UNCHANGED, problems=refused)
        target = self._scan_target()
        marker = self.state.marker()
        self._check_marker(marker, entries, target)
        if not target:
            raise TreeError("%s: found no such folder; needed the copy that is to be proven; %s; run with state=copied first" % (self.place.path, UNCHANGED))
        wanted = delta.carried(entries)
        known = {} if self.options["verify"] == "always" else self.state.remembered(self.source.real)
        theirs, read = {}, {}
        self.reporter.add("%s, copy" % self.name, sum(group[0].size for group in delta.groups_of(target)))
        self.reporter.add("%s, source" % self.name, sum(group[0].size for group in delta.groups_of(wanted)
                                                        if not any(self._known(entry, known) for entry in group)))
        failures = []

        def guarded(step):
            try:
                step()
            except BaseException as error:
                failures.append(error)

        def read_source():
            read.update(self._digests(wanted, known, lambda count: self.reporter.advance("%s, source" % self.name, count)))

        # Written out while it is read: what a proof says has to outlast a power cut.
        beside = [threading.Thread(target=guarded, args=(step,), daemon=True) for step in (read_source, self._sync)]
        for thread in beside:
            thread.start()
        guarded(lambda: theirs.update(self._read_target(target)))
        for thread in beside:
            thread.join()
        for error in failures:
            if isinstance(error, OSError):
                raise TreeError("%s: found %s; needed to read and write it as a whole; look at the disk, then run again"
                                % (self.place.path, error.strerror or error)) from error
            raise error
        known = dict(known, **read)
        ours = {}
        for group in delta.groups_of(wanted):
            digest = next((self._known(entry, known) for entry in group if self._known(entry, known)), None)
            ours.update((entry.path, digest) for entry in group)
        restless = sorted((path for paths in delta.moved(entries, self._rescan()[0]) for path in paths), key=agent.encoded)
        if restless:
            raise TreeError("%s: found that the source changed during the proof: %s; needed a source that stands still; %s; stop what writes to it, copy "
                            "again, then prove" % (self.source.where, listed(restless), UNCHANGED), equal=False)
        left, right = proof.rows_of(wanted, ours, self.options["owner"]), proof.rows_of(target, theirs)
        # What could not be read is equal to nothing, not to another thing that could not.
        unread = sorted((path for path, row in left.items() if row.kind == agent.FILE and row.digest is None), key=agent.encoded)
        if unread:
            raise TreeError("%s: found files that can't be read: %s; needed all of them; %s; mend the disk there, then run again"
                            % (self.source.where, listed(unread), UNCHANGED), equal=False)
        differences = proof.differences(left, right)
        result = {
            "present": True, "changed": False, "equal": not differences,
            "source": dict(proof.counts(left), digest=proof.tree_digest(left), root=shown(self.source.real)),
            "target": dict(proof.counts(right), digest=proof.tree_digest(right), root=self.place.path),
            "hashed_bytes": {"source": sum(key[0] for unused, key in read.values()), "target": proof.counts(right)["bytes"]},
            "differences": [{key: shown(str(value)) for key, value in entry.items()} for entry in differences[:SHOWN]], "difference_count": len(differences),
            "seconds": round(time.monotonic() - started, 2),
        }
        if not check_mode:
            self.state.remember(self.source.real, {entry.path: known[entry.path] for entry in wanted if entry.path in known})
            if marker:
                marker["suspects"] = [entry["path"] for entry in differences if entry["difference"] == "content"]
                self.state.write_marker(marker)
        if differences:
            raise TreeError("%s: found %d differences to %s: %s%s; needed two equal trees; nothing was changed; copy again with delete and final, then prove"
                            % (self.place.path, len(differences), self.source.where,
                               "; ".join("%(path)s (%(difference)s: %(source)s there, %(target)s here)" % entry for entry in result["differences"]),
                               " and %d more" % (len(differences) - SHOWN) if len(differences) > SHOWN else ""), **result)
        there = result["target"]
        result["msg"] = "%s: %d files, %s: both trees are equal, %s" % (self.name, there["files"], size(there["bytes"]), there["digest"][:19])
        return result

    def _sync(self):
        target = Target(self.place.path)
        try:
            target.sync()
        finally:
            target.close()

    def _read_target(self, target):
        """Digests of all files of the copy, always read in full: path -> digest or None."""
        groups = {group[0].path: group for group in delta.groups_of(target)}
        with agent.Root(self.place.path) as root:
            for path, digest, unused, unused2 in agent.hash_files(root, list(groups), lambda count: self.reporter.advance("%s, copy" % self.name, count)):
                for entry in groups[path]:
                    yield entry.path, digest


def locked(state, holder, timeout_seconds):
    """The lock of a tree's state. :raises TreeError: another run has it."""
    @contextlib.contextmanager
    def held():
        try:
            with files.lock(state.lock_path, holder, timeout_seconds):
                yield
        except files.Locked as error:
            raise TreeError("%s: another run is at work on this tree: %s; needed it to end within %d s; %s; wait for it, then run again"
                            % (state.lock_path, error, timeout_seconds, UNCHANGED)) from error
    return held()
