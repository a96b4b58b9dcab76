"""Which secrets a list shows: its filters, its order, and its pages.

Source of the filters: the service's model, and answers of it that were recorded. A page begins where the one
before ended, as a number of rows; a list that changes meanwhile may show a secret twice, or not.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from django.db.models import Prefetch

from console.interfaces import new_regions
from console.interfaces.aws import calls, faults, shapes
from console.interfaces.aws.calls import Call
from secrets_app.models import Label, Secret

Row = TypeVar("Row")
CHUNK = 500
ORDERS = {
    "created-date": "created_at",
    "last-accessed-date": "last_read_at",
    "last-changed-date": "changed_at",
    "name": "name",
}
_TOKEN = re.compile(r"after:(\d{1,9})")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[/_+=.@\-\s]+")


def page(call: Call, *, most: int) -> tuple[list[Secret], str]:
    """Return one page of the secrets that the caller may describe, and the token of the next one.

    Raises `faults.Fault` or `requiring.Refused`.
    """
    given = call.given
    wanted = shapes.filters(given.get("Filters", []))
    order = given.get("SortBy", "created-date")
    direction = given.get("SortOrder", "asc")
    if order not in ORDERS or direction not in {"asc", "desc"}:
        where = "sortBy" if order not in ORDERS else "sortOrder"
        options = sorted(ORDERS) if order not in ORDERS else ["asc", "desc"]
        raise faults.invalid(
            f"1 validation error detected: Value at '{where}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(options)}]"
        )
    rows = new_regions.secrets(call)
    if not given.get("IncludePlannedDeletion"):
        rows = rows.filter(deletion_planned_at__isnull=True)
    sign = "-" if direction == "desc" else ""
    rows = rows.order_by(f"{sign}{ORDERS[order]}", f"{sign}pk").select_related("key", "schedule")
    rows = rows.select_related("replica_of__primary__region", "managed__instance__region__account")
    rows = rows.prefetch_related(
        "tags", "replicas", Prefetch("labels", Label.objects.select_related("version"))
    )
    found = (row for row in rows.iterator(chunk_size=CHUNK) if all(_fits(row, call, *one) for one in wanted))
    return _slice(found, given.get("NextToken", ""), most)


def cut(rows: Sequence[Row], token: str, most: int) -> tuple[list[Row], str]:
    """One page of rows that are all here, and the token of the next one. Raises `faults.Fault`."""
    return _slice(iter(rows), token, most)


def _slice(rows: Iterator[Row], token: str, most: int) -> tuple[list[Row], str]:
    first = _read(token)
    taken = list(islice(rows, first, first + most + 1))
    return taken[:most], _written(first + most) if len(taken) > most else ""


def _written(after: int) -> str:
    return base64.b64encode(f"after:{after}".encode()).decode()


def _read(token: str) -> int:
    if not token:
        return 0
    try:
        found = _TOKEN.fullmatch(base64.b64decode(token, validate=True).decode())
    except ValueError:
        found = None
    if found is None:
        raise faults.Fault("InvalidNextTokenException", "Invalid NextToken.")
    return int(found.group(1))


# ---------------------------------------------------------------- filters


def _fits(secret: Secret, call: Call, key: str, values: list[str]) -> bool:
    """Whether one of the values fits; one that begins with ! fits what it names not."""
    return any(
        not _matches(secret, call, key, value[1:])
        if value.startswith("!")
        else _matches(secret, call, key, value)
        for value in values
    )


def _matches(secret: Secret, call: Call, key: str, value: str) -> bool:
    return _MATCHES[key](secret, call, value)


def primary(secret: Secret) -> str:
    """The region of the primary of a secret that has replicas, or is one; empty for another."""
    of = getattr(secret, "replica_of", None)
    if of is not None:
        return calls.name_of(of.primary.region)
    return calls.name_of(secret.region) if secret.replicas.all() else ""


def _all(secret: Secret, call: Call, value: str) -> bool:
    texts = [secret.name, secret.description]
    texts += [text for tag in secret.tags.all() for text in (tag.key, tag.value)]
    return _have_words(texts, value)


def _have_words(texts: list[str], value: str) -> bool:
    """Whether each word of `value` is the beginning of a word of these texts; case does not count."""
    words = [word.lower() for text in texts for word in _HUMP.split(text) if word]
    return all(
        any(word.startswith(wanted.lower()) for word in words) for wanted in _HUMP.split(value) if wanted
    )


_MATCHES: dict[str, Callable[[Secret, Call, str], bool]] = {
    "name": lambda secret, call, value: secret.name.startswith(value),
    "description": lambda secret, call, value: _have_words(secret.description.split(), value),
    "tag-key": lambda secret, call, value: any(tag.key.startswith(value) for tag in secret.tags.all()),
    "tag-value": lambda secret, call, value: any(tag.value.startswith(value) for tag in secret.tags.all()),
    "primary-region": lambda secret, call, value: (primary(secret) or call.region_name).startswith(value),
    "owning-service": lambda secret, call, value: not secret.is_generic and "keyturn".startswith(value),
    "all": _all,
}
