# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""arm64 variants of the base images, in the bed's registry under the same names as the amd64 ones.

Made on this machine by emulation, once for each content; a manifest list then gives every host its own.
"""
from __future__ import annotations

import os
import pathlib
import tempfile
import time

from bedlib import aptsources, base_images, docker, engine, identity, recipe, registry, settings, shell
from aptrepo import debian
from pi import emulation

ARCHITECTURE = "arm64"
PLATFORM = f"linux/{ARCHITECTURE}"


def _tag(name: str, key: str) -> str:
    return f"{settings.REPOSITORY}/{ARCHITECTURE}-{name}:{key}"


def slim(release: str) -> str:
    """debian:<release>-slim for arm64; the same options as the bed's own. Returns the local tag."""
    folder = settings.IMAGES / "slim"
    lines, sources = aptsources.source_lines(debian.mirrors(), release), aptsources.deb822(debian.mirrors(), release)
    merged = []
    if release == "bookworm":
        # Born with merged /usr; else init-system-helpers pulls in usrmerge, and that all of Perl (45 MB).
        merged = ["--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    key = recipe.digest("slim arm64 1", *merged, lines, sources, recipe.tree(folder))
    tag = _tag(f"debian-{release}", key)
    kept = settings.cache() / "rootfs" / f"{release}-{ARCHITECTURE}-{key}.tar"
    if docker.inspect("image", tag) is None:
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(prefix="bed-slim-") as name:
                work = pathlib.Path(name)
                work.chmod(0o755)
                (work / "debian.sources").write_text(sources, encoding="utf-8")
                argv = ["mmdebstrap", f"--arch={ARCHITECTURE}", "--variant=minbase", "--include=tzdata", *merged, "--aptopt=APT::Install-Recommends false",
                        f"--dpkgopt={folder / 'dpkg-slim.cfg'}",
                        '--customize-hook=rm "$1"/etc/apt/sources.list; mkdir -p "$1"/etc/apt/sources.list.d',
                        f"--customize-hook=upload {work / 'debian.sources'} /etc/apt/sources.list.d/debian.sources",
                        f"--customize-hook=copy-in {folder / 'docker-apt.conf'} /etc/apt/apt.conf.d",
                        f"--customize-hook=upload {folder / 'policy-rc.d'} /usr/sbin/policy-rc.d",
                        '--customize-hook=chmod 0755 "$1"/usr/sbin/policy-rc.d; chmod 0644 "$1"/etc/apt/sources.list.d/debian.sources'
                        ' "$1"/etc/apt/apt.conf.d/docker-apt.conf; rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/apt/apt.conf.d/99mmdebstrap'
                        # `apt-get clean` does not know of these any more, once docker-apt.conf has turned them off.
                        ' "$1"/var/cache/apt/*.bin']
                shell.run_logged(shell.as_root([*argv, release, work / "root.tar", *lines]), f"mmdebstrap-{release}-{ARCHITECTURE}")
                beside = kept.with_suffix(f".{os.getpid()}")
                shell.run(shell.as_root(["cp", work / "root.tar", beside]))
                shell.run(shell.as_root(["chown", f"{os.getuid()}:{os.getgid()}", beside]))
                beside.rename(kept)
        # `docker import --platform` of engine 20.10 writes amd64 unless it is experimental; its builder does not
        _build(tag, f"FROM scratch\nADD {kept.name} /\nCMD [\"bash\"]\n", kept.parent, key, dockerfile_only=[kept.name])
    return tag


def _build(tag: str, dockerfile: str | None, folder: pathlib.Path, key: str, base: str = "", dockerfile_only: list[str] | None = None) -> None:
    """docker build for arm64: of a recipe's folder, or of a Dockerfile's text and some files of a folder."""
    argv = ["docker", "build", "--platform", PLATFORM, "--tag", tag, *docker.labels(recipe=key)]
    if base:
        argv += ["--build-arg", f"BASE={base}"]
    with tempfile.TemporaryDirectory(prefix="bed-build-") as name:
        if dockerfile is not None:
            (pathlib.Path(name) / "Dockerfile").write_text(dockerfile, encoding="utf-8")
            for item in dockerfile_only or []:
                shell.run(["cp", "--reflink=auto", folder / item, pathlib.Path(name) / item])
            folder = pathlib.Path(name)
        shell.run_logged([*argv, folder], tag.split("/")[-1].replace(":", "_"), env={"DOCKER_BUILDKIT": "0"})


def local(image: base_images.BaseImage, official: bool) -> str:
    """The arm64 image in the machine's engine: pulled where official images are reachable, built elsewhere."""
    if official:
        tag = _tag(image.repository.replace("/", "-"), image.tag)
        shell.run_logged(["docker", "pull", "--quiet", "--platform", PLATFORM, image.name], f"pull-{ARCHITECTURE}-{image.tag}")
        docker.docker("tag", image.name, tag)
        docker.docker("rmi", "--no-prune", image.name, check=False)
        return tag
    base = slim(image.release)
    if image.recipe is None:
        return base
    folder = settings.IMAGES / image.recipe
    key = recipe.digest(image.recipe, base, recipe.tree(folder))
    tag = _tag(image.recipe, key)
    if docker.inspect("image", tag) is None:
        started = time.monotonic()
        _build(tag, None, folder, key, base)
        shell.say(f"built {tag} in {time.monotonic() - started:.0f} s")
    return tag


def publish(reference: str, image: base_images.BaseImage) -> bool:
    """Put the image beside the amd64 one into the manifest list of its name. True when the registry lacked it."""
    wanted = docker.inspect("image", reference)
    if wanted["Architecture"] != ARCHITECTURE:
        raise shell.BedError(f"{reference} is an image for {wanted['Architecture']}, {ARCHITECTURE} is needed")
    there = registry.manifest(image.repository, image.tag)
    entries = []
    if there and there["media_type"] in registry.LISTS:
        if registry.image_id(image.repository, image.tag, ARCHITECTURE) == wanted["Id"]:
            return False
        entries = [entry for entry in there["content"]["manifests"] if entry["platform"]["architecture"] != ARCHITECTURE]
    elif there:
        entries = [registry.descriptor(there, "amd64")]
    registry.push(reference, image.repository, f"{image.tag}-{ARCHITECTURE}")
    found = registry.manifest(image.repository, f"{image.tag}-{ARCHITECTURE}")
    registry.put_list(image.repository, image.tag, [*entries, registry.descriptor(found, ARCHITECTURE)])
    return True


def ensure() -> None:
    """The registry has an arm64 variant of every base image; the amd64 ones are made first."""
    started = time.monotonic()
    engine.ensure(arm64=True)
    identity.ensure()
    base_images.ensure(quiet=True)
    official = base_images.official_reachable()
    with shell.locked("pi-images"), emulation.quick():
        for image in base_images.BASE_IMAGES:
            if image.python and not official:
                print(f"{image.name:30} {ARCHITECTURE} not made: its stand-in is this machine's own Python", flush=True)
                continue
            begun = time.monotonic()
            pushed = publish(local(image, official), image)
            print(f"{image.name:30} {ARCHITECTURE} {'pushed' if pushed else 'there'} {time.monotonic() - begun:6.1f} s", flush=True)
    print(f"arm64 base images: {'official' if official else 'stand-ins'}, {time.monotonic() - started:.0f} s", flush=True)
