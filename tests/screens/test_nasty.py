"""No text that anybody sends is an error of ours, and what was saved can be shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import hypothesis
import pytest
from django.http import QueryDict
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import reverse
from hypothesis import strategies as st

from secrets_app import rulebook
from secrets_app.models import Policy, User
from tests import factories
from tests.screens import nasty
from tests.screens.routes import CHANGES, READS, SIGN_IN
from tests.screens.routes.calls import Call
from tests.screens.test_aud_01 import (  # noqa: F401  # two of them are fixtures
    _no_checkpoints_of_other_tests,
    again,
    browser,
    cast,
    content,
    fresh,
    undone,
)

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("matrix")]


@contextmanager
def noting() -> Iterator[set[str]]:
    """The names that are asked of what was sent, whatever asks."""
    found: set[str] = set()
    kept = {name: getattr(QueryDict, name) for name in ("get", "getlist", "__getitem__", "__contains__")}

    def instead(name: str) -> Any:
        def ask(self: QueryDict, key: str, *more: Any, **named: Any) -> Any:
            found.add(key)
            return kept[name](self, key, *more, **named)

        return ask

    with pytest.MonkeyPatch.context() as patch:
        for name in kept:
            patch.setattr(QueryDict, name, instead(name))
        yield found


def send(client: Client, name: str, call: Call, given: dict[str, Any]) -> HttpResponseBase:
    """As no browser would: half characters go as they are."""
    words = urlencode(given, doseq=True, errors="surrogatepass")
    if call.method == "post":
        return client.post(call.url(name), words, content_type="application/x-www-form-urlencoded")
    path = call.url(name)
    return client.get(path + ("&" if "?" in path else "?") + words)


def fields_of(client: Client, name: str, call: Call, given: dict[str, Any]) -> list[str]:
    """What this route reads of a form or of an address, beside what a real one holds."""
    with undone(), noting() as found:
        content(send(again(client), name, call, given))
    return sorted((found | given.keys()) - {"csrfmiddlewaretoken"})


def shown_after(client: Client, name: str, call: Call, answer: HttpResponseBase) -> list[str]:
    """The pages on which the change stands: where it leads, the page of the same thing, and the first one."""
    if call.method != "post" or answer.status_code >= 400:
        return []
    leads = answer.headers.get("HX-Redirect") or answer.headers.get("Location") or ""
    return [path for path in (leads, call.url(name), reverse("home")) if path.startswith("/")]


def check(client: Client, name: str, call: Call, given: dict[str, Any]) -> None:
    """One request, and a look at what it has left. Nothing of it is an error of ours."""
    answer = send(client, name, call, given)
    body = content(answer)
    allowed = {503} if call.answer == 503 or name == "healthz" else set()
    assert answer.status_code < 500 or answer.status_code in allowed, (answer.status_code, body[:300])
    for path in shown_after(client, name, call, answer):
        page = client.get(path)
        content(page)
        assert page.status_code < 500, (path, page.status_code)


TABLES = {**CHANGES, **SIGN_IN, **READS}
TEXT = st.sampled_from(nasty.ALL) | st.text(max_size=200)


# Walks every route, so that two walks are many requests; each time the same ones.
@hypothesis.settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(choice=st.data())
def test_whatever_a_field_of_any_form_or_address_is_sent_is_no_error(cast, choice):  # noqa: F811
    home, wrong = browser(cast.dot), []
    for name, make in TABLES.items():
        with undone():
            made = make(fresh(cast))
            call = made if isinstance(made, Call) else Call(list(made), method="get")
            client = browser() if name in SIGN_IN else again(home)
            given = (call.before(client) if call.before else None) or call.given
            fields = fields_of(client, name, call, given)
            chosen = choice.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=2)) if fields else []
            nasty_ones = {field: choice.draw(TEXT) for field in chosen}
            try:
                check(client, name, call, {**given, **nasty_ones})
            except Exception as error:  # noqa: BLE001  # all are named together
                sent = {field: ascii(text)[:80] for field, text in nasty_ones.items()}
                wrong.append(f"{name} {sent}: {type(error).__name__} {ascii(error)[:300]}")
    assert not wrong, "\n".join(wrong)


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize("text", nasty.DOCUMENTS + nasty.DEEP, ids=lambda text: ascii(text[56:90]))
def test_a_policy_s_document_is_refused_or_can_be_shown(client, dot, text):
    client.force_login(dot)
    given = {"name": "odd", "description": "", "document": text}
    answer = client.post(reverse("policy_create"), given)
    policy = Policy.objects.filter(name="odd").first()
    assert answer.status_code == (302 if policy else 422)
    if policy is None:
        return
    rulebook.attach(policy, factories.user("ann"), actor=dot.principal)
    ann = Client()
    ann.force_login(User.objects.get(username="ann"))
    for path in (
        reverse("policies"),
        reverse("policy", args=[policy.pk]),
        reverse("policy_edit", args=[policy.pk]),
    ):
        assert client.get(path).status_code == 200
    for path in (reverse("secrets", args=["all"]), reverse("home")):
        assert ann.get(path, follow=True).status_code < 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nasty.document(more=f', "x": {"9" * 5_000}'), "Line 1: A number has at most 40 characters."),
        (nasty.document(resource="1e999"), "Line 1: 1e999 is not a number that JSON has."),
        (nasty.document(resource='"\\ud800"'), "Line 1: A text holds U+D800, which cannot be kept."),
        (
            "{\n" + nasty.document(resource='"\\uD800"')[1:],
            "Line 2: A text holds U+D800, which cannot be kept.",
        ),
        (nasty.document(resource='"\\u0000"'), "Line 1: A text holds U+0000, which cannot be kept."),
        (nasty.DEEP[2], "Line 1: This is nested too deeply."),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_line(client, dot, text, says):
    client.force_login(dot)
    answer = client.post(reverse("policy_create"), {"name": "odd", "document": text})
    assert answer.status_code == 422
    assert says in answer.content.decode()


def test_a_document_that_was_saved_before_this_denies_and_its_page_is_shown(client, dot):
    client.force_login(dot)
    policy = rulebook.create("odd", nasty.document(), actor=dot.principal)
    for text in nasty.DOCUMENTS:
        Policy.objects.filter(pk=policy.pk).update(document=text.encode(errors="replace").decode())
        assert client.get(reverse("policy", args=[policy.pk])).status_code == 200


# ---------------------------------------------------------------- the request itself


@pytest.mark.parametrize(
    "charset", ["utf-7", "utf-16", "unicode_escape", "zip", "idna", "no-such-thing", "latin-1"]
)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"])
def test_a_form_in_another_encoding_is_refused(client, charset, kind):
    body = b'--b\r\nContent-Disposition: form-data; name="login"\r\n\r\n+2AA-\\ud800\r\n--b--\r\n'
    answer = client.generic("POST", reverse("account_login"), body, f"{kind}; charset={charset}")
    assert answer.status_code == 400
    assert "cannot be read" in answer.content.decode()


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"'])
def test_a_form_that_says_utf_8_is_read(client, dot, charset):
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    words = urlencode({"login": "dot", "password": factories.PASSWORD})
    assert client.post(reverse("account_login"), words, content_type=kind)["Location"] == reverse("home")


@pytest.mark.parametrize("path", ["/a%00b/", "/all/secrets/?q=%00", "/all/secrets/?q=a%00b", "/static/%00"])
def test_nul_in_an_address_is_refused(client, dot, path):
    client.force_login(dot)
    assert client.get(path).status_code == 400


@pytest.mark.parametrize(
    "text", [*nasty.DEEP, *nasty.NUMBERS, '"\\ud800"', '{"id": "\\ud800"}', "[1]", "null"]
)
def test_a_passkey_s_answer_that_is_none_is_an_error_of_the_form(client, dot, text):
    client.force_login(dot)
    client.get(reverse("mfa_add_webauthn"))
    answer = client.post(reverse("mfa_add_webauthn"), {"name": "key", "credential": text})
    assert answer.status_code in {200, 422}
