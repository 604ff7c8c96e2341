# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module stack_stop on a host that is made of a folder: real files, a pretended Docker and systemd that write down every call that changes something."""
from __future__ import annotations

import contextlib
import json
import os

import pytest
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApiError, DockerUnavailable
from ansible_collections.dockyard.fleet.plugins.module_utils.release import files
from ansible_collections.dockyard.fleet.plugins.modules import stack_stop

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield

ANONYMOUS = "a1" * 32
RELEASED = {"number": 3, "outcome": "released", "revision": "r1", "environment": "production", "all_services": ["db", "web"], "jobs": [], "tools": [],
            "images": {"WEB_IMAGE": "dockyard/shop-web:0123456789abcdef", "DB_IMAGE": "db:17"}, "digest": "x", "seconds": 4.0}


def labels(service, needs="", project="shop"):
    return {"com.docker.compose.project": project, "com.docker.compose.service": service, "com.docker.compose.depends_on": needs}


class Host:
    """A host: folders, and what Docker and systemd have."""

    def __init__(self, folder):
        self.folder = folder
        self.config, self.state = os.path.join(folder, "etc"), os.path.join(folder, "var")
        self.directory, self.releases = os.path.join(self.config, "stacks", "shop"), os.path.join(self.state, "releases")
        self.unit_dir = os.path.join(folder, "units")
        self.calls, self.unavailable, self.refuse = [], False, {}
        self.active = set()
        self.containers = {
            "id-db": {"name": "shop-db-1", "state": "running", "labels": labels("db"), "restart": "unless-stopped", "image": "sha-db", "mounts": ["shop_data"]},
            "id-web": {"name": "shop-web-1", "state": "running", "labels": labels("web", "db:service_healthy:false"), "restart": "always", "image": "sha-web",
                       "mounts": [ANONYMOUS], "seconds": 40},
            "id-blog": {"name": "blog", "state": "running", "labels": labels("web", project="blog"), "restart": "no", "image": "sha-nginx", "mounts": []},
        }
        self.networks = {"net-1": {"Name": "shop_default", "Containers": {}}}
        self.volumes = {"shop_data": "shop", ANONYMOUS: None, "blog_data": "blog"}
        self.images = [{"Id": "sha-db", "RepoTags": ["db:17"], "RepoDigests": ["db@sha256:1"], "Size": 431000000},
                       {"Id": "sha-web", "RepoTags": ["dockyard/shop-web:0123456789abcdef"], "Size": 120000000},
                       {"Id": "sha-old", "RepoTags": ["dockyard/shop-web:fedcba9876543210"], "Size": 119000000},
                       {"Id": "sha-nginx", "RepoTags": ["nginx:1"], "RepoDigests": None, "Size": 9}]
        for path, text in (("compose.yaml", "x"), (".env", "x"), ("conf/web.conf", "x"), ("secrets/token.1000", "hush"), ("secrets/.meta.json", "{}"),
                           (".dockyard.json", json.dumps([".env", "compose.yaml", "conf/web.conf"]))):
            self.put(os.path.join(self.directory, path), text)
        self.put(os.path.join(self.releases, "shop.jsonl"), json.dumps(RELEASED) + "\n")
        self.put(os.path.join(self.releases, "blog.jsonl"), json.dumps({"outcome": "released", "images": {"WEB_IMAGE": "nginx:1"}}) + "\n")
        self.put(os.path.join(self.releases, "shop.good", "compose.yaml"), "x")
        self.put(os.path.join(self.releases, "shop.applied.json"), "{}")
        self.put(os.path.join(self.state, "results", "shop", "check", "1.json"), "{}")
        for name in ("shop_data", ANONYMOUS, "blog_data"):
            self.put(os.path.join(folder, "volumes", name, "file"), "x" * 5000)

    @staticmethod
    def put(path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)

    def schedule(self, name="check", on=True):
        for kind in ("service", "timer"):
            self.put(os.path.join(self.unit_dir, "dockyard-shop-%s.%s" % (name, kind)), "[Unit]\n")
        if on:
            timer = "dockyard-shop-%s.timer" % name
            os.makedirs(os.path.join(self.unit_dir, "timers.target.wants"), exist_ok=True)
            os.symlink(os.path.join(self.unit_dir, timer), os.path.join(self.unit_dir, "timers.target.wants", timer))
            self.active.add(timer)

    def tree(self):
        found = {}
        for top, unused, names in os.walk(self.folder):
            for name in names:
                with open(os.path.join(top, name), encoding="utf-8") as handle:
                    found[os.path.relpath(os.path.join(top, name), self.folder)] = handle.read()
        return {path: text for path, text in found.items() if not path.endswith(".lock") and not path.startswith("remote")}

    def ledger(self):
        with open(os.path.join(self.releases, "shop.jsonl"), encoding="utf-8") as handle:
            return [json.loads(line) for line in handle]

    # Docker

    def close(self):
        """As the real one."""

    def get(self, path, query=None, **unused):
        if self.unavailable:
            raise DockerUnavailable("/var/run/docker.sock: connection refused (the daemon is not running)")
        filters = (query or {}).get("filters") or {}
        wanted = (filters.get("label") or [""])[0].partition("=")[2]
        if path == "/containers/json":
            assert query["all"] == "1"
            return [{"Id": key, "Names": ["/" + entry["name"]], "State": entry["state"], "Labels": entry["labels"], "ImageID": entry["image"]}
                    for key, entry in sorted(self.containers.items())
                    if wanted in ("", entry["labels"].get("com.docker.compose.project")) and set(filters.get("volume") or []) <= set(entry["mounts"])]
        if path == "/networks":
            assert wanted == "shop"
            return [dict(entry, Id=key) for key, entry in self.networks.items()]
        if path == "/volumes":
            return {"Volumes": [self.inspect("volumes", name) for name, project in self.volumes.items() if project == wanted] or None}
        assert path == "/images/json"
        return self.images

    def inspect(self, kind, name, **unused):
        if kind == "volumes":
            if name not in self.volumes:
                raise DockerApiError("GET", 404, "no such volume")
            return {"Name": name, "Mountpoint": os.path.join(self.folder, "volumes", name)}
        if kind == "networks":
            return self.networks[name]
        if name not in self.containers:
            raise DockerApiError("GET", 404, "no such container")
        entry = self.containers[name]
        return {"HostConfig": {"RestartPolicy": {"Name": entry["restart"]}}, "Config": {"StopTimeout": entry.get("seconds"), "Labels": entry["labels"]},
                "Mounts": [{"Type": "volume", "Name": mount} for mount in entry["mounts"]] + [{"Type": "bind", "Source": "/x"}]}

    def request(self, method, path, query=None, body=None, timeout=None):
        call = "%s %s" % (method, path)
        if call in self.refuse:
            raise DockerApiError(call, *self.refuse[call])
        self.calls.append(call + (" %s" % json.dumps(body) if body else ""))
        kind, identifier = path.split("/")[1], path.split("/", 2)[2]
        if method == "DELETE":
            if kind == "images":
                self.images = [entry for entry in self.images if identifier not in entry["RepoTags"]]
            else:
                assert kind != "containers" or query == {"force": "1"}
                del {"containers": self.containers, "networks": self.networks, "volumes": self.volumes}[kind][identifier]
            return
        identifier, unused, verb = identifier.partition("/")
        if kind == "networks":
            assert verb == "disconnect"
            return
        entry = self.containers[identifier]
        if verb == "update":
            entry["restart"] = body["RestartPolicy"]["Name"]
        elif verb == "unpause":
            entry["state"] = "running"
        else:
            assert verb == "stop" and timeout > (entry.get("seconds") or 10)
            entry["state"] = "exited"

    # systemd

    def run_command(self, argv, **unused):
        assert argv[0] == "/usr/bin/systemctl"
        if argv[1] == "show":
            assert argv[2] == "--property=Id,ActiveState"
            return 0, "\n\n".join("Id=%s\nActiveState=%s" % (name, "active" if name in self.active else "inactive") for name in argv[3:]) + "\n", ""
        if argv[1] in self.refuse:
            return 1, "", self.refuse[argv[1]]
        self.calls.append("systemctl %s" % " ".join(argv[1:]))
        if argv[1] == "disable":
            assert argv[2] == "--now"
            for name in argv[3:]:
                self.active.discard(name)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.unit_dir, "timers.target.wants", name))
        elif argv[1] == "stop":
            self.active -= set(argv[2:])
        return 0, "", ""


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(str(tmp_path))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda self, argv, **more: made.run_command(argv, **more))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda self, name, *unused, **unused2: "/usr/bin/" + name)
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, text: None)
    monkeypatch.setattr(stack_stop, "UNIT_DIR", made.unit_dir)
    monkeypatch.setattr(stack_stop, "DockerApi", lambda *unused, **unused2: made)
    return made


@pytest.fixture
def run(host, capsys):
    def call(check=False, **given):
        del host.calls[:]
        args = dict({"name": "shop", "config_dir": host.config, "state_dir": host.state, "stopped_by": "anna@laptop", "lock_timeout_seconds": 0}, **given)
        os.makedirs(os.path.join(host.folder, "remote"), exist_ok=True)
        args.update(_ansible_check_mode=check, _ansible_remote_tmp=os.path.join(host.folder, "remote"), _ansible_tmpdir=os.path.join(host.folder, "remote"))
        capsys.readouterr()
        with patch_module_args(args):
            with pytest.raises(SystemExit) as ended:
                stack_stop.main()
        answer = json.loads(capsys.readouterr().out)
        assert bool(answer.get("failed")) == (ended.value.code != 0)
        return answer
    return call


# -- stop -----------------------------------------------------------------------

def test_a_stack_is_stopped_from_the_top_and_stays_so_after_a_restart(host, run):
    before = host.tree()
    answer = run()
    # What others need goes last; "always" would come back with the engine.
    assert host.calls == ['POST /containers/id-web/update {"RestartPolicy": {"Name": "unless-stopped"}}', "POST /containers/id-web/stop",
                          "POST /containers/id-db/stop"]
    assert answer["changed"] and answer["outcome"] == "stopped" and answer["containers"] == ["shop-web-1", "shop-db-1"]
    assert host.containers["id-blog"]["state"] == "running"
    after = host.tree()
    assert {path for path in after if after[path] != before.get(path)} == {os.path.join("var", "releases", "shop.jsonl")} and set(after) == set(before)


def test_the_ledger_says_who_stopped_what(host, run):
    run()
    entry = host.ledger()[-1]
    assert (entry["outcome"], entry["by"], entry["number"]) == ("stopped", "anna@laptop", 4) and entry["time_epoch_s"] > 0
    assert {key: entry[key] for key in ("revision", "environment", "all_services", "images")} == {
        key: RELEASED[key] for key in ("revision", "environment", "all_services", "images")}
    assert "digest" not in entry and "seconds" not in entry


@pytest.mark.parametrize("given", [{}, {"remove": True}, {"remove": True, "delete_volumes": "shop", "delete_images": "shop"}])
def test_a_second_run_changes_nothing(host, run, given):
    host.schedule()
    assert run(**given)["changed"]
    before = host.tree()
    answer = run(**given)
    assert not answer["changed"] and host.calls == [] and host.tree() == before
    assert answer["msg"] == "shop is %s already" % ("removed" if given else "stopped")


@pytest.mark.parametrize("given", [{}, {"remove": True}, {"remove": True, "delete_volumes": "shop", "delete_images": "shop"}])
def test_check_mode_says_the_same_and_does_nothing(host, run, given):
    host.schedule()
    before = host.tree()
    foretold = run(check=True, **given)
    assert host.calls == [] and host.tree() == before and "would be" in foretold["msg"]
    told = run(**given)
    for key in ("changed", "outcome", "containers", "networks", "units", "files", "volumes", "images", "kept"):
        assert foretold[key] == told[key], key


def test_a_stack_that_somebody_started_by_hand_is_stopped_again(host, run):
    run()
    host.containers["id-db"]["state"] = "running"
    answer = run()
    assert answer["changed"] and host.calls == ["POST /containers/id-db/stop"] and [entry["outcome"] for entry in host.ledger()] == [
        "released", "stopped", "stopped"]


def test_what_stands_already_is_remembered_as_stopped(host, run):
    for entry in host.containers.values():
        entry.update(state="exited", restart="unless-stopped")
    answer = run()
    assert answer["changed"] and host.calls == [] and host.ledger()[-1]["outcome"] == "stopped" and "nothing of it was running" in answer["msg"]


def test_a_paused_container_is_stopped(host, run):
    host.containers["id-db"].update(state="paused")
    run()
    assert host.calls[-2:] == ["POST /containers/id-db/unpause", "POST /containers/id-db/stop"]


def test_schedules_are_stopped_before_the_containers_and_their_units_stay(host, run):
    host.schedule()
    host.active.add("dockyard-shop-check.service")
    host.schedule("other", on=False)
    answer = run()
    assert host.calls[:3] == ["systemctl disable --now dockyard-shop-check.timer", "systemctl stop dockyard-shop-check.service",
                              "systemctl reset-failed dockyard-shop-check.service dockyard-shop-check.timer"]
    assert answer["units"] == ["dockyard-shop-check.service", "dockyard-shop-check.timer"] and not host.active
    assert len([name for name in os.listdir(host.unit_dir) if name.startswith("dockyard-")]) == 4


def test_the_intention_is_kept_when_a_container_refuses(host, run):
    host.refuse["POST /containers/id-db/stop"] = (500, "cannot stop container: tried to kill container, but did not receive an exit event")
    answer = run()
    assert answer["failed"] and answer["changed"] and "did not receive an exit event" in answer["msg"] and "run again" in answer["msg"]
    assert host.ledger()[-1]["outcome"] == "stopped"
    host.refuse.clear()
    assert run()["containers"] == ["shop-db-1"]


def test_systemd_that_refuses_is_told(host, run):
    host.schedule()
    host.refuse["disable"] = "Failed to disable unit: Access denied"
    answer = run()
    assert answer["failed"] and "systemctl disable --now dockyard-shop-check.timer: Failed to disable unit: Access denied; needed systemd" in answer["msg"]


# -- remove -----------------------------------------------------------------------

def test_remove_keeps_volumes_secrets_images_results_and_ledger(host, run):
    host.schedule()
    answer = run(remove=True)
    assert [call for call in host.calls if call.startswith("DELETE")] == ["DELETE /containers/id-web", "DELETE /containers/id-db", "DELETE /networks/net-1"]
    assert set(host.volumes) == {"shop_data", ANONYMOUS, "blog_data"} and len(host.images) == 4
    left = [path for path in host.tree() if not path.startswith("volumes")]
    assert sorted(left) == ["etc/stacks/shop/secrets/.meta.json", "etc/stacks/shop/secrets/token.1000", "var/releases/blog.jsonl", "var/releases/shop.jsonl",
                            "var/results/shop/check/1.json"]
    assert "systemctl daemon-reload" in host.calls and not [name for name in os.listdir(host.unit_dir) if name.startswith("dockyard-")]
    assert [entry["name"] for entry in answer["kept"]["volumes"]] == [ANONYMOUS, "shop_data"] and answer["volumes"] == [] and answer["images"] == []
    assert "kept, volumes: " in answer["msg"] and "delete_volumes=shop deletes them" in answer["msg"]


@pytest.mark.parametrize("name", ["mine.txt", ".env.bak"])
def test_files_of_somebody_else_stay(host, run, name):
    host.put(os.path.join(host.directory, "conf", name), "mine")
    answer = run(remove=True, delete_volumes="shop")
    assert [path for path in host.tree() if path.startswith("etc")] == ["etc/stacks/shop/conf/%s" % name]
    assert "files kept, which are not ours: %s" % os.path.join(host.directory, "conf", name) in answer["msg"]


def test_delete_volumes_takes_secrets_and_results_too(host, run):
    answer = run(remove=True, delete_volumes="shop")
    assert set(host.volumes) == {"blog_data"} and host.calls[-2:] == ["DELETE /volumes/%s" % ANONYMOUS, "DELETE /volumes/shop_data"]
    assert not os.path.exists(host.directory) and not os.path.exists(os.path.join(host.state, "results", "shop"))
    assert "hush" not in json.dumps(answer)
    assert all(entry["bytes"] >= 5000 for entry in answer["volumes"]) and "DELETED for ever, volumes: " in answer["msg"]
    assert [entry["name"] for entry in host.ledger()[-1]["deleted"]["volumes"]] == [ANONYMOUS, "shop_data"]


def test_volumes_without_a_name_are_found_after_their_container_is_gone(host, run):
    run(remove=True)
    assert host.ledger()[-1]["anonymous_volumes"] == [ANONYMOUS]
    answer = run(remove=True, delete_volumes="shop")
    assert [entry["name"] for entry in answer["volumes"]] == [ANONYMOUS, "shop_data"] and set(host.volumes) == {"blog_data"}


def test_a_removal_with_volumes_that_was_killed_knows_those_without_a_name(host, run):
    host.refuse["DELETE /volumes/%s" % ANONYMOUS] = (500, "the power went")
    assert run(remove=True, delete_volumes="shop")["failed"] and "id-web" not in host.containers
    host.refuse.clear()
    answer = run(remove=True, delete_volumes="shop")
    assert ANONYMOUS in [entry["name"] for entry in answer["volumes"]] and set(host.volumes) == {"blog_data"}


def test_delete_images_leaves_what_others_need(host, run):
    host.images[0]["RepoTags"].append("db:17-alias")
    host.put(os.path.join(host.releases, "wiki.jsonl"), json.dumps({"outcome": "released", "images": {"DB_IMAGE": "db:17"}}) + "\n")
    answer = run(remove=True, delete_images="shop")
    assert [entry["name"] for entry in answer["images"]] == ["dockyard/shop-web:0123456789abcdef", "dockyard/shop-web:fedcba9876543210"]
    assert answer["kept"]["images"] == [{"name": "db:17", "user": "stack wiki"}] and "db:17 (stack wiki)" in answer["msg"]
    assert [entry["Id"] for entry in host.images] == ["sha-db", "sha-nginx"]


def test_an_image_that_only_a_stranger_s_container_has_stays(host, run):
    host.containers["id-guest"] = {"name": "guest", "state": "exited", "labels": {}, "restart": "no", "image": "sha-db", "mounts": []}
    answer = run(remove=True, delete_images="shop")
    assert answer["kept"]["images"] == [{"name": "db:17", "user": "container guest"}] and "sha-db" in [entry["Id"] for entry in host.images]


def test_an_image_that_came_into_use_stays(host, run):
    host.refuse["DELETE /images/db:17"] = (409, "conflict: container is using its referenced image")
    assert not run(remove=True, delete_images="shop").get("failed") and "sha-db" in [entry["Id"] for entry in host.images]


# -- what is refused --------------------------------------------------------------

@pytest.mark.parametrize("given, parts", [
    ({"remove": True, "delete_volumes": "true"}, ["found delete_volumes=true; needed the stack's name typed again: delete_volumes=shop", "shop_data (", "kB)"]),
    ({"remove": True, "delete_volumes": "shop "}, ["found delete_volumes=shop ;"]),
    ({"remove": True, "delete_volumes": "blog"}, ["found delete_volumes=blog;"]),
    ({"delete_volumes": "shop"}, ["delete_volumes=shop without remove=true; needed remove=true with it", "shop_data ("]),
    ({"remove": True, "delete_images": "yes"}, ["found delete_images=yes; needed", "dockyard/shop-web:0123456789abcdef (120.0 MB)"]),
])
def test_what_deletes_wants_the_name_again(host, run, given, parts):
    before = host.tree()
    answer = run(**given)
    assert answer["failed"] and not answer["changed"] and host.calls == [] and host.tree() == before
    assert not [part for part in parts + ["nothing was changed"] if part not in answer["msg"]], answer["msg"]


def test_a_volume_that_another_project_uses_is_not_deleted(host, run):
    host.containers["id-blog"]["mounts"].append("shop_data")
    before = host.tree()
    answer = run(remove=True, delete_volumes="shop")
    assert answer["failed"] and host.calls == [] and host.tree() == before and "found the volume shop_data in use by blog" in answer["msg"]


def test_a_network_with_a_stranger_in_it_is_told_before_anything_is_touched(host, run):
    host.networks["net-1"]["Containers"] = {"id-blog": {"Name": "guest"}, "id-db": {"Name": "shop-db-1"}}
    host.containers["id-blog"]["labels"] = {}
    before = host.tree()
    answer = run(remove=True)
    assert answer["failed"] and host.calls == [] and host.tree() == before
    assert "found guest in the network shop_default, which is not of this stack" in answer["msg"] and "nothing was changed" in answer["msg"]
    assert not run().get("failed"), "a stop leaves the network"


def test_a_container_of_another_stack_is_taken_out_of_the_network(host, run):
    host.networks["net-1"]["Containers"] = {"id-blog": {"Name": "guest"}, "id-db": {"Name": "shop-db-1"}}
    assert run(check=True, remove=True)["disconnected"] == ["guest"]
    answer = run(remove=True)
    assert host.calls[-2:] == ['POST /networks/net-1/disconnect {"Container": "id-blog", "Force": true}', "DELETE /networks/net-1"]
    assert "taken out of its networks: guest" in answer["msg"] and host.containers["id-blog"]["state"] == "running"


@pytest.mark.parametrize("name", ["..", "../shop", "shop/..", "", "Shop", "shop\n"])
def test_what_is_no_name_of_a_stack_is_refused(host, run, name):
    before = host.tree()
    answer = run(name=name, remove=True, delete_volumes=name)
    assert answer["failed"] and host.calls == [] and host.tree() == before and answer["msg"].startswith("name: found %r; needed the name of a stack" % name)


@pytest.mark.parametrize("name", ["blogg", "docker"])
def test_what_was_never_released_is_never_touched(host, run, name):
    host.containers["id-blog"]["labels"]["com.docker.compose.project"] = name
    answer = run(name=name)
    assert answer["failed"] and host.calls == [] and "found no such stack on this host; needed one of: blog, shop" in answer["msg"]


def test_docker_that_does_not_answer(host, run):
    host.unavailable = True
    before = host.tree()
    answer = run()
    assert answer["failed"] and not answer["changed"] and host.tree() == before
    assert "connection refused" in answer["msg"] and "nothing was changed" in answer["msg"]


def test_a_release_at_work_is_waited_for(host, run):
    with files.lock(os.path.join(host.releases, ".shop.lock"), "bert@desk, pid 7", 0):
        answer = run()
    assert answer["failed"] and "another run holds the stack: bert@desk, pid 7" in answer["msg"] and host.calls == []


def test_sizes_count_links_once_and_what_is_closed_is_not_known(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100000)
    once = stack_stop.bytes_below(str(tmp_path))
    os.link(str(tmp_path / "a"), str(tmp_path / "b"))
    assert stack_stop.bytes_below(str(tmp_path)) == once >= 100000
    assert stack_stop.bytes_below(str(tmp_path / "nothing")) is None
