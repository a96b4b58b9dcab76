"""Values that many threads read at once share one commit, and none leaves before it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from secrets_app import keyring, origin, seal_sets
from secrets_app.audit import batches, trail, verification
from secrets_app.models import AuditEvent, KeyVersion, Principal, Secret
from secrets_app.secrets import lifecycle, read_limits, reads, versions
from tests import factories
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 8


class Gate:
    """The queue of reads, which lets the first read through once `others` wait behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: int = MANY - 1) -> None:
        self.others, self.sizes = others, list[int]()
        self.early: list[type[BaseException]] = []  # the next transaction raises it, and has taken no read
        self.before: Callable[[], object] = lambda: None  # the second transaction records
        self.after: Callable[[], object] = lambda: None  # it has recorded, and commits next
        self.queue = batches.Batches(self._record)
        monkeypatch.setattr(reads, "_passing", self.queue)

    def _record(self, take: Callable[[], Sequence[reads._Read]]) -> list[object]:
        if self.sizes and self.early:
            raise self.early.pop()
        asked = take()
        self.sizes.append(len(asked))
        if len(self.sizes) == 1:
            wait_for(lambda: len(self.queue._waiting) == self.others, "the other readers")
            return reads._record(lambda: asked, waits=False)
        if len(self.sizes) == 2:
            self.before()
        answers = reads._record(lambda: asked, waits=False)
        if len(self.sizes) == 2:
            self.after()
        return answers


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def many() -> list[Secret]:
    return [factories.generic_secret(value=f"value-{n}") for n in range(MANY)]


def read(secret: Secret, actor: Principal, request_id: str = "") -> str:
    try:
        with origin.bind(request_id=request_id):
            value = versions.reveal(secret.labelled("current"), actor=actor, reason="test")
        return value.credential.reveal()
    finally:
        connection.close()


def all_at_once(
    secrets: Sequence[Secret], actor: Principal, requests: Sequence[str] = (), gate: Gate | None = None
) -> list[Future[str]]:
    """Read each in a thread of its own, the first one first; return once all have ended."""
    with ThreadPoolExecutor(len(secrets)) as pool:
        started = []
        for number, secret in enumerate(secrets):
            started.append(pool.submit(read, secret, actor, requests[number] if requests else ""))
            if number == 0 and gate is not None:
                wait_for(lambda: gate.sizes, "the first reader")
    return started


def events(outcome: str = AuditEvent.Outcome.SUCCEEDED) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="kms:GetSecretValue", outcome=outcome).order_by("sequence"))


def errors(started: Sequence[Future[str]]) -> list[type[BaseException] | None]:
    return [type(error) if (error := one.exception()) else None for one in started]


def is_whole() -> bool:
    return verification.verify().verdict == verification.Verdict.WHOLE


# ---------------------------------------------------------------- one commit for many


def test_those_that_wait_are_recorded_in_one_transaction(gate, many, dot):
    started = all_at_once(many, dot.principal, gate=gate)
    assert [one.result() for one in started] == [f"value-{n}" for n in range(MANY)]
    assert gate.sizes == [1, MANY - 1]
    assert {event.resource_id for event in events()} == {secret.pk for secret in many}
    assert len(events()) == MANY
    assert is_whole()
    assert set(Secret.objects.filter(pk__in=[s.pk for s in many]).values_list("last_read_by", flat=True)) == {
        dot.principal.pk
    }


def test_those_that_come_while_another_transaction_holds_the_trail_are_in_the_one_that_waits(many, dot):
    with ThreadPoolExecutor(MANY) as pool:
        with transaction.atomic():
            trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
            started = [pool.submit(read, secret, dot.principal) for secret in many[:3]]
            wait_for(lambda: len(reads._passing._waiting) == 3, "all three readers")
        assert [one.result() for one in started] == ["value-0", "value-1", "value-2"]
    assert len(events()) == 3
    assert len({event.at for event in events()}) == 1
    assert is_whole()


def test_reads_that_look_alike_have_an_event_each(gate, many, dot):
    started = all_at_once([many[0]] * MANY, dot.principal, gate=gate)
    assert {one.result() for one in started} == {"value-0"}
    assert (gate.sizes, len(events())) == ([1, MANY - 1], MANY)
    assert is_whole()


def test_each_event_names_its_own_reader(gate, many, dot):
    readers = [factories.user(f"reader-{n}", "administrators").principal for n in range(MANY)]
    started = []
    with ThreadPoolExecutor(MANY) as pool:
        for secret, reader in zip(many, readers, strict=True):
            started.append(pool.submit(read, secret, reader))
            wait_for(lambda: gate.sizes or started[0].done(), "the first reader")
    assert [one.result() for one in started] == [f"value-{n}" for n in range(MANY)]
    assert {(event.resource_id, event.actor_id) for event in events()} == {
        (secret.pk, reader.pk) for secret, reader in zip(many, readers, strict=True)
    }
    last = dict(Secret.objects.filter(pk__in=[s.pk for s in many]).values_list("pk", "last_read_by"))
    assert last == {secret.pk: reader.pk for secret, reader in zip(many, readers, strict=True)}


def test_threads_that_read_and_others_that_record_make_one_chain(many, dot):
    """No gate: whoever comes first."""

    def work(number: int) -> None:
        for turn in range(4):
            if number % 4 == 3:
                trail.record("kms:Test", f"acs:kms:main:1:thing/{number}", actor=dot.principal)
            else:
                read(many[(number + turn) % MANY], dot.principal)
        connection.close()

    with ThreadPoolExecutor(MANY) as pool:
        for done in [pool.submit(work, number) for number in range(MANY)]:
            done.result()
    assert len(events()) == 4 * MANY * 3 // 4
    assert is_whole()


def test_when_a_value_was_last_read_is_kept_once_a_minute_and_at_once_for_another_reader(many, dot):
    secret, other = many[0], factories.user("other", "administrators").principal

    def last() -> tuple[object, object]:
        secret.refresh_from_db()
        return secret.last_read_at, secret.last_read_by_id

    read(secret, dot.principal)
    first = last()
    read(secret, dot.principal)
    assert last() == first
    read(secret, other)
    assert last()[1] == other.pk
    for moved in (-timedelta(minutes=2), timedelta(hours=1)):  # or the clock was set back
        Secret.objects.filter(pk=secret.pk).update(last_read_at=timezone.now() + moved)
        before = last()[0]
        read(secret, other)
        assert last()[0] != before
    assert len(events()) == 5


# ---------------------------------------------------------------- a transaction that fails


def test_no_value_leaves_if_the_commit_fails(gate, many, dot):
    def spoil() -> None:  # both databases look at it when they commit
        Secret.objects.filter(pk=many[1].pk).update(last_read_by=uuid4())

    gate.after = spoil
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started)[0] is None
    assert sorted(error.__name__ for error in errors(started)[1:] if error) == [
        "IntegrityError", *["NotRecorded"] * (MANY - 2)
    ]  # fmt: skip
    assert len(events()) == 1
    assert is_whole()


def test_a_commit_that_may_have_happened_is_not_repeated(gate, many, dot, monkeypatch):
    """The server has committed, and its answer was lost."""
    commit = BaseDatabaseWrapper._commit

    def lost(self: BaseDatabaseWrapper) -> None:
        commit(self)
        if len(gate.sizes) == 2:
            raise IntegrityError("the answer was lost")

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", lost)
    started = all_at_once(many, dot.principal, gate=gate)
    monkeypatch.undo()
    assert errors(started).count(None) == 1
    assert len(events()) == MANY


def test_a_read_that_cannot_be_recorded_fails_by_itself(gate, many, dot):
    requests = ["", "\ud800", *[""] * (MANY - 2)]  # no bytes can be made of this one
    started = all_at_once(many, dot.principal, requests, gate=gate)
    assert errors(started) == [None, UnicodeEncodeError, *[None] * (MANY - 2)]
    assert len(events()) == MANY - 1
    assert is_whole()


def test_a_transaction_that_fails_before_its_commit_is_made_again_for_each(gate, many, dot):
    def fail() -> None:
        raise OSError("disk full")

    gate.after = fail
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started) == [None] * MANY
    assert [event.sequence for event in events()] == list(
        range(events()[0].sequence, events()[0].sequence + MANY)
    )
    assert is_whole()


def test_a_transaction_that_fails_before_it_takes_them_is_made_again_for_each(gate, many, dot):
    gate.early = [OSError]
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started) == [None] * MANY
    assert gate.sizes == [1] * MANY
    assert len(events()) == MANY
    assert is_whole()


def test_those_that_wait_go_on_if_the_thread_that_is_to_lead_them_ends(gate, many, dot):
    gate.early = [SystemExit]
    started = all_at_once(many, dot.principal, gate=gate)
    assert sorted(str(error) for error in errors(started)) == sorted(
        [str(SystemExit), *[str(None)] * (MANY - 1)]
    )
    assert gate.sizes == [1, MANY - 2]
    assert len(events()) == MANY - 1
    assert is_whole()


def test_those_that_a_thread_led_go_on_if_it_ends(gate, many, dot):
    def end() -> None:
        raise SystemExit

    gate.after = end
    started = all_at_once(many, dot.principal, gate=gate)
    assert sorted(str(error) for error in errors(started)) == sorted(
        [str(SystemExit), *[str(None)] * (MANY - 1)]
    )
    assert len(events()) == MANY - 1
    assert is_whole()


def test_those_that_a_thread_led_get_no_value_if_it_ends_as_it_commits(gate, many, dot, monkeypatch):
    commit = BaseDatabaseWrapper._commit

    def end(self: BaseDatabaseWrapper) -> None:
        if len(gate.sizes) == 2:
            raise SystemExit
        commit(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", end)
    started = all_at_once(many, dot.principal, gate=gate)
    monkeypatch.undo()
    assert errors(started).count(None) == 1
    assert errors(started).count(trail.NotRecorded) == MANY - 2
    assert len(events()) in {1, MANY}  # what became of the transaction is the database's
    assert is_whole()


def test_a_thread_that_ends_while_it_waits_leaves_the_others(gate, many, dot, monkeypatch):
    """It is the one that was to lead."""
    wait, first = threading.Event.wait, threading.Event()

    def waits(self: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "ends" and timeout is None:
            assert wait_for(lambda: gate.queue._waiting, "itself in the queue")
            first.set()
            wait(self)
            raise SystemExit
        return wait(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", waits)
    ended: list[object] = []

    def ends() -> None:
        try:
            read(many[1], dot.principal)
        except SystemExit:
            ended.append(SystemExit)

    with ThreadPoolExecutor(MANY) as pool:
        shown = [pool.submit(read, many[0], dot.principal)]
        wait_for(lambda: gate.sizes, "the first reader")
        thread = threading.Thread(target=ends, name="ends")
        thread.start()
        wait_for(first.is_set, "the second reader")
        shown += [pool.submit(read, secret, dot.principal) for secret in many[2:]]
    thread.join()
    assert ended == [SystemExit]
    assert [one.result() for one in shown] == ["value-0", *(f"value-{n}" for n in range(2, MANY))]
    assert len(events()) == MANY - 1


# ---------------------------------------------------------------- each read by itself


def test_of_many_at_once_no_more_are_shown_than_a_user_may_read(gate, many, dot, settings):
    settings.READS_AT_MOST = 3
    started = all_at_once([many[0]] * MANY, dot.principal, gate=gate)
    found = errors(started)
    assert (found.count(None), found.count(read_limits.TooOften)) == (3, MANY - 3)
    assert len(events()) == 3
    oldest = events()[0].at
    for one in started:
        if isinstance(error := one.exception(), read_limits.TooOften):
            assert error.again_at == oldest + read_limits.WITHIN


def test_a_secret_that_is_pending_deletion_is_the_only_one_refused(gate, many, dot):
    gate.before = lambda: lifecycle.plan_deletion(many[1], days=7, reason="", actor=dot.principal)
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started) == [None, versions.NoValue, *[None] * (MANY - 2)]
    assert many[1].pk not in {event.resource_id for event in events()}


def test_a_key_that_is_disabled_before_the_event_opens_nothing(gate, many, dot):
    """What was read of the key before counts for nothing."""

    def disable() -> None:
        for version in KeyVersion.objects.filter(key=keyring.default_key()):
            version.state = KeyVersion.State.DISABLED
            version.save(update_fields=["state"])

    gate.before = disable
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started) == [None, *[keyring.KeyDisabled] * (MANY - 1)]
    failed = events(AuditEvent.Outcome.FAILED)
    assert len(failed) == MANY - 1
    assert {event.value_mark for event in failed} == {""}
    assert "disabled" in failed[0].details["because"]
    assert is_whole()


def test_a_value_that_is_destroyed_before_the_event_is_not_recorded_as_read(gate, many, dot):
    gate.before = lambda: versions.destroy_all(many[1])
    started = all_at_once(many, dot.principal, gate=gate)
    assert errors(started) == [None, versions.NoValue, *[None] * (MANY - 2)]
    assert len(events()) == MANY - 1


def test_a_version_without_a_value_leaves_no_event_of_a_read(dot):
    secret = factories.generic_secret(value="value")
    version = secret.labelled("current")
    versions.destroy_all(secret)
    version.refresh_from_db()
    with pytest.raises(versions.NoValue):
        versions.reveal(version, actor=dot.principal, reason="test")
    assert events() == []


if connection.vendor == "postgresql":  # SQLite locks no rows: it has one writer at a time

    def test_a_secret_that_is_held_makes_only_its_own_readers_wait(gate, many, dot):
        with ThreadPoolExecutor(MANY) as pool:
            with transaction.atomic():
                lifecycle.held(many[1].pk)
                started = [pool.submit(read, secret, dot.principal) for secret in many]
                free = [one for number, one in enumerate(started) if number != 1]
                assert [one.result(60) for one in free] == [
                    "value-0",
                    *(f"value-{n}" for n in range(2, MANY)),
                ]
                assert not started[1].done()
            assert started[1].result(60) == "value-1"
        assert len(events()) == MANY

    def test_a_reader_whose_rights_are_being_changed_is_not_waited_for_by_its_own_read(many, dot):
        """Whoever changes them holds the reader, and records at the end, when a read holds the head."""
        version = many[0].labelled("current")
        with transaction.atomic():
            seal_sets._lock(Principal.objects.filter(pk=dot.principal.pk))
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(read, version.secret, dot.principal).result(60) == "value-0"
            trail.record("kms:Test", "acs:kms:main:1:thing/1", actor=dot.principal)
        assert len(events()) == 1
