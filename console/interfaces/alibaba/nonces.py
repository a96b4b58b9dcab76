"""Which nonces were used: a signed request is answered once, by whichever web process it comes to.

They stand in the cache, which is a table of Keyturn's own database with a seal on each row, and which removes
them when their time is over: a minute earlier the request is too old itself.
"""

from __future__ import annotations

from django.core.cache import cache
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
    left = moment(signature.stamp) + SKEW - timezone.now()
    kept = left.total_seconds() + LONGER
    if not cache.add(f"alibaba nonce {key.pk} {signature.nonce}", 1, timeout=kept):
        raise faults.NONCE_USED()
