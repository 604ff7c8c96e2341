# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds digests and sizes for the entries of a manifest that have none: trust on first use, shown to the operator and written only on demand."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, problem, redact, refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import parse_manifest
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.members import MemberFault, read_members
from ansible_collections.dockyard.fleet.plugins.module_utils.progress import NoReporter
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import local, record, wanted
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts.store import ControllerStore

_BLOCK_BYTES = 1024 * 1024


def told(path, result):
    """What was found, in sentences (list of str)."""
    lines = ["%s, %s: %s, %d bytes, from %s" % (path, name, found["digest"], found["size"], found["source"]) for name, found in result["recorded"].items()]
    lines += ["%s, %s: optional, and no source gives it" % (path, name) for name in result["missing"]]
    if result["recorded"]:
        lines.append("%s: %s" % (path, "written" if result["written"] else "not written; -e artifacts_record_write=true writes it"))
    if result["sign_again"]:
        lines.append("%s: sign it again under a new version, its signature does not fit any more" % path)
    return lines or ["%s: every file has a digest" % path]


class Recorder:
    """Records manifests on the controller."""

    def __init__(self, presigner, headers, limits, folder=None):
        self._presigner, self._headers = presigner, headers
        folder = folder or local.cache_folder()
        self._digests = local.Digests(folder)
        self._store = ControllerStore(folder, self._digests, limits)

    def record(self, entries, write, wanted_write):
        """A task's result: ``manifests`` {path: {recorded: {name: {digest, size, source}}, missing: [names], written, sign_again}}, ``summary``
        (sentences), ``changed`` and ``diff``.

        :param entries: as read_set() takes them, each with a manifest.
        :param write: whether to write the manifests.
        :param wanted_write: the same without regard to check mode.
        :raises ArtifactsError: what cannot be found or read, of all manifests.
        """
        manifests, diffs, problems, changed = {}, [], [], False
        for entry in entries:
            if not entry.get("manifest"):
                raise refuse("state recorded", "files without a manifest", "the path of a manifest", "manifest or sets of this task")
            path = os.path.realpath(os.path.expanduser(entry["manifest"]))
            if path in manifests:
                continue
            try:
                with local.exclusive(os.path.join(local.cache_folder(), "recording.lock")):
                    manifests[path], diff = self._one(path, entry, write)
            except ArtifactsError as error:
                problems += error.problems
                continue
            if diff and wanted_write:
                changed = True
            if diff:
                diffs.append(diff)
        if problems:
            raise ArtifactsError(problems)
        summary = [line for path, result in manifests.items() for line in told(path, result)]
        return {"changed": changed, "manifests": manifests, "summary": summary, "diff": diffs}

    def _one(self, path, entry, write):
        unused, text = wanted.read_text(path)
        files = parse_manifest(text, path)["files"]
        folders = [folder for folder in (entry.get("folder"), os.path.dirname(path)) if folder]
        found, missing, problems = {}, [], []
        for item in self._archives_first(files):
            if item["digest"] is not None:
                continue
            try:
                values = self._find(item, files, found, [os.path.abspath(os.path.expanduser(folder)) for folder in folders], path)
                if item["size"] is not None and item["size"] != values["size"]:
                    raise refuse("%s, file %s" % (path, item["name"]), "%d bytes from %s" % (values["size"], values["source"]),
                                 "%d bytes, as the manifest says" % item["size"], "the size in the manifest, or the source")
                found[item["name"]] = values
            except ArtifactsError as error:
                missing.append(item["name"])
                problems += error.problems if item["required"] else []
        if problems:
            raise ArtifactsError(problems)
        recorded = {item["name"]: found[item["name"]] for item in files if item["name"] in found}
        result = {"recorded": recorded, "missing": missing, "written": False, "sign_again": bool(recorded) and write and os.path.exists(path + ".minisig")}
        if not recorded:
            return result, None
        new = record.fill(text, recorded)
        self._check(text, new, recorded, path)
        if write:
            status = os.stat(path)
            local.write_atomically(path, new, stat.S_IMODE(status.st_mode))
            with contextlib.suppress(PermissionError):
                os.chown(path, status.st_uid, status.st_gid)
            result["written"] = True
        return result, {"before": text, "after": new, "before_header": path, "after_header": path}

    @staticmethod
    def _archives_first(files):
        # An archive's own digest comes first: what is taken out of it is found in the same bytes.
        return sorted(files, key=lambda item: all(source.get("archive") for source in item["sources"]) and bool(item["sources"]))

    @staticmethod
    def _check(old, new, recorded, path):
        """Nothing but the new values may differ: a wrong edit never reaches the file."""
        before, after = parse_manifest(old, path), parse_manifest(new, path)
        for item in before["files"]:
            if item["name"] in recorded:
                item.update(digest=recorded[item["name"]]["digest"], size=recorded[item["name"]]["size"], size_estimate=None)
        if before != after:
            raise refuse(path, "a layout in which the digests could not be put", "plain JSON", "the manifest: write the digests that are shown by hand")

    def _find(self, item, files, found, folders, where):
        """``{"digest", "size", "source"}`` from the first source that gives the file."""
        problems, where = [], "%s, file %s" % (where, item["name"])
        for source in item["sources"]:
            try:
                if source.get("file"):
                    path = local.find(source["file"], folders)
                    if not path:
                        raise refuse(where, "no file %s in %s" % (source["file"], " or ".join(folders)), "that file on the controller",
                                     "artifacts_folder, dockyard_artifacts_<stack>.<name>.folder, or sources in the manifest")
                    return {"digest": self._digests.compute(path, "sha256"), "size": os.path.getsize(path), "source": path}
                if source.get("archive"):
                    return self._member(source, files, found, folders, where)
                return dict(self._fetch(source, where), source=redact(source.get("url") or source["s3"]))
            except ArtifactsError as error:
                problems += error.problems
        raise ArtifactsError(problems or [problem(where, "no source", "at least one", "sources in the manifest")])

    def _fetch(self, source, where):
        url = source.get("url") or self._presigner.url(source["s3"], where)
        got = self._store.adopt(url, wanted.headers_for(url, self._headers), where)
        return {"digest": got["digest"], "size": got["size"]}

    def _member(self, source, files, found, folders, where):
        archive = next(item for item in files if item["name"] == source["archive"])
        path = self._archive_path(archive, found, folders, where)
        taken = {}

        def take(unused, size, stream):
            hasher = hashlib.sha256()
            for block in iter(lambda: stream.read(_BLOCK_BYTES), b""):
                hasher.update(block)
            taken.update(digest="sha256:" + hasher.hexdigest(), size=size)
            return True

        try:
            read_members(path, {source["member"]}, take)
        except (MemberFault, OSError) as error:
            found, needed = getattr(error, "found", str(error)), getattr(error, "needed", "a readable archive")
            raise refuse(where, found, needed, "the archive %s" % archive["name"]) from error
        if not taken:
            raise refuse(where, "no %s in the archive %s" % (source["member"], archive["name"]), "a file that the archive has", '"member" of this source')
        return dict(taken, source="%s in %s" % (source["member"], archive["name"]))

    def _archive_path(self, archive, found, folders, where):
        digest = archive["digest"] or found.get(archive["name"], {}).get("digest")
        for source in archive["sources"]:
            path = local.find(source["file"], folders) if source.get("file") else None
            if path and digest in (None, self._digests.compute(path, digest.partition(":")[0])):
                return path
        if digest is None:
            raise refuse(where, "the archive %s, which could not be had" % archive["name"], "its digest first", "sources of the archive")
        urls = [(url, wanted.headers_for(url, self._headers)) for source in archive["sources"] if source.get("url") or source.get("s3")
                for url in [source.get("url") or self._presigner.url(source["s3"], where)]]
        return self._store.bring(digest, archive["size"], urls, NoReporter(), archive["name"])
