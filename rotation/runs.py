"""Requests for work on a host, and their cancelling. The row is the job.

With `leases`, which is for whoever does the work, the only writer of runs and steps.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation.models import Instance, Run, Step
from secrets_app import audit, lifecycle, policies, versions
from secrets_app.models import Label, Principal, Secret, SecretVersion
from secrets_app.plaintext import Plaintext

Action = policies.Action


class InProgress(Exception):
    """Your secret is being rotated, please try again later."""


class TooLate(Exception):
    """The host was told a new value, so this cannot be stopped any more; the message says what to do."""


class NotRotatable(Exception):
    """This secret cannot be rotated now; the message says why and what to do."""


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
            return _hurried(active, is_leak=is_leak)
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


def _hurried(run: Run, *, is_leak: bool = False) -> Run:
    """Let a run that waits go on now: somebody asks for it. One that is asked for after a leak goes first."""
    Run.objects.filter(pk=run.pk, state=Run.State.WAITING).update(due_at=Now())
    if is_leak and not run.is_leak:
        Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE).update(is_leak=True)
        run.is_leak = True
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
