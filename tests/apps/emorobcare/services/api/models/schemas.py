# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes take and give."""

from datetime import datetime
from enum import Enum
from typing import Any, Dict, List, Literal, Optional

from pydantic import BaseModel, Field


class EmotionType(str, Enum):
    POSITIVE = "positive"
    CALM = "calm"
    NEUTRAL = "neutral"


class Topic(str, Enum):
    SCHOOL = "school"
    HOBBIES = "hobbies"
    FOOD = "food"


class ConversationStart(BaseModel):
    child: str
    topic: Topic
    level: int = Field(ge=1, le=5)


class ConversationResponse(BaseModel):
    conversation_id: str
    starting_sentence: str
    end: bool = False
    emotion: Optional[EmotionType] = None


class ConversationNext(BaseModel):
    conversation_id: str
    user_sentence: str
    end: bool = False
    asr_confidence: Optional[float] = None


class ConversationReply(BaseModel):
    reply: str
    end: bool = False
    emotion: EmotionType
    suggestions: Optional[List[str]] = None


class Message(BaseModel):
    conversation_id: str
    role: Literal["user", "assistant"]
    text: str
    emotion: Optional[EmotionType] = None
    timestamp: datetime = Field(default_factory=datetime.now)
    metadata: Optional[Dict[str, Any]] = None


class KGInsert(BaseModel):
    sparql_update: str


class KGResponse(BaseModel):
    results: List[Dict[str, Any]]
    success: bool
    total_count: Optional[int] = None
