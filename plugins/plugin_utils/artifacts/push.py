# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends files of the controller to a host while the module there reads and verifies what arrives.

Over ssh each large file is the standard input of `cat` on the host: neither side copies a byte in Python, the work is ssh's alone. Measured for 1 GiB on
the test machine against `rsync` over the same connection: cat 0.5 to 0.6 of its time, ansible's put_file (sftp) 0.8, a receiver in Python 0.7. A session
costs some 50 ms, so that small files travel together in one. Other connections have put_file only.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import time

from ansible.errors import AnsibleError

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import printable

# Below this a session of its own costs more than the sending.
SMALL_BYTES = 4 * 1024 * 1024
# A wrong file on a slow link is noticed by reading it here meanwhile. A fast link is done before that would pay, and ssh needs the processor.
SUSPECT_AFTER_S = 3.0
SUSPECT_LEFT_S = 10.0
# Between attempts, doubled each time.
_BACKOFF_S = 1.0

# Reads one line of JSON, [[path, offset, bytes], ...], then the bytes. It runs as the user of the connection, who owns these files and nothing else there.
_RECEIVER = """\
import json, os, sys
b = memoryview(bytearray(262144))
line = b""
while not line.endswith(b"\\n"):
    c = os.read(0, 1)
    if not c:
        sys.exit("no list of files")
    line += c
for path, offset, left in json.loads(line.decode()):
    f = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    os.ftruncate(f, offset)
    os.lseek(f, offset, 0)
    while left:
        n = os.readv(0, [b[:min(left, len(b))]])
        if not n:
            sys.exit("the sender went away")
        os.write(f, b[:n])
        left -= n
    os.close(f)
"""


class Parcel:
    """One file on its way: ``local`` path, ``remote`` path, ``size`` in bytes, ``offset``: what is there already, ``digest`` that it must have."""

    def __init__(self, name, local, remote, size, offset, digest):
        self.name, self.local, self.remote, self.size, self.digest = name, local, remote, size, digest
        self.offset = offset if 0 <= offset <= size else 0


class WrongFile(Exception):
    """A file of the controller that has another digest than wanted; ``parcel`` and ``found`` (str)."""

    def __init__(self, parcel, found):
        super().__init__(parcel.name)
        self.parcel, self.found = parcel, found


def batches(parcels):
    """The parcels in sessions (list of lists): each large one alone, the largest first as the host reads them, then all small ones together."""
    ordered = sorted(parcels, key=lambda parcel: -parcel.size)
    small = [parcel for parcel in ordered if parcel.size < SMALL_BYTES]
    return [[parcel] for parcel in ordered if parcel.size >= SMALL_BYTES] + ([small] if small else [])


def _option(connection, name):
    try:
        return connection.get_option(name)
    except (AnsibleError, KeyError):
        return None


def ssh_command(connection):
    """A function that makes the argv of a remote command over the connection's own ssh options, or None where that can't be had."""
    if not str(getattr(connection, "transport", "")).endswith("ssh") or not hasattr(connection, "_build_command"):
        return None
    # A password goes to ssh by a pipe of the plugin's own making, which a second process can't share.
    if _option(connection, "password") or _option(connection, "private_key_passphrase"):
        return None
    try:
        executable, host = connection.get_option("ssh_executable"), connection.host
        # pylint: disable-next=protected-access  # there is no public name for it; where it goes, put_file does the work
        connection._build_command(executable, "ssh", host, "true")
    except (AnsibleError, AttributeError, KeyError, TypeError):
        return None
    # pylint: disable-next=protected-access
    return lambda command: connection._build_command(executable, "ssh", host, command)


def user_of(connection):
    """The user (str) that the connection logs in as, or None when only the host knows."""
    if not str(getattr(connection, "transport", "")).endswith("ssh"):
        return None
    return _option(connection, "remote_user") or None


class Sender:
    """Sends parcels over ssh in a thread. What goes wrong is in ``problem`` after the end (an exception or None)."""

    def __init__(self, argv_of, parcels, digests, retries=4, python="python3"):
        self._python = python
        # All argv now, in the main thread: making one changes the connection.
        self._sessions = [(batch, argv_of(self._command(batch)), argv_of(self._question(batch))) for batch in batches(parcels)]
        self._digests, self._retries = digests, retries
        self._process, self._stopped, self._lock = None, False, threading.Lock()
        self.problem = None
        self._thread = threading.Thread(target=self._run, name="artifacts-push", daemon=True)

    def _command(self, batch):
        if len(batch) == 1:
            return "exec cat >> %s" % shlex.quote(batch[0].remote)
        return "exec %s -c %s" % (shlex.quote(self._python), shlex.quote(_RECEIVER))

    @staticmethod
    def _question(batch):
        return "exec stat -c %%s %s" % " ".join(shlex.quote(parcel.remote) for parcel in batch)

    def start(self):
        """Begin to send."""
        self._thread.start()

    def stop(self):
        """End it, whether all is sent or not; returns when the thread is gone."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _run(self):
        try:
            for batch, command, question in self._sessions:
                self._deliver(batch, command, question)
        # A thread has nobody to raise to; the action asks for it.
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.problem = problem

    def _deliver(self, batch, command, question):
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(_BACKOFF_S * 2 ** (attempt - 1))
                self._look(batch, question)
            if self._stopped:
                return
            code, said = self._send(batch, command)
            if code == 0 or self._stopped:
                return
        raise OSError("ssh ended with %s: %s" % (code, printable(said) or "no word"))

    def _look(self, batch, question):
        """Where a retry has to go on."""
        done = subprocess.run(question, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            for parcel, size in zip(batch, done.stdout.split()):
                parcel.offset = min(int(size), parcel.size)

    def _open(self, command, stdin):
        with self._lock:
            if self._stopped:
                return None
            self._process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
            return self._process

    def _send(self, batch, command):
        """(exit code, what ssh said) of one session."""
        if len(batch) > 1:
            return self._send_together(batch, command)
        parcel = batch[0]
        with open(parcel.local, "rb", buffering=0) as stream:
            # ssh goes on where the descriptor stands.
            stream.seek(parcel.offset)
            process = self._open(command, stream)
            if process is None:
                return 0, ""
            with process:
                self._watch(parcel, process, stream)
                code, said = process.wait(), process.stderr.read().decode(errors="replace")
            if code == 0 and os.fstat(stream.fileno()).st_size != parcel.size:
                raise OSError("%s changed while it was sent" % parcel.local)
            return code, said

    def _watch(self, parcel, process, stream):
        """Until the session ends, or until it is long enough for a look at the file that is sent."""
        begun = time.monotonic()
        while True:
            try:
                process.wait(SUSPECT_AFTER_S)
                return
            except subprocess.TimeoutExpired:
                # ssh reads by the same open file, so its position is how far the sending is.
                sent = os.lseek(stream.fileno(), 0, os.SEEK_CUR) - parcel.offset
                left = parcel.size - parcel.offset - sent
                if left * (time.monotonic() - begun) > SUSPECT_LEFT_S * sent:
                    self._suspect(parcel, process)
                    return

    def _suspect(self, parcel, process):
        found = self._digests.compute(parcel.local, parcel.digest.partition(":")[0], lambda: process.poll() is not None)
        if found not in (None, parcel.digest):
            process.kill()
            raise WrongFile(parcel, found)

    def _send_together(self, batch, command):
        process = self._open(command, subprocess.PIPE)
        if process is None:
            return 0, ""
        with process:
            try:
                header = [[parcel.remote, parcel.offset, parcel.size - parcel.offset] for parcel in batch]
                process.stdin.write(json.dumps(header).encode() + b"\n")
                process.stdin.flush()
                for parcel in batch:
                    self._pour(parcel, process.stdin.fileno())
                process.stdin.close()
            except BrokenPipeError:
                pass
            return process.wait(), process.stderr.read().decode(errors="replace")

    @staticmethod
    def _pour(parcel, pipe):
        with open(parcel.local, "rb", buffering=0) as stream:
            stream.seek(parcel.offset)
            left = parcel.size - parcel.offset
            while left:
                block = stream.read(min(left, 262144))
                if not block:
                    raise OSError("%s changed while it was sent" % parcel.local)
                view = memoryview(block)
                while view:
                    view = view[os.write(pipe, view):]
                left -= len(block)
