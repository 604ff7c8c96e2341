# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL and the comparisons; what real servers say to them is seen by tests/integration/test_postgres_proof.py."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import catalog, proof
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import qualified


def column(name="v", **more):
    found = {
        "name": name,
        "type": "text",
        "not_null": False,
        "generated": False,
        "identity": "",
        "default": None,
        "kind": "b",
        "base": 25,
        "base_kind": "b",
        "base_type": "text",
        "element": 0,
        "is_array": False,
        "send": "pg_catalog.textsend",
        "deterministic": True,
    }
    found.update(more)
    return found


def table(name="t", columns=(), **more):
    found = {
        "schema": "public",
        "name": name,
        "kind": "r",
        "columns": list(columns),
        "key": None,
        "is_filled": True,
        "is_partition": False,
        "identity": "d",
        "persistence": "p",
        "bytes": 0,
        "rows_estimate": 0,
        "owner": "app",
    }
    found.update(more)
    return found


@pytest.mark.parametrize(
    "source, target, wanted",
    [(150017, 170006, "record"), (140000, 140000, "record"), (130022, 170006, "text"), (170000, 139999, "text"), (110000, 110000, "text")],
)
def test_the_form_is_one_that_both_servers_can(source, target, wanted):
    assert proof.form_of(source, target) == wanted


@pytest.mark.parametrize(
    "more, wanted",
    [
        ({}, '"v"'),
        ({"base": 16, "send": "pg_catalog.boolsend"}, '"v"'),
        ({"base": 17}, '"v"'),
        ({"base": 21}, '"v"'),
        ({"base": 23}, '"v"'),
        ({"base": 26}, '"v"'),
        ({"base": 1043}, '"v"'),
        ({"base": 1082}, '"v"'),
        ({"base": 2950}, '"v"'),
        # Their own hash folds eight bytes into four.
        ({"base": 20, "send": "pg_catalog.int8send"}, 'pg_catalog.int8send("v")'),
        ({"base": 1114, "send": "pg_catalog.timestamp_send"}, 'pg_catalog.timestamp_send("v")'),
        ({"base": 1184, "send": "pg_catalog.timestamptz_send"}, 'pg_catalog.timestamptz_send("v")'),
        ({"base": 1083, "send": "pg_catalog.time_send"}, 'pg_catalog.time_send("v")'),
        # Equal, but not the same: 1.0 and 1.00, -0 and 0, what a collation holds for equal, padding.
        ({"base": 1700, "send": "pg_catalog.numeric_send"}, 'pg_catalog.numeric_send("v")'),
        ({"base": 701, "send": "pg_catalog.float8send"}, 'pg_catalog.float8send("v")'),
        ({"base": 1042, "send": "pg_catalog.bpcharsend"}, 'pg_catalog.bpcharsend("v")'),
        ({"base": 114, "send": "pg_catalog.json_send"}, 'pg_catalog.json_send("v")'),
        ({"deterministic": False}, 'pg_catalog.textsend("v")'),
        ({"base": 1043, "deterministic": False, "send": "pg_catalog.varcharsend"}, 'pg_catalog.varcharsend("v")'),
        # A collation says nothing of what is no text.
        ({"base": 23, "deterministic": False}, '"v"'),
        # Domains, by the type below.
        ({"kind": "d", "base_type": "text"}, '"v"::text'),
        ({"kind": "d", "base": 20, "base_type": "bigint", "send": "pg_catalog.int8send"}, 'pg_catalog.int8send("v"::bigint)'),
        ({"kind": "d", "base": 20000, "base_kind": "e", "base_type": "public.mood", "send": "pg_catalog.enum_send"}, 'pg_catalog.enum_send("v"::public.mood)'),
        ({"kind": "e", "base": 20000, "base_kind": "e", "send": "pg_catalog.enum_send"}, 'pg_catalog.enum_send("v")'),
        # Numbers of the server's own catalog.
        ({"kind": "c", "base": 20000, "base_kind": "c", "send": "pg_catalog.record_send"}, '"v"::text'),
        ({"kind": "p", "base": 2249, "base_kind": "p"}, '"v"::text'),
        ({"kind": "d", "base": 20000, "base_kind": "c", "send": "pg_catalog.record_send"}, '"v"::text'),
        ({"base": 2205, "send": "pg_catalog.regclasssend"}, '"v"::text'),
        ({"base": 1033, "send": None}, '"v"::text'),
        ({"base": 30000, "send": None}, '"v"::text'),
        ({"base": 1007, "is_array": True, "element": 23, "send": "pg_catalog.array_send"}, 'pg_catalog.array_send("v")'),
        ({"base": 20001, "is_array": True, "element": 16384, "send": "pg_catalog.array_send"}, '"v"::text'),
        ({"base": 20001, "is_array": True, "element": 10000, "send": "pg_catalog.array_send"}, '"v"::text'),
        ({"base": 12001, "is_array": True, "element": 12000, "send": "pg_catalog.array_send"}, '"v"::text'),
        ({"base": 9999, "is_array": True, "element": 9999, "send": "x"}, 'x("v")'),
        ({"base": 2210, "is_array": True, "element": 2205, "send": "pg_catalog.array_send"}, '"v"::text'),
        # An element without being an array: point is made of float8.
        ({"base": 600, "element": 701, "send": "pg_catalog.point_send"}, 'pg_catalog.point_send("v")'),
        ({"base": 600, "element": 20000, "send": "x"}, 'x("v")'),
        ({"name": 'o"d;', "base": 1700, "send": '"a b".numeric_send'}, '"a b".numeric_send("o""d;")'),
    ],
)
def test_what_is_hashed_of_a_column(more, wanted):
    entry = column(**more)
    assert proof.expression_of(entry) == wanted
    assert proof.by_text(entry) == (wanted == '"v"::text' and entry["base"] != 25)


# pg_type.dat: regproc aclitem regprocedure regoper regoperator regclass regcollation regtype regconfig regdictionary regnamespace regrole
@pytest.mark.parametrize("number", [24, 1033, 2202, 2203, 2204, 2205, 4191, 2206, 3734, 3769, 4089, 4096])
def test_names_of_objects_go_by_text(number):
    assert proof.expression_of(column(base=number, send="x")) == '"v"::text'
    assert proof.expression_of(column(base=9000, is_array=True, element=number, send="x")) == '"v"::text'


def test_the_digest_of_a_table():
    entry = table('a"b', [column("x"), column("y", base=1700, send="pg_catalog.numeric_send")])
    rows = '(SELECT ROW("x", pg_catalog.numeric_send("y")) AS r FROM ONLY "public"."a""b" OFFSET 0) q'
    assert proof.digest_sql(entry, "record") == (
        "SELECT count(*) AS rows, coalesce(sum(hash_numeric_extended(hash_record_extended(r, 0), 0)), 0)::text AS a, "
        "coalesce(sum(hash_numeric_extended(hash_record_extended(r, 1), 1)), 0)::text AS b FROM " + rows
    )
    assert proof.digest_sql(entry, "text") == (
        "SELECT count(*) AS rows, coalesce(sum(hashtextextended(r::text, 0)), 0)::text AS a, coalesce(sum(hashtextextended(r::text, 1)), 0)::text AS b FROM "
        + rows
    )
    # A materialized view has no children, and ONLY is an error there.
    assert 'FROM "public"."m" OFFSET' in proof.digest_sql(table("m", [], kind="m"), "record")
    assert "ROW()" in proof.digest_sql(table("none", columns=[]), "record")
    assert "ROW()" in proof.digest_sql(dict(table("none"), columns=None), "record")


@pytest.mark.parametrize("form, wanted", [("record", "hash_numeric_extended(hash_record_extended(r, %d), %d)"), ("text", "hashtextextended(r::text, %d)")])
def test_the_digest_of_large_objects_has_their_numbers_and_contents(form, wanted):
    hashes = [wanted.replace("%d", str(seed)) for seed in (0, 1)]
    assert proof.large_objects_sql(form) == (
        "SELECT count(*) AS rows, coalesce(sum(%s), 0)::text AS a, coalesce(sum(%s), 0)::text AS b FROM "
        "(SELECT ROW(oid, lo_get(oid)) AS r FROM pg_largeobject_metadata OFFSET 0) q" % tuple(hashes)
    )


def test_buckets_and_hashes():
    entry = table(columns=[column("x"), column("id")], key=["id", "x"])
    assert (
        proof.buckets_sql(entry, "text")
        == "SELECT hashtextextended(r::text, 0) & 4095 AS bucket, count(*) AS rows, sum(hashtextextended(r::text, 1))::text AS a FROM "
        '(SELECT ROW("x", "id") AS r FROM ONLY "public"."t" OFFSET 0) q GROUP BY 1'
    )
    assert (
        proof.hashes_sql(entry, "text", [3, 77], True)
        == 'SELECT h::text AS h, key FROM (SELECT hashtextextended(r::text, 0) AS h, key FROM (SELECT ROW("x", "id") AS r, '
        'json_build_array(left("id"::text, 60), left("x"::text, 60))::text AS key FROM ONLY "public"."t" OFFSET 0) q OFFSET 0) p WHERE h & 4095 IN (3, 77)'
    )
    assert 'AS key FROM "public"."m" OFFSET' in proof.hashes_sql(table("m", kind="m"), "text", [3], True) and "ROW()" in proof.hashes_sql(
        dict(table(), columns=None), "text", [3], True
    )
    for without in (proof.hashes_sql(entry, "text", [3], False), proof.hashes_sql(table(columns=[column()]), "text", [3], True)):
        assert "NULL AS key" in without and "json_build_array" not in without


def test_buckets_that_differ():
    left = [{"bucket": 1, "rows": 2, "a": "5"}, {"bucket": 2, "rows": 1, "a": "7"}, {"bucket": 9, "rows": 1, "a": "1"}, {"bucket": 4, "rows": 1, "a": "1"}]
    right = [{"bucket": 2, "rows": 1, "a": "8"}, {"bucket": 1, "rows": 2, "a": "5"}, {"bucket": 3, "rows": 1, "a": "1"}, {"bucket": 4, "rows": 2, "a": "1"}]
    assert proof.differing_buckets(left, right) == [2, 3, 4, 9]
    assert proof.differing_buckets(left, left[::-1]) == []


@pytest.mark.parametrize(
    "source, target, wanted",
    [
        ("a b", "a b", (0, 0, [])),
        ("a a b", "a b b", (1, 1, ["[a]", "[b]"])),
        ("a b", "a", (1, 0, ["[b]"])),
        ("a", "a a a", (0, 2, ["[a]"])),
        ("a b c d e f g", "", (7, 0, ["[a]", "[b]", "[c]", "[d]", "[e]"])),
        ("", "", (0, 0, [])),
    ],
)
def test_rows_that_differ(source, target, wanted):
    rows = [[{"h": word, "key": "[%s]" % word} for word in side.split()] for side in (source, target)]
    assert proof.differing_rows(*rows) == dict(zip(("missing", "extra", "keys"), wanted))
    bare = [[{"h": word, "key": None} for word in side.split()] for side in (source, target)]
    assert proof.differing_rows(*bare) == {"missing": wanted[0], "extra": wanted[1], "keys": []}


def test_sentences_of_a_difference():
    source, target = {"rows": 7, "a": "1"}, {"rows": 6, "a": "2"}
    assert proof.sentence_of("public.t", source, target) == "public.t: 7 rows there, 6 here, and their digests differ"
    assert (
        proof.sentence_of("public.t", source, target, {"missing": 1, "extra": 0, "keys": ["[7]"]})
        == "public.t: 1 row differs (7 rows there, 6 here); primary key [7]"
    )
    assert proof.sentence_of("public.t", source, target, {"missing": 1, "extra": 3, "keys": []}) == "public.t: 3 rows differ (7 rows there, 6 here)"


def test_what_has_rows_is_proven():
    tables = [
        table("a"),
        table("p", kind="p"),
        table("part", is_partition=True),
        table("v", kind="v"),
        table("m", kind="m"),
        table("n", kind="m", is_filled=False),
        table("f", kind="f"),
        table("u", persistence="u"),
    ]
    assert [entry["name"] for entry in proof.tables_to_prove({"tables": tables})] == ["a", "part", "m", "u"]


@pytest.mark.parametrize(
    "before, now, wanted",
    [
        ({}, {}, []),
        ({"t": (1, "a", "b")}, {"t": (1, "a", "b")}, []),
        ({"t": (1, "a", "b")}, {"t": (1, "a", "c")}, ["t: rows were changed (1 rows, as before)"]),
        ({"t": (1, "a", "b")}, {"t": (3, "x", "y")}, ["t: 3 rows, 1 at the switch"]),
        ({"t": (1, "a", "b")}, {}, ["t: dropped, 1 rows"]),
        ({}, {"t": (4, "a", "b")}, ["t: a new table of 4 rows"]),
        # A receipt may have its numbers as text.
        (
            {"b": ("2", "a", "b"), "a": (1, "a", "b")},
            {"b": (2, "c", "b"), "a": (2, "x", "b")},
            ["a: 2 rows, 1 at the switch", "b: rows were changed (2 rows, as before)"],
        ),
    ],
)
def test_writes_since_the_switch(before, now, wanted):
    def shaped(side):
        return {name: dict(zip(("rows", "a", "b"), values)) for name, values in side.items()}

    assert proof.writes_since(shaped(before), shaped(now)) == wanted


def catalog_of(**more):
    found = {
        "extensions": [{"name": "plpgsql", "version": "1.0", "schema": "pg_catalog", "keeps_data": False}],
        "types": [{"schema": "public", "name": "state", "kind": "e", "labels": ["a", "b"]}],
        "sequences": [{"schema": "public", "name": "s", "last_value": 7, "is_called": True}],
        "constraints": [{"schema": "public", "on": "t", "name": "k", "kind": "p", "validated": True, "definition": "PRIMARY KEY (id)"}],
        "indexes": [{"schema": "public", "name": "i", "valid": True, "definition": "CREATE INDEX"}],
        "triggers": [{"schema": "public", "on": "t", "name": "g", "enabled": "O", "definition": "CREATE TRIGGER"}],
        "functions": [{"schema": "public", "name": "f", "arguments": "integer, text", "body": "m", "language": "sql", "owner": "x", "security_definer": False}],
        "tables": [table(columns=[column("id"), column("v")]), table("w", columns=[column("x")], kind="v")],
        "large_objects": {"count": 0},
    }
    found.update(more)
    return found


def changed(path, value):
    found = copy.deepcopy(catalog_of())
    place = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    "path, value, wanted",
    [
        (("extensions", 0, "schema"), "public", "the extension plpgsql differs in schema: pg_catalog there, public here"),
        (("types", 0, "labels"), ["b", "a"], "the type public.state differs in labels: ['a', 'b'] there, ['b', 'a'] here"),
        (("types", 0, "kind"), "d", "the type public.state differs in kind: e there, d here"),
        (("sequences", 0, "last_value"), 8, "the sequence public.s differs in last value: 7 there, 8 here"),
        (("sequences", 0, "is_called"), False, "the sequence public.s differs in is called: True there, False here"),
        (("constraints", 0, "kind"), "u", "the constraint public.t.k differs in kind: p there, u here"),
        (("constraints", 0, "validated"), False, "the constraint public.t.k differs in validated: True there, False here"),
        (("constraints", 0, "definition"), "x", "the constraint public.t.k differs in definition: PRIMARY KEY (id) there, x here"),
        (("indexes", 0, "valid"), False, "the index public.i differs in valid: True there, False here"),
        (("indexes", 0, "definition"), "x", "the index public.i differs in definition: CREATE INDEX there, x here"),
        (("triggers", 0, "enabled"), "D", "the trigger public.t.g differs in enabled: O there, D here"),
        (("triggers", 0, "definition"), "x", "the trigger public.t.g differs in definition: CREATE TRIGGER there, x here"),
        (("functions", 0, "body"), "n", "the function public.f.integer, text differs in body: m there, n here"),
        (("functions", 0, "language"), "c", "the function public.f.integer, text differs in language: sql there, c here"),
        (("tables", 0, "kind"), "p", "public.t is a table there, a partitioned table here"),
        (("tables", 0, "columns"), [column("v"), column("id")], "the table public.t has the columns id, v there, v, id here"),
        (("tables", 0, "columns"), None, "the table public.t has the columns id, v there,  here"),
        (("tables", 0, "columns", 1, "type"), "json", "the column v of the table public.t differs in type: text there, json here"),
        (("tables", 0, "columns", 1, "not_null"), True, "the column v of the table public.t differs in not null: False there, True here"),
        (("tables", 0, "columns", 1, "generated"), True, "the column v of the table public.t differs in generated: False there, True here"),
        (("tables", 0, "columns", 1, "identity"), "a", "the column v of the table public.t differs in identity:  there, a here"),
        (("tables", 0, "columns", 1, "default"), "1", "the column v of the table public.t differs in default: None there, 1 here"),
        (("tables", 1, "columns", 0, "type"), "json", "the column x of the view public.w differs in type: text there, json here"),
    ],
)
def test_each_part_of_the_structure_is_compared(path, value, wanted):
    assert proof.differences_of_structure(catalog_of(), catalog_of()) == []
    assert proof.differences_of_structure(catalog_of(), changed(path, value)) == [wanted]


def test_a_partition_has_the_identity_of_its_table_on_newer_servers_only():
    there, here = [catalog_of(tables=[table(columns=[column("id", identity=identity)], is_partition=True)]) for identity in ("", "d")]
    assert proof.differences_of_structure(there, here) == []
    here["tables"][0]["columns"][0]["default"] = "1"
    assert len(proof.differences_of_structure(there, here)) == 1


@pytest.mark.parametrize(
    "section, name",
    [
        ("extensions", "extension plpgsql"),
        ("types", "type public.state"),
        ("sequences", "sequence public.s"),
        ("constraints", "constraint public.t.k"),
        ("indexes", "index public.i"),
        ("triggers", "trigger public.t.g"),
        ("functions", "function public.f.integer, text"),
    ],
)
def test_what_is_on_one_side_only(section, name):
    less = catalog_of(**{section: []})
    assert proof.differences_of_structure(catalog_of(), less) == ["the %s is not in the target" % name]
    assert proof.differences_of_structure(less, catalog_of()) == ["the %s is in the target only" % name]


def test_extensions_that_the_stack_wants_may_be_more():
    more = catalog_of(extensions=catalog_of()["extensions"] + [{"name": "vector", "version": "0.8", "schema": "public", "keeps_data": False}])
    assert proof.differences_of_structure(catalog_of(), more, ["vector"]) == []
    assert proof.differences_of_structure(catalog_of(), more, ["citext"]) == ["the extension vector is in the target only"]
    assert proof.differences_of_structure(more, catalog_of(), ["vector"]) == ["the extension vector is not in the target"]
    # Another version of an extension is no difference: it came with the image.
    newer = changed(("extensions", 0, "version"), "2.0")
    assert proof.differences_of_structure(catalog_of(), newer) == []


@pytest.mark.parametrize("kind, word", [("r", "table"), ("p", "partitioned table"), ("v", "view"), ("m", "materialized view"), ("f", "foreign table")])
def test_tables_on_one_side_only(kind, word):
    more = catalog_of(tables=catalog_of()["tables"] + [table("more", kind=kind)])
    assert proof.differences_of_structure(more, catalog_of()) == ["the %s public.more is not in the target" % word]
    assert proof.differences_of_structure(catalog_of(), more) == ["the %s public.more is in the target only" % word]


# -- the catalog ----------------------------------------------------------------


class Answers:
    """A session that answers each SELECT of catalog.py, once."""

    def __init__(self, superuser):
        self.asked = []
        self.known = {
            catalog.SERVER: [{"superuser": superuser, "version": 150000}],
            catalog.DATABASE: [{"bytes": 1}],
            catalog.TABLES: [{"name": "t"}],
            catalog.SEQUENCES: [{"schema": "s", "name": 'a"b'}, {"schema": "s", "name": "c"}],
            catalog.CONSTRAINTS: ["c"],
            catalog.INDEXES: ["i"],
            catalog.TRIGGERS: ["g"],
            catalog.FUNCTIONS: ["f"],
            catalog.TYPES: ["y"],
            catalog.EXTENSIONS: ["e"],
            catalog.ROLES: ["r"],
            catalog.LARGE_OBJECTS: [{"count": 3}],
            catalog.NOT_CARRIED: [{"kind": "publication", "name": "p"}],
            catalog.LARGE_OBJECT_BYTES: [{"bytes": 9}],
            catalog.SUBSCRIPTIONS: [{"name": "sub"}],
            'SELECT last_value, is_called FROM "s"."a""b"': [{"last_value": 4, "is_called": False}],
            'SELECT last_value, is_called FROM "s"."c"': [{"last_value": 5, "is_called": True}],
        }

    def rows(self, sql):
        self.asked.append(sql)
        return copy.deepcopy(self.known[sql])

    def row(self, sql):
        return self.rows(sql)[0]


@pytest.mark.parametrize("superuser", [True, False])
def test_all_of_a_catalog_is_read_once(superuser):
    answers = Answers(superuser)
    found = catalog.read(answers, qualified)
    assert found["sequences"] == [
        {"schema": "s", "name": 'a"b', "last_value": 4, "is_called": False},
        {"schema": "s", "name": "c", "last_value": 5, "is_called": True},
    ]
    assert found["large_objects"] == ({"count": 3, "bytes": 9} if superuser else {"count": 3})
    assert found["not_carried"] == [{"kind": "publication", "name": "p"}] + ([{"kind": "subscription", "name": "sub"}] if superuser else [])
    assert [found[name] for name in ("constraints", "indexes", "triggers", "functions", "types", "extensions", "roles")] == [
        ["c"],
        ["i"],
        ["g"],
        ["f"],
        ["y"],
        ["e"],
        ["r"],
    ]
    # What only a superuser may read is not asked of others: it would be an error.
    assert sorted(answers.asked) == sorted(set(answers.known) - (set() if superuser else {catalog.LARGE_OBJECT_BYTES, catalog.SUBSCRIPTIONS}))


@pytest.mark.parametrize(
    "section, value, wanted",
    [
        (None, None, True),
        ("tables", ["t"], False),
        ("sequences", ["s"], False),
        ("functions", ["f"], False),
        ("types", ["t"], False),
        ("large_objects", {"count": 1}, False),
        ("extensions", ["e"], True),
        ("roles", ["r"], True),
    ],
)
def test_what_is_empty(section, value, wanted):
    found = {"tables": [], "sequences": [], "functions": [], "types": [], "large_objects": {"count": 0}, "extensions": [], "roles": []}
    if section:
        found[section] = value
    assert catalog.is_empty(found) is wanted
