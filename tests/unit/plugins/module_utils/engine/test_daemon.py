# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What daemon.json should hold, and what a change of it costs."""

from __future__ import annotations

import json

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.engine import daemon

ALL = daemon.DEFAULTS


@pytest.mark.parametrize("current, desired, merged", [
    # A bare host gets the collection's wishes.
    ({}, {}, ALL),
    # The user's own keys survive, in front.
    ({"labels": ["a"]}, {}, dict([("labels", ["a"])], **ALL)),
    # What the user's file says wins over a wish, also when it is false.
    ({"live-restore": False}, {}, {"live-restore": False, "log-driver": "local", "log-opts": ALL["log-opts"]}),
    # Whoever chose a driver gets no options of ours, and whoever wrote options gets no driver.
    ({"log-driver": "journald"}, {}, {"log-driver": "journald", "live-restore": True}),
    ({"log-opts": {"max-size": "1m"}}, {}, {"log-opts": {"max-size": "1m"}, "live-restore": True}),
    # The settings win over the file.
    ({"log-driver": "journald"}, {"log-driver": "json-file"}, {"log-driver": "json-file", "live-restore": True, "log-opts": ALL["log-opts"]}),
    ({}, {"log-driver": "syslog"}, {"log-driver": "syslog", "live-restore": True}),
    ({}, {"log-opts": {"tag": "x"}}, {"log-opts": {"tag": "x"}, "live-restore": True}),
    # Null removes a key, and a wish does not bring it back.
    ({"dns": ["9.9.9.9"]}, {"dns": None, "live-restore": None}, {"log-driver": "local", "log-opts": ALL["log-opts"]}),
])
def test_merge(current, desired, merged):
    before = json.dumps(current)
    assert daemon.merge(current, desired, ALL) == merged
    assert json.dumps(current) == before


def test_merge_keeps_the_order_and_is_stable():
    once = daemon.merge({"z": 1, "a": 2}, {"m": 3}, ALL)
    assert list(once)[:3] == ["z", "a", "m"]
    assert daemon.merge(once, {"m": 3}, ALL) == once


@pytest.mark.parametrize("before, after, action", [
    ({}, {}, "none"),
    ({"debug": True}, {"debug": True}, "none"),
    ({}, {"debug": True}, "reload"),
    ({"registry-mirrors": ["https://a"]}, {}, "reload"),
    ({}, {"live-restore": True}, "reload"),
    ({}, {"live-restore": True, "log-driver": "local"}, "restart"),
    ({"dns": ["1.1.1.1"]}, {"dns": ["9.9.9.9"]}, "restart"),
    ({}, {"data-root": "/mnt"}, "restart"),
    ({}, {"features": {"buildkit": True}}, "reload"),
    ({}, {"features": {"containerd-snapshotter": True}}, "restart"),
    # A key that is false and one that is not there are two things to dockerd.
    ({}, {"icc": None}, "restart"),
])
def test_action(before, after, action):
    assert daemon.action(before, after) == action


@pytest.mark.parametrize("text, line, column", [("{\n  \"a\": 1,\nb}", 3, 1), ("{\"a\" 1}", 1, 6), ("[]", 1, 1)])
def test_malformed_says_where(text, line, column):
    with pytest.raises(daemon.MalformedConfig) as caught:
        daemon.parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "line %d, column %d" % (line, column) in str(caught.value)


def test_empty_file_and_round_trip():
    assert daemon.parse(" \n") == {}
    config = {"labels": ["Zürich"], "log-opts": {"max-file": "3"}}
    assert daemon.parse(daemon.render(config)) == config
    assert daemon.render(config).endswith("}\n")


def test_shorthands_stand_below_the_dictionary():
    settings = {"registry_mirrors": ["https://m"], "insecure_registries": [], "dns": ["10.0.0.1"], "data_root": "/d", "daemon": {"dns": ["10.0.0.2"]}}
    assert daemon.desired_from_settings(settings) == {"registry-mirrors": ["https://m"], "dns": ["10.0.0.2"], "data-root": "/d"}
