"""Access keys: what a program signs its requests with."""

from __future__ import annotations

from django.db import models

from secrets_app.models.base import Identified
from secrets_app.models.keys import SealedValue
from secrets_app.models.people import Principal
from secrets_app.seals import SealedRow

#: Two, so that a new one can be put in the place of an old one without a gap.
KEYS_AT_MOST = 2


class AccessKey(SealedRow, Identified):
    """An id and a secret by which a principal signs requests to an interface. Writer: `access_keys`."""

    SEALED = ("id", "principal_id", "key_id", "sealed_id", "is_active", "expires_at", "networks")

    principal = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="access_keys")
    key_id = models.CharField(max_length=20, unique=True)  # no secret: every request and event names it
    slot = models.PositiveSmallIntegerField()  # 1 or 2: of two that are made at once, a third does not fit
    sealed = models.OneToOneField(SealedValue, on_delete=models.PROTECT, related_name="+")
    is_active = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    networks = models.JSONField(default=list, blank=True)  # where requests may come from; empty: anywhere
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    # At most once a minute: a use does not wait for another one.
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_from = models.GenericIPAddressField(null=True, blank=True)
    last_used_for = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["principal", "slot"]
        constraints = [
            models.UniqueConstraint(fields=["principal", "slot"], name="one_access_key_per_slot"),
            models.CheckConstraint(
                condition=models.Q(slot__gte=1, slot__lte=KEYS_AT_MOST), name="two_access_keys_at_most"
            ),
        ]

    def __str__(self) -> str:
        return self.key_id
