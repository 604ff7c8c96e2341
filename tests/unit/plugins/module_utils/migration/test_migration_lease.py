# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A freeze that lasts no longer than somebody renews it: real files and locks, a clock that is set by hand, and a scripted systemctl and docker."""
from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.migration import lease as leases

UNITS = ["nginx.service", "app.service"]
STARTED = ["systemctl start app.service", "systemctl start nginx.service"]
PS = "docker ps --quiet --filter label=com.docker.compose.project=shop"


class Killed(BaseException):
    """The process ends here."""


class Host:
    """Commands that are written down, and a clock."""

    def __init__(self, path):
        self.path, self.time, self.boot = path, 1000.0, "boot-1"
        self.calls, self.containers, self.fails, self.kill_at = [], "", {}, None

    def run(self, argv):
        call = " ".join(argv)
        if call == self.kill_at:
            raise Killed()
        self.calls.append(call)
        left = self.fails.get(call, 0)
        self.fails[call] = left - 1
        return left <= 0

    def ask(self, argv):
        self.calls.append(" ".join(argv))
        return self.containers

    def sleep(self, seconds):
        self.time += seconds

    def read(self):
        with open(self.path, encoding="utf-8") as handle:
            return json.load(handle)

    def freeze(self, **changes):
        leases.begin(self.path, dict({"stack": "shop", "units": UNITS, "state": "frozen", "until": self.time + 60, "docker": "docker"}, **changes))

    def watch(self):
        leases.watch(self.path, self.sleep, self.run, self.ask)

    def restart(self):
        self.boot, self.time = "boot-%d" % (int(self.boot[5:]) + 1), 5.0
        leases.boot(self.path, self.run, self.ask)


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(str(tmp_path / "shop" / "lease.json"))
    os.mkdir(os.path.dirname(made.path))
    monkeypatch.setattr(leases, "now", lambda: made.time)
    monkeypatch.setattr(leases, "boot_id", lambda: made.boot)
    return made


@pytest.fixture
def full(monkeypatch):
    """A switch for a disk that is full: nothing can be written, and files can be removed."""
    state = {"full": False}
    real = leases.write

    def write(path, lease):
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, lease)
    monkeypatch.setattr(leases, "write", write)
    return state


# -- the file -------------------------------------------------------------------

def test_the_lease_is_for_root_alone_and_nothing_stays_beside_it(host):
    host.freeze()
    assert stat.S_IMODE(os.stat(host.path).st_mode) == 0o600
    assert sorted(os.listdir(os.path.dirname(host.path))) == ["lease.json", "lease.json.lock"]
    assert leases.holds(leases.read(host.path))


def test_a_write_that_fails_leaves_the_old_lease_and_nothing_beside(host, monkeypatch):
    host.freeze()
    before = host.read()
    monkeypatch.setattr(os, "fsync", lambda unused: (nothing for nothing in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError):
        leases.renew(host.path, 10)
    assert host.read() == before and sorted(os.listdir(os.path.dirname(host.path))) == ["lease.json", "lease.json.lock"]


def test_no_lease_is_not_the_same_as_one_that_cant_be_read(host):
    assert leases.read(host.path) is None and leases.read(host.path + "/under") is None
    for text in ("{", "[]"):
        with open(host.path, "w", encoding="utf-8") as handle:
            handle.write(text)
        with pytest.raises(ValueError):
            leases.read(host.path)


def test_the_real_clock_goes_on_and_the_real_boot_has_a_name():
    first = leases.now()
    assert leases.now() >= first > 0
    assert len(leases.boot_id()) == 36


# -- renew ----------------------------------------------------------------------

def test_a_renewal_counts_from_now(host):
    host.freeze()
    host.time += 50
    assert leases.renew(host.path, 120) is True
    assert host.read()["until"] == host.time + 120 and host.read()["state"] == "frozen"


def test_a_release_has_its_time_whoever_renews_in_between(host):
    host.freeze()
    assert leases.renew(host.path, 1200, "switching")
    until = host.read()["until"]
    assert leases.renew(host.path, 120) and (host.read()["until"], host.read()["state"]) == (until, "switching")


def test_a_renewal_shortens_while_it_is_frozen(host):
    host.freeze(until=host.time + 900)
    assert leases.renew(host.path, 30) and host.read()["until"] == host.time + 30


@pytest.mark.parametrize("harm", ["broken", "switched", "reboot", "no file", "no folder", "another freeze"])
def test_a_renewal_of_what_has_ended_is_refused_and_writes_nothing(host, harm):
    host.freeze()
    identity = host.read()["id"]
    if harm == "broken":
        leases.end(host.path, "it was given up")
    elif harm == "switched":
        assert leases.switch(host.path)
    elif harm == "reboot":
        host.boot = "boot-2"
    elif harm == "another freeze":
        leases.end(host.path, "it was given up")
        host.freeze()
    else:
        os.unlink(host.path)
        if harm == "no folder":
            os.unlink(host.path + ".lock")
            os.rmdir(os.path.dirname(host.path))
    before = host.read() if os.path.exists(host.path) else None
    assert leases.renew(host.path, 120, identity=identity) is False
    assert (host.read() if before else os.path.exists(host.path)) == (before or False)


def test_a_renewal_after_the_end_and_before_the_watcher_saw_it_is_in_time(host):
    # Nothing was started yet, so nothing was written: who comes first decides, and both look under the lock.
    host.freeze()
    host.time += 61
    assert leases.renew(host.path, 60)
    host.fails["x"] = 0
    ticks = []

    def sleep(seconds):
        ticks.append(seconds)
        os.unlink(host.path)
    leases.watch(host.path, sleep, host.run, host.ask)
    assert host.calls == [] and len(ticks) == 1


@pytest.mark.parametrize("rounds", range(20))
def test_a_renewal_against_an_expiring_watcher_has_one_winner(host, rounds):
    """Real threads and the real lock: either the lease is renewed and nobody starts anything, or it is broken and the renewal says so."""
    host.freeze(until=host.time - 1)
    barrier, answers = threading.Barrier(2), []

    def renew():
        barrier.wait()
        answers.append(leases.renew(host.path, 1000))

    def watch():
        def sleep(unused):
            raise Killed()
        barrier.wait()
        try:
            leases.watch(host.path, sleep, host.run, host.ask)
        except Killed:
            answers.append("waits")
    threads = [threading.Thread(target=target) for target in (renew, watch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if True in answers:
        assert "waits" in answers and host.calls == [] and host.read()["state"] == "frozen"
    else:
        assert answers == [False] and host.calls == STARTED and host.read()["state"] == "broken"


@pytest.mark.parametrize("first", ["switch", "watch"])
def test_a_switch_against_an_expiring_watcher_has_one_winner(host, first):
    host.freeze(state="switching", until=host.time - 1)
    if first == "watch":
        host.watch()
        assert leases.switch(host.path) is False and host.calls[1:] == STARTED and host.read()["state"] == "broken"
    else:
        assert leases.switch(host.path) is True
        host.watch()
        assert host.calls == [] and host.read()["state"] == "switched"


def test_a_switch_without_a_lease(host):
    assert leases.switch(host.path) is False
    os.unlink(host.path + ".lock")
    os.rmdir(os.path.dirname(host.path))
    assert leases.switch(host.path) is False


# -- end ------------------------------------------------------------------------

def test_the_end_says_why_and_is_told_once(host):
    host.freeze(state="switching")
    assert leases.end(host.path, "it was given up")["state"] == "switching"
    assert (host.read()["state"], host.read()["was"], host.read()["reason"]) == ("broken", "switching", "it was given up")
    assert leases.end(host.path, "again") is None and host.read()["reason"] == "it was given up"


def test_there_is_nothing_to_end(host):
    assert leases.end(host.path, "x") is None


# -- the renewer ------------------------------------------------------------------

def test_a_renewer_without_a_lease_does_nothing():
    with leases.Renewer("") as lease:
        assert lease.held
    assert lease.held
    with leases.Renewer(None) as lease:
        assert lease.held


def test_a_renewer_renews_as_long_as_the_work_takes(host, monkeypatch):
    host.freeze()
    seen, enough = [], threading.Event()
    real = leases.renew

    def renew(*args, **more):
        seen.append(args)
        if len(seen) >= 4:
            enough.set()
        return real(*args, **more)
    monkeypatch.setattr(leases, "renew", renew)
    with leases.Renewer(host.path, 77, interval=0.01) as lease:
        assert enough.wait(10)
    assert lease.held and set(seen) == {(host.path, 77)} and host.read()["until"] == host.time + 77
    count = len(seen)
    assert not lease._thread.is_alive() and len(seen) == count


def test_a_renewer_is_faster_than_a_short_lease():
    assert leases.Renewer("x", 12).interval == 4 and leases.Renewer("x", 120).interval == 10


def test_a_renewer_of_what_has_ended_says_so_at_once(host):
    with leases.Renewer(host.path) as lease:
        assert lease.held is False
    assert lease.held is False


def test_what_ends_between_two_renewals_is_seen_at_the_end_of_the_work(host):
    host.freeze()
    with leases.Renewer(host.path, interval=3600) as lease:
        leases.end(host.path, "it was given up")
        assert lease.held
    assert lease.held is False


def test_a_renewer_does_not_take_another_freeze_for_its_own(host):
    # The work was stopped (a laptop that slept), the application served, and somebody else froze it again.
    host.freeze()
    with leases.Renewer(host.path, interval=3600) as lease:
        leases.end(host.path, leases.UNRENEWED)
        host.freeze()
    assert lease.held is False and host.read()["until"] == host.time + 60


def test_a_disk_that_is_full_for_a_moment_does_not_end_the_work(host, full):
    host.freeze()
    with leases.Renewer(host.path, interval=3600) as lease:
        full["full"] = True
        lease._renew()
        assert lease.held
        full["full"] = False
    assert lease.held


def test_a_disk_that_stays_full_does(host, full):
    host.freeze()
    with leases.Renewer(host.path, interval=3600) as lease:
        full["full"] = True
    assert lease.held is False


def test_the_renewal_ends_with_the_work_that_fails(host):
    host.freeze()
    with pytest.raises(RuntimeError):
        with leases.Renewer(host.path, interval=0.01) as lease:
            raise RuntimeError()
    assert not lease._thread.is_alive()


# -- the watcher ------------------------------------------------------------------

def test_a_lease_that_runs_out_starts_the_units_in_the_reverse_order(host):
    host.freeze()
    began = host.time
    host.watch()
    assert host.calls == STARTED and host.time == began + 60
    assert (host.read()["state"], host.read()["reason"], host.read()["thawed"]) == ("broken", "nobody renewed the freeze in time", True)
    host.watch()
    assert host.calls == STARTED


@pytest.mark.parametrize("state", ["gone", "switched"])
def test_the_normal_end_starts_nothing(host, state):
    host.freeze()
    if state == "switched":
        leases.switch(host.path)
    else:
        os.unlink(host.path)
    host.watch()
    assert host.calls == []


def test_a_release_that_did_not_end_is_stopped_before_the_units_start(host):
    host.freeze(state="switching")
    host.containers = "a1\nb2\n"
    host.watch()
    assert host.calls == [PS, "docker stop a1 b2"] + STARTED


def test_a_freeze_without_a_release_asks_docker_nothing(host):
    host.freeze()
    host.containers = "a1\n"
    host.watch()
    assert host.calls == STARTED


def test_a_host_without_docker_has_no_containers(host):
    host.freeze(state="switching", docker="")
    host.watch()
    assert host.calls == STARTED


@pytest.mark.parametrize("at, calls", [("docker stop a1", [PS, PS, "docker stop a1"] + STARTED),
                                       (STARTED[0], [PS, "docker stop a1", PS, "docker stop a1"] + STARTED),
                                       (STARTED[1], [PS, "docker stop a1", STARTED[0], PS, "docker stop a1"] + STARTED)])
def test_a_watcher_that_is_killed_while_it_starts_the_units_goes_on_when_systemd_restarts_it(host, at, calls):
    host.freeze(state="switching", until=host.time)
    host.containers, host.kill_at = "a1\n", at
    with pytest.raises(Killed):
        host.watch()
    assert leases.renew(host.path, 60) is False
    host.kill_at = None
    host.watch()
    assert host.calls == calls


def test_a_unit_that_does_not_start_is_tried_again_and_then_told(host, capsys):
    host.freeze(until=host.time)
    host.fails[STARTED[0]] = 2
    host.watch()
    assert host.calls == STARTED + [STARTED[0]] * 2
    host.freeze(until=host.time)
    host.fails[STARTED[1]], host.calls = 99, []
    host.watch()
    assert host.calls == STARTED + [STARTED[1]] * 4 and "shop: could not start nginx.service" in capsys.readouterr().out


def test_containers_that_do_not_stop_at_once_are_tried_again(host):
    host.freeze(state="switching", until=host.time)
    host.containers, host.fails["docker stop a1"] = "a1\n", 1
    host.watch()
    assert host.calls == [PS, "docker stop a1"] + STARTED + [PS, "docker stop a1"]


def test_who_gives_a_freeze_up_and_is_killed_has_the_watcher_start_the_units(host):
    host.freeze()
    leases.end(host.path, "it was given up")
    host.watch()
    assert host.calls == STARTED


def test_a_full_disk_does_not_keep_the_application_from_serving(host, full):
    host.freeze(until=host.time)
    full["full"] = True
    host.watch()
    assert host.calls == STARTED and not os.path.exists(host.path)
    full["full"] = False
    assert leases.renew(host.path, 60) is False


def test_a_folder_that_was_taken_away_does_not_either(host):
    host.freeze()

    def sleep(seconds):
        host.sleep(seconds)
        if os.path.exists(host.path):
            os.unlink(host.path)
            os.unlink(host.path + ".lock")
            os.rmdir(os.path.dirname(host.path))
    leases.watch(host.path, sleep, host.run, host.ask)
    assert host.calls == STARTED


def test_a_lease_that_can_never_be_read_is_an_error_that_systemd_sees(host):
    with open(host.path, "w", encoding="utf-8") as handle:
        handle.write("{")
    with pytest.raises(ValueError):
        host.watch()


def test_a_watcher_that_wakes_late_does_not_touch_the_lease_of_a_new_freeze(host):
    host.freeze(until=host.time)
    real = host.run

    def run(argv):
        if argv[-1] == "nginx.service":
            host.freeze()
        return real(argv)
    leases.watch(host.path, host.sleep, run, host.ask)
    assert host.read()["state"] == "frozen" and "thawed" not in host.read() and leases.renew(host.path, 60)


# -- a restart of the host ----------------------------------------------------------

def test_a_restart_in_a_freeze_ends_it(host):
    host.freeze()
    host.restart()
    assert host.calls == [] and host.read()["reason"] == "the host was restarted"
    assert leases.renew(host.path, 60) is False and leases.switch(host.path) is False


def test_a_restart_while_containers_were_released_stops_them_each_time(host):
    host.freeze(state="switching")
    host.containers = "a1\n"
    host.restart()
    host.restart()
    # The second time, too: with the restart policy "always" the engine has started them again.
    assert host.calls == [PS, "docker stop a1"] * 2
    assert host.read()["was"] == "switching"


def test_a_restart_after_the_watcher_ended_it_stops_what_was_released(host):
    host.freeze(state="switching", until=host.time)
    host.watch()
    host.calls, host.containers = [], "a1\n"
    host.restart()
    assert host.calls == [PS, "docker stop a1"]


def test_a_power_cut_while_the_containers_are_stopped_is_gone_on_with(host):
    host.freeze(state="switching")
    host.containers, host.kill_at = "a1\n", "docker stop a1"
    with pytest.raises(Killed):
        host.restart()
    host.kill_at = None
    host.restart()
    assert host.calls == [PS, PS, "docker stop a1"] and host.read()["state"] == "broken"


def test_a_restart_between_the_switch_and_the_masks_starts_no_unit(host):
    host.freeze(state="switching")
    leases.switch(host.path)
    host.containers = "a1\n"
    host.restart()
    assert host.calls == ["systemctl --no-block stop nginx.service", "systemctl --no-block stop app.service"]
    assert host.read()["state"] == "switched"


@pytest.mark.parametrize("state", ["same boot", "no lease"])
def test_the_guard_has_nothing_to_do(host, state):
    if state == "same boot":
        host.freeze(state="switching")
    before = host.read() if state == "same boot" else None
    leases.boot(host.path, host.run, host.ask)
    assert host.calls == [] and (before is None or host.read() == before)


def test_a_restart_with_a_full_disk(host, full):
    host.freeze()
    full["full"] = True
    host.restart()
    assert leases.renew(host.path, 60) is False


# -- commands, and the program -------------------------------------------------------

def test_commands_that_are_not_there(capsys):
    assert leases.call(["/no/such/program"]) is False and leases.ask(["/no/such/program"]) is None
    assert leases.call(["true"]) is True and leases.call(["false"]) is False
    assert leases.ask(["echo", "a"]) == "a\n" and leases.ask(["false"]) is None
    assert "/no/such/program" in capsys.readouterr().out


def test_a_docker_that_does_not_answer_is_not_one_without_containers(host):
    host.freeze(state="switching")
    host.containers = None
    assert leases.stop_containers(leases.read(host.path), host.run, host.ask) is False
    host.containers = ""
    assert leases.stop_containers(leases.read(host.path), host.run, host.ask) is True


def test_the_file_alone_is_a_program(tmp_path):
    """As systemd runs it: the file by itself, with nothing of the collection beside it."""
    folder = tmp_path / "shop"
    folder.mkdir()
    program = tmp_path / "migration_lease.py"
    with open(leases.__file__, encoding="utf-8") as handle:
        program.write_text(handle.read(), encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\necho \"$*\" >> %s\n" % (tmp_path / "calls"), encoding="utf-8")
    (tools / "systemctl").chmod(0o755)
    path = str(folder / "lease.json")
    leases.begin(path, {"stack": "shop", "units": UNITS, "state": "frozen", "until": leases.now() - 1, "docker": ""})
    environment = dict(os.environ, PATH="%s:%s" % (tools, os.environ["PATH"]))
    done = subprocess.run([sys.executable, "-I", str(program), "watch", path], env=environment, stdout=subprocess.PIPE, timeout=60, check=True)
    assert b"shop: nobody renewed the freeze in time" in done.stdout
    assert (tmp_path / "calls").read_text().splitlines() == ["start app.service", "start nginx.service"]
    leases.begin(path, {"stack": "shop", "units": UNITS, "state": "frozen", "until": 0, "docker": ""})
    subprocess.run([sys.executable, "-I", str(program), "boot", path], env=environment, timeout=60, check=True)
    assert leases.read(path)["state"] == "frozen"
