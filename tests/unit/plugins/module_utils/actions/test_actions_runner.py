# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions as tables; running with real processes and a pretended docker program that writes down what it is called with."""
from __future__ import annotations

import datetime
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import runner

CHECK = {
    "service": "app", "command": ["--url", "{url}", ["--title", "{title}"], "{{url}}"],
    "arguments": {"url": {"required": True, "pattern": "https?://[^\\s]+", "description": "address of the stream"}, "title": {},
                  "phase": {"default": 4, "pattern": "[1-4]"}, "token": {"secret": True}},
}
# Speaks through files in its folder: what to say, how to end. Writes its words and its environment down.
DOCKER = """\
#!/usr/bin/env python3
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "calls"), "a") as handle:
    handle.write(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}) + "\\n")
if sys.argv[1] == "compose":
    with open(os.path.join(here, "says.json")) as handle:
        says = json.load(handle)
    sys.stdout.write(says["out"]); sys.stderr.write(says["err"]); sys.stdout.flush()
    if says["sleep"]:
        open(os.path.join(here, "began"), "w").close()
        time.sleep(says["sleep"])
    sys.exit(says["code"])
"""


# -- words ----------------------------------------------------------------------

@pytest.mark.parametrize("word, filled", [
    ("{url}", "http://x"), ("a={url}&b={n}", "a=http://x&b="), ("{{url}}", "{url}"), ("{}", "{}"), ('{"a": {"b": 1}}', '{"a": {"b": 1}}'), ("{Url}", "{Url}"),
    ("$(id); {url} `id`", "$(id); http://x `id`"),
])
def test_fill(word, filled):
    assert runner.fill(word, {"url": "http://x", "n": ""}) == filled


def test_a_value_is_not_filled_again():
    assert runner.fill("{a} {b}", {"a": "{b}", "b": "{a}"}) == "{b} {a}"


def test_placeholders():
    assert runner.placeholders("{a}-{b}-{{c}}-{D}-{") == {"a", "b"}


def test_a_list_in_a_command_goes_with_an_empty_argument():
    assert runner.words_of(CHECK, {"url": "u", "title": ""}) == ["--url", "u", "{url}"]
    assert runner.words_of(CHECK, {"url": "u", "title": "t"}) == ["--url", "u", "--title", "t", "{url}"]


@pytest.mark.parametrize("given, values", [
    ({"url": "http://x"}, {"url": "http://x", "title": "", "phase": "4", "token": ""}),
    ({"url": "http://x", "phase": 2, "title": True, "token": "t"}, {"url": "http://x", "title": "true", "phase": "2", "token": "t"}),
])
def test_arguments(given, values):
    assert runner.resolve_arguments("s, action a", CHECK, given) == values


@pytest.mark.parametrize("given, text", [
    ({}, "s, action a, argument url: found no value; needed address of the stream; set url=..."),
    ({"url": ""}, "s, action a, argument url: found no value"),
    ({"url": "ftp://x"}, "s, action a, argument url: found 'ftp://x'; needed a text that matches https?://[^\\s]+; correct url"),
    ({"url": "http://x\n"}, "argument url: found 'http://x\\n'; needed a text that matches"),
    ({"url": "http://x", "phase": "5"}, "argument phase: found '5'; needed a text that matches [1-4]; correct phase"),
    ({"url": "http://x", "phase": ""}, "argument phase: found ''; needed a text that matches [1-4]"),
    ({"url": "http://x", "ulr": 1}, "s, action a: found the unknown argument 'ulr'; needed one of: phase, title, token, url; correct its name"),
    ({"url": "http://x", "title": "--help"}, "argument title: found '--help'; needed one line that does not begin with '-'"),
    ({"url": "http://x", "title": "a\nb"}, "argument title: found 'a\\nb'; needed one line"),
    ({"url": "http://x\0"}, "argument url: found a text with a NUL character; needed one without"),
    ({"url": ["http://x"]}, "argument url: found a list; needed a text"),
    ({"url": "http://x", "token": "-hush"}, "argument token: found a text that is not shown; needed one line"),
    ({"url": "ftp://me:hush@host/x?key=hush"}, "found 'ftp://(hidden)@host/x?(hidden)'; needed a text that matches"),
])
def test_bad_arguments(given, text):
    with pytest.raises(runner.ActionProblem) as error:
        runner.resolve_arguments("s, action a", CHECK, given)
    assert len(error.value.problems) == 1 and text in error.value.problems[0] and "hush" not in str(error.value), error.value.problems


def test_all_bad_arguments_at_once():
    with pytest.raises(runner.ActionProblem) as error:
        runner.resolve_arguments("s", CHECK, {"x": 1, "phase": 9})
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("action, interactive, argv, environment", [
    ({"service": "app", "command": ["a b", "{x}"]}, False, ["compose", "run", "--rm", "-T", "--name", "n", "app", "a b", "1"], {}),
    ({"service": "app", "how": "exec", "command": ["a"]}, False, ["compose", "exec", "-T", "app", "a"], {}),
    ({"service": "app", "how": "exec", "command": ["sh"]}, True, ["compose", "exec", "app", "sh"], {}),
    ({"service": "app", "command": ["sh"], "entrypoint": "env"}, True, ["compose", "run", "--rm", "--entrypoint", "env", "app", "sh"], {}),
    ({"service": "app", "command": ["a"], "environment": {"TOKEN": "k={token}", "A": "x"}}, False,
     ["compose", "run", "--rm", "-T", "--name", "n", "--env", "A", "--env", "TOKEN", "app", "a"], {"TOKEN": "k=hush", "A": "x"}),
])
def test_argv(action, interactive, argv, environment):
    assert runner.argv_of("docker", action, {"x": "1", "token": "hush"}, "n", interactive) == (["docker"] + argv, environment)


def test_what_a_person_types_is_what_a_shell_understands(tmp_path):
    argv = ["printf", "%s|", "it's", "a b", "$HOME", "\\"]
    line = runner.typed(argv, str(tmp_path))
    assert line.startswith("sudo sh -c ")
    assert subprocess.run(["sh", "-c", line[len("sudo "):]], capture_output=True, text=True, check=True).stdout == "it's|a b|$HOME|\\|"


@pytest.mark.parametrize("text, shown", [
    ("http://me:pw@host/a", "http://(hidden)@host/a"), ("x http://h/a?token=1&b=2 y", "x http://h/a?(hidden) y"), ("http://h/a#b", "http://h/a#b"),
    ("mail me@host?", "mail me@host?"), ("s3://k:s@b/x?y", "s3://(hidden)@b/x?(hidden)"),
])
def test_hide_urls(text, shown):
    assert runner.hide_urls(text) == shown


# -- judging ----------------------------------------------------------------------

JSON = {"output": "json", "success": {"json": {"connectivity.status": ["success", "redirected"]}}}


@pytest.mark.parametrize("action, code, output, problems", [
    ({}, 0, "", []), ({}, 1, "", ["found exit code 1; needed 0"]),
    ({"success": {"exit_codes": [0, 3]}}, 3, "", []), ({"success": {"exit_codes": [1, 3]}}, 0, "", ["found exit code 0; needed 1 or 3"]),
    (JSON, 0, '{"connectivity": {"status": "success"}}', []), (JSON, 0, '\n {"connectivity": {"status": "redirected"}}\n', []),
    (JSON, 0, '{"connectivity": {"status": "down"}}', ['found connectivity.status: "down"; needed connectivity.status: "success" or "redirected"']),
    (JSON, 0, '{"connectivity": null}', ['found no connectivity.status in the JSON; needed connectivity.status: "success" or "redirected"']),
    (JSON, 0, "[]", ['found no connectivity.status in the JSON; needed connectivity.status: "success" or "redirected"']),
    (JSON, 0, "", ["found nothing on the standard output; needed JSON (Expecting value: line 1 column 1 (char 0))"]),
    (JSON, 0, "oops", ["found 'oops' on the standard output; needed JSON (Expecting value: line 1 column 1 (char 0))"]),
    (JSON, 0, "{} {}", ["found '{} {}' on the standard output; needed JSON (Extra data: line 1 column 4 (char 3))"]),
    (JSON, 2, "", ["found exit code 2; needed 0"]),
    (JSON, 2, '{"connectivity": {"status": "success"}}', ["found exit code 2; needed 0"]),
    ({"output": "json", "success": {"json": {"list.1.ok": [True]}}}, 0, '{"list": [{}, {"ok": true}]}', []),
    ({"output": "json", "success": {"json": {"ok": [True]}}}, 0, '{"ok": 1}', ["found ok: 1; needed ok: true"]),
    ({"output": "json", "success": {"json": {"n": [None]}}}, 0, '{"n": null}', []),
    ({"output": "json"}, 0, "3", []),
])
def test_judge(action, code, output, problems):
    assert runner.judge(action, code, output)[1] == problems


def test_the_json_is_given_back():
    assert runner.judge(JSON, 5, '{"a": [1]}')[0] == {"a": [1]} and runner.judge({}, 0, '{"a": 1}')[0] is None


# -- running ------------------------------------------------------------------------

def bounded(*argv, timeout=60, give_up=lambda: None, environment=None):
    return runner.run_bounded(list(argv), "/", environment or dict(os.environ), timeout, give_up, runner.Interruption())


def test_output_and_errors_are_apart_and_nothing_is_read_from_us():
    assert bounded("sh", "-c", "cat; echo out; echo err >&2; exit 7") == (7, "out\n", "err\n", 0)


def test_of_much_output_the_beginning_is_kept_and_of_many_errors_the_end(monkeypatch):
    monkeypatch.setattr(runner, "MAXIMUM_OUTPUT_BYTES", 10)
    monkeypatch.setattr(runner, "KEPT_ERROR_BYTES", 10)
    assert bounded("sh", "-c", "printf 0123456789abc; printf 0123456789abc >&2") == (0, "0123456789", "3456789abc", 3)


def test_bytes_that_are_not_text():
    assert bounded("printf", "\\377")[1] == "\ufffd"


def test_at_the_deadline_the_command_is_given_up_and_ended():
    given_up = []
    assert bounded("sleep", "1000", timeout=0.1, give_up=lambda: given_up.append(1))[:2] == (None, "") and given_up == [1, 1]


def test_what_ignores_a_signal_is_killed(monkeypatch):
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    code, output, unused, unused2 = bounded("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", timeout=1)
    assert (code, output) == (None, "ready\n")


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_us(monkeypatch):
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    code, output, unused, unused2 = bounded("sh", "-c", "sleep 5 & echo done")
    assert (code, output) == (0, "done\n")


class Host:
    """A released stack in a folder, and a pretended docker."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.directory, self.state_dir = folder / "etc" / "stacks" / "radio", folder / "var"
        for path in (self.bin, self.directory, self.state_dir / "releases"):
            path.mkdir(parents=True)
        (self.bin / "docker").write_text(DOCKER)
        (self.bin / "docker").chmod(0o755)
        (self.directory / "compose.yaml").write_text("services: {}\n")
        self.actions({"check": dict(CHECK, output="json", success={"json": {"state": ["up"]}}, environment={"TOKEN": "{token}"}),
                      "enter": {"service": "app", "how": "exec", "command": ["sh", "-c", "id"], "interactive": True},
                      "inside": {"service": "app", "how": "exec", "command": ["ls"]}})
        self.says()

    def actions(self, actions):
        (self.directory / "actions.json").write_text(json.dumps({"actions": actions}))

    def schedules(self, **schedules):
        (self.directory / "schedules.json").write_text(json.dumps({"schedules": schedules}))

    def says(self, out='{"state": "up"}', err="", code=0, sleep=0):
        (self.bin / "says.json").write_text(json.dumps({"out": out, "err": err, "code": code, "sleep": sleep}))

    def stack(self):
        return runner.Stack("radio", str(self.directory), str(self.state_dir))

    def calls(self):
        path = self.bin / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def results(self, schedule):
        folder = self.state_dir / "results" / "radio" / schedule
        return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", "%s:%s" % (made.bin, os.environ["PATH"]))
    return made


def perform(host, name="check", **given):
    stack = host.stack()
    return stack.perform(stack.prepare(name, dict({"url": "http://x"} if name == "check" else {}, **given)))


def test_a_run(host):
    host.says(err="thinking\n\nthought\n")
    result = perform(host, title="a b; $(id)")
    assert result.pop("seconds") >= 0
    assert result == {"success": True, "exit_code": 0, "output": '{"state": "up"}', "json": {"state": "up"}, "stderr": "thinking\nthought", "problems": []}
    call, = host.calls()
    name = call["argv"][5]
    assert call["argv"] == ["compose", "run", "--rm", "-T", "--name", name, "--env", "TOKEN", "app", "--url", "http://x", "--title", "a b; $(id)", "{url}"]
    assert name.startswith("radio-check-") and call["cwd"] == str(host.directory)


def test_two_runs_have_containers_of_different_names(host):
    perform(host)
    perform(host)
    assert len({call["argv"][5] for call in host.calls()}) == 2


def test_a_program_that_ends_with_0_and_says_that_it_failed(host):
    host.says('{"state": "down"}')
    result = perform(host)
    assert result["success"] is False and result["exit_code"] == 0 and result["json"] == {"state": "down"}
    assert result["problems"] == ['found state: "down"; needed state: "up"']


def test_a_secret_is_in_no_command_line_and_in_no_result(host):
    host.says('{"state": "up", "heard": "hush-hush"}', err="it is hush-hush")
    stack = host.stack()
    prepared = stack.prepare("check", {"url": "http://me:pw@x?k=1", "token": "hush-hush"})
    assert "hush-hush" not in json.dumps([prepared["argv"], prepared["shown"]]) and "pw" not in prepared["shown"]
    result = stack.perform(prepared)
    call, = host.calls()
    assert "hush-hush" not in json.dumps(call["argv"]) and call["env"]["TOKEN"] == "hush-hush"
    assert "hush-hush" not in json.dumps(result) and result["json"]["heard"] == "(hidden)"


def test_the_environment_cannot_send_it_to_another_project_or_engine(host, monkeypatch):
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "elsewhere")
    perform(host)
    assert "elsewhere" not in host.calls()[0]["env"].values()


def test_at_the_deadline_the_container_is_removed_by_its_name(host):
    host.actions({"check": dict(CHECK, timeout_seconds=1)})
    host.says("half", err="so far", sleep=1000)
    result = perform(host)
    run, remove, again = host.calls()
    assert remove["argv"] == again["argv"] == ["rm", "--force", run["argv"][5]]
    assert result["success"] is False and result["exit_code"] is None and result["output"] == "half" and result["stderr"] == "so far"
    assert result["problems"] == ["found no end after 1 s (it was killed); needed one earlier; raise timeout_seconds of the action in stack.yml"]


def test_a_container_that_another_removes_just_now_is_waited_for(host, monkeypatch):
    answers = [b"removal of container x is already in progress", b"removal of container x is already in progress", b"No such container: x"]
    asked = []
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(runner.subprocess, "run", lambda argv, **more: (asked.append(argv[1:]), subprocess.CompletedProcess(argv, 1, b"", answers.pop(0)))[1])
    host.stack()._remove("x")
    assert asked == [["rm", "--force", "x"]] * 3


def test_too_much_output(host, monkeypatch):
    monkeypatch.setattr(runner, "MAXIMUM_OUTPUT_BYTES", 5)
    assert perform(host)["problems"] == ["found 15 bytes on the standard output; needed at most 5"]


def test_no_docker(host, monkeypatch):
    stack = host.stack()
    stack.docker = "/no/such/docker"
    with pytest.raises(runner.ActionProblem, match="radio: /no/such/docker cannot be started: No such file or directory; needed Docker"):
        stack.perform(stack.prepare("check", {"url": "http://x"}))


def test_at_the_deadline_what_exec_began_is_killed_and_nothing_else(monkeypatch):
    running = {"old": {"Running": True, "Pid": 11, "ProcessConfig": {"entrypoint": "ls", "arguments": ["-l"]}}}
    asked, killed = [], []

    def answer(path):
        asked.append(path)
        if path.startswith("/containers/json?"):
            return [{"Id": "c1"}]
        return {"ExecIDs": list(running)} if path == "/containers/c1/json" else running[path.split("/")[2]]

    monkeypatch.setattr(runner, "_ask_docker", answer)
    monkeypatch.setattr(runner.os, "kill", lambda *words: killed.append(words))
    execs = runner.Execs("radio", "app", ["ls", "-l"])
    running.update(ours={"Running": True, "Pid": 12, "ProcessConfig": {"entrypoint": "ls", "arguments": ["-l"]}},
                   other={"Running": True, "Pid": 13, "ProcessConfig": {"entrypoint": "ls", "arguments": ["-a"]}},
                   ended={"Running": False, "Pid": 14, "ProcessConfig": {"entrypoint": "ls", "arguments": ["-l"]}})
    execs.end()
    assert killed == [(12, signal.SIGKILL)]
    assert "com.docker.compose.project%3Dradio" in asked[0] and "com.docker.compose.service%3Dapp" in asked[0]


def test_an_engine_that_does_not_answer_is_no_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "DOCKER_SOCKET", str(tmp_path / "none.sock"))
    runner.Execs("radio", "app", ["ls"]).end()


def test_a_release_at_work_is_waited_for(host):
    path = host.state_dir / "releases" / ".radio.lock"
    runner.await_release(str(path))
    path.write_text("anna@laptop, pid 1")
    runner.await_release(str(path))
    with open(path, "rb+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(runner.ActionProblem, match="a release has held"):
            runner.await_release(str(path), timeout_seconds=0.1)


# -- what is on the host ----------------------------------------------------------------

@pytest.mark.parametrize("change, name, text", [
    (lambda host: (host.directory / "compose.yaml").unlink(), "check",
     "radio: found no such stack on this host (no {d}/compose.yaml); needed one of: none is here"),
    (lambda host: (host.directory / "actions.json").unlink(), "check", "radio: found no actions; needed `actions` in its stack.yml"),
    (lambda host: (host.directory / "actions.json").write_text("{"), "check", "{d}/actions.json: found a file that cannot be used ("),
    (lambda host: None, "chek", "radio: found the unknown action 'chek'; needed one of: check, enter, inside; correct the action"),
])
def test_what_cannot_be_run(host, change, name, text):
    change(host)
    with pytest.raises(runner.ActionProblem) as error:
        host.stack().prepare(name, {"url": "http://x"})
    assert text.replace("{d}", str(host.directory)) in str(error.value)
    assert host.calls() == []


@pytest.mark.parametrize("ledger, refused", [
    ('{"outcome": "released"}\n{"outcome": "stopped", "by": "anna@laptop"}\n', True), ('{"outcome": "stopped"}\n', True),
    ('{"outcome": "stopped"}\n{"outcome": "released"}\n', False), ('{"outcome": "released"}\n{"outcome": "sto', False), ("", False)])
def test_nothing_of_a_stopped_stack_is_run(host, ledger, refused):
    (host.state_dir / "releases" / "radio.jsonl").write_text(ledger)
    if not refused:
        assert perform(host)["success"]
        return
    with pytest.raises(runner.ActionProblem, match="radio: found it stopped by (anna@laptop|somebody); needed it to serve; deploy it again"):
        perform(host)
    assert host.calls() == []


def test_an_unknown_stack_names_those_that_are_there(host):
    stack = runner.Stack("rodio", str(host.directory.parent / "rodio"), str(host.state_dir))
    with pytest.raises(runner.ActionProblem, match="rodio: found no such stack on this host .* needed one of: radio; correct the stack, or deploy it first"):
        stack.prepare("check", {})


def test_an_interactive_action_is_a_line_to_type(host):
    assert host.stack().prepare("enter", {})["shown"] == "sudo sh -c 'cd %s && exec docker compose exec app sh -c id'" % host.directory


# -- schedules ---------------------------------------------------------------------------

NOW = datetime.datetime(2027, 1, 15, 8, 0, 0, 250, tzinfo=datetime.timezone.utc)


def test_results_are_kept_for_root_alone_and_the_oldest_go(host):
    stack = host.stack()
    for second in range(5):
        path = stack.keep_result("often", {"n": second}, 3, NOW + datetime.timedelta(seconds=second))
    assert os.path.basename(path) == "2027-01-15T080004.000250Z.json"
    assert host.results("often") == ["2027-01-15T08000%d.000250Z.json" % second for second in (2, 3, 4)]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    with open(path, encoding="utf-8") as handle:
        assert json.load(handle) == {"n": 4}


def test_what_a_killed_run_left_does_not_stop_the_next(host):
    stack = host.stack()
    folder = host.state_dir / "results" / "radio" / "often"
    folder.mkdir(parents=True)
    (folder / ".result").write_text("half")
    stack.keep_result("often", {}, 1, NOW)
    assert host.results("often") == ["2027-01-15T080000.000250Z.json"]


def kept(host, schedule="often"):
    name, = host.results(schedule)
    return json.loads((host.state_dir / "results" / "radio" / schedule / name).read_text())


def run_main(host, *words):
    return runner.main(["--stack", "radio", "--directory", str(host.directory), "--state-dir", str(host.state_dir)] + list(words))


@pytest.mark.parametrize("out, code", [('{"state": "up"}', 0), ('{"state": "down"}', 1)])
def test_a_scheduled_run_is_kept_and_its_failure_shows(host, capsys, out, code):
    host.schedules(often={"action": "check", "arguments": {"url": "http://x", "token": "hush-hush"}, "keep": 2})
    host.says(out, err="why\n")
    assert run_main(host, "--schedule", "often") == code
    found = kept(host)
    assert found["success"] is (code == 0) and found["json"] == json.loads(out) and found["stack"] == "radio" and found["schedule"] == "often"
    assert "output" not in found and "hush-hush" not in json.dumps(found) and found["started"].endswith("Z")
    told = capsys.readouterr()
    assert ("no success: found state" in told.err and "why" in told.err) == (code == 1)


@pytest.mark.parametrize("entry, text", [
    ({"action": "chek", "arguments": {}}, "the unknown action 'chek'"), ({"action": "enter", "arguments": {}}, "needs a terminal"),
    ({"action": "check", "arguments": {}}, "argument url: found no value"),
])
def test_a_schedule_that_cannot_be_run_is_a_result_too(host, entry, text):
    host.schedules(often=entry)
    assert run_main(host, "--schedule", "often") == 1
    assert kept(host)["success"] is False and text in kept(host)["problems"][0] and host.calls() == []


def test_an_unknown_schedule(host, capsys):
    assert run_main(host, "--schedule", "never") == 2
    assert "radio: found the unknown schedule 'never'; needed one of: none" in capsys.readouterr().err


@pytest.mark.parametrize("words, code, text", [
    (["--action", "check", "--argument", "url=http://x?a=b"], 0, "success after"), (["--action", "check"], 2, "argument url: found no value"),
    (["--action", "enter"], 2, "needs a terminal; type: sudo sh -c"),
])
def test_by_hand(host, capsys, words, code, text):
    assert run_main(host, *words) == code
    told = capsys.readouterr()
    assert text in told.err and told.out == ('{"state": "up"}' if code == 0 else "")
    if code == 0:
        assert "http://x?a=b" in host.calls()[0]["argv"]


def test_neither_action_nor_schedule(host, capsys):
    with pytest.raises(SystemExit) as ended:
        run_main(host)
    assert ended.value.code == 2 and "needed --schedule or --action" in capsys.readouterr().err


def test_stopped_by_systemd_it_removes_its_container_and_keeps_a_result(host):
    host.schedules(often={"action": "check", "arguments": {"url": "http://x"}})
    host.says("", sleep=1000)
    # As on a host: the file alone, with Python's own library and nothing else.
    program = textwrap.dedent("""\
        import os, signal, subprocess, sys, time
        process = subprocess.Popen([sys.executable, "-I", "-B", sys.argv[1]] + sys.argv[3:])
        while not os.path.exists(sys.argv[2]):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        sys.exit(process.wait(60))
        """)
    words = [sys.executable, "-c", program, runner.__file__, str(host.bin / "began"), "--stack", "radio", "--directory", str(host.directory),
             "--state-dir", str(host.state_dir), "--schedule", "often"]
    assert subprocess.run(words, check=False, timeout=120, capture_output=True).returncode == 1
    run, remove, again = host.calls()
    assert remove["argv"] == again["argv"] == ["rm", "--force", run["argv"][5]]
    assert kept(host)["problems"] == ["ended by signal %d" % signal.SIGTERM]


def test_a_signal_ends_us_once_and_only_between_start_and_clearing_up():
    interruption, number = runner.Interruption(), signal.SIGTERM
    interruption.handle(number, None)
    with pytest.raises(runner.Interrupted, match="ended by signal %d" % number):
        interruption.arm()
    interruption.handle(number, None)
    again = runner.Interruption()
    again.arm()
    with pytest.raises(runner.Interrupted):
        again.handle(number, None)
    other = runner.Interruption()
    other.arm()
    other.disarm()
    other.handle(number, None)


def test_handlers_of_signals_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with runner.interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
