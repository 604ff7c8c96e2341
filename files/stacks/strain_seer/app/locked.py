# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses a list of packages of which one has no exact version or no digest: `locked.py requirements.txt`.

pip checks digests only of what has some, and a package from a folder or a repository has none.
"""

import re
import sys


def problems(text):
    """One sentence for each package that is not locked.

    :arg text: str, what `poetry export` wrote: `name==version ; marker \\` and one `--hash=sha256:...` a line below it.
    """
    found = []
    packages = 0
    for entry in text.replace("\\\n", " ").splitlines():
        entry = entry.strip()
        if not entry or entry.startswith("#"):
            continue
        packages += 1
        name = re.split(r"[\s;<>=!~@]", entry)[0]
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*==[^\s;]+(\s|;|$)", entry):
            found.append("%s: found '%s', needed an exact version from a package index" % (name, entry.split(" --hash")[0].strip()))
        elif not re.search(r"\s--hash=sha256:[0-9a-f]{64}(\s|$)", entry):
            found.append("%s: found no sha256 digest in the lock, needed one" % name)
    if not packages:
        found.append("found no package at all, needed those of the group main")
    return found


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as stream:
        bad = problems(stream.read())
    for sentence in bad:
        print("strain_seer recipe: poetry.lock, " + sentence + "; run `poetry lock` in the source", file=sys.stderr)
    sys.exit(1 if bad else 0)
