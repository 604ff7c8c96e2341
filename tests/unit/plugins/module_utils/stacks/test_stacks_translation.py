# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import dotenv, translation

RULES = [
    {"name": "SECRET_KEY", "secret": "key", "known": ["shop_*_change_in_production", "dev"]},
    {"name": ["DB_PASSWORD", "DB_PASS"], "secret": "password", "known": ["shop_pi_2020"]},
    {"name": "DB_HOST", "only": ["localhost", ""], "drop": "Compose sets it"},
    {"name": "DB_HOST", "only": ["old"], "env": "web", "as": "ELSEWHERE"},
    {"name": "WORKERS", "env": "web"},
    {"name": "DEBUG", "env": "web", "as": "APP_DEBUG", "values": {"True": "1", "": "0"}},
    {"name": "URL", "env": "web", "replace": {"localhost": "db", "localhost:8080": "cache:80", "/srv/shop/images": "/data"}},
    {"name": "LIMIT", "setting": "SHOP_LIMIT"},
    {"name": "UNUSED", "drop": "nobody reads it"},
]


def translate(text, rules=None, **options):
    return translation.translate(dotenv.effective([("/etc/shop.env", text)])[0], RULES if rules is None else rules, **options)


def uncovered(result):
    return {variable.name: reason for variable, reason in result.uncovered}


def test_each_variable_goes_where_its_rule_says():
    result = translate("SECRET_KEY=s3\nDB_PASSWORD='p w'\nDB_HOST=localhost\nWORKERS=4\nDEBUG=True\nLIMIT=25m\nUNUSED=x\n")
    assert result.env == {"web": {"WORKERS": "4", "APP_DEBUG": "1"}}
    assert result.settings == {"SHOP_LIMIT": "25m"}
    assert result.secrets == {"key": "s3", "password": "p w"}
    assert result.dropped == [("DB_HOST", "Compose sets it"), ("UNUSED", "nobody reads it")]
    assert result.replaced == [] and result.uncovered == []


def test_nothing_comes_of_nothing():
    result = translate("")
    assert (result.env, result.settings, result.secrets, result.replaced, result.dropped, result.uncovered) == ({}, {}, {}, [], [], [])


@pytest.mark.parametrize("value", ["shop_pi_2020", "dev", "shop_pi_change_in_production", "shop__change_in_production", "''", "shop_a b_change_in_production"])
def test_a_published_default_is_replaced_whatever_rule_knows_it(value):
    result = translate("SECRET_KEY=%s\nDB_PASSWORD=%s\n" % (value, value))
    assert result.replaced == ["DB_PASSWORD", "SECRET_KEY"]
    assert result.secrets == {} and result.uncovered == []


@pytest.mark.parametrize("value", ["developer", "shop_pi_20200", "Dev", "xshop_pi_change_in_production"])
def test_what_only_resembles_a_default_is_the_owners(value):
    assert translate("SECRET_KEY=%s\n" % value).secrets == {"key": value}


@pytest.mark.parametrize("line, name", [
    ("URL=postgres://shop:shop_pi_2020@elsewhere/shop", "URL"), ("WORKERS=shop_pi_2020", "WORKERS"), ("LIMIT=shop_raspberry_change_in_production", "LIMIT"),
    ("WORKERS=dev", "WORKERS"), ("SECRET_KEY=x:shop_pi_2020", "SECRET_KEY"), ("URL=amqp://shop_x_change_in_production@q/", "URL")])
def test_a_published_default_within_another_value_stays_behind(line, name):
    result = translate(line + "\n")
    assert uncovered(result) == {name: "a published default password stands in it"}
    assert "shop_" not in repr((result.env, result.settings, result.secrets)) and "dev" not in repr(result.env)


def test_a_short_default_is_a_word_that_other_values_may_have():
    assert translate("WORKERS=/dev/shm\n").env == {"web": {"WORKERS": "/dev/shm"}}


@pytest.mark.parametrize("known, value, found", [
    ("1234567", "x=1234567", False), ("12345678", "x=12345678", True), ("12345678", "x=123456789", False), ("12345678", "x12345678", False),
    ("1234*5678", "x=1234abc5678/", True), ("1234*5678", "x=1234 5678", False), ("123*5*67", "x=123567", False), ("123*5*67", "123x5y67", True)])
def test_where_a_default_is_found_within_a_value(known, value, found):
    assert translation.holds_known(value, [known]) is found


def test_a_value_that_the_rule_does_not_take_goes_to_the_next_rule_or_is_listed():
    assert translate("DB_HOST=old\n").env == {"web": {"ELSEWHERE": "old"}}
    assert translate("DB_HOST=\n").dropped == [("DB_HOST", "Compose sets it")]
    result = translate("DB_HOST=db.example.org\n")
    assert uncovered(result) == {"DB_HOST": "its value is none of those that its rule takes (`only`)"}


def test_what_no_rule_names_is_listed_with_its_place_and_not_guessed():
    result = translate("WORKERS=1\n\nNEW_THING=x\nworkers=2\n")
    assert [(variable.name, variable.file, variable.line, reason) for variable, reason in result.uncovered] == [
        ("NEW_THING", "/etc/shop.env", 3, "no rule names it"), ("workers", "/etc/shop.env", 4, "no rule names it")]
    assert result.env == {"web": {"WORKERS": "1"}}


def test_the_operator_leaves_behind_what_no_rule_covers_and_what_one_does():
    result = translate("NEW_THING=x\nSECRET_KEY=y\nURL=http://127.0.0.1\n", ignore=["NEW_THING", "SECRET_KEY", "URL", "NOT_THERE"])
    assert result.dropped == [("NEW_THING", "migration_env_ignore"), ("SECRET_KEY", "migration_env_ignore"), ("URL", "migration_env_ignore")]
    assert result.secrets == {} and result.env == {} and result.uncovered == []


def test_two_variables_with_one_place_must_agree():
    assert translate("DB_PASSWORD=a\nDB_PASS=a\n").secrets == {"password": "a"}
    result = translate("DB_PASSWORD=a\nDB_PASS=b\n")
    assert uncovered(result) == {"DB_PASSWORD": "DB_PASS became password already, with another value"}
    assert result.secrets == {"password": "b"}
    # the published one is none
    assert translate("DB_PASSWORD=shop_pi_2020\nDB_PASS=b\n").secrets == {"password": "b"}


def test_a_value_that_refers_to_what_nobody_sets_is_not_explained():
    result = translate("WORKERS=${CORES:-2}\nUNUSED=${CORES}\nSECRET_KEY=${K}\nDB_HOST=${HOST}\nLIMIT=${UNUSED}\n")
    assert uncovered(result) == {
        "WORKERS": "it refers to ${CORES}, which no file sets", "SECRET_KEY": "it refers to ${K}, which no file sets",
        "DB_HOST": "it refers to ${HOST}, which no file sets", "LIMIT": "it refers to ${CORES}, which no file sets"}
    assert result.dropped == [("UNUSED", "nobody reads it")] and result.env == {}


def test_a_reference_that_may_be_a_piece_of_a_secret_is_not_repeated():
    assert uncovered(translate("SECRET_KEY='a${hush hush}b'\n")) == {"SECRET_KEY": "it refers to another variable, which no file sets"}


def test_a_value_that_depends_on_the_readers_edition_is_not_explained_unless_it_is_dropped_anyway():
    result = translate("WORKERS=1\nUNUSED=2\nDB_HOST=localhost\n", unsure={"WORKERS", "UNUSED", "DB_HOST"})
    assert sorted(uncovered(result)) == ["DB_HOST", "WORKERS"]
    assert "editions" in uncovered(result)["WORKERS"]
    assert result.dropped == [("UNUSED", "nobody reads it")]


@pytest.mark.parametrize("value, found", [
    ("localhost", "db"), ("http://localhost:5432/x", "http://db:5432/x"), ("localhost:8080", "cache:80"), ("a,localhost,b", "a,db,b"),
    ("postgres://localhost:localhost@localhost/localhost", "postgres://localhost:localhost@db/db"), ("myhost", "myhost"),
    ("/srv/shop/images", "/data"), ("/srv/shop/images/", "/data/"), ("/srv/shop/images/a.png", "/data/a.png"), ("file:///srv/shop/images", "file:///data"),
    ("/srv/shop/images2", "/srv/shop/images2"), ("/mnt/srv/shop/images", "/mnt/srv/shop/images"), ("/srv/shop/images.old", "/srv/shop/images.old"),
    ("mylocalhost", "mylocalhost"), ("localhost.example", "localhost.example"), ("localhost-2", "localhost-2"), ("see localhost.", "see db.")])
def test_whole_words_are_replaced(value, found):
    result = translate("URL='%s'\n" % value)
    assert result.env == {"web": {"URL": found}} and result.uncovered == []


def test_what_was_put_in_is_not_replaced_again():
    rules = [{"name": "URL", "env": "web", "replace": {"a": "b", "b": "a"}}]
    assert translate("URL=a/b/c\n", rules).env == {"web": {"URL": "b/a/c"}}


@pytest.mark.parametrize("value", ["localhost", "http://localhost/", "LocalHost:80", "http://127.0.0.1:5000", "127.1.2.3", "http://[::1]:80/", "::1",
                                   "tcp:localhost"])
def test_a_container_is_not_told_to_speak_to_itself(value):
    result = translate("WORKERS=%s\n" % value)
    assert list(uncovered(result)) == ["WORKERS"] and "localhost" in uncovered(result)["WORKERS"]
    assert result.env == {}


@pytest.mark.parametrize("value", ["localhost.example.org", "my-localhost", "2001:db8::1", "1127.0.0.1", "127.0.0.10.example", "user@host",
                                   "https://localhost:p@db/x"])
def test_names_that_only_resemble_this_machines_are_let_through(value):
    assert translate("WORKERS=%s\n" % value).env == {"web": {"WORKERS": value}}


@pytest.mark.parametrize("rule", [{"replace": {"localhost": "localhost"}}, {"values": {"localhost": "localhost"}}, {"only": ["localhost"]}])
def test_a_rule_may_mean_localhost(rule):
    assert translate("BIND=localhost\n", [dict({"name": "BIND", "env": "web"}, **rule)]).env == {"web": {"BIND": "localhost"}}


@pytest.mark.parametrize("rule, words", [({"name": "A"}, "found none"), ({"name": "A", "env": "web", "drop": "x"}, "found env and drop"),
                                         ({"name": "A", "env": None}, "found none")])
def test_a_rule_does_one_thing(rule, words):
    with pytest.raises(translation.RuleError) as error:
        translate("", RULES[:1] + [rule])
    assert str(error.value) == "rules[1]: %s, needed exactly one of env, setting, secret, drop" % words


def test_no_message_says_a_value():
    text = "".join("%s='hush-hush localhost ${%s}'\n" % (name, ref) for name, ref in (("WORKERS", "X"), ("DB_HOST", "Y"), ("OTHER", "Z"), ("URL", "URL")))
    result = translate(text + "LIMIT=hush-hush,127.0.0.1\n")
    assert len(result.uncovered) == 5
    assert not any("hush" in reason for unused, reason in result.uncovered)
