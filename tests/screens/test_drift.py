"""Drift and options: what somebody else changed, how it is put back, and what a rotation does beside."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from rotation import leases, runs
from rotation.managed import credential_state, rotation_options
from rotation.models import ManagedAccount, Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy.decisions import Action
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
OPTIONS = ("ends_sessions", "proves_old_refused", "reconciles")
EDIT = {"length": "32", "sets": ["lower", "digits"], "revision": "1"}


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial="the-first-value")
    factories.settle(made)
    return made


def url(name: str, secret: Secret, region: str = "main") -> str:
    return reverse(name, args=[region, secret.pk])


def text(response) -> str:
    return response.content.decode()


def drift(secret: Secret, code: str = "changed_outside") -> None:
    sentence = "Somebody changed it on the server. Version abc works there."
    credential_state.note(secret.managed, ManagedAccount.Credential.OUT_OF_SYNC, sentence, code)


def kept(secret: Secret) -> tuple[bool, ...]:
    account = ManagedAccount.objects.get(secret=secret)
    return tuple(getattr(account, name) for name in OPTIONS)


# ---------------------------------------------------------------- drift


@pytest.mark.parametrize("headers", [HTMX, None])
def test_a_check_for_drift_is_started_and_followed(as_dot, secret, headers):
    assert "Check for drift" in text(as_dot.get(url("secret", secret)))
    assert "Check for drift" in text(as_dot.get("/main/secrets/"))
    answer = as_dot.post(url("secret_drift", secret), headers=headers)
    run = secret.runs.get(kind="drift")
    where = reverse("run", args=["main", run.pk])
    assert answer["HX-Redirect" if headers else "Location"] == where
    shown = text(as_dot.get(where))
    assert "Drift check" in shown


def test_without_a_value_there_is_nothing_to_compare_with(as_dot):
    empty = factories.secret()
    for name in ("secret_drift", "secret_reconcile"):
        answer = as_dot.post(url(name, empty), headers=HTMX)
        assert answer.status_code == 409
        assert "There is no value yet." in text(answer)
    assert not empty.runs.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("changed_outside", "It was changed on the instance"),
        ("snapshot", "restored to an earlier state"),
    ],
)
def test_a_drifted_secret_says_what_happened_and_offers_both_ways(as_dot, secret, code, words):
    drift(secret, code)
    shown = text(as_dot.get(url("secret", secret)))
    for expected in (
        words,
        "Version abc works there.",
        url("secret_reconcile", secret),
        "Rotate Immediately",
    ):
        assert expected in shown
    overview = text(as_dot.get("/main/overview/"))
    assert url("secret_reconcile", secret) in overview
    assert f'aria-label="Reconcile: {secret.name}"' in overview


def test_the_overview_counts_the_drifted_ones_and_leads_to_them(as_dot, secret):
    drift(secret)
    refused = factories.secret(initial="another-value-1")
    factories.settle(refused)
    credential_state.note(refused.managed, ManagedAccount.Credential.OUT_OF_SYNC, "Refused.", "refused_value")
    figures = as_dot.get("/main/overview/").context["figures"]
    figure = next(one for one in figures if one.label == "Drifted")
    assert figure.count == 1
    listed = as_dot.get(figure.url).context["page"]
    assert [row.pk for row in listed.rows] == [secret.pk]


@pytest.mark.parametrize("headers", [HTMX, None])
def test_reconciling_says_that_no_new_value_is_made_and_starts_a_run(as_dot, secret, headers):
    drift(secret)
    shown = text(as_dot.get(url("secret_reconcile", secret), headers=headers))
    for words in ("Reconcile", "No new value is created", secret.labelled("current").version_id):
        assert words in shown
    as_dot.post(url("secret_reconcile", secret), headers=headers)
    run = Run.objects.active().get(secret=secret)
    assert (run.kind, run.trigger) == ("reconcile", "manual")
    page = text(as_dot.get(reverse("run", args=["main", run.pk])))
    assert "Reconciliation" in page


def test_while_a_rotation_is_under_way_nothing_is_reconciled(as_dot, secret):
    runs.start(secret, actor=factories.administrator())
    assert as_dot.post(url("secret_reconcile", secret), headers=HTMX).status_code == 409


def test_looking_and_reconciling_need_the_right_to_rotate(client, aud, ann, secret):
    client.force_login(aud)
    shown = text(client.get(url("secret", secret)))
    assert "Check for drift" not in shown
    for name in ("secret_drift", "secret_reconcile"):
        assert client.post(url(name, secret)).status_code == 403
    client.force_login(ann)
    for name in ("secret_drift", "secret_reconcile"):
        assert client.post(url(name, secret)).status_code == 404
    assert not secret.runs.exists()


def test_a_drift_check_needs_a_post(as_dot, secret):
    assert as_dot.get(url("secret_drift", secret)).status_code == 405


def test_the_last_drift_check_stands_on_the_page(as_dot, secret):
    assert "Last drift check" in text(as_dot.get(url("secret", secret)))
    ManagedAccount.objects.filter(secret=secret).update(drift_checked_at=timezone.now())
    assert "just now" in text(as_dot.get(url("secret", secret))).partition("Last drift check")[2]


def test_new_kinds_and_triggers_are_in_the_filters_and_in_the_file(as_dot, secret):
    runs.drift(secret, actor=factories.administrator())
    page = text(as_dot.get("/main/rotations/"))
    for option in (
        'value="drift"><span>Drift check',
        'value="reconcile"><span>Reconciliation',
        'value="retry"><span>Retry',
    ):
        assert option in page
    listed = as_dot.get("/main/rotations/", {"kind": "drift"}).context["page"]
    assert listed.total == 1
    file = b"".join(as_dot.get("/main/rotations/export.csv", {"kind": "drift"}).streaming_content).decode()
    assert "Drift check" in file


def test_a_leaked_one_is_marked_in_every_list_of_runs(as_dot, secret):
    run = runs.start(secret, actor=factories.administrator(), is_leak=True)
    for page in ("/main/rotations/", f"{url('secret', secret)}?tab=history"):
        assert "Leaked" in text(as_dot.get(page))
    assert "Leaked" in text(as_dot.get(reverse("run", args=["main", run.pk])))
    lease = leases.claim(run.pk, "host/1/2")
    assert lease


# ---------------------------------------------------------------- options


def test_options_are_saved_by_edit_and_shown(as_dot, secret):
    shown = text(as_dot.get(url("secret_edit", secret), headers=HTMX))
    for label in ("End the account&#x27;s sessions after each rotation", "Prove once that the old password"):
        assert label in shown
    as_dot.post(url("secret_edit", secret), EDIT | {"ends_sessions": "on", "reconciles": "on"}, headers=HTMX)
    assert kept(secret) == (True, False, True)
    page = text(as_dot.get(url("secret", secret)))
    assert "sessions after each rotation" in page
    assert "Set the current value again when the instance has drifted" in page
    assert "Prove once" not in page


def test_options_that_stay_as_they_are_leave_no_event(as_dot, secret):
    as_dot.post(url("secret_edit", secret), EDIT, headers=HTMX)
    assert not AuditEvent.objects.filter(action=Action.UPDATE_ROTATION).exists()


def test_an_outdated_edit_changes_no_option(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(revision=5)
    answer = as_dot.post(url("secret_edit", secret), EDIT | {"reconciles": "on"}, headers=HTMX)
    assert answer.status_code == 409
    assert kept(secret) == (False, False, False)


def test_options_need_the_right_to_configure_rotation(as_dot, secret, monkeypatch):
    rotation_options.change_options(secret, actor=factories.administrator(), **dict.fromkeys(OPTIONS, True))
    factories.deny(Action.UPDATE_ROTATION)
    assert "after each rotation" not in text(as_dot.get(url("secret_edit", secret), headers=HTMX))
    answer = as_dot.post(url("secret_edit", secret), EDIT | {"description": "new"}, headers=HTMX)
    assert answer.status_code == 200
    assert kept(secret) == (True, True, True)


def test_a_key_pair_has_no_old_password_to_prove(as_dot):
    pair = factories.secret(kind="key_pair", key_algorithm="ed25519")
    factories.settle(pair)
    assert "Prove once" not in text(as_dot.get(url("secret_edit", pair), headers=HTMX))
    as_dot.post(url("secret_edit", pair), {"revision": "1", "proves_old_refused": "on", "reconciles": "on"})
    assert kept(pair) == (False, False, True)


def test_the_rotate_dialog_says_what_leaked_means_for_this_secret(as_dot, secret):
    shown = text(as_dot.get(url("secret_rotate", secret), headers=HTMX))
    for words in (
        "runs before all scheduled work",
        "there is ended once the new value works, although",
        "proven to be refused",
    ):
        assert words in shown
    ManagedAccount.objects.filter(secret=secret).update(ends_sessions=True)
    assert "there is ended once the new value works." in text(as_dot.get(url("secret_rotate", secret)))
