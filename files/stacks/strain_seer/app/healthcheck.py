# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Streamlit for its health, and once after each start whether the page's script runs.

/_stcore/health is `ok` as soon as the server listens, also when every visitor gets an error (a HOME that can't be written to). Sockets
only, run with -I -S: it starts every few seconds.
"""

import os
import socket
import sys

# In memory, and new with each start of the container.
PROVEN = "/dev/shm/strain_seer-script-runs"


def paths(base, proven):
    """What is asked: list of (path, text that the body must be or None, text that it must contain or None).

    :arg base: str, Streamlit's base path, with or without slashes.
    :arg proven: bool, whether the script was seen running since the start.
    """
    root = "/" + base.strip("/") if base.strip("/") else ""
    wanted = [(root + "/_stcore/health", "ok", None), (root + "/", None, "<script")]
    # Streamlit answers a path that it does not know with its page and 200, hence the exact body.
    return wanted if proven else wanted + [(root + "/_stcore/script-health-check", "ok", None)]


def ask(path, port, timeout):
    """(status line, body) of a GET request."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(b"GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" % path.encode())
        answer = b""
        while len(answer) < 65536:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head, _separator, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode("ascii", "replace"), body.decode("utf-8", "replace")


def problem(path, status, body, exact, part):
    """What is wrong with an answer, or None."""
    if " 200 " not in status + " ":
        return "%s: found '%s' %s, needed 200" % (path, status, body[:200].strip())
    if exact is not None and body.strip() != exact:
        return "%s: found %r, needed %r" % (path, body[:80], exact)
    if part is not None and part not in body:
        return "%s: found a page without %r" % (path, part)
    return None


def main():
    """0 when all is well; otherwise 1 and one line that `docker inspect` shows."""
    port = int(os.environ.get("STREAMLIT_SERVER_PORT", "8501"))
    proven = os.path.exists(PROVEN)
    for path, exact, part in paths(os.environ.get("STREAMLIT_SERVER_BASE_URL_PATH", ""), proven):
        try:
            status, body = ask(path, port, 25)
        except OSError as error:
            print("%s: %s" % (path, error))
            return 1
        found = problem(path, status, body, exact, part)
        if found:
            print(found)
            return 1
    if not proven:
        with open(PROVEN, "w", encoding="ascii"):
            pass
    print("healthy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
