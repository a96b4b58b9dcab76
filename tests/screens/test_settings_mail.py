"""Settings, Mail: what is shown of the server, and a test message that tells why it was not sent."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

import pytest
from django.test import Client
from django.urls import reverse

from console import mail
from secrets_app.models import AuditEvent
from secrets_app.people import users
from tests import factories
from tests.mail_fixtures import configuration
from tests.mail_server import PASSWORD, USER

pytestmark = pytest.mark.django_db
MAIL = "/settings/mail/"
ADDRESS = "dot@example.com"


@pytest.fixture
def as_dot(as_dot, dot) -> Client:
    users.readdress(dot, ADDRESS, actor=dot.principal)
    return as_dot


def send(client: Client) -> str:
    answer = client.post(reverse("settings_mail_test"))
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def last_event() -> AuditEvent:
    return AuditEvent.objects.filter(action="kms:SendTestMail").latest("sequence")


def test_what_is_configured_is_shown_with_its_variables_and_without_the_password(as_dot, mail_server):
    shown = as_dot.get(MAIL).content.decode()
    for text in ("127.0.0.1", str(mail_server.port), "STARTTLS", USER, "keyturn@example.com", ADDRESS):
        assert text in shown
    for name in ("HOST", "PORT", "SECURITY", "USER", "PASSWORD_FILE", "FROM"):
        assert f"KEYTURN_EMAIL_{name}" in shown
    assert PASSWORD not in shown


def test_a_test_message_arrives_at_ones_own_address_over_tls(as_dot, mail_server):
    shown = send(as_dot)
    assert "The test message was sent." in shown
    assert mail_server.was_encrypted
    assert [line for line in mail_server.heard if ADDRESS in line] == [f"rcpt TO:<{ADDRESS}>"]
    assert len(mail_server.messages) == 1
    assert "Subject: Keyturn: test message" in mail_server.messages[0]
    assert (last_event().outcome, last_event().details) == (
        "succeeded", {"server": f"127.0.0.1:{mail_server.port}"},
    )  # fmt: skip


def test_no_other_address_can_be_chosen(as_dot, mail_server):
    as_dot.post(reverse("settings_mail_test"), {"to": "other@example.com", "email": "other@example.com"})
    assert "other@example.com" not in "".join([*mail_server.heard, *mail_server.messages])
    assert len(mail_server.messages) == 1


@pytest.mark.parametrize(
    ("refuses", "code", "said"),
    [
        ("RCPT", "recipient", "refuses the recipient (reply 550)"),
        ("MAIL", "sender", "refuses the sender (reply 550)"),
        ("DATA", "protocol", "does not accept the message (reply 550)"),
    ],
)
def test_what_the_server_refuses_is_told_without_its_words(as_dot, mail_server, refuses, code, said):
    mail_server.refuses = refuses
    shown = send(as_dot)
    assert said in shown
    assert "not here" not in shown
    assert (last_event().outcome, last_event().details["because"]) == ("failed", code)


def test_a_wrong_password_is_told_and_shown_nowhere(as_dot, mail_server, settings, tmp_path):
    settings.MAIL.password_file.write_text("wrong-pass-1")
    shown = send(as_dot)
    assert "refuses the user or the password (reply 535)" in shown
    assert "wrong-pass-1" not in shown
    assert last_event().details["because"] == "sign_in"
    assert "wrong-pass-1" not in str(last_event().details)
    settings.MAIL.password_file.unlink()
    assert "cannot be read" in send(as_dot)


def test_a_certificate_that_is_not_trusted_gets_no_password(as_dot, mail_server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "is not trusted" in send(as_dot)
    assert last_event().details["because"] == "certificate"
    assert not any(line.startswith("AUTH") for line in mail_server.heard)
    assert mail_server.messages == []


def test_a_server_without_starttls_gets_no_password(as_dot, mail_server):
    mail_server.offers_starttls = False
    assert "does not offer STARTTLS" in send(as_dot)
    assert not any(line.startswith("AUTH") for line in mail_server.heard)


def test_a_server_that_is_away_is_told(as_dot, mail_server, settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings.MAIL = replace(settings.MAIL, port=taken.getsockname()[1])
        assert "refuses the connection" in send(as_dot)
    settings.MAIL = replace(settings.MAIL, host="no-such-host.invalid")
    assert re.search("cannot be resolved|cannot be reached", send(as_dot))


@pytest.mark.parametrize("how", ["is_silent", "drips"])
def test_a_server_that_never_finishes_holds_the_page_for_a_limited_time(
    as_dot, mail_server, monkeypatch, how
):
    monkeypatch.setattr(mail, "SECONDS", 0.5)
    setattr(mail_server, how, True)
    try:
        assert "did not finish within 10 seconds" in send(as_dot)
        assert last_event().details["because"] == "timeout"
    finally:
        setattr(mail_server, how, False)  # so that the thread that is left ends


def test_a_server_that_does_not_speak_tls_is_told(as_dot, mail_server, settings):
    settings.MAIL = replace(settings.MAIL, security="tls")
    assert "The encrypted connection" in send(as_dot)
    assert last_event().details["because"] == "tls"


def test_one_user_sends_few_of_them(as_dot, mail_server):
    for _ in range(5):
        send(as_dot)
    answer = as_dot.post(reverse("settings_mail_test"))
    assert answer.status_code == 429
    assert "5 test messages in 10 minutes" in answer.content.decode()
    assert len(mail_server.messages) == 5


def test_an_auditor_sees_the_server_and_sends_nothing(aud, mail_server, tmp_path):
    client = Client(headers={"Host": "localhost"})
    client.force_login(aud)
    assert configuration(mail_server, tmp_path).sender in client.get(MAIL).content.decode()
    assert "Send test" not in client.get(MAIL).content.decode()
    assert client.post(reverse("settings_mail_test")).status_code == 403
    assert mail_server.messages == []


def test_without_a_server_or_an_address_the_page_says_what_is_missing(as_dot, dot, settings, mail_server):
    users.readdress(dot, "", actor=dot.principal)
    assert "Your user has no e-mail address" in as_dot.get(MAIL).content.decode()
    assert as_dot.post(reverse("settings_mail_test")).status_code == 409
    settings.MAIL = None
    shown = as_dot.get(MAIL).content.decode()
    assert "No mail server is configured" in shown
    assert "KEYTURN_EMAIL_HOST" in shown
    assert as_dot.post(reverse("settings_mail_test")).status_code == 409
    assert not AuditEvent.objects.filter(action="kms:SendTestMail").exists()


def test_the_address_of_a_user_is_entered_on_their_page(as_dot):
    ann = factories.user("ann")
    edit = reverse("user_edit", args=[ann.pk])
    assert as_dot.post(edit, {"display_name": "Ann", "email": "not an address"}).status_code == 422
    as_dot.post(edit, {"display_name": "Ann", "email": "ann@example.com"})
    ann.refresh_from_db()
    assert ann.email == "ann@example.com"
    assert "ann@example.com" in as_dot.get(reverse("user", args=[ann.pk])).content.decode()
