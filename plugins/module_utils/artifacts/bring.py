# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the content that is missing into the store, from wherever it can be had."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import signal
import stat
import threading
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import wanted
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.blocks import FULL, Hasher, Sink, WriteBack, free_bytes, hash_file, RESERVE_BYTES
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.download import Fault, Fetcher, Web
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, problem, redact, refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import lstat

# How often a file that somebody else is still writing is looked at.
_FOLLOW_S = 0.01
# How long the sender of a complete file may take to close it.
_CLOSE_S = 5.0
_SOURCES = "the sources of this file in its manifest"


def each(items, work, count):
    """Call ``work`` with each item, ``count`` at once. The first exception is raised when all have ended."""
    items = list(items)
    if count <= 1 or len(items) <= 1:
        for item in items:
            work(item)
        return
    line, failed = queue.SimpleQueue(), []
    for item in items:
        line.put(item)

    def labour():
        while not failed:
            try:
                item = line.get_nowait()
            except queue.Empty:
                return
            try:
                work(item)
            except BaseException as exc:  # pylint: disable=broad-except  # told to who called
                failed.append(exc)

    threads = [threading.Thread(target=labour, daemon=True) for unused in range(min(count, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


class Bringer:
    """Fetches and verifies for one run. ``options`` are the module's; ``reporter`` tells the progress.

    ``fetched``, ``hashed`` and ``reused`` are the bytes so far. ``digest_of`` ({name of a file: its digest}) is needed for archives.
    """

    def __init__(self, store, options, mirrors, reporter, sleep=time.sleep, clock=time.monotonic):
        self.store, self.options, self.mirrors, self.reporter = store, options, mirrors, reporter
        self._sleep, self._clock = sleep, clock
        web = Web(options["connect_timeout_seconds"], options["stall_timeout_seconds"], options["ca_certificate"] or None)
        self._fetcher = Fetcher(web, options["retries"], sleep, clock)
        self._count_lock = threading.Lock()
        self.digest_of = {item["name"]: item["digest"] for item in options["files"]}
        self.fetched = self.hashed = self.reused = 0
        self.parallel = max(1, options["parallel"])
        self._threaded, self._grown = True, clock()

    def _counted(self, fetched=0, hashed=0, reused=0):
        with self._count_lock:
            self.fetched, self.hashed, self.reused = self.fetched + fetched, self.hashed + hashed, self.reused + reused

    def _set_threads(self, count):
        # With a file for each core a second thread for its hash brings nothing.
        self._threaded = min(count, self.parallel) < (os.cpu_count() or 1)

    # ---- reading what is there ------------------------------------------------------------------------------------------

    def verify(self, contents, record=True):
        """Read objects whose content is not known; ``state`` of each is then "verified" or "wrong" (``found`` has its digest)."""
        self._set_threads(len(contents))
        for content in contents:
            self.reporter.add("verify %s" % content.name, content.found_size)

        def one(content):
            label, path = "verify %s" % content.name, self.store.object_path(content.digest)
            algorithm, digits = split_digest(content.digest)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:  # check mode holds no lock
                content.state = "missing"
                return
            try:
                before = os.fstat(descriptor)
                try:
                    found, size = hash_file(descriptor, algorithm, self._threaded, lambda count: self.reporter.advance(label, count))
                except OSError as exc:  # a sector that can't be read is a fault of the content
                    found, size = "unreadable (%s)" % exc.strerror, before.st_size
                self._counted(hashed=size)
                after = os.fstat(descriptor)
                content.found_size = size
                if found == digits and (before.st_ctime_ns, before.st_size) == (after.st_ctime_ns, after.st_size):
                    content.state = "verified"
                    if record:
                        self._own(descriptor)
                        self.store.write_receipt(content.digest, os.fstat(descriptor))
                else:
                    content.state, content.found = "wrong", "%s:%s" % (algorithm, found)
                    if record:
                        self.store.drop_receipt(content.digest)
            finally:
                os.close(descriptor)
            self.reporter.done(label, "" if content.state == "verified" else "wrong")

        each(contents, one, self.parallel)

    @staticmethod
    def _own(descriptor):
        status = os.fstat(descriptor)
        if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (0, 0):
            os.fchown(descriptor, 0, 0)
        if stat.S_IMODE(status.st_mode) != 0o444:
            os.fchmod(descriptor, 0o444)

    def matches(self, path, digest):
        """Whether the file at a path has this content (bool); it is read."""
        algorithm, digits = split_digest(digest)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            found, size = hash_file(descriptor, algorithm)
            self._counted(hashed=size)
            return found == digits
        except OSError as exc:
            if exc.errno == errno.EIO:
                return False
            raise
        finally:
            os.close(descriptor)

    # ---- fetching -------------------------------------------------------------------------------------------------------

    def partial_size(self, content):
        """Bytes of an earlier download that are there (int)."""
        status = lstat(self.store.partial_path(content.digest))
        return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0

    def missing_bytes(self, content):
        """Bytes that would have to be fetched (int); None when nobody knows."""
        if content.expected is None:
            return None
        partial = self.partial_size(content)
        return max(0, content.expected - partial) if partial <= content.expected else content.expected

    def bytes_to_fetch(self, content):
        """As missing_bytes(); what comes out of an archive is not fetched itself."""
        packed = content.sources and all("archive" in source for source in content.sources) and not self.mirrors
        return 0 if packed else self.missing_bytes(content)

    def fetch(self, contents):
        """Bring all of these into the store. Each gets ``outcome`` fetched or missing (then ``problem`` says why)."""
        direct = [content for content in contents if any("archive" not in source for source in content.sources) or self.mirrors or content.suspects]
        rest = [content for content in contents if content not in direct]
        direct.sort(key=lambda content: -(content.expected or 0))
        for content in direct + rest:
            self.reporter.add(content.name, content.expected)
        self._set_threads(len(direct))
        with _signals_of_leases():
            each(direct, self._fetch_one, self.parallel)
        self._from_archives([content for content in contents if content.outcome != "fetched"])
        for content in contents:
            if content.outcome != "fetched" and content.problem is None:
                content.problem = problem(self._where(content), "no source", "at least one source, or a mirror that has it", _SOURCES)

    @staticmethod
    def _where(content):
        return "file %s" % ", ".join(item["name"] for item in content.files)

    def _fetch_one(self, content):
        try:
            self._try_sources(content)
        finally:
            if content.sink is not None:
                content.sink.close()
                content.sink = None

    def _try_sources(self, content):
        faults = []
        for label, attempt in self._attempts(content):
            try:
                attempt()
                content.outcome, content.source, content.problem = "fetched", label, None
                self._tidy(content)
                self.reporter.done(content.name)
                return
            except Fault as fault:
                faults.append((label, fault))
                self.reporter.set(content.name, 0, note="%s: %s" % (label, fault.found))
            except ArtifactsError as exc:  # the disk: no other source helps
                content.outcome, content.problem = "missing", exc.problems[0]
                return
        content.outcome = "missing"
        self._blame(content, faults)

    def _tidy(self, content):
        """What other ways to the same content left half done is of no use any more."""
        for suffix in ("", ".1", ".push"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.store.partial_path(content.digest) + suffix)

    def _blame(self, content, faults):
        # A mirror that does not have it is no news.
        told = [item for item in faults if item[1].kind != "absent" or not item[0].startswith("mirror ")] or faults
        if not told:
            return
        found = "; ".join("%s: %s" % (label, fault.found) for label, fault in told)
        needed = list(dict.fromkeys(fault.needed for unused, fault in told))
        settings = list(dict.fromkeys(fault.setting or _SOURCES for unused, fault in told))
        content.problem = problem(self._where(content), found, "; ".join(needed), "; ".join(settings))

    def _attempts(self, content):
        """(label, function) of each source in the order in which they are tried: what is on this host, mirrors, the rest."""
        for path in content.suspects:
            yield path, lambda path=path: self._take(content, {"path": path, "keep": True})
        for source in content.sources:
            if "path" in source:
                yield source["path"], lambda source=source: self._take(content, source)
        algorithm, digits = split_digest(content.digest)
        for base in self.mirrors:
            parts = redact(base).split("/")
            url = "%s/%s/%s/%s" % (base, algorithm, digits[:2], digits)
            yield "mirror %s" % "/".join(parts[:3]), lambda url=url: self._download(content, {"url": url})
        for source in content.sources:
            if "url" in source:
                yield redact(source["url"]), lambda source=source: self._download(content, source)

    def _download(self, content, source):
        opened = _OpenSink(self, content)
        with opened as sink:
            if not opened.started:
                self._counted(reused=sink.resume(content.size, lambda count: self._counted(hashed=count)))
            received = [0]

            def advance(count):
                received[0] += count
                self.reporter.advance(content.name, count)

            def began(position, total):
                self.reporter.set(content.name, position, total)
                if content.size is None and total is not None:  # only now is its size known
                    problems = space_problems({self.store.path: total - position})
                    if problems:
                        raise ArtifactsError([dict(problems[0], where="%s, %s" % (self._where(content), problems[0]["where"]))])

            try:
                self._fetcher.fill(sink, source["url"], content.digest, content.size, source.get("headers"), advance, began)
            finally:
                self._counted(fetched=received[0], hashed=received[0])
            sink.sync()
            self.store.adopt(sink.descriptor, sink.path, content.digest, sink.size)

    def _take(self, content, source):
        """A file that is on this host: moved into the store, or copied when it has to stay or is elsewhere. One pass over it."""
        path, size = source["path"], source["size"] if source.get("follow") else None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as exc:
            kind = "absent" if exc.errno == errno.ENOENT else "final"
            raise Fault(kind, "a file that can't be opened (%s)" % exc.strerror, "a plain file", "the source's path") from exc
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Fault("final", "no plain file", "a plain file", "the source's path")
            # A file with a second name would stay in somebody else's hands, and get the store's owner and mode there.
            move = not source.get("keep") and status.st_nlink == 1 and status.st_dev == os.stat(self.store.path).st_dev
            if move:
                count = self._matching(content, path, *self._follow(descriptor, content, size))
                leased = self._leased(descriptor)
                move = leased is not False
            else:
                count = None
            after = os.fstat(descriptor)
            if size is None and _times(after) != _times(status):
                raise Fault("final", "a file that somebody changed while it was read", "nobody who writes to it meanwhile", "the source's path")
            if move:
                self._adopt(descriptor, path, content, count)
                # Who came to write meanwhile waits in the kernel and gets this file when it is closed: he may have it, the object is another then.
                # It has lost its name by now, so nobody can come after the question.
                if leased and fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
                    self.store.drop_receipt(content.digest)
                    os.unlink(self.store.object_path(content.digest))
                    self._copy_in(descriptor, path, content, size)
            else:
                self._copy_in(descriptor, path, content, size)
        finally:
            os.close(descriptor)  # and its lease with it
        if not move and not source.get("keep"):
            os.unlink(path)

    def _copy_in(self, descriptor, path, content, size):
        sink = Sink(self.store.partial_path(content.digest) + ".1", split_digest(content.digest)[0], True, self._where(content))
        try:
            sink.restart()
            try:
                count = self._matching(content, path, *self._follow(descriptor, content, size, sink))
            except Fault:
                sink.remove()
                raise
            sink.sync()
            self._adopt(sink.descriptor, sink.path, content, count)
        finally:
            sink.close()

    def _adopt(self, descriptor, path, content, count):
        try:
            self.store.adopt(descriptor, path, content.digest, count)
        except ArtifactsError as exc:  # somebody changed it: another source may be better
            told = exc.problems[0]
            raise Fault("final", told["found"], told["needed"], told["setting"]) from exc

    def _matching(self, content, path, found, count):
        """``count`` when a file has the wanted digest. A wrong upload is removed, other files are somebody's."""
        algorithm, digits = split_digest(content.digest)
        if found == digits:
            return count
        if os.path.dirname(path) == os.path.join(self.store.path, "partial"):
            os.unlink(path)
        raise Fault("digest", "%s:%s (%d bytes)" % (algorithm, found, count),
                    "%s (%s)" % (content.digest, "size not given" if content.size is None else "%d bytes" % content.size), "the source's path")

    def _leased(self, descriptor):
        """Whether nobody has a file open for writing (bool); somebody who is just about to close it is waited for.

        A read lease tells: the kernel grants it only then. Where there are none (other systems, network file systems) the answer is None.
        """
        if not hasattr(fcntl, "F_SETLEASE"):
            return None
        end = self._clock() + _CLOSE_S
        while True:
            try:
                fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
                return True
            except OSError as exc:
                if exc.errno != errno.EAGAIN:
                    return None
            if self._clock() >= end:
                return False
            self._sleep(_FOLLOW_S)

    def _follow(self, descriptor, content, size, sink=None):
        """(hex digest, bytes) of a file that may still grow up to ``size``; it is copied to ``sink`` when there is one."""
        hasher = sink or Hasher(split_digest(content.digest)[0], True)
        position, back = 0, WriteBack(descriptor)
        self._grown = max(self._grown, self._clock())
        while size is None or position < size:
            view = hasher.buffer()
            count = os.preadv(descriptor, [view if size is None else view[:size - position]], position)
            if count:
                hasher.put(view, count) if sink else hasher.feed(view, count)  # pylint: disable=expression-not-assigned
                position, self._grown = position + count, self._clock()
                back.wrote(count)
                self._counted(hashed=count)
                self.reporter.advance(content.name, count)
                continue
            hasher.give_back(view)
            if size is None:
                break
            # The sender sends one file after another: any of them that grows is a sign of life.
            if self._clock() - self._grown > self.options["stall_timeout_seconds"]:
                hasher.close()
                raise Fault("final", "a file that stopped growing at %d of %d bytes" % (position, size), "all of it", "stall_timeout_seconds")
            self._sleep(_FOLLOW_S)
        return hasher.hexdigest(), position

    # ---- archives -------------------------------------------------------------------------------------------------------

    def _from_archives(self, contents):
        """Members of archives, in one pass over each archive; an archive may be a member of another."""
        tried = set()
        while True:
            groups = {}
            for content in contents:
                for source in content.sources if content.outcome != "fetched" else ():
                    digest = source.get("archive") and self.digest_of[source["archive"]]
                    if digest and (content.digest, digest, source["member"]) not in tried and self.store.state(digest)[0] == "verified":
                        tried.add((content.digest, digest, source["member"]))
                        groups.setdefault((digest, source["archive"]), {}).setdefault(source["member"], []).append(content)
            if not groups:
                break
            for (digest, name), members in groups.items():
                self._extract(digest, name, members)
        for content in contents:
            archives = [source["archive"] for source in content.sources if "archive" in source]
            if archives and content.outcome != "fetched" and content.problem is None:
                content.outcome = "missing"
                content.problem = problem(self._where(content), "the archive %s is missing" % ", ".join(archives), "the archive", _SOURCES)

    def _extract(self, digest, archive, members):
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.members import (  # pylint: disable=import-outside-toplevel  # slow to import
            MemberFault, read_members,
        )

        last = {}

        def take(member, size, stream):
            got = [self._from_stream(content, archive, member, size, stream, last) for content in members[member][:1]]
            # Two contents can't come out of one member.
            return all(got)

        wanted_names = set(members)
        try:
            read_members(self.store.object_path(digest), wanted_names, take)
            fault = None
        except MemberFault as exc:
            fault = exc
        for member in wanted_names:
            for content in members[member]:
                if content.outcome == "fetched":
                    continue
                content.outcome = "missing"
                label = "%s in %s" % (member, archive)
                if fault:
                    content.problem = problem(self._where(content), "%s: %s" % (archive, fault.found), fault.needed, _SOURCES)
                else:
                    content.problem = last.get(content.digest) or problem(self._where(content), "no %s" % label, "a member of the archive with this name",
                                                                          _SOURCES)

    def _from_stream(self, content, archive, member, size, stream, last):
        label = "%s in %s" % (member, archive)
        if content.size is not None and size != content.size:
            last[content.digest] = problem(self._where(content), "%s: %d bytes" % (label, size), "%d bytes" % content.size,
                                           "the size in the manifest, or the archive")
            return False
        algorithm, digits = split_digest(content.digest)
        sink = Sink(self.store.partial_path(content.digest) + ".1", algorithm, True, self._where(content))
        try:
            sink.restart()
            self.reporter.set(content.name, 0, size)
            while True:
                view = sink.buffer()
                count = stream.readinto(view)
                if not count:
                    sink.give_back(view)
                    break
                sink.put(view, count)
                self.reporter.advance(content.name, count)
            self._counted(hashed=sink.size)
            found = sink.hexdigest()
            if found != digits:
                sink.remove()
                last[content.digest] = problem(self._where(content), "%s: %s:%s (%d bytes)" % (label, algorithm, found, sink.size),
                                               "%s (%s)" % (content.digest, "size not given" if content.size is None else "%d bytes" % content.size), _SOURCES)
                return False
            sink.sync()
            self.store.adopt(sink.descriptor, sink.path, content.digest, sink.size)
        except ArtifactsError as exc:
            last[content.digest] = exc.problems[0]
            return False
        finally:
            sink.close()
        content.outcome, content.source, content.problem = "fetched", label, None
        self._tidy(content)
        self.reporter.done(content.name)
        return True


@contextlib.contextmanager
def _signals_of_leases():
    """Who opens a leased file for writing makes the kernel send SIGIO to the holder, which would end it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, old)


def _times(status):
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _OpenSink:
    """The partial file of a content, kept open from source to source: what one mirror gave needs no second reading for the next."""

    def __init__(self, bringer, content):
        self._bringer, self._content = bringer, content
        self.started = content.sink is not None

    def __enter__(self):
        content = self._content
        if not self.started:
            store, bringer = self._bringer.store, self._bringer
            content.sink = Sink(store.partial_path(content.digest), split_digest(content.digest)[0],
                                bringer._threaded, bringer._where(content))  # pylint: disable=protected-access
        return content.sink

    def __exit__(self, kind, value, trace):
        content = self._content
        if isinstance(value, Fault):
            if not content.sink.size:
                content.sink.remove()
                content.sink.close()
                content.sink = None
            return
        content.sink.close()
        content.sink = None


def space_problems(needs):
    """What speaks against writing so much ([problem]).

    :param needs: {path of a folder that is there: bytes}; folders of one file system count together.
    """
    by_device = {}
    for path, count in needs.items():
        entry = by_device.setdefault(os.stat(path).st_dev, [path, 0])
        entry[1] += count
    problems = []
    for path, count in by_device.values():
        free = free_bytes(path)
        if count and free < count + RESERVE_BYTES:
            problems.append(problem(path, "%s free" % wanted.human(free), "%s and %s to spare (what is there of earlier downloads is counted)" % (
                wanted.human(count), wanted.human(RESERVE_BYTES)), "free space there, or the option store"))
    return problems


def disk_problem(where, exc):
    """The problem for an OSError of the store."""
    if exc.errno in FULL:
        return refuse(where, "no space left (%s)" % exc.strerror, "enough free space", "free space, or the option store")
    if exc.errno == errno.EROFS:
        return refuse(where, "a read-only file system", "one that can be written", "the option store")
    return refuse(where, "%s: %s" % (exc.filename or "a file", exc.strerror or exc), "a store that can be written", "the option store, or become")
