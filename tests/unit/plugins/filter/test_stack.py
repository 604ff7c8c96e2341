# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest

from ansible.errors import AnsibleFilterError
from ansible_collections.dockyard.fleet.plugins.filter import stack

PLAN = {"name": "shop", "environment": "production", "revision": "r1", "urls": ["https://h/"], "jobs": ["init"], "services": ["db", "init", "web"],
        "limits_missing": ["memory"],
        "tls": {"certificate": "crt", "key": "key"}, "secrets": [{"name": "crt", "source": "tls_certificate"}, {"name": "token", "source": "generated"}],
        "image_variables": {"WEB_IMAGE": "app", "JOB_IMAGE": "app", "DB_IMAGE": "db"},
        "images": [{"name": "app", "how": "build", "reference": "dockyard/shop-app"}, {"name": "db", "how": "pull", "reference": "db:1"}]}


def test_all_filters_are_there():
    assert sorted(stack.FilterModule().filters()) == [
        "stack_answer_problems", "stack_artifact_variables", "stack_image_variables", "stack_secrets", "stack_summary", "stack_tls_due", "stacks_of_facts",
        "stacks_to_stop"]


def test_tls_due_is_asked_of_each_plan_with_its_own_facts_and_secrets():
    soon, later = int(time.time()) + 86400, int(time.time()) + 40 * 86400

    def known(expires):
        return {"secrets": {"crt": {"expires_epoch_s": expires}, "key": {}}}
    plans = [dict(PLAN, name=name) for name in ("new", "given", "soon", "later")] + [dict(PLAN, name="none", tls=None)]
    due = stack.stack_tls_due(plans, {"stacks": {"soon": known(soon), "later": known(later)}}, {"given": {"crt": "c", "key": "k"}})
    assert [plan["name"] for plan in due] == ["new", "soon"]
    assert [plan["name"] for plan in stack.stack_tls_due(plans, None, None)] == ["new", "given", "soon", "later"]


def test_secrets():
    assert stack.stack_secrets(PLAN, {"other": {"token": "x"}}, None) == PLAN["secrets"]
    assert stack.stack_secrets(PLAN, {"shop": {"token": "x"}}, {"shop": {"certificate": "C", "key": "K", "expires_epoch_s": 9}}) == [
        {"name": "crt", "source": "tls_certificate", "value": "C", "expires_epoch_s": 9}, {"name": "token", "source": "generated", "value": "x"}]


@pytest.mark.parametrize("answer, problems", [
    ({"status": 200, "content": '{"status": "healthy"}'}, 0), ({"status": "200", "content": '{"status": "healthy"}'}, 0),
    ({"status": 200, "content": '{"status": "ill"}'}, 1),
    ({"status": 200}, 1), ({"status": -1, "msg": "timed out"}, 1), ({}, 1), ({"status": 200, "content": None}, 1),
])
def test_answer_problems(answer, problems):
    assert len(stack.stack_answer_problems(answer, {"json": {"status": "healthy"}})) == problems


@pytest.mark.parametrize("images, wanted", [
    ({"shop": {"app": {"reference": "dockyard/shop-app:1f"}}}, {"WEB_IMAGE": "dockyard/shop-app:1f", "JOB_IMAGE": "dockyard/shop-app:1f", "DB_IMAGE": "db:1"}),
    ({"shop": {"app": {"reference": "a:1"}, "db": {"reference": "db:2"}}}, {"WEB_IMAGE": "a:1", "JOB_IMAGE": "a:1", "DB_IMAGE": "db:2"}),
])
def test_image_variables(images, wanted):
    assert stack.stack_image_variables(PLAN, images) == wanted


@pytest.mark.parametrize("images", [None, {"other": {"app": {"reference": "x"}}}, {"shop": {"db": {"reference": "db:1"}}}, {"shop": {"app": None}}])
def test_a_build_without_its_reference_is_refused(images):
    with pytest.raises(AnsibleFilterError, match=r"shop: found no reference of the built image\(s\) app; .* stack_images"):
        stack.stack_image_variables(PLAN, images)


def test_summary():
    services = {"web": {"state": "running", "health": "healthy"}, "db": {"state": "running", "health": "unhealthy"},
                "init": {"state": "exited", "health": "starting"}}
    results = [
        {"item": "shop", "services": services, "changed": True, "changed_services": {"web": "changed"}, "release": {"number": 3}},
        {"item": "blog", "failed": True},
    ]
    plans = [dict(PLAN, name="blog", revision="r9"), dict(PLAN, files=[{"content": "hush"}])]
    common = {"environment": "production", "urls": ["https://h/"], "limits_missing": ["memory"], "wanted": 3, "tools_only": False}
    assert stack.stack_summary(results, plans) == {
        "shop": dict(common, revision="r1", services=services, healthy=2, changed=True, changed_services={"web": "changed"}, release=3),
        "blog": dict(common, revision="r9", services={}, healthy=0, changed=False, changed_services={}, release=None)}
    assert stack.stack_summary([], plans) == {}


def test_summary_of_tools():
    ready = {"state": "ready", "health": "none"}
    plans = [dict(PLAN, name="check", services=[], tools=["app"]), dict(PLAN, name="mixed", services=["web"], tools=["app"])]
    found = stack.stack_summary([{"item": "check", "services": {"app": ready}}, {"item": "mixed", "services": {"app": ready}}], plans)
    assert [(found[name]["healthy"], found[name]["wanted"], found[name]["tools_only"]) for name in ("check", "mixed")] == [(1, 1, True), (1, 2, False)]


def test_artifact_variables():
    plan = dict(PLAN, artifacts=[{"name": "models", "variable": "MODELS_DIR"}, {"name": "maps", "variable": "MAPS_DIR"}])
    result = {"shop": {"models": {"path": "/a/1"}, "maps": {"path": "/a/2"}}, "other": {}}
    assert stack.stack_artifact_variables(plan, result) == {"MODELS_DIR": "/a/1", "MAPS_DIR": "/a/2"}
    assert stack.stack_artifact_variables(PLAN, None) == {}
    for partial in (None, {}, {"shop": {"maps": {"path": "/a/2"}}}, {"shop": {"maps": {"path": "/a/2"}, "models": {"path": ""}}}):
        with pytest.raises(AnsibleFilterError, match=r"shop: found no path of the artifact\(s\) .*models; .* stack_artifacts"):
            stack.stack_artifact_variables(plan, partial)


@pytest.mark.parametrize("images, well", [([{"tags": ["app:1"]}], 1), ([{"tags": None, "digests": ["app:1"]}], 1), ([{"tags": ["app:2"]}], 0), (None, 0)])
def test_stacks_of_facts_knows_tools(images, well):
    facts = {"releases": {"check": {"all_services": [], "tools": ["app"], "images": {"APP_IMAGE": "app:1"}}}, "images": images,
             "containers": [{"project": "check", "service": "app", "state": "running", "oneoff": True, "image": "app:1"}]}
    found = stack.stacks_of_facts(facts)["check"]
    assert (found["healthy"], found["wanted"], found["tools_only"]) == (well, 1, True)


@pytest.mark.parametrize("state, health, status, well", [
    ("running", "healthy", "Up 2 minutes (healthy)", True), ("running", None, "Up 2 minutes", True),
    ("running", "unhealthy", "Up 2 minutes (unhealthy)", False),
    ("running", "starting", "Up 2 seconds (health: starting)", False), ("exited", None, "Exited (0) 3 minutes ago", False),
    ("exited", None, "Exited (137) 3 minutes ago", False), ("restarting", None, "Restarting (1) 3 seconds ago", False), ("created", None, "Created", False),
])
def test_stacks_of_facts(state, health, status, well):
    container = {"project": "shop", "service": "web", "state": state, "health": health, "status": status, "image": "web:1", "oneoff": False}
    facts = {"releases": {"shop": {"number": 4, "revision": "r1", "environment": "staging"}},
             "containers": [container, dict(container, project="other"), dict(container, service="once", oneoff=True)]}
    found = stack.stacks_of_facts(facts)["shop"]
    assert (found["healthy"], found["wanted"]) == (int(well), 1) and list(found["services"]) == ["web"]
    assert (found["release"], found["revision"], found["environment"], found["changed"]) == (4, "r1", "staging", False)


@pytest.mark.parametrize("status, well", [("Exited (0) 3 minutes ago", 1), ("Exited (1) 3 minutes ago", 0)])
def test_stacks_of_facts_knows_jobs(status, well):
    container = {"project": "shop", "service": "once", "state": "exited", "health": None, "status": status, "image": "web:1", "oneoff": False}
    facts = {"releases": {"shop": {"all_services": ["once"], "jobs": ["once"]}}, "containers": [container]}
    assert stack.stacks_of_facts(facts)["shop"]["healthy"] == well


def test_stacks_of_facts_misses_a_service_without_a_container():
    found = stack.stacks_of_facts({"releases": {"shop": {"all_services": ["db", "web"]}, "torn": None}, "containers": None})
    assert (found["shop"]["healthy"], found["shop"]["wanted"]) == (0, 2) and found["torn"]["wanted"] == 0
    assert stack.stacks_of_facts({}) == {}


STOPPED = {"number": 5, "outcome": "stopped", "by": "anna@laptop", "time_epoch_s": 7, "all_services": ["web"]}


@pytest.mark.parametrize("state, running", [("exited", []), ("running", ["web"]), ("paused", ["web"]), ("restarting", ["web"]), ("created", [])])
def test_stacks_of_facts_knows_what_was_stopped_on_purpose(state, running):
    container = {"project": "shop", "service": "web", "state": state, "health": None, "status": "", "image": "web:1", "oneoff": False}
    facts = {"releases": {"shop": STOPPED}, "containers": [container], "volumes": [{"project": "shop"}, {"project": "blog"}]}
    assert stack.stacks_of_facts(facts)["shop"]["ended"] == {"outcome": "stopped", "by": "anna@laptop", "time_epoch_s": 7, "running": running, "volumes": 1}
    assert "ended" not in stack.stacks_of_facts({"releases": {"shop": {"outcome": "released"}}})["shop"]


@pytest.mark.parametrize("more, there", [
    ({}, False), ({"volumes": [{"project": "shop"}]}, True), ({"volumes": [{"project": "blog"}]}, False), ({"schedules": {"shop": {"check": {}}}}, True)])
def test_a_removed_stack_is_told_while_something_of_it_is_left(more, there):
    assert ("shop" in stack.stacks_of_facts(dict({"releases": {"shop": dict(STOPPED, outcome="removed")}}, **more))) is there


def test_stacks_of_facts_hands_the_schedules_on():
    check = {"calendar": "*:0/15", "enabled": True, "last": None}
    found = stack.stacks_of_facts({"releases": {"shop": {}, "blog": {}}, "schedules": {"shop": {"check": check}, "gone": {"x": check}}})
    assert found["shop"]["schedules"] == {"check": check} and found["blog"]["schedules"] == {} and "gone" not in found


def test_stacks_of_facts_of_some():
    assert list(stack.stacks_of_facts({"releases": {"shop": {}, "blog": {}}}, ["shop", "gone"])) == ["shop"]
    assert stack.stacks_of_facts({"releases": {"shop": {}}}, []) == {}


KNOWN = {"releases": {"shop": {}, "blog": None}, "stacks": {"shop": {}, "half": {}}, "schedules": {"torn": {}}}


@pytest.mark.parametrize("asked, listed, names", [
    ("shop", [], ["shop"]), ("shop, blog,shop", ["shop"], ["shop", "blog"]), ("all", ["shop"], ["blog", "half", "shop", "torn"]),
    ("unlisted", ["shop", "half"], ["blog", "torn"]), ("unlisted", "shop, torn", ["blog", "half"]), ("unlisted", ["all"], []), ("elsewhere", [], []),
    ("unlisted", [], ["blog", "half", "shop", "torn"]),
])
def test_stacks_to_stop(asked, listed, names):
    assert stack.stacks_to_stop(KNOWN, asked, listed, [KNOWN, {"releases": {"elsewhere": {}}}]) == names


@pytest.mark.parametrize("asked, text", [("", "found no stack to stop; .*stack=all.* the host has: blog, half, shop, torn"), (None, "found no stack"),
                                         ("shop,shpo", "found the unknown stack shpo; needed one of: blog, half, shop, torn")])
def test_stacks_to_stop_refuses(asked, text):
    with pytest.raises(AnsibleFilterError, match=text):
        stack.stacks_to_stop(KNOWN, asked, [])


def test_unlisted_wants_a_list():
    with pytest.raises(AnsibleFilterError, match=r"no dockyard_stacks for this host, .*\(blog, half, shop, torn\); .* set dockyard_stacks"):
        stack.stacks_to_stop(KNOWN, "unlisted", None)


def test_the_tunnel_is_stopped_by_its_name_only():
    known = {"releases": {"shop": {}, "tunnel": {}}}
    assert stack.stacks_to_stop(known, "unlisted", ["shop"]) == [] and stack.stacks_to_stop(known, "tunnel", ["shop"]) == ["tunnel"]
