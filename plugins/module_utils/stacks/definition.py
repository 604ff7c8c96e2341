# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack definition and its Compose files say together. Pure: parsed documents in, answers out.

A *Compose document* here is the parsed YAML of ``compose.yaml`` or of an overlay of it. Overlays are
merged only as far as these questions need (services, volumes, secrets, networks by name).
"""

from __future__ import annotations

import posixpath
import re


def variable_of(service):
    """The Compose variable that carries the image of a service: ``api-v2`` gives ``API_V2_IMAGE``."""
    return re.sub(r"[^A-Za-z0-9]", "_", service).upper() + "_IMAGE"


def services_of(documents):
    """The services of Compose documents merged in order.

    :arg documents: list of dict.
    :returns: dict of str to dict; lists of later documents are appended, other keys replace.
    """
    merged = {}
    for document in documents:
        for name, service in (document.get("services") or {}).items():
            target = merged.setdefault(name, {})
            for key, value in (service or {}).items():
                if isinstance(value, list) and isinstance(target.get(key), list):
                    target[key] = target[key] + value
                else:
                    target[key] = value
    return merged


def top_level(documents, key):
    """The names under a top-level key (``volumes``, ``secrets``, ``configs``, ``networks``) of all documents, as a dict."""
    merged = {}
    for document in documents:
        for name, value in (document.get(key) or {}).items():
            merged[name] = value or {}
    return merged


def images_by_service(definition):
    """Which image entry each service runs.

    :arg definition: dict, a valid stack definition.
    :returns: dict of service name to image name.
    """
    found = {}
    for name, image in definition["images"].items():
        for service in image.get("services", [name]):
            found[service] = name
    return found


def _names(value):
    """The names in a Compose list of references, short (``- a``) or long (``- source: a``)."""
    return [item if isinstance(item, str) else item.get("source", "") for item in value or []]


def secrets_of_services(documents):
    """Which declared secrets each service mounts, by way of files ``./secrets/<name>.<uid>``.

    :returns: dict of service to list of (secret name, uid or None) in the order of mounting.
    """
    files = {}
    for name, entry in top_level(documents, "secrets").items():
        path = posixpath.normpath(str(entry.get("file", "")))
        match = re.match(r"^secrets/([a-z][a-z0-9_]*)(?:\.([0-9]+))?$", path)
        if match:
            files[name] = (match.group(1), int(match.group(2)) if match.group(2) else None)
    return {
        service: [files[name] for name in _names(entry.get("secrets")) if name in files]
        for service, entry in services_of(documents).items()
    }


def files_of_services(documents):
    """Which files beside ``compose.yaml`` each service mounts (bind mounts and configs with a relative path).

    :returns: dict of service to sorted list of normalised relative paths.
    """
    configs = {name: entry.get("file") for name, entry in top_level(documents, "configs").items()}
    found = {}
    for service, entry in services_of(documents).items():
        paths = [configs.get(name) for name in _names(entry.get("configs"))]
        for mount in entry.get("volumes") or []:
            paths.append(mount.split(":")[0] if isinstance(mount, str) else mount.get("source"))
        found[service] = sorted(set(
            posixpath.normpath(path) for path in paths if path and path.startswith("./") and not path.startswith("./secrets/")))
    return found


def cross_check(definition, documents, present):
    """Problems between a definition and its Compose files that a schema can't see.

    :arg definition: dict, valid by the schema.
    :arg documents: list of dict, Compose documents in the order of merging.
    :arg present: callable(str) -> bool, whether a path relative to the stack's folder exists.
    :returns: list of str, one sentence each: where, found, needed.
    """
    problems = []
    services = services_of(documents)
    settings = definition.get("settings", {})
    imaged = images_by_service(definition)

    for service in sorted(set(services) - set(imaged)):
        problems.append("images: the service '%s' of compose.yaml has no entry; add images/%s with build or pull" % (service, service))
    for service in sorted(set(imaged) - set(services)):
        problems.append("images/%s: compose.yaml has no service '%s'; it has: %s" % (imaged[service], service, ", ".join(sorted(services))))
    for service, name in sorted(imaged.items()):
        reference = str(services.get(service, {}).get("image", ""))
        if service in services and "${%s" % variable_of(service) not in reference:
            problems.append("compose.yaml, services/%s/image: found %r, needed ${%s:-...}, by which the verified image gets there"
                            % (service, reference, variable_of(service)))
    for name, image in definition["images"].items():
        if ("build" in image) == ("pull" in image):
            problems.append("images/%s: needed exactly one of build and pull" % name)
        elif "build" in image:
            path = posixpath.join(image["build"]["recipe"], image["build"].get("dockerfile", "Dockerfile"))
            if any(posixpath.normpath(part).split("/")[0] in ("..", "") for part in (image["build"]["recipe"], path)):
                problems.append("images/%s/build: %s leaves the stack's folder" % (name, path))
            elif not present(path):
                problems.append("images/%s/build: no file %s in the stack's folder" % (name, path))
            if image["build"].get("source", True) and "source" not in definition:
                problems.append("images/%s/build: builds from the application's source, but the stack names none; add `source`, or `source: false` here" % name)
    for key, known in (("env", services), ("limits", services), ("volumes", top_level(documents, "volumes"))):
        for name in sorted(set(definition.get(key, {})) - set(known)):
            problems.append("%s/%s: compose.yaml has no such %s; it has: %s"
                            % (key, name, "volume" if key == "volumes" else "service", ", ".join(sorted(known)) or "none"))
    for service, entry in sorted(services.items()):
        listed = entry.get("env_file") or []
        for item in [listed] if isinstance(listed, (str, dict)) else listed:
            path = posixpath.normpath(str(item.get("path") if isinstance(item, dict) else item))
            if path != "%s.env" % service:
                problems.append("compose files, services/%s/env_file: found %s, needed %s.env, which is made from env/%s; "
                                "a change in another one would not be noticed" % (service, path, service, service))
    for job in definition.get("health", {}).get("jobs", []):
        if job not in services:
            problems.append("health/jobs: compose.yaml has no service '%s'" % job)
    for index, port in enumerate(definition.get("ports", [])):
        if port["service"] not in services:
            problems.append("ports[%d]/service: compose.yaml has no service '%s'" % (index, port["service"]))
        if settings.get(port["setting"], {}).get("type") != "port":
            problems.append("ports[%d]/setting: needed a setting of type port named %s" % (index, port["setting"]))
    for key in ("prove", "urls"):
        for index, entry in enumerate(definition.get(key, [])):
            if entry["setting"] not in settings:
                problems.append("%s[%d]/setting: no setting is named %s" % (key, index, entry["setting"]))
    for index, entry in enumerate(definition.get("files", [])):
        normal = posixpath.normpath(entry["source"])
        if normal.startswith("..") or posixpath.isabs(normal):
            problems.append("files[%d]/source: %s leaves the stack's folder" % (index, entry["source"]))
        elif not present(normal):
            problems.append("files[%d]/source: no file %s in the stack's folder" % (index, entry["source"]))
    declared = set(posixpath.normpath(entry["source"]) for entry in definition.get("files", []))
    for service, paths in sorted(files_of_services(documents).items()):
        for path in paths:
            if path not in declared and not any(name.startswith(path + "/") for name in declared):
                problems.append("compose files, services/%s: mounts ./%s, which `files` does not bring to the host" % (service, path))
    secrets = definition.get("secrets", {})
    for service, mounted in sorted(secrets_of_services(documents).items()):
        for name, uid in mounted:
            if name not in secrets:
                problems.append("compose files, services/%s: mounts the secret '%s', which `secrets` does not declare" % (service, name))
            elif uid is not None and uid not in secrets[name].get("readers", []):
                problems.append("compose files, services/%s: mounts secrets/%s.%d, but secrets/%s/readers has no %d" % (service, name, uid, name, uid))
    sources = [secret["source"] for secret in secrets.values()]
    if sources.count("tls_certificate") != sources.count("tls_key") or sources.count("tls_key") > 1:
        problems.append("secrets: needed one tls_certificate and one tls_key, or neither; found %d and %d"
                        % (sources.count("tls_certificate"), sources.count("tls_key")))
    return problems
