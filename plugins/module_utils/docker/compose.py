# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to Docker Compose v2 (``docker compose``)."""

from __future__ import annotations

import hashlib
import json


class ComposeError(Exception):
    """A Compose command failed; the text is what it said, without noise."""


def tail(text, lines):
    """The last lines of a text that are not empty."""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def parse_hashes(output):
    """The answer of ``config --hash '*'``: ``service hash`` a line.

    :returns: dict of service to hash.
    """
    return dict(line.split()[:2] for line in output.splitlines() if len(line.split()) == 2)


def with_environment(value, path):
    """The hash of a service, made another one by the content of its env file.

    :arg value: str. :arg path: str, a file that may be absent.
    :returns: str
    """
    try:
        with open(path, "rb") as handle:
            return hashlib.sha256(value.encode("utf-8") + b"\0" + handle.read()).hexdigest()
    except FileNotFoundError:
        return value


class Compose:
    """Commands on one project.

    :arg run: callable(list argv) -> (rc, stdout, stderr), as ``AnsibleModule.run_command``.
    :arg docker: str, path of the docker program.
    :arg project: str.
    :arg directory: str, the project directory, which has ``.env`` and the Compose files.
    :arg files: list of str, names of the Compose files in it.
    :kwarg profiles: iterable of str, profiles whose services count.
    """

    def __init__(self, run, docker, project, directory, files, profiles=()):
        self._run = run
        self._directory = directory
        self._base = [docker, "compose", "--project-name", project, "--project-directory", directory, "--env-file", "%s/.env" % directory]
        for name in files:
            self._base += ["--file", "%s/%s" % (directory, name)]
        for name in profiles:
            self._base += ["--profile", name]

    def argv(self, *words):
        """The whole command line."""
        return self._base + list(words)

    def call(self, *words):
        """Run a command.

        :returns: str, standard output.
        :raises ComposeError: it ended with another code than 0.
        """
        rc, out, err = self._run(self.argv(*words))
        if rc != 0:
            raise ComposeError(tail(err, 15) or tail(out, 15) or "docker compose %s ended with code %d" % (words[0], rc))
        return out

    def model(self):
        """The resolved model of the project, as a dict."""
        return json.loads(self.call("config", "--format", "json"))

    def hashes(self):
        """A hash of each service: Compose's, and with it that of ``<service>.env`` where there is one.

        ``config --hash`` does not look into env files (seen with Compose 2.26), while the label ``com.docker.compose.config-hash`` that ``up``
        writes covers them; without such a file both are the same.
        """
        return {service: with_environment(value, "%s/%s.env" % (self._directory, service))
                for service, value in parse_hashes(self.call("config", "--hash", "*")).items()}

    def create(self, services):
        """Create or recreate these services with their networks and volumes; start none."""
        self.call(*(["up", "--no-start", "--no-build", "--pull", "never"] + sorted(services)))

    def up(self, services, remove_orphans=False):
        """Create or recreate, and start, these services, and those that they depend on.

        Not with ``--no-deps``: Compose (seen with 2.26) then labels the container with the hash of a service without its
        ``depends_on``, which is another one than ``config --hash`` tells, and every later run would recreate it.
        """
        words = ["up", "--detach", "--no-build", "--pull", "never"]
        if remove_orphans:
            words.append("--remove-orphans")
        self.call(*(words + sorted(services)))

    def restart(self, services):
        """Restart these services."""
        self.call(*(["restart", "--no-deps"] + sorted(services)))
