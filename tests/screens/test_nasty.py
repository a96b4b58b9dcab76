"""No text that anybody sends is an error of ours, and what was saved can be shown."""

from __future__ import annotations

import random
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from console.presentation import documents
from secrets_app.models import Policy, User
from secrets_app.policy import policies
from tests import factories
from tests.screens import nasty, nasty_walk
from tests.screens.routes import CHANGES, READS, SIGN_IN, access, keys, own, secrets, settings
from tests.screens.test_aud_01 import (  # noqa: F401  # two of them are fixtures
    _no_checkpoints_of_other_tests,
    browser,
    cast,
)

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("nasty")]


TABLES = {
    "secrets": secrets.CHANGES, "keys": keys.CHANGES, "access": access.CHANGES, "own": own.CHANGES,
    "settings": settings.CHANGES, "sign-in": SIGN_IN, "reads": READS,
}  # fmt: skip
#: Some of what each walk must have come by, or it would find nothing wrong.
KNOWN = {
    ("post", "policy_create", "document"), ("post", "policy_create", "description"),
    ("post", "secret_edit", "tags"), ("post", "secret_rotate", "value"), ("post", "secret_grant", "to"),
    ("post", "account_login", "login"), ("get", "secrets", "q"), ("get", "audit", "since"),
}  # fmt: skip

#: Some of the pages on which what was saved stands.
SHOWN = {
    "secrets", "secrets_export", "instances_export", "rotations_export_csv", "policies", "users", "user",
    "groups", "audit", "audit_event", "audit_export_csv", "audit_export_json", "audit_export_shape",
    "keys", "key", "home",
}  # fmt: skip


def test_the_tables_of_the_walk_are_all_routes():
    walked = [name for table in TABLES.values() for name in table]
    assert sorted(walked) == sorted(pattern.name for pattern in get_resolver().url_patterns)


@pytest.mark.parametrize("part", TABLES)
def test_whatever_a_field_of_any_form_or_address_is_sent_is_no_error_and_is_shown(cast, part):  # noqa: F811
    """Each time the same texts: what fails here fails everywhere. NUL in all of them is another test's."""
    draw = random.Random(f"{part} 0")
    walk = nasty_walk.Walk(cast, lambda fields: {one: _text(draw) for one in fields})
    walk.over(TABLES[part])
    assert not walk.wrong, "\n".join(walk.wrong)
    assert {name for _, name, _ in walk.walked} <= set(TABLES[part])
    assert walk.walked >= {known for known in KNOWN if known[1] in TABLES[part]}
    if set(TABLES[part]) & set(CHANGES):
        assert walk.opened >= SHOWN


def _text(draw):
    """One of the known ones, or as often a few characters of any kind."""
    if draw.random() < 0.5:
        return draw.choice(nasty.ALL)
    return "".join(_character(draw) for _ in range(draw.randint(0, 6)))


def _character(draw):
    """One of ASCII, of the first 2,048 or of all, each as often; no half, which UTF-8 cannot write."""
    number = draw.randrange(draw.choice([0x80, 0x800, 0x10F800]))
    return chr(number if number < 0xD800 else number + 0x800)


def test_the_walk_finds_a_page_that_cannot_show_what_was_saved(cast, monkeypatch):  # noqa: F811
    def lines(text):
        assert "odd-one" not in text
        return text.splitlines()

    monkeypatch.setattr(documents, "lines", lines)
    text = nasty.document('"kms:DescribeSecret"', '"acs:kms:*:*:secret/odd-one"')
    walk = nasty_walk.Walk(cast, lambda fields: {"document": text} if "document" in fields else {})
    walk.over({"policy_create": CHANGES["policy_create"]})
    assert walk.wrong
    assert all("is not shown: AssertionError" in one and "post policy_create" in one for one in walk.wrong)


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5_000, "0" * 300 + "1"])
@pytest.mark.parametrize(
    "name", ["session_end", "mfa_remove_webauthn", "group", "group_join", "group_leave", "audit_event"]
)
def test_a_number_of_any_length_in_an_address_is_no_error(client, dot, name, number):
    client.force_login(dot)
    more = [dot.pk] if name == "group_leave" else []
    where = reverse(name, args=[7, *more]).replace("/7/", f"/{number}/")
    for answer in (client.get(where), client.post(where)):
        assert answer.status_code in {404, 405} if number[0] == "9" else answer.status_code < 500


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
    policies.attach(policy, factories.user("ann"), actor=dot.principal)
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
    policy = policies.create("odd", nasty.document(), actor=dot.principal)
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
