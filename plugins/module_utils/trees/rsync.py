# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to rsync. What is to be copied is decided elsewhere: rsync gets a list of names and brings exactly those."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import delta
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import encoded

# 3.1.0 brought --chown and --info, 3.0 the protected arguments.
LEAST = (3, 1)
VANISHED = 24
_VERSION = re.compile(r"rsync\s+version v?(\d+)\.(\d+)")
_DONE = re.compile(rb"^\s*([\d,]+)\s+\d+%")


def version_of(text):
    """(major, minor) in what ``rsync --version`` prints, or None."""
    found = _VERSION.search(text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def is_usable(text):
    """Whether the rsync that prints this is new enough (bool)."""
    return (version_of(text) or (0, 0)) >= LEAST


def argv(source, destination, owner=None):
    """The command (list of str). The names come by standard input, each with a NUL after it.

    :arg source: Local or Remote, its real root known; :arg owner: (uid, gid) or None.
    """
    words = ["rsync", "-lptgoHS", "--numeric-ids", "--ignore-times", "--whole-file" if not source.remote else "--no-whole-file", "--from0", "--files-from=-",
             "--no-implied-dirs", "--temp-dir=%s" % os.path.join(destination, delta.WORK), "--partial-dir=%s" % delta.PARTIAL, "--info=progress2,name0",
             "--outbuf=L", "--timeout=120", "--protect-args"]
    if owner:
        words.append("--chown=%d:%d" % owner)
    if source.remote:
        words += ["--rsh", shlex.join(source.ssh()), "--rsync-path", "sudo -n rsync" if source.become else "rsync"]
    return words + [("source:" if source.remote else "") + os.path.join(source.real, ""), os.path.join(destination, "")]


def bytes_done(line):
    """Bytes (int) that a line of --info=progress2 (bytes) tells, or None."""
    found = _DONE.match(line)
    return int(found.group(1).replace(b",", b"")) if found else None


def run(words, paths, progress=None):
    """Bring the paths. :returns: (exit code, the last of what it complained of).

    :arg progress: function of the bytes done so far.
    """
    with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as errors:
        names.write(b"".join(encoded(path) + b"\0" for path in paths))
        names.seek(0)
        # pylint: disable-next=ansible-bad-function  # its output is followed while it runs
        process = subprocess.Popen([word if isinstance(word, bytes) else encoded(word) for word in words], stdin=names, stdout=subprocess.PIPE, stderr=errors,
                                   env=dict(os.environ, LC_ALL="C"))
        try:
            pending = b""
            while True:
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    break
                lines = (pending + part).replace(b"\r", b"\n").split(b"\n")
                pending = lines.pop()
                done = [count for count in map(bytes_done, lines) if count is not None]
                if done and progress:
                    progress(done[-1])
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
        errors.seek(0)
        return code, errors.read().decode("utf-8", "replace")[-2000:]
