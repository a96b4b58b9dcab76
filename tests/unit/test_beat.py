"""What beat sends is what a worker knows: an unknown name would be logged by a worker, and never done."""

from __future__ import annotations

import pytest
from django.conf import settings

from console.celery import app


@pytest.mark.parametrize("entry", sorted(settings.CELERY_BEAT_SCHEDULE))
def test_every_task_that_beat_sends_is_known_to_a_worker(entry):
    app.loader.import_default_modules()
    assert settings.CELERY_BEAT_SCHEDULE[entry]["task"] in app.tasks
