# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack strain_seer after a restart of its host, seen from outside."""

from __future__ import annotations

import os
import re
import sys

from testinfra.utils.ansible_runner import AnsibleRunner

sys.path.insert(0, os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], "molecule", "shared"))

from outside import ask, containers, without_power  # noqa: E402

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")


def test_the_page_is_served(host):
    assert ask(host, 8501, "/_stcore/health") == (200, "ok")
    status, page = ask(host, 8501, "/")
    assert status == 200 and "<script" in page
    asset = re.search(r'src="\./(static/[^"]+\.js)"', page)[1]
    assert ask(host, 8501, "/" + asset)[0] == 200


def test_the_stack_asked_for_the_page_itself(host):
    """Its health check runs the script; a page that fails would be served all the same."""
    assert containers(host, "strain_seer")["app"]["State"]["Health"]["Status"] == "healthy"


def test_it_has_no_power(host):
    assert without_power(containers(host, "strain_seer")["app"])
