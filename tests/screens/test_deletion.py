"""Delete Secret, Restore Secret, and what a secret that is pending deletion still answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from rotation import runs
from rotation.managed import deletion
from rotation.models import Run, Schedule
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

VALUE = "a-value-that-nobody-may-read"
HTMX = {"HX-Request": "true", "HX-Target": "dialog"}
SENTENCE = "Deleting a secret does not change the password or key pair already configured on the instance."
PLAN = {"how": "plan", "days": "30", "reason": "decommissioned"}


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial=VALUE, is_on=True)
    factories.settle(made)
    return made


def url(name: str, secret: Secret) -> str:
    return reverse(name, args=["main", secret.pk])


def text(response) -> str:
    return response.content.decode()


def fresh(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


def plan(secret: Secret, **given: object) -> None:
    deletion.plan_deletion(secret, actor=factories.administrator(), **given)  # type: ignore[arg-type]


# ---------------------------------------------------------------- delete


def test_the_dialog_says_what_will_happen_and_what_will_not(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(
        last_read_at=timezone.now(), last_read_by=factories.user("eve").principal
    )
    runs.start(secret, actor=factories.administrator())
    shown = text(as_dot.get(url("secret_delete", secret), headers=HTMX))
    for words in (
        "Delete Secret", "Plan Deletion Secret", "Delete In (7-30 days)", 'value="30"',
        "Delete Secret Immediately", SENTENCE, "by eve", "Rotation, started by factory", "OK",
    ):  # fmt: skip
        assert words in shown
    assert fresh(secret).is_enabled


def test_a_planned_deletion_is_shown_everywhere_with_its_date(as_dot, secret):
    answer = as_dot.post(url("secret_delete", secret), PLAN | {"days": "9"}, headers=HTMX)
    assert answer["HX-Redirect"] == url("secret", secret)
    due = fresh(secret).deletion_due_at
    shown = text(as_dot.get(url("secret", secret)))
    for words in ("can be restored for 9 days", "Pending deletion until", "decommissioned", "Restore Secret"):
        assert words in shown
    for name in ("secret_rotate", "secret_reveal", "secret_delete"):
        assert url(name, secret) not in shown
    rows = text(as_dot.get(reverse("secrets", args=["main"]), {"status": "pending_deletion"}))
    assert due.isoformat()[:16] in rows
    assert "in 9 d<" in rows or "in 8 d<" in rows
    assert url("secret_restore", secret) in text(as_dot.get(url("secret_menu", secret)))


@pytest.mark.parametrize("days", ["6", "31", "", "x", "-7"])
def test_days_that_cannot_be_get_their_sentence(as_dot, secret, days):
    answer = as_dot.post(url("secret_delete", secret), PLAN | {"days": days}, headers=HTMX)
    assert answer.status_code == 422
    assert "Enter 7 to 30 days." in text(answer)
    assert "decommissioned" in text(answer)
    assert fresh(secret).is_enabled


@pytest.mark.parametrize("typed", ["", "svc", "ACS/ECS/X"])
def test_deleting_immediately_asks_for_the_name(as_dot, secret, typed):
    answer = as_dot.post(url("secret_delete", secret), {"how": "now", "name": typed}, headers=HTMX)
    assert answer.status_code == 422
    assert "exactly as shown above" in text(answer)
    assert fresh(secret).is_enabled


def test_a_secret_deleted_immediately_leaves_a_page_for_its_history(as_dot, secret):
    answer = as_dot.post(url("secret_delete", secret), {"how": "now", "name": secret.name})
    assert answer["Location"] == url("secret", secret)
    for tab in ("overview", "versions", "history"):
        shown = text(as_dot.get(url("secret", secret), {"tab": tab}))
        assert "Purged on" in shown
        assert "by dot; cannot be restored." in shown
        for name in ("secret_rotate", "secret_reveal", "secret_delete", "secret_restore"):
            assert url(name, secret) not in shown
    assert secret.name not in text(as_dot.get(reverse("secrets", args=["main"])))
    assert secret.name in text(as_dot.get(reverse("secrets", args=["main"]), {"status": "deleted"}))


def test_a_run_past_its_intent_is_named_as_the_reason_to_wait(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(state="running", attempts=1)
    for answer in ({"how": "now", "name": secret.name}, PLAN):
        shown = as_dot.post(url("secret_delete", secret), answer, headers=HTMX)
        assert shown.status_code == 409
        assert "Delete the secret when that run has ended, or choose Resolve" in text(shown)
    assert fresh(secret).is_enabled


# ---------------------------------------------------------------- what is left


@pytest.mark.parametrize("name", ["secret_rotate", "secret_reveal", "secret_delete"])
@pytest.mark.parametrize("headers", [HTMX, None])
def test_while_deletion_is_planned_every_other_action_answers_with_the_date(as_dot, secret, name, headers):
    plan(secret)
    due = f"{fresh(secret).deletion_due_at:%Y-%m-%d}"
    for answer in (
        as_dot.get(url(name, secret), headers=headers),
        as_dot.post(url(name, secret), PLAN, headers=headers),
    ):
        assert answer.status_code == 409
        assert f"pending deletion on {due}" in text(answer)
        assert VALUE not in text(answer)
    assert not secret.runs.exists()
    assert fresh(secret).status == "pending_deletion"


def test_a_run_of_it_cannot_be_retried(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator())
    plan(secret)
    assert "run_retry" not in text(as_dot.get(reverse("run", args=["main", run.pk])))
    answer = as_dot.post(reverse("run_retry", args=["main", run.pk]))
    assert answer.status_code == 409
    assert "pending deletion on" in text(answer)


def test_a_purged_secret_answers_with_who_purged_it(as_dot, secret):
    deletion.purge(secret, actor=factories.administrator())
    for name in ("secret_restore", "secret_rotate", "secret_delete"):
        answer = as_dot.get(url(name, secret), headers=HTMX)
        assert answer.status_code == 409
        assert "by factory; cannot be restored." in text(answer)


# ---------------------------------------------------------------- restore


def test_the_helpdesk_restores_and_sees_no_value(client, hal, secret):
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() + timedelta(days=3))
    plan(secret, reason="tidying up")
    client.force_login(hal)
    asked = text(client.get(url("secret_restore", secret), headers=HTMX))
    for words in (
        "Restore Secret", secret.name, secret.managed.instance.name, "svc", "factory", "tidying up", "OK",
    ):  # fmt: skip
        assert words in asked
    answer = client.post(url("secret_restore", secret), headers=HTMX)
    assert answer["HX-Redirect"] == url("secret", secret)
    shown = text(client.get(url("secret", secret)))
    assert "is restored. The next one is on" in shown
    assert "Keyturn is checking on the instance" in shown
    assert VALUE not in asked + shown
    assert reverse("run_steps", args=["main", secret.runs.get().pk]) not in shown
    assert fresh(secret).is_enabled
    assert client.post(url("secret_reveal", secret), {"reason": "x"}).status_code == 403
    assert client.post(url("secret_delete", secret), PLAN).status_code == 403
    assert not AuditEvent.objects.filter(action="kms:GetSecretValue", outcome="succeeded").exists()


def test_a_restore_says_when_what_fell_due_meanwhile_happens(as_dot, secret):
    plan(secret)
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(days=1))
    as_dot.post(url("secret_restore", secret))
    due = timezone.now() + timedelta(days=29)
    assert f"was skipped; the next one is on {due:%Y-%m-%d}" in text(as_dot.get(url("secret", secret)))
    # The date passed before the deletion was planned.
    assert list(secret.runs.filter(kind="rotate").values_list("outcome", flat=True)) == ["missed"]


@pytest.mark.parametrize(("state", "words"), [("succeeded", "Still valid"), ("failed", "Stale")])
def test_the_result_of_the_question_is_on_the_page(client, hal, secret, state, words):
    plan(secret)
    client.force_login(hal)
    client.post(url("secret_restore", secret))
    Run.objects.filter(secret=secret).update(
        state="ended", outcome=state, code="refused_value", sentence=f"{words}: the host says so."
    )
    assert words in text(client.get(url("secret", secret)))


def test_what_is_not_pending_deletion_is_not_restored(as_dot, secret):
    for method in (as_dot.get, as_dot.post):
        answer = method(url("secret_restore", secret), headers=HTMX)
        assert answer.status_code == 409
        assert "nothing to restore" in text(answer)


def test_a_restore_that_another_secret_stands_against_names_it(as_dot, secret, monkeypatch):
    plan(secret)
    key = secret.managed.instance.host_keys.get()
    twin = factories.instance(keys=[factories.base.HostKey(key.algorithm, key.blob, key.fingerprint)])
    other = factories.secret(instance=twin)
    type(twin).objects.update(machine_id="the-same-machine")
    answer = as_dot.post(url("secret_restore", secret), headers=HTMX)
    assert answer.status_code == 409
    assert other.name in text(answer)


@pytest.mark.parametrize("who", ["aud", "ann"])
def test_who_may_not_restore_cannot(client, request, secret, who):
    plan(secret)
    client.force_login(request.getfixturevalue(who))
    assert client.post(url("secret_restore", secret)).status_code in {403, 404}
    assert not fresh(secret).is_enabled
    assert versions.value(secret.labelled("current")).password.reveal() == VALUE


# ---------------------------------------------------------------- from a list


@pytest.mark.parametrize("where", ["/main/secrets/?status=enabled&page=2&sort=-name", "/all/secrets/"])
def test_a_deletion_planned_from_a_list_returns_to_the_list_as_it_was(as_dot, secret, where):
    over = HTMX | {"HX-Current-URL": f"http://testserver{where}"}
    answer = as_dot.post(url("secret_delete", secret), PLAN, headers=over)
    assert fresh(secret).is_pending_deletion
    assert answer["HX-Redirect"] == where
    assert as_dot.post(url("secret_restore", secret), headers=over)["HX-Redirect"] == where


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://testserver/main/instances/",
        "http://testserver/nowhere",
        "https://evil.example/main/secrets/",
        "",
    ],
)
def test_a_deletion_planned_elsewhere_leads_to_the_secret(as_dot, secret, elsewhere):
    over = HTMX | ({"HX-Current-URL": elsewhere} if elsewhere else {})
    answer = as_dot.post(url("secret_delete", secret), PLAN, headers=over)
    assert answer["HX-Redirect"] == url("secret", secret)
