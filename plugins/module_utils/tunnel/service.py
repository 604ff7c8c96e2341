# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cloudflared as a Compose project of its own on a host, in the form that module release takes. Pure."""

from __future__ import annotations

import hashlib
import json

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import declared, ingress

PROJECT = "tunnel"
SERVICE = "cloudflared"
CONFIG = "/etc/cloudflared/config.yml"
CREDENTIALS = "/run/secrets/credentials.json"
TOKEN = "/run/secrets/token"
# What an operator's environment must not bring: it would be in `docker inspect`, or undo what is set here.
RESERVED = frozenset(["TUNNEL_TOKEN", "TUNNEL_TOKEN_FILE", "TUNNEL_CRED_FILE", "TUNNEL_CRED_CONTENTS", "TUNNEL_METRICS", "NO_AUTOUPDATE"])
LIMITS = {"memory": ("memory", "256M"), "pids": ("pids", 100)}


def environment_problems(environment):
    """:arg environment: dict, ``tunnel_environment``. :returns: list of str"""
    return ["tunnel_environment: found %s; needed none of %s, which the role sets (a secret would be seen in `docker inspect`); take it out"
            % (name, ", ".join(sorted(RESERVED))) for name in sorted(set(environment) & RESERVED)]


def networks_of(entries, more):
    """Docker networks that cloudflared joins: those of the stacks' services, then the operator's own. :returns: list of str"""
    return list(dict.fromkeys([entry["network"] for entry in entries] + list(more)))


def compose(entries, networks, local, metrics_port, environment):
    """The Compose document.

    :arg entries: list of dict of :func:`declared.entries`. :arg networks: list of str, names in Docker.
    :arg local: bool, whether the rules are in a file of ours; else cloudflared runs by its token alone.
    :arg metrics_port: int, on the container's own loopback. :arg environment: dict.
    """
    metrics = "127.0.0.1:%d" % metrics_port
    command = ["tunnel"] + (["--config", CONFIG] if local else []) + ["--metrics", metrics, "run"]
    volumes = [{"type": "bind", "source": "./config.yml", "target": CONFIG, "read_only": True, "bind": {"create_host_path": False}}] if local else []
    for stack, path in sorted(set((entry["stack"], entry["ca_file"]) for entry in entries if entry["ca_file"])):
        volumes.append({"type": "bind", "source": path, "target": "%s/%s.pem" % (declared.CA_FOLDER, stack), "read_only": True,
                        "bind": {"create_host_path": False}})
    service = {
        "image": "${CLOUDFLARED_IMAGE}",
        "user": "%d:%d" % (declared.UID, declared.UID),
        "command": command,
        "restart": "unless-stopped",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "networks": ["edge"] + ["origin%d" % index for index in range(len(networks))],
        "secrets": [{"source": "credentials", "target": "credentials.json"} if local else {"source": "token", "target": "token"}],
        # cloudflared's own question to /ready, which is 200 only with a connection to Cloudflare.
        "healthcheck": {"test": ["CMD", "cloudflared", "tunnel", "--metrics", metrics, "ready"],
                        "interval": "10s", "timeout": "10s", "retries": 3, "start_period": "60s"},
        # It lets requests that are under way end, for up to 30 s.
        "stop_grace_period": "35s",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }
    wanted = dict({key: str(value).replace("$", "$$") for key, value in environment.items()}, **({} if local else {"TUNNEL_TOKEN_FILE": TOKEN}))
    if wanted:
        service["environment"] = wanted
    if volumes:
        service["volumes"] = volumes
    name = "credentials" if local else "token"
    return {
        "name": PROJECT,
        "services": {SERVICE: service},
        # Its own way out, for a stack's network may have none.
        "networks": dict({"edge": {}}, **{"origin%d" % index: {"external": True, "name": network} for index, network in enumerate(networks)}),
        "secrets": {name: {"file": "./secrets/%s.%d" % (name, declared.UID)}},
    }


def ca_files(entries):
    """The certificates on the host that cloudflared verifies its origins by: list of str."""
    return sorted(set(entry["ca_file"] for entry in entries if entry["ca_file"]))


def release(name, entries, rules, local, tunnel, settings, facts):
    """The options of module release, secrets' values and rendered files aside.

    :arg name: str, the tunnel's name. :arg rules: list of dict. :arg tunnel: str, its id; only for ``local``.
    :arg settings: dict with ``networks``, ``metrics_port``, ``environment`` and ``checksums`` (of :func:`ca_files`, by path).
    :arg facts: dict, the host's.
    :returns: dict with ``documents`` (path to document, to be written as YAML), ``overlay``, ``secret`` (its name)
    """
    networks = networks_of(entries, settings["networks"])
    documents = {"compose.yaml": compose(entries, networks, local, settings["metrics_port"], settings["environment"])}
    if local:
        documents["config.yml"] = ingress.configuration(rules, tunnel, CREDENTIALS)
    controllers = (facts.get("cgroup") or {}).get("controllers")
    limits = {key: value for controller, (key, value) in LIMITS.items() if controllers is None or controllers.get(controller)}
    # A mounted file is read at the start only: another content is another container.
    known = {"config": documents.get("config.yml"), "ca": [settings["checksums"].get(path) for path in ca_files(entries)]}
    overlay = {"labels": {"org.dockyard.tunnel": name, "org.dockyard.files": hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]}}
    if limits:
        overlay["deploy"] = {"resources": {"limits": limits}}
    return {"documents": documents, "overlay": {SERVICE: overlay}, "secret": "credentials" if local else "token"}
