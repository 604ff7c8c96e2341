# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the API: same imports, routes and behaviour where a stack meets them. /health is a fixed text."""

from contextlib import asynccontextmanager
from datetime import datetime

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from routers import conversation, knowledge_graph, asr, background_tasks
from services.llm_service import LLMService
from services.memory_service import MemoryService
from services.emotion_service import EmotionService
from core.database import init_db


@asynccontextmanager
async def lifespan(app: FastAPI):
    # Waits for MongoDB as long as the driver does, 30 s, and ends with its error.
    await init_db()
    app.state.llm_service = LLMService()
    app.state.memory_service = MemoryService()
    app.state.emotion_service = EmotionService()
    yield


app = FastAPI(title="EmoRobCare API (stand-in)", version="0.1.0", lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"])
app.include_router(conversation.router, prefix="/conv", tags=["conversation"])
app.include_router(knowledge_graph.router, prefix="/kg", tags=["knowledge-graph"])
app.include_router(asr.router, prefix="/asr", tags=["asr"])
app.include_router(background_tasks.router, prefix="/tasks", tags=["background-tasks"])


@app.get("/health")
async def health_check():
    return {"status": "healthy", "timestamp": datetime.now().isoformat(), "version": "0.1.0",
            "services": {"llm": "ready", "memory": "ready", "emotion": "ready"}}


@app.get("/")
async def root():
    return {"message": "EmoRobCare API (stand-in)", "endpoints": {"conversation": "/conv", "knowledge_graph": "/kg", "health": "/health"}}
