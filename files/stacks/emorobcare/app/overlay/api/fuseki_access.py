# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SPARQLWrapper and requests that log in at Fuseki. The application uses both without a login; here Fuseki lets nobody in without one."""

from __future__ import annotations

import os

import SPARQLWrapper as _wrapper
import requests as _requests

USER = os.environ.get("FUSEKI_USER", "api")
PASSWORD_FILE = os.environ.get("FUSEKI_PASSWORD_FILE", "/run/secrets/fuseki_api_password")


def login():
    """(user, password); read each time, so that a new password needs no new image."""
    with open(PASSWORD_FILE, encoding="utf-8") as stream:
        return USER, stream.read().strip()


class SPARQLWrapper(_wrapper.SPARQLWrapper):
    """The original with the login set."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.setCredentials(*login())


class _Requests:
    """The module `requests`, whose requests to Fuseki carry the login; nobody else gets it."""

    def __getattr__(self, name):
        found = getattr(_requests, name)
        if name not in ("get", "post", "put", "delete", "head", "patch"):
            return found

        def request(url, **options):
            if url.startswith(os.environ.get("FUSEKI_URL", "http://fuseki:3030").rstrip("/") + "/"):
                options.setdefault("auth", login())
            return found(url, **options)

        return request


requests = _Requests()


def __getattr__(name):
    """All other names of SPARQLWrapper (JSON, XML, POST ...)."""
    return getattr(_wrapper, name)
