# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import sys

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import session as door

STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "psql_stand_in.py")


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("", "''"),
        ("a", "'a'"),
        ("it's", "'it''s'"),
        ("a\\b", " E'a\\\\b'"),
        ("\\'", " E'\\\\'''"),
        ("a\nb", "'a\nb'"),
        ("ü", "'ü'"),
        ("'; DROP TABLE x; --", "'''; DROP TABLE x; --'"),
    ],
)
def test_literals(text, wanted):
    assert door.literal(text) == wanted


@pytest.mark.parametrize("name, wanted", [("a", '"a"'), ('a"b', '"a""b"'), ("select from", '"select from"'), ("$1;--", '"$1;--"'), ("A", '"A"')])
def test_identifiers(name, wanted):
    assert door.identifier(name) == wanted
    assert door.qualified("s.x", name) == '"s.x".' + wanted


@pytest.mark.parametrize("quote", [door.literal, door.identifier])
def test_a_nul_is_refused(quote):
    with pytest.raises(ValueError, match="^found a NUL character, which PostgreSQL cannot hold$"):
        quote("a\0b")


@pytest.mark.parametrize(
    "words, wanted",
    [
        ({"host": "/run/x", "port": 5432}, "host='/run/x' port='5432'"),
        ({"user": "o'neil", "dbname": "a\\b"}, "dbname='a\\\\b' user='o\\'neil'"),
        ({"sslmode": None, "host": "", "dbname": "x y"}, "dbname='x y'"),
        ({}, ""),
    ],
)
def test_connection_strings(words, wanted):
    assert door.conninfo(**words) == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("", ""),
        ("ERROR:  division by zero\n", "division by zero"),
        (
            'psql: error: connection to server on socket "/x/.s.PGSQL.5432" failed: FATAL:  Peer authentication failed for user "postgres"\n',
            'connection to server on socket "/x/.s.PGSQL.5432" failed: FATAL:  Peer authentication failed for user "postgres"',
        ),
        ('ERROR:  column "x" does not exist\nLINE 1: SELECT x\n               ^\nHINT:  none\n', 'column "x" does not exist; HINT:  none'),
        (
            "FATAL:  terminating connection due to administrator command\nserver closed the connection unexpectedly\n",
            "terminating connection due to administrator command; server closed the connection unexpectedly",
        ),
        ("1\n2\n3\n4\n5\n", "2; 3; 4; 5"),
        ("ERROR:  a\n\n  \nb\n", "a; b"),
    ],
)
def test_what_a_person_needs_of_an_error(text, wanted):
    assert door.message_of(text) == wanted


class Psql:
    """A scripted psql."""

    def __init__(self, folder):
        self.folder, self.scenario = folder, {"log": str(folder / "log"), "words": str(folder / "words"), "answers": []}

    def answers(self, *entries):
        self.scenario["answers"] = list(entries)
        return self

    def open(self, **more):
        path = self.folder / "scenario.json"
        path.write_text(json.dumps(self.scenario), encoding="utf-8")
        return door.Session([sys.executable, STAND_IN, str(path), "--dbname", "x"], **more)

    def asked(self):
        return [json.loads(line) for line in (self.folder / "log").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(name="psql")
def _psql(tmp_path):
    return Psql(tmp_path)


def test_each_session_begins_with_settings_that_two_servers_share(psql):
    with psql.open(setup="SET work_mem = '8MB'"):
        first, second = psql.asked()
    assert second == "SET work_mem = '8MB'"
    for wanted in (
        "client_encoding = 'UTF8'",
        "datestyle = 'ISO, YMD'",
        "intervalstyle = 'postgres'",
        "timezone = 'UTC'",
        "bytea_output = 'hex'",
        "search_path = pg_catalog",
        "extra_float_digits = 3",
        "lc_monetary = 'C'",
        "statement_timeout = 0",
        "lock_timeout = 0",
        "idle_in_transaction_session_timeout = 0",
        "row_security = off",
    ):
        assert "SET " + wanted in first


def test_without_a_setup_nothing_more_is_asked(psql):
    with psql.open() as session:
        assert session.run("SELECT 1") == [] and len(psql.asked()) == 2


def test_lines_and_rows(psql):
    psql.answers(
        {"has": "row_to_json", "lines": [json.dumps({"a": 1, "b": "x\ny ü"}), json.dumps({"a": 12345678901234567890, "b": None})]},
        {"has": "plain", "lines": ["", " x ", "-- no mark"]},
    )
    with psql.open() as session:
        assert session.run("SELECT plain") == ["", " x ", "-- no mark"]
        assert session.rows("SELECT a, b FROM t") == [{"a": 1, "b": "x\ny ü"}, {"a": 12345678901234567890, "b": None}]
        assert session.row("SELECT a, b FROM t")["a"] == 1
    assert psql.asked()[-1] == "SELECT row_to_json(q) FROM (SELECT a, b FROM t) q"


def test_an_error_has_its_state_and_words_and_the_session_goes_on(psql):
    psql.answers({"has": "bad", "error": ["42P01", 'relation "x" does not exist']}, {"has": "good", "lines": ["1"]})
    with psql.open() as session:
        for unused in range(3):
            with pytest.raises(door.SqlError) as error:
                session.run("SELECT bad")
            assert (error.value.state, str(error.value)) == ("42P01", 'relation "x" does not exist')
            assert not isinstance(error.value, door.ConnectionLost)
            assert session.run("SELECT good") == ["1"]


def test_an_error_of_several_lines_does_not_reach_the_next_answer(psql):
    psql.answers({"has": "bad", "error": ["22P02", 'invalid input: "a\nb\n-- c"']}, {"has": "good", "lines": ["1"]})
    with psql.open() as session:
        with pytest.raises(door.SqlError, match='invalid input: "a; b'):
            session.run("SELECT bad")
        assert session.run("SELECT good") == ["1"] and session.run("SELECT good") == ["1"]


def test_an_error_that_is_not_on_standard_error_is_told_all_the_same(psql):
    psql.answers({"has": "bad", "said": False, "error": ["57014", "canceled\nby hand"]})
    with psql.open() as session:
        with pytest.raises(door.SqlError, match="^canceled by hand$"):
            session.run("SELECT bad")


def test_notices_are_no_errors(psql):
    psql.answers({"has": "told", "stderr": "NOTICE:  table does not exist, skipping\n", "lines": ["1"]})
    with psql.open() as session:
        assert session.run("SELECT told") == ["1"]


@pytest.mark.parametrize(
    "said, wanted",
    [("FATAL:  terminating connection due to administrator command\n", "terminating connection due to administrator command"), ("", "psql ended with code 2")],
)
def test_a_session_that_is_lost(psql, said, wanted):
    psql.answers({"has": "last", "stderr": said, "exit": 2})
    with psql.open() as session:
        for unused in range(2):
            with pytest.raises(door.ConnectionLost) as error:
                session.run("SELECT last")
            assert str(error.value) == wanted
            # What is asked of it afterwards is not told as another fault.
            wanted = str(error.value) if not said else "psql ended with code 2"


def test_a_server_that_refuses(psql):
    psql.scenario["refuse"] = 'psql: error: connection failed: FATAL:  password authentication failed for user "postgres"\n'
    with pytest.raises(door.ConnectionLost, match="password authentication failed"):
        psql.open()


def test_a_program_that_is_not_there():
    with pytest.raises(door.ConnectionLost, match="^/nowhere/psql: No such file or directory$"):
        door.Session(["/nowhere/psql"])


def test_a_setup_that_fails_ends_the_session(psql, monkeypatch):
    psql.answers({"has": "wrong", "error": ["42704", "unrecognized configuration parameter"]})
    closed = []
    real = door.Session.close
    monkeypatch.setattr(door.Session, "close", lambda self: (closed.append(self), real(self)))
    with pytest.raises(door.SqlError, match="unrecognized"):
        psql.open(setup="SET wrong = 1")
    assert len(closed) == 1 and closed[0]._process.poll() is not None


def test_the_end_of_a_session_ends_the_program_and_twice_is_no_fault(psql):
    session = psql.open()
    session.close()
    session.close()
    assert session._process.returncode == 0


def test_a_session_ends_with_its_block(psql):
    with psql.open() as session:
        process = session._process
        assert process.poll() is None
    assert process.poll() == 0 and process.stdin.closed and process.stdout.closed and process.stderr.closed


def test_a_program_that_does_not_end_is_ended(psql, monkeypatch):
    psql.answers({"has": "long", "hold": 60})
    session = psql.open()
    real = session._process.wait
    monkeypatch.setattr(session._process, "wait", lambda *timeout: real(*[0.01 for unused in timeout]))
    session._process.stdin.write(b"SELECT long\n;\n")
    session._process.stdin.flush()
    while "SELECT long" not in psql.asked():
        pass
    session.close()
    assert session._process.returncode == -9


def test_bytes_that_are_no_utf8_end_nothing(psql, tmp_path):
    program = tmp_path / "odd.py"
    program.write_text(
        "import sys\nfor line in sys.stdin:\n    if line.startswith('\\\\echo :'):\n        print('')\n    elif line.startswith('\\\\echo'):\n"
        "        w = line.split()\n        print(line.split(\"'\")[1] + (' 00000' if w[-1].startswith(':') else ''))\n"
        "    elif line.startswith('SELECT'):\n        sys.stdout.flush()\n        sys.stdout.buffer.write(b'\\xff\\xfe\\n')\n    sys.stdout.flush()\n",
        encoding="utf-8",
    )
    with door.Session([sys.executable, str(program)]) as session:
        assert session.run("SELECT 1") == ["\ufffd\ufffd"]
