# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Pi's firmware does before Linux: reads the boot partition, makes the kernel line, starts the kernel.

`kernel_line` is pure. `Firmware` keeps QEMU running over the guest's reboots, each time with what the boot
partition says by then.
"""
from __future__ import annotations

import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

# The Pi's firmware puts words of its own in front of the line of cmdline.txt. These two name a module that Debian's
# kernel lacks, so they are seen in /proc/cmdline and change nothing.
FIRMWARE_WORDS = ("vc_mem.mem_base=0x3ec00000", "vc_mem.mem_size=0x40000000")
SERIAL = "ttyAMA0"  # what `serial0` of cmdline.txt means on QEMU's machine
PORTS = {2223: 22, 18080: 18080, 18443: 18443}  # this machine's loopback -> the guest; a stack on 18443 is asked under one URL from both
CPUS, MEMORY_MB = 2, 4096
# A serial port of the machine is at the other end of this port, where a Bluetooth controller may listen (tests/stand_ins/bluetooth); as on a
# real Pi, whose controller is at a serial port too.
BLUETOOTH_PORT = 6001


def kernel_line(text: str) -> str:
    """The kernel's command line for the contents of cmdline.txt.

    As the firmware does: only the first line counts (a second line is lost, which is why tools must keep one line
    one line), and `serial0` becomes the real device. As the Pi's kernel does, and Debian's does not: `cgroup_enable=X`
    takes back an earlier `cgroup_disable=X`; here that is worked out before the kernel starts.
    Raises ValueError when there is no line at all.
    """
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise ValueError("cmdline.txt has no first line: a Pi would not find its root file system")
    words: list[str] = []
    disabled: list[str] = []
    for word in lines[0].split():
        key, _equals, value = word.partition("=")
        names = [name for name in value.split(",") if name]
        if key == "cgroup_disable":
            disabled += [name for name in names if name not in disabled]
            continue
        if key == "cgroup_enable":
            disabled = [name for name in disabled if name not in names]
        words.append(word.replace("serial0", SERIAL, 1) if key == "console" else word)
    if disabled:
        words.append("cgroup_disable=" + ",".join(disabled))
    return " ".join([*FIRMWARE_WORDS, *words])


def qemu_argv(line: str) -> list[str]:
    """QEMU's command line; all paths are relative to the machine's folder."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{ours}-:{guest}" for ours, guest in PORTS.items())
    return [
        "qemu-system-aarch64", "-name", "pi-arm64", "-nodefaults", "-display", "none",
        "-machine", "virt,gic-version=3", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "cortex-a72",
        "-smp", str(CPUS), "-m", str(MEMORY_MB), "-no-reboot", "-qmp", "unix:qmp.sock,server=on,wait=off",
        "-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console",
        "-kernel", "kernel8.img", "-initrd", "initramfs8", "-dtb", "pi.dtb", "-append", line,
        "-drive", "file=root.qcow2,if=none,id=root,format=qcow2,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,drive=root",
        "-drive", "file=boot.fat,if=none,id=boot,format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=boot",
        "-netdev", f"user,id=net,ipv6=off{forwards}", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
        "-chardev", f"socket,id=bt,host=127.0.0.1,port={BLUETOOTH_PORT},reconnect=1", "-device", "pci-serial,chardev=bt",
    ]


def fat(command: str, image: pathlib.Path | str, *arguments: str) -> bytes:
    """Run one of the mtools on a FAT image."""
    done = subprocess.run([command, "-i", str(image), *arguments], capture_output=True, check=False, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})
    if done.returncode:
        raise RuntimeError(f"{command} {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class Firmware:
    """Keeps the machine of one folder running until it is powered off. The folder's lock is held while it lives."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.qemu: subprocess.Popen | None = None
        self.stopping = False

    def run(self) -> None:
        """Start QEMU, and again after each reboot of the guest; ends when the guest powers off or SIGTERM comes."""
        os.chdir(self.folder)
        lock = open("supervisor.lock", "a+", encoding="utf-8")  # pylint: disable=consider-using-with
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        signal.signal(signal.SIGTERM, self._stop)
        reason = "power-on"
        while not self.stopping:
            started = time.time()
            reason = self._boot(reason)
            if reason != "guest-reset" or time.time() - started < 2:
                break

    def _stop(self, _signal: int, _frame: object) -> None:
        self.stopping = True
        if self.qemu:
            self.qemu.terminate()

    def _boot(self, why: str) -> str:
        """One life of the guest; returns QEMU's reason for its end."""
        line = kernel_line(fat("mtype", "boot.fat", "::cmdline.txt").decode(errors="replace"))
        for name in ("kernel8.img", "initramfs8"):
            fat("mcopy", "boot.fat", "-n", "-o", f"::{name}", name)
        with open("boots.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps({"time": round(time.time(), 1), "why": why, "line": line}) + "\n")
        pathlib.Path("qmp.sock").unlink(missing_ok=True)
        with open("qemu.log", "ab") as log:
            self.qemu = subprocess.Popen(qemu_argv(line), stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # pylint: disable=consider-using-with
        reason = self._watch()
        code = self.qemu.wait()
        return reason or f"exit {code}"

    def _watch(self) -> str:
        """Read QEMU's events until it ends; why the guest was shut down."""
        control = socket.socket(socket.AF_UNIX)
        while True:
            try:
                control.connect("qmp.sock")
                break
            except OSError:
                if self.qemu.poll() is not None:
                    return ""
                time.sleep(0.05)
        reason = ""
        with control, control.makefile("rw", encoding="utf-8") as stream:
            stream.write('{"execute": "qmp_capabilities"}\n')
            stream.flush()
            try:
                for message in stream:
                    event = json.loads(message)
                    if event.get("event") == "SHUTDOWN":
                        reason = event["data"]["reason"]
            except OSError:
                pass
        return reason


def running(folder: pathlib.Path) -> int:
    """Process id of the folder's supervisor, 0 when none runs."""
    try:
        with (folder / "supervisor.lock").open("r+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return int(lock.read() or 0)
    except FileNotFoundError:
        pass
    return 0
