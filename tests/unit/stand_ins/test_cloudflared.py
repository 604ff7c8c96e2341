# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in cloudflared is strict, and takes what we write."""

from __future__ import annotations

import base64
import importlib.util
import json
import os

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.filter import tunnel

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
RULES = [
    {"hostname": "a.example.com", "path": "^/api", "service": "http://api.x_front:80"},
    {"hostname": "a.example.com", "service": "https://web.x_front:8443", "ca_pool": "/etc/cloudflared/ca/x.pem", "server_name": "pi"},
    {"hostname": "*.example.com", "service": "https://web.y:1", "no_tls_verify": True, "connect_timeout": "5s", "host_header": "y", "http2": True},
]


@pytest.fixture(name="program", scope="module")
def fixture_program():
    spec = importlib.util.spec_from_file_location("stand_in_cloudflared", os.path.join(ROOT, "tests", "hosts", "images", "cloudflared", "cloudflared.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="validate")
def fixture_validate(program, tmp_path):
    """Validate a document as `tunnel ingress validate` does."""
    def validate(document):
        path = tmp_path / "config.yml"
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        program.main(["tunnel", "--config", str(path), "ingress", "validate"])
        return program.check_rules(program.read_config(str(path)))
    return validate


def test_what_the_role_writes_is_valid(program, validate):
    found = tunnel.tunnel_release([], RULES, "pi", "local", "the-id", {"networks": [], "metrics_port": 1, "environment": {}, "checksums": {}}, {})
    rules = validate(next(entry["content"] for entry in found["files"] if entry["path"] == "config.yml"))
    matched = [program.rule_for(rules, host, path)["service"] for host, path in (
        ("a.example.com", "/api/x"), ("a.example.com", "/x"), ("b.example.com", "/"), ("example.org", "/"))]
    assert matched == ["http://api.x_front:80", "https://web.x_front:8443", "https://web.y:1", "http_status:404"]


LAST = {"service": "http_status:404"}


@pytest.mark.parametrize("document, told", [
    ({"ingress": []}, "doesn't contain any ingress rules"),
    ({"ingress": [{"hostname": "a.example.com", "service": "http://x"}]}, "The last ingress rule must match all URLs"),
    ({"ingress": [{"service": "http://x"}, LAST]}, "will match every hostname"),
    ({"ingress": [{"hostname": "a.example.com:80", "service": "http://x"}, LAST]}, "cannot contain a port"),
    ({"ingress": [{"hostname": "a.*.com", "service": "http://x"}, LAST]}, "at most one wildcard"),
    ({"ingress": [{"hostname": "a", "service": "x:80/path"}, LAST]}, "is an invalid address"),
    ({"ingress": [{"hostname": "a", "service": "http://x/path"}, LAST]}, "different path"),
    ({"ingress": [{"hostname": "a", "service": "http_status:x"}, LAST]}, "invalid HTTP status"),
    ({"ingress": [{"hostname": "a", "service": "http://x", "noTLSVerify": True}, LAST]}, "field not found"),
    ({"ingress": [{"hostname": "a", "service": "http://x", "originRequest": {"noTlsVerify": True}}, LAST]}, "noTlsVerify is unknown"),
    ({"ingress": [{"hostname": "a", "service": "http://x", "originRequest": {"noTLSVerify": "yes"}}, LAST]}, "wrong type"),
    ({"ingress": [{"hostname": "a", "service": "http://x", "originRequest": {"connectTimeout": "soon"}}, LAST]}, "invalid duration"),
    ({"ingress": [{"hostname": "a", "path": "(", "service": "http://x"}, LAST]}, "invalid regex"),
    ({"ingress": [LAST], "tunel": "x"}, "field tunel not found"),
    ("ingress: [", "error parsing YAML"),
])
def test_what_is_wrong_is_an_error(program, validate, document, told):
    with pytest.raises(program.Fatal, match=told):
        validate(document)


@pytest.mark.parametrize("words, told", [
    (["tunnel", "--confg", "x", "run"], "flag provided but not defined"), (["tunnel", "--config"], "flag needs an argument"),
    (["tunnel", "start"], "Incorrect Usage"),
    (["tunnel", "run"], "requires the ID or name of the tunnel"), (["tunnel", "--token", "nonsense", "run"], "Provided Tunnel token is not valid"),
    (["tunnel", "--metrics", "127.0.0.1:1", "ready"], "Get \"http://127.0.0.1:1/ready\""), (["tunnel", "ready"], "--metrics has to be provided"),
])
def test_the_command_line_is_checked(program, monkeypatch, words, told):
    for name in [name for name in os.environ if name.startswith("TUNNEL_")]:
        monkeypatch.delenv(name)
    with pytest.raises(program.Fatal, match=told):
        program.main(words)


def test_credentials_by_file_and_by_token(program, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"AccountTag": "a", "TunnelID": "t", "TunnelSecret": "s"}))
    (tmp_path / "token").write_text(base64.b64encode(json.dumps({"a": "a", "t": "t", "s": "s"}).encode()).decode() + "\n")
    wanted = {"account": "a", "tunnel": "t", "secret": "s"}
    assert program.credentials_of({}, {"tunnel": "t", "credentials-file": str(tmp_path / "c.json")}) == wanted
    assert program.credentials_of({"token-file": str(tmp_path / "token")}, {}) == wanted
    with pytest.raises(program.Fatal, match="is not the one of the credentials"):
        program.credentials_of({}, {"tunnel": "other", "credentials-file": str(tmp_path / "c.json")})
