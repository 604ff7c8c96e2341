# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the build must know of the application's source: which of its two layouts it is, and what pip is to install.

`main` layout (d2378ac): src/main.py, requirements/*.txt. `package` layout (HEAD): src/thingdb/main.py, pyproject.toml.
Runs in the builder stage only (Python 3.11).
"""

from __future__ import annotations

import argparse
import os
import re
import sys

ML_PACKAGES = ("torch", "torchvision", "torchaudio", "sentence-transformers")


class LayoutError(Exception):
    """The source is not what this recipe was written for."""


def detect(names):
    """The layout of a source.

    :arg names: collection of str, paths below src/ that exist, such as ``main.py`` or ``thingdb/main.py``.
    :returns: tuple (layout, WSGI application as gunicorn names it).
    :raises LayoutError: neither layout.
    """
    if "thingdb/main.py" in names:
        return "package", "thingdb.main:app"
    if "main.py" in names:
        return "main", "main:app"
    raise LayoutError("src/: found neither main.py nor thingdb/main.py, needed one of them; "
                      "check dockyard_source_inventory and dockyard_source_ref_inventory")


def package_name(requirement):
    """The normalized name of a requirement: ``qrcode[pil]==7.4.2`` is ``qrcode``."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    if not match:
        raise LayoutError("requirement not understood: %r" % requirement)
    return re.sub(r"[-_.]+", "-", match.group(0)).lower()


def requirement_lines(text):
    """The requirements of a pip file, without comments and without options such as an index of its author's choice.

    :returns: list of str.
    """
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def resolve(layout, base, ml, extra, with_ml):
    """The list for pip.

    :arg layout: str from :func:`detect`.
    :arg base: list of str, the application's requirements.
    :arg ml: list of str, its ML list (empty in the ``package`` layout, where they stand in base).
    :arg extra: list of str, ours; used for packages that nobody else names.
    :arg with_ml: bool.
    :returns: list of str, one a package.
    :raises LayoutError: ML is wanted and its two packages are not named.
    """
    chosen = {package_name(line): line for line in base}
    if with_ml:
        for line in ml:
            chosen[package_name(line)] = line
        missing = [name for name in ("torch", "sentence-transformers") if name not in chosen]
        if missing:
            raise LayoutError("WITH_ML=1: the source names no %s; this recipe does not fit this ref" % " and no ".join(missing))
        # Local version labels exist on one index only, and not for arm64; nothing imports the other two.
        chosen["torch"] = chosen["torch"].replace("+cpu", "")
        chosen.pop("torchvision", None)
        chosen.pop("torchaudio", None)
        if layout == "main":
            # torch 2.1 was built for NumPy 1, and newer transformers refuse it.
            chosen["numpy"] = "numpy<2"
            chosen.setdefault("transformers", "transformers<4.46")
    else:
        for name in ML_PACKAGES:
            chosen.pop(name, None)
    for line in extra:
        chosen.setdefault(package_name(line), line)
    return [chosen[name] for name in sorted(chosen)]


def _read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _dependencies(folder):
    """The dependencies that a pyproject.toml names; empty without one."""
    text = _read(os.path.join(folder, "pyproject.toml"))
    if not text:
        return []
    import tomllib  # Python 3.11, which the base image is; the unit tests of the rest run on older ones too
    return tomllib.loads(text).get("project", {}).get("dependencies", [])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    wanted = actions.add_parser("requirements", help="print the list for pip")
    wanted.add_argument("folder", help="folder with base-requirements.txt, ml-requirements.txt or pyproject.toml, and requirements.txt of the recipe")
    wanted.add_argument("with_ml", choices=["0", "1"], help="1 to install torch and sentence-transformers")
    module = actions.add_parser("module", help="print the WSGI application")
    module.add_argument("source", help="the src folder")
    options = parser.parse_args(argv)
    try:
        if options.action == "module":
            print(detect([name for name in ("main.py", "thingdb/main.py") if os.path.exists(os.path.join(options.source, name))])[1])
            return 0
        base = requirement_lines(_read(os.path.join(options.folder, "base-requirements.txt")))
        layout = "main" if base else "package"
        base = base or _dependencies(options.folder)
        if not base:
            raise LayoutError("found neither requirements/base-requirements.txt nor dependencies in pyproject.toml, needed one of them; "
                              "check dockyard_source_inventory and dockyard_source_ref_inventory")
        ml = requirement_lines(_read(os.path.join(options.folder, "ml-requirements.txt")))
        extra = requirement_lines(_read(os.path.join(options.folder, "requirements.txt")))
        print("\n".join(resolve(layout, base, ml, extra, options.with_ml == "1")))
    except LayoutError as error:
        print("inventory recipe: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
