# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store served to other hosts for a while: read-only, by digest, below a secret path."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import select
import socket
import sys
import threading
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import receipts
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import ALGORITHMS
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store, lstat, read_dict, write_atomically

TOKEN_NEEDED = "32 to 128 hex digits"
_TOKEN = re.compile(r"^[0-9a-f]{32,128}\Z")
_PATH = re.compile(r"^/([0-9a-f]{32,128})/(%s)/([0-9a-f]{2})/([0-9a-f]{64,128})\Z" % "|".join(ALGORITHMS))
_RANGE = re.compile(r"^bytes=(\d+)-(\d*)\Z")
_CONNECTIONS = 32
_IDLE_S = 30
_LOOK_S = 1.0
_NOBODY = 65534


def _state_path(store, token):
    return os.path.join(store.path, "serve", hashlib.sha256(token.encode()).hexdigest()[:32] + ".json")


def _check(token):
    if not _TOKEN.match(token or ""):
        raise refuse("token", "no token" if not token else "a token of another form", TOKEN_NEEDED, "token")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD of objects. Whatever is not exactly that is 404, without a word."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "dockyard", ""
    timeout = _IDLE_S

    def do_GET(self):
        """The object, or a part of it."""
        self._answer(True)

    def do_HEAD(self):
        """Its headers."""
        self._answer(False)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin  # the name is http.server's
        """Nothing: the path holds the token."""

    def _nothing(self):
        # A stranger does not keep a connection.
        self.close_connection = True
        self.send_response(404)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body):
        match = _PATH.match(self.path)
        if not match or not hmac.compare_digest(match.group(1), self.server.token) or match.group(3) != match.group(4)[:2]:
            return self._nothing()
        digest = "%s:%s" % (match.group(2), match.group(4))
        try:
            descriptor = os.open(self.server.store.object_path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError):
            return self._nothing()
        try:
            status = os.fstat(descriptor)
            # Only what is known to be whole: a peer would find out, but after the whole transfer.
            if not receipts.is_true(self.server.store.receipt(digest), status):
                return self._nothing()
            return self._send(descriptor, status.st_size, body)
        finally:
            os.close(descriptor)

    def _send(self, descriptor, size, body):
        start, end = 0, size - 1
        asked = _RANGE.match(self.headers.get("Range") or "")
        if asked:
            start = int(asked.group(1))
            end = min(end, int(asked.group(2))) if asked.group(2) else end
            if start > end:
                self.send_response(416)
                self.send_header("Content-Range", "bytes */%d" % size)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, end, size))
        self.send_header("Content-Length", str(end - start + 1))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return
        self.wfile.flush()
        while start <= end:
            count = self._sendfile(descriptor, start, min(end - start + 1, 8 << 20))
            if not count:
                self.close_connection = True
                return
            start += count

    def _sendfile(self, descriptor, start, count):
        # The time limit makes the socket non-blocking underneath, so wait for room.
        waiting = select.poll()
        waiting.register(self.connection, select.POLLOUT)
        if not waiting.poll(_IDLE_S * 1000):
            return 0
        try:
            return os.sendfile(self.connection.fileno(), descriptor, start, count)
        except BlockingIOError:
            return self._sendfile(descriptor, start, count)
        except OSError:
            return 0


class Server(http.server.ThreadingHTTPServer):
    """Serves one store below one token."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address, store, token):
        self.store, self.token = store, token
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def server_bind(self):
        """Without the base class's look-up of a name for the address, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request_thread(self, request, client_address):
        """At most so many at once; others wait."""
        with self._room:
            super().process_request_thread(request, client_address)

    def handle_error(self, request, client_address):
        """A peer that went away is no news."""


def serve(store, options, check_mode=False):
    """Start the server of ``token``; it ends by itself after ``serve_seconds``. Result (dict). A second call prolongs nothing and starts nothing."""
    _check(options["token"])
    path = _state_path(store, options["token"])
    known = _running(path)
    if known:
        return {"changed": False, "serve": known}
    if check_mode:
        return {"changed": True, "serve": None}
    store.prepare()
    store.folder(os.path.dirname(path), 0o711)
    try:
        server = Server((options["serve_address"], options["serve_port"]), store, options["token"])
    except OSError as exc:
        raise refuse("serve_address %s, port %d" % (options["serve_address"], options["serve_port"]), exc.strerror or str(exc),
                     "an address of this host, and a free port", "serve_address, serve_port") from exc
    until = time.time() + options["serve_seconds"]
    known = {"address": options["serve_address"], "port": server.server_port, "until_epoch_s": int(until)}
    write_atomically(path, json.dumps(known), 0o600)
    if _fork():
        server.socket.close()
        return {"changed": True, "serve": known}
    _child(server, path, until)
    return None


def stop(store, options, check_mode=False):
    """End the server of ``token``. Result (dict)."""
    _check(options["token"])
    path = _state_path(store, options["token"])
    known = _running(path)
    if not check_mode:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if known:
            # It looks once a second whether its record is there.
            _wait_closed(known)
    return {"changed": known is not None, "serve": None}


def _running(path):
    """The record of a live server (dict) or None."""
    known = read_dict(path) if lstat(path) is not None else None
    if not known or known.get("until_epoch_s", 0) <= time.time() or not _listens(known):
        return None
    return known


def _listens(known):
    address = known["address"]
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    try:
        socket.create_connection((address, known["port"]), 2).close()
        return True
    except OSError:
        return False


def _wait_closed(known):
    end = time.monotonic() + 5 * _LOOK_S
    while time.monotonic() < end and _listens(known):
        time.sleep(0.1)


def _fork():
    """Child (0) and parent (pid) of a double fork: the child belongs to nobody who would wait for it."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return pid
    os.setsid()
    if os.fork():
        os._exit(0)  # pylint: disable=protected-access
    return 0


def _child(server, path, until):
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        # What the module had open (its connection's pipes, a lock) must not live on here.
        keep = server.socket.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 4096)
        status = os.stat(path)
        os.chdir(server.store.path)
        if os.geteuid() == 0:
            # Nothing but the store can be seen from here on, whatever a request says.
            os.chroot(server.store.path)
            server.store, path = Store("/"), os.path.join("/serve", os.path.basename(path))
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        watch(server, path, status.st_ino, until)
    finally:
        sys.stdout = sys.stderr = None
        os._exit(0)  # pylint: disable=protected-access


def watch(server, path, inode, until):
    """Serve until the time is over or the record is gone (or another server's)."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    while time.time() < until:
        status = lstat(path)
        if status is None or status.st_ino != inode:
            break
        time.sleep(min(_LOOK_S, max(0.0, until - time.time())))
    server.shutdown()
    server.server_close()
