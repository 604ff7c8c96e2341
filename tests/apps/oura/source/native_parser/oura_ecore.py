# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the wrapper around the vendor's library: bridges run by QEMU, without PATH in their environment."""

from __future__ import annotations

import subprocess
from pathlib import Path


class EcoreWrapper:
    def __init__(self, native_parser_dir=None):
        self.folder = Path(native_parser_dir or Path(__file__).parent)
        self.root = self.folder / "android_root"
        subprocess.run(["qemu-aarch64", "--version"], capture_output=True, check=True)
        if not (self.root / "system/lib64/libappecore.so").exists():
            raise RuntimeError(f"libappecore.so not found below {self.root}")

    def _bridge(self, name, *words):
        return subprocess.run(["qemu-aarch64", "-L", str(self.root), str(self.folder / name), *words], capture_output=True, text=True,
                              timeout=60, check=True, env={"QEMU_LD_PREFIX": str(self.root)}).stdout

    def calculate_sleep_score(self, total, deep, rem):
        lines = self._bridge("sleep_score_minutes_ndk", f"{total},{deep},{rem}").split("\n")
        return int(lines[lines.index("sleepScore") + 1])

    def correct_ibi(self, unused):
        return self._bridge("ibi_correction_bridge_v9").split("\n")[1:]
