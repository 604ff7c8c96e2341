# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for the whole repository."""
from __future__ import annotations

import ast
import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import schema as schemas

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def names_in(*parts, suffix=""):
    """The entries of a folder of the repository that end with a suffix, without it."""
    folder = os.path.join(ROOT, *parts)
    return sorted(name[:len(name) - len(suffix)] for name in os.listdir(folder) if name.endswith(suffix) and not name.startswith(("_", ".")))


def text_of(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as handle:
        return handle.read()


def yaml_of(*parts):
    return yaml.safe_load(text_of(*parts))


ROLES = names_in("roles")
MODULES = names_in("plugins", "modules", suffix=".py")
ACTIONS = names_in("plugins", "action", suffix=".py")
STACKS = names_in("files", "stacks")


def test_there_is_something_to_look_at():
    assert {"docker_engine", "images", "stack"} <= set(ROLES)
    assert {"host_facts", "images", "release", "stack_plan"} <= set(MODULES)
    assert {"images", "stack_plan"} <= set(ACTIONS)
    assert "inventory" in STACKS


# -- roles ----------------------------------------------------------------------

@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_of_a_role_agree(role):
    defaults = yaml_of("roles", role, "defaults", "main.yml") or {}
    options = yaml_of("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"].get("options", {})
    assert sorted(defaults) == sorted(options)
    different = {name: (defaults[name], options[name].get("default")) for name in defaults
                 if options[name].get("default") != defaults[name] or isinstance(options[name].get("default"), bool) != isinstance(defaults[name], bool)}
    assert different == {}


@pytest.mark.parametrize("role", ROLES)
def test_variables_of_a_role_carry_its_name_and_are_described(role):
    for name, option in yaml_of("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"].get("options", {}).items():
        assert name.startswith(role + "_"), name
        assert option.get("description") and option.get("type"), name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", ["README.md", "meta/argument_specs.yml", "meta/main.yml", "defaults/main.yml", "tasks/main.yml"])
def test_a_role_has(role, path):
    assert os.path.getsize(os.path.join(ROOT, "roles", role, path)) > 50


# -- modules ----------------------------------------------------------------------

def documents_of(module):
    """The documentation of a module: name -> text."""
    found = {}
    for node in ast.parse(text_of("plugins", "modules", module + ".py")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_documented(module):
    found = documents_of(module)
    assert set(found) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    documentation = yaml.safe_load(found["DOCUMENTATION"])
    assert documentation["module"] == module and documentation["short_description"] and documentation["author"]
    assert {"check_mode", "diff_mode", "platform"} <= set(documentation["attributes"])
    examples = yaml.safe_load(found["EXAMPLES"])
    assert any("dockyard.fleet." + module in task for task in examples)
    assert isinstance(yaml.safe_load(found["RETURN"]), dict)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_has_the_module_that_documents_it(action):
    assert action in MODULES


def test_a_module_that_works_on_the_controller_has_an_action():
    # such a module only refuses to run: its text says so
    controller = [module for module in MODULES if "works on the controller: call it as" in text_of("plugins", "modules", module + ".py")]
    assert "stack_plan" in controller and set(controller) <= set(ACTIONS)


def test_the_action_group_has_every_module():
    groups = yaml_of("meta", "runtime.yml")["action_groups"]
    assert sorted(groups["fleet"]) == MODULES


def imported_by(path):
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def python_below(*parts):
    for folder, unused, names in os.walk(os.path.join(ROOT, *parts)):
        for name in names:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


@pytest.mark.parametrize("path", sorted(list(python_below("plugins", "modules")) + list(python_below("plugins", "module_utils"))))
def test_code_for_targets_imports_the_standard_library_and_our_own_only(path):
    import sys
    standard = getattr(sys, "stdlib_module_names", None)
    for name in imported_by(path):
        own = name.startswith(("ansible.module_utils.", "ansible_collections.dockyard.fleet.plugins.module_utils"))
        assert own or standard is None or name.split(".")[0] in standard, name
        if path.startswith(os.path.join("plugins", "module_utils")):
            assert ".plugins.modules" not in name


# -- stacks -------------------------------------------------------------------------

def environments_of(stack):
    return [None] + [name[len("compose."):-len(".yaml")] for name in os.listdir(os.path.join(ROOT, "files", "stacks",
                                                                                             stack)) if re.match(r"^compose\.[a-z]+\.yaml$", name)]


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_is_valid_by_both_validators(stack):
    definition = yaml_of("files", "stacks", stack, "stack.yml")
    schema = json.loads(text_of("files", "schemas", "stack.schema.json"))
    assert schemas.validate(definition, schema) == []
    jsonschema.Draft202012Validator(schema).validate(definition)
    assert definition["name"] == stack


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_agrees_with_its_compose_files_in_every_environment(stack):
    folder = os.path.join(ROOT, "files", "stacks", stack)
    definition = yaml_of("files", "stacks", stack, "stack.yml")
    for environment in environments_of(stack):
        documents = [yaml_of("files", "stacks", stack, "compose.yaml")]
        if environment:
            documents.append(yaml_of("files", "stacks", stack, "compose.%s.yaml" % environment))
        problems = definitions.cross_check(definition, documents, lambda path: os.path.exists(os.path.join(folder, path)))
        assert problems == [], environment


@pytest.mark.parametrize("stack", STACKS)
def test_every_service_of_a_stack_has_a_health_check_and_every_secret_is_mounted(stack):
    definition = yaml_of("files", "stacks", stack, "stack.yml")
    document = yaml_of("files", "stacks", stack, "compose.yaml")
    ending = definition.get("health", {}).get("jobs", []) + definition.get("tools", [])
    assert [name for name, service in document["services"].items() if name not in ending and "healthcheck" not in service] == []
    mounted = set(name for pairs in definitions.secrets_of_services([document]).values() for name, unused in pairs)
    assert mounted == set(definition.get("secrets", {}))


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_has_a_readme_and_an_ignore_file_for_each_recipe(stack):
    folder = os.path.join(ROOT, "files", "stacks", stack)
    assert os.path.getsize(os.path.join(folder, "README.md")) > 200
    for image in yaml_of("files", "stacks", stack, "stack.yml")["images"].values():
        if "build" in image:
            assert os.path.isfile(os.path.join(folder, image["build"]["recipe"], ".dockerignore"))


# -- all files ----------------------------------------------------------------------

def all_files():
    """Every file of the repository that git has or would take."""
    done = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE,
                          check=True)
    names = sorted(set(name for name in done.stdout.decode("utf-8").split("\0") if name))
    return [name for name in names if os.path.isfile(os.path.join(ROOT, name)) and not os.path.islink(os.path.join(ROOT, name))]


def lines_with(pattern, names):
    found = []
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as handle:
            for number, line in enumerate(handle.read().decode("utf-8", "replace").splitlines(), 1):
                if re.search(pattern, line):
                    found.append("%s:%d: %s" % (name, number, line.strip()[:120]))
    return found


def test_the_pattern_finder_finds():
    assert lines_with("class ReleaseError", ["plugins/modules/release.py"]) != []
    assert "plugins/modules/release.py" in all_files()


# Written in two parts, so that this file is no find of its own. A Dockerfile and a scenario name paths of their own container or host.
@pytest.mark.parametrize("path, elsewhere", [("/wor" + "k/", ()), ("/tmp/bash" + "_jobs", ()), ("/roo" + "t/", ("/Dockerfile", "molecule/"))])
def test_no_file_has_a_path_of_somebodys_machine(path, elsewhere):
    names = [name for name in all_files() if not any(part in name for part in elsewhere)]
    assert lines_with(r"(?<![A-Za-z0-9_.}])" + re.escape(path), names) == []


@pytest.mark.parametrize("host", ["deb.deb" + "ian.org", "py" + "pi.org", "files.python" + "hosted.org", "registry.npm" + "js.org"])
def test_no_file_has_the_name_of_a_package_registry(host):
    assert lines_with(re.escape(host), all_files()) == []


@pytest.mark.parametrize("password", ["inventory_pi" + "_2024", "_secret_key_change_in" + "_production", "thingdb_default" + "_pass",
                                      "thingdb_docker" + "_pass",
                                      "change_this_secret" + "_key"])
def test_no_default_password_of_an_application_outside_tests_and_documentation(password):
    names = [name for name in all_files() if not name.startswith(("tests/", "docs/")) and not name.endswith(".md")]
    assert lines_with(re.escape(password), names) == []


def test_every_python_file_of_the_plugins_has_its_head():
    missing = [path for path in python_below("plugins") if os.path.getsize(os.path.join(ROOT, path))
               and "# SPDX-License-Identifier: GPL-3.0-or-later" not in text_of(path).split("from __future__")[0]]
    assert missing == []


def test_no_test_is_skipped():
    assert lines_with(r"pytest\.(mark\.)?(ski" + r"p|xfai" + "l)",
                      [name for name in all_files() if name.startswith("tests/unit/") and name.endswith(".py")]) == []
