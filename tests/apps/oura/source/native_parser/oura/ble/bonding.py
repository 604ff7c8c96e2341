# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bonding with a ring."""

from __future__ import annotations

from pathlib import Path


def list_bluetooth_adapters():
    folder = Path("/sys/class/bluetooth")
    return sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("hci")) if folder.exists() else []
