# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `migration`: what the schema refuses, and what a definition and its Compose files refuse together."""
from __future__ import annotations

import copy
import json
import os

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import migration
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.schema import validate

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 5))
with open(os.path.join(ROOT, "files", "schemas", "stack.schema.json"), encoding="utf-8") as handle:
    SCHEMA = json.load(handle)

LAYOUT = {
    "description": "as its script installs it",
    "detect": ["/etc/systemd/system/shop.service", "/srv/shop"],
    "units": [{"name": "nginx.service", "optional": True}, {"name": "shop@1.service"}],
    "env": {
        "files": ["/etc/default/shop", ["/srv/shop/.env", "/srv/shop/config/.env"]],
        "dialect": "systemd",
        "rules": [
            {"name": "SECRET_KEY", "secret": "token", "known": ["change_me_*"]},
            {"name": ["WORKERS", "THREADS"], "env": "web"},
            {"name": "LIMIT", "setting": "WORD", "replace": {"localhost": "db"}, "values": {"": "x"}},
            {"name": "DB_HOST", "only": ["localhost"], "drop": "Compose sets it"},
            {"name": "DB_HOST", "env": "web", "as": "ELSEWHERE"},
        ],
    },
    "postgres": [{"service": "db", "source": {"socket": "/var/run/postgresql", "port": 5432, "user": "postgres", "password": {"variable": "DB_PASSWORD"},
                                              "database": {"variable": "DB_NAME", "default": "shop"}},
                  "database": "shop", "roles": {"old": "shop"}}],
    "trees": [{"name": "images", "source": "/srv/shop/images", "volume": "data", "path": "images", "owner": "7:7"},
              {"name": "cache", "source": "/srv/shop/cache", "volume": "data", "path": "./cache", "owner": "5:5", "optional": True, "exclude": ["tmp"]},
              {"name": "all", "source": "/srv/other", "volume": "more", "owner": "5:5"}],
    "certificates": {"certificate": "/srv/shop/ssl/cert.pem", "key": "/srv/shop/ssl/key.pem", "secrets": {"certificate": "crt", "key": "key"},
                     "optional": True},
    "tunnel": {"config": "/etc/cloudflared/config.yml", "service": "web", "optional": True},
    "leaves": ["/srv/shop/config", "/srv/shop/cache/tmp"],
}
DEFINITION = {
    "schema": 1, "name": "shop",
    "images": {"web": {"pull": {"image": "web:1"}}, "db": {"pull": {"image": "db:1"}}},
    "volumes": {"data": {"owner": "5:5"}, "more": {"owner": "5:5"}},
    "secrets": {"token": {"source": "generated"}, "licence": {"source": "given"}, "crt": {"source": "tls_certificate"}, "key": {"source": "tls_key"}},
    "settings": {"WORD": {"default": "x"}},
    "tunnel": [{"hostname": "shop.example.org", "service": "web", "port": 80}],
    "migration": {"old": LAYOUT},
}
DOCUMENT = {
    "services": {
        "web": {"image": "${WEB_IMAGE}", "env_file": [{"path": "./web.env", "required": False}], "environment": {"DB_NAME": "shop"},
                "volumes": ["data:/d", "more:/m"]},
        "db": {"image": "${DB_IMAGE}", "environment": ["DB_X=1"], "volumes": [{"type": "volume", "source": "pg", "target": "/var/lib/postgresql/data"}]},
    },
    "volumes": {"data": None, "more": None, "pg": None},
}


def valid(change=None):
    """Problems by the schema."""
    definition = copy.deepcopy(DEFINITION)
    if change:
        change(definition["migration"]["old"])
    return validate(definition, SCHEMA)


def check(change=None):
    """Problems of a definition that the schema takes."""
    definition, document = copy.deepcopy(DEFINITION), copy.deepcopy(DOCUMENT)
    if change:
        change(definition["migration"]["old"], definition, document["services"])
    assert validate(definition, SCHEMA) == []
    return definitions.cross_check(definition, [document], lambda path: True)


def test_a_whole_layout_is_fine():
    assert valid() == []
    assert check() == []


def test_a_layout_needs_little():
    def change(layout, definition, unused):
        definition["migration"] = {"old": {key: layout[key] for key in ("description", "detect", "units")}}

    assert check(change) == []
    assert migration.check({"name": "shop"}, {}, []) == []


# -- the schema -------------------------------------------------------------------------

@pytest.mark.parametrize("path, value, words", [
    (["detect"], [], "migration/old/detect: found 0 entries, needed at least 1"),
    (["detect"], ["srv/shop"], "migration/old/detect[0]: found 'srv/shop', needed a text that matches"),
    (["detect"], ["/srv/shop/"], "migration/old/detect[0]: found '/srv/shop/', needed"),
    (["units", 0, "name"], "nginx", "migration/old/units[0]/name: found 'nginx', needed"),
    (["units", 0, "name"], "ngi nx.service", "migration/old/units[0]/name"),
    (["units", 0, "name"], "../x.service", "migration/old/units[0]/name"),
    (["units", 0, "name"], "-x.service", "migration/old/units[0]/name"),
    (["units"], [], "migration/old/units: found 0 entries"),
    (["env", "files"], ["config/.env"], "migration/old/env/files[0]: found 'config/.env'"),
    (["env", "files"], [[]], "migration/old/env/files[0]: found 0 entries"),
    (["env", "files"], [["x"]], "migration/old/env/files[0][0]: found 'x'"),
    (["env", "dialect"], "bash", "migration/old/env/dialect: found 'bash', needed one of: dotenv, systemd"),
    (["env", "rules"], [], "migration/old/env/rules: found 0 entries"),
    (["env", "rules", 0, "name"], "SECRET KEY", "migration/old/env/rules[0]/name"),
    (["env", "rules", 0, "known"], ["a"], "migration/old/env/rules[0]/known[0]: found a text of 1 characters"),
    (["env", "rules", 0, "only"], [1], "migration/old/env/rules[0]/only[0]: found a whole number (1), needed a text"),
    (["env", "rules", 0, "replace"], {"x": 1}, "migration/old/env/rules[0]/replace/x: found a whole number"),
    (["env", "rules", 0, "rename"], "X", "migration/old/env/rules[0]: unknown key 'rename'"),
    (["postgres", 0, "source", "port"], 0, "migration/old/postgres[0]/source/port: found 0, needed at least 1"),
    (["postgres", 0, "source", "password"], "hush", "migration/old/postgres[0]/source/password: found a text"),
    (["postgres", 0, "source", "database"], {"default": "x"}, "migration/old/postgres[0]/source/database: found no key 'variable'"),
    (["trees", 0, "owner"], "shop", "migration/old/trees[0]/owner: found 'shop'"),
    (["trees", 0, "path"], "/images", "migration/old/trees[0]/path: found '/images'"),
    (["trees", 0, "source"], "/", "migration/old/trees[0]/source: found '/'"),
    (["certificates", "secrets"], {"key": "key"}, "migration/old/certificates/secrets: found no key 'certificate'"),
    (["tunnel", "config"], "config.yml", "migration/old/tunnel/config: found 'config.yml'"),
    (["leaves"], ["x"], "migration/old/leaves[0]: found 'x'"),
    (["unit"], "x", "migration/old: unknown key 'unit'"),
])
def test_the_schema_refuses(path, value, words):
    def change(layout):
        for step in path[:-1]:
            layout = layout[step]
        layout[path[-1]] = value

    found = valid(change)
    assert len(found) == 1 and found[0].startswith(words), found


def test_the_schema_refuses_an_empty_section_and_odd_names():
    assert validate(dict(DEFINITION, migration={}), SCHEMA) == ["migration: found 0 entries, needed at least 1"]
    assert "needed a name that matches" in validate(dict(DEFINITION, migration={"RC 8": LAYOUT}), SCHEMA)[0]


# -- the definition and its Compose files -------------------------------------------------

def rules_are(*rules):
    return lambda layout, definition, services: layout["env"].update(rules=list(rules))


def tree_is(number, **keys):
    return lambda layout, definition, services: layout["trees"][number].update(keys)


RULE = {"name": "A", "env": "web"}


@pytest.mark.parametrize("change, problem", [
    (rules_are({"name": "A"}), "env/rules[0]: found none, needed exactly one of env, setting, secret, drop"),
    (rules_are({"name": "A", "env": "web", "setting": "WORD"}), "env/rules[0]: found env and setting, needed exactly one of env, setting, secret, drop"),
    (rules_are({"name": "A", "env": "webb"}), "env/rules[0]/env: compose.yaml has no service 'webb'; it has: db, web"),
    (rules_are({"name": "A", "env": "db"}), "env/rules[0]/env: services/db of the Compose files does not read db.env; needed it in its env_file"),
    (rules_are({"name": ["A", "DB_NAME"], "env": "web"}),
     "env/rules[0]/env: services/web/environment of the Compose files sets DB_NAME, so that a value of the native installation would have no effect; "
     "needed `drop`"),
    (rules_are({"name": "A", "env": "web", "as": "DB_NAME"}),
     "env/rules[0]/env: services/web/environment of the Compose files sets DB_NAME, so that a value of the native installation would have no effect; "
     "needed `drop`"),
    (rules_are({"name": "A", "setting": "WORDS"}), "env/rules[0]/setting: no setting is named WORDS; there are: WORD"),
    (rules_are({"name": "A", "secret": "tokens"}), "env/rules[0]/secret: found 'tokens', needed one of `secrets` that is generated or given: licence, token"),
    (rules_are({"name": "A", "secret": "key"}), "env/rules[0]/secret: found 'key', needed one of `secrets` that is generated or given: licence, token"),
    (rules_are({"name": "A", "secret": "licence", "known": ["free"]}),
     "env/rules[0]/known: the secret 'licence' is given, so nobody makes another one; needed source: generated"),
    (rules_are(dict(RULE, known=["free"])), "env/rules[0]/known: found it with `env`, needed it only with `secret`"),
    (rules_are({"name": "A", "drop": "x", "as": "B"}), "env/rules[0]/as: found it with `drop`, needed it only with `env`"),
    (rules_are({"name": "A", "secret": "token", "replace": {"a": "b"}}),
     "env/rules[0]/replace: found it with `secret`, needed it only with `env` or `setting`"),
    (rules_are({"name": "A", "drop": "x", "values": {"a": "b"}}), "env/rules[0]/values: found it with `drop`, needed it only with `env` or `setting`"),
    (rules_are(dict(RULE, replace={"/srv/": "/data"})),
     "env/rules[0]/replace: found '/srv/', needed it without the slash at its end, which no value would match"),
    (rules_are(RULE, {"name": ["B", "A"], "drop": "x"}), "env/rules[1]: a rule before it takes every value of A, so that this one never counts"),
    (rules_are(RULE, {"name": "B", "env": "web", "as": "A"}), "env/rules[1]: B becomes A of services/web, and so does A; needed one variable for it"),
    (rules_are({"name": ["A", "B"], "secret": "token"}), "env/rules[0]: B becomes secrets/token, and so does A; needed one variable for it"),
    (rules_are({"name": "A", "setting": "WORD"}, {"name": "B", "setting": "WORD"}),
     "env/rules[1]: B becomes settings/WORD, and so does A; needed one variable for it"),
    (lambda layout, d, s: layout["units"].append({"name": "shop@1.service"}), "units: found shop@1.service twice"),
    (lambda layout, d, s: layout["detect"].append("/srv/../x"), "detect[2]: found /srv/../x, needed it without `.`, `..` and double slashes: /x"),
    (lambda layout, d, s: layout["leaves"].append("/srv//x"), "leaves[2]: found /srv//x, needed it without `.`, `..` and double slashes: /srv/x"),
    (lambda layout, d, s: layout["env"]["files"].append("/srv/shop/./.env"),
     "env/files: found /srv/shop/./.env, needed it without `.`, `..` and double slashes: /srv/shop/.env"),
    (lambda layout, d, s: layout["certificates"].update(key="/srv/./key"),
     "certificates/key: found /srv/./key, needed it without `.`, `..` and double slashes: /srv/key"),
    (lambda layout, d, s: layout["tunnel"].update(config="/etc/../x"), "tunnel/config: found /etc/../x, needed it without `.`, `..` and double slashes: /x"),
    (tree_is(2, source="/srv/other/../that"),
     "trees, all/source: found /srv/other/../that, needed it without `.`, `..` and double slashes: /srv/that"),
    (tree_is(0, path="../images"), "trees, images/path: ../images leaves the volume"),
    (tree_is(0, volume="date"), "trees, images/volume: compose.yaml has no such volume 'date'; it has: data, more, pg"),
    (tree_is(0, volume="pg"), "trees, images/volume: 'pg' holds the data of services/db, which come by `postgres` and never as files"),
    (tree_is(2, owner="6:6"), "trees, all/owner: found 6:6, needed 5:5, the owner of volumes/more"),
    (tree_is(1, name="images"), "trees, images: another tree has this name"),
    (tree_is(1, path="images"),
     "trees, cache: its place in the volume 'data' is also that of the tree images (images and images); needed a folder for each"),
    (tree_is(1, path="images/small"),
     "trees, cache: its place in the volume 'data' is also that of the tree images (images/small and images); needed a folder for each"),
    (tree_is(1, path="."), "trees, cache: its place in the volume 'data' is also that of the tree images (. and images); needed a folder for each"),
    (tree_is(2, source="/srv/shop/images/x"), "trees, all/source: /srv/shop/images/x is in the tree images too; needed it in `exclude` there"),
    (tree_is(0, source="/srv/other"), "trees, all/source: /srv/other is in the tree images too; needed it in `exclude` there"),
    (tree_is(2, source="/etc/default"),
     "trees, all/source: the environment file /etc/default/shop is in it; in a container the application would let it override what Compose says; "
     "needed another tree, or the file in `exclude`"),
    (lambda layout, d, s: layout["leaves"].append("/srv/shop/images/old"),
     "trees, images/source: `leaves` says that /srv/shop/images/old stays behind, and it is in the tree"),
    (lambda layout, d, s: layout["postgres"][0].update(service="dbb"), "postgres[0]/service: compose.yaml has no service 'dbb'; it has: db, web"),
    (lambda layout, d, s: layout["postgres"].append(layout["postgres"][0]), "postgres[1]/service: 'db' gets data of another entry already"),
    (lambda layout, d, s: layout["postgres"][0]["source"].update(host="h"), "postgres[0]/source: needed exactly one of socket and host"),
    (lambda layout, d, s: layout["postgres"][0]["source"].pop("socket"), "postgres[0]/source: needed exactly one of socket and host"),
    (lambda layout, d, s: layout.pop("env"), "postgres[0]/source: it refers to a variable, and the layout has no `env` whose files could say it"),
    (lambda layout, d, s: layout["certificates"]["secrets"].update(key="token"),
     "certificates/secrets/key: found 'token', needed the secret whose source is tls_key: key"),
    (lambda layout, d, s: layout["certificates"]["secrets"].update(certificate="nothing"),
     "certificates/secrets/certificate: found 'nothing', needed the secret whose source is tls_certificate: crt"),
    (lambda layout, d, s: layout["tunnel"].update(service="db"), "tunnel/service: found 'db', needed a service that `tunnel` of the stack names: web"),
    (lambda layout, d, s: d.pop("tunnel"), "tunnel/service: found 'web', needed a service that `tunnel` of the stack names: there are none"),
])
def test_a_definition_is_refused(change, problem):
    where = "migration/old/"
    assert check(change) == [where + problem]


@pytest.mark.parametrize("change", [
    rules_are({"name": "A", "only": ["1"], "env": "web"}, {"name": "A", "env": "web"}),
    rules_are({"name": "A", "only": ["1"], "env": "web"}, {"name": "A", "only": ["2"], "secret": "token"}, {"name": "A", "drop": "x"}),
    rules_are({"name": "A", "drop": "x"}, {"name": "DB_NAME", "env": "web", "as": "A"}),
    rules_are(dict(RULE, replace={"/": "/data"})),
    tree_is(0, owner="1:1"),
    tree_is(2, source="/etc/default", exclude=["shop"]),
    tree_is(2, source="/srv/shop/cache/tmp/x"),
    tree_is(2, source="/srv/shop/images2"),
    tree_is(0, path="cached"),
])
def test_what_only_looks_wrong_is_taken(change):
    assert check(change) == []


def test_the_whole_root_of_an_application_is_no_tree():
    """The trap: its environment file would come along, and would send the application in the container to a database on localhost."""
    problems = check(tree_is(2, source="/srv/shop"))
    assert sum("override what Compose says" in problem for problem in problems) == 2
    assert {problem.split(": ")[0] for problem in problems} == {"migration/old/trees, all/source"}


def test_the_shapes_of_env_file_and_environment_that_compose_takes():
    for env_file in ("web.env", ["./web.env"], [{"path": "web.env"}]):
        assert check(lambda layout, definition, services, env_file=env_file: services["web"].update(env_file=env_file)) == []
    found = check(lambda layout, definition, services: services["web"].update(environment=["WORKERS=2", "OTHER"]))
    assert len(found) == 1 and "sets WORKERS" in found[0]


def test_a_layout_that_an_earlier_one_always_hides_is_refused():
    def change(layout, definition, unused):
        definition["migration"]["newer"] = dict(layout, detect=layout["detect"] + ["/srv/shop/new"])

    assert check(change) == ["migration/newer/detect: a host that has these paths has those of old too, which comes first; needed it before that one"]

    def equal(layout, definition, unused):
        definition["migration"]["newer"] = dict(layout)

    assert check(equal) == ["migration/newer/detect: a host that has these paths has those of old too, which comes first; needed it before that one"]

    def turned(layout, definition, unused):
        definition["migration"] = {"newer": dict(layout, detect=layout["detect"] + ["/srv/shop/new"]), "old": layout}

    assert check(turned) == []


def test_all_environment_files_are_known():
    assert migration.env_paths(LAYOUT) == ["/etc/default/shop", "/srv/shop/.env", "/srv/shop/config/.env"]
    assert migration.env_paths({}) == []


@pytest.mark.parametrize("path, folder, inside", [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("a/b", ".", True), (".", ".", True),
                                                  (".", "a", False), ("/a", "/a/b", False)])
def test_within(path, folder, inside):
    assert migration.within(path, folder) is inside
