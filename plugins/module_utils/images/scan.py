# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scanner on the host: it reads an archive of an image, without network; what it found is kept for each image and database."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from typing import Callable, NamedTuple, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli, reports
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.images.gate import SETTING
from ansible_collections.dockyard.fleet.plugins.module_utils.images.host import Workspace, free_bytes

FORMAT = 1
_ROOT = "/var/lib/dockyard/scans"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
_SPARE_BYTES = 256 * 1024 * 1024
# The archive itself, and for Grype the layers that it unpacks beside it.
_ROOM = {"trivy": 1, "grype": 2}
_INSIDE = "/scan"
_SWITCHES = {
    # As environment where a switch is newer than the oldest version that we know: a flag would be refused by that, a variable is not.
    "trivy": {"TRIVY_SKIP_VERSION_CHECK": "true", "TRIVY_DISABLE_TELEMETRY": "true", "TRIVY_SKIP_VEX_REPO_UPDATE": "true"},
    "grype": {"GRYPE_DB_AUTO_UPDATE": "false", "GRYPE_DB_VALIDATE_AGE": "false", "GRYPE_CHECK_FOR_APP_UPDATE": "false"},
}


class Database(NamedTuple):
    """``identity`` changes with the database; ``date`` when it was made (null where only the scanner can tell); ``folders``: name to path."""

    identity: str
    date: Optional[str]
    folders: dict


def read_database(tool: str, path: str) -> Database:
    """What is in the scanner's database folder. Raises ImagesError."""
    needed = {"trivy": "Trivy's cache folder, with db/trivy.db and db/metadata.json in it (trivy image --download-db-only --cache-dir ...)",
              "grype": "Grype's database folder, with 6/vulnerability.db and 6/import.json in it, or 5/metadata.json (grype db import ...)"}[tool]
    try:
        names = os.listdir(path)
    except OSError as problem:
        raise ImagesError(f"{SETTING}.database", f"{path}: {problem.strerror} on the host", needed, f"{SETTING}.database") from problem
    if tool == "trivy":
        wanted = {"db": ("trivy.db", "metadata.json"), "java-db": ("trivy-java.db", "metadata.json")}
    else:
        wanted = {name: ("vulnerability.db", "import.json" if int(name) > 5 else "metadata.json") for name in names if name.isdigit()}
    parts = {name: files for name, files in wanted.items() if name in names}
    known, date = [], None
    for name in sorted(parts, key=lambda text: (len(text), text)):
        database, metadata = (os.path.join(path, name, file) for file in parts[name])
        try:
            with open(metadata, encoding="utf-8") as stream:
                text = stream.read()
            told = json.loads(text)
            known.append([name, text, os.path.getsize(database)])
            if name != "java-db":
                date = told.get("UpdatedAt") or told.get("built")
        except (OSError, ValueError, AttributeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "not the scanner's metadata"
            raise ImagesError(f"{SETTING}.database", f"{getattr(problem, 'filename', None) or metadata}: {reason}", needed, f"{SETTING}.database") from problem
    if not [entry for entry in known if entry[0] != "java-db"]:
        raise ImagesError(f"{SETTING}.database", f"{path} without a database ({', '.join(sorted(names)[:5]) or 'empty'})", needed, f"{SETTING}.database")
    identity = hashlib.sha256(json.dumps([tool, known]).encode()).hexdigest()
    return Database(identity, date, {entry[0]: os.path.join(path, entry[0]) for entry in known})


def tool_argv(tool: str, folder: str, timeout_s: int) -> list[str]:
    """The scanner's own words. ``folder`` is where it finds ``image.tar`` and ``cache``."""
    if tool == "trivy":
        return ["image", "--input", f"{folder}/image.tar", "--format", "json", "--scanners", "vuln", "--cache-dir", f"{folder}/cache", "--skip-db-update",
                "--skip-java-db-update", "--offline-scan", "--no-progress", "--quiet", "--timeout", f"{timeout_s}s"]
    return [f"docker-archive:{folder}/image.tar", "--output", "json", "--quiet"]


def tool_environment(tool: str, folder: str) -> dict:
    """All that the scanner gets: a user's own configuration could leave findings out."""
    found = {"HOME": f"{folder}/home", "TMPDIR": f"{folder}/tmp", **_SWITCHES[tool]}
    if tool == "grype":
        found["GRYPE_DB_CACHE_DIR"] = f"{folder}/cache"
    return found


def binary_argv(program: str, tool: str, folder: str, timeout_s: int) -> list[str]:
    """The command for a program on the host: nothing of our environment, and a folder without configuration files."""
    environment = [f"{key}={value}" for key, value in sorted({"PATH": _PATH, **tool_environment(tool, folder)}.items())]
    return ["env", "-i", *environment, "/bin/sh", "-c", 'cd "$0" && exec "$@"', f"{folder}/home", program, *tool_argv(tool, folder, timeout_s)]


def container_argv(image: str, tool: str, folder: str, folders: dict, name: str, owner: str, timeout_s: int) -> list[str]:
    """The docker command for a scanner in a container: no network, no capability, nothing of the host but this folder and the database.

    :arg folders: dict, Database.folders.
    """
    argv = ["run", "--rm", "--name", name, "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            # What these two allow is the reading of the files below, where the host labels or maps them.
            "--security-opt", "label=disable", "--userns", "host", "--user", owner, "--workdir", f"{_INSIDE}/home",
            "--mount", f"type=bind,source={folder},target={_INSIDE}"]
    for part, path in sorted(folders.items()):
        # Trivy opens its database for writing, though it writes nothing.
        argv += ["--mount", f"type=bind,source={path},target={_INSIDE}/cache/{part}" + (",readonly" if tool == "grype" else "")]
    for key, value in sorted(tool_environment(tool, _INSIDE).items()):
        argv += ["--env", f"{key}={value}"]
    return [*argv, image, *tool_argv(tool, _INSIDE, timeout_s)]


class Records:
    """What was found before: one file for each image and scanner, readable for its owner only."""

    def __init__(self, root: Optional[str] = None) -> None:
        self._root = root or (_ROOT if os.geteuid() == 0 else os.path.join(os.path.expanduser("~"), ".cache", "dockyard", "scans"))

    def _path(self, tool: str, image: str) -> str:
        return os.path.join(self._root, f"{tool}-{image.rpartition(':')[2]}.json")

    def load(self, tool: str, image: str, scanner: str, database: str) -> Optional[dict]:
        """The record of this image, if it was made by this scanner with this database."""
        try:
            with open(self._path(tool, image), encoding="utf-8") as stream:
                record = json.load(stream)
            wanted = {"format": FORMAT, "image": image, "scanner": scanner, "database": database}
            return record if {key: record.get(key) for key in wanted} == wanted and isinstance(record["findings"], list) else None
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def save(self, tool: str, record: dict) -> None:
        """Keep a record."""
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        path = self._path(tool, record["image"])
        beside = f"{path}.{os.getpid()}"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(record, stream)
        os.replace(beside, path)

    def forget(self, images: set) -> None:
        """Remove the records of images that are gone, and what a killed run left."""
        there = {image.rpartition(":")[2] for image in images}
        for name in os.listdir(self._root):
            if name.partition("-")[2].partition(".")[0] not in there or not name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._root, name))


class Scanner:
    """One call's scans.

    ``request``: what Workspace needs, and ``scanner`` (gate.read_settings), ``images`` (each ``{where, id, reference, size_bytes}``), ``look_only``,
    ``timeout_s``.
    """

    def __init__(self, docker: cli.Docker, request: dict, reporter=None, run: Callable = cli.run_command, records: Optional[Records] = None) -> None:
        self._docker, self._request, self._reporter, self._run = docker, request, reporter, run
        self._settings, self._records = request["scanner"], records or Records()
        self._tool = self._settings["tool"]
        self._name = self._settings["image"] or self._settings["binary"]

    def scan(self) -> dict:
        """``{database, scans, waiting, scanned}``; the scans have the findings of the wanted severity or above. Raises ImagesError."""
        database = read_database(self._tool, self._settings["database"])
        found, todo = {}, []
        for image in self._request["images"]:
            record = self._records.load(self._tool, image["id"], self._name, database.identity)
            if record:
                found[image["id"]] = record
            else:
                todo.append(image)
        if todo and not self._request["look_only"]:
            self._all(todo, database, found)
        least = reports.rank(self._settings["severity"])
        scans = [{"where": image["where"], "date": found[image["id"]]["date"], "notes": found[image["id"]]["notes"],
                  "counts": reports.counts(found[image["id"]]["findings"]),
                  "findings": [finding for finding in found[image["id"]]["findings"] if reports.rank(finding["severity"]) >= least]}
                 for image in self._request["images"] if image["id"] in found]
        return {"database": database.date or next((scan["date"] for scan in scans), None), "scans": scans,
                "scanned": [image["where"] for image in todo if image["id"] in found],
                "waiting": [image["where"] for image in todo if image["id"] not in found]}

    def _all(self, todo: list, database: Database, found: dict) -> None:
        program = self._bring()
        for image in todo:
            if self._reporter:
                self._reporter.add(f"scan {image['reference']}")
        for image in todo:
            workspace = Workspace(self._request)
            workspace.create()
            try:
                found[image["id"]] = self._one(image, database, workspace.path, program)
            finally:
                workspace.remove()
            if self._reporter:
                self._reporter.done(f"scan {image['reference']}")
        self._records.forget(set(self._docker.must(cli.list_argv()).split()))

    def _bring(self) -> str:
        """The scanner's program, or its image, fetched if it is not there."""
        if self._settings["binary"]:
            program = shutil.which(self._name, path=_PATH)
            if not program:
                raise ImagesError(f"{SETTING}.binary", f"no program {self._name} on the host", f"{self._tool}, in one of {_PATH} or by its absolute path",
                                  f"{SETTING}.binary, or {SETTING}.image")
            return program
        if self._docker.call(cli.inspect_argv([self._name])).code != 0:
            self._docker.pull(self._name, None, f"{SETTING}.image")
        return self._name

    def _one(self, image: dict, database: Database, folder: str, program: str) -> dict:
        """Scan one image; returns its record, which is kept."""
        need, free = (image.get("size_bytes") or 0) * _ROOM[self._tool] + _SPARE_BYTES, free_bytes(folder)
        if need > free:
            raise ImagesError(f"{image['where']}, disk of {os.path.dirname(folder)}", f"{free // 1000000} MB free",
                              f"{need // 1000000} MB for the scan of {image['reference']}", "free space on the host")
        owner = self._owner(database)
        # The scanner's own are below; here it may only pass, or somebody with its uid puts a link in the place of what is made and given away next.
        os.chown(folder, os.geteuid(), -1)
        os.chmod(folder, 0o711)
        for name in ("cache", "home", "tmp"):
            os.mkdir(os.path.join(folder, name), 0o700)
            os.chown(os.path.join(folder, name), *owner, follow_symlinks=False)
        done = self._docker.call(["save", "--output", f"{folder}/image.tar", image["id"]], cli.PULL_TIMEOUT_S)
        if done.code != 0:
            raise ImagesError(image["where"], f"docker save failed: {cli.last_line(done.err) or 'no answer in time'}", "an archive of the image to scan",
                              f"free space in {os.path.dirname(folder)} on the host")
        os.chown(f"{folder}/image.tar", *owner, follow_symlinks=False)
        try:
            report = reports.parse(self._tool, self._report(image, database, folder, program))
        except ValueError as problem:
            raise ImagesError(image["where"], f"a report of {self._name} that is not understood: {problem}",
                              {"trivy": "Trivy's JSON report, schema version 2", "grype": "Grype's JSON report"}[self._tool],
                              f"{SETTING}.tool, {SETTING}.image or {SETTING}.binary") from problem
        record = {"format": FORMAT, "image": image["id"], "scanner": self._name, "database": database.identity, "date": report.date or database.date,
                  "findings": report.findings, "notes": report.notes}
        self._records.save(self._tool, record)
        return record

    @staticmethod
    def _owner(database: Database) -> tuple[int, int]:
        """Whom the scanner in a container runs as: without capabilities even root reads its own files only, so the database's owner."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        status = os.stat(next(path for name, path in database.folders.items() if name != "java-db"))
        return status.st_uid, status.st_gid

    def _report(self, image: dict, database: Database, folder: str, program: str) -> str:
        timeout_s = self._request["timeout_s"]
        if self._settings["binary"]:
            for name, path in database.folders.items():
                os.symlink(path, os.path.join(folder, "cache", name))
            done = self._run(binary_argv(program, self._tool, folder, timeout_s), timeout_s + 30)
        else:
            for name in database.folders:
                # Made here, or Docker makes it as root.
                os.mkdir(os.path.join(folder, "cache", name), 0o755)
            container = f"dockyard-scan-{self._request['token']}"
            try:
                owner = "%d:%d" % self._owner(database)
                done = self._docker.call(container_argv(program, self._tool, folder, database.folders, container, owner, timeout_s), timeout_s + 30)
            finally:
                # At its deadline only the command ends, not the container.
                self._docker.call(["rm", "--force", container])
        if done.code is None:
            raise ImagesError(image["where"], f"a scan by {self._name} that did not end within {timeout_s} s", "a faster host or more time",
                              "images_build_timeout_seconds")
        if done.code != 0:
            said = cli.last_line(done.err) or cli.last_line(done.out)
            raise ImagesError(image["where"], f"{self._name} ended with {done.code}: {said}", "a scan that ends well",
                              f"{SETTING}: the scanner and its database have to fit", "\n".join(done.err.splitlines()[-cli.TAIL_LINES:]))
        return done.out
