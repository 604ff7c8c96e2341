# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server that misbehaves as told, and a store in a temporary folder."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import os
import random
import re
import ssl
import threading

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import blocks, bring
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store, names
from ansible_collections.dockyard.fleet.plugins.modules import artifacts as module


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


# What the tests fetch, unless they say otherwise.
DATA = random.Random(1).randbytes(300000)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def do_GET(self):
        web = self.server.web
        web.requests.append((self.path, self.headers.get("Range"), dict(self.headers)))
        queue = web.odd.get(self.path)
        if queue:
            behaviour = queue[0] if len(queue) == 1 and web.forever.get(self.path) else queue.pop(0)
            behaviour(self)
            return
        data = web.files.get(self.path.partition("?")[0])
        if data is None:
            self.answer(404, b"nothing")
            return
        match = re.match(r"bytes=(\d+)-$", self.headers.get("Range") or "")
        if match and int(match.group(1)) < len(data):
            start = int(match.group(1))
            self.answer(206, data[start:], {"Content-Range": "bytes %d-%d/%d" % (start, len(data) - 1, len(data))})
        elif match:
            self.answer(416, b"", {"Content-Range": "bytes */%d" % len(data)})
        else:
            self.answer(200, data)

    def answer(self, status, body, headers=None, length=None, cut=None):
        """One answer; ``length``: what Content-Length claims, ``cut``: bytes after which the connection is closed."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None or length is not None:
            self.close_connection = True


class Web:
    """``files`` {path: bytes} are served well, with Range; ``odd`` {path: [behaviour]} are used up one by one before that."""

    def __init__(self, context=None):
        self.files, self.odd, self.forever, self.requests = {}, {}, {}, []
        self.released = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.web = True, self
        self._server.handle_error = lambda *unused: None
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.base = "%s://127.0.0.1:%d" % ("https" if context else "http", self._server.server_port)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def always(self, path, behaviour):
        self.odd[path], self.forever[path] = [behaviour], True

    def one(self, path="/a", data=DATA, **given):
        """A wanted file that this server has."""
        return dict({"name": "a", "data": data, "sources": [{"url": self.base + path}]}, **given)

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate that signs itself for 127.0.0.1, its key) as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    folder = tmp_path_factory.mktemp("tls")
    (folder / "crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(folder / "crt"), str(folder / "key")


@pytest.fixture
def tls_web(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Web(context)
    yield server
    server.close()


class Bench:
    """Runs the module's work in this process; ``waits`` has the pauses that it wanted to make."""

    def __init__(self, path, waits):
        self.store, self.waits = Store(str(path)), waits

    def options(self, **given):
        parameters = {}
        for name, argument in module.ARGUMENTS.items():
            parameters[name] = argument.get("default")
        parameters.update(store=self.store.path, retries=2, stall_timeout_seconds=1, lock_timeout_seconds=0)
        parameters.update(given)
        parameters["files"] = [self.entry(**item) for item in parameters["files"]]
        return module.options_of(parameters)

    @staticmethod
    def entry(name, data=None, **given):
        entry = {"name": name, "digest": None, "size": None, "size_estimate": None, "required": True, "mode": None, "sources": [], "destinations": []}
        if data is not None:
            entry.update(digest=digest_of(data), size=len(data))
        entry.update(given)
        entry["destinations"] = [dict({"owner": None, "group": None, "mode": "0644"}, **place) for place in entry["destinations"]]
        return entry

    def run(self, check_mode=False, **given):
        return module.run(self.options(**given), check_mode, "the test")

    def refused(self, **given):
        """The one problem of a run that is refused."""
        with pytest.raises(ArtifactsError) as caught:
            self.run(**given)
        assert len(caught.value.problems) == 1, caught.value.problems
        found = caught.value.problems[0]
        assert all(found[key] and isinstance(found[key], str) for key in ("where", "found", "needed", "setting"))
        return found

    def left(self):
        """Names of partial downloads."""
        return names(os.path.join(self.store.path, "partial"))

    def partial(self, data, digest=None):
        """What a broken-off download of DATA left."""
        self.store.prepare()
        with open(self.store.partial_path(digest or digest_of(DATA)), "wb") as handle:
            handle.write(data)

    def object(self, data, algorithm="sha256"):
        with open(self.store.object_path(digest_of(data, algorithm)), "rb") as handle:
            return handle.read()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    waits = []
    original = bring.Bringer.__init__

    def without_pauses(self, *arguments, **named):
        original(self, *arguments, **dict(named, sleep=waits.append))

    monkeypatch.setattr(bring.Bringer, "__init__", without_pauses)
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Bench(tmp_path / "store", waits)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 KiB, so that a small file has many."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 16)
