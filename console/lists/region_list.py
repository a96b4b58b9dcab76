"""The rows of the list of regions."""

from __future__ import annotations

from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from console.access import resources
from console.http import OperatorRequest
from secrets_app.models import Region

SORTS = {
    "code": "code",
    "name": "name",
    "secrets": "secret_count",
    "instances": "instance_count",
    "created": "created_at",
}


def regions(request: OperatorRequest) -> QuerySet[Region]:
    """Regions, each with how many secrets and instances this user may see in it."""
    return resources.described_regions(request).annotate(
        secret_count=_counted(resources.seen_secrets(request)),
        instance_count=_counted(resources.seen_instances(request)),
    )


def _counted(seen: QuerySet[Model]) -> Coalesce:
    """How many of these rows are in a region."""
    here = seen.filter(region=OuterRef("pk")).order_by().values("region")
    return Coalesce(Subquery(here.annotate(count=Count("*")).values("count")), 0)
