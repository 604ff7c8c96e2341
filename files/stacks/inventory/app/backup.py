# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of the database and a list of the images, in the volume `backups`; proven by restoring it.

Run by the action `backup`: `entrypoint python /opt/dockyard/backup.py`, which sets PGHOST, PGUSER, PGDATABASE and PGPASSWORD.
Its standard output is one JSON document. A backup is a folder that is there whole or not at all:

    database.dump   pg_dump's custom format; pg_restore reads it, whole or table by table
    images.sha256   a line for each image, as `sha256sum --check images.sha256` reads it in the folder of the images
    backup.json     when, sizes, rows of each table
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

FOLDER = "/var/lib/inventory/backups/dockyard"
# One name, so that what a killed run left is found and goes with the next.
PARTIAL = ".partial"
PROOF = "inventory_backup_proof"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"


class BackupError(Exception):
    """There is no backup; the text says why."""


def digest_of(path):
    """The sha256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def list_images(folder, path):
    """Write the list of the files below a folder.

    :returns: dict with ``files`` and ``bytes``.
    """
    total, count = 0, 0
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
        for top, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                full = os.path.join(top, name)
                # Somebody may remove an image meanwhile; a name with a line break would be two lines.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.isfile(full) and not os.path.islink(full) and "\n" not in full and "\\" not in full:
                        digest, size = digest_of(full), os.path.getsize(full)
                        out.write("%s  %s\n" % (digest, os.path.relpath(full, folder)))
                        total, count = total + size, count + 1
    return {"files": count, "bytes": total}


def differences(wanted, found):
    """What two counts of rows by table differ in: list of str."""
    return ["table %s: %s rows in the database, %s in the restored dump" % (name, wanted.get(name, "no"), found.get(name, "no"))
            for name in sorted(set(wanted) | set(found)) if wanted.get(name) != found.get(name)]


def prune(folder, keep):
    """Remove the oldest backups above a number. Returns their names."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith(".") and os.path.isfile(os.path.join(folder, name, "backup.json")))
    gone = names[:-keep]
    for name in gone:
        shutil.rmtree(os.path.join(folder, name))
    return gone


def flush(path):
    """Make sure that a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def run(argv):
    """Run a program of PostgreSQL.

    :raises BackupError: it failed; with its last lines.
    """
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        said = " / ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:])
        raise BackupError("%s ended with %d: %s" % (argv[0], done.returncode, said))


def rows_of(connection):
    """The number of rows of each table: dict of str to int."""
    from psycopg2 import sql
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        counts = {}
        for (table,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", table)))
            counts[table] = cursor.fetchone()[0]
        return counts


def statement(text):
    """Run a statement that no transaction may hold, such as CREATE DATABASE, from the database `postgres`."""
    import psycopg2
    connection = psycopg2.connect(dbname="postgres", connect_timeout=10)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
    finally:
        connection.close()


def dump(path):
    """Dump the database as it is at one moment. Returns the rows of each table at that moment."""
    import psycopg2
    connection = psycopg2.connect("", connect_timeout=10)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            snapshot = cursor.fetchone()[0]
        counts = rows_of(connection)
        run(["pg_dump", "--format=custom", "--snapshot=%s" % snapshot, "--file=%s" % path])
        return counts
    finally:
        connection.close()


def prove(path, counts):
    """Restore a dump into a database of its own, which goes again, and compare.

    :raises BackupError: it can't be restored, or is not what was dumped.
    """
    import psycopg2
    statement("DROP DATABASE IF EXISTS %s WITH (FORCE)" % PROOF)
    statement("CREATE DATABASE %s TEMPLATE template0" % PROOF)
    try:
        run(["pg_restore", "--exit-on-error", "--no-owner", "--dbname=%s" % PROOF, path])
        connection = psycopg2.connect(dbname=PROOF, connect_timeout=10)
        try:
            problems = differences(counts, rows_of(connection))
        finally:
            connection.close()
        if problems:
            raise BackupError("the restored dump is another one: %s" % "; ".join(problems))
    finally:
        statement("DROP DATABASE IF EXISTS %s WITH (FORCE)" % PROOF)


def back_up(folder, images, keep, wants_proof):
    """Make a backup. Returns what backup.json says."""
    began, started = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
    partial = os.path.join(folder, PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    os.mkdir(partial, 0o700)
    try:
        path = os.path.join(partial, "database.dump")
        counts = dump(path)
        # Reads the table of contents: a dump that was cut off has none.
        run(["pg_restore", "--list", path])
        if wants_proof:
            prove(path, counts)
        document = {
            "ok": True, "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"), "folder": os.path.join(folder, started.strftime("%Y-%m-%dT%H%M%SZ")),
            "database": {"file": "database.dump", "bytes": os.path.getsize(path), "sha256": digest_of(path), "rows": counts, "proven": wants_proof},
            "images": list_images(images, os.path.join(partial, "images.sha256")),
        }
        document["seconds"] = round(time.monotonic() - began, 1)
        with open(os.path.join(partial, "backup.json"), "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1, sort_keys=True)
        for name in os.listdir(partial):
            flush(os.path.join(partial, name))
        flush(partial)
        os.rename(partial, document["folder"])
        flush(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    document["removed"] = prune(folder, keep)
    return document


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=int, default=7, help="how many backups stay")
    parser.add_argument("--prove", choices=["true", "false"], default="true", help="restore it into a database of its own")
    parser.add_argument("--folder", default=FOLDER)
    parser.add_argument("--images", default=os.environ.get("IMAGE_DIR", ""))
    options = parser.parse_args(argv)
    os.nice(10)
    try:
        os.makedirs(options.folder, mode=0o700, exist_ok=True)
        with open(os.path.join(options.folder, ".lock"), "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError("another backup is at work; wait for it") from None
            document = back_up(options.folder, options.images, options.keep, options.prove == "true")
    except Exception as error:  # pylint: disable=broad-except
        # Whatever it was, a program that reads the output is told in the same form.
        text = " ".join(str(error).split()) or type(error).__name__
        json.dump({"ok": False, "problem": text}, sys.stdout)
        print("\ninventory backup: %s" % text, file=sys.stderr)
        return 1
    json.dump(document, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
