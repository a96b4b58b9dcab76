"""Keys, their versions, and what is sealed under them."""

from __future__ import annotations

from django.db import models

from secrets_app import actions
from secrets_app.models.base import Identified
from secrets_app.models.people import Account, Principal
from secrets_app.seals import SealedRow


class Key(Identified):
    """A key that seals values; its versions hold the material. Writer: `key_states`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="keys")
    alias = models.CharField(max_length=80)  # never changes: it is part of the ARN
    description = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["alias"]
        constraints = [models.UniqueConstraint(fields=["account", "alias"], name="one_key_per_alias")]

    def __str__(self) -> str:
        return self.alias

    @property
    def arn(self) -> str:
        return actions.arn(actions.Kind.KEY, self.alias, account=self.account.number)

    @property
    def state(self) -> str:
        """`enabled`, `disabled`, `scheduled` or `destroyed`, as its versions say together."""
        states = {version.state for version in self.versions.all()}
        State = KeyVersion.State
        if State.PRIMARY in states:
            return "enabled"
        return next((str(s) for s in (State.DISABLED, State.SCHEDULED) if s in states), "destroyed")


class KeyVersion(SealedRow, Identified):
    """Key material, wrapped by the root key. Writer: `key_states`."""

    SEALED = ("id", "key_id", "number", "state", "destruction_due_at")

    class State(models.TextChoices):
        PRIMARY = "primary", "Primary"  # seals and opens; exactly one per key that is enabled
        ENABLED = "enabled", "Enabled"  # opens only
        DISABLED = "disabled", "Disabled"  # nothing: the kill switch
        SCHEDULED = "scheduled", "Scheduled for destruction"
        DESTROYED = "destroyed", "Destroyed"

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=State)
    wrapped = models.BinaryField(max_length=1024, null=True)  # none once destroyed
    destruction_due_at = models.DateTimeField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(state="primary"), name="one_primary_version_per_key"
            ),
            models.UniqueConstraint(fields=["key", "number"], name="one_key_version_per_number"),
            models.CheckConstraint(
                condition=models.Q(state="destroyed", wrapped=None)
                | (~models.Q(state="destroyed") & models.Q(wrapped__isnull=False)),
                name="destroyed_has_no_material",
            ),
            models.CheckConstraint(
                condition=models.Q(state="scheduled", destruction_due_at__isnull=False)
                | (~models.Q(state="scheduled") & models.Q(destruction_due_at=None)),
                name="scheduled_has_a_date",
            ),
        ]


class RootKeyMove(SealedRow, Identified):
    """The move of all key versions from one root key to another. Writer: `root_key_moves`."""

    SEALED = ("id", "source", "target", "state")

    class State(models.TextChoices):
        RUNNING = "running", "Running"  # either of both root keys may have wrapped a key version
        DONE = "done", "Done"  # the target has wrapped all of them

    # Addresses, which hold no secret. A writer of the database who could change them would choose who wraps.
    source = models.CharField(max_length=500)
    target = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    requested_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="running"), name="one_root_key_move_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"to {self.target.partition('?')[0]}"


class SealedValue(Identified):
    """A ciphertext and the wrapped data key that opens it. Writer: `keyring`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    owner_id = models.UUIDField(db_index=True)  # the secret or credential it is bound to
    subject_id = models.UUIDField()  # the version of it, or the credential again: for a rewrap, never trusted
    field = models.CharField(max_length=32)
    key_version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="sealed_values")
    wrapped_key = models.BinaryField(max_length=256)
    ciphertext = models.BinaryField()


class Rewrap(Identified):
    """The move of one key's values to a newer version, or to another key. Writer: `rewraps`."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    source = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="rewraps")
    target = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    damaged = models.JSONField(default=list)  # ids of sealed values that do not open
    sentence = models.CharField(max_length=500, blank=True)  # why it waits
    requested_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    carried_until = models.DateTimeField(null=True)  # a worker is at it until then
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=models.Q(state="running"), name="one_rewrap_of_a_key_at_a_time"
            ),
        ]

    @property
    def is_running(self) -> bool:
        return self.state == Rewrap.State.RUNNING
