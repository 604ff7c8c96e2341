# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals that say where, what was found, what is needed and which setting changes it; and what may be shown of a URL."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit


def problem(where, found, needed, setting):
    """One problem (dict of str). All parts are sentences or fragments without a final full stop."""
    return {"where": where, "found": found, "needed": needed, "setting": setting}


def sentence(item):
    """A problem as one line (str)."""
    return "%(where)s: found %(found)s; needed: %(needed)s; set: %(setting)s" % item


class ArtifactsError(Exception):
    """One or several problems. ``problems`` is a list of problem()."""

    def __init__(self, problems):
        self.problems = list(problems)
        super().__init__(str(self))

    def __str__(self):
        if len(self.problems) == 1:
            return sentence(self.problems[0])
        return "%d problems:\n%s" % (len(self.problems), "\n".join("- " + sentence(item) for item in self.problems))


def refuse(where, found, needed, setting):
    """An ArtifactsError of one problem, to be raised."""
    return ArtifactsError([problem(where, found, needed, setting)])


def redact(url):
    """A URL (str) without user, password, query and fragment: those may be credentials (a presigned URL is one)."""
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        query = "..." if parts.query else ""
        return printable(urlunsplit((parts.scheme, netloc, parts.path, query, "")))
    except ValueError:
        return "a URL that can't be read"


def printable(text, limit=200):
    """Text (str) for a message: no control characters, one line, not longer than `limit` characters."""
    text = re.sub(r"\s+", " ", "".join(char if char.isprintable() else " " for char in text)).strip()
    return text if len(text) <= limit else text[:limit - 3] + "..."
