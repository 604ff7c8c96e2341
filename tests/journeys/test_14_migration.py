# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration from a native installation is killed at chosen points, meets bad input, and finds a flipped byte.

After each of them the native application serves, unless the switch was over, and the next run ends with equal proofs and serving containers.
A point is a task of the run, and where a task is long, an event on the host after it: never a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest
import yaml

from fleet import CA, ROOT, SOURCE, Host, Single, bed, command, descendants, kill, masters, play, surroundings

pytestmark = pytest.mark.heavy

LEASE_SECONDS = 20
SWITCH_SECONDS = 60
# The watcher looks once a second, a unit needs its time to start, and containers need theirs to stop.
SERVES_WITHIN = SWITCH_SECONDS + 40
STATE = "/var/lib/dockyard/migrations/inventory"
ITEM = "d8cccf1b-a87b-5991-2504-ae867fc9fea4"
RECAP_TASK = re.compile(r"^TASK \[(?:dockyard\.fleet\.\S+ : )?(.*?)\]", re.MULTILINE)
SMALL = ("--vector", "--rows", "2000", "--images", "100")

# Rows are copied when this has ended.
PRE_DATA = "[p]g_restore.*section=pre-data"

# (name, the task at whose beginning it is, the event on the host that comes after it, whether the switch is over)
POINTS = [
    ("bulk copy", "Copy the files while they are in use", "", False),
    ("initdb", "Start the target's servers alone", "pgrep -x initdb", False),
    ("server start", "Start the target's servers alone", "docker ps --format '{{.Names}}' | grep -q inventory-db-1", False),
    ("units stop", "Let the native application stand still", f"grep -q frozen {STATE}/lease.json", False),
    ("database", "Copy the databases", "pgrep -f '[p]ostgres: .* (CREATE|DROP) DATABASE|[p]g_dump.*section=pre-data'", False),
    ("rows", "Copy the databases", f"pgrep -f '{PRE_DATA}' && while pgrep -f '{PRE_DATA}'; do :; done", False),
    ("indexes", "Copy the databases", "pgrep -f '[p]g_restore.*section=post-data'", False),
    ("final pass", "Copy what changed of the files", "", False),
    ("proof", "Prove the databases", "", False),
    ("proof of the files", "Prove the files", "", False),
    ("between proof and release", "Give the release its time", "", False),
    ("release", "Give the release its time", "docker ps --format '{{.Names}}' | grep -q inventory-app-1", False),
    ("before the mask", "Take the native units out of service", "", None),
    ("mask", "Take the native units out of service", "test -L /etc/systemd/system/cloudflared.service", True),
    ("before the receipt", "Take the native units out of service", f"grep -q switched {STATE}/units.json && test ! -e {STATE}/lease.json", True),
]


class Native(Single):
    """A bookworm host with the native installation, and runs of playbooks/migrate.yml against it."""

    NAME = (os.environ.get("JOURNEY_PREFIX") or "journey") + "-mig"

    def __init__(self, folder):
        super().__init__(folder)
        self.sockets = tempfile.mkdtemp(prefix="dj-", dir="/tmp")

    def up(self) -> None:
        """The host with the small data; Docker comes with the migration."""
        keep = os.environ.get("JOURNEY_KEEP") == "1"
        bed("apt-repo", "up")
        repository = json.loads(bed("apt-repo", "status", "--json"))
        bed("up", self.NAME, "--release", "bookworm", *([] if keep else ["--fresh"]))
        document = yaml.safe_load(bed("inventory", self.NAME))
        self.host = Host(self.NAME, document["all"]["hosts"][self.NAME]["ansible_host"])
        document["all"]["vars"].update(
            docker_engine_source="docker", docker_engine_repository_url=repository["url"], docker_engine_repository_key=repository["key_url"],
            docker_engine_repository_key_fingerprint=repository["fingerprint"], dockyard_source_inventory=str(SOURCE), images_ca_certificate=str(CA),
            migration_locale="en_US.utf8", migration_lease_seconds=LEASE_SECONDS)
        self.inventory = self.folder / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump(document), encoding="utf-8")
        if not self.sh("test -e /etc/dockyard-native-test && echo there", check=False):
            done = subprocess.run([str(ROOT / "tests" / "native" / "bring"), self.NAME, "rc8", *SMALL],
                                  capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> None:
        """Remove the host, and the connections to it."""
        kill(masters(self.sockets))
        shutil.rmtree(self.sockets, ignore_errors=True)
        super().down()

    def migrate(self, *words: str):
        """One whole run."""
        return play("migrate", self.inventory, self.folder, "-e", "stack=inventory", *words, ANSIBLE_SSH_CONTROL_PATH_DIR=self.sockets)

    def interrupt(self, task: str, event: str, act, *words: str) -> str:
        """A run that something happens to at a point. :arg act: called with the run's process when the point is reached. :returns: its output."""
        out = self.folder / "killed.log"
        with out.open("w") as stream:
            argv = command("migrate", self.inventory, "-e", "stack=inventory", *words)
            # From before the run on, for some of them are over in a moment; nothing before the task makes one come true.
            watcher = self.host.watch(f"until {{ {event}; }} >/dev/null; do sleep 0.01; done") if event else None
            process = subprocess.Popen(argv, cwd=ROOT, env=surroundings(self.folder, ANSIBLE_SSH_CONTROL_PATH_DIR=self.sockets), stdin=subprocess.DEVNULL,
                                       stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                while task not in RECAP_TASK.findall(out.read_text()):
                    assert process.poll() is None, f"the run ended before {task!r}:\n{out.read_text()[-4000:]}"
                    time.sleep(0.02)
                if event:
                    while watcher.poll() is None:
                        assert process.poll() is None, f"the run ended before the event of {task!r}:\n{out.read_text()[-4000:]}"
                        time.sleep(0.02)
                    assert watcher.returncode == 0, f"the event did not come: {event}"
                act(process)
            finally:
                if watcher:
                    watcher.kill()
                below = descendants(process.pid)
                kill([process.pid, *below, *masters(self.sockets)])
                process.wait(timeout=10)
        return out.read_text()

    # -- what is true --------------------------------------------------------

    def item(self) -> tuple:
        """The item's page, and a digest of its image, as anybody gets them."""
        status, page = self.host.ask(f"/item/{ITEM}")
        if status != 200:
            return status, page
        image = subprocess.run(["curl", "--silent", "--insecure", "--noproxy", "*", "--fail", "--max-time", "10", f"https://{self.host.address}/image/1"],
                               capture_output=True, check=False)
        return status, re.findall(r'data-file="([^"]*)', page), hashlib.sha256(image.stdout).hexdigest(), image.returncode

    def native_serves(self, within: float = SERVES_WITHIN) -> float:
        """Wait until the native application serves, alone. :returns: seconds."""
        begin = time.monotonic()
        while True:
            active = self.sh("systemctl is-active inventory-app nginx", check=False).split()
            if active == ["active", "active"] and self.host.healthy():
                break
            told = self.sh("journalctl -n 40 --no-pager -u 'dockyard-migration*'", check=False)
            assert time.monotonic() - begin < within, (active, self.host.ask("/health"), told)
            time.sleep(0.5)
        seconds = time.monotonic() - begin
        assert not self.sh("docker ps --format '{{.Names}}' 2>/dev/null | grep -E '^inventory-(app|nginx)-1$'", check=False), "containers serve beside it"
        return seconds

    def containers_serve(self) -> None:
        """The stack serves what was native, and the native units are out of service."""
        self.host.wait_healthy()
        assert self.sh("docker ps --format '{{.Names}}' | grep -cE '^inventory-(app|db|nginx)-1$'") == "3"
        for unit in ("cloudflared", "nginx", "inventory-app"):
            assert self.sh(f"systemctl is-enabled {unit}", check=False) == "masked", unit
            assert self.sh(f"systemctl is-active {unit}", check=False) in ("inactive", "failed"), unit
        assert self.item() == self.native_item

    def receipt(self) -> dict:
        """The receipt."""
        return json.loads(self.sh(f"cat {STATE}/receipt.json"))

    def migrated(self, *words: str) -> None:
        """A whole run ends with equal proofs and serving containers."""
        self.migrate("-e", "migration_again=true", *words).good()
        self.containers_serve()
        receipt = self.receipt()
        assert receipt["standing"] == "switch" and receipt["held"] is False
        proof = [entry for entry in receipt["phases"] if entry["phase"] == "prove" and entry["outcome"] == "ended"][-1]["facts"]
        rows = sum(table["rows"] for table in proof["databases"][0]["tables"].values() if "rows" in table)
        assert rows > 2000 and proof["databases"][0]["extensions"]["vector"]
        assert {tree["name"] for tree in proof["trees"]} >= {"images", "models"}

    def home(self) -> None:
        """The native application serves, whatever was before; what a test wrote into the containers stays behind."""
        if "masked" in self.sh("systemctl is-enabled inventory-app", check=False) or self.sh(f"test -e {STATE}/units.json && echo there", check=False):
            self.migrate("-e", "phase=back", "-e", "migration_leave_writes=true").good()
        self.native_serves()

    def power_cycle(self) -> None:
        """As if somebody pulled the plug."""
        bed("reboot", self.NAME)


@pytest.fixture(name="native", scope="module")
def fixture_native(tmp_path_factory):
    """The host, with a native application that serves."""
    native = Native(tmp_path_factory.mktemp("native"))
    try:
        native.up()
        native.home()
        native.native_item = native.item()
        assert native.native_item[0] == 200 and native.native_item[3] == 0, native.native_item
        yield native
    finally:
        native.down()


# -- bad input, before anything is changed ------------------------------------

BAD = {
    "wrong-database": ("sed -i 's/^POSTGRES_DB=.*/POSTGRES_DB=elsewhere_db/' /var/lib/inventory/config/environment.env",
                       "sed -i 's/^POSTGRES_DB=.*/POSTGRES_DB=inventory_db/' /var/lib/inventory/config/environment.env",
                       (), ("elsewhere_db", "does not exist", "nothing was changed")),
    "uncovered-variable": ("echo NOBODY_KNOWS_ME=hunter2 >> /var/lib/inventory/config/environment.env",
                           "sed -i /NOBODY_KNOWS_ME/d /var/lib/inventory/config/environment.env",
                           (), ("NOBODY_KNOWS_ME", "migration_env_ignore")),
    "no-layout": ("mv /var/lib/inventory/app /var/lib/inventory/app.away", "mv /var/lib/inventory/app.away /var/lib/inventory/app",
                  (), ("found none of the native layouts head, rc8 on the host", "nothing was changed")),
    "two-layouts": ("mkdir -p /var/lib/thingdb/app && touch /etc/systemd/system/thingdb.service",
                    "rm -r /var/lib/thingdb /etc/systemd/system/thingdb.service",
                    (), ("found the layouts head, rc8 at once on the host", "-e layout=", "nothing was changed")),
    "unknown-layout": ("true", "true", ("-e", "layout=rc9"), ("layout: found rc9; needed one of head, rc8",)),
    "unknown-phase": ("true", "true", ("-e", "phase=jump"), ("found phase=jump",)),
    "server-down": ("systemctl stop postgresql@15-main", "systemctl start postgresql@15-main", (), ("found no socket", "needed a running PostgreSQL server")),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_that_the_survey_sees(native, case):
    spoil, mend, words, parts = BAD[case]
    native.sh(spoil)
    try:
        run = native.migrate("-e", "phase=survey", *words)
    finally:
        native.sh(mend)
    assert run.code != 0 and run.changed == {native.NAME: 0}
    run.says(*parts)
    assert "hunter2" not in run.output
    native.native_serves(within=30)


def test_the_survey_changes_nothing(native):
    run = native.migrate("-e", "phase=survey").good()
    assert run.changed == {native.NAME: 0}
    assert not native.sh(f"ls {STATE} 2>/dev/null", check=False) or native.sh(f"test ! -e {STATE}/lease.json && echo ok") == "ok"


# -- killed --------------------------------------------------------------------

@pytest.mark.parametrize("point", POINTS, ids=[point[0].replace(" ", "-") for point in POINTS])
@pytest.mark.parametrize("who", ["controller", "host"])
def test_killed(native, who, point):
    name, task, event, switched = point
    native.home()
    if name == "initdb":
        # Only a volume without a cluster has one made.
        native.sh("docker rm -f inventory-db-1; docker volume rm -f inventory_db; true")
    words = ("-e", "migration_again=true")
    native.interrupt(task, event, lambda process: native.power_cycle() if who == "host" else None, *words)
    if switched is None:
        # Either side of the one step; what is true must be one of the two.
        time.sleep(3)
        state = native.sh(f"cat {STATE}/lease.json {STATE}/units.json 2>/dev/null", check=False)
        switched = '"switched"' in state
    if switched:
        native.host.wait_healthy()
    else:
        print("native serves after", round(native.native_serves(), 1), "s")
        assert native.item() == native.native_item
    native.migrated()


# -- what came over is not what was there -----------------------------------------

FLIP_ROW = ("docker exec inventory-migration-db-client psql -X -q -v ON_ERROR_STOP=1 -h /run/dockyard/target -U %s -d inventory_db -c "
            "\"UPDATE items SET item_name = item_name || 'x' WHERE guid = '" + ITEM + "'\"")
FLIP_FILE = ("p=$(docker volume inspect -f '{{.Mountpoint}}' inventory_images)/images; f=$(ls $p | grep -m1 preview);"
             " cp --preserve=timestamps $p/$f /tmp/before;"
             " printf '\\377' | dd of=$p/$f bs=1 seek=100 conv=notrunc status=none; touch -r /tmp/before $p/$f; cmp -s /tmp/before $p/$f && exit 1; echo $f")


@pytest.mark.parametrize("what", ["row", "file"])
def test_a_flipped_byte_stops_the_switch(native, what):
    native.home()
    flipped = []

    def flip(process):
        # The run waits at the task before the proof, and its lease goes on meanwhile.
        tree = [process.pid, *descendants(process.pid)]
        for pid in tree:
            os.kill(pid, 19)
        try:
            if what == "row":
                user = native.sh("docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' inventory-db-1 | sed -n 's/^POSTGRES_USER=//p'") or "inventory"
                flipped.append(native.sh(FLIP_ROW % user))
            else:
                flipped.append(native.sh(FLIP_FILE))
        finally:
            for pid in tree:
                os.kill(pid, 18)
        process.wait(timeout=200)

    output = " ".join(native.interrupt("Write down what was copied", "", flip, "-e", "migration_again=true").split())
    assert "the native application serves as before" in output, output[-3000:]
    if what == "row":
        assert "public.items" in output and "1 row" in output, output[-3000:]
    else:
        assert flipped[0] in output and "content" in output, output[-3000:]
    native.native_serves(within=30)
    assert native.receipt()["standing"] != "switch"
    native.migrated()


# -- others ---------------------------------------------------------------------

def test_a_second_run_after_the_switch_changes_nothing(native):
    native.home()
    native.migrated()
    before = native.host.state()
    run = native.migrate().good()
    assert run.changed == {native.NAME: 0}
    run.says("the containers serve since the switch")
    assert native.host.state() == before


def test_an_open_session_stops_the_freeze(native):
    native.home()
    session = subprocess.Popen([str(ROOT / "tests" / "hosts" / "bed"), "exec", native.NAME, "--", "su", "postgres", "-c",
                                "PGAPPNAME=somebody psql -d inventory_db -c 'SELECT pg_sleep(400)'"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        run = native.migrate("-e", "migration_again=true")
    finally:
        session.kill()
        native.sh("pkill -f '[p]sql -d inventory_db'; true")
    assert run.code != 0
    run.says("found 1 other session in the native database after the freeze: somebody (postgres", "the native application serves as before")
    native.native_serves(within=30)


def test_an_extension_that_the_image_lacks(native):
    native.home()
    # Of the native server alone: an SQL file and a control file.
    native.sh("d=$(pg_config --sharedir 2>/dev/null || echo /usr/share/postgresql/15)/extension; printf \"default_version='1.0'\\n\" > $d/of_ours.control;"
              " echo 'SELECT 1;' > $d/of_ours--1.0.sql; su postgres -c \"psql -d inventory_db -c 'CREATE EXTENSION of_ours'\"")
    try:
        run = native.migrate("-e", "migration_again=true", "-e", "phase=copy")
    finally:
        native.sh("su postgres -c \"psql -d inventory_db -c 'DROP EXTENSION of_ours'\"")
    assert run.code != 0
    run.says("of_ours", "nothing was changed")
    native.native_serves(within=30)


def test_a_locale_that_the_image_lacks(native):
    native.home()
    run = native.migrate("-e", "migration_again=true", "-e", "migration_locale=xx_XX.utf8", "-e", "phase=survey")
    assert run.code != 0 and run.changed == {native.NAME: 0}
    run.says("locale: found xx_XX.utf8, which the image does not have")
    native.native_serves(within=30)


def test_a_volume_with_files_of_somebody_else(native):
    native.home()
    # What the migration knows of itself is gone: then it is somebody else's.
    native.sh(f"mv {STATE} {STATE}.away")
    try:
        run = native.migrate("-e", "phase=copy")
    finally:
        native.sh(f"rm -rf {STATE}; mv {STATE}.away {STATE}; rm -f {STATE}/held.json")
    assert run.code != 0
    run.says("nothing was changed")
    native.native_serves(within=30)


def test_no_secret_is_told(native):
    native.home()
    native.migrated("-vvv")
    secrets = native.sh("for f in /etc/dockyard/stacks/inventory/secrets/*; do head -c 300 $f | tr '\\n' ' '; echo; done").splitlines()
    texts = native.sh(f"cat {STATE}/*.json; journalctl --no-pager -q | tail -20000", check=False)
    assert len(secrets) >= 3
    for secret in secrets:
        assert secret.strip()[:60] not in texts
    assert native.sh(f"stat -c %a {STATE} {STATE}/receipt.json").split() == ["700", "600"]
