"""The right to work on a run, and what is written under it: evidence, waits, the end.

Whoever works on a run holds a lease with a number that only grows; every write names that number, so
a worker that was overtaken writes nothing. Times that decide who may work are the database's, never a
worker's. With `runs`, which takes requests, the only writer of runs and steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, F, Func, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from rotation import reasons, shutdown
from rotation.models import Instance, Run, Step
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.integrity import restores
from secrets_app.models import Principal, Region

DIED = "The worker did not come back; another one went on."
REGION_FULL = "region_full"  # the code of a run that waits for others of its region


class Overtaken(DomainError):
    """Another worker has this run now; what this one knows is worth nothing any more."""

    code = "run_overtaken"


class HandedBack(Overtaken):
    """This worker is asked to end, and has given the run up between two steps; another one goes on."""

    code = "run_handed_back"


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until it is taken over."""

    run_id: UUID
    number: int
    worker: str
    length: timedelta  # each write under it holds it for so long again


# ---------------------------------------------------------------- whose turn it is


class _IsActive(Func):
    """That a run has not ended, in the very words of the index `run_active`.

    SQLite uses an index of some rows only where a query names that condition literally.
    """

    template = "%(expressions)s IN ('queued', 'running', 'waiting')"
    output_field = BooleanField()


def _active() -> QuerySet[Run]:
    return Run.objects.filter(_IsActive(F("state"))).order_by()


def _takeable() -> Q:
    return Q(state__in=[Run.State.QUEUED, Run.State.WAITING], due_at__lte=Now()) | Q(
        state=Run.State.RUNNING, leased_until__lte=Now()
    )


def _under_way() -> QuerySet[Run]:
    return _active().filter(state=Run.State.RUNNING, leased_until__gt=Now())


def _free() -> QuerySet[Run]:
    """Runs that a worker may take up now: due, on an instance where no other one is under way."""
    free = _active().filter(_takeable()).exclude(instance__in=_under_way().values("instance"))
    if restores.under_way() is not None:
        # They stay where they are, and take nobody's place among those that are returned.
        free = free.exclude(kind__in=[Run.Kind.ROTATE, Run.Kind.RECONCILE])
    return free


def _crowds() -> Counter[UUID]:
    """How many runs are under way in each region."""
    return Counter(_under_way().values_list("instance__region_id", flat=True))


def _full_regions() -> list[UUID]:
    return [region for region, count in _crowds().items() if count >= settings.RUNS_PER_REGION]


def due(limit: int) -> list[UUID]:
    """Return runs that somebody should take up: leaked ones first, then the oldest."""
    runs = _free().filter(Q(is_leak=True) | ~Q(instance__region__in=_full_regions()))
    return list(runs.order_by("-is_leak", "due_at").values_list("pk", flat=True)[:limit])


def urgent() -> UUID | None:
    """Return the run to take up before all others, if any: the oldest one whose old value has leaked."""
    return _free().filter(is_leak=True).order_by("due_at").values_list("pk", flat=True).first()


def next_on(instance_id: UUID) -> UUID | None:
    """Return the run that waits for this instance to become free, if any."""
    waiting = Run.objects.filter(_takeable(), instance_id=instance_id)
    return waiting.order_by("-is_leak", "due_at").values_list("pk", flat=True).first()


def next_beside(instance_id: UUID) -> list[UUID]:
    """Return the runs that waited for a place in this instance's region and have one now, oldest first."""
    region = Instance.objects.values_list("region_id", flat=True).get(pk=instance_id)
    places = max(0, settings.RUNS_PER_REGION - _crowds()[region])
    waiting = _free().filter(code=REGION_FULL, instance__region=region)
    return list(waiting.order_by("due_at").values_list("pk", flat=True)[:places])


# ---------------------------------------------------------------- taking up and giving back


def claim(run_id: UUID, worker: str, *, lease: timedelta | None = None) -> Lease | None:
    """Take up a run that is due and that nobody works on; None where there is nothing to do.

    One host is talked to by one worker at a time, and one region by as many as its limit says: a run for
    which there is no place stays queued. Of two claimants at once the loser gets None and waits for nothing.
    """
    # Most messages that come twice end here, before anything is locked.
    if shutdown.is_under_way() or not Run.objects.filter(_takeable(), pk=run_id).exists():
        return None
    length = lease or settings.LEASE
    with transaction.atomic():
        run = _locked(run_id)
        if run is None or not _has_place(run):
            return None
        waited = {"code": "", "sentence": ""} if run.code == REGION_FULL else {}
        Run.objects.filter(pk=run_id).update(
            state=Run.State.RUNNING,
            lease=F("lease") + 1,
            leased_until=Now() + length,
            worker=worker,
            tries=F("tries") + 1,
            started_at=Coalesce(F("started_at"), Now()),
            **waited,
        )
        _break_steps(run_id, DIED)
    return Lease(run_id, run.lease + 1, worker, length)


def _locked(run_id: UUID) -> Run | None:
    """Lock the instance, then its run, and return it if it may still be taken up.

    Weaker than a row that goes: a new run, which names the instance, need not wait. On SQLite the
    transaction itself keeps every other writer out.
    """
    instances = Instance.objects.select_for_update(skip_locked=True, no_key=True)
    where = Run.objects.filter(pk=run_id).values("instance")
    if instances.filter(pk__in=where).first() is None:
        return None
    runs = Run.objects.select_for_update(skip_locked=True, no_key=True)
    return runs.filter(_takeable(), pk=run_id).first()


def _has_place(run: Run) -> bool:
    if _under_way().filter(instance=run.instance_id).exists():
        return False
    if run.is_leak:
        return True
    region = Instance.objects.values_list("region_id", flat=True).get(pk=run.instance_id)
    # Counted by one claimant of a region at a time; nobody holds this row for longer than a claim.
    Region.objects.select_for_update(no_key=True).get(pk=region)
    if _crowds()[region] < settings.RUNS_PER_REGION:
        return True
    Run.objects.filter(pk=run.pk).exclude(code=REGION_FULL).update(
        code=REGION_FULL,
        sentence=reasons.sentence(REGION_FULL, settings.RUNS_PER_REGION),
    )
    return False


def _break_steps(run_id: UUID, sentence: str) -> None:
    Step.objects.filter(run_id=run_id, state=Step.State.RUNNING).update(
        state=Step.State.BROKEN, ended_at=Now(), sentence=sentence
    )


def hand_back(lease: Lease, why: str = "The worker was stopped; another one goes on.") -> bool:
    """End the lease so that another worker can go on at once; False where it was not held any more.

    The number grows, so that whoever holds it still is overtaken from now on.
    """
    with transaction.atomic():
        held = Run.objects.filter(pk=lease.run_id, lease=lease.number, state=Run.State.RUNNING)
        if not held.update(lease=F("lease") + 1, leased_until=Now()):
            return False
        _break_steps(lease.run_id, why)
    return True


def hand_back_own(process: str) -> list[UUID]:
    """Hand back every run of this process, whose workers' names begin with `process`/; return those runs."""
    return [run.pk for run in _held_by(process) if hand_back(_lease_of(run))]


def hand_back_orphans(host: str, is_alive: Callable[[int], bool]) -> int:
    """End the leases of workers of this `host` whose process is gone, without waiting for their time.

    Safe even where `is_alive` is wrong: a worker that lives after all finds itself overtaken, and the
    generation on the host refuses what it still has under way. Returns how many were handed back.
    """
    back = 0
    for run in _held_by(host):
        pid = run.worker.removeprefix(f"{host}/").partition("/")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            back += hand_back(_lease_of(run), DIED)
    return back


def _held_by(worker: str) -> QuerySet[Run]:
    return _under_way().filter(worker__startswith=f"{worker}/")


def _lease_of(run: Run) -> Lease:
    return Lease(run.pk, run.lease, run.worker, timedelta())


# ---------------------------------------------------------------- under a lease


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
        trail.record(
            Run.ENDED_EVENTS[Run.Kind(run.kind)],
            run.secret or run.instance,
            actor=actor or run.requested_by,
            outcome="succeeded" if outcome == Run.Outcome.SUCCEEDED else "failed",
            version_id=run.version.version_id if run.version else "",
            details={"run": str(run.pk), "outcome": outcome, "truth": truth, "code": code},
        )


# ---------------------------------------------------------------- steps


def begin(lease: Lease, name: str) -> Step:
    """Start a step; renews the lease. Raises `Overtaken`; hands the run back where this worker is to end."""
    if shutdown.is_under_way():
        hand_back(lease)
        raise HandedBack
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
