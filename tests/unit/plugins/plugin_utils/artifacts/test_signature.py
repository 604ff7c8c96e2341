# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures that minisign 0.11 of Debian 12 made, and everything that must not pass."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import signature

DOCUMENT = b'{"a":1}\n'
KEY = "RWSSHbEn0m82aD2c2j77ysfCg9cpPwiMWbXB5p07z/ROw23y5lOdZlyt"
KEY_FILE = "untrusted comment: minisign public key 68366FD227B11D92\n%s\n" % KEY
OTHER_KEY = "RWQ6gzenCERcfhFC54rgYpVolqaZqtNNzJftOI3vg4gpl2i3UAULBjpK"
PREHASHED = """\
untrusted comment: signature from minisign secret key
RUSSHbEn0m82aHBgM4qB+NqpytMtYpKHcX0SKD29RZVODDx5iutxJAB5GCOFn9f93hkfg8fxqxfRTyg2skio2+YKEnb6iG/vBwE=
trusted comment: trusted words
+aRfXmANi1AszYbi4tFpYnj+D+yLTDO2kFqIUcR6Y96FhcUwmE1MTLp+wW4jLa+TFIq9vhXIxaJbcB1osIt4Cg==
"""
LEGACY = """\
untrusted comment: signature from minisign secret key
RWSSHbEn0m82aIIhzKQ/iCiQ4N/GRZfP4HEXagOybbAfmlz/QQR6rmARVKpQ3qPcpga8sqrmB48b43WcfELgrc1YOGlOUSLjuAI=
trusted comment: old
wZIlzyfyMnindG6lTHOzumyHomU4mGaKmIpm04sDbafPHmJd08JBZpjWdtaJ/nTSxS0LaVhcGFzdmQ4Osg/VCg==
"""


def verify(document=DOCUMENT, text=PREHASHED, keys=(KEY,)):
    return signature.verify(document, text, list(keys), "models.json.minisig", "signature")


@pytest.mark.parametrize("text,comment", [(PREHASHED, "trusted words"), (LEGACY, "old"), (PREHASHED.replace("\n", "\r\n"), "trusted words"),
                                          (PREHASHED.rstrip("\n"), "trusted words")])
def test_what_minisign_signed_passes(text, comment):
    assert verify(text=text) == comment


@pytest.mark.parametrize("keys", [(KEY_FILE,), (OTHER_KEY, KEY)])
def test_a_key_may_be_a_line_or_a_file_and_one_of_several(keys):
    assert verify(keys=keys) == "trusted words"


def test_the_key_has_the_name_that_minisign_shows():
    assert signature.read_key(KEY).name == "68366FD227B11D92"


@pytest.mark.parametrize("text", [PREHASHED, LEGACY])
def test_another_document_is_refused(text):
    with pytest.raises(ArtifactsError, match="does not fit the manifest"):
        verify(document=b'{"a":2}\n', text=text)


def test_an_unknown_key_is_refused_and_both_are_named():
    with pytest.raises(ArtifactsError, match="unknown key 68366FD227B11D92.*%s" % signature.read_key(OTHER_KEY).name):
        verify(keys=(OTHER_KEY,))


@pytest.mark.parametrize("text", [PREHASHED, LEGACY])
def test_a_changed_trusted_comment_is_refused(text):
    with pytest.raises(ArtifactsError, match="trusted comment that was changed"):
        verify(text=text.replace("\ntrusted comment: ", "\ntrusted comment: un"))


def test_a_signature_of_the_other_kind_is_refused():
    """Prehashed and legacy sign different things: one with the letters of the other fits nothing."""
    with pytest.raises(ArtifactsError, match="does not fit the manifest"):
        verify(text=PREHASHED.replace("\nRUSS", "\nRWSS"))


def test_every_changed_bit_of_a_signature_is_refused():
    lines = PREHASHED.split("\n")
    for number in (1, 3):
        for position in range(0, len(lines[number]) - 3, 3):
            changed = list(lines)
            old = changed[number][position]
            changed[number] = changed[number][:position] + ("B" if old != "B" else "C") + changed[number][position + 1:]
            with pytest.raises(ArtifactsError):
                verify(text="\n".join(changed))


@pytest.mark.parametrize("text,found", [
    ("", "no minisign signature"),
    ("-----BEGIN PGP SIGNATURE-----\n\n\n\n", "no minisign signature"),
    (PREHASHED + "more\n", "no minisign signature"),
    (PREHASHED.replace("RUSS", "****"), "not 74 bytes"),
    (PREHASHED.replace("RUSS", "RUS"), "not 74 bytes"),
    (PREHASHED.replace("+aRf", "+aR"), "not 64 bytes"),
    (PREHASHED.replace("\nRUSS", "\nRkSS"), "signature algorithm b'FD'"),
])
def test_texts_that_are_no_signature(text, found):
    with pytest.raises(ArtifactsError, match=found):
        verify(text=text)


@pytest.mark.parametrize("text,found", [
    ("", "0 lines"), ("RW", "not 42 bytes"), (KEY + "\n" + KEY, "2 lines"), (KEY[:-4], "not 42 bytes"), ("RU" + KEY[2:], "algorithm b'ED'"),
])
def test_texts_that_are_no_key(text, found):
    with pytest.raises(ArtifactsError, match=found):
        verify(keys=(text,))


@pytest.mark.parametrize("expires,now,refused", [
    (None, 4e9, False), ("2027-06-30T00:00:00Z", 1814313599, False), ("2027-06-30T00:00:00Z", 1814313600, True),
    ("2027-06-30T02:00:00+02:00", 1814313600, True),
])
def test_expiry(expires, now, refused):
    if not refused:
        signature.check_expiry({"expires": expires}, "m", now)
        return
    with pytest.raises(ArtifactsError, match="expired at .*; it is 2027-06-30T00:00:00Z"):
        signature.check_expiry({"expires": expires}, "m", now)


@pytest.mark.parametrize("version,digest,known,refused", [
    (3, "sha256:a", None, None),
    (3, "sha256:a", {"version": None, "digest": None}, None),
    (3, "sha256:a", {"version": 2, "digest": "sha256:b"}, None),
    (3, "sha256:a", {"version": 3, "digest": "sha256:a"}, None),
    (3, "sha256:a", {"version": 3, "digest": "sha256:b"}, "version 3 with other contents"),
    (3, "sha256:a", {"version": 4, "digest": "sha256:a"}, "version 3, older than version 4"),
    (None, "sha256:a", None, "without a version"),
])
def test_versions_only_grow(version, digest, known, refused):
    if refused is None:
        signature.check_version({"version": version}, digest, known, "m")
        return
    with pytest.raises(ArtifactsError, match=refused):
        signature.check_version({"version": version}, digest, known, "m")
