"""What the machinery keeps in the database: messages between processes, and when each was last alive."""

from __future__ import annotations

from django.db import models


class Message(models.Model):
    """One message of the embedded broker; `console.process.broker` alone writes this table."""

    queue = models.CharField(max_length=200)
    tag = models.CharField(max_length=64, unique=True)  # Celery's delivery tag: what an acknowledgement names
    body = models.TextField()  # JSON; task arguments are ids, so there is nothing secret in it
    claimed_at = models.DateTimeField(null=True)  # none: waiting for a consumer
    deliveries = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["queue", "claimed_at"], name="message_waiting")]


class Heartbeat(models.Model):
    """When a kind of process last showed that it works; `console.process.health` alone writes this table."""

    process = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()


class CacheEntry(models.Model):
    """One entry of the cache; `console.cache` alone writes this table, and believes none without its seal."""

    key = models.CharField(max_length=64, primary_key=True)  # a keyed hash
    value = models.TextField()  # JSON
    seal = models.CharField(max_length=64)
    expires_at = models.DateTimeField(db_index=True)
