# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.images.references import parse_reference

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize("text, normalised, familiar", [
    ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
    ("python:3.11-slim", "docker.io/library/python:3.11-slim", "python:3.11-slim"),
    ("pgvector/pgvector:0.8.0-pg17", "docker.io/pgvector/pgvector:0.8.0-pg17", "pgvector/pgvector:0.8.0-pg17"),
    ("docker.io/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
    ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
    ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1"),
    ("localhost/a:1", "localhost/a:1", "localhost/a:1"),
    ("host:5000/a", "host:5000/a:latest", "host:5000/a:latest"),
    ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
    (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
    (f"nginx:1.28@{DIGEST}", f"docker.io/library/nginx:1.28@{DIGEST}", f"nginx:1.28@{DIGEST}"),
])
def test_names_as_docker_reads_them(text, normalised, familiar):
    reference = parse_reference(text)
    assert (str(reference), reference.familiar) == (normalised, familiar)


@pytest.mark.parametrize("text, part", [
    ("", "not a valid repository"), ("Nginx", "not a valid repository"), ("a/B:1", "not a valid repository"), ("nginx:", "not a valid tag"),
    ("nginx:-1", "not a valid tag"),
    ("nginx@sha256:12", "not a digest"), ("nginx@sha256:" + "a" * 63, "64 hexadecimal"), ("a" * 64, "image id"), ("a//b", "not a valid repository"),
    ("-x.io/a", "registry name"), ("a" * 300, "longer than"), ("nginx 1", "not a valid repository"),
])
def test_names_that_docker_refuses(text, part):
    with pytest.raises(ValueError, match=part):
        parse_reference(text)
