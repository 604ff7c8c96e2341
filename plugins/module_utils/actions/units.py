# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units of a stack's schedules. Pure."""

from __future__ import annotations

import re

SERVICE = """\
# {header}
[Unit]
Description={description}
Documentation=man:systemd.timer(5)
After=docker.service

[Service]
Type=oneshot
ExecStart={python} -I -B {runner} --stack {stack} --schedule {name} --directory {directory} --state-dir {state_dir}
# The action has a deadline of its own; this one is for what it did not foresee, a release that it waits for included.
TimeoutStartSec={timeout}
TimeoutStopSec=90
UMask=0077
# It talks to Docker over a socket of the file system, reads the stack's folder, and writes results: nothing else.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_KILL
ProtectSystem=strict
ReadWritePaths={results}
# Empty rather than closed: the Docker client gives up its plugins when it may not look for some of root's own.
ProtectHome=tmpfs
PrivateTmp=yes
PrivateDevices=yes
PrivateNetwork=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
"""

TIMER = """\
# {header}
[Unit]
Description={description}

[Timer]
OnCalendar={calendar}
Persistent=true
RandomizedDelaySec={delay}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def unit_name(stack, schedule):
    """Name of the units of a schedule, without ``.service`` and ``.timer``.

    A schedule's name has no hyphen, so that no two of stack and schedule give the same.
    """
    return "dockyard-%s-%s" % (stack, schedule)


def is_unit_of(stack, file):
    """Whether a file name is that of a unit of a schedule of this stack."""
    return re.match(r"dockyard-%s-[a-z][a-z0-9_]*\.(service|timer)\Z" % re.escape(stack), file) is not None


def split_timer(file):
    """The stack and the schedule of a timer by the name of its file; (None, None) for one that is not ours."""
    match = re.match(r"dockyard-(.+)-([a-z][a-z0-9_]*)\.timer\Z", file)
    return match.groups() if match else (None, None)


def described(text):
    """A text as one line that systemd takes as it is: ``%`` begins a specifier there."""
    return " ".join(text.split()).replace("%", "%%")


def waiting(output):
    """Which timers wait for their time, as their unit files say.

    :arg output: str, of ``systemctl show --property=Id,ActiveState,NeedDaemonReload``: ``key=value`` lines, a block a unit.
    :returns: set of str
    """
    found = set()
    for block in output.split("\n\n"):
        facts = dict(line.partition("=")[::2] for line in block.splitlines())
        if facts.get("ActiveState") == "active" and facts.get("NeedDaemonReload") == "no":
            found.add(facts.get("Id"))
    return found


def render(stack, schedule, directory, state_dir, python, runner, header):
    """The two units of a schedule.

    :arg schedule: dict with ``name``, ``calendar``, ``randomized_delay_seconds``, ``timeout_seconds`` and ``description``.
    :arg runner: str, path of the program that runs actions.
    :returns: dict of file name to str.
    """
    name = unit_name(stack, schedule["name"])
    description = described("%s: %s" % (stack, schedule["description"]))
    return {
        name + ".service": SERVICE.format(
            header=header, description=description, python=python, runner=runner, stack=stack, name=schedule["name"], directory=directory,
            # 900 s: how long the runner waits for a release at most; 60 s to end what it runs.
            state_dir=state_dir, results=state_dir + "/results", timeout=schedule["timeout_seconds"] + 900 + 60),
        name + ".timer": TIMER.format(header=header, description=description, calendar=schedule["calendar"], delay=schedule["randomized_delay_seconds"]),
    }
