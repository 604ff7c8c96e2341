# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images.dockerfile import expand, parse_dockerfile, split_instructions


def bases(text, target=None, **given):
    return [base.reference for base in parse_dockerfile(text, **given).bases(target)]


def test_arguments_before_from_have_defaults_and_can_be_given():
    text = 'ARG NAME=python\nARG TAG="3.11"-slim\nARG FULL=$NAME:${TAG}\nFROM ${FULL} AS a\n'
    assert bases(text) == ["python:3.11-slim"]
    assert bases(text, args={"TAG": "3.12"}) == ["python:3.12"]
    assert parse_dockerfile(text + "ARG PIP_INDEX_URL\nARG A=1 B=2").declared_args == {"NAME", "TAG", "FULL", "PIP_INDEX_URL", "A", "B"}


def test_an_argument_of_a_stage_is_not_known_in_from():
    with pytest.raises(ValueError, match="line 3: the image of FROM"):
        parse_dockerfile("FROM a\nARG X=b\nFROM $X")


@pytest.mark.parametrize("text, values, result", [
    ("$A-${B}", {"A": "1", "B": "2"}, "1-2"), ("${A:-d}", {"A": ""}, "d"), ("${A-d}", {"A": ""}, ""), ("${A-d}", {}, "d"), ("${A:+d}", {"A": "1"}, "d"),
    ("${A:+d}", {}, ""),
    ("${A:-${B}x}", {"B": "2"}, "2x"), ("'$A'", {"A": "1"}, "$A"), ('"$A"', {"A": "1"}, "1"), ("\\$A", {"A": "1"}, "$A"), ("${A:?no}", {"A": "1"}, "1"),
])
def test_variables_expand_as_in_docker(text, values, result):
    assert expand(text, values) == result


@pytest.mark.parametrize("text", ["${A:?must}", "${A#x}", "${A", "$"])
def test_variables_that_are_not_understood_are_refused(text):
    with pytest.raises(ValueError):
        expand(text, {})


def test_stages_other_images_and_mounts():
    text = ("FROM --platform=$BUILDPLATFORM node:20 AS Web\nRUN --mount=type=cache,target=/c --mount=type=bind,from=tools:1,source=/x,target=/x \\\n"
            "  # a comment\n\n  true\n"
            "FROM python:3 as base\nFROM base AS final\nCOPY --chown=1:1 --from=web /a /b\nCOPY --from=0 /c /d\n"
            "COPY --from=ghcr.io/x/uv:1 /uv /bin/\nFROM scratch\nFROM never:1 AS unused\n")
    parsed = parse_dockerfile(text, platform="linux/arm64", native="linux/amd64")
    assert [base.reference for base in parsed.bases("final")] == ["node:20", "tools:1", "python:3", "ghcr.io/x/uv:1"]
    assert [base.platform for base in parsed.bases("final")] == ["linux/amd64", None, None, None]
    assert [base.reference for base in parsed.bases("WEB")] == ["node:20", "tools:1"]
    assert parsed.bases("3") == [] and [base.reference for base in parsed.bases()] == ["never:1"]
    with pytest.raises(ValueError, match="no stage is called 'nope'"):
        parsed.bases("nope")


def test_the_escape_directive_changes_continuation():
    assert bases("# escape=`\nARG A=x`\n:1\nFROM ${A}\nRUN dir c:\\\nFROM b") == ["b"]
    with pytest.raises(ValueError, match="escape directive"):
        parse_dockerfile("# escape=x\nFROM a")
    assert split_instructions("# a comment\n# escape=`\nFROM a \\\n AS b")[0][0].rest == "a  AS b", "a directive after a comment is a comment"


def test_here_documents_are_not_instructions():
    assert bases("FROM a\nRUN <<EOF cat > x\nFROM b\nEOF\nCOPY <<-'X' <<Y /d/\n\tFROM c\n\tX\nFROM d\nY\n") == ["a"]
    with pytest.raises(ValueError, match="line 2: the here-document EOF has no end"):
        parse_dockerfile("FROM a\nRUN <<EOF\nfoo")


def test_crlf_and_a_byte_order_mark_are_read():
    assert bases("\ufeffFROM a AS x\r\nFROM x\r\nCOPY --from=b \\\r\n / /\r\n") == ["a", "b"]


@pytest.mark.parametrize("text, part", [
    ("", "no FROM"), ("RUN true\nFROM a", "line 1: RUN comes before"), ("FROM a b", "line 1: FROM needs one image"),
    ("FROM", "line 1: FROM needs one image"), ("FROM a AS", "FROM needs"),
    ("FROM ${X}", "is empty"), ("FROM a\nCOPY --from=$X / /", "does not expand"), ("FROM a\nCOPY --from=late / /\nFROM b AS late", "comes later"),
    ("FROM a\nCOPY --from=4 / /", "comes later"),
])
def test_dockerfiles_that_cannot_be_read(text, part):
    with pytest.raises(ValueError, match=part):
        parse_dockerfile(text)


def test_the_syntax_directive_is_seen():
    assert parse_dockerfile("# syntax=docker/dockerfile:1\nFROM a").syntax == "docker/dockerfile:1"
