# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a build context whose image holds nothing but a program of its platform: context.py FILE PLATFORM..."""

from __future__ import annotations

import io
import sys
import tarfile

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf

DOCKERFILE = b"""FROM scratch
ARG TARGETARCH
COPY probe-$TARGETARCH /probe
ENTRYPOINT ["/probe"]
"""


def main(path, *platforms):
    files = {"Dockerfile": DOCKERFILE}
    files.update(("probe-" + elf.PLATFORMS[platform]["arch"], elf.probe(platform)) for platform in platforms)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
