"""Which nonces were used: a signed request is answered once, by whichever web process it comes to.

They stand in the cache, which is a table of Keyturn's own database with a seal on each row, and which removes
them when their time is over: a minute earlier the request is too old itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from django.core.cache import DEFAULT_CACHE_ALIAS, cache, caches
from django.utils import timezone

from console.interfaces.alibaba import faults
from console.interfaces.alibaba.signatures import SKEW, Signature, moment
from secrets_app.models import AccessKey

LONGER = 60.0  # seconds after the signature is too old, for clocks of web processes that differ


def use(key: AccessKey, signature: Signature) -> None:
    """Note that `key` has used the nonce of this signature. Raises `faults.Fault` if it did before.

    Only after its signature was checked: then the table holds nonces of valid keys, and a client's are used
    up by that client alone.
    """
    name, value, left = Once(key, signature).entry
    if not cache.add(name, value, timeout=left):
        raise faults.NONCE_USED()


class Once:
    """The nonce of a read, which is used in the transaction of the read's event, or not at all."""

    def __init__(self, key: AccessKey, signature: Signature) -> None:
        left = moment(signature.stamp) + SKEW - timezone.now()
        #: As the cache keeps it: a name, a value and for how many seconds.
        self.entry = (f"alibaba nonce {key.pk} {signature.nonce}", 1, left.total_seconds() + LONGER)

    def granted(self, claims: Sequence[Once]) -> list[bool]:
        """Use each of these; which were not used before. The first of two that are the same counts."""
        return _table().add_each([claim.entry for claim in claims])


def sweep() -> None:
    """Remove the nonces that are too old to be used, once a minute."""
    _table().sweep()


class _Table(Protocol):
    """Of the cache that the settings name, what Django's interface does not have."""

    def add_each(self, entries: Sequence[tuple[str, object, float]]) -> list[bool]: ...
    def sweep(self) -> None: ...


def _table() -> _Table:
    return cast(_Table, caches[DEFAULT_CACHE_ALIAS])
