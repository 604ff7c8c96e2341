# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what Docker says while it pulls and builds to a reporter's numbers."""

from __future__ import annotations

import re

_LAYER = re.compile(r"^([0-9a-f]{6,64}): (.+)$")
_VERTEX = re.compile(r"^#(\d+) \[(?:([^\]]*?) )? *(\d+)/(\d+)\] (.+)$")
_ENDED = re.compile(r"^#(\d+) (?:DONE [\d.]+s|CACHED)\b")
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@")
_NOTE_MAX = 50
# Words of the engine for a layer that nothing is left to be done for.
_COMPLETE = ("Pull complete", "Already exists", "Pushed", "Layer already exists")
_FETCHED = ("Verifying Checksum", "Download complete", "Extracting", "Mounted from", *_COMPLETE)
_FLAGS = re.compile(r"^(RUN|COPY|ADD|FROM) (?:--\S+ +)+")
_SET = re.compile(r"^RUN set -\w+; *")


class PullWatch:
    """One pull or push. The engine's stream gives bytes (:meth:`event`), the command without a terminal gives layers (:meth:`line`)."""

    def __init__(self, reporter, name: str) -> None:
        self._reporter, self._name = reporter, name
        self._layers: dict = {}
        self._pushes = False

    def event(self, event: dict) -> None:
        """One object of the stream: ``{id, status, progressDetail: {current, total}}``."""
        status, detail = event.get("status") or "", event.get("progressDetail") or {}
        if not self._note(str(event.get("id") or ""), status):
            return
        layer = self._layers[event["id"]]
        self._pushes = self._pushes or status in ("Preparing", "Pushing")
        if status in ("Downloading", "Pushing"):
            layer["done"], layer["total"] = detail.get("current") or 0, detail.get("total") or layer["total"]
        elif status.startswith(_FETCHED):
            # A small layer has come before anybody told its size.
            layer["total"] = layer["total"] or 0
            layer["done"] = layer["total"]
            layer["out"] = layer["total"] if status.startswith(_COMPLETE) else (detail.get("current") or 0) if status == "Extracting" else layer["out"]
        totals = [entry["total"] for entry in self._layers.values()]
        done = sum(entry["done"] for entry in self._layers.values())
        self._reporter.set(self._name, done, None if None in totals else sum(totals) or None, self._text(totals))

    def line(self, text: str) -> None:
        """One line of ``docker pull`` or ``docker push``."""
        match = _LAYER.match(text.strip())
        if match and self._note(*match.groups()):
            self._reporter.set(self._name, self._complete(), len(self._layers))

    def _note(self, layer: str, status: str) -> bool:
        """Remember a layer's status. The tag's own line ("Pulling from ...") is no layer."""
        if not layer or status.startswith(("Pulling from", "Digest", "Status")):
            return False
        self._layers.setdefault(layer, {"done": 0, "total": None, "out": 0, "status": ""})["status"] = status
        return True

    def _complete(self) -> int:
        return sum(entry["status"].startswith((*_COMPLETE, "Mounted from")) for entry in self._layers.values())

    def _text(self, totals: list) -> str:
        """What the bytes do not tell: on a small machine it takes longer to unpack layers than to fetch them."""
        text = f"{self._complete()} of {len(self._layers)} layers"
        if self._pushes or None in totals or not sum(totals) or any(entry["done"] < entry["total"] for entry in self._layers.values()):
            return text
        return f"{text}, unpacking {100 * sum(entry['out'] for entry in self._layers.values()) // sum(totals)}%"


class BuildWatch:
    """One build, by BuildKit's plain progress: ``#7 [build 2/5] RUN make`` and ``#7 DONE 0.3s``.

    A stage's number of steps is known with its first step, so the total grows with the stages that are met.
    """

    def __init__(self, reporter, name: str) -> None:
        self._reporter, self._name = reporter, name
        self._stages: dict = {}
        self._steps: dict = {}
        self._ended: set = set()
        self._running: dict = {}

    def line(self, text: str) -> None:
        """One line of the build's output."""
        match = _VERTEX.match(text)
        if match:
            vertex, stage, number, of, what = match.groups()
            self._stages[stage or ""] = int(of)
            self._steps[vertex] = (stage or "", int(number))
            self._running[vertex] = brief_step(what)
            self._tell()
            return
        match = _ENDED.match(text)
        if match and match.group(1) in self._steps:
            self._ended.add(self._steps[match.group(1)])
            self._running.pop(match.group(1), None)
            self._tell()

    def _tell(self) -> None:
        # Stages are built at the same time; the step that began last is shown while it lasts.
        note = next(reversed(self._running.values()), "")
        self._reporter.set(self._name, len(self._ended), sum(self._stages.values()), note)


def brief_step(text: str) -> str:
    """A step in few words: without flags, without what every script begins with, without user information in URLs."""
    text = _SET.sub("RUN ", _FLAGS.sub(r"\1 ", _USER.sub(r"\1********@", " ".join(text.split()))))
    return text[:_NOTE_MAX]
