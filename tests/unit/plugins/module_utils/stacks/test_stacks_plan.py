# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import plan

MB = 1000 * 1000
DEFINITION = {
    "name": "my-shop",
    "settings": {
        "PORT": {"default": 8443, "type": "port", "description": "the port"}, "COUNT": {"default": 2, "type": "integer"},
        "FLAG": {"default": False, "type": "boolean"},
        "DOMAIN": {"description": "name of the shop"}, "HINT": {"required": False},
    },
    "env": {"web": {"DEBUG": False, "WORKERS": 2}},
    "ports": [{"service": "web", "setting": "PORT", "container": 443, "protocol": "tcp", "purpose": "the shop"}],
    "needs": {"disk_mb": 3000, "memory_mb": 1000, "architectures": ["amd64", "arm64"]},
    "limits": {"web": {"memory": "512M", "cpus": 1.5, "pids": 100}, "db": {"memory": "1G"}},
    "images": {"web": {"build": {"recipe": "web", "args": {"ML": False, "N": 1}, "secrets": ["ca"]}, "budget_mb": 500}, "db": {"pull": {"image": "db:1"}}},
}
FACTS = {
    "architecture": {"docker_platform": "linux/arm64"},
    "memory": {"total_bytes": 2000 * MB},
    "docker": {"engine": {"data_root": "/var/lib/docker"}},
    "disk": [{"path": "/", "mount": "/", "free_bytes": 100 * MB}, {"path": "/var/lib/docker", "mount": "/var", "free_bytes": 9000 * MB}],
    "ports": [], "containers": [], "releases": {},
}
SETTINGS = {"PORT": "8443"}


def facts(**changes):
    return dict(copy.deepcopy(FACTS), **changes)


# -- settings -------------------------------------------------------------

def test_settings_default_override_and_text():
    values, problems = plan.resolve_settings(DEFINITION, {"DOMAIN": "shop.test", "FLAG": True, "COUNT": -3})
    assert problems == []
    assert values == {"PORT": "8443", "COUNT": "-3", "FLAG": "true", "DOMAIN": "shop.test"}


@pytest.mark.parametrize("given, text", [
    ({}, "my-shop, setting DOMAIN: found no value; needed name of the shop; set dockyard_settings_my_shop.DOMAIN"),
    ({"DOMAIN": "x", "PROT": 1}, "found the unknown setting PROT; needed one of: COUNT, DOMAIN, FLAG, HINT, PORT; correct dockyard_settings_my_shop"),
    ({"DOMAIN": "x", "PORT": "https"}, "my-shop, setting PORT: found 'https'; needed a whole number; correct dockyard_settings_my_shop.PORT"),
    ({"DOMAIN": "x", "PORT": 0}, "my-shop, setting PORT: found 0; needed a port from 1 to 65535; correct dockyard_settings_my_shop.PORT"),
    ({"DOMAIN": "x", "PORT": 65536}, "found 65536; needed a port from 1 to 65535"),
    ({"DOMAIN": "x", "PORT": "443\n"}, "needed a whole number"),
    ({"DOMAIN": "x", "COUNT": 1.5}, "my-shop, setting COUNT: found '1.5'; needed a whole number"),
    ({"DOMAIN": "x", "FLAG": "yes"}, "my-shop, setting FLAG: found 'yes'; needed true or false"),
    ({"DOMAIN": ["x"]}, "my-shop, setting DOMAIN: found list, needed a text, a number, true or false; correct dockyard_settings_my_shop.DOMAIN"),
])
def test_bad_settings(given, text):
    problems = plan.resolve_settings(DEFINITION, given)[1]
    assert len(problems) == 1 and text in problems[0], problems


@pytest.mark.parametrize("port", [1, 65535, "80"])
def test_ports_at_the_edges(port):
    assert plan.resolve_settings(DEFINITION, {"DOMAIN": "x", "PORT": port}) == ({"PORT": str(port), "COUNT": "2", "FLAG": "false", "DOMAIN": "x"}, [])


# -- environment ----------------------------------------------------------

def test_env_is_overridden_key_by_key_and_other_services_may_get_some():
    assert plan.resolve_env(DEFINITION, {"web": {"WORKERS": 4}, "db": {"TZ": "UTC"}}, ["web", "db"]) == (
        {"web": {"DEBUG": "false", "WORKERS": "4"}, "db": {"TZ": "UTC"}}, [])
    assert plan.resolve_env(DEFINITION, {"web": None}, ["web", "db"]) == ({"web": {"DEBUG": "false", "WORKERS": "2"}}, [])


@pytest.mark.parametrize("given, text", [
    ({"wbe": {}}, "found the unknown service wbe; needed one of: db, web; correct dockyard_env_my_shop"),
    ({"web": ["A=1"]}, "my-shop, dockyard_env_my_shop.web: found list; needed a mapping"),
    ({"web": {"A B": "1"}}, "'A B' is not the name of an environment variable"),
    ({"web": {"A": ["hush"]}}, "my-shop, environment of web: A: found list, needed a text"),
    ({"web": {"A": "hush\0"}}, "found a NUL character"),
])
def test_bad_env(given, text):
    problems = plan.resolve_env(DEFINITION, given, ["web", "db"])[1]
    assert len(problems) == 1 and text in problems[0] and "hush" not in problems[0], problems


# -- limits ---------------------------------------------------------------

@pytest.mark.parametrize("controllers, web, db, missing", [
    (None, {"memory": "512M", "cpus": "1.5", "pids": 100}, True, []),
    ({"memory": True, "cpu": True, "pids": True}, {"memory": "512M", "cpus": "1.5", "pids": 100}, True, []),
    ({"memory": False, "cpu": True, "pids": True}, {"cpus": "1.5", "pids": 100}, False, ["memory"]),
    ({"cpu": True}, {"cpus": "1.5"}, False, ["memory", "pids"]),
    ({}, None, False, ["cpu", "memory", "pids"]),
])
def test_limits_are_those_that_the_host_can_enforce(controllers, web, db, missing):
    wanted = {}
    if web:
        wanted["web"] = {"resources": {"limits": web}}
    if db:
        wanted["db"] = {"resources": {"limits": {"memory": "1G"}}}
    assert plan.limits_overlay(DEFINITION, controllers) == (wanted, missing)


# -- images ---------------------------------------------------------------

def test_image_entries():
    source = {"git": "g", "ref": "r"}
    db, web = plan.image_entries(DEFINITION, "/stacks/my-shop", source, {}, "linux/arm64")
    assert db == {"stack": "my-shop", "name": "db", "platform": "linux/arm64", "budget_bytes": None, "how": "pull", "reference": "db:1",
                  "pull": {"image": "db:1"}}
    assert web == {"stack": "my-shop", "name": "web", "platform": "linux/arm64", "budget_bytes": 500 * MB, "how": "build", "reference": "dockyard/my-shop-web",
                   "build": {"recipe": "/stacks/my-shop/web", "dockerfile": "Dockerfile", "source": source, "args": {"ML": "false", "N": "1"}, "target": None,
                             "secrets": ["ca"]}}


def test_image_entries_overridden():
    overrides = {"images": {"db": "mirror/db:2"}, "build_args": {"web": {"N": 9, "M": "x"}}}
    db, web = plan.image_entries(DEFINITION, "/s", None, overrides, None)
    assert (db["reference"], db["pull"]) == ("mirror/db:2", {"image": "mirror/db:2"})
    assert web["build"]["args"] == {"ML": "false", "N": "9", "M": "x"}
    replaced = plan.image_entries(DEFINITION, "/s", None, {"images": {"web": "ready:1"}}, None)[1]
    assert replaced["how"] == "pull" and replaced["pull"] == {"image": "ready:1"} and "build" not in replaced
    assert DEFINITION["images"]["web"]["build"]["args"] == {"ML": False, "N": 1}


VARIANTS = dict(DEFINITION, images={"web": {
    "build": {"recipe": "web", "args": {"PORT": {"setting": "PORT"}, "ML": {"setting": "SIZE", "values": {"large": True, "small": 0}},
                                        "NONE": {"setting": "HINT"}}},
    "budget_mb": {"setting": "SIZE", "values": {"large": 2000, "small": 5}}}})


@pytest.mark.parametrize("size, argument, budget", [("large", "true", 2000 * MB), ("small", "0", 5 * MB), ("unheard-of", "", None)])
def test_build_arguments_and_budgets_that_come_from_settings(size, argument, budget):
    entry = plan.image_entries(VARIANTS, "/s", None, {}, None, {"PORT": "8443", "SIZE": size})[0]
    assert entry["build"]["args"] == {"PORT": "8443", "ML": argument, "NONE": ""} and entry["budget_bytes"] == budget


# -- platforms --------------------------------------------------------------

def test_the_platform_of_a_stack_is_the_hosts_or_what_the_operator_says():
    assert plan.platform_of(DEFINITION, "", {"docker_platform": "linux/arm64"}) == ("linux/arm64", [])
    assert plan.platform_of(DEFINITION, "linux/amd64", {"docker_platform": "linux/arm64"}) == ("linux/amd64", [])
    assert plan.platform_of(DEFINITION, "", {}) == (None, [])


@pytest.mark.parametrize("given, text", [
    ("arm64", "my-shop, dockyard_platform_my_shop: found 'arm64'; needed linux/amd64, linux/arm64 or linux/arm/v7; correct dockyard_platform_my_shop"),
    ("linux/arm64\n", "needed linux/amd64, linux/arm64 or linux/arm/v7"),
    ("linux/arm/v7", "my-shop: found dockyard_platform_my_shop: linux/arm/v7; needed one of: amd64, arm64; correct dockyard_platform_my_shop"),
])
def test_bad_platforms(given, text):
    problems = plan.platform_of(DEFINITION, given, {"docker_platform": "linux/amd64"})[1]
    assert len(problems) == 1 and text in problems[0], problems


def test_an_image_that_is_not_built_for_the_platform():
    images = {"web": dict(DEFINITION["images"]["web"], platforms=["linux/amd64"]), "db": DEFINITION["images"]["db"]}
    definition = dict(DEFINITION, images=images)
    assert plan.platform_of(definition, "linux/amd64", {"docker_platform": "linux/arm64"})[1] == []
    problems = plan.platform_of(definition, "", {"docker_platform": "linux/arm64"})[1]
    assert len(problems) == 1 and problems[0].startswith("my-shop, image web: found a host of platform linux/arm64; needed one of: linux/amd64; "), problems


@pytest.mark.parametrize("platforms, native, emulated", [
    (["linux/arm64", None, "linux/amd64"], ["linux/amd64"], ["linux/arm64"]),
    (["linux/arm/v7", "linux/arm64", "linux/arm64"], ["linux/amd64"], ["linux/arm/v7", "linux/arm64"]),
    (["linux/arm/v7"], ["linux/arm64", "linux/arm/v7"], []), (["linux/arm64"], None, []), ([], ["linux/amd64"], []),
])
def test_emulated(platforms, native, emulated):
    assert plan.emulated_platforms(platforms, {"native": native}) == emulated


# -- artifacts ----------------------------------------------------------------

SETS = dict(DEFINITION, artifacts={"models": {"manifest": "data/models.json", "variable": "MODELS_DIR", "degrade": "no search", "when": {"SIZE": ["large",
                                                                                                                                                  "huge"]}},
                                   "maps": {"manifest": "maps.json", "variable": "MAPS_DIR"}})


def test_artifacts_of_the_stack_and_of_the_operator():
    maps = {"stack": "my-shop", "name": "maps", "manifest": "/s/maps.json", "folder": "/s", "variable": "MAPS_DIR", "public_keys": [], "degrade": ""}
    models = {"stack": "my-shop", "name": "models", "manifest": "/s/data/models.json", "folder": "/s/data", "variable": "MODELS_DIR", "public_keys": [],
              "degrade": "no search"}
    assert plan.artifact_entries(SETS, "/s", {}, {"SIZE": "large"}) == ([maps, models], [])
    assert plan.artifact_entries(SETS, "/s", {}, {"SIZE": "small"}) == ([maps], [])
    given = {"models": {"manifest": "/m/own.json", "public_keys": ["RWQ"]}, "maps": {"folder": "/files"}}
    assert plan.artifact_entries(SETS, "/s", given, {"SIZE": "huge"}) == (
        [dict(maps, folder="/files"), dict(models, manifest="/m/own.json", folder="/m", public_keys=["RWQ"])], [])


@pytest.mark.parametrize("given, text", [
    ({"modles": {}}, "my-shop, dockyard_artifacts_my_shop: found the unknown artifact modles; needed one of: maps, models; correct dockyard_artifacts_my_shop"),
    ({"maps": {"manifets": "x"}}, "my-shop, dockyard_artifacts_my_shop.maps: found the unknown key manifets; needed one of: manifest, folder, public_keys"),
    ({"maps": "x.json"}, "my-shop, dockyard_artifacts_my_shop.maps: found str; needed a mapping"),
])
def test_bad_artifacts(given, text):
    problems = plan.artifact_entries(SETS, "/s", given, {})[1]
    assert len(problems) == 1 and text in problems[0], problems


# -- schedules ------------------------------------------------------------------

TIMED = dict(DEFINITION, actions={"look": {"service": "web", "command": ["look", "{at}"], "description": "Looks", "timeout_seconds": 7,
                                           "arguments": {"at": {"required": True, "pattern": "https?://.+", "description": "what to look at"}}}},
             schedules={"often": {"action": "look", "calendar": {"setting": "WHEN"}, "arguments": {"at": {"setting": "URL"}}, "when_setting": "URL", "keep": 5},
                        "daily": {"action": "look", "calendar": "daily", "arguments": {"at": "http://fixed"}, "description": "Each day"}})


def test_schedules():
    daily, often = plan.schedule_entries(TIMED, {"URL": "http://h", "WHEN": "*:0/5"})[0]
    assert daily == {"name": "daily", "action": "look", "arguments": {"at": "http://fixed"}, "calendar": "daily", "keep": 100, "randomized_delay_seconds": 30,
                     "timeout_seconds": 7, "description": "Each day"}
    assert often == {"name": "often", "action": "look", "arguments": {"at": "http://h"}, "calendar": "*:0/5", "keep": 5, "randomized_delay_seconds": 30,
                     "timeout_seconds": 7, "description": "Looks"}
    assert [entry["name"] for entry in plan.schedule_entries(TIMED, {"URL": "", "WHEN": "*:0/5"})[0]] == ["daily"]


@pytest.mark.parametrize("settings, text", [
    ({"URL": "ftp://h", "WHEN": "daily"}, "my-shop, schedule often, argument at: found 'ftp://h'; needed a text that matches https?://.+; correct at; "
                                          "its settings: dockyard_settings_my_shop.URL"),
    ({"URL": "http://h", "WHEN": "daily\nExecStart=/bin/sh"},
     "my-shop, schedule often: found the calendar 'daily\\nExecStart=/bin/sh'; needed one as in OnCalendar="),
    ({"URL": "http://h", "WHEN": ""}, "my-shop, schedule often: found the calendar ''; needed one as in OnCalendar= of systemd.time(7), such as *:0/15; "
                                      "correct dockyard_settings_my_shop.WHEN"),
])
def test_bad_schedules(settings, text):
    problems = plan.schedule_entries(TIMED, settings)[1]
    assert len(problems) == 1 and text in problems[0], problems


# -- the host -------------------------------------------------------------

def test_a_good_host():
    assert plan.check_host(DEFINITION, facts(), SETTINGS) == []


@pytest.mark.parametrize("unknown", [{}, {"architecture": None, "memory": None, "docker": None, "disk": None, "ports": None, "containers": None,
                                          "releases": None},
                                     {"docker": {"engine": None}, "disk": [{"path": "/", "mount": None, "free_bytes": None}]}])
def test_what_the_facts_do_not_know_is_not_held_against_the_host(unknown):
    assert plan.check_host(DEFINITION, unknown, SETTINGS) == []


@pytest.mark.parametrize("platform, refused", [("linux/amd64", False), ("linux/arm64", False), ("linux/arm/v7", True), ("linux/386", True)])
def test_wrong_architecture(platform, refused):
    problems = plan.platform_of(DEFINITION, "", {"docker_platform": platform})[1]
    text = "my-shop: found a host of platform %s; needed one of: amd64, arm64; take my-shop out of dockyard_stacks of this host, " \
        "or set dockyard_platform_my_shop to a platform that is emulated here" % platform
    assert problems == ([text] if refused else [])


@pytest.mark.parametrize("free, deployed, refused", [(2999, False, True), (3000, False, False), (10, True, False)])
def test_too_little_disk(free, deployed, refused):
    given = facts(disk=[{"path": "/var/lib/docker", "mount": "/", "free_bytes": free * MB}], releases={"my-shop": {"number": 1}} if deployed else {"other": {}})
    problems = plan.check_host(DEFINITION, given, SETTINGS)
    text = "my-shop, disk of /var/lib/docker: found %d MB free; needed 3000 MB; free space, or set docker_engine_data_root to a larger disk" % free
    assert problems == ([text] if refused else [])


def test_the_disk_is_that_of_the_data_root():
    given = facts(docker={"engine": {"data_root": "/mnt/ssd/docker"}},
                  disk=[{"path": "/", "mount": "/", "free_bytes": 9000 * MB}, {"path": "/mnt/ssd", "mount": "/mnt/ssd", "free_bytes": MB}])
    assert "disk of /mnt/ssd/docker: found 1 MB free" in plan.check_host(DEFINITION, given, SETTINGS)[0]


@pytest.mark.parametrize("total, refused", [(899, True), (900, False), (1000, False)])
def test_too_little_memory(total, refused):
    problems = plan.check_host(DEFINITION, facts(memory={"total_bytes": total * MB}), SETTINGS)
    assert problems == (["my-shop: found %d MB of memory; needed 1000 MB; take my-shop out of dockyard_stacks of this host" % total] if refused else [])


HELD = "my-shop, port 8443: found held by %s; needed a free port for the shop; stop that program, or set dockyard_settings_my_shop.PORT"


@pytest.mark.parametrize("listener, holder", [
    ({"protocol": "tcp", "port": 8443, "process": "apache2", "pid": 812}, "apache2 (pid 812)"),
    ({"protocol": "tcp6", "port": 8443, "process": "apache2", "pid": None}, "apache2"),
    ({"port": 8443, "process": None, "pid": None}, "another program"),
    ({"protocol": "tcp", "port": 8443, "process": "docker-proxy", "pid": 7, "container": "other-web-1"}, "other-web-1 (pid 7)"),
    ({"protocol": "udp", "port": 8443, "process": "x"}, None),
    ({"protocol": "tcp", "port": 443, "process": "x"}, None),
    ({"protocol": "tcp", "port": 18443, "process": "x"}, None),
])
def test_a_held_port(listener, holder):
    assert plan.check_host(DEFINITION, facts(ports=[listener]), SETTINGS) == ([HELD % holder] if holder else [])


@pytest.mark.parametrize("container, ours", [
    ({"name": "my-shop-web-1", "id": "c1", "project": "my-shop", "ports": []}, True),
    ({"name": "x", "id": "c1", "project": "my-shop", "ports": [{"host_port": 8443}]}, True),
    ({"name": "x", "id": "c1", "project": "my-shop", "ports": [{"host_port": 9}]}, False),
    ({"name": "my-shop-web-1", "id": "c1", "project": "other", "ports": [{"host_port": 8443}]}, False),
    ({"name": "x", "id": "c1", "project": None, "ports": [{"host_port": 8443}]}, False),
])
def test_a_port_that_the_stack_itself_holds_is_free_for_it(container, ours):
    listener = {"protocol": "tcp", "port": 8443, "process": "docker-proxy", "container": "my-shop-web-1"}
    assert bool(plan.check_host(DEFINITION, facts(ports=[listener], containers=[container]), SETTINGS)) is not ours


def test_all_problems_of_a_host_at_once_and_one_a_port():
    given = facts(memory={"total_bytes": MB}, disk=[{"path": "/var/lib/docker", "mount": "/", "free_bytes": 0}],
                  ports=[{"port": 8443, "process": "a"}, {"port": 8443, "process": "b", "protocol": "tcp6"}])
    assert len(plan.check_host(DEFINITION, given, SETTINGS)) == 3


@pytest.mark.parametrize("path, free", [("/var/lib/docker", 1), ("/data/docker", 2), ("/data", 2), ("/database", 3), ("/home", 3)])
def test_free_bytes(path, free):
    disks = [{"path": "/var/lib/docker", "mount": "/", "free_bytes": 1}, {"path": "x", "mount": "/data", "free_bytes": 2},
             {"path": "y", "mount": "/", "free_bytes": 3}]
    if path in ("/database", "/home"):
        disks = disks[1:]
    assert plan.free_bytes(disks, path) == free


def test_free_bytes_unknown():
    assert plan.free_bytes([], "/x") is None


# -- two stacks -----------------------------------------------------------

def claim(name, port, protocol=None):
    entry = {"service": "a", "setting": "PORT", "container": 1}
    if protocol:
        entry["protocol"] = protocol
    return (name, {"ports": [entry]}, {"PORT": port})


def test_two_stacks_claim_one_port():
    assert plan.port_conflicts([claim("my-shop", "80"), claim("blog", "81"), claim("wiki", "80", "tcp")]) == [
        "port 80/tcp: found claimed by both my-shop (dockyard_settings_my_shop.PORT) and wiki (dockyard_settings_wiki.PORT); "
        "needed one stack a port; change one of the two settings"]


def test_no_conflict_between_protocols_or_without_ports():
    assert plan.port_conflicts([claim("a", "80", "udp"), claim("b", "80"), ("c", {}, {})]) == []


# -- labels ---------------------------------------------------------------

def test_a_changed_file_changes_the_label_of_who_mounts_it_and_of_no_other():
    documents = [{"services": {"web": {"volumes": ["./web.conf:/w"]}, "db": {"volumes": ["./sql:/s"]}, "none": {}}}]
    contents = {"web.conf": "1", "sql/a.sql": "a", "sql/b.sql": "b", "compose.yaml": "x"}
    before = plan.labels_of_files(documents, contents)
    assert set(before) == {"web", "db"}
    after = plan.labels_of_files(documents, dict(contents, **{"sql/b.sql": "B"}))
    assert after["web"] == before["web"] and after["db"] != before["db"]
    assert plan.labels_of_files(documents, dict(contents, **{"compose.yaml": "y"})) == before
    assert plan.labels_of_files(documents, dict(contents, **{"sql/c.sql": "c"}))["db"] != before["db"]


CHECKED = {
    "web": {"healthcheck": {"test": ["CMD", "true"], "interval": "10s", "start_period": "20s"}},
    "job": {"image": "x"},
    "bare": {"healthcheck": {"test": ["CMD", "true"]}},
    "own": {"healthcheck": {"test": ["CMD", "true"], "start_period": "20s", "start_interval": "5s"}},
    "off": {"healthcheck": {"disable": True, "start_period": "20s"}},
}


@pytest.mark.parametrize("engine, compose, wanted", [
    ("26.1.5+dfsg1", "2.26.1-4", {"web": {"start_interval": "2s"}}),
    ("25.0.0", "2.21.0", {"web": {"start_interval": "2s"}}),
    ("24.0.9", "2.26.1", {}),
    ("20.10.24+dfsg1", "2.26.1", {}),
    ("26.1.5", "2.20.3", {}),
    (None, "2.26.1", {}),
    ("26.1.5", None, {}),
])
def test_services_are_probed_often_while_they_start_where_docker_knows_how(engine, compose, wanted):
    assert plan.health_overlay(CHECKED, engine, compose) == wanted
