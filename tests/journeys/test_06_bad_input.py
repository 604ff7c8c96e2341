# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user gets wrong: one message (where, found, needed, what to set), and nothing that runs is touched."""

from __future__ import annotations

import contextlib
import json

from fleet import make_stack

WEB = {"build": {"recipe": "web", "source": False}}
COMPOSE = {"services": {"web": {"image": "${WEB_IMAGE}", "restart": "unless-stopped", "init": True}}}
RECIPE = {"web/Dockerfile": 'FROM busybox:1.37\nCMD ["sleep", "1000000"]\n'}
PORT = {"settings": {"HELLO_PORT": {"default": 8085, "type": "port", "description": "Port."}},
        "ports": [{"service": "web", "setting": "HELLO_PORT", "container": 80}]}


@contextlib.contextmanager
def untouched(fleet):
    """What runs on the host, its images and its files are afterwards what they were, and it serves."""
    before = fleet.a.state()
    yield
    after = fleet.a.state()
    assert after == before
    assert fleet.a.healthy()
    fleet.clean = True


def refused(fleet, *words):
    """The run, which must fail with one message."""
    run = fleet.deploy(*words)
    assert run.code != 0, run.output[-6000:]
    assert run.failures == 1, run.output[-6000:]
    assert "Traceback" not in run.output, run.output[-6000:]
    return run


def with_stacks(folder, *names):
    """The words for stacks of the user's own, beside the inventory."""
    return "-e", json.dumps({"dockyard_stack_path": [str(folder)], "dockyard_stacks": ["inventory", *names]})


def test_unknown_key(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": WEB}, "volume": {}}, COMPOSE, RECIPE)
    with untouched(converged):
        refused(converged, *with_stacks(tmp_path, "hello")).says(f"{tmp_path}/hello/stack.yml", "volume", "volumes")


def test_unknown_stack(converged):
    with untouched(converged):
        refused(converged, "-e", "dockyard_stacks=inventori").says("inventori", "inventory", "dockyard_stacks")


def test_missing_secret(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": WEB}, "secrets": {"api_token": {"source": "given", "readers": [1000]}}},
               {**COMPOSE, "secrets": {"api_token": {"file": "./secrets/api_token.1000"}}}, RECIPE)
    with untouched(converged):
        refused(converged, *with_stacks(tmp_path, "hello")).says("api_token", "dockyard_secrets_hello")


def test_two_stacks_on_one_port(converged, tmp_path):
    for name in ("hello", "world"):
        make_stack(tmp_path, name, {"images": {"web": WEB}, **PORT},
                   {"services": {"web": {**COMPOSE["services"]["web"], "ports": ["${HELLO_PORT}:80"]}}}, RECIPE)
    with untouched(converged):
        refused(converged, *with_stacks(tmp_path, "hello", "world")).says(
            "port 8085/tcp", "hello", "world", "dockyard_settings_hello.HELLO_PORT", "dockyard_settings_world.HELLO_PORT")


def test_port_held_by_another_program(converged):
    converged.a.sh("systemd-run --quiet --unit=holder python3 -m http.server 9443")
    try:
        converged.a.sh("for i in 1 2 3 4 5 6 7 8 9 10; do curl -s -o /dev/null http://127.0.0.1:9443/ && exit 0; sleep 0.5; done; exit 1")
        with untouched(converged):
            refused(converged, "-e", '{"dockyard_settings_inventory": {"INVENTORY_HTTPS_PORT": 9443}}').says(
                "port 9443", "python3", "dockyard_settings_inventory.INVENTORY_HTTPS_PORT")
    finally:
        converged.a.sh("systemctl stop holder")


def test_not_enough_disk(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": WEB}, "needs": {"disk_mb": 900000000}}, COMPOSE, RECIPE)
    with untouched(converged):
        refused(converged, *with_stacks(tmp_path, "hello")).says("disk", "900000000 MB", "MB free", "docker_engine_data_root")


def test_registry_that_does_not_answer(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": {"pull": {"image": "127.0.0.1:9/nobody/web:1"}}}}, COMPOSE)
    with untouched(converged):
        refused(converged, *with_stacks(tmp_path, "hello")).says("hello/web", "127.0.0.1:9", "needed")


def test_dockerfile_that_fails(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": WEB}}, COMPOSE, {"web/Dockerfile": "FROM busybox:1.37\nRUN echo the anvil is missing >&2; exit 7\n"})
    state = converged.a.state()
    refused(converged, *with_stacks(tmp_path, "hello")).says("hello/web", "the anvil is missing", "7", "Dockerfile")
    after = converged.a.state()
    # The base image was pulled, and stays for the next try.
    assert {**after, "images": ""} == {**state, "images": ""}
    assert "hello" not in after["images"]
    assert converged.a.healthy()
    converged.clean = True


def test_image_over_its_budget(converged, tmp_path):
    make_stack(tmp_path, "hello", {"images": {"web": {**WEB, "budget_mb": 12}}}, COMPOSE,
               {"web/Dockerfile": "FROM busybox:1.37\nRUN dd if=/dev/zero of=/ballast bs=1M count=16\n"})
    state = converged.a.state()
    refused(converged, *with_stacks(tmp_path, "hello")).says("hello/web", "budget_mb", "12")
    after = converged.a.state()
    assert {**after, "images": ""} == {**state, "images": ""}
    assert "hello" not in after["images"], "an image that is too large kept its name"
    assert converged.a.healthy()
    converged.clean = True


def test_docker_stopped_and_masked(converged):
    host = converged.a
    before, running = host.state(), "pgrep -f '[g]unicorn|[n]ginx: ' | sort"
    pids = host.sh(running)
    host.sh("systemctl mask --now docker.socket docker.service")
    try:
        # Live-restore: the containers go on without their engine (names are not resolved in them, so nginx answers 502 meanwhile).
        refused(converged).says("docker.service", "mask")
        assert host.sh(running) == pids
    finally:
        host.sh("systemctl unmask docker.socket docker.service; systemctl start docker.socket docker.service")
    assert host.state() == before
    converged.unchanged()
