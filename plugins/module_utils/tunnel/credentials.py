# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tunnel's secret in the two forms that cloudflared takes: its token, and its credentials file. Pure but for the random bytes."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re

SECRET_BYTES = 32
_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


def new_secret():
    """A fresh secret of a tunnel, as the API takes it: 32 bytes of the system's random generator in base64."""
    return base64.b64encode(os.urandom(SECRET_BYTES)).decode("ascii")


def of_token(token):
    """What is in a tunnel's token, which is JSON in base64.

    :arg token: str, as Cloudflare's dashboard and API give it.
    :returns: dict with ``account``, ``tunnel`` and ``secret`` (base64).
    :raises ValueError: it is none. The text never has a part of it.
    """
    try:
        parts = json.loads(base64.b64decode(token.strip().encode("ascii"), validate=True).decode("utf-8"))
        found = {"account": parts["a"], "tunnel": parts["t"], "secret": parts["s"]}
        secret = base64.b64decode(found["secret"].encode("ascii"), validate=True)
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise ValueError("something that is not a tunnel's token") from None
    if not isinstance(found["tunnel"], str) or not _UUID.match(found["tunnel"]):
        raise ValueError("a token without a tunnel's id")
    if len(secret) < SECRET_BYTES:
        raise ValueError("a token with a secret of %d bytes, which is less than %d" % (len(secret), SECRET_BYTES))
    return found


def file_of(parts):
    """The text of a credentials file.

    :arg parts: dict of :func:`of_token`.
    """
    return json.dumps({"AccountTag": parts["account"], "TunnelSecret": parts["secret"], "TunnelID": parts["tunnel"]}) + "\n"
