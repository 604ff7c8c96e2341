# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions of a release. Pure.

A *container* here is a dict with ``service``, ``state`` (Docker's: running, exited, created, restarting, dead, paused),
``health`` (healthy, unhealthy, starting or None), ``exit_code`` (int or None), ``config_hash`` and ``image``.
"""

from __future__ import annotations

READY, WAIT, LOST = "ready", "wait", "lost"


def standing(container, is_job):
    """How far a container is.

    An early ``unhealthy`` or a crash is something to wait out: applications that wait for a database, or load a
    model, get well later; only the deadline decides.

    :returns: ``ready``, ``wait`` or ``lost`` (cannot get ready by itself any more).
    """
    state, health = container["state"], container.get("health")
    if is_job:
        if state == "exited":
            return READY if container.get("exit_code") == 0 else LOST
        return WAIT
    if state == "running":
        return READY if health in (None, "none", "healthy") else WAIT
    if state in ("exited", "dead"):
        # Docker restarts it by its policy, or nobody does; either way the deadline tells.
        return LOST if container.get("restart") in (None, "", "no") else WAIT
    return WAIT


def to_bring_up(services, jobs, hashes, containers, networks=None):
    """Which services are not as they should be, and why.

    :arg services: iterable of str. :arg jobs: services that run once.
    :arg hashes: dict of service to the hash that Compose computes now.
    :arg containers: list of containers of the project; ``networks`` of one are those that it is in (names).
    :kwarg networks: dict of service to the networks that it was in when it was brought up.
    :returns: dict of service to reason: ``created``, ``changed``, ``started``, ``restarted`` (unhealthy with the right configuration),
        ``reconnected`` (somebody took it out of a network, as the removal of that network does; its configuration does not tell).
    """
    by_service = {}
    for container in containers:
        by_service.setdefault(container["service"], []).append(container)
    reasons = {}
    for service in services:
        found = by_service.get(service)
        if not found:
            reasons[service] = "created"
        elif any(container.get("config_hash") != hashes.get(service) for container in found):
            reasons[service] = "changed"
        elif service in jobs:
            if any(standing(container, True) != READY for container in found):
                reasons[service] = "started"
        elif any(container["state"] not in ("running", "restarting") for container in found):
            reasons[service] = "started"
        elif any(set((networks or {}).get(service, ())) - set(container.get("networks", ())) for container in found):
            reasons[service] = "reconnected"
        elif any(container.get("health") == "unhealthy" for container in found):
            reasons[service] = "restarted"
    return reasons


def levels(dependencies):
    """Services in the order in which they can start.

    :arg dependencies: dict of service to iterable of the services that it waits for.
    :returns: list of sorted lists; each needs only those before it.
    :raises ValueError: the dependencies go in a circle; names the services.
    """
    left = {service: set(needed) & set(dependencies) for service, needed in dependencies.items()}
    order = []
    while left:
        free = sorted(service for service, needed in left.items() if not needed)
        if not free:
            raise ValueError("depends_on goes in a circle: %s" % ", ".join(sorted(left)))
        order.append(free)
        left = {service: needed - set(free) for service, needed in left.items() if service not in free}
    return order


def dependencies_of(model):
    """``depends_on`` of each service of a resolved Compose model.

    :returns: dict of service to dict of service to condition entry.
    """
    return {name: dict(service.get("depends_on") or {}) for name, service in model.get("services", {}).items()}


def undeclared_ports(model, allowed, loopback=False, host_network=()):
    """Ports that the Compose files publish and the stack does not declare.

    :arg allowed: list of dict with ``service``, ``container``, ``protocol``, ``published``.
    :kwarg loopback: bool, whether ports on the loopback address only need no declaration (debug ports of a development environment).
    :kwarg host_network: services whose use of the host's network was asked for, twice (Bluetooth's way `host`).
    :returns: list of str problems.
    """
    known = set((port["service"], int(port["container"]), port.get("protocol", "tcp"), str(port["published"])) for port in allowed)
    problems = []
    for name, service in sorted(model.get("services", {}).items()):
        for port in service.get("ports") or []:
            published = port.get("published")
            if published in (None, ""):
                problems.append("services/%s/ports: publishes %s on a random port; needed a declared one: add it to `ports` of stack.yml"
                                % (name, port.get("target")))
            elif (name, int(port["target"]), port.get("protocol", "tcp"), str(published)) not in known and not (
                    loopback and port.get("host_ip") in ("127.0.0.1", "::1")):
                problems.append("services/%s/ports: publishes %s:%s/%s, which `ports` of stack.yml does not declare"
                                % (name, published, port["target"], port.get("protocol", "tcp")))
        if service.get("network_mode") == "host" and name not in host_network:
            problems.append("services/%s: network_mode host opens every port of the program; declare `ports` instead" % name)
    return problems
