# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import NamedTuple, Optional

# The grammar of the distribution project, which Docker's own parser uses.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"^{_COMPONENT}(?:/{_COMPONENT})*$")
_DOMAIN = re.compile(r"^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
_DIGEST = re.compile(r"^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$")
_IMAGE_ID = re.compile(r"^[a-f0-9]{64}$")
_NAME_MAX = 255


class Reference(NamedTuple):
    """An image name taken apart. ``tag`` is ``latest`` only when neither a tag nor a digest was written."""

    domain: str
    path: str
    tag: Optional[str]
    digest: Optional[str]

    @property
    def repository(self) -> str:
        """Normalised repository, such as ``docker.io/library/python``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as Docker prints it, such as ``python``."""
        if self.domain != "docker.io":
            return self.repository
        return self.path[len("library/"):] if self.path.startswith("library/") else self.path

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The reference as Docker prints it, such as ``python:3.11-slim-bookworm``."""
        return self.familiar_repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Parse ``[domain/]path[:tag][@digest]`` and normalise Docker Hub's short names.

    Raises ValueError with the reason when Docker would refuse the name.
    """
    rest, digest = text, None
    if "@" in rest:
        rest, digest = rest.split("@", 1)
        if not _DIGEST.match(digest):
            raise ValueError(f"{text!r}: {digest!r} is not a digest such as sha256:<64 hexadecimal digits>")
        if digest.lower().startswith("sha256:") and len(digest) != len("sha256:") + 64:
            raise ValueError(f"{text!r}: a sha256 digest has 64 hexadecimal digits, found {len(digest) - len('sha256:')}")
    tag = None
    if ":" in rest.rsplit("/", 1)[-1]:
        rest, tag = rest.rsplit(":", 1)
        if not _TAG.match(tag):
            raise ValueError(f"{text!r}: {tag!r} is not a valid tag")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, remainder
    else:
        domain, path = "docker.io", rest
    if domain == "index.docker.io":
        domain = "docker.io"
    if not _DOMAIN.match(domain):
        raise ValueError(f"{text!r}: {domain!r} is not a registry name")
    if domain == "docker.io" and "/" not in path:
        if _IMAGE_ID.match(path):
            raise ValueError(f"{text!r}: an image id is not an image name")
        path = f"library/{path}"
    if not _PATH.match(path):
        raise ValueError(f"{text!r}: {path!r} is not a valid repository name (lower case letters, digits and . _ - / only)")
    if len(domain) + len(path) + 1 > _NAME_MAX:
        raise ValueError(f"{text!r}: the name is longer than {_NAME_MAX} characters")
    if tag is None and digest is None:
        tag = "latest"
    return Reference(domain, path, tag, digest)
