# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for bluetoothd on hosts whose kernel has no Bluetooth: a template of python3-dbusmock, which has BlueZ's interfaces.

One adapter, off at first as after an rfkill; one peripheral that says something only while somebody scans, and whose battery can be read
only by who is connected.

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
CHANGE = "self.UpdateProperties('org.bluez.Device1', {'Connected': dbus.Boolean(%s, variant_level=1), 'ServicesResolved': dbus.Boolean(%s, variant_level=1)})"
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


def populate(mock):
    """Adapter, peripheral, and its battery service."""
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
    device.AddMethod("org.bluez.Device1", "Connect", "", "", CHANGE % (True, True))
    device.AddMethod("org.bluez.Device1", "Disconnect", "", "", CHANGE % (False, False))
    mock.AddObject(DEVICE + "/service0001", "org.bluez.GattService1", {
        "UUID": BASE % "180f", "Primary": True, "Device": dbus.ObjectPath(DEVICE), "Includes": dbus.Array([], signature="o")}, [])
    mock.AddObject(DEVICE + "/service0001/char0002", "org.bluez.GattCharacteristic1", {
        "UUID": BASE % "2a19", "Service": dbus.ObjectPath(DEVICE + "/service0001"), "Flags": dbus.Array(["read"], signature="s"), "MTU": dbus.UInt16(23),
        "Value": dbus.Array([], signature="y"), "Notifying": False}, [("ReadValue", "a{sv}", "ay", READ)])
    return False


def load(mock, parameters):
    """What dbusmock calls; the objects can be added only when it has returned."""
    bluez5.load(mock, parameters)
    GLib.idle_add(populate, mock)
