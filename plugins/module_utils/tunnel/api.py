# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to Cloudflare's API v4: envelopes, paging, repeats, and errors that a person can act on.

The token is in one header of each request and nowhere else. Redirects are not followed, for they would take it along.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse

from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import ConnectionError as ConnectionTrouble
from ansible.module_utils.urls import open_url

BASE_URL = "https://api.cloudflare.com/client/v4"
# Cloudflare's limit is 1200 requests in five minutes; one that is met needs longer than a usual hiccup.
LONGEST_WAIT_SECONDS = 60
PAGE_SIZE = 50
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# What Cloudflare calls a token that it does not know, cannot read, or that lacks a right.
_RIGHTS = frozenset([1000, 6003, 6111, 9103, 9106, 9109, 10000, 10001])
_ROUTES = frozenset([7000, 7003])


class ApiError(Exception):
    """Cloudflare refused a request, or could not be asked.

    :ivar status: int HTTP status, or None without an answer. :ivar codes: list of int, Cloudflare's own.
    """

    def __init__(self, message, status=None, codes=()):
        super().__init__(message)
        self.status = status
        self.codes = list(codes)


def told(envelope):
    """Cloudflare's errors as one text, and their codes: ``10000 Authentication error``.

    :arg envelope: parsed answer, whatever it is.
    :returns: (str, list of int)
    """
    texts, codes = [], []
    errors = envelope.get("errors") if isinstance(envelope, dict) else None
    for entry in errors if isinstance(errors, list) else []:
        if not isinstance(entry, dict):
            continue
        chain = entry.get("error_chain")
        for part in [entry] + [link for link in (chain if isinstance(chain, list) else []) if isinstance(link, dict)]:
            texts.append("%s %s" % (part.get("code"), part.get("message")))
            codes.append(part.get("code"))
    return "; ".join(texts), codes


def needed(status, codes):
    """What would help, as the second half of an error's sentence."""
    found = set(codes)
    if found & _RIGHTS or status in (401, 403):
        return ("needed an API token with the rights Account > Cloudflare Tunnel > Edit and Zone > DNS > Edit (and Zone > Zone > Read, unless zone_ids "
                "names the zones) for this account and zone; correct api_token (role: tunnel_api_token)")
    if found & _ROUTES:
        return "needed an account id or zone id of 32 hexadecimal digits that exists; correct account_id or zone_ids (role: tunnel_account_id, tunnel_zone_ids)"
    if status == 429:
        return "needed fewer requests; run it again in five minutes, or set retries higher"
    if status is None or status >= 500:
        return "needed an answer; look at the network of the controller (and at www.cloudflarestatus.com), or set retries higher"
    return "needed a request that Cloudflare takes; correct the option that the message names"


def check_base_url(url):
    """:raises ApiError: the token would travel in the clear."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ApiError("api_url: found %r; needed https:// (http:// only to the controller itself), for the token goes there; correct api_url" % url)


def check_token(token):
    """:raises ApiError: there is none, or it can't be one; the text never has a part of it."""
    if not token:
        raise ApiError("api_token: found none; needed an API token of Cloudflare; set api_token, or CLOUDFLARE_API_TOKEN in the controller's environment")
    if not re.match(r"^[\x21-\x7e]+\Z", token):
        raise ApiError("api_token: found characters that no API token has (a blank, a line's end); needed the token alone; correct api_token")


class Client:
    """Requests to the API with one token.

    :arg token: str. :kwarg base_url: str, without a slash at its end.
    :kwarg timeout: int, seconds for one request. :kwarg retries: int, further tries after a passing failure.
    :kwarg ca_path: str or None, a PEM bundle instead of the controller's own.
    :kwarg opener: callable like ``open_url``. :kwarg sleep: callable(seconds).
    """

    def __init__(self, token, base_url=BASE_URL, timeout=30, retries=5, ca_path=None, opener=open_url, sleep=time.sleep):
        check_base_url(base_url)
        check_token(token)
        self._token = token
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._ca_path = ca_path
        self._open = opener
        self._sleep = sleep
        self.repeated = False

    def redact(self, text):
        """A text without the token."""
        return text.replace(self._token, "(the API token)") if self._token else text

    def call(self, method, path, query=None, body=None):
        """One request, repeated after 429, 5xx and a broken connection.

        ``repeated`` tells afterwards whether it was: what the first try made may then be there already.

        :arg path: str, from ``/accounts`` or ``/zones`` on. :kwarg query: dict. :kwarg body: what becomes JSON.
        :returns: dict, the whole envelope.
        :raises ApiError: refused, or no answer after the last try.
        """
        where = "Cloudflare, %s %s" % (method, path)
        url = self._base + path + ("?" + urllib.parse.urlencode(sorted(query.items())) if query else "")
        data = None if body is None else json.dumps(body).encode("utf-8")
        self.repeated = False
        for attempt in range(self._retries + 1):
            status, envelope, after, trouble = self._once(method, url, data)
            if status is not None and 200 <= status < 300 and isinstance(envelope, dict) and envelope.get("success", True) is True:
                return envelope
            passing = status is None or status == 429 or status >= 500
            if passing and attempt < self._retries:
                self.repeated = True
                self._sleep(min(LONGEST_WAIT_SECONDS, max(after, 2 ** attempt)))
                continue
            text, codes = told(envelope)
            found = "no answer (%s)" % trouble if status is None else "status %d, %s" % (status, text or trouble or "without a word of why")
            tries = " after %d tries" % (attempt + 1) if attempt else ""
            raise ApiError(self.redact("%s: found %s%s; %s" % (where, found, tries, needed(status, codes))), status, codes)

    def _once(self, method, url, data):
        """:returns: (int status or None, parsed body or None, seconds that Cloudflare asks to wait, str trouble)"""
        headers = {"Authorization": "Bearer %s" % self._token, "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._open(url, method=method, data=data, headers=headers, timeout=self._timeout, ca_path=self._ca_path, follow_redirects="none",
                                http_agent="dockyard.fleet", use_netrc=False, force_basic_auth=False)
            status, info, content = answer.getcode(), answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, info, content = error.code, error.headers, error.read()
        except (OSError, http.client.HTTPException, ConnectionTrouble, ValueError) as error:
            return None, None, 0, to_text(getattr(error, "reason", error))
        try:
            envelope, trouble = json.loads(content.decode("utf-8")), ""
        except ValueError:
            envelope, trouble = None, "an answer that is not JSON"
        after = (info or {}).get("Retry-After") or "0"
        return status, envelope, int(after) if after.isdigit() else 0, trouble

    def get(self, path, query=None):
        """The ``result`` of a GET."""
        return self.call("GET", path, query).get("result")

    def listed(self, path, query=None):
        """All entries of a list, page after page.

        :returns: list of dict.
        """
        entries, page = [], 1
        while True:
            envelope = self.call("GET", path, dict(query or {}, page=page, per_page=PAGE_SIZE))
            found = envelope.get("result") or []
            entries.extend(found)
            info = envelope.get("result_info") or {}
            total = info.get("total_count")
            # An API that serves fewer a page than asked for is believed.
            size = info.get("per_page") or PAGE_SIZE
            if not found or (len(entries) >= total if isinstance(total, int) else len(found) < size):
                return entries
            page += 1
