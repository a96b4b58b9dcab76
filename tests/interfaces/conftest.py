"""The real web server, and the access key with which every client signs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey
from secrets_app.people import access_keys
from tests import factories
from tests.web_process import Web


def resource_policy(arn: str) -> str:
    """A policy by which dot may read this secret, of the account that its ARN names."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{arn.split(':')[4]}:user/dot"},
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


@pytest.fixture
def web(dot, tmp_path) -> Iterator[Web]:
    web = Web(tmp_path / "web.log")
    try:
        web.wait()
        yield web
    finally:
        web.end()


@pytest.fixture
def signed(dot) -> tuple[AccessKey, Plaintext]:
    """An access key of an application with every right, and its secret."""
    return access_keys.create(dot.principal, actor=factories.administrator())


@pytest.fixture
def client(web, signed, monkeypatch) -> Callable[..., Any]:
    """Make a client of boto3; nothing of this machine's own configuration counts."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def make(service: str = "secretsmanager", path: str = "/aws/", secret: str = "", region: str = "local-1"):
        key, own = signed
        session = boto3.session.Session(key.key_id, secret or own.reveal(), region_name=region)
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=60)
        return session.client(service, endpoint_url=f"{web.base}{path}", config=config)

    return make
