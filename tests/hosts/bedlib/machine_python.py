# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python of a version that no Debian release has (3.12): the one that is installed on this machine, packed for an image.

Debian has 3.11, 3.13 and newer, and no wheel or npm package carries an interpreter. Looked for are the program of that name, pyenv's
versions, and uv's.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import docker, images, recipe, settings, shell

# What an image of Python has no use for; names below lib/pythonX.Y.
LEFT_OUT = ("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "site-packages", "__pycache__")
ASK = ("import json, os, platform, sys, sysconfig as s; v = s.get_config_vars(); "
       "print(json.dumps({'version': platform.python_version(), 'build': sys.version, 'implementation': sys.implementation.name, "
       "'prefix': os.path.realpath(sys.base_prefix), 'shared': v['INSTSONAME'] if v.get('Py_ENABLE_SHARED') else None, 'libdir': v['LIBDIR']}))")


@dataclass(frozen=True)
class Interpreter:
    """A CPython below a folder of its own: `prefix`/bin, lib, include."""

    version: str
    build: str
    prefix: Path
    library: Path | None


def candidates(version: str):
    """Programs that may be that Python, best first."""
    name = f"python{version}"
    if shutil.which(name):
        yield shutil.which(name)
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    found = glob.glob(f"{glob.escape(root)}/versions/{version}.*/bin/{name}")
    # 3.12.10 before 3.12.9
    yield from sorted(found, key=lambda path: [int(part) for part in path.split("/")[-3].split(".") if part.isdigit()], reverse=True)
    if shutil.which("uv"):
        done = shell.run(["uv", "python", "find", "--no-python-downloads", version], check=False)
        if done.returncode == 0:
            yield done.stdout.strip()


def judge(version: str, answer: str) -> Interpreter | None:
    """The interpreter that gave this answer; None when it can't be packed: another version, or a distribution's, spread over /usr."""
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    prefix = Path(found["prefix"])
    if found["implementation"] != "cpython" or not found["version"].startswith(version + ".") or prefix in (Path("/usr"), Path("/")):
        return None
    library = None
    if found["shared"]:
        # uv's were built for a folder that is nowhere: theirs is below the prefix, and the program itself does without it.
        places = [Path(found["libdir"]) / found["shared"], prefix / "lib" / found["shared"]]
        library = next((path for path in places if path.exists()), None)
    return Interpreter(found["version"], found["build"], prefix, library)


def find(version: str) -> Interpreter | None:
    """This machine's Python of that version; None when it has none that can be packed."""
    for program in candidates(version):
        done = shell.run([program, "-I", "-c", ASK], check=False)
        found = judge(version, done.stdout) if done.returncode == 0 else None
        if found and (found.prefix / "lib" / f"python{version}" / "os.py").exists():
            return found
    return None


def files(found: Interpreter, version: str) -> list:
    """What goes into the image: sorted list of (path on this machine, name below /usr/local)."""
    wanted = [(found.prefix / "bin" / f"python{version}", f"bin/python{version}")]
    if found.library:
        wanted.append((found.library, f"lib/{found.library.name}"))
    for top in (f"lib/python{version}", f"include/python{version}"):
        for folder, folders, names in os.walk(found.prefix / top):
            depth = len(Path(folder).relative_to(found.prefix / top).parts)
            # Packages of the library have tests of their own, at any depth; the rest lies at the top.
            folders[:] = sorted(one for one in folders if one not in (LEFT_OUT if depth == 0 else ("tests", "test", "__pycache__"))
                                and not one.startswith("config-"))
            for name in sorted(names):
                if not name.startswith(("_test", "_tkinter", "xx")):
                    path = Path(folder) / name
                    wanted.append((path, path.relative_to(found.prefix).as_posix()))
    return sorted(wanted, key=lambda item: item[1])


def pack(found: Interpreter, version: str, target: Path) -> None:
    """A tar file of the interpreter, owned by root."""
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with tarfile.open(target, "w") as archive:
        for path, name in files(found, version):
            archive.add(os.path.realpath(path), name, recursive=False, filter=plain)


def image(found: Interpreter, version: str, name: str, base: str, folder: Path) -> images.Image:
    """The image from the recipe in `folder`, with the interpreter as python.tar in its context."""
    stamps = [(inside, path.stat().st_size, path.stat().st_mtime_ns) for path, inside in files(found, version)]
    identity = recipe.digest(name, base, found.version, found.build, repr(stamps), recipe.tree(folder))
    tag = f"{settings.REPOSITORY}/{name}:{identity}"

    def make():
        with tempfile.TemporaryDirectory(prefix="bed-python-") as context:
            shutil.copytree(folder, context, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            pack(found, version, Path(context) / "python.tar")
            docker.build(tag, context, base=base, args={"VERSION": version, "FULL_VERSION": found.version}, label=identity)

    return images.once(tag, make)
