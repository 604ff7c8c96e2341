# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events without those that are there twice, in their order."""

from __future__ import annotations


def preprocess_events(input_path, output_path):
    """(read, kept, dropped); events are `index|tag|name|hex`, told apart by tag and ring time."""
    kept, seen, read = [], set(), 0
    with open(input_path, encoding="utf-8") as stream:
        for line in stream:
            parts = line.strip().split("|")
            if line.startswith("#") or len(parts) < 4 or len(parts[3]) < 12:
                continue
            read += 1
            key = (parts[1], parts[3][4:12])
            if key not in seen:
                seen.add(key)
                kept.append(line.strip())
    with open(output_path, "w", encoding="utf-8") as stream:
        stream.write("# without duplicates\n" + "".join(line + "\n" for line in kept))
    return read, len(kept), read - len(kept)
