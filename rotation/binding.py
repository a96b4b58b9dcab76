"""Bind an account to the machine that proved its value, and open a value only for that machine.

A stored value leaves this process only through `value`. The caller names the connection, and its address and
trusted host keys must be those that the account is bound to. So no change to an instance makes Keyturn offer
a value to another machine: a user with that right first binds the account to it (`rebinding`). The machine-id
is the machine's own claim, so it can only narrow this: the pinned key decides.

With the room `managed`, the only writer of managed accounts: their binding, and the state that follows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from rotation import accounts, leases, wires
from rotation.connectors import base
from rotation.models import HostKey, Instance, ManagedAccount
from secrets_app import prepared, seals
from secrets_app.models import KeyVersion, Label, Secret, SecretVersion
from secrets_app.secrets import versions

CODE = "other_machine"
Credential = ManagedAccount.Credential
_OF_SECRET = prepared.Question(
    lambda secret: ManagedAccount.objects.filter(secret=secret).select_related("instance", "secret")
)
#: With whether a worker still holds the lease of its run: asked together, before a value is sent.
_OF_SECRET_HELD = prepared.Question(
    lambda secret, run, number: (
        ManagedAccount.objects.filter(secret=secret)
        .select_related("instance", "secret")
        .annotate(is_held=leases.is_held(run, number))
    )
)
#: As the last one, with whether another row may manage the account there too, and so is to be looked for.
_OF_SECRET_AGAIN = prepared.Question(
    lambda secret, run, number: (
        ManagedAccount.objects.filter(secret=secret)
        .select_related("instance", "secret")
        .annotate(is_held=leases.is_held(run, number), may_have_others=Exists(_namesakes()))
    )
)
_ACCOUNT = prepared.Question(
    lambda pk: ManagedAccount.objects.filter(pk=pk).select_related("instance", "secret")
)
_PINNED = prepared.Question(
    lambda instance, kind: HostKey.objects.pinned(instance, kind).select_related("instance")
)


class OtherMachine(base.ConnectorError):
    """This is not the machine on which the account's value was proven; no value was sent to it."""

    code = CODE


@dataclass(frozen=True)
class Machine:
    """Where a machine is, and what shows that it is this one."""

    address: str
    port: int
    keys: Mapping[str, str] = field(default_factory=dict)  # host keys: fingerprint -> `HostKey.line`
    machine_id: str = ""  # as it said itself; empty where it was not asked yet
    wire: str = ""  # what is spoken there

    @property
    def where(self) -> str:
        """The address as one types it."""
        return Instance(address=self.address, port=self.port, wire=self.wire).where

    @property
    def stamp(self) -> str:
        """A text that is the same for the same machine only: a confirmation names by it what the user saw."""
        seen = [self.wire, self.address, self.port, sorted(self.keys.items()), self.machine_id]
        return sha256(json.dumps(seen).encode()).hexdigest()


def now_at(instance: Instance) -> Machine:
    """The machine that an instance stands for now, as its rows have it."""
    return _as_read(Instance.objects.only("wire", "address", "port", "machine_id").get(pk=instance.pk))


def _as_read(row: Instance) -> Machine:
    """The machine of a row that was read just now."""
    keys = {key.fingerprint: key.line for key in HostKey.trusted_by(row)}
    return Machine(row.address, row.port, keys, row.machine_id, row.wire)


def _of_keys(keys: Sequence[HostKey]) -> Machine:
    """The machine of an instance that was read with what is pinned for it."""
    row = keys[0].instance
    return Machine(
        row.address, row.port, {key.fingerprint: key.line for key in keys}, row.machine_id, row.wire
    )


def bound_to(account: ManagedAccount) -> Machine | None:
    """The machine that an account is bound to; None if it was never bound."""
    if account.bound_at is None:
        return None
    return Machine(
        account.bound_address,
        account.bound_port or 0,
        account.bound_keys,
        account.bound_machine_id,
        account.bound_wire,
    )


def why_not(account: ManagedAccount, machine: Machine) -> str:
    """Say why this account's values may not go to `machine`; empty where they may.

    If several keys are approved, one to which the account is bound is enough: `narrowed` trusts no other.
    """
    bound = bound_to(account)
    if bound is None:
        if not _was_entered(account.secret):
            return ""
        return (
            f"The value for {account.username} was entered before a {wires.shown(machine.wire).one} of "
            f"{account.instance.name} was approved. Nothing was sent. Check the machine, then rebind "
            "the account."
        )
    changed = []
    if machine.wire != bound.wire:
        changed.append("it is reached another way")
    if (machine.address, machine.port) != (bound.address, bound.port):
        changed.append(f"its address was {bound.where}")
    if not set(machine.keys.values()) & set(bound.keys.values()):
        changed.append(f"it has another {wires.shown(machine.wire).one}")
    if machine.machine_id and bound.machine_id and machine.machine_id != bound.machine_id:
        changed.append("it has another machine-id")
    if not changed:
        return ""
    return (
        f"{account.instance.name} is not the machine on which the value for {account.username} was proven: "
        f"{', '.join(changed)}. Nothing was sent. Check the machine, then rebind the account."
    )


def _was_entered(secret: Secret) -> bool:
    """Whether a user chose a stored value; a generated one that was never sent may go to any machine."""
    kept = secret.versions.filter(destroyed_at__isnull=True)
    return kept.exclude(origin=SecretVersion.Origin.GENERATED, offered_at__isnull=True).exists()


# ---------------------------------------------------------------- the way out


def narrowed(
    reached: base.Endpoint,
    instance: Instance,
    secrets: Iterable[Secret],
    *,
    read: Sequence[ManagedAccount] = (),
) -> base.Endpoint:
    """Return `reached` trusting only host keys that the accounts of all `secrets` are bound to.

    So an additional approved key cannot receive a value. Accounts in `read` were read just now. Raises
    `OtherMachine` or `accounts.Unmanaged`.
    """
    lines = set(reached.host_keys)
    known = {account.secret_id for account in read}
    for account in [*read, *_accounts(secret.pk for secret in secrets if secret.pk not in known)]:
        here = _here(reached, lines, account.instance.machine_id)
        if reason := why_not(account, here):
            raise OtherMachine(reason)
        if account.bound_at is not None:
            lines &= set(account.bound_keys.values())
    if not lines:  # two accounts are bound to different keys of the machine
        raise OtherMachine(
            f"The accounts that are needed on {instance.name} are bound to different "
            f"{instance.shown.many} of it. Rebind them."
        )
    kept = tuple(line for line in reached.host_keys if line in lines)
    return replace(reached, host_keys=kept)


def value(
    version: SecretVersion,
    *,
    over: base.Endpoint,
    lease: leases.Lease | None = None,
    by: KeyVersion | None = None,
) -> versions.Value:
    """Open `version` to send it over a connection that trusts `over` and no other key.

    `by` is what `keyring.usable` has just returned for it. Raises as `require` and as `versions.value`.
    """
    require(version, over=over, lease=lease)
    return versions.value(version, by=by)


def require(version: SecretVersion, *, over: base.Endpoint, lease: leases.Lease | None = None) -> None:
    """Return if `version` may be sent over a connection that trusts `over`, under this `lease` of a run.

    The account is read again, so changes since the run began count. Raises `OtherMachine`,
    `leases.Overtaken`, or `accounts.Unmanaged` for a secret that belongs to no machine.
    """
    (account,) = _accounts([version.secret_id], lease)
    bound = bound_to(account)
    reason = why_not(account, _here(over, over.host_keys, account.instance.machine_id))
    if reason or bound is None or not set(over.host_keys) <= set(bound.keys.values()):
        raise OtherMachine(reason)


def _here(over: base.Endpoint, lines: Iterable[str], machine_id: str) -> Machine:
    return Machine(over.address, over.port, {line: line for line in lines}, machine_id, over.wire)


def _accounts(secrets: Iterable[UUID], lease: leases.Lease | None = None) -> list[ManagedAccount]:
    asked = set(secrets)
    rows: list[Any]
    if lease is None:
        rows = [row for secret in asked for row in _OF_SECRET(secret)]
    else:
        rows = [row for secret in asked for row in _OF_SECRET_HELD(secret, lease.run_id, lease.number)]
    if len(rows) < len(asked):
        raise accounts.Unmanaged
    if lease is not None:
        leases.note_sure(lease, is_held=all(row.is_held for row in rows))
    if not all(seals.holds(account) for account in rows):
        raise OtherMachine(seals.SENTENCE)
    return rows


def _namesakes() -> QuerySet[ManagedAccount]:
    """Other rows with an account's name, on its instance or on one that has a machine-id."""
    return (
        ManagedAccount.objects.filter(username=OuterRef("username"), released_at=None)
        .exclude(pk=OuterRef("pk"))
        .filter(
            Q(instance=OuterRef("instance"))
            | (Q(instance__machine_id=OuterRef("instance__machine_id")) & ~Q(instance__machine_id=""))
        )
    )


def read_again(account: ManagedAccount, lease: leases.Lease) -> tuple[ManagedAccount, bool]:
    """Read again where an account's value may go, with the seal of that.

    Returns the row as it is now, and whether another row may manage the account too. Raises
    `leases.Overtaken`.
    """
    rows: list[Any] = _OF_SECRET_AGAIN(account.secret_id, lease.run_id, lease.number)
    row = next((row for row in rows if row.pk == account.pk), None)
    if row is None:
        raise ManagedAccount.DoesNotExist
    leases.note_sure(lease, is_held=row.is_held)
    for column in ("seal", *ManagedAccount.BOUND):
        setattr(account, column, getattr(row, column))
    account.instance = row.instance
    return row, bool(row.may_have_others)


# ---------------------------------------------------------------- the binding


def bind(account: ManagedAccount) -> None:
    """Bind an account without a machine to the one that its instance stands for now, if that is known.

    Call it when a user enters a value: the user chose this machine, and later the instance may be another.
    """
    machine = now_at(account.instance)
    if machine.keys:
        _write_first(account, machine)


def bind_over(account: ManagedAccount, over: base.Endpoint) -> None:
    """Bind an account without a machine to the one that is about to receive its first value."""
    if account.bound_at is not None:
        return  # for good: it is moved by a person's word only
    machine = now_at(account.instance)
    keys = {fingerprint: line for fingerprint, line in machine.keys.items() if line in over.host_keys}
    _write_first(account, Machine(over.address, over.port, keys, machine.machine_id, over.wire))


def _write_first(account: ManagedAccount, machine: Machine) -> None:
    free = ManagedAccount.objects.filter(pk=account.pk, bound_at__isnull=True)
    free.update(**_fields(machine))
    account.refresh_from_db(fields=[*_fields(machine)])


def move(account: ManagedAccount, machine: Machine) -> None:
    """Bind an account to `machine` because a user decided so; call it in a transaction.

    Resets the state of its credential, which was the state on another machine.
    """
    known = Credential.NOT_VERIFIED if _has_current(account) else Credential.NO_VALUE
    sentence = "Bound to another machine; nothing was sent there yet. Verify it, or rotate."
    ManagedAccount.objects.filter(pk=account.pk).update(
        **_fields(machine), traces={}, credential=known, credential_code="", credential_sentence=sentence
    )
    account.refresh_from_db()


def _fields(machine: Machine) -> dict[str, object]:
    return {
        "bound_wire": machine.wire,
        "bound_address": machine.address,
        "bound_port": machine.port,
        "bound_keys": dict(machine.keys),
        "bound_machine_id": machine.machine_id,
        "bound_at": Now(),
        "bindings": F("bindings") + 1,
    }


# ---------------------------------------------------------------- the state that follows


def follow(instance: Instance) -> None:
    """Write for every account there whether its value still belongs to this machine.

    Call it after each change that may have made the instance another machine, in the same transaction.
    """
    with transaction.atomic():
        # A worker that writes down a proof just now waits, or is seen here; neither may win unseen.
        rows = ManagedAccount.objects.select_for_update(of=("self",)).select_related("instance", "secret")
        machine = now_at(instance)
        for account in rows.filter(instance=instance, released_at__isnull=True):
            _follow(account, machine)


def follow_one(account: ManagedAccount, *, is_proven: bool = False) -> None:
    """As `follow`, for one account of which something was just written.

    The binding of one whose value `is_proven` is completed by what its machine calls itself.
    """
    if is_proven and (keys := _PINNED(account.instance_id, str(wires.identity(account.instance.wire)))):
        # What the account is bound to is as it was read: `bindings` was compared as this was written.
        row, machine = account, _of_keys(keys)
        row.credential, row.credential_code = Credential.IN_SYNC, ""
    else:
        row = _as_stored(account)
        machine = _as_read(row.instance)
    if is_proven and machine.machine_id and not row.bound_machine_id:
        free = ManagedAccount.objects.filter(pk=row.pk, bound_machine_id="")
        if free.update(bound_machine_id=machine.machine_id):
            row.refresh_from_db(fields=["bound_machine_id", "seal"])
    _follow(row, machine)


def _as_stored(account: ManagedAccount) -> ManagedAccount:
    row = _ACCOUNT.first(account.pk)
    if row is None:
        raise ManagedAccount.DoesNotExist
    return row


def _follow(account: ManagedAccount, machine: Machine) -> None:
    # Of an instance that has no approved key yet nothing can be said, but of one that is bound elsewhere.
    reason = why_not(account, machine) if machine.keys or account.bound_at else ""
    is_marked = account.credential == Credential.BLOCKED and account.credential_code == CODE
    if reason and account.credential != Credential.GONE:
        known, code, sentence = Credential.BLOCKED, CODE, reason
    elif is_marked and not reason:
        known, code = (Credential.NOT_VERIFIED if _has_current(account) else Credential.NO_VALUE), ""
        sentence = "The instance is the machine again on which the value was proven. Verify it."
    else:
        return
    ManagedAccount.objects.filter(pk=account.pk).update(
        credential=known, credential_code=code, credential_sentence=sentence[:500]
    )


def _has_current(account: ManagedAccount) -> bool:
    return Label.objects.filter(secret=account.secret_id, role=Label.Role.CURRENT).exists()
