# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store after broken bytes, a killed run, replays and a removal, seen from outside."""

from __future__ import annotations

import json
import os

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")
STORE = "/var/lib/dockyard/artifacts"
MADE = os.path.join(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "made")


@pytest.fixture(name="root")
def fixture_root(host):
    with host.sudo():
        yield host


@pytest.fixture(name="folder")
def fixture_folder(root):
    """The only set that is left."""
    found = root.check_output("find %s/sets/demo/models -mindepth 1 -maxdepth 1 -type d" % STORE).split()
    assert len(found) == 1
    return found[0]


def wanted(name):
    with open(os.path.join(MADE, name), encoding="utf-8") as stream:
        return json.load(stream)


def test_every_file_has_its_digest(root, folder):
    lines = root.check_output("cd %s && find . -type f -exec sha256sum {} +" % folder).splitlines()
    assert {line[66:]: "sha256:" + line[:64] for line in lines} == {"./" + item["name"]: item["digest"] for item in wanted("newer.json")["files"]}


def test_nobody_can_write_what_is_verified(root, folder):
    assert root.check_output("find %s %s/sha256 -type f -perm /0222" % (folder, STORE)) == ""
    assert root.check_output("find %s -not -user root" % STORE) == ""
    assert root.file(STORE).mode == 0o755


def test_a_container_user_can_read_it(root, folder):
    assert root.run("runuser -u nobody -- cat %s/small.bin" % folder).rc == 0


def test_nothing_half_done_is_left(root):
    assert root.check_output("find %s/partial -type f" % STORE) == ""


def test_the_host_remembers_the_manifest(root):
    assert json.loads(root.file(STORE + "/sets/demo/models.json").content_string)["version"] == 3


def test_what_was_removed_is_gone(root):
    pushed = next(item for item in wanted("models.json")["files"] if item["name"] == "pushed.bin")["digest"].partition(":")[2]
    assert not root.file("%s/sha256/%s/%s" % (STORE, pushed[:2], pushed)).exists
