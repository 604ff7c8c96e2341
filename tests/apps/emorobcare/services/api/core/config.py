# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, of the same names."""

from typing import Optional

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    mongodb_uri: str = "mongodb://localhost:27017"
    mongodb_db_name: str = "emorobcare"
    qdrant_url: str = "http://localhost:6333"
    qdrant_collection_name: str = "conversations"
    fuseki_url: str = "http://localhost:3030"
    fuseki_dataset: str = "emorobcare"
    offline_mode: bool = True
    llm_model: str = "Qwen/Qwen2-7B-Instruct"
    anthropic_api_key: Optional[str] = None
    openai_api_key: Optional[str] = None
    default_language: str = "es"
    enable_background_extraction: bool = True
    embedding_model_name: str = "paraphrase-multilingual-MiniLM-L12-v2"
    embedding_dimension: int = 384
    enable_semantic_search: bool = True
    semantic_search_limit: int = 5
    context_retrieval_limit: int = 3

    class Config:
        env_file = ".env"
        case_sensitive = False


settings = Settings()
