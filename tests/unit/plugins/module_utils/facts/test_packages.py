# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import packages

STANZA = "Package: %s\nStatus: %s\nPriority: optional\nArchitecture: arm64\nVersion: %s\nDescription: about docker\n Package: docker-ce\n\n"


def status(*entries):
    return "".join(STANZA % entry for entry in entries).encode()


def test_installed_held_and_removed():
    found, interrupted = packages.parse_dpkg_status(status(
        ("docker-ce", "hold ok installed", "5:28.5.1-1"),
        ("containerd.io", "install ok installed", "1.7.28-1"),
        ("docker.io", "deinstall ok config-files", "20.10"),
        ("docker-cert-tool", "install ok installed", "1"),
        ("bash", "install ok installed", "5.2"),
    ))
    assert found == {
        "docker-ce": {"version": "5:28.5.1-1", "hold": True, "status": "installed"},
        "containerd.io": {"version": "1.7.28-1", "hold": False, "status": "installed"},
        "docker.io": {"version": "20.10", "hold": False, "status": "config-files"},
    }
    assert interrupted is False


@pytest.mark.parametrize("state", ["half-configured", "half-installed", "unpacked", "triggers-awaited", "triggers-pending"])
def test_a_package_between_two_states(state):
    found, interrupted = packages.parse_dpkg_status(status(("docker.io", "install ok " + state, "26.1"), ("bash", "install ok installed", "5.2")))
    assert found["docker.io"]["status"] == state
    assert interrupted is True
    found, interrupted = packages.parse_dpkg_status(status(("vim", "install reinstreq " + state, "9")))
    assert (found, interrupted) == ({}, True)


def test_a_hold_on_what_is_not_installed_has_no_version():
    found, unused = packages.parse_dpkg_status(b"Package: docker-ce\nStatus: hold ok not-installed\nPriority: optional\nSection: admin\n")
    assert found == {"docker-ce": {"version": None, "hold": True, "status": "not-installed"}}


@pytest.mark.parametrize("order", [1, -1])
def test_a_foreign_architectures_remains_do_not_hide_what_is_installed(order):
    entries = [("runc", "install ok installed", "1.1.15"), ("runc", "deinstall ok config-files", "1.1.5")][::order]
    found, unused = packages.parse_dpkg_status(status(*entries))
    assert found == {"runc": {"version": "1.1.15", "hold": False, "status": "installed"}}


def test_nothing():
    assert packages.parse_dpkg_status(b"") == ({}, False)


@pytest.mark.parametrize("names, left", [([], False), (["tmp.i"], False), (["0001"], True)])
def test_journal(names, left):
    assert packages.journal_left(names) is left


@pytest.mark.parametrize("arch, text, expected", [
    ("arm64\narmhf\n", b"", "arm64"),
    (None, status(("bash", "install ok installed", "5"), ("dpkg", "install ok installed", "1")), "arm64"),
    ("", b"Package: dpkg\nStatus: install ok installed\nArchitecture: armhf\n", "armhf"),
    (None, b"", None),
    (None, None, None),
])
def test_architecture(arch, text, expected):
    assert packages.dpkg_architecture(arch, text) == expected


def test_rpm():
    found = packages.parse_rpm(
        "docker\t25.0.8-1.amzn2023.0.5\nrunc\t1.2.6-1\nbash\t5.2\ndocker-ce\t28.5.1-1.el9\nnonsense\n",
        "# docker-ce is free\ndocker-0:25.0.8-1.amzn2023.0.5.*\n!runc-0:1.2.6-1.*\n",
    )
    assert found == {
        "docker": {"version": "25.0.8-1.amzn2023.0.5", "hold": True, "status": "installed"},
        "runc": {"version": "1.2.6-1", "hold": False, "status": "installed"},
        "docker-ce": {"version": "28.5.1-1.el9", "hold": False, "status": "installed"},
    }


@pytest.mark.parametrize("version, upstream", [
    ("5:28.5.1-1~debian.13~trixie", "28.5.1"),
    ("20.10.24+dfsg1-1+deb12u1+b6", "20.10.24"),
    ("0.13.1+ds1-3", "0.13.1"),
    ("2.26.1-4", "2.26.1"),
    ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0~rc.1"),
    ("25.0.8-1.amzn2023.0.5", "25.0.8"),
    ("v0.29.1", "0.29.1"),
    (None, None),
    ("unknown", None),
])
def test_upstream_version(version, upstream):
    assert packages.upstream_version(version) == upstream


def test_a_half_configured_package_tells_no_version():
    found = {"docker-cli": {"version": "26.1.5", "hold": False, "status": "unpacked"}, "docker.io": {"version": "20.10", "hold": False, "status": "installed"}}
    assert packages.installed_version(found, ("docker-ce-cli", "docker-cli", "docker.io")) == "20.10"
    assert packages.installed_version(found, ("docker-cli",)) is None


def test_one_line_sources():
    text = (
        "# deb https://commented.example/ trixie main\n"
        "deb [arch=arm64,armhf signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian trixie stable test # why\n"
        "deb-src http://mirror.example/ ./\n"
    )
    first, second = packages.parse_one_line_sources(text)
    assert first == {
        "types": ["deb"], "uris": ["https://download.docker.com/linux/debian"], "suites": ["trixie"], "components": ["stable", "test"],
        "architectures": ["arm64", "armhf"], "signed_by": "/etc/apt/keyrings/docker.asc", "enabled": True,
    }
    assert (second["types"], second["suites"], second["components"], second["signed_by"]) == (["deb-src"], ["./"], [], None)


def test_deb822_sources():
    text = (
        "# a comment\nTypes: deb deb-src\nURIs: https://a.example/\n https://b.example/\nSuites: trixie\nComponents: stable\nSigned-By: /k.asc\nEnabled: no\n"
        "\n"
        "Types: deb\nuris: https://c.example/\nSuites: trixie\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQIN\n"
        "\n \nX-Other: stanza\n"
    )
    first, second = packages.parse_deb822_sources(text)
    assert first["types"] == ["deb", "deb-src"]
    assert first["uris"] == ["https://a.example/", "https://b.example/"]
    assert (first["signed_by"], first["enabled"]) == ("/k.asc", False)
    assert (second["uris"], second["signed_by"], second["enabled"]) == (["https://c.example/"], "inline", True)


@pytest.mark.parametrize("name, expected", [("docker.sources", True), ("Docker-CE.list", True), ("dockyard-mirror.list", True), ("debian.sources", False)])
def test_whose_file(name, expected):
    assert packages.ours(name) is expected
