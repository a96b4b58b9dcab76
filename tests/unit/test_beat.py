"""What beat sends is what a worker knows: an unknown name would be logged by a worker, and never done.

And it sends it as soon as it starts: what is due stands in the rows, and not in how long beat has run.
"""

from __future__ import annotations

import pytest
from celery import beat
from celery.schedules import schedule
from django.conf import settings

from console.celery import app
from console.process import heartbeats

SENT = [entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()]
DONE = [task for task, _ in settings.PERIODIC_WORK.values()]


@pytest.mark.parametrize("task", sorted({*SENT, *DONE}))
def test_every_task_that_beat_sends_is_known_to_a_worker(task):
    app.loader.import_default_modules()
    assert task in app.tasks


def test_a_beat_that_is_restarted_again_and_again_sends_everything_each_time():
    for _ in range(3):
        anew = heartbeats.Scheduler(app=app, lazy=True)
        anew.setup_schedule()
        assert sorted(entry.task for entry in anew.schedule.values() if entry.is_due().is_due) == sorted(SENT)


def test_a_beat_whose_messages_nobody_takes_does_not_look_alive(monkeypatch):
    shown, is_heard = [], False

    def apply_async(*args: object, **kwargs: object) -> None:
        if not is_heard:
            raise beat.SchedulingError("nobody listens")

    monkeypatch.setattr(beat.Scheduler, "apply_async", apply_async)
    monkeypatch.setattr(heartbeats, "show", shown.append)
    scheduler = heartbeats.Scheduler(app=app, lazy=True)
    scheduler.add(name="sweep", task="rotation.tasks.sweep", schedule=schedule(0.0, app=app))
    scheduler.tick()
    assert shown == []
    is_heard = True
    scheduler.tick()
    assert shown == ["beat"]
