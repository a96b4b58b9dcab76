"""A rotation whose result nobody can ask for any more: a person says how things stand."""

from __future__ import annotations

import pytest

from rotation import cancelling, leases, runs
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from rotation.managed import deletion, resolution
from rotation.models import Run, Schedule
from secrets_app.crypto import key_pairs
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, account, drive, password, rotate

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
Decision = resolution.Decision


@pytest.fixture
def secret(host: MemoryHost) -> Secret:
    made = factories.secret(initial=OLD, is_on=True)
    factories.settle(made)
    return made


def resolve(secret: Secret, decision: str, reason: str = "ticket 4711") -> None:
    resolution.resolve(secret, actor=factories.administrator(), decision=decision, reason=reason)


def told_and_gone(secret: Secret, host: MemoryHost) -> Run:
    """Return a run that waits: its host heard the value and went away before it could be asked."""
    failpoints.arm("after_set", lambda: setattr(host, "unreachable", True))
    run = drive(rotate(secret), host)
    failpoints.disarm()
    assert (run.state, run.attempts) == ("waiting", 1)
    return run


def test_a_secret_in_the_middle_of_a_rotation_cannot_be_deleted_and_is_told_the_way_out(secret, host):
    told_and_gone(secret, host)
    with pytest.raises(cancelling.TooLate, match="Resolve"):
        deletion.plan_deletion(secret, actor=factories.administrator())
    Run.objects.update(state=Run.State.ENDED)
    with pytest.raises(cancelling.TooLate, match="Resolve"):
        deletion.plan_deletion(secret, actor=factories.administrator())


def test_a_server_that_is_gone_for_good_ends_the_run_and_keeps_both_values(secret, host):
    run = told_and_gone(secret, host)
    pending = secret.labelled("pending")
    resolve(secret, Decision.GONE)
    run.refresh_from_db()
    assert (run.state, run.outcome, run.truth, run.code) == ("ended", "failed", "unknown", "gone")
    assert "factory stated that the instance no longer exists" in run.sentence
    assert (secret.labelled("pending"), password(secret)) == (None, OLD)
    pending.refresh_from_db()
    assert versions.value(pending).password.reveal() == host.accounts["svc"].password
    assert (pending.dead_at, pending.destroyed_at) == (None, None)
    assert (account(secret).credential, account(secret).credential_code) == ("gone", "gone")
    assert Schedule.objects.get(secret=secret).next_at is None
    assert not secret.runs.active().exists()
    deletion.plan_deletion(secret, actor=factories.administrator())


def test_a_pending_value_that_is_not_on_the_host_is_set_aside_and_the_host_is_asked(secret, host):
    host.lies = True
    drive(rotate(secret), host, turns=8)
    pending = secret.labelled("pending")
    resolve(secret, Decision.SET_ASIDE)
    assert secret.labelled("pending") is None
    assert account(secret).credential == "not_verified"
    run = secret.runs.active().get()
    assert (run.kind, drive(run, host).outcome) == ("verify", "succeeded")
    assert account(secret).credential == "in_sync"
    assert versions.value(pending).password
    deletion.plan_deletion(secret, actor=factories.administrator())


def test_a_person_who_was_wrong_about_it_loses_nothing(secret, host):
    told_and_gone(secret, host)
    resolve(secret, Decision.SET_ASIDE)
    host.unreachable = False
    assert drive(secret.runs.active().get(), host).outcome == "failed"
    assert account(secret).credential == "out_of_sync"
    found = drive(runs.drift(secret, actor=factories.administrator()), host)
    assert "works there" in found.sentence
    assert found.truth == "old"
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert host.accounts["svc"].password == password(secret)


def test_a_key_that_was_set_aside_and_is_there_after_all_is_removed_by_the_next_rotation():
    host, pair = MemoryHost(), key_pairs.generate("ed25519")
    host.add_account("svc", OLD).keys.append(pair.public_key)
    made = factories.secret(kind="key_pair", initial=pair.private_key.reveal(), key_algorithm="ed25519")
    factories.settle(made)
    told_and_gone(made, host)
    resolve(made, Decision.SET_ASIDE)
    host.unreachable = False
    assert len(host.accounts["svc"].keys) == 2
    assert drive(rotate(made), host).outcome == "succeeded"
    assert host.accounts["svc"].keys == [made.labelled("current").public_key]


def test_while_a_worker_talks_to_the_host_nothing_is_decided(secret, host):
    run = told_and_gone(secret, host)
    Run.objects.filter(pk=run.pk).update(due_at=run.created_at)
    assert leases.claim(run.pk, "w")
    for decision in Decision:
        with pytest.raises(runs.InProgress):
            resolve(secret, decision)
    assert secret.labelled("pending")
    assert account(secret).credential != "gone"


def test_a_worker_that_wakes_after_the_decision_writes_nothing(secret, host):
    run = rotate(secret)

    def decide() -> None:
        failpoints.disarm()
        Run.objects.filter(pk=run.pk).update(leased_until=run.created_at)
        resolve(secret, Decision.GONE)

    failpoints.arm("before_finish", decide)
    run = drive(run, host)
    assert (run.outcome, run.code, account(secret).credential) == ("failed", "gone", "gone")
    assert password(secret) == OLD
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_there_must_be_something_to_set_aside(secret):
    with pytest.raises(runs.NotRotatable, match="no pending value"):
        resolve(secret, Decision.SET_ASIDE)


def test_a_secret_that_never_had_a_value_has_none_again(host):
    made = factories.secret()
    host.lies = True
    drive(rotate(made), host, turns=8)
    resolve(made, Decision.SET_ASIDE)
    assert (account(made).credential, made.runs.active().exists()) == ("no_value", False)


@pytest.mark.parametrize("reason", ["", " "])
def test_a_decision_needs_a_reason(secret, host, reason):
    told_and_gone(secret, host)
    with pytest.raises(runs.NoReason):
        resolve(secret, Decision.GONE, reason)
    assert secret.runs.active().exists()


@pytest.mark.parametrize("who", ["ann", "hal", "aud"])
def test_a_decision_is_made_by_who_may(secret, host, request, who):
    told_and_gone(secret, host)
    actor = request.getfixturevalue(who).principal
    with pytest.raises(decisions.NotAllowed):
        resolution.resolve(secret, actor=actor, decision=Decision.GONE, reason="because")
    assert secret.runs.active().exists()


def test_a_decision_is_recorded_with_its_reason(secret, host):
    told_and_gone(secret, host)
    pending = secret.labelled("pending").version_id
    resolve(secret, Decision.GONE)
    event = AuditEvent.objects.get(action="kms:ResolveRotation")
    assert (event.reason, event.details) == ("ticket 4711", {"decision": "gone", "version": pending})


def test_a_server_that_comes_back_after_all_is_rotated_again(secret, host):
    told_and_gone(secret, host)
    resolve(secret, Decision.GONE)
    host.unreachable = False
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert account(secret).credential == "in_sync"
