# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack definition and its Compose files say together. Pure: parsed documents in, answers out.

A *Compose document* here is the parsed YAML of ``compose.yaml`` or of an overlay of it. Overlays are
merged only as far as these questions need (services, volumes, secrets, networks by name).
"""

from __future__ import annotations

import posixpath
import re

from ansible_collections.dockyard.fleet.plugins.module_utils.actions import runner
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import migration
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import declared as tunnels
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import service as tunnel_service
from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import access

TOOLS_PROFILE = "tools"
# Names that no stack may have, and what has them.
RESERVED = {"all": "playbooks take for several stacks", "unlisted": "playbooks take for several stacks",
            tunnel_service.PROJECT: "is the project of role tunnel"}
# A setting in a path of `prove` or `urls`.
PLACEHOLDER = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
# Where the source that a development overlay mounts is; without it, a copy below the stack's folder.
SOURCE_VARIABLE = "DOCKYARD_SOURCE_DIR"
SOURCE_MOUNT = "${%s:-./source}" % SOURCE_VARIABLE


class Reset:
    """What stands in a parsed Compose document where it says `!reset`: the key of the documents before is taken away."""

    def __repr__(self):
        return "!reset"


def variable_of(service):
    """The Compose variable that carries the image of a service: ``api-v2`` gives ``API_V2_IMAGE``."""
    return re.sub(r"[^A-Za-z0-9]", "_", service).upper() + "_IMAGE"


def services_of(documents):
    """The services of Compose documents merged in order.

    :arg documents: list of dict.
    :returns: dict of str to dict; lists of later documents are appended, other keys replace, and what is `!reset` goes.
    """
    merged = {}
    for document in documents:
        for name, service in (document.get("services") or {}).items():
            target = merged.setdefault(name, {})
            for key, value in (service or {}).items():
                if isinstance(value, Reset):
                    target.pop(key, None)
                elif isinstance(value, list) and isinstance(target.get(key), list):
                    target[key] = target[key] + value
                else:
                    target[key] = value
    return merged


def top_level(documents, key):
    """The names under a top-level key (``volumes``, ``secrets``, ``configs``, ``networks``) of all documents, as a dict."""
    merged = {}
    for document in documents:
        for name, value in (document.get(key) or {}).items():
            merged[name] = value or {}
    return merged


def images_by_service(definition):
    """Which image entry each service runs.

    :arg definition: dict, a valid stack definition.
    :returns: dict of service name to image name.
    """
    found = {}
    for name, image in definition["images"].items():
        for service in image.get("services", [name]):
            found[service] = name
    return found


def _names(value):
    """The names in a Compose list of references, short (``- a``) or long (``- source: a``)."""
    return [item if isinstance(item, str) else item.get("source", "") for item in value or []]


def path_of(path, settings):
    """A path of ``prove`` or ``urls``: ``{SETTING}`` is that setting's value; then an empty one leaves no empty element.

    :arg settings: dict of str to value.
    """
    if not PLACEHOLDER.search(path):
        return path
    return re.sub(r"/{2,}", "/", PLACEHOLDER.sub(lambda match: str(settings.get(match.group(1), "")), path))


def active(definition, documents, settings):
    """A stack without the services of the profiles that its settings leave off.

    :arg settings: dict of str to str, resolved.
    :returns: (definition, documents, sorted list of the profiles that are on); where one is off, these are copies.
    """
    on, off = [], set()
    for name, profile in definition.get("profiles", {}).items():
        wanted = {key: [runner.text_of(one) for one in (value if isinstance(value, list) else [value])] for key, value in profile["when"].items()}
        if all(settings.get(key) in values for key, values in wanted.items()):
            on.append(name)
        else:
            off.update(profile["services"])
    if not off:
        return definition, documents, sorted(on)
    definition = dict(definition)
    images = {}
    for name, image in definition["images"].items():
        services = [service for service in image.get("services", [name]) if service not in off]
        if services:
            images[name] = dict(image, services=services) if "services" in image else image
    definition["images"] = images
    for key in ("env", "limits"):
        definition[key] = {service: value for service, value in definition.get(key, {}).items() if service not in off}
    definition["ports"] = [port for port in definition.get("ports", []) if port["service"] not in off]
    mounted = secrets_of_services(documents)
    documents = [dict(document, services={name: service for name, service in (document.get("services") or {}).items() if name not in off})
                 for document in documents]
    # A secret that nobody else mounts is not asked for either.
    kept = set(name for pairs in secrets_of_services(documents).values() for name, unused in pairs)
    gone = set(name for service in off for name, unused in mounted.get(service, [])) - kept
    definition["secrets"] = {name: secret for name, secret in definition.get("secrets", {}).items() if name not in gone}
    return definition, documents, sorted(on)


def secrets_of_services(documents):
    """Which declared secrets each service mounts, by way of files ``./secrets/<name>.<uid>``.

    :returns: dict of service to list of (secret name, uid or None) in the order of mounting.
    """
    files = {}
    for name, entry in top_level(documents, "secrets").items():
        path = posixpath.normpath(str(entry.get("file", "")))
        match = re.match(r"^secrets/([a-z][a-z0-9_]*)(?:\.([0-9]+))?$", path)
        if match:
            files[name] = (match.group(1), int(match.group(2)) if match.group(2) else None)
    return {
        service: [files[name] for name in _names(entry.get("secrets")) if name in files]
        for service, entry in services_of(documents).items()
    }


def files_of_services(documents):
    """Which files beside ``compose.yaml`` each service mounts (bind mounts and configs with a relative path).

    :returns: dict of service to sorted list of normalised relative paths.
    """
    configs = {name: entry.get("file") for name, entry in top_level(documents, "configs").items()}
    found = {}
    for service, entry in services_of(documents).items():
        paths = [configs.get(name) for name in _names(entry.get("configs"))]
        for mount in entry.get("volumes") or []:
            paths.append(mount.split(":")[0] if isinstance(mount, str) else mount.get("source"))
        found[service] = sorted(set(
            posixpath.normpath(path) for path in paths if path and path.startswith("./") and not path.startswith("./secrets/")))
    return found


def _mounts_of(service):
    """The mounts of a service: list of (volume name or path, bool whether an empty volume gets the image's content and owner)."""
    found = []
    for mount in service.get("volumes") or []:
        if isinstance(mount, str):
            parts = mount.split(":")
            found.append((parts[0], "nocopy" not in (parts[2].split(",") if len(parts) > 2 else [])))
        else:
            found.append((mount.get("source"), not (mount.get("volume") or {}).get("nocopy")))
    return found


def setting_of(value):
    """The name of the setting that a value refers to, ``{setting: NAME}``, or None for a plain value."""
    return value["setting"] if isinstance(value, dict) else None


def _check_settings(definition):
    """References to settings that are not declared."""
    problems = []
    settings = definition.get("settings", {})

    def need(where, value):
        name = setting_of(value) if isinstance(value, dict) else value
        if name not in settings:
            problems.append("%s: no setting is named %s; there are: %s" % (where, name, ", ".join(sorted(settings)) or "none"))
        elif isinstance(value, dict) and "values" in value and "default" in settings[name]:
            default = runner.text_of(settings[name]["default"])
            if default not in value["values"]:
                problems.append("%s/values: found none for '%s', the default of %s" % (where, default, name))

    for name, image in sorted(definition["images"].items()):
        places = [("build/args/%s" % key, value) for key, value in sorted(image.get("build", {}).get("args", {}).items())]
        for place, value in places + [("budget_mb", image.get("budget_mb"))]:
            if isinstance(value, dict):
                need("images/%s/%s" % (name, place), value)
    for name, artifact in sorted(definition.get("artifacts", {}).items()):
        for key in sorted(artifact.get("when", {})):
            need("artifacts/%s/when" % name, key)
    for name, profile in sorted(definition.get("profiles", {}).items()):
        for key in sorted(profile["when"]):
            need("profiles/%s/when" % name, key)
    if isinstance(definition.get("bluetooth", {}).get("access"), dict):
        need("bluetooth/access", definition["bluetooth"]["access"])
    for name, schedule in sorted(definition.get("schedules", {}).items()):
        places = [("arguments/%s" % key, value) for key, value in sorted(schedule.get("arguments", {}).items())]
        if "when_setting" in schedule:
            need("schedules/%s/when_setting" % name, schedule["when_setting"])
        for place, value in [("calendar", schedule["calendar"])] + places:
            if isinstance(value, dict):
                need("schedules/%s/%s" % (name, place), value)
    return problems


def _check_artifacts(definition, documents, present):
    """Artifacts without a manifest, or that no Compose file mounts."""
    problems = []
    taken = set(definition.get("settings", {})) | set(variable_of(service) for service in images_by_service(definition))
    text = repr(documents)
    for name, artifact in sorted(definition.get("artifacts", {}).items()):
        normal = posixpath.normpath(artifact["manifest"])
        if normal.split("/")[0] == "..":
            problems.append("artifacts/%s/manifest: %s leaves the stack's folder" % (name, artifact["manifest"]))
        elif not present(normal):
            problems.append("artifacts/%s/manifest: no file %s in the stack's folder" % (name, artifact["manifest"]))
        if artifact["variable"] in taken:
            problems.append("artifacts/%s/variable: %s is the name of a setting, of an image's variable or of another artifact's"
                            % (name, artifact["variable"]))
        taken.add(artifact["variable"])
        if "${%s" % artifact["variable"] not in text:
            problems.append("artifacts/%s/variable: no Compose file uses ${%s}; mount it as ${%s:-./%s}:/where/the/service/wants/it:ro"
                            % (name, artifact["variable"], artifact["variable"], name))
    return problems


def _check_development(definition, services):
    """Folders of the source that are mounted and not brought, or the other way round."""
    problems = []
    declared = set(posixpath.normpath(path) for path in definition.get("development", {}).get("source", []))
    for path in sorted(declared):
        if path.split("/")[0] == "..":
            problems.append("development/source: %s leaves the source" % path)
    built = sorted(name for name, image in definition["images"].items() if "build" in image)
    for name in sorted(set(definition.get("development", {}).get("build_args", {})) - set(built)):
        problems.append("development/build_args: found '%s', needed an image that is built: %s" % (name, ", ".join(built) or "there are none"))
    if declared and "source" not in definition:
        problems.append("development: needed `source`, the application's source, of which it names folders")
    if SOURCE_VARIABLE in definition.get("settings", {}):
        problems.append("settings/%s: the name belongs to `development`; needed another one" % SOURCE_VARIABLE)
    for service, entry in sorted(services.items()):
        for mounted, unused in _mounts_of(entry):
            if not str(mounted).startswith("${%s" % SOURCE_VARIABLE):
                continue
            folder = posixpath.normpath(mounted[len(SOURCE_MOUNT):].strip("/") or ".")
            if not mounted.startswith(SOURCE_MOUNT) or folder not in declared:
                problems.append("compose files, services/%s/volumes: found the source %s, needed %s/<one of development/source: %s>, "
                                "in the long syntax with type: bind" % (service, mounted, SOURCE_MOUNT, ", ".join(sorted(declared)) or "there are none"))
    return problems


def _check_tools(definition, documents, services):
    """Tools that a release would start, and services that it would miss."""
    problems = []
    tools = definition.get("tools", [])
    owned = set(name for name, volume in definition.get("volumes", {}).items() if "owner" in volume or "mode" in volume)
    for profile, entry in sorted(definition.get("profiles", {}).items()):
        if profile == TOOLS_PROFILE:
            problems.append("profiles/%s: the name belongs to `tools`; needed another one" % profile)
        for name in sorted(set(entry["services"]) - set(services)):
            problems.append("profiles/%s/services: compose.yaml has no service '%s'; it has: %s" % (profile, name, ", ".join(sorted(services))))
        for name in sorted(set(entry["services"]) & set(definition.get("health", {}).get("jobs", []))):
            problems.append("profiles/%s/services: '%s' is one of health/jobs, which every release runs" % (profile, name))
    for name in sorted(set(tools) - set(services)):
        problems.append("tools: compose.yaml has no service '%s'; it has: %s" % (name, ", ".join(sorted(services))))
    optional = {service: profile for profile, entry in definition.get("profiles", {}).items() for service in entry["services"]}
    for name, service in sorted(services.items()):
        profiles = service.get("profiles") or []
        if name in optional:
            if name in tools or profiles != [optional[name]]:
                problems.append("compose files, services/%s/profiles: found %s, needed [%s], for `profiles` names it"
                                % (name, "`tools`" if name in tools else profiles or "none", optional[name]))
        elif name in tools and profiles != [TOOLS_PROFILE]:
            problems.append("compose files, services/%s/profiles: found %s, needed [%s], for `tools` names it" % (name, profiles or "none", TOOLS_PROFILE))
        elif name not in tools and profiles:
            problems.append("compose files, services/%s/profiles: found %s, needed none, or its name in `tools`: a release would not start it"
                            % (name, profiles))
        for needed in sorted(set(entry for entry in service.get("depends_on") or [] if entry in optional) if name not in optional else []):
            problems.append("compose files, services/%s/depends_on: '%s' is there only with the profile %s" % (name, needed, optional[needed]))
        if name in tools:
            for volume, copies in _mounts_of(service):
                if volume in owned and copies:
                    problems.append("compose files, services/%s/volumes: mounts %s, which has an owner or a mode, without `volume: {nocopy: true}`: "
                                    "each run on the empty volume would set the image's" % (name, volume))
    for name in sorted(set(definition.get("health", {}).get("jobs", [])) & set(tools)):
        problems.append("health/jobs: '%s' is one of `tools`, which a release does not start" % name)
    for name, entry in sorted(services.items()):
        for needed in sorted(set(entry.get("depends_on") or []) & set(tools)):
            if name not in tools:
                problems.append("compose files, services/%s/depends_on: '%s' is one of `tools`, which a release does not start" % (name, needed))
    return problems


def _check_action(where, action, services, tools):
    """Problems of one action."""
    problems = []
    arguments = action.get("arguments", {})
    secret = set(name for name, argument in arguments.items() if argument.get("secret"))
    running = action.get("how", "run") == "run"
    if action["service"] not in services:
        problems.append("%s/service: compose.yaml has no service '%s'; it has: %s" % (where, action["service"], ", ".join(sorted(services))))
    elif not running and action["service"] in tools:
        problems.append("%s/how: '%s' is one of `tools` and has no running container to exec in; needed how: run" % (where, action["service"]))
    for key in ("environment", "entrypoint"):
        if key in action and not running:
            problems.append("%s/%s: only a container of its own can have it; needed how: run" % (where, key))
    used = set()
    for word in [word for entry in action["command"] for word in ([entry] if isinstance(entry, str) else entry)]:
        names = runner.placeholders(word)
        used |= names
        for name in sorted(names - set(arguments)):
            problems.append("%s/command: {%s} is none of its arguments (%s); write {{%s}} for the text itself"
                            % (where, name, ", ".join(sorted(arguments)) or "there are none", name))
        for name in sorted(names & secret):
            problems.append("%s/command: {%s} is a secret, and everybody on the host can read command lines; needed it in environment" % (where, name))
    for variable, template in sorted(action.get("environment", {}).items()):
        names = runner.placeholders(template)
        used |= names
        for name in sorted(names - set(arguments)):
            problems.append("%s/environment/%s: {%s} is none of its arguments (%s)" % (where, variable, name, ", ".join(sorted(arguments)) or "there are none"))
    for name, argument in sorted(arguments.items()):
        if name in ("stack", "action"):
            problems.append("%s/arguments: '%s' is a variable of playbooks/run.yml itself; needed another name" % (where, name))
        if name not in used:
            problems.append("%s/arguments/%s: nothing in command or environment uses {%s}" % (where, name, name))
        if "pattern" in argument:
            try:
                re.compile(argument["pattern"])
            except re.error as error:
                problems.append("%s/arguments/%s/pattern: not a regular expression: %s" % (where, name, error))
                continue
        if "default" in argument:
            if argument.get("required"):
                problems.append("%s/arguments/%s: found a default and required: true, needed one of them" % (where, name))
            found = runner.value_problem(argument, runner.text_of(argument["default"]))
            if found:
                problems.append("%s/arguments/%s/default: found %s, needed %s" % (where, name, found[0], found[1]))
    if "json" in action.get("success", {}) and action.get("output", "text") != "json":
        problems.append("%s/success/json: needed output: json" % where)
    if action.get("interactive"):
        for key in ("output", "success"):
            if key in action:
                problems.append("%s/%s: a person sees the output of an interactive action; needed no %s" % (where, key, key))
        if secret:
            problems.append("%s/arguments: an interactive action is typed by a person; needed no secret among its arguments" % where)
    return problems


def _check_schedules(definition):
    """Problems of the schedules."""
    problems = []
    actions = definition.get("actions", {})
    for name, schedule in sorted(definition.get("schedules", {}).items()):
        where = "schedules/%s" % name
        action = actions.get(schedule["action"])
        if action is None:
            problems.append("%s/action: found '%s', needed one of `actions`: %s" % (where, schedule["action"], ", ".join(sorted(actions)) or "there are none"))
            continue
        if action.get("interactive"):
            problems.append("%s/action: '%s' is interactive and cannot be scheduled" % (where, schedule["action"]))
        arguments, given = action.get("arguments", {}), schedule.get("arguments", {})
        for argument in sorted(set(given) - set(arguments)):
            problems.append("%s/arguments: the action has no argument '%s'; it has: %s" % (where, argument, ", ".join(sorted(arguments)) or "none"))
        for argument, entry in sorted(arguments.items()):
            if entry.get("required") and argument not in given:
                problems.append("%s/arguments: found no '%s', which the action needs" % (where, argument))
            if entry.get("secret") and argument in given and setting_of(given[argument]) is None:
                problems.append("%s/arguments/%s: a secret in stack.yml is none; needed {setting: NAME}" % (where, argument))
    return problems


def cross_check(definition, documents, present):
    """Problems between a definition and its Compose files that a schema can't see.

    :arg definition: dict, valid by the schema.
    :arg documents: list of dict, Compose documents in the order of merging.
    :arg present: callable(str) -> bool, whether a path relative to the stack's folder exists.
    :returns: list of str, one sentence each: where, found, needed.
    """
    problems = []
    services = services_of(documents)
    settings = definition.get("settings", {})
    imaged = images_by_service(definition)

    for service in sorted(set(services) - set(imaged)):
        problems.append("images: the service '%s' of compose.yaml has no entry; add images/%s with build or pull" % (service, service))
    for service in sorted(set(imaged) - set(services)):
        problems.append("images/%s: compose.yaml has no service '%s'; it has: %s" % (imaged[service], service, ", ".join(sorted(services))))
    for service, name in sorted(imaged.items()):
        reference = str(services.get(service, {}).get("image", ""))
        if service in services and "${%s" % variable_of(service) not in reference:
            problems.append("compose.yaml, services/%s/image: found %r, needed ${%s:-...}, by which the verified image gets there"
                            % (service, reference, variable_of(service)))
    for name, image in definition["images"].items():
        if ("build" in image) == ("pull" in image):
            problems.append("images/%s: needed exactly one of build and pull" % name)
        elif "build" in image:
            path = posixpath.join(image["build"]["recipe"], image["build"].get("dockerfile", "Dockerfile"))
            if any(posixpath.normpath(part).split("/")[0] in ("..", "") for part in (image["build"]["recipe"], path)):
                problems.append("images/%s/build: %s leaves the stack's folder" % (name, path))
            elif not present(path):
                problems.append("images/%s/build: no file %s in the stack's folder" % (name, path))
            if image["build"].get("source", True) and "source" not in definition:
                problems.append("images/%s/build: builds from the application's source, but the stack names none; add `source`, or `source: false` here" % name)
    for key, known in (("env", services), ("limits", services), ("volumes", top_level(documents, "volumes"))):
        for name in sorted(set(definition.get(key, {})) - set(known)):
            problems.append("%s/%s: compose.yaml has no such %s; it has: %s"
                            % (key, name, "volume" if key == "volumes" else "service", ", ".join(sorted(known)) or "none"))
    for service, entry in sorted(services.items()):
        listed = entry.get("env_file") or []
        for item in [listed] if isinstance(listed, (str, dict)) else listed:
            path = posixpath.normpath(str(item.get("path") if isinstance(item, dict) else item))
            if path != "%s.env" % service:
                problems.append("compose files, services/%s/env_file: found %s, needed %s.env, which is made from env/%s; "
                                "a change in another one would not be noticed" % (service, path, service, service))
    for job in definition.get("health", {}).get("jobs", []):
        if job not in services:
            problems.append("health/jobs: compose.yaml has no service '%s'" % job)
    for index, port in enumerate(definition.get("ports", [])):
        if port["service"] not in services:
            problems.append("ports[%d]/service: compose.yaml has no service '%s'" % (index, port["service"]))
        if settings.get(port["setting"], {}).get("type") != "port":
            problems.append("ports[%d]/setting: needed a setting of type port named %s" % (index, port["setting"]))
    for key in ("prove", "urls"):
        for index, entry in enumerate(definition.get(key, [])):
            if entry["setting"] not in settings:
                problems.append("%s[%d]/setting: no setting is named %s" % (key, index, entry["setting"]))
            for name in sorted(set(PLACEHOLDER.findall(entry.get("path", ""))) - set(settings)):
                problems.append("%s[%d]/path: no setting is named %s" % (key, index, name))
    for index, entry in enumerate(definition.get("files", [])):
        normal = posixpath.normpath(entry["source"])
        if normal.startswith("..") or posixpath.isabs(normal):
            problems.append("files[%d]/source: %s leaves the stack's folder" % (index, entry["source"]))
        elif not present(normal):
            problems.append("files[%d]/source: no file %s in the stack's folder" % (index, entry["source"]))
    brought = set(posixpath.normpath(entry["source"]) for entry in definition.get("files", []))
    for service, paths in sorted(files_of_services(documents).items()):
        for path in paths:
            if path not in brought and not any(name.startswith(path + "/") for name in brought):
                problems.append("compose files, services/%s: mounts ./%s, which `files` does not bring to the host" % (service, path))
    secrets = definition.get("secrets", {})
    for service, mounted in sorted(secrets_of_services(documents).items()):
        for name, uid in mounted:
            if name not in secrets:
                problems.append("compose files, services/%s: mounts the secret '%s', which `secrets` does not declare" % (service, name))
            elif uid is not None and uid not in secrets[name].get("readers", []):
                problems.append("compose files, services/%s: mounts secrets/%s.%d, but secrets/%s/readers has no %d" % (service, name, uid, name, uid))
    sources = [secret["source"] for secret in secrets.values()]
    problems += _check_settings(definition)
    problems += _check_artifacts(definition, documents, present)
    problems += _check_development(definition, services)
    problems += _check_tools(definition, documents, services)
    problems += tunnels.check(definition, services)
    problems += access.check(definition, services)
    for name, action in sorted(definition.get("actions", {}).items()):
        problems += _check_action("actions/%s" % name, action, services, definition.get("tools", []))
    problems += _check_schedules(definition)
    problems += migration.check(definition, services, top_level(documents, "volumes"))
    if sources.count("tls_certificate") != sources.count("tls_key") or sources.count("tls_key") > 1:
        problems.append("secrets: needed one tls_certificate and one tls_key, or neither; found %d and %d"
                        % (sources.count("tls_certificate"), sources.count("tls_key")))
    return problems
