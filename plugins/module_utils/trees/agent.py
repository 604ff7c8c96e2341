# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a tree, hashes and reads its files, and never leaves it. Used here by import, and on another host as a program: this text is sent there.

So it imports the standard library only, and works with any Python from 3.7. Every folder on the way is opened without following links: a name that becomes
a link while we look is an error of that name, and not a way out. Names are str of UTF-8 with surrogate escapes, whatever the locale, so that each
sequence of bytes has one and goes through JSON.
"""

from __future__ import annotations

import collections
import concurrent.futures
import errno
import fnmatch
import hashlib
import json
import os
import re
import stat
import sys

ALGORITHM = "sha256"
CHUNK = 1 << 20
FILE, FOLDER, LINK, MOUNT = "file", "directory", "symlink", "mount"
# Kinds that no tree carries over.
SPECIAL = {"socket": stat.S_ISSOCK, "fifo": stat.S_ISFIFO, "character device": stat.S_ISCHR, "block device": stat.S_ISBLK}
_NOATIME = getattr(os, "O_NOATIME", 0)
_ZEROS = bytes(CHUNK)

# path: "." for the root; data: bytes that are no holes; attributes: names of extended ones.
Entry = collections.namedtuple("Entry", "path kind mode uid gid size mtime_ns ctime_ns inode links data target attributes")


def decoded(name):
    """The str of a name's bytes."""
    return name.decode("utf-8", "surrogateescape")


def encoded(name):
    """The bytes of a name's str."""
    return name.encode("utf-8", "surrogateescape")


def key_of(entry):
    """What changes when a file changes (list of int)."""
    return [entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode]


def key_of_status(status):
    """The same of an os.stat_result."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class Changed(Exception):
    """A file is not what it was when the reading began."""


class Root:
    """A tree by its root folder, which stays open."""

    def __init__(self, path):
        self.path = path
        self.descriptor = os.open(encoded(path), os.O_RDONLY | os.O_DIRECTORY)
        self.device = os.fstat(self.descriptor).st_dev

    def close(self):
        """Let go of it."""
        os.close(self.descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def folder(self, path):
        """A new descriptor of a folder below, by its relative path ("." is the root). OSError ELOOP or ENOTDIR: there is a link on the way."""
        descriptor = os.dup(self.descriptor)
        for part in encoded(path).split(b"/") if path not in ("", ".") else ():
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def open(self, path):
        """A descriptor to read a file, by its relative path."""
        parent, unused, name = path.rpartition("/")
        folder = self.folder(parent)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                descriptor = os.open(encoded(name), flags | _NOATIME, dir_fd=folder)
            except PermissionError:
                descriptor = os.open(encoded(name), flags, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Changed("no plain file any more")
        return descriptor


def excluded_by(patterns):
    """A function that tells of (relative path, name) whether it is left out: a pattern with a slash is for the whole path, one without for any name."""
    whole = [re.compile(fnmatch.translate(pattern.strip("/")), re.DOTALL) for pattern in patterns if "/" in pattern]
    names = [re.compile(fnmatch.translate(pattern), re.DOTALL) for pattern in patterns if "/" not in pattern]
    return lambda path, name: any(pattern.match(path) for pattern in whole) or any(pattern.match(name) for pattern in names)


def data_of(descriptor, size):
    """Parts of a file that are no holes, as (offset, length)."""
    parts, position = [], 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            return [(0, size)]
        position = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        parts.append((start, position - start))
    return parts


def kind_of(mode):
    """Kind (str) of a st_mode."""
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    if stat.S_ISLNK(mode):
        return LINK
    return next((kind for kind, test in SPECIAL.items() if test(mode)), "unknown kind")


def scan(root, exclude=(), open_files=False):
    """All entries of a tree, the root as ".", in the order of their paths' bytes.

    :arg root: Root; :arg exclude: patterns, see excluded_by; :arg open_files: try whether each file can be read, too.
    :returns: ([Entry], [(path, reason)] of what can't be looked at). What vanishes meanwhile is no entry.
    """
    entries, problems, due = [], [], ["."]
    left_out = excluded_by(exclude)
    entries.append(_entry(root, ".", os.fstat(root.descriptor), None, "", open_files, problems))
    while due:
        path = due.pop()
        try:
            folder = root.folder(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                problems.append((path, error.strerror))
            continue
        try:
            for raw in os.listdir(folder):
                name = decoded(raw if isinstance(raw, bytes) else os.fsencode(raw))
                below = name if path == "." else path + "/" + name
                if left_out(below, name):
                    continue
                try:
                    status = os.stat(encoded(name), dir_fd=folder, follow_symlinks=False)
                    entry = _entry(root, below, status, folder, name, open_files, problems)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    problems.append((below, error.strerror))
                    continue
                entries.append(entry)
                if entry.kind == FOLDER:
                    due.append(below)
        except OSError as error:
            problems.append((path, error.strerror))
        finally:
            os.close(folder)
    return sorted(entries, key=lambda entry: encoded(entry.path)), problems


def _entry(root, path, status, folder, name, open_files, problems):
    kind, target, data = kind_of(status.st_mode), None, status.st_size
    attributes = []
    if kind == FOLDER and status.st_dev != root.device:
        kind = MOUNT
    elif kind == LINK:
        target = decoded(os.readlink(encoded(name), dir_fd=folder))
    elif kind == FILE and (open_files or status.st_blocks * 512 < status.st_size):
        try:
            descriptor = root.open(path)
            try:
                if status.st_blocks * 512 < status.st_size:
                    data = sum(length for unused, length in data_of(descriptor, status.st_size))
                if open_files and hasattr(os, "listxattr"):
                    attributes = _attributes(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise
        except (OSError, Changed) as error:
            if open_files:
                problems.append((path, getattr(error, "strerror", None) or str(error)))
    return Entry(path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
                 status.st_ino, status.st_nlink, data, target, attributes)


def _attributes(descriptor):
    try:
        # A label of SELinux belongs to the host.
        return [name for name in os.listxattr(descriptor) if name != "security.selinux"]
    except OSError:
        return []


def read_file(root, path, take):
    """Read a file once, from its first to its last byte, hashing it.

    :arg take: function of (offset, bytes-like or None, length), called for each part; None stands for zeros of a hole.
    :returns: (hex digest, key). :raises Changed: it changed while it was read.
    """
    descriptor = root.open(path)
    try:
        before = os.fstat(descriptor)
        sparse = before.st_blocks * 512 < before.st_size
        parts = data_of(descriptor, before.st_size) if sparse else [(0, before.st_size)]
        digest, position = hashlib.new(ALGORITHM), 0
        # One buffer for all of a large file: allocating each megabyte anew costs as much as hashing it.
        buffer = memoryview(bytearray(min(CHUNK, max(before.st_size, 1))))
        for start, length in parts + [(before.st_size, 0)]:
            while position < start:
                count = min(start - position, CHUNK)
                digest.update(memoryview(_ZEROS)[:count])
                take(position, None, count)
                position += count
            while length:
                count = os.preadv(descriptor, [buffer[:min(length, len(buffer))]], position)
                if not count:
                    raise Changed("became shorter while it was read")
                digest.update(buffer[:count])
                take(position, buffer[:count], count)
                position, length = position + count, length - count
        key = key_of_status(os.fstat(descriptor))
        if key != key_of_status(before):
            raise Changed("changed while it was read")
        return digest.hexdigest(), key
    finally:
        os.close(descriptor)


def hashed(root, path, advance=None):
    """(path, digest or None, key or None, problem or None) of one file."""
    try:
        digest, key = read_file(root, path, lambda offset, data, count: advance(count) if advance else None)
        return path, digest, key, None
    except FileNotFoundError:
        return path, None, None, "vanished"
    except (OSError, Changed) as error:
        return path, None, None, getattr(error, "strerror", None) or str(error)


def workers():
    """How many threads read and hash: hashlib and read release the interpreter's lock."""
    return max(2, min(8, os.cpu_count() or 2))


def hash_files(root, paths, advance=None):
    """hashed() of many files, several at once, in the order in which they were asked for."""
    with concurrent.futures.ThreadPoolExecutor(workers()) as pool:
        yield from pool.map(lambda path: hashed(root, path, advance), paths)


# -- on another host ----------------------------------------------------------------

def send_files(root, paths, write, limit=None):
    """Files as frames: a line of JSON each for {path}, {data: n} with n bytes after it, {hole: n}, and {digest, key} or {problem} at the end.

    :arg limit: bytes after which it stops, for a sample.
    """
    def line(document):
        write(json.dumps(document).encode("ascii") + b"\n")

    sent = [0]

    def take(unused, data, count):
        if data is None:
            line({"hole": count})
        else:
            line({"data": count})
            write(data)
            sent[0] += count

    for path in paths:
        if limit is not None and sent[0] >= limit:
            break
        line({"path": path})
        try:
            digest, key = read_file(root, path, take)
            line({"digest": digest, "key": key})
        except FileNotFoundError:
            line({"problem": "vanished"})
        except (OSError, Changed) as error:
            line({"problem": getattr(error, "strerror", None) or str(error)})
    line({"end": True})


def serve(request, write):
    """One request (dict) of the other host, answered to ``write``. The first line tells whether there is such a folder."""
    def line(document):
        write(json.dumps(document).encode("ascii") + b"\n")

    try:
        real = decoded(os.path.realpath(encoded(request["root"])))
        root = Root(real)
    except OSError as error:
        line({"absent": error.errno == errno.ENOENT, "reason": error.strerror})
        return
    with root:
        line({"root": real})
        if request["op"] == "scan":
            entries, problems = scan(root, request["exclude"], request["open_files"])
            for entry in entries:
                line(list(entry))
            line({"problems": problems})
        elif request["op"] == "hash":
            for found in hash_files(root, request["paths"]):
                line(list(found))
            line({"end": True})
        else:
            send_files(root, request["paths"], write, request.get("limit"))


def main():
    """A request (one line of JSON) from standard input, its answer to standard output."""
    out = sys.stdout.buffer
    serve(json.loads(sys.stdin.buffer.readline().decode("ascii")), out.write)
    out.flush()


if __name__ == "dockyard_agent":
    main()
