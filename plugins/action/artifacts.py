# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of the module artifacts: reads manifests and their signatures, decides from facts, signs S3 URLs, and sends what the controller has."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import errors
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, printable, problem, refuse
from ansible_collections.dockyard.fleet.plugins.plugin_utils import progress
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import glance, local, push, s3, wanted

_MODULE = "dockyard.fleet.artifacts"
_STORE = "/var/lib/dockyard/artifacts"
_STATES = ("present", "inspect", "collected", "served", "stopped", "planned", "recorded")
# What the action takes for itself; everything else is the module's.
_OWN = {
    "state": {"type": "str", "choices": list(_STATES), "default": "present"},
    "sets": {"type": "list", "elements": "dict"},
    "set": {"type": "dict"},
    "files": {"type": "list", "elements": "dict"},
    "manifest": {"type": "path"},
    "folder": {"type": "path"},
    "public_keys": {"type": "list", "elements": "str"},
    "signature": {"type": "path"},
    "s3": {"type": "dict", "options": s3.OPTIONS},
    "headers": {"type": "dict", "no_log": True},
    "facts": {"type": "dict"},
    "mirrors": {"type": "list", "elements": "str", "default": []},
    "controller_ca_certificate": {"type": "path"},
    "write": {"type": "bool", "default": False},
}
# Of the module, but needed here as well.
_SHARED = {
    "store": {"type": "path", "default": _STORE},
    "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
    "retries": {"type": "int", "default": 4},
    "connect_timeout_seconds": {"type": "int", "default": 10},
    "stall_timeout_seconds": {"type": "int", "default": 30},
}
_FORWARDED = ("method", "parallel", "ca_certificate", "lock_timeout_seconds")
_COUNTED = ("bytes_fetched", "bytes_hashed", "bytes_reused", "seconds")


class ActionModule(ActionBase):
    """Brings the sets of one host."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """The task's result; see RETURN of the module."""
        result = super().run(tmp, task_vars)
        self._vars, self._calls, self._who, self._verify = task_vars or {}, 0, None, "changed"
        state = self._task.args.get("state", "present")
        try:
            if state in ("collected", "served", "stopped"):
                # module_defaults may hold what only the other states take.
                result.update(self._module({key: value for key, value in self._task.args.items() if key in ("state", "set") or key not in _OWN}))
            else:
                unused, self._options = self.validate_argument_spec(dict(_OWN, **_SHARED, **{key: {"type": "raw"} for key in _FORWARDED}))
                result.update(self._work(state))
        except ArtifactsError as error:
            result.update(failed=True, msg=str(error), problems=error.problems)
        except OSError as error:
            found = refuse("the controller", "%s: %s" % (error.filename or "a file", error.strerror or error), "files that the controller can read and write",
                           "that file; the cache is in XDG_CACHE_HOME")
            result.update(failed=True, msg=str(found), problems=found.problems)
        result["remote_calls"] = self._calls
        return result

    # What is wanted

    def _work(self, state):
        options = self._options
        entries = self._entries()
        self._part = None if options["verify"] == "always" else wanted.facts_of(options["facts"], options["store"])
        if state == "recorded":
            return self._record(entries)
        found, problems = [], []
        facts = wanted.facts_of(options["facts"], options["store"])
        for entry in entries:
            try:
                known = wanted.known_manifest(facts, entry.get("owner"), entry.get("name"))
                found.append(entry["files"] if "files" in entry else wanted.read_set(entry, known))
            except ArtifactsError as error:
                problems += error.problems
        if state == "planned":
            problems += [item for one in found for item in self._unobtainable(one)]
            return {"changed": False, "problems": [errors.sentence(item) for item in problems], "sets": self._plans(found),
                    "keep": ["%s/%s/%s" % (one.owner, one.name, one.id) for one in found if one.owner]}
        if problems:
            raise ArtifactsError(problems)
        return self._bring(found, state)

    def _entries(self):
        """One entry for each set, as read_set() takes it."""
        options = self._options
        if options["sets"] is not None:
            return [self._entry(entry) for entry in options["sets"]]
        place = options["set"] or {}
        entry = {"owner": place.get("owner"), "name": place.get("name")}
        if options["manifest"]:
            return [dict(entry, **{key: options[key] for key in ("manifest", "folder", "public_keys", "signature")})]
        if options["files"] is None:
            raise refuse("arguments", "neither manifest nor files nor sets", "one of them", "manifest, files or sets of this task")
        files = [dict({"required": True, "mode": "0644", "size": None, "size_estimate": None}, **dict(item, sources=self._source_list(item)))
                 for item in options["files"]]
        folders = [options["folder"]] if options["folder"] else []
        return [dict(entry, files=wanted.Wanted(entry["owner"], entry["name"], files, folders=folders))]

    @staticmethod
    def _source_list(item):
        sources = item.get("sources") or []
        sources = sources if isinstance(sources, list) else [sources]
        return [({"s3": source} if source.startswith("s3://") else {"url": source}) if isinstance(source, str) else dict(source) for source in sources]

    @staticmethod
    def _entry(entry):
        owner = entry.get("owner") or entry.get("stack")
        if not owner or not entry.get("name") or not entry.get("manifest"):
            raise refuse("sets", "an entry with the keys %s" % ", ".join(sorted(entry)), "stack (or owner), name and manifest", "sets of this task")
        return dict(entry, owner=owner)

    def _plans(self, found):
        plans = {}
        for one in found:
            plan = {"id": one.id, "path": one.path(self._options["store"]), "unrecorded": one.unrecorded}
            plans.setdefault(one.owner, {})[one.name] = dict(plan, complete=wanted.satisfied(one, self._part) is not None)
        return plans

    def _unobtainable(self, one):
        """Problems of required files that nobody can give, as far as the controller can tell; none for a set that is there."""
        if wanted.satisfied(one, self._part):
            return []
        problems = []
        for item in one.files:
            path, state = one.local(item)
            if not item["required"]:
                continue
            if path and item["size"] is not None and state["size"] != item["size"]:
                problems.append(self._wrong_size(one, item, path, state))
            elif self._is_lost(one, item):
                problems.append(self._nowhere(one, item))
        return problems

    @staticmethod
    def _wrong_size(one, item, path, state):
        return problem("%s, file %s" % (one.where, item["name"]), "%d bytes in %s on the controller" % (state["size"], path), "%d bytes" % item["size"],
                       "that file, or its size in the manifest")

    def _nowhere(self, one, item):
        names = [source["file"] for source in item["sources"] if source.get("file")]
        found = "no file %s in %s" % (" or ".join(names), " or ".join(one.folders)) if names else "no source"
        return problem("%s, file %s" % (one.where, item["name"]), found, "the file on the controller, or another source of it",
                       "%s, or sources in the manifest" % self._folder_setting(one))

    @staticmethod
    def _folder_setting(one):
        return "dockyard_artifacts_%s.%s.folder" % (one.owner.replace("-", "_"), one.name) if one.owner else "folder"

    # Bringing it

    def _bring(self, found, state):
        results, problems = [], []
        seen = {id(one): self._glance(one) if state == "present" else self._part for one in found}
        waiting = [one for one in found if wanted.satisfied(one, seen[id(one)]) is None]
        self._digests = local.Digests(local.cache_folder())
        self._presigner = s3.Presigner(self._options["s3"])
        if waiting and state != "inspect":
            with progress.follow(self, "fetching", self._vars) as followed:
                self._followed = followed
                done = {id(one): self._guard(self._one, one, problems) for one in waiting}
        else:
            done = {id(one): self._guard(self._inspect, one, problems) for one in waiting}
        if problems:
            raise ArtifactsError(problems)
        for one in found:
            results.append((one, done[id(one)] if id(one) in done else self._from_facts(one, seen[id(one)])))
        return self._combined(results)

    def _glance(self, one):
        """The facts, or without them a look at this set alone. None when everything shall be read, and where only the module can tell."""
        if self._part is not None or self._options["verify"] == "always" or any(item.get("destinations") for item in one.files):
            return self._part
        part = glance.look(self, self._python(), self._options["store"], one)
        self._calls += part is not None
        return part

    @staticmethod
    def _guard(work, one, problems):
        try:
            return work(one)
        except ArtifactsError as error:
            problems += error.problems
            return None

    def _from_facts(self, one, part=None):
        seen = wanted.satisfied(one, part or self._part)
        lacking = list(seen.get("missing_optional") or [])
        files = {item["name"]: {"digest": item["digest"], "size": item["size"], "state": "missing" if item["name"] in lacking else "present"}
                 for item in one.files}
        return {"changed": False, "set": {"id": one.id, "path": one.path(self._options["store"])}, "missing_optional": lacking, "files": files,
                "bytes_reused": sum(entry["size"] or 0 for entry in files.values() if entry["state"] == "present")}

    def _combined(self, results):
        for one, result in results:
            result["missing_optional"] = sorted(set(result.get("missing_optional") or []) | set(one.unrecorded))
            result["unrecorded"] = one.unrecorded
        if self._options["sets"] is None:
            return dict(results[0][1], **{key: results[0][1].get(key, 0) for key in _COUNTED})
        sets = {}
        for one, result in results:
            kept = ("changed", "missing_optional", "unrecorded", "files", *_COUNTED)
            sets.setdefault(one.owner, {})[one.name] = dict(result["set"], **{key: result[key] for key in kept if key in result})
        combined = {"changed": any(result.get("changed") for unused, result in results), "sets": sets}
        combined.update({key: sum(result.get(key) or 0 for unused, result in results) for key in _COUNTED})
        diffs = [result["diff"] for unused, result in results if result.get("diff")]
        if diffs:
            combined["diff"] = [entry for diff in diffs for entry in (diff if isinstance(diff, list) else [diff])]
        return combined

    def _arguments(self, one, state, files):
        arguments = {"state": state, "store": self._options["store"], "files": files}
        if one.owner:
            arguments["set"] = {"owner": one.owner, "name": one.name}
        if one.version is not None and state == "present":
            arguments.update(manifest_version=one.version, manifest_digest=one.digest)
        arguments.update({key: self._options[key] for key in _FORWARDED if self._options[key] is not None})
        arguments.update({key: self._options[key] for key in ("retries", "connect_timeout_seconds", "stall_timeout_seconds")}, verify=self._verify)
        return arguments

    def _module(self, arguments, run=None):
        """One call on the host; its result without the arguments, which may hold signed URLs."""
        self._calls += 1
        done = run(_MODULE, arguments, self._vars) if run else self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=self._vars)
        done.pop("invocation", None)
        if done.get("failed"):
            if done.get("problems"):
                raise ArtifactsError(done["problems"])
            raise refuse("this host", printable(done.get("msg") or done.get("module_stderr") or "a module that failed", 1000), "a host that runs the module",
                         "see the output of -vvv")
        return done

    @staticmethod
    def _bare(item, sources):
        keys = ("name", "digest", "size", "size_estimate", "required", "mode", "destinations")
        return dict({key: item[key] for key in keys if item.get(key) is not None}, sources=sources)

    def _inspect(self, one, candidates=(), user=""):
        files = [self._bare(item, [{"push": True}] if item["name"] in candidates else []) for item in one.files]
        arguments = self._arguments(one, "inspect", files)
        if candidates:
            arguments["push_user"] = user
        return self._module(arguments)

    def _one(self, one):
        """Bring one set."""
        self._verify = self._options["verify"]
        places = self._locals(one)
        if self._verify == "always" and places:
            # Only the host can tell what is wrong there, placed copies included; what it can't mend itself is sent to it then.
            result = self._verified(one, places)
            if result:
                return result
        first = {name for name in places if self._before_others(one, name)}
        mirrored = "controller" in self._options["mirrors"]
        try:
            return self._round(one, first, mirrored)
        except ArtifactsError:
            # A file of the controller that stands behind other sources is sent when these gave nothing.
            if len(first) == len(places) or self._task.check_mode:
                raise
            return self._round(one, set(places), mirrored)

    def _verified(self, one, places):
        """The result of reading everything when nothing has to be sent, else None."""
        try:
            result = self._present(one, [])
        except ArtifactsError:
            result = None
        if result and not set(places) & set(result.get("missing_optional") or []):
            return result
        self._verify = "changed"
        return None

    def _locals(self, one):
        """{name: (path, state)} of files that the controller has."""
        found = {item["name"]: one.local(item) for item in one.files}
        return {name: place for name, place in found.items() if place[0]}

    @staticmethod
    def _before_others(one, name):
        item = next(item for item in one.files if item["name"] == name)
        return bool(item["sources"][0].get("file")) or all(source.get("file") for source in item["sources"])

    def _round(self, one, candidates, mirrored):
        places = {name: place for name, place in self._locals(one).items() if name in candidates}
        mirror_names = {item["name"] for item in one.files if item["name"] not in places and any(s.get("url") or s.get("s3") for s in item["sources"])}
        lost = {item["name"]: item for item in one.files if self._is_lost(one, item)}
        names = set(places) | set(lost) | (mirror_names if mirrored else set())
        if not names:
            return self._present(one, [])
        seen = self._inspect(one, names, self._user())
        self._check_known(one, seen.get("manifest"))
        if self._verify != "always" and wanted.satisfied(one, seen.get("store")):
            return self._from_facts(one, seen["store"])
        missing = {item["name"]: item for item in one.files if item["name"] in names and seen["files"][item["name"]]["state"] != "present"}
        if mirrored and not self._task.check_mode:
            places.update(self._from_mirror(one, [item for name, item in missing.items() if name in mirror_names]))
        problems = [self._nowhere(one, item) for name, item in lost.items() if name in missing and item["required"]]
        parcels = self._parcels(one, missing, places, seen["push"], problems)
        if problems:
            raise ArtifactsError(problems)
        return self._push(one, parcels)

    def _is_lost(self, one, item):
        """Whether only the controller could give this file, and can't."""
        return not self._options["mirrors"] and all(source.get("file") for source in item["sources"]) and one.local(item)[0] is None

    def _parcels(self, one, missing, places, push_files, problems):
        """[(Parcel, state of the local file, file)]. Wrong files of the controller go to ``problems``, or to a warning where they are optional."""
        parcels, digests = [], set()
        for name, item in missing.items():
            if name not in places or item["digest"] in digests:
                continue
            path, state = places[name]
            known = self._digests.known(path, item["digest"].partition(":")[0])
            if item["size"] is not None and state["size"] != item["size"]:
                found = self._wrong_size(one, item, path, state)
            elif known not in (None, item["digest"]):
                found = self._wrong_digest(one, item, path, known)
            else:
                there = push_files.get(item["digest"]) or {"path": "/", "size": 0}
                parcels.append((push.Parcel(name, path, there["path"], state["size"], there["size"], item["digest"]), state, item))
                digests.add(item["digest"])
                continue
            if item["required"]:
                problems.append(found)
            else:
                self._display.warning(errors.sentence(found))
        return parcels

    def _check_known(self, one, known):
        """The facts may be old or absent: what the host says itself counts, and the module refuses as well."""
        if one.version is not None and known:
            wanted.signature.check_version({"version": one.version}, one.digest, known, one.manifest)

    def _wrong_digest(self, one, item, path, found):
        return problem("%s, file %s" % (one.where, item["name"]), "%s in %s on the controller (%d bytes)" % (found, path, os.stat(path).st_size),
                       "%s%s" % (item["digest"], " (%d bytes)" % item["size"] if item["size"] is not None else ""),
                       "that file, %s, or the manifest" % self._folder_setting(one))

    def _push(self, one, parcels):
        """Send and verify; a partial upload that turns out to be of something else is sent once more from its beginning."""
        for attempt in (1, 2):
            try:
                result = self._present(one, parcels)
                break
            except ArtifactsError:
                self._judge(one, parcels)
                if attempt == 2 or not any(parcel.offset for parcel, unused, unused2 in parcels):
                    raise
                seen = self._inspect(one, {item["name"] for unused, unused2, item in parcels}, self._user())
                parcels = [entry for entry in parcels if entry[2]["digest"] in seen["push"]]
                for parcel, unused, item in parcels:
                    parcel.offset = min(seen["push"][item["digest"]]["size"], parcel.size)
        for parcel, state, item in parcels:
            if (result.get("files") or {}).get(item["name"], {}).get("state") in ("fetched", "repaired"):
                self._digests.remember(parcel.local, state, item["digest"])
        return result

    def _judge(self, one, parcels):
        """After a failure: files of the controller that were wrong themselves are named as such."""
        problems = []
        for parcel, unused, item in parcels:
            found = self._digests.compute(parcel.local, item["digest"].partition(":")[0])
            if found != item["digest"]:
                problems.append(self._wrong_digest(one, item, parcel.local, found))
        if problems:
            raise ArtifactsError(problems)

    def _present(self, one, parcels):
        argv_of = push.ssh_command(self._connection) if parcels else None
        sender = None
        if argv_of and not self._task.check_mode:
            sender = push.Sender(argv_of, [parcel for parcel, unused, unused2 in parcels], self._digests, self._options["retries"], self._python())
            sender.start()
        elif parcels and not self._task.check_mode:
            for parcel, unused, unused2 in parcels:
                self._calls += 1
                self._connection.put_file(parcel.local, parcel.remote)
        sent = {item["name"]: {"path": parcel.remote, "size": parcel.size, **({"follow": True} if argv_of else {})} for parcel, unused, item in parcels}
        # With the controller as mirror a token for a source has no business on a host.
        headers = "controller" not in self._options["mirrors"]
        files = [self._bare(item, ([sent[item["name"]]] if item["name"] in sent else []) + self._sources(one, item, headers)) for item in one.files]
        arguments = self._arguments(one, "present", files)
        arguments["mirrors"] = [mirror for mirror in self._options["mirrors"] if mirror != "controller"]
        try:
            result = self._module(arguments, self._followed.run)
        except ArtifactsError as error:
            if sender and sender.problem and not isinstance(sender.problem, push.WrongFile):
                raise ArtifactsError([problem("%s, sending to this host" % one.where, printable(str(sender.problem)), "a connection that lasts",
                                              "run again: what arrived is kept")] + error.problems) from error
            raise
        finally:
            if sender:
                sender.stop()
        told = {parcel.remote: parcel.local for parcel, unused, unused2 in parcels}
        for entry in (result.get("files") or {}).values():
            if entry.get("source") in told:
                entry["source"] = "%s on the controller" % told[entry["source"]]
        return result

    def _sources(self, one, item, with_headers=True):
        """The sources that need no controller, in their order."""
        found = []
        for source in item["sources"]:
            if source.get("s3"):
                url = self._signed(one, item, source)
                found += [{"url": url}] if url else []
            elif source.get("url"):
                headers = dict(wanted.headers_for(source["url"], self._options["headers"]), **(source.get("headers") or {}))
                found.append({"url": source["url"], "headers": headers} if headers and with_headers else {"url": source["url"]})
            elif not source.get("file"):
                found.append(dict(source))
        return found

    def _signed(self, one, item, source):
        """A URL for an S3 source; None when it can't be made and there is another source to try."""
        try:
            return self._presigner.url(source["s3"], "%s, file %s" % (one.where, item["name"]))
        except ArtifactsError as error:
            if all(other.get("s3") for other in item["sources"]):
                raise
            self._display.warning(str(error))
            return None

    def _from_mirror(self, one, items):
        """{name: (path, state)} of what the controller has downloaded for its hosts. What it can't get, a host may try itself."""
        from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts.store import ControllerStore
        store = ControllerStore(local.cache_folder(), self._digests, self._limits())
        places = {}
        for item in items:
            urls = [(source["url"], source.get("headers")) for source in self._sources(one, item) if source.get("url")]
            try:
                path = store.bring(item["digest"], item["size"], urls, self._followed.local, item["name"])
            except (ArtifactsError, OSError) as error:
                self._display.warning("%s: the controller could not be the mirror: %s" % (one.where, error))
                continue
            places[item["name"]] = (path, local.state_of(path))
        return places

    def _limits(self):
        limits = {key: self._options[key] for key in ("retries", "connect_timeout_seconds", "stall_timeout_seconds")}
        return dict(limits, ca_certificate=self._options["controller_ca_certificate"])

    def _user(self):
        """Who writes on the host when the connection does, without become."""
        if self._who is None:
            self._who = push.user_of(self._connection)
        if self._who is None:
            self._calls += 1
            lines = (self._low_level_execute_command("id -un", sudoable=False).get("stdout") or "").split()
            self._who = lines[-1] if lines else ""
        return self._who

    def _python(self):
        """The host's interpreter (str), as far as it is known by name."""
        given = self._templar.template(self._vars.get("ansible_python_interpreter") or "")
        found = (self._vars.get("ansible_facts") or {}).get("discovered_interpreter_python") or ""
        return next((str(path) for path in (given, found) if str(path).startswith("/")), "python3")

    # Recording

    def _record(self, entries):
        # This and the mirror's store bring http and ssl with them, which a task without them shall not wait for.
        from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts.recording import Recorder
        recorder = Recorder(s3.Presigner(self._options["s3"]), self._options["headers"], self._limits())
        return recorder.record(entries, self._options["write"] and not self._task.check_mode, self._options["write"])
