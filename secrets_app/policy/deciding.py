"""The decision: may this principal do this to that? One function decides, `decide`.

Its sources are what `holdings` has read: the policies attached to a principal and to its groups, and the
grants on one secret; `ram_statements` says what follows from them. A list asks `visible`, which compiles the
same statements. In doubt the answer is no.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from secrets_app import origin, seal_sets, seals
from secrets_app.actions import OF_A_SECRET, Action, Kind, arn, named
from secrets_app.models import (
    Principal,
    Region,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
    Tag,
    User,
)
from secrets_app.policy import holdings, ram_conditions, ram_statements, resource_documents, sql

#: The actions that Keyturn does automatically.
SCHEDULED = frozenset({Action.ROTATE_SECRET, Action.DESCRIBE_SECRET})
_TIME = "acs:CurrentTime"
#: What no resource policy denies to an administrator, who could not mend it else.
_KEPT = frozenset({Action.DESCRIBE_SECRET, Action.LIST_GRANTS, Action.SET_SECRET_POLICY})


@dataclass(frozen=True)
class Decision:
    """Allowed or not, and what made it so."""

    allowed: bool
    because: str  # a sentence for those who may see why
    statement: ram_statements.Statement | None = None
    resource: str = ""  # the name that was decided about, which for a container is not the resource's own


@dataclass(frozen=True)
class Tagged:
    """A secret as it would be with these tags: one that is not made yet, or one whose tags would change."""

    arn: str
    tags: Mapping[str, str]
    secret: Secret | None = None
    os: str = ""  # of the instance that it is to be made for, as its row has it; empty if not known yet

    @property
    def pk(self) -> UUID | None:
        return self.secret.pk if self.secret else None


def new_secret(region: Region, name: str, tags: Mapping[str, str], os: str = "") -> Tagged:
    """A secret that is to be made, for an account of an instance with this operating system."""
    return Tagged(arn(Kind.SECRET, name, account=region.account.number, region=region.code), tags, os=os)


def retagged(secret: Secret, tags: Mapping[str, str]) -> Tagged:
    """This secret, if it had these tags."""
    return Tagged(secret.arn, tags, secret)


class Target(NamedTuple):
    """The name that a policy sees, the secret whose grants count, and the tags in the place of its own.

    `of` is the resource itself, where it is no secret.
    """

    name: str
    secret: Secret | None = None
    tags: Mapping[str, str] | None = None
    of: object = None

    def placed(self) -> tuple[object, object]:
        """The account that the secret manages, if it manages one, and its instance, or what else is asked of.

        By their names alone, for this package does not know what an instance is.
        """
        of = self.of if self.secret is None else self.secret
        account = getattr(of, "managed", None)
        return account, getattr(of if account is None else account, "instance", of)

    def own_tags(self) -> dict[str, str]:
        """The tags of the secret as they are stored."""
        return {tag.key: tag.value for tag in self.secret.tags.all()} if self.secret else {}

    def tagged(self, own: Mapping[str, str] | None = None) -> dict[str, str]:
        """The tags, as conditions name them; `own` are the stored ones, where they were read already."""
        tags = self.tags
        if tags is None:
            tags = self.own_tags() if own is None else own
        return {f"{ram_conditions.TAG_PREFIX}{key}": value for key, value in tags.items()}


NO_SUCH_RESOURCE = Decision(False, "There is no such resource.")


def decide(
    principal: Principal | None, action: str, resource: object = None, *, reason: str | None = None
) -> Decision:
    """Decide whether `principal` may do `action` to `resource`; where in doubt, no.

    `resource` is a row with an ARN; a region stands for the container there (`...:secret`), and None for
    the container of what belongs to no region. `reason` is the reason that a user gave for reading a value;
    None means that it was not asked for yet, and then it counts as one that every policy accepts.
    """
    refused = ruled_out(principal, action)
    if refused:
        return refused
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        because = "Schedules rotate secrets and do nothing else."
        return Decision(action in SCHEDULED, because, resource=str(getattr(resource, "arn", "")))
    wanted = named(action)
    target = _target(wanted, resource) if wanted else None
    if wanted is None or target is None:
        return NO_SUCH_RESOURCE
    if not _is_whole(resource, target.secret):
        return Decision(False, seals.SENTENCE)
    context = circumstances() if reason is None else circumstances() | {ram_conditions.REASON: reason}
    return _decision(principal, wanted, target, _verdict(principal, wanted, target, context))


def simulate(user: User, action: str, resource: object, facts: dict[str, str]) -> Decision:
    """Decide as `decide` would for `user` in a request with these facts."""
    refused = ruled_out(user.principal, action)
    if refused:
        return refused
    wanted = named(action)
    target = _target(wanted, resource) if wanted else None
    if wanted is None or target is None:
        return NO_SUCH_RESOURCE
    return _decision(user.principal, wanted, target, _verdict(user.principal, wanted, target, facts))


def ruled_out(principal: Principal | None, action: str) -> Decision | None:
    if principal is None:
        return Decision(False, "No user is signed in.")
    if named(action) is None:
        return Decision(False, f"There is no action {action}.")
    if principal.kind == Principal.Kind.SYSTEM:
        return None if seals.holds(principal) else Decision(False, seals.SENTENCE)
    if principal.kind == Principal.Kind.MACHINE and not principal.is_active:
        return Decision(False, "This machine is disabled.")
    # A machine signs in by no user; its row says so under a seal, which is looked at where rights are read.
    if principal.kind != Principal.Kind.MACHINE and (principal.user is None or not principal.user.is_active):
        return Decision(False, "This user is disabled.")
    return None


def _verdict(
    principal: Principal, action: Action, target: Target, context: dict[str, str]
) -> ram_statements.Verdict:
    statements, context = about(principal, action, target, context)
    if action == Action.GET_SECRET_VALUE and ram_conditions.REASON not in context:
        statements = _with_a_reason(statements)
    return ram_statements.decide(statements, action, target.name, context)


def about(
    principal: Principal, action: Action, target: Target, context: dict[str, str]
) -> tuple[tuple[ram_statements.Statement, ...], dict[str, str]]:
    """The statements that bear on `action` here; with tags and operating system, where one looks at them."""
    sheet = holdings.sheet(principal)
    statements = sheet.about(action)
    if target.secret is not None:
        statements += sheet.grants.get(target.secret.pk, ())
        statements += _of_resource(principal, action, target.secret.resource_policy)
    if any(c.key.startswith(ram_conditions.TAG_PREFIX) for s in statements for c in s.conditions):
        own = target.own_tags()
        if target.secret is not None and not seal_sets.tags_hold(target.secret, own):
            statements += holdings.closed("the tags of this secret")
        context = context | target.tagged(own)
    if any(c.key == ram_conditions.OS_TYPE for s in statements for c in s.conditions):
        rows = target.placed()
        if not all(seals.holds(row) for row in rows if isinstance(row, seals.SealedRow)):
            statements += holdings.closed("the instance of this")
        system = ram_conditions.OS_TYPES.get(getattr(rows[1], "os", ""))
        context = context | ({ram_conditions.OS_TYPE: system} if system else {})
    return statements, context


def _of_resource(
    principal: Principal, action: Action, kept: str | None
) -> tuple[ram_statements.Statement, ...]:
    """What a resource policy, as its secret keeps it, says of this action to this principal."""
    if not kept:
        return ()
    spoken = resource_documents.about(kept, principal.pk)
    is_kept = action in _KEPT and holdings.sheet(principal).is_administrator
    return tuple(
        s for s in spoken if s.concerns(action) and not (is_kept and s.effect == ram_statements.Effect.DENY)
    )


def looks_at_rows(principal: Principal, action: Action, secret: Secret) -> bool:
    """Whether a decision about this reads more than rights: the tags of the secret, or its instance."""
    statements = holdings.sheet(principal).about(action)
    statements += holdings.sheet(principal).grants.get(secret.pk, ())
    statements += _of_resource(principal, action, secret.resource_policy)
    return any(
        c.key.startswith(ram_conditions.TAG_PREFIX) or c.key == ram_conditions.OS_TYPE
        for s in statements
        for c in s.conditions
    )


def may_by_resource(principal: Principal, action: Action) -> bool:
    """Whether a resource policy of some secret allows this; for showing a way there."""
    return any(
        statement.effect == ram_statements.Effect.ALLOW
        for kept in holdings.policies_of_secrets()
        for statement in _of_resource(principal, action, kept)
    )


def widened(principal: Principal, secret: Secret, tags: Mapping[str, str]) -> list[Action]:
    """What `principal` could do to this secret, in some request, only once it had these tags."""
    if principal.kind == Principal.Kind.SYSTEM:
        return []
    before, after = Target(secret.arn, secret), Target(secret.arn, secret, tags)
    actions: list[Action] = []
    for action in OF_A_SECRET:
        statements, _ = about(principal, action, before, {})
        if ram_statements.may_widen(statements, action, secret.arn, before.tagged(), after.tagged()):
            actions.append(action)
    return actions


def _with_a_reason(statements: tuple[ram_statements.Statement, ...]) -> tuple[ram_statements.Statement, ...]:
    """These statements as they are once a reason is given that each of them accepts."""
    accepted = []
    for statement in statements:
        left = tuple(c for c in statement.conditions if c.key != ram_conditions.REASON)
        if len(left) == len(statement.conditions):
            accepted.append(statement)
        elif statement.effect == ram_statements.Effect.ALLOW:
            accepted.append(replace(statement, conditions=left))
    return tuple(accepted)


def _decision(
    principal: Principal, action: Action, target: Target, verdict: ram_statements.Verdict
) -> Decision:
    by = verdict.statement
    if by is None:
        sentence = f"No policy of {principal.name} and no grant allows {action} here."
    elif by.number:
        sentence = f"{by.effect} by statement {by.number} of {by.source}."
    else:
        sentence = f"{by.effect} by {by.source}."
    return Decision(verdict.allowed, sentence, by, target.name)


def circumstances() -> dict[str, str]:
    """The facts that conditions are compared with: where the request came from, how, and when."""
    here = origin.current()
    facts = {_TIME: (here.at or timezone.now()).isoformat()}
    if here.address:
        facts["acs:SourceIp"] = here.address
    for key, fact in (("acs:SecureTransport", here.is_secure), ("acs:MFAPresent", here.is_mfa)):
        if fact is not None:
            facts[key] = str(fact).lower()
    return facts


def _target(action: Action, resource: object) -> Target | None:
    """What `action` is asked of; None for nothing of ours."""
    if action.on_container:
        region = resource if isinstance(resource, Region) else getattr(resource, "region", None)
        if action.kind.is_regional:
            if region is None:
                return None
            return Target(arn(action.kind, "", account=region.account.number, region=region.code))
        return Target(arn(action.kind, "", account=holdings.account_number()))
    name = getattr(resource, "arn", "")
    if not name:
        return None
    if isinstance(resource, Tagged):
        return Target(name, resource.secret, resource.tags, resource)
    secret = resource if isinstance(resource, Secret) else getattr(resource, "secret", None)
    return Target(name, secret if isinstance(secret, Secret) else None, of=resource)


def _is_whole(resource: object, secret: Secret | None) -> bool:
    """Whether the rows that name this resource are as Keyturn wrote them."""
    named_by = secret or getattr(resource, "instance", None) or resource
    rows = (named_by, getattr(named_by, "region", None))
    return all(seals.holds(row) for row in rows if isinstance(row, seals.SealedRow))


# ---------------------------------------------------------------- lists


def secret_rows() -> sql.Rows:
    """How secrets are named and tagged, for `visible`."""
    return sql.Rows(_prefixes(Kind.SECRET), "name", tags=_tags_of_secret, os=_secret_on)


def instance_rows() -> sql.Rows:
    """How instances are named, for `visible`."""
    return sql.Rows(_prefixes(Kind.INSTANCE), "instance_id", os=lambda systems: Q(os__in=systems))


def visible(principal: Principal | None, action: Action, rows: sql.Rows) -> Q:
    """The rows on which `action` is allowed: exactly those on which `decide` allows it."""
    if ruled_out(principal, action):
        return sql.NONE
    assert principal is not None
    if principal.kind == Principal.Kind.SYSTEM:
        return sql.ALL if action in SCHEDULED else sql.NONE
    granted = sql.NONE
    if action.kind == Kind.SECRET and rows.name == "name" and holdings.sheet(principal).grants:
        granted = _granted(principal, action, rows)
    statements, refused = holdings.sheet(principal).about(action), sql.NONE
    if action == Action.GET_SECRET_VALUE:
        statements = _with_a_reason(statements)
    if action.kind == Kind.SECRET and rows.name == "name":
        by_policy, refused = _by_resource(principal, action, rows)
        if by_policy is not sql.NONE:
            granted = by_policy if granted is sql.NONE else granted | by_policy
    return sql.condition(statements, action, circumstances(), rows, granted=granted, refused=refused)


def _by_resource(principal: Principal, action: Action, rows: sql.Rows) -> tuple[Q, Q]:
    """The rows whose own policy allows `action`, and those whose own policy denies it."""
    parts = dict.fromkeys(ram_statements.Effect, sql.NONE)
    for kept in holdings.policies_of_secrets():
        statements = _of_resource(principal, action, kept)
        if action == Action.GET_SECRET_VALUE:
            statements = _with_a_reason(statements)
        for statement in statements:
            holds = sql.holding(statement, circumstances(), rows)
            if holds is not None:
                here = Q(resource_policy=kept)
                part = here if holds is sql.ALL else here & holds
                before = parts[statement.effect]
                parts[statement.effect] = part if before is sql.NONE else before | part
    return parts[ram_statements.Effect.ALLOW], parts[ram_statements.Effect.DENY]


def _granted(principal: Principal, action: Action, rows: sql.Rows) -> Q:
    """The rows with a grant of `action` whose conditions hold: one question for each set of conditions."""
    condition = sql.NONE
    given = (
        s for granted in holdings.sheet(principal).grants.values() for s in granted if action in s.actions
    )
    for conditions in dict.fromkeys(s.conditions for s in given):
        asked = conditions
        if action == Action.GET_SECRET_VALUE:
            asked = tuple(c for c in conditions if c.key != ram_conditions.REASON)
        holds = sql.allows_under(asked, circumstances(), rows)
        if holds is None:
            continue
        here = {
            "content_object": OuterRef("pk"),
            "permission__codename": action.value,
            "conditions": ram_conditions.written(conditions),
        }
        void = holdings.sheet(principal).void
        by_group = SecretGroupGrant.objects.filter(group__in=principal.groups.all(), **here)
        by_group = by_group.exclude(pk__in=void["group"])
        directly = SecretPrincipalGrant.objects.filter(principal=principal, **here)
        directly = directly.exclude(pk__in=void["principal"])
        granted = Q(Exists(directly)) | Q(Exists(by_group))
        condition |= granted if holds is sql.ALL else granted & holds
    return condition


def _tags_of_secret(key: str) -> Any:
    return Tag.objects.filter(secret=OuterRef("pk"), key=key)


def _secret_on(systems: Collection[str]) -> Q:
    """The secrets of accounts on instances with one of these operating systems."""
    return Q(Exists(Secret.objects.filter(pk=OuterRef("pk"), managed__instance__os__in=systems)))


def _prefixes(kind: Kind) -> dict[UUID, str]:
    return {
        region.pk: arn(kind, "", account=region.account.number, region=region.code) + "/"
        for region in holdings.every_region()
    }
