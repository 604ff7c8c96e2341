#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_plan
short_description: Check stack definitions against a host and say what the host shall have
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Reads the folders of the stacks on the controller, validates C(stack.yml) by its published JSON Schema and against the Compose files,
    resolves settings, environment and source from the operator's variables, and compares the needs with the host's facts.
  - Finds all problems of a host at once and changes nothing, so that a mistake is told before anything that runs is touched.
  - Runs wholly on the controller and needs no connection to the host.
  - Beside its options it reads the variables C(dockyard_source_<stack>), C(dockyard_source_ref_<stack>), C(dockyard_settings_<stack>),
    C(dockyard_env_<stack>), C(dockyard_secrets_<stack>), C(dockyard_images_<stack>), C(dockyard_build_args_<stack>), C(dockyard_artifacts_<stack>),
    C(dockyard_platform_<stack>), C(dockyard_bluetooth_uid_<stack>), C(dockyard_bluetooth_host_<stack>), C(dockyard_bluetooth_adapter),
    C(dockyard_development_source_<stack>), C(dockyard_address), C(dockyard_tunnel)
    and C(dockyard_url_ports) of the host (a C(-) in a stack's name is a C(_) in the variable's).
  - A stack that M(dockyard.fleet.stack_stop) stopped is planned like any other, so that a deployment by hand brings it back; with C(dockyard_unattended) true,
    as a timer sets it, it is left out and named in RV(left).
  - In the environment V(offline) everything that the stacks would ask of the internet is a problem, one for each image, file and variable. A host that
    has what it needs passes. C(dockyard_offline_hosts) names hosts that are reached without the internet (C(*.site.example) for all below it).
    It reads the variables of the roles C(images) and C(artifacts) that say where these get things from.
  - In the environment V(development) the source that a stack's overlay mounts is C(dockyard_development_source_<stack>), a directory of the host,
    or the source of the controller, whose files are then among those of the stack.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing that could differ.
    support: none
  platform:
    platforms: posix
options:
  stacks:
    description:
      - Names of the stacks that the host runs. A text with commas is split; V(all) alone is every stack that is found.
    type: list
    elements: str
    required: true
  stack_path:
    description:
      - Folders on the controller with stacks of your own, searched in this order before the built-in ones. A text with commas is split.
    type: list
    elements: path
    default: []
  environment:
    description:
      - Which overlay C(compose.<environment>.yaml) is laid over C(compose.yaml), where the stack has it.
    type: str
    choices:
      - development
      - staging
      - production
      - offline
    default: production
  facts:
    description:
      - The RV(dockyard.fleet.host_facts#module:ansible_facts.dockyard_facts) of the host.
      - What they don't know is not held against the host.
    type: dict
    default: {}
  config_dir:
    description:
      - Folder on the host under which C(stacks/<stack>) is.
    type: path
    default: /etc/dockyard
  problems:
    description:
      - Problems found earlier, put first into RV(problems).
    type: list
    elements: str
    default: []
seealso:
  - module: dockyard.fleet.host_facts
  - module: dockyard.fleet.release
"""

EXAMPLES = r"""
- name: Read what the host has
  dockyard.fleet.host_facts:

- name: Plan the host's stacks
  dockyard.fleet.stack_plan:
    stacks: "{{ dockyard_stacks }}"
    stack_path:
      - "{{ playbook_dir }}/stacks"
    facts: "{{ dockyard_facts }}"
  register: dockyard_plan

- name: Refuse a host with problems before anything is changed
  ansible.builtin.fail:
    msg: "{{ dockyard_plan.problems }}"
  when: dockyard_plan.problems | length > 0
"""

RETURN = r"""
problems:
  description: What is wrong, one sentence each with where, found, needed and the setting that changes it.
  type: list
  elements: str
  returned: always
  sample:
    - "inventory, port 443: held by nginx (pid 812); needed a free port for HTTPS; stop that program, or set dockyard_settings_inventory.INVENTORY_HTTPS_PORT"
notes:
  description: What the operator should know and what does not stop a deployment, such as limits that the host can't enforce.
  type: list
  elements: str
  returned: always
images:
  description: The images of all stacks, as role C(images) takes them.
  type: list
  elements: dict
  returned: always
artifacts:
  description: The sets of files of all stacks, as role C(artifacts) takes them.
  type: list
  elements: dict
  returned: always
  sample:
    - {stack: oura, name: models, manifest: /srv/stacks/oura/models.json, folder: /srv/stacks/oura, variable: OURA_MODELS_DIR, public_keys: [], degrade: ""}
emulated:
  description: Platforms that images of the host's stacks need and its hardware lacks.
  type: list
  elements: str
  returned: always
  sample: [linux/arm64]
left:
  description: Stacks that were stopped on purpose and that this unattended run leaves alone.
  type: list
  elements: str
  returned: always
bluetooth:
  description: The stacks that get Bluetooth on this host, as role C(bluetooth) takes them.
  type: list
  elements: dict
  returned: always
  sample:
    - {stack: oura, access: dbus, uid: 52101, gid: 1000, services: [backend], optional: true, expected: false, apparmor: false}
tunnel:
  description: The services of all stacks that shall be reached through the host's tunnel, as role C(tunnel) takes them.
  type: list
  elements: dict
  returned: always
  sample:
    - stack: inventory
      service: nginx
      network: inventory_frontend
      ca_file: ""
      rule: {hostname: things.example.com, service: "https://nginx.inventory_frontend:8443", no_tls_verify: true}
stacks:
  description: For each stack what role C(stack) needs, and its section C(migration). It holds the environment of the services and is therefore never printed.
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule


def main():
    """The work is done by the action plugin of the same name; this half only carries the documentation and the argument spec."""
    module = AnsibleModule(
        argument_spec={
            "stacks": {"type": "list", "elements": "str", "required": True},
            "stack_path": {"type": "list", "elements": "path", "default": []},
            "environment": {"type": "str", "choices": ["development", "staging", "production", "offline"], "default": "production"},
            "facts": {"type": "dict", "default": {}},
            "config_dir": {"type": "path", "default": "/etc/dockyard"},
            "problems": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="stack_plan works on the controller: call it as dockyard.fleet.stack_plan from a playbook, where its action plugin is found")


if __name__ == "__main__":
    main()
