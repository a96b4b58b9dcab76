"""The only writer of host keys: seen by a scan, and trusted once a person has approved them.

Instead of what an instance shows itself, an authority may be trusted that a person gives.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models.functions import Now

from rotation import binding, wires
from rotation.connectors import base
from rotation.inventory import holding, instances
from rotation.models import HostKey, Instance
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal
from secrets_app.policy import decisions


class NotSeen(DomainError, ValueError):
    """Scan the host key again: what you approved is not what was seen."""

    code = "host_key_not_seen"


class BadAuthority(DomainError, ValueError):
    """This cannot be trusted as an authority; the message says why."""

    code = "authority_unfit"


def see_host_keys(instance: Instance, keys: Iterable[base.HostKey]) -> None:
    """Note the keys that a scan was shown; none is trusted by that."""
    kind = wires.identity(instance.wire)
    for key in keys:
        HostKey.objects.update_or_create(
            instance=instance,
            fingerprint=key.fingerprint,
            defaults={"kind": kind, "algorithm": key.algorithm, "blob": key.blob, "seen_at": Now()},
        )


def approve_host_keys(instance: Instance, fingerprints: Iterable[str], *, actor: Principal) -> None:
    """Trust exactly these keys of the instance from now on; a later change detaches the credential.

    Raises `holding.Retired`, or `NotSeen` where no key with one of the fingerprints was seen.
    """
    wanted = set(fingerprints)
    with transaction.atomic():
        holding.instance(instance)
        keys = HostKey.objects.select_for_update().filter(instance=instance)
        if (
            not wanted
            or set(keys.filter(fingerprint__in=wanted).values_list("fingerprint", flat=True)) != wanted
        ):
            raise NotSeen(f"Scan the {instance.shown.one} again: what you approved is not what was seen.")
        _trust(instance, wanted, actor)
        trail.record(Action.APPROVE_HOST_KEY, instance, actor=actor, details={"fingerprints": sorted(wanted)})


def read_authority(wire: str, text: str) -> base.HostKey:
    """Return what would be trusted of an authority's certificate in PEM. Raises `BadAuthority`."""
    read = wires.of(wire).authority
    if read is None:
        raise BadAuthority(f"Over {wires.label(wire)} no authority can be trusted.")
    try:
        return read(text)
    except ValueError as error:
        raise BadAuthority(str(error)) from None


def trust_authority(instance: Instance, text: str, *, actor: Principal) -> None:
    """Trust what this authority signs for the instance's address, and nothing that was approved before.

    `text` is its certificate in PEM. Nothing happens if it is trusted already; another one than before
    detaches the credential. Raises `BadAuthority`, `holding.Retired` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.APPROVE_HOST_KEY, instance)
    given = read_authority(instance.wire, text)
    with transaction.atomic():
        holding.instance(instance)
        known = HostKey.objects.select_for_update().filter(instance=instance, fingerprint=given.fingerprint)
        if known.filter(state=HostKey.State.APPROVED).exists():
            return
        see_host_keys(instance, [given])
        _trust(instance, {given.fingerprint}, actor)
        trail.record(
            Action.APPROVE_HOST_KEY,
            instance,
            actor=actor,
            details={"fingerprints": [given.fingerprint], "authority": True},
        )


def distrust_authority(instance: Instance, *, actor: Principal) -> None:
    """Trust no authority for the instance any more, so that what it shows itself is compared and approved.

    Nothing happens where none is trusted. Raises `holding.Retired` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.APPROVE_HOST_KEY, instance)
    with transaction.atomic():
        holding.instance(instance)
        keys = HostKey.objects.select_for_update().filter(instance=instance, state=HostKey.State.APPROVED)
        gone = sorted(key.fingerprint for key in keys if key.is_authority)
        if gone:
            _trust(instance, {key.fingerprint for key in keys if not key.is_authority}, actor)
            details = {"fingerprints": [], "no_longer": gone, "authority": True}
            trail.record(Action.APPROVE_HOST_KEY, instance, actor=actor, details=details)


def _trust(instance: Instance, wanted: set[str], actor: Principal) -> None:
    """Trust exactly these. Where one is not trusted any more, the credential is detached."""
    keys = HostKey.objects.filter(instance=instance)
    approved = keys.filter(state=HostKey.State.APPROVED)
    had = set(approved.values_list("fingerprint", flat=True))
    approved.exclude(fingerprint__in=wanted).update(state=HostKey.State.RETIRED)
    keys.filter(fingerprint__in=wanted).exclude(state=HostKey.State.APPROVED).update(
        state=HostKey.State.APPROVED, decided_at=Now(), decided_by=actor
    )
    if had - wanted:
        because = f"Its {instance.shown.one} changed. Attach a credential again."
        Instance.objects.filter(pk=instance.pk).update(**instances.without_login(because))
    instance.refresh_from_db()
    binding.follow(instance)
