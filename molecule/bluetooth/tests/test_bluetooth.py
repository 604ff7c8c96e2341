# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may talk to BlueZ, asked from containers without any power, and from the host."""

from __future__ import annotations

import json
import os

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import policy

RUNNER = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"])
testinfra_hosts = RUNNER.get_hosts("all")
SOCKET = "/run/dbus/system_bus_socket"
CLOSED = "docker run --rm --cap-drop ALL --security-opt no-new-privileges --read-only --network none"
BATTERY = "/org/bluez/hci0/dev_00_11_22_33_44_55/service0001/char0002"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
# The one that may, on each host.
USERS = {"ble-trixie": (52102, "dockyard-ble-52102"), "ble-bookworm": (1000, "admin")}


@pytest.fixture(name="root")
def fixture_root(host):
    with host.sudo():
        yield host


@pytest.fixture(name="docker")
def fixture_docker():
    """The host that has Docker, as root."""
    host = RUNNER.get_host("ble-trixie")
    with host.sudo():
        yield host


@pytest.fixture(name="who")
def fixture_who(host):
    return USERS[host.backend.host]


def busctl(root, uid, *words):
    """One call to the system bus as a uid of the host: (code, output and error)."""
    done = root.run("setpriv --reuid=%d --regid=%d --clear-groups busctl --system --auto-start=no --timeout=10 call %s" % (uid, uid, " ".join(words)))
    return done.rc, done.stdout + done.stderr


def client(docker, uid, *words, more=""):
    """The client in a container of a uid: (code, what it printed)."""
    image = docker.check_output("docker images --format '{{.Repository}}:{{.Tag}}' dockyard/ring-client").split()[0]
    done = docker.run("%s --user %d:%d %s -v %s:%s %s %s" % (CLOSED, uid, uid, more, SOCKET, SOCKET, image, " ".join("'%s'" % word for word in words)))
    assert done.stdout, done.stderr
    return done.rc, json.loads(done.stdout)


# -- on the host ------------------------------------------------------------------------------------------------------

def test_one_uid_may_talk_to_bluez_and_to_nothing_else(root, who):
    assert busctl(root, who[0], "org.bluez", "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0] == 0
    for name, path in (("systemd1", "systemd1"), ("login1", "login1")):
        code, told = busctl(root, who[0], "org.freedesktop." + name, "/org/freedesktop/" + path, "org.freedesktop.DBus.Peer", "Ping")
        assert code != 0 and "Access denied" in told, told
    code, told = busctl(root, who[0], "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "StartServiceByName", "su",
                        "org.freedesktop.login1", "0")
    assert code != 0 and "Access denied" in told, told


@pytest.mark.parametrize("uid", [1501, 65534, 0])
def test_nobody_else_may(root, uid):
    for words in (("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"), (BATTERY, "org.bluez.GattCharacteristic1", "ReadValue", "a{sv}", "0")):
        code, told = busctl(root, uid, "org.bluez", *words)
        assert code != 0 and "Access denied" in told, told


def test_the_group_of_bluez_does_not_help(root):
    group = root.check_output("getent group bluetooth").split(":")[2]
    done = root.run("setpriv --reuid=1501 --regid=1501 --groups=%s busctl --system --auto-start=no tree org.bluez" % group)
    assert "Access denied" in done.stdout + done.stderr


def test_the_others_keep_the_rest_of_the_bus(root):
    assert busctl(root, 1501, "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "ListSeats")[0] == 0
    assert busctl(root, 0, "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.DBus.Peer", "Ping")[0] == 0


def test_a_person_who_was_named_may_too(root):
    assert busctl(root, 1502, "org.bluez", "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0] == 0
    assert busctl(root, 1502, "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "ListSeats")[0] == 0


def test_the_administrator_s_rules_are_still_there(root):
    text = root.file("/etc/dbus-1/system-local.conf").content_string
    assert 'own="org.example.Alice"' in text and text.count("dockyard-bluetooth.conf") == 1


def test_the_account_has_no_login(root, who):
    user = root.user(who[1])
    assert user.uid == who[0]
    if who[1].startswith("dockyard-"):
        assert user.shell.endswith("nologin") and user.home == "/nonexistent" and not root.file("/nonexistent").exists
        assert root.check_output("passwd --status %s" % who[1]).split()[1] == "L"


def test_the_host_is_well(root):
    assert root.check_output("systemctl is-system-running") == "running"
    assert root.check_output("systemctl is-active dbus") == "active"


# -- in containers ----------------------------------------------------------------------------------------------------

def test_a_container_without_power_scans_connects_and_reads(docker):
    code, told = client(docker, 52102, "read", "Oura stand-in")
    assert (code, told["battery"], told["connected"], told["user"]) == (0, 77, True, 52102), told


def test_the_stack_s_own_container_does(docker):
    done = docker.run("python3 /usr/local/lib/dockyard/run_action.py --stack ring --action battery 2>/dev/null || "
                      "cd /etc/dockyard/stacks/ring && docker compose run --rm client read 'Oura stand-in'")
    assert '"battery": 77' in done.stdout, done.stdout + done.stderr


def test_it_has_the_socket_and_nothing_more(docker):
    config = json.loads(docker.check_output("cd /etc/dockyard/stacks/ring && docker compose --profile tools config --format json"))["services"]["client"]
    assert config["user"] == "52102:52102" and config["network_mode"] == "none" and config["read_only"] is True
    assert config["cap_drop"] == ["ALL"] and not {"cap_add", "privileged", "devices", "ports"} & set(config)
    assert [(mount["source"], mount["target"], mount["read_only"]) for mount in config["volumes"]] == [(SOCKET, SOCKET, True)]


@pytest.mark.parametrize("uid", [1501, 65534])
def test_another_uid_s_container_gets_access_denied(docker, uid):
    code, told = client(docker, uid, "read", "Oura stand-in")
    assert (code, told["error"], told["user"]) == (3, DENIED, uid), told


def test_root_of_a_container_gets_access_denied(docker):
    code, told = client(docker, 0, "read", "Oura stand-in")
    assert (code, told["error"], told["user"]) == (3, DENIED, 0), told


def test_a_uid_that_the_host_does_not_know_is_not_let_in(docker):
    code, told = client(docker, 52999, "read", "Oura stand-in")
    assert code in (3, 4) and "battery" not in told, told


@pytest.mark.parametrize("destination, path, interface, member", [
    ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "ListUnits"),
    ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "ListSeats"),
    ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Monitoring", "BecomeMonitor")])
def test_the_container_talks_to_nothing_else(docker, destination, path, interface, member):
    code, told = client(docker, 52102, "ask", destination, path, interface, member)
    assert (code, told["error"]) == (3, DENIED), told


def test_the_profile_is_one_that_apparmor_understands(docker):
    """Loaded it is only where the kernel has AppArmor, as in `make test-pi`."""
    done = docker.run("printf %%s %s | apparmor_parser --skip-kernel-load --skip-cache --quiet", policy.apparmor())
    assert done.rc == 0, done.stderr
    assert docker.run("printf %%s %s | apparmor_parser --skip-kernel-load --skip-cache --quiet", policy.apparmor() + "nonsense").rc != 0
