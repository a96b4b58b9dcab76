"""The decision: may this principal do this to that? One function decides, `decide`.

Its sources are the policies attached to a principal and to its groups, and the grants on one secret; `ram`
says what follows from them. A list asks `visible`, which compiles the same statements. Whatever is in doubt
is denied.

Rights are read anew for every request: who was refused something a moment ago stays refused, and who lost
a right has lost it with the next request.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.utils import timezone

from secrets_app import seal_sets, seals
from secrets_app.actions import OF_A_SECRET, Action, Kind, arn, named
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import (
    Account,
    Attachment,
    Policy,
    Principal,
    Region,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
    Tag,
    User,
)
from secrets_app.policy import ram_conditions, ram_documents, ram_statements, sql

__all__ = [
    "Action",
    "Decision",
    "NotAllowed",
    "Tagged",
    "allows",
    "bind",
    "decide",
    "lacks_second_factor",
    "may_somewhere",
    "new_secret",
    "require",
    "retagged",
    "visible",
    "widened",
]

#: What Keyturn does by itself.
SCHEDULED = frozenset({Action.ROTATE_SECRET, Action.DESCRIBE_SECRET})


class NotAllowed(DomainError):
    """This principal may not do this."""

    code = "not_allowed"

    def __init__(self, because: str, action: str, resource: object = None) -> None:
        super().__init__(because)
        self.action, self.resource = action, resource


@dataclass(frozen=True)
class Decision:
    """Allowed or not, and what made it so."""

    allowed: bool
    because: str  # a sentence for those who may see why
    statement: ram_statements.Statement | None = None


@dataclass(frozen=True)
class Tagged:
    """A secret as it would be with these tags: one that is not made yet, or one whose tags would change."""

    arn: str
    tags: Mapping[str, str]
    secret: Secret | None = None

    @property
    def pk(self) -> UUID | None:
        return self.secret.pk if self.secret else None


def new_secret(region: Region, name: str, tags: Mapping[str, str]) -> Tagged:
    """A secret that is to be made."""
    return Tagged(arn(Kind.SECRET, name, account=region.account.number, region=region.code), tags)


def retagged(secret: Secret, tags: Mapping[str, str]) -> Tagged:
    """This secret, if it had these tags."""
    return Tagged(secret.arn, tags, secret)


class _Target(NamedTuple):
    """The name that a policy sees, the secret whose grants count, and the tags in the place of its own."""

    name: str
    secret: Secret | None = None
    tags: Mapping[str, str] | None = None

    def own_tags(self) -> dict[str, str]:
        """The tags of the secret as they are stored."""
        return {tag.key: tag.value for tag in self.secret.tags.all()} if self.secret else {}

    def tagged(self, own: Mapping[str, str] | None = None) -> dict[str, str]:
        """The tags, as conditions name them; `own` are the stored ones, where they were read already."""
        tags = self.tags
        if tags is None:
            tags = self.own_tags() if own is None else own
        return {f"{ram_conditions.TAG_PREFIX}{key}": value for key, value in tags.items()}


_MFA = "acs:MFAPresent"
_TIME = "acs:CurrentTime"
NO_SUCH_RESOURCE = Decision(False, "There is no such resource.")


@dataclass
class _Sheet:
    """What was read for one principal: statements of policies, and grants by secret."""

    statements: tuple[ram_statements.Statement, ...] = ()
    grants: dict[UUID, tuple[ram_statements.Statement, ...]] = field(default_factory=dict)
    #: The grants whose seal does not hold, by whom they are to; they count for nothing.
    void: dict[str, list[int]] = field(default_factory=lambda: {"principal": [], "group": []})
    _about: dict[str, tuple[ram_statements.Statement, ...]] = field(default_factory=dict)

    def about(self, action: str) -> tuple[ram_statements.Statement, ...]:
        """The statements of policies that concern `action`: of fifty, often none."""
        if action not in self._about:
            self._about[action] = tuple(s for s in self.statements if s.concerns(action))
        return self._about[action]


@dataclass
class _Request:
    """The facts of the request that is going on, and what was read for it."""

    facts: dict[str, str]
    sheets: dict[UUID, _Sheet] = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    account: str = ""
    #: The facts and the time, which is one for all decisions: a list and its rows then agree.
    context: dict[str, str] = field(default_factory=dict)


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


@contextmanager
def bind(*, address: str | None, is_secure: bool, is_mfa: bool) -> Iterator[None]:
    """Decisions inside the block know where the request came from and how its person signed in."""
    facts = {"acs:SecureTransport": str(is_secure).lower(), _MFA: str(is_mfa).lower()}
    if address:
        facts["acs:SourceIp"] = address
    token = _request.set(_Request(facts))
    try:
        yield
    finally:
        _request.reset(token)


def principal_of(who: Principal | User) -> Principal:
    """Who acts for a person: rights are given to the principal."""
    return who.principal if isinstance(who, User) else who


def forget() -> None:
    """Read rights anew within this request: they were just changed."""
    request = _request.get()
    if request:
        request.sheets.clear()
        request.regions.clear()


# ---------------------------------------------------------------- deciding


def decide(
    principal: Principal | None, action: str, resource: object = None, *, reason: str | None = None
) -> Decision:
    """Decide whether `principal` may do `action` to `resource`; where in doubt, no.

    `resource` is a row with an ARN; a region stands for the container there (`...:secret`), and None for
    the container of what belongs to no region. `reason` is what somebody said who reads a value; None while
    nobody was asked yet: then it is taken for one that every policy accepts.
    """
    refused = _refused(principal, action)
    if refused:
        return refused
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        because = "Schedules rotate secrets and do nothing else."
        trail.note_decision(principal, action, str(getattr(resource, "arn", "")), because)
        return Decision(action in SCHEDULED, because)
    wanted = named(action)
    target = _target(wanted, resource) if wanted else None
    if wanted is None or target is None:
        return NO_SUCH_RESOURCE
    if not _is_whole(resource, target.secret):
        trail.note_decision(principal, action, target.name, seals.SENTENCE)
        return Decision(False, seals.SENTENCE)
    context = _context() if reason is None else _context() | {ram_conditions.REASON: reason}
    decision = _told(principal, wanted, _verdict(principal, wanted, target, context))
    trail.note_decision(principal, action, target.name, decision.because)
    return decision


def simulate(user: User, action: str, resource: object, facts: dict[str, str]) -> Decision:
    """Decide as `decide` would for `user` in a request with these facts."""
    refused = _refused(user.principal, action)
    if refused:
        return refused
    wanted = named(action)
    target = _target(wanted, resource) if wanted else None
    if wanted is None or target is None:
        return NO_SUCH_RESOURCE
    return _told(user.principal, wanted, _verdict(user.principal, wanted, target, facts))


def _refused(principal: Principal | None, action: str) -> Decision | None:
    if principal is None:
        return Decision(False, "No user is signed in.")
    if named(action) is None:
        return Decision(False, f"There is no action {action}.")
    if principal.kind == Principal.Kind.SYSTEM:
        return None if seals.holds(principal) else Decision(False, seals.SENTENCE)
    # A machine signs in by no user; its row says so under a seal, which is looked at where rights are read.
    if principal.kind != Principal.Kind.MACHINE and (principal.user is None or not principal.user.is_active):
        return Decision(False, "This user is disabled.")
    return None


def _verdict(
    principal: Principal, action: Action, target: _Target, context: dict[str, str]
) -> ram_statements.Verdict:
    statements, context = _about(principal, action, target, context)
    if action == Action.GET_SECRET_VALUE and ram_conditions.REASON not in context:
        statements = _with_a_reason(statements)
    return ram_statements.decide(statements, action, target.name, context)


def _about(
    principal: Principal, action: Action, target: _Target, context: dict[str, str]
) -> tuple[tuple[ram_statements.Statement, ...], dict[str, str]]:
    """The statements that bear on `action` here, with the tags in the context where one looks at them."""
    sheet = _sheet(principal)
    statements = sheet.about(action)
    if target.secret is not None:
        statements += sheet.grants.get(target.secret.pk, ())
    if any(c.key.startswith(ram_conditions.TAG_PREFIX) for s in statements for c in s.conditions):
        own = target.own_tags()
        if target.secret is not None and not seal_sets.tags_hold(target.secret, own):
            statements += _closed("the tags of this secret")
        context = context | target.tagged(own)
    return statements, context


def widened(principal: Principal, secret: Secret, tags: Mapping[str, str]) -> list[Action]:
    """What `principal` could do to this secret, in some request, only once it had these tags."""
    if principal.kind == Principal.Kind.SYSTEM:
        return []
    before, after = _Target(secret.arn, secret), _Target(secret.arn, secret, tags)
    found: list[Action] = []
    for action in OF_A_SECRET:
        statements, _ = _about(principal, action, before, {})
        if ram_statements.may_widen(statements, action, secret.arn, before.tagged(), after.tagged()):
            found.append(action)
    return found


def conditions_held(
    principal: Principal, action: Action, secret: Secret
) -> tuple[ram_conditions.Condition, ...]:
    """The conditions on which `principal` may do this now, for a grant of it. Raises `NotAllowed`."""
    require(principal, action, secret)
    if principal.kind == Principal.Kind.SYSTEM:
        raise NotAllowed("Schedules rotate secrets and do nothing else.", action, secret)
    statements, context = _about(principal, action, _Target(secret.arn, secret), _context())
    unasked = (ram_conditions.REASON,) if action == Action.GET_SECRET_VALUE else ()
    found = ram_statements.carried(statements, action, secret.arn, context, unasked=unasked)
    if found is None:
        raise NotAllowed("You cannot grant this permission.", action, secret)
    return found


def _with_a_reason(statements: tuple[ram_statements.Statement, ...]) -> tuple[ram_statements.Statement, ...]:
    """These statements as they are once a reason is given that each of them accepts."""
    found = []
    for statement in statements:
        left = tuple(c for c in statement.conditions if c.key != ram_conditions.REASON)
        if len(left) == len(statement.conditions):
            found.append(statement)
        elif statement.effect == ram_statements.Effect.ALLOW:
            found.append(replace(statement, conditions=left))
    return tuple(found)


def _told(principal: Principal, action: Action, verdict: ram_statements.Verdict) -> Decision:
    by = verdict.statement
    if by is None:
        sentence = f"No policy of {principal.name} and no grant allows {action} here."
    elif by.number:
        sentence = f"{by.effect} by statement {by.number} of {by.source}."
    else:
        sentence = f"{by.effect} by {by.source}."
    return Decision(verdict.allowed, sentence, by)


def allows(principal: Principal | None, action: str, resource: object = None) -> bool:
    return decide(principal, action, resource).allowed


def require(principal: Principal | None, action: str, resource: object = None) -> None:
    """Return if allowed. Raises `NotAllowed` with the sentence that says why not."""
    decision = decide(principal, action, resource)
    if not decision.allowed:
        raise NotAllowed(decision.because, action, resource)


def lacks_second_factor(principal: Principal | None, action: Action, resource: object = None) -> bool:
    """Whether what is refused now would be allowed in a session with a second factor."""
    request = _request.get()
    if request is None or request.facts.get(_MFA) != "false":
        return False
    if _may(principal, action, resource):
        return False
    token = _request.set(_Request({**request.facts, _MFA: "true"}, request.sheets, request.regions))
    try:
        return _may(principal, action, resource)
    finally:
        _request.reset(token)


def _may(principal: Principal | None, action: Action, resource: object) -> bool:
    return may_somewhere(principal, action) if resource is None else allows(principal, action, resource)


def may_somewhere(principal: Principal | None, action: Action) -> bool:
    """Whether there could be a resource on which this is allowed; for showing a way there, never for more."""
    if _refused(principal, action):
        return False
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        return action in SCHEDULED
    if action.on_container:
        return any(allows(principal, action, region) for region in _containers(action))
    sheet = _sheet(principal)
    if any(action in statement.actions for granted in sheet.grants.values() for statement in granted):
        return True
    return any(statement.effect == ram_statements.Effect.ALLOW for statement in sheet.about(action))


def asks_for_tags(principal: Principal, actions: Iterable[Action]) -> bool:
    """Whether a decision about one of `actions` may look at the tags of its secret."""
    sheet = _sheet(principal)
    statements = [s for action in actions for s in sheet.about(action)]
    statements += [s for granted in sheet.grants.values() for s in granted]
    return any(c.key.startswith(ram_conditions.TAG_PREFIX) for s in statements for c in s.conditions)


def allowed_regions(principal: Principal | None, action: Action) -> list[Region]:
    """The regions whose container allows `action`."""
    return [region for region in every_region() if allows(principal, action, region)]


def are_all_regions(listed: list[Region]) -> bool:
    return len(listed) == len(every_region())


# ---------------------------------------------------------------- lists


def secret_rows() -> sql.Rows:
    """How secrets are named and tagged, for `visible`."""
    return sql.Rows(_prefixes(Kind.SECRET), "name", tags=_tags_of_secret)


def instance_rows() -> sql.Rows:
    """How instances are named, for `visible`."""
    return sql.Rows(_prefixes(Kind.INSTANCE), "instance_id")


def visible(principal: Principal | None, action: Action, rows: sql.Rows) -> Q:
    """The rows on which `action` is allowed: exactly those on which `decide` allows it."""
    if _refused(principal, action):
        return sql.NONE
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        return sql.ALL if action in SCHEDULED else sql.NONE
    granted = sql.NONE
    if action.kind == Kind.SECRET and rows.name == "name" and _sheet(principal).grants:
        granted = _granted(principal, action, rows)
    statements = _sheet(principal).about(action)
    if action == Action.GET_SECRET_VALUE:
        statements = _with_a_reason(statements)
    return sql.condition(statements, action, _context(), rows, granted=granted)


def _granted(principal: Principal, action: Action, rows: sql.Rows) -> Q:
    """The rows with a grant of `action` whose conditions hold: one question for each set of conditions."""
    found = sql.NONE
    given = (s for granted in _sheet(principal).grants.values() for s in granted if action in s.actions)
    for conditions in dict.fromkeys(s.conditions for s in given):
        asked = conditions
        if action == Action.GET_SECRET_VALUE:
            asked = tuple(c for c in conditions if c.key != ram_conditions.REASON)
        holds = sql.allows_under(asked, _context(), rows)
        if holds is None:
            continue
        here = {
            "content_object": OuterRef("pk"),
            "permission__codename": action.value,
            "conditions": ram_conditions.written(conditions),
        }
        void = _sheet(principal).void
        by_group = SecretGroupGrant.objects.filter(group__in=principal.groups.all(), **here)
        by_group = by_group.exclude(pk__in=void["group"])
        directly = SecretPrincipalGrant.objects.filter(principal=principal, **here)
        directly = directly.exclude(pk__in=void["principal"])
        granted = Q(Exists(directly)) | Q(Exists(by_group))
        found |= granted if holds is sql.ALL else granted & holds
    return found


def _tags_of_secret(key: str) -> Any:
    return Tag.objects.filter(secret=OuterRef("pk"), key=key)


def _prefixes(kind: Kind) -> dict[UUID, str]:
    return {
        region.pk: arn(kind, "", account=region.account.number, region=region.code) + "/"
        for region in every_region()
    }


# ---------------------------------------------------------------- what a decision is made from


def every_region() -> list[Region]:
    """Every region, retired ones too, by their codes; read once for a request."""
    request = _request.get()
    if request is None:
        return list(Region.objects.select_related("account"))
    if not request.regions:
        request.regions.extend(Region.objects.select_related("account"))
    return request.regions


def _containers(action: Action) -> list[Region | None]:
    return [*every_region()] if action.kind.is_regional else [None]


def _context() -> dict[str, str]:
    request = _request.get()
    if request is None:
        return {_TIME: timezone.now().isoformat()}
    if not request.context:
        request.context = {_TIME: timezone.now().isoformat(), **request.facts}
    return request.context


def _target(action: Action, resource: object) -> _Target | None:
    """What `action` is asked of; None for nothing of ours."""
    if action.on_container:
        region = resource if isinstance(resource, Region) else getattr(resource, "region", None)
        if action.kind.is_regional:
            if region is None:
                return None
            return _Target(arn(action.kind, "", account=region.account.number, region=region.code))
        return _Target(arn(action.kind, "", account=_account_number()))
    name = getattr(resource, "arn", "")
    if not name:
        return None
    if isinstance(resource, Tagged):
        return _Target(name, resource.secret, resource.tags)
    secret = resource if isinstance(resource, Secret) else getattr(resource, "secret", None)
    return _Target(name, secret if isinstance(secret, Secret) else None)


def _is_whole(resource: object, secret: Secret | None) -> bool:
    """Whether the rows that name this resource are as Keyturn wrote them."""
    named_by = secret or getattr(resource, "instance", None) or resource
    rows = (named_by, getattr(named_by, "region", None))
    return all(seals.holds(row) for row in rows if isinstance(row, seals.SealedRow))


def _account_number() -> str:
    request = _request.get()
    if request is None:
        return Account.objects.get().number
    if not request.account:
        regions = every_region()
        request.account = regions[0].account.number if regions else Account.objects.get().number
    return request.account


def _sheet(principal: Principal) -> _Sheet:
    request = _request.get()
    if request is None:
        return _read(principal)
    if principal.pk not in request.sheets:
        request.sheets[principal.pk] = _read(principal)
    return request.sheets[principal.pk]


#: Of an attachment and its policy, what decides and its seal: the rest is not read at each request.
_OF_ATTACHED = ("principal", "group", "policy__seal", *(f"policy__{column}" for column in Policy.SEALED))


def _read(principal: Principal) -> _Sheet:
    """Read what decides for this principal; rows that were changed outside Keyturn grant nothing."""
    user, word = principal.user, _word(principal)
    columns = ("rights_seal", "groups", "groups__name", "groups__sealed__seal")
    rows = list(Principal.objects.filter(pk=principal.pk).values_list(*columns))
    groups = {group: (name, seal or "") for _, group, name, seal in rows if group is not None}
    held = Attachment.objects.filter(Q(principal=principal) | Q(group__in=list(groups)))
    held = held.select_related("policy").only(*_OF_ATTACHED)
    attached = sorted(held, key=lambda row: (row.policy.kind, row.policy.name))
    if not (rows and (user is None or seals.holds(user)) and seals.holds(principal)):
        return _Sheet(_closed(f"the record of {word}"))
    if not _are_whole(principal, rows[0][0], groups, attached):
        return _Sheet(_closed(f"the groups or policies of {word}"))
    statements = tuple(s for policy in {row.policy: None for row in attached} for s in _of(policy))
    sheet = _Sheet(statements)
    to_it = _granted_by(SecretPrincipalGrant.objects.filter(principal=principal), "principal", Value(0))
    to_groups = _granted_by(SecretGroupGrant.objects.filter(group__in=list(groups)), "group", F("group"))
    for pk, secret, action, conditions, seal, whom, group in to_it.union(to_groups, all=True):
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


def _word(principal: Principal) -> str:
    return "this machine" if principal.kind == Principal.Kind.MACHINE else "this user"


def _of(policy: Policy) -> tuple[ram_statements.Statement, ...]:
    if seals.holds(policy):
        return compiled(policy.document, policy.name)
    return _closed(f"the policy {policy.name}")


def _closed(what: str) -> tuple[ram_statements.Statement, ...]:
    """What stands in the place of rights that cannot be trusted: it denies everything."""
    return (
        ram_statements.Statement(
            ram_statements.Effect.DENY, ("*",), ("*",), source=f"{what}, changed outside Keyturn"
        ),
    )


def _granted_by(rows: QuerySet[Any], whom: str, holder: Any) -> QuerySet[Any, tuple[Any, ...]]:
    columns = ("pk", "content_object", "permission__codename", "conditions", "seal")
    return rows.values_list(*columns, Value(whom), holder)


@functools.lru_cache(maxsize=512)
def compiled(document: str, source: str) -> tuple[ram_statements.Statement, ...]:
    """The statements of a stored document. One that cannot be read any more denies everything.

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
