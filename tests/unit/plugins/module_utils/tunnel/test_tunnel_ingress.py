# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingress rules."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import ingress


def rule(hostname="a.example.com", service="http://web:8080", **keys):
    return dict({"hostname": hostname, "service": service, "from": "stack x"}, **keys)


def test_the_catch_all_is_last_and_paths_come_first_and_wildcards_late():
    rules = [rule("*.example.com"), rule("b.example.com"), rule("*.deep.example.com"), rule("a.example.com"), rule("a.example.com", path="^/api")]
    found = ingress.entries(rules)
    assert [(entry.get("hostname"), entry.get("path")) for entry in found] == [
        ("a.example.com", "^/api"), ("b.example.com", None), ("a.example.com", None), ("*.deep.example.com", None), ("*.example.com", None), (None, None)]
    assert found[-1] == {"service": "http_status:404"}


def test_without_rules_only_the_catch_all_is_left():
    assert ingress.entries([]) == [{"service": "http_status:404"}]


def test_the_origin_is_verified_by_its_ca_or_not_at_all():
    found = ingress.entries([rule(service="https://web:8443", ca_pool="/ca.pem", server_name="pi"), rule("b.example.com", "https://web:1", no_tls_verify=True),
                             rule("c.example.com", no_tls_verify=False)])
    assert [entry.get("originRequest") for entry in found] == [{"caPool": "/ca.pem", "originServerName": "pi"}, {"noTLSVerify": True}, None, None]


def test_the_configuration_names_the_tunnel_unless_its_token_does():
    assert ingress.configuration([rule()], "id", "/c.json") == {
        "tunnel": "id", "credentials-file": "/c.json", "ingress": [{"hostname": "a.example.com", "service": "http://web:8080"}, {"service": "http_status:404"}]}
    assert list(ingress.configuration([rule()])) == ["ingress"]


@pytest.mark.parametrize("bad, told", [
    (rule(hostname=""), "ingress rule of stack x: found no hostname; needed the name under which the service is reached; set its hostname"),
    ({"service": "http://web"}, "ingress rule of tunnel_ingress[0]: found no hostname"),
    (rule(hostname="x"), "found 'x', which is no hostname"),
    (rule(service=""), "found no service"),
    (rule(service="web:8080"), "found 'web:8080', which is no address; needed scheme://host:port with one of http, https"),
    (rule(service="http://web:8080/path"), "which has a path"),
    (rule(service="http://web:99999"), "whose port is none"),
    (rule(service="gopher://web"), "which is no address"),
    (rule(path="("), "found the path '('; needed a regular expression"),
    (rule(connect_timeout="soon"), "needed a duration such as 30s"),
    (rule(no_tls_verify=True, ca_pool="/x"), "found both no_tls_verify and a CA"),
    (rule(noTLSVerify=True), "found the unknown key noTLSVerify; needed one of: ca_pool"),
])
def test_what_is_wrong_is_told_once(bad, told):
    problems = ingress.problems_of([bad])
    assert len(problems) == 1 and told in problems[0]


def test_two_rules_for_one_hostname_name_each_other():
    problems = ingress.problems_of([rule(), rule(**{"from": "stack y"}), rule(path="^/x"), rule(path="^/x", **{"from": "stack z"})])
    assert problems == [
        "ingress rule of stack y: found the hostname a.example.com, which the ingress rule of stack x has too; needed one rule for it; change one of the two",
        "ingress rule of stack z: found the hostname a.example.com with the path ^/x, which the ingress rule of stack x has too; needed one rule for it; "
        "change one of the two"]


@pytest.mark.parametrize("service", ["http://web:8080", "https://nginx.inventory_frontend:8443", "tcp://[::1]:22", "http_status:503", "unix:/run/x.sock",
                                     "ssh://host"])
def test_good_services(service):
    assert ingress.problems_of([rule(service=service)]) == []
