# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs that need no credential, against moto's S3."""

from __future__ import annotations

import logging
import sys
import urllib.error
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError
from ansible_collections.dockyard.fleet.plugins.plugin_utils.artifacts import s3

KEYS = {"access_key": "AKIAEXAMPLE", "secret_key": "a secret that stays here", "region": "eu-west-1"}


@pytest.fixture(autouse=True)
def fixture_no_account(monkeypatch, tmp_path):
    """No credentials of this machine."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(name="endpoint", scope="module")
def fixture_endpoint():
    """A server with one bucket and one object."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://127.0.0.1:%d" % server.get_host_and_port()[1]
    client = boto3.client("s3", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_object(Bucket="models", Key="deep/é 1+2.bin", Body=b"content")
    yield url
    server.stop()


def test_a_url_gives_the_object_and_shows_no_secret(endpoint):
    url = s3.Presigner(dict(KEYS, endpoint_url=endpoint)).url("s3://models/deep/é 1+2.bin", "file a")
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"content"
    assert "X-Amz-Signature=" in url and "X-Amz-Expires=%d" % s3.DEFAULT_EXPIRES_SECONDS in url and "secret" not in url


def test_an_object_that_is_not_there_is_the_hosts_business(endpoint):
    url = s3.Presigner(dict(KEYS, endpoint_url=endpoint)).url("s3://models/none", "file a")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=10)


def test_credentials_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    url = s3.Presigner({"profile": "", "endpoint_url": None}).url("s3://models/a", "file a")
    assert "AKIAENVIRONMENT" in url and "eu-central-1" in url


def test_the_operator_chooses_how_long(monkeypatch):
    assert "X-Amz-Expires=60&" in s3.Presigner(dict(KEYS, expires_seconds=60)).url("s3://models/a", "file a") + "&"


@pytest.mark.parametrize("seconds", [0, -1, s3.MAX_EXPIRES_SECONDS + 1])
def test_times_that_s3_refuses(seconds):
    with pytest.raises(ArtifactsError, match="s3.expires_seconds"):
        s3.Presigner(dict(KEYS, expires_seconds=seconds)).url("s3://models/a", "file a")


@pytest.mark.parametrize("options,found", [({}, "Unable to locate credentials"), ({"profile": "nobody"}, "nobody")])
def test_without_credentials_the_settings_are_named(options, found):
    with pytest.raises(ArtifactsError, match="source s3://models/a: found no URL: .*%s.*AWS_PROFILE" % found):
        s3.Presigner(options).url("s3://models/a", "file a")


def test_without_boto3_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ArtifactsError, match="found no boto3 on the controller; .*pip install boto3"):
        s3.Presigner(KEYS).url("s3://models/a", "file a")
