# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and power cuts do to a host, one run repairs."""

from __future__ import annotations

import uuid

from fleet import STACK


def test_one_run_repairs_all_of_it(converged):
    host = converged.a
    app = host.sh("docker inspect -f '{{.Id}}' inventory-app-1")
    host.sh("docker rm -f inventory-nginx-1; docker stop inventory-app-1; echo '# edited by hand' >> "
            f"{STACK}/compose.yaml; rm {STACK}/app.env; chmod 0644 {STACK}/secrets/secret_key.1000")
    run = converged.deploy().good()
    assert run.changed[converged.a.name] >= 1
    assert host.healthy()
    assert host.sh(f"grep -c 'edited by hand' {STACK}/compose.yaml", check=False) == "0"
    assert host.sh(f"stat -c %a {STACK}/secrets/secret_key.1000 {STACK}/app.env") == "600\n600"
    assert host.sh("docker inspect -f '{{.State.Health.Status}}' inventory-nginx-1 inventory-app-1 inventory-db-1").split() == ["healthy"] * 3
    # A stopped container is started, not made anew: nothing that defines it was changed in the end.
    assert host.sh("docker inspect -f '{{.Id}}' inventory-app-1") == app
    converged.unchanged()


def test_an_item_outlives_a_reboot(converged):
    host = converged.a
    name = f"Kept through a reboot {uuid.uuid4().hex}"
    status, body = host.ask("/create-item", {"item_name": name})
    assert (status, '"success":true' in body.replace(" ", "")) == (200, True), body
    boot = host.sh("cat /proc/sys/kernel/random/boot_id")
    converged.bed("reboot", host.name)
    assert host.sh("cat /proc/sys/kernel/random/boot_id") != boot
    host.wait_healthy()
    assert name in host.ask("/")[1]
    # The run itself may have to wait for health checks, but has nothing to change.
    converged.unchanged()
