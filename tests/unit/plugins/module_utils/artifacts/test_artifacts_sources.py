# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs against a real HTTP server: every way in which a source can be bad, and how a run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


DATA = noise(300000, 1)
SET = {"owner": "oura", "name": "models"}


# ---- going on, again and elsewhere --------------------------------------------------------------------------------------


def test_a_broken_off_download_goes_on(bench, web, small_blocks):
    web.files["/a"] = DATA
    bench.partial(DATA[:200000])
    result = bench.run(files=[web.one()])
    assert web.requests[0][1] == "bytes=200000-" and len(web.requests) == 1
    assert (result["bytes_fetched"], result["bytes_reused"]) == (len(DATA) - 200000, 200000)
    assert bench.object(DATA) == DATA


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_complete_partial_file_needs_no_server(bench, web, size):
    bench.partial(DATA)
    assert bench.run(files=[web.one(size=size)])["bytes_fetched"] == 0
    assert web.requests == [] and bench.object(DATA) == DATA


@pytest.mark.parametrize("stale", [b"x" * 1000, noise(len(DATA), 9), DATA + b"more", DATA[:-1] + b"?"])
def test_a_stale_partial_file_is_found_out(bench, web, stale):
    web.files["/a"] = DATA
    bench.partial(stale)
    bench.run(files=[web.one()])
    assert bench.object(DATA) == DATA and bench.left() == []


def test_a_server_that_ignores_range_gives_all_anew(bench, web):
    web.files["/a"] = DATA
    bench.partial(DATA[:1000])
    web.odd["/a"] = [lambda handler: handler.answer(200, DATA)]
    result = bench.run(files=[web.one()])
    assert web.requests[0][1] == "bytes=1000-" and result["bytes_fetched"] == len(DATA) and len(web.requests) == 1
    assert bench.object(DATA) == DATA


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 0-9/10"}, {"Content-Range": "nonsense"}, {}])
def test_an_answer_to_another_range_is_not_used(bench, web, headers):
    web.files["/a"] = DATA
    bench.partial(DATA[:1000])
    web.odd["/a"] = [lambda handler: handler.answer(206, DATA[500:], headers)]
    bench.run(files=[web.one()])
    assert [request[1] for request in web.requests] == ["bytes=1000-", None] and bench.object(DATA) == DATA


def test_a_connection_that_breaks_goes_on_where_it_was(bench, web, small_blocks):
    web.files["/a"] = DATA
    web.odd["/a"] = [lambda handler: handler.answer(200, DATA, cut=150000)]
    result = bench.run(files=[web.one()])
    assert [request[1] for request in web.requests] == [None, "bytes=150000-"]
    assert result["bytes_fetched"] == len(DATA) and len(bench.waits) == 1 and 0.5 <= bench.waits[0] <= 1


def test_a_server_that_gives_short_parts_is_asked_for_the_rest(bench, web):
    bench.partial(DATA[:1000])

    def part(handler):
        start = int(handler.headers["Range"][6:-1])
        end = min(start + 100000, len(DATA))
        handler.answer(206, DATA[start:end], {"Content-Range": "bytes %d-%d/%d" % (start, end - 1, len(DATA))})

    web.always("/a", part)
    bench.run(files=[web.one()], retries=0)
    assert [request[1] for request in web.requests] == ["bytes=1000-", "bytes=101000-", "bytes=201000-"] and bench.object(DATA) == DATA


def test_retries_are_bounded_and_the_waits_grow(bench, web):
    web.always("/a", lambda handler: handler.answer(503, b"later"))
    found = bench.refused(files=[web.one()], retries=3)
    assert len(web.requests) == 4 and "HTTP status 503" in found["found"] and "4 times" in found["found"] and found["setting"] == "retries"
    assert len(bench.waits) == 3 and 0.5 <= bench.waits[0] <= 1 and 1 <= bench.waits[1] <= 2 and 2 <= bench.waits[2] <= 4


def test_retry_after_is_honoured_within_bounds(bench, web):
    web.files["/a"] = DATA
    web.odd["/a"] = [lambda handler: handler.answer(429, b"", {"Retry-After": "17"}), lambda handler: handler.answer(503, b"", {"Retry-After": "86400"})]
    bench.run(files=[web.one()])
    assert bench.waits == [17, 60]


def test_a_link_that_breaks_often_but_moves_on_is_not_given_up(bench, web):
    data = noise(5 << 20, 3)
    web.files["/a"] = data

    def break_off(handler):
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.answer(206, data[start:], {"Content-Range": "bytes %d-%d/%d" % (start, len(data) - 1, len(data))}, cut=1 << 20)

    web.odd["/a"] = [lambda handler: handler.answer(200, data, cut=1 << 20)] + [break_off] * 3
    assert bench.run(files=[web.one(data=data)], retries=1)["bytes_fetched"] == len(data)
    assert len(web.requests) == 5


def test_a_server_without_range_that_breaks_off_here_and_there_is_given_up(bench, web):
    data, cuts = noise(8 << 20, 3), []

    def break_off(handler):
        cuts.append(3 << 20 if len(cuts) % 2 else 1 << 20)
        assert len(cuts) < 20
        handler.answer(200, data, cut=cuts[-1])

    web.always("/a", break_off)
    assert "retries" in bench.refused(files=[web.one(data=data)], retries=2)["setting"]
    assert len(cuts) == 4, "two ended further than ever, the other two used up the retries"


def test_mirrors_come_first_and_what_they_lack_is_no_news(bench, web):
    digits = digest_of(DATA).partition(":")[2]
    web.files["/m2/sha256/%s/%s" % (digits[:2], digits)] = DATA
    result = bench.run(files=[web.one()], mirrors=[web.base + "/m1/", web.base + "/m2"])
    assert [request[0].split("/")[1] for request in web.requests] == ["m1", "m2"]
    assert result["files"]["a"]["source"] == "mirror " + web.base
    web.odd.clear()
    found = bench.refused(files=[web.one(data=b"other", sources=[{"url": web.base + "/gone"}])], mirrors=[web.base + "/secret-token"])
    assert "mirror" not in found["found"] and "secret" not in json.dumps(found)


def test_what_one_source_gave_is_not_asked_of_the_next(bench, web, small_blocks):
    web.files["/b"] = DATA
    web.always("/a", lambda handler: handler.answer(200 if "Range" not in handler.headers else 500, DATA, cut=100000))
    bench.run(files=[web.one(sources=[{"url": web.base + "/a"}, {"url": web.base + "/b"}])], retries=0)
    assert web.requests[-1][:2] == ("/b", "bytes=100000-") and bench.object(DATA) == DATA


def test_a_connection_serves_several_files(bench, web):
    ports = set()

    def note(data):
        def behave(handler):
            ports.add(handler.client_address[1])
            handler.answer(200, data)
        return behave

    web.odd = {"/a": [note(b"a")], "/b": [note(b"b")], "/c": [note(b"c")]}
    bench.run(files=[web.one("/" + name, name.encode(), name=name) for name in "abc"], parallel=1)
    assert len(ports) == 1


def test_a_kept_connection_that_the_server_closed_is_no_failure(bench, web):
    def answer_and_close(handler):
        handler.answer(200, b"aa")
        handler.close_connection = True  # without having said so

    web.odd["/a"] = [answer_and_close]
    web.files["/b"] = b"b"
    bench.run(files=[web.one("/a", b"aa"), web.one("/b", b"b", name="b")], parallel=1, retries=0)
    assert bench.object(b"b") == b"b"


# ---- bad sources --------------------------------------------------------------------------------------------------------


def test_another_file_than_the_one_wanted(bench, web):
    other = noise(len(DATA), 2)
    web.files["/a"] = other
    found = bench.refused(files=[web.one()], set=SET)
    assert digest_of(other) in found["found"] and "%d bytes" % len(other) in found["found"] and web.base + "/a" in found["found"]
    assert digest_of(DATA) in found["needed"] and "%d bytes" % len(DATA) in found["needed"]
    assert bench.left() == [] and not os.path.exists(bench.store.object_path(digest_of(DATA))) and not os.path.exists(os.path.join(bench.store.path, "sets"))


def test_a_transfer_that_was_damaged_once_is_repeated_over_plain_http(bench, web):
    web.files["/a"] = DATA
    web.odd["/a"] = [lambda handler: handler.answer(200, DATA[:-1] + b"?")]
    result = bench.run(files=[web.one()])
    assert bench.object(DATA) == DATA and result["bytes_fetched"] == 2 * len(DATA)


def test_a_truncated_body(bench, web, small_blocks):
    web.always("/a", lambda handler: handler.answer(200, DATA, cut=70000))
    found = bench.refused(files=[web.one()])
    assert "after 70000 of %d bytes" % len(DATA) in found["found"] and web.base in found["found"]
    assert os.path.getsize(bench.store.partial_path(digest_of(DATA))) == 70000, "the next run goes on from there"


def test_a_truncated_body_whose_length_nobody_told(bench, web):
    def without_length(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(DATA[:5000])
        handler.close_connection = True

    web.always("/a", without_length)
    assert "after 5000 of" in bench.refused(files=[web.one()])["found"]
    assert digest_of(DATA[:5000]) in bench.refused(files=[web.one(size=None)])["found"]


def test_a_body_in_chunks(bench, web):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(DATA), 70000):
            part = DATA[start:start + 70000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    web.odd["/a"] = [chunked]
    bench.run(files=[web.one()])
    assert bench.object(DATA) == DATA


def test_a_server_that_stalls(bench, web, small_blocks):
    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:100000])
        handler.wfile.flush()
        web.released.wait(20)

    web.always("/a", stall)
    found = bench.refused(files=[web.one()], retries=0)
    assert "nothing more for 1 s after 100000 bytes" in found["found"] and found["setting"] == "stall_timeout_seconds"
    assert os.path.getsize(bench.store.partial_path(digest_of(DATA))) == 100000


def test_a_server_that_never_answers(bench, web):
    web.always("/a", lambda handler: web.released.wait(20))
    found = bench.refused(files=[web.one()], retries=0)
    assert "no answer for 1 s" in found["found"] and found["setting"] == "stall_timeout_seconds"


def test_a_server_that_trickles(bench, web):
    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        for position in range(200):
            if web.released.wait(0.1):
                return
            try:
                handler.wfile.write(DATA[position:position + 1])
            except OSError:
                return

    web.always("/a", trickle)
    found = bench.refused(files=[web.one()], retries=0)
    assert re.search(r": \d+ bytes in 1 s", found["found"]) and "1024 bytes a second" in found["needed"]


PAGE = b"<!DOCTYPE html><html>Please log in</html>"


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_page_instead_of_the_file(bench, web, size):
    web.always("/a", lambda handler: handler.answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"}))
    found = bench.refused(files=[web.one(size=size)])
    assert "text/html" in found["found"] and "%d bytes" % len(PAGE) in found["found"] and bench.left() == []
    assert ("%d bytes" % len(DATA) if size else digest_of(DATA)) in found["needed"]


def test_a_redirect_is_followed_and_headers_stay_with_their_server(bench, web):
    web.files["/b"] = DATA
    other = web.base.replace("127.0.0.1", "localhost")
    web.odd["/a"] = [lambda handler: handler.answer(302, b"", {"Location": "/same"})]
    web.odd["/same"] = [lambda handler: handler.answer(307, b"", {"Location": other + "/b"})]
    bench.run(files=[web.one(sources=[{"url": web.base + "/a", "headers": {"Authorization": "Bearer geheim"}}])])
    assert [request[2].get("Authorization") for request in web.requests] == ["Bearer geheim", "Bearer geheim", None]


@pytest.mark.parametrize("locations", [["/a"], ["/b", "/a"], ["/%d" % number for number in range(20)]])
def test_a_redirect_loop(bench, web, locations):
    for here, there in zip(["/a"] + locations, locations):
        web.always(here, lambda handler, there=there: handler.answer(302, b"", {"Location": there}))
    found = bench.refused(files=[web.one()])
    assert "a redirect loop" in found["found"] and len(web.requests) <= 11


def test_a_redirect_to_a_file_is_refused(bench, web):
    web.always("/a", lambda handler: handler.answer(302, b"", {"Location": "file:///etc/passwd"}))
    assert "a redirect to file:///etc/passwd" in bench.refused(files=[web.one()])["found"]


def test_a_certificate_of_an_unknown_ca(bench, tls_web, certificate):
    tls_web.files["/a"] = DATA
    found = bench.refused(files=[tls_web.one()])
    assert "a certificate that is not trusted" in found["found"] and found["setting"] == "ca_certificate" and bench.waits == []
    bench.run(files=[tls_web.one()], ca_certificate=certificate[0])
    assert bench.object(DATA) == DATA


def test_a_ca_certificate_that_is_none(bench, tls_web, tmp_path):
    (tmp_path / "ca").write_text("nothing")
    assert "no usable CA certificate in %s" % (tmp_path / "ca") in bench.refused(files=[tls_web.one()], ca_certificate=str(tmp_path / "ca"))["found"]


@pytest.mark.parametrize("status, tries", [(404, 1), (410, 1), (403, 1), (500, 3)])
def test_statuses(bench, web, status, tries):
    web.always("/a", lambda handler: handler.answer(status, b"no"))
    found = bench.refused(files=[web.one()])
    assert "HTTP status %d" % status in found["found"] and len(web.requests) == tries


def test_all_sources_are_named_and_secrets_are_not(bench, web):
    web.always("/b?X-Signature=geheim", lambda handler: handler.answer(403, b""))
    found = bench.refused(files=[web.one(sources=[{"url": web.base + "/a"}, {"url": web.base.replace("//", "//me:geheim@") + "/b?X-Signature=geheim"}])])
    assert found["found"].count("HTTP status") == 2 and web.base + "/b?..." in found["found"] and "geheim" not in json.dumps(found)
    assert web.requests[1][2]["Authorization"].startswith("Basic ")


def test_nobody_listens(bench, web):
    web.close()
    found = bench.refused(files=[web.one()])
    assert "no connection" in found["found"] and "3 times" in found["found"]


def test_a_host_that_does_not_exist(bench):
    assert "host name that can't be resolved" in bench.refused(files=[{"name": "a", "data": DATA, "sources": [{"url": "http://nowhere.invalid/a"}]}])["found"]


def test_no_source_at_all(bench):
    assert bench.refused(files=[{"name": "a", "data": DATA}])["found"] == "no source"


def test_all_missing_files_are_told_in_one_go_and_the_good_one_stays(bench, web):
    web.files["/c"] = b"c"
    with pytest.raises(ArtifactsError) as caught:
        bench.run(files=[web.one(), web.one("/b", b"b", name="b"), web.one("/c", b"c", name="c")], set=SET)
    assert len(caught.value.problems) == 2 and caught.value.result["files"]["c"]["state"] == "fetched"
    assert bench.object(b"c") == b"c" and not os.path.exists(os.path.join(bench.store.path, "sets"))


def test_an_optional_file_may_be_missing_and_come_later(bench, web):
    web.files["/a"] = DATA
    files = [web.one(), web.one("/b", b"b", name="b", required=False)]
    first = bench.run(files=files, set=SET)
    assert first["missing_optional"] == ["b"] and "HTTP status 404" in first["files"]["b"]["reason"]
    assert os.listdir(first["set"]["path"]) == ["a"]
    again = bench.run(files=files, set=SET)
    assert not again["changed"] and again["missing_optional"] == ["b"]
    web.files["/b"] = b"b"
    last = bench.run(files=files, set=SET)
    assert last["changed"] and last["missing_optional"] == [] and last["set"] == first["set"] and sorted(os.listdir(last["set"]["path"])) == ["a", "b"]


# ---- sizes that lie -----------------------------------------------------------------------------------------------------


def test_a_size_that_lies_is_refused_before_the_download(bench, web):
    web.files["/a"] = DATA
    found = bench.refused(files=[web.one(size=10)])
    assert "a file of %d bytes" % len(DATA) in found["found"] and found["needed"] == "10 bytes" and bench.left() == []


def test_an_endless_body_stops_at_the_size(bench, web):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not web.released.is_set():
            try:
                handler.wfile.write(DATA)
            except OSError:
                return

    web.always("/a", endless)
    assert "more than %d bytes" % len(DATA) in bench.refused(files=[web.one()])["found"]
    assert bench.left() == []


def test_a_size_that_lies_about_what_is_there(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one()])
    found = bench.refused(files=[web.one(size=11)])
    assert "%d bytes" % len(DATA) in found["found"] and found["needed"] == "11 bytes"


def test_an_estimate_is_not_enforced(bench, web):
    web.files["/a"] = DATA
    bench.run(files=[web.one(size=None, size_estimate=10)])
    assert bench.object(DATA) == DATA
