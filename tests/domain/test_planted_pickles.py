"""A pickle in every place of a store that Keyturn reads: none is opened, and the sign-in page answers."""

from __future__ import annotations

import base64
import json

import pytest
from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection, models, transaction
from django.test import Client
from django.urls import reverse
from kombu import Connection, Consumer, Producer, Queue
from redis import Redis

from rotation import runs
from secrets_app.people import invitations
from tests import factories
from tests.factories import PASSWORD
from tests.traps import PICKLED, Trap
from tests.waiting import wait_for

#: What is asked for before anybody has shown who they are, and in every session.
READ_BY_ALL = {
    ("console_cacheentry", "value"), ("django_session", "session_data"), ("console_message", "body"),
    ("secrets_app_invitation", "groups"), ("secrets_app_policy", "document"),
    ("secrets_app_sealedvalue", "ciphertext"),
}  # fmt: skip


@pytest.mark.django_db
def test_a_pickle_planted_in_any_column_is_not_opened(dot, tmp_path):
    trap = tmp_path / "opened"
    here = sign_in()
    sign_in(password="wrong wrong wrong")
    link = reverse("invitation_open", args=[invitations.invite("nia", actor=dot.principal)[1].reveal()])
    runs.start(factories.secret(initial="a-first-value-1"), actor=dot.principal)
    broker = Connection(settings.BROKER_URL)
    Producer(broker).publish(
        {"no": "task"}, routing_key="celery", declare=[Queue("celery")], serializer="json"
    )
    planted = set()
    for table, column, key, is_binary in columns():
        for text in (Trap(trap).pickled(), base64.b64encode(Trap(trap).pickled())):
            point = transaction.savepoint()
            if plant(table, column, key, text if is_binary else text.decode()):
                planted.add((table, column))
                for client, path in ((Client(), link), (here, reverse("sessions")), (here, reverse("home"))):
                    client.raise_request_exception = False  # a row may be nonsense now; it may not be code
                    client.get(path)
                assert Client().get(reverse("account_login")).status_code == 200, (table, column)
                cache.get("name")
                assert not trap.exists(), (table, column)
            transaction.savepoint_rollback(point)
    assert planted >= READ_BY_ALL - ({("console_message", "body")} if not _is_embedded() else set())


def sign_in(password: str = PASSWORD) -> Client:
    client = Client()
    client.post(reverse("account_login"), {"login": "dot", "password": password})
    cache.set("name", [1.0])
    return client


def columns() -> list[tuple[str, str, str, bool]]:
    """Every column of text or bytes, of every table: table, column, primary key, whether it is bytes."""
    kinds = (models.CharField, models.TextField, models.BinaryField, models.JSONField)
    return sorted(
        {
            (model._meta.db_table, field.column, model._meta.pk.column, isinstance(field, models.BinaryField))
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.local_concrete_fields
            if isinstance(field, kinds)
        }
    )


def plant(table: str, column: str, key: str, text: bytes | str) -> bool:
    """Put it into every row, or one; as JSON, where that is asked for. False where it finds no place."""
    quote = connection.ops.quote_name
    change = f"UPDATE {quote(table)} SET {quote(column)} = %s"  # noqa: S608  # names of our models
    one = f" WHERE {quote(key)} = (SELECT max({quote(key)}) FROM {quote(table)})"  # noqa: S608
    for words, value in ((change, text), (change + one, text), (change, json.dumps(str(text)))):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(words, [value])
                return cursor.rowcount > 0
        except DatabaseError:
            continue
    return False


def _is_embedded() -> bool:
    return settings.BROKER_URL.startswith("embedded")


# ---------------------------------------------------------------- Redis


def test_a_pickle_planted_in_any_key_of_redis_is_not_opened(own_redis, tmp_path):
    """Each key is made anew as each type that kombu reads, and then all that is there is consumed."""
    trap, queue = tmp_path / "opened", Queue("celery")
    pickled = Trap(trap).pickled()
    client = Redis(port=own_redis.port)
    options = {"visibility_timeout": 1, "unacked_restore_limit": 0}
    read = []
    with Connection(f"redis://127.0.0.1:{own_redis.port}/0", transport_options=options) as broker:
        producer = Producer(broker)
        producer.publish({"a": 1}, routing_key="celery", declare=[queue], serializer="json")
        producer.publish(pickled, routing_key="celery", declare=[queue], **PICKLED)
        wait_for(lambda: _consume(broker, queue, read) or {"a": 1} in read, "the message that is JSON")
        found = {key.decode() for key in client.scan_iter()}
        assert "celery" in found
        for key in found | {"unacked", "unacked_index", "unacked_mutex", "_kombu.binding.celery"}:
            for write in (
                lambda key: client.set(key, pickled),
                lambda key: client.rpush(key, pickled),
                lambda key: client.sadd(key, pickled),
                lambda key: client.zadd(key, {pickled: 0}),
                lambda key: client.hset(key, pickled, pickled),
            ):
                kept = client.dump(key)
                client.delete(key)
                write(key)
                _consume(broker, queue, read)
                client.delete(key)
                if kept:
                    client.restore(key, 0, kept)
                assert not trap.exists(), key


def _consume(broker: Connection, queue: Queue, read: list[object]) -> None:
    """What a worker does, as often as there is something; what breaks here makes it reconnect."""

    def note(body: object, message: object) -> None:
        read.append(body)

    with broker.clone() as mine:
        try:
            consumer = Consumer(mine, queue, accept=["json"], callbacks=[note], on_decode_error=refuse)
            with consumer:
                for _ in range(3):
                    mine.drain_events(timeout=0.1)
        except Exception:  # noqa: BLE001  # whatever it is, it is not code of a pickle
            return


def refuse(*_: object) -> None:
    """As Celery's own does; the message stays where it is."""
