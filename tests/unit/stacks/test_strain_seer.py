# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack `strain_seer`: its data, and the small programs of its image."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition, schema

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "files" / "stacks" / "strain_seer"
RECIPE = STACK / "app"
STAND_IN = ROOT / "tests" / "apps" / "strain_seer"
OVERLAYS = ["development", "staging", "production", "offline"]


def module(name):
    spec = importlib.util.spec_from_file_location("strain_seer_" + name, RECIPE / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


healthcheck = module("healthcheck")
locked = module("locked")
start = module("start")


@pytest.fixture(scope="module", name="stack")
def fixture_stack():
    return yaml.safe_load((STACK / "stack.yml").read_text(encoding="utf-8"))


def compose(environment=None):
    name = "compose.%s.yaml" % environment if environment else "compose.yaml"
    return yaml.safe_load((STACK / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("environment", OVERLAYS)
def test_definition_and_compose_files_fit(stack, environment):
    published = json.loads((ROOT / "files" / "schemas" / "stack.schema.json").read_text(encoding="utf-8"))
    assert schema.validate(stack, published) == []
    assert definition.cross_check(stack, [compose(), compose(environment)], lambda path: (STACK / path).exists()) == []
    assert re.fullmatch(r"[0-9a-f]{40}", stack["source"]["ref"]) and stack["source"]["ref"].startswith("2feaa3f5dee7")


@pytest.mark.parametrize("environment", OVERLAYS)
def test_closed(environment):
    service = compose()["services"]["app"]
    more = compose(environment)["services"]["app"]
    assert service["user"] == "1000:1000" and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True and "privileged" not in {**service, **more} and "user" not in more
    assert more.get("read_only", False) is (environment != "development")
    # HOME and TMPDIR of the image are below it.
    assert environment == "development" or more["tmpfs"] == ["/tmp:mode=1777,size=256m"]
    published = service["ports"] + more.get("ports", [])
    assert published[1:] == (["127.0.0.1:${STRAIN_SEER_DEBUG_PORT:-15684}:5678"] if environment == "development" else [])


def test_a_picture_of_the_largest_size_fits_into_the_tmpfs(stack):
    pattern = stack["settings"]["STRAIN_SEER_UPLOAD_MB"]["pattern"]
    fitting = [number for number in range(0, 1001) if re.fullmatch(pattern, str(number))]
    assert fitting == list(range(1, 101)) and max(fitting) < 256 < int(stack["limits"]["app"]["memory"].rstrip("M"))
    # An analysis takes three, each of which is in memory up to three times; seen with the real source: 980 MB with three of 94 MB.
    assert 3 * 2.8 * max(fitting) + 165 < int(stack["limits"]["app"]["memory"].rstrip("M"))


@pytest.mark.parametrize(("name", "value", "fits"), [
    ("BASE_PATH", "", True), ("BASE_PATH", "strain", True), ("BASE_PATH", "tools/strain-1", True), ("BASE_PATH", "/strain", False),
    ("BASE_PATH", "strain/", False), ("BASE_PATH", "a//b", False), ("BASE_PATH", "a/../b", False), ("BASE_PATH", "a b", False),
    ("PUBLIC_NAME", "seer.example.org", True), ("PUBLIC_NAME", "localhost", True), ("PUBLIC_NAME", "", False), ("PUBLIC_NAME", "https://x", False),
    ("BIND", "127.0.0.1", True), ("BIND", "eth0", False),
])
def test_values_of_settings(stack, name, value, fits):
    assert bool(re.fullmatch(stack["settings"]["STRAIN_SEER_" + name]["pattern"], value)) is fits


def test_proof_and_address_follow_the_base_path(stack):
    paths = [entry["path"] for entry in stack["prove"] + stack["urls"]]
    assert [definition.path_of(path, {"STRAIN_SEER_BASE_PATH": "a/b"}) for path in paths] == ["/a/b/_stcore/health", "/a/b/", "/a/b/"]
    assert [definition.path_of(path, {"STRAIN_SEER_BASE_PATH": ""}) for path in paths] == ["/_stcore/health", "/", "/"]


# -- the recipe -------------------------------------------------------------------------------------------------------------------

def test_the_recipe():
    text = (RECIPE / "Dockerfile").read_text(encoding="utf-8")
    references = {line.split()[-3 if " AS " in line else -1] for line in re.findall(r"^FROM .*$", text, re.M)}
    assert {name for name in references if ":" in name} == {"python:3.12-slim-trixie"}
    stages = re.split(r"^FROM ", text, flags=re.M)
    runs = [stage for stage in stages if stage.startswith(("python:3.12-slim-trixie AS runtime", "runtime\n"))]
    assert len(runs) == 2 and not any(word in stage for stage in runs for word in ("pip", "poetry", "apt-get", "gcc"))
    assert "USER 1000:1000" in runs[0] and "STREAMLIT_BROWSER_GATHER_USAGE_STATS=false" in runs[0]
    assert "--require-hashes" in text and "--only main" in text and "compileall" in text
    assert "<<" not in text and not re.search(r"^#\s*syntax\s*=", text, re.M)


def test_poetry_and_all_that_it_needs_are_pinned():
    lines = [line for line in (RECIPE / "poetry.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert "poetry==2.1.2" in lines and "poetry-plugin-export==1.9.0" in lines


def test_the_readme_has_the_proxy_for_the_port_of_the_stack(stack):
    text = (STACK / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```nginx\n(.*?)```", text, re.S)[1]
    assert "proxy_set_header Upgrade $http_upgrade;" in block and ":%d;" % stack["settings"]["STRAIN_SEER_PORT"]["default"] in block
    assert set(re.findall(r"STRAIN_SEER_[A-Z_]+", text)) <= set(stack["settings"])


def test_the_context_has_no_more_than_the_build_takes():
    lines = (RECIPE / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")][0] == "*"
    assert [line[1:] for line in lines if line.startswith("!")] == ["streamlit_app.py", "strain_analysis*.py", "pyproject.toml", "poetry.lock", "LICENSE"]


# -- the stand-in ------------------------------------------------------------------------------------------------------------------

def test_the_stand_in_has_the_files_of_the_source():
    found = sorted(path.name for path in STAND_IN.iterdir() if path.name != "__pycache__")
    assert found == ["LICENSE", "README.md", "poetry.lock", "pyproject.toml", "strain_analysis_core.py", "strain_analysis_data.py", "strain_analysis_ui.py",
                     "streamlit_app.py"]


def test_the_lock_of_the_stand_in_has_wheels_for_both_platforms():
    packages = (STAND_IN / "poetry.lock").read_text(encoding="utf-8").split("[[package]]")[1:]
    assert len(packages) > 30
    for package in packages:
        wheels = re.findall(r'file = "([^"]+\.whl)", hash = "sha256:[0-9a-f]{64}"', package)
        for machine in ("x86_64", "aarch64"):
            assert [name for name in wheels if name.endswith("-any.whl") or machine in name], package[:60]


# -- what is locked ----------------------------------------------------------------------------------------------------------------

DIGEST = "--hash=sha256:" + "a" * 64


@pytest.mark.parametrize("text", [
    'click==8.1.8 ; python_version == "3.12" \\\n    %s \\\n    %s\n' % (DIGEST, DIGEST), "toml==0.10.2 \\\n    %s\n" % DIGEST,
    "\n# no\ntoml==0.10.2 %s\n" % DIGEST])
def test_a_locked_list(text):
    assert locked.problems(text) == []


@pytest.mark.parametrize(("text", "reason"), [
    ("toml==0.10.2\n", "toml: found no sha256 digest"), ("toml>=0.10 \\\n    %s\n" % DIGEST, "toml: found 'toml>=0.10'"),
    ("toml @ git+https://example.org/toml@main\n", "toml: found 'toml @ git+https"), ("toml==0.10.2 --hash=md5:aa\n", "no sha256 digest"),
    ("", "found no package at all"), ("# nothing\n\n", "found no package at all"), ("a==1 %s\nb==2\n" % DIGEST, "b: found no sha256"),
    ("-e ./here\n", "needed an exact version"),
])
def test_a_list_that_is_not_locked(text, reason):
    assert len(locked.problems(text)) == 1 and reason in locked.problems(text)[0]


# -- the public address --------------------------------------------------------------------------------------------------------------

def test_the_public_address_is_not_looked_for():
    def ask():
        if net_util._external_ip is None:
            raise AssertionError("asked the internet")
        return net_util._external_ip

    net_util = types.SimpleNamespace(_external_ip=None, get_external_ip=ask)
    start.silence(net_util)
    assert net_util.get_external_ip() == ""


@pytest.mark.parametrize("net_util", [types.SimpleNamespace(), types.SimpleNamespace(_external_ip=None, get_external_ip=lambda: "192.0.2.1")])
def test_another_streamlit_is_refused(net_util):
    with pytest.raises(SystemExit, match="mend silence"):
        start.silence(net_util)


# -- the health ----------------------------------------------------------------------------------------------------------------------

class Server:
    """Answers by path: {path: (status, body)}; remembers what was asked."""

    def __init__(self):
        server = self
        self.answers, self.asked = {}, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                status, body = server.answers.get(self.path, (200, "<html><script></script></html>"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format, *args):  # pylint: disable=redefined-builtin
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(name="server")
def fixture_server(monkeypatch, tmp_path):
    server = Server()
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", str(server.port))
    monkeypatch.delenv("STREAMLIT_SERVER_BASE_URL_PATH", raising=False)
    monkeypatch.setattr(healthcheck, "PROVEN", str(tmp_path / "proven"))
    yield server
    server.close()


WELL = {"/_stcore/health": (200, "ok"), "/_stcore/script-health-check": (200, "ok")}


def test_the_script_is_run_once_after_each_start(server, capsys):
    server.answers = dict(WELL)
    assert (healthcheck.main(), healthcheck.main()) == (0, 0)
    assert server.asked == ["/_stcore/health", "/", "/_stcore/script-health-check", "/_stcore/health", "/"]
    assert capsys.readouterr().out == "healthy\nhealthy\n"


def test_below_a_base_path(server, monkeypatch):
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "a/b")
    server.answers = {"/a/b" + path: answer for path, answer in WELL.items()}
    assert healthcheck.main() == 0 and server.asked[1] == "/a/b/"


@pytest.mark.parametrize(("change", "reason"), [
    ({"/_stcore/health": (503, "unavailable")}, "/_stcore/health: found 'HTTP/1.0 503"),
    ({"/_stcore/script-health-check": (503, "error")}, "/_stcore/script-health-check: found 'HTTP/1.0 503 Service Unavailable' error"),
    # The check is off: Streamlit answers with its page.
    ({"/_stcore/script-health-check": (200, "<html>")}, "/_stcore/script-health-check: found '<html>', needed 'ok'"),
    ({"/": (200, "nothing")}, "/: found a page without '<script'"),
])
def test_what_is_unhealthy(server, capsys, change, reason):
    server.answers = {**WELL, **change}
    assert (healthcheck.main(), healthcheck.main()) == (1, 1)
    assert capsys.readouterr().out.startswith(reason)


def test_nobody_listens(server, capsys):
    server.close()
    assert healthcheck.main() == 1 and "refused" in capsys.readouterr().out
