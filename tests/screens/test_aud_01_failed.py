"""AUD-01: what was tried and did not succeed is in the trail too, each time by its own name."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from secrets_app.actions import Action
from secrets_app.audit import refusals
from secrets_app.audit import trail as audit
from secrets_app.models import AuditEvent, Refusals
from secrets_app.policy import grants, policies
from tests import factories
from tests.factories import PASSWORD
from tests.screens.routes import own
from tests.screens.routes.calls import Cast, queued, secret

pytestmark = pytest.mark.django_db

SIGN_IN, FACTOR, CONFIRM = "kms:SignIn", "kms:UseSecondFactor", "kms:ConfirmIdentity"


@pytest.fixture
def trail():
    """Return what has been recorded since the test began."""
    before = AuditEvent.objects.values_list("sequence", flat=True).first() or 0

    def since() -> list[tuple[str, str, str]]:
        rows = AuditEvent.objects.filter(sequence__gt=before).order_by("sequence")
        return list(rows.values_list("action", "outcome", "actor_name"))

    return since


def browser(user=None) -> Client:
    client = Client(headers={"Host": "localhost"})
    if user:
        client.force_login(user)
    return client


def sign_in(client: Client, password: str = PASSWORD) -> None:
    client.post(reverse("account_login"), {"login": "dot", "password": password})


def passkey_answer(client: Client, name: str, of: own.Passkey | None = None) -> dict[str, str]:
    """What a passkey answers to this page; by default not one that belongs to anybody."""
    answer = (of or own.Passkey()).confirmed(own.options_on(own.shown_to(client, name)))
    return {"credential": json.dumps(answer)}


# ---------------------------------------------------------------- coming


def test_a_wrong_code_after_the_right_password_is_told_apart_from_a_wrong_password(dot, trail):
    own.add_app(dot)
    client = browser()
    sign_in(client, "wrong wrong wrong")
    sign_in(client)
    client.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert trail()[-2:] == [(SIGN_IN, "denied", "anonymous"), (FACTOR, "denied", "anonymous")]
    event = AuditEvent.objects.first()
    assert (event.resource_id, event.decision) == (
        dot.pk,
        "The second factor was wrong, too old, or used before.",
    )
    assert "000000" not in str(vars(event))


def test_a_code_that_was_used_before_is_recorded_as_a_wrong_one(dot, trail):
    own.add_app(dot)
    with time_machine.travel("2026-03-01T08:00:00Z", tick=False):
        for client in (browser(), browser()):
            sign_in(client)
            client.post(reverse("mfa_authenticate"), {"code": own.code_of()})
    assert [one[:2] for one in trail()[-2:]] == [(SIGN_IN, "succeeded"), (FACTOR, "denied")]


def test_a_wrong_passkey_is_recorded_at_sign_in_and_to_confirm_and_the_right_one_opens(dot, trail):
    here = browser(dot)
    mine = own.has_passkey(here)
    client = browser()
    sign_in(client)
    start = len(trail())
    where = reverse("mfa_authenticate")
    client.post(where, passkey_answer(client, "mfa_authenticate"))
    client.post(where, passkey_answer(client, "mfa_authenticate", mine))
    here.post(reverse("mfa_reauthenticate_webauthn"), passkey_answer(here, "mfa_reauthenticate_webauthn"))
    assert trail()[start:] == [
        (FACTOR, "denied", "anonymous"),
        (SIGN_IN, "succeeded", "dot"),
        (CONFIRM, "denied", "dot"),
    ]


def test_an_event_of_signing_in_says_which_second_factor_it_was(dot, hal):
    own.add_app(dot)
    client = browser()
    sign_in(client)
    client.post(reverse("mfa_authenticate"), {"code": own.code_of()})
    assert AuditEvent.objects.first().details == {"second_factor": "totp"}
    browser().post(reverse("account_login"), {"login": "hal", "password": PASSWORD})
    assert AuditEvent.objects.first().details == {}


def test_many_wrong_codes_within_a_minute_are_one_event_and_a_count(dot, trail):
    own.add_app(dot)
    client = browser()
    sign_in(client)
    for number in range(4):
        client.post(reverse("mfa_authenticate"), {"code": f"00000{number}"})
    assert trail()[-1][:2] == (FACTOR, "denied")
    assert len([one for one in trail() if one[0] == FACTOR]) == 1
    Refusals.objects.update(since=timezone.now() - timedelta(minutes=2))
    refusals.record_counted()
    event = AuditEvent.objects.first()
    assert (event.action, event.details["more"]) == (FACTOR, 3)


# ---------------------------------------------------------------- at an open session


def test_a_wrong_password_and_a_wrong_code_to_confirm_are_recorded_of_whose_session_it_is(dot, trail):
    own.add_app(dot)
    client = browser(dot)
    start = len(trail())
    client.post(reverse("account_reauthenticate"), {"password": "wrong wrong wrong"})
    assert trail()[start:] == [(CONFIRM, "denied", "dot")]
    assert AuditEvent.objects.first().decision == "The password was wrong."
    Refusals.objects.all().delete()  # a minute later
    client.post(reverse("mfa_reauthenticate"), {"code": "000000"})
    assert trail()[start + 1 :] == [(CONFIRM, "denied", "dot")]


def test_confirming_says_by_what(dot):
    own.add_app(dot)
    client = browser(dot)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert AuditEvent.objects.first().details == {"by": "password"}
    client.post(reverse("mfa_reauthenticate"), {"code": own.code_of()})
    assert AuditEvent.objects.first().details == {"by": "totp"}


def test_aud_03_who_confirms_without_an_event_has_not_confirmed(dot, monkeypatch):
    client = browser(dot)
    kept = client.session
    kept["began_at"] -= 301
    kept.save()

    def full(*_, **__):
        raise audit.NotRecorded

    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", full)
        answer = client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert answer.status_code == 503
    assert client.get(reverse("invite"))["Location"].startswith(reverse("account_reauthenticate"))


def test_a_wrong_current_password_is_recorded_where_somebody_wants_another_one(dot, trail):
    client = browser(dot)
    start = len(trail())
    words = {"oldpassword": "wrong wrong wrong", "password1": own.NEW_PASSWORD, "password2": own.NEW_PASSWORD}
    client.post(reverse("account_change_password"), words)
    assert trail()[start:] == [("kms:ChangePassword", "denied", "dot")]


# ---------------------------------------------------------------- refused further in


def refused(client: Client, name: str, args: list[object], given: dict[str, object]) -> tuple[int, list[str]]:
    before = AuditEvent.objects.first().sequence
    status = client.post(reverse(name, args=args), given).status_code
    rows = AuditEvent.objects.filter(sequence__gt=before)
    assert {(row.outcome, bool(row.decision)) for row in rows} == {("denied", True)}
    return status, [row.action for row in rows]


def test_what_needs_a_second_right_is_recorded_under_the_name_of_that_right(dot, ann, hal):
    made = secret()
    credential = factories.credential()
    factories.deny(Action.PUT_SECRET_VALUE, Action.USE_CREDENTIAL)
    client = browser(dot)
    given = {"reason": "routine", "use_custom": "on", "value": "a-value-of-my-own-1", "token": "t"}
    assert refused(client, "secret_rotate", ["main", made.pk], given) == (403, ["kms:PutSecretValue"])
    given = {"name": "web-9", "os": "linux", "address": "10.0.0.9", "port": "22", "credential": credential.pk}
    assert refused(client, "instance_register", ["main"], given) == (
        422,
        ["kms:UseManagementCredential"],
    )
    text = policies.document(["kms:CreateUser", "kms:ListGroups"])
    inviter = policies.create("inviter", text, actor=factories.administrator())
    policies.attach(inviter, ann, actor=dot.principal)
    given = {"username": "nia", "groups": [Group.objects.get(name="helpdesk").name]}
    assert refused(browser(ann), "invite", [], given) == (403, ["kms:CreateUser"])


def test_a_right_that_ends_between_the_page_and_the_change_is_refused_with_its_event(dot, monkeypatch):
    made = secret()
    monkeypatch.setattr("console.access.resources.secret", lambda *_: made)
    client = browser(factories.user("eve"))
    for name in ("secret_rotate", "secret_drift", "secret_reconcile", "secret_reveal"):
        Refusals.objects.all().delete()
        status, actions = refused(client, name, ["main", made.pk], {"reason": "routine", "token": "t"})
        assert (status, len(actions)) == (403, 1), name


def test_a_leavers_secret_that_may_not_be_rotated_stands_in_the_trail(dot, ann, aud):
    made = secret()
    grants.grant(made, ann, [Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET], actor=dot.principal)
    cast = Cast(dot, aud, ann)
    browser(ann).post(reverse("secret_reveal", args=["main", made.pk]), {"reason": "x"})
    answer = refused(browser(aud), "user_revealed", [cast.eve.pk], {"secret": [made.pk]})
    assert answer == (403, ["kms:RotateSecret"])


# ---------------------------------------------------------------- joined


def test_a_press_that_joins_a_rotation_is_recorded_where_it_changes_something(dot):
    run = queued()
    client = browser(dot)

    def press(reason: str) -> list[dict[str, object]]:
        before = AuditEvent.objects.first().sequence
        where = reverse("secret_rotate", args=["main", run.secret.pk])
        assert client.post(where, {"reason": reason}).status_code == 302
        return [event.details for event in AuditEvent.objects.filter(sequence__gt=before)]

    assert press("routine") == []
    (told,) = press("leaked")
    assert (told["run"], told["joins"], told["is_leak"]) == (str(run.pk), True, True)
    assert press("leaked") == []
