# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are either the old or the new ones, whenever the run is killed; and a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import os
import stat
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.envfile import mask


def make_directory(path, mode):
    """A directory and those above it; the mode is set on the last one only, when it differs.

    :returns: bool, whether something was changed.
    """
    changed = False
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o755, exist_ok=True)
        changed = True
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)
        changed = True
    return changed


def write(path, content, mode, owner=None):
    """Write a file beside its place, flush it to the disk, rename it into place.

    :arg content: bytes.
    :arg mode: int, set before the content is written, so that it is never readable by more than that.
    :arg owner: (uid, gid) or None for the running user.
    :raises OSError: the target is as it was.
    """
    folder = os.path.dirname(path)
    # One name for each file: what a killed run left beside it, a secret perhaps, goes with the next run. Callers hold the lock.
    beside = os.path.join(folder, ".dockyard-%s" % os.path.basename(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), mode)
            if owner is not None:
                os.fchown(handle.fileno(), owner[0], owner[1])
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync_directory(folder)


def sync_directory(folder):
    """Flush a directory's entries to the disk, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def read(path):
    """The content of a regular file as bytes, or None when there is none."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def differs(path, content, mode, owner=None):
    """Whether a file is not there with exactly this content, mode and owner."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != mode:
        return True
    if owner is not None and (found.st_uid, found.st_gid) != owner:
        return True
    return read(path) != content


def unified(path, before, after):
    """A diff of one file for people; values of secret-looking variables are hidden.

    :arg before: bytes or None (no such file); :arg after: bytes or None (removed).
    :returns: str
    """
    def lines(content):
        if content is None:
            return []
        # Not splitlines(): it also splits at characters that a quoted value may hold, and would show the rest of a secret.
        text = content.decode("utf-8", "replace").split("\n")
        if text[-1] == "":
            text.pop()
        return [mask(line) for line in text] if path.endswith(".env") else text

    head = ("%s (absent)" % path if before is None else path, "%s (absent)" % path if after is None else path)
    body = list(difflib.unified_diff(lines(before), lines(after), head[0], head[1], lineterm="", n=1))
    if not body:
        body = ["--- %s" % head[0], "+++ %s" % head[1], " (the mode, the owner or a hidden value differs)"]
    return "\n".join(body) + "\n"


class Locked(Exception):
    """Somebody else holds the lock; the text names the holder."""


@contextlib.contextmanager
def lock(path, holder, timeout_seconds, sleep=time.sleep, clock=time.monotonic):
    """Hold an exclusive lock. The kernel releases it when the process ends, however it ends.

    :arg holder: str, one line that tells others who holds it.
    :raises Locked: after ``timeout_seconds``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = clock() + timeout_seconds
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if clock() >= deadline:
                    text = os.pread(descriptor, 500, 0).decode("utf-8", "replace").strip()
                    raise Locked(text or "an unknown run")
                sleep(0.5)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode("utf-8"), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
