# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of Debian packages and the libraries that they load, as a tree to lay over an image of any architecture.

apt resolves and downloads as if it ran in that image, the packages are unpacked, and the programs' libraries are followed by what their
ELF headers need. Nothing of the other architecture is run, so that a build for it costs no emulation here. Each package that gave
something leaves its entry for scanners (dpkg/status.d) and its copyright file. Runs in a build stage only (Python 3.11, Debian).
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import struct
import subprocess
import sys

# TARGETARCH of BuildKit: (architecture of Debian, its folder of libraries).
ARCHITECTURES = {"amd64": ("amd64", "x86_64-linux-gnu"), "arm64": ("arm64", "aarch64-linux-gnu"), "arm": ("armhf", "arm-linux-gnueabihf")}
WORK = "/tmp/debian-tree"

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29


class TreeError(Exception):
    """The packages are not what this recipe was written for."""


def elf_needs(data):
    """What a program or library asks the loader for.

    :arg data: bytes of the file.
    :returns: (list of names, list of search folders), or None when it is no dynamic little-endian ELF file.
    """
    if data[:4] != b"\x7fELF" or data[5:6] != b"\x01":
        return None
    wide = data[4] == 2
    table, = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    loads, dynamic = [], None
    for index in range(count):
        at = table + index * size
        if wide:
            kind, _flags, offset, address, _physical, length = struct.unpack_from("<IIQQQQ", data, at)
        else:
            kind, offset, address, _physical, length = struct.unpack_from("<IIIII", data, at)
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, length)
    if dynamic is None:
        return None
    entry = "<qQ" if wide else "<iI"
    entries = list(struct.iter_unpack(entry, data[dynamic[0]:dynamic[0] + dynamic[1] // struct.calcsize(entry) * struct.calcsize(entry)]))
    strings = next(value for tag, value in entries if tag == _DT_STRTAB)
    start = next(offset + strings - address for address, offset, length in loads if address <= strings < address + length)

    def text(value):
        return data[start + value:data.index(b"\0", start + value)].decode()

    names = [text(value) for tag, value in entries if tag == _DT_NEEDED]
    folders = [folder for tag, value in entries if tag in (_DT_RPATH, _DT_RUNPATH) for folder in text(value).split(":")]
    return names, folders


def plain(path):
    """A path with /lib as the /usr/lib that it is."""
    return "/usr" + path if path.startswith(("/lib/", "/bin/", "/sbin/")) else path


def find(name, folders, tree, triplet):
    """Where a library is, and where it goes.

    :arg folders: list of str that its user names. :arg tree: dict of plain path to file.
    :returns: (file, plain path in the image), or None when no package brought it.
    """
    for folder in [*folders, "/usr/lib/" + triplet, "/usr/lib"]:
        path = plain(os.path.normpath(os.path.join(folder, name)))
        if path in tree:
            return tree[path], path
    # BLAS and LAPACK lie in folders of their own until the package manager has chosen among alternatives.
    below = sorted(path for path in tree if path.startswith("/usr/lib/%s/" % triplet) and os.path.basename(path) == name)
    return (tree[below[0]], "/usr/lib/%s/%s" % (triplet, name)) if below else None


def in_base(name, base, triplet):
    """Whether the image has a library already."""
    return any(os.path.exists(os.path.join(base, folder, name)) for folder in ("usr/lib/" + triplet, "usr/lib", "usr/lib64", "usr/local/lib"))


def closure(wanted, tree, base, triplet):
    """Files of the tree that these programs need, themselves included.

    :arg wanted: list of plain paths.
    :returns: dict of plain path in the image to file.
    :raises TreeError: a library is nowhere.
    """
    taken, waiting, lost = {}, [(path, tree[path]) for path in wanted], set()
    while waiting:
        path, file = waiting.pop()
        if path in taken:
            continue
        taken[path] = file
        with open(file, "rb") as stream:
            data = stream.read()
        names, folders = elf_needs(data) or ([], [])
        folders = [folder.replace("$ORIGIN", os.path.dirname(path)).replace("${ORIGIN}", os.path.dirname(path)) for folder in folders]
        for name in names:
            found = find(name, folders, tree, triplet)
            if found:
                waiting.append((found[1], found[0]))
            elif not in_base(name, base, triplet):
                lost.add(name)
    if lost:
        raise TreeError("neither the packages nor the image have: %s" % ", ".join(sorted(lost)))
    return taken


def download(packages, architecture, base, ca):
    """The packages and what they need beyond those of the image.

    :returns: sorted list of .deb files.
    """
    for folder in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(WORK, folder), exist_ok=True)
    settings = os.path.join(WORK, "apt.conf")
    lines = ['APT::Architecture "%s";' % architecture, 'APT::Architectures { "%s"; };' % architecture, 'Dir::State::lists "%s/lists";' % WORK,
             'Dir::State::status "%s/var/lib/dpkg/status";' % base, 'Dir::State::extended_states "%s/extended_states";' % WORK,
             'Dir::Cache "%s";' % WORK, 'Dir::Cache::archives "archives";', 'APT::Sandbox::User "root";', 'Acquire::Retries "3";']
    if ca and os.path.exists(ca) and os.path.getsize(ca):
        lines.append('Acquire::https::CAInfo "%s";' % ca)
    with open(settings, "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    environment = dict(os.environ, APT_CONFIG=settings, DEBIAN_FRONTEND="noninteractive")
    for words in (["update"], ["install", "--download-only", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-q", *words], env=environment, check=False)
        if done.returncode:
            raise TreeError("apt-get %s for %s ended with %d; its messages are above" % (words[0], architecture, done.returncode))
    return sorted(glob.glob(os.path.join(WORK, "archives", "*.deb")))


def unpack(archives):
    """All packages, each in a folder of its own.

    :returns: (dict of plain path to file with links followed, dict of the same paths to .deb)
    """
    tree, owners = {}, {}
    for archive in archives:
        root = os.path.join(WORK, "roots", os.path.basename(archive))
        os.makedirs(root)
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
        for folder, _folders, names in os.walk(root):
            for name in names:
                file = os.path.join(folder, name)
                path = plain(file[len(root):])
                if os.path.islink(file) and os.path.isabs(os.readlink(file)):
                    file = root + os.readlink(file)
                if os.path.isfile(file):
                    tree[path], owners[path] = os.path.realpath(file), archive
    return tree, owners


def lay(taken, owners, tree, target):
    """Files, package entries and copyright files into target.

    :returns: set of str .deb files that gave something.
    """
    def put(path, file):
        place = target + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copy2(file, place)

    archive_of = {tree[path]: archive for path, archive in owners.items()}
    used = {archive_of[file] for file in taken.values()}
    for path, file in taken.items():
        put(path, file)
    for archive in sorted(used):
        fields = subprocess.run(["dpkg-deb", "-f", archive], check=True, stdout=subprocess.PIPE, text=True).stdout
        name = fields.split("Package:", 1)[1].split()[0]
        entry = os.path.join(target, "var/lib/dpkg/status.d", name)
        os.makedirs(os.path.dirname(entry), exist_ok=True)
        with open(entry, "w", encoding="utf-8") as stream:
            stream.write(fields.replace("Package: %s\n" % name, "Package: %s\nStatus: install ok installed\n" % name, 1))
        copyright_file = "/usr/share/doc/%s/copyright" % name
        if copyright_file in tree:
            put(copyright_file, tree[copyright_file])
    return used


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", required=True, choices=sorted(ARCHITECTURES), help="TARGETARCH of BuildKit")
    parser.add_argument("--base", required=True, help="root of the image that the tree will be laid over")
    parser.add_argument("--target", required=True)
    parser.add_argument("--ca", help="PEM bundle for https mirrors")
    parser.add_argument("--program", action="append", default=[], help="path that the image shall have, with its libraries")
    parser.add_argument("--folder", action="append", default=[], help="folder that the image shall have whole, with {triplet}")
    parser.add_argument("packages", nargs="+")
    options = parser.parse_args(argv)
    architecture, triplet = ARCHITECTURES[options.architecture]
    try:
        tree, owners = unpack(download(options.packages, architecture, options.base, options.ca))
        folders = ["/%s/" % folder.format(triplet=triplet).strip("/") for folder in options.folder]
        wanted = options.program + sorted(path for path in tree if path.startswith(tuple(folders)))
        missing = [path for path in options.program if path not in tree] + [folder for folder in folders if not any(path.startswith(folder) for path in tree)]
        if missing:
            raise TreeError("%s: found no %s; needed the packages of Debian 12" % (" ".join(options.packages), " and no ".join(missing)))
        taken = closure(wanted, tree, options.base, triplet)
        used = lay(taken, owners, tree, options.target)
        megabytes = sum(os.path.getsize(file) for file in taken.values()) / 1e6
        print("%s for %s: %d files of %d packages, %.0f MB" % (" ".join(options.packages), architecture, len(taken), len(used), megabytes))
    except TreeError as error:
        print("stream_checker recipe: %s" % error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
