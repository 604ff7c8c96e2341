# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of the role docker_engine, platform by platform."""

from __future__ import annotations

import copy
import hashlib

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.engine import daemon, plan as engine, platforms

OSES = {
    "debian12": {"id": "debian", "version_id": "12", "codename": "bookworm", "pretty_name": "Debian GNU/Linux 12 (bookworm)", "family": "debian"},
    "debian13": {"id": "debian", "version_id": "13", "codename": "trixie", "pretty_name": "Debian GNU/Linux 13 (trixie)", "family": "debian"},
    "raspbian12": {"id": "raspbian", "version_id": "12", "codename": "bookworm", "pretty_name": "Raspbian GNU/Linux 12 (bookworm)", "family": "debian",
                   "raspberry_pi_os": True},
    "raspbian13": {"id": "raspbian", "version_id": "13", "codename": "trixie", "pretty_name": "Raspbian GNU/Linux 13 (trixie)", "family": "debian",
                   "raspberry_pi_os": True},
    "ubuntu22": {"id": "ubuntu", "version_id": "22.04", "codename": "jammy", "pretty_name": "Ubuntu 22.04.5 LTS", "family": "debian"},
    "ubuntu24": {"id": "ubuntu", "version_id": "24.04", "codename": "noble", "pretty_name": "Ubuntu 24.04.1 LTS", "family": "debian"},
    "amazon": {"id": "amzn", "version_id": "2023", "codename": None, "pretty_name": "Amazon Linux 2023.6", "family": "redhat"},
    "macos": {"id": "macos", "version_id": "15.1", "codename": None, "pretty_name": "macOS 15.1", "family": "darwin"},
    "fedora": {"id": "fedora", "version_id": "41", "codename": "", "pretty_name": "Fedora Linux 41", "family": "redhat"},
    "debian11": {"id": "debian", "version_id": "11", "codename": "bullseye", "pretty_name": "Debian GNU/Linux 11 (bullseye)", "family": "debian"},
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
REACHABLE = {"reachable": True, "reason": "", "key": None}
UNREACHABLE = {"reachable": False, "reason": "no route", "key": None}
GOOD = {
    "engine": {"version": "26.1.5"}, "cli": {"version": "26.1.5"},
    "compose": {"version": "2.26.1", "path": "/usr/libexec/docker/cli-plugins/docker-compose"},
    "buildx": {"version": "0.13.1", "path": "/usr/libexec/docker/cli-plugins/docker-buildx"},
}
ARTIFACT = {"url": "https://mirror.example/docker-compose", "checksum": "sha256:" + "0" * 64, "version": "2.32.1"}
BUILDX = {"url": "https://mirror.example/docker-buildx", "checksum": "sha256:" + "1" * 64, "version": "0.19.2"}


def facts(os_name="debian13", dpkg="amd64", **more):
    """A bare host as host_facts reports it."""
    bare = {
        "schema": 1,
        "os": dict({"raspberry_pi_os": False}, **OSES[os_name]),
        "architecture": {"machine": MACHINES[dpkg], "dpkg": dpkg},
        "pi": None, "kernel": {"cmdline": "quiet"}, "boot": None, "init": "systemd",
        "cgroup": {"version": "v2", "controllers": {"memory": True, "cpu": True}},
        "packages": {}, "dpkg_interrupted": False,
        "apt": {"sources": [], "keyrings": {}, "pins": {}},
        "ca_certificates": {},
        "docker": {"cli": None, "engine": None, "compose": None, "buildx": None, "dropins": {},
                   "service": {"unit": "docker.service", "active": False, "enabled": False},
                   "daemon_config": {"path": "/etc/docker/daemon.json", "exists": False, "raw": None, "parsed": None, "error": None}},
        "images": [], "containers": [], "unknown": {},
    }
    bare.update(more)
    return bare


def converged(os_name="debian13", source="distribution", **more):
    """A host on which the role has done its work."""
    host = facts(os_name, **more)
    names = platforms.DOCKER_PACKAGES if source == "docker" else platforms.PLATFORMS["debian", "13"]["distribution"]
    version = "5:26.1.5-1~debian.13~trixie" if source == "docker" else "26.1.5+dfsg1-9"
    host["packages"] = dict((name, {"version": version, "hold": False, "status": "installed"}) for part in names.values() for name in part)
    host["docker"].update(copy.deepcopy(GOOD))
    host["docker"]["service"].update(active=True, enabled=True)
    host["docker"]["daemon_config"].update(exists=True, parsed=copy.deepcopy(daemon.DEFAULTS))
    return host


def taken(decided):
    return [step for step in engine.STEPS if decided["steps"][step]]


# Which source, on which platform.

@pytest.mark.parametrize("os_name, dpkg, uri, suite", [
    ("debian12", "amd64", "debian", "bookworm"), ("debian12", "arm64", "debian", "bookworm"), ("debian12", "armhf", "debian", "bookworm"),
    ("debian13", "amd64", "debian", "trixie"), ("debian13", "arm64", "debian", "trixie"), ("debian13", "armhf", "debian", "trixie"),
    ("raspbian12", "armhf", "raspbian", "bookworm"), ("raspbian13", "armhf", "debian", "trixie"),
    ("ubuntu22", "amd64", "ubuntu", "jammy"), ("ubuntu22", "arm64", "ubuntu", "jammy"), ("ubuntu24", "amd64", "ubuntu", "noble"),
    ("ubuntu24", "arm64", "ubuntu", "noble"),
])
def test_auto_asks_for_dockers_repository_and_takes_it(os_name, dpkg, uri, suite):
    base = "https://download.docker.com/linux/" + uri
    first = engine.plan(facts(os_name, dpkg), {})
    assert first["probe"] == {"release": "%s/dists/%s/InRelease" % (base, suite), "key": base + "/gpg"}
    assert first["refuse"] == []
    decided = engine.plan(facts(os_name, dpkg), {}, REACHABLE)
    assert (decided["source"], decided["manager"], decided["refuse"], decided["probe"]) == ("docker", "apt", [], None)
    assert taken(decided) == ["repository", "packages", "daemon_config", "service"]
    assert decided["details"]["packages"]["names"] == [
        "docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin", "docker-buildx-plugin"]
    content = decided["details"]["repository"]["content"]
    assert "URIs: %s\nSuites: %s\nComponents: stable\nArchitectures: %s\nSigned-By: /etc/apt/keyrings/dockyard-docker.asc\n" % (base, suite, dpkg) in content


@pytest.mark.parametrize("os_name, names", [
    ("debian13", ["docker.io", "docker-cli", "docker-compose", "docker-buildx"]),
    ("raspbian13", ["docker.io", "docker-cli", "docker-compose", "docker-buildx"]),
    ("ubuntu22", ["docker.io", "docker-compose-v2", "docker-buildx"]),
    ("ubuntu24", ["docker.io", "docker-compose-v2", "docker-buildx"]),
])
@pytest.mark.parametrize("settings, probe", [({"source": "auto"}, UNREACHABLE), ({"source": "distribution"}, None)])
def test_distribution(os_name, names, settings, probe):
    decided = engine.plan(facts(os_name, "armhf" if "raspbian" in os_name else "arm64"), settings, probe)
    assert (decided["source"], decided["refuse"], decided["probe"]) == ("distribution", [], None)
    assert decided["details"]["packages"]["names"] == names
    assert taken(decided) == ["packages", "daemon_config", "service"]
    assert bool(decided["warnings"]) == (settings["source"] == "auto")


@pytest.mark.parametrize("os_name, dpkg", [("debian12", "arm64"), ("raspbian12", "armhf")])
@pytest.mark.parametrize("settings, probe", [({"source": "auto"}, UNREACHABLE), ({"source": "distribution"}, None)])
def test_debian_12_has_no_compose_2_and_no_buildx(os_name, dpkg, settings, probe):
    decided = engine.plan(facts(os_name, dpkg), settings, probe)
    assert len(decided["refuse"]) == 1
    for part in ("Docker Compose and Buildx on", "no package of the distribution", "docker_engine_compose_artifact and docker_engine_buildx_artifact"):
        assert part in decided["refuse"][0]
    assert ("no route" in decided["refuse"][0]) == (settings["source"] == "auto")
    decided = engine.plan(facts(os_name, dpkg), dict(settings, compose_artifact=ARTIFACT, buildx_artifact=BUILDX), probe)
    assert decided["refuse"] == []
    assert decided["details"]["packages"]["names"] == ["docker.io"]
    assert [(entry["name"], entry["dest"], entry["url"]) for entry in decided["details"]["plugins"]["files"]] == [
        ("compose", "/usr/local/lib/docker/cli-plugins/docker-compose", ARTIFACT["url"]),
        ("buildx", "/usr/local/lib/docker/cli-plugins/docker-buildx", BUILDX["url"])]


def test_amazon_linux():
    decided = engine.plan(facts("amazon"), {})
    assert decided["probe"] is None and "docker_engine_compose_artifact" in decided["refuse"][0]
    decided = engine.plan(facts("amazon", "arm64"), {"compose_artifact": ARTIFACT, "buildx_artifact": BUILDX, "ca_certificates": [
        {"source": "/c/ca.pem", "name": "dockyard-ca.crt", "sha256": "ab"}]})
    assert (decided["source"], decided["manager"], decided["refuse"]) == ("distribution", "dnf", [])
    assert decided["details"]["packages"]["names"] == ["docker"]
    assert decided["details"]["ca_certificates"]["directory"] == "/etc/pki/ca-trust/source/anchors"
    assert decided["details"]["ca_certificates"]["command"] == ["update-ca-trust", "extract"]
    assert taken(decided) == ["ca_certificates", "packages", "plugins", "daemon_config", "service"]
    refused = engine.plan(facts("amazon"), {"source": "docker"})["refuse"]
    assert len(refused) == 1 and "docker_engine_source: found docker on Amazon Linux" in refused[0]


def test_armv6_gets_no_package_of_debians_armhf():
    host = facts("raspbian13", "armhf", architecture={"machine": "armv6l", "dpkg": "armhf"})
    assert engine.plan(host, {})["source"] == "distribution"
    refused = engine.plan(host, {"source": "docker"})["refuse"]
    assert len(refused) == 1 and "architecture armv6l" in refused[0]


@pytest.mark.parametrize("os_name", ["fedora", "debian11"])
def test_unsupported(os_name):
    decided = engine.plan(facts(os_name), {})
    assert not decided["changed"] and decided["manager"] == "none"
    assert len(decided["refuse"]) == 1
    assert OSES[os_name]["pretty_name"] in decided["refuse"][0] and "Debian 12, Debian 13" in decided["refuse"][0] and "macOS" in decided["refuse"][0]


def test_macos():
    decided = engine.plan(facts("macos", "arm64", packages=None), {})
    assert (decided["manager"], decided["source"], decided["refuse"]) == ("homebrew", "distribution", [])
    assert decided["details"]["packages"]["formulae"] == ["colima", "docker", "docker-compose", "docker-buildx"]
    assert decided["details"]["plugins"]["links"] == ["compose", "buildx"]
    assert taken(decided) == ["packages", "plugins", "service"]
    decided = engine.plan(facts("macos", "arm64", packages=None), {"macos": "desktop"})
    assert decided["details"]["packages"]["casks"] == ["docker-desktop"] and taken(decided) == ["packages", "service"]
    host = facts("macos", "arm64", packages=None)
    host["docker"].update(GOOD)
    assert not engine.plan(host, {})["changed"]
    host["docker"]["buildx"] = None
    decided = engine.plan(host, {})
    assert decided["details"]["packages"]["formulae"] == ["docker-buildx"] and taken(decided) == ["packages", "plugins"]
    assert "docker on macOS" in engine.plan(host, {"source": "docker"})["refuse"][0]


# What is there stays.

@pytest.mark.parametrize("source", ["docker", "distribution"])
def test_nothing_to_do(source):
    host = converged(source=source)
    decided = engine.plan(host, {})
    assert (taken(decided), decided["refuse"], decided["warnings"], decided["probe"], decided["source"]) == ([], [], [], None, source)
    assert decided["changed"] is False


@pytest.mark.parametrize("installed, asked", [("docker", "distribution"), ("distribution", "docker")])
def test_an_engine_is_never_swapped_unasked(installed, asked):
    host = converged(source=installed)
    refused = engine.plan(host, {"source": asked})
    assert len(refused["refuse"]) == 1 and "docker_engine_remove_conflicting" in refused["refuse"][0] and not refused["changed"]
    decided = engine.plan(host, {"source": asked, "remove_conflicting": True}, REACHABLE)
    assert decided["refuse"] == []
    assert decided["details"]["remove_conflicting"]["packages"] == sorted(host["packages"], key=(
        platforms.OF_DOCKER if installed == "docker" else platforms.OF_DISTRIBUTION).index)
    # Compose and Buildx answer still, but go with the packages that are removed.
    parts = platforms.DOCKER_PACKAGES if asked == "docker" else platforms.PLATFORMS["debian", "13"]["distribution"]
    assert decided["details"]["packages"]["names"] == [name for part in ("engine", "compose", "buildx") for name in parts[part]]
    assert [step for step in taken(decided) if step in ("remove_conflicting", "packages")] == ["remove_conflicting", "packages"]


def test_swapping_to_debian_12_needs_the_plugins_from_elsewhere():
    host = converged("debian12", source="docker")
    asked = {"source": "distribution", "remove_conflicting": True}
    assert "no package of the distribution" in engine.plan(host, asked)["refuse"][0]
    for part in ("compose", "buildx"):
        host["docker"][part]["path"] = "/usr/local/lib/docker/cli-plugins/docker-" + part
    decided = engine.plan(host, asked)
    assert decided["refuse"] == [] and decided["details"]["packages"]["names"] == ["docker.io"]


def test_a_stray_package_of_the_other_source():
    host = facts("debian12", packages={"podman-docker": {"version": "4.3", "status": "installed"}, "runc": {"version": "1", "status": "config-files"}})
    decided = engine.plan(host, {}, REACHABLE)
    assert "podman-docker" in decided["refuse"][0] and "runc" not in decided["refuse"][0]
    decided = engine.plan(host, {"remove_conflicting": True}, REACHABLE)
    assert decided["refuse"] == [] and decided["details"]["remove_conflicting"]["packages"] == ["podman-docker"]


def test_an_engine_of_unknown_origin_is_kept():
    host = facts("debian13")
    host["docker"].update(copy.deepcopy(GOOD))
    host["docker"]["service"].update(active=True, enabled=True)
    decided = engine.plan(host, {})
    assert decided["source"] == "none" and taken(decided) == ["daemon_config"] and "kept as it is" in decided["warnings"][0]
    host["docker"]["buildx"] = None
    assert "docker_engine_buildx_artifact" in engine.plan(host, {})["refuse"][0]


def test_a_configured_repository_is_used_without_asking():
    host = facts("debian13", apt={"sources": [{"file": "/etc/apt/sources.list.d/docker.list", "uris": ["https://download.docker.com/linux/debian/"],
                                               "suites": ["trixie"], "signed_by": "/etc/apt/keyrings/docker.asc", "enabled": True}], "pins": {}})
    decided = engine.plan(host, {})
    assert decided["source"] == "docker" and decided["probe"] is None and taken(decided) == ["packages", "daemon_config", "service"]
    host["apt"]["sources"][0]["enabled"] = False
    assert engine.plan(host, {})["probe"] is not None


def test_missing_or_old_parts():
    host = converged()
    del host["packages"]["docker-buildx"]
    host["docker"]["buildx"] = None
    decided = engine.plan(host, {})
    assert decided["details"]["packages"]["names"] == ["docker-buildx"] and taken(decided) == ["packages"]
    host = converged()
    host["docker"]["compose"]["version"] = "2.20.2"
    decided = engine.plan(host, {})
    assert decided["refuse"] == [
        "Docker compose: found version 2.20.2; needed 2.24.0 or newer; set docker_engine_upgrade to true, or docker_engine_compose_artifact"]
    assert engine.plan(host, {"upgrade": True})["refuse"] == []
    decided = engine.plan(host, {"compose_artifact": ARTIFACT})
    assert decided["refuse"] == [] and taken(decided) == ["plugins"]


def test_an_installed_plugin_artifact_is_left_alone():
    host = converged("debian12", dpkg="arm64")
    host["packages"] = {"docker.io": {"version": "20.10.24+dfsg1-1", "status": "installed"}}
    host["docker"]["engine"]["version"] = "20.10.24"
    host["docker"]["compose"] = {"version": "v2.32.1", "path": "/usr/local/lib/docker/cli-plugins/docker-compose"}
    host["docker"]["buildx"] = {"version": "0.19.2", "path": "/usr/local/lib/docker/cli-plugins/docker-buildx"}
    settings = {"compose_artifact": ARTIFACT, "buildx_artifact": BUILDX}
    assert taken(engine.plan(host, settings)) == []
    newer = dict(ARTIFACT, version="2.33.0")
    assert [entry["name"] for entry in engine.plan(host, dict(settings, compose_artifact=newer))["details"]["plugins"]["files"]] == ["compose"]


@pytest.mark.parametrize("artifact, found", [
    ({"url": "https://a", "checksum": "md5:1", "version": "2.30.0"}, "the checksum 'md5:1'"),
    ({"url": "https://a", "path": "/a", "checksum": ARTIFACT["checksum"], "version": "2.30.0"}, "both a url and a path"),
    ({"checksum": ARTIFACT["checksum"], "version": "2.30.0"}, "neither a url nor a path"),
    ({"url": "https://a", "checksum": ARTIFACT["checksum"]}, "no version"),
    ({"url": "https://a", "checksum": ARTIFACT["checksum"], "version": "2.5.0"}, "version 2.5.0"),
    ({"path": "/a", "checksum": ARTIFACT["checksum"], "version": "2.30.0", "found": "sha256:" + "f" * 64}, "sha256:" + "f" * 64),
    ({"path": "/a", "checksum": ARTIFACT["checksum"], "version": "2.30.0", "found": None}, "no such file"),
])
def test_bad_artifacts(artifact, found):
    refused = engine.plan(facts("debian13"), {"source": "distribution", "compose_artifact": artifact})["refuse"]
    assert len(refused) == 1 and found in refused[0] and "docker_engine_compose_artifact" in refused[0]


# Repository, version, hold.

def test_the_key():
    mirror = {"source": "docker", "repository_url": "http://mirror.example/debian", "repository_key": "http://mirror.example/key"}
    key = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nnot a key\n-----END PGP PUBLIC KEY BLOCK-----\n"
    refused = engine.plan(facts(), mirror, dict(REACHABLE, key=key))["refuse"]
    assert len(refused) == 1 and "needed an OpenPGP public key" in refused[0]
    refused = engine.plan(facts(), mirror, UNREACHABLE)["refuse"]
    assert len(refused) == 1 and "no answer from http://mirror.example/debian (no route)" in refused[0]
    local = dict(mirror, repository_key="/c/key.asc", repository_key_data=key)
    decided = engine.plan(facts(), local)
    assert decided["probe"] is None and decided["details"]["repository"]["key_from"] == "controller"


def test_a_mirror_can_serve_a_platform_that_docker_does_not():
    host = facts("raspbian12", "armhf", architecture={"machine": "aarch64", "dpkg": "arm64"})
    assert "Docker's repository, which has none" in engine.plan(host, {"source": "docker"})["refuse"][0]
    decided = engine.plan(host, {"source": "docker", "repository_url": "http://m/", "repository_suite": "own"})
    assert decided["probe"]["release"] == "http://m/dists/own/InRelease"


@pytest.mark.parametrize("pattern, package, glob", [
    ("26.1.4", "docker-ce", "5:26.1.4-*"), ("26.1.*", "docker-ce-cli", "5:26.1.*"), ("5:26.1.4-1*", "docker-ce", "5:26.1.4-1*"),
    ("5:26.1.4-1~debian.12~bookworm", "docker-ce", "5:26.1.4-1~debian.12~bookworm"), ("26.1.5", "docker.io", "26.1.5*"), ("26.*", "docker.io", "26.*"),
])
def test_apt_version(pattern, package, glob):
    assert engine.apt_version(pattern, package) == glob


def test_version_pin():
    host = converged(source="docker")
    pin = engine.preferences(["docker-ce", "docker-ce-cli"], "26.1.5")
    assert "Package: docker-ce\nPin: version 5:26.1.5-*\nPin-Priority: 1001\n\nPackage: docker-ce-cli\n" in pin
    decided = engine.plan(host, {"version": "26.1.5"})
    assert taken(decided) == ["packages"] and decided["details"]["packages"]["names"] == [] and decided["details"]["packages"]["pin"] == pin
    host["apt"]["pins"] = {platforms.PIN_FILE: hashlib.sha256(pin.encode()).hexdigest()}
    assert taken(engine.plan(host, {"version": "26.1.5"})) == []
    # Without the setting the pin is forgotten, and the packages stay.
    decided = engine.plan(host, {})
    assert taken(decided) == ["packages"] and decided["details"]["packages"]["pin_differs"] and decided["details"]["packages"]["names"] == []
    decided = engine.plan(host, {"version": "26.1.4"})
    assert decided["details"]["packages"]["names"] == ["docker-ce=5:26.1.4-*", "docker-ce-cli=5:26.1.4-*"]
    refused = engine.plan(host, {"version": "2?"})["refuse"]
    assert len(refused) == 1 and "docker_engine_version" in refused[0]


def test_hold():
    host = converged(source="docker")
    engine_packages = ["docker-ce", "docker-ce-cli", "containerd.io"]
    decided = engine.plan(host, {"hold": "hold"})
    assert taken(decided) == ["hold"] and decided["details"]["hold"] == {"packages": engine_packages, "selection": "hold"}
    for name in engine_packages:
        host["packages"][name]["hold"] = True
    assert taken(engine.plan(host, {"hold": "hold"})) == [] and taken(engine.plan(host, {"hold": "keep"})) == []
    assert engine.plan(host, {"hold": "release"})["details"]["hold"]["selection"] == "install"
    refused = engine.plan(host, {"version": "26.1.4"})["refuse"]
    assert refused[0].startswith("package hold: found docker-ce, docker-ce-cli held at 5:26.1.5")
    assert engine.plan(host, {"version": "26.1.4", "hold": "hold"})["details"]["hold"]["packages"] == ["docker-ce", "docker-ce-cli"]


def test_upgrade_asks_for_everything_that_is_there():
    decided = engine.plan(converged(source="docker"), {"upgrade": True})
    assert decided["details"]["packages"]["state"] == "latest"
    assert decided["details"]["packages"]["names"] == [name for part in ("engine", "compose", "buildx") for name in platforms.DOCKER_PACKAGES[part]]


@pytest.mark.parametrize("interrupted, status, names", [
    (True, "installed", []), (False, "half-configured", ["docker.io"]), (False, "half-installed", ["docker.io"])])
def test_interrupted_installation(interrupted, status, names):
    host = converged(dpkg_interrupted=interrupted)
    host["packages"]["docker.io"]["status"] = status
    decided = engine.plan(host, {})
    assert decided["steps"]["repair_dpkg"] and decided["details"]["repair_dpkg"]["packages"] == names
    assert decided["details"]["packages"].get("names", []) == names


# Configuration.

def test_daemon_config_keeps_what_is_there():
    host = converged()
    host["docker"]["daemon_config"]["parsed"] = {"labels": ["a"], "log-driver": "journald", "live-restore": False}
    assert taken(engine.plan(host, {})) == []
    decided = engine.plan(host, {"registry_mirrors": ["https://m"]})
    assert decided["details"]["daemon_config"]["action"] == "reload" and decided["details"]["daemon_config"]["keys"] == ["registry-mirrors"]
    host["docker"]["daemon_config"].update(parsed=None, error="line 2, column 1: Expecting value")
    refused = engine.plan(host, {})["refuse"]
    assert refused == ["/etc/docker/daemon.json: found line 2, column 1: Expecting value; needed one readable JSON object; "
                       "mend the file on the host; nothing was changed"]
    assert "-H on its command line" in engine.plan(converged(), {"daemon": {"hosts": ["fd://"]}})["refuse"][0]


def test_data_root_with_data():
    host = converged(images=[{"id": "a"}])
    host["docker"]["engine"]["data_root"] = "/var/lib/docker"
    assert engine.plan(host, {"data_root": "/var/lib/docker/"})["refuse"] == []
    refused = engine.plan(host, {"data_root": "/mnt/disk"})["refuse"]
    assert len(refused) == 1 and "1 images and 0 containers in /var/lib/docker" in refused[0]
    assert engine.plan(host, {"data_root": "/mnt/disk", "data_root_switch": "allowed"})["refuse"] == []
    host["images"] = []
    assert engine.plan(host, {"data_root": "/mnt/disk"})["details"]["daemon_config"]["action"] == "restart"


def test_certificates_proxy_users():
    host = converged(ca_certificates={"/usr/local/share/ca-certificates/old.crt": "aa"})
    known, new = {"source": "/c/a", "name": "dockyard-a.crt", "sha256": "aa"}, {"source": "/c/b", "name": "dockyard-b.crt", "sha256": "bb"}
    decided = engine.plan(host, {"ca_certificates": [known, new]})
    assert decided["details"]["ca_certificates"]["files"] == [new] and decided["details"]["ca_certificates"]["restart"] is True
    content = engine.proxy_dropin({"https": "http://u:p%40\"x\\@proxy:3128", "no": "localhost"})
    assert 'Environment="HTTPS_PROXY=http://u:p%%40\\"x\\\\@proxy:3128"\nEnvironment="NO_PROXY=localhost"\n' in content
    decided = engine.plan(host, {"proxy_dropin": content})
    assert taken(decided) == ["proxy"] and "p%%40" not in str(decided["details"])
    host["docker"]["dropins"] = {platforms.PROXY_DROPIN: hashlib.sha256(content.encode()).hexdigest()}
    assert taken(engine.plan(host, {"proxy_dropin": content})) == []
    assert engine.plan(host, {})["details"]["proxy"]["state"] == "absent"
    assert engine.proxy_dropin({}) == "" and engine.proxy_dropin({"http": ""}) == ""
    with pytest.raises(ValueError, match="docker_engine_proxy.http: found a line break"):
        engine.proxy_dropin({"http": "http://a\nExecStartPre=/bin/true"})
    assert engine.plan(host, {"users": ["pi"]})["details"]["users"]["names"] == ["pi"]
    host["docker"]["group_members"] = ["pi"]
    assert not engine.plan(host, {"users": ["pi"]})["steps"]["users"]


@pytest.mark.parametrize("before, after", [
    ("", 'root = "/mnt/c"\n'),
    ('version = 2\nroot = "/var/lib/containerd"\n[plugins]\n  root = "x"\n', 'version = 2\nroot = "/mnt/c"\n[plugins]\n  root = "x"\n'),
    ('#root = "/var/lib/containerd"\ndisabled_plugins = ["cri"]\n[grpc]\n',
     '#root = "/var/lib/containerd"\ndisabled_plugins = ["cri"]\nroot = "/mnt/c"\n\n[grpc]\n'),
])
def test_containerd_config(before, after):
    assert engine.containerd_config(before, "/mnt/c") == after
    assert engine.containerd_config(after, "/mnt/c") == after


# The Pi's memory controller.

STOCK = "console=tty1 root=PARTUUID=1-02 rootwait\n"
TURNED_ON = "console=tty1 root=PARTUUID=1-02 rootwait cgroup_enable=memory cgroup_memory=1\n"


def pi(line=STOCK, memory=False, cmdline="cgroup_disable=memory console=tty1", model=True):
    host = converged("debian13", cgroup={"version": "v2", "controllers": {"memory": memory}}, kernel={"cmdline": cmdline},
                     boot={"cmdline_file": {"path": "/boot/firmware/cmdline.txt", "content": line}})
    host["pi"] = {"model": "Raspberry Pi 4 Model B Rev 1.4"} if model else None
    return host


@pytest.mark.parametrize("host, settings, steps, warning", [
    (pi(), {}, ["boot_cmdline"], "set docker_engine_reboot to allowed"),
    (pi(), {"reboot": "allowed"}, ["boot_cmdline", "reboot"], None),
    (pi(), {"memory_cgroup": "never"}, [], None),
    (pi(memory=True), {"reboot": "allowed"}, [], None),
    # Written already, not booted yet.
    (pi(TURNED_ON), {"reboot": "allowed"}, ["reboot"], None),
    (pi(TURNED_ON), {}, [], "not enforced until this host has booted"),
    # Booted with it, and still none: a reboot would not help.
    (pi(TURNED_ON, cmdline=TURNED_ON), {"reboot": "allowed"}, [], "still there is no memory controller"),
    (pi(memory=None), {"reboot": "allowed"}, [], "could not be read"),
    (pi(model=False), {"reboot": "allowed"}, [], "no Raspberry Pi"),
])
def test_memory_controller(host, settings, steps, warning):
    decided = engine.plan(host, settings)
    assert (taken(decided), decided["refuse"]) == (steps, [])
    assert (warning in decided["warnings"][0]) if warning else decided["warnings"] == []
    if "boot_cmdline" in steps:
        assert decided["details"]["boot_cmdline"]["path"] == "/boot/firmware/cmdline.txt"


def test_two_lines_are_refused():
    refused = engine.plan(pi("a\nb\n"), {})["refuse"]
    assert len(refused) == 1 and refused[0].startswith("/boot/firmware/cmdline.txt: found 2 lines")


# Unreadable is not absent.

def test_unknown_packages_are_refused():
    refused = engine.plan(facts(packages=None, unknown={"packages": "permission denied"}), {})["refuse"]
    assert len(refused) == 1 and "permission denied" in refused[0]


def test_problems():
    host = converged()
    assert engine.problems(host) == []
    host["docker"]["buildx"] = None
    host["docker"]["engine"]["version"] = "19.03.9"
    host["unknown"]["docker.buildx"] = "timed out"
    assert engine.problems(host) == [
        "the Docker engine has version 19.03.9; needed 20.10 or newer", "Docker Buildx does not answer (timed out); needed 0.10.0 or newer"]


@pytest.mark.parametrize("version, minimum, enough", [
    ("2.26.1-4", "2.24.0", True), ("v2.24.0", "2.24.0", True), ("2.9.0", "2.24.0", False), ("0.13.1+ds1", "0.10.0", True),
    ("5:26.1.4-1~debian", "20.10", True), ("", "1", False), (None, "1", False), ("dev", "1", False),
])
def test_at_least(version, minimum, enough):
    assert engine.at_least(version, minimum) is enough
