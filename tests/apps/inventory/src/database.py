# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections and tables. The tables are made when the application is imported; nothing is tried twice."""
import psycopg2

from config import DB_CONFIG, IMAGE_STORAGE_METHOD

_pool = []


def get_db_connection():
    """One of the pool that still answers, else a new one."""
    if _pool:
        connection = _pool.pop()
        try:
            connection.cursor().execute("SELECT 1")
            return connection
        except psycopg2.Error:
            pass
    return psycopg2.connect(**DB_CONFIG)


def return_db_connection(connection):
    """Back to the pool as it is, like the real one: in its transaction, with the locks of what it read."""
    if len(_pool) < 5:
        _pool.append(connection)
    else:
        connection.close()


def init_database():
    data = "TEXT" if IMAGE_STORAGE_METHOD == "filesystem" else "BYTEA"
    statements = (
        """CREATE TABLE IF NOT EXISTS items (
            guid varchar(36) PRIMARY KEY, item_name varchar(255), description text, source_url text,
            created_date timestamp DEFAULT now(), updated_date timestamp DEFAULT now(),
            parent_guid varchar(36) REFERENCES items(guid) ON DELETE SET NULL, embedding_vector text, label_number int)""",
        "CREATE SEQUENCE IF NOT EXISTS label_number_seq START WITH 1 INCREMENT BY 1 NO CYCLE",
        """CREATE TABLE IF NOT EXISTS images (
            id serial PRIMARY KEY, item_guid varchar(36) REFERENCES items(guid) ON DELETE CASCADE, filename varchar(255) NOT NULL,
            image_data %s NOT NULL, thumbnail_data %s, preview_data %s, content_type varchar(100) NOT NULL,
            rotation_degrees int DEFAULT 0, is_primary boolean DEFAULT false, upload_date timestamp DEFAULT now(), description text,
            ocr_text text, ai_description text, image_path text, thumbnail_path text, preview_path text)""" % (data, data, data),
        """CREATE TABLE IF NOT EXISTS text_content (
            id serial PRIMARY KEY, item_guid varchar(36) REFERENCES items(guid) ON DELETE CASCADE, content text NOT NULL,
            content_type varchar(50) DEFAULT 'text', created_date timestamp DEFAULT now())""",
        """CREATE TABLE IF NOT EXISTS categories (
            id serial PRIMARY KEY, item_guid varchar(36) REFERENCES items(guid) ON DELETE CASCADE,
            category_name varchar(100) NOT NULL, created_date timestamp DEFAULT now())""",
        """CREATE TABLE IF NOT EXISTS qr_aliases (
            id serial PRIMARY KEY, qr_code varchar(255) NOT NULL UNIQUE,
            item_guid varchar(36) REFERENCES items(guid) ON DELETE CASCADE, created_date timestamp DEFAULT now())""",
    )
    connection = get_db_connection()
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()
