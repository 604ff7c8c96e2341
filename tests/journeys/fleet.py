# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journeys lean on: test hosts of the bed, real runs of playbooks/deploy.yml, runs that are killed, questions from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BED = ROOT / "tests" / "hosts" / "bed"
SOURCE = ROOT / "tests" / "apps" / "inventory"
CA = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dockyard-fleet" / "bed" / "ca" / "bundle.crt"
STACK = "/etc/dockyard/stacks/inventory"
RUN_SECONDS = 420
EVENT_SECONDS = 300
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Run:
    """The end of one ansible-playbook: return code, output, and changed by host."""

    def __init__(self, code: int, output: str):
        self.code, self.output = code, output
        self.changed = {row[0]: int(row[2]) for row in RECAP.findall(output)}
        self.failures = sum(int(row[3]) + int(row[4]) for row in RECAP.findall(output))

    def good(self) -> Run:
        """The run itself; fails the test when the run failed."""
        assert self.code == 0, self.output[-6000:]
        return self

    def says(self, *parts: str) -> None:
        """All of these are in the output, as a person reads it: line breaks and indentation do not count."""
        flat = " ".join(self.output.split())
        missing = [part for part in parts if part not in flat]
        assert not missing, f"not in the output: {missing}\n{self.output[-6000:]}"


class Host:
    """One test host."""

    def __init__(self, name: str, address: str):
        self.name, self.address = name, address

    def sh(self, script: str, check: bool = True) -> str:
        """Output of a shell script, run as root on the host."""
        done = subprocess.run([str(BED), "exec", self.name, "--", "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, f"{self.name}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def watch(self, script: str) -> subprocess.Popen:
        """A shell script on the host whose end with 0 is an event."""
        return subprocess.Popen([str(BED), "exec", self.name, "--", "timeout", str(EVENT_SECONDS), "sh", "-c", script],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, path: str, data: dict | None = None, port: int = 443, timeout: float = 10) -> tuple[int, str]:
        """Status and body of an HTTPS request from this machine; (0, reason) when nobody answers."""
        body = json.dumps(data).encode() if data is not None else None
        request = urllib.request.Request(f"https://{self.address}:{port}{path}", data=body, headers={"Content-Type": "application/json"} if body else {})
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            return 0, str(error)

    def healthy(self) -> bool:
        """Whether the application says so itself, through nginx."""
        status, body = self.ask("/health")
        return status == 200 and json.loads(body).get("status") == "healthy"

    def wait_healthy(self, seconds: float = 90) -> None:
        """Return when it is healthy."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            assert time.monotonic() < deadline, f"{self.name} does not answer within {seconds} s: {self.ask('/health')}"
            time.sleep(0.5)

    def state(self) -> dict:
        """What a run that changes nothing leaves as it was: containers, images, and files with their content, mode, owner and times."""
        return {
            "containers": self.sh("docker ps -aq --no-trunc | xargs -r docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Status}}' | sort"),
            "images": self.sh("docker image ls -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | sort"),
            "volumes": self.sh("docker volume ls -q | sort; docker network ls --format '{{.Name}} {{.ID}}' | sort"),
            "files": self.sh("find /etc/dockyard /var/lib/dockyard /etc/docker /etc/apt ! -name '*.lock' ! -path '/var/lib/dockyard/locks'"
                             " -printf '%p %y %m %U:%G %T@ %l\\n' | sort;"
                             " find /etc/dockyard /var/lib/dockyard /etc/docker -type f ! -name '*.lock' -exec sha256sum {} + | sort"),
        }

    def whole(self) -> None:
        """Nothing half-written is visible: files parse, image names stand for images that run, the ledger is readable."""
        if self.sh(f"test -e {STACK}/compose.yaml && echo there", check=False):
            self.sh(f"cd {STACK} && docker compose config --quiet")
            for path in self.sh(f"find {STACK} -name '*.json' -type f").splitlines():
                json.loads(self.sh(f"cat {path}"))
            assert not self.sh(f"find {STACK}/secrets -type f -empty"), "an empty secret"
        for line in self.sh("cat /var/lib/dockyard/releases/*.jsonl", check=False).splitlines():
            json.loads(line)
        for tag in self.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -E '^dockyard/.*:[0-9a-f]{16}$'", check=False).splitlines():
            label = self.sh(f"docker image inspect -f '{{{{index .Config.Labels \"org.dockyard.content.hash\"}}}}' {tag}")
            assert label.startswith(tag.rpartition(":")[2]), f"{tag} carries the hash {label!r}"
            if "inventory-app" in tag:
                self.sh(f"docker run --rm --network none --entrypoint python {tag} -c 'import flask, psycopg2, gunicorn'")

    def leftovers(self) -> list[str]:
        """What killed runs left and the next one should have cleared away."""
        found = self.sh("ls -d /etc/dockyard/stacks/.*staged-* /var/lib/dockyard/releases/*.new /var/lib/dockyard/releases/*.old"
                        " $(find /etc/dockyard /var/lib/dockyard -name '.*.tmp' -o -name '*.dockyard-new'"
                        " -o -name 'tmp*') 2>/dev/null", check=False).splitlines()
        found += self.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' | grep '^dockyard/' | grep -vE ':[0-9a-f]{16}$'", check=False).splitlines()
        found += self.sh("docker ps -a --format '{{.Names}} {{.Status}}' | grep -vE '^inventory-(app|db|nginx)-1 Up'", check=False).splitlines()
        return found


class Poll:
    """Asks for /health from outside, all the time: `with Poll(host) as poll`; answers are (monotonic seconds at the start, status)."""

    def __init__(self, host: Host, every: float = 0.3):
        self._host, self._every = host, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.answers: list[tuple[float, int]] = []

    def _work(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            self.answers.append((started, self._host.ask("/health", timeout=5)[0]))
            self._stop.wait(self._every)

    def __enter__(self) -> Poll:
        self._thread.start()
        return self

    def __exit__(self, *unused) -> None:
        self._stop.set()
        self._thread.join(timeout=20)

    def wrong_before(self, moment: float) -> list:
        """Answers other than 200 to questions that had their answer before `moment`."""
        early = [answer for answer, following in zip(self.answers, self.answers[1:]) if following[0] <= moment]
        assert early, "no question was answered before the event"
        return [answer for answer in early if answer[1] != 200]


def descendants(pid: int) -> list[int]:
    """All processes below one, by /proc: Ansible's workers have sessions of their own, so a process group does not name them."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, layer = [], {pid}
    while layer:
        layer = {child for child, parent in parents.items() if parent in layer}
        found += sorted(layer)
    return found


def masters(folder: str) -> list[int]:
    """ssh's shared connections, which outlive their run; known by the folder of their sockets."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{folder}/" in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
    return found


def kill(pids: list[int]) -> None:
    """SIGKILL, to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def bed(*words: str) -> str:
    """A command of the bed."""
    done = subprocess.run([str(BED), *words], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"bed {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def surroundings(folder: Path, **more: str) -> dict:
    """The environment of a playbook's run: plain output, the report in `folder`."""
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
            "DOCKYARD_REPORT_FILE": str(folder / "report.json"), **more}


def command(name: str, inventory: Path, *words: str) -> list[str]:
    """The argv of a playbook's run."""
    return [str(Path(sys.executable).parent / "ansible-playbook"), f"playbooks/{name}.yml", "-i", str(inventory), *words]


def play(name: str, inventory: Path, folder: Path, *words: str, timeout: float = 900, **more: str) -> Run:
    """A whole run of a playbook; `more` goes into its environment."""
    done = subprocess.run(command(name, inventory, *words), cwd=ROOT, env=surroundings(folder, **more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    return Run(done.returncode, done.stdout)


class Single:
    """One host of its own with Docker, and the inventory that has it; JOURNEY_KEEP=1 keeps the host and its images for the next time."""

    NAME = ""
    PORT = 80

    def __init__(self, folder: Path):
        self.folder = folder
        self.host = None

    @staticmethod
    def bed(*words: str) -> str:
        """A command of the bed."""
        return bed(*words)

    def variables(self) -> dict:
        """What the inventory says of all hosts."""
        return {"images_ca_certificate": str(CA)}

    def up(self) -> None:
        """Bring the host up and write the inventory."""
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        bed("up", self.NAME, "--with-docker", *([] if keep else ["--fresh"]))
        document = yaml.safe_load(bed("inventory", self.NAME))
        self.host = Host(self.NAME, document["all"]["hosts"][self.NAME]["ansible_host"])
        document["all"]["vars"].update(self.variables())
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump(document), encoding="utf-8")

    def down(self) -> None:
        """Remove the host."""
        if self.host and os.environ.get("JOURNEY_KEEP") != "1":
            bed("remove", self.NAME)

    def play(self, name: str, *words: str) -> Run:
        """One run of a playbook."""
        return play(name, self.inventory, self.folder, *words)

    def sh(self, script: str, check: bool = True) -> str:
        """Output of a shell script, run as root on the host."""
        return self.host.sh(script, check)

    def ask(self, path: str, body: dict | bytes | None = None, headers: dict | None = None, port: int | None = None) -> tuple[int, str]:
        """(status, body) of an HTTP request from outside, POST where there is a body; (0, reason) when nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        kind = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
        request = urllib.request.Request(f"http://{self.host.address}:{port or self.PORT}{path}", data=data, headers={**kind, **(headers or {})})
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ValueError) as error:
            return 0, str(error)


class Fleet:
    """The hosts of a session: host `a` is worked on, host `b` is there to be left alone."""

    # Somebody who works on a journey beside another run takes hosts of other names.
    NAMES = {key: "%s-%s" % (os.environ.get("JOURNEY_PREFIX") or "journey", key) for key in ("a", "b")}

    def __init__(self, folder: Path):
        self.folder = folder
        self.clean = False
        # Short: a socket's path has room for 107 characters.
        self._sockets = tempfile.mkdtemp(prefix="dj-", dir="/tmp")
        self.a = self.b = None

    @staticmethod
    def bed(*words: str) -> str:
        """A command of the bed."""
        return bed(*words)

    def up(self) -> None:
        """Two bare hosts, and the inventory of both: `a` in group pi, `b` in group ec2."""
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        self.bed("up", *self.NAMES.values(), *([] if keep else ["--fresh"]))
        document = yaml.safe_load(self.bed("inventory", *self.NAMES.values()))
        hosts = document["all"].pop("hosts")
        document["all"]["children"] = {group: {"hosts": {self.NAMES[key]: hosts[self.NAMES[key]]}} for group, key in (("pi", "a"), ("ec2", "b"))}
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.a, self.b = (Host(name, hosts[name]["ansible_host"]) for name in self.NAMES.values())

    def down(self) -> None:
        """Remove the hosts, and the connections to them."""
        kill(masters(self._sockets))
        with contextlib.suppress(OSError):
            for socket in Path(self._sockets).iterdir():
                socket.unlink()
            Path(self._sockets).rmdir()
        if os.environ.get("JOURNEY_KEEP") != "1":
            self.bed("remove", *self.NAMES.values())

    def run(self, name: str, *words: str, timeout: float = 900, **more: str) -> Run:
        """A whole run of any playbook."""
        return play(name, self.inventory, self.folder, *words, timeout=timeout, ANSIBLE_SSH_CONTROL_PATH_DIR=self._sockets, **more)

    def _start(self, words: tuple, out) -> subprocess.Popen:
        limit = () if "-l" in words else ("-l", "pi")
        argv = command("deploy", self.inventory, *limit, "-e", "dockyard_stacks=inventory", "-e", f"dockyard_source_inventory={SOURCE}",
                       "-e", f"images_ca_certificate={CA}", *words)
        environment = surroundings(self.folder, ANSIBLE_SSH_CONTROL_PATH_DIR=self._sockets)
        return subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def deploy(self, *words: str) -> Run:
        """One whole run; without further words it is the ordinary one, after which the host is `clean` when it went well."""
        out = self.folder / "run.log"
        self.clean = False
        with out.open("w") as stream:
            process = self._start(words, stream)
            try:
                code = process.wait(timeout=RUN_SECONDS)
            except subprocess.TimeoutExpired:
                kill([process.pid, *descendants(process.pid)])
                raise
        run = Run(code, out.read_text())
        self.clean = code == 0 and not words
        return run

    def deploy_and_kill(self, event: str, *words: str) -> float:
        """Start a run, and kill the controller's processes and the connection when `event`, a script on the host, ends.

        :returns: the time of the event, monotonic seconds.
        """
        out = self.folder / "killed.log"
        self.clean = False
        with out.open("w") as stream:
            watcher = self.a.watch(event)
            process = self._start(words, stream)
            try:
                while watcher.poll() is None:
                    assert process.poll() is None, f"the run ended before the event:\n{out.read_text()[-4000:]}"
                    time.sleep(0.02)
                moment = time.monotonic()
                assert watcher.returncode == 0, f"the event did not come:\n{out.read_text()[-4000:]}"
                assert process.poll() is None, f"the run ended at the event:\n{out.read_text()[-4000:]}"
            finally:
                watcher.kill()
                below = descendants(process.pid)
                kill([process.pid, *below, *masters(self._sockets)])
                process.wait(timeout=10)
        return moment

    def unchanged(self, *words: str) -> None:
        """One more run finds nothing to do."""
        run = self.deploy(*words).good()
        assert run.changed == {self.a.name: 0}, run.output[-6000:]


def copy_source(folder: Path, edits: dict) -> Path:
    """A copy of the application's source with replaced texts: {path: (old, new)}."""
    subprocess.run(["cp", "-r", f"{SOURCE}/.", str(folder)], check=True)
    for path, (old, new) in edits.items():
        text = (folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (folder / path).write_text(text.replace(old, new))
    return folder


def make_stack(folder: Path, name: str, definition: dict, compose: dict, recipe: dict | None = None) -> None:
    """A stack of the user's own in `folder`."""
    home = folder / name
    home.mkdir(parents=True)
    (home / "stack.yml").write_text(yaml.safe_dump({"schema": 1, "name": name, **definition}))
    (home / "compose.yaml").write_text(yaml.safe_dump(compose))
    for path, text in (recipe or {}).items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
