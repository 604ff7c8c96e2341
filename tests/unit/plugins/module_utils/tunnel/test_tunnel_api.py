# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the API, against the stand-in that checks as Cloudflare does."""

from __future__ import annotations

import http.client
import urllib.error

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api


def test_all_pages_of_a_list(world, client):
    for number in range(5):
        world.create_tunnel({"name": "t%d" % number})
    found = client.listed("/accounts/%s/cfd_tunnel" % world.account, {"is_deleted": "false"})
    assert [tunnel["name"] for tunnel in found] == ["t0", "t1", "t2", "t3", "t4"]
    assert [request["query"]["page"] for request in world.requests] == ["1", "2", "3"]


def test_a_list_without_a_total_ends_at_the_first_short_page():
    pages = {"1": [{"id": number} for number in range(50)], "2": [{"id": 50}]}
    client = api.Client("t" * 40)
    client.call = lambda method, path, query: {"result": pages[str(query["page"])]}
    assert len(client.listed("/x")) == 51


@pytest.mark.parametrize("status, headers, slept", [(429, {"Retry-After": "17"}, [17, 17]), (429, {"Retry-After": "4000"}, [60, 60]), (502, {}, [1, 2])])
def test_a_passing_failure_is_tried_again(world, client, status, headers, slept):
    world.failures.append({"times": 2, "status": status, "headers": headers})
    assert client.get("/zones", {"name": "example.com"})[0]["name"] == "example.com"
    assert client.slept == slept and client.repeated


def test_the_tries_end(world, client):
    world.failures.append({"times": 99, "status": 503})
    with pytest.raises(api.ApiError) as caught:
        client.get("/zones")
    assert str(caught.value).startswith("Cloudflare, GET /zones: found status 503, 971 Please wait after 4 tries; needed an answer")
    assert client.slept == [1, 2, 4] and caught.value.codes == [971]


def test_a_refusal_is_not_tried_again(world, client):
    with pytest.raises(api.ApiError) as caught:
        client.call("POST", "/accounts/%s/cfd_tunnel" % world.account, body={"name": ""})
    assert "status 400, 1003 tunnel name is required" in str(caught.value)
    assert client.slept == [] and not client.repeated


def test_a_success_that_says_that_it_is_none_is_an_error(world, client):
    world.failures.append({"times": 1, "status": 200, "body": {"success": False, "errors": [{"code": 7, "message": "no"}]}})
    with pytest.raises(api.ApiError, match="status 200, 7 no"):
        client.get("/zones")


def test_an_answer_that_is_not_json(client, world):
    def opener(*unused, **unused2):
        raise urllib.error.HTTPError(world.url, 403, "no", {}, __import__("io").BytesIO(b"<html>"))
    client = api.Client("t" * 40, base_url=world.url, opener=opener)
    with pytest.raises(api.ApiError, match="found status 403, an answer that is not JSON; needed an API token with the rights"):
        client.get("/zones")


@pytest.mark.parametrize("trouble", [ConnectionResetError("reset"), http.client.IncompleteRead(b""), urllib.error.URLError("no route")])
def test_a_broken_connection_is_tried_again(trouble):
    slept, calls = [], []

    def opener(*unused, **unused2):
        calls.append(1)
        raise trouble
    client = api.Client("t" * 40, opener=opener, retries=1, sleep=slept.append)
    with pytest.raises(api.ApiError, match="no answer .*after 2 tries") as caught:
        client.get("/zones")
    assert (len(calls), slept, caught.value.status) == (2, [1], None)


@pytest.mark.parametrize("token, status, text", [
    ("x" * 40, 403, "9109 Invalid access token"),
    ("short", 400, "6003 Invalid request headers; 6111 Invalid format for Authorization header"),
])
def test_a_wrong_token_is_told_and_not_shown(world, token, status, text):
    client = api.Client(token, base_url=world.url)
    with pytest.raises(api.ApiError) as caught:
        client.get("/zones")
    assert caught.value.status == status and text in str(caught.value) and "correct api_token" in str(caught.value)
    assert token not in str(caught.value)


@pytest.mark.parametrize("token, text", [("", "found none"), (None, "found none"), ("abc\n", "characters that no API token has"), ("a b", "characters")])
def test_a_token_that_can_be_none_is_refused_before_anything_is_asked(token, text):
    with pytest.raises(api.ApiError, match=text) as caught:
        api.Client(token)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://api.example.com/client/v4", "ftp://127.0.0.1/", "api.cloudflare.com", "http://127.0.0.1.example.com/"])
def test_the_token_never_travels_in_the_clear(url):
    with pytest.raises(api.ApiError, match="needed https://"):
        api.Client("t" * 40, base_url=url)


def test_the_token_is_in_one_header_and_redirects_and_netrc_do_not_get_it():
    seen = {}

    def opener(url, **options):
        seen.update(options, url=url)
        raise urllib.error.HTTPError(url, 302, "Found", {"Location": "https://elsewhere.example.com/"}, __import__("io").BytesIO(b""))
    with pytest.raises(api.ApiError, match="status 302"):
        api.Client("secret-token", opener=opener).get("/zones", {"name": "example.com"})
    assert seen["headers"]["Authorization"] == "Bearer secret-token" and "secret-token" not in seen["url"]
    assert seen["follow_redirects"] == "none" and seen["use_netrc"] is False


def test_a_text_that_repeats_the_token_is_redacted():
    def opener(*unused, **unused2):
        raise ValueError("Invalid header value b'Bearer secret-token'")
    with pytest.raises(api.ApiError) as caught:
        api.Client("secret-token", opener=opener, retries=0).get("/zones")
    assert "secret-token" not in str(caught.value) and "(the API token)" in str(caught.value)


@pytest.mark.parametrize("envelope", [None, [], {"errors": None}, {"errors": ["x"]}, {"errors": [{"code": 1, "message": "m", "error_chain": None}]}])
def test_odd_errors_do_not_break_the_telling(envelope):
    assert api.told(envelope) in (("", []), ("1 m", [1]))
