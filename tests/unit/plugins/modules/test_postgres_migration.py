# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module postgres_migration with a Docker, an engine and two servers that are scripted. All that is called or changed is written down in order: one call too
many or too few fails."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import types

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError, DockerUnavailable
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import catalog, place as places, transfer
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import ConnectionLost, SqlError
from ansible_collections.dockyard.fleet.plugins.modules import postgres_migration as module

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19

    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield


PASSWORD = "of-the-native-one"
LOOK = ["docker config", "docker run --rm", "docker rm client", "docker run client"]
UP = ["docker up", "docker rm client", "docker run client"]
DONE = ["target:things: ANALYZE", "target:things: CHECKPOINT"]


def column(name, **more):
    return dict(
        {
            "name": name,
            "type": "integer",
            "not_null": False,
            "generated": False,
            "identity": "",
            "default": None,
            "kind": "b",
            "base": 23,
            "base_kind": "b",
            "base_type": "integer",
            "element": 0,
            "is_array": False,
            "send": "pg_catalog.int4send",
            "deterministic": True,
        },
        **more,
    )


def table(name, **more):
    return dict(
        {
            "schema": "public",
            "name": name,
            "kind": "r",
            "persistence": "p",
            "owner": "app",
            "is_partition": False,
            "bytes": 8192,
            "rows_estimate": 3,
            "identity": "d",
            "key": ["id"],
            "is_filled": True,
            "columns": [column("id")],
        },
        **more,
    )


def catalog_of(version=150017, **more):
    return dict(
        {
            "server": {"version": version, "version_text": str(version), "wal_level": "replica", "superuser": True, "user": "postgres"},
            "database": {
                "encoding": "UTF8",
                "collate": "C",
                "ctype": "C",
                "provider": "c",
                "locale": None,
                "bytes": 40 * 10**6,
                "settings": ["TimeZone=Europe/Berlin"],
            },
            "tables": [table("items"), table("tags", bytes=9)],
            "sequences": [{"schema": "public", "name": "s", "last_value": 7, "is_called": True}],
            "constraints": [],
            "indexes": [],
            "triggers": [],
            "functions": [],
            "types": [],
            "extensions": [{"name": "plpgsql", "version": "1.0", "schema": "pg_catalog", "keeps_data": False}],
            "large_objects": {"count": 0},
            "not_carried": [],
            "roles": [{"name": "thingdb", "superuser": False, "can_login": True, "inherits": True, "bypasses_rls": False, "owns": True, "member_of": []}],
        },
        **more,
    )


class Session:
    """A session with one of the two servers."""

    def __init__(self, host, argv, setup=""):
        info = argv[-1]
        self.host = host
        self.database = re.search("dbname='([^']*)'", info).group(1)
        self.side = "target" if "/run/dockyard/target" in info else "stack" if "client" not in " ".join(argv) and "exec" in argv else "source"
        refused = host.refused.get(self.side) or host.refused.get("%s:%s" % (self.side, self.database))
        if refused:
            raise ConnectionLost(refused)
        if self.side != "target" or setup:
            assert "SET default_transaction_read_only = on" in setup, "the native server, and what is only looked at, is not written to"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def run(self, sql):
        name = "%s:%s" % (self.side, self.database)
        self.host.log.append("%s: %s" % (name, sql))
        for text, error in self.host.failing.items():
            if text in self.host.log[-1]:
                raise SqlError(error)
        return []

    def row(self, sql):
        return self.rows(sql)[0]

    def rows(self, sql):
        host = self.host
        if sql == catalog.SESSIONS:
            return host.sessions.pop(0) if len(host.sessions) > 1 else host.sessions[0]
        if sql == catalog.WRITES:
            return host.writes.pop(0) if len(host.writes) > 1 else host.writes[0]
        if sql == catalog.TABLES:
            return copy.deepcopy(host.catalogs[self.side]["tables"])
        if sql == catalog.LARGE_OBJECTS:
            return [host.catalogs[self.side]["large_objects"]]
        if "listen_addresses" in sql:
            return [{"listen": "*"}]
        if "pg_export_snapshot" in sql:
            return [{"name": "000-1"}]
        if sql.startswith("SELECT last_value"):
            return [{"last_value": 9, "is_called": True}]
        if "FROM pg_roles" in sql:
            return [{"name": "inventory"}]
        if "obj_description" in sql:
            return [{"name": "postgres", "comment": "default"}] + [{"name": name, "comment": comment} for name, comment in host.databases.items()]
        if "SELECT 1 AS one FROM pg_database" in sql:
            return [{"one": 1}] if re.search("'(.*)'", sql).group(1) in host.databases else []
        if "pg_largeobject_metadata" in sql:
            return [host.digests[self.side]["large objects"]]
        name = re.search(r'FROM (?:ONLY )?"public"\."([a-z]+)"', sql).group(1)
        if "AS bucket" in sql:
            return host.buckets[self.side]
        if " AS h," in sql:
            assert 'json_build_array(left("id"::text, 60))' in sql, "the rows are named by their key"
            return host.hashes[self.side]
        if host.digests[self.side][name] == "error":
            raise SqlError("canceling statement")
        return [dict(host.digests[self.side][name])]


class Host:
    """A host with a native server and the files of a stack."""

    def __init__(self, folder):
        self.folder = folder
        self.socket, self.config, self.state, self.volume = (os.path.join(folder, name) for name in ("pg", "etc", "var", "volume"))
        for path in (self.socket, self.state, os.path.join(self.config, "stacks", "shop")):
            os.makedirs(path)
        self.put(os.path.join(self.socket, ".s.PGSQL.5432"))
        self.put(os.path.join(self.config, "stacks", "shop", ".env"), "COMPOSE_FILE=compose.yaml\n")
        self.runtime = os.path.join(folder, "run", "migrations")
        self.uid, self.gid = os.getuid(), os.getgid()
        self.model = {
            "services": {
                "db": {
                    "image": "pgvector:17",
                    "user": "%d:%d" % (self.uid, self.gid),
                    "environment": {"POSTGRES_USER": "inventory", "POSTGRES_PASSWORD": "of-the-stack"},
                    "volumes": [{"type": "bind", "source": "/x", "target": "/x"}, {"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}],
                }
            },
            "volumes": {"data": {"name": "shop_data"}},
        }
        self.facts = "version=17\npostgres (PostgreSQL) 17.6\nlocale=C\nlocale=en_US.utf8\nextension=/x/plpgsql.control\nextension=/x/vector.control\n"
        self.log, self.fails, self.refused, self.failing = [], {}, {}, {}
        self.container, self.image, self.unavailable, self.free = None, True, False, 10**12
        self.catalogs = {"source": catalog_of(), "target": catalog_of(170006), "stack": catalog_of(170006)}
        self.databases, self.sessions = {}, [[]]
        self.writes = [[{"schema": "public", "name": "items", "writes": 3}]]
        self.digests = {
            side: {"items": {"rows": 3, "a": "11", "b": "12"}, "tags": {"rows": 4, "a": "21", "b": "22"}, "large objects": {"rows": 2, "a": "1", "b": "2"}}
            for side in ("source", "target", "stack")
        }
        self.buckets, self.hashes, self.docker = {}, {}, "/usr/bin/docker"

    @staticmethod
    def put(path, text="x"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)

    def run_command(self, argv, **unused):
        words = " ".join(argv)
        assert PASSWORD not in words and "of-the-stack" not in words
        for key, text in (
            ("config", "config --format json"),
            ("run --rm", "run --rm"),
            ("rm client", "rm --force shop-migration-db-client"),
            ("run client", "run --detach"),
            ("up", " up --detach"),
            ("logs", " logs "),
        ):
            if text in words:
                if key != "logs":
                    self.log.append("docker " + key)
                if key in self.fails:
                    return 1, "", self.fails[key]
                if key == "up":
                    self.container = "ours"
                return 0, {"config": json.dumps(self.model), "run --rm": self.facts}.get(key, ""), ""
        raise AssertionError("an unknown call: %s" % words)

    # the engine

    def get(self, path, query=None, **unused):
        if self.unavailable:
            raise DockerUnavailable("/var/run/docker.sock: no such socket (the daemon is not running)")
        if path == "/info":
            return {"DockerRootDir": self.folder}
        assert path == "/containers/json"
        return [{"Id": "c1"}] if self.container else []

    def inspect(self, kind, name, **unused):
        if kind == "images":
            if not self.image:
                raise DockerApiError("GET", 404, "no such image")
            return {}
        if kind == "volumes":
            assert name == "shop_data"
            if not os.path.isdir(self.volume):
                raise DockerApiError("GET", 404, "no such volume")
            return {"Mountpoint": self.volume}
        return {
            "State": {"Status": "exited" if self.container == "stopped" else "running"},
            "Mounts": [] if self.container == "served" else [{"Destination": "/run/dockyard/target"}],
        }

    def request(self, method, path, **unused):
        self.log.append("%s %s" % (method, path))
        if method == "DELETE":
            self.container = None

    # what runs in the client container

    def program(self, argv, **unused):
        words = " ".join(argv[argv.index("shop-migration-db-client") + 1 :])
        self.log.append(
            "client: "
            + re.sub(
                " --(no-password|no-tablespaces|no-publications|no-subscriptions|exit-on-error|dbname=.*?application_name='[^']*'|dbname=.*?user='[^']*')",
                "",
                words,
            )
        )
        for text, error in self.failing.items():
            if text in self.log[-1]:
                return types.SimpleNamespace(returncode=1, stdout=b"", stderr=error.encode())
        return types.SimpleNamespace(returncode=0, stdout=b"1; 2 3 BLOB - 3 app\n" if "--list" in words else b"", stderr=b"")

    def copies(self, place, database, target, snapshot, workers, reporter):
        def run(tables):
            self.log.append("copies %s to %s under %s by %d: %s" % (database, target, snapshot, workers, ", ".join(entry["name"] for entry in tables)))
            if "copies" in self.failing:
                raise transfer.TransferError(self.failing["copies"])

        assert place.encoding == "UTF8"
        return types.SimpleNamespace(run=run)


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    made = Host(str(tmp_path))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, argv, **more: made.run_command(argv, **more))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda self, name, *unused, **unused2: made.docker if name == "docker" else "/usr/bin/" + name)
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: None)
    monkeypatch.setattr(module, "RUNTIME", made.runtime)
    monkeypatch.setattr(module, "DockerApi", lambda *unused, **unused2: made)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=made.free))
    monkeypatch.setattr(module.pwd, "getpwnam", lambda name: {"postgres": types.SimpleNamespace(pw_uid=made.uid, pw_gid=made.gid)}[name])
    monkeypatch.setattr(catalog, "read", lambda session, quote: copy.deepcopy(made.catalogs[session.side]))
    monkeypatch.setattr(places, "Session", lambda argv, setup="", **unused: Session(made, argv, setup))
    monkeypatch.setattr(places.subprocess, "run", made.program)
    monkeypatch.setattr(transfer, "Copies", made.copies)
    return made


@pytest.fixture(name="run")
def _run(host, capsys):
    def call(state, check=False, source=None, **given):
        del host.log[:]
        origin = None if source is False else dict({"socket": host.socket, "database": "things"}, **(source or {}))
        args = dict(
            {"stack": "shop", "service": "db", "state": state, "config_dir": host.config, "state_dir": host.state, "workers": 2, "source": origin}, **given
        )
        os.makedirs(os.path.join(host.folder, "remote"), exist_ok=True)
        args.update(_ansible_check_mode=check, _ansible_remote_tmp=os.path.join(host.folder, "remote"), _ansible_tmpdir=os.path.join(host.folder, "remote"))
        capsys.readouterr()
        with patch_module_args(args):
            with pytest.raises(SystemExit) as ended:
                module.main()
        text = capsys.readouterr().out
        assert PASSWORD not in text and "of-the-stack" not in text
        answer = json.loads(text)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        assert isinstance(answer["seconds"], float)
        return answer

    return call


# -- surveyed -------------------------------------------------------------------


def test_a_survey_looks_and_leaves_nothing_running(host, run):
    answer = run("surveyed", roles={"thingdb": "inventory"})
    assert host.log == ["docker config"] + LOOK + ["docker rm client"]
    assert answer["changed"] is False and answer["problems"] == [] and answer["msg"] == "shop, db: nothing stands against it" and answer["strategy"] == "copy"
    assert answer["source"] == {
        "version": "150017",
        "bytes": 40000000,
        "tables": 2,
        "rows_estimate": 6,
        "sequences": 1,
        "extensions": ["plpgsql"],
        "roles": ["thingdb"],
        "large_objects": 0,
        "encoding": "UTF8",
        "locale": "C",
        "wal_level": "replica",
        "sessions": [],
    }
    assert answer["target"] == {"version": 170006, "cluster": "absent"} and answer["room"] == {"needed": 52000000 + 512 * 1024 * 1024, "free": 10**12}
    assert answer["writes"] == {"public.items": 3} and answer["notes"] == []
    assert not os.path.exists(os.path.join(host.runtime, "shop", "db", "pgpass"))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda host: setattr(host, "docker", None),
        lambda host: os.unlink(os.path.join(host.config, "stacks", "shop", ".env")),
        lambda host: setattr(host, "image", False),
        lambda host: host.fails.update(config="no"),
    ],
)
def test_a_survey_goes_without_docker_stack_or_image(host, run, prepare):
    prepare(host)
    answer = run("surveyed", source={"password": PASSWORD})
    assert not answer.get("failed") and [line for line in host.log if line != "docker config"] == []
    assert answer["target"] == {"version": None, "cluster": "unknown"}
    assert (
        answer["notes"][-1]
        == "shop, db: the target's image is not on the host yet: phase copy looks whether it has the extensions (plpgsql) and the locale (C)"
    )


@pytest.mark.parametrize(
    "change, wanted",
    [
        (
            lambda host: host.catalogs["source"]["server"].update(version=180001),
            (
                "shop, db: found PostgreSQL 18, newer than the target's 17, which can't read it; needed the same or a newer one "
                "there; give the stack a newer image"
            ),
        ),
        (
            lambda host: host.catalogs["source"]["extensions"].append({"name": "postgis", "keeps_data": False}),
            (
                "shop, db: found the extension postgis, which the target's image does not have; needed an image with it (or, where nothing uses it: DROP"
                " EXTENSION on the native server)"
            ),
        ),
        (lambda host: setattr(host, "free", 100 * 10**6), "shop, db: found 100 MB free for the volume; needed 588 MB; make room, or move Docker's data"),
        (
            lambda host: setattr(host, "container", "served"),
            (
                "shop, db: found the service running with its own data; needed a stack that is not deployed, or one that was stopped and whose "
                "volume may go; see playbooks/stop.yml"
            ),
        ),
        (
            lambda host: host.catalogs["source"]["server"].update(superuser=False, user="app"),
            (
                "shop, db: found the user app, who is no superuser there and may not see everything; needed one "
                "who is; set source.user (peer authentication: postgres)"
            ),
        ),
    ],
)
def test_what_stands_against_it_is_told_by_the_survey_and_ends_the_copy_before_it_begins(host, run, change, wanted):
    change(host)
    answer = run("surveyed")
    assert answer["problems"] == [wanted] and not answer.get("failed") and answer["msg"] == "shop, db: " + wanted
    for state in ("copied", "prepared"):
        answer = run(state)
        assert answer["failed"] and answer["msg"] == wanted + "; nothing was changed" and answer["problems"] == [wanted] and answer["changed"] is False
        # The client is gone again: it has passwords.
        assert host.log == LOOK + ["docker rm client"]


@pytest.mark.parametrize(
    "container, data, remembered, wanted",
    [
        (None, False, None, "absent"),
        (None, True, None, "unknown"),
        (None, True, "ready", "unknown"),
        (None, True, "begun", "absent"),
        ("ours", True, None, "ours"),
        ("served", True, None, "served"),
    ],
)
def test_whose_the_cluster_is(host, run, container, data, remembered, wanted):
    host.container = container
    os.makedirs(host.volume)
    if data:
        host.put(os.path.join(host.volume, "PG_VERSION"), "17")
    if remembered:
        host.put(os.path.join(host.state, "migrations", "shop", "postgres-db.json"), json.dumps({"cluster": remembered}))
    assert run("surveyed")["target"]["cluster"] == wanted


def test_nobody_but_root_reaches_the_socket_of_the_migrations_server(host, run):
    run("prepared")
    paths = ((), ("migrations",), ("migrations", "shop"), ("migrations", "shop", "db"))
    modes = [os.stat(os.path.join(host.folder, "run", *path)).st_mode & 0o777 for path in paths]
    assert modes == [0o755, 0o700, 0o700, 0o700]


def test_room_is_not_asked_for_twice_of_a_copy_that_is_done_again(host, run):
    host.free, host.container = 0, "ours"
    assert run("surveyed")["problems"] == []


def test_a_locale_that_the_image_has_not(host, run):
    wanted = "shop, db, locale: found xx_XX, which the image does not have; needed one of C, en_US.utf8"
    assert run("surveyed", locale="xx_XX")["problems"] == [wanted]
    for locale in ("C", "en_US.utf8", "en_US.UTF-8"):
        assert run("surveyed", locale=locale)["problems"] == [], locale


@pytest.mark.parametrize(
    "said, user, hint",
    [
        (
            'FATAL:  password authentication failed for user "bob"',
            "bob",
            "needed the password of bob; set the variable that the stack's section migration names, or source.password",
        ),
        (
            "fe_sendauth: no password supplied",
            "bob",
            "needed the password of bob; set the variable that the stack's section migration names, or source.password",
        ),
        ('FATAL:  Peer authentication failed for user "bob"', "bob", "needed the user of this host that pg_hba.conf knows as bob; set source.os_user"),
        ('FATAL:  no pg_hba.conf entry for host "::1"', "bob", "needed a line in pg_hba.conf for bob on things; use the local socket, or add the line"),
        ('FATAL:  database "things" does not exist', "bob", "needed the database things; correct its name"),
        ('connection to server at "database" failed: FATAL:  role "bob" does not exist', "bob", "needed a user that the server knows; set source.user"),
        ("Connection refused", "bob", "needed a PostgreSQL server at {socket}; look at `systemctl status postgresql`"),
    ],
)
def test_a_server_that_does_not_let_us_in(host, run, said, user, hint):
    host.refused["source"] = said
    answer = run("surveyed", source={"user": user, "password": PASSWORD})
    assert answer["failed"] and answer["msg"] == "shop, db: the native server does not let us in: %s; %s; nothing was changed" % (
        said,
        hint.format(socket=host.socket),
    )
    assert host.log[-1] == "docker rm client"


def test_the_server_is_named_by_its_address(host, run):
    host.refused["source"] = "timeout"
    answer = run("surveyed", source={"socket": None, "host": "db.lan", "port": 5433})
    assert "needed a PostgreSQL server at db.lan:5433;" in answer["msg"]


@pytest.mark.parametrize(
    "source, wanted",
    [
        ({"socket": None}, "shop, db, source: found neither socket nor host; needed one of socket and host; nothing was changed"),
        ({"host": "db.lan"}, "shop, db, source: found both socket and host; needed one of socket and host; nothing was changed"),
        ({"os_user": "nobody-knows"}, "shop, db, source.os_user: found no user nobody-knows on this host; nothing was changed"),
        (
            {"port": 5999},
            "shop, db: found no socket {socket}/.s.PGSQL.5999; needed a running PostgreSQL server; look at `systemctl status postgresql`; nothing was changed",
        ),
    ],
)
def test_bad_input(host, run, source, wanted):
    for state in ("surveyed", "copied", "proved"):
        answer = run(state, source=source)
        assert answer["failed"] and answer["changed"] is False and answer["msg"].replace("postgres_migration: ", "") == wanted.format(socket=host.socket)
        assert host.log == []


@pytest.mark.parametrize("name", ["", None])
def test_a_database_without_a_name_is_not_that_of_the_users_name(host, run, name):
    answer = run("surveyed", source={"database": name})
    assert (
        answer["failed"]
        and answer["msg"] == "shop, db, source.database: found no name; needed that of the native database; nothing was changed"
        and host.log == []
    )


def test_no_source_at_all(host, run):
    assert run("surveyed", source=False)["msg"] == "shop, db, source: found neither socket nor host; needed one of socket and host; nothing was changed"
    assert host.log == []


def test_an_image_without_postgresql(host, run):
    host.facts = "version=\n"
    answer = run("surveyed")
    assert (
        answer["msg"]
        == "shop, db: the image pgvector:17 tells no version of PostgreSQL; needed postgres on its PATH or PG_MAJOR in its environment; the native database is"
        " as it was"
    )


def test_a_host_without_docker_can_be_surveyed_only(host, run):
    host.docker = None
    assert run("copied")["msg"] == "shop, db: found no docker program; needed Docker with Compose v2; run the role docker_engine first"


def test_an_engine_that_does_not_run(host, run):
    host.unavailable = True
    answer = run("copied")
    assert answer["failed"] and answer["msg"] == "shop, db: /var/run/docker.sock: no such socket (the daemon is not running); the native database is as it was"


def test_a_service_without_a_volume(host, run):
    host.model["services"]["db"]["volumes"] = []
    answer = run("copied")
    assert (
        answer["msg"]
        == "shop, db: found no named volume at /var/lib/postgresql/data in the Compose files; needed one, for the data must outlive the container; nothing was"
        " changed"
    )
    assert "docker up" not in host.log


# -- prepared and copied -----------------------------------------------------------


def test_a_server_is_prepared_and_a_second_time_is_no_change(host, run):
    answer = run("prepared")
    assert host.log == LOOK + UP and answer["changed"] is True and answer["msg"] == "shop, db: the target's server runs"
    answer = run("prepared")
    assert (
        host.log == LOOK + ["docker rm client", "docker run client"]
        and answer["changed"] is False
        and answer["msg"] == "shop, db: the target's server runs already"
    )


@pytest.mark.parametrize(
    "state, wanted", [("prepared", "shop, db: the target's server would be started"), ("copied", "shop, db: 2 tables, 40 MB would be copied")]
)
def test_check_mode_starts_and_changes_nothing(host, run, state, wanted):
    answer = run(state, check=True)
    assert answer["changed"] is True and answer["msg"] == wanted and host.log == LOOK + ["docker rm client"]
    assert os.listdir(host.state) == ["migrations"] and not os.path.exists(os.path.join(host.state, "migrations", "shop", "postgres-db.json"))


COPIED = [
    'target:postgres: DROP DATABASE IF EXISTS "things" WITH (FORCE)',
    "target:postgres: CREATE DATABASE \"things\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    "target:postgres: COMMENT ON DATABASE \"things\" IS 'dockyard.fleet migration native, not proven'",
    'target:postgres: ALTER DATABASE "things" SET "TimeZone" TO \'Europe/Berlin\'',
    'target:postgres: CREATE ROLE "thingdb" NOLOGIN INHERIT NOBYPASSRLS',
    'target:postgres: GRANT "thingdb" TO "inventory"',
]
STREAMED = [
    "source:things: BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    'source:things: LOCK TABLE "public"."items", "public"."tags" IN ACCESS SHARE MODE',
    "client: pg_dump --snapshot=000-1 --section=pre-data --format=custom --file=/run/dockyard/spool/pre-data.dump",
    "client: pg_restore --section=pre-data --jobs=1 /run/dockyard/spool/pre-data.dump",
    "client: rm -f /run/dockyard/spool/pre-data.dump",
    "copies things to things under 000-1 by 2: items, tags",
    "client: pg_dump --snapshot=000-1 --section=post-data --format=custom --file=/run/dockyard/spool/post-data.dump",
    "client: pg_restore --section=post-data --jobs=2 /run/dockyard/spool/post-data.dump",
    "client: rm -f /run/dockyard/spool/post-data.dump",
    'target:things: SELECT setval(\'"public"."s"\', 9, true)',
]
OWNED = ['target:things: REASSIGN OWNED BY "thingdb" TO "inventory"']


def test_a_copy(host, run):
    answer = run("copied", roles={"thingdb": "inventory"}, frozen=True, written={"public.items": 3}, source={"password": PASSWORD})
    assert host.log == LOOK + UP + COPIED + STREAMED + OWNED + DONE
    assert answer["changed"] is True and answer["msg"] == "shop, db: 2 tables, 40 MB copied" and answer["strategy"] == "copy" and answer["kept"] == ""
    assert sorted(answer["seconds_by_step"]) == ["database", "finish", "indexes", "rows", "schema", "server"] and answer["writes"] == {"public.items": 3}
    with open(os.path.join(host.state, "migrations", "shop", "postgres-db.json"), encoding="utf-8") as handle:
        assert json.load(handle) == {"cluster": "ready"}


def test_a_copy_by_dump(host, run):
    host.catalogs["source"]["extensions"][0]["keeps_data"] = True
    answer = run("copied", roles={"thingdb": "inventory"})
    dumped = ["client: rm -rf /run/dockyard/spool/dump", "client: pg_dump --format=directory --compress=0 --jobs=2 --file=/run/dockyard/spool/dump"]
    dumped += ["client: pg_restore --section=%s --jobs=2 /run/dockyard/spool/dump" % name for name in ("pre-data", "data", "post-data")]
    assert host.log == LOOK + UP + COPIED + dumped + ["client: rm -rf /run/dockyard/spool/dump"] + OWNED + DONE and answer["strategy"] == "dump"


def test_large_objects_and_extensions_of_the_stack_come_too(host, run):
    host.catalogs["source"]["large_objects"]["count"] = 2
    host.databases["things"] = "dockyard.fleet migration native, not proven"
    host.catalogs["target"]["extensions"].append({"name": "vector", "version": "0.8", "schema": "public", "keeps_data": False})
    run("copied")
    assert [line for line in host.log if "EXTENSION" in line] == ['target:things: CREATE EXTENSION IF NOT EXISTS "vector"']
    blobs = [line for line in host.log if "blobs" in line]
    assert len(blobs) == 5 and "--snapshot=000-1 --section=data --blobs" in blobs[0] and "--use-list=/run/dockyard/spool/blobs.list" in blobs[3]
    assert host.log.index(blobs[0]) > host.log.index("copies things to things under 000-1 by 2: items, tags")


def test_another_name_and_what_was_there_is_kept(host, run):
    host.databases["inventory_db"] = "dockyard.fleet migration native, not proven, proven at 2026-01-01T00:00:00Z"
    answer = run("copied", database="inventory_db", keep=True)
    assert re.match(r"^inventory_db_before_\d{14}$", answer["kept"])
    assert 'target:postgres: ALTER DATABASE "inventory_db" RENAME TO "%s"' % answer["kept"] in host.log
    assert host.log.index('target:postgres: ALTER DATABASE "inventory_db" RENAME TO "%s"' % answer["kept"]) < host.log.index(
        'target:postgres: DROP DATABASE IF EXISTS "inventory_db" WITH (FORCE)'
    )
    assert run("copied", database="inventory_db")["kept"] == "" and not [line for line in host.log if "RENAME" in line]


@pytest.mark.parametrize("state", ["prepared", "copied"])
@pytest.mark.parametrize("comment", [None, "household", "dockyard.fleet migration other, not proven"])
def test_a_target_that_is_not_empty_is_refused_and_not_touched(host, run, comment, state):
    host.databases["things"] = comment
    answer = run(state)
    assert (
        answer["failed"]
        and answer["msg"]
        == "shop, db: found data in the database things of the volume that is no leftover of this migration (2 tables); needed an empty one; nothing of it was"
        " touched; if it may go, remove the stack's volumes: playbooks/stop.yml with delete_volumes=shop"
    )
    assert host.log == LOOK + UP + ["docker rm client", "POST /containers/c1/stop", "DELETE /containers/c1"]


def test_an_empty_database_of_the_stack_may_be_made_anew(host, run):
    host.databases["things"] = None
    host.catalogs["target"].update(tables=[], sequences=[])
    assert run("copied")["changed"] is True


@pytest.mark.parametrize(
    "failing, wanted",
    [
        (
            {"copies": "public.items: No space left on device"},
            "shop, db: public.items: No space left on device; the native database is as it was; run again when this is mended",
        ),
        (
            {"pg_restore --section=pre-data": "ERROR:  type vector does not exist"},
            "shop, db: making the schema (pre-data): type vector does not exist; the native database is as it was; run again when this is mended",
        ),
        (
            {"pg_restore --section=post-data": "ERROR:  could not create unique index"},
            "shop, db: making the schema (post-data): could not create unique index; the native database is as it was; run again when this is mended",
        ),
        ({"LOCK TABLE": "canceled"}, "shop, db: canceled; the native database is as it was; run again when this is mended"),
        ({"setval": "sequence is gone"}, "shop, db: sequence is gone; the native database is as it was; run again when this is mended"),
        ({"CHECKPOINT": "No space left on device"}, "shop, db: No space left on device; the native database is as it was; run again when this is mended"),
        ({"CREATE DATABASE": "invalid locale name"}, "shop, db: invalid locale name; the native database is as it was"),
    ],
)
def test_a_copy_that_fails(host, run, failing, wanted):
    host.failing = failing
    answer = run("copied")
    assert answer["failed"] and answer["changed"] is True and answer["msg"] == wanted
    if "CHECKPOINT" not in failing:
        assert not set(DONE) & set(host.log)


@pytest.mark.parametrize(
    "fails, wanted",
    [
        ({"run --rm": "no such image"}, "shop, db: the image pgvector:17 does not run: no such image; the native database is as it was"),
        ({"run client": "no room"}, "shop, db: the client container does not start: no room; the native database is as it was"),
        ({"up": "port is taken"}, "shop, db: the target's server does not start: port is taken; the native database is as it was"),
    ],
)
def test_a_container_that_does_not_start(host, run, fails, wanted):
    host.fails = fails
    answer = run("copied")
    assert answer["failed"] and answer["msg"] == wanted and answer["changed"] is ("up" in fails)


SOMEBODY = [{"pid": 77, "user": "app", "application": "gunicorn", "from": "the local socket", "state": "idle"}]
NOT_FROZEN = (
    "shop, db: found 1 other session in the native database after the freeze: gunicorn (app, pid 77, from the local socket); needed none; stop what holds them,"
    " or name its unit in the stack's section migration"
)
WRITTEN = "shop, db: found writes to public.items since the freeze; needed a source that stands still; stop what writes, then run again"


def test_somebody_who_is_still_connected_ends_a_frozen_copy_before_it_begins(host, run):
    host.sessions = [SOMEBODY]
    answer = run("copied", frozen=True)
    assert answer["failed"] and answer["msg"] == NOT_FROZEN + "; nothing was changed" and host.log == LOOK + ["docker rm client"]
    # The pass while the application runs does not mind.
    assert not run("copied").get("failed")


@pytest.mark.parametrize("written", [{"public.items": 2}, {}, {"public.items": 3, "public.gone": 0}])
def test_writes_since_the_freeze_end_it(host, run, written):
    answer = run("copied", frozen=True, written=written)
    names = "public.gone" if "public.gone" in written else "public.items"
    assert answer["failed"] and answer["msg"] == WRITTEN.replace("public.items", names) + "; nothing was changed" and host.log == LOOK + ["docker rm client"]
    assert not run("copied", written=written).get("failed")


@pytest.mark.parametrize(
    "change, wanted",
    [
        (lambda host: setattr(host, "sessions", [[], SOMEBODY]), NOT_FROZEN),
        (lambda host: host.writes.append([{"schema": "public", "name": "items", "writes": 4}]), WRITTEN),
        (
            lambda host: (host.writes.append([{"schema": "public", "name": "items", "writes": 4}]), setattr(host, "sessions", [[], SOMEBODY])),
            NOT_FROZEN + "; " + WRITTEN,
        ),
    ],
)
def test_what_happens_meanwhile_makes_the_copy_useless(host, run, change, wanted):
    change(host)
    answer = run("copied", frozen=True, written={"public.items": 3})
    assert answer["failed"] and answer["changed"] is True and answer["msg"] == wanted + "; the copy is of no use, the native database is as it was"


def test_a_cluster_that_was_interrupted_while_it_was_made_is_made_anew(host, run):
    host.put(os.path.join(host.volume, "PG_VERSION"), "17")
    host.put(os.path.join(host.volume, "base", "1", "x"))
    os.symlink(host.socket, os.path.join(host.volume, "link"))
    host.put(os.path.join(host.state, "migrations", "shop", "postgres-db.json"), json.dumps({"cluster": "begun"}))
    assert run("prepared")["changed"] is True
    assert os.listdir(host.volume) == [] and os.listdir(host.socket) == [".s.PGSQL.5432"]


@pytest.mark.parametrize("remembered", [None, {"cluster": "ready"}])
def test_a_cluster_that_is_whole_is_not_removed(host, run, remembered):
    host.put(os.path.join(host.volume, "PG_VERSION"), "17")
    if remembered:
        host.put(os.path.join(host.state, "migrations", "shop", "postgres-db.json"), json.dumps(remembered))
    run("prepared")
    assert os.listdir(host.volume) == ["PG_VERSION"]


# -- the lease --------------------------------------------------------------------


class Lease:
    """A lease that holds, or not, when it is taken and when it is given back."""

    def __init__(self, before, after):
        self.given, self.before, self.after, self.held = None, before, after, True

    def __call__(self, *given):
        self.given = given
        return self

    def __enter__(self):
        self.held = self.before
        return self

    def __exit__(self, *unused):
        self.held = self.after


def test_a_freeze_that_has_ended_ends_it(host, run, monkeypatch):
    held = Lease(False, False)
    monkeypatch.setattr(module, "Renewer", held)
    answer = run("copied", lease="/run/x/shop.json", lease_seconds=77)
    assert answer["failed"] and answer["changed"] is False and host.log == [] and held.given == ("/run/x/shop.json", 77)
    assert (
        answer["msg"]
        == "shop, db: found the freeze ended; needed it to hold, for the native application may have written since; nothing was changed; run again"
    )


@pytest.mark.parametrize("state, changed", [("copied", True), ("proved", False), ("prepared", False)])
def test_a_freeze_that_ends_meanwhile_makes_the_result_useless(host, run, monkeypatch, state, changed):
    host.container = "ours"
    monkeypatch.setattr(module, "Renewer", Lease(True, False))
    answer = run(state, lease="/run/x/shop.json")
    assert answer["failed"] and answer["changed"] is changed and "proof" not in answer
    assert (
        answer["msg"]
        == "shop, db: found the freeze ended while this ran; needed it to hold, for the native application may have written since; it serves; run again"
    )


def test_a_lease_that_is_not_there_is_one_that_has_ended(host, run, tmp_path):
    assert run("copied", lease=str(tmp_path / "none" / "shop.json"))["msg"].startswith("shop, db: found the freeze ended; ")


# -- proved -------------------------------------------------------------------------


def test_a_proof_of_equal_databases(host, run):
    host.container = "ours"
    answer = run("proved", frozen=True, written={"public.items": 3})
    assert not answer.get("failed"), answer["msg"]
    assert host.log[:-1] == ["docker rm client", "docker config", "docker run client"]
    assert re.match(r"^target:postgres: COMMENT ON DATABASE \"things\" IS 'dockyard.fleet migration native, not proven, proven at \d{4}-", host.log[-1])
    assert answer["changed"] is False and answer["differences"] == [] and answer["msg"] == "shop, db: 2 tables, 7 rows are equal"
    assert answer["proof"]["form"] == "record" and answer["proof"]["tables"] == {
        "public.items": {"rows": 3, "a": "11", "b": "12"},
        "public.tags": {"rows": 4, "a": "21", "b": "22"},
    }
    assert answer["proof"]["source_version"] == "150017" and answer["proof"]["target_version"] == "170006" and answer["proof"]["sequences"] == 1


def test_a_proof_with_a_server_before_14_goes_by_text(host, run):
    host.container = "ours"
    host.catalogs["source"]["server"]["version"] = 130000
    assert run("proved")["proof"]["form"] == "text"


def test_a_row_that_differs_ends_it_with_its_key(host, run):
    host.container = "ours"
    host.digests["target"]["items"]["a"] = "99"
    host.buckets = {"source": [{"bucket": 5, "rows": 1, "a": "1"}], "target": [{"bucket": 5, "rows": 1, "a": "2"}]}
    host.hashes = {"source": [{"h": "1", "key": '["7"]'}], "target": [{"h": "2", "key": '["7"]'}]}
    answer = run("proved")
    told = 'public.items: 1 row differs (3 rows there, 3 here); primary key ["7"]'
    assert answer["failed"] and answer["differences"] == [told] and answer["proof"]["tables"]["public.items"]["a"] == "11"
    assert (
        answer["msg"]
        == "shop, db: found differences between the native database and the copy: %s; needed none; the native database is as it was; copy again" % told
    )
    assert not [line for line in host.log if "COMMENT" in line]


@pytest.mark.parametrize("digest", ["a", "b", "rows"])
def test_each_part_of_a_digest_counts(host, run, digest):
    host.container = "ours"
    host.digests["target"]["tags"][digest] = 5
    host.buckets = {"source": [{"bucket": number, "rows": 1, "a": "1"} for number in range(65)], "target": []}
    host.hashes = {"source": [{"h": str(number), "key": None} for number in range(64)], "target": []}
    rows = 5 if digest == "rows" else 4
    assert run("proved")["differences"] == ["public.tags: at least 64 rows differ (4 rows there, %d here)" % rows]


def test_what_else_differs(host, run):
    host.container = "ours"
    host.catalogs["target"]["sequences"][0]["last_value"] = 8
    host.catalogs["target"]["tables"].pop()
    host.catalogs["source"]["large_objects"]["count"] = 2
    host.digests["target"]["large objects"]["a"] = "9"
    host.catalogs["target"]["extensions"].append({"name": "vector", "version": "0.8", "schema": "public", "keeps_data": False})
    answer = run("proved")
    assert answer["differences"] == [
        "the sequence public.s differs in last value: 7 there, 8 here",
        "the table public.tags is not in the target",
        "the large objects: 2 rows there, 2 here, and their digests differ",
    ]
    assert sorted(answer["proof"]["tables"]) == ["(large objects)", "public.items"]


def test_large_objects_on_one_side_only(host, run):
    host.container = "ours"
    host.catalogs["target"]["large_objects"]["count"] = 2
    host.digests["source"]["large objects"] = {"rows": 0, "a": "0", "b": "0"}
    assert run("proved")["differences"] == ["the large objects: 0 rows there, 2 here, and their digests differ"]


@pytest.mark.parametrize("side, word", [("source", "the native server"), ("target", "the target")])
def test_a_proof_that_cannot_be_made(host, run, side, word):
    host.container = "ours"
    host.digests[side]["items"] = "error"
    answer = run("proved")
    assert (
        answer["failed"]
        and answer["msg"] == "shop, db: the proof could not be made: %s: canceling statement; the native database is as it was; run again" % word
    )
    assert not [line for line in host.log if "COMMENT" in line]


def test_a_proof_of_a_source_that_does_not_stand_still_is_of_no_use(host, run):
    host.container = "ours"
    host.sessions = [SOMEBODY]
    answer = run("proved", frozen=True)
    assert answer["failed"] and answer["msg"] == NOT_FROZEN + "; the proof is of no use" and not [line for line in host.log if "COMMENT" in line]
    host.sessions = [[]]
    assert run("proved", frozen=True, written={"public.items": 2})["msg"] == WRITTEN + "; the proof is of no use"


def test_without_a_copy_there_is_nothing_to_prove(host, run):
    answer = run("proved")
    assert answer["msg"] == "shop, db: found no server of this migration; needed a copy; run with state copied first" and host.log == []


# -- compared and absent ---------------------------------------------------------------


@pytest.mark.parametrize(
    "change, differences",
    [
        ({}, []),
        ({"items": {"rows": 4, "a": "5", "b": "6"}}, ["public.items: 4 rows, 3 at the switch"]),
        ({"tags": {"rows": 4, "a": "5", "b": "22"}}, ["public.tags: rows were changed (4 rows, as before)"]),
    ],
)
def test_what_was_written_since_the_switch(host, run, change, differences):
    host.container = "served"
    proof = {"form": "record", "tables": {"public.items": {"rows": 3, "a": "11", "b": "12"}, "public.tags": {"rows": 4, "a": "21", "b": "22"}}}
    host.digests["stack"].update(change)
    answer = run("compared", proof=proof)
    assert not answer.get("failed"), answer
    assert answer["differences"] == differences and answer["changed"] is False and host.log == ["docker config"]
    assert answer["msg"] == "shop, db: " + ("; ".join(differences) or "nothing was written since the switch")


def test_large_objects_count_since_the_switch(host, run):
    host.container = "served"
    host.catalogs["stack"]["large_objects"]["count"] = 2
    assert run("compared", proof={"form": "record", "tables": {}})["differences"][0] == "(large objects): a new table of 2 rows"


@pytest.mark.parametrize("proof", [None, {}])
def test_a_comparison_needs_a_proof(host, run, proof):
    assert run("compared", proof=proof)["msg"] == "shop, db, proof: found none; needed that of the receipt" and host.log == []


def test_a_stack_that_does_not_run_cannot_be_compared(host, run):
    answer = run("compared", proof={"form": "record", "tables": {}})
    assert answer["msg"] == "shop, db: the service db does not run; needed it to look at its data; start the stack; the native database is as it was"


def test_the_end_leaves_nothing_and_twice_is_no_change(host, run):
    run("prepared")
    spool = os.path.join(host.state, "migrations", "shop", "spool-db")
    assert os.path.isdir(spool)
    answer = run("absent", check=True, source={"socket": None})
    assert answer["changed"] is True and host.log == [] and os.path.isdir(spool) and host.container == "ours"
    answer = run("absent", source={"socket": None})
    assert answer["changed"] is True and host.log == ["docker rm client", "POST /containers/c1/stop", "DELETE /containers/c1"]
    assert not os.path.exists(spool) and not os.path.exists(os.path.join(host.runtime, "shop", "db"))
    answer = run("absent", source={"socket": None})
    assert answer["changed"] is False and host.log == ["docker rm client"] and answer["msg"] == "shop, db: nothing of the migration runs"


def test_the_end_does_not_stop_the_stacks_own_server(host, run):
    host.container = "served"
    assert run("absent")["changed"] is False and host.log == ["docker rm client"]


def test_a_full_disk_is_told(host, run, monkeypatch):
    monkeypatch.setattr(places.files, "write", lambda *unused: (nothing for nothing in ()).throw(OSError(28, "No space left on device")))
    answer = run("copied")
    assert answer["failed"] and answer["msg"] == "shop, db: [Errno 28] No space left on device; the native database is as it was"
