# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end of a deployment."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: aggregate
short_description: A table of hosts, stacks, versions, health and URLs at the end of a run
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Prints what the playbooks of dockyard.fleet hand over, as a table for people, and writes it as JSON for machines.
  - Prints nothing for other playbooks.
requirements:
  - Enabled by C(callbacks_enabled = dockyard.fleet.report) in C(ansible.cfg)
options:
  report_file:
    description: Where the JSON goes. Empty writes none.
    type: str
    default: ~/.cache/dockyard-fleet/report.json
    env:
      - name: DOCKYARD_REPORT_FILE
    ini:
      - section: dockyard_report
        key: file
"""

import json
import os
import tempfile
import time

from ansible.plugins.callback import CallbackBase

COLUMNS = ("HOST", "STACK", "VERSION", "ENGINE", "HEALTH", "CHANGED", "URL")
SCHEDULE_COLUMNS = ("HOST", "STACK", "SCHEDULE", "WHEN", "IS", "LAST RUN")


def rows_of(reports, failures):
    """The table's rows.

    :arg reports: dict of host to what the playbook handed over (``stacks``, ``engine``, ``platform``, ``notes``).
    :arg failures: dict of host to the first line of what went wrong.
    :returns: list of tuple of str, one for each stack (or host without stacks), sorted.
    """
    rows = []
    for host in sorted(set(reports) | set(failures)):
        report = reports.get(host, {})
        engine = "%s %s" % (report.get("engine", "-"), report.get("platform", "")) if report else "-"
        if host in failures:
            rows.append((host, "-", "-", engine.strip(), "FAILED", "-", failures[host]))
            continue
        if not report.get("stacks"):
            rows.append((host, "(none)", "-", engine.strip(), "-", "-", "-"))
        for stack, entry in sorted(report.get("stacks", {}).items()):
            # Nobody asks for the health of a stack that only has tools.
            good = "ready" if entry.get("tools_only") else "healthy"
            well = good if entry["healthy"] == entry["wanted"] else "UNHEALTHY"
            version = "%s #%s" % (entry.get("revision") or "-", entry["release"]) if entry.get("release") else entry.get("revision") or "-"
            urls = entry.get("urls") or ["-"]
            health = "%s %d/%d" % (well, entry["healthy"], entry["wanted"])
            if entry.get("ended"):
                # On purpose: that nothing runs is how it should be.
                left = entry["ended"]["running"]
                health = "%s, %d RUNNING" % (entry["ended"]["outcome"], len(left)) if left else entry["ended"]["outcome"]
            rows.append((host, stack, version, engine.strip(), health, "yes" if entry["changed"] else "no", urls[0]))
            rows.extend((host, stack, "", "", "", "", url) for url in urls[1:])
    return rows


def schedule_rows(reports):
    """The rows of the second table: one for each schedule of a host, sorted."""
    rows = []
    for host, report in sorted(reports.items()):
        for stack, entry in sorted((report.get("stacks") or {}).items()):
            for name, schedule in sorted((entry.get("schedules") or {}).items()):
                last = schedule.get("last")
                rows.append((host, stack, name, schedule.get("calendar") or "-", "on" if schedule.get("enabled") else "off",
                             "%s %s" % (last["started"], "ok" if last["success"] else "FAILED") if last else "-"))
    return rows


def ended_notes(report):
    """Who stopped which stack, and how it comes back: list of str."""
    notes = []
    for stack, entry in sorted((report.get("stacks") or {}).items()):
        ended = entry.get("ended")
        # A deployment has told it already, with what it does about it.
        if ended and not any(note.startswith("%s was %s " % (stack, ended["outcome"])) for note in report.get("notes") or []):
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ended["time_epoch_s"])) if ended.get("time_epoch_s") else "at an unknown time"
            left = "; running all the same: %s (started by hand?)" % ", ".join(ended["running"]) if ended["running"] else ""
            kept = "; its %d volumes are kept" % ended["volumes"] if ended["outcome"] == "removed" and ended.get("volumes") else ""
            notes.append("%s was %s by %s, %s%s%s; deploy.yml brings it back" % (stack, ended["outcome"], ended.get("by") or "somebody", when, kept, left))
    return notes


def table(rows, columns=COLUMNS):
    """Rows as lines of aligned text, the head first.

    :returns: list of str.
    """
    widths = [max(len(row[index]) for row in [columns] + rows) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [columns] + rows]


def write_json(path, document):
    """Write a document beside its place and rename it into it, readable by the user only."""
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(document, handle, indent=1, sort_keys=True, default=str)
    os.rename(beside, path)


class CallbackModule(CallbackBase):
    """Listens for failures, and prints when the run is over."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dockyard.fleet.report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._failures = {}
        self._ours = False

    def v2_playbook_on_task_start(self, task, is_conditional):
        """A playbook that asks something of the collection gets its table also when no host came to its end."""
        self._ours = self._ours or str(task.action).startswith("dockyard.fleet.")

    def _note(self, result):
        message = result._result.get("msg") or "see above"
        # A loop itself only says that some item failed.
        for item in result._result.get("results") or []:
            if item.get("failed") and item.get("msg"):
                message = item["msg"]
                break
        if isinstance(message, list):
            message = "; ".join(str(item) for item in message)
        self._failures[result._host.get_name()] = str(message).strip().splitlines()[0][:120] if str(message).strip() else "see above"

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Remember the first line of what went wrong on a host."""
        if not ignore_errors:
            self._note(result)

    def v2_runner_on_unreachable(self, result):
        """An unreachable host is a failure too."""
        self._note(result)

    def v2_playbook_on_stats(self, stats):
        """Print the table and write the report."""
        reports = {host: data["dockyard"] for host, data in stats.custom.items() if host != "_run" and "dockyard" in data}
        failed = {host: text for host, text in self._failures.items() if stats.failures.get(host) or stats.dark.get(host)}
        if not reports and not (self._ours and failed):
            return
        self._display.display("")
        for line in table(rows_of(reports, failed)):
            self._display.display(line)
        schedules = schedule_rows(reports)
        if schedules:
            self._display.display("")
            for line in table(schedules, SCHEDULE_COLUMNS):
                self._display.display(line)
        for host, report in sorted(reports.items()):
            for note in ended_notes(report) + (report.get("notes") or []):
                self._display.display("note: %s: %s" % (host, note))
        path = self.get_option("report_file")
        if path:
            try:
                write_json(os.path.expanduser(path), {"hosts": reports, "failures": failed})
            except OSError as error:
                self._display.warning("the report could not be written to %s: %s" % (path, error.strerror))
