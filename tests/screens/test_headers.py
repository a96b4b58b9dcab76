"""What every answer tells the browser, whoever asks and whatever comes of it."""

from __future__ import annotations

import re

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console import http
from console.middleware import CONTENT_SECURITY_POLICY
from secrets_app import keyring

pytestmark = pytest.mark.django_db

ASKED_BY_ANYONE = ["/", "/sign-in/", "/sign-out/", "/change-password/", "/healthz", "/no/such/page"]


@pytest.mark.parametrize("path", ASKED_BY_ANYONE)
@pytest.mark.parametrize("signed_in", [False, True])
def test_every_answer_carries_the_headers(client, dot, path, signed_in):
    if signed_in:
        client.force_login(dot)
    answer = client.get(path)
    assert answer["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert "camera=()" in answer["Permissions-Policy"]


@pytest.mark.parametrize("path", [path for path in ASKED_BY_ANYONE if path != "/healthz"])
def test_nothing_but_static_files_may_be_kept(client, dot, path):
    client.force_login(dot)
    assert "no-store" in client.get(path)["Cache-Control"]


def test_the_policy_allows_no_inline_code_and_no_other_host():
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "data:" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("path", ["/sign-in/", "/change-password/", "/no/such/page", "/sign-out/"])
def test_no_page_holds_inline_code_or_styles(client, dot, path):
    if path != "/sign-in/":
        client.force_login(dot)
    html = client.get(path).content.decode()
    assert re.search(r"<script(?![^>]*\bsrc=)", html) is None
    assert "<style" not in html
    assert re.search(r"\s(style|on\w+|hx-on[\w:-]*)=", html) is None


def test_no_template_and_no_script_evaluates_text():
    roots = [django_settings.BASE_DIR / "templates", django_settings.BASE_DIR / "static"]
    files = [path for root in roots for path in root.rglob("*") if path.suffix in {".html", ".js"}]
    forbidden = re.compile(
        r"hx-on|\bjs:|\beval\(|\.innerHTML|insertAdjacentHTML|document\.write|\|safe\b|autoescape"
    )
    found = {path.name for path in files if forbidden.search(path.read_text())}
    assert files
    assert found == set()


def test_forms_reach_the_csrf_check_with_an_origin(client):
    # Under no-referrer alone a browser sends "Origin: null" with a form, and nobody could sign in.
    assert '<meta name="referrer" content="same-origin">' in client.get("/sign-in/").content.decode()


def test_every_request_has_an_id_of_its_own(client):
    first, second = client.get("/sign-in/"), client.get("/sign-in/", headers={"X-Request-ID": "mine"})
    assert re.fullmatch(r"[0-9a-f]{32}", first["X-Request-ID"])
    assert re.fullmatch(r"[0-9a-f]{32}", second["X-Request-ID"])
    assert first["X-Request-ID"] != second["X-Request-ID"]


def test_a_part_of_a_page_is_never_replaced_by_the_sign_in_form(client):
    answer = client.get("/", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.content == b""
    assert "signedOut" in answer["HX-Trigger"]


def test_an_error_in_a_dialog_stays_in_the_dialog(client, dot):
    client.force_login(dot)
    answer = client.get("/no/such/page", headers={"HX-Request": "true", "HX-Target": "dialog"})
    assert answer.status_code == 404
    assert 'id="dialog-title"' in answer.content.decode()
    assert "<html" not in answer.content.decode()


def test_an_error_in_a_table_is_a_toast_and_leaves_the_table(client, dot):
    client.force_login(dot)
    answer = client.get("/no/such/page", headers={"HX-Request": "true", "HX-Target": "rows"})
    assert answer.status_code == 404
    assert answer["HX-Reswap"] == "none"
    assert "toast" in answer["HX-Trigger"]


def test_a_missing_page_never_repeats_its_address(client, dot):
    client.force_login(dot)
    assert "call-0800" not in client.get("/call-0800/").content.decode()


# ---------------------------------------------------------------- the address


def test_a_forwarded_address_counts_only_behind_a_proxy(settings):
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
    settings.SECURE_PROXY_SSL_HEADER = None
    assert http.client_address(request) == "127.0.0.1"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert http.client_address(request) == "203.0.113.9"


@pytest.mark.parametrize(
    ("host", "is_secure", "kept"),
    [
        ("localhost:8000", False, True),
        ("127.0.0.1:8000", False, True),
        ("keys.example.org", True, True),
        ("keys.example.org", False, False),
        ("10.0.0.5:8000", False, False),
        ("localhost.example.org", False, False),
    ],
)
def test_secure_cookies_are_kept_by_https_and_by_this_machine(host, is_secure, kept):
    request = RequestFactory().get("/", headers={"Host": host}, secure=is_secure)
    assert http.keeps_cookies(request) is kept


# ---------------------------------------------------------------- sealed mode


@pytest.fixture
def sealed(settings, tmp_path):
    """The root key file is gone from where Keyturn looks for it."""
    settings.ROOT_KEY_FILE = tmp_path / "gone" / "root.key"
    keyring.forget()
    yield
    keyring.forget()


@pytest.mark.parametrize("path", ["/", "/sign-in/", "/change-password/", "/no/such/page"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_sealed_there_is_one_page_and_nothing_is_written(client, dot, sealed, path, method, caplog):
    client.force_login(dot)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = getattr(client, method)(path)
    assert answer.status_code == 503
    assert "Keyturn is sealed" in answer.content.decode()
    # The log says once that it is sealed, and nothing of each request.
    assert not [record for record in caplog.records if record.name == "django.request"]
    assert [query["sql"] for query in asked if not query["sql"].startswith("SELECT")] == []


def test_sealed_nobody_can_sign_in(dot, sealed):
    client = Client()
    client.post(reverse("account_login"), {"login": "dot", "password": "correct horse battery staple"})
    assert "_auth_user_id" not in client.session


def test_sealed_the_health_check_still_answers(client, sealed):
    assert "Keyturn is sealed" not in client.get("/healthz").content.decode()
