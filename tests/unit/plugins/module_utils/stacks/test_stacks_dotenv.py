# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import dotenv

# What the real readers answered: python-dotenv 1.2.4, python-dotenv 1.0.0 (None: the same), systemd 252 (its names that it gives to no unit left out).
# Beyond these, 150,000 random files were put to each of the three.
CAPTURED = [
    ('A= #c\n', {'A': ''}, {'A': '#c'}, {'A': '#c'}),
    ('A=b #c', {'A': 'b'}, None, {'A': 'b #c'}),
    ('A=#c', {'A': '#c'}, None, {'A': '#c'}),
    ("A='x' #c\n", {'A': 'x'}, None, {'A': 'x#c'}),
    ("A='x'y\nB=1", {'B': '1'}, None, {'A': 'xy', 'B': '1'}),
    ('A="b\nC=d\nB="\n', {'A': 'b\nC=d\nB='}, None, {'A': 'b\nC=d\nB='}),
    ('FO#O=1\n', {}, None, {}),
    ('export A=1\n', {'A': '1'}, None, {}),
    ("'q k'=1\n", {'q k': '1'}, None, {}),
    ("A='abc\\'\n", {}, {'A': 'abc\\'}, {'A': 'abc\\'}),
    ("A='a\\'b'\n", {'A': "a'b"}, None, {'A': "a\\b'"}),
    ('A="\\$x \\n \\\' \\q"\n', {'A': "\\$x \n ' \\q"}, None, {'A': "$x \\n \\' \\q"}),
    ("A=1\nB='${A}'\nC=${Q:-d}${A}\n", {'A': '1', 'B': '1', 'C': 'd1'}, None, {'A': '1', 'B': '${A}', 'C': '${Q:-d}${A}'}),
    ('A\nB=\n', {'B': ''}, None, {'B': ''}),
    ('  A = 1  \n', {'A': '1'}, None, {'A': '1'}),
    ('A=a#b\n', {'A': 'a#b'}, None, {'A': 'a#b'}),
    ('A=\\ta\n', {'A': '\\ta'}, None, {'A': 'ta'}),
    ('\ufeffA=1\n', {'A': '1'}, {'\ufeffA': '1'}, {}),
    ('A=${B\nC=1', {'A': '${B', 'C': '1'}, None, {'A': '${B', 'C': '1'}),
    ('A="${Z:-a}b}"', {'A': 'ab}'}, None, {'A': '${Z:-a}b}'}),
    ('A=${}x', {'A': 'x'}, None, {'A': '${}x'}),
    ('A=b\xa0# c\xa0', {'A': 'b'}, None, {'A': 'b\xa0# c\xa0'}),
    ('A\xa0=1', {'A': '1'}, None, {}),
    ('A=1\x0bB=2\nC=3', {'A': '1\x0bB=2', 'C': '3'}, None, {'A': '1\x0bB=2', 'C': '3'}),
    ('A=a\u2028b\n', {'A': 'a\u2028b'}, None, {'A': 'a\u2028b'}),
    ('A=1\rB=2', {'A': '1', 'B': '2'}, None, {'A': '1', 'B': '2'}),
    ('A=${A:-x}\n', {'A': 'x'}, None, {'A': '${A:-x}'}),
    ('A=1\nA=${A}2\n', {'A': '12'}, None, {'A': '${A}2'}),
    ('=1\nB=2\n', {'B': '2'}, None, {'B': '2'}),
    ('A B=1\nC=2\n', {'C': '2'}, None, {'C': '2'}),
    ('A="b\nC=3\n', {'C': '3'}, None, {'A': 'b\nC=3\n'}),
    ('export\tA=1\nexport =2\nexport=3\n', {'A': '1', 'export': '3'}, None, {'export': '3'}),
    ('; A=1\nB=2\n', {'B': '2'}, None, {'B': '2'}),
    ('# c \\\nA=1\n', {'A': '1'}, None, {}),
    ('A=a\\\nb\nC=1\n', {'A': 'a\\', 'C': '1'}, None, {'A': 'ab', 'C': '1'}),
    ('A="a\\\nb"\n', {'A': 'a\\\nb'}, None, {'A': 'ab'}),
    ('A=\'a\'"b"c\n', {}, None, {'A': 'abc'}),
    ('A=a\\$b\n', {'A': 'a\\$b'}, None, {'A': 'a$b'}),
    ('A="a\\$b\\\\c\\`\\q"\n', {'A': 'a\\$b\\c\\`\\q'}, None, {'A': 'a$b\\c`\\q'}),
    ("A='a\\nb'\n", {'A': 'a\\nb'}, None, {'A': 'a\\nb'}),
    ('A=  x  y  \n', {'A': 'x  y'}, None, {'A': 'x  y'}),
    ("A=x'y'\n", {'A': "x'y'"}, None, {'A': "x'y'"}),
    ('A=x"y z"\n', {'A': 'x"y z"'}, None, {'A': 'x"y z"'}),
    ('A="x"  \n', {'A': 'x'}, None, {'A': 'x'}),
    ('A=x\\\n', {'A': 'x\\'}, None, {'A': 'x'}),
    ('A-B=1\n', {'A-B': '1'}, None, {}),
    ("A = 'x'\n", {'A': 'x'}, None, {'A': 'x'}),
    ('A=1;B=2\n', {'A': '1;B=2'}, None, {'A': '1;B=2'}),
    ('A=`x`\n', {'A': '`x`'}, None, {'A': '`x`'}),
    ('A=$A\n', {'A': '$A'}, None, {'A': '$A'}),
    ('A==b=\n', {'A': '=b='}, None, {'A': '=b='}),
    ('A="x"#c\n', {'A': 'x'}, None, {'A': 'x#c'}),
    ('A="x" #c\nB=1\n', {'A': 'x', 'B': '1'}, None, {'A': 'x#c', 'B': '1'}),
    ('A=b\t#c\n', {'A': 'b'}, None, {'A': 'b\t#c'}),
    ('1A=2\n', {'1A': '2'}, None, {}),
    ('A=x\n\n\n   #c\n  B=2', {'A': 'x', 'B': '2'}, None, {'A': 'x', 'B': '2'}),
    ('A=""\nB=\'\'\n', {'A': '', 'B': ''}, None, {'A': '', 'B': ''}),
    ("A='x\ny'\nB=2\n", {'A': 'x\ny', 'B': '2'}, None, {'A': 'x\ny', 'B': '2'}),
    ('A= \nB=1\n', {'A': '', 'B': '1'}, None, {'A': '', 'B': '1'}),
    ('A=\n  B=1\n', {'A': '', 'B': '1'}, None, {'A': '', 'B': '1'}),
    ("'A'=1\n", {'A': '1'}, None, {}),
    ("'A=1\nB=2\n", {'B': '2'}, None, {'B': '2'}),
    ("export 'A'=1\n", {'A': '1'}, None, {}),
    ("A='${A:-l}'\nB=${C-x}\nD=${E:-}${F:-a:-b}\n", {'A': 'l', 'B': '', 'D': 'a:-b'}, None, {'A': '${A:-l}', 'B': '${C-x}', 'D': '${E:-}${F:-a:-b}'}),
    ('A=\\x41\n', {'A': '\\x41'}, None, {'A': 'x41'}),
    ('A="\\x41\\t\\v"\n', {'A': '\\x41\t\x0b'}, None, {'A': '\\x41\\t\\v'}),
    ('A=x\x85y\n', {'A': 'x\x85y'}, None, {'A': 'x\x85y'}),
    ('A="a"b"\nB=1\n', {'B': '1'}, None, {'A': 'ab"', 'B': '1'}),
]


def values(text, dialect):
    return {name: variable.value for name, variable in dotenv.effective([("f", text)], dialect)[0].items()}


@pytest.mark.parametrize("text, recent, former, systemd", CAPTURED)
def test_each_reader_is_read_as_it_reads(text, recent, former, systemd):
    assert values(text, "dotenv") == recent
    assert values(text, "dotenv-1.0") == (recent if former is None else former)
    assert values(text, "systemd") == systemd


def test_the_captured_answers_tell_the_readers_apart():
    assert sum(former is not None for unused, unused2, former, unused3 in CAPTURED) >= 3
    assert sum(recent != systemd for unused, recent, unused2, systemd in CAPTURED) >= 20


def test_later_lines_and_later_files_win_and_each_says_where_it_stands():
    variables, unparsed = dotenv.effective([("/a", "A=1\n\nB=2\nA=3\n"), ("/b", "# c\nB='x\ny'\nC=4\n")])
    assert unparsed == []
    assert {name: (entry.value, entry.file, entry.line) for name, entry in variables.items()} == {
        "A": ("3", "/a", 4), "B": ("x\ny", "/b", 2), "C": ("4", "/b", 4)}


def test_references_see_the_files_before_and_the_lines_above():
    variables = dotenv.effective([("/a", "HOST=one\nLATER=${NEXT:-none}\nNEXT=x\n"), ("/b", "URL=http://${HOST}:${PORT:-80}/\nHOST=two\nCOPY=${URL}\n")])[0]
    assert variables["URL"].value == "http://one:80/" and variables["URL"].missing == ("PORT",)
    # what a value of uncertain parts is part of, is uncertain too
    assert variables["COPY"].value == "http://one:80/" and variables["COPY"].missing == ("PORT",)
    assert variables["LATER"].missing == ("NEXT",) and variables["HOST"].missing == ()


def test_systemd_fills_in_no_references():
    variable = dotenv.effective([("f", "A=${B:-x}\n")], "systemd")[0]["A"]
    assert variable.value == "${B:-x}" and variable.missing == ()


def test_a_name_alone_takes_away_what_its_file_said_and_leaves_what_another_said():
    variables, unparsed = dotenv.effective([("/a", "A=1\nB=1\n"), ("/b", "B=2\nC=3\nC\nB\nD=${C}${B:-x}.\n")])
    assert {name: variable.value for name, variable in variables.items()} == {"A": "1", "B": "1", "D": "."}
    assert unparsed == [("/b", dotenv.Unparsed(3, "a name without a value")), ("/b", dotenv.Unparsed(4, "a name without a value"))]


@pytest.mark.parametrize("dialect, text, line, words", [
    ("dotenv", "A=1\nTHIS IS NO LINE\nB=2\n", 2, "behind the name"),
    ("dotenv", "A=1\n\nB='x'y\nC=2\n", 3, "closing quote"),
    ("dotenv", 'A=1\nB="never closed\nC=2\n', 2, "a quote is not closed"),
    ("dotenv", "=1\n", 1, "no name"),
    ("dotenv", "\n'A=1\n", 2, "a quote that nobody closes"),
    ("systemd", "A=1\nexport B=2\n", 2, "knows no `export`"),
    ("systemd", "\nA\n", 2, "without an equals sign"),
    ("systemd", "=x\n", 1, "without an equals sign"),
    ("systemd", "A", 1, "without an equals sign"),
    ("systemd", "B=1\nA='x\nC=2\n", 2, "takes all the rest"),
    ("systemd", "# see C:\\\nA=1\n", 2, "ends with a backslash"),
])
def test_a_line_that_is_passed_over_is_told_by_its_number(dialect, text, line, words):
    found = dotenv.parse(text, dialect)[1]
    assert [problem.line for problem in found] == [line]
    assert words in found[0].reason


@pytest.mark.parametrize("dialect", ["dotenv", "dotenv-1.0", "systemd"])
@pytest.mark.parametrize("text", ["A=", "A= ", "A=\t \t", "A=''", "A=\n \n"])
def test_a_file_may_end_anywhere(dialect, text):
    assert dotenv.parse(text, dialect) == ([dotenv.Assignment("A", "", 1)], [])


def test_what_an_unclosed_escape_is_for_systemd():
    assert dotenv.parse('A="x\\', "systemd") == ([dotenv.Assignment("A", "x", 1)], [
        dotenv.Unparsed(1, "a quote that nobody closes: systemd takes all the rest of the file")])
    assert dotenv.parse("A=x\\", "systemd") == ([dotenv.Assignment("A", "x", 1)], [])


@pytest.mark.parametrize("dialect", ["dotenv", "dotenv-1.0", "systemd"])
def test_no_reason_repeats_what_the_file_says(dialect):
    for text in ("A='hush-hush\n", "hush-hush\n", "A='x'hush-hush\n", "=hush-hush", "hush hush=1\n"):
        for unused, problem in dotenv.effective([("f", text)], dialect)[1]:
            assert "hush" not in problem.reason


def test_where_readers_disagree_is_said_by_name():
    assert dotenv.differing([("f", "A=1\nB='x'\nC=# c\nD= # c\nE=x\\y\nexport F=1\nG=${A}\n")], "dotenv") == ({"D"}, {"D", "E", "F", "G"})
    # to a host with systemd's reading, editions of python-dotenv do not matter
    assert dotenv.differing([("f", "D= # c\n")], "systemd") == (set(), {"D"})
    assert dotenv.differing([("f", "A=1\n")], "dotenv") == (set(), set())


@pytest.mark.parametrize("text, good", [("A", True), ("_a1", True), ("A" * 64, True), ("A" * 65, False), ("1A", False), ("A-B", False), ("A\n", False),
                                        ("", False), ("MIIEvQIBADAN/x+", False)])
def test_what_may_be_shown_as_a_name(text, good):
    assert dotenv.is_name(text) is good


def test_references_that_double_each_other_are_refused_before_they_fill_the_memory():
    text = "A0=xxxxxxxxxxxxxxxx${NO}\n" + "".join("A%d=${A%d}${A%d}\n" % (number, number - 1, number - 1) for number in range(1, 64))
    with pytest.raises(dotenv.TooLong) as error:
        dotenv.effective([("/etc/shop.env", text)])
    assert str(error.value) == ("/etc/shop.env, line 19: found references that make a value of more than 2097152 characters, "
                                "needed a value that an environment can hold")
    # one that just fits: 16 * 2 ** 17 characters, and what is missing is named once
    variable = dotenv.effective([("f", "".join(text.splitlines(True)[:18]))])[0]["A17"]
    assert len(variable.value) == dotenv.MAX_CHARACTERS and variable.missing == ("NO",)


def test_a_big_file_takes_no_longer_than_its_lines():
    text = "".join("NAME_%d=${NAME_%d}x\n" % (number, number - 5) for number in range(20000)) + "LAST='" + "\\'" * 50000
    variables, unparsed = dotenv.effective([("f", text)], "dotenv")
    assert len(variables) == 20000 and len(unparsed) == 1
