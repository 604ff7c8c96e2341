# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack of which nothing runs: one check at a time, by hand and by a timer, judged by what it says."""

from __future__ import annotations

import base64
import json
import os
import time

import pytest

from fleet import CA, ROOT, Fleet, Host, Run
from hygiene import compiled, leftovers
from station import Station

RESULTS = "/var/lib/dockyard/results/stream_checker/check"
VOLUME = "/var/lib/docker/volumes/stream_checker_data/_data"
KEPT = 96
# The first run builds the image.
RUN_SECONDS = 900


class Checker(Fleet):
    """One host of its own, with Docker."""

    NAMES = {"a": "journey-checker"}

    def up(self) -> None:
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        self.bed("up", self.NAMES["a"], "--with-docker", *([] if keep else ["--fresh"]))
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(self.bed("inventory", self.NAMES["a"]), encoding="utf-8")
        self.a = Host(self.NAMES["a"], "")
        self.gateway = self.a.sh("ip -4 route show default").split()[2]

    def play(self, name: str, extra: dict) -> Run:
        """A playbook with extra variables."""
        return self.run(name, "-e", json.dumps(extra), timeout=RUN_SECONDS)

    def deploy_with(self, **settings) -> Run:
        return self.play("deploy", {"dockyard_stacks": ["stream_checker"], "dockyard_source_stream_checker": str(ROOT / "tests/apps/stream_checker"),
                                    "images_ca_certificate": str(CA), "dockyard_settings_stream_checker": settings})

    def check(self, url: str, **arguments) -> Run:
        return self.play("run", {"stack": "stream_checker", "action": "check", "url": url, **arguments})

    def results(self) -> list[str]:
        return self.a.sh(f"ls {RESULTS} 2>/dev/null", check=False).split()


def document(run: Run) -> dict:
    """The JSON that the action printed."""
    start = run.output.index("{\n")
    return json.JSONDecoder().raw_decode(run.output[start:])[0]


@pytest.fixture(name="checker", scope="module")
def fixture_checker(tmp_path_factory):
    """The stack, deployed; from then on its timer checks the station every five seconds."""
    checker = Checker(tmp_path_factory.mktemp("checker"))
    station = None
    try:
        checker.up()
        station = checker.station = Station(checker.gateway)
        checker.settings = {"STREAM_CHECKER_URL": f"{station.url}/live.mp3", "STREAM_CHECKER_PHASE": 1, "STREAM_CHECKER_CALENDAR": "*:*:0/5",
                            "STREAM_CHECKER_CONFIG": "database: {path: ~/.stream_checker/stream_checker.db}\nlogging: {file: ~/.stream_checker/logs/own.log}\n"}
        # Results of the past, for the timer to prune.
        checker.a.sh(f"install -d -m 0700 {RESULTS} && cd {RESULTS} && for i in $(seq 100 {KEPT + 110}); do echo '{{}}' > 2026-01-01T000$i.000000Z.json; done")
        checker.deploy_with(**checker.settings).good()
        image = checker.a.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' | grep stream_checker-app")
        checker.image = image
        sound = "ffmpeg -v error -f lavfi -i sine=frequency=440:duration=20 -c:a libmp3lame -b:a 128k -f mp3 -"
        station.tone = base64.b64decode(checker.a.sh(f"docker run --rm --network none --entrypoint sh {image} -c '{sound} | base64 -w 0'"))
        yield checker
    finally:
        if station:
            station.close()
        checker.down()


def test_a_stream_that_is_up_passes_all_phases(checker):
    run = checker.check(f"{checker.station.url}/live.mp3", sample_duration=4).good()
    found = document(run)
    assert found["phase"] == 4 and found["connectivity"]["status"] == "success"
    assert (found["stream_parameters"]["codec"], found["stream_parameters"]["bitrate_kbps"]) == ("MP3", 128)
    assert "error" not in found["audio_analysis"] and -30 < found["audio_analysis"]["audio_quality"]["average_volume_db"] < -10
    assert found["player_tests"]["vlc"]["status"] == "error", "VLC in an image without it"
    assert found["health_score"] == 60 and found["ad_detection"]["monitoring_duration_seconds"] == 30
    assert run.changed == {"journey-checker": 0}


def test_a_stream_that_is_down_fails_the_run(checker):
    run = checker.check(f"{checker.station.url}/gone.mp3", phase=3)
    assert run.code != 0 and run.failures == 1, run.output
    run.says('found connectivity.status: "error"', 'needed connectivity.status: "success"')
    assert document(run)["audio_analysis"]["error"] == "Failed to download audio sample"

    run = checker.check(f"http://{checker.gateway}:9/live.mp3", phase=1)
    assert run.code != 0
    run.says('found connectivity.status: "connection_error"')

    run = checker.check("file:///etc/passwd")
    assert run.code != 0
    run.says("url", "file:///etc/passwd", "https?://")


def test_the_timer_keeps_results_and_prunes_them(checker):
    deadline = time.monotonic() + 90
    while all(name.startswith("2026-01-01") for name in checker.results()):
        assert time.monotonic() < deadline, checker.a.sh("systemctl status --no-pager 'dockyard-*'; journalctl --no-pager -n 30", check=False)
        time.sleep(1)
    checker.a.sh("systemctl stop dockyard-stream_checker-check.timer; systemctl start dockyard-stream_checker-check.service")
    kept = checker.results()
    assert len(kept) == KEPT and sum(not name.startswith("2026-01-01") for name in kept) >= 2
    newest = json.loads(checker.a.sh(f"cat {RESULTS}/{kept[-1]}"))
    assert newest["success"] is True and newest["json"]["metadata"]["title"] == "Harbour Radio" and newest["json"]["phase"] == 1
    assert checker.a.sh(f"stat -c '%a %U' {RESULTS}/{kept[-1]}") == "600 root"


def test_the_image_has_no_compiler_and_no_cache_and_its_python_is_compiled(checker):
    assert leftovers(checker.a, checker.image) == []
    assert compiled(checker.a, checker.image, "/app", "/opt/packages") > 0.98


def test_nothing_of_it_runs_and_its_files_are_closed(checker):
    assert checker.a.sh("docker ps -aq --filter label=com.docker.compose.project=stream_checker") == ""
    owners = checker.a.sh(f"find {VOLUME} -printf '%U:%G %m %P\\n'").splitlines()
    assert "10001:10001 600 .stream_checker/logs/own.log" in owners, "the operator's configuration is used"
    assert "10001:10001 600 .stream_checker/stream_checker.db" in owners
    assert {line.split()[0] for line in owners} == {"10001:10001"} and not [line for line in owners if not line.split()[1].endswith("00")]


def test_deployed_again_nothing_changes_and_a_schedule_goes_with_its_setting(checker):
    checker.a.sh("systemctl start dockyard-stream_checker-check.timer")
    again = checker.deploy_with(**checker.settings).good()
    assert again.changed == {"journey-checker": 0}, again.output[-4000:]
    checker.deploy_with().good()
    assert checker.a.sh("ls /etc/systemd/system/ | grep dockyard-stream_checker", check=False) == ""
    assert checker.a.sh("systemctl list-timers --all --no-legend 'dockyard-stream*'") == ""
