# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bluetooth on a made-up host: its files below a folder, its accounts and programs scripted."""

from __future__ import annotations

import json
import os
import shutil
import types

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import policy
from ansible_collections.dockyard.fleet.plugins.modules import bluetooth

DENIED = "Call failed: Access denied"


class Machine:
    """A host: files, accounts, what the bus answers. It is the AnsibleModule, too."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.params = {"uids": [{"uid": 52101, "purpose": "oura"}], "confine_logins": False, "users": [], "root": False, "power": True, "apparmor": "auto",
                       "adapter_expected": False, "wait_seconds": 0, "state": "present"}
        self.check_mode = False
        self.commands = []
        self.users = {0: self.account("root", 0, "/bin/bash"), 1000: self.account("pi", 1000, "/bin/bash"), 65534: self.account("nobody", 65534)}
        self.adapters = {"/org/bluez/hci0": {"Address": "00:11:22:33:44:55", "Powered": True}}
        self.bluez = True
        # Whether the policy that is in the files is in force; BlueZ's own lets everybody in, and systemd answers everybody.
        self.loaded = None
        self.deaf = False
        self.programs = {}
        self.write("/usr/lib/systemd/system/bluetooth.service", "")
        self.link("/etc/systemd/system/bluetooth.target.wants/bluetooth.service")
        self.write("/etc/bluetooth/main.conf", "[Policy]\n#AutoEnable=true\n")
        monkeypatch.setattr(bluetooth.pwd, "getpwuid", self.getpwuid)
        monkeypatch.setattr(bluetooth.grp, "getgrgid", self.no_group)
        monkeypatch.setattr(bluetooth.grp, "getgrnam", lambda name: types.SimpleNamespace(gr_name=name))

    @staticmethod
    def account(name, uid, shell="/usr/sbin/nologin"):
        return types.SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=uid, pw_shell=shell)

    def getpwuid(self, uid):
        return self.users[uid]

    @staticmethod
    def no_group(gid):
        raise KeyError(gid)

    def path(self, path):
        return str(self.root) + path

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as stream:
            stream.write(text)

    def link(self, path):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        os.symlink("/nowhere", self.path(path))

    def read(self, path):
        with open(self.path(path), encoding="utf-8") as stream:
            return stream.read()

    def policy(self):
        included = os.path.exists(self.path(policy.LOCAL_FILE)) and policy.POLICY_FILE in self.read(policy.LOCAL_FILE)
        return self.read(policy.POLICY_FILE) if included and os.path.exists(self.path(policy.POLICY_FILE)) else None

    # -- what AnsibleModule has

    def atomic_move(self, source, target):
        shutil.move(source, target)

    def get_bin_path(self, name, opt_dirs=None):
        return self.programs.get(name)

    def run_command(self, argv, environ_update=None):
        self.commands.append(argv)
        words = argv[argv.index("busctl"):] if "busctl" in argv else argv
        uid = int(argv[1].partition("=")[2]) if argv[0] == "setpriv" else 0
        if words[0] == "useradd":
            uid = int(words[words.index("--uid") + 1])
            self.users[uid] = self.account(words[-1], uid, words[words.index("--shell") + 1])
            return 0, "", ""
        if words[0] == "systemctl":
            if words[1] == "start":
                self.bluez = True
            return 0, "", ""
        if words[0] != "busctl":
            return 0, "", ""
        return self.bus(uid, [word for word in words[1:] if not word.startswith("--")])

    def bus(self, uid, words):
        name = self.users[uid].pw_name
        confined = self.loaded is not None and 'policy user="%s">\n    <deny own' % name in self.loaded
        if words[:2] == ["call", "org.freedesktop.DBus"]:
            if words[4] == "ReloadConfig":
                self.loaded = None if self.deaf else self.policy()
                return 0, "", ""
            return (0, json.dumps({"type": "s", "data": [":1.7"]}), "") if self.bluez else (1, "", "Call failed: Could not get owner of name 'org.bluez'")
        if words[1] != "org.bluez":
            return (1, "", DENIED) if confined else (0, "", "")
        if self.loaded is not None and not confined:
            return 1, "", DENIED
        if words[0] == "set-property":
            self.adapters[words[2]]["Powered"] = words[-1] == "true"
            return 0, "", ""
        answer = {path: {"org.bluez.Adapter1": {key: {"type": "s", "data": value} for key, value in values.items()}} for path, values in self.adapters.items()}
        return 0, json.dumps({"type": "a{oa{sa{sv}}}", "data": [answer]}), ""

    # -- runs

    def run(self, **params):
        self.params.update(params)
        self.commands = []
        return bluetooth.Bluetooth(self, str(self.root)).run()

    def programs_run(self):
        return [argv[argv.index("busctl"):] if "busctl" in argv else argv for argv in self.commands]


@pytest.fixture(name="machine")
def fixture_machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_a_fresh_host(machine):
    result = machine.run()
    assert result["changed"] and result["available"] and result["reason"] == ""
    assert result["accounts"] == {"52101": "dockyard-ble-52101"}
    assert result["adapters"] == [{"name": "hci0", "address": "00:11:22:33:44:55", "powered": True}]
    assert result["actions"] == [
        "account dockyard-ble-52101 with uid 52101, without login", "/etc/dbus-1/dockyard-bluetooth.conf: the policy",
        "/etc/dbus-1/system-local.conf: includes the policy", "the system bus reads its policy again"]
    made = next(argv for argv in machine.commands if argv[0] == "useradd")
    assert made[made.index("--home-dir") + 1] == "/nonexistent" and "--no-create-home" in made and "--user-group" in made
    assert "dockyard-ble-52101" in machine.loaded and "oura" in machine.loaded
    assert os.stat(machine.path(policy.POLICY_FILE)).st_mode & 0o777 == 0o644


def test_a_second_run_changes_nothing_and_only_asks(machine):
    machine.run()
    result = machine.run()
    assert (result["changed"], result["actions"], result["available"]) == (False, [], True)
    assert [argv[-1] for argv in machine.programs_run()] == ["Ping", "Ping", "org.bluez", "GetManagedObjects"]
    assert all(argv[:1] == ["setpriv"] and "--clear-groups" in argv and "--auto-start=no" in argv for argv in machine.commands)


def test_check_mode_changes_nothing(machine):
    machine.check_mode = True
    before = sorted(os.listdir(machine.path("/etc")))
    result = machine.run()
    assert result["changed"] and result["available"] and len(result["actions"]) == 4
    assert machine.commands == [] and sorted(os.listdir(machine.path("/etc"))) == before and 52101 not in machine.users
    assert [one["after_header"] for one in result["diff"]] == [policy.POLICY_FILE, policy.LOCAL_FILE]


def test_uid_0_is_refused(machine):
    with pytest.raises(bluetooth.Refused, match="found 0; needed a uid other than root's"):
        machine.run(uids=[{"uid": 0, "purpose": "x"}])
    assert machine.commands == []


def test_a_person_s_uid_is_refused_unless_asked_for(machine):
    with pytest.raises(bluetooth.Refused, match=r"uid 1000 for oura: found the account pi, a person's .* set dockyard_bluetooth_uid_<stack>"):
        machine.run(uids=[{"uid": 1000, "purpose": "oura"}])
    assert machine.commands == [] and not os.path.exists(machine.path(policy.POLICY_FILE))
    result = machine.run(confine_logins=True)
    assert result["accounts"] == {"1000": "pi"} and result["available"]
    assert not any(argv[0] == "useradd" for argv in machine.commands)


def test_a_service_s_uid_is_refused_unless_asked_for(machine):
    """Such as systemd-network's: its own policy would be overruled, and the host lose its network at the next lease."""
    with pytest.raises(bluetooth.Refused, match=r"uid 65534 for x: found the account nobody, a service's; needed a uid that nobody else has"):
        machine.run(uids=[{"uid": 65534, "purpose": "x"}])
    assert machine.commands == [] and not os.path.exists(machine.path(policy.POLICY_FILE))
    assert machine.run(uids=[{"uid": 65534, "purpose": "x"}], confine_logins=True)["accounts"] == {"65534": "nobody"}


def test_an_account_that_an_earlier_run_made_is_taken_as_it_is(machine):
    machine.users[52101] = machine.account(policy.account(52101), 52101)
    assert machine.run(uids=[{"uid": 52101, "purpose": "x"}])["accounts"] == {"52101": policy.account(52101)}
    assert not any(argv[0] == "useradd" for argv in machine.commands)


def test_a_changed_policy_is_put_right(machine):
    machine.run()
    machine.write(policy.POLICY_FILE, "<busconfig/>")
    result = machine.run()
    assert result["actions"] == ["/etc/dbus-1/dockyard-bluetooth.conf: the policy", "the system bus reads its policy again"]


def test_a_bus_that_forgot_the_policy_reads_it_again(machine):
    machine.run()
    machine.loaded = None
    result = machine.run()
    assert result["actions"] == ["the system bus reads its policy again"] and result["available"]


def test_a_bus_that_does_not_confine_is_told(machine):
    machine.deaf = True
    with pytest.raises(bluetooth.Refused, match=r"dockyard-ble-52101 \(uid 52101\) may talk to org.freedesktop.systemd1; .*needed org.bluez only"):
        machine.run()


def test_an_adapter_that_is_off_is_powered_on(machine):
    machine.adapters["/org/bluez/hci0"]["Powered"] = False
    result = machine.run()
    assert "hci0: powered on" in result["actions"] and result["available"] and result["adapters"][0]["powered"]
    machine.adapters["/org/bluez/hci0"]["Powered"] = False
    result = machine.run(power=False)
    assert not result["available"] and result["reason"] == "no adapter is powered on" and not result["changed"]


def test_check_mode_says_that_it_would_power_on(machine):
    machine.run()
    machine.adapters["/org/bluez/hci0"]["Powered"] = False
    machine.check_mode = True
    result = machine.run()
    assert result["actions"] == ["hci0: powered on"] and result["available"]
    assert not machine.adapters["/org/bluez/hci0"]["Powered"]


@pytest.mark.parametrize("bluez, reason", [
    (True, "BlueZ shows no adapter"), (False, "BlueZ does not run (Call failed: Could not get owner of name 'org.bluez')")])
def test_no_adapter_is_a_reason_and_no_failure(machine, bluez, reason):
    machine.adapters, machine.bluez = {}, bluez
    result = machine.run()
    assert (result["available"], result["reason"], result["adapters"]) == (False, reason, [])


def switch(machine, **values):
    for name, value in dict({"type": "bluetooth", "name": "hci0", "soft": "0", "hard": "0"}, **values).items():
        machine.write("/sys/class/rfkill/rfkill3/" + name, value + "\n")


def test_a_soft_block_goes(machine):
    switch(machine, soft="1")
    assert "hci0: unblocked" in machine.run()["actions"]
    assert machine.read("/sys/class/rfkill/rfkill3/soft").strip() == "0"
    assert not machine.run()["changed"]


def test_another_radio_stays_blocked(machine):
    switch(machine, type="wlan", soft="1")
    machine.run()
    assert machine.read("/sys/class/rfkill/rfkill3/soft").strip() == "1"


def test_a_hard_block_is_told(machine):
    switch(machine, hard="1")
    machine.adapters = {}
    assert machine.run()["reason"] == "BlueZ shows no adapter; hci0 is blocked by a switch of the hardware"


def test_the_service_is_started_where_the_kernel_has_bluetooth(machine):
    os.makedirs(machine.path("/sys/class/bluetooth/hci0"))
    os.unlink(machine.path("/etc/systemd/system/bluetooth.target.wants/bluetooth.service"))
    machine.bluez = False
    result = machine.run()
    assert ["systemctl", "enable", "bluetooth.service"] in machine.commands and ["systemctl", "start", "bluetooth.service"] in machine.commands
    assert result["available"]


def test_a_masked_service_is_refused(machine):
    os.symlink("/dev/null", machine.path("/etc/systemd/system/bluetooth.service"))
    with pytest.raises(bluetooth.Refused, match="bluetooth.service: found it masked"):
        machine.run()


def test_the_profile_is_loaded_where_the_kernel_has_apparmor(machine):
    machine.write("/sys/module/apparmor/parameters/enabled", "Y\n")
    with pytest.raises(bluetooth.Refused, match="AppArmor: found it switched on, and no apparmor_parser"):
        machine.run()
    machine.programs["apparmor_parser"] = "/usr/sbin/apparmor_parser"
    machine.run()
    assert ["/usr/sbin/apparmor_parser", "--replace", "--write-cache", machine.path(policy.PROFILE_FILE)] in machine.commands
    machine.write("/sys/kernel/security/apparmor/profiles", "docker-default (enforce)\ndockyard-bluetooth (enforce)\n")
    assert not machine.run()["changed"]
    machine.write("/sys/kernel/security/apparmor/profiles", "docker-default (enforce)\n")
    assert machine.run()["actions"] == ["AppArmor profile dockyard-bluetooth: loaded"]


def test_no_profile_without_apparmor_or_when_unwanted(machine):
    machine.run()
    assert not os.path.exists(machine.path(policy.PROFILE_FILE))
    machine.write("/sys/module/apparmor/parameters/enabled", "Y\n")
    machine.run(apparmor="no")
    assert not os.path.exists(machine.path(policy.PROFILE_FILE))


def test_absent_takes_it_all_back_and_an_administrator_s_file_stays(machine):
    theirs = "<busconfig>\n  <limit name=\"auth_timeout\">9</limit>\n</busconfig>\n"
    machine.write(policy.LOCAL_FILE, theirs)
    machine.run()
    assert machine.read(policy.LOCAL_FILE) != theirs
    result = machine.run(state="absent")
    assert result["changed"] and machine.read(policy.LOCAL_FILE) == theirs and not os.path.exists(machine.path(policy.POLICY_FILE))
    assert machine.loaded is None and not machine.run()["changed"]
