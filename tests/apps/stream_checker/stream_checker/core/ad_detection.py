# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase 4: half a minute of looking for advertisements in the stream's own words, and the score of all phases."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone

import requests

logger = logging.getLogger("stream_checker")
# The application looks for the name of the station under a key that it has cut before: only the genre counts.
MARKERS = ("commercial", "advertisement", "ad", "spot")
SHORTEST = 5


def watch(url, seconds=30, every=2.0):
    """The answer of phase 4."""
    breaks, begin = [], None
    started = time.time()

    def end():
        now = time.time()
        if now - begin >= SHORTEST:
            breaks.append({"start_time": datetime.fromtimestamp(begin, timezone.utc).isoformat(), "duration_seconds": round(now - begin, 2),
                           "end_time": datetime.fromtimestamp(now, timezone.utc).isoformat(), "detection_method": "metadata_marker"})

    while time.time() - started < seconds:
        words = _words(url)
        if words is not None:
            if any(marker in words for marker in MARKERS):
                begin = begin or time.time()
            elif begin is not None:
                end()
                begin = None
        time.sleep(every)
    if begin is not None:
        end()
    return {"ads_detected": bool(breaks), "ad_breaks": breaks, "total_ad_time_seconds": sum(item["duration_seconds"] for item in breaks),
            "ad_frequency_per_hour": round(len(breaks) * 3600 / seconds, 1), "monitoring_duration_seconds": seconds}


def _words(url):
    try:
        with requests.get(url, timeout=5, stream=True, headers={"Icy-MetaData": "1"}) as response:
            found = [value for key, value in response.headers.items() if key.lower() == "icy-genre"]
    except requests.RequestException as error:
        logger.debug("no metadata: %s", error)
        return None
    return " ".join(found).lower() if found else None


def score(result):
    """health_score (0 to 100), issues and recommendations of a whole result."""
    points, issues, advice = 100, [], []

    def lose(number, issue, recommendation=None):
        nonlocal points
        points -= number
        issues.append(issue)
        if recommendation:
            advice.append(recommendation)

    connectivity = result["connectivity"]
    if connectivity["status"] != "success":
        lose(20, "Stream connectivity failed")
    elif connectivity["http_status"] != 200:
        lose(10, f"HTTP status: {connectivity['http_status']}")
    certificate = result["ssl_certificate"]
    if certificate and not certificate["valid"]:
        lose(10, "SSL certificate invalid or expired")
    elif certificate and certificate["days_until_expiration"] < 30:
        lose(5, f"SSL certificate expiring in {certificate['days_until_expiration']} days", "Renew SSL certificate soon")
    if result["player_tests"]["vlc"]["status"] != "success":
        lose(20, "VLC player test failed")
    audio = result["audio_analysis"]
    silence = audio["silence_detection"]["silence_percentage"]
    if audio["silence_detection"]["silence_detected"] and silence > 20:
        lose(10 if silence > 50 else 5, f"{'Excessive' if silence > 50 else 'Significant'} silence: {silence}%")
    if audio["error_detection"]["error_detected"]:
        lose(10, "Error message detected in audio")
    if audio["audio_quality"]["clipping_detected"]:
        lose(5, "Audio clipping detected", "Reduce input gain to prevent clipping")
    volume = audio["audio_quality"]["average_volume_db"]
    if volume is not None and volume < -30:
        lose(5, f"Very low audio volume: {volume} dB", "Increase stream volume levels")
    if not result["connection_quality"]["stable"]:
        lose(10, "Unstable connection")
    if points < 80 and not advice:
        advice.append("Review stream configuration and server settings")
    return {"health_score": max(0, points), "issues": issues, "recommendations": advice}
