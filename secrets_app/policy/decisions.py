"""What the rest of Keyturn asks of rights: require, or be refused; may this be shown; which rows are seen.

Behind it stand `deciding`, which says what follows from the rights of a principal, and `holdings`, which
reads them.
"""

from __future__ import annotations

from collections.abc import Iterable

from secrets_app import origin
from secrets_app.actions import Action, Kind
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Region, Secret, User
from secrets_app.policy import deciding, holdings, ram_conditions, ram_statements, resource_documents
from secrets_app.policy.deciding import (
    Decision,
    Tagged,
    decide,
    instance_rows,
    new_secret,
    retagged,
    secret_rows,
    simulate,
    visible,
    widened,
)
from secrets_app.policy.holdings import compiled, every_region, forget

__all__ = [
    "Action",
    "Decision",
    "NotAllowed",
    "Tagged",
    "allowed_regions",
    "allows",
    "are_all_regions",
    "asks_for_tags",
    "compiled",
    "conditions_held",
    "decide",
    "every_region",
    "forget",
    "instance_rows",
    "lacks_second_factor",
    "may_somewhere",
    "new_secret",
    "principal_of",
    "require",
    "retagged",
    "secret_rows",
    "simulate",
    "visible",
    "widened",
]


class NotAllowed(DomainError):
    """This principal may not do this."""

    code = "not_allowed"

    def __init__(self, because: str, action: str, resource: object = None) -> None:
        super().__init__(because)
        self.action, self.resource = action, resource


def principal_of(who: Principal | User) -> Principal:
    """Who acts for a person: rights are given to the principal."""
    return who.principal if isinstance(who, User) else who


def conditions_held(
    principal: Principal, action: Action, secret: Secret
) -> tuple[ram_conditions.Condition, ...]:
    """The conditions on which `principal` may do this now, for a grant of it. Raises `NotAllowed`."""
    require(principal, action, secret)
    if principal.kind == Principal.Kind.SYSTEM:
        raise NotAllowed("Schedules rotate secrets and do nothing else.", action, secret)
    statements, context = deciding.about(
        principal, action, deciding.Target(secret.arn, secret), deciding.circumstances()
    )
    unasked = (ram_conditions.REASON,) if action == Action.GET_SECRET_VALUE else ()
    conditions = ram_statements.carried(statements, action, secret.arn, context, unasked=unasked)
    if conditions is None:
        raise NotAllowed("You cannot grant this permission.", action, secret)
    return conditions


def allows(principal: Principal | None, action: str, resource: object = None) -> bool:
    return decide(principal, action, resource).allowed


def require(
    principal: Principal | None, action: str, resource: object = None, *, reason: str | None = None
) -> None:
    """Return if allowed. Raises `NotAllowed` with the sentence that says why not.

    What allowed it stands in the event that this work records next of this action and resource.
    """
    decision = decide(principal, action, resource, reason=reason)
    if principal is None or not decision.allowed:
        raise NotAllowed(decision.because, action, resource)
    origin.note_allowed(principal.pk, action, decision.resource, decision.because)


def lacks_second_factor(principal: Principal | None, action: Action, resource: object = None) -> bool:
    """Whether what is refused now would be allowed in a session with a second factor."""
    if origin.current().is_mfa is not False or _may(principal, action, resource):
        return False
    with origin.supposing(is_mfa=True):
        return _may(principal, action, resource)


def _may(principal: Principal | None, action: Action, resource: object) -> bool:
    return may_somewhere(principal, action) if resource is None else allows(principal, action, resource)


def may_somewhere(principal: Principal | None, action: Action) -> bool:
    """Whether there could be a resource on which this is allowed; for showing a way there, never for more."""
    if deciding.ruled_out(principal, action):
        return False
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        return action in deciding.SCHEDULED
    if action.on_container:
        return any(allows(principal, action, region) for region in _containers(action))
    sheet = holdings.sheet(principal)
    if any(action in statement.actions for granted in sheet.grants.values() for statement in granted):
        return True
    if any(statement.effect == ram_statements.Effect.ALLOW for statement in sheet.about(action)):
        return True
    return action.kind == Kind.SECRET and deciding.may_by_resource(principal, action)


def asks_for_tags(principal: Principal, actions: Iterable[Action]) -> bool:
    """Whether a decision about one of `actions` may look at the tags of its secret."""
    sheet = holdings.sheet(principal)
    statements = [s for action in actions for s in sheet.about(action)]
    statements += [s for granted in sheet.grants.values() for s in granted]
    statements += [
        s for kept in holdings.policies_of_secrets() for s in resource_documents.about(kept, principal.pk)
    ]
    return any(c.key.startswith(ram_conditions.TAG_PREFIX) for s in statements for c in s.conditions)


def allowed_regions(principal: Principal | None, action: Action) -> list[Region]:
    """The regions whose container allows `action`."""
    return [region for region in every_region() if allows(principal, action, region)]


def are_all_regions(listed: list[Region]) -> bool:
    return len(listed) == len(every_region())


def _containers(action: Action) -> list[Region | None]:
    return [*every_region()] if action.kind.is_regional else [None]
