# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emotion of a sentence, by its markup."""

from ..models.schemas import EmotionType


class EmotionService:
    def detect_emotion(self, text):
        return EmotionType.CALM if "__" in text else EmotionType.POSITIVE if "**" in text else EmotionType.NEUTRAL
