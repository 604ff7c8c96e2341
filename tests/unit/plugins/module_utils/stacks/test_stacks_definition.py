# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions

DEFINITION = {
    "schema": 1, "name": "shop", "source": {"git": "https://example.org/shop.git", "ref": "abcd"},
    "images": {"web": {"build": {"recipe": "web"}}, "db": {"pull": {"image": "db:1"}, "services": ["db", "db-copy"]}},
    "volumes": {"data": {"owner": "5:5"}},
    "secrets": {"token": {"source": "generated", "readers": [5, 6]}},
    "settings": {"PORT": {"type": "port", "default": 80}, "WORD": {"default": "x"}},
    "env": {"web": {"A": "1"}},
    "limits": {"web": {"pids": 5}},
    "ports": [{"service": "web", "setting": "PORT", "container": 8080}],
    "files": [{"source": "conf/web.conf"}],
    "health": {"jobs": ["db-copy"]},
    "prove": [{"name": "p", "scheme": "http", "setting": "PORT", "path": "/"}],
    "urls": [{"name": "u", "scheme": "http", "setting": "PORT"}],
}
DOCUMENT = {
    "services": {
        "web": {"image": "${WEB_IMAGE:-web:dev}", "volumes": ["./conf/web.conf:/etc/web.conf:ro", "data:/data"], "secrets": ["token_web"]},
        "db": {"image": "${DB_IMAGE}", "secrets": [{"source": "token_db", "target": "token"}]},
        "db-copy": {"image": "${DB_COPY_IMAGE:-db:1}"},
    },
    "volumes": {"data": None},
    "secrets": {"token_web": {"file": "./secrets/token.5"}, "token_db": {"file": "./secrets/token.6"}},
}
PRESENT = ("web/Dockerfile", "conf/web.conf")


def check(change=None, present=PRESENT):
    definition, document = copy.deepcopy(DEFINITION), copy.deepcopy(DOCUMENT)
    if change:
        change(definition, document)
    return definitions.cross_check(definition, [document], lambda path: path in present)


@pytest.mark.parametrize("path, found", [
    ("/health", "/health"), ("//kept", "//kept"), ("/{BASE}/health", "/a/b/health"), ("/{EMPTY}/", "/"), ("/{EMPTY}/{PORT}", "/80"),
    ("/{lower}/", "/{lower}/")])
def test_a_path_with_settings(path, found):
    assert definitions.path_of(path, {"BASE": "a/b", "EMPTY": "", "PORT": 80}) == found


@pytest.mark.parametrize("service, variable", [("app", "APP_IMAGE"), ("api-v2", "API_V2_IMAGE"), ("a.b_c", "A_B_C_IMAGE")])
def test_variable_of(service, variable):
    assert definitions.variable_of(service) == variable


def test_services_are_merged_as_compose_does():
    first = {"services": {"a": {"image": "x", "ports": ["1"], "environment": {"A": "1"}}, "b": None}}
    second = {"services": {"a": {"image": "y", "ports": ["2"]}, "c": {"image": "z"}}}
    assert definitions.services_of([first, second]) == {"a": {"image": "y", "ports": ["1", "2"], "environment": {"A": "1"}}, "b": {}, "c": {"image": "z"}}
    assert first["services"]["a"]["ports"] == ["1"]


def test_services_of_nothing():
    assert definitions.services_of([]) == {} == definitions.services_of([{"services": None}])


def test_secrets_of_services():
    assert definitions.secrets_of_services([DOCUMENT]) == {"web": [("token", 5)], "db": [("token", 6)], "db-copy": []}
    other = {"services": {"a": {"secrets": ["plain", "outside", "inline"]}},
             "secrets": {"plain": {"file": "secrets/plain"}, "outside": {"file": "/etc/secrets/outside.5"}, "inline": {"environment": "X"}}}
    assert definitions.secrets_of_services([other]) == {"a": [("plain", None)]}


def test_files_of_services():
    document = {"configs": {"c": {"file": "./conf/c.ini"}},
                "services": {"a": {"configs": [{"source": "c"}],
                                   "volumes": ["./x/../y:/y", "named:/z", "/abs:/abs", {"type": "bind", "source": "./long", "target": "/l"},
                                               "./secrets/s.5:/run/s"]}, "b": {}}}
    assert definitions.files_of_services([document]) == {"a": ["conf/c.ini", "long", "y"], "b": []}


def test_a_good_stack_has_no_problem():
    assert check() == []


BAD = {
    "service without image": (lambda d, c: c["services"].update(extra={"image": "x"}), "the service 'extra' of compose.yaml has no entry"),
    "image without service": (lambda d, c: d["images"].update(ghost={"pull": {"image": "x"}}),
                              "images/ghost: compose.yaml has no service 'ghost'; it has: db, db-copy, web"),
    "fixed reference": (lambda d, c: c["services"]["web"].update(image="web:1"), "services/web/image: found 'web:1', needed ${WEB_IMAGE:-...}"),
    "variable of another": (lambda d, c: c["services"]["db-copy"].update(image="${DB_IMAGE}"),
                            "services/db-copy/image: found '${DB_IMAGE}', needed ${DB_COPY_IMAGE"),
    "build and pull": (lambda d, c: d["images"]["web"].update(pull={"image": "x"}), "images/web: needed exactly one of build and pull"),
    "neither": (lambda d, c: d["images"].update(db={"services": ["db", "db-copy"]}), "images/db: needed exactly one of build and pull"),
    "no Dockerfile": (lambda d, c: d["images"]["web"]["build"].update(dockerfile="Other"), "images/web/build: no file web/Other"),
    "no source": (lambda d, c: d.pop("source"), "images/web/build: builds from the application's source, but the stack names none"),
    "env of nobody": (lambda d, c: d["env"].update(wbe={"A": "1"}), "env/wbe: compose.yaml has no such service; it has: db, db-copy, web"),
    "limits of nobody": (lambda d, c: d["limits"].update(wbe={"pids": 1}), "limits/wbe: compose.yaml has no such service"),
    "volume unknown": (lambda d, c: d["volumes"].update(date={}), "volumes/date: compose.yaml has no such volume; it has: data"),
    "job unknown": (lambda d, c: d["health"]["jobs"].append("x"), "health/jobs: compose.yaml has no service 'x'"),
    "port of nobody": (lambda d, c: d["ports"][0].update(service="x"), "ports[0]/service: compose.yaml has no service 'x'"),
    "port without setting": (lambda d, c: d["ports"][0].update(setting="NONE"), "ports[0]/setting: needed a setting of type port named NONE"),
    "port of another type": (lambda d, c: d["ports"][0].update(setting="WORD"), "ports[0]/setting: needed a setting of type port named WORD"),
    "path of prove": (lambda d, c: d["prove"][0].update(path="/{BASE}/"), "prove[0]/path: no setting is named BASE"),
    "path of urls": (lambda d, c: d["urls"][0].update(path="/{WORD}/{BASE}"), "urls[0]/path: no setting is named BASE"),
    "prove without setting": (lambda d, c: d["prove"][0].update(setting="X"), "prove[0]/setting: no setting is named X"),
    "url without setting": (lambda d, c: d["urls"][0].update(setting="X"), "urls[0]/setting: no setting is named X"),
    "file outside": (lambda d, c: d["files"].append({"source": "conf/../../etc/passwd"}), "files[1]/source: conf/../../etc/passwd leaves the stack's folder"),
    "file missing": (lambda d, c: d["files"].append({"source": "conf/none"}), "files[1]/source: no file conf/none"),
    "mount not brought": (lambda d, c: c["services"]["db"].update(volumes=["./init.sql:/i"]), "services/db: mounts ./init.sql, which `files` does not bring"),
    "secret undeclared": (lambda d, c: d["secrets"].clear(), "services/web: mounts the secret 'token', which `secrets` does not declare"),
    "reader missing": (lambda d, c: d["secrets"]["token"].update(readers=[5]), "services/db: mounts secrets/token.6, but secrets/token/readers has no 6"),
    "certificate without key": (lambda d, c: d["secrets"].update(crt={"source": "tls_certificate"}),
                                "needed one tls_certificate and one tls_key, or neither; found 1 and 0"),
    "two pairs": (lambda d, c: d["secrets"].update({n: {"source": "tls_" + n.rstrip("12")} for n in ("certificate1", "certificate2", "key1", "key2")}),
                  "found 2 and 2"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_cross_check_finds(case):
    change, text = BAD[case]
    problems = check(change)
    assert any(text in problem for problem in problems), problems


# -- tools, actions, schedules, artifacts ---------------------------------------

def rich(definition, document):
    """The stack with a tool, actions, a schedule and a set of files."""
    definition["images"]["web"]["services"] = ["web", "tool"]
    definition["images"]["web"]["build"]["args"] = {"WORD": {"setting": "WORD", "values": {"x": 1, "y": 2}}}
    definition["images"]["web"]["budget_mb"] = {"setting": "WORD", "values": {"x": 100}}
    definition["tools"] = ["tool"]
    definition["actions"] = {
        "check": {"service": "tool", "command": ["check", "{url}", ["--word", "{word}"], "{{url}}"], "environment": {"TOKEN": "{token}"}, "output": "json",
                  "success": {"json": {"state": ["ok"]}},
                  "arguments": {"url": {"required": True}, "word": {"default": "w", "pattern": "[a-z]"}, "token": {"secret": True}}},
        "shell": {"service": "web", "how": "exec", "command": ["sh"], "interactive": True},
    }
    definition["schedules"] = {"often": {"action": "check", "calendar": {"setting": "WORD"}, "arguments": {"url": {"setting": "WORD"}}, "when_setting": "WORD"}}
    definition["artifacts"] = {"models": {"manifest": "models.json", "variable": "MODELS_DIR", "when": {"WORD": "x"}}}
    document["services"]["tool"] = {"image": "${TOOL_IMAGE}", "profiles": ["tools"], "volumes": [
        {"type": "volume", "source": "data", "target": "/d", "volume": {"nocopy": True}}, "${MODELS_DIR:-./models}:/models:ro"]}


def change_action(**changes):
    return lambda d, c: d["actions"]["check"].update(changes)


def argument(name, **entry):
    return lambda d, c: d["actions"]["check"]["arguments"].update({name: entry})


RICH = {
    "tool unknown": (lambda d, c: d["tools"].append("tol"), "tools: compose.yaml has no service 'tol'; it has: db, db-copy, tool, web"),
    "tool without profile": (lambda d, c: c["services"]["tool"].pop("profiles"),
                             "compose files, services/tool/profiles: found none, needed [tools], for `tools` names it"),
    "tool of another profile": (lambda d, c: c["services"]["tool"].update(profiles=["tools", "x"]),
                                "services/tool/profiles: found ['tools', 'x'], needed [tools]"),
    "profile without tool": (lambda d, c: d.pop("tools"), "services/tool/profiles: found ['tools'], needed none, or its name in `tools`"),
    "tool that copies": (lambda d, c: c["services"]["tool"].update(volumes=["data:/d"]),
                         "services/tool/volumes: mounts data, which has an owner or a mode, without `volume: {nocopy: true}`"),
    "tool as job": (lambda d, c: d["health"]["jobs"].append("tool"), "health/jobs: 'tool' is one of `tools`, which a release does not start"),
    "tool depended on": (lambda d, c: c["services"]["web"].update(depends_on=["tool"]), "services/web/depends_on: 'tool' is one of `tools`"),
    "action of nobody": (change_action(service="x"), "actions/check/service: compose.yaml has no service 'x'"),
    "exec in a tool": (change_action(how="exec"), "actions/check/how: 'tool' is one of `tools` and has no running container to exec in; needed how: run"),
    "environment of exec": (change_action(how="exec", service="web"), "actions/check/environment: only a container of its own can have it"),
    "entrypoint of exec": (change_action(how="exec", service="web", entrypoint="/x"), "actions/check/entrypoint: only a container of its own can have it"),
    "placeholder of nobody": (change_action(command=["{ulr}", "{url}", "{word}"]),
                              "actions/check/command: {ulr} is none of its arguments (token, url, word); write {{ulr}} for the text itself"),
    "placeholder in a list": (change_action(command=["{url}{word}", ["{ulr}"]]), "actions/check/command: {ulr} is none of its arguments"),
    "placeholder of environment": (change_action(environment={"TOKEN": "{token}", "X": "{y}"}), "actions/check/environment/X: {y} is none of its arguments"),
    "secret in a command line": (change_action(command=["{url}", "{word}", "{token}"]),
                                 "actions/check/command: {token} is a secret, and everybody on the host can read command lines"),
    "argument unused": (argument("more"), "actions/check/arguments/more: nothing in command or environment uses {more}"),
    "argument named stack": (argument("stack"), "actions/check/arguments: 'stack' is a variable of playbooks/run.yml itself"),
    "bad pattern": (argument("word", pattern="["), "actions/check/arguments/word/pattern: not a regular expression"),
    "bad default": (argument("word", default="W", pattern="[a-z]"), "actions/check/arguments/word/default: found 'W', needed a text that matches [a-z]"),
    "default and required": (argument("word", default="w", required=True), "actions/check/arguments/word: found a default and required: true"),
    "JSON of text": (change_action(output="text"), "actions/check/success/json: needed output: json"),
    "output of interactive": (lambda d, c: d["actions"]["shell"].update(output="json"), "actions/shell/output: a person sees the output"),
    "secret of interactive": (change_action(interactive=True), "actions/check/arguments: an interactive action is typed by a person"),
    "schedule of nothing": (lambda d, c: d["schedules"]["often"].update(action="chek"),
                            "schedules/often/action: found 'chek', needed one of `actions`: check, shell"),
    "schedule of a shell": (lambda d, c: d["schedules"]["often"].update(action="shell", arguments={}), "schedules/often/action: 'shell' is interactive"),
    "schedule with too much": (lambda d, c: d["schedules"]["often"]["arguments"].update(x="1"), "schedules/often/arguments: the action has no argument 'x'"),
    "schedule with too little": (lambda d, c: d["schedules"]["often"].update(arguments={}),
                                 "schedules/often/arguments: found no 'url', which the action needs"),
    "secret in stack.yml": (lambda d, c: d["schedules"]["often"]["arguments"].update(token="hush"),
                            "schedules/often/arguments/token: a secret in stack.yml is none"),
    "when of nothing": (lambda d, c: d["schedules"]["often"].update(when_setting="X"),
                        "schedules/often/when_setting: no setting is named X; there are: PORT, WORD"),
    "calendar of nothing": (lambda d, c: d["schedules"]["often"].update(calendar={"setting": "X"}), "schedules/often/calendar: no setting is named X"),
    "argument of nothing": (lambda d, c: d["schedules"]["often"]["arguments"].update(url={"setting": "X"}),
                            "schedules/often/arguments/url: no setting is named X"),
    "build argument of nothing": (lambda d, c: d["images"]["web"]["build"]["args"].update(A={"setting": "X"}),
                                  "images/web/build/args/A: no setting is named X"),
    "budget of nothing": (lambda d, c: d["images"]["web"]["budget_mb"].update(setting="X"), "images/web/budget_mb: no setting is named X"),
    "budget without the default": (lambda d, c: d["images"]["web"]["budget_mb"].update(values={"y": 1}),
                                   "images/web/budget_mb/values: found none for 'x', the default of WORD"),
    "artifact for nothing": (lambda d, c: d["artifacts"]["models"].update(when={"X": 1}), "artifacts/models/when: no setting is named X"),
    "manifest missing": (lambda d, c: d["artifacts"]["models"].update(manifest="other.json"), "artifacts/models/manifest: no file other.json"),
    "manifest outside": (lambda d, c: d["artifacts"]["models"].update(manifest="a/../../x.json"),
                         "artifacts/models/manifest: a/../../x.json leaves the stack's folder"),
    "variable of a setting": (lambda d, c: d["artifacts"]["models"].update(variable="WORD"), "artifacts/models/variable: WORD is the name of a setting"),
    "variable of an image": (lambda d, c: d["artifacts"]["models"].update(variable="WEB_IMAGE"),
                             "artifacts/models/variable: WEB_IMAGE is the name of a setting, of an image"),
    "variable of two": (lambda d, c: d["artifacts"].update(more=d["artifacts"]["models"]), "or of another artifact's"),
    "variable unused": (lambda d, c: c["services"]["tool"].pop("volumes"), "artifacts/models/variable: no Compose file uses ${MODELS_DIR}"),
}


def check_rich(change=None):
    def both(definition, document):
        rich(definition, document)
        if change:
            change(definition, document)
    return check(both, PRESENT + ("models.json",))


def test_a_rich_stack_has_no_problem():
    assert check_rich() == []


@pytest.mark.parametrize("case", sorted(RICH))
def test_cross_check_of_a_rich_stack_finds(case):
    change, text = RICH[case]
    problems = check_rich(change)
    assert any(text in problem for problem in problems), problems


def test_a_folder_is_brought_by_its_files():
    def change(definition, document):
        document["services"]["web"]["volumes"] = ["./conf:/etc/conf"]
    assert check(change) == []


def test_a_recipe_without_source_needs_none():
    def change(definition, document):
        definition.pop("source")
        definition["images"]["web"]["build"]["source"] = False
    assert check(change) == []


def test_a_secret_of_a_profile_that_is_off_is_not_asked_for():
    definition = {"name": "x", "images": {"web": {}, "cloudflared": {}}, "secrets": {"token": {"readers": [1]}, "both": {"readers": [0]}},
                  "profiles": {"tunnel": {"services": ["cloudflared"], "when": {"ON": True}}}}
    documents = [{"services": {"web": {"secrets": ["b"]}, "cloudflared": {"profiles": ["tunnel"], "secrets": ["b", "t"]}},
                  "secrets": {"t": {"file": "./secrets/token.1"}, "b": {"file": "./secrets/both"}}}]
    assert sorted(definitions.active(definition, documents, {"ON": "false"})[0]["secrets"]) == ["both"]
    assert sorted(definitions.active(definition, documents, {"ON": "true"})[0]["secrets"]) == ["both", "token"]
