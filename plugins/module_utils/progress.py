# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module tells, while it works, how far it is. The other half is plugin_utils/progress.py, on the controller."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import threading
import time
from typing import Callable, Optional

# The follower looks in both, in this order; names only, so that no setting of the host moves the file away from it.
FOLDERS = ("/tmp", "/var/tmp")
PREFIX = "dockyard-progress-"
WRITE_INTERVAL_S = 0.5
_AGE_S = 2.0
# An item that has ended stays in the document for so long, so that a follower that looks once a second sees its end.
_KEPT_S = 20.0
_KEPT_ITEMS = 40
_NAME_MAX = 120
# What a killed module left is nobody's after a day.
_STALE_S = 86400
_TOKEN = re.compile(r"^[0-9a-f]{16,64}$")


class Tally:
    """What is done of what, by item. Thread-safe, pure but for the clock (``clock()`` gives seconds, only differences count).

    An item has a unit (bytes, layers, steps) and a total, which may be unknown. What was there before (``done`` of :meth:`add`) does not count for the rate.
    """

    def __init__(self, label: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._label, self._clock, self._start = label, clock, clock()
        self._lock = threading.Lock()
        self._items: dict = {}
        self._ended: dict = {}
        self._moved: dict = {}
        self.dirty = True

    def add(self, name: str, total: Optional[int] = None, unit: str = "bytes", done: int = 0) -> None:
        """An item to come; ``done`` is what an earlier run left. It starts with its first move. A name that is there already begins anew."""
        with self._lock:
            self._items[name] = _new(name, unit, done, total)
            self.dirty = True

    def advance(self, name: str, count: int) -> None:
        """``count`` more of an item. One that nobody added begins here, without a total."""
        with self._lock:
            self._advance(self._item(name), count)

    def set(self, name: str, done: int, total: Optional[int] = None, note: str = "") -> None:
        """How far an item is. Going back is allowed: a transfer may begin anew."""
        with self._lock:
            item = self._item(name)
            self._advance(item, done - item["done"])
            item["total"] = item["total"] if total is None else total
            item["note"] = note[:_NAME_MAX] or item["note"]
            self.dirty = True

    def done(self, name: str, note: str = "") -> None:
        """An item has ended. What was known of its total is taken as done, so that estimates add up."""
        with self._lock:
            item = self._item(name)
            if item["ended"] is None:
                item["total"] = item["done"] if item["total"] is None else item["total"]
                item["done"], item["ended"], item["note"] = item["total"], self._now(), note[:_NAME_MAX]
            self.dirty = True

    def close(self) -> None:
        """Nothing: there is no file to remove."""

    def document(self) -> dict:
        """``{schema, label, seconds, items, totals}``; totals by unit: ``{done, total, moved, items, ended, unknown}`` (``unknown``: items without a total)."""
        with self._lock:
            now, recent, active = self._now(), [], []
            for name in [name for name, item in self._items.items() if item["ended"] is not None and now - item["ended"] > _KEPT_S]:
                self._forget(name)
            totals = {unit: dict(entry) for unit, entry in self._ended.items()}
            for item in self._items.values():
                (recent if item["ended"] is not None else active).append(dict(item))
                _count(totals, item)
            for unit, entry in totals.items():
                entry["moved"] = self._moved.get(unit, 0)
            self.dirty = False
            return {"schema": 1, "label": self._label, "seconds": round(now, 2), "items": active[:_KEPT_ITEMS] + recent[-_KEPT_ITEMS:], "totals": totals}

    def _now(self) -> float:
        return round(self._clock() - self._start, 2)

    def _item(self, name: str) -> dict:
        if name not in self._items:
            self._items[name] = _new(name)
        if self._items[name]["started"] is None:
            self._items[name]["started"] = self._now()
        return self._items[name]

    def _advance(self, item: dict, count: int) -> None:
        item["done"] += count
        # A step back (a transfer that begins anew) is no negative rate.
        self._moved[item["unit"]] = self._moved.get(item["unit"], 0) + max(count, 0)
        self.dirty = True

    def _forget(self, name: str) -> None:
        """An item that ended some time ago counts on in the totals only."""
        _count(self._ended, self._items.pop(name))


def _new(name: str, unit: str = "bytes", done: int = 0, total: Optional[int] = None) -> dict:
    """An item that waits: ``started`` and ``ended`` are seconds of the report, null until then."""
    return {"name": name[:_NAME_MAX], "unit": unit, "done": done, "total": total, "note": "", "started": None, "ended": None}


def _count(totals: dict, item: dict) -> None:
    entry = totals.setdefault(item["unit"], {"done": 0, "total": 0, "moved": 0, "items": 0, "ended": 0, "unknown": 0})
    entry["done"] += item["done"]
    entry["total"] += item["total"] or 0
    entry["items"] += 1
    entry["ended"] += item["ended"] is not None
    entry["unknown"] += item["total"] is None


class NoReporter:
    """Takes all that a reporter takes, and does nothing."""

    def add(self, name: str, total: Optional[int] = None, unit: str = "bytes", done: int = 0) -> None:
        """Nothing."""

    def advance(self, name: str, count: int) -> None:
        """Nothing."""

    def set(self, name: str, done: int, total: Optional[int] = None, note: str = "") -> None:
        """Nothing."""

    def done(self, name: str, note: str = "") -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *unused) -> None:
        self.close()


class Reporter(Tally):
    """A tally in a file that the follower reads: names and numbers, at most every half second, replaced as a whole."""

    def __init__(self, path: str, label: str) -> None:
        super().__init__(label)
        self._path, self._stop = path, threading.Event()
        # Taken at once: whoever else made this name first is not us, and then there is no report.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644))
        self._write()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def close(self) -> None:
        """End the report and remove its file. Safe to call twice; called at the program's end if nobody did."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _run(self) -> None:
        written = self._clock()
        while not self._stop.wait(WRITE_INTERVAL_S):
            # The document's age counts as well: a transfer that stalls has to show a falling rate.
            if self.dirty or self._clock() - written >= _AGE_S:
                self._write()
                written = self._clock()

    def _write(self) -> None:
        beside = f"{self._path}.new"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
            try:
                # Whatever the umask: the follower reads as the connection's user.
                os.fchmod(descriptor, 0o644)
                os.write(descriptor, json.dumps(self.document(), separators=(",", ":")).encode())
            finally:
                os.close(descriptor)
            os.replace(beside, self._path)
        except OSError:
            # A full disk must not stop the work that is reported on.
            with contextlib.suppress(OSError):
                os.unlink(beside)


def open_reporter(token: str, label: str = "", folders: tuple = FOLDERS):
    """A reporter that the follower with this token reads; one that does nothing for an empty token, or where no file can be made."""
    if not _TOKEN.match(token or ""):
        return NoReporter()
    for folder in folders:
        with contextlib.suppress(OSError):
            _sweep(folder)
            return Reporter(os.path.join(folder, PREFIX + token), label)
    return NoReporter()


def _sweep(folder: str) -> None:
    for entry in os.scandir(folder):
        if entry.name.startswith(PREFIX):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _STALE_S:
                    os.unlink(entry.path)
