# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vulnerability gate's settings and its judgement. No I/O: today's date is an argument."""

from __future__ import annotations

import datetime
import difflib
import re
from typing import NamedTuple, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.module_utils.images.reports import SEVERITIES, TOOLS, rank

SETTING = "images_scanner"
KEYS = ("tool", "image", "binary", "database", "severity", "fixed_only", "exceptions")
EXCEPTION_KEYS = ("id", "package", "reason", "expires")
# Grype's own limit for its database.
OLD_DATABASE_DAYS = 5
SOON_DAYS = 14
# A message has the worst ones; a result has all.
SHOWN = 25


class Verdict(NamedTuple):
    """``blocking``: ImagesError each. ``accepted`` and ``notes``: sentences."""

    blocking: list
    accepted: list
    notes: list


def today() -> datetime.date:
    """The date in UTC, so that all hosts and controllers agree."""
    return datetime.datetime.now(datetime.timezone.utc).date()


def read_settings(given: dict, now: datetime.date) -> dict:
    """``images_scanner`` with defaults and dates as text; empty when there is no gate. Raises SeveralErrors with all that is wrong."""
    if not given:
        return {}
    problems: list = []
    settings = _settings(given, problems)
    settings["exceptions"] = _exceptions(given.get("exceptions") or [], now, problems)
    if problems:
        raise SeveralErrors(problems)
    return settings


def _unknown(given: dict, known: tuple, where: str) -> list:
    found = []
    for key in sorted(set(map(str, given)) - set(known)):
        near = difflib.get_close_matches(key, known, 1)
        found.append(ImagesError(where, f"the key {key}", f"one of {', '.join(known)}" + (f" (is {near[0]} meant?)" if near else ""), SETTING))
    return found


def _settings(given: dict, problems: list) -> dict:
    def refuse(where: str, found: str, needed: str) -> None:
        problems.append(ImagesError(where, found, needed, where))

    problems += _unknown(given, KEYS, SETTING)
    settings = {"tool": given.get("tool"), "image": given.get("image") or "", "binary": given.get("binary") or "", "database": given.get("database") or "",
                "severity": str(given.get("severity") or "high").lower(), "fixed_only": given.get("fixed_only", False)}
    if settings["tool"] not in TOOLS:
        refuse(f"{SETTING}.tool", repr(given.get("tool")) if "tool" in given else "none", f"one of {', '.join(TOOLS)}")
    if settings["severity"] not in SEVERITIES:
        refuse(f"{SETTING}.severity", repr(given["severity"]), f"one of {', '.join(SEVERITIES)}")
    if not isinstance(settings["fixed_only"], bool):
        refuse(f"{SETTING}.fixed_only", repr(settings["fixed_only"]), "true or false")
    if bool(settings["image"]) == bool(settings["binary"]):
        refuse(f"{SETTING}.image, {SETTING}.binary", "both" if settings["image"] else "neither",
               "one of them: the scanner's image, or its program on the host")
    elif settings["image"]:
        try:
            parse_reference(str(settings["image"]))
        except ValueError as problem:
            refuse(f"{SETTING}.image", str(problem), "an image name with a tag or digest")
    elif not re.match(r"^(/[^\0]*[^/\0]|[A-Za-z0-9._-]+)$", str(settings["binary"])):
        refuse(f"{SETTING}.binary", repr(settings["binary"]), "the name of a program in the host's PATH, or its absolute path")
    # A comma would start another option of `docker run --mount`.
    if not re.match(r"^/[^\0,\n]+$", str(settings["database"])):
        refuse(f"{SETTING}.database", repr(settings["database"]) if settings["database"] else "none",
               "the absolute path of the scanner's database folder on the host")
    return settings


def _exceptions(given: object, now: datetime.date, problems: list) -> list:
    if not isinstance(given, list):
        problems.append(ImagesError(f"{SETTING}.exceptions", type(given).__name__, "a list of {id, reason, expires}", f"{SETTING}.exceptions"))
        return []
    found, seen = [], set()
    for index, entry in enumerate(given):
        where = f"{SETTING}.exceptions[{index}]"
        if not isinstance(entry, dict):
            problems.append(ImagesError(where, repr(entry), "{id, reason, expires}", where))
            continue
        name = str(entry.get("id") or "").strip()
        where = f"{where} ({name})" if name else where
        wrong = _unknown(entry, EXCEPTION_KEYS, where)
        if not name:
            wrong.append(ImagesError(where, "no id", "the finding's id, such as CVE-2026-1234", f"{SETTING}.exceptions"))
        if not str(entry.get("reason") or "").strip():
            wrong.append(ImagesError(where, "no reason", "why this finding does no harm here, or has to be borne", f"{SETTING}.exceptions"))
        expires = _date(entry.get("expires"))
        if expires is None:
            wrong.append(ImagesError(where, f"expires {entry['expires']!r}" if entry.get("expires") else "no expiry date",
                                     "expires: a date such as 2027-01-31, the last day of the exception", f"{SETTING}.exceptions"))
        elif expires < now:
            wrong.append(ImagesError(where, f"an exception that expired on {expires.isoformat()}",
                                     "a finding that is mended, or a new decision with a later date", f"{SETTING}.exceptions"))
        package = str(entry.get("package") or "").strip()
        if name and (name, package) in seen:
            wrong.append(ImagesError(where, "the same id" + (f" and package {package}" if package else "") + " twice", "each once", f"{SETTING}.exceptions"))
        seen.add((name, package))
        problems += wrong
        if not wrong and expires:
            found.append({"id": name, "package": package, "reason": str(entry["reason"]).strip(), "expires": expires.isoformat()})
    return found


def _date(value: object) -> Optional[datetime.date]:
    """YAML makes a date of 2027-01-31 by itself; in quotes it stays text."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        return None


def _covers(exception: dict, finding: dict) -> bool:
    names = {name.lower() for name in (finding["id"], *finding["aliases"])}
    return exception["id"].lower() in names and exception["package"] in ("", finding["package"])


def judge(scans: list, settings: dict, now: datetime.date) -> Verdict:
    """What speaks against a release.

    :arg scans: list of dict with ``where``, ``findings`` (those of the severity or above, at least), ``date`` of the database (or null) and ``notes``.
    :arg settings: dict, from read_settings.
    """
    blocking, accepted, notes, used = [], [], [], set()
    for scan in scans:
        left_out = 0
        for finding in scan["findings"]:
            if rank(finding["severity"]) < rank(settings["severity"]):
                continue
            index = next((number for number, exception in enumerate(settings["exceptions"]) if _covers(exception, finding)), None)
            if index is not None:
                exception = settings["exceptions"][index]
                used.add(index)
                accepted.append(f"{scan['where']}: {describe(finding)}; accepted until {exception['expires']}: {exception['reason']}")
            elif settings["fixed_only"] and not finding["fixed"]:
                left_out += 1
            else:
                blocking.append((finding, _refusal(scan, finding, settings)))
        if left_out:
            notes.append(f"{scan['where']}: not counted, as there is no fixed version yet ({SETTING}.fixed_only): {left_out} of severity "
                         f"{settings['severity']} or above")
        notes += [f"{scan['where']}: {note}" for note in scan.get("notes") or []]
    for number, exception in enumerate(settings["exceptions"]):
        name = exception["id"] + (f" in {exception['package']}" if exception["package"] else "")
        if number not in used:
            notes.append(f"{SETTING}.exceptions: {name} covers no finding in the images of this host")
        elif (datetime.date.fromisoformat(exception["expires"]) - now).days <= SOON_DAYS:
            notes.append(f"{SETTING}.exceptions: {name} expires on {exception['expires']}; from the day after it is refused")
    notes += _age({scan["date"] for scan in scans if scan.get("date")}, settings, now)
    blocking.sort(key=lambda pair: (-rank(pair[0]["severity"]), pair[1].where, pair[0]["package"], pair[0]["id"]))
    return Verdict([refusal for unused, refusal in blocking], accepted, notes)


def describe(finding: dict) -> str:
    """One finding in words."""
    fixed = f"fixed in {finding['fixed']}" if finding["fixed"] else "no fixed version yet"
    return f"{finding['id']} ({finding['severity']}) in {finding['package']} {finding['installed']}, {fixed}"


def _refusal(scan: dict, finding: dict, settings: dict) -> ImagesError:
    date = f" of {scan['date'][:10]}" if scan.get("date") else ""
    return ImagesError(scan["where"], describe(finding), f"nothing of severity {settings['severity']} or above ({settings['tool']}, database{date})",
                       f"a base image or package without it, or {SETTING}.exceptions ({{id: {finding['id']}, reason, expires}})")


def _age(dates: set, settings: dict, now: datetime.date) -> list:
    found = []
    for date in sorted(dates):
        made = _date(date[:10])
        if made and (now - made).days > OLD_DATABASE_DAYS:
            found.append(f"{SETTING}.database: {settings['tool']}'s database is of {made.isoformat()}, {(now - made).days} days old; "
                         "what was found since is not in it")
    return found
