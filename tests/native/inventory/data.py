# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills a native installation that install.sh has made: rows by SQL on the server, images as files. The same seed gives the same content.

Runs as root on that host with its own Python. What is there is replaced: tables emptied, the schema `extra` and the images made anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pwd
import random
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARKER = Path("/etc/dockyard-native-test")
EXTENSIONS = (".jpg", ".png", ".jpeg", ".JPG", ".heic")
SPARSE_BYTES = 64 << 20
SPARSE_ROW = 3
LINK_EVERY = 200
START_SECONDS = 30
# Every name of a file and every key is a digest over the seed, what it is, and its number: SQL and Python agree on it without asking each other.


class DataError(Exception):
    """Nothing can be filled here."""


def settings() -> dict:
    """What install.sh wrote down: layout, root, unit, user, database, role, url."""
    try:
        return dict(line.split("=", 1) for line in MARKER.read_text().splitlines())
    except OSError:
        raise DataError(f"{MARKER} is not there: this host has no native installation of install.sh, and nothing else is to be overwritten") from None


def name_of(seed: int, kind: str, number: int) -> str:
    """The identifier of a thing, as fill_app.sql computes it."""
    return str(uuid.UUID(hashlib.md5(f"{seed}:{kind}:{number}".encode()).hexdigest()))


def extension_of(number: int) -> str:
    """The end of an original's name."""
    return ".tiff" if number == SPARSE_ROW else EXTENSIONS[number % len(EXTENSIONS)]


def png(color: tuple, size: int = 16) -> bytes:
    """A whole PNG picture of one color."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    lines = (b"\0" + bytes(color) * size) * size
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(lines))
            + chunk(b"IEND", b""))


def sizes(number: int, mean: int) -> tuple:
    """Bytes of an original, its thumbnail and its preview; their mean over many numbers is about `mean`."""
    spread = 1 + number * 7919 % 100  # 1 to 100
    return mean * 2 * spread // 50 + 400, mean // 10 + spread, mean * 9 // 10 + spread * 3


def fill_images(folder: Path, seed: int, files: int, mean: int, owner: tuple) -> tuple:
    """The files of the rows in `images`, three each. :returns: (files, bytes)"""
    for old in folder.iterdir():
        old.unlink()
    pool = random.Random(seed).randbytes((mean * 5 + (1 << 20)))
    view = memoryview(pool)
    written = total = 0
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def put(name: str, head: bytes, size: int, number: int) -> None:
        nonlocal written, total
        start = (number * 104729 + len(name) * 31) % (1 << 20)
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=here)
        try:
            body = max(0, size - len(head))
            os.writev(handle, [head, view[start:start + body]])
            os.fchown(handle, *owner)
            moment = 1_600_000_000 + number * 61
            os.utime(handle, ns=(moment * 10 ** 9 + number, moment * 10 ** 9 + number))
        finally:
            os.close(handle)
        written += 1
        total += len(head) + body

    for number in range(1, files // 3 + 1):
        original, thumb, preview = sizes(number, mean)
        name = name_of(seed, "original", number) + extension_of(number)
        if number == SPARSE_ROW:
            with open(folder / name, "xb") as handle:
                handle.write(b"II*\0 sparse")
                handle.seek(SPARSE_BYTES // 2)
                handle.write(view[:5000])
                handle.truncate(SPARSE_BYTES)
            os.chown(folder / name, *owner)
            os.utime(folder / name, (1_600_000_000, 1_600_000_000))
            written += 1
        elif number % LINK_EVERY == 7 and number > 10:
            # The same photo for two things: one file, two names
            before = name_of(seed, "original", number - 1) + extension_of(number - 1)
            os.link(before, name, src_dir_fd=here, dst_dir_fd=here)
            written += 1
        else:
            put(name, png((number % 256, number // 256 % 256, seed % 256)), original, number)
        # What the application hands out says that it is WebP, and is not looked at.
        put(name_of(seed, "thumb", number) + "_thumb.webp", b"RIFF" + struct.pack("<I", thumb) + b"WEBPVP8 " + b"%d" % number, thumb, number)
        put(name_of(seed, "preview", number) + "_preview.webp", b"RIFF" + struct.pack("<I", preview) + b"WEBPVP8 " + b"%d" % number, preview, number)
    os.close(here)
    return written, total


def healthy(url: str) -> bool:
    """Does the application say so? Its certificate is its owner's own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url + "/health", timeout=5, context=context) as answer:
            return json.load(answer).get("status") == "healthy"
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def stopped(unit: str, url: str):
    """The application stands still meanwhile: its pool holds the locks of every picture that it has handed out. It serves again afterwards."""
    was_active = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0
    if was_active:
        subprocess.run(["systemctl", "stop", unit], check=True)
    try:
        yield
    finally:
        if was_active:
            subprocess.run(["systemctl", "start", unit], check=True)
            ends = time.monotonic() + START_SECONDS
            while not healthy(url):
                if time.monotonic() > ends:
                    raise DataError(f"{url}/health does not say healthy within {START_SECONDS} s after the start of {unit}; journalctl -u {unit}")
                time.sleep(0.2)


def fill_backups(folder: Path, seed: int, owner: tuple) -> None:
    """One of the application's own backups, in its name and form."""
    for old in folder.glob("backup_*.zip"):
        old.unlink()
    place = folder / "backup_20240229_031500.zip"
    with zipfile.ZipFile(place, "x", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("database.sql", (2024, 2, 29, 3, 15, 0)), f"-- a backup of long ago, seed {seed}\n")
    os.chown(place, *owner)


def psql(database: str, files, variables: dict, *commands: str) -> str:
    """psql as the server's superuser, in one transaction a file. :returns: what it printed"""
    argv = ["runuser", "-u", "postgres", "--", "env", "PGOPTIONS=-c lock_timeout=20s", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]
    for key, value in variables.items():
        argv += ["-v", f"{key}={value}"]
    text = "".join("BEGIN;\n" + (HERE / name).read_text() + "\nCOMMIT;\n" for name in files) + "".join(f"{command}\n" for command in commands)
    # In the server's own language nothing is translated, so that messages are the same everywhere.
    done = subprocess.run(argv, input=text, text=True, capture_output=True, cwd="/", check=False,
                          env=dict(os.environ, LC_ALL="C.UTF-8", PGCLIENTENCODING="UTF8"))
    if done.returncode:
        raise DataError(f"psql ended with {done.returncode}: {done.stderr.strip()[-3000:]}")
    return done.stdout


def fill(options) -> dict:
    """Everything. :returns: what was made, and in how many seconds"""
    where = settings()
    rows, files = int(options.rows * options.scale), int(options.images * options.scale)
    result = {"layout": where["layout"], "seed": options.seed, "seconds": {}}
    user = pwd.getpwnam(where["user"])

    began = time.monotonic()
    written, total = fill_images(Path(where["root"]) / "images", options.seed, files, options.image_bytes, (user.pw_uid, user.pw_gid))
    fill_backups(Path(where["root"]) / "backups", options.seed, (user.pw_uid, user.pw_gid))
    result["images"] = {"files": written, "bytes": total}
    result["seconds"]["images"] = round(time.monotonic() - began, 1)

    began = time.monotonic()
    variables = {"seed": options.seed, "rows": rows, "pictures": files // 3, "embedding_every": options.embedding_every, "role": where["role"]}
    psql(where["database"], ["fill_app.sql"], variables)
    result["seconds"]["application's tables"] = round(time.monotonic() - began, 1)

    began = time.monotonic()
    psql(where["database"], ["fill_extra.sql", *(["fill_vector.sql"] if options.vector else []), *(["fill_traps.sql"] if options.traps else [])], variables)
    result["seconds"]["schema extra"] = round(time.monotonic() - began, 1)

    began = time.monotonic()
    psql(where["database"], [], {}, "ANALYZE;")
    result["seconds"]["analyze"] = round(time.monotonic() - began, 1)
    counts = psql(where["database"], [], {}, r"""
SELECT json_object_agg(name, (xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM ONLY ' || name, false, true, '')))[1]::text::bigint) FROM (
  SELECT oid::regclass::text AS name FROM pg_class
  WHERE relkind IN ('r', 'm') AND relispopulated AND relnamespace::regnamespace::text IN ('public', 'extra') ORDER BY 1) t;""")
    result["rows"] = json.loads(counts)
    result["rows_total"] = sum(result["rows"].values())
    result["database_bytes"] = int(psql(where["database"], [], {}, "SELECT pg_database_size(current_database());"))
    result["example"] = {"item": name_of(options.seed, "item", 1), "image": 1, "file": name_of(options.seed, "preview", 1) + "_preview.webp"}
    return result


def arguments(argv) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fills a native installation that install.sh has made.")
    parser.add_argument("--rows", type=int, default=200_000, help="rows over the application's tables (default: %(default)s)")
    parser.add_argument("--images", type=int, default=5_000, help="image files, three for a picture (default: %(default)s)")
    parser.add_argument("--image-bytes", type=int, default=20_000, help="mean size of an image file (default: %(default)s)")
    parser.add_argument("--embedding-every", type=int, default=20, help="every how-manyth item has an embedding of 384 numbers as JSON (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1, help="multiplies rows and images (default: 1)")
    parser.add_argument("--vector", action="store_true", help="a table of pgvector's types too; the extension must be installed, as `bring --vector` does")
    parser.add_argument("--traps", action="store_true",
                        help="columns too whose meaning is bound to this server: regclass, money, a collation of ours, no columns")
    parser.add_argument("--seed", type=int, default=5, help="another one gives other content (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.rows * options.scale < 1000 or options.images * options.scale < 30 or options.image_bytes < 1000 or options.embedding_every < 1:
        parser.error("at least 1000 rows, 30 images of 1000 bytes, and every first item with an embedding")
    return options


if __name__ == "__main__":
    try:
        wanted = arguments(sys.argv[1:])
        where = settings()
        with stopped(where["unit"], where["url"]):
            made = fill(wanted)
        print(json.dumps(made, indent=1, ensure_ascii=False))
    except DataError as problem:
        sys.exit(f"data.py: {problem}")
