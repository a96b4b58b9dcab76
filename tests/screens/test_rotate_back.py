"""Rotate back to this value, and Cancel."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rotation import instance_checks, runs
from rotation.models import Run, Step
from secrets_app.models import Secret, SecretVersion
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
VALUE = "canary-9b1e:the first value"


@pytest.fixture
def secret() -> Secret:
    """A secret with an earlier value."""
    made = factories.secret(initial=VALUE)
    factories.settle(made)
    held = versions.Value("svc", password=factories.Plaintext("canary-9b1e:the second value"))
    versions.promote(versions.stage(made, held, origin="generated", actor=factories.administrator()))
    return made


def earlier(secret: Secret) -> SecretVersion:
    return secret.labelled("previous")


def back(secret: Secret, version: SecretVersion | None = None) -> str:
    return reverse("secret_rotate_back", args=["main", secret.pk, (version or earlier(secret)).pk])


def page(secret: Secret, tab: str = "versions") -> str:
    return reverse("secret", args=["main", secret.pk]) + f"?tab={tab}"


def text(response) -> str:
    return response.content.decode()


# ---------------------------------------------------------------- rotate back


def test_an_earlier_version_offers_the_way_back_and_the_current_one_does_not(as_dot, secret):
    shown = text(as_dot.get(page(secret)))
    assert back(secret) in shown
    assert back(secret, secret.labelled("current")) not in shown


def test_the_way_back_starts_a_rotation_with_that_value_and_shows_it_to_nobody(as_dot, dot, secret):
    asked = text(as_dot.get(back(secret), headers=HTMX))
    assert "The value is not shown." in asked
    assert not secret.runs.exists()
    for _ in range(2):
        answer = as_dot.post(back(secret), {"token": "one-press"}, headers=HTMX)
    run = secret.runs.get()
    assert (run.kind, run.requested_by) == ("rotate", dot.principal)
    assert versions.value(run.version).password.reveal() == VALUE
    shown = text(as_dot.get(page(secret)))
    assert "An earlier value again" in shown
    assert "canary-9b1e" not in asked + text(answer) + shown + text(as_dot.get(page(secret, "overview")))
    assert back(secret) not in shown  # while it is under way


@pytest.mark.parametrize("token", ["a\0b", "\0", "a" * 65])
def test_a_token_that_no_row_can_hold_is_refused_and_starts_nothing(as_dot, secret, token):
    assert as_dot.post(back(secret), {"token": token}, headers=HTMX).status_code == 400
    assert not secret.runs.exists()


def test_while_a_rotation_is_under_way_it_is_refused(as_dot, secret):
    runs.start(secret, actor=factories.administrator())
    answer = as_dot.post(back(secret), {"token": "x"}, headers=HTMX)
    assert answer.status_code == 409
    assert "please try again later" in text(answer)


def test_a_version_of_another_secret_is_not_there(as_dot, secret):
    other = factories.secret(initial=VALUE)
    assert as_dot.post(back(secret, other.labelled("current"))).status_code == 404


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_rotate_has_neither_button_nor_way(client, request, secret, who):
    client.force_login(request.getfixturevalue(who))
    assert back(secret) not in text(client.get(page(secret)))
    assert client.post(back(secret)).status_code == 403
    assert not secret.runs.exists()


# ---------------------------------------------------------------- cancel


def cancel(run: Run) -> str:
    return reverse("run_cancel", args=["main", run.pk])


def test_a_run_is_cancelled_from_its_page(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator())
    where = reverse("run", args=["main", run.pk])
    assert cancel(run) in text(as_dot.get(where))
    assert as_dot.post(cancel(run))["Location"] == where
    shown = text(as_dot.get(where))
    assert "Cancelled by dot" in shown
    assert cancel(run) not in shown


def test_once_the_host_is_told_the_page_says_why_not(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(state="running", attempts=1)
    shown = text(as_dot.get(reverse("run", args=["main", run.pk])))
    assert "It can no longer be cancelled" in shown
    assert cancel(run) not in shown
    answer = as_dot.post(cancel(run))
    assert answer.status_code == 409
    assert "has sent a new value to the instance" in text(answer)
    assert Run.objects.get(pk=run.pk).is_active


def test_a_run_whose_value_is_current_already_does_not_say_that_this_is_unknown(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(state="waiting", attempts=1)
    where = reverse("run", args=["main", run.pk])
    step = Step.objects.create(run=run, number=1, name="finish", worker="w", lease=1)
    assert "until it is known which value works" in text(as_dot.get(where))
    Step.objects.filter(pk=step.pk).update(state="done")
    shown = text(as_dot.get(where))
    assert "the new value is current, and the steps after that are left" in shown
    assert "until it is known which value works" not in shown


def test_a_look_at_an_instance_is_not_cancelled(as_dot):
    run = instance_checks.check(factories.instance(), actor=factories.administrator())
    assert as_dot.post(cancel(run)).status_code == 409
    assert cancel(run) not in text(as_dot.get(reverse("run", args=["main", run.pk])))


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_rotate_cannot_cancel(client, request, secret, who):
    run = runs.start(secret, actor=factories.administrator())
    client.force_login(request.getfixturevalue(who))
    assert client.post(cancel(run)).status_code in {403, 404}
    assert client.get(cancel(run)).status_code == 405
    assert Run.objects.get(pk=run.pk).is_active
