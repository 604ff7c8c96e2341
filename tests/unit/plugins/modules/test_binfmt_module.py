# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module binfmt against a scripted machine that behaves as the kernel and systemd do."""

from __future__ import annotations

import json
import os
import struct

import pytest

from ansible.module_utils.testing import patch_module_args
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt.host import HostError
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts
from ansible_collections.dockyard.fleet.plugins.modules import binfmt

STATIC = elf.probe("linux/amd64")
DYNAMIC = STATIC[:64] + struct.pack("<I", 3) + STATIC[68:]
EMULATOR = {platform: plan.EMULATOR % entry["qemu"] for platform, entry in elf.PLATFORMS.items()}
ARM64, S390X = "linux/arm64", "linux/s390x"
FILE = "/etc/binfmt.d/dockyard-arm64.conf"


class Machine:
    """What host.Host is to the module. Every change is noted in `calls`."""

    def __init__(self):
        self.native = ["linux/amd64", "linux/386"]
        self.system = {"id": "debian", "version_id": "13", "family": "debian", "pretty_name": "Debian 13"}
        self.switch = "enabled"
        self.can_write = True
        self.blocked = None
        self.kernel = []            # the newest first, as the kernel asks them
        self.files = {}
        self.programs = {path: STATIC for path in EMULATOR.values()}
        self.broken = set()         # emulators that fail
        self.deaf = set()           # emulators that do not know flag P
        self.runs = set()           # what the hardware runs although nobody knows
        self.apt = True
        self.seen = {}
        self.calls = []
        self.failures = {}          # call -> reason

    def kernel_release(self):
        return "6.1.0-1"

    def call(self, name, *what):
        self.calls.append((name,) + what)
        if name in self.failures:
            raise HostError(self.failures[name])

    def facts(self):
        return {"os": self.system, "architecture": {"native": self.native, "machine": "x86_64"}}

    def status(self):
        return self.switch

    def writable(self):
        return self.can_write

    def handlers(self):
        return list(self.kernel)

    def at_boot(self):
        rules = {}
        for path in sorted(self.files, key=os.path.basename):
            if "/binfmt.d/" in path:
                rules.update((rule["name"], rule) for rule in facts.parse_rules(self.files[path], path))
        return {"blocked": self.blocked, "rules": [] if self.blocked else [rule for rule in rules.values() if rule["interpreter"] in self.programs]}

    def text(self, path):
        return self.files.get(path)

    def head(self, path):
        return self.programs.get(path)

    def has_apt(self):
        return self.apt

    def proven(self):
        return dict(self.seen)

    def mount(self):
        self.call("mount")
        self.switch = "enabled"

    def register(self, text):
        rule = facts.parse_rules(text, "rule")[0]
        self.call("register", rule["name"], rule["interpreter"])
        self.kernel = [handler for handler in self.kernel if handler["name"] != rule["name"]]
        if rule["interpreter"] not in self.programs:
            raise HostError("No such file or directory")
        self.kernel.insert(0, dict(rule, enabled=True))

    def unregister(self, name):
        self.call("unregister", name)
        self.kernel = [handler for handler in self.kernel if handler["name"] != name]

    def write(self, path, text):
        self.call("write", path)
        self.files[path] = text

    def remove(self, path):
        self.call("remove", path)
        self.files.pop(path, None)

    def write_proven(self, proven):
        self.seen = dict(proven)

    def install(self, package):
        self.call("install", package)
        self.programs.update((path, STATIC) for path in EMULATOR.values())

    def run(self, interpreter, flags):
        if interpreter in self.broken:
            return "it ended with signal SIGSEGV instead of exit status 42", b""
        return None, b"/probe\x00e" if "P" not in flags or interpreter in self.deaf else elf.CALLED.encode()

    def probe(self, platform):
        handler = next(iter(plan.concerned(self.kernel, platform)), None)
        if handler is None:
            return (None, b"dockyard") if platform in self.runs else ("the kernel has no handler that takes it", b"")
        return self.run(handler["interpreter"], handler["flags"]) if "F" in handler["flags"] else ("the emulator is not there", b"")

    def probe_directly(self, platform, emulator):
        return self.run(emulator, "P")

    # ---- for the tests ---------------------------------------------------------------------------------------------

    def others(self, name="qemu-aarch64", flags="POF", interpreter="/usr/bin/theirs", at_boot=False, platform=ARM64):
        line = plan.rule_line(platform, interpreter).replace(plan.handler_name(platform), name).rsplit(":", 1)[0] + ":" + flags
        self.programs[interpreter] = STATIC
        self.kernel.insert(0, dict(facts.parse_rules(line, "x")[0], enabled=True))
        if at_boot:
            self.files["/usr/lib/binfmt.d/%s.conf" % name] = line

    def state(self):
        return json.dumps([self.kernel, self.files, sorted(self.programs), self.switch], sort_keys=True)


@pytest.fixture(name="machine")
def fixture_machine():
    return Machine()


def go(machine, platforms=(ARM64,), check=False, **params):
    """The module's result."""
    machine.calls = []
    settings = {"platforms": list(platforms), "state": "present", "emulators": {}, "install": True}
    return binfmt.Binfmt(machine, dict(settings, **params), check).run()


def refused(machine, *args, **params):
    """The refusal's text; nothing may have been left behind."""
    before = machine.state()
    with pytest.raises(binfmt.Refused) as caught:
        go(machine, *args, **params)
    assert machine.state() == before
    return str(caught.value)


def statuses(result):
    return {platform: (entry["status"], entry["handler"], entry["changed"]) for platform, entry in result["platforms"].items()}


def test_the_rule_is_written_after_its_handler_was_seen_working_and_once(machine):
    result = go(machine)
    assert machine.calls == [("register", "dockyard-arm64", EMULATOR[ARM64]), ("write", FILE)]
    assert (result["changed"], statuses(result)) == (True, {ARM64: ("ours", "dockyard-arm64", True)})
    assert machine.seen == {ARM64: {"handler": "dockyard-arm64", "interpreter": EMULATOR[ARM64], "kernel": None}}
    assert facts.parse_rules(machine.files[FILE], FILE)[0]["flags"] == "POF"
    again = go(machine)
    assert (again["changed"], machine.calls, statuses(again)) == (False, [], {ARM64: ("ours", "dockyard-arm64", False)})


@pytest.mark.parametrize("prepare", [
    lambda machine: None,
    lambda machine: machine.programs.clear(),
    lambda machine: machine.others(),
    lambda machine: machine.others(at_boot=True),
    lambda machine: machine.files.update({"/etc/binfmt.d/dockyard-amd64.conf": plan.rule_text("linux/amd64", "/x")}),
])
def test_check_mode_predicts_and_changes_nothing(machine, prepare):
    prepare(machine)
    before = machine.state()
    wanted = [ARM64, "linux/arm/v7", "linux/arm/v6", "linux/amd64"]
    predicted = go(machine, wanted, check=True)
    assert (machine.state(), machine.calls, machine.seen) == (before, [], {})
    result = go(machine, wanted)
    # v6 has v7's handler, which check mode can't have registered
    assert result["platforms"]["linux/arm/v6"]["changed"] is False
    for each in (predicted, result):
        del each["platforms"]["linux/arm/v6"]
    assert (predicted["changed"], statuses(predicted), predicted["removed"], predicted["installed"]) == (
        result["changed"], statuses(result), result["removed"], result["installed"])


def test_after_a_power_cycle_without_its_handler_ours_is_registered_again(machine):
    go(machine)
    machine.kernel.clear()
    assert go(machine)["changed"] is True and machine.calls[0][0] == "register"


@pytest.mark.parametrize("change", [{"flags": "OP"}, {"interpreter": "/usr/bin/theirs"}, {"mask": None}, {"enabled": False}])
def test_ours_is_put_right(machine, change):
    go(machine)
    machine.programs["/usr/bin/theirs"] = STATIC
    machine.kernel[0].update(change)
    assert go(machine)["changed"] is True
    assert plan.same(machine.kernel[0], ARM64, EMULATOR[ARM64]) and len(machine.kernel) == 1


def test_both_arms_share_a_handler(machine):
    result = go(machine, ["linux/arm/v7", "linux/arm/v6"])
    assert statuses(result) == {"linux/arm/v7": ("ours", "dockyard-arm", True), "linux/arm/v6": ("ours", "dockyard-arm", False)}
    assert [handler["name"] for handler in machine.kernel] == ["dockyard-arm"]


# ---- the hardware's own ----------------------------------------------------------------------------------------------


def test_what_the_hardware_runs_is_not_emulated(machine):
    result = go(machine, ["linux/amd64", "linux/386", "linux/x86_64"])
    assert (result["changed"], machine.calls) == (False, [])
    assert statuses(result) == {"linux/amd64": ("native", None, False), "linux/386": ("native", None, False)}


def test_a_leftover_for_the_hardware_is_removed_and_others_are_not(machine):
    machine.others("dockyard-386", platform="linux/386")
    machine.others("qemu-x86_64", platform="linux/amd64", at_boot=True)
    machine.files["/etc/binfmt.d/dockyard-amd64.conf"] = plan.rule_text("linux/amd64", "/x")
    result = go(machine, [])
    assert (result["changed"], result["removed"]) == (True, ["dockyard-386", "dockyard-amd64"])
    assert machine.calls == [("remove", "/etc/binfmt.d/dockyard-386.conf"), ("unregister", "dockyard-386"), ("remove", "/etc/binfmt.d/dockyard-amd64.conf")]
    assert [handler["name"] for handler in machine.kernel] == ["qemu-x86_64"] and list(machine.files) == ["/usr/lib/binfmt.d/qemu-x86_64.conf"]


def test_hardware_that_runs_it_although_nobody_knows(machine):
    machine.runs.add("linux/arm/v7")
    result = go(machine, ["linux/arm/v7"])
    assert (statuses(result), machine.calls) == ({"linux/arm/v7": ("native", None, False)}, [])
    assert machine.seen == {"linux/arm/v7": {"handler": None, "interpreter": None, "kernel": "6.1.0-1"}}
    machine.native.append("linux/arm/v7")  # as the facts then say
    assert statuses(go(machine, ["linux/arm/v7"])) == {"linux/arm/v7": ("native", None, False)}
    assert list(machine.seen) == ["linux/arm/v7"]


def test_an_armv6_machine(machine):
    machine.native = ["linux/arm/v6"]
    assert "hardware that runs linux/arm/v6 itself" in refused(machine, ["linux/arm/v7"])


def test_a_machine_that_docker_does_not_know(machine):
    machine.native = []
    assert "x86_64" in refused(machine)


# ---- handlers of others ----------------------------------------------------------------------------------------------


def test_one_of_others_that_comes_back_at_boot_is_enough(machine):
    machine.others(at_boot=True)
    machine.programs.pop(EMULATOR[ARM64])
    result = go(machine)
    assert (result["changed"], machine.calls, statuses(result)) == (False, [], {ARM64: ("others", "qemu-aarch64", False)})
    assert machine.seen[ARM64] == {"handler": "qemu-aarch64", "interpreter": "/usr/bin/theirs", "kernel": None}


def test_one_of_others_that_will_be_gone_serves_until_then_and_is_not_hidden(machine):
    machine.others(flags="OF")  # without P, which is its owner's business
    result = go(machine)
    assert (machine.calls, statuses(result)) == ([("write", FILE)], {ARM64: ("boot", "qemu-aarch64", True)})
    assert [handler["name"] for handler in machine.kernel] == ["qemu-aarch64"]
    again = go(machine)
    assert (again["changed"], machine.calls, statuses(again)) == (False, [], {ARM64: ("boot", "qemu-aarch64", False)})


def test_one_of_others_without_flag_f_is_told_and_left_alone(machine):
    machine.others(flags="PO", at_boot=True)
    machine.others("late", platform=S390X, flags="")
    said = refused(machine, [ARM64, S390X])
    for part in ("handler qemu-aarch64 (/usr/bin/theirs) has the flags 'PO'", "handler late", "flag F", "ln -s /dev/null"):
        assert part in said
    machine.kernel.clear()
    assert "/usr/lib/binfmt.d/qemu-aarch64.conf will register" in refused(machine)


def test_one_of_others_that_does_not_work(machine):
    machine.others(at_boot=True)
    machine.broken.add("/usr/bin/theirs")
    said = refused(machine)
    assert "handler qemu-aarch64 (/usr/bin/theirs, flags POF) does not run a program" in said and "SIGSEGV" in said and "not ours" in said


def test_an_emulator_for_the_next_boot_is_seen_working_as_well(machine):
    machine.others()
    machine.broken.add(EMULATOR[ARM64])
    assert EMULATOR[ARM64] in refused(machine)


# ---- emulators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version, package, calls", [
    ("13", "qemu-user", ["install", "register", "write"]),
    ("12", "qemu-user-static", ["write", "install", "register", "write"]),
])
def test_the_package(machine, version, package, calls):
    machine.system["version_id"] = version
    machine.programs.clear()
    result = go(machine)
    assert (result["installed"], [call[0] for call in machine.calls]) == (package, calls)
    assert (plan.EXCLUDE_FILE in machine.files) == (version == "12")


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_package_that_cannot_be_installed_leaves_nothing(machine, version):
    machine.system["version_id"] = version
    machine.programs.clear()
    machine.failures["install"] = "E: Unable to locate package"
    said = refused(machine)
    assert "apt-get install qemu-user" in said and "Unable to locate package" in said and "binfmt_emulators" in said


def test_somebodys_exclusion_stays_when_the_package_cannot_be_installed(machine):
    machine.system["version_id"] = "12"
    machine.programs.clear()
    machine.failures["install"] = "E: no"
    machine.files[plan.EXCLUDE_FILE] = "theirs"
    refused(machine)
    assert machine.files[plan.EXCLUDE_FILE] == "theirs"


@pytest.mark.parametrize("prepare, params, said", [
    (lambda machine: machine.system.update(id="amzn", version_id="2023", family="redhat", pretty_name="Amazon Linux 2023"), {},
     "Amazon Linux 2023 has no package"),
    (lambda machine: setattr(machine, "apt", False), {}, "has no package"),
    (lambda machine: None, {"install": False}, "install is off"),
])
def test_no_package(machine, prepare, params, said):
    machine.programs.clear()
    prepare(machine)
    text = refused(machine, [ARM64, S390X], **params)
    assert said in text and "linux/arm64, linux/s390x: found no emulator" in text and "binfmt_emulators" in text


def test_an_emulator_that_was_given(machine):
    machine.programs = {"/opt/qemu-aarch64": STATIC}
    result = go(machine, emulators={"linux/arm64/v8": "/opt/qemu-aarch64"})
    assert result["platforms"][ARM64]["interpreter"] == "/opt/qemu-aarch64" and result["installed"] == ""


@pytest.mark.parametrize("given, said", [
    ({ARM64: "/opt/none"}, "found no file /opt/none"),
    ({ARM64: "opt/relative"}, "needed an absolute path"),
    ({ARM64: "/opt/a:b"}, "needed an absolute path"),
    ({ARM64: "/opt/a b"}, "needed an absolute path"),
    ({ARM64: ["/opt/a"]}, "needed an absolute path"),
    ({ARM64: "/" + "x" * 127}, "at most 127 characters"),
    ({"linux/z80": "/opt/a"}, "emulators[0]: found 'linux/z80'"),
    ({ARM64: "/opt/dynamic"}, "linked dynamically"),
    ({ARM64: "/opt/page"}, "no program"),
    ({ARM64: "/opt/arm"}, "another machine"),
])
def test_an_emulator_that_is_none(machine, given, said):
    machine.programs.update({"/opt/dynamic": DYNAMIC, "/opt/page": b"<html>" + b" " * 99, "/opt/arm": elf.probe(ARM64)})
    assert said in refused(machine, emulators=given)


def test_all_emulators_are_looked_at_before_any_is_registered(machine):
    machine.programs[EMULATOR[S390X]] = DYNAMIC
    assert "linked dynamically" in refused(machine, [ARM64, S390X])
    assert machine.calls == []


def test_a_package_without_the_emulator(machine):
    machine.programs.clear()
    machine.install = lambda package: None
    assert "although its package is installed" in refused(machine)


# ---- registration that fails -----------------------------------------------------------------------------------------


def test_what_was_there_is_there_again(machine):
    machine.programs["/opt/old"] = STATIC
    go(machine, emulators={ARM64: "/opt/old"})
    machine.broken.add(EMULATOR[ARM64])
    said = refused(machine)
    assert "does not run a program" in said and "SIGSEGV" in said
    assert machine.kernel[0]["interpreter"] == "/opt/old" and "/opt/old" in machine.files[FILE]


def test_a_kernel_that_refuses(machine):
    machine.failures["register"] = "Invalid argument"
    said = refused(machine)
    assert "the kernel does not take the handler (Invalid argument)" in said
    assert machine.calls == [("register", "dockyard-arm64", EMULATOR[ARM64]), ("unregister", "dockyard-arm64")]


def test_an_emulator_that_does_not_know_flag_p(machine):
    machine.deaf.add(EMULATOR[ARM64])
    said = refused(machine)
    assert "does not know flag P" in said and machine.kernel == [] and FILE not in machine.files


def test_a_handler_that_is_not_there_afterwards(machine):
    machine.register = lambda text: machine.calls.append("register")
    assert "found nothing after systemd-binfmt has registered it" in refused(machine)


# ---- binfmt_misc -----------------------------------------------------------------------------------------------------


def test_it_is_mounted(machine):
    machine.switch = None
    assert go(machine, check=True)["mounted"] is True and machine.switch is None
    result = go(machine)
    assert (result["mounted"], result["changed"], machine.calls[0]) == (True, True, ("mount",))


def test_it_cannot_be_mounted(machine):
    machine.switch = None
    machine.failures["mount"] = "permission denied"
    said = refused(machine)
    assert "can't be mounted: permission denied" in said and "run this on its machine" in said


def test_it_is_not_mounted_for_what_is_refused_anyway(machine):
    machine.switch, machine.blocked = None, "systemd-binfmt.service is masked in /etc/systemd/system"
    assert "is masked in /etc/systemd/system" in refused(machine)
    assert machine.calls == []


def test_it_is_not_needed_for_what_the_hardware_runs(machine):
    machine.switch, machine.blocked = None, "it is masked"
    assert go(machine, ["linux/amd64"])["changed"] is False


@pytest.mark.parametrize("change, said", [
    ({"switch": "disabled"}, "found 'disabled'; needed enabled"),
    ({"can_write": False}, "read-only"),
    ({"blocked": "systemd-binfmt.service is masked"}, "come back after a reboot"),
])
def test_it_cannot_be_used(machine, change, said):
    vars(machine).update(change)
    assert said in refused(machine)


@pytest.mark.parametrize("platforms", [["linux/z80"], [ARM64, "linux/z80"], ["arm64"]])
def test_an_architecture_that_has_no_emulator(machine, platforms):
    said = refused(machine, platforms)
    assert "platforms[%d]: found %r" % (len(platforms) - 1, platforms[-1]) in said and "linux/s390x" in said
    assert machine.calls == []


# ---- absent ----------------------------------------------------------------------------------------------------------


def test_absent_removes_ours_and_only_ours(machine):
    go(machine, [ARM64, S390X])
    machine.others(at_boot=True)
    assert go(machine, state="absent", check=True)["removed"] == ["dockyard-arm64"] and machine.calls == []
    result = go(machine, state="absent")
    assert (result["changed"], result["removed"], statuses(result)) == (True, ["dockyard-arm64"], {ARM64: ("absent", None, True)})
    assert [handler["name"] for handler in machine.kernel] == ["qemu-aarch64", "dockyard-s390x"]
    assert list(machine.seen) == [S390X]
    assert go(machine, state="absent")["changed"] is False
    result = go(machine, [], state="absent")
    assert (result["removed"], [handler["name"] for handler in machine.kernel]) == (["dockyard-s390x"], ["qemu-aarch64"])
    assert machine.seen == {} and list(machine.files) == ["/usr/lib/binfmt.d/qemu-aarch64.conf"]


def test_absent_looks_into_the_kernel_where_there_may_be_something(machine):
    go(machine)
    machine.switch = None
    assert go(machine, state="absent", check=True)["removed"] == ["dockyard-arm64"] and machine.calls == []
    assert go(machine, state="absent")["mounted"] is True and machine.kernel == [] and machine.files == {}
    machine.switch = None
    assert go(machine, state="absent")["changed"] is False and machine.calls == []
    go(machine)
    machine.switch, machine.failures["mount"] = None, "permission denied"
    assert go(machine, state="absent")["removed"] == ["dockyard-arm64"] and machine.files == {}


def test_absent_takes_what_is_left_of_one(machine):
    go(machine)
    machine.kernel.clear()
    assert go(machine, state="absent")["removed"] == ["dockyard-arm64"] and machine.calls == [("remove", FILE)]
    go(machine)
    del machine.files[FILE]
    assert go(machine, state="absent")["removed"] == ["dockyard-arm64"] and machine.kernel == []


# ---- the module itself -----------------------------------------------------------------------------------------------


@pytest.fixture(name="module")
def fixture_module(machine, monkeypatch, capsys, tmp_path):
    def run(uid=0, **params):
        monkeypatch.setattr(binfmt.os, "geteuid", lambda: uid)
        monkeypatch.setattr(binfmt, "Host", lambda run, tmpdir: machine)
        with patch_module_args(dict(params, _ansible_diff=True, _ansible_remote_tmp=str(tmp_path))), pytest.raises(SystemExit):
            binfmt.main()
        return json.loads(capsys.readouterr().out)
    return run


def test_who_is_not_root(module, machine):
    result = module(uid=1000, platforms=[ARM64])
    assert result["failed"] and "found user id 1000; needed root" in result["msg"] and "become" in result["msg"]
    assert machine.calls == []


def test_the_diff_shows_the_rule(module):
    result = module(platforms=[ARM64])
    assert result["diff"][0]["before"] == "" and "dockyard-arm64" in result["diff"][0]["after"] and result["diff"][0]["after_header"] == FILE
    assert module(platforms=[ARM64])["diff"] == []


def test_a_refusal_is_one_message(module, machine):
    machine.switch = "disabled"
    result = module(platforms=[ARM64])
    assert result["failed"] and result["msg"].startswith("/proc/sys/fs/binfmt_misc/status: found 'disabled'") and "exception" not in result


def test_a_file_that_cannot_be_written(module, machine):
    def write(path, text):
        raise OSError(30, "Read-only file system", path)
    machine.write = write
    result = module(platforms=[ARM64])
    assert result["failed"] and result["msg"].startswith(FILE + ": Read-only file system")
    assert (machine.kernel, machine.files) == ([], {})
