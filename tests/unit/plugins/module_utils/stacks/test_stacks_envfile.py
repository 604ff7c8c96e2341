# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import envfile

# What Compose 2.26.1 read back unchanged (tests/integration/env_roundtrip.py asks a real one).
WRITTEN = [
    ("", ""),
    ("plain", "plain"),
    ("dockyard/inventory-app:4f0c2a91d7b3e865", "dockyard/inventory-app:4f0c2a91d7b3e865"),
    ("a=b", '"a=b"'),
    ("two words", '"two words"'),
    (" blank", '" blank"'),
    ("blank ", '"blank "'),
    ("$", '"\\$"'),
    ("$$", '"\\$\\$"'),
    ("${X:-y}", '"\\${X:-y}"'),
    ("\\$X", '"\\\\\\$X"'),
    ('"', '"\\""'),
    ("'", '"\'"'),
    ("\\", '"\\\\"'),
    ('\\"', '"\\\\\\""'),
    ("\\n", '"\\\\n"'),
    ("a\nb", '"a\\nb"'),
    ("a\n", '"a\\n"'),
    ("\n", '"\\n"'),
    ("\r\n", '"\\r\\n"'),
    ("\t", '"\\t"'),
    ("#", '"#"'),
    ("a #b", '"a #b"'),
    ("é", '"é"'),
    ("\u2028", '"\u2028"'),
]
BACK = {"\\": "\\", '"': '"', "$": "$", "n": "\n", "r": "\r", "t": "\t"}


def read(text):
    """What Compose makes of a written value: inside double quotes a backslash and the next character are one, a `$` alone would be a variable."""
    if not text.startswith('"'):
        assert not re.search(r"[\s#$\\'\"`=]", text)
        return text
    assert text.endswith('"') and len(text) > 1 and "\n" not in text and "\r" not in text
    assert not re.search(r'(?<!\\)(\\\\)*[$"]', text[1:-1])
    return re.sub(r"\\(.)", lambda match: BACK[match.group(1)], text[1:-1], flags=re.DOTALL)


@pytest.mark.parametrize("value, written", WRITTEN)
def test_quote(value, written):
    assert envfile.quote(value) == written
    assert read(written) == value


def test_every_character_of_latin_1_and_every_pair_of_the_dangerous_ones_comes_back():
    dangerous = "$\\\"'\n\r\t #={}nrt`a"
    values = [chr(number) for number in range(1, 256)] + [one + other for one in dangerous for other in dangerous] + ["$\\\"'\n#" * 700]
    for value in values:
        assert read(envfile.quote(value)) == value


def test_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        envfile.quote("a\0b")


@pytest.mark.parametrize("value, text", [(True, "true"), (False, "false"), (5, "5"), (1.5, "1.5"), ("x", "x"), ("", "")])
def test_text_of(value, text):
    assert envfile.text_of(value) == text


@pytest.mark.parametrize("value", [None, [], {}, ["a"]])
def test_text_of_refuses_what_is_no_scalar(value):
    with pytest.raises(ValueError, match="needed a text"):
        envfile.text_of(value)


def test_render_is_sorted_one_line_each_and_has_the_header():
    assert envfile.render({"B": "x y", "A": True, "_c": 1}, "First.\n\nThird.") == '# First.\n#\n# Third.\nA=true\nB="x y"\n_c=1\n'
    assert envfile.render({}) == "\n"


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A=B", "A\n", "é", "A.B", "#A"])
def test_render_refuses_a_name_and_does_not_show_the_value(name):
    with pytest.raises(ValueError) as error:
        envfile.render({name: "hush-hush"})
    assert repr(name) in str(error.value) and "hush-hush" not in str(error.value)


def test_render_names_the_variable_of_a_bad_value_and_does_not_show_it():
    for value in (["hush-hush"], "hush-hush\0"):
        with pytest.raises(ValueError) as error:
            envfile.render({"TOKEN": value})
        assert str(error.value).startswith("TOKEN: ") and "hush-hush" not in str(error.value)


@pytest.mark.parametrize("line, shown", [
    ("DB_PASSWORD=x", "DB_PASSWORD=(hidden)"),
    ("db_passwd=x", "db_passwd=(hidden)"),
    ("API_KEY=x", "API_KEY=(hidden)"),
    ("APIKEY=x=y", "APIKEY=(hidden)"),
    ("SECRET=", "SECRET="),
    ("SIGNING_KEY=x", "SIGNING_KEY=(hidden)"),
    ("GITHUB_TOKEN=\"a b\"", "GITHUB_TOKEN=(hidden)"),
    ("DATABASE_URL=postgres://u:p@h/d", "DATABASE_URL=(hidden)"),
    ("MONGODB_URI=mongodb://u:p@h/d", "MONGODB_URI=(hidden)"),
    ("SENTRY_DSN=https://x", "SENTRY_DSN=(hidden)"),
    ("export PASSWORD=x", "export PASSWORD=(hidden)"),
    ("WEB_WORKERS=2", "WEB_WORKERS=2"),
    ("PUBLIC_URL=https://host", "PUBLIC_URL=https://host"),
    ("KEYBOARD=de", "KEYBOARD=de"),
    ("# PASSWORD stands below", "# PASSWORD stands below"),
    ("", ""),
    ("rest of a secret", "(hidden)"),
    ("b+c/d==", "(hidden)"),
])
def test_mask(line, shown):
    assert envfile.mask(line) == shown
