# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of tests/native: it must not overlook a lost row, and not cry about one that nobody was promised."""
from __future__ import annotations

import importlib.util
import itertools
import json
import stat
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "native" / "inventory"


def load(name):
    spec = importlib.util.spec_from_file_location("native_" + name, FOLDER / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


writer = load("writer")
data = load("data")


def sent(op, key, value=None):
    return json.dumps({"t": 0, "is": "sent", "op": op, "key": key, "value": value}) + "\n"


def done(key):
    return json.dumps({"t": 0, "is": "done", "key": key}) + "\n"


@pytest.mark.parametrize("lines, right", [
    ([sent("insert", "a", "1"), done("a")], {"a": {"1"}}),
    # not acknowledged: both are right
    ([sent("insert", "a", "1")], {"a": {None, "1"}}),
    ([sent("insert", "a", "1"), done("a"), sent("update", "a", "2")], {"a": {"1", "2"}}),
    ([sent("insert", "a", "1"), done("a"), sent("delete", "a")], {"a": {"1", None}}),
    # acknowledged: only the last one is
    ([sent("insert", "a", "1"), done("a"), sent("update", "a", "2"), done("a")], {"a": {"2"}}),
    ([sent("insert", "a", "1"), done("a"), sent("delete", "a"), done("a")], {"a": {None}}),
    ([sent("update", "old", "2"), done("old")], {"old": {"2"}}),
    ([sent("update", "old", "2")], {"old": {writer.ANY, "2"}}),
    # killed in the middle of a line
    ([sent("insert", "a", "1"), done("a")[:9]], {"a": {None, "1"}}),
])
def test_what_the_database_must_say(lines, right):
    assert writer.expected(lines) == right


def check(tmp_path, lines, rows):
    """writer.check with a psql that answers these rows."""
    journal, answer, psql = tmp_path / "journal", tmp_path / "answer", tmp_path / "psql"
    journal.write_text("".join(lines))
    answer.write_text("".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in rows.items()))
    psql.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\ncat {answer}\n")
    psql.chmod(psql.stat().st_mode | stat.S_IXUSR)
    return writer.check(writer.argparse.Namespace(journal=str(journal), psql=str(psql)))


LINES = [sent("insert", "a", "1"), done("a"), sent("insert", "b", "2"), done("b"),
         sent("delete", "b"), done("b"), sent("update", "old", "3"), done("old"), sent("insert", "c", "4")]


@pytest.mark.parametrize("rows, wrong", [
    ({"a": "1", "old": "3"}, []),
    ({"a": "1", "old": "3", "c": "4"}, []),
    ({"old": "3"}, ["a"]),
    ({"a": "0", "old": "3"}, ["a"]),
    ({"a": "1", "b": "2", "old": "3"}, ["b"]),
    ({"a": "1", "old": "before"}, ["old"]),
    ({"a": "1"}, ["old"]),
    ({"a": "1", "old": "3", "c": "5"}, ["c"]),
])
def test_a_lost_row_an_old_value_and_a_row_that_came_back_are_named(tmp_path, rows, wrong):
    result = check(tmp_path, LINES, rows)
    assert [one["key"] for one in result["lost"]] == wrong
    assert result["wrong"] == len(wrong) and result["asked"] == 4 and result["uncertain"] == 1
    assert "COPY asked FROM stdin;\na\nb\nold\nc\n\\.\n" in (tmp_path / "asked").read_text()


def test_check_says_what_psql_said(tmp_path):
    journal, psql = tmp_path / "journal", tmp_path / "psql"
    journal.write_text(LINES[0])
    psql.write_text("#!/bin/sh\ncat >/dev/null\necho 'no such database' >&2\nexit 2\n")
    psql.chmod(0o700)
    with pytest.raises(writer.WriterError, match="ended with 2: no such database"):
        writer.check(writer.argparse.Namespace(journal=str(journal), psql=str(psql)))


def test_statements_are_possible_in_their_order():
    live, before = set(), {writer.existing(5, number) for number in range(1, 201)}
    kinds = {"insert": 0, "update": 0, "delete": 0}
    touched = set()
    for operation, key, value in itertools.islice(writer.statements("x", 5, 200), 5000):
        kinds[operation] += 1
        if operation == "insert":
            assert key not in live
            live.add(key)
        else:
            assert key in live or (operation == "update" and key in before)
            touched.add(key)
        if operation == "delete":
            live.remove(key)
        assert (value is None) == (operation == "delete") and value != writer.ANY
    assert min(kinds.values()) > 300
    assert len(touched & before) == 200
    assert not any(key in before for unused, key, value in itertools.islice(writer.statements("x", 5, 0), 500))


@pytest.mark.parametrize("argv, message", [
    (["--by", "http", "--url", "x"], "--url: found 'x', needed an address"),
    (["--rate", "0"], "--rate: found 0, needed more than 0"),
])
def test_bad_options_of_run(argv, message, tmp_path):
    with pytest.raises(writer.WriterError, match=message):
        writer.main(["run", "--journal", str(tmp_path / "journal"), *argv])
    assert not (tmp_path / "journal").exists()


def test_a_journal_is_not_written_twice(tmp_path):
    (tmp_path / "journal").write_text("old")
    with pytest.raises(writer.WriterError, match="journal is there already"):
        writer.main(["run", "--journal", str(tmp_path / "journal"), "--by", "http"])
    assert (tmp_path / "journal").read_text() == "old"


def test_two_runs_have_keys_of_their_own():
    first, second = ({key for operation, key, value in itertools.islice(writer.statements(run, 5, 0), 300)} for run in ("a", "b"))
    assert not first & second


@pytest.mark.parametrize("module", [writer, data])
def test_nothing_is_written_where_no_native_installation_is(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MARKER", tmp_path / "no")
    with pytest.raises(Exception, match="is not there: this host has no native installation of install.sh"):
        module.settings() if module is data else module.native()


def test_writer_and_data_mean_the_same_items():
    assert [writer.existing(7, number) for number in (1, 200)] == [data.name_of(7, "item", number) for number in (1, 200)]


def make(tmp_path, name, seed=5):
    folder = tmp_path / name
    folder.mkdir()
    written, total = data.fill_images(folder, seed, 700, 2000, (folder.stat().st_uid, folder.stat().st_gid))
    return folder, written, total


def test_images_are_the_same_each_time_and_others_with_another_seed(tmp_path):
    first, written, total = make(tmp_path, "first")
    second = make(tmp_path, "second")[0]

    def content(folder):
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_nlink) for path in folder.iterdir() if path.suffix != ".tiff"}

    assert content(first) == content(second)
    assert written == 699 == len(list(first.iterdir()))
    assert 0.8 < total / written / 2000 < 1.25
    assert not set(content(first)) & set(content(make(tmp_path, "third", seed=6)[0]))
    assert sum(path.stat().st_nlink == 2 for path in first.iterdir()) == 2
    sparse = first / (data.name_of(5, "original", 3) + ".tiff")
    assert sparse.stat().st_size == data.SPARSE_BYTES and sparse.stat().st_blocks * 512 < data.SPARSE_BYTES // 4
    assert (first / (data.name_of(5, "original", 1) + data.extension_of(1))).read_bytes().startswith(data.png((1, 0, 5)))


@pytest.mark.parametrize("argv", [["--rows", "10"], ["--images", "3"], ["--image-bytes", "1"], ["--embedding-every", "0"], ["--scale", "0.0001"]])
def test_too_little_to_fill_is_refused(argv, capsys):
    with pytest.raises(SystemExit):
        data.arguments(argv)
    assert "at least 1000 rows" in capsys.readouterr().err
