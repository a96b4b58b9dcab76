"""The right to work on a run, and what is written under it: evidence, waits, the end.

A worker holds a lease on its run, with a number that only grows. Every write names that number, so a worker
that was overtaken writes nothing. Only the database's time decides who may work, never a worker's. With
`runs`, which takes requests, the only writer of runs and steps.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    UUIDField,
    Value,
)
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import Exact, GreaterThan

from rotation import reasons, shutdown
from rotation.models import Instance, Run, Step
from secrets_app import prepared
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.integrity import restores
from secrets_app.models import Principal, Region

DIED = "The worker did not come back; another one went on."
REGION_FULL = "region_full"  # the code of a run that waits for others of its region
CALLERS = 8  # runs of a region that end at once, and call the next ones
_NO_LIMIT = 2**30
SOON = 1.0  # seconds since the lease was renewed, within which the end of a step need not be written
LEFT_OFTEN = 5  # tries after which a run that was left behind goes before no other
NEAREST = 100  # waiting runs that are looked at first


class Overtaken(DomainError):
    """Another worker has this run now; what this one knows is worth nothing any more."""

    code = "run_overtaken"


class HandedBack(Overtaken):
    """This worker is asked to end, and has given the run up between two steps; another one goes on."""

    code = "run_handed_back"


@dataclass
class Progress:
    """The steps of a run as the holder of its lease knows them: no other worker writes them meanwhile."""

    number: int | None = None  # of the last step; None where that was not counted yet
    begun: Step | None = None  # began with the end of what came before; nothing was done in it
    kept: list[Step] = field(default_factory=list)  # written with the next thing that is
    is_sure: bool = True  # that the lease was held when the step began
    renewed: float = field(default_factory=time.monotonic)  # by this worker's clock


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until it is taken over."""

    run_id: UUID
    number: int
    worker: str
    length: timedelta  # each write under it holds it for so long again
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)
    run: Run | None = field(
        default=None, compare=False, repr=False
    )  # as it was taken up, by the store's clock
    taken_at: datetime | None = field(default=None, compare=False)
    arrived: int = field(default=0, compare=False)  # the highest number that its host is known to have had


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


def _urgent() -> Q:
    """Of takeable runs: the ones to take up before others.

    Those whose old value has leaked, and those that a worker left behind: on its host either value may be
    valid, and their message is lost or stands at the end of a long queue. One that has been left behind
    often, perhaps because it kills its workers, waits its turn.
    """
    return Q(is_leak=True) | Q(state=Run.State.RUNNING, tries__lt=LEFT_OFTEN)


def _under_way() -> QuerySet[Run]:
    return _active().filter(state=Run.State.RUNNING, leased_until__gt=Now())


def _free() -> QuerySet[Run]:
    """Runs that a worker may take up now: due, on an instance where no other one is under way."""
    free = _active().filter(_takeable()).exclude(instance__in=_under_way().values("instance"))
    if restores.under_way() is not None:
        # They stay in the queue, and take no place among those that are returned.
        free = free.exclude(kind__in=[Run.Kind.ROTATE, Run.Kind.RECONCILE, Run.Kind.DEPENDANTS])
    return free


def _held(run_id: UUID, number: int) -> QuerySet[Run]:
    """The run, if the lease of this number is still its last one."""
    return Run.objects.filter(pk=run_id, lease=number, state=Run.State.RUNNING)


def _arrived() -> Subquery:
    """The highest number that a run's host is known to have had, of an attempt that arrived; or None."""
    done = Run.objects.filter(
        Q(outcome=Run.Outcome.SUCCEEDED) | Q(truth=Run.Truth.NEW),
        secret=OuterRef("secret"),
        kind__in=[Run.Kind.ROTATE, Run.Kind.RECONCILE],
    )
    return Subquery(done.order_by("-generation").values("generation")[:1])


# What each run asks some times, and many workers ask of many runs.
# With all that the work on it needs, so that nothing is read a second time.
_RUN_LOCKED = prepared.Question(
    lambda run: (
        # Later steps compare times of these rows with the store's clock, and ask it no more for that.
        Run.objects.annotate(taken_at=Now(), arrived=_arrived())
        .select_for_update(of=("self", "instance"), skip_locked=True, no_key=True)
        .filter(_takeable(), pk=run)
        .select_related(
            "secret__managed",
            "secret__region",
            "secret__account",
            "secret__key",
            "instance__credential__sealed",
            "instance__own_login",
            "instance__region",
            "instance__account",
            "version",
            "requested_by",
        )
    )
)
_REGION_LOCKED = prepared.Question(
    lambda region: Region.objects.select_for_update(no_key=True).filter(pk=region)
)
_UNDER_WAY = prepared.Question(lambda instance: _under_way().filter(instance=instance).values_list("pk")[:1])
_REGIONS_OF_RUNNING = prepared.Question(lambda: _under_way().values_list("instance__region_id"))
_FIRST = prepared.Question(
    lambda run: Run.objects.filter(pk=run).values_list(
        Exists(Run.objects.filter(_takeable(), pk=run)),
        Exists(_active().filter(_takeable(), _urgent())),
    )
)
_BEHIND = prepared.Question(
    lambda instance: Instance.objects.filter(pk=instance).values_list(
        "region_id",
        Subquery(
            _active()
            # By an expression that no index knows: SQLite would otherwise read every run that it ever had.
            .filter(
                _takeable(), Exact(Coalesce("instance_id", "instance_id", output_field=UUIDField()), instance)
            )
            .order_by("-is_leak", "due_at")
            .values("pk")[:1]
        ),
        Exists(_active().filter(_takeable(), code=REGION_FULL)),
    )
)
_STILL_HELD = prepared.Question(
    lambda run, number: _held(run, number).filter(leased_until__gt=Now()).values_list("pk")
)
_RENEW = prepared.Change(lambda run, number, length: (_held(run, number), {"leased_until": Now() + length}))


def _renews(*names: str, **more: object) -> prepared.Change:
    """As `_RENEW`, with new values of the columns `names`, and those of `more`, which are always the same."""
    return prepared.Change(
        lambda run, number, length, *values: (
            _held(run, number),
            {"leased_until": Now() + length, **dict(zip(names, values, strict=True)), **more},
        )
    )


_SAID = ("state", "outcome", "truth", "code", "sentence")  # at the end of a run
# What each rotation writes under its lease, by the names of its columns.
_RENEWALS = {
    ("version_id",): _renews("version_id"),
    ("attempts", "generation"): _renews("attempts", "generation"),
    (*_SAID, "ended_at"): _renews(*_SAID, ended_at=Now()),
}
_ADD_STEP = prepared.Row(Step)
_STEPS = prepared.RowsOrEnds(
    Step, ends=Step.WRITTEN_AT_ITS_END, moments=("created_at", "started_at", "ended_at")
)
_TAKE = prepared.Change(
    lambda run, instance, region, places, worker, length: (
        Run.objects.filter(~Exists(_under_way().filter(instance=instance)), pk=run).filter(
            GreaterThan(Value(places), _under_way_in(region))
        ),
        {
            "state": Run.State.RUNNING,
            "lease": F("lease") + 1,
            "leased_until": Now() + length,
            "worker": worker,
            "tries": F("tries") + 1,
            "started_at": Coalesce(F("started_at"), Now()),
        },
    )
)


def _under_way_in(region: UUID) -> Coalesce:
    """How many runs are under way in a region, as an expression."""
    there = _under_way().filter(instance__region=region).values("instance__region")
    return Coalesce(Subquery(there.annotate(number=Count("pk")).values("number")), 0)


def _crowds() -> Counter[UUID]:
    """How many runs are under way in each region."""
    return Counter(region for (region,) in _REGIONS_OF_RUNNING())


def _turns() -> list[tuple[UUID, bool]]:
    """Runs that may be taken up, in the order of their turns, and whether their region has a place for each.

    Leaked ones first. Then one of each instance, which is talked to by one worker at a time, and among those
    the ones whose region has the least under way: neither an instance nor a region with much that is due
    keeps the others waiting. Between equals the oldest.
    """
    crowds, instances = _crowds(), set[UUID]()
    turns: list[tuple[int, UUID, bool]] = []
    # Sorted out here and not by a window in SQL, for which SQLite would read every run that has ended.
    free = _free().order_by("-is_leak", "due_at", "pk")
    for pk, is_leak, instance, region in free.values_list("pk", "is_leak", "instance_id", "instance__region"):
        if instance in instances:
            continue
        instances.add(instance)
        if not is_leak:
            crowds[region] += 1
        turns.append((0 if is_leak else crowds[region], pk, is_leak or crowds[region] <= _places()))
    turns.sort(key=lambda turn: turn[0])
    return [(pk, has_place) for _, pk, has_place in turns]


def _places() -> int:
    places: int = settings.RUNS_PER_REGION
    return places


def due(limit: int) -> list[UUID]:
    """Return runs that a worker should take up now, in the order of their turns, one of each instance."""
    return [pk for pk, has_place in _turns() if has_place][:limit]


def line_up(added: Collection[UUID]) -> list[UUID]:
    """Return those of `added`, new runs, that a worker should take up now; the others are called later.

    The ones for which their region has no place say so, and are called when it has one.
    """
    wanted = set(added)
    turns = [(pk, has_place) for pk, has_place in _turns() if pk in wanted] if wanted else []
    if turned_away := [pk for pk, has_place in turns if not has_place]:
        _turn_away(Run.objects.filter(pk__in=turned_away, state=Run.State.QUEUED))
    return [pk for pk, has_place in turns if has_place]


def first(run_id: UUID) -> tuple[bool, bool]:
    """Return whether this run may be taken up, and whether one is due that goes before all others.

    Most messages that come twice end here, before anything is locked.
    """
    for is_takeable, has_urgent in _FIRST(run_id):
        return bool(is_takeable), bool(has_urgent)
    return False, False


def urgent() -> UUID | None:
    """Return the run to take up before all others, if any: the oldest one whose old value has leaked.

    If there is none, the oldest one that a worker left behind.
    """
    free = _free().filter(_urgent()).order_by("-is_leak", "due_at")
    return free.values_list("pk", flat=True).first()


def behind(instance_id: UUID) -> list[UUID]:
    """Return the runs to call now that this instance is free: its own next one, and one that had no place.

    A run that waits for a place in the instance's region is returned to one caller: it was called then and
    does not wait any more, until it is turned away again.
    """
    called = []
    for region, following, has_turned_away in _BEHIND(instance_id):
        called = [following, _next_in(region) if has_turned_away else None]
    return [pk for pk in dict.fromkeys(called) if pk]


def _next_in(region: UUID) -> UUID | None:
    """Call the run that has waited longest for a place in this region, if it has one now."""
    if _crowds()[region] >= _places():
        return None
    # The region is compared here: SQLite would otherwise read every run of its instances.
    waiting = _free().filter(code=REGION_FULL).order_by("due_at").values_list("pk", "instance__region")
    # Thousands may wait, and each end asks: all are read only where the oldest are other regions'.
    rows = list(waiting[:NEAREST])
    if len(rows) == NEAREST and all(place != region for _, place in rows):
        rows = list(waiting)
    for pk in [pk for pk, place in rows if place == region][:CALLERS]:
        mine = Run.objects.filter(pk=pk, state__in=Run.ACTIVE, code=REGION_FULL)
        if mine.update(code="", sentence=""):
            return pk
    return None


# ---------------------------------------------------------------- taking up and giving back


def claim(run_id: UUID, worker: str, *, lease: timedelta | None = None) -> Lease | None:
    """Take up a run that is due and that no worker has; return None if there is nothing to do.

    One host is talked to by one worker at a time, and one region by as many as its limit says: a run for
    which there is no place stays queued. Of two claimants at once the loser gets None and waits for nothing.
    """
    if shutdown.is_under_way():
        return None
    length = lease or settings.LEASE
    with transaction.atomic():
        # Weaker than a row that goes: a new run, which names the instance, need not wait. On SQLite the
        # transaction itself keeps every other writer out.
        run: Any = _RUN_LOCKED.first(run_id)
        if run is None or not _take(run, worker, length):
            return None
        if run.code == REGION_FULL:
            run.code = run.sentence = ""
            Run.objects.filter(pk=run_id).update(code="", sentence="")
        if run.lease:
            _break_steps(run_id, DIED)
    # A run that no worker had before has no steps.
    progress = Progress(number=None if run.lease else 0)
    run.state, run.worker, run.lease, run.tries = Run.State.RUNNING, worker, run.lease + 1, run.tries + 1
    return Lease(run_id, run.lease, worker, length, progress, run, run.taken_at, run.arrived or 0)


def _take(run: Run, worker: str, length: timedelta) -> bool:
    """Mark a locked run as taken up, if its instance is free and its region has a place.

    Both are asked by the change itself: what the lock waited for has committed then, and counts.
    """
    instance, region = run.instance, run.instance.region_id
    if not run.is_leak and connection.features.has_select_for_update:
        # Counted by one claimant of a region at a time; no process holds this row for longer than a claim.
        (_,) = _REGION_LOCKED(region)
    if _TAKE(run.pk, instance.pk, region, _NO_LIMIT if run.is_leak else _places(), worker, length):
        return True
    if not _UNDER_WAY(instance.pk):
        _turn_away(Run.objects.filter(pk=run.pk))
    return False


def _turn_away(turned: QuerySet[Run]) -> None:
    sentence = reasons.sentence(REGION_FULL, _places())
    turned.exclude(code=REGION_FULL).update(code=REGION_FULL, sentence=sentence)


def _break_steps(run_id: UUID, sentence: str) -> None:
    Step.objects.filter(run_id=run_id, state=Step.State.RUNNING).update(
        state=Step.State.BROKEN, ended_at=Now(), sentence=sentence
    )


def hand_back(lease: Lease, why: str = "The worker was stopped; another one goes on.") -> bool:
    """End the lease so that another worker can go on at once; False where it was not held any more.

    The number grows, so a worker that still holds the lease is overtaken from now on.
    """
    with transaction.atomic():
        held = Run.objects.filter(pk=lease.run_id, lease=lease.number, state=Run.State.RUNNING)
        if not held.update(lease=F("lease") + 1, leased_until=Now()):
            return False
        _break_steps(lease.run_id, why)
    return True


class _Left:
    """Leases of this process whose work was ended by a lost connection to the database."""

    leases: list[Lease] = []


def leave(lease: Lease, error: BaseException) -> None:
    """Remember a lease whose work `error` has ended, if it did so by losing the database.

    Nothing can be written then. For any other error the lease runs out, so that what fails each time is not
    tried every few seconds.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OperationalError | InterfaceError):
        cause = cause.__cause__
    if cause is not None and not connection.is_usable():
        _Left.leases.append(lease)


def hand_back_left() -> list[UUID]:
    """Hand back the runs that were left, and return them. One that the database does not take stays left."""
    back = []
    while _Left.leases:
        lease = _Left.leases[-1]
        if hand_back(lease, "The database was away; a worker goes on."):
            back.append(lease.run_id)
        _Left.leases.remove(lease)
    return back


def hand_back_own(process: str) -> list[UUID]:
    """Hand back every run of this process, whose workers' names begin with `process`/; return those runs."""
    return [run.pk for run in _held_by(process) if hand_back(_lease_of(run))]


def hand_back_orphans(host: str, is_alive: Callable[[int], bool]) -> list[UUID]:
    """End the leases of workers of this `host` whose process is gone, without waiting for their time.

    Safe even where `is_alive` is wrong: a worker that lives after all finds itself overtaken, and the
    generation on the host refuses what it still has under way. Returns the runs that were handed back.
    """
    back = []
    for run in _held_by(host):
        pid = run.worker.removeprefix(f"{host}/").partition("/")[0]
        if pid.isdigit() and not is_alive(int(pid)) and hand_back(_lease_of(run), DIED):
            back.append(run.pk)
    return back


def _held_by(worker: str) -> QuerySet[Run]:
    return _under_way().filter(worker__startswith=f"{worker}/")


def _lease_of(run: Run) -> Lease:
    return Lease(run.pk, run.lease, run.worker, timedelta())


# ---------------------------------------------------------------- under a lease


def hold(lease: Lease, **fields: Any) -> None:
    """Renew the lease and write `fields`, if it is still held. Raises `Overtaken`.

    Steps that were kept are written in the same transaction.
    """
    with _together() if lease.progress.kept else nullcontext():
        _renew(lease, fields)
        _write_kept(lease)


def _together() -> AbstractContextManager[object]:
    """A transaction, or the caller's own, without a savepoint: no code here rolls back to one."""
    return nullcontext() if connection.in_atomic_block else transaction.atomic()


def _renew(lease: Lease, fields: Mapping[str, Any]) -> None:
    began = time.monotonic()
    of_lease = (lease.run_id, lease.number, lease.length)
    if not fields:
        held = _RENEW(*of_lease)
    elif renew := _RENEWALS.get(tuple(fields)):
        held = renew(*of_lease, *(value for value in fields.values() if not isinstance(value, Now)))
    else:
        held = _held(lease.run_id, lease.number).update(leased_until=Now() + lease.length, **fields)
    if not held:
        raise Overtaken
    lease.progress.renewed, lease.progress.is_sure = began, True


def sure(lease: Lease) -> None:
    """Return if this worker still holds the lease; asked once in a step that began without a write.

    Call it before a host is asked or told something. Raises `Overtaken`.
    """
    if not lease.progress.is_sure:
        note_sure(lease, is_held=_still_held(lease))


def note_sure(lease: Lease, *, is_held: bool) -> None:
    """As `sure`, for a caller that has asked together with something else. Raises `Overtaken`.

    A lease that ran out within a step is renewed, if no other worker took it: a slow host is no other worker.
    """
    if not is_held:
        if not lease.progress.is_sure:
            raise Overtaken
        hold(lease)
    lease.progress.is_sure = True


def is_held(run_id: UUID, number: int) -> Exists:
    """Whether the lease of this number is held, as an expression for a query about something else."""
    return Exists(_held(run_id, number).filter(leased_until__gt=Now()))


def _still_held(lease: Lease) -> bool:
    """Whether this worker still holds the lease; does not renew it."""
    return bool(_STILL_HELD(lease.run_id, lease.number))


def wait(lease: Lease, delay: timedelta, *, code: str, sentence: str) -> None:
    """Give the lease back and have the run taken up again after `delay`. Raises `Overtaken`."""
    with _together():
        hold(
            lease,
            state=Run.State.WAITING,
            due_at=Now() + delay,
            waits=F("waits") + 1,
            code=code,
            sentence=sentence[:500],
        )
        _leave_begun(lease, sentence)


def end(
    lease: Lease,
    outcome: str,
    *,
    actor: Principal | None = None,
    truth: str = "",
    code: str = "",
    sentence: str = "",
    known: Run | None = None,
    with_it: Callable[[], object] = lambda: None,
) -> None:
    """End the run, once, with its one terminal event. Raises `Overtaken`.

    `known` is the run as the caller has it, with what it belongs to and the version that it is about.
    `with_it` is done under the lease and before the event, in the same transaction.
    """
    with _together():
        hold(
            lease,
            state=Run.State.ENDED,
            outcome=outcome,
            truth=truth,
            code=code,
            sentence=sentence[:500],
            ended_at=Now(),
        )
        _leave_begun(lease, sentence)
        with_it()
        related = ("secret__account", "secret__region", "instance__account", "instance__region")
        run = known or Run.objects.select_related(*related, "version", "requested_by").get(pk=lease.run_id)
        trail.record(
            Run.ENDED_EVENTS[Run.Kind(run.kind)],
            run.secret or run.instance,
            actor=actor or run.requested_by,
            outcome="succeeded" if outcome == Run.Outcome.SUCCEEDED else "failed",
            version_id=run.version.version_id if run.version else "",
            details={"run": str(run.pk), "outcome": outcome, "truth": truth, "code": code},
        )


# ---------------------------------------------------------------- steps


def go_on(lease: Lease) -> None:
    """Return if this worker may begin something; hands the run back where it is to end.

    Call it before a transaction, which would take that back. Raises `HandedBack`.
    """
    if shutdown.is_under_way():
        if lease.progress.kept:
            hold(lease)
        hand_back(lease)
        raise HandedBack


def begin(lease: Lease, name: str) -> Step:
    """Start a step, or go on with the one that was begun; renews the lease where it starts one.

    Of one that was begun, `sure` says whether the lease is still held. Raises `Overtaken`; hands the run back
    where this worker is to end.
    """
    go_on(lease)
    begun = lease.progress.begun
    if begun is not None and begun.name == name:
        lease.progress.begun, lease.progress.is_sure = None, False
        return begun
    with _together():
        hold(lease)
        _leave_begun(lease, "Nothing was done in it.")
        step = _next(lease, name)
        _ADD_STEP(step)
        return step


def _next(lease: Lease, name: str) -> Step:
    if lease.progress.number is None:
        lease.progress.number = Step.objects.filter(run_id=lease.run_id).count()
    lease.progress.number += 1
    number = lease.progress.number
    step = Step(run_id=lease.run_id, number=number, name=name, worker=lease.worker, lease=lease.number)
    step.began = time.monotonic()
    return step


def begin_with(lease: Lease, name: str) -> None:
    """Start the step that comes next, written when the lease is next held; `begin` goes on with it."""
    lease.progress.begun = _next(lease, name)
    lease.progress.kept.append(lease.progress.begun)


def passed(lease: Lease, name: str, sentence: str, *, then: str = "") -> None:
    """Keep a step that is done as it begins; it is written when the lease is next held.

    `then` names the step that starts with it.
    """
    step = _next(lease, name)
    step.state, step.sentence = Step.State.DONE, sentence[:500]
    lease.progress.kept.append(step)
    if then:
        begin_with(lease, then)


def _leave_begun(lease: Lease, sentence: str) -> None:
    """End a step that was begun with what came before it, and in which nothing was done after all."""
    begun, lease.progress.begun = lease.progress.begun, None
    if begun is not None and not begun._state.adding:
        begun.state, begun.sentence = Step.State.FAILED, sentence[:500]
        _write_end(begun)


def _write_kept(lease: Lease) -> None:
    """Write the steps that were kept, new ones and the ends of others, together."""
    kept, lease.progress.kept = lease.progress.kept, []
    if kept:
        now = time.monotonic()
        _STEPS.write(
            kept,
            [
                # By the database's clock, which is asked only now. Of a row that stands in the store only the
                # end is written.
                {
                    "created_at": 0.0,
                    "started_at": now - step.began if step._state.adding else 0.0,
                    "ended_at": 0.0 if step.state != Step.State.RUNNING else None,
                }
                for step in kept
            ],
        )


def _write_end(step: Step) -> None:
    Step.objects.filter(pk=step.pk).update(
        state=step.state, sentence=step.sentence, evidence=step.evidence, ended_at=Now()
    )


def finish(
    lease: Lease,
    step: Step,
    state: str,
    sentence: str = "",
    evidence: Sequence[dict[str, str]] = (),
    *,
    then: str = "",
    is_soon: bool = False,
) -> None:
    """End a step with what was found, and start the one that comes `then`; renews the lease.

    Within `SOON`, and if `is_soon` allows it, both are written with what follows. A worker that is to end
    starts nothing. Raises `Overtaken`.
    """
    keep(lease, step, state, sentence, evidence)
    starts = then and not shutdown.is_under_way()
    if starts and is_soon and time.monotonic() - lease.progress.renewed < SOON:
        lease.progress.begun = _next(lease, then)
        return
    if starts:
        begin_with(lease, then)
    hold(lease)


def keep(
    lease: Lease, step: Step, state: str, sentence: str = "", evidence: Sequence[dict[str, str]] = ()
) -> None:
    """End a step with what was found, which is written with the next thing that is written under the lease.

    For a step after which that comes at once. A worker that dies before leaves a step that broke off, and
    the next one asks the host.
    """
    step.state, step.sentence, step.evidence = state, sentence[:500], list(evidence)
    lease.progress.kept.append(step)
