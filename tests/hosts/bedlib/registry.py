# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of the bed: its container, and the few calls of its HTTP API that `docker push` does not cover."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

from . import docker, hosts, identity, images, settings, shell

NAME = settings.CONTAINER_PREFIX + "registry"
CERTIFICATES = Path("/etc/docker/certs.d") / settings.REGISTRY_ADDRESS  # read by the engine at every push, no restart needed
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LISTS = (MANIFEST_LIST, OCI_INDEX)


def ensure() -> None:
    """The registry runs, with a certificate that the hosts and the machine's engine accept. Its data survive."""
    docker.ensure_network()
    image = images.layer("registry", images.slim("trixie").tag, settings.IMAGES / "registry").tag
    certificate, key = identity.certificate("registry", settings.REGISTRY_NAMES, [settings.REGISTRY_ADDRESS])
    with shell.locked("registry"):
        found = docker.inspect("container", NAME)
        if found and (found["Config"]["Image"] != image or _other_certificate(certificate)):
            docker.docker("rm", "--force", "--volumes", NAME)
            found = None
        if not found:
            docker.ensure_volume(f"{NAME}-data")
            docker.docker("create", "--name", NAME, "--hostname", "registry", *docker.labels(role="registry"),
                          "--network", settings.NETWORK, "--ip", settings.REGISTRY_ADDRESS, "--restart=unless-stopped",
                          "--volume", f"{NAME}-data:/var/lib/registry", image)
            docker.docker("cp", "-", f"{NAME}:/", stdin=hosts.archive([
                ("etc/bed", 0o755, 0, None),
                ("etc/bed/registry.crt", 0o644, 0, certificate.read_bytes()),
                ("etc/bed/registry.key", 0o600, 0, key.read_bytes()),
            ]))
        if not found or not found["State"]["Running"]:
            docker.docker("start", NAME)
        _trust()
        shell.wait_for("the registry answers", _answers, 20)


def _other_certificate(certificate: Path) -> bool:
    there = docker.docker("cp", f"{NAME}:/etc/bed/registry.crt", "-", check=False).stdout
    return certificate.read_text().strip() not in there


def _trust() -> None:
    place = CERTIFICATES / "ca.crt"
    if not place.exists() or place.read_bytes() != identity.ca().read_bytes():
        shell.run(shell.as_root(["mkdir", "-p", str(CERTIFICATES)]))
        shell.run(shell.as_root(["cp", str(identity.ca()), str(place)]))


def distrust() -> None:
    """Take the bed's CA away from the machine's engine again."""
    if CERTIFICATES.exists():
        shell.run(shell.as_root(["rm", "-r", str(CERTIFICATES)]))


def call(method: str, path: str, *, body: bytes | None = None, headers=None):
    """(status, headers, body) of one request to the registry's API."""
    context = ssl.create_default_context(cafile=str(identity.ca()))
    connection = http.client.HTTPSConnection(settings.REGISTRY_ADDRESS, 443, context=context, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def _answers() -> bool:
    try:
        return call("GET", "/v2/")[0] == 200
    except OSError:
        return False


def manifest(repository: str, reference: str):
    """{media_type, digest, size, content} of a manifest or a manifest list; None when the registry has no such thing."""
    accept = ", ".join((MANIFEST, MANIFEST_LIST, OCI_MANIFEST, OCI_INDEX))
    status, headers, body = call("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept})
    if status == 404:
        return None
    if status != 200:
        raise shell.BedError(f"the registry answers {status} for {repository}:{reference}: {body[:300]!r}")
    return {"media_type": headers["Content-Type"], "digest": headers["Docker-Content-Digest"], "size": len(body), "content": json.loads(body)}


def descriptor(found: dict, architecture: str) -> dict:
    """The entry of one architecture in a manifest list; `found` may itself be a list that has one."""
    if found["media_type"] in LISTS:
        for entry in found["content"]["manifests"]:
            if entry["platform"]["architecture"] == architecture:
                return entry
        raise shell.BedError(f"the manifest list {found['digest']} has no {architecture}")
    platform = {"architecture": architecture, "os": "linux"}
    if architecture == "arm64":
        platform["variant"] = "v8"
    return {"mediaType": found["media_type"], "digest": found["digest"], "size": found["size"], "platform": platform}


def manifest_list(entries) -> bytes:
    ordered = sorted(entries, key=lambda entry: entry["platform"]["architecture"])
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": ordered}, indent=3).encode()


def put_list(repository: str, tag: str, entries) -> str:
    """Put a manifest list of `entries` under the tag; returns its digest."""
    status, headers, body = call("PUT", f"/v2/{repository}/manifests/{tag}", body=manifest_list(entries),
                                 headers={"Content-Type": MANIFEST_LIST})
    if status != 201:
        raise shell.BedError(f"the registry answers {status} to the manifest list {repository}:{tag}: {body[:300]!r}")
    return headers["Docker-Content-Digest"]


def image_id(repository: str, tag: str, architecture: str):
    """The id of the image (digest of its configuration) that this architecture gets for repository:tag; None without one."""
    found = manifest(repository, tag)
    if found and found["media_type"] in LISTS:
        entries = [entry for entry in found["content"]["manifests"] if entry["platform"]["architecture"] == architecture]
        found = manifest(repository, entries[0]["digest"]) if entries else None
    return found["content"]["config"]["digest"] if found else None


def push(local: str, repository: str, tag: str) -> None:
    """Push an image of the machine's engine."""
    name = f"{settings.REGISTRY_ADDRESS}/{repository}:{tag}"
    docker.docker("tag", local, name)
    try:
        shell.run_logged(["docker", "push", "--quiet", name], f"push-{repository.replace('/', '_')}-{tag}")
    finally:
        docker.docker("rmi", "--no-prune", name, check=False)


def publish(local: str, repository: str, tag: str, architecture: str) -> bool:
    """The registry has this image under repository:tag for this architecture, others' entries stay. True when it was pushed."""
    wanted = docker.inspect("image", local)["Id"]
    if image_id(repository, tag, architecture) == wanted:
        return False
    there = manifest(repository, tag)
    if there is None or there["media_type"] not in LISTS:
        push(local, repository, tag)
        return True
    push(local, repository, f"{tag}-{architecture}")
    others = [entry for entry in there["content"]["manifests"] if entry["platform"]["architecture"] != architecture]
    put_list(repository, tag, [*others, descriptor(manifest(repository, f"{tag}-{architecture}"), architecture)])
    return True
