# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Items: create, rename, describe, delete."""
import os

from flask import Blueprint, jsonify, request

from config import IMAGE_DIR
from database import get_db_connection
from utils.helpers import generate_guid, is_valid_guid

item_bp = Blueprint("item", __name__)


@item_bp.route("/create-item", methods=["POST"])
def create_item():
    data = request.json
    if not (data.get("item_name") or "").strip():
        return jsonify({"success": False, "errors": ["Item name is required"]}), 400
    guid = data.get("guid") or generate_guid()
    if not is_valid_guid(guid):
        return jsonify({"success": False, "error": "Invalid GUID format"}), 400
    try:
        connection = get_db_connection()
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT nextval('label_number_seq')")
            label = cursor.fetchone()[0]
            cursor.execute("INSERT INTO items (guid, item_name, description, source_url, label_number, parent_guid) VALUES (%s,%s,%s,%s,%s,%s)",
                           (guid, data["item_name"], data.get("description", ""), data.get("source_url", ""), label, data.get("parent_guid")))
        connection.close()
    except Exception as error:
        return jsonify({"success": False, "error": str(error)}), 500
    return jsonify({"success": True, "guid": guid, "label_number": label})


@item_bp.route("/update-item-name/<guid>", methods=["POST"])
def update_item_name(guid):
    name = ((request.json.get("name") if request.is_json else request.form.get("item_name")) or "").strip()
    if not name or len(name) > 255:
        return jsonify({"success": False, "error": "Name must have 1 to 255 characters"}), 400
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE items SET item_name = %s, updated_date = now() WHERE guid = %s", (name, guid))
    connection.close()
    return jsonify({"success": True})


@item_bp.route("/delete-item/<guid>", methods=["POST"])
def delete_item(guid):
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT image_path, thumbnail_path, preview_path FROM images WHERE item_guid = %s", (guid,))
        for name in [name for row in cursor.fetchall() for name in row if name]:
            if os.path.exists(os.path.join(IMAGE_DIR, name)):
                os.remove(os.path.join(IMAGE_DIR, name))
        cursor.execute("DELETE FROM items WHERE guid = %s", (guid,))
    connection.close()
    return jsonify({"success": True})
