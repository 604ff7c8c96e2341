# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries the native parser while the images are built: on our made-up samples, and on the recorded sample of the source if it is there.

A parser that makes no more than a header of any of them ends the build. Where only the recorded one gives more, which is a person's and gets
into no image, its size is written down: then the health (parse.py) asks of our samples no more than the build has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import parse  # noqa: E402

# Relative to the repository; a source given as its folder native_parser is without it.
RECORDED = "analysis_scripts/ring_events_20260111_235116.txt"
# The builder may itself be emulated, and the emulator then is, too.
BUILD_SECONDS = 300


class ProofError(Exception):
    """The parser of this source cannot be shown to parse."""


def size_of(path, application):
    """(bytes of the output or None, what is wrong or None). Bytes and a problem: nothing but a header."""
    try:
        size = parse.run_native(path, application, header_suffices=True, seconds=BUILD_SECONDS)
    except parse.ParseProblem as error:
        return None, str(error)
    return size, parse.judge(0, size, "")


def prove(context, application):
    """Try all samples; prints what each gave.

    :returns: dict for expected.json; empty when our own samples suffice.
    :raises ProofError: none gives more than a header, or the health would have nothing to run.
    """
    ours = [os.path.basename(path) for path in parse.SAMPLES]
    found = {name: size_of(os.path.join(context, ".dockyard", "samples", name), application) for name in ours}
    recorded = os.path.join(context, RECORDED)
    found[RECORDED] = size_of(recorded, application) if os.path.isfile(recorded) else (None, "not in the source")
    for name, (size, problem) in found.items():
        print("native parser: %s: %s" % (name, problem or "%d bytes" % size))
    if any(found[name][1] is None for name in ours):
        return {}
    said = "; ".join("%s: %s" % (name, problem or "%d bytes" % size) for name, (size, problem) in found.items())
    size, problem = found[RECORDED]
    if problem:
        raise ProofError("the native parser of the source, run by qemu-aarch64: found %s; needed more than a header from one of them; "
                         "set dockyard_source_oura to %s" % (
                             said, "another checkout of relue/oura_ring_reverse: these native files do not parse" if os.path.isfile(recorded)
                             else "the whole checkout of relue/oura_ring_reverse, whose recorded sample is tried as well"))
    if all(found[name][0] is None for name in ours):
        raise ProofError("the native parser of the source, run by qemu-aarch64: found %s; needed a made-up sample that it can at least read, since the "
                         "recorded one is in no image and the health has to run it; set dockyard_source_oura to another checkout, or mend "
                         "app/samples of this recipe" % said)
    return {"made_up": "header only", "recorded_bytes": size}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("context", help="the build's context")
    parser.add_argument("target", help="folder for expected.json")
    parser.add_argument("--application", default="/app", help="folder of the application")
    options = parser.parse_args(argv)
    os.makedirs(options.target, exist_ok=True)
    try:
        expected = prove(options.context, options.application)
    except ProofError as error:
        print("oura recipe: %s" % error, file=sys.stderr)
        return 1
    if expected:
        with open(os.path.join(options.target, os.path.basename(parse.EXPECTED)), "w", encoding="utf-8") as stream:
            json.dump(expected, stream)
        print("native parser: our samples give a header only; the health will ask no more of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
