# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this machine takes its Debian packages from, so that everything the bed builds uses the same mirror.

Pure functions over the text of APT's source files (deb822 and one-line), plus one function that reads them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Source:
    uri: str
    suite: str
    components: tuple


@dataclass(frozen=True)
class Mirrors:
    """`main` has the releases and their -updates, `security` their -security suites."""

    main: str
    security: str


def parse_deb822(text: str) -> list:
    """Enabled binary sources of a .sources file, in order."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields, last = {}, None
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                if last:
                    fields[last] += " " + line.strip()
                continue
            key, _colon, value = line.partition(":")
            last = key.strip().lower()
            fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        components = tuple(fields.get("components", "").split())
        found += [Source(uri.rstrip("/"), suite, components)
                  for uri in fields.get("uris", "").split() for suite in fields.get("suites", "").split()]
    return found


def parse_one_line(text: str) -> list:
    """Binary sources of a .list file, in order."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            found.append(Source(match[1].rstrip("/"), match[2], tuple(match[3].split())))
    return found


def choose_mirrors(sources) -> Mirrors | None:
    """The first mirror of a Debian release, and the first of its security suite; None when there is none.

    A mirror of main alone serves nothing here: hosts must get security updates, so both are needed. Debian
    codenames are told from other distributions' by the `main` component and the shape of the security suite.
    """
    main = next((s.uri for s in sources if "main" in s.components
                 and (s.suite in _DEBIAN_SUITES or s.suite.removesuffix("-updates") in _DEBIAN_SUITES)), None)
    security = next((s.uri for s in sources if "main" in s.components
                     and s.suite.replace("/updates", "-security").removesuffix("-security") in _DEBIAN_SUITES
                     and s.suite.endswith(("-security", "/updates"))), None)
    return Mirrors(main, security) if main and security else None


_DEBIAN_SUITES = frozenset("stable oldstable oldoldstable testing unstable sid buster bullseye bookworm trixie forky duke".split())


def source_lines(mirrors: Mirrors, release: str) -> list:
    """One-line sources with the machine's own keyring: what mmdebstrap takes."""
    signed = f"[signed-by={KEYRING}]"
    return [
        f"deb {signed} {mirrors.main} {release} main",
        f"deb {signed} {mirrors.main} {release}-updates main",
        f"deb {signed} {mirrors.security} {release}-security main",
    ]


def deb822(mirrors: Mirrors, release: str) -> str:
    """The debian.sources file of an image."""
    stanza = "Types: deb\nURIs: {0}\nSuites: {1}\nComponents: main\nSigned-By: {2}\n"
    return "\n".join((
        stanza.format(mirrors.main, f"{release} {release}-updates", KEYRING),
        stanza.format(mirrors.security, f"{release}-security", KEYRING),
    ))


def read_machine(root: Path = Path("/etc/apt")) -> Mirrors | None:
    """This machine's mirrors; BED_DEBIAN_MIRROR and BED_DEBIAN_SECURITY_MIRROR go before its APT configuration."""
    own = os.environ.get("BED_DEBIAN_MIRROR"), os.environ.get("BED_DEBIAN_SECURITY_MIRROR")
    if all(own):
        return Mirrors(*(uri.rstrip("/") for uri in own))
    files = [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]
    sources = []
    for path in files:
        if path.suffix == ".sources" and path.is_file():
            sources += parse_deb822(path.read_text(errors="replace"))
        elif path.suffix == ".list" and path.is_file():
            sources += parse_one_line(path.read_text(errors="replace"))
    return choose_mirrors(sources)
