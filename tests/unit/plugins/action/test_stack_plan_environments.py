# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environments `offline` and `development` add to a plan, from real folders, recipes and sources."""
from __future__ import annotations

import base64
import json
import subprocess
from unittest import mock

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.dockyard.fleet.plugins.action import stack_plan
from ansible_collections.dockyard.fleet.plugins.action.images import BuildItem, Fleet
from ansible_collections.dockyard.fleet.plugins.module_utils.images import plan as images

STACK = {
    "schema": 1, "name": "shop", "source": {"git": "https://example.org/shop.git", "ref": "0123456789abcdef"},
    "images": {"web": {"build": {"recipe": "web", "args": {"TORCH": {"setting": "TORCH"}}}}, "db": {"pull": {"image": "db:1"}}},
    "settings": {"TORCH": {"default": ""}, "API": {"default": "http://db:5432"}},
    "env": {"web": {"HUB": "http://10.0.0.1"}},
    "artifacts": {"models": {"manifest": "models.json", "variable": "MODELS_DIR"}},
}
COMPOSE = {"services": {"web": {"image": "${WEB_IMAGE}", "environment": {"API": "${API}"}, "volumes": ["${MODELS_DIR:-./models}:/m:ro"]},
                        "db": {"image": "${DB_IMAGE}"}}}
DOCKERFILE = "FROM base.example/python:1\nARG PIP_INDEX_URL=\"\"\nARG TORCH=\"\"\nRUN pip install x\nCOPY src/ /app/\n"
MOUNT = {"type": "bind", "source": "${DOCKYARD_SOURCE_DIR:-./source}/src", "target": "/app", "read_only": True, "bind": {"create_host_path": False}}
NATIVE = {"docker_platform": "linux/amd64", "native": ["linux/amd64"], "emulated": []}
IN_PLACE = [{"id": "sha256:b", "tags": ["base.example/python:1"], "digests": [], "labels": {}, "architecture": "amd64"},
            {"id": "sha256:d", "tags": ["db:1"], "digests": [], "labels": {}, "architecture": "amd64"}]


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    """The stack's folder, the application's source beside it."""
    folder, source = tmp_path / "stacks" / "shop", tmp_path / "source"
    write(folder)
    for path, content in (("src/main.py", b"print('caf\xc3\xa9')\n"), ("src/pages/logo.png", b"\x89PNG\x00\xff"), ("src/.env", b"SECRET=1\n"),
                          ("docs/notes.md", b"x")):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    (source / "src" / "run.sh").write_text("#!/bin/sh\n")
    (source / "src" / "run.sh").chmod(0o755)
    return folder


def write(folder, change=None, overlays=None):
    stack = json.loads(json.dumps(STACK))
    if change:
        change(stack)
    manifest = {"schema": 1, "files": [{"name": "m.bin", "size": 3, "digest": "sha256:" + "a" * 64, "sources": ["https://models.example/m.bin"]}]}
    for path, text in (("stack.yml", yaml.safe_dump(stack)), ("compose.yaml", yaml.safe_dump(COMPOSE)), ("web/Dockerfile", DOCKERFILE),
                       ("web/.dockerignore", "**/.env\n"), ("models.json", json.dumps(manifest))):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for environment, document in (overlays or {}).items():
        (folder / ("compose.%s.yaml" % environment)).write_text(yaml.safe_dump(document), encoding="utf-8")


def run(folder, environment, facts=None, **variables):
    variables = dict({"inventory_hostname": "pi", "dockyard_source_shop": str(folder.parent.parent / "source"),
                      "images_source_cache": str(folder.parent.parent / "cache")}, **variables)
    task = mock.MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"stacks": ["shop"], "stack_path": [str(folder.parent)], "environment": environment,
                 "facts": {"architecture": NATIVE, "images": [], "artifacts": {"path": "/var/lib/dockyard/artifacts", "sets": {}}} if facts is None else facts}
    action = stack_plan.ActionModule(task, mock.MagicMock(), mock.MagicMock(), DataLoader(), Templar(loader=DataLoader(), variables=variables), None)
    return action.run(task_vars=variables)


def settled(folder, result):
    """Facts of a host that has all that the plan names."""
    entry = next(entry for entry in result["images"] if entry["name"] == "web")
    options = {"ca_certificate": "", "registry": "", "build_args": {}, "builders": {}, "deliver": "", "delivered": []}
    item = BuildItem(entry, options, str(folder.parent.parent / "cache"))
    item.settle("linux/amd64", NATIVE, Fleet(options, "pi"))
    decision = item.decide(images.Inventory(IN_PLACE))
    built = {"id": "sha256:w", "tags": [decision.reference], "digests": [], "architecture": "amd64",
             "labels": {images.LABEL_HASH: decision.content, images.LABEL_RECIPE: item.hash}}
    from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import wanted
    found = wanted.read_set(dict(result["artifacts"][0], owner="shop"))
    return {"architecture": NATIVE, "images": IN_PLACE + [built],
            "artifacts": {"path": "/var/lib/dockyard/artifacts", "sets": {"shop": {"models": {found.id: {"complete": True, "missing_optional": []}}}}}}


# -- offline ----------------------------------------------------------------------

def test_each_outside_reference_is_one_problem(folder):
    write(folder, lambda stack: stack["env"]["web"].update(HUB="https://hub.example/"))
    problems = run(folder, "offline", dockyard_settings_shop={"API": "https://api.example/v1", "TORCH": "https://torch.example/cpu"})["problems"]
    for part in ("shop, image db: found db:1 (not on the host), which would be pulled from docker.io",
                 "shop, image web: found its base image base.example/python:1 (not on the host), which would be pulled from base.example",
                 "shop, image web: found it has to be built here (not built here yet), and its build asks the public package index (PIP_INDEX_URL is empty)",
                 "shop, image web: found it has to be built here (not built here yet), and its build asks https://torch.example/cpu (TORCH)",
                 "shop, artifact models, file m.bin: found not in the store of this host, and its sources are https://models.example/m.bin",
                 "shop, setting API: found https://api.example/v1",
                 "shop, environment of web, HUB: found https://hub.example/"):
        assert len([text for text in problems if text.startswith(part)]) == 1, (part, problems)
    assert len(problems) == 7, problems
    assert all("; needed " in text for text in problems)


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_other_environments_do_not_care(folder, environment):
    assert run(folder, environment, dockyard_settings_shop={"API": "https://api.example/v1"})["problems"] == []


def test_a_host_that_has_everything_passes(folder):
    facts = settled(folder, run(folder, "production"))
    assert run(folder, "offline", facts)["problems"] == []


def test_an_edit_of_the_source_makes_a_build_due(folder):
    facts = settled(folder, run(folder, "production"))
    (folder.parent.parent / "source" / "src" / "main.py").write_text("print(2)\n")
    problems = run(folder, "offline", facts)["problems"]
    assert len(problems) == 1 and "(content changed), and its build asks the public package index" in problems[0]
    assert run(folder, "offline", facts, images_pip_index_url="http://10.0.0.2/simple")["problems"] == []


def test_a_setting_of_the_build_stays_with_the_image_that_it_made(folder):
    given = {"dockyard_settings_shop": {"TORCH": "https://torch.example/cpu"}}
    facts = settled(folder, run(folder, "production", **given))
    assert run(folder, "offline", facts, **given)["problems"] == []


def test_all_inside_by_name(folder):
    problems = run(folder, "offline", dockyard_offline_hosts=["*.example", "docker.io"], images_pip_index_url="https://pypi.example/simple")["problems"]
    assert problems == []


def test_an_image_that_another_host_builds_comes_through_the_controller(folder):
    given = {"images_builders": {"linux/amd64": "builder"}, "dockyard_images_shop": {"db": "10.0.0.2:5000/db:1"}, "artifacts_mirrors": ["controller"]}
    assert run(folder, "offline", **given)["problems"] == []
    problems = run(folder, "offline", images_registry="ghcr.io/shop", **given)["problems"]
    assert len(problems) == 1 and "pulled from ghcr.io" in problems[0] and "correct images_registry" in problems[0]


def test_what_the_facts_do_not_know_is_not_held_against_the_host(folder):
    problems = run(folder, "offline", facts={})["problems"]
    assert [text for text in problems if "image" in text] == []


def test_a_registry_that_is_none(folder):
    assert any("images_registry: found" in text for text in run(folder, "offline", images_registry="not a registry")["problems"])


def test_offline_hosts_must_be_a_list(folder):
    assert run(folder, "offline", dockyard_offline_hosts="a")["problems"] == [
        "dockyard_offline_hosts: found str; needed a list of host names; correct dockyard_offline_hosts"]


def test_a_manifest_that_cannot_be_read_is_told_by_its_role(folder):
    (folder / "models.json").write_text("{")
    assert not [text for text in run(folder, "offline")["problems"] if "artifact models" in text]


# -- development --------------------------------------------------------------------

def develop(stack):
    stack["development"] = {"source": ["src"]}


OVERLAY = {"development": {"services": {"web": {"volumes": [MOUNT]}}}}


def files_of(result):
    return {entry["path"]: entry for entry in result["stacks"][0]["files"] if entry["path"].startswith("source/")}


def test_the_source_is_copied_as_the_build_sees_it(folder):
    write(folder, develop, OVERLAY)
    result = run(folder, "development")
    assert result["problems"] == []
    found = files_of(result)
    assert sorted(found) == ["source/src/main.py", "source/src/pages/logo.png", "source/src/run.sh"]
    assert base64.b64decode(found["source/src/pages/logo.png"]["content"]) == b"\x89PNG\x00\xff" and found["source/src/pages/logo.png"]["encoding"] == "base64"
    assert found["source/src/run.sh"]["mode"] == "0755" and found["source/src/main.py"]["mode"] == "0644"
    assert "DOCKYARD_SOURCE_DIR" not in result["stacks"][0]["settings"]
    assert files_of(run(folder, "production")) == {}


def test_a_commit_is_copied_too(folder):
    write(folder, develop, OVERLAY)
    source = folder.parent.parent / "source"
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run(git + words, check=True)
    (source / "src" / "main.py").write_text("not committed\n")
    found = files_of(run(folder, "development", dockyard_source_ref_shop="HEAD"))
    assert base64.b64decode(found["source/src/main.py"]["content"]) == b"print('caf\xc3\xa9')\n" and len(found) == 3


def test_a_directory_of_the_host(folder):
    write(folder, develop, OVERLAY)
    result = run(folder, "development", dockyard_development_source_shop="/home/pi/shop")
    assert result["problems"] == [] and files_of(result) == {}
    assert result["stacks"][0]["settings"]["DOCKYARD_SOURCE_DIR"] == "/home/pi/shop"
    assert "DOCKYARD_SOURCE_DIR" not in run(folder, "production", dockyard_development_source_shop="/home/pi/shop")["stacks"][0]["settings"]
    assert "found 'shop'; needed the absolute path" in run(folder, "development", dockyard_development_source_shop="shop")["problems"][0]


def test_where_the_folders_may_be(folder):
    write(folder, lambda stack: stack.update(development={"source": ["src"], "roots": ["inner", "."]}), OVERLAY)
    assert len(files_of(run(folder, "development"))) == 3
    source = folder.parent.parent / "source"
    (source / "inner" / "src").mkdir(parents=True)
    (source / "inner" / "src" / "only.py").write_text("")
    assert sorted(files_of(run(folder, "development"))) == ["source/src/only.py"]


def test_the_whole_source(folder):
    mount = dict(MOUNT, source="${DOCKYARD_SOURCE_DIR:-./source}")
    write(folder, lambda stack: stack.update(development={"source": ["."]}), {"development": {"services": {"web": {"volumes": [mount]}}}})
    assert sorted(files_of(run(folder, "development"))) == ["source/docs/notes.md", "source/src/main.py", "source/src/pages/logo.png",
                                                            "source/src/run.sh"]


def test_a_folder_that_the_source_lacks(folder):
    mount = dict(MOUNT, source=MOUNT["source"][:-3] + "lib")
    write(folder, lambda stack: stack.update(development={"source": ["lib"]}), {"development": {"services": {"web": {"volumes": [mount]}}}})
    problems = run(folder, "development")["problems"]
    assert len(problems) == 1 and "shop, development/source: found no folder lib in the source" in problems[0]
    assert "dockyard_development_source_shop" in problems[0]


def test_a_source_that_is_too_large_to_be_copied(folder):
    write(folder, develop, OVERLAY)
    with mock.patch("ansible_collections.dockyard.fleet.plugins.plugin_utils.development.LARGEST_BYTES", 10):
        assert "set dockyard_development_source_shop to a directory of the host" in run(folder, "development")["problems"][0]


@pytest.mark.parametrize("mounted", ["${DOCKYARD_SOURCE_DIR:-./source}/lib", "${DOCKYARD_SOURCE_DIR}/src", "${DOCKYARD_SOURCE_DIR:-./source}:/app:ro"])
def test_a_mount_that_nobody_fills(folder, mounted):
    entry = mounted if mounted.endswith(":ro") else dict(MOUNT, source=mounted)
    write(folder, develop, {"development": {"services": {"web": {"volumes": [entry]}}}})
    problems = run(folder, "development")["problems"]
    assert len(problems) == 1 and "needed ${DOCKYARD_SOURCE_DIR:-./source}/<one of development/source: src>" in problems[0]


def test_the_name_of_the_variable_is_taken(folder):
    write(folder, lambda stack: stack["settings"].update(DOCKYARD_SOURCE_DIR={"default": "x"}))
    assert "settings/DOCKYARD_SOURCE_DIR: the name belongs to `development`" in run(folder, "production")["problems"][0]


def test_build_arguments_of_this_environment_only(folder):
    def change(stack):
        stack["development"] = {"source": ["src"], "build_args": {"web": {"WITH_DEBUGGER": "1", "TORCH": "dev"}}}
    write(folder, change, OVERLAY)

    def args(environment, **variables):
        return next(entry["build"]["args"] for entry in run(folder, environment, **variables)["images"] if entry["name"] == "web")
    assert args("production") == {"TORCH": ""}
    assert args("development") == {"TORCH": "dev", "WITH_DEBUGGER": "1"}
    assert args("development", dockyard_build_args_shop={"web": {"TORCH": "mine"}, "db": {}}) == {"TORCH": "mine", "WITH_DEBUGGER": "1"}


def test_build_arguments_of_an_image_that_is_not_built(folder):
    write(folder, lambda stack: stack.update(development={"source": ["src"], "build_args": {"db": {"A": "1"}}}), OVERLAY)
    assert "development/build_args: found 'db', needed an image that is built: web" in run(folder, "production")["problems"][0]
