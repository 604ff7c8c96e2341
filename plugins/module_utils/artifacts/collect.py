# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store holds, and removing what nobody uses."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import time

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import receipts
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import split_digest
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import lstat, names, read_dict

# A download that nobody continued for so long is not continued any more. Uploads of a controller hold no lock.
_PARTIAL_AGE_S = 3600
_SET = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_-]*)/([A-Za-z0-9][A-Za-z0-9_-]*)/([0-9a-f]{16})\Z")
_DIGEST = re.compile(r"(sha256|sha512|blake2b):([0-9a-f]{64,128})")
# A file that names what is in use is a small one.
_REFERENCE_BYTES = 4 << 20


def summary(store, late=lambda: False):
    """``{path, present, files, bytes, sets, manifests}`` of a store, by stats only.

    sets are ``{owner: {name: {id: {complete, missing_optional}}}}``, manifests ``{owner: {name: {version, digest}}}``.
    What is not known when ``late()`` says so is None.
    """
    known = {}

    def object_receipt(digest):
        if digest not in known:
            known[digest] = store.receipt(digest)
        return known[digest]

    sets, manifests = {}, {}
    for owner, name, identity in store.sets():
        if late():
            sets = None
            break
        description = store.description(owner, name, identity)
        state = {"complete": False, "missing_optional": []}
        if description:
            folder = store.set_path(owner, name, identity)
            state = receipts.set_state(description, lambda entry, folder=folder: lstat(os.path.join(folder, entry)), object_receipt)
        sets.setdefault(owner, {}).setdefault(name, {})[identity] = state
    for owner in names(os.path.join(store.path, "sets")):
        for entry in names(os.path.join(store.path, "sets", owner)):
            found = read_dict(os.path.join(store.path, "sets", owner, entry)) if entry.endswith(".json") else None
            if found:
                manifests.setdefault(owner, {})[entry[:-len(".json")]] = {"version": found.get("version"), "digest": found.get("digest")}
    files, total = 0, 0
    for unused, status in store.objects():
        if late():
            files = total = None
            break
        files, total = files + 1, total + status.st_size
    return {"path": store.path, "present": os.path.isdir(store.path), "files": files, "bytes": total, "sets": sets, "manifests": manifests}


def inspect(store, options, open_reporter, holder, check_mode=False):
    """What a store holds, and what is true of the wanted files.

    With ``verify`` always the wanted objects are read. With ``push_user`` files are made that this user may write, for what a controller sends.
    """
    wrong = _read(store, options, open_reporter, holder, check_mode) if options["verify"] == "always" else set()
    result = {"changed": False, "store": summary(store), "files": {}, "set": None, "manifest": None, "push": {}}
    for item in options["files"]:
        state, status = store.state(item["digest"])
        if item["digest"] in wrong:
            state = "wrong"
        result["files"][item["name"]] = {"digest": item["digest"], "state": {"verified": "present", "foreign": "wrong"}.get(state, state),
                                         "size": status.st_size if status is not None else None}
    if options["set"]:
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.manifest import set_id  # pylint: disable=import-outside-toplevel
        identity = set_id(options["files"]) if options["files"] else None
        path = store.set_path(*options["set"], identity) if identity else store.set_path(*options["set"])
        owner, name = options["set"]
        state = result["store"]["sets"].get(owner, {}).get(name, {}).get(identity)
        result["set"] = dict(state or {"complete": False, "missing_optional": []}, id=identity, path=path)
        result["manifest"] = result["store"]["manifests"].get(owner, {}).get(name)
    if options["push_user"] and not check_mode:
        store.prepare()
        for item in options["files"]:
            if any("push" in source for source in item["sources"]) and result["files"][item["name"]]["state"] in ("missing", "unverified", "wrong"):
                result["push"][item["digest"]] = _push_file(store, item, options["push_user"])
    return result


def _read(store, options, open_reporter, holder, check_mode):
    """Digests of wanted objects that are wrong (set); the receipts tell it afterwards too."""
    from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import bring, wanted  # pylint: disable=import-outside-toplevel
    contents = [content for content in wanted.contents_of(options["files"]).values() if store.state(content.digest)[0] in ("verified", "unverified")]
    if contents:
        with contextlib.nullcontext() if check_mode else store.lock(holder, options["lock_timeout_seconds"]):
            with open_reporter() as reporter:
                bring.Bringer(store, options, [], reporter).verify(contents, record=not check_mode)
    return {content.digest for content in contents if content.state != "verified"}


def _push_file(store, item, user):
    from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.place import user_id  # pylint: disable=import-outside-toplevel
    path = store.partial_path(item["digest"]) + ".push"
    try:
        uid = user_id(user)
    except KeyError:
        raise refuse("push_user", "the unknown user %s" % user, "a user of this host", "push_user") from None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != uid:
            os.fchown(descriptor, uid, -1)
        os.fchmod(descriptor, 0o600)
        if item.get("size") is not None and status.st_size > item["size"]:
            os.ftruncate(descriptor, 0)
        return {"path": path, "size": os.fstat(descriptor).st_size}
    finally:
        os.close(descriptor)


def used(store, keep, references, mounted=None):
    """What stays: ({(owner, name, id)}, {digest}, [sets that are mounted]).

    :param keep: digests, and sets as ``owner/name/id``. :param references: paths of files (globs) that name digests or folders of sets.
    :param mounted: the mountinfo of all processes (str), None: this host's.
    :raises ArtifactsError: for an entry of ``keep`` that is neither, or a reference that can't be read.
    """
    sets, digests = set(), set()
    for entry in keep:
        match = _SET.match(entry)
        if match:
            sets.add(match.groups())
            continue
        try:
            digests.add("%s:%s" % split_digest(entry))
        except ValueError as exc:
            raise refuse("keep", str(exc), "a digest, or owner/name/id of a set", "keep") from None
    texts = [_mounts() if mounted is None else mounted]
    for pattern in references:
        for path in glob.glob(pattern):
            try:
                if os.path.isfile(path) and os.path.getsize(path) <= _REFERENCE_BYTES:
                    with open(path, encoding="utf-8", errors="replace") as handle:
                        texts.append(handle.read())
            except OSError as exc:
                raise refuse(path, "a file that can't be read (%s)" % exc.strerror, "what it says is in use", "references, or become") from exc
    live = []
    for owner, name, identity in store.sets():
        folder = "sets/%s/%s/%s" % (owner, name, identity)
        if folder in texts[0]:
            live.append("%s/%s/%s" % (owner, name, identity))
        if any(folder in text for text in texts):
            sets.add((owner, name, identity))
    for text in texts[1:]:
        digests |= {":".join(match) for match in _DIGEST.findall(text)}
    for owner, name, identity in sets:
        description = store.description(owner, name, identity) or {}
        digests |= {item["digest"] for item in description.get("files") or []}
    base = os.path.join(store.path, "receipts", "destinations")
    for entry in names(base):
        record = read_dict(os.path.join(base, entry)) or {}
        if record.get("path") and lstat(record["path"]) is not None:
            digests.add(record["digest"])
    return sets, digests, sorted(live)


def _mounts():
    """mountinfo of every mount namespace of this host (str): a set that a container has mounted is seen there."""
    found, seen = [], set()
    for entry in names("/proc"):
        if not entry.isdigit():
            continue
        try:
            space = os.readlink("/proc/%s/ns/mnt" % entry)
            if space not in seen:
                with open("/proc/%s/mountinfo" % entry, encoding="utf-8", errors="replace") as handle:
                    found.append(handle.read())
                seen.add(space)
        except OSError:
            continue  # the process ended
    return "\n".join(found)


def collect(store, options, holder, check_mode, now=time.time):
    """Remove sets, objects and old partial downloads that nothing in use needs. Result (dict)."""
    if not os.path.isdir(store.path):
        return {"changed": False, "removed": [], "bytes_freed": 0, "in_use": []}
    with contextlib.nullcontext() if check_mode else store.lock(holder, options["lock_timeout_seconds"]):
        sets, digests, live = used(store, options["keep"], options["references"])
        removed, freed = [], 0
        for owner, name, identity in store.sets():
            if (owner, name, identity) in sets:
                continue
            removed.append("%s/%s/%s" % (owner, name, identity))
            freed += _set_bytes(store, owner, name, identity)
            if not check_mode:
                _remove_set(store, owner, name, identity)
        for digest, status in store.objects():
            if digest in digests:
                continue
            removed.append(digest)
            freed += status.st_size
            if not check_mode:
                store.drop_receipt(digest)
                os.unlink(store.object_path(digest))
        folder = os.path.join(store.path, "partial")
        for entry in names(folder):
            status = lstat(os.path.join(folder, entry))
            digest = entry.split(".")[0].replace("-", ":", 1)
            if status is None or not stat.S_ISREG(status.st_mode):
                continue
            # With the object there nobody needs a part of it any more.
            if not _is_whole(store, digest) and (digest in digests or status.st_mtime > now() - _PARTIAL_AGE_S):
                continue
            removed.append("partial/%s" % entry)
            freed += status.st_blocks * 512
            if not check_mode:
                os.unlink(os.path.join(folder, entry))
    return {"changed": bool(removed), "removed": removed, "bytes_freed": freed, "in_use": live}


def _is_whole(store, digest):
    try:
        return store.state(digest)[0] == "verified"
    except ValueError:  # a file that is none of ours
        return False


def _set_bytes(store, owner, name, identity):
    """Bytes of a set that are its own: links of an object are counted with the object."""
    total = 0
    for folder, unused, files in os.walk(store.set_path(owner, name, identity)):
        for entry in files:
            status = lstat(os.path.join(folder, entry))
            if status is not None and status.st_nlink == 1:
                total += status.st_size
    return total


def _remove_set(store, owner, name, identity):
    """The description goes first: what is left of a set that is half gone is never taken for one."""
    description = store.description(owner, name, identity) or {}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(store.description_path(owner, name, identity))
    linked = [item["digest"] for item in description.get("files") or [] if store.state(item["digest"])[0] == "verified"]
    path = store.set_path(owner, name, identity)
    if os.path.isdir(path):
        shutil.rmtree(path)
    for digest in linked:
        # A link less changes the object's ctime.
        store.write_receipt(digest, os.lstat(store.object_path(digest)))
    for folder in (store.set_path(owner, name), os.path.dirname(store.set_path(owner, name))):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
