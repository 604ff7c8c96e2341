# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree, reason


def test_paths_are_below_the_root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hostname").write_bytes(b"pi\xff\n")
    tree = Tree(str(tmp_path) + "/")
    assert tree.text("/etc/hostname") == "pi\ufffd\n"
    assert tree.sha256("/etc/hostname") == hashlib.sha256(b"pi\xff\n").hexdigest()
    assert tree.names("/etc") == ["hostname"]
    assert tree.exists("/etc/hostname") and tree.lexists("/etc/hostname")
    assert Tree("/").path("/etc") == "/etc"


def test_what_is_not_there(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    tree = Tree(str(tmp_path))
    for path in ("/none", "/none/deeper", "/file/below"):
        assert tree.text_or_none(path) is None
        assert tree.names(path) == []
        assert not tree.exists(path)
        assert not tree.lexists(path)
    assert tree.lexists("/link") and not tree.exists("/link")
    with pytest.raises(FileNotFoundError):
        tree.text("/none")


def test_a_refused_permission_is_not_absence(tmp_path, monkeypatch):
    def refuse(path, *unused, **unused2):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.listdir", refuse)
    tree = Tree(str(tmp_path))
    with pytest.raises(PermissionError) as caught:
        tree.text_or_none("/secret")
    assert reason(caught.value) == "%s/secret: Permission denied (use become)" % tmp_path
    with pytest.raises(PermissionError):
        tree.names("/secret")


def test_reasons_are_never_empty():
    assert reason(ValueError("odd")) == "odd"
    assert reason(ValueError()) == "ValueError"
    assert reason(OSError("a program failed")) == "a program failed"
