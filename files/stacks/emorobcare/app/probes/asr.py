# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the speech service works: its /health is 200 whatever happens, so its checks are read. No model loaded is what it must say when
none was brought (it then answers with its own sentences); with a model in place it is a fault. Run with -I: no site packages."""

import json
import os
import socket
import sys


def ask():
    """(status line, body) of /health."""
    with socket.create_connection(("127.0.0.1", 8001), timeout=8) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while len(answer) < 65536:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head, unused, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode("ascii", "replace"), body


def judge(status, body, brought):
    """(whether it is healthy, why).

    :arg brought: list of str, the models that are on disk.
    """
    try:
        document = json.loads(body)
        checks = {name: check["status"] for name, check in document["checks"].items()}
    except (ValueError, KeyError, TypeError):
        return False, "%s, %.200r" % (status, body)
    bad = sorted(name for name, state in checks.items() if state == "unhealthy")
    if " 200 " not in status + " " or "models" not in checks or [name for name in bad if name != "models"]:
        return False, "%s, unhealthy: %s" % (status, ", ".join(bad) or "no check of the models")
    if bad and brought:
        return False, "no model is loaded, though there are %s" % ", ".join(brought)
    return True, "healthy" if not bad else "healthy, without a speech model"


def main():
    try:
        models = json.loads(os.environ.get("MODELS", "{}"))
        # In the variant minimal no model can be loaded, whatever is on disk.
        brought = sorted(path for path in models.values() if os.path.isdir(path)) if os.environ.get("DOCKYARD_VARIANT") == "full" else []
        good, said = judge(*ask(), brought)
    except (OSError, ValueError) as error:
        good, said = False, repr(error)
    print(said)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
