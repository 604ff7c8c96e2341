# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a named action of a stack, in a container, and judges what came of it.

One file and nothing but Python's standard library: module ``stack_action`` imports it, and module ``release`` puts it on hosts as
``run_action.py``, where the timers of a stack's schedules start it. So both run an action in the same way.

An *action* is an entry of ``actions`` of stack.yml (files/schemas/stack.schema.json says which keys it has).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import functools
import http.client
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

ACTIONS_FILE = "actions.json"
SCHEDULES_FILE = "schedules.json"
DEFAULT_TIMEOUT_SECONDS = 300
DEFAULT_KEEP = 100
# What an action may say on its standard output; more than this is no answer that a person or a result file wants.
MAXIMUM_OUTPUT_BYTES = 8 * 1024 * 1024
# Of the standard error only the end is kept: it has the reason.
KEPT_ERROR_BYTES = 64 * 1024
SHOWN_ERROR_LINES = 20
# Time for `docker compose` to end by itself after it was told to.
GRACE_SECONDS = 10
DOCKER_SOCKET = "/var/run/docker.sock"

_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}|\{([a-z][a-z0-9_]*)\}")
_ANY_LINE = re.compile(r"(?!-)[^\x00-\x1f\x7f]*")
_URL_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@?#\"']+@", re.IGNORECASE)
_URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"']*)\?[^\s#\"']+", re.IGNORECASE)


class ActionProblem(Exception):
    """The action can't be run as it was asked for; nothing was started. ``problems`` is a list of str."""

    def __init__(self, problems):
        super().__init__("; ".join(problems))
        self.problems = problems


class Interrupted(Exception):
    """Somebody ended us; the container goes too."""


# -- what shall be run --------------------------------------------------------

def text_of(value):
    """The text of a scalar: booleans in lower case, nothing as an empty text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def hide_urls(text):
    """A text whose URLs show neither who logs in nor their query, where tokens are."""
    return _URL_QUERY.sub(r"\1?(hidden)", _URL_CREDENTIALS.sub(r"\1(hidden)@", text))


def placeholders(word):
    """Names of the arguments that a word of a command refers to, a set."""
    return set(match.group(2) for match in _PLACEHOLDER.finditer(word) if match.group(2))


def fill(word, values):
    """A word of a command with its arguments in place; ``{{name}}`` becomes the text ``{name}``.

    :arg values: dict of argument name to str.
    """
    return _PLACEHOLDER.sub(lambda match: values[match.group(2)] if match.group(2) else "{%s}" % match.group(1), word)


def words_of(action, values):
    """The command of an action, a list of str; a list within it is left out while one of its arguments is empty."""
    words = []
    for entry in action["command"]:
        if isinstance(entry, str):
            words.append(fill(entry, values))
        elif all(values[name] for word in entry for name in placeholders(word)):
            words.extend(fill(word, values) for word in entry)
    return words


def value_problem(argument, value):
    """What is wrong with the value of an argument: (found, needed), or None.

    :arg argument: dict, an entry of ``arguments``. :arg value: str.
    """
    if "\0" in value:
        return "a text with a NUL character", "one without"
    shown = "a text that is not shown" if argument.get("secret") else repr(hide_urls(value))
    if "pattern" in argument:
        if re.fullmatch(argument["pattern"], value) is None:
            return shown, "a text that matches %s" % argument["pattern"]
    elif _ANY_LINE.fullmatch(value) is None:
        return shown, "one line that does not begin with '-'"
    return None


def resolve_arguments(where, action, given):
    """The values of all arguments of an action.

    :arg where: str, how messages begin. :arg given: dict of name to scalar.
    :returns: dict of name to str.
    :raises ActionProblem: all that is wrong with them.
    """
    declared = action.get("arguments") or {}
    problems = []
    for name in sorted(set(given) - set(declared)):
        problems.append("%s: found the unknown argument '%s'; needed one of: %s; correct its name" % (where, name, ", ".join(sorted(declared)) or "none"))
    values = {}
    for name, argument in sorted(declared.items()):
        if isinstance(given.get(name), (dict, list)):
            problems.append("%s, argument %s: found a %s; needed a text; set %s=..." % (where, name, type(given[name]).__name__, name))
            continue
        value = text_of(given.get(name, argument.get("default")))
        if value == "" and "default" not in argument:
            if argument.get("required"):
                problems.append("%s, argument %s: found no value; needed %s; set %s=..."
                                % (where, name, argument.get("description") or argument.get("pattern") or "one", name))
        else:
            found = value_problem(argument, value)
            if found:
                problems.append("%s, argument %s: found %s; needed %s; correct %s" % (where, name, found[0], found[1], name))
        values[name] = value
    if problems:
        raise ActionProblem(problems)
    return values


def argv_of(docker, action, values, name, interactive=False):
    """The command line of an action, and what it reads from its environment.

    :arg docker: str, path of the docker program. :arg name: str, name of the container of ``how: run``.
    :kwarg interactive: bool, with a terminal.
    :returns: (list of str, dict of str to str)
    """
    argv, environment = [docker, "compose"], {}
    if action.get("how", "run") == "exec":
        argv += ["exec"] + ([] if interactive else ["-T"])
    else:
        argv += ["run", "--rm"] + ([] if interactive else ["-T", "--name", name])
        for variable, template in sorted((action.get("environment") or {}).items()):
            # Without the value: Compose takes it from its own environment, so that no command line has it.
            argv += ["--env", variable]
            environment[variable] = fill(template, values)
        if "entrypoint" in action:
            argv += ["--entrypoint", action["entrypoint"]]
    return argv + [action["service"]] + words_of(action, values), environment


def typed(argv, directory):
    """A command line as a person types it on the host; ``docker compose`` finds its files by the folder that it is in."""
    return "sudo sh -c %s" % shlex.quote("cd %s && exec %s" % (shlex.quote(directory), " ".join(shlex.quote(word) for word in argv)))


# -- what came of it ----------------------------------------------------------

def at_path(document, path):
    """What a document has at a dotted path; a number is an index where there is a list.

    :returns: (bool found, value)
    """
    for part in path.split("."):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return False, None
    return True, document


def _same(one, other):
    """Whether two values are equal in JSON, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def judge(action, exit_code, output):
    """Whether an action succeeded.

    :arg output: str, its standard output.
    :returns: (parsed JSON or None, list of str: what was found and what was needed, empty at success)
    """
    success = action.get("success") or {}
    codes = success.get("exit_codes") or [0]
    problems = []
    if exit_code not in codes:
        problems.append("found exit code %s; needed %s" % (exit_code, " or ".join(str(code) for code in codes)))
    document = None
    if action.get("output", "text") == "json":
        try:
            document = json.loads(output)
        except ValueError as error:
            if problems and not output.strip():
                # A program that failed need not have said anything.
                return None, problems
            shown = hide_urls(output.strip()[:120])
            problems.append("found %s on the standard output; needed JSON (%s)" % (repr(shown) if shown else "nothing", error))
            return None, problems
        for path, allowed in sorted((success.get("json") or {}).items()):
            there, value = at_path(document, path)
            if not there or not any(_same(value, item) for item in allowed):
                problems.append("found %s; needed %s: %s" % (
                    "%s: %s" % (path, hide_urls(json.dumps(value, ensure_ascii=False)[:120])) if there else "no %s in the JSON" % path,
                    path, " or ".join(json.dumps(item) for item in allowed)))
    return document, problems


def last_lines(text, lines=SHOWN_ERROR_LINES):
    """The last lines of a text that are not empty."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])


class _Reader(threading.Thread):
    """Takes what a pipe says, in bounded memory.

    :arg limit: int, bytes kept. :arg end: bool, keep the end rather than the beginning.
    """

    def __init__(self, pipe, limit, end=False):
        super().__init__(daemon=True)
        self._pipe, self._limit, self._end = pipe, limit, end
        self.content, self.dropped = b"", 0
        self.start()

    def run(self):
        while True:
            try:
                chunk = self._pipe.read1(65536)
            except (OSError, ValueError):
                # It was closed on us, since somebody held it open when the command had ended.
                return
            if not chunk:
                return
            if self._end:
                self.content = (self.content + chunk)[-self._limit:]
            else:
                room = self._limit - len(self.content)
                self.content += chunk[:room]
                self.dropped += max(0, len(chunk) - room)

    def text(self):
        return self.content.decode("utf-8", "replace")


def run_bounded(argv, directory, environment, timeout_seconds, give_up, interruption):
    """Run a command without a terminal and without a shell.

    :arg give_up: callable() that ends what the command has started; called at the deadline and when we are interrupted, before the command is ended.
    :arg interruption: Interruption.
    :returns: (int exit code or None at the deadline, str stdout, str stderr, int bytes of stdout that were too many)
    :raises Interrupted: a signal ended us.
    """
    # pylint: disable-next=ansible-bad-function  # a timer starts this file without Ansible
    with subprocess.Popen(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as process:
        out, err = _Reader(process.stdout, MAXIMUM_OUTPUT_BYTES), _Reader(process.stderr, KEPT_ERROR_BYTES, end=True)
        try:
            interruption.arm()
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            interruption.disarm()
            code = None
            _end(process, give_up)
        except BaseException:
            _end(process, give_up)
            raise
        finally:
            interruption.disarm()
        for reader in (out, err):
            # A grandchild may hold the pipe open for ever.
            reader.join(GRACE_SECONDS)
        return code, out.text(), err.text(), out.dropped


def _end(process, give_up):
    """End a command and what it started: the container first, for without it the client has nothing to wait for."""
    try:
        give_up()
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
                break
        # The client may have made it after we looked.
        give_up()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the Docker socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(GRACE_SECONDS)
        self.sock.connect(DOCKER_SOCKET)


def _ask_docker(path):
    """An answer of the engine as parsed JSON; {} when there is none."""
    connection = _UnixConnection("docker")
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return json.loads(answer.read().decode("utf-8")) if answer.status == 200 else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


class Execs:
    """The programs that ``docker compose exec`` starts in the containers of a service: nothing ends them with the client."""

    def __init__(self, project, service, words):
        self._filter = json.dumps({"label": ["com.docker.compose.project=%s" % project, "com.docker.compose.service=%s" % service]})
        self._words = words
        self._known = set(self._running())

    def _running(self):
        for container in _ask_docker("/containers/json?filters=%s" % urllib.parse.quote(self._filter)) or []:
            yield from _ask_docker("/containers/%s/json" % container["Id"]).get("ExecIDs") or []

    def end(self):
        """Kill those that are ours: begun since this object was made, with our command."""
        for identifier in set(self._running()) - self._known:
            found = _ask_docker("/exec/%s/json" % identifier)
            process = found.get("ProcessConfig") or {}
            if found.get("Running") and found.get("Pid") and [process.get("entrypoint")] + (process.get("arguments") or []) == self._words:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found["Pid"], signal.SIGKILL)


class Interruption:
    """A signal that ends us, as an exception: once, and only while it is armed, so that it hits neither the start of a command nor the clearing up."""

    def __init__(self):
        self._number, self._armed = None, False

    def arm(self):
        """From now on a signal raises; one that has come already does it here."""
        self._armed = True
        if self._number is not None:
            self._raise()

    def disarm(self):
        """From now on a signal is only remembered."""
        self._armed = False

    def handle(self, number, unused):
        """The handler."""
        self._number = number
        if self._armed:
            self._raise()

    def _raise(self):
        self._armed = False
        raise Interrupted("ended by signal %d" % self._number)


@contextlib.contextmanager
def interruptible():
    """Signals that end us go to the Interruption that this gives."""
    interruption = Interruption()
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, interruption.handle) for number in numbers]
    try:
        yield interruption
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def await_release(path, timeout_seconds=900):
    """Wait until no release of the stack is at work: its files are being replaced meanwhile.

    :arg path: str, the lock of the release.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    deadline = time.monotonic() + timeout_seconds
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.5)
        raise ActionProblem(["a release has held %s for %d s; needed it to end; look at what it does" % (path, timeout_seconds)])
    finally:
        os.close(descriptor)


class Stack:
    """A released stack on this host.

    :arg name: str. :arg directory: str, its folder. :arg state_dir: str, the collection's state.
    """

    def __init__(self, name, directory, state_dir):
        self.name = name
        self.directory = directory
        self.state_dir = state_dir
        self.docker = shutil.which("docker", path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/usr/local/bin") or "docker"

    def _read(self, file):
        path = os.path.join(self.directory, file)
        try:
            with open(path, encoding="utf-8") as handle:
                return json.load(handle)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ActionProblem(["%s: found a file that cannot be used (%s); needed the one that the deployment writes; deploy the stack again"
                                 % (path, error)])

    def actions(self):
        """The actions by name.

        :raises ActionProblem: the stack is not on this host, or has none.
        """
        if not os.path.isfile(os.path.join(self.directory, "compose.yaml")):
            parent = os.path.dirname(self.directory)
            there = sorted(entry for entry in (os.listdir(parent) if os.path.isdir(parent) else [])
                           if os.path.isfile(os.path.join(parent, entry, "compose.yaml")))
            raise ActionProblem(["%s: found no such stack on this host (no %s/compose.yaml); needed one of: %s; correct the stack, or deploy it first"
                                 % (self.name, self.directory, ", ".join(there) or "none is here")])
        found = self._read(ACTIONS_FILE)
        if not found:
            raise ActionProblem(["%s: found no actions; needed `actions` in its stack.yml, and a deployment since" % self.name])
        return found["actions"]

    def action(self, name):
        """One action.

        :raises ActionProblem: there is none of that name; names those that there are.
        """
        known = self.actions()
        if name not in known:
            raise ActionProblem(["%s: found the unknown action '%s'; needed one of: %s; correct the action" % (self.name, name, ", ".join(sorted(known)))])
        return known[name]

    def schedule(self, name):
        """One schedule: dict with ``action``, ``arguments`` and ``keep``."""
        known = self._read(SCHEDULES_FILE) or {"schedules": {}}
        if name not in known["schedules"]:
            raise ActionProblem(["%s: found the unknown schedule '%s'; needed one of: %s; deploy the stack again"
                                 % (self.name, name, ", ".join(sorted(known["schedules"])) or "none")])
        return known["schedules"][name]

    def refuse_ended(self):
        """Nothing of a stack runs that somebody stopped on purpose: `docker compose run` would start what the service depends on.

        :raises ActionProblem: it is stopped.
        """
        try:
            with open(os.path.join(self.state_dir, "releases", "%s.jsonl" % self.name), encoding="utf-8", errors="replace") as handle:
                entry = json.loads(handle.read().splitlines()[-1])
        except (OSError, ValueError, IndexError):
            # Without a readable last line nothing says that it was stopped.
            return
        if entry.get("outcome") == "stopped":
            raise ActionProblem(["%s: found it stopped by %s; needed it to serve; deploy it again" % (self.name, entry.get("by") or "somebody")])

    def prepare(self, name, given):
        """What running an action would do, without doing it.

        :returns: dict with ``action``, ``values``, ``argv``, ``environment``, ``container`` and ``shown`` (the command line for people).
        :raises ActionProblem: it can't be run as asked for.
        """
        action = self.action(name)
        self.refuse_ended()
        values = resolve_arguments("%s, action %s" % (self.name, name), action, given)
        container = "%s-%s-%s" % (self.name, name.replace("_", "-"), secrets.token_hex(4))
        interactive = bool(action.get("interactive"))
        argv, environment = argv_of(self.docker if not interactive else "docker", action, values, container, interactive)
        shown = typed(argv, self.directory) if interactive else hide_urls(" ".join(shlex.quote(word) for word in argv))
        return {"action": action, "values": values, "argv": argv, "environment": environment, "container": container, "shown": shown}

    def perform(self, prepared):
        """Run a prepared action.

        :returns: dict with ``success``, ``exit_code`` (None at the deadline), ``output``, ``json``, ``stderr`` (its last lines), ``seconds``, ``problems``.
        :raises ActionProblem: nothing could be started. :raises Interrupted: we were ended.
        """
        action = prepared["action"]
        timeout = action.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)
        await_release(os.path.join(self.state_dir, "releases", ".%s.lock" % self.name))
        if action.get("how", "run") == "exec":
            give_up = Execs(self.name, action["service"], words_of(action, prepared["values"])).end
        else:
            give_up = functools.partial(self._remove, prepared["container"])
        # "quiet": else Compose tells on the standard error how it makes the container.
        environment = dict(os.environ, COMPOSE_PROGRESS="quiet", COMPOSE_ANSI="never", **prepared["environment"])
        for name in [name for name in environment if name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "DOCKER_HOST", "DOCKER_CONTEXT")]:
            del environment[name]
        started = time.monotonic()
        try:
            with interruptible() as interruption:
                code, output, errors, dropped = run_bounded(prepared["argv"], self.directory, environment, timeout, give_up, interruption)
        except OSError as error:
            raise ActionProblem(["%s: %s cannot be started: %s; needed Docker with Compose v2; run the role docker_engine" % (
                self.name, self.docker, error.strerror)])
        seconds = round(time.monotonic() - started, 2)
        hidden = [value for name, value in prepared["values"].items() if (action.get("arguments") or {}).get(name, {}).get("secret") and value]
        for value in sorted(hidden, key=len, reverse=True):
            output, errors = output.replace(value, "(hidden)"), errors.replace(value, "(hidden)")
        if code is None:
            document = None
            problems = ["found no end after %d s (it was killed); needed one earlier; raise timeout_seconds of the action in stack.yml" % timeout]
        elif dropped:
            document, problems = None, ["found %d bytes on the standard output; needed at most %d" % (MAXIMUM_OUTPUT_BYTES + dropped, MAXIMUM_OUTPUT_BYTES)]
        else:
            document, problems = judge(action, code, output)
        return {"success": not problems, "exit_code": code, "output": output, "json": document, "stderr": hide_urls(last_lines(errors)), "seconds": seconds,
                "problems": problems}

    def _remove(self, container):
        """Remove a container of ``how: run``; it may not be there yet, or no more. One that somebody else removes just now is waited for."""
        for unused in range(2 * GRACE_SECONDS):
            # pylint: disable-next=ansible-bad-function  # as above
            answer = subprocess.run([self.docker, "rm", "--force", container], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                    timeout=60, check=False)
            if b"already in progress" not in answer.stderr:
                return
            time.sleep(0.5)

    # -- schedules ----------------------------------------------------------

    def keep_result(self, schedule, result, keep, now):
        """Write a result as a file of its own, readable by root only, and remove the oldest above ``keep``.

        :arg now: datetime in UTC.
        :returns: str, the path.
        """
        folder = os.path.join(self.state_dir, "results", self.name, schedule)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = os.path.join(folder, now.strftime("%Y-%m-%dT%H%M%S.%fZ.json"))
        beside = os.path.join(folder, ".result")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            json.dump(result, handle, indent=1, sort_keys=True, ensure_ascii=False)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(beside, path)
        results = sorted(entry for entry in os.listdir(folder) if entry.endswith(".json"))
        for entry in results[:-keep]:
            os.unlink(os.path.join(folder, entry))
        return path

    def run_schedule(self, name):
        """Run a schedule's action and keep the result.

        :returns: dict, the result as it was kept.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        entry = self.schedule(name)
        result = {"stack": self.name, "schedule": name, "action": entry["action"], "started": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        try:
            prepared = self.prepare(entry["action"], entry.get("arguments") or {})
            if prepared["action"].get("interactive"):
                raise ActionProblem(["%s, action %s: needs a terminal and cannot be scheduled" % (self.name, entry["action"])])
            result.update(command=prepared["shown"], **self.perform(prepared))
        except (ActionProblem, Interrupted) as error:
            result.update(success=False, exit_code=None, output="", json=None, stderr="", seconds=None,
                          problems=list(getattr(error, "problems", [str(error)])))
        if result["json"] is not None:
            # The parsed form says it all.
            del result["output"]
        result["file"] = self.keep_result(name, result, entry.get("keep", DEFAULT_KEEP), now)
        return result


def main(argv=None):
    """The program that timers start: exit code 0 when the action succeeded, 1 when it did not, 2 when it could not be run."""
    parser = argparse.ArgumentParser(prog="run_action.py", description="Runs an action of a stack of dockyard.fleet.")
    parser.add_argument("--stack", required=True)
    parser.add_argument("--schedule", help="run it as the schedule of this name says, and keep the result")
    parser.add_argument("--action", help="run this action and print its standard output")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--directory", help="folder of the stack")
    parser.add_argument("--state-dir", default="/var/lib/dockyard")
    options = parser.parse_args(argv)
    stack = Stack(options.stack, options.directory or "/etc/dockyard/stacks/%s" % options.stack, options.state_dir)
    try:
        if options.schedule:
            result = stack.run_schedule(options.schedule)
            sys.stdout.write("result kept as %s\n" % result["file"])
        elif options.action:
            given = dict(entry.partition("=")[::2] for entry in options.argument)
            prepared = stack.prepare(options.action, given)
            if prepared["action"].get("interactive"):
                raise ActionProblem(["%s, action %s: needs a terminal; type: %s" % (options.stack, options.action, prepared["shown"])])
            result = stack.perform(prepared)
            sys.stdout.write(result["output"])
        else:
            parser.error("needed --schedule or --action")
    except (ActionProblem, Interrupted) as error:
        sys.stderr.write("%s\n" % error)
        return 2
    if result["success"]:
        sys.stderr.write("success after %s s\n" % result["seconds"])
        return 0
    sys.stderr.write("no success: %s\n%s\n" % ("; ".join(result["problems"]), result["stderr"]))
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
