# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of the arm64 machine: Debian 13 in the shape of Raspberry Pi OS 13, kept by content."""
from __future__ import annotations

import io
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

from aptrepo import debian
from bedlib import aptsources, engine, identity, recipe, settings, shell
from pi import emulation, firmware

NAME = "pi-arm64"
MODEL = "Raspberry Pi 4 Model B Rev 1.4"
RELEASE = "trixie"
# The kernel line of a stock Raspberry Pi OS, where the memory controller is off. (On a real one the word comes from the
# device tree's bootargs; here it is in the file, so that removing it has the same effect on Debian's kernel.)
CMDLINE = "console=serial0,115200 console=tty1 root=LABEL=rootfs rootfstype=ext4 fsck.repair=yes rootwait cgroup_disable=memory\n"
DISK_GB, BOOT_MB = 16, 256
PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap", "dtc": "device-tree-compiler",
    "fdtput": "device-tree-compiler", "mcopy": "mtools", "mkfs.vfat": "dosfstools", "mke2fs": "e2fsprogs", "ssh": "openssh-client",
}
PACKAGES = (
    "linux-image-arm64", "initramfs-tools", "zstd", "e2fsprogs", "dosfstools", "systemd", "systemd-sysv", "systemd-resolved", "dbus", "udev",
    "kmod", "python3", "python3-apt", "sudo", "iproute2", "iputils-ping", "netbase", "ca-certificates", "openssh-server", "procps", "curl",
    "less", "gpg",
)
# Without a list the initrd carries every driver there is, which costs a minute of emulation to make and seconds to boot
INITRAMFS_HOOK = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
for module in virtio_pci virtio_blk ext4 crc32c; do force_load "$module"; done
"""
ESSENTIAL_HOOK = r"""set -e
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/bed.conf"
cp "%(hook)s" "$1/etc/initramfs-tools/hooks/bed"
chmod 0755 "$1/etc/initramfs-tools/hooks/bed"
"""
CUSTOMIZE_HOOK = r"""set -e
chroot "$1" useradd --create-home --shell /bin/bash --uid 1000 --user-group pi
chroot "$1" systemctl enable ssh.service systemd-networkd.service systemd-resolved.service
chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap
"""


def cache() -> pathlib.Path:
    """The folder of everything that belongs to the arm64 machine."""
    return settings.cache() / "pi"


def _root_tar() -> pathlib.Path:
    """The root file system as a tar, made by mmdebstrap when its recipe or the mirror's name changed."""
    mirrors = debian.mirrors()
    options = debian.apt_options()
    sources = [line.replace(f"[signed-by={aptsources.KEYRING}] ", "") for line in aptsources.source_lines(mirrors, RELEASE)]
    key = recipe.digest("root", PACKAGES, sources, INITRAMFS_HOOK, ESSENTIAL_HOOK, CUSTOMIZE_HOOK)
    target = cache() / f"root-{key}.tar"
    if target.exists():
        return target
    engine.ensure(arm64=True)
    started = time.monotonic()
    shell.say("pi: making the arm64 root file system by emulation; this takes a few minutes, once")
    with tempfile.TemporaryDirectory(prefix="bed-pi-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        (folder / "initramfs-hook").write_text(INITRAMFS_HOOK, encoding="utf-8")
        argv = ["mmdebstrap", "--arch=arm64", "--variant=minbase", "--format=tar", f"--include={','.join(PACKAGES)}", f"--keyring={aptsources.KEYRING}"]
        argv += [f'--aptopt={key} "{value}"' for key, value in {**options, "Acquire::Languages": "none"}.items()]
        argv += ["--essential-hook=" + ESSENTIAL_HOOK % {"hook": folder / "initramfs-hook"}, "--customize-hook=" + CUSTOMIZE_HOOK]
        with emulation.quick():
            shell.run_logged(shell.as_root([*argv, RELEASE, folder / "root.tar", *sources]), "pi-root")
        _own(folder / "root.tar")
        beside = target.with_suffix(".part")
        shutil.move(folder / "root.tar", beside)
        beside.rename(target)
    shell.say(f"pi: root file system made in {time.monotonic() - started:.0f} s")
    return target


def _own(*paths: pathlib.Path) -> None:
    """Take over files that a command under sudo made."""
    if os.geteuid() != 0:
        shell.run(shell.as_root(["chown", f"{os.getuid()}:{os.getgid()}", *paths]))


def guest_files() -> dict[str, tuple[int, bytes]]:
    """Files that make the bootstrapped Debian this machine of the bed: {path: (mode, contents)}."""
    shape = settings.IMAGES / "host-pi"
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {NAME}\n"
    hosts += f"{settings.REGISTRY_ADDRESS} {' '.join(settings.REGISTRY_NAMES)}\n{settings.APT_ADDRESS} {' '.join(settings.APT_NAMES)}\n"
    moved = (shape / "moved.txt").read_text(encoding="utf-8")
    apt = "".join(f'{key} "{value}";\n' for key, value in debian.apt_options().items())
    texts = {
        "etc/hostname": NAME + "\n", "etc/hosts": hosts, "etc/machine-id": recipe.digest("machine-id", NAME) * 2 + "\n",
        "etc/fstab": "LABEL=rootfs / ext4 defaults,noatime 0 1\nLABEL=bootfs /boot/firmware vfat defaults,x-systemd.device-timeout=900 0 2\n",
        # Emulated on a busy machine, the start may take minutes; systemd's 90 s would end in emergency mode
        "etc/systemd/system.conf.d/bed.conf": "[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\nDefaultTimeoutStopSec=60\n",
        "etc/systemd/network/80-dhcp.network": "[Match]\nName=en*\n\n[Network]\nDHCP=ipv4\n",
        "etc/apt/sources.list.d/debian.sources": aptsources.deb822(debian.mirrors(), RELEASE),
        "etc/apt/apt.conf.d/90bed": apt + 'Acquire::Languages "none";\n',
        "etc/rpi-issue": (shape / "rpi-issue").read_text(encoding="utf-8"),
        "boot/cmdline.txt": moved.replace("FILE", "cmdline.txt"), "boot/config.txt": moved.replace("FILE", "config.txt"),
        "home/pi/.ssh/authorized_keys": identity.ssh_key().with_suffix(".pub").read_text(encoding="utf-8"),
    }
    files = {path: (0o644, text.encode()) for path, text in texts.items()}
    files["home/pi/.ssh/authorized_keys"] = (0o600, files["home/pi/.ssh/authorized_keys"][1])
    files["etc/sudoers.d/010_pi-nopasswd"] = (0o440, b"pi ALL=(ALL) NOPASSWD:ALL\n")
    authorities = {"dockyard-bed.crt": identity.ca().read_bytes(), **identity.machine_cas()}
    files.update({f"usr/local/share/ca-certificates/{name}": (0o644, pem) for name, pem in authorities.items()})
    return files


def _pack(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A tar of guest_files; what is in pi's home belongs to pi."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("home/pi/.ssh")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, 1000, 1000
        archive.addfile(folder)
        for path, (mode, data) in sorted(files.items()):
            item = tarfile.TarInfo(path)
            item.mode, item.size = mode, len(data)
            item.uid = item.gid = 1000 if path.startswith("home/pi/") else 0
            archive.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def _trust(root: pathlib.Path, path: str, pem: bytes) -> None:
    """What update-ca-certificates makes of one certificate; itself it takes a minute of emulation."""
    store, name = root / "etc/ssl/certs", pathlib.PurePath(path).stem
    subject = shell.run(["openssl", "x509", "-noout", "-subject_hash"], stdin=pem).stdout.strip()
    shell.run(shell.as_root(["ln", "-sfn", f"/{path}", store / f"{name}.pem"]))
    shell.run(shell.as_root(["ln", "-sfn", f"{name}.pem", store / f"{subject}.0"]))
    shell.run(shell.as_root(["tee", "-a", store / "ca-certificates.crt"]), stdin=pem.rstrip(b"\n") + b"\n")


def _device_tree(target: pathlib.Path) -> None:
    """QEMU's own device tree under a Pi's name."""
    shell.run(["qemu-system-aarch64", "-machine", f"virt,gic-version=3,dumpdtb={target}", "-cpu", "cortex-a72",
               "-smp", firmware.CPUS, "-m", firmware.MEMORY_MB, "-nodefaults", "-display", "none"])
    shell.run(["fdtput", "-t", "s", target, "/", "model", MODEL])
    shell.run(["fdtput", "-t", "s", target, "/", "compatible", "raspberrypi,4-model-b", "brcm,bcm2711", "linux,dummy-virt"])
    shell.run(["fdtput", "-t", "s", target, "/", "serial-number", "10000000d0c4ba5d"])


def base() -> pathlib.Path:
    """Folder with the pristine disks: root.raw (never written to again), boot.fat and pi.dtb, ssh_host.pub."""
    debian.need(PROGRAMS)
    identity.ensure()
    tar = _root_tar()
    files = guest_files()
    key = recipe.digest(tar.name, sorted((path, oct(mode), data) for path, (mode, data) in files.items()), CMDLINE, MODEL, DISK_GB, BOOT_MB,
                        firmware.CPUS, firmware.MEMORY_MB, pathlib.Path(__file__).read_bytes())
    target = cache() / f"base-{key}"
    if (target / "ssh_host.pub").exists():
        return target
    engine.ensure(arm64=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache(), prefix="work-") as name:
        work = pathlib.Path(name)
        root, fresh = work / "root", work / "base"
        root.mkdir()
        fresh.mkdir()
        try:
            shell.run(shell.as_root(["tar", "-C", root, "--numeric-owner", "--xattrs", "-xf", tar]))
            shell.run(shell.as_root(["tar", "-C", root, "--numeric-owner", "-xf", "-"]), stdin=_pack(files))
            shell.run(shell.as_root(["mkdir", "-p", root / "boot/firmware"]))
            shell.run(shell.as_root(["ln", "-sfn", "../run/systemd/resolve/stub-resolv.conf", root / "etc/resolv.conf"]))
            for path, (_mode, pem) in files.items():
                if path.startswith("usr/local/share/ca-certificates/"):
                    _trust(root, path, pem)
            for source, copy in (("vmlinuz-*", "kernel8.img"), ("initrd.img-*", "initramfs8")):
                found = sorted((root / "boot").glob(source))[-1]
                shell.run(shell.as_root(["cp", found, work / copy]))
                _own(work / copy)
            shutil.copy(next((root / "etc/ssh").glob("ssh_host_ed25519_key.pub")), work / "ssh_host.pub")
            shell.run(["truncate", "-s", f"{DISK_GB}G", fresh / "root.raw"])
            shell.run(shell.as_root(["mke2fs", "-q", "-t", "ext4", "-L", "rootfs", "-E", "lazy_itable_init=1,nodiscard", "-d", root, fresh / "root.raw"]))
        finally:
            shell.run(shell.as_root(["rm", "-rf", "--one-file-system", root]))
        shell.run(["mkfs.vfat", "-n", "bootfs", "-C", fresh / "boot.fat", BOOT_MB * 1024])
        (work / "cmdline.txt").write_text(CMDLINE, encoding="utf-8")
        shutil.copy(settings.IMAGES / "host-pi" / "config.txt", work / "config.txt")
        for part in ("cmdline.txt", "config.txt", "kernel8.img", "initramfs8"):
            firmware.fat("mcopy", fresh / "boot.fat", str(work / part), f"::{part}")
        _device_tree(fresh / "pi.dtb")
        (fresh / "root.raw").chmod(0o444)
        shutil.move(work / "ssh_host.pub", fresh / "ssh_host.pub")
        fresh.rename(target)
    shell.say(f"pi: disks made in {time.monotonic() - started:.0f} s")
    return target


def make_machine(folder: pathlib.Path) -> None:
    """A pristine machine in folder: an overlay over the base's root disk and a boot partition of its own."""
    source = base()
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    shell.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", source / "root.raw", "-F", "raw", folder / "root.qcow2"])
    subprocess.run(["cp", "--sparse=always", str(source / "boot.fat"), str(folder / "boot.fat")], check=True)
    shutil.copy(source / "pi.dtb", folder / "pi.dtb")
    shutil.copy(source / "ssh_host.pub", folder / "ssh_host.pub")
    (folder / "base").write_text(source.name + "\n", encoding="utf-8")


def prune(keep: pathlib.Path) -> None:
    """Remove root file systems and disks of earlier recipes."""
    current = {keep.name, _root_tar().name}
    for path in cache().glob("root-*.tar"):
        if path.name not in current:
            path.unlink()
    for path in cache().glob("base-*"):
        if path.name not in current:
            shutil.rmtree(path)
