# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of runs and streams."""

from __future__ import annotations

import hashlib
import uuid
from urllib.parse import parse_qsl, urlencode, urlsplit


def new_run_id():
    """A random UUID."""
    return str(uuid.uuid4())


def stream_id(url):
    """16 hex digits that stay the same for a URL, whatever the order of its query and the case of its letters."""
    parts = urlsplit(url.strip().lower())
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    plain = f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
    return hashlib.sha256(plain.encode()).hexdigest()[:16]
