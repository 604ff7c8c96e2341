# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a migration: each command is scripted; one too many or too few fails."""

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import place as places
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import ConnectionLost

UID, GID = os.getuid(), os.getgid()
MODEL = {
    "services": {
        "db": {
            "image": "pgvector:17",
            "user": "%d:%d" % (UID, GID),
            "environment": {"POSTGRES_USER": "inventory", "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password", "EMPTY": None},
            "secrets": [{"source": "other"}, {"source": "postgres_password"}],
            "command": ["postgres", "-c", "shared_buffers=1$2"],
            "deploy": {"resources": {"limits": {"memory": "256000000"}}},
        },
        "app": {"image": "app"},
    },
    "secrets": {"postgres_password": {"file": "SECRET"}, "other": {"file": "OTHER"}},
}


class Docker:
    """The docker program: commands that are expected, in order, and their answers."""

    def __init__(self):
        self.script, self.called = [], []

    def expect(self, words, rc=0, out="", err=""):
        self.script.append((words, (rc, out, err)))
        return self

    def __call__(self, argv):
        assert self.script, "one call too many: %s" % argv
        words, answer = self.script.pop(0)
        assert words in " ".join(argv), "%s is not in %s" % (words, argv)
        self.called.append(argv)
        return answer


class Api:
    """The engine: its containers, and what it was asked to change."""

    def __init__(self):
        self.containers, self.details, self.calls, self.posted = [], {}, [], lambda: None

    def get(self, path, query=None, **unused):
        assert path == "/containers/json" and query == {"all": "1", "filters": {"label": ["com.docker.compose.project=shop", "com.docker.compose.service=db"]}}
        return self.containers

    def inspect(self, kind, name, **unused):
        assert kind == "containers"
        return self.details[name]

    def request(self, method, path, query=None, timeout=None, **unused):
        self.calls.append((method, path, query))
        if method == "POST":
            self.posted()


class Stack:
    """A stack's folder and the place that works on it."""

    def __init__(self, folder):
        self.folder, self.docker, self.api = folder, Docker(), Api()
        self.directory, self.runtime, self.spool = folder / "stack", folder / "run", folder / "spool"
        self.directory.mkdir()
        (self.directory / ".env").write_text('A=1\nCOMPOSE_FILE="compose.yaml:compose.production.yaml"\n')
        (self.directory / "secret").write_text("hush:hush\n")
        self.model = json.loads(json.dumps(MODEL).replace("SECRET", str(self.directory / "secret")))
        self.source = {
            "socket": "/var/run/postgresql",
            "host": None,
            "port": 5433,
            "user": "postgres",
            "password": None,
            "sslmode": None,
            "os_uid": UID,
            "os_gid": GID,
        }

    def place(self, **source):
        self.source.update(source)
        return places.Place(self.docker, self.api, "/usr/bin/docker", "shop", "db", str(self.directory), str(self.runtime), str(self.spool), self.source)

    def modelled(self, **source):
        self.docker.expect("config --format json", out=json.dumps(self.model))
        return self.place(**source)

    def serves(self, state="running", ours=True):
        self.api.containers = [{"Id": "c1"}]
        self.api.details = {
            "c1": {"State": {"Status": state}, "Mounts": [{"Destination": "/data"}] + ([{"Destination": "/run/dockyard/target"}] if ours else [])}
        }


@pytest.fixture(name="stack")
def _stack(tmp_path):
    found = Stack(tmp_path)
    yield found
    assert found.docker.script == [], "a call that did not come"


# -- pure ----------------------------------------------------------------------


@pytest.mark.parametrize("memory, cpus, work, jobs", [(0, 1, "64MB", "1"), (2 * 1024**3, 2, "512MB", "2"), (64 * 1024**3, 16, "1024MB", "4")])
def test_the_servers_settings_follow_the_host(memory, cpus, work, jobs):
    found = places.server_flags(memory, cpus)
    assert (found["maintenance_work_mem"], found["max_parallel_maintenance_workers"]) == (work, jobs)
    assert found["wal_level"] == "minimal" and found["max_wal_senders"] == "0" and "fsync" not in found and "full_page_writes" not in found
    assert found["unix_socket_directories"] == "/var/run/postgresql,/run/dockyard/target"


@pytest.mark.parametrize(
    "declared, wanted",
    [
        ({}, {"command": ["postgres", "-c", "a=1", "-c", "b=$$x"]}),
        ({"command": ["postgres", "-c", "z=$1"]}, {"command": ["postgres", "-c", "z=$$1", "-c", "a=1", "-c", "b=$$x"]}),
        ({"mem_limit": "1"}, {"command": ["postgres", "-c", "a=1", "-c", "b=$$x"], "mem_limit": "77"}),
        (
            {"deploy": {"resources": {"limits": {"memory": "1"}}}, "mem_limit": "1"},
            {"command": ["postgres", "-c", "a=1", "-c", "b=$$x"], "deploy": {"resources": {"limits": {"memory": "77"}}}},
        ),
        ({"deploy": {"resources": {"limits": {"cpus": "1"}}}}, {"command": ["postgres", "-c", "a=1", "-c", "b=$$x"]}),
        ({"deploy": None}, {"command": ["postgres", "-c", "a=1", "-c", "b=$$x"]}),
    ],
)
def test_the_file_that_is_laid_over_the_service(declared, wanted):
    found = places.overlay("db", {"services": {"db": declared}}, {"b": "$x", "a": "1"}, "/run/d/target", 77)
    assert found == {"services": {"db": dict(wanted, restart="no", volumes=[{"type": "bind", "source": "/run/d/target", "target": "/run/dockyard/target"}])}}


def test_a_command_that_is_one_text_is_refused():
    with pytest.raises(places.PlaceError, match=r"^the service db has its command as one text \('postgres -c x'\); needed a list in the Compose file$"):
        places.overlay("db", {"services": {"db": {"command": "postgres -c x"}}}, {}, "/x", 1)


@pytest.mark.parametrize(
    "user, wanted",
    [(None, None), ("", None), ("999:998", (999, 998)), ("999", (999, 999)), (999, (999, 999)), ("postgres", None), ("999:postgres", (999, 999))],
)
def test_the_owner_of_the_servers_files(user, wanted):
    assert places.owner_of({"user": user}) == wanted


def test_a_line_of_a_password_file():
    assert places.pgpass_line("/run/x", 5432, "*", "o:neil", "a\\b:c") == "/run/x:5432:*:o\\:neil:a\\\\b\\:c\n"


@pytest.mark.parametrize(
    "text, wanted",
    [
        (
            (
                "version=17\npostgres (PostgreSQL) 17.6 (Debian"
                " 17.6-0+deb13u1)\nlocale=C\nlocale=en_US.utf8\nlocale=C\nextension=/usr/share/postgresql/17/extension/vector.control\n"
                "extension=/usr/share/postgresql/17/extension/plpgsql.control\n"
            ),
            {"version": 170006, "extensions": ["plpgsql", "vector"], "locales": ["C", "en_US.utf8"]},
        ),
        ("version=16\n", {"version": 160000, "extensions": [], "locales": []}),
        ("version=16\npostgres (PostgreSQL) 17.0\n", {"version": 170000, "extensions": [], "locales": []}),
        ("postgres (PostgreSQL) 18beta1\n", {"version": 180000, "extensions": [], "locales": []}),
        ("postgres (PostgreSQL) 19devel\n", {"version": 190000, "extensions": [], "locales": []}),
    ],
)
def test_what_is_in_an_image(text, wanted):
    assert places.image_facts(text, "i") == wanted


@pytest.mark.parametrize("text", ["", "version=\n", "version=x\nlocale=C\n", "postgres (PostgreSQL) unknown\n"])
def test_an_image_without_postgresql(text):
    with pytest.raises(places.PlaceError, match="^the image web:1 tells no version of PostgreSQL; needed postgres on its PATH or PG_MAJOR in its environment$"):
        places.image_facts(text, "web:1")


# -- the native server's own client -----------------------------------------------


@pytest.mark.parametrize("euid, password", [(0, "hush"), (0, None), (1000, "hush")])
def test_the_native_client_keeps_the_password_out_of_the_process_list(monkeypatch, euid, password):
    seen = []
    monkeypatch.setattr(places, "Session", lambda argv, setup, **more: seen.append((argv, setup, more)))
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setenv("PGPASSWORD", "of somebody else")
    client = places.NativeClient(
        "/usr/bin/psql",
        {"socket": None, "host": "db.lan", "port": 5433, "user": "o'neil", "password": password, "sslmode": "require", "os_uid": 7, "os_gid": 8},
    )
    info = client.source_conninfo("things")
    assert info == "dbname='things' host='db.lan' port='5433' sslmode='require' user='o\\'neil'"
    client.session(info, "SET x = 1")
    argv, setup, more = seen[0]
    assert argv == ["/usr/bin/psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname", info] and setup == "SET x = 1"
    assert more["env"]["PGAPPNAME"] == "dockyard-migration" and more["env"]["PGPASSFILE"] == "/dev/null" and more["cwd"] == "/"
    assert more["env"].get("PGPASSWORD") == (password or "of somebody else")
    assert {key: more[key] for key in ("user", "group", "extra_groups") if key in more} == ({"user": 7, "group": 8, "extra_groups": []} if euid == 0 else {})
    assert client.stop_client() is None


def test_the_socket_comes_before_the_host():
    assert "host='/run/pg'" in places.NativeClient("psql", {"socket": "/run/pg", "host": "x", "port": 1, "user": "u"}).source_conninfo("d")


# -- the stack --------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "A=1\n"])
def test_a_folder_without_a_stack(stack, text):
    (stack.directory / ".env").unlink()
    if text is not None:
        (stack.directory / ".env").write_text(text)
    with pytest.raises(places.PlaceError, match=r": found no stack there \(no COMPOSE_FILE in .env\); needed its files; deploy or prepare it first$"):
        stack.place()


def test_the_compose_files_are_the_stacks(stack):
    words = stack.modelled().compose.argv()
    assert words[-4:] == ["--file", "%s/compose.yaml" % stack.directory, "--file", "%s/compose.production.yaml" % stack.directory]
    stack.docker.script.clear()


def test_the_service_is_asked_of_compose_once(stack):
    place = stack.modelled()
    assert place.declared()["image"] == "pgvector:17" and place.superuser() == "inventory" and place.password() == "hush:hush"
    assert place.environment()["EMPTY"] == ""


def test_a_service_that_is_not_there(stack):
    place = stack.modelled()
    place.service = "nope"
    with pytest.raises(places.PlaceError, match="^the service nope is not in the stack's Compose files; needed one of app, db$"):
        place.declared()


@pytest.mark.parametrize(
    "rc, out, err, wanted", [(1, "", "yaml: line 3\n", "docker compose config: yaml: line 3"), (0, "no json", "", "docker compose config: Expecting value")]
)
def test_a_compose_that_fails(stack, rc, out, err, wanted):
    stack.docker.expect("config", rc, out, err)
    with pytest.raises(places.PlaceError, match="^" + wanted):
        stack.place().declared()


@pytest.mark.parametrize(
    "environment, secrets, wanted",
    [
        ({}, [], ("postgres", "")),
        ({"POSTGRES_PASSWORD": "plain", "POSTGRES_USER": ""}, None, ("postgres", "plain")),
        ({"POSTGRES_PASSWORD_FILE": "/x/pw"}, [{"source": "postgres_password", "target": "/x/pw"}], ("postgres", "hush:hush")),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/pw"}, [{"source": "postgres_password", "target": "pw"}], ("postgres", "hush:hush")),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/none", "POSTGRES_PASSWORD": "p"}, [{"source": "postgres_password"}], ("postgres", "p")),
    ],
)
def test_the_superuser_and_its_password(stack, environment, secrets, wanted):
    stack.model["services"]["db"].update(environment=environment, secrets=secrets)
    place = stack.modelled()
    assert (place.superuser(), place.password()) == wanted


def test_the_image_is_looked_into_without_network_and_rights(stack):
    place = stack.modelled()
    stack.docker.expect("run --rm --pull never --network none --read-only --cap-drop ALL --user 65534:65534 --entrypoint sh pgvector:17 -c", out="version=17\n")
    assert place.image() == {"version": 170000, "extensions": [], "locales": []}


def test_an_image_that_does_not_run(stack):
    place = stack.modelled()
    stack.docker.expect("run --rm", 125, err="docker: no such image\n")
    with pytest.raises(places.PlaceError, match="^the image pgvector:17 does not run: docker: no such image$"):
        place.image()


@pytest.mark.parametrize(
    "source, with_target, passwords, has, has_not",
    [
        (
            {},
            False,
            "/run/dockyard/target:5432:*:inventory:hush\\:hush\n",
            ["--network none", "--volume /var/run/postgresql:/run/dockyard/source"],
            ["/run/dockyard/target"],
        ),
        (
            {"password": "p"},
            True,
            "/run/dockyard/source:5433:*:postgres:p\n/run/dockyard/target:5432:*:inventory:hush\\:hush\n",
            ["--network none", "/target:/run/dockyard/target"],
            [],
        ),
        (
            {"socket": None, "host": "db.lan", "password": "p"},
            True,
            "db.lan:5433:*:postgres:p\n/run/dockyard/target:5432:*:inventory:hush\\:hush\n",
            ["--network host"],
            ["/run/dockyard/source"],
        ),
    ],
)
def test_the_client_container(stack, source, with_target, passwords, has, has_not):
    place = stack.place(**source)
    stack.docker.script[:] = [
        ("rm --force shop-migration-db-client", (1, "", "none")),
        ("config", (0, json.dumps(stack.model), "")),
        ("run --detach", (0, "", "")),
    ]
    place.start_client(with_target)
    words = " ".join(stack.docker.called[-1])
    for text in has + [
        "--init --rm --pull never --name shop-migration-db-client",
        "--user %d:%d" % (UID, GID),
        "--read-only",
        "--cap-drop ALL",
        "no-new-privileges",
        "--entrypoint sleep pgvector:17 infinity",
        "PGAPPNAME=dockyard-migration",
    ]:
        assert text in words
    for text in has_not + ["hush", "--privileged"]:
        assert text not in words
    path = stack.runtime / "pgpass"
    assert path.read_text() == passwords and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.runtime.stat().st_mode) == 0o700 and stat.S_IMODE(stack.spool.stat().st_mode) == 0o700
    # What it was given goes with it.
    (stack.runtime / "jobs" / "0.in.0").write_text("x")
    stack.docker.expect("rm --force shop-migration-db-client")
    place.stop_client()
    assert sorted(os.listdir(stack.runtime)) == ["target"]


def test_a_client_that_does_not_start(stack):
    place = stack.place()
    stack.docker.script[:] = [("rm --force", (0, "", "")), ("config", (0, json.dumps(stack.model), "")), ("run --detach", (125, "", "docker: no space left\n"))]
    with pytest.raises(places.PlaceError, match="^the client container does not start: docker: no space left$"):
        place.start_client(True)


def test_commands_in_the_client(stack, monkeypatch):
    place = stack.modelled()
    assert place.argv("psql", "-x") == ["/usr/bin/docker", "exec", "--interactive", "shop-migration-db-client", "psql", "-x"]
    place.encoding = "LATIN1"
    assert place.argv("psql") == ["/usr/bin/docker", "exec", "--interactive", "--env", "PGCLIENTENCODING=LATIN1", "shop-migration-db-client", "psql"]
    assert place.source_conninfo("d") == "dbname='d' host='/run/dockyard/source' port='5433' user='postgres'"
    assert place.target_conninfo("d") == "dbname='d' host='/run/dockyard/target' port='5432' user='inventory'"
    seen = []
    monkeypatch.setattr(places, "Session", lambda argv, setup="": seen.append((argv[-8:], setup)))
    place.session("info", "SET x = 1")
    assert seen == [(["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname", "info"], "SET x = 1")]
    monkeypatch.setattr(place, "argv", lambda *words: ["sh", "-c", "cat; echo no >&2; exit 3"])
    assert place.run("x", data=b"in\xff") == (3, "in\ufffd", "no\n")


# -- the target's server ------------------------------------------------------------


def test_the_server_is_the_service_alone_with_our_file_over_it(stack):
    place = stack.modelled()
    stack.docker.expect("--file %s/compose.migration.json up --detach --no-deps --no-build --pull never db" % stack.runtime)
    stack.runtime.mkdir()
    place.start_server(1024**3, 2)
    path = stack.runtime / "compose.migration.json"
    laid = json.loads(path.read_text())["services"]["db"]
    assert laid["restart"] == "no" and laid["command"][:3] == ["postgres", "-c", "shared_buffers=1$$2"] and "wal_level=minimal" in laid["command"]
    assert laid["deploy"] == {"resources": {"limits": {"memory": str(1024**3)}}}
    assert laid["volumes"] == [{"type": "bind", "source": str(stack.runtime / "target"), "target": "/run/dockyard/target"}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_that_does_not_start(stack):
    place = stack.modelled()
    stack.docker.expect("up --detach", 1, err="Error: port is taken\n")
    stack.runtime.mkdir()
    with pytest.raises(places.PlaceError, match="^the target's server does not start: Error: port is taken$"):
        place.start_server(1, 1)


class Door:
    """Sessions with the target's server: each is an error or what it listens on."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, info, setup=""):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        self.listen = answer
        return self

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def row(self, sql):
        assert sql == "SELECT current_setting('listen_addresses') AS listen"
        return {"listen": self.listen}


def test_the_server_is_awaited_until_it_is_the_one_that_stays(stack, monkeypatch):
    place = stack.modelled()
    stack.serves()
    door = Door(ConnectionLost("no such file"), "", "*")
    monkeypatch.setattr(place, "session", door)
    slept = []
    for unused in range(2):
        stack.docker.expect("logs --tail 5 c1")
    place.await_server(sleep=slept.append, clock=lambda: 0)
    assert slept == [0.5, 0.5]


def test_a_server_that_ends_is_told_with_its_log(stack, monkeypatch):
    place = stack.modelled()
    stack.serves("exited")
    monkeypatch.setattr(place, "session", Door(ConnectionLost("no such file")))
    stack.docker.expect("logs --tail 5 c1", out="a\n\nb\n", err="FATAL: data directory\n")
    with pytest.raises(places.PlaceError, match=r"^the target's server ended \(exited\): a; b; FATAL: data directory$"):
        place.await_server(sleep=None, clock=lambda: 0)


def test_a_server_that_does_not_get_ready(stack, monkeypatch):
    place = stack.modelled()
    stack.serves()
    monkeypatch.setattr(place, "session", Door(ConnectionLost("starting up")))
    ticks = iter([0, 1, 181])
    stack.docker.expect("logs").expect("logs", out="recovering\n")
    with pytest.raises(places.PlaceError, match="^the target's server did not get ready within 180 s: starting up; recovering$"):
        place.await_server(sleep=lambda seconds: None, clock=lambda: next(ticks))


def test_whose_the_container_is(stack):
    place = stack.place()
    assert place.is_ours() is None and place.server_state() == ("absent", "") and place.stop_server() is False
    stack.serves(ours=False)
    assert place.is_ours() is False and place.stop_server() is False and stack.api.calls == []
    stack.serves()
    assert place.is_ours() is True


@pytest.mark.parametrize("refuse, raised", [(None, False), (DockerApiError("x", 304, "not running"), False), (DockerApiError("x", 500, "broken"), True)])
def test_the_migrations_server_is_stopped_and_its_container_removed(stack, refuse, raised):
    place = stack.place()
    stack.serves()

    def posted():
        if refuse:
            raise refuse

    stack.api.posted = posted
    if raised:
        with pytest.raises(DockerApiError):
            place.stop_server()
    else:
        assert place.stop_server() is True
    assert stack.api.calls == [("POST", "/containers/c1/stop", {"t": "120"})] + ([] if raised else [("DELETE", "/containers/c1", None)])


def test_a_session_with_the_stacks_own_server(stack, monkeypatch):
    place = stack.modelled()
    stack.serves()
    stack.docker.script.insert(0, ("logs", (0, "", "")))
    seen = []
    monkeypatch.setattr(places, "Session", lambda argv, setup: seen.append((argv, setup)))
    place.stack_session("d", "SET x = 1")
    assert seen == [
        (
            [
                "/usr/bin/docker",
                "exec",
                "--interactive",
                "c1",
                "psql",
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--no-password",
                "--dbname",
                "application_name='dockyard-migration' dbname='d' user='inventory'",
            ],
            "SET x = 1",
        )
    ]


@pytest.mark.parametrize("state", [None, "exited"])
def test_a_stack_that_does_not_run_has_no_session(stack, state):
    place = stack.place()
    if state:
        stack.serves(state)
        stack.docker.expect("logs")
    with pytest.raises(places.PlaceError, match="^the service db does not run; needed it to look at its data; start the stack$"):
        place.stack_session("d")
