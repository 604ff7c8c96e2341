# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios of whole stacks ask, from outside and on the host."""

from __future__ import annotations

import json
import urllib.error
import urllib.request


def ask(host, port, path, body=None):
    """(status, text) of an HTTP request from this machine to a host of testinfra; ``body`` (bytes or what becomes JSON) makes it a POST."""
    address = host.backend.get_variables()["ansible_host"]
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request("http://%s:%d%s" % (address, port, path), data=data, headers={"Content-Type": "application/json"} if data else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def containers(host, stack):
    """The stack's running containers: {service: what docker inspect says of it (dict)}."""
    with host.sudo():
        names = host.run("docker ps --quiet --filter label=com.docker.compose.project=%s" % stack)
        assert names.rc == 0, names.stderr
        found = host.run("docker inspect %s" % " ".join(names.stdout.split()))
    assert found.rc == 0, found.stderr
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in json.loads(found.stdout)}


def without_power(container):
    """Whether a container of ``docker inspect`` (dict) runs as production wants it: nobody, nothing, nowhere to write."""
    limits = container["HostConfig"]
    return (container["Config"]["User"].split(":")[0] not in ("", "0", "root") and limits["ReadonlyRootfs"] and not limits["Privileged"]
            and limits["CapDrop"] == ["ALL"] and not limits["CapAdd"] and "no-new-privileges:true" in limits["SecurityOpt"] and limits["Memory"] > 0)
