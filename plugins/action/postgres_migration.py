# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of postgres_migration: shows how far the host is."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.plugin_utils import progress

_MODULE = "dockyard.fleet.postgres_migration"
LABELS = {"copied": "copying", "proved": "proving"}


class ActionModule(ActionBase):
    """See the documentation of module postgres_migration."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """The task's result; see RETURN of the module."""
        result = super().run(tmp, task_vars)
        with progress.follow(self, LABELS.get(self._task.args.get("state"), "looking"), task_vars) as followed:
            result.update(followed.run(_MODULE, dict(self._task.args), task_vars))
        return result
