# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module native_units on a host that is made of a folder: real files, links and locks, a pretended systemd and docker that write down every call.

Tests compare the whole list of calls, so that one too many or too few fails.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
import stat

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.module_utils.migration import lease as leases
from ansible_collections.dockyard.fleet.plugins.modules import native_units

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield

# Of a package; of the operator, in /etc; linked, without [Install], wanted by hand; not running and disabled.
NAMES = ["nginx.service", "app.service", "linked.service", "idle.service"]
UNITS = [{"name": "cloudflared.service", "optional": True}] + [{"name": name} for name in NAMES]
ASKED = "show cloudflared.service " + " ".join(NAMES)
SHOW = "show " + " ".join(NAMES)
WATCHER = "dockyard-migration-watch-shop.service"
GUARD = "dockyard-migration-shop.service"
RUNNING = {"nginx.service", "app.service", "linked.service"}
PS = "docker ps --quiet --filter label=com.docker.compose.project=shop"


class Killed(BaseException):
    """The process ends here."""


class Host:
    """Folders of units, what systemd has read and runs, and what Docker runs."""

    def __init__(self, folder):
        self.folder = folder
        self.etc, self.lib, self.state = (os.path.join(folder, name) for name in ("etc", "lib", "var"))
        self.lease = os.path.join(self.state, "migrations", "shop", "lease.json")
        self.calls, self.refuse, self.containers = [], {}, []
        self.active, self.read, self.watching = set(RUNNING), {}, False
        self.time, self.boot = 1000.0, "boot-1"
        self.steps, self.kill_at = 0, None
        self.revived = set()
        self.docker = "docker"
        self.put(os.path.join(self.lib, "nginx.service"))
        self.put(os.path.join(self.etc, "app.service"))
        self.put(os.path.join(self.etc, "idle.service"))
        self.put(os.path.join(folder, "opt", "linked.service"), "no install")
        os.symlink(os.path.join(folder, "opt", "linked.service"), os.path.join(self.etc, "linked.service"))
        for name in RUNNING:
            self.want(name)

    @staticmethod
    def put(path, text="[Install]"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)

    def wants(self, name):
        return os.path.join(self.etc, "multi-user.target.wants", name)

    def want(self, name):
        os.makedirs(os.path.dirname(self.wants(name)), exist_ok=True)
        if not os.path.lexists(self.wants(name)):
            os.symlink(self.place(name), self.wants(name))

    def place(self, name):
        for folder in (self.etc, self.lib):
            if os.path.lexists(os.path.join(folder, name)):
                return os.path.join(folder, name)
        return None

    def units(self):
        """Everything of systemd's folder, with inodes: what the way back has to bring again."""
        found = {}
        for top, unused, names in os.walk(self.etc):
            for name in names:
                path = os.path.join(top, name)
                # What a killed write left beside its place goes with the next one, and systemd does not read it.
                if not name.startswith(".dockyard-"):
                    found[os.path.relpath(path, self.etc)] = os.readlink(path) if os.path.islink(path) else os.lstat(path).st_ino
        return found

    def left(self):
        return [name for name in os.listdir(os.path.dirname(self.lease)) if not name.startswith(".dockyard-") and not re.match(r"lease\.json\.[0-9]", name)]

    # systemd

    def file_state(self, name):
        path = self.place(name)
        if path is None:
            return ""
        if os.path.islink(path) and os.readlink(path) == "/dev/null":
            return "masked"
        return "enabled" if os.path.lexists(self.wants(name)) else "linked" if os.path.islink(path) else "disabled"

    def load_state(self, name):
        """As read when it was last asked for, or at the last daemon-reload."""
        if name not in self.read or self.read[name] == "not-found":
            self.read[name] = {"masked": "masked", "": "not-found"}.get(self.file_state(name), "loaded")
        return self.read[name]

    def step(self):
        """Whoever comes here has done all before, and nothing of this."""
        self.steps += 1
        if self.kill_at is not None and self.steps >= self.kill_at:
            raise Killed()

    def run_command(self, argv, **unused):
        self.step()
        words = argv[1:]
        if argv[0] == "docker":
            self.calls.append(" ".join(argv))
            if argv[:2] == ["docker", "ps"]:
                return 0, "".join("%s\n" % name for name in self.containers), ""
            if "docker stop" in self.refuse:
                return 1, "", self.refuse["docker stop"]
            self.containers = [name for name in self.containers if name not in words[1:]]
            return 0, "", ""
        if argv[0] == "systemd-run":
            assert words[:3] == ["--quiet", "--collect", "--unit=dockyard-migration-watch-shop"] and "--property=Restart=on-failure" in words
            assert words[-4:] == ["/usr/bin/python3", native_units.PROGRAM, "watch", self.lease]
            self.calls.append("systemd-run")
            if "systemd-run" in self.refuse:
                return 1, "", self.refuse["systemd-run"]
            assert not self.watching
            self.watching = True
            return 0, "", ""
        assert argv[0] == "systemctl"
        verb, names = words[0], [word for word in words[1:] if not word.startswith("--")]
        self.calls.append(" ".join([verb] + names))
        if "%s %s" % (verb, " ".join(names)) in self.refuse or verb in self.refuse:
            return 1, "", self.refuse.get(verb) or self.refuse["%s %s" % (verb, " ".join(names))]
        if verb == "show" and "--value" in words:
            return 0, "\n\n".join("/system.slice/%s" % name for name in names) + "\n", ""
        return 0, getattr(self, "_" + verb.replace("-", "_"))(names) or "", ""

    def _show(self, names):
        return "\n\n".join("Id=%s\nLoadState=%s\nActiveState=%s\nUnitFileState=%s" % (
            name, self.load_state(name), "active" if name in self.active else "inactive", self.file_state(name)) for name in names) + "\n"

    def _stop(self, names):
        if names == [WATCHER]:
            self.watching = False
        self.active -= set(names) - self.revived

    def _start(self, names):
        for name in names:
            assert self.load_state(name) == "loaded", "%s is started while systemd has it as %s" % (name, self.load_state(name))
        self.active |= set(names)

    def _restart(self, names):
        assert names == [WATCHER] and self.watching

    def _is_active(self, names):
        assert names == [WATCHER]
        return "active\n" if self.watching else "inactive\n"

    def _reset_failed(self, names):
        assert names == [WATCHER]

    def _daemon_reload(self, names):
        assert not names
        self.read = {}

    def _enable(self, names):
        for name in names:
            path = self.place(name)
            assert path and self.file_state(name) != "masked", "%s is enabled while it is masked" % name
            with open(path, encoding="utf-8") as handle:
                if "[Install]" in handle.read():
                    self.want(name)
        self.read = {}

    def _disable(self, names):
        assert names == [GUARD]
        if os.path.lexists(self.wants(GUARD)):
            os.unlink(self.wants(GUARD))
        self.read = {}

    # what happens around it

    def plain(self, argv):
        argv = [word for word in argv if word != "--no-block"]
        return self.run_command(argv)[0] == 0

    def ask(self, argv):
        return self.run_command(argv)[1]

    def revive(self):
        """The process is dead; later ones live."""
        self.kill_at = None

    def nobody_renews(self):
        """The lease runs out, where somebody watches."""
        if self.watching:
            self.time += 10000
            with contextlib.redirect_stdout(None):
                leases.watch(self.lease, lambda unused: None, self.plain, self.ask)
            self.watching = False

    def restart(self):
        """The host goes down and comes up: the guard first, where it is enabled, then what is enabled."""
        self.boot, self.time, self.watching, self.read = self.boot + "+", 5.0, False, {}
        self.active = {name for name in NAMES if self.file_state(name) == "enabled"}
        if os.path.lexists(self.wants(GUARD)) and os.path.exists(os.path.join(self.etc, GUARD)):
            with contextlib.redirect_stdout(None):
                leases.boot(self.lease, self.plain, self.ask)


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(str(tmp_path))
    os.makedirs(made.state)
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, argv, **more: made.run_command(argv, **more))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda self, name, *unused, **unused2: made.docker)
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: None)
    monkeypatch.setattr(native_units, "UNIT_DIR", made.etc)
    monkeypatch.setattr(native_units, "PROGRAM", os.path.join(made.folder, "program", "migration_lease.py"))
    monkeypatch.setattr(leases, "now", lambda: made.time)
    monkeypatch.setattr(leases, "boot_id", lambda: made.boot)
    monkeypatch.setattr(os, "fsync", lambda unused: None)
    return made


@pytest.fixture
def run(host, capsys):
    def call(state, check=False, **given):
        del host.calls[:]
        remote = os.path.join(host.folder, "remote")
        os.makedirs(remote, exist_ok=True)
        args = dict({"stack": "shop", "state": state, "units": UNITS, "state_dir": host.state}, **given)
        args.update(_ansible_check_mode=check, _ansible_remote_tmp=remote, _ansible_tmpdir=remote)
        capsys.readouterr()
        with patch_module_args(args):
            with pytest.raises(SystemExit) as ended:
                native_units.main()
        answer = json.loads(capsys.readouterr().out)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        return answer
    return call


FIRST = [ASKED, "daemon-reload", "enable " + GUARD, "is-active " + WATCHER, "reset-failed " + WATCHER, "systemd-run",
         "stop nginx.service", "stop app.service", "stop linked.service", "stop idle.service", SHOW, ASKED]


# -- survey ---------------------------------------------------------------------

def test_a_survey_reads_only(host, run):
    before = host.units()
    answer = run("surveyed")
    assert host.calls == [ASKED, "show nginx.service app.service linked.service", ASKED]
    assert answer["changed"] is False and answer["problems"] == [] and answer["standing"] == ""
    assert answer["units"]["cloudflared.service"] == {"present": False, "active": False, "enabled": "", "masked": False}
    assert answer["units"]["app.service"] == {"present": True, "active": True, "enabled": "enabled", "masked": False}
    assert answer["units"]["idle.service"] == {"present": True, "active": False, "enabled": "disabled", "masked": False}
    assert host.units() == before and os.listdir(host.state) == []


def test_the_processes_of_the_units_are_told(host, run, monkeypatch):
    real = native_units.files.read
    monkeypatch.setattr(native_units.os, "walk", lambda top: [(top, [], [])])
    monkeypatch.setattr(native_units.files, "read", lambda path: b"12\n7\n" if path.endswith("cgroup.procs") else real(path))
    assert run("surveyed")["pids"] == [7, 12]


def test_a_unit_that_is_missing_and_not_optional_is_a_problem_and_refuses_a_freeze(host, run):
    os.unlink(os.path.join(host.lib, "nginx.service"))
    text = "shop, unit nginx.service: found none; needed it, or optional: true in the stack's section migration"
    assert run("surveyed")["problems"] == [text]
    before = host.units()
    answer = run("frozen")
    assert answer["msg"] == text + "; nothing was changed" and not answer["changed"]
    assert host.calls == [ASKED] and host.units() == before and host.active == RUNNING


def test_a_stack_without_units_has_nothing_to_ask(host, run):
    answer = run("surveyed", units=[])
    assert host.calls == [] and answer["units"] == {}


def test_a_systemd_that_does_not_answer(host, run):
    host.refuse["show"] = "Failed to connect to bus"
    answer = run("surveyed")
    assert "shop: systemctl show" in answer["msg"] and "Failed to connect to bus" in answer["msg"]


def test_fewer_answers_than_questions_are_not_guessed_at(host, run, monkeypatch):
    monkeypatch.setattr(host, "_show", lambda names: "Id=x\nLoadState=loaded\n")
    assert run("surveyed")["msg"].startswith("shop: found that systemctl shows 1 of the units cloudflared.service, nginx.service")


@pytest.mark.parametrize("state", ["frozen", "surveyed"])
def test_a_lease_that_is_too_short_is_refused(host, run, state):
    answer = run(state, lease_seconds=9)
    assert answer["msg"].startswith("shop, lease_seconds: found 9; needed at least 10") and host.calls == []


# -- freeze -----------------------------------------------------------------------

def test_a_freeze_is_this_script(host, run):
    answer = run("frozen")
    assert host.calls == FIRST
    assert answer["changed"] is True and answer["standing"] == "frozen" and answer["lease"] == host.lease
    assert host.active == set() and host.watching
    lease = leases.read(host.lease)
    # What did not run is not started.
    assert lease["units"] == ["nginx.service", "app.service", "linked.service"] and lease["until"] == host.time + 120
    assert stat.S_IMODE(os.stat(os.path.dirname(host.lease)).st_mode) == 0o700
    assert sorted(os.listdir(os.path.dirname(host.lease))) == ["lease.json", "lease.json.lock", "units.json"]
    with open(os.path.join(host.etc, GUARD), encoding="utf-8") as handle:
        text = handle.read()
    assert "After=docker.service\nBefore=cloudflared.service nginx.service app.service linked.service idle.service\n" in text
    assert "ExecStart=/usr/bin/python3 %s boot %s\n" % (native_units.PROGRAM, host.lease) in text
    with open(native_units.PROGRAM, encoding="utf-8") as copied, open(leases.__file__, encoding="utf-8") as handle:
        assert copied.read() == handle.read()


def test_a_second_freeze_renews_and_changes_nothing(host, run):
    run("frozen")
    host.time += 100
    answer = run("frozen")
    assert host.calls == [ASKED, "is-active " + WATCHER, ASKED]
    assert answer["changed"] is False and leases.read(host.lease)["until"] == host.time + 120


def test_check_mode_of_a_freeze_asks_only(host, run):
    before = host.units()
    assert run("frozen", check=True)["changed"] is True
    assert host.calls == [ASKED, ASKED] and host.units() == before and os.listdir(host.state) == [] and host.active == RUNNING
    run("frozen")
    until = leases.read(host.lease)["until"]
    host.time += 5
    assert run("frozen", check=True)["changed"] is False and leases.read(host.lease)["until"] == until


def test_the_watcher_stands_before_anything_is_stopped(host, run):
    host.refuse["systemd-run"] = "Failed to start transient service unit"
    answer = run("frozen")
    assert "the watcher of the freeze does not start: Failed to start transient service unit" in answer["msg"] and answer["changed"]
    assert not [call for call in host.calls if call.startswith("stop")] and host.active == RUNNING
    assert leases.read(host.lease)["state"] == "broken"


def test_a_watcher_that_does_not_start_again_leaves_nothing_stopped(host, run):
    run("frozen")
    host.watching = False
    host.refuse["systemd-run"] = "no"
    assert run("frozen")["failed"] and host.active == RUNNING


def test_a_unit_that_does_not_stop_is_told_and_the_lease_runs(host, run):
    host.refuse["stop app.service"] = "Job for app.service canceled."
    answer = run("frozen")
    assert "shop: systemctl stop app.service: Job for app.service canceled." in answer["msg"] and answer["changed"]
    del host.refuse["stop app.service"]
    host.nobody_renews()
    assert host.active == RUNNING


def test_a_unit_that_comes_back_by_itself_is_no_freeze(host, run):
    host.revived = {"app.service"}
    answer = run("frozen")
    assert "found app.service running again after the stop" in answer["msg"] and "started by a socket, a timer or another unit" in answer["msg"]
    host.nobody_renews()
    assert host.active == RUNNING


def test_units_that_stop_longer_than_their_lease_are_told(host, run, monkeypatch):
    real = host._stop

    def stop(names):
        real(names)
        if names == ["idle.service"]:
            leases.end(host.lease, leases.UNRENEWED)
    monkeypatch.setattr(host, "_stop", stop)
    answer = run("frozen")
    assert "found the freeze ended while the units stopped (nobody renewed the freeze in time)" in answer["msg"] and answer["changed"]


def test_a_freeze_after_a_broken_one_is_a_new_one(host, run):
    run("frozen")
    first = leases.read(host.lease)["id"]
    host.nobody_renews()
    assert host.active == RUNNING and run("renewed")["failed"]
    answer = run("frozen")
    assert answer["changed"] is True and host.active == set() and host.watching
    assert leases.holds(leases.read(host.lease)) and leases.read(host.lease)["id"] != first
    assert "docker" not in " ".join(host.calls)


def test_a_freeze_that_was_broken_before_a_unit_started_still_knows_that_it_ran(host, run):
    run("frozen")
    host.watching = False
    leases.end(host.lease, leases.UNRENEWED)
    run("frozen")
    assert leases.read(host.lease)["units"] == ["nginx.service", "app.service", "linked.service"]
    run("serving")
    assert host.active == RUNNING


def test_a_freeze_while_an_earlier_run_releases_stops_what_it_started(host, run):
    run("frozen")
    run("switching", lease_seconds=1200)
    host.containers = ["a1"]
    answer = run("frozen")
    assert answer["changed"] is True and host.containers == [] and leases.read(host.lease)["state"] == "frozen"
    assert host.calls[1:4] == ["enable " + GUARD, PS, "docker stop a1"]
    # The watcher goes over to the new lease in one step.
    assert "restart " + WATCHER in host.calls and "systemd-run" not in host.calls


def test_a_host_without_docker_is_frozen(host, run):
    host.docker = None
    run("frozen")
    assert leases.read(host.lease)["docker"] == ""


# -- renew and switching ------------------------------------------------------------

@pytest.mark.parametrize("state, standing", [("renewed", "frozen"), ("switching", "switching")])
def test_a_renewal(host, run, state, standing):
    run("frozen")
    host.time += 100
    answer = run(state, lease_seconds=1200)
    assert answer["changed"] is False and host.calls == [SHOW, ASKED]
    assert (leases.read(host.lease)["state"], leases.read(host.lease)["until"]) == (standing, host.time + 1200)


@pytest.mark.parametrize("state", ["renewed", "switching"])
def test_a_renewal_in_check_mode_renews_nothing(host, run, state):
    run("frozen")
    before = leases.read(host.lease)
    host.time += 5
    assert run(state, check=True)["changed"] is False and leases.read(host.lease) == before


@pytest.mark.parametrize("harm, text", [("none", "no lease"), ("unrenewed", "nobody renewed the freeze in time"), ("restart", "the host was restarted"),
                                        ("given up", "no lease")])
def test_a_renewal_of_what_has_ended_fails(host, run, harm, text):
    if harm != "none":
        run("frozen")
    {"none": lambda: None, "unrenewed": host.nobody_renews, "restart": host.restart, "given up": lambda: run("serving")}[harm]()
    for state in ("renewed", "switching"):
        answer = run(state)
        assert answer["msg"].startswith("shop: found the freeze ended (%s); needed it to hold" % text) and not answer["changed"]


def test_somebody_who_starts_a_unit_in_the_freeze_is_seen(host, run):
    run("frozen")
    host.active.add("app.service")
    for state in ("renewed", "switching"):
        assert run(state)["msg"].startswith("shop: found app.service running, started by somebody else during the freeze")


# -- switch -------------------------------------------------------------------------

def frozen(run):
    run("frozen")
    run("switching", lease_seconds=1200)


def test_a_switch_is_this_script(host, run):
    inode = os.stat(os.path.join(host.etc, "app.service")).st_ino
    frozen(run)
    answer = run("switched")
    assert host.calls == [SHOW, "daemon-reload", SHOW, "stop " + WATCHER, "disable " + GUARD, "daemon-reload", ASKED]
    assert answer["changed"] is True and answer["standing"] == "switched" and answer["frozen_seconds"] >= 0
    assert [answer["units"][name]["masked"] for name in NAMES] == [True] * 4 and not answer["units"]["cloudflared.service"]["masked"]
    # Nothing is removed: the operator's file has a name that systemd does not read.
    assert host.units() == {"nginx.service": "/dev/null", "app.service": "/dev/null", "linked.service": "/dev/null", "idle.service": "/dev/null",
                            "app.service.dockyard-migrated": inode, "idle.service.dockyard-migrated": host.units()["idle.service.dockyard-migrated"],
                            "linked.service.dockyard-migrated": os.path.join(host.folder, "opt", "linked.service")}
    assert os.listdir(os.path.dirname(host.lease)) == ["units.json"] and not host.watching
    host.restart()
    assert host.active == set()


def test_a_second_switch_changes_nothing(host, run):
    frozen(run)
    run("switched")
    before = host.units()
    answer = run("switched")
    assert host.calls == [SHOW, SHOW, ASKED] and answer["changed"] is False and host.units() == before
    assert run("switched", check=True)["changed"] is False and host.calls == [SHOW, ASKED]


def test_drift_after_the_switch_is_mended(host, run):
    frozen(run)
    run("switched")
    os.unlink(os.path.join(host.etc, "nginx.service"))
    host.read = {}
    host.active.add("nginx.service")
    assert run("switched", check=True)["changed"] is True
    assert run("switched")["changed"] is True and host.active == set() and host.file_state("nginx.service") == "masked"


def test_check_mode_of_a_switch_changes_nothing(host, run):
    frozen(run)
    before = host.units(), leases.read(host.lease)
    assert run("switched", check=True)["changed"] is True
    assert host.calls == [ASKED] and (host.units(), leases.read(host.lease)) == before


@pytest.mark.parametrize("harm, text", [("none", "not frozen"), ("unrenewed", "serving again (nobody renewed the freeze in time)"),
                                        ("restart", "serving again (the host was restarted)"), ("guard lost", "serving again (the host was restarted)")])
def test_a_switch_without_a_freeze_that_holds_is_refused(host, run, harm, text):
    if harm != "none":
        frozen(run)
    if harm == "unrenewed":
        host.nobody_renews()
    elif harm in ("restart", "guard lost"):
        if harm == "guard lost":
            os.unlink(host.wants(GUARD))
        host.restart()
    before, active = host.units(), set(host.active)
    answer = run("switched")
    assert answer["msg"] == "shop: found the units %s; needed them frozen without a break; nothing was changed; run again" % text
    assert host.units() == before and host.active == active and not answer["changed"]


def test_a_lease_that_runs_out_under_the_switch_is_refused(host, run, monkeypatch):
    frozen(run)
    real = leases.switch

    def switch(path):
        host.nobody_renews()
        return real(path)
    monkeypatch.setattr(leases, "switch", switch)
    answer = run("switched")
    assert "found the freeze ended (nobody renewed the freeze in time); needed it to hold to the last; nothing was changed" in answer["msg"]
    assert host.active == RUNNING and host.file_state("app.service") == "enabled"


def test_a_freeze_after_the_switch_is_refused(host, run):
    frozen(run)
    run("switched")
    before = host.units()
    answer = run("frozen")
    assert answer["msg"].startswith("shop: found the native units out of service since ") and "-e phase=back" in answer["msg"]
    assert host.calls == [] and host.units() == before


# -- the way back -------------------------------------------------------------------

def test_there_is_nothing_to_bring_back(host, run):
    answer = run("serving")
    assert host.calls == [ASKED] and answer["changed"] is False and "frozen_seconds" not in answer


def test_the_way_back_from_a_freeze(host, run):
    before = host.units()
    run("frozen")
    answer = run("serving")
    assert host.calls == [SHOW, "start linked.service", "start app.service", "start nginx.service", "stop " + WATCHER, "disable " + GUARD,
                          "daemon-reload", ASKED]
    assert answer["changed"] is True and answer["frozen_seconds"] >= 0 and answer["standing"] == ""
    assert host.active == RUNNING and host.units() == before and os.listdir(os.path.dirname(host.lease)) == []
    assert run("serving")["changed"] is False


def test_the_way_back_from_a_switch_brings_every_file_and_link(host, run):
    before = host.units()
    frozen(run)
    run("switched")
    answer = run("serving")
    assert host.calls == ["daemon-reload", SHOW, "start linked.service", "start app.service", "start nginx.service", ASKED]
    assert answer["changed"] is True and host.active == RUNNING and host.units() == before
    assert run("serving")["changed"] is False and host.calls == [ASKED]
    host.restart()
    assert host.active == RUNNING


def test_the_way_back_needs_no_list_of_units(host, run):
    before = host.units()
    frozen(run)
    run("switched")
    run("serving", units=[])
    assert [call for call in host.calls if call.startswith("start")] == ["start linked.service", "start app.service", "start nginx.service"]
    assert host.units() == before


def test_check_mode_of_the_way_back_changes_nothing(host, run):
    frozen(run)
    run("switched")
    before = host.units()
    assert run("serving", check=True)["changed"] is True
    assert host.calls == [ASKED] and host.units() == before and host.active == set()


def test_the_way_back_stops_what_was_being_released(host, run):
    frozen(run)
    host.containers = ["a1", "b2"]
    run("serving")
    assert host.calls[:2] == [PS, "docker stop a1 b2"] and host.containers == [] and host.active == RUNNING


def test_containers_that_do_not_stop_keep_the_native_units_from_starting(host, run):
    frozen(run)
    host.containers, host.refuse["docker stop"] = ["a1"], "cannot stop container"
    answer = run("serving")
    assert answer["msg"].startswith("shop: found containers of the stack that can't be stopped") and host.active == set() and answer["changed"]
    del host.refuse["docker stop"]
    assert run("serving")["changed"] and host.active == RUNNING


def test_a_unit_that_was_masked_before_stays_so(host, run):
    os.unlink(os.path.join(host.etc, "idle.service"))
    os.symlink("/dev/null", os.path.join(host.etc, "idle.service"))
    before = host.units()
    frozen(run)
    run("switched")
    run("serving")
    assert host.units() == before and host.file_state("idle.service") == "masked"


def test_a_file_that_somebody_has_put_there_since_stays(host, run):
    frozen(run)
    run("switched")
    os.unlink(os.path.join(host.etc, "app.service"))
    host.put(os.path.join(host.etc, "app.service"), "[Install] newer")
    run("serving")
    with open(os.path.join(host.etc, "app.service"), encoding="utf-8") as handle:
        assert handle.read() == "[Install] newer"
    assert host.active == RUNNING


def test_a_unit_that_does_not_start_is_told_and_tried_again(host, run):
    frozen(run)
    run("switched")
    host.refuse["start app.service"] = "Job for app.service failed"
    answer = run("serving")
    assert "shop: systemctl start app.service: Job for app.service failed" in answer["msg"] and answer["changed"]
    del host.refuse["start app.service"]
    assert run("serving")["changed"] and host.active == RUNNING


def test_the_way_back_from_a_switch_that_was_killed_at_once_stops_the_containers(host, run):
    frozen(run)
    host.containers = ["a1"]
    leases.switch(host.lease)
    run("serving")
    assert host.containers == [] and host.active == RUNNING


def test_who_goes_on_with_a_copy_is_refused_before_the_first_unit_starts(host, run, monkeypatch):
    frozen(run)
    renewed = []
    real = host._start

    def start(names):
        renewed.append(leases.renew(host.lease, 60))
        real(names)
    monkeypatch.setattr(host, "_start", start)
    run("serving")
    assert renewed == [False] * 3


def test_a_linked_unit_whose_file_is_gone_does_not_stop_the_way_back(host):
    path = os.path.join(host.etc, "gone.service")
    for name in (path, path + native_units.ASIDE):
        os.symlink(os.path.join(host.folder, "nowhere"), name)
    native_units._bring_back(path)
    assert os.path.islink(path) and not os.path.lexists(path + native_units.ASIDE)


# -- files that can't be read ---------------------------------------------------------

@pytest.mark.parametrize("name", ["units.json", "lease.json"])
@pytest.mark.parametrize("state", ["surveyed", "frozen", "switched", "serving"])
def test_a_file_that_cant_be_read_is_told(host, run, name, state):
    run("frozen")
    with open(os.path.join(os.path.dirname(host.lease), name), "w", encoding="utf-8") as handle:
        handle.write("{")
    answer = run(state)
    assert "can't be read" in answer["msg"] and "look at it, and move it away" in answer["msg"] and not answer["changed"]


def test_a_folder_that_cant_be_written_is_told(host, run, monkeypatch):
    def refuse(*unused, **unused2):
        raise OSError(28, "No space left on device", host.lease)
    monkeypatch.setattr(native_units.files, "write", refuse)
    answer = run("frozen")
    assert answer["msg"] == "shop: %s: No space left on device; check the permissions and the disk, then run again" % host.lease
    assert host.active == RUNNING


# -- killed -------------------------------------------------------------------------

@pytest.fixture
def mortal(host, monkeypatch):
    """Each change of a file is a step, too, before which the run can be killed."""
    for name in ("rename", "unlink", "symlink", "link"):
        def wrapped(*args, real=getattr(os, name), **more):
            host.step()
            return real(*args, **more)
        monkeypatch.setattr(os, name, wrapped)
    return host


def kill(host, state, number, check=False):
    """Run, killed before its step of that number. :returns: bool, False when it ended before."""
    host.steps, host.kill_at = 0, number
    remote = os.path.join(host.folder, "remote")
    args = {"stack": "shop", "state": state, "units": UNITS, "state_dir": host.state, "_ansible_check_mode": check, "_ansible_remote_tmp": remote,
            "_ansible_tmpdir": remote}
    os.makedirs(remote, exist_ok=True)
    try:
        with patch_module_args(args):
            native_units.main()
    except Killed:
        return True
    except SystemExit:
        return False
    finally:
        host.revive()
    return False


STEPS = {"frozen": 23, "switched": 36, "serving": 21}
FREEZES = [(number, after) for number in range(1, STEPS["frozen"]) for after in ("watcher", "restart", "again", "serving")]


@pytest.mark.parametrize("number, after", FREEZES)
def test_a_freeze_killed_anywhere(mortal, run, number, after):
    host = mortal
    before = host.units()
    kill(host, "frozen", number)
    if after == "watcher":
        host.nobody_renews()
        assert host.active == RUNNING
    elif after == "restart":
        host.restart()
        assert host.active == RUNNING and not leases.renew(host.lease, 60)
    elif after == "again":
        assert not run("frozen").get("failed") and host.active == set() and host.watching
        assert run("frozen")["changed"] is False
        host.nobody_renews()
        assert host.active == RUNNING
    run("serving")
    assert host.active == RUNNING and not host.watching
    left = {path: value for path, value in host.units().items() if before.get(path) != value}
    # Killed before the guard was enabled: without a memory of a freeze there is none.
    assert left == {} and set(host.units()) == set(before)


@pytest.mark.parametrize("after", ["again", "serving", "restart", "watcher"])
@pytest.mark.parametrize("number", range(1, STEPS["switched"]))
def test_a_switch_killed_anywhere(mortal, run, number, after):
    host = mortal
    before = host.units()
    frozen(run)
    host.containers = ["a1"]
    kill(host, "switched", number)
    # The one step that counts is in the lease, and then in the memory.
    standing = run("surveyed")["standing"]
    assert standing in ("frozen", "switched")
    assert all(host.place(name) for name in NAMES), "a unit has no file at all"
    if after == "again":
        assert not run("switched").get("failed")
        assert host.active == set() and [host.file_state(name) for name in NAMES] == ["masked"] * 4 and not host.watching and host.containers == ["a1"]
        assert run("switched")["changed"] is False
    elif after == "restart":
        host.restart()
        # Never both, never none.
        assert (host.active, host.containers) == ((set(), ["a1"]) if standing == "switched" else (RUNNING, []))
    elif after == "watcher":
        host.nobody_renews()
        assert (host.active, host.containers) == ((set(), ["a1"]) if standing == "switched" else (RUNNING, []))
    host.containers = []
    assert not run("serving").get("failed")
    assert host.active == RUNNING and host.units() == before and host.left() == []
    host.restart()
    assert host.active == RUNNING


@pytest.mark.parametrize("origin", ["switched", "switching", "frozen"])
@pytest.mark.parametrize("number", range(1, STEPS["serving"]))
def test_a_way_back_killed_anywhere_is_finished_by_the_next(mortal, run, number, origin):
    host = mortal
    before = host.units()
    if origin == "frozen":
        run("frozen")
    else:
        frozen(run)
        host.containers = ["a1"] if origin == "switching" else []
    if origin == "switched":
        run("switched")
    kill(host, "serving", number)
    assert not run("serving").get("failed")
    assert host.active == RUNNING and host.units() == before and host.left() == [] and host.containers == []
    assert run("serving")["changed"] is False


def test_the_kills_reach_to_the_last_step(mortal, run):
    host = mortal
    for state in ("frozen", "switched", "serving"):
        host.steps = 0
        run(state)
        assert host.steps == STEPS[state] - 1, (state, host.steps)
