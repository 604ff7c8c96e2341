# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase 1: does the server answer, and what does it say of its stream?"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import tempfile
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

import mutagen
import requests

logger = logging.getLogger("stream_checker")
CODECS = (("mp3", "MP3", "MP3"), ("mpeg", "MP3", "MP3"), ("aac", "AAC", "AAC"), ("ogg", "Vorbis", "OGG"), ("vorbis", "Vorbis", "OGG"))
SAMPLE_BYTES = 16384


class ConnectivityChecker:
    """All questions of phase 1 to one URL."""

    def __init__(self, url, connection_timeout=30, read_timeout=60, verify=True):
        self.url, self.connection_timeout, self.timeout, self.verify = url, connection_timeout, (connection_timeout, read_timeout), verify

    def check(self):
        """The keys that phase 1 adds to a result."""
        result = {"stream_url": self.url, "timestamp": datetime.now(timezone.utc).isoformat(), "phase": 1, "connectivity": self.connectivity(),
                  "ssl_certificate": {}, "stream_parameters": {}, "stream_type": {}, "metadata": {}, "server_headers": {}, "hls_info": None}
        # Nobody answered: there is nothing more to ask. A server that answered with an error is asked on.
        if result["connectivity"]["status"] not in ("success", "error"):
            return result
        if self.url.startswith("https://"):
            result["ssl_certificate"] = self.certificate()
        headers, sample = self._sample()
        result["stream_parameters"] = parameters(headers, sample)
        result["metadata"] = self._metadata(headers, sample)
        result["server_headers"] = self._headers()
        result["stream_type"] = stream_type(self.url, headers, result["connectivity"])
        if ".m3u8" in self.url.lower():
            result["hls_info"] = self._playlist()
        return result

    def connectivity(self):
        """The verdict: status is success, error (an HTTP status from 400), timeout or connection_error (TLS failures too)."""
        started = time.time()

        def answer(status, **more):
            return {"status": status, **more, "response_time_ms": int((time.time() - started) * 1000)}

        asked = {"allow_redirects": True, "verify": self.verify, "stream": True, "headers": {"User-Agent": "StreamChecker/1.0", "Icy-MetaData": "1"}}
        try:
            with requests.head(self.url, timeout=self.timeout, **asked) as response:
                found = response
            if found.status_code in (400, 405):
                # Many stream servers don't know HEAD.
                try:
                    with requests.get(self.url, timeout=(self.timeout[0], min(self.timeout[1], 10)), **asked) as response:
                        found = response
                except requests.RequestException as error:
                    return answer("error", error=f"Both HEAD and GET failed. GET error: {error}", http_status=None)
        except requests.exceptions.Timeout:
            return answer("timeout", error="Connection timeout")
        except requests.exceptions.ConnectionError as error:
            return answer("connection_error", error=str(error))
        except requests.RequestException as error:
            return answer("error", error=str(error))
        if not found:
            # A response with a status from 400 is false; the application takes it for none.
            return answer("error", error="No response received")
        return answer("success", http_status=found.status_code, content_type=found.headers.get("Content-Type", "unknown"),
                      final_url=found.url if found.url != self.url else None)

    def certificate(self):
        """The server's certificate as the system's authorities see it."""
        parts = urlsplit(self.url)
        try:
            with socket.create_connection((parts.hostname, parts.port or 443), timeout=self.connection_timeout) as raw:
                with ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname) as channel:
                    shown = channel.getpeercert()
        except (OSError, ValueError) as error:
            return {"valid": False, "error": str(error)}
        end = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), timezone.utc)
        names = {key: ",".join("=".join(pair) for group in shown.get(key, ()) for pair in group) for key in ("issuer", "subject")}
        return {"valid": True, "expires": end.isoformat(), "days_until_expiration": (end - datetime.now(timezone.utc)).days,
                "issued": datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notBefore"]), timezone.utc).isoformat(),
                "self_signed": names["issuer"] == names["subject"], **names}

    def _sample(self):
        """Headers and the first bytes."""
        try:
            with requests.get(self.url, timeout=(min(self.timeout[0], 10), min(self.timeout[1], 10)), stream=True, verify=self.verify,
                              headers={"Range": f"bytes=0-{SAMPLE_BYTES}", "Icy-MetaData": "1"}) as response:
                body = b""
                if response.status_code in (200, 206, 416):
                    for chunk in response.iter_content(8192):
                        body += chunk
                        if len(body) >= SAMPLE_BYTES:
                            break
                return response.headers, body
        except requests.RequestException as error:
            logger.debug("no sample: %s", error)
            return {}, b""

    def _metadata(self, headers, sample):
        found = {"title": headers.get("icy-name"), "genre": headers.get("icy-genre"), "artist": None,
                 "description": headers.get("icy-description"), "url": self.url}
        tags = getattr(parsed(sample), "tags", None) or {}
        for key, tag in (("title", "TIT2"), ("artist", "TPE1"), ("genre", "TCON")):
            if tag in tags:
                found[key] = str(tags[tag][0])
        return found

    def _headers(self):
        try:
            headers = requests.head(self.url, timeout=self.timeout, allow_redirects=True, verify=self.verify).headers
        except requests.RequestException as error:
            return {"server": None, "cors_enabled": False, "cache_control": None, "content_length": None, "content_type": None, "error": str(error)}
        return {"server": headers.get("Server"), "cors_enabled": "Access-Control-Allow-Origin" in headers, "cache_control": headers.get("Cache-Control"),
                "content_length": headers.get("Content-Length"), "content_type": headers.get("Content-Type")}

    def _playlist(self):
        info = {"is_hls": True, "playlist_accessible": False, "segments_accessible": False, "variant_streams": []}
        try:
            response = requests.get(self.url, timeout=self.timeout, verify=self.verify)
        except requests.RequestException as error:
            return {**info, "error": str(error)}
        if response.status_code == 200:
            lines = [line.strip() for line in response.text.splitlines() if line.strip()]
            plain = [line for line in lines if not line.startswith("#")]
            info["playlist_accessible"] = True
            info["is_master_playlist"] = any(line.startswith("#EXT-X-STREAM-INF") for line in lines)
            if info["is_master_playlist"]:
                info["variant_streams"] = plain
            else:
                info.update(segment_count=len(plain), segments_accessible=bool(plain))
        return info


def parsed(sample):
    """What mutagen makes of the first bytes, or None."""
    if not sample:
        return None
    with tempfile.NamedTemporaryFile(delete=False) as stream:
        stream.write(sample)
    try:
        return mutagen.File(stream.name)
    except mutagen.MutagenError:
        return None
    finally:
        os.unlink(stream.name)


def parameters(headers, sample):
    """Codec and rates, from what the server says and from the bytes."""
    found = dict.fromkeys(("bitrate_kbps", "codec", "sample_rate_hz", "channels", "container", "container_format", "bitrate_mode"))
    kind = headers.get("Content-Type", "").lower()
    for word, codec, container in CODECS:
        if word in kind:
            found.update(codec=codec, container=container)
            break
    for key, header in (("bitrate_kbps", "icy-br"), ("sample_rate_hz", "icy-sr")):
        if str(headers.get(header, "")).isdigit():
            found[key] = int(headers[header])
    audio = parsed(sample)
    if audio is not None:
        if type(audio).__name__ == "MP3":
            found.update(codec="MP3", container="MP3", channels={1: "mono", 2: "stereo"}.get(audio.info.channels, f"{audio.info.channels} channels"))
        else:
            found["codec"] = type(audio).__name__
        found.update(bitrate_kbps=audio.info.bitrate // 1000, sample_rate_hz=audio.info.sample_rate)
    return found


def stream_type(url, headers, connectivity):
    """What kind of server it is."""
    server = headers.get("Server", "").lower()
    icy = any(key.lower().startswith("icy-") for key in headers)
    found = {"type": "Unknown/Other", "detected_via": [], "server_version": None, "confidence": "low"}
    if ".m3u8" in url.lower():
        found.update(type="HLS", detected_via=["url_pattern"], confidence="high")
    elif "icecast" in server or "shoutcast" in server:
        found.update(type="Icecast" if "icecast" in server else "Shoutcast", detected_via=["server_header"] + ["icy_headers"] * icy, confidence="high")
    elif icy:
        found.update(type="ICY Stream", detected_via=["icy_headers"], confidence="medium")
    elif any(word in connectivity.get("content_type", "").lower() for word in ("audio", "mpeg", "aac")):
        found.update(type="Direct HTTP/HTTPS", detected_via=["content_type"], confidence="medium")
    return found
