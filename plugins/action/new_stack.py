# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the folder of a user's own stack on the controller."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.plugin_utils import scaffold

_FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "files")
SCAFFOLD = os.path.join(_FILES, "scaffold", "hello")
SCHEMA = os.path.join(_FILES, "schemas", "stack.schema.json")
BUILTIN = os.path.join(_FILES, "stacks")


class ActionModule(ActionBase):
    """See the documentation of module new_stack."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset(["name", "folder"])

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        name, given = str(self._task.args.get("name") or ""), str(self._task.args.get("folder") or "")
        problem = scaffold.name_problem(name, os.listdir(BUILTIN))
        if problem:
            return self._refused(result, "name: found %s; needed %s; correct -e name=..." % problem)
        folder = os.path.abspath(os.path.expanduser(given or "stacks"))
        target = os.path.join(folder, name)
        if os.path.lexists(target):
            return self._refused(result, "%s: found that it exists; needed a name that is free there, nothing is ever replaced; take another name, or another "
                                         "folder (-e folder=...)" % target)
        contents = scaffold.rendered(scaffold.read(SCAFFOLD), name, folder, SCHEMA)
        if not self._task.check_mode:
            try:
                scaffold.write(folder, name, contents)
            except OSError as error:
                return self._refused(result, "%s: %s; needed a folder that you may write to; correct -e folder=..." % (
                    error.filename or target, error.strerror or "it exists by now"))
        if self._task.diff:
            result["diff"] = [{"before": "", "before_header": "(absent)", "after": text, "after_header": os.path.join(target, path)}
                              for path, text in sorted(contents.items())]
        result.update(changed=True, folder=folder, path=target, files=sorted(contents))
        return result

    @staticmethod
    def _refused(result, text):
        result.update(failed=True, changed=False, msg=text)
        return result
