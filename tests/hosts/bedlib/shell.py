# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door through which the bed runs programs, and its few words to the person at the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from . import settings


class BedError(Exception):
    """Something that the person at the screen can mend; its text says what was found and what to do."""


def say(text: str) -> None:
    """One line for a person; on stderr, so that stdout stays for inventories and JSON."""
    print(f"bed: {text}", file=sys.stderr, flush=True)


def run(argv, *, check=True, stdin=None, env=None, timeout=None):
    """Run `argv`, capture both outputs as text; `stdin` may be text or bytes. BedError when it fails."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            [str(part) for part in argv], input=data, capture_output=True, timeout=timeout,
            env=dict(os.environ, **env) if env else None, check=False,
            **({} if data is not None else {"stdin": subprocess.DEVNULL}))
    except FileNotFoundError:
        raise BedError(f"the program {argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BedError(f"`{' '.join(map(str, argv))}` did not end within {timeout} s") from None
    done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if check and done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BedError(f"`{' '.join(map(str, argv))}` ended with {done.returncode}:\n{tail}")
    return done


def run_logged(argv, name, *, env=None):
    """Run a long command with its output in <cache>/logs/<name>.log; its last lines are in the BedError."""
    log = settings.cache() / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        done = subprocess.run(
            [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env=dict(os.environ, **env) if env else None, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-25:])
        raise BedError(f"`{' '.join(map(str, argv))}` ended with {done.returncode} (log: {log}):\n{tail}")


def as_root(argv):
    """The same command for root: unchanged when we are root, through sudo otherwise."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file beside its place and rename it into it, never more open than `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
    os.chmod(beside, mode)
    os.replace(beside, path)


@contextlib.contextmanager
def locked(name: str):
    """Only one thread of one bed does `name` at a time on this machine; the others wait."""
    path = settings.cache() / "locks" / name.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"waiting: {name} is being made already")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def wait_for(what: str, probe, seconds: float, pause: float = 0.2):
    """Call `probe` until it gives something true; BedError with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise BedError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
