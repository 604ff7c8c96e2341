# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the application's source to the folders that the images are made of. Runs in the first stage of the build (Python 3.11).

Finds the source's root, asks for all files at once, verifies the native programs, keeps their execute bits and the two links that the
loader needs, and makes the few edits without which the parts cannot find each other. Every edit has a name, and one whose target is
gone ends the build.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys

MARK = "parser_api.py"
NATIVE_FOLDERS = ("android_root", "libs")
PROGRAMS = ("parser_bridge_android", "ibi_correction_bridge_v9", "sleep_score_minutes_ndk", "daytime_hr_bridge", "android_root/system/bin/linker64")
LINKS = {"android_root/lib/ld-linux-aarch64.so.1": "../system/bin/linker64", "android_root/system/lib64/ld-android.so": "../bin/linker64"}
# A link in a checkout without links is a file with its target as text.
LONGEST_TARGET_BYTES = 255
MODULES = (MARK, "oura_ecore.py", "ringeventparser_pb2.py", "complete_final_pb2.py", "oura", "ml_inference")
REQUIRED = PROGRAMS + MODULES + (
    "requirements.docker.txt", "android_root/system/lib64/libringeventparser.so", "android_root/system/lib64/libappecore.so",
    "oura/native/parser.py", "webapp/backend/main.py", "webapp/frontend/package.json", "webapp/frontend/package-lock.json", "webapp/frontend/src")

PAGES, BACKEND = "frontend/src", "backend/webapp/backend"
# name: (folder of the result, endings of its files, what is there, what comes there, whether it must be there)
EDITS = {
    "parser-address": (BACKEND, (".py",), r"""(["'])http://localhost:8001""", r"\1http://parser:8001", True),
    "api-address": (PAGES, (".ts", ".tsx", ".js", ".jsx"), r"""(["'`])http://localhost:8000""", r"\1", True),
    "socket-address": (PAGES, (".ts", ".tsx", ".js", ".jsx"), r"""(["'`])ws://localhost:8000(/[^"'`]*)\1""",
                       r"`${window.location.protocol === 'https:' ? 'wss' : 'ws'}://${window.location.host}\2`", True),
    # With Bluetooth: the server is imported as a package, and its cached data is to be forgotten after new data, not that of a second copy.
    # The source's lines end with CR LF.
    "reader-cache": (BACKEND, (".py",), r"(\n[ \t]+)import main(?=[ \t]*\r?\n)", r"\1from webapp.backend import main", False),
    # The page would carry its author's key, the default of an input, to everybody who opens it.
    "author-key": (PAGES, (".ts", ".tsx", ".js", ".jsx"), r"""useState\((["'])[0-9a-fA-F]{32}\1\)""", "useState('')", False),
}
# name: what must be nowhere after the edit, also where that had nothing to do: another form of its target.
GONE = {
    "parser-address": r"//localhost:8001",
    "reader-cache": r"(?m)^[ \t]*(?:import main\b|from main import\b)",
    "author-key": r"""(["'`])[0-9a-fA-F]{32}\1""",
}


class ArrangeError(Exception):
    """The source is not what this recipe was written for."""


def find_root(folder):
    """The folder with the application: native_parser of the repository, or the given one itself.

    :raises ArrangeError: neither has the parser's API.
    """
    for candidate in (os.path.join(folder, "native_parser"), folder):
        if os.path.isfile(os.path.join(candidate, MARK)):
            return candidate
    raise ArrangeError("the source: found neither native_parser/%s nor %s; needed a checkout of relue/oura_ring_reverse or its folder "
                       "native_parser; set dockyard_source_oura to it" % (MARK, MARK))


def missing_files(root):
    """The needed files that are not there, sorted."""
    return sorted(path for path in REQUIRED if not os.path.lexists(os.path.join(root, path)))


def parse_digests(text):
    """Expected digests.

    :arg text: str, lines as of sha256sum (``digest  path``), or words ``path=digest``; comments with #.
    :returns: dict of path to sha256, hexadecimal.
    :raises ArrangeError: a line or word that is neither.
    """
    found = {}
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        pair = re.fullmatch(r"([0-9a-fA-F]{64})[ \t]+\*?(\S+)", line)
        words = [(pair.group(2), pair.group(1))] if pair else [word.rpartition("=")[::2] for word in line.replace(",", " ").split()]
        for path, digest in words:
            digest = digest.lower().removeprefix("sha256:")
            if not path or os.path.isabs(path) or ".." in path.split("/") or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
                raise ArrangeError("the digests of the native files: found %r; needed words such as parser_bridge_android=<64 hexadecimal digits>; "
                                   "correct OURA_NATIVE_DIGESTS in dockyard_settings_oura" % line)
            found[path] = digest
    return found


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def native_files(root):
    """All files that are machine code (ELF), relative and sorted."""
    found = []
    for folder, unused, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            with open(path, "rb") as stream:
                if stream.read(4) == b"\x7fELF":
                    found.append(os.path.relpath(path, root))
    return sorted(found)


def digest_problems(root, expected):
    """What differs from the expected digests: one sentence a file, with both digests."""
    problems = []
    for path, digest in sorted(expected.items()):
        full = os.path.join(root, path)
        actual = sha256(full) if os.path.isfile(full) and not os.path.islink(full) else "no such file"
        if actual != digest:
            problems.append("%s: found %s; needed %s" % (path, actual, digest))
    for path in ("parser_bridge_android",):
        if path not in expected:
            problems.append("%s: found no digest to compare with; needed one" % path)
    return problems


def edit(folder, name):
    """Make one of the edits in all files of its kind.

    :returns: dict of path relative to ``folder`` to the number of places.
    :raises ArrangeError: a target that must be there is nowhere, or one is there in another form.
    """
    where, endings, pattern, replacement, needed = EDITS[name]
    done, left = {}, []
    for parent, unused, names in os.walk(os.path.join(folder, where)):
        for file in sorted(names):
            if not file.endswith(endings):
                continue
            path = os.path.join(parent, file)
            with open(path, encoding="utf-8", newline="") as stream:
                text = stream.read()
            changed, count = re.subn(pattern, replacement, text)
            if name in GONE and re.search(GONE[name], changed):
                left.append(os.path.relpath(path, folder))
            if count:
                with open(path, "w", encoding="utf-8", newline="") as stream:
                    stream.write(changed)
                done[os.path.relpath(path, folder)] = count
    mend = "(the source has changed: take the commit of stack.yml, dockyard_source_ref_oura, or mend EDITS of this recipe)"
    if needed and not done:
        raise ArrangeError("edit %s: found its target nowhere below %s; needed %s %s" % (name, where, pattern, mend))
    if left:
        raise ArrangeError("edit %s: found %s still in %s; needed it in the form %s %s" % (name, GONE[name], ", ".join(left), pattern, mend))
    return done


def requirement_lists(text, extra):
    """The source's requirements without options and without torch, with ours; and the line of torch.

    :returns: (list of str, str)
    """
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in (text + "\n" + extra).splitlines()]
    lines = [line for line in lines if line and not line.startswith("-")]
    torch = [line for line in lines if re.match(r"torch\b(?!-)", line)]
    return [line for line in lines if line not in torch], (torch or ["torch"])[0]


def copy(root, target, names):
    """Files and folders, with their links as links."""
    for name in names:
        source, destination = os.path.join(root, name), os.path.join(target, name)
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(source, destination, follow_symlinks=False)


def restore(root):
    """Execute bits of the programs, and the links where the checkout has none.

    :returns: list of str, what was mended.
    :raises ArrangeError: another file is where a link belongs.
    """
    mended = []
    for path in PROGRAMS:
        full = os.path.join(root, path)
        if not os.stat(full).st_mode & 0o111:
            mended.append("%s: the execute bit" % path)
        os.chmod(full, 0o755)
    for path, target in LINKS.items():
        full = os.path.join(root, path)
        if os.path.islink(full) and os.readlink(full) == target:
            continue
        if os.path.isfile(full) and not os.path.islink(full) and os.path.getsize(full) > LONGEST_TARGET_BYTES:
            raise ArrangeError("%s: found a file of %d bytes; needed a link to %s; check out the source with links" % (path, os.path.getsize(full), target))
        if os.path.lexists(full):
            os.remove(full)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        os.symlink(target, full)
        mended.append("%s: the link to %s" % (path, target))
    return mended


def arrange(source, target, expected, extra):
    """Fill ``target`` with app/ (both images), backend/, frontend/ and the lists of requirements; prints what was found."""
    root = find_root(source)
    missing = missing_files(root)
    if missing:
        raise ArrangeError("the source: found no %s; needed all of them; complete the checkout that dockyard_source_oura names" % ", ".join(missing))
    problems = digest_problems(root, expected)
    native = native_files(root)
    if problems:
        now = " ".join("%s=%s" % (path, sha256(os.path.join(root, path))) for path in sorted(set(expected) | set(["parser_bridge_android"]))
                       if os.path.isfile(os.path.join(root, path)))
        raise ArrangeError("native files of the source: %s. If you trust these files, set OURA_NATIVE_DIGESTS in dockyard_settings_oura to: %s"
                           % ("; ".join(problems), now))
    for path in native:
        print("%s  %s%s" % (sha256(os.path.join(root, path)), path, "" if path in expected else "  (not in the list of digests)"))
    application = os.path.join(target, "app")
    copy(root, application, MODULES + NATIVE_FOLDERS + PROGRAMS)
    copy(root, os.path.join(target, "backend"), ("webapp/backend",))
    copy(os.path.join(root, "webapp"), target, ("frontend",))
    for item in restore(application):
        print("mended %s" % item)
    for name in EDITS:
        for path, count in edit(target, name).items():
            print("edit %s: %s, %d" % (name, path, count))
    with open(os.path.join(root, "requirements.docker.txt"), encoding="utf-8") as stream:
        wanted, torch = requirement_lists(stream.read(), extra)
    for name, lines in (("requirements.txt", wanted), ("torch.txt", [torch])):
        with open(os.path.join(target, name), "w", encoding="utf-8") as stream:
            stream.write("".join(line + "\n" for line in lines))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the build's context")
    parser.add_argument("target", help="folder to fill")
    parser.add_argument("digests", help="expected digests; empty for those of native.sha256")
    options = parser.parse_args(argv)
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        digests = options.digests
        if not digests.strip():
            with open(os.path.join(here, "native.sha256"), encoding="utf-8") as stream:
                digests = stream.read()
        with open(os.path.join(here, "requirements.txt"), encoding="utf-8") as stream:
            extra = stream.read()
        arrange(options.source, options.target, parse_digests(digests), extra)
    except ArrangeError as error:
        print("oura recipe: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
