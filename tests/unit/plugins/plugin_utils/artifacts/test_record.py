# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests go into a manifest's text, and nothing else of it changes."""

from __future__ import annotations

import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import parse_manifest
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import record

DIGEST = "sha256:" + "a" * 64


def fill(text, *names):
    return record.fill(text, {name: {"digest": DIGEST, "size": 5} for name in names})


@pytest.mark.parametrize("text,name,expected", [
    # ours, on one line
    ('{"schema": 1, "files": [{"name": "a", "sources": []}]}', "a",
     '{"schema": 1, "files": [{"name": "a", "sources": [], "digest": "DIGEST", "size": 5}]}'),
    # ours, indented by three and by tabs, with a null
    ('{\n   "schema": 1,\n   "files": [\n      {\n         "name": "a",\n         "digest": null\n      }\n   ]\n}\n', "a",
     '{\n   "schema": 1,\n   "files": [\n      {\n         "name": "a",\n         "digest": "DIGEST",\n         "size": 5\n      }\n   ]\n}\n'),
    ('{"schema":1,"files":[\n\t{"name":"a",\n\t "digest":"sha256:..."}\n]}', "a",
     '{"schema":1,"files":[\n\t{"name":"a",\n\t "digest":"DIGEST",\n\t "size": 5}\n]}'),
    # one member only: there is no distance to copy
    ('{"schema":1,"files":[{"name":"a"}]}', "a", '{"schema":1,"files":[{"name":"a", "digest": "DIGEST", "size": 5}]}'),
    # the EmoRobCare forms, where it is called checksum
    ('{"a": {"url": "https://x.example/a", "checksum": "sha256:...", "size": "14GB", "required": true}}', "a",
     '{"a": {"url": "https://x.example/a", "checksum": "DIGEST", "size": 5, "required": true}}'),
    ('{"models": {"a": {"url": "https://x.example/a"}}}', "a", '{"models": {"a": {"url": "https://x.example/a", "checksum": "DIGEST", "size": 5}}}'),
    ('[{"name": "a", "url": "https://x.example/a"}]', "a", '[{"name": "a", "url": "https://x.example/a", "checksum": "DIGEST", "size": 5}]'),
    ('{"models": [{"name": "a", "url": "https://x.example/a", "digest": null}]}', "a",
     '{"models": [{"name": "a", "url": "https://x.example/a", "digest": "DIGEST", "size": 5}]}'),
    # a file that is called as a key is
    ('{"digest": {"url": "https://x.example/a"}}', "digest", '{"digest": {"url": "https://x.example/a", "checksum": "DIGEST", "size": 5}}'),
    # escapes, braces and brackets in texts; CRLF; a byte order mark
    ('\ufeff{"schema": 1,\r\n "files": [{"name": "\\u00e9 ]}\\" 1", "size": 7}]}\r\n', 'é ]}" 1',
     '\ufeff{"schema": 1,\r\n "files": [{"name": "\\u00e9 ]}\\" 1", "size": 5, "digest": "DIGEST"}]}\r\n'),
])
def test_only_the_values_change(text, name, expected):
    assert fill(text, name) == expected.replace("DIGEST", DIGEST)


def test_several_files_and_untouched_ones():
    text = json.dumps({"schema": 1, "files": [{"name": name, "digest": None, "sources": [{"file": name}]} for name in ("a", "b", "c")]}, indent=4)
    before, after = parse_manifest(text, "m")["files"], parse_manifest(fill(text, "a", "c"), "m")["files"]
    assert [(item["digest"], item["size"]) for item in after] == [(DIGEST, 5), (None, None), (DIGEST, 5)]
    assert [dict(item, digest=None, size=None) for item in after] == before


def test_empty_objects_and_arrays_are_passed():
    text = '{ "schema" : 1 , "files" : [ { "sources" : [ ] , "name" : "a" } , { "name" : "b" } ] }'
    assert json.loads(fill(text, "b"))["files"][1] == {"name": "b", "digest": DIGEST, "size": 5}
