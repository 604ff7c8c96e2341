# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import shutil
import time

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import collect
from ansible_collections.dockyard.fleet.tests.unit.plugins.module_utils.docker.fake_daemon import FakeDaemon, dead_socket

FIXTURES = os.path.join(os.path.dirname(__file__), "fixtures")
MACHINES = {
    "bookworm-amd64": ("x86_64", 4096),
    "trixie-amd64": ("x86_64", 4096),
    "pi4-bookworm": ("aarch64", 4096),
    "pi4-bookworm-32bit": ("aarch64", 4096),
    "pi5-trixie": ("aarch64", 16384),
    "graviton2-al2023": ("aarch64", 4096),
}
RPM_OUTPUT = "docker\t25.0.8-1.amzn2023.0.5\ncontainerd\t2.0.6-1.amzn2023\nrunc\t1.2.6-1.amzn2023\n"
ENGINE_SECTIONS = ["images", "containers", "networks", "volumes"]


class Programs:
    """Stands in for run_command(): answers by the first word of argv and keeps what it was asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __call__(self, argv, timeout=None):
        self.calls.append(argv)
        if argv[0] in self.answers:
            return self.answers[argv[0]]
        raise OSError("%s: not expected here" % argv[0])


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("HOME", "/nobody")


def tree_path(name):
    return os.path.join(FIXTURES, "trees", name)


@pytest.fixture
def copy(tmp_path):
    """A tree that a test may change."""
    def make(name):
        target = tmp_path / name
        shutil.copytree(tree_path(name), target)
        return target
    return make


def gather(root, name=None, **options):
    machine, page_size = MACHINES[name or os.path.basename(str(root))]
    options.setdefault("run", Programs())
    return collect.Collector(root=str(root), machine=machine, page_size=page_size, sysname="Linux", **options).run()


def api(name):
    with open(os.path.join(FIXTURES, "api", "engine-26.1", name + ".json"), encoding="utf-8") as handle:
        return json.load(handle)


def real_routes():
    routes = dict(("/" + name, api(name)) for name in ("version", "info", "networks", "volumes"))
    routes["/images/json"] = api("images")
    routes["/containers/json"] = api("containers")
    for image in routes["/images/json"]:
        routes["/images/%s/json" % image["Id"]] = {"Architecture": "amd64", "Config": {"Env": ["WORD=hunter2"]}}
    return routes


def dotted(facts, path):
    """Value at a key of `unknown`, "absent" when there is no such place. Paths of files stay whole."""
    value = facts
    rest = path
    while rest:
        if isinstance(value, dict):
            key = next((k for k in sorted(value, key=len, reverse=True) if rest == k or rest.startswith(k + ".")), None)
            if key is None:
                return "absent"
            value, rest = value[key], rest[len(key) + 1:]
        else:
            return "not a dict"
    return value


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_key_is_there_and_every_unknown_has_a_reason(name):
    facts = gather(tree_path(name), run=Programs(rpm=RPM_OUTPUT))
    keys = {key for names in collect.SECTIONS.values() for key in names} | {"schema", "time", "user", "unknown", "seconds"}
    assert set(facts) == keys
    for path, reason in facts["unknown"].items():
        assert reason and not reason.startswith("unexpected"), (path, reason)
        assert dotted(facts, path) != "absent", path
    json.dumps(facts)


def test_debian_12_with_dockers_own_hybrid_groups():
    facts = gather(tree_path("bookworm-amd64"))
    assert facts["os"] == {
        "id": "debian", "version_id": "12", "codename": "bookworm", "pretty_name": "Debian GNU/Linux 12 (bookworm)", "id_like": [], "family": "debian",
        "raspberry_pi_os": False}
    assert facts["architecture"] == {
        "machine": "x86_64", "dpkg": "amd64", "docker_platform": "linux/amd64", "native": ["linux/amd64", "linux/386"], "emulated": ["linux/arm64"]}
    assert facts["cgroup"] == {"version": "hybrid", "controllers": {"memory": True, "cpu": True, "pids": True, "cpuset": True, "io": True}}
    assert facts["packages"]["docker.io"] == {"version": "20.10.24+dfsg1-1+deb12u1+b6", "hold": False, "status": "installed"}
    assert facts["dpkg_interrupted"] is False
    assert facts["binfmt"] == {"mounted": True, "enabled": True, "handlers": [
        {"name": "qemu-aarch64", "enabled": True, "interpreter": "/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "flags": "POF", "platforms": ["linux/arm64"]}],
        "at_boot": {"blocked": "/usr/lib/systemd/systemd-binfmt is not there", "rules": []}, "proven": {}}
    assert (facts["pi"], facts["boot"], facts["init"]) == (None, None, "other")
    assert facts["unknown"]["docker.service.active"] == "systemd is not the init here"


def test_debian_13_host():
    facts = gather(tree_path("trixie-amd64"))
    assert facts["os"]["codename"] == "trixie"
    assert set(facts["packages"]) == {"docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd", "runc"}
    assert facts["architecture"]["emulated"] == []  # this capture has no binfmt_misc folder at all
    assert facts["memory"]["total_bytes"] == 25276514304
    assert [entry["port"] for entry in facts["ports"]] == [22, 22, 18080, 18443, 44097, 46661]


def test_stock_pi_4():
    facts = gather(tree_path("pi4-bookworm"))
    assert facts["pi"] == {"model": "Raspberry Pi 4 Model B Rev 1.4"}
    assert facts["os"]["raspberry_pi_os"] is True
    assert facts["cgroup"] == {"version": "v2", "controllers": {"memory": False, "cpu": True, "pids": True, "cpuset": True, "io": True}}
    assert facts["boot"]["cmdline_file"]["path"] == "/boot/firmware/cmdline.txt"
    assert facts["boot"]["cmdline_file"]["content"].startswith("console=serial0,115200 ")
    assert "cgroup_disable=memory" in facts["kernel"]["cmdline"]
    assert facts["kernel"]["release"] == "6.6.51+rpt-rpi-v8"
    assert facts["architecture"] == {
        "machine": "aarch64", "dpkg": "arm64", "docker_platform": "linux/arm64", "native": ["linux/arm64", "linux/arm/v7", "linux/arm/v6"],
        "emulated": ["linux/amd64"]}
    assert facts["bluetooth"]["adapters"] == ["hci0"]


def test_no_engine_is_knowledge_and_not_a_failure():
    facts = gather(tree_path("pi4-bookworm"))
    assert facts["docker"]["engine"] is None
    assert facts["docker"]["cli"] is None
    assert [facts[section] for section in ENGINE_SECTIONS] == [[], [], [], []]
    assert not [path for path in facts["unknown"] if path in ENGINE_SECTIONS + ["docker.engine", "docker.cli", "ports.container"]]


def test_pi_4_with_32_bit_system():
    facts = gather(tree_path("pi4-bookworm-32bit"))
    assert facts["architecture"]["docker_platform"] == "linux/arm/v7"
    assert facts["architecture"]["native"] == ["linux/arm/v7", "linux/arm/v6"]
    assert facts["boot"]["cmdline_file"]["path"] == "/boot/cmdline.txt"
    assert facts["os"]["family"] == "debian"
    assert facts["packages"]["docker.io"]["status"] == "half-configured"
    assert facts["dpkg_interrupted"] is True


def test_pi_5_with_dockers_repository():
    root = tree_path("pi5-trixie")
    facts = gather(root)
    assert facts["pi"] == {"model": "Raspberry Pi 5 Model B Rev 1.0"}
    assert facts["architecture"]["native"] == ["linux/arm64"]
    assert facts["packages"]["docker-ce"] == {"version": "5:28.5.1-1~debian.13~trixie", "hold": True, "status": "installed"}
    assert facts["packages"]["docker.io"]["status"] == "config-files"
    assert facts["apt"]["sources"] == [{
        "file": "/etc/apt/sources.list.d/docker.sources", "types": ["deb"], "uris": ["https://download.docker.com/linux/debian"], "suites": ["trixie"],
        "components": ["stable"], "architectures": ["arm64"], "signed_by": "/etc/apt/keyrings/docker.asc", "enabled": True}]
    assert facts["apt"]["other_sources"] == 2
    assert facts["apt"]["keyrings"] == {"/etc/apt/keyrings/docker.asc": hashlib.sha256(b"stand-in for a key\n").hexdigest()}
    assert list(facts["apt"]["pins"]) == ["/etc/apt/preferences.d/docker"]
    assert list(facts["ca_certificates"]) == ["/usr/local/share/ca-certificates/site.crt"]
    docker = facts["docker"]
    assert docker["cli"] == {"version": "28.5.1", "path": "/usr/bin/docker"}
    assert docker["compose"] == {"version": "2.40.0", "path": "/usr/libexec/docker/cli-plugins/docker-compose"}
    assert docker["buildx"] == {"version": "0.29.1", "path": "/usr/libexec/docker/cli-plugins/docker-buildx"}
    assert list(docker["dropins"]) == ["/etc/systemd/system/docker.service.d/proxy.conf"]
    assert docker["daemon_config"]["parsed"] == {"log-driver": "json-file", "data-root": "/mnt/big disk/docker"}
    assert docker["daemon_config"]["error"] is None
    assert "proxy.example" not in json.dumps(facts)
    assert docker["engine"] is None
    assert facts["images"] is None
    assert facts["unknown"]["docker.engine"] == facts["unknown"]["images"] == "/run/docker.sock: no such socket (the daemon is installed and not running)"
    assert [(entry["path"], entry["mount"]) for entry in facts["disk"]] == [
        ("/", "/"), ("/var", "/"), ("/mnt/big disk/docker", "/"), ("/mnt/big disk/containerd", "/"), ("/var/lib/dockyard", "/")]
    assert facts["releases"] == {"inventory": {"version": "b2", "at": 2}}
    assert "last line" in facts["unknown"]["releases.inventory"]


def test_amazon_linux_asks_rpm_once():
    programs = Programs(rpm=RPM_OUTPUT)
    facts = gather(tree_path("graviton2-al2023"), run=programs)
    assert [argv[:2] for argv in programs.calls] == [["rpm", "-qa"]]
    assert facts["os"]["family"] == "redhat"
    assert facts["architecture"]["dpkg"] is None
    assert facts["architecture"]["native"] == ["linux/arm64", "linux/arm/v7", "linux/arm/v6"]
    assert facts["packages"]["docker"] == {"version": "25.0.8-1.amzn2023.0.5", "hold": True, "status": "installed"}
    assert facts["docker"]["cli"] == {"version": "25.0.8", "path": "/usr/bin/docker"}
    assert facts["apt"] is None and "apt" not in facts["unknown"]
    assert list(facts["ca_certificates"]) == ["/etc/pki/ca-trust/source/anchors/site.pem"]
    assert facts["dpkg_interrupted"] is False


def test_rpm_that_fails_makes_the_packages_unknown():
    facts = gather(tree_path("graviton2-al2023"), run=Programs())
    assert facts["packages"] is None and facts["dpkg_interrupted"] is None
    assert facts["unknown"]["packages"] == facts["unknown"]["dpkg_interrupted"] == "rpm: not expected here"


def test_sections_that_are_not_asked_for_are_named():
    facts = gather(tree_path("pi4-bookworm"), gather=["os", "memory"])
    assert facts["os"]["id"] == "debian"
    assert facts["memory"]["total_bytes"] and facts["cpus"] and facts["load"] == [0.52, 0.40, 0.21]
    assert facts["containers"] is None
    assert facts["unknown"]["containers"] == "not gathered: option gather does not name containers"
    assert facts["unknown"]["dpkg_interrupted"] == "not gathered: option gather does not name packages"


def test_an_engine_that_answers():
    with FakeDaemon(real_routes()) as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path)
        assert daemon.connections == 1
        paths = [path.partition("?")[0] for unused, path, unused2 in daemon.requests]
        assert len(paths) == len(set(paths)), "something was asked twice"
    assert facts["docker"]["engine"]["version"] == "26.1.5+dfsg1"
    assert [image["architecture"] for image in facts["images"]] == ["amd64"]
    assert len(facts["containers"]) == 7
    assert {volume["name"] for volume in facts["volumes"]} == {"facts_data"}
    assert "facts_back" in {network["name"] for network in facts["networks"]}
    assert "hunter2" not in json.dumps(facts)


def test_the_daemons_word_about_its_architecture_and_data_root():
    routes = real_routes()
    routes["/version"] = dict(routes["/version"], Arch="arm64")
    routes["/info"] = dict(routes["/info"], DockerRootDir="/srv/docker")
    with FakeDaemon(routes) as daemon:
        facts = gather(tree_path("pi4-bookworm-32bit"), socket_path=daemon.path)
    assert facts["architecture"]["docker_platform"] == "linux/arm64"
    assert "/srv/docker" in [entry["path"] for entry in facts["disk"]]


def test_a_daemon_of_a_new_generation():
    with FakeDaemon(real_routes(), oldest="1.44", newest="1.52") as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path)
    assert len(facts["containers"]) == 7
    assert facts["docker"]["engine"]["version"] == "26.1.5+dfsg1"


def test_a_hung_daemon_costs_its_timeout_once():
    with FakeDaemon(real_routes(), manners="hang") as daemon:
        begin = time.monotonic()
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path, timeout=0.3)
        assert time.monotonic() - begin < 5
        assert len(daemon.requests) == 1
    for section in ENGINE_SECTIONS:
        assert facts[section] is None
        assert facts["unknown"][section] == (
            "%s: no answer in time (the daemon hangs or is overloaded); waited 0.3 s for all its answers together, see option timeout_seconds" % daemon.path)
    assert facts["docker"]["engine"] is None
    assert "no answer in time" in facts["unknown"]["docker.engine"]
    assert "no answer in time" in facts["unknown"]["ports.container"]
    assert facts["os"]["id"] == "debian" and facts["packages"]


def test_a_slow_daemon_has_one_budget_for_all_requests():
    with FakeDaemon(real_routes(), manners="drip") as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path, timeout=0.3, gather=ENGINE_SECTIONS)
    assert [facts[section] for section in ENGINE_SECTIONS] == [None] * 4
    assert facts["seconds"] < 5


def test_a_dead_socket(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("s", numbered=False))
    facts = gather(tree_path("trixie-amd64"), socket_path=dead_socket(folder))
    assert facts["images"] is None
    assert "connection refused" in facts["unknown"]["images"]


def test_one_refused_request_costs_only_its_own_fact():
    routes = real_routes()
    routes["/volumes"] = (500, {"message": "driver gone"})
    with FakeDaemon(routes) as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path)
    assert facts["volumes"] is None
    assert facts["unknown"]["volumes"].endswith("GET /volumes: HTTP 500: driver gone")
    assert len(facts["containers"]) == 7


def test_an_answer_of_an_unexpected_shape_is_reported_and_costs_only_its_own_fact():
    routes = real_routes()
    routes["/networks"] = {"not": "a list"}
    with FakeDaemon(routes) as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path)
    assert facts["networks"] is None
    assert facts["unknown"]["networks"].startswith("unexpected: ")
    assert len(facts["containers"]) == 7


def test_more_than_64_images_are_all_listed_and_64_are_asked(monkeypatch):
    monkeypatch.setattr(collect, "INSPECT_SECONDS", 20)
    routes = real_routes()
    routes["/images/json"] = [{"Id": "sha256:%03d" % number, "RepoTags": ["a:%d" % number], "Created": number, "Size": 1} for number in range(100)]
    for image in routes["/images/json"]:
        routes["/images/%s/json" % image["Id"]] = {"Architecture": "arm", "Variant": "v7"}
    with FakeDaemon(routes) as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path, timeout=20)
    assert len(facts["images"]) == 100
    assert [image["architecture"] for image in facts["images"]] == ["arm/v7"] * 64 + [None] * 36
    assert facts["unknown"]["images.architecture"].startswith("36 of 100 images were not asked")


def test_images_that_vanish_meanwhile():
    routes = real_routes()
    del routes["/images/%s/json" % routes["/images/json"][0]["Id"]]
    with FakeDaemon(routes) as daemon:
        facts = gather(tree_path("trixie-amd64"), socket_path=daemon.path)
    assert facts["images"][0]["architecture"] is None
    assert "404" in facts["unknown"]["images.architecture"]
    assert len(facts["networks"]) == 5


def owner(root, pid, name, inodes):
    folder = root / "proc" / str(pid) / "fd"
    folder.mkdir(parents=True)
    (root / "proc" / str(pid) / "comm").write_text(name + "\n")
    (folder / "0").symlink_to("/dev/null")
    for number, inode in enumerate(inodes, 3):
        (folder / str(number)).symlink_to("socket:[%d]" % inode)


def test_ports_have_owners_and_containers(copy):
    root = copy("trixie-amd64")
    owner(root, 1209, "sshd", [90055, 90066])
    owner(root, 1821, "docker-proxy", [112000])
    owner(root, 1837, "docker-proxy", [112032])
    with FakeDaemon(real_routes()) as daemon:
        facts = gather(root, socket_path=daemon.path)
    found = {(entry["address"], entry["port"]): (entry["process"], entry["pid"], entry["container"]) for entry in facts["ports"]}
    assert found[("0.0.0.0", 22)] == ("sshd", 1209, None)
    assert found[("0.0.0.0", 18080)] == ("docker-proxy", 1837, "facts-web-1")
    assert found[("127.0.0.1", 18443)] == ("docker-proxy", 1821, "facts-web-1")
    assert found[("127.0.0.11", 44097)] == (None, None, None)
    assert facts["unknown"]["ports.process"].endswith("belong to no process that is visible here")


def test_ports_without_the_right_to_look(copy, monkeypatch):
    root = copy("trixie-amd64")
    owner(root, 1209, "sshd", [90055])
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("/fd"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with FakeDaemon(real_routes()) as daemon:
        facts = gather(root, socket_path=daemon.path)
    assert facts["unknown"]["ports.process"] == "permission denied on /proc/PID/fd of 1 processes (use become)"
    found = {entry["port"]: (entry["process"], entry["container"]) for entry in facts["ports"]}
    assert found[22] == (None, None)
    assert found[18080] == (None, "facts-web-1")


def test_a_host_with_too_many_processes(copy, monkeypatch):
    root = copy("trixie-amd64")
    owner(root, 1209, "sshd", [90055])
    monkeypatch.setattr(collect, "FD_SECONDS", -1)
    facts = gather(root)
    assert facts["unknown"]["ports.process"].startswith("not all processes were looked at")
    assert len(facts["ports"]) == 6


def test_a_malformed_daemon_json(copy):
    root = copy("pi5-trixie")
    (root / "etc/docker/daemon.json").write_text('{"log-driver": "json-file",}')
    os.chmod(root / "etc/docker/daemon.json", 0o640)
    facts = gather(root)
    config = facts["docker"]["daemon_config"]
    assert (config["exists"], config["parsed"], config["mode"]) == (True, None, "0640")
    assert config["raw"] == '{"log-driver": "json-file",}'
    assert config["error"].startswith("not JSON: ")
    assert facts["unknown"]["docker.daemon_config.parsed"] == "/etc/docker/daemon.json: " + config["error"]
    assert "/var/lib/docker" in [entry["path"] for entry in facts["disk"]]


def test_no_daemon_json_is_no_error():
    facts = gather(tree_path("trixie-amd64"))
    assert facts["docker"]["daemon_config"] == {
        "path": "/etc/docker/daemon.json", "exists": False, "raw": None, "parsed": None, "error": None, "mode": None, "owner": None}
    assert not [path for path in facts["unknown"] if path.startswith("docker.daemon_config")]


def test_files_that_may_not_be_read(monkeypatch):
    refused = {"/etc/docker/daemon.json", "/boot/firmware/cmdline.txt", "/etc/apt/keyrings/docker.asc", "/var/lib/dpkg/status"}
    data = collect.Tree.data
    sha256 = collect.Tree.sha256

    def refuse(read):
        def wrapped(self, path):
            if path in refused:
                raise PermissionError(13, "Permission denied", path)
            return read(self, path)
        return wrapped

    monkeypatch.setattr(collect.Tree, "data", refuse(data))
    monkeypatch.setattr(collect.Tree, "sha256", refuse(sha256))
    facts = gather(tree_path("pi5-trixie"))
    denied = ": Permission denied (use become)"
    assert facts["docker"]["daemon_config"]["exists"] is True
    assert facts["docker"]["daemon_config"]["raw"] is None
    assert facts["unknown"]["docker.daemon_config.raw"] == "/etc/docker/daemon.json" + denied
    assert facts["boot"] is None
    assert facts["unknown"]["boot"] == "/boot/firmware/cmdline.txt" + denied
    assert facts["apt"]["keyrings"] == {"/etc/apt/keyrings/docker.asc": None}
    assert facts["unknown"]["apt.keyrings./etc/apt/keyrings/docker.asc"] == "/etc/apt/keyrings/docker.asc" + denied
    assert facts["packages"] is None
    assert facts["unknown"]["packages"] == facts["unknown"]["architecture.dpkg"] == "/var/lib/dpkg/status" + denied
    # what the packages would have told is asked of the programs, which a captured tree does not run
    assert facts["docker"]["compose"]["version"] is None
    assert "docker.compose.version" in facts["unknown"]


def test_binfmt_that_is_not_mounted(copy):
    root = copy("pi4-bookworm")
    folder = root / "proc/sys/fs/binfmt_misc"
    for name in os.listdir(folder):
        os.unlink(folder / name)
    facts = gather(root)
    assert facts["binfmt"] == {
        "mounted": False, "enabled": None, "handlers": None, "at_boot": {"blocked": "/usr/lib/systemd/systemd-binfmt is not there", "rules": []}, "proven": {}}
    assert facts["architecture"]["emulated"] is None
    for path in ("binfmt.handlers", "binfmt.enabled", "architecture.emulated"):
        assert "is not mounted" in facts["unknown"][path]


def test_binfmt_after_a_boot(copy):
    root = copy("bookworm-amd64")
    line = ":%s:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00::/usr/bin/emulator:OPF\n"
    for path, text in (("usr/lib/systemd/systemd-binfmt", ""), ("usr/bin/emulator", ""), ("etc/binfmt.d/dockyard-arm64.conf", line % "dockyard-arm64"),
                       ("usr/lib/binfmt.d/python.conf", ":python:M::\\xf3\\x0d\\x0d\\x0a::/usr/bin/emulator:\n"),
                       ("var/lib/dockyard/binfmt.json", '{"linux/arm64": {"handler": "dockyard-arm64", "interpreter": "/usr/bin/emulator"}}')):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    facts = gather(root)["binfmt"]
    assert facts["at_boot"] == {"blocked": None, "rules": [
        {"name": "dockyard-arm64", "file": "/etc/binfmt.d/dockyard-arm64.conf",
         "interpreter": "/usr/bin/emulator", "flags": "OPF", "platforms": ["linux/arm64"]}]}
    assert facts["proven"] == {"linux/arm64": {"handler": "dockyard-arm64", "interpreter": "/usr/bin/emulator", "kernel": None}}


def test_hardware_that_was_seen_running_more_than_it_tells(copy):
    root = copy("bookworm-amd64")
    (root / "var/lib/dockyard").mkdir(parents=True, exist_ok=True)
    for release, native in ((gather(root)["kernel"]["release"], True), ("0.0.1", False)):
        (root / "var/lib/dockyard/binfmt.json").write_text('{"linux/riscv64": {"kernel": "%s"}, "linux/amd64": {"kernel": "%s"}}' % (release, release))
        found = gather(root)["architecture"]["native"]
        assert ("linux/riscv64" in found) == native and found.count("linux/amd64") == 1


def test_an_interrupted_dpkg_leaves_its_journal(copy):
    root = copy("trixie-amd64")
    (root / "var/lib/dpkg/updates").mkdir()
    (root / "var/lib/dpkg/updates/0003").write_text("Package: x\n")
    assert gather(root)["dpkg_interrupted"] is True


def test_debians_package_docker_is_not_docker(copy):
    root = copy("pi4-bookworm")
    with open(root / "var/lib/dpkg/status", "a", encoding="utf-8") as handle:
        handle.write("\nPackage: docker\nStatus: install ok installed\nArchitecture: all\nVersion: 1.5-2\n")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/docker").write_text("")
    facts = gather(root)
    assert facts["packages"]["docker"]["version"] == "1.5-2"
    assert facts["docker"]["cli"] == {"version": None, "path": "/usr/bin/docker"}
    assert facts["unknown"]["docker.cli.version"] == "/usr/bin/docker does not tell it"


def test_what_update_ca_certificates_passes_over_is_no_certificate(copy):
    root = copy("pi5-trixie")
    (root / "usr/local/share/ca-certificates/README").write_text("put .crt files here")
    assert list(gather(root)["ca_certificates"]) == ["/usr/local/share/ca-certificates/site.crt"]


def systemd_host(root):
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "run/systemd/units").mkdir(parents=True)
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    (root / "usr/lib/systemd/system/docker.socket").write_text("[Socket]\n")
    return collect.Collector(root=str(root), machine="x86_64", page_size=4096, sysname="Linux", run=Programs())


def test_a_stopped_daemon_is_not_started_by_looking(copy):
    root = copy("trixie-amd64")
    collector = systemd_host(root)
    (root / "run/docker.sock").write_text("stands in for a socket that systemd listens on")
    facts = collector.run()
    assert facts["images"] is None
    assert facts["unknown"]["images"] == "docker.service is stopped (not asked, because a connection to /run/docker.sock would start it)"
    assert facts["docker"]["service"]["active"] is False
    (root / "run/systemd/units/invocation:docker.service").symlink_to("0123")
    assert collector.would_activate() is False


def test_a_dockerd_beside_systemd_may_be_asked(copy):
    root = copy("trixie-amd64")
    collector = systemd_host(root)
    (root / "run/docker.pid").write_text("4711")
    assert collector.would_activate() is True
    (root / "proc/4711").mkdir()
    (root / "proc/4711/comm").write_text("dockerd\n")
    assert collector.would_activate() is False


def test_without_socket_activation_there_is_nothing_to_start(copy):
    root = copy("trixie-amd64")
    collector = systemd_host(root)
    os.unlink(root / "usr/lib/systemd/system/docker.socket")
    assert collector.would_activate() is False


@pytest.mark.parametrize("address, shown", [
    ("tcp://user:hunter2@192.0.2.1:2376", "DOCKER_HOST is tcp://...; only a unix socket is read"),
    ("ssh://pi@host", "DOCKER_HOST is ssh://...; only a unix socket is read"),
])
def test_a_remote_daemon_is_not_asked(monkeypatch, address, shown):
    monkeypatch.setenv("DOCKER_HOST", address)
    facts = gather(tree_path("trixie-amd64"))
    assert facts["images"] is None
    assert facts["unknown"]["images"] == shown


def test_the_socket_of_the_environment(monkeypatch):
    with FakeDaemon(real_routes()) as daemon:
        monkeypatch.setenv("DOCKER_HOST", "unix://" + daemon.path)
        assert len(gather(tree_path("trixie-amd64"))["containers"]) == 7


def test_the_artifact_store_is_counted(copy, monkeypatch):
    root = copy("trixie-amd64")
    empty = {"path": "/var/lib/dockyard/artifacts", "files": 0, "bytes": 0, "sets": {}, "manifests": {}}
    assert gather(root)["artifacts"] == dict(empty, present=False)
    for letters, size in (("ab", 3), ("ac", 4), ("cd", 5)):
        path = root / "var/lib/dockyard/artifacts/sha256" / letters / (letters * 32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    folder = root / "var/lib/dockyard/artifacts/sets/oura"
    (folder / "models" / ("a" * 16)).mkdir(parents=True)
    (folder / "models.json").write_text('{"version": 3, "digest": "sha256:33"}')
    assert gather(root)["artifacts"] == dict(empty, present=True, files=3, bytes=12, manifests={"oura": {"models": {"version": 3, "digest": "sha256:33"}}},
                                             sets={"oura": {"models": {"a" * 16: {"complete": False, "missing_optional": []}}}})
    monkeypatch.setattr(collect, "STORE_SECONDS", -1)
    facts = gather(root)
    assert facts["artifacts"]["files"] is None and facts["artifacts"]["present"] is True
    assert facts["artifacts"]["sets"] is None and "looking takes longer" in facts["unknown"]["artifacts.files"]
    assert facts["unknown"]["artifacts.files"] == facts["unknown"]["artifacts.sets"]


def test_a_ledger_is_read_from_its_end(copy):
    root = copy("trixie-amd64")
    folder = root / "var/lib/dockyard/releases"
    folder.mkdir(parents=True)
    lines = [json.dumps({"number": number, "note": "x" * 1000}) for number in range(200)]
    (folder / "big.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "torn.jsonl").write_text("{")
    (folder / "notes.txt").write_text("not a ledger")
    facts = gather(root)
    assert facts["releases"]["big"]["number"] == 199
    assert facts["releases"]["torn"] is None
    assert set(facts["releases"]) == {"big", "torn"}
    assert list(path for path in facts["unknown"] if path.startswith("releases")) == ["releases.torn"]


def test_secrets_are_described_and_never_shown(copy):
    root = copy("trixie-amd64")
    for stack, text in (("inventory", '{"word": {"source": "generated", "created_epoch_s": 5, "value": "hunter2"}}'), ("torn", "{"), ("listed", "[]")):
        folder = root / "etc/dockyard/stacks" / stack / "secrets"
        folder.mkdir(parents=True)
        (folder / ".meta.json").write_text(text)
    (root / "etc/dockyard/stacks/bare").mkdir()
    facts = gather(root)
    assert facts["stacks"] == {
        "bare": {"secrets": {}},
        "inventory": {"secrets": {"word": {"source": "generated", "created_epoch_s": 5, "expires_epoch_s": None}}},
        "torn": {"secrets": None},
        "listed": {"secrets": None},
    }
    assert "not valid JSON" in facts["unknown"]["stacks.torn.secrets"]
    assert facts["unknown"]["stacks.listed.secrets"]
    assert "hunter2" not in json.dumps(facts)


def test_schedules_are_found_by_their_timers(copy):
    root = copy("trixie-amd64")
    folder = root / "etc/systemd/system"
    (folder / "timers.target.wants").mkdir(parents=True)
    for name, calendar in (("dockyard-shop-x-check", "*:0/15"), ("dockyard-shop-new", "daily"), ("dockyard-shop-torn", "daily")):
        (folder / (name + ".timer")).write_text("[Timer]\nOnCalendar=%s\n" % calendar)
    (folder / "timers.target.wants/dockyard-shop-x-check.timer").symlink_to(folder / "dockyard-shop-x-check.timer")
    for name in ("dockyard-shop-new.service", "apt-daily.timer", "dockyard-x.timer"):
        (folder / name).write_text("[Unit]\n")
    results = root / "var/lib/dockyard/results"
    for path, text in (("shop-x/check/2026-01-01T000000.json", '{"started": "old", "success": true}'), ("shop/torn/1.json", "{"),
                       ("shop-x/check/2026-01-02T000000.json", '{"started": "2026-01-02T00:00:00Z", "success": false, "output": "hunter2"}')):
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text(text)
    facts = gather(root)
    assert facts["schedules"] == {
        "shop-x": {"check": {"calendar": "*:0/15", "enabled": True, "last": {"started": "2026-01-02T00:00:00Z", "success": False}}},
        "shop": {"new": {"calendar": "daily", "enabled": False, "last": None}, "torn": {"calendar": "daily", "enabled": False, "last": None}}}
    assert "not a result of a schedule" in facts["unknown"]["schedules.shop.torn.last"] and "hunter2" not in json.dumps(facts)


def test_mac():
    programs = Programs(sw_vers="ProductName:\tmacOS\nProductVersion:\t15.6\n")
    facts = collect.Collector(root=tree_path("bookworm-amd64"), machine="arm64", page_size=16384, sysname="Darwin", run=programs).run()
    assert facts["os"]["family"] == "darwin"
    assert facts["architecture"]["native"] == ["linux/arm64"]
    assert facts["architecture"]["emulated"] is None
    for section in ("packages", "cgroup", "ports", "binfmt", "bluetooth", "ca_certificates"):
        assert facts[section] is None
        assert facts["unknown"][section]
    assert not [reason for reason in facts["unknown"].values() if reason.startswith("unexpected")]


def test_a_program_that_hangs_or_fails_is_an_error_with_its_name():
    with pytest.raises(OSError, match="sleep: no answer within 0.1 s"):
        collect.run_command(["sleep", "5"], timeout=0.1)
    with pytest.raises(OSError, match="sh: exit status 3: oh"):
        collect.run_command(["sh", "-c", "echo oh >&2; exit 3"])
    with pytest.raises(OSError, match="no-such-program"):
        collect.run_command(["no-such-program"])
    assert collect.run_command(["echo", "yes"]) == "yes\n"


def test_plugins_that_no_package_brought_are_asked(tmp_path, monkeypatch):
    home = tmp_path / "home"
    folder = home / ".docker/cli-plugins"
    folder.mkdir(parents=True)
    (folder / "docker-compose").write_text("")
    (folder / "docker-buildx").write_text("")
    monkeypatch.setenv("HOME", str(home))
    compose, buildx = str(folder / "docker-compose"), str(folder / "docker-buildx")
    programs = Programs()
    programs.answers = {compose: '{"Version": "v2.40.0"}', buildx: "usage"}
    collector = collect.Collector(root="/", run=programs)
    assert collector.plugin("docker-compose") == ({"version": "2.40.0", "path": compose}, None)
    fact, problem = collector.plugin("docker-buildx")
    assert fact == {"version": None, "path": buildx}
    assert problem.startswith(buildx)
    assert programs.calls == [[compose, "docker-cli-plugin-metadata"], [buildx, "docker-cli-plugin-metadata"]]
