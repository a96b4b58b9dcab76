"""End a run on request: at once if nothing was sent to its host, else when it is known which value works."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation import runs
from rotation.models import Run, Step
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Label, Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import versions


class TooLate(DomainError):
    """The host was told a new value, so this cannot be stopped any more; the message says what to do."""

    code = "run_past_cancelling"


def cancel(run: Run, *, actor: Principal) -> None:
    """End a run of a secret, until its host is told. Raises `TooLate` or `decisions.NotAllowed`."""
    decisions.require(actor, Action.ROTATE_SECRET, run.secret)
    sent = "Nothing was sent to the instance."
    if run.kind == Run.Kind.DEPENDANTS:
        sent = "Dependants that were updated before keep the current value."
    _cancel(run, actor=actor, sentence=f"Cancelled by {actor.name}. {sent}")


def _cancel(run: Run, *, actor: Principal, sentence: str) -> None:
    """End a run that has sent nothing to its host. Raises `TooLate`.

    A worker that carries the run is overtaken at its next write, which comes before it sends the value to the
    host. A value that was stored for the run is dropped.
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
                "This run has sent a new value to the instance, or has ended. It continues until it is known "
                "which value works."
            )
        Step.objects.filter(run=run, state=Step.State.RUNNING).update(
            state=Step.State.BROKEN, ended_at=Now(), sentence="Cancelled."
        )
        # Read after the update: a worker may have stored the value just before it.
        pending = run.secret.labelled(Label.Role.PENDING) if run.secret else None
        if pending and not pending.offered_at:
            versions.drop_pending(pending)
        trail.record(
            Run.ENDED_EVENTS[Run.Kind(run.kind)],
            run.secret or run.instance,
            actor=actor,
            details={"run": str(run.pk), "outcome": Run.Outcome.CANCELLED.value},
        )


def stop_all(secret: Secret, *, actor: Principal, sentence: str) -> None:
    """Leave nothing under way for a secret that is about to go. Raises `TooLate`.

    If a value was sent to a host, the host must first be asked which value it accepts: after that, the
    deletion loses no value that is needed to log in.
    """
    with transaction.atomic(), trail.at_the_end():
        for run in secret.runs.active().select_related("secret__region", "secret__account"):
            try:
                _cancel(run, actor=actor, sentence=sentence)
            except TooLate:
                raise TooLate(
                    "A rotation of this secret has sent a new value to the instance and is not "
                    "finished. Delete "
                    "the secret when that run has ended, or choose Resolve if the instance will not "
                    "come back."
                ) from None
        pending = secret.labelled(Label.Role.PENDING)
        if pending and pending.offered_at and not pending.dead_at:
            raise TooLate(
                "The instance may have a new value that is not verified yet. Rotate once, so that it is "
                "known which value works, or choose Resolve if the instance will not come back; then delete."
            )


def give_up(secret: Secret, *, actor: Principal, code: str, sentence: str) -> None:
    """End what is under way because a person says how things stand; which value works is unknown.

    Raises `runs.InProgress` while a worker is at it.
    """
    at_work = secret.runs.filter(state=Run.State.RUNNING, leased_until__gt=Now())
    if at_work.exists():
        raise runs.InProgress("A worker is connected to the instance. Try again in a minute.")
    for run in secret.runs.active():
        ended = Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE, lease=run.lease).update(
            state=Run.State.ENDED,
            outcome=Run.Outcome.FAILED,
            truth=Run.Truth.UNKNOWN,
            code=code,
            sentence=sentence[:500],
            ended_at=Now(),
            lease=F("lease") + 1,
            leased_until=None,
        )
        if not ended:
            raise runs.InProgress("A worker has taken this up just now. Try again in a minute.")
        Step.objects.filter(run=run, state=Step.State.RUNNING).update(
            state=Step.State.BROKEN, ended_at=Now(), sentence="Given up."
        )
        trail.record(
            Run.ENDED_EVENTS[Run.Kind(run.kind)],
            secret,
            actor=actor,
            outcome="failed",
            details={"run": str(run.pk), "outcome": "failed", "truth": "unknown", "code": code},
        )
