# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: both forms, and everything that is refused."""

from __future__ import annotations

import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import errors, manifest

A, B = "sha256:" + "a" * 64, "sha512:" + "b" * 128


def ours(*files, **head):
    return json.dumps(dict({"schema": 1, "files": list(files)}, **head))


def problems(text):
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.parse_manifest(text, "models.json")
    for item in caught.value.problems:
        assert item["where"].startswith("models.json") and item["found"] and item["needed"] and item["setting"] == "the manifest models.json"
    return caught.value.problems


def test_our_form():
    text = ours({"name": "dir/file.pt", "size": 41370, "digest": A.upper().replace("SHA", "sha"), "required": False, "mode": "755", "description": "a model",
                 "sources": ["https://h/x?y=1", "s3://bucket/key/a b", {"file": "models/file.pt"}, {"url": "http://h/x"},
                             {"archive": "all.tar", "member": "in/it"}]},
                {"name": "all.tar", "digest": B}, name="oura-models", version=3, expires="2027-06-30T00:00:00Z")
    assert manifest.parse_manifest(text, "m") == {
        "schema": 1, "name": "oura-models", "version": 3, "expires": "2027-06-30T00:00:00Z", "files": [
            {"name": "dir/file.pt", "digest": A, "size": 41370, "size_estimate": None, "required": False, "mode": "0755", "description": "a model",
             "sources": [{"url": "https://h/x?y=1"}, {"s3": "s3://bucket/key/a b"}, {"file": "models/file.pt"}, {"url": "http://h/x"},
                         {"archive": "all.tar", "member": "in/it"}]},
            {"name": "all.tar", "digest": B, "size": None, "size_estimate": None, "required": True, "mode": "0644", "description": "", "sources": []}]}


@pytest.mark.parametrize("wrap", [lambda models: models, lambda models: {"models": models},
                                  lambda models: [dict(entry, name=name) for name, entry in models.items()],
                                  lambda models: {"models": [dict(entry, name=name) for name, entry in models.items()]}])
def test_the_form_of_the_emorobcare_design(wrap):
    models = {"qwen2-7b-instruct": {"url": "https://h/pytorch_model.bin", "checksum": "sha256:...", "size": "14GB", "required": True},
              "small": {"url": ["https://h/a", "https://i/a"], "checksum": A, "size": 5, "required": False, "license": "MIT"}}
    found = manifest.parse_manifest(json.dumps(wrap(models)), "m")
    assert (found["version"], found["expires"]) == (None, None)
    first, second = found["files"]
    assert (first["name"], first["digest"], first["size"], first["size_estimate"]) == ("qwen2-7b-instruct", None, None, 14 * 10 ** 9)
    assert (second["digest"], second["size"], second["required"]) == (A, 5, False)
    assert second["sources"] == [{"url": "https://h/a"}, {"url": "https://i/a"}]


@pytest.mark.parametrize("digest", [None, "", "...", "sha256:...", "sha256:", "sha256:\u2026", "sha256:TODO", "sha256:<hex>", "TBD", "sha512:xxxx", "md5:..."])
def test_placeholders_are_no_digest(digest):
    assert manifest.is_placeholder(digest)
    assert manifest.parse_manifest(ours({"name": "a", "digest": digest}), "m")["files"][0]["digest"] is None


@pytest.mark.parametrize("digest", [A, "md5:" + "0" * 32, "abc", 5])
def test_what_is_no_placeholder(digest):
    assert not manifest.is_placeholder(digest)


@pytest.mark.parametrize("digest, words", [
    ("md5:" + "0" * 32, 'the algorithm "md5"'), ("sha1:" + "0" * 40, 'the algorithm "sha1"'), ("sha256:abc", "3 hex digits after sha256:"),
    ("0" * 64, "which is no digest"), ("sha256:" + "g" * 64, "which is no digest"), (5, "the digest 5"), (A + "0", "65 hex digits"),
    (A + "\n", "which is no digest"),
])
def test_digests_that_are_refused(digest, words):
    found = problems(ours({"name": "a", "digest": digest}))
    assert len(found) == 1 and words in found[0]["found"] and found[0]["needed"] == manifest.DIGEST_NEEDED and found[0]["where"].endswith("file a")


@pytest.mark.parametrize("name, words", [
    ("../a", "a way out of the folder"), ("a/../../b", "a way out of the folder"), ("/etc/passwd", "the absolute path"), ("a//b", "an empty part"),
    ("a/", "an empty part"),
    ("./a", "an empty part"), ("a\\b", "a backslash"), ("a\nb", "a control character"), ("a\x00b", "a control character"), ("a\u202eb", "a control character"),
    ("a\ud800", "a control character"), ("e\u0301", "another form than NFC"), ("", "no name"), (None, "no name"), (7, "no name"),
    ("x" * 256, "a name of 256 bytes"),
    ("\u00e4" * 128, "a name of 256 bytes"), ("/".join(["x" * 200] * 11), "a name of"), (" a", "a space at the edge"), ("a /b", "a space at the edge"),
])
def test_names_that_are_refused(name, words):
    found = problems(ours({"name": name, "digest": A}))
    assert len(found) == 1 and words in found[0]["found"] and found[0]["needed"] == manifest.NAME_NEEDED


@pytest.mark.parametrize("name", ["a", "a/b/c.pt", "\u00e9", "x" * 255, "a b", "..a", "a..", ".hidden", "-a", "a:b"])
def test_names_that_are_fine(name):
    assert manifest.name_fault(name) is None


@pytest.mark.parametrize("names, words", [
    (["a", "a"], 'the name "a" twice'), (["Model.pt", "model.PT"], 'the names "Model.pt" and "model.PT"'), (["a", "a/b"], 'the names "a" and "a/b"'),
    (["x/A/c", "x/a"], 'the names "x/a" and "x/A/c"'), (["stra\u00dfe", "strasse"], "the names"),
])
def test_names_that_clash(names, words):
    found = problems(ours(*({"name": name, "digest": A} for name in names)))
    assert len(found) == 1 and words in found[0]["found"]


def test_a_name_twice_in_one_object():
    assert 'the name "a" twice' in problems('{"a": {"url": "https://h/x"}, "a": {"url": "https://h/y"}}')[0]["found"]


@pytest.mark.parametrize("size, exact, estimate", [(0, 0, None), (41370, 41370, None), (None, None, None), ("14GB", None, 14 * 10 ** 9),
                                                   ("1.5 GiB", None, 3 << 29), ("400mb", None, 4 * 10 ** 8),
                                                   ("12", None, 12)])
def test_sizes(size, exact, estimate):
    item = manifest.parse_manifest(ours({"name": "a", "size": size}), "m")["files"][0]
    assert (item["size"], item["size_estimate"]) == (exact, estimate)


@pytest.mark.parametrize("size", [-1, True, 1.5, "large", "14 furlongs", "9" * 30 + "GB", 1 << 61, [1], ""])
def test_sizes_that_are_refused(size):
    assert "the size" in problems(ours({"name": "a", "size": size}))[0]["found"]


@pytest.mark.parametrize("source, words", [
    ("ftp://h/x", "scheme"), ("https:///x", "without a host"), ("https://h:0/x", "without a host"), ("https://h/a b", "a space"),
    ("https://[::1/x", "can't be read"),
    ("/etc/passwd", "scheme"), ("models/x", "scheme"), ({"file": "/etc/passwd"}, "the absolute path"), ({"file": "../x"}, "a way out"),
    ({"file": 5}, "the source"),
    ({"archive": "b", "member": "../x"}, "a way out"), ({"archive": "b"}, "the source"), ({"url": "https://h/x", "file": "x"}, "the source"),
    ({}, "the source"), (5, "the source"),
    ("s3://B/x", "the source"), ("s3://bucket", "the source"), ({"archive": "gone", "member": "x"}, "the archive"),
    ({"archive": "a", "member": "x"}, "taken out of itself"),
])
def test_sources_that_are_refused(source, words):
    found = problems(ours({"name": "a", "digest": A, "sources": [source]}, {"name": "b", "digest": A}))
    assert len(found) == 1 and words in found[0]["found"]


def test_archives_in_a_circle():
    found = problems(ours({"name": "a", "sources": [{"archive": "b", "member": "x"}]}, {"name": "b", "sources": [{"archive": "a", "member": "x"}]},
                          {"name": "c"}))
    assert [item["where"] for item in found] == ["models.json, file a", "models.json, file b"]


def test_a_refused_url_keeps_its_secrets():
    found = problems(ours({"name": "a", "sources": ["ftp://me:geheim@h/x?sig=geheim"]}))
    assert "ftp://h/x?..." in found[0]["found"] and "geheim" not in json.dumps(found)


@pytest.mark.parametrize("text, words", [
    ("", "not JSON"), ("{", "not JSON"), ("[]", "an empty list"), ("{}", "an empty list"), ("5", "no list of files"), ('{"schema": 1}', "no list of files"),
    ('{"schema": 2, "files": [{"name": "a"}]}', "2"), ('{"schema": true, "files": [{"name": "a"}]}', "true"),
    ('{"schema": 1, "files": {}}', "no list of files"),
    ('{"schema": 1, "files": [5]}', "int instead of an object"), ('{"a": 5}', "int instead of an object"),
    ('{"schema": 1, "files": [{"name": "a"}], "filse": 1}', "unknown key"),
    ('{"schema": 1, "files": [{"name": "a", "digets": "x"}]}', "unknown key"), ('{"schema": 1, "files": [{"name": "a", "size": NaN}]}', "not JSON"),
    ("[" * 100000, "nested too deeply"), ('{"schema": 1, "files": [{"name": "a", "required": "yes"}]}', "required"),
    ('{"schema": 1, "files": [{"name": "a", "mode": 644}]}', "the mode 644"), ('{"schema": 1, "files": [{"name": "a", "mode": "4755"}]}', "the mode"),
    ('{"schema": 1, "files": [{"name": "a", "mode": "rw"}]}', "the mode"), ('{"schema": 1, "files": [{"name": "a", "description": 5}]}', "description"),
    ('{"schema": 1, "files": [{"name": "a", "sources": 5}]}', "sources"),
])
def test_documents_that_are_refused(text, words):
    found = problems(text)
    assert len(found) == 1 and words in found[0]["found"]


@pytest.mark.parametrize("head", [{"version": 0}, {"version": "3"}, {"version": True}, {"version": 1.5}, {"expires": "soon"},
                                  {"expires": "2027-06-30T00:00:00"}, {"expires": 5},
                                  {"name": ""}, {"name": 5}, {"name": "a\nb"}])
def test_heads_that_are_refused(head):
    found = problems(ours({"name": "a"}, **head))
    assert len(found) == 1 and found[0]["where"] == "models.json, %s" % list(head)[0]


def test_all_problems_are_told_in_one_go():
    text = str(manifest.ManifestError(problems(ours({"name": "../a"}, {"name": "b", "size": -1, "mode": "x"}, version=0))))
    assert text.startswith("4 problems:\n- models.json, version: found 0; needed: ")
    assert str(manifest.ManifestError([errors.problem("w", "f", "n", "s")])) == "w: found f; needed: n; set: s"


def test_a_large_text_is_no_manifest(monkeypatch):
    monkeypatch.setattr(manifest, "MAX_TEXT_BYTES", 10)
    assert "more than 10 bytes" in problems(ours({"name": "a"}))[0]["found"]


def test_a_byte_order_mark_is_no_problem():
    assert manifest.parse_manifest("\ufeff" + ours({"name": "a"}), "m")["files"][0]["name"] == "a"


def test_the_identity_of_a_set():
    files = [{"name": "a", "digest": A, "mode": "0644"}, {"name": "b", "digest": B}]
    same = [{"name": "b", "digest": B, "mode": "644", "required": False}, {"name": "a", "digest": A, "size": 5}]
    assert manifest.set_id(files) == manifest.set_id(same)
    # Places on hosts are named by it: another value would make every host fetch and place anew.
    assert manifest.set_id(files) == "af8e4825608b4c16"
    for change in ({"name": "c"}, {"digest": B}, {"mode": "0755"}):
        assert manifest.set_id([dict(files[0], **change), files[1]]) != manifest.set_id(files)


def test_when_it_expires():
    assert manifest.expires_epoch("2027-06-30T00:00:00Z") == manifest.expires_epoch("2027-06-30T02:00:00+02:00") == 1814313600.0


@pytest.mark.parametrize("url, shown", [
    ("https://me:pw@h:8443/a/b?sig=x#y", "https://h:8443/a/b?..."), ("https://h/a", "https://h/a"), ("https://[::1/", "a URL that can't be read"),
    ("https://h/" + "a" * 500, "https://h/" + "a" * 187 + "..."), ("https://h/a\nb", "https://h/ab"),
])
def test_what_is_shown_of_a_url(url, shown):
    assert errors.redact(url) == shown
