# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A SPARQL server in Fuseki's place, on rdflib: query, update, the graph store protocol, ping and statistics, one dataset or several.

Of shiro.ini it knows [users], [roles] names, and in [urls] the filters anon, authcBasic, roles[...] and user[...], first matching line
first, `*` for one part of a path and `**` for the rest, as Shiro has it. A dataset is one file of quads, written anew at each change."""

from __future__ import annotations

import argparse
import base64
import datetime
import hmac
import json
import os
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import rdflib.plugins.sparql
from rdflib import Dataset, Graph, URIRef
from rdflib.graph import DATASET_DEFAULT_GRAPH_ID
from rdflib.namespace import NamespaceManager
from rdflib.plugins.sparql.algebra import translateQuery, translateUpdate
from rdflib.plugins.sparql.parser import parseQuery, parseUpdate
from rdflib.plugins.sparql.sparql import Prologue

# Fuseki's default graph is not the union of all of them.
rdflib.plugins.sparql.SPARQL_DEFAULT_GRAPH_UNION = False

VERSION = "5.1.0"
TURTLE = "text/turtle"
FORMATS = {TURTLE: "turtle", "application/n-triples": "nt", "application/rdf+xml": "xml", "application/ld+json": "json-ld"}
ENDPOINTS = {"query": "query", "sparql": "query", "update": "update", "data": "data", "get": "data"}


def _prologue(self):
    """A statement knows the prefixes that it declares and no others, in Fuseki; rdflib brings two dozen."""
    self.base = None
    self.namespace_manager = NamespaceManager(Graph(bind_namespaces="none"), bind_namespaces="none")


Prologue.__init__ = _prologue


def counts(part):
    """Whether an expression of a parsed query counts, sums or the like."""
    if getattr(part, "name", "").startswith("Aggregate_"):
        return True
    members = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return any(counts(one) for one in members)


def read_query(text):
    """A query, as Fuseki takes it. Raises what the parser raises, or ValueError for a plain variable beside a counted one."""
    parsed = parseQuery(text)
    chosen = parsed[1].projection or []
    if not parsed[1].groupby and any(counts(one.expr) for one in chosen):
        for one in chosen:
            if one.var is not None:
                raise ValueError("Non-group key variable in SELECT: %s" % one.var.n3())
    return translateQuery(parsed, None, {})


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, text, headers=()):
        super().__init__(text)
        self.status, self.headers = status, headers


class Rules:
    """Who may do what, from shiro.ini; everybody everything without one."""

    def __init__(self, text):
        self.users, self.urls = {}, []
        section = None
        for line in text.splitlines():
            line = line.strip()
            if not line or line.startswith(("#", ";")):
                continue
            if line.startswith("["):
                section = line.strip("[]")
            elif section in ("users", "urls"):
                key, unused, value = (part.strip() for part in line.partition("="))
                if section == "users":
                    password, *roles = [part.strip() for part in value.split(",")]
                    self.users[key] = (password, set(roles))
                else:
                    filters = re.findall(r"([A-Za-z]+)(?:\[([^\]]*)\])?", value)
                    self.urls.append((self.pattern(key), filters))

    @staticmethod
    def pattern(text):
        """A path of Ant's kind as a regular expression."""
        parts = re.split(r"(/\*\*|\*\*|\*)", text)
        return re.compile("".join({"/**": "(/.*)?", "**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts) + r"\Z")

    def login(self, header):
        """The user of an Authorization header, or None."""
        kind, unused, value = (header or "").partition(" ")
        try:
            name, unused, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return None
        if kind != "Basic" or name not in self.users or not hmac.compare_digest(self.users[name][0].encode(), password.encode()):
            return None
        return name

    def check(self, path, header):
        """Return when the request may pass. Raises Refused."""
        for pattern, filters in self.urls:
            if not pattern.match(path):
                continue
            user = self.login(header)
            for name, argument in filters:
                if name in ("authcBasic", "user") and user is None:
                    raise Refused(401, "Unauthorized", [("WWW-Authenticate", 'BASIC realm="application"')])
                if name == "roles" and not (user and {one.strip() for one in argument.split(",")} <= self.users[user][1]):
                    raise Refused(403, "Forbidden")
            return


class Store:
    """One dataset and its file."""

    def __init__(self, folder):
        self.folder = folder
        self.file = os.path.join(folder, "data.nq") if folder else None
        self.data = Dataset(default_union=False)
        self.lock = threading.RLock()
        if self.file and os.path.exists(self.file):
            self.data.parse(self.file, format="nquads")

    def save(self):
        if self.file:
            self.data.serialize(self.file + ".new", format="nquads", encoding="utf-8")
            os.replace(self.file + ".new", self.file)

    def graph(self, arguments):
        """The graph that a request of the graph store protocol is about."""
        if "graph" in arguments:
            return self.data.graph(URIRef(arguments["graph"][0]))
        return self.data.graph(DATASET_DEFAULT_GRAPH_ID)


class Handler(BaseHTTPRequestHandler):
    """The HTTP interface."""

    protocol_version = "HTTP/1.1"
    server_version = "fuseki-stand-in"

    def respond(self, status, text="", kind="text/plain", headers=()):
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_one(self):
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = (self.headers.get("Content-Type") or "").partition(";")[0].strip()
        arguments = parse_qs(parts.query)
        if kind == "application/x-www-form-urlencoded":
            for key, values in parse_qs(body.decode()).items():
                arguments.setdefault(key, []).extend(values)
        try:
            self.server.rules.check(path, self.headers.get("Authorization"))
            if path.startswith("/$/"):
                self.control(path[3:], arguments)
            elif path in ("/", ""):
                self.respond(200, "<title>Apache Jena Fuseki</title>", "text/html")
            else:
                self.dataset(path, arguments, kind, body)
        except Refused as error:
            self.respond(error.status, str(error) + "\n", headers=error.headers)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_one

    def control(self, action, arguments):
        """What stands below /$/."""
        if action == "ping":
            self.respond(200, datetime.datetime.now(datetime.timezone.utc).isoformat() + "\n", headers=[("Cache-Control", "no-cache")])
        elif action == "stats":
            self.respond(200, json.dumps({"datasets": {"/" + name: {"Requests": 0} for name in self.server.stores}}), "application/json")
        elif action == "datasets" and self.command == "POST":
            self.server.add(arguments["dbName"][0].strip("/"))
            self.respond(200)
        elif action == "datasets":
            self.respond(200, json.dumps({"datasets": [{"ds.name": "/" + name, "ds.state": True} for name in self.server.stores]}), "application/json")
        else:
            raise Refused(404, "Not found: /$/%s" % action)

    def dataset(self, path, arguments, kind, body):
        """A request to a dataset."""
        name, unused, endpoint = path.strip("/").partition("/")
        store = self.server.stores.get(name)
        if store is None or endpoint not in ENDPOINTS:
            raise Refused(404, "Not found: %s" % path)
        with store.lock:
            what = ENDPOINTS[endpoint]
            if what == "query":
                self.query(store, body.decode() if kind == "application/sparql-query" else (arguments.get("query") or [""])[0])
            elif what == "update":
                self.update(store, body.decode() if kind == "application/sparql-update" else (arguments.get("update") or [""])[0])
            else:
                self.data(store, arguments, kind, body)

    def query(self, store, text):
        try:
            result = store.data.query(read_query(text))
            if result.type in ("CONSTRUCT", "DESCRIBE"):
                accepted = [word.partition(";")[0].strip() for word in (self.headers.get("Accept") or "").split(",")]
                kind = next((word for word in accepted if word in FORMATS), TURTLE)
                self.respond(200, result.serialize(format=FORMATS[kind], encoding="utf-8"), kind)
            else:
                self.respond(200, result.serialize(format="json", encoding="utf-8"), "application/sparql-results+json")
        except Refused:
            raise
        except Exception as error:  # pylint: disable=broad-except  # rdflib's parser has errors of its own
            raise Refused(400, "Parse error: %s" % error) from error

    def update(self, store, text):
        if self.command != "POST":
            raise Refused(405, "Update by POST only")
        try:
            store.data.update(translateUpdate(parseUpdate(text), None, {}))
        except Exception as error:  # pylint: disable=broad-except
            raise Refused(400, "Parse error: %s" % error) from error
        store.save()
        if self.headers.get("Accept", "").startswith("text/html"):
            self.respond(200, "<h1>Success</h1>Update succeeded", "text/html")
        else:
            self.respond(204)

    def data(self, store, arguments, kind, body):
        graph = store.graph(arguments)
        if self.command in ("PUT", "POST"):
            if kind not in FORMATS:
                raise Refused(415, "Unknown content type: %s" % kind)
            try:
                fresh = Dataset().graph(URIRef("urn:fresh")).parse(data=body.decode(), format=FORMATS[kind])
            except Exception as error:  # pylint: disable=broad-except
                raise Refused(400, "Parse error: %s" % error) from error
            if self.command == "PUT":
                graph.remove((None, None, None))
            for triple in fresh:
                graph.add(triple)
            store.save()
            self.respond(200, json.dumps({"count": len(fresh), "tripleCount": len(fresh), "quadCount": 0}), "application/json")
        elif self.command == "DELETE":
            graph.remove((None, None, None))
            store.save()
            self.respond(204)
        else:
            self.respond(200, graph.serialize(format="turtle", encoding="utf-8"), TURTLE)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port, base):
        super().__init__(("0.0.0.0", port), Handler)
        self.base, self.stores, self.rules = base, {}, Rules("")
        path = os.path.join(base, "shiro.ini")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                self.rules = Rules(stream.read())
        databases = os.path.join(base, "databases")
        for name in sorted(os.listdir(databases)) if os.path.isdir(databases) else []:
            self.stores[name] = Store(os.path.join(databases, name))

    def add(self, name, folder=None):
        """A dataset, in a folder of the base without one."""
        folder = folder or os.path.join(self.base, "databases", name)
        os.makedirs(folder, exist_ok=True)
        self.stores[name] = Store(folder)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Fuseki stand-in", allow_abbrev=False)
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--port", type=int, default=3030)
    parser.add_argument("--loc", help="folder of a persistent dataset")
    parser.add_argument("--mem", action="store_true")
    parser.add_argument("--tdb2", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("name", nargs="?", help="path of the dataset, such as /ds")
    options = parser.parse_args(argv)
    if options.version:
        print("Apache Jena Fuseki version %s (stand-in)" % VERSION)
        return 0
    server = Server(options.port, os.environ.get("FUSEKI_BASE", "/etc/fuseki"))
    if options.name:
        if options.loc and not os.path.isdir(options.loc):
            print("Directory does not exist: %s" % options.loc, file=sys.stderr)
            return 1
        name = options.name.strip("/")
        server.stores[name] = Store(options.loc) if options.loc else Store(None)
    signal.signal(signal.SIGTERM, lambda *unused: threading.Thread(target=server.shutdown).start())
    print("fuseki stand-in: Started on port %d, datasets: %s" % (server.server_port, ", ".join(sorted(server.stores)) or "none"), flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
