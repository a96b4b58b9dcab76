"""The broker sends a message again, forgets every one, or dies; what is due stands in the database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from kombu import Connection

from rotation import tasks
from rotation.models import Run
from tests import services
from tests.faults import rig as rigs
from tests.faults.rig import PASSWORD, NewRig, Rig
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
CHECKOUT = Path(__file__).resolve().parents[2]
TICK = 1.0  # seconds, in tests.faults.quick_settings
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(own_redis: services.Redis, tmp_path: Path) -> Iterator[Start]:
    """Start Celery's processes on this test's database and its own Redis; all are killed at its end."""
    started: list[subprocess.Popen[bytes]] = []
    kept = connection.settings_dict
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.faults.quick_settings",
        "KEYTURN_TEST_DATABASE_URL": f"postgresql://{kept['USER']}@127.0.0.1:{kept['PORT']}/{kept['NAME']}",
        "KEYTURN_BROKER_URL": own_redis.url,
        "KEYTURN_TEST_BROKER_URL": "",  # or it would be this one
    }

    def celery(*words: str, lease: float = 3) -> subprocess.Popen[bytes]:
        # Ended with this process too, where that one is killed and cleans nothing up.
        leash = ["setpriv", "--pdeathsig", "KILL"]
        command = [*leash, sys.executable, "-m", "celery", "-A", "console.celery", "-q", *words]
        given = environment | {"KEYTURN_TEST_LEASE": str(lease)}
        with (tmp_path / "output").open("ab") as log:
            started.append(
                subprocess.Popen(
                    command, cwd=CHECKOUT, env=given, stdout=log, stderr=log, start_new_session=True
                )
            )
        return started[-1]

    yield celery
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


def worker(start: Start, number: int = 1, lease: float = 3) -> subprocess.Popen[bytes]:
    options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return start("worker", "-n", f"w{number}@localhost", "-P", "prefork", "-c", "2", *options, lease=lease)


def send(redis: services.Redis, run: Run) -> None:
    with Connection(redis.url) as broker:
        tasks.advance.apply_async((str(run.pk),), connection=broker)


def came(rig: Rig) -> int:
    return rig.output.read_text().count("rotation.tasks.advance[")


def until_it_comes_again(rig: Rig, redis: services.Redis) -> None:
    """Do what a worker does when it starts: what nobody confirmed in time comes again."""
    late = {"visibility_timeout": 1}  # second, in tests.faults.quick_settings
    with Connection(redis.url, transport_options=late) as broker:
        unconfirmed = broker.default_channel.qos
        wait_for(lambda: unconfirmed.restore_visible(interval=1) or came(rig) > 1, "the message, again")


def until_ended(run: Run, rig: Rig, seconds: float = 60) -> Run:
    deadline = time.monotonic() + seconds
    while Run.objects.get(pk=run.pk).is_active:
        assert time.monotonic() < deadline, rig.output.read_text()[-3000:]
        time.sleep(0.1)
    return Run.objects.get(pk=run.pk)


def test_fi_b_01_a_message_that_comes_twice_at_once_changes_the_host_once(rig: Rig) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig):
        for pid in [rig.worker(run) for _ in range(3)]:
            assert rigs.ended(pid) == 0
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert (run.attempts, run.lease, rig.marks()) == (1, 1, [1])


def test_fi_b_02_a_message_that_comes_again_while_it_is_worked_on_changes_nothing(
    new_rig: NewRig, own_redis: services.Redis, start: Start
) -> None:
    rig = new_rig(PASSWORD)
    real = "/usr/sbin/chpasswd"
    rig.host.run(["mv", real, f"{real}.real"])
    # Slower than the message stays away, quicker than the lease and the host's own limit.
    slow = "echo x >> /run/changes\nuntil [ -e /run/go ]; do sleep 0.1; done"
    rig.host.write(real, f'#!/bin/sh\n{slow}\nexec {real}.real "$@"\n', 0o755)
    run = rig.rotate()
    with rigs.recoverable(rig):
        worker(start, 1, lease=60)
        worker(start, 2, lease=60)
        send(own_redis, run)
        wait_for(lambda: rig.host.run(["test", "-e", "/run/changes"], check=False).returncode == 0)
        until_it_comes_again(rig, own_redis)
        assert Run.objects.get(pk=run.pk).is_active
        assert rig.host.read("/run/changes") == "x\n"
        rig.host.run(["touch", "/run/go"])
        run = until_ended(run, rig)
    rigs.assert_settled(rig, run)
    assert rig.host.read("/run/changes") == "x\n"
    assert run.attempts == 1


def test_fi_b_03_a_broker_that_forgets_everything_and_dies_delays_what_is_due_by_two_ticks_at_most(
    rig: Rig, own_redis: services.Redis, start: Start
) -> None:
    run = rig.rotate()
    send(own_redis, run)
    own_redis.client().flushall()
    own_redis.kill()
    with rigs.recoverable(rig):
        # They come up without a broker, and wait for one.
        worker(start)
        start("beat", "--pidfile=")
        time.sleep(4)
        assert Run.objects.get(pk=run.pk).state == "queued"
        own_redis.start()
        run = until_ended(run, rig)
    rigs.assert_settled(rig, run)


def test_fi_b_03_a_broker_that_dies_during_a_rotation_does_not_stop_it(
    rig: Rig, own_redis: services.Redis, start: Start
) -> None:
    worker(start)
    start("beat", "--pidfile=")
    run = rig.rotate()
    with rigs.recoverable(rig):
        deadline = time.monotonic() + 60
        while not Run.objects.filter(pk=run.pk, attempts__gt=0).exists():
            assert time.monotonic() < deadline, rig.output.read_text()[-3000:]
            time.sleep(0.02)
        own_redis.client().flushall()
        own_redis.kill()
        time.sleep(1)
        own_redis.start()
        run = until_ended(run, rig)
    rigs.assert_settled(rig, run)


def test_fi_b_07_a_message_of_yesterday_for_a_run_that_has_ended_changes_nothing(rig: Rig) -> None:
    run = rig.settle(rig.rotate())
    Run.objects.filter(pk=run.pk).update(due_at=Now() - timedelta(days=1))
    before, connections = rigs.written(rig), rig.relay.connections
    for _ in range(3):
        assert not rig.advance(run)
    assert (rigs.written(rig), rig.relay.connections) == (before, connections)
    rigs.assert_settled(rig, run)
