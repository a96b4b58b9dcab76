"""How many things belong to each row of a short list, as a column to sort by and to show."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, Count, IntegerField, QuerySet, Value, When


def by(seen: QuerySet[Any], field: str) -> Case:
    """The number of the rows in `seen` whose `field` is the key of a row; of those its reader may see.

    All are counted at once and before the list is read, which asks for this column twice: in its order, and
    for the rows of a page. For lists of some hundred rows at most.
    """
    counts = seen.order_by().values_list(field).annotate(count=Count("*"))
    known = [When(pk=key, then=Value(count)) for key, count in counts]
    return Case(*known, default=Value(0), output_field=IntegerField())
