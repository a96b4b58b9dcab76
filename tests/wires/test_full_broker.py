"""A Redis whose memory is full takes no messages: nothing fails, and the rows say what is to be done."""

from __future__ import annotations

import logging
import uuid

import pytest
from kombu import Connection

from rotation import tasks


@pytest.fixture
def sends_there(own_redis, monkeypatch):
    """Send this process' messages to a Redis of the test's own; yields its client."""
    monkeypatch.setattr(tasks._Broker, "away_until", 0.0)
    with Connection(own_redis.url) as broker:
        real = tasks.advance.apply_async
        monkeypatch.setattr(
            tasks.advance, "apply_async", lambda ids, **given: real(ids, connection=broker, **given)
        )
        yield own_redis.client()


def test_a_redis_that_is_full_fails_no_request_and_takes_messages_when_it_has_room(
    sends_there, monkeypatch, caplog
):
    sends_there.config_set("maxmemory", 1)
    with caplog.at_level(logging.WARNING, "rotation.tasks"):
        for _ in range(3):
            tasks.send(tasks.advance, str(uuid.uuid4()))
    assert len(caplog.records) == 1  # the others were not tried: each try may take long
    assert "the sweep finds what was to be sent" in caplog.text
    sends_there.config_set("maxmemory", 0)
    assert sends_there.llen("celery") == 0
    monkeypatch.setattr(tasks._Broker, "away_until", 0.0)
    tasks.send(tasks.advance, str(uuid.uuid4()))
    assert sends_there.llen("celery") == 1
