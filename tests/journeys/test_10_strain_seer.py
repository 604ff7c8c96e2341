# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack strain_seer from its stand-in: the page over its websocket, directly and through the nginx of the README; what a build refuses.

On a host of its own with Docker, since building its image is most of the time; JOURNEY_KEEP=1 keeps the host and its images.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import struct
import time

import pytest
import yaml

from fleet import ROOT, Single

pytestmark = pytest.mark.heavy

NAME = "journey-seer"
SOURCE = ROOT / "tests" / "apps" / "strain_seer"
STACK = ROOT / "files" / "stacks" / "strain_seer"
CONTAINER = "strain_seer-app-1"
PROXY_PORT = 8088
CHECK = "python -I -S /opt/dockyard/healthcheck.py"
# Streamlit's BackMsg with an empty rerun_script: a visitor's page asks for the first run.
RERUN = b"\x5a\x00"


class Refused(Exception):
    """The server's answer to a request for a websocket, when it is not 101."""


class WebSocket:
    """Just enough of a client for Streamlit's stream: small frames out, whole binary messages in."""

    def __init__(self, address, port, path, host=None, origin=None):
        host = host or f"{address}:{port}"
        self._socket = socket.create_connection((address, port), timeout=30)
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Protocol: streamlit",
                 f"Origin: {origin or 'http://' + host}"]
        self._socket.sendall("\r\n".join(lines + ["", ""]).encode())
        self._read = self._socket.makefile("rb")
        status = self._read.readline().decode().strip()
        while self._read.readline() not in (b"\r\n", b""):
            pass
        if " 101 " not in status + " ":
            self._socket.close()
            raise Refused(status)

    def send(self, data):
        mask = os.urandom(4)
        self._socket.sendall(bytes([0x82, 0x80 | len(data)]) + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data)))

    def message(self):
        """The next message, put together from its frames; pings are left unanswered."""
        parts = b""
        while True:
            head, size = self._read.read(2)
            size &= 0x7f
            if size == 126:
                size = struct.unpack(">H", self._read.read(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._read.read(8))[0]
            data = self._read.read(size)
            if head & 0x0f in (0, 1, 2):
                parts += data
                if head & 0x80:
                    return parts
            assert head & 0x0f != 8, f"closed by the server: {data!r}"

    def page(self, wanted):
        """Ask for the page, and return what came up to the first message that has `wanted` in it."""
        self.send(RERUN)
        seen = b""
        deadline = time.monotonic() + 60
        while wanted not in seen:
            assert time.monotonic() < deadline, seen[-2000:]
            seen += self.message()
        return seen

    def close(self):
        self._socket.close()


class Seer(Single):
    """The host, its inventory, and the stack on it."""

    NAME = NAME
    PORT = 8501

    def variables(self):
        return {**super().variables(), "dockyard_stacks": ["strain_seer"]}

    def deploy(self, source=SOURCE, environment="production", variables=None, **settings):
        return self.play("deploy", "-e", json.dumps(
            {"dockyard_source_strain_seer": str(source), "dockyard_environment": environment, "dockyard_settings_strain_seer": settings,
             **(variables or {})}))

    def inside(self, script, check=True):
        """Output of a shell script in the container, as its own user."""
        return self.sh(f"docker exec {CONTAINER} sh -c '{script}'", check)

    def stream(self, path="/_stcore/stream", port=8501, **more):
        return WebSocket(self.host.address, port, path, **more)

    def see(self, wanted=b"Download (CSV)", **more):
        """What a visitor's page gets, up to its button."""
        connection = self.stream(**more)
        try:
            return connection.page(wanted)
        finally:
            connection.close()

    def wait_healthy(self, seconds=120):
        deadline = time.monotonic() + seconds
        while self.sh("docker inspect -f '{{.State.Health.Status}}' " + CONTAINER, check=False) != "healthy":
            assert time.monotonic() < deadline, self.sh(f"docker ps -a; docker logs --tail 30 {CONTAINER} 2>&1", check=False)
            time.sleep(1)


@pytest.fixture(name="seer", scope="module")
def fixture_seer(tmp_path_factory):
    """The stack, deployed once."""
    seer = Seer(tmp_path_factory.mktemp("seer"))
    try:
        seer.up()
        seer.deploy().good()
        yield seer
    finally:
        seer.down()


def test_a_second_run_changes_nothing(seer):
    run = seer.deploy().good()
    assert run.changed == {NAME: 0}, run.output[-4000:]


def test_the_page_comes_over_the_websocket(seer):
    status, page = seer.ask("/")
    assert status == 200 and "<script" in page
    assert seer.ask("/_stcore/health") == (200, "ok")
    seen = seer.see()
    assert b"Strain Seer, a stand-in" in seen and b"Distance (mm)" in seen and b"0.100" in seen, "the slope that it computes"


def test_closed(seer):
    assert seer.inside("id -u; id -g").split() == ["1000", "1000"]
    for path in ("/app/x", "/opt/venv/x", "/usr/x", "/var/tmp/x"):
        assert re.search("Read-only file system|Permission denied", seer.inside(f"touch {path} 2>&1", check=False)), path
    assert json.loads(seer.sh(f"docker inspect -f '{{{{json .HostConfig.ReadonlyRootfs}}}}' {CONTAINER}")) is True
    status = dict(line.split(":\t") for line in seer.inside("cat /proc/self/status").splitlines())
    assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    # Where the application, matplotlib and tempfile write.
    assert seer.inside('mkdir -p "$HOME/.cache/x" && touch "$HOME/tmp/temp_image.jpg" "$TMPDIR/x" && echo written') == "written"
    assert seer.inside("echo $STREAMLIT_BROWSER_GATHER_USAGE_STATS") == "false"


def test_the_image_has_what_is_locked_and_no_more(seer):
    names = seer.inside("cd /app && find . -type f | grep -v __pycache__ | sort").split()
    assert names == ["./strain_analysis_core.py", "./strain_analysis_data.py", "./strain_analysis_ui.py", "./streamlit_app.py"]
    installed = set(json.loads(seer.inside('python -c "import json, importlib.metadata as m; '
                                           'print(json.dumps([d.metadata[\\"Name\\"].lower().replace(\\"_\\", \\"-\\") for d in m.distributions(path=['
                                           '\\"/opt/venv/lib/python3.12/site-packages\\"])]))"')))
    locked = dict(re.findall(r'\[\[package\]\]\nname = "([^"]+)"\n(?:.*\n)*?groups = \[([^\]]+)\]', (SOURCE / "poetry.lock").read_text()))
    main = {name for name, groups in locked.items() if '"main"' in groups} - {"colorama"}
    assert installed == main and "pytest" in set(locked) - main
    # Compiled, and with the digest of the source in place of its time.
    pyc = 'import importlib.util as u; print(open(u.cache_from_source(u.find_spec(\\"streamlit\\").origin), \\"rb\\").read(8)[4])'
    assert seer.inside(f'python -c "{pyc}"') == "1"
    assert seer.inside("command -v gcc cc poetry || echo none") == "none"
    assert re.fullmatch(r"streamlit 1\.44\.1, \d+ elements", seer.inside("cat /opt/dockyard/proven"))
    image = seer.sh(f"docker inspect -f '{{{{.Config.Image}}}}' {CONTAINER}")
    size = int(seer.sh(f"docker image inspect -f '{{{{.Size}}}}' {image}"))
    budget = yaml.safe_load((STACK / "stack.yml").read_text())["images"]["app"]["budget_mb"]
    assert size < budget * 1e6, size


def test_a_page_that_fails_is_unhealthy(seer):
    """Streamlit itself is well while HOME cannot be written to; only our health tells."""
    image = seer.sh(f"docker inspect -f '{{{{.Config.Image}}}}' {CONTAINER}")
    seer.sh(f"docker rm -f broken; docker run -d --name broken --read-only {image}", check=False)
    try:
        deadline = time.monotonic() + 60
        ask = 'python -c "import urllib.request as r; print(r.urlopen(\\"http://127.0.0.1:8501/_stcore/health\\").read().decode())"'
        while seer.sh(f"docker exec broken {ask} 2>/dev/null", check=False) != "ok":
            assert time.monotonic() < deadline, seer.sh("docker logs broken 2>&1")
            time.sleep(0.5)
        verdict = seer.sh(f"docker exec broken {CHECK}; echo $?", check=False).splitlines()
        assert verdict[-1] == "1" and verdict[0].startswith("/_stcore/script-health-check: found"), verdict
    finally:
        seer.sh("docker rm -f broken", check=False)


def changed_source(folder, change):
    """A copy of the source with one change."""
    copy = folder / "source"
    shutil.copytree(SOURCE, copy)
    change(copy)
    return copy


@pytest.mark.parametrize(("change", "reason"), [
    (lambda source: (source / "pyproject.toml").write_text((source / "pyproject.toml").read_text().replace('"pyarrow (==19)",', '"pyarrow (>=19)",')),
     "pyproject.toml changed significantly since poetry.lock was last generated"),
    (lambda source: (source / "poetry.lock").write_text((source / "poetry.lock").read_text().replace(
        "91a310b926508d560fe0148d02a194f38b824122641ef528113d029fcd129f8c", "0" * 64)), "THESE PACKAGES DO NOT MATCH THE HASHES"),
    (lambda source: (source / "strain_analysis_ui.py").write_text("import scipy\n"), "streamlit_app.py raises No module named 'scipy'"),
], ids=["an older lock", "another file than the locked one", "a package that is not locked"])
def test_a_build_refuses(seer, tmp_path, change, reason):
    """What runs goes on."""
    before = seer.sh(f"docker inspect -f '{{{{.Id}}}}' {CONTAINER}")
    run = seer.deploy(source=changed_source(tmp_path, change))
    assert run.code != 0
    run.says(reason)
    assert seer.sh(f"docker inspect -f '{{{{.Id}}}}' {CONTAINER}") == before
    assert seer.ask("/_stcore/health") == (200, "ok")


def location_of_the_readme():
    """The first nginx block of the stack's README."""
    return re.search(r"```nginx\n(.*?)```", (STACK / "README.md").read_text(encoding="utf-8"), re.S)[1]


def test_behind_the_proxy_of_the_readme(seer):
    """Below a path, on the host's own address only, through nginx, as the proof of the deployment is; and from a page of another origin."""
    configuration = "events {} http { access_log off; server { listen %d; %s } }" % (PROXY_PORT, location_of_the_readme())
    seer.sh(f"cat > /tmp/proxy.conf <<'E'\n{configuration}\nE\ndocker rm -f proxy 2>/dev/null;"
            " docker run -d --name proxy --network host -v /tmp/proxy.conf:/etc/nginx/nginx.conf:ro nginx:1.28")
    try:
        seer.deploy(STRAIN_SEER_BASE_PATH="tools/strain", STRAIN_SEER_BIND="127.0.0.1", STRAIN_SEER_PUBLIC_NAME="seer.example.org",
                    variables={"dockyard_url_ports": {"8501": PROXY_PORT}}).good().says(f":{PROXY_PORT}/tools/strain/_stcore/health")
        assert seer.ask("/tools/strain/_stcore/health")[0] == 0, "reached without the proxy"
        assert seer.ask("/tools/strain/_stcore/health", port=PROXY_PORT) == (200, "ok")
        status, page = seer.ask("/tools/strain/", port=PROXY_PORT)
        assert status == 200 and "<script" in page
        stream = {"path": "/tools/strain/_stcore/stream", "port": PROXY_PORT}
        assert b"Strain Seer, a stand-in" in seer.see(**stream)
        # A proxy that passes on another Host: its public name is a setting; every other origin is refused.
        assert b"0.100" in seer.see(host="inner", origin="https://seer.example.org", **stream)
        with pytest.raises(Refused, match="403"):
            seer.see(host="inner", origin="https://elsewhere.example.org", **stream)
        assert seer.ask("/_stcore/health", port=PROXY_PORT)[0] == 404
    finally:
        seer.sh("docker rm -f proxy", check=False)
        seer.deploy().good()


def test_restart_of_the_host(seer):
    seer.bed("reboot", NAME)
    seer.wait_healthy()
    assert b"0.100" in seer.see()
