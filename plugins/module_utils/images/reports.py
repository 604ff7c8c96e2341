# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vulnerability scanners write, read into one form. No I/O.

A finding is ``{id, package, installed, fixed, severity, aliases}``: texts, ``fixed`` empty when there is no version without it yet,
``severity`` one of SEVERITIES, ``aliases`` other names of the same vulnerability.
"""

from __future__ import annotations

import json
from typing import NamedTuple, Optional

TOOLS = ("trivy", "grype")
# From the least on. Trivy has no `negligible`.
SEVERITIES = ("unknown", "negligible", "low", "medium", "high", "critical")


class Report(NamedTuple):
    """``date``: when the database was made, as the report tells it (or null). ``notes``: what the findings alone don't say."""

    findings: list
    date: Optional[str]
    notes: list


def rank(severity: str) -> int:
    """The place of a severity; larger is worse."""
    return SEVERITIES.index(severity)


def counts(findings: list) -> dict:
    """``{severity: number}`` of all that occur."""
    found: dict = {}
    for finding in findings:
        found[finding["severity"]] = found.get(finding["severity"], 0) + 1
    return found


def parse(tool: str, text: str) -> Report:
    """A report as the tool wrote it. Raises ValueError when it is not of the format: what is not understood is no clean image."""
    try:
        document = json.loads(text)
    except ValueError as problem:
        raise ValueError(f"no JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    try:
        return {"trivy": parse_trivy, "grype": parse_grype}[tool](document)
    except (AttributeError, KeyError, TypeError) as problem:
        raise ValueError(f"a part that is not of the format: {type(problem).__name__}: {problem}") from problem


def parse_trivy(document: dict) -> Report:
    """Trivy's report of one image, `--format json`, schema version 2 (of Trivy 0.20 and later). Raises ValueError.

    ``Results`` is left out when nothing was recognised, ``Vulnerabilities`` of a result when there are none.
    """
    if document.get("SchemaVersion") != 2:
        raise ValueError(f"SchemaVersion {document.get('SchemaVersion')!r}, needed 2")
    if document.get("ArtifactType") != "container_image":
        raise ValueError(f"ArtifactType {document.get('ArtifactType')!r}, needed 'container_image'")
    findings, notes = [], []
    for result in document.get("Results") or []:
        for entry in result.get("Vulnerabilities") or []:
            findings.append(_finding(entry["VulnerabilityID"], entry["PkgName"], entry.get("InstalledVersion"), [entry.get("FixedVersion")],
                                     entry.get("Severity"), entry.get("VendorIDs") or []))
    system = (document.get("Metadata") or {}).get("OS") or {}
    if system.get("EOSL"):
        notes.append(f"{system.get('Family')} {system.get('Name')} gets no security updates any more, so that its findings are incomplete")
    if not document.get("Results"):
        notes.append("Trivy recognised no packages in it")
    return Report(_once(findings), None, notes)


def parse_grype(document: dict) -> Report:
    """Grype's report, `--output json`. Raises ValueError.

    The database is told as ``descriptor.db.built`` by versions up to schema 5 and as ``descriptor.db.status.built`` by those after it.
    """
    descriptor = document.get("descriptor") or {}
    if descriptor.get("name") != "grype" or not isinstance(document.get("matches"), list):
        raise ValueError("no list `matches`, or no `descriptor` of grype")
    findings, notes = [], []
    for match in document["matches"]:
        entry, package = match["vulnerability"], match["artifact"]
        related = [other["id"] for other in match.get("relatedVulnerabilities") or [] if other.get("id") and other["id"] != entry["id"]]
        findings.append(_finding(entry["id"], package["name"], package.get("version"), (entry.get("fix") or {}).get("versions") or [],
                                 entry.get("severity"), related))
    database = descriptor.get("db") or {}
    if not findings and not (document.get("distro") or {}).get("name"):
        notes.append("Grype recognised no distribution in it")
    return Report(_once(findings), (database.get("status") or {}).get("built") or database.get("built"), notes)


def _finding(name: str, package: str, installed: Optional[str], fixed: list, severity: Optional[str], aliases: list) -> dict:
    told = str(severity or "").lower()
    return {"id": str(name), "package": str(package), "installed": str(installed or ""), "fixed": ", ".join(str(part) for part in fixed if part),
            "severity": told if told in SEVERITIES else "unknown", "aliases": sorted({str(alias) for alias in aliases})}


def _once(findings: list) -> list:
    """Each once, the worst first: the same package may lie in several places of an image."""
    kept = {(finding["id"], finding["package"], finding["installed"]): finding for finding in reversed(findings)}
    return sorted(kept.values(), key=lambda finding: (-rank(finding["severity"]), finding["package"], finding["id"], finding["installed"]))
