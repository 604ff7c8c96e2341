# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content hashes: an image is built again exactly when something that goes into it has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree(folder: Path) -> list:
    """Every file below `folder` as (relative path, executable?, bytes), sorted; compiled Python is not content."""
    return [
        (path.relative_to(folder).as_posix(), bool(path.stat().st_mode & 0o100), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def digest(*parts) -> str:
    """16 hex characters over nested lists of str, bytes, bool and None; lengths are hashed, so nothing runs together."""
    total = hashlib.sha256()

    def feed(part):
        if isinstance(part, (list, tuple)):
            total.update(b"l%d:" % len(part))
            for one in part:
                feed(one)
            return
        data = part if isinstance(part, bytes) else repr(part).encode()
        total.update(type(part).__name__[0].encode() + b"%d:" % len(data) + data)

    feed(parts)
    return total.hexdigest()[:16]
