# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with Bluetooth, as small as can be: prints one JSON, and ends with 3 when the bus refuses.

    client.py read NAME                                    scans, connects, reads the battery
    client.py ask DESTINATION PATH INTERFACE MEMBER        one call to the system bus
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDBusError
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

BATTERY = "00002a19-0000-1000-8000-00805f9b34fb"


async def read(name):
    """What an application does with a device."""
    device = await BleakScanner.find_device_by_name(name, timeout=20)
    if device is None:
        return 1, {"error": "not found", "text": name}
    async with BleakClient(device, timeout=40) as client:
        value = await client.read_gatt_char(BATTERY)
        return 0, {"name": device.name, "address": device.address, "connected": client.is_connected, "battery": value[0], "uid": os.getuid()}


async def ask(destination, path, interface, member):
    """What a program that was taken over might do."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    reply = await bus.call(Message(destination=destination, path=path, interface=interface, member=member))
    bus.disconnect()
    if reply.message_type == MessageType.ERROR:
        return 3, {"error": reply.error_name, "text": str(reply.body)}
    return 0, {"answered": destination}


async def main(words):
    try:
        return await (read(*words[1:]) if words[0] == "read" else ask(*words[1:]))
    except BleakDBusError as error:
        return 3, {"error": error.dbus_error, "text": str(error)}
    except Exception as error:  # pylint: disable=broad-except
        # A bus that does not even let in.
        return 4, {"error": type(error).__name__, "text": str(error)}


if __name__ == "__main__":
    CODE, RESULT = asyncio.run(main(sys.argv[1:]))
    print(json.dumps(dict(RESULT, user=os.getuid())))
    sys.exit(CODE)
