"""Real Celery workers that are asked to end, or die, while they rotate on real hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from django.conf import settings
from kombu import Connection, Producer

from console.models import Message
from lab import Host
from rotation import binding, leases, runs, shutdown, tasks
from rotation.models import Instance, Run
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, forked, lab_instances, waiting, web_process
from tests.lab_fixtures import KeyPair
from tests.traps import PICKLED, Trap
from tests.wires.relay import Relay
from tests.wires.test_rotation import OLD

pytestmark = pytest.mark.django_db(transaction=True)
CHECKOUT = Path(__file__).resolve().parents[2]
PLACES = ["before_create", "after_preflight", "after_intent", "before_test", "before_finish"]
#: As docs/operations.md has it: no more than this from the wish to stop to the end of the process.
PROMISED_SECONDS = 10
#: Less than what hangs here would take, and more than a crowded machine needs for the promise.
BOUND = 100
#: Less than a lease: nobody waited for one.
wait_for = partial(waiting.wait_for, seconds=50)

Worker = subprocess.Popen[bytes] | forked.Forked
Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start workers; whatever runs at the end is killed. With `is_new` it is a fork of no other process."""
    started: list[Worker] = []
    environment = os.environ | {"KEYTURN_TEST_DATABASE_URL": web_process.database_url()}

    def worker(*words: str, pool: str = "threads", is_new: bool = False) -> Worker:
        log = tmp_path / f"worker-{len(started)}.log"
        if not is_new:
            words = (pool, *words)
            started.append(
                forked.start("tests.celery_worker", *words, environment=environment, log=log, leads=True)
            )
            return started[-1]
        with log.open("wb") as file:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.celery_worker", pool, *words],
                    cwd=CHECKOUT, env=os.environ | environment, stdout=file, stderr=file,
                    start_new_session=True,
                )
            )  # fmt: skip
        return started[-1]

    yield worker
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.fixture(params=["password", "key_pair"])
def secret(request, host: Host, management_key: KeyPair) -> Secret:
    instance = lab_instances.register(host, management_key)
    if request.param == "password":
        host.add_account("svc", password=OLD)
        made = factories.secret(instance=instance, initial=OLD)
    else:
        old = key_pairs.generate("ed25519")
        host.add_account("svc", authorized_keys=[old.public_key])
        made = factories.secret(instance=instance, kind="key_pair", initial=old.private_key.reveal())
    factories.settle(made)
    return made


def ask(secret: Secret) -> Run:
    run = runs.start(secret, actor=factories.administrator())
    tasks.advance.delay(str(run.pk))
    return run


def ends(run: Run) -> bool:
    run.refresh_from_db()
    return run.state == "ended"


def assert_rotated(secret: Secret, host: Host, run: Run) -> None:
    assert run.outcome == "succeeded", run.sentence
    assert secret.versions.count() == 2
    now = versions.value(secret.labelled("current"))
    if secret.kind == "password":
        assert host.shadow_accepts("svc", now.password.reveal())
    else:
        assert now.public_key.split()[1] in host.authorized_keys("svc")
        assert len(host.authorized_keys("svc").splitlines()) == 1
    assert "Failed password for svc" not in host.sshd_log()


def stop(worker: Worker) -> int:
    worker.send_signal(signal.SIGTERM)
    return worker.wait(timeout=BOUND)


def test_fi_w_16_what_a_worker_waits_for_fits_into_what_is_promised():
    assert shutdown.FOR_STEPS < shutdown.WITHIN < PROMISED_SECONDS


@pytest.mark.parametrize(
    ("place", "action"),
    [
        *((place, "slow") for place in PLACES),
        # Where the host has heard nothing, something, and everything.
        *((place, "hang") for place in ("after_preflight", "after_intent", "before_test")),
    ],
)
def test_fi_w_16_a_worker_that_is_stopped_is_gone_in_time_and_another_one_goes_on(
    secret, host, start, tmp_path, place, action
):
    mark = tmp_path / "reached"
    run = ask(secret)
    first = start(place, action, str(mark))
    wait_for(mark.exists, place)
    assert stop(first) == 0
    assert leases.due(10) == [run.pk]
    assert not run.steps.filter(state="running").exists()
    start()
    wait_for(lambda: ends(run), "the other worker")
    assert_rotated(secret, host, run)


@pytest.mark.parametrize("action", ["slow", "hang"])
def test_fi_w_16_of_two_workers_one_is_stopped_in_a_step_and_the_other_one_ends_its_run(
    secret, host, start, tmp_path, action
):
    mark = tmp_path / "reached"
    words = ("after_intent", action, str(mark))  # whichever of them comes there first
    workers = {worker.pid: worker for worker in (start(*words), start(*words))}
    run = ask(secret)
    wait_for(mark.exists, "a worker")
    run.refresh_from_db()
    assert stop(workers.pop(process_of(run))) == 0
    (other,) = workers
    wait_for(lambda: ends(run), "the other worker")
    assert process_of(run) == other
    assert workers[other].poll() is None
    assert_rotated(secret, host, run)


def process_of(run: Run) -> int:
    return int(run.worker.split("/")[1])


@pytest.mark.parametrize("secret", ["password"], indirect=True)
def test_fi_w_16_a_worker_that_waits_for_a_slow_host_is_gone_in_time(secret, host, start, tmp_path):
    with Relay(host.address, host.port) as relay:
        mine = Instance.objects.filter(pk=secret.managed.instance_id)
        mine.update(address=relay.address, port=relay.port)
        binding.move(secret.managed, binding.now_at(mine.get()))
        relay.paused.set()
        run = ask(secret)
        first = start()
        wait_for(lambda: run.steps.filter(state="running", name="preflight").exists(), "the check")
        assert stop(first) == 0
        assert leases.due(10) == [run.pk]
        step = run.steps.get(name="preflight")
        assert (step.state, step.sentence) == ("broken", "The worker was stopped; another one goes on.")
        relay.paused.clear()
        start()
        wait_for(lambda: ends(run), "the other worker")
        assert_rotated(secret, host, run)


@pytest.mark.parametrize("secret", ["password"], indirect=True)
def test_fi_w_16_a_pool_of_processes_is_gone_in_time_too(secret, host, start, tmp_path):
    mark = tmp_path / "reached"
    run = ask(secret)
    first = start("after_intent", "hang", str(mark), pool="prefork")
    wait_for(mark.exists, "after_intent")
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=BOUND)
    wait_for(lambda: leases.due(10) == [run.pk], "the lease")
    start()
    wait_for(lambda: ends(run), "the other worker")
    assert_rotated(secret, host, run)


@pytest.mark.parametrize("secret", ["password"], indirect=True)
def test_fi_w_17_after_a_child_of_a_pool_was_killed_the_sweep_resumes(secret, host, start, tmp_path):
    mark = tmp_path / "reached"
    run = ask(secret)
    start("after_intent", "die", str(mark), pool="prefork")
    wait_for(mark.exists, "after_intent")
    # The message is of no use: who gets it again finds the lease of the dead one.
    wait_for(lambda: not Message.objects.filter(claimed_at=None).exists(), "the message")
    wait_for(lambda: tasks.sweep() or ends(run), "the sweep")
    assert_rotated(secret, host, run)


@pytest.mark.parametrize("secret", ["password"], indirect=True)
def test_fi_b_06_a_worker_refuses_garbage_and_pickles_and_works_on(secret, host, start, tmp_path):
    if settings.BROKER_URL.startswith("embedded"):
        Message.objects.create(queue="celery", tag="forged", body="garbage")
    trap = tmp_path / "opened"
    with Connection(settings.BROKER_URL) as broker:
        Producer(broker).publish(Trap(trap).pickled(), routing_key="celery", **PICKLED)
        Producer(broker).publish({"no": "task"}, routing_key="celery", serializer="json")
    run = ask(secret)
    worker = start()
    wait_for(lambda: ends(run), "the worker")
    assert not trap.exists()
    assert worker.poll() is None
    assert_rotated(secret, host, run)


def test_a_worker_whose_log_is_json_writes_nothing_else_up_to_its_end(start, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTURN_LOG_FORMAT", "json")
    log = tmp_path / "worker-0.log"
    worker = start(is_new=True)
    wait_for(lambda: " ready." in log.read_text(), "a worker that is ready")
    assert stop(worker) == 0
    assert [line for line in log.read_text().splitlines() if not line.startswith("{")] == []
