"""What the broker keeps for a worker, whichever it is, and how a Redis forgets it between two tests."""

from __future__ import annotations

import functools

import redis
from django.conf import settings

from console.models import Message


def waiting() -> list[str]:
    """The messages that no worker has taken yet, as they are kept."""
    if settings.BROKER_URL.startswith("embedded"):
        return list(Message.objects.values_list("body", flat=True))
    kept = _redis(settings.BROKER_URL)
    # One list for each queue and priority; its bindings are a set.
    lists = [key for key in kept.keys("*celery*") if kept.type(key) == b"list"]
    return [body.decode() for key in lists for body in kept.lrange(key, 0, -1)]


def forget() -> None:
    """Take what was sent or counted out of a Redis, which is not rolled back with the database."""
    if settings.BROKER_URL.startswith("embedded"):
        return
    kept = _redis(settings.BROKER_URL)
    # Not which queue gets what: whoever sends has said so once and does not say it again.
    if sent := [key for key in kept.keys("*") if not key.startswith(b"_kombu.binding.")]:
        kept.delete(*sent)


@functools.cache
def _redis(url: str) -> redis.Redis:
    """One connection for all tests: this is asked before each."""
    return redis.Redis.from_url(url)
