# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: made, listed, rebooted, cut off from the network, removed."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

from . import docker, identity, images, settings, shell
from .settings import Host

LABEL = settings.LABEL
RESERVED = ("registry", "apt-repo")  # containers of the bed that are no hosts


def container(name: str) -> str:
    return settings.CONTAINER_PREFIX + name


def volumes(name: str) -> dict:
    """{volume name: place in the host}: what must not lie on overlayfs when Docker runs inside."""
    return {f"{container(name)}-docker": "/var/lib/docker", f"{container(name)}-containerd": "/var/lib/containerd"}


def create_argv(host: Host, image: str) -> list:
    """The `docker create` of a test host. --privileged would ask for CAP_SYS_RESOURCE, which not every machine has to give."""
    argv = [
        "create", "--name", container(host.name), "--hostname", host.name,
        *docker.labels(host=host.name, address=host.address, release=host.release, user=host.user, shape=host.shape),
        "--network", settings.NETWORK, "--ip", host.address, "--restart=unless-stopped",
        "--cap-add=ALL", "--cap-drop=SYS_RESOURCE",
        "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--cgroupns=private",
        "--tmpfs", "/run:rw,exec,nosuid,mode=755", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777",
    ]
    for volume, place in volumes(host.name).items():
        argv += ["--volume", f"{volume}:{place}"]
    for address, names in ((settings.REGISTRY_ADDRESS, settings.REGISTRY_NAMES), (settings.APT_ADDRESS, settings.APT_NAMES)):
        for name in names:
            argv += ["--add-host", f"{name}:{address}"]
    return [*argv, image]


def guest_files(host: Host, *, public_key: str, ca: bytes, machine_cas: dict, resolv_conf: str) -> list:
    """What this machine's bed puts into a host before its first boot: [(path, mode, uid, content)]; None is a directory."""
    home = f"home/{host.user}/.ssh"
    files = [
        (home, 0o700, 1000, None),
        (f"{home}/authorized_keys", 0o600, 1000, public_key.encode()),
        ("etc/bed/resolv.conf", 0o644, 0, resolv_conf.encode()),
        ("etc/bed/gateway", 0o644, 0, f"{settings.GATEWAY}\n".encode()),
        ("usr/local/share/ca-certificates/dockyard-bed.crt", 0o644, 0, ca),
    ]
    files += [(f"usr/local/share/ca-certificates/{name}", 0o644, 0, pem) for name, pem in sorted(machine_cas.items())]
    return files


def archive(files) -> bytes:
    """A tar of guest_files' answer, owners and modes included."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, mode, uid, content in files:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, uid, uid, int(time.time())
            if content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def known() -> dict:
    """{name: {address, release, user, shape, state, image}} of the hosts that exist."""
    names = docker.docker("ps", "--all", "--filter", f"label={LABEL}.host", "--format", "{{.Names}}").stdout.split()
    if not names:
        return {}
    found = {}
    for one in json.loads(docker.docker("container", "inspect", *names).stdout):
        about = one["Config"]["Labels"]
        found[about[f"{LABEL}.host"]] = {
            **{key: about[f"{LABEL}.{key}"] for key in ("address", "release", "user", "shape")},
            "state": one["State"]["Status"], "image": one["Config"]["Image"], "container": one["Name"].lstrip("/"),
        }
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[1]["address"].split(".")]))


def plan(name: str, release: str | None, existing: dict) -> Host:
    """The host that `name` stands for; a name that the bed does not know gets the first free address."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name) or name in RESERVED:
        raise shell.BedError(f"{name!r} is no host name for the bed: up to 40 of a-z, 0-9 and -, and none of {', '.join(RESERVED)}")
    if name in settings.KNOWN_HOSTS:
        host = settings.KNOWN_HOSTS[name]
        return Host(name, host.address, release or host.release, host.shape)
    if name in existing:
        return Host(name, existing[name]["address"], release or existing[name]["release"], existing[name]["shape"])
    taken = {one["address"] for one in existing.values()}
    free = [address for address in settings.FREE_ADDRESSES if address not in taken]
    if not free:
        raise shell.BedError(f"no free address for host {name}: {len(taken)} hosts exist; `bed list`, `bed remove NAME`")
    return Host(name, free[0], release or "trixie")


def up(names, *, release=None, fresh=False, with_docker=False) -> None:
    """Bring hosts up, two at a time; one line each when ssh answers and systemd says `running`."""
    docker.ensure_network()
    identity.ensure()
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda name: _up(name, release, fresh, with_docker), names))


def _up(name, release, fresh, with_docker) -> None:
    started = time.monotonic()
    found = known().get(name)
    if found and (fresh or (release and found["release"] != release)):
        remove([name])
        found = None
    if found:
        host = plan(name, found["release"], {name: found})
        how = "warm, running" if found["state"] == "running" else "warm, started"
        if found["state"] != "running":
            docker.docker("start", container(name))
    else:
        host, how = _create(name, release, with_docker)
    _wait(host)
    print(f"{host.name:16} {host.address:14} {host.release:9} {how:14} {time.monotonic() - started:5.1f} s", flush=True)


def _create(name, release, with_docker):
    host = plan(name, release, known())
    image = images.host(host.release, host.shape, with_docker)
    with shell.locked("create"):  # a free address is chosen and taken by one bed at a time
        host = plan(name, release, known())
        if docker.inspect("container", container(name)) is not None:
            raise shell.BedError(f"a container named {container(name)} exists that the bed did not make; remove or rename it")
        for volume in volumes(name):
            docker.ensure_volume(volume)
        docker.docker(*create_argv(host, image.tag))
        files = guest_files(host, public_key=identity.ssh_key().with_suffix(".pub").read_text(), ca=identity.ca().read_bytes(),
                            machine_cas=identity.machine_cas(), resolv_conf=identity.machine_resolv_conf())
        docker.docker("cp", "-", f"{container(name)}:/", stdin=archive(files))
        docker.docker("start", container(name))
    return host, ("cold" if image.built else "new")


def _wait(host: Host) -> None:
    """systemd has booted, sshd answers with the key that we noted down."""
    inside = ["exec", container(host.name)]

    def booted():
        state = docker.docker(*inside, "systemctl", "is-system-running", "--wait", check=False, timeout=90).stdout.strip()
        if state == "degraded":
            failed = docker.docker(*inside, "systemctl", "--failed", "--plain", "--no-legend", check=False).stdout.strip()
            shell.say(f"{host.name}: systemd is degraded, failed units:\n{failed}")
        return state in ("running", "degraded")

    try:
        shell.wait_for(f"systemd of {host.name} has booted", booted, 60)
        keys = docker.docker(*inside, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").stdout.splitlines()
        identity.remember_host(host.address, keys)
        shell.wait_for(f"ssh of {host.name} answers", lambda: ssh(host, "true", check=False).returncode == 0, 30)
    except shell.BedError as error:
        log = docker.docker("logs", "--tail", "15", container(host.name), check=False)
        raise shell.BedError(f"{error}\n{log.stdout}{log.stderr}") from None


def ssh_options() -> list:
    return ["-i", str(identity.ssh_key()), "-o", f"UserKnownHostsFile={identity.known_hosts()}", "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]


def ssh(host: Host, *command, check=True):
    return shell.run(["ssh", "-F", "none", *ssh_options(), f"{host.user}@{host.address}", *command], check=check, timeout=20)


def existing(name: str) -> Host:
    found = known()
    if name not in found:
        raise shell.BedError(f"there is no test host {name}; there are: {', '.join(found) or 'none'} (`bed up {name}` makes it)")
    return plan(name, found[name]["release"], found)


def remove(names) -> None:
    """Remove hosts with their volumes; nothing without the bed's label is touched."""
    ours = set(docker.ours("container"))
    for name in names:
        if container(name) not in ours:
            raise shell.BedError(f"there is no test host {name}; there are: {', '.join(known()) or 'none'}")
    for name in names:
        docker.docker("rm", "--force", "--volumes", container(name))
        for volume in volumes(name):
            docker.docker("volume", "rm", "--force", volume, check=False)
        shell.say(f"removed {name}")


def reboot(name: str) -> None:
    host, started = existing(name), time.monotonic()
    docker.docker("restart", "--time", "30", container(name))
    _wait(host)
    print(f"{name} rebooted in {time.monotonic() - started:.1f} s", flush=True)


def offline(name: str, cut: bool) -> None:
    host = existing(name)
    docker.docker("exec", container(name), "/usr/local/lib/bed/uplink", "cut" if cut else "mend")
    ssh(host, "true")
    print(f"{name} is {'offline: it reaches nothing, ssh from here still works' if cut else 'online'}", flush=True)


def inventory(names) -> str:
    """A YAML inventory of existing hosts."""
    found = known()
    absent = [name for name in names if name not in found]
    if absent:
        raise shell.BedError(f"there is no test host {', '.join(absent)}; there are: {', '.join(found) or 'none'}")
    return inventory_text({name: found[name] for name in names or found},
                          str(identity.ssh_key()), str(identity.known_hosts()))


def inventory_text(hosts: dict, key: str, known_hosts: str) -> str:
    options = f'-o "UserKnownHostsFile={known_hosts}" -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes'
    lines = ["---", "all:", "  vars:", f"    ansible_ssh_private_key_file: {json.dumps(key)}",
             f"    ansible_ssh_common_args: {json.dumps(options)}",
             "    ansible_python_interpreter: /usr/bin/python3", "  hosts:" if hosts else "  hosts: {}"]
    for name, about in hosts.items():
        lines += [f"    {name}:", f"      ansible_host: {about['address']}", f"      ansible_user: {about['user']}"]
    return "\n".join(lines) + "\n"
