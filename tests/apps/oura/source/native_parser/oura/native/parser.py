# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the wrapper around the native parser: the same call of QEMU, with the same environment and the same judgement."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

NATIVE_PARSER_DIR = Path(__file__).parent.parent.parent
PARSER_BINARY = NATIVE_PARSER_DIR / "parser_bridge_android"
INPUT_DIR = NATIVE_PARSER_DIR / "input_data"
ANDROID_ROOT = NATIVE_PARSER_DIR / "android_root"
QEMU_BINARY = "qemu-aarch64"


@dataclass
class ParseResult:
    success: bool
    input_events: int
    output_size: int
    output_path: str
    error: str | None = None
    duration_sec: float = 0.0


def check_parser_available():
    """(available, message); does not run the parser."""
    if not PARSER_BINARY.exists():
        return False, f"Parser binary not found: {PARSER_BINARY}"
    if subprocess.run(["which", "qemu-aarch64"], capture_output=True, check=False, timeout=5).returncode:
        return False, "qemu-aarch64 not installed"
    if not ANDROID_ROOT.exists():
        return False, f"Android root not found: {ANDROID_ROOT}"
    return True, "Parser ready"


def parse_events_sync(input_path=None, output_path=None):
    """Events to protocol buffer. A rewritten input lands beside the given one, so that folder must be writable."""
    started = time.time()
    source = Path(input_path) if input_path else INPUT_DIR / "ring_events.txt"
    target = Path(output_path) if output_path else INPUT_DIR / "ring_data.pb"
    available, message = check_parser_available()
    if not available:
        return ParseResult(False, 0, 0, str(target), message)
    if not source.exists():
        return ParseResult(False, 0, 0, str(target), f"Input file not found: {source}")
    from oura.data.preprocess import preprocess_events
    rewritten = source.parent / "transformed_ring_events.txt"
    events = preprocess_events(str(source), str(rewritten))[1]
    command = [QEMU_BINARY, str(PARSER_BINARY), str(rewritten)]
    sync = source.parent / "sync_point.json"
    sync = sync if sync.exists() else INPUT_DIR / "sync_point.json"
    if sync.exists():
        point = json.loads(sync.read_text())
        if point.get("ring_time") and point.get("utc_millis"):
            command += [str(point["ring_time"]), str(point["utc_millis"])]
    done = subprocess.run(command, capture_output=True, timeout=300, cwd=NATIVE_PARSER_DIR, check=False,
                          env={"PATH": "/usr/bin:/bin", "QEMU_LD_PREFIX": str(ANDROID_ROOT)})
    if done.returncode or not done.stdout:
        return ParseResult(False, events, 0, str(target), done.stderr.decode(errors="replace") or "Parser produced no output", time.time() - started)
    target.write_bytes(done.stdout)
    return ParseResult(True, events, len(done.stdout), str(target), None, time.time() - started)


def main():
    if len(sys.argv) < 2:
        print("Usage: python -m oura.native.parser <events.txt> [output.pb]")
        sys.exit(1)
    source = Path(sys.argv[1])
    result = parse_events_sync(source, sys.argv[2] if len(sys.argv) > 2 else source.parent / "ring_data.pb")
    print(f"Output: {result.output_path} ({result.output_size} bytes)" if result.success else f"Error: {result.error}")
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main()
