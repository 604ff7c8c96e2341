#!/usr/bin/env python
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start of a check: what the program would pass over in silence is refused, then it takes over with its own arguments.

`versions` instead of arguments prints what is inside, as JSON.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM = "/app/stream_checker.py"
OPERATOR_CONFIG = "/etc/stream_checker/config.yaml"
# Sections that the program writes into while it checks them; it ends with a traceback when one is there and holds nothing.
SECTIONS = ("database", "security", "resource_limits", "logging", "stream_checker")
PACKAGES = ("requests", "numpy", "mutagen", "cryptography", "PyYAML", "python-vlc")


def refuse(message):
    """Say why nothing was checked, and end (78: configuration error of sysexits.h; the program itself has 0, 1 and 2)."""
    print("stream_checker: %s" % message, file=sys.stderr, flush=True)
    sys.exit(78)


def with_config(words, path):
    """The words, with the operator's configuration unless another one is named.

    :arg words: list of str; path: str, a file that may be missing, or hold nothing but comments.
    :returns: list of str.
    """
    if any(word == "--config" or word.startswith("--config=") for word in words):
        return words
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return words
    except (OSError, UnicodeDecodeError) as error:
        refuse("%s: %s; needed: a text file that uid %d may read" % (path, error, os.getuid()))
    # The program takes its defaults, without a word on stdout, when the file can't be parsed.
    import yaml
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        refuse("%s is not YAML (%s); correct the setting STREAM_CHECKER_CONFIG" % (path, " ".join(str(error).split())))
    if document is None:
        return words
    if not isinstance(document, dict):
        refuse("%s: found a %s, needed a mapping such as the application's config.yaml; correct the setting STREAM_CHECKER_CONFIG"
               % (path, type(document).__name__))
    for name in SECTIONS:
        if not isinstance(document.get(name, {}), dict):
            refuse("%s, %s: found %r, needed a mapping, or no such line; correct the setting STREAM_CHECKER_CONFIG" % (path, name, document[name]))
    return ["--config", path, *words]


def check_writable(path, what):
    """The program ends with a traceback, or goes on without its database, when it can't write."""
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        refuse("%s (%s): %s; needed: a folder that uid %d may write, with free space" % (path, what, error.strerror, os.getuid()))


def first_line(*argv):
    """First line that a program prints, or None when it is not there."""
    if not shutil.which(argv[0]):
        return None
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60, check=False)
    return (done.stdout.splitlines() or [None])[0]


def libvlc():
    """Version of the library that phase 2 plays with, or None without it."""
    try:
        library = ctypes.CDLL("libvlc.so.5")
    except OSError:
        return None
    library.libvlc_get_version.restype = ctypes.c_char_p
    return library.libvlc_get_version().decode()


def versions():
    """What is inside, for the action `versions` and for the build, which fails when a library does not load."""
    import numpy
    found = {"python": "%d.%d.%d" % sys.version_info[:3], "machine": os.uname().machine, "ffmpeg": first_line("ffmpeg", "-version"),
             "vlc": libvlc(), "packages": {"numpy": numpy.__version__}}
    for name in PACKAGES:
        try:
            found["packages"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found["packages"].setdefault(name, None)
    return found


def main(words):
    if words == ["versions"]:
        print(json.dumps(versions(), indent=2))
        return
    if not any(word in ("-h", "--help") for word in words):
        os.umask(0o077)
        check_writable(os.path.expanduser("~"), "HOME, the volume with database and log")
        check_writable(os.environ.get("TMPDIR", "/tmp"), "TMPDIR")
        words = with_config(words, OPERATOR_CONFIG)
    os.execv(sys.executable, [sys.executable, "-u", PROGRAM, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
