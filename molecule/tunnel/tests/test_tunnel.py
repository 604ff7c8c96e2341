# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel after a record was bent and repaired, seen from outside: as a visitor, and as somebody who looks for its secrets."""

from __future__ import annotations

import base64
import glob
import json
import os
import re
import urllib.error
import urllib.request

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

RUNNER = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"])
testinfra_hosts = RUNNER.get_hosts("all")
FOLDER = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]
STACK = "/etc/dockyard/stacks/tunnel"
CREDENTIALS = STACK + "/secrets/credentials.65532"
CONTAINER = "tunnel-cloudflared-1"


def visit(path="/", host=None):
    """(status, text) of the stand-in: its own part, or as a visitor of a hostname."""
    with open(FOLDER + "/cloudflare/ready.json", encoding="utf-8") as handle:
        port = json.load(handle)["api"]
    request = urllib.request.Request("http://127.0.0.1:%d%s" % (port, path), headers={"Host": host} if host else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(name="root")
def fixture_root(host):
    with host.sudo():
        yield host


@pytest.fixture(name="state", scope="module")
def fixture_state():
    return json.loads(visit("/stand-in/state")[1])


@pytest.fixture(name="secrets", scope="module")
def fixture_secrets():
    """The API token, the tunnels' secrets and their tokens."""
    found = json.loads(visit("/stand-in/secrets")[1])
    assert len(found["secrets"]) == 2
    return found


def run(root, command):
    """Output of a command that must succeed."""
    result = root.run(command)
    assert result.rc == 0, "%s: %s%s" % (command, result.stdout, result.stderr)
    return result.stdout.strip()


def test_a_visitor_reaches_the_service_by_tls_that_is_verified():
    status, text = visit("/path?x=1", "lantern.example.com")
    assert (status, text) == (200, "a lantern for lantern.example.com by TLSv1.3: GET /path?x=1\n")


def test_a_visitor_reaches_the_plain_service_in_the_other_zone():
    assert visit("/", "plain.deep.example.com") == (200, "<p>a plain lantern</p>\n")


def test_no_other_name_leads_to_the_host():
    assert visit("/", "other.example.com")[0] == 530
    assert visit("/", "kiosk.example.com")[0] == 530


def test_the_records_are_as_declared(state):
    tunnel = [entry for entry in state["tunnels"] if not entry["deleted_at"]]
    assert [entry["name"] for entry in tunnel] == ["tun-a"]
    assert sorted((record["name"], record["type"], record["content"], record["proxied"]) for record in state["records"]) == [
        (name, "CNAME", "%s.cfargotunnel.com" % tunnel[0]["id"], True) for name in ("lantern.example.com", "plain.deep.example.com")]


def told(which):
    """What Ansible printed in one of the two repairs, without colours."""
    with open(FOLDER + "/repair.log." + which, encoding="utf-8") as handle:
        return re.sub("\x1b[^m]*m", "", handle.read())


def test_the_second_run_of_the_repair_only_asked(state):
    assert "-lantern.example.com CNAME elsewhere.example.net, not proxied\n+lantern.example.com CNAME " in told("first")
    assert re.findall("tun-a .* changed=([0-9]+) .* failed=([0-9]+)", told("second")) == [("0", "0")]
    changes = [(request["method"], request["status"]) for request in state["requests"] if request["method"] != "GET"]
    # Two tunnels with three records, the rules of one; both deletions of the second, its connections, and one repair.
    assert sorted(changes) == [("DELETE", 200)] * 3 + [("PATCH", 200)] + [("POST", 200)] * 5 + [("PUT", 200)]


def test_the_credentials_are_for_cloudflared_alone(root):
    found = root.file(CREDENTIALS)
    assert (found.mode, found.uid, found.gid) == (0o600, 65532, 65532)
    assert sorted(json.loads(found.content_string)) == ["AccountTag", "TunnelID", "TunnelSecret"]
    assert root.file(STACK + "/secrets").mode == 0o700


def test_the_api_token_is_nowhere_on_the_host(root, secrets):
    hunt(root, secrets["api_token"], [])


def test_the_secrets_of_the_tunnels_are_nowhere_but_in_their_files(root, secrets):
    in_use = json.loads(root.file(CREDENTIALS).content_string)["TunnelSecret"]
    assert in_use in secrets["secrets"]
    # A release keeps what it can go back to; the stack, the token of its profile that is off.
    good = "/var/lib/dockyard/releases/%s.good/secrets/%s"
    kept = [CREDENTIALS, good % ("tunnel", "credentials.65532")]
    token = ["/etc/dockyard/stacks/lantern/secrets/tunnel_token.65532", good % ("lantern", "tunnel_token.65532")]
    assert [root.file(path).mode for path in kept + token] == [0o600] * 4 and root.file("/var/lib/dockyard/releases").mode == 0o700
    for text in secrets["secrets"]:
        hunt(root, text, kept if text == in_use else [])
    for text in secrets["tokens"]:
        hunt(root, text, token if json.loads(base64.b64decode(text))["s"] != in_use else [])


def hunt(root, text, expected):
    """Look for a text in the files, processes, journal, containers and images of the host."""
    places = "/etc /root /home /tmp /var/tmp /run /var/log /var/lib/dockyard /var/lib/docker/containers /usr/local"
    # As a pattern that is not the text itself: sudo writes the command into the journal.
    pattern = "".join("[%s]" % letter if number == 0 or not letter.isalnum() else letter for number, letter in enumerate(text))
    found = root.run("grep -rlE --devices=skip '%s' %s 2>/dev/null" % (pattern, places)).stdout.split()
    assert sorted(found) == sorted(expected)
    for command in ("ps axwwe -o pid,args", "docker inspect $(docker ps -aq)", "docker logs %s 2>&1" % CONTAINER, "docker image inspect $(docker images -q)",
                    "journalctl --no-pager -q"):
        assert text not in run(root, command), command


def test_no_secret_is_in_what_ansible_wrote(secrets):
    names = glob.glob(FOLDER + "/repair.log*") + glob.glob(FOLDER + "/facts/*")
    assert len(names) >= 5
    for name in names:
        with open(name, encoding="utf-8") as handle:
            content = handle.read()
        for text in [secrets["api_token"]] + secrets["secrets"] + secrets["tokens"]:
            assert text not in content, name


def test_the_container_has_no_power(root):
    found = json.loads(run(root, "docker inspect " + CONTAINER))[0]
    assert found["Config"]["User"] == "65532:65532" and found["HostConfig"]["ReadonlyRootfs"] and found["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in found["HostConfig"]["SecurityOpt"] and not found["HostConfig"]["Privileged"]
    assert not found["HostConfig"]["PortBindings"] and found["HostConfig"]["NetworkMode"] == "tunnel_edge"
    assert found["HostConfig"]["Memory"] == 256 * 1024 * 1024 and found["HostConfig"]["PidsLimit"] == 100
    assert sorted(found["NetworkSettings"]["Networks"]) == ["lantern_default", "lantern_inside", "tunnel_edge"]


def test_ready_is_told_on_loopback_alone(root):
    assert run(root, "docker inspect -f '{{.State.Health.Status}}' " + CONTAINER) == "healthy"
    address = run(root, "docker inspect -f '{{.NetworkSettings.Networks.tunnel_edge.IPAddress}}' " + CONTAINER)
    assert root.run("curl -sS -m 5 http://%s:20241/ready" % address).rc == 7
    run(root, "docker exec %s cloudflared tunnel --metrics 127.0.0.1:20241 ready" % CONTAINER)


def test_the_configuration_is_valid_and_ends_with_the_catch_all(root):
    assert run(root, "docker exec %s cloudflared tunnel --config /etc/cloudflared/config.yml ingress validate" % CONTAINER).endswith("OK")
    lines = root.file(STACK + "/config.yml").content_string.splitlines()
    assert lines[-1] == "- service: http_status:404"
    rule = run(root, "docker exec %s cloudflared tunnel --config /etc/cloudflared/config.yml ingress rule https://nope.example.com/" % CONTAINER)
    assert "http_status:404" in rule


def test_the_origin_is_verified(root):
    text = root.file(STACK + "/config.yml").content_string
    assert "caPool: /etc/cloudflared/ca/lantern.pem" in text and "originServerName: tun-a" in text and "noTLSVerify" not in text
