"""The only writer of management credentials, and what Keyturn logs in to an instance with."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from rotation import accounts, binding, reasons, wires
from rotation.connectors import base
from rotation.inventory import holding, instances, retirement
from rotation.models import HostKey, Instance, ManagedAccount, ManagementCredential
from secrets_app import keyring, regions, seals
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.kinds import table as kinds
from secrets_app.models import KeyVersion, Label, Principal, Secret, SecretVersion
from secrets_app.policy import decisions

FIELD = "management credential"


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


class CredentialInUse(DomainError):
    """Instances log in with this management credential; the message names them."""

    code = "credential_in_use"


def create_credential(
    name: str,
    username: str,
    *,
    sudo: str,
    actor: Principal,
    password: Plaintext | None = None,
    private_key: Plaintext | None = None,
    sudo_password: Plaintext | None = None,
    wire: str = wires.USUAL.name,
) -> ManagementCredential:
    """Store an account that instances share; without a password or key, Keyturn makes a key pair of its own.

    Its name is one that accounts over this wire may have.

    Raises `instances.NameTaken`, `BadAccount`, `key_pairs.Unreadable` or `keyring.Sealed`.
    """
    check_account_name(username, wire)
    _check_login(wire, sudo, has_password=password is not None)
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
    pk = uuid.uuid4()
    account = regions.account()
    try:
        with transaction.atomic():
            credential = ManagementCredential.objects.create(
                id=pk,
                account=account,
                name=name,
                wire=wire,
                username=username,
                sudo=sudo,
                has_password=password is not None,
                public_key=pair.public_key if pair else "",
                is_own=is_own,
                created_by=actor,
                sealed=keyring.seal(json.dumps(fields).encode(), owner_id=pk, subject_id=pk, field=FIELD),
            )
            trail.record(Action.CREATE_CREDENTIAL, credential, actor=actor)
    except IntegrityError:
        raise instances.NameTaken(
            f"A management credential named {name} exists. Choose another name."
        ) from None
    return credential


def instances_with(credential: ManagementCredential) -> QuerySet[Instance]:
    """The instances that keep a credential from being deleted: those that log in with it."""
    return Instance.objects.registered().filter(credential=credential)


def delete_credential(credential: ManagementCredential, *, actor: Principal, reason: str = "") -> None:
    """Delete a credential that no instance logs in with: its values and their data key are destroyed.

    Its row stays, for the history; its name is free. Nothing changes on any instance, so its account there
    still accepts them. Raises `CredentialInUse` with the instances that use it, `holding.CredentialDeleted`
    or `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, Action.DELETE_CREDENTIAL, credential)
    with transaction.atomic():
        held = holding.credential(credential)
        used = instances_with(held)
        if count := used.count():
            listed = used.select_related("region", "account").order_by("name")
            known = [row.name for row in listed if decisions.allows(actor, Action.DESCRIBE_INSTANCE, row)]
            log_in = "instance logs in" if count == 1 else "instances log in"
            raise CredentialInUse(
                f"{count} {log_in} with {held.name}{retirement.named(known, count)}. Attach another "
                "management credential to each of them first, or retire it."
            )
        sealed = held.sealed
        ManagementCredential.objects.filter(pk=held.pk).update(
            sealed=None, deleted_at=Now(), deleted_by=actor, deletion_reason=reason[:500]
        )
        if sealed is not None:
            keyring.destroy(sealed)
        details = {"username": held.username}
        trail.record(Action.DELETE_CREDENTIAL, credential, actor=actor, reason=reason, details=details)


def was_deleted_since(moment: datetime) -> bool:
    """Whether a credential was deleted after `moment`."""
    return ManagementCredential.objects.filter(deleted_at__gte=moment).exists()


def check_account_name(name: str, wire: str = wires.USUAL.name) -> str:
    """Return `name` if Keyturn can work as an account that is called so. Raises `BadAccount`."""
    if problem := wires.login(wire).account_problem(name):
        raise BadAccount(problem)
    return name


def _check_login(wire: str, sudo: str, *, has_password: bool) -> None:
    """Return if an account over this wire can log in so. Raises `BadAccount`."""
    spoken = wires.login(wire)
    if base.Kind.KEY not in spoken.kinds and not has_password:
        raise BadAccount(f"{spoken.offer}: an account logs in with a password, not with a key. Enter one.")
    if not spoken.elevates and sudo != ManagementCredential.Sudo.NONE:
        raise BadAccount(f"{spoken.offer}: there is no sudo. The account must be an administrator itself.")


def manager(instance: Instance, *, over: base.Endpoint, known: KeyVersion | None = None) -> base.Manager:
    """Open what Keyturn logs in to the instance with, for the engine: a secret of its own, or the shared one.

    The connection that it is for trusts `over`. `known` is a key version that was just seen to open values.
    Raises `NotAttached`, `ChangedOutside`,
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
    if credential.sealed is None:
        raise NotAttached("The management credential of this instance is deleted.", "no_credential")
    sealed = credential.sealed
    by = known if known is not None and known.pk == sealed.key_version_id else None
    fields = json.loads(
        keyring.open_(sealed, owner_id=credential.pk, subject_id=credential.pk, field=FIELD, version=by)
    )
    hidden = {key: Plaintext(text) if text is not None else None for key, text in fields.items()}
    return base.Manager(
        login=base.Login(
            credential.username,
            hidden["Password"],
            hidden["PrivateKey"],
            by_kerberos=wires.is_kerberos(credential.wire),
        ),
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
    approved = HostKey.trusted_by(instance)
    if not approved:
        raise NotAttached(reasons.sentence("no_host_key", instance.shown.one), "no_host_key")
    require_whole(instance, *approved)
    return replace(instances.place(instance), host_keys=tuple(key.line for key in approved))


def require_whole(*rows: seals.SealedRow | None) -> None:
    """Return if these rows are as Keyturn wrote them. Raises `ChangedOutside`, naming one that is not."""
    for row in rows:
        if row is not None and not seals.holds(row):
            raise ChangedOutside(f"The record of the {row._meta.verbose_name} {row}")


def attach(instance: Instance, credential: ManagementCredential, *, actor: Principal) -> None:
    """Let `instance` be managed with `credential`, and no longer with a secret of its own.

    Raises `holding.OtherSystem`, `holding.Retired`, `holding.CredentialDeleted` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.USE_CREDENTIAL, credential)
    holding.require_system(credential, instance.wire)
    with transaction.atomic():
        holding.credential(credential)
        holding.instance(instance)
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
    accounts.needed(secret)
    if not secret.is_enabled or secret.labelled(Label.Role.CURRENT) is None:
        raise NoOwnLogin(f"{secret.name} has no value that could be used, or is being deleted.")
    if sudo not in ManagementCredential.Sudo.values:
        raise NoOwnLogin("Choose how the account becomes root.")
    kind = kinds.of(secret)
    if sudo == ManagementCredential.Sudo.PASSWORD and not (kind and kind.ANSWERS_SUDO):
        raise NoOwnLogin(
            f"A {secret.get_kind_display().lower()} holds no password for sudo. Allow the account sudo "
            "without one."
        )
    with transaction.atomic():
        holding.instance(instance)
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
