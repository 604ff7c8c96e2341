# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import hashlib
import json
import os
import posixpath
import stat
import tarfile
from typing import Callable, Iterator, NamedTuple, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images.ignore import Matcher

# A higher number gives every image a new hash: raise it when what is hashed changes meaning.
FORMAT = 1
RECIPE_FOLDER = ".dockyard"
# 1980-01-02: zip archives, wheels among them, cannot hold earlier times.
_FIRST_TIME_S = 315619200
_CHUNK = 1024 * 1024


class Entry(NamedTuple):
    """A file or link of a build context.

    ``path`` is relative with slashes (bytes that are not UTF-8 as surrogates), ``kind`` is file or link,
    ``target`` is a link's text, ``digest`` the sha256 of a file's content, ``size`` its bytes, ``key`` how its tree finds it again.
    """

    path: str
    kind: str
    executable: bool
    target: Optional[str]
    digest: Optional[str]
    size: int
    key: str


def hash_stream(chunks: Iterator[bytes]) -> str:
    """The sha256 of what ``chunks`` gives, hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def read_chunks(path: str) -> Iterator[bytes]:
    """A file's content in pieces of 1 MiB."""
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                return
            yield chunk


def scan_directory(root: str, matcher: Matcher, skip: tuple = (), digests: Optional[Callable] = None) -> list[Entry]:
    """The files and links below ``root`` that ``matcher`` leaves, sorted by path.

    Left out always: ``.git`` at any depth (it changes without the content changing and may hold credentials),
    the paths in ``skip``, and empty directories (Git does not keep them either).
    ``digests(path, stat_result)`` may give a known sha256 or null. Raises ValueError for a device, socket or pipe, OSError for what cannot be read.
    """
    entries = []
    todo = [("", None)]
    while todo:
        folder, above = todo.pop()
        with os.scandir(os.path.join(root, folder) if folder else root) as items:
            names = list(items)
        for item in names:
            path = f"{folder}/{item.name}" if folder else item.name
            if item.name == ".git" or path in skip:
                continue
            ignored, info = matcher.ignored(path, above or [False] * len(matcher.patterns))
            if item.is_dir(follow_symlinks=False):
                if not (ignored and matcher.may_skip(path)):
                    todo.append((path, info))
                continue
            if ignored:
                continue
            entries.append(_entry(root, path, item.stat(follow_symlinks=False), digests))
    return sorted(entries, key=_order)


def _entry(root: str, path: str, status: os.stat_result, digests: Optional[Callable]) -> Entry:
    full = os.path.join(root, path)
    if stat.S_ISLNK(status.st_mode):
        return Entry(path, "link", False, os.readlink(full), None, 0, path)
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
        raise ValueError(f"{path} is {kinds.get(stat.S_IFMT(status.st_mode), 'a special file')}")
    digest = (digests(full, status) if digests else None) or hash_stream(read_chunks(full))
    return Entry(path, "file", bool(status.st_mode & stat.S_IXUSR), None, digest, status.st_size, path)


def _order(entry: Entry) -> bytes:
    return os.fsencode(entry.path)


def under(entries: list[Entry], folder: str) -> list[Entry]:
    """The same entries with ``folder/`` before their paths."""
    return [entry._replace(path=f"{folder}/{entry.path}") for entry in entries]


def context_hash(entries: list[Entry]) -> str:
    """The sha256 of a context: sorted path, type, executable bit, link target, content digest. Nothing else counts."""
    digest = hashlib.sha256(f"dockyard-context {FORMAT}\n".encode("ascii"))
    for entry in sorted(entries, key=_order):
        digest.update(json.dumps([entry.path, entry.kind, entry.executable, entry.target, entry.digest]).encode("ascii") + b"\n")
    return digest.hexdigest()


def canonical_hash(value: dict) -> str:
    """The sha256 of a dictionary of plain values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def recipe_hash(entries: list[Entry], dockerfile: str, args: dict, target: Optional[str], platform: str, secrets: list, labels: dict) -> str:
    """The sha256 of all that a build is told, its base images aside. ``secrets`` are ids: a value never counts."""
    return canonical_hash({
        "format": FORMAT, "context": context_hash(entries), "dockerfile": dockerfile, "args": {name: str(value) for name, value in args.items()},
        "target": target or "", "platform": platform, "secrets": sorted(secrets), "labels": labels,
    })


def content_hash(recipe: str, bases: dict) -> str:
    """The sha256 of a build: its recipe hash and ``{base reference: identity}``."""
    return canonical_hash({"format": FORMAT, "recipe": recipe, "bases": bases})


def outside_links(entries: list[Entry]) -> list[str]:
    """Links that point outside the context, as ``path -> target``. Docker keeps them as links, and so do we."""
    found = []
    for entry in entries:
        if entry.kind == "link":
            resolved = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.target))
            if entry.target.startswith("/") or resolved == ".." or resolved.startswith("../"):
                found.append(f"{entry.path} -> {entry.target}")
    return found


def write_tar(path: str, entries: list[Entry], read: Callable) -> int:
    """Write the context as a gzipped tar, byte for byte the same for the same entries; returns its size in bytes.

    All files have one time, made from the context's hash: equal for equal content, and another one for other content, since web servers
    take a file of the same size and time for unchanged (ETag). BuildKit's cache does not look at times.
    ``read(entry)`` gives a file's content in pieces. Raises ValueError when a file is not what was hashed.
    """
    time_s = _FIRST_TIME_S + int(context_hash(entries)[:7], 16)
    with open(path, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=_order):
            info = tarfile.TarInfo(entry.path)
            info.mtime, info.uid, info.gid, info.uname, info.gname = time_s, 0, 0, "", ""
            if entry.kind == "link":
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
                tar.addfile(info)
                continue
            info.size, info.mode = entry.size, 0o755 if entry.executable else 0o644
            tar.addfile(info, _Checked(entry, read(entry)))
    return os.path.getsize(path)


class _Checked:
    """Gives a file's content to tarfile and raises when it is not what was hashed."""

    def __init__(self, entry: Entry, chunks: Iterator[bytes]) -> None:
        self._entry, self._chunks, self._buffer = entry, chunks, b""
        self._digest, self._left = hashlib.sha256(), entry.size

    def read(self, size: int) -> bytes:
        """``size`` bytes. Raises ValueError when the file has fewer or others than before."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                raise ValueError(f"{self._entry.path} became shorter while it was read")
            self._buffer += chunk
        out, self._buffer = self._buffer[:size], self._buffer[size:]
        self._digest.update(out)
        self._left -= len(out)
        if not self._left and self._digest.hexdigest() != self._entry.digest:
            raise ValueError(f"{self._entry.path} changed while it was read")
        return out
