# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
import os
import random

import jsonschema
import pytest
import yaml

import ansible_collections.dockyard.fleet as collection
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import schema as ours

ROOT = list(collection.__path__)[0]
MUTATIONS = 500


def published():
    with open(os.path.join(ROOT, "files", "schemas", "stack.schema.json"), encoding="utf-8") as handle:
        return json.load(handle)


SCHEMA = published()
with open(os.path.join(ROOT, "files", "stacks", "inventory", "stack.yml"), encoding="utf-8") as stack_file:
    DEFINITION = yaml.safe_load(stack_file)


def definition():
    return copy.deepcopy(DEFINITION)


REAL = jsonschema.Draft202012Validator(SCHEMA)


def places(value, path=()):
    """Every (path, value) below a document, the document itself first."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, path + (key,))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, path + (index,))


def mutated(document, chosen):
    """The document with one to three random changes: a value replaced, a key removed, renamed or added, an entry doubled or dropped."""
    for unused in range(chosen.choice([1, 1, 1, 2, 3])):
        path, value = chosen.choice([place for place in places(document) if place[0]])
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        what = chosen.choice(["replace", "replace", "replace", "remove", "rename", "add", "nudge", "nudge"])
        strange = chosen.choice([None, True, False, 0, 1, -1, 65536, 443, 2.5, "", "x", "/abs", "../up", "0644", "644", "0999", "999:999", "1:x", "tcp",
                                 "512M", "512m", "UPPER",
                                 "with space", "linux/arm64", "linux/s390x", [], ["a"], [1], {}, {"a": 1}, {"source": "generated"}, "generated", "1.5", "1,5",
                                 "é"])
        if what == "replace":
            parent[path[-1]] = strange
        elif what == "remove":
            del parent[path[-1]]
        elif what == "rename" and isinstance(parent, dict):
            parent[chosen.choice([path[-1] + "x", path[-1].upper(), "-" + path[-1], path[-1] + " ", "platforms", "source"])] = parent.pop(path[-1])
        elif what == "add" and isinstance(value, dict):
            value[chosen.choice(["extra", "default", "X-1", "mode", "target", "A_B", "services"])] = strange
        elif what == "add" and isinstance(value, list):
            value.append(strange)
        elif isinstance(value, str) and value:
            parent[path[-1]] = chosen.choice([value[:-1], value + "/", value.upper(), value[1:], value + "0", " " + value])
        elif isinstance(value, int) and not isinstance(value, bool):
            parent[path[-1]] = chosen.choice([value + 1, -value, value * 1000, str(value), value + 0.5])
    return document


def test_the_published_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_published_schema_uses_no_word_beside_a_reference():
    # ours takes a $ref alone; draft 2020-12 would apply what stands beside it
    beside = [path for path, value in places(SCHEMA) if isinstance(value, dict) and "$ref" in value and set(value) - {"$ref", "description", "title"}]
    assert beside == []


def test_same_verdict_as_a_real_validator():
    chosen = random.Random(20260102)
    verdicts = []
    for number in range(MUTATIONS):
        document = mutated(definition(), chosen)
        real = sorted(REAL.iter_errors(document), key=str)
        found = ours.validate(document, SCHEMA)
        assert bool(found) == bool(real), "mutation %d: ours %r, real %r" % (number, found, [error.message for error in real])
        verdicts.append(bool(real))
    # the comparison is worth something only when both verdicts come up often
    assert MUTATIONS * 0.2 < sum(verdicts) < MUTATIONS * 0.9


def test_the_definition_of_the_repository_is_valid():
    assert ours.validate(definition(), SCHEMA) == []


CASES = [
    ({"type": "integer"}, True, "(top): found true or false (True), needed a whole number"),
    ({"type": "number"}, False, "(top): found true or false (False), needed a number"),
    ({"type": ["string", "null"]}, 3, "(top): found a whole number (3), needed a text or nothing"),
    ({"const": 1}, True, "(top): found True, needed 1"),
    ({"enum": [1, "a"]}, True, "(top): found True, needed one of: 1, a"),
    ({"pattern": "^a$"}, "a\n", "(top): found 'a\\n', needed a text that matches ^a$"),
    ({"minLength": 2}, "a", "(top): found a text of 1 characters, needed at least 2"),
    ({"minimum": 1}, 0, "(top): found 0, needed at least 1"),
    ({"maximum": 1}, 1.5, "(top): found 1.5, needed at most 1"),
    ({"minItems": 1}, [], "(top): found 0 entries, needed at least 1"),
    ({"minProperties": 1}, {}, "(top): found 0 entries, needed at least 1"),
    ({"items": {"type": "string"}}, ["a", 1], "[1]: found a whole number (1), needed a text"),
    ({"required": ["a"]}, {}, "(top): found no key 'a', which is needed"),
    ({"properties": {"limits": {}}, "additionalProperties": False}, {"limit": 1}, "(top): unknown key 'limit'; known are: limits; did you mean 'limits'?"),
    ({"patternProperties": {"^[a-z]+$": {}}, "additionalProperties": False}, {"A": 1}, "(top): found the name 'A', needed a name that matches ^[a-z]+$"),
    ({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, {"a": {"b": None}}, "a/b: found nothing (None), needed a text"),
    ({"type": "object"}, {443: 1}, "(top): found the key 443, needed a text (put it in quotes)"),
]


@pytest.mark.parametrize("schema, value, text", CASES, ids=[case[2][:40] for case in CASES])
def test_a_problem_says_where_found_and_needed(schema, value, text):
    assert ours.validate(value, schema) == [text]


@pytest.mark.parametrize("schema, value", [
    ({"type": "integer"}, 3), ({"type": "number"}, 3), ({"type": "null"}, None), ({"const": 1}, 1), ({"pattern": "b"}, "abc"), ({"pattern": "a"}, 7),
    ({"minimum": 1}, "text"), ({"items": {"type": "string"}}, []), ({"properties": {"a": {}}}, {"b": 1}),
    ({"$ref": "#/$defs/m", "$defs": {"m": {"type": "string"}}}, "x"),
])
def test_what_is_valid_has_no_problem(schema, value):
    assert ours.validate(value, schema) == []


@pytest.mark.parametrize("keyword", ["oneOf", "uniqueItems", "maxLength", "not", "format", "propertyNames"])
def test_a_keyword_that_is_not_supported_is_an_error(keyword):
    with pytest.raises(ValueError, match=keyword):
        ours.validate("x", {keyword: 1})


def test_all_problems_come_at_once():
    document = definition()
    document["nmae"] = document.pop("name")
    document["needs"]["disk"] = 1
    document["secrets"]["secret_key"]["length"] = 3
    texts = "\n".join(ours.validate(document, SCHEMA))
    assert "found no key 'name'" in texts
    assert "unknown key 'nmae'" in texts and "did you mean 'name'?" in texts
    assert "needs: unknown key 'disk'" in texts
    assert "secrets/secret_key/length: found 3, needed at least 16" in texts


def test_a_long_value_is_cut():
    text = ours.validate("x" * 500, {"type": "integer"})[0]
    assert len(text) < 150 and "..." in text
