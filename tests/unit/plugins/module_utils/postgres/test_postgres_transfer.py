# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How rows come over: the worker's own shell, with a psql that is a shell script; the programs by scripted commands."""

from __future__ import annotations

import os
import threading

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import transfer
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import ConnectionLost

# Prints rows for a COPY ... TO STDOUT, keeps what it is given for one FROM STDIN. A file fail.<side>.<table> makes it fail, after its rows.
PSQL = """#!/bin/sh
for word in "$@"; do
    case $word in
        dbname=*) to=$word ;;
        "COPY "*"TO STDOUT"*) side=out copy=$word ;;
        "COPY "*"FROM STDIN"*) side=in copy=$word ;;
    esac
done
table=$(echo "$copy" | sed 's/.*"public"."\\([a-z]*\\)".*/\\1/')
{ echo "$to"; for word in "$@"; do printf '%s\\n' "$word"; done; } > "$PSQL_FOLDER/words.$side.$table"
if [ $side = out ]; then echo "rows of $table"; else cat > "$PSQL_FOLDER/taken.$table"; fi
if [ -e "$PSQL_FOLDER/fail.$side.$table" ]; then cat "$PSQL_FOLDER/fail.$side.$table" >&2; exit 3; fi
"""


class Reporter:
    def __init__(self):
        self.added, self.ended, self.moved = [], [], []

    def add(self, name, total, unit):
        self.added.append((name, total, unit))

    def done(self, name):
        self.ended.append(name)

    def set(self, name, rows):
        self.moved.append((name, rows))


class Place:
    """The client container is this machine, and its commands are scripted unless they are the worker's."""

    def __init__(self, folder):
        self.runtime = str(folder)
        self.script, self.called, self.given = [], [], []

    @staticmethod
    def source_conninfo(database):
        return "dbname='%s' host='source'" % database

    @staticmethod
    def target_conninfo(database):
        return "dbname='%s' host='target'" % database

    def argv(self, *words):
        return [word.replace(transfer.JOBS, os.path.join(self.runtime, "jobs")) for word in words]

    def session(self, info):
        raise ConnectionLost("no progress to be seen")

    def run(self, *words, data=None):
        assert self.script, "one call too many: %s" % " ".join(words)
        wanted, answer = self.script.pop(0)
        assert wanted in " ".join(words), (wanted, words)
        self.called.append(words)
        self.given.append(data)
        return answer


@pytest.fixture(name="place")
def _place(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "bin").mkdir()
    psql = tmp_path / "bin" / "psql"
    psql.write_text(PSQL)
    psql.chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    monkeypatch.setenv("PSQL_FOLDER", str(tmp_path))
    found = Place(tmp_path)
    yield found
    assert found.script == [], "a call that did not come"


def table(name, rows=5):
    column = {"name": "id", "generated": False, "base": 23, "base_kind": "b", "is_array": False, "element": 0, "send": "pg_catalog.int4send"}
    return {"schema": "public", "name": name, "kind": "r", "columns": [column], "rows_estimate": rows}


def copies(place, workers=2):
    return transfer.Copies(place, "there", "here", "000-1", workers, Reporter())


@pytest.mark.parametrize("workers, count", [(1, 3), (2, 3), (4, 2), (2, 0)])
def test_each_table_is_copied_from_the_source_into_the_target(place, tmp_path, workers, count):
    names = ["alpha", "beta", "gamma"][:count]
    work = copies(place, workers)
    work.run([table(name) for name in names])
    assert sorted(work.reporter.added) == [("public.%s" % name, 5, "rows") for name in names] and sorted(work.reporter.ended) == [
        "public.%s" % name for name in names
    ]
    for name in names:
        assert (tmp_path / ("taken." + name)).read_text() == "rows of %s\n" % name
        out, into = [(tmp_path / ("words.%s.%s" % (side, name))).read_text().splitlines() for side in ("out", "in")]
        assert out[0] == "dbname='there' host='source'" and into[0] == "dbname='here' host='target'"
        for words in (out, into):
            assert {"--no-psqlrc", "--no-password", "ON_ERROR_STOP=1"} <= set(words)
        assert [word for word in out if word.startswith(("BEGIN", "SET TRANS", "COPY", "COMMIT"))] == [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "SET TRANSACTION SNAPSHOT '000-1'",
            'COPY "public"."%s" ("id") TO STDOUT (FORMAT binary)' % name,
            "COMMIT",
        ]
        assert [word for word in into if word.startswith(("BEGIN", "TRUNCATE", "COPY", "COMMIT"))] == [
            "BEGIN",
            'TRUNCATE ONLY "public"."%s"' % name,
            'COPY "public"."%s" ("id") FROM STDIN (FORMAT binary, FREEZE)' % name,
            "COMMIT",
        ]


@pytest.mark.parametrize(
    "fails, wanted",
    [
        ({"fail.out.beta": "ERROR:  could not read block 7\n"}, "public.beta: could not read block 7"),
        ({"fail.in.beta": "ERROR:  No space left on device\nCONTEXT:  COPY beta\n"}, "public.beta: No space left on device CONTEXT:  COPY beta"),
        ({"fail.out.beta": ""}, "public.beta: the client container ended"),
    ],
)
def test_a_table_that_fails_on_either_side_is_told_and_ends_it(place, tmp_path, fails, wanted):
    for name, text in fails.items():
        (tmp_path / name).write_text(text)
    work = copies(place, 1)
    with pytest.raises(transfer.TransferError) as error:
        work.run([table("alpha"), table("beta"), table("gamma")])
    assert str(error.value) == wanted
    assert work.reporter.ended == ["public.alpha"] and not (tmp_path / "taken.gamma").exists()


@pytest.mark.parametrize("program", ["exit 7", "read line; exit 7"])
def test_a_client_container_that_ends(place, program):
    place.argv = lambda *words: ["sh", "-c", program]
    with pytest.raises(transfer.TransferError, match="^public.alpha: the client container ended$|^the client container ended: Broken pipe$"):
        copies(place, 1).run([table("alpha")])


def test_no_more_than_three_failures_are_told(place, tmp_path):
    names = ["alpha", "beta", "gamma", "delta", "epsilon"]
    work = copies(place, 5)
    barrier = threading.Barrier(5)
    real = work.place.argv

    def argv(*words):
        barrier.wait(10)
        return real(*words)

    place.argv = argv
    for name in names:
        (tmp_path / ("fail.in." + name)).write_text("ERROR:  no\n")
    with pytest.raises(transfer.TransferError) as error:
        work.run([table(name) for name in names])
    assert 1 <= str(error.value).count(": no") <= 3


def test_the_rows_so_far_are_told(monkeypatch, tmp_path):
    told = threading.Event()

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *unused):
            pass

        def rows(self, sql):
            assert "pg_stat_progress_copy" in sql
            return [{"name": "public.alpha", "rows": 7}]

    place, reporter = Place(tmp_path), Reporter()
    place.session = lambda info: Session() if info == "dbname='here' host='target'" else None
    reporter.set = lambda name, rows: (reporter.moved.append((name, rows)), told.set())
    with transfer.Watcher(place, "here", reporter, interval_seconds=0.001):
        assert told.wait(10)
    assert reporter.moved[0] == ("public.alpha", 7)


def test_without_a_view_on_the_progress_nothing_fails(tmp_path):
    place = Place(tmp_path)
    with transfer.Watcher(place, "here", Reporter(), interval_seconds=0.001) as watcher:
        watcher._thread.join(10)
    assert not watcher._thread.is_alive()


# -- pg_dump and pg_restore -----------------------------------------------------

DUMP = "pg_dump --no-password --no-tablespaces --no-publications --no-subscriptions --dbname=dbname='there' host='source' application_name='dockyard-migration'"
RESTORE = "pg_restore --no-password --exit-on-error --dbname=dbname='here' host='target'"
GOOD = (0, "", "")


def test_a_section_of_the_schema(place):
    place.script = [
        (DUMP + " --snapshot=000-1 --section=pre-data --format=custom --file=/run/dockyard/spool/pre-data.dump --extra", GOOD),
        (RESTORE + " --section=pre-data --jobs=3 /run/dockyard/spool/pre-data.dump", GOOD),
        ("rm -f /run/dockyard/spool/pre-data.dump", GOOD),
    ]
    transfer.Programs(place, "there", "here").section("pre-data", "000-1", 3, ("--extra",))


@pytest.mark.parametrize(
    "step, wanted",
    [(0, "reading the schema (post-data): out of memory"), (1, "making the schema (post-data): out of memory"), (2, "removing a file: out of memory")],
)
def test_a_section_that_fails_names_itself(place, step, wanted):
    place.script = [("", GOOD)] * step + [("", (1, "", "pg_restore: error: x\nERROR:  out of memory\n" if step == 9 else "ERROR:  out of memory\n"))]
    with pytest.raises(transfer.TransferError) as error:
        transfer.Programs(place, "there", "here").section("post-data", "000-1")
    assert str(error.value) == wanted


def test_a_program_that_says_nothing(place):
    place.script = [("pg_dump", (137, "", ""))]
    with pytest.raises(transfer.TransferError, match=r"^reading the schema \(pre-data\): pg_dump ended with code 137$"):
        transfer.Programs(place, "there", "here").section("pre-data", "x")


LISTED = ";\n; Archive created at\n;\n3456; 2613 1000007 BLOB - 1000007 app\n3458; 0 0 BLOBS - BLOBS \n3400; 0 0 SEQUENCE SET public s app\n"


@pytest.mark.parametrize(
    "listed, kept",
    [
        (LISTED, "3456; 2613 1000007 BLOB - 1000007 app\n3458; 0 0 BLOBS - BLOBS \n"),
        ("3456; 2613 1 BLOB METADATA - 1..9 app\n3400; 0 0 SEQUENCE SET public s app\n", "3456; 2613 1 BLOB METADATA - 1..9 app\n"),
    ],
)
def test_large_objects_come_without_the_other_data(place, listed, kept):
    place.script = [
        (DUMP + " --snapshot=000-1 --section=data --blobs --exclude-table-data=*.* --format=custom --compress=0 --file=/run/dockyard/spool/blobs.dump", GOOD),
        ("pg_restore --list /run/dockyard/spool/blobs.dump", (0, listed, "")),
        ("sh -c cat > /run/dockyard/spool/blobs.list", GOOD),
        (RESTORE + " --use-list=/run/dockyard/spool/blobs.list /run/dockyard/spool/blobs.dump", GOOD),
        ("rm -f /run/dockyard/spool/blobs.dump /run/dockyard/spool/blobs.list", GOOD),
    ]
    transfer.Programs(place, "there", "here").large_objects("000-1")
    assert place.given[2] == kept.encode()


def test_no_large_object_is_nothing_to_restore(place):
    place.script = [("pg_dump", GOOD), ("--list", (0, ";\n3400; 0 0 SEQUENCE SET public s app\n", "")), ("cat", GOOD), ("rm -f", GOOD)]
    transfer.Programs(place, "there", "here").large_objects("000-1")


def test_a_list_that_cannot_be_written(place):
    place.script = [("pg_dump", GOOD), ("--list", (0, LISTED, "")), ("cat", (2, "", "sh: No space left on device\n"))]
    with pytest.raises(transfer.TransferError, match="^listing the large objects: sh: No space left on device$"):
        transfer.Programs(place, "there", "here").large_objects("000-1")


def test_the_strategy_dump(place):
    place.script = [("rm -rf /run/dockyard/spool/dump", GOOD), (DUMP + " --format=directory --compress=0 --jobs=4 --file=/run/dockyard/spool/dump", GOOD)]
    place.script += [(RESTORE + " --section=%s --jobs=4 /run/dockyard/spool/dump" % name, GOOD) for name in ("pre-data", "data", "post-data")]
    place.script.append(("rm -rf /run/dockyard/spool/dump", GOOD))
    transfer.Programs(place, "there", "here").whole(4)


@pytest.mark.parametrize(
    "step, wanted", [(0, "clearing the spool"), (1, "dumping"), (2, r"restoring \(pre-data\)"), (3, r"restoring \(data\)"), (4, r"restoring \(post-data\)")]
)
def test_a_dump_that_fails_names_its_part(place, step, wanted):
    place.script = [("", GOOD)] * step + [("", (1, "", "ERROR:  No space left on device\n"))]
    with pytest.raises(transfer.TransferError, match="^%s: No space left on device$" % wanted):
        transfer.Programs(place, "there", "here").whole(1)
