# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for Cloudflare: the part of its API v4 that tunnels and their DNS records need, and an edge that forwards requests.

The API keeps the real one's addresses, envelopes, error codes and rules (authorization header, ids, required fields, a tunnel's secret
of at least 32 bytes in base64, names taken, paging, records that can't stand beside each other). It refuses fields and filters that
the real one does not have. The edge takes connections of the stand-in cloudflared, by account, tunnel and secret, and forwards a
request for a hostname by the DNS records as they are. What it has besides is under /stand-in/: a test's own way to look and to meddle.

    python cloudflare.py --folder DIR [--api PORT] [--edge ADDRESS:PORT] [--zone NAME]... [--daemon]

writes DIR/ready.json (ports, account, zone ids) and DIR/token (0600, the API token); --daemon returns once it serves, DIR/pid has it.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import copy
import datetime
import hashlib
import http.server
import ipaddress
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
import urllib.parse
import uuid

PREFIX = "/client/v4"
HOSTNAME = re.compile(r"^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}\Z")
TOKEN = re.compile(r"^[A-Za-z0-9_-]{30,}\Z")
TUNNEL_FIELDS = {"name", "tunnel_secret", "config_src"}
RECORD_FIELDS = {"type", "name", "content", "ttl", "proxied", "comment", "tags", "settings", "priority"}
RULE_FIELDS = {"hostname", "path", "service", "originRequest"}
WAIT_SECONDS = 15


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status, code, message, chain=None):
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message}
        if chain:
            self.error["error_chain"] = [{"code": chain[0], "message": chain[1]}]


def identifier(text):
    """32 hexadecimal digits that are always the same for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


class World:
    """One account, its tunnels, zones and records."""

    def __init__(self, zones, page_cap=1000):
        self.lock = threading.RLock()
        self.token = secrets.token_urlsafe(30)
        self.account = identifier("account")
        self.zones = {identifier("zone " + name): {"id": identifier("zone " + name), "name": name, "status": "active"} for name in zones}
        self.tunnels, self.secrets, self.configurations = {}, {}, {}
        self.records = {zone: {} for zone in self.zones}
        self.page_cap = page_cap
        self.requests, self.failures = [], []
        self.connections = {}

    # ---- requests ----------------------------------------------------------------------------------------------------

    def answer(self, method, target, headers, body):
        """:returns: (status, envelope, headers)"""
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        with self.lock:
            self.requests.append({"method": method, "path": parts.path[len(PREFIX):], "query": query, "status": None})
            entry = self.requests[-1]
            try:
                status, envelope, more = self._answer(method, parts.path, query, headers, body)
            except Problem as problem:
                status, more = problem.status, {}
                envelope = {"success": False, "errors": [problem.error], "messages": [], "result": None}
            entry["status"] = status
            return status, envelope, more

    def _answer(self, method, path, query, headers, body):
        self.check_token(headers.get("Authorization"), headers)
        failure = next((item for item in self.failures if item["times"] > 0 and method in item.get("methods", [method]) and item.get("path", "") in path), None)
        if failure:
            failure["times"] -= 1
            if failure.get("after"):
                # The change is made, and its answer is lost.
                self.route(method, path[len(PREFIX):], query, headers, body)
            return failure["status"], failure.get("body", {"success": False, "errors": [{"code": 971, "message": "Please wait"}]}), failure.get("headers", {})
        if not path.startswith(PREFIX + "/"):
            raise Problem(400, 7000, "No route for that URI")
        result, info = self.route(method, path[len(PREFIX):], query, headers, body)
        envelope = {"success": True, "errors": [], "messages": [], "result": result}
        if info:
            envelope["result_info"] = info
        return 200, envelope, {}

    def check_token(self, value, headers):
        if value is None:
            if headers.get("X-Auth-Key"):
                raise Problem(403, 9103, "Unknown X-Auth-Key or X-Auth-Email")
            raise Problem(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        scheme, unused, token = value.partition(" ")
        if scheme != "Bearer" or not TOKEN.match(token):
            raise Problem(400, 6003, "Invalid request headers", (6111, "Invalid format for Authorization header"))
        if not secrets.compare_digest(token, self.token):
            raise Problem(403, 9109, "Invalid access token")

    def route(self, method, path, query, headers, body):
        parts = path.strip("/").split("/")
        document = self.document(method, headers, body)
        if parts[0] == "accounts" and len(parts) >= 3 and parts[2] == "cfd_tunnel":
            self.check_id(path, parts[1])
            if parts[1] != self.account:
                raise Problem(403, 10000, "Authentication error")
            return self.tunnel_route(method, path, parts[3:], query, document)
        if parts == ["zones"] and method == "GET":
            self.check_query(query, {"name", "account.id", "status"})
            return self.page([zone for zone in self.zones.values() if query.get("name", zone["name"]) == zone["name"]], query, 5, 50)
        if parts[0] == "zones" and len(parts) in (3, 4) and parts[2] == "dns_records":
            self.check_id(path, parts[1])
            if parts[1] not in self.zones:
                raise Problem(403, 9109, "Unauthorized to access requested resource")
            return self.record_route(method, path, self.zones[parts[1]], parts[3:], query, document)
        raise Problem(400, 7000, "No route for that URI")

    @staticmethod
    def document(method, headers, body):
        if method not in ("POST", "PUT", "PATCH"):
            return None
        if headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise Problem(400, 6003, "Invalid request headers", (6005, "Content-Type must be application/json"))
        try:
            found = json.loads(body)
        except ValueError:
            raise Problem(400, 9207, "Request body is not valid JSON") from None
        if not isinstance(found, dict):
            raise Problem(400, 9207, "Request body is no object")
        return found

    @staticmethod
    def check_id(path, value):
        if not re.match(r"^[0-9a-f]{32}\Z", value):
            raise Problem(404, 7003, "Could not route to %s, perhaps your object identifier is invalid?" % (PREFIX + path))

    @staticmethod
    def check_query(query, known):
        unknown = sorted(set(query) - known - {"page", "per_page"})
        if unknown:
            raise Problem(400, 1001, "unknown filter: %s" % ", ".join(unknown))

    @staticmethod
    def check_fields(document, known):
        unknown = sorted(set(document) - known)
        if unknown:
            raise Problem(400, 1001, "unknown field: %s" % ", ".join(unknown))

    def page(self, entries, query, least, most):
        try:
            number, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        except ValueError:
            raise Problem(400, 6007, "Malformed paging") from None
        if number < 1 or not least <= size <= most:
            raise Problem(400, 6008, "per_page must be %d to %d, page at least 1" % (least, most))
        size = min(size, self.page_cap)
        part = entries[(number - 1) * size:number * size]
        return copy.deepcopy(part), {"page": number, "per_page": size, "count": len(part), "total_count": len(entries)}

    # ---- tunnels -----------------------------------------------------------------------------------------------------

    def tunnel_route(self, method, path, parts, query, document):
        if not parts and method == "GET":
            self.check_query(query, {"name", "is_deleted", "uuid", "include_prefix", "exclude_prefix", "existed_at", "status"})
            wanted = {"true": True, "false": False}.get(query.get("is_deleted"))
            return self.page([self.shown(tunnel) for tunnel in self.tunnels.values() if query.get("name", tunnel["name"]) == tunnel["name"]
                              and (wanted is None or bool(tunnel["deleted_at"]) == wanted)], query, 1, 1000)
        if not parts and method == "POST":
            return self.create_tunnel(document), None
        tunnel = self.tunnels.get(parts[0]) if parts else None
        if tunnel is None or (tunnel["deleted_at"] and method != "GET"):
            raise Problem(404, 1001, "tunnel not found")
        rest = parts[1:]
        if not rest and method == "GET":
            return self.shown(tunnel), None
        if not rest and method == "DELETE":
            if self.live(tunnel["id"]):
                raise Problem(400, 1022, "Cannot delete tunnel because it has active connections")
            tunnel["deleted_at"] = now()
            return self.shown(tunnel), None
        if rest == ["token"] and method == "GET":
            return self.run_token(tunnel["id"]), None
        if rest == ["connections"] and method == "DELETE":
            for connection in self.connections.pop(tunnel["id"], []):
                connection.close()
            return {}, None
        if rest == ["configurations"] and method == "GET":
            return {"tunnel_id": tunnel["id"], "version": 0, "config": copy.deepcopy(self.configurations.get(tunnel["id"]))}, None
        if rest == ["configurations"] and method == "PUT":
            if not tunnel["remote_config"]:
                raise Problem(400, 1056, "tunnel is configured locally")
            self.check_fields(document, {"config"})
            self.check_rules((document.get("config") or {}).get("ingress"))
            self.configurations[tunnel["id"]] = document["config"]
            return {"tunnel_id": tunnel["id"], "version": 1, "config": document["config"]}, None
        raise Problem(405, 7001, "Method %s not available for that URI" % method)

    def create_tunnel(self, document):
        self.check_fields(document, TUNNEL_FIELDS)
        name, source = document.get("name"), document.get("config_src", "local")
        if not isinstance(name, str) or not name.strip():
            raise Problem(400, 1003, "tunnel name is required")
        if source not in ("local", "cloudflare"):
            raise Problem(400, 1003, "config_src must be local or cloudflare")
        secret = document.get("tunnel_secret")
        try:
            raw = base64.b64decode(secret.encode("ascii"), validate=True) if secret is not None else secrets.token_bytes(32)
        except (AttributeError, UnicodeEncodeError, binascii.Error):
            raise Problem(400, 1002, "tunnel_secret must be base64") from None
        if len(raw) < 32:
            raise Problem(400, 1002, "tunnel_secret must have at least 32 bytes")
        if any(tunnel["name"] == name and not tunnel["deleted_at"] for tunnel in self.tunnels.values()):
            raise Problem(409, 1013, "You already have a tunnel with this name. Delete the existing tunnel, or choose a different name for your new tunnel")
        made = str(uuid.uuid4())
        self.secrets[made] = base64.b64encode(raw).decode()
        self.tunnels[made] = {"id": made, "account_tag": self.account, "name": name, "created_at": now(), "deleted_at": None, "tun_type": "cfd_tunnel",
                              "remote_config": source == "cloudflare", "metadata": {}}
        return dict(self.shown(self.tunnels[made]), token=self.run_token(made), credentials_file={
            "AccountTag": self.account, "TunnelID": made, "TunnelName": name, "TunnelSecret": self.secrets[made]})

    def live(self, tunnel):
        return [connection for connection in self.connections.get(tunnel, []) if connection.alive]

    def shown(self, tunnel):
        live = self.live(tunnel["id"])
        return dict(tunnel, status="healthy" if live else "inactive", connections=[
            {"id": str(uuid.uuid4()), "colo_name": "TST01", "is_pending_reconnect": False, "opened_at": now()} for unused in live])

    def run_token(self, tunnel):
        text = json.dumps({"a": self.account, "t": tunnel, "s": self.secrets[tunnel]}, separators=(",", ":"))
        return base64.b64encode(text.encode()).decode()

    def check_rules(self, rules):
        if not isinstance(rules, list) or not rules:
            raise Problem(400, 1056, "Bad Configuration: no ingress rules")
        for index, rule in enumerate(rules):
            self.check_fields(rule, RULE_FIELDS)
            last = index == len(rules) - 1
            if not rule.get("service"):
                raise Problem(400, 1056, "Bad Configuration: rule #%d has no service" % (index + 1))
            if bool(rule.get("hostname") or rule.get("path")) == last:
                raise Problem(400, 1056, "Bad Configuration: The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)")

    # ---- records -----------------------------------------------------------------------------------------------------

    def record_route(self, method, path, zone, parts, query, document):
        records = self.records[zone["id"]]
        if not parts and method == "GET":
            self.check_query(query, {"name", "type", "content", "comment", "proxied", "name.exact", "content.exact", "order", "direction", "match"})
            return self.page([record for record in records.values() if all(
                str(record.get(key.split(".")[0])).lower() == value.lower() for key, value in query.items() if key.split(".")[0] in record)], query, 5, 5000000)
        if not parts and method == "POST":
            record = self.checked(zone, dict({"ttl": 1, "proxied": False, "comment": None}, **document), None)
            record.update(id=identifier("record %s" % uuid.uuid4()), created_on=now(), modified_on=now())
            records[record["id"]] = record
            return copy.deepcopy(record), None
        if len(parts) != 1:
            raise Problem(405, 7001, "Method %s not available for that URI" % method)
        self.check_id(path, parts[0])
        if parts[0] not in records:
            raise Problem(404, 81044, "Record does not exist.")
        old = records[parts[0]]
        if method == "GET":
            return copy.deepcopy(old), None
        if method == "DELETE":
            del records[parts[0]]
            return {"id": parts[0]}, None
        if method in ("PATCH", "PUT"):
            self.check_fields(document, RECORD_FIELDS)
            before = old if method == "PATCH" else {"ttl": 1, "proxied": False, "comment": None}
            merged = dict({key: value for key, value in before.items() if key in RECORD_FIELDS}, **document)
            records[parts[0]] = dict(old, **dict(self.checked(zone, merged, parts[0]), modified_on=now()))
            return copy.deepcopy(records[parts[0]]), None
        raise Problem(405, 7001, "Method %s not available for that URI" % method)

    def checked(self, zone, document, own):
        """A record that the zone can take, whole. :arg own: str, the id of the record that it replaces."""
        self.check_fields(document, RECORD_FIELDS)
        for field in ("type", "name", "content"):
            if not document.get(field):
                raise Problem(400, 1004, "DNS Validation Error", (9000, "DNS record has no %s" % field))
        name = document["name"].lower()
        if name == "@" or not (name == zone["name"] or name.endswith("." + zone["name"])):
            name = zone["name"] if name == "@" else "%s.%s" % (name, zone["name"])
        if not HOSTNAME.match(name):
            raise Problem(400, 1004, "DNS Validation Error", (9000, "DNS name is invalid."))
        kind, content, ttl = document["type"], document["content"], document["ttl"]
        if kind in ("A", "AAAA"):
            try:
                ipaddress.IPv4Address(content) if kind == "A" else ipaddress.IPv6Address(content)
            except ValueError:
                raise Problem(400, 9005, "Content for %s record must be a valid IPv%d address." % (kind, 4 if kind == "A" else 6)) from None
        elif kind == "CNAME" and not HOSTNAME.match(content.lower()):
            raise Problem(400, 9007, "Content for CNAME record is invalid.")
        elif kind not in ("CNAME", "TXT", "NS", "MX"):
            raise Problem(400, 1004, "DNS Validation Error", (9004, "Invalid type"))
        if not isinstance(ttl, int) or isinstance(ttl, bool) or (ttl != 1 and not 60 <= ttl <= 86400):
            raise Problem(400, 9021, "Invalid TTL. Must be between 60 and 86,400 seconds, or 1 for Automatic.")
        if document["proxied"] and kind not in ("A", "AAAA", "CNAME"):
            raise Problem(400, 9041, "This DNS record cannot be proxied.")
        if kind == "CNAME" and content.endswith(".cfargotunnel.com") and not document["proxied"] and own is None:
            raise Problem(400, 9043, "A record that targets a tunnel must be proxied.")
        if len(document["comment"] or "") > 100:
            raise Problem(400, 9313, "DNS record comment exceeds 100 characters.")
        others = [record for record in self.records[zone["id"]].values() if record["name"] == name and record["id"] != own]
        if any(record["type"] == kind and record["content"] == content for record in others):
            raise Problem(400, 81058, "An identical record already exists.")
        if kind == "CNAME" and any(record["type"] in ("A", "AAAA", "CNAME") for record in others):
            raise Problem(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
        if kind in ("A", "AAAA", "NS") and any(record["type"] == "CNAME" for record in others):
            raise Problem(400, 81054, "A CNAME record with that host already exists.")
        return {"type": kind, "name": name, "content": content, "ttl": 1 if document["proxied"] else ttl, "proxied": bool(document["proxied"]),
                "proxiable": kind in ("A", "AAAA", "CNAME"), "comment": document["comment"], "zone_id": zone["id"], "zone_name": zone["name"]}

    # ---- the edge ----------------------------------------------------------------------------------------------------

    def connector_of(self, hostname):
        """A connection for a hostname by the records as they are, or the error that a visitor would see."""
        with self.lock:
            found = [record for zone in self.records.values() for record in zone.values() if record["name"] == hostname]
            if not found:
                return None, (530, "error 1016: no DNS record")
            record = found[0]
            match = re.match(r"^([0-9a-f-]{36})\.cfargotunnel\.com\Z", record["content"])
            if record["type"] != "CNAME" or not match or not record["proxied"]:
                return None, (530, "error 1016: %s %s is no proxied alias to a tunnel" % (record["type"], record["content"]))
            live = self.live(match.group(1))
            return (live[0], None) if live else (None, (530, "error 1033: no connection of tunnel %s" % match.group(1)))


class Connection:
    """One connection of a cloudflared: JSON lines both ways, one request at a time."""

    def __init__(self, stream):
        self.stream = stream
        self.file = stream.makefile("rwb")
        self.lock = threading.Lock()
        self.alive = True

    def send(self, message):
        self.file.write(json.dumps(message).encode() + b"\n")
        self.file.flush()

    def read(self):
        line = self.file.readline(64 << 20)
        if not line:
            raise OSError("the connection ended")
        return json.loads(line)

    def ask(self, request):
        with self.lock:
            try:
                self.send(request)
                return self.read()
            except (OSError, ValueError):
                self.close()
                return {"status": 502, "headers": [], "body": ""}

    def close(self):
        self.alive = False
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve_connections(world, listener):
    """Take connections of cloudflared for ever."""
    def one(stream):
        stream.settimeout(WAIT_SECONDS)
        connection = Connection(stream)
        try:
            hello = connection.read()
            with world.lock:
                tunnel = world.tunnels.get(hello.get("tunnel")) or {}
                right = (hello.get("account") == world.account and not tunnel.get("deleted_at", True)
                         and world.secrets.get(hello["tunnel"]) == hello.get("secret"))
                connection.send({"registered": bool(right), "error": None if right else "Unauthorized: Invalid tunnel secret",
                                 "config": world.configurations.get(hello.get("tunnel")) if right and tunnel["remote_config"] else None})
                if right:
                    world.connections.setdefault(tunnel["id"], []).append(connection)
        except (OSError, ValueError, KeyError):
            connection.close()
            return
        while connection.alive:
            time.sleep(1)
            # A ping finds out that the other side is gone.
            if connection.lock.acquire(blocking=False):
                try:
                    connection.send({"ping": True})
                    connection.read()
                except (OSError, ValueError):
                    connection.close()
                finally:
                    connection.lock.release()

    while True:
        stream, unused = listener.accept()
        threading.Thread(target=one, args=(stream,), daemon=True).start()


def handler_of(world):
    """The HTTP handler of the API, the visitors' side of the edge, and the tests' own part."""

    class Handler(http.server.BaseHTTPRequestHandler):
        """By Host header: a known hostname is a visitor's request, all else the API's."""

        protocol_version = "HTTP/1.1"
        # A head and a body are two packets; waiting for the first to be acknowledged would cost 40 ms.
        disable_nagle_algorithm = True

        def handle_any(self):
            """One request."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith(PREFIX):
                status, envelope, more = world.answer(self.command, self.path, self.headers, body)
                self.reply(status, json.dumps(envelope).encode(), dict(more, **{"Content-Type": "application/json"}))
            elif self.path.startswith("/stand-in/"):
                self.reply(200, json.dumps(self.own(body)).encode(), {"Content-Type": "application/json"})
            else:
                connection, error = world.connector_of((self.headers.get("Host") or "").split(":")[0])
                if error:
                    self.reply(error[0], error[1].encode(), {})
                    return
                answer = connection.ask({"method": self.command, "path": self.path, "headers": list(self.headers.items()),
                                         "body": base64.b64encode(body).decode()})
                self.reply(answer["status"], base64.b64decode(answer["body"]), {key: value for key, value in answer["headers"] if key.lower() not in (
                    "content-length", "transfer-encoding", "connection", "date", "server")})

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def own(self, body):
            """What a test asks: state (no secret is in it), secrets, fail, change (a record, behind everybody's back)."""
            with world.lock:
                if self.path == "/stand-in/state":
                    return {"tunnels": [world.shown(tunnel) for tunnel in world.tunnels.values()], "configurations": world.configurations,
                            "records": [record for zone in world.records.values() for record in zone.values()], "requests": world.requests}
                if self.path == "/stand-in/secrets":
                    return {"api_token": world.token, "secrets": list(world.secrets.values()), "tokens": [world.run_token(tunnel) for tunnel in world.secrets]}
                if self.path == "/stand-in/fail":
                    world.failures.append(json.loads(body))
                if self.path == "/stand-in/change":
                    wanted = json.loads(body)
                    for zone in world.records.values():
                        for record in zone.values():
                            if record["name"] == wanted["name"]:
                                record.update(wanted)
                return {}

        def reply(self, status, content, headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *unused):
            """Nothing: a test reads the requests from the state."""

    return Handler


def start(world, api_port=0, edge="127.0.0.1:0"):
    """Serve a world in threads. :returns: (port of the API, port of the edge)"""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", api_port), handler_of(world))
    server.daemon_threads = True
    address, unused, port = edge.rpartition(":")
    listener = socket.create_server((address, int(port)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=serve_connections, args=(world, listener), daemon=True).start()
    return server.server_address[1], listener.getsockname()[1]


def write(path, text, mode=0o644):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(text)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--api", type=int, default=0)
    parser.add_argument("--edge", default="127.0.0.1:0")
    parser.add_argument("--zone", action="append", default=[])
    parser.add_argument("--page-cap", type=int, default=1000)
    parser.add_argument("--daemon", action="store_true")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    if options.daemon:
        reader, writer = os.pipe()
        if os.fork():
            os.close(writer)
            sys.exit(0 if os.read(reader, 1) == b"+" else 1)
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
    world = World(options.zone or ["example.com"], options.page_cap)
    api_port, edge_port = start(world, options.api, options.edge)
    write(os.path.join(options.folder, "token"), world.token, 0o600)
    write(os.path.join(options.folder, "pid"), str(os.getpid()))
    write(os.path.join(options.folder, "ready.json"), json.dumps({
        "api": api_port, "edge": edge_port, "account": world.account, "zones": {zone["name"]: zone["id"] for zone in world.zones.values()}}))
    if options.daemon:
        os.write(writer, b"+")
        os.close(writer)
    threading.Event().wait()


if __name__ == "__main__":
    main()
