"""What every list does alike: search, sort, one page of rows, a count that stays cheap."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.sql.where import WhereNode
from django.http import QueryDict

PAGE_ROWS = 25
MOST_PAGES = 9_999_999  # what no list has; a larger number asks for the last page too
COUNT_CAP = 1_000  # an exact count under a long policy costs more than the page

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class By:
    """How a list is sorted where one column of its own table does not say it all.

    Rows without `field`, a column of another table, come last in either direction. They are asked for apart:
    without them the database can begin at that table's index, and read no more rows than it shows.
    """

    field: str
    ties: tuple[str, ...] = ("pk",)  # what orders rows of one value, where an index has another order
    is_joined: bool = False
    #: Instead of `field`: the rows of each of these groups, one group after the other.
    groups: Callable[[QuerySet[Any]], list[QuerySet[Any]] | None] | None = None

    def parts(self, rows: QuerySet[Row], sign: str) -> list[QuerySet[Row]]:
        """The rows in their order, in parts that follow each other."""
        ties = [sign + tie for tie in self.ties]
        if self.groups is not None and (groups := self.groups(rows)) is not None:
            ordered = [group.order_by(*ties) for group in groups]
            return ordered[::-1] if sign else ordered
        here = rows.order_by(sign + self.field, *ties)
        if not self.is_joined:
            return [here]
        last = rows.filter(**{f"{self.field}__isnull": True}).order_by(f"{sign}pk")
        return [here.filter(**{f"{self.field}__isnull": False}), last]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list, and where they stand in it."""

    rows: list[Row]
    number: int
    has_next: bool
    total: int  # at most COUNT_CAP + 1
    sort: str  # as in the URL: `name` or `-name`
    size: int  # rows on a full page

    @property
    def has_previous(self) -> bool:
        return self.number > 1

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1 if self.rows else 0

    @property
    def count_text(self) -> str:
        if self.total > COUNT_CAP:
            return f"{COUNT_CAP:,}+ items"
        return f"{self.total:,} item{'' if self.total == 1 else 's'}"


def page(
    rows: QuerySet[Row],
    query: QueryDict,
    *,
    sorts: Mapping[str, str | By],
    default: str,
    shown: QuerySet[Row] | None = None,
    size: int | None = None,
) -> Page[Row]:
    """Return the page of `rows` that `query` asks for by `page` and `sort`, of `size` rows or `PAGE_ROWS`.

    `sorts` maps a word in the URL to a field, or to what says more; another word, or a page that is not a
    number, means the default. A page after the last one is the last one. Ties are broken by primary key in
    the direction of the sort, so that no row is shown twice and one index serves both directions.

    The page is found by primary keys alone and its rows are read after that: what a row needs from other
    tables is joined for one page and never for the whole list, as an annotation is that is not sorted by.
    `shown` has what a row needs, of all rows there are; without it, the columns of `rows` are read.
    """
    size = size or PAGE_ROWS
    sort = str(query.get("sort", default))
    if sort.lstrip("-") not in sorts:
        sort = default
    number = _asked(query)
    start = (number - 1) * size
    keys = _Keys(rows, sorts[sort.lstrip("-")], "-" if sort.startswith("-") else "")
    if start <= COUNT_CAP:
        # One question for the page and the count: to put a long policy twice costs more than these keys.
        counted = keys.between(0, max(start + size + 1, COUNT_CAP + 1))
        number = min(number, _pages(len(counted), size))
        start = (number - 1) * size
        keys_here, total = counted[start : start + size + 1], len(counted)
    else:
        keys_here, total = keys.between(start, start + size + 1), COUNT_CAP + 1
        if not keys_here:
            total = rows.order_by().values("pk").count()
            number = _pages(total, size)
            start = (number - 1) * size
            keys_here = keys.last(total - start)
    whole = _unfiltered(rows) if shown is None else shown
    read = {row.pk: row for row in whole.filter(pk__in=keys_here[:size])}
    here = [read[key] for key in keys_here[:size] if key in read]
    return Page(here, number, len(keys_here) > size, min(total, COUNT_CAP + 1), sort, size)


class _Keys:
    """The primary keys of a list in its order."""

    def __init__(self, rows: QuerySet[Any], sort: str | By, sign: str) -> None:
        by = By(sort) if isinstance(sort, str) else sort
        self._parts = by.parts(rows, sign)

    def between(self, start: int, stop: int) -> list[Any]:
        """Those from `start` on and before `stop`."""
        return _cut(self._parts, start, stop)

    def last(self, count: int) -> list[Any]:
        """The last so many, read from the end."""
        return _cut([part.reverse() for part in reversed(self._parts)], 0, count)[::-1]


def _cut(parts: list[QuerySet[Any]], start: int, stop: int) -> list[Any]:
    """The keys from `start` on and before `stop` of these parts, read one after the other."""
    found: list[Any] = []
    skip, wanted = start, stop - start
    for part in parts:
        here = part.values_list("pk", flat=True)[skip : skip + wanted]
        found += here
        wanted = stop - start - len(found)
        if not wanted or part is parts[-1]:
            break
        if found:
            skip = 0
        elif skip:
            skip = max(skip - part.order_by().values("pk").count(), 0)
    return found


def _asked(query: QueryDict) -> int:
    """The page that the URL asks for, from 1."""
    asked = str(query.get("page", ""))
    digits = len(str(MOST_PAGES))
    return min(max(int(asked[: digits + 1]), 1), MOST_PAGES) if re.fullmatch("[0-9]+", asked) else 1


def _pages(count: int, size: int) -> int:
    return max(-(-count // size), 1)


def _unfiltered(rows: QuerySet[Row]) -> QuerySet[Row]:
    """The same columns of any row: what was found by the filter is not put through it again.

    The condition of a long policy takes the database, and Django, longer to read than the page's rows.
    """
    bare = rows.all()
    bare.query.where = WhereNode()
    return bare


def of_list(rows: Sequence[Any], query: QueryDict) -> Page[Any]:
    """The page of rows that are no table: worked out, few, and in order already."""
    size = PAGE_ROWS
    number = min(_asked(query), _pages(len(rows), size))
    start = (number - 1) * size
    return Page(list(rows[start : start + size]), number, start + size < len(rows), len(rows), "", size)
