"""Back to an earlier value without showing it, and runs that are cancelled before a host hears of them."""

from __future__ import annotations

import pytest

from rotation import cancelling, runs
from rotation.engine import failpoints
from rotation.models import Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions, grants
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, drive, password, rotate, simulated_host

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
PLACES_BEFORE = ["after_claim", "before_create", "after_create", "after_preflight"]


def cancel(run: Run) -> None:
    cancelling.cancel(Run.objects.get(pk=run.pk), actor=factories.administrator())


# ---------------------------------------------------------------- rotate back


def test_the_host_gets_the_earlier_value_again_as_a_new_version(secret, host):
    first = secret.labelled("current")
    drive(rotate(secret), host)
    run = drive(rotate(secret, from_version=first), host)
    assert run.outcome == "succeeded"
    assert host.accounts["svc"].password == password(secret) == OLD
    now = secret.labelled("current")
    assert now.pk != first.pk
    assert now.get_origin_display() == "An earlier value again"
    event = AuditEvent.objects.filter(action="kms:RotateSecret").first()
    assert event.details["from_version"] == first.version_id
    assert not AuditEvent.objects.filter(action="kms:GetSecretValue").exists()


def test_an_earlier_value_that_the_host_refuses_is_not_replaced_by_another(secret, host):
    first = secret.labelled("current")
    drive(rotate(secret), host)
    before = password(secret)
    host.refuses = "policy"
    run = drive(rotate(secret, from_version=first), host)
    assert (run.outcome, run.truth) == ("failed", "old")
    assert host.accounts["svc"].password == password(secret) == before
    assert secret.versions.count() == 3


def test_only_an_earlier_value_of_this_secret_that_is_still_there_can_be_chosen(secret, host):
    other = factories.secret(initial="another-secrets-value")
    with pytest.raises(runs.NotRotatable, match="of this secret"):
        rotate(secret, from_version=other.labelled("current"))
    with pytest.raises(runs.NotRotatable, match="current one already"):
        rotate(secret, from_version=secret.labelled("current"))
    for _ in range(13):
        drive(rotate(secret), host)
    destroyed = secret.versions.exclude(destroyed_at=None).first()
    with pytest.raises(runs.NotRotatable, match="was destroyed"):
        rotate(secret, from_version=destroyed)
    assert not secret.runs.active().exists()


def test_while_a_rotation_is_under_way_going_back_is_refused(secret, host):
    first = secret.labelled("current")
    drive(rotate(secret), host)
    rotate(secret)
    with pytest.raises(runs.InProgress):
        rotate(secret, from_version=first)


def test_going_back_needs_the_right_to_choose_a_value(secret, host, hal, aud):
    first = secret.labelled("current")
    drive(rotate(secret), host)
    grants.grant(secret, hal, [decisions.Action.ROTATE_SECRET], actor=factories.administrator())
    runs.start(secret, actor=hal.principal)
    for who in (hal, aud):
        with pytest.raises(decisions.NotAllowed):
            runs.start(secret, actor=who.principal, from_version=first)


# ---------------------------------------------------------------- cancel


def test_a_queued_run_is_cancelled_and_says_by_whom(secret, host):
    run = rotate(secret, value=factories.Plaintext("Custom-Value-of-mine-0123456789ab"))
    cancel(run)
    run = drive(run, host)
    assert (run.state, run.outcome) == ("ended", "cancelled")
    assert "Cancelled by factory" in run.sentence
    assert (host.sets, host.accounts["svc"].password) == (0, OLD)
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


@pytest.mark.parametrize("place", PLACES_BEFORE)
def test_a_run_is_cancelled_until_its_host_is_told(secret, host, place):
    run = rotate(secret)
    failpoints.arm(place, lambda: cancel(run))
    run = drive(run, host)
    assert (run.outcome, run.attempts, host.sets) == ("cancelled", 0, 0)
    assert not run.steps.filter(state="running").exists()
    assert secret.labelled("pending") is None


@pytest.mark.parametrize("place", ["after_intent", "after_set", "before_finish"])
def test_afterwards_it_goes_on_to_its_end(secret, host, place):
    seen = []

    def attempt() -> None:
        failpoints.disarm()
        with pytest.raises(cancelling.TooLate, match="sent a new value"):
            cancel(run)
        seen.append(place)

    run = rotate(secret)
    failpoints.arm(place, attempt)
    run = drive(run, host)
    assert seen == [place]
    assert run.outcome == "succeeded"
    assert host.accounts["svc"].password == password(secret) != OLD


def test_a_cancelled_custom_value_is_not_used_by_the_next_rotation(secret, host):
    cancel(rotate(secret, value=factories.Plaintext("Custom-Value-of-mine-0123456789ab")))
    drive(rotate(secret), host)
    assert host.accounts["svc"].password == password(secret) != "Custom-Value-of-mine-0123456789ab"


def test_a_value_that_a_host_may_have_heard_is_kept_when_a_later_run_is_cancelled(secret, host):
    host.unreachable = True
    run = rotate(secret, value=factories.Plaintext("An-earlier-Value-0123456789-abcdef"))
    versions.mark_offered(run.version)
    Run.objects.filter(pk=run.pk).update(state=Run.State.ENDED, outcome=Run.Outcome.FAILED)
    cancel(rotate(secret))
    assert (
        versions.value(secret.labelled("pending")).password.reveal() == "An-earlier-Value-0123456789-abcdef"
    )


def test_a_run_that_has_ended_is_not_cancelled(secret, host):
    run = drive(rotate(secret), host)
    with pytest.raises(cancelling.TooLate):
        cancel(run)
    assert Run.objects.get(pk=run.pk).outcome == "succeeded"


@pytest.mark.parametrize("who", ["ann", "hal", "aud"])
def test_a_run_is_cancelled_by_who_may_rotate(secret, request, who):
    run = rotate(secret)
    with pytest.raises(decisions.NotAllowed):
        cancelling.cancel(run, actor=request.getfixturevalue(who).principal)
    assert Run.objects.get(pk=run.pk).is_active


def test_back_to_an_earlier_key_gives_the_host_that_key_alone():
    host = simulated_host()
    made = factories.secret(kind=Secret.Kind.KEY_PAIR, key_algorithm="ed25519")
    assert drive(rotate(made), host).outcome == "succeeded"
    first = made.labelled("current")
    assert drive(rotate(made), host).outcome == "succeeded"
    run = drive(rotate(made, from_version=first), host)
    assert run.outcome == "succeeded", run.sentence
    now = made.labelled("current")
    assert now.public_key == first.public_key
    assert now.pk != first.pk
    assert [key.split()[1] for key in host.accounts["svc"].keys] == [first.public_key.split()[1]]
    assert drive(rotate(made), host).outcome == "succeeded"
    assert first.public_key.split()[1] not in str(host.accounts["svc"].keys)
