# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own interface, for what the docker command does not tell: the bytes of a pull or push."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import time
from typing import Callable, Optional
from urllib.parse import quote, urlencode

from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference

SOCKET = "/var/run/docker.sock"
_LINE_MAX = 1024 * 1024


class NoApi(Exception):
    """The engine cannot be asked this way; the docker command can."""


class _Local(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def is_plain(reference: str, config: dict, environment: dict) -> bool:
    """Whether the docker command would use the engine's own socket and no login for this image, so that the engine may be asked directly.

    ``config`` is Docker's config.json.
    """
    if environment.get("DOCKER_HOST") or environment.get("DOCKER_CONTEXT") or config.get("currentContext") not in (None, "", "default"):
        return False
    domain = parse_reference(reference).domain
    known = [*(config.get("auths") or {}), *(config.get("credHelpers") or {})]
    hub = domain == "docker.io"
    named = [entry for entry in known if domain in entry or (hub and "docker.io" in entry)]
    return not named and not config.get("credsStore")


def read_config(environment: dict) -> dict:
    """Docker's config.json of this user; empty when there is none. Raises NoApi for one that cannot be read."""
    path = os.path.join(environment.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker"), "config.json")
    try:
        with open(path, encoding="utf-8") as stream:
            config = json.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise NoApi(str(problem)) from problem
    if not isinstance(config, dict):
        raise NoApi(f"{path} is no object")
    return config


def pull(reference: str, platform: Optional[str], timeout_s: float, watch: Callable[[dict], None], path: str = SOCKET,
         environment: Optional[dict] = None) -> Optional[str]:
    """Fetch an image without a login; ``watch`` gets each event. Returns null, or why it failed in the words of the docker command.

    Raises NoApi before anything was asked, TimeoutError at the deadline.
    """
    parsed = parse_reference(reference)
    query = {"fromImage": parsed.familiar_repository, "tag": parsed.digest or parsed.tag}
    if platform:
        query["platform"] = platform
    return _post(f"/images/create?{urlencode(query)}", reference, timeout_s, watch, path, environment)


def push(reference: str, timeout_s: float, watch: Callable[[dict], None], path: str = SOCKET, environment: Optional[dict] = None) -> Optional[str]:
    """Push an image to a registry that wants no login, as :func:`pull`."""
    parsed = parse_reference(reference)
    return _post(f"/images/{quote(parsed.familiar_repository)}/push?{urlencode({'tag': parsed.tag})}", reference, timeout_s, watch, path, environment)


def _post(target: str, reference: str, timeout_s: float, watch: Callable[[dict], None], path: str, environment: Optional[dict]) -> Optional[str]:
    environment = dict(os.environ) if environment is None else environment
    if not is_plain(reference, read_config(environment), environment):
        raise NoApi("a login or another engine")
    deadline = time.monotonic() + timeout_s
    connection = _Local(path, timeout_s)
    try:
        try:
            connection.connect()
        except OSError as problem:
            raise NoApi(str(problem)) from problem
        # Where the engine closes after its answer, the connection forgets the socket that the answer still comes from.
        channel = connection.sock
        # A push without this header is refused; it says that there is no login.
        connection.request("POST", target, headers={"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()} if "/push?" in target else {})
        response = connection.getresponse()
        if response.status != 200:
            return f"Error response from daemon: {_message(response.read(_LINE_MAX))}"
        while True:
            channel.settimeout(max(deadline - time.monotonic(), 0.1))
            line = response.readline(_LINE_MAX)
            if not line:
                return None
            event = _object(line)
            if event.get("error") or event.get("errorDetail"):
                return f"Error response from daemon: {(event.get('errorDetail') or {}).get('message') or event['error']}"
            watch(event)
            if time.monotonic() > deadline:
                raise TimeoutError
    except (http.client.HTTPException, ConnectionError) as problem:
        return f"Cannot connect to the Docker daemon: {problem or type(problem).__name__}"
    finally:
        connection.close()


def _object(line: bytes) -> dict:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _message(body: bytes) -> str:
    return str(_object(body).get("message") or body[:400].decode("utf-8", "replace"))
