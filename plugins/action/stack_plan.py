# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller-side planning: reads stack folders, checks them against a host, says what the host shall have."""

from __future__ import annotations

import json
import os
import re

import yaml

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.module_utils.bluetooth import access
from ansible_collections.dockyard.fleet.plugins.module_utils.images import sources
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import definition as definitions
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import envfile, offline, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.schema import validate
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import declared, ingress
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel.service import PROJECT as TUNNEL_PROJECT
from ansible_collections.dockyard.fleet.plugins.plugin_utils import development
from ansible_collections.dockyard.fleet.plugins.plugin_utils import offline as offline_checks

try:
    from ansible.template import trust_as_template
    _AS_TEXT = {}
except ImportError:  # ansible-core before 2.19 has no trust model, every text may be a template; and it makes data of text that looks like JSON
    _AS_TEXT = {"convert_data": False}

    def trust_as_template(value):
        """The text as it is."""
        return value

_COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILTIN = os.path.join(_COLLECTION, "files", "stacks")
SCHEMA = os.path.join(_COLLECTION, "files", "schemas", "stack.schema.json")
ENVIRONMENTS = ("development", "staging", "production", "offline")
HEADER = "Written by dockyard.fleet; changes made here are replaced by the next deployment."


class StackProblems(Exception):
    """A stack cannot be planned at all; ``problems`` is a list of str."""

    def __init__(self, problems):
        super().__init__("; ".join(problems))
        self.problems = problems


def is_git(source):
    """Whether a source is a git address, not a directory: has a scheme, or is ``user@host:path``."""
    return bool(re.match(r"^[a-z+]+://", source) or re.match(r"^[\w.-]+@[\w.-]+:", source))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # pylint: disable=too-many-ancestors
    """YAML with Compose's own tags."""


def _override(loader, node):
    """What is tagged, without its tag."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else loader.construct_scalar(node)


_Loader.add_constructor("!reset", lambda unused, unused2: definitions.Reset())
_Loader.add_constructor("!override", _override)


def read_yaml(path):
    """Parsed YAML of a file, a mapping.

    :raises StackProblems: not readable, not YAML or not a mapping; says the line.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            document = yaml.load(handle, Loader=_Loader)
    except OSError as error:
        raise StackProblems(["%s: %s" % (path, error.strerror)])
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise StackProblems(["%s%s: not valid YAML: %s" % (path, ", line %d" % (mark.line + 1) if mark else "", getattr(error, "problem", None) or error)])
    if not isinstance(document, dict):
        raise StackProblems(["%s: found %s, needed a mapping" % (path, type(document).__name__)])
    return document


def known_stacks(folders):
    """The names of all stacks in the folders, sorted."""
    return sorted(set(entry for folder in folders if os.path.isdir(folder) for entry in os.listdir(folder)
                      if os.path.isfile(os.path.join(folder, entry, "stack.yml"))))


def find_stack(name, folders):
    """The folder of a stack: the first of the folders that has it.

    :raises StackProblems: none has it; names those that exist.
    """
    for folder in folders:
        if os.path.isfile(os.path.join(folder, name, "stack.yml")):
            return os.path.join(folder, name)
    raise StackProblems([plan.problem("dockyard_stacks", "the unknown stack '%s'" % name, "one of: %s" % ", ".join(known_stacks(folders)),
                                      "correct dockyard_stacks, or add the folder of your stacks to dockyard_stack_path")])


def load_stack(name, folders, environment):
    """A stack's definition and Compose documents, valid in themselves.

    :returns: (str folder, dict definition, list of str Compose file names, list of dict documents)
    :raises StackProblems: all that is wrong with it.
    """
    folder = find_stack(name, folders)
    path = os.path.join(folder, "stack.yml")
    definition = read_yaml(path)
    with open(SCHEMA, encoding="utf-8") as handle:
        problems = validate(definition, json.load(handle))
    if not problems and definition["name"] != name:
        problems = ["name: found '%s', needed '%s', the name of its folder" % (definition["name"], name)]
    if not problems and name in definitions.RESERVED:
        problems = ["name: found '%s', which %s; needed another one" % (name, definitions.RESERVED[name])]
    if problems:
        raise StackProblems(["%s, %s" % (path, text) for text in problems])
    files = ["compose.yaml"]
    overlay = "compose.%s.yaml" % environment
    if os.path.isfile(os.path.join(folder, overlay)):
        files.append(overlay)
    documents = [read_yaml(os.path.join(folder, file)) for file in files]
    problems = definitions.cross_check(definition, documents, lambda relative: os.path.exists(os.path.join(folder, relative)))
    if problems:
        raise StackProblems(["%s: %s" % (folder, text) for text in problems])
    return folder, definition, files, documents


class ActionModule(ActionBase):
    """See the documentation of module stack_plan."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(["stacks", "stack_path", "environment", "facts", "config_dir", "problems"])

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        args = self._task.args
        environment = args.get("environment") or "production"
        facts = args.get("facts") or {}
        problems = list(args.get("problems") or [])
        warnings = []
        stacks = args.get("stacks") or []
        if isinstance(stacks, str):
            stacks = [name.strip() for name in stacks.split(",") if name.strip()]
        folders = args.get("stack_path") or []
        if isinstance(folders, str):
            folders = [path.strip() for path in folders.split(",") if path.strip()]
        folders = [os.path.abspath(os.path.expanduser(path)) for path in folders] + [BUILTIN]
        if stacks == ["all"]:
            stacks = known_stacks(folders)
        if environment not in ENVIRONMENTS:
            problems.append(plan.problem("dockyard_environment", repr(environment), "one of: %s" % ", ".join(ENVIRONMENTS), "correct dockyard_environment"))
        for folder in folders[:-1]:
            if not os.path.isdir(folder):
                problems.append(plan.problem("dockyard_stack_path", "no folder %s on the controller" % folder, "an existing folder",
                                             "correct dockyard_stack_path"))
        for name in sorted(set(name for name in stacks if stacks.count(name) > 1)):
            problems.append(plan.problem("dockyard_stacks", "'%s' twice" % name, "each stack once", "correct dockyard_stacks"))

        plans, claims, architecture = [], [], facts.get("architecture") or {}
        left, ended = self._left_alone(facts, stacks)
        warnings += ended
        for name in dict.fromkeys(name for name in stacks if name not in left):
            try:
                planned, found, claim = self._plan(str(name), folders, environment, facts, args.get("config_dir") or "/etc/dockyard")
            except StackProblems as error:
                problems.extend(error.problems)
                continue
            problems.extend(found)
            plans.append(planned)
            claims.append(claim)
            if planned["schedules"] and facts.get("init") not in (None, "systemd"):
                planned["schedules"] = []
                warnings.append("%s runs without its schedules: they are systemd timers, and this host has no systemd" % name)
            if planned["limits_missing"]:
                warnings.append("%s runs without its limits of %s: the kernel's %s cgroup controller is off "
                                "(docker_engine_reboot: allowed lets the role turn it on)"
                                % (name, ", ".join(planned["limits_missing"]), ", ".join(planned["limits_missing"])))
            warnings += planned["notes"]
        problems.extend(plan.port_conflicts(claims))
        tunnelled = boolean(self._given("dockyard_tunnel", False), strict=False)
        bluetooth = [planned["bluetooth"] for planned in plans if planned["bluetooth"]]
        others = []
        if tunnelled or bluetooth:
            others, found = self._beside(plan.beside(facts, [planned["name"] for planned in plans] + [TUNNEL_PROJECT]), folders, environment, facts,
                                         args.get("config_dir") or "/etc/dockyard")
            warnings += found
        tunnel = [entry for planned in plans + others for entry in planned["tunnel"]]
        problems.extend(ingress.problems_of([entry["rule"] for entry in tunnel]))
        if bluetooth:
            bluetooth += [planned["bluetooth"] for planned in others if planned["bluetooth"]]
        problems.extend(access.conflicts(bluetooth))
        if tunnelled and environment == "offline":
            problems.append(plan.problem("dockyard_tunnel", "a tunnel to Cloudflare in the environment offline", "nothing that needs the internet",
                                         "set dockyard_tunnel to false, or another dockyard_environment"))
        # The host's cloudflared is released too, by role tunnel.
        warnings += plan.unlisted_notes(facts, stacks + ([TUNNEL_PROJECT] if tunnelled else []))
        # Env files may hold what an operator calls a secret: never shown, whatever the verbosity.
        result.update(changed=False, stacks=plans, images=[entry for planned in plans for entry in planned["images"]],
                      artifacts=[entry for planned in plans for entry in planned["artifacts"]],
                      emulated=plan.emulated_platforms([planned["platform"] for planned in plans], architecture), bluetooth=bluetooth,
                      tunnel=tunnel,
                      problems=list(dict.fromkeys(problems)), notes=warnings, left=left, _ansible_verbose_override=True)
        return result

    def _beside(self, names, folders, environment, facts, config_dir):
        """What stacks of the host that this run does not deploy have declared: (list of plans, list of notes).

        The tunnel and Bluetooth's policy are one for the whole host: a run of some stacks must not take the others out of them.
        """
        plans, notes = [], []
        for name in names:
            try:
                plans.append(self._plan(name, folders, environment, facts, config_dir)[0])
            except StackProblems as error:
                notes.append("%s is on the host and not in this run, and its definition can't be read: if it has a hostname in the tunnel or a uid for "
                             "Bluetooth, it loses them until it is deployed again (%s)" % (name, error.problems[0]))
        return plans, notes

    def _left_alone(self, facts, stacks):
        """Stacks that an unattended run leaves as they are, because somebody stopped them on purpose: (list of str, list of notes)."""
        unattended = boolean(self._templar.template(self._vars.get("dockyard_unattended", False)), strict=False)
        ended = plan.ended_stacks(facts, stacks)
        return sorted(ended) if unattended else [], [plan.ended_note(name, entry, unattended) for name, entry in sorted(ended.items())]

    def _variable(self, prefix, stack, default):
        """The operator's variable ``<prefix>_<stack>``, templated."""
        name = "%s_%s" % (prefix, stack.replace("-", "_"))
        if name not in self._vars:
            return default
        value = self._templar.template(self._vars[name])
        if not isinstance(value, type(default)):
            raise StackProblems([plan.problem(name, type(value).__name__, type(default).__name__, "correct %s" % name)])
        return value

    def _artifacts_given(self, name):
        """``dockyard_artifacts_<stack>`` with absolute paths."""
        given = {}
        for key, entry in self._variable("dockyard_artifacts", name, {}).items():
            given[key] = dict(entry) if isinstance(entry, dict) else entry
            for word in ("manifest", "folder"):
                if isinstance(entry, dict) and entry.get(word):
                    given[key][word] = os.path.abspath(os.path.expanduser(str(entry[word])))
            if isinstance(entry, dict) and isinstance(entry.get("public_keys"), str):
                given[key]["public_keys"] = [entry["public_keys"]]
        return given

    def _source(self, definition):
        """Where the application's source is, for role images; None for a stack without one."""
        name = definition["name"]
        declared = definition.get("source")
        given = self._variable("dockyard_source", name, "")
        ref = self._variable("dockyard_source_ref", name, "")
        if not given and not declared:
            return None
        if not given or is_git(given):
            source = {"git": given or declared["git"], "ref": ref or (declared or {}).get("ref", "HEAD")}
        else:
            path = os.path.abspath(os.path.expanduser(given))
            if not os.path.isdir(path):
                raise StackProblems([plan.problem("dockyard_source_%s" % name, "no directory %s on the controller" % path,
                                                  "a directory with the application's source, or a git URL", "correct dockyard_source_%s" % name)])
            source = {"path": path}
            if ref:
                source["ref"] = ref
        if declared and "subdirectory" in declared:
            source["subdirectory"] = declared["subdirectory"]
        return source

    def _plan(self, name, folders, environment, facts, config_dir):
        """Plan one stack. Returns (plan, problems, (name, definition, settings)); raises StackProblems."""
        folder, definition, compose_files, documents = load_stack(name, folders, environment)
        services = definitions.services_of(documents)
        settings, problems = plan.resolve_settings(definition, self._variable("dockyard_settings", name, {}))
        definition, documents, profiles = definitions.active(definition, documents, settings)
        services = definitions.services_of(documents)
        if profiles:
            settings["COMPOSE_PROFILES"] = ",".join(profiles)
        bluetooth, file, found, notes = self._bluetooth(folder, definition, settings, facts)
        problems += found
        if file:
            compose_files.append(file)
            if access.reset(bluetooth):
                documents.append({"services": {service: {"networks": definitions.Reset(), "ports": definitions.Reset()} for service in bluetooth["services"]}})
            documents.append(read_yaml(os.path.join(folder, file)))
            services = definitions.services_of(documents)
            if bluetooth["access"] == "dbus":
                problems += ["%s: %s" % (folder, text) for text in access.check(definition, services)]
        env, found = plan.resolve_env(definition, self._variable("dockyard_env", name, {}), services)
        problems += found
        secrets_given = self._variable("dockyard_secrets", name, {})
        tls = {"certificate": None, "key": None}
        secrets = []
        for secret, entry in sorted(definition.get("secrets", {}).items()):
            if entry["source"].startswith("tls_"):
                tls[entry["source"][4:]] = secret
            secrets.append({"name": secret, "source": entry["source"], "length": entry.get("length", 32), "readers": entry.get("readers", [0]),
                            "required": entry.get("required", True)})
            on_host = (((facts.get("stacks") or {}).get(name) or {}).get("secrets") or {}).get(secret)
            if entry["source"] == "given" and entry.get("required", True) and not secrets_given.get(secret) and not on_host:
                problems.append(plan.problem("%s, secret %s" % (name, secret), "no value", entry.get("description", "a value"),
                                             "set dockyard_secrets_%s.%s (from ansible-vault)" % (name.replace("-", "_"), secret)))
        for secret in sorted(set(secrets_given) - set(definition.get("secrets", {}))):
            problems.append(plan.problem("%s, dockyard_secrets_%s" % (name, name.replace("-", "_")), "the unknown secret %s" % secret,
                                         "one of: %s" % (", ".join(sorted(definition.get("secrets", {}))) or "none"), "correct it"))
        if tls["key"] and bool(secrets_given.get(tls["key"])) != bool(secrets_given.get(tls["certificate"])):
            # The other half would be the one on the host, or one just made: a pair that no server takes.
            there, lacking = (tls["key"], tls["certificate"]) if secrets_given.get(tls["key"]) else (tls["certificate"], tls["key"])
            problems.append(plan.problem("%s, dockyard_secrets_%s" % (name, name.replace("-", "_")), "%s without %s" % (there, lacking),
                                         "both (a given certificate), or neither (a self-signed one)", "set dockyard_secrets_%s.%s"
                                         % (name.replace("-", "_"), lacking)))
        problems += plan.check_host(definition, facts, settings)
        architecture = facts.get("architecture") or {}
        platform, found = plan.platform_of(definition, self._variable("dockyard_platform", name, ""), architecture)
        problems += found
        problems += plan.check_cpu(definition, facts, platform)
        artifacts, found = plan.artifact_entries(definition, folder, self._artifacts_given(name), settings)
        problems += found
        schedules, found = plan.schedule_entries(definition, settings)
        problems += found
        for entry in artifacts:
            if not os.path.isfile(entry["manifest"]):
                problems.append(plan.problem("%s, artifact %s" % (name, entry["name"]), "no file %s on the controller" % entry["manifest"], "a manifest",
                                             "correct dockyard_artifacts_%s.%s.manifest" % (name.replace("-", "_"), entry["name"])))

        contents, files = {}, []
        for entry in [{"source": file} for file in compose_files] + definition.get("files", []):
            path = os.path.normpath(entry["source"])
            try:
                with open(os.path.join(folder, path), encoding="utf-8", newline="") as handle:
                    text = handle.read()
            except (OSError, UnicodeDecodeError) as error:
                problems.append("%s: %s cannot be read as UTF-8 text: %s" % (folder, path, error))
                continue
            if entry.get("template"):
                text = self._render(path, text, {"settings": settings, "stack": name, "environment": environment,
                                                 "host": self._vars.get("inventory_hostname")}, problems)
            contents[path] = text
            files.append({"path": path, "content": text, "mode": entry.get("mode", "0644")})
        if file and access.reset(bluetooth):
            compose_files.insert(compose_files.index(file), access.RESET_FILE)
            files.append({"path": access.RESET_FILE, "content": access.reset(bluetooth), "mode": "0644"})
        for service, values in env.items():
            if values:
                files.append({"path": "%s.env" % service, "content": envfile.render(values, HEADER), "mode": "0600"})

        deploy, missing = plan.limits_overlay(definition, (facts.get("cgroup") or {}).get("controllers"))
        overlay = {service: {"deploy": value} for service, value in deploy.items()}
        versions = [((facts.get("docker") or {}).get(part) or {}).get("version") for part in ("engine", "compose")]
        checks = plan.health_overlay(definitions.services_of(documents), *versions)
        for service, check in checks.items():
            overlay.setdefault(service, {})["healthcheck"] = check
        for service, labels in plan.labels_of_files(documents, contents).items():
            overlay.setdefault(service, {})["labels"] = labels

        source = self._source(definition)
        overrides = {"images": self._variable("dockyard_images", name, {}), "build_args": self._variable("dockyard_build_args", name, {})}
        if environment == "development":
            overrides["build_args"] = plan.build_args_over(definition.get("development", {}).get("build_args", {}), overrides["build_args"])
        images = plan.image_entries(definition, folder, source, overrides, platform, settings)
        if platform and platform != architecture.get("docker_platform"):
            for service in services:
                overlay.setdefault(service, {})["platform"] = platform
        if environment == "development" and "development" in definition:
            found_files, found = self._development(definition, images, settings)
            files += found_files
            problems += found
        if environment == "offline":
            problems += self._outside(definition, documents, contents, settings, env, images, artifacts, facts)
        for service, keys in access.overlay(bluetooth).items():
            overlay.setdefault(service, {}).update(keys)
        tools = sorted(definition.get("tools", []))
        address = self._address()
        planned = {
            "name": name, "title": definition.get("title", name), "environment": environment,
            "directory": "%s/stacks/%s" % (config_dir, name),
            "revision": self._revision(source, definition),
            "images": images,
            "image_variables": {definitions.variable_of(service): image for service, image in definitions.images_by_service(definition).items()},
            "compose_files": compose_files, "files": files, "settings": settings, "overlay": overlay,
            "platform": platform, "artifacts": artifacts, "actions": definition.get("actions", {}), "schedules": schedules, "tools": tools,
            "services": sorted(set(services) - set(tools)), "jobs": definition.get("health", {}).get("jobs", []),
            "service_secrets": {service: sorted(set(secret for secret, _uid in mounted))
                                for service, mounted in definitions.secrets_of_services(documents).items() if mounted},
            "secrets": secrets, "tls": tls if tls["key"] else None,
            "volumes": [dict(entry, name=volume) for volume, entry in sorted(definition.get("volumes", {}).items())],
            "ports": [{"service": port["service"], "container": port["container"], "protocol": port.get("protocol", "tcp"),
                       "published": settings.get(port["setting"])} for port in definition.get("ports", [])],
            "timeout_seconds": definition.get("health", {}).get("timeout_seconds", 300),
            "prove": [dict(entry, stack=name, url=self._url(entry, settings, address)) for entry in definition.get("prove", [])],
            "urls": [self._url(entry, settings, address) for entry in definition.get("urls", [])],
            "limits_missing": missing, "bluetooth": bluetooth, "notes": notes, "migration": definition.get("migration", {}),
            "tunnel": declared.entries(definition, services, definitions.top_level(documents, "networks"), settings, "%s/stacks/%s" % (config_dir, name),
                                       str(self._vars.get("inventory_hostname") or ""), [key for key in secrets_given if secrets_given[key]]),
        }
        if environment == "offline":
            problems += offline.tunnel_problems(name, planned["tunnel"])
        return planned, problems, (name, definition, settings)

    def _bluetooth(self, folder, definition, settings, facts):
        """What the stack gets of Bluetooth on this host.

        :returns: (dict or None, str file laid over its Compose files or None, list of str problems, list of str notes)
        """
        name = definition["name"]
        variable = name.replace("-", "_")
        wanted = plan.resolve_value(definition["bluetooth"]["access"], settings) if "bluetooth" in definition else "none"
        uid = self._templar.template(self._vars["dockyard_bluetooth_uid_%s" % variable]) if "dockyard_bluetooth_uid_%s" % variable in self._vars else None
        confirmed = boolean(self._given("dockyard_bluetooth_host_%s" % variable, False), strict=False)
        entry, problems, notes = access.resolve(definition, wanted, uid, confirmed, str(self._given("dockyard_bluetooth_adapter", "auto")), facts)
        if not entry:
            return None, None, problems, notes
        file = access.overlay_file(entry["access"])
        if os.path.isfile(os.path.join(folder, file)):
            return entry, file, problems, notes
        if entry["access"] == "host":
            problems.append(plan.problem("%s, bluetooth" % name, "host, and no file %s in %s" % (file, folder), "that file, which says what is opened",
                                         "take dbus, which opens org.bluez alone"))
        return entry, None, problems, notes

    def _given(self, name, default):
        """Another role's variable as this host has it, templated; its default when nobody set it."""
        return self._templar.template(self._vars[name]) if name in self._vars else default

    def _development(self, definition, images, settings):
        """The source that the development overlay mounts: a directory of the host, or a copy that the release brings. Adds to ``settings``.

        :returns: (list of dict files, list of str problems)
        """
        name = definition["name"]
        given = self._variable("dockyard_development_source", name, "")
        if not given:
            return development.source_files(definition, images, os.path.expanduser(self._given("images_source_cache", "") or sources.default_cache()))
        if not os.path.isabs(given):
            return [], [plan.problem("dockyard_development_source_%s" % name.replace("-", "_"), repr(given), "the absolute path of a directory of the host",
                                     "correct dockyard_development_source_%s" % name.replace("-", "_"))]
        settings[definitions.SOURCE_VARIABLE] = given
        return [], []

    def _outside(self, definition, documents, contents, settings, env, images, artifacts, facts):
        """Everything that this stack would ask of the internet on this host."""
        name, allowed = definition["name"], self._given(offline.VARIABLE, [])
        if not isinstance(allowed, list):
            return [plan.problem(offline.VARIABLE, type(allowed).__name__, "a list of host names", "correct %s" % offline.VARIABLE)]
        host = str(self._vars.get("inventory_hostname") or "this host")
        problems = offline_checks.image_problems(images, facts, self._given, host, allowed)
        problems += offline_checks.artifact_problems(artifacts, facts, self._given, allowed)
        return problems + offline.variable_problems(definition, documents, contents, settings, env, self._variable("dockyard_env", name, {}), allowed)

    def _render(self, path, text, variables, problems):
        """A template of the stack's folder, rendered; the text as it is when it can't be."""
        templar = self._templar.copy_with_new_env(available_variables=variables)
        try:
            return str(templar.template(trust_as_template(text), preserve_trailing_newlines=True, escape_backslashes=False, **_AS_TEXT))
        except Exception as error:  # pylint: disable=broad-except
            problems.append("%s: the template cannot be rendered: %s; it sees: %s" % (path, error, ", ".join(sorted(variables))))
            return text

    def _address(self):
        """The address under which the controller reaches the host, for URLs."""
        for name in ("dockyard_address", "ansible_host", "inventory_hostname"):
            if self._vars.get(name):
                # A host of the inventory that is the controller itself has a name that need not resolve.
                if name == "inventory_hostname" and self._vars.get("ansible_connection") == "local":
                    break
                return str(self._templar.template(self._vars[name]))
        return "localhost"

    def _url(self, entry, settings, address):
        """``https://host:port/path``, without a port that is the scheme's own; dockyard_url_ports maps published to outside ports (NAT)."""
        port = str(settings.get(entry["setting"], ""))
        outside = self._templar.template(self._vars["dockyard_url_ports"]) if "dockyard_url_ports" in self._vars else {}
        port = str(outside.get(port, outside.get(int(port), port))) if port.isdigit() else port
        default = {"http": "80", "https": "443"}[entry["scheme"]]
        host = "[%s]" % address if ":" in address else address
        return "%s://%s%s%s" % (entry["scheme"], host, "" if port == default else ":" + port, definitions.path_of(entry.get("path", "/"), settings))

    @staticmethod
    def _revision(source, definition):
        """A short word for the version of a stack: the commit, or the folder's name."""
        if source and "git" in source:
            return source["ref"][:12]
        if source:
            return "dir:%s" % os.path.basename(source["path"])
        return "schema-%s" % definition["schema"]
