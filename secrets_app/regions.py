"""The only writer of the account and its regions.

It asks for no right: `policy` is made of regions. `rotation.inventory.places` asks.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from secrets_app import actions, prepared
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Account, Principal, Region

FIRST_REGION = ("main", "Main")
CODE_PATTERN = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
RESERVED = frozenset({"all"})  # it stands for every region, in URLs


class BadCode(DomainError, ValueError):
    """A region's code has 1 to 40 lower-case letters, digits and hyphens, and is not all."""

    code = "region_code_invalid"


class CodeTaken(DomainError, ValueError):
    """A region has or had this code, and its code never goes to another one. Choose another code."""

    code = "region_code_taken"


class Retired(DomainError):
    """This region is retired; the message says since when."""

    code = "region_retired"


class LastRegion(DomainError):
    """This is the only region. Create another one before you retire it."""

    code = "last_region"


class NumberStays(DomainError):
    """This installation has another account number; the message names both."""

    code = "account_number_stays"


class Outdated(DomainError):
    """Another user changed this in the meantime; nothing was saved."""

    code = "region_outdated"


@dataclass(frozen=True)
class Named:
    """A region as policies and events know it.

    Not the row itself: where a list is asked for, that stands for what is in it.
    """

    arn: str
    pk: UUID


def named(region: Region) -> Named:
    return Named(actions.arn(actions.Kind.REGION, region.code, account=region.account.number), region.pk)


_ACCOUNT: prepared.Question[Account] = prepared.Question(lambda: Account.objects.order_by("pk")[:1])


def account() -> Account:
    """Return this installation's account; the first call makes it, and its first region."""
    existing = _ACCOUNT.first()
    if existing:
        return existing
    with transaction.atomic():
        number = settings.ACCOUNT_NUMBER or str(10**15 + secrets.randbelow(9 * 10**15))
        created = Account.objects.create(number=number)
        Region.objects.create(account=created, code=FIRST_REGION[0], name=FIRST_REGION[1])
    return created


def require_number(wanted: str) -> None:
    """Return if this installation's account has this number, or is yet to be made. Raises `NumberStays`.

    It never changes: policies, events and programs name it, from the first event on.
    """
    existing = Account.objects.first()
    if wanted and existing and wanted != existing.number:
        raise NumberStays(
            f"KEYTURN_ACCOUNT is {wanted}, and the account number of this installation is {existing.number}. "
            "It never changes, because policies, audit events and programs name it in ARNs. "
            f"Remove the setting, or set it to {existing.number}."
        )


def not_yet(code: str) -> Region | None:
    """Return a region of this code as it will be once `opened`; None where there can be none.

    It is no row yet, so nothing is found in it.
    """
    if not is_code(code) or Region.objects.filter(code=code).exists():  # a retired one comes to no new life
        return None
    return Region(account=account(), code=code, name=code)


def opened(region: Region, *, actor: Principal) -> Region:
    """Return the row of a region that was not there when its request came, made now or by another request.

    In the transaction of what is written there first. Raises `Retired`.
    """
    rows = Region.objects.select_related("account").filter(code=region.code)
    found = rows.first()
    if found is None:
        try:
            return create(region.code, region.name, actor=actor)
        except CodeTaken:
            found = rows.get()
    require_kept(found)
    return found


def is_code(code: str) -> bool:
    """Whether a region can have this code."""
    return bool(re.fullmatch(CODE_PATTERN, code)) and code not in RESERVED


def create(code: str, name: str, *, actor: Principal) -> Region:
    """Make a region. Its code never changes; its name may. Raises `BadCode` or `CodeTaken`."""
    if not is_code(code):
        raise BadCode(BadCode.default())
    try:
        with transaction.atomic():
            region = Region.objects.create(account=account(), code=code, name=name)
            trail.record(Action.CREATE_REGION, named(region), actor=actor, details={"name": name})
    except IntegrityError:
        raise CodeTaken(CodeTaken.default()) from None
    return region


def rename(region: Region, name: str, *, was: str, actor: Principal) -> None:
    """Change what a region is called, as a form says that showed `was`; nothing else of it.

    Raises `Retired` or `Outdated`.
    """
    with transaction.atomic():
        held = hold(region)
        if held.name != was:
            raise Outdated(Outdated.default())
        Region.objects.filter(pk=held.pk).update(name=name)
        details = {"name": name, "was": was}
        trail.record(Action.UPDATE_REGION, named(region), actor=actor, details=details)


def retire(region: Region, *, actor: Principal, reason: str = "") -> None:
    """Let a region go; its code, its row and the history in it stay.

    The caller has it from `hold_to_retire`, and knows that nothing is in it any more.
    """
    with transaction.atomic():
        Region.objects.filter(pk=region.pk).update(retired_at=Now())
        trail.record(Action.RETIRE_REGION, named(region), actor=actor, reason=reason)


def hold(region: Region) -> Region:
    """Return the region as it is now, unchanged by others until the caller's transaction ends.

    Who puts something into it holds it first, so that it is not retired meanwhile. Raises `Retired`.
    """
    held = Region.objects.select_for_update(of=("self",), no_key=True).get(pk=region.pk)
    require_kept(held)
    return held


def hold_to_retire(region: Region) -> Region:
    """As `hold`, and together with the others: of the last two, one stays. Raises `LastRegion` too."""
    # In one order, so that two transactions do not wait for each other.
    kept = {row.pk: row for row in Region.objects.select_for_update(no_key=True).order_by("pk")}
    held = kept[region.pk]
    require_kept(held)
    if not any(row.retired_at is None for row in kept.values() if row.pk != region.pk):
        raise LastRegion(LastRegion.default())
    return held


def require_kept(region: Region) -> None:
    """Return if the region is not retired. Raises `Retired`."""
    if region.retired_at:
        raise Retired(f"{region.name} was retired on {region.retired_at:%Y-%m-%d %H:%M} UTC.")
