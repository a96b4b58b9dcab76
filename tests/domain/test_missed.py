"""Each date of a schedule that passes has one run, or is recorded as missed, once and with its reason."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from rotation import cancelling, missed, runs, schedules, tasks
from rotation.managed import deletion, restored
from rotation.models import GRACE, Run, Schedule
from secrets_app.models import AuditEvent, DatabaseRestore, Secret
from tests import factories
from tests.domain.rig import OLD

pytestmark = pytest.mark.django_db
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
ONCE, SKIP = Schedule.CatchUp.ONCE, Schedule.CatchUp.SKIP


def made(**given: object) -> Secret:
    return factories.secret(**({"is_on": True, "period": DAY} | given))


def plan(secret: Secret) -> Schedule:
    return Schedule.objects.get(secret=secret)


def fall_due(secret: Secret, ago: timedelta = timedelta(minutes=1)) -> datetime:
    Schedule.objects.filter(secret=secret).update(next_at=Now() - ago)
    due = plan(secret).next_at
    assert due
    return due


def rows(secret: Secret) -> list[tuple[str, datetime | None, datetime | None, int]]:
    found = secret.runs.filter(outcome="missed").order_by("date_at")
    return [(row.code, row.date_at, row.last_date_at, row.dates) for row in found]


def events(secret: Secret) -> list[tuple[str, int]]:
    found = AuditEvent.objects.filter(action="kms:RotationMissed", resource_id=secret.pk).order_by("sequence")
    return [(event.details["from"], event.details["dates"]) for event in found]


def changed(secret: Secret, **given: object) -> Schedule:
    how = {"is_on": True, "period": DAY, "actor": factories.administrator(), "catch_up": ONCE} | given
    return schedules.change(secret, revision=plan(secret).revision, **how)


# ---------------------------------------------------------------- nothing started them


def test_of_a_week_without_keyturn_one_row_tells_all_dates_but_the_one_that_is_caught_up_with():
    secret = made()
    date = fall_due(secret, ago=6 * DAY + HOUR)
    for _ in range(3):
        tasks.start_due()
    assert rows(secret) == [("missed_down", date, date + 5 * DAY, 6)]
    assert events(secret) == [(date.isoformat(), 6)]
    assert Run.objects.active().get(secret=secret).date_at == date + 6 * DAY


def test_a_date_that_is_caught_up_with_is_not_missed():
    secret = made()
    date = fall_due(secret, ago=20 * HOUR)
    tasks.start_due()
    assert (secret.runs.get().date_at, rows(secret)) == (date, [])


def test_a_schedule_that_waits_for_the_next_date_misses_the_one_that_passed():
    secret = made(catch_up=SKIP)
    date = fall_due(secret, ago=HOUR)
    tasks.start_due()
    assert rows(secret) == [("missed_down", date, date, 1)]
    assert plan(secret).next_at == date + DAY


def test_the_last_date_of_a_downtime_fires_if_it_has_only_just_come():
    secret = made(catch_up=SKIP)
    date = fall_due(secret, ago=3 * DAY + timedelta(minutes=1))
    tasks.start_due()
    assert rows(secret) == [("missed_down", date, date + 2 * DAY, 3)]
    assert Run.objects.active().get(secret=secret).date_at == date + 3 * DAY


@pytest.mark.parametrize("catch_up", [ONCE, SKIP])
def test_a_fleet_that_was_down_for_a_week_has_one_row_for_each_secret(catch_up):
    fleet = [made(period=timedelta(hours=6), catch_up=catch_up) for _ in range(12)]
    for one in fleet:
        fall_due(one, ago=WEEK + HOUR)
    tasks.start_due()
    assert Run.objects.filter(outcome="missed").count() == 12
    counted = 28 if catch_up == ONCE else 29
    assert {row.dates for row in Run.objects.filter(outcome="missed")} == {counted}


# ---------------------------------------------------------------- an earlier one is not done


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("queued", "missed_queued", "no worker had taken it up"),
        ("waiting", "missed_waiting", "The instance does not answer."),
        ("running", "missed_running", "a worker was carrying it"),
    ],
)
def test_the_date_of_a_rotation_that_is_not_done_when_the_next_one_comes_is_missed(state, code, said):
    secret = made()
    first = fall_due(secret)
    tasks.start_due()
    run = secret.runs.get()
    sentence = "The instance does not answer." if state == "waiting" else ""
    Run.objects.filter(pk=run.pk).update(state=state, sentence=sentence)
    second = fall_due(secret, ago=timedelta(seconds=30))
    for _ in range(3):
        tasks.start_due()
    run.refresh_from_db()
    assert (run.state, run.date_at, rows(secret)) == (state, second, [(code, first, first, 1)])
    assert said in secret.runs.get(outcome="missed").sentence
    assert events(secret) == [(first.isoformat(), 1)]


def test_dates_that_one_rotation_lets_pass_are_one_row_and_each_date_is_told_once():
    secret, dates = made(), []
    for number in range(4):
        dates.append(fall_due(secret, ago=timedelta(seconds=40 - number)))
        tasks.start_due()
    assert rows(secret) == [("missed_queued", dates[0], dates[2], 3)]
    assert events(secret) == [(date.isoformat(), 1) for date in dates[:3]]
    assert Run.objects.active().get(secret=secret).date_at == dates[3]


def test_a_time_that_the_store_wrote_is_no_earlier_than_itself():
    secret = made()
    fall_due(secret)
    tasks.start_due()
    run = secret.runs.get()
    assert secret.runs.filter(created_at__gte=run.created_at).exists()


def test_a_rotation_that_a_user_started_serves_the_date_that_comes_meanwhile():
    secret = made()
    run = runs.start(secret, actor=factories.administrator())
    date = fall_due(secret)
    tasks.start_due()
    run.refresh_from_db()
    assert (run.date_at, rows(secret)) == (date, [])


def test_a_rotation_that_succeeds_before_a_scheduler_looks_serves_the_last_date_that_had_come():
    secret = made()
    date = fall_due(secret, ago=2 * DAY + HOUR)
    schedules.rotated(secret)
    assert rows(secret) == [("missed_down", date, date + DAY, 2)]
    assert plan(secret).next_at > schedules.now()


# ---------------------------------------------------------------- on purpose


@pytest.mark.parametrize("given", [{"is_on": False}, {"is_paused": True}])
def test_a_schedule_that_a_user_switched_off_or_paused_misses_nothing(given):
    secret = made()
    changed(secret, **given)
    Schedule.objects.filter(secret=secret, is_on=True).update(
        paused_at=Now() - 9 * DAY, next_at=Now() - 8 * DAY
    )
    tasks.start_due()
    changed(secret)
    assert (rows(secret), events(secret)) == ([], [])


def test_a_secret_that_is_pending_deletion_misses_nothing_and_neither_does_its_restore():
    secret = made()
    admin = factories.administrator()
    deletion.plan_deletion(secret, actor=admin)
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=Now() - 9 * DAY)
    fall_due(secret, ago=8 * DAY)
    tasks.start_due()
    deletion.restore(Secret.objects.get(pk=secret.pk), actor=admin)
    assert rows(secret) == []
    assert plan(secret).next_at > schedules.now()


@pytest.mark.parametrize(
    "given", [{"is_on": False}, {"period": 2 * DAY}, {"cron": "0 2 * * *"}, {"next_at": "soon"}]
)
def test_what_was_overdue_before_a_user_changed_the_schedule_is_missed_all_the_same(given):
    secret = made()
    date = fall_due(secret, ago=DAY + HOUR)
    if "next_at" in given:
        given = {"next_at": schedules.now() + HOUR}
    changed(secret, **given)
    assert rows(secret) == [("missed_changed", date, date + DAY, 2)]


def test_what_was_overdue_before_a_pause_is_missed_once_the_pause_ends():
    secret = made()
    date = fall_due(secret, ago=HOUR)
    changed(secret, is_paused=True)
    assert rows(secret) == []
    changed(secret)
    assert rows(secret) == [("missed_changed", date, date, 1)]


def test_what_was_overdue_before_a_deletion_is_missed():
    back, due, at_once = made(), made(), made()
    admin = factories.administrator()
    dates = [fall_due(one, ago=HOUR) for one in (back, due, at_once)]
    for one in (back, due):
        deletion.plan_deletion(one, actor=admin)
    deletion.restore(Secret.objects.get(pk=back.pk), actor=admin)
    Secret.objects.filter(pk=due.pk).update(deletion_due_at=Now())
    tasks.purge_due()
    deletion.purge(at_once, actor=admin)
    found = [rows(one) for one in (back, due, at_once)]
    assert found == [[("missed_changed", date, date, 1)] for date in dates]


# ---------------------------------------------------------------- once, and no run


@pytest.mark.django_db(transaction=True)
def test_many_schedulers_at_once_record_each_date_once():
    secrets = [made(catch_up=SKIP if number % 2 else ONCE) for number in range(10)]
    for one in secrets:
        fall_due(one, ago=3 * DAY + HOUR)
    start = threading.Barrier(4)

    def beat() -> None:
        try:
            start.wait(10)
            tasks.start_due()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(beat) for _ in range(4)]:
            done.result(120)
    tasks.start_due()  # what was being claimed by another one was passed over
    assert [sum(row[3] for row in rows(one)) for one in secrets] == [3, 4] * 5
    assert all(len(rows(one)) == len(events(one)) == 1 for one in secrets)


def test_the_store_takes_no_second_row_for_a_date_that_is_recorded():
    secret = made()
    date = schedules.now() - HOUR
    missed.note(secret, [date], "missed_down")
    with pytest.raises(IntegrityError), transaction.atomic():
        missed.note(secret, [date], "missed_down")
    assert len(rows(secret)) == 1


def test_a_claim_that_is_undone_records_nothing():
    secret = made(catch_up=SKIP)
    date = fall_due(secret, ago=HOUR)
    with transaction.atomic():
        assert schedules.claim(schedules.due(1)[0]) is None
        assert len(rows(secret)) == 1
        transaction.set_rollback(True)
    assert (rows(secret), events(secret), plan(secret).next_at) == ([], [], date)


def test_a_missed_date_is_no_answer_of_a_host_and_keeps_nothing_from_starting():
    secret = made(catch_up=SKIP, initial=OLD)
    factories.settle(secret)
    restore = DatabaseRestore(verify_asked_at=schedules.now() - HOUR)
    assert restored.progress(restore) == (0, 1)
    fall_due(secret, ago=2 * GRACE)
    tasks.start_due()
    assert len(rows(secret)) == 1
    assert restored.progress(restore) == (0, 1)
    run = runs.start(secret, actor=factories.administrator())
    cancelling.cancel(run, actor=factories.administrator())
    assert missed.last(secret)
    tasks.sweep()
    assert secret.runs.filter(outcome="missed", state="ended", tries=0).count() == 1
