# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ring's client: finds it by its name, connects, reads. It gives bleak the adapter as the application does, which bleak 3 ignores."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bleak import BleakClient, BleakScanner

DATA_DIR = Path(__file__).parent.parent.parent / "input_data"
BATTERY = "00002a19-0000-1000-8000-00805f9b34fb"


class OuraClient:
    """One ring."""

    def __init__(self, adapter="hci0"):
        self.adapter = adapter
        self.client = None
        self.is_connected = False
        self.event_data = []

    async def scan(self, timeout=15.0):
        found = []
        scanner = BleakScanner(detection_callback=lambda device, data: found.append(device) if "Oura" in (data.local_name or device.name or "") else None,
                               adapter=self.adapter)
        await scanner.start()
        for _step in range(int(timeout * 2)):
            if found:
                break
            await asyncio.sleep(0.5)
        await scanner.stop()
        return found[0] if found else None

    async def connect(self):
        device = await self.scan()
        if device is None:
            return False
        self.client = BleakClient(device.address, adapter=self.adapter)
        await self.client.connect(timeout=30.0)
        self.is_connected = self.client.is_connected
        return self.is_connected

    async def get_data(self):
        """What the ring has: its battery."""
        value = await self.client.read_gatt_char(BATTERY)
        self.event_data = [bytes([0x4C]) + bytes(value)]
        return self.event_data

    def save_events_to_file(self):
        with open(DATA_DIR / "ring_events.txt", "w", encoding="utf-8") as stream:
            for index, event in enumerate(self.event_data):
                stream.write(f"{index}|0x{event[0]:02x}|API_BATTERY_LEVEL|{event.hex()}\n")
