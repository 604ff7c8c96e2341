# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the backend for its health and for the page that it serves. Sockets only, run with -I -S: it starts every few seconds."""

import os
import socket
import sys

# Another one than 8000 only on the host's own network.
PORT = int(os.environ.get("OURA_LISTEN_PORT") or 8000)


def ask(path):
    """(status line, body) of a GET request."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=8) as connection:
        connection.sendall(b"GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" % path)
        answer = b""
        while len(answer) < 65536:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head, _separator, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode("ascii", "replace"), body


for path, wanted in ((b"/health", b'"healthy"'), (b"/", b"<script")):
    status, body = ask(path)
    if " 200 " not in status + " " or wanted not in body:
        print(path.decode(), status, body[:300].decode("utf-8", "replace"))
        sys.exit(1)
print("healthy")
