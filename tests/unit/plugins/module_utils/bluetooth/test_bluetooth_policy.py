# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bus policy judged as dbus-daemon does: contexts in their order, within one the last rule that matches."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import policy

# The rules of dbus-daemon's own system.conf and of BlueZ's bluetooth.conf (5.66) that decide here, in the order of reading.
STANDARD = """<busconfig>
  <policy context="default">
    <deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
  </policy>
  <policy user="root"><allow own="org.bluez"/><allow send_destination="org.bluez"/><allow send_destination="org.freedesktop.systemd1"/></policy>
  <policy group="bluetooth"><allow send_destination="org.bluez"/></policy>
  <policy context="default"><allow send_destination="org.bluez"/></policy>
  <policy context="default"><allow send_destination="org.freedesktop.systemd1" send_interface="org.freedesktop.DBus.Peer"/></policy>
</busconfig>"""


def allowed(text, user, kind, groups=(), **message):
    """What dbus-daemon says to one message (or name, kind own) of a user: rules of `default`, then his groups', then his own."""
    policies = [element for document in (STANDARD, text) for element in ElementTree.fromstring(document).findall("policy")]
    ordered = [one for one in policies if one.get("context") == "default"]
    ordered += [one for one in policies if one.get("group") in groups] + [one for one in policies if one.get("user") == user]
    verdict = False
    for rule in [rule for one in ordered for rule in one]:
        words = dict(rule.attrib)
        if kind == "own":
            matches = words.get("own") in ("*", message["name"])
        else:
            prefix = kind + "_"
            keys = {key[len(prefix):]: value for key, value in words.items() if key.startswith(prefix)}
            matches = bool(keys) and len(keys) == len(words) and all(message.get(key) == value for key, value in keys.items())
        if matches:
            verdict = rule.tag == "allow"
    return verdict


def call(text, user, destination, interface="org.freedesktop.DBus.Peer", member="Ping", groups=()):
    return allowed(text, user, "send", groups, type="method_call", destination=destination, interface=interface, member=member)


TEXT = policy.render({"dockyard-ble-52101": "oura"}, ["pi"])


def test_the_judge_knows_that_bluez_lets_everybody_in():
    empty = "<busconfig/>"
    assert call(empty, "mallory", "org.bluez") and call(empty, "root", "org.bluez") and call(empty, "mallory", "org.freedesktop.systemd1")
    assert not call(empty, "mallory", "org.freedesktop.timedate1")


@pytest.mark.parametrize("user, groups", [("mallory", ()), ("mallory", ("bluetooth",)), ("root", ()), ("root", ("bluetooth",)), ("nobody", ())])
def test_nobody_else_talks_to_bluez(user, groups):
    assert not call(TEXT, user, "org.bluez", "org.bluez.Adapter1", "StartDiscovery", groups)


def test_the_stack_talks_to_bluez_and_the_bus():
    assert call(TEXT, "dockyard-ble-52101", "org.bluez", "org.bluez.Device1", "Connect")
    assert call(TEXT, "dockyard-ble-52101", "org.freedesktop.DBus", "org.freedesktop.DBus", "AddMatch")


@pytest.mark.parametrize("destination, interface, member", [
    ("org.freedesktop.systemd1", "org.freedesktop.DBus.Peer", "Ping"), ("org.freedesktop.login1", "org.freedesktop.login1.Manager", "PowerOff"),
    ("org.freedesktop.DBus", "org.freedesktop.DBus", "UpdateActivationEnvironment"), ("org.freedesktop.DBus", "org.freedesktop.DBus", "StartServiceByName"),
    (None, "org.freedesktop.NetworkManager", "Sleep")])
def test_and_to_nothing_else(destination, interface, member):
    assert not call(TEXT, "dockyard-ble-52101", destination, interface, member)
    assert not call(TEXT, "dockyard-ble-52101", destination, interface, member, ("bluetooth",))


def test_the_stack_owns_no_name_and_hears_no_others():
    assert not allowed(TEXT, "dockyard-ble-52101", "own", name="org.bluez")
    assert not allowed(TEXT, "dockyard-ble-52101", "send", type="signal", destination=None, interface="org.bluez.Adapter1")
    for sender, hears in (("org.freedesktop.login1", False), ("org.bluez", True), ("org.freedesktop.DBus", True)):
        assert allowed(TEXT, "dockyard-ble-52101", "receive", type="signal", sender=sender) is hears
    assert allowed(TEXT, "dockyard-ble-52101", "receive", type="method_call", sender="org.bluez")
    assert not allowed(TEXT, "dockyard-ble-52101", "receive", type="method_call", sender="org.example")


def test_bluez_itself_goes_on_working():
    assert allowed(TEXT, "root", "own", name="org.bluez")
    assert call(TEXT, "root", "org.freedesktop.systemd1")


def test_a_person_with_a_desktop_keeps_his_headphones_and_all_else():
    assert call(TEXT, "pi", "org.bluez") and call(TEXT, "pi", "org.freedesktop.systemd1")


def test_root_when_asked_for():
    assert call(policy.render({"a": "x"}, root=True), "root", "org.bluez")


def test_a_container_s_account_is_never_one_of_the_unconfined():
    text = policy.render({"pi": "oura"}, ["pi"])
    assert text.count('policy user="pi"') == 1 and not call(text, "pi", "org.freedesktop.systemd1")


def test_without_the_group_it_is_not_named():
    assert "group=" not in policy.render({"a": "x"}, group=False) and 'group="bluetooth"' in policy.render({"a": "x"})


@pytest.mark.parametrize("name", ["a\"b", "x/><allow own=\"*\"", "", "a b", "-x"])
def test_an_account_s_name_is_no_xml(name):
    with pytest.raises(policy.PolicyError):
        policy.render({name: "x"})


def test_what_it_is_for_cannot_end_the_comment():
    # a stack's name has letters, digits, hyphens: two of them would be no XML
    ElementTree.fromstring(policy.render({"a": "my--ring"}))


# -- system-local.conf ------------------------------------------------------------------------------------------------

def test_the_file_that_is_read_last_is_made():
    text = policy.included(None)
    found = ElementTree.fromstring(text).find("include")
    assert found.text == "/etc/dbus-1/dockyard-bluetooth.conf" and found.get("ignore_missing") == "yes"
    assert policy.included(text) == text and policy.included("") == text
    assert policy.excluded(text) is None and policy.excluded(None) is None


def test_an_administrator_s_file_keeps_what_it_has():
    theirs = "<busconfig>\n  <policy user=\"alice\">\n    <allow own=\"org.alice\"/>\n  </policy>\n</busconfig>\n<!-- end -->\n"
    ours = policy.included(theirs)
    assert [element.tag for element in ElementTree.fromstring(ours)] == ["policy", "include"]
    assert policy.included(ours) == ours and policy.excluded(ours) == theirs


def test_a_file_that_is_no_configuration_is_not_touched():
    with pytest.raises(policy.PolicyError, match="system-local.conf: found no </busconfig>"):
        policy.included("hello")


# -- BlueZ's main.conf ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["[Policy]\nAutoEnable=true\n", "[General]\n\n[Policy]\n#AutoEnable=true\n", "[Policy]\n  AutoEnable = True\n"])
def test_adapters_are_on_already(text):
    assert policy.auto_enabled(text) == text


@pytest.mark.parametrize("text, wanted", [
    (None, "[Policy]\nAutoEnable=true\n"),
    ("[General]\nName=x\n", "[General]\nName=x\n\n[Policy]\nAutoEnable=true\n"),
    ("[Policy]\nAutoEnable=false\nResumeDelay=2\n", "[Policy]\nAutoEnable=true\nResumeDelay=2\n"),
    ("[Policy]\n#AutoEnable=false\n", "[Policy]\nAutoEnable=true\n#AutoEnable=false\n"),
    ("[General]\nAutoEnable=true\n[Policy]\n", "[General]\nAutoEnable=true\n[Policy]\nAutoEnable=true\n")])
def test_adapters_are_switched_on_at_start(text, wanted):
    assert policy.auto_enabled(text) == wanted
    assert policy.auto_enabled(wanted) == wanted


# -- AppArmor ---------------------------------------------------------------------------------------------------------

def test_the_profile_names_itself_and_allows_no_bus_but_bluez():
    text = policy.apparmor()
    assert "\nprofile dockyard-bluetooth " in text and "%(" not in text
    assert text.count("{") == text.count("}")
    sends = [line.strip() for line in text.splitlines() if line.strip().startswith("dbus (send)")]
    assert len(sends) == 2 and all("peer=(name=org.bluez)" in line or "interface=org.freedesktop.DBus " in line for line in sends)
    for rule in ("deny mount,", "deny capability sys_admin,", "deny /sys/firmware/** rwklx,"):
        assert rule in text
