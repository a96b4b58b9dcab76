"""What the broker keeps for a worker, whichever broker it is."""

from __future__ import annotations

from django.conf import settings
from kombu import Connection

from console.models import Message


def waiting() -> list[str]:
    """The messages that no worker has taken yet, as they are kept."""
    if settings.BROKER_URL.startswith("embedded"):
        return list(Message.objects.values_list("body", flat=True))
    with Connection(settings.BROKER_URL) as broker:
        redis = broker.default_channel.client
        # One list for each queue and priority; its bindings are a set.
        lists = [key for key in redis.keys("*celery*") if redis.type(key) == b"list"]
        return [body.decode() for key in lists for body in redis.lrange(key, 0, -1)]
