# ruff: noqa: S608, PT012  # the tables' names are ours; what raises stands last in its block
"""The audit trail: every event in its place, and whatever somebody does to the rows is noticed and named."""

from __future__ import annotations

import json
import re
import stat
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from rotation import runs, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.managed import deletion
from rotation.models import Run
from secrets_app import keyring, origin
from secrets_app.audit import append_only, audit_keys, chain, checkpoints, refusals, verification
from secrets_app.audit import trail as audit
from secrets_app.audit.verification import Verdict
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead, Refusals, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import drive

pytestmark = pytest.mark.django_db

EVENTS, HEAD, POINTS = (model._meta.db_table for model in (AuditEvent, AuditHead, AuditCheckpoint))


@pytest.fixture(autouse=True)
def _files(settings, tmp_path):
    """Each test exports to a file of its own and reads its keys anew."""
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()
    yield
    keyring.forget()


@pytest.fixture
def trail(dot) -> int:
    """A trail of some events; returns the sequence of the last one."""
    for number in range(8):
        audit.record("kms:Test", f"acs:kms:main:1:thing/{number}", actor=dot.principal, details={"n": number})
    return last()


def last() -> int:
    return AuditEvent.objects.first().sequence


def sql(statement: str, *values: object) -> None:
    """Run a statement as a superuser of the database does: no trigger stands in the way."""
    append_only.lift()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def host() -> MemoryHost:
    made = MemoryHost()
    made.add_account("svc", "a-first-value-1")
    return made


def verify(**given: object) -> verification.Report:
    return verification.verify(**given)  # type: ignore[arg-type]


def broken(sequence: int | None, word: str, **given: object) -> None:
    found = verify(**given)
    assert (found.verdict, found.first_bad) == (Verdict.BROKEN, sequence), found
    assert word in found.sentence


# ---------------------------------------------------------------- what an event is


def test_events_are_numbered_without_a_gap_and_each_is_tied_to_the_one_before(trail):
    rows = list(AuditEvent.objects.order_by("sequence"))
    assert [row.sequence for row in rows] == list(range(1, trail + 1))
    macs = [chain.GENESIS, *(row.mac for row in rows)]
    for row, before in zip(rows, macs, strict=False):
        assert row.mac == chain.mac(audit_keys.chaining(), row, before)
    head = AuditHead.objects.get()
    assert (head.sequence, head.mac) == (trail, macs[-1])


def test_every_column_of_an_event_is_chained():
    event = AuditEvent(
        sequence=1, at=timezone.now(), actor_name="", action="", resource="", outcome="", details={}
    )
    others = {
        "sequence": 2, "at": timezone.now() + timedelta(microseconds=1),
        "actor_id": factories.administrator().pk, "actor_name": "x", "action": "x", "resource": "x",
        "resource_id": factories.administrator().pk,
        "version_id": "x",
        "outcome": "x", "decision": "x", "reason": "x", "details": {"x": 1},
        "request_id": "x", "session": "x", "address": "127.0.0.1", "value_mark": "x",
    }  # fmt: skip
    columns = {field.attname for field in AuditEvent._meta.concrete_fields}
    assert columns == {*others, "mac"} == {*CHANGES, "sequence"}
    digests = {chain.encode(event)}
    for name, value in others.items():
        had = getattr(event, name)
        setattr(event, name, value)
        digests.add(chain.encode(event))
        setattr(event, name, had)
    assert len(digests) == len(others) + 1


def test_whatever_an_event_holds_reads_back_as_it_was_chained(dot):
    odd = {
        "text": "ü \u2028 \x00 😀",
        "list": [1, True, None, "2"],
        "big": 10**15,
        "enum": Run.Outcome.FAILED,
    }
    for address in ("::ffff:10.1.2.3", "2001:DB8::1", "fe80::1%eth0", "10.0.0.1", "no address", None):
        with origin.bind(request_id="r" * 99, address=address, session="s"):
            audit.record("kms:Test", "x" * 900, actor=dot.principal, reason="r" * 900, details=odd)
    assert verify().verdict == Verdict.WHOLE
    with pytest.raises(TypeError):
        audit.record("kms:Test", "x", actor=dot.principal, details={"rate": 0.1})


def test_an_event_says_which_statement_allowed_it(dot, hal):
    with origin.bind():
        secret = factories.secret(initial="a-first-value-1")
        assert "KMSFullAccess" in AuditEvent.objects.get(action=Action.CREATE_SECRET).decision
        factories.settle(secret)
        runs.start(secret, actor=dot.principal)
    event = AuditEvent.objects.get(action=Action.ROTATE_SECRET)
    assert event.decision == "Allow by statement 1 of the policy KMSFullAccess."


def test_a_decision_on_one_secret_is_not_written_to_an_event_of_another(dot):
    one, other = factories.secret(), factories.secret()
    with origin.bind():
        decisions.require(dot.principal, Action.RESTORE_SECRET, one)
        audit.record(Action.RESTORE_SECRET, other, actor=dot.principal)
    assert AuditEvent.objects.get(action=Action.RESTORE_SECRET).decision == ""


# ---------------------------------------------------------------- with the change, or not at all


def test_a_change_that_rolls_back_leaves_no_event_and_no_gap(trail, dot):
    with pytest.raises(audit.NotRecorded), transaction.atomic():
        audit.record("kms:Test", "x", actor=dot.principal)
        raise audit.NotRecorded
    assert last() == trail
    audit.record("kms:Test", "x", actor=dot.principal)
    assert verify().verdict == Verdict.WHOLE


def refusing(execute, text, params, many, context):
    if f'INSERT INTO "{EVENTS}"' in text:
        raise DatabaseError("the disk is full")
    return execute(text, params, many, context)


def test_aud_03_what_cannot_be_recorded_is_not_done(dot):
    secret = factories.secret()
    with connection.execute_wrapper(refusing), pytest.raises(audit.NotRecorded):
        deletion.plan_deletion(secret, actor=dot.principal)
    assert Secret.objects.get(pk=secret.pk).is_enabled


def test_aud_03_a_rotation_that_cannot_be_recorded_does_not_begin(dot):
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    with connection.execute_wrapper(refusing), pytest.raises(audit.NotRecorded):
        runs.start(secret, actor=dot.principal)
    assert not Run.objects.active().exists()


def test_who_catches_that_it_was_not_recorded_commits_nothing_either(dot):
    secret = factories.secret()
    with transaction.atomic(), connection.execute_wrapper(refusing):
        Secret.objects.filter(pk=secret.pk).update(description="changed")
        with pytest.raises(audit.NotRecorded):
            audit.record("kms:Test", "x", actor=dot.principal)
    assert Secret.objects.get(pk=secret.pk).description == ""


def test_a_taken_number_is_not_mistaken_for_a_name_in_use(trail, dot):
    sql(f"UPDATE {HEAD} SET sequence = sequence - 1")
    with pytest.raises(audit.NotRecorded):
        factories.credential()


def test_what_is_kept_until_the_end_is_written_once_and_in_order(trail, dot):
    with transaction.atomic(), audit.at_the_end():
        audit.record("kms:First", "x", actor=dot.principal)
        with transaction.atomic(), audit.at_the_end():
            audit.record("kms:Second", "x", actor=dot.principal)
        assert last() == trail
    assert list(AuditEvent.objects.values_list("action", flat=True)[:2]) == ["kms:Second", "kms:First"]
    with pytest.raises(audit.NotRecorded), audit.at_the_end():
        audit.record("kms:Third", "x", actor=dot.principal)
        raise audit.NotRecorded
    assert last() == trail + 2


def created(secret: Secret, actor) -> None:
    factories.secret(
        initial="another-value-1", instance=secret.managed.instance, username="b", rotate_now=True
    )


def purged(secret: Secret, actor) -> None:
    deletion.purge(secret, actor=actor)


def started(secret: Secret, actor) -> None:
    runs.start(secret, actor=actor)


def rotated(secret: Secret, actor) -> None:
    assert drive(runs.start(secret, actor=actor), host()).outcome == "succeeded"


class Transactions:
    """What each transaction wrote, table by table."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.depth = 0

    def __call__(self, execute, text, params, many, context):
        if text.startswith("SAVEPOINT"):
            if not self.depth:
                self.written.append([])
            self.depth += 1
        elif text.startswith(("RELEASE", "ROLLBACK TO")):
            self.depth -= text.startswith("RELEASE")
        elif self.depth:
            self.written[-1] += re.findall(r'\b(?:INSERT INTO|UPDATE|DELETE FROM) "(\w+)"', text)
        return execute(text, params, many, context)


@pytest.mark.parametrize("change", [created, purged, started, rotated])
def test_no_row_of_another_table_is_written_after_the_head_is_locked(change, dot):
    secret = factories.secret(initial="a-first-value-1")
    if change is not purged:  # it has a run to cancel, which is recorded too
        factories.settle(secret)
    seen = Transactions()
    with connection.execute_wrapper(seen):
        change(secret, dot.principal)
    recorded = [tables for tables in seen.written if EVENTS in tables]
    assert recorded
    for tables in recorded:
        assert set(tables[tables.index(EVENTS) :]) <= {EVENTS, HEAD}


# ---------------------------------------------------------------- the keys


def test_the_audit_s_keys_are_their_owner_s_alone_and_in_no_table(settings, trail):
    for path in (settings.AUDIT_KEY_FILE, settings.CHECKPOINT_KEY_FILE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    key = audit_keys.chaining().hex()
    assert all(key not in str(vars(row)) for row in [*AuditEvent.objects.all(), AuditHead.objects.get()])
    assert audit_keys.chaining() != audit_keys.mark(b"").encode()


def test_without_the_audit_key_the_keyring_is_sealed_and_no_other_one_is_made(settings, tmp_path, trail):
    settings.AUDIT_KEY_FILE = tmp_path / "gone.key"
    keyring.forget()
    assert keyring.is_sealed()
    with pytest.raises(keyring.Sealed):
        keyring.ensure_root_key()
    assert not settings.AUDIT_KEY_FILE.exists()


def test_another_audit_key_seals_the_keyring_and_appends_nothing(settings, tmp_path, trail, dot):
    settings.AUDIT_KEY_FILE = tmp_path / "other.key"
    audit_keys.KeyFile(settings.AUDIT_KEY_FILE, audit_keys.AUDIT_MAGIC).create()
    keyring.forget()
    assert keyring.is_sealed()
    with pytest.raises(audit.NotRecorded), transaction.atomic():
        audit.record("kms:Test", "x", actor=dot.principal)
    assert verify().verdict == Verdict.UNKNOWN
    assert last() == trail


# ---------------------------------------------------------------- the database refuses


EMPTIES = f"TRUNCATE {EVENTS}" if connection.vendor == "postgresql" else f"DELETE FROM {EVENTS} WHERE true"


@pytest.mark.parametrize("statement", [f"UPDATE {EVENTS} SET reason = 'x'", f"DELETE FROM {EVENTS}", EMPTIES])
def test_the_database_refuses_to_change_an_event(trail, statement):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert last() == trail


@pytest.mark.parametrize("statement", [f"UPDATE {POINTS} SET mac = 'x'", f"DELETE FROM {POINTS}"])
def test_the_database_refuses_to_change_a_checkpoint(trail, statement):
    checkpoints.take()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_protection_that_was_taken_away_is_back_after_the_next_migration(trail):
    append_only.lift()
    append_only.after_migration()
    test_the_database_refuses_to_change_an_event(trail, f"DELETE FROM {EVENTS}")


# ---------------------------------------------------------------- what is noticed


def test_a_whole_trail_is_whole(trail):
    checkpoints.sign_and_export()
    found = verify()
    assert (found.verdict, found.events, found.checkpoints) == (Verdict.WHOLE, trail, 2)


CHANGES = {
    "at": "'2020-01-01 00:00:00'", "actor_id": "NULL", "actor_name": "'eve'", "action": "'kms:Other'",
    "resource": "'x'", "resource_id": "'0123456789abcdef0123456789abcdef'", "version_id": "'x'",
    "outcome": "'denied'", "decision": "'x'", "reason": "'x'", "details": """'{"n": 99}'""",
    "request_id": "'x'", "session": "'x'", "address": "'10.0.0.9'", "value_mark": "'x'",
    "mac": f"'{'a' * 64}'",
}  # fmt: skip


@pytest.mark.parametrize("column", CHANGES)
def test_aud_06_one_field_that_was_changed_is_found_and_its_row_named(trail, column):
    sql(f"UPDATE {EVENTS} SET {column} = {CHANGES[column]} WHERE sequence = %s", trail - 3)
    broken(trail - 3, "is not as it was written")


if connection.vendor == "sqlite":  # PostgreSQL keeps an address or nothing

    def test_aud_06_a_field_that_cannot_be_read_any_more_is_found(trail):
        sql(f"UPDATE {EVENTS} SET address = 'nowhere' WHERE sequence = %s", trail - 3)
        broken(trail - 3, "is not as it was written")


def test_aud_06_a_row_taken_out_of_the_middle_is_named(trail):
    sql(f"DELETE FROM {EVENTS} WHERE sequence = %s", trail - 3)
    broken(trail - 3, "is missing")


def test_aud_06_two_rows_that_changed_places_are_found(trail):
    for old, new in ((trail - 3, 10**6), (trail - 2, trail - 3), (10**6, trail - 2)):
        sql(f"UPDATE {EVENTS} SET sequence = %s WHERE sequence = %s", new, old)
    broken(trail - 3, "is not as it was written")


def cut(to: int) -> None:
    """Cut the newest rows off, and put the head where they end then."""
    sql(f"DELETE FROM {EVENTS} WHERE sequence > %s", to)
    mac = AuditEvent.objects.get(sequence=to).mac
    sql(f"UPDATE {HEAD} SET sequence = %s, mac = %s", to, mac)


def test_aud_07_newest_rows_cut_without_the_head_are_named(trail):
    sql(f"DELETE FROM {EVENTS} WHERE sequence > %s", trail - 2)
    broken(trail - 1, "are missing")


def test_aud_07_newest_rows_cut_with_the_head_are_seen_by_the_checkpoint(trail):
    checkpoints.take()
    cut(trail - 2)
    broken(trail - 1, "cut off")


def test_aud_07_newest_rows_cut_with_head_and_checkpoints_are_seen_by_the_file(trail):
    checkpoints.sign_and_export()
    cut(trail - 2)
    sql(f"DELETE FROM {POINTS}")
    broken(trail - 1, "cut off")


def test_aud_06_a_row_of_another_history_of_ours_is_found_by_the_row_after_it(trail, dot):
    other = AuditEvent.objects.filter(sequence=trail - 2).values().get()
    cut(trail - 3)
    for number in range(3):
        audit.record("kms:Other", "x", actor=dot.principal, details={"n": number})
    assert verify().verdict == Verdict.WHOLE
    append_only.lift()
    AuditEvent.objects.filter(sequence=trail - 2).update(**other)
    broken(trail - 1, "is not as it was written")


def rewrite(key: bytes, start: int) -> None:
    """Change a row and chain it and all later ones anew with `key`, head included."""
    sql(f"UPDATE {EVENTS} SET reason = 'nothing happened' WHERE sequence = %s", start)
    before = AuditEvent.objects.get(sequence=start - 1).mac
    for row in AuditEvent.objects.filter(sequence__gte=start).order_by("sequence"):
        before = chain.mac(key, row, before)
        sql(f"UPDATE {EVENTS} SET mac = %s WHERE sequence = %s", before, row.sequence)
    sql(f"UPDATE {HEAD} SET mac = %s", before)


def test_aud_08_a_chain_rewritten_without_the_key_is_found_at_its_first_row(trail):
    rewrite(b"k" * 32, trail - 4)
    broken(trail - 4, "made without the key")


def test_aud_08_a_chain_rewritten_with_the_key_contradicts_the_checkpoint(trail):
    checkpoints.take()
    rewrite(audit_keys.chaining(), trail - 4)
    broken(trail, "rewritten")


def test_aud_08_a_checkpoint_that_our_key_did_not_sign_is_found(trail):
    checkpoints.take()
    sql(f"UPDATE {POINTS} SET signature = %s", "ab" * 64)
    broken(None, "our key did not sign")


def test_aud_09_yesterday_s_database_is_known_by_the_exported_checkpoint(trail, dot):
    checkpoints.sign_and_export()
    yesterday = list(AuditEvent.objects.all()), list(AuditCheckpoint.objects.all())
    audit.record("kms:Today", "x", actor=dot.principal)
    checkpoints.sign_and_export()
    cut(trail)
    sql(f"DELETE FROM {POINTS} WHERE sequence > %s", trail)
    assert (list(AuditEvent.objects.all()), list(AuditCheckpoint.objects.all())) == yesterday
    broken(trail + 1, "an older database was restored")


def test_aud_09_yesterday_s_database_that_went_on_is_known_as_well(trail, dot):
    checkpoints.sign_and_export()
    audit.record("kms:Today", "x", actor=dot.principal)
    checkpoints.sign_and_export()
    cut(trail)
    sql(f"DELETE FROM {POINTS} WHERE sequence > %s", trail)
    for _ in range(3):
        audit.record("kms:Other", "x", actor=dot.principal)
    broken(trail + 1, "rewritten")


def test_a_row_beyond_the_head_is_found(trail):
    sql(
        f"INSERT INTO {EVENTS} (sequence, at, actor_name, action, resource, resource_id, version_id, "
        "outcome, decision, reason, details, request_id, session, address, value_mark, mac, actor_id) "
        "SELECT sequence + 1, at, actor_name, action, resource, resource_id, "
        "version_id, outcome, decision, reason, details, request_id, session, address, value_mark, "
        "mac, actor_id "
        f"FROM {EVENTS} WHERE sequence = %s",
        trail,
    )
    broken(trail + 1, "beyond the head")


def test_the_newest_events_can_be_checked_by_themselves(trail):
    sql(f"UPDATE {EVENTS} SET reason = 'x' WHERE sequence = %s", 2)
    found = verify(newest=4)
    assert (found.verdict, found.first, found.events) == (Verdict.WHOLE, trail - 3, 4)
    broken(2, "is not as it was written", newest=trail)


# ---------------------------------------------------------------- checkpoints


def test_a_checkpoint_is_taken_where_something_is_new_and_says_what_came_before(trail, dot):
    first = checkpoints.take()
    assert (first.sequence, first.previous) == (trail, chain.GENESIS)
    assert checkpoints.take() is None
    audit.record("kms:Test", "x", actor=dot.principal)
    assert checkpoints.take().previous == chain.checkpoint_hash(first)
    assert checkpoints.is_ours(first, audit_keys.public_key())


def test_the_file_gets_every_checkpoint_once_whatever_failed_before(trail, dot, settings, tmp_path, caplog):
    good, settings.AUDIT_EXPORT_FILE = settings.AUDIT_EXPORT_FILE, tmp_path / "no" / "such" / "folder"
    assert checkpoints.sign_and_export().sequence == trail
    assert "not exported" in caplog.text
    settings.AUDIT_EXPORT_FILE = good
    audit.record("kms:Test", "x", actor=dot.principal)
    checkpoints.sign_and_export()
    checkpoints.sign_and_export()
    assert [json.loads(line)["sequence"] for line in good.read_text().splitlines()] == [trail, trail + 1]


def test_a_line_that_is_no_checkpoint_is_named(trail, settings):
    checkpoints.sign_and_export()
    settings.AUDIT_EXPORT_FILE.write_text("not json\n")
    broken(None, "Line 1")


def many(count: int, dot) -> None:
    with transaction.atomic(), audit.at_the_end():
        for _ in range(count):
            audit.record("kms:Test", "x", actor=dot.principal)


def signed() -> list[int]:
    return list(AuditCheckpoint.objects.values_list("sequence", flat=True))


def test_a_checkpoint_is_made_of_a_new_trail_at_once_and_then_after_a_thousand_events(trail, dot):
    tasks.sign_long_tail()
    many(999, dot)
    tasks.sign_long_tail()
    assert signed() == [trail]
    many(1, dot)
    tasks.sign_long_tail()
    assert signed() == [trail, trail + 1000]


def test_a_checkpoint_is_made_of_one_event_once_the_last_is_an_hour_old(trail, dot):
    tasks.sign_long_tail()
    many(1, dot)
    tasks.sign_long_tail()
    assert signed() == [trail]
    sql(f"UPDATE {POINTS} SET at = %s", timezone.now() - timedelta(minutes=61))
    tasks.sign_long_tail()
    assert signed() == [trail, trail + 1]
    tasks.sign_long_tail()
    assert signed() == [trail, trail + 1]


def test_aud_07_what_is_cut_off_in_the_first_minute_is_seen(trail):
    tasks.tick()
    cut(trail - 2)
    broken(trail - 1, "cut off")


def test_verify_says_since_when_nothing_vouches_for_the_newest(trail, dot):
    assert verify().tail == f"Nothing vouches for these events yet: no checkpoint was made of the {trail}."
    made = checkpoints.sign_and_export()
    at = f"the newest checkpoint, of event {trail}, was made at {made.at:%Y-%m-%d %H:%M:%S} UTC"
    assert verify().tail == f"A checkpoint vouches for all of them: {at}."
    many(3, dot)
    for newest in (None, 2):
        assert verify(newest=newest).tail == (
            f"Nothing vouches for the 3 newest events yet, which could be cut off without a trace: {at}."
        )
    # The table's own goes with the events that are cut off: where there is a file, the file counts.
    checkpoints.take()
    assert verify().tail.startswith("Nothing vouches for the 3 newest events yet")


# ---------------------------------------------------------------- the command


def test_the_command_says_whole_broken_and_could_not_be_checked(trail, capsys, tmp_path, settings):
    call_command("audit", "checkpoint")
    call_command("audit", "verify")
    said = capsys.readouterr().out
    assert f"Whole: {trail} events, 2 checkpoints" in said
    assert "A checkpoint vouches for all of them: the newest" in said
    with pytest.raises(SystemExit) as ended:
        call_command("audit", "verify", "--checkpoints", str(tmp_path / "none"))
    assert ended.value.code == 2
    sql(f"UPDATE {EVENTS} SET reason = 'x' WHERE sequence = 2")
    with pytest.raises(SystemExit) as ended:
        call_command("audit", "verify")
    assert ended.value.code == 1
    assert "Event 2 is not as it was written" in capsys.readouterr().err
    settings.CHECKPOINT_KEY_FILE = tmp_path / "gone.key"
    with pytest.raises(CommandError) as missing:
        call_command("audit", "key")
    assert missing.value.returncode == 2


# ---------------------------------------------------------------- refusals


def test_the_same_refusal_within_a_minute_is_one_event_and_then_a_count(dot):
    for _ in range(5):
        refusals.note(Action.GET_SECRET_VALUE, "x", actor=dot.principal, because="No policy.")
    refusals.note(Action.GET_SECRET_VALUE, "y", actor=dot.principal)
    denied = AuditEvent.objects.filter(outcome="denied")
    assert denied.count() == 2
    assert refusals.record_counted() == 0
    Refusals.objects.update(since=timezone.now() - timedelta(minutes=2))
    assert refusals.record_counted() == 1
    assert (denied.first().details["more"], denied.first().decision) == (4, "No policy.")
    assert not Refusals.objects.exists()
    refusals.note(Action.GET_SECRET_VALUE, "x", actor=dot.principal)
    assert denied.count() == 4


# ---------------------------------------------------------------- values


def test_a_reveal_and_a_value_that_becomes_current_leave_a_mark_and_no_value(dot):
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    entered = secret.labelled("current")
    run = drive(runs.start(secret, actor=dot.principal), host())
    assert run.outcome == "succeeded"
    promoted = AuditEvent.objects.get(action=versions.PROMOTED)
    now = secret.labelled("current")
    assert (promoted.version_id, promoted.value_mark) == (now.version_id, now.value_mark)
    assert AuditEvent.objects.get(action=Action.CREATE_SECRET).value_mark == entered.value_mark
    assert len({entered.value_mark, now.value_mark, ""}) == 3
    assert SecretVersion.objects.filter(value_mark="").count() == 0
    assert all("a-first-value-1" not in str(vars(event)) for event in AuditEvent.objects.all())


def test_each_part_of_an_event_has_its_length_before_it_however_long_it_is():
    for length in (0, 1, 1023, 1024, 70_000):
        assert chain._joined("é", "x" * length) == (
            b"\0\0\0\2" + "é".encode() + length.to_bytes(4, "big") + b"x" * length
        )
