# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd unit states without systemctl: from the unit folders and the control groups."""

from __future__ import annotations

import os

# Where links of enabled units are; systemd.unit(5). Links below /run are for this boot only and do not count as enabled.
WANTS_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")


def is_systemd(tree):
    """Whether systemd is the init; the same test as sd_booted(3)."""
    return tree.lexists("/run/systemd/system")


def installed(tree, unit):
    """Whether there is a unit file of this name (bool)."""
    return any(tree.lexists("%s/%s" % (folder, unit)) for folder in WANTS_FOLDERS)


def masked(tree, unit):
    """Whether a unit is masked: a link to /dev/null, or an empty file, in /etc or /run."""
    for folder in ("/etc/systemd/system", "/run/systemd/system"):
        path = tree.path("%s/%s" % (folder, unit))
        try:
            if os.readlink(path) == "/dev/null":
                return True
        except OSError:
            pass
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            return True
    return False


def enabled(tree, unit):
    """Whether something at boot pulls the unit in: its name, as a link in a .wants or .requires folder (bool).

    An alias (another name that is a link to the unit) alone starts nothing and does not count.
    """
    if masked(tree, unit):
        return False
    for folder in WANTS_FOLDERS:
        for name in tree.names(folder):
            if name.endswith((".wants", ".requires")) and tree.lexists("%s/%s/%s" % (folder, name, unit)):
                return True
    return False


def active(tree, unit, program):
    """Whether the unit's control group has a process of this name (bool).

    Having a group is not enough: with live-restore the shims of the containers outlive a stopped dockerd in its group.

    :param program: as in /proc/PID/comm, at most 15 characters.
    """
    hidden = False
    for root in CGROUP_ROOTS:
        pids = tree.text_or_none("%s/system.slice/%s/cgroup.procs" % (root, unit)) or ""
        for pid in pids.split():
            name = tree.text_or_none("/proc/%s/comm" % pid)
            if name is None:
                hidden = True  # it has just ended, or /proc hides the processes of others (hidepid)
            elif name.strip() == program[:15]:
                return True
    return hidden and started(tree, unit)


def started(tree, unit):
    """Whether systemd counts a service as started: it keeps a link of this name until the service is inactive. Sockets have none."""
    return tree.lexists("/run/systemd/units/invocation:%s" % unit)
