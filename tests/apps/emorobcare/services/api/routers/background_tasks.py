# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extraction on demand."""

from fastapi import APIRouter

from ..models.extraction_models import ExtractionResult
from ..services.extraction_service import ExtractionService

router = APIRouter()
extraction_service = ExtractionService()


@router.post("/extraction/start/{conversation_id}/{child_id}")
async def start(conversation_id: str, child_id: str) -> ExtractionResult:
    return await extraction_service.extract(conversation_id, child_id)
