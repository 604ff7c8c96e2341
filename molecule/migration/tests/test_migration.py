# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A native inventory that became a stack: after the switch, a deployment and a restart of the host, and after the way back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

PROJECT = os.environ["MOLECULE_PROJECT_DIRECTORY"]
sys.path.insert(0, os.path.join(PROJECT, "molecule", "shared"))

from outside import containers, without_power  # noqa: E402

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")
STATE = "/var/lib/dockyard/migrations/inventory"
UNITS = ("cloudflared", "nginx", "inventory-app")


def sh(host, command):
    """Output of a command as root."""
    with host.sudo():
        done = host.run(command)
    assert done.rc == 0, "%s: %s%s" % (command, done.stdout, done.stderr)
    return done.stdout.strip()


def get(host, path):
    """Body (bytes) of what the application answers, from outside."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
    with opener.open("https://%s%s" % (host.backend.get_variables()["ansible_host"], path), timeout=60) as answer:
        assert answer.status == 200
        return answer.read()


def sql(host, query):
    """Output of a query to the stack's database."""
    with host.sudo():
        done = host.run("docker exec inventory-db-1 psql -U inventory -d inventory_db -qAt -c %s", query)
    assert done.rc == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(name="made", scope="module")
def fixture_made(host):
    """What the data's maker printed."""
    return json.loads(sh(host, "cat /root/before/made.json"))


@pytest.fixture(name="receipt", scope="module")
def fixture_receipt(host):
    """The migration's receipt."""
    return json.loads(sh(host, "cat %s/receipt.json" % STATE))


def proof_of(receipt):
    """Facts of the last proof."""
    return [entry for entry in receipt["phases"] if entry["phase"] == "prove" and entry["outcome"] == "ended"][-1]["facts"]


def same_as_before(host, made):
    """Item and image, byte for byte."""
    assert "data-file" in get(host, "/item/%s" % made["example"]["item"]).decode()
    assert hashlib.sha256(get(host, "/item/%s" % made["example"]["item"])).hexdigest() == sh(host, "sha256sum /root/before/item").split()[0]
    assert hashlib.sha256(get(host, "/image/%d" % made["example"]["image"])).hexdigest() == sh(host, "sha256sum /root/before/image").split()[0]


def test_item_and_image_are_byte_for_byte_the_native_ones(host, made):
    same_as_before(host, made)
    image = get(host, "/image/%d" % made["example"]["image"])
    name = made["example"]["file"]
    assert sh(host, "sha256sum /var/lib/inventory/images/%s" % name).split()[0] == hashlib.sha256(image).hexdigest()


def test_the_receipt_holds_equal_proofs_of_all_of_it(host, made, receipt):
    assert receipt["standing"] == "switch" and receipt["held"] is False and re.fullmatch("[0-9a-f]{12}", receipt["id"])
    proof = proof_of(receipt)
    tables = proof["databases"][0]["tables"]
    rows = sum(table["rows"] for table in tables.values() if isinstance(table, dict))
    assert made["rows_total"] >= 200000 and rows >= made["rows_total"]
    assert tables["public.items"]["rows"] == int(sql(host, "SELECT count(*) FROM items")) == int(sh(host, "cat /root/before/items"))
    assert "(large objects)" in tables and "vector" in proof["databases"][0]["extensions"]
    assert proof["databases"][0]["seconds"] > 0
    for name in ("images", "models"):
        tree = proof["trees"][name]
        assert tree["equal"] is True and tree["source"]["digest"] == tree["target"]["digest"] and tree["source"]["files"] > 0
    assert [entry["phase"] for entry in receipt["phases"] if entry["outcome"] == "ended"] == ["copy", "final", "prove", "switch"]
    assert receipt["phases"][-1]["facts"]["frozen_seconds"] > 0


def test_the_receipt_is_for_root(host):
    assert sh(host, "stat -c '%%a %%U' %s %s/receipt.json" % (STATE, STATE)).splitlines() == ["700 root", "600 root"]


def test_the_second_schema_is_there(host):
    assert sql(host, "SHOW server_version_num").startswith("17")
    assert sql(host, "SELECT count(*) FROM extra.embeddings WHERE vector_dims(embedding) = 384") != "0"
    assert int(sql(host, "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'p'")) >= 6
    assert int(sql(host, "SELECT count(*) FROM pg_attribute WHERE attgenerated = 's'")) >= 1
    assert int(sql(host, "SELECT count(*) FROM pg_largeobject_metadata")) >= 150
    assert int(sql(host, "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'")) >= 1


def test_native_units_are_masked_and_nothing_native_is_gone(host):
    for unit in UNITS:
        with host.sudo():
            assert host.run("systemctl is-enabled %s" % unit).stdout.strip() == "masked", unit
            assert host.run("systemctl is-active %s" % unit).stdout.strip() != "active", unit
    assert int(sh(host, "find /var/lib/inventory/images -type f | wc -l")) >= 4900
    assert sh(host, "su postgres -c 'psql -qAt -d inventory_db -c \"SELECT count(*) FROM items\"'") == sh(host, "cat /root/before/items")


def test_nothing_of_the_migration_runs(host):
    assert sh(host, "docker ps -a --format '{{.Names}}' | sort").split() == ["inventory-app-1", "inventory-db-1", "inventory-nginx-1"]
    assert sh(host, "ls %s" % STATE).split().count("lease.json") == 0
    assert sh(host, "ls -A /run/dockyard 2>/dev/null | wc -l") in ("0", "1")
    assert all(without_power(one) for one in containers(host, "inventory").values())


def test_no_secret_is_in_a_log_the_receipt_or_a_process_list(host):
    found = sh(host, "cd /etc/dockyard/stacks/inventory/secrets && for f in *; do case $f in tls_c*) ;; *) tail -n 2 $f | head -n 1; echo;; esac; done")
    secrets = [line for line in found.splitlines() if len(line) >= 12]
    assert len(secrets) >= 4
    texts = sh(host, "journalctl --no-pager -q; ps -eww -o args; docker inspect $(docker ps -q); cat %s/*.json" % STATE)
    assert [secret[:4] + "..." for secret in set(secrets) if secret in texts] == []
    # The native password is a published one: the stack has another.
    native = sh(host, "sed -n 's/^POSTGRES_PASSWORD=//p' /var/lib/inventory/config/environment.env").strip("'\"")
    assert len(native) > 8 and native not in sh(host, "cat /etc/dockyard/stacks/inventory/secrets/* /etc/dockyard/stacks/inventory/*.env")


def test_the_way_back(host, made):
    variables = host.backend.get_variables()
    argv = ["ansible-playbook", os.path.join(PROJECT, "playbooks", "migrate.yml"), "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-e", "stack=inventory",
            "-e", "phase=back", "-l", variables["inventory_hostname"]]
    done = subprocess.run(argv, cwd=PROJECT, env=dict(os.environ, ANSIBLE_NOCOLOR="1"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    deadline = time.monotonic() + 60
    while sh(host, "systemctl is-active %s || true" % " ".join(UNITS)).split() != ["active"] * 3:
        assert time.monotonic() < deadline
        time.sleep(1)
    for unit in UNITS:
        assert sh(host, "systemctl is-enabled %s" % unit) == "enabled", unit
    assert sh(host, "docker ps -q") == ""
    same_as_before(host, made)
