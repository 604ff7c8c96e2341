# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`-l pi` touches group pi."""

from __future__ import annotations


def test_the_other_group_is_left_alone(converged):
    fleet = converged
    logins = "journalctl --unit=ssh --no-pager --output=cat | grep -c 'Accepted publickey'"
    before = fleet.b.sh(logins)
    run = fleet.deploy("-l", "pi").good()
    assert list(run.changed) == [fleet.a.name], run.output
    assert fleet.b.sh(logins) == before, "somebody logged in on the other group's host"
    assert fleet.b.sh("ls -d /etc/dockyard /var/lib/dockyard /usr/sbin/dockerd 2>/dev/null", check=False) == ""
    fleet.clean = True
