"""The embedded broker loses no message, whoever is killed."""

import logging
import os
import random
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from django.db import transaction
from kombu import Connection, Consumer, Producer, Queue

from console.models import Message
from tests import amounts
from tests.traps import PICKLED, Trap
from tests.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
QUEUE = Queue("work", routing_key="work")
DEADLINE_SECONDS = 600


@pytest.fixture
def site(tmp_path):
    """The environment of an installation of its own, with its tables."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KEYTURN_")}
    environment = kept | {
        "KEYTURN_DATA": str(tmp_path),
        "KEYTURN_ROOT_KEY_FILE": str(tmp_path / "root.key"),
        "KEYTURN_DATABASE_URL": database_of(tmp_path),
        "DJANGO_SETTINGS_MODULE": "console.settings",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity=0", "console"]
    subprocess.run(migrate, cwd=CHECKOUT, env=environment, check=True, timeout=300)
    return environment


def database_of(folder):
    """A file in the folder; or, where the tests run on PostgreSQL, a schema there of this test's own."""
    server = os.environ.get("KEYTURN_TEST_DATABASE_URL", "")
    if not server.startswith("postgresql"):
        return f"sqlite://{folder}/keyturn.sqlite3"
    schema = f"broker_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"


@pytest.fixture
def peers(site, tmp_path):
    """Start consumers; those that still run are killed at the end."""
    started = []

    def take(visible=60, hold=False):
        words = [str(tmp_path / f"taken-{len(started)}"), str(visible), *(["hold"] if hold else [])]
        command = [sys.executable, "-m", "tests.wires.broker_peer", "take", *words]
        started.append(subprocess.Popen(command, cwd=CHECKOUT, env=site))
        return started[-1]

    yield take
    for peer in started:
        peer.kill()
        peer.wait()


def send(site, count):
    command = [sys.executable, "-m", "tests.wires.broker_peer", "send", str(count)]
    subprocess.run(command, cwd=CHECKOUT, env=site, check=True, timeout=DEADLINE_SECONDS)


def taken(folder):
    """How often each number was delivered; a line that a kill cut short counts for nothing."""
    texts = [path.read_text() for path in folder.glob("taken-*")]
    return Counter(int(line) for text in texts for line in text.split("\n")[:-1])


@pytest.fixture
def connection(transactional_db):
    with Connection("embedded://localhost", transport_options={"visibility_timeout": 60}) as connection:
        yield connection


def publish(connection, body="hello", serializer="json", **options):
    Producer(connection).publish(body, routing_key="work", declare=[QUEUE], serializer=serializer, **options)


def received(connection, *, ack=True, **options):
    """Everything that can be had now."""
    found = []

    def note(body, message):
        found.append(body)
        if ack:
            message.ack()

    with Consumer(connection.channel(), QUEUE, callbacks=[note], accept=["json"], **options):
        while True:
            before = len(found)
            try:
                connection.drain_events(timeout=0.05)
            except TimeoutError:
                if len(found) == before:
                    return found


def test_many_messages_reach_4_processes_and_each_comes_exactly_once(site, peers, tmp_path):
    many = amounts.cases(1000, long=3000)
    for _ in range(4):
        peers()
    send(site, many)
    wait_for(lambda: len(taken(tmp_path)) == many)
    assert taken(tmp_path) == Counter(range(many))
    assert len([path for path in tmp_path.glob("taken-*") if path.stat().st_size]) > 1


def test_no_message_is_lost_when_consumers_are_killed_at_random(site, peers, tmp_path):
    chance = random.Random(5)
    living = [peers(visible=2) for _ in range(3)]
    send(site, 1000)
    for _ in range(15):
        time.sleep(chance.uniform(0.05, 0.4))
        victim = living.pop(chance.randrange(3))
        victim.kill()
        victim.wait()
        living.append(peers(visible=2))
    wait_for(lambda: len(taken(tmp_path)) == 1000)
    assert set(taken(tmp_path)) == set(range(1000))


def test_a_message_whose_consumer_was_killed_comes_again_once_its_claim_is_old(site, peers, tmp_path):
    send(site, 1)
    first = peers(visible=2, hold=True)
    wait_for(lambda: taken(tmp_path)[0] == 1)
    first.kill()
    first.wait()
    peers(visible=2)
    wait_for(lambda: taken(tmp_path)[0] == 2)


def test_a_message_that_is_claimed_is_given_to_nobody_else(connection):
    publish(connection)
    assert received(connection, ack=False) == ["hello"]
    with Connection("embedded://localhost", transport_options={"visibility_timeout": 60}) as other:
        assert received(other) == []


def test_an_acknowledged_message_leaves_nothing_in_the_table(connection):
    publish(connection)
    received(connection)
    assert not Message.objects.exists()


def test_a_consumer_that_ends_in_order_gives_back_what_it_held(connection):
    publish(connection)
    with Connection("embedded://localhost") as leaving:
        assert received(leaving, ack=False) == ["hello"]
    assert received(connection) == ["hello"]


def test_a_message_sent_in_a_transaction_that_is_rolled_back_was_never_sent(connection):
    with transaction.atomic():
        publish(connection)
        transaction.set_rollback(True)
    assert received(connection) == []


def test_a_task_delayed_on_commit_is_sent_by_the_commit(transactional_db):
    app = Celery(
        "trial",
        broker="embedded://localhost",
        task_cls="celery.contrib.django.task:DjangoTask",
        set_as_current=False,  # or the product's tasks would be sent by it from now on
    )

    @app.task(name="trial")
    def task():
        """Only to be sent."""

    with transaction.atomic():
        task.delay_on_commit()
        assert not Message.objects.exists()
    assert Message.objects.get().queue == "celery"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "garbage",
        "[]",
        "3",
        "{}",
        '{"properties": {}}',
        '{"properties": {"delivery_info": {}}, "headers": []}',
    ],
)
def test_a_row_that_is_no_message_is_refused_and_logged_and_the_next_one_read(connection, caplog, body):
    Message.objects.create(queue="work", tag="forged", body=body)
    publish(connection)
    with caplog.at_level(logging.ERROR):
        assert received(connection) == ["hello"]
    assert re.fullmatch(r"Refused message \d+: not a message \(\w+\)\.", caplog.messages[0])
    assert not Message.objects.exists()


def test_a_pickle_is_not_opened(connection, tmp_path):
    trap = tmp_path / "opened"
    publish(connection, Trap(trap).pickled(), serializer=None, **PICKLED)
    opened = []
    errors = []
    consumer = Consumer(connection.channel(), QUEUE, accept=["json"], on_decode_error=errors.append)
    consumer.on_decode_error = lambda message, error: (errors.append(error), message.ack())
    consumer.register_callback(lambda body, message: opened.append(body))
    with consumer:
        connection.drain_events(timeout=2)
    assert not opened
    assert not trap.exists()
    assert PICKLED["content_type"] in str(errors[0])


def test_a_process_has_no_way_to_open_anything_but_json():
    """Asked of a new process: this one may have been given more by a test."""
    ask = (
        "import console; from kombu.serialization import registry; "
        "print(*registry._decoders, *registry._encoders)"
    )
    found = subprocess.run([sys.executable, "-c", ask], cwd=CHECKOUT, capture_output=True, check=True)
    assert found.stdout.split() == [b"application/json", b"json"]


def test_a_message_that_ends_its_consumer_every_time_is_dropped_after_a_while(connection, caplog):
    publish(connection)
    Message.objects.update(deliveries=10)
    assert received(connection) == []
    assert "never acknowledged" in caplog.text
    assert not Message.objects.exists()
