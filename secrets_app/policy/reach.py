"""Who reaches what, under the most permissive conditions: of a policy, of a secret, of everything.

A decision is about one request; a review is about all requests that could come. So an Allow counts here even
if it requires an address, a time or a second factor, and a Deny that requires one does not: the result is
never less than what `decisions.decide` allows a principal. Tags belong to the secret and are always compared.

Reads many people at once, in as many queries as for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from secrets_app import prepared
from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.models import (
    Attachment,
    AuditEvent,
    Policy,
    Principal,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
)
from secrets_app.policy import decisions, ram_conditions, ram_statements, resource_documents, sql

_Grant = TypeVar("_Grant", SecretPrincipalGrant, SecretGroupGrant)
UNUSED_AFTER = timedelta(days=90)
#: These leave no event of their own, so the last use of such a grant is unknown.
UNSEEN = frozenset(
    a.value
    for a in Action
    if a.is_read or a in {Action.PUT_SECRET_VALUE, Action.TAG_RESOURCE, Action.UNTAG_RESOURCE}
)


def at_most(statements: Iterable[ram_statements.Statement]) -> tuple[ram_statements.Statement, ...]:
    """These statements as they are in the request that favours its sender most."""
    favoured = []
    for statement in statements:
        of_request = [c for c in statement.conditions if not c.key.startswith(ram_conditions.TAG_PREFIX)]
        if not of_request:
            favoured.append(statement)
        elif statement.effect == ram_statements.Effect.ALLOW:
            left = tuple(c for c in statement.conditions if c not in of_request)
            favoured.append(replace(statement, conditions=left))
    return tuple(favoured)


def is_conditional(statement: ram_statements.Statement) -> bool:
    """Whether it holds only in some requests."""
    return any(not condition.key.startswith(ram_conditions.TAG_PREFIX) for condition in statement.conditions)


# ---------------------------------------------------------------- of a policy


def of_policy(policy: Policy, action: Action, rows: sql.Rows) -> Q:
    """The rows on which this policy alone could allow `action`."""
    return sql.condition(at_most(decisions.compiled(policy.document, policy.name)), action, {}, rows)


@dataclass(frozen=True)
class Wildcard:
    """A statement that allows something on every secret there is and will be."""

    policy: Policy
    number: int
    actions: tuple[str, ...]
    reads_values: bool
    holders: int  # principals and groups that it is attached to


def wildcards() -> list[Wildcard]:
    """The statements of all policies that reach every secret with more than looking."""
    prefixes = list(decisions.secret_rows().prefixes.values())
    rows = []
    for policy in Policy.objects.select_related("account").prefetch_related("attachments"):
        for statement in decisions.compiled(policy.document, policy.name):
            if _reaches_all(statement, prefixes):
                reads = statement.concerns(Action.GET_SECRET_VALUE)
                count = len(policy.attachments.all())
                rows.append(Wildcard(policy, statement.number, statement.actions, reads, count))
    return rows


def _reaches_all(statement: ram_statements.Statement, prefixes: Sequence[str]) -> bool:
    if statement.effect != ram_statements.Effect.ALLOW or not prefixes:
        return False
    if not any(statement.concerns(action) for action in OF_A_SECRET if not action.is_read):
        return False
    return all(
        any("*" in sql.residuals(pattern, prefix) for pattern in statement.resources) for prefix in prefixes
    )


# ---------------------------------------------------------------- of a secret


@dataclass(frozen=True)
class Source:
    """The source of a permission: a policy, attached directly or through a group, or a grant."""

    label: str
    policy: Policy | None = None
    number: int = 0
    is_conditional: bool = False
    group: str = ""  # through which group; not in the label, since not every user may know it


@dataclass
class Right:
    """What one principal could do to a secret, and through what."""

    principal: Principal
    actions: dict[Action, tuple[Source, ...]] = field(default_factory=dict)

    @property
    def by_source(self) -> list[tuple[Source, list[Action]]]:
        by_source: dict[Source, list[Action]] = {}
        for action, sources in self.actions.items():
            for source in sources:
                by_source.setdefault(source, []).append(action)
        return list(by_source.items())


@dataclass(frozen=True)
class _Held:
    """A statement that a principal has, and its source."""

    statement: ram_statements.Statement
    source: Source


class Everybody:
    """The rights of all users who can sign in and of all machines, read once."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        works = Q(user__is_active=True) | Q(kind=Principal.Kind.MACHINE, is_active=True)
        self._principals = list(Principal.objects.filter(works).select_related("user").order_by("name"))
        self._members: dict[UUID, list[tuple[int, str]]] = defaultdict(list)
        members: Any = Principal.groups.through
        rows = members.objects.filter(principal__in=self._principals)
        for principal, group, name in rows.values_list("principal_id", "group_id", "group__name"):
            self._members[principal].append((group, name))
        self._of_principals: dict[UUID, list[Policy]] = defaultdict(list)
        self._of_groups: dict[int, list[Policy]] = defaultdict(list)
        for attachment in Attachment.objects.select_related("policy__account"):
            if attachment.principal_id:
                self._of_principals[attachment.principal_id].append(attachment.policy)
            elif attachment.group_id:
                self._of_groups[attachment.group_id].append(attachment.policy)
        self._grants = _Grants([secret.pk for secret in secrets])

    def with_rights(self, secret: Secret, actions: Iterable[Action] = OF_A_SECRET) -> list[Right]:
        """Who could do any of `actions` to this secret. Its tags are read; prefetch them for many."""
        wanted = tuple(actions)
        tags = {f"{ram_conditions.TAG_PREFIX}{tag.key}": tag.value for tag in secret.tags.all()}
        kept: dict[tuple[object, ...], dict[Action, tuple[Source, ...]]] = {}
        rights = []
        for principal in self._principals:
            key = self._key(principal.pk, secret)
            if key not in kept:
                # Principals that have the same policies and grants have the same rights.
                kept[key] = _allowed(self._held(principal.pk, secret), wanted, secret.arn, tags)
            if kept[key]:
                rights.append(Right(principal, kept[key]))
        return rights

    def _key(self, principal: UUID, secret: Secret) -> tuple[object, ...]:
        if (
            secret.resource_policy
            or self._of_principals.get(principal)
            or self._grants.of_principal(secret.pk, principal)
        ):
            return ("alone", principal)
        return tuple(sorted(group for group, _ in self._members.get(principal, ())))

    def _held(self, principal: UUID, secret: Secret) -> list[_Held]:
        held = [h for policy in self._of_principals.get(principal, ()) for h in _of(policy)]
        held += [_granted(*given) for given in self._grants.of_principal(secret.pk, principal)]
        if secret.resource_policy:
            held += [
                _Held(spoken, Source("Resource policy", None, spoken.number, is_conditional(spoken)))
                for spoken in resource_documents.about(secret.resource_policy, principal)
            ]
        for group, name in self._members.get(principal, ()):
            for policy in self._of_groups.get(group, ()):
                held += _of(policy, name)
            given_here = self._grants.of_group(secret.pk, group)
            held += [_granted(*given, name) for given in given_here]
        return held


def _of(policy: Policy, group: str = "") -> list[_Held]:
    return [
        _Held(statement, Source(policy.name, policy, statement.number, is_conditional(statement), group))
        for statement in decisions.compiled(policy.document, policy.name)
    ]


def _granted(action: str, conditions: str, group: str = "") -> _Held:
    statement = ram_statements.Statement(
        ram_statements.Effect.ALLOW, (action,), ("*",), ram_conditions.conditions(conditions), source="Grant"
    )
    return _Held(statement, Source("Grant", is_conditional=is_conditional(statement), group=group))


def _allowed(
    held: Sequence[_Held], actions: Iterable[Action], name: str, tags: Mapping[str, str]
) -> dict[Action, tuple[Source, ...]]:
    """Each action that is allowed, with everything that allows it."""
    favoured = at_most(mine.statement for mine in held)
    sources = {}
    for action in actions:
        if not ram_statements.decide(favoured, action, name, tags).allowed:
            continue
        sources[action] = tuple(
            mine.source
            for mine in held
            if mine.statement.effect == ram_statements.Effect.ALLOW
            and ram_statements.decide(at_most([mine.statement]), action, name, tags).allowed
        )
    return sources


class _Grants:
    """The grants on some secrets, by whom they are for."""

    def __init__(self, secrets: Sequence[UUID]) -> None:
        self._principals: dict[tuple[UUID, UUID], list[tuple[str, str]]] = defaultdict(list)
        self._groups: dict[tuple[UUID, int], list[tuple[str, str]]] = defaultdict(list)
        here = {"content_object__in": secrets}
        what = ("permission__codename", "conditions")
        for secret, principal, *given in SecretPrincipalGrant.objects.filter(**here).values_list(
            "content_object_id", "principal_id", *what
        ):
            self._principals[secret, principal].append((given[0], given[1]))
        for secret, group, *given in SecretGroupGrant.objects.filter(**here).values_list(
            "content_object_id", "group_id", *what
        ):
            self._groups[secret, group].append((given[0], given[1]))

    def of_principal(self, secret: UUID, principal: UUID) -> list[tuple[str, str]]:
        """Each action that was granted, and its conditions."""
        return self._principals.get((secret, principal), [])

    def of_group(self, secret: UUID, group: int) -> list[tuple[str, str]]:
        return self._groups.get((secret, group), [])


# ---------------------------------------------------------------- unused grants


def unused_of_principals() -> list[SecretPrincipalGrant]:
    """Grants to principals, older than 90 days, by which nothing was done since."""
    return _OF_PRINCIPALS(timezone.now() - UNUSED_AFTER)


def unused_of_groups() -> list[SecretGroupGrant]:
    """Grants to groups, older than 90 days, by which no member did anything since."""
    return _OF_GROUPS(timezone.now() - UNUSED_AFTER)


def _unused(rows: QuerySet[_Grant], by_whom: Q, since: datetime) -> QuerySet[_Grant]:
    used = AuditEvent.objects.filter(
        by_whom,
        action=OuterRef("permission__codename"),
        resource_id=OuterRef("content_object"),
        outcome=AuditEvent.Outcome.SUCCEEDED,
        at__gt=since,
    )
    old = rows.filter(granted_at__lt=since).exclude(permission__codename__in=UNSEEN).filter(~Exists(used))
    return old.select_related("content_object__region", "content_object__account", "permission", "granted_by")


_OF_PRINCIPALS: prepared.Question[SecretPrincipalGrant] = prepared.Question(
    lambda since: _unused(
        SecretPrincipalGrant.objects.select_related("principal"), Q(actor=OuterRef("principal")), since
    )
)
_OF_GROUPS: prepared.Question[SecretGroupGrant] = prepared.Question(
    lambda since: _unused(
        SecretGroupGrant.objects.select_related("group"), Q(actor__groups=OuterRef("group")), since
    )
)
