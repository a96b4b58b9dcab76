"""A generic secret is created and given its next value by forms that never show a value again."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from secrets_app import keyring
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import policies
from secrets_app.secrets import lifecycle, versions
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
VALUE = "correct-horse-1"


def text(response) -> str:
    return unescape(response.content.decode())


def create(client: Client, **given: str):
    factories.region("main")
    usual = {"name": "app/db", "format": "text", "value": VALUE, "key": keyring.DEFAULT_ALIAS}
    return client.post(
        reverse("secret_create_generic", args=["main"]), usual | {"token": str(uuid4())} | given, headers=HTMX
    )


def edit(client: Client, secret: Secret, **given: str):
    """Open the form, fill it in, and send it."""
    url = reverse("secret_put_value", args=["main", secret.pk])
    hidden = dict(re.findall(r'name="(token|replaces)" value="([^"]*)"', text(client.get(url, headers=HTMX))))
    return client.post(url, hidden | {"format": "text", "value": "next-value-2"} | given, headers=HTMX)


def now(secret: Secret) -> versions.Value:
    current = Secret.objects.get(pk=secret.pk).labelled("current")
    assert current
    return versions.value(current)


def test_a_text_json_and_what_is_binary_are_stored_as_they_are_typed(as_dot):
    long, raw = "a" * 65_536, bytes(range(256))
    for name, form, value in (
        ("app/text", "text", " two\nlines "),
        ("app/long", "text", long),
        ("app/json", "json", '{"user": "svc",  "password": "x"}'),
    ):
        assert create(as_dot, name=name, format=form, value=value, tags="team=web").status_code == 200
        made = Secret.objects.get(name=name)
        assert now(made).credential.reveal() == value
        assert lifecycle.tag_limit(made) == 50
        assert [str(tag) for tag in made.tags.all()]
    assert (
        create(as_dot, name="app/raw", format="binary", value=base64.b64encode(raw).decode()).status_code
        == 200
    )
    binary = now(Secret.objects.get(name="app/raw")).binary
    assert binary
    assert base64.b64decode(binary.reveal()) == raw


def test_what_cannot_be_stored_is_told_and_the_value_is_not_in_the_answer(as_dot):
    factories.generic_secret(name="taken", value="another-value-3")
    for given in (
        {"name": ""}, {"name": "a b"}, {"name": "a" * 513}, {"name": "taken"}, {"name": "a\0"},
        {"value": ""}, {"value": f"{VALUE}\0"}, {"value": VALUE * 5_000}, {"format": "json"}, {"format": "x"},
        {"format": "json", "value": "[" * 60_000}, {"format": "binary"},
        {"tags": "=x"}, {"tags": "\n".join(f"k{n}=v" for n in range(51))}, {"key": "none"}, {"token": "x"},
        {"description": "d" * 5_000},
    ):  # fmt: skip
        answer = create(as_dot, **given)
        assert answer.status_code == 422, given
        assert VALUE not in text(answer), given
    assert Secret.objects.count() == 1


def test_a_form_that_is_sent_twice_makes_one_version(as_dot):
    token = str(uuid4())
    assert create(as_dot, token=token).status_code == create(as_dot, token=token).status_code == 200
    assert create(as_dot, token=token, value="another-value-3").status_code == 422
    secret = Secret.objects.get()
    assert secret.versions.count() == 1
    given = {"token": str(uuid4()), "replaces": token}
    assert edit(as_dot, secret, **given).status_code == edit(as_dot, secret, **given).status_code == 200
    assert secret.versions.count() == 2
    assert now(secret).credential.reveal() == "next-value-2"
    assert AuditEvent.objects.filter(action="kms:PutSecretValue").count() == 1


def test_of_two_people_who_edit_one_value_the_later_one_changes_nothing(as_dot):
    secret = factories.generic_secret(name="app/db", value=VALUE)
    first = secret.labelled("current").version_id
    assert edit(as_dot, secret).status_code == 200
    answer = edit(as_dot, secret, replaces=first, value="lost-update-4")
    assert answer.status_code == 409
    assert "Another user changed this value" in text(answer)
    assert "lost-update-4" not in text(answer)
    assert now(secret).credential.reveal() == "next-value-2"
    assert secret.labelled("previous").version_id == first
    page = text(as_dot.get(reverse("secret", args=["main", secret.pk]) + "?tab=versions"))
    assert secret.labelled("current").version_id in page


def test_each_form_takes_its_own_right_and_is_for_generic_secrets_alone(as_dot, ann):
    token, managed = factories.generic_secret(value=VALUE), factories.secret(initial=VALUE)
    put = reverse("secret_put_value", args=["main", token.pk])
    assert put in text(as_dot.get(reverse("secret", args=["main", token.pk])))
    assert "/value/edit/" not in text(as_dot.get(reverse("secret", args=["main", managed.pk])))
    assert as_dot.get(reverse("secret_put_value", args=["main", managed.pk])).status_code == 409
    assert reverse("secret_create_generic", args=["main"]) in text(
        as_dot.get(reverse("secret_create", args=["main"]))
    )
    other = Client()
    other.force_login(ann)
    statement = {"Effect": "Allow", "Resource": "acs:kms:main:*:secret/mine/*",
                 "Action": ["kms:CreateSecret", "kms:DescribeSecret"]}  # fmt: skip
    document = json.dumps({"Version": "1", "Statement": [statement]})
    made = policies.create("mine", document, actor=factories.administrator())
    policies.attach(made, ann, actor=factories.administrator())
    assert other.get(put).status_code == 404
    assert create(other, name="theirs/x").status_code == 403
    assert create(other, name="mine/x", tags="team=web").status_code == 403
    assert create(other, name="mine/x").status_code == 200
    mine = Secret.objects.get(name="mine/x")
    assert other.get(reverse("secret_put_value", args=["main", mine.pk])).status_code == 403
    assert AuditEvent.objects.filter(action="kms:CreateSecret", outcome="denied").exists()
