# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module env_translation with real files; the layouts of the stack inventory with what their scripts write."""
from __future__ import annotations

import contextlib
import json
import os

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.dockyard.fleet.plugins.modules import env_translation

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode("utf-8")
        yield

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 4))
RULES = [{"name": "SECRET_KEY", "secret": "key", "known": ["change_me_*"]}, {"name": "WORKERS", "env": "web"}, {"name": "LIMIT", "setting": "SHOP_LIMIT"},
         {"name": "DB_HOST", "only": ["localhost"], "drop": "Compose sets it"}, {"name": "URL", "env": "web", "replace": {"localhost": "db"}}]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the module; its whole result as it is printed."""
    def call(check=False, **args):
        args.setdefault("rules", RULES)
        monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: pytest.fail("wrote to the system log"))
        with patch_module_args(dict(args, _ansible_check_mode=check, _ansible_remote_tmp="/tmp", _ansible_keep_remote_files=False)):
            with pytest.raises(SystemExit):
                env_translation.main()
        return json.loads(capsys.readouterr().out)
    return call


@pytest.fixture
def put(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return str(path)
    return write


@pytest.mark.parametrize("check", [False, True])
def test_a_file_is_translated_and_nothing_changes(run, put, check):
    path = put("shop.env", "# the shop\nSECRET_KEY='s 3'\nWORKERS=4\nLIMIT=25m\nDB_HOST=localhost\nURL=http://localhost:80/\nEXTRA=hush-hush\nNO LINE\n")
    before = os.stat(path)
    result = run(check=check, files=[path], wanted=["DB_HOST", "NOT_THERE"])
    assert result["changed"] is False
    assert result["env"] == {"web": {"WORKERS": "4", "URL": "http://db:80/"}}
    assert result["settings"] == {"SHOP_LIMIT": "25m"} and result["secrets"] == {"key": "s 3"}
    assert result["dropped"] == [{"name": "DB_HOST", "reason": "Compose sets it"}]
    assert result["uncovered"] == [{"name": "EXTRA", "file": path, "line": 7, "reason": "no rule names it"}]
    assert result["unparsed"] == [{"file": path, "line": 8, "reason": "something stands behind the name or the closing quote, or a quote is not closed"}]
    assert result["variables"] == {"DB_HOST": "localhost"} and result["replaced"] == [] and result["differs"] == []
    assert result["files"] == [{"path": path, "found": True, "read": True}]
    # neither what it was called with (published defaults) nor a value that nobody asked for
    assert "hush" not in json.dumps(result) and "change_me" not in json.dumps(result)
    after = os.stat(path)
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def test_a_published_default_reaches_nobody(run, put):
    path = put("e", "SECRET_KEY=change_me_now\nURL=http://u:change_me_now@localhost/\n")
    result = run(files=[path])
    assert result["replaced"] == ["SECRET_KEY"] and result["secrets"] == {} and result["env"] == {}
    assert [entry["name"] for entry in result["uncovered"]] == ["URL"]
    assert "change_me" not in json.dumps(result)


def test_later_files_win_and_of_alternatives_the_first_that_is_there(run, put, tmp_path):
    system, near, far = put("default", "WORKERS=1\nLIMIT=1m\n"), put("app/.env", "WORKERS=2\n"), put("config/.env", "WORKERS=3\nLIMIT=3m\n")
    missing = str(tmp_path / "no/.env")
    result = run(files=[system, [missing, near, far]])
    assert result["env"] == {"web": {"WORKERS": "2"}} and result["settings"] == {"SHOP_LIMIT": "1m"}
    assert result["files"] == sorted([{"path": missing, "found": False, "read": False}, {"path": near, "found": True, "read": True},
                                      {"path": far, "found": True, "read": False}, {"path": system, "found": True, "read": True}], key=lambda one: one["path"])


def test_the_dialect_counts_and_the_difference_is_named(run, put):
    path = put("e", "export WORKERS=2\nLIMIT=25m # much\n")
    dotenv = run(files=[path])
    assert (dotenv["env"], dotenv["settings"], dotenv["differs"]) == ({"web": {"WORKERS": "2"}}, {"SHOP_LIMIT": "25m"}, ["LIMIT", "WORKERS"])
    systemd = run(files=[path], dialect="systemd")
    assert (systemd["env"], systemd["settings"], systemd["differs"]) == ({}, {"SHOP_LIMIT": "25m # much"}, ["LIMIT", "WORKERS"])
    assert [entry["line"] for entry in systemd["unparsed"]] == [1]


def test_what_editions_of_the_reader_take_differently_is_not_guessed(run, put):
    path = put("e", "WORKERS= # two\nSECRET_KEY='a\\'\n")
    result = run(files=[path], wanted=["WORKERS"])
    assert result["env"] == {} and result["secrets"] == {} and result["variables"] == {}
    assert [(entry["name"], entry["line"]) for entry in result["uncovered"]] == [("WORKERS", 1), ("WORKERS", 1)]
    assert "editions" in result["uncovered"][0]["reason"] and "needed for the migration" in result["uncovered"][1]["reason"]
    assert [entry["line"] for entry in result["unparsed"]] == [2]


def test_a_wanted_value_that_nobody_can_know_is_uncovered(run, put):
    result = run(files=[put("e", "DB=${NAME}\n")], wanted=["DB"], rules=[{"name": "DB", "drop": "x"}])
    assert result["variables"] == {} and [entry["name"] for entry in result["uncovered"]] == ["DB"]
    assert result["dropped"] == [{"name": "DB", "reason": "x"}]


def test_the_operator_may_leave_variables_behind(run, put):
    result = run(files=[put("e", "EXTRA=1\nMORE=2\n")], ignore=["EXTRA"])
    assert result["dropped"] == [{"name": "EXTRA", "reason": "migration_env_ignore"}]
    assert [entry["name"] for entry in result["uncovered"]] == ["MORE"]


def test_what_may_be_a_piece_of_a_key_is_told_by_its_line_alone(run, put):
    path = put("e", "WORKERS=1\nKEY=-----BEGIN\nMIIhush/hush+x=\n" + "h" * 70 + "ush=\n")
    result = run(files=[path], ignore=["KEY"])
    assert [(entry["name"], entry["line"]) for entry in result["uncovered"]] == [("", 3), ("", 4)]
    assert "hush" not in json.dumps(result) and result["differs"] == []


def test_one_line_is_told_once_although_two_readers_read_the_file(run, put):
    path = put("e", "WORKERS=1\nNO LINE\n")
    assert len(run(files=[path, [path]])["unparsed"]) == 1


# -- what goes wrong ------------------------------------------------------------------------

def refused(result, *words):
    assert result["failed"] is True and not result.get("changed")
    assert result["msg"].startswith("env_translation: ") and result["msg"].endswith("nothing was changed")
    for word in words:
        assert word in result["msg"], result["msg"]
    assert "hush" not in json.dumps(result) and result.get("invocation") in ({}, None)


def test_none_of_the_files_is_there(run, tmp_path):
    one, other = str(tmp_path / "a"), str(tmp_path / "b" / "c")
    refused(run(files=[one, [other]]), "found none of the environment files %s, %s" % (one, other), "-e layout=")


def test_a_file_below_a_file_is_not_there(run, put):
    path = put("a", "WORKERS=1\n")
    assert run(files=[path, path + "/b"])["env"] == {"web": {"WORKERS": "1"}}


def test_a_folder_in_the_place_of_the_file(run, tmp_path):
    refused(run(files=[str(tmp_path)]), str(tmp_path), "no regular file")


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(run, tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    refused(run(files=[str(tmp_path / "pipe")]), "no regular file")


def test_a_file_that_leads_to_itself(run, tmp_path):
    os.symlink("loop", str(tmp_path / "loop"))
    refused(run(files=[str(tmp_path / "loop")]), str(tmp_path / "loop"), "needed a file that root can read")


def test_a_disk_that_does_not_answer(run, put, monkeypatch):
    path = put("e", "A=hush\n")
    opened, closed = [], []
    monkeypatch.setattr(env_translation.os, "fdopen", lambda descriptor, *args, **options: opened.append(descriptor) or Broken())
    close = os.close
    monkeypatch.setattr(env_translation.os, "close", lambda descriptor: closed.append(descriptor) or close(descriptor))
    refused(run(files=[path]), path, "Input/output error")
    assert opened and opened[0] in closed


class Broken:
    """A file on a disk that is gone."""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        return False

    def read(self, unused):
        raise OSError(5, "Input/output error")


def test_a_file_that_is_no_environment_file_for_its_size(run, put):
    refused(run(files=[put("e", b"A=1\n" * (256 * 1024) + b"B=1\n")]), "found 1048580 bytes", "at most 1048576")
    assert [entry["line"] for entry in run(files=[put("e", b"A=1\n#" + b"x" * (1024 * 1024 - 5))])["uncovered"]] == [1]


def test_references_that_would_fill_the_memory(run, put):
    path = put("e", "A0=hush-hush-hush\n" + "".join("A%d=${A%d}${A%d}\n" % (number, number - 1, number - 1) for number in range(1, 64)))
    refused(run(files=[path]), path + ", line ", "more than 2097152 characters", "correct the file")


@pytest.mark.parametrize("data, line, words", [(b"A=1\nB=hush\xff\n", 2, "not UTF-8"), (b"A=1\n\nB=hush\0\n", 3, "a NUL byte")])
def test_bytes_that_the_application_could_not_have_read(run, put, data, line, words):
    path = put("e", data)
    refused(run(files=[path]), "%s, line %d: " % (path, line), words, "correct the file")


@pytest.mark.parametrize("files, words", [(["e.env"], "files[0]: found something else"), ([["/a", 1]], "files[0]"), ([[]], "files[0]"),
                                          ([{"a": 1}], "files[0]"), ([], "files: found none")])
def test_files_must_be_absolute_paths(run, files, words):
    refused(run(files=files), words, "migration/<layout>/env/files")


@pytest.mark.parametrize("rule, words", [
    ({"name": "A"}, "rules[1]: found none, needed exactly one of"), ({"name": "A", "env": "a", "drop": "b"}, "rules[1]: found env and drop"),
    ({"name": [], "drop": "x"}, "rules[1]/name"), ({"name": [1], "drop": "x"}, "rules[1]/name"), ({"name": {"a": 1}, "drop": "x"}, "rules[1]/name"),
    ({"name": "A", "env": "web", "values": {"1": 2}}, "rules[1]/values"), ({"name": "A", "env": "web", "replace": {"a": None}}, "rules[1]/replace")])
def test_rules_must_say_something(run, put, rule, words):
    refused(run(files=[put("e", "WORKERS=hush\n")], rules=[RULES[1], rule]), words, "migration/<layout>/env/rules")


# -- the layouts of the stack inventory ---------------------------------------------------------

with open(os.path.join(ROOT, "files", "stacks", "inventory", "stack.yml"), encoding="utf-8") as handle:
    INVENTORY = yaml.safe_load(handle)
# What the deploy script of RC8 and install.sh of HEAD write (names and kinds of values).
RC8 = """DEPLOYMENT_TYPE=raspberry_pi
SERVE_IMAGES_FROM_FILES=true
IMAGE_STORAGE_METHOD=filesystem
IMAGE_DIR=/var/lib/inventory/images
POSTGRES_HOST=localhost
POSTGRES_PORT=5432
POSTGRES_USER=inventory
POSTGRES_PASSWORD=inventory_pi_2024
POSTGRES_DB=inventory_db
FLASK_ENV=production
SECRET_KEY=inventory_pi_secret_key_change_in_production
RELEASE_CANDIDATE=RC8

# models
TRANSFORMERS_CACHE=/var/lib/inventory/ml_cache
HF_HOME=/var/lib/inventory/ml_cache

CF_WORKER_URL=https://register.example.org
CF_DEVICE_CERT_PATH=/etc/inventory/device.crt
"""
HEAD = """# Database
POSTGRES_HOST=localhost
POSTGRES_PORT=5432
POSTGRES_DB=thingdb
POSTGRES_USER=thingdb
POSTGRES_PASSWORD=Wq8-of_one's_own

FLASK_DEBUG=0
SECRET_KEY=an-own-key
IMAGE_STORAGE_METHOD=filesystem
IMAGE_DIR=/var/lib/thingdb/images
APP_VERSION=1.4.17
"""


@pytest.fixture
def native(run, tmp_path):
    """Translate the files of a layout, which stand below a folder instead of the root."""
    def call(layout, files, **options):
        for path, text in files.items():
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        env = INVENTORY["migration"][layout]["env"]
        below = [[str(tmp_path / path.lstrip("/")) for path in ([entry] if isinstance(entry, str) else entry)] for entry in env["files"]]
        return run(files=below, rules=env["rules"], dialect=env["dialect"], wanted=["POSTGRES_DB"], **options)
    return call


def test_inventory_rc8_comes_over_whole_and_without_its_published_passwords(native):
    result = native("rc8", {"/var/lib/inventory/config/environment.env": RC8})
    assert result["uncovered"] == [] and result["unparsed"] == [] and result["differs"] == []
    assert result["replaced"] == ["POSTGRES_PASSWORD", "SECRET_KEY"] and result["secrets"] == {} and result["settings"] == {}
    assert result["env"] == {"app": {"IMAGE_STORAGE_METHOD": "filesystem"}}
    assert result["variables"] == {"POSTGRES_DB": "inventory_db"}
    assert "inventory_pi" not in json.dumps(result)


def test_inventory_head_comes_over_whole_with_its_own_secrets(native):
    result = native("head", {"/var/lib/thingdb/app/.env": HEAD})
    assert result["uncovered"] == []
    assert result["secrets"] == {"postgres_password": "Wq8-of_one's_own", "secret_key": "an-own-key"} and result["replaced"] == []
    assert result["env"] == {"app": {"IMAGE_STORAGE_METHOD": "filesystem"}}
    assert result["variables"] == {"POSTGRES_DB": "thingdb"}


@pytest.mark.parametrize("value", [
    "inventory_pi_secret_key_change_in_production", "inventory_docker_secret_key_change_in_production", "pi_inventory_secret_change_in_production_2024",
    "change_this_secret_key_in_production", "dev-key-change-in-production", "your-secret-key-here", "CHANGE_ME_TO_RANDOM_STRING", ""])
def test_every_published_key_of_inventory_is_replaced(native, value):
    for layout, path in (("rc8", "/var/lib/inventory/config/environment.env"), ("head", "/var/lib/thingdb/app/.env")):
        assert native(layout, {path: "SECRET_KEY=%s\n" % value})["replaced"] == ["SECRET_KEY"]


@pytest.mark.parametrize("value", ["inventory_pi_2024", "thingdb_default_pass", "thingdb_docker_pass", "inventory_pass", "docker"])
def test_every_published_password_of_inventory_is_replaced(native, value):
    for layout, path in (("rc8", "/var/lib/inventory/config/environment.env"), ("head", "/var/lib/thingdb/app/.env")):
        result = native(layout, {path: "POSTGRES_PASSWORD=%s\n" % value})
        assert result["replaced"] == ["POSTGRES_PASSWORD"] and result["secrets"] == {}


def test_the_application_lets_the_first_file_that_it_finds_override_what_systemd_read(native):
    """RC8 loads .env of its folder with override=True when it is there, and then no other; what systemd set stays where that file is silent."""
    result = native("rc8", {"/var/lib/inventory/config/environment.env": RC8, "/var/lib/inventory/app/.env": "POSTGRES_PASSWORD=own-one\nPOSTGRES_DB=other\n",
                            "/var/lib/inventory/config/.env": "SECRET_KEY=never-read\n"})
    assert result["secrets"] == {"postgres_password": "own-one"} and result["replaced"] == ["SECRET_KEY"]
    assert result["variables"] == {"POSTGRES_DB": "other"}
    assert [entry["read"] for entry in result["files"]] == [True, False, True]


@pytest.mark.parametrize("line", ["POSTGRES_HOST=nas.example.org", "EXTERNAL_POSTGRES_HOST=nas.example.org", "IMAGE_DIR=/mnt/usb/images",
                                  "POSTGRES_USER=somebody", "POSTGRES_PORT=5433", "MY_OWN=1", "IMAGE_STORAGE_METHOD=http://localhost/"])
def test_what_would_be_lost_in_silence_stops_the_survey(native, line):
    """Data elsewhere than the layout says would stay behind, if these were dropped as they are where they are as usual."""
    result = native("rc8", {"/var/lib/inventory/config/environment.env": RC8 + line + "\n"})
    assert [entry["name"] for entry in result["uncovered"]] == [line.partition("=")[0]]


def test_no_environment_file_of_inventory_comes_into_a_container():
    """APPS.md: such a file overrides Compose and sends the application to a database on localhost."""
    from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import migration
    with open(os.path.join(ROOT, "files", "stacks", "inventory", "app", "entrypoint.py"), encoding="utf-8") as stream:
        entrypoint = stream.read()
    for layout in INVENTORY["migration"].values():
        paths = migration.env_paths(layout)
        assert len(paths) >= 3
        for path in paths:
            assert not any(migration.within(path, tree["source"]) for tree in layout["trees"])
            # and should one come in another way, the container does not start; /var/lib/thingdb is a link there
            assert '"%s"' % path.replace("/thingdb/", "/inventory/") in entrypoint


def test_the_models_of_inventory_come_from_where_the_application_really_keeps_them():
    with open(os.path.join(ROOT, "files", "stacks", "inventory", "compose.yaml"), encoding="utf-8") as handle:
        mounts = {entry["source"]: entry["target"] for entry in yaml.safe_load(handle)["services"]["app"]["volumes"]}
    for name, root in (("rc8", "/var/lib/inventory"), ("head", "/var/lib/thingdb")):
        layout = INVENTORY["migration"][name]
        trees = {tree["name"]: tree for tree in layout["trees"]}
        assert trees["models"]["source"] == root + "/cache/models" and trees["models"]["volume"] == "models"
        assert trees["images"]["source"] == root + "/images" and trees["images"]["path"] == "images"
        assert not any("ml_cache" in tree["source"] for tree in layout["trees"])
        # the database comes by its own tools
        assert not any("postgresql" in tree["source"] for tree in layout["trees"])
    assert mounts["models"] == "/var/lib/inventory/cache/models"
    assert mounts["images"] + "/images" == "/var/lib/inventory/storage/images"
