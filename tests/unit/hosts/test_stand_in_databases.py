# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of the servers that stand in for MongoDB, Qdrant and Fuseki. Their protocols are tried with the real clients in journey 09."""

from __future__ import annotations

import base64
import importlib.util
import sys
import types
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "hosts" / "images"


def module(name, stubs):
    """A server's module, with stand-ins for the packages that its image has."""
    before = {key: sys.modules.get(key) for key in stubs}
    sys.modules.update(stubs)
    try:
        spec = importlib.util.spec_from_file_location("stand_in_" + name.replace("/", "_").replace("-", "_").partition(".")[0], IMAGES / name)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        for key, value in before.items():
            if value is None:
                sys.modules.pop(key)
            else:
                sys.modules[key] = value
    return loaded


@pytest.fixture(name="mongod", scope="module")
def fixture_mongod():
    bson = types.ModuleType("bson")
    bson.Int64, bson.ObjectId = int, type("ObjectId", (str,), {"__new__": lambda cls: str.__new__(cls, "made")})
    options = types.ModuleType("bson.codec_options")
    options.CodecOptions = lambda **unused: None
    return module("mongo/mongod.py", {"bson": bson, "bson.codec_options": options})


@pytest.fixture(name="qdrant", scope="module")
def fixture_qdrant():
    return module("qdrant/server.py", {})


@pytest.fixture(name="fuseki", scope="module")
def fixture_fuseki():
    sparql = "rdflib.plugins.sparql"
    names = ["rdflib", "rdflib.graph", "rdflib.namespace", "rdflib.plugins", sparql, sparql + ".algebra", sparql + ".parser", sparql + ".sparql"]
    stubs = {name: types.ModuleType(name) for name in names}
    stubs["rdflib"].Dataset = stubs["rdflib"].Graph = stubs["rdflib"].URIRef = stubs["rdflib.graph"].DATASET_DEFAULT_GRAPH_ID = None
    stubs["rdflib.namespace"].NamespaceManager = stubs[sparql + ".parser"].parseQuery = stubs[sparql + ".parser"].parseUpdate = None
    stubs[sparql + ".algebra"].translateQuery = stubs[sparql + ".algebra"].translateUpdate = lambda parsed, base, prefixes: (parsed, base, prefixes)
    stubs[sparql + ".sparql"].Prologue = type("Prologue", (), {})
    stubs["rdflib"].plugins = stubs["rdflib.plugins"]
    stubs["rdflib.plugins"].sparql = stubs[sparql]
    return module("fuseki/fuseki-server.py", stubs)


DOCUMENT = {"_id": 1, "name": "ana", "age": 8, "tags": ["a", "b"], "at": {"place": "school", "rooms": [{"n": 1}, {"n": 2}]}, "none": None}


@pytest.mark.parametrize("query, met", [
    ({}, True), ({"name": "ana"}, True), ({"name": "bo"}, False), ({"age": {"$gt": 7, "$lte": 8}}, True), ({"age": {"$lt": 8}}, False),
    ({"age": {"$gt": "7"}}, False), ({"tags": "b"}, True), ({"tags": ["a", "b"]}, True), ({"at.place": "school"}, True), ({"at.rooms.n": 2}, True),
    ({"name": {"$in": ["x", "ana"]}}, True), ({"name": {"$nin": ["ana"]}}, False), ({"name": {"$ne": "bo"}}, True), ({"gone": {"$exists": False}}, True),
    ({"gone": None}, True), ({"name": {"$exists": True}}, True), ({"$or": [{"name": "bo"}, {"age": 8}]}, True), ({"$and": [{"age": 8}, {"age": 9}]}, False),
    ({"name": {"$regex": "^an"}}, True)])
def test_mongo_queries(mongod, query, met):
    assert mongod.matches(DOCUMENT, query) is met


@pytest.mark.parametrize("update, after", [
    ({"$set": {"age": 9, "at.place": "home"}}, {"age": 9, "place": "home"}), ({"$inc": {"age": 2}}, {"age": 10, "place": "school"}),
    ({"$unset": {"name": ""}}, {"age": 8, "place": "school"}), ({"$push": {"tags": "c"}}, {"age": 8, "place": "school"})])
def test_mongo_updates_leave_the_original(mongod, update, after):
    done = mongod.updated(DOCUMENT, update)
    assert (done["age"], done["at"]["place"]) == (after["age"], after["place"])
    assert DOCUMENT["age"] == 8 and DOCUMENT["at"]["place"] == "school" and DOCUMENT["tags"] == ["a", "b"]


def test_mongo_refuses_what_it_does_not_know(mongod):
    with pytest.raises(mongod.CommandError, match="unknown operator: \\$near"):
        mongod.matches(DOCUMENT, {"name": {"$near": 1}})
    with pytest.raises(mongod.CommandError, match="Unknown modifier"):
        mongod.updated(DOCUMENT, {"$bit": {"age": 1}})


def test_qdrant_keeps_points_and_finds_the_nearest(qdrant, tmp_path):
    store = qdrant.Collections(str(tmp_path))
    store.create("c", {"vectors": {"size": 2, "distance": "Cosine"}})
    store.upsert("c", {"points": [{"id": 1, "vector": [1, 0], "payload": {"child": "ana"}}, {"id": 2, "vector": [0, 1], "payload": {"child": "bo"}}]})
    again = qdrant.Collections(str(tmp_path))
    assert [point["id"] for point in again.search("c", {"limit": 5}, [0.1, 1])] == [2, 1]
    only = {"filter": {"must": [{"key": "child", "match": {"value": "ana"}}]}, "limit": 5}
    assert [point["id"] for point in again.search("c", only, [0.1, 1])] == [1]
    again.delete("c", {"points": [1]})
    assert again.describe("c")["points_count"] == 1


@pytest.mark.parametrize("identity, status", [("abc_user_0", 400), (-1, 400), (True, 400), (None, 400)])
def test_qdrant_refuses_identities_as_the_real_one_does(qdrant, identity, status):
    with pytest.raises(qdrant.Refused) as caught:
        qdrant.point_id(identity)
    assert caught.value.status == status


def test_qdrant_refuses_vectors_of_another_size(qdrant, tmp_path):
    store = qdrant.Collections(str(tmp_path))
    store.create("c", {"vectors": {"size": 2, "distance": "Cosine"}})
    with pytest.raises(qdrant.Refused, match="expected dim: 2, got 3"):
        store.upsert("c", {"points": [{"id": 1, "vector": [1, 0, 0]}]})


SHIRO = """
[main]
ssl.enabled = false
[users]
admin = one, administration, data
api = two, data
[urls]
/$/ping = anon
/emorobcare/** = authcBasic, roles[data]
/** = authcBasic, roles[administration]
"""


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("path, header, status", [
    ("/$/ping", None, None), ("/$/stats", None, 401), ("/$/stats", basic("api", "two"), 403), ("/$/stats", basic("admin", "one"), None),
    ("/emorobcare/query", None, 401), ("/emorobcare/query", basic("api", "wrong"), 401), ("/emorobcare/update", basic("api", "two"), None),
    ("/emorobcare", basic("api", "two"), None), ("/other/query", basic("api", "two"), 403), ("/", basic("api", "two"), 403), ("/$/ping/x", None, 401)])
def test_fuseki_rules(fuseki, path, header, status):
    rules = fuseki.Rules(SHIRO)
    if status is None:
        rules.check(path, header)
        return
    with pytest.raises(fuseki.Refused) as caught:
        rules.check(path, header)
    assert caught.value.status == status


class Part(dict):
    """A part of a query as rdflib's parser gives it: what is not there is None."""

    def __init__(self, name, **parts):
        super().__init__(parts)
        self.name = name

    def __getattr__(self, name):
        return self.get(name)


class Name(str):
    """A variable."""

    def n3(self):
        return "?" + self


COUNTED = Part("vars", expr=Part("Builtin", arg=[Part("Aggregate_Count", vars="*")]), evar=Name("count"))


@pytest.mark.parametrize("chosen, grouped, good", [
    ([COUNTED], None, True), ([Part("vars", var=Name("s"))], None, True), ([COUNTED, Part("vars", var=Name("s"))], ["s"], True), (None, None, True),
    ([COUNTED, Part("vars", var=Name("s"))], None, False)])
def test_fuseki_takes_no_plain_variable_beside_a_counted_one(fuseki, monkeypatch, chosen, grouped, good):
    parsed = [None, Part("SelectQuery", projection=chosen, groupby=grouped)]
    monkeypatch.setattr(fuseki, "parseQuery", lambda text: parsed)
    if good:
        # No prefixes but the query's own.
        assert fuseki.read_query("") == (parsed, None, {})
    else:
        with pytest.raises(ValueError, match=r"Non-group key variable in SELECT: \?s"):
            fuseki.read_query("")
