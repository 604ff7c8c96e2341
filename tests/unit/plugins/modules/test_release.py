# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release on a host that is made of a folder: real files, a pretended Docker that writes down every call.

Tests compare the whole list of calls, so that one too many or too few fails.
"""
from __future__ import annotations

import contextlib
import copy
import glob
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError, DockerUnavailable
from ansible_collections.dockyard.fleet.plugins.module_utils.migration import lease as leases
from ansible_collections.dockyard.fleet.plugins.modules import release

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield

ME = os.getuid()
COMPOSE = {
    "services": {
        "web": {"image": "${WEB_IMAGE}", "depends_on": {"db": {"condition": "service_healthy"}},
                "ports": [{"target": 8443, "published": "443", "protocol": "tcp"}]},
        "db": {"image": "${DB_IMAGE}"},
    },
    "secrets": {"token": {"file": "./secrets/token.%d" % ME}},
}
WEB_ENV = "# Written by dockyard.fleet\nWORKERS=%s\n"


class Clock:
    """What the module knows as `time`."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def time(self):
        return self.now

    monotonic = time

    def sleep(self, seconds):
        self.now += seconds

    @staticmethod
    def strftime(unused, when="08:00:00"):
        return "2027-01-15 %s" % when

    @staticmethod
    def localtime(seconds):
        return "at %d" % seconds


class Host:
    """A host: its folders, its containers (in a file, so that they outlive a killed run), and the calls that were made."""

    def __init__(self, folder):
        self.folder = folder
        self.half = False
        self.directory = os.path.join(folder, "etc", "stacks", "shop")
        self.state_dir = os.path.join(folder, "var")
        self.state = os.path.join(folder, "docker.json")
        self.calls, self.argv, self.logged, self.warnings = [], [], [], []
        self.clock = Clock()
        self.sick = {}              # service -> how many looks at it say "unhealthy" (a huge number: for ever)
        self.ill_health = "unhealthy"  # or "health: starting": what ends before its first probe
        self.crash = set()          # services that exit at once
        self.refuse = None          # callable(text of compose.yaml) -> what `config` complains about, or None
        self.log_lines = "a line of the log"
        self.unavailable = False
        self.on_call = lambda call: None
        self.volumes, self.images, self.made, self.tools_asked = {}, ["tool:1"], [], False
        self.unit_dir, self.systemd, self.systemd_refuses = os.path.join(folder, "etc", "systemd"), os.path.join(folder, "systemd.json"), None
        if not os.path.exists(self.systemd):
            with open(self.systemd, "w", encoding="utf-8") as handle:
                json.dump({"read": {}, "active": {}}, handle)
        if not os.path.exists(self.state):
            self.save({})

    # the pretended Docker

    def load(self):
        with open(self.state, encoding="utf-8") as handle:
            return json.load(handle)

    def save(self, containers):
        with open(self.state, "w", encoding="utf-8") as handle:
            json.dump(containers, handle)

    def note(self, call):
        self.on_call(call)
        self.calls.append(call)

    def run_command(self, argv, environ_update=None, **unused):
        self.argv.append(list(argv))
        if argv[0] == "/usr/bin/systemctl":
            return self.systemctl(argv[1:])
        if argv[0] == "/usr/bin/systemd-analyze":
            assert argv[1:3] == ["calendar", "--"]
            self.note("calendar %s" % argv[3])
            return (1, "", "Failed to parse calendar specification '%s': Invalid argument" % argv[3]) if argv[3] == "fortnightly" else (0, "", "")
        assert argv[0] == "/usr/bin/docker"
        if argv[1] == "logs":
            self.note("logs %s" % argv[-1])
            return 0, "", self.log_lines
        assert argv[1:4] == ["compose", "--project-name", "shop"] and argv[4] == "--project-directory"
        folder = argv[5]
        assert argv[6:8] == ["--env-file", folder + "/.env"]
        names, rest = [], argv[8:]
        while rest[0] == "--file":
            names.append(os.path.relpath(rest[1], folder))
            rest = rest[2:]
        assert names[0] == "compose.yaml" and names[-1] == "compose.dockyard.yaml"
        self.tools_asked = rest[:2] == ["--profile", "tools"]
        rest = rest[2:] if self.tools_asked else rest
        where = "" if folder == self.directory else "staged "
        if where:
            assert os.path.basename(folder).startswith(".shop.staged-")
        return self.compose(where, folder, names, rest)

    def systemctl(self, words):
        """Like systemd: what it has read of the units, what is active, and links for what is enabled."""
        self.note("systemctl %s" % " ".join(words))
        if self.systemd_refuses and words[0] == self.systemd_refuses:
            return 1, "", "Failed to %s: Access denied" % words[0]
        with open(self.systemd, encoding="utf-8") as handle:
            state = json.load(handle)
        units = {name: self.text(self.unit_dir, name) for name in os.listdir(self.unit_dir) if name.startswith("dockyard-")}
        wants = os.path.join(self.unit_dir, "timers.target.wants")
        if words[0] == "show":
            assert words[1] == "--property=Id,ActiveState,NeedDaemonReload"
            return 0, "\n\n".join("Id=%s\nActiveState=%s\nNeedDaemonReload=%s" % (
                name, "active" if name in state["active"] else "inactive", "no" if state["read"].get(name) == units.get(name) else "yes")
                for name in words[2:]) + "\n", ""
        if words[0] == "daemon-reload":
            state["read"] = units
            # As systemd 257 does: a timer that waits takes over its new calendar.
            state["active"] = {name: units[name] for name in state["active"]}
        for name in words[1:]:
            if words[0] == "enable" and name != "--now":
                assert words[1] == "--now" and name in state["read"], "a unit is started that systemd has not read"
                state["active"].setdefault(name, state["read"][name])
                os.makedirs(wants, exist_ok=True)
                if not os.path.lexists(os.path.join(wants, name)):
                    os.symlink(os.path.join(self.unit_dir, name), os.path.join(wants, name))
            elif words[0] == "disable" and name != "--now":
                assert words[1] == "--now"
                state["active"].pop(name, None)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(wants, name))
        with open(self.systemd, "w", encoding="utf-8") as handle:
            json.dump(state, handle)
        return 0, "", ""

    def text(self, folder, name):
        with open(os.path.join(folder, name), encoding="utf-8") as handle:
            return handle.read()

    def hashes(self, folder, names, resolved=False):
        """Like Compose: a hash of what concerns the service, wherever the folder is; with what is in its env file only when that is resolved."""
        model = json.loads(self.text(folder, "compose.yaml"))
        overlay = json.loads(self.text(folder, "compose.dockyard.yaml").partition("\n")[2])["services"]
        found = {}
        for service, entry in model["services"].items():
            if entry.get("profiles") and not self.tools_asked:
                continue
            own = os.path.join(folder, "%s.env" % service)
            image = re.search(r"(?m)^%s_IMAGE=(.*)$" % service.upper(), self.text(folder, ".env"))
            parts = [json.dumps(entry, sort_keys=True), image.group(1) if image else "", json.dumps(overlay.get(service)),
                     self.text(folder, "%s.env" % service) if resolved and os.path.exists(own) else ""]
            found[service] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
        return found

    @staticmethod
    def label(service, hashes):
        """Compose 2.26 labels a container of a service that has an env_file with the hash of the resolved service, which `config --hash` does not tell."""
        return "label-of-" + hashes[service] if service == "web" else hashes[service]

    def compose(self, where, folder, names, words):
        if words[0] == "config":
            self.note("%s%sconfig %s" % (where, "tools " if self.tools_asked else "", words[1]))
            complaint = self.refuse and self.refuse(self.text(folder, "compose.yaml"))
            if complaint:
                return 15, "", complaint
            if words[1:] == ["--format", "json"]:
                return 0, self.text(folder, "compose.yaml"), ""
            assert words[1:] == ["--hash", "*"]
            return 0, "".join("%s %s\n" % item for item in self.hashes(folder, names).items()), ""
        assert not where, "something is brought up from a staged folder"
        state = self.load()
        if words[0] == "restart":
            assert words[1] == "--no-deps"
            self.note("restart %s" % " ".join(words[2:]))
            for service in words[2:]:
                state[service].update(state="running")
            self.save(state)
            return 0, "", ""
        assert words[0] == "up" and words[1] in ("--no-start", "--detach") and not self.tools_asked
        flags, services = [word for word in words[2:] if word.startswith("--")], [word for word in words[2:] if not word.startswith("--") and word != "never"]
        assert set(flags) - {"--remove-orphans"} == {"--no-build", "--pull"} and words[words.index("--pull") + 1] == "never"
        hashes = self.hashes(folder, names, resolved=True)
        call = {"--no-start": "create", "--detach": "up"}[words[1]]
        if "--remove-orphans" in flags:
            call += ", remove orphans"
            state = {service: entry for service, entry in state.items() if service in hashes}
        self.note("%s %s" % (call, " ".join(services)))
        depends = json.loads(self.text(folder, "compose.yaml"))["services"]
        for service in services + [name for service in services for name in depends[service].get("depends_on", {})]:
            label = self.label(service, hashes)
            entry = state.setdefault(service, {"state": "created", "hash": label, "number": 1})
            if entry["hash"] != label:
                entry.update(state="created", hash=label, number=entry["number"] + 1)
            if words[1] == "--detach" and entry["state"] != "running":
                entry["state"] = "exited" if service in self.crash else "running"
        self.save(state)
        return 0, "", ""

    def get(self, path, query=None, **unused):
        assert path == "/containers/json"
        assert query == {"all": "1", "filters": {"label": ["com.docker.compose.project=shop"]}}
        self.note("GET containers")
        if self.unavailable:
            raise DockerUnavailable("/var/run/docker.sock: connection refused (the daemon is not running)")
        answer = []
        for service, entry in sorted(self.load().items()):
            ill = self.sick.get(service, 0) > 0
            if ill and entry["state"] == "running":
                self.sick[service] -= 1
            status = {"running": "Up 2 minutes (%s)" % (self.ill_health if ill else "healthy"), "created": "Created",
                      "exited": "Exited (1) 3 seconds ago"}[entry["state"]]
            answer.append({"Id": "%s-%d" % (service, entry.get("number", 1)), "Names": ["/shop-%s-1" % service],
                           "State": entry["state"], "Status": status, "Image": "%s:1" % service,
                           "NetworkSettings": {"Networks": {name: {} for name in entry.get("networks", ["shop_default", "blog_front"])}},
                           "Labels": {"com.docker.compose.service": service, "com.docker.compose.config-hash": entry["hash"]}})
        if self.half:
            # `compose up` was killed between creating the new container and removing the old one.
            answer.append({"Id": "half", "Names": ["/0a39eaaa7f3d_shop-web-1"], "State": "created", "Status": "Created", "Image": "web:1",
                           "Labels": {"com.docker.compose.service": "web", "com.docker.compose.config-hash": "x"}})
        answer.append({"Id": "id-run", "State": "exited", "Status": "Exited (1)",
                       "Labels": {"com.docker.compose.service": "web", "com.docker.compose.oneoff": "True"}})
        return answer

    def request(self, method, path, query=None, body=None, **unused):
        self.note("%s %s" % (method, path))
        if path == "/volumes/create":
            self.made.append(body)
            self.volumes[body["Name"]] = os.path.join(self.folder, body["Name"])
            os.makedirs(self.volumes[body["Name"]], exist_ok=True)
        elif path == "/containers/half":
            assert (method, query) == ("DELETE", {"force": "1"})
            self.half = False
        else:
            state = self.load()
            service = path.split("/")[2].rpartition("-")[0]
            if method == "DELETE":
                assert query == {"force": "1"} and state.pop(service)["state"] == "exited"
            else:
                assert method == "POST" and path.endswith("/stop")
                state[service]["state"] = "exited"
            self.save(state)

    def inspect(self, kind, name, **unused):
        self.note("inspect %s %s" % (kind, name))
        if kind == "volumes":
            if name not in self.volumes:
                raise DockerApiError("GET /volumes", 404, "no such volume")
            return {"Mountpoint": self.volumes[name]}
        if kind == "images":
            if name not in self.images:
                raise DockerApiError("GET /images", 404, "no such image")
            return {}
        return {"State": {"ExitCode": 1, "Health": {"Log": [{"ExitCode": 7, "Output": "probe says no"}]}}, "RestartCount": 4,
                "HostConfig": {"RestartPolicy": {"Name": "no"}}}

    # the host's files

    def tree(self):
        """Everything below the host's folders: path -> (mode, owner, content, inode)."""
        found = {}
        for top in (os.path.join(self.folder, "etc"), self.state_dir, os.path.join(self.folder, "lib")):
            for folder, folders, names in os.walk(top):
                for name in folders + names:
                    path = os.path.join(folder, name)
                    info = os.lstat(path)
                    content = None
                    if stat.S_ISREG(info.st_mode):
                        with open(path, "rb") as handle:
                            content = handle.read()
                    # staging takes place beside the stack's folder, which shows in the time of the folder above
                    when = info.st_mtime_ns if content is not None else None
                    found[os.path.relpath(path, self.folder)] = (oct(stat.S_IMODE(info.st_mode)), info.st_uid, content, info.st_ino, when)
        return {path: entry for path, entry in found.items() if not path.endswith(".shop.lock")}

    def contents(self):
        return {path: (entry[0], entry[2]) for path, entry in self.tree().items()}

    def read(self, name):
        with open(os.path.join(self.directory, name), encoding="utf-8") as handle:
            return handle.read()

    def ledger(self):
        with open(os.path.join(self.state_dir, "releases", "shop.jsonl"), encoding="utf-8") as handle:
            return [json.loads(line) for line in handle.read().splitlines()]


def options(host, **changes):
    given = {
        "name": "shop", "directory": host.directory, "state_dir": host.state_dir, "revision": "r1", "released_by": "anna@laptop",
        "files": [{"path": "compose.yaml", "content": json.dumps(COMPOSE)}, {"path": "web.env", "content": WEB_ENV % "2", "mode": "0600"},
                  {"path": "conf/web.conf", "content": "listen\n"}],
        "variables": {"WEB_IMAGE": "web:1", "DB_IMAGE": "db:1", "GREETING": "$5 \"a\" #b"},
        "services": ["web", "db"],
        "secrets": [{"name": "token", "source": "generated", "readers": [ME]}],
        "service_secrets": {"web": ["token"]},
        "ports": [{"service": "web", "container": 8443, "published": "443"}],
        "timeout_seconds": 60, "lock_timeout_seconds": 0,
    }
    given.update(copy.deepcopy(changes))
    return given


def with_file(host, path, content, **changes):
    """Options in which one file has another content."""
    given = options(host, **changes)
    given["files"] = [entry for entry in given["files"] if entry["path"] != path] + [{"path": path, "content": content,
                                                                                      "mode": "0600" if path.endswith(".env") else "0644"}]
    return given


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(str(tmp_path))
    os.makedirs(os.path.join(made.folder, "etc"))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, argv, **more: made.run_command(argv, **more))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda self, name, *unused, **unused2: "/usr/bin/" + name)
    monkeypatch.setattr(release, "UNIT_DIR", made.unit_dir)
    monkeypatch.setattr(release, "RUNNER", os.path.join(made.folder, "lib", "run_action.py"))
    monkeypatch.setattr(release, "SYSTEMD", made.folder)
    # what reaches the target's system log, after Ansible's own masking
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: made.logged.append(str(text)))
    monkeypatch.setattr(release, "DockerApi", lambda *unused, **unused2: made)
    monkeypatch.setattr(release, "time", made.clock)
    # that files are flushed to the disk is shown in test_release_files.py; hundreds of releases here need not wait for it
    monkeypatch.setattr(os, "fsync", lambda unused: None)
    if ME != os.getgid() and ME != 0:
        # only the superuser may give a file to a group that is not its own
        monkeypatch.setattr(os, "fchown", lambda *unused: None)
        monkeypatch.setattr(release.files, "differs", lambda path, content, mode, owner=None, real=release.files.differs: real(path, content, mode))
    return made


@pytest.fixture
def run(host, capsys):
    """Run the module; gives its answer. `host.output` keeps every character that left it."""
    host.output = ""

    def call(given=None, check=False, diff=False, **changes):
        del host.calls[:]
        args = dict(given or options(host, **changes), _ansible_no_log=False,
                    _ansible_check_mode=check, _ansible_diff=diff, _ansible_remote_tmp=os.path.join(host.folder, "remote"),
                    _ansible_tmpdir=os.path.join(host.folder, "remote"))
        os.makedirs(os.path.join(host.folder, "remote"), exist_ok=True)
        capsys.readouterr()
        with patch_module_args(args):
            with pytest.raises(SystemExit) as ended:
                release.main()
        out = capsys.readouterr().out
        host.output += out
        answer = json.loads(out)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        return answer
    return call


FIRST = ["GET containers", "staged config --format", "staged config --hash",
         "config --hash", "config --format",
         "GET containers", "up db", "GET containers", "up web"] + ["GET containers"] * 3
NOOP = ["GET containers", "config --hash", "GET containers"]
STAGED = ["GET containers", "staged config --format", "staged config --hash", "staged config --hash"]


# -- the calls ----------------------------------------------------------------

def test_a_first_release_is_this_script(host, run):
    answer = run()
    assert host.calls == FIRST
    assert answer["changed"] is True
    assert answer["changed_services"] == {"web": "created", "db": "created"}
    assert answer["services"] == {"web": {"state": "running", "health": "healthy", "image": "web:1"},
                                  "db": {"state": "running", "health": "healthy", "image": "db:1"}}
    assert answer["changed_files"] == [".env", "compose.dockyard.yaml", "compose.yaml", "conf/web.conf", "secrets/token.%d" % ME, "web.env"]


def test_the_environment_of_compose_is_quiet(host, run, monkeypatch):
    seen = []
    real = host.run_command
    monkeypatch.setattr(host, "run_command", lambda argv, **more: (seen.append(more.get("environ_update")), real(argv))[1])
    run()
    assert seen and all(entry == {"COMPOSE_ANSI": "never", "COMPOSE_PROGRESS": "plain"} for entry in seen)


def test_a_second_release_makes_one_compose_call_and_changes_nothing(host, run):
    run()
    before = host.tree()
    answer = run()
    assert host.calls == NOOP
    assert answer["changed"] is False and answer["changed_files"] == [] and answer["changed_services"] == {}
    assert host.tree() == before
    assert answer["release"]["number"] == 1


def test_check_mode_of_a_first_release_is_the_script_without_what_changes(host, run):
    answer = run(check=True)
    assert host.calls == FIRST[:3]
    assert answer["changed"] is True and answer["changed_services"] == {"web": "created", "db": "created"}
    assert host.tree() == {} and host.load() == {}
    assert glob.glob(host.folder + "/remote/*") == []


def test_check_mode_writes_nothing_where_another_stack_is_at_home(host, run):
    os.makedirs(os.path.join(host.folder, "etc", "stacks", "blog"))
    before = sorted(os.walk(host.folder + "/etc")), os.path.exists(host.state_dir)
    run(check=True)
    assert (sorted(os.walk(host.folder + "/etc")), os.path.exists(host.state_dir)) == before


def test_check_mode_of_a_converged_stack_changes_nothing(host, run):
    run()
    before = host.tree()
    answer = run(check=True, diff=True)
    assert host.calls == NOOP[:2]
    assert answer["changed"] is False and answer["diff"] == []
    assert host.tree() == before


def test_check_mode_of_an_edited_value_names_that_file_and_that_service(host, run):
    run()
    before = host.tree()
    given = with_file(host, "web.env", WEB_ENV % "4")
    predicted = run(given, check=True, diff=True)
    assert host.calls == STAGED
    assert predicted["changed"] is True and predicted["changed_files"] == ["web.env"] and predicted["changed_services"] == {"web": "changed"}
    assert len(predicted["diff"]) == 1 and "-WORKERS=2\n+WORKERS=4\n" in predicted["diff"][0]["prepared"]
    assert host.tree() == before
    done = run(given)
    for key in ("changed", "changed_files", "changed_services"):
        assert done[key] == predicted[key]


def test_a_changed_file_changes_only_what_depends_on_it(host, run):
    run()
    host_db = host.load()["db"]
    answer = run(with_file(host, "web.env", WEB_ENV % "4"))
    assert host.calls == STAGED + ["config --hash", "config --format", "GET containers", "up web"] + ["GET containers"] * 3
    assert answer["changed_services"] == {"web": "changed"}
    assert host.load()["db"] == host_db
    assert host.read("web.env") == WEB_ENV % "4"


def test_a_file_that_no_service_mounts_touches_no_service(host, run):
    run()
    answer = run(with_file(host, "conf/web.conf", "listen 2\n"))
    assert host.calls == STAGED + ["config --hash", "GET containers", "GET containers"]
    assert answer["changed"] is True and answer["changed_files"] == ["conf/web.conf"] and answer["changed_services"] == {}


@pytest.mark.parametrize("edit, reason, calls", [
    (lambda state: state.pop("web"), {"web": "created"}, ["GET containers", "up web"]),
    (lambda state: state["web"].update(state="exited"), {"web": "started"}, ["GET containers", "up web"]),
    (lambda state: state["web"].update(hash="edited"), {"web": "changed"}, ["GET containers", "up web"]),
    (lambda state: state["db"].update(hash="edited"), {"db": "changed"}, ["GET containers", "up db"]),
])
def test_drift_is_repaired(host, run, edit, reason, calls):
    run()
    state = host.load()
    edit(state)
    host.save(state)
    predicted = run(check=True)
    assert predicted["changed_services"] == reason and predicted["changed"] is True and host.load() == state
    answer = run()
    assert [call for call in host.calls if not call.startswith("inspect")] == ["GET containers", "config --hash",
                                                                               "config --format"] + calls + ["GET containers"] * 3
    assert answer["changed_services"] == reason
    assert run()["changed"] is False


def test_a_container_that_a_killed_compose_left_half_made_is_removed(host, run):
    run()
    host.half, host.calls[:] = True, []
    assert not run().get("failed") and host.calls[:2] == ["GET containers", "DELETE /containers/half"]
    assert run()["changed"] is False
    host.half, host.calls[:] = True, []
    run(check=True)
    assert host.half and "DELETE /containers/half" not in host.calls


def test_an_unhealthy_service_with_the_right_configuration_is_restarted(host, run):
    run()
    host.sick = {"web": 1}
    answer = run()
    assert answer["changed_services"] == {"web": "restarted"}
    assert host.calls == ["GET containers", "config --hash", "config --format", "GET containers", "restart web"] + ["GET containers"] * 3


def test_a_service_that_was_taken_out_of_a_network_is_made_anew(host, run):
    """As cloudflared is when a stack that it leads to is removed; neither hash nor health tells."""
    run()
    state = host.load()
    state["web"]["networks"] = ["shop_default"]
    host.save(state)
    assert run(check=True)["changed_services"] == {"web": "reconnected"}
    host.calls[:] = []
    assert run()["changed_services"] == {"web": "reconnected"}
    end = host.calls.index("up web")
    assert host.calls[end - 2:end] == ["POST /containers/web-1/stop", "DELETE /containers/web-1"]


def test_a_service_that_is_not_wanted_any_more_is_removed(host, run):
    run()
    state = host.load()
    state["old"] = {"state": "running", "hash": "x"}
    host.save(state)
    assert run(check=True)["changed"] is True
    answer = run()
    assert answer["changed_services"] == {"old": "removed"} and "up, remove orphans db web" in host.calls
    assert set(host.load()) == {"web", "db"}
    assert run()["changed"] is False


def test_an_early_unhealthy_is_waited_out(host, run):
    host.sick = {"db": 5, "web": 9}
    answer = run()
    assert not answer.get("failed")
    assert host.calls.count("GET containers") > 14
    assert host.clock.now - 1_800_000_000 >= 12


# -- the way back ---------------------------------------------------------------

def bad_release(host, run):
    run()
    good = host.contents()
    host.sick = {"web": 10 ** 9}
    host.log_lines = "Traceback: no module named shop"
    real = host.compose

    def compose(where, folder, names, words):
        # what is not healthy is the new configuration, not the service
        if words[0] == "up" and "--detach" in words and "WORKERS=2" in host.text(folder, "web.env"):
            host.sick = {}
        return real(where, folder, names, words)
    host.compose = compose
    given = with_file(host, "web.env", WEB_ENV % "broken", revision="r2")
    given["files"].append({"path": "conf/extra.conf", "content": "new\n"})
    return good, run(given)


def test_what_does_not_get_healthy_goes_back_to_the_last_good_files(host, run):
    good, answer = bad_release(host, run)
    assert answer["failed"] is True and answer["reverted"] is True and answer["changed"] is True
    after = host.contents()
    ledger = [path for path in after if path.endswith("shop.jsonl")]
    assert {path: entry for path, entry in after.items() if path not in ledger} == {path: entry for path, entry in good.items() if path not in ledger}
    # Level by level, as forward: the database is waited for before what depends on it.
    assert [call for call in host.calls if call.startswith("up")][-2:] == ["up db", "up web"] and host.calls[-1] == "GET containers"
    assert host.load()["web"]["hash"] == "label-of-" + host.hashes(host.directory, ["compose.yaml"], resolved=True)["web"]
    assert [(entry["outcome"], entry["revision"]) for entry in host.ledger()] == [("released", "r1"), ("failed", "r2")]
    host.sick = {}
    assert run()["changed"] is False


def test_the_way_back_has_the_secrets_of_the_good_release(host, run):
    given = options(host, secrets=[{"name": "token", "source": "given", "value": "good-hush", "readers": [ME]}])
    run(given)
    host.sick = {"web": 10 ** 9}
    answer = run(dict(given, secrets=[{"name": "token", "source": "given", "value": "bad-hush", "readers": [ME]}]))
    assert answer["failed"] is True
    secret = host.contents()["etc/stacks/shop/secrets/token.%d" % ME]
    assert secret[1] == b"good-hush" and "600" in str(secret[0])


def test_a_failure_has_the_health_output_and_the_log_of_who_failed(host, run):
    answer = bad_release(host, run)[1]
    for text in ("shop: web not healthy within 60 s", "the last good release was put back and serves", "health.timeout_seconds",
                 "web: state running, health unhealthy", "restarted 4 times",
                 "health check said (code 7): probe says no", "Traceback: no module named shop"):
        assert text in answer["msg"], answer["msg"]
    assert "db:" not in answer["msg"]
    assert "logs web-2" in host.calls and [call for call in host.calls if call.startswith("logs")] == ["logs web-2"]


def test_a_container_that_ends_again_and_again_is_told_so_whatever_it_does_at_the_moment_of_looking(host, run):
    host.ill_health = "health: starting"
    answer = bad_release(host, run)[1]
    assert "web: state restarting, health starting, exit code not known, restarted 4 times" in answer["msg"], answer["msg"]
    assert "state running" not in answer["msg"]


def test_a_release_that_was_taken_back_is_not_tried_again_unasked(host, run):
    assert bad_release(host, run)[1]["reverted"] is True
    broken = with_file(host, "web.env", WEB_ENV % "broken", revision="r2")
    broken["files"].append({"path": "conf/extra.conf", "content": "new\n"})
    before, host.calls[:] = host.contents(), []
    answer = run(broken)
    assert answer["failed"] is True and answer["changed"] is False and "stack_retry_failed" in answer["msg"] and "number 2" in answer["msg"]
    assert not [call for call in host.calls if call.startswith("up")] and host.contents() == before
    host.sick = {}
    assert not run(dict(broken, retry_failed=True)).get("failed")
    assert host.ledger()[-1]["outcome"] == "released"


def test_a_way_back_that_failed_is_told_and_the_next_run_is_not_refused(host, run):
    run()
    broken = with_file(host, "web.env", WEB_ENV % "broken", revision="r2")
    host.sick = {"web": 10 ** 9}
    answer = run(broken)
    # The good release does not get well either: nothing serves.
    assert answer["failed"] is True and answer["reverted"] is False
    assert "could not be brought back" in answer["msg"].splitlines()[0] and "no other good release" not in answer["msg"]
    host.sick = {}
    again = run(broken)
    assert not again.get("failed") and host.ledger()[-1]["outcome"] == "released"


def test_a_port_that_is_declared_no_more_is_refused(host, run):
    run()
    before = host.contents()
    answer = run(options(host, ports=[]))
    assert answer["failed"] is True and "publishes 443:8443/tcp" in answer["msg"] and host.contents() == before


def test_a_first_release_that_fails_has_nothing_to_go_back_to(host, run):
    host.sick = {"web": 10 ** 9}
    answer = run()
    assert answer["failed"] is True and answer["reverted"] is False
    assert not os.path.exists(os.path.join(host.state_dir, "releases", "shop.good"))
    host.sick = {}
    again = run()
    assert not again.get("failed") and again["release"]["outcome"] == "released"


def test_what_has_ended_for_good_is_not_waited_for(host, run):
    host.crash = {"db"}
    answer = run()
    assert "ended and will not come back" in answer["msg"] and "db: state exited" in answer["msg"]
    assert host.clock.now - 1_800_000_000 < 5
    assert "up web" not in host.calls


def test_compose_fails_while_bringing_up(host, run):
    run()
    real = host.compose

    def compose(where, folder, names, words):
        if words[0] == "up" and "--detach" in words and "WORKERS=4" in host.text(folder, "web.env"):
            host.note("up fails")
            return 1, "", "Error response from daemon: no such image: web:1"
        return real(where, folder, names, words)
    host.compose = compose
    answer = run(with_file(host, "web.env", WEB_ENV % "4"))
    assert "docker compose failed: Error response from daemon: no such image" in answer["msg"] and answer["reverted"] is True
    assert host.read("web.env") == WEB_ENV % "2"


# -- refused before anything that runs is touched --------------------------------

def test_a_file_of_any_bytes(host, run):
    given = options(host)
    given["files"].append({"path": "source/src/logo.png", "content": "iVBORwD/", "encoding": "base64", "mode": "0755"})
    answer = run(given, diff=True)
    assert answer["changed"] is True
    path = os.path.join(host.directory, "source", "src", "logo.png")
    with open(path, "rb") as handle:
        assert handle.read() == b"\x89PNG\x00\xff"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
    assert [entry["prepared"] for entry in answer["diff"] if "logo.png" in entry["prepared"]][0].endswith("+(6 bytes)\n")
    assert run(given)["changed"] is False


def test_files_that_compose_refuses_leave_everything_as_it_was(host, run):
    run()
    before, containers = host.tree(), host.load()
    host.refuse = lambda text: "services.web Additional property imgae is not allowed" if "imgae" in text else None
    given = with_file(host, "compose.yaml", json.dumps(dict(COMPOSE, imgae=1)))
    for check in (True, False):
        answer = run(given, check=check)
        assert answer["failed"] is True and answer["changed"] is False
        assert "`docker compose config` refuses the files: services.web Additional property imgae is not allowed" in answer["msg"]
        assert host.calls == ["GET containers", "staged config --format"]
        assert host.tree() == before and host.load() == containers


def test_a_first_release_that_compose_refuses_leaves_nothing_that_runs(host, run):
    host.refuse = lambda text: "bad"
    assert run()["failed"] is True
    assert not os.path.exists(host.directory) and host.load() == {}
    assert [path for path in host.tree() if "staged" in path] == []


@pytest.mark.parametrize("port, text", [
    ({"target": 5432, "published": "5432", "protocol": "tcp"}, "services/db/ports: publishes 5432:5432/tcp, which `ports` of stack.yml does not declare"),
    ({"target": 5432, "protocol": "tcp"}, "services/db/ports: publishes 5432 on a random port"),
])
def test_an_undeclared_port_is_refused(host, run, port, text):
    run()
    before = host.tree()
    document = copy.deepcopy(COMPOSE)
    document["services"]["db"]["ports"] = [port]
    answer = run(with_file(host, "compose.yaml", json.dumps(document)))
    assert answer["failed"] is True and text in answer["msg"] and "nothing was changed" in answer["msg"]
    assert host.calls == ["GET containers", "staged config --format", "staged config --hash"]
    assert host.tree() == before


@pytest.mark.parametrize("environment, refused", [("development", False), ("production", True)])
def test_a_port_on_the_loopback_is_for_development(host, run, environment, refused):
    document = copy.deepcopy(COMPOSE)
    document["services"]["db"]["ports"] = [{"target": 5432, "published": "5432", "protocol": "tcp", "host_ip": "127.0.0.1"}]
    assert bool(run(with_file(host, "compose.yaml", json.dumps(document), environment=environment)).get("failed")) is refused


def test_docker_stopped(host, run):
    run()
    before = host.tree()
    host.unavailable = True
    answer = run(with_file(host, "web.env", WEB_ENV % "4"))
    assert answer["msg"].startswith("shop: Docker does not answer: /var/run/docker.sock: connection refused")
    assert "needed a running engine; look at `systemctl status docker`" in answer["msg"]
    assert host.calls == ["GET containers"] and host.tree() == before


def test_no_docker_program(host, run, monkeypatch):
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *unused, **unused2: None)
    answer = run()
    assert "found no docker program" in answer["msg"] and host.calls == [] and host.tree() == {}


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "secrets/token.0", ".env", "compose.dockyard.yaml", "a/../../b", ".dockyard.json"])
def test_a_file_outside_or_of_the_module_itself_is_refused(host, run, path):
    answer = run(with_file(host, path, "x"))
    assert answer["failed"] is True and "found the path %s" % path in answer["msg"]
    assert not os.path.exists(host.directory)


@pytest.mark.parametrize("changes, text",
                         [({"variables": {"A B": "x"}}, "'A B' is not the name of an environment variable"), ({"variables": {"A": ["x"]}}, "A: found list")])
def test_a_bad_variable_is_told_and_nothing_written(host, run, changes, text):
    answer = run(**changes)
    assert answer["failed"] is True and text in answer["msg"]
    assert not os.path.exists(host.directory)


def test_a_circle_of_dependencies(host, run):
    document = copy.deepcopy(COMPOSE)
    document["services"]["db"]["depends_on"] = {"web": {"condition": "service_started"}}
    assert "depends_on goes in a circle: db, web" in run(with_file(host, "compose.yaml", json.dumps(document)))["msg"]


# -- files ----------------------------------------------------------------------

def test_modes_and_contents(host, run):
    run()
    found = {path: entry[0] for path, entry in host.tree().items()}
    shop = "etc/stacks/shop"
    assert {path: mode for path, mode in found.items() if path.startswith(shop)} == {
        shop: "0o755", shop + "/.env": "0o600", shop + "/web.env": "0o600", shop + "/compose.yaml": "0o644", shop + "/compose.dockyard.yaml": "0o644",
        shop + "/.dockyard.json": "0o644", shop + "/conf": "0o755", shop + "/conf/web.conf": "0o644", shop + "/secrets": "0o700",
        shop + "/secrets/.meta.json": "0o600", shop + "/secrets/token.%d" % ME: "0o600"}
    assert all(mode in ("0o700", "0o600") for path, mode in found.items() if path.startswith("var/releases"))
    env = host.read(".env")
    assert 'GREETING="\\$5 \\"a\\" #b"\n' in env and "COMPOSE_PROJECT_NAME=shop\n" in env and "COMPOSE_FILE=compose.yaml:compose.dockyard.yaml\n" in env
    assert env.startswith("# Written by dockyard.fleet")


def test_a_file_that_is_not_wanted_any_more_goes_and_others_stay(host, run):
    run()
    with open(os.path.join(host.directory, "note-of-the-operator"), "w", encoding="utf-8") as handle:
        handle.write("mine")
    given = options(host)
    given["files"] = [entry for entry in given["files"] if entry["path"] != "conf/web.conf"]
    answer = run(given, diff=True)
    assert answer["changed_files"] == ["conf/web.conf"]
    assert not os.path.exists(os.path.join(host.directory, "conf", "web.conf"))
    assert host.read("note-of-the-operator") == "mine"
    assert "(absent)" in answer["diff"][0]["prepared"]
    assert run(given)["changed"] is False


def test_a_file_edited_by_hand_is_put_right(host, run):
    run()
    os.chmod(os.path.join(host.directory, "web.env"), 0o644)
    with open(os.path.join(host.directory, "conf", "web.conf"), "w", encoding="utf-8") as handle:
        handle.write("edited")
    answer = run()
    assert answer["changed_files"] == ["conf/web.conf", "web.env"]
    assert host.read("conf/web.conf") == "listen\n" and host.contents()["etc/stacks/shop/web.env"][0] == "0o600"


def test_volumes_get_mode_and_owner(host, run):
    mount = os.path.join(host.folder, "mount")
    os.mkdir(mount, 0o755)
    host.volumes = {"shop_data": mount}
    volumes = [{"name": "data", "owner": "%d:%d" % (ME, os.getgid()), "mode": "0700"}, {"name": "gone", "mode": "0700"}, {"name": "free", "backup": True}]
    run(volumes=volumes)
    assert stat.S_IMODE(os.stat(mount).st_mode) == 0o700
    # an image's folder is copied over an empty volume when a container is created: ours comes after that, and before the start
    assert host.calls[5:11] == ["inspect volumes shop_data", "GET containers", "create db", "inspect volumes shop_data", "inspect volumes shop_gone", "up db"]
    with open(os.path.join(mount, "data"), "w", encoding="utf-8") as handle:
        handle.write("x")
    os.chmod(mount, 0o750)
    answer = run(volumes=volumes)
    assert answer["changed"] is True and answer["changed_files"] == ["volume data"] and stat.S_IMODE(os.stat(mount).st_mode) == 0o700
    assert run(volumes=volumes)["changed"] is False


# -- tools ------------------------------------------------------------------------

TOOL = {"image": "${TOOL_IMAGE}", "profiles": ["tools"]}
VOLUMES = {"home": {"name": "shop_home", "driver": "local", "driver_opts": {"o": "size=1"}, "labels": {"a": "b"}}, "theirs": {"name": "theirs",
                                                                                                                              "external": True}}
ONLY_TOOLS = {"services": {"tool": TOOL}, "volumes": VOLUMES}
MIXED = {"services": dict(COMPOSE["services"], tool=TOOL), "secrets": COMPOSE["secrets"]}
HOME = [{"name": "home", "owner": "%d:%d" % (ME, os.getgid()), "mode": "0700"}]
VARIABLES = {"WEB_IMAGE": "web:1", "DB_IMAGE": "db:1", "TOOL_IMAGE": "tool:1"}


def only_tools(host, **changes):
    given = options(host, services=[], tools=["tool"], secrets=[], service_secrets={}, ports=[], volumes=HOME, variables=VARIABLES, **changes)
    given["files"] = [{"path": "compose.yaml", "content": json.dumps(ONLY_TOOLS)}]
    return given


def test_a_stack_of_tools_is_checked_and_has_its_volumes_and_nothing_is_started(host, run):
    answer = run(only_tools(host))
    assert host.calls == ["GET containers", "inspect images tool:1", "staged tools config --format", "GET containers", "inspect volumes shop_home",
                          "tools config --format", "POST /volumes/create", "inspect volumes shop_home", "GET containers"]
    assert answer["changed"] is True and answer["changed_services"] == {} and answer["changed_files"][-1] == "volume home"
    assert answer["services"] == {"tool": {"state": "ready", "health": "none", "image": "tool:1"}}
    assert host.made == [{"Name": "shop_home", "Driver": "local", "DriverOpts": {"o": "size=1"},
                          "Labels": {"a": "b", "com.docker.compose.project": "shop", "com.docker.compose.volume": "home"}}]
    assert stat.S_IMODE(os.stat(host.volumes["shop_home"]).st_mode) == 0o700
    assert (host.ledger()[0]["outcome"], host.ledger()[0]["tools"], host.ledger()[0]["all_services"]) == ("released", ["tool"], [])


def test_a_second_release_of_tools_asks_no_compose_and_changes_nothing(host, run):
    run(only_tools(host))
    before = host.tree()
    answer = run(only_tools(host))
    assert host.calls == ["GET containers", "inspect images tool:1", "GET containers", "inspect volumes shop_home", "inspect volumes shop_home"]
    assert answer["changed"] is False and host.tree() == before and len(host.ledger()) == 1


def test_drift_of_tools(host, run):
    run(only_tools(host))
    os.chmod(host.volumes["shop_home"], 0o777)
    assert run(only_tools(host))["changed_files"] == ["volume home"]
    host.volumes.clear()
    predicted = run(only_tools(host), check=True)
    assert predicted["changed_files"] == ["volume home"] and host.volumes == {}
    assert run(only_tools(host))["changed_files"] == ["volume home"] and run(only_tools(host))["changed"] is False


def test_check_mode_of_tools_asks_for_no_image_and_makes_nothing(host, run):
    host.images = []
    answer = run(only_tools(host), check=True)
    assert answer["changed"] is True and host.made == [] and host.tree() == {} and answer["services"] == {}
    assert "volume home" in answer["changed_files"]


def test_a_tool_without_its_image_is_refused_before_anything(host, run):
    host.images = []
    answer = run(only_tools(host))
    assert answer["failed"] is True and "shop, tool tool: found no image tool:1 on the host" in answer["msg"] and "nothing was changed" in answer["msg"]
    assert host.calls == ["GET containers", "inspect images tool:1"] and not os.path.exists(host.directory)


def test_a_volume_of_the_operator_is_not_made(host, run):
    answer = run(dict(only_tools(host), volumes=[{"name": "theirs", "mode": "0700"}]))
    assert not answer.get("failed") and host.made == []


def test_an_undeclared_port_of_a_tool_is_refused(host, run):
    given = only_tools(host)
    given["files"][0]["content"] = json.dumps({"services": {"tool": dict(TOOL, ports=[{"target": 80, "published": "80"}])}})
    assert "services/tool/ports: publishes 80:80/tcp, which" in run(given)["msg"]


def mixed(host, **changes):
    given = with_file(host, "compose.yaml", json.dumps(MIXED), tools=["tool"], variables=VARIABLES, **changes)
    return given


def test_a_tool_beside_services_is_never_started(host, run):
    answer = run(mixed(host))
    assert set(host.load()) == {"db", "web"} and set(answer["services"]) == {"db", "tool", "web"}
    assert run(mixed(host))["changed"] is False
    assert host.calls == ["GET containers", "inspect images tool:1", "config --hash", "GET containers"]


def test_a_service_that_became_a_tool_is_stopped(host, run):
    both = json.dumps({"services": dict(COMPOSE["services"], tool={"image": "${TOOL_IMAGE}"}), "secrets": COMPOSE["secrets"]})
    run(with_file(host, "compose.yaml", both, services=["web", "db", "tool"], variables=VARIABLES))
    assert "tool" in host.load()
    answer = run(mixed(host))
    assert answer["changed_services"] == {"tool": "removed"} and set(host.load()) == {"db", "web"}
    assert run(mixed(host))["changed"] is False


def test_services_that_are_all_gone_are_stopped_without_compose(host, run):
    run()
    answer = run(only_tools(host))
    assert answer["changed_services"] == {"db": "removed", "web": "removed"} and host.load() == {}
    assert not [call for call in host.calls if call.startswith("up")]


def test_the_way_back_from_tools_to_services(host, run, monkeypatch):
    run()

    def full(call):
        if call == "POST /volumes/create":
            raise DockerApiError("POST", 500, "no space")
    monkeypatch.setattr(host, "on_call", full)
    answer = run(only_tools(host))
    assert answer["failed"] is True and answer["reverted"] is True and "no space" in answer["msg"]
    assert {name: entry["state"] for name, entry in host.load().items()} == {"db": "running", "web": "running"}
    assert run()["changed"] is False


def test_a_new_folder_of_artifacts_recreates_and_the_way_back_has_the_old_one(host, run):
    def with_models(path, **changes):
        given = with_file(host, "compose.yaml", json.dumps(COMPOSE), **changes)
        given["variables"] = dict(given["variables"], WEB_IMAGE=path)
        return given
    run(with_models("/models/1"))
    host.sick = {"web": 10 ** 9}
    real = host.compose

    def compose(where, folder, names, words):
        if words[0] == "up" and "/models/1" in host.text(folder, ".env"):
            host.sick = {}
        return real(where, folder, names, words)
    host.compose = compose
    answer = run(with_models("/models/2"))
    assert answer["reverted"] is True and "WEB_IMAGE=/models/1\n" in host.read(".env")


# -- actions and schedules -----------------------------------------------------------

ACTIONS = {"look": {"service": "web", "how": "exec", "command": ["look", "{at}"], "arguments": {"at": {}}}}
SCHEDULE = {"name": "often", "action": "look", "arguments": {"at": "http://me:hush-hush@h"}, "calendar": "*:0/5", "keep": 7, "description": "Looks"}
TIMER, SERVICE = "dockyard-shop-often.timer", "dockyard-shop-often.service"


def scheduled(host, **changes):
    return options(host, actions=ACTIONS, schedules=[dict(SCHEDULE, **changes)])


def systemd(host):
    with open(host.systemd, encoding="utf-8") as handle:
        return json.load(handle)


def test_actions_are_kept_on_the_host_with_what_runs_them(host, run):
    answer = run(options(host, actions=ACTIONS))
    assert json.loads(host.read("actions.json"))["actions"] == ACTIONS
    contents = host.contents()
    assert contents["etc/stacks/shop/actions.json"][0] == "0o644" and "etc/stacks/shop/schedules.json" not in contents
    with open(release.runner.__file__, "rb") as handle:
        assert contents["lib/run_action.py"] == ("0o644", handle.read())
    assert not [call for call in host.calls if call.startswith("systemctl")]
    assert "actions.json" in answer["changed_files"] and release.RUNNER in answer["changed_files"]
    assert run(options(host, actions=ACTIONS))["changed"] is False
    assert run()["changed_files"] == ["actions.json"] and "etc/stacks/shop/actions.json" not in host.contents()


def test_a_schedule_is_set_up_after_the_stack_serves(host, run):
    answer = run(scheduled(host))
    assert host.calls[-3:] == ["systemctl daemon-reload", "systemctl enable --now " + TIMER, "GET containers"]
    assert host.calls.index("calendar *:0/5") < host.calls.index("up db")
    assert list(systemd(host)["active"]) == [TIMER] and "OnCalendar=*:0/5\n" in systemd(host)["active"][TIMER]
    assert [path for path in answer["changed_files"] if "systemd" in path] == [os.path.join(host.unit_dir, SERVICE), os.path.join(host.unit_dir, TIMER)]
    found = json.loads(host.read("schedules.json"))["schedules"]
    assert found == {"often": {"action": "look", "arguments": SCHEDULE["arguments"], "calendar": "*:0/5", "keep": 7}}
    contents = host.contents()
    assert contents["etc/stacks/shop/schedules.json"][0] == "0o600" and contents["var/results"][0] == "0o700"
    assert b"hush-hush" not in contents["etc/systemd/" + SERVICE][1] + contents["etc/stacks/shop/actions.json"][1]


def test_a_schedule_that_is_as_it_should_be_costs_one_question(host, run):
    run(scheduled(host))
    before = host.tree()
    answer = run(scheduled(host))
    assert host.calls == ["systemctl show --property=Id,ActiveState,NeedDaemonReload " + TIMER] + NOOP
    assert answer["changed"] is False and host.tree() == before


def test_check_mode_of_a_schedule_reads_only(host, run):
    run()
    before, state = host.tree(), systemd(host)
    answer = run(scheduled(host), check=True, diff=True)
    assert answer["changed"] is True and os.path.join(host.unit_dir, TIMER) in answer["changed_files"]
    assert host.tree() == before and systemd(host) == state
    told = json.dumps(answer["diff"])
    assert "+OnCalendar=*:0/5" in told and "hush-hush" not in told and "(arguments are not shown)" in told


@pytest.mark.parametrize("harm, changed", [
    (lambda host: os.unlink(os.path.join(host.unit_dir, "timers.target.wants", TIMER)), ["timer " + TIMER]),
    (lambda host: host.systemctl(["disable", "--now", TIMER]), ["timer " + TIMER]),
    (lambda host: os.unlink(os.path.join(host.unit_dir, SERVICE)), [SERVICE]),
    (lambda host: open(os.path.join(host.unit_dir, TIMER), "a", encoding="utf-8").close(), []),
    (lambda host: os.truncate(os.path.join(host.unit_dir, TIMER), 3), [TIMER]),
])
def test_drift_of_a_schedule_is_repaired(host, run, harm, changed):
    run(scheduled(host))
    before, state = host.contents(), systemd(host)
    harm(host)
    changed = [os.path.join(host.unit_dir, name) if name.startswith("dockyard") else name for name in changed]
    assert run(scheduled(host), check=True)["changed_files"] == changed
    assert run(scheduled(host))["changed_files"] == changed
    after = host.contents()
    assert {path: entry for path, entry in after.items() if "releases" not in path} == {path: entry for path, entry in before.items() if "releases" not in path}
    assert systemd(host) == state and run(scheduled(host))["changed"] is False


def test_another_calendar(host, run):
    run(scheduled(host))
    run(scheduled(host, calendar="daily"))
    assert "calendar daily" in host.calls and "OnCalendar=daily\n" in systemd(host)["active"][TIMER]


def test_other_arguments_touch_no_unit(host, run):
    run(scheduled(host))
    answer = run(scheduled(host, arguments={"at": "http://other"}))
    assert answer["changed_files"] == ["schedules.json"] and [call for call in host.calls if call.startswith("systemctl")] == [
        "systemctl show --property=Id,ActiveState,NeedDaemonReload " + TIMER]


def test_a_schedule_that_goes_takes_its_units_with_it_and_leaves_those_of_others(host, run):
    run(scheduled(host))
    for name in ("dockyard-shop-two-often.timer", "dockyard-shopping-often.timer", "other.timer"):
        with open(os.path.join(host.unit_dir, name), "w", encoding="utf-8") as handle:
            handle.write("theirs\n")
    answer = run(options(host, actions=ACTIONS))
    assert [call for call in host.calls if call.startswith("systemctl")] == [
        "systemctl disable --now %s %s" % (SERVICE, TIMER), "systemctl daemon-reload", "systemctl reset-failed %s %s" % (SERVICE, TIMER)]
    assert answer["changed_files"] == ["schedules.json", os.path.join(host.unit_dir, SERVICE), os.path.join(host.unit_dir, TIMER)]
    assert sorted(name for name in os.listdir(host.unit_dir) if name.endswith("timer")) == [
        "dockyard-shop-two-often.timer", "dockyard-shopping-often.timer", "other.timer"]
    assert systemd(host)["active"] == {} and TIMER not in systemd(host)["read"] and run(options(host, actions=ACTIONS))["changed"] is False


@pytest.mark.parametrize("changes, text", [
    ({"calendar": "fortnightly"}, "shop, schedule often: found the calendar 'fortnightly', which systemd does not understand (Failed to parse calendar "
                                  "specification 'fortnightly': Invalid argument); needed one as in systemd.time(7), such as *:0/15; nothing was changed"),
    ({"action": "loko"}, "shop, schedule often: found the unknown action 'loko'; needed one of: look"),
])
def test_bad_schedules_are_refused_before_anything(host, run, changes, text):
    answer = run(scheduled(host, **changes))
    assert answer["failed"] is True and text in answer["msg"] and host.load() == {} and not os.path.exists(host.directory)


def test_schedules_without_systemd_are_refused(host, run, monkeypatch):
    monkeypatch.setattr(release, "SYSTEMD", os.path.join(host.folder, "none"))
    answer = run(scheduled(host))
    assert answer["failed"] is True and "shop: found no systemd on the host; needed it for the schedules often; nothing was changed" in answer["msg"]
    assert not run(options(host, actions=ACTIONS)).get("failed")


@pytest.mark.parametrize("word", ["daemon-reload", "enable"])
def test_a_stack_whose_schedules_systemd_refuses_serves_and_the_next_run_tries_again(host, run, word):
    host.systemd_refuses = word
    answer = run(scheduled(host))
    assert answer["failed"] is True and answer["changed"] is True
    assert "shop serves, but its schedules could not be set up: systemctl %s" % word in answer["msg"] and "Access denied" in answer["msg"]
    assert host.load()["web"]["state"] == "running" and host.ledger()[-1]["outcome"] == "released"
    host.systemd_refuses = None
    assert run(scheduled(host))["changed"] is True and list(systemd(host)["active"]) == [TIMER] and run(scheduled(host))["changed"] is False


def test_a_release_that_is_taken_back_leaves_the_schedules_as_they_were(host, run):
    run(scheduled(host))
    before = host.contents()
    host.crash = {"web"}
    given = scheduled(host, calendar="daily")
    given["files"] = with_file(host, "web.env", WEB_ENV % "bad")["files"]
    real = host.compose

    def compose(where, folder, names, words):
        if words[0] == "up" and "WORKERS=2" in host.text(folder, "web.env"):
            host.crash = set()
        return real(where, folder, names, words)
    host.compose = compose
    answer = run(given)
    assert answer["failed"] is True and answer["reverted"] is True
    after = host.contents()
    assert {path: entry for path, entry in after.items() if "jsonl" not in path} == {path: entry for path, entry in before.items() if "jsonl" not in path}
    assert "OnCalendar=*:0/5\n" in systemd(host)["active"][TIMER]


# -- secrets --------------------------------------------------------------------

def token(host, name="token.%d" % ME):
    return host.read("secrets/" + name)


def test_a_generated_secret_is_made_once_and_kept(host, run):
    run()
    first = token(host)
    assert re.match(r"^[A-Za-z0-9_-]{32}\Z", first)
    run()
    run(with_file(host, "web.env", WEB_ENV % "4"))
    assert token(host) == first


def test_the_length_is_as_asked_and_two_are_not_the_same(host, run):
    run(secrets=[{"name": "a", "source": "generated", "length": 64, "readers": [ME]}, {"name": "b", "source": "generated", "length": 64, "readers": [ME]}],
        service_secrets={})
    values = [token(host, "%s.%d" % (name, ME)) for name in "ab"]
    assert [len(value) for value in values] == [64, 64] and values[0] != values[1]


def test_secrets_are_never_told(host, run):
    given = options(host, secrets=[{"name": "token", "source": "generated", "readers": [ME]},
                                   {"name": "key", "source": "given", "value": "given-hush-hush", "readers": [ME]},
                                   {"name": "pem", "source": "given", "value": "-----BEGIN KEY-----\npem-hush-hush\n", "readers": [ME]}],
                    service_secrets={"web": ["token", "key", "pem"]})
    given["files"][1]["content"] = "WORKERS=2\nSMTP_PASSWORD=env-hush-hush\n"
    run(given, diff=True)
    run(given, diff=True, check=True)
    # a program that prints its secrets when it fails
    generated = token(host)
    host.log_lines = "connected with %s and given-hush-hush" % generated
    host.sick = {"web": 10 ** 9}
    given["files"][1]["content"] = "WORKERS=3\nSMTP_PASSWORD=env2-hush-hush\n"
    answer = run(given, diff=True)
    assert answer["failed"] is True and "(secret token)" in answer["msg"]
    everything = {"result": host.output, "system log": "\n".join(host.logged), "command lines": json.dumps(host.argv)}
    for value in (generated, "given-hush-hush", "pem-hush-hush", "env-hush-hush", "env2-hush-hush"):
        assert [place for place, text in everything.items() if value in text] == [], value
    ledger = json.dumps(host.ledger())
    assert generated not in ledger and "hush-hush" not in ledger


def test_a_refusal_of_compose_does_not_tell_secrets(host, run):
    run()
    value = token(host)
    host.refuse = lambda text: "invalid interpolation: %s" % value
    answer = run(with_file(host, "web.env", WEB_ENV % "4"))
    assert "(secret token)" in answer["msg"] and value not in host.output


def test_a_change_of_readers_keeps_the_value(host, run, monkeypatch):
    if ME != 0:
        monkeypatch.setattr(os, "fchown", lambda *unused: None)
    run()
    first = token(host)
    secrets = [{"name": "token", "source": "generated", "readers": [ME + 7]}]
    predicted = run(secrets=secrets, check=True)
    assert predicted["changed_files"][-1] == "secrets/token.%d" % (ME + 7) and not os.path.exists(host.directory + "/secrets/token.%d" % (ME + 7))
    answer = run(secrets=secrets)
    assert "secrets/token.%d" % (ME + 7) in answer["changed_files"]
    assert token(host, "token.%d" % (ME + 7)) == first
    if ME == 0:
        assert os.stat(host.directory + "/secrets/token.7").st_uid == 7


def test_each_reader_gets_a_file_with_the_same_value(host, run, monkeypatch):
    if ME != 0:
        monkeypatch.setattr(os, "fchown", lambda *unused: None)
    run(secrets=[{"name": "token", "source": "generated", "readers": [ME, ME + 7]}])
    assert token(host) == token(host, "token.%d" % (ME + 7))
    for uid in (ME, ME + 7):
        assert stat.S_IMODE(os.stat(host.directory + "/secrets/token.%d" % uid).st_mode) == 0o600


def test_a_missing_secret_is_refused_before_anything(host, run):
    answer = run(secrets=[{"name": "token", "source": "given", "readers": [ME]}])
    assert answer["failed"] is True and "shop, secret token: found no value" in answer["msg"] and "set dockyard_secrets_shop.token" in answer["msg"]
    assert host.calls == [] and not os.path.exists(host.directory)


def test_an_optional_secret_is_an_empty_file(host, run):
    secrets = [{"name": "token", "source": "given", "required": False, "readers": [ME]}]
    run(secrets=secrets)
    assert token(host) == ""
    assert run(secrets=secrets)["changed"] is False


def test_a_given_secret_stays_when_it_is_not_given_again(host, run):
    run(secrets=[{"name": "token", "source": "given", "value": "hush-hush", "readers": [ME]}])
    answer = run(secrets=[{"name": "token", "source": "given", "readers": [ME]}])
    assert answer["changed"] is False and token(host) == "hush-hush"


def test_a_replaced_secret_recreates_who_mounts_it_and_nobody_else(host, run):
    run(secrets=[{"name": "token", "source": "given", "value": "hush-hush", "readers": [ME]}])
    secrets = [{"name": "token", "source": "given", "value": "other-hush", "readers": [ME]}]
    answer = run(secrets=secrets)
    assert answer["changed_services"] == {"web": "changed"} and token(host) == "other-hush"
    assert run(secrets=secrets)["changed"] is False


def test_check_mode_of_a_replaced_secret_names_who_mounts_it(host, run):
    run(secrets=[{"name": "token", "source": "given", "value": "hush-hush", "readers": [ME]}])
    answer = run(secrets=[{"name": "token", "source": "given", "value": "other-hush", "readers": [ME]}], check=True)
    assert answer["changed"] is True and answer["changed_services"] == {"web": "changed"}


def test_the_end_of_a_certificate_is_remembered(host, run):
    run(secrets=[{"name": "crt", "source": "tls_certificate", "value": "PEM", "readers": [ME], "expires_epoch_s": 1_900_000_000}], service_secrets={})
    run(secrets=[{"name": "crt", "source": "tls_certificate", "readers": [ME]}], service_secrets={})
    meta = json.loads(host.read("secrets/.meta.json"))
    assert meta["crt"]["expires_epoch_s"] == 1_900_000_000 and meta["crt"]["created_epoch_s"] == 1_800_000_000
    assert "PEM" not in host.read("secrets/.meta.json")


# -- ledger, lock -----------------------------------------------------------------

def test_the_ledger_says_what_was_released(host, run):
    run()
    run()
    run(with_file(host, "web.env", WEB_ENV % "4", revision="r2"))
    entries = host.ledger()
    assert [(entry["number"], entry["outcome"], entry["revision"], entry["by"]) for entry in entries] == [(1, "released", "r1", "anna@laptop"),
                                                                                                          (2, "released", "r2", "anna@laptop")]
    assert entries[0]["images"] == {"DB_IMAGE": "db:1", "WEB_IMAGE": "web:1"} and entries[1]["services"] == {"web": "changed"}


@pytest.mark.parametrize("torn", [b'{"number": 2, "outco', b'{"number": 2, "outcome": "released"}', b"\xff\xfe"])
def test_a_line_torn_by_a_kill_does_not_hide_the_others(host, run, torn):
    run()
    path = os.path.join(host.state_dir, "releases", "shop.jsonl")
    with open(path, "ab") as handle:
        handle.write(torn)
    assert run()["release"]["number"] in (1, 2)
    answer = run(with_file(host, "web.env", WEB_ENV % "4", revision="r3"))
    assert answer["release"]["revision"] == "r3"
    with open(path, "rb") as handle:
        lines = handle.read().split(b"\n")
    assert lines[1] == torn and lines[-1] == b"" and len(lines) == 4
    numbers = [json.loads(line)["number"] for line in lines if line.endswith(b"}")]
    assert numbers == sorted(set(numbers))


HOLD = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(handle, fcntl.LOCK_EX)
os.pwrite(handle, b"bert@desk, pid 4711, since 2027-01-15 07:59:00", 0)
print("held", flush=True)
time.sleep(60)
"""


def test_a_stack_that_another_run_holds_names_it(host, run):
    run()
    before = host.tree()
    process = subprocess.Popen([sys.executable, "-c", HOLD, os.path.join(host.state_dir, "releases", ".shop.lock")], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        answer = run(with_file(host, "web.env", WEB_ENV % "4"))
        assert "another run holds the stack: bert@desk, pid 4711, since 2027-01-15 07:59:00" in answer["msg"]
        assert host.calls == [] and host.tree() == before
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert run(with_file(host, "web.env", WEB_ENV % "4"))["changed"] is True


# -- prepared, and held by a migration -------------------------------------------------

def hold(host, text='{"migration": "rc8", "phase": "copy", "since_epoch_s": 1700000000}'):
    folder = os.path.join(host.state_dir, "migrations", "shop")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "held.json"), "w", encoding="utf-8") as handle:
        handle.write(text)


PREPARED = {"state": "prepared", "migration": "rc8"}


@pytest.mark.parametrize("changes", [{}, {"migration": "head"}, {"state": "prepared"}])
@pytest.mark.parametrize("check", [False, True])
def test_a_stack_that_a_migration_holds_is_refused_for_everybody_else(host, run, changes, check):
    run()
    hold(host)
    before = host.tree()
    answer = run(with_file(host, "web.env", WEB_ENV % "4", **changes), check=check)
    assert answer["msg"] == ("shop: found that the migration rc8 holds it since 2027-01-15 at 1700000000 (phase copy); needed its end, "
                             "for the data is not whole before; nothing was changed; go on with playbooks/migrate.yml, or give it up with -e phase=abort")
    assert host.calls == [] and host.tree() == before and not answer.get("changed")


def test_the_migration_that_holds_it_releases(host, run):
    hold(host)
    assert run(migration="rc8")["changed_services"] == {"web": "created", "db": "created"}


def test_a_migration_that_holds_nothing_is_no_matter(host, run):
    assert run(migration="rc8")["changed"] is True and run()["changed"] is False


@pytest.mark.parametrize("text", ["{", "\udcff"])
def test_a_hold_that_cant_be_read_holds(host, run, text):
    hold(host)
    with open(os.path.join(host.state_dir, "migrations", "shop", "held.json"), "wb") as handle:
        handle.write(text.encode("utf-8", "surrogateescape"))
    answer = run(migration="rc8")
    assert "held.json: found a file that can't be read (" in answer["msg"] and "-e phase=abort" in answer["msg"] and host.calls == []


def test_a_stack_is_prepared_and_nothing_is_started(host, run):
    given = options(host, volumes=[{"name": "home", "mode": "0700"}], **PREPARED)
    model = dict(COMPOSE, volumes={"home": {"name": "shop_home"}})
    given["files"][0]["content"] = json.dumps(model)
    answer = run(given)
    assert host.calls == ["GET containers", "staged config --format", "staged config --hash", "inspect volumes shop_home", "inspect volumes shop_home",
                          "config --format", "POST /volumes/create", "inspect volumes shop_home"]
    assert answer["changed"] is True and answer["changed_services"] == {} and "volume home" in answer["changed_files"] and host.load() == {}
    assert stat.S_IMODE(os.stat(host.volumes["shop_home"]).st_mode) == 0o700 and host.read("web.env") == WEB_ENV % "2"
    # Nothing is noted: nothing was released.
    assert not os.path.exists(os.path.join(host.state_dir, "releases", "shop.jsonl"))
    before = host.tree()
    answer = run(given)
    assert answer["changed"] is False and answer["changed_files"] == [] and host.tree() == before
    assert host.calls == ["GET containers", "inspect volumes shop_home", "inspect volumes shop_home", "inspect volumes shop_home"]


def test_check_mode_of_a_prepared_stack_is_the_script_without_what_changes(host, run):
    given = options(host, volumes=[{"name": "home"}], **PREPARED)
    answer = run(given, check=True)
    assert host.calls == ["GET containers", "staged config --format", "staged config --hash", "inspect volumes shop_home"]
    assert answer["changed"] is True and "volume home" in answer["changed_files"] and host.tree() == {} and host.made == []


def test_what_was_prepared_is_released_with_the_same_secrets(host, run):
    run(**PREPARED)
    secret = host.read("secrets/token.%d" % ME)
    hold(host)
    answer = run(migration="rc8")
    assert answer["changed_services"] == {"web": "created", "db": "created"} and answer["changed_files"] == []
    assert host.read("secrets/token.%d" % ME) == secret and [entry["outcome"] for entry in host.ledger()] == ["released"]


@pytest.mark.parametrize("check", [False, True])
def test_a_stack_that_runs_is_not_prepared(host, run, check):
    run()
    before = host.tree()
    answer = run(with_file(host, "web.env", WEB_ENV % "4", **PREPARED), check=check)
    assert "found it running (shop-db-1, shop-web-1); needed a stack that stands still" in answer["msg"] and "nothing was changed" in answer["msg"]
    assert host.tree() == before and not [call for call in host.calls if call.startswith("up")]


def test_a_stack_that_runs_by_its_last_good_release_is_not_prepared(host, run):
    assert bad_release(host, run)[1]["reverted"] is True and host.ledger()[-1]["outcome"] == "failed"
    assert "found it running" in run(**PREPARED)["msg"]


def test_the_server_of_the_migration_itself_may_run(host, run):
    host.save({"db": {"state": "running", "hash": "x", "number": 1}})
    assert not run(**PREPARED).get("failed") and host.load()["db"]["state"] == "running"


def test_a_stack_that_was_stopped_is_prepared(host, run):
    run()
    state = host.load()
    for entry in state.values():
        entry["state"] = "exited"
    host.save(state)
    answer = run(with_file(host, "web.env", WEB_ENV % "4", **PREPARED))
    assert answer["changed_files"] == ["web.env"] and host.load() == state


# -- killed -----------------------------------------------------------------------

def killed_at(host, given, number, concerns=""):
    """Run the module in a process that is killed at its n-th rename, removal or command that concerns this. Returns whether it came so far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            count = [0]

            def step(*what):
                count[0] += concerns in " ".join(map(str, what))
                if count[0] >= number:
                    os.kill(os.getpid(), signal.SIGKILL)
            for name in ("rename", "unlink"):
                real = getattr(os, name)
                setattr(os, name, lambda *paths, real=real, **more: (step(*paths), real(*paths, **more))[1])
            host.on_call = step
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            with patch_module_args(given):
                try:
                    release.main()
                except SystemExit as ended:
                    code = ended.code
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def arguments(host, given):
    return dict(given, _ansible_remote_tmp=host.folder, _ansible_tmpdir=host.folder)


def leftovers(host):
    return [path for path in host.tree() if "staged" in path or os.path.basename(path).startswith(".dockyard-") or path.endswith((".new", ".old"))]


def test_a_first_release_killed_anywhere_converges_by_the_next(host, run):
    number = 0
    while True:
        number += 1
        for top in (host.folder + "/etc", host.state_dir):
            subprocess.run(["rm", "-rf", top], check=True)
        os.makedirs(host.folder + "/etc")
        host.save({})
        if not killed_at(host, arguments(host, options(host)), number):
            break
        kept = host.contents().get("etc/stacks/shop/secrets/token.%d" % ME)
        answer = run()
        assert not answer.get("failed"), (number, answer)
        assert leftovers(host) == [], number
        assert {name: entry["state"] for name, entry in host.load().items()} == {"web": "running", "db": "running"}
        assert kept is None or kept[1] == b"" or kept[1].decode() == token(host), number
        assert run()["changed"] is False, number
    assert number > 25


def test_a_schedule_killed_anywhere_is_set_up_or_gone_by_the_next(host, run):
    """From one schedule to two others with another calendar, and back to none; killed at each step."""
    second = dict(SCHEDULE, name="seldom", calendar="weekly")
    old = options(host, actions=ACTIONS, schedules=[SCHEDULE])
    new = options(host, actions=ACTIONS, schedules=[dict(SCHEDULE, calendar="daily"), second])
    for before, after, timers in ((old, new, {TIMER: "daily", "dockyard-shop-seldom.timer": "weekly"}), (new, options(host, actions=ACTIONS), {})):
        number = 0
        while True:
            number += 1
            run(before)
            if not killed_at(host, arguments(host, after), number, "dockyard-shop"):
                break
            answer = run(after)
            assert not answer.get("failed"), (number, answer)
            active = systemd(host)["active"]
            assert {name: calendar in active[name] for name, calendar in timers.items()} == dict.fromkeys(timers, True) and set(active) == set(timers), number
            assert sorted(name for name in os.listdir(host.unit_dir) if "timer" in name and "target" not in name) == sorted(timers), number
            assert sorted(os.listdir(os.path.join(host.unit_dir, "timers.target.wants"))) == sorted(timers), number
            assert run(after)["changed"] is False, number
        assert number > 4


def test_a_new_release_killed_anywhere_leaves_each_file_old_or_new_and_converges(host, run):
    old_given = options(host, secrets=[{"name": "token", "source": "given", "value": "old-hush", "readers": [ME]}])
    new_given = with_file(host, "web.env", WEB_ENV % "4", secrets=[{"name": "token", "source": "given", "value": "new-hush", "readers": [ME]}])
    new_given["files"].append({"path": "conf/extra.conf", "content": "more\n"})
    new_given["variables"]["WEB_IMAGE"] = "web:2"
    names = [".env", "web.env", "compose.yaml", "conf/web.conf", "conf/extra.conf", "secrets/token.%d" % ME]

    def snapshot():
        return {name: host.contents().get("etc/stacks/shop/" + name) for name in names}
    run(new_given)
    new = snapshot()
    number = 0
    while True:
        number += 1
        run(old_given)
        old = snapshot()
        assert old["conf/extra.conf"] is None and old["web.env"] != new["web.env"]
        web = host.load()["web"]["hash"]
        if not killed_at(host, arguments(host, new_given), number):
            break
        torn = snapshot()
        for name in names:
            assert torn[name] in (old[name], new[name]), (number, name)
        answer = run(new_given)
        assert not answer.get("failed"), (number, answer)
        assert snapshot() == new, number
        assert leftovers(host) == [], number
        assert host.load()["web"]["hash"] not in (web, None), "killed at %d: web still runs with the old secret or file" % number
        good = host.contents()
        assert good["var/releases/shop.good/web.env"][1] == (WEB_ENV % "4").encode(), number
        assert run(new_given)["changed"] is False, number
    assert number > 20


def lease_of(host, **changes):
    """A lease of a freeze that goes on, at its place in the state folder. :returns: str, its path."""
    folder = os.path.join(host.state_dir, "migrations", "shop")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "lease.json")
    leases.write(path, dict({"stack": "shop", "units": [], "state": "switching", "id": "1", "boot_id": leases.boot_id(), "until": leases.now() + 50,
                             "docker": ""}, **changes))
    return path


ENDED = "shop: found the freeze of the native application ended; needed it to hold, for it may have written since;"


def test_a_release_within_a_freeze_renews_its_lease(host, run):
    path = lease_of(host)
    before = leases.read(path)["until"]
    assert run(lease=path, lease_seconds=300)["changed"] is True
    assert leases.read(path)["until"] >= before + 200


@pytest.mark.parametrize("changes", [{"state": "broken"}, {"boot_id": "another start"}])
def test_nothing_is_released_when_the_freeze_has_ended(host, run, changes):
    answer = run(lease=lease_of(host, **changes))
    assert answer["msg"].startswith(ENDED) and not answer["changed"] and host.calls == []


def test_a_release_whose_freeze_ends_meanwhile_fails(host, run, monkeypatch):
    path = lease_of(host)
    brought = release.Release.bring_up

    def bring_up(self, before):
        leases.end(path, "nobody renewed it")
        return brought(self, before)

    monkeypatch.setattr(release.Release, "bring_up", bring_up)
    answer = run(lease=path)
    assert answer["failed"] and answer["changed"] and answer["msg"].startswith(ENDED)
