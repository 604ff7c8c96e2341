# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role migration decides between two modules. Pure."""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import envfile


def migration_layouts(definition, present):
    """Names of the native layouts whose paths are all there.

    :arg definition: section ``migration`` of a stack. :arg present: list of str, the paths that exist.
    """
    return sorted(name for name, layout in (definition or {}).items() if all(path in present for path in layout["detect"]))


def migration_layout_problem(definition, found, asked, stack):
    """Why there is no one layout to go by; empty when there is. :arg found: of :func:`migration_layouts`. :arg asked: str, ``-e layout=`` or empty."""
    if not definition:
        return (
            f"{stack}: found no section migration in the stack's definition; needed one that says what a native installation consists of; add it to stack.yml"
        )
    known = ", ".join(sorted(definition))
    if asked:
        return "" if asked in definition else f"{stack}, layout: found {asked}; needed one of {known}"
    if len(found) == 1:
        return ""
    what = f"the layouts {', '.join(found)} at once" if found else f"none of the native layouts {known}"
    paths = "; ".join(f"{name}: {', '.join(layout['detect'])}" for name, layout in sorted(definition.items()))
    return f"{stack}: found {what} on the host; needed the paths of one ({paths}); name one with -e layout="


def migration_without(facts, pids):
    """The facts of a host as they will be when some processes have ended: what they listen on is free. :arg pids: list of int."""
    return {**facts, "ports": [port for port in facts.get("ports") or [] if port.get("pid") not in set(pids)]}


def migration_source(entry, wanted):
    """The option ``source`` of postgres_migration. :arg entry: of ``postgres`` in the layout. :arg wanted: native values of variables, by name."""

    def value(given):
        if not isinstance(given, dict):
            return given
        return wanted.get(given["variable"]) or given.get("default")

    return {key: value(given) for key, given in entry["source"].items() if value(given) not in (None, "")}


def migration_variables(layout):
    """Names of the native variables that the layout's other parts take values from."""
    return sorted({value["variable"] for entry in layout.get("postgres") or [] for value in entry["source"].values() if isinstance(value, dict)})


def migration_lacks(translated, plan, stack):
    """What the inventory has to say, so that this and each later deployment gives the application what it had natively.

    :arg translated: result of env_translation. :arg plan: the stack's plan.
    :returns: list of str, a problem each; values of secret-looking variables are not shown.
    """
    name = stack.replace("-", "_")
    contents = {entry["path"]: entry["content"].splitlines() for entry in plan["files"] if entry["path"].endswith(".env")}
    found = []
    for service, variables in sorted((translated.get("env") or {}).items()):
        for variable, value in sorted(variables.items()):
            line = f"{variable}={envfile.quote(envfile.text_of(value))}"
            if line not in contents.get(f"{service}.env", []):
                shown = envfile.mask(line).partition("=")[2]
                found.append(
                    f"{stack}, {variable}: found {shown} in the native environment, which the stack does not have; needed the same, or a decision; "
                    f"set dockyard_env_{name}: {{{service}: {{{variable}: ...}}}}, or migration_env_ignore: [{variable}]"
                )
    for setting, value in sorted((translated.get("settings") or {}).items()):
        if str(plan["settings"].get(setting)) != str(value):
            found.append(
                f"{stack}, {setting}: found {value} in the native environment, {plan['settings'].get(setting)} in the stack's settings; "
                f"needed the same, or a decision; set dockyard_settings_{name}: {{{setting}: {value}}}, "
                "or ignore the variable with migration_env_ignore"
            )
    return found


def migration_uncovered(translated, stack):
    """Problems for the variables that no rule explains."""
    found = []
    for entry in translated.get("uncovered") or []:
        ignore = f", or migration_env_ignore: [{entry['name']}]" if entry["name"] else ", or correct the line"
        found.append(
            f"{stack}, {entry['name'] or 'a variable'} ({entry['file']}, line {entry['line']}): found no rule for it ({entry['reason']}); "
            f"needed one in the stack's section migration{ignore}"
        )
    return found


def migration_trees(results):
    """Figures of each tree for the receipt, by name. :arg results: registered loop over the layout's trees."""
    kept = ("present", "files", "directories", "symlinks", "bytes", "seconds", "copied_files", "copied_bytes", "equal", "source", "target")
    return {
        entry["item"]["name"]: {key: entry[key] for key in kept if key in entry}
        for entry in results.get("results") or []
        if isinstance(entry.get("item"), dict)
    }


def migration_lost(results):
    """What would stay behind on the way back.

    :arg results: of loops with postgres_migration ``compared`` and tree_migration ``proved``.
    :returns: list of str
    """
    lost = []
    for entry in results or []:
        differences = entry.get("differences") or []
        if differences:
            # Folders and modes are the application's own business; files that came or were changed are somebody's.
            files = [
                item for item in differences if isinstance(item, dict) and item.get("difference") in ("extra", "content") and item.get("target") != "directory"
            ]
            lost += [item for item in differences if isinstance(item, str)]
            if files:
                lost.append(f"{entry['item']['name']}: files such as {', '.join(item['path'] for item in files[:5])}")
        elif (
            entry.get("msg")
            and "differences" not in entry
            and not entry.get("skipped")
            and entry.get("changed") is False
            and entry.get("failed_when_result") is False
        ):
            lost.append(f"unknown ({entry['msg']})")
    return lost


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {
            "migration_layouts": migration_layouts,
            "migration_layout_problem": migration_layout_problem,
            "migration_without": migration_without,
            "migration_source": migration_source,
            "migration_variables": migration_variables,
            "migration_lacks": migration_lacks,
            "migration_uncovered": migration_uncovered,
            "migration_trees": migration_trees,
            "migration_lost": migration_lost,
        }
