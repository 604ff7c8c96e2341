# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines on standard error and in a file. A folder that can't be made ends the program, as in the application."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler

NAME = "stream_checker"


def start(level, path, megabytes, backups):
    """The program's logger."""
    logger = logging.getLogger(NAME)
    logger.setLevel(level.upper())
    console = logging.StreamHandler()
    console.setLevel(logging.INFO)
    handlers = [console]
    if path:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            handlers.append(RotatingFileHandler(path, maxBytes=megabytes * 1024 * 1024, backupCount=backups))
        except OSError as error:
            logger.warning("no log file %s: %s", path, error)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)
    return logger
