#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the Docker daemon, merged with what the file holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon_config
short_description: Merge settings into the Docker daemon's configuration file
version_added: 0.1.0
description:
  - Lays settings over what C(daemon.json) holds; keys that nobody named stay as they are, in their order.
  - Says whether the daemon takes the change by a reload, or has to be restarted. It does neither itself.
  - The new text is validated with C(dockerd --validate) where the engine has that (23.0 and later), before it is put in place by a rename.
    The first version that was found is kept beside the file with the suffix C(.dockyard-orig), the last one with C(.dockyard-previous).
  - A file that is no JSON is not touched.
author:
  - dockyard.fleet contributors (@dockyard)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  path:
    description: The file.
    type: path
    default: /etc/docker/daemon.json
  config:
    description:
      - Settings by their names in the file. A value of null removes the key.
    type: dict
    default: {}
  defaults:
    description:
      - Settings that are only used for keys about which neither the file nor O(config) says anything.
      - C(live-restore) is left out of them on a member of a swarm, where dockerd refuses it.
    type: dict
    default: {}
  validate:
    description: Whether C(dockerd) is asked to validate the text.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Rotate the containers' logs, unless the user chose a driver
  dockyard.fleet.daemon_config:
    defaults:
      log-driver: local
      log-opts: {max-size: 10m, max-file: "3"}
  register: daemon_config

- name: Use a mirror, and forget the DNS servers
  dockyard.fleet.daemon_config:
    config:
      registry-mirrors: ["https://mirror.example"]
      dns: null
"""

RETURN = r"""
action:
  description: What makes a running daemon take the change, V(none), V(reload) or V(restart).
  type: str
  returned: success
  sample: restart
changed_keys:
  description: The settings that differ.
  type: list
  elements: str
  returned: success
  sample: ["log-driver"]
validated:
  description: How the text was validated, or why not.
  type: str
  returned: success
  sample: dockerd --validate
previous:
  description: The file that holds what was there before, or nothing when there was no file.
  type: str
  returned: success
live_restore_starts:
  description: Whether this change turns C(live-restore) on. A reload before a restart then keeps the containers running.
  type: bool
  returned: success
config:
  description: The settings as they are now in the file.
  type: dict
  returned: success
"""

import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.engine import daemon

DOCKERD = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


class DaemonConfig:
    """One daemon.json: read, decide, validate, replace."""

    def __init__(self, module):
        self.module = module
        self.path = module.params["path"]
        self.defaults = dict(module.params["defaults"])

    def read(self):
        """:returns: (text or None, settings)"""
        try:
            with open(self.path, "r", encoding="utf-8") as stream:
                text = stream.read()
        except FileNotFoundError:
            return None, {}
        except (OSError, UnicodeDecodeError) as error:
            self.module.fail_json(msg="%s: found a file that can't be read (%s); needed UTF-8 text; mend it on the host" % (self.path, error))
        try:
            return text, daemon.parse(text)
        except daemon.MalformedConfig as error:
            self.module.fail_json(
                msg="%s, %s: needed one JSON object; mend the file on the host (nothing was changed)" % (self.path, error),
                line=error.line, column=error.column)

    def in_swarm(self, config):
        """Whether the engine is a member of a swarm: dockerd keeps its state in that file only then."""
        root = config.get("data-root") or "/var/lib/docker"
        return os.path.exists(os.path.join(root, "swarm", "docker-state.json"))

    def validate(self, candidate):
        """Ask dockerd.

        :returns: str, how
        """
        if not self.module.params["validate"]:
            return "not asked for"
        dockerd = self.module.get_bin_path("dockerd", opt_dirs=list(DOCKERD))
        if not dockerd:
            return "skipped: dockerd is not installed yet"
        code, out, err = self.module.run_command([dockerd, "--validate", "--config-file", candidate])
        if code == 0:
            return "dockerd --validate"
        message = (err or out).strip()
        if "unknown flag" in message:
            return "skipped: this dockerd has no --validate (it came with 23.0)"
        self.module.fail_json(msg="%s: dockerd refuses the new settings (%s); needed values that it takes; set docker_engine_daemon (nothing was changed)" % (
            self.path, message.replace(candidate, self.path)), rc=code)

    def write(self, text, before):
        """Put the text in place; in check mode it is only validated.

        :returns: str, how it was validated
        """
        folder = os.path.dirname(self.path)
        if self.module.check_mode:
            with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as elsewhere:
                return self.validate(self._candidate(elsewhere, text))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        candidate = self._candidate(folder, text)
        try:
            how = self.validate(candidate)
            if before is not None:
                if not os.path.exists(self.path + ".dockyard-orig"):
                    shutil.copy2(self.path, self.path + ".dockyard-orig")
                shutil.copy2(self.path, self.path + ".dockyard-previous")
            else:
                self._remove(self.path + ".dockyard-previous")
                os.chmod(candidate, 0o644)
            # Keeps the old file's owner, mode and SELinux context.
            self.module.atomic_move(candidate, self.path)
        finally:
            self._remove(candidate)
        return how

    @staticmethod
    def _candidate(folder, text):
        handle, path = tempfile.mkstemp(prefix=".daemon-", suffix=".json", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        return path

    @staticmethod
    def _remove(path):
        if os.path.lexists(path):
            os.unlink(path)

    def run(self):
        """:returns: dict, the module's result"""
        text, current = self.read()
        if self.defaults.get("live-restore") and "live-restore" not in current and self.in_swarm(current):
            del self.defaults["live-restore"]
            self.module.warn("this engine is a member of a swarm, where dockerd refuses live-restore: it is left out")
        merged = daemon.merge(current, self.module.params["config"], self.defaults)
        result = {
            "changed": merged != current,
            "action": daemon.action(current, merged),
            "changed_keys": daemon.changed_keys(current, merged),
            "validated": "nothing to validate",
            "previous": self.path + ".dockyard-previous" if text is not None else "",
            "live_restore_starts": bool(merged.get("live-restore")) and not current.get("live-restore"),
            "config": merged,
        }
        if not result["changed"]:
            return result
        after = daemon.render(merged)
        result["validated"] = self.write(after, text)
        if self.module._diff:
            result["diff"] = {"before_header": self.path, "after_header": self.path, "before": text or "", "after": after}
        return result


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "config": {"type": "dict", "default": {}},
            "defaults": {"type": "dict", "default": {}},
            "validate": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        result = DaemonConfig(module).run()
    except OSError as error:
        module.fail_json(msg="%s: %s; needed a place that root can write to" % (module.params["path"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
