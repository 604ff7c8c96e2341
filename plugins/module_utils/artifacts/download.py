# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file from one URL: http(s) with the standard library, in one pass, with Range, redirects, proxies and limits of time."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import ssl
import threading
import time
from urllib.parse import urljoin, urlsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.blocks import Sink
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, printable, problem, redact
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest

# What browsers and curl allow at most is 20 to 50; a chain longer than this is a fault of the server.
MAX_REDIRECTS = 10
# A transfer that moves, but slower than a modem for the whole stall time, counts as stalled.
_SLOWEST_BYTES_PER_S = 1024
# A block is handed on when it is full or after this time, so that slow links show progress and keep it.
_BLOCK_SECONDS = 0.5
_BACKOFF_S = 1.0
_BACKOFF_MAX_S = 30.0
# Statuses after which the same request may succeed (RFC 9110, 6585, 8470).
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_AGENT = "dockyard.fleet/artifacts"


class Fault(Exception):
    """Why a source gave no file.

    ``kind``: "transient" (trying again may help), "absent" (it is not there), "final" (it will not help), "digest" (another file than the one wanted),
    "range" (the server can't go on from there), "part" (it gave less than was asked for, and may give the rest).
    """

    def __init__(self, kind, found, needed, setting="", wait_s=None):
        self.kind, self.found, self.needed, self.setting, self.wait_s = kind, found, needed, setting, wait_s
        super().__init__(found)


class Reply:
    """The body of an answer, to be read into blocks. ``total`` is the file's size (int) or None, ``start`` the position of its first byte."""

    def __init__(self, response, status, start, total):
        self._response, self.status, self.start, self.total = response, status, start, total
        self.content_type = printable((response.headers.get("Content-Type") or "").partition(";")[0].strip(), 60)
        self._left = response.length
        self._plain = self._left is not None and not response.chunked

    def readinto(self, view):
        """Fill a part of ``view`` with what is there; 0 at the end."""
        if not self._plain:
            return self._response.readinto(view)
        if not self._left:
            return 0
        # The buffered reader below, once: http.client's own waits until the whole block is full.
        count = self._response.fp.readinto1(view if len(view) <= self._left else view[:self._left])
        self._left -= count
        return count

    def finished(self):
        """Whether the body was read to its end, so that the connection can be used again."""
        return self._plain and not self._left

    def close(self):
        """Let go of the body."""
        self._response.close()


class Web:
    """Opens URLs. Safe for threads: each has its own connections. Raises Fault."""

    def __init__(self, connect_timeout_s=10, stall_timeout_s=30, ca_certificate=None, environment=None):
        self.connect_timeout_s, self.stall_timeout_s, self._ca = connect_timeout_s, stall_timeout_s, ca_certificate
        self._environment = os.environ if environment is None else environment
        self._context, self._lock = None, threading.Lock()
        self._kept = threading.local()

    def get(self, url, headers=None, start=0):
        """The Reply for a file from byte ``start`` on; a server may give the whole instead (``start`` 0 in the reply)."""
        first, seen = _origin(url), set()
        while True:
            if url in seen or len(seen) > MAX_REDIRECTS:
                raise Fault("final", "a redirect loop (%d redirects, last to %s)" % (len(seen), redact(url)), "a URL that ends at a file")
            seen.add(url)
            # Headers may be credentials: they stay with the server that they were given for.
            response = self._ask(url, headers if _origin(url) == first else None, start)
            if response.status in (301, 302, 303, 307, 308) and response.headers.get("Location"):
                target = urljoin(url, response.headers["Location"])
                self._drop(response)
                if urlsplit(target).scheme not in ("http", "https") or not urlsplit(target).hostname:
                    raise Fault("final", "a redirect to %s" % redact(target), "a redirect to http:// or https://")
                url = target
                continue
            return self._reply(response, start)

    def _reply(self, response, start):
        status = response.status
        if status == 200:
            return Reply(response, status, 0, response.length)
        if status == 206:
            match = re.match(r"^\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*$", response.headers.get("Content-Range") or "")
            if match and int(match.group(1)) == start:
                return Reply(response, status, start, None if match.group(3) == "*" else int(match.group(3)))
            self._drop(response)
            raise Fault("range", "an answer to another range than the one asked for (%s)" % printable(response.headers.get("Content-Range") or "none"),
                        "bytes from %d on" % start)
        reason, wait = printable(response.reason or "", 60), response.headers.get("Retry-After") or ""
        self._drop(response)
        found = "HTTP status %d%s" % (status, " (%s)" % reason if reason else "")
        if status == 416:
            raise Fault("range", found, "bytes from %d on" % start)
        if status in _TRANSIENT:
            raise Fault("transient", found, "HTTP status 200", wait_s=float(wait) if wait.isdigit() else None)
        if status in (404, 410):
            raise Fault("absent", found, "HTTP status 200")
        setting = "the source's headers or a fresh URL" if status in (401, 403) else ""
        raise Fault("final", found, "HTTP status 200", setting)

    def _ask(self, url, headers, start):
        parts = urlsplit(url)
        fields = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        if parts.username is not None:
            fields["Authorization"] = _basic(parts)
        fields.update(headers or {})
        if start:
            fields["Range"] = "bytes=%d-" % start
        while True:
            connection, target, used = self._connection(parts, fields)
            try:
                connection.request("GET", target, headers=fields)
                response = connection.getresponse()
            except (http.client.BadStatusLine, ConnectionError, BrokenPipeError) as exc:
                connection.close()
                if used:  # the server closed it while it was kept: nothing was asked yet
                    continue
                raise Fault("transient", "a connection that was closed (%s)" % _reason(exc), "an answer") from exc
            except (socket.timeout, TimeoutError) as exc:
                connection.close()
                raise Fault("transient", "no answer for %g s" % self.stall_timeout_s, "an answer", "stall_timeout_seconds") from exc
            except (http.client.HTTPException, OSError, ValueError) as exc:
                connection.close()
                raise Fault("transient", "an answer that can't be read (%s)" % _reason(exc), "an HTTP answer") from exc
            response.connection = connection
            response.kept_as = _origin(url)
            return response

    def keep(self, reply):
        """The body was read: the connection may serve the next file."""
        response = reply._response  # pylint: disable=protected-access
        reply.close()
        if reply.finished() and not response.will_close and response.connection.sock is not None:
            self._kept.value = (response.kept_as, response.connection)
        else:
            response.connection.close()

    def drop(self, reply):
        """The body is not wanted any more."""
        self._drop(reply._response)  # pylint: disable=protected-access

    @staticmethod
    def _drop(response):
        response.close()
        response.connection.close()

    def _connection(self, parts, fields):
        """(connection, request target, whether it was used before)."""
        origin = _origin(parts.geturl())
        kept, self._kept.value = getattr(self._kept, "value", None), None
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        target = _ascii(path)
        proxy = self._proxy(parts)
        if kept:
            if kept[0] == origin and proxy is None:
                return kept[1], target, True
            kept[1].close()
        host, port = (proxy.hostname, proxy.port or 80) if proxy else (parts.hostname, parts.port)
        try:
            if parts.scheme == "https":
                connection = http.client.HTTPSConnection(host, port, timeout=self.connect_timeout_s, context=self._tls())
                if proxy:
                    connection.set_tunnel(parts.hostname, parts.port or 443, {"Proxy-Authorization": _basic(proxy)} if proxy.username else {})
            else:
                connection = http.client.HTTPConnection(host, port, timeout=self.connect_timeout_s)
                if proxy:
                    target = "http://%s%s" % (parts.netloc.rpartition("@")[2], target)
                    if proxy.username:
                        fields["Proxy-Authorization"] = _basic(proxy)
            connection.connect()
        except ssl.SSLCertVerificationError as exc:
            raise Fault("final", "a certificate that is not trusted (%s)" % printable(exc.verify_message or str(exc)),
                        "a certificate of a CA that this host trusts", "ca_certificate") from exc
        except (ssl.SSLError, ssl.CertificateError) as exc:
            raise Fault("final", "a TLS connection that fails (%s)" % _reason(exc), "TLS that this host's Python speaks", "ca_certificate, or the URL") from exc
        except (socket.timeout, TimeoutError) as exc:
            raise Fault("transient", "no connection within %g s" % self.connect_timeout_s, "a server that answers", "connect_timeout_seconds") from exc
        except socket.gaierror as exc:
            raise Fault("transient", "a host name that can't be resolved (%s: %s)" % (host, _reason(exc)), "a host that this machine can find") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise Fault("transient", "no connection (%s)" % _reason(exc), "a server that answers") from exc
        connection.sock.settimeout(self.stall_timeout_s)
        return connection, target, False

    def _tls(self):
        with self._lock:
            if self._context is None:
                context = ssl.create_default_context()
                if self._ca:
                    try:
                        context.load_verify_locations(self._ca)
                    except (OSError, ssl.SSLError) as exc:
                        raise Fault("final", "no usable CA certificate in %s (%s)" % (self._ca, _reason(exc)), "a PEM file on the host",
                                    "ca_certificate") from exc
                self._context = context
            return self._context

    def _proxy(self, parts):
        names = (parts.scheme + "_proxy", parts.scheme.upper() + "_PROXY", "all_proxy", "ALL_PROXY")
        # HTTP_PROXY in capitals may come from a request header in CGI programs; nobody else reads it for http either.
        value = next((self._environment[name] for name in names if name != "HTTP_PROXY" and self._environment.get(name)), None)
        if not value:
            return None
        from urllib.request import proxy_bypass_environment  # pylint: disable=import-outside-toplevel  # slow to import, rarely needed
        no_proxy = self._environment.get("no_proxy") or self._environment.get("NO_PROXY") or ""
        host = "%s:%d" % (parts.hostname, parts.port) if parts.port else parts.hostname
        if proxy_bypass_environment(host, {"no": no_proxy}):
            return None
        return urlsplit(value if "://" in value else "http://" + value)


class Fetcher:
    """Fills a Sink from a URL until its digest is right. ``sleep``, ``clock`` and ``jitter`` are the door to time."""

    def __init__(self, web, retries=4, sleep=time.sleep, clock=time.monotonic, jitter=random.random):
        self.web, self.retries, self._sleep, self._clock, self._jitter = web, retries, sleep, clock, jitter

    def fill(self, sink, url, digest, size=None, headers=None, advance=lambda count: None, began=lambda position, total: None):
        """Bytes (int) that came over the network. Raises Fault, ArtifactsError (disk).

        :param sink: Sink, with the beginning of the file when that is there.
        :param size: exact bytes of the file, or None.
        :param advance: called with each count of bytes; ``began``: called with the position and the file's size when a transfer begins.
        """
        algorithm, wanted = split_digest(digest)
        tries, marked, clean, received = 0, sink.size, False, [0]

        def count(moved):
            received[0] += moved
            advance(moved)

        while True:
            mixed, kind = sink.size > 0, ""
            try:
                # A whole file of an earlier run needs no question; without a size only its digest can tell.
                if not mixed or (sink.size != size if size is not None else sink.hexdigest() != wanted):
                    kind = self._once(sink, url, size, headers, count, began)
                found = sink.hexdigest()
                if found == wanted:
                    return received[0]
                raise Fault("digest", "%s:%s (%d bytes%s)" % (algorithm, found, sink.size, kind and ", " + kind),
                            "%s (%s)" % (digest, "%d bytes" % size if size is not None else "size not given"), "the digest in the manifest, or the source")
            except Fault as fault:
                if fault.kind == "digest":
                    sink.restart()
                    if not clean and (mixed or urlsplit(url).scheme == "http"):
                        # What was there before may be stale, and plain HTTP has no checksum of its own: once more, from the beginning.
                        clean = True
                        continue
                    raise
                if fault.kind == "range" and mixed:
                    sink.restart()
                    continue
                if fault.kind == "part":
                    continue
                if fault.kind != "transient":
                    raise
                # A bad link that gets further than ever is not given up; a source that gives nothing new is.
                if sink.size - marked >= max(1 << 20, (size or 0) // 100):
                    tries, marked = 0, sink.size
                tries += 1
                if tries > self.retries:
                    found = "%s, %d times" % (fault.found, tries) if tries > 1 else fault.found
                    raise Fault("transient", found, fault.needed, fault.setting or "retries") from fault
                pause = min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** (tries - 1)) * (0.5 + self._jitter() / 2)
                self._sleep(min(max(pause, fault.wait_s or 0), 2 * _BACKOFF_MAX_S))

    def _once(self, sink, url, size, headers, advance, began):
        """One transfer to its end. Returns the content type (str). Raises Fault; what came before it is in the sink."""
        reply = self.web.get(url, headers, sink.size)
        done = False
        try:
            if size is not None and reply.total is not None and reply.total != size:
                kind = " (%s)" % reply.content_type if reply.content_type else ""
                raise Fault("final", "a file of %d bytes%s" % (reply.total, kind), "%d bytes" % size, "the size in the manifest, or the source")
            if reply.start == 0 and sink.size:
                sink.restart()
            began(sink.size, reply.total if reply.total is not None else size)
            self._receive(reply, sink, size, advance)
            end = size if size is not None else reply.total
            if end is not None and sink.size < end:
                if reply.status == 206 and reply.finished() and sink.size > reply.start:
                    raise Fault("part", "a part", "the rest")
                raise Fault("transient", "a body that ends after %d of %d bytes" % (sink.size, end), "all of it")
            done = True
            return reply.content_type
        finally:
            if done:
                self.web.keep(reply)
            else:
                self.web.drop(reply)

    def _receive(self, reply, sink, size, advance):
        waited, moved, ended = 0.0, 0, False
        stall = self.web.stall_timeout_s
        clock = self._clock
        while not ended:
            view, filled, fault = sink.buffer(), 0, None
            try:
                began = clock()
                while filled < len(view):
                    count = reply.readinto(view[filled:])
                    if not count:
                        ended = True
                        break
                    filled += count
                    if clock() - began > _BLOCK_SECONDS:
                        break
            except (socket.timeout, TimeoutError) as exc:
                fault = Fault("transient", "nothing more for %g s after %d bytes" % (stall, sink.size + filled), "a transfer that goes on",
                              "stall_timeout_seconds")
                fault.__cause__ = exc
            except (http.client.HTTPException, OSError, ValueError, AttributeError) as exc:
                fault = Fault("transient", "a transfer that broke off after %d bytes (%s)" % (sink.size + filled, _reason(exc)), "all of it")
                fault.__cause__ = exc
            waited, moved = waited + clock() - began, moved + filled
            if size is not None and sink.size + filled > size:
                sink.give_back(view)
                sink.restart()
                raise Fault("final", "more than %d bytes%s" % (size, " (%s)" % reply.content_type if reply.content_type else ""), "%d bytes" % size,
                            "the size in the manifest, or the source")
            if filled:
                sink.put(view, filled)
                advance(filled)
            else:
                sink.give_back(view)
            if fault:
                raise fault
            if waited >= stall and not ended:
                if moved < _SLOWEST_BYTES_PER_S * waited:
                    raise Fault("transient", "%d bytes in %d s" % (moved, waited), "at least %d bytes a second" % _SLOWEST_BYTES_PER_S, "stall_timeout_seconds")
                waited, moved = 0.0, 0


def download(url, path, digest, size=None, headers=None, retries=4, connect_timeout_s=10, stall_timeout_s=30, ca_certificate=None, advance=lambda count: None):
    """One URL to one file, for callers without a store. An earlier partial download beside it (``<path>.partial``) is continued.

    :returns: bytes (int) that came over the network. The file appears under its name only when its digest is right.
    :raises ArtifactsError: with the source, both digests and sizes, or what else was found.
    """
    sink = Sink(path + ".partial", split_digest(digest)[0])
    try:
        sink.resume(size)
        fetched = Fetcher(Web(connect_timeout_s, stall_timeout_s, ca_certificate), retries).fill(sink, url, digest, size, headers, advance)
        sink.sync()
        os.rename(sink.path, path)
        return fetched
    except Fault as fault:
        if not sink.size:
            sink.remove()
        raise ArtifactsError([problem(redact(url), fault.found, fault.needed, fault.setting or "the source")]) from fault
    finally:
        sink.close()


def _origin(url):
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _basic(parts):
    import base64  # pylint: disable=import-outside-toplevel  # rarely needed
    from urllib.parse import unquote  # pylint: disable=import-outside-toplevel
    return "Basic " + base64.b64encode(("%s:%s" % (unquote(parts.username or ""), unquote(parts.password or ""))).encode()).decode()


def _ascii(path):
    from urllib.parse import quote  # pylint: disable=import-outside-toplevel
    return quote(path, safe="/%:@!$&'()*+,;=~?-._[]")


def _reason(exc):
    return printable(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
