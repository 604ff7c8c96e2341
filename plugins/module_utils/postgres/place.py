# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two containers that a migration works with: the target's server, alone and closed, and one with the client programs of its version.

Both are of the target's image, so that pg_dump, psql and the server are of one version, and nothing is installed on the host. The server is the stack's own
service, started
by Compose with a file laid over it; it listens for us on a socket in a folder that only root reaches. The client container has the sockets of both servers
and no privilege; it
runs as the user whom the native server knows by its uid (peer authentication).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.compose import Compose, ComposeError, tail
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import Session, SqlError, conninfo
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

# Inside the containers.
SOURCE, TARGET, JOBS, SPOOL, PASSWORDS = "/run/dockyard/source", "/run/dockyard/target", "/run/dockyard/jobs", "/run/dockyard/spool", "/run/dockyard/pgpass"
APPLICATION = "dockyard-migration"
READY_SECONDS = 180


class PlaceError(Exception):
    """A container does not do what it should; the text says what was found and needed."""


def server_flags(memory_bytes, cpus):
    """Settings of the target's server while nobody but us uses it; none of them outlives the migration.

    :arg memory_bytes: int, what the container may use. :arg cpus: int.
    :returns: dict of setting to text
    """
    megabytes = max(memory_bytes // (1024 * 1024), 256)
    return {
        # Rows that are copied into a table of the same transaction need no write-ahead log then (manual, section 14.4.7).
        "wal_level": "minimal",
        "max_wal_senders": "0",
        # A crash loses what is done anew anyway; fsync stays on, for checkpoints must be true.
        "synchronous_commit": "off",
        "autovacuum": "off",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "30min",
        "checkpoint_completion_target": "0.5",
        "maintenance_work_mem": "%dMB" % min(megabytes // 4, 1024),
        "max_parallel_maintenance_workers": str(min(cpus, 4)),
        # The entry point of the official image makes the database through the default one.
        "unix_socket_directories": "/var/run/postgresql,%s" % TARGET,
        "unix_socket_permissions": "0777",
    }


def overlay(service, model, flags, target_dir, memory_bytes):
    """A Compose file (dict) that lays the migration's settings over one service.

    :arg model: dict, ``docker compose config --format json`` of the stack.
    """
    declared = model["services"][service]
    command = declared.get("command") or ["postgres"]
    if isinstance(command, str):
        raise PlaceError("the service %s has its command as one text (%r); needed a list in the Compose file" % (service, command))
    for key, value in sorted(flags.items()):
        command = command + ["-c", "%s=%s" % (key, value)]
    changed = {"command": [word.replace("$", "$$") for word in command], "restart": "no", "volumes": [{"type": "bind", "source": target_dir, "target": TARGET}]}
    limits = ((declared.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    if limits.get("memory"):
        changed["deploy"] = {"resources": {"limits": {"memory": str(memory_bytes)}}}
    elif declared.get("mem_limit"):
        changed["mem_limit"] = str(memory_bytes)
    return {"services": {service: changed}}


def owner_of(declared):
    """(uid, gid) that a service of the Compose model runs as, or None when it says none or a name."""
    words = str(declared.get("user") or "").split(":")
    if not words[0].isdigit():
        return None
    return int(words[0]), int(words[-1]) if words[-1].isdigit() else int(words[0])


def pgpass_line(host, port, database, user, password):
    """A line of a password file (manual, section 34.16)."""
    return ":".join(str(word).replace("\\", "\\\\").replace(":", "\\:") for word in (host, port, database, user, password)) + "\n"


class NativeClient:
    """psql of the native server's own installation, for a look at it on a host that has no Docker or no image yet. Reads only.

    :arg source: dict as that of :class:`Place`, with ``os_user``.
    """

    def __init__(self, program, source):
        self.program, self.source = program, source

    def source_conninfo(self, database):
        """A connection string for the native server."""
        return conninfo(
            host=self.source.get("socket") or self.source["host"],
            port=self.source["port"],
            user=self.source["user"],
            dbname=database,
            sslmode=self.source.get("sslmode"),
        )

    def session(self, info, setup=""):
        """A session with it. The password goes through the environment, which is nobody else's to read."""
        environment = dict(os.environ, PGAPPNAME=APPLICATION, PGCONNECT_TIMEOUT="10", PGPASSFILE="/dev/null", LC_ALL="C.UTF-8")
        if self.source.get("password"):
            environment["PGPASSWORD"] = self.source["password"]
        become = {}
        if os.geteuid() == 0:
            become = {"user": self.source["os_uid"], "group": self.source["os_gid"], "extra_groups": []}
        return Session(
            [self.program, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname", info],
            setup,
            env=environment,
            cwd="/",
            **become,
        )

    def stop_client(self):
        """Nothing was started."""


class Place:
    """The containers of one migration of one service.

    :arg run: callable(list argv) -> (rc, stdout, stderr). :arg api: DockerApi. :arg docker: str, path of the docker program.
    :arg stack: str, the Compose project. :arg service: str. :arg directory: str, the stack's folder. :arg runtime: str, a folder on tmpfs that is the
    migration's own.
    :arg source: dict ``{socket, host, port, user, password, os_uid, os_gid, sslmode}`` (``socket`` is a folder of this host).
    """

    def __init__(self, run, api, docker, stack, service, directory, runtime, spool, source):
        self._run, self.api, self.docker = run, api, docker
        self.stack, self.service, self.directory, self.runtime, self.spool, self.source = stack, service, directory, runtime, spool, source
        self.client = "%s-migration-%s-client" % (stack, service)
        self.compose = Compose(run, docker, stack, directory, self._compose_files())
        self.model = None
        self.encoding = ""

    def _compose_files(self):
        for line in (files.read(os.path.join(self.directory, ".env")) or b"").decode("utf-8", "replace").splitlines():
            name, unused, value = line.partition("=")
            if name == "COMPOSE_FILE":
                return value.strip('"').split(":")
        raise PlaceError("%s: found no stack there (no COMPOSE_FILE in .env); needed its files; deploy or prepare it first" % self.directory)

    def declared(self):
        """The service as the stack declares it. :raises PlaceError: there is none."""
        if self.model is None:
            try:
                self.model = self.compose.model()
            except (ComposeError, ValueError) as error:
                raise PlaceError("docker compose config: %s" % error)
        if self.service not in self.model["services"]:
            raise PlaceError("the service %s is not in the stack's Compose files; needed one of %s" % (self.service, ", ".join(sorted(self.model["services"]))))
        return self.model["services"][self.service]

    def environment(self):
        """Environment of the service as Compose resolves it (dict of str)."""
        return {key: "" if value is None else str(value) for key, value in (self.declared().get("environment") or {}).items()}

    def superuser(self):
        """The cluster's superuser, as the image's entry point makes it."""
        return self.environment().get("POSTGRES_USER") or "postgres"

    def password(self):
        """Password of the superuser, from the secret that the service is given; empty when there is none."""
        path = self.environment().get("POSTGRES_PASSWORD_FILE") or ""
        for entry in self.declared().get("secrets") or []:
            place = entry.get("target") or entry["source"]
            if path == (place if place.startswith("/") else "/run/secrets/%s" % place):
                return (files.read(self.model["secrets"][entry["source"]]["file"]) or b"").decode("utf-8").rstrip("\n")
        return self.environment().get("POSTGRES_PASSWORD") or ""

    # -- the image ----------------------------------------------------------

    def image(self):
        """``{version, extensions, locales}`` of the image.

        :raises PlaceError: it is not on the host, or holds no PostgreSQL.
        """
        script = (
            "echo \"version=$PG_MAJOR\"; postgres --version 2>/dev/null; locale -a 2>/dev/null | sed 's/^/locale=/'; "
            "find /usr/share /usr/local/share -path '*/extension/*.control' 2>/dev/null | sed 's/^/extension=/'"
        )
        rc, out, err = self._run(
            [
                self.docker,
                "run",
                "--rm",
                "--pull",
                "never",
                "--network",
                "none",
                "--read-only",
                "--cap-drop",
                "ALL",
                "--user",
                "65534:65534",
                "--entrypoint",
                "sh",
                self.declared()["image"],
                "-c",
                script,
            ]
        )
        if rc != 0:
            raise PlaceError("the image %s does not run: %s" % (self.declared()["image"], tail(err, 3)))
        return image_facts(out, self.declared()["image"])

    # -- the client container ------------------------------------------------

    def start_client(self, with_target):
        """Make the client container anew."""
        self.stop_client()
        user = "%d:%d" % (self.source["os_uid"], self.source["os_gid"])
        for path in (self.runtime, self._path("jobs"), self._path("target")):
            os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(self._path("jobs"), 0o755)
        os.makedirs(self.spool, mode=0o700, exist_ok=True)
        os.chown(self.spool, self.source["os_uid"], self.source["os_gid"])
        self._write_passwords()
        argv = [
            self.docker,
            "run",
            "--detach",
            "--init",
            "--rm",
            "--pull",
            "never",
            "--name",
            self.client,
            "--label",
            "org.dockyard.migration=%s" % self.stack,
            "--user",
            user,
            "--network",
            "none" if self.source.get("socket") else "host",
            "--read-only",
            "--tmpfs",
            "/tmp:mode=1777",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--env",
            "PGPASSFILE=%s" % PASSWORDS,
            "--env",
            "PGAPPNAME=%s" % APPLICATION,
            "--env",
            "PGCONNECT_TIMEOUT=10",
            "--env",
            "HOME=/tmp",
            "--volume",
            "%s:%s:ro" % (self._path("pgpass"), PASSWORDS),
            "--volume",
            "%s:%s:ro" % (self._path("jobs"), JOBS),
            "--volume",
            "%s:%s" % (self.spool, SPOOL),
        ]
        if self.source.get("socket"):
            argv += ["--volume", "%s:%s" % (self.source["socket"], SOURCE)]
        if with_target:
            argv += ["--volume", "%s:%s" % (self._path("target"), TARGET)]
        rc, unused, err = self._run(argv + ["--entrypoint", "sleep", self.declared()["image"], "infinity"])
        if rc != 0:
            raise PlaceError("the client container does not start: %s" % tail(err, 5))

    def _path(self, name):
        return os.path.join(self.runtime, name)

    def _write_passwords(self):
        lines = ""
        if self.source.get("password"):
            lines += pgpass_line(self.source.get("host") or SOURCE, self.source["port"], "*", self.source["user"], self.source["password"])
            # libpq looks for "localhost" when the socket's folder is its default one only; this is for servers with a socket elsewhere.
        password = self.password()
        if password:
            lines += pgpass_line(TARGET, 5432, "*", self.superuser(), password)
        files.write(self._path("pgpass"), lines.encode("utf-8"), 0o600, (self.source["os_uid"], self.source["os_gid"]))

    def stop_client(self):
        """Remove the client container and what it was given."""
        self._run([self.docker, "rm", "--force", self.client])
        for name in ("pgpass", "jobs"):
            path = self._path(name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.exists(path):
                os.unlink(path)

    def source_conninfo(self, database, **more):
        """How psql in the client container reaches the native server."""
        return conninfo(
            host=SOURCE if self.source.get("socket") else self.source["host"],
            port=self.source["port"],
            user=self.source["user"],
            dbname=database,
            sslmode=self.source.get("sslmode"),
            **more,
        )

    def target_conninfo(self, database):
        """How psql in the client container reaches the target's server."""
        return conninfo(host=TARGET, port=5432, user=self.superuser(), dbname=database)

    def argv(self, *words):
        """A command line that runs in the client container, with standard input."""
        extra = ["--env", "PGCLIENTENCODING=%s" % self.encoding] if self.encoding else []
        return [self.docker, "exec", "--interactive"] + extra + [self.client] + list(words)

    def session(self, info, setup=""):
        """A session with a server. :arg info: str, a connection string. :raises SqlError: it can't be."""
        return Session(self.argv("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname", info), setup)

    def run(self, *words, data=None):
        """Run a program in the client container. :returns: (rc, stdout, stderr) as str."""
        # pylint: disable-next=ansible-bad-function  # run_command takes no bytes for standard input
        done = subprocess.run(self.argv(*words), input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    # -- the target's server -------------------------------------------------

    def start_server(self, memory_bytes, cpus):
        """Bring the stack's database service up alone, for us.

        :raises PlaceError: it does not get ready.
        """
        declared = self.declared()
        owner = owner_of(declared) or (999, 999)
        target = self._path("target")
        os.makedirs(target, mode=0o755, exist_ok=True)
        os.chown(target, owner[0], owner[1])
        os.chmod(target, 0o755)
        path = self._path("compose.migration.json")
        document = overlay(self.service, self.model, server_flags(memory_bytes, cpus), target, memory_bytes)
        files.write(path, json.dumps(document, indent=1, sort_keys=True).encode("utf-8"), 0o600)
        # The path may be absolute: Compose resolves it against the working directory only when it is not.
        argv = self.compose.argv()
        argv += ["--file", path, "up", "--detach", "--no-deps", "--no-build", "--pull", "never", self.service]
        rc, unused, err = self._run(argv)
        if rc != 0:
            raise PlaceError("the target's server does not start: %s" % tail(err, 5))

    def await_server(self, sleep=time.sleep, clock=time.monotonic):
        """Wait until the target's server answers on our socket and its entry point is through with a new cluster."""
        deadline, last = clock() + READY_SECONDS, "no answer"
        while clock() < deadline:
            try:
                with self.session(self.target_conninfo("postgres")) as session:
                    # The server that runs the scripts of a first start listens on its socket alone.
                    if session.row("SELECT current_setting('listen_addresses') AS listen")["listen"]:
                        return
            except SqlError as error:
                last = str(error)
            state, logs = self.server_state()
            if state != "running":
                raise PlaceError("the target's server ended (%s): %s" % (state, logs))
            sleep(0.5)
        raise PlaceError("the target's server did not get ready within %d s: %s; %s" % (READY_SECONDS, last, self.server_state()[1]))

    def server_state(self):
        """(state, last lines of its log) of the target's server."""
        identifier = self._server()
        if identifier is None:
            return "absent", ""
        state = self.api.inspect("containers", identifier)["State"]["Status"]
        rc, out, err = self._run([self.docker, "logs", "--tail", "5", identifier])
        return state, tail(out + err, 5).replace("\n", "; ")

    def _server(self):
        found = self.api.get(
            "/containers/json",
            {"all": "1", "filters": {"label": ["com.docker.compose.project=%s" % self.stack, "com.docker.compose.service=%s" % self.service]}},
        )
        return found[0]["Id"] if found else None

    def stack_session(self, database, setup=""):
        """A session with the stack's own server, through its container.

        :raises PlaceError: it does not run. :raises SqlError: it does not let us in.
        """
        identifier = self._server()
        if identifier is None or self.server_state()[0] != "running":
            raise PlaceError("the service %s does not run; needed it to look at its data; start the stack" % self.service)
        info = conninfo(user=self.superuser(), dbname=database, application_name=APPLICATION)
        return Session(
            [
                self.docker,
                "exec",
                "--interactive",
                identifier,
                "psql",
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--no-password",
                "--dbname",
                info,
            ],
            setup,
        )

    def is_ours(self):
        """Whether the service's container is the migration's, by the folder that it has of us; None when there is no container."""
        identifier = self._server()
        if identifier is None:
            return None
        return any(mount.get("Destination") == TARGET for mount in self.api.inspect("containers", identifier).get("Mounts") or [])

    def stop_server(self):
        """Stop the migration's server and remove its container; the volume stays. :returns: bool, whether there was one."""
        if not self.is_ours():
            return False
        identifier = self._server()
        try:
            self.api.request("POST", "/containers/%s/stop" % identifier, query={"t": "120"}, timeout=150)
        except DockerApiError as error:
            if error.status != 304:
                raise
        self.api.request("DELETE", "/containers/%s" % identifier, timeout=60)
        return True


def image_facts(text, name):
    """What the script of :meth:`Place.image` printed, as ``{version, extensions, locales}``; ``version`` in the form of server_version_num.

    :raises PlaceError: no PostgreSQL is in the image.
    """
    version, extensions, locales = 0, [], []
    for line in text.splitlines():
        key, unused, value = line.partition("=")
        if line.startswith("postgres (PostgreSQL)"):
            # 17.6, and of those that are not released yet 18beta1, 18devel
            numbers = re.match(r"(\d+)(?:\.(\d+))?", line.split()[2])
            version = int(numbers.group(1)) * 10000 + int(numbers.group(2) or 0) if numbers else 0
        elif key == "version" and value.isdigit() and not version:
            version = int(value) * 10000
        elif key == "locale":
            locales.append(value)
        elif key == "extension":
            extensions.append(os.path.basename(value)[: -len(".control")])
    if not version:
        raise PlaceError("the image %s tells no version of PostgreSQL; needed postgres on its PATH or PG_MAJOR in its environment" % name)
    return {"version": version, "extensions": sorted(set(extensions)), "locales": sorted(set(locales))}
