# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes into the application's database at a steady rate, and keeps a journal of what was acknowledged, so that nothing can get lost unseen.

    writer.py run --journal FILE [--rate 50] [--seconds N] [--by database | --by http --url URL]
    writer.py check --journal FILE [--psql COMMAND]

`run` goes on until SIGTERM or SIGINT. A line goes into the journal before each statement (`sent`) and after its commit (`done`); the time from one
acknowledgement to the next is measured, so the longest gap is what a migration's freeze was for a user. `--by database` is a program beside the
application, with its account; `--by http` is a user of the application, who does not notice where it runs.
`check` asks a database, native or migrated, for every key in the journal. A statement that was sent and never acknowledged may be there or not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

MARKER = Path("/etc/dockyard-native-test")
ENV_FILES = ("config/environment.env", "app/.env")
ANY = "any"  # no statement writes this value
NAMED = 20  # lost rows that are named
SQL = {
    "insert": "INSERT INTO public.items (guid, item_name, description, label_number) VALUES (%(key)s, %(value)s, %(value)s, nextval('label_number_seq'))",
    "update": "UPDATE public.items SET item_name = %(value)s, updated_date = now() WHERE guid = %(key)s",
    "delete": "DELETE FROM public.items WHERE guid = %(key)s",
}


class WriterError(Exception):
    """It makes no sense to go on."""


class Refused(Exception):
    """This statement was not acknowledged; the next one may be."""


# ---- what to write -------------------------------------------------------------------------------------------------

def existing(seed: int, number: int) -> str:
    """The key of an item of data.py."""
    return str(uuid.UUID(hashlib.md5(f"{seed}:item:{number}".encode()).hexdigest()))


def statements(run: str, seed: int, items: int):
    """Without end: (operation, key, value). New rows; changed ones, very young, older, and from before the run; deleted ones.

    :arg run: str, tells the rows of one run from those of others.
    :arg items: int, how many of data.py's items are changed again and again; 0: none.
    """
    live, number = [], 0
    while True:
        number += 1
        step = number % 20
        if step in (7, 17) and len(live) > 50:
            yield "delete", live.pop(number * 7919 % (len(live) - 20)), None
        elif step in (9, 19) and items:
            yield "update", existing(seed, 1 + number // 10 * 7919 % items), f"written {number} ß"
        elif step % 3 == 0 and live:
            yield "update", live[-3:][0] if step == 3 else live[number * 104729 % len(live)], f"written {number} ü"
        else:
            key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run}/{number}"))
            live.append(key)
            yield "insert", key, f"written {number}"


# ---- two ways in ---------------------------------------------------------------------------------------------------

def native() -> tuple:
    """What install.sh wrote down, and the application's own environment."""
    try:
        where = dict(line.split("=", 1) for line in MARKER.read_text().splitlines())
    except OSError:
        raise WriterError(f"{MARKER} is not there: this host has no native installation of install.sh") from None
    for name in ENV_FILES:
        path = Path(where["root"]) / name
        if path.exists():
            return where, dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    raise WriterError(f"none of {', '.join(ENV_FILES)} is below {where['root']}")


class Database:
    """As the application's account, over TCP, one transaction a statement; connects again when it has lost the server."""

    def __init__(self):
        where, environment = native()
        try:
            import psycopg2
        except ImportError:
            python = Path(where["root"]) / "app/venv/bin/python"
            if Path(sys.executable) == python:
                raise
            os.execv(python, [str(python), "-B", *sys.argv])
        self.error = psycopg2.Error
        self.open = lambda: psycopg2.connect(host=environment["POSTGRES_HOST"], port=environment["POSTGRES_PORT"], user=environment["POSTGRES_USER"],
                                             password=environment["POSTGRES_PASSWORD"], dbname=environment["POSTGRES_DB"], connect_timeout=3,
                                             application_name="native-writer")
        self.connection = None

    def write(self, operation, key, value):
        """:raises Refused: not acknowledged."""
        try:
            if self.connection is None:
                self.connection = self.open()
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                cursor.execute(SQL[operation], {"key": key, "value": value})
                if cursor.rowcount != 1:
                    raise WriterError(f"{operation} of {key} found {cursor.rowcount} rows, needed 1: an acknowledged row is gone from the database in use")
        except self.error as error:
            if self.connection is not None and self.connection.closed:
                self.connection = None
            raise Refused(str(error).strip()) from None


class Http:
    """As a browser. Its certificate is its owner's own, so it is not looked at."""

    ROUTES = {"insert": "/create-item", "update": "/update-item-name/{key}", "delete": "/delete-item/{key}"}

    def __init__(self, url):
        if not url.startswith(("http://", "https://")):
            raise WriterError(f"--url: found {url!r}, needed an address that begins with https:// or http://")
        self.url = url.rstrip("/")
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def write(self, operation, key, value):
        """:raises Refused: not acknowledged."""
        body = {"insert": {"guid": key, "item_name": value, "description": value}, "update": {"name": value}, "delete": {}}[operation]
        request = urllib.request.Request(self.url + self.ROUTES[operation].format(key=key), json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
                text = answer.read()
            if json.loads(text).get("success") is not True:
                raise Refused(text[:200].decode(errors="replace"))
        except (OSError, ValueError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from None


# ---- run -----------------------------------------------------------------------------------------------------------

def run(options) -> dict:
    """Write until told to stop. :returns: counts, the longest gap between two acknowledgements"""
    if os.path.exists(options.journal):
        raise WriterError(f"--journal: {options.journal} is there already; two runs in one journal would contradict each other")
    if options.rate <= 0:
        raise WriterError(f"--rate: found {options.rate:g}, needed more than 0")
    door = Http(options.url) if options.by == "http" else Database()
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: stop.append(True))
    done = refused = 0
    longest, longest_at, last_error, uncertain = 0.0, None, None, set()
    began = last = time.time()
    source = statements(options.run, options.seed, options.existing)
    with open(options.journal, "x", encoding="utf-8", buffering=1) as journal:
        due = time.monotonic()
        ends = due + options.seconds if options.seconds else None
        while not stop and (ends is None or time.monotonic() < ends):
            operation, key, value = next(source)
            if key in uncertain and operation != "insert":
                # Its row may not be there: an update of nothing says nothing.
                continue
            journal.write(json.dumps({"t": time.time(), "is": "sent", "op": operation, "key": key, "value": value}) + "\n")
            try:
                door.write(operation, key, value)
                now = time.time()
                journal.write(json.dumps({"t": now, "is": "done", "key": key}) + "\n")
                if done and now - last > longest:
                    longest, longest_at = now - last, last
                done, last = done + 1, now
            except Refused as error:
                refused, last_error = refused + 1, str(error)
                uncertain.add(key)
            due = max(due + 1 / options.rate, time.monotonic() - 0.2)  # after a gap it does not hurry to catch up
            time.sleep(max(0.0, due - time.monotonic()))
    seconds = time.time() - began
    return {"acknowledged": done, "refused": refused, "seconds": round(seconds, 2), "rate": round(done / seconds, 1), "longest_gap_seconds": round(longest, 3),
            "longest_gap_began": longest_at, "last_acknowledged": last if done else None, "last_error": last_error}


# ---- check ---------------------------------------------------------------------------------------------------------

def expected(lines) -> dict:
    """What the database must say, by key: a set of the values that are right; None in it: no row; ANY: some value.

    :arg lines: iterable of str, the journal; its last line may be torn.
    """
    right, open_ones = {}, {}
    for line in lines:
        if not line.endswith("\n"):
            break
        entry = json.loads(line)
        key = entry["key"]
        if entry["is"] == "sent":
            # A row from before the run may have any name as long as no change of it was acknowledged.
            right.setdefault(key, {None} if entry["op"] == "insert" else {ANY})
            open_ones[key] = entry["value"]  # None for a deletion
            right[key] = right[key] | {entry["value"]}
        else:
            right[key] = {open_ones.pop(key)}
    return right


def check(options) -> dict:
    """Compare a database with the journal. :returns: counts; `lost` names what differs"""
    with open(options.journal, encoding="utf-8") as journal:
        right = expected(journal)
    command = shlex.split(options.psql) if options.psql else ["runuser", "-u", "postgres", "--", "psql", "-d", native()[0]["database"]]
    text = "SET client_encoding TO 'UTF8';\nCREATE TEMP TABLE asked (key text);\nCOPY asked FROM stdin;\n" + "".join(f"{key}\n" for key in right) + "\\.\n" \
        "SELECT json_build_object('key', i.guid, 'value', i.item_name) FROM public.items i JOIN asked a ON a.key = i.guid;\n"
    done = subprocess.run([*command, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], input=text, text=True, encoding="utf-8",
                          capture_output=True, cwd="/", check=False)
    if done.returncode:
        raise WriterError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    found = {row["key"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    wrong = [{"key": key, "found": found.get(key), "needed": sorted(values, key=str)} for key, values in right.items()
             if found.get(key) not in values and not (ANY in values and key in found)]
    return {"asked": len(right), "found": len(found), "uncertain": sum(len(values) > 1 for values in right.values()),
            "wrong": len(wrong), "lost": wrong[:NAMED]}


def main(argv) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("--journal", required=True, help="a file that does not exist yet")
    one.add_argument("--rate", type=float, default=50, help="statements a second (default: %(default)s)")
    one.add_argument("--seconds", type=float, help="end by itself after this time")
    one.add_argument("--by", choices=("database", "http"), default="database")
    one.add_argument("--url", default="https://127.0.0.1", help="with --by http (default: %(default)s)")
    one.add_argument("--run", default="1", help="another word gives other keys: for a second run on the same data (default: %(default)s)")
    one.add_argument("--existing", type=int, default=200, help="so many items of data.py are changed too (default: %(default)s)")
    one.add_argument("--seed", type=int, default=5, help="the one of data.py (default: %(default)s)")
    one = commands.add_parser("check")
    one.add_argument("--journal", required=True)
    one.add_argument("--psql", help="how psql is started for the database to be asked; default: as postgres, the native one")
    options = parser.parse_args(argv)
    result = (run if options.command == "run" else check)(options)
    print(json.dumps(result, ensure_ascii=False))
    return 1 if result.get("wrong") else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WriterError as problem:
        sys.exit(f"writer.py: {problem}")
