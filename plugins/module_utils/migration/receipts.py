# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration's receipt says after a phase, and what may not follow on it. Pure."""

from __future__ import annotations

import hashlib
import json

PHASES = ("survey", "copy", "freeze", "final", "prove", "switch", "back", "finish", "abort")
# Once the data has begun to come, nobody but the migration may start the application.
_HOLDING = frozenset(["copy", "freeze", "final", "prove"])
_RELEASING = frozenset(["back", "finish", "abort"])
KEPT = 200


def noted(receipt, stack, migration, phase, outcome, facts, now, by):
    """The receipt with one more entry.

    :arg receipt: dict as it was, {} for none. :arg facts: dict of figures. :arg now: seconds since 1970.
    :returns: dict ``{schema, stack, migration, held, standing, began_epoch_s, phases}``
    """
    phases = list(receipt.get("phases") or [])
    began = receipt.get("began_epoch_s") if receipt.get("migration") == migration and receipt.get("standing") not in _RELEASING else None
    entry = {"phase": phase, "migration": migration, "outcome": outcome, "time_epoch_s": round(now, 1), "by": by, "facts": facts}
    if outcome != "begun":
        for earlier in reversed(phases):
            if earlier["phase"] == phase:
                if earlier["outcome"] == "begun":
                    entry["seconds"] = round(now - earlier["time_epoch_s"], 1)
                break
    phases.append(entry)
    held = bool(receipt.get("held"))
    if phase in _HOLDING:
        held = True
    elif phase in _RELEASING and outcome == "ended" or phase == "switch" and outcome == "ended":
        held = False
    identity = receipt.get("id", "")
    if phase == "prove" and outcome == "ended":
        # By it a person says which proof they have seen.
        identity = hashlib.sha256(json.dumps([stack, migration, entry], sort_keys=True, default=str).encode("utf-8")).hexdigest()[:12]
    return {"schema": 1, "stack": stack, "migration": migration, "held": held, "id": identity,
            "standing": phase if outcome == "ended" else receipt.get("standing", ""), "began_epoch_s": began or now, "phases": phases[-KEPT:]}


def served(receipt):
    """Whether containers have served the data since it was copied: what they wrote is nowhere else."""
    for entry in reversed(receipt.get("phases") or []):
        if entry["outcome"] == "ended" and entry["phase"] in ("switch", "final"):
            return entry["phase"] == "switch"
    return False


def last_proof(receipt):
    """The figures of the last proof that ended well, {} when there is none."""
    for entry in reversed(receipt.get("phases") or []):
        if entry["phase"] == "prove" and entry["outcome"] == "ended":
            return entry["facts"]
    return {}


def problems(receipt, stack, migration, phase, needs, seen=""):
    """What stands against a phase, by the receipt. :kwarg seen: identity of the receipt that a person has seen, for ``finish``. :returns: list of str"""
    found = []
    if phase == "finish" and (not seen or seen != receipt.get("id")):
        found.append("%s, receipt: found %s; needed the identity of the receipt whose proof you have seen (%s), for the way back ends with it; "
                     "look at it, then give -e receipt=%s" % (stack, seen or "none", receipt.get("id"), receipt.get("id")))
    if phase == "abort" and receipt.get("standing") in ("switch", "finish"):
        found.append("%s, phase abort: found that the containers serve since the switch; needed a migration that has not come to it, for what was written "
                     "since would be lost unseen; nothing was changed; go back with -e phase=back" % stack)
    if phase == "back" and receipt.get("standing") == "finish":
        found.append("%s, phase back: found that the migration was finished; needed one that was not, for the native data may be another by now; "
                     "nothing was changed; start the native units by hand" % stack)
    if phase and receipt.get("held") and receipt.get("migration") != migration:
        found.append("%s: found the migration %s, which has not ended (%s); needed its end before %s begins; go on with it, or give it up with -e phase=abort"
                     % (stack, receipt["migration"], receipt.get("standing") or "nothing done", migration))
    # What was done before a way back, or for another layout, counts for nothing.
    counting = []
    for entry in receipt.get("phases") or []:
        counting = [] if entry["phase"] in ("back", "abort") and entry["outcome"] == "ended" else counting + [entry]
    for name in needs:
        outcomes = [entry["outcome"] for entry in counting if entry["phase"] == name and entry.get("migration", migration) == migration]
        if not outcomes or outcomes[-1] != "ended":
            found.append("%s, phase %s: found that %s %s; needed it to have ended well; nothing was changed; run that phase first"
                         % (stack, phase or "(read)", name, "has not been run" if not outcomes else "is %s" % outcomes[-1]))
    return found
