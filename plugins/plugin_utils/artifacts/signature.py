# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures in minisign's format, and what a signed manifest may not be: replayed, expired, without a version. Pure: texts and bytes in, refusals out."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import printable, refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import expires_epoch

# minisign's layout (jedisct1.github.io/minisign, "Signature format"): two letters for the algorithm, eight bytes of key id, then the key or the signature.
_KEY_BYTES = 2 + 8 + 32
_SIGNATURE_BYTES = 2 + 8 + 64
_GLOBAL_BYTES = 64
_UNTRUSTED = "untrusted comment: "
_TRUSTED = "trusted comment: "
_KEYS_SETTING = "public_keys of this set"


class PublicKey:
    """A minisign public key. ``id`` (bytes) names it, ``name`` (str) is the id as minisign shows it."""

    def __init__(self, key_id, key):
        self.id, self.key = key_id, key
        self.name = key_id[::-1].hex().upper()


def _decode(text, length, where, what, setting):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length:
        raise refuse(where, "%s that is not %d bytes in base64" % (what, length), "what minisign writes", setting)
    return data


def read_key(text, where=_KEYS_SETTING):
    """The PublicKey of a text: the one line that `minisign -G` prints, or the whole file minisign.pub.

    :raises ArtifactsError: it is none.
    """
    lines = [line.strip() for line in str(text).splitlines() if line.strip() and not line.startswith(_UNTRUSTED)]
    if len(lines) != 1:
        raise refuse(where, "a text of %d lines" % len(lines), "a minisign public key: RW and 54 more characters", _KEYS_SETTING)
    data = _decode(lines[0], _KEY_BYTES, where, "a public key", _KEYS_SETTING)
    if data[:2] != b"Ed":
        raise refuse(where, "a key of the algorithm %s" % printable(repr(data[:2])), "an Ed25519 key of minisign, which begins with RW", _KEYS_SETTING)
    return PublicKey(data[2:10], data[10:])


def verify(document, signature, public_keys, where, setting):
    """The trusted comment (str) of a document that one of the keys has signed.

    :param document: what is signed (bytes).
    :param signature: text of the .minisig file (str).
    :param public_keys: texts of the keys that are trusted (list of str).
    :param where: path of the signature, for messages.
    :param setting: what changes it, for messages.
    :raises ArtifactsError: bad signature, unknown key, or a text in another format.
    """
    keys = {key.id: key for key in (read_key(text) for text in public_keys)}
    lines = signature.replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) != 4 or not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
        raise refuse(where, "a text that is no minisign signature", "the four lines that `minisign -S` writes", setting)
    blob = _decode(lines[1], _SIGNATURE_BYTES, where, "a signature", setting)
    whole = _decode(lines[3], _GLOBAL_BYTES, where, "a signature of the trusted comment", setting)
    algorithm, key_id, signed = blob[:2], blob[2:10], blob[10:]
    if algorithm not in (b"Ed", b"ED"):
        raise refuse(where, "the signature algorithm %s" % printable(repr(algorithm)), "Ed25519, prehashed (minisign's default) or legacy", setting)
    key = keys.get(key_id)
    if key is None:
        raise refuse(where, "a signature of the unknown key %s" % key_id[::-1].hex().upper(),
                     "one of the trusted keys: %s" % ", ".join(sorted(known.name for known in keys.values())), _KEYS_SETTING)
    if not _good(key, signed, hashlib.blake2b(document).digest() if algorithm == b"ED" else document):
        raise refuse(where, "a signature that does not fit the manifest", "a signature of exactly this file by key %s" % key.name,
                     "sign the manifest again, or bring the one that was signed back")
    comment = lines[2][len(_TRUSTED):]
    if not _good(key, whole, signed + comment.encode("utf-8", "surrogateescape")):
        raise refuse(where, "a trusted comment that was changed after the signing", "the comment that key %s signed" % key.name, setting)
    return comment


def _good(key, signature, data):
    # ansible-core needs this package itself; imported here because a run without signatures shall not wait for it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def check_expiry(manifest, where, now):
    """Refuse a manifest whose time is over.

    :param manifest: parse_manifest()'s dict.
    :param now: seconds since 1970.
    :raises ArtifactsError: it expired.
    """
    if manifest["expires"] and expires_epoch(manifest["expires"]) <= now:
        today = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise refuse(where, "a manifest that expired at %s; it is %s" % (manifest["expires"], today), "one that is still valid",
                     '"expires" in the manifest, and sign it again')


def check_version(manifest, digest, known, where):
    """Refuse a signed manifest that takes the host back.

    :param digest: of the manifest's bytes (str).
    :param known: what the host had last, ``{"version", "digest"}`` or None.
    :raises ArtifactsError: no version; older than the host's; or the host's version with other contents.
    """
    if manifest["version"] is None:
        raise refuse(where, "a signed manifest without a version", "a number that grows with each manifest", '"version" in the manifest, and sign it again')
    if not known or known.get("version") is None:
        return
    if manifest["version"] < known["version"]:
        raise refuse(where, "version %d, older than version %d that this host has" % (manifest["version"], known["version"]),
                     "a version that does not go back", '"version" in the manifest: to return to older files, sign them under a new version')
    if manifest["version"] == known["version"] and known.get("digest") and digest != known["digest"]:
        raise refuse(where, "version %d with other contents than the version %d that this host has" % (manifest["version"], known["version"]),
                     "a new version for new contents", '"version" in the manifest, and sign it again')
