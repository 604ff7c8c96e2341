# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack as it runs in an environment, and what of it is security.

`render` merges Compose files as `docker compose config` does, as far as these stacks need; `security_of` takes its result or that of the
real program alike, so that a machine without the program compares the same, and a journey proves with the real one that both agree.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import yaml

from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import envfile, plan

ROOT = Path(__file__).resolve().parents[3]
STACKS = ROOT / "files" / "stacks"
RECORDED = Path(__file__).resolve().parent / "security"
ENVIRONMENTS = ("development", "staging", "production", "offline")
CLOSED = ("staging", "production", "offline")
INTERPOLATION = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<kind>:?[-?+])(?P<rest>(?:[^{}]|\{[^{}]*\})*))?\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")
# Where data bases listen, and what their images are called.
DATABASE_PORTS = {1433, 3030, 3306, 5432, 6333, 6334, 6379, 9042, 9200, 27017}
DATABASE_IMAGES = re.compile(r"(postgres|pgvector|mysql|mariadb|mongo|redis|valkey|qdrant|fuseki|elasticsearch)")
_REPLACED = ("command", "entrypoint", "test")
_UNITS = {"": 1, "b": 1, "k": 2 ** 10, "m": 2 ** 20, "g": 2 ** 30}


class Tagged:
    """A value with Compose's own tag: `!reset` takes away what files before have, `!override` takes its place."""

    def __init__(self, reset, value):
        self.reset, self.value = reset, value


class _Loader(yaml.SafeLoader):  # pylint: disable=too-many-ancestors
    """YAML with Compose's own tags."""


def _value_of(loader, node):
    make = {yaml.MappingNode: lambda: loader.construct_mapping(node, deep=True), yaml.SequenceNode: lambda: loader.construct_sequence(node, deep=True)}
    return make.get(type(node), lambda: loader.construct_scalar(node))()


_Loader.add_constructor("!reset", lambda loader, node: Tagged(True, None))
_Loader.add_constructor("!override", lambda loader, node: Tagged(False, _value_of(loader, node)))


def stacks():
    """The names of the built-in stacks."""
    return sorted(path.parent.name for path in STACKS.glob("*/stack.yml"))


def read(path):
    """A parsed YAML file."""
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)


def documents_of(folder, environment):
    """What lies over each other for a release: the stack's Compose files, and the limits as the plan makes them for a host that has all controllers."""
    folder = Path(folder)
    definition = read(folder / "stack.yml")
    files = [folder / "compose.yaml", folder / f"compose.{environment}.yaml"]
    limits, unused = plan.limits_overlay(definition, None)
    return [read(path) for path in files if path.is_file()] + [{"services": {service: {"deploy": deploy} for service, deploy in limits.items()}}]


def variables_of(folder):
    """What `.env` has where the operator sets nothing."""
    settings, problems = plan.resolve_settings(read(Path(folder) / "stack.yml"), {})
    assert [text for text in problems if ": found no value;" not in text] == []
    return settings


def interpolate(value, variables):
    """Compose's `${NAME:-default}` in all texts of a document."""
    if isinstance(value, dict):
        return {key: interpolate(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [interpolate(entry, variables) for entry in value]
    if isinstance(value, Tagged):
        return Tagged(value.reset, interpolate(value.value, variables))
    if not isinstance(value, str):
        return value

    def one(match):
        if match["dollar"]:
            return "$"
        name, kind = match["name"] or match["bare"], match["kind"] or ""
        given = variables.get(name)
        there = given is not None and (given != "" or not kind.startswith(":"))
        if kind.endswith("+"):
            return interpolate(match["rest"], variables) if there else ""
        if kind.endswith("?") and not there:
            raise ValueError(f"required variable {name} is missing a value: {match['rest']}")
        return given if there else interpolate(match["rest"] or "", variables) if kind else ""

    return INTERPOLATION.sub(one, value)


def _bytes(text):
    number, unit = re.fullmatch(r"([0-9.]+)([bkmg]?)b?", str(text).lower()).groups()
    return int(float(number) * _UNITS[unit])


def _port(entry):
    """A port as the resolved model has it."""
    if isinstance(entry, dict):
        return {"target": int(entry["target"]), "published": str(entry.get("published", "")), "protocol": entry.get("protocol", "tcp"),
                "host_ip": entry.get("host_ip", "")}
    text, unused, protocol = str(entry).partition("/")
    address, published, target = re.fullmatch(r"(?:(\[[^]]*\]|[^:]*):)?(?:([0-9-]*):)?([0-9-]+)", text).groups()
    if published is None and address is not None and ":" in text:
        address, published = "", address
    return {"target": int(target), "published": published or "", "protocol": protocol or "tcp", "host_ip": (address or "").strip("[]")}


def _mount(entry):
    if isinstance(entry, dict):
        return {"type": entry["type"], "source": entry.get("source", ""), "target": entry["target"], "read_only": bool(entry.get("read_only"))}
    source, target, options = (entry.split(":") + ["", ""])[:3]
    kind = "bind" if source.startswith((".", "/", "~")) else "volume"
    return {"type": kind, "source": source, "target": target, "read_only": "ro" in options.split(",")}


def _named(value):
    """A list of references, short or long, or a mapping: by name."""
    if isinstance(value, dict):
        return {name: entry or {} for name, entry in value.items()}
    return {(entry if isinstance(entry, str) else entry["source"]): ({} if isinstance(entry, str) else entry) for entry in value or []}


def _unified(service):
    """A service with lists in their long form."""
    service = dict(service or {})
    tagged = {key: value for key, value in service.items() if isinstance(value, Tagged)}
    if tagged:
        plain = _unified({key: value.value for key, value in tagged.items() if not value.reset})
        service = _unified({key: value for key, value in service.items() if key not in tagged})
        return dict(service, **{key: Tagged(value.reset, plain.get(key)) for key, value in tagged.items()})
    for key, form, identity in (("ports", _port, ("host_ip", "target", "published", "protocol")), ("volumes", _mount, ("target",))):
        if key in service:
            long = [form(entry) for entry in service[key]]
            service[key] = {tuple(entry[word] for word in identity): entry for entry in long}
    for key in ("networks", "secrets", "configs"):
        if key in service:
            service[key] = _named(service[key])
    for key in ("env_file", "tmpfs", "dns"):
        if isinstance(service.get(key), (str, dict)):
            service[key] = [service[key]]
    if isinstance(service.get("environment"), list):
        service["environment"] = dict(entry.partition("=")[::2] for entry in service["environment"])
    if isinstance(service.get("depends_on"), list):
        service["depends_on"] = {name: {"condition": "service_started"} for name in service["depends_on"]}
    return service


def _merge(below, above, key=""):
    if isinstance(above, Tagged):
        return above
    if isinstance(below, dict) and isinstance(above, dict):
        return {name: _merge(below[name], above[name], name) if name in below and name in above else above.get(name, below.get(name))
                for name in list(below) + [name for name in above if name not in below]}
    if isinstance(below, list) and isinstance(above, list) and key not in _REPLACED:
        return below + [entry for entry in above if entry not in below]
    return above


def _settle(value):
    """A merged model without tags."""
    if isinstance(value, Tagged):
        return _settle(value.value)
    if isinstance(value, dict):
        return {key: _settle(entry) for key, entry in value.items() if not (isinstance(entry, Tagged) and entry.reset)}
    return value


def render(documents, variables):
    """The model of Compose documents laid over each other.

    :returns: dict with `services`, `networks`, ... in the long form.
    """
    model = {}
    for document in documents:
        document = interpolate({key: value for key, value in document.items() if not key.startswith("x-")}, variables)
        document["services"] = {name: _unified(service) for name, service in (document.get("services") or {}).items()}
        for key in ("networks", "volumes", "secrets", "configs"):
            if key in document:
                document[key] = {name: entry or {} for name, entry in document[key].items()}
        model = _settle(_merge(model, document))
    for service in model["services"].values():
        if not service.get("networks") and not service.get("network_mode"):
            service["networks"] = {"default": {}}
            model.setdefault("networks", {}).setdefault("default", {})
        for key in ("ports", "volumes"):
            if key in service:
                service[key] = list(service[key].values())
        for key in ("secrets", "configs"):
            if key in service:
                service[key] = [dict(entry, source=name) for name, entry in service[key].items()]
    return model


def project_files(folder, environment):
    """The files of a project that the real program takes as it is: dict of name to text."""
    documents = documents_of(folder, environment)
    names = [name for name in ("compose.yaml", f"compose.{environment}.yaml") if (Path(folder) / name).is_file()]
    files = {name: (Path(folder) / name).read_text(encoding="utf-8") for name in names}
    files["compose.dockyard.yaml"] = json.dumps(documents[-1])
    files[".env"] = envfile.render(dict(variables_of(folder), COMPOSE_FILE=":".join(files), COMPOSE_PROJECT_NAME=Path(folder).name))
    return files


def real_model(folder, environment, program, workspace):
    """What the real program makes of the same.

    :arg program: list of str, `docker compose` or the path of its plugin. :arg workspace: an empty folder.
    """
    for name, text in project_files(folder, environment).items():
        (Path(workspace) / name).write_text(text, encoding="utf-8")
    argv = [*program, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(argv, cwd=workspace, capture_output=True, text=True, timeout=60, check=False,
                          env={"PATH": os.environ["PATH"], "HOME": str(workspace)})
    assert done.returncode == 0, f"{folder} in {environment}: {done.stderr}"
    return json.loads(done.stdout)


def _published(port):
    return "%s%s -> %s/%s" % ((port.get("host_ip") or "*") + ":", port.get("published") or "?", port["target"], port.get("protocol", "tcp"))


def _mounted(mount, folder):
    source = mount.get("source") or ""
    if mount["type"] == "bind" and folder and source.startswith(str(folder) + "/"):
        source = "./" + os.path.relpath(source, str(folder))
    return "%s %s at %s, %s" % (mount["type"], source, mount["target"], "read-only" if mount.get("read_only") else "writable")


def _limits(service):
    found = dict(((service.get("deploy") or {}).get("resources") or {}).get("limits") or {})
    if "memory" in found:
        found["memory"] = _bytes(found["memory"])
    if "cpus" in found:
        found["cpus"] = float(found["cpus"])
    return found


def security_of(model, folder=None):
    """The security settings of a resolved model, in a form that people compare.

    :arg folder: the project's folder, by which absolute paths become relative again.
    :returns: dict with `services` and `networks`.
    """
    services = {}
    for name, service in sorted(model["services"].items()):
        services[name] = {
            "user": str(service.get("user", "")),
            "read_only": bool(service.get("read_only")),
            "privileged": bool(service.get("privileged")),
            "cap_drop": sorted(service.get("cap_drop") or []),
            "cap_add": sorted(service.get("cap_add") or []),
            "security_opt": sorted(service.get("security_opt") or []),
            "network_mode": service.get("network_mode", ""),
            "networks": sorted(service.get("networks") or []),
            "pid": service.get("pid", ""),
            "ipc": service.get("ipc", ""),
            "userns_mode": service.get("userns_mode", ""),
            "devices": sorted(str(entry) for entry in service.get("devices") or []),
            "group_add": sorted(str(entry) for entry in service.get("group_add") or []),
            "sysctls": {key: str(value) for key, value in dict(service.get("sysctls") or {}).items()},
            "published": sorted(_published(port) for port in service.get("ports") or []),
            "mounts": sorted(_mounted(mount, folder) for mount in service.get("volumes") or []),
            "tmpfs": sorted(service.get("tmpfs") or []),
            "secrets": sorted(entry["source"] for entry in service.get("secrets") or []),
            "limits": _limits(service),
            "logging": {"driver": (service.get("logging") or {}).get("driver", ""), "options": (service.get("logging") or {}).get("options") or {}},
            "restart": service.get("restart", ""),
            "profiles": sorted(service.get("profiles") or []),
            "pull_policy": service.get("pull_policy", ""),
        }
    used = set(network for service in services.values() for network in service["networks"])
    networks = {name: {"internal": bool((entry or {}).get("internal"))} for name, entry in sorted((model.get("networks") or {}).items()) if name in used}
    return {"services": services, "networks": networks}


def rendered(stack, environment, folder=None):
    """The security settings of a built-in stack (or of one in `folder`) by our own merge."""
    folder = Path(folder) if folder else STACKS / stack
    return security_of(render(documents_of(folder, environment), variables_of(folder)), folder)


def violations(security, environment, images=None):
    """What no stack may do, recorded or not.

    :arg images: dict of service to image reference, by which data bases are known.
    :returns: list of str.
    """
    found = []
    for name, service in security["services"].items():
        published = [re.fullmatch(r"(.*):([^:]*) -> ([0-9]+)/[a-z]+", text).groups() for text in service["published"]]
        rules = {
            "runs as root or as a user that only the image knows": not re.fullmatch(r"[1-9][0-9]*(:[1-9][0-9]*)?", service["user"]),
            "is privileged": service["privileged"],
            "keeps capabilities": service["cap_drop"] != ["ALL"] or service["cap_add"] != [],
            "may gain privileges": "no-new-privileges:true" not in service["security_opt"],
            "has a security profile switched off": any("unconfined" in option or "disable" in option for option in service["security_opt"]),
            "shares a namespace of the host": "host" in (service["network_mode"], service["pid"], service["ipc"], service["userns_mode"]),
            "has devices of the host": service["devices"] != [],
            "mounts the Docker socket": any("docker.sock" in mount for mount in service["mounts"]),
            "logs without rotation": not all(service["logging"]["options"].get(key) for key in ("max-size", "max-file")),
        }
        if environment in CLOSED:
            unlimited = sorted({"memory", "cpus", "pids"} - set(service["limits"]))
            database = DATABASE_IMAGES.search(str((images or {}).get(name, "")))
            rules.update({
                "has a writable root": not service["read_only"],
                "has no limit of " + ", ".join(unlimited): unlimited != [],
                "publishes a data base's port": any(database or int(target) in DATABASE_PORTS for unused, unused2, target in published),
                "mounts a folder of the host that can be written": any(mount.startswith("bind ") and mount.endswith("writable") for mount in service["mounts"]),
            })
        if environment == "offline":
            rules["may be pulled while it starts"] = service["pull_policy"] != "never"
        found += ["%s %s" % (name, text) for text, broken in rules.items() if broken]
    return found


def images_of(stack, folder=None):
    """Service to image reference, where it is pulled."""
    definition = read((Path(folder) if folder else STACKS / stack) / "stack.yml")
    return {service: image["pull"]["image"] for name, image in definition["images"].items() if "pull" in image for service in image.get("services", [name])}


def recorded_path(stack, environment):
    """The file with the recorded expectation."""
    return RECORDED / f"{stack}.{environment}.json"


def text_of(security):
    """As it is recorded."""
    return json.dumps(security, indent=1, sort_keys=True) + "\n"
