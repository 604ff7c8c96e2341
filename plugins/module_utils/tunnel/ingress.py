# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingress rules of cloudflared: which hostname goes to which service. Pure.

A *rule* here is a dict with ``hostname``, ``service`` (a URL such as ``https://nginx.inventory_frontend:8443``), ``from`` (where an
operator finds it, for messages), and optionally ``path``, ``no_tls_verify``, ``ca_pool`` (a path in cloudflared's container),
``server_name``, ``host_header``, ``connect_timeout``.
"""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import routes

CATCH_ALL = "http_status:404"
# Schemes of an origin; ``unix`` has a path, http_status a number.
SCHEMES = ("http", "https", "tcp", "ssh", "rdp", "smb")
# Key of a rule -> key of cloudflared's originRequest.
ORIGIN = {"no_tls_verify": "noTLSVerify", "ca_pool": "caPool", "server_name": "originServerName", "host_header": "httpHostHeader",
          "connect_timeout": "connectTimeout", "http2": "http2Origin"}
KEYS = frozenset(["hostname", "service", "path", "from"]) | frozenset(ORIGIN)
_DURATION = re.compile(r"^([0-9]+(ms|s|m|h))+\Z")


def service_problem(service):
    """What is wrong with the service of a rule, as the middle of a sentence; empty when nothing is."""
    if not isinstance(service, str) or not service:
        return "no service"
    if re.match(r"^http_status:[1-5][0-9]{2}\Z", service) or re.match(r"^unix(\+tls)?:/[^\s]+\Z", service):
        return ""
    match = re.match(r"^([a-z]+)://([A-Za-z0-9_.-]+|\[[0-9a-fA-F:]+\])(?::([0-9]+))?(/.*)?\Z", service)
    if not match or match.group(1) not in SCHEMES:
        return "%r, which is no address" % service
    if match.group(4):
        return "%r, which has a path (the request's own is used)" % service
    if match.group(3) and not 1 <= int(match.group(3)) <= 65535:
        return "%r, whose port is none" % service
    return ""


def _path_problem(path):
    try:
        re.compile(path)
    except (re.error, TypeError):
        return True
    return not isinstance(path, str)


def problems_of(rules):
    """What is wrong with a list of rules.

    :arg rules: list of dict.
    :returns: list of str, one sentence each: where, found, needed, which setting.
    """
    problems, taken = [], {}
    for index, rule in enumerate(rules):
        where = "ingress rule of %s" % (rule.get("from") or "tunnel_ingress[%d]" % index)
        for key in sorted(set(rule) - KEYS):
            problems.append("%s: found the unknown key %s; needed one of: %s; correct it" % (where, key, ", ".join(sorted(KEYS - {"from"}))))
        trouble = routes.hostname_problem(rule.get("hostname"))
        if trouble:
            problems.append("%s: found %s; needed the name under which the service is reached; set its hostname" % (where, trouble))
        trouble = service_problem(rule.get("service"))
        if trouble:
            problems.append("%s: found %s; needed scheme://host:port with one of %s; correct its service" % (where, trouble, ", ".join(SCHEMES)))
        if rule.get("path") and _path_problem(rule["path"]):
            problems.append("%s: found the path %r; needed a regular expression; correct its path" % (where, rule["path"]))
        if rule.get("connect_timeout") and not _DURATION.match(str(rule["connect_timeout"])):
            problems.append("%s: found connect_timeout %r; needed a duration such as 30s; correct it" % (where, rule["connect_timeout"]))
        if rule.get("no_tls_verify") and rule.get("ca_pool"):
            problems.append("%s: found both no_tls_verify and a CA; needed one of them, for a CA is not asked when nothing is verified; take one out" % where)
        key = (rule.get("hostname"), rule.get("path") or "")
        if rule.get("hostname") and key in taken:
            problems.append("%s: found the hostname %s%s, which the %s has too; needed one rule for it; change one of the two"
                            % (where, key[0], " with the path %s" % key[1] if key[1] else "", taken[key]))
        taken.setdefault(key, where)
    return problems


def ordered(rules):
    """The rules in the order in which cloudflared shall try them, which takes the first that fits.

    A rule with a path comes before the one for the whole hostname, and wildcards come last; otherwise the given order stays.
    """
    return sorted(rules, key=lambda rule: (rule["hostname"].startswith("*"), -rule["hostname"].count(".") if rule["hostname"].startswith("*") else 0,
                                           not rule.get("path")))


def entries(rules):
    """The ingress rules as cloudflared's configuration has them, the catch-all last.

    :returns: list of dict.
    """
    found = []
    for rule in ordered(rules):
        entry = {"hostname": rule["hostname"]}
        if rule.get("path"):
            entry["path"] = rule["path"]
        entry["service"] = rule["service"]
        origin = {ORIGIN[key]: rule[key] for key in sorted(ORIGIN) if rule.get(key)}
        if origin:
            entry["originRequest"] = origin
        found.append(entry)
    return found + [{"service": CATCH_ALL}]


def hostnames(rules):
    """The hostnames of the rules, each once, in their order."""
    return list(dict.fromkeys(rule["hostname"] for rule in rules))


def configuration(rules, tunnel=None, credentials_file=None):
    """The document of ``config.yml``.

    :arg tunnel: str, the tunnel's id; without it the tunnel's token, which cloudflared gets otherwise, says which one it is.
    """
    document = {}
    if tunnel:
        document["tunnel"] = tunnel
        document["credentials-file"] = credentials_file
    document["ingress"] = entries(rules)
    return document
