# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair of test hosts for all journeys. JOURNEY_KEEP=1 uses hosts that are there and leaves them, for work on a journey."""

from __future__ import annotations

import pytest

from fleet import Fleet


def pytest_configure(config):
    """Marks that journeys may carry."""
    config.addinivalue_line("markers", "heavy: builds for minutes; `make test-all` runs it, `make test` does not")


@pytest.fixture(name="fleet", scope="session")
def fixture_fleet(tmp_path_factory):
    """Both hosts, bare at the start of the session."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()


@pytest.fixture(name="converged")
def fixture_converged(fleet):
    """The fleet with the ordinary version of the stack on host `a`."""
    if not fleet.clean:
        fleet.deploy().good()
    assert fleet.a.healthy()
    return fleet
