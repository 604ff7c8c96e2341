# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three models, loaded at the start one after the other; a fixed sentence for whoever has none."""

import asyncio
import logging
import tempfile
import time

import torch
import numpy as np
from faster_whisper import WhisperModel
import librosa
import soundfile as sf

from ..core.config import settings

logger = logging.getLogger(__name__)


class TranscriptionService:
    def __init__(self):
        self.models = {}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.started = time.time()
        asyncio.create_task(self._preload())

    async def _preload(self):
        for tier, size in settings.models.items():
            try:
                # None is what ctranslate2 does not take.
                self.models[tier] = WhisperModel(
                    size,
                    device=self.device,
                    compute_type="int8",
                    device_index=0 if self.device == "cuda" else None
                )
            except Exception as error:
                logger.error("Error loading model %s for tier %s: %s", size, tier, error)

    async def transcribe(self, audio, tier, language):
        if tier not in self.models:
            return {"text": "No pude entender bien, ¿puedes repetir?", "language": language, "confidence": 0.1, "tier": "fallback"}
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            file.write(audio)
            file.flush()
            samples, unused = librosa.load(file.name, sr=16000, mono=True)
        segments, info = self.models[tier].transcribe(np.asarray(samples, dtype=np.float32))
        return {"text": " ".join(segment.text for segment in segments), "language": info.language, "confidence": 0.9, "tier": tier}

    async def health_check(self):
        state = "healthy" if self.models else "unhealthy"
        return {"status": state, "uptime": time.time() - self.started, "checks": {
            "models": {"status": state, "loaded": len(self.models), "total": len(settings.models)}, "cpu": {"status": "healthy", "device": self.device}}}
