# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts digests and sizes into a manifest's text and leaves every other character of it as it is. Pure: text in, text out."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Node:
    """A JSON value and where it stands: ``start`` and ``end`` in the text; ``members`` (object: {key: (position of the key, Node)}) or ``items`` (array)."""

    def __init__(self, start):
        self.start, self.end, self.value = start, start, None
        self.members, self.items = None, None


def _skip(text, position):
    return _BLANK.match(text, position).end()


def scan(text, position=0):
    """The Node of the JSON value at ``position``. The text is known to be JSON."""
    node = Node(_skip(text, position))
    if text[node.start] == "{":
        node.members = {}
        position = _skip(text, node.start + 1)
        while text[position] != "}":
            key, after = scanstring(text, position + 1)
            value = scan(text, _skip(text, after) + 1)
            node.members[key] = (position, value)
            position = _skip(text, value.end)
            if text[position] == ",":
                position = _skip(text, position + 1)
        node.end = position + 1
    elif text[node.start] == "[":
        node.items = []
        position = _skip(text, node.start + 1)
        while text[position] != "]":
            value = scan(text, position)
            node.items.append(value)
            position = _skip(text, value.end)
            if text[position] == ",":
                position = _skip(text, position + 1)
        node.end = position + 1
    else:
        node.value, node.end = _DECODER.raw_decode(text, node.start)
    return node


def _entries(root):
    """{name: (Node of the file's object, whether it is our own form)}; the forms are those of parse_manifest()."""
    ours = root.members is not None and ("files" in root.members or "schema" in root.members)
    if ours:
        root = root.members["files"][1]
    elif root.members is not None and "models" in root.members and "url" not in (root.members["models"][1].members or {}):
        root = root.members["models"][1]
    if root.items is not None:
        return {node.members["name"][1].value: (node, ours) for node in root.items}
    return {name: (node, False) for name, (unused, node) in root.members.items()}


def _edits(text, node, ours, found):
    """[(start, end, new text)] for one file."""
    key = "checksum" if "checksum" in node.members or not ours and "digest" not in node.members else "digest"
    edits = []
    for name, value in ((key, found["digest"]), ("size", found["size"])):
        if name in node.members:
            old = node.members[name][1]
            edits.append((old.start, old.end, json.dumps(value)))
            continue
        keys = sorted(position for position, unused in node.members.values())
        # The new member stands as far from the one before it as that one from its own.
        gap = re.search(r"[ \t\n\r]*$", text[:keys[-1]]).group() if keys else ""
        end = max(value.end for unused, value in node.members.values())
        edits.append((end, end, ",%s%s: %s" % (gap or " ", json.dumps(name), json.dumps(value))))
    return edits


def fill(text, found):
    """The manifest's text with what was found.

    :param text: a manifest that parse_manifest() accepts.
    :param found: ``{name: {"digest": "sha256:...", "size": bytes}}``.
    """
    lead = 1 if text.startswith("\ufeff") else 0
    entries, edits = _entries(scan(text, lead)), []
    for name, values in found.items():
        node, ours = entries[name]
        edits += _edits(text, node, ours, values)
    # From the end, so that positions stay true; two at one place keep their order.
    for start, end, new in sorted(reversed(edits), key=lambda edit: edit[0], reverse=True):
        text = text[:start] + new + text[end:]
    return text
