# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a verified object where it is wanted: whole, at once, with its owner and mode."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import os
import pwd
import stat

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.blocks import FULL, Sink
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import problem, refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import lstat, sync_folder

# linux/fs.h: _IOW(0x94, 9, int). The same number on all architectures that Docker runs on, but powerpc, mips and sparc.
_FICLONE = 0x40049409
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}


def user_id(owner):
    """uid (int) of a name or number (str), None for None. Raises KeyError."""
    if owner is None:
        return None
    return int(owner) if str(owner).isdigit() else pwd.getpwnam(owner).pw_uid


def group_id(group):
    """gid (int) of a name or number (str), None for None. Raises KeyError."""
    if group is None:
        return None
    return int(group) if str(group).isdigit() else grp.getgrnam(group).gr_gid


class Target:
    """A path that gets a file: owner and group as numbers (None: who runs this), mode as number."""

    def __init__(self, path, mode, uid=None, gid=None):
        self.path, self.mode = path, mode
        self.uid = os.geteuid() if uid is None else uid
        self.gid = os.getegid() if gid is None else gid

    def owned(self, status):
        """Whether a file has this owner, group and mode."""
        return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (self.uid, self.gid, self.mode)


class Placer:
    """Places objects. ``method``: auto, reflink, hardlink or copy. Raises ArtifactsError, OSError.

    With auto only what nobody writes to is linked (``linked``: sets are mounted read-only): a program that changes its link would change the object.
    """

    def __init__(self, method="auto"):
        self.method = method
        self.hashed = 0

    def place(self, source, target, digest, linked=False):
        """Put the object at path ``source`` to a Target. Returns (how, os.stat_result of the new file). What was at the target stays until then."""
        folder = os.path.dirname(target.path)
        # One name for one target, so that what a killed run left is used up by the next.
        temporary = os.path.join(folder, ".dockyard-%s.tmp" % hashlib.sha256(os.fsencode(os.path.basename(target.path))).hexdigest()[:16])
        _remove(temporary)
        try:
            how, made = self._bring(source, temporary, target, digest, linked)
            os.rename(temporary, target.path)
            status = os.lstat(target.path)
            # In a folder of somebody else another file may have been put there under the name.
            if (status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns) != (made.st_ino, made.st_dev, made.st_size, made.st_mtime_ns):
                raise refuse(target.path, "another file than the one that was placed", "a folder in which nobody changes files meanwhile", "the destination")
        except OSError as exc:
            _remove(temporary)
            raise fault(target.path, exc) from exc
        except BaseException:
            _remove(temporary)
            raise
        # Renaming one link of a file over another of it leaves both.
        _remove(temporary)
        sync_folder(folder)
        return how, status

    def _bring(self, source, temporary, target, digest, linked):
        """(how, os.stat_result of what was made)."""
        if self.method in ("auto", "reflink"):
            made = self._reflink(source, temporary, target)
            if made:
                return "reflink", made
        if self.method == "reflink":
            raise refuse(target.path, "a file system that can't share blocks between files", "btrfs or xfs with reflink, the same as the store's", "method")
        if self.method == "hardlink" or self.method == "auto" and linked:
            status = os.lstat(source)
            if target.owned(status):
                try:
                    os.link(source, temporary, follow_symlinks=False)
                    return "hardlink", os.lstat(source)
                except OSError as exc:
                    if exc.errno not in _NO_LINK or self.method == "hardlink":
                        raise
            elif self.method == "hardlink":
                raise refuse(target.path, "a wish for mode %04o and owner %d:%d" % (target.mode, target.uid, target.gid),
                             "those of the store, %04o and %d:%d: links share them" % (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid), "method")
        return "copy", self._copy(source, temporary, target, digest)

    @staticmethod
    def _dress(descriptor, target):
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (target.uid, target.gid):
            os.fchown(descriptor, target.uid, target.gid)
        os.fchmod(descriptor, target.mode)
        os.fsync(descriptor)
        return os.fstat(descriptor)

    def _reflink(self, source, temporary, target):
        with open(source, "rb") as reading:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.ioctl(descriptor, _FICLONE, reading.fileno())
                return self._dress(descriptor, target)
            except OSError as exc:
                if exc.errno not in _NO_REFLINK:
                    raise
            finally:
                os.close(descriptor)
        os.unlink(temporary)
        return None

    def _copy(self, source, temporary, target, digest):
        """A copy is hashed while it is made: a fault of memory or disk between the store and here is found."""
        algorithm, wanted = split_digest(digest)
        sink = Sink(temporary, algorithm, where=target.path, setting="the destination's free space", exclusive=True)
        try:
            with open(source, "rb", buffering=0) as reading:
                while True:
                    view = sink.buffer()
                    count = reading.readinto(view)
                    if not count:
                        sink.give_back(view)
                        break
                    sink.put(view, count)
            self.hashed += sink.size
            if sink.hexdigest() != wanted:
                raise refuse(target.path, "%s:%s in the store, which was %s before" % (algorithm, sink.hexdigest(), digest), "a store that nobody changes",
                             "verify: always")
            return self._dress(sink.descriptor, target)
        finally:
            sink.close()


def destination_problems(path, store_path, where, setting):
    """What speaks against a single file at an absolute path ([problem]); looks only."""
    def one(found, needed):
        return [problem("%s, destination %s" % (where, path), found, needed, setting)]

    if not path.startswith("/") or path != os.path.normpath(path) or path.startswith("//") or "\0" in path:
        return one("no absolute, plain path", "an absolute path without .. or a slash at its end")
    if path == store_path or path.startswith(store_path.rstrip("/") + "/"):
        return one("a place in the store itself", "a path outside of %s" % store_path)
    parts, folder = path.split("/")[1:-1], ""
    for part in parts:
        folder = "%s/%s" % (folder, part)
        status = lstat(folder)
        if status is None:
            break
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
            return one("a symbolic link %s of user %d" % (folder, status.st_uid), "folders, or links that root made")
        if not os.path.isdir(folder):
            return one("%s, which is no folder" % folder, "a folder")
    status = lstat(path)
    if status is not None:
        if stat.S_ISLNK(status.st_mode):
            real, home = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
            if not real.startswith(home.rstrip("/") + "/"):
                return one("a symbolic link out of its folder, to %s" % os.readlink(path), "a file or nothing")
        elif not stat.S_ISREG(status.st_mode):
            return one("a %s" % _kind(status.st_mode), "a file or nothing")
    above = os.path.dirname(path)
    while lstat(above) is None:
        above = os.path.dirname(above)
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        return one("a read-only file system", "one that can be written")
    if not os.access(above, os.W_OK | os.X_OK):
        return one("%s, which user %d can't write" % (above, os.geteuid()), "a folder that can be written")
    return []


def make_folders(path):
    """Missing folders above a destination, 0755. Raises ArtifactsError."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        make_folders(folder)
        try:
            os.mkdir(folder, 0o755)
            os.chmod(folder, 0o755)
        except FileExistsError:
            pass
        except OSError as exc:
            raise fault(path, exc) from exc


def fault(path, exc):
    """The ArtifactsError for an OSError at a destination."""
    if exc.errno in FULL:
        return refuse(path, "no space left (%s)" % exc.strerror, "enough free space; what was there before is unchanged", "free space, or another destination")
    if exc.errno == errno.EROFS:
        return refuse(path, "a read-only file system", "one that can be written", "the destination, or the option store")
    return refuse(path, "a path that can't be written (%s)" % exc.strerror, "a destination that can be written", "the destination, or become")


def _kind(mode):
    for test, name in ((stat.S_ISDIR, "folder"), (stat.S_ISBLK, "block device"), (stat.S_ISCHR, "device"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket")):
        if test(mode):
            return name
    return "special file"


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
