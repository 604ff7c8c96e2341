# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.release import decide

READY, WAIT, LOST = decide.READY, decide.WAIT, decide.LOST
STATES = ["created", "running", "paused", "restarting", "removing", "exited", "dead"]


def container(service="web", state="running", health=None, exit_code=None, restart="unless-stopped", config_hash="h"):
    return {"service": service, "state": state, "health": health, "exit_code": exit_code, "restart": restart, "config_hash": config_hash, "image": "i"}


# -- standing: the whole table ---------------------------------------------

def expected_standing(state, health, exit_code, restart, is_job):
    if is_job:
        return {True: READY if exit_code == 0 else LOST, False: WAIT}[state == "exited"]
    if state == "running":
        return {None: READY, "none": READY, "healthy": READY, "starting": WAIT, "unhealthy": WAIT}[health]
    if state in ("exited", "dead"):
        return {None: LOST, "": LOST, "no": LOST}.get(restart, WAIT)
    return WAIT


TABLE = list(itertools.product(STATES, [None, "none", "starting", "healthy", "unhealthy"], [None, 0, 1, 137],
                               [None, "", "no", "always", "unless-stopped", "on-failure"], [False, True]))


def test_standing_is_the_table():
    wrong = [row for row in TABLE if decide.standing(container(state=row[0], health=row[1], exit_code=row[2], restart=row[3]),
                                                     row[4]) != expected_standing(*row)]
    assert wrong == []


@pytest.mark.parametrize("state, health, exit_code, restart, is_job, answer", [
    ("running", "unhealthy", None, "always", False, WAIT),      # an early unhealthy is waited out
    ("restarting", None, 1, "always", False, WAIT),             # so is a crash
    ("exited", None, 1, "no", False, LOST),
    ("exited", None, 0, "no", False, LOST),                     # a service that ended well does not serve
    ("exited", None, 0, "no", True, READY),
    ("exited", None, 1, "no", True, LOST),
    ("exited", None, None, "no", True, LOST),
    ("running", None, None, "no", True, WAIT),
    ("running", "healthy", None, "no", True, WAIT),
    ("created", None, None, "no", False, WAIT),
    ("paused", "healthy", None, "no", False, WAIT),
])
def test_standing(state, health, exit_code, restart, is_job, answer):
    assert decide.standing(container(state=state, health=health, exit_code=exit_code, restart=restart), is_job) == answer


# -- what has to be brought up ---------------------------------------------

@pytest.mark.parametrize("found, reason", [
    ([], "created"),
    ([container(service="other")], "created"),
    ([container()], None),
    ([container(health="healthy")], None),
    ([container(health="starting")], None),
    ([container(state="restarting")], None),
    ([container(health="unhealthy")], "restarted"),
    ([container(config_hash="old")], "changed"),
    ([container(config_hash=None)], "changed"),
    ([container(config_hash="old", state="exited")], "changed"),
    ([container(config_hash="old", health="unhealthy")], "changed"),
    ([container(state="exited")], "started"),
    ([container(state="created")], "started"),
    ([container(state="paused")], "started"),
    ([container(state="dead")], "started"),
    ([container(), container(config_hash="old")], "changed"),
    ([container(), container(state="exited")], "started"),
    ([container(), container(health="unhealthy")], "restarted"),
])
def test_a_service_to_bring_up(found, reason):
    assert decide.to_bring_up(["web"], set(), {"web": "h", "other": "h"}, found) == ({"web": reason} if reason else {})


@pytest.mark.parametrize("found, reason", [
    ([], "created"),
    ([container(state="exited", exit_code=0)], None),
    ([container(state="exited", exit_code=1)], "started"),
    ([container(state="exited", exit_code=0, config_hash="old")], "changed"),
    ([container(state="created")], "started"),
    ([container(state="running")], "started"),
])
def test_a_job_to_bring_up(found, reason):
    assert decide.to_bring_up(["web"], {"web"}, {"web": "h"}, found) == ({"web": reason} if reason else {})


@pytest.mark.parametrize("now, before, reason", [
    (["a", "b"], ["a", "b"], None), (["a", "b", "own"], ["a"], None), (["a"], ["a", "b"], "reconnected"), ([], ["a"], "reconnected"), (["a"], [], None),
])
def test_a_service_that_lost_a_network(now, before, reason):
    found = [dict(container(), networks=now)]
    assert decide.to_bring_up(["web"], set(), {"web": "h"}, found, {"web": before}) == ({"web": reason} if reason else {})


def test_each_service_has_its_own_reason():
    found = [container("a"), container("b", config_hash="old"), container("gone")]
    assert decide.to_bring_up(["a", "b", "c"], set(), {"a": "h", "b": "h", "c": "h"}, found) == {"b": "changed", "c": "created"}


# -- order -------------------------------------------------------------------

@pytest.mark.parametrize("dependencies, order", [
    ({}, []),
    ({"a": []}, [["a"]]),
    ({"b": [], "a": []}, [["a", "b"]]),
    ({"nginx": ["app"], "app": ["db"], "db": []}, [["db"], ["app"], ["nginx"]]),
    ({"top": ["left", "right"], "left": ["base"], "right": ["base"], "base": {}}, [["base"], ["left", "right"], ["top"]]),
    ({"a": ["not-here"], "b": ["a"]}, [["a"], ["b"]]),
    ({"a": {"b": {"condition": "service_healthy"}}, "b": {}}, [["b"], ["a"]]),
])
def test_levels(dependencies, order):
    assert decide.levels(dependencies) == order


@pytest.mark.parametrize("dependencies, named",
                         [({"a": ["a"]}, "a"), ({"a": ["b"], "b": ["a"], "c": []}, "a, b"), ({"a": ["b"], "b": ["c"], "c": ["b"]}, "a, b, c")])
def test_levels_in_a_circle(dependencies, named):
    with pytest.raises(ValueError, match="depends_on goes in a circle: %s$" % named):
        decide.levels(dependencies)


def test_dependencies_of():
    model = {"services": {"a": {"depends_on": {"b": {"condition": "service_healthy"}}}, "b": {"depends_on": None}, "c": {}}}
    assert decide.dependencies_of(model) == {"a": {"b": {"condition": "service_healthy"}}, "b": {}, "c": {}}
    assert decide.dependencies_of({}) == {}


# -- ports -------------------------------------------------------------------

ALLOWED = [{"service": "web", "container": 8443, "protocol": "tcp", "published": "443"},
           {"service": "web", "container": 53, "protocol": "udp", "published": "53"}]


def publishing(*ports, **more):
    return {"services": {"web": dict({"ports": list(ports)}, **more)}}


@pytest.mark.parametrize("model, loopback, text", [
    ({"services": {"web": {}}}, False, None),
    ({"services": {"web": {"ports": None}}}, False, None),
    (publishing({"target": 8443, "published": "443", "protocol": "tcp"}), False, None),
    (publishing({"target": 8443, "published": 443}), False, None),
    (publishing({"target": 53, "published": "53", "protocol": "udp"}), False, None),
    (publishing({"target": 53, "published": "53", "protocol": "tcp"}), False,
     "services/web/ports: publishes 53:53/tcp, which `ports` of stack.yml does not declare"),
    (publishing({"target": 8443, "published": "444", "protocol": "tcp"}), False, "publishes 444:8443/tcp"),
    (publishing({"target": 8080, "published": "443", "protocol": "tcp"}), False, "publishes 443:8080/tcp"),
    (publishing({"target": 8443, "protocol": "tcp"}), False, "publishes 8443 on a random port"),
    (publishing({"target": 8443, "published": "", "protocol": "tcp"}), True, "publishes 8443 on a random port"),
    (publishing({"target": 5432, "published": "5432", "host_ip": "127.0.0.1"}), False, "publishes 5432:5432/tcp"),
    (publishing({"target": 5432, "published": "5432", "host_ip": "127.0.0.1"}), True, None),
    (publishing({"target": 5432, "published": "5432", "host_ip": "::1"}), True, None),
    (publishing({"target": 5432, "published": "5432", "host_ip": "0.0.0.0"}), True, "publishes 5432:5432/tcp"),
    (publishing({"target": 5432, "published": "5432"}), True, "publishes 5432:5432/tcp"),
    ({"services": {"db": {"ports": [{"target": 8443, "published": "443"}]}}}, False, "services/db/ports: publishes 443:8443/tcp"),
    ({"services": {"db": {"network_mode": "host"}}}, True, "services/db: network_mode host opens every port"),
    ({"services": {"db": {"network_mode": "service:web"}}}, False, None),
])
def test_undeclared_ports(model, loopback, text):
    problems = decide.undeclared_ports(model, ALLOWED, loopback)
    assert (len(problems) == 1 and text in problems[0]) if text else problems == [], problems


def test_the_hosts_network_is_for_who_was_allowed_it_and_nobody_else():
    model = {"services": {name: {"network_mode": "host"} for name in ("radio", "db")}}
    problems = decide.undeclared_ports(model, [], host_network=["radio"])
    assert len(problems) == 1 and problems[0].startswith("services/db: network_mode host")


def test_every_undeclared_port_is_told():
    assert len(decide.undeclared_ports(publishing({"target": 1, "published": "1"}, {"target": 2, "published": "2"}, network_mode="host"), [])) == 3
