# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which registrations of binfmt_misc a killed run left behind."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "hosts"))
from pi import emulation  # noqa: E402


def test_only_ours_of_dead_processes():
    names = ["register", "status", "qemu-aarch64", "bed-12", "bed-13", "bed-", "bed-x", "other-14"]
    assert emulation.left_behind(names, lambda process: process == 13) == ["bed-12"]
