"""The real web server, and the access key with which every client signs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey
from secrets_app.people import access_keys
from tests import factories
from tests.web_process import Web


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
