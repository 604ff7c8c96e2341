# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role images' settings, to be looked at before any host is changed."""

from __future__ import annotations

from ansible.module_utils.common.validation import check_type_dict
from ansible_collections.dockyard.fleet.plugins.module_utils.images import gate
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors


def images_scanner_problems(scanner):
    """What is wrong with ``images_scanner`` (list of str)."""
    try:
        # A variable of -e or of an INI inventory is text.
        gate.read_settings(check_type_dict(scanner) if scanner else {}, gate.today())
    except TypeError as problem:
        return [str(ImagesError(gate.SETTING, f"{type(scanner).__name__}: {problem}", "a mapping with tool, image or binary, and database", gate.SETTING))]
    except SeveralErrors as several:
        return [str(problem) for problem in several.problems]
    return []


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {"images_scanner_problems": images_scanner_problems}
