"""Requests from outside: see a row, or it is not found; act on it, or be refused, which is recorded.

For screens and interfaces. A function of the domain asks `decisions.require`, often inside the transaction of
its change: a refusal that was recorded there would be rolled back with it.
"""

from __future__ import annotations

from typing import NoReturn, cast

from secrets_app import actions
from secrets_app.actions import Action
from secrets_app.audit import refusals
from secrets_app.errors import DomainError
from secrets_app.models import Principal
from secrets_app.policy import decisions, policies


class NotFound(DomainError):
    """There is nothing by this name that you may see."""

    code = "not_found"


class Refused(decisions.NotAllowed):
    """Who asked may not do this, and the audit trail says so."""

    code = "refused"

    def __init__(self, because: str, action: Action, resource: object, *, lacks_factor: bool) -> None:
        super().__init__(because, action, resource)
        self.arn = str(getattr(resource, "arn", ""))
        self.lacks_factor = lacks_factor  # with a second factor it would be allowed


def may(actor: Principal | None, action: Action, resource: object = None) -> bool:
    """Whether `actor` may do this; for showing a way there, never instead of `require`.

    Without a resource: whether there could be one.
    """
    if resource is None:
        return decisions.may_somewhere(actor, action)
    return decisions.allows(actor, action, resource)


def require_seen(actor: Principal, action: Action, resource: object) -> None:
    """Return if `actor` may do `action`, which describes this; else it is as if not there: `NotFound`."""
    if not decisions.allows(actor, action, resource):
        raise NotFound


def require(actor: Principal, action: Action, resource: object = None) -> None:
    """Return if allowed; else record the refusal. Without a resource: if there could be one.

    Raises `Refused`. Never call it inside a transaction that the refusal ends.
    """
    if resource is None and (action.kind.is_regional or not action.on_container):
        if decisions.may_somewhere(actor, action):
            return
        refuse(actor, decisions.NotAllowed(f"None of your policies allows {action}.", action))
    try:
        decisions.require(actor, action, resource)
    except decisions.NotAllowed as error:
        raise refused(actor, error) from None


def require_full_access(actor: Principal, action: Action, resource: object = None) -> None:
    """Return for an administrator who may do `action` too; else record the refusal. Raises `Refused`."""
    require(actor, action, resource)
    try:
        policies.require_full_access(actor, action, resource)
    except decisions.NotAllowed as error:
        raise refused(actor, error) from None


def refuse(actor: Principal, error: decisions.NotAllowed) -> NoReturn:
    """Record that this was refused. Raises `Refused`."""
    raise refused(actor, error)


def refused(actor: Principal, error: decisions.NotAllowed) -> Refused:
    """Record what was refused, once; outside the transaction that ended by it."""
    if isinstance(error, Refused):
        return error
    action = cast(Action, error.action)
    refusals.note(
        action,
        str(getattr(error.resource, "arn", "")) or actions.arn(action.kind, "", account="*", region="*"),
        actor=actor,
        because=str(error),
        resource_id=getattr(error.resource, "pk", None),
    )
    lacks_factor = decisions.lacks_second_factor(actor, action, error.resource)
    return Refused(str(error), action, error.resource, lacks_factor=lacks_factor)
