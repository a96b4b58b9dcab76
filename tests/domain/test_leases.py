"""Who may work on a run: whose turn it is, how many at once, and what a worker that is to end gives back."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import structlog
import time_machine
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from console.process import orphans
from rotation import leases, runs, schedules, shutdown, tasks, wires
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.engine import engine, failpoints
from rotation.models import ManagedAccount, Run, Schedule, Step
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import factories, times
from tests.domain.rig import OLD

pytestmark = pytest.mark.django_db
PLACES = [
    "after_claim", "before_create", "after_create", "after_preflight", "after_intent", "after_set",
    "before_test", "after_test", "before_finish",
]  # fmt: skip


@pytest.fixture
def secret(host: MemoryHost) -> Secret:
    return ready()


@pytest.fixture(autouse=True)
def sent(monkeypatch) -> list[str]:
    """The ids of the messages that tasks send."""
    ids: list[str] = []
    monkeypatch.setattr(tasks.advance, "apply_async", lambda given, **_: ids.extend(given))
    return ids


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    shutdown.forget()
    failpoints.disarm()


@pytest.fixture
def _two_per_region(settings) -> None:
    settings.RUNS_PER_REGION = 2


def ready(username: str = "svc", **place: object) -> Secret:
    made = factories.secret(username=username, initial=OLD, **place)
    factories.settle(made)
    return made


def several(count: int, region: str = "main", **place: object) -> list[Secret]:
    """Secrets of one region, each on an instance of its own."""
    where = factories.region(region)
    return [factories.secret(instance=factories.instance(region=where, **place)) for _ in range(count)]


def rotate(secret: Secret, **how: object) -> Run:
    return runs.start(secret, actor=factories.administrator(), **how)


def carry(run: Run, host: MemoryHost, worker: str = "w") -> Run:
    engine.advance(run.pk, worker=worker, connect=lambda endpoint: MemoryConnector(host), scanner=None)
    run.refresh_from_db()
    return run


def lapse(run: Run) -> None:
    """Let the lease of a run come to its end."""
    Run.objects.filter(pk=run.pk).update(leased_until=Now() - timedelta(seconds=1))


# ---------------------------------------------------------------- a worker that is to end


@pytest.mark.parametrize("place", PLACES)
def test_fi_w_16_a_worker_that_is_to_end_begins_no_other_step_and_another_one_goes_on(secret, host, place):
    failpoints.arm(place, shutdown.begin)
    run = carry(rotate(secret), host)
    assert (run.state, run.steps.filter(state="running").count()) == ("running", 0)
    before = run.steps.count()
    failpoints.disarm()
    assert carry(run, host).steps.count() == before  # nothing new is begun here
    shutdown.forget()
    run = carry(run, host)  # at once: nobody waits for the lease
    assert run.outcome == "succeeded"
    assert host.accounts["svc"].password == versions.value(secret.labelled("current")).password.reveal()
    assert (secret.versions.count(), host.failed_logins) == (2, 0)


def test_a_lease_that_is_handed_back_in_a_step_is_free_and_its_worker_overtaken(secret):
    run = rotate(secret)
    mine = leases.claim(run.pk, "here/4711/1")
    step = leases.begin(mine, Step.Name.SET)
    assert leases.hand_back_own("here/47") == []
    assert leases.hand_back_own("here/4711") == [run.pk]
    step.refresh_from_db()
    assert (step.state, step.sentence) == ("broken", "The worker was stopped; another one goes on.")
    for late in (
        lambda: leases.finish(mine, step, Step.State.DONE),
        lambda: leases.begin(mine, Step.Name.TEST),
        lambda: leases.hold(mine),
        lambda: leases.end(mine, Run.Outcome.SUCCEEDED),
    ):
        with pytest.raises(leases.Overtaken):
            late()
    assert leases.claim(run.pk, "there/1/1")
    assert not leases.hand_back(mine)


def test_a_worker_that_another_one_has_overtaken_hands_nothing_back(secret):
    run = rotate(secret)
    first = leases.claim(run.pk, "one", lease=timedelta(seconds=-1))
    second = leases.claim(run.pk, "two")
    assert not leases.hand_back(first)
    leases.hold(second)


def test_a_lease_that_ran_out_within_a_step_is_renewed_unless_another_worker_took_it(secret):
    """A slow host is no other worker: it would otherwise be begun with again for ever."""
    run = rotate(secret)
    lease = leases.claim(run.pk, "one")
    leases.begin(lease, Step.Name.PREFLIGHT)
    lapse(run)
    leases.note_sure(lease, is_held=False)
    assert Run.objects.filter(pk=run.pk, lease=lease.number, leased_until__gt=Now()).exists()
    lapse(run)
    assert leases.claim(run.pk, "two")
    with pytest.raises(leases.Overtaken):
        leases.note_sure(lease, is_held=False)


def test_a_run_that_is_handed_back_is_told_to_other_workers_at_once(secret, sent, monkeypatch):
    run = rotate(secret)
    leases.claim(run.pk, tasks.worker_name())
    tasks.hand_back()
    assert sent == [str(run.pk)]
    shutdown.begin()
    tasks.advance(str(run.pk))
    assert sent == [str(run.pk)] * 2
    assert leases.claim(run.pk, "other") is None


def test_what_is_logged_in_a_run_carries_its_id_and_what_is_logged_after_it_does_not(
    secret, sent, monkeypatch
):
    seen = []

    def note(run_id: object, **given: object) -> None:
        seen.append(structlog.contextvars.get_contextvars().get("run_id"))

    monkeypatch.setattr(tasks.engine, "advance", note)
    run = rotate(secret)
    tasks.advance(str(run.pk))
    assert seen == [str(run.pk)]
    assert "run_id" not in structlog.contextvars.get_contextvars()


# ---------------------------------------------------------------- leaked first


@pytest.fixture
def taken(monkeypatch) -> list[str]:
    """The secrets in the order in which workers take up their runs; each run succeeds at once."""
    order: list[str] = []

    def advance(run_id: UUID, *, worker: str, **_: object) -> Run | None:
        lease = leases.claim(run_id, worker)
        if lease is None:
            return None
        order.append(Run.objects.get(pk=run_id).secret_id)
        leases.end(lease, Run.Outcome.SUCCEEDED)
        return lease.run

    monkeypatch.setattr(engine, "advance", advance)
    return order


def test_leaked_ones_go_first_whichever_message_comes(taken):
    one, two, three, four = several(4)
    ordinary = [rotate(one), rotate(two)]
    leaked = [rotate(three, is_leak=True), rotate(four, is_leak=True)]
    times.in_turn(*ordinary, *leaked, by="due_at")
    assert leases.urgent() == leaked[0].pk
    assert leases.due(4) == [run.pk for run in [*leaked, *ordinary]]
    tasks.advance(str(ordinary[1].pk))
    assert taken == [three.pk, four.pk, two.pk]
    assert leases.urgent() is None


def test_a_leak_on_a_busy_instance_is_the_next_one_there(secret, sent, taken):
    busy = leases.claim(rotate(secret).pk, "one")
    instance = secret.managed.instance
    rotate(ready("app", instance=instance))
    leaked = rotate(ready("web", instance=instance), is_leak=True)
    assert leases.urgent() is None  # its host is being talked to
    assert leases.behind(instance.pk) == [leaked.pk]
    leases.end(busy, Run.Outcome.SUCCEEDED)
    assert leases.urgent() == leaked.pk


def test_a_rotation_that_waits_for_its_turn_becomes_one_after_a_leak(secret):
    run = rotate(secret)
    Run.objects.filter(pk=run.pk).update(state="waiting", due_at=Now() + timedelta(hours=1))
    assert rotate(secret, is_leak=True).is_leak
    assert leases.urgent() == run.pk
    assert rotate(secret).is_leak  # asked for once more, it stays one


def test_what_a_dead_worker_left_behind_goes_before_all_that_is_queued(taken):
    """Its message is lost, or the last one of a long queue; and its host may have either value."""
    *ordinary, left = [rotate(one) for one in several(4)]
    times.in_turn(*ordinary, left, by="due_at")
    leases.claim(left.pk, "gone/1/1", lease=timedelta(seconds=-1))
    assert leases.urgent() == left.pk
    tasks.advance(str(ordinary[1].pk))
    assert taken == [left.secret_id, ordinary[1].secret_id]


def test_a_run_that_was_left_behind_again_and_again_waits_its_turn(taken):
    other, left = [rotate(one) for one in several(2)]
    for number in range(leases.LEFT_OFTEN):
        assert leases.urgent() == (left.pk if number else None)
        leases.claim(left.pk, "gone/1/1", lease=timedelta(seconds=-1))
    assert leases.urgent() is None
    tasks.advance(str(other.pk))
    assert taken == [other.secret_id]


def test_a_worker_takes_back_what_another_process_of_its_host_left_behind(sent, monkeypatch):
    """Also while every thread is busy, when the sweep, which is a task, would wait behind all that is due."""
    mine, lives, elsewhere = [rotate(one) for one in several(3)]
    here = socket.gethostname()
    for run, worker in ((mine, f"{here}/1/1"), (lives, f"{here}/2/1"), (elsewhere, "other/1/1")):
        assert leases.claim(run.pk, worker)
    monkeypatch.setattr(tasks, "_is_alive", lambda pid: pid == 2)
    monkeypatch.setattr(orphans, "close_old_connections", lambda: None)  # the test's own is one of them
    orphans.look()
    assert sent == [str(mine.pk)]
    assert leases.claim(mine.pk, "next/1/1")
    assert not leases.claim(lives.pk, "next/1/1")


def test_a_store_that_is_away_ends_no_worker_that_looks_for_runs_left_behind(monkeypatch, caplog):
    def away():
        raise OperationalError("away")

    monkeypatch.setattr(tasks, "take_back", away)
    monkeypatch.setattr(orphans, "close_old_connections", lambda: None)
    orphans.look()
    assert "the database did not answer" in caplog.text


def test_a_worker_that_is_to_end_is_not_held_by_leaked_runs(secret, sent):
    leaked = rotate(secret, is_leak=True)
    shutdown.begin()
    tasks.advance(str(rotate(several(1)[0]).pk))
    assert Run.objects.get(pk=leaked.pk).state == "queued"


def test_what_goes_next_is_found_by_the_index_of_active_runs(secret):
    """Among a million ended runs each message would otherwise read them all."""
    ended = {"kind": "rotate", "secret": secret, "instance": secret.managed.instance, "state": "ended"}
    by = factories.administrator()
    Run.objects.bulk_create([Run(**ended, requested_by=by) for _ in range(1_000)])
    if connection.vendor != "sqlite":  # which knows nothing of the amounts in an installation either
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    leases.claim(rotate(several(1)[0]).pk, "w")
    waits = rotate(several(1)[0])
    with CaptureQueriesContext(connection) as seen:
        leases.due(10)
        leases.first(waits.pk)
        leases.urgent()
        leases.behind(secret.managed.instance_id)
        leases.hand_back_own("w")
    asked = [query["sql"] for query in seen if 'FROM "rotation_run"' in query["sql"]]
    assert len(asked) == 6
    for sql in asked:
        plan = plan_of(sql)
        assert "run_active" in plan
        assert "run_of_" not in plan
        assert "run_newest" not in plan
        assert "Seq Scan on rotation_run" not in plan


def plan_of(sql: str) -> str:
    """How the store goes about it, left to itself."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


# ---------------------------------------------------------------- many that are due


def test_a_region_with_many_due_runs_keeps_no_other_region_waiting(settings):
    settings.RUNS_PER_REGION = 6
    many = [rotate(one) for one in several(8)]
    few = [rotate(one) for one in several(2, "other")]
    times.in_turn(*many, *few, by="due_at")
    turns = [many[0], few[0], many[1], few[1], *many[2:6]]
    assert leases.due(20) == [run.pk for run in turns]
    assert leases.due(4) == [run.pk for run in turns[:4]]
    leases.claim(many[0].pk, "w")
    # The one with less under way goes first, though its runs are newer.
    assert leases.due(3) == [few[0].pk, many[1].pk, few[1].pk]


def test_an_instance_with_many_due_runs_keeps_no_other_instance_waiting():
    place = factories.instance()
    many = [rotate(factories.secret(instance=place, username=f"u{n}")) for n in range(6)]
    other = rotate(several(1)[0])
    times.in_turn(*many, other, by="due_at")
    assert leases.due(10) == [many[0].pk, other.pk]  # it is talked to by one worker at a time
    held = leases.claim(many[0].pk, "w")
    assert leases.due(10) == [other.pk]
    leases.end(held, Run.Outcome.SUCCEEDED)
    assert leases.due(10) == [many[1].pk, other.pk]


@pytest.mark.usefixtures("_two_per_region")
def test_of_many_that_are_lined_up_those_without_a_place_say_so_and_each_is_called_once():
    waiting = [rotate(one) for one in several(5)]
    times.in_turn(*waiting, by="due_at")
    assert leases.line_up([run.pk for run in waiting[1:]]) == [waiting[1].pk]
    codes = dict(Run.objects.values_list("pk", "code"))
    assert [codes[run.pk] for run in waiting] == ["", "", *["region_full"] * 3]
    held = [leases.claim(run.pk, "w") for run in waiting[:2]]
    assert leases.behind(waiting[0].instance_id) == []
    for lease in held:
        leases.end(lease, Run.Outcome.SUCCEEDED)
    called = [leases.behind(waiting[0].instance_id) for _ in range(4)]
    assert called == [*([run.pk] for run in waiting[2:]), []]
    assert leases.due(10) == [run.pk for run in waiting[2:4]]  # whatever becomes of the call


@pytest.mark.usefixtures("_two_per_region")
def test_a_run_that_waits_behind_many_of_another_region_is_called_too(monkeypatch):
    monkeypatch.setattr(leases, "NEAREST", 2)
    others = [rotate(one) for one in several(4, "other")]
    mine = [rotate(one) for one in several(3)]
    times.in_turn(*others, *mine, by="due_at")
    leases.line_up([run.pk for run in (*others, *mine)])
    assert Run.objects.filter(code="region_full").count() == 3
    assert leases.behind(mine[0].instance_id)[-1] == mine[2].pk


# ---------------------------------------------------------------- how many at once


@pytest.mark.usefixtures("_two_per_region")
def test_a_region_at_its_limit_has_the_others_wait_and_says_so():
    first, second, third = (rotate(one) for one in several(3))
    assert leases.claim(first.pk, "one")
    held = leases.claim(second.pk, "two")
    assert leases.claim(third.pk, "three") is None
    third.refresh_from_db()
    assert (third.state, third.code) == ("queued", "region_full")
    assert "2 runs of this region" in third.sentence
    assert leases.due(10) == []
    leases.end(held, Run.Outcome.SUCCEEDED)
    assert leases.due(10) == [third.pk]
    assert leases.claim(third.pk, "three")
    third.refresh_from_db()
    assert (third.code, third.sentence) == ("", "")


@pytest.mark.usefixtures("_two_per_region")
def test_another_region_and_a_leak_do_not_wait_for_a_full_one():
    for one in several(2):
        leases.claim(rotate(one).pk, "w")
    waits = rotate(several(1)[0])
    leaked = rotate(several(1)[0], is_leak=True)
    elsewhere = rotate(several(1, "other")[0])
    assert leases.due(10) == [leaked.pk, elsewhere.pk]
    assert leases.claim(waits.pk, "w") is None
    assert leases.claim(elsewhere.pk, "w")
    assert leases.claim(leaked.pk, "w")


@pytest.mark.usefixtures("_two_per_region")
def test_a_run_that_ends_wakes_the_next_one_of_its_region(sent, taken):
    one, two, three = (rotate(each) for each in several(3))
    held = leases.claim(one.pk, "w")
    other = leases.claim(two.pk, "w")
    tasks.advance(str(three.pk))
    assert (sent, taken) == ([], [])
    leases.end(held, Run.Outcome.SUCCEEDED)
    leases.end(other, Run.Outcome.SUCCEEDED)
    tasks.advance(str(rotate(several(1)[0]).pk))
    assert sent == [str(three.pk)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_two_per_region")
def test_many_workers_at_once_never_pass_the_limit_nor_talk_twice_to_one_host():
    place = factories.instance()
    mine = [factories.secret(instance=place, username=f"u{n}") for n in range(3)] + several(5)
    waiting = [rotate(one) for one in mine]
    under_way: list[int] = []
    hosts: list[list[object]] = []

    def work(number: int) -> None:
        for run in waiting[number:] + waiting[:number]:
            lease = leases.claim(run.pk, f"w{number}")
            if lease is None:
                continue
            now = Run.objects.filter(state="running", leased_until__gt=Now())
            at = list(now.values_list("instance_id", flat=True))
            under_way.append(len(at))
            hosts.append(at)
            leases.end(lease, Run.Outcome.SUCCEEDED)

    for _ in range(4):
        together([lambda number=number: work(number) for number in range(4)])
    assert not Run.objects.active().exists()
    assert max(under_way) <= 2
    assert all(len(at) == len(set(at)) for at in hosts)
    assert len(under_way) == len(waiting)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_another_claimant_has_locked_is_not_waited_for_where_rows_can_be_locked(secret):
    run = rotate(secret)
    locks_rows = connection.features.has_select_for_update
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            assert leases._RUN_LOCKED.first(run.pk)
            locked.set()
            over.wait(20 if locks_rows else 0.5)

    def claim() -> None:
        locked.wait(20)
        taken = leases.claim(run.pk, "w")
        over.set()
        # SQLite has one writer at a time, so this one came afterwards.
        assert (taken is None) == locks_rows

    together([hold, claim])


def together(work: list[Callable[[], object]]) -> None:
    """Do all of it in threads that begin at the same moment."""
    start = threading.Barrier(len(work))

    def one(each: Callable[[], object]) -> None:
        start.wait(30)
        try:
            each()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one, each) for each in work]:
            done.result(120)


# ---------------------------------------------------------------- messages and schedules


def test_fi_b_07_a_message_for_a_run_that_has_ended_does_nothing(secret, host, sent, monkeypatch):
    run = carry(rotate(secret), host)
    monkeypatch.setattr(wires, "connect", lambda endpoint: pytest.fail("a host was asked"))
    before = list(Run.objects.filter(pk=run.pk).values()), run.steps.count(), AuditEvent.objects.count()
    tasks.advance(str(run.pk))
    assert before == (
        list(Run.objects.filter(pk=run.pk).values()), run.steps.count(), AuditEvent.objects.count()
    )  # fmt: skip
    assert (sent, host.sets) == ([], 1)


def plan_now(secret: Secret) -> None:
    Schedule.objects.filter(secret=secret).update(is_on=True, next_at=Now() - timedelta(seconds=5))


@pytest.mark.parametrize("fault", [RuntimeError, ValueError, runs.NotRotatable])
def test_a_schedule_that_cannot_fire_stops_no_other(monkeypatch, caplog, fault):
    bad, *good = several(4)
    for one in (bad, *good):
        plan_now(one)
    start, start_all = runs.start, runs.start_all

    def broken(secret: Secret, **how: object) -> Run:
        if secret == bad:
            raise fault
        return start(secret, **how)

    def broken_for_one(secrets: list[Secret], **how: object) -> list[Run]:
        made = start_all(secrets, **how)
        if bad in secrets:
            raise fault
        return made

    monkeypatch.setattr(runs, "start", broken)
    monkeypatch.setattr(runs, "start_all", broken_for_one)
    tasks.start_due()
    assert {run.secret_id for run in Run.objects.filter(trigger="schedule")} == {one.pk for one in good}
    if fault is not runs.NotRotatable:
        assert str(bad.pk) in caplog.text


@pytest.mark.django_db(transaction=True)
def test_fi_b_05_two_beats_and_four_schedulers_start_each_due_rotation_once(taken):
    mine = several(8)
    for one in mine:
        plan_now(one)

    def schedule() -> None:
        for due in schedules.due(100):
            actor = tasks.users.system()
            with transaction.atomic():
                if schedules.claim(due):
                    runs.start(due.secret, actor=actor, trigger=Run.Trigger.SCHEDULE)

    def beat() -> None:
        tasks.start_due()
        tasks.sweep()

    together([*itertools.repeat(beat, 2), *itertools.repeat(schedule, 4)])
    assert sorted(run.secret_id for run in Run.objects.filter(kind="rotate")) == sorted(s.pk for s in mine)
    assert Schedule.objects.filter(next_at__lte=Now()).count() == 0


# ---------------------------------------------------------------- whose clock


@pytest.mark.parametrize("days", [-366, -1, 1, 366])
def test_fi_t_01_a_worker_with_a_wrong_clock_takes_up_nothing_early_or_twice(secret, host, days):
    run = rotate(secret)
    later = rotate(several(1)[0])
    Run.objects.filter(pk=later.pk).update(state="waiting", due_at=Now() + timedelta(minutes=5))
    with time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=True):
        held = leases.claim(run.pk, "one")
        assert held
        assert leases.claim(run.pk, "two") is None
        assert leases.claim(later.pk, "two") is None
        assert leases.due(10) == []
        leases.hold(held)
        lapse(run)
        assert leases.due(10) == [run.pk]
        assert carry(run, host).outcome == "succeeded"
    assert ManagedAccount.objects.get(secret=secret).credential == "in_sync"
