# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the samples of the stack oura: events in a ring's format with values that nobody's ring ever measured.

    python tests/apps/oura/make_sample.py files/stacks/oura/app/samples

An event is `index|tag|name|hex`; the bytes are tag, length of the rest, ring time (32 bits, tenths of a second, little-endian) and the
event's own. The parser wants the ring's start first, and times that only grow.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

NAMES = {0x41: "API_RING_START_IND", 0x45: "API_STATE_CHANGE_IND", 0x46: "API_TEMP_EVENT", 0x47: "API_MOTION_EVENT", 0x50: "API_ACTIVITY_INFO",
         0x69: "API_TEMP_PERIOD", 0x6C: "API_FEATURE_SESSION", 0x6D: "API_MEAS_QUALITY_EVENT", 0x80: "API_GREEN_IBI_QUALITY_EVENT"}
# Kind of start, then versions of the ring's programs: what a ring of the third generation says of itself.
START = bytes.fromhex("1000000032020706010001020000")
HEAD = "# A made-up sample: no ring and no person has these values (tests/apps/oura/make_sample.py).\n# Format: index|tag_hex|event_name|hex_data\n#\n"


class Values:
    """Numbers that look measured and are the same each time."""

    def __init__(self, seed: int):
        self.state = seed

    def between(self, low: int, high: int) -> int:
        self.state = (self.state * 1103515245 + 12345) % (1 << 31)
        return low + (self.state >> 8) % (high - low + 1)


class Sample:
    """Lines of events."""

    def __init__(self):
        self.lines = []
        self.time = 0x2000

    def add(self, tag: int, payload: bytes, after: int) -> None:
        """An event `after` tenths of a second later."""
        self.time += after
        data = bytes([tag, 4 + len(payload)]) + struct.pack("<I", self.time) + payload
        self.lines.append(f"{len(self.lines)}|0x{tag:02x}|{NAMES[tag]}|{data.hex()}")

    def text(self) -> str:
        return HEAD + "".join(line + "\n" for line in self.lines)


def temperatures(values: Values, level: int) -> bytes:
    """Three sensors, hundredths of a degree Celsius."""
    return struct.pack("<3H", level + values.between(0, 20), level + 60 + values.between(0, 20), level - 120 + values.between(0, 20))


def ring() -> str:
    """Half an hour of a worn ring: every kind of event that comes often."""
    values, sample = Values(7), Sample()
    sample.add(0x41, START, 0)
    for minute in range(10):
        sample.add(0x46, temperatures(values, 2900 + 8 * minute), 600)
    sample.add(0x69, struct.pack("<H", 3010), 1)
    sample.add(0x6C, bytes.fromhex("02010400"), 300)
    sample.add(0x45, b"\x05hr enable", 2)
    for minute in range(12):
        for unused in range(4):
            pairs = bytes(byte for unused in range(7) for byte in (values.between(0x64, 0x70), values.between(0x08, 0x0E)))
            sample.add(0x80, pairs, 55)
        sample.add(0x47, bytes([values.between(0x60, 0x75), values.between(0, 255), values.between(0, 255), values.between(0, 255),
                                values.between(1, 20), values.between(1, 8)]), 120)
        sample.add(0x46, temperatures(values, 3300 + minute), 260)
    sample.add(0x45, b"\x03fea off", 3)
    sample.add(0x6C, bytes.fromhex("02030400"), 5)
    for unused in range(6):
        sample.add(0x6D, b"\0" + b"".join(bytes([values.between(0x80, 0xFF), 0xFF, 0xFF]) for unused in range(4)), 122)
    sample.add(0x50, bytes([0x30] + [values.between(0x0C, 0x14) for unused in range(10)]), 30)
    return sample.text()


def temperature() -> str:
    """The simplest that is more than a start: an hour of temperatures, the ring not worn."""
    values, sample = Values(11), Sample()
    sample.add(0x41, START, 0)
    for minute in range(60):
        sample.add(0x46, temperatures(values, 2400 + minute), 600)
    return sample.text()


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ring.txt").write_text(ring(), encoding="utf-8")
    (folder / "temperature.txt").write_text(temperature(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
