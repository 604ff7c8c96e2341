# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Semantic search. The cache folder is not configurable, as in the real service; without sentence-transformers it stays off."""
import os

import numpy  # noqa: F401  the real service imports it at the top, so it is needed without ML too

CACHE = "/var/lib/inventory/cache/models"
_model = None


def initialize_embedding_model():
    global _model
    try:
        from sentence_transformers import SentenceTransformer
        os.environ["HF_HOME"] = CACHE
        os.makedirs(CACHE, exist_ok=True)
        _model = SentenceTransformer("all-MiniLM-L6-v2", cache_folder=CACHE)
    except Exception as error:
        print("[ERROR] Failed to load embedding model: %s" % error, flush=True)
    return _model


def is_embedding_model_available():
    return _model is not None
