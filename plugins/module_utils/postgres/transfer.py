# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How rows come over: the strategies ``copy`` and ``dump``. Programs run in the client container; one line on standard input is one piece of work."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import plan
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.place import APPLICATION, JOBS, SPOOL
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import SqlError, message_of
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

# Each line of input names a job: folder of statements <job>.out.<n> and <job>.in.<n>. The answer is one line: job, code of the source's psql, code of the
# target's.
# A pipe has one code, so the source's goes through a file. A binary COPY that ends early is no error for the server that reads it: both codes count.
WORKER = r"""
set -u
from=$1 to=$2
while IFS= read -r job; do
    set -- --no-psqlrc --quiet --no-align --tuples-only --no-password --set ON_ERROR_STOP=1 --dbname "$from"
    for part in {jobs}/"$job".out.*; do set -- "$@" --command "$(cat "$part")"; done
    {{ psql "$@" 2>/tmp/"$job".from; echo $? >/tmp/"$job".code; }} | {{
        set -- --no-psqlrc --quiet --no-align --tuples-only --no-password --set ON_ERROR_STOP=1 --dbname "$to"
        for part in {jobs}/"$job".in.*; do set -- "$@" --command "$(cat "$part")"; done
        psql "$@" >/tmp/"$job".done 2>/tmp/"$job".to
    }}
    echo "$job $(cat /tmp/"$job".code) $?"
    cat /tmp/"$job".from /tmp/"$job".to | tr '\n' ' '
    echo
    rm -f /tmp/"$job".*
done
""".format(jobs=JOBS)


class TransferError(Exception):
    """The data did not come over; the text says which part, and why. The source is as it was."""


class Copies:
    """Tables, several at once, as COPY from one server into the other; no file in between.

    :arg place: Place. :arg reporter: of progress. :arg workers: int.
    """

    def __init__(self, place, database, target, snapshot, workers, reporter):
        self.place, self.database, self.target, self.snapshot = place, database, target, snapshot
        self.workers, self.reporter = workers, reporter
        self._queue = queue.Queue()
        self._failures = []
        self._done = set()

    def run(self, tables):
        """:raises TransferError: with the first failure; other workers end their table."""
        folder = os.path.join(self.place.runtime, "jobs")
        for number, table in enumerate(tables):
            for side, statements in (("out", plan.copy_out(table, self.snapshot)), ("in", plan.copy_in(table))):
                for place, statement in enumerate(statements):
                    files.write(os.path.join(folder, "%d.%s.%d" % (number, side, place)), statement.encode("utf-8"), 0o644)
            self._queue.put((str(number), table))
            self.reporter.add("%s.%s" % (table["schema"], table["name"]), table["rows_estimate"] or None, "rows")
        threads = [threading.Thread(target=self._work, daemon=True) for unused in range(min(self.workers, len(tables)) or 1)]
        watcher = Watcher(self.place, self.target, self.reporter)
        with watcher:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._failures:
            raise TransferError("; ".join(self._failures[:3]))

    def _work(self):
        argv = self.place.argv("sh", "-c", WORKER, "worker", self.place.source_conninfo(self.database), self.place.target_conninfo(self.target))
        # pylint: disable-next=ansible-bad-function  # it stays, and is talked to
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            while not self._failures:
                try:
                    job, table = self._queue.get_nowait()
                except queue.Empty:
                    break
                name = "%s.%s" % (table["schema"], table["name"])
                process.stdin.write(("%s\n" % job).encode("ascii"))
                process.stdin.flush()
                answer = process.stdout.readline().decode("utf-8", "replace").split()
                said = process.stdout.readline().decode("utf-8", "replace").strip()
                if answer != [job, "0", "0"]:
                    self._failures.append("%s: %s" % (name, message_of(said) or "the client container ended"))
                    break
                self.reporter.done(name)
        except OSError as error:
            self._failures.append("the client container ended: %s" % error.strerror)
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()
            process.stdout.close()
            process.stderr.close()


class Watcher:
    """Tells the reporter how many rows each COPY has taken (pg_stat_progress_copy, since version 14 of the target)."""

    SQL = (
        "SELECT n.nspname || '.' || c.relname AS name, p.tuples_processed AS rows FROM pg_stat_progress_copy p JOIN pg_class c ON c.oid = p.relid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.command = 'COPY FROM'"
    )

    def __init__(self, place, database, reporter, interval_seconds=1.0):
        self.place, self.database, self.reporter, self.interval = place, database, reporter, interval_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._end.set()
        self._thread.join(10)

    def _watch(self):
        # Without it there is only no progress to be seen.
        with contextlib.suppress(SqlError, OSError, ValueError):
            if self._end.wait(self.interval):
                return
            with self.place.session(self.place.target_conninfo(self.database)) as session:
                while not self._end.wait(self.interval):
                    for row in session.rows(self.SQL):
                        self.reporter.set(row["name"], row["rows"])


class Programs:
    """pg_dump and pg_restore in the client container.

    :arg place: Place. :arg database: str, the source's. :arg target: str, the target's database.
    """

    def __init__(self, place, database, target):
        self.place, self.database, self.target = place, database, target

    def _dump_words(self, snapshot, *more):
        words = [
            "pg_dump",
            "--no-password",
            "--no-tablespaces",
            "--no-publications",
            "--no-subscriptions",
            "--dbname=%s" % self._named(self.place.source_conninfo(self.database)),
        ]
        if snapshot:
            words.append("--snapshot=%s" % snapshot)
        return words + list(more)

    @staticmethod
    def _named(info):
        # A session of ours must be known as such even where the container's environment is not passed on.
        return "%s application_name='%s'" % (info, APPLICATION)

    def _restore_words(self, *more):
        return ["pg_restore", "--no-password", "--exit-on-error", "--dbname=%s" % self.place.target_conninfo(self.target)] + list(more)

    def call(self, what, *words):
        """Run a program. :raises TransferError: it failed; ``what`` names the part of the work."""
        rc, out, err = self.place.run(*words)
        if rc != 0:
            raise TransferError("%s: %s" % (what, message_of(err or out) or "%s ended with code %d" % (words[0], rc)))
        return out

    def section(self, name, snapshot, jobs=1, extra=()):
        """Carry one section of the schema (``pre-data``, ``post-data``) over, through a file in the client's spool.

        :raises TransferError: naming the section.
        """
        path = "%s/%s.dump" % (SPOOL, name)
        self.call("reading the schema (%s)" % name, *self._dump_words(snapshot, "--section=%s" % name, "--format=custom", "--file=%s" % path, *extra))
        self.call("making the schema (%s)" % name, *self._restore_words("--section=%s" % name, "--jobs=%d" % jobs, path))
        self.call("removing a file", "rm", "-f", path)

    def large_objects(self, snapshot):
        """Carry the large objects over, and nothing else of the data."""
        path = "%s/blobs.dump" % SPOOL
        self.call(
            "reading the large objects",
            *self._dump_words(snapshot, "--section=data", "--blobs", "--exclude-table-data=*.*", "--format=custom", "--compress=0", "--file=%s" % path),
        )
        listed = self.call("listing the large objects", "pg_restore", "--list", path)
        wanted = [line for line in listed.splitlines() if line and not line.startswith(";") and ("BLOB" in line or "LARGE OBJECT" in line)]
        # Sequences stand in this section too; they are set by us, and once is enough.
        rc, unused, err = self.place.run("sh", "-c", "cat > %s/blobs.list" % SPOOL, data=("\n".join(wanted) + "\n").encode("utf-8"))
        if rc != 0:
            raise TransferError("listing the large objects: %s" % message_of(err))
        if wanted:
            self.call("making the large objects", *self._restore_words("--use-list=%s/blobs.list" % SPOOL, path))
        self.call("removing a file", "rm", "-f", path, "%s/blobs.list" % SPOOL)

    def whole(self, workers):
        """Strategy ``dump``: all of it into a folder, in parallel, then schema, data, indexes and constraints."""
        path = "%s/dump" % SPOOL
        self.call("clearing the spool", "rm", "-rf", path)
        self.call("dumping", *self._dump_words(None, "--format=directory", "--compress=0", "--jobs=%d" % workers, "--file=%s" % path))
        for section in ("pre-data", "data", "post-data"):
            self.call("restoring (%s)" % section, *self._restore_words("--section=%s" % section, "--jobs=%d" % workers, path))
        self.call("clearing the spool", "rm", "-rf", path)
