"""The rows of the list of secrets: what is read for them, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef, QuerySet, Subquery, prefetch_related_objects
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import mark_safe

from console.access import resources
from console.http import OperatorRequest
from console.presentation import secret_states
from rotation import accounts
from rotation.models import Run
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


def rotating() -> list[UUID]:
    """The keys of the secrets that rotate now: few, and found in the index of runs that have not ended."""
    active = Run.objects.active().filter(kind=Run.Kind.ROTATE).order_by()
    # Not asked to be there: for that SQLite would read the index of all runs that have a secret.
    return [key for key in active.values_list("secret", flat=True) if key is not None]


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


@cache
def shown() -> QuerySet[Secret]:
    """All secrets, with what a row of the list shows. Put together once: that takes longer than to ask."""
    joined = Secret.objects.select_related("managed__instance", "schedule")
    # What was found on a host at its last check may be longer than the page.
    return with_runs(joined.defer("managed__instance__accounts", "managed__instance__checks"))


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
    possible = {name: action for name, action in ACTIONS.items() if resources.may(request, action)}
    if with_tags or decisions.asks_for_tags(request.user.principal, possible.values()):
        prefetch_related_objects(secrets, "tags")
    _place(secrets)
    links = _Links(request, region)
    is_everywhere = region == resources.ALL_REGIONS
    return [
        _facts(secret, is_everywhere=is_everywhere)
        | links.of(secret, rights(request, secret, possible))
        | {"tags": list(secret.tags.all()) if with_tags else []}
        for secret in secrets
    ]


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


def _facts(secret: Secret, *, is_everywhere: bool) -> Cells:
    account, plan = accounts.of(secret), getattr(secret, "schedule", None)
    instance = account.instance if account else None
    known = secret_states.facts(secret, is_rotating=secret.is_rotating)  # type: ignore[attr-defined]
    outcome = secret.last_outcome  # type: ignore[attr-defined]
    return {
        "pk": secret.pk,
        "name": secret.name,
        "type": TYPES[secret.type],
        "kind": KINDS.get(secret.kind, ""),
        "instance": instance.name if instance else "",
        "where": instance.where if instance else "",
        "region": secret.region.name if is_everywhere else "",
        "username": account.username if account else "",
        "credential": known.credential,
        "automatic": known.automatic,
        "status": known.status,
        "next_at": plan.next_at if plan and secret.is_enabled else None,
        "ended_at": secret.last_ended_at,  # type: ignore[attr-defined]
        "outcome": Run.Outcome(outcome).label if outcome else "",
        "until": secret.deletion_due_at if secret.is_pending_deletion else None,
        "created_at": secret.created_at,
        "is_enabled": secret.is_enabled,
    }


class _Links:
    """Where a row's links lead, and its menu. Of two rows of the same state and rights, these differ in the
    row's id only: a page has few such menus, and each is put together once."""

    _PLACE = uuid4()  # stands where a row's id goes

    def __init__(self, request: OperatorRequest, region: str) -> None:
        self._request, self._region = request, region
        self._here = reverse("secret", args=[region, self._PLACE])
        self._rotate = reverse("secret_rotate", args=[region, self._PLACE])
        self._made: dict[tuple[object, ...], str] = {}

    def of(self, secret: Secret, allowed: Rights) -> Cells:
        """The row's links and its menu, by what is allowed there."""
        place, pk = str(self._PLACE), str(secret.pk)
        return {
            "url": self._here.replace(place, pk),
            "rotate_url": self._rotate.replace(place, pk) if allowed["may_rotate"] else "",
            "menu": mark_safe(self._menu(secret, allowed).replace(place, pk)),  # noqa: S308
        }

    def _menu(self, secret: Secret, allowed: Rights) -> str:
        alike = (secret.status, *allowed.values())
        if alike not in self._made:
            stand_in = {"pk": self._PLACE, "is_enabled": secret.is_enabled}
            stand_in["is_pending_deletion"] = secret.is_pending_deletion
            context = {"secret": stand_in, "here": self._here, "region": self._region, **allowed}
            self._made[alike] = render_to_string("secrets/_menu.html", context, self._request)
        return self._made[alike]
