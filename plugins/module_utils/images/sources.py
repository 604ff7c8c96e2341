# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import time
from typing import Iterator, NamedTuple, Optional
from urllib.parse import unquote, urlsplit, urlunsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.images.context import Entry, hash_stream, read_chunks, scan_directory
from ansible_collections.dockyard.fleet.plugins.module_utils.images.ignore import Matcher

# Runs on the controller only: the door to the git program and to the cache of sources.
_FULL = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_SHORT = re.compile(r"^[0-9a-f]{7,39}$")
_GIT = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never", "-c", "safe.directory=*", "-c", "gc.auto=0"]
FETCH_TIMEOUT_S = 900
# A git hook that starts Ansible sets these; they would point at the wrong repository.
_OWN_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
# A file whose change time is this close to the moment of reading may change again without its times telling.
_RACY_NS = 2_000_000_000


class GitError(Exception):
    """Git answered with a failure; the text has no credentials."""


class Revision(NamedTuple):
    """A source's commit: its full id (``-dirty`` after it when the files differ), seconds since 1970 or null, URL without credentials or null."""

    commit: str
    committed_s: Optional[int]
    url: Optional[str]


def split_credentials(url: str) -> tuple[str, Optional[tuple[str, str]]]:
    """A URL without its user and password, and null or ``(address that gets the header, HTTP Authorization header)``.

    Other than in a URL, a header given through the environment is in no process's arguments.
    """
    parts = urlsplit(url) if "://" in url else None
    if not parts or parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, None
    user, host = parts.netloc.rsplit("@", 1)
    name, colon, password = user.partition(":")
    token = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")
    return urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment)), (f"{parts.scheme}://{host}/", f"Authorization: Basic {token}")


def redact(text: str) -> str:
    """Text without the user information of any URL in it."""
    return re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", r"\1", text)


def run_git(arguments: list[str], authorization: Optional[tuple[str, str]] = None, timeout_s: int = FETCH_TIMEOUT_S) -> bytes:
    """Git's standard output. It can ask nobody for a password. Raises GitError with its last message lines."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_CONFIG_") and key not in _OWN_REPOSITORY}
    environment.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C", GIT_OPTIONAL_LOCKS="0", GIT_NO_LAZY_FETCH="1")
    if authorization:
        environment.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0=f"http.{authorization[0]}.extraHeader", GIT_CONFIG_VALUE_0=authorization[1])
    try:
        # pylint: disable-next=ansible-bad-function  # runs on the controller too, where there is no AnsibleModule
        done = subprocess.run([*_GIT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=timeout_s,
                              start_new_session=True, check=False)
    except FileNotFoundError as problem:
        raise GitError("the program git is not installed on the controller") from problem
    except subprocess.TimeoutExpired as problem:
        raise GitError(f"git {arguments[-1] if len(arguments) == 1 else arguments[2]} did not end within {timeout_s} s") from problem
    if done.returncode:
        message = redact(done.stderr.decode("utf-8", "replace").strip())
        raise GitError("; ".join(message.splitlines()[-4:]) or f"git ended with {done.returncode}")
    return done.stdout


@contextlib.contextmanager
def exclusive(path: str, timeout_s: float = FETCH_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel lets go of it when the holder dies. Raises TimeoutError naming the holder."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as stream:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as problem:
                if time.monotonic() > deadline:
                    stream.seek(0)
                    raise TimeoutError(f"{path} is held by process {stream.read().strip() or '?'} for more than {timeout_s:.0f} s") from problem
                time.sleep(0.1)
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def write_json(path: str, value: object) -> None:
    """Write beside the place and rename into it."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    os.replace(temporary, path)


def read_json(path: str) -> Optional[object]:
    """What ``write_json`` wrote, or null when it is not there or not whole."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None


class Digests:
    """Content digests of a directory's files, kept between runs and hosts; a file counts as known only when no time or number of it changed."""

    def __init__(self, cache: str, root: str) -> None:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        self._path = os.path.join(cache, "digests", f"{name}.json")
        known = read_json(self._path)
        self._known = known if isinstance(known, dict) else {}
        self._now: dict = {}
        self._read_at_ns = time.time_ns()

    def __call__(self, path: str, status: os.stat_result) -> str:
        mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
        known = self._known.get(path)
        digest = known[1] if known and known[0] == mark else hash_stream(read_chunks(path))
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._read_at_ns - _RACY_NS:
            self._now[path] = [mark, digest]
        return digest

    def save(self) -> None:
        """Keep what was learnt. A cache that cannot be written costs time only."""
        if self._now != self._known:
            with contextlib.suppress(OSError):
                write_json(self._path, self._now)


class DirectorySource:
    """Files of a directory on the controller."""

    def __init__(self, root: str, cache: Optional[str] = None) -> None:
        self.root, self._cache, self.notes = root, cache, []

    def ignore_file(self) -> Optional[str]:
        """The text of the directory's own .dockerignore, or null."""
        path = os.path.join(self.root, ".dockerignore")
        if not os.path.isfile(path):
            return None
        with open(path, encoding="utf-8") as stream:
            return stream.read()

    def scan(self, matcher: Matcher, skip: tuple = ()) -> list[Entry]:
        """See scan_directory."""
        digests = Digests(self._cache, self.root) if self._cache else None
        entries = scan_directory(self.root, matcher, skip, digests)
        if digests:
            digests.save()
        return entries

    def read(self, entry: Entry) -> Iterator[bytes]:
        """A file's content in pieces."""
        return read_chunks(os.path.join(self.root, entry.key))

    def revision(self) -> Optional[Revision]:
        """The commit of the checkout that the directory is in, or null when it is in none or git cannot tell."""
        try:
            commit, committed = run_git(["-C", self.root, "log", "-1", "--no-show-signature", "--format=%H %ct"], timeout_s=60).decode("ascii").split()
            changed = run_git(["-C", self.root, "status", "--porcelain", "--ignore-submodules=all", "--", "."], timeout_s=60).strip()
        except (GitError, ValueError):
            return None
        try:
            url = run_git(["-C", self.root, "remote", "get-url", "origin"], timeout_s=60).decode("utf-8", "replace").strip()
        except GitError:
            url = ""
        return Revision(f"{commit}-dirty" if changed else commit, None if changed else int(committed), redact(split_credentials(url)[0]) or None)


class GitSource:
    """Files of one commit, read from a bare clone in the cache: no checkout, so neither umask nor filters nor hooks change them."""

    def __init__(self, urls: list[str], ref: str, subdirectory: str, cache: str) -> None:
        self.urls, self.ref, self.subdirectory, self._cache = urls, ref, subdirectory.strip("/"), cache
        name = hashlib.sha256(split_credentials(urls[0])[0].encode()).hexdigest()[:32]
        self.repository = os.path.join(cache, "git", f"{name}.git")
        self._commit: Optional[str] = None
        self.notes: list[str] = []

    def _git(self, *arguments: str, authorization: Optional[tuple[str, str]] = None) -> bytes:
        return run_git(["-C", self.repository, *arguments], authorization)

    def _known(self, name: str) -> Optional[str]:
        try:
            return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode("ascii").strip()
        except GitError:
            return None

    def commit(self) -> str:
        """The full id of the commit. A commit id that is in the cache is asked of nobody; a branch or tag is fetched each time.

        Raises GitError: ``fetch: ...`` when no address answered, ``missing: ...`` when the repository has no such commit.
        """
        if self._commit:
            return self._commit
        with exclusive(f"{self.repository}.lock"):
            if not os.path.isdir(os.path.join(self.repository, "objects")):
                os.makedirs(self.repository, mode=0o700, exist_ok=True)
                run_git(["-C", self.repository, "init", "--quiet", "--bare"])
            fixed = _FULL.match(self.ref) or _SHORT.match(self.ref)
            found = self._known(self.ref) if fixed else None
            if not found:
                self._fetch()
                for name in [self.ref] * bool(fixed) + [f"refs/heads/{self.ref}", f"refs/tags/{self.ref}", f"refs/dockyard/{self.ref}"]:
                    found = found or self._known(name)
            if not found:
                raise GitError(f"missing: no commit, tag or branch {self.ref!r}")
        self._commit = found
        return found

    def _fetch(self) -> None:
        problems = []
        for url in self.urls:
            clean, authorization = split_credentials(url)
            if _FULL.match(self.ref):
                # One commit is enough; a server that gives single commits to nobody is asked for everything below.
                with contextlib.suppress(GitError):
                    self._git("fetch", "--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules", "--", clean, self.ref, authorization=authorization)
                    if self._known(self.ref):
                        return
            head = ["+HEAD:refs/dockyard/HEAD"] if self.ref == "HEAD" else []
            whole = ["--unshallow"] if os.path.exists(os.path.join(self.repository, "shallow")) else []
            try:
                self._git("fetch", "--quiet", "--force", "--prune", "--no-recurse-submodules", *whole, "--", clean,
                          "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", *head, authorization=authorization)
            except GitError as problem:
                problems.append(f"{redact(clean)}: {problem}")
                continue
            if not _FULL.match(self.ref) or self._known(self.ref):
                return
        if len(problems) == len(self.urls):
            raise GitError("fetch: " + "; ".join(problems))

    def _tree(self) -> str:
        return f"{self.commit()}:{self.subdirectory}"

    def ignore_file(self) -> Optional[str]:
        """The text of the source's own .dockerignore, or null."""
        path = f"{self.subdirectory}/.dockerignore" if self.subdirectory else ".dockerignore"
        listed = self._git("ls-tree", "-z", self.commit(), "--", path)
        if not listed.startswith(b"100"):
            return None
        return self._git("cat-file", "blob", f"{self.commit()}:{path}").decode("utf-8", "replace")

    def scan(self, matcher: Matcher, skip: tuple = ()) -> list[Entry]:
        """As scan_directory, for the commit's tree. Submodules are left out and noted. Kept in the cache, since a commit never changes."""
        lines = [("!" if pattern.exception else "") + pattern.text for pattern in matcher.patterns]
        key = hashlib.sha256(json.dumps([1, self.commit(), self.subdirectory, lines, skip]).encode()).hexdigest()[:32]
        path = os.path.join(self._cache, "trees", f"{key}.json")
        kept = read_json(path)
        if isinstance(kept, dict):
            self.notes = kept["notes"]
            return [Entry(*entry) for entry in kept["entries"]]
        try:
            listing = self._git("ls-tree", "-r", "-z", "-l", "--full-tree", self._tree())
        except GitError as problem:
            raise GitError(f"missing: commit {self.commit()[:12]} has no directory {self.subdirectory!r}") from problem
        entries, blobs = [], {}
        for record in filter(None, listing.split(b"\0")):
            head, raw = record.split(b"\t", 1)
            mode, kind, blob, size = head.decode("ascii").split()
            name = os.fsdecode(raw)
            if name in skip or any(name.startswith(f"{folder}/") for folder in skip) or matcher.ignored(name)[0]:
                continue
            if kind == "commit":
                self.notes.append(f"the submodule {name} is not part of the context")
                continue
            blobs.setdefault(blob, None)
            entries.append(Entry(name, "link" if mode == "120000" else "file", mode == "100755", None, None, int(size), blob))
        with BlobReader(self.repository) as reader:
            for blob in blobs:
                content = reader.read(blob)
                blobs[blob] = (hashlib.sha256(content).hexdigest(), content if len(content) < 4096 else b"")
        done = []
        for entry in entries:
            digest, content = blobs[entry.key]
            if entry.kind == "link":
                done.append(entry._replace(target=os.fsdecode(content), size=0))
            else:
                if content.startswith(b"version https://git-lfs.github.com/spec/"):
                    self.notes.append(f"{entry.path} is only a Git LFS pointer; LFS content is not fetched")
                done.append(entry._replace(digest=digest))
        done.sort(key=lambda entry: os.fsencode(entry.path))
        with contextlib.suppress(OSError):
            write_json(path, {"notes": self.notes, "entries": done})
        return done

    def reader(self) -> "BlobReader":
        """One git process that gives many files."""
        return BlobReader(self.repository)

    def revision(self) -> Optional[Revision]:
        """The commit, its time, and the first URL without credentials."""
        committed = int(self._git("log", "-1", "--no-show-signature", "--format=%ct", self.commit()).strip())
        return Revision(self.commit(), committed, redact(split_credentials(self.urls[0])[0]))


class BlobReader:
    """``git cat-file --batch`` as a context manager."""

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._process: Optional[subprocess.Popen] = None

    def __enter__(self) -> "BlobReader":
        environment = dict(os.environ, LC_ALL="C", GIT_NO_LAZY_FETCH="1")
        # pylint: disable-next=ansible-bad-function  # a conversation, which run_command can't hold
        self._process = subprocess.Popen([*_GIT, "-C", self._repository, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def read(self, blob: str) -> bytes:
        """A blob's whole content. Raises GitError when the cache is damaged."""
        self._process.stdin.write(f"{blob}\n".encode("ascii"))
        self._process.stdin.flush()
        head = self._process.stdout.readline().split()
        if len(head) != 3:
            raise GitError(f"the cached clone {self._repository} lacks the object {blob}; delete that directory and run again")
        content = self._process.stdout.read(int(head[2]))
        self._process.stdout.read(1)
        return content


def default_cache() -> str:
    """``${XDG_CACHE_HOME:-~/.cache}/dockyard-fleet/sources``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "dockyard-fleet", "sources")
