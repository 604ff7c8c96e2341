# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import shlex
from typing import NamedTuple, Optional

_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"(?<![<\w])(?:\d*)<<-?\s*(['\"]?)([A-Za-z_][A-Za-z0-9_.]*)\1")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FLAG = re.compile(r"^--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
# BuildKit lets these through without an ARG line.
PREDEFINED_ARGS = frozenset(name for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (base, base.lower()))


class Instruction(NamedTuple):
    """One instruction: upper-case keyword, ``[(flag, value)]``, the rest of its text, the number of its first line."""

    keyword: str
    flags: list
    rest: str
    line: int


class Stage(NamedTuple):
    """One FROM. ``base`` and ``uses`` hold ``("stage", index)``, ``("image", reference)`` or ``("scratch", "")``."""

    index: int
    name: Optional[str]
    base: tuple
    platform: Optional[str]
    uses: list


class Base(NamedTuple):
    """An image that a build takes from outside. ``platform`` is null for the build's own."""

    reference: str
    platform: Optional[str]


class Dockerfile(NamedTuple):
    """What matters of a Dockerfile before it is built."""

    stages: list
    declared_args: frozenset
    syntax: Optional[str]

    def reachable(self, target: Optional[str] = None) -> list[Stage]:
        """The stages that a build of ``target`` (default: the last one) runs, as BuildKit leaves the others out.

        Raises ValueError when no stage has that name.
        """
        wanted = len(self.stages) - 1
        if target:
            names = {stage.name: stage.index for stage in self.stages if stage.name}
            if target.lower() in names:
                wanted = names[target.lower()]
            elif target.isdigit() and int(target) < len(self.stages):
                wanted = int(target)
            else:
                known = ", ".join(sorted(names)) or "none has a name"
                raise ValueError(f"no stage is called {target!r} (stages: {known})")
        seen, todo = set(), [wanted]
        while todo:
            index = todo.pop()
            if index in seen:
                continue
            seen.add(index)
            stage = self.stages[index]
            todo.extend(value for kind, value in [stage.base, *stage.uses] if kind == "stage")
        return [self.stages[index] for index in sorted(seen)]

    def bases(self, target: Optional[str] = None) -> list[Base]:
        """The images from outside that a build of ``target`` needs, each once, in the order of their lines."""
        found = {}
        for stage in self.reachable(target):
            for position, (kind, value) in enumerate([stage.base, *stage.uses]):
                if kind == "image":
                    found.setdefault(value, Base(value, stage.platform if position == 0 else None))
        return list(found.values())


def split_instructions(text: str) -> tuple[list[Instruction], dict]:
    """Cut a Dockerfile into instructions; returns them and its parser directives (``escape``, ``syntax``).

    Raises ValueError for a wrong escape directive or a here-document without an end.
    """
    lines = text.lstrip("\ufeff").splitlines()
    directives, index = {}, 0
    while index < len(lines):
        match = _DIRECTIVE.match(lines[index].strip())
        if not match or match.group(1).lower() not in ("escape", "syntax", "check") or match.group(1).lower() in directives:
            break
        directives[match.group(1).lower()] = match.group(2)
        index += 1
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise ValueError(f"the escape directive must be a backslash or a backtick, found {escape!r}")
    continued = re.compile(rf"{re.escape(escape)}[ \t]*$")
    instructions = []
    while index < len(lines):
        start, parts = index, []
        while index < len(lines):
            line = lines[index]
            index += 1
            if line.lstrip().startswith("#") or (parts and not line.strip()):
                continue
            more = continued.search(line)
            parts.append(line[:more.start()] if more else line)
            if not more:
                break
        joined = "".join(parts).strip()
        if not joined:
            continue
        keyword, rest = (joined.split(None, 1) + [""])[:2]
        keyword = keyword.upper()
        if keyword in ("RUN", "COPY", "ADD"):
            for heredoc in _HEREDOC.findall(rest):
                while index < len(lines) and lines[index].lstrip("\t") != heredoc[1]:
                    index += 1
                if index >= len(lines):
                    raise ValueError(f"line {start + 1}: the here-document {heredoc[1]} has no end")
                index += 1
        flags = []
        match = _FLAG.match(rest)
        while match:
            flags.append((match.group(1), match.group(2) or ""))
            rest = rest[match.end():]
            match = _FLAG.match(rest)
        instructions.append(Instruction(keyword, flags, rest, start + 1))
    return instructions, directives


def expand(text: str, values: dict, escape: str = "\\") -> str:
    """Replace ``$A``, ``${A}``, ``${A:-d}``, ``${A-d}``, ``${A:+d}``, ``${A+d}`` and remove quotes, as Docker does in FROM and ARG.

    Raises ValueError for a form that is not understood.
    """
    out, index, quote = [], 0, ""
    while index < len(text):
        char = text[index]
        if char == escape and quote != "'" and index + 1 < len(text):
            out.append(text[index + 1])
            index += 2
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
            index += 1
        elif char == "$" and quote != "'":
            value, index = _variable(text, index + 1, values, escape)
            out.append(value)
        else:
            out.append(char)
            index += 1
    return "".join(out)


def _variable(text: str, index: int, values: dict, escape: str) -> tuple[str, int]:
    braced = text[index:index + 1] == "{"
    match = _NAME.match(text, index + 1 if braced else index)
    if not match:
        raise ValueError(f"a variable is not understood in {text!r}")
    name, end = match.group(), match.end()
    if not braced:
        return values.get(name) or "", end
    depth, close = 1, end
    while close < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[close], 0)
        close += 1
    if depth:
        raise ValueError(f"a brace is not closed in {text!r}")
    modifier = text[end:close - 1]
    given = values.get(name)
    if not modifier:
        return given or "", close
    strict = modifier.startswith(":")
    operator, word = (modifier[1:2], modifier[2:]) if strict else (modifier[:1], modifier[1:])
    present = bool(given) if strict else given is not None
    if operator == "-":
        return (given if present else expand(word, values, escape)) or "", close
    if operator == "+":
        return expand(word, values, escape) if present else "", close
    if operator == "?":
        if not present:
            raise ValueError(f"the variable {name} is required: {word}")
        return given or "", close
    raise ValueError(f"the form ${{{name}{modifier}}} is not supported in an image name")


def _platform_args(platform: Optional[str], native: Optional[str]) -> dict:
    values = {}
    for prefix, text in (("TARGET", platform), ("BUILD", native or platform)):
        if text:
            system, arch, variant = (text.split("/") + ["", ""])[:3]
            values.update({f"{prefix}PLATFORM": text, f"{prefix}OS": system, f"{prefix}ARCH": arch, f"{prefix}VARIANT": variant})
    return values


def _arg_words(rest: str, line: int, escape: str) -> list[str]:
    lexer = shlex.shlex(rest, posix=False, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", escape
    try:
        return list(lexer)
    except ValueError as problem:
        raise ValueError(f"line {line}: {problem}") from problem


def parse_dockerfile(text: str, args: Optional[dict] = None, platform: Optional[str] = None, native: Optional[str] = None) -> Dockerfile:
    """Read a Dockerfile with the build arguments ``args``, for ``platform``, on a host of platform ``native``.

    Raises ValueError with the line when it has no FROM or Docker could not read it.
    """
    instructions, directives = split_instructions(text)
    escape, args = directives.get("escape", "\\"), args or {}
    values, declared, stages, names = _platform_args(platform, native), set(), [], {}
    names_ahead = {_stage_name(item).lower() for item in instructions if item.keyword == "FROM" and _stage_name(item)}
    for item in instructions:
        if item.keyword == "ARG":
            for word in _arg_words(item.rest, item.line, escape):
                name, equals, default = word.partition("=")
                declared.add(name)
                if not stages:
                    given = expand(default, values, escape) if equals else values.get(name)
                    values[name] = str(args[name]) if name in args else given
        elif item.keyword == "FROM":
            stages.append(_from(item, values, escape, names, len(stages)))
            if stages[-1].name:
                names[stages[-1].name] = len(stages) - 1
        elif item.keyword in ("COPY", "RUN") and stages:
            for source in _taken_from(item):
                if "$" in source:
                    raise ValueError(f"line {item.line}: {item.keyword} from={source}: Docker does not expand variables here")
                if source.isdigit() and int(source) < len(stages) - 1:
                    stages[-1].uses.append(("stage", int(source)))
                elif source.lower() in names:
                    stages[-1].uses.append(("stage", names[source.lower()]))
                elif source.lower() in names_ahead or source.isdigit():
                    raise ValueError(f"line {item.line}: {item.keyword} from={source}: that stage comes later")
                else:
                    stages[-1].uses.append(("image", source))
        elif not stages and item.keyword not in ("ARG", "FROM"):
            raise ValueError(f"line {item.line}: {item.keyword} comes before the first FROM")
    if not stages:
        raise ValueError("there is no FROM line")
    return Dockerfile(stages, frozenset(declared), directives.get("syntax"))


def _stage_name(item: Instruction) -> str:
    words = item.rest.split()
    return words[2] if len(words) == 3 and words[1].lower() == "as" else ""


def _from(item: Instruction, values: dict, escape: str, names: dict, index: int) -> Stage:
    words = item.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise ValueError(f"line {item.line}: FROM needs one image, and optionally AS and a name; found {item.rest!r}")
    try:
        image = expand(words[0], values, escape)
        platform = next((expand(value, values, escape) for flag, value in item.flags if flag == "platform"), None)
    except ValueError as problem:
        raise ValueError(f"line {item.line}: {problem}") from problem
    if not image:
        raise ValueError(f"line {item.line}: the image of FROM {words[0]} is empty; an ARG before the first FROM has no value")
    if image.lower() in names:
        base = ("stage", names[image.lower()])
    elif image == "scratch":
        base = ("scratch", "")
    else:
        base = ("image", image)
    return Stage(index, words[2].lower() if len(words) == 3 else None, base, platform or None, [])


def _taken_from(item: Instruction) -> list[str]:
    if item.keyword == "COPY":
        return [value for flag, value in item.flags if flag == "from" and value]
    sources = []
    for flag, value in item.flags:
        if flag == "mount":
            options = dict(part.partition("=")[::2] for part in value.split(","))
            if options.get("from"):
                sources.append(options["from"])
    return sources
