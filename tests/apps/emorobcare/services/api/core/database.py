# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MongoDB and Qdrant, both needed at the start."""

import logging

from motor.motor_asyncio import AsyncIOMotorClient
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams

from .config import settings

logger = logging.getLogger(__name__)
database = None
qdrant_client = None


async def init_db():
    global database, qdrant_client
    try:
        database = AsyncIOMotorClient(settings.mongodb_uri)[settings.mongodb_db_name]
        await database.children.create_index("child_id", unique=True)
        await database.conversations.create_index("conversation_id", unique=True)
        await database.messages.create_index([("conversation_id", 1), ("timestamp", 1)])
        await database.profiles.create_index("child_id", unique=True)
        qdrant_client = QdrantClient(settings.qdrant_url)
        if not qdrant_client.collection_exists(settings.qdrant_collection_name):
            qdrant_client.create_collection(collection_name=settings.qdrant_collection_name,
                                            vectors_config=VectorParams(size=384, distance=Distance.COSINE))
    except Exception as error:
        logger.error("Failed to initialize database connections: %s", error)
        raise


def get_db():
    return database


def get_qdrant():
    return qdrant_client
