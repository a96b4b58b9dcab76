"""Runs and their steps: the row is the job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from rotation.models.instances import Instance
from secrets_app.models import Identified, Principal, Secret, SecretVersion


@models.CharField.register_lookup
class Among(models.Lookup):
    """`state__among=Run.ACTIVE`: as `in`, with these words of our own in the statement itself.

    SQLite compares the condition of a partial index with words, and never with parameters.
    """

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        words = [str(word) for word in self.rhs]
        if not all(word.isascii() and word.isalpha() for word in words):
            raise ValueError("Only words of our own stand in a statement.")
        listed = ", ".join(f"'{word}'" for word in words)
        return f"{left} IN ({listed})", tuple(parameters)


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, by what is true of them."""

    def active(self) -> RunQuerySet:
        return self.filter(state__among=Run.ACTIVE)

    def without_missed(self) -> RunQuerySet:
        """Runs that were requested: a missed date is recorded beside them, and nothing was done for it."""
        return self.exclude(outcome=Run.Outcome.MISSED)


class Run(Identified):
    """One piece of work on a host, from request to end. The row is the job.

    A date of a schedule that passed without a rotation is such a row too, which ended as it was written.
    Writers: `runs`, `leases`, `cancelling`, `missed`.
    """

    class Kind(models.TextChoices):
        ROTATE = "rotate", "Rotation"
        VERIFY = "verify", "Verification"  # is the current value still good?
        CHECK = "check", "Connection test"  # of an instance, or of one account that no secret manages yet
        SCAN = "scan", "Identity scan"
        DRIFT = "drift", "Drift check"  # was the credential changed outside Keyturn?
        RECONCILE = "reconcile", "Reconciliation"  # the current value is set again
        DEPENDANTS = "dependants", "Update of dependants"  # ... and given to what runs as the account

    class Trigger(models.TextChoices):
        MANUAL = "manual", "Manual"
        SCHEDULE = "schedule", "Schedule"
        CREATION = "creation", "Creation"
        RESTORE = "restore", "Restore"
        RETRY = "retry", "Retry"
        DRIFT = "drift", "Drift"

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"  # no worker has it
        RUNNING = "running", "Running"  # a worker holds its lease
        WAITING = "waiting", "Waiting"  # tries again at `due_at`
        ENDED = "ended", "Ended"

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"  # `truth` says which value works
        BLOCKED = "blocked", "Blocked"  # nothing was changed; a person must act
        CANCELLED = "cancelled", "Cancelled"
        MISSED = "missed", "Missed"  # no run: a date of the schedule passed without a rotation

    class Truth(models.TextChoices):
        OLD = "old", "the old value works"
        NEW = "new", "the new value works"
        NEITHER = "neither", "neither value works"
        UNKNOWN = "unknown", "which value works is unknown"

    ACTIVE = (State.QUEUED, State.RUNNING, State.WAITING)
    #: By kind, the name of the event that tells how a run ended.
    ENDED_EVENTS: ClassVar = {
        Kind.ROTATE: "kms:RotationEnded",
        Kind.VERIFY: "kms:VerificationEnded",
        Kind.CHECK: "kms:ConnectionTestEnded",
        Kind.SCAN: "kms:HostKeyScanEnded",
        Kind.DRIFT: "kms:DriftCheckEnded",
        Kind.RECONCILE: "kms:ReconciliationEnded",
        Kind.DEPENDANTS: "kms:DependantsUpdateEnded",
    }

    kind = models.CharField(max_length=10, choices=Kind)
    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.MANUAL)
    is_leak = models.BooleanField(default=False)  # the old value has leaked: goes before other work
    secret = models.ForeignKey(Secret, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="runs")
    version = models.ForeignKey(
        SecretVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    requested_by = models.ForeignKey(
        Principal,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,  # it begins another index
    )
    reason = models.CharField(max_length=500, blank=True)  # the reason that its requester gave
    overrides = models.JSONField(default=list, blank=True)  # codes of checks that may not stop it
    username = models.CharField(max_length=64, blank=True)  # of a check of one account
    account_kind = models.CharField(max_length=16, blank=True, choices=Secret.Kind)  # ... and of what
    request_token = models.CharField(max_length=64, blank=True)  # the same one twice is one run
    # Of the bulk action that started this run; of a run that it joined it is empty.
    campaign = models.UUIDField(null=True, blank=True, editable=False)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    truth = models.CharField(max_length=8, choices=Truth, blank=True)
    code = models.CharField(max_length=40, blank=True)  # the reason of a failure or a wait
    sentence = models.CharField(max_length=500, blank=True)  # ... and what to do about it
    due_at = models.DateTimeField(db_default=Now())
    date_at = models.DateTimeField(null=True, blank=True)  # the schedule's date that this is for
    last_date_at = models.DateTimeField(null=True, blank=True)  # of the dates that were missed
    dates = models.PositiveIntegerField(default=0)  # how many were missed, from `date_at` to `last_date_at`
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)  # times a host was told the value
    tries = models.PositiveIntegerField(default=0)  # times a worker took it up
    waits = models.PositiveIntegerField(default=0)  # times it was put off
    generation = models.PositiveBigIntegerField(default=0)  # of the last attempt
    lease = models.PositiveBigIntegerField(default=0)  # grows with every worker that takes it up
    leased_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=120, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["secret"],
                condition=models.Q(state__in=["queued", "running", "waiting"], secret__isnull=False),
                name="one_active_run_per_secret",
            ),
            models.UniqueConstraint(
                fields=["instance", "kind", "username", "account_kind"],
                condition=models.Q(state__in=["queued", "running", "waiting"], secret__isnull=True),
                name="one_active_run_per_instance_and_kind",
            ),
            models.UniqueConstraint(
                fields=["secret", "date_at"],
                condition=models.Q(outcome="missed"),
                name="one_record_per_missed_date",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=models.Q(state__in=["queued", "running", "waiting"]),
                name="run_active",
            ),
            models.Index(fields=["created_at", "id"], name="run_newest"),
            # Of the list alone, which asks for rows whose `created_at` is not NULL, as all are: without
            # statistics SQLite would take one of these for any query that names a kind or an outcome.
            models.Index(
                fields=["kind", "created_at", "id"],
                condition=models.Q(created_at__isnull=False),
                name="run_by_kind",
            ),
            models.Index(
                fields=["trigger", "created_at", "id"],
                condition=models.Q(created_at__isnull=False),
                name="run_by_trigger",
            ),
            models.Index(
                fields=["outcome", "created_at", "id"],
                condition=models.Q(created_at__isnull=False),
                name="run_by_outcome",
            ),
            models.Index(
                fields=["attempts", "created_at", "id"],
                condition=models.Q(created_at__isnull=False),
                name="run_by_attempts",
            ),
            models.Index(fields=["requested_by", "created_at"], name="run_by_requester"),
            models.Index(fields=["secret", "-created_at"], name="run_of_secret"),
            models.Index(fields=["instance", "-created_at"], name="run_of_instance"),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.pk}"

    @property
    def label(self) -> str:
        """What it is called: a scan by what its instance shows, such as *Certificate scan*."""
        if self.kind != Run.Kind.SCAN:
            return self.get_kind_display()
        return f"{self.instance.shown.one.capitalize()} scan"

    @property
    def arn(self) -> str:
        """Its secret's, or its instance's: who may see the one may see what happened to it."""
        return self.secret.arn if self.secret else self.instance.arn

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def duration(self) -> timedelta | None:
        return self.ended_at - self.started_at if self.ended_at and self.started_at else None


class Step(Identified):
    """One step of a run, as evidence: what, when, by which worker, how it went.

    Writers: `runs`, `leases`, `cancelling`.
    """

    class Name(models.TextChoices):
        CREATE = "create", "Create"  # the new value is stored here
        PREFLIGHT = "preflight", "Check"  # the host is looked at
        PROBE = "probe", "Probe"  # after a break: which value does the host accept?
        SET = "set", "Set"  # the host is told
        TEST = "test", "Test"  # a new login with the new value
        FINISH = "finish", "Finish"  # the labels move
        CLEAN = "clean", "Clean up"  # an old key is removed and proven refused
        SESSIONS = "sessions", "End sessions"  # of the account, on the host
        SCAN = "scan", "Scan"  # the host's keys are read
        DEPENDANT = "dependant", "Update dependant"  # one that runs as the account is given the value

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        BROKEN = "broken", "Interrupted"  # the worker did not come back

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=12, choices=Name)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=120)
    lease = models.PositiveBigIntegerField()
    sentence = models.CharField(max_length=500, blank=True)
    evidence = models.JSONField(default=list)  # checks: name, mark, sentence

    WRITTEN_AT_ITS_END = ("state", "sentence", "evidence", "ended_at")

    began = 0.0  # by the clock of the worker that does it; not stored

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_step_per_number")]

    def __str__(self) -> str:
        return f"{self.number} {self.name}"

    @property
    def duration(self) -> timedelta | None:
        return self.ended_at - self.started_at if self.ended_at else None
