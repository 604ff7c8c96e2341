# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import tempfile
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.docker import api
from ansible_collections.dockyard.fleet.tests.unit.plugins.module_utils.docker.fake_daemon import FakeDaemon, dead_socket


def test_answers_are_parsed_and_one_connection_is_kept():
    with FakeDaemon({"/version": {"Version": "26.1.5"}, "/info": {"Driver": "overlay2"}}) as daemon:
        with api.DockerApi(daemon.path) as client:
            assert client.get("/version") == {"Version": "26.1.5"}
            assert client.get("/info") == {"Driver": "overlay2"}
        assert daemon.connections == 1
        assert [request[1] for request in daemon.requests] == ["/v1.41/version", "/v1.41/info"]


def test_a_long_chunked_answer_is_whole():
    names = ["name-%04d" % number for number in range(2000)]
    with FakeDaemon({"/long": names}) as daemon, api.DockerApi(daemon.path) as client:
        assert client.get("/long") == names
        assert client.get("/long") == names


def test_query_values_are_encoded():
    with FakeDaemon({"/containers/json": []}) as daemon, api.DockerApi(daemon.path) as client:
        assert client.get("/containers/json", {"all": "1", "filters": {"label": ["a=b c"]}}) == []
        assert daemon.requests[0][1] == "/v1.41/containers/json?all=1&filters=%7B%22label%22%3A+%5B%22a%3Db+c%22%5D%7D"


def test_inspect_quotes_the_name():
    with FakeDaemon({"/images/a%2Fb%3A1/json": {"Id": "sha256:1"}, "/volumes/v": {"Name": "v"}}) as daemon, api.DockerApi(daemon.path) as client:
        assert client.inspect("images", "a/b:1") == {"Id": "sha256:1"}
        assert client.inspect("volumes", "v") == {"Name": "v"}


def test_a_body_is_sent_as_json():
    with FakeDaemon({"/volumes/create": (201, {"Name": "v"})}) as daemon, api.DockerApi(daemon.path) as client:
        assert client.request("POST", "/volumes/create", body={"Name": "v"}) == {"Name": "v"}
        assert daemon.requests == [("POST", "/v1.41/volumes/create", b'{"Name": "v"}')]


@pytest.mark.parametrize("oldest, newest, settled", [("1.44", "1.52", "1.44"), ("1.12", "1.40", "1.40"), ("1.24", "1.50", "1.41")])
def test_the_version_settles_on_what_the_engine_accepts(oldest, newest, settled):
    with FakeDaemon({"/version": {"Version": "x"}, "/info": {}}, oldest=oldest, newest=newest) as daemon, api.DockerApi(daemon.path) as client:
        assert client.get("/version") == {"Version": "x"}
        client.get("/info")
        assert client.version == settled
        assert len(daemon.requests) == (2 if settled == "1.41" else 3)


def test_refusals_of_real_engines_are_understood():
    # from engine 20.10.24; the first came as plain text, the second as JSON
    assert api.refused_version("client version 1.1 is too old. Minimum supported API version is 1.12, please upgrade your client to a newer version") == "1.12"
    assert api.refused_version("client version 1.99 is too new. Maximum supported API version is 1.41") == "1.41"
    assert api.refused_version("No such image: x") is None


def test_an_error_carries_status_and_the_engines_words():
    with FakeDaemon({"/images/x/json": (404, {"message": "No such image: x"})}) as daemon, api.DockerApi(daemon.path) as client:
        with pytest.raises(api.DockerApiError) as caught:
            client.inspect("images", "x")
        assert caught.value.status == 404
        assert caught.value.message == "No such image: x"
        assert str(caught.value) == "%s GET /images/x/json: HTTP 404: No such image: x" % daemon.path
        with pytest.raises(api.DockerApiError):
            client.get("/nothing")
        assert daemon.connections == 1


def test_an_error_that_is_no_json_is_shown_as_it_is():
    assert api.error_message(b"plain text\n") == "plain text"
    assert api.error_message(b'["a list"]') == '["a list"]'
    assert len(api.error_message(b"x" * 9000)) == 500


def test_an_empty_answer_is_none():
    with FakeDaemon({"/containers/x/start": (204, b"")}) as daemon, api.DockerApi(daemon.path) as client:
        assert client.request("POST", "/containers/x/start") is None


def test_a_read_is_sent_again_when_the_kept_connection_was_closed():
    with FakeDaemon({"/version": {"Version": "x"}}, manners="close") as daemon, api.DockerApi(daemon.path) as client:
        client.get("/version")
        time.sleep(0.05)
        assert client.get("/version") == {"Version": "x"}
        assert daemon.connections == 2


def test_a_write_is_not_sent_again():
    with FakeDaemon({"/version": {}, "/containers/x/start": {}}, manners="close") as daemon, api.DockerApi(daemon.path) as client:
        client.get("/version")
        time.sleep(0.05)
        with pytest.raises(api.DockerUnavailable, match="closed the connection"):
            client.request("POST", "/containers/x/start")
        assert [request[0] for request in daemon.requests] == ["GET"]


@pytest.mark.parametrize("manners", ["hang", "drip"])
def test_a_daemon_that_never_finishes_is_left_in_time(manners):
    with FakeDaemon({"/version": {}}, manners=manners) as daemon, api.DockerApi(daemon.path, timeout=0.2) as client:
        begin = time.monotonic()
        with pytest.raises(api.DockerTimeout, match="no answer in time"):
            client.get("/version")
        assert time.monotonic() - begin < 5


def test_no_http_is_no_answer():
    with FakeDaemon({}, manners="babble") as daemon, api.DockerApi(daemon.path) as client:
        with pytest.raises(api.DockerUnavailable, match="what do you mean"):
            client.get("/version")


def test_no_json_is_no_answer():
    with FakeDaemon({"/version": b"<html>"}) as daemon, api.DockerApi(daemon.path) as client:
        with pytest.raises(api.DockerUnavailable, match="not JSON"):
            client.get("/version")


def test_absent_and_dead_sockets():
    folder = tempfile.mkdtemp(prefix="dock-")
    try:
        missing = os.path.join(folder, "none.sock")
        with pytest.raises(api.DockerUnavailable, match="none.sock: no such socket"):
            api.DockerApi(missing).get("/version")
        with pytest.raises(api.DockerUnavailable, match="dead.sock: connection refused"):
            api.DockerApi(dead_socket(folder)).get("/version")
    finally:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def test_a_refused_permission_says_what_to_do():
    assert api.connect_reason("/run/docker.sock", PermissionError(13, "Permission denied")) == (
        "/run/docker.sock: permission denied (use become, or put the user into the group docker)")
