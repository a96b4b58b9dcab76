"""When a secret rotates by itself: changed, paused, stopped after failures, and never fired twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from rotation import recurrence, runs, schedules, tasks
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.engine import engine
from rotation.models import Run, Schedule
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle
from tests import factories
from tests.domain.rig import OLD

pytestmark = pytest.mark.django_db
WEEK, DAY = timedelta(days=7), timedelta(days=1)


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial=OLD, is_on=True, period=WEEK)
    factories.settle(made)
    return made


def plan(secret: Secret) -> Schedule:
    return Schedule.objects.get(secret=secret)


def change(secret: Secret, **given: object) -> Schedule:
    usual = {"is_on": True, "period": WEEK, "revision": plan(secret).revision}
    return schedules.change(secret, actor=factories.administrator(), **(usual | given))  # type: ignore[arg-type]


def fall_due(secret: Secret, ago: timedelta = timedelta(minutes=1)) -> None:
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - ago)


def beat_then_work(secret: Secret, host: MemoryHost) -> Run:
    """Let a date come, beat start its rotation, and a worker carry it until it ends."""
    fall_due(secret)
    tasks.start_due()
    return work(secret.runs.active().get(), host)


def work(run: Run, host: MemoryHost) -> Run:
    while run.is_active:
        past = Now() - timedelta(seconds=1)
        Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
        engine.advance(run.pk, worker="w", connect=lambda endpoint: MemoryConnector(host), scanner=None)
        run.refresh_from_db()
    return run


# ---------------------------------------------------------------- fired


def test_a_rotation_starts_when_its_date_has_come_and_the_next_date_is_a_period_later(secret):
    fall_due(secret)
    due = plan(secret).next_at
    tasks.start_due()
    run = secret.runs.get()
    assert (run.kind, run.trigger, run.requested_by.name) == ("rotate", "schedule", "Keyturn")
    assert plan(secret).next_at == due + WEEK


def test_nothing_starts_before_its_date(secret):
    tasks.start_due()
    assert not secret.runs.exists()


def test_a_second_beat_that_read_the_same_row_starts_nothing(secret, host, monkeypatch):
    fall_due(secret)
    read = schedules.due(10)
    tasks.start_due()
    work(secret.runs.get(), host)
    monkeypatch.setattr(schedules, "due", lambda limit: read)
    tasks.start_due()
    assert secret.runs.count() == 1


@pytest.mark.parametrize("given", [{"is_on": False}, {"is_paused": True}])
def test_a_beat_that_read_the_row_before_somebody_stopped_it_starts_nothing(secret, given, monkeypatch):
    fall_due(secret)
    read = schedules.due(10)
    change(secret, **given)
    monkeypatch.setattr(schedules, "due", lambda limit: read)
    tasks.start_due()
    assert not secret.runs.exists()


@pytest.mark.django_db(transaction=True)
def test_many_beats_at_once_start_each_rotation_once():
    secrets = [factories.secret(is_on=True, period=WEEK) for _ in range(6)]
    for one in secrets:
        fall_due(one)
    due = {one.pk: plan(one).next_at for one in secrets}
    start = threading.Barrier(4)

    def beat() -> None:
        try:
            start.wait(10)
            tasks.start_due()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as beats:
        for done in [beats.submit(beat) for _ in range(4)]:
            done.result(60)
    assert Run.objects.filter(kind="rotate").count() == 6
    assert AuditEvent.objects.filter(action="kms:RotateSecret").count() == 6
    assert all(plan(one).next_at == due[one.pk] + WEEK for one in secrets)


def test_a_rotation_whose_start_fails_does_not_lose_its_date(secret, monkeypatch):
    fall_due(secret)
    due = plan(secret).next_at

    def broken(*args: object, **given: object) -> Run:
        raise RuntimeError

    monkeypatch.setattr(runs, "start", broken)
    monkeypatch.setattr(runs, "start_all", broken)
    tasks.start_due()
    assert plan(secret).next_at == due
    assert not secret.runs.filter(kind="rotate").exists()


# ---------------------------------------------------------------- changed


def test_turning_off_leaves_no_date_and_turning_on_gives_one(secret):
    assert change(secret, is_on=False).next_at is None
    again = change(secret, period=DAY)
    assert timedelta(hours=23) < again.next_at - timezone.now() <= DAY
    event = AuditEvent.objects.filter(action="kms:UpdateSecretRotationPolicy").first()
    assert (event.details["is_on"], event.details["period_seconds"]) == (True, 86400)


def test_the_date_stays_where_the_period_does(secret):
    before = plan(secret).next_at
    assert change(secret).next_at == before
    assert change(secret, period=DAY).next_at != before


def test_a_chosen_date_is_taken(secret):
    chosen = timezone.now() + timedelta(hours=3)
    assert change(secret, next_at=chosen).next_at == chosen


@pytest.mark.parametrize("ahead", [timedelta(minutes=-1), timedelta(days=366)])
def test_a_date_that_cannot_be_is_refused(secret, ahead):
    with pytest.raises(schedules.BadDate):
        change(secret, next_at=timezone.now() + ahead)


@pytest.mark.parametrize("period", [timedelta(hours=5), timedelta(days=366)])
def test_a_period_that_cannot_be_is_refused(secret, period):
    with pytest.raises(recurrence.BadPeriod):
        change(secret, period=period)


def test_a_paused_schedule_lets_its_dates_pass_and_goes_on_in_its_recurrence(secret):
    change(secret, is_paused=True)
    fall_due(secret, ago=timedelta(days=10))
    Schedule.objects.filter(secret=secret).update(paused_at=Now() - timedelta(days=11))
    passed = plan(secret).next_at
    tasks.start_due()
    assert not secret.runs.exists()
    resumed = change(secret)
    assert (resumed.paused_at, resumed.next_at) == (None, passed + 2 * WEEK)
    tasks.start_due()
    assert not secret.runs.exists()


def test_what_is_due_stays_due_when_something_else_is_changed(secret):
    fall_due(secret)
    change(secret)
    tasks.start_due()
    assert secret.runs.count() == 1


def test_a_stale_change_changes_nothing(secret):
    seen = plan(secret).revision
    change(secret, is_on=False)
    with pytest.raises(schedules.Outdated):
        change(secret, revision=seen, period=DAY)
    assert not plan(secret).is_on


def test_a_change_needs_its_own_right_and_a_secret_that_is_kept(secret, hal):
    with pytest.raises(decisions.NotAllowed):
        schedules.change(secret, revision=1, is_on=False, period=WEEK, actor=hal.principal)
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    with pytest.raises(lifecycle.NotEnabled):
        change(secret)


# ---------------------------------------------------------------- stopped


def test_after_five_failures_in_a_row_the_schedule_stops_until_a_person_turns_it_on(secret, host):
    host.host_key_changed = True
    for number in range(1, 6):
        assert plan(secret).stopped_at is None
        beat_then_work(secret, host)
        assert plan(secret).failures == number
    stopped = plan(secret)
    assert stopped.stopped_at
    assert stopped.next_at is None
    fall_due(secret)
    tasks.start_due()
    assert secret.runs.count() == 5

    host.host_key_changed = False
    again = change(secret)
    assert (again.failures, again.stopped_at) == (0, None)
    assert beat_then_work(secret, host).outcome == "succeeded"


def test_a_success_forgets_the_failures_before_it(secret, host):
    host.host_key_changed = True
    for _ in range(4):
        beat_then_work(secret, host)
    host.host_key_changed = False
    beat_then_work(secret, host)
    assert plan(secret).failures == 0


def test_a_rotation_that_a_person_started_does_not_stop_the_schedule(secret, host):
    host.host_key_changed = True
    for _ in range(6):
        work(runs.start(secret, actor=factories.administrator()), host)
    assert (plan(secret).failures, plan(secret).stopped_at) == (0, None)


def test_waits_for_a_host_that_is_away_are_spread(host):
    host.unreachable = True
    delays = set()
    for _ in range(4):
        made = factories.secret(initial=OLD)
        factories.settle(made)
        run = runs.start(made, actor=factories.administrator())
        engine.advance(run.pk, worker="w", connect=lambda endpoint: MemoryConnector(host), scanner=None)
        run.refresh_from_db()
        delays.add((run.due_at - run.leased_until).total_seconds())
    assert len(delays) == 4
