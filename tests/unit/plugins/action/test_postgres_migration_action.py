# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
from unittest import mock

import pytest

from ansible_collections.dockyard.fleet.plugins.action import postgres_migration


@pytest.mark.parametrize("state, label", [("copied", "copying"), ("proved", "proving"), ("surveyed", "looking"), ("absent", "looking"), (None, "looking")])
def test_the_module_is_run_as_it_was_called_and_followed(monkeypatch, state, label):
    followed, labels, ended = mock.MagicMock(), [], []
    followed.run.return_value = {"changed": True, "differences": []}

    @contextlib.contextmanager
    def follow(action, what, task_vars):
        assert task_vars == {"a": 1}
        labels.append(what)
        yield followed
        ended.append(True)

    monkeypatch.setattr(postgres_migration.progress, "follow", follow)
    args = dict({"stack": "inventory", "service": "db"}, **({"state": state} if state else {}))
    task = mock.MagicMock(async_val=0, check_mode=False, diff=False, args=args)
    result = postgres_migration.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), None).run(task_vars={"a": 1})
    assert result["changed"] is True and result["differences"] == [] and labels == [label] and ended == [True]
    assert followed.run.call_args.args == ("dockyard.fleet.postgres_migration", args, {"a": 1})
    assert followed.run.call_count == 1
