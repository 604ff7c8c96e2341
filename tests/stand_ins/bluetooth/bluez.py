# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for bluetoothd on hosts whose kernel has no Bluetooth: a template of python3-dbusmock, which has BlueZ's interfaces.

One adapter, off at first as after an rfkill; one peripheral that says something only while somebody scans, and whose battery can be read
only by who is connected. It speaks a ring's protocol too: commands are written to one characteristic, answers come as notifications of
another; events are given to who has authenticated.

    python3 -m dbusmock --system --template /usr/local/lib/bluez-stand-in/bluez.py
"""

from __future__ import annotations

import dbus
from dbusmock import mockobject
from dbusmock.templates import bluez5
from gi.repository import GLib

BUS_NAME = bluez5.BUS_NAME
MAIN_OBJ = bluez5.MAIN_OBJ
SYSTEM_BUS = True
IS_OBJECT_MANAGER = True
AddAdapter = bluez5.AddAdapter
AddDevice = bluez5.AddDevice

ADAPTER, DEVICE = "/org/bluez/hci0", "/org/bluez/hci0/dev_00_11_22_33_44_55"
NAME, BATTERY = "Oura stand-in", 77
BASE = "0000%s-0000-1000-8000-00805f9b34fb"
# The ring's own service, commands, and notifications.
RING = "98ed%s-a541-11e4-b6a0-0002a5d5c51b"
COMMANDS, ANSWERS = DEVICE + "/service0010/char0011", DEVICE + "/service0010/char0013"
NONCE, RING_TIME = bytes(range(15)), 10000
# Tag, length, the ring's time in four bytes, and what was measured.
EVENTS = [bytes.fromhex("410e0100000001000000032020706010"), bytes.fromhex("460ae80300005f0b9c0bef0a"), bytes.fromhex("460a102700006709a709ea08")]
READ = """
if not objects['%s'].props['org.bluez.Device1']['Connected']:
    raise dbus.exceptions.DBusException('Not connected', name='org.bluez.Error.Failed')
ret = dbus.Array([dbus.Byte(%d)], signature='y')
""" % (DEVICE, BATTERY)


def advertise(adapter):
    """The peripheral says that it is there, several times a second, while somebody scans."""
    if not adapter.props["org.bluez.Adapter1"]["Discovering"]:
        return False
    mockobject.objects[DEVICE].UpdateProperties("org.bluez.Device1", {"RSSI": dbus.Int16(-60, variant_level=1)})
    return True


def scan(adapter):
    """StartDiscovery of the adapter."""
    adapter.props["org.bluez.Adapter1"]["Discovering"] = dbus.Boolean(True, variant_level=1)
    GLib.timeout_add(300, advertise, adapter)


def connected(device, whether):
    """Both properties say so."""
    device.UpdateProperties("org.bluez.Device1", {name: dbus.Boolean(whether, variant_level=1) for name in ("Connected", "ServicesResolved")})


def leave(device):
    """Disconnect of the peripheral: as with BlueZ the answer comes before the change. bleak closes its connection to the bus upon the change."""
    GLib.timeout_add(50, connected, device, False)


def pair(device):
    """Pair of the peripheral: it asks for nothing."""
    device.UpdateProperties("org.bluez.Device1", {"Paired": dbus.Boolean(True, variant_level=1)})


# What the ring remembers of whoever is connected.
STATE = {"authenticated": False}


def answers_to(command):
    """The ring's notifications after a command."""
    if command == b"\x2f\x01\x2b":
        return [b"\x2f\x10\x2c" + NONCE]
    if command[:3] == b"\x2f\x11\x2d":
        # Sixteen bytes, and not the nonce as it was: somebody has enciphered it.
        STATE["authenticated"] = len(command) == 19 and command[3:18] != NONCE
        return [b"\x2f\x02\x2e" + bytes([not STATE["authenticated"]])]
    if command[:1] == b"\x12" and STATE["authenticated"]:
        return [b"\x13\x04" + RING_TIME.to_bytes(4, "little")]
    if command[:1] == b"\x10" and STATE["authenticated"]:
        given = [event for event in EVENTS if int.from_bytes(event[2:6], "little") >= int.from_bytes(command[2:6], "little")]
        return given + [b"\x11\x06" + bytes([len(given), 0]) + bytes(4)]
    return []


def command(characteristic, value, unused):
    """WriteValue of the ring's commands: the answers come a little later, and only to who asked for notifications."""
    if not mockobject.objects[DEVICE].props["org.bluez.Device1"]["Connected"]:
        raise dbus.exceptions.DBusException("Not connected", name="org.bluez.Error.Failed")
    notified = mockobject.objects[ANSWERS]
    for answer in answers_to(bytes(value)) if notified.props["org.bluez.GattCharacteristic1"]["Notifying"] else []:
        value = dbus.Array([dbus.Byte(byte) for byte in answer], signature="y", variant_level=1)
        GLib.timeout_add(50, lambda value=value: notified.UpdateProperties("org.bluez.GattCharacteristic1", {"Value": value}))


def notify(characteristic):
    """StartNotify of the ring's answers."""
    characteristic.UpdateProperties("org.bluez.GattCharacteristic1", {"Notifying": dbus.Boolean(True, variant_level=1)})


def populate(mock):
    """Adapter, peripheral, its battery service and the ring's own."""
    mock.AddAdapter("hci0", "stand-in")
    adapter = mockobject.objects[ADAPTER]
    values = adapter.props["org.bluez.Adapter1"]
    values["Roles"] = dbus.Array(["central", "peripheral"], signature="s", variant_level=1)
    values["Powered"] = dbus.Boolean(False, variant_level=1)
    adapter.AddMethod("org.bluez.Adapter1", "SetDiscoveryFilter", "a{sv}", "", "")
    adapter.AddMethod("org.bluez.Adapter1", "StartDiscovery", "", "", scan)
    adapter.AddMethod("org.bluez.Adapter1", "StopDiscovery", "", "", "self.props['org.bluez.Adapter1']['Discovering'] = dbus.Boolean(False, variant_level=1)")
    mock.AddDevice("hci0", "00:11:22:33:44:55", NAME)
    device = mockobject.objects[DEVICE]
    for name in ("ManufacturerData", "ServiceData", "AdvertisingFlags", "AdvertisingData"):
        # The template's are lists, where BlueZ has dictionaries.
        device.props["org.bluez.Device1"].pop(name, None)
    device.AddMethod("org.bluez.Device1", "Connect", "", "", lambda device: connected(device, True))
    device.AddMethod("org.bluez.Device1", "Disconnect", "", "", leave)
    mock.AddObject(DEVICE + "/service0001", "org.bluez.GattService1", {
        "UUID": BASE % "180f", "Primary": True, "Device": dbus.ObjectPath(DEVICE), "Includes": dbus.Array([], signature="o")}, [])
    mock.AddObject(DEVICE + "/service0001/char0002", "org.bluez.GattCharacteristic1", {
        "UUID": BASE % "2a19", "Service": dbus.ObjectPath(DEVICE + "/service0001"), "Flags": dbus.Array(["read"], signature="s"), "MTU": dbus.UInt16(23),
        "Value": dbus.Array([], signature="y"), "Notifying": False}, [("ReadValue", "a{sv}", "ay", READ)])
    device.AddMethod("org.bluez.Device1", "Pair", "", "", pair)
    mock.AddObject(DEVICE + "/service0010", "org.bluez.GattService1", {
        "UUID": RING % "0001", "Primary": True, "Device": dbus.ObjectPath(DEVICE), "Includes": dbus.Array([], signature="o")}, [])
    for path, number, flag, methods in ((COMMANDS, "0002", "write", [("WriteValue", "aya{sv}", "", command)]),
                                        (ANSWERS, "0003", "notify", [("StartNotify", "", "", notify), ("StopNotify", "", "", "")])):
        mock.AddObject(path, "org.bluez.GattCharacteristic1", {
            "UUID": RING % number, "Service": dbus.ObjectPath(DEVICE + "/service0010"), "Flags": dbus.Array([flag], signature="s"),
            "MTU": dbus.UInt16(247), "Value": dbus.Array([], signature="y"), "Notifying": False}, methods)
    return False


def load(mock, parameters):
    """What dbusmock calls; the objects can be added only when it has returned."""
    bluez5.load(mock, parameters)
    GLib.idle_add(populate, mock)
