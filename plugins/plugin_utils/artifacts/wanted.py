# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host shall have, from a manifest on the controller; and whether its facts already show it."""

from __future__ import annotations

import hashlib
import os
import time
from urllib.parse import urlsplit

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import manifest as manifests
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import refuse
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import local, signature

RECORD = "ansible-playbook playbooks/artifacts.yml -e action=record -e artifacts_record_write=true"


class Wanted:
    """One set of one host.

    ``files``: those with a digest, as parse_manifest() gives them. ``unrecorded``: names of optional ones without. ``id``: of the set. ``version`` and
    ``digest`` are the manifest's, null unless it is signed: an unsigned one may go back.
    """

    def __init__(self, owner, name, files, unrecorded=(), folders=(), version=None, digest=None, manifest=""):
        self.owner, self.name, self.files, self.unrecorded, self.folders = owner, name, files, list(unrecorded), list(folders)
        self.version, self.digest, self.manifest = version, digest, manifest
        self.where = "%s/%s" % (owner, name) if owner else "these files"
        self.id = manifests.set_id(files) if owner else None

    def path(self, store):
        """Folder of the placed set on the host (str)."""
        return "%s/sets/%s/%s/%s" % (store, self.owner, self.name, self.id)

    def local(self, item):
        """(path, state) of the first {"file"} source that exists, or (None, None)."""
        for source in item["sources"]:
            path = local.find(source["file"], self.folders) if source.get("file") else None
            if path:
                return path, local.state_of(path)
        return None, None


def _read(path, where, setting):
    try:
        with open(path, "rb") as stream:
            return stream.read(manifests.MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise refuse(where, "no readable file %s (%s)" % (path, error.strerror), "a file on the controller", setting) from error


def read_text(path):
    """(bytes, text) of a manifest.

    :raises ArtifactsError: not readable, or not UTF-8.
    """
    data = _read(path, "manifest %s" % path, "manifest of this set")
    try:
        return data, data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse("manifest %s" % path, "bytes that are not UTF-8 (at %d)" % error.start, "JSON in UTF-8", "the manifest %s" % path) from error


def read_set(entry, known=None, now=None):
    """The Wanted of one entry.

    :param entry: ``{"owner", "name", "manifest", "folder", "public_keys", "signature"}``; owner may be empty.
    :param known: ``{"version", "digest"}`` of the manifest that the host had last, or None when nothing is known.
    :param now: seconds since 1970.
    :raises ArtifactsError: everything that is wrong with the manifest and its signature.
    """
    path = os.path.abspath(os.path.expanduser(entry["manifest"]))
    data, text = read_text(path)
    keys = entry.get("public_keys") or []
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if keys:
        signed = os.path.abspath(os.path.expanduser(entry.get("signature") or path + ".minisig"))
        where, setting = "signature %s" % signed, "signature of this set, or sign it: minisign -Sm %s" % path
        signature.verify(data, _read(signed, where, setting).decode("utf-8", "surrogateescape"), keys, where, setting)
    parsed = manifests.parse_manifest(text, path)
    signature.check_expiry(parsed, path, time.time() if now is None else now)
    if keys:
        signature.check_version(parsed, digest, known, path)
    missing = [item for item in parsed["files"] if item["digest"] is None]
    required = [item["name"] for item in missing if item["required"]]
    if required:
        raise refuse(path, "no digest of the required %s" % ", ".join(required), "a recorded digest: nothing is trusted unseen", RECORD)
    folders = [os.path.abspath(os.path.expanduser(entry["folder"]))] if entry.get("folder") else []
    folders += [folder for folder in (os.path.dirname(path),) if folder not in folders]
    return Wanted(entry.get("owner"), entry.get("name"), [item for item in parsed["files"] if item["digest"] is not None],
                  [item["name"] for item in missing], folders, parsed["version"] if keys else None, digest if keys else None, path)


def facts_of(facts, store):
    """The part of host_facts that tells of this store (dict), or None when it tells nothing."""
    part = (facts or {}).get("artifacts")
    return part if isinstance(part, dict) and part.get("path") == store and part.get("sets") is not None else None


def known_manifest(part, wanted_owner, wanted_name):
    """``{"version", "digest"}`` from the facts, or None."""
    return (((part or {}).get("manifests") or {}).get(wanted_owner) or {}).get(wanted_name)


def satisfied(wanted, part):
    """The set as the facts show it (``{"complete", "missing_optional"}``) when nothing needs to be asked or done for it, else None."""
    if part is None or not wanted.owner or any(item.get("destinations") for item in wanted.files):
        return None
    seen = ((part["sets"].get(wanted.owner) or {}).get(wanted.name) or {}).get(wanted.id)
    if not seen or not seen.get("complete"):
        return None
    if wanted.version is not None and known_manifest(part, wanted.owner, wanted.name) != {"version": wanted.version, "digest": wanted.digest}:
        return None
    by_name = {item["name"]: item for item in wanted.files}
    # An optional file that can be had by now is worth a call; one whose only source is a file that nobody has put there is not.
    if any(name in by_name and _obtainable(wanted, by_name[name]) for name in seen.get("missing_optional") or []):
        return None
    return seen


def _obtainable(wanted, item):
    return any(not source.get("file") for source in item["sources"]) or wanted.local(item)[0] is not None


def headers_for(url, headers):
    """The headers (dict) that the operator gave for the URL's host."""
    return (headers or {}).get(urlsplit(url).hostname or "") or {}
