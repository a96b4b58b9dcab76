"""The only writer of access keys, by which programs sign their requests as a machine or as a user.

A signature is checked with the secret itself, so it is sealed as every other value is, and not hashed. It is
returned once, when it is made. To have a key of a principal is to have its rights: a key for another user
or a machine takes *KMS full access*, as a link to sign in again does.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from secrets_app import actions, keyring, origin, prepared, regions, seals
from secrets_app.actions import Action
from secrets_app.audit import refusals, trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Principal
from secrets_app.models.access_keys import KEYS_AT_MOST
from secrets_app.people import users
from secrets_app.policy import decisions, policies

FIELD = "access_key"
NETWORKS_AT_MOST = 20
#: The name of a refused use in the audit trail. No policy gives it: who has the secret uses the key.
USE = "kms:UseAccessKey"
_NOTED_EVERY = timedelta(minutes=1)


class TooMany(DomainError):
    """There are two access keys already. Delete one before you create another one."""

    code = "access_keys_at_most"


class BadNetwork(DomainError, ValueError):
    """This is not an address range. Use addresses such as 10.0.0.0/8 or 2001:db8::/32."""

    code = "access_key_network_invalid"


class BadExpiry(DomainError, ValueError):
    """An access key expires in the future."""

    code = "access_key_expiry_invalid"


class NoPrincipal(DomainError, ValueError):
    """An access key belongs to a user or a machine, which is enabled."""

    code = "access_key_without_principal"


class Gone(DomainError):
    """This access key was deleted."""

    code = "access_key_gone"


class InUse(DomainError):
    """This access key is enabled and was used. Disable it first; delete it when nothing needs it."""

    code = "access_key_in_use"


class Unusable(DomainError):
    """This access key is not valid now; the message says why."""

    code = "access_key_unusable"


@dataclass(frozen=True)
class Opened:
    """An access key with its secret, to check one signature with; nothing is known yet of who has signed."""

    key: AccessKey
    secret: Plaintext


def named(principal: Principal, *, account: str = "") -> users.Named:
    """The owner of keys, as `policies` and the trail know it: a user's name, or a machine's.

    `account` is the installation's number, where the caller has it.
    """
    number = account or regions.account().number
    pk = principal.user_id or principal.pk
    return users.Named(actions.arn(actions.Kind.USER, principal.name, account=number), pk)


# ---------------------------------------------------------------- made, changed, deleted


def create(
    principal: Principal,
    *,
    actor: Principal,
    networks: Iterable[str] = (),
    expires_at: datetime | None = None,
    reason: str = "",
) -> tuple[AccessKey, Plaintext]:
    """Make a key for `principal`; return it with its secret, which nothing shows again.

    Raises `decisions.NotAllowed`, `NoPrincipal`, `TooMany`, `BadNetwork`, `BadExpiry`, or as `keyring.seal`.
    """
    _require(actor, Action.CREATE_ACCESS_KEY, principal, gives=True)
    if principal.kind == Principal.Kind.SYSTEM or not is_active(principal):
        raise NoPrincipal
    ranges = _ranges(networks)
    if expires_at is not None and expires_at <= timezone.now():
        raise BadExpiry
    pk, secret = uuid.uuid4(), Plaintext(base64.b64encode(secrets.token_bytes(30)).decode())
    try:
        with transaction.atomic():
            sealed = keyring.seal(secret.encode(), owner_id=principal.pk, subject_id=pk, field=FIELD)
            key = AccessKey.objects.create(
                id=pk,
                principal=principal,
                key_id="AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
                slot=_free_slot(principal),
                sealed=sealed,
                networks=ranges,
                expires_at=expires_at,
                created_by=actor,
            )
            _record(
                Action.CREATE_ACCESS_KEY, key, actor, reason, networks=ranges, expires_at=_said(expires_at)
            )
    except IntegrityError:  # another request has taken the slot
        raise TooMany from None
    return key, secret


def of(principal: Principal, *, actor: Principal) -> QuerySet[AccessKey]:
    """The keys of `principal`, without a secret. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.LIST_ACCESS_KEYS, named(principal))
    return AccessKey.objects.filter(principal=principal)


def disable(key: AccessKey, *, actor: Principal, reason: str = "") -> None:
    """Have the next request with this key be refused. Raises `decisions.NotAllowed` or `Gone`."""
    _require(actor, Action.UPDATE_ACCESS_KEY, key.principal, gives=False)
    _set_active(key, actor, reason, is_active=False)


def enable(key: AccessKey, *, actor: Principal, reason: str = "") -> None:
    """Accept this key again, with the rights its principal has now.

    Raises `decisions.NotAllowed` or `Gone`.
    """
    _require(actor, Action.UPDATE_ACCESS_KEY, key.principal, gives=True)
    _set_active(key, actor, reason, is_active=True)


def delete(key: AccessKey, *, actor: Principal, reason: str = "") -> None:
    """Delete this key and destroy its secret. Raises `decisions.NotAllowed`, `InUse` or `Gone`."""
    _require(actor, Action.DELETE_ACCESS_KEY, key.principal, gives=False)
    with transaction.atomic():
        held = _held(key)
        if not is_deletable(held):
            raise InUse
        AccessKey.objects.filter(pk=held.pk).delete()
        keyring.destroy(held.sealed)
        _record(Action.DELETE_ACCESS_KEY, held, actor, reason)


def is_deletable(key: AccessKey) -> bool:
    """Whether no program can be working with this key: it is disabled, has expired, or was never used."""
    return not key.is_active or key.last_used_at is None or is_expired(key)


def is_expired(key: AccessKey) -> bool:
    return key.expires_at is not None and key.expires_at <= timezone.now()


def _require(actor: Principal, action: Action, principal: Principal, *, gives: bool) -> None:
    decisions.require(actor, action, named(principal))
    if gives and actor.pk != principal.pk:
        policies.require_full_access(actor, action, named(principal))


def _set_active(key: AccessKey, actor: Principal, reason: str, *, is_active: bool) -> None:
    with transaction.atomic():
        held = _held(key)
        if held.is_active != is_active:
            AccessKey.objects.filter(pk=held.pk).update(is_active=is_active)
            _record(Action.UPDATE_ACCESS_KEY, held, actor, reason, enabled=is_active)
    key.is_active = is_active


def _held(key: AccessKey) -> AccessKey:
    rows = AccessKey.objects.select_for_update(of=("self",)).select_related("principal", "sealed")
    held = rows.filter(pk=key.pk).first()
    if held is None:
        raise Gone
    return held


def _free_slot(principal: Principal) -> int:
    taken = set(AccessKey.objects.filter(principal=principal).values_list("slot", flat=True))
    free = sorted(set(range(1, KEYS_AT_MOST + 1)) - taken)
    if not free:
        raise TooMany
    return free[0]


def _ranges(networks: Iterable[str]) -> list[str]:
    """These address ranges as `ipaddress` writes them. Raises `BadNetwork`."""
    try:
        ranges = list(dict.fromkeys(str(ipaddress.ip_network(text.strip())) for text in networks))
    except ValueError:
        raise BadNetwork from None
    if len(ranges) > NETWORKS_AT_MOST:
        raise BadNetwork(f"An access key has at most {NETWORKS_AT_MOST} address ranges.")
    return ranges


def _said(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _record(action: Action, key: AccessKey, actor: Principal, reason: str, **details: object) -> None:
    who = named(key.principal)
    trail.record(
        action,
        who.arn,
        actor=actor,
        resource_id=who.pk,
        reason=reason,
        details={"access_key": key.key_id, **details},
    )


# ---------------------------------------------------------------- used


def is_active(principal: Principal) -> bool:
    """Whether this machine, or the user behind this principal, is enabled."""
    if principal.user is not None:
        return principal.user.is_active
    return principal.kind == Principal.Kind.MACHINE and principal.is_active


_OF_ID = prepared.Question(
    lambda key_id: AccessKey.objects.select_related("principal__user", "sealed__key_version__key").filter(
        key_id=key_id
    )
)


def opened(key_id: str) -> Opened | None:
    """Return the key of this id with its secret, to check a signature with; None where there is none.

    Whether it is valid is `require_usable`'s to say, once the signature has shown who asks: one who has no
    secret learns nothing of a key. Raises as `keyring.open_`.
    """
    key = row(key_id)
    return None if key is None else opened_as_read(key)


def row(key_id: str) -> AccessKey | None:
    """Return the row of this id as it is now, with all that `opened_as_read` and `require_usable` read."""
    return _OF_ID.first(key_id)


def opened_as_read(key: AccessKey) -> Opened | None:
    """As `opened`, of a row of `row`."""
    # A row that was changed outside Keyturn names another owner, or another secret.
    if not seals.holds(key):
        return None
    raw = keyring.open_(
        key.sealed,
        owner_id=key.principal_id,
        subject_id=key.pk,
        field=FIELD,
        version=keyring.usable_as_read(key.sealed),
    )
    return Opened(key, Plaintext(raw.decode()))


def require_usable(key: AccessKey) -> Principal:
    """Return who has signed, if the key is valid from the address of this request; else record the refusal.

    Raises `Unusable`. Never call it inside a transaction that the refusal ends.
    """
    because = why_unusable(key, origin.current().address)
    if because:
        refuse(key, because)
        raise Unusable(because)
    return key.principal


def refuse(key: AccessKey, because: str) -> None:
    """Record that a request which this key has signed is refused. Raises `trail.NotRecorded`."""
    who = named(key.principal)
    refusals.note(USE, who.arn, actor=key.principal, because=f"{key.key_id}: {because}", resource_id=who.pk)


def refuse_unknown(because: str) -> None:
    """Record that a request was signed by no key, or not with its secret. Raises `trail.NotRecorded`."""
    # Not by the id that it names: a sender of made-up ids would make as many events.
    refusals.note(
        USE,
        actions.arn(actions.Kind.USER, "", account=regions.account().number),
        actor=None,
        because=because,
    )


def why_unusable(key: AccessKey, address: str | None) -> str:
    """Say why this key is refused from this address now; empty where it is valid."""
    if not is_active(key.principal):
        return f"{key.principal.name} is disabled."
    if not key.is_active:
        return "This access key is disabled."
    if key.expires_at is not None and is_expired(key):
        return f"This access key expired on {key.expires_at:%Y-%m-%d %H:%M} UTC."
    if key.networks and not _is_within(address, key.networks):
        return "This access key is not valid from this address."
    return ""


def _is_within(address: str | None, networks: Iterable[str]) -> bool:
    if address is None:
        return False
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network) for network in networks)


def note_use(key: AccessKey, operation: str) -> None:
    """Keep when this key was last used, from where and for what; at most once a minute.

    A request that finds the row held by another one leaves it at that: the other one notes the same.
    """
    now = timezone.now()
    if key.last_used_at is not None and key.last_used_at > now - _NOTED_EVERY:
        return
    late = Q(last_used_at=None) | Q(last_used_at__lte=now - _NOTED_EVERY)
    with transaction.atomic():
        free = AccessKey.objects.select_for_update(skip_locked=True, no_key=True).filter(late, pk=key.pk)
        if free.values_list("pk", flat=True).first():
            AccessKey.objects.filter(pk=key.pk).update(
                last_used_at=now, last_used_from=origin.current().address, last_used_for=operation[:64]
            )
