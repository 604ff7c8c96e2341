# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts

ARM64 = "linux/arm64"
EMULATOR = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"


def ours(platform=ARM64, interpreter=EMULATOR, **changes):
    """A handler, or with file a rule, of ours."""
    entry = facts.parse_rules(plan.rule_text(platform, interpreter), plan.rule_file(platform))[0]
    return dict(entry, **changes)


def theirs(name="qemu-aarch64", flags="POF", **changes):
    return ours(name=name, flags=flags, file="/usr/lib/binfmt.d/%s.conf" % name, **changes)


@pytest.mark.parametrize("handlers, rules, wanted", [
    ([], [], ("register", "dockyard-arm64")),
    ([], [ours()], ("register", "dockyard-arm64")),
    ([ours()], [], ("register", "dockyard-arm64")),
    ([ours()], [ours()], ("ours", "dockyard-arm64")),
    ([ours(enabled=False)], [ours()], ("register", "dockyard-arm64")),
    ([ours(flags="OP")], [ours()], ("register", "dockyard-arm64")),
    ([ours(interpreter="/old")], [ours(interpreter="/old")], ("register", "dockyard-arm64")),
    ([ours()], [ours(interpreter="/old")], ("register", "dockyard-arm64")),
    ([ours()], [ours(file="/run/binfmt.d/dockyard-arm64.conf")], ("register", "dockyard-arm64")),
    ([ours("linux/s390x")], [], ("register", "dockyard-arm64")),
    # of others
    ([theirs()], [theirs()], ("others", "qemu-aarch64")),
    ([theirs()], [theirs(flags="PO")], ("write", "qemu-aarch64")),
    ([theirs()], [], ("write", "qemu-aarch64")),
    ([theirs()], [theirs("other")], ("write", "qemu-aarch64")),
    ([theirs()], [ours()], ("boot", "qemu-aarch64")),
    ([theirs()], [ours(interpreter="/old")], ("write", "qemu-aarch64")),
    ([theirs(), ours()], [ours()], ("ours", "dockyard-arm64")),
    ([theirs(), ours()], [theirs(), ours()], ("ours", "dockyard-arm64")),
    ([theirs(enabled=False)], [], ("register", "dockyard-arm64")),
])
def test_decisions(handlers, rules, wanted):
    assert plan.decide(ARM64, EMULATOR, handlers, rules) == wanted


@pytest.mark.parametrize("handlers, rules, said", [
    ([theirs(flags="PO")], [], "handler qemu-aarch64 (%s) has the flags 'PO'" % EMULATOR),
    ([theirs(flags="")], [], "has the flags ''"),
    ([theirs(), theirs("late", flags="")], [], "handler late"),
    ([], [theirs(flags="OP")], "/usr/lib/binfmt.d/qemu-aarch64.conf will register qemu-aarch64"),
    ([theirs(flags="PO", enabled=False)], [], None),
    ([theirs()], [theirs()], None),
    ([ours(flags="")], [ours(flags="")], None),
    ([theirs(flags="", magic="7f454c4602010100000000000000000002003e00")], [], None),
])
def test_what_does_not_reach_into_containers(handlers, rules, said):
    found = plan.without_flag_f(ARM64, handlers, rules)
    assert found is None if said is None else said in found


def test_a_handler_is_written_as_it_was_read():
    kernel = "enabled\ninterpreter /e\nflags: POF\noffset 0\nmagic %s\nmask %s\n" % tuple(data.hex() for data in elf.magic_and_mask(ARM64))
    handler = facts.parse_handler("dockyard-arm64", kernel)
    assert facts.parse_rules(plan.line_of(handler), "f") == [dict({key: handler[key] for key in handler if key != "enabled"}, file="f")]
    assert plan.same(handler, ARM64, "/e") and not plan.same(handler, ARM64, "/other") and not plan.same(handler, "linux/s390x", "/e")
    assert not plan.same(dict(handler, mask=None), ARM64, "/e")
    assert "::" not in plan.line_of(dict(handler, mask=None)).split("M", 1)[0]


@pytest.mark.parametrize("native, names, left", [
    (["linux/amd64", "linux/386"], ["dockyard-amd64", "dockyard-arm64", "qemu-x86_64", "dockyard-386", "dockyard-amd64"], ["dockyard-386", "dockyard-amd64"]),
    (["linux/arm64", "linux/arm/v7", "linux/arm/v6"], ["dockyard-arm", "dockyard-amd64"], ["dockyard-arm"]),
    (["linux/arm/v6"], ["dockyard-arm"], ["dockyard-arm"]),
    (["linux/arm64"], ["dockyard-arm", "dockyard-arm64x", "bed-1"], []),
])
def test_leftovers(native, names, left):
    assert plan.leftovers(native, names) == left


def test_an_armv6_machine_cannot_emulate_its_own_kind():
    assert plan.catches_native("linux/arm/v7", ["linux/arm/v6"]) == "linux/arm/v6"
    assert plan.catches_native("linux/arm/v7", ["linux/arm64"]) is None
    assert plan.catches_native("linux/arm/v7", ["linux/loong64"]) is None


@pytest.mark.parametrize("system, package", [
    (("debian", "12", "debian"), "qemu-user-static"), (("debian", "13", "debian"), "qemu-user"), (("raspbian", "12", "debian"), "qemu-user-static"),
    (("ubuntu", "22.04", "debian"), "qemu-user-static"), (("ubuntu", "24.10", "debian"), "qemu-user-static"), (("ubuntu", "25.04", "debian"), "qemu-user"),
    (("debian", None, "debian"), "qemu-user"), (("amzn", "2023", "redhat"), None), (("arch", None, "other"), None),
])
def test_packages(system, package):
    assert plan.package(*system) == package


def test_emulators():
    static = elf.probe("linux/amd64")
    dynamic = bytearray(static)
    dynamic[64:68] = struct.pack("<I", 3)
    assert plan.emulator_problem(static, ["linux/amd64", "linux/386"]) is None
    assert "linked dynamically" in plan.emulator_problem(bytes(dynamic), ["linux/amd64"])
    assert "another machine (ELF machine 0x3e)" in plan.emulator_problem(static, ["linux/arm64"])
    assert "no program" in plan.emulator_problem(b"<html>" + b" " * 100, ["linux/amd64"])


def entry(name="dockyard-arm64", interpreter=EMULATOR, **changes):
    return dict({"name": name, "enabled": True, "interpreter": interpreter, "flags": "POF", "platforms": [ARM64]}, **changes)


def known(handlers=(entry(),), rules=(entry(),), proven=None, **binfmt):
    """Facts of an amd64 host."""
    proven = {ARM64: {"handler": "dockyard-arm64", "interpreter": EMULATOR}} if proven is None else proven
    return {"os": {"family": "debian"}, "architecture": {"native": ["linux/amd64", "linux/386"]}, "binfmt": dict({
        "mounted": True, "enabled": True, "handlers": list(handlers), "at_boot": {"blocked": None, "rules": list(rules)}, "proven": proven}, **binfmt)}


@pytest.mark.parametrize("wanted, facts_of_host, emulators", [
    ([], {}, None),
    ([], known(handlers=[], rules=[]), None),
    (["linux/amd64", "linux/386"], known(handlers=None or [], rules=[], proven={}), None),
    (["linux/x86_64"], known(proven={}), None),
    ([ARM64], known(), None),
    (["linux/arm64/v8"], known(), None),
    ([ARM64], known(), {ARM64: EMULATOR}),
    ([ARM64], known(), {"linux/s390x": "/x"}),
    ([ARM64], known(handlers=[entry(), entry("qemu-aarch64")]), None),
    ([ARM64], known(handlers=[entry("qemu-aarch64")], proven={ARM64: {"handler": "qemu-aarch64", "interpreter": EMULATOR}}), None),
    ([ARM64], {"os": {"family": "darwin"}, "architecture": {"native": ["linux/arm64"]}, "binfmt": None}, None),
    (["linux/amd64"], {"os": {"family": "darwin"}, "architecture": {"native": ["linux/arm64"]}, "binfmt": None}, None),
])
def test_hosts_that_need_not_be_asked(wanted, facts_of_host, emulators):
    assert plan.due(wanted, facts_of_host, emulators) == ""


@pytest.mark.parametrize("wanted, facts_of_host, emulators, why", [
    ([ARM64], {}, None, "not known"),
    ([ARM64], known(enabled=False), None, "not known"),
    ([ARM64], dict(known(), binfmt={"mounted": False, "enabled": None, "handlers": None, "at_boot": None, "proven": {}}), None, "not known"),
    ([ARM64], known(handlers=[]), None, "no handler for linux/arm64 that was seen working"),
    ([ARM64], known(handlers=[entry(enabled=False)]), None, "no handler"),
    ([ARM64], known(proven={}), None, "seen working"),
    ([ARM64], known(proven={ARM64: {"handler": "dockyard-arm64", "interpreter": "/old"}}), None, "seen working"),
    ([ARM64], known(handlers=[entry(), entry("q", flags="OP")]), None, "has no flag F"),
    ([ARM64], known(rules=[]), None, "at the next boot"),
    ([ARM64], known(rules=[entry(flags="OP")]), None, "has no flag F"),
    ([ARM64], known(rules=[entry(), entry("qemu-aarch64", flags="OP")]), None, "has no flag F"),
    ([ARM64], known(handlers=[], rules=[], proven={ARM64: {"handler": None, "interpreter": None}}), None, "no handler"),
    ([ARM64], known(rules=[entry(platforms=["linux/s390x"])]), None, "at the next boot"),
    ([ARM64], known(), {ARM64: "/mine"}, "another emulator is given"),
    (["linux/arm64/v8"], known(), {"linux/arm64/v8": "/mine"}, "another emulator is given"),
    ([ARM64, "linux/s390x"], known(), None, "linux/s390x"),
    (["linux/z80"], known(), None, "linux/z80 is not known"),
    ([], known(handlers=[entry("dockyard-amd64", platforms=["linux/amd64"])]), None, "dockyard-amd64 is left over"),
    ([ARM64], known(rules=[entry(), entry("dockyard-386", platforms=["linux/386"])]), None, "dockyard-386 is left over"),
    ([ARM64], known(handlers=[entry("x", flags="")], proven={ARM64: {"handler": None, "interpreter": None}}), None, "has no flag F"),
])
def test_hosts_that_have_to_be_asked(wanted, facts_of_host, emulators, why):
    assert why in plan.due(wanted, facts_of_host, emulators)
