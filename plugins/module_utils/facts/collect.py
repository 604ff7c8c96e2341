# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers all facts of a host in one process: readers here, decisions in the pure modules beside.

Nothing raises out of Collector.run(): what can't be read is None, with the reason in `unknown`.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pwd
import socket
import stat
import struct
import subprocess
import threading
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.actions.units import split_timer
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.collect import summary
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApi, DockerError, DockerTimeout, DockerUnavailable
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt, docker_state, packages, sockets, system, units
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree, reason

SCHEMA = 1

# Section that `gather` names -> top-level keys of the facts that it fills.
SECTIONS = {
    "os": ("os",),
    "architecture": ("architecture",),
    "pi": ("pi",),
    "kernel": ("kernel",),
    "boot": ("boot",),
    "init": ("init",),
    "cgroup": ("cgroup",),
    "packages": ("packages", "dpkg_interrupted"),
    "apt": ("apt",),
    "ca_certificates": ("ca_certificates",),
    "docker": ("docker",),
    "images": ("images",),
    "containers": ("containers",),
    "networks": ("networks",),
    "volumes": ("volumes",),
    "ports": ("ports",),
    "binfmt": ("binfmt",),
    "artifacts": ("artifacts",),
    "bluetooth": ("bluetooth",),
    "disk": ("disk",),
    "memory": ("memory", "cpus", "load", "cpu_features"),
    "releases": ("releases",),
    "stacks": ("stacks",),
    "schedules": ("schedules",),
}

DAEMON_JSON = "/etc/docker/daemon.json"
DROPIN_FOLDERS = tuple("/etc/systemd/system/%s.d" % unit for unit in ("docker.service", "docker.socket", "containerd.service"))
# Folders of the Docker CLI for all users, in its own order (cli-plugins/manager, defaultSystemPluginDirs).
PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
MAC_PLUGIN_FOLDERS = (
    "/opt/homebrew/lib/docker/cli-plugins",
    "/Applications/Docker.app/Contents/Resources/cli-plugins",
)
PLUGIN_PACKAGES = {
    "docker-compose": ("docker-compose-plugin", "docker-compose-v2", "docker-compose"),
    "docker-buildx": ("docker-buildx-plugin", "docker-buildx"),
}
PROGRAM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin")
MAC_PROGRAM_FOLDERS = ("/opt/homebrew/bin",)
# BlueZ's daemon, on newer and older systems.
BLUETOOTHD = ("/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd")
HCIGETDEVINFO = 0x800448D3

# Seconds that one part may take; what it has not reached by then is unknown. They keep the whole under a second on a Pi.
FD_SECONDS = 0.3
INSPECT_SECONDS = 0.3
STORE_SECONDS = 0.3
COMMAND_SECONDS = 3.0
# Images that are asked one by one for their architecture: the list call does not tell it.
INSPECT_IMAGES = 64
LEDGER_TAIL_BYTES = 65536


class NotThere(Exception):
    """The engine is not installed: its objects do not exist, which is knowledge, not a failure."""


def run_command(argv, timeout=COMMAND_SECONDS):
    """Output (str) of a program. Raises OSError when it can't be run, fails or takes longer than timeout seconds."""
    try:
        # pylint: disable-next=ansible-bad-function  # no AnsibleModule here, and a deadline is needed
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise OSError("%s: no answer within %g s" % (argv[0], timeout)) from None
    if done.returncode != 0:
        raise OSError("%s: exit status %d: %s" % (argv[0], done.returncode, done.stderr.decode("utf-8", "replace").strip()[:200]))
    return done.stdout.decode("utf-8", "replace")


class Collector:
    """One gathering.

    :param gather: names of SECTIONS (iterable of str).
    :param timeout: seconds (float) for all requests to the daemon together.
    :param root: file system root to read from; anything else than "/" is a captured tree, from which programs are not run.
    :param socket_path: unix socket of the daemon, None: find it.
    :param run: as run_command(); :param machine, page_size, sysname: of the captured machine, None: of this one.
    """

    def __init__(self, gather=None, timeout=5.0, root="/", socket_path=None, run=run_command, machine=None, page_size=None, sysname=None):
        self.tree = Tree(root)
        self.gather = set(SECTIONS if gather is None else gather)
        self.timeout = timeout
        self.socket_path = socket_path
        self.run_command = run
        self.machine = machine or platform.machine()
        self.page_size = page_size or os.sysconf("SC_PAGE_SIZE")
        self.darwin = (sysname or platform.system()) == "Darwin"
        self.unknown = {}
        self._cache = {}
        self._api = None
        self._api_deadline = None

    # ---- frame -----------------------------------------------------------------------------------------------------

    def run(self):
        """All facts asked for (dict, the value of dockyard_facts)."""
        begin = time.monotonic()
        facts = {"schema": SCHEMA}
        for section, keys in SECTIONS.items():
            if section not in self.gather:
                for key in keys:
                    facts[key] = None
                    self.unknown[key] = "not gathered: option gather does not name %s" % section
                continue
            values = self.attempt(keys, getattr(self, "collect_" + section))
            if len(keys) == 1:
                values = (values,)
            facts.update(zip(keys, values if values is not None else (None,) * len(keys)))
        if self._api is not None:
            self._api.close()
        facts["time"] = {"epoch_s": int(time.time())}
        facts["user"] = self.user_name()
        facts["unknown"] = self.unknown
        facts["seconds"] = round(time.monotonic() - begin, 3)
        return facts

    def attempt(self, names, read, *args):
        """Result of read(*args); when it fails None, and the reason under each of names (dotted paths of facts) in `unknown`."""
        names = (names,) if isinstance(names, str) else names
        try:
            return read(*args)
        except Exception as exc:  # pylint: disable=broad-except
            # One odd file or answer must not cost the other facts; whatever went wrong is in the result.
            text = reason(exc)
            if not isinstance(exc, (OSError, ValueError, DockerError)):
                text = "unexpected: %s: %s" % (type(exc).__name__, text)
            for name in names:
                self.unknown[name] = text
        return None

    def once(self, name, read):
        """Result of read(), computed once a gathering; a failure is remembered too."""
        if name not in self._cache:
            try:
                self._cache[name] = (read(), None)
            except Exception as exc:  # pylint: disable=broad-except
                self._cache[name] = (None, exc)
        value, failure = self._cache[name]
        if failure is not None:
            raise failure
        return value

    def not_on_mac(self, what):
        if self.darwin:
            raise ValueError("%s is not read on macOS" % what)

    @staticmethod
    def user_name():
        try:
            return pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            return str(os.geteuid())

    def wants_engine(self):
        return bool(self.gather & {"docker", "images", "containers", "networks", "volumes"})

    # ---- the machine -----------------------------------------------------------------------------------------------

    def collect_os(self):
        if self.darwin:
            return system.sw_vers_facts(self.run_command(["sw_vers"]))
        return self.once("os", self._os)

    def _os(self):
        text = self.tree.text_or_none("/etc/os-release")
        if text is None:
            text = self.tree.text("/usr/lib/os-release")
        return system.os_facts(system.parse_os_release(text), self.tree.text_or_none("/etc/rpi-issue"))

    def family(self):
        """Family of the system: darwin, debian, redhat or other; told by the package database when os-release can't be read."""
        if self.darwin:
            return "darwin"
        try:
            return self.once("os", self._os)["family"]
        except (OSError, ValueError):
            return "debian" if self.tree.exists("/var/lib/dpkg/status") else "other"

    def dpkg_status(self):
        return self.once("dpkg", lambda: self.tree.data("/var/lib/dpkg/status"))

    def collect_architecture(self):
        dpkg = None
        if self.family() == "debian":
            dpkg = self.attempt("architecture.dpkg", lambda: packages.dpkg_architecture(self.tree.text_or_none("/var/lib/dpkg/arch"), self.dpkg_status()))
        engine_arch = None
        if self.wants_engine():
            try:
                engine_arch = self.api("/version").get("Arch")
            except (DockerError, NotThere):
                pass  # the userland tells it then; the reason stands at docker.engine
        chosen = system.docker_platform(self.machine, dpkg, engine_arch)
        if chosen is None:
            self.unknown["architecture.docker_platform"] = "no Docker platform is known for machine %s" % self.machine
        arm32 = False
        if chosen == "linux/arm64" and not self.darwin:
            arm32 = system.runs_arm32(self.tree.text_or_none("/proc/cpuinfo") or "", self.page_size, self.kernel_compat())
        native = system.native_platforms(chosen, self.tree.exists("/proc/sys/abi/vsyscall32"), arm32)
        seen = self.attempt("architecture.native", self.native_by_proof)
        native += [name for name in seen or [] if native and name not in native]
        emulated = None
        if self.darwin:
            self.unknown["architecture.emulated"] = "the handlers are inside the virtual machine of Docker"
        else:
            handlers = self.attempt("architecture.emulated", self.binfmt_handlers)
            if handlers is not None:
                emulated = binfmt.emulated_platforms(handlers, native)
        return {"machine": self.machine, "dpkg": dpkg, "docker_platform": chosen, "native": native, "emulated": emulated}

    def native_by_proof(self):
        """What binfmt has seen running on this hardware although nothing here tells that it can."""
        release = (self.tree.text_or_none("/proc/sys/kernel/osrelease") or "").strip()
        return binfmt.native_by_proof(binfmt.parse_proven(self.tree.text_or_none(binfmt.PROVEN) or ""), release)

    def kernel_compat(self):
        """Whether the arm64 kernel shows its interface for 32-bit programs: the abi switches that come with it, or its configuration."""
        if any(self.tree.exists("/proc/sys/abi/" + name) for name in ("cp15_barrier", "setend", "swp")):
            return True
        release = (self.tree.text_or_none("/proc/sys/kernel/osrelease") or "").strip()
        try:
            return "\nCONFIG_COMPAT=y\n" in (self.tree.text_or_none("/boot/config-" + release) or "")
        except OSError:
            return False

    def collect_pi(self):
        for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
            if self.tree.exists(path):
                return system.pi_facts(system.device_tree_model(self.tree.data(path)))
        return None

    def collect_kernel(self):
        if self.darwin:
            self.unknown["kernel.cmdline"] = "macOS has no /proc/cmdline"
            return {"release": platform.release(), "cmdline": None}
        return {
            "release": self.attempt("kernel.release", lambda: self.tree.text("/proc/sys/kernel/osrelease").strip()),
            "cmdline": self.attempt("kernel.cmdline", lambda: self.tree.text("/proc/cmdline").strip()),
        }

    def collect_boot(self):
        for path in ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt"):
            content = self.tree.text_or_none(path)
            if content is not None and not system.cmdline_moved(content):
                return {"cmdline_file": {"path": path, "content": content}}
        return None

    def collect_init(self):
        return "systemd" if units.is_systemd(self.tree) else "other"

    def collect_cgroup(self):
        self.not_on_mac("cgroup")
        mounts = system.parse_mounts(self.tree.text("/proc/mounts"))
        controllers = None
        for point, kind, unused in mounts:
            if kind == "cgroup2":
                text = self.tree.text_or_none(point.rstrip("/") + "/cgroup.controllers")
                controllers = (controllers or []) + (text or "").split()
        facts = system.cgroup_facts(mounts, controllers, system.parse_proc_cgroups(self.tree.text_or_none("/proc/cgroups") or ""))
        if facts["version"] is None:
            raise ValueError("no control group file system is mounted")
        return facts

    def collect_memory(self):
        if self.darwin:
            self.unknown["memory.available_bytes"] = self.unknown["memory.swap_total_bytes"] = "not read on macOS"
            memory = {"total_bytes": os.sysconf("SC_PHYS_PAGES") * self.page_size, "available_bytes": None, "swap_total_bytes": None}
            return memory, os.cpu_count(), list(os.getloadavg()), None
        memory = self.attempt("memory", lambda: system.parse_meminfo(self.tree.text("/proc/meminfo")))
        load = self.attempt("load", lambda: [float(word) for word in self.tree.text("/proc/loadavg").split()[:3]])
        features = self.attempt("cpu_features", lambda: system.parse_cpu_features(self.tree.text("/proc/cpuinfo")))
        return memory, os.cpu_count(), load, features

    def mount_points(self):
        return [point for point, unused, unused2 in system.parse_mounts(self.tree.text("/proc/mounts"))]

    def data_root(self):
        """Docker's data root: the daemon's word, else daemon.json, else the default. macOS: None (it is inside a virtual machine)."""
        if self.darwin:
            return None
        if self.wants_engine():
            try:
                return self.api("/info").get("DockerRootDir") or "/var/lib/docker"
            except (DockerError, NotThere):
                pass
        try:
            parsed = docker_state.parse_daemon_config(self.tree.text_or_none(DAEMON_JSON) or "")[0]
        except OSError:
            parsed = None
        configured = (parsed or {}).get("data-root")
        return configured if isinstance(configured, str) and configured.startswith("/") else "/var/lib/docker"

    def containerd_root(self):
        try:
            return docker_state.parse_containerd_root(self.tree.text_or_none("/etc/containerd/config.toml") or "") or "/var/lib/containerd"
        except OSError:
            return "/var/lib/containerd"

    def collect_disk(self):
        if self.darwin:
            wanted, points = ["/"], ["/"]
        else:
            wanted = ["/", "/var", self.data_root(), self.containerd_root(), "/var/lib/dockyard"]
            points = self.mount_points()
        result = []
        for path in dict.fromkeys(wanted):
            entry = self.attempt("disk.%s" % path, self.disk_entry, path, points)
            result.append(entry or {"path": path, "mount": None, "total_bytes": None, "free_bytes": None, "free_inodes": None})
        return result

    def disk_entry(self, path, points):
        """Space where path is or would be made. free_inodes is None on file systems that do not count them (btrfs says 0 of 0)."""
        existing = path
        while existing != "/" and not self.tree.exists(existing):
            existing = os.path.dirname(existing)
        if not self.tree.root:
            existing = os.path.realpath(existing)
        space = os.statvfs(self.tree.path(existing))
        return {
            "path": path,
            "mount": system.mount_of(existing, points),
            "total_bytes": space.f_blocks * space.f_frsize,
            "free_bytes": space.f_bavail * space.f_frsize,
            "free_inodes": space.f_favail if space.f_files else None,
        }

    # ---- packages --------------------------------------------------------------------------------------------------

    def package_list(self):
        """(packages, interrupted) as in packages.parse_dpkg_status()."""
        return self.once("packages", self._package_list)

    def _package_list(self):
        family = self.family()
        if family == "debian":
            found, interrupted = packages.parse_dpkg_status(self.dpkg_status())
            return found, interrupted or packages.journal_left(self.tree.names("/var/lib/dpkg/updates"))
        if family == "redhat":
            names = sorted(packages.DOCKER_PACKAGES)
            output = self.run_command(["rpm", "-qa", "--qf", "%{NAME}\\t%{VERSION}-%{RELEASE}\\n"] + names)
            locks = ""
            for path in ("/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list"):
                locks += self.tree.text_or_none(path) or ""
            return packages.parse_rpm(output, locks), False
        raise ValueError("no package list is read on this system (family %s)" % family)

    def collect_packages(self):
        return self.package_list()

    def collect_apt(self):
        if self.family() != "debian":
            return None
        result = {"sources": [], "other_sources": 0, "keyrings": {}, "pins": {}}
        files = ["/etc/apt/sources.list"] if self.tree.exists("/etc/apt/sources.list") else []
        folder = "/etc/apt/sources.list.d"
        files += ["%s/%s" % (folder, name) for name in self.tree.names(folder) if name.endswith((".list", ".sources"))]
        keyrings = []
        for path in files:
            if not packages.ours(os.path.basename(path)):
                result["other_sources"] += 1
                continue
            parse = packages.parse_deb822_sources if path.endswith(".sources") else packages.parse_one_line_sources
            for entry in self.attempt("apt.sources.%s" % path, lambda p=path, f=parse: f(self.tree.text(p))) or []:
                result["sources"].append(dict(entry, file=path))
                if (entry["signed_by"] or "").startswith("/"):
                    keyrings.append(entry["signed_by"])
        for folder in ("/etc/apt/keyrings", "/usr/share/keyrings", "/etc/apt/trusted.gpg.d"):
            keyrings += ["%s/%s" % (folder, name) for name in self.tree.names(folder) if packages.ours(name)]
        result["keyrings"] = self.digests("apt.keyrings", [path for path in keyrings if self.tree.exists(path)])
        folder = "/etc/apt/preferences.d"
        result["pins"] = self.digests("apt.pins", ["%s/%s" % (folder, name) for name in self.tree.names(folder) if packages.ours(name)])
        return result

    def digests(self, name, paths):
        """{path: sha256 or None}; a file that can't be read is None, with the reason."""
        return dict((path, self.attempt("%s.%s" % (name, path), self.tree.sha256, path)) for path in dict.fromkeys(paths))

    def collect_ca_certificates(self):
        self.not_on_mac("the list of added CA certificates")
        debian = self.family() == "debian"
        folder = "/usr/local/share/ca-certificates" if debian else "/etc/pki/ca-trust/source/anchors"
        names = [name for name in self.tree.names(folder) if name.endswith(".crt") or not debian]
        return self.digests("ca_certificates", ["%s/%s" % (folder, name) for name in names])

    # ---- Docker ----------------------------------------------------------------------------------------------------

    def find_socket(self):
        """Path of the daemon's socket (str). Raises NotThere when no engine is installed, DockerUnavailable when it is not to be asked."""
        if self.socket_path:
            return self.socket_path
        address = os.environ.get("DOCKER_HOST", "")
        if address.startswith("unix://"):
            return address[len("unix://"):]
        if address:
            # an address like ssh://user:word@host may hold a secret
            raise DockerUnavailable("DOCKER_HOST is %s://...; only a unix socket is read" % address.partition("://")[0])
        candidates = ["/run/docker.sock", "/var/run/docker.sock"]
        if self.darwin:
            home = os.path.expanduser("~")
            candidates = [home + "/.docker/run/docker.sock", home + "/.colima/default/docker.sock", "/var/run/docker.sock"]
        path = next((candidate for candidate in candidates if self.tree.exists(candidate)), None)
        if path is None:
            if not self.engine_installed():
                raise NotThere("no engine is installed")
            raise DockerUnavailable("%s: no such socket (the daemon is installed and not running)" % candidates[0])
        if self.would_activate():
            raise DockerUnavailable("docker.service is stopped (not asked, because a connection to %s would start it)" % path)
        return self.tree.path(path)

    def would_activate(self):
        """Whether a mere connection might start the daemon through docker.socket; reading facts must not.

        systemd tells nothing about socket units in files, so: there is such a unit, its service is not started, and no dockerd runs beside it.
        """
        if not units.is_systemd(self.tree) or not units.installed(self.tree, "docker.socket"):
            return False
        if units.started(self.tree, "docker.service") or units.active(self.tree, "docker.service", "dockerd"):
            return False
        pid = (self.tree.text_or_none("/run/docker.pid") or "").strip()
        return not (pid.isdigit() and (self.tree.text_or_none("/proc/%s/comm" % pid) or "").strip() == "dockerd")

    def find_program(self, name):
        """First path of a program in the usual folders (str) or None."""
        for folder in PROGRAM_FOLDERS + (MAC_PROGRAM_FOLDERS if self.darwin else ()):
            if self.tree.exists("%s/%s" % (folder, name)):
                return "%s/%s" % (folder, name)
        return None

    def engine_installed(self):
        if self.darwin:
            return self.find_program("docker") is not None
        return self.find_program("dockerd") is not None

    def api(self, path, query=None, budget=None):
        """Answer of one GET, asked once. Raises NotThere or DockerError. When the time for all answers is over nothing more is sent."""
        return self.once("GET " + path, lambda: self._get(path, query, budget))

    def _get(self, path, query, budget=None):
        try:
            if self._api is None:
                self._api = DockerApi(self.find_socket(), timeout=self.timeout)
                self._api_deadline = time.monotonic() + self.timeout
            left = max(self._api_deadline - time.monotonic(), 0)
            return self._api.get(path, query=query, timeout=min(left, budget or left))
        except DockerTimeout as exc:
            if budget is not None:
                raise
            raise DockerTimeout("%s; waited %g s for all its answers together, see option timeout_seconds" % (exc, self.timeout)) from None

    def objects(self, path, shape, query=None):
        """shape() of the daemon's answer; [] when there is no engine at all."""
        try:
            return shape(self.api(path, query))
        except NotThere:
            return []

    def collect_containers(self):
        return self.container_list()

    def container_list(self):
        return self.once("containers", lambda: self.objects("/containers/json", docker_state.container_facts, {"all": "1"}))

    def collect_networks(self):
        return self.objects("/networks", docker_state.network_facts)

    def collect_volumes(self):
        return self.objects("/volumes", docker_state.volume_facts)

    def collect_images(self):
        images = self.objects("/images/json", docker_state.image_facts)
        end = time.monotonic() + INSPECT_SECONDS
        for position, image in enumerate(images):
            left = end - time.monotonic()
            if position >= INSPECT_IMAGES or left <= 0:
                self.unknown["images.architecture"] = "%d of %d images were not asked for it (limits: %d images, %g s)" % (
                    len(images) - position, len(images), INSPECT_IMAGES, INSPECT_SECONDS)
                break
            try:
                image["architecture"] = docker_state.image_architecture(self.api("/images/%s/json" % image["id"], budget=left))
            except DockerError as exc:
                self.unknown["images.architecture"] = str(exc)
        return images

    def collect_docker(self):
        # The plugins' programs, if any has to run, run while the daemon is asked.
        self.known_packages()
        plugins = {}
        threads = []
        for name in ("docker-compose", "docker-buildx"):
            thread = threading.Thread(target=self._plugin_into, args=(plugins, name), daemon=True)
            thread.start()
            threads.append(thread)
        facts = {
            "cli": self.attempt("docker.cli", self.cli),
            "engine": self.attempt("docker.engine", self.engine),
            "compose": None,
            "buildx": None,
            "service": self.service(),
            "dropins": self.attempt("docker.dropins", self.dropins),
            "daemon_config": self.daemon_config(),
        }
        for thread in threads:
            thread.join()
        for key, name in (("compose", "docker-compose"), ("buildx", "docker-buildx")):
            facts[key], problem = plugins[name]
            if problem:
                self.unknown["docker.%s" % key if facts[key] is None else "docker.%s.version" % key] = problem
        return facts

    def engine(self):
        try:
            return docker_state.engine_facts(self.api("/version"), self.api("/info"))
        except NotThere:
            return None

    def known_packages(self):
        """Packages for looking versions up; {} where there is no list. Debian's package called docker is no part of Docker."""
        try:
            found = dict(self.package_list()[0])
        except (OSError, ValueError):
            return {}
        if self.family() == "debian":
            found.pop("docker", None)
        return found

    def cli(self):
        path = self.find_program("docker")
        if path is None:
            return None
        version = None
        if path in ("/usr/bin/docker", "/bin/docker"):
            version = packages.installed_version(self.known_packages(), packages.CLI_PACKAGES)
        problem = "%s does not tell it" % path
        if version is None and not self.tree.root:
            try:
                version = docker_state.parse_docker_version(self.run_command([path, "--version"]))
            except OSError as exc:
                problem = reason(exc)
        if version is None:
            self.unknown["docker.cli.version"] = problem
        return {"version": version, "path": path}

    def _plugin_into(self, result, name):
        try:
            result[name] = self.plugin(name)
        except Exception as exc:  # pylint: disable=broad-except
            result[name] = (None, reason(exc))

    def plugin(self, name):
        """(fact, problem) of a plugin of the Docker CLI: ({"version", "path"} or None, str or None)."""
        folders = (os.path.expanduser("~/.docker/cli-plugins"),) + PLUGIN_FOLDERS + (MAC_PLUGIN_FOLDERS if self.darwin else ())
        path = next((p for p in ("%s/%s" % (folder, name) for folder in folders) if self.tree.exists(p)), None)
        if path is None:
            return None, None
        version = None
        if path.startswith(("/usr/lib/", "/usr/libexec/")):
            version = self.package_plugin_version(name, path)
        if version is None:
            try:
                if self.tree.root:
                    raise ValueError("programs of a captured tree are not run")
                version = docker_state.plugin_version(self.run_command([path, "docker-cli-plugin-metadata"]))
            except (OSError, ValueError) as exc:
                return {"version": None, "path": path}, "%s: %s" % (path, reason(exc))
        return {"version": version, "path": path}, None

    def package_plugin_version(self, name, path):
        """Version of a plugin from the package that brought it (str), None when no package did. Saves starting a large program."""
        found = self.known_packages()
        for package in PLUGIN_PACKAGES[name]:
            entry = found.get(package)
            if not entry or entry["status"] != "installed":
                continue
            owned = self.tree.text_or_none("/var/lib/dpkg/info/%s.list" % package)
            if owned is None or path in owned.splitlines():
                return packages.upstream_version(entry["version"])
        return None

    def service(self):
        unit = "docker.service"
        facts = {"unit": unit, "active": None, "enabled": None}
        if not units.is_systemd(self.tree):
            self.unknown["docker.service.active"] = self.unknown["docker.service.enabled"] = "systemd is not the init here"
            return facts
        facts["active"] = self.attempt("docker.service.active", units.active, self.tree, unit, "dockerd")
        facts["enabled"] = self.attempt("docker.service.enabled", units.enabled, self.tree, unit)
        return facts

    def dropins(self):
        paths = []
        for folder in DROPIN_FOLDERS:
            paths += ["%s/%s" % (folder, name) for name in self.tree.names(folder) if name.endswith(".conf")]
        return self.digests("docker.dropins", paths)

    def daemon_config(self):
        path = os.path.expanduser("~/.docker/daemon.json") if self.darwin else DAEMON_JSON
        facts = {"path": path, "exists": False, "raw": None, "parsed": None, "error": None, "mode": None, "owner": None}
        try:
            info = os.stat(self.tree.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return facts
        except OSError as exc:
            facts["exists"] = None
            self.unknown["docker.daemon_config"] = facts["error"] = reason(exc)
            return facts
        facts["exists"] = True
        facts["mode"] = "%04o" % stat.S_IMODE(info.st_mode)
        try:
            facts["owner"] = pwd.getpwuid(info.st_uid).pw_name
        except KeyError:
            facts["owner"] = str(info.st_uid)
        try:
            facts["raw"] = self.tree.text(path)
        except OSError as exc:
            self.unknown["docker.daemon_config.raw"] = self.unknown["docker.daemon_config.parsed"] = facts["error"] = reason(exc)
            return facts
        facts["parsed"], facts["error"] = docker_state.parse_daemon_config(facts["raw"])
        if facts["error"]:
            self.unknown["docker.daemon_config.parsed"] = "%s: %s" % (path, facts["error"])
        return facts

    # ---- ports, binfmt, and the rest -------------------------------------------------------------------------------

    def collect_ports(self):
        self.not_on_mac("the list of listening sockets")
        found = sockets.parse_listening(self.tree.text("/proc/net/tcp"))
        found += sockets.parse_listening(self.tree.text_or_none("/proc/net/tcp6") or "")
        owners, problem = self.socket_owners({inode for unused, unused2, inode in found})
        containers = None
        if self.gather & {"containers", "docker"}:
            try:
                containers = self.container_list()
            except (DockerError, NotThere) as exc:
                self.unknown["ports.container"] = str(exc)
        else:
            self.unknown["ports.container"] = "not gathered: option gather does not name containers"
        if problem:
            self.unknown["ports.process"] = problem
        return sockets.port_facts(found, owners, containers)

    def socket_owners(self, inodes):
        """({inode: (pid, name)}, problem or None) for the inodes asked for, within FD_SECONDS."""
        owners, missing, refused = {}, set(inodes), 0
        end = time.monotonic() + FD_SECONDS
        for pid in sorted((int(name) for name in self.tree.names("/proc") if name.isdigit())):
            if not missing:
                return owners, None
            if time.monotonic() > end:
                return owners, "not all processes were looked at within %g s" % FD_SECONDS
            folder = self.tree.path("/proc/%d/fd" % pid)
            try:
                links = os.listdir(folder)
            except PermissionError:
                refused += 1
                continue
            except OSError:
                continue  # the process has ended
            for link in links:
                try:
                    inode = sockets.socket_inode(os.readlink("%s/%s" % (folder, link)))
                except OSError:
                    continue
                if inode in missing:
                    missing.discard(inode)
                    owners[inode] = (pid, (self.tree.text_or_none("/proc/%d/comm" % pid) or "").strip() or None)
        if missing and refused:
            return owners, "permission denied on /proc/PID/fd of %d processes (use become)" % refused
        return owners, "%d sockets belong to no process that is visible here" % len(missing) if missing else None

    def binfmt_handlers(self):
        """Handlers of binfmt.parse_handler(). Raises ValueError when the file system is not mounted; [] when the kernel has none."""
        return self.once("binfmt", self._binfmt_handlers)

    def _binfmt_handlers(self):
        folder = "/proc/sys/fs/binfmt_misc"
        if not self.tree.exists(folder):
            return []
        if not self.tree.exists(folder + "/status"):
            raise ValueError("%s is not mounted, the kernel's handlers can't be seen" % folder)
        names = [name for name in self.tree.names(folder) if name not in ("register", "status")]
        return [binfmt.parse_handler(name, self.tree.text("%s/%s" % (folder, name))) for name in names]

    def collect_binfmt(self):
        self.not_on_mac("binfmt_misc")
        folder = "/proc/sys/fs/binfmt_misc"
        status = self.tree.text_or_none(folder + "/status")
        facts = {"mounted": status is not None, "enabled": (status or "").strip() == "enabled", "handlers": None}
        handlers = self.attempt("binfmt.handlers", self.binfmt_handlers)
        if handlers is not None:
            facts["handlers"] = [self.binfmt_entry(handler, ("name", "enabled", "interpreter", "flags")) for handler in handlers]
        if status is None and handlers is None:
            facts["enabled"] = None
            self.unknown["binfmt.enabled"] = self.unknown["binfmt.handlers"]
        facts["at_boot"] = self.attempt("binfmt.at_boot", self.binfmt_at_boot)
        facts["proven"] = self.attempt("binfmt.proven", lambda: binfmt.parse_proven(self.tree.text_or_none(binfmt.PROVEN) or ""))
        return facts

    @staticmethod
    def binfmt_entry(entry, names):
        return dict([(name, entry[name]) for name in names], platforms=binfmt.handler_platforms(entry))

    def binfmt_at_boot(self):
        """What systemd-binfmt will load; rules for other files than programs are left out."""
        found = binfmt.read_at_boot(self.tree)
        rules = [self.binfmt_entry(rule, ("name", "file", "interpreter", "flags")) for rule in found["rules"]]
        return {"blocked": found["blocked"], "rules": [rule for rule in rules if rule["platforms"]]}

    def collect_artifacts(self):
        path, end = "/var/lib/dockyard/artifacts", time.monotonic() + STORE_SECONDS
        facts = summary(Store(self.tree.path(path)), lambda: time.monotonic() > end)
        for key in ("files", "bytes", "sets"):
            if facts[key] is None:
                self.unknown["artifacts.%s" % key] = "looking takes longer than %g s" % STORE_SECONDS
        return dict(facts, path=path)

    def collect_bluetooth(self):
        self.not_on_mac("Bluetooth")
        bus = self.tree.path("/run/dbus/system_bus_socket")
        # hci0:11 is a connection of hci0
        adapters = [name for name in self.tree.names("/sys/class/bluetooth") if name.startswith("hci") and ":" not in name]
        return {
            "adapters": adapters,
            "powered": self.attempt("bluetooth.powered", self.powered_adapters, adapters),
            "blocked": self.attempt("bluetooth.blocked", self.blocked_adapters),
            "installed": any(self.tree.exists(path) for path in BLUETOOTHD),
            "bus_socket": os.path.exists(bus) and stat.S_ISSOCK(os.stat(bus).st_mode),
            "service_active": self.attempt("bluetooth.service_active", units.active, self.tree, "bluetooth.service", "bluetoothd"),
            "apparmor": (self.tree.text_or_none("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y",
        }

    def powered_adapters(self, names):
        """Those of the adapters that are on: the kernel tells it, so BlueZ need not run. Raises OSError."""
        if not names:
            return []
        if self.tree.root:
            raise OSError("a captured machine's adapters can't be asked")
        on = []
        with socket.socket(socket.AF_BLUETOOTH, socket.SOCK_RAW, socket.BTPROTO_HCI) as control:
            for name in names:
                # struct hci_dev_info: u16 number, 8 bytes name, 6 bytes address, u32 flags, ...
                answer = fcntl.ioctl(control, HCIGETDEVINFO, struct.pack("H94x", int(name[3:])))
                if struct.unpack_from("I", answer, 16)[0] & 1:
                    on.append(name)
        return on

    def blocked_adapters(self):
        """What rfkill keeps off: list of {"name", "how": soft or hard}."""
        found = []
        for name in self.tree.names("/sys/class/rfkill"):
            folder = "/sys/class/rfkill/%s/" % name
            if (self.tree.text_or_none(folder + "type") or "").strip() == "bluetooth":
                for how in ("soft", "hard"):
                    if (self.tree.text_or_none(folder + how) or "").strip() == "1":
                        found.append({"name": (self.tree.text_or_none(folder + "name") or name).strip(), "how": how})
        return found

    def collect_releases(self):
        folder = "/var/lib/dockyard/releases"
        result = {}
        for name in self.tree.names(folder):
            if name.endswith(".jsonl"):
                stack = name[:-len(".jsonl")]
                result[stack] = self.attempt("releases.%s" % stack, self.release, stack, "%s/%s" % (folder, name))
        return result

    def release(self, stack, path):
        with open(self.tree.path(path), "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - LEDGER_TAIL_BYTES))
            text = handle.read().decode("utf-8", "replace")
        entry, problem = docker_state.last_release(text, whole=size <= LEDGER_TAIL_BYTES)
        if problem:
            self.unknown["releases.%s" % stack] = problem
        return entry

    def collect_schedules(self):
        """The schedules of each stack: timers that we wrote, whether they are on, and the newest result."""
        folder, result = "/etc/systemd/system", {}
        for name in self.tree.names(folder):
            stack, schedule = split_timer(name)
            if schedule:
                entry = {
                    "calendar": self.attempt("schedules.%s.%s.calendar" % (stack, schedule), self.calendar, "%s/%s" % (folder, name)),
                    "enabled": units.enabled(self.tree, name),
                    "last": self.attempt("schedules.%s.%s.last" % (stack, schedule), self.last_result, stack, schedule),
                }
                result.setdefault(stack, {})[schedule] = entry
        return result

    def calendar(self, path):
        for line in self.tree.text(path).splitlines():
            if line.startswith("OnCalendar="):
                return line.partition("=")[2].strip()
        return None

    def last_result(self, stack, schedule):
        """When a schedule ran last, and whether it succeeded; None before its first run."""
        folder = "/var/lib/dockyard/results/%s/%s" % (stack, schedule)
        names = [name for name in self.tree.names(folder) if name.endswith(".json")]
        if not names:
            return None
        try:
            found = json.loads(self.tree.text("%s/%s" % (folder, names[-1])))
            return {"started": found["started"], "success": bool(found["success"])}
        except (ValueError, KeyError, TypeError) as exc:
            raise OSError("%s/%s: not a result of a schedule" % (folder, names[-1])) from exc

    def collect_stacks(self):
        """What the secrets of each stack are, never their values."""
        folder = "/etc/dockyard/stacks"
        return {
            name: {"secrets": self.attempt("stacks.%s.secrets" % name, self.secrets, "%s/%s/secrets/.meta.json" % (folder, name))}
            for name in self.tree.names(folder) if not name.startswith(".")
        }

    def secrets(self, path):
        try:
            with open(self.tree.path(path), encoding="utf-8") as handle:
                known = json.load(handle)
        except FileNotFoundError:
            return {}
        except ValueError as exc:
            raise OSError("%s: not valid JSON: %s" % (path, exc)) from exc
        return {name: {key: entry.get(key) for key in ("source", "created_epoch_s", "expires_epoch_s")} for name, entry in known.items()}
