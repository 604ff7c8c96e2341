# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import pwd
import shutil
import time
from typing import Iterator, Optional

from ansible_collections.dockyard.fleet.plugins.module_utils.images import cli, places, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference
from ansible_collections.dockyard.fleet.plugins.module_utils.images.watch import BuildWatch, PullWatch

# On disk (not tmpfs) and open to any connection user; the directory inside is 0700 and has an unguessable name.
WORK_ROOT = "/var/tmp"
_PREFIX = "dockyard-images."
# What another controller left behind is surely dead after a day.
_FOREIGN_AGE_S = 86400
_LOCKS = "/var/lib/dockyard/locks"


class Workspace:
    """The directory of one run on the target: context archives and build secrets pass through it."""

    def __init__(self, request: dict, root: str = WORK_ROOT) -> None:
        self._root, self._request = root, request
        self.path = os.path.join(root, f"{_PREFIX}{request['controller']}.{request['token']}")

    def create(self) -> dict:
        """Remove what killed runs left, make the directory for the connection user, and say how much fits in it."""
        removed = self.sweep()
        owner = self._owner()
        os.mkdir(self.path, 0o700)
        for name in self._request.get("files") or []:
            # Made here, so that a transfer finds a file that nobody else can read.
            descriptor = os.open(os.path.join(self.path, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            if owner is not None:
                os.fchown(descriptor, owner, -1)
            os.close(descriptor)
        if owner is not None:
            os.chown(self.path, owner, -1)
        return {"path": self.path, "free_bytes": free_bytes(self._root), "removed": removed}

    def remove(self) -> None:
        """Remove the directory; no error when it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)

    def sweep(self) -> list[str]:
        """Remove directories of this controller's dead runs, and those of others that are a day old."""
        removed, uids = [], {os.geteuid(), self._owner()}
        for entry in os.scandir(self._root):
            if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=False)
            controller, dot, token = entry.name[len(_PREFIX):].partition(".")
            ours = controller == self._request["controller"] and token not in self._request.get("active", [])
            if status.st_uid in uids and (ours or status.st_mtime < time.time() - _FOREIGN_AGE_S):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed.append(entry.name)
        return sorted(removed)

    def _owner(self) -> Optional[int]:
        """The uid that transfers files, when it is not the one that runs this: what sudo says, else the name that the controller says."""
        if os.geteuid() != 0:
            return None
        if os.environ.get("SUDO_UID", "").isdigit():
            return int(os.environ["SUDO_UID"])
        try:
            return pwd.getpwnam(self._request.get("remote_user") or "").pw_uid
        except KeyError:
            return None


def free_bytes(path: str) -> int:
    """Bytes that a program without special rights may still write there."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


@contextlib.contextmanager
def repository_lock(repository: str, timeout_s: float) -> Iterator[None]:
    """One build of a repository at a time: the build of a run whose controller was killed may still go on. Raises ImagesError."""
    folder = _LOCKS if os.geteuid() == 0 else os.path.join(os.path.expanduser("~"), ".cache", "dockyard", "locks")
    # Closed: who may open a lock file, if only to read, could hold it.
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = hashlib.sha256(repository.encode()).hexdigest()[:16]
    with open(os.path.join(folder, f"image-{name}.lock"), "a+", encoding="utf-8") as stream:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as problem:
                if time.monotonic() > deadline:
                    stream.seek(0)
                    raise ImagesError(repository, f"another build of it, process {stream.read().strip() or '?'}, for {timeout_s:.0f} s", "that build to end",
                                      "images_build_timeout_seconds") from problem
                time.sleep(0.5)
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield


class Host:
    """What the module does on the target, by means of one Docker door."""

    def __init__(self, docker: cli.Docker, reporter=None) -> None:
        """``reporter`` is told how far pulls and builds are; without one Docker is asked to be quiet."""
        self.docker, self.reporter = docker, reporter

    def images(self) -> list[dict]:
        """All images as host_facts gives them."""
        ids = sorted(set(self.docker.must(cli.list_argv()).split()))
        if not ids:
            return []
        done = self.docker.call(cli.inspect_argv(ids))
        # An image may be removed between the two commands; the others are still answered.
        try:
            return [cli.image_facts(raw) for raw in json.loads(done.out or "[]")]
        except ValueError as problem:
            raise ImagesError("this host", f"docker image inspect failed: {cli.last_line(done.err)}", "a running Docker engine",
                              "docker_engine role") from problem

    def image(self, name: str) -> Optional[dict]:
        """One image, or null when it is not there."""
        done = self.docker.call(cli.inspect_argv([name]))
        return cli.image_facts(json.loads(done.out)[0]) if done.code == 0 else None

    def inspect(self) -> dict:
        """Images and the engine's platform."""
        platform, unused, root = self.docker.must(cli.server_argv()).strip().partition("\t")
        return {"images": self.images(), "platform": cli.docker_platform(platform), "data_root": root}

    def pull(self, request: dict) -> dict:
        """Fetch what is missing: ``request`` has ``pulls`` and ``bases``, lists of ``{where, reference, platform, policy}``. Raises SeveralErrors."""
        inventory = plan.Inventory(self.images())
        pulled, problems, wanted = [], [], {}
        for item in [*request.get("pulls", []), *request.get("bases", [])]:
            decision = plan.decide_pull(item["reference"], item.get("policy") or "missing", item.get("platform"), inventory)
            if decision.action != "none":
                wanted.setdefault((item["reference"], item.get("platform")), item)
        for reference, unused in wanted:
            if self.reporter:
                self.reporter.add(reference)
        for (reference, platform), item in wanted.items():
            try:
                watch = {"watch": PullWatch(self.reporter, reference)} if self.reporter else {}
                self.docker.pull(reference, platform, item["where"], **watch)
                pulled.append(reference)
                if self.reporter:
                    self.reporter.done(reference)
            except ImagesError as problem:
                problems.append(problem)
        if problems:
            raise SeveralErrors(problems)
        stale = plan.stale_builds(inventory.images, request["controller"], request.get("active", []))
        for reference in stale:
            self.docker.call(cli.untag_argv([reference]))
        return {"images": self.images() if pulled or stale else inventory.images, "pulled": pulled,
                "pruned": [reference for item in request.get("prunes", []) for reference in self._prune(item)]}

    def build(self, request: dict, folder: str) -> dict:
        """Build one image under a temporary name; it gets its own name only when all is well. Returns ``{image, built, pruned}``."""
        with repository_lock(request["repository"], request["timeout_s"]):
            there = self._there(request)
            if there:
                return {"image": there, "built": False, "pruned": []}
            image = self._build(request, folder)
        return {"image": image, "built": True, "pruned": self._prune(request)}

    def _there(self, request: dict) -> Optional[dict]:
        """The image that was to be built, made by another run: here, or (``published``) by another machine for the registry."""
        for count in range(2 if request.get("published") else 1):
            if count and self.docker.call(cli.pull_argv(request["reference"], request.get("platform")), cli.PULL_TIMEOUT_S).code != 0:
                return None
            there = self.image(request["reference"])
            wanted = (request.get("platform") or "").split("/")[1:2]
            if there and there["labels"].get(plan.LABEL_HASH) == request["labels"][plan.LABEL_HASH] and (not wanted or there["architecture"] == wanted[0]):
                return there
        return None

    def push(self, request: dict) -> dict:
        """Push one platform's image and put it into the manifest list under the tag. Returns ``{digest, platforms}``. Raises ImagesError."""
        where, reference, platform = request["where"], request["reference"], request["platform"]
        own = places.platform_reference(reference, platform)
        self.docker.must(cli.tag_argv(reference, own))
        before = plan.repo_digests(self.image(own) or {}, parse_reference(own))
        try:
            if self.reporter:
                self.reporter.add(f"push {own}")
            self.docker.push(own, where, PullWatch(self.reporter, f"push {own}") if self.reporter else None)
            if self.reporter:
                self.reporter.done(f"push {own}")
            after = plan.repo_digests(self.image(own) or {}, parse_reference(own))
        finally:
            self.docker.call(cli.untag_argv([own]))
        there = self.docker.call(["manifest", "inspect", reference])
        listed = there.out if there.code == 0 else None
        digest = places.pushed_digest(before, after, listed, platform)
        if not digest:
            raise ImagesError(where, f"no digest of {own} after its push", "an engine that tells what it pushed", "the builder's Docker (docker_engine role)")
        entries = places.merge_list(listed, platform, digest)
        # What an earlier list of this name left here would be added to the new one.
        self.docker.call(["manifest", "rm", reference])
        for argv in places.list_argv(reference, entries):
            done = self.docker.call(argv)
            if done.code != 0:
                raise cli.push_error(where, reference, "context deadline exceeded" if done.code is None else done.err + done.out)
        return {"digest": cli.last_line(done.out), "platforms": [entry["platform"] for entry in entries]}

    def save(self, request: dict, folder: str) -> dict:
        """Write an image as a packed archive into the workspace. Returns ``{size_bytes}``."""
        path = os.path.join(folder, request["file"])
        done = self.docker.call(["save", "--output", f"{path}.raw", request["reference"]], cli.PULL_TIMEOUT_S)
        try:
            if done.code != 0:
                raise ImagesError(request["where"], f"docker save failed: {cli.last_line(done.err) or 'no answer in time'}",
                                  "space for the image's archive", f"free space in {WORK_ROOT} on the builder")
            total = os.path.getsize(f"{path}.raw")
            if self.reporter:
                self.reporter.add(f"pack {request['reference']}", total)
            try:
                # The file was made for the connection's user; it is filled, not replaced.
                with open(f"{path}.raw", "rb") as source, open(path, "r+b") as raw, \
                        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1) as packed:
                    for chunk in iter(lambda: source.read(1024 * 1024), b""):
                        packed.write(chunk)
                        if self.reporter:
                            self.reporter.advance(f"pack {request['reference']}", len(chunk))
            except OSError as problem:
                raise ImagesError(request["where"], f"an archive that cannot be written: {problem.strerror}", "space for it",
                                  f"free space in {WORK_ROOT} on the builder") from problem
            if self.reporter:
                self.reporter.done(f"pack {request['reference']}")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}.raw")
        return {"size_bytes": os.path.getsize(path)}

    def load(self, request: dict, folder: str) -> dict:
        """Take an image from an archive in the workspace. Returns ``{image, pruned}``. Raises ImagesError when it is another one."""
        done = self.docker.call(["load", "--quiet", "--input", os.path.join(folder, request["file"])], cli.PULL_TIMEOUT_S)
        image = self.image(request["reference"]) if done.code == 0 else None
        # Not the id: engines with another image store give the same image another one.
        if image is None or image["labels"].get(plan.LABEL_HASH) != request["content"]:
            said = cli.last_line(done.err) if done.code != 0 else f"{request['reference']} is {image['id'] if image else 'not there'} after docker load"
            raise ImagesError(request["where"], said or "docker load that did not end", f"the image {request['reference']} of the builder",
                              "free space for Docker's data on this host, then run again")
        return {"image": image, "pruned": self._prune(request)}

    def _build(self, request: dict, folder: str) -> dict:
        secrets = {key: os.path.join(folder, name) for key, name in (request.get("secrets") or {}).items()}
        contents = []
        for path in secrets.values():
            os.chmod(path, 0o600)
            with open(path, encoding="utf-8", errors="replace") as stream:
                contents.append(stream.read())
        buildx = request.get("buildx")
        if buildx is None:
            buildx = self.docker.call(["buildx", "version"]).code == 0
        argv = cli.build_argv(request["temporary"], request["dockerfile"], list(request["args"]), request["labels"], secrets, request.get("target"),
                              request.get("platform"), buildx)
        watch = {}
        if self.reporter:
            self.reporter.add(request["where"], unit="steps")
            watch = {"watch": BuildWatch(self.reporter, request["where"]).line}
        done = self.docker.call(argv, request["timeout_s"], os.path.join(folder, request["context"]), cli.build_environment(request["args"]), **watch)
        if done.code != 0:
            raise self._failure(request, cli.redact(done.err + done.out, contents), done.code is None)
        if self.reporter:
            self.reporter.done(request["where"])
        try:
            image = self.image(request["temporary"])
            if image is None:
                raise ImagesError(request["where"], "a build that ended well but no image", "an engine that keeps what it builds",
                                  "the host's Docker (docker_engine role)")
            plan.check_budget(request["where"], request["repository"], image["size_bytes"], request.get("budget_bytes"))
            self.docker.must(cli.tag_argv(request["temporary"], request["reference"]))
        finally:
            self.docker.call(cli.untag_argv([request["temporary"]]))
        return dict(image, tags=[request["reference"]])

    @staticmethod
    def _failure(request: dict, text: str, late: bool) -> ImagesError:
        step, error, tail = cli.build_failure(text)
        if late:
            return ImagesError(request["where"], f"a build that did not end within {request['timeout_s']} s (last step {step})", "a faster build or more time",
                               "images_build_timeout_seconds", tail)
        if "load metadata for" in step or step.split("]")[-1].strip().startswith("FROM "):
            reference = (step.split("load metadata for ")[-1] if "load metadata for" in step else step.split("FROM ", 1)[1]).split("@sha256")[0].strip()
            try:
                return cli.pull_error(f"{request['where']}, base image", reference, error)
            except ValueError:
                pass
        if "no space left on device" in text:
            return ImagesError(request["where"], f"no space left during {step}", "more free space for Docker's data",
                               "docker_engine_data_root, or docker system prune on the host", tail)
        return ImagesError(request["where"], f"a build that fails in step {step}: {error}", "a Dockerfile that builds",
                           "the recipe's Dockerfile or the application's source", tail)

    def _prune(self, request: dict) -> list[str]:
        used: set = set()
        images = self.images()
        candidates = plan.old_builds(images, request["repository"], request["reference"], used, request["keep"])
        if not candidates:
            return []
        containers = self.docker.must(cli.containers_argv()).split()
        if containers:
            used = set(self.docker.call(cli.container_images_argv(containers)).out.split())
        removed = []
        for reference in plan.old_builds(images, request["repository"], request["reference"], used, request["keep"]):
            if self.docker.call(cli.untag_argv([reference])).code == 0:
                removed.append(reference)
        return removed
