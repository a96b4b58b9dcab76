"""The only writer of instances, their host keys, and management credentials.

A management credential is handed only to the machine it was attached for: a change of address,
port or host key detaches it until somebody who may use it attaches it again. Otherwise a
connection test would send it to a machine of the editor's choice.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation.connectors import base
from rotation.models import USERNAME_PATTERN, HostKey, Instance, ManagementCredential
from secrets_app import audit, keypairs, keyring, policies, regions
from secrets_app.models import Principal, Region
from secrets_app.plaintext import Plaintext

FIELD = "management credential"
Action = policies.Action


class NameTaken(Exception):
    """This name is in use; the message says by what."""


class AddressTaken(Exception):
    """An instance with this address and port is registered."""


class BadAccount(ValueError):
    """Keyturn cannot work as an account with this name; the message says why."""


class NotAttached(Exception):
    """This instance has no management credential, or no approved host key."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Outdated(Exception):
    """Somebody else changed this meanwhile; nothing was saved."""


# ---------------------------------------------------------------- management credentials


def create_credential(
    name: str,
    username: str,
    *,
    sudo: str,
    actor: Principal,
    password: Plaintext | None = None,
    private_key: Plaintext | None = None,
    sudo_password: Plaintext | None = None,
) -> ManagementCredential:
    """Store an account that instances share; without a password or key, Keyturn makes a key pair of its own.

    Raises `NameTaken`, `BadAccount`, `keypairs.Unreadable` or `keyring.Sealed`.
    """
    check_account_name(username)
    pair = None
    is_own = password is None and private_key is None
    if is_own:
        pair = keypairs.generate("ed25519")
    elif private_key is not None:
        pair = keypairs.read(private_key)
    fields = {
        "Password": password.reveal() if password else None,
        "PrivateKey": pair.private_key.reveal() if pair else None,
        "SudoPassword": sudo_password.reveal() if sudo_password else None,
    }
    made = uuid.uuid4()
    account = regions.account()
    try:
        with transaction.atomic():
            credential = ManagementCredential.objects.create(
                id=made,
                account=account,
                name=name,
                username=username,
                sudo=sudo,
                has_password=password is not None,
                public_key=pair.public_key if pair else "",
                is_own=is_own,
                created_by=actor,
                sealed=keyring.seal(json.dumps(fields).encode(), owner_id=made, subject_id=made, field=FIELD),
            )
            audit.record(Action.CREATE_CREDENTIAL, credential, actor=actor)
    except IntegrityError:
        raise NameTaken(f"A management credential named {name} exists. Choose another name.") from None
    return credential


def check_account_name(name: str) -> str:
    """Return `name` if it can stand in a shell command and in a sudoers file. Raises `BadAccount`."""
    # A final $ is for machine accounts, and in a shell it begins a variable.
    if not re.match(USERNAME_PATTERN, name) or name.endswith("$"):
        raise BadAccount(
            "An account has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."
        )
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):  # sudoers(5): an alias, and ALL is everybody
        raise BadAccount("sudo takes a name in capitals for a list of users. Use another account.")
    return name


def manager(instance: Instance) -> base.Manager:
    """Open the instance's management credential, for the engine.

    Raises `NotAttached`, `keyring.Sealed` or `envelope.Tampered`.
    """
    credential = instance.credential
    if credential is None:
        raise NotAttached(
            instance.detached_because or "No management credential is attached to this instance. Attach one.",
            "no_credential",
        )
    fields = json.loads(
        keyring.open_(credential.sealed, owner_id=credential.pk, subject_id=credential.pk, field=FIELD)
    )
    hidden = {key: Plaintext(text) if text is not None else None for key, text in fields.items()}
    return base.Manager(
        login=base.Login(credential.username, hidden["Password"], hidden["PrivateKey"]),
        sudo=base.Sudo(credential.sudo),
        sudo_password=hidden["SudoPassword"],
    )


def endpoint(instance: Instance) -> base.Endpoint:
    """Return the address with the pinned keys. Raises `NotAttached` where no key is approved."""
    approved = instance.host_keys.filter(state=HostKey.State.APPROVED)
    if not approved:
        raise NotAttached(
            "No host key of this instance is approved. Scan its host key, compare, and approve it.",
            "no_host_key",
        )
    return base.Endpoint(instance.address, instance.port, tuple(key.line for key in approved))


# ---------------------------------------------------------------- instances


def register(
    name: str,
    *,
    region: Region,
    address: str,
    actor: Principal,
    port: int = 22,
    os: str = Instance.OS.LINUX,
    credential: ManagementCredential | None = None,
) -> Instance:
    """Register a server; nothing is sent to it. Raises `NameTaken`, `AddressTaken`, `policies.NotAllowed`."""
    if credential is not None:
        policies.require(actor, Action.USE_CREDENTIAL, credential)
    _refuse_twins(region, name, address, port)
    try:
        with transaction.atomic():
            instance = Instance.objects.create(
                account_id=region.account_id,
                region=region,
                instance_id=f"i-{secrets.token_hex(10)}",
                name=name,
                os=os,
                address=address,
                port=port,
                credential=credential,
                created_by=actor,
            )
            audit.record(Action.REGISTER_INSTANCE, instance, actor=actor, details={"address": instance.where})
    except IntegrityError:
        raise NameTaken(f"{name} or its address was registered by somebody else just now.") from None
    return instance


def change(
    instance: Instance, *, revision: int, name: str, address: str, port: int, actor: Principal
) -> Instance:
    """Save a form that was opened at `revision`. A new address or port detaches the credential.

    Raises `Outdated`, `NameTaken` or `AddressTaken`.
    """
    moved = (address, port) != (instance.address, instance.port)
    _refuse_twins(instance.region, name, address, port, but=instance)
    detached = {"credential": None, "detached_because": "Its address changed. Attach a credential again."}
    try:
        with transaction.atomic():
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
            audit.record(Action.UPDATE_INSTANCE, instance, actor=actor, details={"address": instance.where})
    except IntegrityError:
        raise NameTaken(f"{name} or its address was registered by somebody else just now.") from None
    return instance


def attach(instance: Instance, credential: ManagementCredential, *, actor: Principal) -> None:
    """Let `instance` be managed with `credential`. Raises `policies.NotAllowed`."""
    policies.require(actor, Action.USE_CREDENTIAL, credential)
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(
            credential=credential, detached_because="", state=Instance.State.NEW, state_sentence=""
        )
        instance.refresh_from_db()
        audit.record(Action.USE_CREDENTIAL, instance, actor=actor, details={"credential": str(credential.pk)})


def see_host_keys(instance: Instance, keys: Iterable[base.HostKey]) -> None:
    """Note the keys that a scan was shown; none is trusted by that."""
    for key in keys:
        HostKey.objects.update_or_create(
            instance=instance,
            fingerprint=key.fingerprint,
            defaults={"algorithm": key.algorithm, "blob": key.blob, "seen_at": Now()},
        )


def approve_host_keys(instance: Instance, fingerprints: Iterable[str], *, actor: Principal) -> None:
    """Trust exactly these keys of the instance from now on; a later change detaches the credential.

    Raises ValueError where no key with one of the fingerprints was seen.
    """
    wanted = set(fingerprints)
    with transaction.atomic():
        keys = HostKey.objects.select_for_update().filter(instance=instance)
        if (
            not wanted
            or set(keys.filter(fingerprint__in=wanted).values_list("fingerprint", flat=True)) != wanted
        ):
            raise ValueError("Scan the host key again: what you approved is not what was seen.")
        approved = keys.filter(state=HostKey.State.APPROVED)
        had = set(approved.values_list("fingerprint", flat=True))
        approved.exclude(fingerprint__in=wanted).update(state=HostKey.State.RETIRED)
        keys.filter(fingerprint__in=wanted).exclude(state=HostKey.State.APPROVED).update(
            state=HostKey.State.APPROVED, decided_at=Now(), decided_by=actor
        )
        if had - wanted:
            Instance.objects.filter(pk=instance.pk).update(
                credential=None, detached_because="Its host key changed. Attach a credential again."
            )
        instance.refresh_from_db()
        audit.record(Action.APPROVE_HOST_KEY, instance, actor=actor, details={"fingerprints": sorted(wanted)})


def note_facts(instance: Instance, facts: base.Facts) -> None:
    """Keep what a look at the host has shown: its checks, its identity, its accounts."""
    blocked = facts.blocked
    reached = blocked is None or blocked.code != base.Unreachable.code
    state = Instance.State.READY
    if blocked:
        state = Instance.State.BLOCKED if reached else Instance.State.UNREACHABLE
    seen: dict[str, object] = {"last_contact_at": Now()} if reached else {}
    if facts.machine_id:
        seen |= {"machine_id": facts.machine_id[:64], "os_name": facts.os_name[:120]}
        seen["accounts"] = list(facts.accounts)
    Instance.objects.filter(pk=instance.pk).update(
        checks=as_evidence(facts.checks),
        checked_at=Now(),
        state=state,
        state_sentence=blocked.sentence[:500] if blocked else "",
        **seen,
    )


def as_evidence(checks: Iterable[base.Check]) -> list[dict[str, str]]:
    """Return checks as a step and an instance store them."""
    return [{"name": c.name, "mark": c.mark.value, "sentence": c.sentence} for c in checks]


def _refuse_twins(region: Region, name: str, address: str, port: int, *, but: Instance | None = None) -> None:
    others = Instance.objects.exclude(pk=but.pk) if but else Instance.objects.all()
    if others.filter(region=region, name=name).exists():
        raise NameTaken(f"An instance named {name} is registered in {region.name}. Choose another name.")
    twin = others.filter(account_id=region.account_id, address=address, port=port).first()
    if twin:
        raise AddressTaken(f"{twin.where} is registered already, as {twin.name}.")
