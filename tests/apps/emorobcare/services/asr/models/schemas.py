# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes take and give."""

from enum import Enum

from pydantic import BaseModel


class ASRTier(str, Enum):
    FAST = "fast"
    BALANCED = "balanced"
    ACCURATE = "accurate"


class ASRTranscribe(BaseModel):
    text: str
    language: str
    confidence: float
    tier: ASRTier
