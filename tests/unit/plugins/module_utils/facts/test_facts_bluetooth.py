# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts tell of Bluetooth: adapters, which of them are on, which are blocked, BlueZ, AppArmor."""

from __future__ import annotations

import struct

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import collect


@pytest.fixture(name="machine")
def fixture_machine(tmp_path):
    def put(**files):
        for path, text in files.items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return collect.Collector(gather=["bluetooth"], root=str(tmp_path), machine="aarch64", page_size=4096, sysname="Linux")
    return put


def gather(collector):
    return collector.run()["bluetooth"]


def test_a_machine_without(machine):
    assert gather(machine()) == {"adapters": [], "powered": [], "blocked": [], "installed": False, "bus_socket": False, "service_active": False,
                                 "apparmor": False}


def test_adapters_and_not_their_connections(machine):
    collector = machine(**{"/sys/class/bluetooth/hci0/type": "", "/sys/class/bluetooth/hci0:11/type": "", "/sys/class/bluetooth/hci1/type": ""})
    assert gather(collector)["adapters"] == ["hci0", "hci1"]
    assert "bluetooth.powered" in collector.unknown


@pytest.mark.parametrize("path", ["/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd"])
def test_bluez_where_systems_have_it(machine, path):
    assert gather(machine(**{path: ""}))["installed"] is True


@pytest.mark.parametrize("text, on", [("Y\n", True), ("N\n", False)])
def test_apparmor(machine, text, on):
    assert gather(machine(**{"/sys/module/apparmor/parameters/enabled": text}))["apparmor"] is on


def test_what_rfkill_keeps_off(machine):
    files = {}
    for number, (kind, name, soft, hard) in enumerate([("bluetooth", "hci0", "1", "0"), ("wlan", "phy0", "1", "1"), ("bluetooth", "hci1", "1", "1")]):
        for key, value in (("type", kind), ("name", name), ("soft", soft), ("hard", hard)):
            files["/sys/class/rfkill/rfkill%d/%s" % (number, key)] = value + "\n"
    assert gather(machine(**files))["blocked"] == [{"name": "hci0", "how": "soft"}, {"name": "hci1", "how": "soft"}, {"name": "hci1", "how": "hard"}]


class Control:
    """A socket of the kernel's Bluetooth."""

    def __init__(self, *unused):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        return False


def test_what_the_kernel_says_of_its_adapters(monkeypatch):
    asked = []

    def ioctl(control, request, data):
        number = struct.unpack_from("H", data)[0]
        asked.append((request, number, len(data)))
        return struct.pack("H8s6sI76x", number, b"hci%d" % number, b"", {0: 0b101, 1: 0b100}[number])

    for name in ("AF_BLUETOOTH", "BTPROTO_HCI"):
        monkeypatch.setattr(collect.socket, name, 31, raising=False)
    monkeypatch.setattr(collect.socket, "socket", Control)
    monkeypatch.setattr(collect.fcntl, "ioctl", ioctl)
    assert collect.Collector(gather=["bluetooth"]).powered_adapters(["hci0", "hci1"]) == ["hci0"]
    assert asked == [(0x800448D3, 0, 96), (0x800448D3, 1, 96)]
