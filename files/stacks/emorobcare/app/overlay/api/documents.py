# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""motor's client, with the identities that MongoDB gives its documents going out as text. The application returns documents as they are, and
an identity is nothing that JSON knows: every answer with one ended with status 500."""

from __future__ import annotations

from bson import ObjectId
from fastapi.encoders import ENCODERS_BY_TYPE
from motor.motor_asyncio import AsyncIOMotorClient  # pylint: disable=unused-import  # the application takes it from here

ENCODERS_BY_TYPE[ObjectId] = str
