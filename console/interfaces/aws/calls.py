"""One signed call: who calls, in which region, with what; and how its secret is found there.

A name that the caller may not describe is not found; one that may be described and not used is refused, which
is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from console.interfaces import new_regions
from console.interfaces.aws import faults
from console.interfaces.rates import rates
from secrets_app import prepared
from secrets_app.actions import Action
from secrets_app.models import NAME_PATTERN, AccessKey, Principal, Region, Secret
from secrets_app.people import access_keys
from secrets_app.policy import decisions, requiring

_ARN = re.compile(r"arn:aws:secretsmanager:([a-z0-9-]{1,64}):(\d{12}|\d{16}):secret:(.{1,530})")
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ALONE = prepared.Question(
    lambda region, name: Secret.objects.filter(purged_at__isnull=True, region=region, name=name)
)
_NAMED = prepared.Question(
    lambda region, name: Secret.objects.select_related("key", "schedule").filter(
        purged_at__isnull=True, region=region, name=name
    )
)
#: Operations that say nothing of a secret but its value and its names.
_OF_VALUES = frozenset({"GetSecretValue", "BatchGetSecretValue"})


@dataclass
class Call:
    """A call whose signature was checked."""

    operation: str
    actor: Principal
    region: Region
    region_name: str  # as the client calls it, and reads it in ARNs
    given: dict[str, Any]
    about: Secret | None = None  # what it turned out to be about, for the record of the call
    #: How a secret of the call's region is found by its name.
    named: Callable[[Call, str], Secret | None] = field(default=lambda call, name: _named(call, name))

    @property
    def account(self) -> str:
        return account(self.region)

    @property
    def user_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:user/{self.actor.name}"

    def arn(self, secret: Secret) -> str:
        """The ARN of a secret, with the name of its region that the caller uses."""
        return self.arn_of(f"{secret.name}-{suffix(secret)}")

    def arn_of(self, resource: str) -> str:
        return f"arn:aws:secretsmanager:{self.region_name}:{self.account}:secret:{resource}"

    def secret(self, action: Action, *, while_marked: bool = False, secret_id: str = "") -> Secret:
        """Return the secret of this call for `action`. Raises `faults.Fault` or `requiring.Refused`."""
        named = secret_id or str(self.given["SecretId"])
        found = find(self, named)
        if found is None or not (
            decisions.allows(self.actor, action, found)
            or decisions.allows(self.actor, Action.DESCRIBE_SECRET, found)
        ):
            raise faults.SECRET_NOT_FOUND()
        requiring.require(self.actor, action, found)
        if found.is_pending_deletion and not while_marked:
            raise faults.MARKED()
        self.about = found
        return found


def require_rate(call: Call, key: AccessKey, *, is_read: bool) -> None:
    """Return if this second has room for the call. Raises `faults.Fault`."""
    count = max(1, len(call.given.get("SecretIdList", ())))
    beyond = rates.take(key.key_id, call.account, is_read=is_read, calls=count)
    if beyond is not None:
        if beyond.is_to_note:
            access_keys.refuse(key, "There are more calls in a second than are answered.")
        raise faults.THROTTLED(again_in=beyond.seconds)


def name_of(of: Region) -> str:
    """Return what a client calls this region: an alias of the settings, `local-1`, or its code.

    Some clients take only a name such as `local-1`, so an alias goes before the code.
    """
    for alias, code in settings.REGION_NAMES.items():
        if code == of.code and "." not in alias:  # which would be a host name, for other clients
            return str(alias)
    first = new_regions.region(new_regions.FIRST_REGION)
    return new_regions.FIRST_REGION if first == of else of.code


def account(of: Region) -> str:
    """The account's number as clients of AWS know one: 12 digits."""
    return of.account.short_number


def suffix(secret: Secret) -> str:
    """Six letters and digits of this secret alone: one of the same name that is made later has others."""
    number, letters = secret.pk.int, ""
    for _ in range(6):
        number, digit = divmod(number, len(_LETTERS))
        letters += _LETTERS[digit]
    return letters


def find(call: Call, secret_id: str) -> Secret | None:
    """Return the secret of this name, ARN, or ARN without its last seven characters.

    Raises `faults.Fault` for what is no name.
    """
    if not secret_id.startswith("arn:"):
        check_name(secret_id)
        return call.named(call, secret_id)
    parsed = _ARN.fullmatch(secret_id)
    if parsed is None:
        raise faults.BAD_NAME()
    name, number, resource = parsed.group(1), parsed.group(2), parsed.group(3)
    if new_regions.region(name) != call.region or not call.region.account.is_called(number):
        return None
    if not _SUFFIX.fullmatch(resource[-7:]):
        return call.named(call, resource)
    # As the service does: what ends as a suffix is one.
    found = call.named(call, resource[:-7])
    return found if found is not None and suffix(found) == resource[-6:] else None


def check_name(name: str) -> None:
    """Return if a secret may be called so. Raises `faults.Fault`."""
    if not re.match(NAME_PATTERN, name):
        raise faults.BAD_NAME()


def _named(call: Call, name: str) -> Secret | None:
    found = (_ALONE if call.operation in _OF_VALUES else _NAMED).first(call.region.pk, name)
    if found is not None:
        # The region is a row that was read in this request; a secret has the account of its region.
        found.region, found.account = call.region, call.region.account
    return found
