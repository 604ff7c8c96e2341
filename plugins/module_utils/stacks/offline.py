# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack of the environment `offline` would ask of the internet. Pure: documents and facts in, problems out."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from urllib.parse import urlsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import redact
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.plan import problem

VARIABLE = "dockyard_offline_hosts"
# Build arguments of our recipes that name a package index, and the setting of each; empty ones mean the public index.
INDEXES = {"PIP_INDEX_URL": "images_pip_index_url", "NPM_REGISTRY": "images_npm_registry", "APT_MIRROR": "images_apt_mirror"}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'`<>|\\{}$]+")
_NO_NETWORK = ("file", "unix", "npipe", "data", "sqlite", "dir")
# Names that no public name server may answer (RFC 6761, 6762, 8375), and ICANN's one for private use.
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa", ".invalid")
_READ_BY_SERVICES = ("environment", "command", "entrypoint")


def hosts_of(url):
    """The host names of a URL, several for such as ``mongodb://a,b:27017/``; none for one that is not of a network."""
    scheme, unused, rest = url.partition("://")
    if scheme.lower() in _NO_NETWORK:
        return []
    hosts = []
    for place in re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].split(","):
        try:
            host = urlsplit("//" + place).hostname
        except ValueError:
            host = place
        if host:
            hosts.append(host.rstrip(".").lower())
    return hosts


def is_outside(host, allowed, known=()):
    """Whether a host is somewhere in the internet, as far as its name tells.

    Inside are private and loopback addresses, names without a dot (services, and hosts of the local network), names that are never public, and
    what the operator named.

    :arg allowed: list of str, ``dockyard_offline_hosts``; ``*.site.example`` stands for all below it.
    """
    if host in known or any(fnmatch.fnmatchcase(host, str(pattern).lower()) for pattern in allowed):
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_SUFFIXES)


def outside_urls(text, allowed, known=()):
    """The URLs in a text that lead outside, without credentials, each once."""
    found = []
    for url in _URL.findall(str(text)):
        url = url.rstrip(".,;:)]")
        if any(is_outside(host, allowed, known) for host in hosts_of(url)) and redact(url) not in found:
            found.append(redact(url))
    return found


def registry_of(reference):
    """The registry's host of a parsed image reference, without its port."""
    return reference.domain.rpartition(":")[0] if re.search(r":[0-9]+\Z", reference.domain) else reference.domain


def _texts(value):
    if isinstance(value, dict):
        return [text for key in value for text in _texts(value[key])]
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    return [value] if isinstance(value, str) else []


def build_settings(definition, documents, contents):
    """Settings that only builds read: what they say counts for an image that has to be built, and for nothing that runs.

    :arg contents: dict of path to text, the stack's rendered files.
    """
    found = set()
    for image in definition["images"].values():
        found |= set(definitions.setting_of(value) for value in image.get("build", {}).get("args", {}).values() if isinstance(value, dict))
    rest = {key: value for key, value in definition.items() if key not in ("images", "settings")}
    elsewhere = repr(documents) + repr(rest) + repr(sorted(contents.items()))
    return set(name for name in found if re.search(r"\b%s\b" % re.escape(name), elsewhere) is None)


def variable_problems(definition, documents, contents, settings, env, given, allowed):
    """Outside URLs in what the services are told: settings, environment, and the Compose files themselves.

    :arg env: dict of service to dict, resolved. :arg given: dict of service to dict, the operator's part of it.
    :returns: list of str problems.
    """
    name = definition["name"]
    variable = name.replace("-", "_")
    services = definitions.services_of(documents)
    known = set(services) | set(str(service.get(key)) for service in services.values() for key in ("hostname", "container_name") if service.get(key))
    problems = []

    def tell(where, value, setting):
        for url in outside_urls(value, allowed, known):
            problems.append(problem("%s, %s" % (name, where), url, "nothing outside in the environment offline",
                                    "%s, or name its host in %s if this host reaches it without the internet" % (setting, VARIABLE)))

    only_builds = build_settings(definition, documents, contents)
    for key, value in sorted(settings.items()):
        if key not in only_builds:
            tell("setting %s" % key, value, "correct dockyard_settings_%s.%s" % (variable, key))
    for service, values in sorted(env.items()):
        for key, value in sorted(values.items()):
            origin = "correct" if key in (given.get(service) or {}) else "override the stack's own value with"
            tell("environment of %s, %s" % (service, key), value, "%s dockyard_env_%s.%s.%s" % (origin, variable, service, key))
    for service, entry in sorted(services.items()):
        for key in _READ_BY_SERVICES:
            for text in _texts(entry.get(key)):
                tell("%s of %s in the Compose files" % (key, service), text, "correct compose.offline.yaml of the stack")
    return list(dict.fromkeys(problems))


def artifact_problems(entry, wanted, part, mirrors, allowed):
    """Files of a set that would come from outside.

    :arg entry: dict of ``artifact_entries()``. :arg wanted: the set, with ``id`` and ``files``.
    :arg part: dict, what the facts tell of the host's store, or None. :arg mirrors: list of str, ``artifacts_mirrors``.
    """
    seen = (((((part or {}).get("sets") or {}).get(entry["stack"]) or {}).get(entry["name"])) or {}).get(wanted.id) or {}
    lacking = set(seen.get("missing_optional") or [])
    if any("://" not in mirror or not outside_urls(mirror, allowed) for mirror in mirrors):
        # The controller, another host, or a server that this host reaches.
        return []
    problems = []
    for item in wanted.files:
        if seen.get("complete") and item["name"] not in lacking:
            continue
        if wanted.local(item)[0] is not None:
            continue
        urls = [source.get("url") or source.get("s3") for source in item["sources"] if source.get("url") or source.get("s3")]
        # A name of S3 is a bucket's; its server is Amazon's unless artifacts_s3 says otherwise, which a mirror says better.
        outside = [redact(url) for url in urls if url.startswith("s3://") or outside_urls(url, allowed)]
        if urls and len(outside) == len(urls):
            problems.append(problem(
                "%s, artifact %s, %sfile %s" % (entry["stack"], entry["name"], "" if item["required"] else "optional ", item["name"]),
                "not in the store of this host, and its sources are %s" % ", ".join(outside), "the file in the store, or a source that this host reaches",
                "artifacts_mirrors (controller, host:<name> or a URL), dockyard_artifacts_%s.%s.manifest, or name the host in %s"
                % (entry["stack"].replace("-", "_"), entry["name"], VARIABLE)))
    return problems


def pull_problem(where, text, reference, reason, mirrors, allowed, setting):
    """The problem of an image that would be pulled, or None when its registry is inside.

    :arg mirrors: list of str, the registry mirrors of the host's engine, which stand for Docker Hub.
    """
    if not is_outside(registry_of(reference), allowed):
        return None
    if reference.domain == "docker.io" and any(not outside_urls(mirror, allowed) for mirror in mirrors):
        return None
    return problem(where, "%s (%s), which would be pulled from %s" % (text, reason, reference.domain),
                   "the image on this host, or in a registry that it reaches",
                   "%s, load the image on the host (docker load), or name its registry in %s" % (setting, VARIABLE))


def index_problems(where, stack, image, declared, args, reason, allowed):
    """Package indexes outside that a build would ask.

    :arg declared: the build arguments that the Dockerfile declares. :arg args: dict, those that it gets.
    """
    problems, needed = [], "the image on this host, or an index inside"
    for key in sorted(set(declared) | set(args)):
        value = str(args.get(key, ""))
        own = "dockyard_build_args_%s.%s.%s" % (stack.replace("-", "_"), image, key)
        setting = INDEXES.get(key, own)
        change = "set %s to an index inside, build it where there is a network (images_builders), or name the host in %s" % (setting, VARIABLE)
        if key in INDEXES and not value:
            problems.append(problem(where, "%s, and its build asks the public package index (%s is empty)" % (reason, key), needed, change))
        for url in outside_urls(value, allowed):
            problems.append(problem(where, "%s, and its build asks %s (%s)" % (reason, url, key), needed, change))
    return problems


def tunnel_problems(stack, entries):
    """Hostnames that a tunnel would serve: it is a connection to its provider.

    :arg entries: list of dict with ``rule``, what the host's tunnel gets of the stack.
    """
    return [problem("%s, tunnel" % stack, "the hostname %s, which is served through a provider in the internet" % entry["rule"]["hostname"],
                    "no tunnel in the environment offline", "leave the hostname empty (%s)" % entry["rule"]["from"]) for entry in entries]


def text_problems(where, text, reason, allowed):
    """URLs outside in the instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [problem(where, "%s, and its Dockerfile names %s" % (reason, url), "the image on this host",
                    "build it where there is a network (images_builders), or name the host in %s" % VARIABLE)
            for url in outside_urls("\n".join(lines), allowed)]
