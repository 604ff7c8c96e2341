# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A radio station for whoever checks one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A frame of silence: MPEG 1, layer III, 128 kbit/s, 44.1 kHz, without any sound data.
SILENCE = (b"\xff\xfb\x90\x00" + bytes(413)) * 600


class Station:
    """A radio station on this machine; `tone` is what it plays."""

    def __init__(self, address: str):
        station = self
        station.tone = SILENCE

        class Handler(BaseHTTPRequestHandler):
            """Like Icecast, it does not know HEAD."""

            def do_HEAD(self):
                self.send_error(405)

            def do_GET(self):
                if self.path != "/live.mp3":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "audio/mpeg")
                self.send_header("icy-name", "Harbour Radio")
                self.end_headers()
                try:
                    self.wfile.write(station.tone)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format, *args):  # pylint: disable=redefined-builtin
                return

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
