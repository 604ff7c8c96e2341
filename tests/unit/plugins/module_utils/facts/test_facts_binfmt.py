# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree

# read from /proc/sys/fs/binfmt_misc of a Debian 12 machine
AARCH64 = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_a_real_handler():
    handler = binfmt.parse_handler("qemu-aarch64", AARCH64)
    assert handler == {
        "name": "qemu-aarch64", "enabled": True, "interpreter": "/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "flags": "POF",
        "offset": 0, "magic": "7f454c460201010000000000000000000200b700", "mask": "ffffffffffffff00fffffffffffffffffeffffff",
    }
    assert binfmt.handler_platforms(handler) == ["linux/arm64"]


@pytest.mark.parametrize("magic, platforms", [
    ("7f454c4602010100000000000000000002003e00", ["linux/amd64"]),
    ("7f454c4601010100000000000000000002000300", ["linux/386"]),
    ("7f454c4601010100000000000000000002002800", ["linux/arm/v7", "linux/arm/v6"]),
    ("7f454c460201010000000000000000000200f300", ["linux/riscv64"]),
    ("7f454c4602020100000000000000000000020016", ["linux/s390x"]),
    ("7f454c4602010100000000000000000002001500", ["linux/ppc64le"]),
    ("7f454c4602020100000000000000000000020015", []),  # big-endian ppc64 has no Docker platform
    ("a70d0d0a", []),
    ("4d5a", []),
    ("zz", []),
    (None, []),
])
def test_platforms_by_magic(magic, platforms):
    assert binfmt.handler_platforms({"magic": magic}) == platforms


def handler(text, name="qemu"):
    return binfmt.parse_handler(name, text)


def test_only_enabled_handlers_with_flag_f_reach_into_containers():
    assert binfmt.emulated_platforms([handler(AARCH64)], ["linux/amd64"]) == ["linux/arm64"]
    assert binfmt.emulated_platforms([handler(AARCH64.replace("POF", "PO"))], ["linux/amd64"]) == []
    assert binfmt.emulated_platforms([handler(AARCH64.replace("enabled", "disabled"))], ["linux/amd64"]) == []
    assert binfmt.emulated_platforms([handler(AARCH64.replace("flags: POF", "flags: "))], ["linux/amd64"]) == []


def test_what_runs_natively_is_not_emulated_and_nothing_is_named_twice():
    assert binfmt.emulated_platforms([handler(AARCH64)], ["linux/arm64"]) == []
    assert binfmt.emulated_platforms([handler(AARCH64, "a"), handler(AARCH64, "b")], []) == ["linux/arm64"]


# of Debian 12's qemu-user-static, and of its binfmt-support's database
RULE = (r":qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/libexec/qemu-binfmt/aarch64-binfmt-P:OPF")
SUPPORT = "\n".join(
    ["qemu-user-static", "magic", "0", RULE.split(":")[4], RULE.split(":")[5], "/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "", "no", "yes", "yes", ""])
HEADER = bytes.fromhex("7f454c460201010300000000000000000300b70001000000")


def test_what_a_handler_takes():
    taken = handler(AARCH64)
    assert binfmt.matches(taken, HEADER)
    assert not binfmt.matches(taken, HEADER[:18] + b"\x3e\x00")
    assert not binfmt.matches(taken, HEADER[:10])
    assert not binfmt.matches(handler(AARCH64.replace("mask ff", "mask zz")), HEADER)
    assert not binfmt.matches(handler(AARCH64.replace("magic", "extension")), HEADER)
    # without a mask all bits count; the ABI and the type differ here
    assert not binfmt.matches(handler(AARCH64.partition("mask")[0]), HEADER)
    assert binfmt.matches(handler("enabled\ninterpreter /x\nflags: \noffset 18\nmagic b700\n"), HEADER)
    assert not binfmt.matches(handler("enabled\ninterpreter /x\nflags: \noffset 17\nmagic b700\n"), HEADER)


def test_rules_are_read_as_systemd_reads_them():
    text = ("# a comment\n; another\n\n%s\n:python3.13:M::\\xf3\\x0d\\x0d\\x0a::/usr/bin/python3.13:\n"
            ":DOSWin:E::exe::/usr/bin/wine:\n|x|M|2|AB||/y|\n:bad:M\n") % RULE
    rules = binfmt.parse_rules(text, "/f")
    assert [rule["name"] for rule in rules] == ["qemu-aarch64", "python3.13", "x"]
    assert rules[0] == {
        "name": "qemu-aarch64", "file": "/f", "interpreter": "/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "flags": "OPF",
        "offset": 0, "magic": "7f454c460201010000000000000000000200b700", "mask": "ffffffffffffff00fffffffffffffffffeffffff"}
    assert rules[2] == {"name": "x", "file": "/f", "interpreter": "/y", "flags": "", "offset": 2, "magic": "4142", "mask": None}
    assert binfmt.matches(rules[0], HEADER) and binfmt.handler_platforms(rules[0]) == ["linux/arm64"] and binfmt.handler_platforms(rules[1]) == []


def test_the_database_of_binfmt_support():
    assert binfmt.parse_support("qemu-aarch64", SUPPORT, "/f") == [dict(binfmt.parse_rules(RULE, "/f")[0], flags="PF")]
    assert binfmt.parse_support("jar", "openjdk\nextension\n0\njar\n\n/usr/bin/jexec\n", "/f") == []
    assert binfmt.parse_support("cut", "openjdk\nmagic\n", "/f") == []


@pytest.fixture(name="root")
def fixture_root(tmp_path):
    """A host with systemd and the emulator; put(path, text) adds a file, link(path, target) a link."""
    def put(path, text=""):
        where = tmp_path / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)

    def link(path, target):
        where = tmp_path / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.symlink_to(target)

    put("/usr/lib/systemd/systemd-binfmt")
    put("/usr/libexec/qemu-binfmt/aarch64-binfmt-P")
    put.link, put.tree = link, Tree(str(tmp_path))
    return put


def names(root):
    return [(rule["name"], rule["file"]) for rule in binfmt.read_at_boot(root.tree)["rules"]]


def test_what_comes_at_boot(root):
    assert binfmt.read_at_boot(root.tree) == {"blocked": None, "rules": []}
    root("/usr/lib/binfmt.d/qemu.conf", RULE)
    root("/usr/lib/binfmt.d/other.txt", RULE.replace("qemu-", "other-"))
    root("/etc/binfmt.d/missing.conf", RULE.replace("qemu-", "gone-").replace("/usr/libexec", "/nowhere"))
    assert names(root) == [("qemu-aarch64", "/usr/lib/binfmt.d/qemu.conf")]


def test_a_file_hides_those_of_its_name_and_later_names_win(root):
    root("/usr/lib/binfmt.d/a.conf", RULE)
    root("/run/binfmt.d/a.conf", "# nothing")
    assert names(root) == []
    root("/etc/binfmt.d/a.conf", RULE)
    assert names(root) == [("qemu-aarch64", "/etc/binfmt.d/a.conf")]
    root("/usr/lib/binfmt.d/b.conf", RULE)
    assert names(root) == [("qemu-aarch64", "/usr/lib/binfmt.d/b.conf")]
    root.link("/etc/binfmt.d/b.conf", "/dev/null")
    assert names(root) == [("qemu-aarch64", "/etc/binfmt.d/a.conf")]


@pytest.mark.parametrize("folder", ["/etc/systemd/system", "/run/systemd/system"])
def test_a_masked_service_registers_nothing(root, folder):
    root("/etc/binfmt.d/a.conf", RULE)
    root.link(folder + "/systemd-binfmt.service", "/dev/null")
    assert binfmt.read_at_boot(root.tree) == {"blocked": "systemd-binfmt.service is masked in %s" % folder, "rules": []}


def test_one_unit_for_the_mount_is_enough(root):
    root("/etc/binfmt.d/a.conf", RULE)
    root.link("/etc/systemd/system/proc-sys-fs-binfmt_misc.automount", "/dev/null")
    assert binfmt.read_at_boot(root.tree)["blocked"] is None and len(names(root)) == 1
    root.link("/etc/systemd/system/proc-sys-fs-binfmt_misc.mount", "/dev/null")
    assert binfmt.read_at_boot(root.tree) == {
        "blocked": "proc-sys-fs-binfmt_misc.automount and proc-sys-fs-binfmt_misc.mount are masked", "rules": []}


def test_without_systemd_only_binfmt_support_counts(root):
    os.unlink(root.tree.path("/usr/lib/systemd/systemd-binfmt"))
    root("/etc/binfmt.d/a.conf", RULE)
    root("/var/lib/binfmts/qemu-aarch64", SUPPORT)
    assert binfmt.read_at_boot(root.tree) == {"blocked": "/usr/lib/systemd/systemd-binfmt is not there", "rules": []}
    root("/usr/sbin/update-binfmts")
    assert names(root) == [("qemu-aarch64", "/var/lib/binfmts/qemu-aarch64")]


@pytest.mark.parametrize("text, proven", [
    ('{"linux/arm64": {"handler": "h", "interpreter": "/i", "more": 1}}', {"linux/arm64": {"handler": "h", "interpreter": "/i", "kernel": None}}),
    ('{"linux/arm64": {"kernel": "6"}}', {"linux/arm64": {"handler": None, "interpreter": None, "kernel": "6"}}),
    ("", {}), ("{", {}), ("[]", {}), ('{"linux/arm64": 3}', {}),
])
def test_what_was_seen_running(text, proven):
    assert binfmt.parse_proven(text) == proven


def test_what_the_hardware_was_seen_running_holds_for_its_kernel_only():
    proven = binfmt.parse_proven('{"linux/arm/v7": {"kernel": "6.1"}, "linux/s390x": {"handler": "h", "interpreter": "/i", "kernel": "6.1"}, "linux/386": {}}')
    assert binfmt.native_by_proof(proven, "6.1") == ["linux/arm/v7"]
    assert binfmt.native_by_proof(proven, "6.2") == [] and binfmt.native_by_proof(proven, "") == []
