# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't be done with a tree, and how names are written in messages."""

from __future__ import annotations

SHOWN = 20


class TreeError(Exception):
    """It can't go on; str() says where, what was found, what is needed and what to do.

    :ivar result: dict, what else the module returns.
    """

    def __init__(self, message, **result):
        super().__init__(message)
        self.result = result


def shown(path):
    """A name for people (str): as it is when it can be printed, else with escapes, so that a line stays a line and JSON stays valid."""
    text = path.replace("\\", "\\\\") if not path.isprintable() else path
    return "".join(char if char.isprintable() else "\\x%02x" % (ord(char) - 0xDC00) if 0xDC80 <= ord(char) <= 0xDCFF
                   else char.encode("unicode_escape").decode("ascii") for char in text)


def listed(paths, limit=5):
    """Some of the names and how many more there are (str)."""
    paths = list(paths)
    more = len(paths) - limit
    return ", ".join(shown(path) for path in paths[:limit]) + (" and %d more" % more if more > 0 else "")


def size(count):
    """Bytes for people (str)."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return "%.1f %s" % (count / limit, unit)
    return "%d bytes" % count
