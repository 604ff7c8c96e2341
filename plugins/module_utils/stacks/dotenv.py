# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files of native applications, read as their readers read them. Pure: text in, assignments out.

Three readers are known, and they disagree on quotes, comments, escapes and continued lines: ``systemd`` (EnvironmentFile=, version 252),
``dotenv`` (python-dotenv 1.2) and ``dotenv-1.0`` (python-dotenv before that). Each was asked itself; its answers are the cases of the unit tests.
"""

from __future__ import annotations

import collections
import functools
import re
from typing import NamedTuple, Optional

DIALECTS = ("dotenv", "systemd")
# The former edition of a dialect, which a native application may still have.
FORMER = {"dotenv": "dotenv-1.0"}
BOM = "\ufeff"

_BLANK = r"[^\S\r\n]*"
_ENTRY = re.compile(r"(?:export[^\S\r\n]+|(?!export[^\S\r\n]))(?:'(?P<quoted>[^']+)'|(?P<plain>[^=#\s'][^=#\s]*))" + _BLANK)
_COMMENT = re.compile("#[^\r\n]*")
_LINE_END = re.compile(_BLANK + r"(?:#[^\r\n]*)?" + _BLANK + r"(?:\r\n|\n|\r|\Z)")
_REST = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_BARE = re.compile(r"[^\r\n]*")
# From 1.2 a backslash takes the next character with it; before, it did so for the quote only, and not when no other quote closed the value.
_QUOTED = {
    ("dotenv", "'"): re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL),
    ("dotenv", '"'): re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
    ("dotenv-1.0", "'"): re.compile(r"'((?:[^'\\]|\\'|\\)*)'"),
    ("dotenv-1.0", '"'): re.compile(r'"((?:[^"\\]|\\"|\\)*)"'),
}
_DECODED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_ESCAPES = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_REFERENCE = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")


# As much as Linux starts a program with where the stack has its usual 8 MB, however many references make it up.
MAX_CHARACTERS = 2 * 1024 * 1024


class TooLong(ValueError):
    """References that double each other; says the file and the line."""


class Assignment(NamedTuple):
    """What one line (or several, in quotes) gives a variable; ``value`` is None for a name alone, which sets nothing."""

    name: str
    value: Optional[str]
    line: int


class Unparsed(NamedTuple):
    """A line that the reader passes over, and why; never its text, which may be half a secret."""

    line: int
    reason: str


class Variable(NamedTuple):
    """A variable as the application has it. ``missing``: names that its value refers to and no file sets."""

    name: str
    value: str
    file: str
    line: int
    missing: tuple


def is_name(text):
    """Whether a text may be shown as the name of a variable: what is longer, or has other characters, may be a piece of a key without its quotes.

    :arg text: str
    :returns: bool
    """
    return len(text) <= 64 and _NAME.match(text) is not None


def _parse_dotenv(text, edition):
    assignments, unparsed = [], []
    if edition == "dotenv" and text.startswith(BOM):
        text = text[1:]
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    position, line, counted = 0, 1, 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position >= len(text):
            return assignments, unparsed
        line, counted = line + text.count("\n", counted, position), position
        entry = _ENTRY.match(text, position)
        if entry is None:
            comment = _COMMENT.match(text, position)
            if comment is None:
                unparsed.append(Unparsed(line, "no name before the equals sign, or a quote that nobody closes"))
            position = (comment or _REST.match(text, position)).end()
            continue
        name, value, position = entry.group("quoted") or entry.group("plain"), None, entry.end()
        if text[position:position + 1] == "=":
            value, position = _dotenv_value(text, position + 1, edition)
        end = _LINE_END.match(text, position)
        if end is None:
            unparsed.append(Unparsed(line, "something stands behind the name or the closing quote, or a quote is not closed"))
            position = _REST.match(text, position).end()
            continue
        position = end.end()
        assignments.append(Assignment(name, value, line))


def _dotenv_value(text, start, edition):
    """The value that begins at a place, and where it ends."""
    position = start
    while position < len(text) and text[position].isspace() and text[position] != "\n":
        position += 1
    quote = text[position:position + 1]
    if quote in ("'", '"'):
        found = _QUOTED[edition, quote].match(text, position)
        if found is None:
            # It is in nobody's line end either: the whole line is passed over.
            return None, position
        return _ESCAPES[quote].sub(lambda match: _DECODED[match.group(1)], found.group(1)), found.end()
    # Before 1.2 a comment needed a blank before it that is not the one behind the equals sign.
    found = _BARE.match(text, start if edition == "dotenv" else position)
    return re.sub(r"\s+#.*", "", found.group(0)).strip() if edition == "dotenv" else re.sub(r"\s+#.*", "", found.group(0)).rstrip(), found.end()


def _parse_systemd(text):
    """As systemd 252 does: a machine of one state a character."""
    assignments, unparsed = [], []
    state, key, value, kept, line, start = "before", "", "", 0, 1, 1

    def push():
        name = key.rstrip(" \t")
        if _NAME.match(name):
            assignments.append(Assignment(name, value[:kept] if state == "value" else value, start))
        else:
            unparsed.append(Unparsed(start, "not a name that systemd takes (it knows no `export`)"))

    for char in text.replace("\r\n", "\n").replace("\r", "\n"):
        blank = char in " \t\n\r"
        if state == "before":
            if char in "#;":
                state = "comment"
            elif not blank:
                # An equals sign here is the begin of a name, which no variable has.
                state, key, value, kept, start = "key", char, "", 0, line
        elif state == "key":
            if char == "\n":
                unparsed.append(Unparsed(start, "a name without an equals sign"))
                state = "before"
            elif char == "=":
                state = "start"
            else:
                key += char
        elif state in ("start", "value"):
            if char == "\n":
                push()
                state = "before"
            elif char == "\\":
                state = "escape"
            elif state == "start" and char in "'\"":
                state = char
            elif state == "value" or not blank:
                state = "value"
                value += char
                kept = kept if blank else len(value)
        elif state == "escape":
            state = "value"
            if char != "\n":
                value += char
            kept = len(value)
        elif state == "'":
            if char == "'":
                state = "start"
            else:
                value += char
        elif state == '"':
            if char == '"':
                state = "start"
            elif char == "\\":
                state = "quoted escape"
            else:
                value += char
        elif state == "quoted escape":
            state = '"'
            if char != "\n":
                value += char if char in "\"\\`$" else "\\" + char
        elif state == "comment":
            if char == "\\":
                state = "comment escape"
            elif char == "\n":
                state = "before"
        elif state == "comment escape":
            state = "comment"
            if char == "\n":
                unparsed.append(Unparsed(line + 1, "belongs to the comment before it, which ends with a backslash (systemd before 254)"))
        if char == "\n":
            line += 1
    if state in ("start", "value", "escape", "'", '"', "quoted escape"):
        if state in "'\"" or state == "quoted escape":
            unparsed.append(Unparsed(start, "a quote that nobody closes: systemd takes all the rest of the file"))
        push()
    elif state == "key":
        unparsed.append(Unparsed(start, "a name without an equals sign"))
    return assignments, unparsed


def parse(text, dialect="dotenv"):
    """What a file says, read by one reader.

    :arg text: str, the file.
    :kwarg dialect: ``dotenv``, ``dotenv-1.0`` or ``systemd``.
    :returns: (list of :class:`Assignment` in the file's order, list of :class:`Unparsed`); references ``${NAME}`` are as they stand.
    """
    return _parse_systemd(text) if dialect == "systemd" else _parse_dotenv(text, dialect)


def effective(files, dialect="dotenv"):
    """The variables that an application has of its files.

    :arg files: list of (str path, str text) in the order of reading; later ones win, as in ``load_dotenv(override=True)``.
    :kwarg dialect: as in :func:`parse`. The dotenv ones fill in ``${NAME}`` and ``${NAME:-default}``, systemd does not.
    :returns: (dict of name to :class:`Variable`, list of (path, :class:`Unparsed`))
    :raises TooLong: the references of a value make it longer than an environment can be.
    """
    variables, unparsed = {}, []
    for path, text in files:
        assignments, problems = parse(text, dialect)
        unparsed += [(path, problem) for problem in problems]
        fresh = {}
        for name, value, line in assignments:
            if value is None:
                # It takes away what this file said before, and leaves what a former file set.
                fresh[name] = None
                unparsed.append((path, Unparsed(line, "a name without a value")))
                continue
            missing, room = [], [MAX_CHARACTERS]
            if dialect != "systemd":
                try:
                    value = _REFERENCE.sub(functools.partial(_refer, collections.ChainMap(fresh, variables), missing, room), value)
                except TooLong:
                    raise TooLong("%s, line %d: found references that make a value of more than %d characters, needed a value that an environment can hold"
                                  % (path, line, MAX_CHARACTERS))
            fresh[name] = Variable(name, value, path, line, tuple(dict.fromkeys(missing)))
        variables.update((name, variable) for name, variable in fresh.items() if variable)
    return variables, unparsed


def _refer(variables, missing, room, match):
    """What a reference stands for; what the files do not set may be in the unit's own environment, which is not known here."""
    name, default = match.groups()
    if name in variables:
        if variables[name] is None:
            return ""
        missing += variables[name].missing
        room[0] -= len(variables[name].value)
        if room[0] < 0:
            raise TooLong()
        return variables[name].value
    missing.append(name)
    return default or ""


def differing(files, dialect):
    """Where the readers disagree.

    :arg files, dialect: as in :func:`effective`.
    :returns: (names that the former edition of this dialect gives another value, names that another dialect does), sets of str
    """
    def values(reader):
        return {name: variable.value for name, variable in effective(files, reader)[0].items()}

    def unlike(one, other):
        return set(name for name in set(one) | set(other) if one.get(name) != other.get(name))

    mine = values(dialect)
    former = unlike(mine, values(FORMER[dialect])) if dialect in FORMER else set()
    return former, unlike(mine, values([other for other in DIALECTS if other != dialect][0]))
