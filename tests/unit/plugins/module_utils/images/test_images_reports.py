# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import reports

FOLDER = Path(__file__).parent / "reports"


def document(tool):
    return json.loads((FOLDER / f"{tool}.json").read_text(encoding="utf-8"))


def seen(tool, change=None):
    given = document(tool)
    if change:
        change(given)
    return reports.parse(tool, json.dumps(given))


def short(report):
    return [(finding["id"], finding["package"], finding["installed"], finding["fixed"], finding["severity"]) for finding in report.findings]


def test_a_report_of_trivy():
    report = seen("trivy")
    assert short(report) == [
        ("CVE-2026-90002", "zlib1g", "1:1.2.13.dfsg-1", "", "critical"),
        ("CVE-2026-90001", "libexpat1", "2.5.0-1", "2.5.0-1+deb12u1", "high"),
        ("CVE-2026-90004", "flask", "2.3.3", "2.3.4, 3.0.1", "medium"),
        ("CVE-2026-90003", "tar", "1.34+dfsg-1.2", "", "unknown"),
    ]
    assert report.findings[1]["aliases"] == ["DSA-9001-1"] and report.date is None and report.notes == []
    assert reports.counts(report.findings) == {"critical": 1, "high": 1, "medium": 1, "unknown": 1}


def test_a_report_of_grype():
    report = seen("grype")
    assert short(report) == [
        ("CVE-2026-90002", "zlib1g", "1:1.2.13.dfsg-1", "", "critical"),
        ("GHSA-aaaa-bbbb-cccc", "flask", "2.3.3", "2.3.4, 3.0.1", "high"),
        ("CVE-2026-90005", "apt", "2.6.1", "", "negligible"),
    ]
    assert [finding["aliases"] for finding in report.findings] == [[], ["CVE-2026-90004"], []]
    assert report.date == "2026-11-19T06:38:10Z" and report.notes == []


def test_the_older_form_of_grypes_database():
    assert seen("grype", lambda given: given["descriptor"].update(db={"built": "2024-11-19T01:31:14Z", "schemaVersion": 5})).date == "2024-11-19T01:31:14Z"
    assert seen("grype", lambda given: given["descriptor"].pop("db")).date is None


def test_what_a_report_does_not_say_by_findings_is_noted():
    assert "no security updates" in seen("trivy", lambda given: given["Metadata"]["OS"].update(EOSL=True)).notes[0]
    empty = seen("trivy", lambda given: given.pop("Results"))
    assert empty.findings == [] and empty.notes == ["Trivy recognised no packages in it"]
    assert seen("grype", lambda given: given.update(matches=[], distro={})).notes == ["Grype recognised no distribution in it"]
    assert seen("grype", lambda given: given.update(matches=[])).notes == []


@pytest.mark.parametrize("tool, change, words", [
    ("trivy", lambda given: given.update(SchemaVersion=1), "SchemaVersion 1"),
    ("trivy", lambda given: given.update(ArtifactType="filesystem"), "ArtifactType 'filesystem'"),
    ("trivy", lambda given: given["Results"][0]["Vulnerabilities"][0].pop("VulnerabilityID"), "VulnerabilityID"),
    ("trivy", lambda given: given.update(Results=["text"]), "get"),
    ("grype", lambda given: given.pop("matches"), "matches"),
    ("grype", lambda given: given["descriptor"].update(name="syft"), "descriptor"),
    ("grype", lambda given: given["matches"][0]["artifact"].pop("name"), "name"),
])
def test_what_is_not_of_the_format_is_no_clean_image(tool, change, words):
    with pytest.raises(ValueError, match=words):
        seen(tool, change)


@pytest.mark.parametrize("text, words", [("", "no JSON"), ("2026 INFO downloading\n{}", "no JSON"), ("[]", "no JSON object"), ("{}", "SchemaVersion None")])
def test_what_is_no_report_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        reports.parse("trivy", text)


def test_one_tools_report_is_not_the_others():
    with pytest.raises(ValueError):
        reports.parse("trivy", json.dumps(document("grype")))
    with pytest.raises(ValueError):
        reports.parse("grype", json.dumps(document("trivy")))


def test_a_severity_that_nobody_knows_is_unknown():
    assert seen("trivy", lambda given: given["Results"][0]["Vulnerabilities"][0].update(Severity="APOCALYPTIC")).findings[-1]["severity"] == "unknown"
    assert reports.rank("unknown") < reports.rank("negligible") < reports.rank("low") < reports.rank("critical")
