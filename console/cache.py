"""The only writer of the cache: JSON in a table of Keyturn's own database, each entry with a seal.

What stands here counts tries to sign in, so it is read before any user has authenticated. Nothing that is
read is ever unpickled, and an entry is ignored if its seal does not fit its key, its value and its end. An
attacker who can write to this table can still delete an entry: that restarts a count, and gives no access.

No entry is thrown out before its end to make room: an attacker with many addresses could empty a count so.
A store that does not answer is an error and never "too many tries".
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import IntegrityError, transaction
from django.utils import timezone

from console.models import CacheEntry
from secrets_app import keyed, prepared

log = logging.getLogger(__name__)

_NEVER = datetime.max.replace(tzinfo=UTC, microsecond=0)
#: How often one process removes what is over, and says that an entry was not ours.
EVERY = timedelta(minutes=1)


class _Last:
    """When this process last did what it does once a minute."""

    swept = reported = float("-inf")


class Cache(BaseCache):
    """Django's interface over the table; a value is one that JSON can represent."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        row = CacheEntry.objects.filter(key=self._name(key, version)).first()
        return json.loads(row.value) if row and _counts(row) else default

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        names = {self._name(key, version): key for key in keys}
        rows = CacheEntry.objects.filter(key__in=list(names))
        return {names[row.key]: json.loads(row.value) for row in rows if _counts(row)}

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        row = self._row(key, value, timeout, version)
        there = _KEPT.first(row.key)
        if there is not None and _counts(there):
            return False
        if there is not None:
            # What is over or not ours goes: as a lock it would never be given back. Only this very row:
            # another process may have put its own in the place meanwhile.
            CacheEntry.objects.filter(key=there.key, seal=there.seal, expires_at=there.expires_at).delete()
        try:
            with transaction.atomic():
                _ADDED([row])
        except IntegrityError:
            return False
        _sweep()
        return True

    def add_each(self, entries: Sequence[tuple[str, Any, float]]) -> list[bool]:
        """As `add` for each of these keys, values and timeouts, in the caller's transaction, on PostgreSQL.

        False also of one that is over or not ours: `add` says more.
        """
        rows = [self._row(key, value, timeout, None) for key, value, timeout in entries]
        free = _ADDED.unless_there(rows)
        added = []
        for row in rows:  # of two that are the same, the first one
            added.append(row.key in free)
            free.discard(row.key)
        return added

    def sweep(self) -> None:
        """Remove what is over, once a minute; `add` and `set` do so too."""
        _sweep()

    def set(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        row = self._row(key, value, timeout, version)
        CacheEntry.objects.bulk_create(
            [row], update_conflicts=True, unique_fields=["key"], update_fields=["value", "seal", "expires_at"]
        )
        _sweep()

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        nothing = object()
        value = self.get(key, nothing, version)
        if value is nothing:
            return False
        self.set(key, value, timeout, version)
        return True

    def delete(self, key: str, version: int | None = None) -> bool:
        return CacheEntry.objects.filter(key=self._name(key, version)).delete()[0] > 0

    def clear(self) -> None:
        CacheEntry.objects.all().delete()

    def _name(self, key: str, version: int | None) -> str:
        # By its hash, because a key holds names and addresses, of any length and in any characters.
        return keyed.digest("cache key", self.make_key(key, version))

    def _row(self, key: str, value: Any, timeout: float | None, version: int | None) -> CacheEntry:
        end = self.get_backend_timeout(timeout)
        row = CacheEntry(
            key=self._name(key, version),
            value=json.dumps(value),
            expires_at=_NEVER if end is None else datetime.fromtimestamp(end, UTC),
        )
        row.seal = keyed.digest(*_content(row))
        return row


_KEPT = prepared.Question(lambda key: CacheEntry.objects.filter(key=key))
_ADDED = prepared.Rows(CacheEntry)


def _content(row: CacheEntry) -> tuple[str, ...]:
    return ("cache entry", row.key, row.value, row.expires_at.isoformat())


def _counts(row: CacheEntry) -> bool:
    """Whether this entry is ours and not over."""
    if row.expires_at <= timezone.now():
        return False
    if keyed.fits(row.seal, *_content(row)):
        return True
    if time.monotonic() - _Last.reported >= EVERY.total_seconds():
        _Last.reported = time.monotonic()
        log.warning("An entry of the cache was written by something else, or with another session key.")
    return False


def _sweep() -> None:
    if time.monotonic() - _Last.swept >= EVERY.total_seconds():
        _Last.swept = time.monotonic()
        CacheEntry.objects.filter(expires_at__lte=timezone.now()).delete()
