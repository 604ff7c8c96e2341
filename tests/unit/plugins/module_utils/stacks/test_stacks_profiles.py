# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of profiles, which are there only while the settings say so; and what a processor must be able to do."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import plan

DEFINITION = {
    "schema": 1, "name": "hello",
    "images": {"web": {"pull": {"image": "web:1"}}, "extra": {"pull": {"image": "extra:1"}, "services": ["more", "most"]},
               "shared": {"pull": {"image": "shared:1"}, "services": ["one", "most2"]}},
    "profiles": {"big": {"services": ["more", "most", "most2"], "when": {"HELLO_BIG": True, "HELLO_SIZE": ["large", "huge"]}}},
    "settings": {"HELLO_BIG": {"default": False, "type": "boolean"}, "HELLO_SIZE": {"default": "small"}},
    "limits": {"more": {"memory": "1G"}, "web": {"memory": "1G"}}, "env": {"most": {"A": "1"}},
}


def documents(**changes):
    names = {"web": "WEB", "more": "MORE", "most": "MOST", "one": "ONE", "most2": "MOST2"}
    services = {name: {"image": "${%s_IMAGE:-x}" % variable, **({"profiles": ["big"]} if name.startswith("mo") else {})} for name, variable in names.items()}
    for name, change in changes.items():
        services[name] = {**services[name], **change}
    return [{"services": services}, {"services": {"more": {"read_only": True}}}]


@pytest.mark.parametrize("big, size, on", [("true", "large", True), ("true", "huge", True), ("true", "small", False), ("false", "large", False)])
def test_a_profile_needs_all_its_settings(big, size, on):
    definition, files, profiles = definitions.active(DEFINITION, documents(), {"HELLO_BIG": big, "HELLO_SIZE": size})
    assert profiles == (["big"] if on else [])
    assert sorted(definitions.services_of(files)) == (["more", "most", "most2", "one", "web"] if on else ["one", "web"])
    assert sorted(definitions.images_by_service(definition)) == sorted(definitions.services_of(files))
    assert sorted(definition["limits"]) == (["more", "web"] if on else ["web"])
    assert "extra" in DEFINITION["images"] and "most" in DEFINITION["env"], "the definition itself stays"


def test_a_stack_without_profiles_is_as_it_was():
    definition = {key: value for key, value in DEFINITION.items() if key != "profiles"}
    files = documents()
    assert definitions.active(definition, files, {}) == (definition, files, [])


def test_a_good_stack_has_no_problem():
    assert definitions.cross_check(DEFINITION, documents(), lambda path: True) == []


@pytest.mark.parametrize("definition, files, said", [
    ({}, documents(more={"profiles": []}), "services/more/profiles: found none, needed [big], for `profiles` names it"),
    ({"profiles": {}}, documents(), "services/more/profiles: found ['big'], needed none"),
    ({}, documents(web={"depends_on": ["more"]}), "services/web/depends_on: 'more' is there only with the profile big"),
    ({"profiles": {"tools": DEFINITION["profiles"]["big"]}}, documents(), "profiles/tools: the name belongs to `tools`"),
    ({"profiles": {"big": {"services": ["more", "most", "most2", "gone"], "when": {"HELLO_BIG": True}}}}, documents(), "compose.yaml has no service 'gone'"),
    ({"profiles": {"big": {"services": ["more", "most", "most2"], "when": {"NONE": True}}}}, documents(), "profiles/big/when: no setting is named NONE"),
    ({"health": {"jobs": ["more"]}}, documents(), "profiles/big/services: 'more' is one of health/jobs"),
    ({"tools": ["more"]}, documents(), "services/more/profiles: found `tools`, needed [big]")])
def test_what_is_wrong_is_told(definition, files, said):
    problems = definitions.cross_check({**DEFINITION, **definition}, files, lambda path: True)
    assert any(said in problem for problem in problems), problems


NEEDS = {"name": "hello", "needs": {"cpu": {"arm64": {"features": ["atomics", "dcpop"], "why": "a newer one (machine X, not Y)"}}}}


@pytest.mark.parametrize("features, platform, said", [
    (["asimd"], "linux/arm64", "hello: found a processor without atomics, dcpop (Raspberry Pi 4, linux/arm64); needed a newer one (machine X, not Y); "
                               "take hello out of dockyard_stacks of this host"),
    (["atomics"], "linux/arm64", "hello: found a processor without dcpop (Raspberry Pi 4, linux/arm64)"),
    (["atomics", "dcpop"], "linux/arm64", None), (None, "linux/arm64", None), ([], "linux/amd64", None), ([], None, None)])
def test_a_processor_that_cannot(features, platform, said):
    facts = {"architecture": {"docker_platform": "linux/arm64"}, "cpu_features": features, "pi": {"model": "Raspberry Pi 4"}}
    problems = plan.check_cpu(NEEDS, facts, platform)
    assert len(problems) == (1 if said else 0) and all(said in problem for problem in problems)
