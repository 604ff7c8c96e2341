# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment, read once at import."""
import os

APP_VERSION = "1.4.3"


def get_db_config():
    host = os.environ.get("EXTERNAL_POSTGRES_HOST")
    prefix = "EXTERNAL_POSTGRES_" if host else "POSTGRES_"
    return {
        "host": os.environ.get(prefix + "HOST", "localhost"),
        "port": int(os.environ.get(prefix + "PORT", "5432")),
        "database": os.environ.get(prefix + "DB", "docker_dev"),
        "user": os.environ.get(prefix + "USER", "docker"),
        "password": os.environ.get(prefix + "PASSWORD", "docker"),
    }


DB_CONFIG = get_db_config()
IMAGE_STORAGE_METHOD = os.environ.get("IMAGE_STORAGE_METHOD", "database")
IMAGE_DIR = os.environ.get("IMAGE_DIR", "/var/lib/inventory/images")
FLASK_CONFIG = {
    "MAX_CONTENT_LENGTH": 16 * 1024 * 1024,
    "SECRET_KEY": os.environ.get("SECRET_KEY") or "dev-key-change-in-production",
    "DEBUG": os.environ.get("FLASK_DEBUG", "1") == "1",
}
