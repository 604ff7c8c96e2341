# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The semantic memory: sentences as vectors in Qdrant. Without its model nothing is remembered, and everything goes on."""

import logging

import numpy as np
from sentence_transformers import SentenceTransformer
from qdrant_client.models import PointStruct

from ..core.config import settings
from ..core.database import get_qdrant

logger = logging.getLogger(__name__)


class MemoryService:
    def __init__(self):
        self.embedding_model = None
        try:
            self.embedding_model = SentenceTransformer(settings.embedding_model_name)
        except Exception as error:
            logger.error("Failed to initialize embedding model: %s", error)

    async def store_single_message(self, conversation_id, child_id, message):
        if not self.embedding_model:
            return False
        vector = np.asarray(self.embedding_model.encode(message["text"])).tolist()
        get_qdrant().upsert(collection_name=settings.qdrant_collection_name,
                            points=[PointStruct(id=f"{conversation_id}_{message['role']}_0", vector=vector, payload={"child_id": child_id})])
        return True
