# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sentence_transformers where the image has it (EMOROBCARE_VARIANT=full). The application makes several of these models at its start: here
they are one. Without the package its own handling of a missing model applies: no semantic memory, all else as ever."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=None)
def SentenceTransformer(name, **options):  # pylint: disable=invalid-name  # stands for a class
    """The model. Raises RuntimeError when the image is without the package."""
    try:
        import sentence_transformers
    except ImportError:
        raise RuntimeError("this image is without sentence-transformers; EMOROBCARE_VARIANT=full adds it") from None
    return sentence_transformers.SentenceTransformer(name, **options)
