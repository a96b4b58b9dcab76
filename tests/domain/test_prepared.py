"""What is asked with SQL that was made once is what Django would have found."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from rotation import runs
from rotation.models import Instance, ManagedAccount, Run
from secrets_app import prepared
from secrets_app.models import AuditEvent, Label, Policy, Secret
from tests import factories
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db


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


def vars_of(event: AuditEvent) -> dict[str, object]:
    return {field.name: getattr(event, field.attname) for field in AuditEvent._meta.concrete_fields}


def test_rows_of_a_table_with_seals_are_refused() -> None:
    with pytest.raises(TypeError, match="seal"):
        prepared.Rows(Policy)


BY_NAME = f"SELECT description FROM {Secret._meta.db_table} WHERE name = %s"  # noqa: S608  # no value


def test_what_is_asked_behind_a_question_is_answered_with_it() -> None:
    first, second = factories.secret(), factories.secret()
    found = prepared.Question(lambda pk: Secret.objects.filter(pk=pk))
    for secret, other in (first, second), (second, first):
        behind = prepared.Asked(BY_NAME, (other.name,))
        assert found(secret.pk, behind=behind) == [secret]
        assert behind.rows == [(other.description,)]
    nobody = prepared.Asked(BY_NAME, ("nobody",), rows=[("as before",)])
    assert found.first(uuid.uuid4(), behind=nobody) is None
    assert nobody.rows == []
    assert found(first.pk) == [first]


@pytest.mark.parametrize("fails", ["the question", "what is behind it"])
def test_of_two_questions_in_one_trip_one_fails(fails: str) -> None:
    secret = factories.secret()
    sql = BY_NAME if fails == "the question" else f"{BY_NAME} AND nonsense = 1"
    rows = Secret.objects.filter(pk=secret.pk)
    if fails == "the question":
        rows = rows.extra(where=["nonsense = 1"])
    found = prepared.Question(lambda: rows)
    with pytest.raises(DatabaseError, match="nonsense"), transaction.atomic():
        found(behind=prepared.Asked(sql, (secret.name,)))
    assert prepared.Question(lambda: Secret.objects.filter(pk=secret.pk))() == [secret]


@pytest.mark.django_db(transaction=True)
def test_of_what_is_sent_in_one_trip_nothing_stays_where_one_fails() -> None:
    secret = factories.secret()
    described = prepared.Change(lambda pk, text: (Secret.objects.filter(pk=pk), {"description": text}))
    event = AuditEvent(
        sequence=10_000_000_000, at=timezone.now(), action="kms:Test", resource="r", details={}
    )
    written = prepared.Rows(AuditEvent)

    def change(text: str) -> None:
        with transaction.atomic(), prepared.in_one_trip():
            described(secret.pk, text)
            written([event])

    change("before")
    with pytest.raises(DatabaseError):
        change("after")  # the number of the event is taken
    secret.refresh_from_db()
    assert secret.description == "before"
    assert AuditEvent.objects.filter(action="kms:Test").count() == 1
    # The connection is as good as before.
    assert described(secret.pk, "later") == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_asked_behind_a_lock_is_asked_once_it_is_held() -> None:
    """Else it would say what was so before the other transaction, which held the lock, had ended."""
    secret = factories.secret()
    locked = prepared.Question(lambda pk: Secret.objects.select_for_update().filter(pk=pk))
    behind = prepared.Asked(BY_NAME, (secret.name,))

    def ask() -> None:
        try:
            with transaction.atomic():
                locked(secret.pk, behind=behind)
        finally:
            connection.close()

    thread = threading.Thread(target=ask)
    with transaction.atomic():
        Secret.objects.filter(pk=secret.pk).update(description="changed meanwhile")
        if connection.vendor == "postgresql":
            thread.start()
            wait_for(_somebody_waits, "the other thread to wait for the lock")
    if connection.vendor == "sqlite":  # it locks no rows: the other one could not have begun
        thread.start()
    thread.join()
    assert behind.rows == [("changed meanwhile",)]


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
