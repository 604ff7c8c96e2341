# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# Shared by the module and its controller half, so that both refuse the same mistakes.
_SOURCE = dict(
    type="dict",
    options=dict(path=dict(type="str"), git=dict(type="raw"), ref=dict(type="str"), subdirectory=dict(type="str", default="")),
    mutually_exclusive=[("path", "git")],
    required_one_of=[("path", "git")],
    required_by=dict(git=("ref",)),
)
_BUILD = dict(
    type="dict",
    options=dict(
        recipe=dict(type="str", required=True),
        dockerfile=dict(type="str", default="Dockerfile"),
        source=_SOURCE,
        args=dict(type="dict", default={}),
        target=dict(type="str"),
        secrets=dict(type="list", elements="raw", default=[], no_log=False),
    ),
)
_PULL = dict(type="dict", options=dict(image=dict(type="str", required=True), policy=dict(type="str", choices=["missing", "always"])))

ARGUMENTS = dict(
    state=dict(type="str", choices=["present", "inspect", "pull", "build", "push", "save", "load", "scan", "clean"], default="present"),
    images=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            stack=dict(type="str", required=True),
            name=dict(type="str", required=True),
            reference=dict(type="str"),
            how=dict(type="str", choices=["build", "pull"], required=True),
            pull=_PULL,
            build=_BUILD,
            platform=dict(type="str"),
            budget_bytes=dict(type="int"),
            labels=dict(type="dict", default={}),
        ),
        required_if=[("how", "build", ["build"]), ("how", "pull", ["pull"])],
    ),
    facts=dict(type="dict"),
    pull_policy=dict(type="str", choices=["missing", "always"], default="missing"),
    build_args=dict(type="dict", default={}),
    ca_certificate=dict(type="str", default=""),
    build_timeout_seconds=dict(type="int", default=3600),
    keep=dict(type="int", default=3),
    builders=dict(type="dict", default={}),
    registry=dict(type="str", default=""),
    deliver=dict(type="str", choices=["", "registry", "archive"], default=""),
    delivered=dict(type="list", elements="dict", default=[]),
    scanner=dict(type="dict", default={}),
    source_cache=dict(type="str", default=""),
    request=dict(type="dict", default={}),
    progress=dict(type="str", default="", no_log=False),
)
