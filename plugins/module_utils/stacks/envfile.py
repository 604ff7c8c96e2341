# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files in the dialect that Docker Compose v2 reads (compose-go's dotenv)."""

from __future__ import annotations

import re

# \Z: a `$` would also match before a newline at the end.
_PLAIN = re.compile(r"^[A-Za-z0-9_./:@%+,-]+\Z")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
SECRET_NAME = re.compile(r"pass|secret|token|credential|private|api_?key|_key$|dsn|(database|db|redis|mongo\w*)_ur[il]$", re.IGNORECASE)


def text_of(value):
    """The text of a scalar from YAML as an environment variable has it: booleans in lower case.

    :arg value: str, int, float or bool.
    :returns: str
    :raises ValueError: the value is a list, a mapping or nothing.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError("found %s, needed a text, a number, true or false" % type(value).__name__)


def quote(value):
    """Quote one value so that Compose reads back exactly these characters.

    Double quotes are the only form in which compose-go's parser can carry every character: inside
    single quotes a trailing backslash would escape the closing quote (compose-go, dotenv/parser.go,
    ``extractVarValue`` and ``expandEscapes``).

    :arg value: str
    :returns: str
    :raises ValueError: the value holds a NUL, which no environment variable can.
    """
    if "\0" in value:
        raise ValueError("found a NUL character, which an environment variable cannot hold")
    if value == "" or _PLAIN.match(value):
        return value
    return '"%s"' % "".join(_ESCAPES.get(char, char) for char in value)


def render(variables, header=""):
    """An environment file, one variable a line, sorted by name.

    :arg variables: dict of str to scalar.
    :kwarg header: str, put first as comment lines.
    :returns: str, ends with a newline.
    :raises ValueError: a name or a value that cannot be an environment variable; names it, never shows the value.
    """
    lines = ["# %s" % line if line else "#" for line in header.splitlines()]
    for name in sorted(variables):
        if not _NAME.match(name):
            raise ValueError("%r is not the name of an environment variable (letters, digits, underscores)" % name)
        try:
            lines.append("%s=%s" % (name, quote(text_of(variables[name]))))
        except ValueError as error:
            raise ValueError("%s: %s" % (name, error))
    return "\n".join(lines) + "\n"


def mask(line):
    """A line of an environment file as a diff may show it: the value of a secret-looking name hidden.

    :arg line: str
    :returns: str; a line that is neither a comment nor an assignment is hidden, for it may be the rest of a secret of several lines.
    """
    name, sep, value = line.partition("=")
    words = name.replace("export ", "", 1).strip()
    if not line.strip() or line.lstrip().startswith("#"):
        return line
    if not sep or not _NAME.match(words):
        return "(hidden)"
    if value.strip() and SECRET_NAME.search(words):
        return "%s=(hidden)" % name
    return line
