"""What the broker keeps for a worker, whichever it is, and how a Redis forgets it between two tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from kombu import Connection

from console.models import Message


def waiting() -> list[str]:
    """The messages that no worker has taken yet, as they are kept."""
    if settings.BROKER_URL.startswith("embedded"):
        return list(Message.objects.values_list("body", flat=True))
    with _redis() as redis:
        # One list for each queue and priority; its bindings are a set.
        lists = [key for key in redis.keys("*celery*") if redis.type(key) == b"list"]
        return [body.decode() for key in lists for body in redis.lrange(key, 0, -1)]


def forget() -> None:
    """Take what was sent or counted out of a Redis, which is not rolled back with the database."""
    if settings.BROKER_URL.startswith("embedded"):
        return
    with _redis() as redis:
        # Not which queue gets what: whoever sends has said so once and does not say it again.
        if kept := [key for key in redis.keys("*") if not key.startswith(b"_kombu.binding.")]:
            redis.delete(*kept)


@contextmanager
def _redis() -> Iterator[Any]:
    with Connection(settings.BROKER_URL) as broker:
        yield broker.default_channel.client
