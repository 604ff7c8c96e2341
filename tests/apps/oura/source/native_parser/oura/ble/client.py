# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ring's client: finds it by its name, pairs, listens, shows that it has the key, reads events. It asks bleak for what the application asks."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from bleak import BleakClient, BleakScanner

DATA_DIR = Path(__file__).parent.parent.parent / "input_data"
COMMANDS, ANSWERS = "98ed0002-a541-11e4-b6a0-0002a5d5c51b", "98ed0003-a541-11e4-b6a0-0002a5d5c51b"
KEY = bytes(range(16))


class OuraClient:
    """One ring."""

    def __init__(self, adapter="hci0"):
        self.adapter = adapter
        self.client = None
        self.is_connected = False
        self.answers = []
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

    async def notified(self, _sender, data):
        self.answers.append(bytes(data))

    async def connect(self):
        device = await self.scan()
        if device is None:
            return False
        self.client = BleakClient(device.address, adapter=self.adapter)
        await self.client.connect(timeout=30.0)
        if not device.details.get("props", {}).get("Paired", False):
            await self.client.pair(protection_level=2)
        await self.client.start_notify(ANSWERS, self.notified)
        self.is_connected = self.client.is_connected
        return self.is_connected

    async def disconnect(self):
        await self.client.stop_notify(ANSWERS)
        await self.client.disconnect()
        self.is_connected = False

    async def ask(self, command, last):
        """The notifications after a command, up to one that begins as given."""
        self.answers.clear()
        await self.client.write_gatt_char(COMMANDS, command)
        for _step in range(40):
            await asyncio.sleep(0.1)
            if any(answer.startswith(last) for answer in self.answers):
                return list(self.answers)
        return []

    async def authenticate(self):
        """Enciphers what the ring gives; the key stays in the data directory, as the application leaves it there."""
        from Crypto.Cipher import AES
        nonce = (await self.ask(b"\x2f\x01\x2b", b"\x2f\x10\x2c"))[0][3:18]
        said = await self.ask(b"\x2f\x11\x2d" + AES.new(KEY, AES.MODE_ECB).encrypt(nonce + b"\x01"), b"\x2f\x02\x2e")
        (DATA_DIR / "auth_key.bin").write_bytes(KEY)
        return bool(said) and said[0][3] == 0

    async def get_data(self):
        """All that the ring has."""
        (synchronized,) = await self.ask(b"\x12\x09" + int(time.time()).to_bytes(8, "little") + b"\x00", b"\x13")
        (DATA_DIR / "sync_point.json").write_text(json.dumps({"ring_time": int.from_bytes(synchronized[2:6], "little"),
                                                              "utc_millis": int(time.time() * 1000)}), encoding="utf-8")
        self.event_data = (await self.ask(b"\x10\x09" + bytes(9), b"\x11"))[:-1]
        return self.event_data

    def save_events_to_file(self):
        with open(DATA_DIR / "ring_events.txt", "w", encoding="utf-8") as stream:
            for index, event in enumerate(self.event_data):
                stream.write(f"{index}|0x{event[0]:02x}|API_EVENT|{event.hex()}\n")
