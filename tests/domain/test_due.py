"""Which dates fire: whatever a host's clock says, after downtime, and with many schedulers at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rotation import runs, schedules, tasks
from rotation.models import Run, Schedule
from secrets_app.audit import verification
from secrets_app.models import AuditEvent, Secret
from tests import factories

pytestmark = pytest.mark.django_db
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
SKIP = Schedule.CatchUp.SKIP
real_now = timezone.now


def made(**given: object) -> Secret:
    return factories.secret(**({"is_on": True, "period": WEEK} | given))


def plan(secret: Secret) -> Schedule:
    return Schedule.objects.get(secret=secret)


def fall_due(secret: Secret, ago: timedelta = timedelta(minutes=1)) -> datetime:
    Schedule.objects.filter(secret=secret).update(next_at=Now() - ago)
    due = plan(secret).next_at
    assert due
    return due


def beats(count: int) -> None:
    """Let so many schedulers look at the same moment."""
    start = threading.Barrier(count)

    def beat() -> None:
        start.wait(10)
        one_beat()

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(beat) for _ in range(count)]:
            done.result(120)


# ---------------------------------------------------------------- the clock


@pytest.mark.parametrize("wrong_by", [DAY, -DAY, 365 * DAY, -365 * DAY])
def test_fi_t_01_a_wrong_clock_of_the_host_starts_nothing_early_nothing_twice_and_leaves_nothing_out(
    wrong_by, monkeypatch
):
    monkeypatch.setattr(timezone, "now", lambda: real_now() + wrong_by)
    ahead, due = made(catch_up=SKIP), made(catch_up=SKIP)
    before = plan(ahead).next_at
    assert abs(before - real_now() - WEEK) < HOUR
    date = fall_due(due)
    for _ in range(3):
        tasks.start_due()
    assert (ahead.runs.count(), due.runs.count()) == (0, 1)
    assert (plan(ahead).next_at, plan(due).next_at) == (before, date + WEEK)
    schedules.rotated(due)
    assert abs(plan(due).next_at - real_now() - WEEK) < HOUR


@pytest.mark.parametrize("wrong_by", [DAY, -DAY])
def test_fi_t_01_a_wrong_clock_moves_no_date_that_a_person_sets_or_a_restore_finds(wrong_by, monkeypatch):
    secret = made()
    monkeypatch.setattr(timezone, "now", lambda: real_now() + wrong_by)
    schedules.change(secret, revision=1, is_on=True, period=DAY, actor=factories.administrator())
    assert abs(plan(secret).next_at - real_now() - DAY) < HOUR
    date = fall_due(secret, ago=HOUR)
    with transaction.atomic():
        assert schedules.catch_up(secret, planned_at=date) == date + DAY


# ---------------------------------------------------------------- the random delay


def test_each_date_is_put_off_by_a_delay_of_its_own():
    secret = made(jitter=HOUR)
    delays = set()
    for _ in range(8):
        date = fall_due(secret)
        assert schedules.claim(schedules.due(1)[0])
        delays.add(plan(secret).next_at - date - WEEK)
    assert all(timedelta(0) <= delay <= HOUR for delay in delays)
    assert len(delays) > 4


def test_a_success_before_the_put_off_date_of_a_cron_counts_for_that_date():
    secret = made(cron="0 2 * * *", jitter=timedelta(hours=6))
    schedules.rotated(secret)
    after = schedules.now()
    base = schedules.recurrence_of(plan(secret)).dates(after, 1)[0]
    assert base <= plan(secret).next_at <= base + timedelta(hours=6)


# ---------------------------------------------------------------- downtime


@pytest.mark.parametrize("given", [{"period": DAY}, {"cron": "0 2 * * *"}])
def test_after_a_downtime_of_many_dates_one_rotation_starts_and_the_recurrence_goes_on(given):
    secret = made(**given)
    fall_due(secret, ago=10 * DAY)
    for _ in range(3):
        tasks.start_due()
    assert Run.objects.without_missed().filter(secret=secret).count() == 1
    assert real_now() < plan(secret).next_at <= real_now() + DAY


def at_another_hour() -> str:
    """Once a day, twelve hours from now."""
    return f"0 {(real_now() + 12 * HOUR).hour} * * *"


@pytest.mark.parametrize("given", [{"period": DAY}, {"cron": at_another_hour()}])
def test_a_schedule_may_leave_out_what_passed_in_a_downtime_and_says_so(given):
    secret = made(catch_up=SKIP, **given)
    date = fall_due(secret, ago=10 * DAY + HOUR)
    for _ in range(3):
        tasks.start_due()
    row = secret.runs.get()
    assert (row.outcome, row.code, row.state) == ("missed", "missed_down", "ended")
    assert row.date_at == date
    assert row.dates == 11
    following = plan(secret).next_at
    assert real_now() < following <= real_now() + DAY
    assert timedelta(0) < following - row.last_date_at <= DAY
    event = AuditEvent.objects.get(action="kms:RotationMissed")
    assert (event.resource_id, event.actor_name, event.outcome) == (secret.pk, "Keyturn", "failed")
    assert event.details == {
        "run": str(row.pk),
        "from": date.isoformat(),
        "to": row.last_date_at.isoformat(),
        "dates": 11,
        "code": "missed_down",
    }


def test_a_date_that_is_only_a_little_late_is_left_out_by_nobody():
    secret = made(catch_up=SKIP)
    fall_due(secret, ago=timedelta(minutes=4))
    tasks.start_due()
    assert secret.runs.get().state == "queued"


def test_left_out_dates_keep_the_recurrence_of_the_period():
    secret = made(catch_up=SKIP)
    date = fall_due(secret, ago=10 * DAY)
    tasks.start_due()
    assert plan(secret).next_at == date + 2 * WEEK


def test_a_cron_is_kept_changed_and_forgotten():
    secret = made(cron=" 0 2 * *  0", zone="Asia/Shanghai", jitter=HOUR, catch_up=SKIP)
    kept = plan(secret)
    assert (kept.cron, kept.zone, kept.jitter, kept.catch_up) == ("0 2 * * 0", "Asia/Shanghai", HOUR, "skip")
    assert kept.next_at.astimezone(UTC).weekday() == 5  # Sunday 02:00 in Shanghai is Saturday 18:00
    given = {"revision": 1, "is_on": True, "actor": factories.administrator(), "zone": "Asia/Shanghai"}
    same = schedules.change(secret, period=DAY, cron="0 2 * * 0", jitter=2 * HOUR, **given)
    assert same.next_at == kept.next_at
    changed = schedules.change(secret, period=DAY, cron="0 3 * * 0", **(given | {"revision": 2}))
    assert f"{changed.next_at:%H:%M}" == "19:00"
    event = AuditEvent.objects.filter(action="kms:UpdateSecretRotationPolicy").first()
    assert (event.details["cron"], event.details["zone"]) == ("0 3 * * 0", "Asia/Shanghai")
    assert schedules.change(secret, period=DAY, **(given | {"revision": 3})).cron == ""


# ---------------------------------------------------------------- many at once


def test_who_read_a_row_before_somebody_changed_it_starts_nothing_on_what_was_read():
    secret = made()
    fall_due(secret, ago=10 * DAY)
    read = schedules.due(1)[0]
    given = {"is_on": True, "period": WEEK, "catch_up": SKIP, "actor": factories.administrator()}
    schedules.change(secret, revision=read.revision, **given)
    assert not schedules.claim(read)
    tasks.start_due()
    row = secret.runs.get()
    assert (row.outcome, row.date_at) == ("missed", read.next_at)


def test_who_read_a_date_that_has_fired_since_does_not_take_the_one_after_it():
    secret = made()
    fall_due(secret, ago=8 * DAY)
    read = schedules.due(1)[0]
    assert schedules.claim(read)
    later = fall_due(secret)
    assert not schedules.claim(read)
    assert plan(secret).next_at == later


@pytest.mark.django_db(transaction=True)
def test_fi_t_04_many_that_fall_due_in_one_second_each_start_once_whoever_looks():
    secrets = [made() for _ in range(30)]
    Schedule.objects.update(next_at=Now() - timedelta(seconds=1))
    dates = {one.pk: plan(one).next_at for one in secrets}
    beats(4)
    tasks.start_due()  # what was being claimed by another one was passed over
    assert Run.objects.filter(kind="rotate").count() == 30
    assert AuditEvent.objects.filter(action="kms:RotateSecret").count() == 30
    assert all(plan(one).next_at == dates[one.pk] + WEEK for one in secrets)


def test_fi_t_04_the_oldest_dates_start_first_and_none_starves(monkeypatch):
    monkeypatch.setattr(tasks, "BATCH", 3)
    secrets = [made() for _ in range(8)]
    for age, one in enumerate(secrets):
        fall_due(one, ago=timedelta(minutes=1 + age))
    started = []
    for _ in range(3):
        tasks.start_due()
        started.append({number for number, one in enumerate(secrets) if one.runs.exists()})
    assert started == [{5, 6, 7}, {2, 3, 4, 5, 6, 7}, set(range(8))]


def test_fi_t_04_starting_one_more_costs_the_same_few_queries():
    def cost(count: int) -> int:
        for _ in range(count):
            fall_due(made())
        with CaptureQueriesContext(
            connection,
        ) as seen:
            tasks.start_due()
        return len(seen)

    cost(1)
    few, many = cost(2), cost(22)
    assert many - few <= 20 + 2  # one for each more, the message of a run that has a place


def test_one_that_cannot_start_holds_up_no_other_and_keeps_its_date(monkeypatch):
    broken, fine = made(), made()
    date = fall_due(broken, ago=HOUR)
    fall_due(fine)
    start_all = runs.start_all

    def fails(*_: object, **__: object) -> Run:
        raise RuntimeError

    def fails_for_one(secrets: list[Secret], **given: object) -> list[Run]:
        return fails() if broken in secrets else start_all(secrets, **given)

    monkeypatch.setattr(runs, "start", fails)
    monkeypatch.setattr(runs, "start_all", fails_for_one)
    tasks.start_due()
    assert fine.runs.count() == 1
    assert plan(broken).next_at == date


def test_among_many_that_start_together_each_keeps_its_own_rules():
    joined, deleted, paused, skipped, plain = (
        made(), made(), made(), made(catch_up=SKIP, period=DAY), made(),
    )  # fmt: skip
    under_way = runs.start(joined, actor=factories.administrator())
    for one in (joined, deleted, paused, plain):
        fall_due(one)
    fall_due(skipped, ago=3 * DAY + HOUR)
    Schedule.objects.filter(secret=paused).update(paused_at=Now())
    Secret.objects.filter(pk=deleted.pk).update(deletion_planned_at=Now())
    before = plan(deleted).next_at
    tasks.start_due()
    assert [run.pk for run in joined.runs.filter(kind="rotate")] == [under_way.pk]
    assert plan(joined).next_at > real_now()
    assert plan(deleted).next_at == before
    assert not Run.objects.filter(secret__in=[deleted, paused], kind="rotate").exists()
    assert [run.outcome for run in skipped.runs.filter(kind="rotate")] == ["missed"]
    (run,) = plain.runs.filter(kind="rotate")
    assert (run.trigger, run.state, run.requested_by.name) == ("schedule", "queued", "Keyturn")
    assert run.due_at
    (event,) = AuditEvent.objects.filter(action="kms:RotateSecret", resource_id=plain.pk)
    assert event.details == {"run": str(run.pk), "trigger": "schedule"}
    assert verification.verify().verdict == verification.Verdict.WHOLE


def test_a_region_with_many_due_dates_keeps_no_other_region_waiting():
    many = [made() for _ in range(4)]
    other = made(instance=factories.instance(region=factories.region("other")))
    for number, one in enumerate(many):
        fall_due(one, ago=DAY - number * HOUR)
    fall_due(other)
    assert [one.secret_id for one in schedules.due(2)] == [many[0].pk, other.pk]


def one_beat() -> None:
    try:
        tasks.start_due()
    finally:
        connection.close()


if connection.vendor == "postgresql":  # SQLite locks no rows: it has one writer at a time

    def impatient_beat() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        one_beat()

    @pytest.mark.django_db(transaction=True)
    def test_a_row_that_another_scheduler_is_claiming_is_passed_over_without_waiting():
        held, free = made(), made()
        fall_due(held, ago=HOUR)
        fall_due(free)
        with transaction.atomic():
            Schedule.objects.select_for_update().get(secret=held)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(impatient_beat).result(60)
        assert (held.runs.count(), free.runs.count()) == (0, 1)
        tasks.start_due()
        assert held.runs.count() == 1
