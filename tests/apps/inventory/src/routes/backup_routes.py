# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup and restore in one ZIP file: a dump by /usr/bin/pg_dump, and the pictures."""
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import zipfile
from datetime import datetime

from flask import Blueprint, jsonify

from config import IMAGE_DIR, IMAGE_STORAGE_METHOD

backup_bp = Blueprint("backup", __name__)
BACKUP_DIR = "/var/lib/inventory/backups"
DROP = " ".join("DROP TABLE IF EXISTS %s CASCADE;" % table for table in ("items", "images", "categories", "text_content", "qr_aliases"))


def _run(program, *arguments):
    environment = dict(os.environ, PGPASSWORD=os.environ.get("POSTGRES_PASSWORD", "docker"))
    subprocess.run([program, "--host", os.environ.get("POSTGRES_HOST", "localhost"), "--port", os.environ.get("POSTGRES_PORT", "5432"),
                    "--username", os.environ.get("POSTGRES_USER", "docker"), "--dbname", os.environ.get("POSTGRES_DB", "docker_dev"),
                    "--no-password", *arguments], env=environment, check=True, capture_output=True, text=True)


@backup_bp.route("/api/backup/status")
def backup_status():
    os.makedirs(BACKUP_DIR, exist_ok=True)
    return jsonify({"success": True, "backups": sorted(name for name in os.listdir(BACKUP_DIR) if name.endswith(".zip"))})


@backup_bp.route("/api/backup/create", methods=["POST"])
def create_backup():
    try:
        os.makedirs(BACKUP_DIR, exist_ok=True)
        name = datetime.now().strftime("backup_%Y%m%d_%H%M%S.zip")
        with tempfile.TemporaryDirectory() as folder:
            _run("/usr/bin/pg_dump", "--no-owner", "--clean", "--if-exists", "--create", "--file", os.path.join(folder, "database.sql"))
            if IMAGE_STORAGE_METHOD == "filesystem" and os.path.exists(IMAGE_DIR):
                shutil.copytree(IMAGE_DIR, os.path.join(folder, "images"))
            with zipfile.ZipFile(os.path.join(BACKUP_DIR, name), "w", zipfile.ZIP_DEFLATED) as archive:
                for root, _folders, files in os.walk(folder):
                    for file in files:
                        path = os.path.join(root, file)
                        archive.write(path, os.path.relpath(path, folder))
    except subprocess.CalledProcessError as error:
        return jsonify({"success": False, "error": error.stderr}), 500
    except Exception as error:
        return jsonify({"success": False, "error": str(error)}), 500
    return jsonify({"success": True, "backup_file": name})


@backup_bp.route("/api/backup/restore-existing/<filename>", methods=["POST"])
def restore_existing_backup(filename):
    try:
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(os.path.join(BACKUP_DIR, os.path.basename(filename))) as archive:
                archive.extractall(folder)
            # Waits for every connection that has read the tables; no limit, as in the real one.
            _run("/usr/bin/psql", "--command", DROP)
            _run("/usr/bin/psql", "--file", os.path.join(folder, "database.sql"))
            if IMAGE_STORAGE_METHOD == "filesystem":
                # A mountpoint can't be removed: EBUSY
                shutil.rmtree(IMAGE_DIR)
                shutil.copytree(os.path.join(folder, "images"), IMAGE_DIR)
    except Exception as error:
        return jsonify({"success": False, "error": str(error)}), 500
    # The real one ends its worker too, when the answer is out; gunicorn makes a new one.
    threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return jsonify({"success": True})
