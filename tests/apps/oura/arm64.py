# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""arm64 programs for the stand-in, as machine code: what the vendor's binaries are to the application, these are to its stand-in.

A small assembler (the instructions that are needed, no more), an ELF writer, and the programs:

- `linker64`: the program interpreter. It does nothing but go to the program's own entry, so a program that names it runs only
  where QEMU finds it below QEMU_LD_PREFIX, as with the real one.
- `parser_bridge_android`: reads a file of events (`index|tag|name|hex`), writes a header of 6 bytes and then each event as a field
  of a protocol buffer. Like the real one it wants its library below the prefix, ends with 1 without an input, and gives the header
  alone, with exit code 0, when the file does not begin with the ring's start (tag 0x41).
- a program that prints a text, for the bridges.

Everything is deterministic: the same bytes on every machine, so that digests can be written down.
"""

from __future__ import annotations

import struct

INTERPRETER = b"/system/bin/linker64\0"
LIBRARY = b"/system/lib64/libringeventparser.so\0"
HEADER = b"\x0a\x04RING"
BASE = 0x400000
PAGE = 0x1000
INPUT_BYTES = 16 << 20

CONDITIONS = {"eq": 0, "ne": 1, "hs": 2, "lo": 3, "mi": 4, "pl": 5, "hi": 8, "ls": 9, "ge": 10, "lt": 11, "gt": 12, "le": 13}


class Assembler:
    """Machine code with labels; registers are numbers (31 is SP or zero, as the instruction has it)."""

    def __init__(self):
        self.code = []
        self.labels = {}
        self.patches = []

    def emit(self, word: int) -> None:
        self.code.append(word & 0xFFFFFFFF)

    def label(self, name: str) -> None:
        assert name not in self.labels, name
        self.labels[name] = len(self.code)

    def _later(self, name: str, bits: int, shift: int, word: int) -> None:
        self.patches.append((len(self.code), name, bits, shift))
        self.emit(word)

    def mov_imm(self, rd: int, value: int) -> None:
        """Any 64-bit value: movz, then movk for each further half-word that is not zero."""
        self.emit(0xD2800000 | (value & 0xFFFF) << 5 | rd)
        for half in (1, 2, 3):
            part = value >> 16 * half & 0xFFFF
            if part:
                self.emit(0xF2800000 | half << 21 | part << 5 | rd)

    def mov(self, rd: int, rm: int) -> None:
        self.emit(0xAA0003E0 | rm << 16 | rd)

    def mov_from_sp(self, rd: int) -> None:
        self.emit(0x910003E0 | rd)

    def add(self, rd: int, rn: int, rm: int) -> None:
        self.emit(0x8B000000 | rm << 16 | rn << 5 | rd)

    def sub(self, rd: int, rn: int, rm: int) -> None:
        self.emit(0xCB000000 | rm << 16 | rn << 5 | rd)

    def add_imm(self, rd: int, rn: int, value: int) -> None:
        assert 0 <= value < 4096
        self.emit(0x91000000 | value << 10 | rn << 5 | rd)

    def sub_imm(self, rd: int, rn: int, value: int) -> None:
        assert 0 <= value < 4096
        self.emit(0xD1000000 | value << 10 | rn << 5 | rd)

    def cmp(self, rn: int, rm: int) -> None:
        self.emit(0xEB00001F | rm << 16 | rn << 5)

    def cmp_imm(self, rn: int, value: int) -> None:
        assert 0 <= value < 4096
        self.emit(0xF100001F | value << 10 | rn << 5)

    def orr_shifted(self, rd: int, rn: int, rm: int, shift: int) -> None:
        """rd = rn | rm << shift"""
        self.emit(0xAA000000 | rm << 16 | shift << 10 | rn << 5 | rd)

    def load(self, rt: int, rn: int, offset: int = 0) -> None:
        """64 bits."""
        assert offset % 8 == 0
        self.emit(0xF9400000 | offset // 8 << 10 | rn << 5 | rt)

    def load_byte_next(self, rt: int, rn: int) -> None:
        """A byte; the address goes on by one."""
        self.emit(0x38401400 | rn << 5 | rt)

    def store_byte_next(self, rt: int, rn: int) -> None:
        """A byte; the address goes on by one."""
        self.emit(0x38001400 | rn << 5 | rt)

    def store_byte(self, rt: int, rn: int) -> None:
        self.emit(0x39000000 | rn << 5 | rt)

    def branch(self, name: str) -> None:
        self._later(name, 26, 0, 0x14000000)

    def call(self, name: str) -> None:
        self._later(name, 26, 0, 0x94000000)

    def branch_if(self, condition: str, name: str) -> None:
        self._later(name, 19, 5, 0x54000000 | CONDITIONS[condition])

    def branch_to(self, rn: int) -> None:
        self.emit(0xD61F0000 | rn << 5)

    def ret(self) -> None:
        self.emit(0xD65F03C0)

    def svc(self) -> None:
        self.emit(0xD4000001)

    def syscall(self, number: int) -> None:
        self.mov_imm(8, number)
        self.svc()

    def assemble(self) -> bytes:
        for place, name, bits, shift in self.patches:
            distance = self.labels[name] - place
            assert -(1 << bits - 1) <= distance < 1 << bits - 1
            self.code[place] |= (distance & (1 << bits) - 1) << shift
        self.patches = []
        return struct.pack("<%dI" % len(self.code), *self.code)


def elf(code: bytes, data: bytes = b"", room: int = 0, interpreter: bytes = b"", shared: bool = False) -> bytes:
    """An ELF file: code, then data, then `room` bytes of zeros, all at BASE (a shared one at 0, for an interpreter).

    The code begins at BASE + 0x200, the data at the next multiple of 16.
    """
    base = 0 if shared else BASE
    start = 0x200
    body = code + b"\0" * (-len(code) % 16) + data
    headers = []
    if interpreter:
        headers.append(struct.pack("<IIQQQQQQ", 3, 4, 0x100, base + 0x100, base + 0x100, len(interpreter), len(interpreter), 1))
    size = start + len(body)
    headers.append(struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size + room, PAGE))
    kind = 3 if shared else 2
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", kind, 183, 1, base + start, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    image = head + b"".join(headers)
    assert len(image) <= 0x100 and len(interpreter) <= 0x100
    image = image.ljust(0x100, b"\0") + interpreter
    return image.ljust(start, b"\0") + body


def data_address(code: bytes, offset: int = 0) -> int:
    """Where the data of an ELF file with this code is in memory."""
    return BASE + 0x200 + len(code) + -len(code) % 16 + offset


def linker64() -> bytes:
    """The interpreter: past argc, argv and envp to the auxiliary vector, and on to AT_ENTRY."""
    asm = Assembler()
    asm.mov_from_sp(1)
    asm.load(2, 1)  # argc
    asm.add_imm(1, 1, 16)  # argc itself and argv's end
    asm.label("argv")
    asm.cmp_imm(2, 0)
    asm.branch_if("eq", "envp")
    asm.add_imm(1, 1, 8)
    asm.sub_imm(2, 2, 1)
    asm.branch("argv")
    asm.label("envp")
    asm.load(2, 1)
    asm.add_imm(1, 1, 8)
    asm.cmp_imm(2, 0)
    asm.branch_if("ne", "envp")
    asm.label("auxv")
    asm.load(2, 1)
    asm.load(3, 1, 8)
    asm.add_imm(1, 1, 16)
    asm.cmp_imm(2, 9)
    asm.branch_if("ne", "auxv")
    asm.branch_to(3)
    return elf(asm.assemble(), shared=True)


def _twice(build):
    """Build with addresses that depend on the code's own length: the length does not depend on them."""
    code = build(lambda offset: BASE + (64 << 10) + offset)
    final = build(lambda offset: data_address(code, offset))
    assert len(final) == len(code)
    return final


class Data:
    """Texts of a program, and where they are."""

    def __init__(self):
        self.bytes = b""

    def put(self, text: bytes) -> int:
        place = len(self.bytes)
        self.bytes += text
        return place


def printer(text: str, code: int = 0) -> bytes:
    """A program that prints a text."""
    message = text.encode()

    def build(address):
        asm = Assembler()
        asm.mov_imm(0, 1)
        asm.mov_imm(1, address(0))
        asm.mov_imm(2, len(message))
        asm.syscall(64)  # write
        asm.mov_imm(0, code)
        asm.syscall(93)  # exit
        return asm.assemble()

    return elf(_twice(build), message, interpreter=INTERPRETER)


def parser(header_only: bool = False, start_length: int = 0) -> bytes:
    """The parser; a broken one gives the header alone, whatever it reads.

    With `start_length` it gives the header alone as well when the ring's start is of another length.
    """
    data = Data()
    usage = b"Usage: parser_bridge_android <hex_events_file> [ring_time utc_millis]\n"
    no_library = b"parser: dlopen failed: library \"libringeventparser.so\" not found\n"
    no_file = b"Failed to open the file of events\n"
    places = {name: data.put(text) for name, text in (
        ("usage", usage), ("no_library", no_library), ("no_file", no_file), ("library", LIBRARY), ("header", HEADER))}
    room_for_input = len(data.bytes) + -len(data.bytes) % 16
    texts = data.bytes.ljust(room_for_input, b"\0")
    # registers: 19 file, 20 here in the input, 21 its end, 22 output, 23 output's begin, 24 field's length byte, 25 count of bytes of the
    # event, 26 separators seen, 27 first event seen (2: its length as well), 28 argv[1]

    def build(address):
        asm = Assembler()

        def fail(name, text):
            asm.label(name)
            asm.mov_imm(0, 2)
            asm.mov_imm(1, address(places[name]))
            asm.mov_imm(2, len(text))
            asm.syscall(64)
            asm.mov_imm(0, 1)
            asm.syscall(93)

        asm.mov_from_sp(1)
        asm.load(2, 1)
        asm.load(28, 1, 16)
        asm.cmp_imm(2, 2)
        asm.branch_if("lt", "usage")
        asm.mov_imm(1, address(places["library"]))
        asm.call("open")
        asm.cmp_imm(0, 0)
        asm.branch_if("lt", "no_library")
        asm.mov(1, 28)
        asm.call("open")
        asm.cmp_imm(0, 0)
        asm.branch_if("lt", "no_file")
        asm.mov(19, 0)

        asm.mov_imm(20, address(room_for_input))
        asm.mov(21, 20)
        asm.mov_imm(22, address(room_for_input + INPUT_BYTES))
        asm.mov(23, 22)
        asm.label("read")
        asm.mov(0, 19)
        asm.mov(1, 21)
        asm.mov_imm(2, address(room_for_input + INPUT_BYTES))
        asm.sub(2, 2, 21)
        asm.syscall(63)
        asm.cmp_imm(0, 0)
        asm.branch_if("le", "all_read")
        asm.add(21, 21, 0)
        asm.branch("read")
        asm.label("all_read")

        asm.mov_imm(1, address(places["header"]))
        asm.mov_imm(2, len(HEADER))
        asm.label("head")
        asm.load_byte_next(3, 1)
        asm.store_byte_next(3, 22)
        asm.sub_imm(2, 2, 1)
        asm.cmp_imm(2, 0)
        asm.branch_if("ne", "head")
        asm.mov_imm(27, 0)
        if header_only:
            asm.branch("write")

        asm.label("line")
        asm.cmp(20, 21)
        asm.branch_if("hs", "write")
        asm.mov_imm(26, 0)
        asm.load_byte_next(3, 20)
        asm.cmp_imm(3, ord("\n"))
        asm.branch_if("eq", "line")
        asm.cmp_imm(3, ord("#"))
        asm.branch_if("eq", "skip")
        asm.label("separator")
        asm.cmp_imm(3, ord("\n"))
        asm.branch_if("eq", "line")
        asm.cmp_imm(3, ord("|"))
        asm.branch_if("ne", "next")
        asm.add_imm(26, 26, 1)
        asm.cmp_imm(26, 3)
        asm.branch_if("eq", "event")
        asm.label("next")
        asm.cmp(20, 21)
        asm.branch_if("hs", "write")
        asm.load_byte_next(3, 20)
        asm.branch("separator")
        asm.label("skip")
        asm.cmp(20, 21)
        asm.branch_if("hs", "write")
        asm.load_byte_next(3, 20)
        asm.cmp_imm(3, ord("\n"))
        asm.branch_if("ne", "skip")
        asm.branch("line")

        asm.label("event")  # field 2, length, bytes
        asm.mov_imm(3, 0x12)
        asm.store_byte_next(3, 22)
        asm.mov(24, 22)
        asm.add_imm(22, 22, 1)
        asm.mov_imm(25, 0)
        asm.label("pair")
        asm.call("nibble")
        asm.cmp_imm(4, 16)
        asm.branch_if("eq", "event_ends")
        asm.mov(5, 4)
        asm.call("nibble")
        asm.cmp_imm(4, 16)
        asm.branch_if("eq", "event_ends")
        asm.orr_shifted(5, 4, 5, 4)
        asm.cmp_imm(27, 0)
        asm.branch_if("ne", "not_first")
        asm.mov_imm(27, 1)
        asm.cmp_imm(5, 0x41)
        asm.branch_if("eq", "not_first")
        asm.add_imm(22, 23, len(HEADER))  # as the real one: nothing but the header, and no error
        asm.branch("write")
        asm.label("not_first")
        if start_length:
            asm.cmp_imm(27, 2)
            asm.branch_if("eq", "keep")
            asm.cmp_imm(25, 1)
            asm.branch_if("ne", "keep")
            asm.mov_imm(27, 2)
            asm.cmp_imm(5, start_length)
            asm.branch_if("eq", "keep")
            asm.add_imm(22, 23, len(HEADER))
            asm.branch("write")
        asm.label("keep")
        asm.store_byte_next(5, 22)
        asm.add_imm(25, 25, 1)
        asm.cmp_imm(25, 127)
        asm.branch_if("lo", "pair")
        asm.label("event_ends")
        asm.store_byte(25, 24)
        asm.sub_imm(20, 20, 1)  # the byte that ended the digits may be the line's end
        asm.branch("skip")

        asm.label("nibble")  # the value of the next hexadecimal digit in 4; 16 when there is none
        asm.mov_imm(4, 16)
        asm.cmp(20, 21)
        asm.branch_if("hs", "no_digit")
        asm.load_byte_next(3, 20)
        asm.cmp_imm(3, ord("0"))
        asm.branch_if("lo", "no_digit")
        asm.cmp_imm(3, ord("9"))
        asm.branch_if("hi", "letter")
        asm.sub_imm(4, 3, ord("0"))
        asm.ret()
        asm.label("letter")
        asm.cmp_imm(3, ord("a"))
        asm.branch_if("lo", "no_digit")
        asm.cmp_imm(3, ord("f"))
        asm.branch_if("hi", "no_digit")
        asm.sub_imm(4, 3, ord("a") - 10)
        asm.label("no_digit")
        asm.ret()

        asm.label("write")
        asm.sub(2, 22, 23)
        asm.cmp_imm(2, 0)
        asm.branch_if("eq", "end")
        asm.mov_imm(0, 1)
        asm.mov(1, 23)
        asm.syscall(64)
        asm.cmp_imm(0, 0)
        asm.branch_if("le", "end")
        asm.add(23, 23, 0)
        asm.branch("write")
        asm.label("end")
        asm.mov_imm(0, 0)
        asm.syscall(93)

        asm.label("open")  # openat(AT_FDCWD, x1, O_RDONLY)
        asm.mov_imm(0, -100 & 0xFFFFFFFFFFFFFFFF)
        asm.mov_imm(2, 0)
        asm.mov_imm(3, 0)
        asm.syscall(56)
        asm.ret()

        fail("usage", usage)
        fail("no_library", no_library)
        fail("no_file", no_file)
        return asm.assemble()

    return elf(_twice(build), texts, room=2 * INPUT_BYTES, interpreter=INTERPRETER)
