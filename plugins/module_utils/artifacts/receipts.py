# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts: what was true of a file when its content was last verified. Small and pure, because facts are read with it too."""

from __future__ import annotations

import json
import stat

_KEYS = ("size", "mtime_ns", "ctime_ns", "inode")


def receipt_of(status, epoch_s):
    """Receipt (dict) for a file that was just verified.

    :param status: its os.stat_result, taken after everything that changes it (mode, owner, rename, link).
    :param epoch_s: now, seconds since 1970 (float).
    """
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
        "verified_epoch_s": int(epoch_s),
    }


def is_true(receipt, status):
    """Whether a file (os.stat_result, or None) is still the one that was verified (bool).

    The device number is told but not compared: it may change with a reboot, and nobody can give another file the same change time.
    """
    if not isinstance(receipt, dict) or status is None or not stat.S_ISREG(status.st_mode):
        return False
    there = receipt_of(status, 0)
    return all(receipt.get(key) == there[key] for key in _KEYS)


def parse(text):
    """Content of a receipt, or of a set's description (dict); None when it is none. A half-written one counts as none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def set_state(description, stat_of, object_receipt):
    """Whether a placed set is whole.

    :param description: content of its ``<id>.json`` (dict).
    :param stat_of: function of a file's name below the set, gives its os.lstat() or None.
    :param object_receipt: function of a digest, gives the receipt of that object (dict) or None.
    :returns: ``{"complete": bool, "missing_optional": [name]}``
    """
    complete, missing = True, []
    for item in description.get("files") or []:
        there = item.get("placed") and placed_is_true(item, stat_of(item["name"]), object_receipt)
        if not there and item.get("required", True):
            complete = False
        elif not there:
            missing.append(item["name"])
    return {"complete": complete, "missing_optional": sorted(missing)}


def placed_is_true(item, status, object_receipt):
    """Whether a placed file (an entry of a set's description, and its os.stat_result) is the verified one: by its own receipt, or as a link of the object."""
    if status is None:
        return False
    own = item.get("receipt")
    if own:
        return is_true(own, status)
    return is_true(object_receipt(item["digest"]), status)
