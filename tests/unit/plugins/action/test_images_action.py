# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import tarfile
from types import SimpleNamespace

import pytest

from ansible_collections.dockyard.fleet.plugins.action import images as action
from ansible_collections.dockyard.fleet.plugins.module_utils.images import plan

DIGEST = "sha256:" + "a" * 64
BUSYBOX = {"id": "sha256:busybox", "tags": ["busybox:1.37"], "digests": [f"busybox@{DIGEST}"], "created": 1, "size_bytes": 100, "labels": {}}
SPACE = {"path": "/var/tmp/dockyard-images.x.y", "free_bytes": 10**12}
ARCHITECTURE = {"docker_platform": "linux/amd64", "native": ["linux/amd64"], "emulated": []}


class Remote:
    """The host: answers module calls in their order; another one, one too many or one too few fails."""

    def __init__(self, *steps):
        self.steps, self.requests, self.files = list(steps), [], {}

    def execute(self, module_name, module_args, task_vars):
        assert module_name == "dockyard.fleet.images" and self.steps, f"one call too many: {module_args['state']}"
        state, answer = self.steps.pop(0)
        assert module_args["state"] == state
        self.requests.append(module_args["request"])
        return answer(module_args["request"]) if callable(answer) else answer

    def put_file(self, local, remote):
        with open(local, "rb") as stream:
            self.files[os.path.basename(remote)] = stream.read()

    def get_option(self, name):
        return {"remote_user": "admin"}[name]


def run(tmp_path, images, *steps, facts=(BUSYBOX,), check_mode=False, **options):
    """The result of the action against a scripted host, and that host."""
    remote = Remote(*steps)
    arguments = dict(images=images, source_cache=str(tmp_path / "cache"), **options)
    if facts is not None:
        arguments["facts"] = {"images": list(facts), "architecture": ARCHITECTURE, "docker": {"buildx": {"version": "0.13"}}}
    task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task, plugin._connection, plugin._execute_module = task, remote, remote.execute
    plugin.validate_argument_spec = lambda spec: (None, dict({name: entry.get("default") for name, entry in spec.items()}, **arguments))
    action.ActionBase.run, kept = lambda self, tmp, task_vars: {}, action.ActionBase.run
    try:
        result = plugin.run(None, {})
    finally:
        action.ActionBase.run = kept
    assert not remote.steps, f"calls that never came: {remote.steps}"
    return result, remote


@pytest.fixture
def recipe(tmp_path):
    root = tmp_path / "recipe"
    root.mkdir()
    (root / "Dockerfile").write_text("FROM busybox:1.37\nARG PIP_INDEX_URL\nCOPY app /app\n")
    (root / ".dockerignore").write_text("*\n!app\n")
    (root / "start.sh").write_text("#!/bin/sh\n")
    source = tmp_path / "source"
    (source / "app").mkdir(parents=True)
    (source / "app/main.py").write_text("one")
    (source / "junk").write_text("junk")
    (source / ".dockyard").mkdir()
    (source / ".dockyard/Dockerfile").write_text("FROM evil")
    return root


def build(recipe, **change):
    given = {"recipe": str(recipe), "source": {"path": str(recipe.parent / "source")}, "secrets": []}
    return dict({"stack": "demo", "name": "app", "how": "build", "build": dict(given, **change.pop("build", {}))}, **change)


def box(**change):
    return dict({"stack": "demo", "name": "box", "how": "pull", "pull": {"image": "busybox:1.37"}}, **change)


def built(request):
    """The host's answer to a build."""
    return {"changed": True, "built": True, "pruned": [], "image": {
        "id": "sha256:new", "tags": [request["reference"]], "digests": [], "created": 2, "size_bytes": 200, "labels": request["labels"]}}


def seen(*images):
    return {"changed": False, "images": list(images), "pulled": [], "workspace": SPACE}


def build_once(tmp_path, recipe, **options):
    """A built image as the facts of the next run show it."""
    made = {}

    def answer(request):
        made.update(built(request)["image"])
        return built(request)

    result, remote = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX)), ("build", answer), **options)
    assert result["changed"]
    return made, result, remote


def test_a_build_is_sent_whole_and_a_second_run_asks_the_host_nothing(tmp_path, recipe):
    made, result, remote = build_once(tmp_path, recipe)
    entry = result["images"]["demo"]["app"]
    assert entry == {"reference": made["tags"][0], "id": "sha256:new", "digest": None, "size_bytes": 200, "changed": True, "reason": "not built here yet"}
    (tmp_path / "t").write_bytes(remote.files["context-0.tar.gz"])
    with tarfile.open(tmp_path / "t") as tar:
        assert tar.getnames() == [".dockyard/Dockerfile", ".dockyard/start.sh", "app/main.py"]
        assert b"busybox" in tar.extractfile(".dockyard/Dockerfile").read()
    request = remote.requests[1]
    assert request["last"] and request["buildx"] and request["dockerfile"] == ".dockyard/Dockerfile"
    assert json.loads(request["labels"][plan.LABEL_BASES]) == {"busybox:1.37": DIGEST}
    assert request["reference"].endswith(":" + request["labels"][plan.LABEL_HASH][:16]) and request["temporary"].startswith("dockyard/demo-app:building-")
    again, unused = run(tmp_path, [build(recipe), box()], facts=(BUSYBOX, made))
    assert (again["changed"], again["remote_calls"]) == (False, 0) and "diff" not in again
    assert again["images"]["demo"]["app"]["reference"] == made["tags"][0] and again["images"]["demo"]["box"]["digest"] == DIGEST


def test_a_touched_file_builds_nothing_and_a_changed_byte_does(tmp_path, recipe):
    made = build_once(tmp_path, recipe)[0]
    path = recipe.parent / "source/app/main.py"
    os.utime(path, (1, 1))
    (recipe.parent / "source/junk").write_text("other")
    assert run(tmp_path, [build(recipe)], facts=(BUSYBOX, made))[0]["changed"] is False
    path.write_text("two")
    result = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX, made)), ("build", built), facts=(BUSYBOX, made))[0]
    assert result["images"]["demo"]["app"]["reason"] == "content changed"
    assert result["diff"]["before"] == f"demo/app: {made['tags'][0]}\n" and "content changed" in result["diff"]["after"]


def test_what_python_leaves_in_a_recipe_builds_nothing(tmp_path, recipe):
    made = build_once(tmp_path, recipe)[0]
    (recipe / "__pycache__").mkdir()
    (recipe / "__pycache__" / "entrypoint.cpython-311.pyc").write_bytes(b"\xf3")
    assert run(tmp_path, [build(recipe)], facts=(BUSYBOX, made))[0]["changed"] is False


def test_a_base_that_was_removed_rebuilds_nothing(tmp_path, recipe):
    made = build_once(tmp_path, recipe)[0]
    result = run(tmp_path, [build(recipe)], facts=(made,))[0]
    assert (result["changed"], result["remote_calls"]) == (False, 0)


def test_a_base_that_comes_back_as_it_was_is_not_built_upon_again(tmp_path, recipe):
    """The facts are older than the host: after the pull nothing is left to build, and the workspace goes."""
    made = build_once(tmp_path, recipe)[0]
    result, remote = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX, made)), ("clean", {}), facts=())
    assert result["changed"] is False and remote.files == {}


def test_without_facts_the_host_is_asked_once(tmp_path, recipe):
    made = build_once(tmp_path, recipe)[0]
    result = run(tmp_path, [build(recipe)], ("inspect", {"images": [BUSYBOX, made], "platform": "linux/amd64"}), facts=None)[0]
    assert (result["changed"], result["remote_calls"]) == (False, 1)


@pytest.mark.parametrize("facts, predicted", [((BUSYBOX,), None), ((), ["demo/app"])])
def test_check_mode_says_what_and_why_and_asks_the_host_nothing(tmp_path, recipe, facts, predicted):
    result = run(tmp_path, [build(recipe)], facts=facts, check_mode=True)[0]
    assert (result["changed"], result["remote_calls"], result.get("predicted")) == (True, 0, predicted)
    assert result["images"]["demo"]["app"]["reason"] == "not built here yet" and "demo/app: absent" in result["diff"]["before"]


def test_arguments_offered_to_all_reach_those_that_declare_them(tmp_path, recipe):
    options = {"build_args": {"PIP_INDEX_URL": "http://m/simple", "NPM_REGISTRY": "http://n"}}
    assert build_once(tmp_path, recipe, **options)[2].requests[1]["args"] == {"PIP_INDEX_URL": "http://m/simple"}


def test_the_ca_is_given_to_builds_that_ask_for_it(tmp_path, recipe):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("PEM")
    images = [build(recipe, build={"secrets": ["ca"]}), build(recipe, name="other")]
    result, remote = run(tmp_path, images, ("pull", seen(BUSYBOX)), ("build", built), ("build", built), ca_certificate=str(bundle))
    assert remote.files["secret-0-0"] == b"PEM" and remote.requests[1]["secrets"] == {"ca": "secret-0-0"} and remote.requests[2]["secrets"] == {}
    assert sorted(remote.requests[0]["files"]) == ["context-0.tar.gz", "context-1.tar.gz", "secret-0-0"]
    assert "PEM" not in json.dumps(remote.requests) + json.dumps(result)
    assert run(tmp_path, images[:1], ("pull", seen(BUSYBOX)), ("build", built))[1].requests[1]["secrets"] == {}


def test_a_failed_build_leaves_no_workspace_and_lets_the_others_go_on(tmp_path, recipe):
    problem = {"where": "demo/app", "found": "a build that fails in step [2/2] RUN x", "needed": "n", "setting": "s", "output": "last lines"}
    result, remote = run(tmp_path, [build(recipe), build(recipe, name="other")], ("pull", seen(BUSYBOX)), ("build", {"failed": True,
                         "problems": [problem]}), ("build", built))
    assert result["failed"] and result["problems"] == [problem] and "last lines" in result["msg"] and remote.requests[2]["last"]
    result = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX)), ("build", {"failed": True, "msg": "gone"}), ("clean", {}))[0]
    assert "gone" in result["msg"]


def test_a_registry_that_does_not_answer_stops_before_anything_is_sent(tmp_path, recipe):
    problem = {"where": "demo/app, base image", "found": "registry-1.docker.io (Docker Hub) does not answer", "needed": "n",
               "setting": "docker_engine_registry_mirrors", "output": ""}
    result, remote = run(tmp_path, [build(recipe)], ("pull", {"failed": True, "problems": [problem]}), facts=())
    assert result["failed"] and "does not answer" in result["msg"] and remote.files == {}


def test_a_host_without_room_for_the_context_is_told_so(tmp_path, recipe):
    small = dict(seen(BUSYBOX), workspace={"path": "/var/tmp/x", "free_bytes": 1000})
    result, remote = run(tmp_path, [build(recipe)], ("pull", small), ("clean", {}))
    assert "disk of /var/tmp" in result["msg"] and remote.files == {}


def test_a_pulled_image_keeps_its_digest_and_says_when_it_changed(tmp_path):
    result = run(tmp_path, [box()], ("pull", dict(seen(BUSYBOX), pulled=["busybox:1.37"])), facts=())[0]
    assert result["images"]["demo"]["box"] == {"reference": "busybox:1.37", "id": "sha256:busybox", "digest": DIGEST, "size_bytes": 100, "changed": True,
                                               "reason": "pulled"}
    result = run(tmp_path, [box()], ("pull", dict(seen(BUSYBOX), pulled=["busybox:1.37"])), pull_policy="always")[0]
    assert (result["changed"], result["images"]["demo"]["box"]["reason"]) == (False, "present")


@pytest.mark.parametrize("change, parts", [
    (lambda recipe: (recipe / "Dockerfile").unlink(), ["no file Dockerfile in the recipe", "build.dockerfile"]),
    (lambda recipe: (recipe / "Dockerfile").write_text("RUN true"), ["line 1: RUN comes before the first FROM", "Dockerfile"]),
    (lambda recipe: (recipe / ".dockerignore").write_text("["), [".dockerignore", "never closed"]),
    (lambda recipe: (recipe.parent / "source").rename(recipe.parent / "away"), ["no directory", "/source", "dockyard_source_demo"]),
    (lambda recipe: os.mkfifo(recipe.parent / "source/app/pipe"), ["app/pipe is a pipe"]),
])
def test_bad_recipes_and_sources_are_refused_before_the_host_is_asked(tmp_path, recipe, change, parts):
    change(recipe)
    result = run(tmp_path, [build(recipe)])[0]
    assert result["failed"] and result["remote_calls"] == 0 and all(part in result["msg"] for part in ["demo/app", "needed:", "set:", *parts]), result["msg"]


@pytest.mark.parametrize("images, parts", [
    (lambda recipe: [build(recipe / "nope")], ["no directory", "build.recipe"]),
    (lambda recipe: [build(recipe, platform="linux/z80")], ["'linux/z80'"]),
    (lambda recipe: [build(recipe, platform="linux/riscv64")], ["this host runs linux/amd64 only", "binfmt"]),
    (lambda recipe: [box(platform="linux/z80")], ["'linux/z80'"]),
    (lambda recipe: [box(budget_bytes=50)], ["over its budget", "budget_mb"]),
    (lambda recipe: [box(pull={"image": "Not A Name"})], ["not a valid repository", "pull.image"]),
    (lambda recipe: [build(recipe, build={"target": "nope"})], ["no stage is called 'nope'"]),
    (lambda recipe: [build(recipe, build={"secrets": ["token"]})], ["build secret 'token' without a file"]),
    (lambda recipe: [build(recipe, build={"secrets": [{"id": "t", "path": "/nonexistent/t"}]})], ["no readable file /nonexistent/t"]),
    (lambda recipe: [build(recipe, build={"args": {"PIP_INDEX_URL": "https://me:hunter2@x/y"}})], ["PIP_INDEX_URL", "build.secrets"]),
    (lambda recipe: [build(recipe, build={"source": {"git": "/nonexistent/repo", "ref": "main"}})],
     ["cannot be fetched", "/nonexistent/repo", "dockyard_source_demo"]),
    (lambda recipe: [build(recipe, build={"source": {"path": "/x", "subdirectory": "../y"}})], ["relative path inside the source"]),
])
def test_bad_input_is_refused_before_the_host_is_asked(tmp_path, recipe, images, parts):
    result = run(tmp_path, images(recipe))[0]
    assert result["failed"] and result["remote_calls"] == 0 and all(part in result["msg"] for part in ["demo/", "needed:", "set:", *parts]), result["msg"]
    assert "hunter2" not in result["msg"]


def test_all_problems_come_together(tmp_path, recipe):
    result = run(tmp_path, [build(recipe / "nope"), box(pull={"image": "BAD"})])[0]
    assert len(result["problems"]) == 2 and result["msg"].startswith("2 problems:")


def test_a_run_that_lives_is_known_and_a_dead_one_forgotten(tmp_path):
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._connection = Remote()
    cache = str(tmp_path)
    with plugin._token(cache) as first:
        (tmp_path / "active/dead").write_text("")
        with plugin._token(cache) as second:
            assert sorted(second["active"]) == sorted([first["token"], second["token"]])
            assert first["controller"] == second["controller"] and first["token"] != second["token"] and second["remote_user"] == "admin"
    assert os.listdir(tmp_path / "active") == []


def test_no_run_looks_between_the_making_and_the_locking_of_another(tmp_path, monkeypatch):
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._connection = Remote()
    real, seen_locked = action.fcntl.flock, []

    def flock(stream, how):
        if how == action.fcntl.LOCK_EX:
            with open(tmp_path / "active.lock", encoding="utf-8") as lock:
                with pytest.raises(BlockingIOError):
                    real(lock, action.fcntl.LOCK_EX | action.fcntl.LOCK_NB)
            seen_locked.append(os.listdir(tmp_path / "active"))
        return real(stream, how)

    monkeypatch.setattr(action.fcntl, "flock", flock)
    with plugin._token(str(tmp_path)) as run_of_it:
        assert seen_locked == [[run_of_it["token"]]]
