"""A part of a text, as a condition that several lists search by."""

from __future__ import annotations

from django.db.models import Q, Value
from django.db.models.functions import StrIndex, Upper
from django.db.models.lookups import GreaterThan

PARTS = 3  # characters: as many make a part in an index of them


def has(field: str, text: str) -> Q:
    """As `icontains`, for a field without an index of parts, or a text that is too short for one.

    Of it PostgreSQL expects many rows: it reads the index of a list's order until there are enough, where of
    `icontains` it expects few, and begins with all that it finds.
    """
    return Q(GreaterThan(StrIndex(Upper(field), Upper(Value(text))), 0))
