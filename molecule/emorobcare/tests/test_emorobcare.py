# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack emorobcare after a restart of its host, seen from outside."""

from __future__ import annotations

import json
import os
import sys
import urllib.parse

from testinfra.utils.ansible_runner import AnsibleRunner

sys.path.insert(0, os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], "molecule", "shared"))

from outside import ask, containers, without_power  # noqa: E402

testinfra_hosts = AnsibleRunner(os.environ["MOLECULE_INVENTORY_FILE"]).get_hosts("all")


def graph(host, query):
    """Rows of a query, through the pages' address and the API."""
    status, text = ask(host, 81, "/api/kg/kg/query?" + urllib.parse.urlencode({"query": query}))
    assert status == 200, text
    return json.loads(text)["results"]


def test_pages_api_and_speech_service_answer(host):
    assert "<script" in ask(host, 81, "/")[1]
    assert ask(host, 81, "/api/health")[0] == 200
    assert json.loads(ask(host, 81, "/asr/health")[1])["checks"]["models"]["total"] == 3


def test_the_document_of_before_the_restart_is_in_the_knowledge_graph(host):
    assert graph(host, "SELECT ?o WHERE { <urn:child:ana> <urn:likes> ?o }") == [{"o": "barcos"}]


def test_the_ontology_is_there(host):
    assert graph(host, "SELECT ?s WHERE { ?s a <http://www.w3.org/ns/shacl#NodeShape> }")


def test_a_conversation(host):
    status, text = ask(host, 81, "/api/conv/start", {"child": "ana", "topic": "school", "level": 3})
    assert status == 200, text
    status, text = ask(host, 81, "/api/conv/next", {"conversation_id": json.loads(text)["conversation_id"], "user_sentence": "Me gustan los barcos"})
    assert status == 200 and json.loads(text)["emotion"] == "positive", text


def test_nobody_has_power_and_no_database_is_published(host):
    found = containers(host, "emorobcare")
    assert set(found) == {"api", "asr", "frontend", "fuseki", "mongodb", "qdrant"}
    assert {name for name, one in found.items() if any(one["NetworkSettings"]["Ports"].values())} == {"frontend"}
    assert [name for name, one in found.items() if not without_power(one)] == []
