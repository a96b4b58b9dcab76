"""An identity provider is configured as a whole or not at all; a half one stops the start with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from console import openid_settings

ROOT = Path(__file__).resolve().parents[2]
ISSUER = "https://login.example.com/realms/company"


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Return a function that sets the variables by the end of their names."""
    file = tmp_path / "client.secret"
    file.write_text("the-secret\n")
    whole = {"ISSUER": ISSUER, "CLIENT_ID": "keyturn", "CLIENT_SECRET_FILE": str(file)}

    def give(whole=whole, **more):
        for name, text in (whole | more).items():
            monkeypatch.setenv(f"KEYTURN_OIDC_{name}", text)
        return openid_settings.read()

    return give


def test_nothing_given_is_nothing_configured():
    assert openid_settings.read() is None


def test_a_whole_configuration_holds_all_but_the_secret(given, tmp_path):
    found = given(NAME="Example", ONLY="yes", SECOND_FACTOR="mfa, gold")
    assert (found.issuer, found.client_id, found.name, found.is_only) == (ISSUER, "keyturn", "Example", True)
    assert found.second_factor == {"mfa", "gold"}
    assert openid_settings.secret_in(found.secret_file) == "the-secret"
    assert "the-secret" not in repr(found) + str(vars(found))


def test_what_is_optional_has_the_careful_default(given):
    found = given()
    assert (found.name, found.is_only, found.second_factor) == ("login.example.com", False, frozenset())


@pytest.mark.parametrize("lacking", ["ISSUER", "CLIENT_ID", "CLIENT_SECRET_FILE"])
def test_a_half_configuration_names_what_is_lacking(given, lacking):
    with pytest.raises(ImproperlyConfigured, match=f"KEYTURN_OIDC_{lacking} must be set too"):
        given(**{lacking: " "})


@pytest.mark.parametrize("name", ["NAME", "ONLY", "SECOND_FACTOR"])
def test_an_option_alone_is_half_a_configuration(given, name):
    with pytest.raises(ImproperlyConfigured, match="leave all of them unset"):
        given(whole={}, **{name: "true"})


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example.com", "login.example.com", "ftp://localhost", "https://", "http://127.0.0.1.example.com",
        "https://user:word@login.example.com", "https://login.example.com/?a=1", "https://login.example.com/#a",
        "https://[", "https://login.example.com/" + "a" * 200,
    ],
)  # fmt: skip
def test_an_issuer_that_is_not_https_or_not_an_issuer_is_refused(given, issuer):
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_OIDC_ISSUER must be"):
        given(ISSUER=issuer)


@pytest.mark.parametrize("issuer", ["http://localhost:8080/realms/a", "http://127.0.0.1:9", "http://[::1]:9"])
def test_plain_http_is_for_this_machine(given, issuer):
    assert given(ISSUER=issuer).issuer == issuer


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_secret_s_file_that_is_none_is_refused_without_its_content(given, tmp_path, content):
    file = tmp_path / "odd"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_OIDC_CLIENT_SECRET_FILE") as raised:
        given(CLIENT_SECRET_FILE=str(file))
    assert raised.value.__cause__ is None


def test_the_program_does_not_start_with_half_of_it(tmp_path):
    environment = os.environ | {"KEYTURN_OIDC_ISSUER": ISSUER, "KEYTURN_DATA": str(tmp_path)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"KEYTURN_OIDC_CLIENT_ID and KEYTURN_OIDC_CLIENT_SECRET_FILE must be set too" in done.stderr
