# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far a task on a host is: a line that is drawn anew on a terminal, a plain line every 5 seconds elsewhere.

An action plugin uses it so::

    with progress.follow(self, "fetching") as followed:
        result = followed.run("dockyard.fleet.artifacts", arguments, task_vars)

The module gets ``progress: <token>`` and reports by module_utils/progress.py. Work on the controller reports to ``followed.local``.
Nothing here may fail a task: whatever goes wrong costs the line, not the work.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import fcntl
import json
import multiprocessing
import os
import re
import secrets
import shlex
import struct
import sys
import tempfile
import termios
import threading
import time

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.display import Display

from ansible_collections.dockyard.fleet.plugins.module_utils.progress import FOLDERS, PREFIX, NoReporter, Tally

FIRST_S = 1.5
POLL_S = 1.0
PLAIN_S = 5.0
# Of this many hosts each tells every 5 seconds; more of them take turns, so that a log stays readable.
_PLAIN_HOSTS = 5
# The rate is that of the last seconds, so that the time left follows a link that changes.
_RATE_WINDOW_S = 20.0
_STALLED_S = 10.0
# An item that took less than this is told by the totals only.
_WORTH_A_LINE_S = 1.5
# After a host's end its result is printed; nobody draws meanwhile.
_HOLD_S = 1.5
_TURN_S = 1.0
_WIDE = 130
_FORGET_S = 15.0
_SLOW_AFTER = 3
_POLL_MAX_S = 10.0
_DOCUMENT_MAX = 200_000
_CLEAR = "\r\x1b[K"
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
# Names come from the host and go to a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def amount(done, total, unit):
    """``1.2 of 4.0 GB (30%)``, ``3 of 9 steps``, or what is done when the total is not known."""
    if unit != "bytes":
        return f"{done} {unit}" if total is None else f"{done} of {total} {unit}"
    if total is None:
        return size(done)
    factor, name = _scale(total)
    first = size(done) if factor == 1 or done * 20 < factor else _scaled(done, factor)
    percent = min(100 * done // total, 100) if total else 100
    return f"{first} of {size(total)} ({percent}%)" if name else f"{done} of {total} B ({percent}%)"


def _scale(count):
    return next(((factor, name) for factor, name in _UNITS if count >= factor), (1, ""))


def size(count):
    """Bytes for people, in powers of ten."""
    factor, name = _scale(count)
    return f"{_scaled(count, factor)} {name}" if name else f"{int(count)} B"


def _scaled(count, factor):
    return f"{count / factor:.{2 if factor >= 10**9 else 1}f}"


def duration(seconds):
    """``0:42``, ``12:03``, ``1:02:03``."""
    seconds = max(int(seconds + 0.5), 0)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


class Rates:
    """Bytes (or other units) a second, from documents of one host."""

    def __init__(self, window_s=_RATE_WINDOW_S):
        self._window, self._seen = window_s, {}

    def update(self, source, document):
        """Note a document of ``source`` (``target`` or ``local``: their clocks differ)."""
        for unit, entry in document["totals"].items():
            seen = self._seen.setdefault((source, unit), [])
            if seen and document["seconds"] < seen[-1][0]:
                # An action's next module call begins its own report.
                seen.clear()
            if not seen:
                # Whatever was moved before the first look took as long as the report is old.
                seen.append((0.0, 0))
            if document["seconds"] > seen[-1][0]:
                seen.append((document["seconds"], entry["moved"]))
            while len(seen) > 2 and seen[-1][0] - seen[1][0] >= self._window:
                seen.pop(0)

    def rate(self, unit):
        """Units a second, or null while nothing is known."""
        found = [(seen[-1][1] - seen[0][1], seen[-1][0] - seen[0][0]) for (unused, name), seen in self._seen.items() if name == unit and len(seen) > 1]
        rate = sum(moved / span for moved, span in found)
        # Work that has just begun has not stalled.
        return rate if rate > 0 or any(span >= _STALLED_S for unused, span in found) else None


def merge(documents):
    """Items and totals of several documents as one."""
    items, totals = [], {}
    for document in documents:
        items += document["items"]
        for unit, entry in document["totals"].items():
            target = totals.setdefault(unit, dict.fromkeys(entry, 0))
            for key, value in entry.items():
                target[key] = target.get(key, 0) + value
    return {"items": items, "totals": totals}


def pace(entry, rate, unit):
    """``, 12.0 MB/s, 1:03 left`` of one unit's totals; without what is not known."""
    text = ""
    if rate and unit == "bytes":
        text += f", {size(rate)}/s"
    # Layers and steps differ too much from each other to tell the time from them.
    if rate and unit == "bytes" and not entry["unknown"] and entry["total"] > entry["done"]:
        text += f", {duration((entry['total'] - entry['done']) / rate)} left"
    elif rate == 0 and unit == "bytes" and entry["total"] > entry["done"]:
        text += ", stalled"
    return text


def parts(state, brief=False):
    """A host's line in parts, the most important first. ``state`` is ``{items, totals, rates: {unit: number|null}}``; ``brief`` for a narrow terminal."""
    active = [item for item in state["items"] if item["ended"] is None and item["started"] is not None]
    found = []
    for unit, entry in sorted(state["totals"].items()):
        moving = [item for item in active if item["unit"] == unit and (item["total"] is None or item["done"] < item["total"])]
        speed = pace(entry, state["rates"].get(unit), unit) if moving else ""
        alone = [item for item in active if item["unit"] == unit] if entry["items"] == 1 else []
        if alone:
            found.append(_item(alone[0]) + speed)
            active.remove(alone[0])
        elif entry["ended"] < entry["items"]:
            if not entry["done"] and entry["unknown"]:
                found.append(f"{entry['ended']} of {entry['items']} done")
                continue
            found.append(f"{amount(entry['done'], None if entry['unknown'] else entry['total'], unit)}{speed}, {entry['ended']} of {entry['items']} done")
    return found + [_item(item, brief) for item in active]


def _item(item, brief=False):
    if brief and item["unit"] == "bytes" and item["total"]:
        # What is all there is told by what is done with it.
        text = item["note"] if item["note"] and item["done"] >= item["total"] else f"{min(100 * item['done'] // item['total'], 100)}%"
        return f"{item['name']} {text}"
    note = f" {item['note']}" if item["note"] else ""
    # Where no rate tells that something goes on, the time does.
    age = f", {duration(item['age'])}" if item["unit"] != "bytes" and item.get("age") else ""
    return f"{item['name']} {amount(item['done'], item['total'], item['unit'])}{age}{note}"


def line_of(hosts, width):
    """One line of at most ``width`` characters. ``hosts`` is a list of ``{host, what, items, totals, rates}``."""
    if len(hosts) == 1:
        head, rest = f"{hosts[0]['host']}: {hosts[0]['what']} ", parts(hosts[0], width < _WIDE)
    else:
        whats = sorted({host["what"] for host in hosts})
        joined = merge(hosts)
        rates = {unit: sum(host["rates"].get(unit) or 0 for host in hosts) for unit in joined["totals"]}
        head = f"{len(hosts)} hosts: {whats[0] if len(whats) == 1 else 'working'} "
        rest = [f"{amount(entry['done'], None if entry['unknown'] else entry['total'], unit)}{pace(entry, rates[unit], unit)}"
                for unit, entry in sorted(joined["totals"].items()) if entry["ended"] < entry["items"]]
        rest += [f"{host['host']} {_brief(host)}" for host in hosts]
    line = head + (" | ".join(rest) if rest else "...")
    return line if len(line) <= width else line[:max(width - 3, 0)] + "..."


def _brief(host):
    """A host among others: how far it is, and with what."""
    active = [item["name"] for item in host["items"] if item["ended"] is None and item["started"] is not None]
    with_what = f" {active[0]}" + (f" +{len(active) - 1}" if len(active) > 1 else "") if active else ""
    for unit, entry in sorted(host["totals"].items()):
        if entry["ended"] < entry["items"]:
            if entry["unknown"] or not entry["total"]:
                return amount(entry["done"], None, unit) + with_what
            return (f"{min(100 * entry['done'] // entry['total'], 100)}%" if unit == "bytes" else f"{entry['done']}/{entry['total']} {unit}") + with_what
    return "..."


def end_of(host, what, item):
    """The line that stays when an item has ended."""
    took = item["ended"] - item["started"]
    text = f"{host}: {what} {item['name']}: "
    if item["unit"] == "bytes":
        text += size(item["done"]) + f" in {duration(took)}" + (f" ({size(item['done'] / took)}/s)" if took > 0 and not item["note"] else "")
    else:
        text += f"{item['done']} {item['unit']} in {duration(took)}"
    return text + (f", {item['note']}" if item["note"] else "")


def clean(document):
    """A document of the host in the form that is expected, without what a terminal would obey. Raises ValueError, KeyError or TypeError."""
    items = [{"name": _CONTROL.sub("?", str(item["name"])), "unit": _CONTROL.sub("?", str(item["unit"])), "note": _CONTROL.sub("?", str(item["note"])),
              "done": int(item["done"]), "total": None if item["total"] is None else int(item["total"]),
              "started": _seconds(item["started"]), "ended": _seconds(item["ended"])} for item in document["items"]]
    for item in items:
        item["age"] = float(document["seconds"]) - item["started"] if item["started"] is not None and item["ended"] is None else 0
    names = ("done", "total", "moved", "items", "ended", "unknown")
    totals = {_CONTROL.sub("?", str(unit)): {name: int(entry[name]) for name in names} for unit, entry in document["totals"].items()}
    return {"seconds": float(document["seconds"]), "items": items, "totals": totals}


def _seconds(value):
    return None if value is None else float(value)


class Screen:
    """Where the run is shown. Workers have no terminal of their own, they share the main process's."""

    def __init__(self):
        self._path = self._find()

    @staticmethod
    def _find():
        """The run's terminal, or null."""
        if os.environ.get("TERM") in (None, "", "dumb"):
            return None
        if multiprocessing.parent_process() is None:
            return os.ttyname(1) if os.isatty(1) else None
        # The worker is detached from it, but the main process still has it.
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{os.getppid()}/fd/1")
            if re.match(r"^/dev/(pts/\d+|tty\w*|console)$", path):
                return path
        return None if os.path.isdir("/proc/self") else _TERMINAL

    @property
    def terminal(self):
        """Whether lines can be drawn anew."""
        return self._path is not None

    def width(self):
        """Columns that a line may have: one less than the terminal, since a full line wraps on some."""
        with contextlib.suppress(OSError, TypeError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                columns = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))[1]
            finally:
                os.close(descriptor)
            return max(columns - 1, 20) if columns else 79
        return 79


def _prepare():
    """In the main process, where the plugin is first loaded: a log gets each line when it is written. Returns the terminal's path or null.

    Ansible writes without flushing; to a file or a pipe Python would keep minutes of output.
    """
    if multiprocessing.parent_process() is not None:
        return None
    with contextlib.suppress(AttributeError, ValueError, OSError):
        if not os.isatty(1):
            sys.stdout.reconfigure(line_buffering=True)
            return None
        return os.ttyname(1)
    return None


_TERMINAL = _prepare()


class Board:
    """What the workers of one run share: each host's state as a file, and the turn to draw as a lock on another."""

    def __init__(self, folder=None):
        self._folder = folder or os.path.join(constants.DEFAULT_LOCAL_TMP, "dockyard-progress")
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._own = os.path.join(self._folder, f"{os.getpid()}-{secrets.token_hex(4)}.json")

    def put(self, state):
        """Tell the others how far this host is."""
        descriptor, beside = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(state, stream)
        os.replace(beside, self._own)

    def remove(self):
        """This host has ended."""
        with contextlib.suppress(OSError):
            os.unlink(self._own)

    def states(self):
        """All hosts' states, by name; those of processes that were killed are forgotten."""
        found = []
        for name in os.listdir(self._folder):
            path = os.path.join(self._folder, name)
            with contextlib.suppress(OSError, ValueError):
                if name.endswith(".json") and os.stat(path).st_mtime > time.time() - _FORGET_S:
                    with open(path, encoding="utf-8") as stream:
                        found.append(json.load(stream))
        return sorted(found, key=lambda state: state["host"])

    @contextlib.contextmanager
    def turn(self, wait):
        """The right to write to the terminal, as the stream of the file whose time says until when nobody draws; null if another one has it."""
        with open(os.path.join(self._folder, "turn"), "a", encoding="utf-8") as stream:
            # Whoever has the turn may be stopped by a debugger or a signal; that must not stop the others' work.
            deadline = time.monotonic() + (_TURN_S if wait else 0)
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        yield None
                        return
                    time.sleep(0.02)
            yield stream

    def shown(self):
        """Whether anybody has drawn in this run."""
        return os.path.exists(os.path.join(self._folder, "turn"))

    @staticmethod
    def hold(stream):
        """Nobody draws for a moment."""
        os.utime(stream.fileno(), (time.time() + _HOLD_S, time.time() + _HOLD_S))

    @staticmethod
    def held(stream):
        """Whether somebody asked for that moment."""
        return os.fstat(stream.fileno()).st_mtime > time.time()


class Nothing:
    """Follows nothing: check mode, or ``dockyard_progress: false``."""

    token = ""

    def __init__(self, action):
        self._action, self.local = action, NoReporter()

    @contextlib.contextmanager
    def growing(self, name, total, local=None, remote=None):
        """Nothing."""
        yield

    def run(self, module_name, module_args, task_vars, **options):
        """Run a module."""
        # pylint: disable-next=protected-access  # this is the action's own work
        return self._action._execute_module(module_name=module_name, module_args=dict(module_args, progress=""), task_vars=task_vars, **options)


def size_listed(text):
    """The size in a line of ``ls -ln``, or null. Its fifth field everywhere."""
    fields = text.split()
    return int(fields[4]) if len(fields) > 8 and fields[0].startswith("-") and fields[4].isdigit() else None


class Followed:
    """One task on one host that is followed. ``token`` goes to the module, ``local`` takes what the controller does itself."""

    def __init__(self, action, what, host, board=None, screen=None, display=None):
        self.token, self.local = secrets.token_hex(16), Tally(what)
        self._action, self._what, self._host = action, what, host
        self._display, self._screen, self._board = display or Display(), screen or Screen(), board or Board()
        # A connection keeps the pipe of a running command (a password's, say) in itself: what asks in between needs its own.
        # pylint: disable-next=protected-access  # an action has no public name for it
        self._connection = copy.copy(action._connection)
        self._connection.become = None
        self._rates, self._document, self._told, self._failures = Rates(), None, set(), 0
        self._seen_at, self._growing = 0.0, {}
        self._plain_at = time.monotonic() + FIRST_S
        self._stop, self._ending = threading.Event(), threading.Lock()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._follow), name="progress", daemon=True)

    def start(self):
        """Begin to look."""
        self._thread.start()

    def run(self, module_name, module_args, task_vars, **options):
        """Run a module and tell what it had under work when it ended well."""
        # pylint: disable-next=protected-access  # this is the action's own work
        result = self._action._execute_module(module_name=module_name, module_args=dict(module_args, progress=self.token), task_vars=task_vars, **options)
        with contextlib.suppress(Exception):
            self._finish(not result.get("failed"))
        return result

    @contextlib.contextmanager
    def growing(self, name, total, local=None, remote=None):
        """An item that is told by the size of a file that grows while the body runs: on this machine, or on the host by its path there."""
        self.local.add(name, total)
        self.local.advance(name, 0)
        self._growing[name] = (total, local, remote)
        try:
            yield
            self.local.set(name, total)
            self.local.done(name)
        finally:
            self._growing.pop(name, None)

    def stop(self):
        """End, and leave the terminal clean. The thread may hang in a connection that does; then it ends silently with the process."""
        with self._ending:
            self._stop.set()
        self._thread.join(2)
        with contextlib.suppress(Exception):
            self._board.remove()
            if self._screen.terminal and self._board.shown():
                with self._board.turn(wait=True) as stream:
                    self._write(_CLEAR)
                    if stream is not None:
                        self._board.hold(stream)

    def _follow(self):
        pause, due = FIRST_S, 0.0
        while not self._stop.wait(pause):
            pause, began = POLL_S, time.monotonic()
            with contextlib.suppress(Exception):
                if began >= due:
                    self._poll()
                    # A slow machine or link is asked less often; what is known of it is shown meanwhile.
                    took = time.monotonic() - began
                    due = time.monotonic() + (min(3 * took, _POLL_MAX_S) if self._failures < _SLOW_AFTER else _POLL_MAX_S)
                with self._ending:
                    if not self._stop.is_set():
                        self._show(time.monotonic())

    def _poll(self):
        """Read what the module reported, and how far files have grown."""
        growing = dict(self._growing)
        far = [(name, total, remote) for name, (total, unused, remote) in growing.items() if remote]
        for name, (total, path, unused) in growing.items():
            if path and os.path.exists(path):
                self._grown(name, total, os.path.getsize(path))
        script = "cat " + " ".join(f"{folder}/{PREFIX}{self.token}" for folder in FOLDERS) + " 2>/dev/null"
        for unused, unused_total, remote in far:
            script += f"; echo; ls -ln {shlex.quote(remote)} 2>/dev/null"
        try:
            unused, out, unused_error = self._connection.exec_command(f"/bin/sh -c {shlex.quote(script)}", in_data=None, sudoable=False)
            text = out[:_DOCUMENT_MAX].decode("utf-8", "replace")
            sizes = [found for found in map(size_listed, text.splitlines()) if found is not None]
            if len(sizes) == len(far):
                for (name, total, unused_path), found in zip(far, sizes):
                    self._grown(name, total, found)
            self._document, self._failures = clean(json.loads(text[text.index("{"):text.rindex("}") + 1])), 0
            self._seen_at = time.monotonic()
        except (ValueError, KeyError, TypeError, AttributeError):
            # Nothing there: the module has not begun, is over, or does not report.
            self._failures = 0
        except Exception:
            self._failures += 1

    def _grown(self, name, total, size_bytes):
        # One that has ended meanwhile stays ended.
        if name in self._growing:
            self.local.set(name, min(size_bytes, total))

    def _state(self):
        documents = [("local", clean(self.local.document()))] + ([("target", self._document)] if self._document else [])
        for source, document in documents:
            self._rates.update(source, document)
        state = merge([document for unused, document in documents])
        return dict(state, host=self._host, what=self._what, rates={unit: self._rates.rate(unit) for unit in state["totals"]})

    def _show(self, now):
        state = self._state()
        self._board.put(state)
        self._tell_ended(state)
        if not state["items"] or all(item["ended"] is not None for item in state["items"]):
            return
        if self._screen.terminal:
            with self._board.turn(wait=False) as stream:
                if stream is not None and not self._board.held(stream):
                    self._write(_CLEAR + line_of(self._board.states(), self._screen.width()))
        if now >= self._plain_at:
            turns = max(1, -(-len(self._board.states()) // _PLAIN_HOSTS))
            self._plain_at = now + PLAIN_S * turns
            # On a terminal the log file alone has use for it.
            self._display.display(line_of([state], 300), log_only=self._screen.terminal)

    def _tell_ended(self, state):
        for item in state["items"]:
            key = (item["name"], item["started"])
            if item["ended"] is None or key in self._told:
                continue
            self._told.add(key)
            if item["ended"] - item["started"] >= _WORTH_A_LINE_S:
                self._stay(end_of(self._host, self._what, item))

    def _stay(self, line):
        """A line that stays."""
        if not self._screen.terminal:
            self._display.display(line)
            return
        with self._board.turn(wait=True):
            self._write(_CLEAR)
            self._display.display(line)

    def _write(self, text):
        self._display.display(text, screen_only=True, newline=False)

    def _finish(self, well):
        """A module's report goes with the module; what was under work when it was last seen has ended as the module did."""
        with self._ending:
            document, self._document = self._document, None
            if document is None or not well:
                return
            now = document["seconds"] + time.monotonic() - self._seen_at
            for item in document["items"]:
                if item["ended"] is None and item["started"] is not None:
                    item.update(ended=now, note="", done=item["done"] if item["total"] is None else item["total"])
            self._tell_ended(document)


@contextlib.contextmanager
def follow(action, what, task_vars=None):
    """Show how far ``action``'s task is while the body runs; ``what`` is a word such as ``fetching``. Gives a :class:`Followed` or a :class:`Nothing`."""
    followed = _open(action, what, task_vars)
    if isinstance(followed, Nothing):
        yield followed
        return
    followed.start()
    try:
        yield followed
    finally:
        followed.stop()


def _open(action, what, task_vars):
    # pylint: disable=protected-access  # an action has no public names for these
    with contextlib.suppress(Exception):
        task_vars = task_vars or action._templar.available_variables
        # Names of what a task handles are part of what no_log hides.
        if action._task.check_mode or action._task.no_log or not boolean(action._templar.template(task_vars.get("dockyard_progress", True))):
            return Nothing(action)
        if getattr(action._connection._shell, "SHELL_FAMILY", "sh") != "sh":
            return Nothing(action)
        host = action._task.delegate_to or task_vars.get("inventory_hostname") or "host"
        return Followed(action, what, str(host))
    return Nothing(action)
