# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stacks after a reboot and a repair, seen from outside."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

RUNNER = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"])
testinfra_hosts = RUNNER.get_hosts("all")
STACK = "/etc/dockyard/stacks/inventory"


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are answers here, not orders."""

    def redirect_request(self, *unused):
        return None


@pytest.fixture(name="ask")
def fixture_ask(host):
    """A question over HTTP from this machine: (status, headers, body)."""
    address = host.backend.get_variables()["ansible_host"]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}), Stay)

    def ask(url, data=None):
        request = urllib.request.Request(url.replace("HOST", address), data=data, headers={"Content-Type": "application/json"} if data else {})
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()
    return ask


@pytest.fixture(name="root")
def fixture_root(host):
    with host.sudo():
        yield host


def run(root, command):
    """Output of a command that must succeed."""
    result = root.run(command)
    assert result.rc == 0, "%s: %s%s" % (command, result.stdout, result.stderr)
    return result.stdout.strip()


def inspect(root, name):
    return json.loads(run(root, "docker inspect %s" % name))[0]


def test_http_goes_to_https(ask):
    status, headers, unused = ask("http://HOST/item/x?y=1")
    assert status == 301 and headers["Location"].startswith("https://") and headers["Location"].endswith("/item/x?y=1")


def test_the_application_answers_through_nginx(ask):
    status, unused, body = ask("https://HOST/health")
    assert (status, json.loads(body)["status"]) == (200, "healthy")


def test_the_item_is_there_after_the_reboot(root, ask):
    guid = root.file("/root/item").content_string
    status, unused, body = ask("https://HOST/item/%s" % guid)
    assert status == 200 and "M8".encode() in body and "Écrou".encode() in body


def test_administration_is_closed(ask):
    for path in ("/admin", "/api/shutdown-system", "/api//reboot-system", "/x/../admin"):
        assert ask("https://HOST%s" % path)[0] == 403, path


def test_only_nginx_publishes(root):
    for line in run(root, "docker ps --filter label=com.docker.compose.project=inventory --format '{{.Names}} {{.Ports}}'").splitlines():
        name, unused, ports = line.partition(" ")
        assert ("->" in ports) == (name == "inventory-nginx-1"), line


def test_containers_have_no_power(root):
    for name, user in (("app", "1000:1000"), ("db", "999:999"), ("nginx", "101:101")):
        found = inspect(root, "inventory-%s-1" % name)
        assert found["Config"]["User"].split(":")[0] == user.split(":", maxsplit=1)[0]
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["HostConfig"]["CapDrop"] == ["ALL"] and not found["HostConfig"]["Privileged"]
        assert "no-new-privileges:true" in found["HostConfig"]["SecurityOpt"]
        assert found["HostConfig"]["Memory"] > 0 and found["HostConfig"]["PidsLimit"] > 0


def test_secrets_are_nowhere_but_in_their_files(root):
    assert root.file(STACK + "/secrets").mode == 0o700
    password = root.file(STACK + "/secrets/postgres_password.999")
    assert (password.mode, password.uid) == (0o600, 999)
    assert len(password.content_string) == 32
    assert root.file(STACK + "/secrets/postgres_password.1000").content_string == password.content_string
    everything = run(root, "docker inspect $(docker ps -aq)") + run(root, "docker image inspect $(docker images -q)")
    everything += run(root, "journalctl --no-pager") + run(root, "ps axww -o args")
    everything += run(root, "cat %s/.env %s/*.env %s/compose*.yaml /var/lib/dockyard/releases/*.jsonl" % (STACK, STACK, STACK))
    for name in ("postgres_password.999", "secret_key.1000"):
        assert root.file("%s/secrets/%s" % (STACK, name)).content_string not in everything, name
    assert root.file(STACK + "/.env").mode == 0o600 and root.file(STACK + "/app.env").mode == 0o600


def test_networks_are_segmented(root):
    assert root.run("docker exec inventory-nginx-1 getent hosts db").rc != 0
    assert root.run("docker exec inventory-app-1 python -c 'import socket; socket.gethostbyname(\"db\")'").rc == 0


def test_the_image_has_no_tools_and_says_where_it_comes_from(root):
    assert root.run("docker exec inventory-app-1 sh -c 'command -v gcc || command -v cc'").rc != 0
    labels = inspect(root, "inventory-app-1")["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] and labels["org.opencontainers.image.created"]
    history = run(root, "docker history --no-trunc $(docker inspect -f '{{.Image}}' inventory-app-1)")
    assert "BEGIN CERTIFICATE" not in history
    assert root.run("docker exec inventory-app-1 test -e /run/secrets/ca.crt").rc != 0


def test_pgvector_is_available(root):
    command = "docker exec inventory-db-1 sh -c 'PGPASSWORD=$(cat /run/secrets/postgres_password) psql -h 127.0.0.1 -U inventory -d inventory_db -tAc %s'"
    assert "vector" in run(root, command % '"select extname from pg_extension"')


def test_volumes_have_their_owners(root):
    for volume, owner, mode in (("db", 999, 0o700), ("backups", 1000, 0o700), ("uploads", 101, 0o700)):
        folder = root.file("/var/lib/docker/volumes/inventory_%s/_data" % volume)
        assert (folder.uid, folder.mode) == (owner, mode), volume


def test_any_value_arrives_as_it_was_given(ask):
    wanted = {
        "PLAIN": "plain",
        "DOLLAR": "one $ two $$ ${HOME} $HOME \\$",
        "QUOTES": "it's \"quoted\" \\ and ends with a backslash \\",
        "LINES": "first\nsecond\ttabbed\n",
        "HASH": " # not a comment #, with blanks ",
    }
    found = {name: ask("http://HOST:8088/%s" % name)[2].decode() for name in wanted}
    # The stack ends each with a newline of its own.
    assert found == {name: value + "\n" for name, value in wanted.items()}


def test_a_given_secret_arrives_as_it_was_given(root):
    assert run(root, "docker exec parrot-web-1 cat /run/secrets/given_word") == 'a "$given" word # of the operator'


def test_the_repair_put_the_file_back(root):
    assert "STRAY" not in root.file("/etc/dockyard/stacks/parrot/web.env").content_string


def test_a_tool_is_no_container_and_has_its_volume(root):
    assert "beak" not in run(root, "docker ps -a --format '{{.Names}}' --filter label=com.docker.compose.oneoff=False")
    folder = root.file("/var/lib/docker/volumes/parrot_memory/_data")
    assert (folder.uid, folder.gid, folder.mode) == (1000, 1000, 0o700)


def test_what_ran_for_too_long_is_gone(root):
    assert root.run("ps axww -o args | grep -F 'sleep 4711' | grep -v grep").rc == 1
    assert root.run("ps axww -o args | grep -F 'sleep 600' | grep -v grep").rc == 1


def test_the_schedule_runs_again_after_the_repair(root):
    assert run(root, "systemctl is-active dockyard-parrot-chatter.timer") == "active"
    assert run(root, "systemctl is-enabled dockyard-parrot-chatter.timer") == "enabled"
    # The calendar says every 20 seconds.
    run(root, "touch /root/now; for i in $(seq 90); do find /var/lib/dockyard/results/parrot/chatter -name '*.json' -newer /root/now | grep -q . && exit 0; "
              "sleep 1; done; exit 1")
    names = sorted(run(root, "ls /var/lib/dockyard/results/parrot/chatter").split())
    assert 1 <= len(names) <= 3
    path = "/var/lib/dockyard/results/parrot/chatter/" + names[-1]
    found = json.loads(run(root, "cat " + path))
    assert found["success"] is True and found["json"]["said"] == "polly wants a cracker" and found["stderr"] == "thinking about polly wants a cracker"
    assert (root.file(path).mode, root.file(path).uid) == (0o600, 0)
    assert run(root, "systemctl show --property=Result --value dockyard-parrot-chatter.service") == "success"


def test_the_runner_judges_by_hand_too(root):
    command = "python3 /usr/local/lib/dockyard/run_action.py --stack parrot --action say --argument word=x --argument mood=%s"
    assert json.loads(run(root, command % "talkative"))["said"] == "x"
    refused = root.run(command % "grumpy")
    assert refused.rc == 1 and 'found state.mood: "angry"; needed state.mood: "happy"' in refused.stderr


def test_arguments_of_a_schedule_are_for_root_alone(root):
    assert root.file("/etc/dockyard/stacks/parrot/schedules.json").mode == 0o600
    assert root.file("/etc/dockyard/stacks/parrot/actions.json").mode == 0o644
    assert "polly" not in run(root, "cat /etc/systemd/system/dockyard-parrot-chatter.*")


def test_nothing_half_written_is_left(root):
    assert run(root, "find /etc/dockyard/stacks -maxdepth 1 -name '.*staged*'") == ""
    assert run(root, "find /etc/dockyard -name '.dockyard-*'") == ""


def test_the_ledger_tells(root):
    entries = [json.loads(line) for line in root.file("/var/lib/dockyard/releases/parrot.jsonl").content_string.splitlines()]
    assert [entry["number"] for entry in entries] == [1, 2]
    assert entries[0]["services"] == {"prepare": "created", "web": "created"}
    assert entries[1]["services"]["web"] == "created" and entries[1]["outcome"] == "released"
