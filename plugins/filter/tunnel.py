# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions of role tunnel, as filters. None of them sees a secret."""

from __future__ import annotations

import json

import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import declared, ingress, service

HEADER = "# Written by dockyard.fleet; changes made here are replaced by the next deployment.\n"


def _text(document):
    """A document as YAML; by way of JSON, for the texts that Ansible hands over are more than texts, which YAML refuses to write."""
    return HEADER + yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, default_flow_style=False, width=150)


def tunnel_rules(entries, own=None):
    """All ingress rules of a host: list of dict."""
    return declared.rules_of(entries or [], own or [])


def tunnel_hostnames(rules):
    """The hostnames of rules, each once: list of str."""
    return ingress.hostnames(rules)


def tunnel_problems(entries, own, config, has_token, account_id, has_api_token, environment):
    """What is wrong with the variables of the role: list of str."""
    rules = declared.rules_of(entries or [], own or [])
    problems = ingress.problems_of(rules) + service.environment_problems(environment or {})
    if has_token and own:
        problems.append("tunnel_ingress: found rules for a tunnel that runs by tunnel_token; needed them at Cloudflare, which keeps the rules of such a "
                        "tunnel; take tunnel_ingress out, or tunnel_token")
    if has_token:
        return problems
    if config == "local" and not rules:
        problems.append("tunnel_ingress: found no ingress rule, and no stack of the host whose hostname is set; needed one; set the stack's setting of its "
                        "hostname (such as dockyard_settings_inventory.INVENTORY_TUNNEL_HOSTNAME), or tunnel_ingress")
    if not account_id:
        problems.append("tunnel_account_id: found none; needed the id of the Cloudflare account, 32 hexadecimal digits; set tunnel_account_id, or tunnel_token "
                        "for a tunnel that Cloudflare keeps the rules of")
    if not has_api_token:
        problems.append("tunnel_api_token: found none; needed an API token of Cloudflare; set tunnel_api_token (from ansible-vault) or "
                        "CLOUDFLARE_API_TOKEN in the controller's environment, or tunnel_token for a tunnel that Cloudflare keeps the rules of")
    return problems


def tunnel_ca_files(entries):
    """Certificates on the host that cloudflared verifies its origins by: list of str."""
    return service.ca_files(entries or [])


def tunnel_release(entries, rules, name, config, tunnel_id, settings, facts):
    """The options of module release: dict with files, overlay, secret, service."""
    found = service.release(name, entries or [], rules, config == "local", tunnel_id, settings, facts or {})
    return {
        "files": [{"path": path, "content": _text(document), "mode": "0644"}
                  for path, document in sorted(found["documents"].items())],
        "overlay": found["overlay"], "secret": found["secret"], "service": service.SERVICE, "project": service.PROJECT, "uid": declared.UID,
    }


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {"tunnel_rules": tunnel_rules, "tunnel_hostnames": tunnel_hostnames, "tunnel_problems": tunnel_problems, "tunnel_ca_files": tunnel_ca_files,
                "tunnel_release": tunnel_release}
