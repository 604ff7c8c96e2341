# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsed data of a ring."""

from __future__ import annotations

from pathlib import Path

import ringeventparser_pb2 as proto


class RingDataReader:
    """`raw` is the message; `events` counts by tag, such as {0x46: 12}."""

    def __init__(self, path):
        self.raw = proto.RingData()
        self.raw.ParseFromString(Path(path).read_bytes())
        self.events = {}
        for event in self.raw.event:
            self.events[event[0]] = self.events.get(event[0], 0) + 1
