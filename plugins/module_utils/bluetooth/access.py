# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack's `bluetooth` comes to on a host: who may talk to BlueZ, what its containers get, what speaks against it. Pure."""

from __future__ import annotations

import posixpath
import re

SOCKET = "/run/dbus/system_bus_socket"
PROFILE = "dockyard-bluetooth"
ACCESSES = ("none", "dbus", "host")
ADAPTERS = ("auto", "present", "absent")
# Where the system bus is found from the outside; /var/run is /run.
_BUS = re.compile(r"^(/var)?/run(/dbus(/system_bus_socket)?)?$")
# What each way opens, for the people who have asked for it.
HOST_OPENS = ("privileged (all devices and kernel interfaces of the host), the host's network (all of its addresses and ports, without the stack's "
              "own networks), and the whole folder of the system bus")


def overlay_file(access):
    """Name of the Compose file that a stack may have for an access."""
    return "compose.bluetooth-%s.yaml" % access


# The file that takes away what Compose does not allow beside the host's network; it goes before the stack's own.
RESET_FILE = "compose.bluetooth-reset.yaml"


def reset(entry):
    """Text of that file (str); made here, since Compose's tag is none that other readers of YAML know. Empty where nothing has to be taken away."""
    if not entry or entry["access"] != "host":
        return ""
    return "services:\n" + "".join("  %s:\n    networks: !reset null\n    ports: !reset []\n" % name for name in entry["services"])


def _where(name):
    return name.replace("-", "_")


def _problem(where, found, needed, change):
    return "%s: found %s; needed %s; %s" % (where, found, needed, change)


def bus_mounts(service):
    """Paths of the system bus that a Compose service mounts by itself (list of str)."""
    found = []
    for mount in service.get("volumes") or []:
        source = mount.split(":")[0] if isinstance(mount, str) else mount.get("source")
        if source and _BUS.match(posixpath.normpath(str(source))):
            found.append(str(source))
    return found


def is_root(user):
    """Whether a Compose service's `user` is root, or may be: absent or a name are what the image says."""
    return re.match(r"^0*[1-9][0-9]*(:|$)", str(user if user is not None else "")) is None


def check(definition, services):
    """Problems between a stack's `bluetooth` and its Compose files.

    :arg definition: dict, valid by the schema.
    :arg services: dict of the merged Compose services.
    :returns: list of str, one sentence each.
    """
    problems = []
    for name, service in sorted(services.items()):
        for path in bus_mounts(service):
            if is_root(service.get("user")):
                problems.append(_problem(
                    "compose files, services/%s" % name, "a mount of %s in a container of root (user: %s)" % (path, service.get("user", "the image's")),
                    "no mount of it: root there is the host's root on that bus, and stops or starts what it likes",
                    "take the mount out and declare `bluetooth` in stack.yml, with a uid other than 0"))
    entry = definition.get("bluetooth")
    if not entry:
        return problems
    if entry["uid"] == 0:
        problems.append(_problem("bluetooth/uid", "0", "a uid other than root's: root in a container is the host's root on the system bus",
                                 "choose a uid that nobody else has"))
    for name in entry["services"]:
        service = services.get(name)
        where = "bluetooth/services: '%s'" % name
        if service is None:
            problems.append("bluetooth/services: compose.yaml has no service '%s'; it has: %s" % (name, ", ".join(sorted(services))))
            continue
        # Without these a program of the container could become root, whatever its uid is at the start.
        if "ALL" not in [str(word).upper() for word in service.get("cap_drop") or []]:
            problems.append(_problem(where, "cap_drop: %s" % (service.get("cap_drop") or "none"), "cap_drop: [ALL]", "add it in compose.yaml"))
        if not any(re.match(r"^no-new-privileges([:=]true)?$", str(word)) for word in service.get("security_opt") or []):
            problems.append(_problem(where, "no no-new-privileges", "security_opt: [\"no-new-privileges:true\"]", "add it in compose.yaml"))
        for key in ("privileged", "cap_add"):
            if service.get(key):
                problems.append(_problem(where, "%s: %s" % (key, service[key]), "no %s; BlueZ needs none on the client's side" % key, "take it out"))
        if str(service.get("network_mode") or "") == "host":
            problems.append(_problem(where, "network_mode: host", "none; the bus is a socket", "move it to %s" % overlay_file("host")))
    return problems


def _uid_of(name, entry, given):
    """(uid (int) or None, list of problems)"""
    variable = "dockyard_bluetooth_uid_%s" % _where(name)
    if given in (None, ""):
        return entry["uid"], []
    if isinstance(given, bool) or re.match(r"^[0-9]+$", str(given)) is None:
        return None, [_problem("%s, %s" % (name, variable), repr(given), "a uid", "correct %s" % variable)]
    if int(given) == 0:
        return None, [_problem("%s, %s" % (name, variable), "0", "a uid other than root's: root in a container is the host's root on the system bus",
                               "set %s to a uid that nobody else has" % variable)]
    return int(given), []


def _lacks(facts, expected):
    """Why there is no adapter (str), or "" where there is one, or nobody knows."""
    if expected == "present":
        return ""
    if expected == "absent":
        return "dockyard_bluetooth_adapter says that there is none"
    if ((facts.get("os") or {}).get("family")) == "darwin":
        return "containers on macOS run in a virtual machine that has none"
    known = facts.get("bluetooth")
    if not known or known.get("adapters") is None or known["adapters"]:
        return ""
    if facts.get("pi"):
        return "the kernel shows none (on a Raspberry Pi look for dtoverlay=disable-bt in config.txt)"
    return "the kernel shows none"


def resolve(definition, access, uid, confirmed, adapter, facts):
    """What a stack gets on a host.

    :arg access: str, the resolved `bluetooth/access`.
    :arg uid: the operator's uid, or None.
    :arg confirmed: bool, the operator's second word for host mode.
    :arg adapter: str of ADAPTERS, the operator's word on the hardware.
    :arg facts: dict of host_facts.
    :returns: (entry or None, list of str problems, list of str notes); entry is
        {"stack", "access", "uid", "gid", "services", "optional", "expected", "apparmor"}
    """
    name = definition["name"]
    entry = definition.get("bluetooth")
    if not entry:
        return None, [], []
    if access not in ACCESSES:
        return None, [_problem("%s, bluetooth" % name, repr(access), "one of: %s" % ", ".join(ACCESSES), "correct the setting that it follows")], []
    if adapter not in ADAPTERS:
        return None, [_problem("dockyard_bluetooth_adapter", repr(adapter), "one of: %s" % ", ".join(ADAPTERS), "correct it")], []
    if access == "none":
        return None, [], []
    user, problems = _uid_of(name, entry, uid)
    optional = bool(entry.get("optional", False))
    why = _lacks(facts, adapter)
    confirm = "dockyard_bluetooth_host_%s" % _where(name)
    if access == "host" and not confirmed:
        problems.append(_problem(
            "%s, bluetooth" % name, "host, asked for once", "asked for twice, for it opens %s to %s" % (HOST_OPENS, ", ".join(entry["services"])),
            "set %s: true as well, or take dbus, which opens org.bluez alone" % confirm))
    if why and not optional:
        problems.append(_problem("%s, Bluetooth" % name, "no adapter: %s" % why, "one", "plug one in, set dockyard_bluetooth_adapter: present if one will be "
                                 "there, or take %s out of dockyard_stacks of this host" % name))
    if problems:
        return None, problems, []
    if why:
        return None, [], ["%s runs without Bluetooth: no adapter, %s (dockyard_bluetooth_adapter: present if one will be there)" % (name, why)]
    notes = []
    if access == "host":
        notes.append("%s has Bluetooth in host mode: %s are open to %s" % (name, HOST_OPENS, ", ".join(entry["services"])))
    return {"stack": name, "access": access, "uid": user, "gid": entry.get("gid", user), "services": list(entry["services"]), "optional": optional,
            "expected": adapter == "present", "apparmor": bool((facts.get("bluetooth") or {}).get("apparmor"))}, [], notes


def conflicts(entries):
    """Stacks of one host that share a uid: each could act as the other on the bus (list of str)."""
    owners, problems = {}, []
    for entry in entries:
        first = owners.setdefault(entry["uid"], entry["stack"])
        if first != entry["stack"]:
            problems.append(_problem("uid %d of Bluetooth" % entry["uid"], "%s and %s" % (first, entry["stack"]), "one uid a stack",
                                     "set dockyard_bluetooth_uid_%s" % _where(entry["stack"])))
    return problems


def overlay(entry):
    """What the services get beside the stack's own files: a Compose mapping of service to keys.

    Host mode is in the stack's own file, but for the user: not root there either.
    """
    if not entry:
        return {}
    user = "%d:%d" % (entry["uid"], entry["gid"])
    if entry["access"] == "host":
        return {name: {"user": user} for name in entry["services"]}
    service = {
        "user": user,
        "environment": {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=%s" % SOCKET},
        "volumes": [{"type": "bind", "source": SOCKET, "target": SOCKET, "read_only": True, "bind": {"create_host_path": False}}],
    }
    if entry["apparmor"]:
        service["security_opt"] = ["apparmor=%s" % PROFILE]
    return {name: dict(service) for name in entry["services"]}
