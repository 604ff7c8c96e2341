# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import agent


@pytest.mark.parametrize("change", [b"", b"x" * 10, b"y" * 3 * agent.CHUNK])
def test_a_file_that_changes_while_it_is_read_is_no_good_copy(tmp_path, change):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 3 * agent.CHUNK)
    os.utime(path, (1, 1))

    def take(offset, data, count):
        if offset == 0:
            path.write_bytes(change)

    with agent.Root(str(tmp_path)) as root, pytest.raises(agent.Changed):
        agent.read_file(root, "f", take)
    with agent.Root(str(tmp_path)) as root:
        path.write_bytes(b"x" * 3)
        os.utime(path, (1, 1))
        assert agent.read_file(root, "f", lambda offset, data, count: None)[0] == hashlib.sha256(b"xxx").hexdigest()
