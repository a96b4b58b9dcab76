"""The address of a row's own page, for lists: as `reverse` answers, which a page would ask a hundred times.

The address of a kind of row is resolved once in each region; a row puts its key into it.
"""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from django.urls import reverse

# In the place of a key while the address is resolved.
_UUID, _NUMBER = UUID(int=2**128 - 1_000_033), 2_147_000_033


def of(name: str, key: UUID | int, region: str = "") -> str:
    """The address of this route for the row with `key`, in `region` where the route has one."""
    before, after = _around(name, region, is_number=isinstance(key, int))
    return f"{before}{key}{after}"


@lru_cache(maxsize=512)
def _around(name: str, region: str, *, is_number: bool) -> tuple[str, str]:
    key = _NUMBER if is_number else _UUID
    before, _, after = reverse(name, args=[region, key] if region else [key]).partition(str(key))
    return before, after
