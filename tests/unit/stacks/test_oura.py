# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack `oura`: what gets into its images, the edits, the judgement of a parse, and the stand-in that all of it is tried with."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import struct
import subprocess
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
arrange, parse, prove = module("arrange", RECIPE), module("parse", RECIPE), module("prove", RECIPE)
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
    for path in set(inside) - {make.RECORDED}:
        assert make.PERSONAL not in (source / path).read_text(encoding="utf-8", errors="replace"), path


def test_the_recorded_sample_is_there_for_the_proof_and_nowhere_else(source, tmp_path):
    """In the context, which is mounted; not in what the images are copied from."""
    assert make.RECORDED == prove.RECORDED and prove.RECORDED in in_context(source)
    assert [path for path in in_context(source) if "ring_events" in path] == [prove.RECORDED]
    for path in set(source.rglob("*")) - {source / path for path in in_context(source)}:
        if not path.is_dir():
            path.unlink()
    for path in arranged(source, tmp_path / "out").rglob("*"):
        assert not path.is_file() or make.PERSONAL not in path.read_text(encoding="utf-8", errors="replace"), path
    # No instruction copies the context as a whole.
    copied = re.findall(r"^(?:COPY|ADD) (?!--from=)(.*) \S+$", (RECIPE / "Dockerfile").read_text(), re.M)
    assert copied and all(word.startswith(".dockyard/") for words in copied for word in words.split()), copied


@pytest.mark.parametrize("path", [
    "stored_auth_key.bin", "bonded_device.txt", "ring_events.txt", "analysis_scripts/ring_events_20260112_092318.txt",
    "native_parser/analysis_scripts/ring_events_20260111_235116.txt", "analysis_scripts/notes.txt",
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
    ("reader-cache", "x\n            import main\n            main._reader = None",
     "x\n            from webapp.backend import main\n            main._reader = None"),
    ("reader-cache", "x\r\n    import main\r\n    main._reader = None", "x\r\n    from webapp.backend import main\r\n    main._reader = None"),
    ("reader-cache", "\nimport main_loop\n    import mainly\n", "\nimport main_loop\n    import mainly\n"),
    ("parser-address", '"http://localhost:3000"', '"http://localhost:3000"'),
])
def test_forms_of_an_edit(name, before, after):
    assert re.sub(arrange.EDITS[name][2], arrange.EDITS[name][3], before) == after


@pytest.mark.parametrize("name, path, text", [
    ("parser-address", "webapp/backend/main.py", "\nOTHER = 'http' + '://localhost:8001'\n"),
    ("reader-cache", "webapp/backend/ble_handler.py", "\r\n    import main  # here\r\n"),
    ("reader-cache", "webapp/backend/ble_handler.py", "\nfrom main import _reader\n"),
    ("author-key", "webapp/frontend/src/App.tsx", "\nconst KEY = `0123456789abcdef0123456789ABCDEF`\n"),
])
def test_a_target_in_another_form_ends_the_build(source, tmp_path, name, path, text):
    """Not only where it is gone: also where the edit would leave one behind, for which nothing else would tell."""
    with open(source / "native_parser" / path, "a", encoding="utf-8", newline="") as stream:
        stream.write(text)
    with pytest.raises(arrange.ArrangeError, match=f"edit {name}: found .* still in .*{Path(path).name}"):
        arranged(source, tmp_path / "out")


def test_lines_may_end_as_the_source_ends_them(source, tmp_path):
    """With CR LF; all of the edits are made, those too that may find nothing."""
    handler = "webapp/backend/ble_handler.py"
    assert b"import main\r\n" in (source / "native_parser" / handler).read_bytes()
    target = arranged(source, tmp_path / "out")
    text = (target / "backend" / handler).read_bytes()
    assert b"from webapp.backend import main\r\n" in text and b"\n            import main" not in text
    assert (target / "torch.txt").read_bytes() == b"torch>=2.0.0\n" and b"\r" not in (target / "requirements.txt").read_bytes()


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


@pytest.mark.parametrize("code, size, said", [(0, 6, None), (0, 5, "less than a header"), (1, 6, "ended with 1")])
def test_judge_where_a_header_suffices(code, size, said):
    found = parse.judge(code, size, "", header_suffices=True)
    assert found is None if said is None else said in found


@pytest.fixture(name="parser")
def fixture_parser(monkeypatch, tmp_path):
    """A parser that gives what the test says: a dict of a file's name to a size, or to an exit code in a tuple."""
    monkeypatch.setattr(parse, "STAMP", str(tmp_path / "stamp"))
    gives = {}

    def run(command, **unused):
        given = gives[Path(command[2]).name]
        code, size = given if isinstance(given, tuple) else (0, given)
        return subprocess.CompletedProcess(command, code, b"x" * size, b"")

    monkeypatch.setattr(subprocess, "run", run)
    return gives


def write_expected(monkeypatch, tmp_path):
    """As the build leaves it where our samples give a header only."""
    monkeypatch.setattr(parse, "EXPECTED", str(tmp_path / "expected.json"))
    (tmp_path / "expected.json").write_text('{"made_up": "header only", "recorded_bytes": 17043}')


def test_health_asks_for_data_unless_the_build_found_a_header_only(monkeypatch, tmp_path, parser):
    parser.update({"ring.txt": 6, "temperature.txt": 6, "mine.txt": 6})
    with pytest.raises(parse.ParseProblem, match="ring.txt: .*no more than a header; temperature.txt: .*no more"):
        parse.parsed_sample("")
    write_expected(monkeypatch, tmp_path)
    # What the operator names has to become data all the same.
    with pytest.raises(parse.ParseProblem, match="mine.txt: .*no more than a header"):
        parse.parsed_sample("mine.txt")
    assert "ring.txt gave 6 bytes, a header only, as in the build, where the source's own sample gave 17043" in parse.parsed_sample("")


@pytest.mark.parametrize("given", [(1, 0), (-11, 6), 5, 0])
def test_health_of_a_header_still_sees_a_parser_that_fails(monkeypatch, tmp_path, parser, given):
    write_expected(monkeypatch, tmp_path)
    parser.update({"ring.txt": given, "temperature.txt": given})
    with pytest.raises(parse.ParseProblem, match="ended with|less than a header"):
        parse.parsed_sample("")


def test_more_than_a_header_is_said_as_always(monkeypatch, tmp_path, parser):
    write_expected(monkeypatch, tmp_path)
    parser.update({"ring.txt": 900})
    assert parse.parsed_sample("") == "ring.txt gave 900 bytes"


# -- the proof in the build ------------------------------------------------------------

@pytest.fixture(name="built")
def fixture_built(monkeypatch, tmp_path, parser):
    """(what the parser gives, the proof's command line); the context has the recorded sample."""
    monkeypatch.setattr(prove, "parse", parse)
    context_folder, target = tmp_path / "context", tmp_path / "proof"
    (context_folder / "analysis_scripts").mkdir(parents=True)
    (context_folder / prove.RECORDED).write_text(make.recorded())
    return parser, [str(context_folder), str(target)]


def gives(ring, temperature, recorded):
    return {"ring.txt": ring, "temperature.txt": temperature, Path(prove.RECORDED).name: recorded}


@pytest.mark.parametrize("sizes", [gives(900, 6, 17043), gives(6, 700, 6), gives((1, 0), 700, (1, 0))])
def test_one_made_up_sample_suffices(built, capsys, sizes):
    built[0].update(sizes)
    assert prove.main(built[1]) == 0
    assert list(Path(built[1][1]).iterdir()) == []
    assert f"native parser: {prove.RECORDED}: " in capsys.readouterr().out


@pytest.mark.parametrize("sizes", [gives(6, 6, 17043), gives((-11, 0), 6, 17043)])
def test_where_only_the_recorded_one_parses_its_size_is_written_down(built, capsys, sizes):
    built[0].update(sizes)
    assert prove.main(built[1]) == 0
    (path,) = Path(built[1][1]).iterdir()
    assert (path.name, json.loads(path.read_text())) == ("expected.json", {"made_up": "header only", "recorded_bytes": 17043})
    assert f"{prove.RECORDED}: 17043 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("sizes, there, said", [
    (gives(6, 6, 6), True, r"found ring.txt: .* 6 bytes.*; needed more than a header from one of them; set dockyard_source_oura to another checkout"),
    (gives((1, 0), (1, 0), (1, 0)), True, r"found ring.txt: the native parser ended with 1.*set dockyard_source_oura to another checkout"),
    (gives(6, 6, None), False, r"116.txt: not in the source; needed .*set dockyard_source_oura to the whole checkout"),
    (gives((-11, 0), (-11, 0), 17043), True, r"found ring.txt: .* ended with -11.*116.txt: 17043 bytes; needed a made-up sample that it can at least read"),
])
def test_a_parser_that_cannot_be_shown_to_parse_ends_the_build(built, capsys, sizes, there, said):
    built[0].update(sizes)
    if not there:
        (Path(built[1][0]) / prove.RECORDED).unlink()
    assert prove.main(built[1]) == 1
    assert list(Path(built[1][1]).iterdir()) == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(said, error), error


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
            fields = line.split("|")
            yield int(fields[1], 16), bytes.fromhex(fields[3])


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
    assert make.digests() != make.digests("broken") != make.digests("recorded") != make.digests()
    assert re.fullmatch(r"(\S+=[0-9a-f]{64} ?){3}", make.digests())


def test_programs_are_arm64_and_name_androids_loader():
    for path, content in make.programs().items():
        assert content[:5] == b"\x7fELF\x02" and struct.unpack_from("<H", content, 18)[0] == 183, path
    for path in ("parser_bridge_android", "sleep_score_minutes_ndk"):
        header = struct.unpack_from("<IIQQQQ", make.programs()[path], 64)
        kind, offset, size = header[0], header[2], header[5]
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


# -- Bluetooth ----------------------------------------------------------------------------------------------------------------------------

def test_bluetooth_is_off_unless_asked_for_and_never_the_parser_s():
    stack = yaml.safe_load((STACK / "stack.yml").read_text(encoding="utf-8"))
    assert stack["settings"]["OURA_BLUETOOTH"]["default"] == "none"
    entry = stack["bluetooth"]
    assert (entry["services"], entry["uid"], entry["gid"], entry["optional"]) == (["backend"], 52101, 1000, True)
    assert stack["images"]["backend"]["build"]["args"]["BLUETOOTH"] == {"setting": "OURA_BLUETOOTH"}
    assert "BLUETOOTH" not in stack["images"]["parser"]["build"]["args"]


def test_parser_and_backend_may_overwrite_each_other_s_files():
    """Two users of one group while there is Bluetooth."""
    stack = yaml.safe_load((STACK / "stack.yml").read_text(encoding="utf-8"))
    owner, mode = stack["volumes"]["data"]["owner"], int(stack["volumes"]["data"]["mode"], 8)
    assert owner.split(":")[1] == str(stack["bluetooth"]["gid"]) and mode & 0o777 == 0o770
    dockerfile = (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")
    packages = dockerfile[dockerfile.index(" AS packages\n"):dockerfile.index("FROM packages AS backend-packages")]
    assert "os.umask(0o002)" in packages


def test_bleak_is_one_that_knows_the_application_s_argument():
    pinned = dict(line.split("==") for line in (STACK / "app" / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line)
    assert int(pinned["bleak"].split(".")[0]) < 3 and "pycryptodome" in pinned and "dbus-fast" in pinned


@pytest.mark.parametrize("access", ["dbus", "host"])
def test_what_bluetooth_lays_over_names_the_backend_only(access):
    text = (STACK / ("compose.bluetooth-%s.yaml" % access)).read_text(encoding="utf-8")
    service = yaml.safe_load(text)["services"]
    assert list(service) == ["backend"]
    opened = set(service["backend"]) & {"privileged", "network_mode", "cap_add", "devices", "pid", "ipc"}
    assert opened == (set() if access == "dbus" else {"privileged", "network_mode"})
    assert "user" not in service["backend"]
