"""The rows of the list of regions."""

from __future__ import annotations

from django.db.models import QuerySet

from console.access import resources
from console.http import OperatorRequest
from console.lists import counted
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
        secret_count=counted.by(resources.seen_secrets(request), "region"),
        instance_count=counted.by(resources.seen_instances(request), "region"),
    )
