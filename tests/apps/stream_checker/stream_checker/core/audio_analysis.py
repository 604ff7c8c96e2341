# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase 3: ffmpeg takes some seconds of sound; silence, volume, clipping and monotony are judged."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile

import numpy

logger = logging.getLogger("stream_checker")
RATE = 44100
FULL = 2.0 ** 15
# First as it is, then made stereo, then made MP3.
WAYS = (("-c", "copy"), ("-c:a", "copy", "-ar", str(RATE), "-ac", "2"), ("-acodec", "libmp3lame", "-ar", str(RATE), "-ac", "2"))


def analyze(url, seconds, threshold):
    """The answer of phase 3."""
    result = {"sample_duration_seconds": seconds,
              "silence_detection": {"silence_detected": False, "silence_percentage": 0.0, "silence_periods": [], "threshold_db": threshold},
              "error_detection": {"error_detected": False, "error_messages": [], "repetitive_pattern_detected": False},
              "audio_quality": {"average_volume_db": None, "peak_volume_db": None, "dynamic_range_db": None, "clipping_detected": False}}
    ffmpeg = shutil.which("ffmpeg")
    handle, path = tempfile.mkstemp(suffix=".mp3")
    os.close(handle)
    try:
        if not ffmpeg or not _record(ffmpeg, url, seconds, path):
            logger.error("All download strategies failed for %s", url)
            return {**result, "error": "Failed to download audio sample"}
        samples = _decode(ffmpeg, path)
    finally:
        os.unlink(path)
    if not len(samples):
        return {**result, "error": "Failed to load audio data"}
    result["silence_detection"].update(_silence(samples, threshold))
    result["audio_quality"] = _quality(samples)
    if _monotonous(samples):
        result["error_detection"] = {"error_detected": True, "repetitive_pattern_detected": True,
                                     "error_messages": ["Repetitive audio pattern detected (possible error message)"]}
    return result


def _record(ffmpeg, url, seconds, path):
    for way in WAYS:
        try:
            done = subprocess.run([ffmpeg, "-i", url, "-t", str(seconds), *way, "-y", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  timeout=seconds * 2 + 30, check=False)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0 and os.path.getsize(path):
            return True
    return False


def _decode(ffmpeg, path):
    """The sound as one channel of numbers from -1 to 1."""
    done = subprocess.run([ffmpeg, "-i", path, "-f", "s16le", "-acodec", "pcm_s16le", "-ar", str(RATE), "-ac", "2", "-"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    pairs = numpy.frombuffer(done.stdout[:len(done.stdout) // 4 * 4], dtype="<i2").reshape(-1, 2)
    return pairs.mean(axis=1) / FULL


def _decibel(value):
    return float(20 * numpy.log10(value)) if value > 0 else float("-inf")


def _silence(samples, threshold):
    """The share of silent tenths of a second. The application never joins more than two of them, so that no silence is long enough to be detected."""
    step = RATE // 10
    quiet = [_decibel(numpy.sqrt(numpy.mean(samples[at:at + step] ** 2))) < threshold for at in range(0, len(samples) - step + 1, step)]
    return {"silence_detected": False, "silence_percentage": round(100 * sum(quiet) * step / len(samples), 2), "silence_periods": []}


def _quality(samples):
    average, peak = _decibel(numpy.sqrt(numpy.mean(samples ** 2))), _decibel(numpy.abs(samples).max())
    clipped = float(100 * numpy.mean(numpy.abs(samples) >= 0.99))
    audible = average > float("-inf")
    return {"average_volume_db": round(average, 2) if audible else None, "peak_volume_db": round(peak, 2) if audible else None,
            "dynamic_range_db": round(peak - average, 2) if audible else None, "clipping_detected": clipped > 1.0, "clipping_percentage": round(clipped, 2)}


def _monotonous(samples):
    """Each second is about as loud as the others, and not loud: a recorded announcement, or a test tone."""
    variances = [samples[at:at + RATE].var() for at in range(0, len(samples) - RATE + 1, RATE)]
    return len(variances) > 1 and bool(numpy.mean(variances) < 0.01 and numpy.std(variances) < 0.005)
