# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of files: reading, checking and the identity of a set. Pure: no files, no network, no Ansible."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import unicodedata
from urllib.parse import urlsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, printable, problem, redact

SCHEMA = 1
# Hex digits of each algorithm that a digest may name. All are in hashlib of every Python; blake2b is the one of 512 bits (RFC 7693).
ALGORITHMS = {"sha256": 64, "sha512": 128, "blake2b": 128}
DEFAULT_MODE = "0644"
# A manifest is read into memory. The largest public model repositories list some thousand files, a few hundred kilobytes.
MAX_TEXT_BYTES = 16 * 1024 * 1024
# What ext4, xfs and btrfs allow for one part of a path, and a bound that leaves room for the store's own path below PATH_MAX (4096).
MAX_PART_BYTES = 255
MAX_NAME_BYTES = 2048
# No disk that runs Docker is larger than an exbibyte; a size beyond it is a typing error.
MAX_SIZE_BYTES = 1 << 60

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", 1):
    _UNITS[_letter] = _UNITS[_letter + "b"] = 1000 ** _power
    _UNITS[_letter + "i"] = _UNITS[_letter + "ib"] = 1024 ** _power

# A digest that nobody has filled in yet: an algorithm or none, then dots, brackets, or a word for it.
_PLACEHOLDER = re.compile(r"^(?:[a-z0-9-]+:)?\s*(?:[.\u2026<>?*xX_-]*|<[^>]*>|todo|tbd|tba|none|null|unknown|placeholder|fixme)\s*$", re.IGNORECASE)
# sha256:... has a prefix that itself could pass for a word, hence the check of the algorithm before.
_DIGEST = re.compile(r"^([A-Za-z0-9-]+):([0-9A-Fa-f]+)\Z")
_MODE = re.compile(r"^0?[0-7]{3}\Z")
_MANIFEST_KEYS = {"schema", "name", "version", "expires", "files", "description"}
_FILE_KEYS = {"name", "size", "digest", "required", "mode", "description", "sources"}
_SOURCE_FORMS = '"https://...", "s3://bucket/key", {"file": "relative path"} or {"archive": "name", "member": "path"}'


class ManifestError(ArtifactsError):
    """A manifest, or a list of files, that can't be used; ``problems`` has all that is wrong with it."""


class _Duplicate(ValueError):
    """The same key twice in one JSON object."""


def _pairs(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise _Duplicate(key)
        found[key] = value
    return found


def _no_constant(text):
    raise ValueError("%s is not a JSON value" % text)


def parse_manifest(text, where):
    """What a manifest says.

    :param text: the manifest (str, JSON): ours, or the form of the EmoRobCare design (an object or a list of ``{url, checksum, size, required}``).
    :param where: what messages call it, usually its path (str).
    :returns: ``{"schema", "name", "version", "expires", "files"}``; name, version (int) and expires (str, ISO 8601) may be None. Each file is
        ``{"name", "digest" ("<algorithm>:<hex>" or None: not recorded yet), "size" (bytes or None), "size_estimate" (bytes or None), "sources" (list of dict),
        "required" (bool), "mode" ("0644"), "description" (str)}``. A source is ``{"url"}``, ``{"s3"}``, ``{"file"}`` or ``{"archive", "member"}``.
    :raises ManifestError: with every problem found.
    """
    setting = "the manifest %s" % where
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise ManifestError([problem(where, "more than %d bytes" % MAX_TEXT_BYTES, "a manifest of files, not the files", setting)])
    try:
        document = json.loads(text[1:] if text.startswith("\ufeff") else text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except _Duplicate as exc:
        raise ManifestError([problem(where, "the name %s twice in one object" % _quote(str(exc)), "each name once", setting)]) from None
    except RecursionError:
        raise ManifestError([problem(where, "values nested too deeply", "a list of files", setting)]) from None
    except ValueError as exc:
        raise ManifestError([problem(where, "text that is not JSON (%s)" % printable(str(exc)), "valid JSON", setting)]) from None
    return _Reader(where, setting).read(document)


def set_id(files):
    """Identity of a set (str, 16 hex digits): the same names with the same content and mode have the same one, in whatever order.

    :param files: dicts with name, digest and optionally mode.
    """
    canonical = sorted([item["name"], item["digest"], normal_mode(item.get("mode") or DEFAULT_MODE)] for item in files)
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=True, separators=(",", ":")).encode("ascii")).hexdigest()[:16]


def expires_epoch(expires):
    """Seconds since 1970 (float) of a manifest's "expires". Raises ValueError when it is no ISO 8601 time with a zone."""
    text = expires[:-1] + "+00:00" if expires.endswith(("Z", "z")) else expires
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment.timestamp()


def normal_mode(mode):
    """Mode as four octal digits (str)."""
    return "%04o" % int(mode, 8)


def parse_size(text):
    """Bytes (int) of a size in words, such as "14GB" or "1.5 GiB". Raises ValueError."""
    match = re.match(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z", text)
    if not match or match.group(2).lower() not in _UNITS:
        raise ValueError(text)
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


def split_digest(digest):
    """(algorithm, hex) of a digest, both in lower case. Raises ValueError with what is wrong with it."""
    match = _DIGEST.match(digest)
    if not match:
        raise ValueError("%s, which is no digest" % _quote(digest))
    algorithm, digits = match.group(1).lower(), match.group(2).lower()
    if algorithm not in ALGORITHMS:
        raise ValueError("the algorithm %s" % _quote(match.group(1)))
    if len(digits) != ALGORITHMS[algorithm]:
        raise ValueError("%d hex digits after %s:" % (len(digits), algorithm))
    return algorithm, digits


DIGEST_NEEDED = "sha256: with 64 hex digits, sha512: or blake2b: with 128"


def is_placeholder(digest):
    """Whether a digest (str or None) is one that nobody has filled in yet."""
    return digest is None or (isinstance(digest, str) and bool(_PLACEHOLDER.match(digest)))


def name_fault(name):
    """What is wrong with a file's name (str), None when it may be used below a folder."""
    if not isinstance(name, str) or not name:
        return "no name"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in name):
        return "a control character in the name %s" % _quote(name)
    if "\\" in name:
        return "a backslash in the name %s" % _quote(name)
    if name.startswith("/"):
        return "the absolute path %s" % _quote(name)
    parts = name.split("/")
    if ".." in parts:
        return "a way out of the folder (..) in the name %s" % _quote(name)
    if "" in parts or "." in parts:
        return "an empty part in the name %s" % _quote(name)
    if name != name.strip() or any(part != part.strip() for part in parts):
        return "a space at the edge of the name %s" % _quote(name)
    if unicodedata.normalize("NFC", name) != name:
        return "the name %s in another form than NFC" % _quote(name)
    if len(name.encode("utf-8")) > MAX_NAME_BYTES or any(len(part.encode("utf-8")) > MAX_PART_BYTES for part in parts):
        return "a name of %d bytes" % len(name.encode("utf-8"))
    return None


NAME_NEEDED = "a relative path in Unicode form NFC without .., empty parts, backslashes or control characters, at most %d bytes a part" % MAX_PART_BYTES


def clashes(names):
    """Pairs (earlier, later) of names that can't be in one folder: equal (also when case is ignored), or one is a folder of the other."""
    found, seen = [], {}
    for name in names:
        key = unicodedata.normalize("NFC", name.casefold())
        if key in seen:
            found.append((seen[key], name))
        else:
            seen[key] = name
    for key, name in seen.items():
        parent = key.rpartition("/")[0]
        while parent:
            if parent in seen:
                found.append((seen[parent], name))
            parent = parent.rpartition("/")[0]
    return found


def circles(files):
    """Names whose archive leads back to themselves; files are dicts with name and sources."""
    after = {item["name"]: {source["archive"] for source in item["sources"] if source.get("archive")} for item in files}
    found = []
    for name in after:
        seen, ahead = set(), set(after[name])
        while ahead:
            step = ahead.pop()
            if step == name:
                found.append(name)
                break
            if step not in seen:
                seen.add(step)
                ahead |= after.get(step, set())
    return found


def url_fault(url):
    """What is wrong with a URL (str), None when it can be asked."""
    if any(not char.isprintable() or char.isspace() for char in url):
        return "a space or control character in a URL"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        return "a URL that can't be read (%s)" % printable(str(exc))
    if parts.scheme not in ("http", "https"):
        return "the URL scheme %s" % _quote(parts.scheme)
    if not host or port == 0:
        return "a URL without a host"
    return None


def _quote(value):
    return printable(json.dumps(printable(value) if isinstance(value, str) else value, ensure_ascii=False, default=str), 220)


class _Reader:
    """Reads one document and keeps every problem, so that they are told in one go."""

    def __init__(self, where, setting):
        self.where, self.setting, self.problems = where, setting, []

    def fault(self, part, found, needed):
        self.problems.append(problem("%s, %s" % (self.where, part) if part else self.where, found, needed, self.setting))

    def read(self, document):
        result = {"schema": SCHEMA, "name": None, "version": None, "expires": None, "files": []}
        if isinstance(document, dict) and ("files" in document or "schema" in document):
            self.head(document, result)
            entries, foreign = document.get("files"), False
        else:
            entries, foreign = self.foreign(document), True
        if not isinstance(entries, list):
            if not self.problems:
                self.fault("", "no list of files", '{"schema": 1, "files": [...]}, or an object name: {url, checksum, size, required}')
            entries = []
        elif not entries and not self.problems:
            self.fault("", "an empty list of files", "at least one file")
        result["files"] = [item for item in (self.file(entry, "file %d" % number, foreign) for number, entry in enumerate(entries, 1)) if item]
        self.together(result["files"])
        if self.problems:
            raise ManifestError(self.problems)
        return result

    def head(self, document, result):
        if document.get("schema") != SCHEMA or isinstance(document.get("schema"), bool):
            self.fault("schema", _quote(document.get("schema")), "%d" % SCHEMA)
        for key in sorted(set(document) - _MANIFEST_KEYS):
            self.fault("", "the unknown key %s" % _quote(key), "only %s" % ", ".join(sorted(_MANIFEST_KEYS)))
        name, version, expires = document.get("name"), document.get("version"), document.get("expires")
        if name is not None and not (isinstance(name, str) and name and printable(name) == name):
            self.fault("name", _quote(name), "a short text")
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
            self.fault("version", _quote(version), "a whole number from 1 on")
        if expires is not None:
            try:
                expires_epoch(expires)
            except (AttributeError, TypeError, ValueError):
                self.fault("expires", _quote(expires), 'a time with its zone, such as "2027-06-30T00:00:00Z"')
        result.update(name=name, version=version, expires=expires)

    def foreign(self, document):
        """List of entries of the EmoRobCare form; None when it is not that."""
        if isinstance(document, dict) and "models" in document and isinstance(document["models"], (dict, list)) and "url" not in document["models"]:
            document = document["models"]
        if isinstance(document, list):
            return document
        if not isinstance(document, dict):
            return None
        entries = []
        for name, entry in document.items():
            if not isinstance(entry, dict):
                self.fault("file %s" % _quote(name), "%s instead of an object" % type(entry).__name__, "{url, checksum, size, required}")
            else:
                entries.append(dict(entry, name=name))
        return entries

    def file(self, entry, part, foreign):
        if not isinstance(entry, dict):
            self.fault(part, "%s instead of an object" % type(entry).__name__, "an object with name, size, digest and sources")
            return None
        name = entry.get("name")
        fault = name_fault(name)
        if fault:
            self.fault(part, fault, NAME_NEEDED)
        else:
            part = "file %s" % name
        if not foreign:
            for key in sorted(set(entry) - _FILE_KEYS):
                self.fault(part, "the unknown key %s" % _quote(key), "only %s" % ", ".join(sorted(_FILE_KEYS)))
        size, estimate = self.size(entry.get("size"), part)
        item = {
            "name": name,
            "digest": self.digest(entry.get("digest", entry.get("checksum")), part),
            "size": size,
            "size_estimate": estimate,
            "sources": self.sources(entry, part, foreign),
            "required": entry.get("required", True),
            "mode": self.mode(entry.get("mode", DEFAULT_MODE), part),
            "description": entry.get("description") or "",
        }
        if not isinstance(item["required"], bool):
            self.fault(part, "required: %s" % _quote(item["required"]), "true or false")
        if not isinstance(item["description"], str):
            self.fault(part, "a description that is no text", "a text")
        return None if fault else item

    def digest(self, value, part):
        if is_placeholder(value):
            return None
        if not isinstance(value, str):
            self.fault(part, "the digest %s" % _quote(value), DIGEST_NEEDED)
            return None
        try:
            return "%s:%s" % split_digest(value)
        except ValueError as exc:
            self.fault(part, str(exc), DIGEST_NEEDED)
            return None

    def size(self, value, part):
        """(bytes, estimate): a number is exact and enforced; a text in units is not."""
        if value is None:
            return None, None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE_BYTES:
            return value, None
        if isinstance(value, str):
            try:
                estimate = parse_size(value)
                if estimate <= MAX_SIZE_BYTES:
                    return None, estimate
            except ValueError:
                pass
        self.fault(part, "the size %s" % _quote(value), 'bytes as a whole number, or an estimate such as "14GB"')
        return None, None

    def mode(self, value, part):
        if isinstance(value, str) and _MODE.match(value):
            return normal_mode(value)
        self.fault(part, "the mode %s" % _quote(value), 'a text of octal digits up to "0777", such as "0644"')
        return DEFAULT_MODE

    def sources(self, entry, part, foreign):
        values = entry.get("sources", entry.get("url") if foreign else None)
        if isinstance(values, (str, dict)):
            values = [values]
        if values is None:
            return []
        if not isinstance(values, list):
            self.fault(part, "sources: %s" % _quote(values), "a list of %s" % _SOURCE_FORMS)
            return []
        return [source for source in (self.source(value, part) for value in values) if source]

    def source(self, value, part):
        """A source in its one form; None when it is refused."""
        if isinstance(value, str):
            value = {"s3": value} if value.startswith("s3://") else {"url": value}
        keys = set(value) if isinstance(value, dict) else set()
        if keys not in ({"url"}, {"s3"}, {"file"}, {"archive", "member"}) or not all(isinstance(text, str) and text for text in value.values()):
            self.fault(part, "the source %s" % (_quote(sorted(keys)) if keys else _quote(value)), _SOURCE_FORMS)
            return None
        if "url" in value:
            fault, needed = url_fault(value["url"]), "http:// or https:// with a host"
            if fault:
                fault += " in %s" % redact(value["url"])
        elif "s3" in value:
            fault = None if re.match(r"^s3://[a-z0-9][a-z0-9._-]+/[^\x00-\x1f\x7f]+\Z", value["s3"]) else "the source %s" % _quote(value["s3"])
            needed = "s3://bucket/key"
        elif "file" in value:
            fault, needed = name_fault(value["file"]), "a path below the manifest's folder or the folder that the operator gave"
        else:
            fault, needed = name_fault(value["member"]), "a relative path in the archive"
        if fault:
            self.fault(part, fault, needed)
            return None
        return value

    def together(self, files):
        for first, second in clashes([item["name"] for item in files]):
            if first == second:
                self.fault("", "the name %s twice" % _quote(first), "each name once")
            else:
                self.fault("", "the names %s and %s" % (_quote(first), _quote(second)), "names that differ in more than case, none of them a folder of another")
        names = {item["name"] for item in files}
        for item in files:
            for source in item["sources"]:
                if source.get("archive") and source["archive"] not in names:
                    self.fault("file %s" % item["name"], "the archive %s" % _quote(source["archive"]), "the name of another file of this manifest")
        for name in circles(files):
            self.fault("file %s" % name, "an archive that would be taken out of itself", "an archive with a source of its own")
