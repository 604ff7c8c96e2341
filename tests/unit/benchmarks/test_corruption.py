# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The damage of benchmarks/corruption is damage: a kind that left a file as it was would count as found."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "corruption"


@pytest.fixture(scope="module")
def corruption():
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader = importlib.machinery.SourceFileLoader("benchmark_corruption", str(PROGRAM))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize("kind", ["flip", "cut", "longer", "zeros", "swap", "html"])
@pytest.mark.parametrize("data", [b"a", b"\0", b"\0" * 5000, bytes(range(256)) * 40], ids=["one", "zero", "zeros", "bytes"])
def test_damage_changes_the_bytes(corruption, kind, data):
    for seed in range(50):
        assert corruption.damaged(kind, data, data, random.Random(seed)) != data


def test_flips_keep_the_size(corruption):
    data = bytes(range(256))
    for seed in range(50):
        assert len(corruption.damaged("flip", data, b"", random.Random(seed))) == len(data)


def test_the_same_seed_gives_the_same_damage(corruption):
    data = bytes(range(256))
    assert corruption.damaged("flip", data, b"", random.Random(7)) == corruption.damaged("flip", data, b"", random.Random(7))


def test_every_kind_of_damage_is_in_one_list(corruption):
    kinds = [*corruption.STORED, *corruption.FETCHED, *corruption.ONCE, *corruption.REFUSED]
    assert len(kinds) == len(set(kinds))
