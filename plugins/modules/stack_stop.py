#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_stop
short_description: A stack stands still, or is gone from the host, its data kept unless it is asked for twice
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Stops the schedules and the containers of a stack that was released with M(dockyard.fleet.release), what others need last, each with its own time
    to end. It stays stopped after a restart of the engine or the host.
  - With O(remove), its containers, networks, schedules and rendered files go too. Its volumes, secrets, images, results and ledger stay, so that the next
    deployment finds everything as it was.
  - O(delete_volumes) and O(delete_images) delete for ever. Each wants the name of the stack typed again; otherwise the module fails, says what would be lost,
    with sizes, and changes nothing.
  - The ledger remembers who stopped it. M(dockyard.fleet.stack_plan) leaves such a stack alone in unattended runs.
  - Works by the labels of Docker Compose and needs none of the stack's files. A second run changes nothing; a killed one is gone on with by the next.
  - Never touches a Compose project that this collection has not released, external volumes, or what another project uses.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Says what would be stopped, removed and deleted, with sizes.
    support: full
  diff_mode:
    description: There is no file whose content would change.
    support: none
  platform:
    platforms: posix
options:
  name:
    description: Name of the stack.
    type: str
    required: true
  remove:
    description: Remove its containers, networks, schedules and rendered files.
    type: bool
    default: false
  delete_volumes:
    description:
      - The name of the stack again, to delete its volumes, its secrets and the results of its schedules too.
      - The secrets go with the volumes and not earlier, because a generated password belongs to the database that was made with it.
      - Needs O(remove).
    type: str
    default: ""
  delete_images:
    description:
      - The name of the stack again, to delete the images of all its releases that nobody else uses.
      - Needs O(remove).
    type: str
    default: ""
  stopped_by:
    description: Who stops it, for the ledger and for the lock's holder.
    type: str
    default: ""
  config_dir:
    description: Folder on the host under which C(stacks/<stack>) is.
    type: path
    default: /etc/dockyard
  state_dir:
    description: Folder of the collection's state on the host.
    type: path
    default: /var/lib/dockyard
  lock_timeout_seconds:
    description: How long to wait for another run on the same host and stack.
    type: int
    default: 60
  docker_socket:
    description: Path of the Docker socket.
    type: path
    default: /var/run/docker.sock
requirements:
  - Docker Engine
seealso:
  - module: dockyard.fleet.release
  - module: dockyard.fleet.stack_plan
"""

EXAMPLES = r"""
- name: Stop a stack
  dockyard.fleet.stack_stop:
    name: inventory
  become: true

- name: Remove a stack with all its data
  dockyard.fleet.stack_stop:
    name: inventory
    remove: true
    delete_volumes: inventory
  become: true
"""

RETURN = r"""
outcome:
  description: How the stack stands at the end, V(stopped) or V(removed).
  type: str
  returned: success
containers:
  description: Containers that were (check mode - would be) stopped or removed.
  type: list
  elements: str
  returned: success
networks:
  description: Networks that were (would be) removed.
  type: list
  elements: str
  returned: success
disconnected:
  description: Containers of other stacks, such as a tunnel, that were (would be) taken out of these networks.
  type: list
  elements: str
  returned: success
units:
  description: Units of schedules that were (would be) stopped, or removed.
  type: list
  elements: str
  returned: success
files:
  description: Files that were (would be) removed.
  type: list
  elements: str
  returned: success
volumes:
  description: Volumes that were (would be) deleted.
  type: list
  elements: dict
  returned: success
  sample: [{name: inventory_db, bytes: 48211968}]
images:
  description: Images that were (would be) deleted.
  type: list
  elements: dict
  returned: success
  sample: [{name: "dockyard/inventory-app:4f0c2a91d7b3e865", bytes: 301211968}]
kept:
  description: What of a removed stack is still on the host.
  type: dict
  returned: success
  sample: {volumes: [{name: inventory_db, bytes: 48211968}], images: [{name: "nginx:1.28", user: stack blog}], files: []}
seconds:
  description: How long it took.
  type: float
  returned: always
"""

import contextlib
import json
import os
import shutil
import stat
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import units
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApi, DockerApiError, DockerError
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.compose import tail
from ansible_collections.dockyard.fleet.plugins.module_utils.release import ending, files, ledger

UNIT_DIR = "/etc/systemd/system"
# Beyond the time that a container has to end by itself.
STOP_MARGIN_SECONDS = 60
DEFAULT_STOP_SECONDS = 10


class StopError(Exception):
    """It can't go on; ``changed`` tells whether something was touched."""

    def __init__(self, message, changed=False):
        super().__init__(message)
        self.changed = changed


def bytes_below(path):
    """Disk space of a folder, hard links counted once; None when it can't be looked into."""
    total, seen = 0, set()

    def gone(error):
        # A file that goes while we count is no reason to know nothing; a folder that is closed to us is.
        if not isinstance(error, FileNotFoundError):
            raise error

    try:
        os.stat(path)
        for folder, unused, names in os.walk(path, onerror=gone):
            for name in ["."] + names:
                with contextlib.suppress(FileNotFoundError):
                    info = os.lstat(os.path.join(folder, name))
                    if (info.st_dev, info.st_ino) not in seen:
                        seen.add((info.st_dev, info.st_ino))
                        total += info.st_blocks * 512
    except OSError:
        return None
    return total


class Stop:
    """Stopping one stack on this host."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.name = module.params["name"]
        self.directory = os.path.join(module.params["config_dir"], "stacks", self.name)
        self.results = os.path.join(module.params["state_dir"], "results", self.name)
        self.ledger_dir = os.path.join(module.params["state_dir"], "releases")
        self.ledger = ledger.path_of(self.ledger_dir, self.name)
        self.api = DockerApi(module.params["docker_socket"], timeout=60)
        self.started = time.time()
        self.changed = False
        self.remove = module.params["remove"]
        self.outcome = ledger.REMOVED if self.remove else ledger.STOPPED

    def run(self):
        """All steps. Returns the result for exit_json."""
        if not ledger.is_name(self.name):
            raise StopError("name: found %r; needed the name of a stack: at most 40 of a-z, 0-9, - and _, a letter first; nothing was changed" % self.name)
        if self.module.check_mode or not os.path.isdir(self.ledger_dir):
            return self._run_locked()
        holder = "%s, pid %d, since %s" % (self.params["stopped_by"] or "a run that stops it", os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
        try:
            with files.lock(os.path.join(self.ledger_dir, ".%s.lock" % self.name), holder, self.params["lock_timeout_seconds"]):
                return self._run_locked()
        except files.Locked as error:
            raise StopError("%s: another run holds the stack: %s; needed it to end within %d s; wait for it, then run again"
                            % (self.name, error, self.params["lock_timeout_seconds"]))

    def _run_locked(self):
        history = ledger.entries(self.ledger)
        last = history[-1] if history else {}
        own_units = sorted(name for name in self._names(UNIT_DIR) if units.is_unit_of(self.name, name))
        if not history and not own_units and not os.path.isdir(self.directory):
            known = sorted(set(name[:-len(".jsonl")] for name in self._names(self.ledger_dir) if name.endswith(".jsonl")))
            raise StopError("%s: found no such stack on this host; needed one of: %s; correct the name (a Compose project of somebody else is never touched)"
                            % (self.name, ", ".join(known) or "none is here"))
        try:
            return self._perform(history, last, own_units)
        except DockerError as error:
            state = "run again when Docker is well" if self.changed else "nothing was changed; look at `systemctl status docker`"
            raise StopError("%s: Docker does not do it: %s; %s" % (self.name, error, state), self.changed)

    def _perform(self, history, last, own_units):
        containers = self.containers()
        volumes = self.volumes(containers, history) if self.remove or self.params["delete_volumes"] else []
        images, needed_images = [], []
        if self.remove or self.params["delete_images"]:
            images, needed_images = self.images(history)
        self.check_switches(volumes, images)
        deletes_volumes, deletes_images = bool(self.params["delete_volumes"]), bool(self.params["delete_images"])
        networks = self.networks(containers) if self.remove else []
        due = containers if self.remove else [entry for entry in containers if entry["state"] in ending.RUNNING or entry["restart"] == "always"]
        due_units = own_units if self.remove else self.units_at_work(own_units)
        doomed_files, kept_files = self.files_to_remove(deletes_volumes) if self.remove else ([], [])

        acts = bool(due or networks or due_units or doomed_files or (deletes_volumes and volumes) or (deletes_images and images))
        result = {
            "outcome": self.outcome, "containers": [entry["name"] for entry in due], "networks": [entry["name"] for entry in networks],
            "disconnected": sorted(guest["name"] for network in networks for guest in network["guests"]),
            "units": due_units, "files": doomed_files,
            "volumes": self._shown(volumes) if deletes_volumes else [], "images": self._shown(images) if deletes_images else [],
            "kept": {"volumes": [] if deletes_volumes else self._shown(volumes), "files": kept_files,
                     "images": needed_images + ([] if deletes_images else self._shown(images))},
        }
        # Somebody who stops what already stands still wants it to stay so.
        outcome_due = last.get("outcome") != self.outcome and not (last.get("outcome") == ledger.REMOVED and not acts)
        changed = acts or outcome_due
        if changed and not self.module.check_mode:
            # First of all, so that a run that is killed in the middle leaves the intention, and no timer starts it again.
            # Without its container nothing else tells whose a volume without a name is: neither a later run nor the next one after a kill.
            anonymous = sorted(entry["name"] for entry in volumes if entry["anonymous"])
            self._note(last, anonymous_volumes=anonymous)
            self.end_units(due_units)
            self.end_containers(due)
            self.end_networks(networks)
            for path in doomed_files:
                self._delete_file(path)
            if self.remove:
                self._clear_folders()
            if deletes_volumes:
                for volume in volumes:
                    self._request("DELETE", "/volumes/%s" % volume["name"])
            if deletes_images:
                self.delete_images(images)
            if result["volumes"] or result["images"]:
                self._note(ledger.last(self.ledger), deleted={"volumes": result["volumes"], "images": result["images"]})
        if not changed and last:
            result["outcome"] = last["outcome"]
        result.update(changed=changed, msg=self.message(result, changed), seconds=round(time.time() - self.started, 2))
        return result

    # -- what is ------------------------------------------------------------

    @staticmethod
    def _names(folder):
        return os.listdir(folder) if os.path.isdir(folder) else []

    @staticmethod
    def _shown(entries):
        return [{"name": entry["name"], "bytes": entry["bytes"]} for entry in entries]

    def _labelled(self, path, **query):
        return self.api.get(path, dict(query, filters={"label": ["%s=%s" % (ending.PROJECT, self.name)]}))

    def containers(self):
        """The stack's containers, those of actions that run just now included, in the order of stopping."""
        found = []
        for entry in self._labelled("/containers/json", all="1"):
            try:
                detail = self.api.inspect("containers", entry["Id"])
            except DockerApiError as error:
                if error.status == 404:
                    continue
                raise
            labels = entry.get("Labels") or {}
            found.append({
                "id": entry["Id"], "name": (entry.get("Names") or [entry["Id"][:12]])[0].lstrip("/"), "state": entry["State"],
                "service": labels.get(ending.SERVICE), "needs": ending.needs_of(labels.get(ending.DEPENDS_ON)),
                "restart": ((detail.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name"),
                "seconds": (detail.get("Config") or {}).get("StopTimeout") or DEFAULT_STOP_SECONDS,
                "volumes": [mount.get("Name") for mount in detail.get("Mounts") or [] if mount.get("Type") == "volume"]})
        return ending.stop_order(found)

    def networks(self, containers):
        """The stack's networks, with the containers of other stacks that joined them, such as a tunnel.

        :raises StopError: somebody else's container is in one; nothing was changed.
        """
        found = []
        own = set(container["id"] for container in containers)
        for entry in self._labelled("/networks"):
            guests = []
            for identifier, member in sorted((self.api.inspect("networks", entry["Id"]).get("Containers") or {}).items()):
                if identifier in own:
                    continue
                labels = (self.api.inspect("containers", identifier).get("Config") or {}).get("Labels") or {}
                if not os.path.lexists(ledger.path_of(self.ledger_dir, labels.get(ending.PROJECT) or "")):
                    raise StopError("%s: found %s in the network %s, which is not of this stack; needed nobody of others in it; take it out "
                                    "(docker network disconnect), then run again; nothing was changed" % (self.name, member.get("Name"), entry["Name"]))
                guests.append({"id": identifier, "name": member.get("Name")})
            found.append({"id": entry["Id"], "name": entry["Name"], "guests": guests})
        return sorted(found, key=lambda network: network["name"])

    def volumes(self, containers, history):
        """The stack's volumes, those without a name too, with their sizes."""
        found = {entry["Name"]: entry for entry in self._labelled("/volumes").get("Volumes") or []}
        unnamed = set(name for container in containers for name in container["volumes"] if name and ending.ANONYMOUS.match(name))
        # Of containers that an earlier run removed.
        unnamed.update(name for entry in history for name in entry.get("anonymous_volumes") or [] if ending.ANONYMOUS.match(name))
        for name in sorted(unnamed - set(found)):
            with contextlib.suppress(DockerApiError):
                found[name] = self.api.inspect("volumes", name)
        return [{"name": name, "bytes": bytes_below(entry.get("Mountpoint") or ""), "anonymous": name in unnamed} for name, entry in sorted(found.items())]

    def images(self, history):
        """The stack's images: (those that can go, those that somebody else needs)."""
        others = {}
        for name in self._names(self.ledger_dir):
            if name.endswith(".jsonl") and name != "%s.jsonl" % self.name:
                for reference in (ledger.last(os.path.join(self.ledger_dir, name)).get("images") or {}).values():
                    others[reference] = "stack %s" % name[:-len(".jsonl")]
        for entry in self.api.get("/containers/json", {"all": "1"}):
            if (entry.get("Labels") or {}).get(ending.PROJECT) != self.name:
                others[entry.get("ImageID")] = "container %s" % (entry.get("Names") or [entry["Id"][:12]])[0].lstrip("/")
        images = [{"id": entry["Id"], "bytes": entry.get("Size"),
                   "references": [text for text in (entry.get("RepoTags") or []) + (entry.get("RepoDigests") or []) if not text.startswith("<none>")]}
                  for entry in self.api.get("/images/json")]
        return ending.doomed_images(self.name, history, images, others)

    def check_switches(self, volumes, images):
        """Refuse what deletes without the name typed again, or what somebody else uses.

        :raises StopError: nothing was changed.
        """
        losses = {"delete_volumes": "for ever the volumes: %s; and the secrets of the stack" % (ending.listed(volumes) or "none"),
                  "delete_images": "the images: %s" % (ending.listed(images) or "none")}
        problems = ending.switch_problems(self.name, self.remove, {switch: self.params[switch] for switch in losses}, losses)
        if problems:
            raise StopError("; ".join(problems))
        for volume in volumes if self.params["delete_volumes"] else []:
            users = [(entry.get("Names") or [entry["Id"][:12]])[0].lstrip("/")
                     for entry in self.api.get("/containers/json", {"all": "1", "filters": {"volume": [volume["name"]]}})
                     if (entry.get("Labels") or {}).get(ending.PROJECT) != self.name]
            if users:
                raise StopError("%s: found the volume %s in use by %s, which is not of this stack; needed nobody to use it; remove that first; "
                                "nothing was changed" % (self.name, volume["name"], ", ".join(sorted(users))))

    def units_at_work(self, own_units):
        """Units of the schedules that are enabled, or at work now."""
        if not own_units:
            return []
        wants = os.path.join(UNIT_DIR, "timers.target.wants")
        out = self._run([self._systemctl(), "show", "--property=Id,ActiveState"] + own_units)[1]
        active = set()
        for block in out.split("\n\n"):
            facts = dict(line.partition("=")[::2] for line in block.splitlines())
            if facts.get("ActiveState") in ("active", "activating", "reloading", "deactivating"):
                active.add(facts.get("Id"))
        return [name for name in own_units if name in active or os.path.lexists(os.path.join(wants, name))]

    def files_to_remove(self, everything):
        """Files that we wrote for the stack, and those in its folder that somebody else put there.

        :arg everything: bool, its secrets and the results of its schedules too.
        :returns: (sorted list of str, sorted list of str)
        """
        try:
            written = json.loads((files.read(os.path.join(self.directory, ".dockyard.json")) or b"[]").decode("utf-8"))
        except ValueError:
            written = []
        ours = set(os.path.join(self.directory, path) for path in written + [".dockyard.json"])
        doomed, kept = set(), set()
        for folder, unused, names in os.walk(self.directory):
            inside = os.path.relpath(folder, self.directory)
            for name in names:
                path = os.path.join(folder, name)
                if inside == "secrets":
                    # They were made with the volumes, and go with them.
                    (doomed if everything else kept).add(path)
                elif path in ours or name.startswith(".dockyard-"):
                    doomed.add(path)
                else:
                    kept.add(path)
        for suffix in (".good", ".good.old", ".good.new", ".applied.json"):
            path = os.path.join(self.ledger_dir, self.name + suffix)
            if os.path.lexists(path):
                doomed.add(path)
        if everything and os.path.lexists(self.results):
            doomed.add(self.results)
        return sorted(doomed), sorted(kept)

    # -- the steps ----------------------------------------------------------

    def _note(self, before, **more):
        files.make_directory(self.ledger_dir, 0o700)
        ledger.append(self.ledger, ledger.ending(before, self.outcome, int(time.time()), self.params["stopped_by"], **more))
        self.changed = True

    def _run(self, argv):
        return self.module.run_command(argv)

    def _systemctl(self, *words):
        program = self.module.get_bin_path("systemctl") or "systemctl"
        if not words:
            return program
        rc, out, err = self._run([program] + list(words))
        if rc != 0:
            raise StopError("%s: systemctl %s: %s; needed systemd to take it; look at `systemctl status`, then run again"
                            % (self.name, " ".join(words), tail(err or out, 3)), True)
        return out

    def end_units(self, due):
        """Stop the schedules; with ``remove``, take their units away. A run that is at work ends its container by itself."""
        if not due:
            return
        timers, services = [[name for name in due if name.endswith(ending_)] for ending_ in (".timer", ".service")]
        if timers:
            self._systemctl("disable", "--now", *timers)
        if services:
            self._systemctl("stop", *services)
        if self.remove:
            for name in due:
                os.unlink(os.path.join(UNIT_DIR, name))
            self._systemctl("daemon-reload")
        # A unit without a failure, or one that is not loaded any more, has none to forget.
        self._run([self._systemctl(), "reset-failed"] + due)

    def _request(self, method, path, body=None, timeout=60, fine=(404,)):
        """A request that finds its work done when the object is gone (404) or stands as it should (304)."""
        try:
            self.api.request(method, path, query={"force": "1"} if method == "DELETE" and path.startswith("/containers/") else None, body=body, timeout=timeout)
        except DockerApiError as error:
            if error.status not in fine:
                raise

    def end_containers(self, due):
        for container in due:
            path = "/containers/%s" % container["id"]
            if container["restart"] == "always" and not self.remove:
                # Such a container comes back with the engine although somebody stopped it; that is the only difference.
                self._request("POST", path + "/update", {"RestartPolicy": {"Name": "unless-stopped"}})
            if container["state"] == "paused":
                self._request("POST", path + "/unpause", fine=(404, 409, 500))
            if container["state"] in ending.RUNNING:
                self._request("POST", path + "/stop", timeout=container["seconds"] + STOP_MARGIN_SECONDS)
        for container in due if self.remove else []:
            self._request("DELETE", "/containers/%s" % container["id"], fine=(404, 409))
            self._await_gone(container)

    def _await_gone(self, container):
        """Wait for a container that somebody else, such as ``compose run --rm``, removes at the same time."""
        deadline = time.monotonic() + STOP_MARGIN_SECONDS
        while True:
            try:
                self.api.inspect("containers", container["id"])
            except DockerApiError as error:
                if error.status == 404:
                    return
                raise
            if time.monotonic() >= deadline:
                raise StopError("%s: found the container %s still there after %d s; needed Docker to remove it; look at `docker ps -a`, then run again"
                                % (self.name, container["name"], STOP_MARGIN_SECONDS), True)
            time.sleep(0.2)

    def end_networks(self, networks):
        for network in networks:
            for guest in network["guests"]:
                # Its own stack puts it in again when this one is back.
                self._request("POST", "/networks/%s/disconnect" % network["id"], {"Container": guest["id"], "Force": True})
            self._request("DELETE", "/networks/%s" % network["id"])

    def delete_images(self, images):
        for image in images:
            try:
                self._request("DELETE", "/images/%s" % image["name"])
            except DockerApiError as error:
                if error.status != 409:
                    raise
                # It came into use since we looked.
                self.module.warn("%s: the image %s stays: %s" % (self.name, image["name"], error.message))

    @staticmethod
    def _delete_file(path):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _clear_folders(self):
        """Remove the folders that are empty now; one with a file of somebody else stays."""
        for folder, unused, unused2 in os.walk(self.directory, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def message(self, result, changed):
        """One sentence for people: what was, or would be, done; and what stays."""
        if not changed:
            return "%s is %s already" % (self.name, result["outcome"])
        check = self.module.check_mode
        parts = []
        verb = "removed" if self.remove else "stopped"
        for key, word in (("containers", verb), ("networks", "removed"), ("units", verb)):
            if result[key]:
                parts.append("%s %s: %s" % (key, word, ", ".join(result[key])))
        if result["disconnected"]:
            parts.append("taken out of its networks: %s" % ", ".join(result["disconnected"]))
        if result["volumes"]:
            parts.append("DELETED for ever, volumes: %s; and the secrets" % ending.listed(result["volumes"]))
        if result["images"]:
            parts.append("images deleted: %s" % ending.listed(result["images"]))
        if self.remove and result["kept"]["volumes"]:
            parts.append("kept, volumes: %s; delete_volumes=%s deletes them" % (ending.listed(result["kept"]["volumes"]), self.name))
        others = [entry for entry in result["kept"]["images"] if "user" in entry]
        if self.params["delete_images"] and others:
            parts.append("images kept: %s" % ", ".join("%s (%s)" % (entry["name"], entry["user"]) for entry in others))
        foreign = [path for path in result["kept"]["files"] if not path.startswith(os.path.join(self.directory, "secrets", ""))]
        if foreign:
            parts.append("files kept, which are not ours: %s" % ", ".join(foreign))
        return "%s %s; %s" % (self.name, "would be %s" % self.outcome if check else "is %s" % self.outcome, "; ".join(parts) or "nothing of it was running")


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "remove": {"type": "bool", "default": False},
            "delete_volumes": {"type": "str", "default": ""},
            "delete_images": {"type": "str", "default": ""},
            "stopped_by": {"type": "str", "default": ""},
            "config_dir": {"type": "path", "default": "/etc/dockyard"},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
            "lock_timeout_seconds": {"type": "int", "default": 60},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    stop = Stop(module)
    try:
        result = stop.run()
    except StopError as error:
        module.fail_json(msg=str(error), changed=error.changed or stop.changed, seconds=round(time.time() - stop.started, 2))
    except OSError as error:
        module.fail_json(msg="%s: %s: %s; check the permissions and the disk, then run again" % (stop.name, error.filename or "the host", error.strerror),
                         changed=stop.changed, seconds=round(time.time() - stop.started, 2))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
