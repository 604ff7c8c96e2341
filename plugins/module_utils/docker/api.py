# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to the Docker Engine API over its unix socket. Standard library only.

Answers come back as parsed JSON; everything that can go wrong is a DockerError whose text says where and why.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import time
from urllib.parse import quote, urlencode

# 1.41 is what engine 20.10 (Debian 12) speaks at most; engine 29 refuses anything below 1.44 and says so,
# which request() answers by moving to the version that the engine names.
API_VERSION = "1.41"

VERSION_REFUSED = re.compile(r"client version \S+ is too (?:old|new)\. (?:Minimum|Maximum) supported API version is (\d+\.\d+)")


class DockerError(Exception):
    """Something between us and the answer failed; str() is one sentence for people."""


class DockerUnavailable(DockerError):
    """No answer at all: no socket, no permission, nobody listens, no answer in time, not HTTP."""


class DockerTimeout(DockerUnavailable):
    """No whole answer in the time given."""


class DockerApiError(DockerError):
    """The engine answered, and refused.

    :ivar status: HTTP status (int); :ivar message: the engine's own words (str).
    """

    def __init__(self, where, status, message):
        super().__init__("%s: HTTP %d: %s" % (where, status, message))
        self.status = status
        self.message = message


class UnixConnection(http.client.HTTPConnection):
    """HTTP over AF_UNIX. The Host header is a fixed word, as in Docker's own client."""

    def __init__(self, socket_path, timeout):
        super().__init__("docker", timeout=timeout)
        self.socket_path = socket_path

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self.socket_path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def refused_version(message):
    """API version (str, "1.44") that an engine's refusal of ours asks for, or None if it is no such refusal."""
    match = VERSION_REFUSED.search(message)
    return match.group(1) if match else None


def error_message(body):
    """The engine's words in an error answer: the JSON key "message", else the text itself, shortened. body: bytes."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and isinstance(parsed.get("message"), str):
        text = parsed["message"]
    return text[:500]


def connect_reason(socket_path, exc):
    """One sentence for an OSError of connecting to or talking over the socket."""
    code = getattr(exc, "errno", None)
    if code in (errno.EACCES, errno.EPERM):
        return "%s: permission denied (use become, or put the user into the group docker)" % socket_path
    if code == errno.ENOENT:
        return "%s: no such socket (the daemon is not running)" % socket_path
    if code == errno.ECONNREFUSED:
        return "%s: connection refused (the daemon is not running)" % socket_path
    return "%s: %s" % (socket_path, str(exc) or type(exc).__name__)


class DockerApi:
    """Requests to one engine over one kept connection.

    :param socket_path: path of the unix socket (str).
    :param timeout: seconds (float) that one request may take, from connecting to the last byte.
    :param version: first API version to try, "1.41".
    """

    def __init__(self, socket_path="/var/run/docker.sock", timeout=5.0, version=API_VERSION):
        self.socket_path = socket_path
        self.timeout = timeout
        self.version = version
        self._connection = None

    def close(self):
        """Drop the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def get(self, path, query=None, timeout=None):
        """GET path (str, without version: "/images/json"); query: dict of str, values that are dict or list are sent as JSON. Returns parsed JSON."""
        return self.request("GET", path, query=query, timeout=timeout)

    def inspect(self, kind, name, timeout=None):
        """Details of one object: kind "images", "containers", "networks" or "volumes". Returns dict; DockerApiError.status 404 if there is none."""
        suffix = "/json" if kind in ("images", "containers") else ""
        return self.get("/%s/%s%s" % (kind, quote(name, safe=""), suffix), timeout=timeout)

    def request(self, method, path, query=None, body=None, timeout=None):
        """One request. body: anything JSON can say, or None. Returns parsed JSON (None for an empty answer).

        :raises DockerUnavailable: no usable answer; :raises DockerApiError: status 400 and above.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for unused in range(2):
            status, answer = self._exchange(method, self._target(path, query), body, deadline)
            wanted = refused_version(error_message(answer)) if status == 400 else None
            if wanted is None or wanted == self.version:
                break
            self.version = wanted
        where = "%s %s %s" % (self.socket_path, method, path)
        if status >= 400:
            raise DockerApiError(where, status, error_message(answer))
        if not answer.strip():
            return None
        try:
            return json.loads(answer.decode("utf-8", "replace"))
        except ValueError as exc:
            raise DockerUnavailable("%s: the answer is not JSON: %s" % (where, exc)) from exc

    def _target(self, path, query):
        target = "/v%s%s" % (self.version, path)
        if query:
            pairs = {}
            for key, value in query.items():
                pairs[key] = json.dumps(value) if isinstance(value, (dict, list)) else value
            target += "?" + urlencode(pairs)
        return target

    def _exchange(self, method, target, body, deadline):
        """Send and read one answer before the deadline (time.monotonic()). Returns (status, bytes)."""
        payload = None if body is None else json.dumps(body).encode("utf-8")
        headers = {} if payload is None else {"Content-Type": "application/json"}
        reused = self._connection is not None
        try:
            return self._exchange_once(method, target, payload, headers, deadline)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as exc:
            self.close()
            # A kept connection that the engine has closed meanwhile is normal; only reads are safe to send again.
            if not (reused and method in ("GET", "HEAD")):
                raise DockerUnavailable("%s: the daemon closed the connection" % self.socket_path) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise self._failure(exc) from exc
        try:
            return self._exchange_once(method, target, payload, headers, deadline)
        except (OSError, http.client.HTTPException) as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc):
        """The DockerUnavailable to raise for exc; the connection is dropped, since an answer may still be on its way in it."""
        self.close()
        if isinstance(exc, (socket.timeout, TimeoutError)):
            return DockerTimeout("%s: no answer in time (the daemon hangs or is overloaded)" % self.socket_path)
        return DockerUnavailable(connect_reason(self.socket_path, exc))

    def _exchange_once(self, method, target, payload, headers, deadline):
        if self._connection is None:
            connection = UnixConnection(self.socket_path, timeout=remaining(deadline))
            connection.connect()
            self._connection = connection
        connection = self._connection
        sock = connection.sock
        sock.settimeout(remaining(deadline))
        connection.request(method, target, body=payload, headers=headers)
        response = connection.getresponse()
        chunks = []
        while True:
            # A timeout of each read alone would let a daemon that drips bytes hold us for ever.
            sock.settimeout(remaining(deadline))
            chunk = response.read1(65536)
            if not chunk:
                break
            chunks.append(chunk)
        response.close()
        if response.will_close:
            self.close()
        return response.status, b"".join(chunks)


def remaining(deadline):
    """Seconds (float) until deadline (time.monotonic()).

    :raises socket.timeout: when it has passed.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("timed out")
    return seconds
