# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller is killed in the middle of things; the next run brings the host where it should be.

The moment is an event on the host, never a time (a bracket keeps a pattern from finding the shell that looks for it). Where the host's half would go
on by itself after the connection is gone, it is killed too, so that the work is really cut off in the middle.
"""

from __future__ import annotations

import time

import pytest

from fleet import STACK, Poll, copy_source

# The modules of a run, and what they started. The hosts run no other Python.
KILL_WORKERS = "pkill -KILL -x python3; pkill -KILL -x docker; pkill -KILL docker-compose; pkill -KILL docker-buildx; true"


def test_in_the_middle_of_the_package_installation(fleet):
    host = fleet.a
    if host.sh("command -v dockerd", check=False):
        pytest.fail("this journey needs a bare host; run without JOURNEY_KEEP")
    # dpkg is at work, and has unpacked docker.io without having configured it.
    fleet.deploy_and_kill("until pgrep -x dpkg && dpkg-query -W -f='${db:Status-Status}\\n' docker.io | grep -E 'unpacked|half'; do sleep 0.05; done")
    host.sh("pkill -KILL -x python3; pkill -KILL -x apt-get; pkill -KILL -x dpkg; true")
    assert host.sh("dpkg --audit"), "nothing was interrupted"

    # The next run mends that and goes on; it is killed in its turn, while the image is built.
    fleet.deploy_and_kill("until pgrep -f '[p]ip install'; do sleep 0.05; done")
    host.sh(KILL_WORKERS)
    assert not host.sh("dpkg --audit")
    assert host.sh("docker image ls -q --filter label=org.dockyard.stack=inventory") == "", "half an image has a name"
    host.whole()
    assert host.ask("/health")[0] == 0, "something serves although nothing was released"

    fleet.deploy().good()
    assert host.healthy()
    host.whole()
    assert host.leftovers() == []
    assert host.sh("ls -A /var/tmp | grep dockyard", check=False) == "", "the workspace of the killed build is still there"
    fleet.unchanged()


def test_in_the_middle_of_the_build_of_a_new_version(converged, tmp_path):
    host = converged.a
    source = copy_source(tmp_path, {"src/templates/home.html": ("<h1>", "<h1>Second version: ")})
    containers = host.state()["containers"]
    tags = host.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' | sort")
    with Poll(host) as poll:
        converged.deploy_and_kill("until pgrep -f '[b]uildx build|[d]ocker build'; do sleep 0.02; done", "-e", f"dockyard_source_inventory={source}")
        host.sh(KILL_WORKERS)
        time.sleep(3)
        moment = time.monotonic()
    assert poll.wrong_before(moment) == []
    assert host.state()["containers"] == containers
    assert host.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' | sort") == tags
    host.whole()


def test_in_the_middle_of_compose_up(converged, tmp_path):
    host = converged.a
    source = copy_source(tmp_path, {"src/templates/home.html": ("<h1>", "<h1>Third version: ")})
    words = ("-e", f"dockyard_source_inventory={source}")

    # Compose has just started: it is frozen where it stands, before it has replaced anything, and killed with the run.
    frozen = "until pkill -STOP -f '[d]ocker-compose compose .* up '; do sleep 0.01; done"
    containers = host.state()["containers"]
    with Poll(host) as poll:
        converged.deploy_and_kill(frozen, *words)
        host.sh(KILL_WORKERS)
        time.sleep(3)
        moment = time.monotonic()
    assert poll.wrong_before(moment) == [], "the earlier version did not serve all the time"
    assert host.state()["containers"] == containers
    assert "Third version" not in host.ask("/")[1]
    host.whole()

    # Now in the very moment in which the earlier application is told to stop.
    stopping = ("docker events --filter event=kill --filter container=inventory-app-1 --format x > /tmp/events & watch=$!;"
                " until [ -s /tmp/events ]; do sleep 0.02; done; kill $watch; rm /tmp/events")
    with Poll(host) as poll:
        moment = converged.deploy_and_kill(stopping, *words)
        host.sh(KILL_WORKERS)
    # Less what the news needed to come here.
    assert poll.wrong_before(moment - 1) == []
    host.whole()

    converged.deploy(*words).good()
    assert host.healthy()
    assert "Third version" in host.ask("/")[1]
    host.whole()
    assert host.leftovers() == []
    assert host.sh(f"ls {STACK}/../ -A") == "inventory"
    converged.unchanged(*words)


def test_the_host_goes_on_when_only_the_controller_is_gone(converged):
    host = converged.a
    words = ("-e", '{"dockyard_env_inventory": {"app": {"WEB_WORKERS": "1"}}}')
    converged.deploy_and_kill("until pgrep -f '[d]ocker-compose compose .* up '; do sleep 0.02; done", *words)
    # The module holds the stack's lock until it has come to its end; the next run waits for it.
    converged.deploy(*words).good()
    assert host.healthy()
    assert host.sh(f"grep -c WEB_WORKERS=.*1 {STACK}/app.env") == "1"
    host.whole()
    assert host.leftovers() == []
    converged.unchanged(*words)
