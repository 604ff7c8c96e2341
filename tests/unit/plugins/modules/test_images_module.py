# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gzip
import json
import os
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli, host, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.progress import Tally
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


def test_a_scan_in_check_mode_is_told_to_look_only():
    asked = []

    class Scanner:
        def __init__(self, docker, request, reporter):
            asked.append((docker, request["look_only"], reporter))

        def scan(self):
            return {"scans": []}

    with scripted() as (target, unused):
        assert module.Step(request(), target, True, Scanner).run("scan") == {"changed": False, "scans": []}
        assert module.Step(request(), target, False, Scanner).run("scan") == {"changed": False, "scans": []}
        assert asked == [(target.docker, True, None), (target.docker, False, None)]


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


ARM_DIGEST, AMD_DIGEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SHARED, OWN = "r.test/x/s-a:ffffffffffffffff", "r.test/x/s-a:ffffffffffffffff-arm64"
PUSH = {"where": "s/a", "reference": SHARED, "platform": "linux/arm64"}


LIST_DIGEST = "sha256:" + "c" * 64


def pushed(*digests):
    return answer(dict(raw(1, [SHARED, OWN]), RepoDigests=[f"r.test/x/s-a@{digest}" for digest in digests]))


@pytest.mark.parametrize("before, after, listed", [
    ([], [ARM_DIGEST], False),
    # The image came by the list, whose digest it carries: another builder's, or this one's before it was made anew.
    ([LIST_DIGEST], [LIST_DIGEST, ARM_DIGEST], True), ([LIST_DIGEST], [ARM_DIGEST, LIST_DIGEST], True),
    ([LIST_DIGEST, ARM_DIGEST], [LIST_DIGEST, ARM_DIGEST], True), ([ARM_DIGEST], [ARM_DIGEST], False),
])
def test_a_push_puts_its_platform_into_the_list_and_keeps_the_others(before, after, listed):
    there = json.dumps({"manifests": [{"digest": AMD_DIGEST, "platform": {"os": "linux", "architecture": "amd64"}}] + (
        [{"digest": ARM_DIGEST, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}] if listed else [])})
    with scripted((["image", "tag", SHARED, OWN], OK), (["image", "inspect", OWN], pushed(*before)), (["push", OWN], OK),
                  (["image", "inspect", OWN], pushed(*after)), (["image", "rm", OWN], OK),
                  (["manifest", "inspect", SHARED], cli.Done(0, there, "")), (["manifest", "rm", SHARED], cli.Done(1, "", "none")),
                  (["manifest", "create", SHARED, f"r.test/x/s-a@{AMD_DIGEST}", f"r.test/x/s-a@{ARM_DIGEST}"], OK),
                  (["manifest", "annotate", "--os", "linux", "--arch", "amd64"], OK), (["manifest", "annotate", "--os", "linux", "--arch", "arm64"], OK),
                  (["manifest", "push", "--purge", SHARED], cli.Done(0, "sha256:list\n", ""))) as (target, unused):
        assert target.push(PUSH) == {"digest": "sha256:list", "platforms": ["linux/amd64", "linux/arm64"]}


@pytest.mark.parametrize("text, parts", [
    ("denied: requested access to the resource is denied", ["r.test takes no push without a login", "images_registry"]),
    ("dial tcp 10.0.0.1:443: connect: connection refused", ["r.test does not answer"]),
    ("x509: certificate signed by unknown authority", ["a certificate of r.test that the builder does not trust", "docker_engine_ca_certificates"]),
    ("something else", ["a push of r.test/x/s-a:ffffffffffffffff-arm64 that failed: something else", "images_registry"]),
])
def test_a_push_that_fails_says_why_and_leaves_no_name(text, parts):
    with scripted((["image", "tag"], OK), (["image", "inspect", OWN], pushed()), (["push", OWN], cli.Done(1, "", text)),
                  (["image", "rm", OWN], OK)) as (target, unused):
        with pytest.raises(ImagesError) as caught:
            target.push(PUSH)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_list_that_lacks_the_only_known_digest_is_not_made_of_a_list():
    with scripted((["image", "tag"], OK), (["image", "inspect", OWN], pushed(LIST_DIGEST, ARM_DIGEST)), (["push", OWN], OK),
                  (["image", "inspect", OWN], pushed(LIST_DIGEST, ARM_DIGEST)), (["image", "rm", OWN], OK),
                  (["manifest", "inspect"], cli.Done(1, "", "no such manifest"))) as (target, unused):
        with pytest.raises(ImagesError, match="no digest of"):
            target.push(PUSH)


def test_a_list_that_the_registry_refuses_fails():
    with scripted((["image", "tag"], OK), (["image", "inspect", OWN], pushed()), (["push", OWN], OK),
                  (["image", "inspect", OWN], pushed(ARM_DIGEST)), (["image", "rm", OWN], OK),
                  (["manifest", "inspect"], cli.Done(1, "", "no such manifest")), (["manifest", "rm"], OK), (["manifest", "create"], OK),
                  (["manifest", "annotate"], OK), (["manifest", "push"], cli.Done(1, "", "500 internal server error"))) as (target, unused):
        with pytest.raises(ImagesError, match="500 internal"):
            target.push(PUSH)


def test_what_another_builder_published_is_taken_instead_of_built(folder):
    labels = {plan.LABEL_HASH: HASH}
    wanted = request(published=True, platform="linux/amd64")
    with scripted((["image", "inspect", FINAL], answer(dict(raw(1, [FINAL], labels=labels), Architecture="arm64"))),
                  (["pull", "--quiet", "--platform", "linux/amd64", FINAL], OK),
                  (["image", "inspect", FINAL], answer(raw(2, [FINAL], labels=labels)))) as (target, unused):
        result = target.build(wanted, folder)
    assert (result["built"], result["image"]["id"]) == (False, "sha256:2")
    with scripted((["image", "inspect", FINAL], NOT_THERE), (["pull"], cli.Done(1, "", "manifest unknown")), (["buildx", "build"], OK),
                  (["image", "inspect", TEMPORARY], answer(raw(1, [TEMPORARY]))), (["image", "tag"], OK), (["image", "rm"], OK),
                  *listing()) as (target, unused):
        assert target.build(wanted, folder)["built"] is True


class Saves(Script):
    """A docker whose save writes."""

    def __call__(self, argv, timeout_s, stdin=None, environment=None):
        if argv[1:3] == ["save", "--output"]:
            with open(argv[3], "wb") as stream:
                stream.write(b"image" * 1000)
        return super().__call__(argv, timeout_s, stdin, environment)


def test_an_archive_is_packed_into_the_file_of_the_connection_s_user(folder):
    path = os.path.join(folder, "archive-0.tar.gz")
    open(path, "wb").close()
    before = os.stat(path).st_ino
    script, tally = Saves((["save"], OK)), Tally()
    result = host.Host(cli.Docker(script), tally).save({"where": "s/a", "reference": FINAL, "file": "archive-0.tar.gz"}, folder)
    with gzip.open(path) as stream:
        assert stream.read() == b"image" * 1000
    assert result == {"size_bytes": os.path.getsize(path)} and os.stat(path).st_ino == before and not os.path.exists(f"{path}.raw")
    assert tally.document()["totals"]["bytes"]["done"] == 5000


def test_an_archive_that_cannot_be_made_leaves_nothing(folder):
    with pytest.raises(ImagesError, match="no space left"):
        host.Host(cli.Docker(Saves((["save"], cli.Done(1, "", "write: no space left on device"))))).save(
            {"where": "s/a", "reference": FINAL, "file": "archive-0.tar.gz"}, folder)
    assert not [name for name in os.listdir(folder) if name.startswith("archive")]


LOAD = {"where": "s/a", "reference": FINAL, "repository": "dockyard/s-a", "content": HASH, "file": "image-0.tar.gz", "keep": 3}


def test_an_archive_is_loaded_and_must_be_what_the_builder_made(folder):
    good = raw(1, [FINAL], labels={plan.LABEL_HASH: HASH})
    with scripted((["load", "--quiet", "--input"], OK), (["image", "inspect", FINAL], answer(good)), *listing(good)) as (target, script):
        assert target.load(LOAD, folder)["image"]["id"] == "sha256:1"
    assert script.seen[0]["argv"][-1] == f"{folder}/image-0.tar.gz"
    with scripted((["load"], OK), (["image", "inspect", FINAL], answer(raw(1, [FINAL], labels={plan.LABEL_HASH: "other"})))) as (target, unused):
        with pytest.raises(ImagesError, match="sha256:1 after docker load"):
            target.load(LOAD, folder)
    with scripted((["load"], cli.Done(1, "", "no space left on device"))) as (target, unused):
        with pytest.raises(ImagesError, match="no space left"):
            target.load(LOAD, folder)


def test_older_ones_go_when_a_delivered_image_has_come(folder):
    images = [raw(number, [f"dockyard/s-a:{number}"], labels={plan.LABEL_HASH: "x"}) for number in (1, 2)]
    with scripted(*listing(*images), *listing(*images), (["container", "ls"], OK), (["image", "rm", "dockyard/s-a:1"], OK)) as (target, unused):
        given = {"pulls": [], "controller": "me", "active": [], "prunes": [{"repository": "dockyard/s-a", "reference": "dockyard/s-a:2", "keep": 0}]}
        assert target.pull(given)["pruned"] == ["dockyard/s-a:1"]


class Told(Script):
    """A docker that says how far it is to whoever watches."""

    lines = ["#5 [1/2] FROM docker.io/library/busybox:1.37", "#5 CACHED", "#6 [2/2] RUN make"]

    def __call__(self, argv, timeout_s, stdin=None, environment=None, watch=None):
        for line in self.lines if watch else []:
            watch(line)
        return super().__call__(argv, timeout_s, stdin, environment)


def test_builds_and_pulls_tell_how_far_they_are(folder):
    script, tally = Told((["image", "inspect", FINAL], NOT_THERE), (["buildx", "build"], cli.Done(1, "", "failed"))), Tally()
    with pytest.raises(ImagesError):
        host.Host(cli.Docker(script), tally).build(request(), folder)
    item = tally.document()["items"][0]
    assert (item["name"], item["unit"], item["done"], item["total"], item["note"], item["ended"]) == ("s/a", "steps", 1, 2, "RUN make", None)

    def ask(reference, platform, timeout_s, see):
        see({"id": "a" * 12, "status": "Downloading", "progressDetail": {"current": 10, "total": 30}})
        see({"id": "a" * 12, "status": "Pull complete"})

    tally, script = Tally(), Script(*listing(), *listing())
    wanted = [{"where": "s/a", "reference": "a:1", "platform": None, "policy": "missing"}] * 2
    host.Host(cli.Docker(script, ask=ask), tally).pull({"pulls": wanted, "controller": "me"})
    item = tally.document()["items"][0]
    assert (item["name"], item["done"], item["total"], item["ended"] is not None) == ("a:1", 30, 30, True)
    assert tally.document()["totals"]["bytes"]["items"] == 1
