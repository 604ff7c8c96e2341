# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extraction in the background. It asks for a setting that there is not, as its model's name."""

import logging

from ..models.extraction_models import ExtractionResult
from ..services.llm_service import LLMService
from ..routers.knowledge_graph import insert_knowledge
from ..core.config import settings

logger = logging.getLogger(__name__)


class ExtractionService:
    def __init__(self):
        self.llm_service = LLMService()
        self.insert = insert_knowledge

    async def extract(self, conversation_id, child_id):
        return ExtractionResult(conversation_id=conversation_id, child_id=child_id, entities=[], model_used=settings.llm_model_name)
