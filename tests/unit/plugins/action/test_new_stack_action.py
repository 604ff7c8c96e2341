# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from unittest import mock

import pytest

from ansible_collections.dockyard.fleet.plugins.action import new_stack


@pytest.fixture(name="call")
def fixture_call(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def call(check=False, diff=False, **args):
        task = mock.MagicMock(args=args, check_mode=check, diff=diff, async_val=0)
        action = new_stack.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), None)
        return action.run(task_vars={})
    return call


def test_a_stack_is_written_once(call, tmp_path):
    result = call(name="shop")
    assert result["changed"] and result["path"] == str(tmp_path / "stacks" / "shop") and result["folder"] == str(tmp_path / "stacks")
    assert "web/Dockerfile" in result["files"] and all(os.path.isfile(os.path.join(result["path"], path)) for path in result["files"])
    (tmp_path / "stacks" / "shop" / "stack.yml").write_text("mine")
    again = call(name="shop")
    assert again["failed"] and not again["changed"] and "nothing is ever replaced" in again["msg"]
    assert (tmp_path / "stacks" / "shop" / "stack.yml").read_text() == "mine"


@pytest.mark.parametrize("given, folder", [("mine", "mine"), ("~/stacks", "home/stacks")])
def test_its_folder_is_given(call, tmp_path, given, folder):
    assert call(name="shop", folder=given)["path"] == str(tmp_path / folder / "shop")


def test_check_mode_writes_nothing_and_shows_the_files(call, tmp_path):
    result = call(check=True, diff=True, name="shop")
    assert result["changed"] and os.listdir(str(tmp_path)) == []
    assert {entry["after_header"] for entry in result["diff"]} == {os.path.join(result["path"], path) for path in result["files"]}


@pytest.mark.parametrize("name", ["", "Shop", "inventory", "all"])
def test_a_name_that_is_refused(call, tmp_path, name):
    result = call(name=name)
    assert result["failed"] and result["msg"].startswith("name: found ") and "correct -e name=" in result["msg"] and os.listdir(str(tmp_path)) == []


def test_a_folder_that_cannot_be_made(call, tmp_path):
    (tmp_path / "stacks").write_text("a file is in the way")
    result = call(name="shop")
    assert result["failed"] and "needed a folder that you may write to; correct -e folder=" in result["msg"]
