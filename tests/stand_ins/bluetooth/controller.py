# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Bluetooth controller without a radio, and a peripheral in its reach; for a machine whose serial port is at the other end of the socket.

Stands in for the chip of a Raspberry Pi: the kernel and bluetoothd that use it are real. Made of bumble's controllers on one link.

    python controller.py PORT
"""

from __future__ import annotations

import asyncio
import sys

from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData
from bumble.device import Device
from bumble.gatt import Characteristic, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport import open_transport

NAME, BATTERY = "Oura stand-in", 77


async def peripheral(link):
    """A device that advertises its name and has a battery."""
    controller = Controller("peripheral", link=link)
    host = Host()
    host.controller = controller
    device = Device(name=NAME, address=Address("F0:F1:F2:F3:F4:F5"), host=host)
    device.add_service(Service(UUID.from_16_bits(0x180F), [
        Characteristic(UUID.from_16_bits(0x2A19), Characteristic.Properties.READ, Characteristic.READABLE, bytes([BATTERY]))]))
    device.advertising_data = bytes(AdvertisingData([
        (AdvertisingData.FLAGS, bytes([0x06])), (AdvertisingData.COMPLETE_LOCAL_NAME, NAME.encode()),
        (AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, bytes(UUID.from_16_bits(0x180F)))]))
    await device.power_on()
    await device.start_advertising(auto_restart=True)
    return device


async def serve(port):
    """Until somebody ends it: a controller for whoever connects, one after the other."""
    link = LocalLink()
    kept = await peripheral(link)
    transport = await open_transport("tcp-server:127.0.0.1:%d" % port)
    controller = Controller("machine", host_source=transport.source, host_sink=transport.sink, link=link)
    print("ready on %d" % port, flush=True)
    await transport.source.wait_for_termination()
    return kept, controller


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
