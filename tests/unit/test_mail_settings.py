"""The mail server as the environment says it: all that it needs, or nothing."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from console import mail_settings

WHOLE = {"HOST": "mail.example.com", "FROM": "keyturn@example.com"}


@pytest.fixture
def given(monkeypatch):
    def give(**values: str) -> None:
        for name in ("HOST", "PORT", "SECURITY", "USER", "PASSWORD_FILE", "FROM"):
            monkeypatch.delenv(f"KEYTURN_EMAIL_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"KEYTURN_EMAIL_{name}", value)

    return give


def test_without_a_variable_there_is_no_mail(given):
    given()
    assert mail_settings.read() is None


@pytest.mark.parametrize(("security", "port"), [("", 587), ("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_the_encryption(given, security, port):
    given(**WHOLE, SECURITY=security)
    server = mail_settings.read()
    assert server
    assert (server.security, server.port) == (security or "starttls", port)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"HOST": "mail.example.com"}, "KEYTURN_EMAIL_FROM"),
        ({"FROM": "keyturn@example.com"}, "KEYTURN_EMAIL_HOST"),
        (WHOLE | {"USER": "keyturn"}, "KEYTURN_EMAIL_PASSWORD_FILE"),
        (WHOLE | {"PASSWORD_FILE": "/run/mail"}, "KEYTURN_EMAIL_USER"),
        (WHOLE | {"FROM": "keyturn"}, "KEYTURN_EMAIL_FROM"),
        (WHOLE | {"PORT": "0"}, "KEYTURN_EMAIL_PORT"),
        (WHOLE | {"SECURITY": "ssl"}, "KEYTURN_EMAIL_SECURITY"),
    ],
)
def test_half_a_configuration_stops_the_start_with_the_variable(given, values, named):
    given(**values)
    with pytest.raises(ImproperlyConfigured, match=named):
        mail_settings.read()


def test_a_password_travels_unencrypted_to_this_machine_alone(given):
    secret = {"USER": "keyturn", "PASSWORD_FILE": "/run/mail", "SECURITY": "none"}
    given(**WHOLE, **secret)
    with pytest.raises(ImproperlyConfigured, match="unencrypted"):
        mail_settings.read()
    given(**(WHOLE | {"HOST": "localhost"}), **secret)
    assert mail_settings.read()
