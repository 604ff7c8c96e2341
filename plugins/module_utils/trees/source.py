# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree that is copied from: on this host, or on another one through ssh. Both are asked the same, and neither is written to."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import shlex
import subprocess
import tempfile
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import agent
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import TreeError

HOST = "source"
# A network that is cut is noticed after a minute, and not after hours.
SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
# The agent's text comes first on the standard input, its length before it; then the request.
_START = ("import sys; i = sys.stdin.buffer; t = i.read(int(i.readline())); exec(compile(t, 'dockyard_agent', 'exec'), "
          "{'__name__': 'dockyard_agent'})")
_SAMPLE_BYTES = 64 * 10**6
_SAMPLE_S = 2.0


class SourceBroken(TreeError):
    """The other host does not answer, or no longer."""


class Absent(Exception):
    """There is no such folder."""


def reason_of(code, error):
    """What a command on the other host ended with, in a sentence (str). ``error``: the last of its standard error (str)."""
    last = " ".join(error.split())[-400:]
    if code == 255:
        return "ssh can't reach it: %s" % (last or "no words")
    # sudo ends with 1 whatever the reason.
    if code in (126, 127) or "command not found" in error:
        return "the program is not there: %s" % last
    if "sudo:" in error:
        return "sudo there refuses: %s" % last
    return "it ended with %s: %s" % (code, last or "no words")


class Local:
    """A tree on this host."""

    remote = False

    def __init__(self, path):
        self.path, self.where = path, path
        self.real = None

    def open(self):
        """The tree's root. :raises Absent: there is none. :raises TreeError: it is no folder."""
        try:
            self.real = agent.decoded(os.path.realpath(agent.encoded(self.path)))
            return agent.Root(self.real)
        except FileNotFoundError as error:
            raise Absent() from error
        except OSError as error:
            raise TreeError("%s: found %s; needed a folder that root can read; correct source" % (self.where, error.strerror)) from error

    def scan(self, exclude, open_files=False):
        """([Entry], problems). :raises Absent: there is no such folder."""
        with self.open() as root:
            return agent.scan(root, exclude, open_files)

    def hash(self, paths, advance=None):
        """hashed() of each path."""
        with self.open() as root:
            yield from agent.hash_files(root, paths, advance)

    def sample(self, paths):
        """Bytes per second at which files are read, or None when there is too little to tell."""
        started, count = time.monotonic(), 0
        with self.open() as root:
            for path in paths:
                if count >= _SAMPLE_BYTES or time.monotonic() - started > _SAMPLE_S:
                    break
                with contextlib.suppress(OSError, agent.Changed):
                    count += agent.read_file(root, path, lambda offset, data, length: None)[1][0]
        return rate_of(count, time.monotonic() - started)


def rate_of(count, seconds):
    """Bytes per second, or None when that was too little to tell."""
    return count / seconds if count >= 10**6 and seconds > 0 else None


class Remote:
    """A tree on the host that an ssh configuration calls ``source``."""

    remote = True

    def __init__(self, path, config, become, python):
        self.path, self.where = path, "%s on the source host" % path
        self.config, self.become, self.python = config, become, python
        self.real = None

    def ssh(self):
        """argv of ssh, without a host."""
        return ["ssh", "-F", self.config] + list(SSH_OPTIONS)

    def command(self, words):
        """argv that runs words on the other host."""
        return self.ssh() + [HOST, shlex.join((["sudo", "-n"] if self.become else []) + list(words))]

    def run(self, words):
        """(exit code, output) of a short command there. :raises SourceBroken: ssh does not reach it."""
        # pylint: disable-next=ansible-bad-function  # a stream of bytes, several gigabytes perhaps
        done = subprocess.run(self.command(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode == 255:
            raise self._broken(255, done.stderr.decode("utf-8", "replace"))
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def _broken(self, code, error):
        return SourceBroken("%s: the source host does not answer, or no longer: %s; needed ssh by %s, %s%s; nothing was changed there; mend it, "
                            "then run again: it goes on where it was"
                            % (self.where, reason_of(code, error), self.config, self.python, " as root by sudo -n" if self.become else ""))

    @contextlib.contextmanager
    def ask(self, **request):
        """The stream of an answer. :raises Absent, TreeError, SourceBroken: there is none, or it broke off."""
        text = importlib.util.find_spec(agent.__name__).loader.get_source(agent.__name__).encode("utf-8")
        with tempfile.TemporaryFile() as errors:
            # pylint: disable-next=ansible-bad-function  # a stream of bytes, several gigabytes perhaps
            process = subprocess.Popen(self.command([self.python, "-c", _START]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
            stopped = False
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(b"%d\n" % len(text) + text + json.dumps(dict(request, root=self.path)).encode("ascii") + b"\n")
                    process.stdin.close()
                first = self._line(process.stdout)
                if first.get("absent"):
                    raise Absent()
                if "reason" in first:
                    raise TreeError("%s: found %s; needed a folder that root can read; correct source" % (self.where, first["reason"]))
                self.real = first["root"]
                yield process.stdout
                stopped = True
            except EOFError as error:
                # It is about to end by itself, and then its code tells why.
                try:
                    code = process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    code = process.wait()
                errors.seek(0)
                raise self._broken(code, errors.read().decode("utf-8", "replace")) from error
            finally:
                # Somebody who has read enough closes; the program there ends by its broken pipe.
                process.stdout.close()
                if not stopped and process.poll() is None:
                    process.kill()
                with contextlib.suppress(OSError):
                    process.stdin.close()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    @staticmethod
    def _line(stream):
        text = stream.readline()
        if not text.endswith(b"\n"):
            raise EOFError()
        try:
            return json.loads(text.decode("ascii"))
        except ValueError as error:
            # A greeting of the login shell, say.
            raise TreeError("the source host: found an answer that is none of ours: %r; needed a shell that prints nothing by itself; "
                            "nothing was changed; mend its profile" % text[:200]) from error

    def lines(self, stream):
        """The documents of an answer, up to the one that ends it (a dict), which comes last."""
        while True:
            document = self._line(stream)
            yield document
            if isinstance(document, dict):
                return

    def scan(self, exclude, open_files=False):
        """See Local.scan."""
        entries, problems = [], []
        with self.ask(op="scan", exclude=list(exclude), open_files=open_files) as stream:
            for document in self.lines(stream):
                if isinstance(document, dict):
                    problems = [tuple(problem) for problem in document["problems"]]
                else:
                    entries.append(agent.Entry(*document))
        return entries, problems

    def hash(self, paths, advance=None):
        """See Local.hash; ``advance`` gets whole files."""
        with self.ask(op="hash", paths=list(paths)) as stream:
            for document in self.lines(stream):
                if not isinstance(document, dict):
                    if advance and document[2]:
                        advance(document[2][0])
                    yield tuple(document)

    def frames(self, stream):
        """Documents of files that are sent, see agent.send_files; the bytes after {data: n} are the caller's to read by read()."""
        while True:
            document = self._line(stream)
            if "end" in document:
                return
            yield document

    @staticmethod
    def read(stream, count):
        """Exactly ``count`` bytes."""
        data = stream.read(count)
        if len(data) != count:
            raise EOFError()
        return data

    def sample(self, paths):
        """See Local.sample: over the network, so the slower of both is measured."""
        started, count = None, 0
        with self.ask(op="send", paths=list(itertools.islice(paths, 500)), limit=_SAMPLE_BYTES) as stream:
            for document in self.frames(stream):
                started = started or time.monotonic()
                if "data" in document:
                    count += len(self.read(stream, document["data"]))
                if time.monotonic() - started > _SAMPLE_S:
                    break
        return rate_of(count, time.monotonic() - started) if started else None
