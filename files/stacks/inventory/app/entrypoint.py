#!/usr/bin/env python
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start of the inventory container: secrets from files into this process only, checks, a bounded wait for the database, gunicorn.

With arguments it runs them instead, with the same secrets and PGHOST, PGUSER, PGDATABASE and PGPASSWORD set:
`docker compose exec app entrypoint pg_dump`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

SECRETS = {"POSTGRES_PASSWORD": "postgres_password", "SECRET_KEY": "secret_key"}
# The application loads the first of these that exists and lets it override the environment: a file migrated from a native
# installation would send it to a database on localhost.
FOREIGN_ENVIRONMENT = (
    ".env", "/var/lib/inventory/app/.env", "/var/lib/inventory/config/.env", "/var/lib/inventory/config/environment.env",
    "../config/.env", "../config/environment.env", "../.env",
)
# The application's pool keeps connections in a transaction that nobody ends, after each thumbnail, and they hold their locks: its own
# restore then waits for itself until gunicorn kills it, and the tables are dropped by then. The database ends such connections; the
# pool tries each before it is used, and makes a new one. The transactions that it means to have take much less time.
SERVER_ENVIRONMENT = {"PGOPTIONS": "-c idle_in_transaction_session_timeout=15s"}


def refuse(message):
    """Say why the container does not start, and end it (78: configuration error of sysexits.h)."""
    print("inventory: %s" % message, file=sys.stderr, flush=True)
    sys.exit(78)


def read_secrets(environment, folder="/run/secrets"):
    """Secrets as environment variables.

    :arg environment: dict; a variable that it has already wins, ``<NAME>_FILE`` names another file.
    :returns: dict of str.
    """
    found = {}
    for variable, name in SECRETS.items():
        if environment.get(variable):
            continue
        path = environment.get(variable + "_FILE") or os.path.join(folder, name)
        try:
            with open(path, encoding="utf-8") as stream:
                value = stream.read().rstrip("\r\n")
        except OSError as error:
            refuse("%s: %s; needed: a file readable by uid %d (secret '%s' in stack.yml)" % (path, error.strerror, os.getuid(), name))
        if not value:
            refuse("%s is empty; needed: the secret '%s' of stack.yml" % (path, name))
        found[variable] = value
    return found


def prepare_folders(environment):
    """The folders that must be writable; leftovers of interrupted backups go."""
    temporary = environment.get("TMPDIR", "/tmp")
    for path in (environment["IMAGE_DIR"], temporary):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            refuse("%s: %s; needed: a volume that uid %d can write to" % (path, error.strerror, os.getuid()))
        if not os.access(path, os.W_OK | os.X_OK):
            refuse("%s is not writable for uid %d; needed: a volume that belongs to it (volumes in stack.yml)" % (path, os.getuid()))
    if temporary.endswith("/.tmp"):
        for name in os.listdir(temporary):
            leftover = os.path.join(temporary, name)
            if os.path.isdir(leftover) and not os.path.islink(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                os.unlink(leftover)
    os.makedirs(environment["HOME"], mode=0o700, exist_ok=True)


def wait_for_database(environment):
    """Return when the database takes a login; the application itself tries once and dies."""
    import psycopg2
    limit = float(environment.get("DB_WAIT_SECONDS", "60"))
    deadline = time.monotonic() + limit
    target = "%s:%s" % (environment.get("POSTGRES_HOST"), environment.get("POSTGRES_PORT", "5432"))
    while True:
        try:
            psycopg2.connect(host=environment.get("POSTGRES_HOST"), port=environment.get("POSTGRES_PORT", "5432"),
                             user=environment.get("POSTGRES_USER"), password=environment["POSTGRES_PASSWORD"],
                             dbname=environment.get("POSTGRES_DB"), connect_timeout=3).close()
            return
        except psycopg2.OperationalError as error:
            reason = " ".join(str(error).split())
        if "authentication failed" in reason:
            refuse("database %s refuses the password of user %s; the volume was made with another one: restore that secret, or change "
                   "the password with ALTER ROLE" % (target, environment.get("POSTGRES_USER")))
        if time.monotonic() >= deadline:
            if "does not exist" in reason:
                reason += "; the first start of this volume was interrupted: empty it (when nothing was ever in it) or restore a backup"
            refuse("no database at %s within %d s (DB_WAIT_SECONDS): %s" % (target, limit, reason))
        time.sleep(1)


def server_command(environment, application):
    """The command line of gunicorn."""
    # --preload: the tables are made once, before the workers are forked; what is preloaded cannot be loaded again.
    way = "--reload" if environment.get("GUNICORN_RELOAD") == "1" else "--preload"
    # Only nginx reaches the port, so its headers are believed.
    return ["gunicorn", way, "--workers", environment.get("WEB_WORKERS", "2"), "--timeout", environment.get("GUNICORN_TIMEOUT", "600"),
            "--bind", "0.0.0.0:8000", "--worker-tmp-dir", "/dev/shm", "--forwarded-allow-ips", "*", application]


def main():
    environment = os.environ
    environment.update(read_secrets(environment))
    arguments = sys.argv[1:]
    if arguments:
        environment.update(PGHOST=environment.get("POSTGRES_HOST", "db"), PGPORT=environment.get("POSTGRES_PORT", "5432"),
                           PGUSER=environment.get("POSTGRES_USER", "inventory"), PGDATABASE=environment.get("POSTGRES_DB", "inventory_db"),
                           PGPASSWORD=environment["POSTGRES_PASSWORD"])
        os.execvp(arguments[0], arguments)
    for path in FOREIGN_ENVIRONMENT:
        if os.path.exists(path):
            refuse("%s exists; the application would let it override this container's settings: remove it, and mount no config folder"
                   % os.path.abspath(path))
    prepare_folders(environment)
    wait_for_database(environment)
    with open("/opt/dockyard/app-module", encoding="ascii") as stream:
        application = stream.read().strip()
    for name, value in SERVER_ENVIRONMENT.items():
        environment.setdefault(name, value)
    os.execvp("gunicorn", server_command(environment, application))


if __name__ == "__main__":
    main()
