# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module boot_cmdline against real files."""

from __future__ import annotations

import json
import os

import pytest

from ansible.module_utils.testing import patch_module_args
from ansible_collections.dockyard.fleet.plugins.modules import boot_cmdline

STOCK = "console=tty1 root=PARTUUID=1-02 rootwait cgroup_disable=memory\n"
ON = "console=tty1 root=PARTUUID=1-02 rootwait cgroup_enable=memory cgroup_memory=1\n"


@pytest.fixture(name="run")
def fixture_run(tmp_path, capsys):
    """:returns: a function that runs the module on cmdline.txt in tmp_path"""
    def run(check=False, **params):
        with patch_module_args(dict(params, path=str(tmp_path / "cmdline.txt"), _ansible_check_mode=check, _ansible_diff=True)), pytest.raises(SystemExit):
            boot_cmdline.main()
        return json.loads(capsys.readouterr().out)
    return run


def test_turns_the_controller_on_once(run, tmp_path):
    path = tmp_path / "cmdline.txt"
    path.write_text(STOCK)
    checked = run(check=True)
    assert path.read_text() == STOCK and os.listdir(tmp_path) == ["cmdline.txt"]
    result = run()
    assert result == checked
    assert (result["changed"], result["before"], result["after"], result["reboot_needed"]) == (True, STOCK[:-1], ON[:-1], True)
    assert result["diff"] == {"before_header": str(path), "after_header": str(path), "before": STOCK, "after": ON}
    assert path.read_text() == ON and (tmp_path / "cmdline.txt.dockyard-orig").read_text() == STOCK
    assert sorted(os.listdir(tmp_path)) == ["cmdline.txt", "cmdline.txt.dockyard-orig"]
    again = run()
    assert again["changed"] is False and "diff" not in again
    run(present=["quiet"], absent=[])
    assert path.read_text() == ON[:-1] + " quiet\n" and (tmp_path / "cmdline.txt.dockyard-orig").read_text() == STOCK


def test_a_failed_write_leaves_the_old_line(run, tmp_path, monkeypatch):
    path = tmp_path / "cmdline.txt"
    path.write_text(STOCK)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(boot_cmdline.os, "replace", full)
    result = run()
    assert result["failed"] and "No space left" in result["msg"]
    assert path.read_text() == STOCK and not (tmp_path / "cmdline.txt.dockyard-new").exists()


def test_works_where_modes_can_not_be_set(run, tmp_path, monkeypatch):
    (tmp_path / "cmdline.txt").write_text(STOCK)

    def fat(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(boot_cmdline.shutil, "copymode", fat)
    assert run()["changed"] and (tmp_path / "cmdline.txt").read_text() == ON


@pytest.mark.parametrize("content, message", [(b"a=1\nb=2\n", "found 2 lines"), (b"", "found 0 lines"), (b"\xff\xfe\n", "bytes that are no text")])
def test_bad_files(run, tmp_path, content, message):
    (tmp_path / "cmdline.txt").write_bytes(content)
    result = run()
    assert result["failed"] and message in result["msg"] and (tmp_path / "cmdline.txt").read_bytes() == content


def test_no_file(run):
    result = run()
    assert result["failed"] and "No such file" in result["msg"]
