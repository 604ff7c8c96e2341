# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role docker_engine's decisions as filters. What lies on the controller (certificates, keys, artifacts) is read here."""

from __future__ import annotations

import hashlib
import os
import re

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_list
from ansible_collections.dockyard.fleet.plugins.module_utils.engine import plan as engine


# Role variables of -e and of INI inventories are text whatever argument_specs says: "false" would be true, and "admin" five users.
_TYPES = (
    (check_type_bool, ("upgrade", "remove_conflicting", "recommends")),
    (check_type_list, ("registry_mirrors", "insecure_registries", "dns", "ca_certificates", "users")),
    (check_type_dict, ("daemon", "proxy", "compose_artifact", "buildx_artifact")),
)


def _typed(settings, refuse):
    """The settings with booleans, lists and mappings that came as text in their own types; numbers where a text is wanted as text."""
    typed = dict(settings)
    for convert, names in _TYPES:
        for name in names:
            if not isinstance(typed.get(name), (str, int)) or isinstance(typed[name], bool):
                continue
            try:
                typed[name] = convert(typed[name]) if typed[name] != "" else None
            except TypeError as error:
                refuse.append("docker_engine_%s: found %r; %s; correct it" % (name, typed[name], error))
                typed[name] = None
    if isinstance(typed.get("version"), (int, float)):
        typed["version"] = str(typed["version"])
    return typed


def _read(path):
    with open(os.path.expanduser(path), "rb") as stream:
        return stream.read()


def _digest(path):
    """sha256 of a file that may be large."""
    digest = hashlib.sha256()
    with open(os.path.expanduser(path), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def _missing(setting, path, error):
    return "%s: found %s on the controller; needed a readable file; set %s" % (path, error.strerror or error, setting)


def _certificates(paths, refuse):
    certificates = []
    for path in paths or []:
        try:
            content = _read(path)
        except OSError as error:
            refuse.append(_missing("docker_engine_ca_certificates", path, error))
            continue
        if b"-----BEGIN CERTIFICATE-----" not in content:
            refuse.append("%s: found no PEM certificate; needed a CA in PEM form; set docker_engine_ca_certificates" % path)
            continue
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.splitext(os.path.basename(path))[0])
        certificates.append({
            "source": os.path.expanduser(path), "name": "dockyard-%s.crt" % stem, "sha256": hashlib.sha256(content).hexdigest(),
        })
    names = [certificate["name"] for certificate in certificates]
    for name in sorted(set(name for name in names if names.count(name) > 1)):
        refuse.append("docker_engine_ca_certificates: found two files that become %s; needed different names; rename one of them" % name)
    return certificates


def _prepared(settings, refuse):
    """The settings with what the controller's files say."""
    prepared = dict(settings)
    prepared["ca_certificates"] = _certificates(settings.get("ca_certificates"), refuse)
    key = settings.get("repository_key")
    if key and not re.match(r"https?://", key):
        try:
            prepared["repository_key_data"] = _read(key)
        except OSError as error:
            refuse.append(_missing("docker_engine_repository_key", key, error))
    for part in ("compose", "buildx"):
        artifact = dict(settings.get("%s_artifact" % part) or {})
        if artifact.get("path"):
            try:
                artifact["found"] = _digest(artifact["path"])
            except OSError:
                artifact["found"] = None
        prepared["%s_artifact" % part] = artifact
    try:
        prepared["proxy_dropin"] = engine.proxy_dropin(settings.get("proxy"))
    except ValueError as error:
        refuse.append(str(error))
    return prepared


def _answer(probe):
    """The registered result of the loop that asked the repository, as the plan wants it."""
    if not probe:
        return None
    answer = {"reachable": True, "reason": "", "key": None}
    for result in probe.get("results", []):
        name = (result.get("item") or {}).get("key")
        if result.get("skipped"):
            continue
        if result.get("status") != 200:
            answer["reachable"] = False
            answer["reason"] = answer["reason"] or "%s: %s" % (result.get("url") or name, result.get("msg") or "status %s" % result.get("status"))
        elif name == "key":
            answer["key"] = (result.get("content") or "").encode("utf-8")
    return answer


def docker_engine_plan(facts, settings, probe=None):
    """What has to be done on the host."""
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        raise AnsibleFilterError("docker_engine_plan: found facts of schema %r; needed those of dockyard.fleet.host_facts, schema 1" % (
            facts.get("schema") if isinstance(facts, dict) else type(facts).__name__))
    refuse = []
    prepared = _prepared(_typed(settings, refuse), refuse)
    decided = engine.plan(facts, prepared, _answer(probe))
    decided["refuse"] = refuse + decided["refuse"]
    return decided


class FilterModule:
    """Filters of the role docker_engine."""

    def filters(self):
        """:returns: dict of name to function"""
        return {
            "docker_engine_plan": docker_engine_plan,
            "docker_engine_problems": engine.problems,
            "docker_engine_proxy_dropin": engine.proxy_dropin,
            "docker_engine_containerd_config": engine.containerd_config,
        }
