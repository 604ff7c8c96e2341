# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate for vulnerabilities: a release with a finding never begins, an exception lets it, and nothing is scanned twice.

The scanner is tests/stand_ins/scanner: Trivy's and Grype's command lines and reports, as a program on the host and as an image.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess

import pytest

from fleet import CA, ROOT, Fleet, Host, Run, make_stack
from hygiene import leftovers

SCANNER = ROOT / "tests" / "stand_ins" / "scanner" / "scanner.py"
STACK = {"title": "Hello", "description": "Sleeps.", "images": {"web": {"build": {"recipe": "web", "source": False}, "budget_mb": 20}}}
COMPOSE = {"services": {"web": {"image": "${WEB_IMAGE}", "restart": "unless-stopped", "init": True,
                                "healthcheck": {"test": ["CMD", "true"], "interval": "1s"}}}}
STATUS = """Package: libexpat1
Status: install ok installed
Architecture: all
Version: {version}

Package: tar
Status: install ok installed
Version: 1.34
"""
RECIPE = {"web/Dockerfile": 'FROM busybox:1.37\nCOPY .dockyard/status /var/lib/dpkg/status\nCOPY .dockyard/os-release /etc/os-release\nUSER 1000\n'
                            'CMD ["sleep", "1000000"]\n',
          "web/os-release": 'ID=debian\nVERSION_ID="12"\n'}
KNOWN = [{"id": "CVE-2026-90001", "package": "libexpat1", "affected": ["2.5.0-1"], "fixed": "2.5.0-2", "severity": "high", "aliases": ["DSA-9001-1"]},
         {"id": "CVE-2026-90002", "package": "tar", "affected": ["1.34"], "severity": "low"}]
DATABASE = "/var/lib/scanner"
RUN_SECONDS = 300


class Guarded(Fleet):
    """One host of its own, with Docker, the scanner and its database."""

    NAMES = {"a": "journey-guarded"}

    def up(self) -> None:
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        self.bed("up", self.NAMES["a"], "--with-docker", *([] if keep else ["--fresh"]))
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(self.bed("inventory", self.NAMES["a"]), encoding="utf-8")
        self.a = Host(self.NAMES["a"], "")
        self.put(SCANNER, "/opt/scanner/scanner.py")
        for tool in ("trivy", "grype"):
            self.a.sh(f"printf '#!/bin/sh\\necho {tool} >> /var/log/scans\\nexec python3 -I /opt/scanner/scanner.py {tool} \"$@\"\\n' > /usr/local/bin/{tool};"
                      f"chmod 0755 /usr/local/bin/{tool}")
        self.a.sh("printf 'FROM python:3.11-slim-bookworm\\nCOPY scanner.py /scanner.py\\nENTRYPOINT [\"python3\", \"-I\", \"/scanner.py\", \"grype\"]\\n'"
                  " > /opt/scanner/Dockerfile; docker build --quiet --tag stand-in/grype:1 /opt/scanner")
        self.make_database(datetime.datetime.now(datetime.timezone.utc))

    def put(self, path, target: str) -> None:
        """Copy a file to the host."""
        self.a.sh(f"mkdir -p {os.path.dirname(target)}")
        done = subprocess.run([str(ROOT / "tests/hosts/bed"), "exec", self.a.name, "--", "sh", "-c", f"cat > {target}"], input=path.read_bytes(), check=False)
        assert done.returncode == 0

    def make_database(self, built: datetime.datetime) -> None:
        """Both tools' databases of that time, readable for a user of their own."""
        date = built.strftime("%Y-%m-%dT%H:%M:%SZ")
        content = json.dumps({"built": date, "vulnerabilities": KNOWN})
        files = {"db/trivy.db": content, "db/metadata.json": json.dumps({"Version": 2, "UpdatedAt": date, "NextUpdate": date}),
                 "6/vulnerability.db": content, "6/import.json": json.dumps({"digest": f"xxh64:{int(built.timestamp()):016x}", "client_version": "v6.0.2"})}
        for name, text in files.items():
            self.a.sh(f"mkdir -p {DATABASE}/{os.path.dirname(name)}; printf '%s' '{text}' > {DATABASE}/{name}")
        self.a.sh(f"chown -R 4711:4711 {DATABASE}; chmod -R go= {DATABASE}")

    def deploy_with(self, stacks, scanner: dict, *words: str) -> Run:
        """Deploy the stack `hello` of a folder with the gate."""
        extra = {"dockyard_stacks": ["hello"], "dockyard_stack_path": [str(stacks)], "images_ca_certificate": str(CA), "images_scanner": scanner}
        return self.run("deploy", "-e", json.dumps(extra), *words, timeout=RUN_SECONDS, COLUMNS="4000")

    def scans(self) -> int:
        """How often a scanner on the host was started."""
        return int(self.a.sh("cat /var/log/scans 2>/dev/null | wc -l"))

    def running(self) -> str:
        """What runs, and since when."""
        return self.a.sh("docker ps -q --no-trunc | xargs -r docker inspect -f '{{.Name}} {{.Config.Image}} {{.State.StartedAt}}'")


def scanner(**change) -> dict:
    given = dict({"tool": "trivy", "binary": "trivy", "database": DATABASE}, **change)
    return {key: value for key, value in given.items() if value is not None}


def accepted(**change) -> dict:
    return scanner(exceptions=[dict({"id": "CVE-2026-90001", "package": "libexpat1", "reason": "no XML comes in", "expires": "2999-12-31"}, **change)])


@pytest.fixture(name="guarded", scope="module")
def fixture_guarded(tmp_path_factory):
    """The host, with the first version of the stack, in which nothing is found, and the folder of a version with a finding."""
    guarded = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        guarded.up()
        guarded.good, guarded.bad = guarded.folder / "good", guarded.folder / "bad"
        make_stack(guarded.good, "hello", STACK, COMPOSE, {**RECIPE, "web/status": STATUS.format(version="2.5.0-2")})
        make_stack(guarded.bad, "hello", STACK, COMPOSE, {**RECIPE, "web/status": STATUS.format(version="2.5.0-1")})
        guarded.deploy_with(guarded.good, scanner()).good()
        yield guarded
    finally:
        guarded.down()


def test_a_second_run_changes_nothing_and_scans_nothing(guarded):
    assert guarded.scans() == 1 and "hello-web-1" in guarded.running()
    run = guarded.deploy_with(guarded.good, scanner()).good()
    assert run.changed == {guarded.a.name: 0} and guarded.scans() == 1
    assert guarded.a.sh("ls -A /var/tmp | grep dockyard-images", check=False) == ""
    assert guarded.a.sh("stat -c %a /var/lib/dockyard/scans /var/lib/dockyard/scans/*").split() == ["700", "600"]


def test_a_finding_blocks_the_release_and_nothing_that_runs_is_touched(guarded):
    before = guarded.running()
    for unused in range(2):
        run = guarded.deploy_with(guarded.bad, scanner())
        assert run.code != 0 and run.failures == 1 and "Traceback" not in run.output
        run.says("hello/web: found CVE-2026-90001 (high) in libexpat1 2.5.0-1, fixed in 2.5.0-2; needed: nothing of severity high or above (trivy, database",
                 "set: a base image or package without it, or images_scanner.exceptions ({id: CVE-2026-90001, reason, expires})")
        assert "CVE-2026-90002" not in run.output and guarded.running() == before
    # The image of the new version is there and is known: the second run did not scan it again.
    assert guarded.scans() == 2


def test_wrong_settings_are_told_before_anything_is_done(guarded):
    before = guarded.a.state()
    for settings, words in ((accepted(expires="2020-01-01"), "found an exception that expired on 2020-01-01"), (accepted(reason=""), "found no reason"),
                            (scanner(severty="low"), "found the key severty"),
                            (scanner(database="/nowhere"), "/nowhere: No such file or directory on the host")):
        run = guarded.deploy_with(guarded.good, settings)
        assert run.code != 0 and run.failures == 1 and "Traceback" not in run.output
        run.says("images_scanner", words)
    assert guarded.a.state() == before


def test_check_mode_judges_what_is_known(guarded):
    before = guarded.running()
    guarded.deploy_with(guarded.bad, scanner(), "--check").says("found CVE-2026-90001")
    assert guarded.running() == before


def test_an_exception_lets_it_pass_and_one_that_covers_nothing_is_told(guarded):
    before, scans = guarded.running(), guarded.scans()
    given = accepted()
    given["exceptions"].append({"id": "CVE-1999-1", "reason": "long ago", "expires": "2999-12-31"})
    guarded.deploy_with(guarded.bad, given).good().says("images_scanner.exceptions: CVE-1999-1 covers no finding in the images of this host")
    assert guarded.running() != before and guarded.scans() == scans


def test_the_other_tool_in_a_container_and_a_newer_database(guarded):
    given = dict(accepted(id="DSA-9001-1"), tool="grype", image="stand-in/grype:1")
    del given["binary"]
    run = guarded.deploy_with(guarded.bad, given).good()
    assert run.changed == {guarded.a.name: 0}, run.output[-4000:]
    guarded.deploy_with(guarded.bad, dict(given, exceptions=[])).says("found CVE-2026-90001 (high)")
    records = "stat -c '%n %i' /var/lib/dockyard/scans/grype-*"
    before = guarded.a.sh(records)
    # As old as it may be: offline databases are.
    guarded.make_database(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc))
    guarded.deploy_with(guarded.bad, given).good().says("grype's database is of 2026-01-01")
    assert guarded.a.sh(records) != before
    assert guarded.a.sh("docker ps -aq --filter name=dockyard-scan; ls -A /var/tmp | grep dockyard-images", check=False) == ""


def test_leftovers_are_found_in_an_image_that_has_them(guarded):
    guarded.a.sh("mkdir -p /opt/dirty; printf 'FROM busybox:1.37\\nRUN cd /root && mkdir -p .cache/pip /var/lib/apt/lists && touch .cache/pip/x"
                 " /var/lib/apt/lists/y && ln -s busybox /bin/gcc\\n' > /opt/dirty/Dockerfile; docker build --quiet --tag stand-in/dirty:1 /opt/dirty")
    assert {"/bin/gcc", ".cache/pip/x", "/var/lib/apt/lists/y"} <= set(leftovers(guarded.a, "stand-in/dirty:1"))
