# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The speech libraries as far as the application uses them: torch (only to ask for CUDA), librosa.load (here by faster-whisper's own
decoder, which reads a browser's recordings too), faster_whisper. Without faster_whisper in the image (EMOROBCARE_VARIANT=minimal) every
model is missing, and the application answers with its own sentences for that."""

from __future__ import annotations

import types

try:
    import torch  # pylint: disable=unused-import  # the application takes it from here
except ImportError:
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False))

soundfile = types.SimpleNamespace()


def WhisperModel(*arguments, **options):  # pylint: disable=invalid-name  # stands for a class
    """The model. Raises RuntimeError when the image is without the package."""
    try:
        import faster_whisper
    except ImportError:
        raise RuntimeError("this image is without faster-whisper; EMOROBCARE_VARIANT=full adds it") from None
    return faster_whisper.WhisperModel(*arguments, **options)


def _load(path, sr=16000, mono=True):
    """(samples, rate): one channel, 32 bit floats, as librosa.load gives them for mono=True."""
    if not mono:
        raise ValueError("mono only")
    from faster_whisper.audio import decode_audio
    return decode_audio(path, sampling_rate=sr), sr


librosa = types.SimpleNamespace(load=_load)
