#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_action
short_description: Run a named action of a stack, and judge what came of it
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Runs one of the C(actions) of a stack that is released on the host, with C(docker compose run) or C(docker compose exec), without a shell.
  - An action succeeds when its exit code and, where the stack says so, its JSON output are as they should be; a program that ends with 0 whatever happens
    is thus judged by what it says.
  - Arguments are checked against the stack's definition before anything is started. At the deadline the container is killed.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Checks the arguments and says what would be run.
    support: full
  diff_mode:
    description: There is nothing that could differ.
    support: none
  platform:
    platforms: posix
options:
  stack:
    description: Name of the stack.
    type: str
    required: true
  action:
    description: Name of the action.
    type: str
    required: true
  arguments:
    description: Arguments of the action by name.
    type: dict
    default: {}
  arguments_from_extra_vars:
    description:
      - Take the variables of C(--extra-vars) as O(arguments) too, as C(playbooks/run.yml) does.
      - Left out are C(stack), C(action), and those whose name begins with C(dockyard_), C(ansible_) or the name of a role of this collection.
      - Read on the controller.
    type: bool
    default: false
  show:
    description: Print the output of the action as it is, beside returning it; in check mode and for an interactive action, the command line.
    type: bool
    default: false
  config_dir:
    description: Folder on the host under which C(stacks/<stack>) is.
    type: path
    default: /etc/dockyard
  state_dir:
    description: Folder of the collection's state on the host.
    type: path
    default: /var/lib/dockyard
requirements:
  - Docker Engine with Compose v2.24 or later
seealso:
  - module: dockyard.fleet.release
"""

EXAMPLES = r"""
- name: Check a stream
  dockyard.fleet.stack_action:
    stack: stream_checker
    action: check
    arguments:
      url: http://radio.example.org/live.mp3
      phase: 2
  become: true
  register: checked

- name: Tell how well it is
  ansible.builtin.debug:
    msg: "{{ checked.json.health_score }}"
"""

RETURN = r"""
command:
  description: The command line, or for an interactive action what a person types on the host. Credentials and queries of URLs are hidden in the former.
  type: str
  returned: when the arguments are right
interactive:
  description: Whether the action needs a terminal, and was therefore not run.
  type: bool
  returned: when the arguments are right
success:
  description: Whether the action ran and succeeded.
  type: bool
  returned: always
exit_code:
  description: Exit code of the program, null when it was killed at the deadline.
  type: int
  returned: when it was run
output:
  description: Its standard output.
  type: str
  returned: when it was run
json:
  description: Its standard output, parsed, for an action with C(output - json).
  type: raw
  returned: when it was run
stderr:
  description: The last lines of its standard error.
  type: str
  returned: when it was run
problems:
  description: What speaks against success.
  type: list
  elements: str
  returned: always
seconds:
  description: How long it ran.
  type: float
  returned: when it was run
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import runner


class QuietModule(AnsibleModule):
    """Does not tell the system log what it was called with: an argument may be a secret, and only the stack's definition knows which."""

    def _log_invocation(self):
        pass

    def exit_json(self, **kwargs):
        super().exit_json(invocation=self._told(), **kwargs)

    def fail_json(self, msg, **kwargs):
        super().fail_json(msg, invocation=self._told(), **kwargs)

    def _told(self):
        params = getattr(self, "params", None) or {}
        return {"module_args": {name: params.get(name) for name in ("stack", "action")}}


def main():
    module = QuietModule(
        argument_spec={
            "stack": {"type": "str", "required": True},
            "action": {"type": "str", "required": True},
            "arguments": {"type": "dict", "default": {}},
            "arguments_from_extra_vars": {"type": "bool", "default": False},
            "show": {"type": "bool", "default": False},
            "config_dir": {"type": "path", "default": "/etc/dockyard"},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
        },
        supports_check_mode=True,
    )
    params = module.params
    stack = runner.Stack(params["stack"], "%s/stacks/%s" % (params["config_dir"], params["stack"]), params["state_dir"])
    try:
        prepared = stack.prepare(params["action"], params["arguments"])
        interactive = bool(prepared["action"].get("interactive"))
        changes = prepared["action"].get("changes", True)
        told = {"command": prepared["shown"], "interactive": interactive, "problems": []}
        if interactive:
            module.exit_json(changed=False, success=True, msg="it needs a terminal; type on the host: %s" % prepared["shown"], **told)
        if module.check_mode:
            module.exit_json(changed=changes, success=True, msg="would run in %s: %s" % (stack.directory, prepared["shown"]), **told)
        result = stack.perform(prepared)
    except runner.ActionProblem as error:
        module.fail_json(msg=str(error), changed=False, success=False, problems=error.problems)
    except runner.Interrupted as error:
        module.fail_json(msg="%s, action %s: %s" % (stack.name, params["action"], error), changed=True, success=False, problems=[str(error)])
    told.update(result)
    if result["success"]:
        module.exit_json(changed=changes, **told)
    said = "; the last lines of its standard error:\n%s" % result["stderr"] if result["stderr"] else "; its standard error is empty"
    module.fail_json(msg="%s, action %s: %s%s" % (stack.name, params["action"], "; ".join(result["problems"]), said), changed=changes, **told)


if __name__ == "__main__":
    main()
