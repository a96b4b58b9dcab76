"""The rows of the list of keys."""

from __future__ import annotations

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from console.access import resources
from console.http import OperatorRequest
from secrets_app.models import Key

SORTS = {"alias": "alias", "secrets": "secret_count", "created": "created_at"}


def keys(request: OperatorRequest) -> QuerySet[Key]:
    """Keys, each with how many of the secrets that this user may see it encrypts."""
    used = resources.seen_secrets(request).filter(key=OuterRef("pk")).order_by().values("key")
    counted = Coalesce(Subquery(used.annotate(count=Count("*")).values("count")), 0)
    return resources.keys(request).annotate(secret_count=counted)
