# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import places, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError

AMD = {"native": ["linux/amd64", "linux/386"], "emulated": ["linux/arm64"]}
PI = {"native": ["linux/arm64", "linux/arm/v7"], "emulated": []}
HASH = "c" * 64


@pytest.mark.parametrize("platform, builders, registry, place", [
    ("linux/amd64", {}, "", ("me", "here", False)),
    ("linux/arm64", {}, "", ("me", "here", True)),
    ("linux/arm64", {"linux/arm64": "pi"}, "", ("pi", "archive", False)),
    ("linux/arm64/v8", {"linux/arm64": "pi"}, "", ("pi", "archive", False)),
    ("linux/arm64", {"linux/arm64": "me"}, "", ("me", "here", True)),
    ("linux/arm64", {"linux/arm/v7": "pi"}, "", ("me", "here", True)),
    ("linux/amd64", {}, "r.test/x", ("me", "registry", False)),
    ("linux/arm64", {}, "r.test/x", ("me", "registry", True)),
    ("linux/arm64", {"linux/arm64": "pi"}, "r.test/x", ("pi", "registry", False)),
])
def test_where_an_image_is_built(platform, builders, registry, place):
    assert places.place_of(platform, "me", builders, registry, AMD, "linux/amd64") == place


def test_without_facts_the_engine_s_own_platform_is_native():
    assert places.place_of("linux/amd64", "me", {}, "", None, "linux/amd64").emulated is False
    assert places.place_of("linux/arm64", "me", {}, "", {}, "linux/amd64").emulated is True


def test_a_builder_builds_natively_or_by_emulation_or_is_refused():
    assert places.place_on_builder("s/a", "linux/arm/v7", "pi", PI, "linux/arm64") == ("pi", "here", False)
    assert places.place_on_builder("s/a", "linux/arm64", "ec2", AMD, "linux/amd64") == ("ec2", "here", True)
    with pytest.raises(ImagesError) as caught:
        places.place_on_builder("s/a", "linux/amd64", "pi", PI, "linux/arm64")
    assert caught.value.as_dict() == {
        "where": "s/a", "found": "the builder pi (linux/arm64) for linux/amd64, which it runs neither natively nor by emulation",
        "needed": "a host of that architecture, or an emulator with flag F", "setting": "images_builders (linux/amd64: another host), or role binfmt for pi",
        "output": ""}


def test_emulation_says_what_it_costs_and_what_avoids_it():
    note = places.cost_note("s/a", "linux/arm64", "linux/amd64")
    assert "s/a: linux/arm64 is built by emulation on linux/amd64" in note and "50 to 300" in note and "images_builders" in note


@pytest.mark.parametrize("given", [{"linux/arm64": ""}, {"linux/arm64": ["pi"]}, {"arm64": "pi"}, {"linux/arm64/v7": "pi"}, {"windows/amd64": "pi"}])
def test_builders_that_cannot_be_meant_are_refused(given):
    with pytest.raises(ImagesError) as caught:
        places.read_builders(given)
    assert caught.value.where == "images_builders"


def test_builders_and_registries_are_read():
    assert places.read_builders({"linux/arm64": "pi", "linux/arm/v7": "pi"}) == {"linux/arm64": "pi", "linux/arm/v7": "pi"}
    assert [places.read_registry(text) for text in ("", "r.test/x/", "localhost:5000/x", "ghcr.io/me")] == ["", "r.test/x", "localhost:5000/x", "ghcr.io/me"]


@pytest.mark.parametrize("text", ["dockyard", "https://r.test/x", "r.test/X", "user:word@r.test/x", "r.test/x:1", "r.test/x y"])
def test_registries_that_cannot_be_meant_are_refused(text):
    with pytest.raises(ImagesError) as caught:
        places.read_registry(text)
    assert caught.value.setting == "images_registry"


def image(tag, recipe="r", architecture="arm64", content=HASH, created=1):
    return {"id": f"sha256:{tag}", "tags": [f"r.test/x/s-a:{tag}"], "digests": [], "created": created, "size_bytes": 1, "architecture": architecture,
            "labels": {plan.LABEL_RECIPE: recipe, plan.LABEL_HASH: content}}


@pytest.mark.parametrize("images, found", [
    ([image(HASH[:16])], True),
    ([image(HASH[:16], architecture="amd64")], False),
    ([image(HASH[:16], recipe="other")], False),
    ([image("latest")], False),
    ([image(f"{HASH[:16]}-arm64")], False),
    ([], False),
])
def test_an_image_that_a_builder_made_is_known_by_recipe_and_platform(images, found):
    result = places.find_delivered("r.test/x/s-a", "r", "linux/arm64", plan.Inventory(images))
    assert (result and result[0]) == (f"r.test/x/s-a:{HASH[:16]}" if found else None)


def test_the_newest_one_counts():
    newer = "d" * 64
    inventory = plan.Inventory([image(HASH[:16]), image(newer[:16], content=newer, created=2)])
    assert places.find_delivered("r.test/x/s-a", "r", "linux/arm64", inventory)[0].endswith(newer[:16])


ARM, AMD64 = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def entry(digest, architecture, variant=None, system="linux"):
    platform = dict({"os": system, "architecture": architecture}, **({"variant": variant} if variant else {}))
    return {"mediaType": "x", "digest": digest, "size": 1, "platform": platform}


@pytest.mark.parametrize("there, names", [
    (None, ["linux/arm64"]),
    ("no such manifest", ["linux/arm64"]),
    ("[]", ["linux/arm64"]),
    (json.dumps({"schemaVersion": 2, "config": {}}), ["linux/arm64"]),
    (json.dumps({"manifests": [entry(AMD64, "amd64")]}), ["linux/amd64", "linux/arm64"]),
    (json.dumps({"manifests": [entry(AMD64, "arm64", "v8"), entry(AMD64, "arm", "v7")]}), ["linux/arm/v7", "linux/arm64"]),
    (json.dumps({"manifests": [entry(AMD64, "unknown", system="unknown")]}), ["linux/arm64"]),
])
def test_a_list_keeps_the_other_platforms_and_gets_the_new_one(there, names):
    merged = places.merge_list(there, "linux/arm64", ARM)
    assert [item["platform"] for item in merged] == names
    assert next(item["digest"] for item in merged if item["platform"] == "linux/arm64") == ARM


def test_the_list_is_made_of_digests_and_says_variants():
    commands = places.list_argv("r.test:5000/x/a:t", [{"platform": "linux/arm/v7", "digest": ARM}])
    assert commands == [
        ["manifest", "create", "r.test:5000/x/a:t", f"r.test:5000/x/a@{ARM}"],
        ["manifest", "annotate", "--os", "linux", "--arch", "arm", "--variant", "v7", "r.test:5000/x/a:t", f"r.test:5000/x/a@{ARM}"],
        ["manifest", "push", "--purge", "r.test:5000/x/a:t"],
    ]
    assert places.platform_reference("r.test/x/a:t", "linux/arm/v7") == "r.test/x/a:t-arm-v7"
