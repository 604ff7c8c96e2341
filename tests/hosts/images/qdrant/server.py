# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small server in Qdrant's place: collections, points, filters with `must`, search by cosine, dot product or distance, over REST. One JSON
file a collection in the storage folder. As in Qdrant, the identity of a point is an unsigned number or a UUID."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

VERSION = "1.12.5"
HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0, "on_disk": False}
OPTIMIZER = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "max_segment_size": None,
             "memmap_threshold": None, "indexing_threshold": 20000, "flush_interval_sec": 5, "max_optimization_threads": None}
WAL = {"wal_capacity_mb": 32, "wal_segments_ahead": 0}


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def point_id(value):
    """A point's identity as it is kept. Raises Refused for anything else than an unsigned number or a UUID."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise Refused(400, "Format error in JSON body: value %s is not a valid point ID, valid values are either an unsigned integer or a UUID"
                      % value) from None


def meets(payload, condition):
    """Whether a payload meets one condition of a filter."""
    if "must" in condition or "must_not" in condition or "should" in condition:
        return passes(payload, condition)
    value, match = payload.get(condition.get("key")), condition.get("match") or {}
    values = value if isinstance(value, list) else [value]
    if "value" in match:
        return match["value"] in values
    if "any" in match:
        return any(one in match["any"] for one in values)
    raise Refused(400, "this stand-in knows no condition %s" % json.dumps(condition))


def passes(payload, wanted):
    """Whether a payload passes a filter, or there is none."""
    parts = {key: value if isinstance(value, list) else [value] for key, value in (wanted or {}).items() if value}
    return (all(meets(payload, one) for one in parts.get("must", [])) and not any(meets(payload, one) for one in parts.get("must_not", []))
            and (not parts.get("should") or any(meets(payload, one) for one in parts["should"])))


def score(distance, first, second):
    """Likeness of two vectors, as the kind of distance has it."""
    dot = sum(one * other for one, other in zip(first, second))
    if distance == "Dot":
        return dot
    if distance == "Euclid":
        return math.dist(first, second)
    length = math.sqrt(sum(one * one for one in first)) * math.sqrt(sum(one * one for one in second))
    return dot / length if length else 0.0


def nearest(query):
    """The vector of a query, which stands by itself or under `nearest`."""
    return query["nearest"] if isinstance(query, dict) else query


class Collections:
    """The collections, in memory and in files."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "collections")
        os.makedirs(self.folder, exist_ok=True)
        self.lock = threading.RLock()
        self.all = {}
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".json"):
                with open(os.path.join(self.folder, name), encoding="utf-8") as stream:
                    found = json.load(stream)
                found["points"] = {point["id"]: point for point in found["points"]}
                self.all[found["name"]] = found

    def save(self, name):
        path = os.path.join(self.folder, name + ".json")
        if name not in self.all:
            os.unlink(path)
            return
        with open(path + ".new", "w", encoding="utf-8") as stream:
            json.dump(dict(self.all[name], points=list(self.all[name]["points"].values())), stream)
        os.replace(path + ".new", path)

    def get(self, name):
        if name not in self.all:
            raise Refused(404, "Not found: Collection `%s` doesn't exist!" % name)
        return self.all[name]

    def create(self, name, body):
        if name in self.all:
            raise Refused(409, "Wrong input: Collection `%s` already exists!" % name)
        if re.fullmatch(r"[A-Za-z0-9_.-]+", name) is None:
            raise Refused(422, "Validation error: %s" % name)
        self.all[name] = {"name": name, "vectors": body["vectors"], "points": {}}
        self.save(name)
        return True

    def describe(self, name):
        found = self.get(name)
        return {"status": "green", "optimizer_status": "ok", "indexed_vectors_count": 0, "points_count": len(found["points"]), "segments_count": 1,
                "config": {"params": {"vectors": found["vectors"], "shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1,
                                      "on_disk_payload": True}, "hnsw_config": HNSW, "optimizer_config": OPTIMIZER, "wal_config": WAL,
                           "quantization_config": None}, "payload_schema": {}}

    def upsert(self, name, body):
        found = self.get(name)
        points = body.get("points")
        if points is None:
            batch = body["batch"]
            points = [{"id": one, "vector": vector, "payload": payload} for one, vector, payload in
                      zip(batch["ids"], batch["vectors"], batch.get("payloads") or [None] * len(batch["ids"]))]
        fresh = {}
        for point in points:
            if len(point["vector"]) != found["vectors"]["size"]:
                raise Refused(400, "Wrong input: Vector dimension error: expected dim: %d, got %d" % (found["vectors"]["size"], len(point["vector"])))
            fresh[point_id(point["id"])] = {"id": point_id(point["id"]), "vector": point["vector"], "payload": point.get("payload") or {}}
        found["points"].update(fresh)
        self.save(name)
        return {"operation_id": int(time.time()), "status": "completed"}

    def chosen(self, name, body):
        return [point for point in self.get(name)["points"].values() if passes(point["payload"], body.get("filter"))]

    @staticmethod
    def shown(point, body, **more):
        return dict(id=point["id"], payload=point["payload"] if body.get("with_payload") else None,
                    vector=point["vector"] if body.get("with_vector") else None, **more)

    def search(self, name, body, vector):
        distance = self.get(name)["vectors"]["distance"]
        found = [(score(distance, vector, point["vector"]), point) for point in self.chosen(name, body)]
        found.sort(key=lambda pair: pair[0], reverse=distance != "Euclid")
        threshold = body.get("score_threshold")
        found = [pair for pair in found if threshold is None or pair[0] >= threshold]
        start = body.get("offset") or 0
        return [self.shown(point, body, version=0, score=value) for value, point in found[start:start + body.get("limit", 10)]]

    def scroll(self, name, body):
        found = sorted(self.chosen(name, body), key=lambda point: str(point["id"]))
        if body.get("offset") is not None:
            found = [point for point in found if str(point["id"]) >= str(body["offset"])]
        limit = body.get("limit") or 10
        return {"points": [self.shown(point, body) for point in found[:limit]], "next_page_offset": found[limit]["id"] if found[limit:] else None}

    def delete(self, name, body):
        found = self.get(name)
        gone = [point_id(one) for one in body["points"]] if "points" in body else [point["id"] for point in self.chosen(name, body)]
        for one in gone:
            found["points"].pop(one, None)
        self.save(name)
        return {"operation_id": int(time.time()), "status": "completed"}


class Handler(BaseHTTPRequestHandler):
    """The REST interface."""

    protocol_version = "HTTP/1.1"
    server_version = "qdrant-stand-in"

    def plain(self, text, kind="text/plain", status=200):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def result(self, method, path, body):
        """What a request asks for."""
        store, parts = self.server.collections, [unquote(part) for part in path.strip("/").split("/")]
        if parts == ["collections"] and method == "GET":
            return {"collections": [{"name": name} for name in sorted(store.all)]}
        if parts[0] != "collections" or len(parts) < 2:
            raise Refused(404, "Not found: %s" % path)
        name, rest = parts[1], "/".join(parts[2:])
        if rest == "":
            if method == "PUT":
                return store.create(name, body)
            if method == "DELETE":
                known = store.all.pop(name, None) is not None
                if known:
                    store.save(name)
                return known
            return store.describe(name)
        actions = {
            ("GET", "exists"): lambda: {"exists": name in store.all},
            ("PUT", "points"): lambda: store.upsert(name, body),
            ("POST", "points"): lambda: [store.shown(point, body) for point in store.get(name)["points"].values() if point["id"] in body["ids"]],
            ("POST", "points/search"): lambda: store.search(name, body, body["vector"]),
            ("POST", "points/query"): lambda: {"points": store.search(name, body, nearest(body["query"]))},
            ("POST", "points/scroll"): lambda: store.scroll(name, body),
            ("POST", "points/delete"): lambda: store.delete(name, body),
            ("POST", "points/count"): lambda: {"count": len(store.chosen(name, body))},
            ("PUT", "index"): lambda: {"operation_id": 0, "status": "completed"},
        }
        if (method, rest) not in actions:
            raise Refused(404, "Not found: %s %s" % (method, path))
        return actions[method, rest]()

    def handle_one(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        probes = {"/healthz": "healthz check passed", "/readyz": "all shards are ready", "/livez": "livez check passed"}
        if path in probes:
            self.plain(probes[path])
        elif self.server.key and self.headers.get("api-key") != self.server.key:
            self.plain("Must provide an API key or an Authorization bearer token", status=401)
        elif path == "/":
            self.plain(json.dumps({"title": "qdrant - vector search engine", "version": VERSION, "commit": "stand-in"}), "application/json")
        else:
            started = time.monotonic()
            with self.server.collections.lock:
                try:
                    answer, status = {"result": self.result(self.command, path, json.loads(body) if body else {}), "status": "ok"}, 200
                except Refused as error:
                    answer, status = {"status": {"error": str(error)}}, error.status
                except (KeyError, TypeError, ValueError) as error:
                    answer, status = {"status": {"error": "Format error in JSON body: %r" % error}}, 400
            self.plain(json.dumps(dict(answer, time=time.monotonic() - started)), "application/json", status)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        return


def main():
    environment = os.environ
    port = int(environment.get("QDRANT__SERVICE__HTTP_PORT", "6333"))
    server = ThreadingHTTPServer((environment.get("QDRANT__SERVICE__HOST", "0.0.0.0"), port), Handler)
    server.daemon_threads = True
    server.key = environment.get("QDRANT__SERVICE__API_KEY")
    server.collections = Collections(environment.get("QDRANT__STORAGE__STORAGE_PATH", "./storage"))
    os.makedirs(environment.get("QDRANT__STORAGE__SNAPSHOTS_PATH", "./snapshots"), exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *unused: threading.Thread(target=server.shutdown).start())
    print("qdrant stand-in: HTTP listening on %d" % server.server_port, flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
