"""What a bulk action does to one row: the single action's own function, behind its own right and checks.

Called inside the transaction that also marks the row, so that a deed and its mark are one. Knows the rows and
their actor; who asked when, and how many there are, is `bulk_actions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from rotation import retrying, runs
from rotation.managed import deletion
from rotation.models import BulkAction, BulkItem, Run
from secrets_app.actions import Action
from secrets_app.crypto import passwords
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle

Kind = BulkAction.Action

#: The right that the single action asks for first.
RIGHTS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        Kind.ROTATE: Action.ROTATE_SECRET,
        Kind.VERIFY: Action.ROTATE_SECRET,
        Kind.DRIFT: Action.ROTATE_SECRET,
        Kind.DELETE: Action.DELETE_SECRET,
        Kind.RESTORE: Action.RESTORE_SECRET,
        Kind.TAG: Action.UPDATE_SECRET,
        Kind.RETRY: Action.ROTATE_SECRET,  # of a run of an instance: CHECK_INSTANCE
    }
)


NOT_RETRIED: Final = (Run.Outcome.SUCCEEDED, Run.Outcome.MISSED)  # a date that passed is no run


class NotVisible(DomainError):
    """You may not see this row any more, so nothing was done."""

    code = "bulk_row_hidden"


class NotRetryable(DomainError):
    """Only a run that ended without success can be retried."""

    code = "run_not_retryable"


@dataclass(frozen=True)
class Done:
    """What came of one row."""

    run: Run | None = None
    is_joined: bool = False  # the run was under way already
    sentence: str = ""


def do(bulk: BulkAction, item: BulkItem, actor: Principal) -> Done:
    """Carry out `bulk` on one row as `actor`. Raises `decisions.NotAllowed` or another `DomainError`."""
    if bulk.action == Kind.RETRY:
        return _retry(item, actor)
    rows = Secret.objects.select_related("region", "account", "managed__instance__region")
    assert item.secret_id is not None
    secret = rows.get(pk=item.secret_id)
    decisions.require(actor, RIGHTS[bulk.action], secret)
    if not decisions.allows(actor, Action.DESCRIBE_SECRET, secret):
        raise NotVisible
    if bulk.action != Kind.RESTORE:
        lifecycle.require_enabled(secret)
    return _DEEDS[bulk.action](secret, item, bulk.choices, actor)


def _rotate(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    before = _under_way(secret)
    run = runs.start(
        secret, actor=actor, is_leak=bool(choices.get("is_leak")), token=f"bulk-{item.pk}", reason=""
    )
    return _started(run, before)


def _verify(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    before = _under_way(secret)
    return _started(runs.verify(secret, actor=actor, is_recorded=True), before)


def _drift(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    before = _under_way(secret)
    return _started(runs.drift(secret, actor=actor), before)


def _delete(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    days = int(choices["days"])
    deletion.plan_deletion(secret, actor=actor, days=days, reason=str(choices.get("reason", "")))
    return Done(sentence=f"Pending deletion. It can be restored for {days} days.")


def _restore(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    return Done(deletion.restore(secret, actor=actor).run)


def _tag(secret: Secret, item: BulkItem, choices: Mapping[str, Any], actor: Principal) -> Done:
    held = lifecycle.held(secret.pk)
    had = {tag.key: tag.value for tag in held.tags.all()}
    kept = {key: value for key, value in had.items() if key not in choices.get("removed", [])}
    tags = kept | dict(choices.get("tags", {}))
    if tags == had:
        return Done(sentence="It has these tags already.")
    lifecycle.edit(
        held,
        revision=held.revision,
        description=held.description,
        tags=tags,
        password_policy=passwords.policy(held.password_policy),
        actor=actor,
    )
    return Done()


_DEEDS: Final[Mapping[str, Callable[[Secret, BulkItem, Mapping[str, Any], Principal], Done]]] = (
    MappingProxyType(
        {
            Kind.ROTATE: _rotate,
            Kind.VERIFY: _verify,
            Kind.DRIFT: _drift,
            Kind.DELETE: _delete,
            Kind.RESTORE: _restore,
            Kind.TAG: _tag,
        }
    )
)


def _retry(item: BulkItem, actor: Principal) -> Done:
    rows = Run.objects.select_related("secret__region", "secret__account", "instance__region")
    assert item.retried_id is not None
    run = rows.get(pk=item.retried_id)
    if run.secret is None:
        decisions.require(actor, Action.CHECK_INSTANCE, run.instance)
    else:
        decisions.require(actor, Action.ROTATE_SECRET, run.secret)
    if not decisions.allows(actor, Action.DESCRIBE_RUN, run):
        raise NotVisible
    if run.outcome in NOT_RETRIED:
        raise NotRetryable
    if run.secret is None:
        return Done(retrying.retry(run, actor=actor))
    lifecycle.require_enabled(run.secret)
    before = _under_way(run.secret)
    return _started(retrying.retry(run, actor=actor), before)


def _under_way(secret: Secret) -> Run | None:
    """The run that is active now; no other one begins until the caller's transaction ends."""
    lifecycle.held(secret.pk)
    return secret.runs.active().first()


def _started(run: Run, before: Run | None) -> Done:
    if before is None or run.pk != before.pk:
        return Done(run)
    return Done(run, is_joined=True, sentence=f"{run.label} was under way already.")
