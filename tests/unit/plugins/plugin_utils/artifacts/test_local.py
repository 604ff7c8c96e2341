# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of the controller's files: read once, and again after any change."""

from __future__ import annotations

import hashlib
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import local

CONTENT = b"x" * 3_000_000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture(name="digests")
def fixture_digests(tmp_path):
    return local.Digests(str(tmp_path / "cache"))


def test_it_is_computed_then_known(path, digests, monkeypatch):
    assert digests.known(path, "sha256") is None
    assert digests.compute(path, "sha256") == DIGEST
    assert digests.known(path, "sha256") == DIGEST
    monkeypatch.setattr(hashlib, "new", None)
    assert digests.compute(path, "sha256") == DIGEST


def test_several_algorithms_are_kept(path, digests):
    digests.compute(path, "sha256")
    assert digests.compute(path, "blake2b") == "blake2b:" + hashlib.blake2b(CONTENT).hexdigest()
    assert digests.known(path, "sha256") == DIGEST


@pytest.mark.parametrize("change", ["content", "time", "inode"])
def test_a_change_is_noticed(path, digests, change):
    digests.compute(path, "sha256")
    status = os.stat(path)
    if change == "content":
        with open(path, "r+b") as stream:
            stream.write(b"y")
        # Whoever sets the times back can't set ctime.
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        os.rename(path, path + ".old")
        with open(path, "wb") as stream:
            stream.write(CONTENT)
    assert digests.known(path, "sha256") is None


def test_a_link_and_its_file_are_one(path, digests):
    os.symlink(path, path + ".link")
    digests.compute(path + ".link", "sha256")
    assert digests.known(path, "sha256") == DIGEST


def test_what_was_found_of_an_earlier_state_is_not_kept(path, digests):
    state = local.state_of(path)
    with open(path, "ab") as stream:
        stream.write(b"more")
    digests.remember(path, state, DIGEST)
    assert digests.known(path, "sha256") is None


def test_it_can_be_stopped(path, digests):
    assert digests.compute(path, "sha256", lambda: True) is None
    assert digests.known(path, "sha256") is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"state": 1}', '{"digests": []}'])
def test_a_broken_note_is_as_none(path, digests, content):
    digests.compute(path, "sha256")
    folder = os.path.join(os.path.dirname(path), "cache", "known")
    note = next(name for name in os.listdir(folder) if name.endswith(".json"))
    with open(os.path.join(folder, note), "w", encoding="utf-8") as stream:
        stream.write(content)
    assert digests.known(path, "sha256") is None
    assert digests.compute(path, "sha256") == DIGEST


def test_notes_are_private(path, digests):
    digests.compute(path, "sha256")
    folder = os.path.join(os.path.dirname(path), "cache", "known")
    assert {os.stat(os.path.join(folder, name)).st_mode & 0o077 for name in os.listdir(folder) if name.endswith(".json")} == {0}
    assert os.stat(folder).st_mode & 0o077 == 0


def test_the_first_folder_that_has_it_counts(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b").write_text(folder)
    (tmp_path / "two" / "a").write_text("two")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert local.find("b", folders) == str(tmp_path / "one" / "b")
    assert local.find("a", folders) == str(tmp_path / "two" / "a")
    assert local.find("c", folders) is None


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    path.write_text("old")

    def fail(*unused):
        raise OSError("disk")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        local.write_atomically(str(path), "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["m.json"]


def test_the_cache_follows_xdg(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert local.cache_folder() == "/c/dockyard-fleet/artifacts"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert local.cache_folder() == "/h/.cache/dockyard-fleet/artifacts"
