"""What the list of secrets is narrowed to and sorted by."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from console.lists import secret_rows
from console.presentation import secret_states
from rotation.models import GRACE, ManagedAccount
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


def narrowed(rows: QuerySet[Secret], chosen: dict[str, str]) -> QuerySet[Secret]:
    text, credential, status = (chosen.get(name, "") for name in ("q", "credential", "status"))
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(_is_on(text)))
    if credential == "rotating":
        rows = rows.filter(secret_rows.is_rotating())
    elif credential == "drifted":
        rows = rows.filter(
            ~secret_rows.is_rotating(),
            managed__credential=ManagedAccount.Credential.OUT_OF_SYNC,
            managed__credential_code__in=secret_states.DRIFTED,
        )
    elif credential:
        rows = rows.filter(~secret_rows.is_rotating(), managed__credential=credential)
    if status in {"enabled", "pending_deletion"}:
        rows = rows.filter(deletion_planned_at__isnull=status == "enabled")
    if automatic := chosen.get("automatic"):
        rows = rows.filter(_turned(automatic))
    return rows
