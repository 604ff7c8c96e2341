# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a user's own stack from files/scaffold/hello, which is a whole stack itself: only its name is replaced."""

from __future__ import annotations

import os
import re
import shutil
import tempfile

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition

# As `name` of files/schemas/stack.schema.json; neither are the words that playbooks take for several stacks, nor the tunnel's own project.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}\Z")
RESERVED = definition.RESERVED
SCHEMA_LINE = re.compile(r"\A# yaml-language-server: \$schema=\S+\n")


def name_problem(name, builtin):
    """What is wrong with a name for a stack: (found, needed), or None.

    :arg builtin: iterable of str, names of the stacks that come with the collection.
    """
    if NAME.match(name) is None:
        return (repr(name) if name else "no name"), "a name of at most 40 of a-z, 0-9, - and _ that begins with a letter"
    if name in RESERVED:
        return "'%s', which %s" % (name, RESERVED[name]), "another one"
    if name in builtin:
        return "'%s', a stack that comes with the collection" % name, "another name: yours would hide it"
    return None


def renamed(text, name):
    """A text of the scaffold for a stack of another name."""
    variable = name.replace("-", "_")
    text = re.sub(r"\b(dockyard_[a-z]+)_hello\b", r"\1_%s" % variable, text)
    text = re.sub(r"\bHELLO(?=_)", variable.upper(), text)
    text = re.sub(r"\bhello\b", name, text)
    return re.sub(r"\bHello\b", name.replace("-", " ").replace("_", " ").capitalize(), text)


def read(folder):
    """The scaffold: dict of relative path to text; what Python leaves behind is none of it."""
    found = {}
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(entry for entry in folders if entry != "__pycache__")
        for entry in names:
            path = os.path.join(top, entry)
            with open(path, encoding="utf-8") as stream:
                found[os.path.relpath(path, folder)] = stream.read()
    return found


def rendered(texts, name, folder, schema):
    """The files of a new stack.

    :arg texts: dict of relative path to text, the scaffold. :arg folder: str, where the stack's folder will be. :arg schema: str, path of the schema.
    :returns: dict of relative path to text.
    """
    result = {}
    for path, text in texts.items():
        text = renamed(text, name)
        if path == "stack.yml":
            # Relative, so that it holds for everybody who has the collection at the same place beside it.
            line = "# yaml-language-server: $schema=%s\n" % os.path.relpath(schema, os.path.join(folder, name))
            text = SCHEMA_LINE.sub(lambda unused: line, text)
        elif path.endswith("README.md"):
            text = text.replace("FOLDER", folder)
        result[path] = text
    return result


def write(folder, name, contents):
    """Write a new stack's folder: all of it, or nothing.

    :raises FileExistsError: there is something of that name.
    """
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, name)
    beside = tempfile.mkdtemp(prefix=".%s." % name, dir=folder)
    try:
        for path, text in sorted(contents.items()):
            full = os.path.join(beside, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as stream:
                stream.write(text)
        os.chmod(beside, 0o777 & ~_umask())
        # The rename would replace an empty folder, but not one with files in it.
        if os.path.lexists(target):
            raise FileExistsError(target)
        os.rename(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
