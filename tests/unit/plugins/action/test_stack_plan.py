# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
import os
from unittest import mock

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.dockyard.fleet.plugins.action import stack_plan
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions

MB = 1000 * 1000
STACK = {
    "schema": 1, "name": "my-shop", "title": "Shop",
    "source": {"git": "https://example.org/shop.git", "ref": "0123456789abcdef", "subdirectory": "app"},
    "images": {"web": {"build": {"recipe": "web", "args": {"N": 1}}, "budget_mb": 300}, "db": {"pull": {"image": "db:1"}}},
    "volumes": {"data": {"owner": "5:5", "mode": "0700"}},
    "secrets": {"token": {"source": "generated", "readers": [5]}, "licence": {"source": "given", "readers": [5], "description": "the licence"},
                "crt": {"source": "tls_certificate"}, "key": {"source": "tls_key"}},
    "settings": {"PORT": {"default": 8443, "type": "port"}, "WORD": {"default": "a"}},
    "env": {"web": {"WORKERS": 2}},
    "ports": [{"service": "web", "setting": "PORT", "container": 443, "purpose": "the shop"}],
    "files": [{"source": "conf/web.conf", "template": True}, {"source": "run.sh", "mode": "0755"}],
    "limits": {"web": {"memory": "64M", "pids": 10}},
    "needs": {"disk_mb": 3000, "architectures": ["amd64", "arm64"]},
    "health": {"timeout_seconds": 77},
    "prove": [{"name": "answers", "scheme": "https", "setting": "PORT", "path": "/health"}],
    "urls": [{"name": "Shop", "scheme": "https", "setting": "PORT"}],
}
COMPOSE = {
    "services": {
        "web": {"image": "${WEB_IMAGE}", "volumes": ["./conf/web.conf:/c", "./run.sh:/r"], "secrets": ["token_web", "licence_web"]},
        "db": {"image": "${DB_IMAGE}"},
    },
    "volumes": {"data": {}},
    "secrets": {"token_web": {"file": "./secrets/token.5"}, "licence_web": {"file": "./secrets/licence.5"}},
}
FACTS = {
    "architecture": {"docker_platform": "linux/arm64"}, "memory": {"total_bytes": 4000 * MB},
    "cgroup": {"controllers": {"memory": True, "cpu": True, "pids": True}},
    "disk": [{"path": "/var/lib/docker", "mount": "/", "free_bytes": 9000 * MB}], "ports": [], "containers": [], "releases": {},
}
GIVEN = {"dockyard_secrets_my_shop": {"licence": "hush-hush"}}


class Shelf:
    """A folder of stacks on the controller."""

    def __init__(self, folder):
        self.folder = folder

    def put(self, name="my-shop", change=None, compose=None, overlay=None):
        stack, document = copy.deepcopy(STACK), copy.deepcopy(compose or COMPOSE)
        stack["name"] = name
        if change:
            change(stack)
        folder = self.folder / name
        for path, text in (("web/Dockerfile", "FROM x\n"), ("conf/web.conf", "port={{ settings.PORT }} stack={{ stack }} in {{ environment }}\\n\n"),
                           ("run.sh", "echo '{{ not a template }}'\n"),
                           ("stack.yml", yaml.safe_dump(stack)), ("compose.yaml", yaml.safe_dump(document))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for environment, content in (overlay or {}).items():
            (folder / ("compose.%s.yaml" % environment)).write_text(yaml.safe_dump(content))
        return folder


@pytest.fixture
def shelf(tmp_path):
    made = Shelf(tmp_path / "stacks")
    made.put()
    return made


def plan(shelf, variables=None, facts=None, **args):
    variables = dict({"inventory_hostname": "pi", "ansible_host": "192.0.2.7"}, **(GIVEN if variables is None else variables))
    task = mock.MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = dict({"stacks": ["my-shop"], "stack_path": [str(shelf.folder)], "facts": FACTS if facts is None else facts}, **args)
    action = stack_plan.ActionModule(task, mock.MagicMock(), mock.MagicMock(), DataLoader(), Templar(loader=DataLoader(), variables=variables), None)
    return action.run(task_vars=variables)


def facts(**changes):
    return dict(copy.deepcopy(FACTS), **changes)


# -- a good plan --------------------------------------------------------------

def test_a_plan_without_problems(shelf):
    result = plan(shelf)
    assert result["problems"] == [] and result["notes"] == [] and result["changed"] is False
    planned = result["stacks"][0]
    assert planned["name"] == "my-shop" and planned["title"] == "Shop" and planned["directory"] == "/etc/dockyard/stacks/my-shop"
    assert planned["revision"] == "0123456789ab" and planned["timeout_seconds"] == 77
    assert planned["compose_files"] == ["compose.yaml"] and planned["services"] == ["db", "web"]
    assert planned["image_variables"] == {"WEB_IMAGE": "web", "DB_IMAGE": "db"}
    assert planned["settings"] == {"PORT": "8443", "WORD": "a"}
    assert planned["ports"] == [{"service": "web", "container": 443, "protocol": "tcp", "published": "8443"}]
    assert planned["volumes"] == [{"name": "data", "owner": "5:5", "mode": "0700"}]
    assert planned["service_secrets"] == {"web": ["licence", "token"]}
    assert planned["tls"] == {"certificate": "crt", "key": "key"}
    assert planned["urls"] == ["https://192.0.2.7:8443/"] and planned["prove"][0]["url"] == "https://192.0.2.7:8443/health"
    assert planned["overlay"]["web"]["deploy"] == {"resources": {"limits": {"memory": "64M", "pids": 10}}}
    assert set(planned["overlay"]["web"]["labels"]) == {"org.dockyard.files"}
    assert [image["name"] for image in result["images"]] == ["db", "web"]
    assert result["images"][1]["build"]["source"] == {"git": "https://example.org/shop.git", "ref": "0123456789abcdef", "subdirectory": "app"}
    assert result["images"][1]["platform"] == "linux/arm64"


def test_the_section_migration_is_handed_through(shelf):
    assert plan(shelf)["stacks"][0]["migration"] == {}
    layout = {"description": "by hand", "detect": ["/srv/shop"], "units": [{"name": "shop.service", "optional": True}],
              "trees": [{"name": "data", "source": "/srv/shop/data", "volume": "data", "owner": "5:5"}]}
    shelf.put(change=lambda stack: stack.update(migration={"native": layout}))
    result = plan(shelf)
    assert result["problems"] == [] and result["stacks"][0]["migration"] == {"native": layout}


def test_a_section_migration_that_does_not_fit_its_stack_is_refused(shelf):
    layout = {"description": "by hand", "detect": ["/srv/shop"], "units": [{"name": "shop.service"}],
              "trees": [{"name": "data", "source": "/srv/shop/data", "volume": "date", "owner": "5:5"}]}
    folder = shelf.put(change=lambda stack: stack.update(migration={"native": layout}))
    assert plan(shelf)["problems"] == ["%s: migration/native/trees, data/volume: compose.yaml has no such volume 'date'; it has: data" % folder]


def test_secrets_are_described_and_not_told(shelf):
    result = plan(shelf)
    assert {secret["name"]: secret["source"] for secret in result["stacks"][0]["secrets"]} == {
        "token": "generated", "licence": "given", "crt": "tls_certificate", "key": "tls_key"}
    assert "hush-hush" not in json.dumps(result)


def test_files(shelf):
    found = {entry["path"]: entry for entry in plan(shelf)["stacks"][0]["files"]}
    assert set(found) == {"compose.yaml", "conf/web.conf", "run.sh", "web.env"}
    assert found["conf/web.conf"]["content"] == "port=8443 stack=my-shop in production\\n\n"
    assert found["run.sh"]["content"] == "echo '{{ not a template }}'\n" and found["run.sh"]["mode"] == "0755"
    assert found["web.env"]["mode"] == "0600" and found["web.env"]["content"].endswith("\nWORKERS=2\n")


def test_overlay_of_the_environment(shelf):
    shelf.put(overlay={"staging": {"services": {"web": {"read_only": True}}}})
    assert plan(shelf)["stacks"][0]["compose_files"] == ["compose.yaml"]
    planned = plan(shelf, environment="staging")["stacks"][0]
    assert planned["compose_files"] == ["compose.yaml", "compose.staging.yaml"]
    assert "compose.staging.yaml" in [entry["path"] for entry in planned["files"]]


def test_variables_of_the_operator(shelf, tmp_path):
    (tmp_path / "source").mkdir()
    result = plan(shelf, dict(GIVEN, dockyard_settings_my_shop={"PORT": 443}, dockyard_env_my_shop={"web": {"WORKERS": 9}},
                              dockyard_source_my_shop=str(tmp_path / "source"),
                              dockyard_build_args_my_shop={"web": {"N": 5}}, dockyard_images_my_shop={"db": "mirror/db:2"}))
    planned = result["stacks"][0]
    assert result["problems"] == [] and planned["urls"] == ["https://192.0.2.7/"]
    assert "WORKERS=9\n" in [entry["content"] for entry in planned["files"] if entry["path"] == "web.env"][0]
    assert result["images"][0]["reference"] == "mirror/db:2"
    assert result["images"][1]["build"]["source"] == {"path": str(tmp_path / "source"),
                                                      "subdirectory": "app"} and result["images"][1]["build"]["args"] == {"N": "5"}
    assert planned["revision"] == "dir:source"


def test_variables_are_templates(shelf):
    variables = dict(GIVEN, dockyard_settings_my_shop={"WORD": stack_plan.trust_as_template("{{ inventory_hostname }}-1")})
    assert plan(shelf, variables)["stacks"][0]["settings"]["WORD"] == "pi-1"


def test_a_ref_of_the_operator(shelf):
    result = plan(shelf, dict(GIVEN, dockyard_source_ref_my_shop="v2"))
    assert result["images"][1]["build"]["source"]["ref"] == "v2"


@pytest.mark.parametrize("address, url", [("2001:db8::1", "https://[2001:db8::1]:8443/"), ("shop.test", "https://shop.test:8443/")])
def test_addresses(shelf, address, url):
    assert plan(shelf, dict(GIVEN, dockyard_address=address))["stacks"][0]["urls"] == [url]


@pytest.mark.parametrize("variables, url", [
    ({"ansible_connection": "local", "ansible_host": None}, "https://localhost:8443/"),
    ({"ansible_connection": "local"}, "https://192.0.2.7:8443/"), ({"ansible_host": None}, "https://pi:8443/"),
])
def test_the_address_without_a_variable(shelf, variables, url):
    assert plan(shelf, dict(GIVEN, **variables))["stacks"][0]["urls"] == [url]


def test_a_path_follows_a_setting(shelf):
    shelf.put(change=lambda stack: (stack["prove"][0].update(path="/{WORD}/health"), stack["urls"][0].update(path="/{WORD}/")))
    word = STACK["settings"]["WORD"]["default"]
    planned = plan(shelf)["stacks"][0]
    assert planned["prove"][0]["url"] == "https://192.0.2.7:8443/%s/health" % word and planned["urls"] == ["https://192.0.2.7:8443/%s/" % word]


@pytest.mark.parametrize("outside", [{"8443": 18443}, {8443: 18443}])
def test_ports_as_seen_from_outside(shelf, outside):
    assert plan(shelf, dict(GIVEN, dockyard_url_ports=outside))["stacks"][0]["urls"] == ["https://192.0.2.7:18443/"]


def test_limits_that_the_host_cannot_enforce_are_left_out_and_told(shelf):
    result = plan(shelf, facts=facts(cgroup={"controllers": {"memory": False, "pids": True}}))
    assert result["problems"] == [] and result["stacks"][0]["limits_missing"] == ["memory"]
    assert result["stacks"][0]["overlay"]["web"]["deploy"] == {"resources": {"limits": {"pids": 10}}}
    assert len(result["notes"]) == 1 and "my-shop runs without its limits of memory" in result["notes"][0]
    assert "docker_engine_reboot: allowed" in result["notes"][0]


def test_without_facts_nothing_is_held_against_the_host(shelf):
    result = plan(shelf, facts={})
    assert result["problems"] == [] and result["stacks"][0]["overlay"]["web"]["deploy"]["resources"]["limits"] == {"memory": "64M", "pids": 10}


def test_stacks_as_text(shelf):
    shelf.put("blog", lambda stack: stack["settings"]["PORT"].update(default=81))
    result = plan(shelf, dict(GIVEN, dockyard_secrets_blog={"licence": "x"}), stacks="my-shop, blog,")
    assert [planned["name"] for planned in result["stacks"]] == ["my-shop", "blog"] and result["problems"] == []


def test_an_own_stack_goes_before_a_built_in_one(shelf):
    shelf.put("inventory")
    variables = {"dockyard_secrets_inventory": {"licence": "x"}}
    assert plan(shelf, variables, stacks=["inventory"])["stacks"][0]["title"] == "Shop"
    assert plan(shelf, {}, stacks=["inventory"], stack_path=[])["stacks"][0]["title"] == "Inventory"


# -- tools, actions, schedules, artifacts, platforms -------------------------------

def with_tool(stack):
    stack["images"]["web"]["services"] = ["web", "tool"]
    stack["images"]["web"]["build"]["args"]["WORD"] = {"setting": "WORD"}
    stack["tools"] = ["tool"]
    stack["actions"] = {"look": {"service": "tool", "command": ["{word}"], "arguments": {"word": {"pattern": "[a-z]*"}}}}
    stack["schedules"] = {"often": {"action": "look", "calendar": "hourly", "arguments": {"word": {"setting": "WORD"}}, "when_setting": "WORD"}}
    stack["artifacts"] = {"models": {"manifest": "models.json", "variable": "MODELS_DIR", "degrade": "less"}}


@pytest.fixture
def rich(shelf):
    document = copy.deepcopy(COMPOSE)
    document["services"]["tool"] = {"image": "${TOOL_IMAGE}", "profiles": ["tools"], "volumes": ["${MODELS_DIR:-./models}:/m:ro"]}
    (shelf.put(change=with_tool, compose=document) / "models.json").write_text("{}")
    return shelf


def test_a_tool_is_no_service_of_a_release(rich):
    result = plan(rich)
    planned = result["stacks"][0]
    assert result["problems"] == [] and planned["services"] == ["db", "web"] and planned["tools"] == ["tool"]
    assert planned["image_variables"]["TOOL_IMAGE"] == "web"
    assert list(planned["actions"]) == ["look"] and planned["schedules"][0]["arguments"] == {"word": "a"}
    assert result["images"][1]["build"]["args"]["WORD"] == "a"
    assert "schedules" not in " ".join(result["notes"])


def test_a_schedule_without_its_setting_or_without_systemd(rich):
    assert plan(rich, dict(GIVEN, dockyard_settings_my_shop={"WORD": ""}))["stacks"][0]["schedules"] == []
    result = plan(rich, facts=facts(init="other"))
    assert result["stacks"][0]["schedules"] == [] and result["problems"] == []
    assert result["notes"] == ["my-shop runs without its schedules: they are systemd timers, and this host has no systemd"]


def test_a_schedule_with_a_bad_value(rich):
    only(plan(rich, dict(GIVEN, dockyard_settings_my_shop={"WORD": "A"})),
         "my-shop, schedule often, argument word: found 'A'; needed a text that matches [a-z]*",
         "dockyard_settings_my_shop.WORD")


def test_artifacts(rich, tmp_path):
    folder = str(rich.folder / "my-shop")
    found = plan(rich)
    assert found["artifacts"] == found["stacks"][0]["artifacts"] == [
        {"stack": "my-shop", "name": "models", "manifest": folder + "/models.json", "folder": folder, "variable": "MODELS_DIR", "public_keys": [],
         "degrade": "less"}]
    (tmp_path / "own.json").write_text("{}")
    given = {"models": {"manifest": str(tmp_path / "x" / ".." / "own.json"), "public_keys": "RWQ"}}
    mine = plan(rich, dict(GIVEN, dockyard_artifacts_my_shop=given))["artifacts"][0]
    assert (mine["manifest"], mine["folder"], mine["public_keys"]) == (str(tmp_path / "own.json"), str(tmp_path), ["RWQ"])
    only(plan(rich, dict(GIVEN, dockyard_artifacts_my_shop={"models": {"manifest": "/no/such.json"}})),
         "my-shop, artifact models: found no file /no/such.json on the controller; needed a manifest; correct dockyard_artifacts_my_shop.models.manifest")


def test_another_platform_is_emulated_and_told_to_compose(rich):
    machine = facts(architecture={"docker_platform": "linux/amd64", "native": ["linux/amd64"]})
    result = plan(rich, dict(GIVEN, dockyard_platform_my_shop="linux/arm64"), facts=machine)
    planned = result["stacks"][0]
    assert result["problems"] == [] and result["emulated"] == ["linux/arm64"] and planned["platform"] == "linux/arm64"
    assert [image["platform"] for image in result["images"]] == ["linux/arm64"] * 2
    assert {service: entry["platform"] for service, entry in planned["overlay"].items()} == dict.fromkeys(["db", "tool", "web"], "linux/arm64")
    native = plan(rich, facts=machine)
    assert native["emulated"] == [] and not [entry for entry in native["stacks"][0]["overlay"].values() if "platform" in entry]
    only(plan(rich, dict(GIVEN, dockyard_platform_my_shop="linux/arm/v7"), facts=machine),
         "found dockyard_platform_my_shop: linux/arm/v7; needed one of: amd64, arm64")


# -- bad input ------------------------------------------------------------------

def only(result, *texts):
    """The one problem of a result, which has all these texts."""
    assert len(result["problems"]) == 1, result["problems"]
    for text in texts:
        assert text in result["problems"][0], result["problems"]


def test_an_unknown_key(shelf):
    shelf.put(change=lambda stack: stack.update(helth={}))
    only(plan(shelf), str(shelf.folder / "my-shop" / "stack.yml"), "unknown key 'helth'", "known are: ", "did you mean 'health'?")


def test_all_unknown_keys_at_once(shelf):
    def change(stack):
        stack["limit"] = {}
        stack["images"]["web"]["build"]["recpie"] = "x"
        stack["secrets"]["token"]["len"] = 3
    shelf.put(change=change)
    problems = plan(shelf)["problems"]
    assert len(problems) == 3 and all("unknown key" in text for text in problems)


def test_a_stack_that_does_not_exist(shelf):
    known = ", ".join(sorted(os.listdir(stack_plan.BUILTIN) + ["my-shop"]))
    only(plan(shelf, stacks=["shopp"]),
         "dockyard_stacks: found the unknown stack 'shopp'; needed one of: %s; correct dockyard_stacks, or add the folder" % known)


def test_two_stacks_claim_one_port(shelf):
    shelf.put("blog")
    result = plan(shelf, dict(GIVEN, dockyard_secrets_blog={"licence": "x"}), stacks=["my-shop", "blog"])
    only(result, "port 8443/tcp: found claimed by both my-shop (dockyard_settings_my_shop.PORT) and blog (dockyard_settings_blog.PORT)",
         "change one of the two settings")


def test_a_missing_required_secret(shelf):
    only(plan(shelf, {}), "my-shop, secret licence: found no value; needed the licence; set dockyard_secrets_my_shop.licence (from ansible-vault)")


def test_a_missing_secret_that_is_on_the_host_or_optional(shelf):
    assert plan(shelf, {}, facts=facts(stacks={"my-shop": {"secrets": {"licence": {"version": "1"}}}}))["problems"] == []
    shelf.put(change=lambda stack: stack["secrets"]["licence"].update(required=False))
    assert plan(shelf, {})["problems"] == []


def test_an_unknown_secret(shelf):
    only(plan(shelf, {"dockyard_secrets_my_shop": {"licence": "x", "lisence": "hush"}}), "the unknown secret lisence", "one of: crt, key, licence, token")


def test_a_held_port(shelf):
    only(plan(shelf, facts=facts(ports=[{"protocol": "tcp", "port": 8443, "process": "apache2", "pid": 812}])),
         "my-shop, port 8443: found held by apache2 (pid 812); needed a free port for the shop; stop that program, or set dockyard_settings_my_shop.PORT")


def test_too_little_disk(shelf):
    only(plan(shelf, facts=facts(disk=[{"path": "/var/lib/docker", "mount": "/", "free_bytes": 100 * MB}])),
         "my-shop, disk of /var/lib/docker: found 100 MB free; needed 3000 MB; free space")


def test_wrong_architecture(shelf):
    only(plan(shelf, facts=facts(architecture={"docker_platform": "linux/arm/v7"})),
         "my-shop: found a host of platform linux/arm/v7; needed one of: amd64, arm64")


@pytest.mark.parametrize("variables, text", [
    ({"dockyard_settings_my_shop": {"PORT": "http"}}, "setting PORT: found 'http'; needed a whole number"),
    ({"dockyard_settings_my_shop": ["PORT=1"]}, "dockyard_settings_my_shop: found list; needed dict; correct dockyard_settings_my_shop"),
    ({"dockyard_env_my_shop": {"wbe": {}}}, "the unknown service wbe"),
    ({"dockyard_secrets_my_shop": {"licence": "x", "lience": "x"}}, "my-shop, dockyard_secrets_my_shop: found the unknown secret lience"),
    ({"dockyard_secrets_my_shop": {"licence": "x", "crt": "PEM"}}, "found crt without key; needed both (a given certificate), or neither"),
    ({"dockyard_secrets_my_shop": {"licence": "x", "key": "PEM"}}, "found key without crt; needed both"),
    ({"dockyard_source_my_shop": "/no/such/folder"},
     "found no directory /no/such/folder on the controller; needed a directory with the application's source, or a git URL"),
])
def test_bad_variables(shelf, variables, text):
    only(plan(shelf, dict(GIVEN, **variables)), text)


def test_a_bad_environment_and_folder_and_a_double(shelf):
    only(plan(shelf, environment="prod"), "dockyard_environment: found 'prod'; needed one of: development, staging, production, offline; "
         "correct dockyard_environment")
    only(plan(shelf, stack_path=[str(shelf.folder), "/no/such"]), "dockyard_stack_path: found no folder /no/such on the controller")
    only(plan(shelf, stacks=["my-shop", "my-shop"]), "dockyard_stacks: found 'my-shop' twice; needed each stack once")


@pytest.mark.parametrize("name, text, parts", [
    ("stack.yml", "a: [", ["stack.yml, line ", "not valid YAML"]), ("stack.yml", "- a\n", ["stack.yml: found list, needed a mapping"]),
    ("stack.yml", "", ["found NoneType, needed a mapping"]),
    ("compose.yaml", "services: {a: b: c}", ["compose.yaml, line 1: not valid YAML"]),
])
def test_a_file_that_is_not_yaml(shelf, name, text, parts):
    (shelf.folder / "my-shop" / name).write_text(text)
    only(plan(shelf), *parts)


def test_a_folder_of_another_name(shelf):
    shelf.put(change=lambda stack: stack.update(name="other"))
    only(plan(shelf), "name: found 'other', needed 'my-shop', the name of its folder")


def test_a_stack_and_its_compose_files_disagree(shelf):
    document = copy.deepcopy(COMPOSE)
    document["services"]["extra"] = {"image": "x"}
    shelf.put(compose=document)
    only(plan(shelf), "images: the service 'extra' of compose.yaml has no entry")


@pytest.mark.parametrize("text", ['{"port": {{ settings.PORT }}}\n', "[{{ settings.PORT }}]", "{{ settings.PORT | int }}", "{{ ['a'] }}"])
def test_a_template_stays_text(shelf, text):
    (shelf.folder / "my-shop" / "conf" / "web.conf").write_text(text)
    result = plan(shelf)
    content = [entry["content"] for entry in result["stacks"][0]["files"] if entry["path"] == "conf/web.conf"][0]
    assert result["problems"] == [] and content == text.replace("{{ settings.PORT }}", "8443").replace("{{ settings.PORT | int }}", "8443").replace(
        "{{ ['a'] }}", "['a']")


def test_folders_as_text(shelf, tmp_path):
    (tmp_path / "more").mkdir()
    assert plan(shelf, stack_path="%s, %s" % (tmp_path / "more", shelf.folder))["problems"] == []


@pytest.mark.parametrize("build", [{"recipe": "../other"}, {"recipe": "web/../.."}, {"recipe": "web", "dockerfile": "../../Dockerfile"},
                                   {"recipe": "web", "dockerfile": "/Dockerfile"}])
def test_a_recipe_outside_of_the_stack(shelf, build):
    (shelf.folder / "other").mkdir()
    for folder in (shelf.folder, shelf.folder / "other", shelf.folder / "my-shop"):
        (folder / "Dockerfile").write_text("FROM x\n")
    shelf.put(change=lambda stack: stack["images"]["web"].update(build=build))
    only(plan(shelf), "images/web/build: ", "leaves the stack's folder")


def test_a_template_that_cannot_be_rendered(shelf):
    (shelf.folder / "my-shop" / "conf" / "web.conf").write_text("{{ settings.NONE }}\n")
    only(plan(shelf), "conf/web.conf: the template cannot be rendered", "it sees: environment, host, settings, stack")


def test_a_file_that_is_not_text(shelf):
    (shelf.folder / "my-shop" / "run.sh").write_bytes(b"\xff\xfe")
    only(plan(shelf), "run.sh cannot be read as UTF-8 text")


def test_a_bad_stack_does_not_hide_the_problems_of_another(shelf):
    shelf.put("blog", lambda stack: stack.update(helth={}))
    result = plan(shelf, {}, stacks=["blog", "my-shop", "nope"], problems=["docker: found nothing"])
    assert [text.split(":")[0] for text in result["problems"]][0] == "docker" and len(result["problems"]) == 4
    assert [planned["name"] for planned in result["stacks"]] == ["my-shop"]


@pytest.mark.parametrize("source, answer", [
    ("https://example.org/a.git", True), ("ssh://git@host/a", True), ("git@github.com:a/b.git", True), ("file:///srv/a", True), ("/srv/a", False),
    ("~/a", False), ("a/b", False), ("./a:b", False),
])
def test_is_git(source, answer):
    assert stack_plan.is_git(source) is answer


@pytest.mark.parametrize("environment", stack_plan.ENVIRONMENTS)
def test_the_built_in_stacks_are_planned_without_problems(shelf, environment):
    names = sorted(os.listdir(stack_plan.BUILTIN))
    assert "inventory" in names
    for name in names:
        declared = stack_plan.load_stack(name, [stack_plan.BUILTIN], environment)[1].get("secrets", {})
        given = {secret: "x" for secret, entry in declared.items() if entry["source"] == "given"}
        # A copy of the source would be fetched.
        variables = {"dockyard_secrets_%s" % name.replace("-", "_"): given, "dockyard_development_source_%s" % name.replace("-", "_"): "/srv/source"}
        result = plan(shelf, variables, stacks=[name], stack_path=[], environment=environment)
        assert result["problems"] == []
        planned = result["stacks"][0]
        assert set(planned["image_variables"]) == {definitions.variable_of(service) for service in planned["services"] + planned["tools"]}
        assert planned["services"] or planned["tools"]


def test_all_is_every_stack_that_is_found(shelf):
    shelf.put("second", lambda stack: stack["settings"]["PORT"].update(default=8444))
    names = [entry["name"] for entry in plan(shelf, dict(GIVEN, dockyard_secrets_second={"licence": "x"}), stacks=["all"])["stacks"]]
    assert "my-shop" in names and "second" in names and "inventory" in names


def test_a_released_stack_that_is_not_wanted_any_more_is_told_and_left(shelf):
    result = plan(shelf, dict(GIVEN), facts(releases={"my-shop": {"number": 3}, "old": {"number": 1}}))
    assert result["problems"] == [] and [note for note in result["notes"] if "old was released here" in note]
    assert not [note for note in result["notes"] if "my-shop was" in note]


@pytest.mark.parametrize("outcome", ["stopped", "removed"])
@pytest.mark.parametrize("unattended, planned", [
    (None, ["my-shop"]), (False, ["my-shop"]), ("no", ["my-shop"]), (True, []), ("true", []), ("{{ 1 == 1 }}", [])])
def test_what_was_stopped_on_purpose_comes_back_by_hand_only(shelf, outcome, unattended, planned):
    releases = {"my-shop": {"outcome": outcome, "by": "anna@laptop", "time_epoch_s": 1795191060}}
    variables = dict(GIVEN)
    if unattended is not None:
        variables["dockyard_unattended"] = stack_plan.trust_as_template(unattended) if isinstance(unattended, str) else unattended
    result = plan(shelf, variables, facts(releases=releases))
    assert [entry["name"] for entry in result["stacks"]] == planned and result["problems"] == []
    assert result["left"] == ([] if planned else ["my-shop"]) and bool(result["images"]) == bool(planned)
    ending = "this run brings it back" if planned else "this unattended run leaves it alone, and a run without dockyard_unattended brings it back"
    assert result["notes"] == ["my-shop was %s on purpose by anna@laptop, 2026-11-20 16:11 UTC; %s" % (outcome, ending)]


@pytest.mark.parametrize("outcome", ["released", "failed", None])
def test_an_unattended_run_plans_everything_else(shelf, outcome):
    result = plan(shelf, dict(GIVEN, dockyard_unattended=True), facts(releases={"my-shop": {"outcome": outcome}}))
    assert [entry["name"] for entry in result["stacks"]] == ["my-shop"] and result["left"] == [] and result["notes"] == []


def test_a_stack_that_is_not_listed_any_more_is_told_with_all_that_runs(shelf):
    releases = {"old": {"outcome": "released"}, "torn": None, "stopped": {"outcome": "stopped"}}
    schedules = {"old": {"clean": {}, "check": {}}}
    notes = plan(shelf, facts=facts(releases=releases, containers=[{"project": "old"}, {"project": "x"}], schedules=schedules))["notes"]
    assert [note.partition(" ")[0] for note in notes] == ["old", "torn"]
    assert "left as it is, with 1 containers and the schedules check, clean; playbooks/stop.yml -e stack=old -e remove=true takes it off the host" in notes[0]
    assert "with 0 containers; " in notes[1]


def test_a_removed_stack_needs_its_space_again(shelf):
    little = [{"path": "/var/lib/docker", "mount": "/", "free_bytes": 1 * MB}]
    assert plan(shelf, facts=facts(disk=little, releases={"my-shop": {"outcome": "stopped", "by": "a"}}))["problems"] == []
    assert "3000 MB" in plan(shelf, facts=facts(disk=little, releases={"my-shop": {"outcome": "removed", "by": "a"}}))["problems"][0]


def tunnelled(stack, **entry):
    stack["settings"]["SHOP_HOSTNAME"] = {"default": ""}
    stack["tunnel"] = [dict({"hostname": {"setting": "SHOP_HOSTNAME"}, "service": "web", "port": 443}, **entry)]


def test_a_service_with_a_hostname_is_in_the_tunnel(shelf):
    shelf.put(change=tunnelled)
    assert plan(shelf)["tunnel"] == []
    result = plan(shelf, dict(GIVEN, dockyard_settings_my_shop={"SHOP_HOSTNAME": "shop.example.com"}))
    assert result["problems"] == []
    assert [(entry["stack"], entry["network"], entry["rule"]["hostname"], entry["rule"]["service"]) for entry in result["tunnel"]] == [
        ("my-shop", "my-shop_default", "shop.example.com", "http://web.my-shop_default:443")]


@pytest.mark.parametrize("hostname, told", [("https://shop.example.com", "which is a URL"), ("shop", "which is no hostname")])
def test_a_hostname_that_is_none_is_told_with_its_setting(shelf, hostname, told):
    shelf.put(change=tunnelled)
    problems = plan(shelf, dict(GIVEN, dockyard_settings_my_shop={"SHOP_HOSTNAME": hostname}))["problems"]
    assert len(problems) == 1 and told in problems[0] and "dockyard_settings_my_shop.SHOP_HOSTNAME" in problems[0]


def test_two_stacks_with_one_hostname_are_told(shelf):
    shelf.put(change=tunnelled)
    shelf.put("other", change=lambda stack: (tunnelled(stack), stack["settings"]["PORT"].update(default=9443)))
    settings = {"SHOP_HOSTNAME": "shop.example.com"}
    variables = dict(GIVEN, dockyard_secrets_other={"licence": "x"}, dockyard_settings_my_shop=settings, dockyard_settings_other=settings)
    problems = plan(shelf, variables, stacks=["my-shop", "other"])["problems"]
    assert len(problems) == 1 and "stack other, dockyard_settings_other.SHOP_HOSTNAME: found the hostname shop.example.com, which" in problems[0]
    assert "stack my-shop" in problems[0]


@pytest.mark.parametrize("entry, containers, there", [
    ({"outcome": "released"}, [{"project": "other"}], True), ({"outcome": "stopped"}, [], True), (None, [{"project": "other"}], True),
    ({"outcome": "failed"}, [], False), ({"outcome": "removed"}, [{"project": "other"}], False),
])
def test_a_run_of_some_stacks_leaves_the_others_in_the_tunnel(shelf, entry, containers, there):
    shelf.put(change=tunnelled)
    shelf.put("other", change=lambda stack: (tunnelled(stack), stack["settings"]["PORT"].update(default=9443)))
    variables = dict(GIVEN, dockyard_tunnel=True, dockyard_settings_my_shop={"SHOP_HOSTNAME": "shop.example.com"},
                     dockyard_settings_other={"SHOP_HOSTNAME": "other.example.com"})
    result = plan(shelf, variables, facts(releases={"other": entry, "tunnel": {"outcome": "released"}}, containers=containers))
    assert result["problems"] == [] and [entry["name"] for entry in result["stacks"]] == ["my-shop"]
    assert [entry["rule"]["hostname"] for entry in result["tunnel"]] == ["shop.example.com"] + ["other.example.com"] * there


def test_a_stack_that_an_unattended_run_leaves_stopped_keeps_its_hostname(shelf):
    shelf.put(change=tunnelled)
    variables = dict(GIVEN, dockyard_tunnel=True, dockyard_unattended=True, dockyard_settings_my_shop={"SHOP_HOSTNAME": "shop.example.com"})
    result = plan(shelf, variables, facts(releases={"my-shop": {"outcome": "stopped", "by": "anna"}}))
    assert result["left"] == ["my-shop"] and [entry["rule"]["hostname"] for entry in result["tunnel"]] == ["shop.example.com"]


def test_a_stack_beside_whose_definition_is_gone_is_told(shelf):
    result = plan(shelf, dict(GIVEN, dockyard_tunnel=True), facts(releases={"gone": {"outcome": "released"}}, containers=[{"project": "gone"}]))
    assert result["problems"] == []
    assert any(note.startswith("gone is on the host and not in this run, and its definition can't be read") for note in result["notes"])


def test_the_tunnel_s_own_project_is_no_name_for_a_stack(shelf):
    shelf.put("tunnel")
    problems = plan(shelf, stacks=["tunnel"])["problems"]
    assert len(problems) == 1 and "name: found 'tunnel', which is the project of role tunnel; needed another one" in problems[0]


def test_the_cloudflared_of_the_host_is_no_stack_that_was_left(shelf):
    found = facts(releases={"tunnel": {"outcome": "released"}})
    assert any(note.startswith("tunnel was released here") for note in plan(shelf, facts=found)["notes"])
    assert plan(shelf, dict(GIVEN, dockyard_tunnel=True), facts=found)["notes"] == []


def test_a_host_without_the_internet_has_no_tunnel(shelf):
    told = "dockyard_tunnel: found a tunnel to Cloudflare in the environment offline"
    assert any(text.startswith(told) for text in plan(shelf, dict(GIVEN, dockyard_tunnel="yes"), environment="offline")["problems"])
    others = plan(shelf, GIVEN, environment="offline")["problems"] + plan(shelf, dict(GIVEN, dockyard_tunnel="yes"))["problems"]
    assert not any(text.startswith(told) for text in others)
