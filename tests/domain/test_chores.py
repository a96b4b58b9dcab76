"""Periodic work: the rows say what is due, however often beat and the workers are restarted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings as configured
from django.db import connections
from django.db.models.functions import Now

from rotation import chores, tasks
from rotation.models import Chore, ManagedAccount
from secrets_app.models import AuditCheckpoint
from tests import factories

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
COUNT = "tests.domain.test_chores.count"
FAIL = "tests.domain.test_chores.fail"
counted: list[str] = []

pytestmark = pytest.mark.django_db


def count() -> None:
    counted.append("done")


def fail() -> None:
    counted.append("failed")
    raise ValueError("no luck")


@pytest.fixture(autouse=True)
def _work(settings) -> None:
    counted.clear()
    settings.PERIODIC_WORK = {"count": (COUNT, HOUR)}


def pass_(name: str, length: timedelta) -> None:
    """Let so much time pass for one chore."""
    row = Chore.objects.get(name=name)
    Chore.objects.filter(name=name).update(due_at=row.due_at - length)


def test_what_was_never_done_is_due_at_once_and_then_by_its_row():
    for _ in range(3):  # each the first tick of a beat that was just started
        tasks.tick()
    assert counted == ["done"]
    pass_("count", HOUR - MINUTE)
    tasks.tick()
    assert counted == ["done"]
    pass_("count", MINUTE)
    tasks.tick()
    assert counted == ["done", "done"]


def test_what_fails_stops_nothing_else_and_is_tried_again_in_a_minute(settings, caplog):
    settings.PERIODIC_WORK = {"fail": (FAIL, HOUR), "count": (COUNT, HOUR)}
    tasks.tick()
    tasks.tick()
    assert counted == ["failed", "done"]
    assert "tried again in 60 s: fail" in caplog.text
    pass_("fail", MINUTE)
    tasks.tick()
    assert counted == ["failed", "done", "failed"]
    assert Chore.objects.get(name="fail").last_run_at is None


def test_what_a_dead_worker_had_begun_is_taken_up_after_a_minute():
    assert chores.due({"count": HOUR}) == ["count"]
    assert chores.claim("count", HOUR)  # and nobody says that it is done
    assert not chores.claim("count", HOUR)
    tasks.tick()
    assert counted == []
    pass_("count", MINUTE)
    tasks.tick()
    assert counted == ["done"]


def test_a_look_for_runs_left_behind_that_dies_delays_the_next_one_by_two_of_its_periods_only():
    """The sweep dies with the worker whose runs it looks for: a minute would be longer than a lease."""
    every = PRODUCT["find runs left behind"][1]
    chores.due({"sweep": every})
    assert chores.claim("sweep", every)  # and nobody says that it is done
    row = Chore.objects.get(name="sweep")
    assert row.claimed_at is not None
    assert row.due_at - row.claimed_at == 2 * every
    assert 2 * every < configured.LEASE
    pass_("sweep", 2 * every)
    assert chores.claim("sweep", every)


def test_work_of_every_few_seconds_has_the_time_that_it_may_need():
    assert chores.again_after(timedelta(seconds=2)) == timedelta(seconds=10)
    assert chores.again_after(HOUR) == MINUTE


def test_a_clock_that_was_far_ahead_holds_nothing_up():
    tasks.tick()
    Chore.objects.update(due_at=Now() + timedelta(days=3650))
    tasks.tick()
    assert counted == ["done", "done"]


@pytest.mark.django_db(transaction=True)
def test_of_many_ticks_at_once_one_does_the_work():
    chores.due({"count": HOUR})  # the row is there

    def tick() -> None:
        try:
            tasks.tick()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as beats:
        for done in [beats.submit(tick) for _ in range(12)]:
            done.result(60)
    assert counted == ["done"]


# ---------------------------------------------------------------- what is in the product's own table


@pytest.fixture
def product(settings) -> None:
    settings.PERIODIC_WORK = PRODUCT


PRODUCT = dict(configured.PERIODIC_WORK)


def test_the_first_tick_signs_the_audit_trail(product, dot):
    tasks.tick()
    assert AuditCheckpoint.objects.count() == 1


def test_an_account_is_looked_at_every_day_and_not_once(product, settings, monkeypatch):
    woken: list[str] = []
    monkeypatch.setattr(tasks, "wake", lambda run: woken.append(run.kind))
    secret = factories.secret(initial="an-old-value-1")
    factories.settle(secret)
    for days in range(1, 4):
        tasks.tick()
        assert woken == ["drift"] * days
        secret.runs.all().delete()
        # What the database itself wrote: on SQLite the text of a time that it made differs from one of ours.
        ManagedAccount.objects.update(drift_checked_at=Now())
        settings.DRIFT_EVERY = timedelta(milliseconds=1)
        Chore.objects.update(due_at=Now())
