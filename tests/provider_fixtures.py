"""A configured identity provider for tests, and a browser's journey to it and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import reverse

from console import openid_settings
from tests.provider import CLIENT, SECRET, ModelProvider, running


@pytest.fixture(scope="session")
def _running_provider() -> Iterator[ModelProvider]:
    with running() as provider:
        yield provider


@pytest.fixture
def provider(_running_provider: ModelProvider, settings: Any, tmp_path: Path) -> ModelProvider:
    """Return a provider that is configured, honest and knows one person."""
    _running_provider.reset()
    settings.OIDC = configuration(_running_provider.issuer, tmp_path / "client.secret")
    return _running_provider


def configuration(issuer: str, file: Path, **more: Any) -> openid_settings.Provider:
    """What the environment would say of this provider."""
    file.write_text(SECRET)
    plain = openid_settings.Provider(issuer, CLIENT, file, "Example")
    return replace(plain, **more)


def begin(client: Client, name: str = "openid_sign_in", given: dict[str, str] | None = None) -> str:
    """Where the page leads that a beginning answers with."""
    answer = client.post(reverse(name), given or {})
    assert answer.status_code == 200, (answer.status_code, answer.headers, answer.content[-1500:])
    return str(answer["Refresh"]).partition("url=")[2]


def at_provider(address: str) -> str:
    """The path and query by which the provider sends the browser back."""
    answer = requests.get(address, allow_redirects=False, timeout=5)
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"


def journey(client: Client, name: str = "openid_sign_in", **given: str) -> HttpResponseBase:
    """There and back; the answer is the callback's."""
    answer: HttpResponseBase = client.get(at_provider(begin(client, name, given)))
    return answer
