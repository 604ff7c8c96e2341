# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from typing import Callable, NamedTuple, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images import api
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.module_utils.images.watch import PullWatch

TAIL_LINES = 30
# Docker's first try, then two more: a registry that restarts is back after some seconds.
PULL_TRIES = 3
PULL_PAUSE_S = 3
PULL_TIMEOUT_S = 3600
COMMAND_TIMEOUT_S = 120
_KEPT_OUTPUT = 4 * 1024 * 1024
_SECRET_MIN = 8


class Done(NamedTuple):
    """The end of a command: return code (null when it was stopped at its deadline), standard output, standard error."""

    code: Optional[int]
    out: str
    err: str


def run_command(argv: list[str], timeout_s: float, stdin: Optional[str] = None, environment: Optional[dict] = None,
                watch: Optional[Callable[[str], None]] = None) -> Done:
    """The only place that starts a program. ``stdin`` is a file's path; at the deadline the whole process group is ended.

    ``watch`` gets each line of both outputs as it comes, from threads.
    """
    with open(stdin or os.devnull, "rb") as given:
        # pylint: disable-next=ansible-bad-function  # the whole process group has to end at the deadline
        process = subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL="C", **(environment or {})),
                                   start_new_session=True)
        communicate = _watched(process, watch) if watch else process.communicate
        try:
            out, err = communicate(timeout=timeout_s)
            code: Optional[int] = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                out, err = communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = communicate()
            code = None
    return Done(code, out.decode("utf-8", "replace"), err[-_KEPT_OUTPUT:].decode("utf-8", "replace"))


def _watched(process: subprocess.Popen, watch: Callable[[str], None]) -> Callable:
    """``process.communicate`` that also shows each line to ``watch``. What watch raises costs no output."""
    kept: dict = {process.stdout: bytearray(), process.stderr: bytearray()}

    def read(stream) -> None:
        for line in iter(stream.readline, b""):
            kept[stream] += line
            with contextlib.suppress(Exception):
                watch(line.decode("utf-8", "replace").rstrip())

    threads = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in kept]
    for thread in threads:
        thread.start()

    def communicate(timeout: Optional[float] = None) -> tuple[bytes, bytes]:
        deadline = None if timeout is None else time.monotonic() + timeout
        # As long as anybody holds an output open, there is more to come.
        for thread in threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(process.args, timeout or 0)
        process.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
        return bytes(kept[process.stdout]), bytes(kept[process.stderr])

    return communicate


def list_argv() -> list[str]:
    """All images, by id."""
    return ["image", "ls", "--quiet", "--no-trunc"]


def inspect_argv(names: list[str]) -> list[str]:
    """What Docker knows of these images, as JSON."""
    return ["image", "inspect", *names]


def pull_argv(reference: str, platform: Optional[str] = None, quiet: bool = True) -> list[str]:
    """Fetch one image."""
    return ["pull", *(["--quiet"] if quiet else []), *(["--platform", platform] if platform else []), reference]


def build_argv(tag: str, dockerfile: str, args: list[str], labels: dict, secrets: dict, target: Optional[str], platform: Optional[str],
               buildx: bool) -> list[str]:
    """Build from a tar on standard input. ``args`` are names (their values come from the environment), ``secrets`` is ``{id: file}``.

    The builder ``default`` is the engine's own, the one that sees the host's images.
    """
    argv = ["buildx", "build", "--builder", "default", "--load"] if buildx else ["build"]
    argv += ["--progress", "plain", "--tag", tag, "--file", dockerfile]
    for name in sorted(args):
        argv += ["--build-arg", name]
    for key in sorted(labels):
        argv += ["--label", f"{key}={labels[key]}"]
    for key in sorted(secrets):
        argv += ["--secret", f"id={key},src={secrets[key]}"]
    if target:
        argv += ["--target", target]
    if platform:
        argv += ["--platform", platform]
    return [*argv, "-"]


def build_environment(args: dict) -> dict:
    """Build argument values, and the switches that older commands need."""
    return dict(args, DOCKER_BUILDKIT="1", BUILDX_NO_DEFAULT_ATTESTATIONS="1", BUILDKIT_COLORS="", NO_COLOR="1")


def tag_argv(source: str, target: str) -> list[str]:
    """Give an image another name."""
    return ["image", "tag", source, target]


def untag_argv(references: list[str]) -> list[str]:
    """Take names away; an image goes with its last name. Without force, so one that a container uses stays."""
    return ["image", "rm", *references]


def containers_argv() -> list[str]:
    """All containers, by id."""
    return ["container", "ls", "--all", "--quiet", "--no-trunc"]


def container_images_argv(containers: list[str]) -> list[str]:
    """The image id of each container."""
    return ["container", "inspect", "--format", "{{.Image}}", *containers]


def server_argv() -> list[str]:
    """The engine's own platform and where it keeps its data."""
    return ["info", "--format", "{{.OSType}}/{{.Architecture}}\t{{.DockerRootDir}}"]


def image_facts(raw: dict) -> dict:
    """One element of `docker image inspect` as host_facts gives it, and ``tagged``: when it last got a name.

    A build that finds all its layers in the cache has an old ``created``, so only ``tagged`` tells which build is the newest.
    """
    return {
        "id": raw.get("Id"), "tags": raw.get("RepoTags") or [], "digests": raw.get("RepoDigests") or [],
        "created": parse_created(raw.get("Created")), "tagged": parse_created((raw.get("Metadata") or {}).get("LastTagTime")),
        "size_bytes": raw.get("Size"), "architecture": raw.get("Architecture"), "labels": (raw.get("Config") or {}).get("Labels") or {},
    }


def parse_created(text: Optional[str]) -> int:
    """Docker's RFC 3339 time as seconds since 1970; 0 when there is none."""
    match = re.match(r"^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))$", text or "")
    if not match:
        return 0
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    days = _days(year, month, day)
    offset = (int(match.group(8)) * 60 + int(match.group(9))) * 60 * (-1 if match.group(7) == "-" else 1) if match.group(7) else 0
    return max(days * 86400 + hour * 3600 + minute * 60 + second - offset, 0)


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01; datetime refuses the year 0001 with an offset that some images carry."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i686": "386", "i386": "386"}


def docker_platform(text: str) -> str:
    """`docker info`'s ``linux/x86_64`` in the words that builds use: ``linux/amd64``."""
    system, slash, machine = text.strip().partition("/")
    return f"{system}/{_MACHINES.get(machine, machine)}"


# Each kind: what Docker, containerd and BuildKit write. The order counts: a certificate problem also says "failed to do request".
_FAILURES = (
    ("daemon", r"cannot connect to the docker daemon|is the docker daemon running|docker daemon socket"),
    ("disk", r"no space left on device|disk quota exceeded"),
    ("certificate", r"x509:|unknown authority|failed to verify certificate|tls: bad certificate|certificate has expired"),
    ("plain_http", r"gave http response to https client"),
    ("rate", r"toomanyrequests|too many requests|rate limit"),
    ("platform", r"no matching manifest for|no match for platform in manifest|does not match the specified platform|does not provide the specified platform"),
    ("tag", r"manifest unknown|manifest for .* not found|: not found\b|name unknown|repository .* not found"),
    ("auth", r"pull access denied|unauthorized|authentication required|no basic auth credentials|insufficient_scope|"
             r"requested access to the resource is denied|403 forbidden"),
    ("registry", r"dial tcp|i/o timeout|connection refused|no such host|client\.timeout|context deadline exceeded|tls handshake|"
                 r"request canceled|no route to host|server misbehaving|connection reset|unexpected eof|\beof\b|50[0234] |"
                 r"service unavailable|bad gateway|network is unreachable|temporary failure"),
)


def failure_kind(text: str) -> str:
    """Why Docker could not fetch an image: daemon, disk, certificate, plain_http, rate, platform, tag, auth, registry or unknown."""
    lowered = text.lower()
    return next((kind for kind, pattern in _FAILURES if re.search(pattern, lowered)), "unknown")


def pull_error(where: str, reference: str, text: str, platform: Optional[str] = None) -> ImagesError:
    """The refusal for a failed pull."""
    parsed = parse_reference(reference)
    registry = "registry-1.docker.io (Docker Hub)" if parsed.domain == "docker.io" else parsed.domain
    said = last_line(text)
    name = parsed.familiar
    answers = {
        "daemon": ("no Docker engine that answers", "a running engine", "docker_engine role (systemctl status docker on the host)"),
        "disk": (f"no space left while {name} was fetched", "more free space for Docker's data", "docker_engine_data_root, or remove images that are not used"),
        "certificate": (f"a certificate of {registry} that the host does not trust", "the certificate authority on the host", "docker_engine_ca_certificates"),
        "plain_http": (f"plain HTTP on {registry}", "TLS, or the registry listed as insecure", "docker_engine_insecure_registries"),
        "rate": (f"{registry} refuses: too many pulls", "to wait, a login, or a mirror", "docker_engine_registry_mirrors"),
        "platform": (f"no image {name} for {platform or 'this host'}", "a tag that has this platform", "the image's name or its platforms in stack.yml"),
        "tag": (f"no image {name} at {registry}", "a name and tag (or digest) that is there", "the image's name in stack.yml or in the FROM line"),
        "auth": (f"{registry} gives {name} to nobody without a login, or it does not exist", "an existing image, or docker login on the host",
                 "the image's name, or a login for root"),
        "registry": (f"{registry} does not answer ({PULL_TRIES} tries)", f"network access to it for {name}, or a mirror",
                     "docker_engine_registry_mirrors or docker_engine_proxy"),
        "unknown": (f"docker pull {name} failed", "a pull that works", "the image's name in stack.yml"),
    }
    found, needed, setting = answers[failure_kind(text)]
    return ImagesError(where, f"{found}: {said}" if said else found, needed, setting)


def push_error(where: str, reference: str, text: str) -> ImagesError:
    """The refusal for an image or manifest list that the registry did not take."""
    domain, said = parse_reference(reference).domain, last_line(text)
    answers = {
        "daemon": ("no Docker engine that answers", "a running engine", "docker_engine role (systemctl status docker on the builder)"),
        "certificate": (f"a certificate of {domain} that the builder does not trust", "the certificate authority on the builder",
                        "docker_engine_ca_certificates"),
        "plain_http": (f"plain HTTP on {domain}", "TLS, or the registry listed as insecure", "docker_engine_insecure_registries"),
        "auth": (f"{domain} takes no push without a login", "a login that may push", "docker login for root on the builder, or images_registry"),
        "registry": (f"{domain} does not answer", "network access to it from the builder", "images_registry or docker_engine_proxy"),
    }
    found, needed, setting = answers.get(failure_kind(text), (f"a push of {reference} that failed", "a registry that takes it", "images_registry"))
    return ImagesError(where, f"{found}: {said}" if said else found, needed, setting)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""


def redact(text: str, secrets: list[str]) -> str:
    """Text without any line of a secret, and without user information in URLs. Lines shorter than 8 characters would hide too much."""
    pieces = {line.strip() for secret in secrets for line in secret.splitlines() if len(line.strip()) >= _SECRET_MIN}
    pieces |= {secret.strip() for secret in secrets if len(secret.strip()) >= 4}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "********")
    return re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", r"\1********@", text)


_STEP = re.compile(r"^#(\d+) (\[.+)$")
_STEP_ERROR = re.compile(r"^#(\d+) ERROR: (.+)$")
_STEP_LINE = re.compile(r"^#(\d+) (?:\d+\.\d+ )?(.*)$")


def build_failure(text: str) -> tuple[str, str, str]:
    """From BuildKit's plain output: the failing step, its error, and the last lines of that step's output (of all, if it is not known)."""
    steps, lines, failed, error = {}, {}, None, ""
    for line in text.splitlines():
        match = _STEP_ERROR.match(line)
        if match:
            failed, error = match.groups()
            continue
        match = _STEP.match(line)
        if match:
            steps[match.group(1)] = match.group(2)
            continue
        match = _STEP_LINE.match(line)
        if match:
            lines.setdefault(match.group(1), []).append(match.group(2))
    final = next((line for line in reversed(text.splitlines()) if re.match(r"^(ERROR|error)[: ]|^failed to ", line)), last_line(text))
    tail = lines.get(failed) if failed else None
    if not tail:
        tail = text.splitlines()
    return steps.get(failed, "before the first step"), error or final, "\n".join(tail[-TAIL_LINES:])


class Docker:
    """The door to the docker command. ``run(argv, timeout_s, stdin, environment)`` gives a Done."""

    def __init__(self, run: Callable = run_command, binary: str = "docker", sleep: Callable = time.sleep, ask: Callable = api.pull,
                 give: Callable = api.push) -> None:
        self._run, self._binary, self._sleep, self._ask, self._give = run, binary, sleep, ask, give

    def call(self, argv: list[str], timeout_s: float = COMMAND_TIMEOUT_S, stdin: Optional[str] = None, environment: Optional[dict] = None,
             watch: Optional[Callable[[str], None]] = None) -> Done:
        """Run ``docker argv``. Raises ImagesError when there is no such program."""
        try:
            return self._run([self._binary, *argv], timeout_s, stdin, environment, **({"watch": watch} if watch else {}))
        except FileNotFoundError as problem:
            raise ImagesError("this host", "no docker command", "Docker", "docker_engine role before the images") from problem

    def must(self, argv: list[str]) -> str:
        """Standard output of a command that does not fail on a healthy host. Raises ImagesError."""
        done = self.call(argv)
        if done.code != 0:
            said = "no answer in time" if done.code is None else last_line(done.err)
            raise ImagesError("this host", f"docker {' '.join(argv[:2])} failed: {said}", "a running Docker engine that this user may talk to",
                              "docker_engine role, become: true")
        return done.out

    def pull(self, reference: str, platform: Optional[str], where: str, watch: Optional[PullWatch] = None) -> None:
        """Fetch an image; only a registry that does not answer is asked again. ``watch`` is told how far it is. Raises ImagesError."""
        for count in range(1, PULL_TRIES + 1):
            text = self._fetch(reference, platform, watch)
            if text is None:
                return
            if failure_kind(text) != "registry" or count == PULL_TRIES:
                raise pull_error(where, reference, text, platform)
            self._sleep(PULL_PAUSE_S * count)

    def push(self, reference: str, where: str, watch: Optional[PullWatch] = None) -> None:
        """Push an image. Raises ImagesError."""
        text = self._transfer(["push", reference], watch, lambda see: self._give(reference, PULL_TIMEOUT_S, see))
        if text is not None:
            raise push_error(where, reference, text)

    def _fetch(self, reference: str, platform: Optional[str], watch: Optional[PullWatch]) -> Optional[str]:
        return self._transfer(pull_argv(reference, platform, quiet=not watch), watch, lambda see: self._ask(reference, platform, PULL_TIMEOUT_S, see))

    def _transfer(self, argv: list[str], watch: Optional[PullWatch], ask: Callable) -> Optional[str]:
        """One try; returns why it failed. Only the engine itself tells bytes, and only the command knows logins."""
        if watch:
            try:
                return ask(watch.event)
            except api.NoApi:
                pass
            except (TimeoutError, OSError) as problem:
                return "context deadline exceeded" if isinstance(problem, TimeoutError) else str(problem)
        done = self.call(argv, PULL_TIMEOUT_S, **({"watch": watch.line} if watch else {}))
        if done.code == 0:
            return None
        return "context deadline exceeded" if done.code is None else done.err + done.out
