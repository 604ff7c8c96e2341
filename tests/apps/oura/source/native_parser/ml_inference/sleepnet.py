# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the model's wrapper: needs torch, and the model's file beside the code."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: F401


class SleepNetModel:
    def __init__(self):
        self.path = Path(__file__).parent.parent / "decrypted_models" / "sleepnet_moonstone_1_1_0.pt"
        if not self.path.exists():
            raise FileNotFoundError(f"Model not found: {self.path}")
