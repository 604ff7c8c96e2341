# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the application's source to the folders that the images are made of. Runs in the first stage of the build (Python 3.11).

No part of the source builds or starts as it is. What is needed is a list of small edits, each with a name; one whose target is gone ends
the build. Our own files beside the source's (overlay/) are what the edits lead to. README.md says why each is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys

SERVICES = "services"
FOLDERS = {"api": "api", "asr": "asr", "pages": "frontend"}
ONTOLOGY = "ontology/memoria.ttl"
REQUIRED = (
    "services/api/main.py", "services/api/core", "services/api/models", "services/api/routers", "services/api/services", "services/api/requirements.txt",
    "services/asr/main.py", "services/asr/core", "services/asr/models", "services/asr/services", "services/asr/requirements.txt",
    "services/frontend/package.json", "services/frontend/index.html", "services/frontend/src", ONTOLOGY)

PYTHON = (".py",)
# name: (folder or file of the result, endings of its files, what is there, what comes there)
EDITS = {
    "api-imports-routers": ("api/routers", PYTHON, r"(?m)^(\s*from )\.\.(?=(?:core|models|routers|services)\b)", r"\1"),
    "api-imports-services": ("api/services", PYTHON, r"(?m)^(\s*from )\.\.(?=(?:core|models|routers|services)\b)", r"\1"),
    "api-sparql-login": ("api", PYTHON, r"(?m)^from SPARQLWrapper import ", "from fuseki_access import "),
    "api-requests-login": ("api", PYTHON, r"(?m)^import requests$", "from fuseki_access import requests"),
    "api-embedding": ("api/services", PYTHON, r"(?m)^from sentence_transformers import ", "from embedding import "),
    # One line in, one line out: what the caller's query finds is counted around it, since Fuseki takes no counted variable beside plain ones.
    "api-count": ("api/routers", PYTHON, r"""\bquery\.replace\((["'])SELECT\1, f?\1SELECT \(COUNT\(\*\) as \?count\)\1\)""",
                  r'''"SELECT (COUNT(*) as ?count) WHERE { {" + query + "\\n} }"'''),
    "api-identities": ("api/core", PYTHON, r"(?m)^from motor\.motor_asyncio import ", "from documents import "),
    "api-model-name": ("api/services", PYTHON, r"\bsettings\.llm_model_name\b", "settings.llm_model"),
    "asr-device": ("asr/services", PYTHON, r"""device_index\s*=\s*0 if self\.device == (["'])cuda\1 else None""", "device_index=0"),
    "asr-torch": ("asr/services", PYTHON, r"(?m)^import torch$", "from ..speech import torch"),
    "asr-whisper": ("asr/services", PYTHON, r"(?m)^from faster_whisper import ", "from ..speech import "),
    "asr-librosa": ("asr/services", PYTHON, r"(?m)^import librosa$", "from ..speech import librosa"),
    "asr-soundfile": ("asr/services", PYTHON, r"(?m)^import soundfile as ", "from ..speech import soundfile as "),
    "asr-fallback": ("asr", PYTHON, r"""ASRTier\(result\.get\((["'])tier\1, tier\)\)""",
                     r"""ASRTier(tier if result.get(\1tier\1) == \1fallback\1 else result.get(\1tier\1, tier))"""),
    "pages-providers": ("pages/src", (".js", ".ts"), r"""import App from (["'])\./App\.vue\1""", r"import App from \1./Providers.vue\1"),
}

# Requirements of the API: name: (the source's pin, ours; None leaves it out). What is left out nothing imports, or full.txt has it.
API_PINS = {
    "vllm": ("==0.6.1", None), "whisper": ("==1.1.10", None), "faster-whisper": ("==0.10.0", None), "torch": ("==2.1.1", None),
    "transformers": ("==4.36.0", None), "sentence-transformers": ("==2.2.2", None), "openai": ("==1.3.7", None), "anthropic": ("==0.7.8", None),
    "redis": ("==5.0.1", None), "celery": ("==5.3.4", None), "python-jose": ("==3.3.0", None), "passlib": ("==1.7.4", None),
    # collection_exists came with 1.8; this is the client of the server that the stack runs.
    "qdrant-client": ("==1.7.0", "==1.12.2"),
    # The newest that packages of its time and torch of today both take.
    "numpy": ("==1.24.3", "==1.26.4"),
}
API_MISSING = ("motor==3.3.2", "requests==2.34.2")
ASR_PINS = {
    "openai-whisper": ("==20231117", None), "faster-whisper": ("==0.10.0", None), "torch": ("==2.1.1", None), "torchaudio": ("==2.1.1", None),
    "transformers": ("==4.36.0", None), "accelerate": ("==0.25.0", None), "ffmpeg-python": ("==0.2.0", None), "librosa": ("==0.10.1", None),
    "soundfile": ("==0.12.1", None), "numpy": ("==1.24.3", "==1.26.4"),
}
ASR_MISSING = ("pydantic-settings==2.0.3",)
PAGES_MISSING = {"@formkit/auto-animate": "^0.8.2"}


class MendError(Exception):
    """The source is not what this recipe was written for."""


def _gone(name, where, found, needed):
    return MendError("edit %s, %s: found %s; needed %s (the source has changed: take the commit of stack.yml with dockyard_source_ref_emorobcare, or "
                     "mend this recipe)" % (name, where, found, needed))


def edit(folder, name):
    """Make one of the edits in all files of its kind.

    :returns: dict of path relative to ``folder`` to the number of places.
    :raises MendError: its target is nowhere.
    """
    where, endings, pattern, replacement = EDITS[name]
    done = {}
    for parent, unused, names in sorted(os.walk(os.path.join(folder, where))):
        for file in sorted(names):
            path = os.path.join(parent, file)
            relative = os.path.relpath(path, folder)
            if not file.endswith(endings):
                continue
            with open(path, encoding="utf-8", newline="") as stream:
                text = stream.read()
            changed, count = re.subn(pattern, replacement, text.replace("\r\n", "\n"))
            if count:
                with open(path, "w", encoding="utf-8", newline="") as stream:
                    stream.write(changed)
                done[relative] = count
    if not done:
        raise _gone(name, where, "its target nowhere", pattern)
    return done


def package_name(requirement):
    """The normalized name of a requirement: ``uvicorn[standard]==0.24.0`` is ``uvicorn``."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement).group(0)).lower()


def requirements(text, pins, missing, where):
    """The source's list with our pins, without options and comments.

    :returns: list of str.
    :raises MendError: a pin is not what we replace, or what we add is there by now.
    """
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines()]
    found = {package_name(line): line for line in lines if line and not line.startswith("-")}
    for name, (before, after) in pins.items():
        line = found.pop(name, None)
        if line is None or not re.sub(r"^[A-Za-z0-9._-]+(\[[^\]]*\])?\s*", "", line) == before:
            raise _gone("requirement-" + name, where, line or "no such package", name + before)
        if after:
            found[name] = line.replace(before, after)
    for line in missing:
        if package_name(line) in found:
            raise _gone("requirement-" + package_name(line), where, found[package_name(line)], "none, for this recipe adds it")
        found[package_name(line)] = line
    return [found[name] for name in sorted(found)]


def package_json(text, missing):
    """package.json with the packages that its author forgot.

    :raises MendError: one of them is there by now.
    """
    document = json.loads(text)
    for name, version in missing.items():
        if name in document.get("dependencies", {}):
            raise _gone("package-" + name, "services/frontend/package.json", document["dependencies"][name], "none, for this recipe adds it")
        document.setdefault("dependencies", {})[name] = version
    return json.dumps(document, indent=2, sort_keys=False) + "\n"


def _read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _write(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def overlay(part, target):
    """Our own files beside the source's; one of the same name is a reason to look."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "overlay", part)
    for name in sorted(os.listdir(folder)):
        place = os.path.join(target, "src" if name.endswith(".vue") else "", name)
        if os.path.exists(place):
            raise _gone("overlay-" + name, part, "a file of this name in the source", "none")
        if not name.startswith("__"):
            shutil.copyfile(os.path.join(folder, name), place)


def mend_part(source, target, part):
    """Copy one service of the source, make its edits, lay our files beside it; prints what was done.

    :arg part: api, asr or pages; also the folder's name in ``target``.
    """
    place = os.path.join(target, part)
    shutil.copytree(os.path.join(source, SERVICES, FOLDERS[part]), place, dirs_exist_ok=True)
    for name in [name for name in EDITS if name.startswith(part + "-")]:
        for path, count in edit(target, name).items():
            print("edit %s: %s, %d" % (name, path, count))
    overlay(part, place)


def mend(source, target):
    """Fill ``target`` with api/, asr/, pages/, ontology.ttl and the lists of requirements; prints what was done."""
    missing = [path for path in REQUIRED if not os.path.exists(os.path.join(source, path))]
    if missing:
        raise MendError("the source: found no %s; needed a checkout of alobo01/open_conversation_memory; set dockyard_source_emorobcare to it"
                        % ", ".join(missing))
    for part in FOLDERS:
        mend_part(source, target, part)
    for part, pins, added in (("api", API_PINS, API_MISSING), ("asr", ASR_PINS, ASR_MISSING)):
        path = os.path.join(target, part, "requirements.txt")
        lines = requirements(_read(path), pins, added, "services/%s/requirements.txt" % part)
        os.remove(path)
        _write(os.path.join(target, part + ".txt"), "".join(line + "\n" for line in lines))
        print("requirements of %s: %s" % (part, " ".join(lines)))
    manifest = os.path.join(target, "pages", "package.json")
    _write(manifest, package_json(_read(manifest), PAGES_MISSING))
    shutil.copyfile(os.path.join(source, ONTOLOGY), os.path.join(target, "ontology.ttl"))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the build's context")
    parser.add_argument("target", help="folder to fill")
    options = parser.parse_args(argv)
    try:
        mend(options.source, options.target)
    except MendError as error:
        print("emorobcare recipe: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
