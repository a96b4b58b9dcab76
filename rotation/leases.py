"""The right to work on a run, and what is written under it: evidence, waits, the end.

Whoever works on a run holds a lease with a number that only grows; every write names that number, so
a worker that was overtaken writes nothing. Times that decide who may work are the database's, never a
worker's. With `runs`, which takes requests, the only writer of runs and steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from rotation.models import Instance, Run, Step
from secrets_app import audit
from secrets_app.models import Principal


class Overtaken(Exception):
    """Another worker has this run now; what this one knows is worth nothing any more."""


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until it is taken over."""

    run_id: UUID
    number: int
    worker: str
    length: timedelta  # each write under it holds it for so long again


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
