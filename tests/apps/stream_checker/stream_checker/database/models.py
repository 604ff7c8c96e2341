# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three tables of the application's SQLite file."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3

TABLES = """
CREATE TABLE IF NOT EXISTS streams (stream_id TEXT PRIMARY KEY, url TEXT UNIQUE NOT NULL, name TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, last_tested TIMESTAMP, test_count INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS test_runs (test_run_id TEXT PRIMARY KEY, stream_id TEXT NOT NULL REFERENCES streams(stream_id),
    timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, phase INTEGER NOT NULL, results TEXT);
CREATE TABLE IF NOT EXISTS request_logs (request_id INTEGER PRIMARY KEY AUTOINCREMENT, ip_address TEXT NOT NULL,
    request_timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, stream_url TEXT NOT NULL, test_run_id TEXT, stream_id TEXT, user_agent TEXT,
    referer TEXT, request_method TEXT DEFAULT 'POST', response_status INTEGER, processing_time_ms INTEGER);
"""


class Database:
    """One file; a connection for each call."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with self._open() as connection:
            connection.executescript(TABLES)

    @contextlib.contextmanager
    def _open(self):
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def add_stream(self, stream_id, url):
        """A stream that was asked for."""
        with self._open() as connection:
            connection.execute("INSERT INTO streams (stream_id, url, last_tested, test_count) VALUES (?, ?, CURRENT_TIMESTAMP, 1)"
                               " ON CONFLICT (stream_id) DO UPDATE SET last_tested = CURRENT_TIMESTAMP", (stream_id, url))

    def save(self, run_id, stream_id, phase, result):
        """What is known of a run so far."""
        with self._open() as connection:
            connection.execute("INSERT INTO test_runs (test_run_id, stream_id, phase, results) VALUES (?, ?, ?, ?)"
                               " ON CONFLICT (test_run_id) DO UPDATE SET phase = max(phase, excluded.phase), results = excluded.results",
                               (run_id, stream_id, phase, json.dumps(result)))
