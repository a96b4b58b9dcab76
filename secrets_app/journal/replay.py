"""Bring back from the journal what an older database has never heard of.

Each version that is missing is stored again, sealed as it was. The newest one of a secret becomes pending, as
one that a host may have heard: the next run asks the host first, and makes it current or sets it. Nothing
that the database has is replaced but a value that does not open any more. Replaying twice changes nothing the
second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction

from secrets_app import keyring, regions
from secrets_app.actions import Kind, arn
from secrets_app.audit import trail
from secrets_app.crypto import envelope
from secrets_app.journal import journal
from secrets_app.journal.entries import Entry
from secrets_app.journal.places import Place
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.people import users
from secrets_app.secrets import versions

REPLAYED = "kms:JournalReplayed"


@dataclass
class Replayed:
    """What a replay has found and done."""

    imported: int = 0
    known: int = 0
    mended: int = 0  # stored values that did not open and were replaced
    not_ours: int = 0  # lines that are torn, changed or another installation's
    pending: list[Secret] = field(default_factory=list)  # with a value that a host may have
    without_secret: dict[str, str] = field(default_factory=dict)  # id -> name: made after the backup
    without_key: dict[str, str] = field(default_factory=dict)  # the same, of a key made after it


def replay(kept: Place) -> Replayed:
    """Bring back what is kept there and the database has not.

    Raises `keyring.Sealed`, `seals.KeyMissing` or `journal.Away`.
    """
    if keyring.is_sealed():
        raise keyring.Sealed(keyring.Sealed.__doc__)
    done, newest = Replayed(), {}
    account = str(regions.account().pk)
    for entry in journal.read(kept):
        if entry is None or entry["account"] != account:
            done.not_ours += 1
        elif _bring_back(entry, done):
            newest[entry["secret"]] = entry["version"]
        else:
            newest.pop(entry["secret"], None)  # the host was told a value that is known, after the others
    for secret_id, version_id in newest.items():
        _make_pending(UUID(secret_id), UUID(version_id), done)
    details = {"imported": done.imported, "mended": done.mended, "not_ours": done.not_ours}
    resource = arn(Kind.AUDIT, "", account=regions.account().number)
    trail.record(REPLAYED, resource, actor=users.system(), details=details)
    return done


def _bring_back(entry: Entry, done: Replayed) -> bool:
    """Store the version of `entry`; True where the host may have it and the database did not know."""
    secret = Secret.objects.filter(pk=UUID(entry["secret"])).first()
    if secret is None:
        done.without_secret[entry["secret"]] = entry["name"]
        return False
    held = SecretVersion.objects.filter(pk=UUID(entry["version"])).select_related("sealed").first()
    if held is not None:
        done.known += 1
        if held.sealed is not None and not _opens(held):
            keyring.mend(held.sealed, wrapped_key=entry.bytes_of("wrapped_key"),
                         ciphertext=entry.bytes_of("ciphertext"))  # fmt: skip
            held = SecretVersion.objects.select_related("sealed").get(pk=held.pk)
            done.mended += _opens(held)
        return False
    with transaction.atomic():
        key_version = keyring.known_version(
            UUID(entry["key_version"]), key_id=UUID(entry["key"]), number=int(entry["number"]),
            wrapped=entry.bytes_of("wrapped"),
        )  # fmt: skip
        if key_version is None:
            done.without_key[entry["secret"]] = entry["name"]
            return False
        versions.bring_back(
            secret, entry.fields, key_version,
            wrapped_key=entry.bytes_of("wrapped_key"), ciphertext=entry.bytes_of("ciphertext"),
        )  # fmt: skip
    done.imported += 1
    return True


def _opens(version: SecretVersion) -> bool:
    try:
        versions.value(version)
    except envelope.Tampered:
        return False
    except keyring.KeyUnusable:
        return True  # a disabled key says nothing of the value
    return True


def _make_pending(secret_id: UUID, version_id: UUID, done: Replayed) -> None:
    secret = Secret.objects.get(pk=secret_id)
    with transaction.atomic():
        before = secret.labelled(Label.Role.PENDING)
        if before is not None:
            versions.set_aside(before)
        version = SecretVersion.objects.get(pk=version_id)
        versions.put_label(version, Label.Role.PENDING)
        versions.mark_offered(version)
    done.pending.append(secret)
