"""Actions on many rows at once: what was confirmed, and how it went for each row."""

from __future__ import annotations

from django.db import models

from rotation.models.runs import Run
from secrets_app.models import Identified, Principal, Secret
from secrets_app.seals import SealedRow


class BulkAction(SealedRow, Identified):
    """One action that a user confirmed for many secrets, or for many runs to retry. Writer: `bulk_actions`.

    It acts in the name of its user after the user's request has ended, so the row decides: it is sealed with
    the list of its rows and with the facts of the request that conditions of policies are compared with.
    """

    SEALED = (
        "id",
        "action",
        "requested_by_id",
        "choices",
        "targets",
        "request_id",
        "session",
        "address",
        "is_secure",
        "is_mfa",
    )

    class Action(models.TextChoices):
        ROTATE = "rotate", "Rotate Immediately"
        VERIFY = "verify", "Verify"
        DRIFT = "drift", "Check for drift"
        DELETE = "delete", "Plan Deletion Secret"
        RESTORE = "restore", "Restore Secret"
        TAG = "tag", "Edit tags"
        RETRY = "retry", "Retry"  # of runs that ended without success

    action = models.CharField(max_length=8, choices=Action)
    requested_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    choices = models.JSONField(default=dict, blank=True)  # what the form of the action asks, once for all
    targets = models.JSONField(default=list)  # ids of secrets, of runs to retry; by the number of the item
    token = models.CharField(max_length=64)  # the same one twice is one action
    request_id = models.CharField(max_length=64, blank=True)
    session = models.CharField(max_length=64, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    is_secure = models.BooleanField(null=True)
    is_mfa = models.BooleanField(null=True)
    carried_until = models.DateTimeField(null=True)  # a worker is at it until then
    paused_at = models.DateTimeField(null=True)  # no further row is begun
    cancelled_at = models.DateTimeField(null=True)  # what had not begun then was not done
    ended_at = models.DateTimeField(null=True)  # every row is done, and every run that it started has ended
    seen_at = models.DateTimeField(null=True)  # its user has looked at the result

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["requested_by", "token"], name="one_bulk_action_per_token"),
        ]
        indexes = [
            models.Index(fields=["requested_by", "-created_at"], name="bulk_action_newest"),
            models.Index(
                fields=["created_at"], condition=models.Q(ended_at__isnull=True), name="bulk_action_open"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.pk}"


class BulkItem(Identified):
    """One row of a bulk action. Writer: `bulk_actions`."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"  # no worker has come to it
        DONE = "done", "Done"  # carried out; if it is a run, that says how it goes
        REFUSED = "refused", "Refused"  # the user had no right to it at that moment
        IMPOSSIBLE = "impossible", "Not possible"  # what it is in does not allow it; the sentence says why
        CANCELLED = "cancelled", "Cancelled"  # its user cancelled the action before a worker came to it

    bulk = models.ForeignKey(BulkAction, on_delete=models.CASCADE, related_name="items")
    number = models.PositiveIntegerField()
    secret = models.ForeignKey(Secret, null=True, on_delete=models.PROTECT, related_name="+")
    retried = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    code = models.CharField(max_length=40, blank=True)
    sentence = models.CharField(max_length=500, blank=True)
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="+")
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["bulk", "number"], name="one_bulk_item_per_number"),
        ]
        indexes = [
            models.Index(
                fields=["bulk", "number"], condition=models.Q(state="waiting"), name="bulk_item_waiting"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.bulk_id}"

    @property
    def name(self) -> str:
        """Of its secret, or of the instance of a run that is of no secret."""
        if self.secret is not None:
            return self.secret.name
        return self.retried.instance.name if self.retried else ""
