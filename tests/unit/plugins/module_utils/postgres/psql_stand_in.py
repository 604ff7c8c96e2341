# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for psql on a pipe, as far as session.py needs one: statements that end with a line of ``;``, ``\\set``, ``\\echo``, its variables of errors.

    python psql_stand_in.py SCENARIO [words of psql]

SCENARIO is a JSON file: ``{log, refuse, answers: [{has, lines, error: [state, text], stderr, exit, hold}]}``. The first answer whose ``has`` is in a
statement counts and stays; a statement
without an answer prints nothing. Statements, and the words, are written to ``log``, one JSON text a line.
"""

from __future__ import annotations

import json
import sys
import time


def say(stream, text):
    stream.buffer.write(text.encode("utf-8"))
    stream.flush()


def statement(scenario, sql, variables):
    """One statement: what it prints, and what psql knows of it afterwards."""
    with open(scenario["log"], "a", encoding="utf-8") as handle:
        handle.write(json.dumps(sql) + "\n")
    answer = next((entry for entry in scenario["answers"] if entry["has"] in sql), {})
    say(sys.stderr, answer.get("stderr", ""))
    if "exit" in answer:
        sys.exit(answer["exit"])
    time.sleep(answer.get("hold", 0))
    say(sys.stdout, "".join(line + "\n" for line in answer.get("lines", [])))
    if "error" in answer:
        variables["LAST_ERROR_SQLSTATE"], variables["LAST_ERROR_MESSAGE"] = answer["error"]
        say(sys.stderr, "ERROR:  %s\n" % answer["error"][1] if answer.get("said", True) else "")


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        scenario = json.load(handle)
    if scenario.get("words"):
        with open(scenario["words"], "w", encoding="utf-8") as handle:
            json.dump(sys.argv[2:], handle)
    if scenario.get("refuse"):
        say(sys.stderr, scenario["refuse"])
        sys.exit(2)
    variables, pending = {}, []
    for raw in sys.stdin.buffer:
        line = raw.decode("utf-8").rstrip("\n")
        if line.startswith("\\set ") and not pending:
            unused, name, value = line.split(" ", 2)
            variables[name] = value.strip("'")
        elif line.startswith("\\echo ") and not pending:
            words = [variables.get(word[1:], word) if word.startswith(":") else word for word in line[len("\\echo ") :].replace("'", "").split(" ")]
            say(sys.stdout, " ".join(words) + "\n")
        elif line == ";":
            sql, pending = "\n".join(pending), []
            if sql.strip():
                statement(scenario, sql, variables)
        else:
            pending.append(line)


if __name__ == "__main__":
    main()
