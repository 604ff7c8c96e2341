# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peers of benchmarks/image_size: one for each image that the stacks build, of one stage, and the context that they get."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import re
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


def load():
    loader = importlib.machinery.SourceFileLoader("image_size", str(ROOT / "benchmarks" / "image_size"))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader("image_size", loader))
    loader.exec_module(loaded)
    return loaded


benchmark = load()
PEERS = sorted(path.name for path in (ROOT / "benchmarks/peers/single_stage").iterdir())


def built():
    """The names of all images that the stacks build."""
    for path in sorted((ROOT / "files/stacks").glob("*/stack.yml")):
        for name, image in yaml.safe_load(path.read_text(encoding="utf-8"))["images"].items():
            if "build" in image:
                yield f"{path.parent.name}_{name}"


def test_every_image_that_is_built_has_a_peer_and_every_peer_an_image():
    assert sorted(built()) == sorted(benchmark.IMAGES) == PEERS


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_has_one_stage_and_the_usual_care(name):
    text = (ROOT / "benchmarks/peers/single_stage" / name / "Dockerfile").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^FROM ", text)) == 1
    assert "pip install" not in text or "--no-cache-dir" in text
    assert "apt-get" not in text or "rm -rf /var/lib/apt/lists/*" in text


@pytest.mark.parametrize("name", sorted(benchmark.IMAGES))
def test_a_name_tells_stack_and_image(name):
    stack = benchmark.owner(name)
    images = yaml.safe_load((ROOT / "files/stacks" / stack / "stack.yml").read_text(encoding="utf-8"))["images"]
    assert name[len(stack) + 1:] in images


def test_a_context_has_the_folder_and_what_is_added_but_no_history(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("x")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.py").write_text("x")
    with tarfile.open(fileobj=io.BytesIO(benchmark.tar_of(tmp_path, {"Dockerfile.bench": "FROM x\n"}))) as tar:
        assert sorted(tar.getnames()) == [".", "./src", "./src/main.py", "Dockerfile.bench"]
        assert tar.extractfile("Dockerfile.bench").read() == b"FROM x\n"
