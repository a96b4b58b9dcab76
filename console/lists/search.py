"""What the search of the top bar finds: of each list the first few rows that match, and how many there are.

Each part asks through `access` for the rows of a list and narrows them by that list's own filter, so nothing
is found here that its reader could not list. An id or an ARN is looked up by itself, and nothing else then.
No value is searched: what is compared are names, addresses, ids and tags.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse

from console.access import resources, rights
from console.http import OperatorRequest
from console.lists import addresses, instance_list, paging, run_filters, secret_filters
from console.presentation import run_states
from rotation import accounts
from rotation.models import Instance, Run
from secrets_app import prepared
from secrets_app.actions import Action
from secrets_app.models import AccessKey, AuditEvent, Principal, Secret, User

SHORTEST = 2  # characters: one letter is in every name
LONGEST = 200
SHOWN = 5  # of each kind
COUNTED = 100  # more are `100+`: counting on would cost more than the rest
EVERYWHERE = resources.ALL_REGIONS
ARN = re.compile(r"acs:kms:(?P<region>[^:]*):[^:]*:(?P<kind>[a-z-]+)/(?P<name>.+)")
ACTIONS = frozenset({action.value for action in Action} | set(Run.ENDED_EVENTS.values()))


@dataclass(frozen=True)
class Hit:
    """One thing that was found."""

    label: str
    url: str
    where: str = ""  # what tells it from others of that name
    at: datetime | None = None


@dataclass(frozen=True)
class Group:
    """The hits of one kind, and the list of them all where there are more."""

    name: str
    hits: list[Hit]
    more: str = ""
    more_url: str = ""
    keys: tuple[UUID, ...] = ()  # of what was found, as far as it was counted


@dataclass(frozen=True)
class Wanted:
    """What was typed, and what it is if it is an id or an ARN."""

    text: str
    pk: UUID | None
    arn: re.Match[str] | None

    @property
    def is_exact(self) -> bool:
        return self.pk is not None or self.arn is not None

    def named(self, kind: str) -> str:
        """The name in the ARN of something of this kind; empty for any other text."""
        return self.arn["name"] if self.arn and self.arn["kind"] == kind else ""


def tidied(text: str) -> str:
    """What is searched for; empty for a text that is too short."""
    text = " ".join(text.replace("\0", "").split())[:LONGEST]
    return text if len(text) >= SHORTEST else ""


def groups(request: OperatorRequest, text: str) -> list[Group]:
    """What this reader may list and `text`, which is `tidied`, names."""
    wanted = Wanted(text, _uuid(text), ARN.fullmatch(text))
    kinds: tuple[tuple[Action, Callable[[OperatorRequest, Wanted], Group]], ...] = (
        (Action.LIST_SECRETS, _secrets),
        (Action.LIST_INSTANCES, _instances),
        (Action.LIST_USERS, _users),
        (Action.LIST_USERS, _applications),
        (Action.LIST_ACCESS_KEYS, _access_keys),
        (Action.LIST_RUNS, _runs),
    )
    found = [find(request, wanted) for action, find in kinds if resources.may(request, action)]
    if resources.may(request, Action.LIST_EVENTS):
        found.append(_events(wanted, [key for group in found for key in group.keys if group.name != "Runs"]))
    return [group for group in found if group.hits]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _group(
    name: str,
    rows: QuerySet[Any],
    order: str,
    hit: Callable[[Any], Hit],
    url: str = "",
    read: Callable[[list[Any]], list[Any]] | None = None,
) -> Group:
    """Show the first rows; their keys come first, so that sorting reads no more than it must.

    `read` answers with the rows of these keys and what each needs; without it, they are those of `rows`.
    """
    keys = list(
        rows.order_by(order, "-pk" if order.startswith("-") else "pk").values_list("pk", flat=True)[
            : COUNTED + 1
        ]
    )
    first = {row.pk: row for row in _shown(rows, keys[:SHOWN], read)} if keys else {}
    hits = [hit(first[key]) for key in keys[:SHOWN] if key in first]
    if len(keys) <= SHOWN or not url:
        return Group(name, hits, keys=tuple(keys))
    count = f"{COUNTED}+" if len(keys) > COUNTED else str(len(keys))
    return Group(name, hits, f"All {count} {name.lower()} that match", url, tuple(keys))


def _shown(
    rows: QuerySet[Any], keys: list[Any], read: Callable[[list[Any]], list[Any]] | None
) -> Iterable[Any]:
    return read(keys) if read else paging.unfiltered(rows).filter(pk__in=keys).order_by()


#: The rows of these keys, for any reader, with what a hit shows.
_SECRETS: prepared.Several[Secret] = prepared.Several(
    lambda keys: Secret.objects.filter(pk__in=keys).select_related("region", "managed__instance").order_by()
)
_INSTANCES: prepared.Several[Instance] = prepared.Several(
    lambda keys: Instance.objects.filter(pk__in=keys).select_related("region").order_by()
)


def _list(name: str, **chosen: str) -> str:
    return reverse(name, args=[EVERYWHERE], query=chosen)


def _secrets(request: OperatorRequest, wanted: Wanted) -> Group:
    rows = resources.secrets(request, EVERYWHERE)
    if wanted.is_exact:
        named = Q(region__code=wanted.arn["region"], name=wanted.named("secret")) if wanted.arn else Q()
        rows = rows.filter(Q(pk=wanted.pk) if wanted.pk else named)
    else:
        rows = secret_filters.narrowed(rows, {"q": wanted.text})

    def hit(secret: Secret) -> Hit:
        account = accounts.of(secret)
        on = f"{account.username} on {account.instance.name}, " if account else ""
        return Hit(
            secret.name,
            addresses.of("secret", secret.pk, secret.region.code),
            f"{on}{secret.region.name}",
        )

    return _group("Secrets", rows, "name", hit, _list("secrets", q=wanted.text), _SECRETS)


def _instances(request: OperatorRequest, wanted: Wanted) -> Group:
    rows = resources.instances(request, EVERYWHERE)
    if wanted.is_exact:
        rows = rows.filter(Q(pk=wanted.pk) if wanted.pk else Q(instance_id=wanted.named("instance")))
    else:
        rows = instance_list.narrowed(rows, {"q": wanted.text})

    def hit(instance: Instance) -> Hit:
        url = addresses.of("instance", instance.pk, instance.region.code)
        return Hit(instance.name, url, f"{instance.instance_id}, {instance.where}, {instance.region.name}")

    return _group("Instances", rows, "name", hit, _list("instances", q=wanted.text), _INSTANCES)


def _users(request: OperatorRequest, wanted: Wanted) -> Group:
    rows = rights.listed_users(request)
    if wanted.is_exact:
        rows = rows.filter(Q(pk=wanted.pk) if wanted.pk else Q(username__iexact=wanted.named("user")))
    else:
        rows = rows.filter(Q(username__icontains=wanted.text) | Q(display_name__icontains=wanted.text))

    def hit(user: User) -> Hit:
        return Hit(user.username, addresses.of("user", user.pk), user.display_name)

    return _group("Users", rows, "username", hit, reverse("users", query={"q": wanted.text}))


def _applications(request: OperatorRequest, wanted: Wanted) -> Group:
    rows = rights.listed_machines(request)
    if wanted.is_exact:
        rows = rows.filter(Q(pk=wanted.pk) if wanted.pk else Q(name__iexact=wanted.named("user")))
    else:
        rows = rows.filter(name__icontains=wanted.text)

    def hit(machine: Principal) -> Hit:
        return Hit(machine.name, addresses.of("application", machine.pk))

    return _group("Applications", rows, "name", hit, reverse("applications", query={"q": wanted.text}))


def _access_keys(request: OperatorRequest, wanted: Wanted) -> Group:
    """Keys by their ids; those of an owner are on the owner's page."""
    rows = rights.listed_keys(request)
    if wanted.is_exact:
        rows = rows.filter(pk=wanted.pk) if wanted.pk else rows.none()
    else:
        rows = rows.filter(key_id__icontains=wanted.text)

    def hit(key: AccessKey) -> Hit:
        return Hit(key.key_id, reverse("access_keys", query={"q": key.key_id}), key.principal.name)

    return _group("Access keys", rows, "key_id", hit, reverse("access_keys", query={"q": wanted.text}))


def _runs(request: OperatorRequest, wanted: Wanted) -> Group:
    rows = resources.runs(request, EVERYWHERE)
    if wanted.is_exact:
        rows = rows.filter(pk=wanted.pk) if wanted.pk else rows.none()
    else:
        rows = run_filters.narrowed(rows, {"q": wanted.text}, is_short=True)

    def hit(run: Run) -> Hit:
        about = run.secret.name if run.secret else run.instance.name
        state = run_states.run_badge(run).label
        url = addresses.of("run", run.pk, run.instance.region.code)
        return Hit(f"{run.label} of {about}", url, state, run.created_at)

    return _group("Runs", rows, "-created_at", hit, _list("rotations", q=wanted.text), run_filters.shown)


def _events(wanted: Wanted, keys: list[UUID]) -> Group:
    """The newest events of the first meaning that has any; `keys` are those of the things that were found."""

    def hit(event: AuditEvent) -> Hit:
        url = addresses.of("audit_event", event.sequence)
        return Hit(f"{event.action} by {event.actor_name}", url, event.resource, event.at)

    for chosen, rows in _ways(wanted, keys):
        url = reverse("audit", query=chosen) if chosen else ""
        group = _group("Events", rows, "-sequence", hit, url)
        if group.hits:
            return group
    return Group("Events", [])


def _ways(wanted: Wanted, keys: list[UUID]) -> Iterator[tuple[dict[str, str], QuerySet[AuditEvent]]]:
    """What events may be meant, each by an index, with the filter of the list that finds the same, if any."""
    rows, text = AuditEvent.objects.all(), wanted.text
    if wanted.pk:
        yield {}, rows.filter(resource_id=wanted.pk)
        return
    if not wanted.arn:
        if re.fullmatch("[0-9]{1,18}", text):
            yield {}, rows.filter(sequence=int(text))
        if _is_address(text):
            yield {"address": text}, rows.filter(address=text)
        yield {"actor": text}, rows.filter(actor_name=text)
        if named := [action for action in ACTIONS if text.lower() in action.lower()]:
            yield {"action": text}, rows.filter(action__in=named)
    if keys:
        yield {}, rows.filter(resource_id__in=keys[:SHOWN])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
