# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.progress import NoReporter, Tally
from ansible_collections.dockyard.fleet.plugins.plugin_utils import progress


def item(name="a", done=0, total=100, unit="bytes", started=0.0, ended=None, note=""):
    return {"name": name, "unit": unit, "done": done, "total": total, "note": note, "started": started, "ended": ended}


def state(*items, host="pi", what="fetching", rates=None):
    totals = {}
    for entry in items:
        one = totals.setdefault(entry["unit"], dict.fromkeys(("done", "total", "moved", "items", "ended", "unknown"), 0))
        for key, value in (("done", entry["done"]), ("total", entry["total"] or 0), ("items", 1), ("ended", entry["ended"] is not None),
                           ("unknown", entry["total"] is None)):
            one[key] += value
    return {"host": host, "what": what, "items": list(items), "totals": totals, "rates": dict.fromkeys(totals, None) if rates is None else rates}


@pytest.mark.parametrize("done, total, unit, text", [
    (1_300_000_000, 4_000_000_000, "bytes", "1.30 of 4.00 GB (32%)"),
    (0, 50_000_000, "bytes", "0 B of 50.0 MB (0%)"),
    (900_000, 50_000_000, "bytes", "0.9 of 50.0 MB (1%)"),
    (3, 9, "bytes", "3 of 9 B (33%)"),
    (0, 0, "bytes", "0 of 0 B (100%)"),
    (120, 100, "bytes", "120 of 100 B (100%)"),
    (1_500_000, None, "bytes", "1.5 MB"),
    (3, 9, "steps", "3 of 9 steps"),
    (3, None, "layers", "3 layers"),
])
def test_amounts(done, total, unit, text):
    assert progress.amount(done, total, unit) == text


@pytest.mark.parametrize("seconds, text", [(0.2, "0:00"), (42, "0:42"), (723, "12:03"), (3723, "1:02:03"), (-5, "0:00")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_one_file_is_one_part_with_rate_and_time_left():
    line = progress.line_of([state(item("model.bin", 300_000_000, 1_000_000_000), rates={"bytes": 50_000_000})], 200)
    assert line == "pi: fetching model.bin 0.30 of 1.00 GB (30%), 50.0 MB/s, 0:14 left"


def test_several_files_show_the_total_first_and_those_under_work():
    line = progress.line_of([state(item("a", 100, 100, ended=3.0), item("b", 50), item("c", 0, started=None), rates={"bytes": 10})], 200)
    assert line == "pi: fetching 150 of 300 B (50%), 10 B/s, 0:15 left, 1 of 3 done | b 50 of 100 B (50%)"


def test_a_narrow_terminal_gets_less_and_never_a_second_line():
    wide = state(*[item(f"file-{number}", 1, 10) for number in range(20)])
    assert "| file-0 10% | file-1 10%" in progress.line_of([wide], 100)
    assert all(len(progress.line_of([wide], width)) <= width for width in (10, 20, 79, 129, 200))


def test_an_unknown_total_gives_no_time_left():
    line = progress.line_of([state(item("a", 10), item("b", 5, None), rates={"bytes": 5})], 200)
    assert line == "pi: fetching 15 B, 5 B/s, 0 of 2 done | a 10 of 100 B (10%) | b 5 B"


def test_steps_and_layers_have_no_rate():
    line = progress.line_of([state(item("demo/app", 3, 12, "steps", note="RUN make"), rates={"steps": 0.2})], 200)
    assert line == "pi: fetching demo/app 3 of 12 steps RUN make"
    line = progress.line_of([state(dict(item("demo/app", 3, 12, "steps", note="RUN make"), age=62.0))], 200)
    assert line == "pi: fetching demo/app 3 of 12 steps, 1:02 RUN make"


def test_a_transfer_that_stands_still_says_so():
    assert progress.line_of([state(item("a", 10), rates={"bytes": 0.0})], 200) == "pi: fetching a 10 of 100 B (10%), stalled"


def test_several_hosts_share_a_line():
    line = progress.line_of([state(item("model", 50), host="a", rates={"bytes": 5}), state(item("model", 10), item("b"), host="b", rates={"bytes": 5}),
                             state(host="c")], 200)
    assert line == "3 hosts: fetching 60 of 300 B (20%), 10 B/s, 0:24 left | a 50% model | b 5% model +1 | c ..."
    assert progress.line_of([state(host="a"), state(host="b", what="building")], 99) == "2 hosts: working a ... | b ..."


def test_the_line_that_stays_tells_how_long_it_took():
    assert progress.end_of("pi", "fetching", item("m", 10**9, 10**9, started=2.0, ended=12.0)) == "pi: fetching m: 1.00 GB in 0:10 (100.0 MB/s)"
    assert progress.end_of("pi", "building", item("app", 12, 12, "steps", ended=65.0, note="cached")) == "pi: building app: 12 steps in 1:05, cached"


def document(seconds, moved):
    return {"seconds": seconds, "totals": {"bytes": {"moved": moved}}}


def test_the_rate_is_that_of_the_last_seconds():
    rates = progress.Rates(window_s=10)
    rates.update("target", document(1.0, 100))
    assert rates.rate("bytes") == 100
    for second in range(2, 40):
        rates.update("target", document(float(second), 100 + 10 * (second - 1)))
    assert rates.rate("bytes") == 10
    assert rates.rate("layers") is None


def test_a_stall_is_told_after_a_while_only():
    rates = progress.Rates()
    rates.update("target", document(1.0, 0))
    assert rates.rate("bytes") is None
    rates.update("target", document(15.0, 0))
    assert rates.rate("bytes") == 0


def test_the_next_call_of_a_module_begins_anew():
    rates = progress.Rates()
    rates.update("target", document(100.0, 10_000))
    rates.update("target", document(2.0, 10))
    assert rates.rate("bytes") == 5


def test_the_same_document_twice_counts_once_and_both_ends_add_up():
    rates = progress.Rates()
    for source in ("target", "target", "local"):
        rates.update(source, document(2.0, 100))
    assert rates.rate("bytes") == 100


def test_the_age_of_what_is_under_work_is_that_of_the_report():
    ages = [entry["age"] for entry in progress.clean(reported(item(started=1.0), item(started=None), item(started=1.0, ended=2.0), seconds=4.0))["items"]]
    assert ages == [3.0, 0, 0]


def test_nothing_from_a_host_reaches_the_terminal_as_a_command():
    given = Tally("x").document()
    given["items"] = [item("\x1b[2Jevil\u202etxt\n", note="\x07")]
    assert progress.clean(given)["items"][0]["name"] == "?[2Jevil?txt?" and progress.clean(given)["items"][0]["note"] == "?"


@pytest.mark.parametrize("broken", [{}, [], {"items": 3, "totals": {}, "seconds": 0}, {"items": [{}], "totals": {}, "seconds": 1},
                                    {"items": [], "totals": {"bytes": {}}, "seconds": 1}, {"items": [], "totals": {}, "seconds": None}])
def test_another_form_is_refused(broken):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        progress.clean(broken)


class Screen:
    def __init__(self, terminal):
        self.terminal = terminal

    def width(self):
        return 90


class Display:
    def __init__(self):
        self.lines = []

    def display(self, text, screen_only=False, newline=True, log_only=False):
        self.lines.append(text + ("\n" if newline else "") if not log_only else f"LOG {text}")


class Connection:
    """The host: each answer is a document, a text or an exception."""

    become = "sudo"
    _shell = SimpleNamespace(SHELL_FAMILY="sh")

    def __init__(self, *answers):
        self.answers, self.commands = list(answers), []

    def exec_command(self, command, in_data=None, sudoable=True):
        assert self.become is None and not sudoable, "a poll asks for no rights"
        self.commands.append(command)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return 0, (answer if isinstance(answer, str) else json.dumps(answer)).encode(), b""


class Action:
    """What follow() takes of an action plugin."""

    def __init__(self, connection, check_mode=False, no_log=False, execute=None, **variables):
        self._connection, self._task = connection, SimpleNamespace(check_mode=check_mode, no_log=no_log, delegate_to=None)
        self._templar = SimpleNamespace(available_variables=dict({"inventory_hostname": "pi"}, **variables), template=lambda value: value)
        self.given = []
        self._execute = execute or (lambda: {"changed": True})

    def _execute_module(self, module_name, module_args, task_vars):
        self.given.append(module_args)
        return self._execute()


def reported(*items, seconds=4.0):
    made = state(*items)
    return {"seconds": seconds, "items": list(items), "totals": made["totals"]}


@pytest.fixture
def board(tmp_path):
    return progress.Board(str(tmp_path / "board"))


def followed(connection, board, terminal=False, **options):
    display = Display()
    made = progress.Followed(Action(connection, **options), "fetching", "pi", board, Screen(terminal), display)
    return made, display


def step(made, now=1e12):
    made._poll()
    made._show(now)


def test_on_a_terminal_one_line_is_drawn_anew_and_cleared_at_the_end(board):
    made, display = followed(Connection(reported(item("m", 30)), reported(item("m", 60), seconds=5.0)), board, terminal=True)
    step(made, now=0)
    step(made, now=0)
    made.start()
    made.stop()
    assert display.lines == ["\r\x1b[Kpi: fetching m 30 of 100 B (30%)", "\r\x1b[Kpi: fetching m 60 of 100 B (60%)", "\r\x1b[K"]
    assert board.states() == []


def test_elsewhere_a_plain_line_comes_every_five_seconds(board):
    made, display = followed(Connection(reported(item("m", 30))), board)
    made._plain_at = 100.0
    for now in (99.0, 100.0, 101.0, 104.9, 105.1):
        step(made, now)
    assert display.lines == ["pi: fetching m 30 of 100 B (30%)\n"] * 2


def test_many_hosts_take_turns_in_a_log(board, tmp_path):
    for number in range(12):
        other = progress.Board(str(tmp_path / "board"))
        other.put(state(item("m", 1), host=f"h{number}"))
    made, display = followed(Connection(reported(item("m", 30))), board)
    made._plain_at = 100.0
    for now in (100.0, 105.1, 110.1, 115.1):
        step(made, now)
    assert len(display.lines) == 2


def test_an_end_is_told_once_and_a_short_one_not_at_all(board):
    ended = reported(item("m", 100, started=1.0, ended=9.0), item("tiny", 100, started=1.0, ended=1.2), item("n", 5, started=9.0))
    made, display = followed(Connection(ended), board)
    made._plain_at = 1e13
    step(made)
    step(made)
    assert display.lines == ["pi: fetching m: 100 B in 0:08 (12 B/s)\n"]


def test_what_was_under_work_when_the_module_ended_well_is_told(board):
    made, display = followed(Connection(reported(item("m", 90, started=1.0), seconds=9.0)), board)
    made._plain_at = 1e13
    step(made)
    assert made.run("some.module", {"a": 1}, {}) == {"changed": True}
    assert made._action.given == [{"a": 1, "progress": made.token}]
    assert display.lines == ["pi: fetching m: 100 B in 0:08 (12 B/s)\n"]


def test_what_a_module_left_when_it_failed_has_not_ended(board):
    made, display = followed(Connection(reported(item("m", 90, started=1.0))), board, execute=lambda: {"failed": True})
    made._plain_at = 1e13
    step(made)
    assert made.run("some.module", {}, {}) == {"failed": True}
    assert display.lines == []


def test_work_on_the_controller_and_on_the_host_is_one_line(board):
    made, display = followed(Connection(reported(item("on the host", 50))), board)
    made.local.add("pushed", 100)
    made.local.advance("pushed", 100)
    step(made)
    assert display.lines[0].startswith("pi: fetching 150 of 200 B (75%)") and "pushed 100 of 100 B" in display.lines[0]


def test_a_file_that_grows_is_told_on_either_side(board, tmp_path):
    (tmp_path / "here").write_bytes(b"x" * 40)
    connection = Connection("\n-rw------- 1 1000 1000 30 Nov 20 13:08 /var/tmp/it's here\n")
    made, display = followed(connection, board)
    with made.growing("fetched", 100, local=str(tmp_path / "here")), made.growing("sent", 100, remote="/var/tmp/it's here"):
        step(made)
    step(made)
    assert display.lines == ["pi: fetching 70 of 200 B (35%), 0 of 2 done | fetched 40 of 100 B (40%) | sent 30 of 100 B (30%)\n"]
    assert "ls -ln" in connection.commands[0] and "ls" not in connection.commands[1]
    assert {item["name"]: item["done"] for item in made.local.document()["items"]} == {"fetched": 100, "sent": 100}


def test_a_transfer_that_fails_has_not_ended(board):
    made, unused = followed(Connection(""), board)
    with pytest.raises(OSError):
        with made.growing("sent", 100, remote="/x"):
            raise OSError
    assert made.local.document()["items"][0]["ended"] is None and made._growing == {}


@pytest.mark.parametrize("line, size", [
    ("-rw-r--r-- 1 0 0 5 Nov 20 13:08 /a", 5), ("drwx------ 2 0 0 40 Nov 20 13:08 x", None), ('{"a": 1}', None), ("", None)])
def test_sizes_in_listings(line, size):
    assert progress.size_listed(line) == size


@pytest.mark.parametrize("answer", ["", "no such file", '{"items":', "MOTD {} text", OSError("unreachable"), RuntimeError("any")])
def test_a_host_that_does_not_answer_costs_the_line_and_nothing_else(board, answer):
    made, display = followed(Connection(answer), board)
    step(made)
    assert display.lines == []


def polls(made, monkeypatch, answers, wakes):
    """At which seconds a host was asked, on a clock that only waiting and asking move."""
    clock, asked = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])

    def wait(pause):
        clock[0] += pause
        return len(asked) + clock[0] > 10**6 or clock[0] > 100 + wakes

    def poll():
        asked.append(clock[0] - 100)
        took, failures = answers(len(asked))
        clock[0] += took
        made._failures = failures

    made._stop, made._poll = SimpleNamespace(wait=wait, is_set=lambda: True), poll
    made._follow()
    return asked


@pytest.mark.parametrize("answers, asked", [
    (lambda count: (0.1, 0), [1.5, 2.6, 3.7, 4.8, 5.9, 7.0]),
    (lambda count: (1.0, 0), [1.5, 5.5]),
    (lambda count: (0.0, count), [1.5, 2.5, 3.5]),
])
def test_a_slow_or_silent_host_is_asked_less_often(board, monkeypatch, answers, asked):
    made, unused = followed(Connection(""), board)
    assert [round(second, 1) for second in polls(made, monkeypatch, answers, 7)] == asked


def test_what_is_known_is_shown_while_a_slow_host_is_not_asked(board, monkeypatch):
    made, unused = followed(Connection(""), board)
    shown = []
    made._show = lambda now: shown.append(round(now - 100, 1))
    monkeypatch.setattr(progress, "POLL_S", 1.0)
    unused_asked = polls(made, monkeypatch, lambda count: (1.0, 0), 5)
    assert shown == []
    made._stop.is_set = lambda: False
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])

    def wait(pause):
        clock[0] += pause
        return clock[0] > 105

    made._stop.wait = wait
    made._follow()
    assert shown == [1.5, 2.5, 3.5, 4.5]


def test_two_hosts_draw_one_line_and_nobody_draws_over_a_result(board, tmp_path):
    second = progress.Board(str(tmp_path / "board"))
    second.put(state(item("m", 10), host="ec2"))
    made, display = followed(Connection(reported(item("m", 30))), board, terminal=True)
    step(made, now=0)
    assert display.lines[-1].startswith("\r\x1b[K2 hosts: fetching 40 of 200 B (20%)")
    with second.turn(wait=True) as stream:
        step(made, now=0)
        second.hold(stream)
    step(made, now=0)
    assert len(display.lines) == 1, "another one has the turn, then a result is being printed"


def test_one_who_keeps_the_turn_for_ever_stops_nobody(board, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_TURN_S", 0.05)
    made, display = followed(Connection(reported(item("m", 100, started=1.0, ended=9.0))), board, terminal=True)
    with progress.Board(str(tmp_path / "board")).turn(wait=False) as stream:
        assert stream is not None
        step(made, now=0)
        made.start()
        made.stop()
    assert display.lines[1] == "pi: fetching m: 100 B in 0:08 (12 B/s)\n" and display.lines[-1] == "\r\x1b[K"


def test_a_worker_that_was_killed_is_forgotten(board, tmp_path):
    dead = progress.Board(str(tmp_path / "board"))
    dead.put(state(item("m", 10), host="dead"))
    progress.os.utime(dead._own, (1, 1))
    assert board.states() == []


def test_a_board_that_cannot_be_written_stops_no_task(board, tmp_path):
    made, unused = followed(Connection(reported(item("m", 30))), board)
    progress.os.rmdir(tmp_path / "board")
    answers = iter([False, True])
    made._stop = SimpleNamespace(wait=lambda pause: next(answers), is_set=lambda: False)
    made._follow()
    assert next(answers, "asked twice") == "asked twice"
    assert made.run("m", {}, {})["changed"]


@pytest.mark.parametrize("options", [{"check_mode": True}, {"no_log": True}, {"dockyard_progress": False}, {"dockyard_progress": "false"}])
def test_nothing_is_followed_when_nothing_shall_be_shown(options):
    action = Action(Connection(reported()), **options)
    with progress.follow(action, "fetching") as made:
        made.local.add("a", 1)
        assert made.run("some.module", {"a": 1}, {}) == {"changed": True}
    assert made.token == "" and isinstance(made.local, NoReporter) and action.given == [{"a": 1, "progress": ""}]
    assert action._connection.commands == []


def test_a_thread_ends_with_the_body_also_when_it_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(progress.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    with pytest.raises(RuntimeError):
        with progress.follow(Action(Connection("")), "fetching") as made:
            assert made._thread.is_alive()
            raise RuntimeError
    assert not made._thread.is_alive()
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_whatever_goes_wrong_at_the_start_costs_only_the_line(monkeypatch):
    def refuse():
        raise OSError("read-only")

    monkeypatch.setattr(progress, "Board", refuse)
    with progress.follow(Action(Connection("")), "fetching") as made:
        assert made.run("some.module", {}, {}) == {"changed": True}
    assert isinstance(made, progress.Nothing)


def test_the_action_keeps_its_own_connection(board):
    connection = Connection("")
    made, unused = followed(connection, board)
    made._poll()
    assert connection.become == "sudo" and made._connection is not connection
