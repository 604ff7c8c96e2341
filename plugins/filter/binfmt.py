# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role binfmt's decisions as filters."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.validation import check_type_dict, check_type_list
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import plan


def binfmt_due(facts, platforms, emulators=None):
    """Why the host has to be asked (str), or "" when its facts show that all is in place."""
    try:
        # Variables of -e and of INI inventories are text whatever argument_specs says.
        wanted, given = check_type_list(platforms or []), check_type_dict(emulators or {})
    except TypeError as exc:
        raise AnsibleFilterError("binfmt_platforms, binfmt_emulators: %s; needed a list of platforms and a mapping of platform to path" % exc) from exc
    return plan.due([str(name) for name in wanted], facts or {}, given)


def binfmt_emulated(facts, platforms):
    """Platforms (sorted list of str) that run beside those known as native once the module has run: by emulation, or as it turned out without.

    :param facts: of host_facts; :param platforms: RV(platforms) of the module.
    """
    known = (facts or {}).get("architecture") or {}
    brought = {name for name, entry in (platforms or {}).items() if entry.get("status") in ("ours", "others", "boot", "native")}
    return sorted(set(known.get("emulated") or []) | (brought - set(known.get("native") or [])))


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {"binfmt_due": binfmt_due, "binfmt_emulated": binfmt_emulated}
