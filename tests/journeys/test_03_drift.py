# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and power cuts do to a host, one run repairs."""

from __future__ import annotations

import base64
import uuid

from fleet import STACK

# Run in the application's container, where the routes of the administration answer: a backup is made, a picture is looked at until each
# worker has a connection in its pool, and the backup comes back.
RESTORE = """
import io, json, re, urllib.request
from PIL import Image

def ask(path, body=b"", kind="application/json"):
    request = urllib.request.Request("http://127.0.0.1:8000" + path, data=body, headers={"Content-Type": kind})
    return urllib.request.urlopen(request, timeout=120).read()

item = json.loads(ask("/create-item", json.dumps({"item_name": NAME}).encode()))["guid"]
picture = io.BytesIO()
Image.new("RGB", (300, 200), "red").save(picture, "PNG")
part = b'--b\\r\\nContent-Disposition: form-data; name="image"; filename="a.png"\\r\\nContent-Type: image/png\\r\\n\\r\\n'
ask("/upload-image/" + item, part + picture.getvalue() + b"\\r\\n--b--\\r\\n", "multipart/form-data; boundary=b")
backup = json.loads(ask("/api/backup/create"))["backup_file"]
number = re.search("/image/([0-9]+)", ask("/item/" + item, None).decode()).group(1)
# There are two workers: with nothing in the pool of the one that restores, nothing would be proven.
for unused in range(40):
    assert ask("/thumbnail/" + number, None).startswith(b"RIFF")
print(ask("/api/backup/restore-existing/" + backup).decode())
"""


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


def test_the_applications_own_restore_does_not_wait_for_itself(converged):
    """Its pool holds locks on what it is about to drop (ACCESS SHARE of each picture shown); the database must end such connections."""
    host = converged.a
    name = f"Restored {uuid.uuid4().hex}"
    script = base64.b64encode(("NAME = %r\n" % name + RESTORE).encode()).decode()
    said = host.sh(f"cd {STACK} && echo {script} | base64 -d | timeout 100 docker compose exec -T app python -")
    assert '"success":true' in said.replace(" ", ""), said
    host.wait_healthy()
    assert name in host.ask("/")[1]
    converged.unchanged()
