"""The audit trail: events, their head, checkpoints, restores, refusals."""

from __future__ import annotations

from django.db import models

from secrets_app.models.base import Identified
from secrets_app.models.people import Principal


class AuditEvent(models.Model):
    """What was done or refused, by whom, on what. Appended, never changed. Writer: `trail`."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        DENIED = "denied", "Denied"
        FAILED = "failed", "Failed"

    # A column that is not in chain.encode can be changed unnoticed.
    sequence = models.BigIntegerField(primary_key=True)  # 1, 2, 3, ... without a gap
    at = models.DateTimeField(editable=False, db_index=True)  # the database's time
    actor = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    actor_name = models.CharField(max_length=80)
    action = models.CharField(max_length=64)  # kms:RotateSecret
    resource = models.CharField(max_length=700, db_index=True)  # its ARN
    resource_id = models.UUIDField(null=True)
    version_id = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome)
    decision = models.CharField(max_length=300, blank=True)  # the statement that allowed or denied it
    reason = models.CharField(max_length=500, blank=True)
    details = models.JSONField(default=dict)  # ids, names and numbers; never a value
    request_id = models.CharField(max_length=64, blank=True)
    session = models.CharField(max_length=64, blank=True)  # a hash: enough to group by, not to sign in with
    address = models.GenericIPAddressField(null=True)
    value_mark = models.CharField(max_length=64, blank=True)  # stands for the value that was revealed or set
    mac = models.CharField(max_length=64)  # over all of this and the mac of the event before

    class Meta:
        ordering = ["-sequence"]
        indexes = [
            # Each narrows the newest events without reading all of them.
            models.Index(fields=["resource_id", "-sequence"], name="event_of_resource"),
            models.Index(fields=["actor_name", "-sequence"], name="event_by_actor"),
            models.Index(fields=["action", "-sequence"], name="event_of_action"),
            models.Index(fields=["outcome", "-sequence"], name="event_with_outcome"),
            models.Index(fields=["address", "-sequence"], name="event_from_address"),
            # Those before a time: the ones after it, which are newer, are passed over in it.
            models.Index(fields=["sequence", "at"], name="event_by_time"),
            models.Index(fields=["value_mark"], condition=~models.Q(value_mark=""), name="event_of_value"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_name}: {self.outcome}"


class AuditHead(models.Model):
    """Where the chain of events ends: one row, locked by each append. Writer: `trail`."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    sequence = models.BigIntegerField(default=0)
    mac = models.CharField(max_length=64, default="0" * 64)
    key_name = models.CharField(max_length=32)  # which audit key it was; says nothing of the key

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_head")]


class AuditCheckpoint(models.Model):
    """A signed statement of how far the chain went. Appended, never changed. Writer: `checkpoints`."""

    sequence = models.BigIntegerField(primary_key=True)
    mac = models.CharField(max_length=64)  # of the event with that sequence
    at = models.DateTimeField()  # the database's time
    previous = models.CharField(max_length=64)  # the hash of the checkpoint before
    signature = models.CharField(max_length=128)

    class Meta:
        ordering = ["sequence"]


class DatabaseRestore(Identified):
    """An older database that was restored, and who acknowledged it. Writer: `restores`."""

    exported_to = models.BigIntegerField()  # the event that the newest exported checkpoint signs
    exported_at = models.DateTimeField()
    found_to = models.BigIntegerField()  # where the trail of this database ended when it was noticed
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500, blank=True)
    verify_asked_at = models.DateTimeField(null=True, blank=True)  # a user chose Verify all
    verify_asked_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    verified_at = models.DateTimeField(null=True, blank=True)  # every account was asked

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["exported_to"],
                condition=models.Q(acknowledged_at__isnull=True),
                name="one_open_restore",
            ),
        ]


class Refusals(Identified):
    """How often the same was refused since its last event. Writer: `refusals`."""

    actor = models.ForeignKey(Principal, null=True, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=64)
    resource = models.CharField(max_length=700)
    resource_id = models.UUIDField(null=True)
    address = models.GenericIPAddressField(null=True)
    name = models.CharField(max_length=64, unique=True)  # a hash of the four above
    since = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField(default=0)  # not recorded yet
    because = models.CharField(max_length=300, blank=True)
