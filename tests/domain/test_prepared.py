"""What is asked with SQL that was made once is what Django would have found."""

from __future__ import annotations

import itertools
import threading
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from rotation import runs
from rotation.models import Instance, ManagedAccount, Run, Step
from secrets_app import prepared
from secrets_app.models import AuditEvent, Label, Policy, Secret
from tests import factories

pytestmark = pytest.mark.django_db
VALUE = "an-initial-value-1"


def test_other_values_find_other_rows_with_what_belongs_to_them() -> None:
    first, second = (factories.secret().managed for _ in range(2))
    named = prepared.Question(
        lambda secret, username: ManagedAccount.objects.filter(
            secret=secret, username=username
        ).select_related("secret__region")
    )
    for account in (first, second, first):
        (found,) = named(account.secret_id, account.username)
        assert (found, found.secret.name) == (account, account.secret.name)
        with connection.execute_wrapper(_none_is_asked):
            assert found.secret.region == account.secret.region
    assert named(first.secret_id, "nobody") == []
    assert named.first(uuid.uuid4(), first.username) is None


def _none_is_asked(*_: object) -> object:
    raise AssertionError("a row that was to come with the question was asked for")


def test_rows_are_counted_for_each_of_several_values_in_their_order() -> None:
    zone = ZoneInfo("Asia/Kolkata")
    moments = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in (1, 2, 2, 4)]
    for moment in moments:
        Secret.objects.filter(pk=factories.secret().pk).update(reminder_due_at=moment)
    ends = [datetime(2026, 3, day, tzinfo=zone) for day in range(1, 6)]
    pairs = list(itertools.pairwise([*ends[:2], moments[1], *ends[2:]]))

    def between(begin: datetime, end: datetime) -> QuerySet[Secret]:
        return Secret.objects.filter(reminder_due_at__gte=begin, reminder_due_at__lt=end).order_by("name")

    assert prepared.counted(between, pairs) == [1, 0, 2, 0, 1]
    assert prepared.counted(between, pairs) == [between(*pair).count() for pair in pairs]
    assert prepared.counted(lambda begin, end: between(begin, end).none(), pairs) == [0] * 5


def test_a_row_is_read_again_at_each_call() -> None:
    secret = factories.secret()
    names = prepared.Question(lambda pk: Secret.objects.filter(pk=pk).values_list("description", flat=True))
    assert names(secret.pk) == [secret.description]
    Secret.objects.filter(pk=secret.pk).update(description="another")
    assert names(secret.pk) == ["another"]


def test_a_change_counts_what_it_changed() -> None:
    one, other = (runs.start(factories.secret(), actor=factories.administrator()) for _ in range(2))
    hold = prepared.Change(
        lambda run, number, length: (
            Run.objects.filter(pk=run, lease=number),
            {"leased_until": Now() + length, "lease": F("lease") + 1},
        )
    )
    assert hold(one.pk, 0, timedelta(minutes=5)) == 1
    assert hold(one.pk, 0, timedelta(minutes=5)) == 0
    assert hold(one.pk, 1, timedelta(days=2)) == 1
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.lease, other.lease, other.leased_until) == (2, 0, None)
    assert one.leased_until is not None
    assert timedelta(days=1) < one.leased_until - one.created_at < timedelta(days=3)


def test_a_value_that_would_be_left_out_is_an_error() -> None:
    lost = prepared.Question(lambda pk, role: Label.objects.filter(secret=pk))
    with pytest.raises(TypeError, match="no place"):
        lost(uuid.uuid4(), "current")


def test_a_change_of_what_a_seal_covers_is_refused() -> None:
    moved = prepared.Change(lambda pk, name: (Instance.objects.filter(pk=pk), {"address": name}))
    with pytest.raises(TypeError, match="seal"):
        moved(uuid.uuid4(), "127.0.0.9")


@pytest.mark.django_db(transaction=True)
def test_rows_are_locked_in_a_transaction_only() -> None:
    locked = prepared.Question(lambda pk: Secret.objects.select_for_update().filter(pk=pk))
    with transaction.atomic():
        assert locked(uuid.uuid4()) == []
    with pytest.raises(transaction.TransactionManagementError):
        locked(uuid.uuid4())


@pytest.mark.django_db(transaction=True)
def test_each_thread_asks_on_its_own_connection() -> None:
    secret = factories.secret()
    found = prepared.Question(lambda pk: Secret.objects.filter(pk=pk))
    assert found(secret.pk) == [secret]
    asked: list[object] = []

    def ask() -> None:
        try:
            with connection.execute_wrapper(lambda run, *rest: asked.append(rest[0]) or run(*rest)):
                asked.extend(found(secret.pk))
        finally:
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert asked[-1] == secret
    assert any(secret._meta.db_table in str(sql) for sql in asked)


def test_a_text_in_the_place_of_an_id_is_an_error_and_not_an_empty_answer() -> None:
    secret = factories.secret()
    found = prepared.Question(lambda pk: Secret.objects.filter(pk=pk))
    assert found(secret.pk) == [secret]
    with pytest.raises(TypeError, match="another type"):
        found(str(secret.pk))


def test_a_moment_finds_the_rows_before_it_to_the_microsecond() -> None:
    secret = factories.secret()
    moment = datetime(2026, 3, 1, 12, 30, 5, 250_000, tzinfo=ZoneInfo("Asia/Shanghai"))
    Secret.objects.filter(pk=secret.pk).update(created_at=moment)
    before = prepared.Question(
        lambda at: Secret.objects.filter(created_at__lt=at).filter(Q(created_at__lt=at) | Q(pk__in=[]))
    )
    for length, found in ((timedelta(0), []), (timedelta(microseconds=1), [secret]), (timedelta(-1), [])):
        assert before((moment + length).astimezone(UTC)) == before(moment + length) == found
    with pytest.raises(TypeError, match="another type"):
        before(str(moment))


def test_several_ids_find_their_rows_whatever_their_number() -> None:
    secrets = [factories.generic_secret() for _ in range(5)]
    found = prepared.Several(lambda ids: Secret.objects.filter(pk__in=ids).order_by("name"))
    assert found([]) == []
    for number in (1, 2, 3, 5, 4, 3):
        wanted = secrets[:number]
        assert found([secret.pk for secret in wanted]) == sorted(wanted, key=lambda secret: secret.name)
    assert found({uuid.uuid4(), secrets[0].pk, uuid.uuid4()}) == [secrets[0]]


def test_rows_are_written_as_django_writes_them() -> None:
    actor = factories.administrator()
    made = [
        AuditEvent(
            sequence=10_000_000_000 + number, at=timezone.now(), actor=actor, actor_name=text,
            action="kms:Test", resource="r", outcome="succeeded",
            details={"text": text, "list": [1, None]}, address=address,
        )
        for number, (text, address) in enumerate([("it's %s", "10.0.0.1"), ("two \"2\"", "::1"), ("3", None)])
    ]  # fmt: skip
    written = prepared.Rows(AuditEvent)
    written([])
    written(made[:1])
    written(made[1:])
    found = list(AuditEvent.objects.filter(action="kms:Test").order_by("sequence"))
    assert [vars_of(event) for event in found] == [vars_of(event) for event in made]


def test_rows_and_the_change_beside_them_are_made_or_neither() -> None:
    secret = factories.secret()
    written = prepared.Rows(AuditEvent)
    named = prepared.Change(lambda pk, text: (Secret.objects.filter(pk=pk), {"description": text}))
    one = AuditEvent(sequence=10_001, at=timezone.now(), action="kms:Test", resource="r", outcome="succeeded")
    seen: list[str] = []

    def see(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(see):
        written([one], beside=named.of(secret.pk, "it's 100 %s"))
    assert len(seen) == (1 if connection.vendor == "postgresql" else 2)
    assert AuditEvent.objects.filter(sequence=10_001).exists()
    assert Secret.objects.get(pk=secret.pk).description == "it's 100 %s"
    with pytest.raises(IntegrityError), transaction.atomic():
        written([one], beside=named.of(secret.pk, "again"))
    assert Secret.objects.get(pk=secret.pk).description == "it's 100 %s"


def vars_of(event: AuditEvent) -> dict[str, object]:
    return {field.name: getattr(event, field.attname) for field in AuditEvent._meta.concrete_fields}


def test_rows_that_are_there_are_ended_and_the_others_written() -> None:
    run = runs.start(factories.secret(initial="a-first-value-1"), actor=factories.administrator())
    steps = prepared.RowsOrEnds(
        Step, ends=Step.WRITTEN_AT_ITS_END, moments=("created_at", "started_at", "ended_at")
    )

    def step(number: int, **columns: object) -> Step:
        return Step(run=run, number=number, name="set", worker="w", lease=2**40, **columns)

    def times(began: float, ended: float | None) -> dict[str, float | None]:
        return {"created_at": 0.0, "started_at": began, "ended_at": ended}

    began, over = step(101), step(102, state="done", sentence="it's 100 %s", evidence=[{"name": 'a "b"'}])
    steps.write([began, over], [times(90.0, None), times(3600.0, 0.0)])
    assert not began._state.adding
    began.state, began.sentence, began.worker = "failed", "\\ ü", "another"
    steps.write([began], [times(0.0, 0.0)])
    one, two = Step.objects.filter(number__gt=100).order_by("number")
    assert (one.state, one.sentence, one.worker, one.lease) == ("failed", "\\ ü", "w", 2**40)
    assert (two.state, two.sentence, two.evidence) == ("done", "it's 100 %s", [{"name": 'a "b"'}])
    assert one.ended_at is not None
    assert two.ended_at is not None
    assert one.ended_at - one.started_at >= timedelta(seconds=90)
    assert two.ended_at - two.started_at == timedelta(hours=1)
    assert two.created_at == two.ended_at


def test_rows_of_a_table_with_seals_are_refused() -> None:
    with pytest.raises(TypeError, match="seal"):
        prepared.Rows(Policy)


def test_a_row_is_written_as_django_writes_it() -> None:
    secret = factories.secret(initial=VALUE)
    current = secret.labelled("current")
    assert current is not None
    written = prepared.Row(Label)
    for name in ("it's %s", 'two "2"'):
        label = Label(secret=secret, version=current, role=Label.Role.CUSTOM, name=name)
        written(label)
        found = Label.objects.get(pk=label.pk)
        assert (found.role, found.name, found.version) == ("custom", name, current)
        assert found.created_at == label.created_at  # which the database has chosen
        label.delete()
        assert not Label.objects.filter(pk=found.pk).exists()


def test_a_row_whose_place_is_taken_is_an_error_of_the_database() -> None:
    secret = factories.secret(initial=VALUE)
    second = Label(secret=secret, version=secret.labelled("current"), role=Label.Role.CURRENT)
    with pytest.raises(IntegrityError), transaction.atomic():
        prepared.Row(Label)(second)
    assert Label.objects.filter(secret=secret, role="current").count() == 1


def test_a_removal_takes_its_rows_and_no_others() -> None:
    one, other = factories.secret(initial=VALUE), factories.secret(initial=VALUE)
    remove = prepared.Removal(lambda secret, role: Label.objects.filter(secret=secret, role=role))
    assert remove(one.pk, Label.Role.CURRENT) == 1
    assert remove(one.pk, "current") == 0
    assert (one.labelled("current"), other.labelled("current") is None) == (None, False)


def test_a_removal_leaves_no_row_that_points_at_nothing() -> None:
    remove = prepared.Removal(lambda pk: Secret.objects.filter(pk=pk))
    with pytest.raises(TypeError, match="point"):
        remove(uuid.uuid4())


def test_a_single_row_of_a_table_with_seals_is_refused() -> None:
    with pytest.raises(TypeError, match="seal"):
        prepared.Row(Policy)
