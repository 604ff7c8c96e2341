# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack stream_checker after a restart of its host: a stream is checked, and one that is down is told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

ROOT = os.environ["MOLECULE_PROJECT_DIRECTORY"]
sys.path.insert(0, os.path.join(ROOT, "tests", "journeys"))

from station import Station  # noqa: E402

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
testinfra_hosts = AnsibleRunner(INVENTORY).get_hosts("all")
TONE = "ffmpeg -v error -f lavfi -i sine=frequency=440:duration=20 -c:a libmp3lame -b:a 128k -f mp3 - | base64 -w 0"


@pytest.fixture(name="station")
def fixture_station(host):
    """A station on this machine that plays a tone which the stack's own ffmpeg has made."""
    with host.sudo():
        image = host.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' | grep stream_checker-app")
        tone = host.check_output("docker run --rm --network none --entrypoint sh %s -c %s", image, TONE)
    station = Station(host.check_output("ip -4 route show default").split()[2])
    station.tone = base64.b64decode(tone)
    yield station
    station.close()


def check(url):
    """(exit code, output) of the action, as a user runs it."""
    program = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
    environment = {**os.environ, "ANSIBLE_CONFIG": os.path.join(ROOT, "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    words = {"stack": "stream_checker", "action": "check", "url": url, "sample_duration": 4}
    done = subprocess.run([program, "playbooks/run.yml", "-i", INVENTORY, "-e", json.dumps(words)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    return done.returncode, done.stdout


def test_a_stream_passes_all_phases(station):
    code, output = check("%s/live.mp3" % station.url)
    assert code == 0, output
    found = json.JSONDecoder().raw_decode(output[output.index("{\n"):])[0]
    assert (found["phase"], found["connectivity"]["status"], found["stream_parameters"]["codec"]) == (4, "success", "MP3")


def test_a_stream_that_is_down_fails_the_run(station):
    code, output = check("%s/gone.mp3" % station.url)
    assert code != 0 and "connectivity.status" in output, output
