# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import posixpath
import re
from typing import NamedTuple, Optional

# Meaning as in Docker's own pattern matcher (moby), checked against its documented behaviour:
# later lines win, `!` takes back, a matched directory takes everything below with it.
_ESCAPED = frozenset(".+()|{}$")
_WILDCARDS = re.compile(r"[*?\[\\]")


class Pattern(NamedTuple):
    """One line. ``kind`` is exact, prefix, suffix or regex; ``value`` is what that kind compares with."""

    text: str
    exception: bool
    kind: str
    value: object

    def matches(self, path: str) -> bool:
        """Whether this line alone, its ``!`` aside, names exactly this slash-separated relative path."""
        if self.kind == "exact":
            return path == self.value
        if self.kind == "prefix":
            return path.startswith(self.value)
        if self.kind == "suffix":
            return path.endswith(self.value) or (self.value.startswith("/") and path == self.value[1:])
        return self.value.match(path) is not None


def read_lines(text: str) -> list[str]:
    """The patterns of a .dockerignore: no comments, no empty lines, cleaned, without a leading slash."""
    patterns = []
    for number, raw in enumerate(text.split("\n")):
        line = raw.lstrip("\ufeff") if number == 0 else raw
        if line.startswith("#"):
            continue
        line = line.strip()
        if not line:
            continue
        exception = line.startswith("!")
        if exception:
            line = line[1:].strip()
        if line:
            line = _clean(line)
            if len(line) > 1 and line.startswith("/"):
                line = line[1:]
        patterns.append(("!" if exception else "") + line)
    return patterns


def _clean(path: str) -> str:
    """Go's path cleaning: no double slashes, no `.` or `..` steps that can be resolved, no final slash."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _check_syntax(pattern: str) -> None:
    """Raise ValueError for what Go's filepath.Match calls a bad pattern: an open bracket or a final backslash."""
    index, end = 0, len(pattern)
    while index < end:
        char = pattern[index]
        if char == "\\":
            index += 1
            if index >= end:
                raise ValueError(f"the pattern {pattern!r} ends with a backslash")
        elif char == "[":
            index += 1
            if index < end and pattern[index] == "^":
                index += 1
            members = 0
            while index < end and (pattern[index] != "]" or members == 0):
                if pattern[index] in "]-":
                    raise ValueError(f"the pattern {pattern!r} has a bracket that Docker does not accept")
                index += 2 if pattern[index] == "\\" else 1
                if index < end and pattern[index] == "-":
                    index += 2
                members += 1
            if index >= end:
                raise ValueError(f"the pattern {pattern!r} has a bracket that is never closed")
        index += 1


def compile_pattern(line: str) -> Pattern:
    """One cleaned line as a Pattern. Raises ValueError when Docker would refuse it."""
    exception = line.startswith("!")
    text = line[1:] if exception else line
    if not text:
        raise ValueError('"!" alone excludes nothing')
    _check_syntax(text)
    regex, kind, index, first = "", "exact", 0, True
    while index < len(text):
        char = text[index]
        index += 1
        if char == "*":
            if index < len(text) and text[index] == "*":
                index += 1
                if index < len(text) and text[index] == "/":
                    index += 1
                if index >= len(text):
                    if kind == "exact":
                        kind = "prefix"
                    else:
                        regex += ".*"
                        kind = "regex"
                else:
                    regex += "(.*/)?"
                    kind = "regex"
                if first:
                    kind = "suffix"
            else:
                regex += "[^/]*"
                kind = "regex"
        elif char == "?":
            regex += "[^/]"
            kind = "regex"
        elif char in _ESCAPED:
            regex += "\\" + char
        elif char == "\\":
            regex += "\\" + text[index]
            index += 1
            kind = "regex"
        elif char in "[]":
            regex += char
            kind = "regex"
        else:
            regex += char
        first = False
    if kind == "regex":
        try:
            return Pattern(text, exception, kind, re.compile(rf"\A(?:{regex})\Z"))
        except re.error as problem:
            raise ValueError(f"the pattern {text!r} cannot be understood: {problem}") from problem
    value = {"exact": text, "prefix": text[:-2], "suffix": text[2:]}[kind]
    return Pattern(text, exception, kind, value)


class Matcher:
    """All lines of one .dockerignore, in their order."""

    def __init__(self, lines: list[str]) -> None:
        self.patterns = [compile_pattern(line) for line in lines]
        exceptions = [pattern for pattern in self.patterns if pattern.exception]
        heads = [re.sub(r"/?\*{1,2}$", "", pattern.text) for pattern in exceptions]
        self._exceptions = [f"{head}/" for head in heads]
        # An exception with a wildcard can be anywhere, so nothing may be skipped unseen.
        self._anywhere = any(_WILDCARDS.search(head) or not head for head in heads)

    def ignored(self, path: str, parent: Optional[list[bool]] = None) -> tuple[bool, list[bool]]:
        """Whether a relative path is ignored, and the list to pass as ``parent`` for what is inside it.

        Without ``parent`` the directories above are looked at one by one, with the same answer.
        """
        above = []
        if parent is None and "/" in path:
            steps = path.split("/")[:-1]
            above = ["/".join(steps[:count + 1]) for count in range(len(steps))]
        ignored, info = False, [False] * len(self.patterns)
        for index, pattern in enumerate(self.patterns):
            match = bool(parent) and parent[index]
            if not match:
                if pattern.exception != ignored:
                    continue
                match = pattern.matches(path) or any(pattern.matches(step) for step in above)
            info[index] = match
            if match:
                ignored = not pattern.exception
        return ignored, info

    def may_skip(self, directory: str) -> bool:
        """Whether nothing below this ignored directory can be taken back by a later ``!`` line."""
        if self._anywhere:
            return False
        return not any(head.startswith(f"{directory}/") for head in self._exceptions)


def read_ignore(text: str) -> Matcher:
    """A Matcher of a .dockerignore's text. Raises ValueError for a line that Docker would refuse."""
    return Matcher(read_lines(text))
