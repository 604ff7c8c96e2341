# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of an application's source that its development overlay mounts, as files for the host."""

from __future__ import annotations

import base64
import contextlib
import os

from ansible_collections.dockyard.fleet.plugins.module_utils.images import context, sources
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.plan import problem

FOLDER = "source"
# The files go through the release, which compares them on each run.
LARGEST_BYTES = 16 * 1000 * 1000


def _below(folder):
    folder = os.path.normpath(folder)
    return "" if folder == "." else folder + "/"


def source_files(definition, entries, cache):
    """The files below ``development/source``, as the recipe's .dockerignore leaves them.

    :arg entries: list of dict, the stack's images as role ``images`` takes them; the first that is built from the source tells what is in its context.
    :arg cache: str, folder of clones and digests.
    :returns: (list of dict with ``path``, ``content``, ``encoding`` and ``mode``, list of str problems)
    """
    from ansible_collections.dockyard.fleet.plugins.action.images import BuildItem

    name, wanted = definition["name"], definition["development"]["source"]
    where, variable = "%s, development/source" % name, name.replace("-", "_")
    built = [entry for entry in entries if entry["how"] == "build" and entry["build"].get("source")]
    if not built:
        return [], [problem(where, "no image that is built from the source", "one", "set dockyard_development_source_%s to a directory of the host" % variable)]
    os.makedirs(cache, mode=0o700, exist_ok=True)
    options = {"ca_certificate": "", "registry": "", "build_args": {}}
    try:
        # Without build secrets: it is only read.
        item = BuildItem(dict(built[0], build=dict(built[0]["build"], secrets=[])), options, cache)
    except ImagesError as error:
        return [], [str(error)]
    # The recipe's own files are in the context too.
    known = {entry.path: entry for entry in item.entries if entry.kind == "file" and not entry.path.startswith(context.RECIPE_FOLDER + "/")}
    for root in definition["development"].get("roots", ["."]):
        prefix = _below(root)
        if all(any(path.startswith(prefix + _below(folder)) for path in known) for folder in wanted):
            break
    else:
        return [], [problem(where, "no folder %s in the source" % " and ".join(wanted), "the folders that compose.development.yaml mounts",
                            "correct dockyard_source_%s, or set dockyard_development_source_%s to a directory of the host" % (variable, variable))]
    taken = [(path[len(prefix):], entry) for path, entry in sorted(known.items())
             if any(path.startswith(prefix + _below(folder)) for folder in wanted)]
    size = sum(entry.size for unused, entry in taken)
    if size > LARGEST_BYTES:
        return [], [problem(where, "%d MB in %s" % (size // 10 ** 6, ", ".join(wanted)), "at most %d MB" % (LARGEST_BYTES // 10 ** 6),
                            "set dockyard_development_source_%s to a directory of the host, which is mounted as it is" % variable)]
    found = []
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(item.source.reader()) if isinstance(item.source, sources.GitSource) else None
        for path, entry in taken:
            content = reader.read(entry.key) if reader else b"".join(item.source.read(entry))
            found.append({"path": "%s/%s" % (FOLDER, path), "content": base64.b64encode(content).decode("ascii"), "encoding": "base64",
                          "mode": "0755" if entry.executable else "0644"})
    return found, []
