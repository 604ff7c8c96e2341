# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of stack_action: takes arguments from the command line, and prints the output as it is."""

from __future__ import annotations

import json
import os

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

NOT_ARGUMENTS = ("stack", "action")
# A file of variables may be given to every playbook: those of the collection's roles are no arguments either.
_ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "roles")
PREFIXES = ("dockyard_", "ansible_") + tuple("%s_" % role for role in sorted(os.listdir(_ROLES)))


def shown(result):
    """The lines that a person, or a program that reads what the playbook prints, gets of a result: the JSON, the text, or what was not run.

    Printed as they are, since a callback would fold a long command line or indent the JSON.

    :arg result: dict, of the module.
    :returns: str
    """
    if result.get("success") and "exit_code" not in result:
        return result.get("msg") or ""
    if result.get("json") is not None:
        return json.dumps(result["json"], indent=2, ensure_ascii=False)
    return (result.get("output") or "").rstrip("\n")


class ActionModule(ActionBase):
    """See the documentation of module stack_action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        if boolean(args.get("arguments_from_extra_vars") or False):
            args["arguments"] = dict(self._extra_variables(), **(args.get("arguments") or {}))
        # The problem is told before the host is asked, when it has nothing to do with it.
        for name in NOT_ARGUMENTS:
            if not args.get(name):
                result.update(failed=True, success=False, changed=False, problems=["found no %s" % name],
                              msg="found no %s; needed its name; set %s=..." % (name, name))
                return result
        result.update(self._execute_module(module_name="dockyard.fleet.stack_action", module_args=args, task_vars=task_vars))
        text = shown(result)
        if boolean(args.get("show") or False) and text:
            if len((task_vars or {}).get("ansible_play_hosts") or []) > 1:
                text = "%s:\n%s" % (task_vars["inventory_hostname"], text)
            self._display.display(text)
        return result

    def _extra_variables(self):
        """The variables of ``--extra-vars`` that can be arguments, templated."""
        return {name: self._templar.template(value) for name, value in load_extra_vars(self._loader).items()
                if name not in NOT_ARGUMENTS and not name.startswith(PREFIXES)}
