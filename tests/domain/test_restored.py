"""An older database that was restored: noticed, nothing is changed on a host by it, and acknowledged."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from rotation import leases, runs, schedules, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from rotation.managed import credential_state, restored
from rotation.models import ManagedAccount, Run, Schedule
from secrets_app import keyring
from secrets_app.audit import append_only, audit_keys, checkpoints, gaps, trail, verification
from secrets_app.audit.verification import Verdict
from secrets_app.integrity import restores
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead, DatabaseRestore, Secret
from secrets_app.policy import decisions
from tests import factories, times
from tests.domain.rig import OLD, account, drive, password, rotate

pytestmark = pytest.mark.django_db

EVENTS, POINTS = AuditEvent._meta.db_table, AuditCheckpoint._meta.db_table


@pytest.fixture(autouse=True)
def _files(settings, tmp_path):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()
    yield
    keyring.forget()


@pytest.fixture
def secret(host: MemoryHost) -> Secret:
    """A secret that was rotated once, with a checkpoint after it."""
    made = factories.secret(initial=OLD, is_on=True)
    factories.settle(made)
    drive(rotate(made), host)
    checkpoints.sign_and_export()
    return made


def put_back(*, sequence: int) -> None:
    """Cut the trail, as if the database were the one of that moment; the file stays as it is."""
    append_only.lift()
    mac = AuditEvent.objects.values_list("mac", flat=True).get(sequence=sequence)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {EVENTS} WHERE sequence > %s", [sequence])  # noqa: S608
        cursor.execute(f"DELETE FROM {POINTS} WHERE sequence > %s", [sequence])  # noqa: S608
    AuditHead.objects.update(sequence=sequence, mac=mac)
    append_only.install()


def newest() -> int:
    return AuditEvent.objects.values_list("sequence", flat=True).first() or 0


def older(secret: Secret, host: MemoryHost) -> None:
    """Go back to before the last of three rotations; the host has the value of the third."""
    before = newest()
    kept = dict(secret.labels.values_list("role", "version"))
    drive(rotate(secret), host)
    drive(rotate(secret), host)
    checkpoints.sign_and_export()
    Run.objects.filter(secret=secret, created_at__isnull=False, version__isnull=False).exclude(
        version__in=kept.values()
    ).delete()
    for role, version in kept.items():
        secret.labels.filter(role=role).update(version=version)
    secret.versions.exclude(pk__in=kept.values()).delete()
    ManagedAccount.objects.filter(secret=secret).update(generation=1, verified_at=Now() - timedelta(days=1))
    put_back(sequence=before)


def acknowledge(reason: str = "the disk failed") -> None:
    restores.acknowledge(restores.under_way(), actor=factories.administrator(), reason=reason)
    checkpoints.sign_and_export()  # what is done on commit, which a test's transaction never comes to


# ---------------------------------------------------------------- noticed


def test_a_trail_that_has_what_the_file_signs_is_no_restored_one(secret):
    assert not restored.look()
    assert restores.newest() is None
    assert account(secret).credential == "in_sync"


def test_an_older_database_is_noticed_once_and_no_account_reads_as_in_sync(secret, host, caplog):
    older(secret, host)
    assert restored.look()
    assert restored.look()
    assert DatabaseRestore.objects.count() == 1
    assert AuditEvent.objects.filter(action="kms:NoticeRestore", outcome="failed").count() == 1
    assert not ManagedAccount.objects.filter(credential="in_sync").exists()
    assert (account(secret).credential, account(secret).credential_code) == ("not_verified", "restored")
    assert caplog.text.count("An older database was restored") == 1


def test_a_database_that_is_newer_than_the_last_checkpoint_is_noticed_by_the_noted_head(secret, host):
    drive(rotate(secret), host)
    between = newest()
    drive(rotate(secret), host)
    checkpoints.note_head()
    assert checkpoints.newest().sequence == newest()
    put_back(sequence=between)
    assert verification.verify().verdict == Verdict.BROKEN
    assert restored.look()
    assert not ManagedAccount.objects.filter(credential="in_sync").exists()
    acknowledge()
    assert verification.verify().verdict == Verdict.WHOLE
    assert not restored.look()
    checkpoints.note_head()
    assert not restored.look()
    assert verification.verify().verdict == Verdict.WHOLE


def test_the_head_is_noted_after_each_run_and_by_the_periodic_work(secret, monkeypatch):
    run = rotate(secret)
    monkeypatch.setattr(tasks.engine, "advance", lambda *args, **given: run)
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    tasks.advance(str(run.pk))
    assert checkpoints.noted().sequence == newest()
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    tasks.sign_long_tail()
    assert checkpoints.noted().sequence == newest()


def test_a_noted_head_is_not_taken_back_by_a_restored_database(secret):
    at = newest()
    for _ in range(3):
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.note_head()
    was = checkpoints.head_file().read_text()
    put_back(sequence=at)
    for _ in range(5):
        trail.record("kms:Test", "acs:kms:main:1:thing/2", actor=factories.administrator())
        checkpoints.note_head()
    assert checkpoints.head_file().read_text() == was
    assert restored.look()


def test_a_head_that_our_key_did_not_sign_stops_nothing(secret):
    checkpoints.note_head()
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.note_head()
    file = checkpoints.head_file()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sequence": 10**6}))
    assert not restored.look()
    file.write_text("nothing of ours")
    assert not restored.look()


def test_another_history_that_goes_further_than_the_file_is_noticed_too(secret, host, dot):
    older(secret, host)
    while newest() <= checkpoints.newest().sequence:
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
    assert restored.look()


def test_a_file_that_our_key_did_not_sign_or_that_was_cut_short_stops_nothing(secret, settings):
    file = settings.AUDIT_EXPORT_FILE
    whole = file.read_text()
    forged = json.loads(whole.splitlines()[-1]) | {"sequence": 10**6}
    file.write_text(whole + json.dumps(forged) + "\n" + '{"sequence": 99')
    assert not restored.look()
    file.unlink()
    assert not restored.look()


def test_a_line_that_was_cut_short_is_written_again(secret, settings, dot):
    file = settings.AUDIT_EXPORT_FILE
    whole = file.read_text()
    file.write_text(whole[:-20])
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
    checkpoints.sign_and_export()
    assert file.read_text().startswith(whole)
    assert verification.verify().verdict == Verdict.WHOLE


def test_no_checkpoint_of_a_restored_database_hides_what_the_file_knows(secret, host, settings):
    older(secret, host)
    was = settings.AUDIT_EXPORT_FILE.read_text()
    assert checkpoints.sign_and_export() is None
    with pytest.raises(checkpoints.Contradicted):
        checkpoints.take()
    with pytest.raises(checkpoints.Contradicted):
        checkpoints.export()
    assert settings.AUDIT_EXPORT_FILE.read_text() == was


def test_a_rotation_is_signed_about_a_minute_after_its_end(secret, host):
    drive(rotate(secret), host)
    assert not checkpoints.is_due()
    age(timedelta(minutes=2))
    assert checkpoints.is_due()


def test_what_changes_no_credential_waits_for_the_hour(secret, dot):
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
    age(timedelta(minutes=2))
    assert not checkpoints.is_due()
    age(timedelta(hours=2))
    assert checkpoints.is_due()


def age(by: timedelta) -> None:
    """Let the last checkpoint be so old."""
    append_only.lift()
    AuditCheckpoint.objects.filter(pk=AuditCheckpoint.objects.last().pk).update(at=Now() - by)
    append_only.install()


# ---------------------------------------------------------------- no host is told a value


def test_no_queued_rotation_tells_a_host_anything_before_the_restore_is_acknowledged(secret, host):
    run = rotate(secret)
    older_but_for(run)
    was = deepcopy(host.accounts["svc"].password)
    drive(run, host)
    assert run.state == "queued"
    assert run.attempts == 0
    assert host.accounts["svc"].password == was
    assert leases.due(10) == []
    acknowledge()
    assert leases.due(10) == [run.pk]
    assert drive(run, host).outcome == "succeeded"
    assert host.shadow_accepts("svc", password(secret))


def older_but_for(run: Run) -> None:
    """An older database, in which this run is queued."""
    before = newest()
    assert run.is_active
    for _ in range(3):
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.sign_and_export()
    put_back(sequence=before)


def test_a_rotation_under_way_stops_before_its_host_is_told(secret, host):
    run = rotate(secret)
    was = host.accounts["svc"].password
    failpoints.arm("after_preflight", lambda: older_but_for(run))
    try:
        drive(run, host)
    finally:
        failpoints.disarm()
    assert (run.state, run.code, run.attempts) == ("waiting", "restored", 0)
    assert host.accounts["svc"].password == was
    acknowledge()
    assert drive(run, host).outcome == "succeeded"


def test_nobody_starts_a_rotation_or_a_reconciliation_meanwhile(secret, host):
    older(secret, host)
    restored.look()
    for ask in (rotate, lambda one: runs.reconcile(one, actor=factories.administrator())):
        with pytest.raises(runs.NotRotatable, match="older database was restored"):
            ask(secret)
    assert not secret.runs.active().exists()


def test_what_is_due_stays_due_and_starts_after_the_restore_is_acknowledged(secret, host):
    older(secret, host)
    past = Now() - timedelta(minutes=1)
    Schedule.objects.filter(secret=secret).update(next_at=past, is_on=True)
    was = Schedule.objects.get(secret=secret).next_at
    tasks.start_due()
    assert not secret.runs.active().exists()
    assert Schedule.objects.get(secret=secret).next_at == was
    assert [plan.secret_id for plan in schedules.due(10)] == [secret.pk]
    acknowledge()
    tasks.start_due()
    assert secret.runs.active().get().trigger == "schedule"


# ---------------------------------------------------------------- looking, and what is said of it


def test_a_host_with_a_newer_value_is_not_said_to_be_changed_by_somebody(secret, host):
    older(secret, host)
    restored.look()
    run = drive(runs.drift(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("failed", "database_older")
    assert run.sentence.startswith("The database is older than the instance")
    assert account(secret).credential == "out_of_sync"
    assert account(secret).credential_code == credential_state.DATABASE_OLDER
    again = drive(runs.drift(secret, actor=factories.administrator()), host)
    assert again.code == "database_older"


def test_a_host_that_was_changed_by_somebody_after_it_was_verified_is_said_to_be(secret, host):
    older_but_for(rotate(secret))
    secret.runs.active().delete()
    restored.look()
    drive(runs.drift(secret, actor=factories.administrator()), host)
    assert account(secret).credential == "in_sync"
    host.accounts["svc"].password = "somebody else's"
    host.accounts["svc"].salt += 1
    run = drive(runs.drift(secret, actor=factories.administrator()), host)
    assert run.code == "changed_outside"


def test_verify_all_asks_every_account_in_batches_and_names_those_that_are_older(secret, host):
    older(secret, host)
    second = factories.secret(initial=OLD)
    factories.settle(second)
    restored.look()
    restore = restores.under_way()
    restores.ask_to_verify(restore, actor=factories.administrator())
    times.tick()
    restore.refresh_from_db()
    assert restored.progress(restore) == (0, 2)
    first = restored.verify_some(restore, 1)
    assert len(first) == 1
    rest = restored.verify_some(restore, 10)
    assert {run.secret_id for run in first + rest} == {secret.pk, second.pk}
    assert restored.verify_some(restore, 10) == []
    fresh_host = MemoryHost()
    fresh_host.add_account("svc", OLD)
    for run in first + rest:
        assert run.kind == "verify"
        drive(run, host if run.secret_id == secret.pk else fresh_host)
    assert restored.progress(restore) == (2, 2)
    assert account(second).credential == "in_sync"
    assert (account(secret).credential, account(secret).credential_code) == ("out_of_sync", "database_older")
    assert restored.settle(restore)
    assert restores.unsettled().acknowledged_at is None
    acknowledge()
    assert restores.unsettled() is None


def test_a_check_of_the_very_moment_of_verify_all_does_not_count_as_asked(secret, host):
    older(secret, host)
    restored.look()
    restore = restores.under_way()
    drive(runs.verify(secret, actor=factories.administrator()), host)
    restores.ask_to_verify(restore, actor=factories.administrator())
    restore.refresh_from_db()
    Run.objects.filter(secret=secret).update(created_at=restore.verify_asked_at)
    assert restored.progress(restore) == (0, 1)


def test_the_periodic_work_starts_the_verifications_and_ends_when_all_were_asked(secret, host):
    older(secret, host)
    tasks.look_for_restore()
    restores.ask_to_verify(restores.under_way(), actor=factories.administrator())
    times.tick()
    tasks.look_for_restore()
    drive(secret.runs.active().get(kind="verify"), host)
    tasks.look_for_restore()
    assert restores.newest().verified_at is not None
    assert not secret.runs.active().exists()


def test_after_the_restore_is_acknowledged_a_rotation_puts_the_account_right(secret, host):
    older(secret, host)
    restored.look()
    acknowledge()
    drive(runs.verify(secret, actor=factories.administrator()), host)
    assert account(secret).credential == "out_of_sync"
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert host.shadow_accepts("svc", password(secret))
    assert account(secret).credential == "in_sync"


# ---------------------------------------------------------------- acknowledged


def test_only_who_may_acknowledges_and_says_why(secret, host, ann):
    older(secret, host)
    restored.look()
    restore = restores.under_way()
    with pytest.raises(decisions.NotAllowed):
        restores.acknowledge(restore, actor=ann.principal, reason="please")
    with pytest.raises(decisions.NotAllowed):
        restores.ask_to_verify(restore, actor=ann.principal)
    with pytest.raises(restores.NoReason):
        restores.acknowledge(restore, actor=factories.administrator(), reason="  ")
    assert restores.under_way() is not None
    acknowledge()
    with pytest.raises(restores.Nothing):
        restores.acknowledge(restore, actor=factories.administrator(), reason="again")


def test_an_acknowledged_restore_is_named_by_verify_and_no_fault_any_more(secret, host):
    older(secret, host)
    assert verification.verify().verdict == Verdict.BROKEN
    restored.look()
    gone = checkpoints.newest().sequence
    before = newest()
    acknowledge()
    event = AuditEvent.objects.get(action="kms:AcknowledgeRestore")
    assert event.sequence == gone + 1
    assert event.reason == "the disk failed"
    assert not restored.look()
    found = verification.verify()
    assert (found.verdict, found.sentence) == (Verdict.WHOLE, "")
    assert any(f"events {before + 1} to {gone} are not here" in note for note in found.notes)
    trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.sign_and_export()
    assert checkpoints.newest().sequence == newest()
    assert verification.verify().verdict == Verdict.WHOLE
    assert verification.verify(newest=3).verdict == Verdict.WHOLE
    assert verification.verify(newest=newest() - gone + 2).verdict == Verdict.WHOLE


def test_a_history_that_went_on_beside_the_file_is_whole_after_it_is_acknowledged(secret, host, dot):
    older(secret, host)
    while newest() <= checkpoints.newest().sequence:
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
    restored.look()
    acknowledge()
    assert verification.verify().verdict == Verdict.WHOLE
    assert not restored.look()


def test_the_same_backup_put_back_twice_is_noticed_twice_and_whole_after_both(secret, host):
    older(secret, host)
    restored.look()
    before = newest()
    DatabaseRestore.objects.all().delete()
    restored.look()
    acknowledge()
    for _ in range(3):
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.sign_and_export()
    assert verification.verify().verdict == Verdict.WHOLE
    put_back(sequence=before)
    DatabaseRestore.objects.all().delete()
    assert restored.look()
    acknowledge("once more")
    assert verification.verify().verdict == Verdict.WHOLE


def test_what_is_cut_off_after_an_acknowledged_restore_is_still_found(secret, host):
    older(secret, host)
    restored.look()
    acknowledge()
    at = newest()
    for _ in range(3):
        trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=factories.administrator())
    checkpoints.sign_and_export()
    put_back(sequence=at)
    assert verification.verify().verdict == Verdict.BROKEN
    assert restored.look()


def test_an_acknowledgement_that_was_written_without_the_key_is_none(secret, host):
    older(secret, host)
    point = checkpoints.newest()
    AuditEvent.objects.create(
        sequence=point.sequence + 1,
        at=Now(),
        actor_name="factory",
        action="kms:AcknowledgeRestore",
        resource="acs:kms::1:audit",
        outcome="succeeded",
        details={"exported_to": point.sequence, "mac": point.mac, "agrees_to": 0},
        mac="0" * 64,
    )
    AuditHead.objects.update(sequence=point.sequence + 1, mac="0" * 64)
    assert gaps.known() == []
    assert checkpoints.contradicted() is not None
    assert verification.verify().verdict == Verdict.BROKEN
