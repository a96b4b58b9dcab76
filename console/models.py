"""What the console itself keeps in the database: messages between processes, and how users see lists."""

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


class ListPreference(models.Model):
    """How a user sees one list; `console.lists.preferences` alone writes this table."""

    principal = models.ForeignKey("secrets_app.Principal", on_delete=models.CASCADE)
    name = models.CharField(max_length=20)  # of the list
    rows = models.PositiveSmallIntegerField()  # on a page
    columns = models.JSONField()  # names of those that are shown
    is_compact = models.BooleanField(default=False)  # lower rows

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["principal", "name"], name="one_preference_of_a_list"),
        ]
