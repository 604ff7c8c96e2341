# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.docker import compose as door

BASE = ["/usr/bin/docker", "compose", "--project-name", "shop", "--project-directory", "/d", "--env-file", "/d/.env", "--file", "/d/compose.yaml", "--file",
        "/d/compose.dockyard.yaml"]


class Runner:
    def __init__(self, rc=0, out="", err=""):
        self.answer, self.calls = (rc, out, err), []

    def __call__(self, argv):
        self.calls.append(argv)
        return self.answer


def compose(run):
    return door.Compose(run, "/usr/bin/docker", "shop", "/d", ["compose.yaml", "compose.dockyard.yaml"])


@pytest.mark.parametrize("ask, words", [
    (lambda c: c.model(), ["config", "--format", "json"]),
    (lambda c: c.hashes(), ["config", "--hash", "*"]),
    (lambda c: c.create(["b", "a"]), ["up", "--no-start", "--no-build", "--pull", "never", "a", "b"]),
    (lambda c: c.up(["b", "a"]), ["up", "--detach", "--no-build", "--pull", "never", "a", "b"]),
    (lambda c: c.up({"a"}, remove_orphans=True), ["up", "--detach", "--no-build", "--pull", "never", "--remove-orphans", "a"]),
    (lambda c: c.restart(["b", "a"]), ["restart", "--no-deps", "a", "b"]),
])
def test_commands(ask, words):
    run = Runner(out="{}")
    ask(compose(run))
    assert run.calls == [BASE + words]


def test_profiles_come_before_the_command():
    run = Runner(out="{}")
    door.Compose(run, "/usr/bin/docker", "shop", "/d", ["compose.yaml", "compose.dockyard.yaml"], ["tools"]).model()
    assert run.calls == [BASE + ["--profile", "tools", "config", "--format", "json"]]


def test_model_is_parsed():
    assert compose(Runner(out='{"services": {}}')).model() == {"services": {}}


def test_a_hash_changes_with_the_env_file_of_its_service_only(tmp_path):
    def hashes():
        return door.Compose(Runner(out="app 8a5b\ndb 0ffd\n"), "docker", "shop", str(tmp_path), ["compose.yaml"]).hashes()

    assert hashes() == {"app": "8a5b", "db": "0ffd"}
    (tmp_path / "app.env").write_text("X=1\n")
    first = hashes()
    assert first["app"] not in ("8a5b", "") and first["db"] == "0ffd" and hashes() == first
    (tmp_path / "app.env").write_text("X=2\n")
    assert hashes()["app"] != first["app"]


def test_hashes_as_compose_2_26_prints_them():
    out = "app 8a5bbcb7e0d8ff9e1f9c4e4a\ndb 0ffdd3a1\n"
    assert compose(Runner(out=out)).hashes() == {"app": "8a5bbcb7e0d8ff9e1f9c4e4a", "db": "0ffdd3a1"}
    assert door.parse_hashes("") == {}
    assert door.parse_hashes("time=\"x\" level=warning msg=\"three words here\"\napp h\n\n") == {"app": "h"}


@pytest.mark.parametrize("out, err, text", [
    ("", "one\n\ntwo  \n", "one\ntwo"),
    ("out", "", "out"),
    ("", " \n", "docker compose config ended with code 15"),
    ("", "\n".join("line %d" % number for number in range(100)), "\n".join("line %d" % number for number in range(85, 100))),
])
def test_a_failure_says_what_compose_said(out, err, text):
    with pytest.raises(door.ComposeError) as error:
        compose(Runner(15, out, err)).hashes()
    assert str(error.value) == text


def test_argv_is_fresh_each_time():
    one = compose(Runner())
    one.argv("x").append("y")
    assert one.argv("x") == BASE + ["x"]


def test_tail():
    assert door.tail("a\n\n b \n\nc\n", 2) == " b\nc"
    assert door.tail("", 3) == ""
