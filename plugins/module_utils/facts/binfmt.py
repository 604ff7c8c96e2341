# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handlers of binary formats: those that the kernel has (binfmt_misc), and those that it gets at each boot.

Parsers are pure; only read_at_boot() reads files.
"""

from __future__ import annotations

import json
import os
import re

# (ELF class, byte order, e_machine) -> Docker platforms; numbers from the ELF specification's registry of machines.
# 1 = 32 bit, 2 = 64 bit; 1 = little endian, 2 = big endian. A 32-bit Arm emulator runs v6 code as well as v7.
ELF_PLATFORMS = {
    (2, 1, 0x3E): ["linux/amd64"],
    (1, 1, 0x03): ["linux/386"],
    (2, 1, 0xB7): ["linux/arm64"],
    (1, 1, 0x28): ["linux/arm/v7", "linux/arm/v6"],
    (2, 1, 0xF3): ["linux/riscv64"],
    (2, 1, 0x15): ["linux/ppc64le"],
    (2, 2, 0x16): ["linux/s390x"],
    (2, 1, 0x08): ["linux/mips64le"],
    (2, 2, 0x08): ["linux/mips64"],
    (2, 1, 0x102): ["linux/loong64"],
}


# Where systemd-binfmt looks, the strongest first (binfmt.d(5)): a file hides those of the same name in later folders.
RULE_FOLDERS = ("/etc/binfmt.d", "/run/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/binfmt.d", "/lib/binfmt.d")
PROGRAMS = ("/usr/lib/systemd/systemd-binfmt", "/lib/systemd/systemd-binfmt")
SERVICE = "systemd-binfmt.service"
MOUNT_UNITS = ("proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount")
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system")
# Debian's older way, package binfmt-support: its database, and the program that loads it at boot.
SUPPORT_FOLDER = "/var/lib/binfmts"
SUPPORT_PROGRAM = "/usr/sbin/update-binfmts"
# What the module binfmt has seen running: {platform: {"handler", "interpreter", "kernel"}}; without a handler it was the hardware.
PROVEN = "/var/lib/dockyard/binfmt.json"


def parse_handler(name, text):
    """One file of /proc/sys/fs/binfmt_misc -> {"name", "enabled", "interpreter", "flags", "offset" (int), "magic", "mask" (hex str or None)}."""
    handler = {"name": name, "enabled": False, "interpreter": None, "flags": "", "offset": 0, "magic": None, "mask": None}
    for line in text.splitlines():
        word, unused, rest = line.strip().partition(" ")
        if word == "enabled":
            handler["enabled"] = True
        elif word == "interpreter":
            handler["interpreter"] = rest
        elif word == "flags:":
            handler["flags"] = rest.strip()
        elif word == "offset" and rest.strip().isdigit():
            handler["offset"] = int(rest)
        elif word in ("magic", "mask"):
            handler[word] = rest.strip()
    return handler


def matches(handler, header):
    """Whether the kernel gives a program that begins with these bytes to a handler (of parse_handler() or a rule); enabled or not."""
    try:
        magic = bytes.fromhex(handler["magic"] or "")
        mask = bytes.fromhex(handler["mask"] or "") or b"\xff" * len(magic)
    except ValueError:
        return False
    part = header[handler["offset"]:handler["offset"] + len(magic)]
    if not magic or len(part) != len(magic) or len(mask) != len(magic):
        return False
    return all((found ^ wanted) & bits == 0 for found, wanted, bits in zip(part, magic, mask))


def _unescape(text):
    """Bytes as a rule writes them (\\xNN or plain characters) -> hex (str)."""
    return re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found.group(1), 16)), text).encode("latin-1", "replace").hex()


def parse_rules(text, path):
    """A file of binfmt.d(5) -> list of {"name", "file", "interpreter", "flags", "offset", "magic", "mask"}; rules by extension are left out."""
    result = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        # the first character is the separator of the rest
        fields = line[1:].split(line[0])
        if len(fields) < 6 or fields[1] != "M":
            continue
        name, unused, offset, magic, mask, interpreter = fields[:6]
        result.append({
            "name": name, "file": path, "interpreter": interpreter, "flags": fields[6] if len(fields) > 6 else "",
            "offset": int(offset) if offset.isdigit() else 0, "magic": _unescape(magic), "mask": _unescape(mask) or None,
        })
    return result


def parse_support(name, text, path):
    """An entry of binfmt-support's database -> a list with one rule as of parse_rules(), or [].

    Its lines are: package, type, offset, magic, mask, interpreter, detector, credentials, preserve, fix_binary.
    """
    lines = text.split("\n")
    if len(lines) < 6 or lines[1] != "magic":
        return []
    letters = zip(lines[7:10], "CPF")
    return [{
        "name": name, "file": path, "interpreter": lines[5], "flags": "".join(letter for line, letter in letters if line == "yes"),
        "offset": int(lines[2]) if lines[2].isdigit() else 0, "magic": _unescape(lines[3]), "mask": _unescape(lines[4]) or None,
    }]


def _masked(tree, unit):
    """Folder (str) in which a unit is masked, or None."""
    for folder in UNIT_FOLDERS:
        path = tree.path("%s/%s" % (folder, unit))
        if os.path.islink(path) and os.readlink(path) == "/dev/null":
            return folder
    return None


def _blocked(tree):
    """Why systemd loads no rules at boot (str), or None."""
    if not any(tree.exists(path) for path in PROGRAMS):
        return "%s is not there" % PROGRAMS[0]
    if _masked(tree, SERVICE):
        return "%s is masked in %s" % (SERVICE, _masked(tree, SERVICE))
    if all(_masked(tree, unit) for unit in MOUNT_UNITS):
        return "%s are masked" % " and ".join(MOUNT_UNITS)
    return None


def read_at_boot(tree):
    """What the kernel gets at each boot: {"blocked": str or None: why systemd loads nothing, "rules": list as of parse_rules()}.

    Only rules that will work are in it: their interpreter exists. Of two with the same name the later one counts, as for systemd-binfmt,
    which takes files in the order of their names.
    """
    files = {}
    for folder in reversed(RULE_FOLDERS):
        for name in tree.names(folder):
            if name.endswith(".conf"):
                files[name] = "%s/%s" % (folder, name)
    rules = {}
    blocked = _blocked(tree)
    if tree.exists(SUPPORT_PROGRAM):
        for name in tree.names(SUPPORT_FOLDER):
            path = "%s/%s" % (SUPPORT_FOLDER, name)
            rules.update((rule["name"], rule) for rule in parse_support(name, tree.text_or_none(path) or "", path))
    if blocked is None:
        for name in sorted(files):
            # A link to /dev/null hides a file of the same name; it reads as empty.
            rules.update((rule["name"], rule) for rule in parse_rules(tree.text_or_none(files[name]) or "", files[name]))
    return {"blocked": blocked, "rules": [rule for name, rule in sorted(rules.items()) if tree.exists(rule["interpreter"])]}


def parse_proven(text):
    """PROVEN's text -> {platform: {"handler", "interpreter", "kernel"}}; {} for anything else than what the module writes.

    kernel is the release (str) of the kernel that ran it on the hardware, None where a handler did.
    """
    try:
        proven = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(proven, dict) or not all(isinstance(entry, dict) for entry in proven.values()):
        return {}
    return {name: {key: entry.get(key) for key in ("handler", "interpreter", "kernel")} for name, entry in proven.items()}


def handler_platforms(handler):
    """Docker platforms whose programs a handler takes, by the ELF header in its magic (list of str)."""
    try:
        magic = bytes.fromhex(handler["magic"] or "")
    except ValueError:
        return []
    if len(magic) < 20 or magic[:4] != b"\x7fELF":
        return []
    order = "little" if magic[5] == 1 else "big"
    return ELF_PLATFORMS.get((magic[4], magic[5], int.from_bytes(magic[18:20], order)), [])


def native_by_proof(proven, release):
    """Platforms (sorted list of str) that were seen running on the hardware, under the kernel of this release (str).

    Another kernel may lack what runs them, and a card may have been put into another machine.
    """
    return sorted(name for name, entry in proven.items() if entry["handler"] is None and release and entry["kernel"] == release)


def emulated_platforms(binfmt, native):
    """Docker platforms that run in containers by emulation (list of str).

    A handler counts when it is enabled and has flag F: without it the kernel looks for the interpreter inside the container.

    :param binfmt: handlers of parse_handler(); :param native: list of str, left out of the result.
    """
    result = []
    for handler in binfmt:
        if handler["enabled"] and "F" in handler["flags"]:
            result += [name for name in handler_platforms(handler) if name not in native and name not in result]
    return sorted(result)
