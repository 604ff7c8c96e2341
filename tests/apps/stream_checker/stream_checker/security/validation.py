# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which URLs and numbers are taken at all."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


class ValidationError(Exception):
    """The URL is refused; the text says why."""


def check_url(url, schemes, block_private, longest):
    """Raise ValidationError unless the URL may be asked."""
    if len(url) > longest:
        raise ValidationError(f"URL exceeds maximum length of {longest} characters")
    parts = urlsplit(url)
    if not parts.scheme:
        raise ValidationError("URL must include a scheme (http:// or https://)")
    if parts.scheme.lower() not in schemes:
        raise ValidationError(f"Scheme '{parts.scheme.lower()}' is not allowed")
    if not parts.netloc:
        raise ValidationError("URL must include a hostname")
    if "../" in parts.path:
        raise ValidationError("Path traversal attempts are not allowed")
    if block_private and parts.hostname and _is_private(parts.hostname):
        raise ValidationError(f"Private/internal IP addresses are not allowed: {parts.hostname}")


def _is_private(host):
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_private or address.is_loopback or address.is_link_local
