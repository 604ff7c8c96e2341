# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of an OpenPGP public key, and the form in which apt wants the key."""

from __future__ import annotations

import base64
import hashlib

_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"


def is_armored(data):
    """:arg data: bytes
    :returns: bool, whether it is the text form (apt wants the file name to end in .asc) and not the binary one (.gpg)
    """
    return data.lstrip().startswith(_BEGIN.encode())


def dearmor(data):
    """The packets of a key.

    :arg data: bytes, armored or binary
    :returns: bytes
    :raises ValueError: it is neither.
    """
    if not is_armored(data):
        if data[:1] and data[0] & 0x80:
            return data
        raise ValueError("found neither an armored nor a binary OpenPGP key")
    text = data.decode("ascii", "replace")
    body = text.partition(_BEGIN)[2].partition(_END)
    if not body[1]:
        raise ValueError("found an armored key without its last line")
    # Headers end at the first empty line; the last line with "=" in front is a checksum.
    lines = body[0].splitlines()
    start = next((number for number, line in enumerate(lines) if number and not line.strip()), 0)
    encoded = "".join(line.strip() for line in lines[start:] if not line.startswith("="))
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ValueError("found an armored key that is no base64") from error


def fingerprint(data):
    """The version 4 fingerprint of the first primary key (RFC 4880, section 12.2).

    :arg data: bytes, armored or binary
    :returns: str, 40 upper-case hex digits
    :raises ValueError: there is no version 4 public key at the start of it.
    """
    packets = dearmor(data)
    tag, start, length = _first_packet(packets)
    body = packets[start:start + length]
    if tag != 6 or len(body) != length or not body or body[0] != 4:
        raise ValueError("found no version 4 public key at the start")
    return hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + body).hexdigest().upper()


def _first_packet(packets):
    """:returns: (tag, offset of the body, length of the body); RFC 4880, section 4.2."""
    try:
        head = packets[0]
        if head & 0x40:
            first = packets[1]
            if first < 192:
                return head & 0x3F, 2, first
            if first < 224:
                return head & 0x3F, 3, ((first - 192) << 8) + packets[2] + 192
            return head & 0x3F, 6, int.from_bytes(packets[2:6], "big")
        size = (1, 2, 4, 0)[head & 0x03]
        return (head >> 2) & 0x0F, 1 + size, int.from_bytes(packets[1:1 + size], "big")
    except IndexError as error:
        raise ValueError("found a key that ends too early") from error


def same_fingerprint(left, right):
    """:returns: bool, whether two fingerprints are the same whatever their spaces and case"""
    return "".join(left.split()).upper().replace("0X", "") == "".join(right.split()).upper().replace("0X", "")
