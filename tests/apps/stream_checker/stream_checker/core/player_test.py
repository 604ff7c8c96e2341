# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase 2: VLC plays it. Without VLC this is an error, not a phase that is left out."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("stream_checker")
OPTIONS = ["--intf", "dummy", "--quiet", "--no-video", "--aout", "dummy", "--network-caching=3000"]


def play(url, seconds, connection_timeout):
    """The answer of phase 2."""
    result = {"status": "unknown", "connection_time_ms": None, "playback_duration_seconds": 0, "errors": [], "buffering_events": 0,
              "format_supported": False, "error_details": None, "method": "python_vlc"}
    try:
        import vlc
        instance = vlc.Instance(OPTIONS)
        player = instance.media_player_new(url)
    except (ImportError, NameError, AttributeError, OSError) as error:
        logger.error("Player test error: %s", error)
        return {**result, "status": "error", "errors": [f"Unexpected error: {error}"], "error_details": str(error)}
    try:
        started = time.time()
        player.play()
        while player.get_state() in (vlc.State.NothingSpecial, vlc.State.Opening, vlc.State.Buffering):
            if time.time() - started > connection_timeout:
                return {**result, "status": "timeout", "errors": [f"Connection timeout after {connection_timeout} seconds"]}
            time.sleep(0.1)
        if player.get_state() != vlc.State.Playing:
            return {**result, "status": "error", "errors": ["VLC reported playback error"]}
        result.update(status="success", format_supported=True, connection_time_ms=int((time.time() - started) * 1000))
        playing = time.time()
        while time.time() - playing < seconds:
            if player.get_state() != vlc.State.Playing:
                result.update(status="error", errors=["Stream ended unexpectedly"])
                break
            time.sleep(0.5)
        result["playback_duration_seconds"] = round(time.time() - playing, 2)
        return result
    finally:
        player.stop()
        player.release()
        instance.release()
