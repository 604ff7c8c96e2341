# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plugins/module_utils/stacks/envfile.py writes, read back by a real Docker Compose.

    tests/integration/env_roundtrip.py HOST

HOST is a test host of tests/hosts/bed with Docker and Compose in it. Every value goes both ways in which a stack
uses them: through `.env` into ${NAME} of a Compose file, and through `env_file`. It is read back both from
`docker compose config --format json` and from the container that Compose creates of it (never started).
Ends with 0 when every character came back, with 1 and the differences otherwise.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import random
import subprocess
import sys
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEED, RANDOM_VALUES = 20260101, 400
ALPHABET = ["$", "$", "\\", "\\", '"', "'", "`", "\n", "\r", "\t", " ", "#", "=", "{", "}", "(", ":", "-", "?", "a", "n", "0", "HOME", "é", "\u2028", "\x01",
            "!", "%", "&"]

NASTY = [
    "", "plain", "with space", " leading", "trailing ", "\tleading tab", "trailing tab\t", "$", "$$", "$$$", "a$", "$a", "a$$b", "$HOME", "${HOME}",
    "${HOME:-x}", "${X", "${}", "$(id)", "`id`", "\\$HOME", "\\\\$HOME", "\\${HOME}", "'", "''", '"', '""', "'quoted'", '"quoted"', "it's", "\\", "\\\\", "a\\",
    'a\\"', '\\"', "\\'", "'\\", '"\\', "\\n", "\\\\n", "a\\nb", "\\t", "\\r", "\\$", "\\\\$", "\\x41", "\\u0041", "\\101", "\\a\\b\\f\\v", "\n", "a\nb",
    "a\n", "\na", "a\n\nb", "a\\\nb", "\r", "a\rb", "a\r\nb", "trailing\r", "#", "# all", "a#b", "a #b", "a # b", "#\n#", "=", "a=b", "a='b'", 'a="b"',
    "export A=b",
    "a: b", "é ü 漢字 🚢", "\u00a0nbsp\u00a0", "\u2028line\u2029separators", "\ufeffbom", "\x01\x07\x1b[31m\x7f", "x" * 4096, "$\\\"' #\n" * 600,
    "-----BEGIN KEY-----\nMIIB$abc/+==\n-----END KEY-----\n", '{"json": ["$x", "\\n", null]}', "pass$word#1 'two' \"three\"", "%s %d %%", "!bang!", "*", "~",
    "-",
    "null", "true", "1", "0x10", "1e3", "@file", "&amp;", "<tag>", "|", ";rm", "a,b", "\"a\" #b", "'a' #b", "$V0000", "${V0001}", "a${V0001:?missing}b",
]

PROBE = r"""
import base64, json, os, subprocess, sys, tempfile, zlib
files = json.loads(zlib.decompress(base64.b64decode(sys.stdin.read() if len(sys.argv) < 2 else sys.argv[1])))
with tempfile.TemporaryDirectory(prefix="env-roundtrip-") as folder:
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as handle:
            handle.write(text)
    def run(*argv, **more):
        done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        if done.returncode:
            sys.exit("%s: %s" % (" ".join(argv[:4]), done.stderr.decode("utf-8", "replace")[-1500:]))
        return done.stdout
    subprocess.run(["tar", "-cf", "empty.tar", "-T", "/dev/null"], cwd=folder, check=True)
    run("docker", "import", "empty.tar", "env-roundtrip:empty")
    compose = ["docker", "compose", "--project-name", "env-roundtrip", "--project-directory", folder,
               "--env-file", folder + "/.env", "--file", folder + "/compose.yaml"]
    try:
        model = json.loads(run(*(compose + ["config", "--format", "json"])))
        run(*(compose + ["up", "--no-start", "--pull", "never"]))
        created = json.loads(run("docker", "inspect", "env-roundtrip-web-1"))
    finally:
        subprocess.run(compose + ["down"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["docker", "image", "rm", "env-roundtrip:empty"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    version = run("docker", "compose", "version", "--short").decode().strip()
    print("ANSWER " + json.dumps({"version": version, "model": model["services"]["web"]["environment"], "created": created[0]["Config"]["Env"]}))
"""


def load_envfile():
    """The module under test, without Ansible."""
    path = os.path.join(ROOT, "plugins", "module_utils", "stacks", "envfile.py")
    spec = importlib.util.spec_from_file_location("envfile", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values():
    """Names and values to send: the nasty ones, then seeded random ones."""
    chosen = random.Random(SEED)
    texts = NASTY + ["".join(chosen.choice(ALPHABET) for unused in range(chosen.randint(1, 12))) for unused in range(RANDOM_VALUES)]
    return {"V%04d" % number: text for number, text in enumerate(texts)}


def main():
    """Send, read back, compare."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    envfile = load_envfile()
    wanted = values()
    environment = {"I_%s" % name: "${%s}" % name for name in wanted}
    compose = {"services": {"web": {"image": "env-roundtrip:empty", "command": ["none"], "env_file": ["web.env"], "environment": environment}}}
    files = {".env": envfile.render(wanted, "header with $X and 'quotes'"), "web.env": envfile.render({"F_" + name: text for name, text in wanted.items()}),
             "compose.yaml": json.dumps(compose)}
    packed = base64.b64encode(zlib.compress(json.dumps(files).encode("utf-8"), 9)).decode("ascii")
    done = subprocess.run([os.path.join(ROOT, "tests", "hosts", "bed"), "exec", sys.argv[1], "--", "python3", "-c", PROBE, packed],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.startswith("ANSWER ")]
    if done.returncode or not lines:
        sys.exit("%s: the question could not be asked (code %d):\n%s" % (sys.argv[1], done.returncode, done.stderr.decode("utf-8", "replace")[-3000:]))
    answer = json.loads(lines[0].partition(" ")[2])
    created = dict(entry.partition("=")[::2] for entry in answer["created"])
    # `config` doubles each dollar sign, so that what it prints is a Compose file again.
    model = {name: text.replace("$$", "$") for name, text in answer["model"].items()}
    wrong = 0
    for name, text in wanted.items():
        for prefix in ("I_", "F_"):
            for way, found in (("config", model), ("container", created)):
                if found.get(prefix + name) != text:
                    wrong += 1
                    if wrong <= 20:
                        print("%s%s by %s: sent %r, written %s, came back %r" % (prefix, name, way, text[:80], envfile.quote(text)[:80],
                                                                                 (found.get(prefix + name) or "")[:80]))
    print("Compose %s on %s: %d values, 4 readings each, %d wrong" % (answer["version"], sys.argv[1], len(wanted), wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
