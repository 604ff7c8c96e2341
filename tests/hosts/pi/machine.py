# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`tests/hosts/bed pi ...`: a whole arm64 machine that plays a Raspberry Pi.

Debian 13 arm64 under qemu-system-aarch64, with its own kernel, cgroup v2 and real reboots; its boot line is read from
its own /boot/firmware/cmdline.txt at each start, as a Pi's firmware does.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from bedlib import identity, settings, shell  # noqa: E402  # pylint: disable=wrong-import-position
from pi import disk, firmware  # noqa: E402  # pylint: disable=wrong-import-position

SSH_PORT = next(ours for ours, guest in firmware.PORTS.items() if guest == 22)
BOOT_SECONDS = 900  # 21-24 s on an idle machine; other work on the same cores makes it many times that


def folder() -> pathlib.Path:
    """Where the machine lives: its disks, its console, the log of its starts."""
    return settings.cache() / "pi" / disk.NAME


def ssh_argv(*command: str) -> list[str]:
    """ssh to the machine as pi with the bed's key and known hosts."""
    return ["ssh", "-p", str(SSH_PORT), "-i", str(identity.ssh_key()), "-o", f"UserKnownHostsFile={identity.known_hosts()}",
            "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20", "-o", "LogLevel=ERROR",
            "pi@127.0.0.1", *command]


def in_guest(command: str, check: bool = True) -> str:
    """Standard output of a shell command that runs as root in the machine."""
    done = shell.run(ssh_argv("sudo", "-n", "sh", "-c", shlex.quote(command)), check=check)
    return done.stdout.strip()


def boots() -> list[dict]:
    """One entry for each start of the kernel since the machine was pristine: {time, why, line}."""
    path = folder() / "boots.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _banner() -> bool:
    """Does sshd itself greet? QEMU accepts connections long before the guest does."""
    try:
        with socket.create_connection(("127.0.0.1", SSH_PORT), timeout=3) as connection:
            connection.settimeout(3)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _ready() -> bool:
    """Does sshd let us in? systemd's pam_nologin refuses while it is still starting."""
    if not firmware.running(folder()):
        raise shell.BedError(f"the arm64 machine ended while it was starting; see {folder()}/qemu.log and console.log")
    return _banner() and shell.run(ssh_argv("true"), check=False).returncode == 0


def up(pristine: bool = False) -> None:
    """Make what is missing, start the machine, wait until ssh answers."""
    started = time.monotonic()
    with shell.locked("pi"):
        alive = bool(firmware.running(folder()))
        if alive and not pristine:
            shell.wait_for("ssh of the arm64 machine answers", _ready, BOOT_SECONDS, 1)
            print(f"{disk.NAME} 127.0.0.1:{SSH_PORT} is up")
            return
        if alive:
            stop(hard=True)
        target = disk.base()
        kept = folder() / "base"
        temperature = "warm"
        if pristine or not kept.exists() or kept.read_text(encoding="utf-8").strip() != target.name:
            disk.make_machine(folder())
            disk.prune(target)
            temperature = "pristine"
        identity.remember_host(f"[127.0.0.1]:{SSH_PORT}", [(folder() / "ssh_host.pub").read_text(encoding="utf-8")])
        start()
    shell.wait_for("ssh of the arm64 machine answers", _ready, BOOT_SECONDS, 1)
    print(f"{disk.NAME} 127.0.0.1:{SSH_PORT} {temperature}, ssh answers after {time.monotonic() - started:.0f} s")


def start() -> None:
    """Start the supervisor, which outlives this program."""
    with (folder() / "supervisor.log").open("ab") as log:
        subprocess.Popen([sys.executable, "-B", str(pathlib.Path(__file__).resolve()), "_supervise"],  # pylint: disable=consider-using-with
                         stdin=subprocess.DEVNULL,
                         stdout=log, stderr=log, start_new_session=True, close_fds=True)
    shell.wait_for("the arm64 machine starts", lambda: firmware.running(folder()), 20)


def stop(hard: bool = False) -> None:
    """Power off: by the guest itself, or (hard) as if the plug was pulled."""
    pid = firmware.running(folder())
    if not pid:
        return
    if not hard and _banner():
        shell.run(ssh_argv("sudo", "-n", "systemctl", "poweroff"), check=False)
        end = time.monotonic() + 60
        while time.monotonic() < end and firmware.running(folder()):
            time.sleep(0.5)
    pid = firmware.running(folder())
    if pid:
        os.kill(pid, signal.SIGTERM)
        shell.wait_for("the arm64 machine stops", lambda: not firmware.running(folder()), 20)


def reboot() -> None:
    """A reboot asked for inside; the boot line is read again."""
    started, before = time.monotonic(), len(boots())
    shell.run(ssh_argv("sudo", "-n", "systemctl", "reboot"), check=False)
    shell.wait_for("the arm64 machine starts again", lambda: len(boots()) > before, 120, 0.5)
    shell.wait_for("ssh of the arm64 machine answers", _ready, BOOT_SECONDS, 1)
    print(f"{disk.NAME} rebooted, ssh answers after {time.monotonic() - started:.0f} s")


def status(as_json: bool = False) -> None:
    """What the machine is and how often it was started."""
    history = boots()
    facts = {"name": disk.NAME, "running": bool(firmware.running(folder())), "ssh_port": SSH_PORT, "user": "pi",
             "ports": {str(ours): guest for ours, guest in firmware.PORTS.items()}, "folder": str(folder()),
             "starts": history, "reboots": sum(entry["why"] == "guest-reset" for entry in history)}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(f"{disk.NAME}: {'running' if facts['running'] else 'off'}, pi@127.0.0.1:{SSH_PORT}, "
          f"{len(history)} starts ({facts['reboots']} reboots) since it was pristine")
    if history:
        print(f"  kernel line: {history[-1]['line']}")
    print(f"  disks, console.log: {folder()}")


def remove() -> None:
    """Stop the machine and remove its disks; the base stays in the cache."""
    stop(hard=True)
    if folder().exists():
        shutil.rmtree(folder())


def main(argv: list[str] | None = None) -> int:
    """Entry point of `bed pi`."""
    parser = argparse.ArgumentParser(prog="bed pi", description="The arm64 machine that plays a Raspberry Pi.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("up", help="start it and wait for ssh")
    one.add_argument("--pristine", action="store_true", help="from a fresh disk")
    one = commands.add_parser("down", help="power it off")
    one.add_argument("--hard", action="store_true", help="pull the plug")
    commands.add_parser("pristine", help="the same as up --pristine")
    commands.add_parser("reboot", help="reboot it from inside and wait for ssh")
    commands.add_parser("hard-reset", help="pull the plug, start it again, wait for ssh")
    one = commands.add_parser("status", help="is it running, how often was it started, with which kernel line")
    one.add_argument("--json", action="store_true")
    commands.add_parser("remove", help="stop it and remove its disks")
    commands.add_parser("images", help="arm64 variants of the base images in the bed's registry")
    one = commands.add_parser("ssh", help="log in as pi, or run a command as pi")
    one.add_argument("argv", nargs=argparse.REMAINDER)
    one = commands.add_parser("exec", help="run a command in it as root")
    one.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("_supervise")
    options = parser.parse_args(argv)
    command = options.command
    words = options.argv[1:] if getattr(options, "argv", [])[:1] == ["--"] else getattr(options, "argv", [])
    if command == "up":
        up(options.pristine)
    elif command == "pristine":
        up(pristine=True)
    elif command == "down":
        stop(options.hard)
    elif command == "reboot":
        reboot()
    elif command == "hard-reset":
        stop(hard=True)
        up()
    elif command == "status":
        status(options.json)
    elif command == "remove":
        remove()
    elif command == "images":
        from pi import images  # pylint: disable=import-outside-toplevel
        images.ensure()
    elif command == "ssh":
        os.execvp("ssh", ssh_argv(*words))
    elif command == "exec":
        if not words:
            raise shell.BedError("what shall run? bed pi exec -- COMMAND [ARGUMENT...]")
        os.execvp("ssh", ssh_argv("sudo", "-n", "--", *(shlex.quote(word) for word in words)))
    elif command == "_supervise":
        firmware.Firmware(folder()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
