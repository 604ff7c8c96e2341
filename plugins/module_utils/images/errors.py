# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ImagesError(Exception):
    """A refusal that says where, what was found, what is needed and which setting changes it.

    All four parts are plain sentences or fragments without a final full stop.
    """

    def __init__(self, where: str, found: str, needed: str, setting: str, output: str = "") -> None:
        self.where, self.found, self.needed, self.setting, self.output = where, found, needed, setting, output
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}; needed: {self.needed}; set: {self.setting}"
        return f"{text}\n{self.output}" if self.output else text

    def as_dict(self) -> dict:
        """The parts, for a result that a machine reads."""
        return {"where": self.where, "found": self.found, "needed": self.needed, "setting": self.setting, "output": self.output}


class SeveralErrors(Exception):
    """All problems of one host in one go. ``problems`` is a list of ImagesError; the text has the first ``shown`` of them (0: all)."""

    def __init__(self, problems: list[ImagesError], shown: int = 0) -> None:
        self.problems, self._shown = problems, shown or len(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"- {problem}" for problem in self.problems[:self._shown]]
        if len(self.problems) > self._shown:
            lines.append(f"- and {len(self.problems) - self._shown} more, all of them in the result's `problems`")
        return f"{len(self.problems)} problems:\n" + "\n".join(lines)
