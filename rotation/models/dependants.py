"""What runs as a managed account on its host and keeps the password on its own."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from rotation.models.instances import ManagedAccount
from secrets_app.models import Identified


class DependantQuerySet(models.QuerySet["Dependant"]):
    """Dependants, by what is true of them."""

    def chosen(self) -> DependantQuerySet:
        """Those that are given each new value."""
        return self.filter(is_chosen=True)

    def waiting(self) -> DependantQuerySet:
        """Those that are to be given the current value, and may have it or not."""
        return self.chosen().filter(state__in=Dependant.WAITING)

    def failed(self) -> DependantQuerySet:
        return self.chosen().filter(state=Dependant.State.FAILED)

    def behind(self) -> DependantQuerySet:
        """Those that have not the current value, or do not run again: failed, or nothing has come of them."""
        # In the words of the index of that name, which SQLite compares with no parameter.
        return self.chosen().filter(state__among=Dependant.BEHIND)


class Dependant(Identified):
    """A service, a scheduled task or an application pool that runs as a managed account.

    Only its name is kept. What has this name on the host is given a value only if it runs as the account.
    Writer: `managed.dependants`.
    """

    class Kind(models.TextChoices):
        SERVICE = "service", "Service"
        TASK = "task", "Scheduled task"
        POOL = "pool", "IIS application pool"

    class State(models.TextChoices):
        UNTOLD = "untold", "Not updated yet"  # no value was proven since it was chosen
        WAITING = "waiting", "Waiting"  # a new value is current, and this is to be given it
        BEGUN = "begun", "Under way"  # the host may have been told; to repeat that is harmless
        DONE = "done", "Updated"
        FAILED = "failed", "Failed"  # `code` says why; a retry gives it the current value again
        GONE = "gone", "Not there"  # ... any more, or runs as another account

    WAITING: ClassVar = (State.WAITING, State.BEGUN)
    BEHIND: ClassVar = (State.WAITING, State.BEGUN, State.FAILED)

    account = models.ForeignKey(ManagedAccount, on_delete=models.CASCADE, related_name="dependants")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=300)
    is_chosen = models.BooleanField(default=False)
    decided_at = models.DateTimeField(null=True, blank=True)  # a user chose it, or chose not to; null: new
    seen_at = models.DateTimeField(null=True, blank=True)  # the last look that found it
    is_missing = models.BooleanField(default=False)  # the last look did not
    was_running = models.BooleanField(default=False)  # before its value changed: it is to run afterwards
    state = models.CharField(max_length=8, choices=State, default=State.UNTOLD)
    tries = models.PositiveSmallIntegerField(default=0)  # of giving it the value that is current now
    code = models.CharField(max_length=40, blank=True)
    sentence = models.CharField(max_length=500, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)  # its state is from then

    objects = DependantQuerySet.as_manager()

    class Meta:
        ordering = ["kind", "name"]
        constraints = [
            models.UniqueConstraint(fields=["account", "kind", "name"], name="one_dependant_per_name")
        ]
        indexes = [
            models.Index(
                fields=["account"],
                condition=models.Q(is_chosen=True, state__in=["waiting", "begun", "failed"]),
                name="dependant_behind",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name}"

    @property
    def key(self) -> str:
        """By which a form names it."""
        return f"{self.kind}:{self.name}"
