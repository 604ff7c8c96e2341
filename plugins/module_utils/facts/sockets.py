# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening TCP sockets from /proc: pure parsers."""

from __future__ import annotations

import socket
import struct
import sys

LISTEN = "0A"  # state in /proc/net/tcp, include/net/tcp_states.h


def decode_address(text, byteorder=sys.byteorder):
    """Address of /proc/net/tcp{,6} -> str: "0100007F" -> "127.0.0.1". The kernel prints 32-bit words in its own byte order."""
    order = "<" if byteorder == "little" else ">"
    raw = b"".join(struct.pack(order + "I", int(text[i:i + 8], 16)) for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def parse_listening(text, byteorder=sys.byteorder):
    """/proc/net/tcp or tcp6 -> list of (address, port, inode), listening sockets only."""
    result = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN:
            continue
        address, unused, port = fields[1].rpartition(":")
        result.append((decode_address(address, byteorder), int(port, 16), int(fields[9])))
    return result


def socket_inode(link):
    """Inode (int) of a link target in /proc/PID/fd ("socket:[123]"), None if it is something else."""
    if link.startswith("socket:[") and link.endswith("]"):
        return int(link[8:-1])
    return None


def container_of(containers, process, address, port):
    """Name of the container that publishes this port, or None.

    Only sockets of Docker's own programs (docker-proxy, dockerd, rootlesskit) or of a process that could not be seen are
    looked up: another program may listen on the same port at another address.

    :param containers: the fact `containers`; :param process: name (str) or None; :param address: str; :param port: int.
    """
    if process not in (None, "docker-proxy", "dockerd", "rootlesskit"):
        return None
    for container in containers:
        for published in container["ports"]:
            if published["host_port"] == port and published["protocol"] == "tcp" and published["ip"] in (address, "", None):
                return container["name"]
    return None


def port_facts(sockets, owners, containers):
    """The fact `ports`, sorted by port.

    :param sockets: list of (address, port, inode); :param owners: {inode: (pid, process name)}; :param containers: the fact or None.
    """
    result = []
    for address, port, inode in sorted(set(sockets), key=lambda item: (item[1], item[0], item[2])):
        pid, process = owners.get(inode, (None, None))
        result.append({
            "protocol": "tcp",
            "address": address,
            "port": port,
            "process": process,
            "pid": pid,
            "container": container_of(containers or [], process, address, port),
        })
    return result
