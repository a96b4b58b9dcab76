"""Which secrets a list shows: its filters, its order, and its pages by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from console.interfaces import new_regions
from console.interfaces.alibaba import describing, faults
from console.interfaces.alibaba.calls import Call
from secrets_app.models import Secret

Row = TypeVar("Row")
CHUNK = 500
FILTERS_AT_MOST = 10

_MATCHES: dict[str, Callable[[Secret, str], bool]] = {
    "SecretName": lambda secret, text: text in secret.name,
    "Description": lambda secret, text: text in secret.description,
    "SecretType": lambda secret, text: text == describing.type_of(secret),
    "TagKey": lambda secret, text: any(text == tag.key for tag in secret.tags.all()),
    "TagValue": lambda secret, text: any(text == tag.value for tag in secret.tags.all()),
    "Creator": lambda secret, text: text == secret.created_by.name,
    "DKMSInstanceId": lambda secret, text: False,  # Keyturn has no such instances
}


@dataclass(frozen=True)
class Page:
    """A page of a list: its number, from 1, and how many rows it has at most."""

    number: int
    size: int

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size

    def of(self, rows: Sequence[Row]) -> list[Row]:
        return list(rows[self.first : self.first + self.size])

    def said(self, total: int) -> dict[str, int]:
        return {"PageNumber": self.number, "PageSize": self.size, "TotalCount": total}


def page_of(call: Call, *, default: int, most: int) -> Page:
    """Return the page that a call asks for. Raises `faults.Fault`."""
    given = call.given
    return Page(
        given.number("PageNumber", 1, least=1, most=1_000_000),
        given.number("PageSize", default, least=1, most=most),
    )


def filters(value: Any) -> list[tuple[str, list[str]]]:
    """Return filters as pairs of a key and values. Raises `faults.Fault`."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > FILTERS_AT_MOST:
        raise faults.invalid(f"Filters is a list of at most {FILTERS_AT_MOST} objects.")
    found: list[tuple[str, list[str]]] = []
    for entry in value:
        key, texts = (entry.get("Key"), entry.get("Values")) if isinstance(entry, dict) else (None, None)
        if not isinstance(key, str) or key not in _MATCHES:
            raise faults.invalid(f"The Key of a filter is one of {', '.join(sorted(_MATCHES))}.")
        if not (
            isinstance(texts, list)
            and 1 <= len(texts) <= FILTERS_AT_MOST
            and all(isinstance(text, str) and text for text in texts)
        ):
            raise faults.invalid(f"The Values of a filter are 1 to {FILTERS_AT_MOST} texts.")
        found.append((key, texts))
    return found


def secrets(call: Call, page: Page, wanted: list[tuple[str, list[str]]]) -> tuple[list[Secret], int]:
    """Return the secrets of this page that the caller may describe, and how many there are on all pages.

    The newest first. Raises `requiring.Refused`.
    """
    rows = new_regions.secrets(call).order_by("-created_at", "-pk")
    rows = rows.select_related("created_by").prefetch_related("tags")
    if not wanted:
        return list(rows[page.first : page.first + page.size]), rows.count()
    fitting = [row for row in rows.iterator(chunk_size=CHUNK) if _fits(row, wanted)]
    return page.of(fitting), len(fitting)


def _fits(secret: Secret, wanted: list[tuple[str, list[str]]]) -> bool:
    """Whether each filter has a value that fits."""
    return all(any(_MATCHES[key](secret, text) for text in texts) for key, texts in wanted)
