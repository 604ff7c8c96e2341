# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scaffold of a user's own stack, and what is made of it."""
from __future__ import annotations

import json
import os
import re
import stat

import jsonschema
import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.action import new_stack, stack_plan
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.plugin_utils import scaffold

NAMES = ["hello", "my-shop", "a", "x_1"]
ENVIRONMENTS = ("development", "staging", "production", "offline")


@pytest.fixture(name="made", params=NAMES)
def fixture_made(request, tmp_path):
    """The folder of a stack as it is written."""
    folder = str(tmp_path / "stacks")
    scaffold.write(folder, request.param, scaffold.rendered(scaffold.read(new_stack.SCAFFOLD), request.param, folder, new_stack.SCHEMA))
    return os.path.join(folder, request.param)


def text_of(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as stream:
        return stream.read()


@pytest.mark.parametrize("name, found", [
    ("", "no name"), ("Hello", "'Hello'"), ("1st", "'1st'"), ("-x", "'-x'"), ("a b", "'a b'"), ("../x", "'../x'"), ("a\n", "'a\\n'"),
    ("x" * 41, "'" + "x" * 41 + "'"),
    ("tunnel", "'tunnel', which is the project of role tunnel"),
    ("all", "'all', which playbooks take for several stacks"), ("unlisted", "'unlisted', which playbooks take for several stacks"),
    ("inventory", "'inventory', a stack that comes with the collection")])
def test_names_that_are_refused(name, found):
    assert scaffold.name_problem(name, ["inventory"])[0] == found


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_taken(name):
    assert scaffold.name_problem(name, ["inventory"]) is None


def test_the_pattern_of_a_name_is_that_of_the_schema():
    with open(new_stack.SCHEMA, encoding="utf-8") as stream:
        assert json.load(stream)["properties"]["name"]["pattern"] == "^" + scaffold.NAME.pattern.replace("\\Z", "$")


def test_nothing_of_the_scaffolds_own_name_is_left(made):
    name = os.path.basename(made)
    if name != "hello":
        for top, unused, names in os.walk(made):
            for entry in names:
                assert "hello" not in text_of(top, entry).lower(), entry
    definition = yaml.safe_load(text_of(made, "stack.yml"))
    assert definition["name"] == name and list(definition["settings"]) == ["%s_PORT" % name.upper().replace("-", "_")]


def test_editors_find_the_schema_by_the_first_line(made):
    line = text_of(made, "stack.yml").splitlines()[0]
    path = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line).group(1)
    assert os.path.samefile(os.path.join(made, path), new_stack.SCHEMA)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_it_is_a_valid_stack_in_every_environment(made, environment):
    name = os.path.basename(made)
    folder, definition, files, documents = stack_plan.load_stack(name, [os.path.dirname(made)], environment)
    assert folder == made and files == ["compose.yaml", "compose.%s.yaml" % environment]
    with open(new_stack.SCHEMA, encoding="utf-8") as stream:
        jsonschema.Draft202012Validator(json.load(stream)).validate(definition)
    service = definitions.services_of(documents)["web"]
    assert service["user"] == "1000:1000" and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
    assert service["image"] == "${WEB_IMAGE:-dockyard/%s-web:dev}" % name and service["healthcheck"]["test"][0] == "CMD"
    assert bool(service.get("read_only")) is (environment != "development") and service["logging"]["options"]["max-size"]
    assert service.get("pull_policy") == ("never" if environment == "offline" else None)


def test_its_recipe_has_two_stages_and_no_root():
    dockerfile = text_of(new_stack.SCAFFOLD, "web", "Dockerfile")
    stages = re.findall(r"(?m)^FROM (\S+)( AS builder)?$", dockerfile)
    assert [bool(name) for unused, name in stages] == [True, False] and len(set(image for image, unused in stages)) == 1
    last = dockerfile.rpartition("FROM")[2]
    assert re.search(r"(?m)^USER 1000:1000$", last) and "pip install" not in last and "RUN" not in last
    assert not dockerfile.startswith("# syntax") and "<<" not in dockerfile
    assert text_of(new_stack.SCAFFOLD, "web", ".dockerignore").splitlines()[1] == "*"


def test_its_readme_names_its_files_and_the_settings(made):
    readme, name = text_of(made, "README.md"), os.path.basename(made)
    assert "dockyard_stack_path: [%s]" % os.path.dirname(made) in readme and "dockyard_stacks: [%s]" % name in readme
    assert "dockyard_settings_%s:" % name.replace("-", "_") in readme and "delete_volumes=%s" % name in readme
    for word in ("web/app.py", "web/requirements.txt", "web/.dockerignore", "stack.yml", "compose.yaml"):
        assert "`%s`" % word in readme and os.path.isfile(os.path.join(made, word)), word


def test_it_is_written_whole_or_not_at_all(tmp_path):
    folder = str(tmp_path / "deep" / "stacks")
    with pytest.raises(OSError):
        scaffold.write(folder, "shop", {"a": "fine", "a/b": "a file is in the way"})
    assert os.listdir(folder) == []
    scaffold.write(folder, "shop", {"a": "fine"})
    with pytest.raises(FileExistsError):
        scaffold.write(folder, "shop", {"a": "other"})
    assert os.listdir(folder) == ["shop"] and text_of(folder, "shop", "a") == "fine"


def test_it_is_readable_as_the_umask_says(tmp_path):
    old = os.umask(0o027)
    try:
        scaffold.write(str(tmp_path), "shop", {"web/a": "x"})
    finally:
        os.umask(old)
    assert [stat.S_IMODE(os.stat(str(tmp_path / path)).st_mode) for path in ("shop", "shop/web", "shop/web/a")] == [0o750, 0o750, 0o640]


def test_what_python_leaves_behind_is_no_part_of_it(tmp_path):
    (tmp_path / "web" / "__pycache__").mkdir(parents=True)
    (tmp_path / "web" / "__pycache__" / "app.pyc").write_bytes(b"\xff\x00")
    (tmp_path / "web" / "app.py").write_text("x")
    assert scaffold.read(str(tmp_path)) == {os.path.join("web", "app.py"): "x"}
