# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets Bluetooth on a host, what speaks against it, and what the containers get."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import access

ENTRY = {"access": {"setting": "RING_BLUETOOTH"}, "uid": 52101, "gid": 1000, "services": ["backend"], "optional": True}
STACK = {"name": "my-ring", "bluetooth": ENTRY}
CLOSED = {"user": "1000:1000", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
WITH = {"bluetooth": {"adapters": ["hci0"], "apparmor": False}}
WITHOUT = {"bluetooth": {"adapters": [], "apparmor": False}}


def stack(**changes):
    return {"name": "my-ring", "bluetooth": dict(ENTRY, **changes)}


def service(**changes):
    return dict(copy.deepcopy(CLOSED), **changes)


# -- against the Compose files ----------------------------------------------------------------------------------------

def test_a_closed_service_is_fine():
    assert access.check(STACK, {"backend": service(), "other": {"image": "x"}}) == []


def test_a_stack_without_bluetooth_is_not_asked_for_anything():
    assert access.check({"name": "x"}, {"web": {"privileged": True}}) == []


def test_uid_0_is_refused():
    found = access.check(stack(uid=0), {"backend": service()})
    assert len(found) == 1 and found[0].startswith("bluetooth/uid: found 0; needed a uid other than root's")


@pytest.mark.parametrize("change, word", [
    ({"cap_drop": []}, "cap_drop: none"), ({"cap_drop": ["NET_RAW"]}, "cap_drop: ['NET_RAW']"), ({"security_opt": []}, "no no-new-privileges"),
    ({"security_opt": ["no-new-privileges:false"]}, "no no-new-privileges"), ({"privileged": True}, "privileged: True"),
    ({"cap_add": ["NET_ADMIN"]}, "cap_add: ['NET_ADMIN']"), ({"network_mode": "host"}, "network_mode: host")])
def test_what_would_let_a_container_become_more_is_refused(change, word):
    found = access.check(STACK, {"backend": service(**change)})
    assert len(found) == 1 and word in found[0] and found[0].startswith("bluetooth/services: 'backend': found "), found


def test_a_service_that_is_not_there():
    assert access.check(stack(services=["front"]), {"backend": service()}) == ["bluetooth/services: compose.yaml has no service 'front'; it has: backend"]


@pytest.mark.parametrize("mount", ["/run/dbus:/run/dbus", "/var/run/dbus:/var/run/dbus:ro", "/run/dbus/system_bus_socket:/run/dbus/system_bus_socket",
                                   "/run:/host/run", {"type": "bind", "source": "/run/dbus/../dbus/system_bus_socket", "target": "/bus"}])
@pytest.mark.parametrize("user", [None, "0", "0:0", "root", "00:1000"])
def test_a_container_of_root_never_has_the_bus_not_even_by_hand(mount, user):
    found = access.check({"name": "x"}, {"web": {"volumes": ["data:/data", mount], "user": user}})
    assert len(found) == 1 and "in a container of root" in found[0] and "stack.yml" in found[0], found


@pytest.mark.parametrize("mount", ["/run/dbus:/run/dbus", {"type": "bind", "source": "/run/dbus", "target": "/run/dbus"}])
def test_another_uid_may_have_it_by_hand(mount):
    assert access.check({"name": "x"}, {"web": {"volumes": [mount], "user": "1000:1000"}}) == []


def test_other_folders_are_no_bus():
    assert access.check({"name": "x"}, {"web": {"volumes": ["/run/udev:/run/udev", "/srv/run/dbus:/x", "data:/data"]}}) == []


# -- on a host --------------------------------------------------------------------------------------------------------

def test_none_is_nothing():
    assert access.resolve(STACK, "none", None, True, "auto", WITH) == (None, [], [])
    assert access.resolve({"name": "x"}, "dbus", None, False, "auto", WITH) == (None, [], [])


def test_the_bus():
    entry, problems, notes = access.resolve(STACK, "dbus", None, False, "auto", WITH)
    assert (problems, notes) == ([], [])
    assert entry == {"stack": "my-ring", "access": "dbus", "uid": 52101, "gid": 1000, "services": ["backend"], "optional": True,
                     "expected": False, "apparmor": False}


def test_the_group_is_the_uid_s_own_unless_named():
    definition = {"name": "x", "bluetooth": {"access": "dbus", "uid": 7000, "services": ["a"]}}
    assert access.resolve(definition, "dbus", "7001", False, "auto", WITH)[0]["gid"] == 7001


@pytest.mark.parametrize("given, word", [(0, "found 0; needed a uid other than root's"), ("0", "found 0;"), ("-1", "needed a uid"), ("pi", "needed a uid"),
                                         (True, "needed a uid")])
def test_the_operator_s_uid_is_checked(given, word):
    entry, problems, unused = access.resolve(STACK, "dbus", given, False, "auto", WITH)
    assert entry is None and len(problems) == 1 and word in problems[0] and "dockyard_bluetooth_uid_my_ring" in problems[0]


def test_an_unknown_access_and_an_unknown_word_on_the_adapter():
    assert access.resolve(STACK, "usb", None, False, "auto", WITH)[1] == [
        "my-ring, bluetooth: found 'usb'; needed one of: none, dbus, host; correct the setting that it follows"]
    assert "dockyard_bluetooth_adapter: found 'yes'" in access.resolve(STACK, "dbus", None, False, "yes", WITH)[1][0]


def test_without_an_adapter_an_optional_stack_runs_and_says_so():
    entry, problems, notes = access.resolve(STACK, "dbus", None, False, "auto", WITHOUT)
    assert entry is None and problems == []
    assert notes == ["my-ring runs without Bluetooth: no adapter, the kernel shows none (dockyard_bluetooth_adapter: present if one will be there)"]


def test_without_an_adapter_a_stack_that_needs_one_is_refused_once():
    entry, problems, notes = access.resolve(stack(optional=False), "dbus", None, False, "auto", WITHOUT)
    assert (entry, notes) == (None, []) and len(problems) == 1
    assert problems[0].startswith("my-ring, Bluetooth: found no adapter: the kernel shows none; needed one; plug one in, set dockyard_bluetooth_adapter")


@pytest.mark.parametrize("facts, adapter, there", [
    (WITH, "auto", True), (WITH, "absent", False), (WITHOUT, "present", True), ({}, "auto", True), ({"bluetooth": None}, "auto", True),
    ({"bluetooth": {"adapters": None}}, "auto", True), ({"os": {"family": "darwin"}, "bluetooth": None}, "auto", False)])
def test_what_nobody_knows_is_not_held_against_a_host(facts, adapter, there):
    entry, problems, notes = access.resolve(STACK, "dbus", None, False, adapter, facts)
    assert (entry is not None, len(notes)) == (there, 0 if there else 1) and problems == []


def test_a_pi_is_told_where_its_adapter_may_be_switched_off():
    assert "dtoverlay=disable-bt" in access.resolve(STACK, "dbus", None, False, "auto", dict(WITHOUT, pi={"model": "Raspberry Pi 4"}))[2][0]


def test_host_mode_is_asked_for_twice_and_says_what_it_opens():
    entry, problems, unused = access.resolve(STACK, "host", None, False, "auto", WITH)
    assert entry is None and len(problems) == 1
    for word in ("asked for once", "privileged", "the host's network", "the whole folder of the system bus", "backend",
                 "dockyard_bluetooth_host_my_ring: true"):
        assert word in problems[0], word
    entry, problems, notes = access.resolve(STACK, "host", None, True, "auto", WITH)
    assert entry["access"] == "host" and problems == [] and len(notes) == 1 and "privileged" in notes[0] and "host mode" in notes[0]


def test_two_stacks_do_not_share_a_uid():
    one = access.resolve(STACK, "dbus", None, False, "auto", WITH)[0]
    assert access.conflicts([one, dict(one, stack="other", uid=1)]) == []
    assert access.conflicts([one, dict(one, stack="other")]) == [
        "uid 52101 of Bluetooth: found my-ring and other; needed one uid a stack; set dockyard_bluetooth_uid_other"]


# -- what the containers get ------------------------------------------------------------------------------------------

def test_the_overlay_is_the_socket_and_the_uid_and_nothing_else():
    entry = access.resolve(STACK, "dbus", None, False, "auto", WITH)[0]
    assert access.overlay(entry) == {"backend": {
        "user": "52101:1000", "environment": {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/dbus/system_bus_socket"},
        "volumes": [{"type": "bind", "source": "/run/dbus/system_bus_socket", "target": "/run/dbus/system_bus_socket", "read_only": True,
                     "bind": {"create_host_path": False}}]}}


def test_the_profile_where_the_kernel_has_apparmor():
    entry = access.resolve(STACK, "dbus", None, False, "auto", {"bluetooth": {"adapters": ["hci0"], "apparmor": True}})[0]
    assert access.overlay(entry)["backend"]["security_opt"] == ["apparmor=dockyard-bluetooth"]


def test_host_mode_is_the_stack_s_own_file_but_never_root():
    assert access.overlay(None) == {}
    assert access.overlay(access.resolve(STACK, "host", None, True, "auto", WITH)[0]) == {"backend": {"user": "52101:1000"}}
