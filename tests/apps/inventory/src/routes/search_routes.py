# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search by words; by meaning only with the ML packages, which this stand-in never has."""
from flask import Blueprint, jsonify, render_template, request

from database import get_db_connection

search_bp = Blueprint("search", __name__)


def find(query):
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT guid, item_name, description FROM items WHERE lower(item_name) LIKE lower(%s) OR lower(description) LIKE lower(%s)"
                       " ORDER BY created_date DESC", ("%" + query + "%",) * 2)
        rows = cursor.fetchall()
    connection.close()
    return rows


@search_bp.route("/search", methods=["GET", "POST"])
def search():
    query = (request.form.get("query") or request.args.get("q") or "").strip()
    return render_template("home.html", items=[(row[0], row[1], "") for row in find(query)] if query else [], version="search")


@search_bp.route("/api/search")
def api_search():
    query = request.args.get("q", "").strip()
    if not query:
        return jsonify({"results": [], "total": 0, "search_type": "none"})
    rows = find(query)
    return jsonify({"results": [{"guid": row[0], "item_name": row[1], "description": row[2] or ""} for row in rows],
                    "total": len(rows), "search_type": "traditional", "query": query})
