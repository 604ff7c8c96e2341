# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses a file of events and judges the output by its size, which the application does not.

`check` is the container's health: the API answers, the data directory can be written, and the native parser, run exactly as the
application runs it, makes more of a sample than a header. `file` is the action `parse`.

Where the build (prove.py) has found that the parser makes a header only of our samples but more of the source's own, which is a person's
and in no image, the health asks of our samples no more than that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

# The native parser ends with 0 and this many bytes when it made nothing of its input.
HEADER_BYTES = 6
DATA = "/app/input_data"
SAMPLES = ("/opt/dockyard/samples/ring.txt", "/opt/dockyard/samples/temperature.txt")
SAMPLE_NAME = "sample"
EXPECTED = "/opt/dockyard/expected.json"
STAMP = "/tmp/dockyard-parsed"
# Under emulation a parse is work for a small board: it is not repeated at each question for the health.
STAMP_SECONDS = 300
PARSE_SECONDS = 45


class ParseProblem(Exception):
    """Why there is no parsed data."""


def judge(code, output, error, header_suffices=False):
    """None, or what is wrong with a run of the native parser.

    :arg code: int, exit code; negative for a signal.
    :arg output: int, bytes on standard output.
    :arg error: str, standard error.
    :arg header_suffices: bool, whether a header alone is well.
    """
    if code:
        return "the native parser ended with %d: %s" % (code, " ".join(error.split())[-300:] or "no message")
    if output < HEADER_BYTES if header_suffices else output <= HEADER_BYTES:
        return "the native parser gave %d bytes, which is %s a header" % (output, "less than" if header_suffices else "no more than")
    return None


def expected():
    """Bytes that the parser made of the source's own sample during the build when it makes a header only of ours; else None."""
    try:
        with open(EXPECTED, encoding="utf-8") as stream:
            return json.load(stream)["recorded_bytes"]
    except FileNotFoundError:
        return None


def run_native(path, application="/app", header_suffices=False, seconds=PARSE_SECONDS):
    """Run the native parser on a file as the application does: command, environment and folder are its own.

    :returns: int, bytes of its output.
    :raises ParseProblem: it cannot be run, or what :func:`judge` says.
    """
    command = ["qemu-aarch64", os.path.join(application, "parser_bridge_android"), path]
    environment = {"PATH": "/usr/bin:/bin", "QEMU_LD_PREFIX": os.path.join(application, "android_root")}
    try:
        done = subprocess.run(command, capture_output=True, cwd=application, env=environment, timeout=seconds, check=False)
    except OSError as error:
        raise ParseProblem("qemu-aarch64 cannot be run: %s" % error.strerror) from error
    except subprocess.TimeoutExpired as error:
        raise ParseProblem("the native parser did not end within %d s" % seconds) from error
    problem = judge(done.returncode, len(done.stdout), done.stderr.decode("utf-8", "replace"), header_suffices)
    if problem:
        raise ParseProblem(problem)
    return len(done.stdout)


def ask_health():
    """What is wrong with the API's own answer, or None. It is 200 whatever happens, so the body counts."""
    import socket  # only here: this program starts every few seconds
    with socket.create_connection(("127.0.0.1", 8001), timeout=8) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while len(answer) < 65536:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head, unused, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("ascii", "replace")
    if " 200 " not in status + " ":
        return "/health: %s" % status
    said = json.loads(body)
    return None if said.get("parser_available") is True else "/health: %s" % said.get("parser_message", "parser_available is not true")


def samples(wanted):
    """The files to try: the one that the operator named, or ours."""
    return [os.path.join(DATA, os.path.basename(wanted))] if wanted else list(SAMPLES)


def check(environment):
    """Text for the health's log. Raises ParseProblem or OSError when the container is not well."""
    zone = environment.get("TZ", "")
    if zone and not os.path.exists(os.path.join("/usr/share/zoneinfo", zone)):
        raise ParseProblem("TZ is %r, which is no time zone; set OURA_TIMEZONE" % zone)
    if not os.access(DATA, os.W_OK | os.X_OK):
        raise ParseProblem("uid %d cannot write to %s, where the application puts its results" % (os.getuid(), DATA))
    parsed = parsed_sample(environment.get("OURA_SAMPLE", ""))
    problem = ask_health()
    if problem:
        raise ParseProblem(problem)
    return parsed


def parsed_sample(wanted):
    """Text of a sample that the native parser made something of, now or a few minutes ago. Raises ParseProblem."""
    with contextlib.suppress(OSError):
        if 0 <= time.time() - os.stat(STAMP).st_mtime < STAMP_SECONDS:
            return "parsed a sample less than %d s ago" % STAMP_SECONDS
    problems = []
    # What the operator named has to become data, whatever the build found.
    recorded = None if wanted else expected()
    for path in samples(wanted):
        try:
            size = run_native(path, header_suffices=recorded is not None)
        except ParseProblem as error:
            problems.append("%s: %s" % (os.path.basename(path), error))
            continue
        with open(STAMP, "w", encoding="utf-8"):
            pass
        return "%s gave %d bytes%s" % (os.path.basename(path), size, weaker(recorded) if size <= HEADER_BYTES else "")
    raise ParseProblem("; ".join(problems) + " (OURA_SAMPLE in dockyard_settings_oura names a file of the data directory to judge by)")


def weaker(recorded):
    """What a header alone means where the build has found that our samples give no more."""
    return (", a header only, as in the build, where the source's own sample gave %d: this shows that the parser runs, not that it parses; "
            "OURA_SAMPLE in dockyard_settings_oura names a file of the data directory to judge by" % recorded)


def usable_sample():
    """The first sample that the native parser makes something of, as the health judges; the first of all when there is none."""
    for path in SAMPLES:
        with contextlib.suppress(ParseProblem):
            run_native(path)
            return path
    return SAMPLES[0]


def output_of(name):
    """The file that the parsed data of an input goes to: what the backend reads for ring_events.txt, else the same name."""
    return "ring_data.pb" if name == "ring_events.txt" else os.path.splitext(name)[0] + ".pb"


def parse_file(name):
    """Parse a file of the data directory, or the sample, by the application's own function.

    Data that is there already stays when the new output is nothing but a header.

    :returns: dict, the action's result; ``status`` is parsed, header_only or failed.
    """
    from oura.native.parser import parse_events_sync
    result = {"file": name, "status": "failed", "input_events": 0, "output_bytes": 0, "header_bytes": HEADER_BYTES, "output": None, "seconds": 0.0,
              "message": ""}
    folder = tempfile.mkdtemp(prefix="parse-")
    try:
        if name == SAMPLE_NAME:
            source = shutil.copy(usable_sample(), os.path.join(folder, "ring_events.txt"))
            target = None
            # Else the operator's own point in time would be taken.
            with open(os.path.join(folder, "sync_point.json"), "w", encoding="utf-8") as stream:
                stream.write('{"ring_time": 0, "utc_millis": 0}')
            beside = os.path.join(folder, "ring_data.pb")
        else:
            source = os.path.join(DATA, name)
            target = os.path.join(DATA, output_of(name))
            beside = os.path.join(DATA, ".%s.new" % output_of(name))
        if not os.path.isfile(source):
            result["message"] = "no file %s in the data directory" % name
            return result
        if not os.access(source, os.R_OK):
            result["message"] = "%s cannot be read by uid %d; make it readable (chmod 0644)" % (name, os.getuid())
            return result
        with contextlib.redirect_stdout(sys.stderr):
            parsed = parse_events_sync(input_path=source, output_path=beside)
        result.update(input_events=parsed.input_events, output_bytes=parsed.output_size, seconds=round(parsed.duration_sec, 3))
        problem = judge(0, parsed.output_size, "") if parsed.success else parsed.error or "failed without a message"
        if problem:
            result.update(status="header_only" if parsed.success else "failed", message=" ".join(problem.split())[-500:])
            recorded = expected()
            if parsed.success and name == SAMPLE_NAME and recorded is not None:
                result["message"] = ("the made-up sample of the image gives this parser nothing but a header, as in the build, where the source's own "
                                     "sample gave %d bytes; nothing was parsed here, name a file of the data directory" % recorded)
            return result
        if target:
            os.replace(beside, target)
            tell_backend()
        result.update(status="parsed", output=target and os.path.basename(target))
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if name != SAMPLE_NAME:
            with contextlib.suppress(OSError):
                os.remove(os.path.join(DATA, ".%s.new" % output_of(name)))


def tell_backend():
    """The backend keeps what it has read; without this it would show the former data until its next start."""
    import urllib.request
    with contextlib.suppress(OSError):
        urllib.request.urlopen(urllib.request.Request("http://backend:8000/ble/reload-data", data=b"", method="POST"), timeout=5).close()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("check", help="the container's health")
    one = actions.add_parser("file", help="parse a file of the data directory")
    one.add_argument("name", help="name of the file, or `sample`")
    options = parser.parse_args(argv)
    if options.action == "check":
        try:
            print(check(os.environ))
        except (ParseProblem, OSError, ValueError) as error:
            print(error)
            return 1
        return 0
    if options.name != os.path.basename(options.name) or options.name.startswith("."):
        parser.error("the name of a file in the data directory, without a path")
    result = parse_file(options.name)
    print(json.dumps(result))
    if result["status"] != "parsed":
        print("%s: %s" % (result["file"], result["message"]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
