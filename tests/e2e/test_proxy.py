"""What a real nginx, started as the production shape starts it, lets the console believe of a client."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from tests import services
from tests.e2e import ready
from tests.e2e.proxied import HOST, Visitor, proxy
from tests.e2e.served import Served

pytestmark = pytest.mark.xdist_group("restored")
LAST_SIGN_IN = """
import json
from secrets_app.models import AuditEvent
print(json.dumps(AuditEvent.objects.filter(action="kms:SignIn").order_by("-sequence").first().address))
"""
TRUSTED = "127.0.0.2,127.0.0.3"
CLIENT = "198.51.100.7"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One console behind a proxy, with nobody's tries counted but those of its tests."""
    made = Served(
        tmp_path_factory.mktemp("proxied"),
        KEYTURN_PUBLIC_URL=f"https://{HOST}",
        KEYTURN_BEHIND_PROXY="true",
    )
    try:
        ready.with_people(made)
        made.serve()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def plain(site):
    """TLS has ended elsewhere, at a proxy of a trusted network."""
    with proxy(site.port, trusted=TRUSTED) as running:
        yield running


@pytest.fixture(scope="module")
def with_tls(site):
    """It ends TLS itself, and trusts nobody."""
    with proxy(site.port, ends_tls=True) as running:
        yield running


def test_without_tls_it_says_so_and_plain_http_is_sent_to_https(plain):
    assert "ends no TLS" in plain.said()
    answer = Visitor(plain, "127.0.0.9").ask("GET", "/sign-in/")
    assert answer.status == 301
    assert answer.headers["Location"] == f"https://{HOST}/sign-in/"


def test_a_stranger_who_says_that_it_is_https_is_not_believed(plain):
    stranger = Visitor(plain, "127.0.0.9", X_Forwarded_Proto="https", X_Forwarded_For=CLIENT)
    assert stranger.ask("GET", "/sign-in/").status == 301


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (CLIENT, CLIENT),
        (f"203.0.113.66, {CLIENT}", CLIENT),
        (f"203.0.113.66, {CLIENT}, 127.0.0.3", CLIENT),
        (f"127.0.0.3, {CLIENT}", CLIENT),
    ],
)
def test_a_trusted_proxy_is_believed_once_and_the_audit_has_the_clients_address(site, plain, said, counts):
    visitor = Visitor(plain, "127.0.0.2", X_Forwarded_Proto="https", X_Forwarded_For=said)
    assert visitor.sign_in().status == 302
    assert site.inside(LAST_SIGN_IN) == counts


def test_where_it_ends_tls_nobody_is_believed(site, with_tls):
    visitor = Visitor(with_tls, "127.0.0.2", tls=True, X_Forwarded_For=CLIENT, X_Forwarded_Proto="http")
    assert visitor.sign_in().status == 302
    assert site.inside(LAST_SIGN_IN) == "127.0.0.2"
    stranger = Visitor(with_tls, "127.0.0.9", X_Forwarded_Proto="https")
    assert stranger.ask("GET", "/sign-in/").status == 301


def test_tries_are_counted_by_the_clients_address_and_not_by_the_proxys(plain):
    def guess(client: str, number: int) -> str:
        said = f"203.0.113.{number}, {client}"
        visitor = Visitor(plain, "127.0.0.2", X_Forwarded_Proto="https", X_Forwarded_For=said)
        return visitor.sign_in(f"nobody-{number}", "a wrong password").text

    assert any("Too many failed attempts" in guess("192.0.2.1", number) for number in range(60))
    assert "is wrong" in guess("198.51.100.130", 61)


@pytest.fixture
def dying():
    """A web process that dies with each request: its connection ends before an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def die():
            with contextlib.suppress(OSError):
                while True:
                    came, _ = listener.accept()
                    with came:
                        came.recv(65536)

        threading.Thread(target=die, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["away", "dying"])
def test_without_a_web_process_the_answer_is_503_and_says_when_to_ask_again(how, method, dying):
    with proxy(services.free_port() if how == "away" else dying) as running:
        answer = Visitor(running, "127.0.0.9").ask(method, "/sign-in/", "a=b" if method == "POST" else None)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "check the current state before you try again" in answer.text


def test_a_trusted_network_that_is_none_is_named_and_nothing_starts(site):
    with pytest.raises(AssertionError, match="is not a network"), proxy(site.port, trusted="1.2.3.4;evil"):
        pass
