# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bed engine`: a Docker engine answers on this machine, and the machine can carry a dozen systemd hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import settings, shell

PROGRAMS = {  # program -> Debian package that the bed needs on the machine
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "openssl": "openssl",
    "iptables": "iptables",
}
INOTIFY_INSTANCES = 1024  # each systemd takes some 10; the kernel's default of 128 is used up by a handful of hosts
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def answers() -> bool:
    if shutil.which("docker") is None:
        return False
    done = shell.run(["docker", "version", "--format", "{{.Server.Version}}"], check=False)
    if "permission denied" in done.stderr:
        raise shell.BedError("a Docker engine runs here, but this user may not talk to it; run this as root, "
                             "or put the user into the group docker and log in again")
    return done.returncode == 0


def install(packages) -> None:
    """Install Debian packages, and say so; on systems without APT or without the right to do it, a clear message."""
    if not packages:
        return
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise shell.BedError(f"this machine lacks: {wanted}. The bed installs them only on Debian and Ubuntu; "
                             "install them by hand (Docker: any engine that answers to `docker version`) and try again")
    if os.geteuid() != 0 and shell.run(["sudo", "-n", "true"], check=False).returncode != 0:
        raise shell.BedError(f"this machine lacks: {wanted}. Run this as root, or with sudo that asks no password, "
                             f"or install them: apt-get install {wanted}")
    shell.say(f"installing with apt-get: {wanted}")
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    options = ["-o", "DPkg::Lock::Timeout=300"]
    shell.run_logged(shell.as_root(["apt-get", *options, "update"]), "apt-update")
    shell.run_logged(shell.as_root([*environment, "apt-get", *options, "install", "-y", "--no-install-recommends", *packages]), "apt-install")


def stale_pid_file(path: Path, processes: Path = Path("/proc")) -> bool:
    """Whether a pid file names a process that is gone or is another program by now: dockerd would refuse to start because of it."""
    try:
        pid = path.read_text().strip()
        return (processes / pid / "comm").read_text().strip() != "dockerd"
    except FileNotFoundError:
        return path.exists()


def _start_engine() -> None:
    if Path("/run/systemd/system").is_dir():
        shell.say("starting docker.service")
        shell.run(shell.as_root(["systemctl", "enable", "--now", "docker.service"]))
        return
    pid_file = Path("/var/run/docker.pid")
    if stale_pid_file(pid_file):
        shell.run(shell.as_root(["rm", "-f", str(pid_file)]))
    log = settings.cache() / "logs" / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    shell.say(f"starting dockerd (no systemd here; log: {log})")
    with log.open("ab") as out:
        # A session of its own: it outlives this program and the terminal. No lock or pipe of ours is inherited.
        subprocess.Popen(shell.as_root(["dockerd", "--storage-driver=overlay2"]), stdin=subprocess.DEVNULL,
                         stdout=out, stderr=out, start_new_session=True, close_fds=True)


def _tune() -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if limit.exists() and int(limit.read_text()) < INOTIFY_INSTANCES:
        shell.run(shell.as_root(["sysctl", "-q", "-w", f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"]), check=False)
    if BINFMT.is_dir() and not (BINFMT / "status").exists():
        shell.run(shell.as_root(["mount", "-t", "binfmt_misc", "none", str(BINFMT)]), check=False)


def ensure(arm64: bool = False) -> str:
    """Make it so; returns the engine's version. With `arm64`, programs of that architecture run on this machine too."""
    with shell.locked("engine"):
        if not answers():
            install(["docker.io"] if _missing("dockerd") else [])
            install(["docker-cli"] if _missing("docker") else [])  # a package of its own since trixie
            if not answers():
                _start_engine()
                shell.wait_for("the Docker engine answers", answers, 60)
        install([package for program, package in PROGRAMS.items() if _missing(program)]
                + ([] if Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists() else ["debian-archive-keyring"]))
        _tune()
        if arm64:
            _register_arm64()
    return shell.run(["docker", "version", "--format", "{{.Server.Version}}"]).stdout.strip()


def _missing(program: str) -> bool:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None


def _register_arm64() -> None:
    if os.uname().machine in ("aarch64", "arm64") or (BINFMT / "qemu-aarch64").exists():
        return
    rule = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
    if not rule.exists():
        install(["qemu-user-static"])
    if not (BINFMT / "qemu-aarch64").exists() and rule.exists():
        shell.run(shell.as_root(["tee", str(BINFMT / "register")]), stdin=rule.read_text().strip())
