"""The rows of the list of management credentials: what is read for them, narrowed by its filters."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from console.access import resources
from console.http import OperatorRequest
from rotation.models import ManagementCredential

SORTS = {
    "name": "name",
    "account": "username",
    "sudo": "sudo",
    "instances": "instance_count",
    "created": "created_at",
}


def credentials(request: OperatorRequest, chosen: dict[str, Any]) -> QuerySet[ManagementCredential]:
    """Credentials, each with how many of its instances this user may see."""
    used = resources.seen_instances(request).filter(credential=OuterRef("pk")).order_by().values("credential")
    counted = Coalesce(Subquery(used.annotate(count=Count("pk")).values("count")), 0)
    rows = resources.credentials(request, deleted=chosen.get("status") == "deleted")
    rows = rows.annotate(instance_count=counted)
    if text := chosen.get("q"):
        rows = rows.filter(Q(name__icontains=text) | Q(username__icontains=text))
    return rows
