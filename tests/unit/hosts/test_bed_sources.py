# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's mirrors are read from its own APT configuration, in both formats."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hosts"))

from bedlib import aptsources  # noqa: E402
from bedlib.aptsources import Mirrors, Source  # noqa: E402

DEB822 = """\
Types: deb deb-src
# a remark in the middle
URIs: http://mirror.test/debian/ http://second.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: trixie
Components: main
"""


def test_deb822_gives_every_uri_with_every_suite_and_leaves_out_what_is_off():
    assert aptsources.parse_deb822(DEB822) == [
        Source("http://mirror.test/debian", "bookworm", ("main", "contrib")),
        Source("http://mirror.test/debian", "bookworm-updates", ("main", "contrib")),
        Source("http://second.test/debian", "bookworm", ("main", "contrib")),
        Source("http://second.test/debian", "bookworm-updates", ("main", "contrib")),
        Source("http://mirror.test/debian-security", "bookworm-security", ("main",)),
    ]


def test_deb822_joins_continued_lines():
    text = "Types: deb\nURIs:\n http://a.test/debian\n http://b.test/debian\nSuites: trixie\nComponents: main\n"
    assert [source.uri for source in aptsources.parse_deb822(text)] == ["http://a.test/debian", "http://b.test/debian"]


@pytest.mark.parametrize("line, expected", [
    ("deb http://m.test/debian trixie main contrib", Source("http://m.test/debian", "trixie", ("main", "contrib"))),
    ("deb [arch=amd64 signed-by=/k.gpg] https://m.test/debian/ trixie main # ours", Source("https://m.test/debian", "trixie", ("main",))),
    ("  deb\thttp://m.test/debian\ttrixie\tmain", Source("http://m.test/debian", "trixie", ("main",))),
    ("# deb http://m.test/debian trixie main", None),
    ("deb-src http://m.test/debian trixie main", None),
    ("", None),
])
def test_one_line_sources(line, expected):
    assert aptsources.parse_one_line(line) == ([expected] if expected else [])


def test_mirrors_are_the_first_of_each_kind():
    assert aptsources.choose_mirrors(aptsources.parse_deb822(DEB822)) == Mirrors("http://mirror.test/debian", "http://mirror.test/debian-security")


@pytest.mark.parametrize("sources", [
    [],
    [Source("http://m.test/debian", "trixie", ("main",))],
    [Source("http://m.test/ubuntu", "noble", ("main",)), Source("http://m.test/ubuntu", "noble-security", ("main",))],
    [Source("http://vendor.test/linux/debian", "bookworm", ("stable",)), Source("http://m.test/s", "bookworm-security", ("main",))],
])
def test_no_mirror_is_chosen_unless_debian_main_and_security_are_there(sources):
    assert aptsources.choose_mirrors(sources) is None


def test_third_party_sources_are_passed_over():
    sources = [
        Source("http://vendor.test/debian", "bookworm", ("stable",)),
        Source("http://vendor.test/tool", "nodistro", ("main",)),
        Source("http://m.test/debian", "bookworm-updates", ("main",)),
        Source("http://s.test/debian-security", "buster/updates", ("main",)),
    ]
    assert aptsources.choose_mirrors(sources) == Mirrors("http://m.test/debian", "http://s.test/debian-security")


def test_read_machine_reads_both_formats_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.delenv("BED_DEBIAN_MIRROR", raising=False)
    monkeypatch.delenv("BED_DEBIAN_SECURITY_MIRROR", raising=False)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.test/debian trixie main\n")
    (tmp_path / "sources.list.d" / "security.sources").write_text("Types: deb\nURIs: http://two.test/sec\nSuites: trixie-security\nComponents: main\n")
    (tmp_path / "sources.list.d" / "aaa.list.disabled").write_text("deb http://never.test/debian trixie main\n")
    assert aptsources.read_machine(tmp_path) == Mirrors("http://one.test/debian", "http://two.test/sec")


def test_environment_goes_before_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("BED_DEBIAN_MIRROR", "http://own.test/debian/")
    monkeypatch.setenv("BED_DEBIAN_SECURITY_MIRROR", "http://own.test/security")
    assert aptsources.read_machine(tmp_path) == Mirrors("http://own.test/debian", "http://own.test/security")


def test_what_an_image_gets_reads_back_as_the_same_mirrors():
    mirrors = Mirrors("http://m.test/debian", "http://m.test/security")
    text = aptsources.deb822(mirrors, "trixie")
    assert [(source.uri, source.suite) for source in aptsources.parse_deb822(text)] == [
        ("http://m.test/debian", "trixie"), ("http://m.test/debian", "trixie-updates"), ("http://m.test/security", "trixie-security")]
    assert aptsources.choose_mirrors(aptsources.parse_one_line("\n".join(aptsources.source_lines(mirrors, "trixie")))) == mirrors
