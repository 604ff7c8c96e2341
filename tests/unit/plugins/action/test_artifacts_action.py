# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half against the real host's half, whose store is a folder of this machine; calls are counted."""

from __future__ import annotations

import base64
import copy
import getpass
import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.dockyard.fleet.plugins.action import artifacts as action
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.modules import artifacts as module
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import push

FOR_THE_CONTROLLER = {"sets", "manifest", "folder", "public_keys", "signature", "s3", "headers", "facts", "controller_ca_certificate", "write"}
NUMBERS = random.Random(5)


class Host:
    """A host: runs the module's own code on a store below a folder."""

    def __init__(self, folder, ssh=True):
        self.store, self.ssh, self.calls, self.warnings = str(folder / "store"), ssh, [], []
        self.transport = "ssh" if ssh else "local"
        self.pipelining = False

    def execute(self, module_name, module_args, task_vars):
        assert module_name == "dockyard.fleet.artifacts" and set(module_args) <= set(module.ARGUMENTS) - FOR_THE_CONTROLLER
        self.calls.append(module_args["state"])
        validated = ArgumentSpecValidator(module.ARGUMENTS).validate(copy.deepcopy(module_args))
        assert not validated.error_messages, validated.error_messages
        self.arguments = module_args
        try:
            return dict(module.run(module.options_of(validated.validated_parameters), self.check_mode, "test"), invocation={"module_args": module_args})
        except ArtifactsError as error:
            return {"failed": True, "msg": str(error), "problems": error.problems}

    def get_option(self, name):
        return {"remote_user": getpass.getuser()}[name]

    def command(self, command, sudoable, in_data=None):
        if in_data is None:
            return {"stdout": getpass.getuser() + "\n"}
        self.calls.append("glance")
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True, check=False)
        assert sudoable and not done.stderr, done.stderr
        return {"rc": done.returncode, "stdout": "a motd\n" + done.stdout.decode()}

    def put_file(self, local, remote):
        self.calls.append("put")
        with open(local, "rb") as mine, open(remote, "wb") as theirs:
            theirs.write(mine.read())

    def facts(self):
        """What host_facts would say of the store."""
        validated = ArgumentSpecValidator(module.ARGUMENTS).validate({"state": "inspect", "store": self.store})
        return {"artifacts": module.run(module.options_of(validated.validated_parameters), False, "test")["store"]}

    def run(self, check_mode=False, **arguments):
        """A task's result."""
        self.calls, self.check_mode = [], check_mode
        arguments = dict({"store": self.store, "retries": 0, "stall_timeout_seconds": 5}, **arguments)
        plugin = action.ActionModule.__new__(action.ActionModule)
        plugin._task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False, delegate_to=None)
        plugin._connection, plugin._execute_module = self, self.execute
        plugin._display = SimpleNamespace(warning=self.warnings.append)
        plugin._templar = SimpleNamespace(template=lambda value: value, available_variables={})
        plugin._low_level_execute_command = self.command
        plugin._is_pipelining_enabled = lambda style, wrap_async: self.pipelining
        plugin.validate_argument_spec = lambda spec: (None, dict({name: entry.get("default") for name, entry in spec.items()}, **arguments))
        action.ActionBase.run, kept = lambda self, tmp, task_vars: {}, action.ActionBase.run
        try:
            return plugin.run(None, {"inventory_hostname": "me", "dockyard_progress": False})
        finally:
            action.ActionBase.run = kept

    def bring(self, manifest, **more):
        """The result for one set."""
        result = self.run(sets=[dict({"stack": "demo", "name": "models", "manifest": str(manifest)}, **more.pop("entry", {}))], **more)
        if "sets" not in result:
            return result
        assert set(result["sets"]) == {"demo"} and set(result["sets"]["demo"]) == {"models"}
        return dict(result["sets"]["demo"]["models"], remote_calls=result["remote_calls"])

    def states(self, result):
        return {name: entry["state"] for name, entry in result["files"].items()}


@pytest.fixture(autouse=True)
def fixture_world(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(push, "ssh_command", lambda connection: (lambda command: ["/bin/sh", "-c", command]) if connection.ssh else None)


@pytest.fixture(name="host")
def fixture_host(tmp_path):
    return Host(tmp_path)


class Maker:
    """Makes files of the controller, and manifests."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()

    def file(self, name, size=50_000, **more):
        data = NUMBERS.randbytes(size)
        (self.folder / name).write_bytes(data)
        return dict({"name": name, "size": size, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "sources": [{"file": name}]}, **more)

    def manifest(self, *files, name="models.json", **more):
        path = self.folder / name
        path.write_text(json.dumps(dict({"schema": 1, "files": list(files)}, **more)))
        return path


@pytest.fixture(name="make")
def fixture_make(tmp_path):
    return Maker(tmp_path / "manifests")


class Site(http.server.ThreadingHTTPServer):
    """A web server of a folder; ``asked`` has the paths and headers that it got."""

    def __init__(self, folder):
        site = self
        self.asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def do_GET(self):
                site.asked.append((self.path, dict(self.headers)))
                super().do_GET()

            def log_message(self, *unused):
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server_address[1]


@pytest.fixture(name="site")
def fixture_site(tmp_path):
    (tmp_path / "www").mkdir()
    with Site(tmp_path / "www") as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        site.folder = tmp_path / "www"
        yield site
        site.shutdown()


def serve(site, make, name, **more):
    """A file that the site has and the controller has not."""
    item = make.file(name)
    os.rename(make.folder / name, site.folder / name)
    return dict(item, sources=[site.url + "/" + name], **more)


# Files of the controller

@pytest.mark.parametrize("ssh,calls", [(True, ["inspect", "present"]), (False, ["inspect", "put", "put", "present"])])
def test_files_of_the_controller_are_sent_once(tmp_path, make, ssh, calls):
    host, manifest = Host(tmp_path, ssh), make.manifest(make.file("large", 5_000_000), make.file("small"))
    result = host.bring(manifest)
    assert host.states(result) == {"large": "fetched", "small": "fetched"} and result["changed"]
    assert host.calls == calls
    assert result["files"]["large"]["source"] == "%s on the controller" % (make.folder / "large")
    with open(result["path"] + "/large", "rb") as stream:
        assert stream.read() == (make.folder / "large").read_bytes()
    again = host.bring(manifest, facts=host.facts())
    assert (again["changed"], again["remote_calls"], again["path"], again["id"]) == (False, 0, result["path"], result["id"])


def test_without_facts_one_call_tells_that_nothing_is_to_be_done(host, make):
    manifest = make.manifest(make.file("a"))
    host.bring(manifest)
    assert not host.bring(manifest)["changed"] and host.calls == ["inspect"]


# A look at the set alone, where a module need not go by a file

def test_a_glance_is_enough_where_nothing_is_due(host, make):
    host.pipelining = True
    manifest = make.manifest(make.file("a"), make.file("b"), make.file("extra", required=False))
    first = host.bring(manifest)
    assert host.calls[0] == "glance" and first["remote_calls"] == 3 and set(host.states(first).values()) == {"fetched"}
    again = host.bring(manifest)
    assert host.calls == ["glance"] and again["remote_calls"] == 1 and not again["changed"]
    assert (again["path"], again["id"], set(host.states(again).values())) == (first["path"], first["id"], {"present"})
    # Facts are as good, and cost nothing; reading all of it is the module's work.
    assert not host.bring(manifest, facts=host.facts())["changed"] and host.calls == []
    assert not host.bring(manifest, verify="always")["changed"] and host.calls == ["present"]


@pytest.mark.parametrize("damage", ["touched", "removed", "cut", "no receipt", "no description", "half a receipt"])
def test_a_glance_sees_what_the_module_sees(host, make, damage):
    host.pipelining = True
    manifest = make.manifest(make.file("a"), make.file("b"))
    path = host.bring(manifest, method="copy")["path"]
    if damage == "touched":
        os.utime(path + "/b")
    elif damage == "removed":
        os.unlink(path + "/b")
    elif damage == "cut":
        os.truncate(path + "/b", 1)
    elif damage == "no description":
        os.unlink(path + ".json")
    else:
        with open(path + ".json", encoding="utf-8") as stream:
            text = stream.read()
        with open(path + ".json", "w", encoding="utf-8") as stream:
            stream.write(text.replace('"receipt"', '"lost"') if damage == "no receipt" else text[:len(text) // 2])
    result = host.bring(manifest, method="copy")
    assert host.calls[0] == "glance" and len(host.calls) > 1
    with open(path + "/b", "rb") as stream:
        assert stream.read() == (make.folder / "b").read_bytes()
    assert host.states(result)["b"] in ("present", "repaired")
    assert not host.bring(manifest, method="copy")["changed"] and host.calls == ["glance"]


def test_a_glance_does_not_let_an_older_manifest_pass(host, make):
    host.pipelining = True
    signer, item = Signer(), make.file("a")
    entry = {"public_keys": [signer.public]}
    older = signer.sign(make.manifest(item, version=1, name="older.json"))
    assert host.bring(older, entry=entry)["changed"]
    newer = signer.sign(make.manifest(item, version=2, name="newer.json"))
    assert not host.bring(newer, entry=entry).get("failed")
    assert host.facts()["artifacts"]["manifests"]["demo"]["models"]["version"] == 2
    assert not host.bring(newer, entry=entry)["changed"] and host.calls == ["glance"]
    refused = host.bring(older, entry=entry)
    assert refused["failed"] and "version" in refused["msg"] and host.calls[0] == "glance"


def test_a_host_that_answers_a_glance_with_nothing_is_asked_by_the_module(host, make, monkeypatch):
    host.pipelining = True
    manifest = make.manifest(make.file("a"))
    host.bring(manifest)
    for answer in ({"rc": 127, "stdout": ""}, {"rc": 0, "stdout": "banner"}, {"rc": 0, "stdout": "dockyard-artifacts-glance {"}):
        monkeypatch.setattr(Host, "command", lambda self, command, sudoable, in_data=None, answer=answer: answer if in_data else {"stdout": getpass.getuser()})
        assert not host.bring(manifest)["changed"] and host.calls == ["inspect"]


def test_only_what_is_missing_is_sent(host, make, monkeypatch):
    first, second = make.file("a"), make.file("b")
    host.bring(make.manifest(first))
    sent = []
    monkeypatch.setattr(push.Sender, "__init__", lambda self, argv_of, parcels, *rest, old=push.Sender.__init__: (
        sent.extend(parcel.name for parcel in parcels), old(self, argv_of, parcels, *rest))[1])
    assert host.states(host.bring(make.manifest(first, second))) == {"a": "present", "b": "fetched"}
    assert sent == ["b"]


def test_two_names_of_one_content_are_sent_once(host, make):
    item = make.file("a")
    result = host.bring(make.manifest(item, dict(item, name="copy")))
    assert set(host.states(result).values()) == {"fetched"} and sorted(os.listdir(result["path"])) == ["a", "copy"]


def test_the_folder_of_the_operator_comes_first(host, make, tmp_path):
    item = make.file("a")
    mine = tmp_path / "mine"
    mine.mkdir()
    os.rename(make.folder / "a", mine / "a")
    (make.folder / "a").write_text("another file of that name")
    result = host.bring(make.manifest(item), entry={"folder": str(mine)})
    assert result["files"]["a"]["source"] == "%s on the controller" % (mine / "a")


def test_check_mode_sends_nothing_and_says_what_it_would(host, make):
    result = host.run(check_mode=True, set={"owner": "demo", "name": "models"}, manifest=str(make.manifest(make.file("a"))))
    assert result["changed"] and result["bytes_to_fetch"] == 50_000 and [entry["name"] for entry in result["would_fetch"]] == ["a"]
    assert not os.path.exists(host.store)


def test_an_upload_that_broke_off_goes_on(host, make, monkeypatch):
    item, sent = make.file("a", 5_000_000), []
    manifest = make.manifest(item)
    breaking = "head -c 2000000 | (%s); exit 255"
    monkeypatch.setattr(push, "ssh_command", lambda unused: lambda command: [
        "/bin/sh", "-c", breaking % command.replace("exec ", "") if "cat" in command else command])
    failed = host.bring(manifest, stall_timeout_seconds=1)
    assert failed["failed"] and "sending to this host" in failed["msg"]
    real = push.Sender._send
    monkeypatch.setattr(push.Sender, "_send", lambda self, batch, command: (sent.append(batch[0].offset), real(self, batch, command))[1])
    monkeypatch.setattr(push, "ssh_command", lambda unused: lambda command: ["/bin/sh", "-c", command])
    assert host.states(host.bring(manifest)) == {"a": "fetched"}
    assert sent == [2_000_000]


def test_the_beginning_of_another_file_does_not_end_in_a_failure(host, make, monkeypatch):
    item = make.file("a", 60_000)
    folder = os.path.join(host.store, "partial")
    os.makedirs(folder)
    with open(os.path.join(folder, item["digest"].replace(":", "-") + ".push"), "wb") as stream:
        stream.write(b"stale" * 1000)
    assert host.states(host.bring(make.manifest(item))) == {"a": "fetched"}
    assert host.calls == ["inspect", "present", "inspect", "present"]


def test_a_wrong_file_of_the_controller_is_named_with_both_digests_and_sent_once(host, make):
    item = make.file("a")
    wrong = "sha256:" + "1" * 64
    manifest = make.manifest(dict(item, digest=wrong))
    result = host.bring(manifest)
    assert result["failed"] and len(result["problems"]) == 1
    problem = result["problems"][0]
    assert item["digest"] in problem["found"] and str(make.folder / "a") in problem["found"] and "50000 bytes" in problem["found"]
    assert wrong in problem["needed"] and "dockyard_artifacts_demo.models.folder" in problem["setting"]
    assert host.bring(manifest)["failed"] and host.calls == ["inspect"]


def test_a_wrong_size_is_told_before_anything_is_sent(host, make):
    result = host.bring(make.manifest(dict(make.file("a"), size=7), make.file("b")))
    assert result["failed"] and "50000 bytes in" in result["msg"] and "needed: 7 bytes" in result["msg"] and host.calls == ["inspect"]


def test_a_wrong_optional_file_is_left_out_with_a_warning(host, make):
    result = host.bring(make.manifest(dict(make.file("a"), size=7, required=False), make.file("b")))
    assert result["missing_optional"] == ["a"] and host.states(result)["b"] == "fetched" and "7 bytes" in host.warnings[0]


def test_a_required_file_that_nobody_has_is_told_before_anything_is_sent(host, make):
    lost = make.file("lost")
    os.unlink(make.folder / "lost")
    result = host.bring(make.manifest(make.file("a"), lost))
    assert "no file lost in %s" % make.folder in result["msg"] and host.calls == ["inspect"]


def test_a_file_that_the_host_has_is_not_needed_on_the_controller(host, make):
    item = make.file("a")
    host.bring(make.manifest(item))
    os.unlink(make.folder / "a")
    result = host.bring(make.manifest(item, make.file("b")))
    assert host.states(result) == {"a": "present", "b": "fetched"}


def test_an_optional_file_that_appears_is_sent_and_one_that_does_not_costs_nothing(host, make):
    optional = make.file("extra", required=False)
    os.rename(make.folder / "extra", make.folder / "hidden")
    manifest = make.manifest(make.file("a"), optional)
    assert host.bring(manifest)["missing_optional"] == ["extra"]
    still = host.bring(manifest, facts=host.facts())
    assert still["missing_optional"] == ["extra"] and still["remote_calls"] == 0
    os.rename(make.folder / "hidden", make.folder / "extra")
    assert host.states(host.bring(manifest, facts=host.facts())) == {"a": "present", "extra": "fetched"}


@pytest.mark.parametrize("method", ["hardlink", "copy"])
def test_verify_always_repairs_what_was_sent(host, make, method):
    manifest = make.manifest(make.file("a"), make.file("b"))
    path = host.bring(manifest, method=method)["path"] + "/b"
    status = os.stat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as stream:
        stream.write(b"broken")
    os.chmod(path, status.st_mode & 0o777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = host.bring(manifest, method=method, verify="always", facts=host.facts())
    assert host.states(result) == {"a": "present", "b": "repaired"}
    with open(path, "rb") as stream:
        assert stream.read() == (make.folder / "b").read_bytes()
    assert not host.bring(manifest, method=method, verify="always")["changed"] and host.calls == ["present"]


# Other sources

def test_urls_are_the_hosts_own_business(host, make, site):
    result = host.bring(make.manifest(serve(site, make, "a")))
    assert host.states(result) == {"a": "fetched"} and host.calls == ["present"]


def test_a_file_behind_a_url_is_sent_when_the_url_gives_nothing(host, make, site):
    item = make.file("a")
    result = host.bring(make.manifest(dict(item, sources=[site.url + "/nothing", {"file": "a"}])))
    assert host.states(result) == {"a": "fetched"} and host.calls == ["present", "inspect", "present"]


def test_a_url_behind_a_file_is_used_when_the_controller_has_none(host, make, site):
    item = serve(site, make, "a")
    assert host.states(host.bring(make.manifest(dict(item, sources=[{"file": "a"}] + item["sources"])))) == {"a": "fetched"}


def test_headers_go_to_their_host_name_only(host, make, site):
    item = serve(site, make, "a")
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    item["sources"] = [elsewhere + "/nothing"] + item["sources"]
    host.bring(make.manifest(item), headers={"127.0.0.1": {"Authorization": "Bearer hf_secret"}})
    assert [headers.get("Authorization") for unused, headers in site.asked] == [None, "Bearer hf_secret"]


def test_a_token_stays_on_a_controller_that_is_the_mirror(host, make, site):
    manifest = make.manifest(serve(site, make, "a"), serve(site, make, "b"))
    assert host.states(host.bring(manifest, mirrors=["controller"], headers={"127.0.0.1": {"Authorization": "Bearer hf_secret"}}))["a"] == "fetched"
    assert [headers.get("Authorization") for unused, headers in site.asked] == ["Bearer hf_secret"] * 2
    assert "hf_secret" not in json.dumps(host.arguments)


def test_an_s3_source_that_can_not_be_signed_leaves_the_others(host, make, site, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    item = serve(site, make, "a")
    assert host.states(host.bring(make.manifest(dict(item, sources=["s3://models/a"] + item["sources"])))) == {"a": "fetched"}
    assert "no boto3" in host.warnings[0]
    refused = host.bring(make.manifest(dict(serve(site, make, "b"), sources=["s3://models/b"])))
    assert refused["failed"] and "no boto3" in refused["msg"]


def test_a_cache_that_can_not_be_written_is_named(host, make, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    result = host.bring(make.manifest(make.file("a")))
    assert result["failed"] and "XDG_CACHE_HOME" in result["msg"] and str(tmp_path / "file") in result["msg"]


def test_the_result_shows_no_arguments(host, make, site):
    result = host.run(set={"owner": "demo", "name": "models"}, manifest=str(make.manifest(serve(site, make, "a"))))
    assert "invocation" not in result


def test_files_without_a_manifest(host, make, site):
    item = serve(site, make, "a")
    result = host.run(set={"owner": "demo", "name": "models"}, files=[dict(item, sources=[{"url": item["sources"][0]}])])
    assert host.states(result) == {"a": "fetched"} and result["set"]["path"].startswith(host.store)


# The controller as mirror

def test_one_copy_leaves_the_source_when_the_controller_is_the_mirror(tmp_path, make, site):
    manifest = make.manifest(serve(site, make, "a"), serve(site, make, "b"))
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        host = Host(tmp_path / str(number))
        result = host.bring(manifest, mirrors=["controller"])
        assert host.states(result) == {"a": "fetched", "b": "fetched"} and host.calls == ["inspect", "present"]
    assert sorted(path for path, unused in site.asked) == ["/a", "/b"]


def test_a_file_that_changed_in_the_controllers_store_is_fetched_again(tmp_path, make, site):
    item = serve(site, make, "a")
    manifest = make.manifest(item)
    Host(tmp_path).bring(manifest, mirrors=["controller"])
    digits = item["digest"].partition(":")[2]
    path = tmp_path / "cache/dockyard-fleet/artifacts/sha256" / digits[:2] / digits
    path.chmod(0o600)
    path.write_bytes(b"broken" * 10)
    (tmp_path / "other").mkdir()
    host = Host(tmp_path / "other")
    assert host.states(host.bring(manifest, mirrors=["controller"])) == {"a": "fetched"}
    assert len(site.asked) == 2


def test_a_controller_that_gets_nothing_leaves_it_to_the_host(host, make, site, monkeypatch):
    item = serve(site, make, "a")
    from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import store

    def fail(*unused, **unused2):
        raise ArtifactsError([{"where": "w", "found": "no route", "needed": "one", "setting": "s"}])
    monkeypatch.setattr(store, "download", fail)
    assert host.states(host.bring(make.manifest(item), mirrors=["controller"])) == {"a": "fetched"}
    assert "could not be the mirror" in host.warnings[0] and "no route" in host.warnings[0]


# Manifests and signatures

class Signer:
    """A key of minisign."""

    def __init__(self, name=b"dockyard"):
        self.key, self.name = Ed25519PrivateKey.generate(), name
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = base64.b64encode(b"Ed" + name + raw).decode()

    def sign(self, path):
        signature = self.key.sign(hashlib.blake2b(path.read_bytes()).digest())
        lines = ["untrusted comment: x", base64.b64encode(b"ED" + self.name + signature).decode(), "trusted comment: y",
                 base64.b64encode(self.key.sign(signature + b"y")).decode()]
        (path.parent / (path.name + ".minisig")).write_text("\n".join(lines) + "\n")
        return path


def test_a_signed_manifest_is_remembered_and_an_older_one_refused(host, make):
    signer, item = Signer(), make.file("a")
    entry = {"public_keys": [signer.public]}
    newer = signer.sign(make.manifest(item, version=2, name="newer.json"))
    older = signer.sign(make.manifest(item, make.file("b"), version=1, name="older.json"))
    same = signer.sign(make.manifest(item, make.file("c"), version=2, name="same.json"))
    assert host.bring(newer, entry=entry)["changed"]
    assert host.facts()["artifacts"]["manifests"]["demo"]["models"]["version"] == 2
    again = host.bring(newer, entry=entry, facts=host.facts())
    assert (again["changed"], again["remote_calls"]) == (False, 0)
    for manifest, found in ((older, "version 1, older than version 2"), (same, "version 2 with other contents")):
        refused = host.bring(manifest, entry=entry, facts=host.facts())
        assert refused["failed"] and found in refused["msg"] and host.calls == []
        # Without facts the host tells, and nothing was sent.
        refused = host.bring(manifest, entry=entry)
        assert refused["failed"] and host.calls == ["inspect"] and "version" in refused["msg"]


def test_a_new_version_of_the_same_files_is_written_down(host, make):
    signer, item = Signer(), make.file("a")
    for version in (1, 2):
        manifest = signer.sign(make.manifest(item, version=version))
        result = host.bring(manifest, entry={"public_keys": [signer.public]}, facts=host.facts())
        assert host.facts()["artifacts"]["manifests"]["demo"]["models"]["version"] == version
    assert host.states(result) == {"a": "present"}


def test_an_unsigned_manifest_may_go_back(host, make):
    item = make.file("a")
    assert host.bring(make.manifest(item, version=2))["changed"]
    assert not host.bring(make.manifest(item, version=1), facts=host.facts())["changed"]


@pytest.mark.parametrize("break_it,found", [
    (lambda path: path.write_text(path.read_text().replace('"a"', '"b"')), "does not fit the manifest"),
    (lambda path: (path.parent / (path.name + ".minisig")).unlink(), "no readable file"),
    (lambda path: Signer(b"somebody").sign(path), "unknown key"),
    (lambda path: Signer().sign(path), "does not fit the manifest"),
])
def test_what_is_not_signed_by_a_trusted_key_never_reaches_the_host(host, make, break_it, found):
    signer = Signer()
    manifest = signer.sign(make.manifest(make.file("a"), version=1))
    break_it(manifest)
    result = host.bring(manifest, entry={"public_keys": [signer.public]})
    assert result["failed"] and found in result["msg"] and host.calls == []


def test_expired_unrecorded_and_broken_manifests_are_told_together(host, make):
    expired = make.manifest(make.file("a"), expires="2020-01-01T00:00:00Z", name="expired.json")
    unrecorded = make.manifest(dict(make.file("b"), digest=None), name="unrecorded.json")
    outside = make.manifest(dict(make.file("c"), name="../c"), name="outside.json")
    missing = make.folder / "missing.json"
    sets = [{"stack": "demo", "name": path.stem, "manifest": str(path)} for path in (expired, unrecorded, outside, missing)]
    result = host.run(sets=sets)
    assert result["failed"] and len(result["problems"]) == 4 and host.calls == []
    for text in ("expired at 2020", "action=record", "way out of the folder", "no readable file"):
        assert text in result["msg"]
    planned = host.run(state="planned", sets=sets)
    assert len(planned["problems"]) == 4 and not planned.get("failed") and host.calls == []


def test_an_unrecorded_optional_file_is_left_out_and_reported(host, make):
    manifest = make.manifest(make.file("a"), dict(make.file("b"), digest=None, required=False))
    result = host.bring(manifest)
    assert result["missing_optional"] == ["b"] and result["unrecorded"] == ["b"] and list(result["files"]) == ["a"]
    again = host.bring(manifest, facts=host.facts())
    assert again["missing_optional"] == ["b"] and again["remote_calls"] == 0


def test_planning_asks_the_host_nothing(host, make):
    lost = make.file("lost")
    os.unlink(make.folder / "lost")
    wrong = dict(make.file("wrong"), size=3)
    planned = host.run(state="planned", sets=[{"stack": "demo", "name": "models", "manifest": str(make.manifest(make.file("a"), lost, wrong))}])
    assert len(planned["problems"]) == 2 and "no file lost" in planned["problems"][0] and "needed: 3 bytes" in planned["problems"][1]
    assert host.calls == [] and planned["keep"] == ["demo/models/" + planned["sets"]["demo"]["models"]["id"]]
    assert planned["sets"]["demo"]["models"]["complete"] is False


def test_what_only_another_state_takes_is_not_handed_on(host, make):
    result = host.run(state="collected", facts={}, sets=[], mirrors=["controller"], s3={}, references=[])
    assert result["removed"] == [] and "mirrors" not in host.arguments


@pytest.mark.parametrize("arguments,found", [
    ({}, "neither manifest nor files nor sets"), ({"sets": [{"stack": "x"}]}, "an entry with the keys stack"),
])
def test_tasks_that_ask_for_nothing(host, arguments, found):
    assert found in host.run(**arguments)["msg"]


# Recording

def test_digests_are_shown_and_written_only_on_demand(host, make, site):
    a, b = make.file("a"), serve(site, make, "b")
    path = make.manifest(dict(a, digest=None, size=None), dict(b, digest="sha256:...", size="50KB"), version=1)
    before = path.read_text()
    sets = [{"stack": "demo", "name": "models", "manifest": str(path)}]
    shown = host.run(state="recorded", sets=sets)
    assert not shown["changed"] and path.read_text() == before and host.calls == []
    assert a["digest"] in shown["summary"][0] and b["digest"] in shown["summary"][1] and "not written" in shown["summary"][2]
    checked = host.run(state="recorded", sets=sets, write=True, check_mode=True)
    assert checked["changed"] and path.read_text() == before and b["digest"] in checked["diff"][0]["after"]
    assert host.run(state="recorded", sets=sets, write=True)["changed"]
    files = json.loads(path.read_text())["files"]
    assert [(item["digest"], item["size"]) for item in files] == [(a["digest"], 50_000), (b["digest"], 50_000)]
    assert not host.run(state="recorded", sets=sets, write=True)["changed"]
    # What was fetched for it serves as the controller's copy.
    asked = len(site.asked)
    assert host.states(host.bring(path, mirrors=["controller"])) == {"a": "fetched", "b": "fetched"} and len(site.asked) == asked


def test_a_member_of_an_archive_is_recorded(host, make):
    import tarfile
    inside = make.file("inside")
    with tarfile.open(make.folder / "all.tar", "w") as archive:
        archive.add(make.folder / "inside", "d/inside")
    path = make.manifest({"name": "inside", "sources": [{"archive": "all.tar", "member": "d/inside"}]}, {"name": "all.tar", "sources": [{"file": "all.tar"}]})
    host.run(state="recorded", sets=[{"stack": "demo", "name": "models", "manifest": str(path)}], write=True)
    assert json.loads(path.read_text())["files"][0]["digest"] == inside["digest"]
    assert host.states(host.bring(path)) == {"inside": "fetched", "all.tar": "fetched"}


def test_recording_refuses_what_it_can_not_find_and_a_size_that_lies(host, make):
    path = make.manifest({"name": "gone", "sources": [{"file": "gone"}]}, {"name": "no", "sources": []}, dict(make.file("a"), digest=None, size=9),
                         {"name": "optional", "sources": [{"file": "gone"}], "required": False})
    result = host.run(state="recorded", sets=[{"stack": "demo", "name": "models", "manifest": str(path)}], write=True)
    assert result["failed"] and len(result["problems"]) == 3
    assert "no file gone" in result["msg"] and "no source" in result["msg"] and "50000 bytes from" in result["msg"] and "optional" not in result["msg"]


def test_a_signed_manifest_has_to_be_signed_again(host, make):
    path = Signer().sign(make.manifest(dict(make.file("a"), digest=None), version=1))
    result = host.run(state="recorded", sets=[{"stack": "demo", "name": "models", "manifest": str(path)}], write=True)
    assert "sign it again" in result["summary"][-1]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_options_of_both_halves_are_documented_once():
    assert FOR_THE_CONTROLLER <= set(action._OWN) and set(action._OWN) | set(action._SHARED) | set(action._FORWARDED) <= set(module.ARGUMENTS)
    assert action._OWN["state"]["choices"] == module.ARGUMENTS["state"]["choices"]
    for name in ("store", "verify", "retries", "connect_timeout_seconds", "stall_timeout_seconds"):
        assert action._SHARED[name]["default"] == module.ARGUMENTS[name]["default"]
    assert action._OWN["s3"]["options"] == module.ARGUMENTS["s3"]["options"]
