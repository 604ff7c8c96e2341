# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulated firmware makes of cmdline.txt."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "hosts"))
from pi import disk, firmware  # noqa: E402


def words(text):
    """The kernel line without the firmware's own words."""
    line = firmware.kernel_line(text).split()
    assert tuple(line[:2]) == firmware.FIRMWARE_WORDS
    return line[2:]


def test_the_stock_line_has_the_memory_controller_off():
    assert words(disk.CMDLINE) == ["console=ttyAMA0,115200", "console=tty1", "root=LABEL=rootfs", "rootfstype=ext4", "fsck.repair=yes",
                                   "rootwait", "cgroup_disable=memory"]


@pytest.mark.parametrize(("text", "expected"), [
    ("cgroup_disable=memory cgroup_enable=memory", ["cgroup_enable=memory"]),
    ("cgroup_enable=memory cgroup_disable=memory", ["cgroup_enable=memory", "cgroup_disable=memory"]),
    ("cgroup_disable=memory,cpu cgroup_enable=memory quiet", ["cgroup_enable=memory", "quiet", "cgroup_disable=cpu"]),
    ("rootwait cgroup_enable=memory cgroup_memory=1", ["rootwait", "cgroup_enable=memory", "cgroup_memory=1"]),
    ("rootwait\ncgroup_enable=memory\n", ["rootwait"]),
    ("console=serial0,115200 foo=serial0", ["console=ttyAMA0,115200", "foo=serial0"]),
    ("  quiet  splash \r\n", ["quiet", "splash"]),
])
def test_lines(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("text", ["", "\n", "   \nrootwait\n"])
def test_no_first_line_is_no_boot(text):
    with pytest.raises(ValueError, match="no first line"):
        firmware.kernel_line(text)


def test_nothing_runs_in_a_folder_that_is_not_there(tmp_path):
    assert firmware.running(tmp_path / "absent") == 0


def test_the_bluetooth_chip_may_come_later_and_is_where_the_journey_puts_it():
    argv = firmware.qemu_argv("x")
    chip = next(word for word in argv if word.startswith("socket,id=bt,"))
    assert "reconnect=" in chip and "server" not in chip
    journey = (pathlib.Path(__file__).resolve().parents[2] / "pi" / "run").read_text(encoding="utf-8")
    assert f"port={firmware.BLUETOOTH_PORT}," in chip and f"BLUETOOTH_PORT = {firmware.BLUETOOTH_PORT} " in journey
