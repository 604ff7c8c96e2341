# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker's daemon.json should hold, and what the daemon has to do to take a change."""

from __future__ import annotations

import json

# Keys that dockerd takes at SIGHUP. Source: Docker's reference for dockerd, "Configuration reload behavior"
# (docs.docker.com/reference/cli/dockerd); allow-nondistributable-artifacts is in it up to engine 26.
RELOADABLE = frozenset((
    "allow-nondistributable-artifacts",
    "authorization-plugins",
    "debug",
    "default-runtime",
    "features",
    "insecure-registries",
    "labels",
    "live-restore",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "runtimes",
    "shutdown-timeout",
))

# Features whose change replaces a part that is built once, when the daemon starts.
_FEATURES_OF_THE_START = frozenset(("containerd-snapshotter", "cdi"))

# Log drivers that know max-size and max-file; the options are refused by the others.
_ROTATING_DRIVERS = frozenset(("local", "json-file"))

# The collection's own wishes, below everything that the user says. `local` and not `json-file`: it rotates by
# itself, compresses what it rotates and writes fewer bytes a line, which matters on SD cards.
# 3 files of 10 MB bound a container's log; `docker logs` reads it as before.
DEFAULTS = {
    "live-restore": True,
    "log-driver": "local",
    "log-opts": {"max-size": "10m", "max-file": "3"},
}


class MalformedConfig(ValueError):
    """daemon.json can't be read as JSON; ``line`` and ``column`` count from 1."""

    def __init__(self, reason, line, column):
        super().__init__("line %d, column %d: %s" % (line, column, reason))
        self.line = line
        self.column = column


def parse(text):
    """Read the text of a daemon.json.

    :arg text: str; an empty or blank text is an empty configuration, as dockerd takes it.
    :returns: dict, in the order of the file
    :raises MalformedConfig: the text is no JSON, or its top is not an object.
    """
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise MalformedConfig(error.msg, error.lineno, error.colno) from error
    if not isinstance(config, dict):
        raise MalformedConfig("found a %s, needed an object of settings" % type(config).__name__, 1, 1)
    return config


def render(config):
    """The text of a daemon.json: keys in their order, two spaces, one newline at the end.

    :arg config: dict
    :returns: str
    """
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def merge(current, desired, defaults=None):
    """Lay the wanted settings over what the file holds.

    A key of ``desired`` wins over the file, and null removes the key. A key of ``defaults`` is only used where
    neither of the two says anything. Log driver and log options are one setting for that purpose: somebody who
    chose a driver did not ask for our options to it.

    :arg current: dict, the file's settings
    :arg desired: dict, what the user asks for explicitly
    :arg defaults: dict or None, what is wished for when nobody said anything
    :returns: dict, a new one; the file's order is kept and new keys follow
    """
    merged = dict(current)
    for key, value in desired.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    for key, value in (defaults or {}).items():
        if key in merged or key in desired or (key.startswith("log-") and not _defaults_of_logs_apply(current, desired, key)):
            continue
        merged[key] = value
    return merged


def _defaults_of_logs_apply(current, desired, key):
    if "log-driver" in current or "log-opts" in current:
        # Only options may still be missing, to a driver that the settings have just chosen.
        return key == "log-opts" and "log-opts" not in current and desired.get("log-driver") in _ROTATING_DRIVERS
    if key == "log-opts":
        return desired.get("log-driver", "local") in _ROTATING_DRIVERS
    return "log-opts" not in desired


def action(before, after):
    """What makes a running daemon take the change.

    :arg before: dict, the settings that it runs with
    :arg after: dict
    :returns: str, ``none``, ``reload`` (SIGHUP) or ``restart``
    """
    missing = object()
    changed = set(key for key in set(before) | set(after) if before.get(key, missing) != after.get(key, missing))
    if not changed:
        return "none"
    if not changed <= RELOADABLE:
        return "restart"
    if "features" in changed:
        old, new = before.get("features") or {}, after.get("features") or {}
        if any(old.get(name) != new.get(name) for name in _FEATURES_OF_THE_START):
            return "restart"
    return "reload"


def changed_keys(before, after):
    """Names of the settings that differ, sorted.

    :arg before: dict
    :arg after: dict
    :returns: list of str
    """
    missing = object()
    return sorted(key for key in set(before) | set(after) if before.get(key, missing) != after.get(key, missing))


def desired_from_settings(settings):
    """The explicit part of the role's settings, as keys of daemon.json.

    ``daemon`` wins over the shorthands (``registry_mirrors`` and so on): it is the more explicit of the two.

    :arg settings: dict with daemon (dict), registry_mirrors, insecure_registries, dns (lists), data_root (str)
    :returns: dict
    """
    desired = {}
    for setting, key in (("registry_mirrors", "registry-mirrors"), ("insecure_registries", "insecure-registries"), ("dns", "dns")):
        if settings.get(setting):
            desired[key] = list(settings[setting])
    if settings.get("data_root"):
        desired["data-root"] = settings["data_root"]
    desired.update(settings.get("daemon") or {})
    return desired
