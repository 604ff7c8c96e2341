# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One URL to one file, without a store, and the parts of the client that need no server."""

from __future__ import annotations

import hashlib
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import blocks, download
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError

DATA = b"0123456789" * 30000
DIGEST = "blake2b:" + hashlib.blake2b(DATA).hexdigest()


def test_a_file_appears_only_when_it_is_right(web, tmp_path):
    web.files["/a"] = DATA
    path = tmp_path / "a"
    assert download.download(web.base + "/a", str(path), DIGEST, len(DATA)) == len(DATA) and path.read_bytes() == DATA
    web.files["/a"] = b"other"
    with pytest.raises(ArtifactsError) as caught:
        download.download(web.base + "/a?key=geheim", str(tmp_path / "b"), DIGEST)
    assert "(5 bytes)" in str(caught.value) and "geheim" not in str(caught.value) and os.listdir(tmp_path) == ["a"]


def test_a_part_is_continued(web, tmp_path):
    web.files["/a"] = DATA
    (tmp_path / "a.partial").write_bytes(DATA[:1234])
    assert download.download(web.base + "/a", str(tmp_path / "a"), DIGEST, len(DATA)) == len(DATA) - 1234
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("threaded", [True, False])
def test_a_hash_beside_or_within(threaded, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    hasher = blocks.Hasher("sha256", threaded)
    for start in range(0, len(DATA), 700):
        view = hasher.buffer()
        part = DATA[start:start + 700]
        view[:len(part)] = part
        hasher.feed(view, len(part))
        if start == 70000:
            assert hasher.hexdigest() == hashlib.sha256(DATA[:70700]).hexdigest(), "asking in between does no harm"
    assert hasher.hexdigest() == hashlib.sha256(DATA).hexdigest() and hasher.count == len(DATA)
    hasher.restart()
    assert hasher.hexdigest() == hashlib.sha256(b"").hexdigest() and hasher.count == 0


def test_short_writes_are_completed(monkeypatch, tmp_path):
    original = os.write
    monkeypatch.setattr(blocks.os, "write", lambda descriptor, view: original(descriptor, view[:7]))
    descriptor = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    blocks.write_all(descriptor, memoryview(DATA[:100]))
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == DATA[:100]


def test_the_kernel_is_told_to_write_early(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(blocks.WriteBack, "_function", staticmethod(lambda *arguments: asked.append(arguments)))
    back = blocks.WriteBack(7, 100)
    for unused in range(20):
        back.wrote(1 << 20)
    assert asked == [(7, 100, 8 << 20, 2), (7, 100 + (8 << 20), 8 << 20, 2)]


@pytest.mark.parametrize("environment, url, through", [
    ({}, "http://h/a", None),
    ({"http_proxy": "http://p:3128"}, "http://h/a", "p"),
    ({"http_proxy": "p:3128"}, "http://h/a", "p"),
    ({"http_proxy": "http://p:3128"}, "https://h/a", None),
    ({"HTTPS_PROXY": "http://p:3128"}, "https://h/a", "p"),
    ({"HTTP_PROXY": "http://p:3128"}, "http://h/a", None),
    ({"all_proxy": "http://p:3128", "no_proxy": "h,other"}, "http://h/a", None),
    ({"all_proxy": "http://p:3128", "NO_PROXY": ".example.com"}, "http://a.example.com:8080/a", None),
    ({"all_proxy": "http://p:3128", "no_proxy": "*"}, "http://h/a", None),
    ({"all_proxy": "http://p:3128", "no_proxy": "example.com"}, "http://h/a", "p"),
])
def test_proxies_of_the_environment(environment, url, through):
    found = download.Web(environment=environment)._proxy(download.urlsplit(url))
    assert (found.hostname if found else None) == through


def test_a_request_through_a_proxy(web, tmp_path):
    web.files["http://far.example/a"] = DATA
    proxy = {"http_proxy": web.base.replace("//", "//me:pw@")}
    sink = blocks.Sink(str(tmp_path / "a"), "blake2b")
    try:
        download.Fetcher(download.Web(environment=proxy)).fill(sink, "http://user:secret@far.example/a", DIGEST)
    finally:
        sink.close()
    path, unused, headers = web.requests[0]
    assert path == "http://far.example/a" and headers["Proxy-Authorization"] == "Basic bWU6cHc=" and headers["Authorization"].startswith("Basic ")


def test_a_path_with_other_letters_is_asked_in_ascii(web, tmp_path):
    web.files["/%C3%A4%20b"] = DATA
    download.download(web.base + "/\u00e4%20b", str(tmp_path / "a"), DIGEST)
    assert web.requests[0][0] == "/%C3%A4%20b"
