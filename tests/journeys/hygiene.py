# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has no business in a final image, looked for in the built image itself."""

from __future__ import annotations

import json

TOOLS = ("cc", "gcc", "g++", "c++", "clang", "make", "cmake", "cargo", "git", "npm", "poetry")
_LOOK = r"""
for program in %s; do command -v $program; done
cd /root && find .cache .npm /home /tmp -type f 2>/dev/null | head -n 5
find /var/lib/apt/lists /var/cache/apt -type f ! -name lock 2>/dev/null | head -n 5
find / -xdev \( -name pip -o -name '_cacache' \) -path '*cache*' -type d 2>/dev/null | head -n 5
"""
# Some packages have templates and samples that are no valid Python: a few may stay uncompiled.
_COMPILED = """
import json, os, sys
found = {"py": 0, "pyc": 0}
for root in sys.argv[1:]:
    for folder, unused, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                found["py"] += 1
                found["pyc"] += os.path.exists(os.path.join(folder, "__pycache__", name[:-3] + "." + sys.implementation.cache_tag + ".pyc"))
print(json.dumps(found))
"""


def leftovers(host, image: str) -> list[str]:
    """Compilers, installers and caches in an image of a host (fleet.Host); none is right."""
    look = _LOOK % " ".join(TOOLS)
    return host.sh(f"docker run --rm --network none --user 0 --entrypoint sh {image} -c {_quoted(look)}").split()


def compiled(host, image: str, *folders: str) -> float:
    """The part (0 to 1) of the Python files below these folders of an image that has its bytecode beside it."""
    done = host.sh(f"docker run --rm --network none --entrypoint python3 {image} -I -S -c {_quoted(_COMPILED)} {' '.join(folders)}")
    found = json.loads(done)
    assert found["py"] > 0, f"no Python below {folders}"
    return found["pyc"] / found["py"]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
