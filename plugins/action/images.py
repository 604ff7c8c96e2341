# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of the module images: reads sources, decides from facts, and calls the host only for what is missing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
import time

from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.module_utils.images import context, dockerfile, gate, ignore, places, plan, sources
from ansible_collections.dockyard.fleet.plugins.module_utils.images.arguments import ARGUMENTS
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.plugin_utils import progress

_MODULE = "dockyard.fleet.images"
# Room beside the archive itself, for whatever else writes to that disk meanwhile.
_WORTH_TELLING_BYTES = 1024 * 1024
_ARCHIVE_AGE_S = 3600
_SPARE_BYTES = 64 * 1024 * 1024


class PullItem:
    """An image that comes from a registry."""

    def __init__(self, item, policy):
        self.stack, self.name, self.budget = item["stack"], item["name"], item.get("budget_bytes")
        self.where = f"{self.stack}/{self.name}"
        self.platform, self.text = item.get("platform"), item["pull"]["image"]
        self.policy = item["pull"].get("policy") or policy
        try:
            self.reference = parse_reference(self.text)
        except ValueError as problem:
            raise ImagesError(self.where, str(problem), "an image name such as nginx:1.28 or name@sha256:<digest>",
                              "pull.image of this image in stack.yml") from problem


class BuildItem:
    """An image that is built on the host: recipe and source are read, hashed, and can be sent."""

    def __init__(self, item, options, cache):
        self.stack, self.name, self.budget = item["stack"], item["name"], item.get("budget_bytes")
        self.where, build = f"{self.stack}/{self.name}", item["build"]
        self.given, self._registry, self.place, self.delivered = item, options["registry"], None, None
        self.platform, self.labels = item.get("platform"), item.get("labels") or {}
        self.target, self.dockerfile, self.recipe = build.get("target"), build.get("dockerfile") or "Dockerfile", build["recipe"]
        self.repository = self._repository(item)
        self.notes = []
        self.secrets = self._secrets(build.get("secrets") or [], options["ca_certificate"])
        self._own_args, self._offered = build.get("args") or {}, options["build_args"]
        text = self._read_dockerfile()
        self.source, self._ref = self._open_source(build.get("source"), cache)
        self._overlay = sources.DirectorySource(self.recipe, cache)
        self.entries = self._read_context()
        self._text = text
        self.args, self.bases, self.hash = {}, [], ""

    def _repository(self, item):
        text = item.get("reference") or f"dockyard/{self.stack}-{self.name}"
        try:
            parsed = parse_reference(text)
            # A name without a registry of its own belongs to the registry that is given.
            if self._registry and parsed.domain == "docker.io":
                return f"{self._registry}/{parsed.path.rsplit('/', 1)[-1]}"
            return parsed.familiar_repository
        except ValueError as problem:
            raise ImagesError(self.where, str(problem), "a repository name such as dockyard/inventory-app", "reference of this image") from problem

    def _secrets(self, wanted, ca_certificate):
        found = {}
        for secret in wanted:
            name, path = (secret, ca_certificate if secret == "ca" else None) if isinstance(secret, str) else (secret.get("id"), secret.get("path"))
            if secret == "ca" and not path:
                continue
            if not name or not path:
                raise ImagesError(self.where, f"a build secret {name!r} without a file", "{id, path} with a path on the controller",
                                  "build.secrets of this image")
            path = os.path.expanduser(path)
            if not os.path.isfile(path) or not os.access(path, os.R_OK):
                setting = "images_ca_certificate" if secret == "ca" else "build.secrets of this image"
                raise ImagesError(self.where, f"no readable file {path} for the build secret {name}", "a file on the controller", setting)
            found[name] = path
        return found

    def _read_dockerfile(self):
        if not os.path.isdir(self.recipe):
            raise ImagesError(self.where, f"no directory {self.recipe}", "the recipe's folder on the controller", "build.recipe of this image in stack.yml")
        path = os.path.join(self.recipe, self.dockerfile)
        if not os.path.isfile(path):
            raise ImagesError(self.where, f"no file {self.dockerfile} in the recipe {self.recipe}", "a Dockerfile",
                              "build.dockerfile, or add the file to the recipe")
        with open(path, encoding="utf-8") as stream:
            return stream.read()

    def _open_source(self, source, cache):
        if not source:
            return None, None
        variable = self.stack.replace("-", "_")
        git, ref, folder = source.get("git"), source.get("ref"), source.get("subdirectory") or ""
        if ".." in folder.split("/") or folder.startswith("/"):
            raise ImagesError(self.where, f"the source's folder {folder!r}", "a relative path inside the source", "source.subdirectory in stack.yml")
        if not git:
            path = os.path.abspath(os.path.expanduser(source["path"]))
            if not os.path.isdir(path):
                raise ImagesError(self.where, f"no directory {path} on the controller", "the application's source", f"dockyard_source_{variable}")
            if not ref:
                path = os.path.join(path, folder) if folder else path
                if not os.path.isdir(path):
                    raise ImagesError(self.where, f"no directory {path} on the controller", "a folder of the application's source",
                                      "source.subdirectory in stack.yml")
                return sources.DirectorySource(path, cache), None
            git = path
        opened = sources.GitSource([git] if isinstance(git, str) else list(git), str(ref), folder, cache)
        address = " or ".join(sources.redact(url) for url in opened.urls)
        try:
            opened.commit()
        except TimeoutError as problem:
            raise ImagesError(self.where, str(problem), "the clone of another run to end", "images_source_cache, or wait") from problem
        except sources.GitError as problem:
            kind, unused, text = str(problem).partition(": ")
            if kind == "missing":
                raise ImagesError(self.where, f"{text} in {address}", "a commit, tag or branch that the repository still has",
                                  f"dockyard_source_ref_{variable}") from problem
            raise ImagesError(self.where, f"a source that cannot be fetched: {text if kind == 'fetch' else problem}",
                              "a repository that the controller can read",
                              f"dockyard_source_{variable} (a URL, a mirror or a directory)") from problem
        return opened, str(ref)

    def _read_context(self):
        text, named = None, None
        for candidate in (f"{self.dockerfile}.dockerignore", ".dockerignore"):
            path = os.path.join(self.recipe, candidate)
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as stream:
                    text, named = stream.read(), path
                break
        try:
            if text is None and self.source:
                text, named = self.source.ignore_file(), "the source's .dockerignore"
            matcher = ignore.read_ignore(text or "")
        except ValueError as problem:
            raise ImagesError(f"{self.where}, {named}", str(problem), "patterns as Docker takes them", "that file") from problem
        try:
            entries = self.source.scan(matcher, (context.RECIPE_FOLDER, ".dockerignore")) if self.source else []
            overlay = self._overlay.scan(RECIPE_IGNORE, (".dockerignore", f"{self.dockerfile}.dockerignore"))
        except (OSError, ValueError) as problem:
            raise ImagesError(self.where, f"a source that cannot be read: {problem}", "readable files and links only",
                              "the source, or its .dockerignore") from problem
        except sources.GitError as problem:
            raise ImagesError(self.where, str(problem).replace("missing: ", ""), "a folder that the commit has",
                              "source.subdirectory in stack.yml") from problem
        self.notes += [f"{self.where}: {note}" for note in getattr(self.source, "notes", [])]
        outside = context.outside_links(entries)
        if outside:
            self.notes.append(f"{self.where}: links that lead out of the context, kept as links: {', '.join(outside[:5])}")
        return entries + context.under(overlay, context.RECIPE_FOLDER)

    def settle(self, native, architecture, fleet):
        """Fix what depends on the host: platform, place, arguments, base images, and with them the recipe hash."""
        platform = self.platform or native
        plan.check_platform(platform, self.where, None if fleet.deliver else architecture)
        self.place = fleet.place(self.where, platform, architecture, native)
        self.wanted, self.own, self.delivered = platform, native, fleet.delivered.get((self.stack, self.name))
        path = os.path.join(self.recipe, self.dockerfile)
        try:
            declared = dockerfile.parse_dockerfile(self._text, self._own_args, platform, native).declared_args
            self.args = plan.effective_args(self._own_args, self._offered, declared, self.where)
            parsed = dockerfile.parse_dockerfile(self._text, self.args, platform, native)
            self.bases = parsed.bases(self.target)
            for base in self.bases:
                parse_reference(base.reference)
        except ValueError as problem:
            raise ImagesError(f"{self.where}, {path}", str(problem), "a Dockerfile that Docker reads",
                              "that file, build.args or build.target of this image") from problem
        unused = sorted(set(self._own_args) - declared - dockerfile.PREDEFINED_ARGS)
        if unused:
            self.notes.append(f"{self.where}: the Dockerfile declares no ARG {', '.join(unused)}")
        counted = places.ALL_PLATFORMS if self._registry else platform
        self.hash = context.recipe_hash(self.entries, self.dockerfile, self.args, self.target, counted, list(self.secrets), self.labels)

    @property
    def away(self):
        """Whether the image comes from a builder."""
        return self.place.how != "here"

    def decide(self, inventory):
        """See plan.decide_build; for an image that comes from a builder, whether it has come (action ``fetch`` when not)."""
        if not self.away:
            decision = plan.decide_build(self.repository, self.hash, [base.reference for base in self.bases], inventory)
            there = decision.image and decision.image.get("architecture")
            if self._registry and there and there != self.wanted.split("/")[1]:
                # All platforms share the tag; what is here under it is another machine's.
                return decision._replace(action="build", reason=f"the one on the host is for {there}", image=None)
            return decision
        found = places.find_delivered(self.repository, self.hash, self.wanted, inventory)
        if found and self.delivered and self.delivered["reference"] != found[0]:
            found = None
        if found:
            return plan.BuildDecision("none", "unchanged", found[0], found[1]["labels"][plan.LABEL_HASH], {}, [], found[1])
        there = inventory.of_repository(self.repository)
        reference = self.delivered and self.delivered["reference"]
        return plan.BuildDecision("fetch", "content changed" if there else "not here yet", reference, None, {}, [], None)

    def write(self, path):
        """Write the context archive; returns its bytes."""
        own, reader = f"{context.RECIPE_FOLDER}/", None
        with contextlib.ExitStack() as stack:
            if isinstance(self.source, sources.GitSource):
                reader = stack.enter_context(self.source.reader())

            def read(entry):
                if entry.path.startswith(own):
                    return self._overlay.read(entry)
                return iter([reader.read(entry.key)]) if reader else self.source.read(entry)

            try:
                return context.write_tar(path, self.entries, read)
            except (OSError, ValueError, sources.GitError) as problem:
                raise ImagesError(self.where, str(problem), "a source that stays as it is during the run", "run again") from problem

    def built_labels(self, decision):
        """All labels of the image that is about to be built."""
        known, built_at = None, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        revision = (self.source or self._overlay).revision()
        if revision:
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(revision.committed_s)) if revision.committed_s is not None else None
            known = {"commit": revision.commit, "created": created, "url": revision.url, "version": plan.version_of(self._ref, revision.commit)}
        return plan.image_labels(self.stack, self.name, decision.content, self.hash, decision.bases, self.labels, known, built_at)


def _without_null(value):
    """Options as they were given: what the argument specification adds for what was left out would be refused when it is given again."""
    if isinstance(value, dict):
        return {key: _without_null(entry) for key, entry in value.items() if entry is not None}
    return [_without_null(entry) for entry in value] if isinstance(value, list) else value


class Fleet:
    """Who builds for whom, from the options of one call."""

    def __init__(self, options, host):
        self.host, self.deliver = host, options["deliver"]
        self.builders, self.registry = places.read_builders(options["builders"]), options["registry"]
        self.delivered = {(entry["stack"], entry["name"]): entry for entry in options["delivered"]}

    def place(self, where, platform, architecture, own):
        """See places.place_of. A builder builds by itself."""
        if self.deliver:
            return places.place_on_builder(where, platform, self.host, architecture, own)
        return places.place_of(platform, self.host, self.builders, self.registry, architecture, own)


# What Python leaves beside our own scripts when somebody runs their tests is no part of a recipe.
RECIPE_IGNORE = ignore.Matcher(["**/__pycache__", "**/*.pyc", "**/.DS_Store"])


class ActionModule(ActionBase):
    """Brings the images of one host."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """The task's result; see RETURN of the module."""
        result = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._calls = 0
        if self._task.args.get("state", "present") != "present":
            return self._execute_module(module_name=_MODULE, module_args=self._task.args, task_vars=self._vars)
        unused, options = self.validate_argument_spec(ARGUMENTS)
        self._delegate = self._task.delegate_to or self._vars.get("inventory_hostname") or "this host"
        try:
            options["registry"] = places.read_registry(options["registry"])
            with progress.follow(self, "images", self._vars) as self._followed:
                result.update(self._deliver(options) if options["deliver"] else self._bring(options))
        except (ImagesError, SeveralErrors) as problem:
            problems = getattr(problem, "problems", [problem])
            result.update(failed=True, msg=str(problem), problems=[item.as_dict() for item in problems])
        result["remote_calls"] = self._calls
        return result

    def _bring(self, options):
        facts = options["facts"] or {}
        cache = os.path.expanduser(options["source_cache"] or sources.default_cache())
        scanner = {} if options["deliver"] else gate.read_settings(options["scanner"], gate.today())
        items = self._read(options, cache)
        images, native = facts.get("images"), (facts.get("architecture") or {}).get("docker_platform")
        if images is None or not native:
            seen = self._step("inspect", {})
            images, native = seen["images"], native or seen["platform"]
        fleet = Fleet(options, self._delegate)
        self._each(items, lambda item: isinstance(item, BuildItem) and item.settle(native, facts.get("architecture"), fleet))
        for item in items:
            if isinstance(item, PullItem) and item.platform:
                plan.check_platform(item.platform, item.where, facts.get("architecture"))
        before = plan.Inventory(images)
        pulls, builds, refresh = [], [], options["pull_policy"] == "always"
        elsewhere, arrivals = [], []
        for item in items:
            if isinstance(item, PullItem):
                if plan.decide_pull(item.text, item.policy, item.platform, before).action != "none":
                    pulls.append(item)
            elif item.away:
                if item.decide(before).action != "none" or (refresh and not item.delivered):
                    (arrivals if item.delivered else elsewhere).append(item)
            elif item.decide(before).action != "none" or refresh or options["deliver"]:
                builds.append(item)
        waiting = self._elsewhere(elsewhere)
        if self._task.check_mode or not (pulls or builds or arrivals):
            result = self._predict(items, before, set(map(id, pulls)), set(map(id, elsewhere)))
        else:
            result = self._change(items, pulls, builds, arrivals, before, options, facts, cache)
        # What other hosts build has yet to come; the call that brings it has all images.
        if scanner and (self._task.check_mode or not elsewhere):
            self._gate(result, scanner, options, cache)
        return dict(result, **waiting)

    def _gate(self, result, scanner, options, cache):
        """Have the host's images scanned, and refuse what is found in them. Raises SeveralErrors."""
        images, missing = {}, []
        for stack, entries in sorted(result["images"].items()):
            for name, entry in sorted(entries.items()):
                where = f"{stack}/{name}"
                if not entry["id"] or (self._task.check_mode and entry["changed"]):
                    missing.append(where)
                    continue
                known = images.setdefault(entry["id"], {"where": where, "id": entry["id"], "reference": entry["reference"], "size_bytes": entry["size_bytes"]})
                known["where"] = where if known["where"] == where else f"{known['where']}, {where}"
        wanted = {key: value for key, value in scanner.items() if key != "exceptions"}
        with self._token(cache) as run:
            seen = self._step("scan", dict(run, scanner=wanted, images=list(images.values()), timeout_s=options["build_timeout_seconds"]))
        verdict = gate.judge(seen["scans"], scanner, gate.today())
        waiting = missing + seen["waiting"]
        notes = verdict.notes + ([f"not scanned in check mode: {', '.join(waiting)}"] if waiting else [])
        if verdict.blocking:
            # What is told by a failure is the failure; an exception that is not used is of use to know beside it.
            for note in notes:
                self._display.warning(note)
            raise SeveralErrors(verdict.blocking, gate.SHOWN)
        result["scan"] = {"tool": scanner["tool"], "database": seen["database"], "scanned": seen["scanned"], "waiting": waiting,
                          "accepted": verdict.accepted, "counts": {scan["where"]: scan["counts"] for scan in seen["scans"]}}
        if notes:
            result["warnings"] = result.get("warnings", []) + notes

    @staticmethod
    def _elsewhere(items):
        """What has to be asked of builders: one entry for each builder and platform."""
        if not items:
            return {}
        found = {}
        for item in items:
            # All defaults are spelled out: the builder's own variables must not change what is built.
            given = dict(item.given, platform=item.wanted, reference=item.repository)
            place = item.place
            entry = found.setdefault((place.builder, item.wanted), {"builder": place.builder, "platform": item.wanted, "how": place.how, "images": []})
            entry["images"].append(_without_null(given))
        return {"elsewhere": [found[key] for key in sorted(found)]}

    def _deliver(self, options):
        """A builder's turn: build what other hosts need, and push it or bring its archive to the controller. One host at a time asks for the same."""
        cache = os.path.expanduser(options["source_cache"] or sources.default_cache())
        names = sorted(f"{item['stack']}/{item['name']} {item.get('platform')}" for item in options["images"])
        # For a registry any machine may build it, so that hosts of one platform do not each build for themselves.
        key = context.canonical_hash({"builder": "" if options["registry"] else self._delegate, "registry": options["registry"], "names": names})
        record, began = os.path.join(cache, "delivered", f"{key}.json"), time.time()
        try:
            with sources.exclusive(f"{record}.lock", options["build_timeout_seconds"]):
                known = sources.read_json(record)
                # Another host of this run has waited for the same build to end a moment ago.
                if isinstance(known, dict) and known.get("at", 0) >= began and known.get("images") == self._fingerprint(options) \
                        and all(not entry["archive"] or os.path.exists(entry["archive"]) for entry in known["delivered"]):
                    return {"changed": False, "images": {}, "removed": [], "delivered": known["delivered"]}
                result = self._bring(options)
                if not self._task.check_mode:
                    sources.write_json(record, {"at": time.time(), "images": self._fingerprint(options), "delivered": result["delivered"]})
                return result
        except TimeoutError as problem:
            raise ImagesError(f"builder {self._delegate}", str(problem), "the build of another run to end", "images_build_timeout_seconds") from problem

    @staticmethod
    def _fingerprint(options):
        return context.canonical_hash({"images": options["images"], "args": options["build_args"], "registry": options["registry"]})

    def _read(self, options, cache):
        def make(item):
            return PullItem(item, options["pull_policy"]) if item["how"] == "pull" else BuildItem(item, options, cache)

        os.makedirs(cache, mode=0o700, exist_ok=True)
        return self._each(options["images"], make)

    @staticmethod
    def _each(items, work):
        """Do ``work`` for all items; all their refusals come together."""
        done, problems = [], []
        for item in items:
            try:
                done.append(work(item))
            except ImagesError as problem:
                problems.append(problem)
            except SeveralErrors as several:
                problems.extend(several.problems)
        if problems:
            raise SeveralErrors(problems)
        return done

    def _predict(self, items, inventory, pulls, elsewhere=()):
        """The result when nothing is to be done, or in check mode."""
        images, predicted, notes = {}, [], []

        def one(item):
            if isinstance(item, PullItem):
                decision = plan.decide_pull(item.text, item.policy, item.platform, inventory)
                entry = self._entry(item, item.text, decision.image, id(item) in pulls, decision.reason)
            else:
                decision = item.decide(inventory)
                reference = decision.reference or f"{item.repository}:{item.hash[:plan.TAG_DIGITS]}"
                if not decision.reference:
                    predicted.append(item.where)
                # A builder's part is done by another task; this one has changed nothing.
                changes = decision.action != "none" and (id(item) not in elsewhere or self._task.check_mode)
                entry = self._entry(item, reference, decision.image, changes, decision.reason)
                notes.extend(self._notes(item) if entry["changed"] else [])
            images.setdefault(item.stack, {})[item.name] = entry

        self._each(items, one)
        changed = any(entry["changed"] for stack in images.values() for entry in stack.values())
        result = {"changed": changed, "images": images, "removed": []}
        if predicted:
            result["predicted"] = predicted
        return self._finish(result, items, inventory, notes)

    @staticmethod
    def _notes(item):
        emulated = [places.cost_note(item.where, item.wanted, item.own)] if item.place.emulated and not item.away else []
        return item.notes + emulated

    def _entry(self, item, reference, image, changed, reason):
        image = image or {}
        # In check mode a new image has yet to come; what is told is of the old one.
        if image and not (changed and self._task.check_mode):
            plan.check_budget(item.where, reference, image.get("size_bytes") or 0, item.budget, isinstance(item, PullItem))
        digest = plan.repo_digest(image, parse_reference(reference)) if image else None
        return {"reference": reference, "id": image.get("id"), "digest": digest, "size_bytes": image.get("size_bytes"), "changed": changed, "reason": reason}

    def _finish(self, result, items, before, notes):
        if notes:
            result["warnings"] = notes
        if not result["changed"]:
            return result
        old, new = [], []
        for item in items:
            entry = result["images"][item.stack][item.name]
            if not entry["changed"]:
                continue
            if isinstance(item, PullItem):
                image = before.find(item.text)
                old.append(f"{item.where}: {item.text + ' ' + image['id'] if image else 'absent'}")
                new.append(f"{item.where}: {entry['reference']} {entry['id'] or '(to be pulled)'}")
            else:
                there = before.of_repository(item.repository)
                old.append(f"{item.where}: {there[0][0] if there else 'absent'}")
                new.append(f"{item.where}: {entry['reference']} ({entry['reason']})")
        result["diff"] = {"before_header": "images", "after_header": "images", "before": "\n".join(old) + "\n", "after": "\n".join(new) + "\n"}
        return result

    def _change(self, items, pulls, builds, arrivals, before, options, facts, cache):
        """Fetch and build what is missing."""
        archive, published = options["deliver"] == "archive", options["deliver"] == "registry"
        loads = {f"image-{index}.tar.gz": item for index, item in enumerate(arrivals) if item.place.how == "archive"}
        with self._token(cache) as run:
            files = [name for index, item in enumerate(builds) for name in self._files(index, item).values()] + list(loads)
            files += [self._archive(index) for index, unused in enumerate(builds) if archive]
            # Builders of other platforms have to find the same base images, or there is no common tag.
            policy = "always" if options["deliver"] == "registry" else options["pull_policy"]
            bases = [{"where": f"{item.where}, base image", "reference": base.reference, "platform": base.platform, "policy": policy}
                     for item in builds for base in item.bases]
            fetched = [item for item in arrivals if item.place.how == "registry"]
            wanted = [{"where": item.where, "reference": item.text, "platform": item.platform, "policy": item.policy} for item in pulls]
            wanted += [{"where": item.where, "reference": item.delivered["reference"], "platform": item.wanted, "policy": "missing"} for item in fetched]
            request = dict(run, files=files, workspace=bool(files), bases=bases, pulls=wanted,
                           prunes=[self._prune(item, options) for item in fetched])
            seen = self._step("pull", request)
            after, built, removed, reasons, left = plan.Inventory(seen["images"]), {}, list(seen.get("pruned") or []), {}, bool(files)
            try:
                for name, item in loads.items():
                    built[id(item)] = self._load(name, item, run, seen, options)
                    removed.extend(built[id(item)][1]["pruned"])
                for item in fetched:
                    self._check_arrival(item, after)
                    image = after.find(item.delivered["reference"])
                    built[id(item)] = (item.decide(after), {"image": image, "built": True, "pruned": []})
                waiting = [(index, item, item.decide(after)) for index, item in enumerate(builds)]
                reasons = {id(item): item.decide(before).reason for item in [*builds, *arrivals]}
                waiting = [entry for entry in waiting if entry[2].action != "none"]

                def one(entry):
                    nonlocal left
                    index, item, decision = entry
                    last = entry is waiting[-1] and not archive
                    if item.place.emulated:
                        self._display.warning(places.cost_note(item.where, item.wanted, item.own))
                    done = self._build(index, item, decision, dict(run, last=last, published=published), seen, options, facts)
                    left = left and not last
                    built[id(item)] = (decision, done)
                    removed.extend(done["pruned"])

                self._each(waiting, one)
                delivered = self._hand_over(builds, built, after, run, seen, options, cache) if options["deliver"] else None
            finally:
                if left:
                    self._step("clean", run, must=False)
            result = self._report(items, pulls, before, after, built, reasons, removed)
            return result if delivered is None else dict(result, delivered=delivered)

    def _check_arrival(self, item, inventory):
        """What the registry gave must be what the builder made."""
        decision = item.decide(inventory)
        if decision.action != "none":
            raise ImagesError(item.where, f"{item.delivered['reference']} from the registry, which is not what {item.delivered['builder']} pushed",
                              f"an image for {item.wanted} of this content", "images_registry: does another tool write to it?")

    def _prune(self, item, options):
        return {"repository": item.repository, "reference": item.delivered["reference"], "keep": options["keep"]}

    def _load(self, name, item, run, seen, options):
        """Bring one image from its archive on the controller; returns what a build returns."""
        path, folder = item.delivered["archive"], seen["workspace"]["path"]
        try:
            size = os.path.getsize(path)
        except OSError as problem:
            raise ImagesError(item.where, f"no archive {path} of {item.delivered['builder']} any more", "the archive of this run",
                              "run again") from problem
        if size + _SPARE_BYTES > seen["workspace"]["free_bytes"]:
            raise ImagesError(f"{item.where}, disk of {os.path.dirname(folder)}", f"{seen['workspace']['free_bytes'] // 1000000} MB free",
                              f"{(size + _SPARE_BYTES) // 1000000} MB for the image's archive", "free space on the host")
        self._put(path, f"{folder}/{name}", f"send {item.delivered['reference']}", size)
        done = self._step("load", dict(run, where=item.where, file=name, content=item.delivered["content"], **self._prune(item, options)))
        decision = plan.BuildDecision("none", "", item.delivered["reference"], item.delivered["content"], {}, [], done["image"])
        return decision, dict(done, built=True)

    def _hand_over(self, builds, built, after, run, seen, options, cache):
        """Push each image, or bring its archive here. Returns what the hosts that need them have to know."""
        delivered = []
        for index, item in enumerate(builds):
            decision, done = built.get(id(item)) or (item.decide(after), None)
            image = done["image"] if done else decision.image
            entry = {"stack": item.stack, "name": item.name, "reference": decision.reference, "id": image["id"], "content": decision.content,
                     "how": options["deliver"], "archive": None, "builder": self._delegate, "platform": item.wanted}
            if options["deliver"] == "registry":
                # Two builders that change the same list must not do it at once.
                with sources.exclusive(os.path.join(cache, "delivered", f"{context.canonical_hash({'list': item.repository})}.lock")):
                    self._step("push", {"where": item.where, "reference": decision.reference, "platform": item.wanted})
            else:
                entry["archive"] = self._fetch_archive(index, item, decision.reference, image, run, seen, cache)
            delivered.append(entry)
        return delivered

    def _fetch_archive(self, index, item, reference, image, run, seen, cache):
        folder = os.path.join(cache, "archives")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._forget_archives(folder)
        path = os.path.join(folder, f"{image['id'].rpartition(':')[2]}.tar.gz")
        if not os.path.exists(path):
            # As Docker writes it, and packed.
            need = 2 * (image["size_bytes"] or 0) + _SPARE_BYTES
            if need > seen["workspace"]["free_bytes"]:
                raise ImagesError(f"{item.where}, disk of {os.path.dirname(seen['workspace']['path'])} on {self._delegate}",
                                  f"{seen['workspace']['free_bytes'] // 1000000} MB free", f"{need // 1000000} MB for the image's archive",
                                  "free space on the builder, or images_registry")
            size = self._step("save", dict(run, where=item.where, reference=reference, file=self._archive(index)))["size_bytes"]
            beside = f"{path}.{os.getpid()}"
            self._calls += 1
            try:
                with self._followed.growing(f"fetch {reference}", size, local=beside):
                    self._connection.fetch_file(f"{seen['workspace']['path']}/{self._archive(index)}", beside)
                if os.path.getsize(beside) != size:
                    raise ImagesError(item.where, f"{os.path.getsize(beside)} bytes of an archive of {size}", "the whole archive from the builder",
                                      f"free space in {folder} on the controller")
                os.replace(beside, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside)
        os.utime(path)
        return path

    @staticmethod
    def _forget_archives(folder):
        """An archive is of use for the run that asked for it only."""
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.path.getmtime(os.path.join(folder, name)) < time.time() - _ARCHIVE_AGE_S:
                    os.unlink(os.path.join(folder, name))

    @staticmethod
    def _archive(index):
        return f"archive-{index}.tar.gz"

    def _report(self, items, pulls, before, after, built, reasons, removed):
        images, notes, waiting = {}, [], set(map(id, pulls))

        def one(item):
            if isinstance(item, PullItem):
                image, old = after.find(item.text), before.find(item.text)
                changed = id(item) in waiting and (old or {}).get("id") != (image or {}).get("id")
                entry = self._entry(item, item.text, image, changed, "pulled" if changed else "present")
            elif id(item) in built:
                decision, done = built[id(item)]
                reason = reasons.get(id(item))
                if item.away:
                    reason = f"built on {item.delivered['builder']}: {reason}"
                entry = self._entry(item, decision.reference, done["image"], done["built"], reason if done["built"] else "built by another run")
                notes.extend(item.notes)
            else:
                decision = item.decide(after)
                entry = self._entry(item, decision.reference, decision.image, False, decision.reason)
            images.setdefault(item.stack, {})[item.name] = entry

        self._each(items, one)
        changed = any(entry["changed"] for stack in images.values() for entry in stack.values())
        return self._finish({"changed": changed, "images": images, "removed": removed}, items, before, notes)

    @staticmethod
    def _files(index, item):
        """Names in the workspace: the context archive under the empty key, and the file of each build secret."""
        return {"": f"context-{index}.tar.gz", **{key: f"secret-{index}-{number}" for number, key in enumerate(sorted(item.secrets))}}

    def _build(self, index, item, decision, run, seen, options, facts):
        if decision.action == "pull_bases":
            raise ImagesError(item.where, f"base images that are not on the host: {', '.join(decision.missing)}", "base images that can be pulled",
                              "the FROM lines of the Dockerfile")
        names, folder = self._files(index, item), seen["workspace"]["path"]
        with tempfile.TemporaryDirectory(prefix="dockyard-images-") as local:
            archive = os.path.join(local, names[""])
            size = item.write(archive)
            if size + _SPARE_BYTES > seen["workspace"]["free_bytes"]:
                raise ImagesError(f"{item.where}, disk of {os.path.dirname(folder)}", f"{seen['workspace']['free_bytes'] // 1000000} MB free",
                                  f"{(size + _SPARE_BYTES) // 1000000} MB for the build context", "free space on the host, or a stricter .dockerignore")
            self._put(archive, f"{folder}/{names['']}", f"{item.where} context", size)
        for key, path in item.secrets.items():
            self._put(path, f"{folder}/{names[key]}")
        docker = facts.get("docker") or {}
        return self._step("build", dict(
            run, where=item.where, repository=item.repository, reference=decision.reference, labels=item.built_labels(decision), context=names[""],
            temporary=f"{item.repository}:{plan.TEMPORARY_TAG}{run['controller']}-{run['token']}", dockerfile=f"{context.RECIPE_FOLDER}/{item.dockerfile}",
            args=item.args, secrets={key: names[key] for key in item.secrets}, target=item.target, platform=item.platform, budget_bytes=item.budget,
            timeout_s=options["build_timeout_seconds"], keep=options["keep"], buildx=True if docker.get("buildx") else None,
        ))

    def _put(self, local, remote, name=None, size=None):
        self._calls += 1
        if not name or size < _WORTH_TELLING_BYTES:
            self._connection.put_file(local, remote)
            return
        with self._followed.growing(name, size, remote=remote):
            self._connection.put_file(local, remote)

    def _step(self, state, request, must=True):
        """One call of the module on the host."""
        self._calls += 1
        done = self._followed.run(_MODULE, {"state": state, "request": request}, self._vars)
        if done.get("failed") and must:
            parts = done.get("problems")
            if parts:
                raise SeveralErrors([ImagesError(**part) for part in parts])
            raise ImagesError("this host", done.get("msg") or "a module that failed", "a host that runs the module", "see the output of -vvv")
        return done

    @contextlib.contextmanager
    def _token(self, cache):
        """A name for this run on this host. Its lock file tells later runs whether it is alive, so that they can remove what it left."""
        folder = os.path.join(cache, "active")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        controller = self._controller(cache)
        token = secrets.token_hex(6)
        with contextlib.ExitStack() as held:
            # A file without a lock is a dead run's and gets removed, so nobody may look between the making and the locking.
            with sources.exclusive(f"{folder}.lock"):
                stream = held.enter_context(open(os.path.join(folder, token), "w", encoding="utf-8"))
                fcntl.flock(stream, fcntl.LOCK_EX)
                active = self._active(folder, token)
            try:
                yield {"controller": controller, "token": token, "active": active, "remote_user": self._connection_user()}
            finally:
                os.unlink(stream.name)

    @staticmethod
    def _controller(cache):
        path = os.path.join(cache, "controller")
        with sources.exclusive(f"{path}.lock"):
            known = sources.read_json(path)
            if not isinstance(known, str):
                known = secrets.token_hex(6)
                sources.write_json(path, known)
        return known

    @staticmethod
    def _active(folder, own):
        alive = [own]
        for name in os.listdir(folder):
            if name == own:
                continue
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    alive.append(name)
                else:
                    os.unlink(path)
        return alive

    def _connection_user(self):
        with contextlib.suppress(KeyError, AttributeError):
            return self._connection.get_option("remote_user") or ""
        return ""
