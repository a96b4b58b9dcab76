"""AUD-01: what Keyturn does by itself is in the trail, in its own name, with how it came out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.utils import timezone

from rotation import instance_checks, runs, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.managed import deletion, rotation_options
from rotation.models import ManagedAccount, Run, Schedule
from secrets_app import keyring
from secrets_app.keys import key_states, rewraps
from secrets_app.models import AuditEvent, KeyVersion, Secret
from tests import factories
from tests.domain.rig import drive, simulated_host

pytestmark = pytest.mark.django_db

VALUE = "a-first-value-1"
OURS, THEIRS = "Keyturn", "factory"


@pytest.fixture
def host() -> MemoryHost:
    return simulated_host(VALUE)


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial=VALUE, is_on=True)
    factories.settle(made)
    return made


class Trail:
    """What was recorded since it was looked at last: action, outcome, who."""

    def __init__(self) -> None:
        self.seen = AuditEvent.objects.values_list("sequence", flat=True).first() or 0

    def more(self) -> list[tuple[str, str, str]]:
        rows = list(AuditEvent.objects.filter(sequence__gt=self.seen).order_by("sequence"))
        self.seen = rows[-1].sequence if rows else self.seen
        assert not any(VALUE in str(vars(row)) for row in rows)
        return [(row.action, row.outcome, row.actor_name) for row in rows]


def fall_due(secret: Secret) -> None:
    Schedule.objects.filter(secret=secret).update(next_at=Now() - timedelta(minutes=1))


def the_run(secret: Secret) -> Run:
    return secret.runs.active().get()


def test_a_scheduled_rotation_tells_when_it_began_what_became_current_and_how_it_ended(secret, host):
    trail = Trail()
    fall_due(secret)
    tasks.start_due()
    assert trail.more() == [("kms:RotateSecret", "succeeded", OURS)]
    assert drive(the_run(secret), host).outcome == "succeeded"
    assert sorted(trail.more()) == [
        ("kms:RotationEnded", "succeeded", OURS),
        ("kms:UpdateSecretVersionStage", "succeeded", OURS),
    ]
    tasks.start_due()
    assert trail.more() == []


def test_a_scheduled_rotation_that_the_host_refuses_ends_with_one_event_that_says_so(secret, host):
    host.refuses = "policy"
    fall_due(secret)
    tasks.start_due()
    run, trail = the_run(secret), Trail()
    assert drive(run, host).outcome == "blocked"
    assert trail.more() == [("kms:RotationEnded", "failed", OURS)]
    told = AuditEvent.objects.first().details
    assert (told["run"], told["outcome"], told["code"]) == (str(run.pk), "blocked", "policy")


def test_a_rotation_that_was_left_out_is_told(secret):
    Schedule.objects.filter(secret=secret).update(catch_up=Schedule.CatchUp.SKIP)
    Schedule.objects.filter(secret=secret).update(next_at=Now() - timedelta(days=29))
    trail = Trail()
    tasks.start_due()
    assert trail.more() == [("kms:RotationMissed", "failed", OURS)]


def test_the_daily_look_tells_what_it_found_and_a_reconciliation_of_its_own_is_told(secret, host):
    options = {"ends_sessions": False, "proves_old_refused": False, "reconciles": True}
    rotation_options.change_options(secret, actor=factories.administrator(), **options)
    ManagedAccount.objects.update(drift_checked_at=None)
    trail = Trail()
    tasks.start_drift_checks()
    host.accounts["svc"].password = "somebody else's"
    assert drive(the_run(secret), host).outcome == "failed"
    assert sorted(trail.more()) == [
        ("kms:DriftCheckEnded", "failed", OURS),
        ("kms:RotateSecret", "succeeded", OURS),
    ]
    assert drive(the_run(secret), host).outcome == "succeeded"
    assert ("kms:ReconciliationEnded", "succeeded", OURS) in trail.more()


def test_the_end_of_every_kind_of_run_has_an_event_of_its_own(secret, host):
    assert set(Run.ENDED_EVENTS) == set(Run.Kind)
    assert len(set(Run.ENDED_EVENTS.values())) == len(Run.Kind)
    actor, trail = factories.administrator(), Trail()
    drive(runs.verify(secret, actor=actor), host)
    drive(instance_checks.check(secret.managed.instance, actor=actor), host)
    assert [one for one in trail.more() if "Ended" in one[0]] == [
        ("kms:VerificationEnded", "succeeded", THEIRS),
        ("kms:ConnectionTestEnded", "succeeded", THEIRS),
    ]


def test_a_purge_is_told_once(secret):
    deletion.plan_deletion(secret, actor=factories.administrator())
    Secret.objects.update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    trail = Trail()
    tasks.purge_due()
    tasks.purge_due()
    assert trail.more() == [("kms:PurgeSecret", "succeeded", OURS)]


def test_what_happens_to_keys_by_itself_is_told(secret):
    actor = factories.administrator()
    KeyVersion.objects.update(created_at=timezone.now() - timedelta(days=366))
    trail = Trail()
    tasks.look_after_keys()
    assert trail.more() == [("kms:UpdateKey", "succeeded", OURS)]
    key = keyring.default_key()
    work = rewraps.start(key, key, actor=actor)
    while rewraps.carry(work.pk):
        pass
    assert trail.more() == [
        ("kms:RewrapStarted", "succeeded", THEIRS),
        ("kms:RewrapEnded", "succeeded", THEIRS),
    ]
    key_states.plan_destruction(key, days=7, actor=actor, version=key.versions.get(number=1))
    KeyVersion.objects.filter(state="scheduled").update(destruction_due_at=timezone.now())
    trail.more()
    tasks.look_after_keys()
    assert trail.more() == [("kms:DestroyKeyVersion", "succeeded", OURS)]


def test_what_is_done_on_the_server_itself_is_told(capsys, settings):
    # The tests' own cluster gives up safety for speed, which set-up refuses to build on.
    settings.SILENCED_SYSTEM_CHECKS = [*settings.SILENCED_SYSTEM_CHECKS, "console.E001", "console.E002"]
    trail = Trail()
    call_command("setup")
    assert ("kms:CreateUser", "succeeded", "admin") in trail.more()
    call_command("recover", "admin")
    told = trail.more()
    assert ("kms:RecoverUser", "succeeded", OURS) in told
    assert {who for _, _, who in told} == {OURS}


def test_what_nothing_was_due_for_leaves_no_event(secret):
    ManagedAccount.objects.update(drift_checked_at=timezone.now())
    trail = Trail()
    for beat in (
        tasks.start_due, tasks.start_drift_checks, tasks.purge_due, tasks.look_after_keys, tasks.sweep,
        tasks.record_refusals, tasks.sign_audit_trail, tasks.sign_long_tail, tasks.tick,
    ):  # fmt: skip
        beat()
    assert trail.more() == []
