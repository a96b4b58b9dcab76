"""The only writer of list preferences: how many rows, how high, and which columns of a list
a user wants to see.

A preference decides nothing but what is shown. It is read by the names of `columns.LISTS`: a name that a list
no longer has is passed over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from console.lists import paging
from console.lists.columns import LISTS, Column
from console.models import ListPreference
from secrets_app import prepared
from secrets_app.models import Principal

SIZES = (25, 50, 100, 200)  # rows on a page
_KEPT: prepared.Question[ListPreference] = prepared.Question(
    lambda principal, name: ListPreference.objects.filter(principal=principal, name=name)
)


@dataclass(frozen=True)
class Shown:
    """How a user sees a list."""

    name: str
    rows: int
    columns: frozenset[str]
    is_compact: bool
    is_own: bool  # the user has chosen it

    @property
    def sizes(self) -> tuple[int, ...]:
        return SIZES

    @property
    def options(self) -> list[tuple[Column, bool]]:
        """Every column that can be chosen, and whether it is shown."""
        return [(column, column.name in self.columns) for column in LISTS[self.name]]


def of(principal: Principal, name: str) -> Shown:
    """Return how `principal` sees the list of this name."""
    kept = _KEPT.first(principal.pk, name)
    if kept is None:
        usual = frozenset(column.name for column in LISTS[name] if column.is_usual)
        return Shown(name, paging.PAGE_ROWS, usual, is_compact=False, is_own=False)
    rows = kept.rows if kept.rows in SIZES else paging.PAGE_ROWS
    return Shown(name, rows, _known(name, kept.columns), kept.is_compact, is_own=True)


def keep(
    principal: Principal, name: str, *, rows: int, columns: Collection[str], is_compact: bool = False
) -> None:
    """Keep how `principal` wants to see this list; a column that it does not have is passed over."""
    kept = {
        "rows": rows if rows in SIZES else paging.PAGE_ROWS,
        "columns": sorted(_known(name, columns)),
        "is_compact": is_compact,
    }
    ListPreference.objects.update_or_create(principal=principal, name=name, defaults=kept)


def reset(principal: Principal, name: str) -> None:
    """Show this list to `principal` as to a user who has chosen nothing."""
    ListPreference.objects.filter(principal=principal, name=name).delete()


def _known(name: str, columns: Collection[str]) -> frozenset[str]:
    return frozenset(column.name for column in LISTS[name] if column.name in columns)
