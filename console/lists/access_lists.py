"""The rows of the lists of users, groups and policies: what is read for them, narrowed by their filters."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from console.access import rights
from console.http import OperatorRequest
from secrets_app.models import Attachment, Policy, User

USER_SORTS = {"name": "username", "display": "display_name", "signed_in": "last_login", "state": "is_active"}
GROUP_SORTS = {"name": "name", "members": "member_count", "policies": "policy_count"}
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
    members = Count("members", filter=Q(members__user__in=rights.seen_users(request)))
    rows = rows.annotate(member_count=members, policy_count=Coalesce(counted, 0))
    return rows.filter(name__icontains=chosen["q"]) if "q" in chosen else rows


def policies(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[Policy]:
    """Policies, each with how many of those that it is attached to this user may see."""
    names = rights.ShownNames(request)
    seen = Q(attachments__principal__user__in=names.people)
    if names.groups:
        seen |= Q(attachments__group__isnull=False)
    rows = rights.listed_policies(request).annotate(holder_count=Count("attachments", filter=seen))
    if text := chosen.get("q"):
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text))
    return rows.filter(kind__in=chosen["kind"]) if "kind" in chosen else rows
