"""Rotate Immediately: the dialog, the run that it starts, and what two people at once see."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from rotation import runs
from rotation.models import Run
from secrets_app.actions import Action
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, messages

pytestmark = pytest.mark.django_db

VALUE = "canary-3c9d:The-new-Value-with-32-characters"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
ROUTINE = {"reason": "routine", "token": "one-press"}
CUSTOM = {"reason": "routine", "use_custom": "on", "value": VALUE, "token": "one-press"}


@pytest.fixture
def secret() -> Secret:
    return factories.secret()


def where(secret: Secret) -> str:
    return reverse("secret_rotate", args=["main", secret.pk])


def text(response) -> str:
    return response.content.decode()


def test_the_dialog_says_what_will_happen(as_dot, secret):
    shown = text(as_dot.get(where(secret), headers=HTMX))
    for words in (
        "Prompt",
        "Use Custom Secret",
        "32-character random password",
        "Confirm rotation",
        "Leaked",
    ):
        assert words in shown
    assert not secret.runs.exists()


def test_confirming_starts_a_rotation_in_the_name_of_who_pressed(as_dot, dot, secret):
    answer = as_dot.post(where(secret), ROUTINE, headers=HTMX)
    assert answer.status_code == 202
    assert "Rotation triggered" in text(answer)
    assert "Close" in text(answer)
    assert "secretsChanged" in answer["HX-Trigger"]
    run = secret.runs.get()
    assert (run.kind, run.trigger, run.requested_by) == ("rotate", "manual", dot.principal)
    assert not run.is_leak


def test_a_leak_goes_before_other_work(as_dot, secret):
    as_dot.post(where(secret), ROUTINE | {"reason": "leaked"}, headers=HTMX)
    assert secret.runs.get().is_leak


@pytest.mark.django_db(transaction=True)
def test_a_worker_is_woken_once_the_run_is_stored(client, dot):
    client.force_login(dot)
    secret = factories.secret()
    client.post(where(secret), CUSTOM, headers=HTMX)
    [message] = messages.waiting()
    assert VALUE not in message


def test_without_script_confirming_leads_back_to_the_secret(as_dot, secret):
    answer = as_dot.post(where(secret), ROUTINE)
    assert answer.status_code == 302
    assert answer["Location"] == reverse("secret", args=["main", secret.pk])
    assert "Rotation triggered." in text(as_dot.get(answer["Location"]))


def test_pressing_twice_is_one_rotation_even_when_the_first_has_ended(as_dot, secret):
    for _ in range(2):
        as_dot.post(where(secret), ROUTINE, headers=HTMX)
        secret.runs.update(state=Run.State.ENDED, outcome=Run.Outcome.SUCCEEDED)
    assert secret.runs.count() == 1


def test_each_dialog_has_a_token_of_its_own(as_dot, secret):
    first, second = (as_dot.get(where(secret)).context["form"]["token"].value() for _ in range(2))
    assert first
    assert first != second


def test_a_custom_value_is_sealed_and_shown_nowhere(as_dot, secret):
    answer = as_dot.post(where(secret), CUSTOM, headers=HTMX)
    assert VALUE not in text(answer)
    version = secret.runs.get().version
    assert version.origin == "custom"
    assert versions.value(version).password.reveal() == VALUE


def test_a_value_left_in_a_switched_off_field_is_not_used(as_dot, secret):
    as_dot.post(where(secret), CUSTOM | {"use_custom": ""}, headers=HTMX)
    assert secret.runs.get().version is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"value": ""}, "Enter the new password"),
        ({"value": f"{VALUE}\nroot:owned"}, "line break"),
        ({"value": f"{VALUE}\x00"}, "a NUL"),
        ({"value": VALUE * 100}, "at most 511 bytes"),
        ({"reason": "whim"}, "Select a valid choice"),
    ],
)
def test_a_wrong_value_gets_its_sentence_and_does_not_come_back(as_dot, secret, wrong, sentence):
    for headers in (HTMX, None):
        answer = as_dot.post(where(secret), CUSTOM | wrong, headers=headers)
        assert answer.status_code == 422
        assert sentence in text(answer)
        assert "canary-3c9d" not in text(answer)
    assert not secret.runs.exists()


def test_a_second_person_joins_the_rotation_that_is_under_way(as_dot, secret):
    runs.start(secret, actor=factories.user("eve", "administrators").principal)
    assert "started by eve" in text(as_dot.get(where(secret), headers=HTMX))
    answer = as_dot.post(where(secret), ROUTINE, headers=HTMX)
    assert answer.status_code == 202
    assert "started by eve" in text(answer)
    assert secret.runs.count() == 1


def test_a_custom_value_is_refused_while_a_rotation_is_under_way(as_dot, secret):
    runs.start(secret, actor=factories.administrator())
    answer = as_dot.post(where(secret), CUSTOM, headers=HTMX)
    assert answer.status_code == 409
    assert "Your secret is being rotated, please try again later" in text(answer)
    assert VALUE not in text(answer)


def test_a_secret_pending_deletion_does_not_rotate(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    answer = as_dot.post(where(secret), ROUTINE, headers=HTMX)
    assert answer.status_code == 409
    assert "Restore it first" in text(answer)
    assert not secret.runs.exists()


def test_a_value_that_the_host_may_have_heard_is_settled_before_a_custom_one(as_dot, secret):
    run = runs.start(
        secret,
        actor=factories.administrator(),
        value=factories.Plaintext("An-earlier-Value-0123456789-abcdef"),
    )
    versions.mark_offered(run.version)
    Run.objects.filter(pk=run.pk).update(state=Run.State.ENDED, outcome=Run.Outcome.FAILED)
    answer = as_dot.post(where(secret), CUSTOM, headers=HTMX)
    assert answer.status_code == 409
    assert "Rotate once without a custom value first" in text(answer)


# ---------------------------------------------------------------- the password policy

WEAK = CUSTOM | {"value": "canary-3c9d"}
BECAUSE = {"overrides_policy": "on", "policy_reason": "an old <i>device</i>"}


@pytest.mark.parametrize("headers", [HTMX, None])
def test_a_value_that_breaks_the_password_policy_is_refused_beside_its_field(as_dot, secret, headers):
    answer = as_dot.post(where(secret), WEAK, headers=headers)
    assert answer.status_code == 422
    [error] = answer.context["form"].errors["value"]
    assert "at least 32 characters" in error
    assert "an upper-case letter" in text(answer)
    assert "canary-3c9d" not in text(answer)
    assert not secret.runs.exists()


def test_a_user_with_that_right_may_use_it_even_so_for_a_reason(as_dot, secret):
    assert "Use it even if it breaks the password policy" in text(as_dot.get(where(secret)))
    answer = as_dot.post(where(secret), WEAK | BECAUSE | {"policy_reason": " "}, headers=HTMX)
    assert answer.status_code == 422
    assert "policy_reason" in answer.context["form"].errors
    assert not secret.runs.exists()
    assert as_dot.post(where(secret), WEAK | BECAUSE, headers=HTMX).status_code == 202
    run = secret.runs.get()
    assert run.reason == "an old <i>device</i>"
    versions.promote(run.version)
    for tab in ("overview", "versions"):
        shown = as_dot.get(reverse("secret", args=["main", secret.pk]), {"tab": tab})
        assert "at least 32 characters" in text(shown)
        assert "an old &lt;i&gt;device&lt;/i&gt;" in shown.content.decode()


def test_a_user_without_that_right_is_not_offered_to_break_the_policy(as_dot, secret):
    factories.deny(Action.OVERRIDE_POLICY)
    assert "overrides_policy" not in as_dot.get(where(secret)).content.decode()
    assert as_dot.post(where(secret), WEAK | BECAUSE, headers=HTMX).status_code == 403
    assert not secret.runs.exists()


def test_a_reason_that_is_left_in_a_field_out_of_sight_is_not_kept(as_dot, secret):
    given = ROUTINE | {"policy_reason": "left from before"}
    assert as_dot.post(where(secret), given, headers=HTMX).status_code == 202
    assert secret.runs.get().reason == ""
