# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of other architectures: how their files begin, and a tiny one of each that proves that it runs. Pure, no I/O.

Numbers of the file header (class, byte order, type, machine, flags) are those of the System V ABI, chapter "Object Files",
and of the processor supplements; system call numbers are those of Linux (arch/*/include/uapi/asm/unistd.h,
include/uapi/asm-generic/unistd.h). Magic and mask follow QEMU's scripts/qemu-binfmt-conf.sh.
"""

from __future__ import annotations

import struct

# What the program writes to its output: the name that it was called by, cut to this length, so that flag P is proven as well.
CALLED = "dockyard"
EXIT_STATUS = 42

_BASE = 0x400000
_EXECUTABLE, _POSITION_INDEPENDENT = 2, 3


def _words(order, *words):
    return struct.pack(order + "%dI" % len(words), *words)


# Each program: write(1, argv[0], 8), exit(42). At entry the stack holds argc, then argv[0].
_AMD64 = bytes.fromhex(
    "488b742408"    # mov rsi, [rsp+8]
    "bf01000000"    # mov edi, 1
    "ba08000000"    # mov edx, 8
    "b801000000"    # mov eax, 1       write
    "0f05"          # syscall
    "bf2a000000"    # mov edi, 42
    "b83c000000"    # mov eax, 60      exit
    "0f05"          # syscall
)
_I386 = bytes.fromhex(
    "8b4c2404"      # mov ecx, [esp+4]
    "bb01000000"    # mov ebx, 1
    "ba08000000"    # mov edx, 8
    "b804000000"    # mov eax, 4       write
    "cd80"          # int 0x80
    "bb2a000000"    # mov ebx, 42
    "b801000000"    # mov eax, 1       exit
    "cd80"          # int 0x80
)
_ARM64 = _words(
    "<",
    0xF94007E1,     # ldr x1, [sp, #8]
    0xD2800020,     # mov x0, #1
    0xD2800102,     # mov x2, #8
    0xD2800808,     # mov x8, #64      write
    0xD4000001,     # svc #0
    0xD2800540,     # mov x0, #42
    0xD2800BA8,     # mov x8, #93      exit
    0xD4000001,     # svc #0
)


def _arm(forty_two):
    return _words(
        "<",
        0xE59D1004,     # ldr r1, [sp, #4]
        0xE3A00001,     # mov r0, #1
        0xE3A02008,     # mov r2, #8
        0xE3A07004,     # mov r7, #4       write
        0xEF000000,     # svc #0
        forty_two,
        0xE3A07001,     # mov r7, #1       exit
        0xEF000000,     # svc #0
    )


_ARMV7 = _arm(0xE300002A)   # movw r0, #42; ARMv6 has no movw
_ARMV6 = _arm(0xE3A0002A)   # mov r0, #42
_RISCV64 = _words(
    "<",
    0x00813583,     # ld a1, 8(sp)
    0x00100513,     # li a0, 1
    0x00800613,     # li a2, 8
    0x04000893,     # li a7, 64        write
    0x00000073,     # ecall
    0x02A00513,     # li a0, 42
    0x05D00893,     # li a7, 93        exit
    0x00000073,     # ecall
)
_PPC64LE = _words(
    "<",
    0xE8810008,     # ld r4, 8(r1)
    0x38600001,     # li r3, 1
    0x38A00008,     # li r5, 8
    0x38000004,     # li r0, 4         write
    0x44000002,     # sc
    0x3860002A,     # li r3, 42
    0x38000001,     # li r0, 1         exit
    0x44000002,     # sc
)
_S390X = bytes.fromhex(
    "e330f0080004"  # lg %r3, 8(%r15)
    "a7290001"      # lghi %r2, 1
    "a7490008"      # lghi %r4, 8
    "0a04"          # svc 4            write
    "a729002a"      # lghi %r2, 42
    "0a01"          # svc 1            exit
)

# Docker platform -> arch: part of our names; qemu: QEMU's name of the processor; the header's bits (32 or 64), byte order, machine and
# flags (Arm: EABI version 5; ppc64le: ABI version 2, where the entry point is code); code: the program.
PLATFORMS = {
    "linux/amd64": {"arch": "amd64", "qemu": "x86_64", "bits": 64, "order": "<", "machine": 0x3E, "flags": 0, "code": _AMD64},
    "linux/386": {"arch": "386", "qemu": "i386", "bits": 32, "order": "<", "machine": 0x03, "flags": 0, "code": _I386},
    "linux/arm64": {"arch": "arm64", "qemu": "aarch64", "bits": 64, "order": "<", "machine": 0xB7, "flags": 0, "code": _ARM64},
    "linux/arm/v7": {"arch": "arm", "qemu": "arm", "bits": 32, "order": "<", "machine": 0x28, "flags": 0x05000000, "code": _ARMV7},
    "linux/arm/v6": {"arch": "arm", "qemu": "arm", "bits": 32, "order": "<", "machine": 0x28, "flags": 0x05000000, "code": _ARMV6},
    "linux/riscv64": {"arch": "riscv64", "qemu": "riscv64", "bits": 64, "order": "<", "machine": 0xF3, "flags": 0, "code": _RISCV64},
    "linux/ppc64le": {"arch": "ppc64le", "qemu": "ppc64le", "bits": 64, "order": "<", "machine": 0x15, "flags": 2, "code": _PPC64LE},
    "linux/s390x": {"arch": "s390x", "qemu": "s390x", "bits": 64, "order": ">", "machine": 0x16, "flags": 0, "code": _S390X},
}

# Other spellings that Docker itself takes for the same (containerd's platforms package, normalizeArch).
_ALIASES = {
    "linux/x86_64": "linux/amd64", "linux/x86-64": "linux/amd64", "linux/i386": "linux/386", "linux/aarch64": "linux/arm64",
    "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7", "linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6",
    "linux/amd64/v1": "linux/amd64",
}


def canonical(platform):
    """The name of a platform in PLATFORMS (str). Raises ValueError, with what was found and what is known, for any other."""
    name = str(platform).strip().lower()
    name = _ALIASES.get(name, name)
    if name not in PLATFORMS:
        raise ValueError("found %r; needed one of %s" % (platform, ", ".join(sorted(PLATFORMS))))
    return name


def _identification(entry, kind):
    """The first 20 bytes of a program's file: magic, class, byte order, version, ABI (System V), padding, type, machine."""
    return struct.pack(
        entry["order"] + "4sBBBB8xHH", b"\x7fELF", 1 if entry["bits"] == 32 else 2, 1 if entry["order"] == "<" else 2, 1, 0, kind, entry["machine"],
    )


def magic_and_mask(platform):
    """What the kernel compares: (magic, mask), 20 bytes each.

    All bytes count but the ABI (7: static programs that use GNU extensions have 3 there instead of 0) and the lowest bit of the type:
    2 is a program at a fixed address, 3 a position-independent one.
    """
    entry = PLATFORMS[platform]
    kind = struct.pack(entry["order"] + "H", 0xFFFF & ~(_EXECUTABLE ^ _POSITION_INDEPENDENT))
    return _identification(entry, _EXECUTABLE), b"\xff" * 7 + b"\x00" + b"\xff" * 8 + kind + b"\xff\xff"


def probe(platform):
    """A whole static program (bytes) of the platform that writes the first 8 bytes of its own name and exits with EXIT_STATUS."""
    entry = PLATFORMS[platform]
    order, wide = entry["order"], entry["bits"] == 64
    header_size, segment_size = (64, 56) if wide else (52, 32)
    start = header_size + segment_size
    size = start + len(entry["code"])
    header = _identification(entry, _EXECUTABLE) + struct.pack(
        order + ("IQQQIHHHHHH" if wide else "IIIIIHHHHHH"),
        1, _BASE + start, header_size, 0, entry["flags"], header_size, segment_size, 1, 0, 0, 0,
    )
    # One segment, the whole file, readable and executable (flags 5); pages may have up to 64 KiB.
    if wide:
        segment = struct.pack(order + "IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    else:
        segment = struct.pack(order + "IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, 0x10000)
    return header + segment + entry["code"]


def describe(data):
    """What a program's file is.

    :param data: its first bytes (64 KiB are enough).
    :returns: {"bits": 32|64, "order": "<"|">", "machine": int, "dynamic": bool: it asks for a loader, which an emulator may not}
    :raises ValueError: it is no such file, or it is cut short.
    """
    if len(data) < 52 or data[:4] != b"\x7fELF" or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise ValueError("no program: it does not begin as an ELF file does")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    try:
        machine = struct.unpack_from(order + "H", data, 18)[0]
        table = struct.unpack_from(order + ("Q" if wide else "I"), data, 32 if wide else 28)[0]
        entry_size, count = struct.unpack_from(order + "HH", data, 54 if wide else 42)
        kinds = [struct.unpack_from(order + "I", data, table + number * entry_size)[0] for number in range(count)]
    except struct.error:
        raise ValueError("no program: the file is cut short") from None
    return {"bits": 64 if wide else 32, "order": order, "machine": machine, "dynamic": 3 in kinds}  # 3: PT_INTERP
