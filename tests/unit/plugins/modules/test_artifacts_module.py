# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.modules import artifacts as module

DATA = b"content of a model"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def call(tmp_path, check=False, **arguments):
    """(exit status, result) of the module in a process of its own, as Ansible starts it."""
    given = dict(arguments, store=str(tmp_path / "store"), _ansible_check_mode=check, _ansible_diff=True)
    done = subprocess.run([sys.executable, module.__file__], input=json.dumps({"ANSIBLE_MODULE_ARGS": given}), capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_a_whole_call(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    files = [{"name": "a", "digest": DIGEST, "size": len(DATA), "sources": [{"path": str(source), "keep": True}]}]
    wanted = {"files": files, "set": {"owner": "oura", "name": "models"}}
    code, predicted = call(tmp_path, check=True, **wanted)
    assert code == 0 and predicted["changed"] and predicted["bytes_to_fetch"] == len(DATA) and not (tmp_path / "store").exists()
    code, first = call(tmp_path, **wanted)
    assert code == 0 and first["changed"] and first["diff"] == predicted["diff"] and first["set"] == predicted["set"]
    assert open(os.path.join(first["set"]["path"], "a"), "rb").read() == DATA
    code, second = call(tmp_path, **wanted)
    assert code == 0 and not second["changed"]
    assert set(second) - {"invocation"} == {"changed", "set", "files", "missing_optional", "bytes_fetched", "bytes_hashed", "bytes_reused", "seconds"}


def test_a_refusal_has_all_problems(tmp_path):
    code, result = call(tmp_path, files=[{"name": "../a", "digest": "md5:0"}], parallel=0)
    assert code == 1 and result["failed"] and len(result["problems"]) == 3 and result["msg"].startswith("3 problems:\n- files[0]: found a way out")


def test_a_store_that_can_not_be_written(tmp_path):
    (tmp_path / "store").write_text("a file")
    code, result = call(tmp_path, files=[{"name": "a", "digest": DIGEST, "sources": [{"path": "/nowhere"}]}])
    assert code == 1 and result["problems"][0]["found"] == "a file" and result["problems"][0]["setting"]


def test_short_values_of_headers_do_not_censor_the_result(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    sources = [{"path": str(source)}, {"url": "https://a:b@h/", "headers": {"X-Version": "1", "Accept": "a"}}]
    code, result = call(tmp_path, files=[{"name": "a", "digest": DIGEST, "sources": sources}], set={"owner": "o", "name": "n"})
    assert code == 0 and "*" not in json.dumps(dict(result, invocation=None)) and result["files"]["a"]["digest"] == DIGEST
    assert "a:b@" not in json.dumps(result)
    # From core 2.20 on it is not in a result unless it is asked for.
    arguments = result.get("invocation", {}).get("module_args", {"files": [{"sources": [None, {"url": "https://h/", "headers": "not shown"}]}]})
    assert arguments["files"][0]["sources"][1] == {"url": "https://h/", "headers": "not shown"}


SECRET_URL = "http://me:passwort@127.0.0.1:9/a?X-Signature=geheim"


def test_secrets_are_not_in_the_result(tmp_path):
    code, result = call(tmp_path, files=[{"name": "a", "digest": DIGEST, "sources": [{"url": SECRET_URL, "headers": {"Authorization": "Bearer heimlich"}}]}],
                        retries=0,
                        mirrors=["http://127.0.0.1:9/verborgen"], connect_timeout_seconds=1)
    text = json.dumps(result)
    assert code == 1 and "127.0.0.1:9" in result["msg"]
    assert not [word for word in ("passwort", "geheim", "heimlich", "verborgen") if word in text]


def test_secrets_are_not_in_the_journal(monkeypatch, tmp_path):
    logged = []
    arguments = {"files": [{"name": "a", "digest": DIGEST, "sources": [{"url": SECRET_URL, "headers": {"Authorization": "Bearer heimlich"}}]}],
                 "token": "verborgen" * 4,
                 "mirrors": ["http://127.0.0.1:9/verborgen"], "store": str(tmp_path)}
    monkeypatch.setattr(module.AnsibleModule, "log", lambda self, text, log_args=None: logged.append(text))
    monkeypatch.setattr(module.AnsibleModule, "_load_params", lambda self: setattr(self, "params", dict(arguments)))
    module.Module(argument_spec=module.ARGUMENTS, supports_check_mode=True)
    text = "\n".join(str(entry) for entry in logged)
    assert "Invoked with" in text and DIGEST in text
    assert not [word for word in ("passwort", "geheim", "heimlich", "verborgen") if word in text]


def test_a_task_that_logs_nothing_works_too(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    code, result = call(tmp_path, _ansible_no_log=True, files=[{"name": "a", "digest": DIGEST, "sources": [{"path": str(source)}]}])
    assert code == 0 and result["files"]["a"]["state"] == "fetched"


@pytest.mark.parametrize("state", ["served", "stopped"])
def test_a_server_needs_a_token(tmp_path, state):
    code, result = call(tmp_path, state=state)
    assert code == 1 and "token" in result["msg"]


def test_options_are_documented_as_they_are():
    def compare(documented, arguments):
        assert set(documented) == set(arguments)
        for name, argument in arguments.items():
            entry = documented[name]
            assert entry["type"] == argument["type"] and entry.get("default") == argument.get("default"), name
            assert entry.get("choices") == argument.get("choices") and bool(entry.get("required")) == bool(argument.get("required")), name
            compare(entry.get("suboptions") or {}, argument.get("options") or {})

    compare(yaml.safe_load(module.DOCUMENTATION)["options"], module.ARGUMENTS)
