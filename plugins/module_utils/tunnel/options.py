# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of cloudflare_tunnel, for its module (which documents them) and its action (which does the work)."""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "account_id": {"type": "str", "required": True},
    "api_token": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "config": {"type": "str", "choices": ["local", "cloudflare"], "default": "local"},
    "hostnames": {"type": "list", "elements": "str", "default": []},
    "ingress": {"type": "list", "elements": "dict"},
    "zone_ids": {"type": "dict", "default": {}},
    "replace": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "return_credentials": {"type": "bool", "default": False},
    "api_url": {"type": "str", "default": api.BASE_URL},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
    "retries": {"type": "int", "default": 5},
}
