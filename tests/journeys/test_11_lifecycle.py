# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a scaffold to a stack that serves, is edited, stopped, removed and gone; a backup that restores; the second layout of inventory."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from fleet import CA, ROOT, SOURCE, STACK, Fleet, Host, Run

HEAD = ROOT / "tests" / "apps" / "inventory-head"
CALENDAR = "*-*-* 03:10:00"
PORT = 8099


def play(fleet: Fleet, name: str, extra: dict, *words: str) -> Run:
    """A playbook on host `a` with extra variables."""
    limit = [] if name == "new_stack" else ["-l", "pi"]
    return fleet.run(name, *limit, "-e", json.dumps(extra), *words, timeout=600)


def page(host: Host, path: str = "/") -> str:
    """What the scaffolded page says; an empty text when nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host.address}:{PORT}{path}", timeout=10) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return ""


class Life:
    """The scaffolded stack on host `a`, beside inventory or without."""

    def __init__(self, fleet: Fleet, folder):
        self.fleet, self.host, self.folder = fleet, fleet.a, folder

    def deploy(self, **more) -> Run:
        self.fleet.clean = False
        return play(self.fleet, "deploy", {"dockyard_stacks": ["hello"], "dockyard_stack_path": [str(self.folder)], "images_ca_certificate": str(CA),
                                           "dockyard_settings_hello": {"HELLO_PORT": PORT}, **more})

    def stop(self, *words: str, **more) -> Run:
        return play(self.fleet, "stop", {"stack": "hello", **more}, *words)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / "hello" / path).read_text()
        assert old in text
        (self.folder / "hello" / path).write_text(text.replace(old, new))

    def left(self, stack: str) -> list[str]:
        """What of a stack is on the host."""
        label = f"label=com.docker.compose.project={stack}"
        return self.host.sh(f"docker ps -aq --filter {label}; docker volume ls -q --filter {label}; docker network ls -q --filter {label};"
                            f" docker image ls --format '{{{{.Repository}}}}' | grep '^dockyard/{stack}-'; ls -d /etc/dockyard/stacks/{stack};"
                            f" ls /etc/systemd/system | grep '^dockyard-{stack}-'", check=False).split()


@pytest.fixture(name="life", scope="module")
def fixture_life(fleet, tmp_path_factory):
    """A stack that was scaffolded into a folder of its own and is deployed as it is; Docker is brought by that, where it is not there yet."""
    folder = tmp_path_factory.mktemp("mine") / "stacks"
    made = play(fleet, "new_stack", {"folder": str(folder)}, "-e", "name=hello").good()
    made.says("its README.md says how to make it yours", f"dockyard_stack_path={folder}")
    life = Life(fleet, folder)
    life.deploy().good().says("healthy 1/1", f"http://{life.host.address}:{PORT}/")
    return life


def test_a_scaffold_is_never_written_over(life):
    life.edit("stack.yml", "A page that counts its visits.", "Mine.")
    again = play(life.fleet, "new_stack", {"folder": str(life.folder), "name": "hello"})
    assert again.code != 0
    again.says("nothing is ever replaced")
    assert "Mine." in (life.folder / "hello" / "stack.yml").read_text()


def test_what_was_scaffolded_serves_and_a_second_run_changes_nothing(life):
    assert [page(life.host).split("visit ")[-1].strip() for unused in range(2)] == ["1.", "2."]
    inside = life.host.sh("docker exec hello-web-1 sh -c 'id -u; touch /srv/app/x 2>/dev/null || echo closed; command -v gcc pip || echo lean'")
    assert inside.split() == ["1000", "closed", "lean"]
    assert life.deploy().good().changed == {life.host.name: 0}


def test_edited_as_its_readme_says_it_serves_the_edit_and_keeps_its_data(life):
    life.edit("stack.yml", "GREETING: It works.", "GREETING: Good morning.")
    life.edit("web/app.py", "This is visit", "You are visitor")
    assert life.deploy().good().changed[life.host.name] > 0
    assert "Good morning. You are visitor 3." in page(life.host)


def test_a_stopped_stack_stays_stopped_until_somebody_deploys_it(life):
    life.stop().good().says("hello is stopped", "hello-web-1")
    assert page(life.host) == ""
    assert life.stop().good().changed == {life.host.name: 0}
    life.host.sh("systemctl restart docker")
    # A timer's run leaves it alone, and says so.
    left = life.deploy(dockyard_unattended=True).good()
    assert left.changed == {life.host.name: 0} and page(life.host) == ""
    left.says("hello was stopped on purpose by", "this unattended run leaves it alone")
    refused = play(life.fleet, "run", {"stack": "hello"}, "-e", "action=visits")
    assert refused.code != 0
    refused.says("hello: found it stopped by", "deploy it again")
    play(life.fleet, "status", {}).good().says("stopped", "deploy.yml brings it back")
    # A person's run brings it back.
    back = life.deploy().good()
    back.says("this run brings it back")
    assert "You are visitor 4." in page(life.host)


def test_its_data_go_only_when_its_name_is_typed_again(life):
    foretold = life.stop("--check", remove=True).good()
    foretold.says("hello would be removed", "kept, volumes: hello_data (")
    assert "visitor 5." in page(life.host)
    for wrong in ("true", "helo"):
        refused = life.stop(remove=True, delete_volumes=wrong)
        assert refused.code != 0
        refused.says(f"found delete_volumes={wrong}; needed the stack's name typed again", "hello_data (", "nothing was changed")
    assert "visitor 6." in page(life.host)
    life.stop(remove=True).good()
    assert page(life.host) == "" and "hello_data" in life.left("hello")
    life.deploy().good()
    assert "visitor 7." in page(life.host), "a removed stack comes back with its data"
    life.stop(remove=True, delete_volumes="hello", delete_images="hello").good().says("DELETED for ever, volumes: hello_data (")
    assert life.left("hello") == []
    assert life.stop(remove=True, delete_volumes="hello", delete_images="hello").good().changed == {life.host.name: 0}


# -- inventory ------------------------------------------------------------------------

def restored(host: Host, folder: str, query: str) -> str:
    """The answer to a query of a database that is restored from a backup, apart from the program that made it."""
    inside = f"cd {STACK} && docker compose exec -T app entrypoint"
    host.sh(f"{inside} psql -qXd postgres -c 'DROP DATABASE IF EXISTS scratch' -c 'CREATE DATABASE scratch TEMPLATE template0'")
    host.sh(f"{inside} pg_restore --exit-on-error --dbname scratch {folder}/database.dump")
    answer = host.sh(f"{inside} psql -qXAtd scratch -c \"{query}\"")
    host.sh(f"{inside} psql -qXd postgres -c 'DROP DATABASE scratch'")
    return answer


def backup(fleet: Fleet, **arguments) -> dict:
    """Run the action, and give what it printed."""
    run = play(fleet, "run", {"stack": "inventory", **arguments}, "-e", "action=backup").good()
    return json.JSONDecoder().raw_decode(run.output[run.output.index("{\n"):])[0]


def test_a_backup_restores_and_the_second_layout_keeps_the_data(life, converged, tmp_path):
    fleet, host = converged, converged.a
    status, body = host.ask("/create-item", {"item_name": "brass lamp"})
    assert status == 200, body
    host.sh("docker exec inventory-app-1 sh -c 'echo picture > $IMAGE_DIR/lamp.webp'")
    document = backup(fleet)
    assert document["ok"] is True and document["database"]["proven"] is True and document["database"]["rows"]["items"] >= 1
    assert restored(host, document["folder"], "SELECT DISTINCT item_name FROM items WHERE item_name LIKE 'brass%'") == "brass lamp"
    assert host.sh(f"docker exec inventory-app-1 sh -c 'cd $IMAGE_DIR && sha256sum --check {document['folder']}/images.sha256'").endswith("lamp.webp: OK")

    # The second source, in HEAD's layout, on the same data; backups by a timer from now on.
    source = tmp_path / "inventory-head"
    shutil.copytree(HEAD, source)
    shutil.copytree(SOURCE, tmp_path / "inventory", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["sh", str(source / "make.sh")], check=True)
    words = ("-e", f"dockyard_source_inventory={source}", "-e", json.dumps({"dockyard_settings_inventory": {"INVENTORY_BACKUP_CALENDAR": CALENDAR}}))
    fleet.deploy(*words).good().says("dir:inventory-head")
    assert host.sh("docker exec inventory-app-1 cat /opt/dockyard/app-module") == "thingdb.main:app"
    fleet.unchanged(*words)
    host.sh("systemctl start dockyard-inventory-backup.service")
    newest = host.sh("docker exec inventory-app-1 sh -c 'ls -d /var/lib/inventory/backups/dockyard/2*'").splitlines()
    assert newest[-2] == document["folder"]
    query = "SELECT count(*) FROM _schema_version; SELECT DISTINCT item_name FROM items WHERE item_name LIKE 'brass%'"
    assert restored(host, newest[-1], query).splitlines()[-1] == "brass lamp"
    play(fleet, "status", {}).good().says("inventory backup %s on" % CALENDAR, "ok")


def test_a_stack_that_is_not_listed_any_more_is_told_and_taken_away_with_its_timers(life):
    fleet, host = life.fleet, life.host
    # Without a stack in the list; what runs is told, and left.
    run = play(fleet, "deploy", {"dockyard_stacks": []}).good()
    run.says("inventory was released here and is not in dockyard_stacks any more; it is left as it is, with 3 containers and the schedules backup",
             "playbooks/stop.yml -e stack=inventory -e remove=true")
    assert host.healthy()
    play(fleet, "stop", {"stack": "unlisted", "remove": True, "dockyard_stacks": []}).good().says("inventory is removed", "inventory_db (")
    assert host.sh("ls /etc/systemd/system | grep dockyard-inventory", check=False) == "" and host.ask("/health")[0] == 0
    assert host.sh("systemctl list-timers --all --no-legend 'dockyard-inventory*'") == ""
    # Its secrets were kept with its volumes: the database takes the password, and the lamp is there.
    fleet.deploy().good()
    assert "brass lamp" in host.ask("/api/search?q=brass")[1]
