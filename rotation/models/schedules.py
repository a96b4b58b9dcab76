"""Schedules, and when periodic work is due."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from secrets_app.models import Identified, Secret

PERIOD_LIMITS = (timedelta(hours=6), timedelta(days=365))


GRACE = timedelta(minutes=5)  # a rotation that starts so much later is not overdue


class Schedule(Identified):
    """When a secret rotates automatically: every `period`, or at the times of `cron`. Writer: `schedules`."""

    class CatchUp(models.TextChoices):
        ONCE = "once", "Rotate once, as soon as possible"
        SKIP = "skip", "Wait for the next date"

    secret = models.OneToOneField(Secret, on_delete=models.CASCADE, related_name="schedule")
    is_on = models.BooleanField(default=False)
    period = models.DurationField(default=timedelta(days=30))  # with `cron`: its longest pause
    cron = models.CharField(max_length=120, blank=True)  # five fields, crontab(5)
    zone = models.CharField(max_length=64, default="UTC")  # IANA name; the times of `cron` are local there
    jitter = models.DurationField(default=timedelta(0))  # each date is put off by up to so much
    catch_up = models.CharField(max_length=4, choices=CatchUp, default=CatchUp.ONCE)  # after downtime
    next_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)  # in a row, of rotations that it started
    stopped_at = models.DateTimeField(null=True, blank=True)  # after too many; a person turns it on again
    revision = models.PositiveIntegerField(default=1)  # a change says which one it was made on

    class Meta:
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=models.Q(is_on=True, paused_at__isnull=True),
                name="schedule_due",
            ),
            models.Index(
                fields=["next_at"],
                condition=models.Q(is_on=True, paused_at__isnull=True, stopped_at__isnull=True),
                name="schedule_waiting",
            ),
            models.Index(fields=["next_at", "secret"], name="schedule_by_date"),
            models.Index(fields=["period", "secret"], name="schedule_by_period"),
            models.Index(fields=["secret"], name="schedule_off", condition=models.Q(is_on=False)),
        ]

    @property
    def is_overdue(self) -> bool:
        waits = self.is_on and not self.paused_at and not self.stopped_at
        return bool(waits and self.next_at and self.next_at < timezone.now() - GRACE)


class Chore(models.Model):
    """One piece of periodic work, and when it is due. Writer: `chores`."""

    name = models.CharField(max_length=64, primary_key=True)  # of settings.PERIODIC_WORK
    due_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)  # when it last began
    last_run_at = models.DateTimeField(null=True)  # when it was last done

    def __str__(self) -> str:
        return self.name
