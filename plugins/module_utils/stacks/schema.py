# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of JSON Schema (draft 2020-12) that our published schemas use.

ansible-core brings no JSON Schema library, and a controller may have nothing else. A keyword that
this file does not know is an error, so that a schema can never be weaker than it reads.
"""

from __future__ import annotations

import difflib
import re

_ANNOTATIONS = frozenset(["$schema", "$id", "$defs", "title", "description", "default", "examples"])
_KEYWORDS = frozenset([
    "$ref", "type", "const", "enum", "pattern", "minLength", "minimum", "maximum", "minItems", "items",
    "minProperties", "required", "properties", "patternProperties", "additionalProperties",
])
_TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_NAMES = {"object": "a mapping", "array": "a list", "string": "a text", "boolean": "true or false",
          "integer": "a whole number", "number": "a number", "null": "nothing"}


def _matches(pattern, text):
    """Whether a text has a match of a pattern; a ``$`` at its end means the very end, as in JSON Schema, not before a last newline."""
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        pattern = pattern[:-1] + r"\Z"
    return re.search(pattern, text) is not None


def _same(one, other):
    """Whether two scalars are equal in JSON, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _shown(value):
    """A value as an error message quotes it: repr, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value):
    """Words for the JSON type of a value."""
    for name in ("null", "boolean", "integer", "number", "string", "array", "object"):
        if _TYPES[name](value):
            return _NAMES[name]
    return type(value).__name__


def validate(value, schema, root=None, path=""):
    """Check a value against a schema.

    :arg value: parsed YAML or JSON.
    :arg schema: dict, the schema.
    :kwarg root: dict, the document that ``$ref`` points into; the schema itself when not given.
    :kwarg path: str, where the value stands, as ``images/app/build``.
    :returns: list of str, one sentence a problem (where, found, needed), empty when the value is valid.
    :raises ValueError: the schema uses a keyword that is not supported here.
    """
    root = schema if root is None else root
    unknown = set(schema) - _KEYWORDS - _ANNOTATIONS
    if unknown:
        raise ValueError("schema keyword(s) not supported: %s" % ", ".join(sorted(unknown)))
    where = path or "(top)"
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].lstrip("#/").split("/"):
            target = target[part]
        return validate(value, target, root, path)

    if "const" in schema and not _same(value, schema["const"]):
        return ["%s: found %s, needed %r" % (where, _shown(value), schema["const"])]
    if "enum" in schema and not any(_same(value, item) for item in schema["enum"]):
        return ["%s: found %s, needed one of: %s" % (where, _shown(value), ", ".join(str(item) for item in schema["enum"]))]
    if "type" in schema:
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_TYPES[name](value) for name in wanted):
            return ["%s: found %s (%s), needed %s" % (where, _kind(value), _shown(value), " or ".join(_NAMES[name] for name in wanted))]

    problems = []
    if isinstance(value, str):
        if "pattern" in schema and not _matches(schema["pattern"], value):
            problems.append("%s: found %s, needed a text that matches %s" % (where, _shown(value), schema["pattern"]))
        if len(value) < schema.get("minLength", 0):
            problems.append("%s: found a text of %d characters, needed at least %d" % (where, len(value), schema["minLength"]))
    if _TYPES["number"](value):
        if "minimum" in schema and value < schema["minimum"]:
            problems.append("%s: found %s, needed at least %s" % (where, value, schema["minimum"]))
        if "maximum" in schema and value > schema["maximum"]:
            problems.append("%s: found %s, needed at most %s" % (where, value, schema["maximum"]))
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            problems.append("%s: found %d entries, needed at least %d" % (where, len(value), schema["minItems"]))
        if "items" in schema:
            for index, item in enumerate(value):
                problems.extend(validate(item, schema["items"], root, "%s[%d]" % (path, index)))
    if isinstance(value, dict):
        problems.extend(_validate_mapping(value, schema, root, path))
    return problems


def _validate_mapping(value, schema, root, path):
    """The keywords of objects; same result as :func:`validate`."""
    problems = []
    where = path or "(top)"
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for key in schema.get("required", []):
        if key not in value:
            problems.append("%s: found no key '%s', which is needed" % (where, key))
    if len(value) < schema.get("minProperties", 0):
        problems.append("%s: found %d entries, needed at least %d" % (where, len(value), schema["minProperties"]))
    for key, item in value.items():
        below = "%s/%s" % (path, key) if path else str(key)
        if not isinstance(key, str):
            problems.append("%s: found the key %s, needed a text (put it in quotes)" % (where, _shown(key)))
            continue
        if key in known:
            problems.extend(validate(item, known[key], root, below))
            continue
        matching = [sub for pattern, sub in patterns.items() if _matches(pattern, key)]
        for sub in matching:
            problems.extend(validate(item, sub, root, below))
        if not matching and schema.get("additionalProperties", True) is False:
            if patterns and not known:
                problems.append("%s: found the name '%s', needed a name that matches %s" % (where, key, " or ".join(patterns)))
            else:
                close = difflib.get_close_matches(key, list(known), 1)
                hint = "; did you mean '%s'?" % close[0] if close else ""
                problems.append("%s: unknown key '%s'; known are: %s%s" % (where, key, ", ".join(sorted(known)), hint))
    return problems
