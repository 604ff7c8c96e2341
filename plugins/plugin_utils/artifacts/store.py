# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's own store: files that it downloaded once, verified, for all hosts; and downloads whose digest nobody knows yet."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.download import Fault, Web, download
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, problem, redact
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts.local import exclusive, state_of

_BLOCK_BYTES = 256 * 1024


class ControllerStore:
    """Objects below ``folder``, named by their digests as on a host."""

    def __init__(self, folder, digests, limits):
        """``limits``: retries, connect_timeout_seconds, stall_timeout_seconds, ca_certificate (on the controller)."""
        self._folder, self._digests, self._limits = folder, digests, limits

    def path(self, digest):
        """Where an object is or would be (str)."""
        algorithm, digits = split_digest(digest)
        return os.path.join(self._folder, algorithm, digits[:2], digits)

    def has(self, digest):
        """Whether the object is there as it was verified; one that changed since is read again."""
        path = self.path(digest)
        return os.path.isfile(path) and self._digests.compute(path, digest.partition(":")[0]) == digest

    def bring(self, digest, size, urls, reporter, name):
        """The object's path (str); downloads it from the first of the URLs that has it. Of several runs at a time one downloads, the others wait.

        :param urls: [(url, headers)].
        :raises ArtifactsError: none has it; one problem for each.
        """
        path, problems = self.path(digest), []
        with exclusive(path + ".lock"):
            if self.has(digest):
                return path
            reporter.add(name, size)
            for url, headers in urls:
                try:
                    download(url, path, digest, size, headers, self._limits["retries"], self._limits["connect_timeout_seconds"],
                             self._limits["stall_timeout_seconds"], self._limits["ca_certificate"], lambda count: reporter.advance(name, count))
                except ArtifactsError as error:
                    problems += [dict(item, where="%s on the controller, %s" % (name, item["where"])) for item in error.problems]
                    continue
                os.chmod(path, 0o444)
                self._digests.remember(path, state_of(path), digest)
                reporter.done(name)
                return path
        raise ArtifactsError(problems)

    def adopt(self, url, headers, where, algorithm="sha256"):
        """Download something that has no digest yet: ``{"digest", "size", "path"}``; it stays in the store under the digest that was found.

        :raises ArtifactsError: the URL gives nothing.
        """
        web = Web(self._limits["connect_timeout_seconds"], self._limits["stall_timeout_seconds"], self._limits["ca_certificate"])
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb", buffering=0) as stream:
                digest, size = self._copy(web, url, headers, stream, algorithm, where)
            path = self.path(digest)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.chmod(temporary, 0o444)
            os.replace(temporary, path)
            self._digests.remember(path, state_of(path), digest)
            return {"digest": digest, "size": size, "path": path}
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _copy(self, web, url, headers, stream, algorithm, where):
        for attempt in range(self._limits["retries"] + 1):
            stream.seek(0)
            stream.truncate()
            hasher, size, buffer = hashlib.new(algorithm), 0, memoryview(bytearray(_BLOCK_BYTES))
            try:
                reply = web.get(url, headers)
                with contextlib.closing(reply):
                    while True:
                        count = reply.readinto(buffer)
                        if not count:
                            break
                        hasher.update(buffer[:count])
                        stream.write(buffer[:count])
                        size += count
                if reply.total is not None and size != reply.total:
                    raise Fault("transient", "a body that ends after %d of %d bytes" % (size, reply.total), "all of it")
                return "%s:%s" % (algorithm, hasher.hexdigest()), size
            except (Fault, OSError, ValueError) as error:
                fault = error if isinstance(error, Fault) else Fault("transient", "a transfer that broke off (%s)" % error, "all of it")
                if fault.kind != "transient" or attempt == self._limits["retries"]:
                    raise ArtifactsError([problem("%s, %s" % (where, redact(url)), fault.found, fault.needed, fault.setting or "the source")]) from error
        raise AssertionError("unreachable")
