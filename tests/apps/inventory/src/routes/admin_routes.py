# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health and administration. No route here asks who is there, as in the application that this stands in for."""
from datetime import datetime

import psutil
from cryptography import x509  # noqa: F401  the real module imports it at the top, to verify packages
from flask import Blueprint, jsonify, render_template

from config import APP_VERSION
from database import get_db_connection
from services.embedding_service import is_embedding_model_available

admin_bp = Blueprint("admin", __name__)


@admin_bp.route("/health")
def health_check():
    answer = {"timestamp": datetime.utcnow().isoformat(), "version": APP_VERSION}
    try:
        connection = get_db_connection()
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
        return jsonify(dict(answer, status="healthy", database="ok"))
    except Exception as error:
        return jsonify(dict(answer, status="unhealthy", error=str(error))), 503


@admin_bp.route("/admin")
def admin_panel():
    return render_template("error.html", message="Admin Panel")


@admin_bp.route("/system-status")
@admin_bp.route("/db-stats")
@admin_bp.route("/api/system-metrics")
def metrics():
    return jsonify({"memory_percent": psutil.virtual_memory().percent, "embedding_model_available": is_embedding_model_available()})


@admin_bp.route("/api/clear-cache", methods=["POST"])
def clear_cache():
    return jsonify({"success": True})


@admin_bp.route("/api/shutdown-system", methods=["POST"], endpoint="shutdown", defaults={"action": "shut the machine down"})
@admin_bp.route("/api/reboot-system", methods=["POST"], endpoint="reboot", defaults={"action": "reboot the machine"})
@admin_bp.route("/api/restart-service", methods=["POST"], endpoint="restart", defaults={"action": "restart the service"})
@admin_bp.route("/api/upload-package", methods=["POST"], endpoint="upload", defaults={"action": "take a package"})
@admin_bp.route("/api/install-package", methods=["POST"], endpoint="install", defaults={"action": "replace the application"})
@admin_bp.route("/api/install-unsigned-package", methods=["POST"], endpoint="unsigned", defaults={"action": "replace the application"})
def dangerous(action):
    return jsonify({"success": True, "message": "the real application would now %s" % action})
