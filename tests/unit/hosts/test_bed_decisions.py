# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bed decides and builds before it runs anything: hashes, argv, files of a host, addresses, manifest lists."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hosts"))

from bedlib import base_images, cli, docker, engine, hosts, identity, images, recipe, registry, settings, shell  # noqa: E402


def _write(folder: Path, name: str, content: str, mode: int = 0o644) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


class TestHash:
    def test_same_content_elsewhere_gives_the_same_hash(self, tmp_path):
        for side in ("a", "b"):
            _write(tmp_path / side, "Dockerfile", "FROM x\n")
            _write(tmp_path / side, "sub/run", "#!/bin/sh\n", 0o755)
        assert recipe.digest(recipe.tree(tmp_path / "a")) == recipe.digest(recipe.tree(tmp_path / "b"))

    @pytest.mark.parametrize("change", ["content", "name", "mode", "more"])
    def test_every_change_changes_it(self, tmp_path, change):
        _write(tmp_path, "run", "one", 0o644)
        before = recipe.digest(recipe.tree(tmp_path))
        if change == "content":
            _write(tmp_path, "run", "two")
        elif change == "name":
            (tmp_path / "run").rename(tmp_path / "ran")
        elif change == "mode":
            (tmp_path / "run").chmod(0o755)
        else:
            _write(tmp_path, "sub/run", "")
        assert recipe.digest(recipe.tree(tmp_path)) != before

    def test_compiled_python_is_not_content(self, tmp_path):
        _write(tmp_path, "a.py", "1")
        before = recipe.tree(tmp_path)
        _write(tmp_path, "__pycache__/a.pyc", "x")
        assert recipe.tree(tmp_path) == before

    @pytest.mark.parametrize("one, other", [
        (("ab", "c"), ("a", "bc")), ((["a"], "b"), (["a", "b"],)), (("1",), (1,)), ((b"a",), ("a",)), ((None,), ("None",)), (([],), ())])
    def test_parts_do_not_run_together(self, one, other):
        assert recipe.digest(*one) != recipe.digest(*other)


class TestHostArgv:
    argv = hosts.create_argv(settings.KNOWN_HOSTS["demo-pi"], "image:tag")

    def test_it_is_labelled_so_that_it_may_be_removed(self):
        assert "org.dockyard.bed=1" in self.argv and "org.dockyard.bed.host=demo-pi" in self.argv

    def test_no_privileged_and_no_sys_resource(self):
        assert "--privileged" not in self.argv
        assert "--cap-drop=SYS_RESOURCE" in self.argv

    def test_address_network_and_image(self):
        text = " ".join(self.argv)
        assert "--network dockyard-bed --ip 10.213.77.11" in text and text.endswith(" image:tag")

    def test_registries_resolve_to_ours(self):
        for name in ("registry-1.docker.io", "ghcr.io", "quay.io"):
            assert f"{name}:10.213.77.2" in self.argv

    def test_docker_inside_has_volumes_of_its_own_names(self):
        assert "bed-demo-pi-docker:/var/lib/docker" in self.argv and "bed-demo-pi-containerd:/var/lib/containerd" in self.argv


class TestGuestFiles:
    files = hosts.guest_files(settings.KNOWN_HOSTS["demo-pi"], public_key="ssh-ed25519 AAAA x\n", ca=b"CA", machine_cas={"ours.crt": b"OURS"},
                              resolv_conf="nameserver 192.0.2.1\n")

    def test_the_key_is_the_users_own_and_private(self):
        found = {path: (mode, uid) for path, mode, uid, _content in self.files}
        assert found["home/pi/.ssh"] == (0o700, 1000)
        assert found["home/pi/.ssh/authorized_keys"] == (0o600, 1000)

    def test_both_kinds_of_certificate_authorities(self):
        found = {path: content for path, _mode, _uid, content in self.files}
        assert found["usr/local/share/ca-certificates/dockyard-bed.crt"] == b"CA"
        assert found["usr/local/share/ca-certificates/ours.crt"] == b"OURS"

    def test_the_archive_keeps_owner_mode_and_content(self):
        with tarfile.open(fileobj=io.BytesIO(hosts.archive(self.files))) as tar:
            key = tar.getmember("home/pi/.ssh/authorized_keys")
            assert (key.mode, key.uid, key.gid) == (0o600, 1000, 1000)
            assert tar.extractfile(key).read() == b"ssh-ed25519 AAAA x\n"
            assert tar.getmember("home/pi/.ssh").isdir()


class TestPlan:
    def test_a_known_name_has_its_fixed_address_and_release(self):
        host = hosts.plan("engine-bookworm", None, {})
        assert (host.address, host.release, host.user) == ("10.213.77.21", "bookworm", "admin")

    def test_release_can_be_chosen(self):
        assert hosts.plan("stack-a", "bookworm", {}).release == "bookworm"

    def test_a_new_name_gets_the_first_free_address(self):
        taken = {"x": {"address": "10.213.77.100", "release": "trixie", "shape": "plain"}}
        assert hosts.plan("y", None, taken).address == "10.213.77.101"

    def test_an_existing_name_keeps_what_it_has(self):
        there = {"x": {"address": "10.213.77.150", "release": "bookworm", "shape": "plain"}}
        assert hosts.plan("x", None, there) == settings.Host("x", "10.213.77.150", "bookworm", "plain")

    def test_no_address_left_says_what_to_do(self):
        full = {str(one): {"address": one, "release": "trixie", "shape": "plain"} for one in settings.FREE_ADDRESSES}
        with pytest.raises(shell.BedError, match="no free address for host y.*bed remove"):
            hosts.plan("y", None, full)

    @pytest.mark.parametrize("name", ["-x", "a b", "UP", "a_b", "", "x" * 64, "registry", "apt-repo"])
    def test_names_that_no_host_can_have(self, name):
        with pytest.raises(shell.BedError, match="host name"):
            hosts.plan(name, None, {})

    def test_fixed_addresses_are_distinct_and_outside_the_free_range(self):
        fixed = [host.address for host in settings.KNOWN_HOSTS.values()] + [settings.REGISTRY_ADDRESS, settings.APT_ADDRESS, settings.GATEWAY]
        assert len(set(fixed)) == len(fixed) and not set(fixed) & set(settings.FREE_ADDRESSES)


class TestInventory:
    def test_it_is_yaml_with_address_user_and_key(self):
        text = hosts.inventory_text({"stack-a": {"address": "10.213.77.31", "user": "admin"}}, "/a b/key", "/a b/known")
        parsed = yaml.safe_load(text)["all"]
        assert parsed["hosts"] == {"stack-a": {"ansible_host": "10.213.77.31", "ansible_user": "admin"}}
        assert parsed["vars"]["ansible_ssh_private_key_file"] == "/a b/key"
        assert '"UserKnownHostsFile=/a b/known"' in parsed["vars"]["ansible_ssh_common_args"]

    def test_no_hosts(self):
        assert yaml.safe_load(hosts.inventory_text({}, "/k", "/h"))["all"]["hosts"] == {}

    def test_the_demo_inventory_names_the_beds_addresses_and_users(self):
        demo = yaml.safe_load((Path(__file__).resolve().parents[3] / "inventories/demo/hosts.yml").read_text())["all"]["children"]
        for group, name in (("pi", "demo-pi"), ("ec2", "demo-ec2")):
            host = settings.KNOWN_HOSTS[name]
            assert demo[group]["hosts"] == {name: {"ansible_host": host.address, "ansible_user": host.user}}


class TestIdentity:
    def test_new_keys_of_an_address_replace_its_old_ones_only(self):
        before = "10.0.0.1 ssh-ed25519 OLD\n10.0.0.2 ssh-ed25519 OTHER\n10.0.0.1 ssh-rsa OLD2\n"
        after = identity.merge_known_hosts(before, "10.0.0.1", ["ssh-ed25519 NEW root@host"])
        assert after == "10.0.0.2 ssh-ed25519 OTHER\n10.0.0.1 ssh-ed25519 NEW\n"

    @pytest.mark.parametrize("text, servers", [
        ("nameserver 192.0.2.1\nsearch x\n  nameserver 192.0.2.2\n", ["192.0.2.1", "192.0.2.2"]),
        ("nameserver 127.0.0.53\nnameserver ::1\n", []),
        ("# nameserver 192.0.2.9\n", []),
    ])
    def test_only_resolvers_that_hosts_can_reach(self, text, servers):
        assert identity.resolvers(text) == servers


class TestImages:
    def test_bookworm_is_born_merged_and_trixie_is_left_alone(self):
        assert "--include=usr-is-merged" in images.bootstrap_options("bookworm", "F", "S")
        assert "--include=usr-is-merged" not in images.bootstrap_options("trixie", "F", "S")

    def test_every_recipe_exists_and_says_what_it_stands_in_for(self):
        for image in base_images.BASE_IMAGES:
            if image.recipe:
                header = (settings.IMAGES / image.recipe / "Dockerfile").read_text().splitlines()[0]
                assert header.startswith(f"# Stands in for {image.name}"), image

    @pytest.mark.parametrize("name, repository, tag", [
        ("nginx:1.28", "library/nginx", "1.28"), ("pgvector/pgvector:0.8.0-pg17", "pgvector/pgvector", "0.8.0-pg17")])
    def test_names_as_docker_hub_has_them(self, name, repository, tag):
        image = base_images.BaseImage(name, "trixie", None)
        assert (image.repository, image.tag) == (repository, tag)

    def test_built_objects_carry_the_label(self):
        assert docker.labels(host="x") == ["--label", "org.dockyard.bed=1", "--label", "org.dockyard.bed.host=x"]


class TestManifestList:
    amd64 = {"media_type": registry.MANIFEST, "digest": "sha256:a", "size": 10, "content": {}}
    arm64 = {"media_type": registry.OCI_MANIFEST, "digest": "sha256:b", "size": 20, "content": {}}

    def test_a_list_of_two_architectures(self):
        body = json.loads(registry.manifest_list([registry.descriptor(self.arm64, "arm64"), registry.descriptor(self.amd64, "amd64")]))
        assert body["mediaType"] == registry.MANIFEST_LIST and body["schemaVersion"] == 2
        assert [(one["platform"]["architecture"], one["digest"], one["size"]) for one in body["manifests"]] == [
            ("amd64", "sha256:a", 10), ("arm64", "sha256:b", 20)]
        assert body["manifests"][1]["platform"]["variant"] == "v8"

    def test_an_entry_of_an_existing_list_can_be_taken_over(self):
        entry = registry.descriptor(self.amd64, "amd64")
        there = {"media_type": registry.MANIFEST_LIST, "digest": "sha256:l", "size": 99, "content": {"manifests": [entry]}}
        assert registry.descriptor(there, "amd64") is entry
        with pytest.raises(shell.BedError, match="sha256:l has no arm64"):
            registry.descriptor(there, "arm64")

    @pytest.mark.parametrize("name, parts", [("nginx", ["amd64=x"]), ("nginx:1", []), ("nginx:1", ["amd64"])])
    def test_bad_arguments_are_refused_before_anything_runs(self, name, parts):
        with pytest.raises(shell.BedError, match="usage: bed images --manifest"):
            base_images.put_manifest_list(name, parts)


class TestCommands:
    @pytest.mark.parametrize("argv", [["remove"], ["remove", "--all", "x"]])
    def test_remove_wants_names_or_all(self, argv, capsys):
        assert cli.main(argv) == 1
        assert "Names of hosts, or --all" in capsys.readouterr().err

    def test_a_part_that_this_checkout_does_not_have(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(settings, "HERE", tmp_path / "tests" / "hosts")
        assert cli.main(["pi", "up"]) == 1
        assert "this checkout has no tests/hosts/pi/machine.py" in capsys.readouterr().err

    def test_arguments_are_handed_on_as_they_are(self, monkeypatch, tmp_path, capsys):
        program = tmp_path / "hosts" / "pi" / "machine.py"
        program.parent.mkdir(parents=True)
        program.write_text("def main(argv):\n    print(argv)\n    return 7\n")
        monkeypatch.setattr(settings, "HERE", tmp_path / "hosts")
        assert cli.main(["pi", "ssh", "--", "-v", "--help"]) == 7
        assert capsys.readouterr().out.strip() == "['ssh', '--', '-v', '--help']"

    def test_a_program_that_fails_says_how(self):
        with pytest.raises(shell.BedError, match=r"(?s)`sh -c.*ended with 3:.*why"):
            shell.run(["sh", "-c", "echo why >&2; exit 3"])

    def test_a_program_that_is_not_there(self):
        with pytest.raises(shell.BedError, match="no-such-program is not installed"):
            shell.run(["no-such-program"])

    def test_private_files_are_private_from_the_start(self, tmp_path):
        path = tmp_path / "deep" / "key"
        shell.write_private(path, b"x")
        shell.write_private(path, b"y")
        assert path.read_bytes() == b"y" and path.stat().st_mode & 0o777 == 0o600
        assert [one.name for one in path.parent.iterdir()] == ["key"]


class TestRemoveAll:
    def test_only_labelled_things_are_removed(self, monkeypatch):
        """Docker is scripted: it lists what has the label; whatever is removed must come from there."""
        ran = []

        def scripted(*argv, **_options):
            ran.append(argv)
            answer = {"ps": "bed-registry\n", "volume": "bed-registry-data\n"}.get(argv[0] if argv[1] != "rm" else "", "")
            if argv[0] in ("ps", "volume") and argv[1] != "rm":
                assert any(part.startswith("label=org.dockyard.bed") for part in argv), argv
            if argv[:2] == ("ps", "--all") and "label=org.dockyard.bed.host" in argv:
                answer = ""
            return type("Done", (), {"stdout": answer, "stderr": "", "returncode": 0})()

        monkeypatch.setattr(docker, "docker", scripted)
        monkeypatch.setattr(docker, "inspect", lambda kind, name: {"Labels": {}})
        monkeypatch.setattr(registry, "distrust", lambda: ran.append(("distrust",)))
        assert cli.main(["remove", "--all"]) == 0
        removals = [argv for argv in ran if "rm" in argv or argv[0] in ("rm", "distrust")]
        assert removals == [("rm", "--force", "--volumes", "bed-registry"), ("volume", "rm", "--force", "bed-registry-data"), ("distrust",)]

    def test_a_container_of_somebody_else_is_no_test_host(self, monkeypatch):
        monkeypatch.setattr(docker, "ours", lambda kind: ["bed-mine"])
        monkeypatch.setattr(hosts, "known", lambda: {"mine": {}})
        removed = []
        monkeypatch.setattr(docker, "docker", lambda *argv, **_options: removed.append(argv))
        with pytest.raises(shell.BedError, match="there is no test host yours; there are: mine"):
            hosts.remove(["mine", "yours"])
        assert removed == []


@pytest.mark.parametrize("comm, stale", [(None, True), ("nginx", True), ("dockerd", False)])
def test_a_pid_file_that_names_another_program_is_stale(tmp_path, comm, stale):
    (tmp_path / "docker.pid").write_text("4711\n")
    if comm:
        (tmp_path / "4711").mkdir()
        (tmp_path / "4711" / "comm").write_text(comm + "\n")
    assert engine.stale_pid_file(tmp_path / "docker.pid", tmp_path) is stale
    assert engine.stale_pid_file(tmp_path / "absent", tmp_path) is False
