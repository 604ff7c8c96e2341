# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.context import content_hash
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference

DIGESTS = ["sha256:" + letter * 64 for letter in "abcd"]
REPOSITORY, RECIPE, BASE = "dockyard/demo-app", "e" * 64, "python:3.11"


def image(tags, digests=(), created=0, labels=None, number="1", **more):
    return dict({"id": f"sha256:{number}", "tags": list(tags), "digests": list(digests), "created": created, "size_bytes": 5, "labels": labels or {}}, **more)


def base(digest=DIGESTS[0]):
    return image([BASE], [f"python@{digest}"], number="base")


def built(bases, recipe=RECIPE, created=0, number="9"):
    content = content_hash(recipe, bases)
    labels = {plan.LABEL_HASH: content, plan.LABEL_RECIPE: recipe, plan.LABEL_BASES: json.dumps(bases)}
    return image([f"{REPOSITORY}:{content[:16]}"], created=created, labels=labels, number=number)


def decide(*images, recipe=RECIPE, bases=(BASE,)):
    return plan.decide_build(REPOSITORY, recipe, list(bases), plan.Inventory(list(images)))


def test_names_are_found_however_they_are_written():
    inventory = plan.Inventory([image(["nginx:1.28"], [f"nginx@{DIGESTS[0]}"]), image(["<none>:<none>"], ["<none>@<none>"])])
    for name in ("nginx:1.28", "docker.io/library/nginx:1.28", f"nginx@{DIGESTS[0]}", f"nginx:other@{DIGESTS[0]}"):
        assert inventory.find(name)["id"] == "sha256:1", name
    assert inventory.find("nginx") is None and inventory.find(f"nginx@{DIGESTS[1]}") is None and inventory.find("other/nginx:1.28") is None


def test_a_base_is_its_registry_digest_else_its_id():
    inventory = plan.Inventory([base(), image(["local:1"], number="7"), image(["mirror/python:3.11"], [f"mirror/python@{DIGESTS[1]}"], number="8")])
    assert plan.base_identity(BASE, inventory) == DIGESTS[0]
    assert plan.base_identity("local:1", inventory) == "id:sha256:7"
    assert plan.base_identity(f"gone@{DIGESTS[2]}", inventory) == DIGESTS[2]
    assert plan.base_identity("gone:1", inventory) is None


def test_the_digest_of_another_repository_is_not_taken():
    assert plan.repo_digest(image([], [f"mirror/python@{DIGESTS[0]}", f"python@{DIGESTS[1]}"]), parse_reference("python:3")) == DIGESTS[1]
    assert plan.repo_digest(image([], [f"mirror/python@{DIGESTS[0]}"]), parse_reference("python:3")) is None


def test_the_same_content_is_not_built_again():
    decision = decide(base(), built({BASE: DIGESTS[0]}))
    assert (decision.action, decision.reason, decision.image["id"]) == ("none", "unchanged", "sha256:9")
    assert decision.reference == f"{REPOSITORY}:{content_hash(RECIPE, {BASE: DIGESTS[0]})[:16]}"


@pytest.mark.parametrize("images, recipe, reason", [
    ([base()], RECIPE, "not built here yet"), ([base(), built({BASE: DIGESTS[0]})], "f" * 64, "content changed"),
    ([base(DIGESTS[1]), built({BASE: DIGESTS[0]})], RECIPE, f"base image changed: {BASE}"),
])
def test_other_content_is_built_with_a_reason(images, recipe, reason):
    decision = decide(*images, recipe=recipe)
    assert (decision.action, decision.reason, decision.image) == ("build", reason, None)


def test_a_tag_without_the_right_label_is_not_trusted():
    fake = built({BASE: DIGESTS[0]})
    fake["labels"][plan.LABEL_HASH] = "0" * 64
    assert decide(base(), fake).action == "build"


def test_a_base_that_is_gone_rebuilds_nothing():
    decision = decide(built({BASE: DIGESTS[0]}))
    assert (decision.action, decision.content) == ("none", content_hash(RECIPE, {BASE: DIGESTS[0]}))


@pytest.mark.parametrize("images", [
    [], [built({BASE: DIGESTS[0]}, recipe="f" * 64)], [built({BASE: DIGESTS[0], "other:1": DIGESTS[1]})],
])
def test_a_base_that_is_gone_is_pulled_when_nothing_stands_for_the_content(images):
    decision = decide(*images)
    assert (decision.action, decision.missing, decision.reference) == ("pull_bases", [BASE], None)


def test_bases_that_are_still_there_must_be_the_recorded_ones():
    done = built({BASE: DIGESTS[0], "gone:1": DIGESTS[3]})
    assert decide(base(), done, bases=(BASE, "gone:1")).action == "none"
    assert decide(base(DIGESTS[1]), done, bases=(BASE, "gone:1")).action == "pull_bases"


def test_a_retagged_image_does_not_stand_for_the_content():
    done = built({BASE: DIGESTS[0]})
    done["tags"] = [f"{REPOSITORY}:mine"]
    assert decide(done).action == "pull_bases"


def test_a_build_from_scratch_needs_no_base():
    assert decide(bases=()).action == "build"


@pytest.mark.parametrize("policy, platform, there, action", [
    ("missing", None, True, "none"), ("missing", None, False, "pull"), ("always", None, True, "pull"), ("missing", "linux/amd64", True, "none"),
    ("missing", "linux/arm64", True, "pull"),
])
def test_when_an_image_is_pulled(policy, platform, there, action):
    inventory = plan.Inventory([image(["nginx:1"], architecture="amd64")] if there else [])
    assert plan.decide_pull("nginx:1", policy, platform, inventory).action == action


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm/v7", "linux/arm64/v8"])
def test_platforms_that_docker_knows(platform):
    plan.check_platform(platform, "s/a", {"native": ["linux/amd64"], "emulated": ["linux/arm64", "linux/arm"]})


@pytest.mark.parametrize("platform, architecture, part", [
    ("linux/z80", None, "'linux/z80'"), ("amd64", None, "linux/<architecture>"), ("windows/amd64", None, "'windows/amd64'"), ("linux/arm/v9", None, "v9"),
    ("linux/riscv64", {"native": ["linux/amd64"], "emulated": []}, "this host runs linux/amd64 only"),
])
def test_an_unknown_platform_is_refused(platform, architecture, part):
    with pytest.raises(ImagesError) as caught:
        plan.check_platform(platform, "s/a", architecture)
    assert part in str(caught.value) and "s/a" in str(caught.value) and "set: platforms" in str(caught.value)


def test_offered_arguments_reach_only_those_that_declare_them():
    offered = {"PIP_INDEX_URL": "http://m/simple", "NPM_REGISTRY": "http://m", "APT_MIRROR": ""}
    assert plan.effective_args({"X": 1}, offered, frozenset(["PIP_INDEX_URL", "APT_MIRROR"]), "s/a") == {"PIP_INDEX_URL": "http://m/simple", "X": "1"}
    assert plan.effective_args({"PIP_INDEX_URL": "own"}, offered, frozenset(["PIP_INDEX_URL"]), "s/a") == {"PIP_INDEX_URL": "own"}


def test_a_password_in_a_build_argument_is_refused_without_showing_it():
    with pytest.raises(ImagesError, match="PIP_INDEX_URL") as caught:
        plan.effective_args({}, {"PIP_INDEX_URL": "https://me:hunter2@m/simple"}, frozenset(["PIP_INDEX_URL"]), "s/a")
    assert "hunter2" not in str(caught.value) and "build.secrets" in str(caught.value)


def test_an_image_over_budget_is_refused_with_both_sizes():
    plan.check_budget("s/a", "x", 10, 10)
    plan.check_budget("s/a", "x", 10, None)
    with pytest.raises(ImagesError) as caught:
        plan.check_budget("s/a", "dockyard/s-a", 612_300_000, 500_000_000)
    text = str(caught.value)
    assert all(part in text for part in ("s/a", "612.3 MB", "112.3 MB over", "500.0 MB", "budget_mb"))


def test_labels_of_a_commit_are_the_same_on_each_host():
    revision = {"commit": "c" * 40, "created": "2026-01-02T03:04:05Z", "url": "https://x/y", "version": "v1"}
    labels = [plan.image_labels("s", "a", "f" * 64, RECIPE, {BASE: DIGESTS[0]}, {"own": 1}, revision, built_at) for built_at in ("2026-05-05T00:00:00Z",
              "2027-05-05T00:00:00Z")]
    assert labels[0] == labels[1]
    assert {key.rsplit(".", 1)[-1]: value for key, value in labels[0].items() if key.startswith("org.opencontainers")} == {
        "title": "s/a", "created": "2026-01-02T03:04:05Z", "version": "v1", "revision": "c" * 40, "source": "https://x/y"}
    assert json.loads(labels[0][plan.LABEL_BASES]) == {BASE: DIGESTS[0]} and labels[0]["own"] == "1"


def test_labels_without_a_commit_name_the_content_and_the_time_of_the_build():
    labels = plan.image_labels("s", "a", "f" * 64, RECIPE, {}, {"org.opencontainers.image.version": "7"}, None, "2026-05-05T00:00:00Z")
    assert labels["org.opencontainers.image.created"] == "2026-05-05T00:00:00Z" and labels["org.opencontainers.image.revision"] == f"sha256:{RECIPE}"
    assert labels["org.opencontainers.image.version"] == "7" and "org.opencontainers.image.source" not in labels


@pytest.mark.parametrize("ref, commit, version", [
    ("v1.2", "c" * 40, "v1.2"), ("cccccccc", "c" * 40, "c" * 12), (None, "c" * 40 + "-dirty", "c" * 12 + "-dirty"),
])
def test_versions_for_people(ref, commit, version):
    assert plan.version_of(ref, commit) == version


def test_only_own_old_unused_builds_are_removed():
    builds = [built({BASE: f"{number}"}, created=number, number=str(number)) for number in range(1, 6)]
    names = [entry["tags"][0] for entry in builds]
    foreign = image([f"{REPOSITORY}:mine"], created=0)
    assert plan.old_builds([*builds, foreign], REPOSITORY, names[4], set(), 2) == [names[1], names[0]]
    assert plan.old_builds([*builds, foreign], REPOSITORY, names[4], {"sha256:2"}, 2) == [names[0]]
    assert plan.old_builds(builds, REPOSITORY, names[4], set(), 4) == []


def test_the_newest_build_is_the_one_that_got_its_name_last():
    """Seen: a build from cached layers carries the time of the first build of those layers, and the previous release was removed."""
    cached = dict(built({BASE: "1"}, created=1, number="1"), tagged=20)
    older = dict(built({BASE: "2"}, created=10, number="2"), tagged=10)
    assert plan.old_builds([cached, older], REPOSITORY, "dockyard/demo-app:current", set(), 1) == older["tags"]


def test_temporary_tags_of_dead_runs_are_found():
    images = [image(["dockyard/a:building-me-1", "dockyard/a:building-me-2"]), image(["dockyard/b:building-other-1", "dockyard/b:real"])]
    assert plan.stale_builds(images, "me", ["2"]) == ["dockyard/a:building-me-1"]
    assert [name for name, unused in plan.Inventory(images).of_repository("dockyard/b")] == ["dockyard/b:real"]
