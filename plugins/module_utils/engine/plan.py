# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a host's facts and the role's settings to what has to be done for its Docker engine. No input, no output."""

from __future__ import annotations

import fnmatch
import hashlib
import re

from ansible_collections.dockyard.fleet.plugins.module_utils.engine import boot, daemon, keys, platforms

STEPS = (
    "repair_dpkg", "ca_certificates", "repository", "remove_conflicting", "packages", "hold", "plugins", "users", "proxy",
    "containerd", "daemon_config", "service", "boot_cmdline", "reboot",
)


def plan(facts, settings, probe=None):
    """Decide.

    :arg facts: dict of the module host_facts (schema 1)
    :arg settings: dict, the role's variables without their prefix; ``ca_certificates`` is a list of
        ``{source, name, sha256}`` and an artifact with a path carries ``found`` (its digest on the controller)
    :arg probe: dict or None: what Docker's repository answered, ``{reachable: bool, reason: str, key: bytes or None}``
    :returns: dict with ``refuse`` and ``warnings`` (lists of str), ``platform`` (str), ``source`` (docker, distribution
        or none), ``manager`` (apt, dnf, homebrew or none), ``probe`` (None, or ``{release, key}`` of URLs that must be asked
        before the plan is final), ``steps`` (bool for each of STEPS), ``details`` (dict of dicts) and ``changed``
    """
    return _Plan(facts, settings, probe).result()


def problems(facts):
    """What an engine lacks for the collection's stacks, after the role's work.

    :arg facts: dict of host_facts
    :returns: list of str, empty when engine, Compose and Buildx answer in versions that suffice
    """
    docker = facts.get("docker") or {}
    found = []
    for part, title in (("engine", "the Docker engine"), ("compose", "Docker Compose"), ("buildx", "Docker Buildx")):
        entry = docker.get(part)
        if not entry:
            reason = (facts.get("unknown") or {}).get("docker.%s" % part)
            found.append("%s does not answer%s; needed %s or newer" % (title, " (%s)" % reason if reason else "", platforms.MINIMUM[part]))
        elif not at_least(entry.get("version"), platforms.MINIMUM[part]):
            found.append("%s has version %s; needed %s or newer" % (title, entry.get("version"), platforms.MINIMUM[part]))
    return found


def at_least(version, minimum):
    """Compare the numbers at the front of two versions.

    :arg version: str or None, e.g. ``v2.26.1-4``, ``0.13.1+ds1-3``
    :arg minimum: str
    :returns: bool; an unknown version is not enough
    """
    return bool(version) and _numbers(version) >= _numbers(minimum)


def _numbers(version):
    text = version.rpartition(":")[2].lstrip("v")
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(part) for part in match.group(0).split(".")] if match else [0]
    return tuple(numbers + [0] * (4 - len(numbers)))


def apt_version(pattern, package):
    """The pattern of ``docker_engine_version`` in the form that apt compares with whole versions.

    apt takes a version, or its beginning and one ``*`` (pkgVersionMatch in apt-pkg/versionmatch.cc cuts the last ``*``
    off and compares beginnings; other wildcards do not work together with it).

    :arg pattern: str, e.g. ``26.1.*``, ``26.1.5`` or ``5:26.1.4-1~debian.12~bookworm``
    :arg package: str, docker-ce and docker-ce-cli have an epoch
    :returns: str, a version or a beginning with ``*``
    """
    of_docker = package.startswith("docker-ce")
    if ":" not in pattern and of_docker:
        pattern = platforms.DOCKER_EPOCH + pattern
    if not pattern.endswith("*") and not re.search(r"[-+]", pattern):
        # Docker's revision follows at once; a distribution's may start with + (26.1.5+dfsg1-9).
        pattern += "-*" if of_docker else "*"
    return pattern


def preferences(packages, pattern):
    """The text of the apt preferences file that keeps packages at a version.

    :arg packages: list of str
    :arg pattern: str, ``docker_engine_version``
    :returns: str
    """
    parts = ["# Written by dockyard.fleet.docker_engine (docker_engine_version)."]
    for package in packages:
        # 1001 is the least priority at which apt goes back to an older version, too (apt_preferences(5)).
        parts.append("Package: %s\nPin: version %s\nPin-Priority: 1001" % (package, apt_version(pattern, package)))
    return parts[0] + "\n" + "\n\n".join(parts[1:]) + "\n"


def repository_source(repository):
    """The text of the deb822 source.

    :arg repository: dict with uri, suite, component, architecture, keyring
    :returns: str
    """
    return (
        "# Written by dockyard.fleet.docker_engine.\nTypes: deb\nURIs: %(uri)s\nSuites: %(suite)s\nComponents: %(component)s\n"
        "Architectures: %(architecture)s\nSigned-By: %(keyring)s\n" % repository
    )


def proxy_dropin(proxy):
    """The systemd drop-in that gives dockerd its proxy.

    :arg proxy: dict with http, https and no (each str, or absent)
    :returns: str, empty without a proxy
    :raises ValueError: a value holds a line break.
    """
    lines = []
    for key, name in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY"), ("no", "NO_PROXY")):
        value = (proxy or {}).get(key)
        if not value:
            continue
        if "\n" in value or "\r" in value:
            raise ValueError("docker_engine_proxy.%s: found a line break, needed one line" % key)
        # % starts a specifier, \ and " end the quoting (systemd.exec(5), systemd.syntax(7)).
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        lines.append('Environment="%s=%s"' % (name, quoted))
    return "# Written by dockyard.fleet.docker_engine.\n[Service]\n%s\n" % "\n".join(lines) if lines else ""


def containerd_config(text, root):
    """containerd's config.toml with another root.

    ``root`` is a key of the top, so it has to stand before the first table.

    :arg text: str, the present file, or an empty text
    :arg root: str, a directory
    :returns: str
    """
    wanted = 'root = "%s"' % root
    lines = text.splitlines()
    top = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    for number in range(top):
        if re.match(r"\s*root\s*=", lines[number]):
            lines[number] = wanted
            return "\n".join(lines) + "\n"
    return "\n".join(lines[:top] + [wanted] + ([""] if lines[top:] else []) + lines[top:]) + "\n"


def _problem(where, found, needed, setting):
    return "%s: found %s; needed %s; %s" % (where, found, needed, setting)


class _Plan:
    def __init__(self, facts, settings, probe):
        self.facts = facts
        self.settings = settings
        self.probe_answer = probe
        self.refuse = []
        self.warnings = []
        self.steps = dict((step, False) for step in STEPS)
        self.details = dict((step, {}) for step in STEPS)
        self.probe = None
        self.source = "none"
        self.manager = "none"
        self.docker = facts.get("docker") or {}
        self.os = facts.get("os") or {}
        self.architecture = facts.get("architecture") or {}
        self.packages = facts.get("packages") or {}
        self.platform = self._platform()
        self.title = self.os.get("pretty_name") or (self.platform or {}).get("title") or "this system"

    def result(self):
        if self.os.get("family") == "darwin":
            self._macos()
        elif self.platform is None:
            self.refuse.append(_problem(
                "operating system", "%s (id %s, version %s)" % (self.os.get("pretty_name"), self.os.get("id"), self.os.get("version_id")),
                "one of %s" % platforms.SUPPORTED, "install Docker yourself and leave the host's docker_engine role out, or use another system"))
        else:
            self._linux()
        return {
            "refuse": self.refuse,
            "warnings": self.warnings,
            "platform": self.title,
            "source": self.source,
            "manager": self.manager,
            "probe": self.probe,
            "steps": self.steps,
            "details": self.details,
            "changed": any(self.steps.values()),
        }

    def do(self, step, **details):
        self.steps[step] = True
        self.details[step].update(details)

    # What there is.

    def _platform(self):
        version = str(self.os.get("version_id") or "")
        for candidate in (version, version.partition(".")[0]):
            entry = platforms.PLATFORMS.get((self.os.get("id"), candidate))
            if entry:
                return entry
        return None

    def _present(self, package):
        entry = self.packages.get(package)
        return bool(entry) and entry.get("status", "installed") not in ("config-files", "not-installed")

    def _broken(self, package):
        entry = self.packages.get(package)
        return bool(entry) and entry.get("status", "installed") not in ("installed", "config-files", "not-installed")

    def _installed_source(self):
        if self._present("docker-ce"):
            return "docker"
        if any(self._present(name) for name in self.platform["distribution"]["engine"][:1]):
            return "distribution"
        return None

    # Linux, step by step. The order is the one in which the role works.

    def _linux(self):
        self.manager = self.platform["manager"]
        if self.facts.get("packages") is None:
            self.refuse.append(_problem(
                "installed packages", "nothing readable (%s)" % (self.facts.get("unknown") or {}).get("packages", "no reason given"),
                "the package database", "mend it on the host, or run as a user who may read it"))
            return
        if self.facts.get("init") not in (None, "systemd"):
            self.refuse.append(_problem("init system", self.facts.get("init"), "systemd", "the role manages docker.service only with it"))
            return
        self._repair()
        self._ca_certificates()
        self._choose_source()
        if self.source == "none" and self.refuse:
            return
        self._repository()
        self._packages()
        self._hold()
        self._plugins()
        self._users()
        self._proxy()
        self._containerd()
        self._daemon_config()
        self._service()
        self._memory_cgroup()

    def _repair(self):
        broken = sorted(name for name in self.packages if self._broken(name))
        if self.manager == "apt" and (self.facts.get("dpkg_interrupted") or broken):
            self.do("repair_dpkg", packages=broken)

    def _ca_certificates(self):
        present = self.facts.get("ca_certificates") or {}
        digests = set(present.values())
        missing = []
        for certificate in self.settings.get("ca_certificates") or []:
            if certificate["sha256"] not in digests:
                missing.append(certificate)
        if missing:
            debian = self.manager == "apt"
            self.do(
                "ca_certificates", files=missing,
                directory="/usr/local/share/ca-certificates" if debian else "/etc/pki/ca-trust/source/anchors",
                command=["update-ca-certificates"] if debian else ["update-ca-trust", "extract"],
                # dockerd reads the system's certificates once, when it starts.
                restart=bool((self.docker.get("service") or {}).get("active")))

    def _choose_source(self):
        asked = self.settings.get("source") or "auto"
        installed = self._installed_source()
        self._installed = installed
        if self.manager != "apt" and asked == "docker":
            self.refuse.append(_problem(
                "docker_engine_source", "docker on %s" % self.title, "a repository of Docker for it, which does not exist",
                "set docker_engine_source to auto or distribution"))
            return
        if installed and (asked == "auto" or asked == installed):
            self.source = installed
            return
        if installed:
            if not self.settings.get("remove_conflicting"):
                self.refuse.append(_problem(
                    "docker_engine_source", "%s wanted, but the engine in use is %s's" % (asked, self._owner(installed)), "one of them",
                    "set docker_engine_source to auto (it stays), or docker_engine_remove_conflicting to true (it is replaced)"))
                return
            self.source = asked
        elif asked != "auto":
            self.source = asked
        elif self.docker.get("engine"):
            # An engine of some other origin (a static binary, a snap) answers: it is not ours to replace.
            self.source = "none"
            self.warnings.append("%s: the Docker engine %s comes from no package that this role knows; it is kept as it is" % (
                self.title, (self.docker["engine"] or {}).get("version")))
            return
        else:
            self._choose_automatically()
        if self.source == "docker" and not self._docker_supported():
            return
        if self.source == "distribution":
            self._distribution_suffices(refuse=True)
        self._conflicts()

    @staticmethod
    def _owner(source):
        return "Docker" if source == "docker" else "the distribution"

    def _choose_automatically(self):
        if self._repository_target() and self._repository_configured():
            self.source = "docker"
            return
        if not self._repository_target():
            self.source = "distribution"
            return
        if self.probe_answer is None:
            # Not known yet: planned as Docker's, to be decided by the answer.
            self.source = "docker"
            self._ask_repository()
        elif self.probe_answer["reachable"]:
            self.source = "docker"
        elif self._distribution_suffices(refuse=False):
            self.source = "distribution"
            self.warnings.append("Docker's repository does not answer (%s): the packages of %s are used" % (
                self.probe_answer.get("reason") or "no reason given", self.title))
        else:
            self.source = "distribution"  # refused with what is missing, just after this

    def _repository_target(self):
        """(URI, suite, architecture) of Docker's packages for this host, or None."""
        dpkg = self.architecture.get("dpkg")
        known = self.platform["docker"].get(dpkg)
        if known and self.platform.get("docker_needs_armv7") and str(self.architecture.get("machine")).startswith("armv6"):
            known = None
        url, suite = self.settings.get("repository_url"), self.settings.get("repository_suite")
        if self.manager != "apt" or not (known or (url and suite)):
            return None
        uri = url or "%s/linux/%s" % (platforms.DOCKER_URL, known[0])
        return uri.rstrip("/"), suite or known[1], dpkg

    def _docker_supported(self):
        if self._repository_target():
            return True
        self.source = "none"
        self.refuse.append(_problem(
            "docker_engine_source", "docker on %s, architecture %s" % (self.title, self.architecture.get("machine")),
            "packages in Docker's repository, which has none for it",
            "set docker_engine_source to distribution, or docker_engine_repository_url and docker_engine_repository_suite to a mirror that has them"))
        return False

    def _repository_configured(self):
        """The file that has Docker's repository already, or None. Whoever wrote it: a second entry would only quarrel about the key."""
        target = self._repository_target()
        for entry in (self.facts.get("apt") or {}).get("sources") or []:
            uris = [uri.rstrip("/") for uri in _list(entry.get("uris"))]
            if entry.get("enabled", True) and target[0] in uris and target[1] in _list(entry.get("suites")):
                return entry.get("file") or "an apt source"
        return None

    def _ask_repository(self):
        uri, suite, dpkg = self._repository_target()
        key = self._key_url()
        self.probe = {"release": "%s/dists/%s/InRelease" % (uri, suite), "key": key}

    def _key_url(self):
        """Where the key is to be fetched, or None when it comes from the controller."""
        key = self.settings.get("repository_key")
        if not key:
            return "%s/gpg" % self._repository_target()[0]
        return key if re.match(r"https?://", key) else None

    def _distribution_suffices(self, refuse):
        missing = []
        for part in ("compose", "buildx"):
            if self.platform["distribution"][part] or self.settings.get("%s_artifact" % part):
                continue
            if self._part_suffices(part):
                continue
            missing.append(part)
        if missing and refuse:
            reason = (self.probe_answer or {}).get("reason")
            self.refuse.append(_problem(
                "Docker %s on %s" % (" and ".join(part.capitalize() for part in missing), self.title),
                "no package of the distribution%s" % (", and Docker's repository does not answer (%s)" % reason if reason else ""),
                "Compose %s and Buildx %s or newer" % (platforms.MINIMUM["compose"], platforms.MINIMUM["buildx"]),
                "set %s, or docker_engine_repository_url to a mirror of Docker's repository with docker_engine_source: docker" % " and ".join(
                    "docker_engine_%s_artifact" % part for part in missing)))
        return not missing

    def _conflicts(self):
        if self.manager != "apt" or self.source not in ("docker", "distribution"):
            return
        other = platforms.OF_DISTRIBUTION if self.source == "docker" else platforms.OF_DOCKER
        if self.source == self._installed:
            return
        found = [name for name in other + platforms.OF_NEITHER if self._present(name)]
        if not found:
            return
        if self.settings.get("remove_conflicting"):
            self.do("remove_conflicting", packages=found)
        else:
            self.refuse.append(_problem(
                "installed packages", ", ".join(found), "none of them beside %s's Docker" % self._owner(self.source),
                "set docker_engine_remove_conflicting to true (their data in /var/lib is kept), or docker_engine_source to another source"))

    def _repository(self):
        if self.source != "docker":
            return
        if self._repository_configured():
            return
        if self._installed == "docker" and not self.settings.get("repository_url"):
            # Installed by hand or from a local file: nothing has to be fetched, so no source is forced on the host.
            if not self._packages_wanted():
                return
        uri, suite, dpkg = self._repository_target()
        key, keyring = None, platforms.KEYRING + ".asc"
        url = self._key_url()
        if url is None:
            key = self.settings.get("repository_key_data")
        elif self.probe_answer is None:
            self._ask_repository()
        elif not self.probe_answer["reachable"]:
            self.refuse.append(_problem(
                "Docker's repository", "no answer from %s (%s)" % (uri, self.probe_answer.get("reason")), "its index and its key",
                "set docker_engine_repository_url and docker_engine_repository_key to a mirror, or docker_engine_source to distribution"))
        else:
            key = self.probe_answer.get("key")
        if key is not None:
            self._check_key(key, url)
            if not keys.is_armored(key):
                keyring = platforms.KEYRING + ".gpg"
        repository = {"uri": uri, "suite": suite, "component": self.settings.get("repository_component") or "stable", "architecture": dpkg, "keyring": keyring}
        self.do(
            "repository", file=platforms.SOURCE_FILE, content=repository_source(repository),
            key_from="controller" if url is None else "url", **repository)
        if key is not None:
            self.details["repository"]["key_sha256"] = hashlib.sha256(key).hexdigest()

    def _check_key(self, key, url):
        setting = "docker_engine_repository_key_fingerprint"
        wanted = self.settings.get("repository_key_fingerprint")
        if not wanted and url and url.startswith(platforms.DOCKER_URL + "/"):
            wanted = platforms.DOCKER_FINGERPRINT
        where = "key of Docker's repository (%s)" % (url or self.settings.get("repository_key"))
        try:
            found = keys.fingerprint(key)
        except ValueError as error:
            self.refuse.append(_problem(where, str(error).replace("found ", "", 1), "an OpenPGP public key", "set docker_engine_repository_key"))
            return
        if not wanted:
            if url:
                self.refuse.append(_problem(
                    where, "a key fetched from a URL without a fingerprint to compare it with", "its fingerprint from a source that you trust",
                    "set %s (the key that came has %s), or docker_engine_repository_key to a file" % (setting, found)))
        elif not keys.same_fingerprint(found, wanted):
            self.refuse.append(_problem(where, "the fingerprint %s" % found, wanted, "set %s if the new key is meant" % setting))

    # Packages.

    def _parts(self):
        """{engine, compose, buildx: packages} of the source in use."""
        return platforms.DOCKER_PACKAGES if self.source == "docker" else self.platform["distribution"]

    def _versioned(self):
        """Packages that docker_engine_version speaks of: engine and client, not containerd.io."""
        return [name for name in self._parts()["engine"] if name != "containerd.io"]

    def _version_differs(self, package):
        pattern, entry = self.settings.get("version"), self.packages.get(package) or {}
        if not pattern or self.manager != "apt" or package not in self._versioned() or not self._present(package):
            return False
        return not fnmatch.fnmatchcase(entry.get("version") or "", apt_version(pattern, package))

    def _packages_wanted(self):
        """Names of packages that have to be installed or changed, in order."""
        if self.source == "none":
            return []
        parts = self._parts()
        wanted = [name for name in parts["engine"] if not self._present(name) or self._broken(name) or self._version_differs(name)]
        if self.source == "distribution" and self.manager == "apt" and self._present("docker.io") and "docker-cli" in wanted and self.docker.get("cli"):
            wanted.remove("docker-cli")
        for part in ("compose", "buildx"):
            if not self._part_suffices(part) and not self.settings.get("%s_artifact" % part):
                wanted += [name for name in parts[part] if not self._present(name) or self._broken(name)]
        return wanted

    def _part_suffices(self, part):
        entry = self.docker.get(part)
        return bool(entry) and at_least(entry.get("version"), platforms.MINIMUM[part]) and not self._part_goes(part, entry)

    def _part_goes(self, part, entry):
        """Whether the plugin that answers now belongs to a package of the source that is to be removed."""
        if self.manager != "apt" or self.source in ("none", self._installed) or str(entry.get("path")).startswith(platforms.PLUGIN_DIR + "/"):
            return False
        theirs = platforms.DISTRIBUTION_PLUGINS if self.source == "docker" else platforms.DOCKER_PACKAGES
        return any(self._present(name) for name in theirs[part])

    def _packages(self):
        if self.source == "none":
            self._unpackaged_parts()
            return
        pattern = self.settings.get("version") or ""
        if not re.match(r"[A-Za-z0-9.+:~-]*\*?$", pattern):
            self.refuse.append(_problem("docker_engine_version", repr(pattern), "a version, or its beginning and one *", "set it to such as 28.1.*"))
            return
        upgrade = bool(self.settings.get("upgrade"))
        wanted = self._packages_wanted()
        parts = self._parts()
        self._check_versions(wanted, upgrade)
        held = [name for name in wanted if (self.packages.get(name) or {}).get("hold") and self._version_differs(name)]
        if held and (self.settings.get("hold") or "keep") == "keep":
            self.refuse.append(_problem(
                "package hold", "%s held at %s" % (", ".join(held), self.packages[held[0]].get("version")),
                "docker_engine_version %s" % self.settings.get("version"),
                "set docker_engine_hold to hold (held again at the new version) or release, or docker_engine_version to what is there"))
        names = list(wanted)
        if upgrade:
            everything = [name for part in ("engine", "compose", "buildx") for name in parts[part]]
            names = [name for name in everything if name in wanted or self._present(name)]
        pinned = self._versioned() if self.settings.get("version") and self.manager == "apt" else []
        pin = preferences(pinned, self.settings["version"]) if pinned else ""
        present_pin = ((self.facts.get("apt") or {}).get("pins") or {}).get(platforms.PIN_FILE)
        pin_differs = present_pin != (hashlib.sha256(pin.encode()).hexdigest() if pin else None)
        if not names and not (pin_differs and self.manager == "apt"):
            return
        self.do(
            "packages",
            names=["%s=%s" % (name, apt_version(self.settings["version"], name)) if name in pinned else name for name in names],
            state="latest" if upgrade else "present",
            pin=pin, pin_file=platforms.PIN_FILE if self.manager == "apt" else "", pin_differs=pin_differs and self.manager == "apt",
            unhold=[name for name in names if (self.packages.get(name) or {}).get("hold")],
            recommends=bool(self.settings.get("recommends")),
            fresh=not self.docker.get("engine"))

    def _unpackaged_parts(self):
        for part in ("compose", "buildx"):
            if not self._part_suffices(part) and not self.settings.get("%s_artifact" % part):
                self.refuse.append(_problem(
                    "Docker %s" % part.capitalize(), (self.docker.get(part) or {}).get("version") or "nothing", "%s or newer" % platforms.MINIMUM[part],
                    "set docker_engine_%s_artifact" % part))

    def _check_versions(self, wanted, upgrade):
        """An engine or a plugin that is there but too old is upgraded when that is allowed, else refused."""
        for part in ("engine", "compose", "buildx"):
            entry = self.docker.get(part)
            if not entry or at_least(entry.get("version"), platforms.MINIMUM[part]) or self.settings.get("%s_artifact" % part):
                if entry or part == "engine" or self._parts()[part] or self.settings.get("%s_artifact" % part):
                    continue
                if self.source == self._installed:
                    self._distribution_suffices(refuse=True)
                    return
                continue
            if not upgrade and not self.steps["remove_conflicting"] and not any(name in wanted for name in self._parts()[part]):
                self.refuse.append(_problem(
                    "Docker %s" % part, "version %s" % entry.get("version"), "%s or newer" % platforms.MINIMUM[part],
                    "set docker_engine_upgrade to true%s" % ("" if part == "engine" else ", or docker_engine_%s_artifact" % part)))

    def _hold(self):
        wish = self.settings.get("hold") or "keep"
        if wish == "keep" or self.manager != "apt" or self.source == "none":
            return
        names = self._parts()["engine"]
        changing = self.details["packages"].get("names") or []
        differ = [name for name in names if bool((self.packages.get(name) or {}).get("hold")) != (wish == "hold")]
        again = [name for name in names if wish == "hold" and name in [entry.partition("=")[0] for entry in changing]]
        selection = [name for name in names if name in differ or name in again]
        selection = [name for name in selection if self._present(name) or name in [entry.partition("=")[0] for entry in changing]]
        if selection:
            self.do("hold", packages=selection, selection="hold" if wish == "hold" else "install")

    def _plugins(self):
        """Compose and Buildx as verified files, where a package of them is not wanted or does not exist."""
        wanted = []
        for part in ("compose", "buildx"):
            artifact = self.settings.get("%s_artifact" % part) or {}
            if not artifact:
                continue
            setting = "docker_engine_%s_artifact" % part
            lacking = _artifact_lacks(artifact)
            if lacking:
                self.refuse.append(_problem(setting, lacking, "a url or a path, a checksum (sha256: and 64 hex digits) and a version", "complete it"))
                continue
            if artifact.get("path") and artifact.get("found") != artifact.get("checksum"):
                self.refuse.append(_problem(
                    "%s (%s)" % (setting, artifact["path"]), artifact.get("found") or "no such file on the controller", artifact.get("checksum"),
                    "set its checksum to the publisher's, or its path to the right file"))
                continue
            path = "%s/docker-%s" % (platforms.PLUGIN_DIR, part)
            present = self.docker.get(part) or {}
            if present.get("path") == path and _same_version(present.get("version"), artifact.get("version")):
                continue
            if not at_least(artifact.get("version"), platforms.MINIMUM[part]):
                self.refuse.append(_problem(setting, "version %s" % artifact.get("version"), "%s or newer" % platforms.MINIMUM[part], "set another artifact"))
                continue
            wanted.append({
                "name": part, "dest": path, "url": artifact.get("url") or "", "path": artifact.get("path") or "", "checksum": artifact.get("checksum"),
            })
        if wanted:
            self.do("plugins", directory=platforms.PLUGIN_DIR, files=wanted)

    # Configuration.

    def _users(self):
        users = list(self.settings.get("users") or [])
        members = self.docker.get("group_members")
        if members is not None:
            users = [name for name in users if name not in members]
        if users:
            self.do("users", names=users)

    def _proxy(self):
        content = self.settings.get("proxy_dropin") or ""
        present = (self.docker.get("dropins") or {}).get(platforms.PROXY_DROPIN)
        wanted = hashlib.sha256(content.encode()).hexdigest() if content else None
        if present != wanted:
            self.do("proxy", path=platforms.PROXY_DROPIN, state="present" if content else "absent", sha256=wanted)

    def _containerd(self):
        root = self.settings.get("containerd_root")
        if root:
            self.do("containerd", root=root, path="/etc/containerd/config.toml")

    def _daemon_config(self):
        config = self.docker.get("daemon_config") or {}
        path = config.get("path") or platforms.DAEMON_JSON
        if config.get("error"):
            self.refuse.append(_problem(path, config["error"], "one readable JSON object", "mend the file on the host; nothing was changed"))
            return
        desired = daemon.desired_from_settings(self.settings)
        if "hosts" in desired:
            self.refuse.append(_problem(
                "docker_engine_daemon", "hosts", "no such key: docker.service gives -H on its command line, and dockerd refuses to start with both",
                "use a drop-in of docker.service for it"))
            return
        current = config.get("parsed") or {}
        merged = daemon.merge(current, desired, daemon.DEFAULTS)
        self._check_data_root(merged)
        if merged == current:
            return
        self.do(
            "daemon_config", path=path, config=desired, defaults=daemon.DEFAULTS, action=daemon.action(current, merged),
            keys=daemon.changed_keys(current, merged))

    def _check_data_root(self, merged):
        engine = self.docker.get("engine") or {}
        present, wanted = engine.get("data_root"), merged.get("data-root")
        if not present or not wanted or present.rstrip("/") == wanted.rstrip("/"):
            return
        images, containers = self.facts.get("images") or [], self.facts.get("containers") or []
        if (images or containers) and self.settings.get("data_root_switch") != "allowed":
            self.refuse.append(_problem(
                "docker_engine_data_root", "%d images and %d containers in %s, which would be out of sight" % (len(images), len(containers), present),
                "an empty engine, or your permission", "copy the data to %s first, then set docker_engine_data_root_switch to allowed" % wanted))

    def _service(self):
        service = self.docker.get("service") or {}
        if not service.get("active") or not service.get("enabled"):
            self.do("service", unit=service.get("unit") or "docker.service")

    # The Pi's memory controller.

    def _memory_cgroup(self):
        controllers = (self.facts.get("cgroup") or {}).get("controllers") or {}
        memory = controllers.get("memory")
        if memory or self.settings.get("memory_cgroup") == "never":
            return
        if memory is None:
            self.warnings.append("the memory controller of control groups could not be read (%s): it is left as it is" % (
                (self.facts.get("unknown") or {}).get("cgroup.controllers") or "no reason given"))
            return
        is_pi = bool(self.facts.get("pi")) or bool(self.os.get("raspberry_pi_os"))
        line = (self.facts.get("boot") or {}).get("cmdline_file")
        if not is_pi or not line:
            self.warnings.append("the kernel has no memory controller for containers, and this is no Raspberry Pi whose boot line could turn it on: "
                                 "memory limits will not be enforced")
            return
        try:
            wanted = boot.with_tokens(line["content"])
        except ValueError as error:
            self.refuse.append(_problem(line["path"], str(error).replace("found ", "", 1), "the kernel's command line",
                                        "mend the file, or set docker_engine_memory_cgroup to never"))
            return
        if wanted != line["content"]:
            self.do("boot_cmdline", path=line["path"])
        elif boot.has_tokens((self.facts.get("kernel") or {}).get("cmdline") or ""):
            self.warnings.append("%s and the running kernel have %s, and still there is no memory controller: memory limits will not be enforced" % (
                line["path"], " ".join(boot.MEMORY_TOKENS)))
            return
        if self.settings.get("reboot") == "allowed":
            self.do("reboot", reason="the kernel takes its command line from %s at the next boot only" % line["path"])
        else:
            self.warnings.append("memory limits of containers are not enforced until this host has booted with the new %s; "
                                 "set docker_engine_reboot to allowed, or reboot it yourself" % line["path"])

    # macOS.

    def _macos(self):
        self.manager = "homebrew"
        self.title = self.os.get("pretty_name") or "macOS"
        if (self.settings.get("source") or "auto") == "docker":
            self.refuse.append(_problem("docker_engine_source", "docker on macOS", "Homebrew, where Docker Desktop and Colima come from",
                                        "set docker_engine_source to auto, and docker_engine_macos to desktop or colima"))
            return
        if not problems(self.facts):
            return
        self.source = "distribution"
        choice = self.settings.get("macos") or "colima"
        if not self.docker.get("engine") or not self.docker.get("cli"):
            self.do("packages", fresh=not self.docker.get("engine"), **platforms.MACOS[choice])
            self.do("service", choice=choice)
        elif choice == "colima":
            missing = [name for name, part in (("docker-compose", "compose"), ("docker-buildx", "buildx")) if not self._part_suffices(part)]
            self.do("packages", formulae=missing, casks=[], fresh=False)
        else:
            self.refuse.append(_problem("Docker Desktop", "; ".join(problems(self.facts)), "a newer Docker Desktop", "upgrade it"))
            return
        if choice == "colima":
            # Homebrew keeps the plugins outside of Docker's search path.
            self.do("plugins", links=[part for part in ("compose", "buildx") if not self._part_suffices(part)])


def _list(value):
    if value is None:
        return []
    return value.split() if isinstance(value, str) else list(value)


def _artifact_lacks(artifact):
    """:returns: str, what is wrong with the setting, or an empty text"""
    if bool(artifact.get("url")) == bool(artifact.get("path")):
        return "both a url and a path" if artifact.get("url") else "neither a url nor a path"
    if not re.match(r"sha256:[0-9a-f]{64}$", artifact.get("checksum") or ""):
        return "the checksum %r" % artifact.get("checksum")
    return "" if artifact.get("version") else "no version"


def _same_version(found, wanted):
    return bool(found) and bool(wanted) and _numbers(found) == _numbers(wanted)
