# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens and credentials files of tunnels."""

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import credentials

TUNNEL = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"
SECRET = base64.b64encode(b"s" * 32).decode()


def token(**parts):
    return base64.b64encode(json.dumps(dict({"a": "acc", "t": TUNNEL, "s": SECRET}, **parts)).encode()).decode()


def test_a_token_becomes_a_credentials_file():
    found = credentials.of_token(token() + "\n")
    assert found == {"account": "acc", "tunnel": TUNNEL, "secret": SECRET}
    assert json.loads(credentials.file_of(found)) == {"AccountTag": "acc", "TunnelSecret": SECRET, "TunnelID": TUNNEL}


@pytest.mark.parametrize("text, told", [
    ("", "not a tunnel's token"), ("not base64!", "not a tunnel's token"), (base64.b64encode(b"[]").decode(), "not a tunnel's token"),
    (base64.b64encode(b'{"a": "x"}').decode(), "not a tunnel's token"), ("\u00e9", "not a tunnel's token"), (token(s=7), "not a tunnel's token"),
    (token(t="../etc"), "without a tunnel's id"), (token(s=base64.b64encode(b"short").decode()), "5 bytes, which is less than 32"),
])
def test_what_is_none_is_refused_without_being_shown(text, told):
    with pytest.raises(ValueError, match=told) as caught:
        credentials.of_token(text)
    assert not text or text not in str(caught.value)


def test_secrets_are_long_enough_and_differ():
    one, other = credentials.new_secret(), credentials.new_secret()
    assert one != other and len(base64.b64decode(one)) == 32
