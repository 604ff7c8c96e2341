# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing into the destination: always beside the place and renamed into it, and never through a link."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import queue
import threading

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import agent, delta
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import FOLDER, LINK, encoded

FULL = (errno.ENOSPC, errno.EDQUOT)


def split(path):
    """(folder, name) of a relative path."""
    parent, unused, name = path.rpartition("/")
    return parent or ".", name


class Target:
    """The destination. ``owner``: (uid, gid) of everything, or None to keep the numbers."""

    def __init__(self, path, owner=None):
        self.path, self.owner = path, owner
        self.root = agent.Root(path)
        self._work = None
        self._number, self._lock = 0, threading.Lock()

    def close(self):
        """Let go of it."""
        self.root.close()
        if self._work is not None:
            os.close(self._work)

    @contextlib.contextmanager
    def _at(self, path):
        """(descriptor of the folder, name in it)."""
        parent, name = split(path)
        folder = self.root.folder(parent)
        try:
            yield folder, encoded(name)
        finally:
            os.close(folder)

    # -- the place for what is not whole yet ----------------------------------

    def begin(self):
        """An empty place for files that are being written; what a killed run left there goes."""
        self.end()
        os.mkdir(delta.WORK, 0o700, dir_fd=self.root.descriptor)
        self._work = self.root.folder(delta.WORK)

    def end(self):
        """It goes."""
        if self._work is not None:
            os.close(self._work)
            self._work = None
        try:
            folder = self.root.folder(delta.WORK)
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(folder):
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(delta.WORK, dir_fd=self.root.descriptor)

    def forget_partials(self):
        """What rsync kept of files that broke off goes."""
        for entry in reversed(agent.scan(self.root)[0]):
            if delta.is_reserved(entry.path):
                self.remove(entry.path)

    def _new(self):
        with self._lock:
            self._number += 1
            return b"%d" % self._number

    # -- steps ------------------------------------------------------------------

    def remove(self, path):
        """A name goes. A folder has to be empty; one that holds files that are kept stays."""
        with self._at(path) as (folder, name):
            try:
                os.unlink(name, dir_fd=folder)
            except (IsADirectoryError, PermissionError):
                os.rmdir(name, dir_fd=folder)

    def make_folder(self, entry):
        """A folder, closed until it is settled."""
        with self._at(entry.path) as (folder, name):
            os.mkdir(name, 0o700, dir_fd=folder)

    def make_symlink(self, entry):
        """A symbolic link, in place of an older one."""
        beside = self._new()
        os.symlink(encoded(entry.target), beside, dir_fd=self._work)
        self._own(entry, beside, self._work)
        self._place(beside, entry.path)

    def make_hardlink(self, path, leader):
        """Another name for a file, in place of what had it."""
        beside = self._new()
        with self._at(leader) as (folder, name):
            os.link(name, beside, src_dir_fd=folder, dst_dir_fd=self._work, follow_symlinks=False)
        self._place(beside, path)
        # Renaming a name over another one of the same file does nothing at all.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=self._work)

    def _place(self, beside, path):
        with self._at(path) as (folder, name):
            os.rename(beside, name, src_dir_fd=self._work, dst_dir_fd=folder)

    def _own(self, entry, name, folder):
        os.chown(name, *delta.owner_of(entry, self.owner), dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def settle(self, entry):
        """Mode, owner and time of what is there."""
        if entry.path == ".":
            self._settle_open(self.root.descriptor, entry)
            return
        with self._at(entry.path) as (folder, name):
            if entry.kind == LINK:
                self._own(entry, name, folder)
                return
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_DIRECTORY if entry.kind == FOLDER else 0)
            descriptor = os.open(name, flags, dir_fd=folder)
            try:
                self._settle_open(descriptor, entry)
            finally:
                os.close(descriptor)

    def _settle_open(self, descriptor, entry):
        # The owner first: a change of it takes away what gives a program its owner's rights.
        os.fchown(descriptor, *delta.owner_of(entry, self.owner))
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))

    # -- contents ------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, entry):
        """A function of (offset, data or None, length) that writes a file's parts. At the end of the body the file gets its name.

        :raises OSError: of the target; what was there is as it was.
        """
        beside = self._new()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._work)
        end = [0]

        def take(offset, data, count):
            end[0] = offset + count
            while data is not None and len(data):
                written = os.pwrite(descriptor, data, offset)
                data, offset = memoryview(data)[written:], offset + written

        try:
            try:
                yield take
                os.ftruncate(descriptor, end[0])
                self._settle_open(descriptor, entry)
            finally:
                os.close(descriptor)
            self._place(beside, entry.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=self._work)
            raise

    def sync(self):
        """What was written is on the disk. :raises OSError: the disk could not take it."""
        library = ctypes.CDLL(None, use_errno=True)
        if hasattr(library, "syncfs"):
            if library.syncfs(self.root.descriptor) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self.path)
        else:
            os.sync()


def copy_local(source_root, target, entries, advance):
    """Copy files of this host, several at once.

    :returns: (path -> (digest, key), path -> problem with the source). :raises OSError: of the target, the first one.
    """
    due, digests, problems, failed = queue.SimpleQueue(), {}, {}, []
    for entry in entries:
        due.put(entry)

    def work():
        while not failed:
            try:
                entry = due.get_nowait()
            except queue.Empty:
                return
            try:
                try:
                    _copy_one(source_root, target, entry, digests, advance)
                except SourceProblem as error:
                    problems[entry.path] = str(error)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work, name="copy-%d" % number, daemon=True) for number in range(agent.workers())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return digests, problems


class SourceProblem(Exception):
    """A source's file can't be copied as it was seen: it vanished, changed or can't be read."""


def _copy_one(source_root, target, entry, digests, advance):
    with target.writing(entry) as take:
        wrote = []

        def both(offset, data, count):
            try:
                take(offset, data, count)
            except OSError as error:
                wrote.append(error)
                raise
            advance(count)

        try:
            digests[entry.path] = agent.read_file(source_root, entry.path, both)
        except FileNotFoundError as error:
            raise SourceProblem("vanished") from error
        except (OSError, agent.Changed) as error:
            if wrote:
                raise
            raise SourceProblem(getattr(error, "strerror", None) or str(error)) from error


def copy_remote(source, target, entries, advance):
    """Copy files of another host by one stream of them. As copy_local."""
    digests, problems, by_path = {}, {}, {entry.path: entry for entry in entries}
    with source.ask(op="send", paths=list(by_path)) as stream:
        frames = source.frames(stream)
        for document in frames:
            entry = by_path[document["path"]]
            try:
                with target.writing(entry) as take:
                    offset = 0
                    for document in frames:
                        if "problem" in document:
                            raise SourceProblem(document["problem"])
                        if "digest" in document:
                            digests[entry.path] = (document["digest"], document["key"])
                            break
                        count = document.get("data") or document.get("hole")
                        take(offset, source.read(stream, count) if "data" in document else None, count)
                        offset += count
                        advance(count)
            except SourceProblem as error:
                problems[entry.path] = str(error)
    return digests, problems
