# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the machine's Pythons is taken for an image, and what of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "hosts"))

from bedlib import base_images, machine_python, shell  # noqa: E402


def answer(**more):
    return json.dumps({"version": "3.12.1", "build": "3.12.1 (main)", "implementation": "cpython", "prefix": "/opt/python", "shared": None, "libdir": "/x",
                       **more})


def test_the_question_is_answered_by_a_python():
    done = subprocess.run([sys.executable, "-I", "-c", machine_python.ASK], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == set(json.loads(answer()))


@pytest.mark.parametrize("said", ["", "no JSON", answer(version="3.13.0"), answer(version="3.1.2"), answer(implementation="pypy"), answer(prefix="/usr")])
def test_what_cannot_be_packed(said):
    assert machine_python.judge("3.12", said) is None


def test_the_library_is_where_it_was_built_for_or_below_the_prefix(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libpython3.12.so.1.0").touch()
    found = machine_python.judge("3.12", answer(prefix=str(tmp_path), shared="libpython3.12.so.1.0", libdir="/install/lib"))
    assert found.library == tmp_path / "lib" / "libpython3.12.so.1.0" and found.version == "3.12.1"
    assert machine_python.judge("3.12", answer(prefix=str(tmp_path), shared="libpython3.12.so.9", libdir="/install/lib")).library is None


def test_the_newest_of_pyenv_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(machine_python.shutil, "which", lambda name: "/bin/python3.12" if name == "python3.12" else None)
    for version in ("3.12.9", "3.12.10", "3.11.4"):
        program = tmp_path / "versions" / version / "bin" / "python3.12"
        program.parent.mkdir(parents=True)
        program.touch()
    assert list(machine_python.candidates("3.12")) == ["/bin/python3.12", f"{tmp_path}/versions/3.12.10/bin/python3.12",
                                                       f"{tmp_path}/versions/3.12.9/bin/python3.12"]


@pytest.fixture(name="interpreter")
def fixture_interpreter(tmp_path):
    for name in ("bin/python3.12", "bin/pip", "lib/libpython3.12.so.1.0", "lib/python3.12/os.py", "lib/python3.12/test/test_os.py",
                 "lib/python3.12/unittest/test/a.py", "lib/python3.12/json/__init__.py", "lib/python3.12/json/__pycache__/a.pyc",
                 "lib/python3.12/site-packages/pip/x.py", "lib/python3.12/config-3.12-x86_64-linux-gnu/libpython3.12.a",
                 "lib/python3.12/lib-dynload/_ssl.so", "lib/python3.12/lib-dynload/_testcapi.so", "include/python3.12/Python.h"):
        path = tmp_path / "python" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return machine_python.Interpreter("3.12.1", "build", tmp_path / "python", tmp_path / "python/lib/libpython3.12.so.1.0")


def test_the_interpreter_and_its_library_without_tests_and_packages(interpreter, tmp_path):
    machine_python.pack(interpreter, "3.12", tmp_path / "python.tar")
    with tarfile.open(tmp_path / "python.tar") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == [
        "bin/python3.12", "include/python3.12/Python.h", "lib/libpython3.12.so.1.0", "lib/python3.12/json/__init__.py", "lib/python3.12/lib-dynload/_ssl.so",
        "lib/python3.12/os.py"]
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries} == {(0, 0, "root")}


def test_an_image_is_another_one_when_the_interpreter_is(interpreter, monkeypatch, tmp_path):
    monkeypatch.setattr(machine_python.images, "once", lambda tag, make: tag)
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text("FROM x\n")
    first = machine_python.image(interpreter, "3.12", "python-machine", "base", recipe)
    assert machine_python.image(interpreter, "3.12", "python-machine", "base", recipe) == first
    (interpreter.prefix / "lib/python3.12/os.py").write_text("changed")
    assert machine_python.image(interpreter, "3.12", "python-machine", "base", recipe) != first


def test_a_machine_without_it_has_the_other_images(monkeypatch):
    monkeypatch.setattr(machine_python, "candidates", lambda version: iter(()))
    wanting = [image.name for image in base_images.BASE_IMAGES if not base_images.obtainable(image, official=False)]
    assert wanting == ["python:3.12-slim-trixie"]
    assert all(base_images.obtainable(image, official=True) for image in base_images.BASE_IMAGES)
    monkeypatch.setattr(base_images.images, "slim", lambda release: base_images.images.Image("base", False))
    with pytest.raises(shell.BedError, match="no Python 3.12 .* install one"):
        base_images.local(next(image for image in base_images.BASE_IMAGES if image.python), official=False)
