# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import offline


@pytest.mark.parametrize("url, hosts", [
    ("https://Example.ORG:8443/a?b=http://c", ["example.org"]),
    ("http://user:pass@host.example/x", ["host.example"]),
    ("mongodb://a.example:27017,b.example:27017/db", ["a.example", "b.example"]),
    ("https://[2001:db8::1]:443/", ["2001:db8::1"]),
    ("https://example.org./", ["example.org"]),
    ("file:///etc/passwd", []),
    ("unix:///run/x.sock", []),
    ("http://", []),
])
def test_hosts_of(url, hosts):
    assert offline.hosts_of(url) == hosts


@pytest.mark.parametrize("host", ["localhost", "db", "127.0.0.1", "::1", "10.1.2.3", "192.168.0.7", "172.20.0.1", "169.254.1.1", "fd00::1", "fe80::1",
                                  "nas.local", "api.internal", "host.docker.internal", "box.home.arpa", "registry.site.example", "deep.wild.example"])
def test_inside(host):
    assert not offline.is_outside(host, ["registry.site.example", "*.wild.example"])


@pytest.mark.parametrize("host", ["example.org", "huggingface.co", "8.8.8.8", "2606:4700::1111", "wild.example", "registry.site.example.org",
                                  "xregistry.site.example",
                                  "172.32.0.1", "a.notinternal"])
def test_outside(host):
    assert offline.is_outside(host, ["registry.site.example", "*.wild.example"])


def test_a_service_of_the_stack_may_have_any_name():
    assert not offline.is_outside("my.db", [], {"my.db"}) and offline.is_outside("my.db", [])


@pytest.mark.parametrize("text, found", [
    ("see https://a.example/x, and (http://b.example).", ["https://a.example/x", "http://b.example"]),
    ("https://a.example/x https://a.example/x", ["https://a.example/x"]),
    ("https://user:secret@a.example/x?token=t", ["https://a.example/x?..."]),
    ("wss://a.example/socket", ["wss://a.example/socket"]),
    ("http://db:5432 postgresql://10.0.0.1/x nothing", []),
    ("${URL:-https://a.example/x}", ["https://a.example/x"]),
    ("sed s#https?://[^/]+/debian##", []),
    ("mongodb://db,a.example/x", ["mongodb://db,a.example/x"]),
])
def test_outside_urls(text, found):
    assert offline.outside_urls(text, []) == found


DEFINITION = {"name": "my-shop", "images": {"web": {"build": {"recipe": "web", "args": {"INDEX": {"setting": "INDEX"}, "BOTH": {"setting": "BOTH"}}}}},
              "settings": {"INDEX": {}, "BOTH": {}, "API": {}}}
DOCUMENTS = [{"services": {"web": {"image": "x", "environment": {"B": "${BOTH}", "A": "${API}"}}, "db.site.example.org": {"image": "y"}}}]


def problems(settings=None, env=None, given=None, documents=None, contents=None, allowed=()):
    return offline.variable_problems(DEFINITION, documents or DOCUMENTS, contents or {}, settings or {}, env or {}, given or {}, list(allowed))


def test_a_setting():
    assert problems({"API": "https://api.example/v1"}) == [
        "my-shop, setting API: found https://api.example/v1; needed nothing outside in the environment offline; correct dockyard_settings_my_shop.API, "
        "or name its host in dockyard_offline_hosts if this host reaches it without the internet"]
    assert problems({"API": "https://api.example/v1"}, allowed=["api.example"]) == []
    assert problems({"API": "http://10.0.0.9/v1"}) == [] and problems({"API": ""}) == []


def test_a_setting_that_only_a_build_reads_counts_for_that_image_alone():
    assert problems({"INDEX": "https://index.example/simple"}) == []
    assert len(problems({"BOTH": "https://index.example/simple"})) == 1
    assert len(problems({"INDEX": "https://index.example/simple"}, contents={"conf": "x {{ settings.INDEX }}"})) == 1


def test_the_environment_of_a_service_says_whose_value_it_is():
    found = problems(env={"web": {"HUB": "https://hub.example", "MINE": "https://mine.example", "DB": "http://db.site.example.org/"}},
                     given={"web": {"MINE": "https://mine.example"}})
    assert len(found) == 2
    assert "environment of web, HUB: found https://hub.example" in found[0] and "override the stack's own value with dockyard_env_my_shop.web.HUB" in found[0]
    assert "MINE" in found[1] and "; correct dockyard_env_my_shop.web.MINE" in found[1]


def test_the_compose_files():
    documents = DOCUMENTS + [{"services": {"web": {"command": ["serve", "--telemetry=https://stats.example/"], "environment": ["X=https://x.example"]}}}]
    found = problems(documents=documents)
    assert any("environment of web in the Compose files: found https://x.example" in text for text in found)
    assert any("command of web in the Compose files: found https://stats.example" in text and "compose.offline.yaml" in text for text in found)


class Set:
    id = "abc"

    def __init__(self, *files):
        self.files = list(files)

    @staticmethod
    def local(item):
        return ("/here", {}) if any(source.get("file") == "here" for source in item["sources"]) else (None, None)


def file(name, *sources, required=True):
    return {"name": name, "required": required, "sources": list(sources)}


ENTRY = {"stack": "my-shop", "name": "models"}
FAR, NEAR = {"url": "https://models.example/m?sig=secret"}, {"url": "http://10.0.0.2/m"}
WHOLE = {"sets": {"my-shop": {"models": {"abc": {"complete": True, "missing_optional": []}}}}}


def artifacts(found, part=None, mirrors=(), allowed=()):
    return offline.artifact_problems(ENTRY, found, part, list(mirrors), list(allowed))


def test_a_file_that_is_nowhere_inside():
    assert artifacts(Set(file("m.bin", FAR), file("n.bin", FAR, NEAR), file("o.bin", {"file": "here"}, FAR), file("p.bin", {"file": "gone"}))) == [
        "my-shop, artifact models, file m.bin: found not in the store of this host, and its sources are https://models.example/m?...; needed the file in the "
        "store, or a source that this host reaches; artifacts_mirrors (controller, host:<name> or a URL), dockyard_artifacts_my_shop.models.manifest, or name "
        "the host in dockyard_offline_hosts"]


def test_a_set_that_is_there_passes():
    assert artifacts(Set(file("m.bin", FAR)), WHOLE) == []
    assert artifacts(Set(file("m.bin", FAR)), {"sets": {"my-shop": {"models": {"abc": {"complete": False}}}}}) != []
    assert artifacts(Set(file("m.bin", FAR)), {"sets": {"my-shop": {"models": {"older": {"complete": True}}}}}) != []


def test_an_optional_file_that_would_be_tried_each_time():
    part = {"sets": {"my-shop": {"models": {"abc": {"complete": True, "missing_optional": ["b.bin"]}}}}}
    found = artifacts(Set(file("a.bin", FAR), file("b.bin", FAR, required=False)), part)
    assert len(found) == 1 and "artifact models, optional file b.bin" in found[0]


@pytest.mark.parametrize("mirrors, count", [(["controller"], 0), (["host:pi"], 0), (["http://10.0.0.3/"], 0), (["https://mirror.example/"], 1)])
def test_a_mirror_inside_stands_for_all_sources(mirrors, count):
    assert len(artifacts(Set(file("m.bin", FAR)), mirrors=mirrors)) == count


def test_a_host_that_is_named_and_a_bucket():
    assert artifacts(Set(file("m.bin", FAR)), allowed=["models.example"]) == []
    assert len(artifacts(Set(file("m.bin", {"s3": "s3://bucket/key"})))) == 1


@pytest.mark.parametrize("text, mirrors, allowed, outside", [
    ("nginx:1.28", [], [], True),
    ("nginx:1.28", ["http://10.0.0.2:5000"], [], False),
    ("nginx:1.28", ["https://mirror.example"], [], True),
    ("nginx:1.28", ["https://mirror.example"], ["mirror.example"], False),
    ("ghcr.io/a/b:1", ["http://10.0.0.2:5000"], [], True),
    ("registry.site.example:5000/a:1", [], [], True),
    ("registry.site.example:5000/a:1", [], ["registry.site.example"], False),
    ("localhost:5000/a:1", [], [], False),
    ("10.0.0.2:5000/a:1", [], [], False),
])
def test_pulls(text, mirrors, allowed, outside):
    found = offline.pull_problem("my-shop, image web", text, parse_reference(text), "not on the host", mirrors, allowed, "set dockyard_images_my_shop.web")
    assert (found is not None) == outside
    if found:
        assert found.startswith("my-shop, image web: found %s (not on the host), which would be pulled from " % text)
        assert "set dockyard_images_my_shop.web" in found and "dockyard_offline_hosts" in found


def indexes(declared, args, allowed=()):
    return offline.index_problems("my-shop, image web", "my-shop", "web", declared, args, "it has to be built here", list(allowed))


def test_indexes():
    assert indexes(["VERSION"], {"VERSION": "1"}) == []
    found = indexes(["PIP_INDEX_URL", "VERSION"], {})
    assert len(found) == 1 and "the public package index (PIP_INDEX_URL is empty)" in found[0] and "set images_pip_index_url" in found[0]
    assert indexes(["PIP_INDEX_URL"], {"PIP_INDEX_URL": "http://10.0.0.2/simple"}) == []
    assert "asks https://pypi.example/simple (PIP_INDEX_URL)" in indexes(["PIP_INDEX_URL"], {"PIP_INDEX_URL": "https://pypi.example/simple"})[0]
    assert "set dockyard_build_args_my_shop.web.TORCH to" in indexes(["TORCH"], {"TORCH": "https://torch.example/cpu"})[0]
    assert indexes(["TORCH"], {"TORCH": "https://torch.example/cpu"}, ["torch.example"]) == []


def test_urls_of_a_dockerfile():
    text = "# https://comment.example\nFROM x\nRUN curl https://get.example/install.sh | sh\nRUN sed 's#https?://[^/]+##'\n"
    found = offline.text_problems("my-shop, image web", text, "it has to be built here", [])
    assert len(found) == 1 and "https://get.example/install.sh" in found[0]


def test_a_tunnel_is_a_connection_to_the_internet():
    entries = [{"rule": {"hostname": "shop.example.org", "from": "stack my-shop, dockyard_settings_my_shop.TUNNEL"}}]
    found = offline.tunnel_problems("my-shop", entries)
    assert len(found) == 1 and "my-shop, tunnel: found the hostname shop.example.org" in found[0] and "dockyard_settings_my_shop.TUNNEL" in found[0]
    assert offline.tunnel_problems("my-shop", []) == []
