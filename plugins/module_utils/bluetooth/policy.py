# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of the files on a host: the bus policy, where it is included, the AppArmor profile, BlueZ's configuration. Pure."""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth.access import PROFILE

POLICY_FILE = "/etc/dbus-1/dockyard-bluetooth.conf"
# The one file that dbus-daemon reads after all others: within a folder it has no order, and BlueZ's own file, which lets everybody in,
# is in /etc/dbus-1/system.d before Debian 13.
LOCAL_FILE = "/etc/dbus-1/system-local.conf"
PROFILE_FILE = "/etc/apparmor.d/%s" % PROFILE
MAIN_FILE = "/etc/bluetooth/main.conf"
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*[$]?$")

_DOCTYPE = ('<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"\n'
            ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n')
_INCLUDE = '<include ignore_missing="yes">%s</include>' % POLICY_FILE
_HEADER = "Written by dockyard.fleet (role bluetooth); changes made here are replaced by its next run."

_REFUSE = '    <deny send_destination="org.bluez"/>\n'
_CONFINED = """\
  <!-- The containers of %(what)s: BlueZ, what the bus itself answers, and nothing else. -->
  <policy user="%(user)s">
    <deny own="*"/>
    <deny send_type="method_call"/>
    <deny send_type="signal"/>
    <deny receive_type="method_call"/>
    <deny receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="StartServiceByName"/>
    <allow send_destination="org.bluez"/>
    <allow receive_sender="org.bluez"/>
    <allow receive_sender="org.freedesktop.DBus"/>
  </policy>
"""


class PolicyError(ValueError):
    """A file on the host is not what can be edited; the text says where, what was found and what is needed."""


def account(uid):
    """Name of the account that is made for a uid that has none (str)."""
    return "dockyard-ble-%d" % uid


def render(confined, others=(), root=False, group=True):
    """The bus policy.

    :arg confined: dict of account name to what it is for (str); they may talk to BlueZ and to nothing else.
    :arg others: account names that may talk to BlueZ beside what they may anyway.
    :arg root: bool, whether root may talk to BlueZ. Root of a container is root on the bus.
    :arg group: bool, whether the host has the group bluetooth, which BlueZ's own policy lets in.
    :returns: str
    """
    for name in list(confined) + list(others):
        if not NAME.match(name):
            raise PolicyError("bus policy: found the account name %r; needed letters, digits, hyphens, dots and underscores" % name)
    text = _DOCTYPE + "<!-- %s -->\n<busconfig>\n" % _HEADER
    text += "  <!-- BlueZ lets everybody talk to it. -->\n  <policy context=\"default\">\n%s  </policy>\n" % _REFUSE
    if group:
        text += "  <!-- A container may have any group. -->\n  <policy group=\"bluetooth\">\n%s  </policy>\n" % _REFUSE
    if not root:
        text += "  <!-- Root of a container is root here. BlueZ itself runs as root and goes on owning its name. -->\n"
        text += "  <policy user=\"root\">\n%s  </policy>\n" % _REFUSE
    for name in sorted(set(others) - set(confined)):
        text += '  <policy user="%s">\n    <allow send_destination="org.bluez"/>\n  </policy>\n' % name
    for name, what in sorted(confined.items()):
        # Two hyphens end a comment.
        text += _CONFINED % {"user": name, "what": re.sub(r"-(?=-)", "- ", re.sub(r"[^A-Za-z0-9_., -]", "_", what))}
    return text + "</busconfig>\n"


def included(text):
    """LOCAL_FILE with our file included last.

    :arg text: str, or None when there is no such file.
    :returns: str; the same text when it is so already.
    :raises PolicyError: a text that is no bus configuration.
    """
    if text is None or not text.strip():
        return "%s<busconfig>\n  <!-- %s -->\n  %s\n</busconfig>\n" % (_DOCTYPE, "dockyard.fleet, role bluetooth", _INCLUDE)
    if _INCLUDE in text:
        return text
    head, end, tail = text.rpartition("</busconfig>")
    if not end:
        raise PolicyError("%s: found no </busconfig>; needed a configuration of dbus-daemon (nothing was changed); mend or remove the file" % LOCAL_FILE)
    return "%s  %s\n%s%s" % (head if head.endswith("\n") else head + "\n", _INCLUDE, end, tail)


def excluded(text):
    """LOCAL_FILE without our include; None when nothing else was in it."""
    if text is None or text == included(None):
        return None
    return re.sub(r"[ \t]*%s\n?" % re.escape(_INCLUDE), "", text)


def auto_enabled(text):
    """BlueZ's main.conf with adapters powered on at start.

    Since 5.65 that is the default, which the commented line tells; a file without any such line is of an older one, or an administrator's.

    :arg text: str, or None when there is no such file.
    :returns: str; the same text when it is so already.
    """
    text = text or ""
    section, wanted = "", "AutoEnable=true"
    lines = text.splitlines()
    for number, line in enumerate(lines):
        header = re.match(r"^\s*\[(.+)\]\s*$", line)
        if header:
            section = header.group(1)
        value = re.match(r"^\s*AutoEnable\s*=\s*(\S+)\s*$", line)
        if value and section == "Policy":
            if value.group(1).lower() == "true":
                return text
            lines[number] = wanted
            return "\n".join(lines) + "\n"
    if re.search(r"^\s*#\s*AutoEnable\s*=\s*true\s*$", text, re.MULTILINE):
        return text
    if "[Policy]" in [line.strip() for line in lines]:
        lines.insert([line.strip() for line in lines].index("[Policy]") + 1, wanted)
    else:
        lines += ([""] if lines else []) + ["[Policy]", wanted]
    return "\n".join(lines) + "\n"


def apparmor():
    """The AppArmor profile of BLE containers: what Docker's default one forbids, and on the bus nothing but BlueZ.

    Where the kernel and dbus-daemon mediate the bus (Ubuntu), Docker's default profile has no word for it, and a connection to a device
    fails although scanning works.
    """
    return APPARMOR % {"header": _HEADER, "name": PROFILE}


APPARMOR = """\
# %(header)s
#include <tunables/global>

profile %(name)s flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>

  file,
  network,
  capability,
  deny capability sys_admin,
  deny capability sys_module,
  deny capability sys_rawio,
  deny capability net_admin,
  deny capability net_raw,

  # The engine and the runtime stop containers, and programs inside signal each other.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send, receive) peer=%(name)s,
  ptrace (trace, read, tracedby, readby) peer=%(name)s,

  deny mount,
  deny umount,
  deny pivot_root,
  deny @{PROC}/sys/** wklx,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,
  deny @{PROC}/{mem,kmem} rwklx,
  deny /sys/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,

  # Where the kernel mediates the bus. BlueZ calls the agents and profiles that a client exports.
  dbus (send) bus=system path=/org/freedesktop/DBus interface=org.freedesktop.DBus peer=(name=org.freedesktop.DBus),
  dbus (send) bus=system peer=(name=org.bluez),
  dbus (receive) bus=system path=/org/bluez{,/**},
  dbus (receive) bus=system path=/ interface=org.freedesktop.DBus.ObjectManager,
  dbus (receive) bus=system interface=org.bluez.*,
  dbus (receive) bus=system path=/org/freedesktop/DBus interface=org.freedesktop.DBus,
}
"""
