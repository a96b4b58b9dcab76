"""The only writer of the account and its regions."""

from __future__ import annotations

import secrets

from django.db import IntegrityError, transaction

from secrets_app import actions
from secrets_app.audit import trail
from secrets_app.models import Account, Principal, Region

FIRST_REGION = ("main", "Main")


def account() -> Account:
    """Return this installation's account; the first call makes it, and its first region."""
    existing = Account.objects.first()
    if existing:
        return existing
    with transaction.atomic():
        created = Account.objects.create(number=str(10**15 + secrets.randbelow(9 * 10**15)))
        Region.objects.create(account=created, code=FIRST_REGION[0], name=FIRST_REGION[1])
    return created


def create(code: str, name: str, *, actor: Principal) -> Region:
    """Make a region. Its code never changes; its name may. Raises ValueError where the code is taken."""
    try:
        with transaction.atomic():
            region = Region.objects.create(account=account(), code=code, name=name)
            trail.record(
                "kms:CreateRegion",
                actions.arn("region", "", account=region.account.number, region=code),
                actor=actor,
                resource_id=region.pk,
            )
    except IntegrityError:
        raise ValueError(f"A region with the code {code} exists.") from None
    return region
