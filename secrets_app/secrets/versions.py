"""The only writer of versions and labels, and the one road to a plaintext.

A version is stored, sealed, before any host hears of it; labels say what it is: pending, current,
previous. `value()` is for the engine; `reveal()` is for a person, and returns only after its audit
event is committed.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from secrets_app import keyring, prepared
from secrets_app.audit import audit_keys, trail
from secrets_app.audit.checkpoints import Exported
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.kinds import table as kinds
from secrets_app.models import (
    VALUE_LIMIT_BYTES,
    AuditEvent,
    DatabaseRestore,
    KeyVersion,
    Label,
    Principal,
    SealedValue,
    Secret,
    SecretVersion,
)
from secrets_app.people import users
from secrets_app.policy import decisions
from secrets_app.secrets import read_limits, reads
from secrets_app.secrets.digests import Proof

FIELD = "value"
#: A version becomes the current one. No user requests it: it follows from a rotation.
PROMOTED = "kms:UpdateSecretVersionStage"
#: The versions of a secret that have a value and no label, newest first.
_SPARE = prepared.Question(
    lambda secret: SecretVersion.objects.filter(
        secret=secret, labels__isnull=True, destroyed_at__isnull=True
    ).order_by("-created_at")
)


_LABELLED = prepared.Question(
    lambda secret: (
        Label.objects.filter(secret=secret).exclude(role=Label.Role.CUSTOM).select_related("version")
    )
)


_OFFER = prepared.Change(
    lambda pk, key_version, state, seal, sequence, mac: (
        SecretVersion.objects.filter(
            Exists(KeyVersion.objects.filter(pk=key_version, state=state, seal=seal)),
            Exists(AuditEvent.objects.filter(sequence=sequence, mac=mac)),
            ~Exists(DatabaseRestore.objects.filter(acknowledged_at=None)),
            pk=pk,
            offered_at=None,
        ),
        {"offered_at": Now()},
    )
)


_ADD_VERSION = prepared.Row(SecretVersion)
_ADD_LABEL = prepared.Row(Label)
_FORGET = prepared.Removal(lambda secret, role: Label.objects.filter(secret=secret, role=role))
_PASS_ON = prepared.Change(
    lambda secret, role, following: (Label.objects.filter(secret=secret, role=role), {"role": following})
)
_PROMOTE = prepared.Change(
    lambda secret, version, role, following: (
        Label.objects.filter(secret=secret, version=version, role=role),
        {"role": following},
    )
)
_VERIFIED = prepared.Change(lambda pk: (SecretVersion.objects.filter(pk=pk), {"verified_at": Now()}))


class PendingExists(DomainError):
    """This secret has a pending value that a host may have heard; it must be settled first."""

    code = "pending_value_exists"


class NotPending(DomainError):
    """This version is not the pending one any more."""

    code = "version_not_pending"


class NoValue(DomainError):
    """This version's value was destroyed."""

    code = "version_without_value"


@dataclass(frozen=True)
class Value:
    """What a version holds, as the KMS API has it; everything that is needed to log in.

    A generic secret logs in nowhere: it has a text, and no user.
    """

    username: str
    password: Plaintext | None = None
    public_key: str = ""
    private_key: Plaintext | None = None
    text: Plaintext | None = None
    binary: Plaintext | None = None  # in base64

    @property
    def credential(self) -> Plaintext:
        """The private half."""
        half = self.password or self.private_key or self.text or self.binary
        if half is None:
            raise NoValue
        return half

    def as_json(self) -> Plaintext:
        """`{"UserName","Password"}` or `{"UserName","PublicKey","PrivateKey"}`, in that order.

        `{"SecretData"}` of a generic secret, or `{"SecretBinary"}`.
        """
        if self.binary is not None:
            return Plaintext(json.dumps({"SecretBinary": self.binary.reveal()}))
        if self.text is not None:
            return Plaintext(json.dumps({"SecretData": self.text.reveal()}, ensure_ascii=False))
        fields = {"UserName": self.username}
        if self.password is not None:
            fields["Password"] = self.password.reveal()
        if self.private_key is not None:
            fields |= {"PublicKey": self.public_key, "PrivateKey": self.private_key.reveal()}
        return Plaintext(json.dumps(fields, ensure_ascii=False))


def mark(value: Value) -> str:
    """What stands for a value in the audit trail. A key goes by its public half."""
    if value.public_key:
        return audit_keys.mark(b"key\0" + value.public_key.strip().encode())
    if value.binary is not None:
        return audit_keys.mark(b"binary\0" + value.binary.encode())
    return audit_keys.mark(b"text\0" + value.credential.encode())


def given(secret: Secret, username: str, text: Plaintext) -> Value:
    """Return the value in a text that a user entered, by the secret's kind.

    For a generic secret that is any text, and `username` is empty.

    Raises `passwords.Unfit` or `key_pairs.Unreadable`, never repeating the text.
    """
    kind = kinds.of(secret)
    return Value("", text=text) if kind is None else Value(username, **kind.read(text))


def policy_breach(secret: Secret, value: Value) -> str:
    """Return the rules of the secret's password policy that `value` breaks; empty for what is no password."""
    if value.password is None:
        return ""
    return passwords.policy(secret.password_policy).broken_by(value.password)


def stage(
    secret: Secret,
    value: Value,
    *,
    origin: str,
    actor: Principal,
    version_id: str = "",
    breach_reason: str = "",
) -> SecretVersion:
    """Store `value`, sealed, as the pending version of `secret`; no host has heard of it yet.

    Call it inside the transaction that makes the run. A pending version that no host was offered is
    replaced. `breach_reason` says why it may break the password policy. Raises `PendingExists` where one
    was offered, `keyring.Sealed`, and ValueError for a value over 30,720 bytes.
    """
    pending = secret.labelled(Label.Role.PENDING)
    if pending is not None:
        if pending.offered_at and not pending.dead_at:
            raise PendingExists
        drop_pending(pending)
    return _store(secret, value, origin, actor, version_id, Label.Role.PENDING, breach_reason)


def stage_first(secret: Secret, value: Value, *, origin: str, actor: Principal) -> SecretVersion:
    """As `stage`, for a caller that has just seen that nothing is pending; the database takes no second one.

    Raises IntegrityError where that is no longer so.
    """
    return _store(secret, value, origin, actor, "", Label.Role.PENDING)


def enter(secret: Secret, value: Value, *, actor: Principal, version_id: str = "") -> SecretVersion:
    """Store the value that a person entered at creation as the current one; not verified yet."""
    return _store(secret, value, SecretVersion.Origin.INITIAL, actor, version_id, Label.Role.CURRENT)


def _store(
    secret: Secret,
    value: Value,
    origin: str,
    actor: Principal,
    version_id: str,
    role: str | None,
    breach_reason: str = "",
) -> SecretVersion:
    plaintext = value.as_json().encode()
    if not secret.is_generic and len(plaintext) > VALUE_LIMIT_BYTES:
        raise ValueError(f"A secret value has at most {VALUE_LIMIT_BYTES:,} bytes.")
    new_id = uuid.uuid4()
    with transaction.atomic(savepoint=False):
        sealed = keyring.seal(plaintext, owner_id=secret.pk, subject_id=new_id, field=FIELD, key=secret.key)
        version = SecretVersion(
            id=new_id,
            secret=secret,
            version_id=version_id or str(new_id),
            origin=origin,
            created_by=actor,
            sealed=sealed,
            public_key=value.public_key,
            value_mark=mark(value),
            policy_breach=policy_breach(secret, value),
            breach_reason=breach_reason,
        )
        _ADD_VERSION(version)
        if role is not None:
            _ADD_LABEL(Label(secret=secret, version=version, role=role))
    return version


def bring_back(
    secret: Secret,
    fields: Mapping[str, str],
    key_version: KeyVersion,
    *,
    wrapped_key: bytes,
    ciphertext: bytes,
) -> SecretVersion:
    """Store a version as it was before an older database was restored, sealed and without a label.

    `fields` are those of the journal's entry. The caller holds the transaction.
    """
    pk = uuid.UUID(fields["version"])
    sealed = keyring.keep(
        secret.account_id,
        key_version,
        owner_id=secret.pk,
        subject_id=pk,
        field=FIELD,
        wrapped_key=wrapped_key,
        ciphertext=ciphertext,
    )
    is_taken = secret.versions.filter(version_id=fields["version_id"]).exists()
    return SecretVersion.objects.create(
        id=pk,
        secret=secret,
        version_id=str(pk) if is_taken else fields["version_id"],
        origin=fields["origin"],
        created_by=users.system(),
        created_at=datetime.fromisoformat(fields["created_at"]),
        sealed=sealed,
        public_key=fields["public_key"],
        value_mark=fields["value_mark"],
    )


def value(version: SecretVersion, *, by: KeyVersion | None = None) -> Value:
    """Open `version`, for the engine; `by` the key version that was just seen to open it, if one was.

    Raises `NoValue`, `keyring.Sealed`, `keyring.KeyUnusable`, `envelope.Tampered`.
    """
    if version.sealed is None:
        raise NoValue
    return _opened(version, version.sealed, by=by)


def _opened(version: SecretVersion, sealed: SealedValue, *, by: KeyVersion | None) -> Value:
    """Open what is sealed for `version`, `by` a key version whose state the caller knows."""
    raw = keyring.open_(sealed, owner_id=version.secret_id, subject_id=version.pk, field=FIELD, version=by)
    fields = json.loads(raw)
    return Value(
        username=fields.get("UserName", ""),
        password=Plaintext(fields["Password"]) if "Password" in fields else None,
        public_key=fields.get("PublicKey", ""),
        private_key=Plaintext(fields["PrivateKey"]) if "PrivateKey" in fields else None,
        text=Plaintext(fields["SecretData"]) if "SecretData" in fields else None,
        binary=Plaintext(fields["SecretBinary"]) if "SecretBinary" in fields else None,
    )


def are_same(version: SecretVersion, other: SecretVersion) -> bool:
    """Whether two versions hold the same password or private key. Raises as `value`."""
    first, second = value(version).credential, value(other).credential
    return hmac.compare_digest(first.encode(), second.encode())


def reveal(version: SecretVersion, *, actor: Principal, reason: str = "") -> Value:
    """Show a value to a person: check the right, record it durably, and only then open it.

    Raises `decisions.NotAllowed`, `read_limits.NoReason`, `read_limits.UnfitReason`,
    `read_limits.ReasonNeeded`, `read_limits.TooOften`, `NoValue` (also while deletion is planned), and
    whatever `value` raises. Never call it inside a transaction: the record would
    not be durable when the value leaves (RuntimeError).
    """
    secret = version.secret
    decisions.require(actor, decisions.Action.GET_SECRET_VALUE, secret)
    reason = read_limits.fit_reason(reason)
    read_limits.require_reason(secret, actor=actor, reason=reason)
    return _recorded(version, actor, reason)


def fetch(version: SecretVersion, *, actor: Principal) -> Value:
    """Return a value to a program, as `reveal` does to a person: the record is durable before it opens.

    A program gives no reason: a policy that accepts only some allows it nothing. Raises as `reveal`.
    """
    read_limits.require_reason(version.secret, actor=actor, reason="")
    return _recorded(version, actor, "")


def fetch_as_kept(
    version: SecretVersion, *, actor: Principal, proofs: tuple[Proof, ...], claim: reads.Claim | None = None
) -> Value:
    """As `fetch`, where everything that it looks at was kept since an earlier read, and `proofs` say so.

    Raises as `fetch`, but records no refusal, because only the database refuses. Raises `reads.Changed` if a
    row is different now, and `reads.Repeated` if `claim` is not granted; ask the database then.
    """
    decisions.require(actor, decisions.Action.GET_SECRET_VALUE, version.secret, reason="")
    return _recorded(version, actor, "", proofs, claim)


def _recorded(
    version: SecretVersion,
    actor: Principal,
    reason: str,
    proofs: tuple[Proof, ...] = (),
    claim: reads.Claim | None = None,
) -> Value:
    secret = version.secret
    if not secret.is_enabled:
        raise NoValue
    try:
        recorded = reads.record(version, actor=actor, reason=reason, proofs=proofs, claim=claim)
    except reads.Gone:
        raise NoValue from None
    except read_limits.TooOften as error:
        read_limits.refused(secret, actor=actor, because=str(error))
        raise
    return _opened(version, recorded.sealed, by=recorded.key_version)


def labelled(secret: Secret) -> dict[str, SecretVersion]:
    """Return the versions that have a label of ours, by its role."""
    return {label.role: label.version for label in _LABELLED(secret.pk)}


def mark_offered(version: SecretVersion) -> None:
    """Record, before the first byte leaves, that a host may hear this value from now on."""
    if SecretVersion.objects.filter(pk=version.pk, offered_at__isnull=True).update(offered_at=Now()):
        # Only that there is one counts here; what compares it asks the database.
        version.offered_at = timezone.now()
    else:
        version.refresh_from_db(fields=["offered_at"])


def mark_offered_if(version: SecretVersion, opener: KeyVersion, known: Exported) -> bool:
    """As `mark_offered` for the first time, if that is safe at this moment; False if nothing was written.

    Safe is: `opener`, which was just seen to open the value, is still as it was; no restored database waits;
    and the trail has the event that `known` signs, so this is no older database.
    """
    kept = (opener.pk, opener.state, opener.seal, known.sequence, known.mac)
    if not _OFFER(version.pk, *kept):
        return False
    version.offered_at = timezone.now()  # only that there is one counts here, as in `mark_offered`
    return True


def was_offered_within(version: SecretVersion, length: timedelta) -> bool:
    """Whether a host may have heard this value for the first time so lately, by the database's clock."""
    return SecretVersion.objects.filter(pk=version.pk, offered_at__gt=Now() - length).exists()


def mark_verified(version: SecretVersion) -> None:
    """Record that a host accepted this value just now."""
    _VERIFIED(version.pk)


def not_removed(secret: Secret | uuid.UUID) -> QuerySet[SecretVersion]:
    """Return versions whose key a host may still accept, newest first; not the current and pending ones."""
    in_use = Label.objects.filter(secret=secret, role__in=[Label.Role.CURRENT, Label.Role.PENDING])
    return (
        SecretVersion.objects.filter(secret=secret, removed_at=None, dead_at=None)
        .exclude(public_key="")
        .exclude(pk__in=in_use.values("version"))
    )


def mark_removed(version: SecretVersion) -> None:
    """Record that a host was just shown to refuse this key."""
    SecretVersion.objects.filter(pk=version.pk).update(removed_at=Now())


def removed(secret: Secret) -> QuerySet[SecretVersion]:
    """Return versions whose key a host was shown to refuse, the last one first."""
    return secret.versions.filter(removed_at__isnull=False).exclude(public_key="").order_by("-removed_at")


def mark_back(version: SecretVersion) -> None:
    """Record that a host accepts this key again, which it had been shown to refuse."""
    SecretVersion.objects.filter(pk=version.pk).update(removed_at=None)


def mark_refused(version: SecretVersion) -> None:
    """Record that a login with this value was just refused."""
    SecretVersion.objects.filter(pk=version.pk).update(refused_at=Now())
    version.refresh_from_db(fields=["refused_at"])  # who holds it may go on to say what is known of it


def earlier(secret: Secret) -> QuerySet[SecretVersion]:
    """Return versions whose value is kept and that are neither current nor pending, newest first."""
    in_use = Label.objects.filter(secret=secret, role__in=[Label.Role.CURRENT, Label.Role.PENDING])
    kept = secret.versions.filter(sealed__isnull=False).exclude(pk__in=in_use.values("version"))
    return kept.order_by("-created_at")


def promote(version: SecretVersion) -> bool:
    """Make the pending version the current one, and the current one the previous, in one transaction.

    Returns whether there was a current one. Recorded, so that it can be told later when a value was the
    current one. Raises `NotPending` where another worker was first.
    """
    with transaction.atomic(savepoint=False):
        secret = version.secret_id
        _FORGET(secret, Label.Role.PREVIOUS)
        had_one = _PASS_ON(secret, Label.Role.CURRENT, Label.Role.PREVIOUS)
        if not _PROMOTE(secret, version.pk, Label.Role.PENDING, Label.Role.CURRENT):
            raise NotPending
        mark_verified(version)
        prune(version.secret)
        trail.record(
            PROMOTED,
            version.secret,
            actor=version.created_by,
            version_id=version.version_id,
            value_mark=version.value_mark,
        )
    return bool(had_one)


# ---------------------------------------------------------------- of a generic secret


def add(secret: Secret, value: Value, *, actor: Principal, version_id: str) -> SecretVersion:
    """Store a value of a generic secret, without a label. The caller holds the secret."""
    return _store(secret, value, SecretVersion.Origin.CUSTOM, actor, version_id, None)


def copy(version: SecretVersion, to: Secret, *, actor: Principal) -> SecretVersion:
    """Store this version in a generic secret as well, under the same id and without a label.

    The value of an account becomes the JSON that clients read. The caller holds `to`, which is a replica.
    Raises as `value` and `stage` do.
    """
    opened = value(version)
    if opened.text is None and opened.binary is None:
        opened = Value("", text=opened.as_json())
    return add(to, opened, actor=actor, version_id=version.version_id)


def put_label(version: SecretVersion, role: str, name: str = "") -> None:
    """Have this label point at `version`, and at no other version. The caller holds the secret."""
    take_label(version.secret, role, name)
    Label.objects.create(secret_id=version.secret_id, version=version, role=role, name=name)


def take_label(secret: Secret, role: str, name: str = "") -> None:
    """Have this label point at nothing. The caller holds the secret."""
    Label.objects.filter(secret=secret, role=role, name=name).delete()


def prune_unlabelled(secret: Secret, *, most: int, older_than: timedelta) -> bool:
    """Destroy old values without a label, until `most` versions have a value; say whether that succeeded."""
    kept = secret.versions.filter(destroyed_at__isnull=True)
    over = kept.count() - most
    if over > 0:
        spare = kept.filter(labels__isnull=True, created_at__lt=Now() - older_than).order_by("created_at")
        for version in spare[:over]:
            _destroy(version)
            over -= 1
    return over <= 0


def drop_pending(version: SecretVersion) -> None:
    """Take the pending label from a version that is proven never to have become valid.

    Its value stays until it is pruned: what a host was told once is worth keeping a while.
    """
    with transaction.atomic(savepoint=False):
        Label.objects.filter(version=version, role=Label.Role.PENDING).delete()
        SecretVersion.objects.filter(pk=version.pk).update(dead_at=Now())


def set_aside(version: SecretVersion) -> None:
    """Take the pending label from a version because a person says so; that proves nothing, so it is kept."""
    Label.objects.filter(version=version, role=Label.Role.PENDING).delete()


def prune(secret: Secret) -> None:
    """Destroy the values of unlabelled versions beyond the newest ones that a secret keeps."""
    for version in _SPARE(secret.pk)[settings.RUN_PRUNE_VERSIONS :]:
        _destroy(version)


def destroy_all(secret: Secret) -> int:
    """Destroy every value of a secret that is purged, with its data key, and take the labels away.

    The rows of the versions stay, for the history. Returns how many values there were.
    """
    Label.objects.filter(secret=secret).delete()
    kept = list(secret.versions.filter(destroyed_at__isnull=True))
    for version in kept:
        _destroy(version)
    return len(kept)


def _destroy(version: SecretVersion) -> None:
    sealed = version.sealed
    SecretVersion.objects.filter(pk=version.pk).update(sealed=None, destroyed_at=Now())
    if sealed is not None:
        keyring.destroy(sealed)
