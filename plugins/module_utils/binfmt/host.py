# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors of the module binfmt: the kernel's handlers, systemd-binfmt, packages, and programs that are run to see whether they run."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import tempfile

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.collect import Collector
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree

FOLDER = "/proc/sys/fs/binfmt_misc"
# A Pi 3 that swaps needs a second for an emulator's start; what takes longer than this hangs.
PROBE_SECONDS = 30
LOCK_SECONDS = 120
HEAD_BYTES = 65536


class HostError(Exception):
    """An outside program or the kernel refused; the text says which and why."""


def _reason(error):
    """Why exec failed (str), from an OSError."""
    if error.errno == errno.ENOEXEC:
        return "the kernel has no handler that takes it"
    if error.errno == errno.ENOENT:
        return "the emulator is not there for a program in a container: its handler has no flag F, or it is linked dynamically"
    return error.strerror or str(error)


class Host:
    """This machine.

    :param run: as AnsibleModule.run_command(); :param tmpdir: folder for files of this run.
    """

    def __init__(self, run, tmpdir):
        self.run = run
        self.tmpdir = tmpdir
        self.tree = Tree("/")

    # ---- what is there ---------------------------------------------------------------------------------------------

    def facts(self):
        """Facts `os` and `architecture` of host_facts (dict)."""
        return Collector(gather=("os", "architecture")).run()

    def status(self):
        """Text of the kernel's switch, "enabled" or "disabled", or None when binfmt_misc is not mounted."""
        text = self.tree.text_or_none(FOLDER + "/status")
        return None if text is None else text.strip()

    def handlers(self):
        """Handlers of the kernel, as of facts.parse_handler() (list of dict)."""
        result = []
        for name in self.tree.names(FOLDER):
            if name not in ("register", "status"):
                text = self.tree.text_or_none("%s/%s" % (FOLDER, name))
                if text is not None:  # else somebody removed it just now
                    result.append(facts.parse_handler(name, text))
        return result

    def kernel_release(self):
        """Release of the kernel (str)."""
        return os.uname().release

    def at_boot(self):
        """As facts.read_at_boot()."""
        return facts.read_at_boot(self.tree)

    def text(self, path):
        """A file's text (str), None when there is none."""
        return self.tree.text_or_none(path)

    def head(self, path):
        """The beginning of a file (bytes), None when there is none."""
        try:
            with open(path, "rb") as stream:
                return stream.read(HEAD_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None

    # ---- changes ---------------------------------------------------------------------------------------------------

    def mount(self):
        """Mount binfmt_misc. Raises HostError with the reason when that can't be."""
        note = ""
        if not os.path.isdir(FOLDER):
            unused, out, err = self.run(["modprobe", "binfmt_misc"])
            note = (err or out).strip()
        if not os.path.isdir(FOLDER):
            raise HostError("this kernel has no binfmt_misc%s" % (" (%s)" % note if note else ""))
        code, out, err = self.run(["mount", "-t", "binfmt_misc", "binfmt_misc", FOLDER])
        if code != 0 or self.status() is None:
            raise HostError((err or out).strip() or "mount says nothing, but nothing is there")

    def writable(self):
        """Whether handlers may be registered here (bool): a container may show the kernel's handlers and yet not let them be changed."""
        return os.access(FOLDER + "/register", os.W_OK) and not os.statvfs(FOLDER).f_flag & os.ST_RDONLY

    def register(self, text):
        """Let systemd-binfmt register the rules of a text, as it will do at boot. Others' handlers are not touched: it removes all only
        when it is called without a file. Raises HostError.
        """
        program = next((path for path in facts.PROGRAMS if os.path.exists(path)), facts.PROGRAMS[0])
        handle, path = tempfile.mkstemp(dir=self.tmpdir, suffix=".conf")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            code, out, err = self.run([program, path])
        finally:
            os.unlink(path)
        if code != 0:
            raise HostError("%s: %s" % (program, (err or out).strip().replace(path, "the rule")))

    def unregister(self, name):
        """Take a handler out of the kernel; none there is fine."""
        try:
            handle = os.open("%s/%s" % (FOLDER, name), os.O_WRONLY)
        except FileNotFoundError:
            return
        try:
            os.write(handle, b"-1")
        finally:
            os.close(handle)

    def write(self, path, text):
        """Put a text in the place of a file, whole or not at all."""
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        # Neither systemd nor dpkg reads a name that begins so.
        handle, beside = tempfile.mkstemp(dir=folder, prefix=".dockyard-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
            os.replace(beside, path)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)

    def remove(self, path):
        """Remove a file; none there is fine."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def proven(self):
        """What was seen running, as of facts.parse_proven()."""
        return facts.parse_proven(self.text(facts.PROVEN) or "")

    def write_proven(self, proven):
        """Remember it for host_facts."""
        self.write(facts.PROVEN, json.dumps(proven, indent=2, sort_keys=True) + "\n")

    def has_apt(self):
        return shutil.which("apt-get") is not None

    def install(self, package):
        """Install a Debian package without those that it only recommends. Raises HostError."""
        options = ["-q", "-y", "-o", "DPkg::Lock::Timeout=%d" % LOCK_SECONDS, "--no-install-recommends"]
        environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        install = ["apt-get", "install"] + options + [package]
        code, out, err = self.run(install, environ_update=environment)
        if code != 0:
            # Lists that are missing or too old; what else is wrong says the second try.
            self.run(["apt-get", "update", "-q", "-o", "DPkg::Lock::Timeout=%d" % LOCK_SECONDS], environ_update=environment)
            code, out, err = self.run(install, environ_update=environment)
        if code != 0:
            raise HostError(" ".join((err or out).split())[-600:])

    # ---- proofs ----------------------------------------------------------------------------------------------------

    def _folder(self):
        """A folder for programs: not all places let them be executed."""
        for place in (self.tmpdir, "/var/tmp", "/var/lib", "/root"):
            if os.path.isdir(place) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
                return tempfile.mkdtemp(prefix="dockyard-binfmt-", dir=place)
        raise HostError("no folder of %s lets programs be executed (noexec)" % ", ".join((self.tmpdir, "/var/tmp", "/var/lib", "/root")))

    def _run_probe(self, argv, program, enter):
        """Run it; :returns: (what is wrong or None, its output (bytes))."""
        try:
            # pylint: disable-next=ansible-bad-function  # run_command can't call a program by another name, nor enter a chroot
            child = subprocess.Popen(
                argv, executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, cwd="/", preexec_fn=enter)
        except OSError as exc:
            return _reason(exc), b""
        except subprocess.SubprocessError as exc:
            return "chroot failed (%s)" % exc, b""
        try:
            out, err = child.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return "it did not end within %d s" % PROBE_SECONDS, b""
        if child.returncode == elf.EXIT_STATUS:
            return None, out
        how = "exit status %d" % child.returncode
        if child.returncode < 0:
            how = "signal %s" % signal.Signals(-child.returncode).name
        said = " ".join(err.decode("utf-8", "replace").split())[:200]
        return "it ended with %s instead of exit status %d%s" % (how, elf.EXIT_STATUS, ": " + said if said else ""), out

    def _probe(self, platform, command):
        folder = self._folder()
        try:
            path = os.path.join(folder, "probe")
            with open(path, "wb") as stream:
                stream.write(elf.probe(platform))
            os.chmod(path, 0o755)
            return self._run_probe(*command(folder, path))
        finally:
            shutil.rmtree(folder)

    def probe(self, platform):
        """Run a program of the platform as a container would: with nothing else in its file system, so that only flag F helps.

        :returns: (what is wrong (str) or None, its output (bytes): elf.CALLED when it learned its name)
        """
        def command(folder, path):  # pylint: disable=unused-argument
            def enter():
                os.chroot(folder)
                os.chdir("/")
            return [elf.CALLED], "/probe", enter

        return self._probe(platform, command)

    def probe_directly(self, platform, emulator):
        """Run a program of the platform by an emulator, past the kernel's handlers. Result as of probe()."""
        def command(folder, path):  # pylint: disable=unused-argument
            return ["qemu", "-0", elf.CALLED, path], emulator, None

        return self._probe(platform, command)
