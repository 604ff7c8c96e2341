# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from two catalogs: what stands against a migration, what will be otherwise after it, and the statements that it takes. Pure."""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import proof
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import NEUTRAL, identifier, literal, qualified

OLDEST = 110000  # hashtextextended() and friends (proof.py) came with 11
MARK = "dockyard.fleet migration"
# Indexes, the write-ahead log and what a rewrite leaves, beyond the bytes of the source; an allowance, not a measurement.
ROOM_FACTOR = 1.3
ROOM_BYTES = 512 * 1024 * 1024
_ALWAYS_THERE = frozenset(["c", "posix", "c.utf8"])


def major(version):
    """The major version of a server_version_num: 150017 -> 15."""
    return version // 10000


def locale_key(name):
    """A locale's name in the spelling of ``locale -a``: ``en_GB.UTF-8`` -> ``en_gb.utf8``."""
    language, dot, encoding = name.lower().partition(".")
    return language + dot + encoding.replace("-", "")


def locale_problem(database, available):
    """Why a database of these locales can't be made where only some are ``available`` (names of ``locale -a``); None when it can."""
    if database["provider"] not in (None, "c"):
        return None
    known = _ALWAYS_THERE | set(locale_key(name) for name in available)
    missing = sorted(set(name for name in (database["collate"], database["ctype"]) if locale_key(name) not in known))
    if not missing:
        return None
    return (
        "the database's locale %s, which the image of the target does not have; needed one of %s; set migration_locale to one of them (text is sorted by it"
        " from then on)" % (", ".join(missing), ", ".join(sorted(available)) or "C")
    )


def problems(source, image, strategy, locale=""):
    """What stands against it, before anything is changed.

    :arg source: of catalog.read(). :arg image: ``{version, extensions: [names], locales: [names]}`` of the target's image, or None when it is not known yet.
    :returns: list of str, each says what was found, what is needed and what to do.
    """
    found = []
    server = source["server"]
    if server["version"] < OLDEST:
        found.append("PostgreSQL %s; needed 11 or newer; bring the native server to a newer version first" % server["version_text"])
    if image and major(server["version"]) > major(image["version"]):
        found.append(
            "PostgreSQL %d, newer than the target's %d, which can't read it; needed the same or a newer one there; give the stack a newer image"
            % (major(server["version"]), major(image["version"]))
        )
    missing = sorted(entry["name"] for entry in source["extensions"] if image and entry["name"] not in image["extensions"])
    if missing:
        found.append(
            "the extension%s %s, which the target's image does not have; needed an image with %s (or, where nothing uses %s: DROP EXTENSION on the native"
            " server)" % ("s" if len(missing) > 1 else "", ", ".join(missing), "them" if len(missing) > 1 else "it", "them" if len(missing) > 1 else "it")
        )
    if image and not locale:
        problem = locale_problem(source["database"], image["locales"])
        if problem:
            found.append(problem)
    if not server["superuser"]:
        found.append(
            "the user %s, who is no superuser there and may not see everything; needed one who is; set source.user (peer authentication: postgres)"
            % server["user"]
        )
    if strategy == "copy":
        keepers = sorted(entry["name"] for entry in source["extensions"] if entry["keeps_data"])
        if keepers:
            found.append("the extension %s, which keeps data of its own that strategy copy does not see; set strategy: dump" % ", ".join(keepers))
    foreign = sorted("%s.%s" % (table["schema"], table["name"]) for table in source["tables"] if table["kind"] == "f")
    if foreign:
        found.append(
            "the foreign table%s %s, whose rows are on another server that containers may not reach; drop %s on the native server, or move it by hand"
            % ("s" if len(foreign) > 1 else "", ", ".join(foreign), "them" if len(foreign) > 1 else "it")
        )
    return found


def notes(source, role_map, superuser):
    """What will be otherwise in the target, one sentence each, for the survey."""
    found = []
    for role in source["roles"]:
        name = role["name"]
        # One that has a successor is told by the stack itself.
        if name in role_map or name == superuser:
            continue
        changes = []
        if role["can_login"]:
            changes.append("can't log in (its password is not carried over; ALTER ROLE %s LOGIN PASSWORD ... where it is needed)" % identifier(name))
        if role["superuser"]:
            changes.append("is no superuser")
        if changes:
            found.append("the role %s, which owns or may use something here, is made in the target but %s" % (name, " and ".join(changes)))
    for entry in source["not_carried"]:
        found.append(
            {
                "foreign server": "the foreign server %s is made there too, and may not be reachable from a container",
                "publication": "the publication %s is not carried over",
                "subscription": "the subscription %s is not carried over",
                "event trigger": "the event trigger %s is carried over",
                "tablespace": "the tablespace %s is not carried over; all is in the volume",
            }[entry["kind"]]
            % entry["name"]
        )
    for entry in source["indexes"]:
        if not entry["valid"]:
            found.append(
                "the index %s.%s is invalid here (an interrupted CREATE INDEX CONCURRENTLY) and will be valid there; the proof will say so"
                % (entry["schema"], entry["name"])
            )
    for table in source["tables"]:
        if table["persistence"] == "u":
            found.append("the table %s.%s is unlogged: a crash empties it, here as there" % (table["schema"], table["name"]))
    without = sorted(
        "%s.%s" % (table["schema"], table["name"]) for table in source["tables"] if table["kind"] == "r" and not table["key"] and table["identity"] in "dn"
    )
    if without:
        found.append("no replica identity (primary key): %s; logical replication can't carry updates of them" % ", ".join(without))
    return found


def tables_to_copy(source):
    """Tables with rows of their own, the largest first, so that the last worker does not begin with it."""
    return sorted((table for table in source["tables"] if table["kind"] == "r"), key=lambda table: (-table["bytes"], table["schema"], table["name"]))


def copy_columns(table):
    """Quoted names of the columns that COPY carries: generated ones are computed anew."""
    return [identifier(column["name"]) for column in table["columns"] or [] if not column["generated"]]


def copy_format(table):
    """``binary``, or ``text`` where a column's binary form holds numbers of the server's own catalog (an array of an enum: its OID)."""
    return "text" if any(proof.by_text(column) for column in table["columns"] or [] if not column["generated"]) else "binary"


def copy_out(table, snapshot):
    """Statements for the source, which print the rows. One each for a ``-c`` of psql."""
    name = qualified(table["schema"], table["name"])
    columns = copy_columns(table)
    what = "%s (%s)" % (name, ", ".join(columns)) if columns else "(SELECT FROM ONLY %s)" % name
    return [
        NEUTRAL,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET TRANSACTION SNAPSHOT %s" % literal(snapshot),
        "COPY %s TO STDOUT (FORMAT %s)" % (what, copy_format(table)),
        "COMMIT",
    ]


def copy_in(table):
    """Statements for the target, which read the rows. FREEZE wants the table emptied in the same transaction; its rows then need no later rewrite."""
    name = qualified(table["schema"], table["name"])
    columns = copy_columns(table)
    what = "%s (%s)" % (name, ", ".join(columns)) if columns else name
    return [NEUTRAL, "BEGIN", "TRUNCATE ONLY %s" % name, "COPY %s FROM STDIN (FORMAT %s, FREEZE)" % (what, copy_format(table)), "COMMIT"]


def lock_sql(source):
    """A lock on every table against changes of its structure, as pg_dump takes it. Views have none."""
    names = [qualified(table["schema"], table["name"]) for table in source["tables"] if table["kind"] in ("r", "p")]
    return "LOCK TABLE %s IN ACCESS SHARE MODE" % ", ".join(names) if names else ""


def create_database(name, database, locale="", note=""):
    """Statements that make an empty database like the source's, marked as a migration's own. :arg database: of catalog.DATABASE."""
    words = ["CREATE DATABASE %s TEMPLATE template0 ENCODING %s" % (identifier(name), literal(database["encoding"]))]
    if locale:
        words.append("LOCALE %s" % literal(locale))
    else:
        words.append("LC_COLLATE %s LC_CTYPE %s" % (literal(database["collate"]), literal(database["ctype"])))
        if database["provider"] == "i":
            words.append("LOCALE_PROVIDER icu ICU_LOCALE %s" % literal(database["locale"]))
        elif database["provider"] == "b":
            words.append("LOCALE_PROVIDER builtin BUILTIN_LOCALE %s" % literal(database["locale"]))
    return [" ".join(words), mark_sql(name, note)]


def mark_sql(name, note):
    """The comment by which a later run knows the database as its own."""
    return "COMMENT ON DATABASE %s IS %s" % (identifier(name), literal("%s %s" % (MARK, note)))


def is_marked(comment, note):
    """Whether a comment (str or None) is that of the migration ``note``."""
    return (comment or "").startswith("%s %s" % (MARK, note))


def settings_sql(name, settings):
    """``ALTER DATABASE ... SET`` for the settings of the source's database (``key=value``, as pg_db_role_setting has them)."""
    statements = []
    for entry in settings:
        key, unused, value = entry.partition("=")
        # Lists (search_path) are kept as they are to be written; see pg_dump's variable_is_guc_list_quote().
        shown = value if key in ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries") else literal(value)
        statements.append("ALTER DATABASE %s SET %s TO %s" % (identifier(name), identifier(key), shown or "''"))
    return statements


def roles_sql(roles, existing, role_map):
    """Statements that make the roles which objects here belong to or are granted to. No password and no right to log in is carried over.

    :arg existing: names of the target's roles. :arg role_map: dict of source's name to target's.
    """
    statements = []
    for role in roles:
        if role["name"] not in existing:
            statements.append(
                "CREATE ROLE %s NOLOGIN %s %s"
                % (identifier(role["name"]), "INHERIT" if role["inherits"] else "NOINHERIT", "BYPASSRLS" if role["bypasses_rls"] else "NOBYPASSRLS")
            )
    known = set(existing) | set(role["name"] for role in roles)
    for role in roles:
        for group in role["member_of"]:
            if group in known and role["name"] not in existing:
                statements.append("GRANT %s TO %s" % (identifier(group), identifier(role["name"])))
    for name, successor in sorted(role_map.items()):
        if name != successor and name in known:
            # What was granted to it stays so; its successor has it by membership.
            statements.append("GRANT %s TO %s" % (identifier(name), identifier(successor)))
    return statements


def ownership_sql(roles, role_map):
    """Statements, after the restore, that give what a mapped role owns to its successor."""
    names = set(role["name"] for role in roles)
    return [
        "REASSIGN OWNED BY %s TO %s" % (identifier(name), identifier(successor))
        for name, successor in sorted(role_map.items())
        if name in names and name != successor
    ]


def sequences_sql(source):
    """``setval`` for each sequence: where it stands, and whether that number was given out."""
    return [
        "SELECT setval(%s, %d, %s)" % (literal(qualified(entry["schema"], entry["name"])), entry["last_value"], "true" if entry["is_called"] else "false")
        for entry in source["sequences"]
    ]


def room_needed(source, strategy):
    """Bytes that the target needs. :returns: int"""
    size = source["database"]["bytes"]
    spool = size if strategy == "dump" else 0
    return int(size * ROOM_FACTOR) + ROOM_BYTES + spool


def choose(strategy, source):
    """The strategy that ``auto`` stands for: ``copy``, but ``dump`` where an extension keeps data of its own."""
    if strategy != "auto":
        return strategy
    return "dump" if any(entry["keeps_data"] for entry in source["extensions"]) else "copy"
