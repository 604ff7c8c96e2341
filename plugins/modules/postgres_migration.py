#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_migration
short_description: The database of a native PostgreSQL server is in a stack's container, proven equal
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Looks at a native PostgreSQL server (11 or newer), brings one of its databases into the volume of a stack's database service, and proves that both hold
    the same.
  - Works with two containers of the target's own image, so that nothing is installed on the host and the programs are those of the target's version. The
    stack's application
    is not started; M(dockyard.fleet.release) does that afterwards.
  - The native server is only read. Tables are locked against changes of their structure while they are copied, not against writes.
  - Refuses a target database that holds anything which is not a leftover of an earlier run of this module.
  - Roles that own or may use something are made without a password and without the right to log in. Passwords and their hashes are not carried over.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: With O(state=copied) it looks only, as O(state=surveyed) does, and says what would be copied.
    support: full
  diff_mode:
    description: Rows are counted and hashed, not shown.
    support: none
  platform:
    platforms: posix
options:
  stack:
    description: Name of the stack. Its files must be on the host.
    type: str
    required: true
  service:
    description: The Compose service whose volume gets the data.
    type: str
    required: true
  state:
    description:
      - V(surveyed) reads what is there, what stands against a migration and what will be otherwise. Changes nothing but for two short-lived containers.
      - V(prepared) starts the target's server alone, with an empty cluster where there is none, so that the time for this is not part of the freeze.
      - V(copied) makes the target database anew and copies into it. Each run begins anew.
      - V(proved) compares both, and fails on a difference.
      - V(compared) tells what was written to the stack's own, running database since the proof. It only looks.
      - V(absent) stops the migration's server and removes its containers and temporary files. The data stays.
    type: str
    choices: [surveyed, prepared, copied, proved, compared, absent]
    required: true
  source:
    description: How the native server is reached. Not needed with O(state=absent) and O(state=compared).
    type: dict
    suboptions:
      socket:
        description: Folder of its socket on this host.
        type: path
      host:
        description: Its address, when O(source.socket) is not given.
        type: str
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: The user there; a superuser.
        type: str
        default: postgres
      password:
        description: Its password, where one is needed.
        type: str
      sslmode:
        description: As libpq has it.
        type: str
      database:
        description: The database.
        type: str
        required: true
      os_user:
        description: The user of this host that connects, for peer authentication; O(source.user) when it exists here, else C(nobody).
        type: str
  database:
    description: Name of the database in the target; O(source.database) by default.
    type: str
  strategy:
    description:
      - V(copy) streams each table by binary COPY under one snapshot, several at once, with indexes and constraints made afterwards; no intermediate file.
      - V(dump) is pg_dump and pg_restore in the directory format, in parallel, through a folder in O(state_dir).
      - V(auto) is V(copy), but V(dump) where an extension keeps data of its own.
    type: str
    choices: [auto, copy, dump]
    default: auto
  roles:
    description: Owners there to owners here. Other names stay as they are.
    type: dict
    default: {}
  locale:
    description: Locale of the target database, where the image has not the source's. Text is sorted by it.
    type: str
    default: ""
  migration:
    description: Name of the migration, by which its leftovers are known.
    type: str
    default: native
  workers:
    description: Tables that are copied at once, and jobs of pg_restore; 0 is the number of processors, 4 at most.
    type: int
    default: 0
  frozen:
    description: Whether nobody may be connected to the native database, and nothing may be written to it, while this runs.
    type: bool
    default: false
  written:
    description: RV(writes) of an earlier run. Tables with other counts have been written to since, which is refused.
    type: dict
  keep:
    description:
      - Keep the database that is there under the name RV(kept), instead of dropping it. For a target whose containers have served since it was copied.
    type: bool
    default: false
  proof:
    description: RV(proof) of the copy, for O(state=compared).
    type: dict
  lease:
    description:
      - RV(dockyard.fleet.native_units#module:lease), renewed while this runs. When it has ended, the source may have been written to, and the module
        fails.
    type: path
  lease_seconds:
    description: For how long it is renewed each time.
    type: int
    default: 120
  config_dir:
    description: Folder on the host under which C(stacks/<stack>) is.
    type: path
    default: /etc/dockyard
  state_dir:
    description: Folder of the collection's state on the host.
    type: path
    default: /var/lib/dockyard
  docker_socket:
    description: Path of the Docker socket.
    type: path
    default: /var/run/docker.sock
  progress:
    description: Token under which the controller follows the progress. Not for playbooks.
    type: str
    default: ""
requirements:
  - Docker Engine with Compose v2.24 or later
  - The image of the service on the host, with C(postgres), C(psql), C(pg_dump) and C(pg_restore), and C(sh)
seealso:
  - module: dockyard.fleet.release
  - module: community.postgresql.postgresql_db
    description: Dumps and restores one database, without a proof.
"""

EXAMPLES = r"""
- name: Look at the native database
  dockyard.fleet.postgres_migration:
    stack: inventory
    service: db
    state: surveyed
    source:
      socket: /var/run/postgresql
      database: inventory_db
  become: true
  register: survey

- name: Copy it
  dockyard.fleet.postgres_migration:
    stack: inventory
    service: db
    state: copied
    source:
      socket: /var/run/postgresql
      database: inventory_db
    frozen: true
  become: true

- name: Prove that both hold the same
  dockyard.fleet.postgres_migration:
    stack: inventory
    service: db
    state: proved
    source:
      socket: /var/run/postgresql
      database: inventory_db
    frozen: true
  become: true
"""

RETURN = r"""
problems:
  description: What stands against it. Empty, or the module has failed but for O(state=surveyed).
  type: list
  elements: str
  returned: surveyed
notes:
  description: What will be otherwise in the target.
  type: list
  elements: str
  returned: surveyed
source:
  description: What is there - version, bytes, tables, rows (estimated), sequences, extensions, roles, large objects, encoding and locale.
  type: dict
  returned: surveyed, prepared, copied
  sample: {version: "15.14 (Debian 15.14-0+deb12u1)", bytes: 1203929111, tables: 14, rows_estimate: 420113}
target:
  description: How the target stands - its version, whether its volume holds a cluster, and whose.
  type: dict
  returned: surveyed
  sample: {version: 170006, cluster: absent}
room:
  description: Bytes that are needed and free where Docker keeps the volume.
  type: dict
  returned: surveyed
  sample: {needed: 2101979020, free: 48318382080}
strategy:
  description: The strategy that is used.
  type: str
  returned: surveyed, copied
writes:
  description: What each table's counters say was written since the server's statistics began. Equal numbers later mean that nobody wrote.
  type: dict
  returned: surveyed, copied, proved
seconds_by_step:
  description: How long each step took.
  type: dict
  returned: copied, proved
proof:
  description: Rows and digests of each table on both sides, and what was compared besides.
  type: dict
  returned: proved, also on failure
  sample: {form: record, tables: {public.items: {rows: 1200, a: "-81273981273", b: "998213"}}, sequences: 6, constraints: 11, indexes: 19, seconds: 0.9}
differences:
  description: What is not alike; the switch must not follow.
  type: list
  elements: str
  returned: proved, on failure; compared
kept:
  description: Name of the database that was there before, when O(keep).
  type: str
  returned: copied
seconds:
  description: How long it took.
  type: float
  returned: always
"""

import contextlib
import json
import os
import pwd
import shutil
import threading
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils import progress
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApi, DockerApiError, DockerError
from ansible_collections.dockyard.fleet.plugins.module_utils.migration.lease import Renewer
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres import catalog, plan, proof, transfer
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.place import NativeClient, Place, PlaceError
from ansible_collections.dockyard.fleet.plugins.module_utils.postgres.session import ConnectionLost, SqlError, identifier, literal, qualified
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

RUNTIME = "/run/dockyard/migrations"
# Parallel workers of a query need a larger /dev/shm than a container has; two sides at once keep two processors busy anyway.
SESSION = "SET max_parallel_workers_per_gather = 0; SET synchronize_seqscans = off; SET default_transaction_read_only = on"


class MigrationError(Exception):
    """It can't go on; ``facts`` go into the result."""

    def __init__(self, message, changed=False, **facts):
        super().__init__(message)
        self.changed, self.facts = changed, facts


def hint_of(message, source):
    """What to do about a connection that failed. :arg source: dict of the option."""
    where = source["socket"] or "%s:%d" % (source["host"], source["port"])
    text = message.lower()
    if "password authentication failed" in text or "no password supplied" in text:
        return "needed the password of %s; set the variable that the stack's section migration names, or source.password" % source["user"]
    if "peer authentication failed" in text:
        return "needed the user of this host that pg_hba.conf knows as %s; set source.os_user" % source["user"]
    if "no pg_hba.conf entry" in text:
        return "needed a line in pg_hba.conf for %s on %s; use the local socket, or add the line" % (source["user"], source["database"])
    if "does not exist" in text and 'role "' in text:
        return "needed a user that the server knows; set source.user"
    if "does not exist" in text and "database" in text:
        return "needed the database %s; correct its name" % source["database"]
    return "needed a PostgreSQL server at %s; look at `systemctl status postgresql`" % where


class Migration:
    """One database of one service on this host."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.stack, self.service = module.params["stack"], module.params["service"]
        self.where = "%s, %s" % (self.stack, self.service)
        self.started = time.time()
        self.changed = False
        self.steps = {}
        self.kept = ""
        self.source = self._source()
        self.database = self.source.get("database")
        self.target = module.params["database"] or self.database
        self.cpus = os.cpu_count() or 1
        self.workers = module.params["workers"] or min(self.cpus, 4)
        self.note = "%s, not proven" % module.params["migration"]
        self.memory = os.path.join(module.params["state_dir"], "migrations", self.stack, "postgres-%s.json" % self.service)
        self.reporter = progress.open_reporter(module.params["progress"], "copying the database")
        self.api = DockerApi(module.params["docker_socket"], timeout=30)
        self.native = None
        docker = module.get_bin_path("docker")
        if module.params["state"] == "surveyed" and not self._is_prepared(docker):
            self.native = NativeClient(module.get_bin_path("psql") or "psql", self.source)
            self.place = self.native
            return
        if not docker:
            raise MigrationError("%s: found no docker program; needed Docker with Compose v2; run the role docker_engine first" % self.where)
        self.place = Place(
            module.run_command,
            self.api,
            docker,
            self.stack,
            self.service,
            os.path.join(module.params["config_dir"], "stacks", self.stack),
            os.path.join(RUNTIME, self.stack, self.service),
            os.path.join(module.params["state_dir"], "migrations", self.stack, "spool-%s" % self.service),
            self.source,
        )

    def _is_prepared(self, docker):
        """Whether the target's image and the stack's files are here, so that the look can be one through containers."""
        folder = os.path.join(self.params["config_dir"], "stacks", self.stack)
        if not docker or not os.path.exists(os.path.join(folder, ".env")):
            return False
        try:
            place = Place(self.module.run_command, self.api, docker, self.stack, self.service, folder, "", "", self.source)
            self.api.inspect("images", place.declared()["image"])
        except (PlaceError, DockerError):
            return False
        return True

    def _source(self):
        given = self.params["source"]
        if self.params["state"] in ("absent", "compared"):
            return dict(given or {}, os_uid=65534, os_gid=65534)
        if not given or bool(given["socket"]) == bool(given["host"]):
            raise MigrationError(
                "%s, source: found %s; needed one of socket and host; nothing was changed"
                % (self.where, "both socket and host" if given and given["socket"] else "neither socket nor host")
            )
        if not given["database"]:
            # libpq would take the one that is named as the user.
            raise MigrationError("%s, source.database: found no name; needed that of the native database; nothing was changed" % self.where)
        found = dict(given, os_uid=65534, os_gid=65534)
        name = given["os_user"] or given["user"]
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            if given["os_user"]:
                raise MigrationError("%s, source.os_user: found no user %s on this host; nothing was changed" % (self.where, name))
        else:
            found.update(os_uid=entry.pw_uid, os_gid=entry.pw_gid)
        if given["socket"] and not os.path.exists(os.path.join(given["socket"], ".s.PGSQL.%d" % given["port"])):
            raise MigrationError(
                "%s: found no socket %s/.s.PGSQL.%d; needed a running PostgreSQL server; look at `systemctl status postgresql`; nothing was changed"
                % (self.where, given["socket"], given["port"])
            )
        return found

    def run(self):
        """The state that is asked for. Returns the result for exit_json."""
        with self.reporter, Renewer(self.params["lease"], self.params["lease_seconds"]) as lease:
            if not lease.held:
                raise MigrationError(
                    "%s: found the freeze ended; needed it to hold, for the native application may have written since; nothing was changed; run again"
                    % self.where
                )
            result = getattr(self, "_" + self.params["state"])()
        # It looks once more when it is left.
        if not lease.held:
            raise MigrationError(
                "%s: found the freeze ended while this ran; needed it to hold, for the native application may have written since; it serves; run again"
                % self.where,
                self.changed,
            )
        result.setdefault("changed", self.changed)
        result["seconds"] = round(time.time() - self.started, 2)
        return result

    @contextlib.contextmanager
    def _step(self, name):
        begin = time.monotonic()
        yield
        self.steps[name] = round(time.monotonic() - begin, 2)

    # -- sessions ------------------------------------------------------------

    def _source_session(self):
        try:
            return self.place.session(self.place.source_conninfo(self.database), SESSION)
        except ConnectionLost as error:
            raise MigrationError(
                "%s: the native server does not let us in: %s; %s; nothing was changed" % (self.where, error, hint_of(str(error), self.source))
            )

    def _target_session(self, database=None, setup=""):
        return self.place.session(self.place.target_conninfo(database or self.target), setup)

    def _read(self, session):
        return catalog.read(session, qualified)

    # -- states --------------------------------------------------------------

    def _surveyed(self):
        try:
            found = self._look()
        finally:
            self.place.stop_client()
        return {
            "problems": found["problems"],
            "notes": found["notes"],
            "source": found["told"],
            "target": found["target"],
            "room": found["room"],
            "strategy": found["strategy"],
            "writes": found["writes"],
            "changed": False,
            "msg": "%s: %s" % (self.where, "; ".join(found["problems"]) if found["problems"] else "nothing stands against it"),
        }

    def _look(self, with_target=False):
        """What is there, and what stands against it; the client container runs then."""
        image = None
        if not self.native:
            image = self.place.image()
            self.place.start_client(with_target)
        with self._source_session() as session:
            source = self._read(session)
            sessions = session.rows(catalog.SESSIONS)
            writes = self._writes(session)
        strategy = plan.choose(self.params["strategy"], source)
        role_map = self.params["roles"]
        room = {"needed": plan.room_needed(source, strategy), "free": self._free()}
        problems = ["%s: found %s" % (self.where, text) for text in plan.problems(source, image, strategy, self.params["locale"])]
        wanted = self.params["locale"]
        if image and wanted and plan.locale_problem({"provider": None, "collate": wanted, "ctype": wanted}, image["locales"]):
            problems.append(
                "%s, locale: found %s, which the image does not have; needed one of %s" % (self.where, self.params["locale"], ", ".join(image["locales"]))
            )
        cluster = "unknown" if self.native else self._cluster()
        if room["free"] is not None and room["free"] < room["needed"] and cluster != "ours":
            problems.append(
                "%s: found %d MB free for the volume; needed %d MB; make room, or move Docker's data"
                % (self.where, room["free"] // 10**6, room["needed"] // 10**6)
            )
        if cluster == "served":
            problems.append(
                "%s: found the service running with its own data; needed a stack that is not deployed, or one that was stopped and whose volume may go; "
                "see playbooks/stop.yml"
                % self.where
            )
        tables = plan.tables_to_copy(source)
        told = {
            "version": source["server"]["version_text"],
            "bytes": source["database"]["bytes"],
            "tables": len(tables),
            "rows_estimate": sum(table["rows_estimate"] for table in tables),
            "sequences": len(source["sequences"]),
            "extensions": [entry["name"] for entry in source["extensions"]],
            "roles": [role["name"] for role in source["roles"]],
            "large_objects": source["large_objects"]["count"],
            "encoding": source["database"]["encoding"],
            "locale": source["database"]["collate"],
            "wal_level": source["server"]["wal_level"],
            "sessions": sessions,
        }
        notes = plan.notes(source, role_map, "" if self.native else self.place.superuser())
        if not image:
            notes.append(
                "the target's image is not on the host yet: phase copy looks whether it has the extensions (%s) and the locale (%s)"
                % (", ".join(told["extensions"]), told["locale"])
            )
        return {
            "catalog": source,
            "problems": problems,
            "notes": ["%s: %s" % (self.where, text) for text in notes],
            "told": told,
            "room": room,
            "strategy": strategy,
            "target": {"version": image and image["version"], "cluster": cluster},
            "writes": writes,
            "sessions": sessions,
        }

    @staticmethod
    def _writes(session):
        return {"%s.%s" % (row["schema"], row["name"]): row["writes"] for row in session.rows(catalog.WRITES)}

    def _mountpoint(self):
        """Path on the host of the volume with the cluster, or None when it is not there yet."""
        declared = self.place.declared()
        data = self.place.environment().get("PGDATA") or "/var/lib/postgresql/data"
        for mount in declared.get("volumes") or []:
            if mount.get("type") == "volume" and (data + "/").startswith(mount["target"].rstrip("/") + "/"):
                name = (self.place.model.get("volumes") or {}).get(mount["source"], {}).get("name") or mount["source"]
                try:
                    return self.api.inspect("volumes", name)["Mountpoint"]
                except DockerApiError as error:
                    if error.status == 404:
                        return None
                    raise
        raise MigrationError(
            "%s: found no named volume at %s in the Compose files; needed one, for the data must outlive the container; nothing was changed"
            % (self.where, data)
        )

    def _cluster(self):
        """Whose cluster the volume holds: ``absent``, ``ours`` (our server runs on it), ``served`` (the stack's own does) or ``unknown``."""
        ours = self.place.is_ours()
        if ours:
            return "ours"
        if ours is False and self.place.server_state()[0] == "running":
            return "served"
        path = self._mountpoint()
        if path is None or not os.path.isdir(path) or not os.listdir(path) or self._remembered().get("cluster") == "begun":
            return "absent"
        return "unknown"

    def _free(self):
        path = "/var/lib/docker"
        with contextlib.suppress(DockerError):
            path = (None if self.native else self._mountpoint()) or self.api.get("/info").get("DockerRootDir")
        while path and not os.path.isdir(path):
            path = os.path.dirname(path)
        return shutil.disk_usage(path).free if path else None

    def _refuse(self, found):
        problems = list(found["problems"])
        if self.params["frozen"]:
            problems += self._not_frozen(found["sessions"], found["writes"])
        if problems:
            # It has passwords, and nobody comes back for it.
            self.place.stop_client()
            raise MigrationError("%s; nothing was changed" % "; ".join(problems), problems=problems)

    def _not_frozen(self, sessions, writes):
        problems = []
        if sessions:
            shown = ", ".join(
                "%s (%s, pid %d, from %s)" % (entry["application"] or "a client", entry["user"], entry["pid"], entry["from"]) for entry in sessions[:5]
            )
            problems.append(
                "%s: found %d other session%s in the native database after the freeze: %s; needed none; stop what holds them, or name its unit in the stack's"
                " section migration" % (self.where, len(sessions), "" if len(sessions) == 1 else "s", shown)
            )
        before = self.params["written"]
        if before is not None:
            touched = sorted(name for name in set(before) | set(writes) if before.get(name) != writes.get(name))
            if touched:
                problems.append(
                    "%s: found writes to %s since the freeze; needed a source that stands still; stop what writes, then run again"
                    % (self.where, ", ".join(touched[:5]))
                )
        return problems

    def _start(self):
        """Server and client are up. The runtime folder is closed to everybody but root."""
        for path in (os.path.dirname(RUNTIME), RUNTIME, os.path.dirname(self.place.runtime), self.place.runtime):
            files.make_directory(path, 0o755 if path == os.path.dirname(RUNTIME) else 0o700)
        self._begin_cluster()
        self.changed = True
        self.place.start_server(self._memory(), self.cpus)
        self.place.start_client(True)
        self.place.await_server()
        self._remember(cluster="ready")

    def _remembered(self):
        return json.loads((files.read(self.memory) or b"{}").decode("utf-8"))

    def _remember(self, **facts):
        """Keep what a later run must know of this one, on the disk before it happens."""
        if self._remembered() != facts:
            files.make_directory(os.path.dirname(self.memory), 0o700)
            files.write(self.memory, json.dumps(facts, sort_keys=True).encode("utf-8"), 0o600)

    def _begin_cluster(self):
        """Before a server makes a cluster in an empty volume: one that was interrupted in this would never be made whole by the image's entry point."""
        if self.place.is_ours() and self.place.server_state()[0] == "running":
            return
        self.place.stop_server()
        path = self._mountpoint()
        if self._remembered().get("cluster") == "begun" and path and os.path.isdir(path):
            for name in os.listdir(path):
                entry = os.path.join(path, name)
                if os.path.isdir(entry) and not os.path.islink(entry):
                    shutil.rmtree(entry)
                else:
                    os.unlink(entry)
        if path is None or not os.listdir(path):
            self._remember(cluster="begun")

    @staticmethod
    def _memory():
        """Bytes for the target's server: half of the host's."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    def _prepared(self):
        found = self._look()
        self._refuse(found)
        if self.module.check_mode:
            self.place.stop_client()
            return {"source": found["told"], "changed": True, "msg": "%s: the target's server would be started" % self.where}
        if found["target"]["cluster"] == "ours" and self.place.server_state()[0] == "running":
            self.place.start_client(True)
            with contextlib.suppress(SqlError):
                with self._target_session("postgres"):
                    return {"source": found["told"], "msg": "%s: the target's server runs already" % self.where}
        with self._step("server"):
            self._start()
            self._check_target(found)
        return {"source": found["told"], "seconds_by_step": self.steps, "msg": "%s: the target's server runs" % self.where}

    def _check_target(self, found):
        """Refuse a cluster that holds somebody's data. :returns: names of the target's roles, its extensions."""
        with self._target_session("postgres") as session:
            roles = [row["name"] for row in session.rows("SELECT rolname AS name FROM pg_roles")]
            there = session.rows("SELECT datname AS name, shobj_description(oid, 'pg_database') AS comment FROM pg_database")
        extensions = []
        mine = [row for row in there if row["name"] == self.target]
        if mine:
            with self._target_session() as session:
                held = self._read(session)
            extensions = held["extensions"]
            if not catalog.is_empty(held) and not plan.is_marked(mine[0]["comment"], self.note):
                self.place.stop_client()
                self.place.stop_server()
                raise MigrationError(
                    "%s: found data in the database %s of the volume that is no leftover of this migration (%d tables); needed an empty one; nothing of it was"
                    " touched; if it may go, remove the stack's volumes: playbooks/stop.yml with delete_volumes=%s"
                    % (self.where, self.target, len(held["tables"]), self.stack),
                    self.changed,
                )
        return roles, extensions

    def _copied(self):
        found = self._look()
        self._refuse(found)
        if self.module.check_mode:
            self.place.stop_client()
            return {
                "source": found["told"],
                "strategy": found["strategy"],
                "changed": True,
                "msg": "%s: %d tables, %d MB would be copied" % (self.where, found["told"]["tables"], found["told"]["bytes"] // 10**6),
            }
        with self._step("server"):
            self._start()
            roles, extensions = self._check_target(found)
        source = found["catalog"]
        self.place.encoding = source["database"]["encoding"]
        with self._step("database"):
            self._make_database(source, roles)
        try:
            if found["strategy"] == "copy":
                self._copy(source)
            else:
                with self._step("dump"):
                    transfer.Programs(self.place, self.database, self.target).whole(self.workers)
            with self._step("finish"):
                self._finish(source, extensions)
        except (transfer.TransferError, SqlError) as error:
            raise MigrationError("%s: %s; the native database is as it was; run again when this is mended" % (self.where, error), True)
        with self._source_session() as session:
            writes = self._writes(session)
            problems = self._not_frozen(session.rows(catalog.SESSIONS), writes) if self.params["frozen"] else []
        if problems:
            raise MigrationError("%s; the copy is of no use, the native database is as it was" % "; ".join(problems), True)
        return {
            "source": found["told"],
            "strategy": found["strategy"],
            "seconds_by_step": self.steps,
            "writes": writes,
            "kept": self.kept,
            "msg": "%s: %d tables, %d MB copied" % (self.where, found["told"]["tables"], found["told"]["bytes"] // 10**6),
        }

    def _make_database(self, source, roles):
        with self._target_session("postgres") as session:
            there = session.rows("SELECT 1 AS one FROM pg_database WHERE datname = %s" % literal(self.target))
            if self.params["keep"] and there:
                self.kept = "%s_before_%s" % (self.target[:40], time.strftime("%Y%m%d%H%M%S"))
                session.run("ALTER DATABASE %s RENAME TO %s" % (identifier(self.target), identifier(self.kept)))
            session.run("DROP DATABASE IF EXISTS %s WITH (FORCE)" % identifier(self.target))
            for statement in plan.create_database(self.target, source["database"], self.params["locale"], self.note):
                session.run(statement)
            for statement in plan.settings_sql(self.target, source["database"]["settings"]):
                session.run(statement)
            for statement in plan.roles_sql(source["roles"], roles, self.params["roles"]):
                session.run(statement)

    def _copy(self, source):
        programs = transfer.Programs(self.place, self.database, self.target)
        # Its transaction, with the locks in it, stays open until the rows are here, so that the snapshot can be used by others.
        with self._source_session() as holder:
            holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            lock = plan.lock_sql(source)
            if lock:
                holder.run(lock)
            snapshot = holder.row("SELECT pg_export_snapshot() AS name")["name"]
            with self._step("schema"):
                programs.section("pre-data", snapshot)
            with self._step("rows"):
                transfer.Copies(self.place, self.database, self.target, snapshot, self.workers, self.reporter).run(plan.tables_to_copy(source))
            if source["large_objects"]["count"]:
                with self._step("large_objects"):
                    programs.large_objects(snapshot)
            with self._step("indexes"):
                programs.section("post-data", snapshot, self.workers)
            positions = self._read_positions(holder, source)
        with self._target_session() as session:
            for statement in plan.sequences_sql(dict(source, sequences=positions)):
                session.run(statement)

    @staticmethod
    def _read_positions(session, source):
        return [dict(entry, **session.row(catalog.position_of(entry["schema"], entry["name"], qualified))) for entry in source["sequences"]]

    def _finish(self, source, extensions):
        with self._target_session() as session:
            present = set(entry["name"] for entry in source["extensions"])
            for entry in extensions:
                # The stack's own script made it in the database that was there.
                if entry["name"] not in present:
                    session.run("CREATE EXTENSION IF NOT EXISTS %s" % identifier(entry["name"]))
            for statement in plan.ownership_sql(source["roles"], self.params["roles"]):
                session.run(statement)
            session.run("ANALYZE")
            session.run("CHECKPOINT")

    def _proved(self):
        if self.place.is_ours() is None:
            raise MigrationError("%s: found no server of this migration; needed a copy; run with state copied first" % self.where)
        self.place.start_client(True)
        begin = time.monotonic()
        try:
            with self._source_session() as left, self._target_session(None, SESSION) as right:
                result = self._compare(left, right)
                problems = []
                if self.params["frozen"]:
                    problems = self._not_frozen(left.rows(catalog.SESSIONS), result["writes"])
        except SqlError as error:
            raise MigrationError("%s: the proof could not be made: %s; the native database is as it was; run again" % (self.where, error))
        result["proof"]["seconds"] = round(time.monotonic() - begin, 2)
        if problems:
            raise MigrationError("%s; the proof is of no use" % "; ".join(problems), **result)
        if result["differences"]:
            raise MigrationError(
                "%s: found differences between the native database and the copy: %s; needed none; the native database is as it was; copy again"
                % (self.where, "; ".join(result["differences"][:20])),
                **result,
            )
        with self._target_session("postgres") as session:
            session.run(plan.mark_sql(self.target, "%s, proven at %s" % (self.note, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))))
        result.update(
            changed=False,
            seconds_by_step=self.steps,
            msg="%s: %d tables, %d rows are equal"
            % (self.where, len(result["proof"]["tables"]), sum(entry["rows"] for entry in result["proof"]["tables"].values())),
        )
        return result

    def _compare(self, left, right):
        sides = self._both(self._read, left, right)
        form = proof.form_of(sides[0]["server"]["version"], sides[1]["server"]["version"])
        allowed = [entry["name"] for entry in sides[1]["extensions"]]
        differences = proof.differences_of_structure(sides[0], sides[1], allowed)
        others = {(table["schema"], table["name"]): table for table in sides[1]["tables"]}
        tables, unequal = {}, []
        for table in proof.tables_to_prove(sides[0]):
            other = others.get((table["schema"], table["name"]))
            name = "%s.%s" % (table["schema"], table["name"])
            if other is None or [column["name"] for column in other["columns"] or []] != [column["name"] for column in table["columns"] or []]:
                continue  # told as a difference of the structure
            self.reporter.add(name, table["rows_estimate"] or None, "rows")
            # Each server makes its own expression: the schema of a type's function may be another one there.
            digests = self._both_sql(left, right, proof.digest_sql(table, form), proof.digest_sql(other, form))
            self.reporter.done(name)
            tables[name] = digests[0]
            if digests[0] != digests[1]:
                unequal.append((name, table, other, digests))
        if sides[0]["large_objects"]["count"] or sides[1]["large_objects"]["count"]:
            digests = self._both_sql(left, right, proof.large_objects_sql(form), proof.large_objects_sql(form))
            tables["(large objects)"] = digests[0]
            if digests[0] != digests[1]:
                differences.append(proof.sentence_of("the large objects", digests[0], digests[1]))
        for name, table, other, digests in unequal:
            differences.append(self._explain(left, right, form, name, table, other, digests))
        return {
            "differences": differences,
            "writes": self._writes(left),
            "proof": {
                "form": form,
                "tables": tables,
                "sequences": len(sides[0]["sequences"]),
                "constraints": len(sides[0]["constraints"]),
                "indexes": len(sides[0]["indexes"]),
                "extensions": {entry["name"]: entry["version"] for entry in sides[1]["extensions"]},
                "source_version": sides[0]["server"]["version_text"],
                "target_version": sides[1]["server"]["version_text"],
            },
        }

    def _explain(self, left, right, form, name, table, other, digests):
        """How a table differs, by its rows."""
        buckets = self._all_of(left, right, proof.buckets_sql(table, form), proof.buckets_sql(other, form))
        differing = proof.differing_buckets(*buckets)
        # A part is enough to name some; all of a table that is another one altogether would not fit.
        rows = self._all_of(left, right, proof.hashes_sql(table, form, differing[:64], True), proof.hashes_sql(other, form, differing[:64], True))
        found = proof.differing_rows(*rows)
        text = proof.sentence_of(name, digests[0][0] if isinstance(digests[0], list) else digests[0], digests[1], found)
        return text if len(differing) <= 64 else text.replace(": ", ": at least ", 1)

    def _both_sql(self, left, right, one, other):
        return [rows[0] for rows in self._all_of(left, right, one, other)]

    def _all_of(self, left, right, one, other):
        statements = {id(left): one, id(right): other}
        return self._both(lambda session: session.rows(statements[id(session)]), left, right)

    @staticmethod
    def _both(ask, left, right):
        """Ask both servers at the same time. :returns: list of two. :raises SqlError: of the first that failed."""
        answers, errors = [None, None], [None, None]

        def work(index, session):
            try:
                answers[index] = ask(session)
            except (SqlError, ValueError) as error:
                errors[index] = error

        threads = [threading.Thread(target=work, args=pair) for pair in enumerate((left, right))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for side, error in zip(("the native server", "the target"), errors):
            if error is not None:
                raise SqlError("%s: %s" % (side, error))
        return answers

    def _compared(self):
        """What the stack's own database has that the proven copy had not."""
        before = (self.params["proof"] or {}).get("tables")
        if before is None:
            raise MigrationError("%s, proof: found none; needed that of the receipt" % self.where)
        form = self.params["proof"]["form"]
        with self.place.stack_session(self.target, SESSION) as session:
            now = {}
            for table in proof.tables_to_prove({"tables": session.rows(catalog.TABLES)}):
                now["%s.%s" % (table["schema"], table["name"])] = session.row(proof.digest_sql(table, form))
            if session.row(catalog.LARGE_OBJECTS)["count"]:
                now["(large objects)"] = session.row(proof.large_objects_sql(form))
        differences = proof.writes_since(before, now)
        return {
            "differences": differences,
            "changed": False,
            "msg": "%s: %s" % (self.where, "; ".join(differences) if differences else "nothing was written since the switch"),
        }

    def _absent(self):
        if self.module.check_mode:
            return {"changed": bool(self.place.is_ours()), "msg": "%s: the migration's containers would be removed" % self.where}
        self.place.stop_client()
        self.changed = self.place.stop_server() or os.path.isdir(self.place.runtime)
        for path in (self.place.runtime, self.place.spool):
            shutil.rmtree(path, ignore_errors=True)
        return {"msg": "%s: nothing of the migration runs" % self.where}


def main():
    module = AnsibleModule(
        argument_spec={
            "stack": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["surveyed", "prepared", "copied", "proved", "compared", "absent"]},
            "source": {
                "type": "dict",
                "options": {
                    "socket": {"type": "path"},
                    "host": {"type": "str"},
                    "port": {"type": "int", "default": 5432},
                    "user": {"type": "str", "default": "postgres"},
                    "password": {"type": "str", "no_log": True},
                    "sslmode": {"type": "str"},
                    "database": {"type": "str", "required": True},
                    "os_user": {"type": "str"},
                },
            },
            "database": {"type": "str"},
            "strategy": {"type": "str", "default": "auto", "choices": ["auto", "copy", "dump"]},
            "roles": {"type": "dict", "default": {}},
            "locale": {"type": "str", "default": ""},
            "migration": {"type": "str", "default": "native"},
            "workers": {"type": "int", "default": 0},
            "frozen": {"type": "bool", "default": False},
            "written": {"type": "dict"},
            "keep": {"type": "bool", "default": False},
            "proof": {"type": "dict"},
            "lease": {"type": "path"},
            "lease_seconds": {"type": "int", "default": 120},
            "config_dir": {"type": "path", "default": "/etc/dockyard"},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "progress": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    started, migration = time.time(), None
    try:
        migration = Migration(module)
        result = migration.run()
    except MigrationError as error:
        module.fail_json(msg=str(error), changed=error.changed, seconds=round(time.time() - started, 2), **error.facts)
    except (PlaceError, DockerError, SqlError, OSError) as error:
        module.fail_json(
            msg="%s: %s; the native database is as it was" % (migration.where if migration else module.params["stack"], error),
            changed=bool(migration and migration.changed),
            seconds=round(time.time() - started, 2),
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
