# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After deploy.yml on a stock Pi that may be rebooted, and after its second run."""
import json
import ssl
import urllib.request

URL = "https://127.0.0.1:18443/health"
# Twice the largest limit of the stack's app (512M)
ALLOCATE = "import mmap; m = mmap.mmap(-1, 1 << 30); [m.__setitem__(i, 1) for i in range(0, 1 << 30, 4096)]; print('survived')"


def test_the_memory_controller_is_on(machine):
    assert "memory" in machine.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()
    assert "No memory limit support" not in machine.check_output("docker info 2>&1")


def test_the_right_file_was_edited_and_keeps_one_line(machine):
    text = machine.file("/boot/firmware/cmdline.txt").content_string
    assert len(text.splitlines()) == 1
    assert "cgroup_disable=memory" not in text.split()
    for word in ("console=tty1", "root=LABEL=rootfs", "rootwait"):
        assert word in text.split()
    assert "moved" in machine.file("/boot/cmdline.txt").content_string
    left = machine.check_output("ls -A /boot/firmware").split()
    assert sorted(left) == ["cmdline.txt", "cmdline.txt.dockyard-orig", "config.txt", "initramfs8", "kernel8.img"]


def test_it_was_rebooted_exactly_once(run_of):
    assert [start["why"] for start in run_of("allowed")["starts"]] == ["power-on", "guest-reset"]
    assert [start["why"] for start in run_of("second")["starts"]] == ["power-on", "guest-reset"]


def test_everything_is_built_for_arm64(machine, containers):
    assert sorted(containers) == ["app", "db", "nginx"]
    for service, container in containers.items():
        image = json.loads(machine.check_output(f"docker image inspect {container['Image']}"))[0]
        assert image["Architecture"] == "arm64", service
    assert containers["app"]["Config"]["Image"].startswith("dockyard/inventory-app:")


def test_it_serves_from_outside():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(URL, context=context, timeout=20) as answer:
        assert answer.status == 200
        assert json.load(answer)["status"] == "healthy"


def test_limits_are_set_and_enforced(machine, containers):
    limit = containers["app"]["HostConfig"]["Memory"]
    assert limit == 512 << 20
    name = containers["app"]["Name"].lstrip("/")
    assert machine.check_output(f"docker exec {name} cat /sys/fs/cgroup/memory.max") == str(limit)
    killed = machine.run(f'docker exec {name} python -c "{ALLOCATE}"')
    assert killed.rc == 137, killed
    assert "survived" not in killed.stdout
    assert int(machine.check_output(f"docker exec {name} sed -n 's/^oom_kill //p' /sys/fs/cgroup/memory.events")) >= 1


def test_the_second_run_changes_nothing(run_of):
    assert run_of("second")["recap"]["changed"] == 0
    assert run_of("second")["recap"]["failed"] == 0
