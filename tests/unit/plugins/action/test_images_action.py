# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import tarfile
from types import SimpleNamespace

import pytest

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.dockyard.fleet.plugins.action import images as action
from ansible_collections.dockyard.fleet.plugins.module_utils.images.arguments import ARGUMENTS
from ansible_collections.dockyard.fleet.plugins.module_utils.images import plan

DIGEST = "sha256:" + "a" * 64
BUSYBOX = {"id": "sha256:busybox", "tags": ["busybox:1.37"], "digests": [f"busybox@{DIGEST}"], "created": 1, "size_bytes": 100, "labels": {}}
SPACE = {"path": "/var/tmp/dockyard-images.x.y", "free_bytes": 10**12}
ARCHITECTURE = {"docker_platform": "linux/amd64", "native": ["linux/amd64"], "emulated": []}


class Remote:
    """The host: answers module calls in their order; another one, one too many or one too few fails."""

    def __init__(self, *steps):
        self.steps, self.requests, self.files, self.warnings = list(steps), [], {}, []

    def execute(self, module_name, module_args, task_vars):
        assert module_name == "dockyard.fleet.images" and self.steps, f"one call too many: {module_args['state']}"
        state, answer = self.steps.pop(0)
        assert module_args["state"] == state
        self.requests.append(module_args["request"])
        return answer(module_args["request"]) if callable(answer) else answer

    def put_file(self, local, remote):
        with open(local, "rb") as stream:
            self.files[os.path.basename(remote)] = stream.read()

    def fetch_file(self, remote, local):
        with open(local, "wb") as stream:
            stream.write(b"archive")

    def get_option(self, name):
        return {"remote_user": "admin"}[name]


def run(tmp_path, images, *steps, facts=(BUSYBOX,), check_mode=False, host="me", architecture=None, **options):
    """The result of the action against a scripted host, and that host."""
    remote = Remote(*steps)
    arguments = dict(images=images, source_cache=str(tmp_path / "cache"), **options)
    if facts is not None:
        arguments["facts"] = {"images": list(facts), "architecture": architecture or ARCHITECTURE, "docker": {"buildx": {"version": "0.13"}}}
    task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False, delegate_to=None, no_log=False)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task, plugin._connection, plugin._execute_module = task, remote, remote.execute
    plugin._display = SimpleNamespace(warning=remote.warnings.append)
    plugin.validate_argument_spec = lambda spec: (None, dict({name: entry.get("default") for name, entry in spec.items()}, **arguments))
    action.ActionBase.run, kept = lambda self, tmp, task_vars: {}, action.ActionBase.run
    try:
        result = plugin.run(None, {"inventory_hostname": host, "dockyard_progress": False})
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


def test_a_budget_that_was_lowered_is_noticed_for_all_that_is_there(tmp_path, recipe):
    made = build_once(tmp_path, recipe)[0]
    result = run(tmp_path, [build(recipe, budget_bytes=100), box(budget_bytes=50), box(name="fits", budget_bytes=100)], facts=(BUSYBOX, made))[0]
    assert result["remote_calls"] == 0 and [problem["where"] for problem in result["problems"]] == ["demo/app", "demo/box"]
    assert "0.0 MB over its budget" in result["msg"] and "earlier stage" in result["problems"][0]["needed"]
    assert "earlier stage" not in result["problems"][1]["needed"] and "or another image" in result["problems"][1]["setting"]


def test_check_mode_does_not_hold_an_old_image_against_a_new_one(tmp_path):
    result = run(tmp_path, [box(budget_bytes=50, pull={"image": "busybox:1.37", "policy": "always"})], check_mode=True)[0]
    assert result["changed"] and not result.get("failed")


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


ARM = {"docker_platform": "linux/arm64", "native": ["linux/arm64", "linux/arm/v7"], "emulated": []}
BOTH = dict(ARCHITECTURE, emulated=["linux/arm64"])
ARM_BUSYBOX = dict(BUSYBOX, architecture="arm64")


def made_by(request, architecture="arm64"):
    """The host's answer to a build of another platform."""
    answer = built(request)
    answer["image"]["architecture"] = architecture
    return answer


def asked(result):
    """What the role hands from the first look to the task on the builder."""
    return result["elsewhere"][0]


def deliver(tmp_path, recipe, how, *steps, **options):
    """A host's first look, the builder's turn, and what the host learns of it."""
    first, unused = run(tmp_path, [build(recipe, platform="linux/arm64")], builders={"linux/arm64": "pi"}, architecture=BOTH, **options)
    part = asked(first)
    second, remote = run(tmp_path, part["images"], ("inspect", {"images": [ARM_BUSYBOX], "platform": "linux/arm64"}), *steps, facts=None, host="pi",
                         deliver=how, **options)
    return first, part, second, remote


def test_a_builder_builds_for_a_host_and_its_archive_comes_through_the_controller(tmp_path, recipe):
    requests = {}

    def keep(request):
        requests["build"] = request
        return made_by(request)

    first, part, second, remote = deliver(tmp_path, recipe, "archive", ("pull", seen(ARM_BUSYBOX)), ("build", keep), ("save", {"size_bytes": 7}), ("clean", {}))
    assert (first["changed"], first["remote_calls"]) == (False, 0)
    assert {key: part[key] for key in ("builder", "platform", "how")} == {"builder": "pi", "platform": "linux/arm64", "how": "archive"}
    assert part["images"][0]["platform"] == "linux/arm64" and part["images"][0]["reference"] == "dockyard/demo-app"
    assert requests["build"]["platform"] == "linux/arm64" and not requests["build"]["last"], "the workspace is needed for the archive"
    entry = second["delivered"][0]
    assert (entry["reference"], entry["how"], entry["builder"]) == (requests["build"]["reference"], "archive", "pi")
    with open(entry["archive"], "rb") as stream:
        assert stream.read() == b"archive"

    def load(request):
        assert (request["file"], request["reference"], request["content"]) == ("image-0.tar.gz", entry["reference"], entry["content"])
        return {"changed": True, "image": made_by(requests["build"])["image"], "pruned": ["dockyard/demo-app:old"]}

    third, target = run(tmp_path, [build(recipe, platform="linux/arm64")], ("pull", seen(BUSYBOX)), ("load", load), ("clean", {}), architecture=BOTH,
                        builders={"linux/arm64": "pi"}, delivered=second["delivered"])
    assert target.files == {"image-0.tar.gz": b"archive"} and target.requests[0]["files"] == ["image-0.tar.gz"]
    assert third["images"]["demo"]["app"] == {"reference": entry["reference"], "id": "sha256:new", "digest": None, "size_bytes": 200, "changed": True,
                                              "reason": "built on pi: not here yet"}
    assert third["removed"] == ["dockyard/demo-app:old"] and "elsewhere" not in third
    # The next day: all is there, and nobody is asked.
    image = dict(made_by(requests["build"])["image"], tags=[entry["reference"]])
    again, unused = run(tmp_path, [build(recipe, platform="linux/arm64")], facts=(BUSYBOX, image), architecture=BOTH, builders={"linux/arm64": "pi"})
    assert (again["changed"], again["remote_calls"]) == (False, 0) and "elsewhere" not in again


def test_another_base_image_on_the_host_does_not_count_for_what_a_builder_made(tmp_path, recipe):
    requests = {}

    def keep(request):
        requests["build"] = request
        return made_by(request)

    deliver(tmp_path, recipe, "archive", ("pull", seen(ARM_BUSYBOX)), ("build", keep), ("save", {"size_bytes": 7}), ("clean", {}))
    image = made_by(requests["build"])["image"]
    other = dict(BUSYBOX, digests=["busybox@sha256:" + "b" * 64])
    again, unused = run(tmp_path, [build(recipe, platform="linux/arm64")], facts=(other, image), architecture=BOTH, builders={"linux/arm64": "pi"})
    assert again["changed"] is False and "elsewhere" not in again


def test_an_archive_that_was_cut_is_not_kept(tmp_path, recipe):
    unused, unused_part, second, unused_remote = deliver(
        tmp_path, recipe, "archive", ("pull", seen(ARM_BUSYBOX)), ("build", made_by), ("save", {"size_bytes": 8}), ("clean", {}))
    assert second["failed"] and "7 bytes of an archive of 8" in second["msg"]
    assert [name for unused, unused_folders, names in os.walk(tmp_path / "cache" / "archives") for name in names] == []


def test_a_builder_without_room_for_an_archive_is_told_so(tmp_path, recipe):
    small = dict(seen(ARM_BUSYBOX), workspace={"path": "/var/tmp/x", "free_bytes": 70 * 10**6})

    def large(request):
        answer = made_by(request)
        answer["image"]["size_bytes"] = 10**8
        return answer

    second = deliver(tmp_path, recipe, "archive", ("pull", small), ("build", large), ("clean", {}))[2]
    assert second["failed"] and "disk of /var/tmp on pi" in second["msg"] and "images_registry" in second["msg"]


def test_a_host_without_room_for_an_archive_is_told_so(tmp_path, recipe):
    second = deliver(tmp_path, recipe, "archive", ("pull", seen(ARM_BUSYBOX)), ("build", made_by), ("save", {"size_bytes": 7}), ("clean", {}))[2]
    small = dict(seen(BUSYBOX), workspace={"path": "/var/tmp/x", "free_bytes": 1000})
    result, remote = run(tmp_path, [build(recipe, platform="linux/arm64")], ("pull", small), ("clean", {}), architecture=BOTH, builders={"linux/arm64": "pi"},
                         delivered=second["delivered"])
    assert "disk of /var/tmp" in result["msg"] and "archive" in result["msg"] and remote.files == {}


def test_a_registry_gets_one_tag_for_all_platforms(tmp_path, recipe):
    tags, requests = set(), []
    for platform, architecture, host in (("linux/arm64", ARM, "pi"), ("linux/amd64", ARCHITECTURE, "ec2")):
        first = run(tmp_path, [build(recipe)], registry="r.test/x", architecture=architecture, host=host)[0]
        part = asked(first)
        assert (part["builder"], part["platform"], part["how"]) == (host, platform, "registry"), "without a builder a host builds for its kind"
        push = []
        second, remote = run(tmp_path, part["images"], ("inspect", {"images": [BUSYBOX], "platform": platform}), ("pull", seen(BUSYBOX)),
                             ("build", lambda request: made_by(request, request["platform"].split("/")[1])),
                             ("push", lambda request: push.append(request) or {"digest": "d", "platforms": []}),
                             facts=None, host=host, deliver="registry", registry="r.test/x")
        requests += remote.requests
        assert remote.requests[1]["bases"][0]["policy"] == "always" and remote.requests[2]["published"]
        assert push == [{"where": "demo/app", "reference": second["delivered"][0]["reference"], "platform": platform}]
        tags.add(second["delivered"][0]["reference"])
    assert len(tags) == 1 and tags.pop().startswith("r.test/x/demo-app:")


def test_what_a_builder_is_asked_for_passes_the_same_checks_again(tmp_path, recipe):
    """As the argument specification leaves them: what was not given is null."""
    given = build(recipe, reference="dockyard/demo-app", pull=None, build={
        "source": {"path": str(recipe.parent / "source"), "git": None, "ref": None, "subdirectory": ""}, "target": None})
    asked_for = asked(run(tmp_path, [given], registry="r.test/x")[0])["images"]
    assert "git" not in asked_for[0]["build"]["source"] and "pull" not in asked_for[0] and asked_for[0]["reference"] == "r.test/x/demo-app"
    checked = ArgumentSpecValidator({"images": ARGUMENTS["images"]}).validate({"images": asked_for})
    assert checked.error_messages == []
    assert asked(run(tmp_path, [dict(given, reference="other.test/demo-app")], registry="r.test/x")[0])["images"][0]["reference"] == "other.test/demo-app"


def publish(tmp_path, recipe, **options):
    part = asked(run(tmp_path, [build(recipe)], registry="r.test/x")[0])
    return run(tmp_path, part["images"], ("inspect", {"images": [BUSYBOX], "platform": "linux/amd64"}), ("pull", seen(BUSYBOX)),
               ("build", lambda request: made_by(request, "amd64")), ("push", {}), facts=None, host="me", deliver="registry",
               registry="r.test/x", **options), part


def test_hosts_pull_what_was_pushed_and_refuse_anything_else(tmp_path, recipe):
    (second, builder), unused = publish(tmp_path, recipe)
    entry = second["delivered"][0]
    image = dict(made_by(builder.requests[2], "amd64")["image"], digests=[f"r.test/x/demo-app@{DIGEST}"])
    options = {"registry": "r.test/x", "delivered": second["delivered"]}
    result, remote = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX, image)), **options)
    assert remote.requests[0]["pulls"] == [{"where": "demo/app", "reference": entry["reference"], "platform": "linux/amd64", "policy": "missing"}]
    assert remote.requests[0]["prunes"] == [{"repository": "r.test/x/demo-app", "reference": entry["reference"], "keep": 3}]
    assert not remote.requests[0]["workspace"]
    assert result["images"]["demo"]["app"]["digest"] == DIGEST and result["changed"]
    for wrong in (dict(image, architecture="arm64"), dict(image, labels={})):
        result = run(tmp_path, [build(recipe)], ("pull", seen(BUSYBOX, wrong)), **options)[0]
        assert result["failed"] and "which is not what me pushed" in result["msg"] and "images_registry" in result["msg"]


def test_hosts_that_wait_for_the_same_build_do_not_build_again(tmp_path, recipe, monkeypatch):
    (second, unused), part = publish(tmp_path, recipe)
    # This one has waited since before the other one ended.
    monkeypatch.setattr(action.time, "time", lambda: 1.0)
    result, remote = run(tmp_path, part["images"], facts=None, host="other", deliver="registry", registry="r.test/x")
    assert result["delivered"] == second["delivered"] and (result["changed"], remote.requests) == (False, [])


def test_emulation_is_told_before_it_begins_and_in_check_mode(tmp_path, recipe):
    images = [build(recipe, platform="linux/arm64")]
    result, remote = run(tmp_path, images, ("pull", seen(BUSYBOX)), ("build", made_by), architecture=BOTH)
    assert result["changed"] and len(remote.warnings) == 1 and "by emulation on linux/amd64" in remote.warnings[0] and "images_builders" in remote.warnings[0]
    result = run(tmp_path, images, architecture=BOTH, check_mode=True)[0]
    assert "by emulation" in result["warnings"][0]


def test_check_mode_asks_no_builder_and_says_that_something_would_come(tmp_path, recipe):
    result = run(tmp_path, [build(recipe)], registry="r.test/x", check_mode=True)[0]
    assert (result["changed"], result["remote_calls"], result["predicted"]) == (True, 0, ["demo/app"])


@pytest.mark.parametrize("options, parts", [
    ({"builders": {"linux/z80": "pi"}}, ["images_builders", "linux/z80"]),
    ({"builders": {"linux/arm64": ""}}, ["images_builders", "host of the inventory"]),
    ({"registry": "dockyard"}, ["images_registry", "registry.example"]),
    ({"deliver": "archive"}, ["the builder me (linux/amd64) for linux/arm64", "images_builders"]),
])
def test_builders_and_registries_that_cannot_be_meant_are_refused(tmp_path, recipe, options, parts):
    platform = "linux/arm64" if "deliver" in options else None
    result = run(tmp_path, [build(recipe, platform=platform)], **options)[0]
    assert result["failed"] and result["remote_calls"] == 0 and all(part in result["msg"] for part in parts), result["msg"]


# -- the gate for vulnerabilities ---------------------------------------------------------------------------------------------------------

SCANNER = {"tool": "trivy", "binary": "trivy", "database": "/var/lib/trivy"}
FINDING = {"id": "CVE-2026-1", "package": "libx", "installed": "1.0", "fixed": "1.1", "severity": "high", "aliases": []}


def scanned(*findings, where="demo/box", waiting=()):
    """The host's answer to a scan."""
    scans = [] if waiting else [{"where": where, "findings": list(findings), "date": "2999-01-01T00:00:00Z", "notes": [], "counts": {"high": len(findings)}}]
    return {"changed": False, "scans": scans, "scanned": [], "waiting": list(waiting), "database": "2999-01-01T00:00:00Z"}


def accept(**change):
    return dict(SCANNER, exceptions=[dict({"id": "CVE-2026-1", "reason": "not reachable", "expires": "2999-12-31"}, **change)])


def test_images_are_scanned_once_they_are_there(tmp_path, recipe):
    made = {}

    def answer(request):
        made.update(built(request)["image"])
        return built(request)

    result, remote = run(tmp_path, [build(recipe), box(), box(name="box2")], ("pull", seen(BUSYBOX)), ("build", answer), ("scan", scanned()), scanner=SCANNER)
    request = remote.requests[2]
    assert request["images"] == [
        {"where": "demo/app", "id": "sha256:new", "reference": made["tags"][0], "size_bytes": 200},
        {"where": "demo/box, demo/box2", "id": "sha256:busybox", "reference": "busybox:1.37", "size_bytes": 100}]
    assert request["scanner"]["severity"] == "high" and "exceptions" not in request["scanner"] and request["timeout_s"] == 3600
    assert result["scan"] == {"tool": "trivy", "database": "2999-01-01T00:00:00Z", "scanned": [], "waiting": [], "accepted": [],
                              "counts": {"demo/box": {"high": 0}}}


def test_a_finding_blocks_and_the_message_is_whole(tmp_path):
    result, remote = run(tmp_path, [box()], ("scan", scanned(FINDING)), scanner=SCANNER)
    assert result["failed"] and "images" not in result and result["problems"][0]["where"] == "demo/box"
    assert result["msg"].startswith("demo/box: found CVE-2026-1 (high) in libx 1.0, fixed in 1.1; needed: nothing of severity high or above (trivy, database")
    assert "set: a base image or package without it, or images_scanner.exceptions" in result["msg"] and remote.warnings == []


def test_an_accepted_finding_lets_the_run_go_on(tmp_path):
    result = run(tmp_path, [box()], ("scan", scanned(FINDING)), scanner=accept())[0]
    assert not result["changed"] and result["scan"]["accepted"] == [
        "demo/box: CVE-2026-1 (high) in libx 1.0, fixed in 1.1; accepted until 2999-12-31: not reachable"] and "warnings" not in result


def test_an_exception_that_nothing_needs_is_told_also_when_something_else_blocks(tmp_path):
    result = run(tmp_path, [box()], ("scan", scanned()), scanner=accept())[0]
    assert result["warnings"] == ["images_scanner.exceptions: CVE-2026-1 covers no finding in the images of this host"]
    result, remote = run(tmp_path, [box()], ("scan", scanned(FINDING)), scanner=accept(id="CVE-2026-2"))
    assert result["failed"] and remote.warnings == ["images_scanner.exceptions: CVE-2026-2 covers no finding in the images of this host"]


@pytest.mark.parametrize("scanner, parts", [
    (accept(expires="2001-01-01"), ["images_scanner.exceptions[0] (CVE-2026-1)", "expired on 2001-01-01"]),
    (accept(reason=""), ["found no reason"]),
    (dict(SCANNER, databse="/x"), ["found the key databse", "database"]),
])
def test_wrong_settings_of_the_gate_are_refused_before_the_host_is_asked(tmp_path, scanner, parts):
    result = run(tmp_path, [box()], facts=None, scanner=scanner)[0]
    assert result["failed"] and result["remote_calls"] == 0 and all(part in result["msg"] for part in parts), result["msg"]


def test_check_mode_judges_what_is_known_and_says_what_is_not(tmp_path, recipe):
    result, remote = run(tmp_path, [build(recipe), box()], ("scan", scanned(waiting=["demo/box"])), scanner=SCANNER, check_mode=True)
    assert [image["where"] for image in remote.requests[0]["images"]] == ["demo/box"]
    assert result["scan"]["waiting"] == ["demo/app", "demo/box"] and "not scanned in check mode: demo/app, demo/box" in result["warnings"]
    assert run(tmp_path, [box()], ("scan", scanned(FINDING)), scanner=SCANNER, check_mode=True)[0]["failed"]


def test_the_gate_waits_for_what_builders_make_and_builders_have_none(tmp_path, recipe):
    options = {"architecture": BOTH, "builders": {"linux/arm64": "pi"}}
    assert "scan" not in run(tmp_path, [build(recipe, platform="linux/arm64"), box()], scanner=SCANNER, **options)[0]
    part = run(tmp_path, [build(recipe, platform="linux/arm64")], **options)[0]["elsewhere"][0]
    result = run(tmp_path, part["images"], ("pull", seen(ARM_BUSYBOX)), ("build", made_by), ("save", {"size_bytes": 7}), ("clean", {}), facts=(ARM_BUSYBOX,),
                 host="pi", architecture=ARM, deliver="archive", scanner=SCANNER)[0]
    assert result["delivered"] and "scan" not in result
