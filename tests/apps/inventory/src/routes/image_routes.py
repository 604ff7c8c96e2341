# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of items: upload and delivery."""
import os

import psycopg2
from flask import Blueprint, Response, jsonify, request
from werkzeug.utils import secure_filename

from config import IMAGE_DIR, IMAGE_STORAGE_METHOD
from database import get_db_connection, return_db_connection
from services.image_service import is_valid_image, save_image_to_file, shrink
from utils.helpers import is_valid_guid

image_bp = Blueprint("image", __name__)


@image_bp.route("/upload-image/<guid>", methods=["POST"])
def upload_image(guid):
    upload = request.files.get("image")
    if not is_valid_guid(guid) or upload is None or not upload.filename:
        return "No image file", 400
    data = upload.read()
    if not is_valid_image(data):
        return "Invalid image file", 400
    name = secure_filename(upload.filename)
    if IMAGE_STORAGE_METHOD == "filesystem":
        paths = save_image_to_file(data, name)
        stored = ("", "", "")
    else:
        paths = {"image_path": None, "thumbnail_path": None, "preview_path": None}
        stored = tuple(psycopg2.Binary(part) for part in (data, shrink(data, 200), shrink(data, 800)))
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM images WHERE item_guid = %s", (guid,))
        first = cursor.fetchone()[0] == 0
        cursor.execute(
            "INSERT INTO images (item_guid, filename, image_data, thumbnail_data, preview_data, content_type, is_primary,"
            " image_path, thumbnail_path, preview_path) VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)",
            (guid, name) + stored + (upload.mimetype, first, paths["image_path"], paths["thumbnail_path"], paths["preview_path"]))
    connection.close()
    return jsonify({"success": True})


def _serve(image_id, path_column, data_column):
    connection = get_db_connection()
    cursor = connection.cursor()
    cursor.execute("SELECT %s, %s FROM images WHERE id = %%s" % (path_column, data_column), (image_id,))
    row = cursor.fetchone()
    return_db_connection(connection)
    if not row:
        return "Image not found", 404
    if row[0]:
        with open(os.path.join(IMAGE_DIR, row[0]), "rb") as stream:
            return Response(stream.read(), mimetype="image/webp")
    return Response(bytes(row[1]), mimetype="image/webp")


@image_bp.route("/image/<int:image_id>")
def serve_image(image_id):
    return _serve(image_id, "preview_path", "preview_data")


@image_bp.route("/thumbnail/<int:image_id>")
def serve_thumbnail(image_id):
    return _serve(image_id, "thumbnail_path", "thumbnail_data")
