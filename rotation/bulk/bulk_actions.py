"""The only writer of bulk actions and their rows.

The rows are frozen when the user confirms: ids, and not the filter that found them. A worker carries out a
few at a time, each in a transaction of its own that does the deed and marks the row. A worker may die between
any two lines: the next one continues with the rows that are not marked, so no row is done twice and none is
left out. Its user may pause it and cancel what has not begun. Rights are decided for each row when its turn
comes, with the facts of the request that confirmed.

Knows what is done to one row as `deeds.do`; reads no request and sends no message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from rotation import cancelling, runs, shutdown
from rotation.bulk import deeds
from rotation.models import BulkAction, BulkItem, Instance, Run
from secrets_app import actions, origin, prepared, seals
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions, requiring
from secrets_app.policy.sql import ALL

log = logging.getLogger(__name__)

MOST = 500
MOST_NEWEST = 20  # actions that each page of the console looks at
CHUNK = 25  # rows before another piece of work may have the worker
MOST_UNDER_WAY = 50  # runs of one action at once; what has not begun can be paused and cancelled
HELD_FOR = timedelta(seconds=60)  # a worker that says nothing for so long is gone

State = BulkItem.State


class TooMany(DomainError):
    """At most 500 rows at once. Narrow the filter, or select fewer rows, and repeat this for the others."""

    code = "bulk_too_many"


class NothingSelected(DomainError):
    """Select at least one row."""

    code = "bulk_nothing_selected"


class BadToken(DomainError, ValueError):
    """A bulk action needs a token of 1 to 64 characters, by which the same one twice is one."""

    code = "bulk_token_invalid"


class Over(DomainError):
    """This bulk action has ended or was cancelled. Nothing was changed."""

    code = "bulk_over"


class NotDone(DomainError):
    """An internal error prevented this. Keyturn's log has the details."""

    code = "bulk_internal_error"


class Changed(DomainError):
    """This bulk action was changed outside Keyturn, so nothing was done."""

    code = "bulk_changed_outside"


def start(
    action: str,
    ids: Sequence[UUID],
    *,
    actor: Principal,
    token: str,
    choices: Mapping[str, Any] | None = None,
) -> BulkAction:
    """Have workers do `action` to each of these secrets, or retry each of these runs, in this order.

    Rows that `actor` may not see are left out without a word. The same `token` twice is one action. Raises
    `TooMany`, `NothingSelected` or `BadToken`. Rights to the action itself are decided row by row, later.
    """
    if not 1 <= len(token) <= 64:
        raise BadToken
    if len(ids) > MOST:
        raise TooMany
    items = _items(action, list(dict.fromkeys(ids)), actor)
    if not items:
        raise NothingSelected
    where = origin.current()
    bulk = BulkAction(
        action=BulkAction.Action(action),
        requested_by=actor,
        choices=dict(choices or {}),
        targets=[_target(item) for item in items],
        token=token,
        request_id=where.request_id[:64],
        session=where.session[:64],
        address=where.address,
        is_secure=where.is_secure,
        is_mfa=where.is_mfa,
    )
    try:
        with transaction.atomic():
            bulk.save(force_insert=True)
            for number, item in enumerate(items):
                item.bulk, item.number = bulk, number
            BulkItem.objects.bulk_create(items)
            _record("kms:BulkActionStarted", bulk, actor, {"rows": len(items)})
    except IntegrityError:
        return BulkAction.objects.get(requested_by=actor, token=token)
    return bulk


def _items(action: str, ids: list[UUID], actor: Principal) -> list[BulkItem]:
    """The rows with these ids that `actor` may see, in the order of the ids."""
    if action == BulkAction.Action.RETRY:
        secret_of = dict(_seen_runs(actor).filter(pk__in=ids).values_list("pk", "secret_id"))
        return [BulkItem(retried_id=pk, secret_id=secret_of[pk]) for pk in ids if pk in secret_of]
    seen = decisions.visible(actor, Action.DESCRIBE_SECRET, decisions.secret_rows())
    found = set(Secret.objects.filter(seen, pk__in=ids).values_list("pk", flat=True))
    return [BulkItem(secret_id=pk) for pk in ids if pk in found]


def _seen_runs(actor: Principal) -> QuerySet[Run]:
    of_secrets = decisions.visible(actor, Action.DESCRIBE_RUN, decisions.secret_rows())
    of_instances = decisions.visible(actor, Action.DESCRIBE_RUN, decisions.instance_rows())
    return Run.objects.filter(
        Exists(Secret.objects.filter(of_secrets, pk=OuterRef("secret")))
        | Q(Exists(Instance.objects.filter(of_instances, pk=OuterRef("instance"))), secret=None)
    )


def _target(item: BulkItem) -> str:
    return str(item.retried_id or item.secret_id)


# ---------------------------------------------------------------- what is read


def of(actor: Principal) -> QuerySet[BulkAction]:
    """The bulk actions that `actor` confirmed, the newest first."""
    return _of(actor.pk)


def _of(pk: UUID) -> QuerySet[BulkAction]:
    return BulkAction.objects.filter(requested_by=pk).order_by("-created_at", "pk").defer("targets")


_NEWEST: prepared.Question[BulkAction] = prepared.Question(lambda pk: _of(pk)[:MOST_NEWEST])


def newest(actor: Principal) -> list[BulkAction]:
    """The first of them, which each page of the console asks for."""
    return _NEWEST(actor.pk)


_WITH_AN_ITEM = (
    "secret__region", "secret__account", "run__secret__region", "run__secret__account",
    "run__instance__region", "run__instance__account", "retried__instance__region", "retried__secret",
)  # fmt: skip
#: The rows of these keys, for any reader, with what a page shows of each.
shown_items: prepared.Several[BulkItem] = prepared.Several(
    lambda keys: BulkItem.objects.filter(pk__in=keys).select_related(*_WITH_AN_ITEM)
)


def seen_items(actor: Principal, bulks: Collection[BulkAction]) -> QuerySet[BulkItem]:
    """The rows of these actions that `actor` may see now."""
    of_secrets = decisions.visible(actor, Action.DESCRIBE_SECRET, decisions.secret_rows())
    of_instances = decisions.visible(actor, Action.DESCRIBE_INSTANCE, decisions.instance_rows())
    return BulkItem.objects.filter(bulk__in=[bulk.pk for bulk in bulks]).filter(
        Exists(Secret.objects.filter(of_secrets, pk=OuterRef("secret")))
        | Q(Exists(Instance.objects.filter(of_instances, pk=OuterRef("retried__instance"))), secret=None)
    )


def how_far(actor: Principal, bulks: Collection[BulkAction]) -> dict[UUID, tuple[int, int]]:
    """By action, how many of the rows that `actor` may see are done, and how many those are.

    A row is done when the run that was started for it has ended.
    """
    of_secrets = decisions.visible(actor, Action.DESCRIBE_SECRET, decisions.secret_rows())
    of_instances = decisions.visible(actor, Action.DESCRIBE_INSTANCE, decisions.instance_rows())
    if ALL is of_secrets is of_instances:
        counted = _HOW_FAR([bulk.pk for bulk in bulks])
    else:
        counted = list(_counted(seen_items(actor, bulks)))
    return {row["bulk"]: (row["total"] - row["left"], row["total"]) for row in counted}


def _counted(items: QuerySet[BulkItem]) -> QuerySet[Any, Any]:
    is_open = Q(state=State.WAITING) | Q(run__state__in=Run.ACTIVE)
    return items.order_by().values("bulk").annotate(total=Count("pk"), left=Count("pk", filter=is_open))


#: For those from whom no row is hidden.
_HOW_FAR: prepared.Several[dict[str, Any]] = prepared.Several(
    lambda keys: _counted(
        BulkItem.objects.filter(Q(secret__isnull=False) | Q(retried__isnull=False), bulk__in=keys)
    )
)


def note_seen(bulk: BulkAction) -> None:
    """Note that the user has looked at the result, if there is one."""
    BulkAction.objects.filter(pk=bulk.pk, ended_at__isnull=False, seen_at=None).update(seen_at=Now())


# ---------------------------------------------------------------- the work


def due() -> list[UUID]:
    """The actions with rows to do that no worker carries out now, the oldest first."""
    rows = _startable().filter(_is_free())
    return list(rows.order_by("created_at").values_list("pk", flat=True))


def behind(run_id: UUID) -> UUID | None:
    """The action that started this run, which has ended, if it has rows that may have waited for that."""
    ended = Run.objects.filter(pk=run_id, campaign__isnull=False, state=Run.State.ENDED)
    return _startable().filter(pk__in=ended.values("campaign")).values_list("pk", flat=True).first()


def carry(bulk_id: UUID, *, wake: Callable[[Run], None]) -> bool:
    """Do the next rows; True if there are more to do now and this worker should return to them.

    `wake` has a worker take up a run once its transaction has committed.
    """
    free = BulkAction.objects.filter(_is_free(), pk=bulk_id, ended_at=None, paused_at=None)
    if not free.update(carried_until=Now() + HELD_FOR):
        return False
    bulk = BulkAction.objects.get(pk=bulk_id)
    waiting = BulkItem.objects.filter(bulk=bulk, state=State.WAITING).order_by("number")
    facts = origin.bind(
        request_id=bulk.request_id,
        address=bulk.address,
        session=bulk.session,
        is_secure=bulk.is_secure,
        is_mfa=bulk.is_mfa,
    )
    try:
        with facts:
            for item_id in list(waiting.values_list("pk", flat=True)[: min(CHUNK, _room(bulk))]):
                if shutdown.is_under_way():
                    break
                _carry(bulk, item_id, wake)
    finally:
        BulkAction.objects.filter(pk=bulk_id).update(carried_until=None)
    if not waiting.exists():
        settle()
        return False
    return _room(bulk) > 0 and not BulkAction.objects.filter(pk=bulk_id, paused_at__isnull=False).exists()


def settle() -> None:
    """Note the end of each action whose rows are done and whose runs have ended."""
    is_open = Q(state=State.WAITING) | Q(run__state__in=Run.ACTIVE)
    left = BulkItem.objects.filter(is_open, bulk=OuterRef("pk"))
    ended = BulkAction.objects.filter(~Exists(left), ended_at=None)
    if ids := list(ended.values_list("pk", flat=True)):
        BulkAction.objects.filter(pk__in=ids, ended_at=None).update(ended_at=Now())


# ---------------------------------------------------------------- what its user does meanwhile


def pause(bulk: BulkAction, *, actor: Principal) -> None:
    """Have no further row begun until `resume`. What is under way continues. Raises `Over`."""
    _set(bulk, actor, "kms:BulkActionPaused", is_paused=True)


def resume(bulk: BulkAction, *, actor: Principal) -> None:
    """Have the rows that wait begun again. Raises `Over`."""
    _set(bulk, actor, "kms:BulkActionResumed", is_paused=False)


def _set(bulk: BulkAction, actor: Principal, event: str, *, is_paused: bool) -> None:
    with transaction.atomic():
        rows = _open(bulk, actor)
        if rows.filter(paused_at__isnull=is_paused).update(paused_at=Now() if is_paused else None):
            _record(event, bulk, actor, {})
        elif not rows.exists():
            raise Over


def cancel(bulk: BulkAction, *, actor: Principal) -> None:
    """Do none of the rows that wait, and cancel the runs that have told their instance nothing.

    The other runs continue until it is known which value works. What is done stays done. Raises `Over`.
    """
    with transaction.atomic():
        if not _open(bulk, actor).update(cancelled_at=Now(), paused_at=None):
            raise Over
        # A row that a worker holds at this moment is done first, and not waiting any more.
        left = BulkItem.objects.filter(bulk=bulk, state=State.WAITING)
        count = left.update(state=State.CANCELLED, sentence=NOT_BEGUN, done_at=Now())
        _record("kms:BulkActionCancelled", bulk, actor, {"rows": count})
    for run in Run.objects.active().filter(campaign=bulk.pk, secret__isnull=False).select_related("secret"):
        try:
            cancelling.cancel(run, actor=actor)
        except cancelling.TooLate:
            continue
        except decisions.NotAllowed as error:
            requiring.refused(actor, error)
    settle()


NOT_BEGUN = "The action was cancelled before this row. Nothing was changed."


def _open(bulk: BulkAction, actor: Principal) -> QuerySet[BulkAction]:
    """This action, if it is `actor`'s own and still has something to do."""
    return BulkAction.objects.filter(pk=bulk.pk, requested_by=actor, ended_at=None, cancelled_at=None)


def _record(event: str, bulk: BulkAction, actor: Principal, details: dict[str, Any]) -> None:
    arn = actions.arn("*", "", account="*", region="*")
    details = {"action": bulk.action, **details}
    trail.record(event, arn, resource_id=bulk.pk, actor=actor, details=details)


# ---------------------------------------------------------------- one row


def _carry(bulk: BulkAction, item_id: UUID, wake: Callable[[Run], None]) -> None:
    """Do one row; one that cannot be done says why and stops no other."""
    # Read again for each row: a user who was disabled a moment ago may do nothing more.
    actor = Principal.objects.select_related("user").get(pk=bulk.requested_by_id)
    try:
        with transaction.atomic():
            item = _taken(item_id)
            if item is None:
                return  # another worker was here first
            _require_whole(bulk, item)
            done = deeds.do(bulk, item, actor)
            if done.run:
                if not done.is_joined:
                    runs.note_campaign(done.run, bulk.pk)
                wake(done.run)
            _mark(item_id, State.DONE, sentence=done.sentence, run=done.run)
    except decisions.NotAllowed as error:
        # After the transaction that ended by it, which would have taken its record along.
        requiring.refused(actor, error)
        _mark(item_id, State.REFUSED, code=error.code, sentence=error.sentence)
    except DomainError as error:
        _mark(item_id, State.IMPOSSIBLE, code=error.code, sentence=error.sentence)
    except (OperationalError, InterfaceError):
        raise  # the store is away, or the audit trail accepts nothing: the row waits
    except Exception:
        log.exception("A row of bulk action %s could not be done.", bulk.pk)
        _mark(item_id, State.IMPOSSIBLE, code=NotDone.code, sentence=NotDone.default())


def _taken(item_id: UUID) -> BulkItem | None:
    """The row, held until the transaction ends, if it is still to be done and no pause came before it."""
    rows = BulkItem.objects.select_for_update(of=("self",))
    return rows.filter(pk=item_id, state=State.WAITING, bulk__paused_at=None).first()


def _require_whole(bulk: BulkAction, item: BulkItem) -> None:
    """Return if the user confirmed this for this row. Raises `Changed`."""
    is_listed = item.number < len(bulk.targets) and bulk.targets[item.number] == _target(item)
    if not (is_listed and seals.holds(bulk)):
        raise Changed


def _mark(item_id: UUID, state: str, *, sentence: str, code: str = "", run: Run | None = None) -> None:
    rows = BulkItem.objects.filter(pk=item_id, state=State.WAITING)
    rows.update(state=state, code=code[:40], sentence=sentence[:500], run=run, done_at=Now())


def _startable() -> QuerySet[BulkAction]:
    """The actions with rows that may begin."""
    waiting = BulkItem.objects.filter(bulk=OuterRef("pk"), state=State.WAITING)
    return BulkAction.objects.filter(Exists(waiting), ended_at=None, paused_at=None)


def _room(bulk: BulkAction) -> int:
    """How many more of its runs may be under way."""
    return max(MOST_UNDER_WAY - BulkItem.objects.filter(bulk=bulk, run__state__in=Run.ACTIVE).count(), 0)


def _is_free() -> Q:
    return Q(carried_until=None) | Q(carried_until__lt=Now())
