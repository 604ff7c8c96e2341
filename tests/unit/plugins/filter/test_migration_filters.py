# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of role migration."""
from __future__ import annotations

import os

import pytest
import yaml

from ansible_collections.dockyard.fleet.plugins.filter import migration

DEFINITION = {"rc8": {"detect": ["/etc/a", "/srv/a"]}, "head": {"detect": ["/etc/b"]}}


@pytest.mark.parametrize("present, found", [([], []), (["/etc/a"], []), (["/etc/a", "/srv/a"], ["rc8"]), (["/etc/b", "/srv/a"], ["head"]),
                                            (["/etc/b", "/srv/a", "/etc/a"], ["head", "rc8"])])
def test_a_layout_is_there_when_all_its_paths_are(present, found):
    assert migration.migration_layouts(DEFINITION, present) == found


@pytest.mark.parametrize("definition", [None, {}])
def test_no_section_has_no_layouts(definition):
    assert migration.migration_layouts(definition, ["/etc/a"]) == []
    problem = migration.migration_layout_problem(definition, [], "rc8", "shop")
    assert problem.startswith("shop: found no section migration in the stack's definition; needed one")


@pytest.mark.parametrize("found, asked, told", [
    (["rc8"], "", ""), ([], "rc8", ""), (["head", "rc8"], "head", ""),
    ([], "other", "shop, layout: found other; needed one of head, rc8"),
    ([], "", "shop: found none of the native layouts head, rc8 on the host; needed the paths of one (head: /etc/b; rc8: /etc/a, /srv/a); "
             "name one with -e layout="),
    (["head", "rc8"], "", "shop: found the layouts head, rc8 at once on the host; needed the paths of one"),
])
def test_one_layout(found, asked, told):
    problem = migration.migration_layout_problem(DEFINITION, found, asked, "shop")
    assert problem.startswith(told) and bool(problem) == bool(told)


def test_what_ends_listens_no_more():
    facts = {"memory": 1, "ports": [{"port": 80, "pid": 7}, {"port": 22, "pid": 1}, {"port": 53}]}
    assert migration.migration_without(facts, [7, 9]) == {"memory": 1, "ports": [{"port": 22, "pid": 1}, {"port": 53}]}
    assert len(facts["ports"]) == 3 and migration.migration_without({"memory": 1}, []) == {"memory": 1, "ports": []}


POSTGRES = {"source": {"socket": "/run", "port": 5432, "user": "", "database": {"variable": "DB", "default": "things"}, "password": {"variable": "PASSWORD"}}}


@pytest.mark.parametrize("wanted, found", [
    ({}, {"socket": "/run", "port": 5432, "database": "things"}),
    ({"DB": "", "PASSWORD": ""}, {"socket": "/run", "port": 5432, "database": "things"}),
    ({"DB": "mine", "PASSWORD": "hush"}, {"socket": "/run", "port": 5432, "database": "mine", "password": "hush"}),
])
def test_a_source_takes_the_native_values(wanted, found):
    assert migration.migration_source(POSTGRES, wanted) == found


def test_the_variables_that_a_layout_asks_for():
    assert migration.migration_variables({"postgres": [POSTGRES, {"source": {"database": {"variable": "DB"}}}]}) == ["DB", "PASSWORD"]
    assert migration.migration_variables({}) == [] and migration.migration_variables({"postgres": None}) == []


PLAN = {"files": [{"path": "web.env", "content": "# x\nLEVEL=info\nNAME=\"a b\"\n"}, {"path": "conf/web.conf", "content": "OTHER=1\n"}],
        "settings": {"LIMIT": 50}}


@pytest.mark.parametrize("translated, told", [
    ({}, []), ({"env": None, "settings": None}, []),
    ({"env": {"web": {"LEVEL": "info", "NAME": "a b"}}, "settings": {"LIMIT": "50"}}, []),
    ({"env": {"web": {"LEVEL": "debug"}}}, ["my-shop, LEVEL: found debug in the native environment, which the stack does not have; needed the same, "
                                            "or a decision; set dockyard_env_my_shop: {web: {LEVEL: ...}}, or migration_env_ignore: [LEVEL]"]),
    ({"env": {"web": {"OTHER": "1"}, "db": {"LEVEL": "info"}}}, ["my-shop, LEVEL: found info", "my-shop, OTHER: found 1"]),
    ({"settings": {"LIMIT": 20}}, ["my-shop, LIMIT: found 20 in the native environment, 50 in the stack's settings; needed the same, or a decision; "
                                   "set dockyard_settings_my_shop: {LIMIT: 20}, or ignore the variable with migration_env_ignore"]),
    ({"settings": {"NEW": "x"}}, ["my-shop, NEW: found x in the native environment, None in the stack's settings"]),
])
def test_what_the_inventory_has_to_say(translated, told):
    found = migration.migration_lacks(translated, PLAN, "my-shop")
    assert len(found) == len(told) and all(text.startswith(begin) for text, begin in zip(found, told))


def test_a_secret_is_not_shown():
    found = migration.migration_lacks({"env": {"web": {"MAIL_PASSWORD": "hush-hush"}}}, PLAN, "shop")
    assert len(found) == 1 and "hush" not in found[0] and "MAIL_PASSWORD" in found[0]


def test_what_no_rule_explains():
    assert migration.migration_uncovered({}, "shop") == []
    found = migration.migration_uncovered({"uncovered": [{"name": "ODD", "file": "/etc/app.env", "line": 3, "reason": "no rule"},
                                                         {"name": "", "file": "/etc/app.env", "line": 9, "reason": "no name"}]}, "shop")
    assert found == ["shop, ODD (/etc/app.env, line 3): found no rule for it (no rule); needed one in the stack's section migration, "
                     "or migration_env_ignore: [ODD]",
                     "shop, a variable (/etc/app.env, line 9): found no rule for it (no name); needed one in the stack's section migration, "
                     "or correct the line"]


def test_figures_of_trees_for_the_receipt():
    results = {"results": [{"item": {"name": "images", "source": "/srv"}, "files": 3, "bytes": 9, "invocation": {"x": 1}}, {"item": "text", "files": 1}]}
    assert migration.migration_trees(results) == {"images": {"files": 3, "bytes": 9}} and migration.migration_trees({}) == {}


@pytest.mark.parametrize("results, lost", [
    (None, []), ([], []),
    ([{"changed": False, "differences": []}], []),
    ([{"skipped": True, "msg": "skipped", "changed": False, "failed_when_result": False}], []),
    ([{"differences": ["table items: 3 rows"]}], ["table items: 3 rows"]),
    ([{"item": {"name": "images"}, "msg": "they differ", "differences": [{"path": "a", "difference": "extra", "target": "file"},
                                                                         {"path": "b", "difference": "content", "target": "file"},
                                                                         {"path": "c", "difference": "extra", "target": "directory"},
                                                                         {"path": "d", "difference": "missing", "target": None},
                                                                         {"path": "e", "difference": "mode", "target": "file"}]}],
     ["images: files such as a, b"]),
    ([{"item": {"name": "images"}, "differences": [{"path": "c", "difference": "missing"}]}], []),
    ([{"msg": "the server does not run", "changed": False, "failed_when_result": False}], ["unknown (the server does not run)"]),
])
def test_what_would_stay_behind(results, lost):
    assert migration.migration_lost(results) == lost


def test_every_filter_has_its_name_and_is_documented():
    found = migration.FilterModule().filters()
    assert len(found) == 9 and all(name == function.__name__ for name, function in found.items())
    for name in found:
        with open(os.path.join(os.path.dirname(migration.__file__), name + ".yml"), encoding="utf-8") as handle:
            assert yaml.safe_load(handle)["DOCUMENTATION"]["name"] == name


def test_the_receipt_holds_the_digests_of_a_proof():
    proof = {"equal": True, "source": {"digest": "sha256:1", "files": 3}, "target": {"digest": "sha256:1", "files": 3}, "seconds": 0.5}
    assert migration.migration_trees({"results": [dict(proof, item={"name": "images"}, changed=False)]}) == {"images": proof}
