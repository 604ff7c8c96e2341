# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share."""

from __future__ import annotations

import sys

# Tests load programs of files/stacks/: no byte code beside them, where it would become a part of the images' recipes.
sys.dont_write_bytecode = True
