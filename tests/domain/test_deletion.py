"""A secret's end: planned, undone, purged; and that nothing decryptable is left behind."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from rotation import cancelling, runs, schedules, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from rotation.managed import creation, deletion
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app import keyring
from secrets_app.models import AuditEvent, SealedValue, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, versions
from tests import factories, outside
from tests.domain.rig import OLD, drive, rotate

pytestmark = pytest.mark.django_db


@pytest.fixture
def secret(host: MemoryHost) -> Secret:
    made = factories.secret(initial=OLD, is_on=True, period=timedelta(days=7), tags={"team": "web"})
    factories.settle(made)
    return made


def fresh(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


def plan(secret: Secret, **given: object) -> None:
    deletion.plan_deletion(secret, actor=factories.administrator(), **given)  # type: ignore[arg-type]


def restore(secret: Secret) -> deletion.Restored:
    return deletion.restore(secret, actor=factories.administrator())


def purge(secret: Secret) -> None:
    deletion.purge(secret, actor=factories.administrator())


def make_due(secret: Secret) -> None:
    Secret.objects.filter(pk=secret.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))


# ---------------------------------------------------------------- planned


def test_a_planned_deletion_keeps_everything_and_says_until_when(secret):
    plan(secret, days=9, reason="decommissioned")
    found = fresh(secret)
    assert found.status == "pending_deletion"
    assert timedelta(days=8) < found.deletion_due_at - timezone.now() <= timedelta(days=9)
    assert (found.deletion_reason, found.deletion_planned_by.name) == ("decommissioned", "factory")
    assert versions.value(found.labelled("current")).password.reveal() == OLD
    event = AuditEvent.objects.get(action="kms:DeleteSecret")
    assert (event.reason, event.details) == ("decommissioned", {"days": 9})


@pytest.mark.parametrize("days", [6, 31, 0, -1])
def test_a_deletion_is_planned_7_to_30_days_ahead(secret, days):
    with pytest.raises(lifecycle.BadWindow):
        plan(secret, days=days)
    assert fresh(secret).is_enabled


def test_while_deletion_is_planned_nothing_rotates_verifies_or_is_read(secret, dot):
    stale = fresh(secret)  # as somebody had opened it before
    version = secret.labelled("current")
    assert version.secret.is_enabled
    plan(secret)
    for start in (runs.start, runs.verify):
        with pytest.raises(runs.NotRotatable, match="pending deletion on 20"):
            start(stale, actor=dot.principal)
    assert not secret.runs.active().exists()
    with pytest.raises(lifecycle.NotEnabled, match="Restore it first"):
        plan(stale)
    with pytest.raises(lifecycle.NotEnabled):
        purge(stale)


@pytest.mark.django_db(transaction=True)
def test_a_value_is_not_shown_to_somebody_who_opened_the_page_before_the_plan(dot):
    secret = factories.secret(initial=OLD)
    version = secret.labelled("current")
    assert version.secret.is_enabled
    plan(secret)
    with pytest.raises(versions.NoValue):
        versions.reveal(version, actor=dot.principal, reason="test")
    assert not AuditEvent.objects.filter(action="kms:GetSecretValue").exists()


def test_a_schedule_does_not_fire_while_deletion_is_planned(secret):
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(hours=1))
    plan(secret)
    tasks.start_due()
    assert not secret.runs.exists()


def test_a_schedule_that_was_read_before_the_plan_does_not_fire_either(secret, monkeypatch):
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(hours=1))
    read = schedules.due(10)
    plan(secret)
    monkeypatch.setattr(schedules, "due", lambda limit: read)
    before = Schedule.objects.get(secret=secret).next_at
    tasks.start_due()
    assert not secret.runs.exists()
    assert Schedule.objects.get(secret=secret).next_at == before  # so that a restore sees what passed


def test_queued_work_is_cancelled_and_its_value_dropped(secret, host):
    run = rotate(secret, value=factories.Plaintext("Custom-Value-of-mine-0123456789ab"))
    plan(secret)
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("ended", "cancelled")
    assert "factory" in run.sentence
    assert secret.labelled("pending") is None
    drive(run, host)
    assert (host.sets, host.accounts["svc"].password) == (0, OLD)


@pytest.mark.parametrize("place", ["after_claim", "after_create", "after_preflight"])
def test_a_run_before_its_intent_is_cancelled_and_its_host_hears_nothing(secret, host, place):
    failpoints.arm(place, lambda: plan(secret))
    run = drive(rotate(secret), host)
    assert (run.outcome, host.sets) == ("cancelled", 0)
    assert not fresh(secret).is_enabled
    assert secret.labelled("pending") is None


@pytest.mark.parametrize("end", [plan, purge])
@pytest.mark.parametrize("place", ["after_intent", "after_set", "before_finish"])
def test_nothing_is_deleted_while_a_run_is_past_its_intent(secret, host, place, end):
    seen = []

    def attempt() -> None:
        failpoints.disarm()
        with pytest.raises(cancelling.TooLate, match="not finished"):
            end(secret)
        seen.append(fresh(secret).is_enabled)

    failpoints.arm(place, attempt)
    run = drive(rotate(secret), host)
    assert seen == [True]
    assert run.outcome == "succeeded"
    assert versions.value(secret.labelled("current")).password.reveal() == host.accounts["svc"].password


@pytest.mark.parametrize("end", [plan, purge])
def test_nothing_is_deleted_while_the_host_may_have_a_value_that_is_not_verified(secret, end):
    run = rotate(secret, value=factories.Plaintext("An-earlier-Value-0123456789-abcdef"))
    versions.mark_offered(run.version)
    Run.objects.filter(pk=run.pk).update(state=Run.State.ENDED, outcome=Run.Outcome.FAILED)
    with pytest.raises(cancelling.TooLate, match="not verified yet"):
        end(secret)
    assert fresh(secret).is_enabled


def test_the_name_and_the_account_stay_taken(secret):
    plan(secret)
    instance = secret.managed.instance
    with pytest.raises(lifecycle.NameTaken):
        factories.secret(instance=instance, name=secret.name, username="other")
    with pytest.raises(creation.AccountTaken, match="It is pending deletion: restore it"):
        factories.secret(instance=instance, username="svc")


@pytest.mark.parametrize("who", ["ann", "hal", "aud"])
def test_a_deletion_is_planned_by_who_may(secret, request, who):
    principal = request.getfixturevalue(who).principal
    for end in (deletion.plan_deletion, deletion.purge):
        with pytest.raises(decisions.NotAllowed):
            end(secret, actor=principal)
    assert fresh(secret).is_enabled


# ---------------------------------------------------------------- restored


def test_a_restored_secret_is_as_it_was_and_the_host_is_asked(secret, host):
    before = Schedule.objects.values().get(secret=secret)
    labels = list(secret.labels.values())
    plan(secret)
    found = restore(secret)
    assert fresh(secret).is_enabled
    assert Schedule.objects.values().get(secret=secret) == before
    assert list(secret.labels.values()) == labels
    assert [str(tag) for tag in secret.tags.all()] == ["team=web"]
    assert (found.was_due, found.next_at) == (False, before["next_at"])
    assert (found.run.kind, found.run.trigger) == ("verify", "restore")
    run = drive(found.run, host)
    assert (run.outcome, run.sentence[:11]) == ("succeeded", "Still valid")
    assert host.sets == 0
    assert AuditEvent.objects.filter(action="kms:RestoreSecret").count() == 1


def test_a_value_that_was_changed_on_the_host_meanwhile_is_stale(secret, host):
    plan(secret)
    host.accounts["svc"].password = "changed-by-somebody"
    run = drive(restore(secret).run, host)
    assert (run.outcome, run.sentence[:5]) == ("failed", "Stale")
    assert ManagedAccount.objects.get(secret=secret).credential == "out_of_sync"
    assert (host.sets, host.failed_logins) == (0, 0)
    assert host.accounts["svc"].password == "changed-by-somebody"


def test_what_was_in_sync_is_not_called_so_before_the_host_was_asked(secret):
    ManagedAccount.objects.filter(secret=secret).update(credential="in_sync")
    plan(secret)
    restore(secret)
    assert ManagedAccount.objects.get(secret=secret).credential == "not_verified"


def test_restoring_does_not_rotate_and_a_date_that_passed_moves_to_the_next_one(secret):
    plan(secret)
    passed = timezone.now() - timedelta(days=10)
    Schedule.objects.filter(secret=secret).update(next_at=passed)
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=passed - timedelta(days=1))
    found = restore(secret)
    assert (found.was_due, found.next_at) == (True, passed + timedelta(days=14))
    tasks.start_due()
    assert not secret.runs.filter(kind="rotate").exists()


def test_a_secret_without_a_value_is_restored_without_asking_the_host():
    secret = factories.secret()
    plan(secret)
    assert restore(secret).run is None


def test_only_what_is_pending_deletion_is_restored(secret):
    with pytest.raises(lifecycle.NotPending):
        restore(secret)
    purge(secret)
    with pytest.raises(lifecycle.NotEnabled, match=r"Purged on 20.* by factory; cannot be restored"):
        restore(secret)


def test_restore_is_refused_where_another_secret_manages_the_account_now(secret):
    """Two instances turn out to be one machine, once both were looked at."""
    key = secret.managed.instance.host_keys.get()
    plan(secret)
    twin = factories.instance(keys=[factories.base.HostKey(key.algorithm, key.blob, key.fingerprint)])
    other = factories.secret(instance=twin)
    Instance.objects.update(machine_id="the-same-machine")
    with pytest.raises(creation.AccountTaken, match=other.name):
        restore(secret)
    assert not fresh(secret).is_enabled


def test_the_helpdesk_restores(secret, hal, ann):
    plan(secret)
    with pytest.raises(decisions.NotAllowed):
        deletion.restore(secret, actor=ann.principal)
    deletion.restore(secret, actor=hal.principal)
    assert fresh(secret).is_enabled


# ---------------------------------------------------------------- purged


def test_a_purge_destroys_the_values_and_keeps_the_history(secret, host):
    drive(rotate(secret), host)
    purge(secret)
    found = fresh(secret)
    assert (found.status, found.purged_by.name) == ("deleted", "factory")
    assert not SealedValue.objects.filter(owner_id=secret.pk).exists()
    assert not secret.labels.exists()
    assert secret.versions.count() == 2
    assert not secret.versions.filter(destroyed_at=None).exists()
    assert secret.runs.count() == 1
    assert ManagedAccount.objects.get(secret=secret).released_at
    assert not Schedule.objects.get(secret=secret).is_on
    for version in secret.versions.all():
        with pytest.raises(versions.NoValue):
            versions.value(version)


def test_a_purged_name_and_account_are_free_again(secret):
    purge(secret)
    again = factories.secret(instance=secret.managed.instance, name=secret.name)
    assert again.name == secret.name
    assert again.pk != secret.pk


def test_beat_purges_what_is_due_and_nothing_else(secret):
    later = factories.secret(initial=OLD)
    for one in (secret, later):
        plan(one)
    tasks.purge_due()
    assert fresh(secret).status == "pending_deletion"
    make_due(secret)
    tasks.purge_due()
    assert (fresh(secret).status, fresh(secret).purged_by.name) == ("deleted", "Keyturn")
    assert fresh(secret).deletion_planned_by.name == "factory"
    assert fresh(later).status == "pending_deletion"
    assert AuditEvent.objects.filter(action="kms:PurgeSecret", resource_id=secret.pk).count() == 1
    tasks.purge_due()
    assert AuditEvent.objects.filter(action="kms:PurgeSecret").count() == 1


def test_a_secret_restored_at_the_last_moment_is_not_purged(secret):
    plan(secret)
    make_due(secret)
    read = lifecycle.due_for_purge(10)
    restored = restore(secret)
    with pytest.raises(lifecycle.NotEnabled):
        deletion.purge_if_due(read[0])
    assert versions.value(secret.labelled("current")).password.reveal() == OLD
    assert Run.objects.get(pk=restored.run.pk).is_active


def test_a_purge_waits_while_the_host_may_have_a_value_that_is_not_verified(secret):
    plan(secret)
    make_due(secret)
    # As a database that was restored from a backup may have it.
    held = versions.Value("svc", password=factories.Plaintext("An-earlier-Value-0123456789-abcdef"))
    pending = versions.stage(secret, held, origin="generated", actor=factories.administrator())
    versions.mark_offered(pending)
    tasks.purge_due()
    assert fresh(secret).status == "pending_deletion"
    assert versions.value(pending).password.reveal() == "An-earlier-Value-0123456789-abcdef"


@pytest.mark.django_db(transaction=True)
def test_a_purge_leaves_no_decryptable_value_in_the_database(host):
    secret = factories.secret(initial=OLD)
    factories.settle(secret)
    for _ in range(3):
        drive(rotate(secret), host)
    sealed = list(SealedValue.objects.filter(owner_id=secret.pk))
    parts = [bytes(part) for row in sealed for part in (row.wrapped_key, row.ciphertext)]
    assert len(parts) == 8
    keyring.scrub()
    assert all(part in stored() for part in parts)  # the search finds what is there
    plan(secret)
    make_due(secret)
    tasks.purge_due()
    assert fresh(secret).status == "deleted"
    assert not any(part in stored() for part in parts)


def stored() -> bytes:
    """All that the database keeps: SQLite's files with free pages and journal, or a dump of the tables."""
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        files = [Path(name + end) for end in ("", "-wal", "-shm")]
        return b"".join(outside.read(file) for file in files)
    with connection.cursor() as cursor:
        cursor.execute("SELECT wrapped_key, ciphertext FROM secrets_app_sealedvalue")
        return b"".join(bytes(column) for row in cursor.fetchall() for column in row)
