# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""binfmt_misc handlers: pure parsers."""

from __future__ import annotations

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


def parse_handler(name, text):
    """One file of /proc/sys/fs/binfmt_misc -> {"name", "enabled", "interpreter", "flags", "magic" (hex str or None)}."""
    handler = {"name": name, "enabled": False, "interpreter": None, "flags": "", "magic": None}
    for line in text.splitlines():
        word, unused, rest = line.strip().partition(" ")
        if word == "enabled":
            handler["enabled"] = True
        elif word == "interpreter":
            handler["interpreter"] = rest
        elif word == "flags:":
            handler["flags"] = rest.strip()
        elif word == "magic":
            handler["magic"] = rest.strip()
    return handler


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
