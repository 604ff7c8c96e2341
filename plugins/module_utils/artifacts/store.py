# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a host: where objects, partial downloads, receipts and sets are, and who may change them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import receipts
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import ALGORITHMS, split_digest

DEFAULT_PATH = "/var/lib/dockyard/artifacts"
OBJECT_MODE = 0o444
_FOLDER_MODE = 0o755
# Others may pass through it to a file of theirs (uploads), not list it.
_PARTIAL_MODE = 0o711
_SET_PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
SET_NEEDED = "letters, digits, - and _"
_POLL_S = 0.2


def set_fault(owner, name):
    """What is wrong with the names of a set (str), None when they can be folders."""
    for value in (owner, name):
        if not isinstance(value, str) or not _SET_PART.match(value):
            return "the name %r" % (value,)
    return None


def lstat(path):
    """os.lstat() or None when there is nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def sync_folder(path):
    """Renames and new names in a folder are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that can't do it for folders
            raise
    finally:
        os.close(descriptor)


def write_atomically(path, text, mode=0o644):
    """A small file, whole or not at all. Not synced: what is lost with the power is made again."""
    # One name for all times: what a killed run left is used up by the next. The lock keeps two from writing at once.
    temporary = path + ".tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            os.fchmod(handle.fileno(), mode)
            handle.write(text)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_dict(path):
    """A JSON object of a file (dict); None when it is not there or none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return receipts.parse(handle.read())
    except (FileNotFoundError, NotADirectoryError):
        return None


class Store:
    """Paths and small records below one folder. Digests are "<algorithm>:<hex>"."""

    def __init__(self, path=DEFAULT_PATH):
        self.path = path

    # ---- where things are -----------------------------------------------------------------------------------------------

    def object_path(self, digest):
        """Where an object is (str)."""
        algorithm, digits = split_digest(digest)
        return os.path.join(self.path, algorithm, digits[:2], digits)

    def partial_path(self, digest):
        """Where a download of it is (str)."""
        return os.path.join(self.path, "partial", "%s-%s" % split_digest(digest))

    def receipt_path(self, digest):
        """Where its receipt is (str)."""
        algorithm, digits = split_digest(digest)
        return os.path.join(self.path, "receipts", algorithm, digits[:2], digits + ".json")

    def destination_path(self, path):
        """Where the record of a single placed file is (str)."""
        import hashlib  # pylint: disable=import-outside-toplevel  # only for files with destinations
        return os.path.join(self.path, "receipts", "destinations", hashlib.sha256(os.fsencode(path)).hexdigest()[:40] + ".json")

    def set_path(self, owner, name, identity=""):
        """Where a set is (str); without identity the folder of all its versions."""
        return os.path.join(self.path, "sets", owner, name, identity) if identity else os.path.join(self.path, "sets", owner, name)

    def description_path(self, owner, name, identity):
        """Where a set's description is (str)."""
        return self.set_path(owner, name, identity) + ".json"

    def manifest_path(self, owner, name):
        """Where the version of the last manifest of a set is (str)."""
        return self.set_path(owner, name) + ".json"

    # ---- objects --------------------------------------------------------------------------------------------------------

    def receipt(self, digest):
        """Receipt of an object (dict) or None."""
        return read_dict(self.receipt_path(digest))

    def write_receipt(self, digest, status):
        """Record that an object was verified, as os.stat_result."""
        path = self.receipt_path(digest)
        self.folder(os.path.dirname(path))
        write_atomically(path, json.dumps(receipts.receipt_of(status, time.time())))

    def drop_receipt(self, digest):
        """An object is not what its name says, or gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.receipt_path(digest))

    def state(self, digest):
        """(state, os.stat_result): "verified" by its receipt, "unverified" when it would have to be read, "missing"; "foreign" when it is no file."""
        status = lstat(self.object_path(digest))
        if status is None:
            return "missing", None
        if not stat.S_ISREG(status.st_mode):
            return "foreign", status
        return ("verified" if receipts.is_true(self.receipt(digest), status) else "unverified"), status

    def adopt(self, descriptor, path, digest, count):
        """A verified file (open, at ``path`` in the store's file system) becomes the object, at once and for good. Its receipt is written.

        ``count``: the bytes that were hashed. A file that somebody changes meanwhile is refused: ArtifactsError.
        """
        target = self.object_path(digest)
        self.folder(os.path.dirname(target))
        before = os.fstat(descriptor)
        changed = refuse(path, "a file that somebody changed while it was verified", "nobody who writes to it meanwhile", "the source's path")
        if before.st_size != count:
            raise changed
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, OBJECT_MODE)
        os.fsync(descriptor)
        os.rename(path, target)
        there, here = os.lstat(target), os.fstat(descriptor)
        # The folder it came from may belong to somebody who put another file there in this very moment, or still has this one open.
        if (there.st_ino, there.st_dev, here.st_size, here.st_mtime_ns) != (here.st_ino, here.st_dev, count, before.st_mtime_ns):
            os.unlink(target)
            raise changed
        sync_folder(os.path.dirname(target))
        self.write_receipt(digest, here)

    # ---- sets -----------------------------------------------------------------------------------------------------------

    def description(self, owner, name, identity):
        """What a set holds (dict) or None."""
        return read_dict(self.description_path(owner, name, identity))

    def sets(self):
        """[(owner, name, id)] of all sets that have a description or a folder, sorted."""
        found = set()
        base = os.path.join(self.path, "sets")
        for owner in names(base):
            for name in names(os.path.join(base, owner)):
                for entry in names(os.path.join(base, owner, name)):
                    identity = entry[:-len(".json")] if entry.endswith(".json") else entry
                    if re.match(r"^[0-9a-f]{16}\Z", identity):
                        found.add((owner, name, identity))
        return sorted(found)

    def objects(self):
        """(digest, os.stat_result) of each object, one by one."""
        for algorithm in ALGORITHMS:
            base = os.path.join(self.path, algorithm)
            for folder in names(base):
                for entry in names(os.path.join(base, folder)):
                    status = lstat(os.path.join(base, folder, entry))
                    if status is not None and len(entry) == ALGORITHMS[algorithm] and entry.startswith(folder):
                        yield "%s:%s" % (algorithm, entry), status

    # ---- folders and the lock -------------------------------------------------------------------------------------------

    def folder(self, path, mode=_FOLDER_MODE):
        """Make a folder of the store and those above it. Raises ArtifactsError when a symbolic link or a file is in the way."""
        status = lstat(path)
        if status is not None:
            if stat.S_ISDIR(status.st_mode):
                return
            if path == self.path and os.path.isdir(path):
                return  # the operator may have put the store elsewhere by a link
            raise refuse(path, "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a file", "a folder of the store",
                         "remove what is there, or the option store")
        parent = os.path.dirname(path)
        if parent != path and lstat(parent) is None or path.startswith(self.path + "/"):
            self.folder(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
            os.chmod(path, mode)

    def prepare(self):
        """Make the folders of the store. Raises ArtifactsError, OSError."""
        self.folder(self.path)
        self.folder(os.path.join(self.path, "partial"), _PARTIAL_MODE)

    @contextlib.contextmanager
    def lock(self, holder, timeout_s, sleep=time.sleep, clock=time.monotonic):
        """Only one changes the store at a time. The lock goes with its holder, however that ends. Raises ArtifactsError after ``timeout_s``."""
        self.prepare()
        path = os.path.join(self.path, "lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            end = clock() + timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as exc:
                    if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise
                    if clock() >= end:
                        raise refuse(path, "held for more than %g s by %s" % (timeout_s, self.lock_holder()), "that this run ends",
                                     "lock_timeout_seconds") from exc
                    sleep(_POLL_S)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": holder, "pid": os.getpid(), "since_epoch_s": int(time.time())}).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def lock_holder(self):
        """Who wrote its name into the lock last (str)."""
        found = read_dict(os.path.join(self.path, "lock")) or {}
        return "%s (process %s)" % (found.get("holder", "somebody"), found.get("pid", "unknown"))


def names(path):
    """Sorted names in a folder; [] when there is none."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
