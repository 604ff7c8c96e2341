# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack `emorobcare`: what gets into its images, the edits, the loader of the ontology, the probes, and who reaches whom."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shutil
import struct
import sys
import types
from pathlib import Path

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import parse_manifest
from ansible_collections.dockyard.fleet.plugins.module_utils.images import context, ignore
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import plan

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "files" / "stacks" / "emorobcare"
RECIPE = STACK / "app"
SOURCE = ROOT / "tests" / "apps" / "emorobcare"
DATABASES = {"mongodb": "documents", "qdrant": "vectors", "fuseki": "graph"}


def module(path):
    spec = importlib.util.spec_from_file_location("emorobcare_" + path.stem + "_" + path.parent.name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


sys.path.insert(0, str(RECIPE))
mend, load_ontology = module(RECIPE / "mend.py"), module(RECIPE / "load_ontology.py")
probe_api, probe_asr = module(RECIPE / "probes" / "api.py"), module(RECIPE / "probes" / "asr.py")


def stack():
    return yaml.safe_load((STACK / "stack.yml").read_text(encoding="utf-8"))


def compose(environment=None):
    """The Compose documents of an environment; those common to all without one."""
    names = ["compose.yaml"] + (["compose.%s.yaml" % environment] if environment else [])
    return [yaml.safe_load((STACK / name).read_text(encoding="utf-8")) for name in names]


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "source"


# -- what gets into the context --------------------------------------------------------

@pytest.mark.parametrize("path, comes_in", [
    ("services/api/main.py", True), ("services/api/core/config.py", True), ("services/asr/requirements.txt", True), ("ontology/memoria.ttl", True),
    ("services/frontend/src/stores/api.js", True), ("services/frontend/public/favicon.ico", True),
    ("services/api/.env", False), (".env.example", False), ("services/asr/.env.local", False), ("services/api/__pycache__/main.cpython-312.pyc", False),
    ("services/api/Dockerfile", False), ("services/asr/test_asr.py", False), ("services/fuseki-job/main.py", False), ("Plan.pdf", False),
    (".git/config", False), ("services/frontend/node_modules/vue/index.js", False), ("services/frontend/dist/index.html", False),
    ("docker-compose.yml", False), ("services/api/key.pem", False)])
def test_what_comes_in(path, comes_in):
    assert ignore.read_ignore((RECIPE / ".dockerignore").read_text(encoding="utf-8")).ignored(path)[0] is not comes_in


def test_all_that_is_needed_comes_in(source):
    inside = {entry.path for entry in context.scan_directory(str(source), ignore.read_ignore((RECIPE / ".dockerignore").read_text(encoding="utf-8")))}
    for path in mend.REQUIRED:
        assert path in inside or any(one.startswith(path + "/") for one in inside), path


# -- the edits -------------------------------------------------------------------------

def test_the_mended_source_has_no_fault_left(source, tmp_path):
    mend.mend(str(source), str(tmp_path / "out"))
    api = "".join(path.read_text() for path in (tmp_path / "out" / "api").rglob("*.py"))
    assert not re.search(r"(?m)^\s*from \.\.", api) and "llm_model_name" not in api
    for path in (tmp_path / "out").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    router = (tmp_path / "out/api/routers/knowledge_graph.py").read_text()
    assert "from fuseki_access import requests\n" in router and "from fuseki_access import SPARQLWrapper, JSON\n" in router
    assert '"SELECT (COUNT(*) as ?count) WHERE { {" + query + "\\n} }"\n' in router
    assert "from documents import AsyncIOMotorClient\n" in (tmp_path / "out/api/core/database.py").read_text()
    speech = (tmp_path / "out/asr/services/transcription_service.py").read_text()
    assert "device_index=0\n" in speech and "from ..speech import WhisperModel\n" in speech and not re.search(r"(?m)^import (torch|librosa)", speech)
    assert "./Providers.vue'" in (tmp_path / "out/pages/src/main.js").read_text() and (tmp_path / "out/pages/src/Providers.vue").exists()


def test_an_identity_of_mongodb_goes_out_as_text(monkeypatch):
    encoders, identity = types.SimpleNamespace(ENCODERS_BY_TYPE={}), type("ObjectId", (str,), {})
    for name, stub in (("bson", types.SimpleNamespace(ObjectId=identity)), ("fastapi", types.ModuleType("fastapi")), ("fastapi.encoders", encoders),
                       ("motor", types.ModuleType("motor")), ("motor.motor_asyncio", types.SimpleNamespace(AsyncIOMotorClient="client"))):
        monkeypatch.setitem(sys.modules, name, stub)
    documents = module(RECIPE / "overlay" / "api" / "documents.py")
    assert documents.AsyncIOMotorClient == "client" and encoders.ENCODERS_BY_TYPE == {identity: str}


def test_the_source_itself_is_not_edited(source, tmp_path):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    mend.mend(str(source), str(tmp_path / "out"))
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(mend.EDITS))
def test_an_edit_whose_target_is_gone_ends_the_build(source, tmp_path, name, capsys):
    where, endings, pattern, unused = mend.EDITS[name]
    part, unused2, rest = where.partition("/")
    for path in (source / "services" / mend.FOLDERS[part] / rest).rglob("*"):
        if path.is_file() and path.suffix in endings:
            path.write_text(re.sub(pattern, "", path.read_text()))
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "edit %s, %s: found its target nowhere" % (name, where) in said and "dockyard_source_ref_emorobcare" in said


@pytest.mark.parametrize("part, pins, name", [(part, pins, name) for part, pins in (("api", mend.API_PINS), ("asr", mend.ASR_PINS)) for name in sorted(pins)])
def test_a_pin_that_has_changed_ends_the_build(source, tmp_path, part, pins, name, capsys):
    path = source / "services" / part / "requirements.txt"
    text = path.read_text()
    changed = re.sub(r"(?m)^(%s(\[[a-z]+\])?)==.*$" % re.escape(name), r"\1==99.0", text)
    assert changed != text
    path.write_text(changed)
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "edit requirement-%s, services/%s/requirements.txt: found %s" % (name, part, name) in said and name + pins[name][0] in said


@pytest.mark.parametrize("line", ["motor==3.3.2", "requests>=2"])
def test_a_package_that_was_missing_and_is_there(source, tmp_path, line, capsys):
    with (source / "services/api/requirements.txt").open("a") as stream:
        stream.write(line + "\n")
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    assert "edit requirement-%s" % re.match("[a-z]+", line).group(0) in capsys.readouterr().err


def test_what_pip_gets(source, tmp_path):
    mend.mend(str(source), str(tmp_path / "out"))
    api, asr = (set((tmp_path / "out" / name).read_text().split()) for name in ("api.txt", "asr.txt"))
    assert {"motor==3.3.2", "qdrant-client==1.12.2", "pymongo==4.6.0", "SPARQLWrapper==2.0.0"} <= api and "pydantic-settings==2.0.3" in asr
    heavy = {"vllm", "torch", "whisper", "openai-whisper", "sentence-transformers", "transformers", "librosa", "faster-whisper"}
    assert not heavy & {mend.package_name(line) for line in api | asr}
    assert all("==" in line for line in api | asr)


def test_the_lock_file_fits_the_mended_manifest(source, tmp_path):
    """npm ci ends with an error otherwise."""
    mend.mend(str(source), str(tmp_path / "out"))
    manifest, lock = (json.loads((tmp_path / "out/pages" / name).read_text()) for name in ("package.json", "package-lock.json"))
    root = lock["packages"][""]
    assert manifest["dependencies"] == root["dependencies"] and manifest["devDependencies"] == root["devDependencies"]
    assert "@formkit/auto-animate" in manifest["dependencies"]
    # Each package by its digest, and no registry's name.
    assert all("integrity" in entry for path, entry in lock["packages"].items() if path)
    assert "resolved" not in (tmp_path / "out/pages/package-lock.json").read_text()


def test_a_page_package_that_is_named_by_now(source, tmp_path, capsys):
    path = source / "services/frontend/package.json"
    path.write_text(path.read_text().replace('"vue": "^3.3.8"', '"vue": "^3.3.8", "@formkit/auto-animate": "^1.0.0"'))
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    assert "edit package-@formkit/auto-animate" in capsys.readouterr().err


def test_all_missing_parts_are_named_at_once(source, tmp_path, capsys):
    (source / "services/api/main.py").unlink()
    (source / "ontology/memoria.ttl").unlink()
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "services/api/main.py, ontology/memoria.ttl" in said and "dockyard_source_emorobcare" in said


def test_our_file_where_the_source_has_one_by_now(source, tmp_path, capsys):
    (source / "services/asr/speech.py").write_text("")
    assert mend.main([str(source), str(tmp_path / "out")]) == 1
    assert "overlay-speech.py" in capsys.readouterr().err


def test_windows_line_ends_do_not_hide_a_target(source, tmp_path):
    for path in (source / "services").rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    mend.mend(str(source), str(tmp_path / "out"))
    assert "from fuseki_access import requests\n" in (tmp_path / "out/api/routers/knowledge_graph.py").read_text()


# -- the source as it changes under the environment development ------------------------------

def test_development_copies_what_changed_and_nothing_else(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mend", mend)
    develop = module(RECIPE / "develop.py")
    target = tmp_path / "live"
    develop.refresh(str(source), str(target), "api")
    before = develop.snapshot(str(target))
    path = source / "services/api/routers/asr.py"
    path.write_text(path.read_text() + "\n# edited\n")
    (source / "services/api/models/fresh.py").write_text("from ..core.config import settings\n")
    develop.refresh(str(source), str(target), "api")
    after = develop.snapshot(str(target))
    changed = {Path(name).name for name, state in after.items() if before.get(name) != state}
    assert changed == {"asr.py", "fresh.py"} and (target / "api/routers/asr.py").read_text().startswith(path.read_text()[:60])
    (source / "services/api/models/fresh.py").unlink()
    develop.refresh(str(source), str(target), "api")
    assert not (target / "api/models/fresh.py").exists()


# -- the loader of the ontology --------------------------------------------------------

class Store:
    """A Fuseki that remembers what it was asked, and answers counts from a list."""

    def __init__(self, *counts):
        self.asked, self.counts = [], list(counts)

    def update(self, text):
        self.asked.append(text.split()[0])

    def put(self, graph, text):
        self.asked.append("PUT " + graph)

    def count(self, pattern):
        return self.counts.pop(0)


@pytest.fixture(name="ontology")
def fixture_ontology(tmp_path, monkeypatch):
    """Three triples, and an rdflib that counts lines that end with a full stop."""

    class Graph(list):
        def parse(self, data, format):  # pylint: disable=redefined-builtin
            assert format == "turtle"
            if "no turtle" in data:
                raise ValueError("line 1:\n  unexpected")
            self.extend(line for line in data.splitlines() if line.endswith("."))
            return self

    monkeypatch.setitem(sys.modules, "rdflib", types.SimpleNamespace(Graph=Graph))
    path = tmp_path / "ontology.ttl"
    path.write_text("<a> <b> <c> .\n<a> <b> <d> .\n<a> <b> <e> .\n")
    return path


def test_the_former_ontology_goes_before_the_new_one_comes(ontology):
    store = Store(3, 3, 40)
    assert load_ontology.load(store, str(ontology)) == {"status": "loaded", "ontology": 3, "triples": 40}
    assert store.asked == ["DELETE", "PUT " + load_ontology.GRAPH, "INSERT"]


@pytest.mark.parametrize("counts, said", [
    ((2, 3, 40), "graph of the ontology: found 2 triples; needed 3"), ((3, 1, 40), "default graph: found 1 triples; needed 3")])
def test_a_count_that_differs_is_a_failure(ontology, counts, said):
    with pytest.raises(load_ontology.LoadError, match=said):
        load_ontology.load(Store(*counts), str(ontology))


@pytest.mark.parametrize("text, said", [("no turtle", "found no valid Turtle: line 1: unexpected"), ("", "found 0 triples")])
def test_a_broken_ontology_never_reaches_fuseki(ontology, text, said):
    ontology.write_text(text)
    store = Store()
    with pytest.raises(load_ontology.LoadError, match=said + ".*dockyard_source_emorobcare"):
        load_ontology.load(store, str(ontology))
    assert store.asked == []


def test_the_job_ends_with_one_when_fuseki_is_not_there(ontology, tmp_path, monkeypatch, capsys):
    (tmp_path / "password").write_text("secret-of-a-test\n")
    monkeypatch.setenv("FUSEKI_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("FUSEKI_URL", "http://127.0.0.1:9")
    assert load_ontology.main(["load", "--file", str(ontology), "--wait-seconds", "0"]) == 1
    said = capsys.readouterr()
    assert "fuseki-job: POST http://127.0.0.1:9/emorobcare" in said.err and "secret-of-a-test" not in said.err + said.out


def test_the_job_ends_with_one_without_a_password(ontology, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FUSEKI_PASSWORD_FILE", str(tmp_path / "none"))
    assert load_ontology.main(["load", "--file", str(ontology)]) == 1
    assert "no password of Fuseki" in capsys.readouterr().err


# -- the probes ------------------------------------------------------------------------

HEALTH = {"status": "healthy", "checks": {"models": {"status": "healthy", "loaded": 1}, "cpu": {"status": "healthy"}}}


def answer(**checks):
    document = copy.deepcopy(HEALTH)
    document["checks"].update({name: {"status": status} for name, status in checks.items()})
    return json.dumps(document)


@pytest.mark.parametrize("status, body, brought, good", [
    ("HTTP/1.1 200 OK", answer(), [], True), ("HTTP/1.1 200 OK", answer(models="unhealthy"), [], True),
    ("HTTP/1.1 200 OK", answer(models="unhealthy"), ["/models/a"], False), ("HTTP/1.1 200 OK", answer(cpu="unhealthy"), [], False),
    ("HTTP/1.1 200 OK", answer(performance="degraded"), [], True), ("HTTP/1.1 500 Error", answer(), [], False),
    ("HTTP/1.1 200 OK", '{"status": "unhealthy", "error": "x"}', [], False), ("HTTP/1.1 200 OK", "healthy", [], False)])
def test_a_speech_service_is_judged_by_its_checks(status, body, brought, good):
    assert probe_asr.judge(status, body.encode(), brought)[0] is good


@pytest.mark.parametrize("url, port, place", [
    ("mongodb://mongodb:27017", 1, ("mongodb", 27017)), ("http://fuseki:3030/x", 1, ("fuseki", 3030)), ("http://qdrant", 6333, ("qdrant", 6333)),
    ("mongodb://user:pass@a,b/db", 27017, ("a", 27017))])
def test_the_place_of_a_url(url, port, place):
    assert probe_api.place_of(url, port) == place


def test_the_ping_is_a_message_of_its_own_length():
    assert struct.unpack_from("<iiii", probe_api.PING) == (len(probe_api.PING), 1, 0, 2013)
    shell = re.search(r"printf '(\\x33.*?)' >&3", (STACK / "mongodb" / "health.sh").read_text()).group(1)
    octal = re.sub(r"\\0", r"\\x00", shell)
    assert octal.encode().decode("unicode_escape").encode("latin-1") == probe_api.PING


# -- the stack -------------------------------------------------------------------------

def test_only_the_pages_are_published():
    documents = compose()
    published = {name: service["ports"] for name, service in definitions.services_of(documents).items() if service.get("ports")}
    assert list(published) == ["frontend"] and [port["service"] for port in stack()["ports"]] == ["frontend"]


def test_who_reaches_whom():
    """Every network but the frontend's way out is internal, and each database is alone with those who ask it."""
    documents = compose()
    networks = definitions.top_level(documents, "networks")
    assert [name for name, entry in networks.items() if not entry.get("internal")] == ["outside"]
    members = {name: {service for service, entry in definitions.services_of(documents).items() if name in entry["networks"]} for name in networks}
    assert members["outside"] == {"frontend"} and members["pages_asr"] == {"frontend", "asr"} and members["pages_api"] == {"frontend", "api"}
    assert members["documents"] == {"mongodb", "api"} and members["vectors"] == {"qdrant", "api"} and members["graph"] == {"fuseki", "fuseki-job", "api"}


@pytest.mark.parametrize("environment", ["staging", "production", "offline"])
def test_closed_environments(environment):
    services = definitions.services_of(compose(environment))
    for name, service in services.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and not service["user"].startswith("0"), name
        assert (service.get("pull_policy") == "never") is (environment == "offline"), name


def test_the_model_libraries_are_offline_everywhere():
    for name in ("api", "asr", "vllm"):
        assert definitions.services_of(compose())[name]["environment"]["HF_HUB_OFFLINE"] == "1"
    text = (RECIPE / "Dockerfile").read_text()
    assert "HF_HUB_OFFLINE=1" in text and "HF_HOME=" in text and "TRANSFORMERS_OFFLINE=1" in text


def test_vllm_is_there_only_when_it_is_asked_for():
    definition, documents = stack(), compose()
    off, files, on = definitions.active(definition, documents, {"EMOROBCARE_VLLM": "false"})
    assert "vllm" not in off["images"] and "vllm" not in definitions.services_of(files) and on == []
    same, unused, on = definitions.active(definition, documents, {"EMOROBCARE_VLLM": "true"})
    assert "vllm" in same["images"] and on == ["vllm"]


@pytest.mark.parametrize("platform, features, model, good", [
    ("linux/arm64", ["asimd", "crc32", "fp"], "Raspberry Pi 4 Model B Rev 1.4", False), ("linux/arm64", ["asimd", "atomics"], "Raspberry Pi 5", True),
    ("linux/amd64", ["sse4_2"], None, False), ("linux/amd64", ["avx"], None, True), ("linux/arm64", None, "Raspberry Pi 4", True)])
def test_which_raspberry_pi_can_run_this(platform, features, model, good):
    facts = {"architecture": {"docker_platform": platform}, "cpu_features": features, "pi": {"model": model} if model else None}
    problems = plan.check_cpu(stack(), facts, platform)
    assert (problems == []) is good
    if not good:
        assert len(problems) == 1 and (model or platform) in problems[0] and "dockyard_stacks" in problems[0]
    # QEMU's processor has what this one lacks.
    other = "linux/amd64" if platform == "linux/arm64" else "linux/arm64"
    assert plan.check_cpu(stack(), facts, other) == []


def test_all_models_are_optional_and_where_the_services_look():
    files = parse_manifest((STACK / "models.json").read_text(encoding="utf-8"), "models.json")["files"]
    assert files and not any(item["required"] or item["digest"] for item in files)
    folders = {"/models/" + item["name"].split("/")[0] for item in files}
    env = stack()["env"]
    assert {env["api"]["EMBEDDING_MODEL_NAME"], *json.loads(env["asr"]["MODELS"]).values()} == folders


def test_fuseki_lets_nobody_in_without_a_login():
    rules = re.findall(r"'(/\S*) = ([^']*)'", (STACK / "fuseki" / "start.sh").read_text())
    assert [path for path, who in rules if "anon" in who] == ["/$/ping"]
    assert rules[-1] == ("/**", "authcBasic, roles[administration]") and ("/emorobcare/**", "authcBasic, roles[data]") in rules
