# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of the extraction in the background."""

from typing import List

from pydantic import BaseModel


class ExtractionResult(BaseModel):
    conversation_id: str
    child_id: str
    entities: List[str]
    model_used: str
