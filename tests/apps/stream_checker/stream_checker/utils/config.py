# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config.yaml: the named one, that of the working directory, that of the home folder; the first that exists is the only one."""

from __future__ import annotations

import os

import yaml

DEFAULTS = {
    "database": {"path": "~/.stream_checker/stream_checker.db"},
    "security": {"allowed_schemes": ["http", "https"], "block_private_ips": False, "connection_timeout": 30, "read_timeout": 60, "max_url_length": 2048},
    "logging": {"level": "INFO", "file": "~/.stream_checker/logs/stream_checker.log", "max_file_size_mb": 10, "backup_count": 5},
    "stream_checker": {"default_phase": 4, "default_silence_threshold": -40, "default_sample_duration": 10},
}


class Config:
    """Values by dotted path. A file that is missing or can't be parsed means the defaults, without failing; a key that a file lacks has none."""

    def __init__(self, path=None):
        home = os.path.expanduser("~/.stream_checker/config.yaml")
        self.path = path or next((place for place in ("config.yaml", home) if os.path.exists(place)), "config.yaml")
        self._values = DEFAULTS
        try:
            with open(self.path, encoding="utf-8") as stream:
                self._values = yaml.safe_load(stream) or {}
        except (OSError, yaml.YAMLError):
            pass

    def get(self, key, default=None):
        """The value of `part.key`."""
        value = self._values
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def path_of(self, key):
        """A path with ~ and variables replaced."""
        value = self.get(key)
        return os.path.expanduser(os.path.expandvars(value)) if value else value
