"""The only writer of host keys: seen by a scan, and trusted once a person has approved them."""

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


class NotSeen(DomainError, ValueError):
    """Scan the host key again: what you approved is not what was seen."""

    code = "host_key_not_seen"


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
            raise NotSeen
        approved = keys.filter(state=HostKey.State.APPROVED)
        had = set(approved.values_list("fingerprint", flat=True))
        approved.exclude(fingerprint__in=wanted).update(state=HostKey.State.RETIRED)
        keys.filter(fingerprint__in=wanted).exclude(state=HostKey.State.APPROVED).update(
            state=HostKey.State.APPROVED, decided_at=Now(), decided_by=actor
        )
        if had - wanted:
            Instance.objects.filter(pk=instance.pk).update(
                **instances.without_login("Its host key changed. Attach a credential again.")
            )
        instance.refresh_from_db()
        binding.follow(instance)
        trail.record(Action.APPROVE_HOST_KEY, instance, actor=actor, details={"fingerprints": sorted(wanted)})
