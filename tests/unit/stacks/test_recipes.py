# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every recipe of a stack keeps to: contexts without private files, final images without compiler and package cache, compiled Python,
index, mirror and certificates by build settings, and no user root. Each rule is shown to fail on a recipe that breaks it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.images import dockerfile

FILES_OF_US = Path(__file__).resolve().parents[3] / "files"
# What playbooks/new_stack.yml starts a user's stack from keeps to it as well.
STACKS = sorted(path.parent for folder in ("stacks", "scaffold") for path in (FILES_OF_US / folder).glob("*/stack.yml"))
ARGS = {"TARGETARCH": "amd64"}
PLATFORM = "linux/amd64"
PRIVATE = ("**/.env", "**/*.env", "**/*.key", "**/*.pem", "**/__pycache__", "**/*.pyc")
# Whose package brings a compiler or headers, or only builds need.
COMPILERS = re.compile(r"(?<![\w./-])(gcc|g\+\+|clang|make|cmake|ninja-build|build-essential|cargo|rustc|golang\S*|git|\w[\w.+-]*-dev)(?![\w./=-])")
INSTALLERS = {
    "pip": re.compile(r"\bpip3? (--\S+ (/\S+ )?)*(install|download|wheel)\b"), "npm": re.compile(r"\bnpm (ci|install|i)\b"),
    "poetry": re.compile(r"\bpoetry install\b"),
}
APT = re.compile(r"\bapt(-get)? (\S+ )*?(update|install|download)\b|debian_tree\.py")
MIRROR = re.compile(r'if \[ -n "\$APT_MIRROR" \]; then .*? fi;(?= (?!fi;))')


class Image:
    """One image of a recipe: its Dockerfile cut into stages, and the stages that end up in it."""

    def __init__(self, text, target=None):
        self.instructions = dockerfile.split_instructions(text)[0]
        parsed = dockerfile.parse_dockerfile(text, ARGS, PLATFORM, PLATFORM)
        reachable = parsed.reachable(target)
        self.used = {stage.index for stage in reachable}
        last = max(self.used) if target is None else next(stage.index for stage in parsed.stages if stage.name == target.lower())
        # The stage itself and those that it begins with, FROM by FROM.
        self.final = [last]
        while parsed.stages[self.final[-1]].base[0] == "stage":
            self.final.append(parsed.stages[self.final[-1]].base[1])

    def of(self, stages, *keywords):
        """The instructions of these stages, in their order."""
        index, found = -1, []
        for item in self.instructions:
            index += item.keyword == "FROM"
            if index in stages and item.keyword in keywords:
                found.append(item)
        return found


def shell(item):
    """A RUN's command on one line."""
    return re.sub(r"\s+", " ", item.rest)


def image_problems(text, target=None):
    """What is wrong with an image that this Dockerfile makes (list of str)."""
    image, found = Image(text, target), []
    for item in image.of(image.final, "RUN"):
        words = shell(item)
        found += [f"line {item.line}: {name} runs in a stage that ends up in the image" for name, pattern in INSTALLERS.items() if pattern.search(words)]
        if APT.search(words):
            packages = " ".join(re.findall(r"install ([^;&|]*)", words))
            found += [f"line {item.line}: {match.group(1)} in the image" for match in COMPILERS.finditer(packages)]
            if "rm -rf /var/lib/apt/lists/*" not in words:
                found.append(f"line {item.line}: apt leaves its lists in the image")
            if "install" in words and "--no-install-recommends" not in words:
                found.append(f"line {item.line}: apt brings recommended packages into the image")
    users = image.of(image.final[:1], "USER") or image.of(image.final, "USER")
    if not users or not re.match(r"^[1-9]\d*(:[1-9]\d*)?$", users[-1].rest.strip()):
        found.append("the last USER is no number above 0")
    python = [item for item in image.of(image.used, "COPY") if ".py" in item.rest or "/opt/venv" in item.rest or "packages" in item.rest]
    if python:
        if not any("compileall" in shell(item) for item in image.of(image.used, "RUN")):
            found.append("Python files that nobody compiles")
        if not any("PYTHONDONTWRITEBYTECODE=1" in item.rest for item in image.of(image.final, "ENV")):
            found.append("PYTHONDONTWRITEBYTECODE is not set, so that each start would try to compile into a read-only root")
    return found


def setting_problems(text, scripts=None):
    """Where index, mirror and certificates can't be set (list of str). ``scripts``: {name: text} of the recipe's shell scripts, which a RUN may call."""
    found, declared = [], dockerfile.parse_dockerfile(text, ARGS, PLATFORM, PLATFORM).declared_args
    for item in Image(text).instructions:
        if item.keyword != "RUN":
            continue
        words, mounts = shell(item), " ".join(value for flag, value in item.flags if flag == "mount")
        for name, script in (scripts or {}).items():
            if re.search(rf"(^|[ /]){re.escape(name)}( |;|$)", words):
                words += " " + re.sub(r"\s+", " ", re.sub(r"(?m)^\s*#.*$", "", script))
        secret = "type=secret,id=ca," in mounts

        def need(condition, what, line=item.line):
            if not condition:
                found.append(f"line {line}: {what}")

        if INSTALLERS["pip"].search(words):
            need("PIP_INDEX_URL" in declared and "PIP_INDEX_URL" in words, "pip without PIP_INDEX_URL")
            need(secret and "PIP_CERT=/run/secrets/ca.crt" in words, "pip without the certificates of the build")
            need("type=cache" in mounts or "--no-cache-dir" in words, "pip that keeps its cache in a layer")
        if INSTALLERS["npm"].search(words):
            need("NPM_REGISTRY" in declared and "npm_config_registry" in words, "npm without NPM_REGISTRY")
            need(secret and "NODE_EXTRA_CA_CERTS=/run/secrets/ca.crt" in words, "npm without the certificates of the build")
            need("type=cache" in mounts or "cache clean" in words, "npm that keeps its cache in a layer")
        if APT.search(words):
            need("APT_MIRROR" in declared and MIRROR.search(words), "apt without APT_MIRROR")
            need(secret and ("Acquire::https::CAInfo=/run/secrets/ca.crt" in words or "--ca /run/secrets/ca.crt" in words),
                 "apt without the certificates of the build")
        if "APT_MIRROR" in words:
            need(not re.search(r"sed [^;]*\|\| true", words), "a mirror that is not applied goes unnoticed")
    return found


def ignore_problems(text):
    """What is wrong with a .dockerignore (list of str)."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = [] if lines[:1] == ["*"] else ["it does not begin with *, so that new files of the source get into the context"]
    # A single file that is let in brings nothing else along.
    folders = [line for line in lines if re.match(r"^!(.*/)?[a-z0-9_-]+/?$", line)]
    for pattern in PRIVATE if folders else ():
        if pattern not in lines:
            found.append(f"it lacks {pattern}")
    return found


def images_of_stacks():
    """``(id, recipe folder, Dockerfile, target, image)`` of all images that are built."""
    for stack in STACKS:
        for name, image in yaml.safe_load((stack / "stack.yml").read_text(encoding="utf-8"))["images"].items():
            if "build" in image:
                build = image["build"]
                folder = stack / build["recipe"]
                yield f"{stack.name}/{name}", folder, folder / build.get("dockerfile", "Dockerfile"), build.get("target"), image


IMAGES = list(images_of_stacks())
EACH = pytest.mark.parametrize("name, folder, path, target, image", IMAGES, ids=[entry[0] for entry in IMAGES])
FILES = sorted({entry[2] for entry in IMAGES})


def test_there_is_something_to_look_at():
    assert {"inventory/app", "oura/backend", "oura/parser", "stream_checker/app"} <= {entry[0] for entry in IMAGES}
    assert all(INSTALLERS["pip"].search(text) for text in ("pip install x", "python -m pip --python /opt/venv/bin/python install x", "pip3 wheel ."))


@EACH
def test_an_image_has_no_compiler_no_cache_no_root_and_compiled_python(name, folder, path, target, image):
    assert image_problems(path.read_text(encoding="utf-8"), target) == [], name


@EACH
def test_a_context_holds_only_what_is_let_in(name, folder, path, target, image):
    assert ignore_problems((folder / ".dockerignore").read_text(encoding="utf-8")) == [], name


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_index_mirror_and_certificates_are_settings(path):
    scripts = {script.name: script.read_text(encoding="utf-8") for script in path.parent.rglob("*.sh")}
    assert setting_problems(path.read_text(encoding="utf-8"), scripts) == []


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.name)
def test_every_image_has_a_size_budget(stack):
    images = yaml.safe_load((stack / "stack.yml").read_text(encoding="utf-8"))["images"]
    assert [name for name, image in images.items() if not image.get("budget_mb")] == []


# -- the mirror, by the recipes' own lines -------------------------------------------------------------------------------------------------

def mirrors():
    """``(id, shell text)`` of each place where a recipe applies APT_MIRROR."""
    for path in FILES:
        for item in dockerfile.split_instructions(path.read_text(encoding="utf-8"))[0]:
            for match in MIRROR.finditer(shell(item)) if item.keyword == "RUN" else ():
                yield pytest.param(match.group(0), id=f"{path.parts[-3]}:{item.line}")


MIRRORS = list(mirrors())
EACH_MIRROR = pytest.mark.parametrize("script", MIRRORS)
DEB822 = """Types: deb
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example/mirrors/debian-security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """# deb http://old.example/debian sid main
deb [signed-by=/k.gpg] https://deb.example/debian/ trixie main
deb http://deb.example/debian-security trixie-security main
"""


def apply(script, folder, mirror):
    """Run a recipe's lines on a folder in the place of /etc/apt."""
    return subprocess.run(["sh", "-eu", "-c", script.replace("/etc/apt", str(folder))], env={"PATH": os.environ["PATH"], "APT_MIRROR": mirror},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def sources(tmp_path, deb822=None, one_line=None):
    (tmp_path / "sources.list.d").mkdir()
    if deb822 is not None:
        (tmp_path / "sources.list.d/debian.sources").write_text(deb822)
    if one_line is not None:
        (tmp_path / "sources.list").write_text(one_line)
    return tmp_path


def test_all_places_with_a_mirror_are_seen():
    assert len(MIRRORS) == sum(path.read_text(encoding="utf-8").count('if [ -n "$APT_MIRROR" ]') for path in FILES) >= 4


@EACH_MIRROR
@pytest.mark.parametrize("mirror", ["https://mirror.test/debian", "https://mirror.test/a/debian/"])
def test_a_mirror_takes_the_place_of_all_sources(tmp_path, script, mirror):
    done = apply(script, sources(tmp_path, DEB822, ONE_LINE), mirror)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sources.list.d/debian.sources").read_text() + (tmp_path / "sources.list").read_text()
    plain = mirror.rstrip("/")
    # A comment may be changed as well.
    assert re.findall(r"https?://\S+", text) == [plain, f"{plain}-security", plain, plain, f"{plain}-security"]


@EACH_MIRROR
def test_without_a_mirror_nothing_is_touched(tmp_path, script):
    assert apply(script, sources(tmp_path, DEB822), "").returncode == 0
    assert (tmp_path / "sources.list.d/debian.sources").read_text() == DEB822


@EACH_MIRROR
@pytest.mark.parametrize("given", [{"deb822": DEB822.replace("/debian\n", "/ubuntu\n")}, {"one_line": "deb http://other.example/packages ./\n"},
                                   {"deb822": "# none\n"}, {}])
def test_a_mirror_that_cannot_be_applied_ends_the_build(tmp_path, script, given):
    done = apply(script, sources(tmp_path, **given), "https://mirror.test/debian")
    assert done.returncode != 0 and done.stderr, "it went unnoticed"
    assert not given or "build argument APT_MIRROR: 'https://mirror.test/debian'" in done.stderr


# -- each rule can fail ---------------------------------------------------------------------------------------------------------------------

GOOD = """ARG WHICH=main
FROM python:3.11-slim AS build
ARG PIP_INDEX_URL=""
ARG NPM_REGISTRY=""
ARG APT_MIRROR=""
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \\
    if [ -n "$APT_MIRROR" ]; then sed -i "s#a#$APT_MIRROR#" /etc/apt/sources.list; fi; \\
    apt-get -o Acquire::https::CAInfo=/run/secrets/ca.crt update; apt-get install -y gcc libc6-dev
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false --mount=type=cache,target=/var/cache/pip \\
    export PIP_CERT=/run/secrets/ca.crt; test -n "$PIP_INDEX_URL" || unset PIP_INDEX_URL; python -m pip install -r requirements.txt
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false --mount=type=cache,target=/var/cache/npm \\
    export NODE_EXTRA_CA_CERTS=/run/secrets/ca.crt; export npm_config_registry="$NPM_REGISTRY"; npm ci
RUN python -m compileall /app
FROM python:3.11-slim AS base
ARG APT_MIRROR=""
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \\
    if [ -n "$APT_MIRROR" ]; then sed -i "s#a#$APT_MIRROR#" /etc/apt/sources.list; fi; \\
    apt-get -o Acquire::https::CAInfo=/run/secrets/ca.crt update; apt-get install -y --no-install-recommends libgomp1; rm -rf /var/lib/apt/lists/*
ENV PYTHONDONTWRITEBYTECODE=1
FROM base AS app
COPY --from=build /app/main.py /app/
USER 1000:1000
"""


def test_a_good_recipe_has_no_problems():
    assert image_problems(GOOD) == [] and image_problems(GOOD, "app") == [] and setting_problems(GOOD) == []
    assert ignore_problems("*\n!src\n" + "\n".join(PRIVATE)) == [] and ignore_problems("# files alone\n*\n!a/main.py\n!LICENSE\n") == []


@pytest.mark.parametrize("old, new, words", [
    ("libgomp1", "libgomp1 gcc", "gcc in the image"),
    ("libgomp1", "libpq-dev", "libpq-dev in the image"),
    ("libgomp1", "g++ libx", "g++ in the image"),
    ("libgomp1", "build-essential", "build-essential in the image"),
    ("; rm -rf /var/lib/apt/lists/*", "", "apt leaves its lists"),
    ("install -y --no-install-recommends", "install -y", "recommended packages"),
    ("USER 1000:1000", "USER root", "the last USER"),
    ("USER 1000:1000", "USER 0", "the last USER"),
    ("USER 1000:1000", "USER 1000\nUSER app", "the last USER"),
    ("USER 1000:1000\n", "", "the last USER"),
    ("RUN python -m compileall /app\n", "", "nobody compiles"),
    ("ENV PYTHONDONTWRITEBYTECODE=1\n", "", "PYTHONDONTWRITEBYTECODE"),
    ("USER 1000:1000", "RUN pip install flask\nUSER 1000:1000", "pip runs in a stage that ends up in the image"),
    ("FROM base AS app", "RUN npm ci\nFROM base AS app", "npm runs in a stage that ends up in the image"),
    ("FROM base AS app", "FROM build AS app\nENV PYTHONDONTWRITEBYTECODE=1", "gcc in the image"),
])
def test_a_broken_image_is_found(old, new, words):
    assert old in GOOD
    found = image_problems(GOOD.replace(old, new))
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize("old, new, words", [
    ('ARG PIP_INDEX_URL=""\n', "", "pip without PIP_INDEX_URL"),
    ("export PIP_CERT=/run/secrets/ca.crt; ", "", "pip without the certificates"),
    (" --mount=type=cache,target=/var/cache/pip", "", "pip that keeps its cache"),
    ('ARG NPM_REGISTRY=""\n', "", "npm without NPM_REGISTRY"),
    ("export NODE_EXTRA_CA_CERTS=/run/secrets/ca.crt; ", "", "npm without the certificates"),
    (" --mount=type=cache,target=/var/cache/npm", "", "npm that keeps its cache"),
    ('if [ -n "$APT_MIRROR" ]; then sed -i "s#a#$APT_MIRROR#" /etc/apt/sources.list; fi; ', "", "apt without APT_MIRROR"),
    ("-o Acquire::https::CAInfo=/run/secrets/ca.crt ", "", "apt without the certificates"),
    ("/etc/apt/sources.list; fi", "/etc/apt/sources.list || true; fi", "goes unnoticed"),
    ("RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false --mount=type=cache", "RUN --mount=type=cache", "without the certificates"),
])
def test_a_setting_that_is_missing_is_found(old, new, words):
    assert old in GOOD
    found = setting_problems(GOOD.replace(old, new))
    assert any(words in problem for problem in found), found


def test_a_script_that_a_step_calls_counts_as_the_step():
    text = "FROM x\nRUN sh .dockyard/install.sh now\n"
    assert setting_problems(text, {"install.sh": "# pip install is below\nset -eu\n", "other.sh": "pip install x"}) == []
    assert len(setting_problems(text, {"install.sh": "set -eu\npip install -r requirements.txt\n"})) == 3


@pytest.mark.parametrize("text, words", [
    ("!src\n*\n" + "\n".join(PRIVATE), "does not begin with *"),
    ("node_modules\n", "does not begin with *"),
    ("*\n!src\n" + "\n".join(PRIVATE[1:]), "lacks **/.env"),
    ("*\n!src\n" + "\n".join(PRIVATE[:-1]), "lacks **/*.pyc"),
])
def test_a_context_that_is_too_wide_is_found(text, words):
    found = ignore_problems(text)
    assert any(words in problem for problem in found), found
