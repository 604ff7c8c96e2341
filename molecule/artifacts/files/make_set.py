# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the scenario's files, manifests, key and signatures: make_set.py FOLDER URL"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import sys
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_ID = b"dockyard"


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(data)
    return {"size": len(data), "digest": "sha256:" + hashlib.sha256(data).hexdigest()}


def sign(key, path):
    """What `minisign -S` does."""
    with open(path, "rb") as stream:
        signature = key.sign(hashlib.blake2b(stream.read()).digest())
    comment = "made by the test"
    lines = ["untrusted comment: test", base64.b64encode(b"ED" + KEY_ID + signature).decode(),
             "trusted comment: " + comment, base64.b64encode(key.sign(signature + comment.encode())).decode()]
    write(path + ".minisig", ("\n".join(lines) + "\n").encode())


def main():
    folder, url = sys.argv[1:]
    numbers, key = random.Random(3), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    write(folder + "/key.pub", base64.b64encode(b"Ed" + KEY_ID + public) + b"\n")
    files = []

    def add(name, data, sources, where=None, **more):
        if where:
            entry = write(os.path.join(folder, where, name), data)
        else:
            entry = {"size": len(data), "digest": "sha256:" + hashlib.sha256(data).hexdigest()}
        files.append(dict(name=name, sources=sources, **entry, **more))

    add("large.bin", numbers.randbytes(12_000_000), [url + "/large.bin"], "www")
    add("names/é 1.bin", numbers.randbytes(70_000), [url + "/names/%C3%A9%201.bin"], "www")
    add("pushed.bin", numbers.randbytes(6_000_000), [{"file": "pushed.bin"}], "folder")
    add("small.bin", numbers.randbytes(1_000), [{"file": "small.bin"}], "folder")
    add("empty.bin", b"", [{"file": "empty.bin"}], "folder")
    member = numbers.randbytes(30_000)
    write(folder + "/inside/member.bin", member)
    with tarfile.open(folder + "/folder.tar.gz", "w:gz") as archive:
        archive.add(folder + "/inside/member.bin", "inside/member.bin")
    with open(folder + "/folder.tar.gz", "rb") as stream:
        add("all.tar.gz", stream.read(), [url + "/all.tar.gz"], "www")
    add("member.bin", member, [{"archive": "all.tar.gz", "member": "inside/member.bin"}])
    add("absent.bin", b"nobody has this", [url + "/absent.bin"], required=False)

    for name, version, chosen in (("models", 2, files), ("older", 1, files[:3]), ("same", 2, files[:3]), ("newer", 3, [])):
        document = {"schema": 1, "name": "models", "version": version, "expires": "2099-01-01T00:00:00Z", "files": chosen}
        if name == "newer":
            document["files"] = [item for item in files if item["name"] not in ("pushed.bin", "absent.bin")]
        path = "%s/%s.json" % (folder, name)
        write(path, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
        sign(key, path)


main()
