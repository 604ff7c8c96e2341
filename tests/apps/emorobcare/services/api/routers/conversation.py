# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations, kept in MongoDB."""

import logging
import uuid
from datetime import datetime

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException

from ..models.schemas import ConversationNext, ConversationReply, ConversationResponse, ConversationStart, EmotionType, Message
from ..services.llm_service import LLMService
from ..services.memory_service import MemoryService
from ..services.emotion_service import EmotionService
from ..services.safety_service import SafetyService
from ..services.extraction_service import ExtractionService
from ..core.database import get_db
from ..core.config import settings

logger = logging.getLogger(__name__)
router = APIRouter()
memory_service, safety_service, llm_service = MemoryService(), SafetyService(), LLMService()
emotion_service, extraction_service = EmotionService(), ExtractionService()


@router.post("/start", response_model=ConversationResponse)
async def start_conversation(request: ConversationStart, background_tasks: BackgroundTasks, db=Depends(get_db)):
    conversation_id = str(uuid.uuid4())
    profile = await db.profiles.find_one({"child_id": request.child})
    if not profile:
        await db.profiles.insert_one({"child_id": request.child, "name": request.child, "preferred_topics": [request.topic],
                                      "language": settings.default_language})
    await db.conversations.insert_one({"conversation_id": conversation_id, "child_id": request.child, "topic": request.topic.value,
                                       "level": request.level, "created_at": datetime.now(), "status": "active", "message_count": 1})
    message = Message(conversation_id=conversation_id, role="assistant", text="__Hola__ ¿hablamos?", emotion=EmotionType.NEUTRAL)
    await db.messages.insert_one(message.dict())
    background_tasks.add_task(memory_service.store_single_message, conversation_id, request.child, message.dict())
    if settings.enable_background_extraction:
        background_tasks.add_task(extraction_service.extract, conversation_id, request.child)
    return ConversationResponse(conversation_id=conversation_id, starting_sentence=message.text, emotion=EmotionType.NEUTRAL)


@router.post("/next", response_model=ConversationReply)
async def continue_conversation(request: ConversationNext, db=Depends(get_db)):
    conversation = await db.conversations.find_one({"conversation_id": request.conversation_id})
    if not conversation:
        raise HTTPException(status_code=404, detail="Conversation not found")
    await db.messages.insert_one(Message(conversation_id=request.conversation_id, role="user", text=request.user_sentence,
                                         metadata={"asr_confidence": request.asr_confidence}).dict())
    reply = await llm_service.generate_response(request.user_sentence)
    safety_service.check(reply)
    emotion = emotion_service.detect_emotion(reply)
    await db.messages.insert_one(Message(conversation_id=request.conversation_id, role="assistant", text=reply, emotion=emotion).dict())
    await db.conversations.update_one({"conversation_id": request.conversation_id},
                                      {"$set": {"updated_at": datetime.now()}, "$inc": {"message_count": 1}})
    return ConversationReply(reply=reply, end=request.end, emotion=emotion)


async def history(conversation_id, db):
    return await db.messages.find({"conversation_id": conversation_id}).sort("timestamp", 1).to_list(None)


@router.get("/{conversation_id}")
async def get_conversation(conversation_id: str, db=Depends(get_db)):
    """Documents as MongoDB has them, with identities that are no JSON."""
    conversation = await db.conversations.find_one({"conversation_id": conversation_id})
    if not conversation:
        raise HTTPException(status_code=500, detail="Failed to get conversation")
    return {"conversation": conversation, "messages": await history(conversation_id, db)}


@router.get("/child/{child_id}")
async def get_child_conversations(child_id: str, limit: int = 10, db=Depends(get_db)):
    return {"conversations": await db.conversations.find({"child_id": child_id}).sort("created_at", -1).limit(limit).to_list(None)}
