# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel command line of a Raspberry Pi, as far as control groups are concerned."""

from __future__ import annotations

# Raspberry Pi's firmware puts cgroup_disable=memory before the file's own tokens; these two turn the controller on again.
# Source: raspberrypi/linux, "cgroup_enable" in Documentation/admin-guide/kernel-parameters.txt, and the
# downstream patch that adds cgroup_memory=.
MEMORY_TOKENS = ("cgroup_enable=memory", "cgroup_memory=1")


def tokens_of(text):
    """Split a command line, keeping double-quoted parts (which may hold spaces) whole.

    :arg text: str, one line
    :returns: list of str
    """
    tokens, current, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character.isspace() and not quoted:
            if current:
                tokens.append(current)
            current = ""
        else:
            current += character
    if current:
        tokens.append(current)
    return tokens


def command_line(content):
    """The one line that the firmware reads.

    :arg content: str, the file
    :returns: str, without the newline
    :raises ValueError: the file has no line with text, or several.
    """
    lines = [line for line in content.splitlines() if line.strip()]
    if len(lines) != 1:
        raise ValueError("found %d lines with text, needed exactly one" % len(lines))
    return lines[0]


def with_tokens(content, present=MEMORY_TOKENS, absent=("cgroup_disable=memory", "cgroup_memory=0")):
    """The file with the tokens present and absent as wanted; everything else stays, in its order.

    ``cgroup_disable=`` takes a list: only the named controller is taken out of it.

    :arg content: str, the file
    :arg present: sequence of str
    :arg absent: sequence of str
    :returns: str, the same text object's value when nothing differs
    :raises ValueError: see :func:`command_line`; or a wanted token holds white space.
    """
    for token in list(present) + list(absent):
        if not token or len(tokens_of(token)) != 1:
            raise ValueError("found the token %r, needed one word without spaces" % (token,))
    tokens = tokens_of(command_line(content))
    kept = []
    for token in tokens:
        reduced = _without(token, absent)
        if reduced:
            kept.append(reduced)
    kept += [token for token in present if token not in kept]
    if kept == tokens:
        return content
    return " ".join(kept) + ("\n" if content.endswith("\n") else "")


def _without(token, absent):
    """The token, or what is left of its comma-separated value, or an empty text."""
    if token in absent:
        return ""
    name, equals, value = token.partition("=")
    if name != "cgroup_disable" or not equals:
        return token
    unwanted = set(entry.partition("=")[2] for entry in absent if entry.startswith("cgroup_disable="))
    left = [part for part in value.split(",") if part not in unwanted]
    return "cgroup_disable=%s" % ",".join(left) if left else ""


def has_tokens(text, tokens=MEMORY_TOKENS):
    """Whether each token is on the command line.

    :arg text: str
    :arg tokens: sequence of str
    :returns: bool
    """
    found = tokens_of(text)
    return all(token in found for token in tokens)
