# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import units

SCHEDULE = {"name": "often", "calendar": "*:0/15", "randomized_delay_seconds": 30, "timeout_seconds": 300, "description": "Checks\n 100 %\tof it"}


def render(**changes):
    return units.render("radio", dict(SCHEDULE, **changes), "/etc/dockyard/stacks/radio", "/var/lib/dockyard", "/usr/bin/python3", "/lib/run_action.py",
                        "Ours.")


def test_names():
    assert sorted(render()) == ["dockyard-radio-often.service", "dockyard-radio-often.timer"]


def test_service():
    lines = render()["dockyard-radio-often.service"].splitlines()
    assert lines[0] == "# Ours." and "Type=oneshot" in lines
    assert ("ExecStart=/usr/bin/python3 -I -B /lib/run_action.py --stack radio --schedule often --directory /etc/dockyard/stacks/radio "
            "--state-dir /var/lib/dockyard") in lines
    assert "Description=radio: Checks 100 %% of it" in lines and "TimeoutStartSec=1260" in lines
    assert "ReadWritePaths=/var/lib/dockyard/results" in lines and "ProtectSystem=strict" in lines and "NoNewPrivileges=yes" in lines


def test_timer():
    lines = render()["dockyard-radio-often.timer"].splitlines()
    for line in ("OnCalendar=*:0/15", "Persistent=true", "RandomizedDelaySec=30", "WantedBy=timers.target"):
        assert line in lines


@pytest.mark.parametrize("stack, file, ours", [
    ("radio", "dockyard-radio-often.timer", True), ("radio", "dockyard-radio-often.service", True), ("radio", "dockyard-radio-often.timer.bak", False),
    ("radio", "dockyard-radio-two-often.timer", False), ("radio-two", "dockyard-radio-two-often.timer", True), ("radio", "dockyard-radio.timer", False),
    ("radio", "xdockyard-radio-often.timer", False), ("radi.", "dockyard-radio-often.timer", False),
])
def test_whose_unit_it_is(stack, file, ours):
    assert units.is_unit_of(stack, file) is ours


@pytest.mark.parametrize("file, parts", [
    ("dockyard-shop-check.timer", ("shop", "check")), ("dockyard-my-shop-check_all.timer", ("my-shop", "check_all")),
    ("dockyard-shop-check.service", (None, None)),
    ("dockyard-shop.timer", (None, None)), ("dockyard-shop-Check.timer", (None, None)), ("x-dockyard-shop-check.timer", (None, None))])
def test_what_a_timer_is_of(file, parts):
    assert units.split_timer(file) == parts


def test_waiting_timers_as_systemd_257_shows_them():
    output = ("Id=dockyard-a-x.timer\nActiveState=active\nNeedDaemonReload=no\n\nId=dockyard-a-y.timer\nActiveState=active\nNeedDaemonReload=yes\n\n"
              "Id=dockyard-a-z.timer\nActiveState=inactive\nNeedDaemonReload=no\n")
    assert units.waiting(output) == {"dockyard-a-x.timer"}
    assert units.waiting("") == set()
