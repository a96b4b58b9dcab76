"""What a principal holds: the statements of its policies and groups, and the grants to it, proven whole.

Rows that were changed outside Keyturn grant nothing. Rights are read again for every request: who was refused
something a moment ago stays refused, and who lost a right has lost it with the next request.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet, Value

from secrets_app import origin, prepared, seal_sets, seals
from secrets_app.actions import Action
from secrets_app.models import (
    Account,
    Attachment,
    Policy,
    Principal,
    Region,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
)
from secrets_app.policy import ram_conditions, ram_documents, ram_statements, ready

FULL_ACCESS = "KMSFullAccess"  # the system policy of administrators


@dataclass
class Sheet:
    """What was read for one principal: statements of policies, and grants by secret."""

    statements: tuple[ram_statements.Statement, ...] = ()
    grants: dict[UUID, tuple[ram_statements.Statement, ...]] = field(default_factory=dict)
    #: The grants whose seal does not hold, by whom they are to; they count for nothing.
    void: dict[str, list[int]] = field(default_factory=lambda: {"principal": [], "group": []})
    is_administrator: bool = False  # has the system policy for full access, proven whole
    _about: dict[str, tuple[ram_statements.Statement, ...]] = field(default_factory=dict)

    def about(self, action: str) -> tuple[ram_statements.Statement, ...]:
        """The statements of policies that concern `action`: of fifty, often none."""
        if action not in self._about:
            self._about[action] = tuple(s for s in self.statements if s.concerns(action))
        return self._about[action]


@dataclass
class _Readings:
    """What was read for the request that is going on."""

    sheets: dict[UUID, Sheet] = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    account: str = ""
    of_secrets: list[str] | None = None


def forget() -> None:
    """Read rights again within this request: they were just changed."""
    read = origin.kept(_Readings)
    if read:
        read.sheets.clear()
        read.regions.clear()
        read.of_secrets = None
    origin.forget_allowed()


def every_region() -> list[Region]:
    """Every region, retired ones too, by their codes; read once for a request."""
    read = origin.kept(_Readings)
    if read is None:
        return list(Region.objects.select_related("account"))
    if not read.regions:
        read.regions.extend(Region.objects.select_related("account"))
    return read.regions


def account_number() -> str:
    read = origin.kept(_Readings)
    if read is None:
        return Account.objects.get().number
    if not read.account:
        regions = every_region()
        read.account = regions[0].account.number if regions else Account.objects.get().number
    return read.account


def policies_of_secrets() -> list[str]:
    """The different resource policies that stand on secrets, as these keep them; read once for a request."""
    read = origin.kept(_Readings)
    if read is not None and read.of_secrets is not None:
        return read.of_secrets
    rows = (
        Secret.objects.filter(resource_policy__isnull=False)
        .order_by()
        .values_list("resource_policy", flat=True)
    )
    found = [kept for kept in rows.distinct() if kept]
    if read is not None:
        read.of_secrets = found
    return found


def sheet(principal: Principal) -> Sheet:
    read = origin.kept(_Readings)
    if read is None:
        return _read(principal)
    if principal.pk not in read.sheets:
        read.sheets[principal.pk] = _read(principal)
    return read.sheets[principal.pk]


#: Of an attachment and its policy, what decides and its seal: the rest is not read at each request.
_OF_ATTACHED = ("principal", "group", "policy__seal", *(f"policy__{column}" for column in Policy.SEALED))


#: Of a principal without a group, as most programs are.
_ATTACHED = prepared.Question(
    lambda principal: (
        Attachment.objects.filter(principal=principal).select_related("policy").only(*_OF_ATTACHED)
    )
)


def _read(principal: Principal) -> Sheet:
    """Read what decides for this principal; rows that were changed outside Keyturn grant nothing."""
    user, word = principal.user, _word(principal)
    rows = _BELONGS_TO.rows(principal.pk)
    groups = {group: (name, seal or "") for _, group, name, seal in rows if group is not None}
    held: Iterable[Attachment]
    if not groups:
        held = _ATTACHED(principal.pk)
    else:
        of_any = Attachment.objects.filter(Q(principal=principal) | Q(group__in=list(groups)))
        held = of_any.select_related("policy").only(*_OF_ATTACHED)
    attached = sorted(held, key=lambda row: (row.policy.kind, row.policy.name))
    if not (rows and (user is None or seals.holds(user)) and seals.holds(principal)):
        return Sheet(closed(f"the record of {word}"))
    if not _are_whole(principal, rows[0][0], groups, attached):
        return Sheet(closed(f"the groups or policies of {word}"))
    statements = tuple(s for policy in {row.policy: None for row in attached} for s in _of(policy))
    sheet = Sheet(statements)
    sheet.is_administrator = any(_is_full(row.policy) for row in attached)
    for pk, kept, action, conditions, seal, whom, group in _IS_GRANTED.rows(principal.pk, list(groups)):
        secret = kept if isinstance(kept, UUID) else UUID(kept)
        is_direct = whom == "principal"
        table, holder = (SecretPrincipalGrant, principal.pk) if is_direct else (SecretGroupGrant, group)
        if seals.agrees(seal, table.table(), (holder, secret, action, conditions)):
            sheet.grants[secret] = (
                *sheet.grants.get(secret, ()),
                _grant(action, conditions, word if is_direct else f"one of {word}'s groups"),
            )
        else:
            sheet.void[whom].append(pk)
    return sheet


def _are_whole(
    principal: Principal, seal: str, groups: dict[int, tuple[str, str]], attached: Iterable[Attachment]
) -> bool:
    """Whether the principal and each group have what Keyturn gave them: a policy less may be a Deny less."""
    mine = [row.policy_id for row in attached if row.principal_id]
    if not seals.agrees(seal, seal_sets.RIGHTS, seal_sets.rights_values(principal.pk, groups, mine)):
        return False
    for group, (name, of_group) in groups.items():
        theirs = [row.policy_id for row in attached if row.group_id == group]
        if not seals.agrees(of_group, seal_sets.GROUP, seal_sets.group_values(group, name, theirs)):
            return False
    return True


def _is_full(policy: Policy) -> bool:
    return policy.kind == Policy.Kind.SYSTEM and policy.name == FULL_ACCESS and seals.holds(policy)


def _word(principal: Principal) -> str:
    return "this machine" if principal.kind == Principal.Kind.MACHINE else "this user"


def _of(policy: Policy) -> tuple[ram_statements.Statement, ...]:
    if seals.holds(policy):
        return compiled(policy.document, policy.name)
    return closed(f"the policy {policy.name}")


def closed(what: str) -> tuple[ram_statements.Statement, ...]:
    """What stands in the place of rights that cannot be trusted: it denies everything."""
    return (
        ram_statements.Statement(
            ram_statements.Effect.DENY, ("*",), ("*",), source=f"{what}, changed outside Keyturn"
        ),
    )


def _belonging(principal: UUID, _: Sequence[int]) -> QuerySet[Any, tuple[Any, ...]]:
    columns = ("rights_seal", "groups", "groups__name", "groups__sealed__seal")
    return Principal.objects.filter(pk=principal).values_list(*columns)


def _granted(principal: UUID, groups: Sequence[int]) -> QuerySet[Any, tuple[Any, ...]]:
    to_it = _granted_by(SecretPrincipalGrant.objects.filter(principal=principal), "principal", Value(0))
    to_groups = _granted_by(SecretGroupGrant.objects.filter(group__in=groups), "group", F("group"))
    return to_it.union(to_groups, all=True)


_BELONGS_TO, _IS_GRANTED = ready.Question(_belonging), ready.Question(_granted)


def _granted_by(rows: QuerySet[Any], whom: str, holder: Any) -> QuerySet[Any, tuple[Any, ...]]:
    columns = ("pk", "content_object", "permission__codename", "conditions", "seal")
    return rows.values_list(*columns, Value(whom), holder)


@functools.lru_cache(maxsize=512)
def compiled(document: str, source: str) -> tuple[ram_statements.Statement, ...]:
    """The statements of a stored document; a document that cannot be parsed denies everything.

    It was checked when it was saved; a reader that has become stricter must not turn a Deny into nothing.
    """
    try:
        return ram_documents.read(document, actions=tuple(Action), source=f"the policy {source}")
    except ram_documents.BadDocument:
        return (
            ram_statements.Statement(
                ram_statements.Effect.DENY, ("*",), ("*",), source=f"the policy {source}, which is unreadable"
            ),
        )


@functools.lru_cache(maxsize=2048)
def _grant(action: str, conditions: str, whom: str) -> ram_statements.Statement:
    source = f"a grant on this secret to {whom}"
    return ram_statements.Statement(
        ram_statements.Effect.ALLOW, (action,), ("*",), ram_conditions.conditions(conditions), source
    )
