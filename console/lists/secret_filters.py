"""What the list of secrets is narrowed to and sorted by."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from console.access import resources
from console.forms.secrets.secrets import Filters
from console.http import OperatorRequest
from console.lists import secret_rows
from console.presentation import secret_states
from rotation.models import GRACE, Instance, ManagedAccount
from secrets_app.actions import Action
from secrets_app.models import Secret, Tag

SORTS = {
    "name": "name",
    "type": "type",
    "instance": "managed__instance__name",
    "user": "managed__username",
    "kind": "kind",
    "credential": "managed__credential",
    "automatic": "schedule__period",
    "next": "schedule__next_at",
    "last": "managed__rotated_at",
    "status": "deletion_planned_at",
    "created": "created_at",
}


DEFAULT_SORT = "name"


def read(request: OperatorRequest, query: QueryDict) -> Filters:
    """The filters in `query`, with the keys that the user of this request may see."""
    may_list = resources.may(request, Action.LIST_KEYS)
    keys = resources.keys(request).order_by("alias").values_list("alias", flat=True) if may_list else ()
    return Filters(query, keys=keys)


def _is_on(text: str) -> Q:
    """Whether the user or the instance is called like this, or a tag is; asked of the other rows."""
    named = Q(
        Q(username__icontains=text)
        | Q(instance__name__icontains=text)
        | Q(instance__instance_id__iexact=text)
        | Q(instance__address__icontains=text)
    )
    is_named = Exists(ManagedAccount.objects.filter(named, secret=OuterRef("pk")))
    return Q(is_named) | Q(pk__in=_tagged(text).values("secret"))


def _tagged(text: str) -> QuerySet[Tag]:
    """The tags with this key, this value, or written `key=value`. Whole and not parts: an index has them."""
    key, sign, value = text.partition("=")
    return (
        Tag.objects.filter(key=key, value=value) if sign else Tag.objects.filter(Q(key=text) | Q(value=text))
    )


def _turned(automatic: str) -> Q:
    """The rows that rotate automatically (`on`), that should have (`overdue`), or that do not (`off`)."""
    if automatic == "off":
        return Q(schedule__is_on=False)
    on = Q(
        schedule__is_on=True,
        schedule__paused_at__isnull=True,
        schedule__stopped_at__isnull=True,
        deletion_planned_at__isnull=True,
    )
    return on & Q(schedule__next_at__lt=timezone.now() - GRACE) if automatic == "overdue" else on


def _credential(state: str) -> Q:
    """The rows whose credential the list shows like this: while one rotates, it shows that."""
    if state == "rotating":
        return Q(secret_rows.is_rotating())
    if state == "drifted":
        return Q(
            ~secret_rows.is_rotating(),
            managed__credential=ManagedAccount.Credential.OUT_OF_SYNC,
            managed__credential_code__in=secret_states.DRIFTED,
        )
    return Q(~secret_rows.is_rotating(), managed__credential=state)


def narrowed(rows: QuerySet[Secret], chosen: dict[str, Any]) -> QuerySet[Secret]:
    text, status = chosen.get("q", ""), chosen.get("status", "")
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(_is_on(text)))
    if credentials := chosen.get("credential"):
        rows = rows.filter(reduce(or_, map(_credential, credentials)))
    if status in {"enabled", "pending_deletion"}:
        rows = rows.filter(deletion_planned_at__isnull=status == "enabled")
    if automatic := chosen.get("automatic"):
        rows = rows.filter(_turned(automatic))
    if kinds := chosen.get("kind"):
        rows = rows.filter(kind__in=kinds)
    if key := chosen.get("key"):
        rows = rows.filter(key__alias=key)
    return _managing(rows, chosen.get("instance", ""), chosen.get("user", ""), chosen.get("tag", ""))


def _managing(rows: QuerySet[Secret], instance: str, user: str, tag: str) -> QuerySet[Secret]:
    """The rows of an account on this instance and of this name, and with this tag, each where it is given."""
    accounts = ManagedAccount.objects.order_by()
    if instance:
        named = Q(name__iexact=instance) | Q(instance_id__iexact=instance)
        on = Instance.objects.filter(named).order_by().values("pk")
        rows = rows.filter(pk__in=accounts.filter(instance__in=on).values("secret"))
    if user:
        rows = rows.filter(pk__in=accounts.filter(username=user).values("secret"))
    if tag:
        key, equals, value = (part.strip() for part in tag.partition("="))
        tags = Tag.objects.filter(key=key, **({"value": value} if equals else {})).order_by()
        rows = rows.filter(pk__in=tags.values("secret"))
    return rows
