"""Pages that hold nothing secret are compressed; one that shows a value, a code or a key never is."""

from __future__ import annotations

import gzip
import re

import pytest
from django.http import HttpResponse
from django.urls import resolve, reverse

from console.compression import Compression
from tests import factories
from tests.factories import PASSWORD
from tests.screens.test_second_factor import code_of, codes_on, key_on

pytestmark = pytest.mark.django_db(transaction=True)

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
VALUE = "canary-77d1-value"


@pytest.fixture
def here(client, dot):
    """dot's client, who has just signed in with the password."""
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    return client


def is_open(answer, canary: str) -> bool:
    """Whether the answer shows this text, and is not compressed."""
    return "Content-Encoding" not in answer and canary in answer.content.decode()


def test_a_list_and_what_it_leads_to_are_compressed_and_hold_the_same(as_dot):
    secret = factories.secret()
    for url in (
        reverse("secrets", args=["all"]),
        reverse("overview", args=["all"]),
        reverse("secret", args=["main", secret.pk]),
        reverse("search", query={"q": "svc"}),
    ):
        plain, packed = as_dot.get(url), as_dot.get(url, headers=GZIP)
        assert "Content-Encoding" not in plain
        assert packed["Content-Encoding"] == "gzip", url
        assert "Accept-Encoding" in packed["Vary"]
        assert int(packed["Content-Length"]) == len(packed.content) < len(plain.content) / 2
        assert "Keyturn" in gzip.decompress(packed.content).decode() or "svc" in plain.content.decode()


def test_the_answer_to_a_form_and_an_error_are_not_compressed_on_a_page_that_is(rf):
    where = reverse("secrets", args=["all"])

    def is_compressed(request, status: int = 200) -> bool:
        request.resolver_match = resolve(where)
        answer = Compression(lambda _: HttpResponse(b"a" * 2000, status=status))(request)
        return "Content-Encoding" in answer

    assert is_compressed(rf.get(where, headers=GZIP))
    assert not is_compressed(rf.post(where, headers=GZIP))
    assert not is_compressed(rf.get(where, headers=GZIP), status=422)


def test_a_page_that_shows_a_value_is_not_compressed(here):
    secret = factories.secret(initial=VALUE)
    answer = here.post(reverse("secret_reveal", args=["main", secret.pk]), {"reason": "r"}, headers=GZIP)
    assert is_open(answer, VALUE)


def test_a_page_that_shows_the_key_of_an_app_is_not_compressed(here):
    answer = here.get(reverse("mfa_activate_totp"), headers=GZIP)
    assert is_open(answer, key_on(answer.content.decode()))


def test_a_page_that_shows_recovery_codes_is_not_compressed(here):
    key = key_on(here.get(reverse("mfa_activate_totp")).content.decode())
    answer = here.post(reverse("mfa_activate_totp"), {"code": code_of(key)}, headers=GZIP)
    assert is_open(answer, codes_on(answer.content.decode())[0])
    again = here.post(reverse("mfa_view_recovery_codes"), headers=GZIP)
    assert is_open(again, codes_on(again.content.decode())[0])


def test_a_page_that_shows_a_link_to_sign_in_is_not_compressed(here):
    words = {"username": "nia", "display_name": "Nia", "groups": ["helpdesk"]}
    answer = here.post(reverse("invite"), words, headers=GZIP)
    assert is_open(answer, re.search(r"http://[^<]*(/invitation/[^<]+)</pre>", answer.content.decode())[1])
