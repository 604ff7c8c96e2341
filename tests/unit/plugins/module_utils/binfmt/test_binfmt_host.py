# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors of binfmt against real files and real programs; the kernel's handlers are those of a captured folder."""

from __future__ import annotations

import os
import platform as machine
import struct

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf, host, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import system
from ansible_collections.dockyard.fleet.plugins.module_utils.facts.tree import Tree

HERE = system.docker_platform(machine.machine(), None)


@pytest.fixture(name="run")
def fixture_run():
    """Stands for AnsibleModule.run_command: answers in their order; one call too many or too few fails."""
    class Run:
        steps = []

        def __call__(self, argv, environ_update=None):
            wanted, answer = self.steps.pop(0)
            assert argv[:len(wanted)] == wanted
            return answer(argv) if callable(answer) else answer
    made = Run()
    made.steps = []
    yield made
    assert made.steps == []


@pytest.fixture(name="door")
def fixture_door(run, tmp_path, monkeypatch):
    """A Host whose kernel is a folder."""
    (tmp_path / "tmp").mkdir()
    made = host.Host(run, str(tmp_path / "tmp"))
    monkeypatch.setattr(host, "FOLDER", str(tmp_path / "binfmt_misc"))
    made.tree = Tree("/")
    return made


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# ---- proofs ----------------------------------------------------------------------------------------------------------


def test_a_program_by_an_emulator(door, tmp_path):
    # runs the program, as an emulator would, by the name that it is told
    emulator = program(tmp_path / "emulator", '#!/bin/bash\n[ "$1" = -0 ] && exec -a "$2" "$3"\n')
    assert door.probe_directly(HERE, emulator) == (None, b"dockyard")
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.parametrize("text, said", [
    ("#!/bin/sh\nexit 3\n", "exit status 3 instead of exit status 42"),
    ("#!/bin/sh\necho oh no >&2\nexit 127\n", "exit status 127 instead of exit status 42: oh no"),
    ("#!/bin/sh\nkill -SEGV $$\n", "signal SIGSEGV"),
    ("#!/nonexistent/sh\n", "not there for a program in a container"),
])
def test_an_emulator_that_fails(door, tmp_path, text, said):
    problem, unused = door.probe_directly(HERE, program(tmp_path / "emulator", text))
    assert said in problem
    assert os.listdir(tmp_path / "tmp") == []


def test_an_emulator_that_hangs(door, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "PROBE_SECONDS", 0.2)
    assert door.probe_directly(HERE, program(tmp_path / "emulator", "#!/bin/sh\nexec sleep 60\n")) == ("it did not end within 0 s", b"")


def test_a_program_that_nobody_takes(door, tmp_path):
    data = bytearray(elf.probe(HERE))
    data[18:20] = struct.pack("<H", 0xFFFE)  # no machine has this number
    path = tmp_path / "program"
    path.write_bytes(bytes(data))
    path.chmod(0o755)
    assert door.probe_directly(HERE, str(path)) == ("the kernel has no handler that takes it", b"")


def test_what_goes_wrong_on_the_way_into_the_chroot(door, monkeypatch):
    def chroot(folder):
        raise PermissionError(1, "Operation not permitted", folder)
    monkeypatch.setattr(host.os, "chroot", chroot)
    assert "chroot failed" in door.probe(HERE)[0]


def test_a_place_that_lets_no_program_run_is_not_taken(door, tmp_path, monkeypatch):
    class Answer:
        f_flag = os.ST_NOEXEC
    asked = []
    monkeypatch.setattr(host.os, "statvfs", lambda place: asked.append(place) or Answer)
    with pytest.raises(host.HostError, match="noexec"):
        door.probe(HERE)
    assert asked[:2] == [str(tmp_path / "tmp"), "/var/tmp"]


# ---- the kernel ------------------------------------------------------------------------------------------------------


def test_nothing_is_mounted(door):
    assert door.status() is None and door.handlers() == []


def test_handlers(door, tmp_path):
    folder = tmp_path / "binfmt_misc"
    folder.mkdir()
    (folder / "status").write_text("enabled\n")
    (folder / "register").write_text("")
    (folder / "qemu-arm").write_text("enabled\ninterpreter /x\nflags: F\noffset 0\nmagic 7f\n")
    assert door.status() == "enabled"
    assert [(handler["name"], handler["flags"]) for handler in door.handlers()] == [("qemu-arm", "F")]
    assert door.writable() is True
    door.unregister("qemu-arm")
    assert (folder / "qemu-arm").read_text().startswith("-1")
    door.unregister("qemu-gone")
    assert not (folder / "qemu-gone").exists()


def test_a_kernel_without_binfmt_misc(door, run):
    run.steps = [(["modprobe", "binfmt_misc"], (1, "", "modprobe: FATAL: Module binfmt_misc not found\n"))]
    with pytest.raises(host.HostError, match=r"this kernel has no binfmt_misc \(modprobe: FATAL: Module binfmt_misc not found\)"):
        door.mount()


def test_mounting_that_is_refused(door, run, tmp_path):
    (tmp_path / "binfmt_misc").mkdir()
    run.steps = [(["mount", "-t", "binfmt_misc", "binfmt_misc"], (32, "", "mount: permission denied.\n"))]
    with pytest.raises(host.HostError, match="permission denied"):
        door.mount()


def test_mounting_that_only_seems_to_work(door, run, tmp_path):
    (tmp_path / "binfmt_misc").mkdir()
    run.steps = [(["mount"], (0, "", ""))]
    with pytest.raises(host.HostError, match="nothing is there"):
        door.mount()


def test_mounting(door, run, tmp_path):
    def mounted(argv):
        (tmp_path / "binfmt_misc/status").write_text("enabled\n")
        return 0, "", ""
    (tmp_path / "binfmt_misc").mkdir()
    run.steps = [(["mount", "-t", "binfmt_misc", "binfmt_misc", str(tmp_path / "binfmt_misc")], mounted)]
    door.mount()
    assert door.status() == "enabled"


def test_systemd_registers_the_rule_alone_and_never_all(door, run, tmp_path):
    text = plan.rule_text("linux/arm64", "/e")

    def registers(argv):
        assert len(argv) == 2 and argv[1].endswith(".conf")
        with open(argv[1], encoding="utf-8") as stream:
            assert stream.read() == text
        return 0, "", ""
    run.steps = [([], registers)]
    door.register(text)
    assert os.listdir(tmp_path / "tmp") == []


def test_systemd_that_fails(door, run, tmp_path):
    run.steps = [([], lambda argv: (1, "", "%s:2: Failed to add rule: No such file or directory\n" % argv[1]))]
    with pytest.raises(host.HostError, match="systemd-binfmt: the rule:2: Failed to add rule: No such file"):
        door.register("x")
    assert os.listdir(tmp_path / "tmp") == []


# ---- files and packages ----------------------------------------------------------------------------------------------


def test_a_file_is_there_whole_or_as_it_was(door, tmp_path, monkeypatch):
    path = tmp_path / "etc/binfmt.d/x.conf"
    door.write(str(path), "one\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("one\n", 0o644)

    def full(*unused):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(host.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        door.write(str(path), "two\n")
    assert path.read_text() == "one\n" and os.listdir(path.parent) == ["x.conf"]
    door.remove(str(path))
    door.remove(str(path))
    assert os.listdir(path.parent) == []


def test_what_was_seen_working_is_remembered(door, tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "PROVEN", str(tmp_path / "state/binfmt.json"))
    assert door.proven() == {}
    door.write_proven({"linux/arm64": {"handler": "h", "interpreter": "/i"}})
    assert door.proven() == {"linux/arm64": {"handler": "h", "interpreter": "/i", "kernel": None}}


def test_head(door, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 100000)
    assert len(door.head(str(tmp_path / "big"))) == 65536
    assert door.head(str(tmp_path / "none")) is None and door.head(str(tmp_path / "big/none")) is None


INSTALL = ["apt-get", "install", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", "qemu-user"]


def test_a_package_with_fresh_lists(door, run):
    run.steps = [(INSTALL, (0, "", ""))]
    door.install("qemu-user")


def test_a_package_with_old_lists(door, run):
    run.steps = [(INSTALL, (100, "", "E: Unable to fetch")), (["apt-get", "update"], (0, "", "")), (INSTALL, (0, "", ""))]
    door.install("qemu-user")


def test_a_package_that_is_nowhere(door, run):
    run.steps = [(INSTALL, (100, "", "")), (["apt-get", "update"], (100, "", "")), (INSTALL, (100, "", "E: Unable to locate\n   package qemu-user\n"))]
    with pytest.raises(host.HostError, match="E: Unable to locate package qemu-user"):
        door.install("qemu-user")


def test_facts_of_this_machine(door):
    assert door.kernel_release() == machine.release()
    assert HERE in door.facts()["architecture"]["native"]
