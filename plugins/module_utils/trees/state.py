# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration remembers of a tree on the target host: that it is the one who filled the destination, and what the source's files held."""

from __future__ import annotations

import json
import os
import re

from ansible_collections.dockyard.fleet.plugins.module_utils.release import files
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import ALGORITHM
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import TreeError

NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")


class State:
    """The files of one tree in the migration's state folder, all 0600 in a folder 0700."""

    def __init__(self, folder, name):
        if not NAME.match(name):
            raise TreeError("name: found %r; needed at most 80 of A-Z, a-z, 0-9, _, . and -, no dot or - first; nothing was changed" % name)
        self.folder = folder
        self.marker_path = os.path.join(folder, "%s.tree.json" % name)
        self.index_path = os.path.join(folder, "%s.tree-index.json" % name)
        self.lock_path = os.path.join(folder, "%s.tree.lock" % name)

    def make_folder(self):
        """The state folder is there, and nobody else's."""
        files.make_directory(self.folder, 0o700)

    def marker(self):
        """What the first byte was preceded by (dict), or None."""
        return self._read(self.marker_path)

    def write_marker(self, marker):
        """Remember the destination as this migration's own."""
        self._write(self.marker_path, marker)

    def remembered(self, root):
        """Digests of the source's files: path -> (digest, key)."""
        index = self._read(self.index_path)
        if not index or index.get("algorithm") != ALGORITHM or index.get("root") != root:
            return {}
        return {path: (digest, key) for path, (digest, key) in index["files"].items()}

    def remember(self, root, digests):
        """Keep them, path -> (digest, key)."""
        self._write(self.index_path, {"algorithm": ALGORITHM, "root": root, "files": {path: list(found) for path, found in digests.items()}})

    @staticmethod
    def _read(path):
        content = files.read(path)
        try:
            found = json.loads(content.decode("ascii")) if content else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    @staticmethod
    def _write(path, document):
        files.write(path, json.dumps(document, separators=(",", ":"), sort_keys=True).encode("ascii") + b"\n", 0o600)
