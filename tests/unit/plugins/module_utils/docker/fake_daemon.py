# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker daemon for tests: a real unix socket, canned answers, and bad manners on request."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import socketserver
import tempfile
import threading


def version_tuple(text):
    return tuple(int(part) for part in text.split("."))


class FakeDaemon:
    """Answers GET by `routes`: path without version and query -> JSON value, or (status, JSON value).

    :param oldest, newest: API versions that it accepts, refused in the words of the real engine.
    :param manners: "good"; "hang" accepts and never answers; "drip" sends one byte of an endless answer at a time;
                    "close" ends every connection after one answer without announcing it; "babble" does not speak HTTP.
    """

    def __init__(self, routes, oldest="1.24", newest="1.45", manners="good"):
        self.routes = routes
        self.oldest, self.newest = version_tuple(oldest), version_tuple(newest)
        self.manners = manners
        self.requests = []
        self.connections = 0
        self.stopped = threading.Event()
        # a path of pytest's tmp_path can be longer than the 108 bytes of a socket's name
        self.folder = tempfile.mkdtemp(prefix="dock-")
        self.path = os.path.join(self.folder, "docker.sock")
        self.server = None

    def __enter__(self):
        daemon = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                daemon.connections += 1

            def address_string(self):
                return "unix"

            def log_message(self, *unused):
                pass

            def do_GET(self):
                daemon.answer(self)

            do_POST = do_GET

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self.server = Server(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.folder)

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append((handler.command, handler.path, body))
        if self.manners == "hang":
            self.stopped.wait(30)
            return
        if self.manners == "babble":
            handler.wfile.write(b"what do you mean?\r\n")
            handler.close_connection = True
            return
        match = re.match(r"/v(\d+\.\d+)(/[^?]*)", handler.path)
        version, path = version_tuple(match.group(1)), match.group(2)
        names = (match.group(1), ".".join(map(str, self.oldest)), ".".join(map(str, self.newest)))
        if version < self.oldest:
            status, value = 400, {
                "message": "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version" % names[:2]}
        elif version > self.newest:
            status, value = 400, {"message": "client version %s is too new. Maximum supported API version is %s" % (names[0], names[2])}
        else:
            value = self.routes.get(path, (404, {"message": "page not found"}))
            status, value = value if isinstance(value, tuple) else (200, value)
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        if self.manners == "drip":
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            try:
                while not self.stopped.wait(0.02):
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
            except OSError:
                pass
            return
        if len(data) > 1000:
            # as Go's server does with long answers
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for start in range(0, len(data), 700):
                piece = data[start:start + 700]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
        if self.manners == "close":
            handler.close_connection = True


def dead_socket(folder):
    """Path of a unix socket that nobody listens on."""
    path = os.path.join(folder, "dead.sock")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.close()
    return path
