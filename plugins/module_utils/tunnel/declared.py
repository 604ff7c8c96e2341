# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack's definition says about its tunnel, and the ingress rules that come of it on a host. Pure."""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import ingress, routes

# User of cloudflared's official image.
UID = 65532
# Where cloudflared finds the certificate authority of an origin.
CA_FOLDER = "/etc/cloudflared/ca"


def _networks_of(service):
    """Names of a service's networks, in their order; the Compose default without any."""
    networks = service.get("networks") or ["default"]
    return list(networks)


def network_of(definition, service, networks):
    """The Docker network by which cloudflared reaches a service: the first that is not internal, else the first.

    :arg service: dict, the merged Compose service. :arg networks: dict, the top-level networks.
    :returns: str, the name in Docker.
    """
    names = _networks_of(service)
    name = next((name for name in names if not (networks.get(name) or {}).get("internal")), names[0])
    return (networks.get(name) or {}).get("name") or "%s_%s" % (definition["name"], name)


def check(definition, services):
    """Problems of ``tunnel`` that the schema can't see.

    :arg services: dict of str to dict, the merged Compose services.
    :returns: list of str
    """
    problems, settings, secrets = [], definition.get("settings", {}), definition.get("secrets", {})
    for index, entry in enumerate(definition.get("tunnel", [])):
        where = "tunnel[%d]" % index
        if entry["service"] not in services:
            problems.append("%s/service: compose.yaml has no service '%s'; it has: %s" % (where, entry["service"], ", ".join(sorted(services))))
        elif "network_mode" in services[entry["service"]]:
            problems.append("%s/service: '%s' has a network_mode, so cloudflared can't reach it by its name; needed networks" % (where, entry["service"]))
        hostname = entry["hostname"]
        if isinstance(hostname, dict) and hostname["setting"] not in settings:
            problems.append("%s/hostname: no setting is named %s; there are: %s" % (where, hostname["setting"], ", ".join(sorted(settings)) or "none"))
        if isinstance(hostname, str) and routes.hostname_problem(hostname):
            problems.append("%s/hostname: found %s; needed the name under which the service is reached, or {setting: NAME}"
                            % (where, routes.hostname_problem(hostname)))
        secure = entry.get("scheme", "http") == "https"
        for key in ("ca", "no_tls_verify", "server_name"):
            if entry.get(key) and not secure:
                problems.append("%s/%s: found it with scheme %s; needed scheme: https" % (where, key, entry.get("scheme", "http")))
        if entry.get("ca") and entry.get("no_tls_verify"):
            problems.append("%s: found both ca and no_tls_verify; needed one of them, for a CA is not asked when nothing is verified" % where)
        if entry.get("ca") and entry["ca"] not in secrets:
            problems.append("%s/ca: found '%s'; needed one of `secrets`: %s" % (where, entry["ca"], ", ".join(sorted(secrets)) or "there are none"))
        elif entry.get("ca") and UID not in secrets[entry["ca"]].get("readers", []):
            problems.append("%s/ca: found no reader %d in secrets/%s/readers; needed it, for cloudflared has that uid" % (where, UID, entry["ca"]))
    return problems


def entries(definition, services, networks, settings, directory, host, given):
    """What the host's tunnel gets of a stack: the declared services whose hostname is set.

    :arg settings: dict of str to str, resolved. :arg directory: str, the stack's folder on the host.
    :arg host: str, its name in the inventory, which a self-signed certificate carries.
    :arg given: iterable of str, names of the secrets that the operator gives himself.
    :returns: list of dict with ``stack``, ``service``, ``network``, ``ca_file`` (on the host, or empty) and ``rule`` (as module_utils/tunnel/ingress has it)
    """
    found = []
    for index, entry in enumerate(definition.get("tunnel", [])):
        hostname = entry["hostname"]
        name = settings.get(hostname["setting"], "") if isinstance(hostname, dict) else hostname
        if name == "":
            continue
        scheme = entry.get("scheme", "http")
        network = network_of(definition, services[entry["service"]], networks)
        rule = {
            "hostname": name,
            # Qualified by its network: two stacks of a host may have a service of the same name.
            "service": "%s://%s.%s:%d" % (scheme, entry["service"], network, entry["port"]),
            "from": "stack %s, %s" % (definition["name"], "dockyard_settings_%s.%s" % (definition["name"].replace("-", "_"), hostname["setting"])
                                      if isinstance(hostname, dict) else "tunnel[%d]" % index),
        }
        for key in ("path", "host_header", "no_tls_verify"):
            if entry.get(key):
                rule[key] = entry[key]
        ca_file = ""
        if entry.get("ca"):
            ca_file = "%s/secrets/%s.%d" % (directory, entry["ca"], UID)
            rule["ca_pool"] = "%s/%s.pem" % (CA_FOLDER, definition["name"])
            # The one that we make is for the host's name; one of the operator's is for the public name.
            rule["server_name"] = entry.get("server_name") or (name if entry["ca"] in given else host)
        elif entry.get("server_name"):
            rule["server_name"] = entry["server_name"]
        found.append({"stack": definition["name"], "service": entry["service"], "network": network, "ca_file": ca_file, "rule": rule})
    return found


def rules_of(declared, own):
    """All ingress rules of a host: those of its stacks, then the operator's own.

    :arg declared: list of dict of :func:`entries`. :arg own: list of dict, ``tunnel_ingress``.
    """
    return [entry["rule"] for entry in declared] + [dict({"from": "tunnel_ingress[%d]" % index}, **rule) for index, rule in enumerate(own)]


def problems_of_rules(rules):
    """What is wrong with all rules of a host; see :func:`ingress.problems_of`."""
    return ingress.problems_of(rules)
