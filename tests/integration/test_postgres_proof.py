# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plugins/module_utils/postgres says and copies, against two real PostgreSQL servers. Not among the tests of CI; needs Docker and the bed's image of
pgvector.

    .venv/bin/python -m pytest tests/integration/test_postgres_proof.py -q -n0

DOCKYARD_PGVECTOR_IMAGE names another image. DOCKYARD_PROOF_SOURCE is a command that runs psql as a superuser of a server of another version
(``runuser -u postgres -- psql -h /tmp/pg15``), which is the source instead of the first container; a database is made and dropped there.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import catalog, plan, proof
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import Session, SqlError, identifier, literal, qualified

FLAGS = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]
DATABASE = "proof_test"
READY_SECONDS = 60
FORMS = [proof.RECORD, proof.TEXT]

# Types of ours have other numbers on the two servers: the target makes some others before.
TYPES = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE state AS ENUM ('new', 'used', 'gone');
CREATE DOMAIN share AS numeric(5, 2);
CREATE DOMAIN word AS text CHECK (value <> 'never');
CREATE DOMAIN fixed_word AS char(4);
CREATE DOMAIN mood AS state;
CREATE DOMAIN numbers AS int[];
CREATE DOMAIN words AS varchar(9);
CREATE DOMAIN words_of_words AS words;
CREATE TYPE place AS (room text, shelf int, share share, at timestamptz, weight float8, body bytea);
CREATE DOMAIN good_place AS place;
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TYPE states_between AS RANGE (subtype = state);
CREATE TYPE lesser AS (a int, b bool);
CREATE TYPE lesser_between AS RANGE (subtype = lesser);
CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE SCHEMA "Odd ""name"" $1;--";
CREATE TYPE "Odd ""name"" $1;--"."Typ e" AS ENUM ('a', 'b''');
"""

# For each kind: the type, and values that are all different from each other, whatever an operator = says of them.
KINDS = {
    "boolean": ("boolean", ["true", "false", "NULL"]),
    "smallint": ("smallint", ["0", "1", "-32768", "NULL"]),
    "integer": ("integer", ["0", "-1", "2147483647", "NULL"]),
    "bigint": ("bigint", ["0", "1", "-1", "9223372036854775807", "4294967296", "NULL"]),
    "numeric": ("numeric", ["1", "1.0", "1.00", "-1", "0", "0.0", "'NaN'", "'Infinity'", "'-Infinity'", "1e131000", "NULL"]),
    "numeric_scaled": ("numeric(12, 2)", ["1", "1.01", "NULL"]),
    "real": ("real", ["'0'", "'-0'", "'NaN'", "'Infinity'", "'0.1'", "'0.10000001'", "NULL"]),
    "double": ("double precision", ["'0'", "'-0'", "'NaN'", "'-Infinity'", "0.1", "0.10000000000000002", "'5e-324'", "NULL"]),
    "money": ("money", ["1.00::numeric::money", "1.01::numeric::money", "NULL"]),
    "text": (
        "text",
        [
            "NULL",
            "''",
            "' '",
            "'  '",
            "'NULL'",
            "'a'",
            "'A'",
            "E'a\\n'",
            "'a '",
            "E'\\u00e9'",
            "E'e\\u0301'",
            "E'\\\\N'",
            "E'\\\\.'",
            "'💩'",
            "repeat('x', 90000)",
            "repeat('x', 90001)",
        ],
    ),
    "varchar": ("varchar(9)", ["NULL", "''", "' '", "'a'", "'a '", "'ä'", "'Ä'"]),
    "char": ("char(4)", ["NULL", "''", "'a'", "'b'", "' a'"]),
    "one_char": ('"char"', ["NULL", "''", "'a'", "'b'"]),
    "name": ("name", ["NULL", "''", "'a'", "'a '"]),
    "collated": ('text COLLATE "C"', ["NULL", "''", "'a'", "'A'"]),
    "caseless": ("text COLLATE no_case", ["NULL", "'straße'", "'STRASSE'", "'abc'", "'Abc'", "'abc '"]),
    "caseless_varchar": ("varchar(8) COLLATE no_case", ["NULL", "'abc'", "'Abc'"]),
    "caseless_array": ("text[] COLLATE no_case", ["NULL", "'{abc}'", "'{Abc}'"]),
    "citext": ("citext", ["NULL", "'abc'", "'Abc'", "''"]),
    "citext_array": ("citext[]", ["NULL", "'{abc}'", "'{Abc}'"]),
    "bytea": ("bytea", ["NULL", "''", "'\\x00'", "'\\x0000'", "'\\x41'", "'A '::bytea"]),
    "date": ("date", ["'2024-02-29'", "'2024-03-01'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "NULL"]),
    "time": ("time", ["'00:00'", "'24:00'", "'23:59:59.999999'", "NULL"]),
    "timetz": ("timetz", ["'12:00+00'", "'13:00+01'", "'12:00+05:30'", "NULL"]),
    "timestamp": ("timestamp", ["'2024-03-31 02:30'", "'2024-03-31 02:30:00.000001'", "'infinity'", "NULL"]),
    "timestamptz": ("timestamptz", ["'2024-10-27 00:30+00'", "'2024-10-27 01:30+00'", "'-infinity'", "NULL"]),
    "interval": ("interval", ["'1 month'", "'30 days'", "'720 hours'", "'-1 day 25 hours'", "'1 hour'", "NULL"]),
    "uuid": ("uuid", ["'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'", "NULL"]),
    "json": ("json", ["'{\"a\":1}'", "'{\"a\": 1}'", '\'{"a":1,"a":1}\'', "'null'", "'[1.0]'", "'[1]'", "NULL"]),
    "jsonb": ("jsonb", ["'{\"a\":1}'", "'{\"a\":1.0}'", "'null'", "'\"1\"'", "'1'", "'[]'", "'{}'", "NULL"]),
    "xml": ("xml", ["'<a/>'", "'<a></a>'", "NULL"]),
    "inet": ("inet", ["'10.0.0.1'", "'10.0.0.1/24'", "'::1'", "NULL"]),
    "cidr": ("cidr", ["'10.0.0.0/24'", "'10.0.0.0/25'", "NULL"]),
    "macaddr": ("macaddr", ["'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'", "NULL"]),
    "bit": ("bit(5)", ["B'00000'", "B'00001'", "NULL"]),
    "varbit": ("varbit", ["B''", "B'0'", "B'00'", "NULL"]),
    "point": ("point", ["'(0,0)'", "'(-0,0)'", "'(0,0.0000000001)'", "NULL"]),
    "line": ("line", ["'{1,2,3}'", "'{2,4,6}'", "NULL"]),
    "path": ("path", ["'((0,0),(1,1))'", "'[(0,0),(1,1)]'", "NULL"]),
    "polygon": ("polygon", ["'((0,0),(1,1),(2,0))'", "'((1,1),(2,0),(0,0))'", "NULL"]),
    "circle": ("circle", ["'<(0,0),1>'", "'<(1,1),1>'", "NULL"]),
    "tsvector": ("tsvector", ["'a b'", "'a:1 b'", "'a:1A b'", "''", "NULL"]),
    "tsquery": ("tsquery", ["'a & b'", "'b & a'", "'a'", "NULL"]),
    "oid": ("oid", ["0", "4294967295", "NULL"]),
    "xid": ("xid", ["'1'", "'2'", "NULL"]),
    "lsn": ("pg_lsn", ["'0/1'", "'1/0'", "NULL"]),
    "regclass": ("regclass", ["'pg_class'", "'pg_type'", "NULL"]),
    "regtype": ("regtype", ["'state'", "'share'", "'int4'", "NULL"]),
    "regtype_array": ("regtype[]", ["'{state,int4}'", "'{int4,state}'", "NULL"]),
    "aclitem": ("aclitem", ["'postgres=r/postgres'", "'postgres=rw/postgres'", "NULL"]),
    "aclitems": ("aclitem[]", ["'{postgres=r/postgres}'", "'{}'", "NULL"]),
    "int_array": ("int[]", ["'{}'", "'{1,2}'", "'{{1,2}}'", "'{{1},{2}}'", "'[0:1]={1,2}'", "'{1,NULL}'", "'{NULL,1}'", "'{2,1}'", "NULL"]),
    "text_array": ("text[]", ["'{}'", "'{\"\"}'", "'{NULL}'", "'{\"NULL\"}'", "'{\"a,b\"}'", "'{a,b}'", "NULL"]),
    "numeric_array": ("numeric[]", ["'{1}'", "'{1.0}'", "NULL"]),
    "float_array": ("float8[]", ["'{0}'", "'{-0}'", "NULL"]),
    "int2vector": ("int2vector", ["'1 2'", "'2 1'", "NULL"]),
    "enum": ("state", ["'new'", "'used'", "'gone'", "NULL"]),
    "enum_array": ("state[]", ["'{}'", "'{new,used}'", "'{used,new}'", "'{{new,used}}'", "'[0:1]={new,used}'", "'{NULL}'", "NULL"]),
    "odd_enum": ('"Odd ""name"" $1;--"."Typ e"', ["'a'", "'b'''", "NULL"]),
    "odd_enum_array": ('"Odd ""name"" $1;--"."Typ e"[]', ["'{a}'", "'{b''}'", "NULL"]),
    "domain_numeric": ("share", ["1", "1.01", "NULL"]),
    "domain_text": ("word", ["'a'", "'a '", "''", "NULL"]),
    "domain_char": ("fixed_word", ["'a'", "'b'", "NULL"]),
    "domain_enum": ("mood", ["'new'", "'used'", "NULL"]),
    "domain_array": ("numbers", ["'{1,2}'", "'[0:1]={1,2}'", "NULL"]),
    "domain_of_domain": ("words_of_words", ["'a'", "'b'", "''", "NULL"]),
    "array_of_domain": ("share[]", ["'{1}'", "'{1.01}'", "'{}'", "NULL"]),
    "composite": (
        "place",
        [
            "ROW('', 1, 1, '2024-01-02Z', 0, '\\x00')",
            "ROW(NULL, 1, 1, '2024-01-02Z', 0, '\\x00')",
            "ROW(' ', 1, 1, '2024-01-02Z', 0, '\\x00')",
            "ROW('', 1, 1, '2024-02-01Z', 0, '\\x00')",
            "ROW('', 1, 1, '2024-01-02Z', '-0', '\\x00')",
            "ROW('', 1, 1, '2024-01-02Z', 0.1, '\\x00')",
            "ROW('', 1, 1, '2024-01-02Z', 0.10000000000000002, '\\x00')",
            "ROW('', 1, 1, '2024-01-02Z', 0, '\\x01')",
            "ROW(NULL, NULL, NULL, NULL, NULL, NULL)",
            "NULL",
        ],
    ),
    "composite_array": ("place[]", ["ARRAY[ROW('a', 1, 1, NULL, 0, NULL)::place]", "ARRAY[ROW('a', 2, 1, NULL, 0, NULL)::place]", "'{NULL}'", "'{}'", "NULL"]),
    "domain_composite": ("good_place", ["ROW('a', 1, 1, NULL, 0, NULL)", "ROW('b', 1, 1, NULL, 0, NULL)", "NULL"]),
    "range": ("int4range", ["'empty'", "'[1,2)'", "'[1,)'", "'(,1)'", "NULL"]),
    "tstzrange": ("tstzrange", ["'[2024-01-01Z,2024-01-02Z)'", "'[2024-01-01Z,2024-01-02Z]'", "'[2024-01-01Z,)'", "'[2024-01-01Z,infinity)'", "NULL"]),
    "multirange": ("int4multirange", ["'{}'", "'{[1,3)}'", "'{[1,2),[5,6)}'", "NULL"]),
    "own_range": ("span", ["'[0,1)'", "'[-0,1)'", "'[0,1]'", "NULL"]),
    "own_range_array": ("span[]", ["'{\"[0,1)\"}'", "'{\"[0,2)\"}'", "NULL"]),
    "own_multirange": ("span_multirange", ["'{[0,1)}'", "'{[0,2)}'", "NULL"]),
    "range_of_enum": ("states_between", ["'[new,used)'", "'[new,gone)'", "NULL"]),
    "range_of_composite": (
        "lesser_between",
        ["lesser_between(ROW(1, true)::lesser, ROW(2, true)::lesser)", "lesser_between(ROW(1, false)::lesser, ROW(2, true)::lesser)", "NULL"],
    ),
}


def image():
    """The image of the servers."""
    given = os.environ.get("DOCKYARD_PGVECTOR_IMAGE")
    if given:
        return given
    found = (
        subprocess.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "dockyard-bed/pgvector"], stdout=subprocess.PIPE, check=True)
        .stdout.decode()
        .split()
    )
    assert found, "no image dockyard-bed/pgvector; tests/hosts/bed builds it"
    return found[0]


class Server:
    """A server, as a command that runs psql there."""

    def __init__(self, argv):
        self.argv = argv

    def words(self, database):
        return self.argv + FLAGS + ["--dbname", database]

    def session(self, database=DATABASE):
        return Session(self.words(database))

    def script(self, sql, database=DATABASE):
        """Statements of a test's own, which must all succeed."""
        done = subprocess.run(
            self.words(database) + ["--set", "ON_ERROR_STOP=1"], input=sql.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def statements(self, texts, database=DATABASE, **process):
        """As transfer.WORKER calls psql."""
        words = self.words(database) + ["--set", "ON_ERROR_STOP=1"]
        for text in texts:
            words += ["--command", text]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **process)


def until_ready(server):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with server.session("postgres") as session:
                # The one of the image's first start listens on its socket alone.
                if session.row("SELECT current_setting('listen_addresses') AS listen")["listen"]:
                    return
        except SqlError:
            assert time.monotonic() < deadline, "no server within %d s" % READY_SECONDS
        time.sleep(0.2)


@pytest.fixture(scope="session", name="containers")
def _containers():
    names, servers = [], []
    given = os.environ.get("DOCKYARD_PROOF_SOURCE")
    try:
        for side in ("target",) if given else ("source", "target"):
            names.append("p-proof-%s-%d" % (side, os.getpid()))
            subprocess.run(
                [
                    "docker",
                    "run",
                    "--detach",
                    "--rm",
                    "--pull",
                    "never",
                    "--name",
                    names[-1],
                    "--network",
                    "none",
                    "--env",
                    "POSTGRES_PASSWORD=of-a-test",
                    "--tmpfs",
                    "/var/lib/postgresql/data",
                    image(),
                ],
                stdout=subprocess.DEVNULL,
                check=True,
            )
            servers.append(Server(["docker", "exec", "--interactive", names[-1], "psql", "--username", "postgres"]))
        for server in servers:
            until_ready(server)
        yield ([Server(shlex.split(given))] if given else []) + servers
    finally:
        for name in names:
            subprocess.run(["docker", "rm", "--force", "--volumes", name], stdout=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="module", name="servers")
def _servers(containers):
    for number, server in enumerate(containers):
        server.script("DROP DATABASE IF EXISTS %s WITH (FORCE);\nCREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8';" % (DATABASE, DATABASE), "postgres")
        if number:
            server.script(
                "CREATE TYPE before AS ENUM ('a'); CREATE TYPE before_too AS (a int); CREATE TABLE moved_on (a int); DROP TABLE moved_on; DROP TYPE before,"
                " before_too;"
            )
        server.script(TYPES + "".join("CREATE TABLE %s (id int, v %s);\n" % (identifier("of " + name), kind[0]) for name, kind in KINDS.items()))
    with containers[0].session() as left, containers[1].session() as right:
        numbers = [session.row("SELECT 'public.state'::regtype::oid::bigint AS n")["n"] for session in (left, right)]
        assert numbers[0] != numbers[1], "the servers number their types alike, and nothing is shown by that"
        yield {"source": containers[0], "target": containers[1], "left": left, "right": right}
    for server in containers:
        server.script("DROP DATABASE IF EXISTS %s WITH (FORCE)" % DATABASE, "postgres")


def tables_of(session):
    return {table["name"]: table for table in session.rows(catalog.TABLES)}


def digests(servers, table, form):
    """Of one table, on both sides, each by its own catalog."""
    return [session.row(proof.digest_sql(tables_of(session)[table], form)) for session in (servers["left"], servers["right"])]


def fill(session, table, values):
    session.run("TRUNCATE %s" % qualified("public", table))
    session.run("SET search_path = public")
    session.run("INSERT INTO %s VALUES %s" % (qualified("public", table), ", ".join("(%d, %s)" % (number, value) for number, value in values)))
    session.run("SET search_path = pg_catalog")


def typed(kind, value):
    # A list of VALUES has the type of the column only where it is said of one row.
    return "(%s)::%s" % (value, kind.partition(" COLLATE")[0])


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_is_copied_and_proven_and_each_single_change_is_found(servers, name):
    kind, values = KINDS[name]
    table = "of " + name
    rows = [(number, typed(kind, value)) for number, value in enumerate(values)]
    fill(servers["left"], table, rows)
    servers["right"].run("TRUNCATE %s" % qualified("public", table))
    copied = servers["source"].statements([text for text in plan.copy_out(tables_of(servers["left"])[table], "none") if text.startswith("COPY")])
    assert copied.returncode == 0, copied.stderr.decode()
    taken = servers["target"].statements(plan.copy_in(tables_of(servers["right"])[table]), input=copied.stdout)
    assert taken.returncode == 0, taken.stderr.decode()
    statements = {form: [proof.digest_sql(tables_of(session)[table], form) for session in (servers["left"], servers["right"])] for form in FORMS}
    for form in FORMS:
        before = servers["left"].row(statements[form][0])
        assert before["rows"] == len(values)
        assert before == servers["right"].row(statements[form][1]), form
    # The same in another order.
    fill(servers["right"], table, rows[::-1])
    for form in FORMS:
        assert servers["left"].row(statements[form][0]) == servers["right"].row(statements[form][1]), form
    for one in range(len(values)):
        for other in range(one + 1, len(values)):
            fill(servers["left"], table, [(1, rows[one][1])])
            fill(servers["right"], table, [(1, rows[other][1])])
            for form in FORMS:
                found = [servers["left"].row(statements[form][0]), servers["right"].row(statements[form][1])]
                assert found[0] != found[1], "%s: %s and %s look alike" % (form, values[one], values[other])
                assert found[0]["a"] != found[1]["a"] and found[0]["b"] != found[1]["b"]
    assert len(values) > 1


def test_values_swapped_between_rows_are_found(servers):
    for session in (servers["left"], servers["right"]):
        session.run("DROP TABLE IF EXISTS public.swapped; CREATE TABLE public.swapped (id int, a text, b int)")
    assert {form: 0 for form in FORMS} == {form: _alike_though_swapped(servers["left"], form) for form in FORMS}


def _alike_though_swapped(session, form, count=2000):
    """How many of so many pairs of rows that swap one value have the digest of those that don't."""
    session.run("TRUNCATE public.swapped; INSERT INTO public.swapped SELECT n, md5(n::text), n %% 7 FROM generate_series(1, %d) n" % (2 * count))
    table = tables_of(session)["swapped"]
    inner = proof.digest_sql(table, form)
    assert inner.endswith(" q")
    # The digest's own expressions, over pairs: as they are, and with column a of the neighbour.
    hashes = [proof._hash(form, seed) for seed in (0, 1)]
    pairs = (
        "SELECT id / 2 AS pair, sum(%s) AS x, sum(%s) AS y FROM (SELECT id, ROW(id, %s, b) AS r FROM (SELECT id, a, b, CASE WHEN id %% 2 = 0 THEN lead(a) OVER"
        " w ELSE lag(a) OVER w END AS z FROM public.swapped WHERE id > 1 AND id < %d WINDOW w AS (ORDER BY id)) s OFFSET 0) q GROUP BY 1"
    )
    return session.row(
        "SELECT count(*) AS n FROM (%s) o JOIN (%s) p USING (pair) WHERE o.x = p.x AND o.y = p.y"
        % (pairs % (hashes[0], hashes[1], "a", 2 * count), pairs % (hashes[0], hashes[1], "z", 2 * count))
    )["n"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change, wanted",
    [
        ("UPDATE public.things SET a = 'b' WHERE id = 7", {"missing": 1, "extra": 1, "keys": ['["7"]']}),
        ("DELETE FROM public.things WHERE id = 7", {"missing": 1, "extra": 0, "keys": ['["7"]']}),
        ("INSERT INTO public.things VALUES (1000, 'x', 1)", {"missing": 0, "extra": 1, "keys": ['["1000"]']}),
        (
            "UPDATE public.things SET a = CASE id WHEN 7 THEN 'thing 8' ELSE 'thing 7' END WHERE id IN (7, 8)",
            {"missing": 2, "extra": 2, "keys": ['["7"]', '["8"]']},
        ),
        ("UPDATE public.things SET b = NULL WHERE id = 9", {"missing": 1, "extra": 1, "keys": ['["9"]']}),
    ],
)
def test_the_rows_that_differ_are_named_by_their_key(servers, form, change, wanted):
    for session in (servers["left"], servers["right"]):
        session.run(
            "DROP TABLE IF EXISTS public.things; CREATE TABLE public.things (id int PRIMARY KEY, a text, b int); "
            "INSERT INTO public.things SELECT n, 'thing ' || n, n % 3 FROM generate_series(1, 200) n"
        )
    tables = [tables_of(session)["things"] for session in (servers["left"], servers["right"])]
    assert len(set(map(str, digests(servers, "things", form)))) == 1
    servers["right"].run(change)
    assert len(set(map(str, digests(servers, "things", form)))) == 2
    both = [servers["left"], servers["right"]]
    buckets = proof.differing_buckets(*[session.rows(proof.buckets_sql(table, form)) for session, table in zip(both, tables)])
    assert buckets
    rows = [session.rows(proof.hashes_sql(table, form, buckets, True)) for session, table in zip(both, tables)]
    found = proof.differing_rows(*rows)
    assert found == wanted


@pytest.mark.parametrize("form", FORMS)
def test_duplicate_rows_are_counted_and_a_table_without_key_is_explained(servers, form):
    for session, values in ((servers["left"], "(1, 'x'), (1, 'x'), (2, 'y')"), (servers["right"], "(1, 'x'), (2, 'y'), (2, 'y')")):
        session.run("DROP TABLE IF EXISTS public.twice; CREATE TABLE public.twice (n int, t text); INSERT INTO public.twice VALUES %s" % values)
    found = digests(servers, "twice", form)
    assert found[0]["rows"] == found[1]["rows"] == 3 and found[0]["a"] != found[1]["a"]
    tables = [tables_of(session)["twice"] for session in (servers["left"], servers["right"])]
    both = [servers["left"], servers["right"]]
    buckets = proof.differing_buckets(*[session.rows(proof.buckets_sql(table, form)) for session, table in zip(both, tables)])
    rows = [session.rows(proof.hashes_sql(table, form, buckets, True)) for session, table in zip(both, tables)]
    assert proof.differing_rows(*rows) == {"missing": 1, "extra": 1, "keys": []}


@pytest.mark.parametrize("form", FORMS)
def test_values_do_not_run_into_the_next_column(servers, form):
    seen = set()
    for values in (
        "NULL, ''",
        "'', NULL",
        "NULL, NULL",
        "'', ''",
        "'a', ''",
        "'', 'a'",
        "'a,b', 'c'",
        "'a', 'b,c'",
        "'a', NULL",
        "NULL, 'a'",
        "'\"', '\"\"'",
        "'\"\"', '\"'",
    ):
        servers["left"].run("DROP TABLE IF EXISTS public.two; CREATE TABLE public.two (x text, y text); INSERT INTO public.two VALUES (%s)" % values)
        seen.add(str(servers["left"].row(proof.digest_sql(tables_of(servers["left"])["two"], form))))
    assert len(seen) == 12
    servers["left"].run("DROP TABLE public.two")


def test_a_table_without_columns_and_one_of_generated_columns_are_copied(servers):
    for session in (servers["left"], servers["right"]):
        session.run(
            "DROP TABLE IF EXISTS public.nothing, public.made; CREATE TABLE public.nothing (); CREATE TABLE public.made (x int GENERATED ALWAYS AS (7) STORED)"
        )
    servers["left"].run("INSERT INTO public.nothing DEFAULT VALUES; INSERT INTO public.nothing DEFAULT VALUES; INSERT INTO public.made DEFAULT VALUES")
    for name, count in (("nothing", 2), ("made", 1)):
        table = tables_of(servers["left"])[name]
        out = servers["source"].statements([text for text in plan.copy_out(table, "x") if text.startswith("COPY")])
        assert out.returncode == 0, out.stderr.decode()
        taken = servers["target"].statements(plan.copy_in(table), input=out.stdout)
        assert taken.returncode == 0, taken.stderr.decode()
        for form in FORMS:
            found = digests(servers, name, form)
            assert found[0] == found[1] and found[0]["rows"] == count


def test_rows_are_those_of_one_table_alone_and_what_has_rows_is_looked_at(servers):
    for session in (servers["left"], servers["right"]):
        session.run(
            "DROP TABLE IF EXISTS public.parent, public.ranged CASCADE; CREATE TABLE public.parent (a int); CREATE TABLE public.child (b int) INHERITS"
            " (public.parent); INSERT INTO public.parent VALUES (1); INSERT INTO public.child VALUES (1, 2); CREATE TABLE public.ranged (at int) PARTITION BY"
            " RANGE (at); CREATE TABLE public.ranged_1 PARTITION OF public.ranged FOR VALUES FROM (0) TO (10); INSERT INTO public.ranged VALUES (3); CREATE"
            " MATERIALIZED VIEW public.filled AS SELECT at FROM public.ranged; CREATE MATERIALIZED VIEW public.later AS SELECT at FROM public.ranged WITH NO"
            " DATA"
        )
    for form in FORMS:
        assert digests(servers, "parent", form)[0]["rows"] == 1
    names = {table["name"] for table in proof.tables_to_prove(catalog.read(servers["left"], qualified))}
    assert {"parent", "child", "ranged_1", "filled"} <= names and not {"ranged", "later"} & names
    servers["left"].run("DROP TABLE public.parent, public.ranged CASCADE")
    servers["right"].run("DROP TABLE public.parent, public.ranged CASCADE")


@pytest.mark.parametrize("form", FORMS)
def test_large_objects(servers, form):
    make = (
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; SELECT lo_create(4711); SELECT lo_create(4712); SELECT lo_put(4711, 0, '\\x%s'); SELECT"
        " lo_put(4712, 3000, '\\xfe')"
    )
    servers["left"].run(make % "0102")
    servers["right"].run(make % "0102")
    left, right = [session.row(proof.large_objects_sql(form)) for session in (servers["left"], servers["right"])]
    assert left == right and left["rows"] == 2
    for change in (
        "SELECT lo_put(4711, 1, '\\x03')",
        "SELECT lo_put(4711, 2, '\\x00')",
        "SELECT lo_create(4713)",
        "SELECT lo_unlink(4712); SELECT lo_create(4714)",
    ):
        servers["right"].run(make % "0102")
        servers["right"].run(change)
        assert servers["right"].row(proof.large_objects_sql(form)) != left, change
    # The contents of two, swapped.
    servers["right"].run(
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; SELECT lo_create(4712); SELECT lo_create(4711); SELECT lo_put(4712, 0, '\\x0102'); "
        "SELECT lo_put(4711, 3000, '\\xfe')"
    )
    assert servers["right"].row(proof.large_objects_sql(form)) != left
    for session in (servers["left"], servers["right"]):
        session.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def test_the_servers_own_settings_of_text_do_not_reach_the_rows(servers):
    kind, values = KINDS["composite"]
    fill(servers["left"], "of composite", [(number, typed(kind, value)) for number, value in enumerate(values)])
    table = tables_of(servers["left"])["of composite"]
    name = identifier(DATABASE)
    for server, style in ((servers["source"], "SQL, DMY"), (servers["target"], "SQL, MDY")):
        server.script(
            "ALTER DATABASE %s SET datestyle = %s; ALTER DATABASE %s SET timezone = 'Europe/Berlin'; ALTER DATABASE %s SET extra_float_digits = 0;"
            % (name, literal(style), name, name),
            "postgres",
        )
    try:
        with servers["source"].session() as holder:
            holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = holder.row("SELECT pg_export_snapshot() AS name")["name"]
            out = servers["source"].statements(plan.copy_out(table, snapshot))
        assert out.returncode == 0, out.stderr.decode()
        taken = servers["target"].statements(plan.copy_in(tables_of(servers["right"])["of composite"]), input=out.stdout)
        assert taken.returncode == 0, taken.stderr.decode()
    finally:
        for server in (servers["source"], servers["target"]):
            server.script("ALTER DATABASE %s RESET ALL" % name, "postgres")
    for form in FORMS:
        found = digests(servers, "of composite", form)
        assert found[0] == found[1]


def test_an_error_with_lines_does_not_stay_in_the_session(servers):
    with servers["source"].session() as session:
        with pytest.raises(SqlError) as error:
            session.run("SELECT E'a\\nb'::int")
        assert error.value.state == "22P02" and "invalid input syntax" in str(error.value)
        assert session.rows("SELECT 1 AS one") == [{"one": 1}] and session.run("SELECT 2") == ["2"]
        with pytest.raises(SqlError, match="division by zero"):
            session.run("SELECT 1/0; SELECT 2")
        assert session.run("SELECT 3") == ["3"]


def test_databases_roles_settings_and_positions_are_made_as_they_are(servers):
    source = servers["source"]
    source.script(
        'ALTER DATABASE %s SET search_path = public, "Odd ""name"" $1;--"; ALTER DATABASE %s SET "my.setting" = \'it\'\'s\'' % (DATABASE, DATABASE), "postgres"
    )
    source.script(
        "CREATE SEQUENCE public.at; SELECT setval('public.at', 9223372036854775806); CREATE SEQUENCE public.fresh START 7; "
        "DROP ROLE IF EXISTS p_owner, p_group; CREATE ROLE p_group NOLOGIN; CREATE ROLE p_owner LOGIN PASSWORD 'of-a-test' IN ROLE p_group; "
        "CREATE TABLE public.owned (a int); ALTER TABLE public.owned OWNER TO p_owner; GRANT SELECT ON public.owned TO p_group;"
    )
    try:
        with source.session() as session:
            found = catalog.read(session, qualified)
        assert {role["name"] for role in found["roles"]} >= {"p_owner", "p_group"}
        with servers["target"].session("postgres") as session:
            for statement in plan.create_database("proof_made", found["database"], "", "test, not proven") + plan.settings_sql(
                "proof_made", found["database"]["settings"]
            ):
                session.run(statement)
            existing = [row["name"] for row in session.rows("SELECT rolname AS name FROM pg_roles")]
            for statement in plan.roles_sql(found["roles"], existing, {"p_owner": "postgres"}):
                session.run(statement)
        with servers["target"].session("proof_made") as session:
            made = session.row(catalog.DATABASE)
            assert {key: made[key] for key in ("encoding", "collate", "ctype", "provider", "settings")} == {
                key: found["database"][key] for key in ("encoding", "collate", "ctype", "provider", "settings")
            }
            assert plan.is_marked(made["comment"], "test, not proven") and catalog.is_empty(catalog.read(session, qualified))
            roles = {
                row["name"]: row
                for row in session.rows(
                    "SELECT rolname AS name, rolcanlogin AS can_login, (SELECT rolpassword FROM pg_authid a WHERE a.oid = r.oid) AS password FROM pg_roles r"
                )
            }
            assert not roles["p_owner"]["can_login"] and roles["p_owner"]["password"] is None
            session.run(
                "CREATE SEQUENCE public.at; CREATE SEQUENCE public.fresh START 7; CREATE TABLE public.owned (a int); ALTER TABLE public.owned OWNER TO p_owner"
            )
            for statement in plan.sequences_sql(found) + plan.ownership_sql(found["roles"], {"p_owner": "postgres"}):
                session.run(statement)
            after = catalog.read(session, qualified)
            assert [(entry["name"], entry["last_value"], entry["is_called"]) for entry in after["sequences"]] == [
                ("at", 9223372036854775806, True),
                ("fresh", 7, False),
            ]
            assert [table["owner"] for table in after["tables"]] == ["postgres"]
    finally:
        servers["target"].script("DROP DATABASE IF EXISTS proof_made; DROP ROLE IF EXISTS p_owner, p_group", "postgres")
        source.script("DROP TABLE public.owned; DROP SEQUENCE public.at, public.fresh; DROP ROLE p_owner, p_group; ALTER DATABASE %s RESET ALL" % DATABASE)


def test_two_catalogs_that_were_made_alike_do_not_differ(servers):
    found = [catalog.read(session, qualified) for session in (servers["left"], servers["right"])]
    assert len(found[0]["tables"]) >= len(KINDS) and len(found[0]["types"]) > 5
    assert proof.differences_of_structure(*found) == []
    servers["right"].run('ALTER TABLE public."of text" ALTER v SET DEFAULT \'x\'; CREATE INDEX more ON public."of text" (id)')
    changed = catalog.read(servers["right"], qualified)
    servers["right"].run('ALTER TABLE public."of text" ALTER v DROP DEFAULT; DROP INDEX public.more')
    assert proof.differences_of_structure(found[0], changed) == [
        "the index public.more is in the target only",
        "the column v of the table public.of text differs in default: None there, 'x'::text here",
    ]
