# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending to a "host" that is a shell on this machine: what ssh would run there runs here."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from ansible.errors import AnsibleError

from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import local, push


def shell(command):
    return ["/bin/sh", "-c", command]


@pytest.fixture(name="world")
def fixture_world(tmp_path, monkeypatch):
    """Files of the controller and the (empty) ones of the host."""
    monkeypatch.setattr(push, "_BACKOFF_S", 0.0)
    numbers = random.Random(7)

    class World:
        digests = local.Digests(str(tmp_path / "cache"))

        def parcel(self, name, size, there=b"", digest=None):
            data = numbers.randbytes(size)
            mine, theirs = tmp_path / name, tmp_path / (name + " on the 'host'.push")
            mine.write_bytes(data)
            theirs.write_bytes(data[:len(there)] if there is True else there)
            digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
            return push.Parcel(name, str(mine), str(theirs), size, len(there), digest)

        def send(self, parcels, argv_of=shell, retries=2):
            sender = push.Sender(argv_of, parcels, self.digests, retries)
            sender.start()
            sender._thread.join()
            return sender.problem

    return World()


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def same(parcel):
    return read(parcel.local) == read(parcel.remote)


def test_large_and_small_files_arrive(world):
    parcels = [world.parcel("large", push.SMALL_BYTES + 5), world.parcel("a", 100_000), world.parcel("b", 1), world.parcel("empty", 0)]
    assert world.send(parcels) is None
    assert all(same(parcel) for parcel in parcels)


@pytest.mark.parametrize("size", [push.SMALL_BYTES + 5, 70_000])
def test_what_is_there_is_not_sent_again(world, tmp_path, size):
    parcel = world.parcel("file", size)
    with open(parcel.local, "rb") as stream:
        first = stream.read(size // 2)
    with open(parcel.remote, "wb") as stream:
        stream.write(first)
    parcel.offset = len(first)
    # Another beginning than the controller's: it shows that it was not replaced.
    with open(parcel.local, "r+b") as stream:
        stream.write(b"another beginning")
    assert world.send([parcel]) is None
    assert os.path.getsize(parcel.remote) == size
    with open(parcel.remote, "rb") as stream:
        assert stream.read(len(first)) == first


@pytest.mark.parametrize("size", [push.SMALL_BYTES + 5, 70_000])
def test_a_connection_that_breaks_goes_on_where_it_was(world, tmp_path, size):
    parcel = world.parcel("file", size)
    mark = tmp_path / "broken once"

    def breaking(command):
        # The first session passes 60 KB on and dies.
        once = "if [ -e '%s' ]; then exec sh -c \"$0\"; fi; touch '%s'; head -c 60000 | sh -c \"$0\"; exit 255"
        return ["/bin/sh", "-c", once % (mark, mark), command]

    assert world.send([parcel], breaking) is None
    assert mark.exists() and same(parcel)


def test_a_connection_that_never_comes_is_given_up_with_what_ssh_said(world):
    parcel = world.parcel("file", push.SMALL_BYTES + 5)
    problem = world.send([parcel], lambda command: ["/bin/sh", "-c", "echo 'ssh: no route to host' >&2; exit 255"], retries=1)
    assert "255" in str(problem) and "no route to host" in str(problem)


@pytest.mark.parametrize("size", [push.SMALL_BYTES + 5, 70_000])
@pytest.mark.parametrize("company", [0, 1])
def test_a_file_that_becomes_shorter_is_told(world, size, company):
    parcel = world.parcel("file", size)
    os.truncate(parcel.local, 100)
    others = [world.parcel("other", 10)] * company
    assert "file changed while it was sent" in str(world.send([parcel] + others, retries=0))


def test_a_wrong_file_on_a_slow_link_is_noticed_meanwhile(world, monkeypatch):
    monkeypatch.setattr(push, "SUSPECT_AFTER_S", 0.05)
    parcel = world.parcel("file", push.SMALL_BYTES + 5, digest="sha256:" + "0" * 64)
    problem = world.send([parcel], lambda command: ["/bin/sh", "-c", "sleep 60"])
    assert isinstance(problem, push.WrongFile) and problem.parcel is parcel
    assert problem.found == "sha256:" + hashlib.sha256(read(parcel.local)).hexdigest()


def test_a_right_file_on_a_slow_link_arrives(world, monkeypatch):
    monkeypatch.setattr(push, "SUSPECT_AFTER_S", 0.05)
    parcel = world.parcel("file", push.SMALL_BYTES + 5)
    assert world.send([parcel], lambda command: ["/bin/sh", "-c", "sleep 0.3; " + command]) is None
    assert same(parcel) and world.digests.known(parcel.local, "sha256") == parcel.digest


def test_a_file_that_is_nearly_sent_is_not_read_for_it(world, monkeypatch):
    monkeypatch.setattr(push, "SUSPECT_AFTER_S", 0.2)
    parcel = world.parcel("file", push.SMALL_BYTES + 5)
    assert world.send([parcel], lambda command: ["/bin/sh", "-c", command.replace("exec ", "") + "; sleep 1"]) is None
    assert same(parcel) and world.digests.known(parcel.local, "sha256") is None


def test_it_can_be_stopped(world):
    parcel = world.parcel("file", push.SMALL_BYTES + 5)
    sender = push.Sender(lambda command: ["/bin/sh", "-c", "exec sleep 60"], [parcel], world.digests)
    sender.start()
    sender.stop()
    assert not sender._thread.is_alive() and sender.problem is None


def test_large_ones_go_alone_and_first_small_ones_together():
    sizes = {"a": 10, "b": push.SMALL_BYTES, "c": 3, "d": push.SMALL_BYTES * 2}
    parcels = [push.Parcel(name, "", "", size, 0, "") for name, size in sizes.items()]
    assert [[parcel.name for parcel in batch] for batch in push.batches(parcels)] == [["d"], ["b"], ["a", "c"]]
    assert push.batches([]) == []


@pytest.mark.parametrize("offset,expected", [(0, 0), (5, 5), (10, 10), (11, 0)])
def test_more_than_the_file_has_is_no_beginning_of_it(offset, expected):
    assert push.Parcel("a", "", "", 10, offset, "").offset == expected


class Connection:
    """As much of a connection plugin as is asked."""

    def __init__(self, transport="ssh", **options):
        self.transport, self.options, self.host = transport, dict({"ssh_executable": "ssh"}, **options), "h"

    def get_option(self, name):
        if name not in self.options:
            raise KeyError(name)
        return self.options[name]

    def _build_command(self, *parts):
        return list(parts)


def test_the_connections_own_ssh_is_used():
    command = push.ssh_command(Connection(transport="ansible.builtin.ssh", password=None))
    assert command("cat") == ["ssh", "ssh", "h", "cat"]


@pytest.mark.parametrize("connection", [
    Connection(transport="local"), Connection(transport="community.docker.docker"), Connection(password="x"), Connection(private_key_passphrase="x"), object(),
])
def test_other_connections_put_files_by_themselves(connection):
    assert push.ssh_command(connection) is None


def test_a_connection_that_refuses_puts_files_by_itself():
    connection = Connection()

    def refuse(*unused):
        raise AnsibleError("no")
    connection._build_command = refuse
    assert push.ssh_command(connection) is None


@pytest.mark.parametrize("connection,user", [
    (Connection(remote_user="pi"), "pi"), (Connection(remote_user=None), None), (Connection(), None), (Connection(transport="local", remote_user="pi"), None),
])
def test_who_writes_on_the_host(connection, user):
    assert push.user_of(connection) == user
