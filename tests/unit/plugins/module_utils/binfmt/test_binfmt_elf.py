# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import platform as machine
import struct
import subprocess

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import system

# The beginnings of rules of Debian's qemu-user-binfmt 10.0.13; QEMU's own table, as Debian publishes it.
DEBIAN = r"""
:qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:OPF
:qemu-arm:M::\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:OPF
:qemu-ppc64le:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00:\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00:/x:OPF
:qemu-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/x:OPF
:qemu-riscv64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:OPF
"""
OF_DEBIAN = {"qemu-aarch64": ["linux/arm64"], "qemu-arm": ["linux/arm/v6", "linux/arm/v7"], "qemu-ppc64le": ["linux/ppc64le"],
             "qemu-s390x": ["linux/s390x"], "qemu-riscv64": ["linux/riscv64"]}


def test_debians_rules_take_our_programs_and_only_theirs():
    for rule in facts.parse_rules(DEBIAN, "file"):
        assert sorted(name for name in elf.PLATFORMS if facts.matches(rule, elf.probe(name))) == OF_DEBIAN[rule["name"]]


@pytest.mark.parametrize("name", sorted(elf.PLATFORMS))
def test_our_rule_begins_as_debians_and_takes_no_other_platforms_programs(name):
    rule = facts.parse_rules(plan.rule_text(name, "/emulator"), "file")[0]
    taken = sorted(other for other in elf.PLATFORMS if facts.matches(rule, elf.probe(other)))
    assert taken == plan.platforms_of(rule["name"]) and name in taken
    for known in facts.parse_rules(DEBIAN, "file"):
        if name in OF_DEBIAN[known["name"]]:
            assert rule["magic"] == known["magic"]
    assert name in facts.handler_platforms(rule)


@pytest.mark.parametrize("name", sorted(elf.PLATFORMS))
def test_our_rule_takes_position_independent_and_gnu_programs_but_no_libraries_of_another_type(name):
    rule = facts.parse_rules(plan.rule_text(name, "/emulator"), "file")[0]
    order = elf.PLATFORMS[name]["order"]

    def program(kind=2, abi=0, version=1):
        data = bytearray(elf.probe(name))
        data[6], data[7] = version, abi
        data[16:18] = struct.pack(order + "H", kind)
        return bytes(data)

    assert facts.matches(rule, program(kind=3)) and facts.matches(rule, program(abi=3))
    assert not facts.matches(rule, program(kind=1)) and not facts.matches(rule, program(kind=4)) and not facts.matches(rule, program(version=2))
    assert not facts.matches(rule, program()[:19])


@pytest.mark.parametrize("name", sorted(elf.PLATFORMS))
def test_a_program_describes_itself(name):
    entry = elf.PLATFORMS[name]
    assert elf.describe(elf.probe(name)) == {"bits": entry["bits"], "order": entry["order"], "machine": entry["machine"], "dynamic": False}


def test_the_program_of_this_machine_runs_and_learns_its_name(tmp_path):
    path = tmp_path / "probe"
    path.write_bytes(elf.probe(system.docker_platform(machine.machine(), None)))
    path.chmod(0o755)
    for name in (b"dockyard", b"otherone"):
        done = subprocess.run([name], executable=path, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (elf.EXIT_STATUS, name, b"")


def test_the_two_arms_differ_by_an_instruction_that_v6_lacks():
    assert elf.probe("linux/arm/v7") != elf.probe("linux/arm/v6")
    assert struct.pack("<I", 0xE300002A) in elf.probe("linux/arm/v7")


@pytest.mark.parametrize("found, name", [
    ("linux/arm64", "linux/arm64"), ("Linux/ARM64/v8", "linux/arm64"), (" linux/aarch64 ", "linux/arm64"), ("linux/arm", "linux/arm/v7"),
    ("linux/x86_64", "linux/amd64"), ("linux/arm/v6", "linux/arm/v6"),
])
def test_names_of_platforms(found, name):
    assert elf.canonical(found) == name


@pytest.mark.parametrize("found", ["linux/z80", "arm64", "windows/amd64", "linux/arm/v5", "linux/mips64le", "", None, "linux/arm64/v9"])
def test_platforms_that_nobody_knows(found):
    with pytest.raises(ValueError, match=r"found .*; needed one of linux/386, linux/amd64, linux/arm/v6"):
        elf.canonical(found)


@pytest.mark.parametrize("data, said", [
    (b"", "no program"), (b"#!/bin/sh\n" + b"x" * 80, "no program"), (elf.probe("linux/amd64")[:60], "cut short"),
    (b"\x7fELF\x03\x01" + b"\x00" * 80, "no program"),
])
def test_what_is_no_program(data, said):
    with pytest.raises(ValueError, match=said):
        elf.describe(data)


def test_a_program_that_wants_a_loader():
    data = bytearray(elf.probe("linux/arm64"))
    data[64:68] = struct.pack("<I", 3)  # PT_INTERP
    assert elf.describe(bytes(data))["dynamic"] is True
