"""The rows of the list of secrets: what is read for them, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Subquery, prefetch_related_objects

from console.access import resources
from console.http import OperatorRequest
from console.lists import addresses
from console.presentation import secret_states
from rotation import accounts
from rotation.models import Run
from secrets_app import prepared
from secrets_app.models import Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

Cells = dict[str, object]
Rights = dict[str, bool]

#: What a secret's actions are called in templates.
ACTIONS = {
    "may_rotate": Action.ROTATE_SECRET,
    "may_reveal": Action.GET_SECRET_VALUE,
    "may_put": Action.PUT_SECRET_VALUE,
    "may_edit": Action.UPDATE_SECRET,
    "may_schedule": Action.UPDATE_ROTATION,
    "may_resolve": Action.RESOLVE_ROTATION,
    "may_delete": Action.DELETE_SECRET,
    "may_restore": Action.RESTORE_SECRET,
}
TYPES, KINDS = dict(Secret.Type.choices), dict(Secret.Kind.choices)


def is_rotating() -> Exists:
    return Exists(Run.objects.active().filter(secret=OuterRef("pk"), kind=Run.Kind.ROTATE))


_ROTATING = prepared.Question(
    lambda: Run.objects.active().filter(kind=Run.Kind.ROTATE).order_by().values_list("secret", flat=True)
)


def rotating() -> list[UUID]:
    """The keys of the secrets that rotate now: few, and found in the index of runs that have not ended."""
    # Not asked to be there: for that SQLite would read the index of all runs that have a secret.
    return [key for key in _ROTATING() if key is not None]


def with_runs(rows: QuerySet[Secret]) -> QuerySet[Secret]:
    """Each row with whether it rotates now, and how its last rotation ended."""
    ended = Run.objects.without_missed().filter(
        secret=OuterRef("pk"), kind=Run.Kind.ROTATE, state=Run.State.ENDED
    )
    last = ended.order_by("-created_at")
    return rows.annotate(
        is_rotating=is_rotating(),
        last_outcome=Subquery(last.values("outcome")[:1]),
        last_ended_at=Subquery(last.values("ended_at")[:1]),
    )


def _shown(keys: Sequence[UUID]) -> QuerySet[Secret]:
    joined = Secret.objects.filter(pk__in=keys).select_related("managed__instance", "schedule")
    # What was found on a host at its last check may be longer than the page.
    return with_runs(joined.defer("managed__instance__accounts", "managed__instance__checks"))


#: The secrets of these keys, for any reader, with what a row of the list shows.
shown = prepared.Several(_shown)


def rights(request: OperatorRequest, secret: Secret, possible: Mapping[str, Action] = ACTIONS) -> Rights:
    """Which of a secret's actions are allowed, of those that it has.

    Policies and grants are read once for a request.
    """
    principal, is_managed = request.user.principal, accounts.of(secret) is not None
    return {
        name: name in possible
        and (is_managed or action not in resources.OF_AN_ACCOUNT)
        and decisions.allows(principal, action, secret)
        for name, action in ACTIONS.items()
    }


def cells(
    request: OperatorRequest, region: str, secrets: list[Secret], *, with_tags: bool = False
) -> list[Cells]:
    """What stands in the row of each of these, which `shown` has read; `with_tags`, its tags too.

    A dict and not the secret: its template looks up thirty names in each row, and those of a dict it finds
    at its first try.
    """
    # What is allowed nowhere is not asked of each row.
    possible = {"may_rotate": Action.ROTATE_SECRET} if resources.may(request, Action.ROTATE_SECRET) else {}
    ready(request, secrets, possible.values(), with_tags=with_tags)
    is_everywhere = region == resources.ALL_REGIONS and len(decisions.every_region()) > 1
    return [
        _facts(secret, is_everywhere=is_everywhere)
        | _links(request, region, secret, may_rotate=rights(request, secret, possible)["may_rotate"])
        | {"tags": list(secret.tags.all()) if with_tags else []}
        for secret in secrets
    ]


def ready(
    request: OperatorRequest, secrets: list[Secret], actions: Iterable[Action], *, with_tags: bool = False
) -> None:
    """Read at once what deciding these actions on each of the rows needs."""
    if with_tags or decisions.asks_for_tags(request.user.principal, actions):
        prefetch_related_objects(secrets, "tags")
    _place(secrets)


def _place(secrets: Iterable[Secret]) -> None:
    """Say where each secret is from the few regions that were read for this request already."""
    known = {region.pk: region for region in decisions.every_region()}
    for secret in secrets:
        if secret.region_id in known:
            secret.region = known[secret.region_id]
            secret.account = secret.region.account
        account = accounts.of(secret)
        if account and account.instance.region_id in known:
            account.instance.region = known[account.instance.region_id]
            account.instance.account = account.instance.region.account


def _facts(secret: Secret, *, is_everywhere: bool) -> Cells:
    account, plan = accounts.of(secret), getattr(secret, "schedule", None)
    instance = account.instance if account else None
    known = secret_states.facts(secret, is_rotating=secret.is_rotating)  # type: ignore[attr-defined]
    outcome = secret.last_outcome  # type: ignore[attr-defined]
    return {
        "pk": secret.pk,
        "name": secret.name,
        "kind": KINDS.get(secret.kind, "") or TYPES[secret.type].removesuffix(" secret"),
        "instance": instance.name if instance else "",
        "where": instance.where if instance else "",
        "region": secret.region.name if is_everywhere else "",
        "username": account.username if account else "",
        "credential": known.credential,
        "automatic": _automatic(known.automatic),
        "status": known.status,
        "next_at": plan.next_at if plan and secret.is_enabled else None,
        "ended_at": secret.last_ended_at,  # type: ignore[attr-defined]
        "failure": Run.Outcome(outcome).label if outcome and outcome != Run.Outcome.SUCCEEDED else "",
        "until": secret.deletion_due_at if secret.is_pending_deletion else None,
        "created_at": secret.created_at,
        "is_enabled": secret.is_enabled,
    }


def _automatic(fact: secret_states.Fact) -> secret_states.Fact:
    """The fact in a column that is narrow and stands beside the date: `Every 7 days`, `Overdue`."""
    if fact.tone == "warning" and fact.label.startswith("Overdue"):
        return replace(fact, label="Overdue")
    often = fact.label.removeprefix("On, ")
    return fact if often == fact.label else replace(fact, label=often[:1].upper() + often[1:])


def _links(request: OperatorRequest, region: str, secret: Secret, *, may_rotate: bool) -> Cells:
    """Where the row's cells lead: to the secret, to its instance, to the dialog that rotates it."""
    account = accounts.of(secret)
    instance = account.instance if account else None
    may_see = instance is not None and resources.may(request, Action.DESCRIBE_INSTANCE, instance)
    return {
        "url": addresses.of("secret", secret.pk, region),
        "instance_url": addresses.of("instance", instance.pk, region) if instance and may_see else "",
        "rotate_url": addresses.of("secret_rotate", secret.pk, region) if may_rotate else "",
    }
