#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: new_stack
short_description: Make the folder of a stack of your own, which deploys as it is
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Writes C(stack.yml), C(compose.yaml), an overlay for each environment, a recipe with a small program, and a C(README.md) that says how to go on.
  - Never replaces anything, and leaves nothing half-written behind.
  - Runs wholly on the controller.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Says which files it would write.
    support: full
  diff_mode:
    description: Shows the files.
    support: full
  platform:
    platforms: posix
options:
  name:
    description: Name of the stack, C(a-z), C(0-9), C(-) and C(_), not one of a stack that comes with the collection.
    type: str
    required: true
  folder:
    description:
      - Folder on the controller for stacks of your own; the stack's folder is made in it. Name it in C(dockyard_stack_path).
      - V(stacks) in the current folder, when it is empty.
    type: path
    default: ""
seealso:
  - module: dockyard.fleet.stack_plan
"""

EXAMPLES = r"""
- name: Make a stack
  dockyard.fleet.new_stack:
    name: hello
    folder: "{{ inventory_dir }}/stacks"
"""

RETURN = r"""
folder:
  description: The folder for C(dockyard_stack_path).
  type: str
  returned: success
path:
  description: The stack's folder.
  type: str
  returned: success
files:
  description: The files in it that were (check mode - would be) written.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule


def main():
    """The work is done by the action plugin of the same name; this half only carries the documentation and the argument spec."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}, "folder": {"type": "path", "default": ""}}, supports_check_mode=True)
    module.fail_json(msg="new_stack works on the controller: call it as dockyard.fleet.new_stack from a playbook, where its action plugin is found")


if __name__ == "__main__":
    main()
