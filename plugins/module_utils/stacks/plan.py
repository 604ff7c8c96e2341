# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a stack definition, a host's facts and the operator's variables to what shall be on that host. Pure."""

from __future__ import annotations

import hashlib
import posixpath
import re
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import runner
from ansible_collections.dockyard.fleet.plugins.module_utils.engine.plan import at_least
from ansible_collections.dockyard.fleet.plugins.module_utils.release import ledger
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import envfile

CONTROLLER_OF_LIMIT = {"memory": "memory", "cpus": "cpu", "pids": "pids"}
_MB = 1000 * 1000
START_INTERVAL = "2s"


def problem(where, found, needed, setting):
    """One problem as the operator reads it.

    :returns: str, ``where: found ...; needed ...; set ...``.
    """
    return "%s: found %s; needed %s; %s" % (where, found, needed, setting)


def resolve_settings(definition, given):
    """The values of a stack's settings.

    :arg definition: dict, a valid stack definition.
    :arg given: dict, ``dockyard_settings_<stack>``.
    :returns: (dict of str to str, list of str problems)
    """
    name = definition["name"]
    declared = definition.get("settings", {})
    variable = "dockyard_settings_%s" % name.replace("-", "_")
    problems = []
    for key in sorted(set(given) - set(declared)):
        problems.append(problem("%s, %s" % (name, variable), "the unknown setting %s" % key,
                                "one of: %s" % (", ".join(sorted(declared)) or "none"), "correct %s" % variable))
    values = {}
    for key, entry in sorted(declared.items()):
        if key not in given and "default" not in entry:
            if entry.get("required", True):
                problems.append(problem("%s, setting %s" % (name, key), "no value", entry.get("description", "a value"), "set %s.%s" % (variable, key)))
            continue
        try:
            text = envfile.text_of(given.get(key, entry.get("default")))
        except ValueError as error:
            problems.append("%s, setting %s: %s; correct %s.%s" % (name, key, error, variable, key))
            continue
        kind = entry.get("type", "string")
        if kind in ("port", "integer") and not re.match(r"^-?[0-9]+\Z", text):
            problems.append(problem("%s, setting %s" % (name, key), repr(text), "a whole number", "correct %s.%s" % (variable, key)))
        elif kind == "port" and not 1 <= int(text) <= 65535:
            problems.append(problem("%s, setting %s" % (name, key), text, "a port from 1 to 65535", "correct %s.%s" % (variable, key)))
        elif kind == "boolean" and text not in ("true", "false"):
            problems.append(problem("%s, setting %s" % (name, key), repr(text), "true or false", "correct %s.%s" % (variable, key)))
        elif "pattern" in entry and not re.fullmatch(entry["pattern"], text):
            problems.append(problem("%s, setting %s" % (name, key), repr(text), "a value that matches %s" % entry["pattern"],
                                    "correct %s.%s" % (variable, key)))
        values[key] = text
    return values, problems


def resolve_env(definition, given, services):
    """The environment of each service: the definition's, overridden by ``dockyard_env_<stack>``.

    :arg services: iterable of the names of the Compose services.
    :returns: (dict of service to dict of str to str, list of str problems)
    """
    name = definition["name"]
    variable = "dockyard_env_%s" % name.replace("-", "_")
    problems = []
    result = {}
    for service in sorted(set(given) - set(services)):
        problems.append(problem("%s, %s" % (name, variable), "the unknown service %s" % service,
                                "one of: %s" % ", ".join(sorted(services)), "correct %s" % variable))
    for service in sorted(set(definition.get("env", {})) | (set(given) & set(services))):
        values = dict(definition.get("env", {}).get(service, {}))
        if not isinstance(given.get(service) or {}, dict):
            problems.append(problem("%s, %s.%s" % (name, variable, service), type(given[service]).__name__, "a mapping of names to values", "correct it"))
            continue
        values.update(given.get(service) or {})
        result[service] = {}
        for key, value in values.items():
            try:
                result[service][key] = envfile.text_of(value)
                envfile.render({key: value})
            except ValueError as error:
                problems.append("%s, environment of %s: %s: %s; correct %s.%s" % (name, service, key, error, variable, service))
    return result, problems


def limits_overlay(definition, controllers):
    """The resource limits that this host can enforce, as a Compose overlay.

    :arg controllers: dict of cgroup controller to bool, from the facts; None when unknown (all limits are then kept).
    :returns: (dict of service to ``deploy`` mapping, sorted list of the controllers that are missing)
    """
    overlay = {}
    missing = set()
    for service, limits in sorted(definition.get("limits", {}).items()):
        kept = {}
        for key, value in sorted(limits.items()):
            controller = CONTROLLER_OF_LIMIT[key]
            if controllers is not None and not controllers.get(controller):
                missing.add(controller)
            else:
                kept[key] = value if key == "pids" else str(value)
        if kept:
            overlay[service] = {"resources": {"limits": kept}}
    return overlay, sorted(missing)


def health_overlay(services, engine, compose):
    """A shorter interval of the health checks while a service starts, as a Compose overlay, where Docker knows it.

    Without it the first probe comes after a whole ``interval``, and a stack of three services that wait for each other stands still for that long three times.

    :arg services: dict of service to its merged Compose mapping. :arg engine, compose: versions as str, or None when unknown.
    :returns: dict of service to ``healthcheck`` mapping
    """
    # API 1.44 (https://docs.docker.com/reference/api/engine/version-history/); Compose refuses the key for an older engine.
    if not (at_least(engine, "25.0") and at_least(compose, "2.21")):
        return {}
    overlay = {}
    for name, service in sorted(services.items()):
        check = service.get("healthcheck") or {}
        # It counts within the start period only.
        if check.get("start_period") and "start_interval" not in check and not check.get("disable"):
            overlay[name] = {"start_interval": START_INTERVAL}
    return overlay


def resolve_value(value, settings):
    """A value of a definition that may be ``{setting: NAME}``, with or without ``values``, as text; an empty one where the setting gives none."""
    name = definitions.setting_of(value)
    if name is None:
        return envfile.text_of(value)
    given = settings.get(name, "")
    return envfile.text_of(value["values"].get(given, "")) if "values" in value else given


def artifact_entries(definition, directory, given, settings):
    """The sets of files of a stack as role ``artifacts`` takes them.

    :arg directory: str, the stack's folder on the controller.
    :arg given: dict, ``dockyard_artifacts_<stack>``; paths in it are absolute.
    :returns: (list of dict, list of str problems)
    """
    name = definition["name"]
    declared = definition.get("artifacts", {})
    variable = "dockyard_artifacts_%s" % name.replace("-", "_")
    problems = []
    for key in sorted(set(given) - set(declared)):
        problems.append(problem("%s, %s" % (name, variable), "the unknown artifact %s" % key, "one of: %s" % (", ".join(sorted(declared)) or "none"),
                                "correct %s" % variable))
    entries = []
    for key, artifact in sorted(declared.items()):
        mine = given.get(key) or {}
        if not isinstance(mine, dict):
            problems.append(problem("%s, %s.%s" % (name, variable, key), type(mine).__name__, "a mapping", "correct it"))
            continue
        for word in sorted(set(mine) - set(("manifest", "folder", "public_keys"))):
            problems.append(problem("%s, %s.%s" % (name, variable, key), "the unknown key %s" % word, "one of: manifest, folder, public_keys", "correct it"))
        wanted = {setting: values if isinstance(values, list) else [values] for setting, values in artifact.get("when", {}).items()}
        if any(settings.get(setting, "") not in [envfile.text_of(value) for value in values] for setting, values in wanted.items()):
            continue
        manifest = mine.get("manifest") or posixpath.join(directory, posixpath.normpath(artifact["manifest"]))
        entries.append({"stack": name, "name": key, "manifest": manifest, "folder": mine.get("folder") or posixpath.dirname(manifest),
                        "variable": artifact["variable"], "public_keys": mine.get("public_keys") or [], "degrade": artifact.get("degrade", "")})
    return entries, problems


def schedule_entries(definition, settings):
    """The schedules that a host shall have now: those whose ``when_setting`` has a value.

    :returns: (list of dict with ``name``, ``action``, ``arguments``, ``calendar``, ``keep``, ``randomized_delay_seconds``, ``timeout_seconds``
        and ``description``; list of str problems)
    """
    stack = definition["name"]
    entries, problems = [], []
    for name, schedule in sorted(definition.get("schedules", {}).items()):
        if "when_setting" in schedule and settings.get(schedule["when_setting"], "") == "":
            continue
        where = "%s, schedule %s" % (stack, name)
        action = definition["actions"][schedule["action"]]
        calendar = resolve_value(schedule["calendar"], settings)
        if re.fullmatch(r"[A-Za-z0-9*:,/.~+_ -]+", calendar) is None:
            problems.append(problem(where, "the calendar %r" % calendar, "one as in OnCalendar= of systemd.time(7), such as *:0/15",
                                    "correct dockyard_settings_%s.%s" % (stack.replace("-", "_"), definitions.setting_of(schedule["calendar"]))))
        arguments = {key: resolve_value(value, settings) for key, value in schedule.get("arguments", {}).items()}
        try:
            runner.resolve_arguments(where, action, arguments)
        except runner.ActionProblem as error:
            used = sorted(set(definitions.setting_of(value) for value in schedule.get("arguments", {}).values()) - set([None]))
            hint = "; its settings: %s" % ", ".join("dockyard_settings_%s.%s" % (stack.replace("-", "_"), key) for key in used) if used else ""
            problems.extend(text + hint for text in error.problems)
        entries.append({
            "name": name, "action": schedule["action"], "arguments": arguments, "calendar": calendar, "keep": schedule.get("keep", runner.DEFAULT_KEEP),
            "randomized_delay_seconds": schedule.get("randomized_delay_seconds", 30),
            "timeout_seconds": action.get("timeout_seconds", runner.DEFAULT_TIMEOUT_SECONDS),
            "description": schedule.get("description") or action.get("description") or "%s of %s" % (schedule["action"], stack)})
    return entries, problems


def platform_of(definition, given, architecture):
    """The platform of a stack's images on a host, and what speaks against it.

    :arg given: str, ``dockyard_platform_<stack>``, or empty.
    :arg architecture: dict, that part of the facts.
    :returns: (str or None, list of str problems)
    """
    name = definition["name"]
    variable = "dockyard_platform_%s" % name.replace("-", "_")
    own = architecture.get("docker_platform")
    platform = given or own
    if not platform:
        return None, []
    change = "take %s out of dockyard_stacks of this host, or set %s to a platform that is emulated here" % (name, variable)
    if given:
        change = "correct %s" % variable
    found = "%s: %s" % (variable, given) if given else "a host of platform %s" % own
    if given and re.match(r"^linux/(amd64|arm64|arm/v7)\Z", given) is None:
        return own, [problem("%s, %s" % (name, variable), repr(given), "linux/amd64, linux/arm64 or linux/arm/v7", "correct %s" % variable)]
    problems = []
    wanted = definition.get("needs", {}).get("architectures")
    if wanted and platform.partition("/")[2] not in wanted:
        problems.append(problem(name, found, "one of: %s" % ", ".join(wanted), change))
    else:
        for key, image in sorted(definition["images"].items()):
            if platform not in image.get("platforms", [platform]):
                problems.append(problem("%s, image %s" % (name, key), found, "one of: %s" % ", ".join(image["platforms"]), change))
    return platform, problems


def check_cpu(definition, facts, platform):
    """What the host's processor cannot do and the stack's programs need; nothing for an emulated platform, whose processor QEMU makes.

    :arg platform: str or None, of the stack's images on this host.
    :returns: list of str problems. What the facts don't know is not held against the host.
    """
    own, features = (facts.get("architecture") or {}).get("docker_platform"), facts.get("cpu_features")
    needed = definition.get("needs", {}).get("cpu", {}).get((platform or "").partition("/")[2])
    if not needed or features is None or platform != own:
        return []
    missing = [name for name in needed["features"] if name not in features]
    if not missing:
        return []
    name = definition["name"]
    model = (facts.get("pi") or {}).get("model")
    return [problem(name, "a processor without %s (%s)" % (", ".join(missing), "%s, %s" % (model, platform) if model else platform), needed["why"],
                    "take %s out of dockyard_stacks of this host" % name)]


def emulated_platforms(platforms, architecture):
    """Those of the platforms that the hardware can't run, sorted; none when the facts don't tell what it can."""
    native = architecture.get("native") or []
    return sorted(set(platform for platform in platforms if platform and native and platform not in native))


def build_args_over(below, above):
    """Build arguments by image, those of ``above`` laid over those of ``below``."""
    return {name: dict(below.get(name, {}), **above.get(name, {})) for name in list(below) + [name for name in above if name not in below]}


def image_entries(definition, directory, source, overrides, platform, settings=None):
    """The images of a stack as role ``images`` takes them.

    :arg directory: str, the stack's folder on the controller.
    :arg source: dict as the action plugin resolved it (``path``, or ``git`` and ``ref``), or None.
    :arg overrides: dict with ``images`` (name to reference) and ``build_args`` (name to dict).
    :arg platform: str or None, as ``linux/arm64``.
    :kwarg settings: dict of str to str, resolved; for build arguments that refer to one.
    :returns: list of dict.
    """
    entries = []
    for name, image in sorted(definition["images"].items()):
        budget = resolve_value(image.get("budget_mb", ""), settings or {})
        entry = {"stack": definition["name"], "name": name, "platform": platform, "budget_bytes": int(budget) * _MB if budget else None}
        replacement = overrides.get("images", {}).get(name)
        if replacement or "pull" in image:
            entry.update(how="pull", reference=replacement or image["pull"]["image"], pull={"image": replacement or image["pull"]["image"]})
        else:
            build = image["build"]
            args = dict(build.get("args", {}))
            args.update(overrides.get("build_args", {}).get(name, {}))
            entry.update(how="build", reference="dockyard/%s-%s" % (definition["name"], name), build={
                "recipe": posixpath.join(directory, build["recipe"]),
                "dockerfile": build.get("dockerfile", "Dockerfile"),
                "source": source if build.get("source", True) else None,
                "args": {key: resolve_value(value, settings or {}) for key, value in args.items()},
                "target": build.get("target"),
                "secrets": build.get("secrets", []),
            })
        entries.append(entry)
    return entries


def ended_stacks(facts, stacks):
    """Those of the stacks that somebody stopped or removed on purpose: dict of name to the newest entry of its ledger."""
    releases = facts.get("releases") or {}
    return {name: releases[name] for name in stacks if ledger.is_ended(releases.get(name))}


def beside(facts, deployed):
    """The stacks of the host that a run does not deploy and that are there, running or stopped: sorted list of str.

    :arg deployed: iterable of str, what the run deploys.
    """
    present = set(container.get("project") for container in facts.get("containers") or [])
    return sorted(name for name, entry in (facts.get("releases") or {}).items()
                  if name not in deployed and (entry or {}).get("outcome") != ledger.REMOVED and (name in present or ledger.is_ended(entry)))


def ended_note(name, entry, unattended):
    """What an operator should know of a stack that was stopped on purpose."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry.get("time_epoch_s") or 0))
    what = "%s was %s on purpose by %s, %s" % (name, entry["outcome"], entry.get("by") or "somebody", when)
    if unattended:
        return "%s; this unattended run leaves it alone, and a run without dockyard_unattended brings it back" % what
    return "%s; this run brings it back" % what


def unlisted_notes(facts, stacks):
    """What an operator should know of stacks that are on the host and not among those that it shall run: list of str."""
    notes = []
    for name, entry in sorted((facts.get("releases") or {}).items()):
        if name in stacks or ledger.is_ended(entry):
            continue
        parts = ["%d containers" % sum(1 for container in facts.get("containers") or [] if container.get("project") == name)]
        schedules = sorted((facts.get("schedules") or {}).get(name) or {})
        if schedules:
            parts.append("the schedules %s" % ", ".join(schedules))
        notes.append("%s was released here and is not in dockyard_stacks any more; it is left as it is, with %s; "
                     "playbooks/stop.yml -e stack=%s -e remove=true takes it off the host" % (name, " and ".join(parts), name))
    return notes


def check_host(definition, facts, settings):
    """What a host lacks for a stack.

    :arg facts: dict, the facts of ``host_facts``.
    :arg settings: dict of str to str, resolved.
    :returns: list of str problems. What the facts don't know is not held against the host.
    """
    name = definition["name"]
    needs = definition.get("needs", {})
    problems = []
    memory = (facts.get("memory") or {}).get("total_bytes")
    # A machine sold as "4 GB" shows up to a tenth less: firmware and kernel keep some.
    if memory and memory < needs.get("memory_mb", 0) * _MB * 0.9:
        problems.append(problem(name, "%d MB of memory" % (memory // _MB), "%d MB" % needs["memory_mb"], "take %s out of dockyard_stacks of this host" % name))
    deployed = (facts.get("releases") or {}).get(name)
    if deployed and deployed.get("outcome") == ledger.REMOVED:
        deployed = None
    data_root = ((facts.get("docker") or {}).get("engine") or {}).get("data_root") or "/var/lib/docker"
    free = free_bytes(facts.get("disk") or [], data_root)
    if not deployed and free is not None and free < needs.get("disk_mb", 0) * _MB:
        problems.append(problem("%s, disk of %s" % (name, data_root), "%d MB free" % (free // _MB), "%d MB" % needs["disk_mb"],
                                "free space, or set docker_engine_data_root to a larger disk"))
    for port in definition.get("ports", []):
        number = settings.get(port["setting"], "")
        for listener in facts.get("ports") or []:
            if str(listener.get("port")) != number or listener.get("protocol", "tcp")[:3] != port.get("protocol", "tcp"):
                continue
            if _is_ours(name, listener, facts):
                continue
            holder = listener.get("container") or listener.get("process") or "another program"
            problems.append(problem("%s, port %s" % (name, number), "held by %s%s" % (holder, " (pid %s)" % listener["pid"] if listener.get("pid") else ""),
                                    "a free port for %s" % port.get("purpose", port["service"]),
                                    "stop that program, or set dockyard_settings_%s.%s" % (name.replace("-", "_"), port["setting"])))
            break
    return problems


def _is_ours(stack, listener, facts):
    """Whether a listening port belongs to a container of this stack."""
    for container in facts.get("containers") or []:
        if container.get("project") != stack:
            continue
        if listener.get("container") and listener["container"] in (container.get("name"), container.get("id")):
            return True
        if any(str(port.get("host_port")) == str(listener.get("port")) for port in container.get("ports") or []):
            return True
    return False


def free_bytes(disks, path):
    """Free space of the file system that holds a path: the entry of that path, else the longest mount above it.

    :returns: int bytes, or None when the facts don't say.
    """
    for disk in disks:
        if disk.get("path") == path:
            return disk.get("free_bytes")
    best = None
    for disk in disks:
        mount = (disk.get("mount") or "").rstrip("/")
        if (path == mount or path.startswith(mount + "/")) and (best is None or len(mount) > len(best[0])):
            best = (mount, disk.get("free_bytes"))
    return best[1] if best else None


def port_conflicts(stacks):
    """Ports that two stacks of one host claim.

    :arg stacks: list of (name, definition, settings).
    :returns: list of str problems.
    """
    claimed = {}
    problems = []
    for name, definition, settings in stacks:
        for port in definition.get("ports", []):
            key = (settings.get(port["setting"]), port.get("protocol", "tcp"))
            mine = "dockyard_settings_%s.%s" % (name.replace("-", "_"), port["setting"])
            if key in claimed:
                problems.append(problem("port %s/%s" % key, "claimed by both %s (%s) and %s (%s)" % (claimed[key] + (name, mine)),
                                        "one stack a port", "change one of the two settings"))
            else:
                claimed[key] = (name, mine)
    return problems


def digest(text):
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def labels_of_files(documents, contents):
    """A label for each service that mounts files, so that Compose recreates it when one of them changed.

    Compose's own hash of a service does not cover the content of what it mounts.

    :arg contents: dict of relative path to text.
    :returns: dict of service to dict of labels.
    """
    labels = {}
    for service, paths in definitions.files_of_services(documents).items():
        lines = []
        for path in paths:
            for name in sorted(contents):
                if name == path or name.startswith(path + "/"):
                    lines.append("%s %s" % (name, digest(contents[name])))
        if lines:
            labels[service] = {"org.dockyard.files": digest("\n".join(lines))}
    return labels
