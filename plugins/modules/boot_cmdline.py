#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of a Raspberry Pi's kernel command line."""

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_cmdline
short_description: Words are, or are not, on a Raspberry Pi's kernel command line
version_added: 0.1.0
description:
  - Adds and removes words of the one line in C(cmdline.txt). All other words stay, in their order, and one line stays one line.
  - By default it turns on the memory controller of control groups, which Raspberry Pi's firmware turns off.
  - The first version that was found is kept beside the file with the suffix C(.dockyard-orig).
  - The kernel reads the line when it boots; M(ansible.builtin.reboot) is not part of this module.
notes:
  - The new line is written and synchronised to a file beside the old one, which is then renamed. The boot partition is FAT,
    which has no journal and promises no atomic rename when the power fails in that instant; the copy with the suffix C(.dockyard-orig)
    is the way back then.
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
    description:
      - The file that is really used; C(boot.cmdline_file.path) of M(dockyard.fleet.host_facts) names it.
    type: path
    required: true
  present:
    description: Words that must be there; missing ones are added at the end.
    type: list
    elements: str
    default: ["cgroup_enable=memory", "cgroup_memory=1"]
  absent:
    description:
      - Words that must not be there. From a list such as C(cgroup_disable=memory,cpu) only the named controller is taken out.
    type: list
    elements: str
    default: ["cgroup_disable=memory", "cgroup_memory=0"]
"""

EXAMPLES = r"""
- name: Turn on the memory controller at the next boot
  dockyard.fleet.boot_cmdline:
    path: "{{ dockyard_facts.boot.cmdline_file.path }}"

- name: Boot quietly
  dockyard.fleet.boot_cmdline:
    path: /boot/firmware/cmdline.txt
    present: [quiet]
    absent: []
"""

RETURN = r"""
before:
  description: The line that was found.
  type: str
  returned: success
after:
  description: The line as it is now, or would be.
  type: str
  returned: success
reboot_needed:
  description: Whether the running kernel was booted with another line, as far as the named words are concerned.
  type: bool
  returned: success
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.engine import boot


def replace(path, text):
    """Put the text in the place of the file, as safely as FAT allows.

    :arg path: str
    :arg text: str
    :raises OSError: it can't be written; the old file is still there.
    """
    beside = path + ".dockyard-new"
    try:
        with open(beside, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            shutil.copymode(path, beside)
        except OSError:
            # FAT has no modes; the mount's mask rules.
            pass
        os.replace(beside, path)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def keep_original(path):
    """Copy the file once, before it is changed for the first time."""
    kept = path + ".dockyard-orig"
    if not os.path.exists(kept):
        shutil.copyfile(path, kept)
        with open(kept, "rb+") as stream:
            os.fsync(stream.fileno())


def running_line(path="/proc/cmdline"):
    """:returns: str, the line of the running kernel, empty when it can't be read"""
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def run(module):
    """:returns: dict, the module's result"""
    path, present, absent = module.params["path"], module.params["present"], module.params["absent"]
    with open(path, "r", encoding="utf-8", newline="") as stream:
        before = stream.read()
    after = boot.with_tokens(before, present, absent)
    result = {
        "changed": after != before,
        "before": boot.command_line(before),
        "after": boot.command_line(after),
        "reboot_needed": not boot.has_tokens(running_line(), present),
    }
    if result["changed"]:
        if module._diff:
            result["diff"] = {"before_header": path, "after_header": path, "before": before, "after": after}
        if not module.check_mode:
            keep_original(path)
            replace(path, after)
    return result


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "present": {"type": "list", "elements": "str", "default": list(boot.MEMORY_TOKENS)},
            "absent": {"type": "list", "elements": "str", "default": ["cgroup_disable=memory", "cgroup_memory=0"]},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    try:
        result = run(module)
    except UnicodeDecodeError as error:
        module.fail_json(msg="%s: found bytes that are no text (%s); needed the kernel's command line; mend the file" % (path, error))
    except ValueError as error:
        module.fail_json(msg="%s: %s; mend the file (nothing was changed)" % (path, error))
    except OSError as error:
        module.fail_json(msg="%s: %s; needed the kernel's command line in a file that root can write" % (path, error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
