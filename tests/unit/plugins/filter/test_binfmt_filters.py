# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible.errors import AnsibleFilterError
from ansible_collections.dockyard.fleet.plugins.filter import binfmt


def test_all_filters_are_there():
    assert sorted(binfmt.FilterModule().filters()) == ["binfmt_due", "binfmt_emulated"]


def test_due_takes_what_inventories_and_command_lines_give():
    assert binfmt.binfmt_due({}, []) == "" and binfmt.binfmt_due(None, None) == "" and binfmt.binfmt_due({}, "") == ""
    assert "not known" in binfmt.binfmt_due({}, ["linux/arm64"])
    known = {"architecture": {"native": ["linux/amd64"]}, "binfmt": {"enabled": True, "handlers": [], "proven": {}, "at_boot": {"rules": []}}}
    assert "linux/s390x" in binfmt.binfmt_due(known, "linux/amd64,linux/s390x", "linux/s390x=/e")
    with pytest.raises(AnsibleFilterError, match="binfmt_platforms"):
        binfmt.binfmt_due({}, {"a": 1})


def test_emulated_joins_what_was_known_with_what_was_brought():
    run = {"linux/arm64": {"status": "boot"}, "linux/s390x": {"status": "ours"}, "linux/amd64": {"status": "native"}, "linux/386": {"status": "absent"}}
    known = {"architecture": {"native": ["linux/amd64"], "emulated": ["linux/riscv64", "linux/arm64"]}}
    assert binfmt.binfmt_emulated(known, run) == ["linux/arm64", "linux/riscv64", "linux/s390x"]
    assert binfmt.binfmt_emulated({"architecture": {"emulated": None}}, {"linux/arm64": {"status": "others"}}) == ["linux/arm64"]
    assert binfmt.binfmt_emulated({}, {}) == []
    # hardware of which nobody knew that it can
    assert binfmt.binfmt_emulated({"architecture": {"native": ["linux/arm64"], "emulated": []}}, {"linux/arm/v7": {"status": "native"}}) == ["linux/arm/v7"]
