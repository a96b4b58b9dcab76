"""One signed call: who calls, in which region, with what; and how its secret is found there.

A name that the caller may not describe is not found; one that may be described and not used is refused, which
is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.conf import settings

from console.interfaces import new_regions
from console.interfaces.alibaba import faults
from console.interfaces.alibaba.parameters import Given
from console.interfaces.rates import rates
from secrets_app import prepared
from secrets_app.actions import Action
from secrets_app.models import NAME_LENGTH, NAME_PATTERN, AccessKey, Principal, Region, Secret
from secrets_app.people import access_keys
from secrets_app.policy import decisions, requiring

_ARN = re.compile(r"acs:kms:([A-Za-z0-9-]{1,64}):(\d{12}|\d{16}):secret/(.{1,512})")
_WITH = ("key", "schedule", "managed__instance")
_NAMED = prepared.Question(
    lambda region, name: Secret.objects.select_related(*_WITH).filter(
        purged_at__isnull=True, region=region, name=name
    )
)


@dataclass
class Call:
    """A call whose signature was checked."""

    operation: str
    actor: Principal
    region: Region
    region_name: str  # as the client calls it
    given: Given
    about: Secret | None = None  # what it turned out to be about, for the record of the call
    #: How a secret of the call's region is found by its name.
    named: Callable[[Call, str], Secret | None] = field(default=lambda call, name: _named(call, name))

    @property
    def account(self) -> str:
        """The account's number as clients of every interface know it: 12 digits."""
        return self.region.account.short_number

    def secret(self, action: Action, *, while_marked: bool = False, name: str = "") -> Secret:
        """Return the secret of this call for `action`. Raises `faults.Fault` or `requiring.Refused`."""
        found = find(self, name or self.given.text("SecretName", needed=True))
        if found is None or not (
            decisions.allows(self.actor, action, found)
            or decisions.allows(self.actor, Action.DESCRIBE_SECRET, found)
        ):
            raise faults.NOT_FOUND()
        requiring.require(self.actor, action, found)
        if found.is_pending_deletion and not while_marked:
            raise faults.MARKED()
        self.about = found
        return found


def region_of_host(host: str) -> Region | None:
    """Return the region that the settings give to a host name of Keyturn; the first one for any other name.

    A client that says no region means the one of its endpoint.
    """
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return new_regions.region(settings.REGION_NAMES.get(name.lower(), new_regions.FIRST_REGION))


def region_said(of_signature: str, given: Given, host: str) -> tuple[Region | None, str]:
    """Return the region of the signature's scope, of RegionId or of the endpoint, and its name there.

    None where there is none of the name, or two are named; no name where none is said.
    """
    # Each name once: of a region that is not there yet, two look-ups are two.
    names = list(dict.fromkeys(name for name in (of_signature, given.text("RegionId")) if name))
    found = {new_regions.region(name) for name in names} or {region_of_host(host)}
    return found.pop() if len(found) == 1 else None, names[-1] if names else ""


def require_rate(call: Call, key: AccessKey, *, is_read: bool) -> None:
    """Return if this second has room for the call. Raises `faults.Throttled`."""
    listed = call.given.json("SecretsList") if call.operation == "BatchGetSecretValue" else None
    count = len(listed) if isinstance(listed, list) and listed else 1
    beyond = rates.take(key.key_id, call.account, is_read=is_read, calls=count)
    if beyond is not None:
        if beyond.is_to_note:
            access_keys.refuse(key, "There are more calls in a second than are answered.")
        raise faults.THROTTLED(again_in=beyond.seconds)


def find(call: Call, text: str) -> Secret | None:
    """Return the secret of this name or ARN. Raises `faults.Fault` for what is neither."""
    name = text
    if text.startswith("acs:"):
        parsed = _ARN.fullmatch(text)
        if parsed is None:
            raise faults.INVALID()
        code, number, name = parsed.groups()
        if new_regions.region(code) != call.region or not call.region.account.is_called(number):
            return None
    if not re.match(NAME_PATTERN, name):
        raise faults.INVALID()
    return call.named(call, name)


def _named(call: Call, name: str) -> Secret | None:
    found = _NAMED.first(call.region.pk, name)
    if found is not None:
        # The region is a row that was read in this request; a secret has the account of its region.
        found.region, found.account = call.region, call.region.account
    return found


def new_name(call: Call) -> str:
    """Return the name that a new secret is to have. Raises `faults.Fault`."""
    name = call.given.text("SecretName", needed=True, most=NAME_LENGTH)
    if not re.match(NAME_PATTERN, name):
        raise faults.INVALID()
    return name


def require_free(call: Call, name: str) -> None:
    """Return if no secret of the region has this name. Raises `faults.Fault`.

    Only for one who may make a secret of this name: others learn nothing of what is there.
    """
    rows = Secret.objects.filter(region=call.region, name=name, purged_at__isnull=True)
    existing = rows.first()
    if existing is not None:
        raise faults.MARKED() if existing.is_pending_deletion else faults.EXISTS()


def moment(at: datetime) -> str:
    """A time as the service writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
