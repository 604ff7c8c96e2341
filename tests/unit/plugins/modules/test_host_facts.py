# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import inspect
import json
import os
import sys

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import collect
from ansible_collections.dockyard.fleet.plugins.modules import host_facts
from ansible_collections.dockyard.fleet.tests.unit.plugins.module_utils.docker.fake_daemon import FakeDaemon

TREES = os.path.join(os.path.dirname(__file__), "..", "module_utils", "facts", "fixtures", "trees")


class Ended(Exception):
    pass


def run_module(monkeypatch, **params):
    """Result of the module (dict), as it would be printed."""
    results = []

    class Module:
        def __init__(self, argument_spec, supports_check_mode):
            assert supports_check_mode
            assert set(params) <= set(argument_spec)
            self.params = dict((name, params.get(name, spec.get("default"))) for name, spec in argument_spec.items())

        def exit_json(self, **result):
            results.append(result)
            raise Ended

        def fail_json(self, **result):
            results.append(dict(result, failed=True))
            raise Ended

    monkeypatch.setattr(host_facts, "AnsibleModule", Module)
    with pytest.raises(Ended):
        host_facts.main()
    return results[0]


def use_tree(monkeypatch, name, **options):
    real = collect.Collector

    def captured(gather, timeout):
        return real(gather=gather, timeout=timeout, root=os.path.join(TREES, name), machine="aarch64", page_size=4096, sysname="Linux", **options)

    monkeypatch.setattr(host_facts, "Collector", captured)


def test_it_returns_facts_and_changes_nothing(monkeypatch):
    use_tree(monkeypatch, "pi4-bookworm")
    result = run_module(monkeypatch)
    assert result["changed"] is False
    assert set(result) == {"changed", "ansible_facts"}
    assert result["ansible_facts"]["dockyard_facts"]["pi"] == {"model": "Raspberry Pi 4 Model B Rev 1.4"}


def test_options_reach_the_collector(monkeypatch):
    with FakeDaemon({}, manners="hang") as daemon:
        use_tree(monkeypatch, "pi4-bookworm", socket_path=daemon.path)
        facts = run_module(monkeypatch, gather=["containers"], timeout_seconds=0.2)["ansible_facts"]["dockyard_facts"]
    assert facts["containers"] is None
    assert "no answer in time" in facts["unknown"]["containers"]
    assert facts["os"] is None


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_useless_timeout_is_refused(monkeypatch, seconds):
    result = run_module(monkeypatch, timeout_seconds=seconds)
    assert result["failed"]
    assert "timeout_seconds: found %s, needed: a number above 0" % seconds == result["msg"]


def documented(contains):
    return dict((name, documented(entry["contains"]) if "contains" in entry else None) for name, entry in contains.items())


def test_every_fact_is_documented_and_every_documented_fact_is_there(monkeypatch):
    docs = documented(yaml.safe_load(host_facts.RETURN)["ansible_facts"]["contains"]["dockyard_facts"]["contains"])
    use_tree(monkeypatch, "pi5-trixie")
    facts = run_module(monkeypatch)["ansible_facts"]["dockyard_facts"]
    assert set(docs) == set(facts)

    def compare(path, expected, value):
        if isinstance(value, list):
            for entry in value:
                compare(path, expected, entry)
        elif expected and isinstance(value, dict):
            assert set(expected) == set(value), path
            for key in expected:
                compare("%s.%s" % (path, key), expected[key], value[key])

    compare("dockyard_facts", docs, facts)


def test_choices_are_the_sections():
    choices = yaml.safe_load(host_facts.DOCUMENTATION)["options"]["gather"]["choices"]
    assert choices == list(collect.SECTIONS)


def test_only_the_standard_library_is_imported():
    if not hasattr(sys, "stdlib_module_names"):
        allowed = None  # Python 3.9 does not tell; newer ones check it
    else:
        allowed = set(sys.stdlib_module_names) | {"ansible", "ansible_collections"}
    folder = os.path.dirname(inspect.getfile(collect))
    files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".py")] + [inspect.getfile(host_facts)]
    assert len(files) > 5
    for path in files:
        with open(path, encoding="utf-8") as handle:
            words = [line.split()[1].partition(".")[0] for line in handle if line.startswith(("import ", "from "))]
        assert words
        assert allowed is None or set(words) - {"__future__"} <= allowed, path


def test_examples_are_valid_yaml():
    tasks = yaml.safe_load(host_facts.EXAMPLES)
    assert any("dockyard.fleet.host_facts" in task for task in tasks)
    json.dumps(tasks)
