# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes on their way: into a hash and into a file at the same time, without copies."""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import threading

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import refuse

# Large enough that Python's own work for a block is lost beside hashing it (about 0.7 ms), small enough for many at once.
BLOCK_BYTES = 1 << 20
# One block being filled, one being hashed, one in hand over.
_BLOCKS = 3
# The kernel is told to write after so many bytes; else it waits for seconds, and the fsync at the end pays for all of it.
WRITE_BACK_BYTES = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2
# So much stays free for the rest of the host; looked at after each so many bytes.
RESERVE_BYTES = 64 << 20
_LOOK_BYTES = 64 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Hasher:
    """A hash that is fed by blocks: ``buffer()`` gives one to fill, ``feed()`` takes it. With ``threaded`` the hashing runs beside the filling."""

    def __init__(self, algorithm, threaded):
        self._hash = hashlib.new(algorithm)
        self._threaded = threaded
        self._thread = None
        self._free, self._full = queue.SimpleQueue(), queue.SimpleQueue()
        for unused in range(_BLOCKS if threaded else 1):
            self._free.put(memoryview(bytearray(BLOCK_BYTES)))
        self.count = 0

    def buffer(self):
        """A block (memoryview) that nobody reads any more. Waits for the hash to catch up."""
        return self._free.get()

    def feed(self, view, count):
        """Hash the first ``count`` bytes of a block that came from buffer(). It may be read, not changed, until the next buffer()."""
        self.count += count
        if not self._threaded:
            self._hash.update(view[:count])
            self._free.put(view)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._full.put((view, count))

    def give_back(self, view):
        """A block that was not filled."""
        self._free.put(view)

    def hexdigest(self):
        """Hex digest (str) of all that was fed. Feeding may go on afterwards."""
        self.close()
        return self._hash.hexdigest()

    def close(self):
        """Wait until all that was fed is hashed, and end the thread."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def restart(self):
        """Forget what was fed."""
        self.close()
        self._hash = hashlib.new(self._hash.name)
        self.count = 0

    def _work(self):
        while True:
            item = self._full.get()
            if item is None:
                return
            self._hash.update(item[0][:item[1]])
            self._free.put(item[0])


def free_bytes(path):
    """Bytes (int) that a program without special rights may still write in the file system of a path."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def write_all(descriptor, view):
    """Write all of a memoryview. The one door for data of downloads and copies. Raises OSError."""
    while len(view):
        count = os.write(descriptor, view)
        if count == len(view):
            return
        view = view[count:]


class WriteBack:
    """Makes the kernel write a file while it grows. Does nothing where the C library can't."""

    _function = None

    def __init__(self, descriptor, start=0):
        self._descriptor, self._from, self._to = descriptor, start, start

    def wrote(self, count):
        """``count`` bytes more were appended."""
        self._to += count
        if self._to - self._from >= WRITE_BACK_BYTES:
            self._ask(self._descriptor, self._from, self._to - self._from, _SYNC_FILE_RANGE_WRITE)
            self._from = self._to

    @classmethod
    def _ask(cls, *arguments):
        if cls._function is None:
            try:
                import ctypes  # pylint: disable=import-outside-toplevel  # some small Pythons have none
                cls._function = ctypes.CDLL(None).sync_file_range
                cls._function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
            except (ImportError, AttributeError, OSError):
                cls._function = lambda *unused: -1
        cls._function(*arguments)


class Sink:
    """A file that is being filled: what is written to it is hashed in the same pass. It is kept when the filling is broken off, for the next run to go on.

    Raises ArtifactsError when the disk is full (the file is then removed, to give its space back), OSError for other faults of the disk.
    """

    def __init__(self, path, algorithm, threaded=True, where="", setting="", exclusive=False):
        self.path, self.algorithm, self.where, self.setting = path, algorithm, where, setting
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if exclusive else 0)
        self.descriptor = os.open(path, flags, 0o600)
        os.fchmod(self.descriptor, 0o600)
        self._hasher = Hasher(algorithm, threaded)
        self._back = WriteBack(self.descriptor)
        self._look_at = _LOOK_BYTES
        self.reused = 0

    @property
    def size(self):
        """Bytes (int) in it."""
        return self._hasher.count

    def resume(self, limit, advance=lambda count: None):
        """Hash what an earlier run left; nothing is kept of a file larger than ``limit`` bytes (None: any). Returns the bytes that stay."""
        size = os.fstat(self.descriptor).st_size
        if limit is not None and size > limit:
            self.restart()
            return 0
        position = 0
        while position < size:
            view = self._hasher.buffer()
            count = os.preadv(self.descriptor, [view], position)
            if not count:
                self._hasher.give_back(view)
                break
            self._hasher.feed(view, count)
            position += count
            advance(count)
        os.lseek(self.descriptor, position, os.SEEK_SET)
        self._back = WriteBack(self.descriptor, position)
        self.reused = position
        return position

    def restart(self):
        """Throw away what is in it."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self._hasher.restart()
        self._back = WriteBack(self.descriptor)
        self.reused = 0

    def buffer(self):
        """A block (memoryview) to fill and to give to put() or give_back()."""
        return self._hasher.buffer()

    def give_back(self, view):
        """A block that was not filled."""
        self._hasher.give_back(view)

    def put(self, view, count):
        """Append the first ``count`` bytes of a block of buffer()."""
        before = self._hasher.count
        self._hasher.feed(view, count)
        try:
            write_all(self.descriptor, view[:count])
            if self.size >= self._look_at:
                self._look_at = self.size + _LOOK_BYTES
                if free_bytes(self.path) < RESERVE_BYTES:
                    raise OSError(errno.ENOSPC, "less than %d MiB are left" % (RESERVE_BYTES >> 20))
        except OSError as exc:
            raise self._full(exc, before) from exc
        self._back.wrote(count)

    def _full(self, exc, before):
        """The exception for an OSError: a full disk is told, and gets its space back."""
        if exc.errno not in FULL:
            return exc
        self._hasher.close()
        self.remove()
        os.ftruncate(self.descriptor, 0)
        return refuse(self.where or self.path, "no space left on %s after %d bytes (%s)" % (os.path.dirname(self.path), before, exc.strerror),
                      "enough free space; what was written was removed", self.setting or "free space, or the option store")

    def hexdigest(self):
        """Hex digest (str) of all that is in it."""
        return self._hasher.hexdigest()

    def sync(self):
        """All of it is on the disk when this returns."""
        try:
            os.fsync(self.descriptor)
        except OSError as exc:
            raise self._full(exc, self.size) from exc

    def remove(self):
        """Remove the file."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def close(self):
        """Let go of it; the file stays."""
        self._hasher.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def hash_file(descriptor, algorithm, threaded=True, advance=lambda count: None):
    """(hex digest, bytes) of an open file, from its beginning.

    Its clean pages are dropped from the cache first: a fault of the disk is not seen in memory.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    hasher, position = Hasher(algorithm, threaded), 0
    while True:
        view = hasher.buffer()
        count = os.preadv(descriptor, [view], position)
        if not count:
            break
        hasher.feed(view, count)
        position += count
        advance(count)
    return hasher.hexdigest(), position
