# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config.yaml: the named one, that of the working directory, that of the home folder; the first that exists, over the defaults."""

from __future__ import annotations

import copy
import logging
import os

import yaml

logger = logging.getLogger("stream_checker")
DEFAULTS = {
    "database": {"path": "~/.stream_checker/stream_checker.db", "backup_retention_days": 30},
    "security": {"allowed_schemes": ["http", "https"], "block_private_ips": False, "connection_timeout": 30, "read_timeout": 60, "max_url_length": 2048},
    "resource_limits": {"max_memory_mb": 512},
    "logging": {"level": "INFO", "file": "~/.stream_checker/logs/stream_checker.log", "max_file_size_mb": 10, "backup_count": 5},
    "stream_checker": {"default_phase": 4, "default_silence_threshold": -40, "default_sample_duration": 10},
}


def _positive(value):
    return isinstance(value, int) and value > 0


RULES = {
    "database.backup_retention_days": lambda value: isinstance(value, int) and value >= 0,
    "security.allowed_schemes": lambda value: isinstance(value, list),
    "security.connection_timeout": _positive,
    "security.read_timeout": _positive,
    "security.max_url_length": lambda value: _positive(value) and value <= 10000,
    "resource_limits.max_memory_mb": _positive,
    "logging.level": lambda value: str(value).upper() in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "logging.max_file_size_mb": _positive,
    "logging.backup_count": lambda value: isinstance(value, int) and value >= 0,
    "stream_checker.default_silence_threshold": lambda value: isinstance(value, (int, float)) and -100 <= value <= 0,
    "stream_checker.default_sample_duration": lambda value: _positive(value) and value <= 300,
}


def _merged(defaults, own):
    both = copy.deepcopy(defaults)
    for key, value in own.items():
        both[key] = _merged(both[key], value) if isinstance(both.get(key), dict) and isinstance(value, dict) else value
    return both


class Config:
    """Values by dotted path. A file that is missing or can't be parsed means the defaults; so does each key that it lacks or has wrong."""

    def __init__(self, path=None):
        home = os.path.expanduser("~/.stream_checker/config.yaml")
        self.path = path or next((place for place in ("config.yaml", home) if os.path.exists(place)), "config.yaml")
        own = {}
        try:
            with open(self.path, encoding="utf-8") as stream:
                own = yaml.safe_load(stream) or {}
        except (OSError, yaml.YAMLError):
            pass
        self._values = _merged(DEFAULTS, own)
        for key, fits in RULES.items():
            if not fits(self.get(key)):
                logger.warning("Invalid %s: %r, using the default", key, self.get(key))
                section, name = key.split(".")
                # A section that is there and empty ends the application right here, with a traceback.
                self._values[section][name] = DEFAULTS[section][name]

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
