# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a native application still for no longer than somebody renews it.

One file and nothing but Python's standard library: module ``native_units`` imports it, and puts it on hosts as ``migration_lease.py``, where systemd runs it.
A run that is killed, or a network that is cut, leaves nobody to start the application again; this does. ``watch`` waits for the end of the lease; ``boot`` is
for a host that went down in the middle: its native units come up by themselves, and containers that were being released must not serve beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time

POLL_SECONDS = 1.0
# Commands of ours; a unit may take long to start, and is waited for.
COMMAND_SECONDS = 300
UNRENEWED = "nobody renewed the freeze in time"
# While it is in one of these, the application stands still. "switched": the containers serve for good. "broken": the application serves, or is about to.
HELD = ("frozen", "switching")
START_ATTEMPTS = 5


def now():
    """Seconds since the host's start, sleep included: nobody can set this clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def read(path):
    """The lease as a dict, or None when there is none. :raises OSError, ValueError: it can't be read, which is not the same."""
    try:
        with open(path, encoding="utf-8") as handle:
            found = json.load(handle)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(found, dict):
        raise ValueError("%s: found no object; needed a lease" % path)
    return found


def holds(lease):
    """Whether by this lease the application stands still since the freeze, this start of the host included."""
    return bool(lease) and lease["state"] in HELD and lease["boot_id"] == boot_id()


def write(path, lease):
    """Write the lease so that it is whole, on the disk, and for root alone."""
    beside = "%s.%d.%d" % (path, os.getpid(), threading.get_ident())
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            json.dump(lease, handle, sort_keys=True)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


@contextlib.contextmanager
def alone(path):
    """Nobody else changes the lease meanwhile; the kernel lets go when the process ends."""
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def begin(path, lease):
    """A new freeze. What is left of an earlier one ends with it, for each has a name of its own."""
    with alone(path):
        write(path, dict(lease, id=os.urandom(8).hex(), boot_id=boot_id()))


def renew(path, seconds, state=None, identity=None):
    """Let the lease go on for so long from now, in another state where one is given.

    :arg identity: of the freeze that is meant; another one began after the application had served again.
    :returns: bool; False when it has ended, and the application may be writing again.
    """
    if not os.path.isdir(os.path.dirname(path)):
        return False
    with alone(path):
        lease = read(path)
        if not holds(lease) or identity not in (None, lease.get("id")):
            return False
        # Never shorter: the switch has a longer one than those who renew it in between.
        until = max(now() + seconds, lease["until"] if lease["state"] == "switching" else 0)
        write(path, dict(lease, until=until, state=state or lease["state"]))
        return True


def switch(path):
    """The one step after which the containers serve, whatever happens. :returns: bool; False when the lease has ended."""
    if not os.path.isdir(os.path.dirname(path)):
        return False
    with alone(path):
        lease = read(path)
        if not holds(lease):
            return False
        write(path, dict(lease, state="switched"))
        return True


def end(path, reason):
    """Break the lease, if it is not yet. :returns: dict, as it was, or None when there was none to break."""
    with alone(path):
        lease = read(path)
        if lease is None or lease["state"] == "broken":
            return None
        _break(path, lease, reason)
        return lease


def _break(path, lease, reason):
    try:
        write(path, dict(lease, state="broken", was=lease["state"], reason=reason))
    except OSError:
        # A full disk must not keep the application from serving; without a file nobody renews it either.
        with contextlib.suppress(OSError):
            os.unlink(path)


def boot_id():
    """What tells one start of the host from another."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


class Renewer:
    """Renews a lease in a thread of its own, as long as a piece of work takes. ``path`` may be empty: then it does nothing.

    ``held`` says at the end whether the application stood still all the time.
    """

    def __init__(self, path, seconds=120, interval=10.0):
        self.path, self.seconds, self.interval = path, seconds, min(interval, seconds / 3.0)
        self.held = True
        self._identity, self._failed = None, False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        if self.path:
            self._identity = (read(self.path) or {}).get("id")
            self.held = renew(self.path, self.seconds, identity=self._identity)
            self._thread.start()
        return self

    def __exit__(self, *unused):
        self._end.set()
        if self.path:
            self._thread.join(5)
            # It may have ended since the last time, which is up to an interval ago.
            self._renew()
            self.held = self.held and not self._failed

    def _renew(self):
        try:
            self.held = self.held and renew(self.path, self.seconds, identity=self._identity)
            self._failed = False
        except (OSError, ValueError):
            # Once is no matter: there is time for another try.
            self._failed = True

    def _run(self):
        while self.held and not self._end.wait(self.interval):
            self._renew()


def say(text):
    """Tell the journal, where there is one."""
    if sys.stdout:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def call(argv):
    """Run a command; what it says goes to the journal. :returns: bool, whether it ended with 0."""
    try:
        # pylint: disable-next=ansible-bad-function  # systemd starts this file without Ansible
        return subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        say("%s: %s" % (" ".join(argv), error))
        return False


def ask(argv):
    """What a command says, or None when it fails. :returns: str"""
    try:
        # pylint: disable-next=ansible-bad-function  # systemd starts this file without Ansible
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        say("%s: %s" % (" ".join(argv), error))
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def released(lease):
    """Whether containers were being started under this lease, or serve by it. :returns: bool"""
    return bool(lease.get("docker")) and (lease.get("was") if lease["state"] == "broken" else lease["state"]) in ("switching", "switched")


def stop_containers(lease, run=call, answer=ask):
    """Stop the containers of a release that has not become the one that serves. :returns: bool, whether none of them runs"""
    if not released(lease):
        return True
    listed = answer([lease["docker"], "ps", "--quiet", "--filter", "label=com.docker.compose.project=%s" % lease["stack"]])
    if not listed:
        return listed is not None
    # A container that was stopped by hand stays so, whatever its restart policy.
    return run([lease["docker"], "stop"] + listed.split())


def thaw(lease, reason, run=call, answer=ask, sleep=time.sleep):
    """The native application serves again. The lease is broken already, so that nobody goes on with a copy of what it writes from now on."""
    say("%s: %s; the native application is started again" % (lease["stack"], reason))
    due = list(reversed(lease["units"]))
    for attempt in range(START_ATTEMPTS):
        # Containers that do not stop may hold the ports: both are tried again.
        stopped = stop_containers(lease, run, answer)
        due = [unit for unit in due if not run(["systemctl", "start", unit])]
        if stopped and not due:
            return
        sleep(POLL_SECONDS * 2 ** attempt)
    say("%s: could not start %s" % (lease["stack"], ", ".join(due) or "all, for containers still run"))


def watch(path, sleep=time.sleep, run=call, answer=ask):
    """Until the lease is taken away (the normal end), or it has run out."""
    known = None
    while True:
        reason = None
        try:
            with alone(path):
                lease = read(path)
                if lease is None or lease["state"] == "switched" or lease.get("thawed"):
                    return
                if lease["state"] == "broken":
                    # By one who was killed before the application served, this program perhaps.
                    reason = lease["reason"]
                elif now() >= lease["until"]:
                    reason = UNRENEWED
                    _break(path, lease, reason)
                    lease = dict(lease, state="broken", was=lease["state"])
                known = lease
        except (OSError, ValueError) as error:
            # The folder was taken away, or the disk fails: what stands still is known all the same.
            if known is None:
                raise
            if now() >= known["until"]:
                reason = "the lease can't be read: %s" % error
        if reason:
            thaw(known, reason, run, answer, sleep)
            with contextlib.suppress(OSError, ValueError), alone(path):
                lease = read(path)
                if lease and lease["state"] == "broken" and lease.get("id") == known.get("id"):
                    write(path, dict(lease, thawed=True))
            return
        sleep(POLL_SECONDS)


def boot(path, run=call, answer=ask):
    """After a start of the host: what a freeze left. The units are enabled, and systemd starts them after this."""
    lease = read(path)
    if lease is None or lease["boot_id"] == boot_id():
        return
    if lease["state"] == "switched":
        # The run was killed, and so was the host, before they were masked.
        say("%s: the containers serve; the native application is not started" % lease["stack"])
        for unit in lease["units"]:
            run(["systemctl", "--no-block", "stop", unit])
        return
    say("%s: the host was restarted during a freeze; the native application serves" % lease["stack"])
    # Also after the lease was broken, at each start: the engine starts containers again that were stopped, if they say "always".
    stop_containers(lease, run, answer)
    if lease["state"] != "broken":
        end(path, "the host was restarted")


def main():
    """Entry point of the file on the host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["watch", "boot"])
    parser.add_argument("lease")
    options = parser.parse_args()
    {"watch": watch, "boot": boot}[options.mode](options.lease)


if __name__ == "__main__":
    main()
