# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the API works. Its own /health is a fixed text, so the three databases are asked as well, the way the application reaches them:
MongoDB by a ping, Qdrant for its readiness, Fuseki by a query with the application's login. Sockets only, run with -I -S: a Raspberry Pi
does this every few seconds."""

import binascii
import os
import socket
import struct
import sys

SECONDS = 5
LONGEST = 65536
# OP_MSG with {ping: 1, $db: "admin"}, which needs no login.
PING = b"\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
PING = b"\0\0\0\0\0" + struct.pack("<i", len(PING) + 4) + PING
PING = struct.pack("<iiii", len(PING) + 16, 1, 0, 2013) + PING
MONGO_OK = b"\x01ok\0" + struct.pack("<d", 1.0)


def place_of(url, port):
    """(host, port) of a URL; a login and a path in it do not count."""
    host = url.partition("://")[2].split("/")[0].rpartition("@")[2].split(",")[0]
    name, unused, number = host.partition(":")
    return name, int(number or port)


def exchange(place, data, enough):
    """What comes back, until `enough` says so or the peer ends."""
    answer = b""
    with socket.create_connection(place, timeout=SECONDS) as connection:
        connection.sendall(data)
        while len(answer) < LONGEST and not enough(answer):
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    return answer


def http(place, path, headers=""):
    """(status, body) of a GET request."""
    request = "GET %s HTTP/1.0\r\nHost: %s\r\n%s\r\n" % (path, place[0], headers)
    head, unused, body = exchange(place, request.encode(), lambda answer: False).partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split(b" ")
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0, body


def application(environment):
    status, body = http(("127.0.0.1", 8000), "/health")
    return status == 200 and b'"healthy"' in body, "status %d, %.100r" % (status, body)


def mongodb(environment):
    answer = exchange(place_of(environment["MONGODB_URI"], 27017), PING, lambda found: len(found) >= 4 and len(found) >= struct.unpack("<i", found[:4])[0])
    return MONGO_OK in answer, "%.100r" % answer


def qdrant(environment):
    status, body = http(place_of(environment["QDRANT_URL"], 6333), "/readyz")
    return status == 200 and b"ready" in body, "status %d, %.100r" % (status, body)


def fuseki(environment):
    with open(environment.get("FUSEKI_PASSWORD_FILE", "/run/secrets/fuseki_api_password"), "rb") as stream:
        login = environment.get("FUSEKI_USER", "api").encode() + b":" + stream.read().strip()
    headers = "Accept: application/sparql-results+json\r\nAuthorization: Basic %s\r\n" % binascii.b2a_base64(login).decode().strip()
    status, body = http(place_of(environment["FUSEKI_URL"], 3030), "/%s/query?query=ASK%%7B%%7D" % environment["FUSEKI_DATASET"], headers)
    return status == 200 and b"true" in body, "status %d, %.100r" % (status, body)


def main():
    for probe in (application, mongodb, qdrant, fuseki):
        try:
            good, said = probe(os.environ)
        except (OSError, KeyError, ValueError) as error:
            good, said = False, repr(error)
        if not good:
            print("%s: %s" % (probe.__name__, said))
            return 1
    print("healthy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
