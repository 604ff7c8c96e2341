# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A native application's variables become the environment, settings and secrets of a stack, by the rules of its definition. Pure.

What no rule covers is listed and not guessed; a value that the rules do not fully explain counts as not covered. Nothing here says a value
in a message.
"""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import dotenv

TARGETS = ("env", "setting", "secret", "drop")
IGNORED = "migration_env_ignore"
# A container that is told one of these speaks to itself.
_LOOPBACK = re.compile(r"(?<![\w.-])(localhost|127(?:\.[0-9]{1,3}){3}|(?<!:)::1)(?![\w-]|\.\w)", re.IGNORECASE)
# User and password before the host of an address are no host names.
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
# Shorter defaults, such as `docker`, are words that other values have by right.
_TELLING = 8


class RuleError(ValueError):
    """A rule that cannot be understood; says which one."""


def names_of(rule):
    """The variables that a rule names.

    :arg rule: dict
    :returns: list of str
    """
    return [rule["name"]] if isinstance(rule["name"], str) else list(rule["name"])


def target_of(rule):
    """What a rule does.

    :arg rule: dict
    :returns: one of :data:`TARGETS`
    :raises RuleError: it says none of them, or several.
    """
    found = [target for target in TARGETS if rule.get(target) is not None]
    if len(found) != 1:
        raise RuleError("found %s, needed exactly one of %s" % (" and ".join(found) or "none", ", ".join(TARGETS)))
    return found[0]


def rule_of(name, value, rules):
    """The first rule that matches a variable.

    :arg name, value: str
    :arg rules: list of dict
    :returns: (dict or None, bool whether some rule names the variable and takes none but other values)
    """
    named = False
    for rule in rules:
        if name in names_of(rule):
            if rule.get("only") is None or value in rule["only"]:
                return rule, False
            named = True
    return None, named


def _pattern(known):
    """The text of a regular expression for a known default, in which ``*`` is any text."""
    return ".*".join(re.escape(part) for part in known.split("*"))


def is_known(value, known):
    """Whether a value is a published default.

    :arg value: str
    :arg known: iterable of str, with ``*`` for any text.
    :returns: bool
    """
    return any(re.fullmatch(_pattern(entry), value, re.DOTALL) for entry in known)


def holds_known(value, known):
    """Whether a published default stands somewhere in a value, as a password in an address does.

    :arg value, known: as in :func:`is_known`; an entry with less than 8 characters of its own counts only as the whole value.
    :returns: bool
    """
    return is_known(value, known) or any(
        len(entry.replace("*", "")) >= _TELLING and re.search(r"(?<![A-Za-z0-9])%s(?![A-Za-z0-9])" % _pattern(entry).replace(".*", r"[^\s/@:]*"), value)
        for entry in known)


def replaced(value, replace):
    """A value with whole words of it replaced: host names, ``host:port``, the beginning of paths.

    A word ends where neither a letter, a digit, nor one of ``_ . -`` goes on, so ``localhost`` is not found in ``localhost.example``, nor
    ``/srv/images`` in ``/srv/images2``. All at once and the longest first: what was put in is not replaced again. User and password of an
    address (``//user:password@``) stay.

    :arg value: str
    :arg replace: dict of str to str
    :returns: str
    """
    if not replace:
        return value
    words = "|".join(re.escape(word) for word in sorted(replace, key=len, reverse=True))
    pattern = re.compile(r"(?<![\w.-])(%s)(?![\w-]|\.\w)" % words)

    def swap(text):
        return pattern.sub(lambda match: replace[match.group(1)], text)

    parts, end = [], 0
    for match in _USERINFO.finditer(value):
        parts += [swap(value[end:match.start()]), match.group(0)]
        end = match.end()
    return "".join(parts + [swap(value[end:])])


def _translated(value, rule):
    """(value in the target, why it is not covered after all or None)."""
    if value in (rule.get("values") or {}):
        return rule["values"][value], None
    found = replaced(value, rule.get("replace") or {})
    meant = set((rule.get("replace") or {}).values())
    left = [match.group(1) for match in _LOOPBACK.finditer(_USERINFO.sub("", found)) if match.group(1) not in meant]
    if left and value not in (rule.get("only") or []):
        return None, "it names this machine itself (localhost), which in a container is the container; the rule needs `replace` or `values` for it"
    return found, None


class Translation:
    """The outcome: ``env``, ``settings``, ``secrets`` (with values), ``replaced``, ``dropped`` and ``uncovered`` (names and reasons only)."""

    def __init__(self):
        self.env, self.settings, self.secrets = {}, {}, {}
        self.replaced, self.dropped, self.uncovered = [], [], []
        self._givers = {}

    def put(self, variable, rule, known, text):
        """Give one variable's value its place; it is uncovered when another variable has that place with another value."""
        kind = target_of(rule)
        name = rule["secret"] if kind == "secret" else rule["setting"] if kind == "setting" else rule.get("as") or variable.name
        place = self.secrets if kind == "secret" else self.settings if kind == "setting" else self.env.get(rule["env"], {})
        if holds_known(text, known):
            self.leave(variable, "a published default password stands in it")
        elif place.get(name, text) != text:
            self.leave(variable, "%s became %s already, with another value" % (self._givers[kind, rule[kind], name], name))
        else:
            place[name] = text
            if kind == "env":
                self.env[rule["env"]] = place
            self._givers[kind, rule[kind], name] = variable.name

    def leave(self, variable, reason):
        """A variable that the rules do not fully explain."""
        self.uncovered.append((variable, reason))


def translate(variables, rules, ignore=(), unsure=()):
    """Translate variables by rules.

    :arg variables: dict of name to :class:`~.dotenv.Variable`.
    :arg rules: list of dict, as in a stack definition.
    :kwarg ignore: names that the operator leaves behind.
    :kwarg unsure: names whose value depends on which edition of the reader the application has.
    :returns: :class:`Translation`
    :raises RuleError: a rule says none of what a rule can do, or several.
    """
    for index, rule in enumerate(rules):
        try:
            target_of(rule)
        except RuleError as error:
            raise RuleError("rules[%d]: %s" % (index, error))
    known = [entry for rule in rules for entry in rule.get("known") or []]
    result = Translation()
    for name in sorted(variables):
        variable = variables[name]
        rule, named = rule_of(name, variable.value, rules)
        if name in ignore:
            result.dropped.append((name, IGNORED))
        elif rule is None:
            result.leave(variable, "its value is none of those that its rule takes (`only`)" if named else "no rule names it")
        elif rule.get("drop") is not None and (rule.get("only") is None or name not in unsure and not variable.missing):
            result.dropped.append((name, rule["drop"]))
        elif name in unsure:
            result.leave(variable, "editions of the reader take its value differently; write it in double quotes, without backslashes or #")
        elif variable.missing:
            names = set("${%s}" % missing if dotenv.is_name(missing) else "another variable" for missing in variable.missing)
            result.leave(variable, "it refers to %s, which no file sets" % ", ".join(sorted(names)))
        elif rule.get("secret") is not None:
            if not variable.value or is_known(variable.value, known):
                result.replaced.append(name)
            else:
                result.put(variable, rule, known, variable.value)
        else:
            text, reason = _translated(variable.value, rule)
            if reason:
                result.leave(variable, reason)
            else:
                result.put(variable, rule, known, text)
    return result
