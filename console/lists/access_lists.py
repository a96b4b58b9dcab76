"""The rows of the lists of Access: what is read for them, narrowed by their filters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from console.access import rights
from console.http import OperatorRequest
from secrets_app.models import AccessKey, Attachment, Policy, Principal, User

USER_SORTS = {"name": "username", "display": "display_name", "signed_in": "last_login", "state": "is_active"}
GROUP_SORTS = {"name": "name", "members": "member_count", "policies": "policy_count"}
APPLICATION_SORTS = {
    "name": "name", "keys": "key_count", "used": "used_at", "state": "is_active", "created": "created_at",
}  # fmt: skip
KEY_SORTS = {
    "id": "key_id", "owner": "principal__name", "expires": "expires_at", "used": "last_used_at",
    "created": "created_at",
}  # fmt: skip
UNUSED_FOR = timedelta(days=90)
POLICY_SORTS = {"name": "name", "kind": "kind", "holders": "holder_count", "changed": "changed_at"}


def users(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[User]:
    rows = rights.listed_users(request).select_related("principal").prefetch_related("principal__groups")
    if text := chosen.get("q"):
        rows = rows.filter(Q(username__icontains=text) | Q(display_name__icontains=text))
    if state := chosen.get("state"):
        rows = rows.filter(is_active=state == "enabled")
    return rows


def groups(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[Group]:
    """Groups, each with how many of its members and policies this user may see."""
    rows = rights.groups(request)
    attached = Attachment.objects.filter(group=OuterRef("pk"), policy__in=rights.seen_policies(request))
    counted = Subquery(attached.order_by().values("group").annotate(count=Count("pk")).values("count"))
    seen = Q(members__user__in=rights.seen_users(request)) | Q(members__in=rights.seen_machines(request))
    members = Count("members", filter=seen)
    rows = rows.annotate(member_count=members, policy_count=Coalesce(counted, 0))
    return rows.filter(name__icontains=chosen["q"]) if "q" in chosen else rows


def policies(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[Policy]:
    """Policies, each with how many of those that it is attached to this user may see."""
    names = rights.ShownNames(request)
    seen = Q(attachments__principal__user__in=names.people) | Q(attachments__principal__in=names.machines)
    if names.groups:
        seen |= Q(attachments__group__isnull=False)
    rows = rights.listed_policies(request).annotate(holder_count=Count("attachments", filter=seen))
    if text := chosen.get("q"):
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text))
    return rows.filter(kind__in=chosen["kind"]) if "kind" in chosen else rows


def applications(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[Principal]:
    """Applications, each with how many of its access keys this user may see, and when one was last used."""
    rows = rights.listed_machines(request).prefetch_related("groups")
    seen = Q(access_keys__in=rights.seen_keys(request))
    rows = rows.annotate(
        key_count=Count("access_keys", filter=seen),
        used_at=Max("access_keys__last_used_at", filter=seen),
    )
    if text := chosen.get("q"):
        rows = rows.filter(name__icontains=text)
    if state := chosen.get("state"):
        rows = rows.filter(is_active=state == "enabled")
    return rows


def access_keys(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[AccessKey]:
    rows = rights.listed_keys(request)
    if text := chosen.get("q"):
        rows = rows.filter(Q(key_id__icontains=text) | Q(principal__name__icontains=text))
    if kind := chosen.get("kind"):
        rows = rows.filter(principal__kind=kind)
    if state := chosen.get("state"):
        rows = rows.filter(_in_state(state))
    if used := chosen.get("used"):
        never = Q(last_used_at=None)
        late = Q(last_used_at__lt=timezone.now() - UNUSED_FOR)
        rows = rows.filter(never if used == "never" else never | late)
    return rows


def _in_state(state: str) -> Q:
    """As `presentation.access_key_states` has them: the first that is true."""
    works = Q(principal__user__is_active=True) | Q(principal__user=None, principal__is_active=True)
    expired = Q(expires_at__lte=timezone.now())
    return {
        "enabled": works & Q(is_active=True) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now())),
        "disabled": Q(is_active=False),
        "expired": Q(is_active=True) & expired,
        "owner": Q(is_active=True) & ~works & (Q(expires_at=None) | Q(expires_at__gt=timezone.now())),
    }[state]
