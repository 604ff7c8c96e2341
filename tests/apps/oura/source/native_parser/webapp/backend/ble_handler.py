# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bluetooth over a web socket; cannot be imported where bleak is not installed."""

from __future__ import annotations

from oura.ble.client import OuraClient


class BLEConnectionManager:
    """One ring for all web sockets."""

    def __init__(self):
        self.client = None
        self.websockets = []

    async def broadcast(self, message):
        for websocket in self.websockets:
            await websocket.send_json(message)

    async def connect_ring(self, adapter=None):
        try:
            self.client = OuraClient(adapter=adapter or "hci0")
            await self.broadcast({"type": "complete", "action": "connect", "success": await self.client.connect()})
        except Exception as error:
            await self.broadcast({"type": "log", "level": "error", "message": f"Connection error: {error}"})

    async def authenticate(self):
        await self.broadcast({"type": "complete", "action": "auth", "success": await self.client.authenticate()})

    async def disconnect_ring(self):
        await self.client.disconnect()
        await self.broadcast({"type": "complete", "action": "disconnect", "success": True})

    async def get_data(self):
        try:
            data = await self.client.get_data()
            self.client.save_events_to_file()
            import main
            main._reader = None
            await self.broadcast({"type": "complete", "action": "get-data", "success": True, "event_count": len(data)})
        except Exception as error:
            await self.broadcast({"type": "log", "level": "error", "message": f"Get data error: {error}"})


ble_manager = BLEConnectionManager()
