# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's half of the vulnerability gate; the scanner is the stand-in, run as a real program with the real command line."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
import tarfile
from pathlib import Path

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli, host, scan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError

STAND_IN = Path(__file__).resolve().parents[4] / "stand_ins" / "scanner" / "scanner.py"
STATUS = """Package: libexpat1
Status: install ok installed
Architecture: amd64
Version: 2.5.0-1
Description: a parser
 of several lines

Package: tar
Status: install ok installed
Version: 1.34
"""
KNOWN = {"built": "2026-11-19T06:00:00Z", "vulnerabilities": [
    {"id": "CVE-2026-1", "package": "libexpat1", "affected": ["2.5.0-1"], "fixed": "2.5.0-2", "severity": "high", "aliases": ["DSA-1"]},
    {"id": "CVE-2026-2", "package": "tar", "affected": ["1.34"], "severity": "low"},
    {"id": "CVE-2026-3", "package": "tar", "affected": ["1.33"], "severity": "critical"},
    {"id": "CVE-2026-4", "package": "flask", "affected": ["2.3.3"], "fixed": "3.0.1", "severity": "medium"},
]}
APP = {"where": "demo/app", "id": "sha256:" + "a" * 64, "reference": "dockyard/demo-app:1", "size_bytes": 1000}


def layer(files):
    """A layer's tar as bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def archive(path, *layers):
    """What `docker save` writes."""
    with tarfile.open(path, "w") as tar:
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        parts = {**dict(zip(names, map(layer, layers))), "manifest.json": json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": names}]).encode()}
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


class Docker:
    """The engine: saves archives, knows images, and runs the stand-in in the place of a container."""

    def __init__(self, known=()):
        self.known, self.commands, self.pulled, self.ran = set(known), [], [], []

    def call(self, argv, timeout_s=0):
        self.commands.append(argv)
        if argv[0] == "save":
            archive(argv[2], {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n', "var/lib/dpkg/status": STATUS},
                    {"opt/venv/flask-2.3.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: flask\nVersion: 2.3.3\n\ntext"})
        elif argv[:2] == ["image", "inspect"]:
            return cli.Done(0 if argv[2] in self.known else 1, "[]", "")
        elif argv[0] == "run":
            return self._container(argv)
        return cli.Done(0, "", "")

    def _container(self, argv):
        """Runs the scanner where a container's mounts would be, by links."""
        mounts = [dict(part.partition("=")[::2] for part in argv[index + 1].split(",")) for index, word in enumerate(argv) if word == "--mount"]
        folder = mounts[0]["source"]
        for mount in mounts[1:]:
            inner = mount["target"].replace("/scan", folder, 1)
            assert os.path.isdir(inner), "Docker would make the mount's place as root"
            os.rmdir(inner)
            os.symlink(mount["source"], inner)
        self.ran.append({"argv": argv, "mounts": mounts})
        environment = dict(argv[index + 1].split("=", 1) for index, word in enumerate(argv) if word == "--env")
        words = [word.replace("/scan/", f"{folder}/") for word in argv[argv.index("scanner:1") + 1:]]
        environment = {key: value.replace("/scan/", f"{folder}/") for key, value in environment.items()}
        return cli.run_command(["env", "-i", *[f"{key}={value}" for key, value in environment.items()], sys.executable, str(STAND_IN), self.tool, *words], 60)

    def must(self, argv):
        self.commands.append(argv)
        return "\n".join(sorted(self.known))

    def pull(self, reference, platform, where):
        self.pulled.append((reference, platform, where))


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "WORK_ROOT", str(tmp_path / "work"))
    monkeypatch.setattr(host.Workspace.__init__, "__defaults__", (str(tmp_path / "work"),))
    (tmp_path / "work").mkdir()


@pytest.fixture
def database(tmp_path):
    root = tmp_path / "database"
    (root / "db").mkdir(parents=True)
    (root / "db/trivy.db").write_text(json.dumps(KNOWN))
    (root / "db/metadata.json").write_text(json.dumps({"Version": 2, "UpdatedAt": "2026-11-19T06:00:00Z", "NextUpdate": "2026-11-20T06:00:00Z"}))
    (root / "6").mkdir()
    (root / "6/vulnerability.db").write_text(json.dumps(KNOWN))
    (root / "6/import.json").write_text(json.dumps({"digest": "xxh64:0123456789abcdef", "client_version": "v6.0.2"}))
    return root


def program(tmp_path, tool, script=None):
    """The stand-in as a program on the host."""
    path = tmp_path / tool
    path.write_text(f"#!/bin/sh\n{script or f'exec {sys.executable} {STAND_IN} {tool}'} \"$@\"\n")
    path.chmod(0o755)
    return str(path)


def ask(tmp_path, database, docker, tool="trivy", images=(APP,), look_only=False, script=None, **change):
    scanner = dict({"tool": tool, "image": "", "binary": program(tmp_path, tool, script), "database": str(database), "severity": "high"}, **change)
    given = {"controller": "me", "token": "1", "active": ["1"], "scanner": scanner, "images": list(images), "look_only": look_only, "timeout_s": 60}
    docker.tool = tool
    return scan.Scanner(docker, given, records=scan.Records(str(tmp_path / "records"))).scan()


def saved(docker):
    return [argv[3] for argv in docker.commands if argv[0] == "save"]


@pytest.mark.parametrize("tool", ["trivy", "grype"])
def test_a_scan_by_a_program_on_the_host_and_none_the_second_time(tmp_path, database, tool):
    docker = Docker({APP["id"]})
    first = ask(tmp_path, database, docker, tool)
    assert [(finding["id"], finding["fixed"], finding["aliases"]) for finding in first["scans"][0]["findings"]] == [("CVE-2026-1", "2.5.0-2", ["DSA-1"])]
    assert first["scans"][0]["counts"] == {"high": 1, "medium": 1, "low": 1} and first["scanned"] == ["demo/app"] and first["waiting"] == []
    assert first["database"] == "2026-11-19T06:00:00Z" and saved(docker) == [APP["id"]]
    assert list((tmp_path / "work").iterdir()) == []
    docker = Docker()
    second = ask(tmp_path, database, docker, tool)
    assert second == dict(first, scanned=[]) and docker.commands == []


@pytest.mark.parametrize("tool", ["trivy", "grype"])
def test_a_scan_in_a_container_has_nothing_but_its_folder_and_the_database(tmp_path, database, tool):
    docker = Docker({APP["id"], "scanner:1"})
    assert ask(tmp_path, database, docker, tool, image="scanner:1", binary="")["scans"][0]["findings"][0]["id"] == "CVE-2026-1"
    run = docker.ran[0]
    text = " ".join(run["argv"])
    for words in ("--rm", "--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", f"--user {os.stat(database).st_uid}:"):
        assert words in text
    assert "docker.sock" not in text and len(run["mounts"]) == 2
    assert run["mounts"][0]["target"] == "/scan" and run["mounts"][1]["source"] == str(database / ("db" if tool == "trivy" else "6"))
    assert ("readonly" in run["mounts"][1]) is (tool == "grype")
    assert docker.pulled == [] and docker.commands[-2][:2] == ["rm", "--force"]


def test_the_scanners_image_is_fetched_when_it_is_not_there(tmp_path, database):
    docker = Docker({APP["id"]})
    ask(tmp_path, database, docker, image="scanner:1", binary="")
    assert docker.pulled == [("scanner:1", None, "images_scanner.image")]


def test_a_newer_database_another_scanner_and_another_image_are_scanned_again(tmp_path, database):
    docker = Docker({APP["id"], "scanner:1"})
    ask(tmp_path, database, docker)
    (database / "db/metadata.json").write_text(json.dumps({"Version": 2, "UpdatedAt": "2026-11-20T06:00:00Z"}))
    assert ask(tmp_path, database, docker)["database"] == "2026-11-20T06:00:00Z"
    ask(tmp_path, database, docker, image="scanner:1", binary="")
    ask(tmp_path, database, docker, image="scanner:1", binary="", images=[dict(APP, id="sha256:" + "b" * 64)])
    assert saved(docker) == [APP["id"]] * 3 + ["sha256:" + "b" * 64]


def test_another_severity_needs_no_scan(tmp_path, database):
    ask(tmp_path, database, Docker({APP["id"]}))
    docker = Docker()
    found = ask(tmp_path, database, docker, severity="low")["scans"][0]["findings"]
    assert [finding["id"] for finding in found] == ["CVE-2026-1", "CVE-2026-4", "CVE-2026-2"] and docker.commands == []


def test_check_mode_only_looks(tmp_path, database):
    docker = Docker({APP["id"]})
    result = ask(tmp_path, database, docker, look_only=True)
    assert (result["waiting"], result["scans"], docker.commands) == (["demo/app"], [], [])
    ask(tmp_path, database, docker)
    assert ask(tmp_path, database, docker, look_only=True)["waiting"] == []


def test_records_are_private_and_go_with_their_image(tmp_path, database):
    ask(tmp_path, database, Docker({APP["id"]}))
    kept = tmp_path / "records" / f"trivy-{'a' * 64}.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    (tmp_path / "records" / f"trivy-{'a' * 64}.json.77").write_text("{")
    ask(tmp_path, database, Docker({"sha256:" + "b" * 64}), images=[dict(APP, id="sha256:" + "b" * 64)])
    assert [path.name for path in (tmp_path / "records").iterdir()] == [f"trivy-{'b' * 64}.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', '{"findings": []}'])
def test_a_record_that_is_not_whole_is_made_again(tmp_path, database, text):
    ask(tmp_path, database, Docker({APP["id"]}))
    (tmp_path / "records" / f"trivy-{'a' * 64}.json").write_text(text)
    assert ask(tmp_path, database, Docker({APP["id"]}))["scanned"] == ["demo/app"]


def test_nobodys_own_configuration_leaves_a_finding_out(tmp_path, database, monkeypatch):
    (tmp_path / ".trivyignore").write_text("CVE-2026-1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIVY_IGNOREFILE", str(tmp_path / ".trivyignore"))
    assert ask(tmp_path, database, Docker({APP["id"]}))["scans"][0]["findings"][0]["id"] == "CVE-2026-1"
    script = "env > %s/environment; exec %s %s trivy" % (tmp_path, sys.executable, STAND_IN)
    ask(tmp_path, database, Docker({APP["id"]}), images=[dict(APP, id="sha256:" + "b" * 64)], script=script)
    names = set(re.findall(r"(?m)^([A-Z_]+)=", (tmp_path / "environment").read_text()))
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "TMPDIR", "TRIVY_SKIP_VERSION_CHECK", "TRIVY_DISABLE_TELEMETRY",
                                                       "TRIVY_SKIP_VEX_REPO_UPDATE"}


def test_an_old_database_of_grype_is_used(tmp_path, database):
    (database / "6/vulnerability.db").write_text(json.dumps(dict(KNOWN, built="2020-01-01T00:00:00Z")))
    assert ask(tmp_path, database, Docker({APP["id"]}), "grype")["database"] == "2020-01-01T00:00:00Z"


def refusal(*arguments, **change):
    with pytest.raises(ImagesError) as caught:
        ask(*arguments, **change)
    return str(caught.value)


@pytest.mark.parametrize("tool, gone, words", [
    ("trivy", ["db/metadata.json"], "metadata.json: No such file"),
    ("trivy", ["db/trivy.db"], "trivy.db: No such file"),
    ("trivy", ["db/trivy.db", "db/metadata.json", "db"], "without a database (6)"),
    ("grype", ["6/import.json"], "import.json: No such file"),
    ("grype", ["6/vulnerability.db", "6/import.json", "6"], "without a database (db)"),
])
def test_a_database_that_is_not_there(tmp_path, database, tool, gone, words):
    for name in gone:
        (database / name).rmdir() if (database / name).is_dir() else (database / name).unlink()
    text = refusal(tmp_path, database, Docker({APP["id"]}), tool=tool)
    assert text.startswith("images_scanner.database: found ") and words in text and text.endswith("set: images_scanner.database")


def test_a_database_folder_that_is_not_there_or_no_database(tmp_path, database):
    assert "No such file or directory on the host" in refusal(tmp_path, tmp_path / "nowhere", Docker())
    (database / "db/metadata.json").write_text("[]")
    assert "not the scanner's metadata" in refusal(tmp_path, database, Docker())


@pytest.mark.parametrize("script, words", [
    ("echo 'FATAL image scan error: out of paint' >&2; exit 3; true", "demo/app: found .* ended with 3: FATAL image scan error: out of paint; "),
    ("echo nothing; true", "demo/app: found a report of .* that is not understood: no JSON.*needed: Trivy's JSON report, schema version 2"),
    ("echo '{\"SchemaVersion\": 3}'; true", "SchemaVersion 3, needed 2"),
])
def test_a_scan_that_fails_is_no_clean_image(tmp_path, database, script, words):
    assert re.search(words, refusal(tmp_path, database, Docker({APP["id"]}), script=script).replace("\n", " "))
    assert list((tmp_path / "work").iterdir()) == [] and not (tmp_path / "records").exists()


def test_a_program_that_is_not_there(tmp_path, database):
    assert "images_scanner.binary: found no program trivy-of-nobody" in refusal(tmp_path, database, Docker({APP["id"]}), binary="trivy-of-nobody")


def test_no_room_for_the_archive(tmp_path, database):
    text = refusal(tmp_path, database, Docker({APP["id"]}), images=[dict(APP, size_bytes=10**18)])
    assert "MB for the scan of dockyard/demo-app:1" in text and "set: free space on the host" in text


def test_a_scan_that_takes_too_long_leaves_no_container(tmp_path, database):
    docker = Docker({APP["id"], "scanner:1"})
    docker._container = lambda argv: cli.Done(None, "", "")
    assert "did not end within 60 s" in refusal(tmp_path, database, docker, image="scanner:1", binary="")
    assert docker.commands[-1] == ["rm", "--force", "dockyard-scan-1"]


def test_an_image_that_cannot_be_saved(tmp_path, database):
    docker = Docker({APP["id"]})
    docker.call = lambda argv, timeout_s=0: cli.Done(1, "", "Error: no such image")
    assert "docker save failed: Error: no such image" in refusal(tmp_path, database, docker)


def test_the_owner_of_the_database_gets_its_own_folders_and_nothing_by_a_link(tmp_path, database, monkeypatch):
    """As root with a database of another uid: the workspace stays root's, so that nobody puts a link in the place of what is given away; none is followed."""
    given = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(scan.Scanner, "_owner", staticmethod(lambda unused: (1234, 1234)))
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, follow_symlinks=True: given.setdefault(os.path.basename(path), []).append((uid, follow_symlinks)))

    class Looking(Docker):
        """Looks at the workspace when the archive is there."""

        def call(self, argv, timeout_s=0):
            done = super().call(argv, timeout_s)
            if argv[0] == "save":
                folder = os.path.dirname(argv[2])
                assert os.stat(folder).st_mode & 0o777 == 0o711, "only who makes it may write into it"
                assert {name: os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in ("cache", "home", "tmp")} == dict.fromkeys(
                    ("cache", "home", "tmp"), 0o700)
            return done
    ask(tmp_path, database, Looking())
    assert given.pop("image.tar") == [(1234, False)]
    assert {name: given[name] for name in ("cache", "home", "tmp")} == dict.fromkeys(("cache", "home", "tmp"), [(1234, False)])
    assert [uid for name in given if name not in ("cache", "home", "tmp") for uid, unused in given[name] if uid == 1234] == []
