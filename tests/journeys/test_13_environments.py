# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four environments on a real host: Compose's own word on each of them, who reaches whom, and what offline and development do."""

from __future__ import annotations

import base64
import io
import json
import shlex
import socket
import sys
import tarfile
import time

import pytest

from fleet import ROOT, STACK, copy_source

sys.path.insert(0, str(ROOT / "tests" / "unit" / "stacks"))
import rendering  # noqa: E402  pylint: disable=wrong-import-position

CASES = [(stack, environment) for stack in rendering.stacks() for environment in rendering.ENVIRONMENTS]


# -- the real program ------------------------------------------------------------

@pytest.fixture(name="developed")
def fixture_developed(fleet):
    """The fleet as the development test before leaves it."""
    assert fleet.a.sh(f"test -d {STACK}/source && echo there") == "there"
    return fleet


@pytest.fixture(name="models", scope="module")
def fixture_models(fleet):
    """What `docker compose config` of the host makes of every stack in every environment: dict of (stack, environment) to model."""
    if not fleet.clean:
        fleet.deploy().good()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for stack, environment in CASES:
            for name, text in rendering.project_files(rendering.STACKS / stack, environment).items():
                entry = tarfile.TarInfo(f"{stack}/{environment}/{name}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
    said = fleet.a.sh("rm -rf /tmp/environments && mkdir /tmp/environments && cd /tmp/environments && echo %s | base64 -d | tar -xz && for folder in */*; do"
                      " echo \"=== $folder\"; (cd $folder && docker compose --profile '*' config --format json 2>&1); done; rm -rf /tmp/environments"
                      % base64.b64encode(packed.getvalue()).decode())
    return {tuple(part.partition("\n")[0].split("/")): part.partition("\n")[2] for part in said.split("=== ")[1:]}


@pytest.mark.parametrize("stack, environment", CASES)
def test_compose_takes_it_and_sees_the_recorded_security(models, stack, environment):
    assert models[stack, environment].lstrip().startswith("{"), models[stack, environment]
    found = rendering.security_of(json.loads(models[stack, environment]), f"/tmp/environments/{stack}/{environment}")
    assert rendering.text_of(found) == rendering.recorded_path(stack, environment).read_text(encoding="utf-8")


# -- networks, from inside --------------------------------------------------------

def reaches(host, service, address, port):
    """Whether a service of the stack gets a connection."""
    question = f"timeout 5 bash -c {shlex.quote(f'exec 3<>/dev/tcp/{address}/{port}')}"
    return host.sh(f"docker exec inventory-{service}-1 {question} 2>/dev/null && echo yes || echo no") == "yes"


def address_of(host, service, network):
    return host.sh(f"docker inspect -f '{{{{(index .NetworkSettings.Networks \"inventory_{network}\").IPAddress}}}}' inventory-{service}-1")


def test_a_service_reaches_what_it_uses(converged):
    assert reaches(converged.a, "nginx", "app", 8000)
    assert reaches(converged.a, "app", "db", 5432)


def test_nginx_does_not_reach_the_data_base_by_name_or_address(converged):
    address = address_of(converged.a, "db", "backend")
    assert reaches(converged.a, "app", address, 5432)
    assert not reaches(converged.a, "nginx", "db", 5432)
    assert not reaches(converged.a, "nginx", address, 5432)


def test_the_data_base_has_no_way_out(converged):
    """The other test host stands for the world: the application reaches it, the data base has not even a route."""
    assert reaches(converged.a, "app", converged.b.address, 22)
    assert not reaches(converged.a, "db", converged.b.address, 22)
    routes = converged.a.sh("docker exec inventory-db-1 cat /proc/net/route").splitlines()[1:]
    assert routes and all(line.split()[1] != "00000000" for line in routes), routes


def test_a_container_of_something_else_reaches_nothing(converged):
    host = converged.a
    image = host.sh("docker inspect -f '{{.Config.Image}}' inventory-nginx-1")
    targets = {("app", "frontend"): 8000, ("app", "backend"): 8000, ("db", "backend"): 5432, ("nginx", "frontend"): 8443}
    script = "; ".join(f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address_of(host, *target)}/{port}' 2>/dev/null && echo {target[0]}"
                       for target, port in targets.items())
    assert host.sh(f"docker run --rm --entrypoint bash {image} -c {shlex.quote(script + '; true')}") == ""


def test_only_nginx_listens_on_the_host(converged):
    ports = set(converged.a.sh("docker ps --format '{{.Names}} {{.Ports}}' | grep -o '^inventory[^ ]*.*' | grep -oE '(0.0.0.0|127.0.0.1):[0-9]+'").splitlines())
    assert ports == {"0.0.0.0:80", "0.0.0.0:443"}


# -- offline -------------------------------------------------------------------------

def test_offline_names_everything_outside_and_changes_nothing(converged, tmp_path):
    source = copy_source(tmp_path, {"src/templates/home.html": ("<h1>", "<h1>Offline: ")})
    before = converged.a.state()
    run = converged.deploy("-e", "dockyard_environment=offline", "-e", f"dockyard_source_inventory={source}", "-e", json.dumps({
        "dockyard_images_inventory": {"nginx": "registry.outside.example/nginx:9"},
        "dockyard_env_inventory": {"app": {"HF_ENDPOINT": "https://models.outside.example"}}}))
    assert run.code != 0 and run.changed == {converged.a.name: 0}, run.output[-6000:]
    run.says("inventory, image nginx: found registry.outside.example/nginx:9 (not on the host), which would be pulled from registry.outside.example",
             "inventory, image app: found it has to be built here (content changed), and its build asks the public package index (PIP_INDEX_URL is empty)",
             "inventory, environment of app, HF_ENDPOINT: found https://models.outside.example", "dockyard_offline_hosts")
    assert converged.a.state() == before
    converged.clean = True


def test_offline_passes_on_a_host_that_has_everything(converged):
    host = converged.a
    converged.deploy("-e", "dockyard_environment=offline").good()
    assert host.healthy()
    host.sh(f"grep -q 'pull_policy: never' {STACK}/compose.offline.yaml")
    assert "HF_HUB_OFFLINE=1" in host.sh("docker inspect -f '{{.Config.Env}}' inventory-app-1")
    converged.unchanged("-e", "dockyard_environment=offline")


# -- development -----------------------------------------------------------------------

@pytest.mark.heavy
def test_development_runs_the_mounted_source_and_loads_it_again(converged):
    host = converged.a
    before = host.sh("docker inspect -f '{{.Config.Image}}' inventory-app-1")
    converged.deploy("-e", "dockyard_environment=development").good()
    host.wait_healthy()
    assert host.sh("docker inspect -f '{{.Config.Image}}' inventory-app-1") == before
    mounts = json.loads(host.sh("docker inspect -f '{{json .Mounts}}' inventory-app-1"))
    source = f"{STACK}/source/src"
    assert [(mount["Source"], mount["RW"]) for mount in mounts if mount["Type"] == "bind" and "secrets" not in mount["Source"]] == [(source, False)]

    # Somebody edits on the host; the running container serves it, the same one.
    container = host.sh("docker inspect -f '{{.Id}} {{.State.StartedAt}}' inventory-app-1")
    host.sh(f"sed -i 's/status=\"healthy\", database=\"ok\"/status=\"healthy\", database=\"ok\", edited=\"on the host\"/' {source}/routes/admin_routes.py")
    deadline = time.monotonic() + 60
    # While the worker starts again, nginx answers in its place.
    while '"on the host"' not in host.ask("/health")[1]:
        assert time.monotonic() < deadline, host.sh("docker logs --tail 30 inventory-app-1 2>&1")
        time.sleep(1)
    assert host.sh("docker inspect -f '{{.Id}} {{.State.StartedAt}}' inventory-app-1") == container


@pytest.mark.heavy
def test_the_port_for_debugging_answers_on_the_host_only(developed):
    host = developed.a
    assert host.sh("docker ps --format '{{.Ports}}' --filter name=inventory-app-1") == "127.0.0.1:15680->8000/tcp"
    assert "healthy" in host.sh("curl -sf http://127.0.0.1:15680/health")
    with pytest.raises(OSError):
        socket.create_connection((host.address, 15680), timeout=5).close()


@pytest.mark.heavy
def test_another_run_puts_the_source_of_the_controller_back(developed):
    host = developed.a
    developed.deploy("-e", "dockyard_environment=development").good()
    host.wait_healthy()
    host.sh(f"! grep -rq 'on the host' {STACK}/source")
    developed.deploy().good()
    assert host.healthy() and host.sh(f"find {STACK}/source -type f 2>/dev/null || true") == ""
    assert host.sh("docker ps --format '{{.Ports}}' --filter name=inventory-app-1") == "8000/tcp"
