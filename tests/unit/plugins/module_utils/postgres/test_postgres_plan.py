# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import plan
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import NEUTRAL


def column(name, **more):
    return dict({"name": name, "generated": False, "base": 23, "base_kind": "b", "is_array": False, "element": 0, "send": "pg_catalog.int4send"}, **more)


def table(name="t", **more):
    return dict(
        {
            "schema": "public",
            "name": name,
            "kind": "r",
            "columns": [column("id")],
            "key": ["id"],
            "identity": "d",
            "persistence": "p",
            "bytes": 8192,
            "rows_estimate": 1,
        },
        **more,
    )


def role(name, **more):
    return dict({"name": name, "superuser": False, "can_login": True, "inherits": True, "bypasses_rls": False, "owns": True, "member_of": []}, **more)


def source(**more):
    found = {
        "server": {"version": 150017, "version_text": "15.17", "superuser": True, "user": "postgres"},
        "database": {"encoding": "UTF8", "collate": "en_GB.UTF-8", "ctype": "en_GB.UTF-8", "provider": "c", "locale": None, "bytes": 1000, "settings": []},
        "tables": [table()],
        "extensions": [{"name": "plpgsql", "keeps_data": False}],
        "roles": [],
        "indexes": [],
        "not_carried": [],
        "sequences": [],
    }
    found.update(copy.deepcopy(more))
    return found


IMAGE = {"version": 170006, "extensions": ["plpgsql", "vector"], "locales": ["C", "POSIX", "en_GB.utf8", "en_US.utf8"]}


@pytest.mark.parametrize("version, wanted", [(150017, 15), (110000, 11), (90624, 9), (170006, 17)])
def test_major(version, wanted):
    assert plan.major(version) == wanted


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("en_GB.UTF-8", "en_gb.utf8"),
        ("en_GB.utf8", "en_gb.utf8"),
        ("C", "c"),
        ("C.UTF-8", "c.utf8"),
        ("de_DE.ISO-8859-1", "de_de.iso88591"),
        ("ca_ES@valencia", "ca_es@valencia"),
        ("sr-Latn", "sr-latn"),
    ],
)
def test_locales_are_compared_in_one_spelling(name, wanted):
    assert plan.locale_key(name) == wanted


@pytest.mark.parametrize(
    "collate, ctype, provider, available, missing",
    [
        ("en_GB.UTF-8", "en_GB.UTF-8", "c", ["en_GB.utf8"], None),
        ("en_GB.UTF-8", "de_DE.UTF-8", "c", ["en_GB.utf8"], "de_DE.UTF-8"),
        ("C", "POSIX", "c", [], None),
        ("C.UTF-8", "C.UTF-8", None, [], None),
        ("en_GB.UTF-8", "de_DE.UTF-8", None, ["C"], "de_DE.UTF-8, en_GB.UTF-8"),
        ("xx", "xx", "i", [], None),
        ("xx", "xx", "b", [], None),
        ("en_GB", "en_GB", "c", ["en_GB.utf8"], "en_GB"),
        ("en_GB", "C", "c", [], "en_GB"),
    ],
)
def test_a_locale_that_the_image_has_not(collate, ctype, provider, available, missing):
    found = plan.locale_problem({"collate": collate, "ctype": ctype, "provider": provider}, available)
    if missing is None:
        assert found is None
    else:
        assert (
            found
            == "the database's locale %s, which the image of the target does not have; needed one of %s; set migration_locale to one of them (text is sorted by"
            " it from then on)" % (missing, ", ".join(available) or "C")
        )


@pytest.mark.parametrize(
    "more, strategy, image, wanted",
    [
        ({}, "copy", IMAGE, []),
        ({}, "dump", None, []),
        (
            {"server": {"version": 100023, "version_text": "10.23", "superuser": True, "user": "postgres"}},
            "copy",
            None,
            ["PostgreSQL 10.23; needed 11 or newer; bring the native server to a newer version first"],
        ),
        ({"server": {"version": 110000, "version_text": "11.0", "superuser": True, "user": "postgres"}}, "copy", IMAGE, []),
        (
            {"server": {"version": 180001, "version_text": "18.1", "superuser": True, "user": "postgres"}},
            "copy",
            IMAGE,
            ["PostgreSQL 18, newer than the target's 17, which can't read it; needed the same or a newer one there; give the stack a newer image"],
        ),
        ({"server": {"version": 180001, "version_text": "18.1", "superuser": True, "user": "postgres"}}, "copy", None, []),
        # A newer minor version is none.
        ({"server": {"version": 170099, "version_text": "17.99", "superuser": True, "user": "postgres"}}, "copy", IMAGE, []),
        (
            {"extensions": [{"name": "postgis", "keeps_data": False}]},
            "copy",
            IMAGE,
            [
                "the extension postgis, which the target's image does not have; needed an image with it (or, where nothing uses it: DROP EXTENSION on the"
                " native server)"
            ],
        ),
        (
            {"extensions": [{"name": "postgis", "keeps_data": False}, {"name": "cube", "keeps_data": False}, {"name": "vector", "keeps_data": False}]},
            "copy",
            IMAGE,
            [
                "the extensions cube, postgis, which the target's image does not have; needed an image with them (or, where nothing uses them: DROP EXTENSION"
                " on the native server)"
            ],
        ),
        ({"extensions": [{"name": "postgis", "keeps_data": False}]}, "copy", None, []),
        (
            {"server": {"version": 150017, "version_text": "15.17", "superuser": False, "user": "app"}},
            "copy",
            IMAGE,
            ["the user app, who is no superuser there and may not see everything; needed one who is; set source.user (peer authentication: postgres)"],
        ),
        (
            {"extensions": [{"name": "vector", "keeps_data": True}]},
            "copy",
            IMAGE,
            ["the extension vector, which keeps data of its own that strategy copy does not see; set strategy: dump"],
        ),
        ({"extensions": [{"name": "vector", "keeps_data": True}]}, "dump", IMAGE, []),
        (
            {"tables": [table("f", kind="f")]},
            "copy",
            IMAGE,
            ["the foreign table public.f, whose rows are on another server that containers may not reach; drop it on the native server, or move it by hand"],
        ),
        (
            {"tables": [table("g", kind="f"), table("f", kind="f"), table()]},
            "dump",
            IMAGE,
            [
                "the foreign tables public.f, public.g, whose rows are on another server that containers may not reach; drop them on the native server, or move"
                " it by hand"
            ],
        ),
    ],
)
def test_what_stands_against_it(more, strategy, image, wanted):
    assert plan.problems(source(**more), image, strategy) == wanted


def test_the_locale_stands_against_it_unless_another_is_given():
    less = dict(IMAGE, locales=["C"])
    assert [text[:22] for text in plan.problems(source(), less, "copy")] == ["the database's locale "]
    assert plan.problems(source(), less, "copy", "C") == []


@pytest.mark.parametrize(
    "more, role_map, wanted",
    [
        ({}, {}, []),
        (
            {"roles": [role("app")]},
            {},
            [
                "the role app, which owns or may use something here, is made in the target but can't log in (its password is not carried over; "
                'ALTER ROLE "app" LOGIN PASSWORD ... where it is needed)'
            ],
        ),
        ({"roles": [role("app")]}, {"app": "inventory"}, []),
        ({"roles": [role("inventory")]}, {}, []),
        (
            {"roles": [role("boss", can_login=False, superuser=True)]},
            {},
            ["the role boss, which owns or may use something here, is made in the target but is no superuser"],
        ),
        ({"roles": [role("group", can_login=False)]}, {}, []),
        ({"not_carried": [{"kind": "foreign server", "name": "x"}]}, {}, ["the foreign server x is made there too, and may not be reachable from a container"]),
        ({"not_carried": [{"kind": "publication", "name": "x"}]}, {}, ["the publication x is not carried over"]),
        ({"not_carried": [{"kind": "subscription", "name": "x"}]}, {}, ["the subscription x is not carried over"]),
        ({"not_carried": [{"kind": "event trigger", "name": "x"}]}, {}, ["the event trigger x is carried over"]),
        ({"not_carried": [{"kind": "tablespace", "name": "x"}]}, {}, ["the tablespace x is not carried over; all is in the volume"]),
        (
            {"indexes": [{"schema": "public", "name": "i", "valid": False}, {"schema": "public", "name": "j", "valid": True}]},
            {},
            ["the index public.i is invalid here (an interrupted CREATE INDEX CONCURRENTLY) and will be valid there; the proof will say so"],
        ),
        ({"tables": [table(persistence="u")]}, {}, ["the table public.t is unlogged: a crash empties it, here as there"]),
        ({"tables": [table(key=None)]}, {}, ["no replica identity (primary key): public.t; logical replication can't carry updates of them"]),
        (
            {"tables": [table(key=None, identity="n"), table("s", key=[])]},
            {},
            ["no replica identity (primary key): public.s, public.t; logical replication can't carry updates of them"],
        ),
        ({"tables": [table(key=None, identity="f"), table("s", key=None, identity="i"), table("p", key=None, kind="p")]}, {}, []),
    ],
)
def test_what_will_be_otherwise(more, role_map, wanted):
    assert plan.notes(source(**more), role_map, "inventory") == wanted


def test_the_largest_table_is_copied_first_and_only_what_has_rows():
    tables = [table("a", bytes=1), table("b", bytes=9), table("c", bytes=9), table("v", kind="v"), table("m", kind="m", bytes=99), table("p", kind="p")]
    assert [entry["name"] for entry in plan.tables_to_copy({"tables": tables})] == ["b", "c", "a"]


@pytest.mark.parametrize(
    "columns, wanted",
    [
        ([column("a")], "binary"),
        ([], "binary"),
        (None, "binary"),
        ([column("a"), column("e", base=20000, is_array=True, element=20001, send="pg_catalog.array_send")], "text"),
        ([column("a", base=2205, send="pg_catalog.regclasssend")], "text"),
        ([column("c", base=20000, base_kind="c")], "text"),
        ([column("n", send=None)], "text"),
        # One that is not carried has no say.
        ([column("a"), column("c", base_kind="c", generated=True)], "binary"),
    ],
)
def test_the_format_of_copy(columns, wanted):
    assert plan.copy_format(table(columns=columns)) == wanted


def test_the_statements_of_copy():
    entry = table('a"b', columns=[column("id"), column("x y"), column("made", generated=True)])
    assert plan.copy_out(entry, "000-1") == [
        NEUTRAL,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET TRANSACTION SNAPSHOT '000-1'",
        'COPY "public"."a""b" ("id", "x y") TO STDOUT (FORMAT binary)',
        "COMMIT",
    ]
    assert plan.copy_in(entry) == [
        NEUTRAL,
        "BEGIN",
        'TRUNCATE ONLY "public"."a""b"',
        'COPY "public"."a""b" ("id", "x y") FROM STDIN (FORMAT binary, FREEZE)',
        "COMMIT",
    ]
    for columns in ([], None, [column("made", generated=True)]):
        bare = table(columns=columns)
        assert plan.copy_out(bare, "x")[3] == 'COPY (SELECT FROM ONLY "public"."t") TO STDOUT (FORMAT binary)'
        assert plan.copy_in(bare)[3] == 'COPY "public"."t" FROM STDIN (FORMAT binary, FREEZE)'
    # Whatever the servers' own settings, and however long it takes.
    for wanted in (
        "datestyle = 'ISO, YMD'",
        "intervalstyle = 'postgres'",
        "extra_float_digits = 3",
        "statement_timeout = 0",
        "lock_timeout = 0",
        "idle_in_transaction_session_timeout = 0",
    ):
        assert "SET " + wanted in NEUTRAL


def test_locks():
    tables = [table("a"), table("p", kind="p"), table("v", kind="v"), table("m", kind="m")]
    assert plan.lock_sql({"tables": tables}) == 'LOCK TABLE "public"."a", "public"."p" IN ACCESS SHARE MODE'
    assert plan.lock_sql({"tables": tables[2:]}) == ""


@pytest.mark.parametrize(
    "database, locale, wanted",
    [
        ({}, "", "LC_COLLATE 'en_GB.UTF-8' LC_CTYPE 'en_GB.UTF-8'"),
        ({"provider": None}, "", "LC_COLLATE 'en_GB.UTF-8' LC_CTYPE 'en_GB.UTF-8'"),
        ({}, "C", "LOCALE 'C'"),
        ({"provider": "i", "locale": "de"}, "", "LC_COLLATE 'en_GB.UTF-8' LC_CTYPE 'en_GB.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'de'"),
        ({"provider": "b", "locale": "C.UTF-8"}, "", "LC_COLLATE 'en_GB.UTF-8' LC_CTYPE 'en_GB.UTF-8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        ({"provider": "i", "locale": "de"}, "C", "LOCALE 'C'"),
    ],
)
def test_a_database_is_made_like_the_sources_and_marked(database, locale, wanted):
    made, marked = plan.create_database('d"b', dict(source()["database"], **database), locale, "native, not proven")
    assert made == 'CREATE DATABASE "d""b" TEMPLATE template0 ENCODING \'UTF8\' ' + wanted
    assert marked == 'COMMENT ON DATABASE "d""b" IS \'dockyard.fleet migration native, not proven\''


@pytest.mark.parametrize(
    "comment, wanted",
    [
        ("dockyard.fleet migration native, not proven", True),
        ("dockyard.fleet migration native, not proven, proven at 2026-01-01T00:00:00Z", True),
        (None, False),
        ("", False),
        ("household", False),
        ("dockyard.fleet migration other, not proven", False),
        ("x dockyard.fleet migration native, not proven", False),
    ],
)
def test_the_mark_is_known_again(comment, wanted):
    assert plan.is_marked(comment, "native, not proven") is wanted


def test_settings_of_a_database():
    assert plan.settings_sql("db", ["TimeZone=Europe/Berlin", 'search_path="$user", public', "my.setting=a=b'c", "search_path=", "application_name="]) == [
        'ALTER DATABASE "db" SET "TimeZone" TO \'Europe/Berlin\'',
        'ALTER DATABASE "db" SET "search_path" TO "$user", public',
        "ALTER DATABASE \"db\" SET \"my.setting\" TO 'a=b''c'",
        'ALTER DATABASE "db" SET "search_path" TO \'\'',
        'ALTER DATABASE "db" SET "application_name" TO \'\'',
    ]
    assert plan.settings_sql("db", []) == []


@pytest.mark.parametrize(
    "roles, existing, role_map, wanted",
    [
        ([], ["postgres"], {}, []),
        ([role("app")], ["app"], {}, []),
        ([role("app")], [], {}, ['CREATE ROLE "app" NOLOGIN INHERIT NOBYPASSRLS']),
        ([role("app", inherits=False, bypasses_rls=True, superuser=True)], [], {}, ['CREATE ROLE "app" NOLOGIN NOINHERIT BYPASSRLS']),
        (
            [role("app", member_of=["group", "elsewhere"]), role("group")],
            [],
            {},
            ['CREATE ROLE "app" NOLOGIN INHERIT NOBYPASSRLS', 'CREATE ROLE "group" NOLOGIN INHERIT NOBYPASSRLS', 'GRANT "group" TO "app"'],
        ),
        # Nobody who is there gets more than he has.
        ([role("app", member_of=["group"]), role("group")], ["app"], {}, ['CREATE ROLE "group" NOLOGIN INHERIT NOBYPASSRLS']),
        ([role("thingdb")], ["inventory"], {"thingdb": "inventory"}, ['CREATE ROLE "thingdb" NOLOGIN INHERIT NOBYPASSRLS', 'GRANT "thingdb" TO "inventory"']),
        ([role("app")], ["app"], {"app": "app"}, []),
        ([role("app")], ["app"], {"gone": "app"}, []),
    ],
)
def test_roles(roles, existing, role_map, wanted):
    assert plan.roles_sql(roles, existing, role_map) == wanted


def test_no_role_gets_a_password_or_may_log_in():
    for statement in plan.roles_sql([role("a", superuser=True), role("b", member_of=["a"])], [], {"a": "b"}):
        assert "PASSWORD" not in statement and " LOGIN" not in statement and " SUPERUSER" not in statement


@pytest.mark.parametrize(
    "role_map, wanted",
    [({}, []), ({"thingdb": "inventory"}, ['REASSIGN OWNED BY "thingdb" TO "inventory"']), ({"thingdb": "thingdb"}, []), ({"gone": "inventory"}, [])],
)
def test_owners(role_map, wanted):
    assert plan.ownership_sql([role("thingdb"), role("other")], role_map) == wanted


def test_sequences_go_where_they_stand():
    entries = [
        {"schema": "public", "name": "it's", "last_value": 9223372036854775806, "is_called": True},
        {"schema": "s", "name": "n", "last_value": -5, "is_called": False},
    ]
    assert plan.sequences_sql({"sequences": entries}) == [
        "SELECT setval('\"public\".\"it''s\"', 9223372036854775806, true)",
        'SELECT setval(\'"s"."n"\', -5, false)',
    ]


def test_room():
    entry = source(database={"bytes": 1000**3})
    assert plan.room_needed(entry, "copy") == 1300000000 + 512 * 1024 * 1024
    assert plan.room_needed(entry, "dump") == plan.room_needed(entry, "copy") + 1000**3


@pytest.mark.parametrize("strategy, keeps, wanted", [("auto", False, "copy"), ("auto", True, "dump"), ("copy", True, "copy"), ("dump", False, "dump")])
def test_the_strategy(strategy, keeps, wanted):
    assert plan.choose(strategy, source(extensions=[{"name": "a", "keeps_data": False}, {"name": "b", "keeps_data": keeps}])) == wanted
