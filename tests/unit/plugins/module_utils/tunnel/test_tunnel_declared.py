# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stacks declare for the tunnel."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import declared

SERVICES = {"web": {"networks": ["back", "front"]}, "app": {}, "host": {"network_mode": "host"}, "long": {"networks": {"given": {}}}}
NETWORKS = {"back": {"internal": True}, "front": {}, "given": {"name": "shared"}}


def stack(*tunnel, **keys):
    return dict({"name": "my-shop", "settings": {"SHOP_NAME": {"default": ""}}, "secrets": {"cert": {"readers": [101, 65532]}, "other": {"readers": [0]}},
                 "tunnel": list(tunnel)}, **keys)


def entry(**keys):
    return dict({"hostname": {"setting": "SHOP_NAME"}, "service": "web", "port": 8443}, **keys)


def entries(definition, given=(), **settings):
    return declared.entries(definition, SERVICES, NETWORKS, settings, "/etc/dockyard/stacks/my-shop", "pi", given)


@pytest.mark.parametrize("keys", [{}, {"scheme": "https", "ca": "cert"}, {"scheme": "https", "no_tls_verify": True}, {"hostname": "a.example.com"}])
def test_what_is_right(keys):
    assert declared.check(stack(entry(**keys)), SERVICES) == []


@pytest.mark.parametrize("keys, told", [
    ({"service": "nope"}, "tunnel[0]/service: compose.yaml has no service 'nope'; it has: app, host, long, web"),
    ({"service": "host"}, "'host' has a network_mode"),
    ({"hostname": {"setting": "NOPE"}}, "no setting is named NOPE; there are: SHOP_NAME"),
    ({"hostname": "https://x"}, "tunnel[0]/hostname: found 'https://x', which is a URL"),
    ({"ca": "cert"}, "tunnel[0]/ca: found it with scheme http; needed scheme: https"),
    ({"scheme": "https", "ca": "cert", "no_tls_verify": True}, "found both ca and no_tls_verify"),
    ({"scheme": "https", "ca": "nope"}, "tunnel[0]/ca: found 'nope'; needed one of `secrets`: cert, other"),
    ({"scheme": "https", "ca": "other"}, "found no reader 65532 in secrets/other/readers"),
])
def test_what_is_wrong(keys, told):
    problems = declared.check(stack(entry(**keys)), SERVICES)
    assert len(problems) == 1 and told in problems[0]


def test_a_service_whose_hostname_is_empty_is_not_in_the_tunnel():
    assert entries(stack(entry())) == [] and entries(stack(entry()), SHOP_NAME="") == []


def test_the_origin_is_named_with_its_network_the_first_that_is_not_internal():
    found = entries(stack(entry(), entry(hostname="b.example.com", service="app", port=80), entry(hostname="c.example.com", service="long", port=1)),
                    SHOP_NAME="a.example.com")
    assert [item["rule"]["service"] for item in found] == ["http://web.my-shop_front:8443", "http://app.my-shop_default:80", "http://long.shared:1"]
    assert [item["network"] for item in found] == ["my-shop_front", "my-shop_default", "shared"]
    assert found[0]["rule"]["from"] == "stack my-shop, dockyard_settings_my_shop.SHOP_NAME" and found[1]["rule"]["from"] == "stack my-shop, tunnel[1]"


def test_an_internal_network_is_better_than_none():
    assert declared.network_of({"name": "x"}, {"networks": ["back"]}, NETWORKS) == "x_back"


@pytest.mark.parametrize("given, keys, name", [((), {}, "pi"), (("cert",), {}, "a.example.com"), ((), {"server_name": "n"}, "n")])
def test_an_origin_verified_by_its_certificate(given, keys, name):
    found = entries(stack(entry(scheme="https", ca="cert", **keys)), given, SHOP_NAME="a.example.com")[0]
    assert found["ca_file"] == "/etc/dockyard/stacks/my-shop/secrets/cert.65532"
    assert (found["rule"]["ca_pool"], found["rule"]["server_name"]) == ("/etc/cloudflared/ca/my-shop.pem", name)


def test_rules_of_a_host_name_where_they_are_from():
    rules = declared.rules_of(entries(stack(entry()), SHOP_NAME="a.example.com"), [{"hostname": "a.example.com", "service": "http://x"}])
    problems = declared.problems_of_rules(rules)
    assert len(problems) == 1
    assert problems[0].startswith("ingress rule of tunnel_ingress[0]: found the hostname a.example.com, which the ingress rule of stack my-shop")
