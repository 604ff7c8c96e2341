# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading below a file system root: the real one on a host, a captured one in tests."""

from __future__ import annotations

import errno
import hashlib
import os


def reason(exc):
    """One sentence for an exception of a reader (str)."""
    if isinstance(exc, OSError):
        text = exc.strerror or str(exc)
        if exc.errno in (errno.EACCES, errno.EPERM):
            text += " (use become)"
        return "%s: %s" % (exc.filename, text) if exc.filename else text
    return str(exc) or type(exc).__name__


class Tree:
    """Files below `root` (str). Every path given is absolute as on the host ("/etc/os-release")."""

    def __init__(self, root="/"):
        self.root = root.rstrip("/")

    def path(self, path):
        """Where `path` is for the operating system (str)."""
        return self.root + path

    def data(self, path):
        """Content (bytes). Raises OSError."""
        with open(self.path(path), "rb") as handle:
            return handle.read()

    def text(self, path):
        """Content (str; bytes that are not UTF-8 are replaced). Raises OSError."""
        return self.data(path).decode("utf-8", "replace")

    def text_or_none(self, path):
        """Content (str), None when there is no such file. Raises OSError for everything else, a refused permission too."""
        try:
            return self.text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path):
        """Sorted names in a folder (list of str), [] when there is no such folder. Raises OSError for everything else."""
        try:
            return sorted(os.listdir(self.path(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path):
        """Whether the path leads to something (bool); a broken link does not. Raises PermissionError where it can't be told."""
        try:
            os.stat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def lexists(self, path):
        """As exists(), but a link counts wherever it leads."""
        try:
            os.lstat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def sha256(self, path):
        """Hex digest of a file (str). Raises OSError."""
        digest = hashlib.sha256()
        with open(self.path(path), "rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest()
