# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point: environment files first, then everything that reads the environment."""
from pathlib import Path

from dotenv import load_dotenv

ENV_FILES = (".env", "/var/lib/inventory/app/.env", "/var/lib/inventory/config/.env",
             "/var/lib/inventory/config/environment.env", "../config/.env", "../config/environment.env")
for env_file in ENV_FILES:
    if Path(env_file).exists():
        print("Loading environment from: %s" % env_file, flush=True)
        load_dotenv(env_file, override=True)
        break

from flask import Flask, render_template  # noqa: E402

from config import FLASK_CONFIG  # noqa: E402
from database import init_database  # noqa: E402
from routes.admin_routes import admin_bp  # noqa: E402
from routes.backup_routes import backup_bp  # noqa: E402
from routes.core_routes import core_bp  # noqa: E402
from routes.image_routes import image_bp  # noqa: E402
from routes.item_routes import item_bp  # noqa: E402
from routes.search_routes import search_bp  # noqa: E402
from services.embedding_service import initialize_embedding_model  # noqa: E402


def create_app():
    application = Flask(__name__)
    application.config.update(FLASK_CONFIG)
    init_database()
    initialize_embedding_model()
    for blueprint in (core_bp, image_bp, item_bp, search_bp, admin_bp, backup_bp):
        application.register_blueprint(blueprint)

    @application.errorhandler(404)
    def not_found(error):
        return render_template("error.html", message="Page not found"), 404

    @application.after_request
    def headers(response):
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        return response

    return application


app = create_app()
