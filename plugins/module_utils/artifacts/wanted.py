# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of the module wants: its options checked, and files grouped by content. Pure."""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, printable, problem, redact
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import (
    DEFAULT_MODE, DIGEST_NEEDED, NAME_NEEDED, circles, clashes, is_placeholder, name_fault, normal_mode, split_digest, url_fault,
)
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import SET_NEEDED, set_fault

_MODE = re.compile(r"^0?[0-7]{3}\Z")
# What may stand in a source for the target half, besides its first key.
_SOURCE_KEYS = {"url": {"headers"}, "path": {"keep", "follow", "size"}, "archive": {"member"}, "push": set()}


def checked_files(files):
    """The option ``files`` in one form: modes and digests normalised. Raises ArtifactsError with all that is wrong."""
    problems, result, sizes, destinations = [], [], {}, {}
    for number, entry in enumerate(files, 1):
        part = "files[%d]" % (number - 1)
        fault = name_fault(entry["name"])
        if fault:
            problems.append(problem(part, fault, NAME_NEEDED, "files"))
        else:
            part = "file %s" % entry["name"]
        item = dict(entry, mode=_mode(entry.get("mode"), part, problems), digest=_digest(entry.get("digest"), part, problems))
        item["required"] = entry.get("required") is not False
        item["sources"] = [dict(source) for source in entry.get("sources") or []]
        item["destinations"] = [_destination(place, part, problems, destinations) for place in entry.get("destinations") or []]
        if item.get("size") is not None and item["size"] < 0:
            problems.append(problem(part, "the size %d" % item["size"], "bytes, 0 or more", "files"))
        elif item["digest"] and item.get("size") is not None and sizes.setdefault(item["digest"], item["size"]) != item["size"]:
            problems.append(problem(part, "the sizes %d and %d for %s" % (sizes[item["digest"]], item["size"], item["digest"]), "one size for one digest",
                                    "files"))
        for source in item["sources"]:
            problems += _source(source, part)
        result.append(item)
    if not problems:
        problems += _together(result)
    if problems:
        raise ArtifactsError(problems)
    return result


def _together(files):
    problems = []
    for first, second in clashes([item["name"] for item in files]):
        if first == second:
            problems.append(problem("files", "the name %s twice" % first, "each name once", "files"))
        else:
            problems.append(problem("files", "the names %s and %s" % (first, second), "names that differ in more than case, none of them a folder of another",
                                    "files"))
    names = {item["name"] for item in files}
    for item in files:
        for source in item["sources"]:
            if "archive" in source and source["archive"] not in names:
                problems.append(problem("file %s" % item["name"], "the archive %s" % printable(str(source["archive"])), "the name of another of these files",
                                        "files"))
    for name in circles(files):
        problems.append(problem("file %s" % name, "an archive that would be taken out of itself", "an archive with a source of its own", "files"))
    return problems


def _mode(mode, part, problems):
    mode = DEFAULT_MODE if mode is None else mode
    if not _MODE.match(mode):
        problems.append(problem(part, "the mode %s" % printable(mode), "octal digits up to 0777, such as 0644", "files"))
        return DEFAULT_MODE
    return normal_mode(mode)


def _digest(digest, part, problems):
    if is_placeholder(digest):
        problems.append(problem(part, "no digest", DIGEST_NEEDED, "the manifest (playbooks/artifacts.yml -e action=record writes digests)"))
        return None
    try:
        return "%s:%s" % split_digest(digest)
    except ValueError as exc:
        problems.append(problem(part, str(exc), DIGEST_NEEDED, "files"))
        return None


def _destination(place, part, problems, seen):
    if place["path"] in seen:
        problems.append(problem(part, "the destination %s, which %s has too" % (place["path"], seen[place["path"]]), "one file for one path", "files"))
    seen[place["path"]] = part
    return dict(place, mode=_mode(place.get("mode"), "%s, destination %s" % (part, place["path"]), problems))


def _source(source, part):
    kinds = [kind for kind in _SOURCE_KEYS if kind in source]
    if len(kinds) != 1 or set(source) - {kinds[0]} - _SOURCE_KEYS[kinds[0]]:
        return [problem(part, "a source with %s" % (", ".join(sorted(source)) or "nothing"),
                        "url, path, or archive and member (other kinds are for the controller's half)", "files")]
    if kinds[0] == "url":
        fault = url_fault(source["url"]) if isinstance(source["url"], str) else "a URL that is no text"
        if fault:
            return [problem(part, "%s in %s" % (fault, redact(str(source["url"]))), "http:// or https:// with a host", "files")]
    elif kinds[0] == "path":
        if not str(source["path"]).startswith("/"):
            return [problem(part, "the path %s" % printable(str(source["path"])), "an absolute path on the host", "files")]
        if source.get("follow") and not isinstance(source.get("size"), int):
            return [problem(part, "a path to follow without a size", "its size in bytes", "files")]
    elif kinds[0] == "archive":
        fault = name_fault(source.get("member"))
        if fault:
            return [problem(part, fault, "a relative path in the archive", "files")]
    return []


def checked_mirrors(mirrors):
    """Base URLs without a slash at their end. Raises ArtifactsError; a mirror's path may be a secret, so it is not told."""
    problems = []
    for number, url in enumerate(mirrors):
        fault = url_fault(url)
        if fault:
            problems.append(problem("mirrors[%d]" % number, fault, "http:// or https:// with a host", "mirrors"))
    if problems:
        raise ArtifactsError(problems)
    return [url.rstrip("/") for url in mirrors]


def checked_set(wanted):
    """(owner, name) of the option ``set``, None for None. Raises ArtifactsError."""
    if not wanted:
        return None
    fault = set_fault(wanted["owner"], wanted["name"])
    if fault:
        raise ArtifactsError([problem("set", fault, SET_NEEDED, "set")])
    return wanted["owner"], wanted["name"]


def placed_mode(mode):
    """Mode (int) of a file in a set: as wanted, but never writable, since what a set holds does not change in place."""
    return int(mode, 8) & ~0o222


class Content:
    """What one digest stands for: all files that have it. The rest is filled in by who looks and fetches:

    ``state``: missing, unverified, verified or wrong (then ``found`` is the digest that it has); ``found_size``: bytes in the store.
    ``outcome``: present, fetched or missing, ``source`` where it came from, ``problem`` why it did not.
    ``suspects``: paths that may hold it already; ``sink``: its unfinished download while that is open.
    """

    def __init__(self, digest):
        self.digest, self.files, self.sources = digest, [], []
        self.state, self.found = "missing", None
        self.outcome, self.source, self.problem, self.found_size = None, None, None, None
        self.suspects, self.sink = [], None

    def add(self, item):
        """One more file with this content."""
        self.files.append(item)
        self.sources += [source for source in item["sources"] if source not in self.sources]

    @property
    def name(self):
        """What messages and the progress call it (str)."""
        return self.files[0]["name"]

    @property
    def size(self):
        """Its exact size (int) or None."""
        return next((item["size"] for item in self.files if item.get("size") is not None), None)

    @property
    def expected(self):
        """Its size, or what the manifest estimates (int or None)."""
        return self.size if self.size is not None else next((item["size_estimate"] for item in self.files if item.get("size_estimate") is not None), None)

    @property
    def required(self):
        """Whether a required file needs it."""
        return any(item["required"] for item in self.files)


def contents_of(files):
    """{digest: Content} in the order of the files."""
    found = {}
    for item in files:
        found.setdefault(item["digest"], Content(item["digest"])).add(item)
    return found


def human(count):
    """Bytes (int) for people (str): "1.5 GiB"."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return "%d bytes" % size if unit == "bytes" else "%.1f %s" % (size, unit)
        size /= 1024
    return "%.1f TiB" % size


def version_problem(known, version, digest, where):
    """What speaks against a manifest's version ([problem]): it may only grow.

    :param known: ``{version, digest}`` that the host keeps, or None; ``version`` (int or None) and ``digest`` (str) of the one that is to be used.
    """
    if not known or known.get("version") is None or version is None:
        return []
    if version < known["version"]:
        return [problem(where, "the manifest version %d" % version, "version %d or later: this host has seen that one" % known["version"],
                        "the manifest (an older one that was replayed is refused)")]
    if version == known["version"] and known.get("digest") and digest and known["digest"] != digest:
        return [problem(where, "another manifest with the same version %d" % version, "a version that grows with each change", "version in the manifest")]
    return []
