# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Home page and item pages."""
from flask import Blueprint, jsonify, redirect, render_template, request, url_for

from config import APP_VERSION
from database import get_db_connection
from utils.helpers import is_valid_guid

core_bp = Blueprint("core", __name__)


@core_bp.route("/")
def home():
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT guid, item_name, label_number FROM items ORDER BY created_date DESC LIMIT 200")
        items = cursor.fetchall()
    connection.close()
    return render_template("home.html", items=items, version=APP_VERSION)


@core_bp.route("/process-guid", methods=["POST"])
def process_guid():
    """The form of the home page: an unknown identifier becomes a new item."""
    guid = request.form.get("guid", "").strip()
    if not guid:
        return redirect(url_for("core.home"))
    if not is_valid_guid(guid):
        return render_template("error.html", message="Invalid GUID format")
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT item_guid FROM qr_aliases WHERE qr_code = %s", (guid,))
        alias = cursor.fetchone()
        if alias:
            guid = alias[0]
        cursor.execute("SELECT 1 FROM items WHERE guid = %s", (guid,))
        if not cursor.fetchone():
            cursor.execute("SELECT nextval('label_number_seq')")
            label = cursor.fetchone()[0]
            cursor.execute("INSERT INTO items (guid, item_name, label_number) VALUES (%s, %s, %s)", (guid, "Item_%04d" % label, label))
    connection.close()
    return redirect(url_for("core.item_detail", guid=guid))


@core_bp.route("/item/<guid>")
def item_detail(guid):
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT guid, item_name, description FROM items WHERE guid = %s", (guid,))
        item = cursor.fetchone()
        cursor.execute("SELECT id, image_path FROM images WHERE item_guid = %s", (guid,))
        images = cursor.fetchall()
    connection.close()
    if not item:
        return render_template("error.html", message="Item not found")
    return render_template("item.html", item=item, images=images)


@core_bp.route("/api/tree-data")
def tree_data():
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT guid, item_name, label_number FROM items WHERE parent_guid IS NULL ORDER BY label_number")
        rows = cursor.fetchall()
    connection.close()
    return jsonify({"success": True, "data": [{"guid": row[0], "name": row[1], "label_number": row[2]} for row in rows]})
