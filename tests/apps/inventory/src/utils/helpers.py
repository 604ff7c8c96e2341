# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identifiers."""
import uuid


def is_valid_guid(text):
    try:
        uuid.UUID(str(text))
        return True
    except ValueError:
        return False


def generate_guid():
    return str(uuid.uuid4())
