"""A configured mail server for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console import mail_settings
from tests.mail_server import PASSWORD, USER, MailServer, running


@pytest.fixture(scope="session")
def _running_mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with running(tmp_path_factory.mktemp("mail")) as server:
        yield server


@pytest.fixture
def mail_server(
    _running_mail_server: MailServer, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MailServer:
    """Return a server that is configured, trusted, and takes every message."""
    _running_mail_server.reset()
    monkeypatch.setenv("SSL_CERT_FILE", str(_running_mail_server.certificate))
    settings.MAIL = configuration(_running_mail_server, tmp_path)
    return _running_mail_server


def configuration(server: MailServer, folder: Path, **more: Any) -> mail_settings.Server:
    """What the environment would say of this server."""
    file = folder / "mail.password"
    file.write_text(f"{PASSWORD}\n")
    given = {"port": server.port, "security": "starttls", "user": USER, "password_file": file} | more
    return mail_settings.Server(host="127.0.0.1", sender="keyturn@example.com", **given)
