#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_receipt
short_description: What a migration has done so far is written down, and its stack is held meanwhile
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Keeps C(migrations/<stack>/receipt.json) in O(state_dir) - each phase with its time, its figures and its end.
  - From the first copy until the switch, or until it is given up, the stack is held. M(dockyard.fleet.release) refuses it for everybody else, so that no
    deployment starts an application on half of its data.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    description: The receipt is returned.
    support: none
  platform:
    platforms: posix
options:
  stack:
    description: Name of the stack.
    type: str
    required: true
  migration:
    description: Name of the migration, which is that of the native layout.
    type: str
    default: native
  phase:
    description: What is noted. Without it the receipt is only read.
    type: str
    choices: [survey, copy, freeze, final, prove, switch, back, finish, abort]
  outcome:
    description: How it stands with the phase.
    type: str
    choices: [begun, ended, failed]
    default: ended
  facts:
    description: Figures and lists for the receipt. No secrets.
    type: dict
    default: {}
  needs:
    description: Phases of which the last of this migration must have ended well. Others are refused.
    type: list
    elements: str
    default: []
  receipt:
    description: Identity (RV(receipt.id)) of the receipt whose proof was seen. C(finish) wants it.
    type: str
    default: ""
  by:
    description: Who runs it.
    type: str
    default: ""
  state_dir:
    description: Folder of the collection's state on the host.
    type: path
    default: /var/lib/dockyard
seealso:
  - module: dockyard.fleet.postgres_migration
  - module: dockyard.fleet.native_units
"""

EXAMPLES = r"""
- name: Hold the stack while its data comes
  dockyard.fleet.migration_receipt:
    stack: inventory
    migration: rc8
    phase: copy
    outcome: begun
  become: true

- name: Read the receipt
  dockyard.fleet.migration_receipt:
    stack: inventory
  become: true
  register: receipt
"""

RETURN = r"""
receipt:
  description: The whole receipt. Empty when there is none.
  type: dict
  returned: success
  contains:
    standing:
      description: The last phase that ended well.
      type: str
    id:
      description: By it a person says which proof they have seen.
      type: str
    held:
      description: Whether the stack is held.
      type: bool
    phases:
      description: All entries, the oldest first.
      type: list
      elements: dict
served:
  description: Whether containers have served the data since it was copied.
  type: bool
  returned: success
proof:
  description: Figures of the last proof.
  type: dict
  returned: success
path:
  description: Where it is.
  type: str
  returned: success
"""

import contextlib
import json
import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.migration import receipts
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files


def main():
    module = AnsibleModule(
        argument_spec={
            "stack": {"type": "str", "required": True},
            "migration": {"type": "str", "default": "native"},
            "phase": {"type": "str", "choices": list(receipts.PHASES)},
            "outcome": {"type": "str", "default": "ended", "choices": ["begun", "ended", "failed"]},
            "facts": {"type": "dict", "default": {}},
            "needs": {"type": "list", "elements": "str", "default": []},
            "receipt": {"type": "str", "default": ""},
            "by": {"type": "str", "default": ""},
            "state_dir": {"type": "path", "default": "/var/lib/dockyard"},
        },
        supports_check_mode=True,
    )
    params = module.params
    folder = os.path.join(params["state_dir"], "migrations", params["stack"])
    path, held = os.path.join(folder, "receipt.json"), os.path.join(folder, "held.json")
    try:
        receipt = json.loads((files.read(path) or b"{}").decode("utf-8"))
        if not isinstance(receipt, dict):
            raise ValueError("no object")
        if not receipt and os.path.exists(held):
            # Killed between the two files: without a receipt nobody could give it up.
            receipt = {"migration": json.loads(files.read(held).decode("utf-8"))["migration"], "held": True, "standing": "", "phases": []}
    except (ValueError, KeyError, TypeError) as error:
        module.fail_json(msg="%s: found a receipt that can't be read (%s); needed the one that the migration wrote; look at it, and move it away"
                         % (path, error))
    problems = receipts.problems(receipt, params["stack"], params["migration"], params["phase"], params["needs"], params["receipt"])
    if problems:
        module.fail_json(msg="; ".join(problems), receipt=receipt)
    if not params["phase"] or module.check_mode:
        module.exit_json(changed=bool(params["phase"]), receipt=receipt, path=path, served=receipts.served(receipt), proof=receipts.last_proof(receipt))
    after = receipts.noted(receipt, params["stack"], params["migration"], params["phase"], params["outcome"], params["facts"], time.time(), params["by"])
    try:
        files.make_directory(os.path.dirname(folder), 0o700)
        files.make_directory(folder, 0o700)
        if after["held"]:
            # Held before it is noted: a run that is killed in between leaves a stack that nobody starts.
            document = {"migration": params["migration"], "phase": params["phase"], "since_epoch_s": int(after["began_epoch_s"])}
            files.write(held, json.dumps(document, sort_keys=True).encode("utf-8"), 0o600)
        files.write(path, json.dumps(after, indent=1, sort_keys=True).encode("utf-8"), 0o600)
        if not after["held"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(held)
    except OSError as error:
        module.fail_json(msg="%s: %s; free space, check the permissions, then run again" % (error.filename or folder, error.strerror))
    module.exit_json(changed=True, receipt=after, path=path, served=receipts.served(after), proof=receipts.last_proof(after))


if __name__ == "__main__":
    main()
