"""What a person decides: retry, rotate all the same, and what became of a value nobody can ask about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from rotation import instance_checks, leases, runs
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy.decisions import Action
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
Credential = ManagedAccount.Credential


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial="the-first-value")
    factories.settle(made)
    return made


@pytest.fixture
def only():
    """Take rights away from administrators, for one test."""
    return factories.deny


def url(name: str, row: Run | Secret) -> str:
    return reverse(name, args=["main", row.pk])


def text(response) -> str:
    return response.content.decode()


def ended(run: Run, outcome: str = Run.Outcome.BLOCKED, **fields: str) -> Run:
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, outcome, **fields)
    return Run.objects.get(pk=run.pk)


def rotation(secret: Secret, code: str = "") -> Run:
    return ended(runs.start(secret, actor=factories.administrator()), code=code, sentence="What was found.")


def in_doubt(secret: Secret, *, waits: bool = False) -> Run:
    """A rotation whose value the host may have: it ended, or it waits to ask again."""
    run = runs.start(secret, actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    actor = factories.administrator()
    held = versions.given(secret, "svc", versions.Plaintext("the-second-value"))
    version = versions.stage(secret, held, origin="generated", actor=actor)
    leases.hold(lease, version=version, attempts=1)
    versions.mark_offered(version)
    credential_state.note(
        secret.managed, Credential.UNVERIFIED, "It is not known which value works.", "unknown"
    )
    if waits:
        leases.wait(lease, timedelta(hours=1), code="unreachable", sentence="No answer.")
    else:
        leases.end(lease, Run.Outcome.FAILED, truth="unknown", code="unknown")
    return Run.objects.get(pk=run.pk)


# ---------------------------------------------------------------- retry


@pytest.mark.parametrize("kind", ["verify", "drift", "reconcile"])
def test_retry_asks_for_the_same_kind_again(as_dot, secret, kind):
    run = ended(getattr(runs, kind)(secret, actor=factories.administrator()), code="unreachable")
    assert "Retry</button>" in text(as_dot.get(url("run", run)))
    as_dot.post(url("run_retry", run))
    again = Run.objects.active().get(secret=secret)
    assert (again.kind, again.trigger) == (kind, "retry")


def test_a_blocked_check_of_an_instance_is_retried_by_who_may_check_it(as_dot, secret, only):
    run = ended(instance_checks.check(secret.managed.instance, actor=factories.administrator()), code="sudo")
    assert "Retry</button>" in text(as_dot.get(url("run", run)))
    as_dot.post(url("run_retry", run))
    assert Run.objects.active().get(secret=None).kind == "check"
    only(Action.CHECK_INSTANCE)
    assert "Retry</button>" not in text(as_dot.get(url("run", run)))
    assert as_dot.post(url("run_retry", run)).status_code == 403


# ---------------------------------------------------------------- rotate all the same


@pytest.mark.parametrize("headers", [HTMX, None])
@pytest.mark.parametrize(
    ("code", "words"),
    [("foreign_console", "next rotation changes it again"), ("must_change", "at the next login is cleared")],
)
def test_the_dialog_says_what_will_happen_and_asks_a_reason(as_dot, secret, headers, code, words):
    run = rotation(secret, code)
    assert url("run_override", run) in text(as_dot.get(url("run", run)))
    shown = text(as_dot.get(url("run_override", run), headers=headers))
    for expected in (words, "Reason", "Override and rotate", "What was found."):
        assert expected in shown
    assert not Run.objects.active().filter(secret=secret).exists()


def test_confirming_starts_a_run_that_lets_the_check_pass_and_keeps_the_reason(as_dot, dot, secret):
    run = rotation(secret, "must_change")
    answer = as_dot.post(url("run_override", run), {"reason": "agreed with ops"}, headers=HTMX)
    again = Run.objects.active().get(secret=secret)
    assert answer["HX-Redirect"] == url("run", again)
    assert (again.overrides, again.reason) == (["must_change"], "agreed with ops")
    shown = text(as_dot.get(url("run", again)))
    assert "agreed with ops" in shown
    assert "Password change at the next login" in shown
    event = AuditEvent.objects.get(action=Action.OVERRIDE_CHECK)
    assert (event.actor_name, event.reason) == ("dot", "agreed with ops")


def test_what_was_let_pass_before_stays_so_when_a_second_check_blocks(as_dot, secret):
    run = rotation(secret, "must_change")
    Run.objects.filter(pk=run.pk).update(overrides=["foreign_console"])
    as_dot.post(url("run_override", run), {"reason": "both"})
    assert Run.objects.active().get(secret=secret).overrides == ["foreign_console", "must_change"]


@pytest.mark.parametrize("headers", [HTMX, None])
@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_nothing_is_overridden(as_dot, secret, headers, reason):
    run = rotation(secret, "must_change")
    answer = as_dot.post(url("run_override", run), {"reason": reason}, headers=headers)
    assert answer.status_code == 422
    assert "Enter a reason" in text(answer)
    assert not Run.objects.active().filter(secret=secret).exists()


@pytest.mark.parametrize("code", ["locked", "sudo", "host_key_changed"])
def test_no_other_check_can_be_overridden(as_dot, secret, code):
    run = rotation(secret, code)
    assert url("run_override", run) not in text(as_dot.get(url("run", run)))
    assert as_dot.get(url("run_override", run)).status_code == 409
    assert as_dot.post(url("run_override", run), {"reason": "please"}).status_code == 409
    assert not Run.objects.active().filter(secret=secret).exists()


def test_overriding_needs_a_right_of_its_own(as_dot, secret, only):
    run = rotation(secret, "must_change")
    only(Action.OVERRIDE_CHECK)
    assert url("run_override", run) not in text(as_dot.get(url("run", run)))
    assert as_dot.get(url("run_override", run)).status_code == 403
    assert as_dot.post(url("run_override", run), {"reason": "please"}).status_code == 403
    assert not Run.objects.active().filter(secret=secret).exists()


def test_while_another_rotation_is_under_way_nothing_is_overridden(as_dot, secret):
    run = rotation(secret, "must_change")
    runs.start(secret, actor=factories.administrator())
    answer = as_dot.post(url("run_override", run), {"reason": "please"}, headers=HTMX)
    assert answer.status_code == 409
    assert Run.objects.active().get(secret=secret).overrides == []


# ---------------------------------------------------------------- resolve


@pytest.mark.parametrize("waits", [True, False])
def test_resolve_is_offered_where_nobody_knows_which_value_works(as_dot, secret, waits):
    run = in_doubt(secret, waits=waits)
    where = url("secret_resolve", secret)
    for page in (url("secret", secret), url("run", run)):
        assert where in text(as_dot.get(page))
    if not waits:  # what is being rotated waits for nobody
        assert reverse("secret_resolve", args=["all", secret.pk]) in text(as_dot.get("/all/overview/"))
    shown = text(as_dot.get(where, headers=HTMX))
    for words in (
        "Ask the instance again", "The instance no longer exists",
        "The new value never reached the instance: set it aside", "No value is destroyed",
        "Automatic rotation of this secret stops", "Reason",
    ):  # fmt: skip
        assert words in shown


def test_where_the_current_value_is_known_to_work_the_page_says_so(as_dot, secret):
    run = in_doubt(secret)
    words = "It is not known which value works", "The new value was not set"
    shown = text(as_dot.get(url("secret", secret)))
    assert [one in shown for one in words] == [True, False]
    Run.objects.filter(pk=run.pk).update(outcome="blocked", truth="old")
    credential_state.note(
        secret.managed, Credential.BLOCKED, "It failed. The current value still works.", "not_set"
    )
    shown = text(as_dot.get(url("secret", secret)))
    assert [one in shown for one in words] == [False, True]
    assert url("secret_resolve", secret) in shown


@pytest.mark.parametrize("state", ["in_sync", "out_of_sync", "not_verified"])
def test_where_nothing_is_in_doubt_there_is_nothing_to_resolve(as_dot, secret, state):
    in_doubt(secret)
    ManagedAccount.objects.filter(secret=secret).update(credential=state)
    assert url("secret_resolve", secret) not in text(as_dot.get(url("secret", secret)))
    assert as_dot.get(url("secret_resolve", secret)).status_code == 409


def test_an_instance_without_an_answer_and_nothing_sent_to_it_has_nothing_to_resolve(as_dot, secret):
    ManagedAccount.objects.filter(secret=secret).update(credential="unreachable")
    assert as_dot.get(url("secret_resolve", secret)).status_code == 409


def test_gone_for_good_ends_the_run_and_keeps_every_value(as_dot, secret):
    run = in_doubt(secret, waits=True)
    as_dot.post(url("secret_resolve", secret), {"decision": "gone", "reason": "scrapped"}, headers=HTMX)
    assert Run.objects.get(pk=run.pk).truth == "unknown"
    assert secret.versions.filter(sealed__isnull=False).count() == 2
    shown = text(as_dot.get(url("secret", secret)))
    assert "Instance gone" in shown
    assert "then delete the secret" in shown
    delete = as_dot.post(url("secret_delete", secret), {"how": "now", "name": secret.name, "reason": "gone"})
    assert delete.status_code == 302
    event = AuditEvent.objects.get(action=Action.RESOLVE_ROTATION)
    assert event.reason == "scrapped"


def test_set_aside_keeps_the_value_and_asks_about_the_current_one(as_dot, secret):
    in_doubt(secret)
    as_dot.post(url("secret_resolve", secret), {"decision": "set_aside", "reason": "no route there"})
    assert secret.labelled("pending") is None
    assert secret.versions.filter(sealed__isnull=False).count() == 2
    assert Run.objects.active().get(secret=secret).kind == "verify"


@pytest.mark.parametrize("waits", [True, False])
def test_asking_again_goes_on_with_the_run_that_waits_or_starts_one(as_dot, secret, waits):
    run = in_doubt(secret, waits=waits)
    as_dot.post(url("secret_resolve", secret), {"decision": "again", "reason": "the firewall is open now"})
    again = Run.objects.active().get(secret=secret)
    assert again.kind == "rotate"
    assert (again.pk == run.pk) == waits
    assert again.pk in leases.due(10)


@pytest.mark.parametrize("headers", [HTMX, None])
@pytest.mark.parametrize(
    "answer", [{"decision": "gone"}, {"reason": "why"}, {"decision": "x", "reason": "y"}]
)
def test_a_decision_needs_a_choice_and_a_reason(as_dot, secret, headers, answer):
    in_doubt(secret)
    assert as_dot.post(url("secret_resolve", secret), answer, headers=headers).status_code == 422
    assert secret.labelled("pending") is not None
    assert not AuditEvent.objects.filter(action=Action.RESOLVE_ROTATION).exists()


def test_while_a_worker_talks_to_the_host_nothing_is_resolved(as_dot, secret):
    run = in_doubt(secret, waits=True)
    Run.objects.filter(pk=run.pk).update(due_at=run.created_at)
    assert leases.claim(run.pk, "host/3/4")
    answer = as_dot.post(url("secret_resolve", secret), {"decision": "gone", "reason": "x"}, headers=HTMX)
    assert answer.status_code == 409
    assert "A worker is connected to the instance" in text(answer)


def test_resolving_needs_its_right_and_what_one_may_not_see_is_not_there(client, as_dot, secret, only, ann):
    in_doubt(secret)
    only(Action.RESOLVE_ROTATION)
    assert url("secret_resolve", secret) not in text(as_dot.get(url("secret", secret)))
    assert as_dot.get(url("secret_resolve", secret)).status_code == 403
    assert as_dot.post(url("secret_resolve", secret), {"decision": "gone", "reason": "x"}).status_code == 403
    client.force_login(ann)
    assert client.get(url("secret_resolve", secret)).status_code == 404
