"""Which nonces were used: a signed request is answered once, by whichever web process it comes to.

They stand in the cache, which is a table of Keyturn's own database with a seal on each row, and which removes
them when their time is over: a request is refused by its time long before.
"""

from __future__ import annotations

from django.core.cache import cache

from console.interfaces.alibaba import faults
from console.interfaces.alibaba.signatures import SKEW
from secrets_app.models import AccessKey

#: A clock that is 15 minutes ahead makes a signature that is good for twice as long.
KEPT_SECONDS = int(2 * SKEW.total_seconds()) + 60


def use(key: AccessKey, nonce: str) -> None:
    """Note that `key` has used this nonce. Raises `faults.Fault` if it did before.

    Only after its signature was checked: then the table holds nonces of valid keys, and a client's are used
    up by that client alone.
    """
    if not cache.add(f"alibaba nonce {key.pk} {nonce}", 1, timeout=KEPT_SECONDS):
        raise faults.NONCE_USED()
