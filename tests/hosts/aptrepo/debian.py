# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages of any release or architecture from the machine's own mirror."""
from __future__ import annotations

import os
import pathlib
import re
import shutil

from bedlib import aptsources, engine, shell


def mirrors() -> aptsources.Mirrors:
    """The mirrors that this machine's APT uses."""
    found = aptsources.read_machine()
    if found is None:
        raise shell.BedError("/etc/apt: no Debian mirror with its security archive found; add both, or set BED_DEBIAN_MIRROR and BED_DEBIAN_SECURITY_MIRROR")
    return found


def apt_options() -> dict[str, str]:
    """The machine's APT settings that decide whether its mirror can be used at all (proxy, validity of an old snapshot)."""
    wanted = re.compile(r"^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) ", re.IGNORECASE)
    out = shell.run(["apt-config", "dump"]).stdout
    options = {}
    for line in out.splitlines():
        if wanted.match(line):
            key, value = line.rstrip(";").split(" ", 1)
            options[key] = value.strip('"')
    return options


def need(programs: dict[str, str]) -> None:
    """Install the Debian packages whose programs are missing: {program: package}."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    engine.install(sorted({package for program, package in programs.items() if shutil.which(program, path=path) is None}))


class Fetcher:
    """A private APT state in a folder: downloads a release's packages without touching the machine's own lists."""

    def __init__(self, folder: pathlib.Path, release: str, architecture: str) -> None:
        for name in ("parts", "lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text("\n".join(aptsources.source_lines(mirrors(), release)) + "\n", encoding="utf-8")
        (folder / "status").touch()
        options = {
            "Dir::Etc::sourcelist": str(folder / "sources.list"), "Dir::Etc::sourceparts": str(folder / "parts"),
            "Dir::State::lists": str(folder / "lists"), "Dir::State::status": str(folder / "status"),
            "Dir::Cache": str(folder / "cache"), "APT::Architecture": architecture, "APT::Architectures": architecture,
            "APT::Sandbox::User": "root", "Acquire::Languages": "none",
        }
        self.options = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        self._run(["update"], folder)

    def _run(self, words: list[str], folder: pathlib.Path) -> None:
        shell.run(["env", "-C", str(folder), "apt-get", "-q", *self.options, *words])

    def download(self, names: list[str], folder: pathlib.Path) -> dict[str, pathlib.Path]:
        """Download the newest of each package, security and updates suites included: {name: path}."""
        found = {}
        for name in names:
            target = folder / name
            target.mkdir(parents=True, exist_ok=True)
            self._run(["download", name], target)
            found[name] = next(target.glob("*.deb"))
        return found
