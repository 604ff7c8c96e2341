# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files is present: look, lock, fetch, place, describe. Check mode only looks."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import receipts, wanted
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, problem, redact, refuse, sentence
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import set_id
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import lstat, read_dict, write_atomically


class Present:
    """One run for ``options`` (the module's, with ``files``, ``set`` and ``mirrors`` checked). ``open_reporter()`` gives the progress reporter."""

    def __init__(self, store, options, open_reporter, holder, check_mode=False):
        self.store, self.options, self.holder, self.check_mode = store, options, holder, check_mode
        self._open_reporter = open_reporter
        self.files, self.wanted_set = options["files"], options["set"]
        self.identity = set_id(self.files) if self.wanted_set else None
        self.always = options["verify"] == "always"
        self.contents = wanted.contents_of(self.files)
        self.begun = time.monotonic()
        self.notes = {}
        self.placed = {}
        self.bringer = None
        self.changed = False
        self.reused = self.place_hashed = 0

    def run(self):
        """The module's result (dict). Raises ArtifactsError with ``result`` (dict) when something required is missing."""
        self._refuse_replay()
        self._refuse_destinations()
        self._look()
        if not self.always and self._whole():
            return self._result()
        # What follows is slow to import, and a run with nothing to do needs none of it.
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import bring  # pylint: disable=import-outside-toplevel
        with self._open_reporter() as reporter:
            if self.check_mode:
                return self._predict(bring, reporter)
            try:
                with self.store.lock(self.holder, self.options["lock_timeout_seconds"]):
                    self._refuse_replay()
                    self._look()
                    return self._work(bring, reporter)
            except OSError as exc:
                raise bring.disk_problem(self.store.path, exc) from exc

    # ---- looking --------------------------------------------------------------------------------------------------------

    def _refuse_replay(self):
        if not self.wanted_set:
            return
        known = read_dict(self.store.manifest_path(*self.wanted_set))
        problems = wanted.version_problem(known, self.options["manifest_version"], self.options["manifest_digest"], "set %s/%s" % self.wanted_set)
        if problems:
            raise ArtifactsError(problems)

    def _refuse_destinations(self):
        places = [(item, place) for item in self.files for place in item["destinations"]]
        if not places:
            return
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import place as placing  # pylint: disable=import-outside-toplevel
        problems = []
        for item, place in places:
            where = "file %s" % item["name"]
            problems += placing.destination_problems(place["path"], self.store.path, where, "destinations")
            for key, find in (("owner", placing.user_id), ("group", placing.group_id)):
                try:
                    place[key + "_id"] = find(place.get(key))
                except KeyError:
                    problems.append(problem("%s, destination %s" % (where, place["path"]), "the unknown %s %s" % (key, place[key]),
                                            "one that this host has, or its number", "destinations"))
        if problems:
            raise ArtifactsError(problems)

    def _look(self):
        """State of every content, and of each place where a file should be; stats only."""
        self.reused = 0
        for content in self.contents.values():
            content.state, status = self.store.state(content.digest)
            if content.state == "foreign":
                raise refuse(self.store.object_path(content.digest), "something that is no file", "an object of the store", "remove what is there")
            content.found_size = status.st_size if status is not None else None
            if content.state == "verified" and content.size not in (None, status.st_size):
                content.state = "unverified"  # the receipt or the manifest lies: only reading tells which
            if content.state == "verified":
                self.reused += status.st_size
        self.description = self.store.description(*self.wanted_set, self.identity) if self.wanted_set else None

    @staticmethod
    def _check_size(content):
        if content.size is not None and content.found_size != content.size:
            raise refuse("file %s" % content.name, "%d bytes with the digest %s" % (content.found_size, content.digest), "%d bytes" % content.size,
                         "the size in the manifest: it does not belong to that digest")

    def _whole(self):
        """Whether nothing is to be done."""
        return all(content.state == "verified" for content in self.contents.values()) and not self._to_place() and not self._to_describe()

    def _set_file(self, item):
        return os.path.join(self.store.set_path(*self.wanted_set, self.identity), item["name"])

    def _set_file_true(self, item):
        """Whether a file of the set is in place, with its mode."""
        status = lstat(self._set_file(item))
        if status is None or stat.S_IMODE(status.st_mode) != wanted.placed_mode(item["mode"]):
            return False
        if self._is_object(item["digest"], status):
            return True
        return any(entry.get("name") == item["name"] and entry.get("digest") == item["digest"] and receipts.is_true(entry.get("receipt"), status)
                   for entry in (self.description or {}).get("files") or [])

    def _is_object(self, digest, status):
        there = lstat(self.store.object_path(digest))
        return there is not None and (there.st_ino, there.st_dev) == (status.st_ino, status.st_dev) and self.contents[digest].state == "verified"

    def _destination_true(self, item, place):
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.place import Target  # pylint: disable=import-outside-toplevel
        status = lstat(place["path"])
        if status is None or not Target(place["path"], int(place["mode"], 8), place["owner_id"], place["group_id"]).owned(status):
            return False
        if self._is_object(item["digest"], status):
            return True
        record = read_dict(self.store.destination_path(place["path"])) or {}
        return record.get("digest") == item["digest"] and receipts.is_true(record.get("receipt"), status)

    def _to_place(self):
        """[(file, destination or None for the set)] that are not in place."""
        found = []
        for item in self.files:
            if self.wanted_set and not self._set_file_true(item):
                found.append((item, None))
            found += [(item, place) for place in item["destinations"] if not self._destination_true(item, place)]
        return found

    def _new_description(self):
        old = {entry.get("name"): entry for entry in (self.description or {}).get("files") or []}
        files = []
        for item in self.files:
            content = self.contents[item["digest"]]
            entry = {"name": item["name"], "digest": item["digest"], "size": content.found_size if content.found_size is not None else content.size,
                     "mode": item["mode"], "required": item["required"], "placed": content.state == "verified"}
            receipt = self.placed[item["name"]] if item["name"] in self.placed else (old.get(item["name"]) or {}).get("receipt")
            if receipt and entry["placed"]:
                entry["receipt"] = receipt
            files.append(entry)
        return {"id": self.identity, "files": files, "manifest_version": self.options["manifest_version"]}

    def _to_describe(self):
        """Whether the set's description or the manifest's version have to be written."""
        if not self.wanted_set:
            return False
        old = {key: value for key, value in (self.description or {}).items() if key != "placed_epoch_s"}
        return old != self._new_description() or self._manifest_is_new() or not os.path.isdir(self.store.set_path(*self.wanted_set, self.identity))

    def _manifest_is_new(self):
        known = read_dict(self.store.manifest_path(*self.wanted_set))
        wish = {"version": self.options["manifest_version"], "digest": self.options["manifest_digest"]}
        return wish["version"] is not None and known != wish

    # ---- doing ----------------------------------------------------------------------------------------------------------

    def _begin(self, bring, reporter):
        self.bringer = bring.Bringer(self.store, self.options, self.options["mirrors"], reporter)

    def _read(self):
        """Read what has to be read; afterwards each content is verified, wrong or missing."""
        unknown = [content for content in self.contents.values() if content.state == "unverified" or self.always and content.state == "verified"]
        self.bringer.verify(unknown, record=not self.check_mode)
        for content in self.contents.values():
            if content.state == "verified":
                self._check_size(content)
                if content.outcome is None:
                    content.outcome = "present"
            else:
                self._suspect(content)
        self.reused = sum(content.found_size for content in self.contents.values() if content.state == "verified")

    @staticmethod
    def _suspect(content):
        """Files at destinations that may be the content already: reading them is cheaper than fetching."""
        for item in content.files:
            for place in item["destinations"]:
                status = lstat(place["path"])
                if status is not None and stat.S_ISREG(status.st_mode) and content.size in (None, status.st_size) and status.st_size:
                    content.suspects.append(place["path"])

    def _work(self, bring, reporter):
        self._begin(bring, reporter)
        self._read()
        missing = [content for content in self.contents.values() if content.state != "verified"]
        before = {content.digest: content.state for content in self.contents.values()}
        if missing:
            self._refuse_space(bring, missing)
            self.bringer.fetch(missing)
        for content in missing:
            if content.outcome != "fetched":
                continue
            self.changed = True
            content.state, status = self.store.state(content.digest)
            content.found_size = status.st_size
            self.notes[content.digest] = "repaired" if before[content.digest] == "wrong" else "fetched"
        lacking = [content for content in missing if content.state != "verified"]
        problems = [content.problem or problem("file %s" % content.name, "no file in the store after it was fetched", "a store that nobody else changes",
                                               "the option store") for content in lacking if content.required]
        if problems:
            error = ArtifactsError(problems)
            error.result = self._result()
            raise error
        self._place(bring)
        self._describe()
        return self._result()

    def _refuse_space(self, bring, missing):
        needs = {self.store.path: sum(self.bringer.missing_bytes(content) or 0 for content in missing)}
        for item, place in self._to_place():
            content = self.contents[item["digest"]]
            size = content.found_size if content.state == "verified" else content.expected
            if not size or self.options["method"] in ("reflink", "hardlink"):
                continue
            if place is None:
                copied = self.options["method"] == "copy" or wanted.placed_mode(item["mode"]) != 0o444
                folder = self.store.path
            else:
                folder = place["path"]
                while not os.path.isdir(folder):
                    folder = os.path.dirname(folder)
                copied = True
            if copied:
                needs[folder] = needs.get(folder, 0) + size
        problems = bring.space_problems(needs)
        if problems:
            raise ArtifactsError(problems)

    def _place(self, bring):
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import place as placing  # pylint: disable=import-outside-toplevel
        placer = placing.Placer(self.options["method"])
        todo = self._to_place()
        if self.always:
            todo += self._spoiled(todo)
        for item, place in todo:
            content = self.contents[item["digest"]]
            if content.state != "verified":
                self._withdraw(item, place)
                continue
            if place is None:
                path = self._set_file(item)
                self.store.folder(os.path.dirname(path))
                target = placing.Target(path, wanted.placed_mode(item["mode"]))
            else:
                path = place["path"]
                # Once more: the lock and the downloads may have taken long.
                problems = placing.destination_problems(path, self.store.path, "file %s" % item["name"], "destinations")
                if problems:
                    raise ArtifactsError(problems)
                placing.make_folders(path)
                target = placing.Target(path, int(place["mode"], 8), place["owner_id"], place["group_id"])
            there = lstat(path)
            if there is not None and self._accept(item, place, target, there):
                continue
            if there is not None and stat.S_ISDIR(there.st_mode):
                raise refuse(path, "a folder", "a file or nothing", "remove it")
            if there is not None and content.digest not in self.notes:
                self.notes[content.digest] = "repaired"
            how, status = placer.place(self.store.object_path(content.digest), target, content.digest, linked=place is None)
            self.changed = True
            self._remember(item, place, how, status)
        self.place_hashed += placer.hashed

    def _remember(self, item, place, how, status):
        if how == "hardlink":
            # A link more changes the object's ctime.
            self.store.write_receipt(item["digest"], lstat(self.store.object_path(item["digest"])))
        receipt = None if how == "hardlink" else receipts.receipt_of(status, time.time())
        if place is None:
            self.placed[item["name"]] = receipt
        else:
            path = self.store.destination_path(place["path"])
            self.store.folder(os.path.dirname(path))
            write_atomically(path, json.dumps({"path": place["path"], "digest": item["digest"], "receipt": receipt}))

    def _accept(self, item, place, target, there):
        """A placed file that has the content already: owner and mode are mended, the file stays. Whether it was so (bool)."""
        if not stat.S_ISREG(there.st_mode) or self._is_object(item["digest"], there) or there.st_nlink > 1 and not target.owned(there):
            return False
        if place is None and self.options["method"] == "hardlink":
            return False  # a file of its own is not what was asked for
        if there.st_size != self.contents[item["digest"]].found_size or not self.bringer.matches(target.path, item["digest"]):
            return False
        descriptor = os.open(target.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) != (there.st_ino, there.st_mtime_ns, there.st_ctime_ns):
                return False  # changed since it was read
            if not target.owned(status):
                os.fchown(descriptor, target.uid, target.gid)
                os.fchmod(descriptor, target.mode)
                self.changed = True
            self._remember(item, place, "copy", os.fstat(descriptor))
        finally:
            os.close(descriptor)
        return True

    def _spoiled(self, known):
        """[(file, destination or None)] of copies whose content is not what it was; all of them are read."""
        found = []
        for item in self.files:
            places = ([None] if self.wanted_set else []) + item["destinations"]
            for place in places:
                path = self._set_file(item) if place is None else place["path"]
                status = lstat(path)
                if (item, place) in known or status is None or self._is_object(item["digest"], status):
                    continue
                if not self.bringer.matches(path, item["digest"]):
                    if place is not None:
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(self.store.destination_path(path))
                    found.append((item, place))
        return found

    def _withdraw(self, item, place):
        """An optional file that is not there must not have another one under its name in the set."""
        if place is not None:
            return
        path = self._set_file(item)
        status = lstat(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            os.unlink(path)
            self.changed = True

    def _describe(self):
        if not self._to_describe():
            return
        new = self._new_description()
        old = {key: value for key, value in (self.description or {}).items() if key != "placed_epoch_s"}
        folder = self.store.set_path(*self.wanted_set, self.identity)
        if not os.path.isdir(folder):
            self.changed = True
            self.store.folder(folder)
        if new != old:
            # When something was verified is no change of what is there.
            self.changed = self.changed or _without_receipts(new) != _without_receipts(old)
            write_atomically(self.store.description_path(*self.wanted_set, self.identity), json.dumps(dict(new, placed_epoch_s=int(time.time()))))
        if self._manifest_is_new():
            self.changed = True
            write_atomically(self.store.manifest_path(*self.wanted_set),
                             json.dumps({"version": self.options["manifest_version"], "digest": self.options["manifest_digest"]}))

    # ---- telling --------------------------------------------------------------------------------------------------------

    def _predict(self, bring, reporter):
        """Check mode: what would be fetched and placed. Reads what has to be read, writes nothing."""
        self._begin(bring, reporter)
        self._read()
        fetch = []
        for content in self.contents.values():
            if content.state != "verified":
                source = next(iter(content.sources), None)
                label = "a mirror" if self.options["mirrors"] else self._label(source) if source else None
                fetch.append({"name": content.name, "bytes": self.bringer.bytes_to_fetch(content), "source": label})
                content.outcome = "missing"
        place = self._to_place()
        self.changed = bool(fetch or place or self._to_describe() or self.always and self._spoiled(place))
        result = self._result()
        result.update(would_fetch=fetch, bytes_to_fetch=sum(item["bytes"] or 0 for item in fetch))
        return result

    @staticmethod
    def _label(source):
        if "url" in source:
            return redact(source["url"])
        return "%s in %s" % (source["member"], source["archive"]) if "archive" in source else source.get("path")

    def _result(self):
        bringer = self.bringer
        files = {}
        for item in self.files:
            content = self.contents[item["digest"]]
            state = self.notes.get(content.digest) or ("present" if content.state == "verified" else "missing")
            files[item["name"]] = {"digest": item["digest"], "size": content.found_size if content.state == "verified" else content.size, "state": state,
                                   "source": content.source}
            if content.problem:
                files[item["name"]]["reason"] = sentence(content.problem)
        result = {
            "changed": self.changed,
            "set": {"id": self.identity, "path": self.store.set_path(*self.wanted_set, self.identity)} if self.wanted_set else None,
            "files": files,
            "missing_optional": [item["name"] for item in self.files if not item["required"] and files[item["name"]]["state"] == "missing"],
            "bytes_fetched": bringer.fetched if bringer else 0,
            "bytes_hashed": (bringer.hashed if bringer else 0) + self.place_hashed,
            "bytes_reused": self.reused + (bringer.reused if bringer else 0),
            "seconds": round(time.monotonic() - self.begun, 3),
        }
        if self.changed:
            result["diff"] = self._diff(files)
        return result

    def _diff(self, files):
        before = ["%s %s\n" % (name, entry["digest"]) for name, entry in files.items() if entry["state"] == "present"]
        after = ["%s %s\n" % (name, entry["digest"]) for name, entry in files.items() if self.check_mode or entry["state"] != "missing"]
        title = "set %s/%s %s" % (self.wanted_set + (self.identity,)) if self.wanted_set else "files"
        return {"before_header": title, "after_header": title, "before": "".join(before), "after": "".join(after)}


def _without_receipts(description):
    files = [{key: value for key, value in entry.items() if key != "receipt"} for entry in description.get("files") or []]
    return dict(description, files=files)
