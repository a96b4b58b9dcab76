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

from django.db.models import BigIntegerField, F, QuerySet, UUIDField, Value
from django.db.models.functions import Cast

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
from secrets_app.policy import ram_conditions, ram_documents, ram_statements

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


_REGIONS = prepared.Question(lambda: Region.objects.select_related("account"))


def read_regions() -> list[Region]:
    """As `every_region`, from the database."""
    return _REGIONS()


def every_region() -> list[Region]:
    """Every region, retired ones too, by their codes; read once for a request."""
    read = origin.kept(_Readings)
    if read is None:
        return _REGIONS()
    if not read.regions:
        read.regions.extend(_REGIONS())
    return read.regions


def account_number() -> str:
    read = origin.kept(_Readings)
    if read is None:
        return Account.objects.get().number
    if not read.account:
        regions = every_region()
        read.account = regions[0].account.number if regions else Account.objects.get().number
    return read.account


_OF_SECRETS = prepared.Question(
    lambda: (
        Secret.objects.filter(resource_policy__isnull=False)
        .order_by()
        .values_list("resource_policy", flat=True)
        .distinct()
    )
)


def policies_of_secrets() -> list[str]:
    """The different resource policies that stand on secrets, as these keep them; read once for a request."""
    read = origin.kept(_Readings)
    if read is not None and read.of_secrets is not None:
        return read.of_secrets
    found = [kept for kept in _OF_SECRETS() if kept]
    if read is not None:
        read.of_secrets = found
    return found


def sheet(principal: Principal) -> Sheet:
    read = origin.kept(_Readings)
    if read is None:
        return read_sheet(principal)
    if principal.pk not in read.sheets:
        read.sheets[principal.pk] = read_sheet(principal)
    return read.sheets[principal.pk]


def suppose(principal: Principal, sheet: Sheet, regions: Sequence[Region]) -> None:
    """Have this request decide by rights and regions that were read before.

    For one who proves, before anything follows from a decision, that the database still has them so.
    """
    read = origin.kept(_Readings)
    if read is not None:
        read.sheets[principal.pk], read.regions = sheet, list(regions)


@dataclass(frozen=True)
class _Attached:
    """A policy, as its row is, and to whom it is attached: to the principal, or to this group."""

    policy: Policy
    group: int | None


def read_sheet(principal: Principal) -> Sheet:
    """Read what decides for this principal; rows that were changed outside Keyturn grant nothing."""
    user, word = principal.user, _word(principal)
    rows: dict[str, list[tuple[Any, ...]]] = {what: [] for what in _WHAT}
    for what, *columns in _RIGHTS(principal.pk):
        rows[what].append(tuple(columns))
    belongs = rows["itself"]
    if not (belongs and (user is None or seals.holds(user)) and seals.holds(principal)):
        return Sheet(closed(f"the record of {word}"))
    groups = {group: (name, seal or "") for group, _, _, _, _, name, seal, _ in belongs if group is not None}
    attached = sorted(_attached(rows["policy"]), key=lambda one: (one.policy.kind, one.policy.name))
    if not _are_whole(principal, belongs[0][4], groups, attached):
        return Sheet(closed(f"the groups or policies of {word}"))
    statements = tuple(s for policy in {one.policy: None for one in attached} for s in _of(policy))
    sheet = Sheet(statements)
    sheet.is_administrator = any(_is_full(one.policy) for one in attached)
    for group, pk, secret, _, action, conditions, seal, _ in rows["grant"]:
        is_direct = group is None
        table: type[seals.SealedRow] = SecretPrincipalGrant if is_direct else SecretGroupGrant
        holder = principal.pk if is_direct else group
        if seals.agrees(seal, table.table(), (holder, secret, action, conditions)):
            sheet.grants[secret] = (
                *sheet.grants.get(secret, ()),
                _grant(action, conditions, word if is_direct else f"one of {word}'s groups"),
            )
        else:
            sheet.void["principal" if is_direct else "group"].append(pk)
    return sheet


def _attached(rows: Iterable[tuple[Any, ...]]) -> list[_Attached]:
    policies: dict[UUID, Policy] = {}
    found = []
    for group, revision, pk, account, name, kind, seal, document in rows:
        if pk not in policies:
            policies[pk] = Policy(
                id=pk,
                account_id=account,
                name=name,
                kind=kind,
                document=document,
                revision=revision,
                seal=seal,
            )
        found.append(_Attached(policies[pk], group))
    return found


def _are_whole(
    principal: Principal, seal: str, groups: dict[int, tuple[str, str]], attached: Iterable[_Attached]
) -> bool:
    """Whether the principal and each group have what Keyturn gave them: a policy less may be a Deny less."""
    mine = [one.policy.pk for one in attached if one.group is None]
    if not seals.agrees(seal, seal_sets.RIGHTS, seal_sets.rights_values(principal.pk, groups, mine)):
        return False
    for group, (name, of_group) in groups.items():
        theirs = [one.policy.pk for one in attached if one.group == group]
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


# ---------------------------------------------------------------- read in one statement

_WHAT = ("itself", "policy", "grant")
_NO_NUMBER, _NO_ID = Cast(Value(None), BigIntegerField()), Cast(Value(None), UUIDField())


def _columns(
    rows: QuerySet[Any], what: str, group: Any, number: Any, ids: Sequence[Any], texts: Sequence[Any]
) -> QuerySet[Any, tuple[Any, ...]]:
    """These rows as a part of all rights: what they are, a group, a number, two ids and four texts."""
    return rows.order_by().values_list(Value(what), group, number, *ids, *texts)


def _rights(principal: UUID) -> QuerySet[Any, tuple[Any, ...]]:
    """Its groups, the policies of it and of them, and the grants to it and to them, in one statement."""
    itself = _columns(
        Principal.objects.filter(pk=principal), "itself", F("groups"), _NO_NUMBER, [_NO_ID, _NO_ID],
        [F("rights_seal"), F("groups__name"), F("groups__sealed__seal"), Value("")],
    )  # fmt: skip
    of_a_policy = (
        [F("policy"), F("policy__account")],
        [F(f"policy__{column}") for column in ("name", "kind", "seal", "document")],
    )
    revision = F("policy__revision")
    own = Attachment.objects.filter(principal=principal)
    theirs = Attachment.objects.filter(group__members=principal)
    of_a_grant = [F("content_object"), _NO_ID], [
        *(F(column) for column in ("permission__codename", "conditions", "seal")), Value("")
    ]  # fmt: skip
    to_it = SecretPrincipalGrant.objects.filter(principal=principal)
    to_them = SecretGroupGrant.objects.filter(group__members=principal)
    return itself.union(
        _columns(own, "policy", _NO_NUMBER, revision, *of_a_policy),
        _columns(theirs, "policy", F("group"), revision, *of_a_policy),
        _columns(to_it, "grant", _NO_NUMBER, F("pk"), *of_a_grant),
        _columns(to_them, "grant", F("group"), F("pk"), *of_a_grant),
        all=True,
    )


_RIGHTS = prepared.Question(_rights)


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
