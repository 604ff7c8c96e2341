# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every stack in each of the four environments: its security settings against what is recorded, and against the rules. The real
`docker compose config` is asked for the same by tests/journeys/test_13_environments.py."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys

import pytest
import rendering
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.release import decide
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import plan

STACKS = rendering.stacks()
CASES = [(stack, environment) for stack in STACKS for environment in rendering.ENVIRONMENTS]


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_has_all_four_environments(stack):
    found = sorted(path.name for path in (rendering.STACKS / stack).glob("compose.*.yaml"))
    assert {f"compose.{environment}.yaml" for environment in rendering.ENVIRONMENTS} <= set(found)


@pytest.mark.parametrize("stack, environment", CASES)
def test_the_security_settings_are_those_that_are_recorded(stack, environment):
    path, found = rendering.recorded_path(stack, environment), rendering.text_of(rendering.rendered(stack, environment))
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    assert found == expected, "".join(difflib.unified_diff(expected.splitlines(True), found.splitlines(True), str(path), "found", n=2)) \
        + "if this is meant: .venv/bin/python tests/security --record %s" % stack


def test_nothing_is_recorded_for_a_stack_that_is_gone():
    assert {path.name for path in rendering.RECORDED.iterdir()} == {rendering.recorded_path(*case).name for case in CASES}


@pytest.mark.parametrize("stack, environment", CASES)
def test_no_rule_is_broken(stack, environment):
    assert rendering.violations(rendering.rendered(stack, environment), environment, rendering.images_of(stack)) == []


@pytest.mark.parametrize("stack, environment", CASES)
def test_only_declared_ports_are_published_and_in_development_those_of_the_loopback_address(stack, environment):
    folder = rendering.STACKS / stack
    settings = rendering.variables_of(folder)
    model = rendering.render(rendering.documents_of(folder, environment), settings)
    declared = [dict(port, published=settings[port["setting"]]) for port in rendering.read(folder / "stack.yml").get("ports", [])]
    assert decide.undeclared_ports(model, declared, environment == "development") == []


@pytest.mark.parametrize("stack", STACKS)
def test_development_mounts_the_source_and_no_other_environment_does(stack):
    for environment in rendering.ENVIRONMENTS:
        mounts = [mount for service in rendering.rendered(stack, environment)["services"].values() for mount in service["mounts"]]
        sources = [mount for mount in mounts if mount.startswith("bind ./source")]
        assert bool(sources) == (environment == "development"), (environment, mounts)
        assert all(mount.endswith("read-only") for mount in sources)


@pytest.mark.parametrize("stack", STACKS)
def test_a_port_for_debugging_is_on_the_loopback_address(stack):
    """Of stacks in which something listens; a tool that runs once has none."""
    production, development = (rendering.rendered(stack, environment)["services"] for environment in ("production", "development"))
    added = [port for name in development for port in set(development[name]["published"]) - set(production[name]["published"])]
    assert all(port.startswith("127.0.0.1:") for port in added)
    assert bool(added) == any(service["published"] for service in production.values())


# -- that the checks can fail -------------------------------------------------------

BROKEN = [
    ("production", {"db": {"user": "root"}}, "db runs as root"),
    ("production", {"db": {"user": "0:0"}}, "db runs as root"),
    ("production", {"db": {"user": ""}}, "db runs as root or as a user that only the image knows"),
    ("production", {"app": {"read_only": False}}, "app has a writable root"),
    ("staging", {"nginx": {"read_only": False}}, "nginx has a writable root"),
    ("production", {"db": {"ports": ["5432:5432"]}}, "db publishes a data base's port"),
    ("production", {"db": {"ports": ["127.0.0.1:15432:5432"]}}, "db publishes a data base's port"),
    ("offline", {"db": {"ports": [{"target": 9999, "published": "9999"}]}}, "db publishes a data base's port"),
    ("production", {"app": {"privileged": True}}, "app is privileged"),
    ("production", {"app": {"cap_add": ["NET_ADMIN"]}}, "app keeps capabilities"),
    ("production", {"app": {"security_opt": ["seccomp:unconfined"]}}, "app has a security profile switched off"),
    ("production", {"nginx": {"network_mode": "host"}}, "nginx shares a namespace of the host"),
    ("production", {"nginx": {"pid": "host"}}, "nginx shares a namespace of the host"),
    ("production", {"nginx": {"devices": ["/dev/mem:/dev/mem"]}}, "nginx has devices of the host"),
    ("development", {"app": {"volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"]}}, "app mounts the Docker socket"),
    ("production", {"app": {"volumes": ["/srv:/srv"]}}, "app mounts a folder of the host that can be written"),
    ("production", {"app": {"logging": {"driver": "json-file", "options": {"max-size": None}}}}, "app logs without rotation"),
    ("production", {"sidecar": {"image": "x", "user": "5:5", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}},
     "sidecar logs without rotation"),
    ("production", {"sidecar": {"image": "x"}}, "sidecar has no limit of cpus, memory, pids"),
    ("production", {"sidecar": {"image": "x"}}, "sidecar may gain privileges"),
    ("offline", {"app": {"pull_policy": "missing"}}, "app may be pulled while it starts"),
]


@pytest.fixture(name="copy")
def fixture_copy(tmp_path):
    """The stack inventory in a folder of its own."""
    return shutil.copytree(rendering.STACKS / "inventory", tmp_path / "inventory", ignore=shutil.ignore_patterns("app"))


def lay_over(folder, environment, services):
    """Change an overlay."""
    path = folder / f"compose.{environment}.yaml"
    document = rendering.read(path)
    for name, change in services.items():
        document["services"].setdefault(name, {}).update(change)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def record(environment):
    """What is recorded of inventory."""
    return rendering.recorded_path("inventory", environment).read_text(encoding="utf-8")


def test_a_copy_without_a_change_is_what_is_recorded(copy):
    assert rendering.text_of(rendering.rendered("inventory", "production", copy)) == record("production")


@pytest.mark.parametrize("environment, change, told", BROKEN)
def test_a_broken_overlay_is_found(copy, environment, change, told):
    lay_over(copy, environment, change)
    found = rendering.rendered("inventory", environment, copy)
    assert rendering.text_of(found) != record(environment)
    problems = rendering.violations(found, environment, rendering.images_of("inventory", copy))
    assert any(told in text for text in problems), problems


def test_a_network_that_is_opened_is_found(copy):
    compose = rendering.read(copy / "compose.yaml")
    compose["networks"]["backend"] = {}
    (copy / "compose.yaml").write_text(yaml.safe_dump(compose), encoding="utf-8")
    found = rendering.rendered("inventory", "production", copy)
    assert found["networks"]["backend"] == {"internal": False} and rendering.text_of(found) != record("production")


def test_a_limit_that_goes_is_found(copy):
    stack = rendering.read(copy / "stack.yml")
    del stack["limits"]["db"]["memory"]
    (copy / "stack.yml").write_text(yaml.safe_dump(stack), encoding="utf-8")
    assert rendering.violations(rendering.rendered("inventory", "production", copy), "production") == ["db has no limit of memory"]


def test_the_script_tells_by_its_exit_code():
    script = [sys.executable, str(rendering.ROOT / "tests" / "security"), "inventory"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "0 different, 0 against the rules" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(script[:2] + ["no-such-stack"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0


# -- the merge ------------------------------------------------------------------------

@pytest.mark.parametrize("text, expected", [
    ("${A:-b}", "b"), ("${A-b}", "b"), ("${B:-b}", "given"), ("${E:-b}", "b"), ("${E-b}", ""), ("$$A ${B}", "$A given"), ("$B-$NO", "given-"),
    ("${A:-${B}/x}", "given/x"), ("${B:+yes}${A:+no}", "yes"),
])
def test_interpolation(text, expected):
    assert rendering.interpolate({"k": [text]}, {"B": "given", "E": ""}) == {"k": [expected]}


def test_a_variable_that_must_be_there():
    with pytest.raises(ValueError, match="required variable A is missing a value: set it"):
        rendering.interpolate("${A:?set it}", {})


@pytest.mark.parametrize("port, expected", [
    ("80", "*:? -> 80/tcp"), ("8080:80", "*:8080 -> 80/tcp"), ("127.0.0.1:8080:80/udp", "127.0.0.1:8080 -> 80/udp"), ("[::1]:8080:80", "::1:8080 -> 80/tcp"),
    ({"target": 80, "published": 81, "host_ip": "127.0.0.1"}, "127.0.0.1:81 -> 80/tcp"),
])
def test_ports(port, expected):
    model = rendering.render([{"services": {"a": {"ports": [port]}}}], {})
    assert rendering.security_of(model)["services"]["a"]["published"] == [expected]


def test_a_mount_of_an_overlay_replaces_the_one_at_the_same_place():
    model = rendering.render([{"services": {"a": {"volumes": ["one:/data:ro", "/srv/x:/x"]}}}, {"services": {"a": {"volumes": ["two:/data"]}}}], {})
    assert rendering.security_of(model)["services"]["a"]["mounts"] == ["bind /srv/x at /x, writable", "volume two at /data, writable"]


def test_composes_own_tags(tmp_path):
    for name, text in (("one", "services: {a: {networks: [x], ports: ['1:1'], cap_drop: [ALL], tmpfs: /tmp}}"),
                       ("two", "services: {a: {networks: !reset null, network_mode: none, ports: !override ['127.0.0.1:2:2'], tmpfs: !reset null}}")):
        (tmp_path / name).write_text(text)
    model = rendering.render([rendering.read(tmp_path / "one"), rendering.read(tmp_path / "two")], {})
    found = rendering.security_of(model)["services"]["a"]
    assert found["published"] == ["127.0.0.1:2 -> 2/tcp"] and found["cap_drop"] == ["ALL"]
    assert found["networks"] == [] and found["tmpfs"] == [] and found["network_mode"] == "none"


def test_a_service_without_networks_is_in_the_default_one():
    model = rendering.render([{"services": {"a": {}, "b": {"network_mode": "none"}}}], {})
    security = rendering.security_of(model)
    assert security["services"]["a"]["networks"] == ["default"] and security["services"]["b"]["networks"] == [] and "default" in security["networks"]


def test_the_limits_are_those_of_the_plan():
    stack = rendering.read(rendering.STACKS / "inventory" / "stack.yml")
    deploy = plan.limits_overlay(stack, None)[0]["db"]["resources"]["limits"]
    limits = rendering.rendered("inventory", "production")["services"]["db"]["limits"]
    assert limits == {"memory": 512 * 2 ** 20, "cpus": float(deploy["cpus"]), "pids": deploy["pids"]}
