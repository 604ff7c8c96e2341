# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks /health as a client would and judges status and body. Sockets only, run with -I -S: urllib takes ten times as long to
import, and a Raspberry Pi does this every few seconds."""

import socket
import sys

with socket.create_connection(("127.0.0.1", 8000), timeout=8) as connection:
    connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = b""
    while len(answer) < 65536:
        part = connection.recv(4096)
        if not part:
            break
        answer += part

head, _separator, body = answer.partition(b"\r\n\r\n")
status = head.split(b"\r\n")[0].decode("ascii", "replace")
print(status, body[:300].decode("utf-8", "replace"))
sys.exit(0 if " 200 " in status + " " and b'"healthy"' in body else 1)
