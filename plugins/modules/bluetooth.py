#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bluetooth for containers: an adapter that is on, and a system bus that lets exactly their uids talk to BlueZ."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bluetooth
short_description: An adapter that is on, and exactly the uids of containers that may talk to BlueZ
version_added: 0.1.0
description:
  - Gives each uid that containers run as an account on the host (dbus-daemon drops connections of uids without one), writes a policy of
    the system bus by which it may talk to C(org.bluez) and to nothing else, and takes C(org.bluez) from everybody else.
  - Unblocks adapters (rfkill), has BlueZ power them on at each start, and powers them on now.
  - Asks the bus as each of the uids whether it is so, and fails when it is not.
  - On hosts with AppArmor loads the profile C(dockyard-bluetooth), which the containers run under.
notes:
  - BlueZ has to be installed. Its own policy lets everybody talk to it, and is in a folder that dbus-daemon reads in no order, so the
    policy is F(/etc/dbus-1/dockyard-bluetooth.conf), included by F(/etc/dbus-1/system-local.conf), which is read last.
  - With O(state=absent) accounts stay, as files may belong to them.
author:
  - dockyard.fleet contributors (@dockyard)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
options:
  uids:
    description:
      - Users of containers, each with what it is for. Never 0.
      - A uid without an account gets one without login, home and password, C(dockyard-ble-<uid>).
    type: list
    elements: dict
    default: []
    suboptions:
      uid:
        description: The uid.
        type: int
        required: true
      purpose:
        description: What it is for, such as the stack's name.
        type: str
        default: a container
  confine_logins:
    description:
      - Whether a uid of O(uids) may be that of another account of the host, of a person such as V(1000) of C(pi) or of a service.
      - The policy then takes all of the system bus but BlueZ from it too. C(systemctl), C(loginctl) and a desktop do not work without
        C(sudo) any more.
    type: bool
    default: false
  users:
    description: Accounts of the host that may talk to BlueZ beside what they may anyway, such as V(pi) with a desktop.
    type: list
    elements: str
    default: []
  root:
    description:
      - Whether root may talk to BlueZ over the bus. Root of a container is root on the bus, so it may not, unless this is true.
      - Without it C(sudo bluetoothctl) finds no adapter; BlueZ itself, which runs as root, does its work.
    type: bool
    default: false
  power:
    description: Unblock the adapters and power them on.
    type: bool
    default: true
  apparmor:
    description: Load the AppArmor profile; V(auto) does so where the kernel has AppArmor switched on.
    type: str
    choices: [auto, 'yes', 'no']
    default: auto
  adapter_expected:
    description: Wait for an adapter although the kernel shows none, as when something else plugs it in.
    type: bool
    default: false
  wait_seconds:
    description: How long BlueZ may take to show an adapter.
    type: int
    default: 15
  state:
    description: With V(absent), the policy, its include and the profile are removed.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let the containers of uid 52101 talk to BlueZ
  dockyard.fleet.bluetooth:
    uids:
      - {uid: 52101, purpose: oura}

- name: The same, and a desktop's user keeps his headphones
  dockyard.fleet.bluetooth:
    uids:
      - {uid: 52101, purpose: oura}
    users: [pi]
"""

RETURN = r"""
available:
  description: Whether BlueZ runs and shows an adapter that is on. In check mode whether it will, as far as can be told.
  type: bool
  returned: success
adapters:
  description: The adapters that BlueZ shows.
  type: list
  elements: dict
  returned: success
  sample:
    - {name: hci0, address: "00:11:22:33:44:55", powered: true}
reason:
  description: Why Bluetooth is not available, or nothing.
  type: str
  returned: success
accounts:
  description: The account of each uid.
  type: dict
  returned: success
  sample: {"52101": dockyard-ble-52101}
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: success
"""

import grp
import json
import os
import pwd
import re
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import policy
from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth.access import PROFILE
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import units
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree

UNIT = "bluetooth.service"
LOADED_PROFILES = "/sys/kernel/security/apparmor/profiles"
APPARMOR_ENABLED = "/sys/module/apparmor/parameters/enabled"
NO_LOGIN = ("nologin", "false", "sync")
DENIED = re.compile(r"access denied|rejected send message|not authorized", re.IGNORECASE)
# Nobody there whom one could talk to.
NOBODY = re.compile(r"does not exist|not provided|ServiceUnknown|not activatable", re.IGNORECASE)
ASK_SECONDS = 5


class Refused(Exception):
    """Nothing (more) was done; the text says where, what was found, what is needed and what to do."""


class Bluetooth:
    """One run.

    :param module: AnsibleModule; :param root: file system root, another one in tests.
    """

    def __init__(self, module, root="/"):
        self.module = module
        self.params = module.params
        self.check = module.check_mode
        self.tree = Tree(root)
        self.actions = []
        self.diff = []

    # ---- doors -----------------------------------------------------------------------------------------------------

    def command(self, *argv, **kwargs):
        """(code, output, error) of a program; Refused where it fails and `may_fail` is not given."""
        may_fail = kwargs.pop("may_fail", False)
        code, out, err = self.module.run_command(list(argv), environ_update={"LC_ALL": "C", "LANGUAGE": "C"}, **kwargs)
        if code and not may_fail:
            raise Refused("%s: exit status %d: %s" % (" ".join(argv[:3]), code, (err or out).strip()[-300:]))
        return code, out, err

    def bus(self, uid, *words):
        """(code, JSON or None, error) of one question to the system bus, asked as a uid; nothing is started by it."""
        entry = pwd.getpwuid(uid)
        prefix = [] if uid == 0 else ["setpriv", "--reuid=%d" % uid, "--regid=%d" % entry.pw_gid, "--clear-groups"]
        code, out, err = self.command(*(prefix + ["busctl", "--system", "--json=short", "--auto-start=no", "--timeout=%d" % ASK_SECONDS] + list(words)),
                                      may_fail=True)
        try:
            return code, json.loads(out) if out.strip() else None, err.strip()
        except ValueError:
            return code, None, err.strip()

    def text(self, path):
        return self.tree.text_or_none(path)

    def write(self, path, wanted, what):
        """Put a text in its place by a rename; None removes it. Whether anything differed (bool)."""
        found = self.text(path)
        if found == wanted:
            return False
        self.actions.append("%s: %s" % (path, what if wanted is not None else "removed"))
        self.diff.append({"before_header": path, "after_header": path, "before": found or "", "after": wanted or ""})
        if self.check:
            return True
        full = self.tree.path(path)
        if wanted is None:
            os.unlink(full)
            return True
        os.makedirs(os.path.dirname(full), mode=0o755, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".dockyard-", dir=os.path.dirname(full))
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(wanted)
            os.chmod(beside, 0o644)
            # Keeps owner and mode of a file that is there.
            self.module.atomic_move(beside, full)
        finally:
            if os.path.lexists(beside):
                os.unlink(beside)
        return True

    # ---- accounts --------------------------------------------------------------------------------------------------

    def accounts(self):
        """{uid: account name}, the missing ones made. Raises Refused."""
        names = {}
        for entry in self.params["uids"]:
            uid = entry["uid"]
            if uid <= 0:
                raise Refused("uids: found %d; needed a uid other than root's: root in a container is the host's root on the system bus; "
                              "choose one that nobody else has" % uid)
            try:
                known = pwd.getpwuid(uid)
            except KeyError:
                names[uid] = policy.account(uid)
                continue
            login = known.pw_shell.rsplit("/", 1)[-1] not in NO_LOGIN
            # A service that loses the system bus is as bad as a person who does: systemd-network has such a uid, and so has nobody.
            if known.pw_name != policy.account(uid) and not self.params["confine_logins"]:
                raise Refused("uid %d for %s: found the account %s, %s; needed a uid that nobody else has, since the policy "
                              "takes all of the system bus but BlueZ from it; set dockyard_bluetooth_uid_<stack> to another one, or "
                              "bluetooth_confine_logins: true" % (uid, entry["purpose"], known.pw_name,
                                                                  "a person's who logs in with %s" % known.pw_shell if login else "a service's"))
            names[uid] = known.pw_name
        for uid, name in sorted(names.items()):
            try:
                pwd.getpwuid(uid)
            except KeyError:
                self.make(uid, name)
        return names

    def make(self, uid, name):
        self.actions.append("account %s with uid %d, without login" % (name, uid))
        if self.check:
            return
        shell = next((path for path in ("/usr/sbin/nologin", "/sbin/nologin") if os.path.exists(path)), "/bin/false")
        group = ["--user-group"]
        try:
            group = ["--gid", grp.getgrgid(uid).gr_name]
        except KeyError:
            pass
        self.command("useradd", "--uid", str(uid), "--no-create-home", "--home-dir", "/nonexistent", "--shell", shell, "--no-log-init",
                     "--comment", "Bluetooth of containers (dockyard.fleet)", *(group + [name]))

    # ---- the bus ---------------------------------------------------------------------------------------------------

    @staticmethod
    def has_group():
        try:
            grp.getgrnam("bluetooth")
        except KeyError:
            return False
        return True

    def policies(self, names):
        """The files of the bus; reloads it when one differed."""
        purposes = {}
        for entry in self.params["uids"]:
            purposes.setdefault(names[entry["uid"]], []).append(entry["purpose"])
        confined = {name: ", ".join(sorted(set(what))) for name, what in purposes.items()}
        text = policy.render(confined, self.params["users"], self.params["root"], self.has_group())
        # Both, in this order: an include of a file that is not there yet does nothing.
        differed = self.write(policy.POLICY_FILE, text, "the policy")
        differed = self.write(policy.LOCAL_FILE, policy.included(self.text(policy.LOCAL_FILE)), "includes the policy") or differed
        if differed:
            self.reload()

    def reload(self):
        self.actions.append("the system bus reads its policy again")
        if not self.check:
            code, unused, error = self.bus(0, "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
            if code:
                raise Refused("the system bus does not read its policy again: %s; see `journalctl -u dbus`" % error)

    def not_confined(self, names):
        """What the bus lets a uid do that it shall not (list of str)."""
        wrong = []
        for uid, name in sorted(names.items()):
            for other, path in (("org.freedesktop.systemd1", "/org/freedesktop/systemd1"), ("org.freedesktop.login1", "/org/freedesktop/login1")):
                code, unused, error = self.bus(uid, "call", other, path, "org.freedesktop.DBus.Peer", "Ping")
                if code == 0:
                    wrong.append("%s (uid %d) may talk to %s" % (name, uid, other))
                elif not DENIED.search(error) and not NOBODY.search(error):
                    wrong.append("%s (uid %d) cannot ask the bus: %s" % (name, uid, error))
        return wrong

    def confine(self, names):
        """Ask the bus whether the policy holds; once more after a reload, as somebody may have changed it behind our back."""
        wrong = self.not_confined(names)
        if wrong:
            self.reload()
            wrong = self.not_confined(names)
        if wrong:
            raise Refused("the system bus: found that %s; needed org.bluez only; another file below /etc/dbus-1 names that account, or the bus is "
                          "none that reads %s" % ("; ".join(wrong), policy.LOCAL_FILE))

    # ---- the adapter -----------------------------------------------------------------------------------------------

    def unblock(self):
        """rfkill: soft blocks go, hard ones are told. Reasons (list of str)."""
        reasons = []
        for name in self.tree.names("/sys/class/rfkill"):
            folder = "/sys/class/rfkill/%s/" % name
            if (self.text(folder + "type") or "").strip() != "bluetooth":
                continue
            if (self.text(folder + "hard") or "0").strip() == "1":
                reasons.append("%s is blocked by a switch of the hardware" % (self.text(folder + "name") or name).strip())
            if (self.text(folder + "soft") or "0").strip() == "1":
                self.actions.append("%s: unblocked" % (self.text(folder + "name") or name).strip())
                if not self.check:
                    with open(self.tree.path(folder + "soft"), "w", encoding="ascii") as stream:
                        stream.write("0")
        return reasons

    def service(self):
        """BlueZ runs, now and at each boot. Where the kernel has no Bluetooth it can't, and its unit's own condition says so."""
        if not units.installed(self.tree, UNIT):
            return
        if units.masked(self.tree, UNIT):
            raise Refused("%s: found it masked; needed it to run; `systemctl unmask %s`, or take Bluetooth from the stack" % (UNIT, UNIT))
        if not units.enabled(self.tree, UNIT):
            self.actions.append("%s: enabled" % UNIT)
            if not self.check:
                self.command("systemctl", "enable", UNIT)
        if self.tree.exists("/sys/class/bluetooth") and not units.active(self.tree, UNIT, "bluetoothd"):
            self.actions.append("%s: started" % UNIT)
            if not self.check:
                self.command("systemctl", "start", UNIT)

    def adapters(self, uid):
        """What BlueZ shows to a uid: list of {"name", "address", "powered"}, and why nothing can be seen (str)."""
        code, unused, error = self.bus(uid, "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "s", "org.bluez")
        if code:
            return [], "BlueZ does not run (%s)" % (error.split("\n")[-1] or "nobody owns org.bluez")
        code, answer, error = self.bus(uid, "call", "org.bluez", "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        if code or not answer:
            return [], "BlueZ does not answer uid %d: %s" % (uid, error)
        found = []
        for path, interfaces in sorted(answer["data"][0].items()):
            values = interfaces.get("org.bluez.Adapter1")
            if values is not None:
                found.append({"name": path.rsplit("/", 1)[-1], "path": path, "address": values.get("Address", {}).get("data", ""),
                              "powered": bool(values.get("Powered", {}).get("data"))})
        return found, "" if found else "BlueZ shows no adapter"

    def power(self, uid):
        """Wait for adapters, power them on. (adapters, reason)"""
        expected = self.params["adapter_expected"] or any(name.startswith("hci") and ":" not in name for name in self.tree.names("/sys/class/bluetooth"))
        deadline = time.monotonic() + (self.params["wait_seconds"] if expected and not self.check else 0)
        while True:
            found, reason = self.adapters(uid)
            if found or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        off = [adapter for adapter in found if not adapter["powered"]]
        if self.params["power"]:
            # It powers adapters on by itself right after its start.
            while off and time.monotonic() < deadline and any(action.endswith(": started") for action in self.actions):
                time.sleep(0.5)
                found, reason = self.adapters(uid)
                off = [adapter for adapter in found if not adapter["powered"]]
            for adapter in off:
                self.actions.append("%s: powered on" % adapter["name"])
                if self.check:
                    continue
                code, unused, error = self.bus(uid, "set-property", "org.bluez", adapter["path"], "org.bluez.Adapter1", "Powered", "b", "true")
                if code:
                    reason = "%s cannot be powered on: %s" % (adapter["name"], error)
            if off and not self.check:
                found, unused = self.adapters(uid)
        if found and not reason and not any(adapter["powered"] for adapter in found) and not (self.check and self.params["power"]):
            reason = "no adapter is powered on"
        return found, reason

    # ---- AppArmor --------------------------------------------------------------------------------------------------

    def apparmor(self):
        """The profile, where it is wanted."""
        wanted = self.params["apparmor"]
        if wanted == "no" or (wanted == "auto" and (self.text(APPARMOR_ENABLED) or "").strip() != "Y"):
            return
        parser = self.module.get_bin_path("apparmor_parser", opt_dirs=["/usr/sbin", "/sbin"])
        if not parser:
            if self.check:
                self.actions.append("AppArmor profile %s: loaded" % PROFILE)
                return
            raise Refused("AppArmor: found it switched on, and no apparmor_parser; needed the package apparmor, or bluetooth_apparmor: 'no'")
        differed = self.write(policy.PROFILE_FILE, policy.apparmor(), "the profile")
        try:
            loaded = re.search(r"^%s " % re.escape(PROFILE), self.text(LOADED_PROFILES) or "", re.MULTILINE) is not None
        except OSError:
            loaded = False
        if differed or not loaded:
            self.actions.append("AppArmor profile %s: loaded" % PROFILE)
            if not self.check:
                self.command(parser, "--replace", "--write-cache", self.tree.path(policy.PROFILE_FILE))

    # ---- the whole -------------------------------------------------------------------------------------------------

    def present(self):
        names = self.accounts()
        self.apparmor()
        self.policies(names)
        self.write(policy.MAIN_FILE, policy.auto_enabled(self.text(policy.MAIN_FILE)), "adapters are powered on at start")
        blocked = self.unblock() if self.params["power"] else []
        self.service()
        result = {"accounts": {str(uid): name for uid, name in names.items()}, "adapters": [], "available": False, "reason": ""}
        if not names:
            result["reason"] = "no uid is to use it"
        elif self.check and any(action.startswith(("account", "/etc/dbus-1")) for action in self.actions):
            # Nobody can be asked before there is an account and a policy.
            result["available"] = True
        else:
            self.confine(names)
            found, reason = self.power(sorted(names)[0])
            result["adapters"] = [{key: adapter[key] for key in ("name", "address", "powered")} for adapter in found]
            result["reason"] = reason and "; ".join([reason] + blocked)
            result["available"] = not reason
        return result

    def absent(self):
        differed = self.write(policy.LOCAL_FILE, policy.excluded(self.text(policy.LOCAL_FILE)), "includes the policy no more") \
            if policy.POLICY_FILE in (self.text(policy.LOCAL_FILE) or "") else False
        differed = self.write(policy.POLICY_FILE, None, "the policy") or differed
        if differed:
            self.reload()
        parser = self.module.get_bin_path("apparmor_parser", opt_dirs=["/usr/sbin", "/sbin"])
        if parser and self.text(policy.PROFILE_FILE) is not None and not self.check:
            self.command(parser, "--remove", self.tree.path(policy.PROFILE_FILE), may_fail=True)
        self.write(policy.PROFILE_FILE, None, "the profile")
        return {"accounts": {}, "adapters": [], "available": False, "reason": "state: absent"}

    def run(self):
        """:returns: dict, the module's result. Raises Refused, PolicyError, OSError."""
        result = self.absent() if self.params["state"] == "absent" else self.present()
        return dict(result, changed=bool(self.actions), actions=self.actions, diff=self.diff)


def main():
    """The module."""
    module = AnsibleModule(
        argument_spec={
            "uids": {"type": "list", "elements": "dict", "default": [],
                     "options": {"uid": {"type": "int", "required": True}, "purpose": {"type": "str", "default": "a container"}}},
            "confine_logins": {"type": "bool", "default": False},
            "users": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "bool", "default": False},
            "power": {"type": "bool", "default": True},
            "apparmor": {"type": "str", "choices": ["auto", "yes", "no"], "default": "auto"},
            "adapter_expected": {"type": "bool", "default": False},
            "wait_seconds": {"type": "int", "default": 15},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run = Bluetooth(module)
    try:
        result = run.run()
    except (Refused, policy.PolicyError) as error:
        module.fail_json(msg=str(error), actions=run.actions)
    except OSError as error:
        module.fail_json(msg="%s: %s" % (error.filename or "the host", error.strerror or error), actions=run.actions)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
