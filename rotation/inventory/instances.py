"""The only writer of instances: where each is, and what is known of it.

A management credential is sent only to the machine for which it was attached: a change of address,
port or host key detaches it until a user with the right attaches it again. Otherwise a
connection test would send it to a machine of the editor's choice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation import binding, reasons, wires
from rotation.connectors import base
from rotation.connectors.networks import Networks
from rotation.inventory import holding
from rotation.models import Instance, ManagementCredential
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Region
from secrets_app.policy import decisions


class NameTaken(DomainError):
    """This name is in use; the message says by what."""

    code = "instance_name_taken"


class AddressTaken(DomainError):
    """An instance with this address and port is registered."""

    code = "address_taken"


class AddressForbidden(DomainError, ValueError):
    """Keyturn does not connect to this address. Choose one in the networks that it may reach."""

    code = "address_forbidden"


class Outdated(DomainError):
    """Another user changed this in the meantime; nothing was saved."""

    code = "instance_outdated"


def place(instance: Instance) -> base.Endpoint:
    """Return where an instance is, without trusted keys, and the networks that are allowed."""
    return base.Endpoint(instance.address, instance.port, networks=networks(), wire=instance.wire)


def networks() -> Networks:
    """Return where instances may be, as this installation is set up."""
    return Networks(
        tuple(settings.ALLOWED_NETWORKS), tuple(settings.FORBIDDEN_NETWORKS), tuple(settings.OWN_SERVICES)
    )


def register(
    name: str,
    *,
    region: Region,
    address: str,
    actor: Principal,
    port: int | None = None,
    os: str = Instance.OS.LINUX,
    wire: str = wires.USUAL.name,
    credential: ManagementCredential | None = None,
) -> Instance:
    """Register an instance, at the usual port of its wire where none is given; nothing is sent to it.

    Raises `NameTaken`, `AddressTaken`, `AddressForbidden`, `holding.OtherSystem`,
    `holding.CredentialDeleted`, `regions.Retired` or `decisions.NotAllowed`.
    """
    _refuse_forbidden(address)
    if credential is not None:
        decisions.require(actor, Action.USE_CREDENTIAL, credential)
        holding.require_system(credential, wire)
    port = port or wires.of(wire).ports[0]
    _refuse_twins(region, name, address, port, actor)
    try:
        with transaction.atomic():
            regions.hold(region)
            if credential is not None:
                holding.credential(credential)
            instance = Instance.objects.create(
                account_id=region.account_id,
                region=region,
                instance_id=f"i-{secrets.token_hex(10)}",
                name=name,
                os=os,
                wire=wire,
                address=address,
                port=port,
                credential=credential,
                created_by=actor,
            )
            trail.record(Action.REGISTER_INSTANCE, instance, actor=actor, details={"address": instance.where})
    except IntegrityError:
        raise NameTaken(f"{name} or its address was registered by another user just now.") from None
    return instance


def change(
    instance: Instance, *, revision: int, name: str, address: str, port: int, actor: Principal
) -> Instance:
    """Save a form that was opened at `revision`. A new address or port detaches the credential.

    Raises `Outdated`, `NameTaken`, `AddressTaken`, `holding.Retired`, or, for a new address,
    `AddressForbidden`.
    """
    moved = (address, port) != (instance.address, instance.port)
    if moved:  # what was allowed once, and is not connected to any more, may still get another name
        _refuse_forbidden(address)
    _refuse_twins(instance.region, name, address, port, actor, but=instance)
    detached = without_login("Its address changed. Attach a credential again.")
    try:
        with transaction.atomic():
            holding.instance(instance)
            saved = Instance.objects.filter(pk=instance.pk, revision=revision).update(
                name=name,
                address=address,
                port=port,
                revision=F("revision") + 1,
                **(detached if moved else {}),
            )
            if not saved:
                raise Outdated
            instance.refresh_from_db()
            binding.follow(instance)
            trail.record(Action.UPDATE_INSTANCE, instance, actor=actor, details={"address": instance.where})
    except IntegrityError:
        raise NameTaken(f"{name} or its address was registered by another user just now.") from None
    return instance


def note_facts(instance: Instance, facts: base.Facts, *, keeps_checks: bool = False) -> None:
    """Save the result of a check of the host: its checklist, its identity, its accounts.

    A problem of one account is no problem of the instance, and stands in no checklist of it. With
    `keeps_checks` that stays as it is: the check was of an account that may never be managed.
    """
    blocked = next(
        (c for c in facts.checks if c.mark == base.Mark.BLOCKED and c.code not in reasons.OF_ACCOUNTS), None
    )
    reached = blocked is None or blocked.code != base.Unreachable.code
    state = Instance.State.READY
    if blocked:
        state = Instance.State.BLOCKED if reached else Instance.State.UNREACHABLE
    seen: dict[str, object] = {"last_contact_at": Now()} if reached else {}
    if not keeps_checks:
        seen["checks"] = as_evidence([check for check in facts.checks if not check.of_account])
    machine_id = facts.machine_id[:64]
    if machine_id:
        seen |= {"os_name": facts.os_name[:120], "accounts": list(facts.accounts)}
    seen |= {"checked_at": Now(), "state": state}
    seen["state_sentence"] = blocked.sentence[:500] if blocked else ""
    mine = Instance.objects.filter(pk=instance.pk)
    # Nearly always the machine calls itself as before. No other column decides, so no seal is to follow.
    if (mine.filter(machine_id=machine_id) if machine_id else mine).update(**seen):
        return
    with transaction.atomic():
        mine.update(machine_id=machine_id, **seen)
        if machine_id != instance.machine_id:
            binding.follow(instance)


def note_control(instance: Instance) -> None:
    """Record that the host refused a random wrong password just now."""
    Instance.objects.filter(pk=instance.pk).update(control_at=Now())
    instance.refresh_from_db(fields=["control_at"])


def was_controlled_within(instance: Instance, length: timedelta, *, before: datetime) -> bool:
    """Whether the host refused a random wrong password so lately before a moment by the database's clock.

    `instance` was read under the lease of a run on it: no other worker talks to it meanwhile.
    """
    return instance.control_at is not None and instance.control_at >= before - length


def note_check_control(instance: Instance, standing: str) -> None:
    """Keep that the host's own check of passwords refused all that it must refuse, on this footing."""
    Instance.objects.filter(pk=instance.pk).update(check_control_at=Now(), check_control=standing)
    instance.refresh_from_db(fields=["check_control_at", "check_control"])


def check_control_within(instance: Instance, length: timedelta, *, before: datetime) -> str:
    """Return what that check stood on, where it refused all that it must so lately; else nothing.

    As `was_controlled_within`.
    """
    if instance.check_control_at is None or instance.check_control_at < before - length:
        return ""
    return instance.check_control


def control_at(instance: Instance) -> datetime | None:
    """Return when the host last refused a random wrong password, as the row has it now."""
    return Instance.objects.values_list("control_at", flat=True).get(pk=instance.pk)


def as_evidence(checks: Iterable[base.Check]) -> list[dict[str, str]]:
    """Return checks as a step and an instance store them."""
    return [
        {"name": c.name, "mark": c.mark.value, "sentence": c.sentence}
        | ({"keys": "\n".join(c.keys)} if c.keys else {})
        for c in checks
    ]


def without_login(because: str) -> dict[str, str | None]:
    """Return the fields that detach each login from an instance that may now be another machine.

    They also clear the machine-id, which was that of the previous machine.
    """
    login = {"credential": None, "own_login": None, "own_login_sudo": ""}
    return {**login, "detached_because": because, "machine_id": "", "check_control": ""}


def _refuse_forbidden(address: str) -> None:
    """Raise `AddressForbidden` for an address that no host may have; a name is judged when it is resolved."""
    if not networks().allow_typed(address):
        raise AddressForbidden(AddressForbidden.__doc__)


def _refuse_twins(
    region: Region, name: str, address: str, port: int, actor: Principal, *, but: Instance | None = None
) -> None:
    others = Instance.objects.registered()
    others = others.exclude(pk=but.pk) if but else others
    if others.filter(region=region, name=name).exists():
        raise NameTaken(f"An instance named {name} is registered in {region.name}. Choose another name.")
    same = others.filter(account_id=region.account_id, address=address, port=port)
    twin = same.select_related("region", "account").first()
    if twin:
        is_known = decisions.allows(actor, Action.DESCRIBE_INSTANCE, twin)
        called = f", as {twin.name}" if is_known else ""
        raise AddressTaken(f"{twin.where} is registered already{called}.")
