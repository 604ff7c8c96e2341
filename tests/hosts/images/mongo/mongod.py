# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small server in MongoDB's place: OP_MSG (and OP_QUERY for a driver's first greeting), and the commands that motor and pymongo send for
documents, indexes and cursors. Documents are kept in one SQLite file of the data directory. No logins, no replication, no aggregation but
counting; what it does not know it refuses as the real server would, with code 59."""

from __future__ import annotations

import argparse
import copy
import datetime
import os
import re
import signal
import socketserver
import sqlite3
import struct
import sys
import threading
import time

import bson
from bson import Int64, ObjectId
from bson.codec_options import CodecOptions

VERSION = "7.0.16"
# Of server 7.0 (src/mongo/db/wire_version.h).
WIRE_VERSION = 21
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
HEADER = struct.Struct("<iiii")
LONGEST = 48000000
FIRST_BATCH = 101
CODEC = CodecOptions(tz_aware=False)


class CommandError(Exception):
    """An answer with ok: 0."""

    def __init__(self, code, name, text):
        super().__init__(text)
        self.document = {"ok": 0.0, "errmsg": text, "code": code, "codeName": name}


def values_at(document, path):
    """All values at a dotted path; a list on the way stands for each of its members."""
    found = [document]
    for part in path.split("."):
        following = []
        for item in found:
            for one in (item if isinstance(item, list) and not part.isdigit() else [item]):
                if isinstance(one, dict) and part in one:
                    following.append(one[part])
                elif isinstance(one, list) and part.isdigit() and int(part) < len(one):
                    following.append(one[int(part)])
        found = following
    return found


def comparable(first, second):
    """Whether the order of two values means something."""
    numbers = (int, float)
    if isinstance(first, numbers) and isinstance(second, numbers):
        return True
    return type(first) is type(second) and first is not None


def meets(value, operator, wanted):
    """One operator of a query on one value."""
    if operator == "$eq":
        return value == wanted
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        if not comparable(value, wanted):
            return False
        return {"$gt": value > wanted, "$gte": value >= wanted, "$lt": value < wanted, "$lte": value <= wanted}[operator]
    if operator == "$in":
        return any(value == one for one in wanted)
    if operator == "$regex":
        return isinstance(value, str) and re.search(wanted, value) is not None
    raise CommandError(2, "BadValue", "unknown operator: %s" % operator)


def matches(document, query):
    """Whether a document is what a query asks for."""
    for key, wanted in query.items():
        if key in ("$and", "$or", "$nor"):
            results = [matches(document, part) for part in wanted]
            if not {"$and": all(results), "$or": any(results), "$nor": not any(results)}[key]:
                return False
            continue
        if key.startswith("$"):
            raise CommandError(2, "BadValue", "unknown top level operator: %s" % key)
        found = values_at(document, key)
        # A list is met by itself and by each of its members.
        candidates = found + [one for item in found if isinstance(item, list) for one in item]
        if not (isinstance(wanted, dict) and wanted and all(name.startswith("$") for name in wanted)):
            wanted = {"$eq": wanted}
        for operator, operand in wanted.items():
            if operator == "$exists":
                good = bool(found) == bool(operand)
            elif operator == "$ne":
                good = operand not in (candidates or [None])
            elif operator == "$nin":
                good = not any(one in operand for one in candidates or [None])
            elif operator == "$options":
                good = True
            else:
                good = any(meets(one, operator, operand) for one in candidates or [None])
            if not good:
                return False
    return True


def place(document, path, make):
    """(the dictionary that has the last part of a dotted path, that part); makes what is missing on the way."""
    *before, last = path.split(".")
    for part in before:
        if not isinstance(document.get(part), dict):
            if not make:
                return {}, last
            document[part] = {}
        document = document[part]
    return document, last


def updated(document, update, inserting=False):
    """A document after an update; a replacement keeps the identity."""
    if not any(key.startswith("$") for key in update):
        return {"_id": document["_id"], **{key: value for key, value in update.items() if key != "_id"}}
    document = copy.deepcopy(document)
    for operator, changes in update.items():
        for path, value in changes.items():
            holder, key = place(document, path, operator != "$unset")
            if operator == "$set" or (operator == "$setOnInsert" and inserting):
                holder[key] = value
            elif operator == "$inc":
                holder[key] = holder.get(key, 0) + value
            elif operator == "$unset":
                holder.pop(key, None)
            elif operator in ("$push", "$addToSet"):
                members = holder.setdefault(key, [])
                for one in value["$each"] if isinstance(value, dict) and "$each" in value else [value]:
                    if operator == "$push" or one not in members:
                        members.append(one)
            elif operator == "$pull":
                holder[key] = [one for one in holder.get(key, []) if one != value]
            elif operator != "$setOnInsert":
                raise CommandError(9, "FailedToParse", "Unknown modifier: %s" % operator)
    return document


def order(value):
    """A key for sorting values of several kinds, in MongoDB's order of types."""
    if value is None:
        return (0, 0)
    if isinstance(value, bool):
        return (4, value)
    if isinstance(value, (int, float)):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    if isinstance(value, ObjectId):
        return (3, str(value))
    return (5, value) if hasattr(value, "timestamp") else (6, repr(value))


def projected(document, projection):
    """The wanted fields of a document."""
    if not projection:
        return document
    chosen = {key: bool(value) for key, value in projection.items()}
    if any(on for key, on in chosen.items() if key != "_id"):
        return {key: value for key, value in document.items() if chosen.get(key, key == "_id")}
    return {key: value for key, value in document.items() if chosen.get(key, True)}


class Store:
    """All documents and indexes, in one file."""

    def __init__(self, path):
        self.lock = threading.RLock()
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS documents (number INTEGER PRIMARY KEY, space TEXT NOT NULL, body BLOB NOT NULL)")
        self.connection.execute("CREATE INDEX IF NOT EXISTS by_space ON documents (space, number)")
        self.connection.execute("CREATE TABLE IF NOT EXISTS indexes (space TEXT, name TEXT, body BLOB, PRIMARY KEY (space, name))")

    def rows(self, space):
        return [(number, bson.decode(body, CODEC)) for number, body in
                self.connection.execute("SELECT number, body FROM documents WHERE space = ? ORDER BY number", (space,))]

    def indexes(self, space):
        found = [bson.decode(body, CODEC) for (body,) in self.connection.execute("SELECT body FROM indexes WHERE space = ? ORDER BY rowid", (space,))]
        return [{"v": 2, "key": {"_id": 1}, "name": "_id_"}] + found

    def spaces(self):
        return sorted(set(row[0] for row in self.connection.execute("SELECT space FROM documents UNION SELECT space FROM indexes")))

    def add_index(self, space, index):
        if any(one["name"] == index["name"] for one in self.indexes(space)):
            return
        self.connection.execute("INSERT INTO indexes VALUES (?, ?, ?)", (space, index["name"], bson.encode(index)))

    def check_unique(self, space, document, but=None):
        for index in self.indexes(space):
            if not (index.get("unique") or index["name"] == "_id_"):
                continue
            mine = [values_at(document, key) for key in index["key"]]
            for number, other in self.rows(space):
                if number != but and [values_at(other, key) for key in index["key"]] == mine:
                    raise CommandError(11000, "DuplicateKey", "E11000 duplicate key error collection: %s index: %s" % (space, index["name"]))

    def insert(self, space, document):
        document.setdefault("_id", ObjectId())
        self.check_unique(space, document)
        self.connection.execute("INSERT INTO documents (space, body) VALUES (?, ?)", (space, bson.encode(document)))

    def replace(self, space, number, document):
        self.check_unique(space, document, number)
        self.connection.execute("UPDATE documents SET body = ? WHERE number = ?", (bson.encode(document), number))

    def delete(self, number):
        self.connection.execute("DELETE FROM documents WHERE number = ?", (number,))

    def drop(self, space):
        self.connection.execute("DELETE FROM documents WHERE space = ?", (space,))
        self.connection.execute("DELETE FROM indexes WHERE space = ?", (space,))


class Database:
    """The commands. Each takes the command's document and returns the answer's."""

    def __init__(self, folder):
        self.store = Store(os.path.join(folder, "stand-in.db"))
        self.cursors = {}
        self.next_cursor = 1

    def answer(self, command):
        name = next(iter(command))
        method = getattr(self, "do_" + name.lower(), None)
        if method is None:
            return CommandError(59, "CommandNotFound", "no such command: '%s'" % name).document
        with self.store.lock:
            try:
                return dict(method(command), ok=1.0)
            except CommandError as error:
                return error.document

    @staticmethod
    def space(command):
        return "%s.%s" % (command["$db"], next(iter(command.values())))

    def do_hello(self, command):
        return {"isWritablePrimary": True, "ismaster": True, "helloOk": True, "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": LONGEST,
                "maxWriteBatchSize": 100000, "localTime": datetime.datetime.now(), "logicalSessionTimeoutMinutes": 30, "connectionId": 1,
                "minWireVersion": 0, "maxWireVersion": WIRE_VERSION, "readOnly": False}

    do_ismaster = do_hello

    def do_ping(self, command):
        return {}

    do_endsessions = do_ping

    def do_buildinfo(self, command):
        return {"version": VERSION, "versionArray": [int(part) for part in VERSION.split(".")] + [0], "maxBsonObjectSize": 16777216}

    def do_insert(self, command):
        errors, count = [], 0
        for index, document in enumerate(command.get("documents", [])):
            try:
                self.store.insert(self.space(command), document)
                count += 1
            except CommandError as error:
                errors.append({"index": index, "code": error.document["code"], "errmsg": error.document["errmsg"]})
                if command.get("ordered", True):
                    break
        return {"n": count, **({"writeErrors": errors} if errors else {})}

    def chosen(self, space, command):
        """(number, document) of what a find asks for."""
        found = [row for row in self.store.rows(space) if matches(row[1], command.get("filter") or command.get("query") or {})]
        for key, direction in reversed(list((command.get("sort") or {}).items())):
            found.sort(key=lambda row, key=key: order((values_at(row[1], key) or [None])[0]), reverse=direction < 0)
        found = found[command.get("skip") or 0:]
        limit = abs(command.get("limit") or 0)
        return found[:limit] if limit else found

    def cursor(self, space, documents, size):
        """An answer with the first documents, and a cursor for the rest."""
        first, rest, number = documents[:size], documents[size:], 0
        if rest:
            number, self.next_cursor = self.next_cursor, self.next_cursor + 1
            self.cursors[number] = (space, rest)
        return {"cursor": {"firstBatch": first, "id": Int64(number), "ns": space}}

    def do_find(self, command):
        space = self.space(command)
        documents = [projected(document, command.get("projection")) for unused, document in self.chosen(space, command)]
        if command.get("singleBatch"):
            documents = documents[:command.get("batchSize") or None]
            return self.cursor(space, documents, len(documents))
        return self.cursor(space, documents, command["batchSize"] if "batchSize" in command else FIRST_BATCH)

    def do_getmore(self, command):
        space, rest = self.cursors.pop(int(command["getMore"]), (None, None))
        if rest is None:
            raise CommandError(43, "CursorNotFound", "cursor id %d not found" % command["getMore"])
        size = command.get("batchSize") or len(rest)
        if rest[size:]:
            self.cursors[int(command["getMore"])] = (space, rest[size:])
        return {"cursor": {"nextBatch": rest[:size], "id": Int64(command["getMore"] if rest[size:] else 0), "ns": space}}

    def do_killcursors(self, command):
        gone = [number for number in command["cursors"] if self.cursors.pop(int(number), None)]
        return {"cursorsKilled": gone, "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": []}

    def do_update(self, command):
        space, matched, modified, upserted = self.space(command), 0, 0, []
        for index, entry in enumerate(command.get("updates", [])):
            rows = self.chosen(space, {"filter": entry["q"]})
            for number, document in rows if entry.get("multi") else rows[:1]:
                after = updated(document, entry["u"])
                matched += 1
                if after != document:
                    modified += 1
                    self.store.replace(space, number, after)
            if not rows and entry.get("upsert"):
                fields = {key: value for key, value in entry["q"].items() if not key.startswith("$") and not isinstance(value, dict)}
                document = updated({"_id": ObjectId(), **fields}, entry["u"], inserting=True)
                self.store.insert(space, document)
                upserted.append({"index": index, "_id": document["_id"]})
        return {"n": matched + len(upserted), "nModified": modified, **({"upserted": upserted} if upserted else {})}

    def do_delete(self, command):
        count = 0
        for entry in command.get("deletes", []):
            rows = self.chosen(self.space(command), {"filter": entry["q"]})
            for number, unused in rows[:1] if entry.get("limit") == 1 else rows:
                self.store.delete(number)
                count += 1
        return {"n": count}

    def do_count(self, command):
        return {"n": len(self.chosen(self.space(command), command))}

    def do_aggregate(self, command):
        """What count_documents sends: $match, $skip, $limit, and one $group that counts."""
        space, query, rest = self.space(command), {}, {}
        for stage in command["pipeline"]:
            (name, value), = stage.items()
            if name == "$match":
                query = value
            elif name in ("$skip", "$limit"):
                rest[name[1:]] = value
            elif name == "$group" and list(value) == ["_id", "n"] and value["n"] == {"$sum": 1}:
                count = len(self.chosen(space, {"filter": query, **rest}))
                return self.cursor(space, [{"_id": value["_id"], "n": count}] if count else [], FIRST_BATCH)
            else:
                raise CommandError(40324, "Location40324", "this stand-in knows no pipeline stage %s" % stage)
        return self.cursor(space, [document for unused, document in self.chosen(space, {"filter": query, **rest})], FIRST_BATCH)

    def do_createindexes(self, command):
        space = self.space(command)
        before = len(self.store.indexes(space))
        for index in command["indexes"]:
            self.store.add_index(space, dict(index, v=2))
        return {"numIndexesBefore": before, "numIndexesAfter": len(self.store.indexes(space)), "createdCollectionAutomatically": False}

    def do_listindexes(self, command):
        return self.cursor(self.space(command), self.store.indexes(self.space(command)), FIRST_BATCH)

    def do_listcollections(self, command):
        prefix = command["$db"] + "."
        names = [space[len(prefix):] for space in self.store.spaces() if space.startswith(prefix)]
        return self.cursor(prefix + "$cmd.listCollections", [{"name": name, "type": "collection", "options": {}, "info": {"readOnly": False}}
                                                             for name in names], FIRST_BATCH)

    def do_listdatabases(self, command):
        names = sorted(set(space.partition(".")[0] for space in self.store.spaces()))
        return {"databases": [{"name": name, "sizeOnDisk": Int64(0), "empty": False} for name in names], "totalSize": Int64(0)}

    def do_drop(self, command):
        self.store.drop(self.space(command))
        return {}

    def do_dropdatabase(self, command):
        for space in self.store.spaces():
            if space.startswith(command["$db"] + "."):
                self.store.drop(space)
        return {}


def read_command(body):
    """(flags, command) of the body of an OP_MSG; document sequences become lists of the command."""
    flags, = struct.unpack_from("<I", body)
    at, command = 4, None
    end = len(body) - (4 if flags & 1 else 0)
    sequences = {}
    while at < end:
        kind, size = body[at], struct.unpack_from("<i", body, at + 1)[0]
        section = body[at + 1:at + 1 + size]
        if kind == 0:
            command = bson.decode(section, CODEC)
        else:
            name, unused, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = bson.decode_all(documents, CODEC)
        at += 1 + size
    command.update(sequences)
    return flags, command


class Connection(socketserver.BaseRequestHandler):
    """One client: a request, an answer, and again."""

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.request.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def handle(self):
        try:
            while True:
                length, number, unused, code = HEADER.unpack(self.exactly(HEADER.size))
                if not HEADER.size < length <= LONGEST:
                    return
                body = self.exactly(length - HEADER.size)
                if code == OP_MSG:
                    flags, command = read_command(body)
                    answer = b"\0\0\0\0\0" + bson.encode(self.server.database.answer(command))
                    if flags & MORE_TO_COME:
                        continue
                    kind = OP_MSG
                elif code == OP_QUERY:
                    # The greeting of a driver that does not yet know what the server speaks.
                    command = bson.decode(body[body.index(b"\0", 4) + 9:], CODEC)
                    answer = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(self.server.database.answer(dict(command, **{"$db": "admin"})))
                    kind = OP_REPLY
                else:
                    return
                self.request.sendall(HEADER.pack(HEADER.size + len(answer), int(time.time()) & 0x7fffffff, number, kind) + answer)
        except (ConnectionError, OSError):
            return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def main(argv=None):
    parser = argparse.ArgumentParser(description="MongoDB stand-in")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--dbpath", default="/data/db")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--bind_ip", default="127.0.0.1")
    parser.add_argument("--bind_ip_all", action="store_true")
    # Accepted and without meaning here.
    parser.add_argument("--wiredTigerCacheSizeGB", type=float)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(argv)
    if options.version:
        print("db version v%s (stand-in)" % VERSION)
        return 0
    try:
        database = Database(options.dbpath)
    except sqlite3.Error as error:
        print("mongod stand-in: %s cannot be written: %s" % (options.dbpath, error), file=sys.stderr)
        return 100
    server = Server(("0.0.0.0" if options.bind_ip_all else options.bind_ip, options.port), Connection)
    server.database = database
    signal.signal(signal.SIGTERM, lambda *unused: threading.Thread(target=server.shutdown).start())
    print("mongod stand-in: waiting for connections on port %d" % server.server_address[1], flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
