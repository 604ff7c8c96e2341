# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime

import pytest

from ansible_collections.dockyard.fleet.plugins.filter import images as filters
from ansible_collections.dockyard.fleet.plugins.module_utils.images import gate
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import SeveralErrors

NOW = datetime.date(2026, 11, 20)
GOOD = {"tool": "trivy", "image": "aquasec/trivy:0.58.1", "database": "/var/lib/trivy"}


def exception(**change):
    given = dict({"id": "CVE-2026-1", "reason": "nothing reaches it", "expires": "2027-01-31"}, **change)
    return {key: value for key, value in given.items() if value is not None}


def finding(name="CVE-2026-1", package="libx", severity="high", fixed="1.1", aliases=()):
    return {"id": name, "package": package, "installed": "1.0", "fixed": fixed, "severity": severity, "aliases": list(aliases)}


def scan(*findings, where="demo/app", date="2026-11-19T06:00:00Z", notes=()):
    return {"where": where, "findings": list(findings), "date": date, "notes": list(notes)}


def settings(*exceptions, **change):
    return gate.read_settings(dict(GOOD, exceptions=list(exceptions), **change), NOW)


def problems(**change):
    with pytest.raises(SeveralErrors) as caught:
        gate.read_settings({key: value for key, value in dict(GOOD, **change).items() if value is not None}, NOW)
    return [str(problem) for problem in caught.value.problems]


def judge(given, *scans):
    return gate.judge(list(scans), given, NOW)


def test_no_settings_are_no_gate():
    assert gate.read_settings({}, NOW) == {}


def test_defaults():
    given = settings()
    assert (given["severity"], given["fixed_only"], given["exceptions"], given["binary"]) == ("high", False, [], "")


@pytest.mark.parametrize("change, words", [
    ({"tool": "clair"}, "images_scanner.tool: found 'clair'; needed: one of trivy, grype; set: images_scanner.tool"),
    ({"tool": None}, "images_scanner.tool: found none"),
    ({"binary": "trivy"}, "images_scanner.image, images_scanner.binary: found both"),
    ({"image": None}, "images_scanner.image, images_scanner.binary: found neither"),
    ({"image": "Not An Image"}, "images_scanner.image: found"),
    ({"image": None, "binary": "./trivy"}, "images_scanner.binary: found './trivy'"),
    ({"database": None}, "images_scanner.database: found none"),
    ({"database": "cache/trivy"}, "images_scanner.database: found 'cache/trivy'; needed: the absolute path"),
    ({"database": "/var/lib/a,readonly"}, "images_scanner.database: found"),
    ({"severity": "bad"}, "images_scanner.severity: found 'bad'; needed: one of unknown, negligible, low, medium, high, critical"),
    ({"fixed_only": "maybe"}, "images_scanner.fixed_only"),
    ({"severty": "high"}, "images_scanner: found the key severty; needed: one of tool, image, binary, database, severity, fixed_only, exceptions "
                          "(is severity meant?); set: images_scanner"),
    ({"exceptions": "CVE-2026-1"}, "images_scanner.exceptions: found str; needed: a list"),
    ({"exceptions": ["CVE-2026-1"]}, "images_scanner.exceptions[0]: found 'CVE-2026-1'"),
    ({"exceptions": [exception(id=None)]}, "images_scanner.exceptions[0]: found no id"),
    ({"exceptions": [exception(reason=None)]}, "images_scanner.exceptions[0] (CVE-2026-1): found no reason"),
    ({"exceptions": [exception(reason="  ")]}, "images_scanner.exceptions[0] (CVE-2026-1): found no reason"),
    ({"exceptions": [exception(expires=None)]}, "images_scanner.exceptions[0] (CVE-2026-1): found no expiry date; needed: expires: a date such as"),
    ({"exceptions": [exception(expires="next year")]}, "found expires 'next year'"),
    ({"exceptions": [exception(expires="2026-11-19")]}, "images_scanner.exceptions[0] (CVE-2026-1): found an exception that expired on 2026-11-19"),
    ({"exceptions": [exception(until="2027-01-31")]}, "found the key until; needed: one of id, package, reason, expires"),
    ({"exceptions": [exception(), exception(reason="other")]}, "images_scanner.exceptions[1] (CVE-2026-1): found the same id twice"),
])
def test_what_is_wrong_is_one_message(change, words):
    found = problems(**change)
    assert len(found) == 1 and words in found[0] and "; set: images_scanner" in found[0], found


def test_all_that_is_wrong_is_told_at_once():
    assert len(problems(tool="x", severity="y", exceptions=[exception(reason=None, expires=None)])) == 4


@pytest.mark.parametrize("expires", ["2026-11-20", datetime.date(2026, 11, 20), datetime.datetime(2026, 11, 20, 12, 0)])
def test_the_last_day_counts_and_yaml_may_make_a_date_of_it(expires):
    assert settings(exception(expires=expires))["exceptions"][0]["expires"] == "2026-11-20"


def test_a_finding_of_the_severity_blocks_and_is_told_whole():
    verdict = judge(settings(), scan(finding(), finding("CVE-2026-2", severity="medium")))
    assert [str(problem) for problem in verdict.blocking] == [
        "demo/app: found CVE-2026-1 (high) in libx 1.0, fixed in 1.1; needed: nothing of severity high or above (trivy, database of 2026-11-19); "
        "set: a base image or package without it, or images_scanner.exceptions ({id: CVE-2026-1, reason, expires})"]
    assert verdict.accepted == [] and verdict.notes == []


def test_the_worst_comes_first():
    verdict = judge(settings(severity="low"), scan(finding("CVE-2026-1", severity="low"), finding("CVE-2026-2", severity="critical")),
                    scan(finding("CVE-2026-3", severity="high"), where="demo/db"))
    assert [problem.found.split()[0] for problem in verdict.blocking] == ["CVE-2026-2", "CVE-2026-3", "CVE-2026-1"]
    assert "no fixed version yet" in str(judge(settings(), scan(finding(fixed=""))).blocking[0])


@pytest.mark.parametrize("given, covered", [
    (exception(), True), (exception(id="cve-2026-1"), True), (exception(id="GHSA-1"), True), (exception(package="libx"), True),
    (exception(package="liby"), False), (exception(id="CVE-2026-11"), False),
])
def test_what_an_exception_covers(given, covered):
    verdict = judge(settings(given), scan(finding(aliases=["GHSA-1"])))
    assert (verdict.blocking == []) is covered and (len(verdict.accepted) == 1) is covered
    assert any("covers no finding" in note for note in verdict.notes) is not covered


def test_an_accepted_finding_tells_why():
    assert judge(settings(exception()), scan(finding())).accepted == [
        "demo/app: CVE-2026-1 (high) in libx 1.0, fixed in 1.1; accepted until 2027-01-31: nothing reaches it"]


def test_an_exception_for_a_package_goes_before_none():
    verdict = judge(settings(exception(package="liby"), exception(package="libx")), scan(finding(), finding(package="liby"), finding(package="libz")))
    assert [problem.found.split()[3] for problem in verdict.blocking] == ["libz"]


def test_notes():
    verdict = judge(settings(exception(expires="2026-12-01"), exception(id="CVE-1999-1", package="tar")),
                    scan(finding(), date="2026-11-01T00:00:00Z", notes=["debian 8 gets no updates"]))
    assert verdict.notes == [
        "demo/app: debian 8 gets no updates",
        "images_scanner.exceptions: CVE-2026-1 expires on 2026-12-01; from the day after it is refused",
        "images_scanner.exceptions: CVE-1999-1 in tar covers no finding in the images of this host",
        "images_scanner.database: trivy's database is of 2026-11-01, 19 days old; what was found since is not in it",
    ]


def test_an_exception_below_the_severity_is_not_used():
    assert "covers no finding" in judge(settings(exception()), scan(finding(severity="low"))).notes[0]


def test_what_cannot_be_fixed_blocks_unless_it_is_said_otherwise():
    scans = scan(finding(fixed=""), finding("CVE-2026-2"))
    assert len(judge(settings(), scans).blocking) == 2
    verdict = judge(settings(fixed_only=True), scans)
    assert len(verdict.blocking) == 1 and verdict.notes == [
        "demo/app: not counted, as there is no fixed version yet (images_scanner.fixed_only): 1 of severity high or above"]


def test_a_message_has_the_worst_only_and_says_how_many_more():
    refusals = judge(settings(), scan(*[finding(f"CVE-2026-{number}") for number in range(30)])).blocking
    text = str(SeveralErrors(refusals, gate.SHOWN))
    assert text.startswith("30 problems:\n") and text.count("CVE-2026-") == 50 and text.endswith("- and 5 more, all of them in the result's `problems`")


def test_the_filter_for_playbooks():
    ask = filters.FilterModule().filters()["images_scanner_problems"]
    assert ask({}) == [] and ask(None) == [] and ask("") == [] and ask(GOOD) == []
    assert ask('{"tool": "trivy", "binary": "trivy", "database": "/x"}') == []
    assert ask({"tool": "trivy"}) == [
        "images_scanner.image, images_scanner.binary: found neither; needed: one of them: the scanner's image, or its program on the host; "
        "set: images_scanner.image, images_scanner.binary",
        "images_scanner.database: found none; needed: the absolute path of the scanner's database folder on the host; set: images_scanner.database"]
    assert "a mapping" in ask(["trivy"])[0]
    assert "expired on 2001-01-01" in ask(dict(GOOD, exceptions=[exception(expires="2001-01-01")]))[0]
