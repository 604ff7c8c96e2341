# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files out of archives, as streams. Nothing is unpacked to a path that an archive names, and links are never followed."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
import zlib

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import printable

_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_NEEDED = "tar, tar.gz, tar.bz2, tar.xz or zip, not encrypted"


class MemberFault(Exception):
    """Why a file can't be had from an archive: ``found`` and ``needed``."""

    def __init__(self, found, needed):
        self.found, self.needed = found, needed
        super().__init__(found)


def read_members(path, wanted, take):
    """Give the members of an archive to ``take``, in one pass over it.

    :param path: the archive: tar (also gzip, bzip2, xz) or zip, told by its content.
    :param wanted: set of member names; it shrinks by each that ``take`` accepts.
    :param take: function of a member's name, its size and a readable stream; returns whether that was the right one (a name may come twice in a tar).
    :raises MemberFault: when it can't be read, or a wanted member is no plain file. Members that are not there stay in ``wanted``.
    """
    with open(path, "rb") as handle:
        magic = handle.read(4)
        handle.seek(0)
        try:
            if magic in (_ZIP, _EMPTY_ZIP):
                _zip(handle, wanted, take)
            else:
                _tar(handle, wanted, take)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError) as exc:
            raise MemberFault("an archive that can't be read (%s)" % printable(str(exc) or type(exc).__name__), _NEEDED) from exc
        except OSError as exc:
            if exc.errno is None:  # gzip and bz2 raise it for bad data
                raise MemberFault("an archive that can't be read (%s)" % printable(str(exc)), _NEEDED) from exc
            raise


def _clean(name):
    return posixpath.normpath(name)


def _tar(handle, wanted, take):
    by_name = {_clean(name): name for name in wanted}
    refused = {}
    with tarfile.open(fileobj=handle, mode="r|*", bufsize=1 << 20) as archive:
        for member in archive:
            name = by_name.get(_clean(member.name))
            if name not in wanted:
                continue
            if not member.isreg():
                refused[name] = "a %s" % ("link" if member.issym() or member.islnk() else "folder" if member.isdir() else "device")
                continue
            if take(name, member.size, archive.extractfile(member)):
                wanted.discard(name)
                refused.pop(name, None)
                if not wanted:
                    return
    for name, what in refused.items():
        raise MemberFault("%s instead of the file %s" % (what, printable(name)), "a plain file")


def _zip(handle, wanted, take):
    with zipfile.ZipFile(handle) as archive:
        by_name = {_clean(info.filename): info for info in archive.infolist()}
        for name in sorted(wanted):
            info = by_name.get(_clean(name))
            if info is None:
                continue
            # The upper half of the attributes is the file's Unix mode; a link is one whose content is a path.
            kind = info.external_attr >> 28
            if info.is_dir() or (info.create_system == 3 and kind not in (0, 8)):
                raise MemberFault("a %s instead of the file %s" % ("folder" if info.is_dir() else "link or device", printable(name)), "a plain file")
            with archive.open(info) as stream:
                if take(name, info.file_size, stream):
                    wanted.discard(name)
