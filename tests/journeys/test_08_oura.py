# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack oura from its stand-in: arm64 programs really run under QEMU, and what is wrong with the parser is seen.

On a host of its own with Docker, since building its images is most of the time; JOURNEY_KEEP=1 keeps the host and its images.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile

import pytest

from fleet import BED, ROOT, Single

sys.path[:0] = [str(ROOT / "tests" / "apps" / "oura"), str(ROOT / "tests" / "hosts")]

import make  # noqa: E402
from bedlib import identity, settings as bed_settings  # noqa: E402

NAME = "journey-oura"
SAMPLE = ROOT / "files" / "stacks" / "oura" / "app" / "samples" / "ring.txt"
PARSER, BACKEND = "oura-parser-1", "oura-backend-1"
CHECK = "python -I -S /opt/dockyard/parse.py check"


def parsed_bytes(text):
    """What the stand-in's parser makes of events: a header of six bytes, and each event as a field of a protocol buffer."""
    events = [bytes.fromhex(line.split("|")[3]) for line in text.splitlines() if line and not line.startswith("#")]
    return make.arm64.HEADER + b"".join(b"\x12" + bytes([len(event)]) + event for event in events)


class Oura(Single):
    """The host, its inventory, and the stack on it."""

    NAME = NAME
    PORT = 8000

    def __init__(self, folder):
        super().__init__(folder)
        self.source = make.make(folder / "source")

    def variables(self):
        return {**super().variables(), "dockyard_stacks": ["oura"], "dockyard_source_oura": str(self.source),
                "dockyard_settings_oura": {"OURA_NATIVE_DIGESTS": make.digests(), "OURA_TIMEZONE": "Europe/Berlin"}}

    def deploy(self, *words, **settings):
        """Deploy; settings replace those of the inventory."""
        if settings:
            words += ("-e", json.dumps({"dockyard_settings_oura": {"OURA_NATIVE_DIGESTS": make.digests(), "OURA_TIMEZONE": "Europe/Berlin", **settings}}))
        return self.play("deploy", *words)

    def act(self, action, *words):
        """Run an action of the stack."""
        return self.play("run", "-e", "stack=oura", "-e", f"action={action}", *words)

    def inside(self, script, container=PARSER, check=True):
        """Output of a shell script in a container, as its own user."""
        return self.sh(f"docker exec {container} sh -c '{script}'", check)

    def put(self, name, text):
        """A file of events in the data directory, as an operator brings it there."""
        subprocess.run([str(BED), "exec", NAME, "--", "docker", "exec", "-i", PARSER, "sh", "-c", f"umask 2; cat > /app/input_data/{name}"],
                       input=text, text=True, capture_output=True, timeout=60, check=True)

    def image(self, name):
        """The reference of an image that the stack runs."""
        return self.sh(f"docker inspect -f '{{{{.Config.Image}}}}' oura-{name}-1")

    def healthy(self):
        states = self.sh("docker inspect -f '{{.State.Health.Status}}' " + f"{PARSER} {BACKEND}", check=False).split()
        return states == ["healthy", "healthy"]

    def wait_healthy(self):
        deadline = time.monotonic() + 120
        while not self.healthy():
            assert time.monotonic() < deadline, self.sh("docker ps -a", check=False)
            time.sleep(1)


@pytest.fixture(name="oura", scope="module")
def fixture_oura(tmp_path_factory):
    """The stack, deployed once."""
    oura = Oura(tmp_path_factory.mktemp("oura"))
    try:
        oura.up()
        oura.deploy().good()
        oura.inside("rm -f /app/input_data/*")
        yield oura
    finally:
        oura.down()


@pytest.fixture(name="running")
def fixture_running(oura):
    """The stack as it was deployed; a test that leaves it otherwise fails here, not in the next one."""
    assert oura.healthy()
    yield oura
    assert oura.healthy()


def test_second_run_changes_nothing(running):
    run = running.deploy().good()
    assert run.changed == {NAME: 0}, run.output[-4000:]


def test_health_is_a_parsed_sample(running):
    """The sample went through the emulator: the size is that of our own arithmetic."""
    log = running.sh(f"docker inspect -f '{{{{range .State.Health.Log}}}}{{{{.Output}}}}{{{{end}}}}' {PARSER}")
    seen = running.inside("rm -f /tmp/dockyard-parsed; " + CHECK)
    assert seen == f"ring.txt gave {len(parsed_bytes(SAMPLE.read_text()))} bytes"
    assert "gave" in log or "parsed a sample" in log
    assert running.inside("rm -f /tmp/dockyard-parsed", check=False) == ""


def test_one_static_emulator_at_its_place(running):
    for container in (PARSER, BACKEND):
        assert running.inside("command -v qemu-aarch64", container) == "/usr/bin/qemu-aarch64"
        assert running.inside("ls /usr/bin/qemu-*", container) == "/usr/bin/qemu-aarch64"
        # The score of the vendor's library, called without any PATH: a guess of 50 where that does not run.
        assert running.inside('python -c "from oura_ecore import EcoreWrapper as E; print(E().calculate_sleep_score(1, 2, 3))"', container) == "68"
    # Static: it runs where there is nothing else.
    running.sh(f"mkdir -p /tmp/bare && docker cp {PARSER}:/usr/bin/qemu-aarch64 /tmp/bare/ && chroot /tmp/bare /qemu-aarch64 --version; rm -r /tmp/bare")


def test_not_root_and_closed(running):
    for container in (PARSER, BACKEND):
        assert running.inside("id -u", container) == "1000"
        assert "Read-only file system" in running.inside("touch /app/x 2>&1", container, check=False)
    assert running.inside("touch /app/input_data/x && rm /app/input_data/x && echo written") == "written"
    assert "Read-only file system" in running.inside("touch /app/input_data/x 2>&1", BACKEND, check=False)
    assert running.inside("date +%Z", BACKEND) in ("CET", "CEST")


def test_parse_of_the_api(running):
    """The operator's file through the API on the host; the backend shows what the parser wrote."""
    text = SAMPLE.read_text()
    running.put("ring_events.txt", text)
    answer = json.loads(running.sh("curl -sS -X POST http://127.0.0.1:8001/parse"))
    assert (answer["success"], answer["output_size"]) == (True, len(parsed_bytes(text))), answer
    assert running.inside("ls /app/input_data | sort").split() == ["ring_data.pb", "ring_events.txt", "transformed_ring_events.txt"]
    status, body = running.ask("/summary")
    assert status == 200 and json.loads(body)["heart_rate_samples"] == text.count("|0x80|")
    # Over the containers' own network: the parser's answer to the backend, 500 without torch and not "no such host".
    status, body = running.ask("/dashboard/sleep-stages")
    assert status == 200 and json.loads(body)["ml_status"] == 500 and json.loads(body)["score"] == 68


def test_pages_are_of_the_same_origin(running):
    status, page = running.ask("/")
    asset = re.search(r'src="(/assets/[^"]+\.js)"', page)[1]
    assert status == 200 and running.ask("/ring-control") == (200, page)
    status, program = running.ask(asset)
    assert status == 200 and "localhost" not in program and "window.location.host" in program and "/summary" in program
    assert "0123456789abcdef0123456789abcdef" not in program, "the author's key"
    upgrade = ("curl -sS -i -m 3 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'"
               " -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' http://127.0.0.1:8000/ble/ws | tr -cd '[:print:]\\n'")
    assert "101 Switching Protocols" in running.sh(upgrade, check=False)


def test_only_the_host_reaches_the_parser(running):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.URLError):
        opener.open(f"http://{running.host.address}:8001/health", timeout=5)


def assert_nothing_personal(oura, name):
    """By content and by name, in the layers' result and in each of them, and in the history."""
    image = oura.image(name)
    # The recorded sample has it as text and as digits, what is parsed from it as text. No quote, for the shells in between.
    grep = f'grep -rl -e "{make.PERSONAL.replace(chr(39), ".")}" -e {make.PERSONAL.encode().hex()} / --exclude-dir=proc --exclude-dir=sys 2>/dev/null'
    find = 'find / -xdev \\( -name "*auth_key*" -o -name "bonded_device*" -o -name "*ring_events*" -o -name "*sync_point*" -o -name "*.pt" \\)'
    # A file that must be found: a search that cannot run finds nothing as well.
    control = f'echo "{make.PERSONAL.replace(chr(39), "_")}" | tr _ "\\047" > /tmp/control; touch /tmp/ring_events'
    said = oura.sh(f"docker run --rm --network none -u 0 --entrypoint sh {image} -c '{control}; {grep}; {find}'", check=False)
    assert said.split() == ["/tmp/control", "/tmp/ring_events"], said
    words = '-e "ring.s owner alone" -e ' + make.PERSONAL.encode().hex() + ' -e "starts every few seconds"'
    assert oura.sh(f"docker save {image} | grep -ao {words} | sort -u") == "starts every few seconds", "all layers, also what a later one hides"
    assert "ring.s owner" not in oura.sh(f"docker history --no-trunc {image}")


def test_nothing_personal_in_an_image(running):
    assert (running.source / "stored_auth_key.bin").exists() and make.PERSONAL in (running.source / make.RECORDED).read_text()
    for name in ("parser", "backend"):
        assert_nothing_personal(running, name)
        assert int(running.sh(f"docker image inspect -f '{{{{.Size}}}}' {running.image(name)}")) < 500e6
    # Our samples suffice for this parser.
    assert running.inside("ls /opt/dockyard").split() == ["parse.py", "samples"]


def test_action_parse(running):
    run = running.act("parse").good()
    run.says('"status": "parsed"', f'"output_bytes": {len(parsed_bytes(SAMPLE.read_text()))}')
    # Good data stays when another input gives nothing but a header.
    good = running.inside("sha256sum /app/input_data/ring_data.pb")
    lines = [line for line in SAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    running.put("ring_events.txt", "\n".join(lines[1:]) + "\n")
    run = running.act("parse", "-e", "file=ring_events.txt")
    assert run.code != 0 and run.failures == 1
    run.says('"status": "header_only"', '"output_bytes": 6', "no more than a header")
    assert running.inside("sha256sum /app/input_data/ring_data.pb") == good
    running.put("ring_events.txt", SAMPLE.read_text())
    running.put("other.txt", SAMPLE.read_text())
    assert json.loads(running.inside("python /opt/dockyard/parse.py file other.txt 2>/dev/null"))["output"] == "other.pb"
    assert "no file none.txt" in json.loads(running.inside("python /opt/dockyard/parse.py file none.txt 2>/dev/null", check=False))["message"]


def test_action_shell_is_for_a_person(running):
    running.act("shell").good().says("docker compose exec parser bash")


def test_without_an_emulator_only_our_health_tells(running):
    """The API answers 200 as if nothing were missing."""
    running.sh("docker rm -f broken", check=False)
    running.sh("docker run -d --name broken --read-only --tmpfs /tmp --tmpfs /app/input_data:mode=1777"
               f" --mount type=bind,source=/dev/null,target=/usr/bin/qemu-aarch64,readonly {running.image('parser')}")
    try:
        deadline = time.monotonic() + 120
        ask = 'python -c "import urllib.request as r; print(r.urlopen(\\"http://127.0.0.1:8001/health\\").read().decode())"'
        while '"healthy"' not in running.sh(f"docker exec broken {ask} 2>/dev/null", check=False):
            assert time.monotonic() < deadline, running.sh("docker logs broken 2>&1")
            time.sleep(0.5)
        verdict = running.sh(f"docker exec broken {CHECK}; echo $?", check=False).splitlines()
        assert verdict[-1] == "1" and "qemu-aarch64 cannot be run" in verdict[0], verdict
    finally:
        running.sh("docker rm -f broken", check=False)


def test_what_is_unhealthy(running):
    """One container each, without the API: all of these are found before it is asked."""
    data = "--tmpfs /app/input_data:mode=1777"
    cases = {
        # The loader is not below the prefix: the emulator itself says so and ends with 255.
        f"--tmpfs /app/android_root/system/bin {data}": "ended with 255",
        f"--tmpfs /app/android_root/system/lib64 {data}": "libringeventparser.so",
        f"-e TZ=Mars/Olympus {data}": "OURA_TIMEZONE",
        f"-e OURA_SAMPLE=mine.txt {data}": "mine.txt: the native parser ended with 1",
        "": "cannot write to /app/input_data",
        data: "Connection refused",
    }
    for options, reason in cases.items():
        said = running.sh(f"docker run --rm --network none --read-only --tmpfs /tmp {options} {running.image('parser')} {CHECK}; echo $?", check=False)
        assert said.splitlines()[-1] == "1" and reason in said, (options, said)


def test_a_parser_that_is_not_accepted_or_does_not_parse_is_refused(running):
    """Neither gets into an image; what runs goes on."""
    before = running.image("parser")
    make.make(running.source, "broken")
    try:
        run = running.deploy()
        assert run.code != 0
        given, found = make.digests().split()[0].split("="), make.digests("broken").split()[0].split("=")
        run.says(f"{given[0]}: found {found[1]}; needed {given[1]}", "OURA_NATIVE_DIGESTS")
        # Its digests are accepted now, and it gives nothing but headers.
        run = running.deploy(OURA_NATIVE_DIGESTS=make.digests("broken"))
        assert run.code != 0
        run.says("ring.txt: the native parser gave 6 bytes", f"{make.RECORDED}: the native parser gave 6 bytes",
                 "needed more than a header from one of them; set dockyard_source_oura")
    finally:
        make.make(running.source)
    assert running.image("parser") == before


@pytest.mark.heavy
def test_a_parser_that_parses_the_recorded_sample_only(running):
    """As the real one may turn out to be: the health asks less of our samples, and a release that is not well is taken back as always."""
    make.make(running.source, "recorded")
    settings = {"OURA_NATIVE_DIGESTS": make.digests("recorded")}
    size = len(parsed_bytes(make.recorded()))
    try:
        running.deploy(**settings).good()
        assert running.healthy()
        before = running.image("parser")
        assert json.loads(running.inside("cat /opt/dockyard/expected.json")) == {"made_up": "header only", "recorded_bytes": size}
        seen = running.inside("rm -f /tmp/dockyard-parsed; " + CHECK)
        assert seen.startswith(f"ring.txt gave 6 bytes, a header only, as in the build, where the source's own sample gave {size}"), seen
        run = running.act("parse")
        assert run.code != 0 and run.failures == 1
        run.says('"status": "header_only"', "nothing was parsed here")
        assert_nothing_personal(running, "parser")
        # Judged by a file of the operator's it has to parse that file.
        running.put("mine.txt", SAMPLE.read_text())
        run = running.deploy("-e", "stack_timeout_seconds=30", OURA_SAMPLE="mine.txt", **settings)
        assert run.code != 0, run.output[-3000:]
        run.says("oura", "parser")
        running.wait_healthy()
        assert running.image("parser") == before and running.inside("echo $OURA_SAMPLE") == ""
        assert running.ask("/health")[0] == 200
        running.put("mine.txt", make.recorded())
        assert json.loads(running.inside("python /opt/dockyard/parse.py file mine.txt 2>/dev/null"))["output_bytes"] == size
    finally:
        make.make(running.source)
        running.inside("rm -f /app/input_data/mine.*", check=False)


def test_full_without_the_models_is_refused_before_anything_is_touched(running):
    before = running.sh("docker image ls -q --no-trunc | sort; ls -la /etc/dockyard/stacks/oura")
    run = running.deploy(OURA_VARIANT="full")
    assert run.code != 0
    run.says("sleepnet_moonstone_1_1_0.pt", "digest")
    assert running.sh("docker image ls -q --no-trunc | sort; ls -la /etc/dockyard/stacks/oura") == before


@pytest.fixture(name="wheels")
def fixture_wheels(tmp_path):
    """The address of a package index with a torch that is a name only, over TLS by the bed's CA."""
    folder = tmp_path / "torch"
    folder.mkdir()
    with zipfile.ZipFile(folder / "torch-2.99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch/__init__.py", "")
        wheel.writestr("torch-2.99.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0\n")
        wheel.writestr("torch-2.99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("torch-2.99.0.dist-info/RECORD", "")
    certificate, key = identity.certificate("oura-wheels", ["wheels.test"], [bed_settings.GATEWAY])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *unused):
            pass

    server = http.server.ThreadingHTTPServer((bed_settings.GATEWAY, 0), functools.partial(Quiet, directory=str(tmp_path)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://{bed_settings.GATEWAY}:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.heavy
def test_full_with_models_and_back(running, wheels, tmp_path):
    """torch from the index that the operator names, the models from his folder, verified and read-only; and back to minimal.

    The release before had another parser, so the way back is also the way back to the usual one.
    """
    digests = make.make_models(tmp_path / "models")
    files = [{"name": name, "digest": digest, "required": "sleepnet" in name, "sources": [{"file": name}]} for name, digest in digests.items()]
    files.append({"name": "whr_3_1_2.pt", "digest": None, "required": False, "sources": [{"file": "whr_3_1_2.pt"}]})
    (tmp_path / "models.json").write_text(json.dumps({"schema": 1, "name": "oura-models", "version": 1, "files": files}), encoding="utf-8")
    models = {"models": {"manifest": str(tmp_path / "models.json"), "folder": str(tmp_path / "models")}}
    try:
        run = running.deploy("-e", json.dumps({"dockyard_artifacts_oura": models}), OURA_VARIANT="full", OURA_TORCH_INDEX_URL=wheels).good()
        run.says("whr_3_1_2.pt")
        listed = running.inside("cd /app/decrypted_models && sha256sum *").split()
        assert dict(zip(listed[1::2], listed[::2])) == {name: digest.partition(":")[2] for name, digest in digests.items()}
        assert "Read-only file system" in running.inside("touch /app/decrypted_models/x 2>&1", check=False)
        running.put("ring_events.txt", SAMPLE.read_text())
        running.sh("curl -sS -X POST http://127.0.0.1:8001/parse")
        assert json.loads(running.sh("curl -sS -X POST http://127.0.0.1:8001/ml/sleep-stages"))["uses_ml"] is True
    finally:
        running.deploy().good()
    assert running.inside("ls /app/decrypted_models") == ""


RADIO = """[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -m dbusmock --system --template /usr/local/lib/bluez.py
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
# What the page does, from inside: it talks to its own server. The real one says more between the ends of actions.
RING = """
import asyncio, json, websockets
async def main():
    async with websockets.connect("ws://127.0.0.1:8000/ble/ws") as page:
        for action in ("connect", "auth", "get-data", "disconnect"):
            await page.send(json.dumps({"action": action, "adapter": "hci0"}))
            said = {}
            while said.get("type") != "complete":
                said = json.loads(await asyncio.wait_for(page.recv(), 60))
            print(json.dumps(said))
asyncio.run(main())
"""


@pytest.mark.heavy
def test_bluetooth_is_asked_for_and_then_reads_the_ring(running):
    """Without an adapter a note and no socket; with one the ring's events, as one uid that the bus knows, and nothing more than before."""
    run = running.deploy(OURA_BLUETOOTH="dbus").good()
    run.says("oura runs without Bluetooth: no adapter")
    assert "dbus" not in running.sh(f"docker inspect -f '{{{{json .Mounts}}}}' {BACKEND}")
    running.sh("apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-dbusmock python3-gi >/dev/null")
    for path, text in (("/usr/local/lib/bluez.py", (ROOT / "tests/stand_ins/bluetooth/bluez.py").read_text()),
                       ("/etc/systemd/system/bluez-stand-in.service", RADIO)):
        subprocess.run([str(BED), "exec", NAME, "--", "sh", "-c", f"cat > {path}"], input=text, text=True, check=True, timeout=60)
    running.sh("systemctl enable -q --now bluez-stand-in")
    running.put("ring_events.txt", SAMPLE.read_text())
    try:
        words = ("-e", "dockyard_bluetooth_adapter=present")
        running.deploy(*words, OURA_BLUETOOTH="dbus").good()
        config = json.loads(running.sh(f"docker inspect {BACKEND}"))[0]
        assert config["Config"]["User"] == "52101:1000" and config["HostConfig"]["Privileged"] is False
        assert config["HostConfig"]["CapDrop"] == ["ALL"] and not config["HostConfig"]["CapAdd"] and config["HostConfig"]["ReadonlyRootfs"] is True
        assert config["HostConfig"]["NetworkMode"] == "oura_inside"
        subprocess.run([str(BED), "exec", NAME, "--", "sh", "-c", "cat > /tmp/ring.py"], input=RING, text=True, check=True, timeout=60)
        told = [json.loads(line) for line in running.sh(f"docker exec -i {BACKEND} python - < /tmp/ring.py").splitlines()]
        assert [(one["action"], one["success"]) for one in told] == [("connect", True), ("auth", True), ("get-data", True), ("disconnect", True)]
        assert told[2]["event_count"] == 3
        # The parser is another user of the same group, and takes it from there; each writes what the other has written.
        assert running.inside("tail -n 1 /app/input_data/ring_events.txt").endswith("|460a102700006709a709ea08")
        assert running.inside('stat -c "%u:%g %a" /app/input_data/auth_key.bin /app/input_data/ring_events.txt') == "52101:1000 664\n1000:1000 664"
        assert running.inside("touch /app/input_data/auth_key.bin && echo written") == "written"
        assert json.loads(running.sh("curl -sS -X POST http://127.0.0.1:8001/parse"))["input_events"] == 3
        assert running.deploy(*words, OURA_BLUETOOTH="dbus").good().changed == {NAME: 0}
    finally:
        running.deploy().good()
        running.sh("systemctl disable -q --now bluez-stand-in")
    assert running.sh(f"docker inspect -f '{{{{.Config.User}}}}' {BACKEND}") == "1000:1000"


def test_restart_of_the_host(oura):
    oura.bed("reboot", NAME)
    oura.wait_healthy()
    assert oura.ask("/summary")[0] == 200
