# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints, compared with what gpg said about the same key."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.engine import keys

# Made for this test with `gpg --quick-gen-key 'dockyard unit test' ed25519 sign never`; its secret part was thrown away.
ARMORED = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawAZBxYJKwYBBAHaRw8BAQdAlEcRNVAdHAilAM1xxN9J9YcANqsgz2K8TALX
M74xmYS0EmRvY2t5YXJkIHVuaXQgdGVzdIiQBBMWCAA4FiEEi1acJhSF+isAd+E0
utDFFFZvsTQFAmsAGQcCGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQutDF
FFZvsTQc0gD9E5b7a4cagMEIuWngCl/SFbKiJm907/DoMdMngAbkPnUA/3x1+cGZ
mFDJRVtqy7GUzskZiQojIEPYvzqEfZwJEYYJ
=LOlO
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "8B569C261485FA2B0077E134BAD0C514566FB134"


def binary():
    lines = ARMORED.decode().splitlines()
    return base64.b64decode("".join(line for line in lines[1:-1] if line and not line.startswith("=")))


def test_fingerprint_of_both_forms():
    assert keys.fingerprint(ARMORED) == FINGERPRINT
    assert keys.fingerprint(binary()) == FINGERPRINT
    assert keys.is_armored(ARMORED) and not keys.is_armored(binary())


def test_old_packet_header():
    data = binary()
    assert data[0] & 0x40 == 0, "gpg writes old headers"
    length = data[1]
    new = bytes([0xC6, length]) + data[2:]
    assert keys.fingerprint(new) == FINGERPRINT


@pytest.mark.parametrize("data", [
    b"", b"<html>not found</html>", ARMORED[:120],
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----\n", b"\x98", b"\x98\x33\x03",
])
def test_no_key(data):
    with pytest.raises(ValueError, match="found"):
        keys.fingerprint(data)


def test_same_fingerprint():
    spaced = "0x" + " ".join(FINGERPRINT[start:start + 4] for start in range(0, 40, 4)).lower()
    assert keys.same_fingerprint(spaced, FINGERPRINT)
    assert not keys.same_fingerprint(FINGERPRINT[:-1] + ("0" if FINGERPRINT[-1] != "0" else "1"), FINGERPRINT)
