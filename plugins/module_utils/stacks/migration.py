# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the section ``migration`` of a stack definition that a schema can't see. Pure."""

from __future__ import annotations

import posixpath

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import translation


def within(path, folder):
    """Whether a path is a folder or below it.

    :arg path, folder: str, both absolute or both relative, normalised.
    :returns: bool
    """
    return path == folder or folder == "." or path.startswith(folder.rstrip("/") + "/")


def env_paths(layout):
    """All the environment files of a layout.

    :arg layout: dict, one entry of ``migration``.
    :returns: list of str
    """
    return [path for entry in layout.get("env", {}).get("files", []) for path in ([entry] if isinstance(entry, str) else entry)]


def _listed(names):
    return ", ".join(sorted(names)) or "there are none"


def _excluded(path, tree):
    """Whether a path below a tree's source stays behind."""
    relative = posixpath.relpath(path, tree["source"])
    return any(within(relative, posixpath.normpath(entry.lstrip("/"))) for entry in tree.get("exclude", []))


def _plain(where, path, problems):
    if posixpath.normpath(path) != path:
        problems.append("%s: found %s, needed it without `.`, `..` and double slashes: %s" % (where, path, posixpath.normpath(path)))


def _check_paths(where, layout):
    """Paths that can't be compared with others."""
    problems = []
    for key in ("detect", "leaves"):
        for index, path in enumerate(layout.get(key, [])):
            _plain("%s/%s[%d]" % (where, key, index), path, problems)
    for path in env_paths(layout):
        _plain("%s/env/files" % where, path, problems)
    for tree in layout.get("trees", []):
        _plain("%s/trees, %s/source" % (where, tree["name"]), tree["source"], problems)
    for key in ("certificate", "key"):
        if "certificates" in layout:
            _plain("%s/certificates/%s" % (where, key), layout["certificates"][key], problems)
    if "tunnel" in layout:
        _plain("%s/tunnel/config" % where, layout["tunnel"]["config"], problems)
    return problems


def _env_files(service):
    """The names of the env files that a service of Compose reads."""
    entries = service.get("env_file") or []
    return [str(item.get("path") if isinstance(item, dict) else item) for item in ([entries] if isinstance(entries, (str, dict)) else entries)]


def _set_by_compose(service):
    """The variables that a service has by `environment`, which an env file does not override."""
    entries = service.get("environment") or {}
    return set(entries) if isinstance(entries, dict) else set(str(entry).partition("=")[0] for entry in entries)


def _check_target(where, rule, definition, services):
    """Problems of one rule with what it leads to."""
    problems = []
    try:
        kind = translation.target_of(rule)
    except translation.RuleError as error:
        return ["%s: %s" % (where, error)]
    for key, kinds in (("known", ("secret",)), ("as", ("env",)), ("replace", ("env", "setting")), ("values", ("env", "setting"))):
        if key in rule and kind not in kinds:
            problems.append("%s/%s: found it with `%s`, needed it only with %s" % (where, key, kind, " or ".join("`%s`" % name for name in kinds)))
    for word in rule.get("replace", {}):
        if len(word) > 1 and word.endswith("/"):
            problems.append("%s/replace: found '%s', needed it without the slash at its end, which no value would match" % (where, word))
    if kind == "env":
        service = services.get(rule["env"])
        if service is None:
            problems.append("%s/env: compose.yaml has no service '%s'; it has: %s" % (where, rule["env"], _listed(services)))
        else:
            names = [rule["as"]] if "as" in rule else translation.names_of(rule)
            for name in sorted(set(names) & _set_by_compose(service)):
                problems.append("%s/env: services/%s/environment of the Compose files sets %s, so that a value of the native installation would have no "
                                "effect; needed `drop`" % (where, rule["env"], name))
            if "%s.env" % rule["env"] not in [posixpath.normpath(path) for path in _env_files(service)]:
                problems.append("%s/env: services/%s of the Compose files does not read %s.env; needed it in its env_file" % (where, rule["env"], rule["env"]))
    elif kind == "setting" and rule["setting"] not in definition.get("settings", {}):
        problems.append("%s/setting: no setting is named %s; there are: %s" % (where, rule["setting"], _listed(definition.get("settings", {}))))
    elif kind == "secret":
        fit = [name for name, secret in definition.get("secrets", {}).items() if secret["source"] in ("generated", "given")]
        if rule["secret"] not in fit:
            problems.append("%s/secret: found '%s', needed one of `secrets` that is generated or given: %s" % (where, rule["secret"], _listed(fit)))
        elif "known" in rule and definition["secrets"][rule["secret"]]["source"] != "generated":
            problems.append("%s/known: the secret '%s' is given, so nobody makes another one; needed source: generated" % (where, rule["secret"]))
    return problems


def _check_rules(where, rules, definition, services):
    """Problems of the rules among themselves and with their targets."""
    problems, done, taken = [], set(), {}
    for index, rule in enumerate(rules):
        place = "%s[%d]" % (where, index)
        names = translation.names_of(rule)
        for name in sorted(set(names) & done):
            problems.append("%s: a rule before it takes every value of %s, so that this one never counts" % (place, name))
        if "only" not in rule:
            done.update(names)
        found = _check_target(place, rule, definition, services)
        problems += found
        if found or "drop" in rule:
            continue
        for name in names:
            if "env" in rule:
                target = "%s of services/%s" % (rule.get("as", name), rule["env"])
            else:
                target = "secrets/%s" % rule["secret"] if "secret" in rule else "settings/%s" % rule["setting"]
            if taken.setdefault(target, name) != name:
                problems.append("%s: %s becomes %s, and so does %s; needed one variable for it" % (place, name, target, taken[target]))
    return problems


def _check_trees(where, layout, definition, services, volumes):
    """Trees that meet each other, the database's data or an environment file."""
    problems, seen = [], []
    held = {}
    for entry in layout.get("postgres", []):
        for mount in (services.get(entry["service"]) or {}).get("volumes") or []:
            held[mount.split(":")[0] if isinstance(mount, str) else mount.get("source")] = entry["service"]
    for tree in layout.get("trees", []):
        place = "%s/trees, %s" % (where, tree["name"])
        path = posixpath.normpath(tree.get("path", "."))
        if path.split("/")[0] == "..":
            problems.append("%s/path: %s leaves the volume" % (place, tree["path"]))
        if tree["volume"] not in volumes:
            problems.append("%s/volume: compose.yaml has no such volume '%s'; it has: %s" % (place, tree["volume"], _listed(volumes)))
        if tree["volume"] in held:
            problems.append("%s/volume: '%s' holds the data of services/%s, which come by `postgres` and never as files" % (place, tree["volume"],
                                                                                                                            held[tree["volume"]]))
        owner = definition.get("volumes", {}).get(tree["volume"], {}).get("owner")
        if path == "." and owner and tree["owner"] != owner:
            problems.append("%s/owner: found %s, needed %s, the owner of volumes/%s" % (place, tree["owner"], owner, tree["volume"]))
        for other, other_path in seen:
            if other["name"] == tree["name"]:
                problems.append("%s: another tree has this name" % place)
            if other["volume"] == tree["volume"] and (within(path, other_path) or within(other_path, path)):
                problems.append("%s: its place in the volume '%s' is also that of the tree %s (%s and %s); needed a folder for each"
                                % (place, tree["volume"], other["name"], path, other_path))
            inner, outer = (tree, other) if within(tree["source"], other["source"]) else (other, tree)
            if within(inner["source"], outer["source"]) and not _excluded(inner["source"], outer):
                problems.append("%s/source: %s is in the tree %s too; needed it in `exclude` there" % (place, inner["source"], outer["name"]))
        seen.append((tree, path))
        for file in env_paths(layout):
            if within(file, tree["source"]) and not _excluded(file, tree):
                problems.append("%s/source: the environment file %s is in it; in a container the application would let it override what Compose says; "
                                "needed another tree, or the file in `exclude`" % (place, file))
        for path_left in layout.get("leaves", []):
            if within(path_left, tree["source"]) and not _excluded(path_left, tree):
                problems.append("%s/source: `leaves` says that %s stays behind, and it is in the tree" % (place, path_left))
    return problems


def check(definition, services, volumes):
    """Problems of the section ``migration``.

    :arg definition: dict, valid by the schema.
    :arg services: dict of the Compose services, merged.
    :arg volumes: iterable of the names of the Compose volumes.
    :returns: list of str, one sentence each: where, found, needed.
    """
    problems, detected = [], []
    secrets = definition.get("secrets", {})
    for name, layout in definition.get("migration", {}).items():
        where = "migration/%s" % name
        for other, paths in detected:
            if paths <= set(layout["detect"]):
                problems.append("%s/detect: a host that has these paths has those of %s too, which comes first; needed it before that one" % (where, other))
        detected.append((name, set(layout["detect"])))
        units = [unit["name"] for unit in layout["units"]]
        for unit in sorted(set(unit for unit in units if units.count(unit) > 1)):
            problems.append("%s/units: found %s twice" % (where, unit))
        problems += _check_paths(where, layout)
        problems += _check_rules("%s/env/rules" % where, layout.get("env", {}).get("rules", []), definition, services)
        given = [entry["service"] for entry in layout.get("postgres", [])]
        for index, entry in enumerate(layout.get("postgres", [])):
            place = "%s/postgres[%d]" % (where, index)
            if entry["service"] not in services:
                problems.append("%s/service: compose.yaml has no service '%s'; it has: %s" % (place, entry["service"], _listed(services)))
            elif given.index(entry["service"]) != index:
                problems.append("%s/service: '%s' gets data of another entry already" % (place, entry["service"]))
            if ("socket" in entry["source"]) == ("host" in entry["source"]):
                problems.append("%s/source: needed exactly one of socket and host" % place)
            if any("variable" in value for value in entry["source"].values() if isinstance(value, dict)) and "env" not in layout:
                problems.append("%s/source: it refers to a variable, and the layout has no `env` whose files could say it" % place)
        problems += _check_trees(where, layout, definition, services, volumes)
        for key, source in (("certificate", "tls_certificate"), ("key", "tls_key")):
            secret = layout.get("certificates", {}).get("secrets", {}).get(key)
            if secret is not None and secrets.get(secret, {}).get("source") != source:
                problems.append("%s/certificates/secrets/%s: found '%s', needed the secret whose source is %s: %s"
                                % (where, key, secret, source, _listed(one for one, entry in secrets.items() if entry["source"] == source)))
        if "tunnel" in layout:
            reachable = [entry["service"] for entry in definition.get("tunnel", [])]
            if layout["tunnel"]["service"] not in reachable:
                problems.append("%s/tunnel/service: found '%s', needed a service that `tunnel` of the stack names: %s"
                                % (where, layout["tunnel"]["service"], _listed(reachable)))
    return problems
