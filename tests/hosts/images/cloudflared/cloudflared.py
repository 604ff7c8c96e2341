# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for cloudflared 2025.11: its command line, configuration, credentials, metrics address, and what a visitor's request meets.

Like the real one: `tunnel --config FILE --metrics ADDRESS run`, with credentials from a file or a token; `tunnel ready`;
`tunnel ingress validate` and `rule`; the rules of ingress; origins by HTTP and HTTPS with noTLSVerify, caPool, originServerName,
httpHostHeader; /ready is 200 only with a connection to the edge. Stricter: an unknown key is an error, not a warning. Unlike it: the edge
is the one of tests/stand_ins/cloudflare.py, which speaks JSON lines instead of QUIC; one connection instead of four; no websockets.
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

import yaml

VERSION = "2025.11.1"
# Flags with a value, and the environment variable of each.
VALUED = {"config": None, "metrics": "TUNNEL_METRICS", "credentials-file": "TUNNEL_CRED_FILE", "cred-file": "TUNNEL_CRED_FILE", "token": "TUNNEL_TOKEN",
          "token-file": "TUNNEL_TOKEN_FILE", "edge": "TUNNEL_EDGE", "loglevel": "TUNNEL_LOGLEVEL", "protocol": "TUNNEL_TRANSPORT_PROTOCOL",
          "grace-period": "TUNNEL_GRACE_PERIOD", "retries": "TUNNEL_RETRIES", "url": "TUNNEL_URL", "edge-ip-version": "TUNNEL_EDGE_IP_VERSION"}
SWITCHES = {"no-autoupdate", "version", "help"}
TOP = {"tunnel", "ingress", "originRequest", "warp-routing", "credentials-file", "metrics", "loglevel", "protocol", "no-autoupdate", "grace-period"}
RULE = {"hostname", "path", "service", "originRequest"}
ORIGIN = {"connectTimeout": str, "tlsTimeout": str, "tcpKeepAlive": str, "noHappyEyeballs": bool, "keepAliveConnections": int, "keepAliveTimeout": str,
          "httpHostHeader": str, "originServerName": str, "caPool": str, "noTLSVerify": bool, "disableChunkedEncoding": bool, "http2Origin": bool,
          "matchSNItoHost": bool}


class Fatal(Exception):
    """cloudflared ends with this message."""


def log(level, message):
    print("%s %s %s" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), level, message), file=sys.stderr, flush=True)


# ---- command line --------------------------------------------------------------------------------------------------

def parse(words):
    """:returns: (dict of flags, list of other words)"""
    flags, rest = {}, []
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name in SWITCHES:
            flags[name] = True
        elif name in VALUED:
            if not equals:
                if not words:
                    raise Fatal("Incorrect Usage: flag needs an argument: -%s" % name)
                value = words.pop(0)
            flags[name] = value
        else:
            raise Fatal("Incorrect Usage: flag provided but not defined: -%s" % name)
    for name, variable in VALUED.items():
        if variable and name not in flags and os.environ.get(variable):
            flags[name] = os.environ[variable]
    return flags, rest


# ---- configuration -------------------------------------------------------------------------------------------------

def read_config(path):
    try:
        with open(path, encoding="utf-8") as handle:
            document = yaml.safe_load(handle)
    except OSError as error:
        raise Fatal("error reading config file at %s: %s" % (path, error.strerror)) from None
    except yaml.YAMLError as error:
        raise Fatal("error parsing YAML in config file at %s: %s" % (path, error)) from None
    if not isinstance(document, dict):
        raise Fatal("Configuration file %s was empty" % path)
    unknown = set(document) - TOP
    if unknown:
        raise Fatal("field %s not found in type config.configFileSettings" % ", ".join(sorted(map(str, unknown))))
    return document


def check_rules(document):
    """The rules as cloudflared checks them. :returns: list of dict."""
    rules = document.get("ingress")
    if not rules:
        raise Fatal("The config file doesn't contain any ingress rules")
    for index, rule in enumerate(rules):
        last = index == len(rules) - 1
        if not isinstance(rule, dict) or set(rule) - RULE:
            raise Fatal("Rule #%d: field not found in type config.UnvalidatedIngressRule: %s" % (index + 1, rule))
        for key in ("hostname", "path", "service"):
            if not isinstance(rule.get(key, ""), str):
                raise Fatal("Rule #%d: cannot unmarshal %s into string" % (index + 1, key))
        origin = rule.get("originRequest", {})
        for key, value in origin.items():
            if key not in ORIGIN or not isinstance(value, ORIGIN[key]) or (ORIGIN[key] is int and isinstance(value, bool)):
                raise Fatal("Rule #%d: originRequest.%s is unknown or has the wrong type" % (index + 1, key))
        for key in ("connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout"):
            if key in origin and not re.match(r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+\Z", origin[key]):
                raise Fatal("Rule #%d: time: invalid duration %s" % (index + 1, origin[key]))
        service, hostname = rule.get("service", ""), rule.get("hostname", "")
        if service.startswith("http_status:"):
            if not re.match(r"^[1-9][0-9]{2}\Z", service[12:]):
                raise Fatal("invalid HTTP status: %s" % service[12:])
        elif not service.startswith(("unix:", "unix+tls:")) and service not in ("hello_world", "bastion", "socks-proxy"):
            parts = urllib.parse.urlsplit(service)
            if not parts.scheme or not parts.hostname:
                raise Fatal("%s is an invalid address, please make sure it has a scheme and a hostname" % service)
            if parts.path:
                raise Fatal("%s is an invalid address, ingress rules don't support proxying to a different path on the origin service" % service)
        if re.search(r":[0-9]+\Z", hostname):
            raise Fatal("Hostname cannot contain a port")
        if hostname.rfind("*") > 0:
            raise Fatal("Hostname patterns can have at most one wildcard character (\"*\") and it can only be used for subdomains")
        catches = hostname in ("", "*") and not rule.get("path")
        if last and not catches:
            raise Fatal("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)")
        if catches and not last:
            raise Fatal("Rule #%d is matching the hostname '%s', but this will match every hostname" % (index + 1, hostname))
        if rule.get("path"):
            try:
                re.compile(rule["path"])
            except re.error as error:
                raise Fatal("Rule #%d has an invalid regex: %s" % (index + 1, error)) from None
    return rules


def rule_for(rules, hostname, path):
    """The first rule that fits."""
    for rule in rules:
        wanted = rule.get("hostname", "")
        fits = wanted in ("", "*", hostname) or (wanted.startswith("*.") and hostname.endswith(wanted[1:]))
        if fits and (not rule.get("path") or re.search(rule["path"], path)):
            return rule
    return rules[-1]


# ---- origins -------------------------------------------------------------------------------------------------------

def context_of(origin):
    """The TLS side of an origin. caPool is trusted besides the system's certificates."""
    context = ssl.create_default_context()
    if origin.get("caPool"):
        try:
            context.load_verify_locations(cafile=origin["caPool"])
        except (OSError, ssl.SSLError) as error:
            raise Fatal("Error loading cert pool %s: %s" % (origin["caPool"], error)) from None
    if origin.get("noTLSVerify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def forward(rules, request):
    """A visitor's request to the origin. :returns: dict status, headers, body."""
    headers = [(key, value) for key, value in request["headers"] if key.lower() not in ("connection", "transfer-encoding", "content-length")]
    hostname = next((value for key, value in headers if key.lower() == "host"), "").split(":")[0]
    rule = rule_for(rules, hostname, urllib.parse.urlsplit(request["path"]).path)
    service, origin = rule["service"], rule.get("originRequest", {})
    if service.startswith("http_status:"):
        return {"status": int(service[12:]), "headers": [], "body": ""}
    parts = urllib.parse.urlsplit(service)
    body = base64.b64decode(request["body"])
    try:
        stream = socket.create_connection((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), timeout=30)
        if parts.scheme == "https":
            stream = context_of(origin).wrap_socket(stream, server_hostname=origin.get("originServerName") or parts.hostname)
        connection = http.client.HTTPConnection(parts.hostname)
        connection.sock = stream
        connection.putrequest(request["method"], request["path"], skip_host=True, skip_accept_encoding=True)
        for key, value in headers:
            connection.putheader(key, origin.get("httpHostHeader", value) if key.lower() == "host" else value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return {"status": answer.status, "headers": answer.getheaders(), "body": base64.b64encode(content).decode()}
    except (OSError, http.client.HTTPException, Fatal) as error:
        log("ERR", 'error="Unable to reach the origin service: %s" originService=%s' % (error, service))
        return {"status": 502, "headers": [], "body": ""}


# ---- running -------------------------------------------------------------------------------------------------------

class State:
    """What /ready tells."""

    connections = 0
    requests = 0
    connector = str(uuid.uuid4())


def serve_metrics(address, state):
    """/ready, /metrics and /healthcheck."""
    class Handler(http.server.BaseHTTPRequestHandler):
        """GET only."""

        def do_GET(self):
            """One question."""
            status, kind = 200, "text/plain"
            if self.path == "/ready":
                status, kind = (200 if state.connections else 503), "application/json"
                text = json.dumps({"status": status, "readyConnections": state.connections, "connectorId": state.connector})
            elif self.path == "/metrics":
                text = "# TYPE cloudflared_tunnel_ha_connections gauge\ncloudflared_tunnel_ha_connections %d\ncloudflared_tunnel_total_requests %d\n" % (
                    state.connections, state.requests)
            elif self.path == "/healthcheck":
                text = "OK\n"
            else:
                status, text = 404, ""
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *unused):
            """Nothing."""

    host, unused, port = address.rpartition(":")
    try:
        server = http.server.ThreadingHTTPServer((host.strip("[]") or "0.0.0.0", int(port)), Handler)
    except OSError as error:
        raise Fatal("Error opening metrics server listener: %s" % error) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log("INF", "Starting metrics server on %s/metrics" % address)


def credentials_of(flags, config):
    """:returns: dict account, tunnel, secret"""
    token = flags.get("token")
    if flags.get("token-file"):
        try:
            with open(flags["token-file"], encoding="utf-8") as handle:
                token = handle.read().strip()
        except OSError as error:
            raise Fatal("Failed to read token file: %s" % error) from None
    if token:
        try:
            parts = json.loads(base64.b64decode(token, validate=True))
            return {"account": parts["a"], "tunnel": parts["t"], "secret": parts["s"]}
        except (ValueError, KeyError, TypeError):
            raise Fatal("Provided Tunnel token is not valid.") from None
    path = flags.get("credentials-file") or flags.get("cred-file") or config.get("credentials-file")
    if not config.get("tunnel"):
        raise Fatal('"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.')
    if not path:
        raise Fatal("Tunnel credentials file not found")
    try:
        with open(path, encoding="utf-8") as handle:
            found = json.load(handle)
    except (OSError, ValueError) as error:
        raise Fatal("Tunnel credentials file '%s' doesn't exist or is not a file: %s" % (path, error)) from None
    if found["TunnelID"] != config["tunnel"]:
        raise Fatal("tunnel %s is not the one of the credentials" % config["tunnel"])
    return {"account": found["AccountTag"], "tunnel": found["TunnelID"], "secret": found["TunnelSecret"]}


def connect(edge, credentials, rules, state):
    """One connection to the edge until it ends."""
    host, unused, port = edge.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        stream.settimeout(30)
        file = stream.makefile("rwb")

        def send(message):
            file.write(json.dumps(message).encode() + b"\n")
            file.flush()
        send(credentials)
        hello = json.loads(file.readline() or b"{}")
        if not hello.get("registered"):
            log("ERR", 'Register tunnel error from server side error="%s"' % hello.get("error"))
            return
        if hello.get("config"):
            # Cloudflare's rules go before those of the file.
            rules = check_rules(hello["config"])
        log("INF", "Registered tunnel connection connIndex=0")
        state.connections = 1
        try:
            for line in iter(lambda: file.readline(64 << 20), b""):
                message = json.loads(line)
                if message.get("ping"):
                    send({"pong": True})
                else:
                    state.requests += 1
                    send(forward(rules, message))
        finally:
            state.connections = 0


def run(flags):
    """`tunnel run`."""
    config = read_config(flags["config"]) if flags.get("config") else {}
    rules = check_rules(config) if config.get("ingress") else [{"service": "http_status:503"}]
    for rule in rules:
        context_of(rule.get("originRequest", {}))
    credentials = credentials_of(flags, config)
    log("INF", "Version %s" % VERSION)
    log("INF", "Starting tunnel tunnelID=%s" % credentials["tunnel"])
    state = State()
    serve_metrics(flags.get("metrics") or config.get("metrics") or "localhost:20241", state)
    signal.signal(signal.SIGTERM, lambda *unused: os._exit(0))
    signal.signal(signal.SIGINT, lambda *unused: os._exit(0))
    while True:
        try:
            if not flags.get("edge"):
                raise OSError("lookup _v2-origintunneld._tcp.argotunnel.com: no such host")
            connect(flags["edge"], credentials, rules, state)
        except (OSError, ValueError) as error:
            log("ERR", 'Serve tunnel error error="%s"' % error)
        time.sleep(1)


def ready(flags):
    """`tunnel ready`."""
    host, unused, port = flags.get("metrics", "").rpartition(":")
    if not host:
        raise Fatal("--metrics has to be provided")
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/ready")
        answer = connection.getresponse()
    except OSError as error:
        raise Fatal('Get "http://%s:%s/ready": %s' % (host, port, error)) from None
    if answer.status != 200:
        raise Fatal("http://%s:%s/ready endpoint returned status code %d\n%s" % (host, port, answer.status, answer.read().decode()))


def main(words):
    """The command line."""
    flags, rest = parse(words)
    if rest[:1] == ["version"] or flags.get("version"):
        print("cloudflared version %s (stand-in)" % VERSION)
    elif rest == ["tunnel", "run"]:
        run(flags)
    elif rest == ["tunnel", "ready"]:
        ready(flags)
    elif rest == ["tunnel", "ingress", "validate"]:
        print("Validating rules from %s" % flags.get("config"))
        check_rules(read_config(flags.get("config", "")))
        print("OK")
    elif rest[:3] == ["tunnel", "ingress", "rule"] and len(rest) == 4:
        url = urllib.parse.urlsplit(rest[3])
        rules = check_rules(read_config(flags.get("config", "")))
        rule = rule_for(rules, url.hostname or "", url.path)
        print("Matched rule #%d\n%s" % (rules.index(rule), yaml.safe_dump(rule, sort_keys=False)))
    else:
        raise Fatal("Incorrect Usage: %s" % " ".join(rest))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Fatal as fatal:
        print(fatal, file=sys.stderr)
        sys.exit(1)
