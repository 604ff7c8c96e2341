# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack `oura`: what gets into its images, the edits, the judgement of a parse, and the stand-in that all of it is tried with."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import struct
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import parse_manifest
from ansible_collections.dockyard.fleet.plugins.module_utils.images import context, ignore

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "files" / "stacks" / "oura"
RECIPE = STACK / "app"
APP = ROOT / "tests" / "apps" / "oura"


def module(name, folder):
    spec = importlib.util.spec_from_file_location("oura_" + name, folder / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


sys.path.insert(0, str(APP))
arrange, parse = module("arrange", RECIPE), module("parse", RECIPE)
make, make_sample = module("make", APP), module("make_sample", APP)
arm64 = make.arm64


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    return make.make(tmp_path / "source")


def arranged(source, target, digests=None):
    arrange.arrange(str(source), str(target), arrange.parse_digests(digests or make.digests()), "httpx>=0.25  # a comment\n")
    return target


def in_context(source):
    """What the recipe's .dockerignore leaves of a source."""
    matcher = ignore.read_ignore((RECIPE / ".dockerignore").read_text(encoding="utf-8"))
    return {entry.path: entry for entry in context.scan_directory(str(source), matcher)}


# -- what gets into the context --------------------------------------------------------

def test_no_personal_file_is_in_the_context(source):
    inside = in_context(source)
    for path in make.PERSONAL_FILES:
        assert (source / path).exists() and path not in inside, path
    for path in inside:
        assert make.PERSONAL not in (source / path).read_text(encoding="utf-8", errors="replace"), path


@pytest.mark.parametrize("path", [
    "stored_auth_key.bin", "bonded_device.txt", "ring_events.txt", "analysis_scripts/ring_events_20260111_235116.txt",
    "python_client_archived/oura_bond_keys.json", "python_client_archived/native_parser/input_data/ring_events.txt", "python_client/oura_ble_client.py",
    "native_parser/ring_events.txt", "native_parser/single_event.txt", "native_parser/input_data/sync_point.json", "native_parser/.env",
    "native_parser/libs/ring_events.txt", "native_parser/android_root/ring_data.pb", "native_parser/android_root/stored_auth_key.bin",
    "native_parser/oura/ring_events_copy.txt", "native_parser/webapp/frontend/.env.local", "native_parser/decrypted_models/whr_3_1_2.pt",
    "native_parser/webapp/frontend/node_modules/a/index.js", "docs/README.md", ".git/config", "libs/stored_auth_key.bin", "oura/key.pem"])
def test_what_is_personal_stays_out(path):
    assert ignore.read_ignore((RECIPE / ".dockerignore").read_text(encoding="utf-8")).ignored(path)[0]


@pytest.mark.parametrize("folder", ["native_parser/", ""])
def test_all_that_is_needed_comes_in_from_either_root(source, folder):
    inside = in_context(source if folder else source / "native_parser")
    for path in arrange.REQUIRED:
        assert folder + path in inside or any(one.startswith(f"{folder}{path}/") for one in inside), path
    assert f"{folder}android_root/system/etc/ld.config.txt" not in inside
    for path in arrange.PROGRAMS:
        assert inside[folder + path].executable, path
    for path, target in arrange.LINKS.items():
        assert inside[folder + path].target == target


def test_text_files_of_the_system_folder_come_in(source):
    place = source / "native_parser/android_root/system/etc/ld.config.txt"
    place.parent.mkdir()
    place.write_text("dir.system = /system/bin/\n")
    assert "native_parser/android_root/system/etc/ld.config.txt" in in_context(source)


# -- arranging -------------------------------------------------------------------------

@pytest.mark.parametrize("folder", ["", "native_parser"])
def test_repository_and_folder_give_the_same(source, tmp_path, folder):
    target = arranged(source / folder, tmp_path / "out")
    assert sorted(path.name for path in target.iterdir()) == ["app", "backend", "frontend", "requirements.txt", "torch.txt"]
    assert (target / "requirements.txt").read_text().splitlines()[-1] == "httpx>=0.25"
    assert "torch" not in (target / "requirements.txt").read_text() and "index" not in (target / "requirements.txt").read_text()
    assert (target / "torch.txt").read_text() == "torch>=2.0.0\n"
    assert 'PARSER_API_URL = "http://parser:8001"' in (target / "backend/webapp/backend/main.py").read_text()
    page = (target / "frontend/src/App.tsx").read_text()
    assert "const API_BASE = ''\n" in page and "localhost" not in page and "useState('')" in page
    assert "new WebSocket(`${window.location.protocol === 'https:' ? 'wss' : 'ws'}://${window.location.host}/ble/ws`)" in page


def test_the_source_itself_is_not_edited(source, tmp_path):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    arranged(source, tmp_path / "out")
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(arrange.EDITS))
def test_an_edit_whose_target_is_gone_ends_the_build(source, tmp_path, name):
    for path in (source / "native_parser" / "webapp").rglob("*.*"):
        if path.suffix in (".py", ".tsx"):
            path.write_text(re.sub(arrange.EDITS[name][2], "''", path.read_text()))
    if arrange.EDITS[name][4]:
        with pytest.raises(arrange.ArrangeError, match=f"edit {name}: found its target nowhere"):
            arranged(source, tmp_path / "out")
    else:
        arranged(source, tmp_path / "out")


@pytest.mark.parametrize("name, before, after", [
    ("parser-address", "PARSER_API_URL = 'http://localhost:8001'", "PARSER_API_URL = 'http://parser:8001'"),
    ("api-address", 'axios.get("http://localhost:8000/summary")', 'axios.get("/summary")'),
    ("api-address", "fetch(`http://localhost:8000/raw/${kind}`)", "fetch(`/raw/${kind}`)"),
    ("socket-address", 'new WebSocket("ws://localhost:8000/ble/ws")',
     "new WebSocket(`${window.location.protocol === 'https:' ? 'wss' : 'ws'}://${window.location.host}/ble/ws`)"),
    ("author-key", "= useState('0123456789ABCDEF0123456789abcdef')", "= useState('')"),
    ("author-key", "= useState('0123')", "= useState('0123')"),
    ("parser-address", '"http://localhost:3000"', '"http://localhost:3000"'),
])
def test_forms_of_an_edit(name, before, after):
    assert re.sub(arrange.EDITS[name][2], arrange.EDITS[name][3], before) == after


def test_all_missing_files_are_named_at_once(source, tmp_path):
    (source / "native_parser/oura_ecore.py").unlink()
    (source / "native_parser/sleep_score_minutes_ndk").unlink()
    with pytest.raises(arrange.ArrangeError, match="oura_ecore.py, sleep_score_minutes_ndk.*dockyard_source_oura"):
        arranged(source, tmp_path / "out")


def test_another_source_is_told(tmp_path):
    with pytest.raises(arrange.ArrangeError, match="neither native_parser/parser_api.py nor parser_api.py.*dockyard_source_oura"):
        arranged(tmp_path, tmp_path / "out")


def test_a_changed_native_file_is_refused_with_both_digests(source, tmp_path):
    path = source / "native_parser" / "parser_bridge_android"
    path.write_bytes(path.read_bytes() + b"\0")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    said = f"parser_bridge_android: found {found}; needed [0-9a-f]{{64}}.*OURA_NATIVE_DIGESTS.*parser_bridge_android={found}"
    with pytest.raises(arrange.ArrangeError, match=said):
        arranged(source, tmp_path / "out")


def test_the_parser_needs_a_digest(source, tmp_path):
    with pytest.raises(arrange.ArrangeError, match="parser_bridge_android: found no digest"):
        arranged(source, tmp_path / "out", make.digests().split(" ", 1)[1])


def test_the_stand_in_is_not_the_pinned_source(source, tmp_path):
    with pytest.raises(arrange.ArrangeError, match="native files of the source"):
        arranged(source, tmp_path / "out", (RECIPE / "native.sha256").read_text())


@pytest.mark.parametrize("text, found", [
    (f"{'a' * 64}  a/b\n# no\n{'B' * 64} *c\n", {"a/b": "a" * 64, "c": "b" * 64}),
    (f"a/b={'a' * 64} c=sha256:{'b' * 64}", {"a/b": "a" * 64, "c": "b" * 64}), (f"a/b={'a' * 64},c={'b' * 64}", {"a/b": "a" * 64, "c": "b" * 64})])
def test_digests_in_both_forms(text, found):
    assert arrange.parse_digests(text) == found


@pytest.mark.parametrize("text", ["a=1", "a", f"../a={'a' * 64}", f"/a={'a' * 64}", "=" + "a" * 64])
def test_bad_digests(text):
    with pytest.raises(arrange.ArrangeError, match="OURA_NATIVE_DIGESTS"):
        arrange.parse_digests(text)


def test_execute_bits_and_links_of_a_poor_checkout_are_restored(source, tmp_path, capsys):
    inner = source / "native_parser"
    for path in arrange.PROGRAMS:
        (inner / path).chmod(0o644)
    for path, target in arrange.LINKS.items():
        (inner / path).unlink()
        (inner / path).write_text(target)
    target = arranged(source, tmp_path / "out")
    said = capsys.readouterr().out
    for path in arrange.PROGRAMS:
        assert (target / "app" / path).stat().st_mode & 0o777 == 0o755
        assert f"mended {path}: the execute bit" in said
    for path, link in arrange.LINKS.items():
        assert (target / "app" / path).readlink() == Path(link) and (target / "app" / path).resolve().name == "linker64"


def test_a_file_in_the_place_of_a_link_is_not_thrown_away(source, tmp_path):
    path = source / "native_parser" / "android_root/system/lib64/ld-android.so"
    path.unlink()
    path.write_bytes(b"\x7fELF" + b"\0" * 4096)
    with pytest.raises(arrange.ArrangeError, match="ld-android.so: found a file of 4100 bytes; needed a link"):
        arranged(source, tmp_path / "out")


# -- the judgement of a parse ----------------------------------------------------------

@pytest.mark.parametrize("code, size, error, said", [
    (0, 17043, "", None), (0, 7, "", None), (0, 6, "", "no more than a header"), (0, 0, "", "no more than a header"),
    (255, 0, "Could not open '/system/bin/linker64'\n", "ended with 255: Could not open '/system/bin/linker64'"), (-11, 900, "", "ended with -11: no message")])
def test_judge(code, size, error, said):
    found = parse.judge(code, size, error)
    assert found is None if said is None else said in found


@pytest.mark.parametrize("name, output", [("ring_events.txt", "ring_data.pb"), ("night.txt", "night.pb"), ("night", "night.pb")])
def test_output_of(name, output):
    assert parse.output_of(name) == output


def test_the_operators_sample_stays_in_the_data_directory():
    assert parse.samples("../../etc/shadow") == ["/app/input_data/shadow"]
    assert parse.samples("") == list(parse.SAMPLES)
    for path in parse.SAMPLES:
        assert (RECIPE / "samples" / Path(path).name).is_file()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden"])
def test_the_action_takes_no_paths(name, capsys):
    with pytest.raises(SystemExit):
        parse.main(["file", name])
    assert "without a path" in capsys.readouterr().err


# -- samples ---------------------------------------------------------------------------

def events_of(name):
    text = (RECIPE / "samples" / name).read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            unused, tag, unused, data = line.split("|")
            yield int(tag, 16), bytes.fromhex(data)


def test_samples_are_what_the_program_makes():
    assert (RECIPE / "samples/ring.txt").read_text() == make_sample.ring()
    assert (RECIPE / "samples/temperature.txt").read_text() == make_sample.temperature()


@pytest.mark.parametrize("name", ["ring.txt", "temperature.txt"])
def test_samples_begin_with_the_rings_start_and_time_only_grows(name):
    events = list(events_of(name))
    assert events[0][0] == 0x41 and [tag for tag, unused in events].count(0x41) == 1 and len(events) > 50
    times = [struct.unpack("<I", data[2:6])[0] for unused, data in events]
    assert times == sorted(times)
    for tag, data in events:
        assert data[0] == tag and data[1] == len(data) - 2


# -- the stand-in ----------------------------------------------------------------------

def test_the_stand_in_is_the_same_everywhere():
    """The demo inventory has these digests written down."""
    assert make.digests() == make.digests()
    assert make.digests() != make.digests(broken=True)
    assert re.fullmatch(r"(\S+=[0-9a-f]{64} ?){3}", make.digests())


def test_programs_are_arm64_and_name_androids_loader():
    for path, content in make.programs().items():
        assert content[:5] == b"\x7fELF\x02" and struct.unpack_from("<H", content, 18)[0] == 183, path
    for path in ("parser_bridge_android", "sleep_score_minutes_ndk"):
        kind, unused, offset, unused, unused, size = struct.unpack_from("<IIQQQQ", make.programs()[path], 64)
        assert kind == 3 and make.programs()[path][offset:offset + size] == b"/system/bin/linker64\0"


def test_assembler_against_known_instructions():
    """Words as an assembler of others gives them."""
    asm = arm64.Assembler()
    asm.label("here")
    asm.mov_imm(0, 1)
    asm.mov_imm(8, 0x12345)
    asm.mov(1, 2)
    asm.mov_from_sp(1)
    asm.add_imm(1, 1, 16)
    asm.cmp_imm(2, 9)
    asm.load(3, 1, 8)
    asm.svc()
    asm.ret()
    asm.branch_if("ne", "here")
    asm.branch("here")
    words = struct.unpack("<12I", asm.assemble())
    assert [f"{word:08x}" for word in words] == [
        "d2800020", "d28468a8", "f2a00028", "aa0203e1", "910003e1", "91004021", "f100245f", "f9400423", "d4000001", "d65f03c0", "54fffec1", "17fffff5"]


def test_no_lock_file_names_a_registry():
    assert "resolved" not in (APP / "source/native_parser/webapp/frontend/package-lock.json").read_text()


# -- the definition --------------------------------------------------------------------

def test_source_is_pinned_to_a_whole_commit():
    assert re.fullmatch(r"[0-9a-f]{40}", yaml.safe_load((STACK / "stack.yml").read_text())["source"]["ref"])


def test_models_without_a_digest_are_never_assumed():
    manifest = parse_manifest((STACK / "models.json").read_text(), "models.json")
    known = {entry["name"]: entry for entry in manifest["files"] if entry["digest"]}
    assert len(manifest["files"]) == 28 and len(known) == 5
    assert known["dhrv_imputation_1_0_3.pt"]["size"] == 41370
    assert [entry["name"] for entry in manifest["files"] if entry["required"]] == ["sleepnet_moonstone_1_1_0.pt"]
    assert all(list(source) == ["file"] for entry in manifest["files"] for source in entry["sources"]), "an operator supplies them"


def test_the_parser_is_published_on_the_host_only():
    compose = yaml.safe_load((STACK / "compose.yaml").read_text())
    assert compose["services"]["parser"]["ports"] == ["${OURA_PARSER_BIND:-127.0.0.1}:${OURA_PARSER_PORT:-8001}:8001"]


@pytest.mark.parametrize("environment", ["production", "staging", "offline"])
def test_read_only_outside_development(environment):
    document = yaml.safe_load((STACK / f"compose.{environment}.yaml").read_text())
    assert all(document["services"][name]["read_only"] for name in ("parser", "backend"))
