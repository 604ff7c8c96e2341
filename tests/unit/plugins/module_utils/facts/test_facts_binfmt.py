# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt

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
        "magic": "7f454c460201010000000000000000000200b700",
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
