# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one line of cmdline.txt."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.engine import boot

STOCK = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait quiet splash"
ADDED = " cgroup_enable=memory cgroup_memory=1"


@pytest.mark.parametrize("before, after", [
    (STOCK + "\n", STOCK + ADDED + "\n"),
    # Without a newline at the end there is none afterwards.
    (STOCK, STOCK + ADDED),
    (STOCK + ADDED + "\n", STOCK + ADDED + "\n"),
    ("cgroup_disable=memory quiet\n", "quiet" + ADDED + "\n"),
    # Only the memory controller is taken out of a list.
    ("cgroup_disable=cpu,memory,io quiet\n", "cgroup_disable=cpu,io quiet" + ADDED + "\n"),
    ("cgroup_memory=0 a=1\n", "a=1" + ADDED + "\n"),
    # What is there already keeps its place.
    ("cgroup_memory=1 a=1\n", "cgroup_memory=1 a=1 cgroup_enable=memory\n"),
    # Other cgroup tokens, look-alikes and quoted spaces stay.
    ("cgroup_enable=cpuset xcgroup_disable=memory\n", "cgroup_enable=cpuset xcgroup_disable=memory" + ADDED + "\n"),
    ('dyndbg="file a.c +p" quiet\n', 'dyndbg="file a.c +p" quiet' + ADDED + "\n"),
])
def test_with_tokens(before, after):
    assert boot.with_tokens(before) == after
    assert boot.with_tokens(after) == after
    assert len(after.splitlines()) == 1


def test_unchanged_content_keeps_its_white_space():
    content = "a=1   cgroup_enable=memory\tcgroup_memory=1 \r\n\n"
    assert boot.with_tokens(content) == content


@pytest.mark.parametrize("content, count", [("", 0), ("\n \n", 0), ("a=1\nb=2\n", 2)])
def test_one_line_is_required(content, count):
    with pytest.raises(ValueError, match="found %d lines" % count):
        boot.with_tokens(content)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak"])
def test_tokens_are_words(token):
    with pytest.raises(ValueError, match="needed one word"):
        boot.with_tokens(STOCK, present=[token])


def test_has_tokens():
    assert boot.has_tokens(STOCK + ADDED)
    assert not boot.has_tokens("cgroup_memory=1 xcgroup_enable=memory")
