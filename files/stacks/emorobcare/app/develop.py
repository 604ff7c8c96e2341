# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment development: the mounted source with the recipe's edits, again after each change, under uvicorn's reload and debugpy.

The source does not run as it is, so the server runs a copy in /tmp. A change that the edits cannot be made on is told, and the last copy
that could be mended goes on running.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import mend  # noqa: E402

APPLICATIONS = {"api": ("main:app", "8000", "api"), "asr": ("asr.main:app", "8001", "")}
LOOK_SECONDS = 1


def snapshot(folder):
    """What tells one state of a folder from another: path, size and time of each Python file."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                try:
                    state = os.stat(path)
                except OSError:
                    continue
                found[path] = (state.st_size, state.st_mtime_ns)
    return found


def refresh(source, target, part):
    """Make ``target`` what the source is now, file by file, so that only what changed is loaded again.

    :raises mend.MendError: the edits cannot be made.
    """
    with tempfile.TemporaryDirectory() as fresh:
        mend.mend_part(source, fresh, part)
        wanted = {os.path.relpath(path, fresh) for path in snapshot(fresh)}
        for relative in wanted:
            place = os.path.join(target, relative)
            new = os.path.join(fresh, relative)
            if not os.path.exists(place) or not filecmp.cmp(new, place, shallow=False):
                os.makedirs(os.path.dirname(place), exist_ok=True)
                shutil.copyfile(new, place + ".new")
                os.replace(place + ".new", place)
        for path in snapshot(target):
            if os.path.relpath(path, target) not in wanted:
                os.unlink(path)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=sorted(APPLICATIONS))
    parser.add_argument("--source", default="/source", help="folder with services/")
    parser.add_argument("--target", default="/tmp/dockyard-source")
    options = parser.parse_args(argv)
    folder = os.path.join(options.source, mend.SERVICES, mend.FOLDERS[options.part])
    before = snapshot(folder)
    try:
        refresh(options.source, options.target, options.part)
    except (mend.MendError, OSError) as error:
        print("emorobcare recipe: %s" % error, file=sys.stderr)
        return 1
    application, port, below = APPLICATIONS[options.part]
    root = os.path.abspath(os.path.join(options.target, below))
    server = subprocess.Popen([sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", "0.0.0.0:5678", "-m", "uvicorn", application,
                               "--host", "0.0.0.0", "--port", port, "--reload", "--reload-dir", root], cwd=root)
    while server.poll() is None:
        time.sleep(LOOK_SECONDS)
        now = snapshot(folder)
        if now == before:
            continue
        before = now
        try:
            refresh(options.source, options.target, options.part)
        except (mend.MendError, OSError) as error:
            print("emorobcare recipe: the last good state goes on running: %s" % error, file=sys.stderr, flush=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main())
