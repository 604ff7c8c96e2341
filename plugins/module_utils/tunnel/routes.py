# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the DNS records of a hostname. Pure.

A record is ours when it points to the tunnel, or when its comment says so: the comment outlives a change of the target by somebody
else, so that such a change is told from a record that was never ours, and is repaired instead of refused.
"""

from __future__ import annotations

import re

# One label of a name in the DNS; a tunnel's first one may be a wildcard.
_LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
# Types that can't stand beside a CNAME of the same name.
ADDRESSES = ("A", "AAAA", "CNAME")
# Comments of records have 100 characters in Cloudflare's free plan.
COMMENT_LENGTH = 100


def hostname_problem(name):
    """What is wrong with the hostname of a route, as the middle of a sentence; empty when nothing is."""
    if not isinstance(name, str) or not name.strip():
        return "no hostname"
    labels = name.split(".")
    if "://" in name or "/" in name:
        return "%r, which is a URL" % name
    if re.search(r":[0-9]+\Z", name):
        return "%r, which has a port" % name
    if labels[0] == "*":
        labels = labels[1:]
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.match(label) for label in labels) or re.match(r"^[0-9.]+\Z", name):
        return "%r, which is no hostname in lower case (letters of other alphabets in Punycode), such as things.example.com" % name
    return ""


def zone_names(hostname):
    """The zones that a hostname could be in, the longest name first."""
    labels = hostname.split(".")
    return [".".join(labels[index:]) for index in range(1 if labels[0] == "*" else 0, len(labels) - 1)]


def mark_of(tunnel):
    """The comment of the records of a tunnel.

    :arg tunnel: str, its name, which stays when the tunnel is made anew.
    """
    return ("dockyard.fleet, tunnel %s" % tunnel)[:COMMENT_LENGTH]


def wanted_record(hostname, target, mark):
    """The record that routes a hostname to a tunnel. TTL 1 is Cloudflare's word for automatic, the only one of a proxied record."""
    return {"type": "CNAME", "name": hostname, "content": target, "proxied": True, "ttl": 1, "comment": mark}


def is_ours(record, target, mark):
    """Whether a record belongs to this tunnel."""
    return record.get("comment") == mark or (record.get("type") == "CNAME" and bool(target) and (record.get("content") or "").lower() == target)


def shown(record):
    """A record on one line, for diffs and messages."""
    return "%s %s %s%s" % (record.get("name"), record.get("type"), record.get("content"), ", proxied" if record.get("proxied") else ", not proxied")


def decide(hostname, target, mark, records, replace):
    """What to do about one hostname.

    :arg target: str, or None for a tunnel that is still to be made.
    :arg records: list of dict, the zone's records of that name.
    :arg replace: bool, whether records that are something else may be replaced.
    :returns: dict with ``action`` (keep, create, update, recreate or refuse), ``record`` (the one that is kept or updated), ``changes``
        (dict, for an update), ``remove`` (list of records that go first) and ``foreign`` (list, those that are something else).
    """
    relevant = [record for record in records if record.get("type") in ADDRESSES + ("NS",)]
    ours = [record for record in relevant if is_ours(record, target, mark)]
    foreign = [record for record in relevant if record not in ours]
    decision = {"action": "create", "record": None, "changes": {}, "remove": [], "foreign": foreign}
    if any(record["type"] == "NS" for record in foreign) or (foreign and not replace):
        # A delegation is more than a record: it is never replaced.
        return dict(decision, action="refuse")
    if not relevant:
        return decision
    aliases = [record for record in ours + foreign if record["type"] == "CNAME"]
    if not aliases:
        # Cloudflare is not asked to turn an address into an alias: the old ones go, a new one comes.
        return dict(decision, action="recreate", remove=relevant)
    record = aliases[0]
    wanted = wanted_record(hostname, target, mark)
    changes = {key: wanted[key] for key in ("content", "proxied") if record.get(key) != wanted[key]}
    rest = [other for other in relevant if other is not record]
    if not changes:
        return dict(decision, action="update" if rest else "keep", record=record, remove=rest)
    if record.get("comment") != mark:
        changes["comment"] = mark
    if record.get("ttl") != 1:
        changes["ttl"] = 1
    return dict(decision, action="update", record=record, changes=changes, remove=rest)


def refusal(hostname, foreign, replaceable):
    """The sentence for a hostname whose records are something else."""
    return "%s: found the DNS record %s, which is not of this tunnel; needed none of that name; %s" % (
        hostname, " and ".join(shown(record) for record in foreign),
        "remove it, take the hostname out, or set replace (role: tunnel_replace) to true" if replaceable else "remove it, or take the hostname out")
