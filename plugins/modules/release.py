#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: This version of a stack serves, or the last good one still does
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Brings a Compose stack to the given state in one call. Files are staged and checked by C(docker compose config) before anything that runs is touched,
    then renamed into place; only the services that differ are recreated, each after those that it depends on are healthy; health is awaited with a deadline
    that tolerates an early C(unhealthy).
  - When the new version does not get healthy, the files of the last good release are put back and its services started again, and the module fails
    with the last log lines and the health output of the service that failed.
  - A second run with the same options changes nothing, and repairs what has drifted (containers that are gone, stopped, edited or unhealthy).
  - A killed run leaves each file either old or new; the next run goes on from there.
  - Secrets that are to be generated are made once on the host, from the kernel's random generator, and kept; they are never returned, shown or logged.
  - The images must be on the host already (role C(images)).
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Stages the files in a temporary folder, lets Compose check them and says which files and services would change.
    support: full
  diff_mode:
    description: One diff a file; values of variables whose name looks like a secret are hidden.
    support: full
  platform:
    platforms: posix
options:
  name:
    description: Name of the stack and of the Compose project.
    type: str
    required: true
  directory:
    description: Folder of the stack on the host.
    type: path
    required: true
  state_dir:
    description: Folder of the collection's state; C(releases/<name>.jsonl) in it is the ledger of the stack.
    type: path
    default: /var/lib/dockyard
  state:
    description:
      - With V(prepared), files, secrets and volumes are brought and nothing is started, so that data can be put into the volumes before the application sees
        them. A stack that runs is refused then. Nothing is noted in the ledger.
    type: str
    choices: [present, prepared]
    default: present
  migration:
    description:
      - Name of the migration on whose behalf this runs.
      - A stack that a migration holds (C(migrations/<name>/held.json) in O(state_dir)) is refused for everybody else, for its data is not whole.
    type: str
    default: ""
  lease:
    description:
      - RV(dockyard.fleet.native_units#module:lease), renewed while this runs. When it has ended, the native application serves and the containers are
        stopped, and the module fails.
    type: path
  lease_seconds:
    description: For how long it is renewed each time.
    type: int
    default: 120
  environment:
    description: Name of the environment, for the ledger. In V(development), ports on the loopback address need no declaration.
    type: str
    default: production
  revision:
    description: What is released, for the ledger.
    type: str
    default: ""
  released_by:
    description: Who releases, for the ledger and for the lock's holder.
    type: str
    default: ""
  compose_files:
    description: Names of the Compose files among O(files), in the order of merging.
    type: list
    elements: str
    default: [compose.yaml]
  files:
    description: Files of the stack's folder.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path below O(directory).
        type: str
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      encoding:
        description: How O(files[].content) is written; with V(base64) the file may hold any bytes.
        type: str
        choices: [text, base64]
        default: text
      mode:
        description: Octal mode in quotes.
        type: str
        default: "0644"
  variables:
    description: Variables that the Compose files interpolate (settings and image references), written to C(.env), 0600.
    type: dict
    default: {}
  overlay:
    description: Generated part of each service (limits, labels), laid over the Compose files as C(compose.dockyard.yaml).
    type: dict
    default: {}
  services:
    description: The services that must be there.
    type: list
    elements: str
    required: true
  tools:
    description:
      - Services of the Compose files with the profile C(tools), which only actions run. They are never started. Their images must be on the host,
        and the volumes among O(volumes) that they alone use are made.
    type: list
    elements: str
    default: []
  actions:
    description: Named actions of the stack, kept for M(dockyard.fleet.stack_action) and for O(schedules) as C(actions.json) in O(directory).
    type: dict
    default: {}
  schedules:
    description:
      - Actions that systemd timers of the host run. The units of a schedule that is not among them any more are stopped and removed; its results stay.
      - A stack that serves is not taken back when its schedules can't be set up; the module fails, and the next run tries again.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the schedule; the units are C(dockyard-<stack>-<name>).
        type: str
        required: true
      action:
        description: Which of O(actions) runs.
        type: str
        required: true
      arguments:
        description: The arguments of the action.
        type: dict
        default: {}
      calendar:
        description: When it runs, as C(OnCalendar=) of systemd.time(7).
        type: str
        required: true
      keep:
        description: How many results are kept on the host.
        type: int
        default: 100
      randomized_delay_seconds:
        description: It runs up to so much later.
        type: int
        default: 30
      timeout_seconds:
        description: Deadline of the action.
        type: int
        default: 300
      description:
        description: One line for the units.
        type: str
        default: a scheduled action
  jobs:
    description: Those of O(services) that run once and must end with exit code 0.
    type: list
    elements: str
    default: []
  secrets:
    description: Secrets of the stack. Each reader gets C(secrets/<name>.<uid>), mode 0600, owned by that uid.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      source:
        description: V(generated) ones are made when missing; the others are given in O(secrets[].value), or must be on the host already.
        type: str
        choices: [generated, given, tls_certificate, tls_key]
        required: true
      value:
        description: The secret itself. Without it, what is on the host stays.
        type: str
      length:
        description: Characters of a generated secret, 6 bits of entropy each.
        type: int
        default: 32
      readers:
        description: Numeric uids that read it.
        type: list
        elements: int
        default: [0]
      required:
        description: Whether the stack can't run without it.
        type: bool
        default: true
      expires_epoch_s:
        description: When the secret (a certificate) ends to be valid, recorded for the facts; seconds since 1970.
        type: int
  service_secrets:
    description: Which secrets each service mounts; a service is recreated when one of them was replaced.
    type: dict
    default: {}
  volumes:
    description: Named volumes whose top folder has a certain owner or mode.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name in the Compose file.
        type: str
        required: true
      owner:
        description: C(uid:gid), numeric.
        type: str
      mode:
        description: Octal mode in quotes.
        type: str
      backup:
        description: Whether a backup holds it; not used here.
        type: bool
  host_network:
    description: Services that may be on the host's network, where every port that they open is one of the host's.
    type: list
    elements: str
    default: []
  ports:
    description: Every port that the stack may publish.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Service that publishes it.
        type: str
        required: true
      container:
        description: Port in the container.
        type: int
        required: true
      protocol:
        description: Protocol of the port.
        type: str
        choices: [tcp, udp]
        default: tcp
      published:
        description: Port on the host.
        type: str
        required: true
  timeout_seconds:
    description: How long all services together may take to become healthy.
    type: int
    default: 300
  retry_failed:
    description:
      - Whether to try a release again that failed before, unchanged, and was taken back.
      - Without it such a release is refused, so that a run on a timer does not take down what serves each time.
    type: bool
    default: false
  lock_timeout_seconds:
    description: How long to wait for another run on the same host and stack.
    type: int
    default: 60
  docker_socket:
    description: Path of the Docker socket.
    type: path
    default: /var/run/docker.sock
requirements:
  - Docker Engine with Compose v2.24 or later
seealso:
  - module: dockyard.fleet.stack_plan
  - module: dockyard.fleet.images
  - module: community.docker.docker_compose_v2
    description: Brings up a Compose project without the gate, the way back and the ledger.
"""

EXAMPLES = r"""
- name: Release a stack of one service
  dockyard.fleet.release:
    name: hello
    directory: /etc/dockyard/stacks/hello
    revision: "2"
    files:
      - path: compose.yaml
        content: |
          services:
            web:
              image: ${WEB_IMAGE}
              secrets: [api_token]
              ports: ["8080:8080"]
          secrets:
            api_token:
              file: ./secrets/api_token.1000
    variables:
      WEB_IMAGE: dockyard/hello-web:4f0c2a91d7b3e865
    services: [web]
    secrets:
      - name: api_token
        source: generated
        readers: [1000]
    service_secrets:
      web: [api_token]
    ports:
      - service: web
        container: 8080
        published: "8080"
  become: true
"""

RETURN = r"""
services:
  description: How each service stands at the end. A tool is C(ready) when it could be run.
  type: dict
  returned: success
  sample:
    web: {state: running, health: healthy, image: "dockyard/hello-web:4f0c2a91d7b3e865"}
changed_files:
  description: Files that were (check mode - would be) written or removed.
  type: list
  elements: str
  returned: success
changed_services:
  description: Services that were (would be) touched, with the reason.
  type: dict
  returned: success
  sample: {web: changed}
release:
  description: The newest entry of the stack's ledger.
  type: dict
  returned: success
reverted:
  description: Whether the last good release was put back.
  type: bool
  returned: failure
seconds:
  description: How long it took.
  type: float
  returned: always
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets as random_secrets
import shutil
import stat
import string
import sys
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import runner, units
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApi, DockerError
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.compose import Compose, ComposeError, tail
from ansible_collections.dockyard.fleet.plugins.module_utils.migration.lease import Renewer
from ansible_collections.dockyard.fleet.plugins.module_utils.release import decide, files, ledger
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition, envfile

HEADER = "Written by dockyard.fleet; changes made here are replaced by the next deployment."
OVERLAY = "compose.dockyard.yaml"
# 64 characters, so that each carries exactly 6 bits; all are safe in URLs, shells and env files.
ALPHABET = string.ascii_letters + string.digits + "-_"
POLL_SECONDS = 1.0
GOOD_RECORD = ".release.json"
OWN_FILES = ("secrets", ".env", ".dockyard.json", OVERLAY, runner.ACTIONS_FILE, runner.SCHEDULES_FILE)
RUNNER = "/usr/local/lib/dockyard/run_action.py"
UNIT_DIR = "/etc/systemd/system"
# This folder tells that systemd runs the host (sd_booted(3)).
SYSTEMD = "/run/systemd/system"


class ReleaseError(Exception):
    """The release can't go on; ``changed`` tells whether something was touched."""

    def __init__(self, message, changed=False, **facts):
        super().__init__(message)
        self.changed = changed
        self.facts = facts


class QuietModule(AnsibleModule):
    """Tells neither the system log nor the result what it was called with.

    Env files hold what operators call secrets. Marking them ``no_log`` would not do: in the system log Ansible masks only one-line values
    of options within a list, and a file that is a single character would be masked wherever that character stands in the result.
    """

    def _log_invocation(self):
        pass

    def exit_json(self, **kwargs):
        super().exit_json(invocation={"module_args": {"name": self.params["name"]}}, **kwargs)

    def fail_json(self, msg, **kwargs):
        super().fail_json(msg, invocation={"module_args": {"name": self.params["name"]}} if getattr(self, "params", None) else {}, **kwargs)


class Release:
    """One release of one stack on this host."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.name = module.params["name"]
        self.directory = module.params["directory"].rstrip("/")
        self.parent = os.path.dirname(self.directory)
        self.ledger_dir = os.path.join(module.params["state_dir"], "releases")
        self.good = os.path.join(self.ledger_dir, "%s.good" % self.name)
        self.applied = os.path.join(self.ledger_dir, "%s.applied.json" % self.name)
        self.compose_files = module.params["compose_files"] + [OVERLAY]
        self.jobs = set(module.params["jobs"])
        self.tools = sorted(module.params["tools"])
        self.docker = module.get_bin_path("docker") or ""
        self.api = DockerApi(module.params["docker_socket"], timeout=20)
        self.started = time.time()
        self.secret_values = {}
        self.secret_given = {entry["name"]: entry["value"] for entry in module.params["secrets"] if entry["value"] and entry["source"] == "given"}
        self.diffs = []
        self.copied = set(os.path.normpath(entry["path"]) for entry in module.params["files"] if entry["encoding"] == "base64")

    # -- what shall be ------------------------------------------------------

    def _run(self, argv):
        return self.module.run_command(argv, environ_update={"COMPOSE_ANSI": "never", "COMPOSE_PROGRESS": "plain"})

    def compose(self, directory=None, tools=False):
        """The Compose door, for the stack's folder or a staged one; with ``tools``, those are among its services."""
        profiles = [definition.TOOLS_PROFILE] if tools and self.tools else []
        return Compose(self._run, self.docker, self.name, directory or self.directory, self.compose_files, profiles)

    def desired(self, versions):
        """All files that the stack's folder shall have, secrets aside.

        :arg versions: dict of secret name to version.
        :returns: dict of relative path to (bytes, int mode).
        """
        wanted = {}
        for entry in self.params["files"]:
            path = os.path.normpath(entry["path"])
            if path == "." or path.startswith("..") or os.path.isabs(path) or path.split("/")[0] in OWN_FILES:
                raise ReleaseError("%s, files: found the path %s; needed one below %s that is not the module's own"
                                   % (self.name, entry["path"], self.directory))
            if not re.match("0[0-7]{3}$", entry["mode"]):
                raise ReleaseError("%s, files: %s: found the mode %r; needed four octal digits in quotes, such as '0644'"
                                   % (self.name, entry["path"], entry["mode"]))
            content = base64.b64decode(entry["content"]) if entry["encoding"] == "base64" else entry["content"].encode("utf-8")
            wanted[path] = (content, int(entry["mode"], 8))
        variables = dict(self.params["variables"], COMPOSE_PROJECT_NAME=self.name, COMPOSE_FILE=":".join(self.compose_files))
        try:
            wanted[".env"] = (envfile.render(variables, HEADER).encode("utf-8"), 0o600)
        except ValueError as error:
            raise ReleaseError("%s, variables: %s; nothing was changed; correct dockyard_settings_%s" % (self.name, error, self.name.replace("-", "_")))
        overlay = {service: dict(value) for service, value in self.params["overlay"].items()}
        for service, names in self.params["service_secrets"].items():
            labels = dict(overlay.setdefault(service, {}).get("labels") or {})
            labels["org.dockyard.secrets"] = ",".join("%s:%s" % (name, versions[name]) for name in names if name in versions)
            overlay[service]["labels"] = labels
        # JSON is YAML too, and the standard library writes it.
        # With the declared ports in it, a change of them is a change of this file, and the files are checked against them.
        ports = sorted("%s %s:%s/%s" % (port["service"], port["published"], port["container"], port["protocol"]) for port in self.params["ports"])
        text = "# %s\n%s\n" % (HEADER, json.dumps({"services": overlay, "x-dockyard-ports": ports}, indent=2, sort_keys=True))
        wanted[OVERLAY] = (text.encode("utf-8"), 0o644)
        if self.params["actions"]:
            wanted[runner.ACTIONS_FILE] = (self._document(actions=self.params["actions"]), 0o644)
        if self.params["schedules"]:
            # Not for everybody: an argument may be the value of a setting, and .env is not either.
            schedules = {entry["name"]: {key: entry[key] for key in ("action", "arguments", "calendar", "keep")} for entry in self.params["schedules"]}
            wanted[runner.SCHEDULES_FILE] = (self._document(schedules=schedules), 0o600)
        return wanted

    def _document(self, **content):
        return (json.dumps(dict(content, stack=self.name, about=HEADER), indent=1, sort_keys=True) + "\n").encode("utf-8")

    def digest(self):
        """A digest of all that this release was asked for, secrets included; equal for equal requests."""
        parts = sorted((path, mode, content.hex()) for path, (content, mode) in self.desired({}).items())
        return hashlib.sha256(json.dumps([parts, sorted(self.secret_given.items())]).encode("utf-8")).hexdigest()

    def stale(self, wanted):
        """Files that an earlier release wrote and this one does not want."""
        record = files.read(os.path.join(self.directory, ".dockyard.json"))
        known = json.loads(record.decode("utf-8")) if record else []
        return sorted(path for path in known if path not in wanted and os.path.lexists(os.path.join(self.directory, path)))

    # -- secrets ------------------------------------------------------------

    def secret_path(self, name, uid):
        return os.path.join(self.directory, "secrets", "%s.%d" % (name, uid))

    def plan_secrets(self):
        """What to write under ``secrets/``.

        :returns: (list of (relative path, bytes, uid), dict of metadata as it shall be)
        :raises ReleaseError: a required secret is neither given nor here.
        """
        record = files.read(os.path.join(self.directory, "secrets", ".meta.json"))
        meta = json.loads(record.decode("utf-8")) if record else {}
        writes, after = [], {}
        for entry in self.params["secrets"]:
            name = entry["name"]
            current = None
            for path in [self.secret_path(name, uid) for uid in entry["readers"]] + self._other_readers(name):
                current = files.read(path)
                if current:
                    break
            value = entry["value"].encode("utf-8") if entry["value"] else current
            if not value and entry["source"] == "generated":
                value = "".join(random_secrets.choice(ALPHABET) for unused in range(entry["length"])).encode("ascii")
            if not value:
                if entry["required"]:
                    raise ReleaseError("%s, secret %s: found no value, neither given nor in %s; needed one; set dockyard_secrets_%s.%s"
                                       % (self.name, name, os.path.join(self.directory, "secrets"), self.name.replace("-", "_"), name))
                # An optional secret is an empty file: Compose refuses to start a service whose secret file is absent.
                value = b""
            self.secret_values[name] = value.decode("utf-8", "replace")
            known = meta.get(name, {})
            fresh = value != current or "version" not in known
            after[name] = {
                "source": entry["source"],
                "version": random_secrets.token_hex(4) if fresh else known["version"],
                "created_epoch_s": int(time.time()) if fresh else known.get("created_epoch_s"),
                "expires_epoch_s": entry["expires_epoch_s"] if entry["expires_epoch_s"] else (None if fresh else known.get("expires_epoch_s")),
            }
            for uid in entry["readers"]:
                if files.differs(self.secret_path(name, uid), value, 0o600, (uid, uid if uid else 0)):
                    writes.append((os.path.join("secrets", "%s.%d" % (name, uid)), value, uid))
        return writes, after

    def _other_readers(self, name):
        """Files of a secret for readers that are not asked for any more: its value must survive a change of the uids."""
        folder = os.path.join(self.directory, "secrets")
        if not os.path.isdir(folder):
            return []
        return [os.path.join(folder, entry) for entry in sorted(os.listdir(folder)) if entry.rpartition(".")[0] == name and entry.rpartition(".")[2].isdigit()]

    def redact(self, text):
        """A text without the values of the secrets, of their single lines, and of secret-looking variables of the services."""
        hidden = {}
        for name, value in self.secret_values.items():
            for part in [value] + value.splitlines():
                hidden.setdefault(part, "(secret %s)" % name)
        for entry in self.params["files"]:
            if entry["path"].endswith(".env"):
                for line in entry["content"].splitlines():
                    name, unused, value = line.partition("=")
                    if envfile.SECRET_NAME.search(name):
                        hidden.setdefault(value.strip('"'), "(value of %s)" % name)
        for value in sorted(hidden, key=len, reverse=True):
            if len(value) >= 6:
                text = text.replace(value, hidden[value])
        return text

    # -- what is ------------------------------------------------------------

    def containers(self):
        """The project's containers, without those of ``compose run``.

        :raises ReleaseError: Docker does not answer.
        """
        try:
            listed = self.api.get("/containers/json", {"all": "1", "filters": {"label": ["com.docker.compose.project=%s" % self.name]}})
        except DockerError as error:
            raise ReleaseError("%s: Docker does not answer: %s; needed a running engine; look at `systemctl status docker`" % (self.name, error))
        found = []
        for entry in listed:
            labels = entry.get("Labels") or {}
            if labels.get("com.docker.compose.oneoff", "False") == "True":
                continue
            status = entry.get("Status", "")
            health = None
            for word in ("unhealthy", "healthy", "starting"):
                if "(%s)" % word in status or "(health: %s)" % word in status:
                    health = word
                    break
            container = {"id": entry["Id"], "name": (entry.get("Names") or [""])[0].lstrip("/"),
                         "service": labels.get("com.docker.compose.service"), "state": entry["State"], "health": health,
                         "config_hash": labels.get("com.docker.compose.config-hash"), "image": entry.get("Image"), "exit_code": None, "restart": "unknown",
                         "networks": sorted((entry.get("NetworkSettings") or {}).get("Networks") or {})}
            if entry["State"] in ("exited", "dead"):
                detail = self._inspect(entry["Id"])
                container["exit_code"] = detail.get("State", {}).get("ExitCode")
                container["restart"] = ((detail.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name")
            found.append(container)
        return found

    def _inspect(self, identifier):
        try:
            return self.api.inspect("containers", identifier)
        except DockerError:
            # It was removed between the list and the question; the next look will not show it.
            return {}

    # -- the steps ----------------------------------------------------------

    def run(self):
        """All steps. Returns the result for exit_json."""
        if not ledger.is_name(self.name):
            raise ReleaseError("name: found %r; needed the name of a stack: at most 40 of a-z, 0-9, - and _, a letter first" % self.name)
        if not self.docker:
            raise ReleaseError("%s: found no docker program; needed Docker with Compose v2; run the role docker_engine first" % self.name)
        if self.module.check_mode:
            # Reads only, and must leave no trace: not even a lock.
            return self._run_locked()
        files.make_directory(self.ledger_dir, 0o700)
        holder = "%s, pid %d, since %s" % (self.params["released_by"] or "a run", os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
        try:
            with files.lock(os.path.join(self.ledger_dir, ".%s.lock" % self.name), holder, self.params["lock_timeout_seconds"]):
                return self._run_locked()
        except files.Locked as error:
            raise ReleaseError("%s: another run holds the stack: %s; needed it to end within %d s; wait for it, then run again"
                               % (self.name, error, self.params["lock_timeout_seconds"]))

    def check_held(self):
        """Refuse a stack whose data a migration is bringing: its application would begin with half of them."""
        path = os.path.join(self.params["state_dir"], "migrations", self.name, "held.json")
        try:
            held = json.loads((files.read(path) or b"{}").decode("utf-8"))
        except ValueError as error:
            raise ReleaseError("%s: found a file that can't be read (%s); needed the one by which a migration holds the stack; nothing was changed; "
                               "end the migration with playbooks/migrate.yml -e phase=abort" % (path, error))
        if held and held.get("migration") != self.params["migration"]:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held.get("since_epoch_s", 0)))
            raise ReleaseError("%s: found that the migration %s holds it since %s (phase %s); needed its end, for the data is not whole before; "
                               "nothing was changed; go on with playbooks/migrate.yml, or give it up with -e phase=abort"
                               % (self.name, held.get("migration"), since, held.get("phase")))

    def _run_locked(self):
        self.check_held()
        if not self.module.check_mode:
            self.sweep()
            files.make_directory(self.parent, 0o755)
        secret_writes, meta = self.plan_secrets()
        wanted = self.desired({name: entry["version"] for name, entry in meta.items()})
        differing = sorted(path for path, (content, mode) in wanted.items() if files.differs(os.path.join(self.directory, path), content, mode))
        stale = self.stale(wanted)
        for path in differing + stale:
            self.note_diff(os.path.join(self.directory, path), wanted[path][0] if path in wanted else None)
        changed_files = sorted(set(differing) | set(stale) | set(path for path, unused, unused2 in secret_writes))
        unit_writes, unit_removals, timers = self.plan_units()
        before = self.containers()
        self.check_tools()

        digest = self.digest()
        last = self.last_release()
        if changed_files and last.get("outcome") == "failed" and last.get("digest") == digest and last.get("reverted") and not self.params["retry_failed"]:
            # On a timer, trying again and again would take down what serves each time.
            raise ReleaseError("%s: found that this very release was tried before (number %s) and did not get well: %s; needed another one, or another try; "
                               "nothing was changed; correct it, or set stack_retry_failed to true" % (self.name, last.get("number"), last.get("message")))
        if differing or stale:
            predicted = self.stage_and_check(wanted, before)
        if self.params["state"] == "prepared":
            return self.prepare(secret_writes, meta, wanted, differing, stale, changed_files, before)
        if self.module.check_mode:
            reasons = predicted if differing or stale else self._reasons(before)
            reasons.update((service, "removed") for service in self._orphans(before))
            changed_files += ["volume %s" % volume for volume in self.missing_volumes()] + self._unit_changes(unit_writes, unit_removals, timers)
            return self._result(bool(changed_files or reasons), changed_files, reasons, before)

        try:
            self.write_secrets(secret_writes, meta)
            self.write_files(wanted, differing, stale)
            reasons = self.bring_up(before)
            made = self.make_volumes()
        except (ReleaseError, DockerError, OSError) as error:
            text = self.redact(str(error)) if isinstance(error, ReleaseError) else "%s: %s" % (self.name, self.redact(str(error)))
            reverted = self.go_back()
            first, sep, rest = text.partition("\n")
            ending = {True: "the last good release was put back and serves", None: "there was no other good release to go back to",
                      False: "the last good release could not be brought back, look at the host now"}[reverted]
            first = "%s; %s" % (first.rstrip(":"), ending)
            with contextlib.suppress(OSError):
                self.ledger("failed", {}, first, digest, bool(reverted))
            raise ReleaseError(first + sep + rest, True, reverted=bool(reverted))
        repaired = sorted(set(made + self.own_volumes()))
        changed = bool(changed_files or reasons or repaired)
        try:
            self.keep_good(wanted)
        except OSError as error:
            self.module.warn("%s serves, but could not be kept as the last good release: %s" % (self.name, error))
        if changed or self.last_release().get("outcome") != "released":
            self.ledger("released", reasons, "")
        self.apply_units(unit_writes, unit_removals, timers)
        unit_changes = self._unit_changes(unit_writes, unit_removals, timers)
        return self._result(changed or bool(unit_changes), changed_files + repaired + unit_changes, reasons, self.containers() if changed else before)

    def prepare(self, secret_writes, meta, wanted, differing, stale, changed_files, before):
        """Bring files, secrets and volumes, and start nothing. Returns the result for exit_json."""
        running = sorted(container["name"] for container in before if container["state"] == "running")
        last = self.last_release()
        # A stack that was never released has the migration's own server.
        if running and (last.get("outcome") == "released" or last.get("reverted")):
            raise ReleaseError("%s: found it running (%s); needed a stack that stands still, for its files would not be those of its containers; "
                               "nothing was changed; stop it with playbooks/stop.yml" % (self.name, ", ".join(running)))
        missing = ["volume %s" % volume for volume in self.missing_volumes()]
        if self.module.check_mode:
            return self._result(bool(changed_files or missing), changed_files + missing, {}, before)
        self.write_secrets(secret_writes, meta)
        self.write_files(wanted, differing, stale)
        repaired = sorted(set(self.make_volumes() + self.own_volumes()))
        return self._result(bool(changed_files or repaired), changed_files + repaired, {}, before)

    def note_diff(self, path, after):
        """Keep a diff of a file for the result. :arg after: bytes, or None for one that goes."""
        before = files.read(path)
        if os.path.relpath(path, self.directory) in self.copied:
            # A copy of somebody's source; its own history tells more.
            before, after = [None if content is None else b"(%d bytes)\n" % len(content) for content in (before, after)]
        if os.path.basename(path) == runner.SCHEDULES_FILE:
            # Its values come from settings, some of which nobody shall read here.
            before, after = [None if content is None else b"(arguments are not shown)\n" for content in (before, after)]
        self.diffs.append({"prepared": files.unified(path, before, after)})

    def stage_and_check(self, wanted, before):
        """Let Compose read the new files in a folder of their own; nothing that runs is touched.

        :returns: dict of service to reason, what these files would change.
        :raises ReleaseError: Compose refuses them, or they publish a port that is not declared.
        """
        base = self.module.tmpdir if self.module.check_mode else self.parent
        staged = tempfile.mkdtemp(prefix=".%s.staged-" % self.name, dir=base)
        try:
            self._fill(staged, {path: content for path, (content, unused) in wanted.items()})
            try:
                model = self.compose(staged, tools=True).model()
                after = self.compose(staged).hashes() if self.params["services"] else {}
            except (ComposeError, ValueError) as error:
                raise ReleaseError("%s: `docker compose config` refuses the files: %s; needed valid Compose files; nothing was changed"
                                   % (self.name, self.redact(str(error).replace(staged, self.directory))))
            problems = decide.undeclared_ports(model, self.params["ports"], self.params["environment"] == "development", self.params["host_network"])
            if problems:
                raise ReleaseError("%s: %s; nothing was changed" % (self.name, "; ".join(problems)))
            old = {path: files.read(os.path.join(self.directory, path)) for path in wanted}
            if old.get(".env") is None or old.get("compose.yaml") is None:
                return {service: "created" for service in self.params["services"]}
            self._fill(staged, {path: content for path, content in old.items() if content is not None})
            for path in [path for path, content in old.items() if content is None]:
                os.unlink(os.path.join(staged, path))
            try:
                previous = self.compose(staged).hashes() if self.params["services"] else {}
            except ComposeError:
                previous = {}
            reasons = {service: "changed" for service in self.params["services"] if previous.get(service) != after.get(service)}
            running = set(container["service"] for container in before)
            reasons.update((service, "created") for service in self.params["services"] if service not in running)
            return reasons
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    @staticmethod
    def _fill(folder, contents):
        for path, content in contents.items():
            files.make_directory(os.path.dirname(os.path.join(folder, path)), 0o700)
            files.write(os.path.join(folder, path), content, 0o600)

    def write_secrets(self, writes, meta):
        if not meta:
            return
        folder = os.path.join(self.directory, "secrets")
        files.make_directory(self.directory, 0o755)
        files.make_directory(folder, 0o700)
        # The versions first: a run that is killed in between finds a secret that is not yet the wanted one, and takes a new version again.
        text = json.dumps(meta, indent=1, sort_keys=True).encode("utf-8")
        if files.differs(os.path.join(folder, ".meta.json"), text, 0o600):
            files.write(os.path.join(folder, ".meta.json"), text, 0o600)
        for path, content, uid in writes:
            files.write(os.path.join(self.directory, path), content, 0o600, (uid, uid))

        # A reader that is not asked for any more loses its copy; the value itself is in those of the others.
        for entry in self.params["secrets"]:
            kept = [self.secret_path(entry["name"], uid) for uid in entry["readers"]]
            for path in self._other_readers(entry["name"]):
                if path not in kept:
                    os.unlink(path)

    def sweep(self):
        """Remove what a killed run left beside its files; the lock says that nobody is at work."""
        for folder, unused, names in os.walk(self.directory):
            for name in names:
                if name.startswith(".dockyard-"):
                    os.unlink(os.path.join(folder, name))
        for folder, prefix in ((self.ledger_dir, ".dockyard-%s." % self.name), (self.parent, ".%s.staged-" % self.name)):
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                path = os.path.join(folder, name)
                if name.startswith(prefix):
                    if os.path.isdir(path):
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        os.unlink(path)

        if os.path.isdir(self.good + ".old") and not os.path.isdir(self.good):
            # Killed between the two renames of keep_good(): the old one is the last whole one.
            os.rename(self.good + ".old", self.good)
        for suffix in (".old", ".new"):
            shutil.rmtree(self.good + suffix, ignore_errors=True)

    def write_files(self, wanted, differing, stale):
        files.make_directory(self.directory, 0o755)
        for path in differing:
            files.make_directory(os.path.dirname(os.path.join(self.directory, path)), 0o755)
            files.write(os.path.join(self.directory, path), wanted[path][0], wanted[path][1])
        for path in stale:
            os.unlink(os.path.join(self.directory, path))
        record = json.dumps(sorted(wanted)).encode("utf-8")
        if files.differs(os.path.join(self.directory, ".dockyard.json"), record, 0o644):
            files.write(os.path.join(self.directory, ".dockyard.json"), record, 0o644)

    def _hashes(self):
        """Compose's hash of each service by the files in place."""
        if not self.params["services"]:
            return {}
        try:
            return self.compose().hashes()
        except ComposeError as error:
            raise ReleaseError("%s: docker compose config failed: %s" % (self.name, self.redact(str(error))))

    def _reasons(self, containers, hashes=None):
        """Which services differ from the files in place.

        ``config --hash`` and the label that ``up`` writes differ for a service with ``env_file`` (seen with Compose 2.26), so the label
        that came of a hash is remembered, and compared with what the containers carry.
        """
        hashes = hashes or self._hashes()
        record = json.loads((files.read(self.applied) or b"{}").decode("utf-8"))
        expected = {}
        for service, value in hashes.items():
            known = record.get(service) or {}
            expected[service] = known.get("label") if known.get("config") == value else value
        networks = {service: known.get("networks") or [] for service, known in record.items()}
        return decide.to_bring_up(self.params["services"], self.jobs, expected, containers, networks)

    def remember_hashes(self, hashes, containers):
        """Keep which label came of which hash, and in which networks the containers are."""
        found = {container["service"]: container for container in containers}
        record = {service: {"config": value, "label": found[service]["config_hash"], "networks": found[service]["networks"]}
                  for service, value in hashes.items() if service in found}
        text = json.dumps(record, indent=1, sort_keys=True).encode("utf-8")
        if files.differs(self.applied, text, 0o600):
            files.write(self.applied, text, 0o600)

    def _orphans(self, containers):
        """Services that have containers and are not wanted any more."""
        return sorted(set(container["service"] for container in containers) - set(self.params["services"]))

    def without_halves(self, containers):
        """Remove the containers that a Compose killed while it was recreating left under a passing name, and return the others.

        Compose creates the new container as ``<12 digits of the old one>_<name>``, removes the old one, renames, and only then starts it; a second
        run fails on the name. Such a container has never run, so nothing is lost with it.
        """
        kept = []
        for container in containers:
            if re.match("[0-9a-f]{12}_%s-" % re.escape(self.name), container["name"]) and container["state"] == "created":
                self.api.request("DELETE", "/containers/%s" % container["id"], query={"force": "1"})
            else:
                kept.append(container)
        return kept

    def bring_up(self, before):
        """Recreate and start what differs, in the order of the dependencies, and wait until all are healthy.

        :returns: dict of service to reason.
        :raises ReleaseError: it did not get well within the deadline.
        """
        before = self.without_halves(before)
        hashes = self._hashes()
        reasons = self._reasons(before, hashes)
        orphans = self._orphans(before)
        deadline = time.monotonic() + self.params["timeout_seconds"]
        if not reasons and not orphans:
            self.await_ready(self.params["services"], deadline)
            self.remember_hashes(hashes, before)
            return {}
        self.walk(self.compose(), self.params["services"], reasons, orphans, deadline)
        self.await_ready(self.params["services"], deadline)
        after = self.containers()
        self.remember_hashes(hashes, after)
        old, new = self._identities(before), self._identities(after)
        # Compose decides what it recreates: a service that kept its container was not changed, whatever we supposed.
        return {service: reason for service, reason in reasons.items() if reason != "changed" or old.get(service) != new.get(service)}

    def walk(self, compose, services, reasons, orphans, deadline):
        """Bring the services up level by level, each after those that it depends on are ready.

        :arg reasons: dict of the services that are due to their reasons; those that had to follow are added.
        :raises ReleaseError: Compose failed, or a dependency did not get ready before the deadline.
        """
        try:
            dependencies = decide.dependencies_of(compose.model()) if reasons else {}
            fresh = self.has_empty_volumes() if reasons else False
            for level in decide.levels(dependencies):
                due = [service for service in level if service in reasons]
                if not due:
                    continue
                self.await_ready(set(name for service in due for name in dependencies[service]), deadline)
                unwell = [service for service in due if reasons[service] == "restarted"]
                if unwell:
                    compose.restart(unwell)
                rest = [service for service in due if service not in unwell]
                cut_off = [service for service in rest if reasons[service] == "reconnected"]
                # Compose looks at the configuration only, and would leave them as they are.
                for container in self.containers() if cut_off else []:
                    if container["service"] in cut_off:
                        self._remove_container(container)
                if rest:
                    if fresh:
                        # Creating a container copies the image's folder, with its owner, over an empty volume: ours is set after that.
                        compose.create(rest)
                        self.own_volumes()
                    compose.up(rest)
                followers = [service for service, needed in dependencies.items() if service not in reasons and any(
                    (needed[name] or {}).get("restart") for name in due if name in needed)]
                if followers:
                    compose.restart(followers)
                    reasons.update((service, "restarted") for service in followers)
            if orphans and services:
                compose.up(services, remove_orphans=True)
            if orphans:
                # Compose needs a service to bring up, and leaves the containers of a profile that is off.
                for container in self.containers():
                    if container["service"] in orphans:
                        self._remove_container(container)
            reasons.update((service, "removed") for service in orphans)
        except (ComposeError, ValueError) as error:
            raise ReleaseError("%s: docker compose failed: %s" % (self.name, self.redact(str(error))))

    def _remove_container(self, container):
        self.api.request("POST", "/containers/%s/stop" % container["id"], timeout=60)
        self.api.request("DELETE", "/containers/%s" % container["id"], query={"force": "1"})

    @staticmethod
    def _identities(containers):
        """The identifiers of the containers of each service."""
        found = {}
        for container in containers:
            found.setdefault(container["service"], set()).add(container["id"])
        return found

    def await_ready(self, services, deadline):
        """Poll until the services are ready.

        :raises ReleaseError: at the deadline, or when one cannot get ready any more; with its logs.
        """
        while True:
            found = {}
            for container in self.containers():
                found.setdefault(container["service"], []).append(container)
            waiting, lost = [], []
            for service in services:
                stands = [decide.standing(container, service in self.jobs) for container in found.get(service, [])] or [decide.WAIT]
                if decide.LOST in stands:
                    lost.append(service)
                elif decide.WAIT in stands:
                    waiting.append(service)
            if not waiting and not lost:
                return
            if lost or time.monotonic() >= deadline:
                raise ReleaseError(self.complaint(lost or waiting, found, bool(lost)))
            time.sleep(POLL_SECONDS)

    def complaint(self, services, found, lost):
        """What to tell about services that did not get ready: state, health output, last log lines."""
        parts = []
        for service in sorted(services):
            containers = found.get(service)
            if not containers:
                parts.append("%s: no container was created" % service)
                continue
            container = containers[0]
            detail = self._inspect(container["id"])
            state = detail.get("State", {})
            restarts, health = detail.get("RestartCount", 0), container["health"]
            # A container that ends and is started again is "running" for a part of each round: the moment of looking must not decide what is told.
            loops = restarts > 1 and container["state"] == "running" and health in (None, "starting")
            text = "%s: state %s, health %s, exit code %s, restarted %s times" % (
                service, "restarting" if loops else container["state"], health or "not asked",
                "not known" if loops else state.get("ExitCode"), restarts)
            log = ((state.get("Health") or {}).get("Log") or [])[-1:]
            if log:
                text += "\n  health check said (code %s): %s" % (log[0].get("ExitCode"), tail(log[0].get("Output", ""), 3) or "nothing")
            rc, out, err = self._run([self.docker, "logs", "--tail", "25", container["id"]])
            text += "\n  last log lines:\n    %s" % (tail(err + "\n" + out, 25).replace("\n", "\n    ") or "(none)")
            parts.append(text)
        head = "ended and will not come back" if lost else (
            "not healthy within %d s (health.timeout_seconds of stack.yml, or stack_timeout_seconds)" % self.params["timeout_seconds"])
        return self.redact("%s: %s %s:\n%s" % (self.name, ", ".join(sorted(services)), head, "\n".join(parts)))

    def has_empty_volumes(self):
        """Whether a declared volume is missing or empty, as at a first deployment."""
        for volume in self.params["volumes"]:
            try:
                if not os.listdir(self.api.inspect("volumes", "%s_%s" % (self.name, volume["name"]))["Mountpoint"]):
                    return True
            except DockerError:
                return True
            except OSError:
                continue
        return False

    # -- tools ----------------------------------------------------------------

    def _tool_image(self, tool):
        return self.params["variables"].get(definition.variable_of(tool))

    def check_tools(self):
        """The image of a tool is asked for now: nothing would miss it before somebody wants to run it.

        :raises ReleaseError: it is not on the host. Not in check mode, where it would have come before.
        """
        for tool in self.tools if not self.module.check_mode else []:
            image = self._tool_image(tool)
            try:
                if image:
                    self.api.inspect("images", image)
            except DockerError as error:
                raise ReleaseError("%s, tool %s: found no image %s on the host (%s); needed it; run the role images; nothing was changed"
                                   % (self.name, tool, image, error))

    def missing_volumes(self):
        """Declared volumes that are not there, sorted; only looked for where Compose does not make them.

        That is where a tool is the only one that uses them, and where nothing is started.
        """
        missing = []
        for volume in self.params["volumes"] if self.tools or self.params["state"] == "prepared" else []:
            try:
                self.api.inspect("volumes", "%s_%s" % (self.name, volume["name"]))
            except DockerError as error:
                if getattr(error, "status", None) != 404:
                    raise ReleaseError("%s: Docker does not answer: %s; needed a running engine; look at `systemctl status docker`" % (self.name, error))
                missing.append(volume["name"])
        return sorted(missing)

    def make_volumes(self):
        """Make the volumes that are missing, as Compose would at the first run, which would then find them without an owner.

        :returns: list of str, as :meth:`own_volumes`.
        """
        missing = self.missing_volumes()
        if not missing:
            return []
        try:
            model = self.compose(tools=True).model().get("volumes") or {}
        except (ComposeError, ValueError) as error:
            raise ReleaseError("%s: docker compose config failed: %s" % (self.name, self.redact(str(error))))
        made = []
        for name in missing:
            entry = model.get(name) or {}
            # A volume with another name, or an external one, is the operator's.
            if entry.get("name") != "%s_%s" % (self.name, name) or entry.get("external"):
                continue
            labels = dict(entry.get("labels") or {})
            labels.update({"com.docker.compose.project": self.name, "com.docker.compose.volume": name})
            self.api.request("POST", "/volumes/create", body={"Name": entry["name"], "Driver": entry.get("driver") or "local",
                                                              "DriverOpts": entry.get("driver_opts") or {}, "Labels": labels})
            made.append("volume %s" % name)
        return made

    # -- schedules --------------------------------------------------------------

    def plan_units(self):
        """What is to be done for the schedules.

        :returns: (dict of path to bytes to be written, list of paths to be removed, list of the timers that shall be active and are not,
            or whose unit is written)
        :raises ReleaseError: no systemd, or a calendar that it does not understand; nothing was changed.
        """
        schedules = self.params["schedules"]
        if schedules and not os.path.isdir(SYSTEMD):
            raise ReleaseError("%s: found no systemd on the host; needed it for the schedules %s; nothing was changed; take `schedules` out of the stack"
                               % (self.name, ", ".join(entry["name"] for entry in schedules)))
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        wanted = {}
        for entry in schedules:
            if entry["action"] not in self.params["actions"]:
                raise ReleaseError("%s, schedule %s: found the unknown action '%s'; needed one of: %s"
                                   % (self.name, entry["name"], entry["action"], ", ".join(sorted(self.params["actions"])) or "none"))
            for file, text in units.render(self.name, entry, self.directory, self.params["state_dir"], python, RUNNER, HEADER).items():
                wanted[os.path.join(UNIT_DIR, file)] = text.encode("utf-8")
        present = [os.path.join(UNIT_DIR, file) for file in (sorted(os.listdir(UNIT_DIR)) if os.path.isdir(UNIT_DIR) else [])
                   if units.is_unit_of(self.name, file)]
        writes = {path: content for path, content in wanted.items() if files.differs(path, content, 0o644)}
        for entry in schedules:
            if os.path.join(UNIT_DIR, units.unit_name(self.name, entry["name"]) + ".timer") in writes:
                self.check_calendar(entry)
        if self.params["actions"]:
            source = runner.__loader__.get_source(runner.__name__).encode("utf-8")
            if files.differs(RUNNER, source, 0o644):
                writes[RUNNER] = source
        timers = sorted(os.path.basename(path) for path in wanted if path.endswith(".timer"))
        due = [timer for timer in timers if os.path.join(UNIT_DIR, timer) in writes
               or not os.path.lexists(os.path.join(UNIT_DIR, "timers.target.wants", timer))]
        if timers and len(due) < len(timers):
            # A run that was killed may have written a unit that systemd has not read.
            unused, out, unused2 = self._run([self._systemctl(), "show", "--property=Id,ActiveState,NeedDaemonReload"] + timers)
            due = sorted(set(due) | (set(timers) - units.waiting(out)))
        removals = [path for path in present if path not in wanted]
        for path in sorted(writes) + removals:
            if path != RUNNER:
                self.note_diff(path, writes.get(path))
        return writes, removals, due

    def _systemctl(self):
        return self.module.get_bin_path("systemctl") or "systemctl"

    def check_calendar(self, entry):
        """Ask systemd whether it understands the calendar of a schedule."""
        program = self.module.get_bin_path("systemd-analyze")
        if not program:
            return
        rc, unused, err = self._run([program, "calendar", "--", entry["calendar"]])
        if rc != 0:
            raise ReleaseError("%s, schedule %s: found the calendar '%s', which systemd does not understand (%s); needed one as in systemd.time(7), "
                               "such as *:0/15; nothing was changed" % (self.name, entry["name"], entry["calendar"], tail(err, 1)))

    @staticmethod
    def _unit_changes(writes, removals, timers):
        """What of the schedules was, or would be, changed: list of str."""
        listed = [os.path.basename(path) for path in list(writes) + removals]
        return sorted(set(writes) | set(removals)) + ["timer %s" % timer for timer in timers if timer not in listed]

    def apply_units(self, writes, removals, timers):
        """Write the units, start the timers, remove those of schedules that are gone.

        :raises ReleaseError: systemd refused; the stack serves nevertheless.
        """
        if not writes and not removals and not timers:
            return
        gone = [os.path.basename(path) for path in removals]
        try:
            if gone:
                # A run that is at work is stopped with its timer, and removes its container by itself.
                self.systemctl("disable", "--now", *gone)
            for path, content in sorted(writes.items()):
                files.make_directory(os.path.dirname(path), 0o755)
                files.write(path, content, 0o644)
            for path in removals:
                os.unlink(path)
            if self.params["schedules"]:
                # systemd makes it for nobody: a unit with ReadWritePaths= of a missing folder does not start.
                files.make_directory(os.path.join(self.params["state_dir"], "results"), 0o700)
            if removals or timers or any(path != RUNNER for path in writes):
                self.systemctl("daemon-reload")
            if gone:
                self._run([self._systemctl(), "reset-failed"] + gone)
            if timers:
                # An active timer has taken over its new calendar with the reload.
                self.systemctl("enable", "--now", *timers)
        except (ReleaseError, OSError) as error:
            raise ReleaseError("%s serves, but its schedules could not be set up: %s; needed systemd to take the units in %s; look at `systemctl status`, "
                               "then run again" % (self.name, error, UNIT_DIR), True)

    def systemctl(self, *words):
        """Run systemctl.

        :raises ReleaseError: it failed.
        """
        rc, out, err = self._run([self._systemctl()] + list(words))
        if rc != 0:
            raise ReleaseError("systemctl %s: %s" % (" ".join(words), tail(err or out, 3)))

    # -- owners -----------------------------------------------------------------

    def own_volumes(self):
        """Set owner and mode of the top folder of each declared volume; what is below belongs to the application.

        :returns: list of str, the volumes that were changed.
        """
        repaired = []
        for volume in self.params["volumes"]:
            if not volume["owner"] and not volume["mode"]:
                continue
            try:
                path = self.api.inspect("volumes", "%s_%s" % (self.name, volume["name"]))["Mountpoint"]
                found = os.stat(path)
            except DockerError:
                # A volume with another name (external, or named in the Compose file) is the operator's.
                continue
            except OSError:
                # Docker Desktop and Colima keep volumes inside their machine, out of our reach.
                continue
            wanted = tuple(int(part) for part in volume["owner"].split(":")) if volume["owner"] else None
            if wanted and (found.st_uid, found.st_gid) != wanted:
                os.chown(path, wanted[0], wanted[1])
                repaired.append("volume %s" % volume["name"])
            if volume["mode"] and stat.S_IMODE(found.st_mode) != int(volume["mode"], 8):
                os.chmod(path, int(volume["mode"], 8))
                repaired.append("volume %s" % volume["name"])
        return sorted(set(repaired))

    # -- the last good release ------------------------------------------------

    def _secret_files(self):
        """The secrets as they are on the host: dict of path below the stack's folder to bytes."""
        folder = os.path.join(self.directory, "secrets")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return {os.path.join("secrets", name): files.read(os.path.join(folder, name)) for name in names if not name.startswith(".dockyard-")}

    def keep_good(self, wanted):
        """Remember this release as the last good one: its files, its secrets, and what of it was asked for."""
        record = {"services": sorted(self.params["services"]), "jobs": sorted(self.jobs), "tools": self.tools, "compose_files": self.compose_files,
                  "modes": {path: "%04o" % mode for path, (unused, mode) in wanted.items()}}
        contents = {path: content for path, (content, unused) in wanted.items()}
        contents.update(self._secret_files())
        contents[GOOD_RECORD] = json.dumps(record, indent=1, sort_keys=True).encode("utf-8")
        if self._good_files() == contents:
            return
        beside, old = self.good + ".new", self.good + ".old"
        files.make_directory(beside, 0o700)
        self._fill(beside, contents)
        if os.path.isdir(self.good):
            os.rename(self.good, old)
        os.rename(beside, self.good)
        shutil.rmtree(old, ignore_errors=True)

    def _good_files(self):
        """The last good release: dict of path to bytes, {} when there is none."""
        found = {}
        for folder, unused, names in os.walk(self.good):
            for name in names:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, self.good)] = files.read(path)
        return found

    def go_back(self):
        """Put the last good release back and start it.

        :returns: True when it serves again, False when it does not, None when there is none. Never raises: what made the release fail is what has to be told.
        """
        good = self._good_files()
        try:
            record = json.loads(good.pop(GOOD_RECORD, b"{}").decode("utf-8"))
            if not record:
                return None
            current = {path: files.read(os.path.join(self.directory, path)) for path in good}
            if current == good and not self.stale(good):
                # The release that failed is the last good one: there is nothing better to go back to.
                return None
            for path in self.stale(good):
                os.unlink(os.path.join(self.directory, path))
            for path, content in good.items():
                uid = path.rpartition(".")[2] if path.startswith("secrets/") else ""
                owner = (int(uid), int(uid)) if uid.isdigit() else None
                files.make_directory(os.path.dirname(os.path.join(self.directory, path)), 0o700 if path.startswith("secrets/") else 0o755)
                files.write(os.path.join(self.directory, path), content, int(record["modes"].get(path, "0600"), 8), owner)
            files.write(os.path.join(self.directory, ".dockyard.json"), json.dumps(sorted(record["modes"])).encode("utf-8"), 0o644)
            compose = Compose(self._run, self.docker, self.name, self.directory, record["compose_files"])
            before = self.without_halves(self.containers())
            self.jobs = set(record["jobs"])
            self.tools = record.get("tools", [])
            reasons = dict.fromkeys(record["services"], "changed")
            orphans = sorted(set(container["service"] for container in before) - set(record["services"]))
            deadline = time.monotonic() + self.params["timeout_seconds"]
            self.walk(compose, record["services"], reasons, orphans, deadline)
            self.await_ready(record["services"], deadline)
        except (ReleaseError, ComposeError, DockerError, OSError, ValueError) as error:
            self.module.warn("%s: the last good release could not be brought back: %s" % (self.name, self.redact(str(error))))
            return False
        return True

    def ledger(self, outcome, reasons, message, digest=None, reverted=False):
        """Append one line to the stack's ledger."""
        number = self.last_release().get("number", 0) + 1
        entry = {"number": number, "outcome": outcome, "revision": self.params["revision"], "environment": self.params["environment"],
                 "time_epoch_s": int(time.time()), "seconds": round(time.time() - self.started, 1), "by": self.params["released_by"],
                 "services": reasons, "all_services": sorted(self.params["services"]),
                 "jobs": sorted(self.jobs), "tools": self.tools,
                 "images": {key: value for key, value in sorted(self.params["variables"].items()) if key.endswith("_IMAGE")}}
        if message:
            entry["message"] = message.splitlines()[0][:300]
        if digest:
            entry.update(digest=digest, reverted=reverted)
        ledger.append(ledger.path_of(self.ledger_dir, self.name), entry)

    def last_release(self):
        """The newest readable entry of the ledger, or {}."""
        return ledger.last(ledger.path_of(self.ledger_dir, self.name))

    def _result(self, changed, changed_files, reasons, containers):
        services = {}
        for container in containers:
            if container["service"] in self.params["services"]:
                services[container["service"]] = {"state": container["state"], "health": container["health"] or "none", "image": container["image"]}
        for tool in self.tools if not self.module.check_mode or self.last_release() else []:
            services[tool] = {"state": "ready", "health": "none", "image": self._tool_image(tool)}
        result = {"changed": changed, "changed_files": changed_files, "changed_services": reasons, "services": services,
                  "release": self.last_release(), "seconds": round(time.time() - self.started, 2)}
        if changed:
            what = "would change" if self.module.check_mode else "changed"
            result["msg"] = "%s %s: files: %s; services: %s" % (self.name, what, ", ".join(changed_files) or "none", ", ".join(
                "%s (%s)" % item for item in sorted(reasons.items())) or "none")
        if self.module._diff:
            result["diff"] = self.diffs
        return result


def main():
    module = QuietModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
            "state": {"type": "str", "default": "present", "choices": ["present", "prepared"]},
            "migration": {"type": "str", "default": ""},
            "lease": {"type": "path"},
            "lease_seconds": {"type": "int", "default": 120},
            "environment": {"type": "str", "default": "production"},
            "revision": {"type": "str", "default": ""},
            "released_by": {"type": "str", "default": ""},
            "compose_files": {"type": "list", "elements": "str", "default": ["compose.yaml"]},
            "files": {"type": "list", "elements": "dict", "required": True, "options": {
                "path": {"type": "str", "required": True},
                "content": {"type": "str", "required": True},
                "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
                "mode": {"type": "str", "default": "0644"},
            }},
            "variables": {"type": "dict", "default": {}},
            "overlay": {"type": "dict", "default": {}},
            "services": {"type": "list", "elements": "str", "required": True},
            "jobs": {"type": "list", "elements": "str", "default": []},
            "tools": {"type": "list", "elements": "str", "default": []},
            "actions": {"type": "dict", "default": {}},
            "schedules": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True},
                "action": {"type": "str", "required": True},
                "arguments": {"type": "dict", "default": {}},
                "calendar": {"type": "str", "required": True},
                "keep": {"type": "int", "default": 100},
                "randomized_delay_seconds": {"type": "int", "default": 30},
                "timeout_seconds": {"type": "int", "default": 300},
                "description": {"type": "str", "default": "a scheduled action"},
            }},
            "secrets": {"type": "list", "elements": "dict", "default": [], "no_log": False, "options": {
                "name": {"type": "str", "required": True},
                "source": {"type": "str", "choices": ["generated", "given", "tls_certificate", "tls_key"], "required": True},
                "value": {"type": "str", "no_log": True},
                "length": {"type": "int", "default": 32},
                "readers": {"type": "list", "elements": "int", "default": [0]},
                "required": {"type": "bool", "default": True},
                "expires_epoch_s": {"type": "int"},
            }},
            "service_secrets": {"type": "dict", "default": {}, "no_log": False},
            "volumes": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True}, "owner": {"type": "str"}, "mode": {"type": "str"}, "backup": {"type": "bool"},
            }},
            "host_network": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "dict", "default": [], "options": {
                "service": {"type": "str", "required": True},
                "container": {"type": "int", "required": True},
                "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                "published": {"type": "str", "required": True},
            }},
            "timeout_seconds": {"type": "int", "default": 300},
            "retry_failed": {"type": "bool", "default": False},
            "lock_timeout_seconds": {"type": "int", "default": 60},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    release = Release(module)
    ended = ("%s: found the freeze of the native application ended; needed it to hold, for it may have written since; it serves, "
             "and the containers are stopped; run the migration again" % release.name)
    try:
        with Renewer(module.params["lease"] if not module.check_mode else "", module.params["lease_seconds"]) as lease:
            if not lease.held:
                raise ReleaseError(ended)
            result = release.run()
        if not lease.held:
            raise ReleaseError(ended, True)
    except ReleaseError as error:
        module.fail_json(msg=str(error), changed=error.changed, seconds=round(time.time() - release.started, 2), **error.facts)
    except OSError as error:
        module.fail_json(msg="%s: %s: %s; free space, check the permissions, then run again" % (release.name, error.filename or "the host", error.strerror),
                         seconds=round(time.time() - release.started, 2))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
