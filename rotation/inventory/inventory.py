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
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation import binding, reasons, wires
from rotation.connectors import base
from rotation.connectors.networks import Networks
from rotation.models import HostKey, Instance, ManagedAccount, ManagementCredential
from secrets_app.actions import Action
from secrets_app import keyring, regions, seals
from secrets_app.audit import trail
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Label, Principal, Region, Secret, SecretVersion
from secrets_app.policy import decisions

FIELD = "management credential"


class NameTaken(DomainError):
    """This name is in use; the message says by what."""

    code = "instance_name_taken"


class AddressTaken(DomainError):
    """An instance with this address and port is registered."""

    code = "address_taken"


class AddressForbidden(DomainError, ValueError):
    """Keyturn does not connect to this address. Choose one in the networks that it may reach."""

    code = "address_forbidden"


class BadAccount(DomainError, ValueError):
    """Keyturn cannot work as an account with this name; the message says why."""

    code = "login_name_invalid"


class NotAttached(DomainError):
    """This instance has no management credential, or no approved host key."""

    code = "instance_not_attached"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ChangedOutside(NotAttached):
    """A record that says where to connect, or as whom, was changed outside Keyturn."""

    code = "record_changed"

    def __init__(self, what: str) -> None:
        super().__init__(reasons.sentence("record_changed", what), "record_changed")


class NoOwnLogin(DomainError, ValueError):
    """This instance cannot log in with this secret; the message says why and what to do."""

    code = "own_login_impossible"


class Outdated(DomainError):
    """Somebody else changed this meanwhile; nothing was saved."""

    code = "instance_outdated"


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

    Raises `NameTaken`, `BadAccount`, `key_pairs.Unreadable` or `keyring.Sealed`.
    """
    check_account_name(username)
    pair = None
    is_own = password is None and private_key is None
    if is_own:
        pair = key_pairs.generate("ed25519")
    elif private_key is not None:
        pair = key_pairs.read(private_key)
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
            trail.record(Action.CREATE_CREDENTIAL, credential, actor=actor)
    except IntegrityError:
        raise NameTaken(f"A management credential named {name} exists. Choose another name.") from None
    return credential


def check_account_name(name: str) -> str:
    """Return `name` if it can stand in a shell command and in a sudoers file. Raises `BadAccount`."""
    # A final $ is for machine accounts, and in a shell it begins a variable.
    if not wires.SSH.is_username(name) or name.endswith("$"):
        raise BadAccount(
            "An account has 1 to 32 letters, digits and _ . - characters and begins with a letter or _."
        )
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):  # sudoers(5): an alias, and ALL is everybody
        raise BadAccount("sudo takes a name in capitals for a list of users. Use another account.")
    return name


def manager(instance: Instance, *, over: base.Endpoint) -> base.Manager:
    """Open what Keyturn logs in to the instance with, for the engine: a secret of its own, or the shared one.

    The connection that it is for trusts `over`. Raises `NotAttached`, `ChangedOutside`,
    `binding.OtherMachine`, `keyring.Sealed` or `envelope.Tampered`.
    """
    require_whole(instance, instance.credential, instance.own_login)
    if instance.own_login is not None:
        current = instance.own_login.labelled(Label.Role.CURRENT)
        if current is None:
            raise NotAttached("The secret that this instance logs in with has no value.", "no_credential")
        return own_manager(instance, current, over=over)
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


def own_manager(instance: Instance, version: SecretVersion, *, over: base.Endpoint) -> base.Manager:
    """Open `version` of the secret that the instance logs in with. Raises as `binding.value` does, or
    `ChangedOutside`.
    """
    require_whole(instance, instance.own_login)
    held = binding.value(version, over=over)
    sudo = base.Sudo(instance.own_login_sudo)
    return base.Manager(
        login=base.Login(held.username, held.password, held.private_key),
        sudo=sudo,
        # sudo asks for the password of the account that calls it.
        sudo_password=held.password if sudo == base.Sudo.PASSWORD else None,
    )


def endpoint(instance: Instance) -> base.Endpoint:
    """Return the address with the pinned keys. Raises `NotAttached` where no key is approved."""
    approved = HostKey.objects.trusted(instance)
    if not approved:
        raise NotAttached(reasons.sentence("no_host_key"), "no_host_key")
    require_whole(instance, *approved)
    return replace(place(instance), host_keys=tuple(key.line for key in approved))


def place(instance: Instance) -> base.Endpoint:
    """Return where an instance is, with no key that could be trusted, and where any may be."""
    return base.Endpoint(instance.address, instance.port, networks=networks(), wire=instance.wire)


def networks() -> Networks:
    """Return where instances may be, as this installation is set up."""
    return Networks(
        tuple(settings.ALLOWED_NETWORKS), tuple(settings.FORBIDDEN_NETWORKS), tuple(settings.OWN_SERVICES)
    )


def require_whole(*rows: seals.SealedRow | None) -> None:
    """Return if these rows are as Keyturn wrote them. Raises `ChangedOutside`, naming one that is not."""
    for row in rows:
        if row is not None and not seals.holds(row):
            raise ChangedOutside(f"The record of the {row._meta.verbose_name} {row}")


# ---------------------------------------------------------------- instances


def register(
    name: str,
    *,
    region: Region,
    address: str,
    actor: Principal,
    port: int = 22,
    os: str = Instance.OS.LINUX,
    wire: str = wires.SSH.name,
    credential: ManagementCredential | None = None,
) -> Instance:
    """Register a server; nothing is sent to it.

    Raises `NameTaken`, `AddressTaken`, `AddressForbidden` or `decisions.NotAllowed`.
    """
    _refuse_forbidden(address)
    if credential is not None:
        decisions.require(actor, Action.USE_CREDENTIAL, credential)
    _refuse_twins(region, name, address, port, actor)
    try:
        with transaction.atomic():
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
        raise NameTaken(f"{name} or its address was registered by somebody else just now.") from None
    return instance


def change(
    instance: Instance, *, revision: int, name: str, address: str, port: int, actor: Principal
) -> Instance:
    """Save a form that was opened at `revision`. A new address or port detaches the credential.

    Raises `Outdated`, `NameTaken`, `AddressTaken`, or `AddressForbidden` for a new address.
    """
    moved = (address, port) != (instance.address, instance.port)
    if moved:  # what was allowed once, and is not connected to any more, may still get another name
        _refuse_forbidden(address)
    _refuse_twins(instance.region, name, address, port, actor, but=instance)
    detached = _detached("Its address changed. Attach a credential again.")
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
            binding.follow(instance)
            trail.record(Action.UPDATE_INSTANCE, instance, actor=actor, details={"address": instance.where})
    except IntegrityError:
        raise NameTaken(f"{name} or its address was registered by somebody else just now.") from None
    return instance


def attach(instance: Instance, credential: ManagementCredential, *, actor: Principal) -> None:
    """Let `instance` be managed with `credential`, and no longer with a secret of its own.

    Raises `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.USE_CREDENTIAL, credential)
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(
            credential=credential,
            own_login=None,
            own_login_sudo="",
            detached_because="",
            state=Instance.State.NEW,
            state_sentence="",
        )
        instance.refresh_from_db()
        trail.record(Action.USE_CREDENTIAL, instance, actor=actor, details={"credential": str(credential.pk)})


def use_own_login(instance: Instance, secret: Secret, *, sudo: str, actor: Principal) -> None:
    """Let Keyturn log in to `instance` with the current value of a secret of an account on it.

    From then on the secret may rotate, and the instance follows in the same transaction; the shared
    credential is detached. It is sent there unasked from then on, so that takes the right to say where its
    value may go. Raises `NoOwnLogin` where the secret manages no account there or its value was not shown to
    work on this very machine, or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.REBIND_ACCOUNT, secret)
    account = ManagedAccount.objects.filter(secret=secret, released_at=None).first()
    if account is None or account.instance_id != instance.pk:
        raise NoOwnLogin(f"{secret.name} manages no account on {instance.name}. Choose a secret that does.")
    if reason := binding.why_not(account, binding.now_at(instance)):
        raise NoOwnLogin(reason)
    if account.credential != ManagedAccount.Credential.IN_SYNC:
        raise NoOwnLogin(
            f"It is not known that {instance.name} accepts the current value of {secret.name}. Rotate the "
            "secret first, so that it is."
        )
    log_in_with(instance, secret, sudo=sudo, actor=actor)


def log_in_with(instance: Instance, secret: Secret, *, sudo: str, actor: Principal) -> None:
    """As `use_own_login`, for a secret that is made in the caller's transaction and was not tried yet."""
    decisions.require(actor, Action.UPDATE_INSTANCE, instance)
    if not secret.is_enabled or secret.labelled(Label.Role.CURRENT) is None:
        raise NoOwnLogin(f"{secret.name} has no value that could be used, or is being deleted.")
    if sudo not in ManagementCredential.Sudo.values:
        raise NoOwnLogin("Choose how the account becomes root.")
    if sudo == ManagementCredential.Sudo.PASSWORD and secret.kind == Secret.Kind.KEY_PAIR:
        raise NoOwnLogin("A key pair holds no password for sudo. Allow the account sudo without one.")
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(
            own_login=secret,
            own_login_sudo=sudo,
            credential=None,
            detached_because="",
            state=Instance.State.NEW,
            state_sentence="",
        )
        instance.refresh_from_db()
        details = {"secret": secret.name, "sudo": sudo}
        trail.record(Action.USE_CREDENTIAL, instance, actor=actor, details=details)


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
                **_detached("Its host key changed. Attach a credential again.")
            )
        instance.refresh_from_db()
        binding.follow(instance)
        trail.record(Action.APPROVE_HOST_KEY, instance, actor=actor, details={"fingerprints": sorted(wanted)})


def note_facts(instance: Instance, facts: base.Facts, *, keeps_checks: bool = False) -> None:
    """Keep what a look at the host has shown: its checks, its identity, its accounts.

    What is wrong with one account is not wrong with the instance. With `keeps_checks` the checklist of the
    instance stays as it is: the look was at an account that may never be managed.
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
        seen["checks"] = as_evidence(facts.checks)
    if facts.machine_id:
        seen |= {"machine_id": facts.machine_id[:64], "os_name": facts.os_name[:120]}
        seen["accounts"] = list(facts.accounts)
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(
            checked_at=Now(),
            state=state,
            state_sentence=blocked.sentence[:500] if blocked else "",
            **seen,
        )
        if facts.machine_id and facts.machine_id[:64] != instance.machine_id:
            binding.follow(instance)


def note_control(instance: Instance) -> None:
    """Keep that the host refused a random wrong password just now."""
    Instance.objects.filter(pk=instance.pk).update(control_at=Now())


def was_controlled_within(instance: Instance, length: timedelta) -> bool:
    """Whether the host refused a random wrong password so lately, by the database's clock."""
    return Instance.objects.filter(pk=instance.pk, control_at__gte=Now() - length).exists()


def control_at(instance: Instance) -> datetime | None:
    """Return when the host last refused a random wrong password, as the row has it now."""
    return Instance.objects.values_list("control_at", flat=True).get(pk=instance.pk)


def as_evidence(checks: Iterable[base.Check]) -> list[dict[str, str]]:
    """Return checks as a step and an instance store them."""
    return [{"name": c.name, "mark": c.mark.value, "sentence": c.sentence} for c in checks]


def _detached(because: str) -> dict[str, str | None]:
    """No login is handed to what may be another machine: neither a shared one nor one of its own.

    What the machine before called itself says nothing of this one.
    """
    login = {"credential": None, "own_login": None, "own_login_sudo": ""}
    return {**login, "detached_because": because, "machine_id": ""}


def _refuse_forbidden(address: str) -> None:
    """Raise `AddressForbidden` for an address that no host may have; a name is judged when it is resolved."""
    if not networks().allow_typed(address):
        raise AddressForbidden(AddressForbidden.__doc__)


def _refuse_twins(
    region: Region, name: str, address: str, port: int, actor: Principal, *, but: Instance | None = None
) -> None:
    others = Instance.objects.exclude(pk=but.pk) if but else Instance.objects.all()
    if others.filter(region=region, name=name).exists():
        raise NameTaken(f"An instance named {name} is registered in {region.name}. Choose another name.")
    same = others.filter(account_id=region.account_id, address=address, port=port)
    twin = same.select_related("region", "account").first()
    if twin:
        is_known = decisions.allows(actor, Action.DESCRIBE_INSTANCE, twin)
        called = f", as {twin.name}" if is_known else ""
        raise AddressTaken(f"{twin.where} is registered already{called}.")
