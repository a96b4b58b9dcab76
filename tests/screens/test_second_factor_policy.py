"""A policy that wants a second factor: whom it stops, whom it lets through, and what it tells the first."""

from __future__ import annotations

import json

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from secrets_app.models import AuditEvent
from secrets_app.policy import policies
from tests import factories
from tests.screens.test_second_factor import code_of, give_code, set_up, sign_in

pytestmark = pytest.mark.django_db
VALUE = "canary-of-two-factors"
START = "2026-03-01T08:00:00Z"


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def secret(dot):
    return factories.secret(initial=VALUE)


def attach(effect: str, present: str, **more: object) -> None:
    """From now on this statement holds for administrators, on the secret's own actions and on lists."""
    condition = {"Bool": {"acs:MFAPresent": present}}
    statement = {"Effect": effect, "Action": "kms:*Secret*", "Resource": "*", "Condition": condition} | more
    text = json.dumps({"Version": "1", "Statement": [statement]})
    policy = policies.create("two-factors", text, actor=factories.administrator())
    policies.attach(policy, Group.objects.get(name="administrators"), actor=factories.administrator())


def test_a_deny_without_a_second_factor_stops_a_password_and_lets_a_code_through(client, secret, clock):
    attach("Deny", "false", Action=["kms:GetSecretValue", "kms:ListSecrets"])
    where = reverse("secret_reveal", args=["main", secret.pk])
    sign_in(client)
    for answer in (client.get(where), client.post(where, {"reason": "x"}), client.get("/main/secrets/")):
        assert answer.status_code == 403
        page = answer.content.decode()
        assert VALUE not in page
        assert "Deny by statement 1 of the policy two-factors." in page
        assert f'href="{reverse("mfa_index")}">Set up a second factor</a>' in page
    key = set_up(client)
    clock.shift(60)
    told = client.get(where).content.decode()
    confirm = f"{reverse('mfa_reauthenticate')}?next={where.replace('/', '%2F')}"
    assert f'href="{confirm}">Confirm with your second factor</a>' in told
    clock.shift(60)
    done = client.post(confirm, {"code": code_of(key)})
    assert done["Location"] == where
    assert client.get(where).status_code == 200

    clock.shift(60)
    other = Client()
    sign_in(other)
    assert other.get(where).status_code == 302
    give_code(other, code_of(key))
    assert VALUE in other.post(where, {"reason": "x"}).content.decode()
    assert other.get("/main/secrets/").status_code == 200
    assert AuditEvent.objects.filter(action="kms:GetSecretValue", outcome="denied").exists()


def test_an_allow_for_a_second_factor_tells_whoever_has_none_too(client, ann, secret, clock):
    everything = {"Version": "1", "Statement": [allow("kms:Describe*")]}
    wanted = allow("kms:RestoreSecret", Condition={"Bool": {"acs:MFAPresent": "true"}})
    everything["Statement"].append(wanted)
    policy = policies.create("helpers", json.dumps(everything), actor=factories.administrator())
    policies.attach(policy, ann, actor=factories.administrator())
    sign_in(client, "ann")
    page = client.get(reverse("secret_restore", args=["main", secret.pk])).content.decode()
    assert "Set up a second factor" in page
    other = client.get(reverse("secret_rotate", args=["main", secret.pk]))
    assert other.status_code == 403
    assert "second factor" not in other.content.decode()


def allow(action: str, **more: object) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": "*"} | more


def test_a_refusal_that_a_second_factor_would_not_lift_speaks_of_none(client, hal, secret):
    sign_in(client, "hal")
    page = client.get(reverse("secret_reveal", args=["main", secret.pk]))
    assert page.status_code == 403
    assert "a second factor" not in page.content.decode()
    document = {"Version": "1", "Statement": [allow("kms:CreatePolicy")]}
    policy = policies.create("writers", json.dumps(document), actor=factories.administrator())
    policies.attach(policy, hal, actor=factories.administrator())
    only = client.get(reverse("policy_create"))
    assert only.status_code == 403
    assert "Set up a second factor" not in only.content.decode()


def test_in_a_dialog_the_way_out_stands_too(client, secret):
    attach("Deny", "false", Action="kms:GetSecretValue")
    sign_in(client)
    where = reverse("secret_reveal", args=["main", secret.pk])
    page = client.get(where, headers={"HX-Request": "true", "HX-Target": "dialog"}).content.decode()
    assert "<html" not in page
    assert f'<a href="{reverse("mfa_index")}">Set up a second factor</a>' in page
