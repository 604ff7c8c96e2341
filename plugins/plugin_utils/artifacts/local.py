# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller: where a {"file"} source is, and its digest, which is computed once for as long as the file stays as it is."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest

_BLOCK_BYTES = 1024 * 1024


def cache_folder():
    """The controller's folder for verified files and known digests (str)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "dockyard-fleet", "artifacts")


def find(relative, folders):
    """Path of the file (str) in the first of the folders that has it, or None."""
    for folder in folders:
        path = os.path.join(folder, relative)
        if os.path.isfile(path):
            return path
    return None


def state_of(path):
    """What tells that a file was not touched since (dict). Raises OSError."""
    status = os.stat(path)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino, "device": status.st_dev}


def write_atomically(path, text, mode=0o600):
    """Put a text under a name, whole or not at all."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(handle, mode)
            stream.write(text)
            stream.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def exclusive(path):
    """Hold a lock file; the kernel releases it with the process."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Digests:
    """Digests of the controller's files, kept by what stat says of them, one small file each."""

    def __init__(self, folder):
        self._folder = os.path.join(folder, "known")

    def _path(self, path):
        return os.path.join(self._folder, hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest() + ".json")

    def _read(self, path):
        try:
            with open(self._path(path), encoding="utf-8") as stream:
                entry = json.load(stream)
            return entry if isinstance(entry, dict) and isinstance(entry.get("digests"), dict) else None
        except (OSError, ValueError):
            return None

    def known(self, path, algorithm):
        """The digest (str, algorithm:hex) if it was computed since the file last changed, or None."""
        entry = self._read(path)
        if entry is None or entry.get("state") != state_of(path):
            return None
        digits = entry["digests"].get(algorithm)
        return "%s:%s" % (algorithm, digits) if digits else None

    def remember(self, path, state, digest):
        """Note a digest that was found while the file was in ``state``."""
        if state_of(path) != state:
            return
        entry = self._read(path)
        digests = entry["digests"] if entry and entry.get("state") == state else {}
        algorithm, digits = split_digest(digest)
        write_atomically(self._path(path), json.dumps({"state": state, "digests": dict(digests, **{algorithm: digits})}))

    def compute(self, path, algorithm, stop=lambda: False):
        """The digest (str); reads the file only if it changed since the last time. None when ``stop()`` became true.

        :raises OSError: not readable.
        """
        with exclusive(self._path(path)[:-len(".json")] + ".lock"):
            found = self.known(path, algorithm)
            if found:
                return found
            state, hasher, buffer = state_of(path), hashlib.new(algorithm), memoryview(bytearray(_BLOCK_BYTES))
            with open(path, "rb", buffering=0) as stream:
                while not stop():
                    count = stream.readinto(buffer)
                    if not count:
                        break
                    hasher.update(buffer[:count])
                else:
                    return None
            digest = "%s:%s" % (algorithm, hasher.hexdigest())
            self.remember(path, state, digest)
            return digest
