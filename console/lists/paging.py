"""What every list does alike: search, sort, one page of rows, a count that stays cheap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.db.models.sql.where import WhereNode
from django.http import QueryDict

PAGE_ROWS = 25
MOST_PAGES = 9_999_999  # what no list has; a larger number asks for the last page too
COUNT_CAP = 1_000  # an exact count under a long policy costs more than the page
DEEPEST = 10_000  # rows from either end that pages reach: to pass over more costs more than the page

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Part:
    """Rows of a list in their order, or rows of another table that name them: `key` is the list's own key."""

    rows: QuerySet[Any, Any]
    key: str = "pk"

    def keys(self) -> QuerySet[Any, Any]:
        return self.rows.values_list(self.key, flat=True)

    def reverse(self) -> Part:
        return Part(self.rows.reverse(), self.key)

    def count(self, most: int) -> int:
        """How many there are, counted up to `most`."""
        return self.rows.order_by().values(self.key)[:most].count()


@dataclass(frozen=True)
class By:
    """How a list is sorted where one column of its own table does not say it all.

    Rows without `field`, a column of another table, come last in either direction. They are asked for apart:
    without them the database can begin at that table's index, and read no more rows than it shows.
    """

    field: str
    ties: tuple[str, ...] = ("pk",)  # what orders rows of one value, where an index has another order
    is_joined: bool = False
    #: The rows that have none in that other table, if the row itself says so: to look there
    #: takes a look for each row. Rows that have one have a `field` too, or `may_be_empty`.
    without: Q | None = None
    may_be_empty: bool = False
    #: `field` is empty in most rows, and they come first, by these: the index of this sort has the others.
    empty_first: tuple[str, ...] = ()
    #: A column that is never empty, and says so in the index of this sort. No other query asks for that, so
    #: none is misled: without statistics SQLite takes any index of a few values for a good one.
    is_there: str = ""
    #: Instead of `field`: the rows of each of these groups, one group after the other.
    groups: Callable[[QuerySet[Any]], list[QuerySet[Any]] | None] | None = None
    #: Instead of all of that: the parts of these rows in the order of a sign. Those of the other sign are the
    #: same rows from the end, in parts that may be others.
    ordered: Callable[[QuerySet[Any], str], list[Part]] | None = None

    def parts(self, rows: QuerySet[Row], sign: str) -> list[Part]:
        """The rows in their order, in parts that follow each other."""
        if self.ordered is not None:
            return self.ordered(rows, sign)
        return [Part(part) for part in self._of_rows(rows, sign)]

    def _of_rows(self, rows: QuerySet[Row], sign: str) -> list[QuerySet[Row]]:
        ties = [sign + tie for tie in self.ties]
        if self.groups is not None and (groups := self.groups(rows)) is not None:
            ordered = [group.order_by(*ties) for group in groups]
            return ordered[::-1] if sign else ordered
        if self.empty_first:
            empty = rows.filter(**{f"{self.field}__isnull": True})
            others = rows.filter(**{f"{self.field}__isnull": False}).order_by(sign + self.field, *ties)
            both = [empty.order_by(*(sign + tie for tie in self.empty_first)), others]
            return both[::-1] if sign else both
        if self.is_there:
            rows = rows.filter(**{f"{self.is_there}__isnull": False})
        here = rows.order_by(sign + self.field, *ties)
        if not self.is_joined:
            return [here]
        empty = rows.filter(**{f"{self.field}__isnull": True})
        last = [empty.order_by(f"{sign}pk")]
        if self.without is not None:
            last = [rows.filter(self.without).order_by(f"{sign}pk")]
            if self.may_be_empty:
                other = self.field.rpartition("__")[0]
                last.insert(0, empty.filter(**{f"{other}__isnull": False}).order_by(*ties))
        return [here.filter(**{f"{self.field}__isnull": False}), *last]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list, and where they stand in it."""

    rows: list[Row]
    number: int  # from 1; in a list longer than its pages reach, -1 is the last one, -2 the one before
    has_next: bool
    total: int  # at most COUNT_CAP + 1
    sort: str  # as in the URL: `name` or `-name`
    size: int  # rows on a full page

    @property
    def is_from_end(self) -> bool:
        """Whether it is counted from the end; how many rows come before it is not known then."""
        return self.number < 0

    @property
    def from_end(self) -> int:
        return -self.number

    @property
    def is_deepest(self) -> bool:
        """Whether there are rows in the direction away from the end where no page of this size reaches."""
        return abs(self.number) >= DEEPEST // self.size and (self.is_from_end or self.has_next)

    @property
    def previous(self) -> int | None:
        """The number of the page before, if there is one that can be asked for."""
        if self.is_from_end:
            return None if self.is_deepest else self.number - 1
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        if not self.has_next or (self.is_deepest and not self.is_from_end):
            return None
        return self.number + 1

    @property
    def end(self) -> int | None:
        """The number of the last page, if that is neither this one nor the next one."""
        if not self.has_next or self.number == -2:
            return None
        return -1 if self.total > COUNT_CAP or self.total > (self.number + 1) * self.size else None

    @property
    def has_previous(self) -> bool:
        return self.is_from_end or self.number > 1

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size + 1 if self.rows and not self.is_from_end else 0

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1 if self.rows and not self.is_from_end else 0

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
    read: Callable[[list[Any]], Iterable[Row]] | None = None,
    size: int | None = None,
) -> Page[Row]:
    """Return the page of `rows` that `query` asks for by `page` and `sort`, of `size` rows or `PAGE_ROWS`.

    `sorts` maps a word in the URL to a field, or to what says more; another word, or a page that is not a
    number, means the default. A page after the last one is the last one, and so is -1. Ties are broken by
    primary key in the direction of the sort, so that no row is shown twice and one index serves both
    directions.

    The page is found by primary keys alone and its rows are read after that: what a row needs from other
    tables is joined for one page and never for the whole list, as an annotation is that is not sorted by.
    `read` answers with the rows of these keys, of all rows that there are, and what each needs: a
    `prepared.Several`, or what asks like one. Without it, the columns of `rows` are read.
    """
    size = size or PAGE_ROWS
    sort = str(query.get("sort", default))
    if sort.lstrip("-") not in sorts:
        sort = default
    number = _asked(query)
    keys = _Keys(rows, sorts[sort.lstrip("-")], "-" if sort.startswith("-") else "")
    if 0 < number <= -(-COUNT_CAP // size):
        # One question for the page and the count: to put a long policy twice costs more than these keys.
        counted = keys.between(0, max(number * size + 1, COUNT_CAP + 1))
        total = len(counted)
        number = _within(number, _pages(total, size))
        keys_here = counted[(number - 1) * size : number * size + 1]
    else:
        number, keys_here, total = keys.deep(number, size)
    has_next = number < -1 if number < 0 else len(keys_here) > size
    wanted = keys_here[:size]
    found = read(wanted) if read is not None else unfiltered(rows).filter(pk__in=wanted)
    of_key = {row.pk: row for row in found}
    here = [of_key[key] for key in wanted if key in of_key]
    return Page(here, number, has_next, min(total, COUNT_CAP + 1), sort, size)


class _Keys:
    """The primary keys of a list in its order."""

    def __init__(self, rows: QuerySet[Any], sort: str | By, sign: str) -> None:
        self._by = By(sort) if isinstance(sort, str) else sort
        self._rows, self._sign, self._parts = rows, sign, self._by.parts(rows, sign)

    def deep(self, number: int, size: int) -> tuple[int, list[Any], int]:
        """The number and keys of a page that is not near the beginning, one key more if it has it; the count.

        A page that is further from both ends than any reaches is the last one, counted from the end, as each
        page of a list is that is longer than its count goes. A shorter list has its rows counted.
        """
        reached = DEEPEST // size
        if 0 < number <= reached and (here := self.between((number - 1) * size, number * size + 1)):
            return number, here, DEEPEST
        near = min(COUNT_CAP, reached * size)
        from_end = max(number, -reached) if number < 0 else -1
        if -from_end * size <= near:
            # One question for the page and the count, as near the beginning; read from the end.
            known = self.last(near + 1)
            if len(known) <= near:
                number = _within(number, _pages(len(known), size))
                return number, known[(number - 1) * size : number * size + 1], len(known)
            return from_end, known[from_end * size :][:size], len(known)
        here = self._from_end(-from_end, size)
        if len(here) == size:
            return from_end, here, near + 1
        # In order where that is an index; rows of several parts are counted together.
        is_plain = len(self._parts) == 1 and self._by.ordered is None
        counted = self._parts[0].rows if is_plain else self._rows.order_by()
        total = counted.values("pk")[: reached * size + 1].count()
        if total <= reached * size:
            number = _within(number, _pages(total, size))
            return number, self.last(total - (number - 1) * size)[: size + 1], total
        return from_end, here, total

    def _from_end(self, number: int, size: int) -> list[Any]:
        return _cut(self._backwards(), (number - 1) * size, number * size)[::-1]

    def between(self, start: int, stop: int) -> list[Any]:
        """Those from `start` on and before `stop`."""
        return _cut(self._parts, start, stop)

    def last(self, count: int) -> list[Any]:
        """The last so many, read from the end."""
        return _cut(self._backwards(), 0, count)[::-1]

    def _backwards(self) -> list[Part]:
        if self._by.ordered is not None:
            return self._by.ordered(self._rows, "" if self._sign else "-")
        return [part.reverse() for part in reversed(self._parts)]


def _cut(parts: list[Part], start: int, stop: int) -> list[Any]:
    """The keys from `start` on and before `stop` of these parts, read one after the other."""
    found: list[Any] = []
    skip, wanted = start, stop - start
    for part in parts:
        here = part.keys()[skip : skip + wanted]
        found += here
        wanted = stop - start - len(found)
        if not wanted or part is parts[-1]:
            break
        if found:
            skip = 0
        elif skip:
            skip = max(skip - part.count(skip), 0)
    return found


def _asked(query: QueryDict) -> int:
    """The page that the URL asks for: from 1, or from -1 backwards."""
    asked = str(query.get("page", ""))
    if not re.fullmatch("-?[0-9]+", asked):
        return 1
    digits = len(str(MOST_PAGES))
    number = int(asked[: digits + 2])
    return max(min(number, MOST_PAGES), -MOST_PAGES) or 1


def _within(number: int, last: int) -> int:
    """The same page counted from 1, or the nearest one that there is."""
    return min(number, last) if number > 0 else max(last + 1 + number, 1)


def _pages(count: int, size: int) -> int:
    return max(-(-count // size), 1)


def unfiltered(rows: QuerySet[Row]) -> QuerySet[Row]:
    """The same columns of any row: what was found by the filter is not put through it again.

    The condition of a long policy takes the database, and Django, longer to read than the page's rows.
    """
    bare = rows.all()
    bare.query.where = WhereNode()
    return bare


def of_list(rows: Sequence[Any], query: QueryDict) -> Page[Any]:
    """The page of rows that are no table: worked out, few, and in order already."""
    size = PAGE_ROWS
    number = _within(_asked(query), _pages(len(rows), size))
    start = (number - 1) * size
    return Page(list(rows[start : start + size]), number, start + size < len(rows), len(rows), "", size)
