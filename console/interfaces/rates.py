"""How many calls of programs are answered in a second, for each access key and for the account as a whole.

Each web process counts for itself, by buckets that fill with its share of the limit and hold one second of
all of it: programs that call evenly get the limit, and no more than that for long. A call is counted once its
signature and its key are checked, so no program takes the calls of another.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

#: Processes of the console that answer: `workers` in `console.process.web`.
PROCESSES = 2
KEPT = 10_000  # buckets; the one that was not asked for longest goes
NOTED_EVERY = 60.0  # seconds in which calls beyond the limit leave one event


@dataclass
class _Bucket:
    left: float
    at: float
    noted_at: float = float("-inf")


@dataclass(frozen=True)
class Beyond:
    """A call that is one too many: when to come again, and whether the trail is to be told."""

    seconds: int
    is_to_note: bool


class Rates:
    """The buckets of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, key_id: str, account: str, *, is_read: bool, calls: int = 1) -> Beyond | None:
        """Count calls of this key in this account; say so where they are too many, and count none then."""
        kind = "reads" if is_read else "others"
        of_key = settings.API_KEY_READS if is_read else settings.API_KEY_OTHERS
        of_account = settings.API_READS if is_read else settings.API_OTHERS
        with self._lock:
            now = self._clock()
            asked = [(self._at(f"key {key_id}", kind, of_key, now), of_key)]
            asked += [(self._at(f"account {account}", kind, of_account, now), of_account)]
            for bucket, limit in asked:
                # Many at once pass if all of a second is there for them.
                if bucket.left < min(calls, limit):
                    return self._beyond(asked[0][0], now)
            for bucket, _ in asked:
                bucket.left -= calls
        return None

    def _at(self, name: str, kind: str, limit: int, now: float) -> _Bucket:
        bucket = self._buckets.pop((name, kind), None) or _Bucket(limit, now)
        bucket.left = min(limit, bucket.left + (now - bucket.at) * limit / PROCESSES)
        bucket.at = now
        self._buckets[name, kind] = bucket
        while len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        return bucket

    def _beyond(self, of_key: _Bucket, now: float) -> Beyond:
        is_to_note = now - of_key.noted_at >= NOTED_EVERY
        if is_to_note:
            of_key.noted_at = now
        return Beyond(1, is_to_note)


rates = Rates()
