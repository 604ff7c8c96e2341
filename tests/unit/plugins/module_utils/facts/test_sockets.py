# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import sockets

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 00000000a11d356f 100 0 0 10 0\n"


@pytest.mark.parametrize("text, order, address", [
    ("0100007F", "little", "127.0.0.1"),
    ("7F000001", "big", "127.0.0.1"),
    ("00000000", "little", "0.0.0.0"),
    ("204DD50A", "little", "10.213.77.32"),
    ("00000000000000000000000000000000", "little", "::"),
    ("00000000000000000000000001000000", "little", "::1"),
    ("B80D0120000000000000000001000000", "little", "2001:db8::1"),
    ("0000000000000000FFFF00000100007F", "little", "::ffff:127.0.0.1"),
])
def test_addresses(text, order, address):
    assert sockets.decode_address(text, order) == address


def test_only_listening_sockets_count():
    text = HEAD + LINE % ("0100007F:1F90", "0A", 11) + LINE % ("0100007F:1F91", "01", 12) + LINE % ("00000000000000000000000000000000:01BB", "0A", 13) + "odd\n"
    assert sockets.parse_listening(text, "little") == [("127.0.0.1", 8080, 11), ("::", 443, 13)]


def test_inodes():
    assert sockets.socket_inode("socket:[4711]") == 4711
    assert sockets.socket_inode("anon_inode:[eventpoll]") is None
    assert sockets.socket_inode("/dev/null") is None


CONTAINERS = [
    {"name": "web", "ports": [
        {"ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "protocol": "tcp"},
        {"ip": "::", "host_port": 8080, "container_port": 80, "protocol": "tcp"},
        {"ip": "127.0.0.1", "host_port": 8443, "container_port": 443, "protocol": "tcp"},
        {"ip": "0.0.0.0", "host_port": 53, "container_port": 53, "protocol": "udp"},
    ]},
    {"name": "other", "ports": [{"ip": "192.0.2.1", "host_port": 8443, "container_port": 443, "protocol": "tcp"}]},
]


@pytest.mark.parametrize("process, address, port, name", [
    ("docker-proxy", "0.0.0.0", 8080, "web"),
    ("docker-proxy", "::", 8080, "web"),
    ("docker-proxy", "127.0.0.1", 8443, "web"),
    ("docker-proxy", "192.0.2.1", 8443, "other"),
    ("rootlesskit", "0.0.0.0", 8080, "web"),
    (None, "0.0.0.0", 8080, "web"),            # without the right to see processes
    ("nginx", "0.0.0.0", 8080, None),
    ("docker-proxy", "0.0.0.0", 53, None),     # UDP is another matter
    ("docker-proxy", "0.0.0.0", 9, None),
])
def test_containers_of_ports(process, address, port, name):
    assert sockets.container_of(CONTAINERS, process, address, port) == name


def test_facts_are_sorted_and_know_their_owners():
    facts = sockets.port_facts([("::", 8080, 3), ("0.0.0.0", 8080, 2), ("0.0.0.0", 22, 1)], {1: (10, "sshd"), 2: (20, "docker-proxy")}, CONTAINERS)
    assert facts == [
        {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd", "pid": 10, "container": None},
        {"protocol": "tcp", "address": "0.0.0.0", "port": 8080, "process": "docker-proxy", "pid": 20, "container": "web"},
        {"protocol": "tcp", "address": "::", "port": 8080, "process": None, "pid": None, "container": "web"},
    ]
    assert sockets.port_facts([("0.0.0.0", 8080, 2)], {2: (20, "docker-proxy")}, None)[0]["container"] is None
