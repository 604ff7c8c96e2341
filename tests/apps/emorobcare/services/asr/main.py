# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the speech service: relative imports, so it runs as a package only; /health is 200 whatever it says."""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import Optional

from fastapi import FastAPI, File, HTTPException, Query, UploadFile

from .services.transcription_service import TranscriptionService
from .models.schemas import ASRTranscribe, ASRTier
from .core.config import settings

logger = logging.getLogger(__name__)
transcription_service = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    global transcription_service
    transcription_service = TranscriptionService()
    await asyncio.sleep(1)
    yield


app = FastAPI(title="EmoRobCare ASR (stand-in)", version="0.1.0", lifespan=lifespan)


@app.get("/health")
async def health_check():
    try:
        return dict(await transcription_service.health_check(), version="0.1.0")
    except Exception as error:
        return {"status": "unhealthy", "timestamp": time.time(), "error": str(error)}


@app.post("/transcribe", response_model=ASRTranscribe)
async def transcribe(audio: UploadFile = File(...), tier: ASRTier = Query(ASRTier.BALANCED), language: Optional[str] = Query(None)):
    if not audio.content_type.startswith("audio/"):
        raise HTTPException(status_code=400, detail="File must be an audio file")
    try:
        result = await transcription_service.transcribe(await audio.read(), tier.value, language or settings.default_language)
        # What the service says without a model, "fallback", is no tier.
        return ASRTranscribe(text=result["text"], language=result["language"], confidence=result["confidence"], tier=ASRTier(result.get("tier", tier)))
    except Exception as error:
        raise HTTPException(status_code=500, detail="Failed to transcribe audio") from error


@app.get("/models")
async def models():
    return {"models": settings.models, "default_language": settings.default_language}
