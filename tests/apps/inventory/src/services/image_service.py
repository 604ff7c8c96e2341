# Stand-in for mcyork/thingdb (see README.md); our own code.
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures: checked, made small, and stored under three unrelated names."""
import io
import os
import uuid

from PIL import Image

from config import IMAGE_DIR


def is_valid_image(data):
    try:
        Image.open(io.BytesIO(data)).verify()
        return True
    except Exception:
        return False


def shrink(data, size):
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.thumbnail((size, size))
    output = io.BytesIO()
    picture.save(output, format="WebP", quality=70)
    return output.getvalue()


def save_image_to_file(data, original_name):
    os.makedirs(IMAGE_DIR, exist_ok=True)
    names = {
        "image_path": str(uuid.uuid4()) + os.path.splitext(original_name)[1],
        "thumbnail_path": "%s_thumb.webp" % uuid.uuid4(),
        "preview_path": "%s_preview.webp" % uuid.uuid4(),
    }
    for key, content in (("image_path", data), ("thumbnail_path", shrink(data, 200)), ("preview_path", shrink(data, 800))):
        with open(os.path.join(IMAGE_DIR, names[key]), "wb") as stream:
            stream.write(content)
    return names
