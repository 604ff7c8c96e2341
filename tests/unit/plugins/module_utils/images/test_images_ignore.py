# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images.ignore import read_ignore, read_lines


@pytest.mark.parametrize("text, path, ignored", [
    ("*.md", "a.md", True), ("*.md", "docs/a.md", False), ("**/*.md", "a.md", True), ("**/*.md", "docs/deep/a.md", True),
    ("docs", "docs/a/b", True), ("docs/", "docs/a/b", True), ("/docs", "docs/a", True), ("docs", "mydocs/a", False), ("docs", "a/docs", False),
    ("docs/**", "docs", False), ("docs/**", "docs/a", True), ("**/docs", "a/docs/b", True), ("**/docs", "a/mydocs", False), ("**docs", "a/mydocs", True),
    ("a/**/z", "a/z", True), ("a/**/z", "a/b/c/z", True), ("a**", "abc/d", True),
    ("*\n!src", "src/a", False), ("*\n!src", "other", True), ("*\n!src\nsrc/*.pyc", "src/a.pyc", True), ("!src\n*", "src", True),
    ("docs\n!docs/README.md", "docs/README.md", False), ("docs\n!docs/README.md", "docs/x", True),
    ("**\n!keep/deep/file", "keep/deep/file", False),
    ("# *\n  spaced  ", "spaced", True), ("# *", "x", False), (" # x", "# x", True), ("\ufeffx", "x", True), ("x\r\ny\r\n", "x", True),
    (".", "x", False), ("./x", "x", True), ("a//b", "a/b", True), ("a/../b", "b", True), ("a/../b", "a", False), ("../x", "x", False), ("/", "x", False),
    ("a?c", "abc", True), ("a?c", "a/c", False), ("a[b-d]e", "ace", True), ("a[^b-d]e", "ace", False), ("a.c", "abc", False), ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a(b)+{c}$", "a(b)+{c}$", True), ("*.gz", "a.gz\n", False),
])
def test_what_docker_ignores(text, path, ignored):
    assert read_ignore(text).ignored(path)[0] is ignored


def test_walking_gives_the_same_answers_as_asking_for_each_path():
    matcher = read_ignore("*\n!app\napp/**/cache\n!app/x/cache/keep\n**/*.pyc\n!app/a.pyc")
    for path in ("app/x/cache/keep", "app/x/cache/other", "app/a.pyc", "app/b.pyc", "app/x/c.py", "lib/x"):
        above = [False] * len(matcher.patterns)
        steps = path.split("/")
        for count in range(1, len(steps) + 1):
            ignored, above = matcher.ignored("/".join(steps[:count]), above)
        assert ignored is matcher.ignored(path)[0], path


@pytest.mark.parametrize("text, directory, skip", [
    ("node_modules", "node_modules", True), ("*\n!src", "lib", True), ("*\n!src/deep", "src", False), ("*\n!**/keep", "lib", False),
    ("*\n!src/*", "lib", True), ("*\n!src/*", "src", False), ("*\n!s*/x", "lib", False),
])
def test_an_ignored_directory_is_entered_only_when_something_below_may_come_back(text, directory, skip):
    assert read_ignore(text).may_skip(directory) is skip


def test_lines_are_cleaned():
    assert read_lines("a\n/b\n/c/d/\n\n# no\n! /e\n./f") == ["a", "b", "c/d", "!e", "f"]


@pytest.mark.parametrize("text", ["!", "! ", "[", "a[", "[^", "[]a]", "[x-]", "[-x]", "a\\", "[a-b-c]"])
def test_what_docker_refuses(text):
    with pytest.raises(ValueError):
        read_ignore(text)
