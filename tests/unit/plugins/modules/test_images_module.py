# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli, host, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.modules import images as module

OK = cli.Done(0, "", "")
NOT_THERE = cli.Done(1, "[]\n", "Error: No such image")
FINAL, TEMPORARY, HASH = "dockyard/s-a:ffffffffffffffff", "dockyard/s-a:building-me-1", "f" * 64


class Script:
    """Answers commands in their order; another one, one too many or one too few fails. A command is told by its first words."""

    def __init__(self, *steps):
        self.steps, self.seen = list(steps), []

    def __call__(self, argv, timeout_s, stdin=None, environment=None):
        assert self.steps, f"one call too many: {argv}"
        words, done = self.steps.pop(0)
        assert argv[1:1 + len(words)] == words, f"expected {words}"
        self.seen.append({"argv": argv[1:], "timeout_s": timeout_s, "stdin": stdin, "environment": environment})
        return done


@contextlib.contextmanager
def scripted(*steps):
    script = Script(*steps)
    yield host.Host(cli.Docker(script, sleep=lambda seconds: None)), script
    assert not script.steps, f"calls that never came: {script.steps}"


def raw(number, tags, size=5, labels=None):
    return {"Id": f"sha256:{number}", "RepoTags": tags, "RepoDigests": [], "Created": f"1970-01-01T00:00:0{number}Z", "Size": size, "Architecture": "amd64",
            "Config": {"Labels": labels}}


def answer(*images):
    return cli.Done(0, json.dumps(images), "")


def listing(*images):
    """The two commands that read all images."""
    steps = [(["image", "ls"], cli.Done(0, "".join(f"{image['Id']}\n" for image in images), ""))]
    return steps + ([(["image", "inspect"], answer(*images))] if images else [])


@pytest.fixture(autouse=True)
def locks(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "work"
    path.mkdir()
    (path / "context-0.tar.gz").write_bytes(b"tar")
    (path / "secret-0-0").write_text("hunter2-very-secret\n")
    return str(path)


def request(**change):
    given = {
        "where": "s/a", "repository": "dockyard/s-a", "reference": FINAL, "temporary": TEMPORARY, "context": "context-0.tar.gz",
        "dockerfile": ".dockyard/Dockerfile", "labels": {plan.LABEL_HASH: HASH}, "args": {"A": "1"}, "secrets": {"tok": "secret-0-0"},
        "target": None, "platform": None, "budget_bytes": 10, "timeout_s": 60, "keep": 1, "buildx": True,
        "controller": "me", "token": "1", "active": ["1"],
    }
    return dict(given, **change)


def test_a_build_gets_its_name_last_and_loses_the_temporary_one(folder):
    built = raw(1, [TEMPORARY])
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], OK), (["image", "inspect", TEMPORARY], answer(built)),
                  (["image", "tag", TEMPORARY, FINAL], OK), (["image", "rm", TEMPORARY], OK), *listing(built)) as (target, script):
        result = target.build(request(), folder)
    assert (result["built"], result["image"]["id"], result["image"]["tags"], result["pruned"]) == (True, "sha256:1", [FINAL], [])
    build = script.seen[1]
    assert build["stdin"] == f"{folder}/context-0.tar.gz" and build["timeout_s"] == 60 and build["environment"]["A"] == "1"
    assert not any("hunter2" in word or word == "1" for word in build["argv"])
    assert os.stat(f"{folder}/secret-0-0").st_mode & 0o777 == 0o600


def test_a_build_that_another_run_has_done_is_taken(folder):
    with scripted((["image", "inspect", FINAL], answer(raw(1, [FINAL], labels={plan.LABEL_HASH: HASH})))) as (target, unused):
        assert target.build(request(), folder)["built"] is False


def test_a_failed_build_has_no_name_and_no_secret_in_its_message(folder):
    output = "#7 [2/2] RUN make\n#7 0.1 token is hunter2-very-secret\n#7 ERROR: process did not complete successfully: exit code: 2\n"
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], cli.Done(1, "", output))) as (target, unused):
        with pytest.raises(ImagesError) as caught:
            target.build(request(), folder)
    assert "[2/2] RUN make" in str(caught.value) and "token is ********" in str(caught.value) and "hunter2" not in str(caught.value)


def test_an_image_over_budget_is_untagged_and_refused(folder):
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], OK), (["image", "inspect", TEMPORARY], answer(raw(1, [TEMPORARY], size=11))),
                  (["image", "rm", TEMPORARY], OK)) as (target, unused):
        with pytest.raises(ImagesError, match="over its budget.*budget_mb"):
            target.build(request(), folder)


def test_a_build_that_takes_too_long_names_the_setting(folder):
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], cli.Done(None, "", "#7 [2/2] RUN sleep\n"))) as (target, unused):
        with pytest.raises(ImagesError, match="within 60 s.*images_build_timeout_seconds"):
            target.build(request(), folder)


def test_without_buildx_the_plain_command_builds(folder):
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "version"], cli.Done(1, "", "")), (["build", "--progress"], OK),
                  (["image", "inspect", TEMPORARY], answer(raw(1, [TEMPORARY]))), (["image", "tag"], OK), (["image", "rm"], OK),
                  *listing()) as (target, unused):
        assert target.build(request(buildx=None), folder)["built"]


def test_a_base_image_that_vanished_before_the_build_is_named(folder):
    output = ('#2 [internal] load metadata for docker.io/library/python:3.11\n#2 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/": '
              "dial tcp: connection refused\n")
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], cli.Done(1, "", output))) as (target, unused):
        with pytest.raises(ImagesError, match="s/a, base image: found registry-1.docker.io .* does not answer"):
            target.build(request(), folder)


def test_older_builds_go_but_not_those_that_containers_use(folder):
    images = [raw(number, [f"dockyard/s-a:old{number}"], labels={plan.LABEL_HASH: "x"}) for number in (1, 2, 3)]
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], OK), (["image", "inspect", TEMPORARY], answer(raw(4, [TEMPORARY]))),
                  (["image", "tag"], OK), (["image", "rm", TEMPORARY], OK), *listing(*images, raw(4, [FINAL], labels={plan.LABEL_HASH: HASH})),
                  (["container", "ls"], cli.Done(0, "c1\n", "")), (["container", "inspect", "--format", "{{.Image}}", "c1"], cli.Done(0, "sha256:2\n", "")),
                  (["image", "rm", "dockyard/s-a:old1"], OK)) as (target, unused):
        assert target.build(request(), folder)["pruned"] == ["dockyard/s-a:old1"]


def test_a_build_waits_for_another_of_the_same_repository(folder, monkeypatch):
    monkeypatch.setattr(host.time, "sleep", lambda seconds: None)
    with host.repository_lock("dockyard/s-a", 1), scripted() as (target, unused):
        with pytest.raises(ImagesError, match=f"another build of it, process {os.getpid()}"):
            target.build(request(timeout_s=0), folder)


def pull(**change):
    return dict(dict(controller="me", token="1", active=["1"], pulls=[], bases=[]), **change)


def wanted(reference, **change):
    return dict(dict(where="s/a", reference=reference, platform=None, policy="missing"), **change)


def test_only_what_is_missing_is_pulled_and_each_once():
    there, fetched = raw(1, ["nginx:1"]), raw(2, ["python:3"])
    with scripted(*listing(there), (["pull", "--quiet", "python:3"], OK), *listing(there, fetched)) as (target, unused):
        result = target.pull(pull(pulls=[wanted("nginx:1")], bases=[wanted("python:3"), wanted("python:3"), wanted("nginx:1")]))
    assert result["pulled"] == ["python:3"] and len(result["images"]) == 2


def test_nothing_missing_needs_no_second_look():
    with scripted(*listing(raw(1, ["nginx:1"]))) as (target, unused):
        assert target.pull(pull(pulls=[wanted("nginx:1")]))["pulled"] == []


def test_policy_always_asks_again():
    with scripted(*listing(raw(1, ["nginx:1"])), (["pull", "--quiet", "nginx:1"], OK), *listing(raw(2, ["nginx:1"]))) as (target, unused):
        assert target.pull(pull(pulls=[wanted("nginx:1", policy="always")]))["pulled"] == ["nginx:1"]


def test_all_failed_pulls_are_reported_together():
    gone = cli.Done(1, "", "manifest unknown")
    with scripted(*listing(), (["pull", "--quiet", "a:1"], gone), (["pull", "--quiet", "b:1"], gone)) as (target, unused):
        with pytest.raises(SeveralErrors) as caught:
            target.pull(pull(pulls=[wanted("a:1"), wanted("b:1", where="s/b, base image")]))
    assert len(caught.value.problems) == 2 and "s/b, base image: found no image b:1" in str(caught.value)


def test_what_a_killed_build_left_is_untagged():
    with scripted(*listing(raw(1, ["dockyard/s-a:building-me-dead"]), raw(2, [TEMPORARY])), (["image", "rm", "dockyard/s-a:building-me-dead"], OK),
                  *listing()) as (target, unused):
        target.pull(pull())


def test_check_mode_only_looks():
    for state in ("pull", "build", "clean"):
        with scripted((["info"], cli.Done(0, "linux/x86_64\t/var/lib/docker\n", "")), *listing()) as (target, unused):
            result = module.Step(request(), target, True).run(state)
        assert result == {"changed": False, "images": [], "platform": "linux/amd64", "data_root": "/var/lib/docker"}


def test_a_stopped_daemon_is_told_where_and_what():
    with scripted((["info"], cli.Done(1, "", "Cannot connect to the Docker daemon"))) as (target, unused):
        with pytest.raises(ImagesError, match="Cannot connect.*docker_engine"):
            target.inspect()


def test_a_workspace_is_private_and_goes_away(tmp_path):
    space = host.Workspace(pull(files=["context-0.tar.gz", "secret-0-0"]), str(tmp_path))
    made = space.create()
    assert made["free_bytes"] > 0 and os.stat(made["path"]).st_mode & 0o777 == 0o700
    assert {os.stat(os.path.join(made["path"], name)).st_mode & 0o777 for name in os.listdir(made["path"])} == {0o600}
    space.remove()
    space.remove()
    assert not os.path.exists(made["path"])


def test_leftovers_of_dead_runs_go_and_those_of_living_ones_stay(tmp_path):
    for name in ("me.dead", "me.alive", "other.young", "other.old"):
        (tmp_path / f"dockyard-images.{name}").mkdir()
    os.utime(tmp_path / "dockyard-images.other.old", (time.time() - 2 * 86400,) * 2)
    (tmp_path / "unrelated").mkdir()
    (tmp_path / "dockyard-images.me.link").symlink_to(tmp_path / "unrelated")
    assert host.Workspace(pull(active=["1", "alive"]), str(tmp_path)).sweep() == ["dockyard-images.me.dead", "dockyard-images.other.old"]
    assert (tmp_path / "unrelated").is_dir()


def test_the_module_removes_the_workspace_after_the_last_build_also_when_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Workspace", lambda given: host.Workspace(given, str(tmp_path)))
    path = host.Workspace(request(), str(tmp_path)).create()["path"]
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], cli.Done(1, "", "ERROR: x"))) as (target, unused):
        with pytest.raises(ImagesError):
            module.Step(request(last=True, secrets={}), target, False).run("build")
    assert not os.path.exists(path)
