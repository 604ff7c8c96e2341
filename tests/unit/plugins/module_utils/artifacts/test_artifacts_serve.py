# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary server: what it gives, what it does not, and how it ends."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import serve
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError

DATA, TOKEN = b"0123456789" * 20000, "a1" * 16
DIGITS = hashlib.sha256(DATA).hexdigest()
GOOD = "/%s/sha256/%s/%s" % (TOKEN, DIGITS[:2], DIGITS)


@pytest.fixture
def stocked(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[{"name": "a", "data": DATA, "sources": [{"url": web.base + "/a"}]}], set={"owner": "o", "name": "n"})
    return bench


@pytest.fixture
def port(stocked):
    server = serve.Server(("127.0.0.1", 0), stocked.store, TOKEN)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(port, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body, response.headers


def test_an_object_and_its_parts(port):
    assert ask(port, GOOD)[:2] == (200, DATA)
    status, body, headers = ask(port, GOOD, headers={"Range": "bytes=199990-"})
    assert (status, body, headers["Content-Range"]) == (206, DATA[199990:], "bytes 199990-199999/200000")
    assert ask(port, GOOD, headers={"Range": "bytes=5-9"})[:2] == (206, DATA[5:10])
    assert ask(port, GOOD, headers={"Range": "bytes=200000-"})[:2] == (416, b"")
    assert ask(port, GOOD, headers={"Range": "bytes=1-2,4-5"})[:2] == (200, DATA), "parts that are not understood are ignored, as RFC 9110 has it"
    status, body, headers = ask(port, GOOD, "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "200000")


@pytest.mark.parametrize("path", [
    "/", "/" + TOKEN, GOOD.replace(TOKEN, "b2" * 16), GOOD.replace(TOKEN, ""), GOOD + "/", GOOD + "x", "/%s/lock" % TOKEN, "/%s/../%s" % (TOKEN, TOKEN),
    "/%s/sets/o/n" % TOKEN, "/%s/sha256/%s/../../lock" % (TOKEN, DIGITS[:2]), "/%s/sha256/00/%s" % (TOKEN, DIGITS), GOOD.replace("sha256", "md5"),
    "/%s/sha256/%s/%s" % (TOKEN, DIGITS[:2], DIGITS.upper()), GOOD + "?x", "/%s/sha256/ab/%s" % (TOKEN, "ab" * 32),
    "/%s/receipts/sha256/%s/%s.json" % (TOKEN, DIGITS[:2], DIGITS),
])
def test_nothing_else_is_given(port, path):
    assert ask(port, path)[:2] == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_is_read_only(port, method):
    assert ask(port, GOOD, method)[0] == 501


def test_a_file_that_is_not_known_to_be_whole_is_not_given(port, stocked):
    os.utime(stocked.store.object_path("sha256:" + DIGITS), ns=(1, 1))
    assert ask(port, GOOD)[0] == 404


def test_a_peer_fetches_from_it(port, stocked, tmp_path, monkeypatch):
    from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store
    stocked.store = Store(str(tmp_path / "peer"))
    result = stocked.run(files=[{"name": "a", "data": DATA}], mirrors=["http://127.0.0.1:%d/%s" % (port, TOKEN)])
    assert result["files"]["a"]["source"] == "mirror http://127.0.0.1:%d" % port and stocked.object(DATA) == DATA


def test_it_logs_nothing(port, capfd):
    ask(port, GOOD)
    ask(port, "/")
    assert capfd.readouterr() == ("", "")


def test_its_own_process_serves_and_ends_when_told(stocked):
    with open("/proc/%d/cmdline" % os.getpid(), "rb") as handle:
        assert TOKEN.encode() not in handle.read()
    assert stocked.run(True, state="served", token=TOKEN)["changed"]
    first = stocked.run(state="served", token=TOKEN, serve_address="127.0.0.1", serve_seconds=60)
    try:
        port = first["serve"]["port"]
        assert first["changed"] and set(first["serve"]) == {"address", "port", "until_epoch_s"} and ask(port, GOOD)[:2] == (200, DATA)
        second = stocked.run(state="served", token=TOKEN, serve_address="127.0.0.1", serve_seconds=60)
        assert not second["changed"] and second["serve"] == first["serve"]
        names = os.listdir(os.path.join(stocked.store.path, "serve"))
        assert len(names) == 1 and TOKEN not in names[0]
    finally:
        assert stocked.run(state="stopped", token=TOKEN)["changed"]
    with pytest.raises(OSError):
        ask(port, GOOD)
    assert not stocked.run(state="stopped", token=TOKEN)["changed"]


def test_it_ends_by_itself(stocked):
    port = stocked.run(state="served", token=TOKEN, serve_address="127.0.0.1", serve_seconds=1)["serve"]["port"]
    end = time.monotonic() + 30
    while serve._listens({"address": "127.0.0.1", "port": port}):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_port_that_is_taken(port, stocked):
    with pytest.raises(ArtifactsError) as caught:
        stocked.run(state="served", token=TOKEN, serve_address="127.0.0.1", serve_port=port)
    assert "serve_port" in caught.value.problems[0]["setting"] and "port %d" % port in caught.value.problems[0]["where"]


@pytest.mark.parametrize("token", [None, "", "short", "../" * 20, "G" * 32])
def test_a_token_of_another_form(stocked, token):
    for state in ("served", "stopped"):
        with pytest.raises(ArtifactsError) as caught:
            stocked.run(state=state, token=token)
        assert caught.value.problems[0]["setting"] == "token" and not token or str(token) not in str(caught.value)
