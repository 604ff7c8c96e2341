# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import units
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree

UNIT = "docker.service"
GROUPS = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]


class Host:
    """A file system in a temporary folder. Links, and names with a colon, are made here and not kept as files."""

    def __init__(self, root):
        self.root = root
        self.tree = Tree(str(root))

    def write(self, path, text=""):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def link(self, path, target):
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_systemd(host):
    assert units.is_systemd(host.tree) is False
    (host.root / "run/systemd/system").mkdir(parents=True)
    assert units.is_systemd(host.tree) is True


def test_enabled_by_a_link_of_its_name(host):
    assert units.enabled(host.tree, UNIT) is False
    host.link("/etc/systemd/system/multi-user.target.wants/docker.service", "/usr/lib/systemd/system/docker.service")
    assert units.enabled(host.tree, UNIT) is True


@pytest.mark.parametrize("path, expected", [
    ("/etc/systemd/system/cloud.target.requires/docker.service", True),
    ("/usr/lib/systemd/system/multi-user.target.wants/docker.service", True),  # by the distribution
    ("/etc/systemd/system/moby.service", False),                               # an alias starts nothing
    ("/etc/systemd/system/sockets.target.wants/docker.socket", False),
    ("/run/systemd/generator/multi-user.target.wants/docker.service", False),  # for this boot only
])
def test_which_links_count(host, path, expected):
    host.link(path, "/usr/lib/systemd/system/docker.service")
    assert units.enabled(host.tree, UNIT) is expected


def test_masked_units_are_not_enabled(host):
    host.link("/etc/systemd/system/multi-user.target.wants/docker.service", "/usr/lib/systemd/system/docker.service")
    host.link("/etc/systemd/system/docker.service", "/dev/null")
    assert units.enabled(host.tree, UNIT) is False


def test_an_empty_unit_file_masks_too(host):
    host.link("/usr/lib/systemd/system/multi-user.target.wants/docker.service", "../docker.service")
    host.write("/run/systemd/system/docker.service")
    assert units.enabled(host.tree, UNIT) is False


def test_a_users_own_unit_file_does_not_mask(host):
    host.link("/etc/systemd/system/multi-user.target.wants/docker.service", "../docker.service")
    host.write("/etc/systemd/system/docker.service", "[Service]\n")
    assert units.enabled(host.tree, UNIT) is True


@pytest.mark.parametrize("group", GROUPS)
def test_active_when_dockerd_is_in_the_group(host, group):
    host.write(group + "/system.slice/docker.service/cgroup.procs", "7\n8\n")
    host.write("/proc/7/comm", "docker-proxy\n")
    assert units.active(host.tree, UNIT, "dockerd") is False
    host.write("/proc/8/comm", "dockerd\n")
    assert units.active(host.tree, UNIT, "dockerd") is True


def test_shims_that_outlive_the_daemon_are_not_the_daemon(host):
    host.write("/sys/fs/cgroup/system.slice/docker.service/cgroup.procs", "9\n")
    host.write("/proc/9/comm", "containerd-shim\n")
    host.link("/run/systemd/units/invocation:docker.service", "0")
    assert units.active(host.tree, UNIT, "dockerd") is False


def test_long_names_are_cut_as_the_kernel_cuts_them(host):
    host.write("/sys/fs/cgroup/system.slice/x.service/cgroup.procs", "9\n")
    host.write("/proc/9/comm", "a-name-of-sixte\n")
    assert units.active(host.tree, "x.service", "a-name-of-sixteen") is True


def test_when_processes_are_hidden_systemds_own_mark_counts(host):
    host.write("/sys/fs/cgroup/system.slice/docker.service/cgroup.procs", "7\n")
    assert units.active(host.tree, UNIT, "dockerd") is False
    host.link("/run/systemd/units/invocation:docker.service", "0123")
    assert units.active(host.tree, UNIT, "dockerd") is True


def test_no_group_no_activity(host):
    assert units.active(host.tree, UNIT, "dockerd") is False
    assert units.started(host.tree, UNIT) is False


@pytest.mark.parametrize("folder", ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"])
def test_unit_files(host, folder):
    assert units.installed(host.tree, "docker.socket") is False
    host.write(folder + "/docker.socket", "[Socket]\n")
    assert units.installed(host.tree, "docker.socket") is True
