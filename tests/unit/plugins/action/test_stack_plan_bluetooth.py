# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bluetooth in a plan: the settings, the operator's variables, the stack's own files, Compose's tags."""

from __future__ import annotations

from unittest import mock

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.dockyard.fleet.plugins.action import stack_plan
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions

STACK = {"schema": 1, "name": "my-ring", "images": {"web": {"pull": {"image": "web:1"}}}, "settings": {"BLE": {"default": "none"}},
         "bluetooth": {"access": {"setting": "BLE"}, "uid": 52101, "services": ["web"], "optional": True}}
COMPOSE = {"services": {"web": {"image": "${WEB_IMAGE}", "user": "1000:1000", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"],
                                "networks": ["in"]}}, "networks": {"in": {}}}
HOST = "services:\n  web:\n    privileged: true\n    network_mode: host\n"
FACTS = {"architecture": {"docker_platform": "linux/arm64"}, "bluetooth": {"adapters": ["hci0"], "apparmor": True}, "releases": {}}
SOCKET = "/run/dbus/system_bus_socket"


@pytest.fixture(name="shelf")
def fixture_shelf(tmp_path):
    def put(stack=None, compose=None, **files):
        folder = tmp_path / "my-ring"
        folder.mkdir(exist_ok=True)
        (folder / "stack.yml").write_text(yaml.safe_dump(stack or STACK))
        (folder / "compose.yaml").write_text(yaml.safe_dump(compose or COMPOSE))
        for access, text in files.items():
            (folder / ("compose.bluetooth-%s.yaml" % access)).write_text(text)
        return tmp_path
    return put


def plan(folder, ble="dbus", facts=None, **variables):
    variables = dict({"inventory_hostname": "pi", "dockyard_settings_my_ring": {"BLE": ble}}, **variables)
    task = mock.MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"stacks": ["my-ring"], "stack_path": [str(folder)], "facts": FACTS if facts is None else facts}
    action = stack_plan.ActionModule(task, mock.MagicMock(), mock.MagicMock(), DataLoader(), Templar(loader=DataLoader(), variables=variables), None)
    return action.run(task_vars=variables)


def test_nothing_unless_asked(shelf):
    result = plan(shelf(), "none")
    assert result["problems"] == [] and result["bluetooth"] == [] and result["notes"] == []
    assert "web" not in result["stacks"][0]["overlay"] and result["stacks"][0]["compose_files"] == ["compose.yaml"]


def test_the_bus_comes_into_the_made_overlay(shelf):
    result = plan(shelf())
    assert result["problems"] == []
    assert result["bluetooth"] == [{"stack": "my-ring", "access": "dbus", "uid": 52101, "gid": 52101, "services": ["web"], "optional": True, "expected": False,
                                    "apparmor": True}]
    made = result["stacks"][0]["overlay"]["web"]
    assert made["user"] == "52101:52101" and made["security_opt"] == ["apparmor=dockyard-bluetooth"]
    assert [mount["source"] for mount in made["volumes"]] == [SOCKET]


def test_the_stack_s_own_file_is_laid_over(shelf):
    result = plan(shelf(dbus="services: {web: {environment: {A: b}}}\n"))
    assert result["problems"] == [] and result["stacks"][0]["compose_files"] == ["compose.yaml", "compose.bluetooth-dbus.yaml"]
    assert [entry["path"] for entry in result["stacks"][0]["files"]] == ["compose.yaml", "compose.bluetooth-dbus.yaml"]


def test_that_file_may_not_open_more(shelf):
    found = plan(shelf(dbus="services: {web: {privileged: true}}\n"))["problems"]
    assert len(found) == 1 and "privileged: True" in found[0]


def test_another_uid_of_the_operator(shelf):
    assert plan(shelf(), dockyard_bluetooth_uid_my_ring="6000")["stacks"][0]["overlay"]["web"]["user"] == "6000:6000"
    assert "found 0" in plan(shelf(), dockyard_bluetooth_uid_my_ring=0)["problems"][0]


def test_uid_0_is_refused_at_plan_time(shelf):
    stack = dict(STACK, bluetooth=dict(STACK["bluetooth"], uid=0))
    found = plan(shelf(stack), "none")["problems"]
    assert len(found) == 1 and "bluetooth/uid: found 0; needed a uid other than root's" in found[0]


def test_no_adapter(shelf):
    bare = dict(FACTS, bluetooth={"adapters": []})
    result = plan(shelf(), facts=bare)
    assert result["problems"] == [] and result["bluetooth"] == [] and "web" not in result["stacks"][0]["overlay"]
    assert len(result["notes"]) == 1 and result["notes"][0].startswith("my-ring runs without Bluetooth: no adapter")
    needed = dict(STACK, bluetooth=dict(STACK["bluetooth"], optional=False))
    assert plan(shelf(needed), facts=bare)["problems"][0].startswith("my-ring, Bluetooth: found no adapter")
    assert plan(shelf(needed), facts=bare, dockyard_bluetooth_adapter="present")["bluetooth"][0]["expected"] is True


def test_host_mode(shelf):
    folder = shelf(host=HOST)
    assert "asked for twice" in plan(folder, "host")["problems"][0] and len(plan(folder, "host")["problems"]) == 1
    result = plan(folder, "host", dockyard_bluetooth_host_my_ring="yes")
    assert result["problems"] == [] and result["stacks"][0]["compose_files"] == ["compose.yaml", "compose.bluetooth-reset.yaml", "compose.bluetooth-host.yaml"]
    made = next(file for file in result["stacks"][0]["files"] if file["path"] == "compose.bluetooth-reset.yaml")
    assert made["content"] == "services:\n  web:\n    networks: !reset null\n    ports: !reset []\n"
    assert result["stacks"][0]["overlay"]["web"]["user"] == "52101:52101" and "host mode" in result["notes"][0] and "privileged" in result["notes"][0]


def test_host_mode_of_a_stack_that_has_none(shelf):
    found = plan(shelf(), "host", dockyard_bluetooth_host_my_ring=True)["problems"]
    assert len(found) == 1 and "no file compose.bluetooth-host.yaml" in found[0]


def test_compose_s_own_tags(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("services:\n  web:\n    networks: !reset null\n    ports: !override [a]\n    x: !override {b: 1}\n    image: !override c\n")
    document = stack_plan.read_yaml(str(path))
    web = document["services"]["web"]
    assert isinstance(web["networks"], definitions.Reset) and (web["ports"], web["x"], web["image"]) == (["a"], {"b": 1}, "c")
    merged = definitions.services_of([{"services": {"web": {"networks": ["in"], "image": "a"}}}, document])
    assert "networks" not in merged["web"] and merged["web"]["image"] == "c"


@pytest.mark.parametrize("access, files", [("dbus", "compose.bluetooth-dbus.yaml"), ("host", "compose.bluetooth-host.yaml")])
def test_oura(tmp_path, access, files):
    source = tmp_path / "source"
    source.mkdir()
    variables = {"inventory_hostname": "pi", "dockyard_settings_oura": {"OURA_BLUETOOTH": access}, "dockyard_bluetooth_host_oura": True,
                 "dockyard_source_oura": str(source)}
    task = mock.MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"stacks": ["oura"], "facts": FACTS}
    result = stack_plan.ActionModule(task, mock.MagicMock(), mock.MagicMock(), DataLoader(), Templar(loader=DataLoader(), variables=variables), None).run(
        task_vars=variables)
    assert result["problems"] == []
    planned = result["stacks"][0]
    assert files in planned["compose_files"] and planned["overlay"]["backend"]["user"] == "52101:1000"
    backend = next(image for image in planned["images"] if image["name"] == "backend")
    assert backend["build"]["args"]["BLUETOOTH"] == access
    assert "user" not in planned["overlay"].get("parser", {})


def test_two_stacks_with_one_uid_and_a_stack_beside(shelf):
    folder = shelf()
    other = folder / "other"
    other.mkdir()
    (other / "stack.yml").write_text(yaml.safe_dump(dict(STACK, name="other")))
    (other / "compose.yaml").write_text(yaml.safe_dump(COMPOSE))
    beside = dict(FACTS, releases={"other": {"outcome": "released"}}, containers=[{"project": "other"}])
    found = plan(folder, facts=beside, dockyard_settings_other={"BLE": "dbus"})["problems"]
    assert len(found) == 1 and "52101" in found[0] and "other" in found[0] and "my-ring" in found[0]
    result = plan(folder, facts=beside, dockyard_settings_other={"BLE": "dbus"}, dockyard_bluetooth_uid_other=52102)
    assert result["problems"] == [] and [entry["uid"] for entry in result["bluetooth"]] == [52101, 52102]
    # Without Bluetooth in the run itself the host's is left as it is.
    assert plan(folder, "none", facts=beside, dockyard_settings_other={"BLE": "dbus"})["bluetooth"] == []
