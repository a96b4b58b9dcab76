"""The rows of the list of keys."""

from __future__ import annotations

from django.db.models import QuerySet

from console.access import resources
from console.http import OperatorRequest
from console.lists import counted
from secrets_app.models import Key

SORTS = {"alias": "alias", "secrets": "secret_count", "created": "created_at"}


def keys(request: OperatorRequest) -> QuerySet[Key]:
    """Keys, each with how many of the secrets that this user may see it encrypts."""
    return resources.keys(request).annotate(secret_count=counted.by(resources.seen_secrets(request), "key"))
