# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError

# What engines 20.10 and 26.1 really said.
NO_TAG = "Error response from daemon: manifest for busybox:9.99 not found: manifest unknown: manifest unknown"
NO_HOST = 'Error response from daemon: Get "https://registry.invalid.test/v2/": dial tcp: lookup registry.invalid.test on 10.255.255.53:53: no such host'
BUILD = """#0 building with "default" instance using docker driver
#5 [1/3] FROM docker.io/library/busybox:1.37
#5 CACHED
#6 [2/3] RUN echo before
#6 0.201 before
#6 DONE 0.2s
#7 [3/3] RUN echo working hard && cat /run/nothing
#7 0.177 working hard
#7 0.178 cat: can't open '/run/nothing': No such file or directory
#7 ERROR: process "/bin/sh -c echo working hard && cat /run/nothing" did not complete successfully: exit code: 1
------
 > [3/3] RUN echo working hard && cat /run/nothing:
0.177 working hard
------
ERROR: failed to solve: process "/bin/sh -c echo working hard && cat /run/nothing" did not complete successfully: exit code: 1
"""


def test_commands():
    assert cli.pull_argv("a:1") == ["pull", "--quiet", "a:1"]
    assert cli.pull_argv("a:1", "linux/arm64") == ["pull", "--quiet", "--platform", "linux/arm64", "a:1"]
    assert cli.inspect_argv(["a", "b"]) == ["image", "inspect", "a", "b"]
    assert cli.untag_argv(["a:1"]) == ["image", "rm", "a:1"], "never with force: a container may use it"
    assert cli.tag_argv("a:1", "a:2") == ["image", "tag", "a:1", "a:2"]


def test_the_build_command_has_no_value_that_could_be_secret():
    argv = cli.build_argv("t:1", ".dockyard/Dockerfile", ["B", "A"], {"l": "v"}, {"ca": "/tmp/s"}, "final", "linux/arm64", True)
    assert argv == ["buildx", "build", "--builder", "default", "--load", "--progress", "plain", "--tag", "t:1", "--file", ".dockyard/Dockerfile",
                    "--build-arg", "A",
                    "--build-arg", "B", "--label", "l=v", "--secret", "id=ca,src=/tmp/s", "--target", "final", "--platform", "linux/arm64", "-"]
    assert cli.build_environment({"A": "1"})["A"] == "1"


def test_without_buildx_the_engine_builds_by_itself():
    assert cli.build_argv("t:1", "D", [], {}, {}, None, None, False) == ["build", "--progress", "plain", "--tag", "t:1", "--file", "D", "-"]
    assert cli.build_environment({})["DOCKER_BUILDKIT"] == "1"


@pytest.mark.parametrize("text, kind", [
    (NO_TAG, "tag"), (NO_HOST, "registry"),
    ('Get "https://registry-1.docker.io/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)',
     "registry"),
    ("dial tcp 10.0.0.1:443: connect: connection refused", "registry"), ("received unexpected HTTP status: 503 Service Unavailable", "registry"),
    ('Get "https://x/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority', "certificate"),
    ('failed to do request: Head "https://x": x509: certificate has expired or is not yet valid', "certificate"),
    ("pull access denied for foo/bar, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", "auth"),
    ("unauthorized: authentication required", "auth"), ("no basic auth credentials", "auth"),
    ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "disk"),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", "platform"),
    ("toomanyrequests: You have reached your pull rate limit.", "rate"), ("http: server gave HTTP response to HTTPS client", "plain_http"),
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "daemon"), ("something else", "unknown"),
])
def test_why_a_pull_failed(text, kind):
    assert cli.failure_kind(text) == kind


@pytest.mark.parametrize("text, parts", [
    (NO_HOST, ["registry.invalid.test does not answer", "no such host", "docker_engine_registry_mirrors"]),
    (NO_TAG, ["no image registry.invalid.test/x/y:1 at registry.invalid.test", "FROM line"]),
    ("x509: unknown authority", ["does not trust", "docker_engine_ca_certificates"]), ("unauthorized", ["without a login"]),
    ("no space left on device", ["docker_engine_data_root"]),
    ("no matching manifest for linux/arm64", ["linux/arm64"]), ("weird", ["weird"]),
])
def test_a_failed_pull_says_what_to_do(text, parts):
    message = str(cli.pull_error("s/a", "registry.invalid.test/x/y:1", text, "linux/arm64"))
    assert all(part in message for part in ["s/a", "needed:", "set:", *parts]), message


class Script:
    """Answers commands in their order; another one, one too many or one too few fails."""

    def __init__(self, *steps):
        self.steps, self.seen = list(steps), []

    def __call__(self, argv, timeout_s, stdin=None, environment=None):
        assert self.steps, f"one call too many: {argv}"
        expected, done = self.steps.pop(0)
        assert argv == ["docker", *expected]
        self.seen.append((argv, timeout_s, stdin, environment))
        return done

    def end(self):
        assert not self.steps, f"calls that never came: {self.steps}"


def test_only_a_registry_that_does_not_answer_is_asked_again():
    pauses = []
    script = Script((["pull", "--quiet", "a:1"], cli.Done(1, "", NO_HOST)), (["pull", "--quiet", "a:1"], cli.Done(0, "", "")))
    cli.Docker(script, sleep=pauses.append).pull("a:1", None, "s/a")
    script.end()
    assert pauses == [cli.PULL_PAUSE_S]
    script = Script((["pull", "--quiet", "a:1"], cli.Done(1, "", NO_TAG)))
    with pytest.raises(ImagesError, match="no image a:1"):
        cli.Docker(script, sleep=pauses.append).pull("a:1", None, "s/a")
    script.end()


def test_a_registry_that_never_answers_ends_after_three_tries():
    script = Script(*[(["pull", "--quiet", "a:1"], cli.Done(None, "", ""))] * cli.PULL_TRIES)
    with pytest.raises(ImagesError, match="does not answer"):
        cli.Docker(script, sleep=lambda seconds: None).pull("a:1", None, "s/a")
    script.end()


def test_a_host_without_docker_is_told_so():
    with pytest.raises(ImagesError, match="no docker command"):
        cli.Docker(binary="/nonexistent/docker").must(["info"])


def test_the_failing_step_and_its_last_lines_are_found():
    step, error, tail = cli.build_failure(BUILD)
    assert step == "[3/3] RUN echo working hard && cat /run/nothing"
    assert error.endswith("exit code: 1")
    assert tail == "working hard\ncat: can't open '/run/nothing': No such file or directory"


def test_only_the_last_lines_are_shown():
    text = "#7 [1/1] RUN x\n" + "".join(f"#7 0.1 line {number}\n" for number in range(100)) + "#7 ERROR: exit code: 1\n"
    assert cli.build_failure(text)[2].splitlines() == [f"line {number}" for number in range(70, 100)]


def test_a_failure_before_the_first_step_shows_all():
    step, error, tail = cli.build_failure("noise\nERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN\n")
    assert step == "before the first step" and "RUNN" in error and "noise" in tail


def test_secrets_are_taken_out_of_output():
    text = cli.redact("a hunter2-very-secret b\nline two of it\nhttps://me:pw@host/x short", ["hunter2-very-secret\nline two of it\nshort\n"])
    assert "hunter2" not in text and "line two" not in text and "me:pw" not in text
    assert "host/x short" in text, "a short line would take too much with it"


@pytest.mark.parametrize("text, seconds", [
    ("1970-01-01T00:00:10Z", 10), ("2026-11-20T09:56:48.123456789Z", 1795168608), ("2024-02-29T12:00:00+02:00", 1709200800),
    ("2024-02-29T12:00:00-01:30", 1709213400),
    ("0001-01-01T00:00:00Z", 0), ("", 0), (None, 0), ("yesterday", 0),
])
def test_times_of_docker(text, seconds):
    assert cli.parse_created(text) == seconds


@pytest.mark.parametrize("text, platform", [("linux/x86_64\n", "linux/amd64"), ("linux/aarch64", "linux/arm64"), ("linux/armv7l", "linux/arm/v7"),
                         ("linux/riscv64", "linux/riscv64")])
def test_platforms_in_builds_words(text, platform):
    assert cli.docker_platform(text) == platform


def test_facts_of_an_image_are_those_of_host_facts():
    raw = {"Id": "sha256:1", "RepoTags": None, "RepoDigests": ["a@sha256:2"], "Created": "1970-01-01T00:00:10Z", "Size": 5, "Architecture": "arm64",
           "Config": {"Labels": None},
           "Metadata": {"LastTagTime": "1970-01-01T00:00:30+00:00"}}
    assert cli.image_facts(raw) == {"id": "sha256:1", "tags": [], "digests": ["a@sha256:2"], "created": 10, "tagged": 30, "size_bytes": 5,
                                    "architecture": "arm64", "labels": {}}


def test_a_command_that_does_not_end_is_ended_with_its_children(tmp_path):
    mark = tmp_path / "pid"
    begun = time.monotonic()
    done = cli.run_command(["sh", "-c", f"sleep 60 & echo $! > {mark}; echo said; wait"], 0.5)
    assert done.code is None and done.out == "said\n" and time.monotonic() - begun < 10
    child, deadline = int(mark.read_text()), time.monotonic() + 5
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_reads_its_input_and_environment(tmp_path):
    (tmp_path / "in").write_text("given")
    done = cli.run_command(["sh", "-c", "cat; echo $A >&2; exit 3"], 10, str(tmp_path / "in"), {"A": "b"})
    assert done == (3, "given", "b\n") and "A" not in os.environ
