"""A page that counts its visits. The number is in a volume, so that it outlives the container."""

import html
import http.server
import json
import os
import threading

VISITS = "/data/visits"
LOCK = threading.Lock()


def visits():
    """How often the page was visited."""
    try:
        with open(VISITS, encoding="ascii") as stream:
            return int(stream.read() or 0)
    except FileNotFoundError:
        return 0


def count():
    """Count a visit, and tell the number."""
    with LOCK:
        number = visits() + 1
        with open(VISITS + ".new", "w", encoding="ascii") as stream:
            stream.write("%d\n" % number)
        os.replace(VISITS + ".new", VISITS)
        return number


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers / and /health."""

    def do_GET(self):
        if self.path == "/":
            text = "%s This is visit %d.\n" % (os.environ.get("GREETING", ""), count())
            self.answer(200, "text/html; charset=utf-8", "<!doctype html><p>" + html.escape(text))
        elif self.path == "/health":
            # Well is who can read and write what the page needs.
            well = os.access(os.path.dirname(VISITS), os.W_OK)
            self.answer(200 if well else 503, "application/json", json.dumps({"status": "healthy" if well else "unhealthy", "visits": visits()}))
        else:
            self.answer(404, "text/plain", "There is no such page.\n")

    def answer(self, status, kind, text):
        body = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        if os.environ.get("DEBUG") == "1":
            super().log_message(*words)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
