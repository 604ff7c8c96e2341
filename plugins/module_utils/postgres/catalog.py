# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database holds, asked of PostgreSQL's own catalogs (manual, chapter 53), in a form that two servers can be compared by.

Objects that belong to an extension are not among it: CREATE EXTENSION makes them.
"""

from __future__ import annotations

# Schemas of the server itself and of a session's temporary objects.
_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_NOT_OF_EXTENSION = "NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = '%s'::regclass AND e.objid = %s AND e.deptype = 'e')"

SERVER = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text, current_setting('wal_level') AS wal_level,
       current_setting('max_connections')::int AS max_connections, pg_is_in_recovery() AS in_recovery, current_user AS "user",
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, current_setting('data_checksums') AS data_checksums,
       current_setting('max_replication_slots')::int AS max_replication_slots, current_setting('max_wal_senders')::int AS max_wal_senders
"""

# datlocprovider came with 15, daticulocale was renamed in 17; row_to_json() shows what there is.
DATABASE = """
SELECT pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS "collate", d.datctype AS ctype, to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale, pg_database_size(d.oid) AS bytes, pg_get_userbyid(d.datdba) AS owner,
       shobj_description(d.oid, 'pg_database') AS comment,
       (SELECT coalesce(json_agg(s ORDER BY s), '[]') FROM pg_db_role_setting r, unnest(r.setconfig) s
        WHERE r.setdatabase = d.oid AND r.setrole = 0) AS settings
FROM pg_database d WHERE d.datname = current_database()
"""

TABLES = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence AS persistence, pg_get_userbyid(c.relowner) AS owner,
       c.relispartition AS is_partition,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END AS bytes, greatest(c.reltuples, 0)::bigint AS rows_estimate,
       c.relreplident AS identity,
       (SELECT json_agg(a.attname ORDER BY k.place) FROM pg_constraint p, unnest(p.conkey) WITH ORDINALITY k(number, place), pg_attribute a
        WHERE p.conrelid = c.oid AND p.contype = 'p' AND a.attrelid = c.oid AND a.attnum = k.number) AS key, c.relispopulated AS is_filled,
       (SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
               'generated', a.attgenerated <> '',
               'identity', a.attidentity, 'default', pg_get_expr(f.adbin, f.adrelid), 'kind', t.typtype, 'base', b.oid::bigint, 'base_kind', b.typtype,
               -- With -1, character and bit are those without a length, not those of length 1.
               'base_type', format_type(b.oid, -1),
               'element', b.typelem::bigint, 'is_array', b.typcategory = 'A',
               'send', CASE WHEN p.oid IS NULL THEN NULL ELSE quote_ident(pn.nspname) || '.' || quote_ident(p.proname) END,
               'deterministic', coalesce((to_jsonb(l) ->> 'collisdeterministic')::bool, true)) ORDER BY a.attnum)
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        JOIN LATERAL (WITH RECURSIVE d AS (SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory, t.typsend
                                          UNION ALL SELECT u.oid, u.typtype, u.typbasetype, u.typelem, u.typcategory, u.typsend
                                                    FROM d JOIN pg_type u ON u.oid = d.typbasetype)
                      SELECT * FROM d WHERE typbasetype = 0) b ON true
        LEFT JOIN pg_proc p ON p.oid = b.typsend
        LEFT JOIN pg_namespace pn ON pn.oid = p.pronamespace
        LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v') AND c.relpersistence <> 't' AND """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_class", "c.oid") + """
ORDER BY 1, 2
"""

SEQUENCES = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_class", "c.oid") + """
ORDER BY 1, 2
"""

CONSTRAINTS = """
SELECT n.nspname AS schema, coalesce(c.relname, t.typname) AS "on", k.conname AS name, k.contype AS kind, k.convalidated AS validated,
       pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
-- NOT NULL became a constraint of its own in version 18; the columns tell it.
WHERE k.contype <> 'n' AND """ + _SYSTEM + " AND (c.oid IS NULL OR " + _NOT_OF_EXTENSION % ("pg_class", "c.oid") + """)
ORDER BY 1, 2, 3
"""

INDEXES = """
SELECT n.nspname AS schema, i.relname AS name, x.indisvalid AS valid, pg_get_indexdef(x.indexrelid) AS definition
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_class", "c.oid") + """
ORDER BY 1, 2
"""

TRIGGERS = """
SELECT n.nspname AS schema, c.relname AS "on", t.tgname AS name, t.tgenabled AS enabled, pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_class", "c.oid") + """
ORDER BY 1, 2, 3
"""

FUNCTIONS = """
SELECT n.nspname AS schema, p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments, md5(coalesce(p.prosrc, '')) AS body,
       pg_get_userbyid(p.proowner) AS owner,
       p.prosecdef AS security_definer, l.lanname AS language
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_proc", "p.oid") + """
ORDER BY 1, 2, 3
"""

TYPES = """
SELECT n.nspname AS schema, t.typname AS name, t.typtype AS kind,
       (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r') AND """ + _SYSTEM + " AND " + _NOT_OF_EXTENSION % ("pg_type", "t.oid") + """
ORDER BY 1, 2
"""

EXTENSIONS = """
SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema, e.extconfig IS NOT NULL AS keeps_data
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
"""

LARGE_OBJECTS = "SELECT count(*) AS count FROM pg_largeobject_metadata"
LARGE_OBJECT_BYTES = "SELECT pg_table_size('pg_largeobject') AS bytes"

# Whoever owns something here, or is granted something here: pg_shdepend has both (manual, section 53.47).
ROLES = """
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolcanlogin AS can_login, r.rolinherit AS inherits, r.rolbypassrls AS bypasses_rls,
       bool_or(d.deptype = 'o') AS owns,
       (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]')
        FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) AS member_of
FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND r.rolname !~ '^pg_'
GROUP BY r.oid, r.rolname, r.rolsuper, r.rolcanlogin, r.rolinherit, r.rolbypassrls
ORDER BY 1
"""

NOT_CARRIED = """
SELECT 'foreign server' AS kind, srvname::text AS name FROM pg_foreign_server
UNION ALL SELECT 'publication', pubname::text FROM pg_publication
UNION ALL SELECT 'event trigger', evtname::text FROM pg_event_trigger
UNION ALL SELECT 'tablespace', spcname::text FROM pg_tablespace WHERE spcname !~ '^pg_' ORDER BY 1, 2
"""
SUBSCRIPTIONS = """
SELECT subname AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""

# Others who are in the database: after the freeze nobody may be.
SESSIONS = """
SELECT pid, usename AS "user", application_name AS application, coalesce(host(client_addr), 'the local socket') AS "from", state
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')
AND application_name NOT LIKE 'dockyard-migration%' ORDER BY pid
"""

# What a write leaves behind (manual, section 27.2.19). A server that is written to has other sums a moment later.
WRITES = """
SELECT n.schemaname AS schema, n.relname AS name, (n.n_tup_ins + n.n_tup_upd + n.n_tup_del)::bigint AS writes
FROM pg_stat_user_tables n ORDER BY 1, 2
"""


def position_of(schema, name, quote):
    """The SELECT for a sequence's position. :arg quote: callable(schema, name) -> quoted name."""
    return "SELECT last_value, is_called FROM %s" % quote(schema, name)


def read(session, quote):
    """All of it.

    :arg session: what has ``rows(sql)`` and ``row(sql)``. :arg quote: callable(schema, name) -> quoted name.
    :returns: dict ``{server, database, tables, sequences, constraints, indexes, triggers, functions, types, extensions, roles, large_objects, not_carried}``
    """
    found = {
        "server": session.row(SERVER), "database": session.row(DATABASE), "tables": session.rows(TABLES), "sequences": session.rows(SEQUENCES),
        "constraints": session.rows(CONSTRAINTS), "indexes": session.rows(INDEXES), "triggers": session.rows(TRIGGERS), "functions": session.rows(FUNCTIONS),
        "types": session.rows(TYPES), "extensions": session.rows(EXTENSIONS), "roles": session.rows(ROLES), "large_objects": session.row(LARGE_OBJECTS),
        "not_carried": session.rows(NOT_CARRIED),
    }
    for entry in found["sequences"]:
        entry.update(session.row(position_of(entry["schema"], entry["name"], quote)))
    if found["server"]["superuser"]:
        found["large_objects"].update(session.row(LARGE_OBJECT_BYTES))
        found["not_carried"] += [{"kind": "subscription", "name": row["name"]} for row in session.rows(SUBSCRIPTIONS)]
    return found


def is_empty(found):
    """Whether a database (of :func:`read`) holds nothing but extensions."""
    return not (found["tables"] or found["sequences"] or found["functions"] or found["types"] or found["large_objects"]["count"])
