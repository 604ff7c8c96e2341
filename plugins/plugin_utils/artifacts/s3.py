# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources in S3: the controller signs a URL that is valid for a while; a host gets that URL and no credential."""

from __future__ import annotations

import contextlib

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import printable, refuse

# Long enough for a set of some gigabytes over a slow link with its retries, short enough that a leaked URL is soon worthless.
DEFAULT_EXPIRES_SECONDS = 6 * 3600
# What AWS's signature version 4 allows (docs.aws.amazon.com, "Sharing objects with presigned URLs").
MAX_EXPIRES_SECONDS = 7 * 24 * 3600

OPTIONS = {
    "profile": {"type": "str"},
    "region": {"type": "str"},
    "endpoint_url": {"type": "str"},
    "access_key": {"type": "str", "no_log": True},
    "secret_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
    "addressing_style": {"type": "str", "choices": ["auto", "path", "virtual"], "default": "auto"},
    "expires_seconds": {"type": "int", "default": DEFAULT_EXPIRES_SECONDS},
}


class Presigner:
    """Makes URLs for s3://bucket/key. Talks to nobody: a signature is made from credentials alone."""

    def __init__(self, options):
        self._options = {key: value for key, value in (options or {}).items() if value not in (None, "")}
        self._client = None

    def url(self, address, where):
        """A URL (str) that needs no credential.

        :param address: s3://bucket/key (str).
        :param where: the file, for messages.
        :raises ArtifactsError: no boto3, no credentials, or an expiry that S3 does not allow.
        """
        bucket, unused, key = address[len("s3://"):].partition("/")
        seconds = self._options.get("expires_seconds", DEFAULT_EXPIRES_SECONDS)
        if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
            raise refuse(where, "URLs that shall be valid for %d seconds" % seconds, "1 to %d" % MAX_EXPIRES_SECONDS, "s3.expires_seconds")
        with self._refused(address, where):
            if self._client is None:
                self._client = self._open()
            return self._client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)

    def _open(self):
        import boto3
        import botocore.config

        session = boto3.session.Session(
            profile_name=self._options.get("profile"), region_name=self._options.get("region"), aws_access_key_id=self._options.get("access_key"),
            aws_secret_access_key=self._options.get("secret_key"), aws_session_token=self._options.get("session_token"))
        style = {"addressing_style": self._options.get("addressing_style", "auto")}
        return session.client("s3", endpoint_url=self._options.get("endpoint_url"), config=botocore.config.Config(signature_version="s3v4", s3=style))

    @contextlib.contextmanager
    def _refused(self, address, where):
        try:
            yield
        except ImportError:
            raise refuse("%s, source %s" % (where, address), "no boto3 on the controller", "the Python package boto3 beside ansible-core",
                         "pip install boto3, or give this file another source") from None
        except Exception as error:
            # botocore's errors have one root in a package that may not be there.
            if not type(error).__module__.startswith(("botocore", "boto3")):
                raise
            raise refuse("%s, source %s" % (where, address), "no URL: %s" % printable(str(error)), "credentials and a region that boto3 finds",
                         "s3 (profile, region, endpoint_url, access_key, secret_key), or AWS_PROFILE and AWS_REGION in the environment") from None
