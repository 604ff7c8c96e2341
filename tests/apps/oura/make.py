# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the stand-in of the application as a checkout looks: own sources, generated arm64 programs, links, personal files.

    python tests/apps/oura/make.py FOLDER [--parser broken|recorded] [--models FOLDER]

Prints a line of YAML for the setting OURA_NATIVE_DIGESTS; the same on every machine. What is in FOLDER already is replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import arm64  # noqa: E402

SOURCE = Path(__file__).resolve().parent / "source"
# Of parsers: one gives headers only, one gives more than a header for the recorded sample alone, as nobody knows of the real one.
PARSERS = ("whole", "broken", "recorded")
# In every personal file, so that one search of an image finds any of them.
PERSONAL = "this belongs to the ring's owner alone"
PERSONAL_FILES = (
    "stored_auth_key.bin", "bonded_device.txt", "ring_events.txt", "analysis_scripts/ring_events_20260101_000000.txt",
    "python_client_archived/oura_bond_keys.json", "native_parser/stored_auth_key.bin", "native_parser/single_event.txt",
    "native_parser/ring_data.pb", "native_parser/input_data/ring_events.txt", "native_parser/input_data/sync_point.json",
    "native_parser/oura/stored_auth_key.bin", "native_parser/oura/ble/bonded_device.txt", "native_parser/webapp/backend/ring_events_old.txt",
    "native_parser/webapp/frontend/.env", "native_parser/webapp/frontend/public/ring_events.txt", "native_parser/libs/transformed_ring_events.txt",
    "native_parser/android_root/sync_point.json", "native_parser/decrypted_models/sleepnet_moonstone_1_1_0.pt")
# The recorded sample that the build tries, and that is in no image.
RECORDED = "analysis_scripts/ring_events_20260111_235116.txt"
# No made-up start of a ring is as long.
RECORDED_START = bytes.fromhex("4113002000001000000032020706010001020000ff")
# These end their lines with CR LF in the source; its pages and what npm has written do not.
CRLF = ("parser_api.py", "requirements.docker.txt", "oura/**/*.py", "webapp/backend/*.py")
LINKS = {"android_root/lib/ld-linux-aarch64.so.1": "../system/bin/linker64", "android_root/system/lib64/ld-android.so": "../bin/linker64"}
SCORE = "sleepScore\n68\ncontributors\n70,60,65,80,75,66\nqualityFlag\n1\n"
DIGESTED = ("parser_bridge_android", "android_root/system/lib64/libringeventparser.so", "android_root/system/lib64/libappecore.so")
MODELS = {"sleepnet_moonstone_1_1_0.pt": b"a stand-in of the model for sleep stages\n" * 4096,
          "dhrv_imputation_1_0_3.pt": b"a stand-in of an optional model\n" * 1024}


def recorded() -> str:
    """Events of a person: in the clear, and once more in what a parser makes of them."""
    events = [RECORDED_START, *(bytes([0x46, 4 + len(PERSONAL), minute, 0x30, 0, 0]) + PERSONAL.encode() for minute in range(40))]
    lines = (f"{index}|0x{event[0]:02x}|EVENT|{event.hex()}\n" for index, event in enumerate(events))
    return f"# {PERSONAL}\n" + "".join(lines)


def programs(variant: str = "whole") -> dict[str, bytes]:
    """The native files, relative to native_parser."""
    return {
        "parser_bridge_android": arm64.parser(header_only=variant == "broken", start_length=RECORDED_START[1] if variant == "recorded" else 0),
        "sleep_score_minutes_ndk": arm64.printer(SCORE),
        "ibi_correction_bridge_v9": arm64.printer("timestamp,ibi,amplitude,validity\n1000,900,12000,0\n"),
        "daytime_hr_bridge": arm64.printer("timestamp,ibi,hr_bpm,quality\n1000,900,66,0\n"),
        "android_root/system/bin/linker64": arm64.linker64(),
        "android_root/system/lib64/libringeventparser.so": arm64.elf(b"ring", shared=True),
        "android_root/system/lib64/libappecore.so": arm64.elf(b"core", shared=True),
        "libs/libc.so.6": arm64.elf(b"libc", shared=True),
    }


def digests(variant: str = "whole") -> str:
    """The value of OURA_NATIVE_DIGESTS for this stand-in."""
    made = programs(variant)
    return " ".join(f"{path}={hashlib.sha256(made[path]).hexdigest()}" for path in DIGESTED)


def make(folder: Path, variant: str = "whole") -> Path:
    """Fill the folder, which is the root of the repository."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "node_modules", "dist"))
    inner = folder / "native_parser"
    for path in sorted({path for pattern in CRLF for path in inner.glob(pattern)}):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for path, content in programs(variant).items():
        place = inner / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o644 if place.suffix in (".so", ".6") else 0o755)
    for path, target in LINKS.items():
        place = inner / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for path in PERSONAL_FILES:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(PERSONAL + "\n", encoding="utf-8")
    (folder / RECORDED).write_text(recorded(), encoding="utf-8")
    return folder


def make_models(folder: Path) -> dict[str, str]:
    """Files for the variant full; returns their digests as manifests have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in MODELS.items():
        (folder / name).write_bytes(content)
    return {name: "sha256:" + hashlib.sha256(content).hexdigest() for name, content in MODELS.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parser", choices=PARSERS, default="whole",
                        help="broken: it gives a header and nothing else; recorded: it gives more for the recorded sample only")
    parser.add_argument("--models", type=Path, help="also make stand-ins of models there")
    options = parser.parse_args()
    make(options.folder, options.parser)
    if options.models:
        make_models(options.models)
    print(f'OURA_NATIVE_DIGESTS: "{digests(options.parser)}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
