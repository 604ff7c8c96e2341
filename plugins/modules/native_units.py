#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: native_units
short_description: The systemd units of a native application serve, stand still for a migration, or are out of service
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Stops the units of an application under a lease. Whoever works with what stands still renews it; when nobody does, because the run was killed or the
    network is cut, a watcher on the host starts them again. After a restart of the host they serve, too.
  - Takes them out of service (disabled and masked, nothing removed), and brings them back as they were.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    description: There is no file whose content would change.
    support: none
  platform:
    platforms: posix
options:
  stack:
    description: Name of the stack that takes over.
    type: str
    required: true
  state:
    description:
      - V(surveyed) tells how the units stand.
      - V(frozen) stops them, in the order of O(units), and starts the watcher; where they are frozen already, renews the lease.
      - V(renewed) renews the lease for O(lease_seconds), and fails when it has ended.
      - V(switching) is V(renewed) for the time of a release, whose containers are stopped when it does not come to V(switched).
      - V(switched) disables and masks them; the lease ends.
      - V(serving) undoes any of these. The units are enabled and started as they were before.
    type: str
    choices: [surveyed, frozen, renewed, switching, switched, serving]
    required: true
  units:
    description: The units. Stopped in this order, started in the reverse one.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name of the unit.
        type: str
        required: true
      optional:
        description: Whether it may be absent.
        type: bool
        default: false
  lease_seconds:
    description: How long the units stand still without being renewed. At least 10.
    type: int
    default: 120
  migration:
    description: Name of the migration.
    type: str
    default: native
  state_dir:
    description: Folder of the collection's state on the host.
    type: path
    default: /var/lib/dockyard
requirements:
  - systemd
seealso:
  - module: dockyard.fleet.postgres_migration
  - module: ansible.builtin.systemd_service
    description: Starts and stops a unit, without a lease and a way back.
"""

EXAMPLES = r"""
- name: Let the native application stand still
  dockyard.fleet.native_units:
    stack: inventory
    state: frozen
    units:
      - {name: nginx.service, optional: true}
      - {name: inventory-app.service}
  become: true
"""

RETURN = r"""
units:
  description: How the units stand at the end.
  type: dict
  returned: success
  sample: {inventory-app.service: {present: true, active: true, enabled: enabled}}
standing:
  description: V(frozen) or V(switched) by an earlier run, empty when the units are as they were found.
  type: str
  returned: success
problems:
  description: What stands against a freeze.
  type: list
  elements: str
  returned: surveyed
pids:
  description: Processes of the active units.
  type: list
  elements: int
  returned: surveyed
lease:
  description: Path of the lease, for those who renew it.
  type: str
  returned: success
frozen_seconds:
  description: How long they stood still, as far as it is known.
  type: float
  returned: when the freeze ends
"""

import contextlib
import glob
import json
import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.compose import tail
from ansible_collections.dockyard.fleet.plugins.module_utils.migration import lease as leases
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

PROGRAM = "/usr/local/lib/dockyard/migration_lease.py"
UNIT_DIR = "/etc/systemd/system"
# systemd does not read a unit's file under this name.
ASIDE = ".dockyard-migrated"
UP = ("active", "activating", "reloading")
SHORTEST_LEASE = 10


class UnitsError(Exception):
    """It can't go on."""

    def __init__(self, message, changed=False):
        super().__init__(message)
        self.changed = changed


class Units:
    """The native units of one application on this host."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.stack = module.params["stack"]
        self.folder = os.path.join(module.params["state_dir"], "migrations", self.stack)
        self.memory = os.path.join(self.folder, "units.json")
        self.lease = os.path.join(self.folder, "lease.json")
        self.names = [entry["name"] for entry in module.params["units"]]
        self.watcher = "dockyard-migration-watch-%s" % self.stack
        self.guard = "dockyard-migration-%s.service" % self.stack
        self.changed = False

    def run(self):
        """The state that is asked for. Returns the result for exit_json."""
        if self.params["lease_seconds"] < SHORTEST_LEASE:
            raise UnitsError("%s, lease_seconds: found %d; needed at least %d, for it is renewed by commands that take their time; nothing was changed; "
                             "set migration_lease_seconds" % (self.stack, self.params["lease_seconds"], SHORTEST_LEASE))
        result = getattr(self, "_" + self.params["state"])()
        result.update(lease=self.lease, units=self.look(), standing=self.remembered().get("state", ""))
        result.setdefault("changed", self.changed)
        return result

    # -- what is --------------------------------------------------------------

    def systemctl(self, *words, check=True):
        """Run systemctl. :raises UnitsError: it failed."""
        rc, out, err = self.module.run_command(["systemctl"] + list(words))
        if rc != 0 and check:
            raise UnitsError("%s: systemctl %s: %s; look at `systemctl status %s`" % (self.stack, " ".join(words), tail(err or out, 3), words[-1]),
                             self.changed)
        return out

    def look(self, names=None):
        """How the units stand: dict of name to ``{present, active, enabled}``. :raises UnitsError: systemd does not say."""
        names = self.names if names is None else names
        if not names:
            return {}
        out = self.systemctl("show", "--property=Id,LoadState,ActiveState,UnitFileState", *names)
        blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in out.strip().split("\n\n")]
        if len(blocks) != len(names):
            raise UnitsError("%s: found that systemctl shows %d of the units %s; needed all; check their names in the stack's section migration"
                             % (self.stack, len(blocks), ", ".join(names)), self.changed)
        return {name: {"present": block.get("LoadState") not in (None, "", "not-found"), "active": block.get("ActiveState") in UP,
                       "enabled": block.get("UnitFileState", ""), "masked": block.get("LoadState") == "masked"} for name, block in zip(names, blocks)}

    def pids(self, found):
        """Processes of the units that are active: what they listen on is free after the freeze. :returns: list of int"""
        collected = set()
        active = [name for name in self.names if found[name]["active"]]
        for group in self.systemctl("show", "--property=ControlGroup", "--value", *active, check=False).split() if active else []:
            for folder, unused, unused2 in os.walk("/sys/fs/cgroup/systemd" + group if os.path.isdir("/sys/fs/cgroup/systemd") else "/sys/fs/cgroup" + group):
                content = files.read(os.path.join(folder, "cgroup.procs")) or b""
                collected.update(int(word) for word in content.split())
        return sorted(collected)

    def remembered(self):
        """What is known of an earlier run: ``{migration, state, before, since}``, or {}. :raises UnitsError: it can't be read."""
        try:
            known = json.loads((files.read(self.memory) or b"{}").decode("utf-8"))
            lease = leases.read(self.lease)
        except ValueError as error:
            raise UnitsError("%s: found a file in %s that can't be read (%s); needed what the migration wrote; nothing was changed; "
                             "look at it, and move it away" % (self.stack, self.folder, error), self.changed)
        if known:
            known.setdefault("order", sorted(known["before"]))
        if known and lease and lease["state"] == "switched":
            # Killed between the switch and this file.
            known["state"] = "switched"
        return known

    def _remember(self, **facts):
        files.make_directory(self.folder, 0o700)
        files.write(self.memory, json.dumps(facts, indent=1, sort_keys=True).encode("utf-8"), 0o600)

    # -- states ---------------------------------------------------------------

    def _problems(self, found):
        return ["%s, unit %s: found none; needed it, or optional: true in the stack's section migration" % (self.stack, entry["name"])
                for entry in self.params["units"] if not found[entry["name"]]["present"] and not entry["optional"]]

    def _surveyed(self):
        found = self.look()
        return {"problems": self._problems(found), "pids": self.pids(found), "changed": False}

    def active(self, names):
        """Those of the units that run. :returns: list of str"""
        found = self.look(names)
        return [name for name in names if found[name]["active"]]

    def _frozen(self):
        known = self.remembered()
        lease = leases.read(self.lease)
        if known.get("state") == "switched":
            raise UnitsError("%s: found the native units out of service since %s; needed them serving; nothing was changed; the migration has ended, "
                             "go back first (playbooks/migrate.yml -e phase=back)" % (self.stack, known.get("since")))
        found = self.look()
        missing = self._problems(found)
        if missing:
            raise UnitsError("%s; nothing was changed" % "; ".join(missing))
        asleep = not any(entry["active"] for entry in found.values())
        if known.get("state") == "frozen" and leases.holds(lease) and lease["state"] == "frozen" and asleep and self._watched():
            if self.module.check_mode or leases.renew(self.lease, self.params["lease_seconds"]):
                return {}
        present = [name for name in self.names if found[name]["present"]]
        if self.module.check_mode:
            return {"changed": True}
        # What they are now is what the way back brings; an earlier freeze that was broken is over.
        before = {name: {"active": found[name]["active"], "enabled": found[name]["enabled"], "links": _links(name)} for name in present}
        if known.get("state") == "frozen":
            # Killed before the watcher stood: what was stopped then was active.
            before = {name: dict(entry, active=entry["active"] or known["before"].get(name, {}).get("active", False)) for name, entry in before.items()}
        self._remember(migration=self.params["migration"], state="frozen", before=before, order=present, since=time.strftime("%Y-%m-%d %H:%M:%S"),
                       began_epoch_s=time.time())
        self.changed = True
        self._install()
        if lease:
            # An earlier run was killed while it released: what it started must not work on what is copied.
            leases.stop_containers(lease, self._call, self._ask)
        due = [name for name in present if before[name]["active"]]
        leases.begin(self.lease, {"stack": self.stack, "units": due, "state": "frozen", "docker": self.module.get_bin_path("docker") or "",
                                  "until": leases.now() + max(self.params["lease_seconds"], 30)})
        # The watcher first: from the first stop on, somebody starts them again.
        self._start_watcher(due)
        with leases.Renewer(self.lease, self.params["lease_seconds"]) as held:
            for name in present:
                self.systemctl("stop", name)
        if not held.held:
            raise UnitsError("%s: found the freeze ended while the units stopped (%s); needed it to hold; they serve again; run again"
                             % (self.stack, self._reason()), True)
        awake = self.active(present)
        if awake:
            raise UnitsError("%s: found %s running again after the stop; needed them to stand still; they are started by a socket, a timer or another unit "
                             "(`systemctl list-dependencies --reverse %s`), which has to be in the stack's section migration, before them; "
                             "they all serve again in %d s"
                             % (self.stack, ", ".join(awake), awake[0], self.params["lease_seconds"]), True)
        return {}

    def _reason(self):
        return (leases.read(self.lease) or {}).get("reason", "no lease")

    def _call(self, argv):
        return self.module.run_command(argv)[0] == 0

    def _ask(self, argv):
        rc, out, unused = self.module.run_command(argv)
        return out if rc == 0 else None

    def _install(self):
        """The watcher's program, and the unit that looks after a start of the host."""
        source = leases.__loader__.get_source(leases.__name__).encode("utf-8")
        files.make_directory(os.path.dirname(PROGRAM), 0o755)
        if files.differs(PROGRAM, source, 0o644):
            files.write(PROGRAM, source, 0o644)
        text = ("# Written by dockyard.fleet for the time of a migration.\n[Unit]\nDescription=What a migration of %s left when the host went down\n"
                "After=docker.service\nBefore=%s\n[Service]\nType=oneshot\nExecStart=/usr/bin/python3 %s boot %s\n[Install]\nWantedBy=multi-user.target\n"
                % (self.stack, " ".join(self.names), PROGRAM, self.lease)).encode("utf-8")
        path = os.path.join(UNIT_DIR, self.guard)
        if files.differs(path, text, 0o644):
            files.write(path, text, 0o644)
            self.systemctl("daemon-reload")
        self.systemctl("enable", self.guard)

    def _watched(self):
        return self.systemctl("is-active", "%s.service" % self.watcher, check=False).strip() == "active"

    def _start_watcher(self, due):
        name = "%s.service" % self.watcher
        if self._watched():
            # In one step, for what is stopped already must not be without one.
            self.systemctl("restart", name)
            return
        self.systemctl("reset-failed", name, check=False)
        rc, out, err = self.module.run_command(["systemd-run", "--quiet", "--collect", "--unit=%s" % self.watcher, "--property=Restart=on-failure",
                                                "--property=RestartSec=3", "/usr/bin/python3", PROGRAM, "watch", self.lease])
        if rc != 0:
            leases.end(self.lease, "no watcher")
            for unit in reversed(due):
                self.systemctl("start", unit, check=False)
            raise UnitsError("%s: the watcher of the freeze does not start: %s; needed it, for nobody else would start the application again; it serves; "
                             "look at `systemctl status`" % (self.stack, tail(err or out, 3)), True)

    def _renewed(self, state=None):
        known = self.remembered()
        if self.module.check_mode:
            return {}
        held = known.get("state") == "frozen" and leases.holds(leases.read(self.lease))
        awake = self.active(known["order"]) if held else []
        if awake:
            raise UnitsError("%s: found %s running, started by somebody else during the freeze; needed them to stand still, for they may have written; "
                             "run again, and see who starts them (`journalctl -u %s`)" % (self.stack, ", ".join(awake), awake[0]))
        if not held or not leases.renew(self.lease, self.params["lease_seconds"], state):
            raise UnitsError("%s: found the freeze ended (%s); needed it to hold, for the native application may have written since; it serves; run again"
                             % (self.stack, self._reason()))
        return {}

    def _switching(self):
        return self._renewed("switching")

    def _switched(self):
        known = self.remembered()
        if known.get("state") == "switched":
            return self._mask(known)
        lease = leases.read(self.lease)
        if known.get("state") != "frozen" or not leases.holds(lease):
            raise UnitsError("%s: found the units %s; needed them frozen without a break; nothing was changed; run again" % (
                self.stack, "serving again (%s)" % lease.get("reason", "the host was restarted") if lease else "not frozen"))
        if self.module.check_mode:
            return {"changed": True}
        # From this line on the containers serve, whatever happens to us: the watcher goes, and later runs go on from here.
        if not leases.switch(self.lease):
            raise UnitsError("%s: found the freeze ended (%s); needed it to hold to the last; nothing was changed; run again" % (self.stack, self._reason()))
        self.changed = True
        result = self._mask(known)
        result["frozen_seconds"] = round(time.time() - known["began_epoch_s"], 1)
        return result

    def _mask(self, known):
        names = known["order"]
        found = self.look(names)
        if self.module.check_mode:
            return {"changed": os.path.exists(self.lease) or any(entry["active"] or not entry["masked"] for entry in found.values())}
        if os.path.exists(self.lease):
            self._remember(**dict(known, state="switched", since=time.strftime("%Y-%m-%d %H:%M:%S")))
        for name in names:
            path = os.path.join(UNIT_DIR, name)
            if not _is_null(path):
                self.changed = True
                # As `systemctl mask` does it, which refuses where the unit's file is in this folder; and in one step, so that it is never without a file.
                _keep_aside(path)
                _make_null(path)
            # As `systemctl disable` does it, which also takes away what `enable` would not bring back: links by hand, the file of a linked unit.
            for link in known["before"][name].get("links", {}):
                if os.path.islink(link):
                    self.changed = True
                    os.unlink(link)
        if not all(found[name]["masked"] for name in names):
            self.changed = True
            self.systemctl("daemon-reload")
        for name in self.active(names):
            self.changed = True
            self.systemctl("stop", name)
        self._remove_guard()
        for path in (self.lease, self.lease + ".lock"):
            if os.path.exists(path):
                os.unlink(path)
                self.changed = True
        return {}

    def _remove_guard(self):
        path = os.path.join(UNIT_DIR, self.guard)
        if not os.path.exists(path):
            return
        self.systemctl("stop", "%s.service" % self.watcher, check=False)
        self.systemctl("disable", self.guard, check=False)
        # Last, for by it the next run sees that all this is to be done.
        os.unlink(path)
        self.systemctl("daemon-reload")
        self.changed = True

    def _serving(self):
        known = self.remembered()
        if not known:
            return {}
        before = known["before"]
        if self.module.check_mode:
            return {"changed": True}
        self.changed = True
        lease = leases.read(self.lease)
        if lease:
            # Before anything starts: nobody shall go on with a copy. What was being released under it serves no more.
            leases.end(self.lease, "it was given up")
            if not leases.stop_containers(lease, self._call, self._ask):
                raise UnitsError("%s: found containers of the stack that can't be stopped; needed them to end before the native units start; "
                                 "look at `docker ps`, then run again" % self.stack, True)
        for name, entry in before.items():
            if entry["enabled"] != "masked":
                _bring_back(os.path.join(UNIT_DIR, name))
            for link, target in entry.get("links", {}).items():
                if not os.path.lexists(link):
                    files.make_directory(os.path.dirname(link), 0o755)
                    os.symlink(target, link)
        if known.get("state") == "switched":
            # Whatever systemd has read of them.
            self.systemctl("daemon-reload")
        found = self.look(known["order"])
        for name, entry in before.items():
            if entry["enabled"] == "enabled" and found[name]["enabled"] != "enabled":
                self.systemctl("enable", name)
        for name in reversed(known["order"]):
            if before[name]["active"] and not found[name]["active"]:
                self.systemctl("start", name)
        self._remove_guard()
        # The memory last: until then the next run does all this again.
        for path in (self.lease, self.lease + ".lock", self.memory):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return {"frozen_seconds": round(time.time() - known["began_epoch_s"], 1)} if known.get("state") == "frozen" else {}


def _is_null(path):
    return os.path.islink(path) and os.readlink(path) == os.devnull


def _make_null(path):
    beside = path + ".dockyard-null"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(os.devnull, beside)
    os.rename(beside, path)


def _keep_aside(path):
    """A second name for a unit's file, so that it is never without one."""
    if not os.path.lexists(path):
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ASIDE)
    if os.path.islink(path):
        # That of a linked unit, which leads out of the folder.
        os.symlink(os.readlink(path), path + ASIDE)
    else:
        os.link(path, path + ASIDE)


def _bring_back(path):
    """Undo :func:`_keep_aside` and :func:`_make_null`. A file that somebody has put there since stays."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".dockyard-null")
    if os.path.lexists(path + ASIDE):
        if _is_null(path) or not os.path.lexists(path):
            os.rename(path + ASIDE, path)
        elif _same(path, path + ASIDE):
            os.unlink(path + ASIDE)
    elif _is_null(path):
        os.unlink(path)


def _same(first, second):
    if os.path.islink(first) or os.path.islink(second):
        return os.path.islink(first) and os.path.islink(second) and os.readlink(first) == os.readlink(second)
    return os.path.samefile(first, second)


def _links(name):
    """Links by which other units want this one. :returns: dict of path to target"""
    found = {}
    for kind in ("wants", "requires"):
        for link in glob.glob(os.path.join(glob.escape(UNIT_DIR), "*.%s" % kind, glob.escape(name))):
            if os.path.islink(link):
                found[link] = os.readlink(link)
    return found


def main():
    module = AnsibleModule(
        argument_spec={
            "stack": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["surveyed", "frozen", "renewed", "switching", "switched", "serving"]},
            "units": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True}, "optional": {"type": "bool", "default": False}}},
            "lease_seconds": {"type": "int", "default": 120},
            "migration": {"type": "str", "default": "native"},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
        },
        supports_check_mode=True,
    )
    units = Units(module)
    try:
        result = units.run()
    except UnitsError as error:
        module.fail_json(msg=str(error), changed=error.changed or units.changed)
    except ValueError as error:
        module.fail_json(msg="%s: found a lease that can't be read (%s); needed the one that the migration wrote; look at it, and move it away"
                         % (units.stack, error), changed=units.changed)
    except OSError as error:
        module.fail_json(msg="%s: %s: %s; check the permissions and the disk, then run again" % (units.stack, error.filename or "the host", error.strerror),
                         changed=units.changed)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
