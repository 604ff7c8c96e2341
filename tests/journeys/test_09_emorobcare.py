# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack emorobcare from its stand-in: the real client libraries talk to small servers in the databases' places.

On a host of its own with Docker, since building its images is most of the time; JOURNEY_KEEP=1 keeps the host and its images.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
import urllib.parse

import pytest

from fleet import ROOT, Single
from hygiene import compiled, leftovers

pytestmark = pytest.mark.heavy

NAME = "journey-emorobcare"
SOURCE = ROOT / "tests" / "apps" / "emorobcare"
SECRETS = "/etc/dockyard/stacks/emorobcare/secrets"
SERVICES = ("api", "asr", "frontend", "fuseki", "mongodb", "qdrant")
WELL_SECONDS = 120


class Emorobcare(Single):
    """The host, its inventory, and the stack on it."""

    NAME = NAME
    PORT = 81

    def __init__(self, folder):
        super().__init__(folder)
        self.source = folder / "source"
        shutil.copytree(SOURCE, self.source, ignore=shutil.ignore_patterns("__pycache__"))
        # What a developer has beside his code; in an image it would end the start of both services.
        for service in ("api", "asr"):
            shutil.copyfile(self.source / ".env.example", self.source / "services" / service / ".env")

    def variables(self):
        return {**super().variables(), "dockyard_stacks": ["emorobcare"], "dockyard_source_emorobcare": str(self.source)}

    def deploy(self, *words):
        return self.play("deploy", *words)

    def act(self, action):
        return self.play("run", "-e", "stack=emorobcare", "-e", f"action={action}")

    def inside(self, service, script, check=True):
        """Output of a shell script in a container, as its own user."""
        return self.sh(f"docker exec emorobcare-{service}-1 bash -c '{script}'", check)

    def graph(self, query):
        """Rows of a query on the knowledge graph, through pages' address and API."""
        status, body = self.ask("/api/kg/kg/query?" + urllib.parse.urlencode({"query": query}))
        assert status == 200, (status, body)
        return json.loads(body)["results"]

    def said(self, child):
        """(who, what) of a child's last conversation, oldest first: MongoDB's documents, whose identities are no JSON by themselves."""
        status, body = self.ask(f"/api/conv/child/{child}")
        assert status == 200, (status, body)
        status, body = self.ask("/api/conv/" + json.loads(body)["conversations"][0]["conversation_id"])
        assert status == 200, (status, body)
        return [(message["role"], message["text"]) for message in json.loads(body)["messages"]]

    def image(self, service):
        return self.sh(f"docker inspect -f '{{{{.Config.Image}}}}' emorobcare-{service}-1")

    def unwell(self):
        """The services that are not healthy, with their state."""
        names = " ".join(f"emorobcare-{name}-1" for name in SERVICES)
        states = self.sh(f"docker inspect -f '{{{{.State.Health.Status}}}}' {names}", check=False).split()
        return dict((name, state) for name, state in zip(SERVICES, states) if state != "healthy") if len(states) == len(SERVICES) else {"states": states}

    def wait_well(self):
        deadline = time.monotonic() + WELL_SECONDS
        while self.unwell():
            assert time.monotonic() < deadline, f"{self.unwell()}\n{self.sh('docker ps -a; docker logs --tail 20 emorobcare-api-1 2>&1', check=False)}"
            time.sleep(1)


@pytest.fixture(name="stack", scope="module")
def fixture_stack(tmp_path_factory):
    """The stack, deployed once."""
    stack = Emorobcare(tmp_path_factory.mktemp("emorobcare"))
    try:
        stack.up()
        stack.deploy().good()
        yield stack
    finally:
        stack.down()


def test_deployed_again_nothing_changes(stack):
    assert stack.unwell() == {}
    run = stack.deploy().good()
    assert run.changed == {NAME: 0}, run.output[-4000:]


def test_a_document_in_the_knowledge_graph(stack):
    """From outside, through nginx and the API, which logs in at Fuseki; and beside the ontology, which the job has loaded."""
    status, body = stack.ask("/api/kg/kg/insert", {"sparql_update": 'INSERT DATA { <urn:child:ana> <urn:likes> "barcos" }'})
    assert (status, json.loads(body)["success"]) == (200, True)
    assert stack.graph("SELECT ?o WHERE { <urn:child:ana> <urn:likes> ?o }") == [{"o": "barcos"}]
    # Counted too, unless the query has a limit of its own.
    asked = urllib.parse.urlencode({"query": "SELECT ?s ?o WHERE { ?s <urn:likes> ?o }"})
    assert [json.loads(stack.ask("/api/kg/kg/query?" + asked + more)[1])["total_count"] for more in ("", "%20LIMIT%205")] == [1, None]
    shapes = stack.graph("SELECT ?s WHERE { ?s a <http://www.w3.org/ns/shacl#NodeShape> }")
    assert {row["s"].rpartition("#")[2] for row in shapes} == {"MemoryEntryShape", "RelationshipShape"}
    # The API's other way to Fuseki, by requests.
    status, body = stack.ask("/api/kg/kg/validate")
    assert status == 200 and json.loads(body)["conforms"] is True


def test_a_conversation_is_kept(stack):
    status, body = stack.ask("/api/conv/start", {"child": "ana", "topic": "school", "level": 3})
    assert status == 200, body
    status, reply = stack.ask("/api/conv/next", {"conversation_id": json.loads(body)["conversation_id"], "user_sentence": "Me gustan los barcos"})
    assert status == 200 and json.loads(reply)["emotion"] == "positive", reply
    texts = stack.said("ana")
    assert [role for role, text in texts] == ["assistant", "user", "assistant"] and ("user", "Me gustan los barcos") in texts
    status, body = stack.ask("/api/tasks/extraction/start/x/ana", {})
    assert status == 200 and json.loads(body)["model_used"] == "Qwen/Qwen2-7B-Instruct", body


def test_the_speech_service_answers_without_a_model(stack):
    status, body = stack.ask("/asr/health")
    assert status == 200 and json.loads(body)["checks"]["models"] == {"status": "unhealthy", "loaded": 0, "total": 3}
    form = (b"--x\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--x--\r\n")
    status, body = stack.ask("/asr/transcribe", form, {"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 200 and json.loads(body)["tier"] == "balanced" and json.loads(body)["confidence"] == 0.1


def test_the_pages_ask_where_they_come_from(stack):
    status, page = stack.ask("/")
    asset = re.search(r'src="(/assets/[^"]+\.js)"', page)[1]
    assert status == 200 and stack.ask("/conversation") == (200, page)
    status, program = stack.ask(asset)
    assert status == 200 and "localhost:800" not in program and '"/api"' in program and '"/asr"' in program


def test_only_one_port_and_nobody_is_root(stack):
    published = stack.sh("docker ps --format '{{.Names}} {{.Ports}}' | grep -- '->' | cut -d' ' -f1 | sort -u")
    assert published == "emorobcare-frontend-1"
    for service in SERVICES:
        assert stack.inside(service, "echo $UID") != "0"
        assert "Read-only file system" in stack.inside(service, "echo x > /usr/x", check=False) or \
            stack.sh(f"docker inspect -f '{{{{.HostConfig.ReadonlyRootfs}}}}' emorobcare-{service}-1") == "true"


@pytest.mark.parametrize("service, place, reached", [
    ("api", "mongodb/27017", True), ("api", "qdrant/6333", True), ("api", "fuseki/3030", True), ("frontend", "api/8000", True), ("frontend", "asr/8001", True),
    ("frontend", "mongodb/27017", False), ("frontend", "qdrant/6333", False), ("frontend", "fuseki/3030", False), ("asr", "api/8000", False),
    ("asr", "mongodb/27017", False), ("mongodb", "fuseki/3030", False), ("qdrant", "mongodb/27017", False), ("fuseki", "qdrant/6333", False)])
def test_who_reaches_whom(stack, service, place, reached):
    host, unused, port = place.partition("/")
    # By address too: a name that does not resolve is no wall.
    addresses = stack.sh(f"docker inspect -f '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}} {{{{end}}}}' emorobcare-{host}-1").split()
    found = [stack.inside(service, f"timeout 3 bash -c \"exec 3<>/dev/tcp/{target}/{port}\" 2>/dev/null && echo reached", check=False)
             for target in [host] + addresses]
    assert ("reached" in found) is reached, found


def test_nothing_but_the_pages_has_a_way_out(stack):
    for service in SERVICES:
        routes = stack.inside(service, "grep -c ^[^I].*.00000000.[0-9A-F]*.0003 /proc/net/route", check=False)
        assert (routes != "0") is (service == "frontend"), (service, routes)


_STATUS = """
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://fuseki:3030%s").status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.mark.parametrize("path, status", [("/$/ping", 200), ("/$/stats", 401), ("/emorobcare/query?query=ASK%7B%7D", 401), ("/", 401)])
def test_fuseki_wants_a_login_for_everything_but_its_ping(stack, path, status):
    program = base64.b64encode((_STATUS % path).encode()).decode()
    assert stack.inside("api", f"echo {program} | base64 -d | python -") == str(status)


def test_passwords_are_in_files_only(stack):
    assert stack.sh(f"stat -c '%a %u' {SECRETS}/*").splitlines() == ["600 1000", "600 1000"]
    for name in ("fuseki_admin_password", "fuseki_api_password"):
        # grep by file: no command line of this test has the password either.
        seen = f"docker inspect $(docker ps -aq) | grep -cFf {SECRETS}/{name}.1000; docker logs emorobcare-fuseki-1 2>&1 | grep -cFf {SECRETS}/{name}.1000;" \
               f" ps axww -o args | grep -cFf {SECRETS}/{name}.1000; docker logs emorobcare-fuseki-job-1 2>&1 | grep -cFf {SECRETS}/{name}.1000"
        assert stack.sh(seen, check=False).split() == ["0"] * 4, name
    assert stack.inside("fuseki", "stat -c %a /fuseki/shiro.ini") == "600"


def test_images_are_small_compiled_and_clean(stack):
    for service in ("api", "asr"):
        assert leftovers(stack.host, stack.image(service)) == []
        assert compiled(stack.host, stack.image(service), "/app", "/opt/venv") > 0.98
    for service in ("api", "asr", "frontend", "fuseki-job"):
        assert int(stack.sh(f"docker image inspect -f '{{{{.Size}}}}' {stack.image(service)}")) < 500e6
        look = "find / -xdev -name .env -o -name memoria.ttl 2>/dev/null"
        assert stack.sh(f"docker run --rm --network none --entrypoint sh {stack.image(service)} -c '{look}'", check=False) == ""


def test_the_ontology_is_loaded_again_without_doubling(stack):
    before = json.loads(stack.sh("docker logs emorobcare-fuseki-job-1"))
    run = stack.act("ontology").good()
    run.says('"status": "loaded"', f'"ontology": {before["ontology"]}')
    stack.act("check_ontology").good().says('"status": "loaded"')
    assert len(stack.graph("SELECT ?s WHERE { ?s a <http://www.w3.org/ns/shacl#NodeShape> }")) == 2
    assert stack.graph("SELECT ?o WHERE { <urn:child:ana> <urn:likes> ?o }") == [{"o": "barcos"}]


def test_a_database_that_is_gone_is_seen_by_the_probe_and_not_by_the_application(stack):
    stack.sh("docker stop emorobcare-qdrant-1")
    try:
        assert json.loads(stack.ask("/api/health")[1])["status"] == "healthy"
        said = stack.inside("api", "python -I -S /opt/dockyard/health.py; echo ended with $?")
        assert said.startswith("qdrant: ") and said.endswith("ended with 1")
    finally:
        stack.sh("docker start emorobcare-qdrant-1")
    stack.wait_well()


def test_after_a_restart_of_the_host_it_is_well_and_knows_everything(stack):
    stack.bed("reboot", NAME)
    stack.wait_well()
    assert stack.graph("SELECT ?o WHERE { <urn:child:ana> <urn:likes> ?o }") == [{"o": "barcos"}]
    assert ("user", "Me gustan los barcos") in stack.said("ana")
    # The mark of a job that has ended well; it does not run again.
    assert stack.sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' emorobcare-fuseki-job-1") == "exited 0"


def test_a_broken_ontology_fails_loudly_and_the_old_release_serves(stack):
    path = stack.source / "ontology" / "memoria.ttl"
    good = path.read_text()
    before = stack.image("fuseki-job")
    try:
        path.write_text(good + "\nemo:unfinished a\n")
        run = stack.deploy()
        assert run.code != 0 and run.failures == 1
        run.says("fuseki-job", "found no valid Turtle", "ontology/memoria.ttl")
        stack.wait_well()
        assert stack.image("fuseki-job") == before
        assert stack.graph("SELECT ?o WHERE { <urn:child:ana> <urn:likes> ?o }") == [{"o": "barcos"}]
    finally:
        path.write_text(good)
    stack.deploy().good()
    assert stack.deploy().good().changed == {NAME: 0}


def test_an_edit_whose_target_is_gone_ends_before_anything_is_touched(stack):
    path = stack.source / "services" / "asr" / "services" / "transcription_service.py"
    good = path.read_text()
    before = stack.sh("docker ps --no-trunc -q | sort")
    try:
        path.write_text(good.replace("0 if self.device == \"cuda\" else None", "0"))
        run = stack.deploy()
        assert run.code != 0
        run.says("edit asr-device, asr/services: found its target nowhere", "dockyard_source_ref_emorobcare")
    finally:
        path.write_text(good)
    assert stack.sh("docker ps --no-trunc -q | sort") == before
