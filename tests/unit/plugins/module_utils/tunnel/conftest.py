# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in of Cloudflare, served in the tests' own process."""

from __future__ import annotations

import importlib.util
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))


def stand_in():
    spec = importlib.util.spec_from_file_location("stand_in_cloudflare", os.path.join(ROOT, "tests", "stand_ins", "cloudflare.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="world")
def fixture_world():
    """A world with two zones, one below the other, that gives two entries a page."""
    module = stand_in()
    world = module.World(["example.com", "deep.example.com"], page_cap=2)
    world.url = "http://127.0.0.1:%d/client/v4" % module.start(world)[0]
    return world


@pytest.fixture(name="client")
def fixture_client(world):
    """A client that notes how long it would have slept."""
    slept = []
    client = api.Client(world.token, base_url=world.url, retries=3, sleep=slept.append)
    client.slept = slept
    return client
