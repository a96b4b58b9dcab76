"""The only writer of runs and steps: request, lease, evidence, end.

The row is the job. Whoever works on it holds a lease with a number that only grows; every write
names that number, so a worker that was overtaken writes nothing. Times that decide who may work
are the database's, never a worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from rotation.models import Instance, Run, Step
from secrets_app import audit, lifecycle, policies, versions
from secrets_app.models import Label, Principal, Secret, SecretVersion
from secrets_app.plaintext import Plaintext

Action = policies.Action


class Overtaken(Exception):
    """Another worker has this run now; what this one knows is worth nothing any more."""


class InProgress(Exception):
    """Your secret is being rotated, please try again later."""


class TooLate(Exception):
    """The host was told a new value, so this cannot be stopped any more; the message says what to do."""


class NotRotatable(Exception):
    """This secret cannot be rotated now; the message says why and what to do."""


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until it is taken over."""

    run_id: UUID
    number: int
    worker: str
    length: timedelta  # each write under it holds it for so long again


# ---------------------------------------------------------------- requests


def start(
    secret: Secret,
    *,
    actor: Principal,
    trigger: str = Run.Trigger.MANUAL,
    value: Plaintext | None = None,
    is_leak: bool = False,
    token: str = "",
    from_version: SecretVersion | None = None,
) -> Run:
    """Ask for a rotation; joins the one that is under way. With `value`, that is the new
    password, or the new private key.

    With `from_version`, that is an earlier version's value again, which nobody is shown.

    The same `token` twice is one run. A value is sealed here, in the caller's transaction; it is
    never kept elsewhere. Raises `InProgress` for a value while a run is active, `NotRotatable`,
    `policies.NotAllowed`, or what `versions.given` raises.
    """
    policies.require(actor, Action.ROTATE_SECRET, secret)
    if from_version is not None:
        policies.require(actor, Action.PUT_SECRET_VALUE, secret)
        value = _earlier(secret, from_version)
    if value is not None:
        policies.require(actor, Action.PUT_SECRET_VALUE, secret)
        versions.given(secret, secret.managed.username, value)
    with transaction.atomic():
        # Both of two people at once come here; the second sees the first one's run.
        _refuse_deleted(lifecycle.held(secret.pk))
        same = Run.objects.filter(secret=secret, request_token=token).first() if token else None
        if same:
            return same
        active = secret.runs.active().first()
        if active and active.kind == Run.Kind.ROTATE:
            if value is not None:
                raise InProgress(InProgress.__doc__)
            return _hurried(active)
        if active:
            _supersede(active)
        run = _add(
            Run.Kind.ROTATE,
            secret.managed.instance,
            actor,
            secret=secret,
            trigger=trigger,
            is_leak=is_leak,
            request_token=token,
        )
        if value is not None:
            origin = SecretVersion.Origin.EARLIER if from_version else SecretVersion.Origin.CUSTOM
            _stage_chosen(run, value, actor, origin)
        details = {"run": str(run.pk), "trigger": trigger}
        if from_version is not None:
            details["from_version"] = from_version.version_id
        audit.record(Action.ROTATE_SECRET, secret, actor=actor, details=details)
    return run


def _earlier(secret: Secret, version: SecretVersion) -> Plaintext:
    """Open the password or private key that a secret had before. Raises `NotRotatable`."""
    if version.secret_id != secret.pk:
        raise NotRotatable("Only an earlier value of this secret can be rotated back to.")
    if secret.labels.filter(role=Label.Role.CURRENT, version=version).exists():
        raise NotRotatable("This version is the current one already.")
    try:
        return versions.value(version).credential
    except versions.NoValue:
        raise NotRotatable("The value of this version was destroyed. Choose another one.") from None


def _stage_chosen(run: Run, value: Plaintext, actor: Principal, origin: str) -> None:
    assert run.secret is not None
    held = versions.given(run.secret, run.secret.managed.username, value)
    try:
        version = versions.stage(run.secret, held, origin=origin, actor=actor)
    except versions.PendingExists:
        raise NotRotatable(
            "The host may have heard a value that is not verified yet. "
            "Rotate once without a custom value first."
        ) from None
    Run.objects.filter(pk=run.pk).update(version=version)
    run.version = version


def verify(secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.MANUAL) -> Run:
    """Ask whether the host accepts the current value; joins any run that is under way.

    Raises `NotRotatable`.
    """
    with transaction.atomic():
        _refuse_deleted(lifecycle.held(secret.pk))
        active = secret.runs.active().first()
        if active:
            return active
        return _add(Run.Kind.VERIFY, secret.managed.instance, actor, secret=secret, trigger=trigger)


def _refuse_deleted(secret: Secret) -> None:
    if not secret.is_enabled:
        raise NotRotatable(lifecycle.why_not_enabled(secret))


def check(instance: Instance, *, actor: Principal) -> Run:
    """Ask for a connection test; joins the one that is under way."""
    policies.require(actor, Action.CHECK_INSTANCE, instance)
    return _on_instance(Run.Kind.CHECK, instance, actor)


def scan(instance: Instance, *, actor: Principal) -> Run:
    """Ask for the host's keys; joins the scan that is under way."""
    policies.require(actor, Action.CHECK_INSTANCE, instance)
    return _on_instance(Run.Kind.SCAN, instance, actor)


def _on_instance(kind: str, instance: Instance, actor: Principal) -> Run:
    try:
        with transaction.atomic():
            return _add(kind, instance, actor)
    except IntegrityError:
        return _hurried(Run.objects.active().get(instance=instance, kind=kind, secret=None))


def _hurried(run: Run) -> Run:
    """Let a run that waits go on now: somebody asks for it."""
    Run.objects.filter(pk=run.pk, state=Run.State.WAITING).update(due_at=Now())
    return run


def _add(kind: str, instance: Instance, actor: Principal, **fields: object) -> Run:
    run = Run(kind=kind, instance=instance, requested_by=actor, **fields)
    run.save(force_insert=True)
    run.refresh_from_db()
    return run


def _supersede(run: Run) -> None:
    """End a run that only reads, so that a rotation can start; its worker finds itself overtaken."""
    Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE).update(
        state=Run.State.ENDED,
        outcome=Run.Outcome.CANCELLED,
        sentence="A rotation was started.",
        ended_at=Now(),
        lease=F("lease") + 1,
        leased_until=None,
    )


# ---------------------------------------------------------------- cancelling


def cancel(run: Run, *, actor: Principal) -> None:
    """End a run of a secret on request, until its host is told. Raises `TooLate` or `policies.NotAllowed`."""
    policies.require(actor, Action.ROTATE_SECRET, run.secret)
    _cancel(run, actor=actor, sentence=f"Cancelled by {actor.name}. The host was told nothing.")


def _cancel(run: Run, *, actor: Principal, sentence: str) -> None:
    """End a run that has told no host anything. Raises `TooLate`.

    A worker that has it finds itself overtaken at its next write, and its next write is the one that
    comes before the host is told. A value that was stored for it is dropped.
    """
    with transaction.atomic():
        ended = Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE, attempts=0).update(
            state=Run.State.ENDED,
            outcome=Run.Outcome.CANCELLED,
            sentence=sentence[:500],
            ended_at=Now(),
            lease=F("lease") + 1,
            leased_until=None,
        )
        if not ended:
            raise TooLate(
                "This run has told the host a new value, or has ended. It goes on until it is known "
                "which value works."
            )
        Step.objects.filter(run=run, state=Step.State.RUNNING).update(
            state=Step.State.BROKEN, ended_at=Now(), sentence="Cancelled."
        )
        # Read after the update: a worker may have stored the value just before it.
        pending = run.secret.labelled(Label.Role.PENDING) if run.secret else None
        if pending and not pending.offered_at:
            versions.drop_pending(pending)
        audit.record(
            f"kms:{run.get_kind_display().replace(' ', '')}Ended",
            run.secret or run.instance,
            actor=actor,
            details={"run": str(run.pk), "outcome": Run.Outcome.CANCELLED.value},
        )


def stop_all(secret: Secret, *, actor: Principal, sentence: str) -> None:
    """Leave nothing under way for a secret that is about to go. Raises `TooLate`.

    A host that was told a value must be asked first which one it accepts: after that, deleting loses
    nothing that anybody needs to log in.
    """
    with transaction.atomic():
        for run in secret.runs.active().select_related("secret__region", "secret__account"):
            try:
                _cancel(run, actor=actor, sentence=sentence)
            except TooLate:
                raise TooLate(
                    "A rotation of this secret has told the host a new value and is not finished. "
                    "Delete the secret when that run has ended."
                ) from None
        pending = secret.labelled(Label.Role.PENDING)
        if pending and pending.offered_at and not pending.dead_at:
            raise TooLate(
                "The host may have heard a new value that is not verified yet. Rotate once, so that it is "
                "known which value works; then delete."
            )


# ---------------------------------------------------------------- leases


def claim(run_id: UUID, worker: str, *, lease: timedelta | None = None) -> Lease | None:
    """Take up a run that is due and that nobody works on; None where there is nothing to do.

    One host is talked to by one worker at a time: a run whose instance is busy stays queued.
    """
    length = lease or settings.LEASE
    with transaction.atomic():
        found = Run.objects.filter(pk=run_id).values_list("instance_id", flat=True).first()
        if found is None:
            return None
        Instance.objects.select_for_update().get(pk=found)  # one claimant per host at a time
        if Run.objects.filter(instance_id=found, state=Run.State.RUNNING, leased_until__gt=Now()).exists():
            return None
        taken = Run.objects.filter(_takeable(), pk=run_id).update(
            state=Run.State.RUNNING,
            lease=F("lease") + 1,
            leased_until=Now() + length,
            worker=worker,
            tries=F("tries") + 1,
            started_at=Coalesce(F("started_at"), Now()),
        )
        if not taken:
            return None
        number = Run.objects.values_list("lease", flat=True).get(pk=run_id)
        Step.objects.filter(run_id=run_id, state=Step.State.RUNNING).update(
            state=Step.State.BROKEN,
            ended_at=Now(),
            sentence="The worker did not come back; another one went on.",
        )
    return Lease(run_id, number, worker, length)


def _takeable() -> Q:
    return Q(state__in=[Run.State.QUEUED, Run.State.WAITING], due_at__lte=Now()) | Q(
        state=Run.State.RUNNING, leased_until__lte=Now()
    )


def hand_back_orphans(host: str, is_alive: Callable[[int], bool]) -> int:
    """End the leases of workers of this `host` whose process is gone, without waiting for their time.

    Safe even where `is_alive` is wrong: a worker that lives after all finds itself overtaken, and the
    generation on the host refuses what it still has under way. Returns how many were handed back.
    """
    held = Run.objects.filter(state=Run.State.RUNNING, leased_until__gt=Now(), worker__startswith=f"{host}/")
    back = 0
    for run in held:
        pid = run.worker.removeprefix(f"{host}/").partition("/")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            same = Run.objects.filter(pk=run.pk, lease=run.lease, state=Run.State.RUNNING)
            back += same.update(leased_until=Now())
    return back


def due(limit: int) -> list[UUID]:
    """Return runs that somebody should take up: leaked ones first, then the oldest."""
    return list(
        Run.objects.filter(_takeable()).order_by("-is_leak", "due_at").values_list("pk", flat=True)[:limit]
    )


def next_on(instance_id: UUID) -> UUID | None:
    """Return the run that waits for this instance to become free, if any."""
    waiting = Run.objects.filter(_takeable(), instance_id=instance_id)
    return waiting.order_by("-is_leak", "due_at").values_list("pk", flat=True).first()


def hold(lease: Lease, **fields: object) -> None:
    """Renew the lease and write `fields`, if it is still held. Raises `Overtaken`."""
    held = Run.objects.filter(pk=lease.run_id, lease=lease.number, state=Run.State.RUNNING).update(
        leased_until=Now() + lease.length, **fields
    )
    if not held:
        raise Overtaken


def wait(lease: Lease, delay: timedelta, *, code: str, sentence: str) -> None:
    """Give the lease back and have the run taken up again after `delay`. Raises `Overtaken`."""
    hold(
        lease,
        state=Run.State.WAITING,
        due_at=Now() + delay,
        waits=F("waits") + 1,
        code=code,
        sentence=sentence[:500],
    )


def end(
    lease: Lease,
    outcome: str,
    *,
    actor: Principal | None = None,
    truth: str = "",
    code: str = "",
    sentence: str = "",
) -> None:
    """End the run, once, with its one terminal event. Raises `Overtaken`."""
    with transaction.atomic():
        hold(
            lease,
            state=Run.State.ENDED,
            outcome=outcome,
            truth=truth,
            code=code,
            sentence=sentence[:500],
            ended_at=Now(),
        )
        run = Run.objects.select_related("secret", "instance", "requested_by").get(pk=lease.run_id)
        audit.record(
            f"kms:{run.get_kind_display().replace(' ', '')}Ended",
            run.secret or run.instance,
            actor=actor or run.requested_by,
            outcome="succeeded" if outcome == Run.Outcome.SUCCEEDED else "failed",
            version_id=run.version.version_id if run.version else "",
            details={"run": str(run.pk), "outcome": outcome, "truth": truth, "code": code},
        )


# ---------------------------------------------------------------- steps


def begin(lease: Lease, name: str) -> Step:
    """Start a step; renews the lease. Raises `Overtaken`."""
    with transaction.atomic():
        hold(lease)
        number = Step.objects.filter(run_id=lease.run_id).count() + 1
        return Step.objects.create(
            run_id=lease.run_id, number=number, name=name, worker=lease.worker, lease=lease.number
        )


def finish(
    lease: Lease, step: Step, state: str, sentence: str = "", evidence: Sequence[dict[str, str]] = ()
) -> None:
    """End a step with what was found; renews the lease. Raises `Overtaken`."""
    with transaction.atomic():
        hold(lease)
        Step.objects.filter(pk=step.pk).update(
            state=state, sentence=sentence[:500], evidence=list(evidence), ended_at=Now()
        )
