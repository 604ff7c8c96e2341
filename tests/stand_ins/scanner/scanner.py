# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for Trivy and Grype, where their programs and databases can't be had: `python3 scanner.py trivy|grype ARGUMENTS...`.

It has their command lines as far as an offline scan of an archive goes, refuses what they refuse (an unknown flag, a missing or an old database,
an update without network), reads a real `docker save` archive (dpkg's status and Python's metadata in its layers) and writes their JSON. What it
knows of vulnerabilities is a file of ours in the place of their database: `{"vulnerabilities": [{id, package, affected, fixed, severity, aliases}]}`.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile

GRYPE_AGE_DAYS = 5


class Refused(Exception):
    """The tool's own last words."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(message.replace("unrecognized arguments", "unknown flag"))


def layers_of(path):
    """Each layer of a `docker save` archive as an open tar file, the lowest first, and the archive's manifest."""
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        for name in manifest["Layers"]:
            data = archive.extractfile(name).read()
            yield manifest, tarfile.open(fileobj=io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data))


def contents(path):
    """``(manifest, {name: text})`` of the files that tell of packages, as the uppermost layer has them."""
    found, manifest = {}, {}
    for manifest, layer in layers_of(path):
        for member in layer:
            name = member.name.lstrip("./")
            folder, unused, last = name.rpartition("/")
            if last.startswith(".wh."):
                found.pop(f"{folder}/{last[4:]}", None)
            elif member.isfile() and (name in ("var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release") or name.endswith(".dist-info/METADATA")):
                found[name] = layer.extractfile(member).read().decode("utf-8", "replace")
    return manifest, found


def fields(text):
    """The paragraphs of a Debian control file, or of Python's metadata, as dictionaries of their one-line fields."""
    for paragraph in text.split("\n\n"):
        yield {key: value.strip() for key, colon, value in (line.partition(":") for line in paragraph.splitlines()) if colon and not key.startswith(" ")}


def packages(found):
    """``(kind, name, version, path)`` of all packages."""
    for entry in fields(found.get("var/lib/dpkg/status", "")):
        if entry.get("Package") and "installed" in entry.get("Status", "installed"):
            yield "deb", entry["Package"], entry.get("Version", ""), "var/lib/dpkg/status"
    for name in sorted(found):
        if name.endswith("METADATA"):
            entry = next(fields(found[name]), {})
            yield "python", entry.get("Name", ""), entry.get("Version", ""), name


def system(found):
    """``(family, version)`` from os-release, empty when there is none."""
    text = found.get("usr/lib/os-release") or found.get("etc/os-release") or ""
    values = {key: value.strip('"') for key, unused, value in (line.partition("=") for line in text.splitlines())}
    return values.get("ID", ""), values.get("VERSION_ID", "")


def hits(database, found):
    """``(kind, name, version, path, vulnerability)`` of each package that the database knows a vulnerability of."""
    for kind, name, version, path in packages(found):
        for entry in database["vulnerabilities"]:
            if entry["package"] == name and version in entry["affected"]:
                yield kind, name, version, path, entry


def trivy(words):
    """`trivy image`; returns its report."""
    parser = Parser(prog="trivy", add_help=False, allow_abbrev=False)
    parser.add_argument("command", choices=["image"])
    for flag in ("--input", "--format", "--scanners", "--cache-dir", "--timeout", "--severity", "--ignorefile"):
        parser.add_argument(flag)
    for flag in ("--skip-db-update", "--skip-java-db-update", "--offline-scan", "--no-progress", "--quiet"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args(words)
    cache = options.cache_dir or os.path.expanduser("~/.cache/trivy")
    if not options.skip_db_update:
        raise Refused("init error: DB error: failed to download vulnerability DB: dial tcp: lookup mirror: no such host")
    try:
        with open(os.path.join(cache, "db", "metadata.json"), encoding="utf-8") as stream:
            json.load(stream)
        # The real one opens its database for writing.
        with open(os.path.join(cache, "db", "trivy.db"), "r+", encoding="utf-8") as stream:
            database = json.load(stream)
    except FileNotFoundError as problem:
        raise Refused("init error: DB error: --skip-db-update cannot be specified on the first run") from problem
    os.makedirs(os.path.join(cache, "fanal"), exist_ok=True)
    with open(os.path.join(cache, "fanal", "fanal.db"), "w", encoding="utf-8") as stream:
        stream.write("scanned")
    manifest, found = contents(options.input)
    ignored = set()
    if os.path.exists(options.ignorefile or ".trivyignore"):
        with open(options.ignorefile or ".trivyignore", encoding="utf-8") as stream:
            ignored = set(stream.read().split())
    family, version = system(found)
    results = []
    for kind, target in (("deb", f"{options.input} ({family} {version})"), ("python", "Python")):
        if not any(entry[0] == kind for entry in packages(found)):
            continue
        result = {"Target": target, "Class": "os-pkgs" if kind == "deb" else "lang-pkgs", "Type": family if kind == "deb" else "python-pkg"}
        told = [vulnerability(entry) for entry in hits(database, found) if entry[0] == kind and entry[4]["id"] not in ignored]
        results.append(dict(result, Vulnerabilities=told) if told else result)
    report = {"SchemaVersion": 2, "CreatedAt": datetime.datetime.now(datetime.timezone.utc).isoformat(), "ArtifactName": options.input,
              "ArtifactType": "container_image", "Metadata": {"OS": {"Family": family, "Name": version}} if family else {}}
    if manifest:
        report["Metadata"]["RepoTags"] = manifest.get("RepoTags")
    return dict(report, Results=results) if results else report


def vulnerability(entry):
    """One finding as Trivy writes it."""
    unused, name, version, path, known = entry
    told = {"VulnerabilityID": known["id"], "PkgID": f"{name}@{version}", "PkgName": name, "PkgPath": path, "InstalledVersion": version,
            "Status": "fixed" if known.get("fixed") else "affected", "Severity": known["severity"].upper(), "Title": known["id"]}
    if known.get("fixed"):
        told["FixedVersion"] = known["fixed"]
    return dict(told, VendorIDs=known["aliases"]) if known.get("aliases") else told


def grype(words):
    """`grype SOURCE`; returns its report."""
    parser = Parser(prog="grype", add_help=False, allow_abbrev=False)
    parser.add_argument("source")
    parser.add_argument("-o", "--output", default="table")
    parser.add_argument("-q", "--quiet", action="store_true")
    options = parser.parse_args(words)
    scheme, unused, path = options.source.partition(":")
    if scheme != "docker-archive" or options.output != "json":
        raise Refused(f"failed to catalog: unable to load image: source {options.source!r}, output {options.output!r}")
    if os.environ.get("GRYPE_DB_AUTO_UPDATE") != "false":
        raise Refused("failed to load vulnerability db: unable to check for vulnerability database update: no such host")
    folder = os.path.join(os.environ.get("GRYPE_DB_CACHE_DIR", ""), "6")
    try:
        with open(os.path.join(folder, "vulnerability.db"), encoding="utf-8") as stream:
            database = json.load(stream)
    except FileNotFoundError as problem:
        raise Refused("failed to load vulnerability db: database does not exist") from problem
    built = datetime.datetime.fromisoformat(database["built"].replace("Z", "+00:00"))
    if os.environ.get("GRYPE_DB_VALIDATE_AGE") != "false" and (datetime.datetime.now(datetime.timezone.utc) - built).days >= GRYPE_AGE_DAYS:
        raise Refused("db could not be loaded: the vulnerability database was built too long ago (max allowed age is 5 days)")
    # The real one unpacks the image beside its own temporary files.
    with tempfile.TemporaryDirectory() as unpacked:
        shutil.copy(path, unpacked)
        found = contents(os.path.join(unpacked, os.path.basename(path)))[1]
    family, version = system(found)
    matches = []
    for kind, name, installed, place, known in hits(database, found):
        matches.append({
            "vulnerability": {"id": known["id"], "severity": known["severity"].capitalize(), "urls": [], "cvss": [],
                              "fix": {"versions": [known["fixed"]] if known.get("fixed") else [], "state": "fixed" if known.get("fixed") else "not-fixed"},
                              "advisories": []},
            "relatedVulnerabilities": [{"id": alias} for alias in known.get("aliases", [])],
            "matchDetails": [{"type": "exact-direct-match", "matcher": f"{kind}-matcher"}],
            "artifact": {"name": name, "version": installed, "type": kind, "locations": [{"path": f"/{place}"}]},
        })
    return {"matches": matches, "source": {"type": "image", "target": {"userInput": options.source}},
            "distro": {"name": family, "version": version, "idLike": []},
            "descriptor": {"name": "grype", "version": "stand-in",
                           "db": {"status": {"schemaVersion": "v6.0.2", "path": folder, "built": database["built"], "valid": True}}}}


def main():
    try:
        json.dump({"trivy": trivy, "grype": grype}[sys.argv[1]](sys.argv[2:]), sys.stdout, indent=1)
    except (Refused, OSError) as problem:
        print(f"FATAL {problem}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
