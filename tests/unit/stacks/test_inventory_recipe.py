# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs in the image of the stack `inventory`: choice of the layout and the packages, start, health."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "files" / "stacks" / "inventory" / "app"
REQUIREMENTS = ROOT / "tests" / "apps" / "inventory" / "requirements"


def module(name):
    spec = importlib.util.spec_from_file_location("inventory_" + name, RECIPE / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


layout = module("layout")
entrypoint = module("entrypoint")


def lines(name):
    return layout.requirement_lines((REQUIREMENTS / name).read_text(encoding="utf-8"))


EXTRA = layout.requirement_lines((RECIPE / "requirements.txt").read_text(encoding="utf-8"))


def test_layouts_are_told_apart():
    assert layout.detect(["main.py"]) == ("main", "main:app")
    assert layout.detect(["thingdb/main.py"]) == ("package", "thingdb.main:app")
    with pytest.raises(layout.LayoutError, match="dockyard_source_ref_inventory"):
        layout.detect([])


def test_without_ml_nothing_of_torch_is_installed():
    chosen = layout.resolve("main", lines("base-requirements.txt"), lines("ml-requirements.txt"), EXTRA, False)
    names = [layout.package_name(line) for line in chosen]
    assert not set(names) & {"torch", "torchvision", "torchaudio", "sentence-transformers"}
    assert "flask==2.3.3" in chosen and "qrcode[pil]==7.4.2" in chosen
    assert {"numpy", "psutil"} <= set(names)


def test_options_of_the_requirements_are_left_out():
    assert not any("index" in line for line in lines("ml-requirements.txt"))


def test_with_ml_the_label_of_one_index_is_dropped():
    chosen = layout.resolve("main", lines("base-requirements.txt"), lines("ml-requirements.txt"), EXTRA, True)
    assert "torch==2.1.1" in chosen and "numpy<2" in chosen and "sentence-transformers==2.7.0" in chosen
    assert not any(line.startswith(("torchvision", "torchaudio")) for line in chosen)


def test_with_ml_a_list_without_torch_is_refused():
    with pytest.raises(layout.LayoutError, match="names no torch"):
        layout.resolve("main", lines("base-requirements.txt"), ["sentence-transformers==2.7.0"], EXTRA, True)


def test_package_layout_keeps_its_own_versions():
    base = ["flask>=2.3.0", "numpy>=1.24.0,<3.0.0", "psutil>=5.9.0", "torch>=2.6.0", "sentence_transformers>=3.0.0"]
    assert layout.resolve("package", base, [], EXTRA, False) == ["flask>=2.3.0", "numpy>=1.24.0,<3.0.0", "psutil>=5.9.0"]
    assert "torch>=2.6.0" in layout.resolve("package", base, [], EXTRA, True)


@pytest.mark.parametrize("arguments, code, words", [
    (["module", "nowhere"], 1, "needed one of them"),
    (["requirements", "nowhere", "0"], 1, "pyproject.toml"),
])
def test_a_foreign_source_is_refused_with_the_setting_to_change(arguments, code, words):
    ended = subprocess.run([sys.executable, str(RECIPE / "layout.py")] + arguments, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert words in ended.stderr and "dockyard_source_inventory" in ended.stderr


# start


def test_secrets_come_from_files(tmp_path):
    (tmp_path / "postgres_password").write_text("pa$$ 'word\"\n", encoding="utf-8")
    (tmp_path / "secret_key").write_text("key", encoding="utf-8")
    assert entrypoint.read_secrets({}, str(tmp_path)) == {"POSTGRES_PASSWORD": "pa$$ 'word\"", "SECRET_KEY": "key"}


def test_a_given_variable_wins(tmp_path):
    (tmp_path / "secret_key").write_text("key", encoding="utf-8")
    assert entrypoint.read_secrets({"POSTGRES_PASSWORD": "given"}, str(tmp_path)) == {"SECRET_KEY": "key"}


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_missing_or_empty_secret_is_refused(tmp_path, capsys, content):
    (tmp_path / "secret_key").write_text("key", encoding="utf-8")
    if content is not None:
        (tmp_path / "postgres_password").write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        entrypoint.read_secrets({}, str(tmp_path))
    assert ended.value.code == 78
    assert "postgres_password" in capsys.readouterr().err


def test_leftovers_of_interrupted_backups_go(tmp_path):
    temporary = tmp_path / "backups" / ".tmp"
    (temporary / "tmpabc").mkdir(parents=True)
    (temporary / "upload.zip").write_text("half", encoding="utf-8")
    (tmp_path / "backups" / "backup_1.zip").write_text("whole", encoding="utf-8")
    entrypoint.prepare_folders({"IMAGE_DIR": str(tmp_path / "storage" / "images"), "TMPDIR": str(temporary), "HOME": str(tmp_path / "home")})
    assert os.listdir(temporary) == []
    assert (tmp_path / "backups" / "backup_1.zip").exists()
    assert (tmp_path / "storage" / "images").is_dir() and (tmp_path / "home").is_dir()


def test_a_shared_temporary_folder_is_left_alone(tmp_path):
    (tmp_path / "other").write_text("keep", encoding="utf-8")
    entrypoint.prepare_folders({"IMAGE_DIR": str(tmp_path / "images"), "TMPDIR": str(tmp_path), "HOME": str(tmp_path / "home")})
    assert (tmp_path / "other").exists()


def test_foreign_environment_files_are_those_that_the_application_loads():
    # The layout of HEAD is made from the other one, by make.sh; its folder is a link to that of the other.
    named = []
    for path in ("inventory/src/main.py", "inventory-head/make.sh"):
        source = (ROOT / "tests" / "apps" / path).read_text(encoding="utf-8")
        named += re.search(r"ENV_FILES = \((.*?)\)", source.replace(".*#", ""), re.S).group(1).split(",")
    assert set(entrypoint.FOREIGN_ENVIRONMENT) == {name.strip(' "\n').replace("/thingdb/", "/inventory/") for name in named}


def test_the_server_gives_up_forgotten_transactions_unless_told_otherwise(tmp_path, monkeypatch):
    """Without it the application's own restore waits for the locks of its own pool, until it is killed with its tables dropped."""
    started = []
    monkeypatch.setattr(entrypoint, "read_secrets", lambda environment: {})
    monkeypatch.setattr(entrypoint, "prepare_folders", lambda environment: None)
    monkeypatch.setattr(entrypoint, "wait_for_database", lambda environment: None)
    monkeypatch.setattr(entrypoint, "FOREIGN_ENVIRONMENT", ())
    monkeypatch.setattr(entrypoint, "open", lambda path, **unused: io.StringIO("main:app\n"), raising=False)
    monkeypatch.setattr(entrypoint.os, "execvp", lambda program, argv: started.append((program, os.environ.get("PGOPTIONS"))))
    monkeypatch.setattr(sys, "argv", ["entrypoint"])
    for given in (None, "-c work_mem=8MB"):
        monkeypatch.delenv("PGOPTIONS", raising=False)
        if given:
            monkeypatch.setenv("PGOPTIONS", given)
        entrypoint.main()
    assert started == [("gunicorn", "-c idle_in_transaction_session_timeout=15s"), ("gunicorn", "-c work_mem=8MB")]


# health


@pytest.mark.parametrize("answer, code", [
    (b'HTTP/1.1 200 OK\r\n\r\n{"status":"healthy"}', 0),
    (b'HTTP/1.1 200 OK\r\n\r\n{"status":"unhealthy"}', 1),
    (b'HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\n{"status":"unhealthy"}', 1),
    (b'HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\n{"status":"healthy"}', 1),
    (b"", 1),
])
def test_health_judges_status_and_body(tmp_path, answer, code):
    server = socket.create_server(("127.0.0.1", 0))
    script = tmp_path / "healthcheck.py"
    script.write_text((RECIPE / "healthcheck.py").read_text(encoding="utf-8").replace("8000", str(server.getsockname()[1])), encoding="utf-8")

    def serve():
        connection, _address = server.accept()
        connection.recv(4096)
        connection.sendall(answer)
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    ended = subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, check=False, timeout=30)
    thread.join(10)
    server.close()
    assert ended.returncode == code, ended


def test_health_without_a_server_is_bad(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    script = tmp_path / "healthcheck.py"
    script.write_text((RECIPE / "healthcheck.py").read_text(encoding="utf-8").replace("8000", str(port)), encoding="utf-8")
    assert subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, check=False, timeout=30).returncode != 0


@pytest.mark.parametrize("environment, way", [({}, "--preload"), ({"GUNICORN_RELOAD": "0"}, "--preload"), ({"GUNICORN_RELOAD": "1"}, "--reload")])
def test_what_reloads_is_not_preloaded(environment, way):
    command = entrypoint.server_command(environment, "main:app")
    assert [word for word in command if word in ("--preload", "--reload")] == [way] and command[-1] == "main:app"


# -- backup ---------------------------------------------------------------------------

backup = module("backup")


@pytest.fixture(name="programs")
def fixture_programs(monkeypatch, tmp_path):
    """pg_dump and the proof, pretended; `calls` has what was run."""
    calls = []

    def dump(path):
        Path(path).write_bytes(b"a dump")
        return {"items": 2}
    monkeypatch.setattr(backup, "dump", dump)
    monkeypatch.setattr(backup, "run", calls.append)
    monkeypatch.setattr(backup, "prove", lambda path, counts: calls.append(["prove", counts]))
    monkeypatch.setattr(os, "nice", lambda unused: 0)
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "b.webp").write_bytes(b"image b")
    (tmp_path / "images" / "deep" / "a.webp").write_bytes(b"image a")
    return calls


def back_up(tmp_path, capsys, *words):
    code = backup.main(["--folder", str(tmp_path / "dockyard"), "--images", str(tmp_path / "images"), *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_backup(programs, tmp_path, capsys):
    code, document = back_up(tmp_path, capsys)
    folder = Path(document["folder"])
    assert code == 0 and document["ok"] is True and document["database"]["proven"] is True and document["images"] == {"files": 2, "bytes": 14}
    assert sorted(path.name for path in folder.iterdir()) == ["backup.json", "database.dump", "images.sha256"]
    assert [call[0] for call in programs] == ["pg_restore", "prove"] and programs[1] == ["prove", {"items": 2}]
    assert json.loads((folder / "backup.json").read_text())["database"]["rows"] == {"items": 2}
    # As the tool reads it that a person has.
    done = subprocess.run(["sha256sum", "--check", str(folder / "images.sha256")], cwd=tmp_path / "images", stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "b.webp: OK\ndeep/a.webp: OK\n"


def test_a_backup_without_proof_says_so(programs, tmp_path, capsys):
    document = back_up(tmp_path, capsys, "--prove", "false")[1]
    assert document["database"]["proven"] is False and [call[0] for call in programs] == ["pg_restore"]


def test_a_backup_that_fails_leaves_nothing_and_says_why(programs, tmp_path, capsys, monkeypatch):
    def fail(path, counts):
        raise backup.BackupError("the restored dump is another one")
    monkeypatch.setattr(backup, "prove", fail)
    code, document = back_up(tmp_path, capsys)
    assert code == 1 and document == {"ok": False, "problem": "the restored dump is another one"}
    assert [name for name in os.listdir(tmp_path / "dockyard") if name != ".lock"] == []


def test_two_backups_at_once(programs, tmp_path, capsys):
    import fcntl
    (tmp_path / "dockyard").mkdir()
    with open(tmp_path / "dockyard" / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, document = back_up(tmp_path, capsys)
    assert code == 1 and "another backup is at work" in document["problem"] and programs == []


def test_the_oldest_backups_go_and_nothing_else(tmp_path):
    for name in ("2026-01-01T000000Z", "2026-01-02T000000Z", "2026-01-03T000000Z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backup.json").write_text("{}")
    (tmp_path / "0-mine").mkdir()
    (tmp_path / "0-mine.txt").write_text("x")
    assert backup.prune(str(tmp_path), 2) == ["2026-01-01T000000Z"]
    assert sorted(os.listdir(tmp_path)) == ["0-mine", "0-mine.txt", "2026-01-02T000000Z", "2026-01-03T000000Z"]
    assert backup.prune(str(tmp_path), 2) == []


@pytest.mark.parametrize("wanted, found, texts", [
    ({"a": 1}, {"a": 1}, []), ({"a": 1}, {"a": 2}, ["table a: 1 rows in the database, 2 in the restored dump"]),
    ({"a": 0}, {}, ["table a: 0 rows in the database, no in the restored dump"]), ({}, {"b": 3}, ["table b: no rows in the database, 3 in the restored dump"])])
def test_differences(wanted, found, texts):
    assert backup.differences(wanted, found) == texts


def test_a_program_that_fails_is_told_by_its_last_lines():
    with pytest.raises(backup.BackupError, match="sh ended with 3: no such database / give up"):
        backup.run(["sh", "-c", "echo no such database >&2; echo give up >&2; exit 3"])
