# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images import api, cli, watch
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.progress import Tally

# What engine 26.1 really said, shortened.
EVENTS = [
    {"status": "Pulling from library/node", "id": "20-trixie-slim"},
    {"status": "Already exists", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "cccccccccccc"},
    {"status": "Downloading", "progressDetail": {"current": 400, "total": 1000}, "progress": "[=>  ]", "id": "bbbbbbbbbbbb"},
    {"status": "Download complete", "progressDetail": {}, "id": "cccccccccccc"},
    {"status": "Downloading", "progressDetail": {"current": 900, "total": 1000}, "id": "bbbbbbbbbbbb"},
    {"status": "Verifying Checksum", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Extracting", "progressDetail": {"current": 250, "total": 1000}, "id": "bbbbbbbbbbbb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "cccccccccccc"},
    {"status": "Digest: sha256:" + "d" * 64},
    {"status": "Status: Downloaded newer image for node:20-trixie-slim"},
]


def told(steps, take):
    tally, found = Tally(), []
    for step in steps:
        take(tally)(step)
        item = (tally.document()["items"] or [{"done": None, "total": None, "note": None}])[0]
        found.append((item["done"], item["total"], item["note"]))
    return found


def test_a_pull_tells_bytes_then_how_much_is_unpacked():
    kept = {}
    found = told(EVENTS, lambda tally: kept.setdefault("watch", watch.PullWatch(tally, "node")).event)
    assert found[0] == (None, None, None), "the tag's own line is no layer"
    assert found[3] == (0, None, "1 of 3 layers") and found[4] == (400, None, "1 of 3 layers")
    assert found[5] == (400, 1000, "1 of 3 layers") and found[6] == (900, 1000, "1 of 3 layers")
    assert found[7] == (1000, 1000, "1 of 3 layers, unpacking 0%")
    assert found[8] == (1000, 1000, "1 of 3 layers, unpacking 25%")
    assert found[-1] == (1000, 1000, "3 of 3 layers, unpacking 100%")


def test_the_command_tells_layers():
    lines = ["20-trixie-slim: Pulling from library/node", "bbbbbbbbbbbb: Pulling fs layer", "cccccccccccc: Pulling fs layer",
             "bbbbbbbbbbbb: Download complete", "bbbbbbbbbbbb: Pull complete", "cccccccccccc: Already exists", "Digest: sha256:" + "d" * 64, ""]
    kept = {}
    found = told(lines, lambda tally: kept.setdefault("watch", watch.PullWatch(tally, "node")).line)
    assert [(done, total) for done, total, unused in found] == [(None, None), (0, 1), (0, 2), (0, 2), (1, 2), (2, 2), (2, 2), (2, 2)]


def test_a_push_tells_layers():
    lines = ["The push refers to repository [r.test/x/a]", "bbbbbbbbbbbb: Preparing", "cccccccccccc: Preparing", "dddddddddddd: Waiting",
             "bbbbbbbbbbbb: Pushed", "cccccccccccc: Layer already exists", "dddddddddddd: Mounted from x/b", "tag: digest: sha256:" + "d" * 64 + " size: 9"]
    kept = {}
    found = told(lines, lambda tally: kept.setdefault("watch", watch.PullWatch(tally, "push")).line)
    assert [(done, total) for done, total, unused in found][1:] == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]


def test_a_push_tells_bytes_and_nothing_of_unpacking():
    events = [{"status": "The push refers to repository [r.test/x/a]"}, {"status": "Preparing", "id": "bbbbbbbbbbbb"},
              {"status": "Preparing", "id": "cccccccccccc"}, {"status": "Layer already exists", "id": "cccccccccccc"},
              {"status": "Pushing", "progressDetail": {"current": 10, "total": 40}, "id": "bbbbbbbbbbbb"},
              {"status": "Pushed", "id": "bbbbbbbbbbbb"}, {"progressDetail": {}, "aux": {"Tag": "t", "Digest": "sha256:d", "Size": 9}}]
    kept = {}
    found = told(events, lambda tally: kept.setdefault("watch", watch.PullWatch(tally, "push")).event)
    assert found[4:] == [(10, 40, "1 of 2 layers"), (40, 40, "2 of 2 layers"), (40, 40, "2 of 2 layers")]


@pytest.mark.parametrize("text, brief", [
    ("RUN --mount=type=secret,id=ca --mount=type=cache,target=/x     set -eu;     apt-get update", "RUN apt-get update"),
    ("COPY --from=build --chown=1:1 /a /b", "COPY /a /b"), ("RUN set -ex; make", "RUN make"), ("RUN echo --no", "RUN echo --no"), ("x" * 90, "x" * 50),
])
def test_a_step_is_told_in_few_words(text, brief):
    assert watch.brief_step(text) == brief


BUILD = """#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [build 1/3] FROM docker.io/library/python:3.11
#5 DONE 0.0s
#6 [build 2/3] RUN pip install --index-url https://user:pass@index.test/simple x
#6 0.2 [not 1/9] a step
#6 DONE 3.1s
#7 [linux/arm64 stage-1 1/2] FROM docker.io/library/busybox:1.37
#7 CACHED
#8 [build 3/3] RUN make
#8 DONE 1.0s
#9 [linux/arm64 stage-1 2/2] COPY --from=build /a /a
#10 exporting to image
#10 DONE 0.1s
"""


def test_a_build_tells_its_steps_and_no_password():
    kept = {}
    found = told(BUILD.splitlines(), lambda tally: kept.setdefault("watch", watch.BuildWatch(tally, "s/a")).line)
    assert (found[2], found[3]) == ((None, None, None), (0, 3, "FROM docker.io/library/python:3.11"))
    assert found[4][:2] == (1, 3)
    assert found[5][2] == "RUN pip install --index-url https://********@index"
    assert found[8][:2] == (2, 5) and found[9][:2] == (3, 5)
    assert found[-1] == (4, 5, "COPY /a /a")


class Engine(BaseHTTPRequestHandler):
    """An engine on a socket: one answer, and the requests that came."""

    status, lines, seen, headers_seen = 200, [], [], []

    def do_POST(self):
        self.seen.append(self.path)
        self.headers_seen.append(self.headers.get("X-Registry-Auth"))
        self.send_response(self.status)
        self.end_headers()
        for line in self.lines:
            self.wfile.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\r\n")

    def address_string(self):
        return "socket"

    def log_message(self, *unused):
        """Quiet."""


@pytest.fixture
def engine(tmp_path):
    path = str(tmp_path / "docker.sock")
    handler = type("Handler", (Engine,), {"seen": [], "headers_seen": []})
    server = socketserver.UnixStreamServer(path, handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    handler.path_of_socket = path
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def pull(engine, tmp_path, reference="node:20", platform=None):
    seen = []
    return api.pull(reference, platform, 30, seen.append, engine.path_of_socket, {"DOCKER_CONFIG": str(tmp_path)}), seen


def test_the_engine_is_asked_as_the_command_asks_it(engine, tmp_path):
    engine.lines = EVENTS + [b"no json\r\n"]
    failure, seen = pull(engine, tmp_path, "ghcr.io/a/b@sha256:" + "a" * 64, "linux/arm/v7")
    assert failure is None and seen[:-1] == EVENTS
    assert engine.seen == ["/images/create?fromImage=ghcr.io%2Fa%2Fb&tag=sha256%3A" + "a" * 64 + "&platform=linux%2Farm%2Fv7"]


def test_a_push_says_that_there_is_no_login(engine, tmp_path):
    engine.lines = [{"status": "Pushed", "id": "bbbbbbbbbbbb"}]
    seen = []
    assert api.push("r.test/x/a:t-arm64", 30, seen.append, engine.path_of_socket, {"DOCKER_CONFIG": str(tmp_path)}) is None
    assert seen == engine.lines and engine.seen == ["/images/r.test/x/a/push?tag=t-arm64"] and engine.headers_seen == ["e30="]
    engine.lines = [{"errorDetail": {"message": "denied: requested access to the resource is denied"}, "error": "denied"}]
    assert api.push("r.test/x/a:t", 30, seen.append, engine.path_of_socket, {"DOCKER_CONFIG": str(tmp_path)}).endswith("is denied")


@pytest.mark.parametrize("status, lines, kind", [
    (404, [{"message": "manifest for node:99 not found: manifest unknown: manifest unknown"}], "tag"),
    (500, [{"message": 'Get "https://r.test/v2/": dial tcp: lookup r.test: no such host'}], "registry"),
    (200, [EVENTS[0], {"errorDetail": {"message": "write /var/lib: no space left on device"}, "error": "write"}], "disk"),
    (200, [{"error": "toomanyrequests: slow down"}], "rate"),
    (404, [{"message": "pull access denied for x, repository does not exist or may require 'docker login'"}], "auth"),
])
def test_what_the_engine_refuses_reads_as_the_command_would_say_it(engine, tmp_path, status, lines, kind):
    engine.status, engine.lines = status, lines
    failure = pull(engine, tmp_path)[0]
    assert failure.startswith("Error response from daemon: ") and cli.failure_kind(failure) == kind


def test_without_a_socket_the_command_is_asked(tmp_path):
    with pytest.raises(api.NoApi):
        api.pull("node:20", None, 30, print, str(tmp_path / "absent.sock"), {"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("reference, config, environment, plain", [
    ("node:20", {}, {}, True),
    ("node:20", {"auths": {"ghcr.io": {}}, "currentContext": "default"}, {}, True),
    ("node:20", {"auths": {"https://index.docker.io/v1/": {}}}, {}, False),
    ("ghcr.io/a/b", {"auths": {"ghcr.io": {}}}, {}, False),
    ("ghcr.io/a/b", {"credHelpers": {"ghcr.io": "x"}}, {}, False),
    ("node:20", {"credsStore": "desktop"}, {}, False),
    ("node:20", {"currentContext": "remote"}, {}, False),
    ("node:20", {}, {"DOCKER_HOST": "ssh://else"}, False),
    ("node:20", {}, {"DOCKER_CONTEXT": "else"}, False),
])
def test_only_what_needs_no_login_is_asked_of_the_engine(reference, config, environment, plain):
    assert api.is_plain(reference, config, environment) is plain


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_cannot_be_read_is_the_command_s_business(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(api.NoApi):
        api.read_config({"DOCKER_CONFIG": str(tmp_path)})
    os.unlink(tmp_path / "config.json")
    assert api.read_config({"DOCKER_CONFIG": str(tmp_path)}) == {}


class Pulls:
    """Answers of the engine and of the command, in their order."""

    def __init__(self, *answers):
        self.answers, self.argv = list(answers), []

    def ask(self, reference, platform, timeout_s, see):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, argv, timeout_s, stdin, environment, watch=None):
        self.argv.append((argv[1:], watch is not None))
        return self.answers.pop(0)

    def docker(self):
        return cli.Docker(self.run, sleep=lambda seconds: None, ask=self.ask)


def test_a_followed_pull_falls_back_to_the_command_and_tries_again_as_before():
    pulls = Pulls(api.NoApi(), cli.Done(1, "", "dial tcp: i/o timeout"), TimeoutError(), None)
    pulls.docker().pull("a:1", None, "s/a", watch.PullWatch(Tally(), "a:1"))
    assert pulls.argv == [(["pull", "a:1"], True)] and pulls.answers == []
    with pytest.raises(ImagesError) as caught:
        Pulls("Error response from daemon: manifest unknown").docker().pull("a:1", None, "s/a", watch.PullWatch(Tally(), "a:1"))
    assert "no image a:1" in str(caught.value)


def test_a_pull_that_nobody_follows_stays_quiet():
    pulls = Pulls(cli.Done(0, "", ""))
    pulls.docker().pull("a:1", "linux/arm64", "s/a")
    assert pulls.argv == [(["pull", "--quiet", "--platform", "linux/arm64", "a:1"], False)]


def test_a_watched_command_tells_its_lines_as_they_come_and_keeps_both_outputs(tmp_path):
    lines, waited = [], tmp_path / "go"
    os.mkfifo(waited)

    def see(line):
        lines.append(line)
        if line == "one":
            with open(waited, "w", encoding="utf-8") as stream:
                stream.write("go")
        raise RuntimeError("a watcher's mistake costs no output")

    done = cli.run_command(["sh", "-c", f"echo one >&2; cat {waited}; echo; echo two; exit 3"], 30, watch=see)
    assert done == (3, "go\ntwo\n", "one\n") and sorted(lines) == ["go", "one", "two"]


def test_a_watched_command_ends_at_its_deadline_with_its_children():
    done = cli.run_command(["sh", "-c", "echo begun; sleep 600 & sleep 600"], 0.3, watch=lambda line: None)
    assert (done.code, done.out) == (None, "begun\n")
