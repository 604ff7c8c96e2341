# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the bed itself: a slim Debian of each release, and the system images of the test hosts on top of it.

Every image is tagged with a hash over all that goes into it (recipe folder, base, mirror), so nothing is built twice.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import aptsources, docker, recipe, settings, shell

KEPT_IMAGES = 3  # of each recipe
KEPT_TARBALLS = 4  # of slim file systems; a lost Docker state is rebuilt from them without a bootstrap


@dataclass(frozen=True)
class Image:
    """A built image: its local tag, and whether this call had to build it."""

    tag: str
    built: bool
    seconds: float = 0.0


def mirrors() -> aptsources.Mirrors:
    found = aptsources.read_machine()
    if found is None:
        raise shell.BedError("this machine's APT configuration names no Debian mirror (main and security); "
                             "set BED_DEBIAN_MIRROR and BED_DEBIAN_SECURITY_MIRROR to the URIs to build from")
    return found


def slim(release: str) -> Image:
    """debian:<release>-slim as mmdebstrap makes it: a minimal base without documentation and package lists."""
    source, folder = mirrors(), settings.IMAGES / "slim"
    architecture = shell.run(["dpkg", "--print-architecture"]).stdout.strip()
    lines, sources = aptsources.source_lines(source, release), aptsources.deb822(source, release)
    identity = recipe.digest(architecture, bootstrap_options(release, "FOLDER", "SOURCES"), lines, sources, recipe.tree(folder))
    tag = f"{settings.REPOSITORY}/debian-{release}:{identity}"

    def make():
        kept = settings.cache() / "rootfs" / f"{release}-{architecture}-{identity}.tar"
        if not kept.exists():
            _bootstrap(release, lines, sources, folder, kept)
        docker.docker("import", "--change", 'CMD ["bash"]', "--change", f"LABEL {settings.LABEL}=1", kept, tag)

    return once(tag, make)


def bootstrap_options(release: str, folder, sources) -> list:
    """mmdebstrap's options for a slim file system; `sources` is the file that becomes its debian.sources."""
    options = ["--variant=minbase", "--include=tzdata", "--aptopt=APT::Install-Recommends false", f"--dpkgopt={folder}/dpkg-slim.cfg"]
    if release == "bookworm":
        # Born with merged /usr; else init-system-helpers pulls in usrmerge, and that all of Perl (45 MB).
        options += ["--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    return options + [
        # The image keeps the slim rules and gets the machine's mirror as deb822, as Debian's own images have it.
        '--customize-hook=rm "$1"/etc/apt/sources.list "$1"/etc/apt/apt.conf.d/99mmdebstrap; mkdir -p "$1"/etc/apt/sources.list.d',
        f"--customize-hook=upload {sources} /etc/apt/sources.list.d/debian.sources",
        f"--customize-hook=upload {folder}/docker-apt.conf /etc/apt/apt.conf.d/docker-apt.conf",
        f"--customize-hook=upload {folder}/policy-rc.d /usr/sbin/policy-rc.d",
        '--customize-hook=chmod 0755 "$1"/usr/sbin/policy-rc.d;'
        ' chmod 0644 "$1"/etc/apt/sources.list.d/debian.sources "$1"/etc/apt/apt.conf.d/docker-apt.conf;'
        # `apt-get clean` does not know of these any more, once docker-apt.conf has turned them off.
        ' rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/apt/*.bin',
    ]


def _bootstrap(release, lines, sources, folder: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deb822 = kept.with_suffix(".sources")
    deb822.write_text(sources)
    beside = kept.with_name(f".{os.getpid()}-{kept.name}")
    try:
        argv = ["mmdebstrap", *bootstrap_options(release, folder, deb822), release, str(beside), *lines]
        shell.run_logged(shell.as_root(argv), f"mmdebstrap-{release}")
        os.replace(beside, kept)
    finally:
        deb822.unlink()
        beside.unlink(missing_ok=True)
    for old in sorted(kept.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime)[:-KEPT_TARBALLS]:
        old.unlink()


def layer(name: str, base: str, folder: Path, args=None) -> Image:
    """An image built from the recipe in `folder` on top of the image `base`."""
    identity = recipe.digest(name, base, sorted((args or {}).items()), recipe.tree(folder))
    tag = f"{settings.REPOSITORY}/{name}:{identity}"
    return once(tag, lambda: docker.build(tag, folder, base=base, args=args, label=identity))


def host(release: str, shape: str, with_docker: bool) -> Image:
    """The system image of a test host."""
    started = time.monotonic()
    steps = [slim(release)]
    steps.append(layer(f"host-{release}", steps[-1].tag, settings.IMAGES / "host"))
    if with_docker:
        packages = {"trixie": "docker.io docker-cli docker-compose docker-buildx"}.get(release, "docker.io")
        steps.append(layer(f"host-docker-{release}", steps[-1].tag, settings.IMAGES / "host-docker", {"PACKAGES": packages}))
    suffix = "-docker" if with_docker else ""
    steps.append(layer(f"host-{shape}{suffix}-{release}", steps[-1].tag, settings.IMAGES / f"host-{shape}"))
    return Image(steps[-1].tag, any(step.built for step in steps), time.monotonic() - started)


def once(tag: str, make) -> Image:
    if docker.inspect("image", tag) is not None:
        return Image(tag, False)
    with shell.locked(f"image-{tag.split(':')[0]}"):
        if docker.inspect("image", tag) is not None:
            return Image(tag, False)
        started = time.monotonic()
        make()
        _forget_old(tag.split(":")[0])
        seconds = time.monotonic() - started
        shell.say(f"built {tag} in {seconds:.0f} s")
        return Image(tag, True, seconds)


def _forget_old(repository: str) -> None:
    """Keep the newest few of a repository; Docker itself refuses to remove what a container or another image uses."""
    tags = docker.docker("images", "--format", "{{.Repository}}:{{.Tag}}", repository).stdout.split()
    for old in tags[KEPT_IMAGES:]:  # newest first
        docker.docker("rmi", old, check=False)
