"""The embedded broker loses no message, whoever is killed."""

import logging
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from django.db import connection as django_connection
from django.db import transaction
from kombu import Connection, Consumer, Producer, Queue

from console import celery as _application  # noqa: F401  # it names the broker to kombu
from console.models import Message
from console.process import bells, broker
from tests import amounts, forked
from tests.traps import PICKLED, Trap
from tests.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
QUEUE = Queue("work", routing_key="work")
DEADLINE_SECONDS = 600


@pytest.fixture
def site(tmp_path, request):
    """The environment of an installation of its own, with its tables."""
    environment = surroundings(tmp_path)
    if environment["KEYTURN_DATABASE_URL"].startswith("sqlite"):
        shutil.copytree(request.getfixturevalue("migrated"), tmp_path, dirs_exist_ok=True)
    else:
        migrate(environment)
    return environment


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """A folder with a file that has the tables and no row of the broker's, to be copied."""
    made = tmp_path_factory.mktemp("migrated")
    migrate(surroundings(made))
    return made


def surroundings(folder):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KEYTURN_")}
    return kept | {
        "KEYTURN_DATA": str(folder),
        "KEYTURN_ROOT_KEY_FILE": str(folder / "root.key"),
        "KEYTURN_DATABASE_URL": database_of(folder),
        "DJANGO_SETTINGS_MODULE": "console.settings",
    }


def migrate(environment):
    command = [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity=0", "console"]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=300)


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
        started.append(forked.start("tests.wires.broker_peer", "take", *words, environment=site))
        return started[-1]

    yield take
    for peer in started:
        peer.kill()
        peer.wait()
    forked.end(site)


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
    """Asked of new processes, of a worker or of a caller: this one may have been given more by a test."""
    loads = (
        "import console.celery",
        "import django; django.setup(); import rotation.tasks",
        "import django; django.setup(); import console.notices.tasks",
    )
    for load in loads:
        ask = (
            f"{load}; from kombu.serialization import registry; "
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


# ---------------------------------------------------------------- woken at once

SELDOM = 3600.0  # seconds: a consumer that looks by itself so seldom has been woken


@pytest.fixture(autouse=True)
def _bells(settings, tmp_path):
    """A folder of its own, which another test's consumers have no bell in."""
    settings.DATA_DIR = tmp_path


@pytest.fixture
def _looks_seldom(monkeypatch):
    monkeypatch.setattr(broker, "LOOK_EVERY", SELDOM)
    monkeypatch.setattr(broker.Transport, "polling_interval", SELDOM)


@pytest.fixture
def consume(connection):
    """Start consumers that wait in threads of their own; each holds its one message until `held` is set."""
    found, threads = [], []

    def work(number, held):
        def note(body, message):
            found.append((number, body))
            if held and body != "end":
                held[0].wait(DEADLINE_SECONDS)
            message.ack()

        with Connection("embedded://localhost") as mine:
            consumer = Consumer(mine.channel(), QUEUE, callbacks=[note], accept=["json"], prefetch_count=1)
            with consumer:
                while (number, "end") not in found:
                    mine.drain_events()
        django_connection.close()

    def start(*held):
        threads.append(threading.Thread(target=work, args=(len(threads), held), daemon=True))
        before = pipes()
        threads[-1].start()
        wait_for(lambda: set(pipes()) - set(before), "the consumer's bell")
        return found

    received(connection)  # the queue is there before anybody waits at it
    connection.close()
    yield start
    for _ in threads:
        publish(connection, "end")
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
    assert pipes() == []  # each takes its own away


def pipes():
    return [path for path in bells.folder().glob("[!.]*") if path.is_fifo()]


@pytest.mark.usefixtures("_looks_seldom")
def test_a_consumer_that_waits_is_woken_by_the_commit(connection, consume):
    found = consume()
    with transaction.atomic():
        publish(connection, "one")
    wait_for(lambda: found == [(0, "one")])
    publish(connection, "two")
    wait_for(lambda: found == [(0, "one"), (0, "two")])


@pytest.mark.usefixtures("_looks_seldom")
def test_every_consumer_that_waits_is_woken_whoever_sends(connection, consume):
    held = threading.Event()
    consume(held)
    found = consume(held)
    publish(connection, "one")
    wait_for(lambda: len(found) == 1)
    with Connection("embedded://localhost") as other:
        publish(other, "two")
    wait_for(lambda: len(found) == 2)
    held.set()
    assert sorted(found) in ([(0, "one"), (1, "two")], [(0, "two"), (1, "one")])


@pytest.mark.usefixtures("_looks_seldom")
def test_a_consumer_is_woken_by_a_process_that_sends(connection, consume, site, tmp_path):
    ring = "from console.process import bells; bells.ring()"
    unsent = message_of(connection, "sent")
    found = consume()
    unsent.save()
    environment = site | {"KEYTURN_DATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", ring], cwd=CHECKOUT, env=environment, check=True, timeout=60)
    wait_for(lambda: found == [(0, "sent")])


def message_of(connection, body):
    """A message as it would stand in the table, of which nobody has heard."""
    publish(connection, body)
    row = Message.objects.get()
    row.delete()
    row.pk = None
    return row


@pytest.mark.usefixtures("_looks_seldom")
def test_a_message_that_is_given_back_wakes_the_next_consumer(connection, consume):
    publish(connection, "one")
    with Connection("embedded://localhost") as leaving:
        assert received(leaving, ack=False) == ["one"]
        found = consume()
    wait_for(lambda: found == [(0, "one")])


@pytest.mark.usefixtures("_looks_seldom")
def test_a_consumer_that_held_as_much_as_it_may_looks_again_when_it_has_room(connection):
    publish(connection, "one")
    publish(connection, "two")
    held = []
    consumer = Consumer(
        connection.channel(), QUEUE, accept=["json"], prefetch_count=1, on_message=held.append
    )
    with consumer:
        connection.drain_events()
        threading.Timer(0.2, lambda: (held[0].ack(), django_connection.close())).start()
        connection.drain_events()  # for ever, where nothing wakes it
        assert [message.payload for message in held] == ["one", "two"]
        held[1].ack()


def test_a_wake_up_that_was_lost_loses_nothing(connection, consume, monkeypatch):
    monkeypatch.setattr(broker, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(bells, "ring", lambda: None)
    found = consume()
    publish(connection, "one")
    wait_for(lambda: found == [(0, "one")])


def test_where_the_folder_takes_no_pipe_consumers_look_often(connection, monkeypatch, caplog):
    monkeypatch.setattr(broker, "LOOK_EVERY", SELDOM)

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    found = []
    with Consumer(connection.channel(), QUEUE, accept=["json"], on_message=found.append):
        threading.Timer(0.2, lambda: (publish(connection), django_connection.close())).start()
        connection.drain_events(timeout=DEADLINE_SECONDS)
    assert [message.payload for message in found] == ["hello"]
    assert "cannot be woken" in caplog.text


def test_the_pipe_of_a_consumer_that_was_killed_is_taken_away_and_the_others_are_heard(site, tmp_path):
    hang = (
        "import time; from console.process import bells; bell = bells.Bell(); "
        "print(flush=True); time.sleep(300)"
    )
    environment = site | {"KEYTURN_DATA": str(tmp_path)}
    mine = bells.Bell()
    command = [sys.executable, "-c", hang]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        bells.ring()
        assert len(pipes()) == 2
        other.send_signal(signal.SIGKILL)
        other.wait()
        mine.clear()
        bells.ring()
    assert pipes() == [mine._path]
    assert os.read(mine._reader, 100) == b"."
    mine.close()


def test_the_bells_are_for_their_owner_only(tmp_path):
    before = os.umask(0)
    try:
        bells.folder().mkdir(mode=0o777)
        bell = bells.Bell()
    finally:
        os.umask(before)
    assert stat.S_IMODE(bells.folder().stat().st_mode) == 0o700
    assert stat.S_IMODE(bell._path.stat().st_mode) == 0o600
    bell.close()


def test_ringing_writes_into_no_file_and_waits_for_no_consumer_that_hangs(tmp_path):
    bell = bells.Bell()
    for name in ("kept", "shared"):
        (tmp_path / name).write_text("as it was")
    (bells.folder() / "link").symlink_to(tmp_path / "kept")
    (bells.folder() / "file").hardlink_to(tmp_path / "shared")
    for _ in range(70_000):  # more than a pipe holds
        bell.ring()
    bells.ring()
    assert (tmp_path / "kept").read_text() == (tmp_path / "shared").read_text() == "as it was"
    bell.close()
    bell.ring()  # a message that is acknowledged late
