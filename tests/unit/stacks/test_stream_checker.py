# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack `stream_checker`: its data, the start program of its image, and the tree of Debian's files that the image is made of."""

from __future__ import annotations

import importlib.util
import json
import re
import struct
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition, schema

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "files" / "stacks" / "stream_checker"
RECIPE = STACK / "app"
STAND_IN = ROOT / "tests" / "apps" / "stream_checker"


def module(name):
    spec = importlib.util.spec_from_file_location("stream_checker_" + name, RECIPE / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


tree_maker = module("debian_tree")
entrypoint = module("entrypoint")


@pytest.fixture(scope="module", name="stack")
def fixture_stack():
    return yaml.safe_load((STACK / "stack.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", name="compose")
def fixture_compose():
    return yaml.safe_load((STACK / "compose.yaml").read_text(encoding="utf-8"))


def test_definition_and_compose_file_fit(stack, compose):
    published = json.loads((ROOT / "files" / "schemas" / "stack.schema.json").read_text(encoding="utf-8"))
    assert schema.validate(stack, published) == []
    assert definition.cross_check(stack, [compose], lambda path: (STACK / path).exists()) == []
    assert re.fullmatch(r"[0-9a-f]{40}", stack["source"]["ref"])


def test_the_service_is_closed_and_only_actions_run_it(stack, compose):
    service = compose["services"]["app"]
    assert service["profiles"] == ["tools"] and stack["tools"] == ["app"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == stack["volumes"]["data"]["owner"] == "10001:10001"
    assert service["init"] is True and "ports" not in service


@pytest.mark.parametrize(("name", "value", "fits"), [
    ("url", "https://radio.example.org:8443/live.mp3?x=1", True), ("url", "http://[::1]:8000/a", True), ("url", "file:///etc/passwd", False),
    ("url", "https://a b", False), ("url", "", False), ("url", "--config=/x", False), ("phase", "4", True), ("phase", "5", False),
    ("sample_duration", "", True), ("sample_duration", "300", True), ("sample_duration", "0", False), ("sample_duration", "1;reboot", False),
    ("silence_threshold", "-40", True), ("silence_threshold", "-32.5", True), ("silence_threshold", "", True), ("silence_threshold", "loud", False),
])
def test_arguments_of_the_check(stack, name, value, fits):
    assert bool(re.fullmatch(stack["actions"]["check"]["arguments"][name]["pattern"], value)) is fits


def test_the_check_is_judged_by_the_stream(stack):
    assert stack["actions"]["check"]["success"] == {"exit_codes": [0], "json": {"connectivity.status": ["success"]}}
    assert stack["schedules"]["check"]["when_setting"] == "STREAM_CHECKER_URL" and stack["settings"]["STREAM_CHECKER_URL"]["default"] == ""


def test_every_requirement_is_pinned():
    pinned = [line for line in (RECIPE / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in pinned)
    names = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pinned}
    asked = (STAND_IN / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {re.split(r"[><= ]", line)[0].lower() for line in asked if not line.startswith("#")}
    assert wanted and wanted <= names
    assert {"httpx", "eyed3", "ffmpeg-python", "pydub", "cryptography", "bcrypt", "python-dotenv"} <= names, "the source's other requirements"


def test_the_last_stage_has_no_build_tools_and_no_image_floats():
    text = (RECIPE / "Dockerfile").read_text(encoding="utf-8")
    references = {line.split()[-3 if " AS " in line else -1] for line in re.findall(r"^FROM .*$", text, re.M)}
    assert {name for name in references if ":" in name} == {"python:3.11-slim-bookworm"}
    last = text.rpartition("\nFROM ")[2]
    assert "apt-get" not in last and "pip" not in last and "gcc" not in last and "USER 10001:10001" in last
    assert "<<" not in text and not re.search(r"^#\s*syntax\s*=", text, re.M)


# -- the start program ------------------------------------------------------------------------------------------------------------

def config(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("text", ["", "\n", "# nothing but a comment\n"])
def test_an_empty_configuration_means_the_packaged_one(tmp_path, text):
    assert entrypoint.with_config(["--url=x"], config(tmp_path, text)) == ["--url=x"]
    assert entrypoint.with_config(["--url=x"], str(tmp_path / "missing")) == ["--url=x"]


def test_the_operators_configuration_is_used_unless_another_is_named(tmp_path):
    path = config(tmp_path, "security: {read_timeout: 5}\n")
    assert entrypoint.with_config(["--url=x"], path) == ["--config", path, "--url=x"]
    for words in (["--config", "a"], ["--config=a"]):
        assert entrypoint.with_config(words, path) == words


@pytest.mark.parametrize(("text", "reason"), [("a: [1", "is not YAML"), ("- a\n", "found a list, needed a mapping"), ("just words", "found a str"),
                                              ("security:\nlogging: {level: INFO}\n", "security: found None, needed a mapping"),
                                              ("logging: [INFO]\n", "logging: found ['INFO'], needed a mapping")])
def test_a_configuration_that_the_program_would_ignore_or_end_over_is_refused(tmp_path, capsys, text, reason):
    path = config(tmp_path, text)
    with pytest.raises(SystemExit) as ended:
        entrypoint.with_config(["--url=x"], path)
    told = capsys.readouterr().err
    assert ended.value.code == 78 and path in told and reason in told and "STREAM_CHECKER_CONFIG" in told


def test_a_home_that_cannot_be_written_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        entrypoint.check_writable(str(tmp_path / "missing"), "HOME")
    assert ended.value.code == 78 and "needed: a folder that uid" in capsys.readouterr().err
    assert entrypoint.check_writable(str(tmp_path), "HOME") is None and list(tmp_path.iterdir()) == []


# -- the tree of Debian's files ---------------------------------------------------------------------------------------------------

def elf(names=(), runpath="", wide=True):
    """A little-endian ELF file that needs libraries: one loaded segment from address 0x1000 with strings and the dynamic section."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names) + runpath.encode() + b"\0"
    entry = "<qQ" if wide else "<iI"
    start = 0x200
    tags, at = [], 1
    for name in names:
        tags.append((1, at))
        at += len(name) + 1
    tags += ([(29, at)] if runpath else []) + [(5, 0x1000 + start), (0, 0)]
    dynamic = b"".join(struct.pack(entry, *tag) for tag in tags)
    size = start + len(strings) + len(dynamic)
    header = b"\x7fELF" + (b"\x02" if wide else b"\x01") + b"\x01\x01" + bytes(9)
    if wide:
        header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        segments = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x1000, 0x1000, size, size, 0x1000)
        segments += struct.pack("<IIQQQQQQ", 2, 4, start + len(strings), 0x1000 + start + len(strings), 0, len(dynamic), len(dynamic), 8)
    else:
        header += struct.pack("<HHIIIIIHHHHHH", 3, 40, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        segments = struct.pack("<IIIIIIII", 1, 0, 0x1000, 0x1000, size, size, 4, 0x1000)
        segments += struct.pack("<IIIIIIII", 2, start + len(strings), 0x1000 + start + len(strings), 0, len(dynamic), len(dynamic), 4, 4)
    return (header + segments).ljust(start, b"\0") + strings + dynamic


@pytest.mark.parametrize("wide", [True, False], ids=["64-bit", "32-bit"])
def test_what_a_program_needs(wide):
    assert tree_maker.elf_needs(elf(["liba.so.1", "libc.so.6"], "/opt/x:$ORIGIN/y", wide)) == (["liba.so.1", "libc.so.6"], ["/opt/x", "$ORIGIN/y"])
    assert tree_maker.elf_needs(elf([], "", wide)) == ([], [])


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF\x02\x02" + bytes(60)], ids=["empty", "script", "big-endian"])
def test_other_files_need_nothing(data):
    assert tree_maker.elf_needs(data) is None


def test_a_real_program_is_read():
    names, _folders = tree_maker.elf_needs(Path(sys.executable).resolve().read_bytes())
    assert any(name.startswith("libc.so") or name.startswith("libc.musl") for name in names)


@pytest.fixture(name="packages")
def fixture_packages(tmp_path):
    """Files as two packages brought them, and an image that has libc."""
    (tmp_path / "base/usr/lib/x-linux-gnu").mkdir(parents=True)
    (tmp_path / "base/usr/lib/x-linux-gnu/libc.so.6").write_bytes(b"")
    tree = {}

    def add(path, data):
        file = tmp_path / ("%d.file" % len(tree))
        file.write_bytes(data)
        tree[path] = str(file)

    add("/usr/bin/play", elf(["libsound.so.1", "libc.so.6"]))
    add("/usr/lib/x-linux-gnu/libsound.so.1", elf(["libblas.so.3", "libprivate.so"], "/usr/lib/x-linux-gnu/sound"))
    add("/usr/lib/x-linux-gnu/sound/libprivate.so", elf(["libsound.so.1"]))
    add("/usr/lib/x-linux-gnu/blas/libblas.so.3", elf(["libc.so.6"]))
    add("/usr/lib/x-linux-gnu/libwindow.so", elf())
    return tree, str(tmp_path / "base")


def test_libraries_are_followed_and_the_rest_stays_behind(packages):
    tree, base = packages
    taken = tree_maker.closure(["/usr/bin/play"], tree, base, "x-linux-gnu")
    # The library of a folder that nobody searches goes to where the loader looks.
    assert sorted(taken) == ["/usr/bin/play", "/usr/lib/x-linux-gnu/libblas.so.3", "/usr/lib/x-linux-gnu/libsound.so.1",
                             "/usr/lib/x-linux-gnu/sound/libprivate.so"]


def test_a_library_that_is_nowhere_stops_the_build(packages):
    tree, base = packages
    Path(tree["/usr/bin/play"]).write_bytes(elf(["libsound.so.1", "libgone.so.2"]))
    with pytest.raises(tree_maker.TreeError, match=r"neither the packages nor the image have: libgone\.so\.2"):
        tree_maker.closure(["/usr/bin/play"], tree, base, "x-linux-gnu")


def test_lib_and_usr_lib_are_one_folder():
    assert tree_maker.plain("/lib/x/liba.so") == "/usr/lib/x/liba.so"
    assert tree_maker.plain("/usr/lib/liba.so") == "/usr/lib/liba.so" and tree_maker.plain("/library/a") == "/library/a"
