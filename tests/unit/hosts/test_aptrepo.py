# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of the APT repository: versions and unit files."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "hosts"))
from aptrepo import repo  # noqa: E402


@pytest.mark.parametrize(("version", "before"), [("26.1.5", "26.1.4"), ("26.1.0", "26.0.0"), ("26.0.0", "25.0.0"), ("0.0.1", "0.0.0")])
def test_the_version_before(version, before):
    assert repo.older(version) == before


def test_nothing_is_before_the_first_version():
    with pytest.raises(ValueError, match="no version before"):
        repo.older("0.0.0")


def test_versions_have_docker_s_form():
    package = repo.Package("docker-ce", "26.1.5", "5:", {}, {})
    assert package.versions("bookworm") == ["5:26.1.5-1~debian.12~bookworm", "5:26.1.4-1~debian.12~bookworm"]


def test_a_changed_unit_file_of_debian_is_noticed():
    assert repo.replace_once("a=1\nb=2\n", r"^a=\d$", "a=3", "x") == "a=3\nb=2\n"
    for text in ("b=2\n", "a=1\na=2\n"):
        with pytest.raises(RuntimeError, match="exactly one was expected"):
            repo.replace_once(text, r"^a=\d$", "a=3", "x")
