# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server with Range that gives a file called large.bin slowly while a file SLOW is beside it: serve.py PORT FOLDER"""

from __future__ import annotations

import http.server
import os
import re
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    """GET only."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """One file, or its rest."""
        path = os.path.join(FOLDER, urllib.parse.unquote(self.path).lstrip("/"))
        if not os.path.isfile(path):
            self.send_error(404)
            return
        with open(path, "rb") as stream:
            data = stream.read()
        match = re.match(r"bytes=(\d+)-$", self.headers.get("Range") or "")
        start = int(match.group(1)) if match else 0
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        slow = os.path.exists(os.path.join(FOLDER, "SLOW")) and path.endswith("large.bin")
        for position in range(start, len(data), 1 << 18):
            self.wfile.write(data[position:position + (1 << 18)])
            if slow:
                time.sleep(0.1)


FOLDER = sys.argv[2]
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
