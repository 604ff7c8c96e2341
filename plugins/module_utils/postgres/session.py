# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to a PostgreSQL server: one psql that stays, is given statements, and answers with rows or an error."""

from __future__ import annotations

import collections
import json
import random
import subprocess
import threading
import time

_KEPT_LINES = 40
_WORDS_SECONDS = 0.5
# Values that are written as text are read alike by a server with other settings, and nothing ends a long statement.
NEUTRAL = (
    "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3; SET lc_monetary = 'C'; SET xmloption ="
    " content; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0"
)


class SqlError(Exception):
    """The server refused a statement. ``state`` is the SQLSTATE (PostgreSQL manual, appendix A), ``message`` what it said."""

    def __init__(self, message, state=""):
        super().__init__(message)
        self.message, self.state = message, state


class ConnectionLost(SqlError):
    """There is no session, or none any more."""


def literal(text):
    """A text as an SQL literal that means the same with any standard_conforming_strings.

    :raises ValueError: it holds a NUL, which PostgreSQL can't.
    """
    if "\0" in text:
        raise ValueError("found a NUL character, which PostgreSQL cannot hold")
    escaped = text.replace("'", "''")
    return " E'%s'" % escaped.replace("\\", "\\\\") if "\\" in text else "'%s'" % escaped


def identifier(name):
    """A name as a quoted SQL identifier."""
    if "\0" in name:
        raise ValueError("found a NUL character, which PostgreSQL cannot hold")
    return '"%s"' % name.replace('"', '""')


def qualified(schema, name):
    """``"schema"."name"``."""
    return "%s.%s" % (identifier(schema), identifier(name))


def conninfo(**words):
    """A libpq connection string (manual, section 34.1.1): ``host='/run' port='5432'``; words that are None or empty are left out."""
    return " ".join("%s='%s'" % (key, str(value).replace("\\", "\\\\").replace("'", "\\'")) for key, value in sorted(words.items()) if value not in (None, ""))


def message_of(text):
    """What of psql's standard error a person needs: the server's words without psql's own prefix. :arg text: str. :returns: str, one line."""
    lines = []
    for line in text.splitlines():
        line = line.strip()
        for prefix in ("psql: error: ", "ERROR:  ", "FATAL:  "):
            line = line[len(prefix) :] if line.startswith(prefix) else line
        if line and not line.startswith(("LINE ", "^")):
            lines.append(line)
    return "; ".join(lines[-4:])


class Session:
    """One session with one database.

    :arg argv: list of str, a command that runs ``psql --no-psqlrc --quiet --no-align --tuples-only`` on standard input.
    :kwarg setup: str, statements that each session begins with.
    :kwarg process: what else subprocess.Popen is given.

    Not for two threads at once.
    """

    def __init__(self, argv, setup="", **process):
        self._errors = collections.deque(maxlen=_KEPT_LINES)
        self._mark = "-- %032x" % random.getrandbits(128)
        try:
            # pylint: disable-next=ansible-bad-function  # it stays, and is talked to
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **process)
        except OSError as error:
            raise ConnectionLost("%s: %s" % (argv[0], error.strerror))
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        try:
            self.run(
                "SET client_encoding = 'UTF8'; SET bytea_output = 'hex'; SET lc_messages = 'C'; SET search_path = pg_catalog; SET row_security = off; "
                + NEUTRAL
            )
            if setup:
                self.run(setup)
        except SqlError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def _read_errors(self):
        for line in self._process.stderr:
            self._errors.append(line.decode("utf-8", "replace"))

    def run(self, sql):
        """Execute statements. :returns: list of str, the lines that they print. :raises SqlError: one failed; those after it ran nevertheless."""
        self._errors.clear()
        # A line that ends what the statement may have left open, then how it went. psql's own variables tell (since version 11); that of the last error, for
        # ERROR would tell of the last statement only. What an error says may have several lines, and is said between two marks.
        text = (
            "\\set LAST_ERROR_SQLSTATE 00000\n\\set LAST_ERROR_MESSAGE ''\n%s\n;\n\\echo '%s' :LAST_ERROR_SQLSTATE\n\\echo :LAST_ERROR_MESSAGE\n\\echo '%s'\n"
            % (sql, self._mark, self._mark)
        )
        try:
            self._process.stdin.write(text.encode("utf-8"))
            self._process.stdin.flush()
        except OSError:
            raise self._lost()
        lines, state = self._until_mark()
        message, unused = self._until_mark()
        if state != "00000":
            self._await_words()
            raise SqlError(message_of("".join(self._errors)) or " ".join(message), state)
        return lines

    def _await_words(self):
        """Standard error is another pipe, and may be read later than the mark: wait until nothing more comes, for a moment."""
        seen, ends = 0, time.monotonic() + _WORDS_SECONDS
        while time.monotonic() < ends:
            time.sleep(0.02)
            if seen and len(self._errors) == seen:
                return
            seen = len(self._errors)

    def _until_mark(self):
        """(lines before the next mark, what stands behind it)"""
        lines = []
        while True:
            raw = self._process.stdout.readline()
            if not raw:
                raise self._lost()
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if line.startswith(self._mark):
                return lines, line[len(self._mark) :].strip()
            lines.append(line)

    def _lost(self):
        self._process.wait()
        self._reader.join(2)
        return ConnectionLost(message_of("".join(self._errors)) or "psql ended with code %s" % self._process.returncode)

    def rows(self, sql):
        """The rows of a SELECT, each a dict of column to value as JSON has it. :raises SqlError: as :meth:`run`."""
        return [json.loads(line) for line in self.run("SELECT row_to_json(q) FROM (%s) q" % sql)]

    def row(self, sql):
        """The one row of a SELECT as a dict."""
        return self.rows(sql)[0]

    def close(self):
        """End the session; what is open in it is rolled back."""
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(2)
        self._process.stdout.close()
        self._process.stderr.close()
