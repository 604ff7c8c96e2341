# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed APT repository in the layout of Docker's own, for tests of the path through Docker's repository.

The packages carry Docker's names, relations, versions' form and file places; what is inside them are Debian's
own binaries (README.md says which). Called by `tests/hosts/bed apt-repo [up|down|status|build]`.
"""
from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from aptrepo import debian  # noqa: E402  # pylint: disable=wrong-import-position
from bedlib import docker, settings, shell  # noqa: E402  # pylint: disable=wrong-import-position

HERE = pathlib.Path(__file__).resolve().parent
CACHE = settings.cache() / "aptrepo"
CONTAINER = f"{settings.CONTAINER_PREFIX}apt-repo"
URL = f"http://{settings.APT_ADDRESS}/linux/debian"
KEY_NAME = "Dockyard test bed (packages) <apt@dockyard.test>"
ARCHITECTURE = "amd64"
RELEASES = {"bookworm": "12", "trixie": "13"}

SYSTEMD_POSTINST = """#!/bin/sh
set -e
%(first)s
if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
    for unit in %(units)s; do
        deb-systemd-helper unmask "$unit" >/dev/null || true
        if deb-systemd-helper --quiet was-enabled "$unit"; then
            deb-systemd-helper enable "$unit" >/dev/null || true
        else
            deb-systemd-helper update-state "$unit" >/dev/null || true
        fi
    done
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke $action %(units)s >/dev/null || true
    fi
fi
"""
SYSTEMD_PRERM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop %(units)s >/dev/null || true
fi
"""
SYSTEMD_POSTRM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ] && [ -x /usr/bin/deb-systemd-helper ]; then
    deb-systemd-helper purge %(units)s >/dev/null || true
fi
"""
DOCKER_GROUP = """if [ "$1" = configure ] && ! getent group docker >/dev/null; then
    groupadd --system docker
fi"""


@dataclasses.dataclass
class Package:
    """One package of the repository: where its files come from and what its control file says.

    files: {target path: (Debian package, path in it)}; texts: {target path: contents};
    units: systemd units that the maintainer scripts enable and start.
    """

    name: str
    upstream: str
    epoch: str
    fields: dict[str, str]
    files: dict[str, tuple[str, str]]
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    units: tuple[str, ...] = ()
    before_units: str = ""

    def versions(self, codename: str) -> list[str]:
        """Package versions in Docker's form, newest first. The older one is a label: its payload is the same."""
        suffix = f"-1~debian.{RELEASES[codename]}~{codename}"
        return [f"{self.epoch}{self.upstream}{suffix}", f"{self.epoch}{older(self.upstream)}{suffix}"]


def older(version: str) -> str:
    """The version before: 26.1.5 -> 26.1.4, 26.1.0 -> 26.0.0, 26.0.0 -> 25.0.0."""
    numbers = [int(word) for word in version.split(".")]
    for index in (2, 1, 0):
        if numbers[index]:
            return ".".join(str(word) for word in [*numbers[:index], numbers[index] - 1, *[0] * (2 - index)])
    raise ValueError(f"no version before {version}")


def upstream(deb: pathlib.Path) -> str:
    """Upstream x.y.z of a .deb file: 26.1.5+dfsg1-9+deb13u1 -> 26.1.5."""
    version = subprocess.run(["dpkg-deb", "-f", str(deb), "Version"], check=True, capture_output=True, text=True).stdout.strip()
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", version)
    if not match:
        raise ValueError(f"{deb.name}: version {version} has no x.y.z in front")
    return match.group(1)


def replace_once(text: str, pattern: str, value: str, what: str) -> str:
    """re.sub that insists on exactly one hit, so that a changed unit file of Debian is noticed."""
    text, count = re.subn(pattern, value, text, flags=re.MULTILINE)
    if count != 1:
        raise RuntimeError(f"{what}: {count} lines match {pattern!r}, exactly one was expected")
    return text


def packages(debs: dict[str, pathlib.Path], trees: dict[str, pathlib.Path]) -> list[Package]:
    """The five packages of Docker's repository made of Debian's docker.io, docker-cli, containerd, runc, tini and plugins."""
    unit_dir = "usr/lib/systemd/system"
    docker_service = (trees["docker.io"] / unit_dir / "docker.service").read_text(encoding="utf-8")
    docker_service = replace_once(docker_service, r"^ExecStart=/usr/sbin/dockerd (.*) \$DOCKER_OPTS$", r"ExecStart=/usr/bin/dockerd \1", "docker.service")
    docker_service = replace_once(docker_service, r"^EnvironmentFile=.*\n", "", "docker.service")
    units = {f"{unit_dir}/docker.service": docker_service}
    plugins = "usr/libexec/docker/cli-plugins"
    return [
        Package(
            "docker-ce", upstream(debs["docker.io"]), "5:",
            {"Depends": "libc6 (>= 2.34), libseccomp2 (>= 2.3.0), libsystemd0, containerd.io (>= 1.7.20), docker-ce-cli, iptables, init-system-helpers",
             "Recommends": "apparmor, ca-certificates, git, libltdl7, pigz, procps, xz-utils",
             "Conflicts": "docker (<< 1.5~), docker-engine, docker.io", "Replaces": "docker-engine",
             "Description": "Docker: the open-source application container engine"},
            {"usr/bin/dockerd": ("docker.io", "usr/sbin/dockerd"), "usr/bin/docker-proxy": ("docker.io", "usr/sbin/docker-proxy"),
             "usr/bin/docker-init": ("tini", "usr/bin/tini-static"), f"{unit_dir}/docker.socket": ("docker.io", f"{unit_dir}/docker.socket")},
            units, units=("docker.service", "docker.socket"), before_units=DOCKER_GROUP,
        ),
        Package(
            "docker-ce-cli", upstream(debs["docker-cli"]), "5:",
            {"Depends": "libc6 (>= 2.34)", "Recommends": "docker-buildx-plugin, docker-compose-plugin",
             "Conflicts": "docker (<< 1.5~), docker-cli, docker-engine, docker.io", "Breaks": "docker-engine (<< 5:0), docker-ce (<< 5:0)",
             "Replaces": "docker-ce (<< 5:0)", "Description": "Docker CLI: the open-source application container engine"},
            {"usr/bin/docker": ("docker-cli", "usr/bin/docker")},
        ),
        Package(
            "containerd.io", upstream(debs["containerd"]), "",
            {"Depends": "libc6 (>= 2.34), libseccomp2 (>= 2.5.0), init-system-helpers", "Provides": "containerd, runc",
             "Conflicts": "containerd, runc", "Replaces": "containerd, runc",
             "Description": "An open and reliable container runtime"},
            {"usr/bin/containerd": ("containerd", "usr/bin/containerd"), "usr/bin/ctr": ("containerd", "usr/bin/ctr"),
             "usr/bin/containerd-shim-runc-v2": ("containerd", "usr/bin/containerd-shim-runc-v2"), "usr/bin/runc": ("runc", "usr/sbin/runc"),
             f"{unit_dir}/containerd.service": ("containerd", f"{unit_dir}/containerd.service")},
            {"etc/containerd/config.toml": "# Kubernetes' interface is off, as in Docker's package\ndisabled_plugins = [\"cri\"]\n"},
            units=("containerd.service",),
        ),
        # As with Docker's real ones, no relation keeps these two apart from Debian's docker-compose and docker-buildx,
        # although the files are the same: dpkg refuses to overwrite (docker/docker-ce-packaging issue 1339).
        Package(
            "docker-compose-plugin", upstream(debs["docker-compose"]), "",
            {"Depends": "libc6 (>= 2.34)", "Enhances": "docker-ce-cli", "Description": "Docker Compose (V2) plugin for the Docker CLI."},
            {f"{plugins}/docker-compose": ("docker-compose", f"{plugins}/docker-compose")},
        ),
        Package(
            "docker-buildx-plugin", upstream(debs["docker-buildx"]), "",
            {"Depends": "libc6 (>= 2.34)", "Enhances": "docker-ce-cli", "Description": "Docker Buildx plugin extends build capabilities with BuildKit."},
            {f"{plugins}/docker-buildx": ("docker-buildx", f"{plugins}/docker-buildx")},
        ),
    ]


def build_deb(package: Package, version: str, trees: dict[str, pathlib.Path], work: pathlib.Path, target: pathlib.Path, origin: str) -> pathlib.Path:
    """Build one .deb into the folder target; returns its path."""
    root = work / f"{package.name}-{version.replace(':', '_')}"
    for path, (name, source) in package.files.items():
        destination = root / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.link((trees[name] / source).resolve(), destination)
    texts = dict(package.texts)
    texts[f"usr/share/doc/{package.name}/README.dockyard"] = (
        f"{package.name} {version}: made by the test bed of dockyard.fleet out of Debian's {origin}. For tests only.\n")
    for path, text in texts.items():
        destination = root / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(text, encoding="utf-8")
        destination.chmod(0o644)
    debian_dir = root / "DEBIAN"
    debian_dir.mkdir()
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    fields = {"Package": package.name, "Version": version, "Architecture": ARCHITECTURE, "Maintainer": KEY_NAME,
              "Installed-Size": str(size), "Section": "admin", "Priority": "optional", **package.fields}
    (debian_dir / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()), encoding="utf-8")
    conffiles = [f"/{path}" for path in texts if path.startswith("etc/")]
    if conffiles:
        (debian_dir / "conffiles").write_text("\n".join(conffiles) + "\n", encoding="utf-8")
    if package.units:
        values = {"units": " ".join(package.units), "first": package.before_units}
        for script, text in (("postinst", SYSTEMD_POSTINST), ("prerm", SYSTEMD_PRERM), ("postrm", SYSTEMD_POSTRM)):
            (debian_dir / script).write_text(text % values, encoding="utf-8")
            (debian_dir / script).chmod(0o755)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{package.name}_{version.split(':')[-1]}_{ARCHITECTURE}.deb"
    # gzip -1: the packages live on this machine only, so building time counts and size does not
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(root), str(path)], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return path


def index_entry(path: pathlib.Path, base: pathlib.Path) -> str:
    """The paragraph of one .deb in a Packages file."""
    control = subprocess.run(["dpkg-deb", "-f", str(path)], check=True, capture_output=True, text=True).stdout.rstrip("\n")
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return f"{control}\nFilename: {path.relative_to(base)}\nSize: {path.stat().st_size}\nSHA256: {digest.hexdigest()}\n"


def gpg(*arguments: str) -> str:
    """Run gpg on the bed's own keyring."""
    home = CACHE / "gnupg"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    argv = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"gpg {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def fingerprint() -> str:
    """Fingerprint of the signing key, which is made at the first call."""
    for _attempt in (1, 2):
        listing = gpg("--list-keys", "--with-colons")
        found = re.search(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)
        if found:
            return found.group(1)
        gpg("--quick-generate-key", KEY_NAME, "rsa3072", "sign", "never")
    raise RuntimeError("gpg made no key")


def write_release(dist: pathlib.Path, codename: str, key: str) -> None:
    """Release, InRelease and Release.gpg of one dists/<codename> folder."""
    lines = [f"Origin: Docker\nLabel: Docker CE\nSuite: {codename}\nCodename: {codename}\nDate: {formatdate(usegmt=True)}\n"
             f"Architectures: {ARCHITECTURE}\nComponents: stable\nDescription: test bed copy of the layout of Docker's repository\nSHA256:"]
    for path in sorted((dist / "stable").rglob("Packages*")):
        data = path.read_bytes()
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path.relative_to(dist)}")
    (dist / "Release").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, mode in (("InRelease", ["--clearsign"]), ("Release.gpg", ["--armor", "--detach-sign"])):
        gpg("--yes", "--local-user", key, "--digest-algo", "SHA256", "--output", str(dist / name), *mode, str(dist / "Release"))


def content_key(key: str) -> str:
    """Hash of everything that decides what the repository contains."""
    digest = hashlib.sha256(key.encode())
    for path in (HERE / "repo.py", HERE / "debian.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(refresh: bool = False) -> pathlib.Path:
    """Make the repository in the cache, unless it is there already; returns its document root."""
    debian.need({"gpg": "gnupg", "dpkg-deb": "dpkg", "apt-get": "apt"})
    key = fingerprint()
    site = CACHE / content_key(key)
    if (site / "manifest.json").exists() and not refresh:
        return site
    started = time.monotonic()
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="work-") as name:
        work = pathlib.Path(name)
        fetchers = {codename: debian.Fetcher(work / f"apt-{codename}", codename, ARCHITECTURE) for codename in RELEASES}
        newest = fetchers["trixie"].download(["docker.io", "docker-cli", "containerd", "runc", "tini", "docker-compose", "docker-buildx", "busybox-static"],
                                             work / "debs-trixie")
        # Everything of trixie's runs on bookworm's C library but runc (needs 2.38): that one is bookworm's own
        bookworm_runc = fetchers["bookworm"].download(["runc"], work / "debs-bookworm")
        trees: dict[str, pathlib.Path] = {}
        for label, deb in [*newest.items(), *((f"{item}@bookworm", path) for item, path in bookworm_runc.items())]:
            trees[label] = work / "trees" / label
            trees[label].mkdir(parents=True)
            subprocess.run(["dpkg-deb", "-x", str(deb), str(trees[label])], check=True)
        fresh = work / "site"
        base = fresh / "linux" / "debian"
        manifest: dict[str, dict[str, list[str]]] = {}
        for codename in RELEASES:
            debs, files = dict(newest), dict(trees)
            if codename == "bookworm":
                debs["runc"], files["runc"] = bookworm_runc["runc"], trees["runc@bookworm"]
            dist = base / "dists" / codename
            entries = []
            manifest[codename] = {}
            for package in packages(debs, files):
                manifest[codename][package.name] = package.versions(codename)
                origin = ", ".join(sorted({debs[source].name for source, _path in package.files.values()}))
                for version in package.versions(codename):
                    path = build_deb(package, version, files, work, dist / "pool" / "stable" / ARCHITECTURE, origin)
                    entries.append(index_entry(path, base))
            index = dist / "stable" / f"binary-{ARCHITECTURE}"
            index.mkdir(parents=True)
            text = "\n".join(entries).encode()
            (index / "Packages").write_bytes(text)
            (index / "Packages.gz").write_bytes(gzip.compress(text, mtime=0))
            write_release(dist, codename, key)
        (base / "gpg").write_text(gpg("--armor", "--export", key), encoding="utf-8")
        (fresh / "bin").mkdir()
        shutil.copy2(trees["busybox-static"] / "usr/bin/busybox", fresh / "bin" / "busybox")
        for folder in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        (fresh / "manifest.json").write_text(json.dumps({"fingerprint": key, "packages": manifest}, indent=2) + "\n", encoding="utf-8")
        if site.exists():
            shutil.rmtree(site)
        fresh.rename(site)
    for other in CACHE.iterdir():
        if re.fullmatch(r"[0-9a-f]{16}", other.name) and other != site:
            shutil.rmtree(other)
    shell.say(f"apt-repo: built in {time.monotonic() - started:.0f} s: {site}")
    shell.run(["gpgconf", "--homedir", CACHE / "gnupg", "--kill", "gpg-agent"], check=False)
    return site


def docker_answer(*arguments: str) -> str:
    """Standard output of a docker command, empty when it fails."""
    done = docker.docker(*arguments, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def up(refresh: bool = False) -> None:
    """Build what is missing and serve it on the bed's network."""
    site = build(refresh)
    image = f"{settings.REPOSITORY}/apt-repo:{hashlib.sha256((site / 'bin' / 'busybox').read_bytes()).hexdigest()[:12]}"
    if docker.inspect("image", image) is None:
        packed = subprocess.run(["tar", "-C", str(site), "-c", "bin/busybox"], check=True, capture_output=True).stdout
        docker.docker("import", "-c", 'ENTRYPOINT ["/bin/busybox"]', "-c", f"LABEL {settings.LABEL}=1", "-", image, stdin=packed)
    docker.ensure_network()
    wanted = f"{image} {site}"
    state = docker_answer("inspect", "-f", f'{{{{.State.Running}}}} {{{{index .Config.Labels "{settings.LABEL}.content"}}}}', CONTAINER)
    if state != f"true {wanted}" or refresh:
        docker.docker("rm", "--force", CONTAINER, check=False)
        docker.docker("run", "--detach", "--name", CONTAINER, *docker.labels(content=wanted),
                      "--network", settings.NETWORK, "--ip", settings.APT_ADDRESS, "--restart", "unless-stopped",
                      "--volume", f"{site}:/srv:ro", image, "httpd", "-f", "-p", "80", "-h", "/srv")
    status()


def down() -> None:
    """Stop serving. The built repository stays in the cache."""
    docker.docker("rm", "--force", CONTAINER, check=False)


def status(as_json: bool = False) -> None:
    """Print where the repository is, its key and the versions in it."""
    site = CACHE / content_key(fingerprint())
    manifest = json.loads((site / "manifest.json").read_text(encoding="utf-8")) if (site / "manifest.json").exists() else {}
    running = docker_answer("inspect", "-f", "{{.State.Running}}", CONTAINER) == "true"
    facts = {"url": URL, "running": running, "key_url": f"{URL}/gpg", "key_file": str(site / "linux/debian/gpg"),
             "fingerprint": manifest.get("fingerprint"), "packages": manifest.get("packages", {})}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(f"apt-repo: {URL} {'is served' if running else 'is not served (bed apt-repo up)'}")
    print(f"  key {facts['key_file']} ({facts['key_url']})\n  fingerprint {facts['fingerprint'] or 'not built yet'}")
    for codename, names in facts["packages"].items():
        for name, versions in names.items():
            print(f"  {codename:9} {name:22} {'  '.join(versions)}")


def main(argv: list[str] | None = None) -> int:
    """Entry point of `bed apt-repo`."""
    parser = argparse.ArgumentParser(prog="bed apt-repo", description="A signed APT repository with the packages of Docker's own.")
    parser.add_argument("action", nargs="?", default="up", choices=["up", "down", "status", "build"])
    parser.add_argument("--refresh", action="store_true", help="build again from what the mirror has now")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    options = parser.parse_args(argv)
    if options.action == "up":
        up(options.refresh)
    elif options.action == "build":
        build(options.refresh)
    elif options.action == "down":
        down()
    else:
        status(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
