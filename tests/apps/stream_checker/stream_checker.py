# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the command of djpetersen/stream_checker: same options, output, exit codes and ways to fail, our own code."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import colorama

from stream_checker.core import ad_detection, audio_analysis, connectivity, player_test
from stream_checker.database.models import Database
from stream_checker.security import key_management, validation
from stream_checker.utils import logging as log
from stream_checker.utils.config import Config


def refuse(logger, message):
    """Exit code 1, nothing on standard output."""
    print(f"{colorama.Fore.RED}Error: {message}{colorama.Style.RESET_ALL}", file=sys.stderr)
    logger.error(message)
    sys.exit(1)


def options(argv):
    """The command line; argparse ends with 2."""
    parser = argparse.ArgumentParser(prog="stream_checker.py", description="Stream Checker - Audio stream monitoring and validation tool")
    parser.add_argument("--url", required=True, help="Stream URL to test")
    parser.add_argument("--phase", type=int, choices=[1, 2, 3, 4], help="Last phase to run (default: all)")
    parser.add_argument("--silence-threshold", type=float, help="dB (default: -40)")
    parser.add_argument("--sample-duration", type=int, help="seconds (default: 10)")
    parser.add_argument("--output-format", choices=["json", "text"], default="text")
    parser.add_argument("--test-run-id", help="UUID of a run to go on with")
    parser.add_argument("--config", help="Path to config file")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args(argv)


def as_text(result):
    """The report for people."""
    lines = ["=" * 60, "Stream Health Check Report", "=" * 60, f"Test Run ID: {result['test_run_id']}", f"Stream URL:  {result['stream_url']}",
             f"Status: {result['connectivity']['status']}"]
    if "health_score" in result:
        lines.append(f"Overall Health Score: {result['health_score']}/100")
    return "\n".join(lines)


def main(argv=None):
    asked = options(argv)
    config = Config(asked.config)
    logger = log.start("DEBUG" if asked.verbose else config.get("logging.level", "INFO"), config.path_of("logging.file"),
                       config.get("logging.max_file_size_mb", 10), config.get("logging.backup_count", 5))
    logger.info("Starting stream check for: %s", asked.url)
    try:
        validation.check_url(asked.url, config.get("security.allowed_schemes", ["http", "https"]), config.get("security.block_private_ips", False),
                             config.get("security.max_url_length", 2048))
    except validation.ValidationError as error:
        refuse(logger, error)
    if asked.silence_threshold is not None and not -100 <= asked.silence_threshold <= 0:
        refuse(logger, "Invalid silence threshold. Must be between -100 and 0 dB.")
    if asked.sample_duration is not None and not 1 <= asked.sample_duration <= 300:
        refuse(logger, "Invalid sample duration. Must be between 1 and 300 seconds.")
    if asked.test_run_id:
        try:
            uuid.UUID(asked.test_run_id)
        except ValueError:
            refuse(logger, "Invalid test_run_id format. Must be a valid UUID.")

    result = {"test_run_id": asked.test_run_id or key_management.new_run_id(), "stream_id": key_management.stream_id(asked.url),
              "stream_url": asked.url, "timestamp": None, "phase": 1}
    database = None
    try:
        database = Database(config.path_of("database.path"))
        database.add_stream(result["stream_id"], asked.url)
    except Exception as error:  # As in the application: any trouble with the database is a warning.
        logger.error("Database error: %s", error)
        database = None

    seconds = asked.sample_duration or config.get("stream_checker.default_sample_duration", 10)
    timeout = config.get("security.connection_timeout", 30)
    for phase in range(1, (asked.phase or 4) + 1):
        logger.info("Running Phase %d", phase)
        if phase == 1:
            result.update(connectivity.ConnectivityChecker(asked.url, timeout, config.get("security.read_timeout", 60),
                                                           config.get("security.verify_ssl", True)).check())
        elif phase == 2:
            played = player_test.play(asked.url, seconds, timeout)
            result.update(player_tests={"vlc": played}, connection_quality={"stable": played["status"] == "success", "packet_loss_detected": False})
        elif phase == 3:
            threshold = asked.silence_threshold or config.get("stream_checker.default_silence_threshold", -40)
            result["audio_analysis"] = audio_analysis.analyze(asked.url, seconds, threshold)
        else:
            result["ad_detection"] = ad_detection.watch(asked.url)
            result.update(ad_detection.score(result))
        result["phase"] = phase
        if database:
            try:
                database.save(result["test_run_id"], result["stream_id"], phase, result)
            except Exception as error:  # Likewise.
                logger.error("Failed to save phase %d: %s", phase, error)
        logger.info("Phase %d completed", phase)

    # Whatever was found, the exit code is 0.
    print(json.dumps(result, indent=2) if asked.output_format == "json" else as_text(result))
    logger.info("Stream check completed")


if __name__ == "__main__":
    main()
