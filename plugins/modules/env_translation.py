#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: env_translation
short_description: A native application's environment files become the environment, settings and secrets of a stack
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Reads the environment files of a native application on its host, as the application reads them, and translates each variable by the rules of a stack
    definition (C(migration/<layout>/env) of C(stack.yml)). It changes nothing.
  - What no rule covers is listed in RV(uncovered) and not guessed. So is a value that the rules do not fully explain, such as one that still names
    C(localhost), which in a container is the container.
  - Published default passwords (O(rules[].known)) are never carried over, not even within an address. The target makes a secret of its own.
  - The files themselves must not come into a container. An application that reads them there lets them override what Compose says.
  - The result holds secrets. Give the task C(no_log=true). The module itself writes nothing to the system log and repeats none of its options;
    its errors and its lists hold names, files and lines only.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: The module only reads.
    support: full
  diff_mode:
    description: There is nothing that changes, and a diff would show secrets.
    support: none
  platform:
    platforms: posix
options:
  files:
    description:
      - The environment files in the order in which the application reads them. Later ones win.
      - An entry may be a list of paths; the first of them that exists counts, and the others are not read.
      - One that is not there is passed over, but not all of them.
    type: list
    elements: raw
    required: true
  dialect:
    description:
      - Who reads the files last. V(dotenv) is python-dotenv, with C(export), comments, escapes in quotes and references such as C(${NAME:-default}).
        V(systemd) is C(EnvironmentFile=) of a unit, with continued lines and without C(export) and references.
      - RV(differs) names the variables that the other one takes differently.
    type: str
    choices: [dotenv, systemd]
    default: dotenv
  rules:
    description: What becomes of each variable. The first rule that matches counts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The variable, or a list of them.
        type: raw
        required: true
      only:
        description: The rule matches these values only.
        type: list
        elements: str
      env:
        description: Compose service whose environment gets it.
        type: str
      setting:
        description: Setting of the stack that it becomes.
        type: str
      secret:
        description: Secret of the stack that it becomes.
        type: str
      drop:
        description: It is not carried over; the reason.
        type: str
      as:
        description: Its name in the environment of the service; the same one by default.
        type: str
      known:
        description: Published defaults of a secret, with V(*) for any text. The target makes a secret of its own instead.
        type: list
        elements: str
      replace:
        description:
          - Whole words in the value and what takes their place. Host names, C(host:port), the beginning of paths (without a slash at the end).
          - User and password of an address stay as they are.
        type: dict
      values:
        description: Whole values and what takes their place.
        type: dict
  ignore:
    description: Variables that the operator leaves behind although no rule says so; C(migration_env_ignore).
    type: list
    elements: str
    default: []
  wanted:
    description: Variables whose native value is asked for, whatever the rules say; for what else the definition takes from the environment, such as the
      name of the native database.
    type: list
    elements: str
    default: []
seealso:
  - module: dockyard.fleet.stack_plan
"""

EXAMPLES = r"""
- name: Translate the environment of a native installation
  dockyard.fleet.env_translation:
    files: "{{ plan.migration.rc8.env['files'] }}"
    dialect: "{{ plan.migration.rc8.env.dialect | default('dotenv') }}"
    rules: "{{ plan.migration.rc8.env.rules }}"
    ignore: "{{ migration_env_ignore }}"
    wanted: [POSTGRES_DB]
  become: true
  no_log: true
  register: native_environment

- name: Translate by rules of one's own
  dockyard.fleet.env_translation:
    files:
      - /etc/default/shop
      - [/srv/shop/.env, /srv/shop/config/.env]
    rules:
      - name: SECRET_KEY
        secret: secret_key
        known: [change_me_*]
      - name: DATABASE_URL
        env: web
        replace: {localhost: db}
      - name: [PORT, BIND]
        drop: the Compose file sets it
  become: true
  no_log: true
"""

RETURN = r"""
env:
  description: The environment of each service of the stack, for C(dockyard_env_<stack>). Holds what the application calls secret.
  type: dict
  returned: success
  sample: {app: {IMAGE_STORAGE_METHOD: filesystem}}
settings:
  description: Settings of the stack, for C(dockyard_settings_<stack>).
  type: dict
  returned: success
secrets:
  description: Secrets of the stack, for C(dockyard_secrets_<stack>). Their values.
  type: dict
  returned: success
replaced:
  description: Variables that are a secret whose value is a published default, or empty. The target makes its own.
  type: list
  elements: str
  returned: success
  sample: [POSTGRES_PASSWORD]
dropped:
  description: Variables that are not carried over, and why.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The variable.
      type: str
    reason:
      description: Why it stays behind.
      type: str
uncovered:
  description: Variables that the rules do not explain. Empty when all of them are explained.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The variable. Empty when it does not look like a name, for then it may be a piece of a key.
      type: str
    file:
      description: The file that gives it its value.
      type: str
    line:
      description: The line there.
      type: int
    reason:
      description: What a rule lacks.
      type: str
unparsed:
  description: Lines that the application itself passes over.
  type: list
  elements: dict
  returned: success
  contains:
    file:
      description: The file.
      type: str
    line:
      description: The line.
      type: int
    reason:
      description: Why it is no assignment.
      type: str
differs:
  description: Variables that the other dialect takes differently, by name. A native unit that reads the file in both ways has the value of O(dialect).
  type: list
  elements: str
  returned: success
variables:
  description: The native values of O(wanted), as far as the files set them.
  type: dict
  returned: success
files:
  description: The environment files, and which of them were read. None of these may come into a container.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The file.
      type: str
    found:
      description: Whether it is there.
      type: bool
    read:
      description: Whether the application reads it.
      type: bool
"""

import errno
import os
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import dotenv, translation

MAX_BYTES = 1024 * 1024


class TranslationProblem(Exception):
    """The files cannot be translated; the message is whole and holds no value."""


class QuietModule(AnsibleModule):
    """Tells neither the system log nor the result what it was called with; published defaults are passwords of hosts that run."""

    def _log_invocation(self):
        pass

    def exit_json(self, **kwargs):
        super().exit_json(invocation={}, **kwargs)

    def fail_json(self, msg, **kwargs):
        super().fail_json(msg, invocation={}, **kwargs)


def alternatives_of(files):
    """The option ``files`` with each entry as a list.

    :arg files: list of str or list of str
    :returns: list of list of str
    :raises TranslationProblem: an entry is neither an absolute path nor a list of such.
    """
    found = []
    for index, entry in enumerate(files):
        entries = entry if isinstance(entry, list) else [entry]
        if not entries or not all(isinstance(path, str) and os.path.isabs(path) for path in entries):
            raise TranslationProblem("files[%d]: found something else, needed an absolute path or a list of such; correct migration/<layout>/env/files "
                                     "in stack.yml; nothing was changed" % index)
        found.append(entries)
    if not found:
        raise TranslationProblem("files: found none, needed at least one; correct migration/<layout>/env/files in stack.yml; nothing was changed")
    return found


def read_text(path):
    """The text of an environment file.

    :arg path: str
    :returns: str, or None when it is not there.
    :raises TranslationProblem: it is no file, too big, or not a text that the application could have read.
    """
    try:
        # A pipe in the place of the file must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise TranslationProblem("%s: %s; needed a file that root can read; nothing was changed" % (path, error.strerror))
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise TranslationProblem("%s: found something that is no regular file, needed an environment file; nothing was changed" % path)
        if facts.st_size > MAX_BYTES:
            raise TranslationProblem("%s: found %d bytes, needed an environment file of at most %d; nothing was changed" % (path, facts.st_size, MAX_BYTES))
        with os.fdopen(descriptor, "rb", closefd=False) as handle:
            data = handle.read(MAX_BYTES)
    except OSError as error:
        raise TranslationProblem("%s: %s; needed a file that root can read; nothing was changed" % (path, error.strerror))
    finally:
        os.close(descriptor)
    if b"\0" in data:
        raise TranslationProblem("%s, line %d: found a NUL byte, which no variable can hold; needed a text file, as the application does; "
                                 "correct the file; nothing was changed" % (path, data.count(b"\n", 0, data.index(b"\0")) + 1))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TranslationProblem("%s, line %d: found bytes that are not UTF-8, needed UTF-8, as the application does; correct the file; nothing was changed"
                                 % (path, data.count(b"\n", 0, error.start) + 1))


def read_files(files):
    """Read what the application reads.

    :arg files: the option.
    :returns: (list of (path, text), list of dict for the result)
    :raises TranslationProblem: see :func:`read_text`, and when none is there.
    """
    texts, told = {}, {}
    order = []
    for paths in alternatives_of(files):
        chosen = None
        for path in paths:
            if path not in texts:
                texts[path] = read_text(path)
                told[path] = {"path": path, "found": texts[path] is not None, "read": False}
            if chosen is None and texts[path] is not None:
                chosen = path
        if chosen is not None:
            told[chosen]["read"] = True
            order.append((chosen, texts[chosen]))
    if not order:
        raise TranslationProblem("found none of the environment files %s; needed at least one; is this the right layout (-e layout=...)? "
                                 "Otherwise correct migration/<layout>/env/files in stack.yml; nothing was changed" % ", ".join(sorted(texts)))
    return order, [told[path] for path in sorted(told)]


def shown(name):
    """A variable's name as a result may show it."""
    return name if dotenv.is_name(name) else ""


def run(params):
    """The module's answer.

    :arg params: dict, the options.
    :returns: dict, the result.
    :raises TranslationProblem: the files or the rules cannot be used.
    """
    rules = []
    for index, rule in enumerate(params["rules"]):
        names = rule["name"] if isinstance(rule["name"], list) else [rule["name"]]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise TranslationProblem("rules[%d]/name: found something else, needed the name of a variable or a list of them; correct "
                                     "migration/<layout>/env/rules in stack.yml; nothing was changed" % index)
        for key in ("replace", "values"):
            if not all(isinstance(text, str) for pair in (rule[key] or {}).items() for text in pair):
                raise TranslationProblem("rules[%d]/%s: found something else, needed texts (put them in quotes); correct migration/<layout>/env/rules in "
                                         "stack.yml; nothing was changed" % (index, key))
        rules.append(dict(rule, name=names))
    order, told = read_files(params["files"])
    try:
        variables, unparsed = dotenv.effective(order, params["dialect"])
        former, other = dotenv.differing(order, params["dialect"])
        outcome = translation.translate(variables, rules, params["ignore"], former)
    except dotenv.TooLong as error:
        raise TranslationProblem("%s; correct the file; nothing was changed" % error)
    except translation.RuleError as error:
        raise TranslationProblem("%s; correct migration/<layout>/env/rules in stack.yml; nothing was changed" % error)
    wanted = {}
    for name in params["wanted"]:
        if name not in variables:
            continue
        if name in former or variables[name].missing:
            outcome.leave(variables[name], "its value is needed for the migration, and the files do not say it for certain (a reference to another variable, "
                                           "or quotes that editions of the reader take differently)")
        else:
            wanted[name] = variables[name].value
    seen = set()
    return {
        "changed": False, "env": outcome.env, "settings": outcome.settings, "secrets": outcome.secrets, "replaced": outcome.replaced,
        "dropped": [{"name": shown(name), "reason": reason} for name, reason in outcome.dropped],
        "uncovered": [{"name": shown(variable.name), "file": variable.file, "line": variable.line, "reason": reason} for variable, reason in outcome.uncovered],
        "unparsed": [dict(file=path, line=problem.line, reason=problem.reason) for path, problem in unparsed
                     if (path, problem) not in seen and not seen.add((path, problem))],
        "differs": sorted(name for name in other if dotenv.is_name(name)), "variables": wanted, "files": told,
    }


def main():
    module = QuietModule(
        argument_spec={
            "files": {"type": "list", "elements": "raw", "required": True},
            "dialect": {"type": "str", "choices": ["dotenv", "systemd"], "default": "dotenv"},
            "rules": {"type": "list", "elements": "dict", "required": True, "options": {
                "name": {"type": "raw", "required": True},
                "only": {"type": "list", "elements": "str"},
                "env": {"type": "str"},
                "setting": {"type": "str"},
                # A name, not a value.
                "secret": {"type": "str", "no_log": False},
                "drop": {"type": "str"},
                "as": {"type": "str"},
                "known": {"type": "list", "elements": "str"},
                "replace": {"type": "dict"},
                "values": {"type": "dict"},
            }},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "wanted": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params)
    except TranslationProblem as error:
        module.fail_json(msg="env_translation: %s" % error)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
