# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a sentence may be said to a child."""

from ..models.schemas import EmotionType


class SafetyService:
    def check(self, text, emotion=EmotionType.NEUTRAL):
        return bool(text)
