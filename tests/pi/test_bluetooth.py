# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real bluetoothd, asked from containers without any power: one uid scans, connects and reads, nobody else gets in."""
import json

import pytest

UID = 52102
SOCKET = "/run/dbus/system_bus_socket"
CLOSED = f"docker run --rm --cap-drop ALL --security-opt no-new-privileges --read-only --network none -v {SOCKET}:{SOCKET}"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"


@pytest.fixture(name="client", scope="module")
def fixture_client(machine):
    """client(uid, *words): (code, what it printed)."""
    image = machine.check_output("docker images --format '{{.Repository}}:{{.Tag}}' dockyard/ring-client").split()[0]

    def run(uid, *words, more=""):
        done = machine.run(f"{CLOSED} --user {uid}:{uid} {more} {image} " + " ".join(f"'{word}'" for word in words))
        assert done.stdout, done.stderr
        return done.rc, json.loads(done.stdout)

    return run


def test_it_is_the_real_bluetoothd(machine):
    assert machine.check_output("systemctl is-active bluetooth.service") == "active"
    assert machine.check_output("cat /proc/$(systemctl show -p MainPID --value bluetooth.service)/comm") == "bluetoothd"
    assert machine.check_output("uname -m") == "aarch64"
    assert machine.file("/sys/class/bluetooth/hci0").exists


def test_a_container_without_power_scans_connects_and_reads(client):
    code, told = client(UID, "read", "Oura stand-in")
    assert (code, told["battery"], told["connected"], told["user"]) == (0, 77, True, UID), told
    assert told["address"] == "F0:F1:F2:F3:F4:F5"


def test_the_stack_s_own_container_does(machine):
    done = machine.run("cd /etc/dockyard/stacks/ring && docker compose run --rm client read 'Oura stand-in'")
    assert '"battery": 77' in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("uid", [1000, 65534, 0])
def test_another_uid_gets_access_denied_and_root_too(client, uid):
    code, told = client(uid, "read", "Oura stand-in")
    assert (code, told["error"], told["user"]) == (3, DENIED, uid), told


@pytest.mark.parametrize("name, interface, member", [("systemd1", "systemd1.Manager", "ListUnits"), ("login1", "login1.Manager", "ListSeats")])
def test_the_container_talks_to_nothing_else(client, name, interface, member):
    code, told = client(UID, "ask", f"org.freedesktop.{name}", f"/org/freedesktop/{name}", f"org.freedesktop.{interface}", member)
    assert (code, told["error"]) == (3, DENIED), told


def test_the_profile_is_loaded_and_the_container_works_under_it(machine, client):
    if machine.file("/sys/module/apparmor/parameters/enabled").content_string.strip() != "Y":
        assert not machine.file("/etc/apparmor.d/dockyard-bluetooth").exists
        return
    assert "dockyard-bluetooth (enforce)" in machine.file("/sys/kernel/security/apparmor/profiles").content_string
    # The engine looks for AppArmor at its start, and the parser may have come after it.
    machine.check_output("systemctl restart docker")
    code, told = client(UID, "read", "Oura stand-in", more="--security-opt apparmor=dockyard-bluetooth")
    assert (code, told["battery"]) == (0, 77), told
    image = machine.check_output("docker images --format '{{.Repository}}:{{.Tag}}' dockyard/ring-client").split()[0]
    label = machine.check_output(f"{CLOSED} --security-opt apparmor=dockyard-bluetooth --entrypoint cat {image} /proc/self/attr/current")
    assert label == "dockyard-bluetooth (enforce)"
