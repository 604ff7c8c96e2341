# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a stack judged, and secrets and certificates matched with what a host has. Pure."""

from __future__ import annotations

import json

RENEW_DAYS = 30


def is_part_of(wanted, found):
    """Whether every key of a wanted mapping is in the found one with the same value, mappings below included."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and is_part_of(value, found[key]) for key, value in wanted.items())
    return wanted == found


def problems_of_answer(entry, status, body):
    """What is wrong with an answer.

    :arg entry: dict, one entry of ``prove``.
    :arg status: int, HTTP status, or -1 when there was no answer.
    :arg body: str.
    :returns: list of str.
    """
    problems = []
    wanted = entry.get("status", 200)
    if status != wanted:
        problems.append("found status %s, needed %d" % ("none (no answer)" if status == -1 else status, wanted))
    elif "json" in entry:
        try:
            found = json.loads(body)
        except ValueError:
            problems.append("found a body that is not JSON: %r, needed %s" % (body[:80], json.dumps(entry["json"])))
        else:
            if not is_part_of(entry["json"], found):
                problems.append("found %s, needed %s in it" % (json.dumps(found)[:200], json.dumps(entry["json"])))
    if "contains" in entry and entry["contains"] not in body:
        problems.append("found a body without %r" % entry["contains"])
    return problems


def tls_is_due(plan, on_host, given, now):
    """Whether a self-signed certificate has to be made for a stack.

    :arg plan: dict, a stack of ``stack_plan``.
    :arg on_host: dict of secret name to metadata, from the facts.
    :arg given: dict of secret name to value, the operator's.
    :arg now: int, seconds since 1970.
    :returns: bool. A certificate that the operator gave, or that is on the host without a known end, is left alone.
    """
    tls = plan.get("tls")
    if not tls or (given.get(tls["certificate"]) and given.get(tls["key"])):
        return False
    if tls["certificate"] not in on_host or tls["key"] not in on_host:
        return True
    expires = on_host[tls["certificate"]].get("expires_epoch_s")
    return bool(expires) and expires - now < RENEW_DAYS * 86400


def secrets_for_release(plan, given, made):
    """The option ``secrets`` of module release.

    :arg plan: dict, a stack of ``stack_plan``.
    :arg given: dict of secret name to value, the operator's.
    :arg made: dict with ``certificate``, ``key`` and ``expires_epoch_s``, or {}.
    :returns: list of dict.
    """
    result = []
    for secret in plan["secrets"]:
        entry = dict(secret)
        if given.get(secret["name"]):
            entry["value"] = str(given[secret["name"]])
        elif made and plan.get("tls"):
            for part in ("certificate", "key"):
                if plan["tls"][part] == secret["name"]:
                    entry.update(value=made[part], expires_epoch_s=made["expires_epoch_s"])
        result.append(entry)
    return result
